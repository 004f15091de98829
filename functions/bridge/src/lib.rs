//! Kafka → store the bytes → start the flow → wait for its end → acknowledge.
//!
//! The bridge holds the one long-lived connection to GCN, because Lambda cannot log in there. It knows nothing of what
//! a notice says. Each step may happen twice and changes nothing the second time: the object has the notice's own
//! bytes, the flow a name of its topic, partition and offset; and only then is the offset stored.

mod flows;
mod handover;

pub use flows::{Execution, Flows};
pub use handover::Deps;
