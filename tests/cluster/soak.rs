//! Faults by chance for a long time: a line for each, and a report at the end.

use std::{collections::BTreeMap, env, time::Duration};

use tokio::time::Instant;

use crate::{
    faults::ALL,
    world::{Demand, World, say},
};

/// Used up in the course of a soak of ten minutes; then callers go on with what
/// comes back.
const DAILY_CALLS: u64 = 3_000;

/// Strikes for as long as `QUOTAGATE_CLUSTER_SOAK` says, such as `30m`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn soak() {
    let Ok(text) = env::var("QUOTAGATE_CLUSTER_SOAK") else { return };
    let time = quotagate::duration::parse(&text).expect("QUOTAGATE_CLUSTER_SOAK: such as 30m");
    let Some(mut world) = World::start(Demand::Saturating, DAILY_CALLS).await else { return };
    world.goes_on().await;
    let start = Instant::now();
    let mut struck = BTreeMap::<_, (u64, Duration)>::new();
    while start.elapsed() < time {
        let fault = ALL[world.random.usize(0..ALL.len())];
        let begin = Instant::now();
        fault.strikes(&mut world).await;
        world.goes_on().await;
        let (times, worst) = struck.entry(fault).or_default();
        (*times, *worst) = (*times + 1, begin.elapsed().max(*worst));
        say(&format!(
            "{:4} s of {} s: {fault:?}, {:.1?}; {}",
            start.elapsed().as_secs(),
            time.as_secs(),
            begin.elapsed(),
            world.progress()
        ));
    }
    for (fault, (times, worst)) in struck {
        say(&format!("{fault:?}: {times} times, over after {worst:.1?} at the latest"));
    }
    world.finish("soak").await;
}
