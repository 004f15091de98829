//! Azure's log-ins without the account's key: shared access signatures against Azurite; tokens of identities against a
//! stand-in that answers as Microsoft documents.

use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Form, Path, Query, Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use serde_json::{Value, json};
use shared::key::Key;
use store::Store;
use tests::azurite::{Azurite, sas};
use tests::backend::{Backend, Settings, open, value};
use tests::server::TestServer;

const MANAGED: &str = "11111111-2222-3333-4444-555555555555";
const WORKLOAD: &str = "66666666-7777-8888-9999-000000000000";
const ASSERTION: &str = "ey.assertion.1";

fn key(name: &str) -> Key {
    Key::new(name).expect("a name")
}

fn settings(pairs: &[(&'static str, &str)]) -> Settings {
    pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

#[tokio::test]
async fn shared_access_signature_works_until_it_expires() {
    let account = Azurite::shared().absent("");
    let with_sas = |sas: String| -> Settings {
        let others = account.iter().filter(|(name, _)| *name != "AZURE_ACCOUNT_KEY").cloned();
        others.chain([("AZURE_STORAGE_SAS_TOKEN", sas)]).collect()
    };
    let name = value(&account, "AZURE_ACCOUNT_NAME");
    let store = open(&with_sas(sas(name, "2099-01-01T00:00:00Z"))).await;
    let large = Bytes::from(vec![7; 5 << 20]);
    assert_eq!(store.put_if_absent(&key("fit/a b.fits"), large.clone()).await, Ok(true));
    assert_eq!(store.put_if_absent(&key("fit/a b.fits"), large.clone()).await, Ok(false));
    assert_eq!(store.get(&key("fit/a b.fits")).await, Ok(Some(large)));
    assert_eq!(store.keys("").await, Ok(vec![key("fit/a b.fits")]));
    assert_eq!(store.delete(&key("fit/a b.fits")).await, Ok(true));

    let expired = with_sas(sas(name, "2020-01-01T00:00:00Z"));
    let error = open(&expired).await.get(&key("fit/x")).await.expect_err("expired");
    assert!(!error.is_retryable() && error.to_string().contains("AZURE_STORAGE_SAS_TOKEN"), "{error}");
    let (_, signature) = value(&expired, "AZURE_STORAGE_SAS_TOKEN").split_once("sig=").expect("a signature");
    assert!(!error.to_string().contains(signature), "{error}");
}

/// An account, IMDS and Microsoft Entra on one port.
#[derive(Default)]
struct StandIn {
    /// The issued tokens; only the last one is valid.
    given: usize,
    /// Lifetime of a token [s].
    expires_in: u32,
    /// The next responses to requests for tokens.
    busy: Vec<u16>,
    /// The assertions that were exchanged.
    assertions: Vec<String>,
    objects: HashMap<String, Bytes>,
}

type Shared = Arc<Mutex<StandIn>>;

impl StandIn {
    async fn start(expires_in: u32) -> (Shared, String) {
        let shared = Arc::new(Mutex::new(StandIn { expires_in, ..StandIn::default() }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let router = Router::new()
            .route("/metadata/identity/oauth2/token", get(managed))
            .route("/{tenant}/oauth2/v2.0/token", post(exchange))
            .fallback(blob)
            .with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (shared, address)
    }

    fn token(&mut self) -> String {
        self.given += 1;
        format!("secret-token-{}", self.given)
    }
}

fn answer(status: u16, body: Value) -> Response {
    (StatusCode::from_u16(status).expect("a status"), axum::Json(body)).into_response()
}

/// <https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token>
async fn managed(State(shared): State<Shared>, headers: HeaderMap, query: Query<HashMap<String, String>>) -> Response {
    let mut stand_in = shared.lock().expect("a lock");
    let refused = |text: &str| answer(400, json!({"error": "invalid_request", "error_description": text}));
    if let Some(status) = stand_in.busy.pop() {
        return answer(status, json!({"error": "unknown"}));
    }
    if headers.get("metadata").is_none_or(|value| value != "true") || headers.contains_key("x-forwarded-for") {
        return refused("Required metadata header not specified");
    }
    if query.get("api-version").map(String::as_str) != Some("2018-02-01") {
        return refused("Version is required");
    }
    if query.get("client_id").is_some_and(|id| id != MANAGED) {
        return refused("Identity not found");
    }
    let end = jiff::Timestamp::now().as_second() + i64::from(stand_in.expires_in);
    answer(
        200,
        json!({
            "access_token": stand_in.token(), "client_id": MANAGED, "expires_in": stand_in.expires_in.to_string(),
            "expires_on": end.to_string(), "ext_expires_in": "86399", "not_before": "1506484173",
            "resource": query.get("resource").expect("a resource"), "token_type": "Bearer",
        }),
    )
}

/// <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow>
async fn exchange(
    State(shared): State<Shared>,
    Path(tenant): Path<String>,
    Form(form): Form<HashMap<String, String>>,
) -> Response {
    let mut stand_in = shared.lock().expect("a lock");
    if let Some(status) = stand_in.busy.pop() {
        return answer(status, json!({"error": "temporarily_unavailable"}));
    }
    let is = |name: &str, expected: &str| form.get(name).is_some_and(|found| found == expected);
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    if tenant != "contoso" || !is("grant_type", "client_credentials") || !is("client_assertion_type", kind) {
        return answer(400, json!({"error": "invalid_request", "error_description": "AADSTS900144: a parameter"}));
    }
    let assertion = form.get("client_assertion").cloned().unwrap_or_default();
    let known = is("client_id", WORKLOAD) && is("scope", "https://storage.azure.com/.default");
    if !known || !assertion.starts_with("ey.assertion.") {
        let text = format!("AADSTS700213: No matching federated identity record found: {assertion}");
        return answer(401, json!({"error": "invalid_client", "error_description": text}));
    }
    stand_in.assertions.push(assertion);
    let (token, expires_in) = (stand_in.token(), stand_in.expires_in);
    answer(200, json!({"token_type": "Bearer", "expires_in": expires_in, "access_token": token}))
}

async fn blob(State(shared): State<Shared>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.expect("a body");
    let mut stand_in = shared.lock().expect("a lock");
    let header =
        |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let token = header("authorization");
    // Tokens are taken from version 2017-11-09 on, with a date.
    let is_dated = !header("x-ms-date").is_empty() && header("x-ms-version").as_str() >= "2017-11-09";
    let code = |status: u16, code: &str, message: String| {
        Response::builder().status(status).header("x-ms-error-code", code).body(Body::from(message)).expect("an answer")
    };
    if token != format!("Bearer secret-token-{}", stand_in.given) || !is_dated {
        return code(401, "InvalidAuthenticationInfo", format!("<Message>not valid: {token}</Message>"));
    }
    let path = head.uri.path().to_owned();
    if path.contains("/forbidden/") {
        return code(403, "AuthorizationPermissionMismatch", "<Message>not authorized</Message>".to_owned());
    }
    match head.method {
        Method::PUT => {
            stand_in.objects.insert(path, body);
            StatusCode::CREATED.into_response()
        }
        _ => match stand_in.objects.get(&path) {
            Some(bytes) => bytes.clone().into_response(),
            None => code(404, "BlobNotFound", String::new()),
        },
    }
}

async fn managed_store(address: &str, client_id: &str) -> Store {
    open(&settings(&[
        ("STORAGE_BUCKET_SOURCE", "abfs"),
        ("AZURE_ACCOUNT_NAME", "alerts"),
        ("AZURE_STORAGE_ENDPOINT", address),
        ("AZURE_MANAGED_IDENTITY", "true"),
        ("AZURE_CLIENT_ID", client_id),
        ("AZURE_POD_IDENTITY_AUTHORITY_HOST", address),
    ]))
    .await
}

#[tokio::test]
async fn managed_identity_shares_one_token_and_renews_a_rejected_one() {
    let (shared, address) = StandIn::start(3600).await;
    // IMDS is being updated, throttles, and fails.
    shared.lock().expect("a lock").busy = vec![404, 429, 500];
    let store = managed_store(&address, MANAGED).await;
    store.put(&key("fit/x"), Bytes::from_static(b"1")).await.expect("written");
    let name = key("fit/x");
    let all = futures::future::join_all((0..20).map(|_| store.get(&name))).await;
    assert!(all.iter().all(|found| *found == Ok(Some(Bytes::from_static(b"1")))), "{all:?}");
    assert_eq!(shared.lock().expect("a lock").given, 1);
    // The token was revoked.
    shared.lock().expect("a lock").given = 7;
    assert_eq!(store.read(&name).await, Ok(Bytes::from_static(b"1")));
    assert_eq!(shared.lock().expect("a lock").given, 8);

    let error = store.get(&key("forbidden/x")).await.expect_err("no role");
    assert!(!error.is_retryable() && error.to_string().contains("AZURE_MANAGED_IDENTITY"), "{error}");
    let error = managed_store(&address, WORKLOAD).await.get(&name).await.expect_err("another identity");
    assert!(!error.is_retryable() && error.to_string().contains("Identity not found"), "{error}");
    assert!(error.to_string().contains("AZURE_CLIENT_ID"), "{error}");
    assert!(!format!("{store:?} {error}").contains("secret-token"));
}

#[tokio::test]
async fn renews_a_token_before_it_expires() {
    let (shared, address) = StandIn::start(1).await;
    let store = managed_store(&address, MANAGED).await;
    assert_eq!(store.get(&key("fit/x")).await, Ok(None));
    // Renewed at half of its lifetime when that is shorter than a minute.
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    assert_eq!(store.get(&key("fit/x")).await, Ok(None));
    assert_eq!(shared.lock().expect("a lock").given, 2);
}

#[tokio::test]
async fn workload_identity_exchanges_the_files_current_token() {
    let (shared, address) = StandIn::start(3600).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    let file_name = file.display().to_string();
    let store = |client_id: &'static str| {
        let settings = settings(&[
            ("STORAGE_BUCKET_SOURCE", "abfs"),
            ("AZURE_ACCOUNT_NAME", "alerts"),
            ("AZURE_STORAGE_ENDPOINT", &address),
            ("AZURE_CLIENT_ID", client_id),
            ("AZURE_TENANT_ID", "contoso"),
            ("AZURE_FEDERATED_TOKEN_FILE", &file_name),
            ("AZURE_AUTHORITY_HOST", &format!("{address}/")),
        ]);
        async move { open(&settings).await }
    };
    let opened = store(WORKLOAD).await;
    let error = opened.get(&key("fit/x")).await.expect_err("no file");
    assert!(!error.is_retryable() && error.to_string().contains("AZURE_FEDERATED_TOKEN_FILE"), "{error}");
    fs::write(&file, format!("{ASSERTION}\n")).expect("written");
    shared.lock().expect("a lock").busy = vec![503];
    opened.put(&key("fit/x"), Bytes::from_static(b"1")).await.expect("written");
    // The platform renews its token, and ours is revoked.
    fs::write(&file, "ey.assertion.2").expect("written");
    shared.lock().expect("a lock").given = 7;
    assert_eq!(opened.read(&key("fit/x")).await, Ok(Bytes::from_static(b"1")));
    assert_eq!(shared.lock().expect("a lock").assertions, [ASSERTION, "ey.assertion.2"]);

    let error = store(MANAGED).await.get(&key("fit/x")).await.expect_err("another identity");
    assert!(!error.is_retryable() && error.to_string().contains("AADSTS700213"), "{error}");
    assert!(error.to_string().contains("AZURE_CLIENT_ID") && !error.to_string().contains("assertion.2"), "{error}");
}
