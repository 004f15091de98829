//! Kafka → store the bytes → start the flow → wait for its end → store the offset.
//!
//! The bridge holds the long-lived connection to GCN, because Lambda cannot log in there. It does not interpret
//! notices. Delivery is at least once and every step idempotent: the object holds the notice's own bytes, and the
//! flow's name derives from topic, partition and offset.

mod flows;
mod handover;

pub use flows::{Execution, Flows, MAX_WAIT};
pub use handover::Deps;
