//! The running service, over gRPC and HTTP on the loopback interface.
#![cfg(all(feature = "client", feature = "server"))]

mod admin;
mod bad_input;
mod broken_store;
#[path = "../common/mod.rs"]
mod common;
mod decisions;
mod discovery;
mod http;
#[cfg(feature = "cli")]
mod poll;
#[cfg(feature = "cli")]
mod program;
mod settling;
mod talk;
mod usage;
mod waiting;
