//! quotagate shares Salesforce's API limits among many callers.

#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "server")]
pub mod clock;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod demo;
#[cfg(any(feature = "cli", feature = "server"))]
pub mod duration;
#[cfg(any(feature = "cli", feature = "server"))]
pub mod json;
#[cfg(feature = "server")]
pub mod metrics;
#[cfg(feature = "server")]
pub mod node;
#[cfg(feature = "server")]
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
#[cfg(feature = "server")]
pub mod web;

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
    /// What the store holds.
    #[cfg(feature = "server")]
    pub mod store {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("quotagate.store.v1");
        }
    }
    /// The descriptors of the public protos.
    pub const PUBLIC_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/public.binpb"));
}
