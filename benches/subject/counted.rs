//! What the benches have in common whose instructions are counted: a subject, so many
//! times, and nothing else. Nothing depends on how long anything takes: the clock is
//! the runtime's, which stands still until it is told to go on, and there is one
//! thread. So the instructions of two runs differ by those of the iterations that one
//! has more, and by next to nothing else.

use std::{process::ExitCode, time::Duration};

use quotagate::{clock::Clock, quota::Wall};
use tokio::{runtime::Builder, time::advance};

use crate::subject::{Core, Owner};

/// Iterations between two steps of the clock, and how far it goes: a decision every
/// 100 µs, so that of permits of 100 ms a thousand are out, and as many leave as come.
const STEP: u64 = 10;
const STEP_TIME: Duration = Duration::from_millis(1);

/// Some day.
pub const WALL: Wall = Wall(1_700_000_000_000_000);

/// Does what the arguments say: `ledger`, `node` and `service` are those of `decisions`;
/// `more` does others, and says whether it knows them.
pub fn run(usage: &str, more: impl AsyncFnOnce(&str, u64) -> bool) -> ExitCode {
    // `cargo bench` adds an option of its own.
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [subject, times] = &arguments[..]
        && let Ok(times) = times.parse()
    {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without threads can be had");
        let known = runtime.block_on(async {
            match subject.as_str() {
                "ledger" => ledger(times).await,
                "node" => node(times).await,
                "service" => service(times).await,
                other => return more(other, times).await,
            }
            true
        });
        if known {
            return ExitCode::SUCCESS;
        }
    }
    eprintln!("usage: {usage} TIMES");
    ExitCode::from(2)
}

/// Lets time go on after so many iterations.
pub async fn pass(done: u64) {
    if done.is_multiple_of(STEP) {
        advance(STEP_TIME).await;
    }
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
