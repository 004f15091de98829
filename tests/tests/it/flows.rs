//! The flows of infra/ and `crate::flow` call the same functions with the same messages in the same order.
//!
//! The flows run in moto's interpreter of Amazon States Language (tests/scripts/run_flow.py), both with the same given
//! answers.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use cli::flow;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::message::{
    Alert, Annotated, Body, Failed, Galaxies, Ingested, Posted, Products, Publication, Received, Settled,
};
use shared::notice::icecube::TrackSearch;
use shared::{Class, Error, Result};

/// What a function answers, in turn; the last answer for ever.
type Answers = BTreeMap<&'static str, Vec<std::result::Result<Value, Class>>>;

/// A function's name and the message it was called with, as its type prints it.
type Call = (String, Value);

/// What the interpreter says.
#[derive(Debug, Deserialize)]
struct Ran {
    status: String,
    calls: Vec<Call>,
    objects: BTreeMap<String, Value>,
}

fn run_flow(flow: &str, answers: &Answers) -> Ran {
    run_flow_with(flow, answers, true)
}

fn run_flow_with(flow: &str, answers: &Answers, bucket: bool) -> Ran {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = tests.join("servers/python/bin/python");
    assert!(python.exists(), "moto in tests/servers: run `tests/setup` once");
    let given: BTreeMap<_, Vec<Value>> = answers
        .iter()
        .map(|(name, answers)| {
            let answer = |answer: &std::result::Result<Value, Class>| match answer {
                Ok(value) => json!({ "ok": value }),
                Err(class) => json!({ "error": class.as_str() }),
            };
            (name, answers.iter().map(answer).collect())
        })
        .collect();
    let mut script = Command::new(python)
        .arg(tests.join("scripts/run_flow.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python runs");
    let question = json!({ "flow": flow, "input": received(), "answers": given, "bucket": bucket });
    write!(script.stdin.take().expect("a pipe"), "{question}").expect("asked");
    let answer = script.wait_with_output().expect("an answer");
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stdout));
    let mut ran: Ran = serde_json::from_slice(&answer.stdout).expect("JSON");
    for (name, call) in &mut ran.calls {
        let (flow, message) = (&call["flow"], &call["message"]);
        assert_eq!(flow["execution"], "notice", "{name}: the execution's name");
        let started = flow["started"].as_str().map(str::parse::<jiff::Timestamp>);
        assert!(matches!(started, Some(Ok(_))) && flow["retries"].is_u64(), "{name}: {flow}");
        *call = match name.as_str() {
            "ingest-ligo" | "ingest-icecube" => printed::<Received>(message),
            "skymap-products" | "galaxy-list" => printed::<Alert>(message),
            "post-api" => printed::<Publication>(message),
            "annotate" => printed::<Settled>(message),
            other => panic!("`{other}` is no function"),
        };
    }
    ran
}

/// A message read as its type and printed again: what the function makes of it.
fn printed<T: DeserializeOwned + Serialize>(message: &Value) -> Value {
    let read: T = serde_json::from_value(message.clone()).unwrap_or_else(|error| panic!("{error}: {message}"));
    serde_json::to_value(read).expect("JSON")
}

/// What runs in one process, called with given answers.
struct InProcess {
    answers: Mutex<Answers>,
    calls: Mutex<Vec<Call>>,
}

impl InProcess {
    async fn call<T: DeserializeOwned>(&self, name: &'static str, message: impl Serialize) -> Result<T> {
        let message = serde_json::to_value(message).expect("JSON");
        self.calls.lock().expect("a lock").push((name.to_owned(), message));
        let mut answers = self.answers.lock().expect("a lock");
        let answers = answers.get_mut(name).expect("an answer");
        let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
        match answer {
            Ok(value) => Ok(serde_json::from_value(value).expect("the answer's type")),
            Err(Class::Permanent) => Err(Error::permanent("as the test wants")),
            Err(Class::Retryable) => Err(Error::retryable("as the test wants")),
        }
    }
}

async fn calls_in_process(flow: &str, answers: &Answers) -> Vec<Call> {
    let functions = InProcess { answers: Mutex::new(answers.clone()), calls: Mutex::default() };
    let post_api = |publication: Publication| functions.call::<Posted>("post-api", publication);
    if flow == "ligo" {
        flow::ligo(
            received(),
            |received| functions.call::<Ingested>("ingest-ligo", received),
            |alert| functions.call::<Products>("skymap-products", alert),
            |alert| functions.call::<Galaxies>("galaxy-list", alert),
            post_api,
            |settled| functions.call::<Annotated>("annotate", settled),
        )
        .await;
    } else {
        flow::icecube(received(), |received| functions.call::<Publication>("ingest-icecube", received), post_api).await;
    }
    functions.calls.into_inner().expect("a lock")
}

/// The two that run side by side may begin in either order.
fn settled(mut calls: Vec<Call>) -> Vec<Call> {
    for i in 1..calls.len() {
        if (calls[i - 1].0.as_str(), calls[i].0.as_str()) == ("skymap-products", "galaxy-list") {
            calls.swap(i - 1, i);
        }
    }
    calls
}

fn names(calls: &[Call]) -> Vec<&str> {
    calls.iter().map(|(name, _)| name.as_str()).collect()
}

fn received() -> Received {
    Received {
        topic: "igwn.gwalert".to_owned(),
        partition: Some(0),
        offset: Some(7),
        kafka_time: None,
        body: Body::Inline("{}".to_owned()),
    }
}

fn answers<const N: usize>(answers: [(&'static str, &[std::result::Result<Value, Class>]); N]) -> Answers {
    answers.into_iter().map(|(name, answers)| (name, answers.to_vec())).collect()
}

fn two_alerts() -> Value {
    let alert = |name: &str| json!({ "name": name, "role": "test", "time_created": "2018-11-01T22:34:49Z" });
    json!({ "alerts": [alert("MS181101ab-Update"), alert("MS181101ab-Update-ExtCoinc")] })
}

fn products() -> Value {
    json!({ "name": "MS181101ab-Update", "products": [
        { "product": "contours", "status": "missing", "reason": "no map" },
    ] })
}

fn galaxies() -> Value {
    json!({ "name": "MS181101ab-Update", "count": 0, "reason": "no map" })
}

fn posted() -> Value {
    json!({ "posts": [{ "request": "post_alert", "status": "posted", "id": 1 }] })
}

fn annotated() -> Value {
    json!({ "name": "MS181101ab-Update", "sequence": 1, "objects": [], "changed": [], "notifications": [] })
}

fn track_search() -> Value {
    let notice = br#"{ "ref_ID": "MS181101ab", "alert_datetime": "2018-11-01T22:34:49Z",
        "reference": { "gcn.notices.LVK.alert": "MS181101ab-2-Update" } }"#;
    serde_json::to_value(Publication::IceCube(TrackSearch::parse(notice).expect("a notice"))).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn both_run_the_same_functions_with_the_same_messages() {
    let well = answers([
        ("ingest-ligo", &[Ok(two_alerts())]),
        ("skymap-products", &[Ok(products())]),
        ("galaxy-list", &[Ok(galaxies())]),
        ("post-api", &[Ok(posted())]),
        ("annotate", &[Ok(annotated())]),
    ]);
    // Neither product nor list: the posts go out without. A failed post does not stop the next alert's.
    let ill = answers([
        ("ingest-ligo", &[Ok(two_alerts())]),
        ("skymap-products", &[Err(Class::Permanent)]),
        ("galaxy-list", &[Err(Class::Permanent)]),
        ("post-api", &[Err(Class::Permanent), Ok(posted())]),
        ("annotate", &[Err(Class::Permanent)]),
    ]);
    let unread = answers([("ingest-ligo", &[Err(Class::Permanent)])]);
    let icecube = answers([("ingest-icecube", &[Ok(track_search())]), ("post-api", &[Ok(posted())])]);
    let unposted = answers([("ingest-icecube", &[Ok(track_search())]), ("post-api", &[Err(Class::Permanent)])]);
    let (none, notice): (&[&str], &[&str]) = (&[], &["failed/notice.json"]);
    let all = [
        "failed/notice-MS181101ab-Update-ExtCoinc-annotate.json",
        "failed/notice-MS181101ab-Update-ExtCoinc-galaxy-list.json",
        "failed/notice-MS181101ab-Update-ExtCoinc-skymap-products.json",
        "failed/notice-MS181101ab-Update-annotate.json",
        "failed/notice-MS181101ab-Update-galaxy-list.json",
        "failed/notice-MS181101ab-Update-skymap-products.json",
        "failed/notice.json",
    ];
    let cases = [
        ("ligo", well, "SUCCEEDED", 9, none),
        ("ligo", ill, "FAILED", 9, &all),
        ("ligo", unread, "FAILED", 1, notice),
        ("icecube", icecube, "SUCCEEDED", 2, none),
        ("icecube", unposted, "FAILED", 2, notice),
    ];
    for (flow, answers, status, count, kept) in cases {
        let expected = settled(calls_in_process(flow, &answers).await);
        let ran = run_flow(flow, &answers);
        assert_eq!(ran.status, status, "{flow}: {:?}", names(&ran.calls));
        let calls = settled(ran.calls);
        assert_eq!(names(&calls), names(&expected));
        assert_eq!(calls, expected);
        assert_eq!(calls.len(), count);
        // What finally fails is kept with its reason and what to begin again with.
        let keys: Vec<&str> = ran.objects.keys().map(String::as_str).collect();
        assert_eq!(keys, kept);
        for failed in ran.objects.values() {
            let failed: Failed = serde_json::from_value(failed.clone()).expect("a message");
            assert_eq!(failed.error, "Permanent");
            assert!(failed.reason.contains("as the test wants"), "{}", failed.reason);
            assert!(failed.step.contains(":execution:"), "{}", failed.step);
            assert_eq!(serde_json::from_value::<Received>(failed.input).expect("a message"), received());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn products_that_fail_are_kept_and_the_flow_succeeds() {
    let without = answers([
        ("ingest-ligo", &[Ok(two_alerts())]),
        ("skymap-products", &[Err(Class::Permanent), Ok(products())]),
        ("galaxy-list", &[Ok(galaxies()), Err(Class::Retryable)]),
        ("post-api", &[Ok(posted())]),
        ("annotate", &[Ok(annotated()), Err(Class::Permanent)]),
    ]);
    let ran = run_flow("ligo", &without);
    assert_eq!(ran.status, "SUCCEEDED");
    let publications: Vec<&Value> =
        ran.calls.iter().filter(|(name, _)| name == "post-api").map(|(_, publication)| &publication["ligo"]).collect();
    assert_eq!(publications.len(), 2);
    assert_eq!((publications[0].get("products"), publications[0]["galaxies"].clone()), (None, galaxies()));
    assert_eq!((publications[1]["products"].clone(), publications[1].get("galaxies")), (products(), None));
    let failed = |key: &str| -> Failed { serde_json::from_value(ran.objects[key].clone()).expect("a message") };
    assert_eq!(ran.objects.len(), 3, "{:?}", ran.objects.keys());
    let products = failed("failed/notice-MS181101ab-Update-skymap-products.json");
    assert_eq!(products.error, "Permanent");
    assert!(products.step.starts_with("skymap-products of MS181101ab-Update, arn:"), "{}", products.step);
    assert!(products.reason.contains("as the test wants"), "{}", products.reason);
    assert_eq!(serde_json::from_value::<Received>(products.input).expect("a message"), received());
    let galaxies = failed("failed/notice-MS181101ab-Update-ExtCoinc-galaxy-list.json");
    assert_eq!(galaxies.error, "Retryable");
    let annotations = failed("failed/notice-MS181101ab-Update-ExtCoinc-annotate.json");
    assert_eq!(annotations.error, "Permanent");

    // Where failures cannot be kept, the post goes out all the same.
    let ran = run_flow_with("ligo", &without, false);
    assert_eq!((ran.status.as_str(), ran.objects.len()), ("SUCCEEDED", 0));
    assert_eq!(names(&ran.calls).iter().filter(|name| **name == "post-api").count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_pass_is_tried_again() {
    let again = Err(Class::Retryable);
    let flaky = answers([
        ("ingest-ligo", &[again.clone(), Ok(json!({ "alerts": [two_alerts()["alerts"][0]] }))]),
        ("skymap-products", &[again.clone(), Ok(products())]),
        ("galaxy-list", &[Ok(galaxies())]),
        ("post-api", &[again.clone(), again.clone(), Ok(posted())]),
        ("annotate", &[again, Ok(annotated())]),
    ]);
    let ran = run_flow("ligo", &flaky);
    assert_eq!(ran.status, "SUCCEEDED");
    let count = |function: &str| ran.calls.iter().filter(|(name, _)| name == function).count();
    let functions = ["ingest-ligo", "skymap-products", "galaxy-list", "post-api", "annotate"];
    assert_eq!(functions.map(count), [2, 2, 1, 3, 2]);
    let (_, settled) = ran.calls.last().expect("a call");
    assert_eq!((&settled["products"], &settled["posted"]), (&products(), &posted()));
}
