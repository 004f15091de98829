//! `gwtm notify --explain`: which rules a stored alert meets, and why not.

use std::io::{self, Write};

use annotate::annotations::Annotations;
use annotate::notify::rules::assess;
use config::Rule;
use jiff::Timestamp;

/// Prints each rule with its conditions, met or not. Nothing is sent.
pub(crate) fn print(out: &mut impl Write, rules: &[Rule], alert: &Annotations, now: Timestamp) -> io::Result<()> {
    writeln!(out, "{}, created {}", alert.name, alert.time_created)?;
    for rule in rules {
        let verdict = assess(rule, alert);
        let age_hours = now.duration_since(alert.time_created).as_secs_f64() / 3600.0;
        let is_young = age_hours < rule.max_age_hours;
        let outcome = match (verdict.is_met(), is_young) {
            (true, true) => "met",
            (true, false) => "met, but not sent because the alert is too old",
            (false, _) => "not met",
        };
        // Names are from NOTIFY_CONFIG, and may have anything.
        writeln!(out, "\n{}: {outcome}", rule.name.escape_debug())?;
        let mark = |is_met: bool| if is_met { "yes" } else { "NO" };
        for condition in &verdict.conditions {
            writeln!(out, "  {:<4} {condition}", mark(condition.is_met))?;
        }
        let limit = rule.max_age_hours;
        writeln!(out, "  {:<4} `max_age_hours`: expected less than {limit} h, found {age_hours:.1} h", mark(is_young))?;
    }
    Ok(())
}
