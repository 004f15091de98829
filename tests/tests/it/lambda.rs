//! The Lambda binaries behind cargo-lambda's emulator: error classes, context of log lines, settings. (`messages.rs`
//! runs every sample.)

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tests::backend::Service;
use tests::lambda::Lambda;
use tests::moto::{self, Moto};
use tests::program::{binary, sample, workspace};
use tests::server::{TestServer, ask, unique};

use crate::bridge::gate;

fn lines(log: &Path) -> Vec<Value> {
    let text = fs::read_to_string(log).expect("a log");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[test]
fn log_lines_name_the_alert_and_the_execution() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, log) = (folder.path().join("store"), folder.path().join("log"));
    let mut lambda = Lambda::start();
    lambda.serve("ingest-ligo", &[("STORAGE_FOLDER", &store.display().to_string())], &log);
    let notice = fs::read_to_string(sample("S090103c-1-preliminary-burst.json")).expect("a notice");
    let call = |message: Value| {
        let file = folder.path().join("call.json");
        let flow = json!({"execution": "igwn_gwalert-0-7", "started": "2026-01-01T00:00:00Z", "retries": 1});
        fs::write(&file, json!({"flow": flow, "message": message}).to_string()).expect("a file");
        lambda.invoke("ingest-ligo", &file)
    };
    let answer = call(json!({"topic": "igwn.gwalert", "body": {"inline": notice}})).expect("an answer");
    assert_eq!(answer["alerts"][0]["name"], "S090103c-Preliminary");
    // Another function's message is a Permanent error, and the process continues.
    let error = call(json!({"neither": "nor"})).expect_err("no message");
    assert!(error.starts_with("Permanent"), "{error}");
    let error = call(json!({"topic": "igwn.gwalert", "body": {"inline": "{}"}})).expect_err("no notice");
    assert!(error.starts_with("Permanent"), "{error}");
    call(json!({"topic": "igwn.gwalert", "body": {"inline": notice}})).expect("once more");

    let said = lines(&log);
    let (metrics, sentences): (Vec<&Value>, Vec<&Value>) = said.iter().partition(|line| line.get("_aws").is_some());
    assert!(sentences.len() >= 4, "{said:?}");
    for line in &said {
        // A query would need backticks around a name with a dot.
        assert!(line.as_object().is_some_and(|fields| fields.keys().all(|name| !name.contains('.'))), "{line}");
    }
    for line in sentences {
        let (execution, retries) = (&line["span"]["execution"], &line["span"]["retries"]);
        assert_eq!((execution, retries), (&json!("igwn_gwalert-0-7"), &json!(1)), "{line}");
        if line["level"] == "INFO" {
            assert_eq!(line["span"]["alert_name"], "S090103c-Preliminary", "{line}");
        }
    }
    let went: Vec<_> = metrics.iter().map(|line| (&line["permanent_errors"], &line["alerts"])).collect();
    let (one, none, null) = (json!(1.0), json!(0.0), Value::Null);
    assert_eq!(went, [(&none, &one), (&one, &null), (&one, &null), (&none, &one)]);
    assert!(metrics.iter().all(|line| line["function"] == "ingest-ligo" && line["retries"] == 1.0), "{metrics:?}");
}

/// Creates a secret; returns its ARN.
fn create_secret(moto: &Moto, name: &str, text: &str) -> String {
    let signature = moto::signature("secretsmanager");
    let headers = [
        ("X-Amz-Target", "secretsmanager.CreateSecret"),
        ("Authorization", signature.as_str()),
        ("Content-Type", "application/x-amz-json-1.1"),
    ];
    let body = json!({"Name": unique(name), "SecretString": text}).to_string();
    let answer = ask(Service::address(moto), "POST /", &headers, &body).body;
    let made: Option<Value> = serde_json::from_str(&answer).ok();
    made.and_then(|made| made["ARN"].as_str().map(str::to_owned)).unwrap_or_else(|| panic!("{answer}"))
}

#[tokio::test]
async fn reads_the_token_from_its_secret_and_never_shows_it() {
    let moto = Moto::shared();
    let folder = tempfile::tempdir().expect("a folder");
    let (store, log) = (folder.path().join("store").display().to_string(), folder.path().join("log"));
    // Nothing listens at the GWTM's address, which is a Retryable error.
    let secret = json!({"API_TOKEN": "a-secret-token", "API_BASE": "http://127.0.0.1:9/api/v1/"});
    let named = create_secret(&moto, "gwtm-token", &secret.to_string());
    let not_settings = create_secret(&moto, "gwtm-other", "a-secret-token");
    let address = moto.url();
    let settings = |secrets| {
        [
            ("STORAGE_FOLDER", store.as_str()),
            ("SETTINGS_SECRETS", secrets),
            ("AWS_ENDPOINT_URL", address.as_str()),
            ("AWS_DEFAULT_REGION", "us-east-2"),
            ("AWS_ACCESS_KEY_ID", "testing"),
            ("AWS_SECRET_ACCESS_KEY", "testing"),
        ]
    };
    let mut lambda = Lambda::start();
    lambda.serve("post-api", &settings(&named), &log);
    let message = workspace().join("events/messages/post-api.retraction.json");
    let error = tokio::task::spawn_blocking(move || lambda.invoke("post-api", &message)).await.expect("called");
    let error = error.expect_err("nobody listens");
    assert!(error.starts_with("Retryable"), "{error}");
    let said = fs::read_to_string(&log).expect("a log");
    assert!(!said.contains("a-secret-token") && !error.contains("a-secret-token"), "{said}{error}");

    let ended = Command::new(binary("post-api"))
        .env_clear()
        .env("AWS_LAMBDA_RUNTIME_API", "http://127.0.0.1:9")
        .envs(settings(&not_settings))
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1));
    assert!(said.contains("expected a JSON object of settings") && !said.contains("a-secret-token"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_secret_is_retryable_until_it_can_be_read() {
    let moto = Moto::shared();
    let folder = tempfile::tempdir().expect("a folder");
    let (store, log) = (folder.path().join("store").display().to_string(), folder.path().join("log"));
    // Nothing listens at the GWTM's address, which is a Retryable error.
    let secret = json!({"API_TOKEN": "a-secret-token", "API_BASE": "http://127.0.0.1:9/api/v1/"});
    let secret = create_secret(&moto, "gwtm-late", &secret.to_string());
    let open = Arc::new(AtomicBool::new(false));
    let address = gate(Service::address(&moto), Arc::clone(&open)).await;
    let settings = [
        ("STORAGE_FOLDER", store.as_str()),
        ("SETTINGS_SECRETS", &secret),
        ("AWS_ENDPOINT_URL", &address),
        ("AWS_DEFAULT_REGION", "us-east-2"),
        ("AWS_ACCESS_KEY_ID", "testing"),
        ("AWS_SECRET_ACCESS_KEY", "testing"),
    ];
    let mut lambda = Lambda::start();
    lambda.serve("post-api", &settings, &log);
    let lambda = Arc::new(lambda);
    let call = async || {
        let (lambda, message) = (Arc::clone(&lambda), workspace().join("events/messages/post-api.retraction.json"));
        let called = tokio::task::spawn_blocking(move || lambda.invoke("post-api", &message)).await;
        called.expect("called").expect_err("nobody listens")
    };
    let error = call().await;
    assert!(error.starts_with("Retryable") && error.contains("secret `arn:"), "{error}");
    open.store(true, Ordering::Relaxed);
    let error = call().await;
    assert!(error.starts_with("Retryable") && error.contains("127.0.0.1:9") && !error.contains("secret"), "{error}");
}

#[test]
fn invalid_setting_ends_the_process_with_an_error() {
    for (name, value, said) in [
        ("DRY_RUN", "perhaps", "DRY_RUN"),
        ("SETTINGS", r#"{"FLAT_MAX_ODER": 9}"#, "FLAT_MAX_ODER"),
        ("SETTINGS", r#"{"FLAT_MAX_ORDER": 99}"#, "FLAT_MAX_ORDER"),
    ] {
        let ended = Command::new(binary("ingest-ligo"))
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", "http://127.0.0.1:9")
            .env(name, value)
            .output()
            .expect("it starts");
        assert_eq!(ended.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&ended.stderr).contains(said));
    }
}
