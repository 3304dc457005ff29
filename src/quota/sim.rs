//! The core under a seeded scheduler: one thread, true time, a model of the
//! store, processes that crash, pause and are overtaken, clients of every
//! habit, and an observer that sees calls arrive and nothing else.
//!
//! A run that fails prints one line that repeats it. `QUOTAGATE_SIM_SEEDS` sets
//! how many seeds are run and `QUOTAGATE_SIM_FROM` the first of them,
//! `QUOTAGATE_SIM_SEED` runs one, and `QUOTAGATE_SIM_TRACE` prints what happens
//! in it. Seeds that once failed stand in `sim/seeds.txt` and are run first.
//!
//! Reading order: `scenario` (what a seed stands for), `world` (the scheduler,
//! the shell's part, and what goes wrong), `client`, `node`, `store`,
//! `observer`.

pub mod client;
pub mod coverage;
pub mod node;
pub mod observer;
pub mod scenario;
pub mod store;
pub mod trace;
pub mod world;

use fastrand::Rng;

use self::{
    coverage::Coverage,
    scenario::{Plant, Scenario},
    world::{Violation, World},
};
use super::rules::Fault;

/// Seeds of an ordinary run.
const SEEDS: u64 = 300;

/// A simulation in which one of these did not happen has shown nothing.
const MUST_HAPPEN: &[&str] = &[
    "answer lost",
    "call",
    "cancel",
    "change of the settings",
    "check",
    "clocks read before a pause",
    "conflict",
    "crash",
    "crash just after a grant",
    "denial",
    "denial for a cooling-down",
    "event put off by a pause",
    "failure",
    "fenced",
    "foreign use",
    "grant",
    "grant by a stale owner",
    "grant under a cap",
    "hand-over",
    "hand-over transaction",
    "late transaction",
    "message to a stale owner",
    "outcome unknown",
    "parked",
    "partial grant",
    "partial report",
    "pause",
    "permit that came too late",
    "reading",
    "refusal by Salesforce",
    "release",
    "release again",
    "release of nothing new",
    "release that needs a number",
    "release to the open block",
    "repeat answered with the same permit",
    "report of nothing new",
    "report without an answer",
    "reserve of several records",
    "stale owner stops",
    "takeover from a fresh block",
    "takeover from a living owner",
    "totals compared",
    "transaction applied after its caller gave up",
    "transaction lost",
    "transaction not executed",
    "unit lost in an open block",
    "use at once",
    "use at the last instant",
    "use of one call, then of the rest",
    "use somehow",
    "wall step",
    "wild wall step",
];

#[test]
fn no_limit_is_overrun_whatever_happens() {
    if let Some(seed) = number("QUOTAGATE_SIM_SEED") {
        println!("{}", check(seed));
        return;
    }
    let known = include_str!("sim/seeds.txt").lines();
    let known = known.filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    let from = number("QUOTAGATE_SIM_FROM").unwrap_or(0);
    let seeds = number("QUOTAGATE_SIM_SEEDS").unwrap_or(SEEDS);
    let mut coverage = Coverage::default();
    for seed in known.chain(from..from + seeds) {
        coverage.merge(&check(seed));
    }
    println!("{coverage}");
    let missing: Vec<_> = MUST_HAPPEN.iter().filter(|what| coverage.of(what) == 0).collect();
    assert!(missing.is_empty() || seeds < SEEDS, "never happened: {missing:?}");
}

/// At least this much of a saturated limit is used.
const LEAST_USE: f64 = 0.99;

/// I6: callers who answer and report within T/200 keep a limit at its maximum.
#[test]
fn a_saturated_limit_is_used_whatever_went_wrong_before() {
    for seed in number("QUOTAGATE_SIM_SEED").map_or(0..12, |seed| seed..seed + 1) {
        let _repeat = Repeat { seed, test: "a_saturated_limit_is_used" };
        let mut rng = Rng::with_seed(seed);
        let scenario = Scenario::saturated(&mut rng);
        let used = match World::new(rng, scenario).run() {
            Ok((world, _)) => world.share_used(),
            Err(violation) => panic!("{violation}"),
        };
        println!("seed {seed}: {used:.4} of the limit is used");
        assert!(used >= LEAST_USE, "only {used:.4} of the limit is used");
    }
}

/// Each planted fault must be found within this many seeds, by what it breaks.
const PATIENCE: u64 = 400;

/// What is planted is found by what it breaks: without it the same seeds are
/// good.
#[test]
fn nothing_is_found_where_nothing_is_planted() {
    let seeds = number("QUOTAGATE_SIM_SEED").map_or(0..40, |seed| seed..seed + 1);
    for seed in seeds {
        let _repeat = Repeat { seed, test: "nothing_is_found_where" };
        run(seed, Some(Plant::Nothing)).unwrap_or_else(|violation| panic!("{violation}"));
    }
}

fn find(plant: Plant) {
    let found = (0..PATIENCE).find_map(|seed| Some((seed, run(seed, Some(plant)).err()?)));
    let (seed, violation) = found.unwrap_or_else(|| panic!("{plant:?} is not found"));
    println!("{plant:?} is found by seed {seed}: {violation}");
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
    use super::{Fault::*, Plant::*, find};

    planted! {
        no_delta_is_found: Core(NoDelta),
        no_block_deadline_is_found: Core(NoBlockDeadline),
        a_deadline_from_the_answer_is_found: Core(DeadlineFromAnswer),
        a_takeover_without_sealing_is_found: Core(TakeoverWithoutSealing),
        a_seal_without_ttl_cap_is_found: Core(SealWithoutTtlCap),
        a_seal_without_travel_is_found: Core(SealWithoutTravel),
        no_record_compare_is_found: Core(NoRecordCompare),
        a_timeout_taken_for_success_is_found: Core(TimeoutIsSuccess),
        a_grant_before_it_is_persisted_is_found: Core(GrantBeforePersist),
        a_fenced_failure_taken_for_success_is_found: Core(FencedIsSuccess),
        a_release_honoured_twice_is_found: Core(ReleaseTwice),
        a_repeated_report_that_settles_more_is_found: Core(ReportSettlesMore),
        a_report_without_answer_that_frees_is_found: Core(ReportWithoutAnswerFrees),
        a_repeat_with_the_full_ttl_is_found: Core(RepeatWithFullTtl),
        a_wall_step_that_moves_live_entries_is_found: Core(WallAges),
        a_slot_freed_at_expiry_is_found: Core(SlotFreedAtExpiry),
        a_gate_before_the_grant_is_found: Core(GateBeforeGrant),
        a_release_in_flight_to_the_open_block_is_found: Core(ReleaseInFlightToOpen),
        a_recorded_unit_granted_again_is_found: Core(ReleaseRecordedToOpen),
        a_release_without_a_number_after_sending_is_found: Core(ReleaseAfterReport),
        a_blind_put_is_found: BlindPut,
        clocks_beyond_their_error_are_found: ClocksBeyondError,
        a_record_by_a_wrong_clock_is_found: RecordByWrongClock,
        clocks_frozen_in_a_pause_are_found: FrozenClocks,
        a_client_that_ignores_its_ttl_is_found: ClientIgnoresTtl,
    }
}

fn run(seed: u64, plant: Option<Plant>) -> Result<Coverage, Violation> {
    let mut rng = Rng::with_seed(seed);
    let scenario = Scenario::draw(&mut rng, plant);
    World::new(rng, scenario).run().map(|(_, coverage)| coverage)
}

fn check(seed: u64) -> Coverage {
    let _repeat = Repeat { seed, test: "no_limit_is_overrun" };
    run(seed, None).unwrap_or_else(|violation| panic!("{violation}"))
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Says how to repeat a run that fails, also one that the core itself ends.
struct Repeat {
    seed: u64,
    test: &'static str,
}

impl Drop for Repeat {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { seed, test } = self;
            eprintln!("repeat: QUOTAGATE_SIM_SEED={seed} cargo test --all-features --lib {test}");
        }
    }
}
