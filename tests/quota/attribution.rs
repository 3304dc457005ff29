//! Who used an org's quota, what was asked for, and until when limits last, as
//! the ledger notes it.

use std::time::Duration;

use quotagate::quota::{Ask, Class, DemandMinute, Dimension, Outcome, RefusedFor, Use};

use crate::bench::*;

/// What was used by a name in the last hour.
#[track_caller]
fn used_by(bench: &mut Bench, dimension: Dimension, name: &str) -> Use {
    let view = bench.ledger.attribution(bench.now.mono);
    let table = view.tables.into_iter().find(|table| table.dimension == dimension);
    let consumers = table.expect("each is shown").consumers;
    let found = consumers.iter().find(|consumer| &*consumer.name == name);
    found.map(|consumer| consumer.periods.hour).unwrap_or_default()
}

/// All minutes together.
fn demand(bench: &mut Bench) -> (u32, u32, u32) {
    let view = bench.ledger.demand(bench.now.mono, None, None);
    let minutes: Vec<DemandMinute> =
        view.series.into_iter().flat_map(|series| series.minutes).collect();
    let refused = |minute: &DemandMinute| {
        use RefusedFor::{Concurrency, ExecutionUser, Org, Other, Workspace};
        [ExecutionUser, Workspace, Org, Concurrency, Other].map(|why| minute.refused(why))
    };
    (
        minutes.iter().map(|minute| minute.asked_calls).sum(),
        minutes.iter().map(|minute| minute.granted_calls).sum(),
        minutes.iter().flat_map(refused).sum(),
    )
}

fn named(caller: &str, ask: Ask) -> Ask {
    Ask { caller: Some(caller.into()), ..ask }
}

#[test]
fn grants_refusals_and_what_comes_back_are_noted_once() {
    let mut bench = Bench::of(org().daily(100_000).capped("w", 10));
    let permit = bench.grant(named("inbox", ask(REST).of("w").calls(3).costing(2)));
    bench.deny(named("inbox", ask(REST).of("w").class(Class::Bulk).calls(5)));
    let units = |units, calls, refused_calls| Use { units, calls, refused_calls };
    for (dimension, name) in [
        (Dimension::Workspace, "w"),
        (Dimension::Operation, REST),
        (Dimension::User, ""),
        (Dimension::Caller, "inbox"),
    ] {
        assert_eq!(used_by(&mut bench, dimension, name), units(6, 3, 5), "{dimension:?}");
    }
    assert_eq!(used_by(&mut bench, Dimension::Class, "bulk"), units(0, 0, 5));
    assert_eq!(demand(&mut bench), (8, 3, 5));
    bench.release(&permit, Some(2));
    bench.release(&permit, Some(2));
    assert_eq!(used_by(&mut bench, Dimension::Workspace, "w"), units(2, 1, 5));
    assert_eq!(demand(&mut bench), (8, 1, 5));
}

#[test]
fn checks_and_repeats_are_not_noted() {
    let mut bench = Bench::of(org().daily(100));
    let asked = ask(REST).named("r");
    bench.grant(asked.clone());
    bench.grant(asked);
    bench.grant(Ask { check_only: true, ..ask(REST) });
    bench.deny(Ask { check_only: true, ..ask(REST).calls(1_000) });
    assert_eq!(demand(&mut bench), (1, 1, 0));
}

#[test]
fn a_user_of_the_pool_is_noted_for_what_it_was_chosen_for() {
    let mut bench = Bench::of(org().daily(100).pool(&["alice"]));
    bench.grant(ask(READ));
    assert_eq!(used_by(&mut bench, Dimension::User, "alice").calls, 1);
}

#[test]
fn who_waits_asks_once_and_gets_or_not_later() {
    let mut bench = Bench::of(org().daily(100).pool(&["alice"]));
    let permit = bench.grant(ask(DELETE).calls(10));
    let gets = bench.park(ask(DELETE).waiting(secs(600)));
    let gives_up = bench.park(ask(DELETE).calls(5).waiting(secs(60)));
    let goes = bench.park(ask(DELETE).waiting(secs(600)));
    assert_eq!(demand(&mut bench), (17, 10, 0));
    bench.cancel(goes);
    bench.release(&permit, Some(1));
    // At its limit a counter is reserved again after a thousandth of its window.
    bench.advance(secs(5));
    bench.woken(gets);
    bench.advance(secs(61));
    assert!(!bench.still_waits(gives_up));
    assert_eq!(demand(&mut bench), (17, 10, 5));
}

#[test]
fn a_burn_rate_is_that_of_the_last_ten_minutes_and_tells_when_the_day_is_used_up() {
    let mut bench = Bench::of(org().daily(2_000));
    assert_eq!((bench.total().burn_per_hour, bench.total().exhausted_at), (0, None));
    for _ in 0..20 {
        let permit = bench.grant(ask(REST).calls(10));
        bench.report(&permit, answered(10));
        bench.advance(MINUTE);
    }
    let total = bench.total();
    // Nine times ten were answered less than ten minutes ago, and 1,800 are left.
    assert_eq!(total.burn_per_hour, 540, "{total:?}");
    let lasts = total.exhausted_at.expect("it does not last a day").since(bench.now.mono);
    assert_eq!(lasts, secs(12_000));
    // What a former owner wrote down counts for the rate, too.
    bench.hand_over();
    bench.restart(secs(1));
    assert!((540..=660).contains(&bench.total().burn_per_hour), "{:?}", bench.total());
    bench.advance(HOUR);
    assert_eq!((bench.total().burn_per_hour, bench.total().exhausted_at), (0, None));
}

#[test]
fn what_leaves_as_fast_as_it_comes_is_never_used_up() {
    let mut bench = Bench::of(org().daily(100_000).pool(&["alice"]));
    for _ in 0..120 {
        let permit = bench.grant(ask(READ));
        bench.report(&permit, answered(1));
        bench.advance(secs(1));
    }
    let entries = bench.of_user("alice", "entries");
    assert!((3_500..=3_700).contains(&entries.burn_per_hour), "{entries:?}");
    assert_eq!(entries.exhausted_at, None);
    while let Outcome::Granted(_) = bench.decide(ask(READ)) {}
    assert_eq!(bench.of_user("alice", "entries").exhausted_at, Some(bench.now.mono));
}

#[test]
fn a_workspace_is_told_which_classes_will_pause_and_when() {
    let mut bench = Bench::of(org().daily(100_000).capped("w", 1_000));
    for _ in 0..10 {
        bench.grant(ask(REST).of("w").class(Class::Bulk).calls(10));
        bench.advance(MINUTE);
    }
    let pauses = |bench: &mut Bench| {
        let shown = bench.usage().workspaces.remove(0).pauses;
        shown.into_iter().map(|(class, at)| (class, at.since(bench.now.mono))).collect::<Vec<_>>()
    };
    let shown = pauses(&mut bench);
    let classes: Vec<Class> = shown.iter().map(|(class, _)| *class).collect();
    assert_eq!(classes, [Class::Interactive, Class::Event, Class::Bulk]);
    // 100 are used, at 10 a minute: 300 to go for bulk, 700 for event.
    let minutes = |at: usize| shown[at].1.as_secs() / 60;
    assert!((25..=30).contains(&minutes(2)), "{shown:?}");
    assert!((60..=70).contains(&minutes(1)), "{shown:?}");
    bench.grant(ask(REST).of("w").class(Class::Bulk).calls(300));
    let classes: Vec<Class> = pauses(&mut bench).iter().map(|(class, _)| *class).collect();
    assert_eq!(classes, [Class::Interactive, Class::Event], "bulk has paused");
}

#[test]
fn what_a_ledger_remembers_goes_after_a_day() {
    let mut bench = Bench::of(org().pool(&["alice"]));
    bench.deny(ask(READ).calls(1_000));
    assert!(bench.ledger.is_remembered(bench.now.mono));
    bench.advance(DAY + HOUR);
    assert!(!bench.ledger.is_remembered(bench.now.mono));
}

/// Own use and the limit, of each five minutes that are known.
fn history(bench: &mut Bench) -> Vec<(u64, u64, u64)> {
    let view = bench.ledger.demand(bench.now.mono, None, None);
    let points = view.history.into_iter().map(|point| point.level);
    points.map(|level| (level.own, level.foreign, level.limit)).collect()
}

#[test]
fn the_curve_of_a_day_has_the_highest_use_of_each_five_minutes() {
    let five = Duration::from_secs(300);
    let mut bench = Bench::of(org().daily(100));
    assert_eq!(history(&mut bench), []);
    // The bench begins 20 s after a full five minutes.
    let permit = bench.grant(ask(REST).calls(9));
    bench.release(&permit, Some(4));
    bench.advance(five);
    bench.read(25, 200);
    bench.advance(five);
    bench.grant(ask(REST).calls(3));
    assert_eq!(history(&mut bench), [(9, 0, 100), (5, 20, 200), (8, 20, 200)]);
    let of_one = bench.ledger.demand(bench.now.mono, Some(&None), None);
    assert_eq!(of_one.history, [], "it is the org's, not one workspace's");
}

#[test]
fn the_curve_of_an_org_that_nobody_touches_falls_as_its_units_leave() {
    let mut bench = Bench::of(org().daily(100));
    for calls in [30, 20] {
        let permit = bench.grant(ask(REST).calls(calls));
        bench.report(&permit, answered(calls));
        bench.advance(Duration::from_secs(600));
    }
    let hours = |hours: u64| Duration::from_secs(hours * 3_600);
    // Not even woken meanwhile.
    bench.now.mono = bench.now.mono + hours(24);
    bench.now.wall = bench.now.wall + hours(24);
    let levels = history(&mut bench);
    assert_eq!(levels.len(), 289);
    let own: Vec<u64> = levels.iter().map(|level| level.0).collect();
    let count = |units| own.iter().filter(|own| **own == units).count();
    assert!(own.is_sorted_by(|a, b| a >= b), "it only falls: {own:?}");
    assert_eq!((count(50), count(20), count(0)), (285, 2, 2), "{own:?}");
}
