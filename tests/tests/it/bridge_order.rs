//! Order and concurrency of the bridge, between Apache Kafka and moto's Step Functions with slow executions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use shared::key::Key;
use shared::message::{Failed, Received};
use shared::notice::NoticeKind;
use tests::backend::Backend;
use tests::kafka::{Gcn, IGWN};
use tests::listener::{eventually, reaches};

use crate::bridge::{Aws, Listener, listen, start_program};

/// A flow that takes so many seconds.
fn lasting(seconds: u32) -> Value {
    json!({"S": {"Type": "Wait", "Seconds": seconds, "End": true}})
}

fn notice(superevent: &str, n: usize) -> Option<Vec<u8>> {
    Some(format!(r#"{{"superevent_id": "{superevent}", "n": {n}}}"#).into_bytes())
}

/// The bridge in this process.
fn bridge(gcn: &Gcn, deps: bridge::Deps) -> Listener {
    let settings = gcn.settings();
    let get = |name: &str| settings.iter().find(|(set, _)| *set == name).map(|(_, value)| value.clone());
    listen(&config::Kafka::read(&get).expect("settings"), &[&gcn.topic(IGWN)], Arc::new(deps))
}

fn execution(aws: &Aws, name: &str) -> String {
    aws.arns.of(NoticeKind::Igwn).replace(":stateMachine:", ":execution:") + ":" + name
}

/// When each execution of the ligo flow began and ended [s], with the notice's body, in Kafka's order.
async fn spans(aws: &Aws, store: &store::Store) -> Vec<(Value, f64, f64)> {
    let mut spans = Vec::new();
    for (name, input) in aws.executions(NoticeKind::Igwn).await {
        let described = aws.sfn.describe_execution().execution_arn(execution(aws, &name)).send().await;
        let described = described.expect("an execution");
        let body = store.read_body(&input.body).await.expect("a notice");
        let end = described.stop_date().map_or(f64::MAX, |end| end.as_secs_f64());
        spans.push((serde_json::from_slice(&body).expect("JSON"), described.start_date().as_secs_f64(), end));
    }
    spans
}

/// The most executions that ran at once.
fn most_at_once(spans: &[(Value, f64, f64)]) -> usize {
    let running = |at: f64| spans.iter().filter(|(_, start, end)| (*start..*end).contains(&at)).count();
    spans.iter().map(|(_, start, _)| running(*start)).max().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_a_superevents_flows_in_sequence_and_eight_superevents_concurrently() {
    let (gcn, aws) = (Gcn::shared().await, Aws::with_states("burst", &lasting(1)).await);
    let deps = aws.deps(&aws.moto.create("burst").await, &aws.moto.url()).await;
    let store = deps.store.clone();
    let superevent = |n: usize| format!("MS1811{:02}a", n % 40);
    gcn.send(IGWN, (0..300).map(|n| notice(&superevent(n), n))).await;
    let listener = bridge(&gcn, deps);
    // The offset is stored after the flows have ended, so the lag covers the whole processing.
    reaches("every flow's end", 300, async || gcn.committed(IGWN).unwrap_or_default() as usize).await;
    listener.stop().await;
    let spans = spans(&aws, &store).await;
    assert_eq!(spans.len(), 300);
    assert_eq!(most_at_once(&spans), 8);
    let mut ended: BTreeMap<&str, f64> = BTreeMap::new();
    for (notice, start, end) in &spans {
        let id = notice["superevent_id"].as_str().expect("an id");
        let before = ended.insert(id, *end).unwrap_or_default();
        assert!(before <= *start, "{notice} began at {start}, the one before ended at {before}");
    }
    assert_eq!(ended.len(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_bridge_finds_its_flow_again_and_keeps_the_order() {
    let (gcn, aws) = (Gcn::shared().await, Aws::with_states("again", &lasting(6)).await);
    let bucket = aws.moto.create("again").await;
    let store = aws.deps(&bucket, &aws.moto.url()).await.store;
    // An Initial, and its Retraction.
    gcn.send(IGWN, [notice("S181101ab", 0), notice("S181101ab", 1)]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let first = start_program(&gcn.settings(), &aws, &bucket, folder.path());
    eventually("the first flow", async || aws.started(NoticeKind::Igwn).await == 1).await;
    first.kill();
    assert_eq!(gcn.committed(IGWN).unwrap_or_default(), 0, "not done while its flow runs");
    let second = start_program(&gcn.settings(), &aws, &bucket, folder.path());
    eventually("both flows' ends", async || gcn.committed(IGWN) == Some(2)).await;
    second.signal("-TERM");
    let spans = spans(&aws, &store).await;
    let [(initial, _, ended), (retraction, started, _)] = &spans[..] else { panic!("two executions: {spans:?}") };
    assert_eq!((&initial["n"], &retraction["n"]), (&json!(0), &json!(1)));
    assert!(ended <= started, "the second began at {started}, the first ended at {ended}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_aborted_and_timed_out_flows_with_the_reason() {
    for status in ["ABORTED", "TIMED_OUT"] {
        let mut definition = json!({"StartAt": "S", "States": lasting(600)});
        if status == "TIMED_OUT" {
            definition["TimeoutSeconds"] = json!(1);
        }
        let (gcn, aws) = (Gcn::shared().await, Aws::with_definition("aborted", &definition).await);
        let deps = aws.deps(&aws.moto.create("aborted").await, &aws.moto.url()).await;
        let store = deps.store.clone();
        gcn.send(IGWN, [notice("S181101ab", 0)]).await;
        let listener = bridge(&gcn, deps);
        let name = gcn.flow_name(IGWN, 0);
        eventually("the flow", async || aws.started(NoticeKind::Igwn).await == 1).await;
        if status == "ABORTED" {
            let stopped = aws.sfn.stop_execution().execution_arn(execution(&aws, &name)).send().await;
            stopped.expect("aborted");
        }
        eventually("the end", async || gcn.committed(IGWN) == Some(1)).await;
        listener.stop().await;
        let kept = store.read(&Key::new(format!("failed/{name}.json")).expect("a name")).await.expect("kept");
        let failed: Failed = serde_json::from_slice(&kept).expect("a message");
        assert!(failed.step == "bridge" && failed.reason.contains(status), "{failed:?}");
        let input: Received = serde_json::from_value(failed.input).expect("a message");
        assert_eq!(store.read_body(&input.body).await.expect("the notice"), notice("S181101ab", 0).unwrap_or_default());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn continues_after_a_flow_that_runs_too_long() {
    let (gcn, aws) = (Gcn::shared().await, Aws::with_states("long", &lasting(600)).await);
    let bucket = aws.moto.create("long").await;
    let deps = aws.deps_waiting(&bucket, &aws.moto.url(), Duration::from_secs(3)).await;
    let store = deps.store.clone();
    gcn.send(IGWN, [notice("S181101ab", 0), notice("S181101ab", 1)]).await;
    let listener = bridge(&gcn, deps);
    eventually("both notices", async || gcn.committed(IGWN) == Some(2)).await;
    listener.stop().await;
    let spans = spans(&aws, &store).await;
    let [(_, first, f64::MAX), (_, second, f64::MAX)] = spans[..] else { panic!("two running flows: {spans:?}") };
    // The bridge counts from the whole second in which a flow began.
    assert!(first.floor() + 3.0 <= second, "the second flow began at {second}, the first at {first}");
    // What has a flow of its own is no failure.
    assert_eq!(store.keys("failed/").await.expect("a list"), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_a_hash_to_a_flow_name_that_another_notice_has() {
    let (gcn, aws) = (Gcn::shared().await, Aws::with_states("taken", &lasting(0)).await);
    let deps = aws.deps(&aws.moto.create("taken").await, &aws.moto.url()).await;
    // A notice of another cluster or of a recreated topic: Step Functions keeps names for 90 days.
    let name = gcn.flow_name(IGWN, 0);
    let other = json!({"topic": gcn.topic(IGWN), "partition": 0, "offset": 0, "body": {"inline": "{}"}});
    let start =
        aws.sfn.start_execution().state_machine_arn(aws.arns.of(NoticeKind::Igwn)).name(&name).input(other.to_string());
    start.send().await.expect("started");
    gcn.send(IGWN, [notice("S181101ab", 0)]).await;
    for group in 0..2 {
        // The second delivery finds the flow under that name again.
        let listener = {
            let settings = gcn.settings();
            let get = |set: &str| match set {
                "KAFKA_GROUP_ID" => Some(format!("{}{group}", gcn.group())),
                name => settings.iter().find(|(set, _)| *set == name).map(|(_, value)| value.clone()),
            };
            let kafka = config::Kafka::read(&get).expect("settings");
            listen(&kafka, &[&gcn.topic(IGWN)], Arc::new(deps.clone()))
        };
        let committed = async || gcn.kafka().committed(&format!("{}{group}", gcn.group()), &gcn.topic(IGWN)) == Some(1);
        eventually("the end", committed).await;
        listener.stop().await;
        let names: Vec<String> = aws.executions(NoticeKind::Igwn).await.into_iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), 2, "{names:?}");
        assert!(names.contains(&name), "{names:?}");
        let hashed = names.iter().find(|one| **one != name).expect("another");
        assert!(hashed.starts_with(&format!("{name}-")) && hashed.len() == name.len() + 9, "{hashed}");
    }
}
