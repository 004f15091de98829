//! Shared helpers of the integration tests.

pub mod azurite;
pub mod backend;
pub mod ceph;
pub mod comet;
pub mod conformance;
pub mod faults;
pub mod gracedb;
pub mod gwtm_server;
pub mod kafka;
pub mod lambda;
pub mod listener;
pub mod login;
pub mod moto;
pub mod program;
pub mod s3s;
pub mod server;
pub mod smtp;
pub mod story;
pub mod swift;
pub mod swift_service;
pub mod wire;
pub mod year;
