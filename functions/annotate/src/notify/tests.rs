use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use shared::message::Body;

use super::*;
use crate::annotations::{DistanceSummary, Peak, SkyMap, Timings};

pub(super) fn annotations(name: &str, event: Value) -> Annotations {
    let alert = json!({
        "name": name, "role": if name.starts_with('M') { "test" } else { "observation" },
        "time_created": "2026-01-01T00:00:00Z", "event": event,
    });
    Annotations::new(&serde_json::from_value(alert).expect("an alert"), None, None, Timings::default())
}

pub(super) fn merger(name: &str) -> Annotations {
    let event = json!({
        "time": "2026-01-01T00:00:00Z", "far": 1e-9, "significant": true, "group": "CBC", "pipeline": "a\"b<c",
        "classification": {"BNS": 0.9, "Terrestrial": 0.1}, "properties": {"HasNS": 1.0},
        "mchirp_source": {"bin_edges": [0.87, 1.74, 5.0], "probabilities": [0.96, 0.04]},
    });
    annotations(name, event)
}

pub(super) fn rules(conditions: &str, target: &str) -> Notify {
    Notify::from_toml(&format!("[[rule]]\nname = \"r\"\nmax_age_hours = 1e9\n{conditions}\ntarget = [{target}]\n"))
        .expect("rules")
}

pub(super) fn notifier(rules: Notify) -> Notifier {
    let store = Store::folder(std::path::Path::new("/nowhere"));
    let fetch = Fetch::new().expect("a client");
    Notifier { rules, fetch, folder: None, store, dry_run: false, objects_url: None, voevent_stream: None }
}

/// A server that answers with these statuses in turn, the last for ever; its address and the bodies that it got.
fn server(statuses: &'static [u16]) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}/hidden?hidden", listener.local_addr().expect("an address"));
    let bodies: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = bodies.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.expect("a connection");
            let mut reader = BufReader::new(stream.try_clone().expect("a clone"));
            let (mut length, mut line) = (0, String::new());
            while reader.read_line(&mut line).expect("a line") > 2 {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a length");
                }
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("a body");
            let mut kept = kept.lock().expect("a lock");
            kept.push(String::from_utf8(body).expect("text"));
            let status = statuses[(kept.len() - 1).min(statuses.len() - 1)];
            let mut stream = stream;
            let _ = write!(stream, "HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    (address, bodies)
}

async fn store() -> (Store, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    (Store::folder(folder.path()), folder)
}

/// A merger whose map has a 90 % area of 300 deg² and a mean distance of 100 Mpc.
pub(super) fn mapped(name: &str) -> Annotations {
    let level = |number: f64| std::collections::BTreeMap::from([("90".to_owned(), number)]);
    let (mean, std) = (100.0, 30.0);
    let distance = DistanceSummary {
        mean,
        std,
        median: mean,
        p05: 50.0,
        p95: 150.0,
        posted_mean: Some(mean),
        posted_std: Some(std),
    };
    let skymap = SkyMap {
        peak: Peak { ra_deg: 0.0, dec_deg: 0.0, prob_density_per_sr: 1.0 },
        area_deg2: level(301.0),
        posted_area_deg2: level(300.0),
        modes: Default::default(),
        prob_within_deg2: Default::default(),
        distance: Some(distance),
        volume: None,
        order: 8,
        creator: None,
    };
    Annotations { skymap: Some(skymap), ..merger(name) }
}

#[test]
fn rules_are_met_by_what_they_name() {
    let target = r#"{ kind = "command", command = ["true"] }"#;
    let met =
        |conditions: &str, alert: &Annotations| rules::assess(&rules(conditions, target).rules[0], alert).is_met();
    let (event, mock) = (merger("S260101a-Initial"), merger("MS260101a-Initial"));
    let retraction = annotations("S260101a-Retraction", Value::Null);
    let (near, faint) = (mapped("S260101a-Initial"), json!({ "time": "2026-01-01T00:00:00Z", "significant": false }));
    let faint = annotations("S260101a-Preliminary", faint);
    let burst = serde_json::from_value(json!({ "observatory": "Fermi" })).expect("a coincidence");
    let with_burst = Annotations { external_coincidence: Some(burst), ..near.clone() };
    for (conditions, alert, expected) in [
        ("area_90_below_deg2 = 301", &near, true),
        ("area_90_below_deg2 = 300", &near, false),
        ("distance_below_Mpc = 100.5", &near, true),
        ("distance_below_Mpc = 100", &near, false),
        ("external_coincidence = true", &with_burst, true),
        ("external_coincidence = false", &with_burst, false),
        ("significant = true", &faint, false),
        ("area_90_below_deg2 = 301\nclasses = { NSBH = 0.5 }", &near, false),
        ("area_90_below_deg2 = 301\nclasses = { BNS = 0.5 }\nsignificant = true", &near, true),
    ] {
        assert_eq!(met(conditions, alert), expected, "{conditions}");
    }
    for (conditions, expected) in [
        ("", true),
        ("significant = true", true),
        ("role = \"observation\"", true),
        ("role = \"test\"", false),
        ("classes = { BNS = 0.5 }", true),
        ("classes = { BNS = 0.9 }", false),
        ("classes = { NSBH = 0.1, HasNS = 0.5 }", true),
        ("area_90_below_deg2 = 500", false),
        ("distance_below_Mpc = 500", false),
        ("external_coincidence = true", false),
        ("external_coincidence = false", true),
    ] {
        assert_eq!(met(conditions, &event), expected, "{conditions}");
        let on_retraction = !conditions.contains("test");
        assert_eq!(met(conditions, &retraction), on_retraction, "{conditions}");
    }
    assert!(!met("role = \"observation\"", &mock) && !met("retractions = false", &retraction));
}

#[tokio::test]
async fn an_alert_is_told_of_once_after_trouble() {
    let (url, bodies) = server(&[503, 200]);
    let notifier = notifier(rules("", &format!(r#"{{ kind = "slack", url = "{url}" }}"#)));
    let (store, _folder) = store().await;
    let alert = merger("S260101a-Initial");
    let told = notifier.notify(&store, &alert).await.expect("told");
    assert_eq!(told[0].status, NotificationStatus::Sent, "{told:?}");
    assert!(!format!("{told:?}").contains("hidden"));
    let told = notifier.notify(&store, &alert).await.expect("told");
    assert_eq!(told[0].status, NotificationStatus::AlreadySent);
    let next = notifier.notify(&store, &merger("S260101a-Update")).await.expect("told");
    assert_eq!(next[0].status, NotificationStatus::Sent);
    let bodies = bodies.lock().expect("a lock").clone();
    assert_eq!(bodies.len(), 3);
    let message: Value = serde_json::from_str(&bodies[1]).expect("JSON");
    let text = message["text"].as_str().expect("a text");
    assert!(
        text.starts_with(
            "S260101a-Initial · BNS 90 %, Terrestrial 10 % · chirp mass 0.87–1.74 M☉ 96 % · FAR one per 31.7 years"
        ),
        "{text}"
    );
}

#[tokio::test]
async fn what_cannot_be_sent_is_said_and_tried_again_next_time() {
    let (url, bodies) = server(&[404, 200]);
    let notifier = notifier(rules("", &format!(r#"{{ kind = "slack", url = "{url}" }}"#)));
    let (store, _folder) = store().await;
    let alert = merger("S260101a-Initial");
    let told = notifier.notify(&store, &alert).await.expect("told");
    assert!(matches!(&told[0].status, NotificationStatus::Failed { reason } if reason.contains("404")), "{told:?}");
    let told = notifier.notify(&store, &alert).await.expect("told");
    assert_eq!(told[0].status, NotificationStatus::Sent);
    assert_eq!(bodies.lock().expect("a lock").len(), 2);
    let dry = Notifier { dry_run: true, ..notifier };
    let told = dry.notify(&store, &merger("S260101a-Update")).await.expect("told");
    assert!(matches!(&told[0].status, NotificationStatus::NotSent { .. }) && bodies.lock().expect("a lock").len() == 2);
}

#[tokio::test]
async fn targets_that_never_answer_are_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let targets =
        format!(r#"{{ kind = "slack", url = "{url}" }}, {{ kind = "command", command = ["sleep", "86400"] }}"#);
    let (store, _folder) = store().await;
    let told = notifier(rules("", &targets)).notify(&store, &merger("S260101a-Initial")).await.expect("an end");
    assert_eq!(told.len(), 2);
    for one in &told {
        assert!(matches!(&one.status, NotificationStatus::Failed { .. }), "{one:?}");
    }
    assert_eq!(store.keys("work/").await, Ok(vec![]), "nothing was sent");
}

#[tokio::test]
async fn a_template_is_filled_in_as_its_media_type_wants() {
    let (url, bodies) = server(&[200]);
    let template = r#"{"who": "{{name}}", "by": "{{event.pipeline}}", "bns": {{event.classification.BNS}}, "area": {{skymap.area_deg2.90}}, "tags": "{{tags}}", "test": {{test}}}"#;
    let target = format!("{{ kind = \"webhook\", url = \"{url}\", template = '''{template}''' }}");
    let told = notifier(rules("", &target)).test(&merger("S260101a-Initial")).await.expect("told");
    assert_eq!(told[0].status, NotificationStatus::Sent, "{told:?}");
    let body: Value = serde_json::from_str(&bodies.lock().expect("a lock")[0]).expect("JSON");
    let expected = json!({
        "who": "S260101a-Initial", "by": "a\"b<c", "bns": 0.9, "area": null, "tags": "BNS, HasNS, Significant", "test": true,
    });
    assert_eq!(body, expected);
    let alert = Content::of_alert(&merger("S260101a-Initial"), None).expect("its content");
    assert_eq!(
        words::filled("{{event.pipeline}}|{{no.such}}|", "text/plain", &alert, false).expect("a text"),
        "a\"b<c||"
    );
    assert!(words::filled("{{name}}", "application/json", &alert, false).is_err());
    assert!(words::filled("{{name", "text/plain", &alert, false).is_err());
}

#[tokio::test]
async fn mocks_are_notified_about_only_with_test_alerts() {
    let (url, bodies) = server(&[200]);
    let rule = rules("role = \"test\"", &format!(r#"{{ kind = "slack", url = "{url}" }}"#));
    let unknown =
        json!({"superevent_id": "MS260101a", "alert_type": "FORECAST", "time_created": "2026-01-01T00:00:00Z"});
    let retracted = json!({"ref_ID": "MS260101a", "alert_type": "retraction"});
    for (count, test_alerts) in [(0, false), (2, true)] {
        let (store, _folder) = store().await;
        let notifier = Notifier { store: store.clone(), ..notifier(rule.clone()) };
        let deps = Deps { store, notifier, test_alerts };
        for (kind, notice) in [(NoticeKind::Igwn, &unknown), (NoticeKind::IceCube, &retracted)] {
            let (topic, body) = (kind.topic().to_owned(), Body::Inline(notice.to_string()));
            let received = Received { topic, partition: None, offset: None, kafka_time: None, body };
            let notified = handle(&deps, Notifiable::Notice(received)).await.expect("an answer");
            assert_eq!(notified.notifications.len(), usize::from(test_alerts), "{notified:?}");
        }
        assert_eq!(bodies.lock().expect("a lock").len(), count, "{test_alerts}");
    }
}

#[tokio::test]
async fn a_command_gets_the_annotations_and_no_secret() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let script = format!("cp \"$1\" {0}; echo \"$API_TOKEN\" >> {0}", out.display());
    let target = |script: &str| {
        let command = json!(["sh", "-c", script, "sh"]).to_string();
        rules("", &format!("{{ kind = \"command\", command = {command} }}"))
    };
    let alert = merger("S260101a-Initial");
    let told = notifier(target(&script)).test(&alert).await.expect("told");
    assert_eq!(told[0].status, NotificationStatus::Sent, "{told:?}");
    let written = fs::read_to_string(out).expect("the command's file");
    assert_eq!(serde_json::from_str::<Annotations>(&written).expect("annotations"), alert);
    let told = notifier(target("echo no >&2; exit 3")).test(&alert).await.expect("told");
    assert!(matches!(&told[0].status, NotificationStatus::Failed { reason } if reason.contains("3: no")), "{told:?}");
}

#[tokio::test]
async fn an_old_alert_notifies_nobody() {
    let (url, bodies) = server(&[200]);
    let rule = |age: &str| {
        let target = format!(r#"target = [{{ kind = "slack", url = "{url}" }}]"#);
        Notify::from_toml(&format!("[[rule]]\nname = \"r\"\n{age}\n{target}\n")).expect("rules")
    };
    let (store, _folder) = store().await;
    let aged = |hours: i64| {
        let time_created = Timestamp::now() - jiff::SignedDuration::from_hours(hours);
        Annotations { time_created, ..merger("S260101a-Initial") }
    };
    // A first start and a replay bring alerts of any age; the default is a day.
    for (age, hours) in [("", 25), ("max_age_hours = 0.5", 1)] {
        let told = notifier(rule(age)).notify(&store, &aged(hours)).await.expect("an answer");
        let NotificationStatus::NotSent { reason } = &told[0].status else { panic!("{told:?}") };
        assert!(reason.contains("max_age_hours"), "{reason}");
    }
    let retraction = annotations("S260101a-Retraction", Value::Null);
    let told = notifier(rule("")).notify(&store, &retraction).await.expect("an answer");
    assert!(matches!(told[0].status, NotificationStatus::NotSent { .. }), "{told:?}");
    assert_eq!(bodies.lock().expect("a lock").len(), 0);
    let told = notifier(rule("")).notify(&store, &aged(23)).await.expect("an answer");
    assert_eq!(told[0].status, NotificationStatus::Sent);
}
