//! The text of GCN's former mails ("full format" of GCN Classic): ASCII, a `KEY: value` a line, values from column 19.
//!
//! The names, their order and the numbers in TRIGGER_ID, MISC, GROUP_TYPE, SEARCH_TYPE and PIPELINE_TYPE are those of
//! <https://gcn.gsfc.nasa.gov/lvc.html> and <https://gcn.gsfc.nasa.gov/sock_pkt_def_doc.html> (types 150 to 154, 163, 164).
//! `docs/mail.md` lists the fields; a test compares it with [`LVC_FIELDS`] and [`COUNTERPART_FIELDS`].

mod fields;
mod form;

use jiff::Timestamp;
use shared::key::{AlertKind, SupereventId};
use shared::message::Role;
use shared::notice::icecube::{TrackEvent, TrackSearch, Withheld};
use shared::notice::igwn::{Event, ExternalCoincidence};

pub use fields::{COUNTERPART_FIELDS, LVC_FIELDS};
use form::{OBSERVATORIES, date, far_line, misc, notice_date, plain, sexagesimal, time};

use crate::annotations::Annotations;
use crate::text::{chirp_mass, of_level, percent};

/// A notice in the former form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Classic {
    /// The kind of packet, the subject of GCN's mails: `LVC_INITIAL`.
    packet: &'static str,
    /// What it is about, for the subject.
    about: String,
    fields: Vec<(&'static str, String)>,
    /// TRIGGER_ID, when it has one.
    trigger_id: Option<u32>,
    is_test: bool,
}

const TEST_BIT: u32 = 1 << 1;
/// Limit on the bins of a chirp mass in a comment, the most probable; notices have nine.
const MAX_CHIRP_MASS_BINS: usize = 15;

impl Classic {
    /// An alert. `earlier`: an earlier alert of the superevent, from which one without an event has the time of the signal and
    /// the event's page.
    pub fn of_alert(alert: &Annotations, earlier: Option<&Annotations>) -> Self {
        let is_test = alert.role == Role::Test;
        let (packet, kind, comment) = match alert.name.alert_type.kind {
            AlertKind::EarlyWarning => ("LVC_EARLY_WARNING", "Early Warning", "LVC Early Warning Trigger Alert."),
            AlertKind::Preliminary => ("LVC_PRELIMINARY", "Preliminary", "LVC Preliminary Trigger Alert."),
            AlertKind::Initial => {
                ("LVC_INITIAL", "Initial Skymap", "LVC Initial Skymap -- a location probability map.")
            }
            AlertKind::Update => ("LVC_UPDATE", "Update Skymap", "LVC Update Skymap -- a location probability map."),
            AlertKind::Retraction => {
                ("LVC_RETRACTION", "Retraction", "LVC Retraction: the event is no longer a candidate.")
            }
        };
        let mut made = Classic::new(packet, alert.superevent_id.as_str(), is_test);
        made.put("TITLE", "GCN/LVC NOTICE");
        made.put("NOTICE_DATE", &notice_date(alert.time_created));
        made.put("NOTICE_TYPE", &format!("LVC {kind}"));
        made.put("TRIGGER_NUM", alert.superevent_id.as_str());
        if let Some(signal) = alert.time_of_signal.or(earlier.and_then(|earlier| earlier.time_of_signal)) {
            made.put("TRIGGER_DATE", &format!("{} (yyyy/mm/dd)", date(signal, "%Y/%m/%d")));
            made.put("TRIGGER_TIME", &time(signal, 6));
        }
        made.put("SEQUENCE_NUM", &alert.sequence.to_string());
        if let Some(event) = &alert.event {
            made.put_event(event);
        }
        let retraction = u32::from(alert.name.alert_type.kind == AlertKind::Retraction) << 5;
        let coincidence = u32::from(alert.external_coincidence.is_some()) << 29;
        made.put_trigger_id(1 << 4 | retraction | coincidence);
        let instruments = alert.event.as_ref().map(|event| event.instruments.as_slice()).unwrap_or_default();
        made.put("MISC", &format!("0x{:X}", misc(&alert.superevent_id, alert.sequence, instruments)));
        if let Some(link) = alert.objects.iter().find(|link| link.kind == "multi_order_map") {
            made.put("SKYMAP_FITS_URL", link.key.as_str());
        }
        if let Some(url) = event_page(alert, earlier) {
            made.put("EVENTPAGE_URL", url);
        }
        made.comment(comment);
        made.comment("This event is an OpenAlert.");
        if is_test {
            made.comment("NOTE: This is a TEST. The event is a mock or a test.");
        }
        made.comments_of(alert);
        made
    }

    /// An alert of a type that this software does not know.
    pub fn of_unknown(id: &SupereventId, alert_type: &str, created: Option<&str>) -> Self {
        let mut made = Classic::new("LVC_NOTICE", id.as_str(), id.is_test());
        made.about = format!("{id} {alert_type}");
        made.put("TITLE", "GCN/LVC NOTICE");
        if let Some(created) = created.and_then(|text| text.parse::<Timestamp>().ok()) {
            made.put("NOTICE_DATE", &notice_date(created));
        }
        made.put("NOTICE_TYPE", &format!("LVC {alert_type}"));
        made.put("TRIGGER_NUM", id.as_str());
        made.put_trigger_id(1 << 4);
        made.comment("This type of alert is not known to this software, and only archived.");
        made
    }

    /// An IceCube track search.
    pub fn of_search(search: &TrackSearch) -> Self {
        let is_retracted = search.withheld() == Some(Withheld::Retraction);
        let mut made = Classic::new("LVC_COUNTERPART", search.superevent_id.as_str(), search.superevent_id.is_test());
        made.about = format!("{} IceCube{}", search.superevent_id, if is_retracted { " retraction" } else { "" });
        made.put("TITLE", "GCN/LVC COUNTERPART NOTICE");
        if let Some(sent) = search.alert_datetime {
            made.put("NOTICE_DATE", &notice_date(sent));
        }
        let retraction = if is_retracted { " Retraction" } else { "" };
        made.put("NOTICE_TYPE", &format!("IceCube Neutrino Track Search{retraction}"));
        if let Some((ra, dec)) = search.most_probable_direction {
            made.put("CNTRPART_RA", &format!("{ra:.4}d {{{}}} (J2000)", sexagesimal(ra / 15.0, ["h", "m", "s"])));
            made.put("CNTRPART_DEC", &format!("{dec:+.4}d {{{}}} (J2000)", sexagesimal(dec, ["d", "'", "\""])));
        }
        made.put("EVENT_TRIG_NUM", search.superevent_id.as_str());
        if let Some(start) = search.observation_start {
            made.put("OBS_DATE", &date(start, "%y/%m/%d"));
            made.put("OBS_TIME", &time(start, 2));
            if let Some(stop) = search.observation_stop {
                made.put("OBS_DUR", &format!("{:.1} [sec]", stop.duration_since(start).as_secs_f64()));
            }
        }
        made.put("TELESCOPE", "IceCube");
        made.comment(&format!("IceCube's search for neutrino tracks around {}.", search.ref_id));
        if is_retracted {
            made.comment("The search is retracted.");
        }
        let p = |name: &str, value: Option<f64>| value.map(|value| format!("p-value of the {name} search: {value}."));
        for line in [p("generic", search.pval_generic), p("Bayesian", search.pval_bayesian)].into_iter().flatten() {
            made.comment(&line);
        }
        for (number, event) in (1..).zip(&search.events) {
            made.comment(&neutrino(number, event));
        }
        made
    }

    fn new(packet: &'static str, about: &str, is_test: bool) -> Self {
        Classic { packet, about: about.to_owned(), fields: Vec::new(), trigger_id: None, is_test }
    }

    fn put(&mut self, key: &'static str, value: &str) {
        self.fields.push((key, plain(value)));
    }

    fn put_trigger_id(&mut self, bits: u32) {
        self.trigger_id = Some(bits);
        self.put("TRIGGER_ID", "");
    }

    fn comment(&mut self, text: &str) {
        self.put("COMMENTS", text);
    }

    fn put_event(&mut self, event: &Event) {
        const GROUPS: [&str; 3] = ["CBC", "Burst", "Test"];
        const SEARCHES: [&str; 8] =
            ["AllSky", "LowMass", "HighMass", "GRB", "Supernova", "MockDataChallenge", "AllSkyLong", "BBH"];
        const PIPELINES: [&str; 15] = [
            "MBTA",
            "CWB",
            "CWB2G",
            "gstlal",
            "spiir",
            "HardwareInjection",
            "X",
            "Q",
            "Omega",
            "Ringdown",
            "oLIB",
            "Fermi",
            "Swift",
            "SNEWS",
            "pycbc",
        ];
        let search = event.search.as_deref().map(|search| if search == "MDC" { SEARCHES[5] } else { search });
        for (key, names, name) in [
            ("GROUP_TYPE", &GROUPS[..], event.group.as_deref()),
            ("SEARCH_TYPE", &SEARCHES[..], search),
            ("PIPELINE_TYPE", &PIPELINES[..], event.pipeline.as_deref()),
        ] {
            if let Some(name) = name {
                let number = names.iter().position(|known| known.eq_ignore_ascii_case(name)).map_or(0, |at| at + 1);
                self.put(key, &format!("{number} = {name}"));
            }
        }
        if let Some(far) = event.far {
            self.put("FAR", &far_line(far));
        }
        if event.group.as_deref() == Some("Burst") {
            if let Some(frequency) = event.central_frequency {
                self.put("CENTRAL_FREQ", &format!("{frequency:.2} [Hz]"));
            }
            if let Some(duration) = event.duration {
                self.put("DURATION", &format!("{duration:.6} [sec]"));
            }
            return;
        }
        let (classes, properties) = (&event.classification, &event.properties);
        let mass_gap = classes.get("MassGap").or(properties.get("HasMassGap"));
        for (key, prob) in [
            ("PROB_NS", properties.get("HasNS")),
            ("PROB_REMNANT", properties.get("HasRemnant")),
            ("PROB_BNS", classes.get("BNS")),
            ("PROB_NSBH", classes.get("NSBH")),
            ("PROB_BBH", classes.get("BBH")),
            ("PROB_MassGap", mass_gap),
            ("PROB_TERRES", classes.get("Terrestrial")),
        ] {
            self.put(
                key,
                &match prob {
                    Some(prob) => format!("{prob:.2} [range is 0.0-1.0]"),
                    None => "-1 [range is 0.0-1.0]   VALUE NOT ASSIGNED!".to_owned(),
                },
            );
        }
    }

    /// What the former notices said in comments, and what they had no field for.
    fn comments_of(&mut self, alert: &Annotations) {
        if let Some(event) = &alert.event {
            for instrument in &event.instruments {
                let known = OBSERVATORIES.iter().find(|(code, _)| code == instrument);
                let name = known.map_or(instrument.as_str(), |(_, name)| name);
                self.comment(&format!("{name} Observatory contributed to this candidate event."));
            }
            match event.significant {
                Some(true) => self.comment("This event is significant."),
                Some(false) => self.comment("This event has a LOW SIGNIFICANCE."),
                None => {}
            }
            let named = ["HasNS", "HasRemnant", "HasMassGap"];
            for (name, prob) in event.properties.iter().filter(|(name, _)| !named.contains(&name.as_str())) {
                self.comment(&format!("Property {name}: {prob:.2}."));
            }
            if let Some(bins) = event.mchirp_source.as_ref().and_then(|bins| chirp_mass(bins, MAX_CHIRP_MASS_BINS)) {
                let bins = bins.replace('–', "-").replace("M☉", "Msun").replace(" %", "%");
                self.comment(&format!("Chirp mass (source frame): {bins}."));
            }
        }
        if let Some(external) = &alert.external_coincidence {
            self.comment(&coincidence(external));
        }
        let Some(map) = &alert.skymap else { return };
        let areas = ["50", "90"].map(|level| of_level(&map.posted_area_deg2, level));
        if let [Some(half), Some(most)] = areas {
            self.comment(&format!("Area: 50% in {half:.1} deg2, 90% in {most:.1} deg2."));
        }
        let (ra, dec) = (map.peak.ra_deg, map.peak.dec_deg);
        self.comment(&format!("Peak of the map: RA {ra:.4}d, Dec {dec:+.4}d (J2000)."));
        if let Some(distance) = &map.distance {
            let (mean, std) =
                (distance.posted_mean.unwrap_or(distance.mean), distance.posted_std.unwrap_or(distance.std));
            self.comment(&format!("Distance: {mean:.1} +- {std:.1} Mpc."));
        }
    }

    /// Says where the map is.
    pub fn with_map(mut self, url: &str) -> Self {
        for (_, value) in self.fields.iter_mut().filter(|(key, _)| *key == "SKYMAP_FITS_URL") {
            *value = plain(url);
        }
        self
    }

    /// Says where the page is.
    pub fn with_page(mut self, url: &str) -> Self {
        self.put("PAGE_URL", url);
        self
    }

    /// The subject: `GCN/LVC_INITIAL S230518h: NSBH 86 %`. Tests of targets and of events have that of GCN's tests.
    pub fn subject(&self, test: bool, summary: Option<&str>) -> String {
        let packet = if test || self.is_test { "LVC_TEST" } else { self.packet };
        let summary = summary.map(|text| format!(": {text}")).unwrap_or_default();
        format!("GCN/{packet} {}{}{summary}", if test { "TEST " } else { "" }, self.about)
    }

    /// The fields in their order; `test` marks a test of a target.
    pub fn fields(&self, test: bool) -> Vec<(&'static str, String)> {
        let is_test = test || self.is_test;
        let mark = if is_test { "TEST " } else { "" };
        let field = |(key, value): &(&'static str, String)| {
            let value = match *key {
                "NOTICE_TYPE" => format!("{mark}{value}"),
                "TRIGGER_ID" => {
                    format!("0x{:x}", self.trigger_id.unwrap_or_default() | if is_test { TEST_BIT } else { 0 })
                }
                _ => value.clone(),
            };
            (*key, value)
        };
        let mut fields: Vec<_> = self.fields.iter().map(field).collect();
        if test {
            let comments = fields.iter().rposition(|(key, _)| *key == "COMMENTS").map_or(fields.len(), |at| at + 1);
            fields.insert(comments, ("COMMENTS", "NOTE: This is a TEST of the notification. Do not act on it.".into()));
        }
        let version = env!("CARGO_PKG_VERSION");
        fields.push((
            "SENT_BY",
            format!("treasuremap-functions {version}, from the JSON alert of GCN's Kafka; not by GCN"),
        ));
        fields
    }

    /// The text.
    pub fn text(&self, test: bool) -> String {
        let line = |(key, value): (&str, String)| format!("{:<18}{value}\n", format!("{key}:"));
        self.fields(test).into_iter().map(line).collect()
    }
}

/// The event's page at GraceDB.
pub(super) fn event_page<'a>(alert: &'a Annotations, earlier: Option<&'a Annotations>) -> Option<&'a str> {
    [Some(alert), earlier].into_iter().flatten().find_map(|alert| alert.event.as_ref()?.gracedb_url.as_deref())
}

fn coincidence(external: &ExternalCoincidence) -> String {
    let mut words = vec!["There is a coincidence with another event".to_owned()];
    words.extend(external.observatory.as_ref().map(|name| format!("observatory {name}")));
    words.extend(external.search.as_ref().map(|name| format!("search {name}")));
    words.extend(external.time_difference.map(|dt| format!("{dt:+.3} s after the trigger")));
    words.extend(external.time_coincidence_far.map(|far| format!("joint FAR {far:.3e} Hz (times)")));
    let far = external.time_sky_position_coincidence_far;
    words.extend(far.map(|far| format!("joint FAR {far:.3e} Hz (times and positions)")));
    format!("{}.", words.join(", "))
}

fn neutrino(number: usize, event: &TrackEvent) -> String {
    let mut words = Vec::new();
    words.extend(event.event_dt.map(|dt| format!("{dt:+.2} s")));
    words.extend(event.ra.zip(event.dec).map(|(ra, dec)| format!("RA {ra:.4}d, Dec {dec:+.4}d (J2000)")));
    let contained = percent(event.containment_probability).replace(' ', "");
    words.extend(event.ra_dec_error.map(|error| format!("error {error:.2} deg ({contained})")));
    words.extend(event.event_pval_generic.map(|p| format!("p generic {p}")));
    words.extend(event.event_pval_bayesian.map(|p| format!("p Bayesian {p}")));
    format!("Neutrino {number}: {}.", words.join(", "))
}

#[cfg(test)]
mod tests;
