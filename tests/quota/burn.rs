//! The brake for run-away jobs: at most so many units of a workspace in a time.

use std::time::Duration;

use quotagate::quota::{Ask, BurnLimit, Class, DenialReason, LimitUsage, Scope, WorkspacePolicy};

use crate::bench::*;

const HALF_HOUR: Duration = secs(1_800);

fn policy(calls: u64, window: Duration) -> WorkspacePolicy {
    WorkspacePolicy { burn_limit: Some(BurnLimit { calls, window }), ..WorkspacePolicy::default() }
}

fn braked(calls: u64) -> Bench {
    Bench::of(org().workspace("w", policy(calls, HALF_HOUR)))
}

fn calls(class: Class, calls: u32) -> Ask {
    ask(REST).of("w").class(class).calls(calls)
}

fn burn(bench: &mut Bench) -> Option<LimitUsage> {
    let usage = bench.usage();
    let shown = usage.workspaces.iter().find(|shown| shown.workspace.as_str() == "w")?;
    shown.limits.iter().find(|limit| limit.name.as_str() == "burn").cloned()
}

#[test]
fn a_run_away_job_is_braked_and_hears_exactly_when_it_may_go_on() {
    let mut bench = braked(1_000);
    let first = bench.grant(calls(Class::Bulk, 600));
    bench.report(&first, answered(600));
    let answered_at = bench.now.mono;
    bench.advance(MINUTE);
    let second = bench.grant(calls(Class::Bulk, 1_000).at_least(1));
    assert_eq!(second.calls, 400);
    bench.report(&second, answered(400));
    let denial = bench.deny(calls(Class::Bulk, 10));
    assert_eq!(denial.reason, DenialReason::WorkspaceLimit);
    let limit = denial.limit.expect("the one that binds");
    assert_eq!((limit.name.as_str(), limit.scope), ("burn", Scope::Workspace));
    assert_eq!((limit.max, limit.used_by_caller, limit.window), (1_000, 1_000, HALF_HOUR));
    // The first 600 leave together; stamps are kept in steps of ten milliseconds,
    // and of seconds when they are old.
    let wait = denial.retry_after.expect("it frees");
    let frees = (answered_at + HALF_HOUR).since(bench.now.mono);
    assert!((frees..frees + secs(8)).contains(&wait), "{wait:?}, {frees:?}");
    bench.advance(wait - ms(1));
    let again = bench.deny(calls(Class::Bulk, 10)).retry_after.expect("it frees");
    bench.advance(again);
    bench.grant(calls(Class::Bulk, 10));
}

#[test]
fn the_outage_share_is_kept_of_it_from_every_class_but_control() {
    for class in Class::PAUSABLE {
        let mut policy = org().workspace("w", policy(100, HALF_HOUR));
        policy.outage_share = 10;
        let mut bench = Bench::of(policy);
        assert_eq!(bench.grant(calls(class, 100).at_least(1)).calls, 90, "{class:?}");
        let limit = bench.deny(calls(class, 1)).limit.expect("the one that binds");
        assert_eq!((limit.name.as_str(), limit.outage_share), ("burn", 10));
        bench.grant(calls(Class::Control, 50));
    }
}

#[test]
fn it_stops_every_class_but_control_which_it_counts() {
    for class in Class::PAUSABLE {
        let mut bench = braked(100);
        bench.grant(calls(Class::Control, 99));
        bench.grant(calls(class, 1));
        assert_eq!(bench.deny(calls(class, 1)).reason, DenialReason::WorkspaceLimit, "{class:?}");
        bench.grant(calls(Class::Control, 500));
        assert_eq!(burn(&mut bench).expect("it is shown").used_by_caller, 600);
    }
}

#[test]
fn it_counts_units_of_cost_and_can_never_grant_more_at_once() {
    let mut bench = braked(100);
    assert_eq!(bench.grant(calls(Class::Event, 10).at_least(1).costing(30)).calls, 3);
    let denial = bench.deny(calls(Class::Event, 4).costing(30));
    assert_eq!(denial.retry_after, None, "120 never fit");
}

#[test]
fn new_numbers_hold_for_what_is_recorded() {
    let mut bench = braked(100);
    let permit = bench.grant(calls(Class::Bulk, 100));
    bench.report(&permit, answered(100));
    bench.advance(secs(600));
    bench.deny(calls(Class::Bulk, 1));
    let set = |bench: &mut Bench, burn_limit| {
        bench.change(|org| {
            org.workspaces.get_mut(&workspace("w")).expect("declared").burn_limit = burn_limit;
        });
    };
    let of = |calls, window| Some(BurnLimit { calls, window });
    // A waiter is woken by a larger number.
    let waiter = bench.park(calls(Class::Bulk, 5).waiting(secs(300)));
    set(&mut bench, of(105, HALF_HOUR));
    assert_eq!(bench.woken(waiter).calls, 5);
    // A shorter window acts at once: the hundred are ten minutes old.
    set(&mut bench, of(100, secs(300)));
    bench.grant(calls(Class::Bulk, 95));
    // Without a limit nothing is braked or shown; back again, what is recorded counts.
    set(&mut bench, None);
    assert_eq!(burn(&mut bench), None);
    bench.grant(calls(Class::Bulk, 1_000));
    set(&mut bench, of(100, HALF_HOUR));
    assert_eq!(burn(&mut bench).expect("it is shown").max, 100);
    bench.deny(calls(Class::Bulk, 1));
}

#[test]
fn it_survives_a_takeover() {
    let mut bench = braked(100);
    let permit = bench.grant(calls(Class::Bulk, 60));
    bench.report(&permit, answered(60));
    bench.hand_over();
    bench.restart(secs(5));
    let limit = burn(&mut bench).expect("it is shown");
    assert_eq!((limit.max, limit.used_by_caller, limit.held), (100, 60, 0));
    bench.deny(calls(Class::Bulk, 41));
    bench.grant(calls(Class::Bulk, 40));
}

#[test]
fn a_closed_start_does_not_brake_what_nobody_has_counted() {
    let mut bench = braked(100);
    let since = bench.now.wall + secs(1);
    bench.restart_closed(secs(60), since);
    assert_eq!(burn(&mut bench).expect("it is shown").held, 0);
}
