//! `gwtm notify`: tests every target, and explains the rules.

use std::io::{self, Write};

use annotate::annotations::{Annotations, Timings};
use annotate::notify::{Deps, Notifier};
use annotate::versions;
use config::Config;
use jiff::Timestamp;
use serde_json::json;
use shared::key::{AlertName, Object};
use shared::message::{Alert, NotificationStatus};
use shared::{Context, Result};

use crate::{Failure, explain};

/// Options of `gwtm notify`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  NOTIFY_CONFIG=notify.toml gwtm notify --test                    send a simulated alert to every target
  NOTIFY_CONFIG=notify.toml gwtm notify --test S230518h-Initial   send a stored alert, marked as a test
  NOTIFY_CONFIG=notify.toml gwtm notify --explain S230518h-Initial   say of each rule what is met; sends nothing

Rules are TOML:
  [[rule]]
  name = \"near neutron stars\"
  significant = true
  role = \"observation\"
  classes = { BNS = 0.5, NSBH = 0.5 }
  area_90_below_deg2 = 500
  distance_below_Mpc = 300
  max_age_hours = 24
  observable_prob_above = 0.5
  site = { name = \"Cerro Pachón\", lat_deg = -30.2446, lon_deg = -70.7494, height_m = 2663 }
  target = [{ kind = \"slack\", url = \"https://hooks.slack.com/services/…\" }]

Exit code: 0 all notifications were sent, 1 some failed, 2 wrong usage or settings.")]
pub struct NotifyOptions {
    /// Send a message marked as a test to every target of every rule.
    #[arg(long, required_unless_present = "explain")]
    pub test: bool,
    /// Say of each rule which of its conditions the stored alert meets, from its annotations; sends nothing.
    #[arg(long, conflicts_with = "test", requires = "alert")]
    pub explain: bool,
    /// Alert in the store [default: a simulated alert].
    pub alert: Option<AlertName>,
}

/// Tries every target; whether all were told.
///
/// # Errors
/// When the settings or the alert are wrong.
pub async fn notify(options: &NotifyOptions) -> std::result::Result<bool, Failure> {
    let config = Config::from_env(&[]).map_err(Failure::usage)?;
    config.log.start("error");
    if config.notify.rules.is_empty() {
        return Err(Failure::usage(
            "`NOTIFY_CONFIG` is not set: nobody is told. Write rules as `gwtm notify --help` shows",
        ));
    }
    let store = config.open_store().await.map_err(Failure::usage)?;
    let annotations = match &options.alert {
        Some(name) => {
            let key = Object::Annotations(name).key().map_err(Failure::usage)?;
            let bytes = store.read(&key).await.map_err(Failure::work)?;
            versions::read(&key, &bytes).map_err(Failure::work)?
        }
        None => invented().map_err(Failure::work)?,
    };
    if options.explain {
        let printed = explain::print(&mut io::stdout().lock(), &config.notify.rules, &annotations, Timestamp::now());
        return printed.map(|()| true).map_err(Failure::work);
    }
    let deps = Deps::new(&config, store).map_err(Failure::usage)?;
    let told = Notifier { folder: None, ..deps.notifier }.test(&annotations).await.map_err(Failure::work)?;
    let mut out = io::stdout().lock();
    for notification in &told {
        let (verb, why) = match &notification.status {
            NotificationStatus::Failed { reason } => ("NOT SENT", reason.as_str()),
            _ => ("sent", ""),
        };
        writeln!(out, "{:<24} {:<40} {verb} {why}", notification.rule, notification.target).map_err(Failure::work)?;
    }
    Ok(told.iter().all(|notification| notification.status == NotificationStatus::Sent))
}

/// Annotations of an alert that never was.
fn invented() -> Result<Annotations> {
    let alert = json!({
        "name": "TS090101a-Preliminary", "role": "test", "time_created": "2009-01-01T00:05:00Z",
        "time_of_signal": "2009-01-01T00:00:00Z",
        "event": {
            "time": "2009-01-01T00:00:00Z", "far": 1e-10, "significant": true, "instruments": ["H1", "L1", "V1"],
            "group": "CBC", "pipeline": "gstlal", "search": "AllSky",
            "classification": {"BNS": 0.95, "Terrestrial": 0.05}, "properties": {"HasNS": 1.0, "HasRemnant": 1.0},
        },
    });
    let alert: Alert = serde_json::from_value(alert).permanent("JSON")?;
    let timings = Timings {
        annotated: Timestamp::now(),
        signal_to_notice_s: Some(300.0),
        notice_to_annotations_s: 0.0,
        numbers_ms: 0.0,
        plot_ms: 0.0,
    };
    Ok(Annotations::new(&alert, None, None, timings))
}
