//! Every object that there is, by what its name says; [`Parsed`] is the inverse of [`Object::key`].

use std::fmt;

use super::{AlertName, Key, SupereventId};
use crate::digest::sha256;
use crate::{Error, Result};

/// The longest part of a name that came from outside [bytes]; files have at most 255.
const MAX_SEGMENT_BYTES: usize = 200;

/// Every object that this software reads or writes; [`Object::key`] is its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object<'a> {
    /// The notice exactly as received; creating it claims the alert's name.
    Notice(&'a AlertName),
    /// The multi-order map exactly as received (not gzipped, whatever its name says: a contract).
    MultiOrderMap(&'a AlertName),
    /// The flat HEALPix map, gzipped FITS.
    FlatMap(&'a AlertName),
    /// The rings at credible levels 50 and 90, GeoJSON.
    Contours(&'a AlertName),
    /// The credible region at a level \[percent\], IVOA MOC JSON.
    CredibleRegion(&'a AlertName, u8),
    /// What Fermi GBM saw at the time of the signal, IVOA MOC JSON.
    FermiGbm(&'a SupereventId),
    /// What Fermi LAT saw at the time of the signal, IVOA MOC JSON.
    FermiLat(&'a SupereventId),
    /// What Swift BAT saw at the time of the signal, IVOA MOC JSON.
    SwiftBat(&'a SupereventId),
    /// Where what GBM saw is from, and how sure it is, JSON.
    FermiGbmSource(&'a SupereventId),
    /// The same of what LAT saw.
    FermiLatSource(&'a SupereventId),
    /// The same of what BAT saw.
    SwiftBatSource(&'a SupereventId),
    /// What is known of an alert, for people and programs, JSON.
    Annotations(&'a AlertName),
    /// Which of a superevent's alerts is the newest, JSON.
    Latest(&'a SupereventId),
    /// The sky plot, SVG.
    PlotSvg(&'a AlertName),
    /// The sky plot, PNG.
    PlotPng(&'a AlertName),
    /// The alert's page, HTML.
    Page(&'a AlertName),
    /// The alert as VOEvent 2.0, XML.
    VoEvent(&'a AlertName),
    /// Which notifications have been sent of an alert.
    Notified(&'a AlertName),
    /// The same of a notice that is no alert: an alert of an unknown type, a search that is retracted.
    NoticeNotified(&'a str),
    /// An IceCube search around a superevent, as it was read, JSON; by the notice's `ref_id`, as [`Object::PostIceCube`].
    IceCube(&'a SupereventId, &'a str),
    /// The body of `post_alert`.
    PostAlert(&'a AlertName),
    /// The claim of a `post_alert`, from before it is made until its fate is known. The number counts the claims before it
    /// that were given up.
    PostAlertPending(&'a AlertName, u32),
    /// The ranked galaxies for people, CSV.
    GalaxiesCsv(&'a AlertName),
    /// The body of `event_galaxies`.
    EventGalaxies(&'a AlertName),
    /// The same of an `event_galaxies`.
    EventGalaxiesPending(&'a AlertName, u32),
    /// The body of `post_icecube_notice`, by the notice's `ref_id`, which may be any text: what cannot be in a name is
    /// percent-encoded.
    PostIceCube(&'a str),
    /// The claim of a `post_icecube_notice`.
    PostIceCubePending(&'a str, u32),
    /// A notice as it came from Kafka.
    Inbox {
        /// Kafka topic.
        topic: &'a str,
        /// Kafka partition.
        partition: i32,
        /// Kafka offset.
        offset: i64,
    },
    /// An alert's file that an audit took from GraceDB, by its name there (`S230518h-preliminary.json,1`).
    FromGraceDb(&'a str),
    /// What an audit found, by the end of its period (`2023-05-20T12:00:00Z`).
    Audit(&'a str),
    /// What could not be processed, with the reason.
    Failed(&'a str),
    /// A two-line element set of Fermi, by its epoch (`2023-05-20T12:00:00`).
    FermiTle(&'a str),
    /// A weekly Fermi spacecraft file (FT2), by its file name.
    FermiFt2(&'a str),
    /// The Swift service's answers for an hour, by its beginning (`2023-05-18T12`), JSON.
    SwiftTimeline(&'a str),
}

/// How the names of archived notices end.
const NOTICE: &str = "_alert.json";
const MAP: &str = "_moc.fits.gz";
const PENDING: &str = ".pending.json";
/// How the names of annotations end.
const ANNOTATIONS: &str = "-annotations.json";

/// What the names of a superevent's alerts and products begin with: `fit/S230518h-`.
pub fn prefix_of(id: &SupereventId) -> String {
    format!("{}/{id}-", id.root())
}

/// Between a superevent and the reference of an IceCube search.
const ICECUBE: &str = "-icecube-";

impl Key {
    /// The alert whose annotations have this name; `None` for any other object.
    pub fn annotations_of(&self) -> Option<AlertName> {
        match Parsed::of(self)?.object() {
            Object::Annotations(name) => Some(name.clone()),
            _ => None,
        }
    }

    /// The alert whose notice, as it was received, has this name; `None` for any other object.
    pub fn notice_of(&self) -> Option<AlertName> {
        match Parsed::of(self)?.object() {
            Object::Notice(name) => Some(name.clone()),
            _ => None,
        }
    }

    /// The alert whose multi-order map this is the name of; `None` for other objects.
    pub fn map_of(&self) -> Option<AlertName> {
        match Parsed::of(self)?.object() {
            Object::MultiOrderMap(name) => Some(name.clone()),
            _ => None,
        }
    }

    /// Whether it is the name of an IceCube search around a superevent, also one whose reference was shortened.
    pub fn is_search_of(&self, id: &SupereventId) -> bool {
        self.0.strip_prefix(&format!("{}/{id}{ICECUBE}", id.root())).is_some_and(|rest| rest.ends_with(".json"))
    }

    /// Whether it says of something that it is not done yet, or whose a name is: what must be known of the notices after
    /// it, even when nothing is written.
    pub fn outlasts_notice(&self) -> bool {
        self.0.ends_with(NOTICE) || self.0.ends_with(PENDING)
    }
}

/// An object's name taken apart: the inverse of [`Object::key`].
#[derive(Debug, Clone)]
pub struct Parsed(Parts);

#[derive(Debug, Clone)]
enum Parts {
    Alert(AlertName, fn(&AlertName) -> Object<'_>),
    Region(AlertName, u8),
    Superevent(SupereventId, fn(&SupereventId) -> Object<'_>),
    Text(String, fn(&str) -> Object<'_>),
    Search(SupereventId, String),
    Inbox(String, i32, i64),
}

/// Makes an object of its part, whatever the part's lifetime.
macro_rules! of {
    ($object:ident) => {
        |part| Object::$object(part)
    };
}

/// An object by what its name says.
type Named<P> = for<'a> fn(&'a P) -> Object<'a>;

/// How the objects of an alert end, below its superevent's root.
const OF_ALERT: [(&str, Named<AlertName>); 10] = [
    (NOTICE, of!(Notice)),
    ("_moc.fits.gz", of!(MultiOrderMap)),
    (".fits.gz", of!(FlatMap)),
    ("-contours-smooth.json", of!(Contours)),
    (ANNOTATIONS, of!(Annotations)),
    (".svg", of!(PlotSvg)),
    (".png", of!(PlotPng)),
    (".html", of!(Page)),
    ("-voevent.xml", of!(VoEvent)),
    ("-galaxies.csv", of!(GalaxiesCsv)),
];

/// How the objects of a superevent end, below its root.
const OF_SUPEREVENT: [(&str, Named<SupereventId>); 7] = [
    ("-Fermi.json", of!(FermiGbm)),
    ("-LAT.json", of!(FermiLat)),
    ("-BAT.json", of!(SwiftBat)),
    ("-Fermi-source.json", of!(FermiGbmSource)),
    ("-LAT-source.json", of!(FermiLatSource)),
    ("-BAT-source.json", of!(SwiftBatSource)),
    ("-latest.json", of!(Latest)),
];

/// The objects of an alert under `work/{name}/`.
const AT_WORK: [(&str, Named<AlertName>); 3] = [
    ("notified.json", of!(Notified)),
    ("post_alert.json", of!(PostAlert)),
    ("event_galaxies.json", of!(EventGalaxies)),
];

impl Parsed {
    /// The object that has this name; `None` when [`Object::key`] prints none like it. The reference of an IceCube search
    /// that was shortened cannot be told from its name.
    pub fn of(key: &Key) -> Option<Parsed> {
        let (root, rest) = key.0.split_once('/')?;
        let parts = match root {
            "fit" | "test" => of_product(rest)?,
            "work" => match rest.rsplit_once('/')? {
                (reference, "post_icecube_notice.json") => Parts::Text(decoded(reference)?, of!(PostIceCube)),
                (name, file) => {
                    let (_, object) = AT_WORK.into_iter().find(|(name, _)| *name == file)?;
                    Parts::Alert(name.parse().ok()?, object)
                }
            },
            "audit" => Parts::Text(rest.strip_suffix(".json")?.to_owned(), of!(Audit)),
            "inbox" if rest.starts_with("gracedb/") => {
                Parts::Text(rest.strip_prefix("gracedb/")?.strip_suffix(".json")?.to_owned(), of!(FromGraceDb))
            }
            "inbox" => {
                let (place, offset) = rest.strip_suffix(".json")?.rsplit_once('/')?;
                let (topic, partition) = place.rsplit_once('/')?;
                Parts::Inbox(topic.to_owned(), partition.parse().ok()?, offset.parse().ok()?)
            }
            "failed" => Parts::Text(rest.strip_suffix(".json")?.to_owned(), of!(Failed)),
            "fermi" => match rest.split_once('/')? {
                ("tle", epoch) => Parts::Text(epoch.strip_suffix(".tle")?.to_owned(), of!(FermiTle)),
                ("ft2", file) => Parts::Text(file.to_owned(), of!(FermiFt2)),
                _ => return None,
            },
            // Other objects there are other software's.
            "swift" => {
                Parts::Text(rest.strip_prefix("timeline/")?.strip_suffix(".json")?.to_owned(), of!(SwiftTimeline))
            }
            _ => return None,
        };
        // What prints otherwise has another name: a wrong root, a leading zero.
        Some(Parsed(parts)).filter(|parsed| parsed.object().key().is_ok_and(|printed| printed == *key))
    }

    /// The object.
    pub fn object(&self) -> Object<'_> {
        match &self.0 {
            Parts::Alert(name, object) => object(name),
            Parts::Region(name, percent) => Object::CredibleRegion(name, *percent),
            Parts::Superevent(id, object) => object(id),
            Parts::Text(text, object) => object(text),
            Parts::Search(id, reference) => Object::IceCube(id, reference),
            Parts::Inbox(topic, partition, offset) => Object::Inbox { topic, partition: *partition, offset: *offset },
        }
    }
}

fn of_product(file: &str) -> Option<Parts> {
    let alert = OF_ALERT
        .into_iter()
        .find_map(|(ending, object)| Some(Parts::Alert(file.strip_suffix(ending)?.parse().ok()?, object)));
    let region = || {
        let (name, percent) = file.strip_suffix(".json")?.rsplit_once("-moc-")?;
        Some(Parts::Region(name.parse().ok()?, percent.parse().ok()?))
    };
    let superevent = || {
        OF_SUPEREVENT
            .into_iter()
            .find_map(|(ending, object)| Some(Parts::Superevent(file.strip_suffix(ending)?.parse().ok()?, object)))
    };
    let search = || {
        let (id, reference) = file.strip_suffix(".json")?.split_once(ICECUBE)?;
        Some(Parts::Search(id.parse().ok()?, decoded(reference)?))
    };
    // A search's reference may be any text, and end like another object.
    search().or(alert).or_else(region).or_else(superevent)
}

impl Object<'_> {
    /// The object's name.
    ///
    /// # Errors
    /// Permanent, when a part that came from outside (a topic, a file name) cannot be part of a name.
    pub fn key(&self) -> Result<Key> {
        let product = |name: &AlertName, ending: &str| format!("{}/{name}{ending}", name.superevent_id.root());
        let coverage = |id: &SupereventId, ending: &str| format!("{}/{id}{ending}", id.root());
        Key::new(match self {
            Object::Notice(name) => product(name, NOTICE),
            Object::MultiOrderMap(name) => product(name, MAP),
            Object::FlatMap(name) => product(name, ".fits.gz"),
            Object::Contours(name) => product(name, "-contours-smooth.json"),
            Object::CredibleRegion(name, percent) => product(name, &format!("-moc-{percent}.json")),
            Object::FermiGbm(id) => coverage(id, "-Fermi.json"),
            Object::FermiLat(id) => coverage(id, "-LAT.json"),
            Object::SwiftBat(id) => coverage(id, "-BAT.json"),
            Object::FermiGbmSource(id) => coverage(id, "-Fermi-source.json"),
            Object::FermiLatSource(id) => coverage(id, "-LAT-source.json"),
            Object::SwiftBatSource(id) => coverage(id, "-BAT-source.json"),
            Object::Annotations(name) => product(name, ANNOTATIONS),
            Object::Latest(id) => coverage(id, "-latest.json"),
            Object::PlotSvg(name) => product(name, ".svg"),
            Object::PlotPng(name) => product(name, ".png"),
            Object::Page(name) => product(name, ".html"),
            Object::IceCube(id, ref_id) => coverage(id, &format!("{ICECUBE}{}.json", encoded(ref_id))),
            Object::VoEvent(name) => product(name, "-voevent.xml"),
            Object::Notified(name) => format!("work/{name}/notified.json"),
            Object::NoticeNotified(what) => format!("work/{}/notified.json", encoded(what)),
            Object::PostAlert(name) => format!("work/{name}/post_alert.json"),
            Object::PostAlertPending(name, n) => format!("work/{name}/post_alert{}", pending(*n)),
            Object::GalaxiesCsv(name) => product(name, "-galaxies.csv"),
            Object::EventGalaxies(name) => format!("work/{name}/event_galaxies.json"),
            Object::EventGalaxiesPending(name, n) => format!("work/{name}/event_galaxies{}", pending(*n)),
            Object::PostIceCube(ref_id) => format!("work/{}/post_icecube_notice.json", encoded(ref_id)),
            Object::PostIceCubePending(ref_id, n) => {
                format!("work/{}/post_icecube_notice{}", encoded(ref_id), pending(*n))
            }
            Object::Inbox { topic, partition, offset } => {
                // Twenty digits, so that a listing is in Kafka's order.
                format!("inbox/{}/{partition}/{offset:020}.json", segment("topic", topic)?)
            }
            Object::FromGraceDb(file) => format!("inbox/gracedb/{}.json", segment("file", file)?),
            Object::Audit(date) => format!("audit/{}.json", segment("date", date)?),
            Object::Failed(id) => format!("failed/{}.json", segment("id", id)?),
            Object::FermiTle(epoch) => format!("fermi/tle/{}.tle", segment("epoch", epoch)?),
            Object::FermiFt2(file) => format!("fermi/ft2/{}", segment("file", file)?),
            Object::SwiftTimeline(hour) => format!("swift/timeline/{}.json", segment("hour", hour)?),
        })
    }
}

/// How the name of a claim ends: the first has no number.
fn pending(n: u32) -> String {
    if n == 0 { PENDING.to_owned() } else { format!(".{n}{PENDING}") }
}

/// A part of a name that came from outside: one segment of letters, digits and `._-:+,`.
fn segment<'a>(what: &str, text: &'a str) -> Result<&'a str> {
    if text.is_empty() || text.len() > MAX_SEGMENT_BYTES || text.starts_with('.') || !text.chars().all(allowed) {
        let shown: String = text.chars().take(60).collect();
        return Err(Error::permanent(format!(
            "{what} `{}`: expected 1 to {MAX_SEGMENT_BYTES} letters, digits or `._-:+,`, not starting with a full stop",
            shown.escape_default()
        )));
    }
    Ok(text)
}

fn allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-:+,".contains(c)
}

/// Any text as one segment: what [`segment`] refuses becomes `%` and its bytes in hexadecimal. What is then too long, or
/// nothing, ends in `~` and the first 16 digits of the text's SHA-256. Different texts have different segments.
fn encoded(text: &str) -> String {
    use fmt::Write;

    let mut name = String::new();
    for (i, byte) in text.bytes().enumerate() {
        let kept = allowed(char::from(byte)) && !(i == 0 && byte == b'.');
        // Writing into a string cannot fail.
        let _ = if kept { name.write_char(char::from(byte)) } else { write!(name, "%{byte:02X}") };
    }
    if name.is_empty() || name.len() > MAX_SEGMENT_BYTES {
        let hash = &sha256(text)[..16];
        name.truncate(MAX_SEGMENT_BYTES - 1 - hash.len());
        name = format!("{name}~{hash}");
    }
    name
}

/// The inverse of [`encoded`], for what was not shortened.
fn decoded(segment: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::new(), segment.bytes());
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{AlertKind, AlertType};
    use super::*;

    fn name(text: &str) -> AlertName {
        text.parse().expect("a valid name")
    }

    #[test]
    fn objects_have_the_names_of_the_contract() {
        let real = name("S230518h-Preliminary1");
        let mock = name("MS181101ab-Update-ExtCoinc");
        let key = |object: Object| object.key().expect("a key").to_string();
        assert_eq!(key(Object::Notice(&real)), "fit/S230518h-Preliminary1_alert.json");
        assert_eq!(key(Object::MultiOrderMap(&real)), "fit/S230518h-Preliminary1_moc.fits.gz");
        assert_eq!(key(Object::FlatMap(&mock)), "test/MS181101ab-Update-ExtCoinc.fits.gz");
        assert_eq!(key(Object::Contours(&real)), "fit/S230518h-Preliminary1-contours-smooth.json");
        assert_eq!(key(Object::FermiGbm(&real.superevent_id)), "fit/S230518h-Fermi.json");
        assert_eq!(key(Object::FermiLat(&mock.superevent_id)), "test/MS181101ab-LAT.json");
        assert_eq!(key(Object::SwiftBat(&real.superevent_id)), "fit/S230518h-BAT.json");
        assert_eq!(key(Object::PostAlert(&mock)), "work/MS181101ab-Update-ExtCoinc/post_alert.json");
        assert_eq!(key(Object::Latest(&real.superevent_id)), "fit/S230518h-latest.json");
        let search = Object::IceCube(&real.superevent_id, "S230518h-2 of/3");
        assert_eq!(key(search), "fit/S230518h-icecube-S230518h-2%20of%2F3.json");
        for (reference, id, expected) in [
            ("S230518h-2", &real.superevent_id, true),
            (&"long".repeat(100), &real.superevent_id, true),
            ("x-annotations", &real.superevent_id, true),
            ("S230518h-2", &mock.superevent_id, false),
        ] {
            let key = Object::IceCube(&real.superevent_id, reference).key().expect("a key");
            assert_eq!((key.is_search_of(id), key.annotations_of()), (expected, None), "{key}");
        }
        assert!(!Object::Annotations(&real).key().expect("a key").is_search_of(&real.superevent_id));
        assert_eq!(key(Object::VoEvent(&mock)), "test/MS181101ab-Update-ExtCoinc-voevent.xml");
        let annotations = Object::Annotations(&mock).key().expect("a key");
        assert_eq!(annotations.as_str(), "test/MS181101ab-Update-ExtCoinc-annotations.json");
        assert_eq!((annotations.annotations_of(), annotations.notice_of()), (Some(mock), None));
        assert_eq!(Object::Notice(&real).key().expect("a key").notice_of(), Some(real.clone()));
        assert_eq!(Object::Contours(&real).key().expect("a key").annotations_of(), None);
        assert_eq!(
            key(Object::Inbox { topic: "igwn.gwalert", partition: 0, offset: 42 }),
            "inbox/igwn.gwalert/0/00000000000000000042.json"
        );
        assert_eq!(key(Object::FromGraceDb("S230518h-update.json,1")), "inbox/gracedb/S230518h-update.json,1.json");
        assert_eq!(key(Object::Audit("2023-05-20T12:00:00Z")), "audit/2023-05-20T12:00:00Z.json");
    }

    #[test]
    fn parts_from_outside_stay_in_their_place() {
        for part in ["../../x", "a/b", "", ".", "a b", "ü"] {
            assert!(Object::Failed(part).key().is_err(), "{part}");
        }
        for whole in ["/etc/passwd", "a//b", "a/../b", "a\\b", "a\nb", ""] {
            assert!(Key::new(whole).is_err(), "{whole}");
        }
    }

    #[test]
    fn any_reference_names_an_object_of_its_own() {
        let segment = |text: &str| {
            let key = Object::PostIceCube(text).key().expect("a key").to_string();
            key.strip_prefix("work/").and_then(|rest| rest.strip_suffix("/post_icecube_notice.json")).map(str::to_owned)
        };
        let long = "S230914ak-".to_owned() + &"ü".repeat(100);
        for (text, expected) in [
            ("S230914ak-2-Preliminary", "S230914ak-2-Preliminary".to_owned()),
            ("S230914ak-2 of/3#x", "S230914ak-2%20of%2F3%23x".to_owned()),
            ("..", "%2E.".to_owned()),
            ("100%", "100%25".to_owned()),
            ("a\\b\nü", "a%5Cb%0A%C3%BC".to_owned()),
            // printf '' | sha256sum
            ("", "~e3b0c44298fc1c14".to_owned()),
            // printf 'S230914ak-%s' "$(printf 'ü%.0s' $(seq 100))" | sha256sum
            (&long, format!("S230914ak-{}%C3%B~ac15bc30bd8fca9b", "%C3%BC".repeat(28))),
        ] {
            assert_eq!(segment(text).as_deref(), Some(&*expected), "{text}");
        }
    }

    fn any_name() -> impl Strategy<Value = AlertName> {
        let kind = proptest::sample::select(&AlertKind::ALL[..]);
        ("[MT]?S[0-9]{6}[a-z]{1,4}", kind, any::<bool>(), 0..2000_u32).prop_map(|(id, kind, external, n)| {
            let alert_type = AlertType { kind, external };
            AlertName { superevent_id: id.parse().expect("an id"), alert_type, n }
        })
    }

    proptest! {
        #[test]
        fn every_name_is_parsed_as_the_object_that_prints_it(
            name in any_name(),
            percent: u8,
            text in "[A-Za-z0-9_:+,-][A-Za-z0-9._:+,-]{0,60}",
            reference in "(\\PC|[./%~ ]){1,20}",
            partition in 0..i32::MAX,
            offset in 0..i64::MAX,
        ) {
            let id = &name.superevent_id;
            let of_alert = OF_ALERT.into_iter().chain(AT_WORK).map(|(_, object)| object(&name));
            let of_superevent = OF_SUPEREVENT.into_iter().map(|(_, object)| object(id));
            let others = [
                Object::CredibleRegion(&name, percent),
                Object::PostIceCube(&reference),
                Object::IceCube(id, &reference),
                Object::Inbox { topic: &text, partition, offset },
                Object::FromGraceDb(&text),
                Object::Audit(&text),
                Object::Failed(&text),
                Object::FermiTle(&text),
                Object::FermiFt2(&text),
                Object::SwiftTimeline(&text),
            ];
            for object in of_alert.chain(of_superevent).chain(others) {
                let key = object.key().expect("a key");
                let parsed = Parsed::of(&key).unwrap_or_else(|| panic!("{key} is no object"));
                prop_assert_eq!(parsed.object(), object, "{}", key);
            }
        }

        #[test]
        fn what_parses_prints_the_same(name in "(fit|test|work|failed|audit|fermi/tle|inbox/a|inbox/gracedb)/[A-Za-z0-9/._-]{1,60}") {
            let Ok(key) = Key::new(name) else { return Ok(()) };
            if let Some(parsed) = Parsed::of(&key) {
                prop_assert_eq!(parsed.object().key().expect("a key"), key);
            }
        }

        #[test]
        fn references_stay_under_work_and_apart(one: String, other in "(\\PC|[./%~ \\x00]){0,40}") {
            let keys = [&one, &other].map(|text| Object::PostIceCube(text).key().expect("a key").to_string());
            for key in &keys {
                let segments: Vec<&str> = key.split('/').collect();
                assert!(matches!(segments[..], ["work", _, "post_icecube_notice.json"]), "{key}");
            }
            assert_eq!(one == other, keys[0] == keys[1]);
        }
    }
}
