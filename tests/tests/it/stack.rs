//! The whole stack on one machine, by `infra/local`: moto deploys the template and interprets the flows, cargo-lambda's
//! emulator runs the functions' programs, and the bridge connects a Kafka broker with the flows.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::{Value, json};
use tests::gwtm_server::{ADMIN, Fault, GwtmServer};
use tests::listener::eventually;
use tests::program::{Gwtm, binary, files, sample, workspace};

/// The output of `infra/local --json`.
#[derive(Debug, Deserialize)]
struct Ran {
    /// The stack's status.
    stack: String,
    /// Resources of the template that the emulator did not create.
    differences: BTreeMap<String, (String, Option<String>)>,
    executions: Vec<Execution>,
    /// Every call of a function, with the type of its error.
    calls: Vec<(String, Option<String>)>,
    bridge_exits: Vec<i32>,
    /// The results of its health check while it ran, and after it had exited.
    bridge_healthy: Vec<bool>,
    /// The final calls of `gwtm`.
    gwtm: Vec<Commanded>,
    /// The output of each program.
    logs: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Execution {
    name: String,
    status: String,
    input: String,
}

/// A call of `gwtm`.
#[derive(Debug, Deserialize)]
struct Commanded {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Commanded {
    /// The lines that it printed.
    fn json(&self) -> Vec<Value> {
        let line = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        self.stdout.lines().map(line).collect()
    }
}

/// The options for the final calls of `gwtm`.
fn then(commands: &[&str]) -> Vec<String> {
    commands.iter().flat_map(|command| ["--gwtm".to_owned(), (*command).to_owned()]).collect()
}

impl Ran {
    /// Every execution's status, by name.
    fn statuses(&self) -> Vec<(&str, &str)> {
        let mut all: Vec<_> = self.executions.iter().map(|one| (one.name.as_str(), one.status.as_str())).collect();
        all.sort_unstable();
        all
    }

    fn answers(&self, function: &str) -> Vec<Option<&str>> {
        let its = |(name, error): &(String, Option<String>)| (name == function).then(|| error.clone());
        let found: Vec<_> = self.calls.iter().filter_map(its).collect();
        found.into_iter().map(|error| error.map(|error| &*error.leak())).collect()
    }
}

/// Takes notices through the stack into a folder, with the samples' galaxies and orbit.
async fn local(out: &Path, arguments: &[String]) -> Ran {
    let root = workspace();
    let (catalogue, events) = (root.join("events/catalog.csv"), root.join("events").display().to_string());
    let mut command = Command::new(root.join("infra/local"));
    command
        .args(["--json", "--hurry", "--out"])
        .arg(out)
        .arg("--programs")
        .arg(binary("gwtm").parent().expect("a folder"))
        .args(["--object", &format!("galaxy_catalog/catalog.csv={}", catalogue.display())])
        .args(["--parameter", "GalaxyCatalog=galaxy_catalog/catalog.csv"])
        .args(["--set", &format!("FERMI_TLE_FILE={events}/fermi.tle"), "--set", &format!("FERMI_FT2_DIR={events}")])
        .args(["--set", "GRACEDB_URL=http://127.0.0.1:9", "--set", "SWIFT_POINTING_URL=none"])
        .args(arguments)
        .stdin(Stdio::null());
    let ended = tokio::task::spawn_blocking(move || command.output().expect("infra/local runs")).await.expect("ended");
    let (said, error) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{error}");
    serde_json::from_str(&said).unwrap_or_else(|wrong| panic!("{wrong}: {said}{error}"))
}

/// The options by which alerts are posted to a stand-in, with its token in a secret.
fn posting_to(server: &GwtmServer) -> Vec<String> {
    let secret = json!({"API_TOKEN": ADMIN});
    [
        "--parameter".to_owned(),
        format!("ApiBase={}", server.base("v1")),
        "--secret".to_owned(),
        format!("ApiTokenSecret={secret}"),
    ]
    .into()
}

fn notices(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| sample(name).display().to_string()).collect()
}

/// What moto's CloudFormation does not know; cfn-lint reads these.
const UNKNOWN_TO_MOTO: [&str; 4] =
    ["AWS::CloudWatch::Alarm", "AWS::S3::BucketPolicy", "AWS::SNS::TopicPolicy", "AWS::Scheduler::Schedule"];

#[tokio::test(flavor = "multi_thread")]
async fn deployed_stack_produces_the_same_as_one_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let (out, one) = (folder.path().join("out"), folder.path().join("one"));
    let server = GwtmServer::start().await;
    let sent = notices(&[
        "S090101a-4-initial.json",
        "S090101a-5-update-with-grb.json",
        "S090102b-2-retraction.json",
        "S090101a-6-icecube-nested.json",
    ]);
    // A setting that the template does not name.
    let settings = vec!["--parameter".to_owned(), r#"Settings={"FLAT_MAX_ORDER": 4}"#.to_owned()];
    let gate = then(&["check --aws gwtm --json", "check --aws gwtm", "check --aws absent"]);
    let twice = vec!["--twice".to_owned()];
    let ran = local(&out, &[posting_to(&server), settings, twice, gate, sent.clone()].concat()).await;

    // Every resource of the template was created, except those that the emulator skips.
    assert_eq!(ran.stack, "CREATE_COMPLETE");
    for (name, (wanted, made)) in &ran.differences {
        assert!(made.is_none() && UNKNOWN_TO_MOTO.contains(&wanted.as_str()), "{name}: {wanted}, made as {made:?}");
    }
    // One flow per notice, although the bridge received everything twice; it exited by itself both times.
    let icecube = "gcn_notices_icecube_lvk_nu_track_search-0-0";
    let expected =
        [icecube, "igwn_gwalert-0-0", "igwn_gwalert-0-1", "igwn_gwalert-0-2"].map(|name| (name, "SUCCEEDED"));
    assert_eq!(ran.statuses(), expected);
    assert_eq!(ran.bridge_exits, [0, 0]);
    assert_eq!(ran.bridge_healthy, [true, false]);
    let first = ran.executions.iter().find(|one| one.name == "igwn_gwalert-0-0").expect("an execution");
    let input: Value = serde_json::from_str(&first.input).expect("a message");
    assert_eq!(input["body"]["key"], "inbox/igwn.gwalert/0/00000000000000000000.json");
    // An update with a coincidence is two rows.
    assert_eq!(server.alerts().len(), 4);
    assert_eq!(server.icecube_notices().len(), 1);

    // The same objects as of one process, except for the notices' origin and durations.
    let called = Gwtm::run(&one, &sent)
        .set("CATALOG_PATH", workspace().join("events/catalog.csv"))
        .set("FERMI_TLE_FILE", workspace().join("events/fermi.tle"))
        .set("FERMI_FT2_DIR", workspace().join("events"))
        .set("SWIFT_POINTING_URL", "none")
        .set("FLAT_MAX_ORDER", "4")
        .call();
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    let products = |folder: &Path| -> BTreeMap<String, Vec<u8>> {
        let of_people = [".html", ".png", ".svg", "-annotations.json"];
        files(folder)
            .into_iter()
            .filter(|(name, _)| name.starts_with("fit/") && !of_people.iter().any(|ending| name.ends_with(ending)))
            .collect()
    };
    let (on_aws, in_process) = (products(&out), products(&one));
    assert_eq!(on_aws.keys().collect::<Vec<_>>(), in_process.keys().collect::<Vec<_>>());
    for (name, bytes) in &in_process {
        assert!(on_aws[name] == *bytes, "{name} differs");
    }
    // A mock is processed alike, but not posted, and leaves no objects.
    let [gate, again, absent] = &ran.gwtm[..] else { panic!("three commands: {:?}", ran.gwtm) };
    assert_eq!((gate.code, again.code, absent.code), (0, 0, 2), "{gate:?} {again:?} {absent:?}");
    let said = gate.json().remove(0);
    let verdict = |what: &str| {
        let look = said["looks"].as_array().and_then(|looks| looks.iter().find(|look| look["what"] == what));
        look.map(|look| format!("{}: {}", look["verdict"], look["text"])).unwrap_or_default()
    };
    assert!(verdict("posts").contains("nothing posted: the GWTM removes test alerts"), "{said}");
    assert!(verdict("objects").starts_with("\"ok\"") && verdict("clean-up").starts_with("\"ok\""), "{said}");
    let mut stages: Vec<(&str, u64)> = Vec::new();
    for stage in said["stages"].as_array().expect("stages") {
        assert!(stage["took_ms"].as_f64().is_some_and(|took| took > 0.0), "{stage}");
        stages.push((stage["stage"].as_str().expect("a name"), stage["calls"].as_u64().expect("a count")));
    }
    stages.sort_unstable();
    let names = ["annotate", "galaxy-list", "ingest-ligo", "notify", "post-api", "skymap-products"];
    assert_eq!(stages, names.map(|name| (name, 1)));
    assert!(again.stdout.contains("whole flow") && absent.stderr.contains("absent"), "{again:?} {absent:?}");
    let left = files(&out).into_keys().find(|name| name.contains("MS070101") || name.contains("gwtm-check"));
    assert_eq!(left, None);
    // The token is read from its secret, and never shown.
    assert!(!ran.logs.values().any(|log| log.contains(ADMIN)));
    assert!(!files(&out).values().any(|bytes| bytes.windows(ADMIN.len()).any(|part| part == ADMIN.as_bytes())));
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_or_dead_letters_failures_and_continues() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let server = GwtmServer::start().await;
    // The superevent's first preliminary is claimed but has no row yet: the second waits for it.
    let first = sample("S090103c-2-icecube-none.json").display().to_string();
    let taken = ["--object".to_owned(), format!("fit/S090103c-Preliminary_alert.json={first}")];
    let row = async {
        eventually("two calls that looked for the row", async || server.requests().len() >= 2).await;
        server.add_alert(json!({"graceid": "S090103c", "role": "observation", "alert_type": "Preliminary"}));
    };
    let garbage = folder.path().join("garbage.json");
    std::fs::write(&garbage, r#"{"superevent_id": "MS260101a"}"#).expect("a notice");
    let mut sent = vec![garbage.display().to_string()];
    sent.extend(notices(&["S090103c-1-preliminary-burst.json"]));
    let hang = vec!["--hang".into(), "galaxy-list".into()];
    // A failure whose cause has been fixed.
    let (mended, search) = (folder.path().join("mended.json"), "inbox/by-hand.json");
    let input = json!({"topic": "gcn.notices.icecube.lvk_nu_track_search", "body": {"key": search}});
    let kept = json!({"step": "bridge", "error": "Permanent", "reason": "a test", "input": input});
    std::fs::write(&mended, kept.to_string()).expect("a file");
    let search = format!("{search}={}", sample("S090101a-6-icecube-nested.json").display());
    let objects = ["--object".into(), search, "--object".into(), format!("failed/mended.json={}", mended.display())];
    let again = then(&[
        "check --aws gwtm --json",
        "failed retry --aws gwtm --all --dry-run",
        "failed retry --aws gwtm --json mended",
        "failed retry --aws gwtm --json igwn_gwalert-0-0",
        "failed retry --aws gwtm --store x --all",
    ]);
    let options = [posting_to(&server), taken.into(), objects.into(), hang, again, sent].concat();
    let (ran, ()) = tokio::join!(local(&out, &options), row);

    assert_eq!(ran.statuses(), [("igwn_gwalert-0-0", "FAILED"), ("igwn_gwalert-0-1", "SUCCEEDED")]);
    // An unreadable notice is a Permanent error: called once, dead-lettered with the reason.
    // Superevents run concurrently.
    let mut ingested = ran.answers("ingest-ligo");
    ingested.sort_unstable();
    assert_eq!(ingested, [None, Some("Permanent")]);
    let failed = |name: &str| -> Value {
        let bytes = std::fs::read(out.join("failed").join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        serde_json::from_slice(&bytes).expect("JSON")
    };
    // One branch does not respond: it times out, and the post goes out without its list.
    assert_eq!(failed("igwn_gwalert-0-1-S090103c-Preliminary1-galaxy-list.json")["error"], "States.Timeout");
    assert_eq!(ran.answers("galaxy-list"), [] as [Option<&str>; 0]);
    assert_eq!(ran.answers("skymap-products"), [None]);
    // Retryable errors are retried until they succeed.
    let posts = ran.answers("post-api");
    let (last, before) = posts.split_last().expect("calls");
    assert!(
        last.is_none() && !before.is_empty() && before.iter().all(|error| *error == Some("Retryable")),
        "{posts:?}"
    );
    assert!(ran.logs["post-api"].contains(r#""retries":1.0"#), "{}", ran.logs["post-api"]);
    assert_eq!(server.alerts().len(), 2);
    assert_eq!(ran.answers("annotate"), [None]);

    // The gate reports what the flow continued without, and keeps its objects for a person.
    let codes: Vec<i32> = ran.gwtm.iter().map(|called| called.code).collect();
    assert_eq!(codes, [1, 0, 0, 1, 2], "{:?}", ran.gwtm);
    let gate = ran.gwtm[0].json().remove(0);
    let failures = gate["looks"].as_array().expect("looks").iter().find(|look| look["what"] == "failures");
    assert_eq!(failures.expect("a look")["verdict"], "failed", "{gate}");
    assert!(files(&out).into_keys().any(|name| name.starts_with("test/MS070101")));
    // Restarted flows replace their earlier dead letters, whether they succeed or fail again.
    assert_eq!(ran.gwtm[1].stdout.matches("would be started").count(), 4, "{:?}", ran.gwtm[1]);
    let statuses = |n: usize| -> Vec<Value> { ran.gwtm[n].json().iter().map(|line| line["status"].clone()).collect() };
    assert_eq!(statuses(2), ["SUCCEEDED", "removed"], "{:?}", ran.gwtm[2]);
    assert_eq!(server.icecube_notices().len(), 1);
    assert_eq!(statuses(3), ["FAILED", "removed", "kept"], "{:?}", ran.gwtm[3]);
    let kept = ran.gwtm[3].json()[2]["object"].as_str().expect("an object").to_owned();
    assert!(kept.starts_with("failed/igwn_gwalert-0-0-retry-"), "{kept}");
    assert_eq!(failed(kept.trim_start_matches("failed/"))["error"], "Permanent");
    assert!(!out.join("failed/igwn_gwalert-0-0.json").exists() && !out.join("failed/mended.json").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn posts_in_kafkas_order_despite_retries_and_a_killed_bridge() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = GwtmServer::start().await;
    server.script(std::iter::repeat_n(Fault::Unavailable, 12));
    let sent = notices(&["S090102b-1-preliminary-across-ra-0.json", "S090102b-2-retraction.json"]);
    let ran = local(&folder.path().join("out"), &[posting_to(&server), vec!["--kill".to_owned()], sent].concat()).await;
    assert_eq!(ran.statuses(), [("igwn_gwalert-0-0", "SUCCEEDED"), ("igwn_gwalert-0-1", "SUCCEEDED")]);
    let types: Vec<Value> = server.alerts().iter().map(|row| row["alert_type"].clone()).collect();
    assert_eq!(types, ["Preliminary", "Retraction"]);
    assert!(ran.answers("post-api").contains(&Some("Retryable")), "{:?}", ran.calls);
    let first = |function: &str| ran.calls.iter().position(|(name, _)| name == function).expect("a call");
    let last = |function: &str| ran.calls.iter().rposition(|(name, _)| name == function).expect("a call");
    assert!(first("notify") < last("ingest-ligo"), "the second flow begins when the first has ended: {:?}", ran.calls);
}
