//! Encrypted connections: who is let in, who is not and how that is told, and that
//! certificates are swapped under load without a failed request.

#[path = "../common/process.rs"]
mod process;

mod gate;
mod peers;
mod pki;
mod program;
mod refusals;
mod rotation;
mod world;
