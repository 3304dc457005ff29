//! What is granted, what is refused, and what a refusal says.

use std::time::Duration;

use quotagate::quota::{
    Answer, Ask, Catalogue, Charge, Class, DenialReason, Kind, OrgPolicy, Scope, catalogue::Cost,
};

use crate::bench::*;

/// From the grant of a permit of 5 s that nobody reports until its calls have
/// left a minute's window.
const UNREPORTED_MINUTE: Duration = secs(5 + 5 + 60);

#[test]
fn ninety_reads_a_minute_and_not_one_more() {
    let mut bench = Bench::of(org());
    for _ in 0..90 {
        bench.grant(ask(READ));
    }
    let denial = bench.deny(ask(READ));
    assert_eq!(denial.reason, DenialReason::ExecutionUserLimit);
    assert_eq!(denial.retry_after, Some(UNREPORTED_MINUTE));
    bench.advance(UNREPORTED_MINUTE - ms(1));
    bench.deny(ask(READ));
    bench.advance(ms(1));
    bench.grant(ask(READ).calls(90));
}

#[test]
fn a_denial_charges_nothing() {
    let both = vec![per_org("wide", 100, MINUTE), per_user("narrow", 1, MINUTE)];
    let mut bench = Bench::with(org().capped("w", 50), catalogue(vec![("both", both)]), rules());
    bench.grant(ask("both").of("w"));
    let before = bench.usage();
    bench.deny(ask("both").of("w"));
    bench.deny(ask("both").of("w").calls(7));
    bench.deny(ask("both").of("somebody").by("alice"));
    assert_eq!(bench.usage(), before);
}

/// Whoever asked about a name that nobody declared saw it in the org's usage,
/// though it had no use.
#[test]
fn a_check_changes_nothing() {
    let mut bench = Bench::of(org().capped("w", 50));
    let before = bench.usage();
    let check = bench.grant(ask(READ).of("w").calls(3).check_only());
    assert_eq!((check.key, check.calls, check.life_left), (None, 3, Duration::ZERO));
    bench.grant(ask(LONG).of("stranger").check_only());
    bench.grant(ask(READ).by("stranger").check_only());
    bench.deny(ask(READ).calls(91).check_only());
    assert_eq!(bench.usage(), before);
    assert!(bench.store.is_empty());
}

#[test]
fn a_check_never_waits() {
    let mut bench = Bench::of(org());
    bench.withholds = true;
    assert!(matches!(bench.begin(ask(READ).check_only()), Answer::Done(_)));
    bench.withholds = false;
    bench.grant(ask(READ).calls(90));
    bench.deny(ask(READ).waiting(MINUTE).check_only());
    assert_eq!(bench.ledger.waiting(), 0);
}

#[test]
fn a_partial_grant_is_of_whole_calls_and_never_below_the_least() {
    // (room in the org's total, calls, at least, cost, granted)
    let rows = [
        (10, 20, 1, 1, Some(10)),
        (10, 20, 10, 1, Some(10)),
        (10, 20, 11, 1, None),
        (10, 5, 1, 3, Some(3)),
        (10, 5, 4, 3, None),
        (10, 1, 1, 10, Some(1)),
        (10, 1, 1, 11, None),
        (10, 10, 10, 1, Some(10)),
    ];
    for (room, calls, least, cost, granted) in rows {
        let mut bench = Bench::of(org().daily(room));
        let asked = ask(REST).calls(calls).at_least(least).costing(cost);
        let name = format!("{calls} calls, at least {least}, of cost {cost} with room for {room}");
        match granted {
            Some(granted) => {
                assert_eq!(bench.grant(asked).calls, granted, "{name}");
                assert_eq!(spent(&bench.total()), u64::from(granted * cost), "{name}");
            }
            None => {
                bench.deny(asked);
                assert_eq!(spent(&bench.total()), 0, "{name}");
            }
        }
    }
}

#[test]
fn the_total_and_the_workspace_take_the_cost_users_and_slots_take_calls() {
    let all = vec![Charge::org_total(), slots(secs(600)), per_user("each", 90, MINUTE)];
    let mut bench = Bench::with(org().capped("w", 100), catalogue(vec![("all", all)]), rules());
    let permit = bench.grant(ask("all").of("w").by("alice").calls(2).costing(7));
    assert_eq!(permit.calls, 2);
    assert_eq!(spent(&bench.total()), 14);
    assert_eq!(spent(&bench.cap("w")), 14);
    assert_eq!(spent(&bench.of_user("alice", "each")), 2);
    assert_eq!(spent(&bench.slots()), 2);
}

#[test]
fn a_charge_says_whether_it_takes_the_cost() {
    let by_cost = Charge { cost: Cost::Request, ..per_user("rows", 100, MINUTE) };
    let mut bench = Bench::with(org(), catalogue(vec![("rows", vec![by_cost])]), rules());
    bench.grant(ask("rows").calls(2).costing(30));
    assert_eq!(spent(&bench.of_user("alice", "rows")), 60);
    assert_eq!(bench.grant(ask("rows").calls(5).at_least(1).costing(30)).calls, 1);
}

#[test]
fn a_named_workspace_is_charged_for_every_operation() {
    let mut bench = Bench::of(org().capped("w", 10));
    bench.grant(ask(READ).of("w").calls(3));
    bench.grant(ask(READ).calls(4));
    assert_eq!(spent(&bench.cap("w")), 3);
    assert_eq!(spent(&bench.total()), 0, "reads are not charged to the total");
}

#[test]
fn operations_that_name_the_same_limit_share_its_counter() {
    let shared = || vec![per_user("shared", 5, MINUTE)];
    let operations = catalogue(vec![("one", shared()), ("other", shared())]);
    let mut bench = Bench::with(org(), operations, rules());
    bench.grant(ask("one").calls(3));
    bench.deny(ask("other").calls(3));
    bench.grant(ask("other").calls(2));
}

#[test]
fn each_user_has_an_independent_bucket() {
    let mut bench = Bench::of(org().pool(&["alice", "bob"]));
    bench.grant(ask(READ).by("alice").calls(90));
    bench.grant(ask(READ).by("bob").calls(90));
    bench.deny(ask(READ));
}

#[test]
fn the_limit_that_frees_last_binds() {
    // (minute's window used at, hour's window used at, who binds)
    let minute = || per_org("minute", 1, MINUTE);
    let user = || per_user("hour", 1, HOUR);
    let operations = catalogue(vec![("both", vec![minute(), user()]), ("minute", vec![minute()])]);
    let mut bench = Bench::with(org(), operations, rules());
    bench.grant(ask("both"));
    let denial = bench.deny(ask("both"));
    assert_eq!(denial.reason, DenialReason::ExecutionUserLimit);
    assert_eq!(denial.retry_after, Some(secs(5 + 5) + HOUR));
    assert_eq!(denial.limits.len(), 2, "all limits that the request touches");
    // Just before the hour has passed the minute is used again.
    bench.advance(secs(10) + HOUR - secs(30));
    bench.grant(ask("minute"));
    let denial = bench.deny(ask("both"));
    assert_eq!(denial.reason, DenialReason::OrgLimit);
    assert_eq!(denial.retry_after, Some(UNREPORTED_MINUTE));
}

#[test]
fn ties_go_to_the_org_then_the_workspace_then_the_user_then_slots() {
    let of = |scope| Charge { scope, ..per_user("same", 1, secs(100)) };
    let slot = || Charge { max: quotagate::quota::catalogue::Max::Fixed(1), ..slots(secs(100)) };
    let rows: [(&str, Vec<Charge>, DenialReason); 3] = [
        (
            "org",
            vec![slot(), of(Scope::ExecutionUser), of(Scope::Workspace), of(Scope::Org)],
            DenialReason::OrgLimit,
        ),
        (
            "workspace",
            vec![slot(), of(Scope::ExecutionUser), of(Scope::Workspace)],
            DenialReason::WorkspaceLimit,
        ),
        ("user", vec![slot(), of(Scope::ExecutionUser)], DenialReason::ExecutionUserLimit),
    ];
    for (name, charges, reason) in rows {
        let mut backwards = charges.clone();
        backwards.reverse();
        for charges in [charges, backwards] {
            let mut bench = Bench::with(org(), catalogue(vec![("op", charges)]), rules());
            bench.grant(ask("op").of("w"));
            let denial = bench.deny(ask("op").of("w"));
            assert_eq!(denial.reason, reason, "{name}");
            assert_eq!(denial.limit.map(|limit| limit.name.to_string()), Some("same".into()));
        }
    }
}

#[test]
fn nobody_knows_when_a_slot_is_free() {
    let mut bench = Bench::of(org().slots(1));
    bench.grant(ask(LONG));
    let denial = bench.deny(ask(LONG));
    assert_eq!(denial.reason, DenialReason::ConcurrencyLimit);
    assert_eq!(denial.retry_after, None);
    assert_eq!(denial.limit.map(|limit| limit.kind), Some(Kind::Concurrency));
}

#[test]
fn what_hangs_on_foreign_use_has_no_retry_after() {
    let mut bench = Bench::of(org().daily(100));
    bench.read(95, 100);
    bench.grant(ask(REST).calls(5));
    let denial = bench.deny(ask(REST).calls(6));
    assert_eq!((denial.reason, denial.retry_after), (DenialReason::OrgLimit, None));
    // Five will have left.
    let denial = bench.deny(ask(REST).calls(5));
    assert_eq!(denial.retry_after, Some(secs(60 + 5) + DAY));
}

#[test]
fn what_can_never_be_granted_is_refused_at_once_and_never_waits() {
    let rows: [(&str, OrgPolicy, Ask); 6] = [
        ("above a user's limit", org(), ask(READ).calls(91)),
        ("above the total", org().daily(100), ask(REST).calls(101)),
        ("above the total by cost", org().daily(100), ask(REST).calls(2).costing(51)),
        ("above the total less the reserve", org().daily(100).keeping(5), ask(REST).calls(96)),
        ("above the slots", org().slots(3), ask(LONG).calls(4)),
        ("above the pause point", org().capped("w", 100), ask(REST).of("w").calls(81)),
    ];
    for (name, policy, asked) in rows {
        let mut bench = Bench::of(policy);
        let denial = bench.deny(asked.clone());
        assert_eq!(denial.retry_after, None, "{name}");
        let patient = bench.deny(asked.waiting(secs(600)));
        assert_eq!(patient.reason, denial.reason, "{name}");
        assert_eq!(bench.ledger.waiting(), 0, "{name}");
    }
}

#[test]
fn control_uses_the_reserve_and_the_others_do_not() {
    let rows =
        [(Class::Bulk, 95), (Class::Event, 95), (Class::Interactive, 95), (Class::Control, 100)];
    for (class, most) in rows {
        let mut bench = Bench::of(org().daily(100).keeping(5));
        assert_eq!(bench.grant(ask(REST).class(class).calls(200).at_least(1)).calls, most);
        // What the block has left goes back when nobody has asked for a while.
        bench.advance(secs(30));
        let total = bench.total();
        assert_eq!((total.held, total.reserved, total.remaining), (0, 5, 100 - u64::from(most)));
    }
}

#[test]
fn the_reserve_is_rounded_down() {
    for (limit, percent, reserve) in [(15_000, 5, 750), (99, 5, 4), (19, 5, 0), (100, 0, 0)] {
        let mut bench = Bench::of(org().daily(limit).keeping(percent));
        assert_eq!(bench.total().reserved, reserve, "{percent} % of {limit}");
    }
}

#[test]
fn the_outage_share_is_never_granted() {
    // (share, the most reads a minute): what is kept is rounded up.
    for (share, most) in [(0, 90), (10, 81), (1, 89), (50, 45), (90, 9)] {
        let mut policy = org();
        policy.outage_share = share;
        let mut bench = Bench::of(policy);
        assert_eq!(bench.grant(ask(READ).calls(90).at_least(1)).calls, most, "{share} %");
        let denial = bench.deny(ask(READ));
        assert_eq!(denial.reason, DenialReason::ExecutionUserLimit);
        let shown = denial.limit.map(|limit| (limit.max, limit.outage_share));
        assert_eq!(shown, Some((90, u64::from(90 - most))), "the limit itself is shown");
    }
}

#[test]
fn the_users_of_a_counter_are_told_apart() {
    let mut bench = Bench::of(org().daily(100).capped("mine", 50).capped("other", 50));
    bench.read(20, 100);
    bench.grant(ask(REST).of("mine").calls(10));
    bench.grant(ask(REST).of("other").calls(7));
    bench.grant(ask(REST).calls(3));
    let usage = bench.usage();
    let mine = usage.workspaces.iter().find(|shown| shown.workspace.as_str() == "mine").unwrap();
    let total = mine.limits.iter().find(|limit| limit.scope == Scope::Org).unwrap();
    assert_eq!((total.used_by_caller, total.used_by_others, total.foreign), (10, 30, 20));
    assert_eq!(total.remaining, 100 - 40 - total.held);
    let all = bench.total();
    assert_eq!((all.used_by_caller, all.used_by_others, all.foreign), (20, 20, 20));
}

#[test]
fn intercoms_numbers() {
    let mut bench = Bench::of(org().daily(15_000).capped("mine", 15_000));
    let permit = bench.grant(ask(REST).of("mine").calls(2_918).class(Class::Interactive));
    bench.report(&permit, answered(2_918));
    bench.advance(secs(60));
    bench.read(2_918 + 3_072, 15_000);
    let usage = bench.usage();
    let total = &usage.workspaces[0].limits[1];
    assert_eq!((total.used_by_caller, total.used_by_others), (2_918, 3_072));
    assert_eq!((total.held, total.remaining), (0, 9_010));
}

#[test]
fn a_lowered_limit_refuses_until_use_has_fallen_and_does_not_underflow() {
    let mut bench = Bench::of(org().daily(100).keeping(5));
    bench.grant(ask(REST).calls(60));
    bench.advance(HOUR);
    bench.grant(ask(REST).calls(30));
    bench.change(|policy| policy.daily_calls = 50);
    assert_eq!(bench.total().remaining, 0);
    let denial = bench.deny(ask(REST));
    assert_eq!(denial.retry_after, Some(secs(65) + DAY - HOUR));
    bench.change(|policy| policy.daily_calls = 1);
    bench.deny(ask(REST).class(Class::Control));
    // Raising acts at once.
    bench.change(|policy| policy.daily_calls = 200);
    bench.grant(ask(REST).calls(100));
}

/// A counter at its limit is reserved once in a thousandth of its window (86 s
/// for a day's), and raising the limit did not end that pause.
#[test]
fn raising_a_limit_acts_at_once() {
    let mut bench = Bench::of(org().daily(3));
    bench.grant(ask(REST).calls(3));
    bench.deny(ask(REST));
    bench.change(|policy| policy.daily_calls = 6);
    bench.grant(ask(REST).calls(3));
    let waiter = bench.park(ask(REST).waiting(secs(5)));
    bench.change(|policy| policy.daily_calls = 7);
    bench.woken(waiter);
}

#[test]
fn a_lowered_limit_of_the_catalogue_does_not_underflow() {
    let reads = |max| catalogue(vec![(READ, vec![per_user("entries", max, MINUTE)])]);
    let mut bench = Bench::with(org(), reads(90), rules());
    bench.grant(ask(READ).calls(50));
    change_catalogue(&mut bench, reads(10));
    assert_eq!(bench.of_user("alice", "entries").remaining, 0);
    assert_eq!(bench.deny(ask(READ)).retry_after, Some(UNREPORTED_MINUTE));
    change_catalogue(&mut bench, reads(51));
    bench.grant(ask(READ));
    bench.deny(ask(READ));
}

#[test]
fn a_shorter_window_acts_at_once_and_a_longer_one_counts_what_is_recorded() {
    let reads = |window| catalogue(vec![(READ, vec![per_user("entries", 10, window)])]);
    let mut bench = Bench::with(org(), reads(MINUTE), rules());
    let permit = bench.grant(ask(READ).calls(10));
    bench.report(&permit, answered(10));
    bench.advance(secs(31));
    change_catalogue(&mut bench, reads(secs(30)));
    bench.grant(ask(READ).calls(10));
    change_catalogue(&mut bench, reads(HOUR));
    bench.advance(MINUTE * 2);
    assert_eq!(bench.deny(ask(READ)).retry_after, Some(HOUR + secs(10) - MINUTE * 2));
}

#[test]
fn a_limit_that_the_catalogue_has_no_more_is_not_charged() {
    let two = vec![per_user("few", 1, HOUR), per_user("many", 90, MINUTE)];
    let mut bench = Bench::with(org(), catalogue(vec![("op", two)]), rules());
    bench.grant(ask("op"));
    bench.deny(ask("op"));
    change_catalogue(&mut bench, catalogue(vec![("op", vec![per_user("many", 90, MINUTE)])]));
    bench.grant(ask("op").calls(89));
    assert_eq!(bench.of_user("alice", "few").remaining, 0, "known until its units have left");
}

#[test]
fn a_refusal_is_a_sentence_that_names_the_limit() {
    let mut bench = Bench::of(org().daily(100).keeping(5));
    bench.grant(ask(REST).calls(95));
    let message = bench.deny(ask(REST)).message;
    for part in ["org acme", "95 of 100", "1 d", "5 are kept for other integrations"] {
        assert!(message.contains(part), "{part:?} in {message:?}");
    }
}

#[test]
fn the_caps_of_workspaces_may_add_up_to_more_than_the_org_has_but_that_is_said() {
    let mut bench = Bench::of(org().daily(100).capped("one", 60).capped("two", 60));
    assert_eq!(bench.usage().warnings.len(), 1);
    bench.change(|policy| policy.daily_calls = 120);
    assert!(bench.usage().warnings.is_empty());
}

fn rules() -> quotagate::quota::Rules {
    quotagate::quota::Rules::default()
}

fn change_catalogue(bench: &mut Bench, catalogue: Catalogue) {
    bench.catalogue = catalogue;
    bench.configure();
}
