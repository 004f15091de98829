//! The commands of `gwtm`, and the functions they call in order inside one process.

pub mod arguments;
pub mod audit;
mod batch;
pub mod catalog;
pub mod check;
pub mod failed;
pub mod gracedb;
pub mod help;
#[cfg(feature = "kafka")]
pub mod listen;
pub mod migrate;
mod notices;
pub mod notify;
pub mod pipeline;
#[cfg(feature = "kafka")]
pub mod replay;
mod report;
pub mod run;
pub mod simulate;
pub mod store;

use std::fmt;

/// Why a command ended early.
#[derive(Debug)]
pub struct Failure {
    /// What is wrong, and with what.
    pub message: String,
    /// Whether the command line or the settings were wrong (exit code 2) rather than the work (exit code 1).
    pub usage: bool,
}

impl Failure {
    /// The command line or the settings are wrong.
    pub fn usage(message: impl fmt::Display) -> Self {
        Failure { message: message.to_string(), usage: true }
    }

    /// The work failed.
    pub fn work(message: impl fmt::Display) -> Self {
        Failure { message: message.to_string(), usage: false }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
