//! The counts in Prometheus's text format 0.0.4 (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::fmt::{Display, Write};
use std::time::Duration;

use super::{Counts, LatencyStage, Topic};

/// Upper edges of the buckets [s]: from what a small notice takes to a week, which a replay of the archive may be late.
const EDGES: [f64; 16] = [
    0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14_400.0, 43_200.0, 86_400.0, 604_800.0,
];

/// How long something took, in buckets.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    buckets: [u64; EDGES.len()],
    count: u64,
    sum_seconds: f64,
}

impl Histogram {
    pub(super) fn observe(&mut self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        for (bucket, edge) in self.buckets.iter_mut().zip(EDGES) {
            *bucket += u64::from(seconds <= edge);
        }
        self.count += 1;
        self.sum_seconds += seconds;
    }
}

struct Text(String);

impl Text {
    /// Begins a metric.
    fn about(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    fn line(&mut self, line: impl Display) {
        // A String takes everything.
        let _ = writeln!(self.0, "{line}");
    }
}

pub(super) fn text(counts: &Counts, healthy: bool) -> String {
    let mut text = Text(String::new());
    text.about("gwtm_healthy", "gauge", "Whether /healthz says that all is well: 1 or 0.");
    text.line(format_args!("gwtm_healthy {}", u8::from(healthy)));
    text.about("gwtm_heartbeat_age_seconds", "gauge", "Time since the broker's last heartbeat, or since the start.");
    text.line(format_args!("gwtm_heartbeat_age_seconds {:.3}", counts.heartbeat.elapsed().as_secs_f64()));
    text.about("gwtm_mock_age_seconds", "gauge", "Time since the last mock alert, or since the start.");
    text.line(format_args!("gwtm_mock_age_seconds {:.3}", counts.mock.elapsed().as_secs_f64()));
    text.about("gwtm_notice_age_seconds", "gauge", "Time since the last notice of a topic, once there has been one.");
    for (name, topic) in &counts.topics {
        if let Some(last) = topic.last {
            let age = last.elapsed().as_secs_f64();
            text.line(format_args!("gwtm_notice_age_seconds{{topic=\"{name}\"}} {age:.3}"));
        }
    }
    text.about("gwtm_consumer_lag", "gauge", "Messages in a partition that are not done.");
    for ((topic, partition), lag) in &counts.lag {
        text.line(format_args!("gwtm_consumer_lag{{topic=\"{topic}\",partition=\"{partition}\"}} {lag}"));
    }
    text.about("gwtm_notices_in_flight", "gauge", "Notices in hand.");
    text.line(format_args!("gwtm_notices_in_flight {}", counts.in_flight));
    type Count = fn(&Topic) -> u64;
    let totals: [(&str, &str, Count); 4] = [
        ("done", "Notices that are done.", |topic| topic.done),
        ("failed", "Notices, or parts of them, that went to failed/.", |topic| topic.failed),
        ("retried", "Attempts that are repeated.", |topic| topic.retried),
        ("skipped", "Notices of mock and test alerts that TEST_ALERTS=false does not process.", |topic| topic.skipped),
    ];
    for (what, help, count) in totals {
        text.about(&format!("gwtm_notices_{what}_total"), "counter", help);
        for (name, topic) in &counts.topics {
            text.line(format_args!("gwtm_notices_{what}_total{{topic=\"{name}\"}} {}", count(topic)));
        }
    }
    text.about("gwtm_audit_findings", "gauge", "What the last audit of a period found missing or wrong.");
    for (period, (findings, _)) in &counts.audits {
        text.line(format_args!("gwtm_audit_findings{{period=\"{period}\"}} {findings}"));
    }
    text.about("gwtm_audit_unasked", "gauge", "What the last audit of a period could not ask.");
    for (period, (_, unasked)) in &counts.audits {
        text.line(format_args!("gwtm_audit_unasked{{period=\"{period}\"}} {unasked}"));
    }
    text.about("gwtm_latency_seconds", "histogram", "How long each stretch of a notice's way took.");
    for (stage, from, to) in [
        (LatencyStage::Created, "merger", "created"),
        (LatencyStage::Received, "created", "received"),
        (LatencyStage::Stored, "received", "stored"),
        (LatencyStage::Posted, "stored", "posted"),
    ] {
        let Histogram { buckets, count, sum_seconds } = &counts.latencies[stage as usize];
        let way = format!("from=\"{from}\",to=\"{to}\"");
        for (edge, bucket) in EDGES.iter().zip(buckets) {
            text.line(format_args!("gwtm_latency_seconds_bucket{{{way},le=\"{edge}\"}} {bucket}"));
        }
        text.line(format_args!("gwtm_latency_seconds_bucket{{{way},le=\"+Inf\"}} {count}"));
        text.line(format_args!("gwtm_latency_seconds_sum{{{way}}} {sum_seconds}"));
        text.line(format_args!("gwtm_latency_seconds_count{{{way}}} {count}"));
    }
    text.0
}
