//! The workspace seen from outside: what several tests need.

pub mod moto;
