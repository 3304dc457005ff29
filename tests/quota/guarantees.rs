//! What is guaranteed to a workspace can be had, whatever the others do.

use proptest::prelude::*;
use quotagate::quota::{Ask, Charge, Class, DenialReason, Outcome, Rules, Scope, WorkspacePolicy};

use crate::bench::*;

fn guaranteed(units: u64) -> WorkspacePolicy {
    WorkspacePolicy { guaranteed_calls: units, ..WorkspacePolicy::default() }
}

fn calls(of: &str, calls: u32) -> Ask {
    ask(REST).of(of).calls(calls)
}

/// 1,000 a day, of which 300 are v's and 200 are w's.
fn bench() -> Bench {
    Bench::of(org().daily(1_000).workspace("v", guaranteed(300)).workspace("w", guaranteed(200)))
}

#[test]
fn others_are_granted_what_is_left_beside_the_guarantees() {
    let mut bench = bench();
    assert_eq!(bench.grant(calls("x", 1_000).at_least(1)).calls, 500);
    for anybody in [calls("x", 1), ask(REST)] {
        let denial = bench.deny(anybody);
        assert_eq!(denial.reason, DenialReason::OrgLimit);
        let said = &denial.message;
        assert!(said.contains("500 are kept for workspace v and another"), "{said}");
    }
    // Those who are guaranteed something get it, and no more.
    assert_eq!(bench.grant(calls("v", 1_000).at_least(1)).calls, 300);
    let denial = bench.deny(calls("v", 1));
    assert!(denial.message.contains("200 are kept for workspace w"), "{}", denial.message);
    assert_eq!(bench.grant(calls("w", 1_000).at_least(1)).calls, 200);
    let message = bench.deny(calls("w", 1)).message;
    assert!(!message.contains("kept for workspace"), "{message}");
}

#[test]
fn what_a_workspace_has_used_of_its_guarantee_is_not_kept_any_more() {
    let mut bench = bench();
    bench.grant(calls("v", 250));
    assert_eq!(bench.grant(calls("x", 1_000).at_least(1)).calls, 500);
    assert_eq!(bench.grant(calls("v", 1_000).at_least(1)).calls, 50);
}

#[test]
fn a_refused_workspace_hears_when_what_others_do_not_keep_is_free() {
    let mut bench = bench();
    let of_v = bench.grant(calls("v", 300));
    bench.report(&of_v, answered(300));
    bench.advance(HOUR);
    let of_x = bench.grant(calls("x", 500));
    bench.report(&of_x, answered(500));
    // What v used an hour ago leaves first, and is v's again.
    let wait = bench.deny(calls("x", 10)).retry_after.expect("it frees");
    assert!((DAY..DAY + MINUTE * 2).contains(&wait), "{wait:?}");
    bench.advance(wait);
    bench.grant(calls("x", 10));
}

#[test]
fn a_guarantee_waits_behind_nobody() {
    let mut bench = bench();
    bench.grant(calls("x", 500));
    let waiter = bench.park(calls("x", 400).class(Class::Interactive).waiting(secs(600)));
    assert_eq!(bench.grant(calls("v", 300).class(Class::Bulk)).calls, 300);
    assert!(bench.still_waits(waiter));
}

#[test]
fn what_can_never_fit_beside_the_guarantees_is_said_at_once() {
    let mut bench = bench();
    assert!(bench.deny(calls("x", 501).waiting(secs(60))).retry_after.is_none());
    assert!(bench.deny(calls("v", 801)).retry_after.is_none());
    bench.grant(calls("v", 800));
}

#[test]
fn guarantees_that_do_not_fit_go_to_those_who_come_first() {
    let both = org().daily(1_000).workspace("v", guaranteed(900)).workspace("w", guaranteed(900));
    let mut bench = Bench::of(both);
    bench.deny(calls("x", 1));
    bench.grant(calls("v", 600));
    assert_eq!(bench.grant(calls("w", 900).at_least(1)).calls, 400);
}

#[test]
fn control_takes_no_reserve_that_a_guarantee_would_need() {
    let mut bench = Bench::of(org().daily(1_000).keeping(10).workspace("v", guaranteed(300)));
    let control = ask(REST).of("x").class(Class::Control).calls(1_000).at_least(1);
    assert_eq!(bench.grant(control.clone()).calls, 600);
    assert_eq!(bench.grant(calls("v", 1_000).at_least(1)).calls, 300);
    // Nothing is kept any more: the reserve is CONTROL's.
    assert_eq!(bench.grant(control).calls, 100);
}

#[test]
fn a_guarantee_survives_a_takeover() {
    let mut bench = bench();
    let permit = bench.grant(calls("v", 250));
    bench.report(&permit, answered(250));
    bench.hand_over();
    bench.restart(secs(5));
    assert_eq!(bench.grant(calls("x", 1_000).at_least(1)).calls, 500);
    assert_eq!(bench.grant(calls("v", 1_000).at_least(1)).calls, 50);
}

/// What somebody does.
#[derive(Clone, Debug)]
enum Step {
    Ask { who: usize, class: usize, calls: u32, cost: u32, wait: bool },
    Report { permit: usize },
    Release { permit: usize },
    Read { foreign: u64 },
    Advance { seconds: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ask = (0..5_usize, 0..4_usize, 1..120_u32, 1..4_u32, any::<bool>())
        .prop_map(|(who, class, calls, cost, wait)| Step::Ask { who, class, calls, cost, wait });
    let permit = any::<proptest::sample::Index>().prop_map(|index| index.index(1 << 16));
    let report = permit.clone().prop_map(|permit| Step::Report { permit });
    let release = permit.prop_map(|permit| Step::Release { permit });
    let read = (0..300_u64).prop_map(|foreign| Step::Read { foreign });
    let advance = prop_oneof![1..60_u64, 1_000..50_000_u64];
    let advance = advance.prop_map(|seconds| Step::Advance { seconds });
    prop::collection::vec(
        prop_oneof![6 => ask, 1 => report, 1 => release, 1 => read, 2 => advance],
        1..60,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Of 1,000 units v and w are guaranteed 350 and 250. Nothing that anybody does
    /// takes of that what they have not used; only foreign use can. (CONTROL may
    /// take the reserve while nothing is kept, so here there is one or the other.)
    #[test]
    fn what_is_not_used_of_a_guarantee_can_always_be_had(steps in steps(), keeps: bool) {
        const WHO: [&str; 4] = ["v", "w", "x", "y"];
        const SHARES: [(&str, u64); 2] = [("v", 350), ("w", 250)];
        let reserve = if keeps { 100 } else { 0 };
        let mut policy = org().daily(1_000).keeping(if keeps { 10 } else { 0 });
        for (name, units) in SHARES {
            policy = policy.workspace(name, guaranteed(units));
        }
        let catalogue = catalogue(vec![(REST, vec![Charge::org_total()])]);
        let mut bench = Bench::with(policy, catalogue, Rules::default());
        let mut permits = Vec::new();
        let mut had_room = true;
        let mut foreign_use = 0;
        for step in steps {
            let mut is_reading = matches!(step, Step::Read { .. });
            match step {
                Step::Ask { who, class, calls, cost, wait } => {
                    let class = Class::ALL[if keeps { class.max(1) } else { class }];
                    let mut ask = ask(REST).class(class).calls(calls).costing(cost);
                    ask.workspace = WHO.get(who).map(|name| workspace(name));
                    if wait {
                        bench.begin(ask.waiting(secs(300)));
                    } else if let Outcome::Granted(permit) = bench.decide(ask.at_least(1)) {
                        permits.push(permit);
                    }
                }
                Step::Report { permit } if !permits.is_empty() => {
                    let permit = &permits[permit % permits.len()];
                    bench.report(permit, answered(permit.calls));
                }
                Step::Release { permit } if !permits.is_empty() => {
                    let permit = permits.swap_remove(permit % permits.len());
                    bench.release(&permit, Some(permit.calls));
                }
                Step::Report { .. } | Step::Release { .. } => {}
                Step::Read { foreign } => {
                    let total = bench.total();
                    bench.read(spent(&total) + foreign, 1_000);
                    foreign_use = foreign;
                }
                Step::Advance { seconds } => {
                    bench.advance(secs(seconds));
                    // Without a reading for a while one call looks whether foreign
                    // use is still what it was, past all that is kept.
                    let total = bench.total();
                    if total.foreign > 0 {
                        bench.read(spent(&total) + foreign_use, 1_000);
                        is_reading = true;
                    }
                }
            }
            let left = SHARES.map(|(name, units)| units.saturating_sub(used(&mut bench, name)));
            let total = bench.total();
            let taken = total.used_by_caller + total.used_by_others + reserve;
            let has_room = taken + left.iter().sum::<u64>() <= 1_000;
            prop_assert!(has_room || is_reading || !had_room, "{:?} left of {:#?}", left, total);
            had_room = has_room;
            if !has_room {
                continue;
            }
            for ((name, share), units) in SHARES.iter().zip(left).filter(|(_, units)| *units > 0) {
                let wanted = u32::try_from(units).expect("small");
                let mut trial = bench.clone();
                let mut decided = trial.decide(calls(name, wanted));
                // Room there is, but the total was at its limit a moment ago: then
                // the store is asked once in a thousandth of its window.
                if let Outcome::Denied(denial) = &decided
                    && let Some(wait) = denial.retry_after.filter(|wait| *wait <= DAY / 1_000)
                {
                    trial.advance(wait);
                    // Who waited in its name may have been served meanwhile.
                    let units = share.saturating_sub(used(&mut trial, name));
                    if units == 0 {
                        continue;
                    }
                    decided = trial.decide(calls(name, u32::try_from(units).expect("small")));
                }
                let message = format!("{units} of {name}: {decided:#?}");
                prop_assert!(matches!(decided, Outcome::Granted(_)), "{}", message);
            }
        }
    }
}

/// What a workspace has used of the org's total.
fn used(bench: &mut Bench, name: &str) -> u64 {
    let usage = bench.usage();
    let shown = usage.workspaces.iter().find(|shown| shown.workspace.as_str() == name);
    let limits = shown.map(|shown| shown.limits.clone()).unwrap_or_default();
    let of_total = limits.iter().find(|limit| limit.scope == Scope::Org);
    of_total.map_or(0, |limit| limit.used_by_caller)
}
