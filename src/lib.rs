//! quotagate shares Salesforce's API limits among many callers.
//!
//! The map of the code, in reading order, from what decides to what runs:
//!
//! 1. [`quota`] is the core, pure: its [`Ledger`](quota::Ledger) counts one org
//!    and takes every decision about it.
//! 2. [`store`] keeps what must outlive the process, behind a contract of small
//!    transactions; [`clock`] reads the clocks.
//! 3. [`shard`] keeps ledgers alive: locks, reserves, takeover, wakes;
//!    [`cluster`] divides the shards among the nodes.
//! 4. [`node`] is where a request is decided, by settings that [`config`] reads;
//!    [`webhook`] tells others what happens by itself.
//! 5. [`auth`] knows who calls, and what they may do. [`rpc`] and [`web`] are the edges: gRPC, and HTTP with the same calls as
//!    [`json`]. The messages are in [`proto`]. [`tls`] secures connections, those that come and
//!    those that go out; [`unsent`] tells what a broken one has not taken.
//! 6. [`server`] puts all of it together, with [`metrics`] and [`telemetry`].
//! 7. [`client`] is the library for callers, [`cli`] the program; [`duration`]
//!    reads lengths of time for both, [`https`] asks servers that are not ours.
//! 8. [`standin`] is a strict stand-in for Salesforce, [`demo`] shows what all of
//!    this is for.
//!
//! Dependencies point from later to earlier rooms. With the feature `client` alone
//! only [`client`], [`clock`], [`tls`], [`unsent`] and [`proto`] are compiled. ARCHITECTURE.md says which room a
//! line belongs in, and follows one Acquire through them.

/// The commit that this was built from; `unknown` in a development build.
pub const COMMIT: &str = env!("QUOTAGATE_COMMIT");

/// The version for people: with the commit, where that is known.
pub const VERSION: &str = env!("QUOTAGATE_VERSION");

#[cfg(feature = "server")]
pub mod auth;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
#[cfg(any(feature = "client", feature = "server"))]
pub mod clock;
#[cfg(feature = "server")]
pub mod cluster;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod demo;
#[cfg(any(feature = "cli", feature = "server"))]
pub mod duration;
#[cfg(any(feature = "cli", feature = "server"))]
pub mod https;
#[cfg(any(feature = "cli", feature = "server"))]
pub mod json;
#[cfg(feature = "server")]
pub mod metrics;
#[cfg(feature = "server")]
pub mod node;
#[cfg(any(feature = "cli", feature = "server"))]
pub mod quota;
#[cfg(feature = "server")]
pub mod rpc;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod shard;
#[cfg(feature = "standin")]
pub mod standin;
#[cfg(feature = "server")]
pub mod store;
#[cfg(feature = "server")]
pub mod telemetry;
#[cfg(any(feature = "client", feature = "server"))]
pub mod tls;
#[cfg(feature = "server")]
pub mod trace;
#[cfg(any(feature = "client", feature = "server"))]
pub mod unsent;
#[cfg(feature = "server")]
pub mod web;
#[cfg(feature = "server")]
pub mod webhook;

/// The messages and services of the protos, as generated.
#[cfg(any(feature = "client", feature = "server"))]
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod proto {
    /// The public contract.
    pub mod v1 {
        tonic::include_proto!("quotagate.v1");
    }
    /// Administration.
    pub mod admin {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("quotagate.admin.v1");
        }
    }
    /// What the nodes of a cluster say to each other.
    #[cfg(feature = "server")]
    pub mod peer {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("quotagate.peer.v1");
        }
    }
    /// What the store holds.
    #[cfg(feature = "server")]
    pub mod store {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("quotagate.store.v1");
        }
    }
    /// What Envoy speaks, as far as it is served.
    #[cfg(feature = "server")]
    pub mod envoy {
        pub mod config {
            pub mod core {
                pub mod v3 {
                    tonic::include_proto!("envoy.config.core.v3");
                }
            }
        }
        pub mod data {
            pub mod accesslog {
                pub mod v3 {
                    tonic::include_proto!("envoy.data.accesslog.v3");
                }
            }
        }
        pub mod extensions {
            pub mod common {
                pub mod ratelimit {
                    pub mod v3 {
                        tonic::include_proto!("envoy.extensions.common.ratelimit.v3");
                    }
                }
            }
        }
        pub mod service {
            pub mod accesslog {
                pub mod v3 {
                    tonic::include_proto!("envoy.service.accesslog.v3");
                }
            }
            pub mod ratelimit {
                pub mod v3 {
                    tonic::include_proto!("envoy.service.ratelimit.v3");
                }
            }
        }
    }
    /// The descriptors of what Envoy speaks.
    #[cfg(feature = "server")]
    pub const ENVOY_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/envoy.binpb"));
    /// The descriptors of the public protos.
    pub const PUBLIC_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/public.binpb"));
}
