//! What every function of the Treasure Map shares, without I/O: errors, names of objects, notices, messages.

pub mod digest;
pub mod error;
pub mod key;
pub mod message;
pub mod notice;
pub mod ranking;
mod secret;
pub mod settings;
pub mod site;

pub use error::{Class, Context, Error, Result};
pub use secret::Secret;
