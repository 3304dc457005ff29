//! The core under a seeded scheduler: one thread, true time, a model of the
//! store, processes that crash, pause and are overtaken, clients of every
//! habit, and an observer that sees calls arrive and nothing else.
//!
//! A run that fails prints one line that repeats it. `QUOTAGATE_SIM_SEEDS` sets
//! how many seeds are run, `QUOTAGATE_SIM_SEED` runs one, and
//! `QUOTAGATE_SIM_TRACE` prints what happens in it. Seeds that once failed stand
//! in `sim/seeds.txt` and are run first.

mod client;
mod coverage;
mod node;
mod observer;
mod scenario;
mod store;
mod world;

use fastrand::Rng;

use self::{
    coverage::Coverage,
    scenario::{Plant, Scenario},
    world::{Violation, World},
};

/// Seeds of an ordinary run.
const SEEDS: u64 = 300;

fn run(seed: u64, plant: Option<Plant>) -> Result<Coverage, Violation> {
    let mut rng = Rng::with_seed(seed);
    let scenario = Scenario::draw(&mut rng, plant);
    match World::new(rng, scenario).run() {
        Ok((_, coverage)) => Ok(coverage),
        Err((violation, _)) => Err(violation),
    }
}

fn check(seed: u64) -> Coverage {
    run(seed, None).unwrap_or_else(|violation| {
        panic!(
            "{violation}\nrepeat: QUOTAGATE_SIM_SEED={seed} cargo test --all-features --lib \
             no_limit_is_overrun"
        )
    })
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn no_limit_is_overrun_whatever_happens() {
    if let Some(seed) = number("QUOTAGATE_SIM_SEED") {
        println!("{}", check(seed));
        return;
    }
    let known = include_str!("sim/seeds.txt").lines();
    let known = known.filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    let mut coverage = Coverage::default();
    for seed in known.chain(0..number("QUOTAGATE_SIM_SEEDS").unwrap_or(SEEDS)) {
        coverage.merge(&check(seed));
    }
    println!("{coverage}");
}
