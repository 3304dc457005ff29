//! The etcd store against a real etcd whose members die, stop and come back.
#![cfg(feature = "server")]

#[path = "../common/etcd.rs"]
mod etcd;
mod failover;
mod identity;
mod launcher;
mod loss;
#[cfg(feature = "cli")]
#[path = "../common/process.rs"]
mod process;
#[cfg(feature = "cli")]
mod serve;
mod words;
