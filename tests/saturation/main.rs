//! How much of a limit saturating callers get, and that Salesforce never refuses
//! them, in virtual time: the ledger against the stand-in's own rules.
#![cfg(feature = "server")]

mod world;

use std::time::Duration;

use quotagate::standin::{
    Cap, Limit, Options, Shape,
    options::{DELETE_CONVERSATION, DELETE_PARTICIPANT, GET_ENTRIES},
    worst_window,
};

use self::world::{Callers, Manner, Setting, World};

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A limit that its callers saturate.
struct Saturated {
    name: &'static str,
    setting: Setting,
    /// The limit of the first callers.
    limit: Limit,
    /// Cycles over which use is measured.
    cycles: u32,
    /// The least of the limit that must be used.
    at_least: f64,
}

/// Runs until the first callers have been through all cycles, the first not
/// counted, and measures the worst of all stretches of so many cycles: k × T
/// divided by the time in which k × L calls arrive.
fn check(row: Saturated) {
    let Saturated { name, setting, limit, cycles, at_least } = row;
    let max = usize::try_from(limit.max).expect("a small limit");
    let measured = max * usize::try_from(cycles).expect("a few");
    let wanted = max + measured + max;
    let mut world = World::new(setting.clone());
    world.run_until(0, wanted, limit.window * (2 * cycles + 4));
    never_over(name, &setting, &world);
    let moments: Vec<u64> =
        world.arrivals().iter().filter(|call| call.of == 0).map(|call| call.at_us).collect();
    assert_eq!(moments.len(), wanted, "{name}: calls in {} cycles", 2 * cycles + 4);
    let due_us = limit.window_us() * u64::from(cycles);
    let stretches = moments[max..].windows(measured + 1);
    let longest_us = stretches.map(|stretch| stretch[measured] - stretch[0]).max();
    let used = due_us as f64 / longest_us.expect("there is a stretch") as f64;
    println!("{name}: {:.2} % used", used * 100.0);
    assert!(used >= at_least, "{name}: {:.2} % of the limit used", used * 100.0);
}

/// Nothing was refused, and nothing would have been at any other phase either.
fn never_over(name: &str, setting: &Setting, world: &World) {
    let salesforce = &setting.salesforce;
    let refused = world.arrivals().iter().find(|call| call.refusal.is_some());
    assert!(refused.is_none(), "{name}: refused: {refused:?}");
    for limit in &salesforce.user_limits {
        for user in setting.callers.iter().map(|callers| callers.user) {
            let counted = |of: usize| {
                setting.callers[of].user == user && setting.callers[of].operation == limit.operation
            };
            let calls = world.arrivals().iter().filter(|call| counted(call.of));
            let units: Vec<_> = calls.map(|call| (call.at_us, 1)).collect();
            let worst = worst_window(&units, limit.limit.window_us());
            assert!(worst <= limit.limit.max, "{name}: {worst} of {limit:?} in a window");
        }
    }
    let units: Vec<_> = world.arrivals().iter().map(|call| (call.at_us, call.org_units)).collect();
    let worst = worst_window(&units, salesforce.org_limit.window_us());
    assert!(worst <= salesforce.org_limit.max, "{name}: {worst} of the org's total");
}

/// Sixteen callers of one user, whose calls take 100 ms.
fn entries(user: &'static str, manner: Manner, ttl: Option<Duration>) -> Callers {
    let duration = MILLISECOND * 100;
    Callers { operation: GET_ENTRIES, user, count: 16, ttl, duration, manner }
}

fn setting(salesforce: Options, callers: Vec<Callers>) -> Setting {
    Setting { salesforce, config: String::new(), store_latency: MILLISECOND * 5, callers, seed: 1 }
}

#[test]
fn callers_that_report_use_ninety_nine_percent_of_ninety_a_minute() {
    for store_latency in [Duration::ZERO, MILLISECOND * 5] {
        for seed in 0..4 {
            let callers = vec![entries("u", Manner::Reports, None)];
            let row = setting(Options::default(), callers);
            check(Saturated {
                name: "90 a minute, reported",
                setting: Setting { store_latency, seed, ..row },
                limit: Limit::sliding(90, MINUTE),
                cycles: 10,
                at_least: 0.99,
            });
        }
    }
}

#[test]
fn callers_that_report_nothing_use_eighty_eight_percent_with_permits_of_two_seconds() {
    for store_latency in [Duration::ZERO, MILLISECOND * 5] {
        for seed in 0..4 {
            let callers = vec![entries("u", Manner::Silent, Some(SECOND * 2))];
            let row = setting(Options::default(), callers);
            check(Saturated {
                name: "90 a minute, permits of 2 s, not reported",
                setting: Setting { store_latency, seed, ..row },
                limit: Limit::sliding(90, MINUTE),
                cycles: 10,
                at_least: 0.88,
            });
        }
    }
}

#[test]
fn the_orgs_total_is_used_to_ninety_nine_percent_where_every_answer_brings_a_reading() {
    let fixed = Shape::Fixed { phase: HOUR * 7 };
    for (name, max, shape, header_lag) in [
        ("1,000 a day, exact log", 1_000, Shape::Sliding, Duration::ZERO),
        ("1,000 a day, fixed windows", 1_000, fixed, Duration::ZERO),
        ("1,000 a day, a header of half a minute ago", 1_000, Shape::Sliding, SECOND * 30),
        ("5,000 a day, buckets", 5_000, Shape::Sliding, Duration::ZERO),
    ] {
        let limit = Limit { max, window: DAY, shape };
        let salesforce = Options { org_limit: limit, header_lag, ..Options::default() };
        // Few, since each of them weighs the whole log whenever it is asked.
        let callers =
            Callers { operation: "rest", count: 4, ..entries("u", Manner::Reports, None) };
        let config = format!("template: {{daily_calls: {max}, reserve_percent: 0}}");
        check(Saturated {
            name,
            setting: Setting { config, ..setting(salesforce, vec![callers]) },
            limit,
            cycles: 5,
            at_least: 0.99,
        });
    }
}

#[test]
fn nothing_is_refused_in_any_combination_of_salesforces_switches() {
    let phases = [0, 7, 31, 59].map(|seconds| Shape::Fixed { phase: SECOND * seconds });
    let shapes = phases.into_iter().chain([Shape::Sliding]);
    let mut combinations = 0;
    for (seed, shape) in (0..).zip(shapes) {
        for header_lag in [Duration::ZERO, SECOND * 30] {
            for cap in [Cap::Hard, Cap::Soft] {
                for counts in [false, true] {
                    for long_running in [false, true] {
                        for manner in [Manner::Reports, Manner::SilentAndLate] {
                            let base = Options {
                                header_lag,
                                cap,
                                conversations_count_for_org: counts,
                                // So few that they are used up.
                                org_limit: Limit::sliding(700, DAY),
                                ..Options::default()
                            };
                            combination(base.shaped(shape), long_running, manner, seed);
                            combinations += 1;
                        }
                    }
                }
            }
        }
    }
    assert_eq!(combinations, 160);
}

/// Every sort of traffic at once, for as long as 90 a minute take for some cycles.
fn combination(salesforce: Options, long_running: bool, manner: Manner, seed: u64) {
    let entries = |user| entries(user, manner, None);
    let few = |operation| Callers { operation, count: 3, ..entries("u") };
    let mut callers = vec![
        entries("u"),
        entries("v"),
        few(DELETE_PARTICIPANT),
        few(DELETE_CONVERSATION),
        Callers { operation: "rest", count: 2, ..entries("v") },
    ];
    if long_running {
        let duration = SECOND * 25;
        callers.push(Callers { operation: "rest.long", count: 8, duration, ..entries("u") });
    }
    let counts = salesforce.conversations_count_for_org;
    let name = format!("{:?}, long running: {long_running}, {manner:?}", salesforce);
    let config = config(&salesforce, counts);
    let setting = Setting { config, seed, ..setting(salesforce, callers) };
    let mut world = World::new(setting.clone());
    world.run_until(0, usize::MAX, MINUTE * 5);
    never_over(&name, &setting, &world);
    let of_first = world.arrivals().iter().filter(|call| call.of == 0).count();
    assert!(of_first >= 90, "{name}: {of_first} calls arrived");
}

/// What an operator says who knows the org.
fn config(salesforce: &Options, conversations_count_for_org: bool) -> String {
    let lag = salesforce.header_lag.as_secs();
    let max = salesforce.org_limit.max;
    let operations = [
        ("conversation-entries.get", "entries", 90, "1m"),
        ("conversation-participants.delete", "participant-deletes", 10, "1h"),
        ("conversations.delete", "conversation-deletes", 10, "1h"),
    ];
    let mut text = format!(
        "orgs: [{{id: 00Do, daily_calls: {max}, reserve_percent: 0, header_lag: {lag}s}}]\n\
         catalogue:\n"
    );
    for (operation, limit, max, window) in operations {
        text.push_str(&format!(
            "  {operation}:\n    charges: [{{limit: {limit}, scope: execution_user, max: {max}, \
             window: {window}}}]\n    also_charge: {conversations_count_for_org}\n"
        ));
    }
    text
}
