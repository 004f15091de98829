use std::collections::BTreeMap;

use proptest::prelude::*;
use roxmltree::{Document, Node};
use serde_json::{Value, json};

use super::*;
use crate::annotations::Timings;

const STREAM: &str = "ivo://treasure-map-functions/lvk";

fn annotated(name: &str, sequence: u32, event: Value, external: Value) -> Annotations {
    let alert = json!({
        "name": name, "role": if name.starts_with('M') { "test" } else { "observation" },
        "time_created": format!("2026-01-01T{:02}:{:02}:00Z", sequence / 60, sequence % 60), "event": event, "external": external,
    });
    let alert = serde_json::from_value(alert).expect("an alert");
    Annotations { sequence, ..Annotations::new(&alert, None, None, Timings::default()) }
}

fn merger(name: &str, sequence: u32) -> Annotations {
    let event = json!({
        "time": "2026-01-01T00:00:00.654437Z", "far": 9.11069936486e-14, "significant": true,
        "instruments": ["H1", "L1", "V1"], "group": "CBC", "pipeline": "gstlal", "search": "AllSky",
        "classification": {"Terrestrial": 0.01, "BBH": 0.03, "BNS": 0.95, "NSBH": 0.01, "MassGap": 0.0},
        "properties": {"HasNS": 0.95, "HasSSM": 0.5, "HasRemnant": 0.91, "HasMassGap": 0.01},
        "gracedb_url": "https://gracedb.ligo.org/superevents/S260101a/view/",
    });
    annotated(name, sequence, event, Value::Null)
}

fn maps() -> Maps {
    let url = |file: &str| Some(format!("https://gracedb.ligo.org/api/superevents/S260101a/files/{file}"));
    Maps { skymap_fits: url("bayestar.multiorder.fits,1"), joint_skymap_fits: url("combined-ext.multiorder.fits,0") }
}

fn xml(alert: &Annotations, earlier: &[Annotations], maps: &Maps) -> String {
    let document = VoEvent::new(STREAM, alert, earlier, maps).to_xml().expect("a document");
    String::from_utf8(document).expect("UTF-8")
}

fn child<'a, 'i>(node: Node<'a, 'i>, path: &str) -> Node<'a, 'i> {
    path.split('/').fold(node, |node, name| {
        let child = node.children().find(|child| child.has_tag_name(name));
        child.unwrap_or_else(|| panic!("{path}: no `{name}`"))
    })
}

/// Group, name, value, type, UCD and unit of every parameter.
fn params(document: &Document) -> Vec<[String; 6]> {
    let params = document.descendants().filter(|node| node.has_tag_name("Param"));
    let text = |node: Node, name: &str| node.attribute(name).unwrap_or_default().to_owned();
    params
        .map(|param| {
            let group = param.parent().filter(|parent| parent.has_tag_name("Group"));
            if let Some(group) = group {
                assert_eq!(group.attribute("name"), group.attribute("type"));
            }
            [
                group.map_or(String::new(), |group| text(group, "name")),
                text(param, "name"),
                text(param, "value"),
                text(param, "dataType"),
                text(param, "ucd"),
                text(param, "unit"),
            ]
        })
        .collect()
}

/// Names, types, UCDs and units are those of MS181101ab-1-EarlyWarning.xml in the User Guide of O4, and `HasSSM`,
/// `MassGap` as theirs.
#[test]
fn parameters_of_a_merger_are_those_of_gracedb() {
    let alert = merger("S260101a-EarlyWarning", 1);
    let document = xml(&alert, &[], &Maps { joint_skymap_fits: None, ..maps() });
    let document = Document::parse(&document).expect("XML");
    let page = "https://gracedb.ligo.org/superevents/S260101a/view/";
    let fits = "https://gracedb.ligo.org/api/superevents/S260101a/files/bayestar.multiorder.fits,1";
    let far = "arith.rate;stat.falsealarm";
    let expected = [
        ["", "Packet_Type", "163", "int", "", ""],
        ["", "internal", "0", "int", "", ""],
        ["", "Pkt_Ser_Num", "1", "int", "", ""],
        ["", "GraceID", "S260101a", "string", "meta.id", ""],
        ["", "AlertType", "EarlyWarning", "string", "meta.version", ""],
        ["", "HardwareInj", "0", "int", "meta.number", ""],
        ["", "OpenAlert", "1", "int", "meta.number", ""],
        ["", "EventPage", page, "string", "meta.ref.url", ""],
        ["", "Instruments", "H1,L1,V1", "string", "meta.code", ""],
        ["", "FAR", "9.11069936486e-14", "float", far, "Hz"],
        ["", "Significant", "1", "int", "meta.number", ""],
        ["", "Group", "CBC", "string", "meta.code", ""],
        ["", "Pipeline", "gstlal", "string", "meta.code", ""],
        ["", "Search", "AllSky", "string", "meta.code", ""],
        ["GW_SKYMAP", "skymap_fits", fits, "string", "meta.ref.url", ""],
        ["Classification", "BNS", "0.95", "float", "stat.probability", ""],
        ["Classification", "NSBH", "0.01", "float", "stat.probability", ""],
        ["Classification", "BBH", "0.03", "float", "stat.probability", ""],
        ["Classification", "Terrestrial", "0.01", "float", "stat.probability", ""],
        ["Classification", "MassGap", "0.0", "float", "stat.probability", ""],
        ["Properties", "HasNS", "0.95", "float", "stat.probability", ""],
        ["Properties", "HasRemnant", "0.91", "float", "stat.probability", ""],
        ["Properties", "HasMassGap", "0.01", "float", "stat.probability", ""],
        ["Properties", "HasSSM", "0.5", "float", "stat.probability", ""],
    ];
    assert_eq!(params(&document), expected.map(|row| row.map(str::to_owned)));
    let root = document.root_element();
    assert_eq!(
        ["version", "role", "ivorn"].map(|name| root.attribute(name)),
        ["2.0", "observation", "ivo://treasure-map-functions/lvk#S260101a-1-EarlyWarning"].map(Some)
    );
    assert_eq!(child(root, "Who/AuthorIVORN").text(), Some(STREAM));
    assert_eq!(child(root, "Who/Date").text(), Some("2026-01-01T00:01:00Z"));
    assert!(
        child(root, "Who/Description").text().is_some_and(|text| text.ends_with("Not issued by LIGO/Virgo/KAGRA."))
    );
    let place = child(root, "WhereWhen/ObsDataLocation");
    assert_eq!(child(place, "ObservatoryLocation").attribute("id"), Some("LIGO Virgo KAGRA"));
    let time = child(place, "ObservationLocation/AstroCoords/Time/TimeInstant/ISOTime");
    assert_eq!(time.text(), Some("2026-01-01T00:00:00.654437Z"));
    let how: Vec<_> =
        child(root, "How").children().filter_map(|node| node.text()).filter(|text| text.contains(": ")).collect();
    assert_eq!(how, ["H1: LIGO Hanford, arms of 4 km", "L1: LIGO Livingston, arms of 4 km", "V1: Virgo, arms of 3 km"]);
}

#[test]
fn burst_has_frequency_and_duration_and_no_empty_group() {
    let event = json!({
        "time": "2026-01-01T00:00:00Z", "far": 1e-9, "instruments": ["H1", "L1"], "group": "Burst", "pipeline": "CWB",
        "search": "AllSky", "central_frequency": 126.3, "duration": 0.05,
    });
    let alert = annotated("MS260101a-Initial", 1, event, Value::Null);
    let document = xml(&alert, &[], &Maps::default());
    let document = Document::parse(&document).expect("XML");
    let all = params(&document);
    let expected = [
        ["", "CentralFreq", "126.3", "float", "gw.frequency", "Hz"],
        ["", "Duration", "0.05", "float", "time.duration", "s"],
    ];
    assert_eq!(all[all.len() - 2..], expected.map(|row| row.map(str::to_owned)));
    assert!(!all.iter().any(|param| param[1] == "Significant"), "older notices do not say");
    assert!(document.descendants().all(|node| !node.has_tag_name("Group") && !node.has_tag_name("Citations")));
    assert_eq!(document.root_element().attribute("role"), Some("test"));
}

/// The group is that of MS181101ab-6-Update.xml in the User Guide; `joint_skymap_fits` is from GraceDB's code.
#[test]
fn external_coincidence_has_its_group() {
    let external = json!({
        "gcn_notice_id": "524666471", "ivorn": "ivo://nasa.gsfc.gcn/Fermi#x", "observatory": "Fermi", "search": "GRB",
        "time_difference": -1.54, "time_coincidence_far": 1e-16, "time_sky_position_coincidence_far": 1e-17,
    });
    let event = serde_json::to_value(merger("S260101a-Update", 3).event).expect("JSON");
    let alert = annotated("S260101a-Update-ExtCoinc", 4, event, external);
    let document = xml(&alert, &[merger("S260101a-Update", 3)], &maps());
    let document = Document::parse(&document).expect("XML");
    let all = params(&document);
    let own = |group: &str| all.iter().filter(|param| param[0] == group).cloned().collect::<Vec<_>>();
    let (name, far) = ("External Coincidence", "arith.rate;stat.falsealarm");
    let joint = "https://gracedb.ligo.org/api/superevents/S260101a/files/combined-ext.multiorder.fits,0";
    let expected = [
        [name, "External_GCN_Notice_Id", "524666471", "string", "meta.id", ""],
        [name, "External_Ivorn", "ivo://nasa.gsfc.gcn/Fermi#x", "string", "meta.id", ""],
        [name, "External_Observatory", "Fermi", "string", "meta.code", ""],
        [name, "External_Search", "GRB", "string", "meta.code", ""],
        [name, "Time_Difference", "-1.54", "float", "meta.code", ""],
        [name, "Time_Coincidence_FAR", "1e-16", "float", far, "Hz"],
        [name, "Time_Sky_Position_Coincidence_FAR", "1e-17", "float", far, "Hz"],
        [name, "joint_skymap_fits", joint, "string", "meta.ref.url", ""],
    ];
    assert_eq!(own(name), expected.map(|row| row.map(str::to_owned)));
    assert_eq!(own("GW_SKYMAP").len(), 1);
    assert_eq!(all.iter().find(|param| param[1] == "AlertType").map(|param| param[2].as_str()), Some("Update"));
    let ivorn = document.root_element().attribute("ivorn");
    assert_eq!(ivorn, Some("ivo://treasure-map-functions/lvk#S260101a-4-Update-ExtCoinc"));
}

#[test]
fn packet_types_and_citations_follow_the_type_and_the_order() {
    let names = ["EarlyWarning", "Preliminary", "Preliminary1", "Initial", "Update", "Retraction"];
    let mut all: Vec<Annotations> = (1..).zip(names).map(|(n, name)| merger(&format!("S260101a-{name}"), n)).collect();
    // A retraction says nothing of the event.
    all[5].event = None;
    let mut ivorns = Vec::<String>::new();
    for (i, number) in ["163", "150", "150", "151", "152", "164"].into_iter().enumerate() {
        let document = xml(&all[i], &all[..i], &maps());
        assert_eq!(document, xml(&all[i].clone(), &all[..i], &maps()), "deterministic");
        let document = Document::parse(&document).expect("XML");
        let found: BTreeMap<String, String> =
            params(&document).into_iter().map(|[_, name, value, ..]| (name, value)).collect();
        assert_eq!((found["Packet_Type"].as_str(), found["Pkt_Ser_Num"].clone()), (number, (i + 1).to_string()));
        let cited: Vec<_> = document.descendants().filter(|node| node.has_tag_name("EventIVORN")).collect();
        let cite = if i == 5 { "retraction" } else { "supersedes" };
        assert!(cited.iter().all(|node| node.attribute("cite") == Some(cite)));
        let cited: Vec<_> = cited.iter().rev().filter_map(|node| node.text()).collect();
        assert_eq!(cited, ivorns, "newest first");
        ivorns.push(document.root_element().attribute("ivorn").expect("an identifier").to_owned());
        if i == 5 {
            assert_eq!(found.len(), 8, "{found:?}");
            assert_eq!(found["EventPage"], "https://gracedb.ligo.org/superevents/S260101a/view/");
            let time =
                child(document.root_element(), "WhereWhen").descendants().find(|node| node.has_tag_name("ISOTime"));
            assert_eq!(time.and_then(|time| time.text()), Some("2026-01-01T00:00:00.654437Z"));
            assert!(document.descendants().all(|node| !node.has_tag_name("How")));
        }
    }
    assert_eq!(ivorns[2], "ivo://treasure-map-functions/lvk#S260101a-3-Preliminary1");
    // Alone it has neither time nor page.
    let alone = xml(&all[5], &[], &Maps::default());
    let alone = Document::parse(&alone).expect("XML");
    assert_eq!(params(&alone).len(), 7);
    assert!(alone.descendants().all(|node| !node.has_tag_name("WhereWhen")));
}

#[test]
fn the_newest_alerts_are_cited() {
    let earlier: Vec<_> = (1..=150).map(|n| merger(&format!("MS260101a-Update{n}"), n)).collect();
    let document = xml(&merger("MS260101a-Update151", 151), &earlier, &Maps::default());
    assert!(document.len() < 20_000);
    let document = Document::parse(&document).expect("XML");
    let cited: Vec<_> = document.descendants().filter(|node| node.has_tag_name("EventIVORN")).collect();
    assert_eq!((cited.len(), cited[0].text()), (100, Some("ivo://treasure-map-functions/lvk#MS260101a-150-Update150")));
}

#[test]
fn test_has_its_role_and_an_identifier_of_its_own() {
    let alert = merger("S260101a-Initial", 1);
    let at = |time: &str| {
        let test = VoEvent::new(STREAM, &alert, &[], &maps()).as_test(time.parse().expect("a time"));
        String::from_utf8(test.to_xml().expect("a document")).expect("UTF-8")
    };
    let one = at("2026-01-01T00:00:00.001Z");
    let document = Document::parse(&one).expect("XML");
    let root = document.root_element();
    assert_eq!(root.attribute("role"), Some("test"));
    assert_eq!(root.attribute("ivorn"), Some("ivo://treasure-map-functions/lvk#S260101a-1-Initial-test-1767225600001"));
    assert_ne!(one, at("2026-01-01T00:00:00.002Z"));
}

proptest! {
    /// Any text of a notice gives well-formed XML that parses back, except for characters that XML 1.0 cannot hold.
    #[test]
    fn any_text_is_escaped(
        texts in prop::array::uniform5(prop_oneof!["\\PC{0,20}", "[\\x00-\\x20<>&'\"\\]]{0,20}", any::<String>()]),
        class in "(\\PC|[\\x00-\\x7f]){1,20}",
        far in prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO,
    ) {
        let event = json!({
            "time": "2026-01-01T00:00:00Z", "far": far, "instruments": [texts[0]], "group": texts[1], "pipeline": texts[2],
            "classification": {class.clone(): 0.5}, "gracedb_url": texts[3],
        });
        let alert = annotated("S260101a-Update-ExtCoinc", 1, event, json!({"ivorn": texts[4]}));
        let maps = Maps { skymap_fits: Some(texts[3].clone()), joint_skymap_fits: None };
        let document = xml(&alert, &[], &maps);
        let document = Document::parse(&document).expect("well-formed");
        let found = params(&document);
        let value = |name: &str| found.iter().find(|param| param[1] == name).map(|param| param[2].clone());
        for (name, text) in [
            ("Instruments", &texts[0]), ("Group", &texts[1]), ("Pipeline", &texts[2]), ("EventPage", &texts[3]),
            ("skymap_fits", &texts[3]), ("External_Ivorn", &texts[4]),
        ] {
            prop_assert_eq!(value(name), Some(clean(text)), "{}", name);
        }
        prop_assert_eq!(value("FAR").and_then(|far| far.parse().ok()), Some(far));
        let is_class = |param: &&[String; 6]| param[0] == "Classification";
        prop_assert_eq!(found.iter().find(is_class).map(|param| &param[1]), Some(&clean(&class)));
        // Whatever XML can hold in an attribute stays.
        let held = |c: char| c >= ' ' && c != '\u{fffe}' && c != '\u{ffff}';
        for text in texts.iter().filter(|text| text.chars().all(held) && text.chars().count() <= MAX_TEXT_CHARS) {
            prop_assert_eq!(&clean(text), text);
        }
    }
}
