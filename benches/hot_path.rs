//! The hot path as often as is asked for, and nothing else: what counts its
//! instructions is `benches/hot_path.sh`.
//!
//! ```sh
//! cargo bench --bench hot_path -- ledger 1000
//! ```
//!
//! `ledger`, `node` and `service` are those of `decisions`; `hop` is `service` at a node
//! that is not the owner, and `hops` are some of them at the same time; `call` and `calls`
//! are the same where each is a call by itself, as to a node that takes no stream.

#[path = "subject/counted.rs"]
mod counted;
mod subject;

use std::process::ExitCode;

use quotagate::clock::Clock;

use self::{
    counted::{WALL, pass, run},
    subject::{AT_ONCE, Edge, Way},
};

fn main() -> ExitCode {
    run("hot_path ledger|node|service|hop|hops|call|calls", async |subject, times| {
        let (way, at_once) = match subject {
            "hop" => (Way::Stream, 1),
            "hops" => (Way::Stream, AT_ONCE),
            "call" => (Way::Calls, 1),
            "calls" => (Way::Calls, AT_ONCE),
            _ => return false,
        };
        hops(times, way, at_once).await;
        true
    })
}

async fn hops(times: u64, way: Way, at_once: u64) {
    let edge = Edge::start(Clock::of_runtime(WALL), way).await;
    for done in 1..=times / at_once {
        edge.serves(at_once).await;
        pass(done * at_once).await;
    }
}
