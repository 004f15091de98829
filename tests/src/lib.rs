//! The workspace seen from outside: what several tests need.

pub mod gwtm_server;
pub mod moto;
pub mod program;
