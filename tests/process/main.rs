//! The real program as processes, with callers that call a strict stand-in for
//! Salesforce over HTTP: what is never refused, forgotten or counted twice.
#![cfg(all(feature = "cli", feature = "server"))]

mod counts;
mod crash;
mod fleet;
#[path = "../common/loopback.rs"]
mod loopback;
#[path = "../common/process.rs"]
mod process;
mod program;
mod refusals;
mod rounds;
#[path = "../common/salesforce.rs"]
mod salesforce;
mod saturation;
