//! What two or more of the Treasure Map functions need.
//!
//! `error, key ← fits ← notice, skymap, visibility, galaxy ← message ← treasuremap, store, config, fetch, flow, lambda`
//! ("←": may be imported by). The science rooms, `key` and `message` do no I/O, read no clock and no environment.

pub mod config;
pub mod error;
pub mod fetch;
pub mod fits;
pub mod flow;
pub mod galaxy;
pub mod key;
#[cfg(feature = "lambda")]
pub mod lambda;
pub mod message;
pub mod notice;
pub mod skymap;
pub mod store;
pub mod treasuremap;
pub mod visibility;

pub use error::{Class, Error, Result};
