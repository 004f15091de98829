//! `gwtm audit`: what GraceDB published beside what was taken and what the Treasure Map shows.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use audit::{Audit, Compared, ComparedSuperevent, Deps, Finding, FindingKind, IN_FLIGHT, Origin, Question};
use clap::Args;
use config::Config;
use futures::FutureExt;
use jiff::Timestamp;
use serde_json::json;
use shared::key::SupereventId;

use crate::Failure;
use crate::arguments::time;
use crate::batch::{Batch, received};
use crate::run::overrides;

/// Options of `gwtm audit`.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints a line for each alert: well, or its findings. Leaves out alerts of the last 15 minutes, unless --until includes
them. Without API_BASE it compares only the store with GraceDB. Writes nothing.

--repair processes missing alerts in order of creation, as `gwtm gracedb` does, and compares again. Repairing twice changes
nothing. docs/operations.md says what to do about the other findings.

Examples:
  gwtm audit                                  compare the last week
  gwtm audit --since 2026-11-01 --json
  gwtm audit --id S230518h --id S230529ay
  gwtm audit --since 30d --repair

Exit code: 0 no findings, 1 findings or a service that did not answer, 2 wrong usage or settings.")]
pub struct AuditOptions {
    /// Superevents created at this time or later: `2026-11-01T06:00:00Z`, `2026-11-01`, or `7d` before now
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = time)]
    pub since: Timestamp,
    /// Superevents created, and alerts published, up to this time (default: 15 minutes ago)
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub until: Option<Timestamp>,
    /// Only this superevent, whenever it was created, repeatable
    #[arg(long = "id", value_name = "ID")]
    pub ids: Vec<SupereventId>,
    /// Print one JSON object per alert, and a summary
    #[arg(long)]
    pub json: bool,
    /// Process missing alerts
    #[arg(long)]
    pub repair: bool,
    /// Store of the products: a folder, `s3://BUCKET`, `abfs://ACCOUNT` or `swift://CONTAINER` [default: the store of
    /// STORAGE_BUCKET_SOURCE]
    #[arg(long, value_name = "URL|DIR")]
    pub store: Option<String>,
    /// How long to retry a repair after a temporary failure: `90s`, `15m`; 0 disables retries
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = crate::arguments::patience)]
    pub patience: Duration,
}

/// Compares a period, or the superevents that are named, and repairs what it may; whether all is well.
///
/// # Errors
/// When the settings are wrong or standard output is gone; what a source does not answer is a finding.
pub async fn audit(options: &AuditOptions) -> Result<bool, Failure> {
    let overrides = overrides(options.store.as_deref(), false).map_err(Failure::usage)?;
    let config = Config::from_env(&overrides).map_err(Failure::usage)?;
    config.log.start("warn");
    let until = options.until.unwrap_or_else(|| Timestamp::now() - IN_FLIGHT);
    if let Some(id) = options.ids.iter().find(|id| id.is_test()) {
        return Err(Failure::usage(format!(
            "`{id}`: expected a real event, since the Treasure Map removes mock events"
        )));
    }
    if options.ids.is_empty() && options.since >= until {
        return Err(Failure::usage(format!("expected --since before --until, found {} and {until}", options.since)));
    }
    let deps = Deps::from_config(&config).await.map_err(Failure::usage)?;
    let question = Question { since: options.since, until, ids: options.ids.clone() };
    let mut tally = Tally::default();
    let mut audit = Audit::begin(&deps, &question).await;
    tally.add(audit.findings());
    print_findings(None, audit.findings(), options.json)?;
    let mut broken = Vec::new();
    for id in audit.superevents() {
        let Some(superevent) = Box::pin(audit.compare(&id)).await else { continue };
        print(&superevent, options.json)?;
        tally.count(&superevent);
        if options.repair && !superevent.repairs.is_empty() {
            broken.push(superevent);
        } else {
            tally.add(&superevent.findings);
        }
    }
    if !broken.is_empty() {
        repair(config, options, &audit, &broken).await?;
        let ids = broken.iter().map(|superevent| superevent.id.clone()).collect();
        let question = Question { ids, ..question.clone() };
        let mut again = Audit::begin(&deps, &question).await;
        for id in again.superevents() {
            let Some(superevent) = Box::pin(again.compare(&id)).await else { continue };
            print(&superevent, options.json)?;
            tally.add(&superevent.findings);
        }
    }
    tally.print(&deps, &question, options)?;
    Ok(tally.findings.is_empty())
}

/// Takes alerts through the pipeline, those of a superevent in order of creation.
async fn repair(
    config: Config,
    options: &AuditOptions,
    audit: &Audit<'_>,
    broken: &[ComparedSuperevent],
) -> Result<(), Failure> {
    let mut batch = Batch::open(config, options.json, options.patience, None).await?;
    batch.of(broken.iter().map(|superevent| superevent.repairs.len()).sum());
    for ComparedSuperevent { id, repairs, .. } in broken {
        for repair in repairs {
            let label = match &repair.from {
                Origin::Store(name) => name.to_string(),
                Origin::GraceDb(file) => format!("GraceDB {id} {file}"),
            };
            let from = &repair.from;
            let fetch = move || async move { received(audit.notice(id, from).await?.into()) }.boxed_local();
            batch.offer(&label, Some(id), fetch).await?;
        }
    }
    batch.finish().await?;
    batch.end().map(|_| ())
}

/// Prints a line for each alert, and one for each finding that is of no alert.
fn print(superevent: &ComparedSuperevent, json: bool) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let is_of = |alert: &Compared, finding: &Finding| finding.alert.as_ref() == Some(&alert.alert);
    for alert in &superevent.alerts {
        let findings: Vec<&Finding> = superevent.findings.iter().filter(|finding| is_of(alert, finding)).collect();
        let line = if json {
            let status = if findings.is_empty() { "well" } else { "not well" };
            json!({
                "superevent_id": superevent.id, "alert": alert.alert, "created": alert.created, "status": status,
                "findings": findings,
            })
            .to_string()
        } else {
            let said: Vec<String> = findings.iter().map(ToString::to_string).collect();
            let said = if said.is_empty() { "well".to_owned() } else { said.join("; ") };
            format!("{:<32} {:.0}  {said}", alert.alert, alert.created)
        };
        writeln!(out, "{line}").map_err(Failure::work)?;
    }
    drop(out);
    let named = |finding: &&Finding| superevent.alerts.iter().any(|alert| is_of(alert, finding));
    let rest: Vec<Finding> = superevent.findings.iter().filter(|finding| !named(finding)).cloned().collect();
    print_findings(Some(&superevent.id), &rest, json)
}

fn print_findings(id: Option<&SupereventId>, findings: &[Finding], json: bool) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    for finding in findings {
        let line = if json {
            json!({"superevent_id": id, "status": "not well", "findings": [finding]}).to_string()
        } else {
            let about = finding.alert.as_deref().or(id.map(SupereventId::as_str)).unwrap_or("-");
            format!("{about:<32} {finding}")
        };
        writeln!(out, "{line}").map_err(Failure::work)?;
    }
    Ok(())
}

/// What all came to.
#[derive(Default)]
struct Tally {
    superevents: usize,
    alerts: usize,
    findings: BTreeMap<FindingKind, usize>,
}

impl Tally {
    fn count(&mut self, superevent: &ComparedSuperevent) {
        self.superevents += 1;
        self.alerts += superevent.alerts.len();
    }

    fn add(&mut self, findings: &[Finding]) {
        for finding in findings {
            *self.findings.entry(finding.kind).or_default() += 1;
        }
    }

    fn print(&self, deps: &Deps, question: &Question, options: &AuditOptions) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        let Tally { superevents, alerts, findings } = self;
        let Question { since, until, .. } = question;
        let not_asked = deps.api.is_none().then_some(&deps.no_api);
        if options.json {
            let line = json!({
                "since": since, "until": until, "superevents": superevents, "alerts": alerts, "findings": findings,
                "treasure_map_not_asked": not_asked,
            });
            return writeln!(out, "{line}").map_err(Failure::work);
        }
        let plural = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let period = match options.ids.is_empty() {
            true => format!(" created from {since:.0} to {until:.0}"),
            false => String::new(),
        };
        writeln!(out, "\n{}{period}, {}", plural(*superevents, "superevent"), plural(*alerts, "alert"))
            .map_err(Failure::work)?;
        if let Some(reason) = not_asked {
            writeln!(out, "The Treasure Map was not asked: {reason}.").map_err(Failure::work)?;
        }
        if findings.is_empty() {
            writeln!(out, "All is well.").map_err(Failure::work)?;
        }
        for (kind, count) in findings {
            writeln!(out, "{count} {kind}: {}", kind.advice()).map_err(Failure::work)?;
        }
        Ok(())
    }
}
