//! Renders an alert as VOEvent 2.0 (<https://www.ivoa.net/documents/VOEvent/20110711/>).
//!
//! LIGO/Virgo/KAGRA send no VOEvents since July 2026. These have the parameters of their last ones (GraceDB, observing
//! run O4; [`params`]), so that programs which read those read these, and say that they are made from the JSON notice.
//!
//! A document depends on the alert and on the superevent's earlier alerts, so a replay writes the same bytes. Its
//! identifier has the serial number and the alert's name: a document with other citations has another identifier.

pub mod params;

use std::io;

use jiff::Timestamp;
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};
use shared::key::{AlertKind, Object};
use shared::message::Role;
use shared::{Context, Result};
use store::Store;

use crate::annotations::Annotations;
use crate::posted;
use params::{Item, Param};

/// Maximum number of citations. Receivers limit a document, comet to 99,999 bytes; the newest are cited.
const MAX_CITATIONS: usize = 100;
/// Maximum length of a text from the notice \[characters\].
const MAX_TEXT_CHARS: usize = 1000;

const NAMESPACE: &str = "http://www.ivoa.net/xml/VOEvent/v2.0";
const SCHEMA_LOCATION: &str = "http://www.ivoa.net/xml/VOEvent/v2.0 http://www.ivoa.net/xml/VOEvent/VOEvent-v2.0.xsd";
/// Time scale, coordinates and origin of the event's time, as in GraceDB's VOEvents.
const COORDINATES: &str = "UTC-FK5-GEO";

/// Detectors by their prefix.
const DETECTORS: [(&str, &str); 5] = [
    ("H1", "LIGO Hanford, arms of 4 km"),
    ("L1", "LIGO Livingston, arms of 4 km"),
    ("V1", "Virgo, arms of 3 km"),
    ("K1", "KAGRA, arms of 3 km"),
    ("G1", "GEO 600, arms of 600 m"),
];

/// URLs of an alert's sky maps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Maps {
    /// The map of the gravitational waves.
    pub skymap_fits: Option<String>,
    /// The map combined with that of an external event.
    pub joint_skymap_fits: Option<String>,
}

impl Maps {
    /// Finds the URLs for an alert of a superevent: below `objects_url`, else those that were posted.
    ///
    /// The map of an external coincidence's alert is the combined one; the map of the waves is that of the event's own
    /// alert of the same notice.
    ///
    /// # Errors
    /// The store's.
    pub async fn find(
        store: &Store,
        objects_url: Option<&str>,
        alert: &Annotations,
        all: &[Annotations],
    ) -> Result<Self> {
        let own = url(store, objects_url, alert).await?;
        if !alert.name.alert_type.external {
            return Ok(Maps { skymap_fits: own, joint_skymap_fits: None });
        }
        let same_notice = |other: &&Annotations| {
            let (this, other_type) = (alert.name.alert_type, other.name.alert_type);
            other.time_created == alert.time_created && other_type.kind == this.kind && !other_type.external
        };
        let skymap_fits = match all.iter().rfind(same_notice) {
            Some(event) => url(store, objects_url, event).await?,
            None => None,
        };
        Ok(Maps { skymap_fits, joint_skymap_fits: own })
    }
}

/// URL of an alert's map.
async fn url(store: &Store, objects_url: Option<&str>, alert: &Annotations) -> Result<Option<String>> {
    if alert.skymap.is_none() {
        return Ok(None);
    }
    if let Some(objects_url) = objects_url {
        return Ok(Some(format!("{objects_url}/{}", Object::MultiOrderMap(&alert.name).key()?)));
    }
    let posted = store.get(&Object::PostAlert(&alert.name).key()?).await?;
    Ok(posted.and_then(|body| posted::map_url(&body)))
}

/// An alert as VOEvent.
#[derive(Debug, Clone)]
pub struct VoEvent<'a> {
    stream: &'a str,
    ivorn: String,
    role: Role,
    alert: &'a Annotations,
    /// Identifiers of the superevent's earlier VOEvents, newest first.
    cited: Vec<String>,
    /// Time of the signal.
    time: Option<Timestamp>,
    what: Vec<Item>,
}

impl<'a> VoEvent<'a> {
    /// Builds an alert's VOEvent. `earlier`: the superevent's earlier alerts, oldest first; a retraction, which says
    /// nothing of the event, has time and page from them.
    pub fn new(stream: &'a str, alert: &'a Annotations, earlier: &'a [Annotations], maps: &Maps) -> Self {
        let events = || earlier.iter().chain([alert]).rev().filter_map(|alert| alert.event.as_ref());
        let page = events().find_map(|event| event.gracedb_url.as_deref());
        VoEvent {
            stream,
            ivorn: ivorn(stream, alert),
            role: alert.role,
            alert,
            cited: earlier.iter().rev().take(MAX_CITATIONS).map(|earlier| ivorn(stream, earlier)).collect(),
            time: events().next().map(|event| event.time),
            what: params::what(alert, page, maps),
        }
    }

    /// Marks it as a test with an identifier of its own, because receivers reject an identifier that they have seen.
    #[must_use]
    pub fn as_test(mut self, now: Timestamp) -> Self {
        self.role = Role::Test;
        self.ivorn = format!("{}-test-{}", self.ivorn, now.as_millisecond());
        self.cited.clear();
        self
    }

    fn is_retraction(&self) -> bool {
        self.alert.name.alert_type.kind == AlertKind::Retraction
    }

    /// The document.
    ///
    /// # Errors
    /// Never: writing to memory does not fail.
    pub fn to_xml(&self) -> Result<Vec<u8>> {
        let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
        self.write(&mut writer).permanent("VOEvent")?;
        let mut document = writer.into_inner();
        document.push(b'\n');
        Ok(document)
    }

    fn write(&self, to: &mut Xml) -> io::Result<()> {
        to.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
        let role = match self.role {
            Role::Observation => "observation",
            Role::Test => "test",
        };
        let attributes = [
            ("xmlns:xsi", "http://www.w3.org/2001/XMLSchema-instance"),
            ("xmlns:voe", NAMESPACE),
            ("xsi:schemaLocation", SCHEMA_LOCATION),
            ("version", "2.0"),
            ("role", role),
            ("ivorn", self.ivorn.as_str()),
        ];
        to.create_element("voe:VOEvent").with_attributes(attributes).write_inner_content(|to| {
            self.who(to)?;
            within(to, "What", |to| self.what.iter().try_for_each(|item| item.write(to)))?;
            self.where_when(to)?;
            let kind = if self.is_retraction() { "Retraction of a" } else { "A" };
            text(to, "Description", &format!("{kind} candidate of a gravitational-wave event"))?;
            self.how(to)?;
            self.citations(to)
        })?;
        Ok(())
    }

    fn who(&self, to: &mut Xml) -> io::Result<()> {
        within(to, "Who", |to| {
            text(
                to,
                "Description",
                "Made by Treasure Map functions from the JSON notice of LIGO/Virgo/KAGRA (igwn.gwalert). Not issued by \
                 LIGO/Virgo/KAGRA.",
            )?;
            text(to, "AuthorIVORN", self.stream)?;
            text(to, "Date", &self.alert.time_created.to_string())?;
            within(to, "Author", |to| {
                text(to, "title", "Treasure Map functions")?;
                text(to, "contactName", "Treasure Map functions, not LIGO/Virgo/KAGRA")?;
                text(
                    to,
                    "contributor",
                    "LIGO Scientific Collaboration, Virgo Collaboration and KAGRA Collaboration: the notice",
                )
            })
        })
    }

    fn where_when(&self, to: &mut Xml) -> io::Result<()> {
        let Some(time) = self.time else { return Ok(()) };
        within(to, "WhereWhen", |to| {
            within(to, "ObsDataLocation", |to| {
                to.create_element("ObservatoryLocation").with_attribute(("id", "LIGO Virgo KAGRA")).write_empty()?;
                within(to, "ObservationLocation", |to| {
                    to.create_element("AstroCoordSystem").with_attribute(("id", COORDINATES)).write_empty()?;
                    let coordinates = to.create_element("AstroCoords").with_attribute(("coord_system_id", COORDINATES));
                    coordinates.write_inner_content(|to| {
                        to.create_element("Time").with_attribute(("unit", "s")).write_inner_content(|to| {
                            within(to, "TimeInstant", |to| text(to, "ISOTime", &time.to_string()))
                        })?;
                        Ok(())
                    })?;
                    Ok(())
                })
            })
        })
    }

    fn how(&self, to: &mut Xml) -> io::Result<()> {
        let Some(event) = self.alert.event.as_ref().filter(|_| !self.is_retraction()) else { return Ok(()) };
        within(to, "How", |to| {
            text(to, "Description", "Found by the low-latency analysis of LIGO/Virgo/KAGRA")?;
            let used = DETECTORS.iter().filter(|(prefix, _)| event.instruments.iter().any(|used| used == prefix));
            for (prefix, detector) in used {
                text(to, "Description", &format!("{prefix}: {detector}"))?;
            }
            Ok(())
        })
    }

    fn citations(&self, to: &mut Xml) -> io::Result<()> {
        if self.cited.is_empty() {
            return Ok(());
        }
        let (cite, description) = match self.alert.name.alert_type.kind {
            AlertKind::Retraction => ("retraction", "LIGO/Virgo/KAGRA retract the candidate"),
            AlertKind::EarlyWarning => ("supersedes", "An early warning"),
            AlertKind::Preliminary => ("supersedes", "A preliminary alert"),
            AlertKind::Initial => ("supersedes", "The alert after people have looked at the candidate"),
            AlertKind::Update => ("supersedes", "An update of the candidate"),
        };
        within(to, "Citations", |to| {
            for ivorn in &self.cited {
                let citation = to.create_element("EventIVORN").with_attribute(("cite", cite));
                citation.write_text_content(BytesText::new(&clean(ivorn)))?;
            }
            text(to, "Description", description)
        })
    }
}

/// Identifier of an alert's VOEvent: `ivo://treasure-map-functions/lvk#S230518h-2-Preliminary1`.
fn ivorn(stream: &str, alert: &Annotations) -> String {
    let name = &alert.name;
    let n = if name.n == 0 { String::new() } else { name.n.to_string() };
    format!("{stream}#{}-{}-{}{n}", name.superevent_id, alert.sequence, name.alert_type)
}

type Xml = Writer<Vec<u8>>;

/// Writes an element with a text.
fn text(to: &mut Xml, name: &str, text: &str) -> io::Result<()> {
    to.create_element(name).write_text_content(BytesText::new(&clean(text))).map(drop)
}

/// Writes an element with others inside.
fn within(to: &mut Xml, name: &str, inside: impl FnOnce(&mut Xml) -> io::Result<()>) -> io::Result<()> {
    to.create_element(name).write_inner_content(inside).map(drop)
}

/// Replaces characters that XML 1.0 has no way to write, and whitespace that a reader of an attribute would turn into
/// spaces anyway; shortens long texts.
fn clean(text: &str) -> String {
    let allowed = |c: char| match c {
        '\t' | '\n' | '\r' => ' ',
        '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.chars().take(MAX_TEXT_CHARS).map(allowed).collect()
}

impl Item {
    fn write(&self, to: &mut Xml) -> io::Result<()> {
        match self {
            Item::Param(param) => param.write(to),
            Item::Group { name, description, params } => {
                // GraceDB's groups have a type for readers of older VOEvents.
                let group = to.create_element("Group").with_attributes([("name", *name), ("type", *name)]);
                group.write_inner_content(|to| {
                    params.iter().try_for_each(|param| param.write(to))?;
                    text(to, "Description", description)
                })?;
                Ok(())
            }
        }
    }
}

impl Param {
    fn write(&self, to: &mut Xml) -> io::Result<()> {
        let (name, value) = (clean(&self.name), clean(&self.value));
        let mut attributes = vec![("name", name.as_str()), ("dataType", self.data_type), ("value", value.as_str())];
        attributes.extend(self.ucd.map(|ucd| ("ucd", ucd)));
        attributes.extend(self.unit.map(|unit| ("unit", unit)));
        let param = to.create_element("Param").with_attributes(attributes);
        param.write_inner_content(|to| text(to, "Description", &self.description))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
