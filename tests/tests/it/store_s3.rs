//! The S3 back end: conformance with moto, media types, and errors that name the wrong setting.

use bytes::Bytes;
use futures::StreamExt;
use shared::key::Key;
use store::{Head, ObjectStream, Store};
use tests::backend::{Backend, Service, open, value};
use tests::moto::{self, Moto};
use tests::server::{TestServer, ask};

mod conformance {
    use tests::moto::Moto;
    use tests::server::TestServer;

    crate::stores::conforms_with! {
        Moto::shared() =>
        listing_a_missing_container_is_a_permanent_error
        requests_to_a_missing_container_are_permanent_errors
    }
}

async fn store_at(bucket: &str, url: &str) -> Store {
    let settings = [
        ("STORAGE_BUCKET_SOURCE", "s3"),
        ("AWS_BUCKET", bucket),
        ("AWS_ENDPOINT_URL", url),
        ("AWS_DEFAULT_REGION", "us-east-2"),
        ("AWS_ACCESS_KEY_ID", "testing"),
        ("AWS_SECRET_ACCESS_KEY", "testing"),
    ];
    open(&settings.map(|(name, value)| (name, value.to_owned())).to_vec()).await
}

fn key(name: &str) -> Key {
    Key::new(name).expect("a name")
}

#[tokio::test]
async fn sets_the_media_type() {
    let moto = Moto::shared();
    let settings = moto.create("types").await;
    let store = open(&settings).await;
    let whole = Bytes::from(vec![7; 24 << 20]);
    let chunks = whole.chunks(999_999).map(Bytes::copy_from_slice).map(Ok).collect::<Vec<_>>();
    let head = Head { size: whole.len() as u64, ..Head::default() };
    let content = ObjectStream { head, chunks: futures::stream::iter(chunks).boxed() };
    store.put_stream(&key("fit/large.fits"), content).await.expect("written in parts");
    store.put(&key("fit/x.json"), Bytes::from_static(b"{}")).await.expect("written");
    for (path, media_type) in [("fit/large.fits", "application/fits"), ("fit/x.json", "application/json")] {
        let headers = [("Authorization", &*moto::signature("s3"))];
        let request = format!("HEAD /{}/{path}", value(&settings, "AWS_BUCKET"));
        let answer = ask(Service::address(&moto), &request, &headers, "");
        assert_eq!(answer.header("content-type"), Some(media_type), "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn unreachable_server_is_retryable() {
    // Nothing listens on port 1.
    let error = store_at("any", "http://127.0.0.1:1").await.get(&key("fit/x")).await.expect_err("nobody there");
    assert!(error.is_retryable(), "{error}");
}

/// A store whose server responds to every request with a documented error of AWS; a response to HEAD has no body.
async fn refusing(status: u16, code: &'static str) -> Store {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let answer = async move |request: axum::extract::Request| {
        let body = match *request.method() {
            axum::http::Method::HEAD => String::new(),
            _ => format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>Said so.</Message></Error>"),
        };
        axum::response::Response::builder()
            .status(status)
            .header("x-amz-bucket-region", "eu-west-1")
            .body(axum::body::Body::from(body))
            .expect("an answer")
    };
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(answer)).await });
    store_at("gwtm", &url).await
}

#[tokio::test]
async fn rejected_requests_name_the_wrong_setting() {
    for (status, code, text) in [
        (403, "InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"),
        (403, "AccessDenied", "not allowed"),
        (301, "PermanentRedirect", "expected the region `eu-west-1`, found `us-east-2` (AWS_DEFAULT_REGION)"),
        (
            400,
            "AuthorizationHeaderMalformed",
            "expected the region `eu-west-1`, found `us-east-2` (AWS_DEFAULT_REGION)",
        ),
        (404, "NoSuchBucket", "bucket `gwtm`: expected it on the server, found none (AWS_BUCKET)"),
    ] {
        let store = refusing(status, code).await;
        let name = key("fit/x");
        for error in [
            store.get(&name).await.expect_err(code),
            store.head(&name).await.expect_err(code),
            store.put(&name, Bytes::new()).await.expect_err(code),
            store.put_if_absent(&name, Bytes::new()).await.expect_err(code),
            store.delete(&name).await.expect_err(code),
            store.keys("fit/").await.expect_err(code),
        ] {
            assert!(!error.is_retryable() && error.to_string().contains(text), "{code}: {error}");
        }
    }
}
