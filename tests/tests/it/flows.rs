//! The flows of infra/ and the command line's pipeline call the same functions with the same messages in the same order.
//!
//! The pipeline runs the functions themselves over a folder, and the flows run in moto's interpreter of Amazon States
//! Language (tests/scripts/run_flow.py), which is given what the functions answered.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use cli::pipeline::{Function, Outcome, Pipeline, ProcessedAlert, Step};
use config::Config;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::key::Key;
use shared::message::{
    Alert, Annotatable, Body, Failed, Ingested, Notifiable, Notified, Publication, Received, Settled,
};
use shared::notice::NoticeKind;
use tests::program::{sample, workspace};

/// The outputs of a function or the names of its errors, in order; the last one repeats.
type Answers = BTreeMap<&'static str, Vec<Result<Value, &'static str>>>;

/// A function's name and the message it was called with, as its type prints it.
type Call = (String, Value);

/// A state's retrier or catcher: the state, `Retry` or `Catch`, and the index.
type Handler = (String, String, usize);

/// The interpreter's result.
#[derive(Debug, Deserialize)]
struct Ran {
    status: String,
    calls: Vec<Call>,
    objects: BTreeMap<String, Value>,
    /// The errors that each function returned because its retriers name them.
    retried: BTreeMap<String, Vec<String>>,
    declared: BTreeSet<Handler>,
    /// Those of `declared` that retried or caught.
    exercised: BTreeSet<Handler>,
}

impl Ran {
    fn kept(&self) -> Vec<&str> {
        self.objects.keys().map(String::as_str).collect()
    }
}

/// What the interpreter is asked, as tests/scripts/run_flow.py describes it.
struct Asked<'a> {
    flow: &'a str,
    answers: Answers,
    bucket: &'a str,
    each_retry: usize,
}

fn run_flow(flow: &str, answers: &Answers) -> Ran {
    run_flow_with(flow, answers, "there")
}

fn run_flow_with(flow: &str, answers: &Answers, bucket: &str) -> Ran {
    run_flows(&[Asked { flow, answers: answers.clone(), bucket, each_retry: 0 }]).remove(0)
}

/// Runs flows one after another, with each call's message as its type prints it.
fn run_flows(asked: &[Asked]) -> Vec<Ran> {
    let tests = workspace().join("tests");
    let python = tests.join("servers/python/bin/python");
    assert!(python.exists(), "moto in tests/servers: run `tests/setup` once");
    let questions = asked.iter().map(|Asked { flow, answers, bucket, each_retry }| {
        let given: BTreeMap<_, Vec<Value>> = answers
            .iter()
            .map(|(name, answers)| {
                let answer = |answer: &Result<Value, &'static str>| match answer {
                    Ok(value) => json!({ "ok": value }),
                    Err(error) => json!({ "error": error }),
                };
                (name, answers.iter().map(answer).collect())
            })
            .collect();
        json!({ "flow": flow, "input": received(), "answers": given, "bucket": bucket, "each_retry": each_retry })
    });
    let questions = Value::Array(questions.collect()).to_string();
    let mut script = Command::new(python)
        .arg(tests.join("scripts/run_flow.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python runs");
    write!(script.stdin.take().expect("a pipe"), "{questions}").expect("asked");
    let answer = script.wait_with_output().expect("an answer");
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stdout));
    let mut ran: Vec<Ran> = serde_json::from_slice(&answer.stdout).expect("JSON");
    assert_eq!(ran.len(), asked.len());
    ran.iter_mut().flat_map(|ran| &mut ran.calls).for_each(print_message);
    ran
}

fn print_message((name, call): &mut Call) {
    let (flow, message) = (&call["flow"], &call["message"]);
    assert_eq!(flow["execution"], "notice", "{name}: the execution's name");
    let started = flow["started"].as_str().map(str::parse::<jiff::Timestamp>);
    assert!(matches!(started, Some(Ok(_))) && flow["retries"].is_u64(), "{name}: {flow}");
    *call = match name.as_str() {
        "ingest-ligo" | "ingest-icecube" => printed::<Received>(message),
        "skymap-products" | "galaxy-list" => printed::<Alert>(message),
        "post-api" => printed::<Publication>(message),
        "annotate" => printed::<Annotatable>(message),
        "notify" => printed::<Notifiable>(message),
        other => panic!("`{other}` is no function"),
    };
}

/// A message after a round trip through its type, as the function reads it.
fn printed<T: DeserializeOwned + Serialize>(message: &Value) -> Value {
    let read: T = serde_json::from_value(message.clone()).unwrap_or_else(|error| panic!("{error}: {message}"));
    serde_json::to_value(read).expect("JSON")
}

/// Runs the functions in one process on a sample, with a folder where objects named `blocked` cannot be written.
async fn in_process(kind: NoticeKind, notice: &str, blocked: &[&str]) -> Outcome {
    let folder = tempfile::tempdir().expect("a folder");
    for name in blocked {
        std::fs::create_dir_all(folder.path().join(name)).expect("a folder in the object's place");
    }
    let catalogue = if blocked.is_empty() { workspace().join("events/catalog.csv") } else { "missing.csv".into() };
    let settings = [
        ("STORAGE_FOLDER", folder.path().to_owned()),
        ("CATALOG_PATH", catalogue),
        ("FERMI_TLE_FILE", workspace().join("events/fermi.tle")),
        ("FERMI_FT2_DIR", workspace().join("events")),
        ("SWIFT_POINTING_URL", "none".into()),
        ("FLAT_MAX_ORDER", "4".into()),
    ];
    let setting =
        |name: &str| settings.iter().find(|(set, _)| *set == name).map(|(_, value)| value.display().to_string());
    let config = Config::read(&setting).expect("settings");
    let store = config.open_store().await.expect("a store");
    let Body::Key(key) = received().body else { panic!("expected the notice in the inbox") };
    store.put(&key, std::fs::read(sample(notice)).unwrap_or_default().into()).await.expect("stored");
    Pipeline::new(&config, &store).expect("functions").run(kind, received(), false).await
}

/// Input and output of every step of an outcome: the calls expected of a flow, and the outputs to give it.
fn calls_and_answers(outcome: &Outcome) -> (Vec<Call>, Answers) {
    let (mut calls, mut answers) = (Vec::new(), Answers::new());
    for Step { function, alert, result, .. } in &outcome.steps {
        let (message, answer) = match alert {
            None => of_notice(outcome, *function),
            Some(name) => {
                let of_name = |one: &&ProcessedAlert| one.settled.alert.name == *name;
                of_alert(outcome.alerts.iter().find(of_name).expect("the alert"), *function)
            }
        };
        calls.push((function.name().to_owned(), message));
        answers.entry(function.name()).or_default().push(match result {
            Ok(()) => Ok(answer),
            Err(error) => Err(error.class().as_str()),
        });
    }
    (calls, answers)
}

fn of_notice(outcome: &Outcome, function: Function) -> (Value, Value) {
    let icecube = outcome.icecube.as_ref();
    let search = icecube.map(|one| Publication::IceCube(one.search.clone()));
    let alerts = outcome.alerts.iter().map(|one| (*one.settled.alert).clone()).collect();
    match function {
        Function::IngestLigo => (json!(received()), json!(Ingested { alerts, skipped: None })),
        Function::IngestIceCube => (json!(received()), json!(search)),
        Function::PostApi => (json!(search), json!(icecube.and_then(|one| one.posted.clone()))),
        Function::Annotate => (json!(search), json!(icecube.and_then(|one| one.annotated.clone()))),
        Function::Notify => {
            let notifications = outcome.notifications.clone();
            (json!(received()), json!(Notified { name: None, notifications, unmet: Vec::new() }))
        }
        other => panic!("`{}` is called with an alert", other.name()),
    }
}

fn of_alert(one: &ProcessedAlert, function: Function) -> (Value, Value) {
    let Settled { alert, products, galaxies, posted } = one.settled.clone();
    let mut annotated = one.annotated.clone();
    let notified = annotated.as_mut().map(|annotated| Notified {
        name: Some(annotated.name.clone()),
        notifications: std::mem::take(&mut annotated.notifications),
        unmet: std::mem::take(&mut annotated.unmet),
    });
    match function {
        Function::SkymapProducts => (json!(alert), json!(products)),
        Function::GalaxyList => (json!(alert), json!(galaxies)),
        Function::PostApi => (json!(Publication::Ligo { alert, products, galaxies }), json!(posted)),
        Function::Annotate => (json!(one.settled), json!(annotated)),
        Function::Notify => (json!(annotated), json!(notified)),
        other => panic!("`{}` is called with a notice", other.name()),
    }
}

/// The two parallel functions may start in either order.
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
        body: Body::Key(Key::new("inbox/igwn.gwalert/0/7.json").expect("a key")),
    }
}

fn answers<const N: usize>(answers: [(&'static str, &[Result<Value, &'static str>]); N]) -> Answers {
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

#[tokio::test(flavor = "multi_thread")]
async fn the_flows_call_the_functions_of_the_pipeline_in_its_order() {
    let (grb, search) = ("S090101a-5-update-with-grb.json", "S090101a-6-icecube-nested.json");
    let none: &[&str] = &[];
    // Posts go out without products, list and annotations. A failed post does not stop the next alert's.
    let blocked = [
        "fit/S090101a-Update-contours-smooth.json",
        "fit/S090101a-Update-ExtCoinc-contours-smooth.json",
        "fit/S090101a-Update-annotations.json",
        "fit/S090101a-Update-ExtCoinc-annotations.json",
        "work/S090101a-Update/post_alert.json",
    ];
    let all = [
        "failed/notice-S090101a-Update-ExtCoinc-annotate.json",
        "failed/notice-S090101a-Update-ExtCoinc-galaxy-list.json",
        "failed/notice-S090101a-Update-ExtCoinc-skymap-products.json",
        "failed/notice-S090101a-Update-annotate.json",
        "failed/notice-S090101a-Update-galaxy-list.json",
        "failed/notice-S090101a-Update-skymap-products.json",
        "failed/notice.json",
    ];
    let unposted = ["work/S090101a-1-Preliminary/post_icecube_notice.json"];
    let notice = &all[6..];
    let cases = [
        (NoticeKind::Igwn, grb, none, "SUCCEEDED", 11, none),
        (NoticeKind::Igwn, grb, &blocked, "FAILED", 9, &all),
        (NoticeKind::Igwn, search, none, "FAILED", 2, notice),
        (NoticeKind::IceCube, search, none, "SUCCEEDED", 4, none),
        (NoticeKind::IceCube, search, &unposted, "FAILED", 3, notice),
    ];
    for (kind, sample, blocked, status, count, kept) in cases {
        let flow = if kind == NoticeKind::Igwn { "ligo" } else { "icecube" };
        let (expected, answers) = calls_and_answers(&in_process(kind, sample, blocked).await);
        let ran = run_flow(flow, &answers);
        assert_eq!(ran.status, status, "{flow}: {:?}", names(&ran.calls));
        let (calls, expected) = (settled(ran.calls), settled(expected));
        assert_eq!(names(&calls), names(&expected));
        assert_eq!(calls, expected);
        assert_eq!(calls.len(), count);
        // A final failure is dead-lettered with its reason and the input to retry with.
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
async fn flow_succeeds_and_dead_letters_failed_products() {
    let without = answers([
        ("ingest-ligo", &[Ok(two_alerts())]),
        ("skymap-products", &[Err("Permanent"), Ok(products())]),
        ("galaxy-list", &[Ok(galaxies()), Err("Retryable")]),
        ("post-api", &[Ok(posted())]),
        ("annotate", &[Ok(annotated()), Err("Permanent")]),
        ("notify", &[Err("Permanent")]),
    ]);
    let ran = run_flow("ligo", &without);
    assert_eq!(ran.status, "SUCCEEDED");
    let publications: Vec<&Value> =
        ran.calls.iter().filter(|(name, _)| name == "post-api").map(|(_, publication)| &publication["ligo"]).collect();
    assert_eq!(publications.len(), 2);
    assert_eq!((publications[0].get("products"), publications[0]["galaxies"].clone()), (None, galaxies()));
    assert_eq!((publications[1]["products"].clone(), publications[1].get("galaxies")), (products(), None));
    let failed = |key: &str| -> Failed { serde_json::from_value(ran.objects[key].clone()).expect("a message") };
    assert_eq!(ran.objects.len(), 4, "{:?}", ran.objects.keys());
    let products = failed("failed/notice-MS181101ab-Update-skymap-products.json");
    assert_eq!(products.error, "Permanent");
    assert!(products.step.starts_with("skymap-products of MS181101ab-Update, arn:"), "{}", products.step);
    assert!(products.reason.contains("as the test wants"), "{}", products.reason);
    assert_eq!(serde_json::from_value::<Received>(products.input).expect("a message"), received());
    let galaxies = failed("failed/notice-MS181101ab-Update-ExtCoinc-galaxy-list.json");
    assert_eq!(galaxies.error, "Retryable");
    let annotations = failed("failed/notice-MS181101ab-Update-ExtCoinc-annotate.json");
    assert_eq!(annotations.error, "Permanent");
    let notifications = failed("failed/notice-MS181101ab-Update-notify.json");
    assert!(notifications.step.starts_with("notify of MS181101ab-Update, arn:"), "{}", notifications.step);

    // The post goes out even when dead letters cannot be written.
    let ran = run_flow_with("ligo", &without, "absent");
    assert_eq!((ran.status.as_str(), ran.objects.len()), ("SUCCEEDED", 0));
    assert_eq!(names(&ran.calls).iter().filter(|name| **name == "post-api").count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_retryable_errors() {
    let again = Err("Retryable");
    let flaky = answers([
        ("ingest-ligo", &[again.clone(), Ok(json!({ "alerts": [two_alerts()["alerts"][0]] }))]),
        ("skymap-products", &[again.clone(), Ok(products())]),
        ("galaxy-list", &[Ok(galaxies())]),
        ("post-api", &[again.clone(), again.clone(), Ok(posted())]),
        ("annotate", &[again.clone(), Ok(annotated())]),
        ("notify", &[again, Ok(json!({ "name": "MS181101ab-Update", "notifications": [] }))]),
    ]);
    let ran = run_flow("ligo", &flaky);
    assert_eq!(ran.status, "SUCCEEDED");
    let count = |function: &str| ran.calls.iter().filter(|(name, _)| name == function).count();
    let functions = ["ingest-ligo", "skymap-products", "galaxy-list", "post-api", "annotate", "notify"];
    assert_eq!(functions.map(count), [2, 2, 1, 3, 2, 2]);
    let (_, settled) = ran.calls.iter().rfind(|(name, _)| name == "annotate").expect("a call");
    assert_eq!((&settled["products"], &settled["posted"]), (&products(), &posted()));
}

/// Outputs with which the flow of one alert succeeds.
fn fine() -> Answers {
    answers([
        ("ingest-ligo", &[Ok(json!({ "alerts": [two_alerts()["alerts"][0]] }))]),
        ("skymap-products", &[Ok(products())]),
        ("galaxy-list", &[Ok(galaxies())]),
        ("post-api", &[Ok(posted())]),
        ("annotate", &[Ok(annotated())]),
        ("notify", &[Ok(json!({ "name": "MS181101ab-Update", "notifications": [] }))]),
    ])
}

/// Outputs with which the flow of a search succeeds.
fn fine_search() -> Answers {
    let search = json!({ "ref_id": "S090101a-1-Preliminary", "superevent_id": "S090101a", "events": [] });
    let annotated =
        json!({ "ref_id": "S090101a-1-Preliminary", "superevent_id": "S090101a", "objects": [], "changed": [] });
    answers([
        ("ingest-icecube", &[Ok(json!({ "icecube": search }))]),
        ("post-api", &[Ok(posted())]),
        ("annotate", &[Ok(annotated)]),
        ("notify", &[Ok(json!({ "notifications": [] }))]),
    ])
}

/// `fine` with an error of some functions.
fn failing(mut fine: Answers, functions: &[&'static str], error: &'static str) -> Answers {
    fine.extend(functions.iter().map(|name| (*name, vec![Err(error)])));
    fine
}

/// The retriers or catchers that no run exercised.
fn unexercised<'a>(ran: &'a [Ran], kind: &str) -> BTreeSet<&'a Handler> {
    let exercised: BTreeSet<&Handler> = ran.iter().flat_map(|ran| &ran.exercised).collect();
    let declared = ran.iter().flat_map(|ran| &ran.declared).filter(|(_, declared, _)| declared == kind);
    declared.filter(|handler| !exercised.contains(handler)).collect()
}

/// The functions' retriers; those of the states that keep failures are exercised with their catchers.
#[test]
fn retries_every_error_that_a_retrier_names() {
    // Of a notice that cannot be read.
    let unread = failing(fine(), &["ingest-ligo"], "Permanent");
    let cases = [("ligo", fine(), "SUCCEEDED"), ("ligo", unread, "FAILED"), ("icecube", fine_search(), "SUCCEEDED")];
    let asked: Vec<Asked> = cases
        .iter()
        .flat_map(|(flow, answers, _)| {
            [1, 2].map(|half| Asked { flow, answers: answers.clone(), bucket: "there", each_retry: half })
        })
        .collect();
    let ran = run_flows(&asked);
    let mut named: BTreeMap<(&str, &String), Vec<&String>> = BTreeMap::new();
    for ((flow, _, status), ran) in cases.iter().flat_map(|case| [case, case]).zip(&ran) {
        assert_eq!((ran.status.as_str(), ran.objects.len()), (*status, usize::from(*status == "FAILED")), "{flow}");
        for (state, errors) in &ran.retried {
            let function = state.strip_suffix("-unread").unwrap_or(state);
            let calls = ran.calls.iter().filter(|(name, _)| name == function).count();
            let is_reached = ran.exercised.iter().any(|(reached, ..)| reached == state);
            if is_reached {
                assert_eq!(calls, errors.len() + 1, "{flow}: {state}: {errors:?}");
                named.entry((flow, state)).or_default().extend(errors);
            }
        }
    }
    for ((flow, state), errors) in named {
        for error in [
            "Lambda.TooManyRequestsException",
            "Lambda.ServiceException",
            "Lambda.AWSLambdaException",
            "Lambda.SdkClientException",
            "Lambda.ClientExecutionTimeoutException",
            "Lambda.Unknown",
            "Retryable",
        ] {
            assert!(errors.iter().any(|named| *named == error), "{flow}: {state}: {error} is not retried");
        }
    }
    let left = unexercised(&ran, "Retry");
    assert!(left.iter().all(|(state, ..)| state.starts_with("keep-")), "no run retried by {left:?}");
}

/// A flow, functions that fail, the bucket, the status, how many functions are called, and what is kept.
type FailingFlow<'a> = (&'a str, &'a [&'static str], &'a str, &'a str, usize, Vec<&'a str>);

/// Also outputs that are too large, failures that are kept at the third attempt, and failures that cannot be kept.
#[test]
fn catches_every_error_and_keeps_it() {
    const ERRORS: [&str; 2] = ["Permanent", "States.DataLimitExceeded"];
    let of_alert = |function: &str| format!("failed/notice-MS181101ab-Update-{function}.json");
    let (products, galaxies) = (of_alert("skymap-products"), of_alert("galaxy-list"));
    let (annotations, notifications) = (of_alert("annotate"), of_alert("notify"));
    let (search, notice) = ("failed/notice-annotate.json", "failed/notice.json");
    let of_all = [&annotations, &galaxies, &products, notice];
    let of_products = [products.as_str(), &galaxies];
    let ligo_all = ["skymap-products", "galaxy-list", "post-api", "annotate"];
    let searched = ["ingest-icecube", "post-api", "annotate", "notify"];
    let cases: [FailingFlow; 17] = [
        ("ligo", &["ingest-ligo"], "there", "FAILED", 2, vec![notice]),
        ("ligo", &["ingest-ligo", "notify"], "there", "FAILED", 2, vec![notice]),
        ("ligo", &ligo_all, "there", "FAILED", 5, of_all.to_vec()),
        ("ligo", &["notify"], "there", "SUCCEEDED", 6, vec![&notifications]),
        ("ligo", &["ingest-ligo"], "late", "FAILED", 2, vec![notice]),
        ("ligo", &ligo_all[..2], "late", "SUCCEEDED", 6, of_products.to_vec()),
        ("ligo", &["annotate"], "late", "SUCCEEDED", 5, vec![&annotations]),
        ("ligo", &["notify"], "late", "SUCCEEDED", 6, vec![&notifications]),
        ("ligo", &["skymap-products", "galaxy-list", "annotate"], "absent", "SUCCEEDED", 5, vec![]),
        ("ligo", &["notify"], "absent", "SUCCEEDED", 6, vec![]),
        ("icecube", &["ingest-icecube"], "there", "FAILED", 1, vec![notice]),
        ("icecube", &["post-api"], "there", "FAILED", 3, vec![notice]),
        ("icecube", &["post-api", "annotate"], "there", "FAILED", 3, vec![search, notice]),
        ("icecube", &["annotate"], "late", "SUCCEEDED", 4, vec![search]),
        ("icecube", &["annotate"], "absent", "SUCCEEDED", 4, vec![]),
        ("icecube", &["notify"], "there", "FAILED", 4, vec![notice]),
        ("icecube", &["notify"], "late", "FAILED", 4, vec![notice]),
    ];
    // The bucket is nothing to the error.
    let errors = |bucket: &str| if bucket == "there" { &ERRORS[..] } else { &ERRORS[..1] };
    let each = cases.iter().flat_map(|case| errors(case.2).iter().map(move |error| (case, *error)));
    let asked: Vec<Asked> = each
        .clone()
        .map(|((flow, functions, bucket, ..), error)| {
            let fine = if *flow == "ligo" { fine() } else { fine_search() };
            Asked { flow, answers: failing(fine, functions, error), bucket, each_retry: 0 }
        })
        .collect();
    let ran = run_flows(&asked);
    for (((flow, functions, bucket, status, called, kept), error), ran) in each.zip(&ran) {
        let case = format!("{flow}, {functions:?}, {bucket}, {error}");
        let mut kept = kept.clone();
        kept.sort_unstable();
        assert_eq!((ran.status.as_str(), ran.kept()), (*status, kept), "{case}");
        assert_eq!(ran.calls.len(), *called, "{case}: {:?}", names(&ran.calls));
        if *flow == "icecube" {
            assert_eq!(names(&ran.calls), searched[..*called], "{case}");
        }
        for (key, failed) in &ran.objects {
            let failed: Failed = serde_json::from_value(failed.clone()).expect("a message");
            let step = if key == search { "annotate, arn:" } else { "" };
            assert!(failed.step.starts_with(step) && failed.step.contains("arn:"), "{case}: {failed:?}");
            assert_eq!(failed.error, error, "{case}");
            assert_eq!(serde_json::from_value::<Received>(failed.input).expect("a message"), received());
        }
    }
    let left = unexercised(&ran, "Catch");
    assert!(left.is_empty(), "no run was caught by {left:?}");
    let left: Vec<_> =
        unexercised(&ran, "Retry").into_iter().filter(|(state, ..)| state.starts_with("keep-")).collect();
    assert!(left.is_empty(), "no run retried by {left:?}");
}

#[test]
fn throttled_burst_loses_no_call() {
    let tests = workspace().join("tests");
    for concurrency in ["10", "100"] {
        let simulated = Command::new(tests.join("servers/python/bin/python"))
            .args([tests.join("scripts/simulate_burst.py").as_os_str(), "3000".as_ref(), concurrency.as_ref()])
            .output()
            .expect("python runs");
        let said: Value = serde_json::from_slice(&simulated.stdout).expect("JSON");
        assert_eq!(said["gave_up"], 0, "{said}");
        assert!(said["hours"].as_f64().is_some_and(|hours| hours < 1.0), "{said}");
    }
}
