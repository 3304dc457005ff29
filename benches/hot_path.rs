//! The hot path as often as is asked for, and nothing else: what counts its
//! instructions is `benches/hot_path.sh`.
//!
//! ```sh
//! cargo bench --bench hot_path -- ledger 1000
//! ```
//!
//! `ledger`, `node` and `service` are those of `decisions`; `hop` is `service` at a node
//! that is not the owner, and `hops` are some of them at the same time; `call` and `calls`
//! are the same where each is a call by itself, as to a node that takes no stream. Nothing depends on how long
//! anything takes: the clock is the runtime's, which stands still until it is told
//! to go on, and there is one thread. So the instructions of two runs differ by
//! those of the iterations that one has more, and by next to nothing else.

mod subject;

use std::{process::ExitCode, time::Duration};

use quotagate::{clock::Clock, quota::Wall};
use tokio::{runtime::Builder, time::advance};

use self::subject::{AT_ONCE, Core, Edge, Owner, Way};

/// Iterations between two steps of the clock, and how far it goes: a decision every
/// 100 µs, so that of permits of 100 ms a thousand are out, and as many leave as come.
const STEP: u64 = 10;
const STEP_TIME: Duration = Duration::from_millis(1);

/// Some day.
const WALL: Wall = Wall(1_700_000_000_000_000);

fn main() -> ExitCode {
    // `cargo bench` adds an option of its own.
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [subject, times] = &arguments[..] else { return usage() };
    let Ok(times) = times.parse() else { return usage() };
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without threads can be had");
    match subject.as_str() {
        "ledger" => runtime.block_on(ledger(times)),
        "node" => runtime.block_on(node(times)),
        "service" => runtime.block_on(service(times)),
        "hop" => runtime.block_on(hops(times, Way::Stream, 1)),
        "hops" => runtime.block_on(hops(times, Way::Stream, AT_ONCE)),
        "call" => runtime.block_on(hops(times, Way::Calls, 1)),
        "calls" => runtime.block_on(hops(times, Way::Calls, AT_ONCE)),
        _ => return usage(),
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("usage: hot_path ledger|node|service|hop|hops|call|calls TIMES");
    ExitCode::from(2)
}

async fn ledger(times: u64) {
    let mut core = Core::new(Clock::of_runtime(WALL));
    for done in 1..=times {
        core.decides();
        pass(done).await;
    }
}

async fn node(times: u64) {
    let owner = Owner::start(Clock::of_runtime(WALL)).await;
    for done in 1..=times {
        owner.decides().await;
        pass(done).await;
    }
}

async fn service(times: u64) {
    let owner = Owner::start(Clock::of_runtime(WALL)).await;
    for done in 1..=times {
        owner.serves().await;
        pass(done).await;
    }
}

async fn hops(times: u64, way: Way, at_once: u64) {
    let edge = Edge::start(Clock::of_runtime(WALL), way).await;
    for done in 1..=times / at_once {
        edge.serves(at_once).await;
        pass(done * at_once).await;
    }
}

async fn pass(done: u64) {
    if done.is_multiple_of(STEP) {
        advance(STEP_TIME).await;
    }
}
