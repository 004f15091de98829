//! `gwtm store` from the command line.

use std::fs;

use tests::backend::{Backend, Settings};
use tests::program::{Called, Gwtm};
use tests::s3s::S3s;
use tests::server::TestServer;
use tests::swift::Swift;

fn call(settings: &Settings, arguments: &[&str]) -> Called {
    Gwtm::new([&["store"][..], arguments].concat()).set_store("", settings).call()
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_and_writes_objects() {
    let bucket = S3s::shared().create("operator").await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("stored").display().to_string();
    for settings in [bucket, vec![("STORAGE_FOLDER", path)]] {
        let (file, back) = (folder.path().join("file"), folder.path().join("back"));
        let (file, back) = (file.display().to_string(), back.display().to_string());
        let body: Vec<u8> = (0..20_u32 << 20).map(|i| (i / 11) as u8).collect();
        fs::write(&file, &body).expect("a file");

        assert_eq!(call(&settings, &["put", &file, "fit/large.fits"]).code, Some(0));
        assert_eq!(call(&settings, &["get", "fit/large.fits", &back]).code, Some(0));
        assert!(fs::read(&back).expect("a file") == body);
        fs::write(&file, "{}").expect("a file");
        assert_eq!(call(&settings, &["put", &file, "fit/x.json", "--if-absent"]).code, Some(0));
        fs::write(&file, "[]").expect("a file");
        let taken = call(&settings, &["put", &file, "fit/x.json", "--if-absent"]);
        assert_eq!(taken.code, Some(1), "{taken:?}");
        assert!(taken.stdout.contains("already"), "{taken:?}");
        assert_eq!(call(&settings, &["get", "fit/x.json"]).stdout, "{}");

        let listed = call(&settings, &["ls", "fit/"]);
        assert!(listed.stdout.contains("20971520 20") && listed.stdout.contains("2 objects, 20.00 MiB"), "{listed:?}");
        let lines = call(&settings, &["ls", "fit/x", "--json"]).json();
        assert_eq!((lines.len(), &lines[0]["object"], &lines[0]["bytes"]), (1, &"fit/x.json".into(), &2.into()));
        let sound = call(&settings, &["verify", "fit/"]);
        assert_eq!(sound.code, Some(0), "{sound:?}");
        assert!(sound.stdout.starts_with("2 objects are whole"), "{sound:?}");

        assert_eq!(call(&settings, &["rm", "fit/x.json"]).code, Some(0));
        assert_eq!(call(&settings, &["rm", "fit/x.json", "fit/large.fits"]).code, Some(1));
        assert!(call(&settings, &["ls"]).stdout.starts_with("0 objects"));
        let gone = call(&settings, &["get", "fit/x.json", &back]);
        assert_eq!(gone.code, Some(1), "{gone:?}");
        assert!(gone.stderr.contains("found none") && fs::read(&back).expect("untouched") == body, "{gone:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_corrupt_objects() {
    let server = Swift::shared();
    let settings = server.create("rotten").await;
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["sound", "changed", "cut"] {
        let file = folder.path().join(name);
        fs::write(&file, format!("these are the bytes that are {name}").repeat(99)).expect("a file");
        let put = call(&settings, &["put", &file.display().to_string(), &format!("fit/{name}.json")]);
        assert_eq!(put.code, Some(0), "{put:?}");
    }
    let sound = call(&settings, &["verify"]);
    assert_eq!((sound.code, sound.stdout.as_str()), (Some(0), "3 objects are whole (3 by a listed MD5), 0 are not\n"));

    // Corrupt the file on the server's disk.
    for path in server.stored() {
        // Another test may have deleted its object.
        let Ok(bytes) = fs::read(&path) else { continue };
        if bytes.ends_with(b"changed") {
            fs::write(&path, [&b"T"[..], &bytes[1..]].concat()).expect("a changed byte");
        } else if bytes.ends_with(b"cut") {
            fs::write(&path, &bytes[1..]).expect("a missing byte");
        }
    }
    let rotten = call(&settings, &["verify", "fit/"]);
    assert_eq!(rotten.code, Some(1), "{rotten:?}");
    for name in ["changed", "cut"] {
        assert!(rotten.stdout.contains(&format!("FAILED object `fit/{name}.json`: ")), "{rotten:?}");
    }
    assert!(rotten.stdout.contains("expected the MD5 "), "{rotten:?}");
    assert!(rotten.stdout.ends_with("1 objects are whole (1 by a listed MD5), 2 are not\n"), "{rotten:?}");
}

#[test]
fn reports_all_wrong_settings_together() {
    let settings = vec![("STORAGE_BUCKET_SOURCE", "swift".to_owned())];
    let called = call(&settings, &["ls"]);
    assert_eq!(called.code, Some(2), "{called:?}");
    for name in ["OS_AUTH_URL", "OS_USERNAME", "OS_PASSWORD"] {
        assert!(called.stderr.contains(name), "{called:?}");
    }
    assert_eq!(call(&settings, &["--store", "ftp://x", "ls"]).code, Some(2));
    assert_eq!(call(&vec![], &["get", "../x"]).code, Some(2));
}
