//! A line of metrics for each call, in CloudWatch's embedded metric format
//! (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>):
//! CloudWatch makes metrics of what a function prints, so nothing is called and no permission is needed.

use std::io::Write;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use shared::Class;
use shared::message::Subject;

use super::call::FlowExecution;

/// The metrics' namespace.
const NAMESPACE: &str = "gwtm";

/// Prints the record of a call.
pub(super) fn say(record: &Value) {
    // A line that cannot be printed can be told to nobody.
    let _ = std::io::stdout().write_all(format!("{record}\n").as_bytes());
}

/// The fields that CloudWatch makes metrics of, one for each stack; each is paid for. The others are in the log alone.
const METRICS: [&str; 8] = [
    "audit_findings",
    "retryable_errors",
    "permanent_errors",
    "flow_age_s",
    "since_signal_s",
    "since_created_s",
    "posted",
    "notifications_failed",
];

/// The record of a call: what it is about, and its numbers. `log_group` is named as the stack.
pub(super) fn record(
    function: &str,
    log_group: &str,
    flow: Option<&FlowExecution>,
    subject: Option<&Subject>,
    counts: Result<&[(&'static str, usize)], Class>,
    duration: Duration,
    now: Timestamp,
) -> Value {
    let since = |then: Timestamp| now.duration_since(then).as_secs_f64();
    let flag = |is: bool| if is { 1.0 } else { 0.0 };
    let mut metrics = vec![
        ("duration_ms", "Milliseconds", duration.as_secs_f64() * 1e3),
        ("retryable_errors", "Count", flag(counts == Err(Class::Retryable))),
        ("permanent_errors", "Count", flag(counts == Err(Class::Permanent))),
    ];
    if let Some(flow) = flow {
        metrics.push(("retries", "Count", flag(flow.retries > 0)));
        metrics.push(("flow_age_s", "Seconds", since(flow.started)));
    }
    if let Ok(counts) = counts {
        metrics.extend(counts.iter().map(|(name, count)| (*name, "Count", *count as f64)));
    }
    // The delay of the alert, once it is posted.
    if let Ok(counts) = counts
        && counts.iter().any(|(name, count)| *name == "posted" && *count > 0)
    {
        let times = subject.map(|subject| (subject.time_of_signal, subject.time_created));
        let (signal, created) = times.unwrap_or_default();
        metrics.extend(signal.map(|time| ("since_signal_s", "Seconds", since(time))));
        metrics.extend(created.map(|time| ("since_created_s", "Seconds", since(time))));
    }
    let named = metrics.iter().filter(|(name, ..)| METRICS.contains(name));
    let named: Vec<Value> = named.map(|(name, unit, _)| json!({"Name": name, "Unit": unit})).collect();
    let mut record = Map::new();
    record.insert(
        "_aws".to_owned(),
        json!({
            "Timestamp": now.as_millisecond(),
            "CloudWatchMetrics": [{"Namespace": NAMESPACE, "Dimensions": [["stack"]], "Metrics": named}],
        }),
    );
    record.insert("stack".to_owned(), json!(log_group.rsplit('/').next()));
    record.insert("function".to_owned(), json!(function));
    if let Some(flow) = flow {
        record.insert("execution".to_owned(), json!(flow.execution));
    }
    if let Some(subject) = subject {
        record.insert("alert_name".to_owned(), json!(subject.name));
    }
    record.extend(metrics.into_iter().map(|(name, _, value)| (name.to_owned(), json!(value))));
    Value::Object(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    /// What CloudWatch would make of a record: every metric's unit and value.
    fn read(record: &Value) -> Map<String, Value> {
        let directive = &record["_aws"]["CloudWatchMetrics"][0];
        assert!(record["_aws"]["Timestamp"].is_i64() && directive["Namespace"] == "gwtm");
        for dimension in directive["Dimensions"][0].as_array().expect("dimensions") {
            assert!(record[dimension.as_str().expect("a name")].is_string(), "{dimension}");
        }
        let metrics = directive["Metrics"].as_array().expect("metrics");
        assert!(METRICS.len() + 2 <= 10, "ten are free, and the bridge has two");
        let value = |metric: &Value| {
            let name = metric["Name"].as_str().expect("a name");
            assert!(record[name].is_f64(), "{name}: {record}");
            (name.to_owned(), json!([metric["Unit"], record[name]]))
        };
        metrics.iter().map(value).collect()
    }

    #[test]
    fn a_call_says_how_it_went_and_how_late_it_is() {
        let flow =
            FlowExecution { execution: "igwn_gwalert-0-7".into(), started: time("2026-01-01T00:00:30Z"), retries: 3 };
        let subject = Subject {
            name: "S260101a-Initial".into(),
            time_created: Some(time("2026-01-01T00:00:25Z")),
            time_of_signal: Some(time("2026-01-01T00:00:00Z")),
        };
        let (duration, now) = (Duration::from_millis(250), time("2026-01-01T00:00:40Z"));
        let went =
            record("post-api", "/aws/lambda/gwtm", Some(&flow), Some(&subject), Ok(&[("posted", 2)]), duration, now);
        assert_eq!((&went["alert_name"], &went["execution"]), (&json!(subject.name), &json!(flow.execution)));
        let expected = json!({
            "retryable_errors": ["Count", 0.0], "permanent_errors": ["Count", 0.0], "flow_age_s": ["Seconds", 10.0],
            "posted": ["Count", 2.0], "since_signal_s": ["Seconds", 40.0], "since_created_s": ["Seconds", 15.0],
        });
        assert_eq!(
            (&went["stack"], &went["retries"], &went["duration_ms"]),
            (&json!("gwtm"), &json!(1.0), &json!(250.0))
        );
        assert_eq!(Value::Object(read(&went)), expected);

        // A failed call tells nobody anything, so it is not late yet; it still says how old its flow is.
        let failed = read(&record(
            "post-api",
            "/aws/lambda/gwtm",
            Some(&flow),
            Some(&subject),
            Err(Class::Retryable),
            duration,
            now,
        ));
        assert_eq!(failed["retryable_errors"], json!(["Count", 1.0]));
        assert!(failed.contains_key("flow_age_s") && !failed.contains_key("since_created_s"), "{failed:?}");
        // A person calls without a flow, with what may be no message at all.
        let alone = read(&record("post-api", "/aws/lambda/gwtm", None, None, Err(Class::Permanent), duration, now));
        assert_eq!(alone.len(), 2, "{alone:?}");
    }
}
