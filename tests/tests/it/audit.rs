//! `gwtm audit`: compares GraceDB with the store and the Treasure Map, for every kind of fault.

use std::collections::BTreeMap;

use audit::FindingKind;
use audit::scheduled::{Audited, Flow, Scheduled, ScheduledAudit, handle};
use jiff::Timestamp;
use jiff::civil::Date;
use shared::message::FlowMessage;
use tests::gracedb::Trouble;
use tests::kafka::Gcn;
use tests::listener::{Listening, eventually};
use tests::moto::Moto;
use tests::program::{Called, Gwtm, files, http_get, workspace};
use tests::server::{TestServer, unique};
use tests::story::SMALL_MAP;
use tests::year::{Fault, Year};

/// `gwtm audit` of the year, or as the arguments select.
async fn audit(year: &Year, settings: &[(&'static str, &str)], arguments: &[&str]) -> Called {
    let mut words = vec!["audit", "--patience", "0"];
    for usual in [["--since", "2009-01-02"], ["--until", "2010-01-02"]] {
        words.extend(usual.iter().filter(|_| !arguments.contains(&usual[0])));
    }
    words.extend(arguments);
    let mut gwtm = Gwtm::new(words);
    for (name, value) in year.settings() {
        gwtm = gwtm.set(name, value);
    }
    for (name, value) in settings {
        gwtm = gwtm.set(name, value);
    }
    tokio::task::spawn_blocking(|| gwtm.call()).await.expect("gwtm ends")
}

/// The number of reported findings of each kind.
fn counts(called: &Called) -> BTreeMap<String, u64> {
    let summary = called.json().pop().expect("a summary");
    serde_json::from_value(summary["findings"].clone()).unwrap_or_else(|_| panic!("{summary}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn finds_every_fault_and_nothing_else() {
    let year = Year::start(SMALL_MAP).await;
    // One superevent for each fault, and one of each prototype besides.
    let ids = year.add(60, 3);
    let (well, superevents, alerts) = year.audit(&year.question()).await;
    Year::assert_found(&[], &well);
    // Two of four superevents have five alerts, the others have a coincidence as well.
    assert_eq!((superevents, alerts), (60, 15 * (2 * 5 + 2 * 6)));
    let mut expected = Vec::new();
    let mut free: Vec<usize> = (0..ids.len()).collect();
    for fault in Fault::ALL {
        let at = free.iter().position(|n| fault.can_happen_to(*n)).expect("a superevent");
        let id = &ids[free.remove(at)];
        expected.push((fault, id.clone(), fault.happen(&year, id)));
    }
    let (findings, ..) = year.audit(&year.question()).await;
    Year::assert_found(&expected, &findings);
    assert_eq!(year.gracedb.at_once(), 1, "one request at a time");
}

#[tokio::test(flavor = "multi_thread")]
async fn finds_forty_random_faults() {
    let year = Year::start(SMALL_MAP).await;
    let ids = year.add(80, 4);
    let seed = std::process::id();
    println!("seed {seed}");
    let mut state = u64::from(seed);
    let mut random = |below: usize| {
        // The constants of Knuth's MMIX.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut free: Vec<usize> = (0..ids.len()).collect();
    let mut expected = Vec::new();
    while expected.len() < 40 {
        let fault = Fault::ALL[random(Fault::ALL.len())];
        let may: Vec<usize> = (0..free.len()).filter(|at| fault.can_happen_to(free[*at])).collect();
        if may.is_empty() {
            continue;
        }
        let id = &ids[free.remove(may[random(may.len())])];
        expected.push((fault, id.clone(), fault.happen(&year, id)));
    }
    let (findings, ..) = year.audit(&year.question()).await;
    Year::assert_found(&expected, &findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn repair_is_idempotent_and_leaves_what_needs_a_person() {
    let year = Year::start(SMALL_MAP).await;
    let ids = year.add(60, 3);
    let mut expected = Vec::new();
    let mut free: Vec<usize> = (0..ids.len()).collect();
    for fault in Fault::ALL.into_iter().filter(|fault| !matches!(fault, Fault::Changed | Fault::FileRefused)) {
        let at = free.iter().position(|n| fault.can_happen_to(*n)).expect("a superevent");
        let id = &ids[free.remove(at)];
        expected.push((fault, id.clone(), fault.happen(&year, id)));
    }
    let found = audit(&year, &[], &["--json"]).await;
    assert_eq!(found.code, Some(1), "{}", found.stderr);
    let alerts = found.json().iter().filter(|line| line["status"] == "well").count();
    assert!(alerts > 300, "a line for every alert: {}", found.stdout);

    let repaired = audit(&year, &[], &["--repair", "--json"]).await;
    // Findings that need a person remain, and are reported again.
    assert_eq!(repaired.code, Some(1), "{}{}", repaired.stdout, repaired.stderr);
    let mut left: BTreeMap<String, u64> = BTreeMap::new();
    for (fault, ..) in expected.iter().filter(|(fault, ..)| !fault.is_repaired()) {
        let kind = serde_json::to_value(fault.kind()).expect("JSON").as_str().expect("a text").to_owned();
        *left.entry(kind).or_default() += 1;
    }
    assert_eq!(counts(&repaired), left, "{}{}", repaired.stdout, repaired.stderr);
    let again = audit(&year, &[], &["--json"]).await;
    assert_eq!(counts(&again), left, "{}", again.stdout);

    let (rows, objects) = (year.server.alerts(), files(year.folder.path()));
    let lists = year.server.galaxy_lists();
    let twice = audit(&year, &[], &["--repair", "--json"]).await;
    assert_eq!((twice.code, counts(&twice)), (Some(1), left));
    assert_eq!((year.server.alerts(), year.server.galaxy_lists()), (rows, lists));
    assert!(files(year.folder.path()) == objects, "repairing twice changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_year_without_faults_has_no_findings() {
    let year = Year::start(SMALL_MAP).await;
    let ids = year.add(130, 2);
    year.add_mocks(50);
    // GraceDB returns 100 superevents per page, redirects, throttles and fails temporarily.
    year.gracedb.trouble_at("start=0", Trouble::Throttled(1), 1);
    year.gracedb.trouble_at("start=100", Trouble::Status(503), 1);
    year.gracedb.trouble_at(&ids[3], Trouble::Moved, 2);
    year.gracedb.trouble_at(&format!("{}-initial.json", ids[7]), Trouble::Moved, 1);
    let before = year.server.requests().len();
    let called = audit(&year, &[], &[]).await;
    assert_eq!(called.code, Some(0), "{}{}", called.stdout, called.stderr);
    assert!(called.stdout.contains("130 superevents created from 2009-01-02"), "{}", called.stdout);
    assert!(called.stdout.ends_with("All is well.\n"), "{}", called.stdout);
    let pages = year.gracedb.requests().iter().filter(|path| *path == "/api/superevents/").count();
    assert_eq!(pages, 4, "two pages, each asked for twice");
    assert!(!year.gracedb.requests().iter().any(|path| path.contains("/MS")), "mocks are left out");
    assert!(!year.server.requests()[before..].iter().any(|request| request.starts_with("POST")), "nothing is posted");

    // Without an API, the store is compared with GraceDB.
    let without = audit(&year, &[("API_BASE", ""), ("API_TOKEN", "")], &["--since", "2009-02-01"]).await;
    assert_eq!(without.code, Some(0), "{}{}", without.stdout, without.stderr);
    assert!(without.stdout.contains("The Treasure Map was not asked: API_BASE is not set."), "{}", without.stdout);
    // The retired generation has neither pages nor contours.
    let v0 = year.server.base("v0");
    let older = audit(&year, &[("API_BASE", &v0)], &["--since", "2009-02-20", "--json"]).await;
    assert_eq!(older.code, Some(0), "{}{}", older.stdout, older.stderr);
    let one = audit(&year, &[], &["--id", &ids[14], "--json"]).await;
    assert_eq!((one.code, one.json().len()), (Some(0), 7), "six alerts and the summary: {}", one.stdout);
    assert_eq!(one.json()[0]["status"], "well");
}

#[tokio::test(flavor = "multi_thread")]
async fn unavailable_sources_are_not_reported_as_missing() {
    let year = Year::start(SMALL_MAP).await;
    let ids = year.add(6, 2);
    let only_unasked = |called: &Called| {
        assert_eq!(called.code, Some(1), "{}{}", called.stdout, called.stderr);
        let found = counts(called);
        assert!(found.contains_key("unasked") && found.len() == 1, "{}", called.stdout);
        found["unasked"]
    };
    // GraceDB is down: the store is compared with the Treasure Map, without further requests after two failures.
    let down = audit(&year, &[("GRACEDB_URL", "http://127.0.0.1:9")], &["--json"]).await;
    assert_eq!(only_unasked(&down), 7, "the list and six superevents: {}", down.stdout);
    assert!(down.stdout.contains("not asked again"), "{}", down.stdout);
    year.server.change_row(year.server.alerts()[1]["id"].as_i64().expect("a number"), "area_50", 0.25.into());
    let beside = audit(&year, &[("GRACEDB_URL", "http://127.0.0.1:9")], &["--json"]).await;
    assert_eq!(counts(&beside)["different"], 1, "{}", beside.stdout);
    let row = year.server.alerts()[1].clone();
    year.server.remove_row(row["id"].as_i64().expect("a number"));

    // The Treasure Map is down.
    let nobody = "http://127.0.0.1:9/api/v1/";
    let no_api = audit(&year, &[("API_BASE", nobody), ("API_TIMEOUT_SECONDS", "1")], &["--json"]).await;
    only_unasked(&no_api);
    // GraceDB returns its list, then a wrong document for one superevent, a proxy's 404 for another, 500s for a third.
    year.gracedb.trouble_at(&format!("{}/files/?", ids[1]), Trouble::Changed, usize::MAX);
    year.gracedb.trouble_at(&format!("{}/files/?", ids[2]), Trouble::Status(404), usize::MAX);
    year.gracedb.trouble_at(&format!("{}/logs", ids[4]), Trouble::Status(500), usize::MAX);
    let partly = audit(&year, &[("API_BASE", ""), ("API_TOKEN", "")], &["--json"]).await;
    assert_eq!(only_unasked(&partly), 3, "{}", partly.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn listener_audits_in_the_background_and_repairs() {
    let (broker, year) = (Gcn::shared().await, Year::start(SMALL_MAP).await);
    let hours_ago = |hours: i64| Timestamp::now() - jiff::SignedDuration::from_hours(hours);
    let id = year.add_at(hours_ago(2), 3);
    let store = year.folder.path().to_owned();
    Fault::NotTaken.happen(&year, &id);
    let rows = year.server.alerts().len();
    let port = tests::server::free_port();
    let listening = Listening::to(&broker, &store, &year.server.base("v1"))
        .set("FERMI_FT2_DIR", workspace().join("events").display().to_string())
        .set("SWIFT_POINTING_URL", "none")
        .set("GRACEDB_URL", year.gracedb.url())
        .set("HEALTH_ADDR", format!("127.0.0.1:{port}"))
        .set("AUDIT_INTERVAL_MINUTES", "0.02");
    let metric = |name: &str| {
        let line = format!("gwtm_audit_{name}{{period=\"day\"}} ");
        let (_, text) = http_get(port, "/metrics")?;
        text.lines().find_map(|text| text.strip_prefix(&line)?.parse::<usize>().ok())
    };
    let listener = listening.start();
    eventually("an audit that finds what is missing", async || metric("findings") == Some(1)).await;
    assert_eq!(metric("unasked"), Some(0), "{}", listening.said());
    assert!(listener.stop().success());
    assert!(listening.said().contains("audit: not taken"), "{}", listening.said());
    assert_eq!(year.server.alerts().len(), rows, "nothing is repaired unless it is wanted");

    let repairing = listening.set("AUDIT_REPAIR", "true").start();
    eventually("an audit that finds nothing", async || metric("findings") == Some(0)).await;
    assert!(repairing.stop().success());
    assert_eq!(year.server.alerts().len(), rows + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn scheduled_audit_stores_findings_and_starts_flows_in_order() {
    let (moto, year) = (Moto::shared(), Year::start(SMALL_MAP).await);
    let ids = year.add(8, 2);
    // Two alerts of a superevent were missed; one flow is started, of the first.
    Fault::NotTaken.happen(&year, &ids[2]);
    Fault::NotPostedWithoutReason.happen(&year, &ids[2]);
    Fault::NotTaken.happen(&year, &ids[3]);
    Fault::OtherArea.happen(&year, &ids[6]);
    let sdk = || {
        let user = aws_sdk_sfn::config::Credentials::new("testing", "testing", None, None, "tests");
        http_client::aws::settings().endpoint_url(moto.url()).credentials_provider(user).region("us-east-2")
    };
    let sfn = aws_sdk_sfn::Client::new(&sdk().load().await);
    let machine = sfn
        .create_state_machine()
        .name(unique("audit"))
        .definition(r#"{"StartAt": "wait", "States": {"wait": {"Type": "Wait", "Seconds": 9999, "End": true}}}"#)
        .role_arn("arn:aws:iam::123456789012:role/flow");
    let arn = machine.send().await.expect("a state machine").state_machine_arn;
    let flow = Some(Flow::open(arn.clone(), sdk()).await);
    let function = ScheduledAudit { deps: year.deps().await, flow };
    let event = serde_json::json!({
        "version": "0", "id": "1", "detail-type": "Scheduled Event", "source": "aws.scheduler",
        "account": "123456789012", "time": "2009-01-20T00:30:00Z", "region": "us-east-2", "resources": [],
        "detail": {"period": "30d"},
    });
    let event: Scheduled = serde_json::from_value(event).expect("an event");
    let audited = handle(&function, event.clone()).await.expect("an audit");
    let counts = |audited: &Audited| audited.counts().into_iter().collect::<BTreeMap<_, _>>();
    let metrics = BTreeMap::from([("audit_findings", 4), ("audit_unasked", 0)]);
    assert_eq!((audited.superevents, counts(&audited)), (8, metrics), "{audited:?}");
    let started =
        [format!("audit-20090120-{}-EarlyWarning", ids[2]), format!("audit-20090120-{}-initial_json_0", ids[3])];
    assert_eq!(audited.started, started);
    let kept = files(year.folder.path());
    let found: serde_json::Value = serde_json::from_slice(&kept["audit/2009-01-20T00:30:00Z.json"]).expect("JSON");
    assert_eq!(found["findings"].as_array().expect("findings").len(), 4, "{found}");
    assert!(kept.contains_key(&format!("inbox/gracedb/{}-initial.json,0.json", ids[3])));

    // A repeated audit starts no further flow.
    assert_eq!(handle(&function, event).await.expect("an audit"), audited);
    let executions = sfn.list_executions().state_machine_arn(&arn).send().await.expect("a list").executions;
    let mut names: Vec<String> = executions.into_iter().map(|execution| execution.name).collect();
    names.sort_unstable();
    assert_eq!(names, started);
    assert_eq!(files(year.folder.path()), kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_errors_exit_with_2() {
    let year = Year::start(SMALL_MAP).await;
    for (arguments, expected) in [
        (&["--since", "yesterday"][..], "yesterday"),
        (&["--until", "2008-01-01"], "--since before --until"),
        (&["--id", "MS090101a"], "a real event"),
        (&["--id", "GW170817"], "superevent id"),
    ] {
        let called = audit(&year, &[], arguments).await;
        assert!(called.code == Some(2) && called.stderr.contains(expected), "{arguments:?}: {}", called.stderr);
    }
    let absent = audit(&year, &[], &["--id", "S090103zz", "--json"]).await;
    assert_eq!((absent.code, counts(&absent).len()), (Some(0), 0), "nobody has it: {}", absent.stdout);
    let day: Date = tests::year::first_day();
    assert_eq!(tests::year::id_of(day, 0), "S090102aa");
    assert_eq!(FindingKind::ALL.iter().filter(|kind| kind.advice().is_empty()).count(), 0);
}
