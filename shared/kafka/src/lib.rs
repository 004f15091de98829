//! Kafka consumer, topic reader, message archive and health endpoint, shared by the bridge and the command line.
//! The only crate that depends on rdkafka.

pub mod archive;
pub mod consumer;
pub mod health;
mod progress;
pub mod topic;
