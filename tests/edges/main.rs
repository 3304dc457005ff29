//! The edges against services that answer by rote: what is on the wire, and
//! what the program prints and exits with.
#![cfg(all(feature = "cli", feature = "server"))]

mod fake;
mod http;
mod program;
