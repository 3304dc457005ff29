//! What is written about counters: small, exact enough, and never less than
//! what was counted.

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;
use quotagate::quota::{Class, CounterRecord, Group, Report, Stored, Wall};

use crate::bench::*;

fn recorded<'a>(bench: &'a Bench, group: &Group, limit: &str) -> &'a CounterRecord {
    let record = &bench.store[group].record;
    record.counters.iter().find(|counter| counter.limit.as_str() == limit).expect("recorded")
}

fn sum(entries: &[(Wall, u64)]) -> u64 {
    entries.iter().map(|(_, units)| units).sum()
}

/// Bytes of a number in base 128.
fn varint(number: u64) -> usize {
    (64 - number.max(1).leading_zeros() as usize).div_ceil(7)
}

/// What entries take when they are written as the first bucket and counts
/// (where they lie on a grid of buckets), or as deltas and counts.
fn packed_bytes(entries: &[(Wall, u64)], bucket: Duration) -> usize {
    let Some((first, _)) = entries.first() else { return 0 };
    let width = u64::try_from(bucket.as_micros()).unwrap();
    let as_deltas: usize = entries
        .windows(2)
        .map(|pair| varint((pair[1].0.0 - pair[0].0.0) / 1_000))
        .chain(entries.iter().map(|(_, units)| varint(*units)))
        .sum();
    let is_grid = entries.iter().all(|(stamp, _)| stamp.0 % width == 0);
    let last = entries.last().expect("not empty").0;
    let empty = usize::try_from((last.0 - first.0) / width).unwrap() + 1 - entries.len();
    let as_counts = empty + entries.iter().map(|(_, units)| varint(*units)).sum::<usize>();
    let head = varint(first.0 / 1_000);
    head + if is_grid { as_counts.min(as_deltas) } else { as_deltas }
}

#[test]
fn a_counter_of_few_calls_is_written_exactly() {
    let mut bench = Bench::of(org());
    let mut stamps = Vec::new();
    for _ in 0..50 {
        let permit = bench.grant(ask(READ));
        bench.report(&permit, answered(1));
        stamps.push(bench.now.wall);
        bench.advance(ms(250));
    }
    bench.advance(secs(8));
    let counter = recorded(&bench, &Group::User(user("alice")), "entries");
    assert_eq!(counter.open, 0);
    let written: Vec<Wall> = counter.sealed.iter().map(|(stamp, _)| *stamp).collect();
    assert_eq!(written, stamps);
    assert!(counter.sealed.iter().all(|(_, units)| *units == 1));
}

#[test]
fn stamps_are_whole_milliseconds_rounded_to_later() {
    let mut bench = Bench::of(org());
    let permit = bench.grant(ask(READ));
    bench.advance(Duration::from_micros(1_234_567));
    bench.report(&permit, answered(1));
    let settled = bench.now.wall;
    bench.advance(secs(8));
    let counter = recorded(&bench, &Group::User(user("alice")), "entries");
    assert_eq!(counter.sealed, [(Wall(settled.0.div_ceil(1_000) * 1_000), 1)]);
}

#[test]
fn a_busy_days_counter_takes_three_kilobytes_at_most() {
    // (limit, calls at a time, pause between them): one after the other for a day
    let rows = [(15_000, 10, secs(58)), (100_000, 300, secs(300)), (5_000_000, 3_400, secs(60))];
    for (limit, calls, pause) in rows {
        let mut bench = Bench::of(org().daily(limit).capped("w", limit));
        let mut spent_now = 0;
        while spent_now + u64::from(calls) <= limit && bench.now.wall.0 < 1_700_090_000_000_000 {
            let permit = bench.grant(ask(REST).of("w").class(Class::Control).calls(calls));
            // Each odd one is answered, so that stamps are of both sorts.
            if spent_now % 2 == 0 {
                bench.report(&permit, answered(calls));
            }
            bench.advance(pause);
            spent_now = spent(&bench.total());
        }
        bench.advance(secs(200));
        for group in [Group::Org, Group::Workspace(workspace("w"))] {
            let counter = recorded(&bench, &group, "calls");
            let bytes = packed_bytes(&counter.sealed, secs(60));
            assert!(bytes <= 3 * 1_024, "{group:?} of {limit}: {bytes} bytes");
            assert!(counter.sealed.len() <= 1_450, "{group:?}: {}", counter.sealed.len());
        }
    }
}

#[test]
fn an_idle_org_costs_nothing() {
    let mut bench = Bench::of(org().capped("w", 100));
    bench.grant(ask(LONG).of("w").by("alice"));
    bench.grant(ask(READ).of("w"));
    assert_eq!(bench.store.len(), 3);
    bench.advance(DAY + secs(300));
    assert!(bench.sweep());
    assert!(bench.store.is_empty(), "{:?}", bench.store);
}

#[test]
fn an_idle_org_costs_nothing_after_a_restart_either() {
    let mut bench = Bench::of(org().capped("w", 100));
    bench.grant(ask(LONG).of("w"));
    bench.restart(secs(1));
    // A block may have been granted from until its end, for 5 minutes.
    bench.advance(DAY + secs(400));
    assert!(bench.sweep());
    assert!(bench.store.is_empty(), "{:?}", bench.store);
}

#[test]
fn a_workspace_that_was_paused_costs_nothing_when_it_is_idle() {
    // Nobody asked for its classes any more, so they stayed paused, and the
    // record that said so stayed for ever.
    let mut bench = Bench::of(org().capped("w", 10));
    bench.grant(ask(READ).of("w").class(Class::Interactive).calls(10));
    bench.deny(ask(READ).of("w").class(Class::Interactive));
    bench.advance(secs(30));
    assert_eq!(bench.store[&Group::Workspace(workspace("w"))].record.paused.len(), 3);
    bench.advance(HOUR);
    bench.sweep();
    assert_eq!(bench.store.len(), 1, "the user's window has passed");
    bench.advance(DAY + secs(300));
    assert!(bench.sweep());
    assert!(bench.store.is_empty(), "{:?}", bench.store);
}

#[test]
fn a_block_is_given_up_when_nobody_has_asked_for_a_while() {
    let mut bench = Bench::of(org());
    for _ in 0..60 {
        bench.grant(ask(REST));
    }
    assert!(bench.total().held > 0);
    bench.advance(secs(25));
    assert_eq!(bench.total().held, 0);
    assert_eq!(recorded(&bench, &Group::Org, "calls").open, 0);
    bench.restart(secs(1));
    assert_eq!((spent(&bench.total()), bench.total().held), (60, 0));
}

#[test]
fn a_hand_over_wastes_nothing() {
    let mut bench = Bench::of(org().capped("w", 1_000));
    for _ in 0..60 {
        bench.grant(ask(REST).of("w"));
        bench.grant(ask(READ).of("w"));
    }
    bench.hand_over();
    bench.restart(secs(1));
    assert_eq!((spent(&bench.total()), bench.total().held), (60, 0));
    assert_eq!((spent(&bench.cap("w")), bench.cap("w").held), (120, 0));
    let entries = bench.of_user("alice", "entries");
    assert_eq!((spent(&entries), entries.held), (60, 0));
}

#[test]
fn a_lost_block_is_held_until_its_permits_could_have_left() {
    let mut bench = Bench::of(org());
    bench.grant(ask(READ));
    bench.grant(ask(READ));
    let granted = bench.now.wall;
    let counter = recorded(&bench, &Group::User(user("alice")), "entries");
    let (sealed, open) = (sum(&counter.sealed), counter.open);
    assert!(sealed + open >= 2 && open > 0);
    bench.restart(secs(0));
    let entries = bench.of_user("alice", "entries");
    assert_eq!((spent(&entries), entries.held), (sealed, open));
    // open_until + ttl_cap + d + T + 2 ε
    let end = granted + secs(3) + secs(30) + TRAVEL + MINUTE + secs(4);
    bench.advance(end.since(bench.now.wall) - ms(1));
    assert_eq!(bench.of_user("alice", "entries").held, open);
    bench.advance(ms(1));
    assert_eq!(bench.of_user("alice", "entries").held, 0);
}

/// A little history: calls by user and workspace, reports, time.
#[derive(Clone, Debug)]
enum Step {
    Ask { operation: usize, named: bool, calls: u32, cost: u32 },
    Report { back: usize, calls: u32, status: u16 },
    Wait(u64),
}

fn steps(longest_wait_ms: u64) -> impl Strategy<Value = Vec<Step>> {
    let ask = (0usize..4, any::<bool>(), 1u32..30, 1u32..4)
        .prop_map(|(operation, named, calls, cost)| Step::Ask { operation, named, calls, cost });
    let status = prop::sample::select(vec![200u16, 200, 403, 500, 0]);
    let report = (0usize..5, 1u32..30, status).prop_map(|(back, calls, status)| Step::Report {
        back,
        calls,
        status,
    });
    let step = prop_oneof![4 => ask, 2 => report, 3 => (0..longest_wait_ms).prop_map(Step::Wait)];
    prop::collection::vec(step, 1..40)
}

fn run(bench: &mut Bench, history: Vec<Step>) {
    let mut permits = Vec::new();
    for step in history {
        match step {
            Step::Ask { operation, named, calls, cost } => {
                let mut asked = ask([READ, DELETE, REST, LONG][operation]).by("alice");
                asked = asked.calls(calls).at_least(1).costing(cost);
                if named {
                    asked = asked.of("w");
                }
                if let quotagate::quota::Outcome::Granted(permit) = bench.decide(asked) {
                    permits.push(permit);
                }
            }
            Step::Report { back, calls, status } => {
                if let Some(permit) = permits.iter().rev().nth(back) {
                    let completed_ago = ms(u64::from(calls) * 10);
                    bench.report(permit, Report { completed_ago, ..report(0, calls, status) });
                }
            }
            Step::Wait(millis) => bench.advance(ms(millis)),
        }
    }
}

/// A figure of each recorded counter.
fn each_record(
    store: &BTreeMap<Group, Stored>,
    figure: impl Fn(&CounterRecord) -> u64,
) -> BTreeMap<String, u64> {
    let mut figures = BTreeMap::new();
    for (group, stored) in store {
        let identity = match group {
            Group::Org => "acme",
            Group::User(user) => user.as_str(),
            Group::Workspace(workspace) => workspace.as_str(),
        };
        for counter in &stored.record.counters {
            figures.insert(format!("{} of {identity}", counter.limit), figure(counter));
        }
    }
    figures
}

/// Used and held, of every counter that is shown.
fn counted(bench: &mut Bench) -> Vec<(String, u64)> {
    let usage = bench.usage();
    let of_workspaces = usage.workspaces.iter().flat_map(|shown| &shown.limits[..1]);
    let of_users = usage.users.iter().flat_map(|shown| &shown.limits);
    let mut counted: Vec<(String, u64)> = usage
        .limits
        .iter()
        .chain(of_workspaces)
        .chain(of_users)
        .map(|limit| (format!("{} of {}", limit.name, limit.identity), spent(limit) + limit.held))
        .collect();
    counted.sort();
    counted
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever was counted before a restart counts at least as long after it,
    /// and no more than an open block is added.
    #[test]
    fn a_restart_forgets_nothing_and_wastes_a_block_at_most(
        history in steps(20_000),
        down_ms in 0u64..5_000,
        probes in prop::collection::vec(0u64..90_000_000, 1..6),
    ) {
        let settings = org().daily(3_000).slots(40).capped("w", 2_000);
        let mut before = Bench::of(settings);
        run(&mut before, history);
        let records = each_record(&before.store, |counter| {
            sum(&counter.sealed) + sum(&counter.lost) + counter.open
        });
        let mut after = before.clone();
        after.restart(ms(down_ms));
        before.advance(ms(down_ms));
        // Everything that the records contain, open blocks too, and no more.
        for (name, present) in counted(&mut after) {
            let most = records.get(&name).copied().unwrap_or(0);
            prop_assert!(present <= most, "{name}: {present}, {most} are recorded");
        }
        // Without asks every block is over soon: from then on nothing is held by
        // the one that went on. In memory it rounds the stamps of a long window
        // to later by up to a minute, which the record does not.
        let mut ahead = before.clone();
        ahead.advance(MINUTE);
        let mut probes = probes;
        probes.sort_unstable();
        let mut passed = 0;
        for probe in probes {
            for bench in [&mut before, &mut after, &mut ahead] {
                bench.advance(ms(probe + 60_000 - passed));
            }
            passed = probe + 60_000;
            let present: BTreeMap<String, u64> = counted(&mut after).into_iter().collect();
            let exact = counted(&mut before).into_iter().filter(|(name, _)| name != "calls of w");
            let rounded = counted(&mut ahead).into_iter().filter(|(name, _)| name == "calls of w");
            for (name, least) in exact.chain(rounded) {
                prop_assert!(present[&name] >= least, "{name} after {passed} ms, {least}");
            }
        }
    }
}
