//! The whole cluster under a seeded scheduler: nodes with their real state
//! machines and ledgers, a model of etcd, and everything that can go wrong
//! between them; clients of every habit, and an observer for each org that sees
//! calls arrive and nothing else. One thread, true time, no chance but the
//! seed's.
//!
//! A run has faults all the time, and then none: from there on I6 counts. A run
//! that fails prints one line that repeats it. `QUOTAGATE_CLUSTER_SIM_SEEDS` sets
//! how many seeds are run and `QUOTAGATE_CLUSTER_SIM_FROM` the first of them,
//! `QUOTAGATE_CLUSTER_SIM_SEED` runs one, and `QUOTAGATE_CLUSTER_SIM_TRACE`
//! prints what happens in it. Seeds that once failed stand in `sim/seeds.txt`
//! and are run first.
//!
//! Reading order: `scenario` (what a seed stands for), `world` (the scheduler),
//! `driver` (what a node wants is done), `trouble` (what goes wrong), `host`,
//! `store`. Callers, ledgers and observers are those of `quota::sim`.

mod driver;
mod host;
mod scenario;
mod store;
mod trouble;
mod world;

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use fastrand::Rng;

use self::{
    scenario::{Plant, Scenario},
    world::Cluster,
};
use crate::quota::{
    rules::Fault,
    sim::{coverage::Coverage, scenario::Plant as OrgPlant, trace::Trace, world::Violation},
};

/// Seeds of an ordinary run.
const SEEDS: u64 = 300;

/// Threads that share the seeds.
const THREADS: usize = 2;

/// A simulation in which one of these did not happen has shown nothing.
const MUST_HAPPEN: &[&str] = &[
    "answer lost",
    "answer of the store lost",
    "answer to a forwarded request lost",
    "call",
    "call of the store executed after its caller gave up",
    "call of the store lost",
    "call of the store not executed",
    "call of the store without an answer",
    "change of the settings",
    "clocks read before a pause",
    "conflict",
    "crash",
    "crash just after a grant",
    "deletion of an owner key tried again",
    "drain taken back",
    "end after a drain",
    "event of the cluster put off by a pause",
    "event put off by a pause",
    "fenced",
    "foreign use",
    "forwarded by a stale view",
    "forwarded request",
    "forwarded request lost",
    "grant",
    "grant by a stale owner",
    "grant under a cap",
    "hand-over",
    "hand-over begun",
    "hand-over transaction",
    "keep-alive of a lease that is gone",
    "late transaction",
    "leader of the store changes",
    "lease expiry",
    "lease lost over a fresh block",
    "lease revoked",
    "lease that ends late",
    "message to a stale owner",
    "node that never comes back",
    "outcome unknown",
    "owner fenced off",
    "owner key given back",
    "parked",
    "partition between a node and the store",
    "partition between two nodes",
    "pause",
    "quorum lost",
    "reading",
    "release to the open block",
    "request sent to a node that was not the owner",
    "request with no owner",
    "reserve of several records",
    "restart by the book",
    "rolling restart",
    "settings heard of",
    "shard dropped",
    "stale owner stops",
    "start",
    "takeover",
    "totals compared",
    "transaction applied after its caller gave up",
    "transaction lost",
    "transaction not executed",
    "unit lost in an open block",
    "use at once",
    "use at the last instant",
    "wall step",
    "watch lists everything",
    "watch resumed",
    "watches lost",
    "wild wall step",
];

#[test]
fn no_fault_of_the_cluster_overruns_a_limit() {
    if let Some(seed) = number("SEED") {
        println!("{}", check(seed));
        return;
    }
    let known = include_str!("sim/seeds.txt").lines();
    let known = known.filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    let from = number("FROM").unwrap_or(0);
    let count = number("SEEDS").unwrap_or(SEEDS);
    let seeds: Vec<u64> = known.chain(from..from + count).collect();
    let coverage = on_all_threads(&seeds, check);
    println!("{count} seeds\n{coverage}");
    let missing: Vec<_> = MUST_HAPPEN.iter().filter(|what| coverage.of(what) == 0).collect();
    assert!(missing.is_empty() || count < SEEDS, "never happened: {missing:?}");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..4 {
        let hash = || {
            let mut rng = Rng::with_seed(seed);
            let scenario = Scenario::draw(&mut rng, None);
            let run = Cluster::new(rng, scenario, &Trace::Hashed(0.into())).run();
            run.map_or(0, |cluster| cluster.trace_hash())
        };
        let (one, other) = (hash(), hash());
        println!("seed {seed}: {one:016x}");
        assert_eq!(one, other, "seed {seed}");
    }
}

/// At least this much of a saturated limit is used.
const LEAST_USE: f64 = 0.99;

/// I6: when the faults have stopped, callers who answer and report within T/200
/// keep a limit at its maximum.
#[test]
fn a_saturated_limit_is_used_when_the_cluster_is_well() {
    for seed in number("SEED").map_or(0..6, |seed| seed..seed + 1) {
        let _repeat = Repeat { seed, test: "a_saturated_limit_is_used_when" };
        let mut rng = Rng::with_seed(seed);
        let scenario = Scenario::saturated(&mut rng);
        let trace = Trace::asked("QUOTAGATE_CLUSTER_SIM_TRACE");
        let (used, moved_at) = match Cluster::new(rng, scenario, &trace).run() {
            Ok(cluster) => (cluster.share_used(), cluster.moved_at()),
            Err(violation) => panic!("{violation}"),
        };
        println!("seed {seed}: {used:.4} of the limit is used, the last move at {moved_at} µs");
        assert!(used >= LEAST_USE, "only {used:.4} of the limit is used");
    }
}

/// Each planted fault must be found within this many seeds, by what it breaks.
const PATIENCE: u64 = 2_000;

/// What is planted is found by what it breaks: without it the same seeds are
/// good.
#[test]
fn nothing_is_found_where_nothing_is_planted() {
    let seeds: Vec<u64> = number("SEED").map_or(0..30, |seed| seed..seed + 1).collect();
    on_all_threads(&seeds, |seed| {
        let _repeat = Repeat { seed, test: "cluster::sim::nothing_is_found_where" };
        let run = run(seed, Some(Plant::Nothing));
        run.unwrap_or_else(|violation| panic!("{violation}"))
    });
}

/// A new owner that has read the records too early is stopped by the compares
/// of the records that it writes: it takes the shard anew, and nothing is
/// overrun. To read after the owner key was put spares this.
#[test]
fn records_read_before_the_owner_key_is_put_do_no_harm() {
    let seeds: Vec<u64> = number("SEED").map_or(0..60, |seed| seed..seed + 1).collect();
    let coverage = on_all_threads(&seeds, |seed| {
        let _repeat = Repeat { seed, test: "records_read_before_the_owner_key" };
        let run = run(seed, Some(Plant::ReadBeforeTake));
        run.unwrap_or_else(|violation| panic!("{violation}"))
    });
    let (read, anew) = (coverage.of("records read too early"), coverage.of("shard taken anew"));
    println!("{read} takeovers with records read too early, {anew} shards taken anew");
    assert!(seeds.len() < 60 || (read > 0 && anew > 0));
}

fn find(plant: Plant) {
    let found = (0..PATIENCE).find_map(|seed| Some((seed, run(seed, Some(plant)).err()?)));
    let (seed, violation) = found.unwrap_or_else(|| panic!("{plant:?} is not found"));
    println!("{plant:?} is found after {} seeds: {violation}", seed + 1);
}

macro_rules! planted {
    ($($name:ident: $plant:expr,)*) => {$(
        #[test]
        fn $name() {
            find($plant);
        }
    )*};
}

mod planted {
    use super::{Fault::*, OrgPlant::*, Plant::*, find};

    planted! {
        a_hand_over_that_forgets_grants_is_found: Org(Core(HandOverForgetsGrants)),
        a_hand_over_that_grants_on_is_found: Org(Core(HandOverGrantsOn)),
        an_epoch_that_is_not_compared_is_found: Org(BlindPut),
        no_delta_is_found: Org(Core(NoDelta)),
        no_block_deadline_is_found: Org(Core(NoBlockDeadline)),
        a_deadline_from_the_answer_is_found: Org(Core(DeadlineFromAnswer)),
        a_takeover_without_sealing_is_found: Org(Core(TakeoverWithoutSealing)),
        a_seal_without_ttl_cap_is_found: Org(Core(SealWithoutTtlCap)),
        a_seal_without_travel_is_found: Org(Core(SealWithoutTravel)),
        no_record_compare_is_found: Org(Core(NoRecordCompare)),
        a_timeout_taken_for_success_is_found: Org(Core(TimeoutIsSuccess)),
        a_grant_before_it_is_persisted_is_found: Org(Core(GrantBeforePersist)),
        a_fenced_failure_taken_for_success_is_found: Org(Core(FencedIsSuccess)),
        a_wall_step_that_moves_live_entries_is_found: Org(Core(WallAges)),
        clocks_beyond_their_error_are_found: Org(ClocksBeyondError),
        a_record_by_a_wrong_clock_is_found: Org(RecordByWrongClock),
        clocks_frozen_in_a_pause_are_found: Org(FrozenClocks),
        a_client_that_ignores_its_ttl_is_found: Org(ClientIgnoresTtl),
    }
}

fn run(seed: u64, plant: Option<Plant>) -> Result<Coverage, Violation> {
    let mut rng = Rng::with_seed(seed);
    let scenario = Scenario::draw(&mut rng, plant);
    let trace = Trace::asked("QUOTAGATE_CLUSTER_SIM_TRACE");
    Cluster::new(rng, scenario, &trace).run().map(|cluster| cluster.coverage().clone())
}

fn check(seed: u64) -> Coverage {
    let _repeat = Repeat { seed, test: "no_fault_of_the_cluster" };
    run(seed, None).unwrap_or_else(|violation| panic!("{violation}"))
}

/// Runs seeds side by side; what has happened in all of them.
fn on_all_threads(seeds: &[u64], run: impl Fn(u64) -> Coverage + Sync) -> Coverage {
    let next = AtomicU64::new(0);
    let total = Mutex::new(Coverage::default());
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Ok(at) = usize::try_from(next.fetch_add(1, Ordering::Relaxed))
                    && let Some(seed) = seeds.get(at)
                {
                    let coverage = run(*seed);
                    total.lock().unwrap_or_else(PoisonError::into_inner).merge(&coverage);
                }
            });
        }
    });
    total.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(format!("QUOTAGATE_CLUSTER_SIM_{variable}")).ok()?.parse().ok()
}

/// Says how to repeat a run that fails, also one that the code itself ends.
struct Repeat {
    seed: u64,
    test: &'static str,
}

impl Drop for Repeat {
    fn drop(&mut self) {
        if thread::panicking() {
            let Self { seed, test } = self;
            eprintln!(
                "repeat: QUOTAGATE_CLUSTER_SIM_SEED={seed} cargo test --all-features --lib {test}"
            );
        }
    }
}
