//! Renders an alert's page as one self-contained HTML file.

use std::fmt::Write;

use shared::key::AlertName;
use shared::message::Role;

use crate::annotations::{Annotations, Link};
use crate::galaxies::PlottedGalaxy;
use crate::text::{chirp_mass, escaped, found_by, number, of_level, percent, place, probabilities, rate};
use crate::{searches, sites};

const STYLE: &str = "\
:root{color-scheme:light dark}body{font:16px/1.45 system-ui,'Noto Sans',sans-serif;max-width:1100px;margin:1.5rem auto;\
padding:0 1rem;color:#111;background:#fff}h1{margin:0 0 .2rem}h2{margin:1.6rem 0 .4rem}table{border-collapse:collapse;\
width:100%}th,td{text-align:left;padding:.25rem .7rem .25rem 0;border-bottom:1px solid #ddd;vertical-align:top}\
td:last-child:not(.n){overflow-wrap:anywhere}\
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}th{font-weight:600;white-space:nowrap}.tag{display:inline-block;\
padding:.05rem .55rem;margin:0 .3rem .3rem 0;border-radius:1rem;background:#e6eef5;color:#003b5c}.note{padding:.6rem 1rem;\
border-left:.35rem solid #0072b2;background:#eef5fa;color:#111}.warn{border-color:#d55e00;background:#fdf0e6;color:#111;\
font-weight:600}.plot svg{width:100%;height:auto;border:1px solid #ddd}.wide{overflow-x:auto}code{font-size:.8em;\
word-break:break-all}a{color:#0060a0}footer{margin:2rem 0;color:#666;font-size:.9em}@media(prefers-color-scheme:dark){\
body{color:#eee;background:#151515}th,td{border-color:#333}a{color:#7fc4f5}}";

/// The page: plot (SVG, inlined), numbers, galaxies and links.
///
/// External text is escaped, and opening the page fetches nothing.
pub fn html(annotations: &Annotations, plot: Option<&[u8]>, galaxies: &[PlottedGalaxy]) -> String {
    let name = annotations.name.to_string();
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n<title>{name}</title>\n<style>{STYLE}</style>\n\
         </head>\n<body>\n<h1>{name}</h1>\n"
    );
    banner(&mut page, annotations);
    for tag in &annotations.tags {
        add(&mut page, format_args!("<span class=\"tag\">{}</span>", escaped(tag)));
    }
    if let Some(plot) = plot {
        add(&mut page, format_args!("\n<div class=\"plot\">{}</div>", String::from_utf8_lossy(plot)));
    }
    numbers(&mut page, annotations);
    changes(&mut page, annotations);
    page.push_str(&sites::table(&annotations.sites));
    page.push_str(&searches::section(&annotations.icecube));
    table(&mut page, annotations, galaxies);
    links(&mut page, annotations);
    let rubin = &annotations.rubin;
    add(
        &mut page,
        format_args!(
            "<footer>Made by {} {}. Rubin class after: {}.</footer>\n</body>\n</html>\n",
            escaped(&annotations.software.name),
            escaped(&annotations.software.version),
            escaped(&rubin.source)
        ),
    );
    page
}

/// Appends text; writing to a string cannot fail.
fn add(page: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = page.write_fmt(text);
}

fn link_to(name: &AlertName) -> String {
    format!("<a href=\"{name}.html\">{name}</a>")
}

fn banner(page: &mut String, annotations: &Annotations) {
    let role = match annotations.role {
        Role::Observation => "observation",
        Role::Test => "test, not a real event",
    };
    add(
        page,
        format_args!(
            "<p>Notice {} of {}, {role}, {} UTC.</p>\n",
            annotations.sequence,
            annotations.superevent_id,
            annotations.time_created.strftime("%Y-%m-%d %H:%M:%S")
        ),
    );
    if annotations.tags.iter().any(|tag| tag == "Retraction") {
        page.push_str("<p class=\"note warn\">This notice retracts the event.</p>\n");
    }
    if let Some(of) = &annotations.map_of {
        add(
            page,
            format_args!("<p class=\"note\">No sky map of its own: contours are those of {}.</p>\n", link_to(of)),
        );
    }
    match &annotations.superseded_by {
        Some(next) if annotations.retracted => {
            add(page, format_args!("<p class=\"note warn\">RETRACTED. Superseded by {}.</p>\n", link_to(next)));
        }
        Some(next) => add(page, format_args!("<p class=\"note warn\">Superseded by {}.</p>\n", link_to(next))),
        None => {}
    }
}

fn numbers(page: &mut String, annotations: &Annotations) {
    let mut rows: Vec<(&str, String)> = Vec::new();
    if let Some(time) = annotations.time_of_signal {
        rows.push(("Signal", format!("{} UTC", time.strftime("%Y-%m-%d %H:%M:%S%.3f"))));
    }
    if let Some(event) = &annotations.event {
        rows.push(("Detectors", event.instruments.join(", ")));
        rows.extend(found_by(annotations).map(|text| ("Found by", text)));
        rows.extend(event.far.map(|far| ("False-alarm rate", format!("{far:.3e} Hz, {}", rate(far)))));
        rows.extend(event.significant.map(|yes| ("Significant", if yes { "yes" } else { "no" }.to_owned())));
        rows.extend(probabilities(&event.classification).map(|text| ("Class", text)));
        rows.extend(probabilities(&event.properties).map(|text| ("Properties", text)));
        let chirp_mass = event.mchirp_source.as_ref().and_then(|bins| chirp_mass(bins, usize::MAX));
        rows.extend(chirp_mass.map(|text| ("Chirp mass, source frame", text)));
        rows.extend(event.duration.map(|duration| ("Duration", format!("{} s", number(duration)))));
        rows.extend(
            event.central_frequency.map(|frequency| ("Central frequency", format!("{} Hz", number(frequency)))),
        );
    }
    let other = annotations.event.as_ref().map_or(&annotations.other, |event| &event.other);
    rows.extend(searches::other(other).map(|other| ("Other fields", other)));
    if let Some(external) = &annotations.external_coincidence {
        let who: Vec<&str> =
            [&external.observatory, &external.search].into_iter().flatten().map(String::as_str).collect();
        let after = external.time_difference.map(|s| format!("{} s from the signal", number(s)));
        let far = external.time_coincidence_far.map(|far| format!("joint FAR {}", rate(far)));
        let words: Vec<String> = who.iter().map(|text| (*text).to_owned()).chain(after).chain(far).collect();
        rows.push(("Coincidence", words.join(", ")));
    }
    if let Some(skymap) = &annotations.skymap {
        let levels = |numbers: &std::collections::BTreeMap<String, f64>,
                      keys: &[&str],
                      unit: &str,
                      name: &dyn Fn(&str) -> String| {
            let words = keys
                .iter()
                .filter_map(|key| Some(format!("{} in {} {unit}", name(key), number(of_level(numbers, key)?))));
            words.collect::<Vec<_>>().join(", ")
        };
        let in_percent = |level: &str| format!("{level} %");
        rows.push(("Area, interpolated", levels(&skymap.area_deg2, &["10", "50", "90"], "deg²", &in_percent)));
        rows.push(("Area, as posted", levels(&skymap.posted_area_deg2, &["10", "50", "90"], "deg²", &in_percent)));
        let within = ["100", "500", "1000"]
            .iter()
            .filter_map(|area| Some(format!("{} in {area} deg²", percent(of_level(&skymap.prob_within_deg2, area)?))));
        rows.push(("Probability", within.collect::<Vec<_>>().join(", ")));
        let modes =
            ["50", "90"].iter().filter_map(|level| Some(format!("{} at {level} %", of_level(&skymap.modes, level)?)));
        rows.push(("Separate parts", modes.collect::<Vec<_>>().join(", ")));
        rows.push(("Peak", place(skymap.peak.ra_deg, skymap.peak.dec_deg)));
        match &skymap.distance {
            Some(distance) => rows.push((
                "Distance",
                format!(
                    "{} ± {} Mpc, median {} Mpc, 90 % from {} to {} Mpc",
                    number(distance.mean),
                    number(distance.std),
                    number(distance.median),
                    number(distance.p05),
                    number(distance.p95)
                ),
            )),
            None => rows.push(("Distance", "not known".to_owned())),
        }
        rows.extend(
            skymap.volume.as_ref().map(|volume| ("Volume", levels(volume, &["50", "90"], "Mpc³", &in_percent))),
        );
        rows.extend(skymap.creator.clone().map(|creator| ("Map", format!("{creator}, order {}", skymap.order))));
    }
    rows.extend(annotations.coverage.iter().map(|seen| {
        let replaced =
            seen.replaced.map(|before| format!(", replaced what was {}", before.label())).unwrap_or_default();
        (seen.product.label(), format!("{}{replaced}; {}", seen.certainty.label(), seen.source))
    }));
    let rubin = &annotations.rubin;
    rows.push((
        "Rubin class",
        match (&rubin.class, &rubin.reason) {
            (Some(class), _) => class.clone(),
            (None, Some(reason)) => format!("none: {reason}"),
            (None, None) => "none".to_owned(),
        },
    ));
    page.push_str("\n<h2>Numbers</h2>\n<table>\n");
    for (name, value) in rows {
        add(page, format_args!("<tr><th>{name}</th><td>{}</td></tr>\n", escaped(&value)));
    }
    page.push_str("</table>\n");
}

fn changes(page: &mut String, annotations: &Annotations) {
    let Some(previous) = &annotations.previous else { return };
    let mut words = Vec::new();
    words.extend(previous.area_90_change_deg2.map(|change| {
        format!("the 90 % area {} by {} deg²", if change < 0.0 { "shrank" } else { "grew" }, number(change.abs()))
    }));
    words.extend(previous.peak_shift_deg.map(|shift| format!("the peak moved by {}°", number(shift))));
    words.extend(previous.overlap_90.map(|overlap| {
        format!(
            "the 90 % regions share {} deg²: {} of this one, {} of the previous one",
            number(overlap.area_deg2),
            percent(overlap.of_this),
            percent(overlap.of_previous)
        )
    }));
    let before = link_to(&previous.name);
    if words.is_empty() {
        add(page, format_args!("<p>Previous alert: {before}.</p>\n"));
    } else {
        add(page, format_args!("<p>Since {before}: {}.</p>\n", escaped(&words.join("; "))));
    }
}

fn table(page: &mut String, annotations: &Annotations, galaxies: &[PlottedGalaxy]) {
    if galaxies.is_empty() {
        return;
    }
    let total = annotations.galaxies.unwrap_or(galaxies.len());
    add(
        page,
        format_args!(
            "<h2>Galaxies</h2>\n<p>The first {} of {total}, ranked by probability, stellar mass and detectability.</p>\n\
             <div class=\"wide\"><table>\n<tr><th class=\"n\">rank</th><th>name</th><th class=\"n\">RA [°]</th>\
             <th class=\"n\">Dec [°]</th><th class=\"n\">distance [Mpc]</th><th class=\"n\">stellar mass [M☉]</th>\
             <th class=\"n\">score</th><th class=\"n\">credible level</th></tr>\n",
            galaxies.len()
        ),
    );
    for galaxy in galaxies {
        add(
            page,
            format_args!(
                "<tr><td class=\"n\">{}</td><td>{}</td><td class=\"n\">{:.5}</td><td class=\"n\">{:+.5}</td>\
                 <td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{:.4}</td><td class=\"n\">{}</td></tr>\n",
                galaxy.rank + 1,
                escaped(&galaxy.name),
                galaxy.ra_deg,
                galaxy.dec_deg,
                number(galaxy.distance),
                number(galaxy.mstar),
                galaxy.score,
                percent(galaxy.credible_level)
            ),
        );
    }
    page.push_str("</table></div>\n");
}

/// The path of an object relative to the page; products are in the same folder.
fn relative(annotations: &Annotations, link: &Link) -> String {
    let root = format!("{}/", annotations.superevent_id.root());
    match link.key.as_str().strip_prefix(&root) {
        Some(beside) => beside.to_owned(),
        None => format!("../{}", link.key),
    }
}

fn links(page: &mut String, annotations: &Annotations) {
    let id = &annotations.superevent_id;
    page.push_str("<h2>Links</h2>\n<ul>\n");
    if let Some(url) = annotations.event.as_ref().and_then(|event| event.gracedb_url.as_deref())
        && url.starts_with("https://")
    {
        add(page, format_args!("<li><a href=\"{}\">{id} at GraceDB</a></li>\n", escaped(url)));
    }
    add(
        page,
        format_args!(
            "<li><a href=\"https://treasuremap.space/alerts?graceids={id}\">{id} at the Treasure Map</a></li>\n"
        ),
    );
    if let Some(skymap) = &annotations.skymap {
        let radius = of_level(&skymap.area_deg2, "90")
            .map_or(10.0, |area| (2.5 * (area / std::f64::consts::PI).sqrt()).clamp(1.0, 180.0));
        add(
            page,
            format_args!(
                "<li><a href=\"https://aladin.cds.unistra.fr/AladinLite/?target={:.5}%20{:+.5}&amp;fov={radius:.1}&amp;\
                 survey=P%2FDSS2%2Fcolor\">the peak in Aladin Lite</a> (online)</li>\n",
                skymap.peak.ra_deg, skymap.peak.dec_deg
            ),
        );
    }
    page.push_str("</ul>\n<div class=\"wide\"><table>\n<tr><th>object</th><th>file</th><th class=\"n\">bytes</th><th>SHA-256</th></tr>\n");
    add(
        page,
        format_args!(
            "<tr><td>annotations</td><td><a href=\"{0}-annotations.json\">{0}-annotations.json</a></td><td></td><td></td></tr>\n",
            annotations.name
        ),
    );
    for link in &annotations.objects {
        let href = escaped(&relative(annotations, link));
        add(
            page,
            format_args!(
                "<tr><td>{}</td><td><a href=\"{href}\">{href}</a></td><td class=\"n\">{}</td><td><code>{}</code></td></tr>\n",
                escaped(&link.kind.replace('_', " ")),
                link.size_bytes,
                escaped(&link.sha256)
            ),
        );
    }
    page.push_str("</table></div>\n");
}
