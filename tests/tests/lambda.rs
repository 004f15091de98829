//! The Lambda binaries themselves: each takes its sample messages from the runtime interface as Lambda offers it, and
//! answers them, errors with their class.
//!
//! The interface is <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>, as far as a runtime uses it.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path as UrlPath, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tests::program::{binary, sample, workspace};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

/// The runtime interface: hands out events and takes answers.
struct Interface {
    address: String,
    events: mpsc::UnboundedSender<Value>,
    answers: mpsc::UnboundedReceiver<(String, Value)>,
}

struct Shared {
    events: Mutex<mpsc::UnboundedReceiver<Value>>,
    answers: mpsc::UnboundedSender<(String, Value)>,
}

impl Interface {
    async fn start() -> Self {
        let (events, waiting) = mpsc::unbounded_channel();
        let (answered, answers) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared { events: Mutex::new(waiting), answers: answered });
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/{outcome}", post(answer))
            .with_state(shared);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Interface { address, events, answers }
    }

    /// Has an event handled: `("response", answer)` or `("error", {errorType, errorMessage})`.
    async fn handle(&mut self, event: Value) -> (String, Value) {
        self.events.send(event).expect("the interface runs");
        timeout(Duration::from_secs(60), self.answers.recv())
            .await
            .expect("an answer within a minute")
            .expect("an answer")
    }
}

async fn next(State(shared): State<Arc<Shared>>) -> Response {
    match shared.events.lock().await.recv().await {
        Some(event) => {
            let headers = [
                ("lambda-runtime-aws-request-id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd"),
                ("lambda-runtime-deadline-ms", "4102444800000"),
                ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-2:123456789012:function:sample"),
            ];
            (headers, event.to_string()).into_response()
        }
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    UrlPath((_, outcome)): UrlPath<(String, String)>,
    body: Bytes,
) -> StatusCode {
    let answer = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let _ = shared.answers.send((outcome, answer));
    StatusCode::ACCEPTED
}

/// A function's process; it ends with the test.
struct Function(Child);

impl Drop for Function {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(name: &str, interface: &Interface, store: &Path) -> Function {
    let child = Command::new(binary(name))
        .env_clear()
        .env("AWS_LAMBDA_RUNTIME_API", &interface.address)
        .env("AWS_LAMBDA_FUNCTION_NAME", name)
        .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
        .env("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/sample")
        .env("AWS_LAMBDA_LOG_STREAM_NAME", "sample")
        .env("STORAGE_FOLDER", store)
        .env("LOG_FORMAT", "json")
        .env("FERMI_TLE_FILE", workspace().join("events/fermi.tle"))
        .env("FERMI_FT2_DIR", workspace().join("events"))
        .env("CATALOG_PATH", workspace().join("events/catalog.csv"))
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn();
    Function(child.expect("the function starts"))
}

fn message(name: &str) -> Value {
    let text = fs::read_to_string(workspace().join("events/messages").join(name)).expect("a sample");
    serde_json::from_str(&text).expect("JSON")
}

#[tokio::test]
async fn every_function_answers_its_samples_as_lambda_asks() {
    let folder = tempfile::tempdir().expect("a folder");
    for (case, notice) in [
        ("ingest-ligo.burst", "S090103c-1-preliminary-burst.json"),
        ("ingest-icecube.nested", "S090101a-6-icecube-nested.json"),
    ] {
        let received = message(&format!("{case}.json"));
        let key = folder.path().join(received["body"]["key"].as_str().expect("a key"));
        fs::create_dir_all(key.parent().expect("a folder")).expect("a folder");
        fs::copy(sample(notice), key).expect("a notice");
    }
    let chain = [
        ("ingest-ligo", "ingest-ligo.burst.json", "alerts"),
        ("skymap-products", "skymap-products.burst.json", "products"),
        ("galaxy-list", "galaxy-list.burst.json", "count"),
        ("post-api", "post-api.burst.json", "posts"),
        ("annotate", "annotate.burst.json", "objects"),
        ("ingest-icecube", "ingest-icecube.nested.json", "icecube"),
        ("post-api", "post-api.icecube-nested.json", "posts"),
    ];
    for (function, sample, field) in chain {
        let mut interface = Interface::start().await;
        let _process = start(function, &interface, folder.path());
        let (outcome, answer) = interface.handle(message(sample)).await;
        assert_eq!(outcome, "response", "{function}: {answer}");
        assert!(!answer[field].is_null(), "{function}: {answer}");
        // What is no message of its is Permanent, and the process goes on.
        let (outcome, answer) = interface.handle(json!({"neither": "nor"})).await;
        assert_eq!((outcome.as_str(), &answer["errorType"]), ("error", &json!("Permanent")), "{function}: {answer}");
        let (outcome, answer) = interface.handle(message(sample)).await;
        assert_eq!(outcome, "response", "{function}, once more: {answer}");
    }
}

#[tokio::test]
async fn what_may_pass_is_retryable() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut interface = Interface::start().await;
    // Nobody listens where the GWTM should be.
    let child = Command::new(binary("post-api"))
        .env_clear()
        .env("AWS_LAMBDA_RUNTIME_API", &interface.address)
        .env("AWS_LAMBDA_FUNCTION_NAME", "post-api")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
        .env("STORAGE_FOLDER", folder.path())
        .env("API_BASE", "http://127.0.0.1:9/api/v1/")
        .env("API_TOKEN", "a-secret-token")
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn();
    let _process = Function(child.expect("the function starts"));
    let (outcome, answer) = interface.handle(message("post-api.retraction.json")).await;
    assert_eq!((outcome.as_str(), &answer["errorType"]), ("error", &json!("Retryable")), "{answer}");
    assert!(!answer.to_string().contains("a-secret-token"), "{answer}");
}

#[test]
fn a_wrong_setting_ends_the_process_and_says_so() {
    let ended = Command::new(binary("ingest-ligo"))
        .env_clear()
        .env("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9")
        .env("DRY_RUN", "perhaps")
        .output()
        .expect("it starts");
    assert_eq!(ended.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("DRY_RUN"));
}
