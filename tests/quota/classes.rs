//! Traffic classes of workspaces: when they pause and resume, and what is said
//! of it.

use quotagate::quota::{
    Class, ClassPolicy, ClassState, Denial, DenialReason, Happening, Permit, Thresholds, Warning,
};

use crate::bench::*;

fn capped(cap: u64) -> Bench {
    Bench::of(org().daily(100_000).capped("w", cap))
}

fn calls(class: Class, calls: u32) -> quotagate::quota::Ask {
    ask(REST).of("w").class(class).calls(calls)
}

fn paused(bench: &mut Bench) -> Vec<Class> {
    Class::PAUSABLE.into_iter().filter(|class| bench.is_paused("w", *class)).collect()
}

#[test]
fn pause_points_are_rounded_up() {
    // (percent, cap, point)
    let rows = [
        (40, 100, 40),
        (40, 101, 41),
        (40, 1, 1),
        (80, 5_000, 4_000),
        (80, 7, 6),
        (100, 7, 7),
        (1, 1, 1),
        (60, 15_000, 9_000),
        (99, 100_000_000, 99_000_000),
    ];
    for (percent, cap, point) in rows {
        let thresholds = Thresholds { pause: percent, resume: percent };
        assert_eq!(thresholds.pause_point(cap), point, "{percent} % of {cap}");
        assert_eq!(thresholds.resume_point(cap), point, "{percent} % of {cap}");
    }
}

#[test]
fn no_grant_takes_use_beyond_the_pause_point() {
    let rows = [
        (Class::Bulk, 40, DenialReason::WorkspaceClassPaused),
        (Class::Event, 80, DenialReason::WorkspaceClassPaused),
        (Class::Interactive, 100, DenialReason::WorkspaceLimit),
    ];
    for (class, most, reason) in rows {
        let mut bench = capped(100);
        assert_eq!(bench.grant(calls(class, 1)).calls, 1);
        bench.deny(calls(class, most));
        assert_eq!(bench.grant(calls(class, 1_000).at_least(1)).calls, most - 1, "{class:?}");
        let denial = bench.deny(calls(class, 1));
        assert_eq!(denial.reason, reason, "{class:?}");
        assert_eq!(spent(&bench.cap("w")), u64::from(most));
        assert!(bench.is_paused("w", class));
    }
}

#[test]
fn the_outage_share_is_kept_of_a_cap_from_every_class_but_control() {
    use DenialReason::{WorkspaceClassPaused, WorkspaceLimit};
    // (share, class, the most of a cap of 100, reason of the denial)
    let rows = [
        (0, Class::Interactive, 100, WorkspaceLimit),
        (10, Class::Interactive, 90, WorkspaceLimit),
        (90, Class::Interactive, 10, WorkspaceLimit),
        (10, Class::Event, 80, WorkspaceClassPaused),
        (20, Class::Event, 80, WorkspaceLimit),
        (50, Class::Event, 50, WorkspaceLimit),
        (50, Class::Bulk, 40, WorkspaceClassPaused),
        (70, Class::Bulk, 30, WorkspaceLimit),
    ];
    for (share, class, most, reason) in rows {
        let mut policy = org().daily(100_000).capped("w", 100);
        policy.outage_share = share;
        let mut bench = Bench::of(policy);
        let permit = bench.grant(calls(class, 1_000).at_least(1));
        assert_eq!(permit.calls, most, "{share} %, {class:?}");
        bench.report(&permit, answered(most));
        let denial = bench.deny(calls(class, 1));
        assert_eq!(denial.reason, reason, "{share} %, {class:?}");
        let cap = bench.cap("w");
        assert_eq!((cap.max, cap.outage_share), (100, u64::from(share)));
        let reached = match class {
            Class::Bulk => 40,
            Class::Event => 80,
            Class::Interactive | Class::Control => 100,
        };
        let is_paused = bench.is_paused("w", class);
        assert_eq!(is_paused, most == reached, "pause points are percentages of the cap");
        bench.advance(denial.retry_after.expect("it frees"));
        bench.grant(calls(class, 1));
        bench.grant(calls(Class::Control, 250));
    }
}

#[test]
fn a_class_that_control_calls_have_paused_above_what_is_granted_says_when_it_resumes() {
    let mut policy = org().daily(100_000).capped("w", 100);
    policy.outage_share = 30;
    let mut bench = Bench::of(policy);
    let permit = bench.grant(calls(Class::Control, 45));
    bench.report(&permit, answered(45));
    bench.advance(HOUR);
    let permit = bench.grant(calls(Class::Control, 40));
    bench.report(&permit, answered(40));
    assert_eq!(paused(&mut bench), [Class::Event, Class::Bulk]);
    let wait = bench.deny(calls(Class::Event, 1)).retry_after.expect("it resumes");
    assert!(wait < DAY, "the first step is enough");
    bench.advance(wait);
    assert_eq!(bench.grant(calls(Class::Event, 100).at_least(1)).calls, 30, "70 are granted");
}

#[test]
fn a_grant_up_to_the_pause_point_is_partial_down_to_the_least() {
    let mut bench = capped(100);
    bench.grant(calls(Class::Interactive, 75));
    bench.deny(calls(Class::Event, 10).at_least(6));
    assert_eq!(bench.grant(calls(Class::Event, 10).at_least(5)).calls, 5);
    // By cost, too: 20 are left for people, 3 each.
    let dear = calls(Class::Interactive, 10).at_least(1).costing(3);
    assert_eq!(bench.grant(dear).calls, 6);
}

#[test]
fn control_is_never_stopped_by_the_cap_but_counted() {
    let mut bench = capped(100);
    bench.grant(calls(Class::Control, 250));
    assert_eq!(spent(&bench.cap("w")), 250);
    assert_eq!(bench.cap("w").remaining, 0);
    assert_eq!(paused(&mut bench), Class::PAUSABLE);
    assert_eq!(bench.deny(calls(Class::Interactive, 1)).reason, DenialReason::WorkspaceLimit);
    // Only by the org's total.
    let denial = bench.deny(calls(Class::Control, 100_000));
    assert_eq!(denial.reason, DenialReason::OrgLimit);
}

#[test]
fn the_reason_tells_the_pause_point_from_the_cap() {
    // (used by people, class, reason)
    let rows = [
        (40, Class::Bulk, DenialReason::WorkspaceClassPaused),
        (99, Class::Bulk, DenialReason::WorkspaceClassPaused),
        (100, Class::Bulk, DenialReason::WorkspaceLimit),
        (80, Class::Event, DenialReason::WorkspaceClassPaused),
        (100, Class::Event, DenialReason::WorkspaceLimit),
        (100, Class::Interactive, DenialReason::WorkspaceLimit),
    ];
    for (used, class, reason) in rows {
        let mut bench = capped(100);
        bench.grant(calls(Class::Interactive, used));
        assert_eq!(bench.deny(calls(class, 1)).reason, reason, "{class:?} at {used}");
    }
}

/// A workspace that has used 45 of 100 an hour ago, and 35 now.
fn used_in_two_steps() -> Bench {
    let mut bench = capped(100);
    let permit = bench.grant(calls(Class::Interactive, 45));
    bench.report(&permit, answered(45));
    bench.advance(HOUR);
    let permit = bench.grant(calls(Class::Interactive, 35));
    bench.report(&permit, answered(35));
    bench
}

#[test]
fn a_paused_class_resumes_below_its_resume_point_and_does_not_flap() {
    let mut bench = used_in_two_steps();
    assert_eq!(paused(&mut bench), [Class::Event, Class::Bulk]);
    // A little less than the pause point is not enough: 80, resume below 60.
    bench.advance(DAY - HOUR - secs(60));
    bench.deny(calls(Class::Event, 1));
    bench.advance(secs(120));
    assert_eq!(spent(&bench.cap("w")), 35);
    assert_eq!(paused(&mut bench), []);
    bench.grant(calls(Class::Event, 45));
    assert_eq!(paused(&mut bench), [Class::Event, Class::Bulk]);
}

#[test]
fn within_the_band_a_class_stays_what_it_is() {
    let mut bench = capped(100);
    let first = bench.grant(calls(Class::Interactive, 20));
    bench.report(&first, answered(20));
    bench.advance(HOUR);
    bench.grant(calls(Class::Interactive, 50));
    assert_eq!(paused(&mut bench), [Class::Bulk], "70: not paused before");
    bench.grant(calls(Class::Interactive, 10));
    assert_eq!(paused(&mut bench), [Class::Event, Class::Bulk], "80");
    bench.advance(DAY - HOUR + secs(60));
    assert_eq!(spent(&bench.cap("w")), 60);
    assert_eq!(paused(&mut bench), [Class::Event, Class::Bulk], "60 is not below 60");
    let denial = bench.deny(calls(Class::Event, 1));
    assert_eq!(denial.reason, DenialReason::WorkspaceClassPaused);
}

#[test]
fn a_refused_class_hears_when_it_resumes() {
    let mut bench = used_in_two_steps();
    // Event resumes when 21 of 80 have left, which the first 45 do together;
    // the end of a bucket is later by up to a minute.
    let wait = bench.deny(calls(Class::Event, 1)).retry_after.expect("it will resume");
    assert!((DAY - HOUR..DAY - HOUR + MINUTE).contains(&wait), "{wait:?}");
    // For 46 calls of bulk the later 35 must leave as well.
    let wait = bench.deny(calls(Class::Bulk, 40)).retry_after.expect("it will resume");
    assert!((DAY..DAY + MINUTE).contains(&wait), "{wait:?}");
}

#[test]
fn the_paused_state_survives_a_restart() {
    let mut bench = capped(100);
    let first = bench.grant(calls(Class::Interactive, 20));
    bench.report(&first, answered(20));
    bench.advance(HOUR);
    bench.grant(calls(Class::Interactive, 60));
    bench.advance(secs(60));
    bench.restart(secs(10));
    assert_eq!(paused(&mut bench), [Class::Event, Class::Bulk]);
    // Also where use alone would not say so.
    bench.advance(DAY - HOUR + MINUTE);
    assert_eq!(spent(&bench.cap("w")), 60);
    bench.restart(secs(10));
    assert_eq!(paused(&mut bench), [Class::Event, Class::Bulk]);
    assert_eq!(bench.deny(calls(Class::Event, 1)).reason, DenialReason::WorkspaceClassPaused);
}

#[test]
fn the_paused_state_is_handed_over() {
    let mut bench = capped(100);
    bench.grant(calls(Class::Interactive, 80));
    bench.hand_over();
    bench.restart(secs(0));
    assert_eq!(paused(&mut bench), [Class::Event, Class::Bulk]);
    assert_eq!(bench.cap("w").held, 0);
}

#[test]
fn a_changed_cap_is_judged_afresh() {
    let mut bench = capped(100);
    bench.grant(calls(Class::Interactive, 80));
    assert_eq!(paused(&mut bench), [Class::Event, Class::Bulk]);
    // (cap, paused): 80 are used.
    let rows: [(u64, &[Class]); 5] = [
        (101, &[Class::Bulk]),
        (201, &[]),
        (200, &[Class::Bulk]),
        (100, &[Class::Event, Class::Bulk]),
        (80, &[Class::Interactive, Class::Event, Class::Bulk]),
    ];
    for (cap, expected) in rows {
        bench.change(|policy| {
            policy.workspaces.get_mut(&workspace("w")).unwrap().daily_calls = Some(cap);
        });
        assert_eq!(paused(&mut bench), expected, "cap {cap}");
    }
}

#[test]
fn changed_thresholds_are_judged_afresh() {
    let mut bench = capped(100);
    bench.grant(calls(Class::Interactive, 70));
    assert_eq!(paused(&mut bench), [Class::Bulk]);
    let mut set = |name: &str| {
        bench.change(|policy| {
            let preset = ClassPolicy::preset(name).expect("a preset");
            policy.workspaces.get_mut(&workspace("w")).unwrap().classes = preset;
        });
        paused(&mut bench)
    };
    assert_eq!(set("strict"), [Class::Event, Class::Bulk], "it pauses at 60 already");
    assert_eq!(set("default"), [Class::Bulk], "paused only at or above the pause point");
}

#[test]
fn other_changes_leave_a_paused_class_alone() {
    let mut bench = capped(100);
    let first = bench.grant(calls(Class::Interactive, 20));
    bench.report(&first, answered(20));
    bench.advance(HOUR);
    bench.grant(calls(Class::Interactive, 60));
    bench.advance(DAY - HOUR + MINUTE);
    bench.change(|policy| policy.daily_calls = 50_000);
    assert_eq!(paused(&mut bench), [Class::Event, Class::Bulk]);
}

#[test]
fn raising_the_cap_cures_at_once() {
    let mut bench = capped(100);
    bench.grant(calls(Class::Interactive, 100));
    let waiter = bench.park(calls(Class::Event, 10).waiting(secs(600)));
    bench.change(|policy| {
        policy.workspaces.get_mut(&workspace("w")).unwrap().daily_calls = Some(200);
    });
    assert_eq!(bench.woken(waiter).calls, 10);
}

#[test]
fn withdrawing_the_cap_ends_all_pauses() {
    let mut bench = capped(100);
    bench.grant(calls(Class::Interactive, 100));
    bench.change(|policy| {
        policy.workspaces.get_mut(&workspace("w")).unwrap().daily_calls = None;
    });
    let permit = bench.grant(calls(Class::Bulk, 100));
    assert_eq!(permit.class_state, None);
}

#[test]
fn the_calm_preset_resumes_bulk_two_points_lower() {
    let calm = ClassPolicy::preset("calm").expect("a preset");
    let mut bench = Bench::of(org().capped_by("w", 100, calm));
    for (calls_now, after) in [(1, HOUR), (1, HOUR), (38, HOUR)] {
        let permit = bench.grant(calls(Class::Interactive, calls_now));
        bench.report(&permit, answered(calls_now));
        bench.advance(after);
    }
    assert_eq!(paused(&mut bench), [Class::Bulk]);
    bench.advance(DAY - HOUR * 3 + MINUTE);
    assert_eq!(spent(&bench.cap("w")), 39);
    assert_eq!(paused(&mut bench), [Class::Bulk], "39 is below the pause point only");
    bench.advance(HOUR);
    assert_eq!(spent(&bench.cap("w")), 38);
    assert_eq!(paused(&mut bench), [Class::Bulk], "38 is not below 38");
}

fn state(permit: Permit) -> ClassState {
    permit.class_state.expect("the workspace has a cap")
}

#[test]
fn a_warning_says_what_is_paused_and_what_will_in_the_words_of_customers() {
    for (used, cap, expected) in [
        (
            12_000,
            15_000,
            "workspace w has used 12,000 of its 15,000 calls in 24 hours: manual bulk sync and \
             event-based sync are paused, the inbox pauses at 15,000; raising its limit avoids this",
        ),
        (
            15_000,
            15_000,
            "workspace w has used 15,000 of its 15,000 calls in 24 hours: manual bulk sync, \
             event-based sync and the inbox are paused; raising its limit cures this at once",
        ),
    ] {
        let mut bench = capped(cap);
        let mut warnings = Vec::new();
        for _ in 0..used / 3_000 {
            warnings = state(bench.grant(calls(Class::Control, 3_000))).warnings;
        }
        let texts: Vec<&str> = warnings
            .iter()
            .map(|warning| match warning {
                Warning::ApproachingLimit(text) | Warning::LimitReached(text) => text.as_str(),
            })
            .collect();
        assert_eq!(texts, [expected]);
    }
}

#[test]
fn a_workspace_is_warned_at_four_fifths_and_at_the_cap() {
    // (used, cap, warning)
    let rows = [
        (79, 100, None),
        (80, 100, Some("approaching")),
        (99, 100, Some("approaching")),
        (100, 100, Some("reached")),
        (5, 7, None),
        (6, 7, Some("approaching")),
    ];
    for (used, cap, expected) in rows {
        let mut bench = capped(cap);
        let warnings = state(bench.grant(calls(Class::Control, used))).warnings;
        let said: Vec<&str> = warnings
            .iter()
            .map(|warning| match warning {
                Warning::ApproachingLimit(text) => {
                    assert!(text.contains("raising its limit avoids this"), "{text}");
                    "approaching"
                }
                Warning::LimitReached(text) => {
                    assert!(text.contains("raising its limit cures this"), "{text}");
                    "reached"
                }
            })
            .collect();
        assert_eq!(said, expected.into_iter().collect::<Vec<_>>(), "{used} of {cap}");
    }
}

#[test]
fn permits_denials_and_reports_carry_the_state_of_the_classes() {
    let mut bench = capped(100);
    let permit = bench.grant(calls(Class::Interactive, 40));
    let of_bulk = |state: &ClassState| {
        state.classes.iter().find(|status| status.class == Class::Bulk).copied().expect("bulk")
    };
    let status = of_bulk(&permit.class_state.clone().expect("a cap"));
    assert!(status.paused && status.since == Some(bench.now.mono));
    assert_eq!((status.pauses_at_percent, status.resumes_below_percent), (40, 40));
    let Denial { class_state, .. } = bench.deny(calls(Class::Bulk, 1));
    assert!(of_bulk(&class_state.expect("a cap")).paused);
    let reported = bench.report(&permit, answered(40));
    assert!(of_bulk(&reported.class_state.expect("a cap")).paused);
}

#[test]
fn transitions_are_numbered_and_told_once_each() {
    let mut bench = capped(100);
    let permit = bench.grant(calls(Class::Interactive, 40));
    bench.report(&permit, answered(40));
    bench.grant(calls(Class::Interactive, 1));
    let told = bench.ledger.transitions_after(0);
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].number, told[0].status.class), (1, Class::Bulk));
    bench.advance(secs(20));
    bench.release(&permit, None);
    assert_eq!(bench.ledger.last_transition(), 1);
    bench.advance(DAY + secs(180));
    bench.usage();
    let told = bench.ledger.transitions_after(1);
    assert_eq!(told.len(), 1);
    assert!(!told[0].status.paused);
    assert!(bench.ledger.transitions_after(2).is_empty());
}

/// A change of one workspace let the paused classes of all others run again.
#[test]
fn a_change_of_one_workspace_leaves_the_classes_of_the_others_alone() {
    let mut bench = Bench::of(org().daily(100_000).capped("w", 100).capped("other", 50));
    let first = bench.grant(calls(Class::Interactive, 20));
    bench.report(&first, answered(20));
    bench.advance(HOUR);
    bench.grant(calls(Class::Interactive, 60));
    bench.advance(DAY - HOUR + MINUTE);
    bench.change(|policy| {
        let other = policy.workspaces.get_mut(&workspace("other"));
        other.expect("it is declared").daily_calls = Some(60);
    });
    assert_eq!(paused(&mut bench), [Class::Event, Class::Bulk]);
}

/// What was told since the last look, in few words.
fn told(bench: &mut Bench) -> Vec<String> {
    let events = bench.ledger.take_events().into_iter();
    let word = |event: quotagate::quota::Event| match event.what {
        Happening::ClassPaused(status) => format!("{} paused", status.class.name()),
        Happening::ClassResumed(status) => format!("{} resumed", status.class.name()),
        other => other.kind().name().to_owned(),
    };
    events.map(word).collect()
}

#[test]
fn of_a_class_something_is_told_at_most_once_a_minute() {
    let mut bench = capped(100);
    bench.grant(calls(Class::Interactive, 39));
    // It flaps: a call at the pause point comes and goes.
    let mut all = Vec::new();
    for _ in 0..58 {
        let permit = bench.grant(calls(Class::Interactive, 1));
        bench.release(&permit, None);
        bench.advance(secs(1));
        all.extend(told(&mut bench));
    }
    bench.grant(calls(Class::Interactive, 1));
    all.extend(told(&mut bench));
    assert_eq!(all, ["bulk paused"]);
    assert_eq!(bench.ledger.last_transition(), 1);
    assert!(bench.is_paused("w", Class::Bulk));
    // It ends as it was told: nothing is to be added.
    bench.advance(secs(60));
    bench.usage();
    assert_eq!(told(&mut bench), Vec::<String>::new());
}

#[test]
fn what_has_changed_within_the_minute_is_told_after_it() {
    let mut bench = capped(100);
    bench.grant(calls(Class::Interactive, 39));
    let permit = bench.grant(calls(Class::Interactive, 1));
    bench.release(&permit, None);
    assert!(!bench.is_paused("w", Class::Bulk));
    assert_eq!(told(&mut bench), ["bulk paused"]);
    bench.advance(secs(59));
    bench.usage();
    assert_eq!(told(&mut bench), Vec::<String>::new());
    bench.advance(secs(1));
    bench.usage();
    assert_eq!(told(&mut bench), ["bulk resumed"]);
    // Somebody changes the cap: that is no flapping.
    for (cap, expected) in [(90, "bulk paused"), (200, "bulk resumed")] {
        bench.grant(calls(Class::Interactive, 1));
        bench.change(|org| {
            org.workspaces.get_mut(&workspace("w")).expect("declared").daily_calls = Some(cap);
        });
        assert_eq!(told(&mut bench), [expected], "cap {cap}");
    }
}

#[test]
fn warnings_are_told_when_they_begin_and_again_when_they_have_ended() {
    let mut bench = capped(100);
    bench.grant(calls(Class::Interactive, 79));
    assert_eq!(told(&mut bench), ["bulk paused"]);
    let at_80 = bench.grant(calls(Class::Interactive, 1));
    assert_eq!(told(&mut bench), ["event paused", "limit_approaching"]);
    bench.release(&at_80, None);
    bench.grant(calls(Class::Interactive, 1));
    assert_eq!(told(&mut bench), Vec::<String>::new(), "it is known");
    bench.grant(calls(Class::Interactive, 20));
    assert_eq!(told(&mut bench), ["interactive paused", "limit_reached"]);
    bench.advance(DAY + MINUTE * 2);
    bench.usage();
    assert_eq!(told(&mut bench), ["interactive resumed", "event resumed", "bulk resumed"]);
    bench.grant(calls(Class::Control, 80));
    let again = told(&mut bench);
    assert!(again.contains(&"limit_approaching".to_owned()), "{again:?}");
}

#[test]
fn a_new_owner_neither_repeats_nor_forgets_what_is_to_be_told() {
    for hands_over in [true, false] {
        let mut bench = capped(100);
        let permit = bench.grant(calls(Class::Interactive, 85));
        assert_eq!(told(&mut bench), ["event paused", "bulk paused", "limit_approaching"]);
        // Both resume a moment later, which is not told yet.
        bench.advance(secs(20));
        bench.release(&permit, None);
        assert_eq!(told(&mut bench), Vec::<String>::new());
        if hands_over {
            bench.hand_over();
        } else {
            bench.advance(secs(30));
        }
        bench.restart(secs(5));
        bench.usage();
        assert_eq!(told(&mut bench), ["event resumed", "bulk resumed"], "{hands_over}");
        bench.hand_over();
        bench.restart(secs(5));
        bench.usage();
        assert_eq!(told(&mut bench), Vec::<String>::new(), "{hands_over}");
    }
}
