//! The running service, over gRPC and HTTP on the loopback interface.
#![cfg(all(feature = "client", feature = "server"))]

mod admin;
mod attribution;
mod bad_input;
mod broken_store;
mod classes;
#[path = "../common/mod.rs"]
mod common;
mod connections;
#[cfg(feature = "standin")]
mod cooling;
mod decisions;
mod discovery;
#[cfg(feature = "cli")]
mod doctor;
#[cfg(feature = "cli")]
mod exec;
mod http;
mod overview;
#[cfg(feature = "cli")]
mod poll;
#[cfg(feature = "cli")]
mod program;
#[cfg(feature = "standin")]
#[path = "../common/salesforce.rs"]
mod salesforce;
mod settings;
mod settling;
mod talk;
mod usage;
mod waiting;
