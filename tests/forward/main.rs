//! Nodes that forward to each other, over loopback. Who owns what is said by the
//! tests; no store and no leases are involved.
#![cfg(all(feature = "client", feature = "server"))]

mod attribution;
mod broken;
mod client;
mod identity;
mod moves;
mod overview;
mod owner;
mod stream;
mod world;
