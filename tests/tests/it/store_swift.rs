//! The Swift back end against OpenStack's own Swift and Keystone: the log-ins, what is refused, and what is large. Faults
//! that they do not show on demand come from a stand-in on the loopback interface.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use serde_json::{Value, json};
use shared::Secret;
use shared::key::Key;
use store::{Content, Head, Location, Md5, Store, SwiftSettings};
use tests::container;
use tests::swift::Swift;

/// The servers, by what their user logs in with.
struct Server {
    /// Of Keystone, with its version.
    auth_url: String,
    username: String,
    password: String,
    project_name: String,
}

impl Server {
    fn of(swift: &Swift) -> Self {
        let settings = swift.settings();
        let value = |name| container::value(&settings, name).to_owned();
        Server {
            auth_url: format!("{}/v3", value("OS_AUTH_URL")),
            username: value("OS_USERNAME"),
            password: value("OS_PASSWORD"),
            project_name: value("OS_PROJECT_NAME"),
        }
    }

    fn settings(&self, container: &str) -> SwiftSettings {
        SwiftSettings {
            auth_url: self.auth_url.clone(),
            username: self.username.clone(),
            password: Secret::new(&self.password),
            project_name: Some(self.project_name.clone()),
            user_domain_name: "Default".to_owned(),
            project_domain_name: "Default".to_owned(),
            container: container.to_owned(),
            storage_url: None,
        }
    }

    /// A token, and what Keystone says with it.
    fn log_in(&self) -> (String, Value) {
        let user = json!({ "name": self.username, "domain": { "name": "Default" }, "password": self.password });
        let body = json!({ "auth": {
            "identity": { "methods": ["password"], "password": { "user": user } },
            "scope": { "project": { "name": self.project_name, "domain": { "name": "Default" } } },
        } });
        let (head, body) = http("POST", &format!("{}/auth/tokens", self.auth_url), "", &body.to_string());
        let token = head.lines().find_map(|line| line.strip_prefix("x-subject-token: ")).expect("a token");
        (token.to_owned(), serde_json::from_str(&body).expect("JSON"))
    }

    /// The account's address in Swift.
    fn storage_url(answer: &Value) -> String {
        let services = answer["token"]["catalog"].as_array().expect("a catalogue");
        let swift = services.iter().find(|service| service["type"] == "object-store").expect("Swift");
        let endpoints = swift["endpoints"].as_array().expect("addresses");
        let public = endpoints.iter().find(|endpoint| endpoint["interface"] == "public").expect("a public one");
        public["url"].as_str().expect("an address").to_owned()
    }

    fn create_container(&self, name: &str) {
        let (token, answer) = self.log_in();
        let (head, _) = http("PUT", &format!("{}/{name}", Self::storage_url(&answer)), &token, "");
        assert!(head.starts_with("http/1.1 20"), "{head}");
    }
}

/// One request over plain HTTP; the answer's head in lower case but for its values, and its body.
fn http(method: &str, url: &str, token: &str, body: &str) -> (String, String) {
    let (host, path) = url.trim_start_matches("http://").split_once('/').expect("an address with a path");
    let mut stream = TcpStream::connect(host).expect("a server");
    let length = body.len();
    write!(
        stream,
        "{method} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         X-Auth-Token: {token}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let lines = head.lines().map(|line| match line.split_once(": ") {
        Some((name, value)) => format!("{}: {value}", name.to_lowercase()),
        None => line.to_lowercase(),
    });
    (lines.collect::<Vec<_>>().join("\n"), body.to_owned())
}

#[tokio::test]
async fn swift_keeps_its_promises() {
    let swift = Swift::start();
    let server = Server::of(&swift);
    the_address_of_keystone_is_taken_with_and_without_its_version(&server).await;
    an_application_credential_logs_in(&server).await;
    what_is_refused_says_which_setting_is_wrong(&server).await;
    of_writers_in_one_moment_one_creates_the_name(&server).await;
    large_objects_are_streams(&server).await;
}

async fn store(settings: SwiftSettings) -> Store {
    Store::open(&Location::Swift(settings)).await.expect("a store")
}

fn key(name: &str) -> Key {
    Key::new(name).expect("a name")
}

async fn the_address_of_keystone_is_taken_with_and_without_its_version(server: &Server) {
    server.create_container("log-ins");
    let base = server.settings("log-ins").auth_url.trim_end_matches("/v3").to_owned();
    for auth_url in [base.clone(), format!("{base}/"), format!("{base}/v3"), format!("{base}/v3/")] {
        let store = store(SwiftSettings { auth_url: auth_url.clone(), ..server.settings("log-ins") }).await;
        assert_eq!(store.get(&key("fit/none")).await, Ok(None), "{auth_url}");
    }
    let nowhere = SwiftSettings { auth_url: format!("{base}/nowhere"), ..server.settings("log-ins") };
    let error = store(nowhere).await.get(&key("fit/none")).await.expect_err("no Keystone there");
    assert!(!error.is_retryable() && error.to_string().contains("OS_AUTH_URL"), "{error}");
}

async fn an_application_credential_logs_in(server: &Server) {
    server.create_container("credentials");
    let by_password = server.settings("credentials");
    let (token, answer) = server.log_in();
    let user = answer["token"]["user"]["id"].as_str().expect("an id");
    let url = format!("{}/users/{user}/application_credentials", server.auth_url);
    let body = json!({ "application_credential": { "name": format!("test-{}", std::process::id()) } });
    let (_, created) = http("POST", &url, &token, &body.to_string());
    let created: Value = serde_json::from_str(&created).expect("JSON");
    let text = |name: &str| created["application_credential"][name].as_str().expect("text").to_owned();
    let by_credential = SwiftSettings {
        username: text("id"),
        password: Secret::new(text("secret")),
        project_name: None,
        storage_url: Some(Server::storage_url(&answer)),
        ..by_password.clone()
    };
    store(by_password).await.put(&key("fit/x"), Bytes::from_static(b"1")).await.expect("written");
    assert_eq!(store(by_credential.clone()).await.read(&key("fit/x")).await, Ok(Bytes::from_static(b"1")));
    let wrong = SwiftSettings { password: Secret::new("hunter2"), ..by_credential };
    let error = store(wrong).await.read(&key("fit/x")).await.expect_err("another secret").to_string();
    assert!(error.contains("application credential is refused") && !error.contains("hunter2"), "{error}");
}

async fn what_is_refused_says_which_setting_is_wrong(server: &Server) {
    server.create_container("refused");
    let right = server.settings("refused");
    for (wrong, text) in [
        (SwiftSettings { password: Secret::new("hunter2"), ..right.clone() }, "OS_PASSWORD"),
        (SwiftSettings { project_name: Some("no-such-project".to_owned()), ..right.clone() }, "OS_PROJECT_NAME"),
        (SwiftSettings { user_domain_name: "no-such-domain".to_owned(), ..right.clone() }, "OS_USER_DOMAIN_NAME"),
    ] {
        let error = store(wrong).await.get(&key("fit/x")).await.expect_err(text);
        assert!(!error.is_retryable() && error.to_string().contains(text), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    let store = store(server.settings("no-such-container")).await;
    for error in [
        store.get(&key("fit/x")).await.expect_err("no container"),
        store.head(&key("fit/x")).await.expect_err("no container"),
        store.delete(&key("fit/x")).await.expect_err("no container"),
        store.put(&key("fit/x"), Bytes::new()).await.expect_err("no container"),
        store.put_if_absent(&key("fit/x"), Bytes::new()).await.expect_err("no container"),
        store.keys("fit/").await.expect_err("no container"),
    ] {
        let expected = "expected the container `no-such-container`, found none";
        assert!(!error.is_retryable() && error.to_string().contains(expected), "{error}");
    }
}

async fn of_writers_in_one_moment_one_creates_the_name(server: &Server) {
    server.create_container("claims");
    let stores = futures::future::join_all((0..8).map(|_| store(server.settings("claims")))).await;
    for round in 0..3 {
        let name = key(&format!("test/MS181101ab-Update{round}_alert.json"));
        let claims = stores.iter().enumerate().map(|(i, store)| store.put_if_absent(&name, format!("{i}").into()));
        let created = futures::future::join_all(claims).await;
        let created: Vec<usize> = (0..8).filter(|i| created[*i].as_ref().is_ok_and(|created| *created)).collect();
        assert_eq!(created.len(), 1, "{created:?}");
        assert_eq!(stores[0].read(&name).await, Ok(Bytes::from(created[0].to_string())));
    }
}

async fn large_objects_are_streams(server: &Server) {
    server.create_container("streams");
    let store = store(server.settings("streams")).await;
    let whole = Bytes::from((0..24_u32 << 20).map(|i| (i / 7) as u8).collect::<Vec<u8>>());
    let name = key("fit/large+x,1: ä.fits");
    let content = |md5| Content {
        head: Head { size: whole.len() as u64, md5, ..Head::default() },
        chunks: futures::stream::iter(whole.chunks(999_999).map(Bytes::copy_from_slice).map(Ok).collect::<Vec<_>>())
            .boxed(),
    };
    let error = store.put_stream(&name, content(Some(Md5::of(b"")))).await.expect_err("another MD5");
    assert!(error.is_retryable() && error.to_string().contains("MD5"), "{error}");
    assert_eq!(store.head(&name).await, Ok(None));
    store.put_stream(&name, content(None)).await.expect("written");
    let found = store.get_stream(&name).await.expect("answered").expect("an object");
    assert_eq!((found.head.size, found.head.md5), (whole.len() as u64, Some(Md5::of(&whole))));
    let chunks: Vec<Bytes> = found.chunks.try_collect().await.expect("all of it");
    assert!(chunks.len() > 1 && chunks.concat() == whole);
    store.put(&key("fit/x.json"), Bytes::from_static(b"{}")).await.expect("written");
    let (token, answer) = server.log_in();
    for (path, media_type) in
        [("fit/large%2Bx%2C1%3A%20%C3%A4.fits", "application/fits"), ("fit/x.json", "application/json")]
    {
        let (head, _) = http("HEAD", &format!("{}/streams/{path}", Server::storage_url(&answer)), &token, "");
        assert!(head.contains(&format!("content-type: {media_type}")), "{path}: {head}");
    }
    let listed: Vec<_> = store.list("fit/large+").try_collect().await.expect("a list");
    assert_eq!(listed.len(), 1);
    assert_eq!((&listed[0].key, listed[0].head.md5), (&Ok(name.clone()), Some(Md5::of(&whole))));
    assert!(listed[0].head.modified.is_some());
    assert_eq!(store.delete(&name).await, Ok(true));
    assert_eq!(store.delete(&name).await, Ok(false));
}

/// A stand-in for Keystone and Swift: every token works until it is refused by a fault; each request of Swift takes the
/// next fault, and without one it is answered as if the object `fit/x` held ten digits.
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
            // The answer breaks off after four of its bytes.
            Some(200) => {
                let first = futures::stream::iter([Ok(Bytes::from_static(b"0123"))]);
                let rest = futures::stream::once(async {
                    // So that the first bytes are on their way.
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
    let settings = SwiftSettings {
        auth_url,
        username: "alerter".to_owned(),
        password: Secret::new("hunter2"),
        project_name: Some("alerts".to_owned()),
        user_domain_name: "Default".to_owned(),
        project_domain_name: "Default".to_owned(),
        container: "c".to_owned(),
        storage_url: None,
    };
    (store(settings).await, shared)
}

#[tokio::test]
async fn a_token_that_is_refused_is_renewed_once() {
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
    assert!(!error.is_retryable() && error.to_string().contains("token is refused although it is new"), "{error}");
    assert_eq!(shared.lock().expect("a lock").log_ins, 2);
}

#[tokio::test]
async fn requests_of_one_moment_share_one_log_in() {
    let (store, shared) = stand_in(&[]).await;
    let name = key("fit/x");
    let all = futures::future::join_all((0..20).map(|_| store.get(&name))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    assert_eq!(shared.lock().expect("a lock").log_ins, 1);
}

#[tokio::test]
async fn what_is_busy_or_breaks_off_is_asked_again() {
    let (store, shared) = stand_in(&[498, 503, 200]).await;
    assert_eq!(store.get(&key("fit/x")).await, Ok(Some(Bytes::from_static(b"0123456789"))));
    let requests = shared.lock().expect("a lock").requests.clone();
    assert_eq!(requests.len(), 4);
    // Only what is missing is read again.
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
