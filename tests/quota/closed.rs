//! A start in which nobody knows what was counted until some moment.

use std::time::Duration;

use quotagate::quota::{Charge, Class, Group, Kind, LimitUsage, OrgPolicy, Rules};

use crate::bench::*;

/// What an inherited entry has to wait besides its window: 2 ε.
const CLOCKS: Duration = secs(4);

/// How long whoever had not noticed may have gone on granting from an open block
/// of a window.
fn horizon(window: Duration) -> Duration {
    if window < HOUR { secs(3) } else { secs(10) }
}

/// All that could have been granted of an org's day has arrived so long after.
const ARRIVED: Duration = secs(10 + 300 + 5 + 4);

/// No permit of a long window lives longer.
const LONGEST_TTL: Duration = secs(300);

/// An org that starts `after` the moment up to which nothing is known.
fn closed(policy: OrgPolicy, after: Duration) -> Bench {
    let mut bench = Bench::of(policy);
    let since = bench.now.wall;
    bench.restart_closed(after, since);
    bench
}

fn free(limit: &LimitUsage) -> u64 {
    limit.max - spent(limit) - limit.held
}

#[test]
fn every_counter_is_full_until_all_that_could_have_been_granted_has_left() {
    // (name, charge, the longest ttl)
    let rows = [
        ("a minute", per_user("l", 90, MINUTE), secs(30)),
        ("an hour", per_user("l", 10, HOUR), LONGEST_TTL),
        ("an org's window", per_org("l", 7, MINUTE), secs(30)),
        ("slots", slots(secs(600)), LONGEST_TTL),
        ("a day", Charge::org_total(), LONGEST_TTL),
    ];
    for (name, charge, ttl_cap) in rows {
        for after in [secs(0), secs(10)] {
            println!("{name}, started {after:?} later");
            let (window, is_slots) = (charge.window, charge.kind == Kind::Concurrency);
            let mut bench =
                Bench::with(org(), catalogue(vec![("op", vec![charge.clone()])]), Rules::default());
            let since = bench.now.wall;
            bench.restart_closed(after, since);
            let wait = window + horizon(window) + ttl_cap + TRAVEL + CLOCKS - after;
            let denial = bench.deny(ask("op").class(Class::Control));
            let limit = denial.limit.expect("a limit binds");
            assert_eq!((limit.held, free(&limit)), (limit.max, 0));
            assert_eq!(denial.retry_after, (!is_slots).then_some(wait));
            bench.advance(wait - ms(1));
            bench.deny(ask("op"));
            bench.advance(ms(1));
            bench.grant(ask("op"));
            let calls = u32::try_from(limit.max - 1).unwrap();
            bench.grant(ask("op").calls(calls).at_least(calls));
        }
    }
}

#[test]
fn a_window_that_has_passed_since_is_open() {
    let mut bench = closed(org().capped("w", 100), DAY + ARRIVED);
    let usage = bench.usage();
    let users = usage.users.iter().flat_map(|user| &user.limits);
    let workspaces = usage.workspaces.iter().flat_map(|workspace| &workspace.limits);
    for limit in usage.limits.iter().chain(users).chain(workspaces) {
        assert_eq!(limit.held, 0, "{limit:?}");
    }
    assert!(bench.sweep(), "nothing is left of it");
    bench.grant(ask(REST).of("w"));
}

#[test]
fn a_reading_that_contains_every_call_of_before_opens_the_total_and_the_caps() {
    let arrived = ARRIVED;
    // (name, read after, opens)
    let rows = [
        ("at once", secs(0), false),
        ("while permits of before may be out", arrived - ms(1), false),
        ("when all have arrived", arrived, true),
        ("later", HOUR, true),
    ];
    for (name, after, opens) in rows {
        let mut bench = closed(org().daily(1_000).capped("w", 100), secs(0));
        assert_eq!((bench.total().held, bench.cap("w").held), (1_000, 100), "{name}");
        bench.advance(after);
        bench.read(600, 1_000);
        let total = bench.total();
        assert_eq!(total.foreign, 600, "{name}: all that is used is taken for others'");
        if opens {
            assert_eq!((total.held, bench.cap("w").held), (0, 0), "{name}");
            bench.grant(ask(REST).of("w").class(Class::Control).calls(100).at_least(100));
            bench.grant(ask(REST).calls(300).at_least(300));
            bench.deny(ask(REST));
        } else {
            bench.deny(ask(REST).of("w"));
            bench.deny(ask(REST).class(Class::Control));
            bench.advance(arrived);
            bench.read(700, 1_000);
            bench.grant(ask(REST).calls(300).at_least(300));
        }
        // A reading says nothing about slots.
        assert_eq!(bench.slots().held, if after < HOUR { 5 } else { 0 }, "{name}");
    }
}

#[test]
fn the_lag_of_a_reading_is_waited_for() {
    let arrived = ARRIVED;
    let lags = OrgPolicy { header_lag: secs(60), ..org().daily(100) };
    let mut bench = closed(lags, secs(0));
    bench.advance(arrived);
    bench.read(0, 100);
    bench.deny(ask(REST));
    bench.advance(secs(60));
    bench.read(0, 100);
    bench.grant(ask(REST));
}

#[test]
fn what_was_recorded_before_counts_and_the_rest_is_lost() {
    let mut bench = Bench::of(org());
    let permit = bench.grant(ask(READ).calls(20));
    bench.report(&permit, answered(20));
    bench.hand_over();
    let since = bench.now.wall + secs(1);
    bench.restart_closed(secs(2), since);
    let reads = bench.of_user("alice", "entries");
    assert_eq!((spent(&reads), reads.held), (20, 70));
    // What is recorded leaves when it leaves; the rest later.
    bench.advance(MINUTE + CLOCKS);
    let reads = bench.of_user("alice", "entries");
    assert_eq!((spent(&reads), reads.held), (0, 70));
    bench.grant(ask(READ).calls(20).at_least(20));
    bench.deny(ask(READ));
}

#[test]
fn what_was_recorded_since_is_known() {
    let mut bench = Bench::of(org().pool(&["alice", "bob"]));
    let since = bench.now.wall;
    bench.advance(secs(1));
    let permit = bench.grant(ask(READ).by("alice").calls(20));
    bench.report(&permit, answered(20));
    bench.hand_over();
    bench.restart_closed(secs(1), since);
    let reads = bench.of_user("alice", "entries");
    assert_eq!((spent(&reads), reads.held), (20, 0));
    let never_recorded = bench.of_user("bob", "entries");
    assert_eq!(never_recorded.held, 90);
}

#[test]
fn the_next_owner_neither_closes_it_anew_nor_forgets_that_it_is_closed() {
    let arrived = ARRIVED;
    let mut bench = closed(org().daily(1_000).capped("w", 100), secs(0));
    let since = bench.now.wall;
    // Something of the org is written while it is closed.
    bench.read(500, 1_000);
    bench.hand_over();
    bench.restart_closed(arrived, since);
    assert_eq!((bench.total().held, bench.cap("w").held), (1_000, 100));
    bench.advance(ms(1));
    bench.read(500, 1_000);
    bench.grant(ask(REST).of("w").calls(50));
    bench.hand_over();
    assert!(bench.store.contains_key(&Group::Org));

    bench.restart_closed(secs(1), since);
    assert_eq!((bench.total().held, bench.cap("w").held), (0, 0), "it was opened");
    assert_eq!((spent(&bench.total()), spent(&bench.cap("w"))), (50, 50));
    // A second loss closes it again.
    let again = bench.now.wall;
    bench.hand_over();
    bench.restart_closed(secs(1), again);
    assert_eq!(bench.total().held, 950);
}
