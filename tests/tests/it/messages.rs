//! `events/messages/`: the input of each function; each output is the next function's input.
//!
//! `BLESS=1 cargo test --package tests --test it messages::` writes the samples again.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use audit::scheduled::{Scheduled, ScheduledAudit};
use config::Config;
use futures::future::LocalBoxFuture;
use lambda::answer;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use shared::key::Key;
use shared::message::{Alert, Annotatable, Notifiable, Publication, Received};
use store::Store;
use tests::gracedb::GraceDb;
use tests::lambda::Lambda;
use tests::program::{files, sample, workspace};

fn samples() -> PathBuf {
    workspace().join("events/messages")
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))).expect("JSON")
}

/// Compares a message with its sample, or writes the sample.
fn is_sample(name: &str, message: &Value) {
    let path = samples().join(name);
    let text = serde_json::to_string_pretty(message).expect("JSON") + "\n";
    assert!(text.len() < 10_000, "{name}: a message stays under 10 kB, this has {} bytes", text.len());
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all(samples()).expect("a folder");
        fs::write(&path, text).expect("a file");
    }
    let expected = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let expected: Value = serde_json::from_str(&expected).expect("JSON");
    assert_eq!(&expected, message, "{name} is not what the function before it answers");
}

/// The functions around one folder, as `cargo lambda` would serve them.
struct Functions {
    config: Config,
    store: Store,
    folder: tempfile::TempDir,
    /// A GraceDB without the samples' superevents.
    gracedb: GraceDb,
    /// Every call: the function, its message, its answer.
    steps: Mutex<Vec<(String, Value, Value)>>,
}

/// The settings of `events/messages/environment`, around a folder.
fn environment(store: &Path, gracedb: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(samples().join("environment")).expect("the samples' settings");
    let mut settings = vec![
        ("STORAGE_FOLDER".to_owned(), store.display().to_string()),
        ("GRACEDB_URL".to_owned(), gracedb.to_owned()),
    ];
    let setting = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    settings.extend(text.lines().map(|line| setting(line).unwrap_or_else(|| panic!("no setting: {line}"))));
    settings
}

impl Functions {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // The samples' settings name files relative to the workspace, to be the same on every machine.
        std::env::set_current_dir(workspace()).expect("the workspace");
        let gracedb = GraceDb::start().await;
        let settings = environment(folder.path(), &gracedb.url());
        let find = |name: &str| settings.iter().find(|(set, _)| set == name).map(|(_, value)| value.clone());
        let config = Config::read(&find).expect("settings");
        let store = config.open_store().await.expect("a store");
        Functions { config, store, folder, gracedb, steps: Mutex::default() }
    }

    /// Does the bridge's part: stores the notice in the inbox and returns its message.
    async fn arrives(&self, topic: &str, offset: i64, notice: &str) -> Value {
        let key = Key::new(format!("inbox/{topic}/0/{offset:020}.json")).expect("a key");
        self.store.put(&key, fs::read(sample(notice)).expect("a notice").into()).await.expect("stored");
        json!({"topic": topic, "partition": 0, "offset": offset, "kafka_time": "2026-01-01T00:00:01Z", "body": {"key": key}})
    }

    async fn call(&self, function: &str, message: &Value) -> Value {
        let (config, store) = (&self.config, self.store.clone());
        let asked = message.clone();
        let answer = match function {
            "ingest-ligo" => called(ingest_ligo::Deps::new(config, store), ingest_ligo::handle, asked),
            "ingest-icecube" => called(ingest_icecube::Deps::new(config, store), ingest_icecube::handle, asked),
            "skymap-products" => called(skymap_products::Deps::new(config, store), skymap_products::handle, asked),
            "galaxy-list" => called(galaxy_list::Deps::new(config, store), galaxy_list::handle, asked),
            "post-api" => called(post_api::Deps::new(config, store), post_api::handle, asked),
            "annotate" => called(annotate::Deps::new(config, store), annotate::handle, asked),
            "notify" => called(annotate::notify::Deps::new(config, store), annotate::notify::handle, asked),
            "audit" => {
                let function = audit::Deps::new(config, store).map(|deps| ScheduledAudit { deps, flow: None });
                called(function, audit::scheduled::handle, asked)
            }
            other => panic!("no function `{other}`"),
        };
        let answer = answer.await;
        let answer = answer.unwrap_or_else(|error| panic!("{function}: {error}"));
        let step = (function.to_owned(), message.clone(), answer.clone());
        self.steps.lock().expect("a lock").push(step);
        answer
    }
}

/// Calls a function. Boxed, because the functions' futures together exceed a thread's stack.
fn called<D: 'static, I: DeserializeOwned + 'static, O: Serialize + 'static>(
    deps: shared::Result<D>,
    handle: impl AsyncFn(&D, I) -> shared::Result<O> + 'static,
    message: Value,
) -> LocalBoxFuture<'static, shared::Result<Value>> {
    let deps = deps.expect("deps");
    Box::pin(async move { answer(&deps, &handle, message).await })
}

#[tokio::test]
async fn every_function_accepts_the_previous_ones_output() {
    let functions = Functions::new().await;
    // Boxed, because all functions' futures together exceed a test's stack.
    Box::pin(walk(&functions)).await;
    let steps = functions.steps.lock().expect("a lock").clone();
    tokio::task::spawn_blocking(move || invoke_all(functions.folder.path(), &functions.gracedb.url(), &steps))
        .await
        .expect("the same answers");
}

/// Calls the functions' own programs with every sample, as `cargo lambda invoke` does; each must return what its
/// handler returned in this process.
fn invoke_all(in_process: &Path, gracedb: &str, steps: &[(String, Value, Value)]) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    for (name, bytes) in files(in_process) {
        if name.starts_with("inbox/") {
            let file = store.join(name);
            fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
            fs::write(file, bytes).expect("a notice");
        }
    }
    let settings = environment(&store, gracedb);
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut lambda = Lambda::start();
    let functions: BTreeSet<&str> = steps.iter().map(|(function, ..)| function.as_str()).collect();
    for function in functions {
        lambda.serve(function, &settings, &folder.path().join(format!("{function}.log")));
    }
    let mut invoked = 0;
    for (function, message, answer) in steps {
        let is_its_own = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with(&format!("{function}.")) && name.ends_with(".json") && read(path) == *message
        };
        let entries = fs::read_dir(samples()).expect("samples");
        let file = entries.map(|entry| entry.expect("an entry").path()).find(is_its_own).expect("the message's sample");
        let answered = lambda.invoke(function, &file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        // Annotations contain durations, so their size differs.
        assert_eq!(without_sizes(function, answered), without_sizes(function, answer.clone()), "{}", file.display());
        invoked += 1;
    }
    let samples = fs::read_dir(samples()).expect("samples");
    let samples =
        samples.filter(|entry| entry.as_ref().is_ok_and(|entry| entry.path().extension() == Some("json".as_ref())));
    assert_eq!(invoked, samples.count(), "every sample");
}

fn without_sizes(function: &str, mut answer: Value) -> Value {
    if function == "annotate" {
        for object in answer["objects"].as_array_mut().expect("objects") {
            object["size"] = json!(0);
        }
    }
    answer
}

/// Takes every case through the functions.
async fn walk(functions: &Functions) {
    let cases = [
        ("preliminary", "S090101a-2-preliminary"),
        ("second-preliminary", "S090101a-3-preliminary"),
        ("update-with-grb", "S090101a-5-update-with-grb"),
        ("retraction", "S090102b-2-retraction"),
        ("burst", "S090103c-1-preliminary-burst"),
        ("null-map", "S090106f-1-initial-null-map"),
        ("mock", "MS090105e-1-preliminary-mock"),
    ];
    for (offset, (case, notice)) in (0..).zip(cases) {
        let received = functions.arrives("igwn.gwalert", offset, &format!("{notice}.json")).await;
        is_sample(&format!("ingest-ligo.{case}.json"), &received);
        let ingested = functions.call("ingest-ligo", &received).await;
        for (alert, ending) in ingested["alerts"].as_array().expect("alerts").iter().zip(["", "-coincidence"]) {
            is_sample(&format!("skymap-products.{case}{ending}.json"), alert);
            is_sample(&format!("galaxy-list.{case}{ending}.json"), alert);
            let products = functions.call("skymap-products", alert).await;
            let galaxies = functions.call("galaxy-list", alert).await;
            let publication = json!({"ligo": {"alert": alert, "products": products, "galaxies": galaxies}});
            is_sample(&format!("post-api.{case}{ending}.json"), &publication);
            let posted = functions.call("post-api", &publication).await;
            assert_eq!(posted["posts"][0]["status"], "not_posted", "no API is set: {posted}");
            let settled = json!({"alert": alert, "products": products, "galaxies": galaxies, "posted": posted});
            is_sample(&format!("annotate.{case}{ending}.json"), &settled);
            let annotated = functions.call("annotate", &settled).await;
            is_sample(&format!("notify.{case}{ending}.json"), &without_sizes("annotate", annotated.clone()));
            let notified = functions.call("notify", &without_sizes("annotate", annotated)).await;
            assert_eq!(notified, json!({"name": alert["name"], "notifications": []}), "no rule is set");
        }
    }
    let cases = [
        ("nested", "S090101a-6-icecube-nested", 4),
        ("flat", "MS090105e-2-icecube-flat", 1),
        ("no-events", "S090103c-2-icecube-none", 1),
    ];
    for (offset, (case, notice, alerts)) in (0..).zip(cases) {
        let received =
            functions.arrives("gcn.notices.icecube.lvk_nu_track_search", offset, &format!("{notice}.json")).await;
        is_sample(&format!("ingest-icecube.{case}.json"), &received);
        let publication = functions.call("ingest-icecube", &received).await;
        is_sample(&format!("post-api.icecube-{case}.json"), &publication);
        let posted = functions.call("post-api", &publication).await;
        assert_eq!(posted["posts"][0]["status"], "not_posted", "{posted}");
        is_sample(&format!("annotate.icecube-{case}.json"), &publication);
        let annotated = functions.call("annotate", &publication).await;
        assert_eq!(annotated["changed"].as_array().map(Vec::len), Some(alerts), "{annotated}");
        is_sample(&format!("notify.icecube-{case}.json"), &received);
        let notified = functions.call("notify", &received).await;
        assert_eq!(notified, json!({"notifications": []}), "no rule is set");
    }
    for (case, time, period, found) in
        [("hourly", "2009-01-02T13:00:00Z", "1d", 2), ("daily", "2009-01-07T00:45:00Z", "30d", 4)]
    {
        let schedule = format!("arn:aws:scheduler:us-east-2:123456789012:schedule/default/gwtm-audit-{case}");
        let event = json!({
            "version": "0", "id": "d2f1c1f0-7d0c-4f0e-9d57-3f2a5d0b9c11", "detail-type": "Scheduled Event",
            "source": "aws.scheduler", "account": "123456789012", "time": time, "region": "us-east-2",
            "resources": [schedule], "detail": {"period": period},
        });
        is_sample(&format!("audit.{case}.json"), &event);
        let audited = functions.call("audit", &event).await;
        assert_eq!(audited["findings"], json!({"not_in_gracedb": found}), "{audited}");
        let key = Key::new(audited["key"].as_str().expect("a name")).expect("a key");
        let kept: Value = serde_json::from_slice(&functions.store.read(&key).await.expect("kept")).expect("JSON");
        assert_eq!(kept["findings"].as_array().expect("findings").len(), found, "{kept}");
    }
}

#[test]
fn samples_round_trip_unchanged() {
    fn round_trip<T: DeserializeOwned + Serialize>(sample: &Value) -> Value {
        let message: T = serde_json::from_value(sample.clone()).expect("a message");
        serde_json::to_value(message).expect("JSON")
    }
    let mut count = 0;
    for entry in fs::read_dir(samples()).expect("samples") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        if !name.ends_with(".json") {
            continue;
        }
        let sample = read(&path);
        let again = match name.split('.').next().expect("a function") {
            "ingest-ligo" | "ingest-icecube" => round_trip::<Received>(&sample),
            "skymap-products" | "galaxy-list" => round_trip::<Alert>(&sample),
            "post-api" => round_trip::<Publication>(&sample),
            "annotate" => round_trip::<Annotatable>(&sample),
            "notify" => round_trip::<Notifiable>(&sample),
            "audit" => round_trip::<Scheduled>(&sample),
            other => panic!("{name}: no function `{other}`"),
        };
        assert_eq!(again, sample, "{name}");
        count += 1;
    }
    assert!(count > 20, "expected the samples, found {count}");
}

#[tokio::test]
async fn message_of_another_function_is_a_permanent_error() {
    let functions = Functions::new().await;
    let deps = ingest_ligo::Deps::new(&functions.config, functions.store.clone()).expect("deps");
    let error = answer(&deps, &ingest_ligo::handle, json!({"topic": 7})).await.expect_err("an error");
    assert!(!error.is_retryable() && error.to_string().contains("message"), "{error}");
}
