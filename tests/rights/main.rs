//! Who may do what, at the edges of a running service.
#![cfg(all(feature = "client", feature = "server"))]

#[path = "../common/mod.rs"]
mod common;
mod holders;
mod http;
mod overview;
mod table;
mod world;
