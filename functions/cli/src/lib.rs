//! gwtm: the Treasure Map functions in one program.

pub mod simulate;
