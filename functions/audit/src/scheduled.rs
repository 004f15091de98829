//! The function on a schedule: a scheduled event → what was found, and with AUDIT_REPAIR the flows that were started.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_config::ConfigLoader;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_lambda_events::event::eventbridge::EventBridgeEvent;
use aws_sdk_sfn::Client;
use aws_sdk_sfn::error::{DisplayErrorContext, ProvideErrorMetadata};
use bytes::Bytes;
use config::Config;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::key::{Key, Object, SupereventId};
use shared::message::{Body, FlowMessage, Received};
use shared::notice::NoticeKind;
use shared::{Context, Error, Result};

use crate::{Audit, ComparedSuperevent, Deps, Finding, FindingKind, IN_FLIGHT, Origin, Question, Repair};

/// The longest name of an execution (Step Functions API reference, `StartExecution`) [characters].
const MAX_NAME: usize = 80;
/// The period of an event that names none.
const USUAL_PERIOD: &str = "1d";
/// The longest period [days].
const MAX_DAYS: i64 = 400;

/// The event that a schedule sends. Its `detail` may hold the `period` before its time, `1d` or `30d`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Scheduled(pub EventBridgeEvent<Value>);

impl FlowMessage for Scheduled {}

impl Scheduled {
    /// When it was due: the same for a repeat.
    ///
    /// # Errors
    /// Permanent, when the event has no time.
    fn time(&self) -> Result<Timestamp> {
        let time = self.0.time.ok_or_else(|| Error::permanent("event: expected a `time`, found none"))?;
        Timestamp::from_second(time.timestamp()).permanent("event, field `time`")
    }

    /// What it asks: the same for a repeat, since the period follows from the event's own time.
    ///
    /// # Errors
    /// Permanent, when its time or period is none.
    pub fn question(&self) -> Result<Question> {
        let text = self.0.detail.get("period").and_then(Value::as_str).unwrap_or(USUAL_PERIOD);
        let wrong = || {
            let shown: String = text.chars().take(60).collect();
            Error::permanent(format!(
                "event, field `detail.period`: expected a length of time such as `1d`, up to {MAX_DAYS} days, found `{}`",
                shown.escape_default()
            ))
        };
        let time = self.time()?;
        let until = time.checked_sub(IN_FLIGHT).map_err(|_| wrong())?;
        let span: Span = text.parse().map_err(|_| wrong())?;
        let since = until.to_zoned(TimeZone::UTC).checked_sub(span.abs()).map_err(|_| wrong())?.timestamp();
        if since >= until || until.duration_since(since).as_hours() > 24 * MAX_DAYS {
            return Err(wrong());
        }
        Ok(Question { since, until, ids: Vec::new() })
    }
}

/// What was found, as it is kept under `audit/`.
#[derive(Debug, Serialize)]
struct AuditReport<'a> {
    since: Timestamp,
    until: Timestamp,
    superevents: usize,
    alerts: usize,
    /// Why the Treasure Map was not asked, when it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    treasure_map_not_asked: Option<&'a str>,
    findings: &'a [Finding],
    started: &'a [String],
}

/// What the function did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Audited {
    /// The beginning of the period.
    pub since: Timestamp,
    /// Its end.
    pub until: Timestamp,
    /// How many superevents were compared.
    pub superevents: usize,
    /// How many alerts.
    pub alerts: usize,
    /// How often each kind was found.
    pub findings: BTreeMap<FindingKind, usize>,
    /// Where the findings are.
    pub key: Key,
    /// The flows that were started.
    pub started: Vec<String>,
}

impl FlowMessage for Audited {
    fn counts(&self) -> Vec<(&'static str, usize)> {
        let unasked = self.findings.get(&FindingKind::Unasked).copied().unwrap_or_default();
        vec![("audit_findings", self.findings.values().sum::<usize>() - unasked), ("audit_unasked", unasked)]
    }
}

/// Starts the flow of an alert.
#[derive(Debug, Clone)]
pub struct Flow {
    client: Client,
    arn: String,
}

impl Flow {
    /// A flow. `sdk` has the credentials and the region, and the endpoint where it is not AWS.
    pub async fn open(arn: String, sdk: ConfigLoader) -> Self {
        let settings = sdk
            .retry_config(RetryConfig::standard().with_max_attempts(3))
            .timeout_config(TimeoutConfig::builder().operation_timeout(Duration::from_secs(30)).build());
        Flow { client: Client::new(&settings.load().await), arn }
    }

    /// Starts the flow under a name; one that is taken has been started before.
    async fn start(&self, name: &str, input: &Received) -> Result<()> {
        let input = serde_json::to_string(input).permanent("JSON")?;
        match self.client.start_execution().state_machine_arn(&self.arn).name(name).input(input).send().await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("ExecutionAlreadyExists") => Ok(()),
            Err(error) => Err(Error::retryable(format!(
                "flow `{}`, execution `{name}`: {}",
                self.arn,
                DisplayErrorContext(&error)
            ))),
        }
    }
}

/// What the function touches.
#[derive(Debug, Clone)]
pub struct ScheduledAudit {
    /// What every audit touches.
    pub deps: Deps,
    /// The flow of what is missing; without it, nothing is repaired.
    pub flow: Option<Flow>,
}

impl ScheduledAudit {
    /// What the settings say.
    ///
    /// # Errors
    /// As [`Deps::from_config`]; Permanent, when AUDIT_REPAIR is true and LIGO_FLOW_ARN names no flow.
    pub async fn from_config(config: &Config) -> Result<Self> {
        let flow = match config.audit.repair {
            true => Some(Flow::open(config::ligo_flow()?, http_client::aws::settings()).await),
            false => None,
        };
        Ok(ScheduledAudit { deps: Deps::from_config(config).await?, flow })
    }
}

/// Audits the period that an event asks about, keeps what was found, and starts the flows of what is missing.
///
/// Of each superevent one flow is started, of the first alert that is missing: alerts of a superevent take effect in order,
/// and the next audit starts the next. An alert's flow is started once a day at most.
///
/// # Errors
/// Permanent, when the event asks nothing; Retryable, when the findings cannot be kept or a flow cannot be started.
pub async fn handle(function: &ScheduledAudit, event: Scheduled) -> Result<Audited> {
    let ScheduledAudit { deps, flow } = function;
    let (question, time) = (event.question()?, event.time()?);
    let mut audit = Audit::begin(deps, &question).await;
    let mut findings = audit.findings().to_vec();
    let (mut superevents, mut alerts, mut started) = (0, 0, Vec::new());
    for id in audit.superevents() {
        let Some(superevent) = Box::pin(audit.compare(&id)).await else { continue };
        superevents += 1;
        alerts += superevent.alerts.len();
        if let Some(flow) = flow {
            started.extend(start(deps, flow, &audit, &superevent, time).await?);
        }
        findings.extend(superevent.findings);
    }
    for finding in &findings {
        let about = finding.superevent_id.as_ref().map(SupereventId::as_str);
        tracing::warn!(superevent_id = about, alert_name = finding.alert, "{finding}");
    }
    let key = Object::Audit(&time.to_string()).key()?;
    let Question { since, until, .. } = question;
    let not_asked = deps.api.is_none().then_some(deps.no_api.as_str());
    let found = AuditReport {
        since,
        until,
        superevents,
        alerts,
        treasure_map_not_asked: not_asked,
        findings: &findings,
        started: &started,
    };
    let bytes = serde_json::to_vec_pretty(&found).permanent("JSON")?;
    deps.store.put(&key, Bytes::from(bytes)).await?;
    let mut counts: BTreeMap<FindingKind, usize> = BTreeMap::new();
    findings.iter().for_each(|finding| *counts.entry(finding.kind).or_default() += 1);
    Ok(Audited { since, until, superevents, alerts, findings: counts, key, started })
}

/// Starts the flow of a superevent's first repair; its name.
async fn start(
    deps: &Deps,
    flow: &Flow,
    audit: &Audit<'_>,
    superevent: &ComparedSuperevent,
    time: Timestamp,
) -> Result<Option<String>> {
    let Some(Repair { from, .. }) = superevent.repairs.first() else { return Ok(None) };
    let (label, key) = match from {
        Origin::Store(name) => (name.to_string(), Object::Notice(name).key()?),
        Origin::GraceDb(file) => {
            let key = Object::FromGraceDb(file).key()?;
            // GraceDB may answer no more; the next audit asks again.
            let notice = match audit.gracedb().notice(&superevent.id, file).await {
                Ok(notice) => notice,
                Err(error) => {
                    tracing::warn!(superevent_id = %superevent.id, "not repaired: {error}");
                    return Ok(None);
                }
            };
            deps.store.put(&key, notice).await?;
            (file.clone(), key)
        }
    };
    let name = execution(&label, time);
    let topic = NoticeKind::Igwn.topic().to_owned();
    flow.start(&name, &Received { topic, partition: None, offset: None, kafka_time: None, body: Body::Key(key) })
        .await?;
    Ok(Some(name))
}

/// The name of an alert's flow on a day, in the characters that Step Functions allows.
fn execution(label: &str, time: Timestamp) -> String {
    let day = time.to_zoned(TimeZone::UTC).strftime("audit-%Y%m%d-").to_string();
    let label = label.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' });
    day.chars().chain(label).take(MAX_NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scheduled(time: &str, detail: &str) -> Scheduled {
        let event = format!(
            r#"{{"version": "0", "id": "1", "detail-type": "Scheduled Event", "source": "aws.scheduler",
            "account": "123456789012", "time": "{time}", "region": "us-east-2", "resources": [], "detail": {detail}}}"#
        );
        serde_json::from_str(&event).expect("an event")
    }

    #[test]
    fn the_period_follows_from_the_events_time() {
        let asked = |detail: &str| scheduled("2026-11-28T13:00:00Z", detail).question();
        let time = |text: &str| text.parse::<Timestamp>().expect("a time");
        for (detail, since) in [
            (r#"{"period": "1d"}"#, "2026-11-27T12:45:00Z"),
            (r#"{"period": "30d"}"#, "2026-10-29T12:45:00Z"),
            // What EventBridge Scheduler sends without an input of its own.
            (r#""{}""#, "2026-11-27T12:45:00Z"),
        ] {
            let question = asked(detail).expect("a question");
            assert_eq!((question.since, question.until), (time(since), time("2026-11-28T12:45:00Z")), "{detail}");
        }
        for detail in [r#"{"period": "often"}"#, r#"{"period": "0s"}"#, r#"{"period": "9y"}"#] {
            let error = asked(detail).expect_err(detail);
            assert!(!error.is_retryable() && error.to_string().contains("detail.period"), "{error}");
        }
    }

    #[test]
    fn names_of_flows_are_valid_and_of_their_day() {
        let time = "2026-11-28T13:00:00Z".parse().expect("a time");
        assert_eq!(execution("S230518h-update.json,1", time), "audit-20261128-S230518h-update_json_1");
        assert_eq!(execution("S230518h-Update-ExtCoinc2", time), "audit-20261128-S230518h-Update-ExtCoinc2");
        assert_eq!(execution(&"x".repeat(200), time).len(), MAX_NAME);
    }
}
