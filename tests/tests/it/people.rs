//! User interfaces: pages in a browser, `gwtm check`, `gwtm notify`, help.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::CommandFactory;
use science::fits::Table;
use serde_json::Value;
use shared::key::Key;
use tests::backend::{Backend, Service, open};
use tests::gwtm_server::{ADMIN, GwtmServer, USER};
use tests::moto::{self, Moto};
use tests::program::{Called, Gwtm, files, sample, workspace};
use tests::server::{TestServer, ask, unique};
use tests::swift::Swift;

/// Opens a file in headless Chromium without network; returns the rendered page and the browser's messages.
fn browse(page: &Path) -> (String, String) {
    let profile = tempfile::tempdir().expect("a folder");
    let logs = profile.path().join("log");
    let mut browser = Command::new("chromium")
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr"])
        .args(["--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().join("profile").display()))
        .arg(format!("file://{}", page.display()))
        .stdin(Stdio::null())
        .stdout(fs::File::create(profile.path().join("dom")).expect("a file"))
        .stderr(fs::File::create(&logs).expect("a file"))
        .spawn()
        .expect("chromium: run `tests/setup` once");
    let begun = Instant::now();
    while browser.try_wait().expect("a status").is_none() {
        if begun.elapsed() > Duration::from_secs(120) {
            browser.kill().expect("ended");
            panic!("chromium did not end: {}", fs::read_to_string(&logs).unwrap_or_default());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    (fs::read_to_string(profile.path().join("dom")).expect("a page"), fs::read_to_string(logs).unwrap_or_default())
}

#[test]
fn page_opens_from_disk_and_is_self_contained() {
    let folder = tempfile::tempdir().expect("a folder");
    let pages = folder.path().join("pages");
    let report = format!("--report={}", pages.display());
    // A dry run writes only the page.
    let arguments = [Path::new("--dry-run"), Path::new(&report), &sample("S090101a-4-initial.json")];
    let called = Gwtm::run(&folder.path().join("data"), arguments)
        .set("CATALOG_PATH", workspace().join("events/catalog.csv"))
        .set("FLAT_MAX_ORDER", "5")
        .call();
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    assert!(!folder.path().join("data").exists());
    let (dom, complaints) = browse(&pages.join("S090101a-Initial.html"));
    for part in ["<h1>S090101a-Initial</h1>", "<svg", "Numbers", "50 % in 16.7 deg²", "SIM J", "AladinLite", "SHA-256"]
    {
        assert!(dom.contains(part), "{part}: {dom}");
    }
    assert!(dom.matches("<tr>").count() > 60, "the tables are there");
    assert!(!complaints.contains("CONSOLE"), "{complaints}");
}

#[test]
fn page_escapes_text_of_the_notice() {
    let folder = tempfile::tempdir().expect("a folder");
    let notice = fs::read_to_string(sample("S090103c-1-preliminary-burst.json")).expect("a notice");
    let mut notice: Value = serde_json::from_str(&notice).expect("JSON");
    notice["event"]["pipeline"] = "</svg><script>document.title='caught'</script>\u{7}&\"'".into();
    notice["urls"]["gracedb"] = "javascript:alert(1)".into();
    let path = folder.path().join("notice.json");
    fs::write(&path, notice.to_string()).expect("a file");
    let called = Gwtm::run(&folder.path().join("data"), [&path]).set("FLAT_MAX_ORDER", "5").call();
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    let page = folder.path().join("data/fit/S090103c-Preliminary.html");
    let (dom, complaints) = browse(&page);
    assert!(dom.contains("<title>S090103c-Preliminary</title>") && dom.contains("&lt;script&gt;"), "{dom}");
    assert!(
        !dom.contains("<script") && !dom.contains("javascript:") && !complaints.contains("CONSOLE"),
        "{complaints}"
    );
    assert!(folder.path().join("data/fit/S090103c-Preliminary.png").is_file());
}

fn check(store: &Path, settings: &[(&'static str, String)]) -> Called {
    let gwtm = Gwtm::new(["check", "--json"])
        .set("STORAGE_FOLDER", store)
        .set("FERMI_TLE_FILE", workspace().join("events/fermi.tle"));
    settings.iter().fold(gwtm, |gwtm, (name, value)| gwtm.set(name, value)).call()
}

fn verdict<'a>(report: &'a Value, what: &str) -> &'a Value {
    let looks = report["looks"].as_array().expect("looks");
    &looks.iter().find(|look| look["what"] == what).unwrap_or_else(|| panic!("{what}: {report}"))["verdict"]
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tests_every_configured_service() {
    let server = GwtmServer::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let base = server.base("v1");
    let catalogue = workspace().join("events/catalog.csv").display().to_string();
    for (token, code, api) in [(ADMIN, 0, "ok"), (USER, 1, "failed"), ("unknown-token-0123", 1, "failed")] {
        let settings = [
            ("API_BASE", base.clone()),
            ("API_TOKEN", token.to_owned()),
            ("OBSERVING_RUN", "O4".to_owned()),
            ("CATALOG_PATH", catalogue.clone()),
        ];
        let store = folder.path().join("data");
        let called = tokio::task::spawn_blocking(move || check(&store, &settings)).await.expect("it ends");
        assert_eq!(called.code, Some(code), "{token}: {} {}", called.stdout, called.stderr);
        let report = &called.json()[0];
        assert_eq!((verdict(report, "API"), verdict(report, "store")), (&api.into(), &"ok".into()), "{report}");
        assert_eq!(verdict(report, "catalogue"), "warning", "{report}");
        // The samples' orbit is from 2009.
        assert_eq!(verdict(report, "Fermi's orbit"), "warning", "{report}");
        assert_eq!(verdict(report, "GCN's log-in"), "skipped", "{report}");
        assert!(!called.stdout.contains(token), "the token does not show: {}", called.stdout);
    }
    assert!(server.alerts().is_empty(), "nothing was posted");
}

#[test]
fn check_gives_advice() {
    let folder = tempfile::tempdir().expect("a folder");
    // A file in place of the folder.
    let taken = folder.path().join("file");
    fs::write(&taken, "").expect("a file");
    let called = check(&taken, &[]);
    assert_eq!((called.code, verdict(&called.json()[0], "store")), (Some(1), &"failed".into()), "{}", called.stdout);
    let missing = [("API_BASE", "https://example.org/api/v1/".to_owned()), ("DRY_RUN", "perhaps".to_owned())];
    let called = check(folder.path(), &missing);
    assert_eq!(called.code, Some(2));
    assert!(called.stderr.contains("API_TOKEN") && called.stderr.contains("DRY_RUN"), "{}", called.stderr);
    let table = Gwtm::new(["check", "--offline"]).inside(folder.path()).set("API_TOKEN", "hunter2").call();
    assert_eq!(table.code, Some(0), "{}", table.stderr);
    assert!(table.stdout.contains("`API_TOKEN` is set without `API_BASE`"), "{}", table.stdout);
    assert!(!table.stdout.contains("hunter2") && table.stdout.contains("***"), "{}", table.stdout);
    assert!(files(folder.path()).keys().all(|name| name == "file"), "nothing is written offline");
}

/// The environment of gwtm_cron's chart, unchanged.
fn chart(arguments: &[&str], ini: &Path) -> Gwtm {
    Gwtm::new(arguments)
        .set("KAFKA_CLIENT_ID", "a-client")
        .set("KAFKA_CLIENT_SECRET", "hunter2")
        .set("API_TOKEN", "hunter2")
        .set("OS_USERNAME", "listener")
        .set("OS_PASSWORD", "hunter2")
        .set("API_BASE", "http://192.0.2.1:80/api/v1/")
        .set("STORAGE_BUCKET_SOURCE", "swift")
        .set("OS_AUTH_URL", "https://identity.example.org/v3")
        .set("OS_STORAGE_URL", "https://object.example.org/swift/v1")
        .set("OS_PROJECT_NAME", "treasuremap")
        .set("OS_USER_DOMAIN_NAME", "Default")
        .set("OS_PROJECT_DOMAIN_NAME", "Default")
        .set("OS_CONTAINER_NAME", "gwtreasuremap")
        .set("OBSERVING_RUN", "O4")
        .set("DRY_RUN", "false")
        .set("WRITE_TO_STORAGE", "true")
        .set("VERBOSE", "true")
        .set("LOG_FORMAT", "json")
        .set("LOG_LEVEL", "INFO")
        .set("PATH_TO_GALAXY_CATALOG_CONFIG", ini)
}

#[test]
fn environment_of_gwtm_crons_chart_passes_the_check() {
    let folder = tempfile::tempdir().expect("a folder");
    let chart = |ini: &Path| chart(&["check", "--offline", "--json"], ini);
    // The file named by the chart is not in the image.
    let called = chart(Path::new("/app/gal_catalog_config.ini")).call();
    assert_eq!(called.code, Some(0), "{}{}", called.stdout, called.stderr);
    let noted = called.json()[0]["contradictions"].to_string();
    assert!(noted.contains("file `/app/gal_catalog_config.ini` is not there: the defaults hold"), "{noted}");
    // With it, the catalogue is the one that it names, relative to its folder, without the trailing comment.
    let ini = folder.path().join("gal_catalog_config.ini");
    fs::copy(workspace().join("events/catalog.csv"), folder.path().join("galaxies.csv")).expect("a catalogue");
    fs::write(&ini, "[GALAXIES]\nCATALOG_PATH = galaxies.csv ; relative to the program\nCREDZONE = 0.9 ; of the sky\n")
        .expect("an INI file");
    let called = chart(&ini).call();
    assert_eq!(called.code, Some(0), "{}{}", called.stdout, called.stderr);
    let noted = called.json()[0]["contradictions"].to_string();
    assert!(!noted.contains("galaxy lists") && !noted.contains("not there"), "{noted}");
    // The environment takes precedence over the file.
    let galaxies = |settings: &[(&str, &str)]| {
        let gwtm = Gwtm::run(&folder.path().join("data"), ["--dry-run", "--json"])
            .arg(sample("S090101a-4-initial.json"))
            .set("PATH_TO_GALAXY_CATALOG_CONFIG", &ini);
        let called = settings.iter().fold(gwtm, |gwtm, (name, value)| gwtm.set(name, value)).call();
        assert_eq!(called.code, Some(0), "{}{}", called.stdout, called.stderr);
        called.json()[0]["alerts"][0]["galaxies"].clone()
    };
    assert!(galaxies(&[])["count"].as_u64().is_some_and(|count| count > 0));
    fs::write(folder.path().join("empty.csv"), "objname,ra,dec,DistMpc,Mstar\nfar,1,1,9000,1e10\n").expect("another");
    let empty = folder.path().join("empty.csv").display().to_string();
    assert_eq!(galaxies(&[("CATALOG_PATH", &empty)])["count"], 0);
    // A malformed file is an error.
    fs::write(&ini, "[GALAXIES]\nCREDZONE = half\n").expect("written");
    let called = chart(&ini).call();
    assert!(called.code == Some(2) && called.stderr.contains("`CREDZONE`"), "{}{}", called.stdout, called.stderr);
}

/// A server that redirects every request to the same place by https.
fn redirecting() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.expect("a connection"));
            let (mut first, mut line, mut length) = (String::new(), String::new(), 0);
            stream.read_line(&mut first).expect("a request");
            while stream.read_line(&mut line).is_ok_and(|bytes| bytes > 2) {
                let header = line.to_ascii_lowercase();
                length = header.strip_prefix("content-length:").map_or(length, |n| n.trim().parse().expect("a length"));
                line.clear();
            }
            stream.read_exact(&mut vec![0; length]).expect("a body");
            let path = first.split(' ').nth(1).expect("a path");
            let answer = format!("HTTP/1.1 301 Moved Permanently\r\nLocation: https://127.0.0.1{path}\r\n");
            // The client may have disconnected.
            let _ = write!(stream.get_mut(), "{answer}Content-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    address
}

#[test]
fn check_and_post_name_the_address_to_which_the_api_redirects() {
    let folder = tempfile::tempdir().expect("a folder");
    let base = format!("http://{}/api/v1/", redirecting());
    let settings = [("API_BASE", base.clone()), ("API_TOKEN", "hunter2".to_owned())];
    let advice = "the server redirects http to https: set API_BASE to `https://127.0.0.1/api/v1/`";
    let called = check(&folder.path().join("data"), &settings);
    assert_eq!((called.code, verdict(&called.json()[0], "API")), (Some(1), &"failed".into()), "{}", called.stdout);
    assert!(called.stdout.contains(advice), "{}", called.stdout);
    assert!(!called.stdout.contains("unencrypted"), "loopback: {}", called.stdout);
    let posted = Gwtm::run(&folder.path().join("data"), [sample("S090102b-2-retraction.json")])
        .set("API_BASE", &base)
        .set("API_TOKEN", "hunter2")
        .call();
    assert_eq!(posted.code, Some(1), "{}", posted.stderr);
    assert!(posted.stdout.contains(advice) && !posted.stdout.contains("hunter2"), "{}", posted.stdout);
}

/// The chart's environment except for addresses and secrets: OS_STORAGE_URL names no account.
#[tokio::test(flavor = "multi_thread")]
async fn environment_of_gwtm_crons_chart_posts_and_stores() {
    let (server, swift) = (GwtmServer::start().await, Swift::shared());
    let container = swift.create("chart").await;
    let gwtm = chart(&["run", "--json"], Path::new("/app/gal_catalog_config.ini"))
        .arg(sample("S090101a-4-initial.json"))
        .set("API_BASE", server.base("v1"))
        .set("API_TOKEN", ADMIN)
        .set_store("", &container)
        .set("OS_STORAGE_URL", format!("http://{}/v1", swift.address()));
    let called = tokio::task::spawn_blocking(|| gwtm.call()).await.expect("it ends");
    assert_eq!(called.code, Some(0), "{}{}", called.stdout, called.stderr);
    let warned = |line: &str| line.contains("WARN") && line.contains("`/app/gal_catalog_config.ini` is not there");
    assert!(called.stderr.lines().any(warned), "{}", called.stderr);
    assert_eq!(server.alerts()[0]["skymap_fits_url"], "fit/S090101a-Initial.fits.gz");
    let flat = Key::new("fit/S090101a-Initial.fits.gz").expect("a name");
    let flat = open(&container).await.read(&flat).await.expect("a flat map");
    // The GWTM degrades a coarser one.
    let nside = Table::open_up_to(&flat, 1 << 30).expect("a table").header_f64("NSIDE");
    assert!(nside.is_some_and(|nside| nside >= 512.0), "{nside:?}");
}

#[test]
fn check_reads_the_files_named_by_settings() {
    let folder = tempfile::tempdir().expect("a folder");
    let pointings = folder.path().join("swift.csv");
    let check = |name: &str, value: &str| Gwtm::new(["check", "--offline", "--json"]).set(name, value).call();
    let swift = pointings.display().to_string();
    for (text, code, expected) in [
        (None, 1, "failed"),
        (Some("start,end,ra,dec,roll\nnonsense\n"), 1, "failed"),
        (Some("start,end,ra,dec,roll\n2009-01-01T00:00:00Z,2009-01-01T00:20:00Z,10.5,-20,30\n"), 0, "ok"),
    ] {
        text.iter().for_each(|text| fs::write(&pointings, text).expect("written"));
        let called = check("SWIFT_POINTING_FILE", &swift);
        let report = &called.json()[0];
        assert_eq!((called.code, verdict(report, "Swift's pointings")), (Some(code), &expected.into()), "{report}");
    }
    let rules = folder.path().join("rules.toml");
    fs::write(&rules, "[[rule]]\nname = 7\n").expect("written");
    let called = check("NOTIFY_CONFIG", &rules.display().to_string());
    assert!(called.code == Some(2) && called.stderr.contains("rules.toml"), "{}{}", called.stdout, called.stderr);
    let with_token =
        Gwtm::new(["check", "--offline"]).set("API_BASE", "http://192.0.2.1:80/").set("API_TOKEN", "hunter2").call();
    assert!(with_token.stdout.contains("`API_BASE` does not end with `/api/v1/`"), "{}", with_token.stdout);
    assert!(with_token.stdout.contains("`API_TOKEN` crosses the network unencrypted"), "{}", with_token.stdout);
}

#[test]
fn notifies_once_and_tests_targets() {
    let folder = tempfile::tempdir().expect("a folder");
    let told = folder.path().join("told");
    let rules = folder.path().join("notify.toml");
    let command = serde_json::json!(["sh", "-c", format!("basename \"$1\" >> {}", told.display()), "sh"]);
    fs::write(
        &rules,
        format!(
            "[[rule]]\nname = \"mergers\"\nmax_age_hours = 1e9\nclasses = {{ BNS = 0.5 }}\nrole = \"observation\"\n\
             target = [{{ kind = \"command\", command = {command} }}]\n"
        ),
    )
    .expect("rules");
    let store = folder.path().join("data");
    let notices = ["S090101a-4-initial.json", "S090103c-1-preliminary-burst.json", "MS090105e-1-preliminary-mock.json"];
    let run = || {
        let called =
            Gwtm::run(&store, notices.map(sample)).set("NOTIFY_CONFIG", &rules).set("FLAT_MAX_ORDER", "5").call();
        assert_eq!(called.code, Some(0), "{}", called.stderr);
        called.stdout
    };
    assert!(run().contains("sent "), "the report names the notification");
    assert!(run().contains("already sent"), "a repeat sends nothing");
    assert_eq!(fs::read_to_string(&told).expect("told"), "S090101a-Initial-annotations.json\n");

    let notify = |alert: &[&str]| {
        let arguments = [&["notify", "--test"], alert].concat();
        Gwtm::new(arguments).set("STORAGE_FOLDER", &store).set("NOTIFY_CONFIG", &rules).call()
    };
    for (alert, code) in [(&[][..], 0), (&["S090101a-Initial"][..], 0), (&["S090101a-Update"][..], 1)] {
        let called = notify(alert);
        assert_eq!(called.code, Some(code), "{alert:?}: {}", called.stderr);
    }
    let told = fs::read_to_string(&told).expect("told");
    assert_eq!(told.lines().nth(1), Some("TS090101a-Preliminary-annotations.json"), "{told}");
    let without = Gwtm::new(["notify", "--test"]).inside(folder.path()).call();
    assert_eq!((without.code, without.stderr.contains("NOTIFY_CONFIG")), (Some(2), true), "{}", without.stderr);
}

#[test]
fn explains_which_rules_a_stored_alert_meets() {
    let folder = tempfile::tempdir().expect("a folder");
    let (rules, store, told) =
        (folder.path().join("notify.toml"), folder.path().join("data"), folder.path().join("told"));
    let target = format!("target = [{{ kind = \"command\", command = [\"touch\", \"{}\"] }}]", told.display());
    let site = "{ name = \"Palomar\", lat_deg = 33.3563, lon_deg = -116.865, height_m = 1712, hours = 72 }";
    let write = |site: &str| {
        let rules_text = format!(
            "[[rule]]\nname = \"telescope\"\nmax_age_hours = 1e9\nalert_types = [\"Initial\"]\n\
             observable_prob_above = 0.01\nsite = {site}\n{target}\n\
             [[rule]]\nname = \"narrow\"\nprob_within_deg2 = {{ area = 37.5, above = 1 }}\nfar_below_per_year = 1e-9\n{target}\n"
        );
        fs::write(&rules, rules_text).expect("rules");
    };
    write(site);
    let run = || {
        let called = Gwtm::run(&store, [sample("S090101a-4-initial.json")])
            .set("NOTIFY_CONFIG", &rules)
            .set("FLAT_MAX_ORDER", "5")
            .call();
        assert_eq!(called.code, Some(0), "{}", called.stderr);
        called.stdout
    };
    let report = run();
    assert!(report.contains("telescope            sent"), "{report}");
    assert!(
        report.contains("narrow               not met            `far_below_per_year`: expected fewer than"),
        "{report}"
    );
    fs::remove_file(&told).expect("the command ran");
    let page = fs::read_to_string(store.join("fit/S090101a-Initial.html")).expect("a page");
    assert!(page.contains("<h2>Sites</h2>") && page.contains("<td>Palomar</td>"), "{page}");

    let explain = |arguments: &[&str]| {
        let arguments = [&["notify", "--explain"], arguments].concat();
        Gwtm::new(arguments).set("STORAGE_FOLDER", &store).set("NOTIFY_CONFIG", &rules).call()
    };
    let explained = explain(&["S090101a-Initial"]);
    assert_eq!(explained.code, Some(0), "{}", explained.stderr);
    for line in [
        "telescope: met\n",
        "  yes  `alert_types`: expected Initial, found Initial\n",
        "  yes  `observable_prob_above`: expected above 0.01 from Palomar, found ",
        "narrow: not met\n",
        "  NO   `far_below_per_year`: expected fewer than",
        "  NO   `prob_within_deg2`: expected above 1 in 37.5 deg², found ",
        "  NO   `max_age_hours`: expected less than 24 h, found ",
    ] {
        assert!(explained.stdout.contains(line), "{line} {}", explained.stdout);
    }
    // A site that has moved since is another.
    write(&site.replace("1712", "1713"));
    let moved = explain(&["S090101a-Initial"]).stdout;
    assert!(moved.contains("telescope: not met") && moved.contains("annotate the alert again"), "{moved}");
    assert!(run().contains("telescope            already sent"), "annotated again, it is met again");
    for (arguments, code) in [(&[][..], 2), (&["--test", "S090101a-Initial"], 2), (&["S090101a-Update"], 1)] {
        assert_eq!(explain(arguments).code, Some(code), "{arguments:?}");
    }
    assert!(!told.exists(), "explaining sends nothing");
    write(&site.replace("33.3563", "95"));
    let wrong = explain(&["S090101a-Initial"]);
    assert_eq!(wrong.code, Some(2));
    assert!(
        wrong.stderr.contains("rule `telescope`: `site.lat_deg`: expected -90 to 90 degrees, found 95"),
        "{}",
        wrong.stderr
    );
}

/// Calls an AWS service's query API; returns the XML.
fn query(moto: &Moto, service: &str, parameters: &[(&str, &str)]) -> String {
    let escaped = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let body: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    let signature = moto::signature(service);
    let headers = [("Authorization", &*signature), ("Content-Type", "application/x-www-form-urlencoded")];
    let answer = ask(Service::address(moto), "POST /", &headers, &body.join("&"));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

#[test]
fn publishes_annotations_to_an_sns_topic() {
    let moto = Moto::shared();
    let (gw, seen) = (unique("gw"), unique("seen"));
    let topic = &format!("arn:aws:sns:us-east-2:123456789012:{gw}");
    query(&moto, "sns", &[("Action", "CreateTopic"), ("Name", &gw)]);
    query(&moto, "sqs", &[("Action", "CreateQueue"), ("QueueName", &seen)]);
    let queue = &format!("arn:aws:sqs:us-east-2:123456789012:{seen}");
    let subscription = [("TopicArn", topic.as_str()), ("Protocol", "sqs"), ("Endpoint", queue)];
    query(&moto, "sns", &[&[("Action", "Subscribe")][..], &subscription].concat());

    let folder = tempfile::tempdir().expect("a folder");
    let rules = |topic: &str| {
        format!(
            "[[rule]]\nname = \"all\"\nmax_age_hours = 1e9\ntarget = [{{ kind = \"sns\", topic_arn = \"{topic}\" }}]"
        )
    };
    let gwtm = |gwtm: Gwtm, topic: &str| {
        gwtm.set("NOTIFY_CONFIG", rules(topic))
            .set("AWS_ENDPOINT_URL_SNS", moto.url())
            .set("AWS_ACCESS_KEY_ID", "testing")
            .set("AWS_SECRET_ACCESS_KEY", "hunter2")
            .call()
    };
    let run = |topic: &str| {
        let arguments = [Path::new("--json"), &sample("S090103c-1-preliminary-burst.json")];
        let called = gwtm(Gwtm::run(folder.path(), arguments).set("FLAT_MAX_ORDER", "5"), topic);
        assert_eq!(called.code, Some(0), "{}", called.stderr);
        assert!(!format!("{called:?}").contains("hunter2"));
        called.json()[0]["alerts"][0]["annotated"]["notifications"][0].clone()
    };
    let missing = run("arn:aws:sns:us-east-2:123456789012:nobody-made-this");
    assert_eq!((&missing["status"], &missing["reason"]), (&"failed".into(), &"NotFound".into()), "{missing}");
    assert_eq!(run(topic)["status"], "sent");
    assert_eq!(run(topic)["status"], "already_sent");
    let tried = Gwtm::new(["notify", "--test", "S090103c-Preliminary"]).set("STORAGE_FOLDER", folder.path());
    assert_eq!(gwtm(tried, topic).code, Some(0));

    // SNS wraps the message in JSON, and SQS that in XML.
    let receive = [("Action", "ReceiveMessage"), ("MaxNumberOfMessages", "10")];
    let queue_url = format!("{}/123456789012/{seen}", moto.url());
    let answer = query(&moto, "sqs", &[&receive[..], &[("QueueUrl", &queue_url)]].concat());
    let bodies: Vec<Value> = answer
        .split("<Body>")
        .skip(1)
        .map(|rest| rest.split("</Body>").next().unwrap_or_default().replace("&quot;", "\"").replace("&lt;", "<"))
        .map(|body| serde_json::from_str(&body.replace("&gt;", ">").replace("&amp;", "&")).expect("JSON"))
        .collect();
    let subjects: Vec<&Value> = bodies.iter().map(|body| &body["Subject"]).collect();
    assert_eq!(subjects, ["S090103c-Preliminary", "TEST S090103c-Preliminary"], "{answer}");
    let published: Value = serde_json::from_str(bodies[0]["Message"].as_str().expect("text")).expect("JSON");
    let stored = fs::read(folder.path().join("fit/S090103c-Preliminary-annotations.json")).expect("annotations");
    assert_eq!(published, serde_json::from_slice::<Value>(&stored).expect("JSON"));
}

#[test]
fn failing_target_does_not_stop_the_alert() {
    let folder = tempfile::tempdir().expect("a folder");
    let rules = "[[rule]]\nname = \"all\"\nmax_age_hours = 1e9\ntarget = [{ kind = \"command\", command = [\"/nowhere/at/all\"] }]";
    let notice = sample("S090103c-1-preliminary-burst.json");
    let called = Gwtm::run(folder.path(), [Path::new("--json"), &notice])
        .set("NOTIFY_CONFIG", rules)
        .set("FLAT_MAX_ORDER", "5")
        .call();
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    let report = &called.json()[0];
    let told = &report["alerts"][0]["annotated"]["notifications"][0];
    assert_eq!((&report["status"], &told["status"]), (&"done".into(), &"failed".into()), "{told}");
}

#[test]
fn unreadable_older_alert_does_not_suppress_notifications() {
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("copy.json");
    let script = format!("cp \"$1\" {}", copy.display());
    let rules = format!(
        "[[rule]]\nname = \"all\"\nmax_age_hours = 1e9\ntarget = [{{ kind = \"command\", command = [\"sh\", \"-c\", '{script}', \"sh\"] }}]"
    );
    let store = folder.path().join("data");
    let run = |notice: &str| {
        let called = Gwtm::run(&store, [Path::new("--json"), &sample(notice)])
            .set("NOTIFY_CONFIG", &rules)
            .set("FLAT_MAX_ORDER", "5")
            .call();
        assert_eq!(called.code, Some(0), "{}", called.stderr);
        called.json()[0]["alerts"][0]["annotated"].clone()
    };
    run("S090101a-2-preliminary.json");
    let older = "fit/S090101a-Preliminary-annotations.json";
    fs::write(store.join(older), "not annotations").expect("written");
    let annotated = run("S090101a-4-initial.json");
    assert_eq!(annotated["notifications"][0]["status"], "sent", "{annotated}");
    let told: Value = serde_json::from_slice(&fs::read(&copy).expect("the command ran")).expect("JSON");
    assert_eq!((&told["name"], &told["unread"]), (&"S090101a-Initial".into(), &serde_json::json!([older])));
    // Once it is readable again, the links are complete.
    run("S090101a-2-preliminary.json");
    run("S090101a-4-initial.json");
    let told: Value =
        serde_json::from_slice(&fs::read(store.join("fit/S090101a-Initial-annotations.json")).expect("annotations"))
            .expect("JSON");
    assert_eq!((&told["unread"], &told["previous"]["name"]), (&Value::Null, &"S090101a-Preliminary".into()));
}

#[test]
fn every_command_has_examples_completions_and_a_man_page() {
    /// Collects the names of all commands below one, as in man pages: `gwtm-store-ls`.
    fn visit(command: &mut clap::Command, name: &str, seen: &mut Vec<String>) {
        if command.get_subcommands().all(|inner| inner.get_name() == "help") {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Example"), "{name}: no examples\n{help}");
        }
        seen.push(name.to_owned());
        for inner in command.get_subcommands_mut().filter(|inner| inner.get_name() != "help") {
            let name = format!("{name}-{}", inner.get_name());
            visit(inner, &name, seen);
        }
    }
    let mut seen = Vec::new();
    visit(&mut cli::arguments::Arguments::command(), "gwtm", &mut seen);
    for name in ["gwtm-check", "gwtm-failed-retry", "gwtm-gracedb", "gwtm-listen", "gwtm-replay", "gwtm-run"] {
        assert!(seen.iter().any(|seen| seen == name), "{name}: {seen:?}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let called = Gwtm::new(["completions", shell]).call();
        assert_eq!(called.code, Some(0), "{shell}: {}", called.stderr);
        for name in &seen {
            let word = name.rsplit('-').next().unwrap_or_default();
            assert!(called.stdout.contains(word), "{shell}: {name}");
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let called = Gwtm::new([Path::new("man"), Path::new("--out"), folder.path()]).call();
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    for name in &seen {
        let page = fs::read_to_string(folder.path().join(format!("{name}.1"))).unwrap_or_else(|_| panic!("{name}"));
        assert!(page.contains(".TH"), "{page}");
    }
    let page = fs::read_to_string(folder.path().join("gwtm-run.1")).expect("a page");
    assert!(page.contains("Examples"), "{page}");
}
