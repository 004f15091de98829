//! `gwtm migrate` from the command line.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use shared::key::Key;
use tests::azurite::Azurite;
use tests::backend::{Backend, Service, Settings, open};
use tests::ceph::Ceph;
use tests::faults::{Fault, Faults};
use tests::program::{Called, Gwtm, binary, files};
use tests::s3s::S3s;
use tests::server::{TestServer, run};
use tests::swift::Swift;

/// Writes numbered objects with distinct bytes into a folder.
fn fill(folder: &Path, count: usize, size: impl Fn(usize) -> usize) -> BTreeMap<String, Vec<u8>> {
    let mut objects = BTreeMap::new();
    for n in 0..count {
        let name = format!("fit/{}/S{n:06}-Initial_alert.json", n % 50);
        let body: Vec<u8> = format!("{n} ").bytes().cycle().take(size(n)).collect();
        let path = folder.join(&name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, &body).expect("a file");
        objects.insert(name, body);
    }
    objects
}

fn migrate(source: &str, dest: &str) -> Vec<String> {
    ["migrate", "--source", source, "--dest", dest, "--container", "fit"].map(str::to_owned).into()
}

fn with(mut arguments: Vec<String>, more: &[&str]) -> Gwtm {
    arguments.extend(more.iter().map(|more| (*more).to_owned()));
    Gwtm::new(arguments)
}

/// The report's last line.
fn summary(report: &Path) -> Value {
    let text = fs::read_to_string(report).expect("a report");
    let last: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    last["summary"].clone()
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn skips_existing_objects_and_copies_changed_ones() {
    let folder = tempfile::tempdir().expect("a folder");
    let (from, to, report) = (folder.path().join("from"), folder.path().join("to"), folder.path().join("report.jsonl"));
    let objects = fill(&from, 120, |n| n * 37);
    fs::create_dir(from.join("test")).expect("a folder");
    fs::write(from.join("test/other.json"), "not asked for").expect("a file");
    let call = |more: &[&str]| -> (Called, Value) {
        let report = text(&report);
        let called = with(migrate(&text(&from), &text(&to)), &[more, &["--report", &report]].concat()).call();
        (called, summary(report.as_ref()))
    };

    let (dry, came_to) = call(&["--dry-run"]);
    assert_eq!((dry.code, &came_to["would_copy"], files(&to).len()), (Some(0), &120.into(), 0), "{dry:?}");
    assert!(dry.stdout.contains("120 objects, ") && dry.stdout.contains("would copy fit/7/S000007-"), "{dry:?}");

    let (first, came_to) = call(&[]);
    assert_eq!((first.code, &came_to["copied"]), (Some(0), &120.into()), "{first:?}");
    assert!(first.stdout.contains("[120/120] fit/") && first.stdout.contains("ETA"), "{first:?}");
    assert!(first.stdout.contains("120 copied (") && first.stdout.contains(", 0 failed"), "{first:?}");
    assert_eq!(files(&to), objects);
    let lines = fs::read_to_string(&report).expect("a report");
    let line: Value = lines.lines().find(|line| line.contains("S000003")).expect("its line").parse().expect("JSON");
    // sha256sum of "3 " repeated to 111 bytes.
    assert_eq!(
        (&line["outcome"], &line["bytes"], &line["verified_by"]),
        (&"copied".into(), &111.into(), &"sha256".into())
    );
    assert_eq!(line["sha256"].as_str().map(str::len), Some(64));

    let (again, came_to) = call(&["--quiet"]);
    assert_eq!((again.code, &came_to["copied"], &came_to["already_there"]), (Some(0), &0.into(), &120.into()));
    assert!(!again.stdout.contains("fit/7/"), "{again:?}");

    // Same size, other time.
    let changed = from.join("fit/9/S000009-Initial_alert.json");
    let body = vec![b'x'; fs::read(&changed).expect("a file").len()];
    fs::write(&changed, &body).expect("a file");
    let (called, came_to) = call(&[]);
    assert_eq!((called.code, &came_to["copied"]), (Some(0), &1.into()), "{called:?}");
    assert_eq!(fs::read(to.join("fit/9/S000009-Initial_alert.json")).expect("a file"), body);

    // A corrupt copy with the right size and time: content is compared.
    let rotten = to.join("fit/8/S000008-Initial_alert.json");
    let sound = fs::read(&rotten).expect("a file");
    fs::write(&rotten, vec![b'?'; sound.len()]).expect("a file");
    let later = std::time::SystemTime::now() + Duration::from_secs(3600);
    fs::File::options().write(true).open(&rotten).and_then(|file| file.set_modified(later)).expect("a time");
    let (called, came_to) = call(&[]);
    assert_eq!((called.code, &came_to["copied"]), (Some(0), &1.into()), "{called:?}");
    assert_eq!(fs::read(&rotten).expect("a file"), sound);
    assert_eq!(call(&["--verify"]).1["copied"], 0);
    assert_eq!(call(&["--force"]).1["copied"], 120);
}

#[test]
fn terminal_shows_a_bar_and_lines_above_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fill(&from, 300, |n| n * 500);
    // `script` gives a program a terminal without a width.
    let line = format!("stty cols 100; {} {}", binary("gwtm").display(), migrate(&text(&from), &text(&to)).join(" "));
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]).env("TERM", "xterm");
    let shown = run(command);
    let bars: Vec<&str> = shown.split(['\r', '\n']).filter(|line| line.contains("/s ETA ")).collect();
    assert!(bars.iter().any(|bar| bar.contains("█") && bar.contains("/300")), "{bars:?}");
    assert!(shown.contains("[300/300] fit/") && shown.contains("300 copied ("), "{shown}");
}

#[test]
fn rejects_bad_options_before_writing() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = text(folder.path());
    let same =
        with(migrate(&here, &format!("{here}/../{}/", folder.path().file_name().expect("a name").display())), &[]);
    let same = same.call();
    assert_eq!(same.code, Some(2), "{same:?}");
    assert!(same.stderr.contains("expected two stores"), "{same:?}");

    let settings = [
        ("AWS_BUCKET", "gwtm"),
        ("AZURE_ACCOUNT_NAME", "gwtm"),
        ("AZURE_ACCOUNT_KEY", "a2V5"),
        ("OS_AUTH_URL", "http://127.0.0.1:9"),
        ("DEST_OS_AUTH_URL", "http://127.0.0.1:9/v3/"),
        ("OS_USERNAME", "listener"),
        ("OS_PASSWORD", "hunter2"),
        ("OS_PROJECT_NAME", "alerts"),
    ];
    for (source, dest) in [("s3", "s3"), ("s3", "s3://gwtm"), ("abfs", "abfs://gwtm"), ("swift", "swift")] {
        let gwtm = with(migrate(source, dest), &[]);
        let same = settings.iter().fold(gwtm, |gwtm, (name, value)| gwtm.set(name, value)).call();
        assert_eq!(same.code, Some(2), "{source} {dest}: {same:?}");
        assert!(same.stderr.contains("expected two stores") && !same.stderr.contains("hunter2"), "{same:?}");
    }

    let missing = with(migrate("swift", "abfs"), &[]).call();
    assert_eq!(missing.code, Some(2), "{missing:?}");
    for name in ["OS_AUTH_URL", "OS_USERNAME", "OS_PASSWORD", "AZURE_ACCOUNT_NAME", "AZURE_ACCOUNT_KEY"] {
        assert!(missing.stderr.contains(name), "{name}: {missing:?}");
    }
    for arguments in [&["--jobs", "0"][..], &["--container", "../x"], &["--report", "/no/such/folder/report"]] {
        let called = with(migrate(&here, &format!("{here}/dest")), arguments).call();
        assert!(matches!(called.code, Some(1 | 2)), "{arguments:?}: {called:?}");
        assert!(!folder.path().join("dest").exists(), "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_names_that_a_folder_cannot_hold_before_writing() {
    let settings = Ceph::shared().create("names").await;
    let store = open(&settings).await;
    let folder = tempfile::tempdir().expect("a folder");
    let dest = folder.path().join("dest");
    let long = format!("fit/{}", "x".repeat(300));
    for (names, shown) in [(&["fit/fine", &long][..], "xxx"), (&["fit/a", "fit/a.json", "fit/a/b"], "`fit/a`")] {
        for name in names {
            store.put(&Key::new(*name).expect("a name"), Bytes::from_static(b"x")).await.expect("written");
        }
        let called = with(migrate("s3", &text(&dest)), &[]).set_store("", &settings).call();
        assert_eq!(called.code, Some(1), "{called:?}");
        assert!(called.stderr.contains("nothing was written") && called.stderr.contains(shown), "{called:?}");
        assert!(files(&dest).is_empty());
        store.delete(&Key::new(long.as_str()).expect("a name")).await.expect("removed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn resumes_after_being_killed() {
    let server = S3s::shared();
    let settings = server.create("killed").await;
    let folder = tempfile::tempdir().expect("a folder");
    let objects = fill(folder.path(), 300, |n| 1000 + n * 331);
    let faults = Faults::before(server.address());
    // Slow, so that it can be killed midway.
    faults.plan(|_, _| Some(Fault::Delay(Duration::from_millis(5))));
    let slow = server.behind(&settings, faults.address());
    let arguments = migrate(&text(folder.path()), "s3");
    let mut child = with(arguments.clone(), &["--jobs", "4", "--quiet"]).set_store("", &slow).start();
    let seen = || files(&server.bucket(&settings).join("fit")).len();
    while seen() < 60 {
        assert_eq!(child.try_wait().expect("its state"), None, "it ended before it could be killed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    child.kill().expect("killed");
    child.wait().expect("ended");
    let there = open(&settings).await.keys("fit/").await.expect("a list");
    assert!((60..300).contains(&there.len()), "{}", there.len());
    for (name, body) in copied(&server, &settings) {
        assert!(objects[&name] == body, "{name} is half-written");
    }

    let report = folder.path().join("report.jsonl");
    let again = with(arguments, &["--report", &text(&report)]).set_store("", &settings).call();
    let came_to = summary(&report);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert_eq!(came_to["already_there"], there.len(), "what was copied is not copied again");
    assert_eq!(came_to["copied"], 300 - there.len());
    assert!(copied(&server, &settings) == objects);
}

/// The objects of a bucket, from the server's disk.
fn copied(server: &S3s, bucket: &Settings) -> BTreeMap<String, Vec<u8>> {
    let named = |(name, body): (String, Vec<u8>)| (format!("fit/{name}"), body);
    files(&server.bucket(bucket).join("fit")).into_iter().map(named).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_failures_and_copies_the_rest() {
    let server = S3s::shared();
    let settings = server.create("failing").await;
    let folder = tempfile::tempdir().expect("a folder");
    fill(folder.path(), 40, |n| n);
    let faults = Faults::before(server.address());
    // Permanently rejected.
    faults.plan(|_, line| line.contains("S000017").then_some(Fault::Answer(403)));
    let report = folder.path().join("report.jsonl");
    let called = with(migrate(&text(folder.path()), "s3"), &["--report", &text(&report)])
        .set_store("", &server.behind(&settings, faults.address()))
        .call();
    assert_eq!(called.code, Some(1), "{called:?}");
    assert!(called.stdout.contains("39 copied") && called.stdout.contains("1 failed"), "{called:?}");
    assert!(called.stdout.contains("  failed: fit/17/S000017-Initial_alert.json: "), "{called:?}");
    let came_to = summary(&report);
    assert_eq!((&came_to["copied"], &came_to["failed"]), (&39.into(), &1.into()));
    assert!(fs::read_to_string(&report).expect("a report").contains(r#""outcome":"failed""#));
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_25_000_objects_through_faults() {
    let server = S3s::shared();
    let settings = server.create("many").await;
    let folder = tempfile::tempdir().expect("a folder");
    let objects = fill(folder.path(), 25_000, |n| 200 + n % 1800);
    let faults = Faults::before(server.address());
    // One request in a hundred, with varying faults.
    faults.plan(|number, _| {
        let fault = match number / 100 % 6 {
            0 => Fault::Answer(503),
            1 => Fault::CutRequest(300),
            2 => Fault::Answer(429),
            3 => Fault::CutAnswer(40),
            4 => Fault::Answer(500),
            _ => Fault::CutRequest(900),
        };
        (number % 100 == 99).then_some(fault)
    });
    let report = folder.path().join("report.jsonl");
    let call = |settings: &Settings, more: &[&str]| {
        let report = text(&report);
        let more = [&["--quiet", "--report", &report][..], more].concat();
        with(migrate(&text(folder.path()), "s3"), &more).set_store("", settings).call()
    };
    let called = call(&server.behind(&settings, faults.address()), &[]);
    assert_eq!(called.code, Some(0), "{called:?}");
    assert_eq!(summary(&report)["copied"], 25_000);
    let (requests, broken) = faults.counts();
    assert!(requests >= 25_000 && broken >= 250, "{broken} of {requests}");
    println!("{broken} faults in {requests} requests; {}", summary(&report));
    assert!(copied(&server, &settings) == objects, "every object is there, whole");

    let again = call(&settings, &[]);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert_eq!((&summary(&report)["copied"], &summary(&report)["already_there"]), (&0.into(), &25_000.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_between_services_keep_bytes_and_metadata() {
    let (ceph, swift, azurite) = (Ceph::shared(), Swift::shared(), Azurite::shared());
    let s3 = ceph.create("journey").await;
    let swift = swift.create("journey").await;
    let azure = azurite.create("journey").await;
    let folder = tempfile::tempdir().expect("a folder");
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let mut objects = fill(&from, 30, |n| n * 1000);
    // Larger than one part.
    let large: Vec<u8> = (0..40_u32 << 20).map(|i| (i / 7) as u8).collect();
    for (name, body) in [("fit/large.fits", large), ("fit/empty", Vec::new()), ("fit/a+b c%20ä.json", b"{}".to_vec())]
    {
        fs::write(from.join(name), &body).expect("a file");
        objects.insert(name.to_owned(), body);
    }
    for (source, dest) in
        [(text(&from).as_str(), "s3"), ("s3", "swift"), ("swift", "abfs"), ("abfs", text(&to).as_str())]
    {
        for expected in [objects.len(), 0] {
            let report = folder.path().join("report.jsonl");
            let called = with(migrate(source, dest), &["--report", &text(&report)])
                .set_store("", &s3)
                .set_store("", &swift)
                .set_store("", &azure)
                .call();
            assert_eq!(called.code, Some(0), "{source} to {dest}: {called:?}");
            assert_eq!(summary(&report)["copied"], expected, "{source} to {dest}: {called:?}");
        }
    }
    assert!(files(&to) == objects);
}
