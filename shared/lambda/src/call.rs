//! What a function is called with: a message, and what the flow says of the call.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use tracing::Span;
use tracing::field::Empty;

/// What a flow says of a call, as Step Functions' context object knows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct FlowExecution {
    /// The execution's name: the notice's topic, partition and offset.
    pub(super) execution: String,
    /// When the execution started.
    pub(super) started: Timestamp,
    /// How often this call has been made before.
    #[serde(default)]
    pub(super) retries: u64,
}

/// A call.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call {
    /// Absent when a person calls.
    pub(super) flow: Option<FlowExecution>,
    /// The message.
    pub(super) message: Value,
}

impl Call {
    /// A flow calls with `{"flow": {…}, "message": {…}}`, a person with the message alone.
    pub(super) fn new(payload: Value) -> Self {
        /// As a flow calls. No message has these two fields.
        #[derive(Deserialize)]
        struct FlowCall {
            flow: FlowExecution,
            message: Value,
        }
        match FlowCall::deserialize(&payload) {
            Ok(FlowCall { flow, message }) => Call { flow: Some(flow), message },
            Err(_) => Call { flow: None, message: payload },
        }
    }

    /// The span of everything that is logged during the call. Of the highest level, so that it is there whatever is
    /// logged.
    pub(super) fn span(&self, request_id: &str) -> Span {
        let span = tracing::error_span!("call", request_id, execution = Empty, retries = Empty, alert_name = Empty);
        if let Some(flow) = &self.flow {
            span.record("execution", &flow.execution).record("retries", flow.retries);
        }
        span
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_flow_and_a_person_call_with_the_same_message() {
        let message = json!({"topic": "igwn.gwalert", "body": {"inline": "{}"}});
        let by_flow = Call::new(json!({
            "flow": {"execution": "igwn_gwalert-0-7", "started": "2026-01-01T00:00:01.5Z", "retries": 2},
            "message": message,
        }));
        let flow = by_flow.flow.expect("a flow");
        assert_eq!((flow.execution.as_str(), flow.retries), ("igwn_gwalert-0-7", 2));
        assert_eq!(by_flow.message, message);
        assert_eq!(Call::new(message.clone()), Call { flow: None, message });
    }
}
