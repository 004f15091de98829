//! What a spacecraft sees at a time; the answer is a [`Coverage`], written as an IVOA MOC.
//!
//! | file | what |
//! |---|---|
//! | orbit | a TLE, and where SGP4 says the spacecraft is |
//! | earth | from the orbit's frame to the sky and to the ground |
//! | saa | the South Atlantic Anomaly, where GBM is off |
//! | ft2 | where LAT points: weekly spacecraft files |
//! | coverage | cells of the sky, by cone and complement |
//! | fermi | what GBM and LAT see |
//! | swift_pointing | where Swift points: a file of pointings |
//! | bat | what Swift's BAT sees |
//!
//! Nothing here reads a clock, a file or the network.

pub mod bat;
pub mod coverage;
pub mod earth;
pub mod fermi;
pub mod ft2;
pub mod orbit;
pub mod saa;
pub mod swift_pointing;

pub use coverage::Coverage;
