//! The Azure back end with Azurite: containers, rejected requests, large objects.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use shared::key::Key;
use store::{Head, Md5, ObjectStream, Store};
use tests::azurite::{self, Azurite};
use tests::backend::{Backend, Service, Settings, location, open, value, with};
use tests::server::TestServer;

/// An account without containers.
fn account() -> Settings {
    Azurite::shared().absent("")
}

fn key(name: &str) -> Key {
    Key::new(name).expect("a name")
}

#[tokio::test]
async fn creates_missing_containers() {
    let store = open(&account()).await;
    let names = ["failed/x.json", "fit/S230518h.json", "galaxy_catalog/ned.parquet", "test/a b+c,1: ä.json"].map(key);
    for name in &names {
        assert_eq!(store.get(name).await, Ok(None));
        assert_eq!(store.head(name).await, Ok(None));
        assert_eq!(store.delete(name).await, Ok(false));
        assert_eq!(store.keys(&name.as_str()[..6]).await, Ok(vec![]));
    }
    let written = futures::future::join_all(names.iter().map(|name| store.put(name, Bytes::from_static(b"1")))).await;
    assert!(written.iter().all(Result::is_ok), "{written:?}");
    for name in &names {
        assert_eq!(store.read(name).await, Ok(Bytes::from_static(b"1")));
    }
    assert_eq!(store.keys("").await, Ok(names.to_vec()));
    assert_eq!(store.keys("f").await, Ok(names[..2].to_vec()));
    assert_eq!(store.keys("galaxy_catalog").await, Ok(names[2..3].to_vec()));
    assert_eq!(store.keys("galaxy_catalog/n").await, Ok(names[2..3].to_vec()));
    for name in ["x", "my_own/x", "Fit/x"] {
        let error = store.put(&key(name), Bytes::new()).await.expect_err(name);
        assert!(!error.is_retryable() && error.to_string().contains("container"), "{error}");
        assert_eq!(store.get(&key(name)).await, Ok(None));
    }
}

#[tokio::test]
async fn rejects_an_invalid_account_key_before_any_request() {
    let wrong = location(&with(&account(), "AZURE_ACCOUNT_KEY", "~".to_owned()));
    assert!(Store::open(&wrong).await.is_err_and(|error| error.to_string().contains("AZURE_ACCOUNT_KEY")));
}

#[tokio::test]
async fn streams_have_their_md5_and_media_type() {
    let settings = account();
    let store = open(&settings).await;
    let whole = Bytes::from((0..40_u32 << 20).map(|i| (i / 7) as u8).collect::<Vec<u8>>());
    let name = key("fit/large.fits");
    let chunks: Vec<_> = whole.chunks(999_999).map(Bytes::copy_from_slice).map(Ok).collect();
    let head = Head { size: whole.len() as u64, ..Head::default() };
    store
        .put_stream(&name, ObjectStream { head, chunks: futures::stream::iter(chunks).boxed() })
        .await
        .expect("written");
    assert_eq!(store.head(&name).await.map(|head| head.and_then(|head| head.md5)), Ok(Some(Md5::of(&whole))));
    store.put(&key("fit/x.json"), Bytes::from_static(b"{}")).await.expect("written");
    let address = Azurite::shared().address();
    for (path, media_type) in [("fit/large.fits", "application/fits"), ("fit/x.json", "application/json")] {
        let answer = azurite::signed(address, value(&settings, "AZURE_ACCOUNT_NAME"), "HEAD", path, &[]);
        assert_eq!(answer.header("content-type"), Some(media_type), "{path}: {answer:?}");
    }
    let listed: Vec<_> = store.list("fit/large").try_collect().await.expect("a list");
    assert_eq!((&listed[0].key, listed[0].head.md5), (&Ok(name), Some(Md5::of(&whole))));
    assert!(listed[0].head.modified.is_some());
}
