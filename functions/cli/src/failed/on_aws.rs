//! Notices that failed, taken through the flows of a stack again.

use std::collections::BTreeSet;
use std::io::{self, Write};

use aws_sdk_sfn::types::ExecutionStatus;
use jiff::Timestamp;
use serde_json::json;
use shared::key::Key;
use shared::message::{Received, execution_name};
use shared::notice::NoticeKind;
use shared::{Context, Error, Result};
use store::Store;

use super::entry::{FOLDER, entries, read};
use super::{Choice, by_notice, chosen};
use crate::Failure;
use crate::aws::{Stack, failure};

const RETRY: &str = "-retry-";

/// Starts the flows of those that were chosen, one after another in Kafka's order, and waits for their ends; whether all
/// succeeded.
pub(super) async fn retry(
    stack: &str,
    choice: &Choice,
    dry_run: bool,
    json: bool,
) -> std::result::Result<bool, Failure> {
    config::Log::from_env().map_err(Failure::usage)?.start("warn");
    let stack = Stack::open(stack).await.map_err(failure)?;
    let bucket = stack.bucket().await.map_err(failure)?;
    let (found, problems) = chosen(&bucket, choice).await.map_err(Failure::work)?;
    let mut is_done = problems.is_empty();
    // Superevents of which a flow has not ended: what comes later waits for a person.
    let mut held = BTreeSet::new();
    for (notice, entry) in by_notice(found) {
        if entry.id.as_ref().is_some_and(|id| held.contains(id)) {
            say(json, &notice, "not tried", "an earlier flow of its superevent has not ended")?;
            is_done = false;
            continue;
        }
        let begin = async {
            let failed = read(&bucket, &entry.object).await?;
            let failed = failed.ok_or_else(|| Error::permanent(format!("object `{}`: it is gone", entry.object)))?;
            let what = format!("object `{}`, input", entry.object);
            let received: Received = serde_json::from_value(failed.input).permanent(what)?;
            Ok::<_, Error>((NoticeKind::of_topic(&received.topic)?, received))
        };
        let (kind, received) = match begin.await {
            Ok(begun) => begun,
            Err(error) => {
                say(json, &notice, "failed", &error.to_string())?;
                is_done = false;
                continue;
            }
        };
        let execution = name_of_retry(&notice, Timestamp::now());
        if dry_run {
            say(json, &notice, "would be started", &execution)?;
            continue;
        }
        let arn = stack.start(kind, &execution, &received).await.map_err(failure)?;
        let ended = match stack.ended(&arn).await {
            Ok(ended) => ended,
            Err(error) => {
                say(json, &notice, "not ended", &error.to_string())?;
                held.extend(entry.id);
                is_done = false;
                continue;
            }
        };
        say(json, &notice, ended.status.as_str(), &execution)?;
        let kept = bucket.keys(&format!("{FOLDER}{execution}")).await.map_err(Failure::work)?;
        // A flow that was aborted or timed out has kept nothing of it.
        if ended.status == ExecutionStatus::Succeeded || !kept.is_empty() {
            for object in remove(&bucket, &notice).await.map_err(Failure::work)? {
                say(json, object.as_str(), "removed", "")?;
            }
        }
        is_done &= ended.status == ExecutionStatus::Succeeded && kept.is_empty();
        for object in kept {
            say(json, object.as_str(), "kept", "")?;
        }
    }
    problems.iter().for_each(|problem| eprintln!("error: {problem}"));
    Ok(is_done)
}

/// Removes what is kept of a notice; what it was.
async fn remove(bucket: &Store, notice: &str) -> Result<Vec<Key>> {
    let mut removed = Vec::new();
    for entry in entries(bucket, &format!("{FOLDER}{notice}")).await? {
        if entry.notice() == notice {
            bucket.delete(&entry.object).await?;
            removed.push(entry.object);
        }
    }
    Ok(removed)
}

/// A name that no execution has had: Step Functions keeps names for 90 days. A retry of a retry is one of the notice.
fn name_of_retry(notice: &str, now: Timestamp) -> String {
    let first = match notice.rsplit_once(RETRY) {
        Some((first, count)) if count.bytes().all(|byte| byte.is_ascii_digit()) => first,
        _ => notice,
    };
    execution_name(first, &format!("{RETRY}{}", now.as_millisecond()))
}

fn say(json: bool, what: &str, status: &str, text: &str) -> std::result::Result<(), Failure> {
    let line = match (json, text) {
        (true, "") => json!({"object": what, "status": status}).to_string(),
        (true, text) => json!({"notice": what, "status": status, "text": text}).to_string(),
        (false, "") => format!("  {what} {status}"),
        (false, text) => format!("{what}: {status} ({text})"),
    };
    writeln!(io::stdout(), "{line}").map_err(Failure::work)
}

#[cfg(test)]
mod tests {
    use shared::message::MAX_EXECUTION_NAME;

    use super::*;

    #[test]
    fn names_of_retries_are_valid_and_do_not_grow() {
        let now = Timestamp::from_millisecond(1_800_000_000_000).expect("a time");
        let name = name_of_retry("igwn_gwalert-0-5", now);
        assert_eq!(name, "igwn_gwalert-0-5-retry-1800000000000");
        let later = Timestamp::from_millisecond(1_800_000_000_001).expect("a time");
        assert_eq!(name_of_retry(&name, later), "igwn_gwalert-0-5-retry-1800000000001");
        let long = name_of_retry(&format!("by hand/{}", "ü".repeat(100)), now);
        assert!(
            long.len() == MAX_EXECUTION_NAME && long.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)),
            "{long}"
        );
    }
}
