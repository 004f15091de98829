//! `gwtm check --aws`: takes a simulated mock alert through a deployed stack.
//!
//! Nothing is posted: the GWTM removes mock events whose date is long ago, so `post-api` never posts them
//! (`post-api/src/alert.rs`). Nobody is notified either, because rules leave old alerts out (`max_age_hours`).

use std::io::{self, Write};
use std::time::Instant;

use annotate::annotations::{Annotations, Link};
use aws_sdk_sfn::operation::describe_execution::DescribeExecutionOutput;
use aws_sdk_sfn::types::ExecutionStatus;
use bytes::Bytes;
use clap::{Args, Command, FromArgMatches};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use shared::key::{AlertKind, AlertName, AlertType, Key, Object, SupereventId, prefix_of};
use shared::message::{Body, PostStatus, Posted, Received};
use shared::notice::NoticeKind;
use shared::{Context, Error, Result};
use store::Store;

use super::{Stack, Stage, failure};
use crate::Failure;
use crate::check::{Look, Verdict, failed, print_looks, seen};
use crate::simulate::Simulate;

/// The day of the mock events, before Fermi's launch, so that none of its files are fetched.
const DAY: (&str, &str) = ("MS070101", "2007-01-01T00:00:00Z");
/// The topic in the name of their notices; a rule of the bucket removes what begins with `inbox/mock.`.
const TOPIC: &str = "mock.gwtm-check";

/// A mock alert of its own for each check.
struct Mock {
    name: AlertName,
    notice: Bytes,
    inbox: Key,
}

impl Mock {
    fn new(now: Timestamp) -> Result<Self> {
        let id = format!("{}{}", DAY.0, letters(now.as_millisecond().unsigned_abs()));
        let words = ["simulate", "--superevent-id", &id, "--time", DAY.1];
        let matches = Simulate::augment_args(Command::new("simulate")).try_get_matches_from(words);
        let simulate = matches.and_then(|matches| Simulate::from_arg_matches(&matches)).permanent("simulated alert")?;
        let alert_type = AlertType { kind: AlertKind::Preliminary, external: false };
        let offset = now.as_millisecond();
        Ok(Mock {
            name: AlertName { superevent_id: id.parse()?, alert_type, n: 0 },
            notice: simulate.bytes()?.into(),
            inbox: Object::Inbox { topic: TOPIC, partition: 0, offset }.key()?,
        })
    }

    fn id(&self) -> &SupereventId {
        &self.name.superevent_id
    }

    fn received(&self) -> Received {
        let (topic, body) = (NoticeKind::Igwn.topic().to_owned(), Body::Key(self.inbox.clone()));
        Received { topic, partition: None, offset: None, kafka_time: None, body }
    }

    /// What the names of its objects begin with.
    fn prefixes(&self) -> [String; 2] {
        [prefix_of(self.id()), format!("work/{}-", self.id())]
    }
}

/// A number in lower-case letters, as superevents of a day are counted.
fn letters(mut number: u64) -> String {
    let mut letters = Vec::new();
    while number > 0 || letters.is_empty() {
        letters.push(char::from(b'a' + (number % 26) as u8));
        number /= 26;
    }
    letters.iter().rev().collect()
}

/// Takes a mock alert through a stack; whether all is well.
///
/// # Errors
/// Usage, when there is no such stack or the log-in may not use it; work, when AWS does not answer.
pub(crate) async fn check(name: &str, json: bool) -> std::result::Result<bool, Failure> {
    config::Log::from_env().map_err(Failure::usage)?.start("error");
    let stack = Stack::open(name).await.map_err(failure)?;
    let (store, bucket) = (stack.store().await.map_err(failure)?, stack.bucket().await.map_err(failure)?);
    let mock = Mock::new(Timestamp::now()).map_err(Failure::work)?;
    let execution = format!("check-{}", mock.id());
    let clock = Instant::now();
    store.put(&mock.inbox, mock.notice.clone()).await.map_err(failure)?;
    let inbox_ms = clock.elapsed().as_secs_f64() * 1e3;
    let arn = match stack.start(NoticeKind::Igwn, &execution, &mock.received()).await {
        Ok(arn) => arn,
        Err(error) => {
            // Best effort: a rule of the bucket removes it too.
            let _ = store.delete(&mock.inbox).await;
            return Err(failure(error));
        }
    };
    let start_ms = clock.elapsed().as_secs_f64() * 1e3 - inbox_ms;
    let mut looks = vec![look_at_stack(&stack)];
    let (mut stages, mut flow_ms) = (Vec::new(), None);
    match stack.ended(&arn).await {
        Ok(ended) => {
            flow_ms = ended.stop_date.map(|stop| (stop.as_secs_f64() - ended.start_date.as_secs_f64()) * 1e3);
            looks.push(look_at_execution(&arn, &ended));
            looks.push(look_at_posts(ended.output.as_deref().unwrap_or_default()));
            looks.push(verdict("objects", look_at_objects(&store, &mock).await, "see the function's lines in the log"));
            looks.push(verdict("failures", look_at_failures(&bucket, &execution).await, "see `gwtm failed show`"));
            match stack.stages(&arn).await {
                Ok(found) => stages = found,
                Err(error) => looks.push(failed("stages", &error, "states:GetExecutionHistory is needed")),
            }
        }
        Err(error) => looks.push(failed("execution", &error, "see it in the console of Step Functions")),
    }
    let is_well = looks.iter().all(|look| look.verdict != Verdict::Failed);
    looks.push(clean_up(&store, &mock, is_well).await);
    let mut out = io::stdout().lock();
    let printed = if json {
        let times = json!({"inbox_ms": inbox_ms, "start_ms": start_ms, "flow_ms": flow_ms});
        writeln!(
            out,
            "{}",
            json!({"stack": stack.name, "execution": arn, "looks": looks, "stages": stages, "times": times})
        )
    } else {
        print_looks(&mut out, &looks).and_then(|()| print_stages(&mut out, &stages, [inbox_ms, start_ms], flow_ms))
    };
    printed.map_err(Failure::work)?;
    Ok(is_well)
}

fn verdict(what: &'static str, found: Result<String>, next: &str) -> Look {
    found.map_or_else(|error| failed(what, &error, next), |text| seen(what, Verdict::Ok, text))
}

fn look_at_stack(stack: &Stack) -> Look {
    let is_complete = stack.status.ends_with("_COMPLETE") && !stack.status.contains("ROLLBACK");
    let verdict = if is_complete { Verdict::Ok } else { Verdict::Warning };
    seen("stack", verdict, format!("`{}` in {}: {}", stack.name, stack.region, stack.status))
}

fn look_at_execution(arn: &str, ended: &DescribeExecutionOutput) -> Look {
    if ended.status == ExecutionStatus::Succeeded {
        return seen("execution", Verdict::Ok, format!("`{arn}`: SUCCEEDED"));
    }
    let (error, cause) = (ended.error.as_deref().unwrap_or("?"), ended.cause.as_deref().unwrap_or("no cause"));
    seen("execution", Verdict::Failed, format!("`{arn}`: {}, {error}: {cause}", ended.status.as_str()))
}

/// Whether the flow's output says that nothing was posted.
fn look_at_posts(output: &str) -> Look {
    #[derive(Deserialize)]
    struct Output {
        alerts: Vec<Settled>,
    }
    #[derive(Deserialize)]
    struct Settled {
        posted: Option<Posted>,
    }
    let Ok(Output { alerts }) = serde_json::from_str(output) else {
        return seen("posts", Verdict::Skipped, "the flow has no output");
    };
    let posts = alerts.into_iter().filter_map(|alert| alert.posted).flat_map(|posted| posted.posts);
    let mut reason = None;
    for post in posts {
        match post.status {
            PostStatus::NotPosted { reason: why } => _ = reason.get_or_insert(why),
            status => {
                let text = format!("expected nothing posted, found {:?}: {status:?}", post.request);
                return seen("posts", Verdict::Failed, text);
            }
        }
    }
    match reason {
        Some(reason) => seen("posts", Verdict::Ok, format!("nothing posted: {reason}")),
        None => seen("posts", Verdict::Failed, "expected an answer of post-api, found none"),
    }
}

/// Compares the mock's objects with what its annotations say of them.
async fn look_at_objects(store: &Store, mock: &Mock) -> Result<String> {
    let name = &mock.name;
    let mut found = Vec::new();
    for prefix in mock.prefixes() {
        found.extend(store.keys(&prefix).await?);
    }
    for object in [
        Object::Notice(name),
        Object::MultiOrderMap(name),
        Object::Contours(name),
        Object::CredibleRegion(name, 50),
        Object::CredibleRegion(name, 90),
        Object::PlotSvg(name),
        Object::PlotPng(name),
        Object::Page(name),
        Object::Annotations(name),
        Object::Latest(mock.id()),
        Object::PostAlert(name),
    ] {
        let key = object.key()?;
        if !found.contains(&key) {
            return Err(Error::permanent(format!("object `{key}`: expected it in the store, found none")));
        }
    }
    let key = Object::Annotations(name).key()?;
    let annotations = serde_json::from_slice(&store.read(&key).await?).permanent(format_args!("object `{key}`"))?;
    let Annotations { objects, missing, .. } = annotations;
    for link in &objects {
        let bytes = store.read(&link.key).await?;
        if Link::of(&link.kind, &link.key, &bytes) != *link {
            let (key, size, expected) = (&link.key, bytes.len(), link.size_bytes);
            let message =
                format!("object `{key}`: expected the {expected} bytes of its annotations, found {size} others");
            return Err(Error::permanent(message));
        }
    }
    let mut text = format!("{} written, {} compared by SHA-256", found.len(), objects.len());
    let missing: Vec<String> =
        missing.iter().map(|missing| format!("{} ({})", missing.product.label(), missing.reason)).collect();
    if !missing.is_empty() {
        text += &format!("; not made: {}", missing.join(", "));
    }
    Ok(text)
}

/// Whether the flow kept a failure, as it does of a step that it goes on without.
async fn look_at_failures(bucket: &Store, execution: &str) -> Result<String> {
    let kept = bucket.keys(&format!("failed/{execution}")).await?;
    match kept.as_slice() {
        [] => Ok("none under failed/".to_owned()),
        [first, ..] => Err(Error::permanent(format!("expected none under failed/, found {}: `{first}`", kept.len()))),
    }
}

/// Removes the mock's objects, unless a person is to look at them.
async fn clean_up(store: &Store, mock: &Mock, is_well: bool) -> Look {
    let [products, work] = mock.prefixes();
    let left = format!("`{}`, `{products}…` and `{work}…`; the stack removes them after MockDays", mock.inbox);
    if !is_well {
        return seen("clean-up", Verdict::Skipped, format!("kept for a look: {left}"));
    }
    let removed = async {
        let mut keys = vec![mock.inbox.clone()];
        for prefix in [&products, &work] {
            keys.extend(store.keys(prefix).await?);
        }
        for key in &keys {
            store.delete(key).await?;
        }
        Ok::<_, Error>(keys.len())
    };
    match removed.await {
        Ok(count) => seen("clean-up", Verdict::Ok, format!("{count} objects removed")),
        Err(error) => seen("clean-up", Verdict::Warning, format!("{error}; left: {left}")),
    }
}

fn print_stages(
    out: &mut impl Write,
    stages: &[Stage],
    [inbox_ms, start_ms]: [f64; 2],
    flow_ms: Option<f64>,
) -> io::Result<()> {
    let ms = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.0}"));
    writeln!(out, "\n{:<20} {:>10} {:>10} {:>6}", "Stage", "begun [ms]", "took [ms]", "calls")?;
    for (stage, took) in [("inbox", inbox_ms), ("start", start_ms)] {
        writeln!(out, "{stage:<20} {:>10} {took:>10.0} {:>6}", "-", "-")?;
    }
    for Stage { stage, begun_ms, took_ms, calls } in stages {
        writeln!(out, "{stage:<20} {begun_ms:>10.0} {:>10} {calls:>6}", ms(*took_ms))?;
    }
    writeln!(out, "{:<20} {:>10} {:>10} {:>6}", "whole flow", 0, ms(flow_ms), "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mock_events_have_names_of_their_own() {
        assert_eq!([0, 25, 26, 26 * 26].map(letters), ["a", "z", "ba", "baa"]);
        let mock =
            |millisecond: i64| Mock::new(Timestamp::from_millisecond(millisecond).expect("a time")).expect("a mock");
        let (first, second) = (mock(1_800_000_000_000), mock(1_800_000_000_001));
        assert!(first.id().is_test() && first.id() != second.id() && first.notice != second.notice);
        // The bucket's rules.
        assert!(first.inbox.as_str().starts_with("inbox/mock."));
        assert_eq!(
            first.prefixes().map(|prefix| prefix.starts_with("test/MS") || prefix.starts_with("work/MS")),
            [true; 2]
        );
    }

    #[test]
    fn a_post_is_a_failure() {
        let output = |status: &str| {
            format!(
                r#"{{"failed": false, "alerts": [{{"failed": false, "posted": {{"posts": [{{"request": "post_alert", {status}}}]}}}}]}}"#
            )
        };
        for (output, verdict) in [
            (output(r#""status": "not_posted", "reason": "API_BASE is not set""#), Verdict::Ok),
            (output(r#""status": "posted", "id": 1"#), Verdict::Failed),
            (r#"{"alerts": [{"posted": null}]}"#.to_owned(), Verdict::Failed),
            (String::new(), Verdict::Skipped),
        ] {
            assert_eq!(look_at_posts(&output).verdict, verdict, "{output}");
        }
    }
}
