//! The commands of `gwtm`, and the functions they call in order inside one process. This page is the way into the crates.
//!
//! A notice arrives from Kafka (the crate `kafka`), from a file or from GraceDB ([`gracedb`]). Its bytes go to the store
//! ([`store`]), and then through functions that hand each other small messages ([`shared::message`]) with object names
//! ([`shared::key`]):
//!
//! 1. [`ingest_ligo`] and [`ingest_icecube`] parse the notice ([`shared::notice`]), claim the alert's name and decode its
//!    map ([`science::skymap`]).
//! 2. [`skymap_products`] makes contours, regions, the flat map and what spacecraft saw ([`science::visibility`]), and
//!    [`galaxy_list`] ranks host galaxies ([`science::galaxy`]).
//! 3. [`post_api`] posts the alert and its list to the Treasure Map ([`treasuremap`]).
//! 4. [`annotate`] writes numbers, plot and page, and sends notifications.
//!
//! The module `pipeline` calls them here; on AWS the Step Functions files in `infra/flows` do, started by the crate
//! `bridge`. [`config`] reads the settings, and [`audit`](::audit) compares what GraceDB published with the store and the
//! Treasure Map. The formulas, with examples that run, are in [`science`]; `docs/architecture.md` has the promises and the
//! decisions.

pub mod arguments;
pub mod audit;
#[cfg(feature = "s3")]
mod aws;
mod batch;
pub mod catalog;
pub mod check;
mod explain;
pub mod failed;
pub mod gracedb;
pub mod help;
#[cfg(feature = "kafka")]
pub mod listen;
pub mod migrate;
mod notices;
pub mod notify;
pub mod pipeline;
pub mod positions;
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
