//! What can be seen of an alert's map from the sites of the notification rules: in the annotations, and a row each on the
//! page.

use std::fmt::Write;

use jiff::Timestamp;
use science::skymap::MultiOrderMap;
use science::visibility::site::{Observability, observe};
use serde::{Deserialize, Serialize};
use shared::site::Site;

use crate::text::{escaped, number, percent};

/// What can be seen of a map from a site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SiteView {
    /// The site, and what counts there as observable.
    #[serde(flatten)]
    pub site: Site,
    /// Start of the site's hours: the notice's creation.
    pub from: Timestamp,
    /// What can be seen.
    #[serde(flatten)]
    pub view: Observability,
}

/// What can be seen of a map from each site, within its hours from a time.
pub fn views(map: &MultiOrderMap, sites: &[Site], from: Timestamp) -> Vec<SiteView> {
    let views = observe(map, sites, from);
    sites.iter().cloned().zip(views).map(|(site, view)| SiteView { site, from, view }).collect()
}

/// A site's part of one line about an alert: `85 % observable from Cerro Pachón`.
pub fn in_words(SiteView { site, view, .. }: &SiteView) -> String {
    format!("{} observable from {}", percent(view.observable_prob), site.name)
}

/// The page's table, a row a site; nothing without sites.
pub fn table(views: &[SiteView]) -> String {
    let mut table = String::new();
    if views.is_empty() {
        return table;
    }
    table.push_str(
        "<h2>Sites</h2>\n<div class=\"wide\"><table>\n<tr><th>site</th><th class=\"n\">observable</th>\
         <th>90 % region, UTC</th><th>best hour from, UTC</th><th>dark</th><th>Moon</th></tr>\n",
    );
    for SiteView { site, from, view } in views {
        let time = |time: Timestamp| time.strftime("%Y-%m-%d %H:%M").to_string();
        let region = view.first.zip(view.last);
        let region =
            region.map_or_else(|| "not".to_owned(), |(first, last)| format!("{} to {}", time(first), time(last)));
        let best = view
            .best_hour
            .map_or_else(|| "none".to_owned(), |best| format!("{}: {} at once", time(best.start), percent(best.prob)));
        let dark = format!(
            "{} of {} h from {}, Sun below {}°",
            number(view.dark_hours),
            site.hours,
            time(*from),
            site.sun_below_deg
        );
        let moon = format!(
            "{}° from the peak, {} illuminated",
            number(view.moon.peak_separation_deg),
            percent(view.moon.illuminated)
        );
        // Writing to a string cannot fail.
        let _ = writeln!(
            table,
            "<tr><td>{}</td><td class=\"n\">{} above {}°</td><td>{region}</td><td>{best}</td><td>{dark}</td><td>{moon}</td></tr>",
            escaped(&site.name),
            percent(view.observable_prob),
            site.altitude_above_deg
        );
    }
    table.push_str("</table></div>\n");
    table
}

#[cfg(test)]
mod tests {
    use science::visibility::site::{BestHour, Moon};

    use super::*;

    #[test]
    fn a_row_a_site_with_its_name_escaped() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let seen = SiteView {
            site: Site {
                name: "<b>Pachón</b>".to_owned(),
                lat_deg: -30.2446,
                lon_deg: -70.7494,
                height_m: 2663.0,
                sun_below_deg: -12.0,
                altitude_above_deg: 30.0,
                hours: 24.0,
            },
            from: at("2026-11-28T12:00:00Z"),
            view: Observability {
                observable_prob: 0.854,
                dark_hours: 8.25,
                first: Some(at("2026-11-29T00:31:00Z")),
                last: Some(at("2026-11-29T08:46:00Z")),
                best_hour: Some(BestHour { start: at("2026-11-29T03:10:00Z"), prob: 0.7 }),
                moon: Moon { peak_separation_deg: 41.23, illuminated: 0.86 },
            },
        };
        let none =
            Observability { observable_prob: 0.0, first: None, last: None, best_hour: None, ..seen.view.clone() };
        let table = table(&[seen.clone(), SiteView { view: none, ..seen.clone() }]);
        assert_eq!(table.matches("<tr>").count(), 3, "{table}");
        for text in [
            "<td>&lt;b&gt;Pachón&lt;/b&gt;</td><td class=\"n\">85 % above 30°</td>",
            "<td>2026-11-29 00:31 to 2026-11-29 08:46</td><td>2026-11-29 03:10: 70 % at once</td>",
            "<td>8.25 of 24 h from 2026-11-28 12:00, Sun below -12°</td><td>41.2° from the peak, 86 % illuminated</td>",
            "<td class=\"n\">0 % above 30°</td><td>not</td><td>none</td>",
        ] {
            assert!(table.contains(text), "{text} {table}");
        }
        assert_eq!(super::table(&[]), "");
        assert_eq!(in_words(&seen), "85 % observable from <b>Pachón</b>");
        let written = serde_json::to_value(&seen).expect("JSON");
        assert_eq!((&written["name"], &written["observable_prob"]), (&"<b>Pachón</b>".into(), &0.854.into()));
        assert_eq!(serde_json::from_value::<SiteView>(written.clone()).expect("a view"), seen);
        // A later release may add fields.
        let mut later = written;
        later["invented_later"] = 1.into();
        later["moon"]["invented_later"] = 1.into();
        assert_eq!(serde_json::from_value::<SiteView>(later).expect("a view"), seen);
    }
}
