//! A real cluster: three nodes and three members of etcd as processes, with
//! callers that saturate several orgs through all nodes, and one fault after
//! another. A strict stand-in for Salesforce sees every call.
//!
//! Each fault is a command of its own, for example
//!
//! ```sh
//! cargo test --all-features --test cluster kill_dash_9
//! QUOTAGATE_CLUSTER_ROUNDS=20 QUOTAGATE_CLUSTER_LEASE=10s \
//!     cargo test --all-features --test cluster rolling_restart
//! QUOTAGATE_CLUSTER_SOAK=30m cargo test --all-features --test cluster soak
//! QUOTAGATE_CLUSTER_ORGS=100000 cargo test --all-features --test cluster many_orgs
//! QUOTAGATE_CLUSTER_CURVES=1 cargo test --all-features --test cluster cost_curves
//! QUOTAGATE_OLD_BIN=$(tests/tools/old.sh) cargo test --all-features --test cluster upgrade
//! QUOTAGATE_CLUSTER_OUTAGE=1m cargo test --all-features --test cluster memory
//! QUOTAGATE_CLUSTER_RESTORE=330s cargo test --all-features --test cluster restore
//! ```
//!
//! What is checked never depends on how fast something is; times are told.
#![cfg(all(feature = "cli", feature = "server"))]

mod audit;
#[path = "../common/etcd.rs"]
mod etcd;
mod faults;
mod limits;
mod load;
#[path = "../common/loopback.rs"]
mod loopback;
mod node;
mod outage;
#[path = "../common/process.rs"]
mod process;
mod proxy;
mod restore;
#[path = "../common/salesforce.rs"]
mod salesforce;
mod scale;
mod soak;
mod upgrade;
mod world;
