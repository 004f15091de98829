//! Kafka → store the bytes → start the flow → acknowledge.
//!
//! The bridge holds the one long-lived connection to GCN, because Lambda cannot log in there. It knows nothing of what
//! a notice says. Each step may happen twice and changes nothing the second time: the object has the notice's own
//! bytes, the flow a name of its topic, partition and offset; and only then is the offset stored.
//!
//! `consumer`, `topic`, `archive` and `health` are Kafka's side, for whatever is to be done with each message; they are
//! the only code that names rdkafka, and need no AWS SDK.

pub mod archive;
pub mod consumer;
#[cfg(feature = "aws")]
mod flows;
#[cfg(feature = "aws")]
mod handover;
pub mod health;
mod progress;
pub mod topic;

#[cfg(feature = "aws")]
pub use flows::Flows;
#[cfg(feature = "aws")]
pub use handover::{Deps, refuse, take};
