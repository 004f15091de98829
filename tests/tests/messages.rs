//! `events/messages/`: what each function receives, and that each answer is the next one's input.
//!
//! `BLESS=1 cargo test --package tests --test messages` writes the samples again.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use shared::config::Config;
use shared::key::Key;
use shared::lambda::answer;
use shared::message::{Alert, Publication, Received, Settled};
use shared::store::Store;
use tests::program::{sample, workspace};

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
    _folder: tempfile::TempDir,
}

impl Functions {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().display().to_string();
        // From where tests run; the samples may not name a folder of one machine.
        let events = Path::new("../events");
        let config = Config::read(&|name| match name {
            "STORAGE_FOLDER" => Some(data.clone()),
            "CATALOG_PATH" => Some(events.join("catalog.csv").display().to_string()),
            "FERMI_TLE_FILE" => Some(events.join("fermi.tle").display().to_string()),
            "FERMI_FT2_URL" | "FERMI_TLE_URL" | "GRACEDB_URL" => Some("http://127.0.0.1:9/".to_owned()),
            _ => None,
        });
        let config = config.expect("settings");
        let store = config.open_store().await.expect("a store");
        Functions { config, store, _folder: folder }
    }

    /// What the bridge leaves: the notice in the inbox and its message.
    async fn arrives(&self, topic: &str, offset: i64, notice: &str) -> Value {
        let key = Key::new(format!("inbox/{topic}/0/{offset:020}.json")).expect("a key");
        self.store.put(&key, fs::read(sample(notice)).expect("a notice").into()).await.expect("stored");
        json!({"topic": topic, "partition": 0, "offset": offset, "kafka_time": "2026-01-01T00:00:01Z", "body": {"key": key}})
    }

    async fn call(&self, function: &str, message: &Value) -> Value {
        let (config, store, message) = (&self.config, self.store.clone(), message.clone());
        let answer = match function {
            "ingest-ligo" => {
                answer(&ingest_ligo::Deps::new(config, store).expect("deps"), &ingest_ligo::handle, message).await
            }
            "ingest-icecube" => {
                answer(&ingest_icecube::Deps::new(config, store).expect("deps"), &ingest_icecube::handle, message).await
            }
            "skymap-products" => {
                answer(&skymap_products::Deps::new(config, store).expect("deps"), &skymap_products::handle, message)
                    .await
            }
            "galaxy-list" => {
                answer(&galaxy_list::Deps::new(config, store).expect("deps"), &galaxy_list::handle, message).await
            }
            "post-api" => answer(&post_api::Deps::new(config, store).expect("deps"), &post_api::handle, message).await,
            "annotate" => answer(&annotate::Deps::new(config, store).expect("deps"), &annotate::handle, message).await,
            other => panic!("no function `{other}`"),
        };
        answer.unwrap_or_else(|error| panic!("{function}: {error}"))
    }
}

#[tokio::test]
async fn every_function_takes_what_the_one_before_it_answers() {
    let functions = Functions::new().await;
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
            assert_eq!(annotated["name"], alert["name"], "{annotated}");
        }
    }
    let cases = [
        ("nested", "S090101a-6-icecube-nested"),
        ("flat", "MS090105e-2-icecube-flat"),
        ("no-events", "S090103c-2-icecube-none"),
    ];
    for (offset, (case, notice)) in (0..).zip(cases) {
        let received =
            functions.arrives("gcn.notices.icecube.lvk_nu_track_search", offset, &format!("{notice}.json")).await;
        is_sample(&format!("ingest-icecube.{case}.json"), &received);
        let publication = functions.call("ingest-icecube", &received).await;
        is_sample(&format!("post-api.icecube-{case}.json"), &publication);
        let posted = functions.call("post-api", &publication).await;
        assert_eq!(posted["posts"][0]["status"], "not_posted", "{posted}");
    }
}

#[test]
fn every_sample_reads_and_prints_as_it_is() {
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
            "annotate" => round_trip::<Settled>(&sample),
            other => panic!("{name}: no function `{other}`"),
        };
        assert_eq!(again, sample, "{name}");
        count += 1;
    }
    assert!(count > 20, "expected the samples, found {count}");
}

#[tokio::test]
async fn a_message_that_is_not_the_functions_input_is_permanent() {
    let functions = Functions::new().await;
    let deps = ingest_ligo::Deps::new(&functions.config, functions.store.clone()).expect("deps");
    let error = answer(&deps, &ingest_ligo::handle, json!({"topic": 7})).await.expect_err("an error");
    assert!(!error.is_retryable() && error.to_string().contains("message"), "{error}");
}
