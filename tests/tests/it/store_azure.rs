//! The Azure back end against Azurite: containers, what is refused, and what is large.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use shared::Secret;
use shared::key::Key;
use store::{AzureSettings, Content, Head, Location, Md5, Store};
use tests::azurite::{self, Azurite};
use tests::container;

#[tokio::test]
async fn azure_keeps_its_promises() {
    let azurite = Azurite::start();
    let settings = azurite.settings();
    let value = |name| container::value(&settings, name).to_owned();
    let settings = AzureSettings {
        account: value("AZURE_ACCOUNT_NAME"),
        key: Secret::new(value("AZURE_ACCOUNT_KEY")),
        endpoint_url: Some(value("AZURE_STORAGE_ENDPOINT")),
    };
    containers_are_made_when_they_are_missing(&settings).await;
    of_writers_in_one_moment_one_creates_the_name(&settings).await;
    what_is_refused_says_which_setting_is_wrong(&settings).await;
    large_objects_are_streams(&settings).await;
}

async fn store(settings: AzureSettings) -> Store {
    Store::open(&Location::Azure(settings)).await.expect("a store")
}

fn key(name: &str) -> Key {
    Key::new(name).expect("a name")
}

async fn containers_are_made_when_they_are_missing(settings: &AzureSettings) {
    let store = store(settings.clone()).await;
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

async fn of_writers_in_one_moment_one_creates_the_name(settings: &AzureSettings) {
    let store = store(settings.clone()).await;
    for round in 0..5 {
        let name = key(&format!("test/MS181101ab-Update{round}_alert.json"));
        let claims = (0..8).map(|i| store.put_if_absent(&name, Bytes::from(i.to_string())));
        let created = futures::future::join_all(claims).await;
        let created: Vec<usize> = (0..8).filter(|i| created[*i] == Ok(true)).collect();
        assert_eq!(created.len(), 1, "{created:?}");
        assert_eq!(store.read(&name).await, Ok(Bytes::from(created[0].to_string())));
    }
}

async fn what_is_refused_says_which_setting_is_wrong(settings: &AzureSettings) {
    let right = settings.clone();
    // base64 of `hunter2`
    let wrong = AzureSettings { key: Secret::new("aHVudGVyMg=="), ..right.clone() };
    let store = store(wrong).await;
    for error in [
        store.get(&key("fit/x")).await.expect_err("another key"),
        store.head(&key("fit/x")).await.expect_err("another key"),
        store.put(&key("fit/x"), Bytes::new()).await.expect_err("another key"),
        store.put_if_absent(&key("fit/x"), Bytes::new()).await.expect_err("another key"),
        store.delete(&key("fit/x")).await.expect_err("another key"),
        store.keys("").await.expect_err("another key"),
        store.keys("fit/").await.expect_err("another key"),
    ] {
        assert!(!error.is_retryable() && error.to_string().contains("AZURE_ACCOUNT_KEY"), "{error}");
        assert!(!error.to_string().contains("aHVudGVyMg"), "{error}");
    }
    assert!(Store::open(&Location::Azure(AzureSettings { key: Secret::new("~"), ..right })).await.is_err());
}

async fn large_objects_are_streams(settings: &AzureSettings) {
    let store = store(settings.clone()).await;
    let whole = Bytes::from((0..40_u32 << 20).map(|i| (i / 7) as u8).collect::<Vec<u8>>());
    let name = key("fit/large.fits");
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
    assert!(found.head.modified.is_some());
    let chunks: Vec<Bytes> = found.chunks.try_collect().await.expect("all of it");
    assert!(chunks.len() > 1 && chunks.concat() == whole);
    for (range, expected) in
        [(0..4, &whole[..4]), (41943038..50_000_000, &whole[41943038..]), (50_000_000..50_000_001, &[])]
    {
        assert_eq!(store.get_range(&name, range).await, Ok(Some(Bytes::copy_from_slice(expected))));
    }
    store.put(&key("fit/x.json"), Bytes::from_static(b"{}")).await.expect("written");
    let address = container::address(settings.endpoint_url.as_deref().expect("an address"));
    for (path, media_type) in [("fit/large.fits", "application/fits"), ("fit/x.json", "application/json")] {
        let answer = azurite::signed(address, &settings.account, "HEAD", path, &[]);
        assert_eq!(answer.header("content-type"), Some(media_type), "{path}: {answer:?}");
    }
    let listed: Vec<_> = store.list("fit/large").try_collect().await.expect("a list");
    assert_eq!(listed.len(), 1);
    assert_eq!((&listed[0].key, listed[0].head.md5), (&Ok(name.clone()), Some(Md5::of(&whole))));
    assert_eq!(store.delete(&name).await, Ok(true));
}
