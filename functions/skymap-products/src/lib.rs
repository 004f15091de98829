//! stub

pub mod fermi;
