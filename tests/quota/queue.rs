//! Requests that wait: whose turn it is, what they hold, how a wait ends.

use std::time::Duration;

use quotagate::quota::{
    Answer, AskError, Class, Denial, DenialReason, Mono, Outcome, Rules, WaiterId,
};

use crate::bench::*;

/// The pause after which a minute's counter at its limit is reserved again.
const PAUSE: Duration = ms(60);

fn full() -> (Bench, quotagate::quota::Permit) {
    let mut bench = Bench::of(org());
    let permit = bench.grant(ask(READ).calls(90));
    (bench, permit)
}

#[track_caller]
fn denied(bench: &mut Bench, id: WaiterId) -> Denial {
    match bench.answer(id) {
        Some(Outcome::Denied(denial)) => *denial,
        other => panic!("should have been denied, is {other:#?}"),
    }
}

fn patient() -> quotagate::quota::Ask {
    ask(READ).waiting(secs(600))
}

#[test]
fn a_waiting_request_is_woken_at_the_instant_at_which_there_is_room() {
    let (mut bench, _) = full();
    let waiter = bench.park(patient());
    bench.advance(secs(70) - Duration::from_micros(1));
    assert!(bench.still_waits(waiter));
    bench.advance(Duration::from_micros(1));
    bench.woken(waiter);
}

#[test]
fn the_classes_are_served_strictly_in_order_and_within_a_class_by_arrival() {
    let mut bench = Bench::of(org());
    let permits: Vec<_> = (0..9).map(|_| bench.grant(ask(READ).calls(10))).collect();
    let arrivals = [
        Class::Bulk,
        Class::Event,
        Class::Interactive,
        Class::Control,
        Class::Bulk,
        Class::Event,
        Class::Interactive,
        Class::Control,
    ];
    let waiters = arrivals.map(|class| bench.park(patient().class(class).calls(10)));
    for (permit, served) in permits.iter().zip([3, 7, 2, 6, 1, 5, 0, 4]) {
        bench.release(permit, None);
        bench.advance(PAUSE);
        bench.woken(waiters[served]);
    }
    assert_eq!(bench.ledger.waiting(), 0);
}

#[test]
fn the_head_holds_the_counters_that_it_lacks() {
    let mut bench = Bench::of(org());
    bench.grant(ask(READ).calls(45));
    bench.advance(secs(20));
    bench.grant(ask(READ).calls(40));
    // Five are left: not enough for the head, but it is the head's turn.
    let large = bench.park(patient().calls(10));
    let denial = bench.deny(ask(READ));
    assert_eq!(denial.reason, DenialReason::ExecutionUserLimit);
    bench.deny(ask(READ).class(Class::Bulk));
    let behind = bench.park(patient().calls(5));
    // A higher class does not queue behind it.
    bench.grant(ask(READ).class(Class::Interactive));
    assert!(bench.still_waits(large) && bench.still_waits(behind));
    bench.advance(secs(51));
    assert_eq!(bench.woken(large).calls, 10);
    assert_eq!(bench.woken(behind).calls, 5);
}

#[test]
fn others_pass_the_head() {
    let mut bench = Bench::of(org().pool(&["alice", "bob"]));
    bench.grant(ask(READ).by("alice").calls(90));
    let head = bench.park(patient().by("alice"));
    bench.grant(ask(READ).by("bob").calls(90));
    bench.grant(ask(REST));
    assert!(bench.still_waits(head));
}

#[test]
fn a_counter_that_the_head_has_enough_of_is_not_held() {
    let both = vec![per_org("wide", 100, MINUTE), per_user("narrow", 1, MINUTE)];
    let wide = vec![per_org("wide", 100, MINUTE)];
    let operations = catalogue(vec![("both", both), ("wide", wide)]);
    let mut bench = Bench::with(org(), operations, Rules::default());
    bench.grant(ask("both"));
    let head = bench.park(ask("both").waiting(secs(600)));
    bench.grant(ask("wide").calls(99));
    assert!(bench.still_waits(head));
}

#[test]
fn large_requests_do_not_starve() {
    let mut bench = Bench::of(org());
    for _ in 0..9 {
        bench.grant(ask(READ).calls(10));
        bench.advance(secs(1));
    }
    let large = bench.park(patient().calls(60));
    let mut small = Vec::new();
    for _ in 0..20 {
        small.push(bench.park(patient()));
        bench.advance(secs(3));
    }
    // The sixth permit's calls leave 5 + 70 s after the first grant.
    bench.advance(secs(6) + PAUSE);
    bench.woken(large);
    assert!(small.iter().any(|id| bench.still_waits(*id)));
}

#[test]
fn a_wait_ends_with_a_place_and_an_estimate() {
    let mut bench = Bench::of(org());
    bench.grant(ask(DELETE).calls(10));
    let waits = [60, 60, 60, 600];
    let waiters = waits.map(|seconds| bench.park(ask(DELETE).waiting(secs(seconds))));
    let hasty = bench.park(ask(DELETE).waiting(secs(60)));
    bench.advance(secs(60));
    let first_turn = secs(30 + 5) + HOUR - secs(60);
    for (place, waiter) in (1..).zip(&waiters[..3]) {
        let denial = denied(&mut bench, *waiter);
        assert_eq!((denial.queue_position, denial.retry_after), (place, Some(first_turn)));
    }
    assert!(bench.still_waits(waiters[3]));
    assert_eq!(denied(&mut bench, hasty).queue_position, 5);
}

#[test]
fn those_further_back_wait_for_several_windows() {
    let mut bench = Bench::of(org());
    bench.grant(ask(DELETE).calls(10));
    for _ in 0..20 {
        bench.park(ask(DELETE).waiting(secs(600)));
    }
    let first_turn = secs(30 + 5) + HOUR;
    assert_eq!(bench.deny(ask(DELETE)).retry_after, Some(first_turn + HOUR * 2));
    let ahead_of_all = ask(DELETE).class(Class::Interactive);
    assert_eq!(bench.deny(ahead_of_all).retry_after, Some(first_turn));
}

#[test]
fn who_does_not_wait_has_no_place() {
    let (mut bench, _) = full();
    bench.park(patient());
    assert_eq!(bench.deny(ask(READ)).queue_position, 0);
}

#[test]
fn so_many_wait_and_not_more() {
    let rules = Rules { max_waiting: 3, ..Rules::default() };
    let mut bench = Bench::with(org(), built_in(), rules);
    bench.grant(ask(READ).calls(90));
    let waiters = [0; 3].map(|_| bench.park(patient()));
    let denial = bench.deny(patient());
    assert_eq!(denial.reason, DenialReason::QueueFull);
    assert!(denial.limit.is_none() && denial.retry_after.is_some());
    assert_eq!(bench.deny(ask(READ)).reason, DenialReason::ExecutionUserLimit);
    bench.cancel(waiters[1]);
    bench.park(patient());
}

/// Clients learn from denials which limits there are. One of a full queue named
/// none of those that a request to any user of the pool would have touched.
#[test]
fn a_full_queue_names_every_limit_of_who_would_be_chosen() {
    let rules = Rules { max_waiting: 1, ..Rules::default() };
    let mut bench = Bench::with(org(), built_in(), rules);
    bench.grant(ask(READ).calls(90));
    bench.park(patient());
    let names = |denial: Denial| denial.limits.into_iter().map(|of| of.name).collect::<Vec<_>>();
    let full = bench.deny(patient());
    assert_eq!(full.reason, DenialReason::QueueFull);
    let plain = bench.deny(ask(READ));
    assert_eq!(plain.reason, DenialReason::ExecutionUserLimit);
    assert_eq!(names(full), names(plain));
}

#[test]
fn the_node_may_have_too_many_waiting_already() {
    let (mut bench, _) = full();
    let Answer::Done(Outcome::Denied(denial)) =
        bench.ledger.acquire(bench.now.mono, &patient(), 77, false)
    else {
        panic!("should be denied");
    };
    assert_eq!(denial.reason, DenialReason::QueueFull);
    // What waits for the store alone was not refused by a limit.
    let other = ask(DELETE);
    let answer = bench.ledger.acquire(bench.now.mono, &other, 78, false);
    assert_eq!(answer, Answer::Done(Outcome::Failed(AskError::Overloaded)));
}

#[test]
fn a_client_that_goes_away_leaves_the_queue_and_holds_nothing() {
    let mut bench = Bench::of(org());
    bench.grant(ask(READ).calls(85));
    let head = bench.park(patient().calls(10));
    bench.deny(ask(READ));
    bench.cancel(head);
    assert_eq!(bench.ledger.waiting(), 0);
    bench.grant(ask(READ).calls(5));
    // Again changes nothing.
    bench.cancel(head);
    let before = bench.usage();
    bench.advance(secs(1));
    assert_eq!(bench.usage().waiting, before.waiting);
}

#[test]
fn those_behind_one_that_goes_away_are_decided_at_once() {
    let mut bench = Bench::of(org());
    bench.grant(ask(READ).calls(85));
    let head = bench.park(patient().calls(10));
    let behind = bench.park(patient().calls(5));
    bench.cancel(head);
    bench.woken(behind);
}

#[test]
fn a_released_permit_wakes_those_who_wait() {
    let (mut bench, permit) = full();
    let waiter = bench.park(patient());
    bench.advance(secs(1));
    bench.release(&permit, Some(1));
    bench.advance(PAUSE);
    bench.woken(waiter);
    bench.deny(ask(READ));
}

#[test]
fn a_partial_grant_ends_a_wait() {
    let mut bench = Bench::of(org());
    bench.grant(ask(READ).calls(80));
    bench.advance(secs(20));
    bench.grant(ask(READ).calls(10));
    let waiter = bench.park(patient().calls(90).at_least(50));
    bench.advance(secs(50));
    assert_eq!(bench.woken(waiter).calls, 80);
}

#[test]
fn an_owner_that_stops_tells_those_who_wait() {
    let (mut bench, _) = full();
    let waiter = bench.park(patient());
    bench.ledger.stop();
    bench.quiet();
    assert_eq!(bench.answer(waiter), Some(Outcome::Failed(AskError::NotOwner)));
    assert_eq!(bench.fail(ask(READ)), AskError::NotOwner);
}

#[test]
fn a_request_waits_for_the_store_for_two_seconds() {
    let mut bench = Bench::of(org());
    bench.withholds = true;
    let waiter = bench.park(ask(READ));
    bench.advance(secs(2) - ms(1));
    assert!(bench.still_waits(waiter));
    bench.advance(ms(1));
    assert_eq!(bench.answer(waiter), Some(Outcome::Failed(AskError::StoreTimeout)));
    assert_eq!(spent(&bench.of_user("alice", "entries")), 0);
}

#[test]
fn a_store_that_comes_back_in_time_is_not_noticed() {
    let mut bench = Bench::of(org());
    bench.withholds = true;
    let waiter = bench.park(ask(READ));
    bench.advance(secs(1));
    bench.withholds = false;
    bench.quiet();
    bench.woken(waiter);
}

#[test]
fn a_thousand_deletions_wait_cheaply_and_each_is_served_when_it_is_due() {
    let users = ["alice", "bob", "carol", "dave", "erin"];
    let mut bench = Bench::of(org().pool(&users));
    for _ in 0..50 {
        let permit = bench.grant(ask(DELETE).of("w"));
        bench.report(&permit, answered(1));
    }
    let mut waiters = Vec::new();
    for _ in 0..1_000 {
        bench.advance(ms(1));
        waiters.push((bench.now.mono, bench.park(ask(DELETE).of("w").waiting(DAY))));
    }
    let queue = bench.usage().queue.expect("it is shown");
    assert_eq!(queue.by_class, [0, 0, 1_000, 0]);
    let places: Vec<u32> = queue.first.iter().map(|queued| queued.place).collect();
    assert_eq!(places, (1..=100).collect::<Vec<u32>>());
    let since: Vec<Mono> = queue.first.iter().map(|queued| queued.since).collect();
    assert_eq!(since, waiters.iter().take(100).map(|(at, _)| *at).collect::<Vec<Mono>>());
    let limits = queue.first.iter().filter_map(|queued| queued.limit.as_ref());
    assert!(limits.clone().all(|limit| limit.name.as_str() == "conversation-deletions"));
    for user in users {
        let of_user = limits.clone().filter(|limit| &*limit.identity == user).count();
        assert_eq!(of_user, 20, "{user} will serve as many as the others");
    }

    // Others go on meanwhile, and those who wait are not looked at for it.
    let before = bench.ledger.queue_work();
    for _ in 0..500 {
        let permit = bench.grant(ask(REST).class(Class::Interactive));
        bench.report(&permit, answered(1));
    }
    let work = bench.ledger.queue_work() - before;
    assert!(work <= 100, "{work} looks at those who wait for something else");

    let before = bench.ledger.queue_work();
    let mut served = 0;
    for (queued, (_, id)) in queue.first.iter().zip(&waiters) {
        let due = queued.due.expect("it is known");
        if due > bench.now.mono {
            bench.advance(due.since(bench.now.mono) - ms(1));
            assert!(bench.still_waits(*id), "number {} is before its time", queued.place);
        }
        // A counter at its limit is reserved once in 3.6 s.
        let mut late = Duration::ZERO;
        let permit = loop {
            match bench.answer(*id) {
                Some(Outcome::Granted(permit)) => break permit,
                Some(other) => panic!("{other:?}"),
                None => assert!(late < secs(15), "number {} is late", queued.place),
            }
            late += ms(900);
            bench.advance(ms(900));
        };
        bench.report(&permit, answered(1));
        served += 1;
    }
    let work = bench.ledger.queue_work() - before;
    assert!(work < served * 20, "{work} looks to serve {served} of a thousand");
}

#[test]
fn a_pump_looks_at_the_fronts_of_lines_only() {
    let mut bench = Bench::of(org().pool(&["alice", "bob"]));
    let permit = bench.grant(ask(READ).by("alice").calls(90));
    bench.grant(ask(READ).by("bob").calls(90));
    for user in ["alice", "bob"] {
        for _ in 0..400 {
            bench.park(patient().by(user));
        }
    }
    bench.quiet();
    let before = bench.ledger.queue_work();
    bench.quiet();
    assert_eq!(bench.ledger.queue_work(), before, "nothing has changed");
    bench.release(&permit, Some(3));
    bench.advance(PAUSE);
    assert_eq!(bench.ledger.waiting(), 797);
    let work = bench.ledger.queue_work() - before;
    assert!(work <= 20, "{work} looks to serve 3");
}

#[test]
fn a_place_is_kept_for_who_asks_again_within_a_minute() {
    // How long the caller stays away, and how many go before it then.
    for (away, before) in [(secs(0), 0), (secs(59), 0), (secs(60), 2)] {
        let mut bench = Bench::of(org());
        let permits: Vec<_> = (0..5).map(|_| bench.grant(ask(LONG))).collect();
        let named = || ask(LONG).named("mine").waiting(secs(60));
        let first = bench.park(named());
        let others = [0; 2].map(|_| bench.park(ask(LONG).waiting(PATIENT)));
        bench.advance(secs(60));
        let denial = denied(&mut bench, first);
        assert_eq!(denial.queue_position, 1);
        assert!(denial.message.contains("you are number 1 in the queue"), "{}", denial.message);
        bench.advance(away);
        if away < secs(60) {
            let other_body = bench.fail(named().named_by("", "mine", 2));
            assert_eq!(other_body, AskError::RequestIdReused);
        }
        let (again, since) = (bench.park(named()), bench.now.mono);
        for served in 0..=before {
            assert!(bench.still_waits(again), "{away:?}, {served} served");
            let queue = bench.usage().queue.expect("shown").first;
            let mine = queue.iter().find(|queued| queued.since == since).expect("it waits");
            assert_eq!(mine.place, before - served + 1, "{away:?}");
            bench.report(&permits[served as usize], answered(1));
            bench.advance(PAUSE);
        }
        bench.woken(again);
        let left = others.iter().filter(|id| bench.still_waits(**id)).count();
        assert_eq!(left, 2 - before as usize, "{away:?}");
    }
}

#[test]
fn others_pass_a_place_that_is_kept() {
    let mut bench = Bench::of(org());
    let permits: Vec<_> = (0..10).map(|_| bench.grant(ask(DELETE))).collect();
    let first = bench.park(ask(DELETE).named("mine").waiting(secs(1)));
    let second = bench.park(ask(DELETE).waiting(PATIENT));
    bench.advance(secs(1));
    denied(&mut bench, first);
    bench.release(&permits[0], None);
    bench.advance(secs(4));
    bench.woken(second);
}

#[test]
fn who_goes_away_keeps_no_place() {
    let mut bench = Bench::of(org());
    let permits: Vec<_> = (0..10).map(|_| bench.grant(ask(DELETE))).collect();
    let first = bench.park(ask(DELETE).named("mine").waiting(PATIENT));
    let second = bench.park(ask(DELETE).waiting(PATIENT));
    bench.cancel(first);
    let again = bench.park(ask(DELETE).named("mine").waiting(PATIENT));
    bench.release(&permits[0], None);
    bench.advance(secs(4));
    bench.woken(second);
    assert!(bench.still_waits(again));
}

#[test]
fn the_queue_shows_who_waits_for_what_and_until_when() {
    let mut bench = Bench::of(org().slots(1).capped("acme-eu", 1_000));
    bench.grant(ask(READ).calls(90));
    bench.grant(ask(LONG));
    let start = bench.now.mono;
    bench.park(patient().class(Class::Bulk).of("acme-eu"));
    bench.advance(secs(1));
    bench.park(ask(LONG).class(Class::Interactive).waiting(PATIENT));
    bench.park(patient().by("alice").calls(2));
    let queue = bench.usage().queue.expect("it is shown");
    assert_eq!(queue.by_class, [0, 1, 1, 1]);
    let shown = |index: usize| {
        let queued = &queue.first[index];
        let limit = queued.limit.as_ref().map(|limit| (limit.name.as_str(), &*limit.identity));
        (queued.class, queued.place, limit, queued.due)
    };
    let due = Some(start + secs(70));
    assert_eq!(shown(0), (Class::Interactive, 1, Some(("long", "acme")), None));
    assert_eq!(shown(1), (Class::Event, 1, Some(("entries", "alice")), due));
    assert_eq!(shown(2), (Class::Bulk, 2, Some(("entries", "alice")), due));
    let bulk = &queue.first[2];
    assert_eq!(bulk.workspace.as_ref().map(|id| id.as_str()), Some("acme-eu"));
    assert_eq!((bulk.operation.as_str(), bulk.calls, bulk.since), (READ, 1, start));
}

#[test]
fn lines_that_want_the_same_counter_take_turns() {
    // Those who take any user stand in another line than those who name one.
    let mut bench = Bench::of(org().pool(&["alice", "bob"]));
    let permits: Vec<_> = (0..9).map(|_| bench.grant(ask(READ).by("alice").calls(10))).collect();
    bench.grant(ask(READ).by("bob").calls(90));
    let any: Vec<_> = (0..6).map(|_| bench.park(patient().calls(10))).collect();
    let named: Vec<_> = (0..3).map(|_| bench.park(patient().by("alice").calls(10))).collect();
    for permit in &permits[..6] {
        bench.release(permit, None);
        bench.advance(PAUSE);
    }
    let waits = |ids: &[WaiterId]| ids.iter().filter(|id| bench.still_waits(**id)).count();
    assert_eq!((waits(&any), waits(&named)), (3, 0));
}

/// How long an interactive call takes, beside those who wait: for people, who
/// compare the two figures of one run.
#[test]
#[ignore = "a measurement"]
fn how_long_an_interactive_call_takes_beside_ten_thousand_that_wait() {
    let empty = interactive_latency(0);
    let beside = interactive_latency(1_000);
    println!("nobody waits: {empty:?}; 10,000 wait: {beside:?} (p50, p99 in ns)");
}

/// p50 and p99 of what is done under a ledger's lock for an Acquire, over ten
/// orgs in each of which so many wait.
#[expect(clippy::disallowed_methods, reason = "it measures")]
fn interactive_latency(waiting: usize) -> (u128, u128) {
    let mut benches: Vec<Bench> = (0..10).map(|_| crowded(waiting)).collect();
    let mut times = Vec::new();
    for round in 0..4_000 {
        for bench in &mut benches {
            let asks = ask(REST).of("w0").class(Class::Interactive);
            let nonce = 1_000_000 + round;
            let start = std::time::Instant::now();
            let answer = bench.ledger.acquire(bench.now.mono, &asks, nonce, true);
            let wants = bench.ledger.wants_reserve(bench.now.mono);
            let wake = bench.ledger.next_wake(bench.now.mono);
            times.push(start.elapsed().as_nanos());
            std::hint::black_box((wants, wake));
            let permit = match answer {
                Answer::Done(Outcome::Granted(permit)) => *permit,
                Answer::Parked(id) => {
                    bench.ledger.cancel(id);
                    bench.grant(asks)
                }
                Answer::Done(other) => panic!("{other:?}"),
            };
            bench.report(&permit, answered(1));
            if round % 100 == 0 {
                bench.advance(ms(50));
            }
        }
    }
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

/// An org in which so many bulk requests of ten workspaces wait for a user.
fn crowded(waiting: usize) -> Bench {
    let mut bench = Bench::of(org().daily(10_000_000));
    bench.grant(ask(DELETE).calls(10));
    for index in 0..10 {
        bench.grant(ask(REST).of(&format!("w{index}")));
    }
    for index in 0..waiting {
        let of = format!("w{}", index % 10);
        bench.park(ask(DELETE).of(&of).class(Class::Bulk).waiting(DAY));
    }
    bench
}

#[test]
fn who_waits_costs_an_interactive_call_nothing() {
    let mut bench = crowded(1_000);
    let before = bench.ledger.queue_work();
    for _ in 0..1_000 {
        let permit = bench.grant(ask(REST).of("w0").class(Class::Interactive));
        bench.report(&permit, answered(1));
    }
    let work = bench.ledger.queue_work() - before;
    // The first that waits is of the same workspace: it is looked at when that
    // has moved, and nobody behind it is.
    assert!(work <= 4_000, "{work} looks at a thousand that wait, for a thousand calls");
}

/// Longer than anything here takes.
const PATIENT: Duration = secs(600);
