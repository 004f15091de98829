//! The S3 back end against moto's S3.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use shared::Secret;
use shared::key::Key;
use store::{Content, Head, Location, Md5, S3Credentials, S3Settings, Store};
use tests::server::ask;
use tests::{container, moto};

#[test]
fn s3_keeps_the_promises_of_a_store() {
    moto::Moto::start().run_ignored_tests("store_s3::");
}

async fn store(bucket: &str) -> Store {
    store_at(bucket, &moto::url()).await
}

async fn store_at(bucket: &str, url: &str) -> Store {
    let location = Location::S3(S3Settings {
        bucket: bucket.to_owned(),
        region: "us-east-2".to_owned(),
        endpoint_url: Some(url.to_owned()),
        credentials: Some(S3Credentials {
            access_key_id: "testing".to_owned(),
            secret_access_key: Secret::new("testing"),
            session_token: None,
        }),
    });
    Store::open(&location).await.expect("a store")
}

fn key(name: &str) -> Key {
    Key::new(name).expect("a name")
}

#[tokio::test]
#[ignore = "run by `s3_keeps_the_promises_of_a_store`, which starts moto"]
async fn objects_are_whole_or_absent() {
    moto::create_bucket("objects");
    let store = store("objects").await;
    let name = key("fit/S230518h-Preliminary+x,1: ä.json");
    assert_eq!(store.get(&name).await, Ok(None));
    assert_eq!(store.head(&name).await, Ok(None));
    assert_eq!(store.get_range(&name, 0..4).await, Ok(None));
    assert_eq!(store.get_range(&name, 4..4).await, Ok(None));
    assert!(store.read(&name).await.is_err_and(|error| !error.is_retryable()));

    let body = Bytes::from_static(b"0123456789");
    store.put(&name, body.clone()).await.expect("written");
    assert_eq!(store.get(&name).await, Ok(Some(body.clone())));
    let head = store.head(&name).await.expect("answered").expect("an object");
    assert_eq!((head.size, head.md5), (10, Some(Md5::of(&body))));
    assert!(head.modified.is_some() && head.etag.is_some(), "{head:?}");
    for (range, expected) in [(0..4, "0123"), (8..100, "89"), (3..3, ""), (10..12, ""), (50..60, "")] {
        let found = store.get_range(&name, range.clone()).await.expect("a range").expect("an object");
        assert_eq!(found, Bytes::from_static(expected.as_bytes()), "{range:?}");
    }
    store.put(&name, Bytes::new()).await.expect("overwritten");
    assert_eq!(store.read(&name).await, Ok(Bytes::new()));
    assert_eq!(store.keys("fit/S2").await, Ok(vec![name]));

    let large = Bytes::from(vec![7; 9 << 20]);
    store.put(&key("large"), large.clone()).await.expect("written");
    assert!(store.read(&key("large")).await.is_ok_and(|found| found == large));
}

#[tokio::test]
#[ignore = "run by `s3_keeps_the_promises_of_a_store`, which starts moto"]
async fn large_objects_are_streams() {
    moto::create_bucket("streams");
    let store = store("streams").await;
    let whole = Bytes::from((0..40_u32 << 20).map(|i| (i / 7) as u8).collect::<Vec<u8>>());
    let content = |bytes: &Bytes, size: usize, md5: Option<Md5>| Content {
        head: Head { size: size as u64, md5, ..Head::default() },
        chunks: futures::stream::iter(bytes.chunks(999_999).map(Bytes::copy_from_slice).map(Ok).collect::<Vec<_>>())
            .boxed(),
    };
    let md5 = Some(Md5::of(&whole));
    // Too short, too long, and other bytes: nothing of them is seen.
    for wrong in [
        content(&whole, whole.len() + 1, md5),
        content(&whole, whole.len() - 1, md5),
        content(&whole, whole.len(), Some(Md5::of(b""))),
    ] {
        let error = store.put_stream(&key("fit/large.fits"), wrong).await.expect_err("not what it says");
        assert!(error.is_retryable() && error.to_string().contains("expected"), "{error}");
        assert_eq!(store.head(&key("fit/large.fits")).await, Ok(None));
    }
    store.put_stream(&key("fit/large.fits"), content(&whole, whole.len(), md5)).await.expect("written");
    let found = store.get_stream(&key("fit/large.fits")).await.expect("answered").expect("an object");
    assert_eq!((found.head.size, found.head.md5), (whole.len() as u64, md5));
    let chunks: Vec<Bytes> = found.chunks.try_collect().await.expect("all of it");
    assert!(chunks.len() > 1 && chunks.concat() == whole);
    store.put(&key("fit/x.json"), Bytes::from_static(b"{}")).await.expect("written");
    for (path, media_type) in [("fit/large.fits", "application/fits"), ("fit/x.json", "application/json")] {
        let headers = [("Authorization", &*moto::signature("s3"))];
        let answer = ask(container::address(&moto::url()), &format!("HEAD /streams/{path}"), &headers, "");
        assert_eq!(answer.header("content-type"), Some(media_type), "{path}: {answer:?}");
    }
    assert_eq!(store.delete(&key("fit/large.fits")).await, Ok(true));
    assert_eq!(store.delete(&key("fit/large.fits")).await, Ok(false));
    assert!(store.get_stream(&key("fit/large.fits")).await.is_ok_and(|found| found.is_none()));
}

#[tokio::test]
#[ignore = "run by `s3_keeps_the_promises_of_a_store`, which starts moto"]
async fn one_of_many_creates_a_name() {
    moto::create_bucket("claims");
    let store = store("claims").await;
    let name = key("test/MS181101ab-Update_alert.json");
    let first = store.put_if_absent(&name, Bytes::from_static(b"1")).await;
    let second = store.put_if_absent(&name, Bytes::from_static(b"2")).await;
    assert_eq!((first, second), (Ok(true), Ok(false)));
    assert_eq!(store.read(&name).await, Ok(Bytes::from_static(b"1")));
}

#[tokio::test]
#[ignore = "run by `s3_keeps_the_promises_of_a_store`, which starts moto"]
async fn lists_are_complete_and_sorted() {
    moto::create_bucket("lists");
    let store = &store("lists").await;
    // S3 answers 1000 names a page.
    let mut names: Vec<Key> = (0..1005).map(|n| key(&format!("inbox/t/0/{n:020}.json"))).collect();
    names.push(key("inbox/t/1/x.json"));
    futures::stream::iter(names.iter().rev())
        .for_each_concurrent(
            16,
            |name| async move { store.put(name, Bytes::from_static(b"{}")).await.expect("written") },
        )
        .await;
    assert_eq!(store.keys("inbox/t/0/").await.expect("a list"), names[..1005]);
    assert_eq!(store.keys("inbox/t/0").await.expect("a list").len(), 1005);
    assert_eq!(store.keys("").await.expect("a list"), names);
    assert_eq!(store.keys("nothing").await, Ok(vec![]));
}

#[tokio::test]
#[ignore = "run by `s3_keeps_the_promises_of_a_store`, which starts moto"]
async fn a_missing_bucket_and_a_server_that_is_down_differ() {
    let nowhere = store("no-such-bucket").await;
    let name = key("fit/x.json");
    for error in [
        nowhere.get(&name).await.expect_err("no bucket"),
        nowhere.head(&name).await.expect_err("no bucket"),
        nowhere.delete(&name).await.expect_err("no bucket"),
        nowhere.put(&name, Bytes::new()).await.expect_err("no bucket"),
        nowhere.put_if_absent(&name, Bytes::new()).await.expect_err("no bucket"),
        nowhere.keys("fit/").await.expect_err("no bucket"),
    ] {
        assert!(!error.is_retryable() && error.to_string().contains("no-such-bucket"), "{error}");
    }
    // Nothing listens on port 1.
    let error = store_at("any", "http://127.0.0.1:1").await.get(&name).await.expect_err("nobody there");
    assert!(error.is_retryable(), "{error}");
}

#[tokio::test]
#[ignore = "run by `s3_keeps_the_promises_of_a_store`, which starts moto"]
async fn a_store_that_is_not_written_reads_what_it_would_have_written() {
    moto::create_bucket("dry");
    let written = store("dry").await;
    written.put(&key("a"), Bytes::from_static(b"1")).await.expect("written");
    let dry = written.clone().without_writing();
    dry.put(&key("b"), Bytes::from_static(b"2")).await.expect("kept");
    assert_eq!(dry.put_if_absent(&key("a"), Bytes::new()).await, Ok(false));
    assert_eq!(dry.keys("").await, Ok(vec![key("a"), key("b")]));
    assert_eq!(written.keys("").await, Ok(vec![key("a")]));
}

/// Answers every request with one error of AWS, as its documentation gives it; an answer to HEAD has no body.
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
async fn what_is_refused_says_which_setting_is_wrong() {
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
