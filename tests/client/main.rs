//! The library for callers: against the real service, against servers that
//! misbehave, and in many processes at once.
#![cfg(all(feature = "client", feature = "server"))]

mod fake;
mod faults;
mod fleet;
mod guard;
mod retries;
#[path = "../common/salesforce.rs"]
mod salesforce;
mod world;
