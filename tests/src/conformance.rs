//! Conformance checks of the store's back ends. The tests of each back end select the checks that apply to it.
//!
//! Every check uses a bucket, container, account or folder of its own.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use serde_json::json;
use shared::key::{Key, Object};
use shared::message::Settled;
use shared::notice::icecube::TrackSearch;
use store::{Head, Md5, ObjectStream, Store};

use crate::backend::{Backend, Service, open, value, with};
use crate::faults::{Fault, Faults};
use crate::swift::Swift;

fn key(name: &str) -> Key {
    Key::new(name).expect("a name")
}

async fn fresh(backend: &impl Backend, name: &str) -> Store {
    open(&backend.create(name).await).await
}

/// Bytes without repeated blocks.
fn noise(length: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u32
    });
    let mut bytes: Vec<u8> = words.take(length / 4 + 1).flat_map(u32::to_le_bytes).collect();
    bytes.truncate(length);
    bytes.into()
}

fn content(bytes: &Bytes, size: usize, md5: Option<Md5>) -> ObjectStream {
    let chunks: Vec<_> = bytes.chunks(999_999).map(Bytes::copy_from_slice).map(Ok).collect();
    let head = Head { size: size as u64, md5, ..Head::default() };
    ObjectStream { head, chunks: futures::stream::iter(chunks).boxed() }
}

/// Reads return the whole object that was last written, or nothing; ranges may reach beyond the end.
///
/// # Panics
/// When the back end does otherwise.
pub async fn reads_return_the_whole_object_or_nothing<B: Backend>(backend: &B) {
    let store = fresh(backend, "objects").await;
    let name = key("fit/S230518h-Preliminary.json");
    assert_eq!(store.get(&name).await, Ok(None));
    assert_eq!(store.head(&name).await, Ok(None));
    assert_eq!(store.get_range(&name, 0..4).await, Ok(None));
    assert_eq!(store.get_range(&name, 4..4).await, Ok(None));
    assert!(store.get_stream(&name).await.is_ok_and(|found| found.is_none()));
    assert!(store.read(&name).await.is_err_and(|error| !error.is_retryable()));
    assert_eq!(store.delete(&name).await, Ok(false));

    let body = Bytes::from_static(b"0123456789");
    store.put(&name, body.clone()).await.expect("written");
    assert_eq!(store.get(&name).await, Ok(Some(body.clone())));
    let head = store.head(&name).await.expect("answered").expect("an object");
    assert_eq!(head.size, 10);
    assert!(head.modified.is_some());
    assert!(!B::KNOWS_MD5 || (head.md5 == Some(Md5::of(&body)) && head.etag.is_some()), "{head:?}");
    for (range, expected) in [(0..4, "0123"), (4..5, "4"), (8..100, "89"), (3..3, ""), (10..12, ""), (50..60, "")] {
        let found = store.get_range(&name, range.clone()).await.expect("a range").expect("an object");
        assert_eq!(found, Bytes::from_static(expected.as_bytes()), "{range:?}");
    }
    let other = Bytes::from_static(b"another, longer body");
    store.put(&name, other.clone()).await.expect("overwritten");
    assert_eq!(store.get(&name).await, Ok(Some(other)));
    assert_eq!(store.delete(&name).await, Ok(true));
    assert_eq!(store.get(&name).await, Ok(None));
}

/// An empty object can be written and read.
///
/// # Panics
/// When the back end does otherwise.
pub async fn accepts_empty_objects<B: Backend>(backend: &B) {
    let store = fresh(backend, "empty").await;
    let name = key("fit/empty.json");
    store.put(&name, Bytes::new()).await.expect("written");
    assert_eq!(store.get(&name).await, Ok(Some(Bytes::new())));
    assert_eq!(store.head(&name).await.map(|head| head.map(|head| head.size)), Ok(Some(0)));
    assert_eq!(store.get_range(&name, 0..4).await, Ok(Some(Bytes::new())));
    assert_eq!(store.put_if_absent(&name, Bytes::from_static(b"x")).await, Ok(false));
    let md5 = store.put_stream(&name, content(&Bytes::new(), 0, None)).await.expect("written");
    assert_eq!(md5, B::KNOWS_MD5.then(|| Md5::of(b"")), "the service's MD5");
    let found = store.get_stream(&name).await.expect("answered").expect("an object");
    assert_eq!(found.chunks.try_collect::<Vec<_>>().await.map(|chunks| chunks.concat()), Ok(vec![]));
    assert_eq!(store.keys("fit/").await, Ok(vec![name]));
}

/// Writes and reads an object of 9 MiB.
///
/// # Panics
/// When the back end does otherwise.
pub async fn puts_and_reads_9_mib(backend: &impl Backend) {
    let store = fresh(backend, "large").await;
    let (name, large) = (key("fit/large"), noise(9 << 20));
    store.put(&name, large.clone()).await.expect("written");
    assert!(store.read(&name).await.is_ok_and(|found| found == large));
}

/// A stream of another length or MD5 than announced writes nothing.
///
/// # Panics
/// When the back end does otherwise.
pub async fn streams_64_mib_and_rejects_a_wrong_length_or_md5(backend: &impl Backend) {
    let store = fresh(backend, "streams").await;
    let whole = noise(64 << 20);
    let md5 = Some(Md5::of(&whole));
    let name = key("fit/large.fits");
    // Too short, too long, and other bytes: nothing is visible.
    for wrong in [
        content(&whole, whole.len() + 1, md5),
        content(&whole, whole.len() - 1, md5),
        content(&whole, whole.len(), Some(Md5::of(b""))),
    ] {
        let error = store.put_stream(&name, wrong).await.expect_err("a mismatch");
        assert!(error.is_retryable() && error.to_string().contains("expected"), "{error}");
        assert_eq!(store.head(&name).await, Ok(None));
    }
    let returned = store.put_stream(&name, content(&whole, whole.len(), md5)).await.expect("written");
    // Not every service returns the MD5 of a multipart upload.
    assert!(returned.is_none() || returned == md5, "{returned:?}");
    let found = store.get_stream(&name).await.expect("answered").expect("an object");
    assert_eq!(found.head.size, whole.len() as u64);
    let chunks: Vec<Bytes> = found.chunks.try_collect().await.expect("all of it");
    assert!(chunks.len() > 1 && chunks.concat() == whole);
    let middle = (30 << 20)..(30 << 20) + 100_000_u64;
    let part = store.get_range(&name, middle.clone()).await.expect("a range").expect("an object");
    assert_eq!(part, whole.slice(middle.start as usize..middle.end as usize));
    let listed: Vec<_> = store.list("fit/").try_collect().await.expect("a list");
    assert_eq!(
        listed.iter().map(|listed| (listed.key.clone(), listed.head.size)).collect::<Vec<_>>(),
        [(Ok(name.clone()), whole.len() as u64)]
    );
    assert_eq!(store.delete(&name).await, Ok(true));
    assert_eq!(store.delete(&name).await, Ok(false));
    assert!(store.get_stream(&name).await.is_ok_and(|found| found.is_none()));
    assert_eq!(store.keys("").await, Ok(vec![]));
}

/// Any name that the back end accepts can be written, read, listed and deleted.
///
/// # Panics
/// When the back end does otherwise.
pub async fn accepts_unusual_names(backend: &impl Backend) {
    let store = fresh(backend, "odd").await;
    let long = format!("fit/{}/{}", "ä".repeat(100), "x".repeat(200));
    let names = [
        "fit/space inside.json",
        "fit/ both ends ",
        "fit/plus+plus.json",
        "fit/per%cent%2Fslash%20.json",
        "fit/question?mark=1&and#hash",
        "fit/quote'\"`$(x);|<>*[]{}^~!@=,:",
        "fit/umlaut-ä-ß-日本語-🌌.json",
        "fit/decomposed-a\u{308}.json",
        "fit/deep/er/and/deeper/x",
        "fit/.hidden",
        "fit/dot.",
        "fit/...",
        "fit/-dash",
        "fit/UPPER",
        "fit/upper",
        "fit/deep.json",
        "test/xml&amp;<tag>]]>",
        &long,
    ];
    let mut names: Vec<Key> = names.into_iter().filter(|name| backend.supports(name)).map(key).collect();
    names.retain(|name| {
        let accepted = store.accepts(name);
        if let Err(error) = &accepted {
            println!("rejected without a request: {error}");
            assert!(!error.is_retryable());
        }
        accepted.is_ok()
    });
    assert!(names.len() >= 14, "{names:?}");
    for name in &names {
        let body = Bytes::copy_from_slice(name.as_str().as_bytes());
        store.put(name, body).await.unwrap_or_else(|error| panic!("{error}"));
    }
    for name in &names {
        assert_eq!(store.get(name).await.map(|found| found.map(Vec::from)), Ok(Some(name.as_str().into())), "{name}");
        assert!(store.head(name).await.is_ok_and(|head| head.is_some()), "{name}");
    }
    names.sort();
    assert_eq!(store.keys("").await.expect("a list"), names);
    for name in &names {
        assert_eq!(store.keys(name.as_str()).await.map(|found| found.contains(name)), Ok(true), "{name}");
        assert_eq!(store.delete(name).await, Ok(true), "{name}");
    }
    assert_eq!(store.keys("").await, Ok(vec![]));
}

/// Lists are complete and sorted across pages.
///
/// # Panics
/// When the back end does otherwise.
pub async fn lists_are_complete_and_sorted_across_pages<B: Backend>(backend: &B) {
    let store = fresh(backend, "lists").await;
    let count = B::LISTED;
    let mut names: Vec<Key> = (0..count).map(|n| key(&format!("inbox/t/0/{n:020}.json"))).collect();
    names.push(key("inbox/t/1/x.json"));
    futures::stream::iter(names.iter().rev().map(|name| store.put(name, Bytes::from_static(b"{}"))))
        .buffer_unordered(24)
        .try_for_each(|()| async { Ok(()) })
        .await
        .expect("written");
    assert_eq!(store.keys("inbox/t/0/").await.expect("a list"), names[..count]);
    assert_eq!(store.keys("inbox/t/0").await.expect("a list"), names[..count]);
    assert_eq!(store.keys("inbox/t/0/0000000000000000099").await.expect("a list").len(), 10);
    assert_eq!(store.keys("").await.expect("a list"), names);
    assert_eq!(store.keys("inbox/nothing").await, Ok(vec![]));
}

/// Exactly one of several concurrent writers creates a name.
///
/// # Panics
/// When the back end does otherwise.
pub async fn put_if_absent_succeeds_for_one_of_16_writers<B: Backend>(backend: &B) {
    let store = fresh(backend, "claims").await;
    for round in 0..5 {
        let name = key(&format!("test/MS181101ab-Update{round}_alert.json"));
        let body = |writer: usize| Bytes::from(format!("written by {writer}"));
        let writers = (0..16).map(|writer| {
            let (store, name) = (store.clone(), name.clone());
            tokio::spawn(async move {
                // Retry while a concurrent writer has not finished.
                let mut attempts = 0..20;
                loop {
                    match store.put_if_absent(&name, body(writer)).await {
                        Err(error) if error.is_retryable() && attempts.next().is_some() => {}
                        done => return done.expect("an answer"),
                    }
                }
            })
        });
        let won: Vec<bool> = futures::future::try_join_all(writers).await.expect("no panic");
        let winners: Vec<usize> = won.iter().enumerate().filter(|(_, won)| **won).map(|(writer, _)| writer).collect();
        let kept = store.read(&name).await.expect("an object");
        if B::CREATES_ATOMICALLY {
            assert_eq!(winners.len(), 1, "{winners:?}");
            assert_eq!(kept, body(winners[0]));
        } else {
            // Without atomic creation, several concurrent writers may succeed.
            assert!(!winners.is_empty() && (0..16).any(|writer| body(writer) == kept), "{winners:?} {kept:?}");
        }
        assert_eq!(store.put_if_absent(&name, body(99)).await, Ok(false));
        assert_eq!(store.read(&name).await, Ok(kept));
    }
}

/// A list of a container that does not exist is a permanent error.
///
/// # Panics
/// When the back end does otherwise.
pub async fn listing_a_missing_container_is_a_permanent_error(backend: &impl Backend) {
    let store = open(&backend.absent("absent")).await;
    let error = store.keys("fit/").await.expect_err("list");
    assert!(!error.is_retryable(), "{error}");
}

/// On a container that does not exist, every request is a permanent error that names it, not a missing object.
///
/// # Panics
/// When the back end does otherwise.
pub async fn requests_to_a_missing_container_are_permanent_errors<B: Backend>(backend: &B) {
    let settings = backend.absent("absent");
    let container = value(&settings, B::SECRET_AND_CONTAINER.1);
    let store = open(&settings).await;
    let name = key("fit/x.json");
    for error in [
        store.keys("fit/").await.expect_err("list"),
        store.put(&name, Bytes::new()).await.expect_err("put"),
        store.put_if_absent(&name, Bytes::new()).await.expect_err("put if absent"),
        store.get(&name).await.expect_err("get"),
        store.head(&name).await.expect_err("head"),
        store.delete(&name).await.expect_err("delete"),
    ] {
        assert!(!error.is_retryable() && error.to_string().contains(container), "{error}");
    }
}

/// With a wrong secret, every request is a permanent error that does not contain it.
///
/// # Panics
/// When the back end does otherwise.
pub async fn wrong_credentials_are_permanent_errors_without_the_secret<B: Backend>(backend: &B) {
    let settings = backend.create("credentials").await;
    let store = open(&settings).await;
    let name = key("fit/x.json");
    store.put(&name, Bytes::from_static(b"x")).await.expect("written");
    // In base64, for Azure.
    let secret = "aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMg==";
    let rejected = open(&with(&settings, B::SECRET_AND_CONTAINER.0, secret.to_owned())).await;
    for error in [
        rejected.get(&name).await.expect_err("get"),
        rejected.head(&name).await.expect_err("head"),
        rejected.put(&name, Bytes::new()).await.expect_err("put"),
        rejected.put_if_absent(&name, Bytes::new()).await.expect_err("put if absent"),
        rejected.delete(&name).await.expect_err("delete"),
        rejected.keys("fit/").await.expect_err("list"),
    ] {
        let text = format!("{error} {error:?}");
        assert!(!error.is_retryable() && !text.contains(secret), "{text}");
        assert!(text.contains(B::SECRET_AND_CONTAINER.0), "names the wrong setting: {text}");
    }
    assert_eq!(store.read(&name).await, Ok(Bytes::from_static(b"x")));
}

/// An expired token is renewed, also during a multipart upload.
///
/// # Panics
/// When the back end does otherwise.
pub async fn renews_an_expired_token_during_an_upload(backend: &Swift) {
    let store = fresh(backend, "tokens").await;
    let expire = || backend.expire_tokens();
    let (one, other, large) = (key("fit/one.json"), key("fit/other.json"), key("fit/large.fits"));
    store.put(&one, Bytes::from_static(b"1")).await.expect("written");
    expire();
    store.put(&other, Bytes::from_static(b"2")).await.expect("written with another token");
    expire();
    assert_eq!(store.get(&one).await, Ok(Some(Bytes::from_static(b"1"))));
    expire();
    assert_eq!(store.keys("fit/").await, Ok(vec![one.clone(), other]));
    expire();
    assert_eq!(store.put_if_absent(&one, Bytes::new()).await, Ok(false));
    // During a multipart upload.
    let whole = noise(40 << 20);
    let mut sent = content(&whole, whole.len(), None);
    let (mut chunks, servers) = (0, backend.clone());
    sent.chunks = sent
        .chunks
        .inspect_ok(move |_| {
            chunks += 1;
            if chunks == 25 {
                servers.expire_tokens();
            }
        })
        .boxed();
    store.put_stream(&large, sent).await.expect("written");
    assert_eq!(store.get(&large).await, Ok(Some(whole)));
    // A stream cannot be sent again by itself, but the caller can read and send it again.
    expire();
    let other = noise(5 << 20);
    let error = store.put_stream(&large, content(&other, other.len(), None)).await.expect_err("an old token");
    assert!(error.is_retryable(), "{error}");
    store.put_stream(&large, content(&other, other.len(), None)).await.expect("written with another token");
    assert_eq!(store.get(&large).await, Ok(Some(other)));
}

/// Broken connections and 503s are retried, and never leave a partial object.
///
/// # Panics
/// When the back end does otherwise.
pub async fn broken_connections_leave_no_partial_objects(backend: &impl Service) {
    let settings = backend.create("cuts").await;
    let direct = open(&settings).await;
    let faults = Faults::before(backend.address());
    let store = open(&backend.behind(&settings, faults.address())).await;
    let (name, old, new) = (key("fit/x.fits"), noise(300_000), noise(2_000_000));
    direct.put(&name, old.clone()).await.expect("written");

    // Every upload breaks: an error after all attempts, and the old object is still whole.
    faults.plan(|_, line| line.starts_with("PUT").then_some(Fault::CutRequest(1_000_000)));
    let error = store.put(&name, new.clone()).await.expect_err("every attempt broke");
    assert!(error.is_retryable(), "{error}");
    assert_eq!(direct.get(&name).await, Ok(Some(old.clone())));
    let absent = key("fit/absent.fits");
    store.put(&absent, new.clone()).await.expect_err("every attempt broke");
    assert_eq!(direct.get(&absent).await, Ok(None));
    assert_eq!(direct.keys("fit/").await, Ok(vec![name.clone()]));

    // One upload breaks and is retried.
    let mut broken = 0;
    faults.plan(move |_, line| {
        broken += usize::from(line.starts_with("PUT"));
        (line.starts_with("PUT") && broken == 1).then_some(Fault::CutRequest(1_000_000))
    });
    store.put(&name, new.clone()).await.expect("written");
    assert_eq!(direct.get(&name).await, Ok(Some(new.clone())));

    // A download breaks twice and resumes; so does a stream.
    for streamed in [false, true] {
        let mut gets = 0;
        faults.plan(move |_, line| {
            gets += usize::from(line.starts_with("GET"));
            (line.starts_with("GET") && gets <= 2).then_some(Fault::CutAnswer(700_000))
        });
        if streamed {
            let found = store.get_stream(&name).await.expect("answered").expect("an object");
            let chunks: Vec<Bytes> = found.chunks.try_collect().await.expect("all of it");
            assert!(chunks.concat() == new);
        } else {
            assert_eq!(store.get(&name).await, Ok(Some(new.clone())));
        }
    }
    // Temporarily busy.
    for status in [503, 429, 500] {
        let mut answers = 0;
        faults.plan(move |_, _| {
            answers += 1;
            (answers <= 1).then_some(Fault::Answer(status))
        });
        match store.get(&name).await {
            Ok(found) => assert_eq!(found, Some(new.clone()), "{status}"),
            // Not retried by the AWS SDK, but retryable by the caller.
            Err(error) => assert!(status == 429 && error.is_retryable(), "{status}: {error}"),
        }
    }
    // A permanently busy server is a retryable error.
    faults.plan(|_, _| Some(Fault::Answer(503)));
    let error = tokio::time::timeout(Duration::from_secs(120), store.get(&name)).await.expect("an end");
    assert!(error.expect_err("busy").is_retryable());
}

/// A dry run reads its own writes, and writes nothing.
///
/// # Panics
/// When the back end does otherwise.
pub async fn dry_run_reads_its_own_writes_and_writes_nothing(backend: &impl Backend) {
    let written = fresh(backend, "dry").await;
    let (one, other) = (key("fit/a"), key("fit/b"));
    written.put(&one, Bytes::from_static(b"1")).await.expect("written");
    let dry = written.clone().without_writing();
    dry.put(&other, Bytes::from_static(b"2")).await.expect("kept");
    assert_eq!(dry.get(&other).await, Ok(Some(Bytes::from_static(b"2"))));
    assert_eq!(dry.put_if_absent(&one, Bytes::new()).await, Ok(false));
    assert_eq!(dry.keys("fit/").await, Ok(vec![one.clone(), other]));
    assert_eq!(written.keys("fit/").await, Ok(vec![one]));
}

/// Three alerts and an IceCube search of one superevent, annotated concurrently: the links and the pointer to the newest
/// alert are right, and all alerts show the search, for any interleaving.
///
/// # Panics
/// When they are not.
pub async fn concurrently_annotated_alerts_are_linked<B: Backend>(backend: &B) {
    let store = fresh(backend, "at-once").await;
    let store = &store;
    let deps = &annotate::Deps {
        store: store.clone(),
        sites: Vec::new(),
        areas_deg2: Vec::new(),
        voevent_stream: None,
        objects_url: None,
    };
    let annotated = async |name: String, minute: u32, delay: Duration| {
        let alert =
            json!({"name": name, "role": "observation", "time_created": format!("2026-01-01T00:{minute:02}:00Z")});
        let settled: Settled = serde_json::from_value(json!({"alert": alert})).expect("an alert");
        // Varies the order of arrival.
        tokio::time::sleep(delay).await;
        annotate::alert(deps, settled).await.expect("annotated");
    };
    let searched = async |id: &str, reference: &str, delay: Duration| {
        let notice = json!({"ref_ID": id, "reference": {"gcn.notices.LVK.alert": reference}}).to_string();
        let search = TrackSearch::parse(notice.as_bytes()).expect("a search");
        tokio::time::sleep(delay).await;
        // As `ingest-icecube` does.
        let object = Object::IceCube(&search.superevent_id, &search.ref_id).key().expect("a key");
        store.put(&object, serde_json::to_vec(&search).expect("JSON").into()).await.expect("stored");
        annotate::search(deps, &search).await.expect("annotated");
    };
    for round in 0..B::ROUNDS {
        let letter = |i: u8| char::from(b'a' + i);
        let id = format!("S260101{}{}", letter(round / 26), letter(round % 26));
        let names = ["Preliminary", "Update", "Retraction"].map(|kind| format!("{id}-{kind}"));
        let delay = |i: u32| Duration::from_millis(u64::from((u32::from(round) * 7 + i * 5) % 13));
        let [one, two, three] = names.clone();
        tokio::join!(
            annotated(one, 1, delay(0)),
            annotated(two, 2, delay(1)),
            annotated(three, 3, delay(2)),
            searched(&id, &names[0], delay(3)),
        );
        let read = async |name: String| -> serde_json::Value {
            serde_json::from_slice(&store.read(&key(&format!("fit/{name}.json"))).await.expect("an object"))
                .expect("JSON")
        };
        let latest = read(format!("{id}-latest")).await;
        assert_eq!(
            (&latest["name"], &latest["retracted"]),
            (&json!(names[2]), &json!(true)),
            "round {round}: {latest}"
        );
        assert_eq!(latest["alerts"], json!(names), "round {round}");
        for (i, next) in [Some(&names[1]), Some(&names[2]), None].into_iter().enumerate() {
            let found = read(format!("{}-annotations", names[i])).await;
            assert_eq!(found["superseded_by"], json!(next), "round {round}: {}", names[i]);
            assert_eq!(found["retracted"], json!(i < 2), "round {round}: {}", names[i]);
            assert_eq!(found["sequence"], json!(i + 1), "round {round}: {}", names[i]);
            assert_eq!(found["icecube"][0]["ref_id"], json!(names[0]), "round {round}: {}", names[i]);
        }
    }
}
