//! The audit beside the stream: what GraceDB published in the last day, and once a day in the last month.

use std::sync::Arc;
use std::time::{Duration, Instant};

use audit::{Audit, ComparedSuperevent, Deps, FindingKind, IN_FLIGHT, Question, Repair};
use jiff::{SignedDuration, Timestamp};
use kafka::health::Health;
use shared::Result;
use shared::key::SupereventId;

use super::Notices;

const DAY: SignedDuration = SignedDuration::from_hours(24);
const MONTH: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How often the last month is audited.
const MONTH_EVERY: Duration = Duration::from_secs(24 * 3600);

/// Audits for ever, each time after `interval`; with `repair`, what is missing goes through its flow.
pub(super) async fn run(deps: Deps, notices: Arc<Notices>, health: Arc<Health>, interval: Duration, repair: bool) {
    let mut month = Instant::now();
    loop {
        tokio::time::sleep(interval).await;
        period(&deps, &notices, &health, "day", DAY, repair).await;
        if month.elapsed() >= MONTH_EVERY {
            month = Instant::now();
            period(&deps, &notices, &health, "month", MONTH, repair).await;
        }
    }
}

/// Audits the period before now, says what is wrong, and repairs what it may.
async fn period(
    deps: &Deps,
    notices: &Notices,
    health: &Health,
    name: &'static str,
    length: SignedDuration,
    repair: bool,
) {
    let until = Timestamp::now() - IN_FLIGHT;
    let question = Question { since: until - length, until, ids: Vec::new() };
    let mut audit = Audit::begin(deps, &question).await;
    let mut findings = audit.findings().to_vec();
    for id in audit.superevents() {
        let Some(superevent) = Box::pin(audit.compare(&id)).await else { continue };
        if repair && notices.store().writes() {
            repair_all(notices, &audit, &superevent).await;
        }
        findings.extend(superevent.findings);
    }
    for finding in &findings {
        let about = finding.superevent_id.as_ref().map(SupereventId::as_str);
        tracing::warn!(superevent_id = about, alert_name = finding.alert, period = name, "audit: {finding}");
    }
    let unasked = findings.iter().filter(|finding| finding.kind == FindingKind::Unasked).count();
    health.audited(name, findings.len() - unasked, unasked);
    tracing::info!(period = name, findings = findings.len() - unasked, unasked, "audited");
}

/// Takes a superevent's missing alerts through their flow, in order of creation, up to the first that fails.
async fn repair_all(notices: &Notices, audit: &Audit<'_>, superevent: &ComparedSuperevent) {
    for Repair { from, .. } in &superevent.repairs {
        let repaired: Result<()> = async {
            let bytes = audit.notice(&superevent.id, from).await?;
            notices.repair(&superevent.id, bytes.into()).await
        }
        .await;
        match repaired {
            Ok(()) => tracing::info!(superevent_id = %superevent.id, from = ?from, "repaired"),
            Err(error) => {
                tracing::warn!(superevent_id = %superevent.id, from = ?from, "not repaired: {error}");
                return;
            }
        }
    }
}
