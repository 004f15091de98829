//! How long each step of a flow took, from the execution's history.

use std::collections::BTreeMap;

use aws_sdk_sfn::primitives::DateTime;
use aws_sdk_sfn::types::{HistoryEvent, HistoryEventType};
use serde::Serialize;

/// A step of a flow.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Stage {
    /// The state's name: the function's.
    pub(crate) stage: String,
    /// When it began, since the execution's start [ms].
    pub(crate) begun_ms: f64,
    /// How long it took, retries and their pauses among it [ms]; absent when it did not end.
    pub(crate) took_ms: Option<f64>,
    /// How often its function was called.
    pub(crate) calls: usize,
}

fn milliseconds(time: &DateTime) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The tasks of an execution, in the order in which they began.
pub(super) fn of(events: &[HistoryEvent]) -> Vec<Stage> {
    let start = events.first().map_or(0.0, |event| milliseconds(&event.timestamp));
    let mut stages: Vec<Stage> = Vec::new();
    // Which stage an event is of: the task's that was entered before it.
    let mut stage_of: BTreeMap<i64, usize> = BTreeMap::new();
    for event in events {
        let at = milliseconds(&event.timestamp) - start;
        let before = stage_of.get(&event.previous_event_id).copied();
        let stage = match event.r#type {
            HistoryEventType::TaskStateEntered => {
                let name = event.state_entered_event_details.as_ref().map_or("?", |entered| entered.name.as_str());
                stages.push(Stage { stage: name.to_owned(), begun_ms: at, took_ms: None, calls: 0 });
                Some(stages.len() - 1)
            }
            HistoryEventType::TaskStateExited => {
                if let Some(stage) = before.and_then(|stage| stages.get_mut(stage)) {
                    stage.took_ms = Some(at - stage.begun_ms);
                }
                None
            }
            HistoryEventType::TaskScheduled => {
                if let Some(stage) = before.and_then(|stage| stages.get_mut(stage)) {
                    stage.calls += 1;
                }
                before
            }
            _ => before,
        };
        stage_of.extend(stage.map(|stage| (event.id, stage)));
    }
    stages
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_sfn::types::StateEnteredEventDetails;

    #[test]
    fn stages_that_run_side_by_side_are_told_apart() {
        use HistoryEventType as Type;
        let event = |id: i64, previous: i64, at: i64, kind: Type, name: &str| {
            let entered = StateEnteredEventDetails::builder().name(name).build().expect("details");
            let builder = HistoryEvent::builder().id(id).previous_event_id(previous).r#type(kind);
            let builder = builder.timestamp(DateTime::from_millis(1_700_000_000_000 + at));
            builder.state_entered_event_details(entered).build().expect("an event")
        };
        let events = [
            event(1, 0, 0, Type::ExecutionStarted, ""),
            event(2, 1, 5, Type::TaskStateEntered, "a"),
            event(3, 1, 6, Type::TaskStateEntered, "b"),
            event(4, 2, 7, Type::TaskScheduled, ""),
            event(5, 3, 7, Type::TaskScheduled, ""),
            event(6, 4, 9, Type::TaskFailed, ""),
            event(7, 6, 20, Type::TaskScheduled, ""),
            event(8, 7, 30, Type::TaskSucceeded, ""),
            event(9, 8, 30, Type::TaskStateExited, ""),
            event(10, 9, 31, Type::PassStateEntered, ""),
        ];
        let stage = |stage: &str, begun_ms, took_ms, calls| Stage { stage: stage.to_owned(), begun_ms, took_ms, calls };
        assert_eq!(of(&events), [stage("a", 5.0, Some(25.0), 2), stage("b", 6.0, None, 1)]);
    }
}
