//! The sky that a spacecraft sees at a time: a [`Coverage`], written as an IVOA MOC; and what an observatory on the ground can
//! see of a map.
//!
//! | module | content |
//! |---|---|
//! | orbit | TLEs, and positions by SGP4 |
//! | earth | transforms from the orbit's frame to the sky and the ground |
//! | saa | the South Atlantic Anomaly, where GBM is off |
//! | ft2 | LAT's pointing: weekly spacecraft files |
//! | coverage | cells of the sky, by cone and complement |
//! | fermi | fields of view of GBM and LAT |
//! | swift_pointing | Swift's pointing: a file of pointings |
//! | swift_timeline | Swift's timelines as flown and planned: answers of the mission's service |
//! | bat | field of view of Swift's BAT |
//! | site | what can be seen of a map from the ground |
//! | sun_moon | positions of the Sun and the Moon |
//!
//! Nothing here reads a clock, a file or the network.

pub mod bat;
pub mod coverage;
pub mod earth;
pub mod fermi;
pub mod ft2;
pub mod orbit;
pub mod saa;
pub mod site;
pub mod sun_moon;
pub mod swift_pointing;
pub mod swift_timeline;

pub use coverage::Coverage;
