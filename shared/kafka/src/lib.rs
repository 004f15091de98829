//! Kafka's side of a listener, for whatever is to be done with each message: the bridge and the command line share it.
//! The only code that names rdkafka.

pub mod archive;
pub mod consumer;
pub mod health;
mod progress;
pub mod topic;
