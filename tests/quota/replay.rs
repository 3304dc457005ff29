//! What would have been: a day that a ledger has lived through, replayed.

use std::time::Duration;

use quotagate::quota::{
    Charge, Class, Now, OrgPolicy, Outcome, RefusedFor, Wall,
    replay::{Peak, Replayed, ReplayedLimit, left_out, replay},
};

use crate::bench::*;

const MINUTE: Duration = Duration::from_secs(60);

/// A bench at the beginning of a minute.
fn bench(policy: OrgPolicy) -> Bench {
    let mut bench = Bench::of(policy);
    bench.advance(MINUTE - Duration::from_secs(bench.now.wall.0 / 1_000_000 % 60));
    bench
}

/// So many minutes in which each of the workspaces asks for calls, and is answered.
fn live(bench: &mut Bench, minutes: u64, asks: &[(&str, Class, u32)]) {
    for _ in 0..minutes {
        for (workspace, class, calls) in asks {
            let ask = ask(REST).of(workspace).class(*class).calls(*calls).at_least(1);
            if let Outcome::Granted(permit) = bench.decide(ask) {
                bench.report(&permit, answered(permit.calls));
            }
        }
        let Now { wall: Wall(wall), .. } = bench.now;
        bench.advance(MINUTE - Duration::from_micros(wall % 60_000_000));
    }
}

/// The day by other settings.
fn by(bench: &mut Bench, change: impl FnOnce(&mut OrgPolicy)) -> Replayed {
    let recording = bench.ledger.recording(bench.now.mono);
    assert_eq!(left_out(&recording, bench.now.wall), 0);
    let mut policy = bench.policy.clone();
    change(&mut policy);
    replay(&recording, bench.now.wall, &policy, &bench.catalogue)
}

fn class(replayed: &Replayed, name: &str, class: Class) -> (u64, u64, u64, u32) {
    let found = replayed.classes[&(Some(workspace(name)), class)];
    let calls = found.calls;
    (calls.asked, calls.granted, calls.all_refused(), found.paused_minutes)
}

fn peak(replayed: &Replayed, identity: &str) -> Peak {
    let of =
        |limit: &&ReplayedLimit| &*limit.identity == identity && limit.name.as_str() == "calls";
    let limit = replayed.limits.keys().find(of).expect("it was charged");
    replayed.limits[limit]
}

#[test]
fn what_was_recorded_comes_out_again_by_the_same_settings() {
    let mut bench = bench(org().daily(10_000).capped("eu", 1_000).capped("us", 5_000));
    // The minute that has begun is the last of the day.
    live(&mut bench, 1_439, &[("eu", Class::Bulk, 2), ("us", Class::Event, 1)]);
    let demand = bench.ledger.demand(bench.now.mono, None, None);
    let minutes = || demand.series.iter().flat_map(|series| &series.minutes);
    let granted: u64 = minutes().map(|minute| u64::from(minute.granted_calls)).sum();
    let asked: u64 = minutes().map(|minute| u64::from(minute.asked_calls)).sum();
    // Bulk pauses at 400 of 1,000; the rest is granted.
    assert_eq!((asked, granted), (3 * 1_439, 400 + 1_439));

    let replayed = by(&mut bench, |_| {});
    assert_eq!(replayed.total.asked, asked);
    assert!(replayed.total.granted.abs_diff(granted) <= granted / 100, "{:?}", replayed.total);
    assert_eq!(replayed.total.refused(RefusedFor::Workspace), replayed.total.all_refused());
    assert_eq!(class(&replayed, "us", Class::Event), (1_439, 1_439, 0, 0));
    assert_eq!(peak(&replayed, "eu"), Peak { max: 1_000, used: 400 });
    let total = peak(&replayed, bench.policy.org.as_str());
    assert_eq!(total.max, 10_000);
    assert!((1_835..=1_841).contains(&total.used), "{total:?}");
    assert!((288..=289).contains(&replayed.curve.len()), "{}", replayed.curve.len());
    let highest = replayed.curve.iter().map(|point| point.level.own).max();
    assert_eq!(highest, Some(total.used));
}

#[test]
fn a_lower_cap_refuses_more_and_a_higher_one_less() {
    let mut bench = bench(org().daily(10_000).capped("eu", 1_000));
    live(&mut bench, 600, &[("eu", Class::Event, 1)]);
    let cap = |cap: u64| {
        move |policy: &mut OrgPolicy| {
            policy.workspaces.get_mut(&workspace("eu")).expect("declared").daily_calls = Some(cap);
        }
    };
    for (daily_calls, granted, paused) in [(1_000, 600, false), (500, 400, true), (100, 80, true)] {
        let replayed = by(&mut bench, cap(daily_calls));
        let (asked, got, refused, minutes) = class(&replayed, "eu", Class::Event);
        assert_eq!((asked, asked - got), (600, refused), "{daily_calls}");
        assert!(got.abs_diff(granted) <= granted / 20, "{daily_calls}: {got}");
        assert_eq!(minutes > 0, paused, "{daily_calls}");
    }
    // By the org's total, too; and nothing of it has changed anything.
    let replayed = by(&mut bench, |policy| policy.daily_calls = 200);
    assert!(replayed.total.granted <= 200, "{:?}", replayed.total);
    assert_eq!(replayed.total.refused(RefusedFor::Org), replayed.total.all_refused());
    assert_eq!(spent(&bench.total()), 600);
}

#[test]
fn what_others_used_and_the_limit_that_was_read_are_as_they_were() {
    let mut bench = bench(org().daily(1_000));
    live(&mut bench, 10, &[("eu", Class::Event, 1)]);
    bench.read(310, 500);
    live(&mut bench, 10, &[("eu", Class::Event, 1)]);
    let replayed = by(&mut bench, |policy| policy.daily_calls = 90_000);
    let total = peak(&replayed, bench.policy.org.as_str());
    assert_eq!(total.max, 500, "the header's limit holds");
    assert!((318..=321).contains(&total.used), "{total:?}");
    let bound = by(&mut bench, |policy| policy.daily_calls_max = Some(310));
    assert!((1..=13).contains(&bound.total.granted), "{:?}", bound.total);
}

#[test]
fn calls_are_made_as_any_user_that_is_known() {
    let mut bench = bench(org().daily(10_000).pool(&[]));
    for user in ["alice", "bob"] {
        bench.grant(ask(READ).by(user).calls(90));
    }
    let granted = |replayed: &Replayed| (replayed.total.granted, replayed.total.all_refused());
    assert_eq!(granted(&by(&mut bench, |_| {})), (180, 0), "those that were seen");
    let pool = by(&mut bench, |policy| policy.pool = vec![user("alice")]);
    assert_eq!(granted(&pool), (90, 90), "the pool, where there is one");
    assert_eq!(pool.total.refused(RefusedFor::ExecutionUser), 90);
}

#[test]
fn slots_never_bind_and_costs_come_out_even() {
    let mut bench = bench(org().daily(1_000));
    bench.catalogue =
        catalogue(vec![("rest", vec![Charge::org_total(), slots(Duration::from_secs(60))])]);
    bench.policy.concurrent_calls = 3;
    bench.configure();
    for (calls, cost) in [(2, 7), (1, 4)] {
        let permit = bench.grant(ask(REST).calls(calls).costing(cost));
        bench.report(&permit, answered(calls));
    }
    bench.deny(ask(REST).calls(90).costing(7));
    let replayed = by(&mut bench, |_| {});
    assert_eq!((replayed.total.asked, replayed.total.granted), (93, 93));
    assert_eq!(peak(&replayed, bench.policy.org.as_str()).used, 93 * 7 - 3);
    assert!(replayed.limits.keys().all(|limit| limit.name.as_str() == "calls"));
}
