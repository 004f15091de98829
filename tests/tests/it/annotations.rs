//! Annotations, plots and pages written by `gwtm run`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use annotate::annotations::Annotations;
use annotate::versions;
use serde_json::{Value, json};
use shared::digest::sha256;
use shared::key::Key;
use shared::message::Role;
use tests::program::{Gwtm, files, parsed_sample, reference_data, sample, workspace};

/// Rules that nothing is sent by, since the samples are old, with a site and an area of their own.
const RULES: &str = r#"
    [[rule]]
    name = "telescope"
    prob_within_deg2 = { area = 37.5, above = 0.5 }
    observable_prob_above = 0.5
    site = { name = "Cerro <Pachón>", lat_deg = -30.2446, lon_deg = -70.7494, height_m = 2663 }
    target = [{ kind = "command", command = ["false"] }]
"#;

fn run(store: &Path, notices: &[PathBuf]) {
    let called = Gwtm::run(store, notices)
        .set("NOTIFY_CONFIG", RULES)
        .set("CATALOG_PATH", workspace().join("events/catalog.csv"))
        .set("FERMI_TLE_FILE", workspace().join("events/fermi.tle"))
        .set("FERMI_FT2_DIR", workspace().join("events"))
        .set("FLAT_MAX_ORDER", "6")
        .call();
    assert_eq!(called.code, Some(0), "{}", called.stderr);
}

fn read(store: &Path, name: &str) -> Value {
    serde_json::from_slice(&fs::read(store.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))).expect("JSON")
}

fn schema() -> jsonschema::Validator {
    let schema = fs::read(workspace().join("docs/annotations.schema.json")).expect("the schema");
    jsonschema::validator_for(&serde_json::from_slice(&schema).expect("JSON")).expect("a schema")
}

fn samples() -> Vec<PathBuf> {
    let entries = fs::read_dir(workspace().join("events/notices")).expect("samples");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
    paths.sort();
    paths
}

#[test]
fn annotations_of_every_sample_match_the_schema_and_the_store() {
    let folder = tempfile::tempdir().expect("a folder");
    run(folder.path(), &samples());
    let schema = schema();
    let all = files(folder.path());
    let mut count = 0;
    for (name, bytes) in all.iter().filter(|(name, _)| name.ends_with("-annotations.json")) {
        let annotations: Value = serde_json::from_slice(bytes).expect("JSON");
        let wrong: Vec<String> =
            schema.iter_errors(&annotations).map(|error| format!("{error} at {}", error.instance_path())).collect();
        assert!(wrong.is_empty(), "{name}: {wrong:?}");
        for object in annotations["objects"].as_array().expect("objects") {
            let key = object["key"].as_str().expect("a key");
            let bytes = all.get(key).unwrap_or_else(|| panic!("{name}: `{key}` is not there"));
            assert_eq!(object["size_bytes"], bytes.len(), "{name}: {key}");
            assert_eq!(object["sha256"], sha256(bytes), "{name}: {key}");
        }
        let kinds: Vec<&str> = annotations["objects"]
            .as_array()
            .expect("objects")
            .iter()
            .filter_map(|object| object["kind"].as_str())
            .collect();
        assert!(kinds.contains(&"page") && kinds.contains(&"notice"), "{name}: {kinds:?}");
        assert_eq!(kinds.contains(&"plot_png"), !annotations["skymap"].is_null(), "{name}: {kinds:?}");
        // Every map is looked at from the site, and has the probability in the rule's area.
        let from_site = &annotations["sites"][0]["observable_prob"];
        assert_eq!(
            (from_site.is_number(), from_site.is_null()),
            (kinds.contains(&"plot_png"), annotations["skymap"].is_null())
        );
        assert_eq!(annotations["skymap"]["prob_within_deg2"]["37.5"].is_number(), from_site.is_number(), "{name}");
        count += 1;
    }
    assert!(count >= 19, "expected the samples' annotations, found {count}");

    // Tags.
    let tags = |name: &str| read(folder.path(), &format!("fit/{name}-annotations.json"))["tags"].clone();
    let has = |name: &str, tag: &str| tags(name).as_array().expect("tags").contains(&tag.into());
    assert!(
        has("S090101a-Initial", "<150 Mpc") && has("S090101a-Initial", "<100 deg2"),
        "{}",
        tags("S090101a-Initial")
    );
    assert!(has("S090103c-Preliminary", "Burst") && has("S090104d-Preliminary", "SSM"));
    assert!(has("S090101a-Update-ExtCoinc", "ExtCoinc") && has("S090102b-Retraction", "Retraction"));
    assert!(!has("S090110j-Preliminary", "<500 deg2"));

    // Plots have the documented size, and pages contain them.
    for (name, bytes) in all.iter().filter(|(name, _)| name.ends_with(".png")) {
        assert!(bytes.starts_with(b"\x89PNG\r\n\x1a\n") && bytes.len() > 50_000, "{name}");
        let page = String::from_utf8(all[&name.replace(".png", ".html")].clone()).expect("text");
        let plot = String::from_utf8(all[&name.replace(".png", ".svg")].clone()).expect("text");
        assert!(page.contains(&plot), "{name}: the page holds the plot");
        assert!(plot.contains(">Fermi LAT</text>"), "{name}: the plot shows what LAT saw");
        assert!(!page.contains("<script") && !page.contains(" src="), "{name}: nothing is fetched");
    }
}

/// A kept object of the annotations of S090101a-Preliminary: what a release wrote, or, of a format that is not released yet,
/// `unreleased`.
fn kept_path(release: &str) -> PathBuf {
    workspace().join(format!("tests/golden/annotations-{release}.json"))
}

const UNRELEASED: &str = "unreleased";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Every kept object, with its release.
fn kept() -> Vec<(String, Value)> {
    let entries = fs::read_dir(workspace().join("tests/golden")).expect("golden values");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"));
    let releases = names.filter_map(|name| Some(name.strip_prefix("annotations-")?.strip_suffix(".json")?.to_owned()));
    let read = |release: String| {
        let bytes = fs::read(kept_path(&release)).expect("an object");
        (release, serde_json::from_slice(&bytes).expect("JSON"))
    };
    releases.map(read).collect()
}

/// The fields of a document, with the types of their values: numbers and texts are of one type each.
fn shape(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    let of = match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| shape(value, &format!("{path}.{name}"), found));
            "object"
        }
        Value::Array(items) => {
            items.iter().for_each(|item| shape(item, &format!("{path}[]"), found));
            "array"
        }
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "text",
    };
    found.insert(format!("{path}: {of}"));
}

/// The kept objects are made here: `gwtm run` on an alert with chirp masses, a field that is not known, and an IceCube search,
/// seen from a site. A new version, and a format that has changed since, need one: `BLESS=1` writes it.
#[test]
fn an_object_of_todays_format_is_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut notice = parsed_sample("S090101a-2-preliminary.json");
    notice["event"]["mchirp_source"] = json!({"bin_edges": [0.1, 0.87, 1.74, 5.0], "probabilities": [0.0, 0.96, 0.04]});
    notice["event"]["glitch"] = json!(0.25);
    let path = folder.path().join("alert.json");
    fs::write(&path, notice.to_string()).expect("a file");
    let store = folder.path().join("store");
    run(&store, &[sample("S090101a-1-earlywarning.json"), path, sample("S090101a-6-icecube-nested.json")]);
    let made = read(&store, "fit/S090101a-Preliminary-annotations.json");
    for part in ["/sites/0/best_hour", "/icecube/0/events/0", "/event/mchirp_source", "/event/other", "/coverage/0"] {
        assert!(made.pointer(part).is_some(), "{part}: {made}");
    }
    let mut shape_of_made = BTreeSet::new();
    shape(&made, "", &mut shape_of_made);
    let newest = || {
        let path = [UNRELEASED, VERSION].map(kept_path).into_iter().find(|path| path.exists())?;
        let mut found = BTreeSet::new();
        let kept = serde_json::from_slice::<Value>(&fs::read(path).expect("an object")).expect("JSON");
        shape(&kept, "", &mut found);
        Some(found)
    };
    if std::env::var_os("BLESS").is_some()
        && (newest().as_ref() != Some(&shape_of_made) || !kept_path(VERSION).exists())
    {
        let release = if kept_path(VERSION).exists() { UNRELEASED } else { VERSION };
        if release == VERSION && kept_path(UNRELEASED).exists() {
            fs::remove_file(kept_path(UNRELEASED)).expect("removed");
        }
        // Without the path of this clone.
        let clone = workspace().canonicalize().expect("a folder").display().to_string() + "/";
        let text = serde_json::to_string_pretty(&made).expect("JSON").replace(&clone, "") + "\n";
        fs::write(kept_path(release), text).expect("written");
    }
    assert!(kept_path(VERSION).exists(), "no object of version {VERSION} is kept: run this test with BLESS=1");
    let newest = newest().expect("a kept object");
    let differ: Vec<_> = newest.symmetric_difference(&shape_of_made).collect();
    assert!(differ.is_empty(), "the format has changed, and no object of it is kept: BLESS=1; {differ:?}");
}

#[test]
fn reads_values_that_a_later_release_writes() {
    let key = Key::new("fit/S090101a-Preliminary-annotations.json").expect("a key");
    for (release, written) in kept() {
        let expected = versions::read(&key, written.to_string().as_bytes()).expect("annotations");
        let mut later = written;
        later["role"] = "prediction".into();
        later["superseded_by"] = "S090101a-Confirmed".into();
        later["map_of"] = "S090101a-Confirmed".into();
        later["previous"]["name"] = "S090101a-Forecast2".into();
        let seen = |product: &str, certainty: &str| json!({"product": product, "certainty": certainty, "source": "s"});
        for (field, items) in [
            ("coverage", vec![seen("x_ray_field", "final"), seen("swift_bat", "guessed"), json!("a text")]),
            ("missing", vec![json!({"product": "x_ray_field", "reason": "r"}), json!(7)]),
        ] {
            let list = later.as_object_mut().expect("an object").entry(field).or_insert(json!([]));
            list.as_array_mut().expect("a list").extend(items);
        }
        let read =
            versions::read(&key, later.to_string().as_bytes()).unwrap_or_else(|error| panic!("{release}: {error}"));
        assert_eq!(
            read,
            Annotations { role: Role::Test, superseded_by: None, map_of: None, previous: None, ..expected },
            "{release}"
        );
    }
}

/// Whether a value contains all fields of another.
fn holds(value: &Value, other: &Value) -> bool {
    match (value, other) {
        (Value::Object(fields), Value::Object(others)) => {
            others.iter().all(|(name, other)| fields.get(name).is_some_and(|value| holds(value, other)))
        }
        (Value::Array(items), Value::Array(others)) => {
            items.len() == others.len() && items.iter().zip(others).all(|(item, other)| holds(item, other))
        }
        (value, other) => value == other,
    }
}

/// Adds a field to every object.
fn add_fields(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(add_fields);
            // In a map of numbers, an added field is a number.
            fields.insert("invented_later".to_owned(), json!(1));
        }
        Value::Array(items) => items.iter_mut().for_each(add_fields),
        _ => {}
    }
}

#[test]
fn reads_annotations_of_every_release_and_ignores_unknown_fields() {
    let key = Key::new("fit/S090101a-Preliminary-annotations.json").expect("a key");
    let schema = schema();
    let kept = kept();
    assert!(kept.len() >= 2, "{kept:?}");
    for (version, written) in kept {
        assert!(version == UNRELEASED || written["software"]["version"] == version, "{version}: {written}");
        let wrong: Vec<String> = schema.iter_errors(&written).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{version}: {wrong:?}");
        let read = versions::read(&key, written.to_string().as_bytes()).expect("annotations");
        let again = serde_json::to_value(&read).expect("JSON");
        assert!(holds(&again, &written), "{version}: {again}\n{written}");
        let mut later = written.clone();
        add_fields(&mut later);
        let later = versions::read(&key, later.to_string().as_bytes()).expect("annotations");
        assert_eq!(
            (&later.name, later.skymap.as_ref().map(|map| map.peak)),
            (&read.name, read.skymap.map(|map| map.peak))
        );
        let mut incompatible = written;
        incompatible["schema"] = 2.into();
        let error = versions::read(&key, incompatible.to_string().as_bytes()).expect_err("a later schema").to_string();
        assert!(error.contains("expected a schema up to 1, found 2"), "{error}");
    }
}

#[test]
fn links_alerts_that_other_releases_annotated() {
    for (version, written) in kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = folder.path();
        run(store, &[sample("S090101a-2-preliminary.json")]);
        let path = store.join("fit/S090101a-Preliminary-annotations.json");
        fs::write(path, written.to_string()).expect("the other release's annotations");
        run(store, &[sample("S090101a-4-initial.json")]);
        let [preliminary, initial] =
            ["Preliminary", "Initial"].map(|kind| read(store, &format!("fit/S090101a-{kind}-annotations.json")));
        assert_eq!(initial["previous"]["name"], "S090101a-Preliminary", "{version}");
        assert!(initial["previous"]["overlap_90"]["of_this"].is_number() && initial["unread"].is_null(), "{initial}");
        assert_eq!(
            (&preliminary["superseded_by"], &preliminary["software"]["version"]),
            (&"S090101a-Initial".into(), &written["software"]["version"])
        );
        // Annotations of a later schema are named and left as they are.
        let mut later = initial;
        later["schema"] = 2.into();
        let path = "fit/S090101a-Initial-annotations.json";
        fs::write(store.join(path), later.to_string()).expect("the later annotations");
        run(store, &[sample("S090101a-5-update-with-grb.json")]);
        assert_eq!(read(store, "fit/S090101a-Update-annotations.json")["unread"], json!([path]));
        assert_eq!(read(store, path), later);
    }
}

#[test]
fn keeps_and_shows_what_a_newer_notice_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut notice = parsed_sample("S090103c-1-preliminary-burst.json");
    notice["event"]["mchirp_source"] = json!({"bin_edges": [0.1, 5.0, 50.0], "probabilities": [0.125, 0.875]});
    notice["event"]["glitch"] = json!({"<b>": 0.25});
    notice["run"] = "IR1".into();
    let path = folder.path().join("alert.json");
    fs::write(&path, notice.to_string()).expect("a file");
    let (store, told) = (folder.path().join("store"), folder.path().join("told"));
    let rules = format!(
        "[[rule]]\nname = \"all\"\nmax_age_hours = 1e6\n[[rule.target]]\nkind = \"command\"\n\
         command = [\"sh\", \"-c\", \"cat $1 > {}\", \"sh\"]",
        told.display()
    );
    let called = Gwtm::run(&store, [&path]).set("NOTIFY_CONFIG", rules).set("FLAT_MAX_ORDER", "none").call();
    assert_eq!(called.code, Some(0), "{}{}", called.stdout, called.stderr);
    let event = read(&store, "fit/S090103c-Preliminary-annotations.json")["event"].clone();
    assert_eq!(event["mchirp_source"], notice["event"]["mchirp_source"]);
    assert_eq!(event["other"], json!({"event": {"glitch": {"<b>": 0.25}}, "run": "IR1"}));
    let page = fs::read_to_string(store.join("fit/S090103c-Preliminary.html")).expect("a page");
    assert!(page.contains("<th>Chirp mass, source frame</th><td>5–50 M☉ 88 %, 0.1–5 M☉ 12 %</td>"), "{page}");
    assert!(page.contains("<th>Other fields</th>") && page.contains("IR1") && !page.contains("<b>"), "{page}");
    let plot = fs::read_to_string(store.join("fit/S090103c-Preliminary.svg")).expect("a plot");
    assert!(plot.contains(">Chirp mass</text>") && plot.contains("5–50 Msun 88 %<"), "{plot}");
    let sent: Value = serde_json::from_slice(&fs::read(&told).expect("a notification")).expect("JSON");
    assert_eq!(sent["event"], event);
}

#[test]
fn keeps_and_shows_unknown_fields_of_a_retraction() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut notice = parsed_sample("S090102b-2-retraction.json");
    notice["reason"] = "a <b>glitch</b>".into();
    let path = folder.path().join("alert.json");
    fs::write(&path, notice.to_string()).expect("a file");
    run(folder.path(), &[path]);
    let annotations = read(folder.path(), "fit/S090102b-Retraction-annotations.json");
    assert_eq!(
        (&annotations["event"], &annotations["other"]),
        (&Value::Null, &json!({"reason": "a <b>glitch</b>"})),
        "{annotations}"
    );
    let wrong: Vec<String> = schema().iter_errors(&annotations).map(|error| error.to_string()).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    let page = fs::read_to_string(folder.path().join("fit/S090102b-Retraction.html")).expect("a page");
    assert!(page.contains("<th>Other fields</th><td>{&quot;reason&quot;:&quot;a &lt;b&gt;glitch"), "{page}");
}

#[test]
fn keeps_icecube_searches_beside_the_superevents_alerts() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut search = parsed_sample("S090101a-6-icecube-nested.json");
    search["alert_tense"] = "current".into();
    search["alert_type"] = "update".into();
    search["additional_info"] = "seen <twice>".into();
    search["coincident_events"][0]["odd"] = json!({"<u>": 1});
    let path = folder.path().join("search.json");
    fs::write(&path, search.to_string()).expect("a file");
    let store = folder.path().join("store");
    run(&store, std::slice::from_ref(&path));
    let kept = read(&store, "fit/S090101a-icecube-S090101a-1-Preliminary.json");
    assert_eq!(
        (&kept["alert_tense"], &kept["alert_type"], &kept["additional_info"]),
        (&"current".into(), &"update".into(), &"seen <twice>".into()),
        "{kept}"
    );
    let event = &kept["events"][0];
    assert_eq!((&event["id"], &event["other"]["odd"]), (&json!(["196260_13886078"]), &json!({"<u>": 1})));
    assert_eq!(kept["other"]["n_events_coincident"], 2, "{kept}");
}

/// Everything but durations and the objects' sizes of a superevent's annotations.
fn without_sizes(store: &Path, name: &str) -> Value {
    let mut annotations = read(store, name);
    annotations.as_object_mut().expect("an object").retain(|field, _| field != "timings" && field != "objects");
    annotations
}

#[test]
fn alerts_show_searches_that_arrive_before_or_after_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let told = folder.path().join("told");
    let rules = format!(
        "[[rule]]\nname = \"all\"\nmax_age_hours = 1e6\n[[rule.target]]\nkind = \"command\"\n\
         command = [\"sh\", \"-c\", \"echo $1 >> {}\", \"sh\"]",
        told.display()
    );
    let run = |store: &Path, notice: &str| {
        let called = Gwtm::run(store, [sample(notice)])
            .set("NOTIFY_CONFIG", &rules)
            .set("FLAT_MAX_ORDER", "none")
            .set("VOEVENT_STREAM", "ivo://test/lvk")
            .call();
        assert_eq!(called.code, Some(0), "{}{}", called.stdout, called.stderr);
        called.stdout
    };
    let count_told = || fs::read_to_string(&told).map_or(0, |lines| lines.lines().count());
    let (first, second) = ("S090101a-4-initial.json", "S090101a-5-update-with-grb.json");
    let search = "S090101a-6-icecube-nested.json";
    let alerts = ["Initial", "Update", "Update-ExtCoinc"].map(|kind| format!("fit/S090101a-{kind}"));
    let later = folder.path().join("later");

    // The search arrives between the alerts.
    run(&later, first);
    let before = read(&later, "fit/S090101a-Initial-annotations.json");
    assert_eq!((before["icecube"].is_null(), count_told()), (true, 1));
    let (page, voevent) = ("fit/S090101a-Initial.html", "fit/S090101a-Initial-voevent.xml");
    let old_files = files(&later);
    let said = run(&later, search);
    assert!(said.contains("updated            S090101a-Initial"), "{said}");
    let kept = read(&later, "fit/S090101a-icecube-S090101a-1-Preliminary.json");
    let mut after = read(&later, "fit/S090101a-Initial-annotations.json");
    assert_eq!(after["icecube"], json!([kept]));
    assert_eq!(after["icecube"][0]["events"][0]["id"], json!(["196260_13886078"]), "{after}");
    // Only the page of what is derived of the annotations shows searches.
    let now = files(&later);
    let changed: Vec<&str> =
        old_files.iter().filter(|(name, bytes)| now[*name] != **bytes).map(|(name, _)| name.as_str()).collect();
    assert_eq!(changed, ["fit/S090101a-Initial-annotations.json", page]);
    assert_eq!(now[voevent], old_files[voevent]);
    let page_text = String::from_utf8(now[page].clone()).expect("text");
    assert!(
        page_text.contains("<h2>IceCube track searches</h2>") && page_text.contains("196260_13886078"),
        "{page_text}"
    );
    for object in after["objects"].as_array().expect("objects") {
        assert_eq!(object["sha256"], sha256(&now[object["key"].as_str().expect("a key")]), "{object}");
    }
    let mut before = before;
    for annotations in [&mut before, &mut after] {
        annotations.as_object_mut().expect("an object").retain(|field, _| field != "icecube" && field != "objects");
    }
    assert_eq!(after, before);
    assert_eq!(count_told(), 1, "nobody is notified again");
    run(&later, second);
    assert_eq!(count_told(), 3);

    // The search arrives before every alert: it succeeds, and annotates nothing.
    let earlier = folder.path().join("earlier");
    run(&earlier, search);
    let names: Vec<String> = files(&earlier).into_keys().filter(|name| name.starts_with("fit/")).collect();
    assert_eq!(names, ["fit/S090101a-icecube-S090101a-1-Preliminary.json"]);
    run(&earlier, first);
    run(&earlier, second);
    for alert in &alerts {
        let annotations = without_sizes(&later, &format!("{alert}-annotations.json"));
        assert_eq!(annotations["icecube"], json!([kept]), "{alert}");
        assert_eq!(annotations, without_sizes(&earlier, &format!("{alert}-annotations.json")), "{alert}");
    }

    // A repeat of anything changes nothing but is no error.
    let (told_before, old_files) = (count_told(), files(&later));
    for notice in [search, first, second] {
        run(&later, notice);
    }
    let now = files(&later);
    let changed: Vec<&String> = old_files.keys().filter(|name| now.get(*name) != old_files.get(*name)).collect();
    assert_eq!((changed, count_told()), (Vec::new(), told_before));
}

#[test]
fn links_the_alerts_of_a_superevent() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path();
    let notices: Vec<_> = samples().into_iter().filter(|path| path.to_string_lossy().contains("S090101a")).collect();
    run(store, &notices);
    let alerts: Vec<String> = ["EarlyWarning", "Preliminary", "Preliminary1", "Initial", "Update", "Update-ExtCoinc"]
        .map(|kind| format!("S090101a-{kind}"))
        .into();
    let annotations = |name: &str| read(store, &format!("fit/{name}-annotations.json"));
    for (i, name) in alerts.iter().enumerate() {
        assert_eq!(annotations(name)["sequence"], i + 1, "{name}");
    }
    // The second preliminary's map is the first's.
    let second = annotations("S090101a-Preliminary1");
    assert_eq!(second["previous"]["name"], "S090101a-Preliminary");
    assert_eq!(
        (second["previous"]["area_90_change_deg2"].as_f64(), second["previous"]["peak_shift_deg"].as_f64()),
        (Some(0.0), Some(0.0))
    );
    let whole = second["previous"]["overlap_90"]["of_this"].as_f64().expect("an overlap");
    assert!((whole - 1.0).abs() < 1e-9, "{whole}");
    assert_eq!(annotations("S090101a-Initial")["superseded_by"], "S090101a-Update");
    assert_eq!(annotations("S090101a-Update")["superseded_by"], Value::Null);
    assert_eq!(annotations("S090101a-Update-ExtCoinc")["previous"], Value::Null);
    let latest = read(store, "fit/S090101a-latest.json");
    assert_eq!(latest["name"], "S090101a-Update-ExtCoinc");
    assert_eq!(latest["alerts"], serde_json::to_value(&alerts).expect("JSON"));
    let page = fs::read_to_string(store.join("fit/S090101a-Initial.html")).expect("a page");
    assert!(page.contains("Superseded by <a href=\"S090101a-Update.html\">"), "an older page says so");

    // The same links in the other order.
    let other = tempfile::tempdir().expect("a folder");
    // The preliminaries' names depend on the order of arrival.
    let mut turned = notices.clone();
    turned.rotate_left(3);
    run(other.path(), &turned);
    let linked = |store: &Path| -> BTreeMap<String, Value> {
        let files = files(store).into_iter().filter(|(name, _)| name.ends_with("-annotations.json"));
        files
            .map(|(name, bytes)| {
                let mut annotations: Value = serde_json::from_slice(&bytes).expect("JSON");
                annotations
                    .as_object_mut()
                    .expect("an object")
                    .retain(|field, _| field != "timings" && field != "objects");
                (name, annotations)
            })
            .collect()
    };
    assert_eq!(linked(store), linked(other.path()));
}

#[test]
fn retraction_marks_earlier_alerts() {
    let folder = tempfile::tempdir().expect("a folder");
    let notices = [sample("S090102b-1-preliminary-across-ra-0.json"), sample("S090102b-2-retraction.json")];
    run(folder.path(), &notices);
    let preliminary = read(folder.path(), "fit/S090102b-Preliminary-annotations.json");
    assert_eq!(
        (&preliminary["retracted"], &preliminary["superseded_by"]),
        (&true.into(), &"S090102b-Retraction".into())
    );
    assert_eq!(preliminary["skymap"]["modes"]["90"], 2);
    let page = fs::read_to_string(folder.path().join("fit/S090102b-Preliminary.html")).expect("a page");
    assert!(page.contains("RETRACTED"), "{page}");
    let retraction = read(folder.path(), "fit/S090102b-Retraction-annotations.json");
    assert_eq!((&retraction["retracted"], &retraction["skymap"]), (&false.into(), &Value::Null));
    assert_eq!(read(folder.path(), "fit/S090102b-latest.json")["retracted"], true);
}

#[test]
fn annotations_of_real_alerts_match_ligo_skymap() {
    let Some(data) = reference_data() else { return };
    let reference: Value =
        serde_json::from_slice(&fs::read(data.join("reference/skymaps.json")).expect("numbers")).expect("JSON");
    let folder = tempfile::tempdir().expect("a folder");
    let files = [
        "MS181101ab-ext-update.json",
        "S230518h-initial.json",
        "S230520ae-preliminary.json",
        "S230522a-preliminary.json",
    ];
    run(folder.path(), &files.map(|file| data.join("alerts").join(file)));
    for (name, map) in [
        ("test/MS181101ab-Update", "MS181101ab (event.skymap)"),
        ("test/MS181101ab-Update-ExtCoinc", "MS181101ab-ext-update (external_coinc.combined_skymap)"),
        ("fit/S230518h-Initial", "S230518h-initial"),
        ("fit/S230520ae-Preliminary", "S230520ae"),
        ("fit/S230522a-Preliminary", "S230522a-preliminary"),
    ] {
        let skymap = read(folder.path(), &format!("{name}-annotations.json"))["skymap"].clone();
        let reference = &reference["maps"][map];
        let near = |ours: &Value, theirs: &Value, tolerance: f64, what: &str| {
            let [ours, theirs] = [ours, theirs].map(|value| value.as_f64().unwrap_or_else(|| panic!("{name}: {what}")));
            assert!((ours / theirs - 1.0).abs() < tolerance, "{name}: {what} {ours}, expected {theirs}");
        };
        for level in ["50", "90"] {
            near(&skymap["area_deg2"][level], &reference["credible_areas_interpolated_deg2"][level], 1e-6, "area");
            near(
                &skymap["posted_area_deg2"][level],
                &reference["upstream"][format!("area_{level}")],
                1e-6,
                "posted area",
            );
            near(&skymap["volume_Mpc3"][level], &reference["credible_volume_Mpc3"][level], 0.01, "volume");
            assert_eq!(skymap["modes"][level], reference["modes"][level], "{name}");
        }
        near(&skymap["prob_within_deg2"]["100"], &reference["prob_in_100deg2"], 1e-6, "probability");
        let width =
            skymap["distance_Mpc"]["p95"].as_f64().expect("p95") - skymap["distance_Mpc"]["p05"].as_f64().expect("p05");
        near(&width.into(), &reference["dist_width_Mpc"]["90"], 0.01, "width");
    }
}
