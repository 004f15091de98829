//! IceCube's track searches around a superevent: in the annotations and on the pages of its alerts.

use std::cmp::Reverse;
use std::fmt::Write;

use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use shared::key::{Key, Object, SupereventId};
use shared::notice::icecube::{MAX_EVENTS, TrackEvent, TrackSearch};
use shared::{Context, Error, Result};
use store::Store;

use crate::text::{escaped, number, percent, place};

/// Limit on the searches in annotations; a superevent has a handful.
pub const MAX_SEARCHES: usize = 20;
/// Number of concurrent reads of searches.
const MAX_CONCURRENT_READS: usize = 8;

/// The stored track searches among a superevent's objects (`keys`), newest first: at most [`MAX_SEARCHES`] with together at
/// most [`MAX_EVENTS`] events. Unreadable ones are ignored.
///
/// # Errors
/// The store's.
pub async fn stored(store: &Store, id: &SupereventId, keys: &[Key]) -> Result<Vec<TrackSearch>> {
    let keys = keys.iter().filter(|key| key.is_search_of(id)).cloned();
    let read = futures::stream::iter(keys).map(async |key| {
        let Some(bytes) = store.get(&key).await? else { return Ok(None) };
        let read = serde_json::from_slice::<TrackSearch>(&bytes).permanent(format!("object `{key}`"));
        Ok::<_, Error>(read.inspect_err(|error| tracing::error!("ignoring an unreadable track search: {error}")).ok())
    });
    let read: Vec<Option<TrackSearch>> = read.buffered(MAX_CONCURRENT_READS).try_collect().await?;
    let mut searches: Vec<TrackSearch> = read.into_iter().flatten().collect();
    let found = searches.len();
    keep_newest(&mut searches);
    if searches.len() < found {
        tracing::warn!(superevent_id = %id, found, listed = searches.len(), "older track searches are not annotated");
    }
    Ok(searches)
}

/// Sorts searches, newest first, and removes those beyond the limits.
fn keep_newest(searches: &mut Vec<TrackSearch>) {
    searches.sort_by(|a, b| {
        let order = |search: &TrackSearch| Reverse((search.alert_datetime, search.ref_id.clone()));
        order(a).cmp(&order(b))
    });
    let mut events = 0;
    let within = |search: &&TrackSearch| {
        events += search.events.len();
        events <= MAX_EVENTS
    };
    let listed = searches.iter().take(MAX_SEARCHES).take_while(within).count();
    searches.truncate(listed);
}

/// The page's section, a table of numbers and one of events for each search; nothing without searches. Values have the
/// notice's names.
pub fn section(searches: &[TrackSearch]) -> String {
    let mut section = String::new();
    if !searches.is_empty() {
        section.push_str("<h2>IceCube track searches</h2>\n");
    }
    for search in searches {
        // Writing to a string cannot fail.
        let _ = write_search(&mut section, search);
    }
    section
}

fn write_search(section: &mut String, search: &TrackSearch) -> std::fmt::Result {
    let name = escaped(&search.ref_id);
    match href(search) {
        Some(href) => writeln!(section, "<h3><a href=\"{}\">{name}</a></h3>", escaped(&href))?,
        None => writeln!(section, "<h3>{name}</h3>")?,
    }
    if let Some(withheld) = search.withheld() {
        writeln!(section, "<p class=\"note warn\">Not posted: {}.</p>", escaped(withheld.reason()))?;
    }
    section.push_str("<table>\n");
    for (name, value) in numbers(search) {
        writeln!(section, "<tr><th>{name}</th><td>{}</td></tr>", escaped(&value))?;
    }
    section.push_str("</table>\n");
    if search.events.is_empty() {
        section.push_str("<p>No coincident events.</p>\n");
        return Ok(());
    }
    section.push_str(
        "<div class=\"wide\"><table>\n<tr><th>id</th><th class=\"n\">event_dt [s]</th><th>direction, ICRS</th>\
         <th>ra_dec_error</th><th class=\"n\">event_pval_generic</th><th class=\"n\">event_pval_bayesian</th>\
         <th>other</th></tr>\n",
    );
    for event in &search.events {
        let optional = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
        writeln!(
            section,
            "<tr><td>{}</td><td class=\"n\">{}</td><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td>{}</td></tr>",
            escaped(&event.ids.join(", ")),
            optional(event.event_dt),
            direction(event),
            escaped(&uncertainty(event)),
            optional(event.event_pval_generic),
            optional(event.event_pval_bayesian),
            escaped(&other(&event.other).unwrap_or_default()),
        )?;
    }
    section.push_str("</table></div>\n");
    Ok(())
}

/// Path of the search's object relative to a page.
fn href(search: &TrackSearch) -> Option<String> {
    let key = Object::IceCube(&search.superevent_id, &search.ref_id).key().ok()?;
    let (_, file) = key.as_str().split_once('/')?;
    // `%` and `+` are characters of the name. A colon would make what is before it a scheme without `./`.
    Some(format!("./{}", file.replace('%', "%25").replace('+', "%2B")))
}

fn numbers(search: &TrackSearch) -> Vec<(&'static str, String)> {
    let time = |time: Timestamp| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    let mut rows = Vec::new();
    rows.extend(search.alert_datetime.map(|sent| ("alert_datetime", time(sent))));
    rows.extend(search.alert_tense.clone().map(|tense| ("alert_tense", tense)));
    rows.extend(search.alert_type.clone().map(|alert_type| ("alert_type", alert_type)));
    let window = search.observation_start.zip(search.observation_stop);
    rows.extend(window.map(|(start, stop)| ("observation", format!("{} to {}", time(start), time(stop)))));
    rows.extend(search.pval_generic.map(|p| ("pval_generic", p.to_string())));
    rows.extend(search.pval_bayesian.map(|p| ("pval_bayesian", p.to_string())));
    rows.extend(search.most_probable_direction.map(|(ra, dec)| ("most_probable_direction", place(ra, dec))));
    let range = |(least, greatest)| format!("{} to {}", number(least), number(greatest));
    rows.extend(search.flux_sensitivity.map(|flux| ("flux_sensitivity", format!("{} GeV cm⁻², for E⁻²", range(flux)))));
    let energies = search.sensitive_energy_range;
    rows.extend(energies.map(|energies| ("sensitive_energy_range", format!("{} GeV", range(energies)))));
    rows.extend(search.additional_info.clone().map(|words| ("additional_info", words)));
    rows.extend(other(&search.other).map(|other| ("other", other)));
    rows
}

fn direction(event: &TrackEvent) -> String {
    event.ra.zip(event.dec).map(|(ra, dec)| place(ra, dec)).unwrap_or_default()
}

/// The error region: `0.42°, circle, 90 %`.
fn uncertainty(event: &TrackEvent) -> String {
    let Some(error) = event.ra_dec_error else { return String::new() };
    let shape = event.uncertainty_shape.as_ref().map(|shape| format!(", {shape}")).unwrap_or_default();
    format!("{}°{shape}, {}", number(error), percent(event.containment_probability))
}

/// Fields that this version does not know, as JSON; `None` without any.
pub(crate) fn other(fields: &serde_json::Map<String, serde_json::Value>) -> Option<String> {
    (!fields.is_empty()).then(|| serde_json::to_string(fields).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn search(notice: Value) -> TrackSearch {
        TrackSearch::parse(notice.to_string().as_bytes()).expect("a search")
    }

    fn at(minute: usize, events: usize) -> TrackSearch {
        let events = vec![json!({"event_dt": 1.0}); events];
        let sent = format!("2023-09-14T{:02}:{:02}:00Z", minute / 60, minute % 60);
        search(json!({"ref_ID": "S230914ak", "alert_datetime": sent, "coincident_events": events}))
    }

    fn kept(mut searches: Vec<TrackSearch>) -> Vec<usize> {
        keep_newest(&mut searches);
        searches.iter().map(|search| search.events.len()).collect()
    }

    #[test]
    fn keeps_the_newest_searches_within_the_limits() {
        let without_time = search(json!({"ref_ID": "S230914ak", "coincident_events": [{}, {}, {}, {}]}));
        assert_eq!(kept(vec![at(1, 1), without_time, at(3, 3), at(2, 2)]), [3, 2, 1, 4]);
        assert_eq!(kept((0..100).map(|minute| at(minute, 1)).collect()).len(), MAX_SEARCHES);
        assert_eq!(kept(vec![at(1, 1), at(2, MAX_EVENTS)]), [MAX_EVENTS]);
        assert_eq!(kept(vec![at(1, 0), at(2, MAX_EVENTS)]), [MAX_EVENTS, 0]);
    }

    #[test]
    fn page_shows_searches_with_texts_escaped() {
        let event = json!({"id": ["138590_39138551"], "event_dt": -12.5, "event_pval_generic": 0.0191, "odd": "<i>",
            "localization": {"ra": 17.48, "dec": -16.15, "ra_dec_error": [0.7, 0.5, 30.0]}});
        let notice = json!({"ref_ID": "S230914ak", "alert_datetime": "2023-09-14T11:49:16.526Z", "alert_tense": "test",
            "alert_type": "update", "pval_generic": 0.0389, "most_probable_direction": {"ra": 150, "dec": 20},
            "neutrino_flux_sensitivity_range": {"flux_sensitivity": [0.03, 0.6], "sensitive_energy_range": [500, 2e7]},
            "observation_start": "2023-09-14T11:00:00Z", "observation_stop": "2023-09-14T11:16:40Z",
            "additional_info": "two <b>tracks</b>", "n_events_coincident": 1, "coincident_events": [event]});
        let section = section(&[search(notice), at(1, 0)]);
        for text in [
            "<h3><a href=\"./S230914ak-icecube-S230914ak-2023-09-14T11:49:16.526000.json\">S230914ak-2023-09-14T11:49:16.526000</a></h3>",
            "<p class=\"note warn\">Not posted: the notice is a test (alert_tense).</p>",
            "<tr><th>alert_datetime</th><td>2023-09-14 11:49:16 UTC</td></tr>",
            "<tr><th>alert_type</th><td>update</td></tr>",
            "<tr><th>observation</th><td>2023-09-14 11:00:00 UTC to 2023-09-14 11:16:40 UTC</td></tr>",
            "<tr><th>pval_generic</th><td>0.0389</td></tr>",
            "<tr><th>most_probable_direction</th><td>RA 150.000°, Dec +20.000°</td></tr>",
            "<tr><th>flux_sensitivity</th><td>0.03 to 0.6 GeV cm⁻², for E⁻²</td></tr>",
            "<tr><th>sensitive_energy_range</th><td>500 to 2.00 × 10⁷ GeV</td></tr>",
            "<td>two &lt;b&gt;tracks&lt;/b&gt;</td>",
            "<tr><th>other</th><td>{&quot;n_events_coincident&quot;:1}</td></tr>",
            "<tr><td>138590_39138551</td><td class=\"n\">-12.5</td><td>RA 17.480°, Dec −16.150°</td>\
             <td>0.7°, ellipse, 90 %</td><td class=\"n\">0.0191</td><td class=\"n\"></td>\
             <td>{&quot;odd&quot;:&quot;&lt;i&gt;&quot;}</td></tr>",
            "<p>No coincident events.</p>",
        ] {
            assert!(section.contains(text), "{text}\n{section}");
        }
        assert!(!section.contains("pval_bayesian</th><td>") && !section.contains("<b>"), "{section}");
        assert_eq!(super::section(&[]), "");
    }

    #[test]
    fn links_name_the_object_whatever_the_reference_is() {
        let href = |reference: &str| {
            href(&search(json!({"ref_ID": "S230914ak", "reference": {"gcn.notices.LVK.alert": reference}})))
        };
        assert_eq!(href("2 of/3").as_deref(), Some("./S230914ak-icecube-S230914ak-2%2520of%252F3.json"));
        assert_eq!(href("a+b").as_deref(), Some("./S230914ak-icecube-S230914ak-a%2Bb.json"));
    }
}
