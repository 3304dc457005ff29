//! Limits in shadow: counted, reported, and refusing nothing.

use quotagate::quota::{
    Ask, BurnLimit, Charge, Class, DenialReason, Rules, WorkspacePolicy, catalogue::DAY,
};

use crate::bench::*;

fn calls(class: Class, calls: u32) -> Ask {
    ask(REST).of("w").class(class).calls(calls)
}

fn shadowed() -> WorkspacePolicy {
    WorkspacePolicy { daily_calls: Some(100), shadow: true, ..WorkspacePolicy::default() }
}

#[test]
fn a_cap_in_shadow_refuses_nothing_and_counts_what_it_would_have_refused() {
    let mut bench = Bench::of(org().workspace("w", shadowed()));
    for (class, units) in [(Class::Bulk, 40), (Class::Bulk, 1), (Class::Event, 60)] {
        bench.grant(calls(class, units));
    }
    bench.grant(calls(Class::Interactive, 5));
    let denied = bench.ledger.take_shadow_denials();
    assert_eq!(
        denied,
        [
            ((DenialReason::WorkspaceClassPaused, Class::Bulk), 1),
            ((DenialReason::WorkspaceClassPaused, Class::Event), 1),
            ((DenialReason::WorkspaceLimit, Class::Interactive), 1),
        ]
    );
    assert_eq!(bench.ledger.take_shadow_denials(), []);
    let cap = bench.cap("w");
    assert_eq!((cap.max, cap.used_by_caller, cap.shadow), (100, 106, Some(3)));
    // No class pauses, nothing is told of one, and the warning says so.
    for class in Class::PAUSABLE {
        assert!(!bench.is_paused("w", class));
    }
    assert_eq!(bench.ledger.last_transition(), 0);
    let warnings = bench.usage().workspaces[0].class_state.clone().expect("a cap").warnings;
    assert!(format!("{warnings:?}").contains("in shadow"), "{warnings:?}");
}

#[test]
fn what_comes_out_of_shadow_refuses_at_once() {
    let mut bench = Bench::of(org().workspace("w", shadowed()));
    bench.grant(calls(Class::Interactive, 120));
    bench.change(|org| {
        org.workspaces.get_mut(&workspace("w")).expect("declared").shadow = false;
    });
    assert!(bench.is_paused("w", Class::Bulk));
    assert_eq!(bench.deny(calls(Class::Interactive, 1)).reason, DenialReason::WorkspaceLimit);
    assert_eq!(bench.cap("w").shadow, None);
    // And back again: whoever was paused is not.
    bench.change(|org| {
        org.workspaces.get_mut(&workspace("w")).expect("declared").shadow = true;
    });
    bench.grant(calls(Class::Bulk, 1));
    assert!(!bench.is_paused("w", Class::Bulk));
}

#[test]
fn a_burn_limit_in_shadow_brakes_nothing() {
    let burn_limit = Some(BurnLimit { calls: 10, window: MINUTE });
    let policy = WorkspacePolicy { burn_limit, shadow: true, ..WorkspacePolicy::default() };
    let mut bench = Bench::of(org().workspace("w", policy));
    bench.grant(calls(Class::Bulk, 10));
    bench.grant(calls(Class::Bulk, 10));
    let denied = bench.ledger.take_shadow_denials();
    assert_eq!(denied, [((DenialReason::WorkspaceLimit, Class::Bulk), 1)]);
}

/// A user's window, the org's slots, and the org's total.
fn tried(shadow: bool) -> Bench {
    let charges = vec![
        Charge { shadow, ..per_user("tried", 5, MINUTE) },
        Charge { shadow, ..slots(secs(600)) },
        Charge { shadow, ..Charge::org_total() },
    ];
    let org = org().daily(50).slots(2);
    Bench::with(org, catalogue(vec![("try", charges)]), Rules::default())
}

#[test]
fn any_limit_of_the_catalogue_can_be_in_shadow() {
    let mut bench = tried(true);
    for _ in 0..60 {
        bench.grant(ask("try"));
    }
    let mut denied = bench.ledger.take_shadow_denials();
    denied.sort_by_key(|((reason, _), _)| reason.name());
    assert_eq!(
        denied,
        [
            ((DenialReason::ConcurrencyLimit, Class::Event), 58),
            ((DenialReason::ExecutionUserLimit, Class::Event), 55),
            ((DenialReason::OrgLimit, Class::Event), 10),
        ]
    );
    let limit = bench.of_user("alice", "tried");
    assert_eq!((limit.max, limit.used_by_caller, limit.remaining), (5, 60, 0));
    assert_eq!((limit.shadow, limit.held), (Some(55), 0));
    assert_eq!(bench.total().shadow, Some(10));
}

#[test]
fn records_of_a_limit_in_shadow_claim_no_bound_and_it_can_be_enforced_after() {
    let mut bench = tried(true);
    for _ in 0..60 {
        bench.grant(ask("try"));
    }
    let counters = bench.store.values().flat_map(|stored| &stored.record.counters);
    assert!(counters.clone().count() > 0 && counters.clone().all(|c| c.bound.is_none()));
    // `quiet` fails on any violation of what is recorded.
    bench.catalogue = tried(false).catalogue;
    bench.configure();
    let denial = bench.deny(ask("try"));
    assert_eq!(denial.reason, DenialReason::OrgLimit, "it frees last");
    let full = denial.limits.iter().filter(|limit| limit.remaining == 0 && limit.shadow.is_none());
    assert_eq!(full.count(), 3);
    bench.advance(secs(700));
    assert_eq!(bench.deny(ask("try")).reason, DenialReason::OrgLimit);
    bench.advance(DAY);
    bench.grant(ask("try"));
    bench.hand_over();
    bench.restart(secs(5));
    assert_eq!(spent(&bench.total()), 1);
}

#[test]
fn a_closed_start_closes_nothing_that_is_in_shadow() {
    let mut bench = tried(true);
    let since = bench.now.wall + secs(1);
    bench.restart_closed(secs(60), since);
    bench.grant(ask("try"));
    assert_eq!(bench.ledger.take_shadow_denials(), []);
}
