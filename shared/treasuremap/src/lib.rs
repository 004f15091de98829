//! Client of the GWTM API, with its request bodies.
//!
//! The API's spellings (`graceid`, `prob_hasremenant`, `centralfreq`) and the server's limits stay in this crate.

pub mod bodies;
mod client;
mod limits;
mod rows;

pub use bodies::{EventGalaxies, GalaxyEntry, Generation, PostAlert, PostIceCube};
pub use client::{Access, Client, ListRemoval, ListedGalaxy, RequestError, Row, Timing};
pub use rows::{Difference, Times};
