//! The Swift back end with OpenStack's Swift and Keystone: log-ins, rejected requests, large objects. A mock on the
//! loopback interface provides faults that the real servers do not show on demand.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use serde_json::{Value, json};
use shared::key::Key;
use store::{Head, Md5, ObjectStream, Store};
use tests::backend::{Backend, Service, Settings, open, value, with};
use tests::server::{TestServer, ask, unique};
use tests::swift::Swift;

fn key(name: &str) -> Key {
    Key::new(name).expect("a name")
}

#[tokio::test]
async fn accepts_the_url_of_keystone_with_and_without_version() {
    let swift = Swift::shared();
    let container = swift.create("log-ins").await;
    let base = value(&container, "OS_AUTH_URL");
    for auth_url in [base.to_owned(), format!("{base}/"), format!("{base}/v3"), format!("{base}/v3/")] {
        let store = open(&with(&container, "OS_AUTH_URL", auth_url.clone())).await;
        assert_eq!(store.get(&key("fit/none")).await, Ok(None), "{auth_url}");
    }
    let nowhere = with(&container, "OS_AUTH_URL", format!("{base}/nowhere"));
    let error = open(&nowhere).await.get(&key("fit/none")).await.expect_err("no Keystone there");
    assert!(!error.is_retryable() && error.to_string().contains("OS_AUTH_URL"), "{error}");
}

#[tokio::test]
async fn logs_in_with_an_application_credential() {
    let swift = Swift::shared();
    let container = swift.create("credentials").await;
    let body = json!({ "application_credential": { "name": unique("test") } });
    let created = swift.as_listener(|token, login| {
        let user = login["token"]["user"]["id"].as_str().expect("an id");
        let request = format!("POST /v3/users/{user}/application_credentials");
        swift.ask_keystone(&request, token, &body.to_string())
    });
    assert_eq!(created.status, 201, "{created:?}");
    let created: Value = serde_json::from_str(&created.body).expect("JSON");
    let text = |name: &str| created["application_credential"][name].as_str().expect("text").to_owned();
    let storage_url = format!("http://{}/{}", swift.address(), swift.own_account());
    let by_credential: Settings = container.iter().filter(|(name, _)| *name != "OS_PROJECT_NAME").cloned().collect();
    let by_credential = with(&by_credential, "OS_USERNAME", text("id"));
    let by_credential = with(&by_credential, "OS_PASSWORD", text("secret"));
    let by_credential = with(&by_credential, "OS_STORAGE_URL", storage_url);
    open(&container).await.put(&key("fit/x"), Bytes::from_static(b"1")).await.expect("written");
    assert_eq!(open(&by_credential).await.read(&key("fit/x")).await, Ok(Bytes::from_static(b"1")));
    let wrong = with(&by_credential, "OS_PASSWORD", "hunter2".to_owned());
    let error = open(&wrong).await.read(&key("fit/x")).await.expect_err("another secret").to_string();
    assert!(error.contains("application credential was rejected") && !error.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn rejected_requests_name_the_wrong_setting() {
    let swift = Swift::shared();
    let container = swift.create("refused").await;
    for (wrong, text) in
        [("hunter2", "OS_PASSWORD"), ("no-such-project", "OS_PROJECT_NAME"), ("no-such-domain", "OS_USER_DOMAIN_NAME")]
    {
        let wrong = with(&container, text, wrong.to_owned());
        let error = open(&wrong).await.get(&key("fit/x")).await.expect_err(text);
        assert!(!error.is_retryable() && error.to_string().contains(text), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    let absent = swift.absent("no-such-container");
    let store = open(&absent).await;
    for error in [
        store.get(&key("fit/x")).await.expect_err("no container"),
        store.head(&key("fit/x")).await.expect_err("no container"),
        store.delete(&key("fit/x")).await.expect_err("no container"),
        store.put(&key("fit/x"), Bytes::new()).await.expect_err("no container"),
        store.put_if_absent(&key("fit/x"), Bytes::new()).await.expect_err("no container"),
        store.keys("fit/").await.expect_err("no container"),
    ] {
        let expected = format!("expected the container `{}`, found none", value(&absent, "OS_CONTAINER_NAME"));
        assert!(!error.is_retryable() && error.to_string().contains(&expected), "{error}");
    }
}

#[tokio::test]
async fn put_if_absent_succeeds_for_one_of_several_writers() {
    let swift = Swift::shared();
    let container = swift.create("claims").await;
    let stores = futures::future::join_all((0..8).map(|_| open(&container))).await;
    for round in 0..3 {
        let name = key(&format!("test/MS181101ab-Update{round}_alert.json"));
        let claims = stores.iter().enumerate().map(|(i, store)| store.put_if_absent(&name, format!("{i}").into()));
        let created = futures::future::join_all(claims).await;
        let created: Vec<usize> = (0..8).filter(|i| created[*i].as_ref().is_ok_and(|created| *created)).collect();
        assert_eq!(created.len(), 1, "{created:?}");
        assert_eq!(stores[0].read(&name).await, Ok(Bytes::from(created[0].to_string())));
    }
}

#[tokio::test]
async fn streams_have_their_md5_and_media_type() {
    let swift = Swift::shared();
    let container = swift.create("streams").await;
    let store = open(&container).await;
    let whole = Bytes::from((0..24_u32 << 20).map(|i| (i / 7) as u8).collect::<Vec<u8>>());
    let name = key("fit/large+x,1: ä.fits");
    let chunks: Vec<_> = whole.chunks(999_999).map(Bytes::copy_from_slice).map(Ok).collect();
    let head = Head { size: whole.len() as u64, ..Head::default() };
    store
        .put_stream(&name, ObjectStream { head, chunks: futures::stream::iter(chunks).boxed() })
        .await
        .expect("written");
    assert_eq!(store.head(&name).await.map(|head| head.and_then(|head| head.md5)), Ok(Some(Md5::of(&whole))));
    store.put(&key("fit/x.json"), Bytes::from_static(b"{}")).await.expect("written");
    for (path, media_type) in
        [("fit/large%2Bx%2C1%3A%20%C3%A4.fits", "application/fits"), ("fit/x.json", "application/json")]
    {
        let name = value(&container, "OS_CONTAINER_NAME");
        let request = format!("HEAD /{}/{name}/{path}", swift.own_account());
        let answer = swift.as_listener(|token, _| ask(swift.address(), &request, &[("X-Auth-Token", token)], ""));
        assert_eq!(answer.header("content-type"), Some(media_type), "{path}: {answer:?}");
    }
    let listed: Vec<_> = store.list("fit/large+").try_collect().await.expect("a list");
    assert_eq!((&listed[0].key, listed[0].head.md5), (&Ok(name), Some(Md5::of(&whole))));
    assert!(listed[0].head.modified.is_some());
}

/// A mock of Keystone and Swift: every token is valid until a fault rejects it; each request to Swift uses the next
/// fault, and without one returns an object `fit/x` of ten digits.
#[derive(Debug, Default)]
struct StandIn {
    log_ins: u32,
    faults: VecDeque<u16>,
    requests: Vec<String>,
}

type Shared = Arc<Mutex<StandIn>>;

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    let mut stand_in = shared.lock().expect("a lock");
    let host = request.headers()["host"].to_str().expect("a host").to_owned();
    let header = |name: &str| request.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
    let answer = Response::builder();
    let answer = if request.uri().path() == "/v3/auth/tokens" {
        stand_in.log_ins += 1;
        let token = format!("secret-token-{}", stand_in.log_ins);
        let endpoint = json!({ "interface": "public", "url": format!("http://{host}/v1/AUTH_1") });
        let catalog = json!([{ "type": "object-store", "endpoints": [endpoint] }]);
        let body = json!({ "token": { "expires_at": "2999-01-01T00:00:00.000000Z", "catalog": catalog } });
        answer.status(201).header("x-subject-token", token).body(Body::from(body.to_string()))
    } else {
        let token = header("x-auth-token").unwrap_or_default();
        stand_in.requests.push(format!("{} {} {token}", request.method(), header("range").unwrap_or_default()));
        match stand_in.faults.pop_front() {
            // The response breaks after four bytes.
            Some(200) => {
                let first = futures::stream::iter([Ok(Bytes::from_static(b"0123"))]);
                let rest = futures::stream::once(async {
                    // Let the first bytes arrive.
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    Err(std::io::Error::other("gone"))
                });
                let body = Body::from_stream(first.chain(rest));
                answer.header("content-length", "10").header("etag", "\"1\"").body(body)
            }
            Some(status) => answer.status(status).body(Body::from(format!("you sent {token}"))),
            None => match header("range").as_deref() {
                Some("bytes=4-9") => answer.status(206).header("etag", "\"1\"").body(Body::from("456789")),
                _ => answer.status(200).header("etag", "\"1\"").body(Body::from("0123456789")),
            },
        }
    };
    answer.expect("an answer")
}

async fn stand_in(faults: &[u16]) -> (Store, Shared) {
    let shared = Shared::default();
    shared.lock().expect("a lock").faults.extend(faults);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let auth_url = format!("http://{}", listener.local_addr().expect("an address"));
    let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let settings = [
        ("STORAGE_BUCKET_SOURCE", "swift"),
        ("OS_AUTH_URL", auth_url.as_str()),
        ("OS_USERNAME", "alerter"),
        ("OS_PASSWORD", "hunter2"),
        ("OS_PROJECT_NAME", "alerts"),
        ("OS_CONTAINER_NAME", "c"),
    ];
    (open(&settings.map(|(name, value)| (name, value.to_owned())).to_vec()).await, shared)
}

#[tokio::test]
async fn renews_a_rejected_token_once() {
    let (store, shared) = stand_in(&[401]).await;
    assert_eq!(store.get(&key("fit/x")).await, Ok(Some(Bytes::from_static(b"0123456789"))));
    assert_eq!(store.get(&key("fit/x")).await, Ok(Some(Bytes::from_static(b"0123456789"))));
    {
        let stand_in = shared.lock().expect("a lock");
        assert_eq!(stand_in.requests, ["GET  secret-token-1", "GET  secret-token-2", "GET  secret-token-2"]);
        assert_eq!(stand_in.log_ins, 2);
    }
    let (store, shared) = stand_in(&[401, 401]).await;
    let error = store.put(&key("fit/x"), Bytes::from_static(b"1")).await.expect_err("two tokens were refused");
    assert!(!error.is_retryable() && error.to_string().contains("a new token was rejected"), "{error}");
    assert_eq!(shared.lock().expect("a lock").log_ins, 2);
}

#[tokio::test]
async fn concurrent_requests_share_one_log_in() {
    let (store, shared) = stand_in(&[]).await;
    let name = key("fit/x");
    let all = futures::future::join_all((0..20).map(|_| store.get(&name))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    assert_eq!(shared.lock().expect("a lock").log_ins, 1);
}

#[tokio::test]
async fn retries_after_503_and_broken_responses() {
    let (store, shared) = stand_in(&[498, 503, 200]).await;
    assert_eq!(store.get(&key("fit/x")).await, Ok(Some(Bytes::from_static(b"0123456789"))));
    let requests = shared.lock().expect("a lock").requests.clone();
    assert_eq!(requests.len(), 4);
    // Only the missing bytes are read again.
    assert_eq!(requests[3], "GET bytes=4-9 secret-token-1");
}

#[tokio::test]
async fn errors_never_show_the_token_or_the_password() {
    let (store, _) = stand_in(&[403]).await;
    let error = store.get(&key("fit/x")).await.expect_err("not allowed");
    assert!(!error.is_retryable() && error.to_string().contains("not allowed"), "{error}");
    assert!(!error.to_string().contains("secret-token"), "{error}");
    assert!(!format!("{store:?}").contains("secret-token") && !format!("{store:?}").contains("hunter2"));
}
