//! The running service, over gRPC on the loopback interface.
#![cfg(all(feature = "client", feature = "server"))]

mod bad_input;
#[path = "../common/mod.rs"]
mod common;
mod discovery;
