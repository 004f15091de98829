//! The science: FITS, sky maps, galaxies and what spacecraft see. No I/O, no clock, no environment: bytes and times in,
//! values out.

pub mod fits;
pub mod galaxy;
pub mod gzip;
pub mod skymap;
pub mod visibility;
