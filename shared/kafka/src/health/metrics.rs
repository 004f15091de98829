//! The metrics in Prometheus's text format 0.0.4 (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::fmt::{Display, Write};
use std::time::Duration;

use super::{Counts, LatencyStage, Topic};

/// Upper edges of the histogram's buckets [s]: from a small notice's duration to a week, for replays of the archive.
const EDGES_S: [f64; 16] = [
    0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14_400.0, 43_200.0, 86_400.0, 604_800.0,
];

/// A histogram of durations.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    buckets: [u64; EDGES_S.len()],
    count: u64,
    sum_seconds: f64,
}

impl Histogram {
    pub(super) fn observe(&mut self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        for (bucket, edge) in self.buckets.iter_mut().zip(EDGES_S) {
            *bucket += u64::from(seconds <= edge);
        }
        self.count += 1;
        self.sum_seconds += seconds;
    }
}

struct Text(String);

impl Text {
    fn header(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    fn line(&mut self, line: impl Display) {
        // Writing to a String never fails.
        let _ = writeln!(self.0, "{line}");
    }
}

pub(super) fn text(counts: &Counts, healthy: bool) -> String {
    let mut text = Text(String::new());
    text.header("gwtm_healthy", "gauge", "1 if /healthz returns 200, else 0.");
    text.line(format_args!("gwtm_healthy {}", u8::from(healthy)));
    text.header("gwtm_heartbeat_age_seconds", "gauge", "Time since the broker's last heartbeat, or since the start.");
    text.line(format_args!("gwtm_heartbeat_age_seconds {:.3}", counts.heartbeat.elapsed().as_secs_f64()));
    text.header("gwtm_mock_age_seconds", "gauge", "Time since the last mock alert, or since the start.");
    text.line(format_args!("gwtm_mock_age_seconds {:.3}", counts.mock.elapsed().as_secs_f64()));
    text.header("gwtm_notice_age_seconds", "gauge", "Time since the last notice of a topic, once there has been one.");
    for (name, topic) in &counts.topics {
        if let Some(last) = topic.last {
            let age = last.elapsed().as_secs_f64();
            text.line(format_args!("gwtm_notice_age_seconds{{topic=\"{name}\"}} {age:.3}"));
        }
    }
    text.header("gwtm_consumer_lag", "gauge", "Messages of a partition not yet processed.");
    for ((topic, partition), lag) in &counts.lag {
        text.line(format_args!("gwtm_consumer_lag{{topic=\"{topic}\",partition=\"{partition}\"}} {lag}"));
    }
    text.header("gwtm_notices_in_flight", "gauge", "Notices being processed.");
    text.line(format_args!("gwtm_notices_in_flight {}", counts.in_flight));
    type Count = fn(&Topic) -> u64;
    let totals: [(&str, &str, Count); 4] = [
        ("done", "Notices processed.", |topic| topic.done),
        ("failed", "Notices, or parts of them, dead-lettered under failed/.", |topic| topic.failed),
        ("retried", "Failed attempts that are retried.", |topic| topic.retried),
        ("skipped", "Notices of mock and test alerts that TEST_ALERTS=false does not process.", |topic| topic.skipped),
    ];
    for (what, help, count) in totals {
        text.header(&format!("gwtm_notices_{what}_total"), "counter", help);
        for (name, topic) in &counts.topics {
            text.line(format_args!("gwtm_notices_{what}_total{{topic=\"{name}\"}} {}", count(topic)));
        }
    }
    text.header("gwtm_audit_findings", "gauge", "Findings of the last audit of a period: missing or wrong.");
    for (period, (findings, _)) in &counts.audits {
        text.line(format_args!("gwtm_audit_findings{{period=\"{period}\"}} {findings}"));
    }
    text.header("gwtm_audit_unasked", "gauge", "Requests that failed in the last audit of a period.");
    for (period, (_, unasked)) in &counts.audits {
        text.line(format_args!("gwtm_audit_unasked{{period=\"{period}\"}} {unasked}"));
    }
    text.header("gwtm_latency_seconds", "histogram", "Latency of each stage of a notice.");
    for (index, from, to) in [
        (LatencyStage::Created, "merger", "created"),
        (LatencyStage::Received, "created", "received"),
        (LatencyStage::Stored, "received", "stored"),
        (LatencyStage::Posted, "stored", "posted"),
    ] {
        let Histogram { buckets, count, sum_seconds } = &counts.latencies[index as usize];
        let stage = format!("from=\"{from}\",to=\"{to}\"");
        for (edge, bucket) in EDGES_S.iter().zip(buckets) {
            text.line(format_args!("gwtm_latency_seconds_bucket{{{stage},le=\"{edge}\"}} {bucket}"));
        }
        text.line(format_args!("gwtm_latency_seconds_bucket{{{stage},le=\"+Inf\"}} {count}"));
        text.line(format_args!("gwtm_latency_seconds_sum{{{stage}}} {sum_seconds}"));
        text.line(format_args!("gwtm_latency_seconds_count{{{stage}}} {count}"));
    }
    text.0
}
