//! The GWTM API: request bodies as the wire wants them, and the client.
//!
//! Foreign spellings (`graceid`, `prob_hasremenant`, `centralfreq`) and the server's limits stay in here.

pub mod bodies;
mod client;
mod limits;
mod rows;

pub use bodies::{EventGalaxies, GalaxyEntry, Generation, PostAlert, PostIceCube};
pub use client::{Access, Client, ListRemoval, ListedGalaxy, RequestError, Row, Timing};
pub use rows::{Difference, Times};
