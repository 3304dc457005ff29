//! Who may do what, at the edges of a running service.
#![cfg(all(feature = "client", feature = "server"))]

#[path = "../common/mod.rs"]
mod common;
mod holders;
mod http;
#[cfg(all(feature = "cli", target_os = "linux"))]
#[path = "../common/process.rs"]
mod process;
#[cfg(all(feature = "cli", target_os = "linux"))]
mod reload;
#[cfg(all(feature = "cli", target_os = "linux"))]
#[path = "../common/server.rs"]
mod server;
mod table;
mod world;
