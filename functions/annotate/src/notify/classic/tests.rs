use serde_json::{Value, json};

use shared::key::Key;

use super::*;
use crate::annotations::{Link, Timings};

fn alert(name: &str, event: Value, signal: &str, created: &str) -> Annotations {
    let alert = json!({
        "name": name, "role": if name.starts_with('S') { "observation" } else { "test" },
        "time_created": created, "time_of_signal": signal, "event": event,
    });
    let alert = serde_json::from_value(alert).expect("an alert");
    Annotations::new(&alert, None, None, Timings::default())
}

/// The notice of S200316bj as GCN sent it on 16 March 2020 (<https://gcn.gsfc.nasa.gov/notices_l/S200316bj.lvc>), up to
/// its comments.
const S200316BJ: &str = "\
TITLE:            GCN/LVC NOTICE
NOTICE_DATE:      Mon 16 Mar 20 22:01:09 UT
NOTICE_TYPE:      LVC Preliminary
TRIGGER_NUM:      S200316bj
TRIGGER_DATE:     18924 TJD;    76 DOY;   2020/03/16 (yyyy/mm/dd)
TRIGGER_TIME:     79076.157221 SOD {21:57:56.157221} UT
SEQUENCE_NUM:     1
GROUP_TYPE:       1 = CBC
SEARCH_TYPE:      1 = AllSky
PIPELINE_TYPE:    4 = gstlal
FAR:              7.099e-11 [Hz]  (one per 163037.0 days)  (one per 446.68 years)
PROB_NS:          0.00 [range is 0.0-1.0]
PROB_REMNANT:     0.00 [range is 0.0-1.0]
PROB_BNS:         0.00 [range is 0.0-1.0]
PROB_NSBH:        0.00 [range is 0.0-1.0]
PROB_BBH:         0.00 [range is 0.0-1.0]
PROB_MassGap:     0.99 [range is 0.0-1.0]
PROB_TERRES:      0.00 [range is 0.0-1.0]
TRIGGER_ID:       0x10
MISC:             0x1898807
SKYMAP_FITS_URL:  https://gracedb.ligo.org/api/superevents/S200316bj/files/bayestar.fits.gz,0
EVENTPAGE_URL:    https://gracedb.ligo.org/superevents/S200316bj/view/
COMMENTS:         LVC Preliminary Trigger Alert.
COMMENTS:         This event is an OpenAlert.
COMMENTS:         LIGO-Hanford Observatory contributed to this candidate event.
COMMENTS:         LIGO-Livingston Observatory contributed to this candidate event.
COMMENTS:         VIRGO Observatory contributed to this candidate event.
";

#[test]
fn equals_the_notice_that_gcn_sent_of_s200316bj() {
    let event = json!({
        "time": "2020-03-16T21:57:56.157Z", "far": 7.099_047_5e-11, "instruments": ["H1", "L1", "V1"],
        "group": "CBC", "pipeline": "gstlal", "search": "AllSky",
        "classification": {"BNS": 0.0, "NSBH": 0.0, "BBH": 0.0, "MassGap": 0.994, "Terrestrial": 0.004},
        "properties": {"HasNS": 0.0, "HasRemnant": 0.0},
        "gracedb_url": "https://gracedb.ligo.org/superevents/S200316bj/view/",
    });
    let mut alert = alert("S200316bj-Preliminary", event, "2020-03-16T21:57:56.157221Z", "2020-03-16T22:01:09Z");
    let key = Key::new("fit/S200316bj-Preliminary_moc.fits.gz").expect("a key");
    alert.objects.push(Link::of("multi_order_map", &key, b""));
    let url = "https://gracedb.ligo.org/api/superevents/S200316bj/files/bayestar.fits.gz,0";
    let text = Classic::of_alert(&alert, None).with_map(url).text(false);
    let (own, last) = text.trim_end().rsplit_once('\n').expect("lines");
    assert_eq!(format!("{own}\n"), S200316BJ);
    assert!(last.starts_with("SENT_BY:          treasuremap-functions "), "{last}");
}

#[test]
fn marks_tests_retractions_coincidences_and_values_that_are_absent() {
    let event = json!({
        "time": "2026-01-01T00:00:00Z", "significant": false, "group": "CBC", "pipeline": "New", "search": "MDC",
        "properties": {"HasSSM": 0.5, "HasMassGap": 0.25},
        "mchirp_source": {"bin_edges": [0.1, 0.87, 1.74, 5], "probabilities": [0.002, 0.958, 0.04]},
    });
    let mut mock = alert("MS260101a-Update-ExtCoinc", event, "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z");
    let external =
        json!({"observatory": "Fermi", "search": "GRB", "time_difference": 1.7, "time_coincidence_far": 1e-9});
    mock.external_coincidence = Some(serde_json::from_value(external).expect("a coincidence"));
    let classic = Classic::of_alert(&mock, None);
    let fields = classic.fields(false);
    let has = |key: &str, value: &str| fields.iter().any(|field| *field == (key, value.to_owned()));
    for (key, value) in [
        ("NOTICE_TYPE", "TEST LVC Update Skymap"),
        ("SEARCH_TYPE", "6 = MockDataChallenge"),
        ("PIPELINE_TYPE", "0 = New"),
        ("PROB_MassGap", "0.25 [range is 0.0-1.0]"),
        ("PROB_BNS", "-1 [range is 0.0-1.0]   VALUE NOT ASSIGNED!"),
        ("TRIGGER_ID", "0x20000012"),
        ("COMMENTS", "This event has a LOW SIGNIFICANCE."),
        ("COMMENTS", "Property HasSSM: 0.50."),
        ("COMMENTS", "Chirp mass (source frame): 0.87-1.74 Msun 96%, 1.74-5 Msun 4%, 0.1-0.87 Msun <1%."),
        (
            "COMMENTS",
            "There is a coincidence with another event, observatory Fermi, search GRB, +1.700 s after the trigger, joint \
             FAR 1.000e-9 Hz (times).",
        ),
    ] {
        assert!(has(key, value), "{key}: {value}: {fields:?}");
    }
    assert_eq!(classic.subject(false, Some("BNS 9 %")), "GCN/LVC_TEST MS260101a: BNS 9 %");
    let alert = json!({"name": "S260101a-Retraction", "role": "observation", "time_created": "2026-01-01T01:00:00Z"});
    let alert = serde_json::from_value(alert).expect("an alert");
    let retracted = Annotations::new(&alert, None, None, Timings::default());
    let retraction = Classic::of_alert(&retracted, None);
    assert_eq!(retraction.subject(false, None), "GCN/LVC_RETRACTION S260101a");
    let text = retraction.text(false);
    assert!(text.contains("NOTICE_TYPE:      LVC Retraction\n") && text.contains("TRIGGER_ID:       0x30\n"), "{text}");
    assert!(!text.contains("TRIGGER_DATE") && !text.contains("PROB_"), "{text}");
    // Time and page are those of an earlier alert.
    let event = json!({"time": "2026-01-01T00:00:00Z", "gracedb_url": "https://gracedb.ligo.org/S260101a"});
    let earlier = self::alert("S260101a-Initial", event, "2026-01-01T00:00:00.5Z", "2026-01-01T00:01:00Z");
    let text = Classic::of_alert(&retracted, Some(&earlier)).text(false);
    assert!(text.contains("TRIGGER_DATE:     21041 TJD;     1 DOY;   2026/01/01 (yyyy/mm/dd)\n"), "{text}");
    assert!(text.contains("TRIGGER_TIME:     0.500000 SOD {00:00:00.500000} UT\n"), "{text}");
    assert!(text.contains("EVENTPAGE_URL:    https://gracedb.ligo.org/S260101a\n"), "{text}");
    // A test of a target marks a real alert.
    let test = retraction.text(true);
    assert!(
        test.contains("NOTICE_TYPE:      TEST LVC Retraction\n") && test.contains("TRIGGER_ID:       0x32\n"),
        "{test}"
    );
    assert!(test.contains("TEST of the notification"), "{test}");
    assert_eq!(retraction.subject(true, None), "GCN/LVC_TEST TEST S260101a");
}

#[test]
fn writes_documented_fields_in_their_order() {
    let event = json!({
        "time": "2026-01-01T00:00:00Z", "far": 1e-9, "group": "Burst", "pipeline": "CWB", "search": "BBH",
        "duration": 0.014, "central_frequency": 64.691, "gracedb_url": "https://gracedb.ligo.org/",
    });
    let mut burst = alert("S260101a-EarlyWarning", event.clone(), "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z");
    let key = Key::new("fit/S260101a-EarlyWarning_moc.fits.gz").expect("a key");
    burst.objects.push(Link::of("multi_order_map", &key, b""));
    let mut merger = burst.clone();
    merger.event.as_mut().expect("an event").group = Some("CBC".to_owned());
    let search = json!({
        "ref_ID": "S260101a", "alert_type": "retraction", "alert_datetime": "2026-01-01T00:30:00Z",
        "observation_start": "2026-01-01T00:00:00Z", "observation_stop": "2026-01-01T00:16:40Z",
        "most_probable_direction": {"ra": 1.0, "dec": 2.0}, "pval_generic": 0.5,
    });
    let search = TrackSearch::parse(search.to_string().as_bytes()).expect("a search");
    let unknown = Classic::of_unknown(&burst.superevent_id, "FORECAST", Some("2026-01-01T00:00:00Z"));
    let page = "https://example.org/page.html";
    let mut seen = std::collections::BTreeSet::new();
    for (classic, documented) in [
        (Classic::of_alert(&burst, None).with_page(page), &LVC_FIELDS[..]),
        (Classic::of_alert(&merger, None), &LVC_FIELDS[..]),
        (unknown, &LVC_FIELDS[..]),
        (Classic::of_search(&search), &COUNTERPART_FIELDS[..]),
    ] {
        let places: Vec<usize> = classic
            .fields(true)
            .iter()
            .map(|(key, _)| documented.iter().position(|(name, _)| name == key).unwrap_or_else(|| panic!("{key}")))
            .collect();
        assert!(places.is_sorted(), "{:?}", classic.fields(true));
        seen.extend(classic.fields(true).into_iter().map(|(key, _)| key));
    }
    let documented = LVC_FIELDS.iter().chain(&COUNTERPART_FIELDS).map(|(name, _)| *name).collect();
    assert_eq!(seen, documented, "every documented field is written");
}
