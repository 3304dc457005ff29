//! The library for callers: against the real service, against servers that
//! misbehave, and in many processes at once.
#![cfg(all(feature = "client", feature = "server"))]

#[cfg(all(feature = "tower", feature = "reqwest"))]
mod adapters;
mod fake;
mod faults;
mod fleet;
mod guard;
#[cfg(all(feature = "tower", feature = "reqwest"))]
#[path = "../common/adapters.rs"]
mod http;
#[path = "../common/loopback.rs"]
mod loopback;
mod pooled;
mod retries;
#[path = "../common/salesforce.rs"]
mod salesforce;
mod world;
