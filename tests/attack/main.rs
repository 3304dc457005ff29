//! The real program under attack: hostile frames of HTTP/2, floods of everything
//! at once, and whatever may carry a secret into its log.
//!
//! `QUOTAGATE_ATTACK=2m` attacks for so long, and judges how long honest callers
//! wait; by itself the run is short and only tells: other tests share the machine.
#![cfg(all(feature = "client", feature = "server", feature = "cli", target_os = "linux"))]

mod abuse;
mod honest;
mod horde;
mod operators;
#[path = "../common/process.rs"]
mod process;
mod run;
mod secrets;
#[path = "../common/server.rs"]
mod server;
mod wire;
