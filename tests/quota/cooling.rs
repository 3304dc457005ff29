//! Cooling-down: what a refusal of Salesforce's closes, and how it opens again.

use std::time::Duration;

use proptest::prelude::*;
use quotagate::quota::{
    Advice, Answer, Ask, Class, CoolingCause, DenialReason, Outcome, Permit, Reading, Report, Wall,
    salesforce::{ApiUsage, errors::Trouble},
};
use serde_json::Value;

use crate::bench::*;

const BULK_QUERY: &str = "bulk.query";
const BULK_BATCH: &str = "bulk.batch";
const LOGIN: &str = "login";

/// The built-in operations, two of the Bulk API's and logins.
fn world() -> Bench {
    let mut all = built_in();
    let more = catalogue(vec![
        (BULK_QUERY, vec![per_org("bulk_v2_query_jobs", 10_000, DAY)]),
        (BULK_BATCH, vec![per_org("bulk_batches", 15_000, DAY)]),
        (LOGIN, vec![per_user("logins", 3_600, HOUR)]),
    ]);
    all.operations.extend(more.operations);
    Bench::with(org().pool(&["alice", "bob"]), all, quotagate::quota::Rules::default())
}

/// A call that may be asked for, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Total,
    Slots,
    Alice,
    AlicesDeletions,
    AlicesLogins,
    Bob,
    BulkQueries,
    BulkBatches,
}

impl Scope {
    const ALL: [Self; 8] = [
        Self::Total,
        Self::Slots,
        Self::Alice,
        Self::AlicesDeletions,
        Self::AlicesLogins,
        Self::Bob,
        Self::BulkQueries,
        Self::BulkBatches,
    ];

    fn ask(self) -> Ask {
        match self {
            Self::Total => ask(REST),
            Self::Slots => ask(LONG),
            Self::Alice => ask(READ).by("alice"),
            Self::AlicesDeletions => ask(DELETE).by("alice"),
            Self::AlicesLogins => ask(LOGIN).by("alice"),
            Self::Bob => ask(READ).by("bob"),
            Self::BulkQueries => ask(BULK_QUERY),
            Self::BulkBatches => ask(BULK_BATCH),
        }
    }
}

/// The scopes that cool down.
fn closed(bench: &mut Bench) -> Vec<Scope> {
    let is_closed = |scope: &Scope| {
        let ask = scope.ask().class(Class::Control).check_only();
        match bench.decide(ask) {
            Outcome::Granted(_) => false,
            Outcome::Denied(denial) => {
                assert_eq!(denial.reason, DenialReason::CoolingDown, "{}", denial.message);
                true
            }
            other => panic!("{other:?}"),
        }
    };
    Scope::ALL.into_iter().filter(is_closed).collect()
}

#[test]
fn each_sample_of_an_error_closes_its_own_scope_and_no_other() {
    use Scope::{Alice, AlicesLogins, BulkBatches, BulkQueries, Slots, Total};
    #[derive(Debug, PartialEq)]
    enum Told {
        Wait,
        Stop,
    }
    use Told::{Stop, Wait};
    // LONG needs the total, too.
    let rows: [(&str, &str, &[Scope], Told); 16] = [
        ("e01", REST, &[Total, Slots], Wait),
        ("e02", LONG, &[Slots], Wait),
        ("e04", LONG, &[Slots], Wait),
        ("e05", BULK_QUERY, &[BulkQueries], Wait),
        ("e07", BULK_BATCH, &[BulkBatches], Wait),
        ("e09", READ, &[], Wait),
        ("e10", READ, &[Alice], Wait),
        ("e11", READ, &[Alice], Wait),
        ("e13", READ, &[], Wait),
        ("e14", READ, &[], Wait),
        ("e16", READ, &[], Stop),
        ("e17", READ, &[], Stop),
        ("e18", READ, &[], Stop),
        ("e19", LOGIN, &[AlicesLogins], Wait),
        ("e23", READ, &[Alice], Wait),
        // Where the operation charges no user, 429 closes nothing.
        ("e23", REST, &[], Wait),
    ];
    let all: Value = serde_json::from_str(include_str!("../data/salesforce_samples.json")).unwrap();
    let samples = all["error_responses"].as_array().expect("a table");
    assert_eq!(samples.len(), rows.len() - 1, "each sample has a row");
    for (id, operation, scopes, told) in rows {
        let sample = samples.iter().find(|sample| sample["id"] == id).expect("it is there");
        let status =
            sample["http_status"].as_u64().map_or(0, |status| u16::try_from(status).unwrap());
        let body = sample["body"].as_str().unwrap_or_default();
        let first: Value = serde_json::from_str(body).unwrap_or_default();
        let field = |name: &str| first[0][name].as_str().unwrap_or_default();
        // As a client tells it: the fields by themselves, or all of the body.
        for (code, text) in [("", body), (field("errorCode"), field("message"))] {
            if code.is_empty() && text.is_empty() && !body.is_empty() {
                continue;
            }
            let report = refused(status, code, text);
            let mut bench = world();
            let permit = bench.grant(ask(operation).by("alice"));
            bench.advance(ms(100));
            let advice = bench.report(&permit, report.clone()).advice;
            assert_eq!(closed(&mut bench), scopes, "{id} {operation}");
            let fits = match advice {
                Advice::BackOff(wait) => told == Wait && wait >= ms(900),
                Advice::Stop => told == Stop,
                Advice::Continue => false,
            };
            assert!(fits, "{id}: {advice:?}");

            // Without a permit, by the names of user and operation.
            let mut bench = world();
            let named = Report {
                user: Some(user("alice")),
                operation: Some(ask(operation).operation),
                ..report
            };
            bench.report_org(&named);
            assert_eq!(closed(&mut bench), scopes, "{id} {operation} without a permit");
        }
    }
}

#[test]
fn a_size_text_closes_nothing_and_an_unnamed_limit_is_the_users_or_what_the_header_says() {
    use Scope::{Alice, Slots, Total};
    let unnamed = || refused(403, "REQUEST_LIMIT_EXCEEDED", "Some limit");
    let full = |report| Report { reading: Some(reading(15_000, 15_000)), ..report };
    let half = |report| Report { reading: Some(reading(7_500, 15_000)), ..report };
    let rows: [(&str, &str, Report, &[Scope]); 6] = [
        ("size", READ, refused(400, "LIMIT_EXCEEDED", "Too many records"), &[]),
        ("of a user", READ, unnamed(), &[Alice]),
        ("of the org", REST, unnamed(), &[Total, Slots]),
        ("of a user, the header is full", READ, full(unnamed()), &[Total, Slots]),
        ("of a user, the header has room", READ, half(unnamed()), &[Alice]),
        ("no limit at all", READ, refused(404, "NOT_FOUND", "No such thing"), &[]),
    ];
    for (name, operation, report, scopes) in rows {
        let mut bench = world();
        let permit = bench.grant(ask(operation).by("alice"));
        let advice = bench.report(&permit, report).advice;
        assert_eq!(closed(&mut bench), scopes, "{name}");
        assert_eq!(advice == Advice::Continue, scopes.is_empty(), "{name}: {advice:?}");
    }
}

#[test]
fn a_refused_call_counts_as_used() {
    let mut bench = world();
    let permit = bench.grant(ask(REST));
    bench.report(&permit, total_exceeded());
    bench.advance(HOUR);
    assert_eq!(spent(&bench.total()), 1);
}

/// A wait of a cause lies between these, in milliseconds.
#[track_caller]
fn check_wait(wait: Option<Duration>, low: u64, high: u64) {
    let wait = wait.expect("it is known");
    assert!((ms(low)..=ms(high)).contains(&wait), "{wait:?} is not {low} to {high} ms");
}

/// The counter is closed; how long for an ask.
#[track_caller]
fn closed_for(bench: &mut Bench, ask: Ask) -> Duration {
    let denial = bench.deny(ask);
    assert_eq!(denial.reason, DenialReason::CoolingDown, "{}", denial.message);
    let limit = denial.limit.expect("it binds");
    assert_eq!(limit.cooling_until.map(|at| at.since(bench.now.mono)), denial.retry_after);
    denial.retry_after.expect("it is known")
}

/// The counter's wait is over.
fn wait_out(bench: &mut Bench, ask: &Ask) {
    let wait = closed_for(bench, ask.clone());
    bench.advance(wait);
}

#[test]
fn waits_double_up_to_their_longest_with_a_jitter_that_stays_between() {
    let unnamed = || refused(403, "REQUEST_LIMIT_EXCEEDED", "Some limit");
    let bulk = || refused(400, "LIMIT_EXCEEDED", "Max bulk v2 query jobs (10000) per 24 hrs");
    type Waits = [(u64, u64); 5];
    let total: Waits = [
        (30_000, 37_500),
        (60_000, 75_000),
        (120_000, 150_000),
        (240_000, 300_000),
        (240_000, 300_000),
    ];
    let short: Waits =
        [(5_000, 6_250), (10_000, 12_500), (20_000, 25_000), (40_000, 50_000), (48_000, 60_000)];
    let rows: [(Ask, &dyn Fn() -> Report, Waits); 3] = [
        (ask(REST), &total_exceeded, total),
        (ask(READ).by("alice"), &unnamed, short),
        (ask(BULK_QUERY), &bulk, [(300_000, 300_000); 5]),
    ];
    let mut seen = Vec::new();
    for (ask, report, waits) in rows {
        for nonce in 0..20 {
            let mut bench = world();
            for _ in 0..nonce {
                bench.grant(super::bench::ask(BULK_BATCH));
            }
            for (low, high) in waits {
                let probe = bench.grant(ask.clone());
                bench.advance(ms(50));
                let Advice::BackOff(advice) = bench.report(&probe, report()).advice else {
                    panic!("no advice")
                };
                let wait = closed_for(&mut bench, ask.clone());
                check_wait(Some(wait), low, high);
                assert_eq!(advice, wait);
                seen.push(wait);
                bench.advance(wait - ms(1));
                closed_for(&mut bench, ask.clone());
                bench.advance(ms(1));
            }
            let probe = bench.grant(ask.clone());
            bench.report(&probe, answered(1));
            bench.grant(ask.clone());
            assert_eq!(bench.usage().cooling, []);
        }
    }
    seen.sort_unstable();
    seen.dedup();
    assert!(seen.len() > 100, "there is jitter: {} values", seen.len());
}

#[test]
fn one_caller_of_500_tries_and_its_answer_is_for_all() {
    let mut bench = world();
    let out: Vec<Permit> = (0..500).map(|_| bench.grant(ask(REST))).collect();
    bench.advance(ms(200));
    // All of them are refused, and tell so at once.
    for permit in &out {
        bench.report(permit, total_exceeded());
    }
    let usage = bench.usage();
    assert_eq!((usage.cooling.len(), usage.cooling[0].attempts), (1, 1), "one trouble, not 500");
    check_wait(Some(closed_for(&mut bench, ask(REST))), 30_000, 37_500);

    // Their successors wait, or come back when they are told.
    let classes = [Class::Bulk, Class::Event, Class::Interactive];
    let waiting: Vec<_> = (0..500)
        .map(|n| {
            let class = classes[n % 3];
            (class, bench.park(ask(REST).class(class).waiting(10 * MINUTE)))
        })
        .collect();
    let answered_now = |bench: &mut Bench| {
        let mut found = Vec::new();
        for (class, id) in &waiting {
            match bench.answer(*id) {
                Some(Outcome::Granted(permit)) => found.push((*class, permit)),
                Some(other) => panic!("{other:?}"),
                None => {}
            }
        }
        found
    };
    let opens = bench.now.mono + secs(150);
    let (mut probes, mut last) = (0, bench.now.mono);
    loop {
        bench.advance(ms(500));
        let granted = answered_now(&mut bench);
        if granted.is_empty() {
            // Whoever asks anew is told when, whatever its class.
            let denial = bench.deny(ask(REST).class(Class::Control));
            assert_eq!(denial.reason, DenialReason::CoolingDown);
            continue;
        }
        let [(class, probe)] = &granted[..] else { panic!("{} probes at once", granted.len()) };
        assert_eq!(*class, Class::Interactive, "the next waiter by class");
        assert!(bench.now.mono.since(last) >= secs(29), "one probe in an interval");
        (probes, last) = (probes + 1, bench.now.mono);
        assert!(bench.usage().cooling[0].probe_out);
        if bench.now.mono >= opens {
            bench.report(probe, answered(1));
            break;
        }
        bench.report(probe, total_exceeded());
    }
    assert!((2..=4).contains(&probes), "{probes} probes in 150 s");
    // The first good answer opens it for everybody.
    assert_eq!(answered_now(&mut bench).len() + usize::try_from(probes).unwrap(), 500);
    assert_eq!(bench.usage().cooling, []);
    // What was refused before is no news.
    bench.report(&out[0], Report { completed_ago: secs(100), ..total_exceeded() });
    bench.grant(ask(REST));
}

#[test]
fn a_denial_says_what_salesforce_said_since_when_and_when_the_next_probe_goes() {
    let mut bench = world();
    let permit = bench.grant(ask(REST));
    bench.report(&permit, total_exceeded());
    bench.advance(secs(12));
    let denial = bench.deny(ask(REST));
    assert!(
        denial.message.starts_with(
            "'calls' of org acme cools down since 12 s: Salesforce said 'TotalRequests Limit \
             exceeded' (once); one call will try in "
        ),
        "{}",
        denial.message
    );
    let [cooling] = &bench.usage().cooling[..] else { panic!("one") };
    assert_eq!((cooling.cause, &*cooling.identity), (CoolingCause::TotalExceeded, "acme"));
    assert_eq!(bench.now.mono.since(cooling.since), secs(12));
    assert_eq!(Some(cooling.until.since(bench.now.mono)), denial.retry_after);
    let still = denial.retry_after.unwrap();
    bench.advance(still);
    bench.grant(ask(REST));
    let denial = bench.deny(ask(REST));
    assert!(denial.message.contains("one call is out to try"), "{}", denial.message);
}

#[test]
fn an_ask_for_more_gets_one_call_as_a_probe_or_the_fewest_that_are_of_use() {
    for (least, granted) in [(1, 1), (3, 3), (10, 10)] {
        let mut bench = world();
        let permit = bench.grant(ask(REST));
        bench.report(&permit, total_exceeded());
        wait_out(&mut bench, &ask(REST));
        let probe = bench.grant(ask(REST).calls(10).at_least(least));
        assert_eq!(probe.calls, granted);
        closed_for(&mut bench, ask(REST));
    }
    // What can never be granted is still denied for good.
    let mut bench = world();
    let permit = bench.grant(ask(REST));
    bench.report(&permit, total_exceeded());
    let denial = bench.deny(ask(REST).calls(10_000).costing(2).waiting(MINUTE));
    assert_eq!((denial.reason, denial.retry_after), (DenialReason::OrgLimit, None));
}

#[test]
fn a_probe_without_news_makes_way_for_the_next_one() {
    let start = || {
        let mut bench = world();
        let permit = bench.grant(ask(REST));
        bench.advance(ms(10));
        bench.report(&permit, total_exceeded());
        wait_out(&mut bench, &ask(REST));
        let probe = bench.grant(ask(REST));
        assert!(probe.life_left <= ms(37_500), "it lives no longer than the wait");
        (bench, probe)
    };
    // Nobody reports: the next goes a wait after its end, which has not doubled.
    let (mut bench, probe) = start();
    bench.advance(probe.life_left + TRAVEL);
    check_wait(Some(closed_for(&mut bench, ask(REST))), 30_000, 37_500);
    wait_out(&mut bench, &ask(REST));
    let next = bench.grant(ask(REST));
    assert_eq!(bench.usage().cooling[0].attempts, 1);
    // Its late report still counts.
    bench.advance(next.life_left + TRAVEL + secs(1));
    bench.report(&next, Report { completed_ago: secs(20), ..answered(1) });
    bench.grant(ask(REST));

    // It was never sent: the next one goes at once.
    let (mut bench, probe) = start();
    let waiting = bench.park(ask(REST).waiting(MINUTE));
    bench.release(&probe, None);
    let next = bench.woken(waiting);
    bench.report(&next, answered(1));
    bench.grant(ask(REST));

    // Its answer was lost, or says nothing about the limit.
    let nothing = [
        unanswered(1),
        report(0, 1, 500),
        refused(503, "", ""),
        refused(401, "INVALID_SESSION_ID", ""),
        refused(403, "REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests Limit exceeded."),
    ];
    for answer in nothing {
        let (mut bench, probe) = start();
        bench.report(&probe, answer.clone());
        check_wait(Some(closed_for(&mut bench, ask(REST))), 30_000, 37_500);
        assert!(bench.usage().cooling.iter().all(|c| c.attempts == 1), "{answer:?}");
    }
    // Any answer that passed the limits is a good one.
    for status in [200, 204, 404, 400] {
        let (mut bench, probe) = start();
        bench.report(&probe, report(0, 1, status));
        bench.grant(ask(REST));
    }
}

#[test]
fn only_answers_of_calls_granted_since_are_news() {
    let mut bench = world();
    let before: Vec<Permit> = (0..4).map(|_| bench.grant(ask(REST))).collect();
    bench.advance(secs(1));
    bench.report(&before[0], total_exceeded());
    bench.advance(secs(1));
    // A success of before says nothing, nor does its reading.
    bench.report(&before[1], Report { reading: Some(reading(10, 15_000)), ..answered(1) });
    closed_for(&mut bench, ask(REST));
    // A refusal of before is the same trouble; so is a report that comes twice.
    bench.report(&before[2], total_exceeded());
    bench.report(&before[0], total_exceeded());
    bench.report_former(&total_exceeded());
    bench.report_org(&total_exceeded());
    assert_eq!(bench.usage().cooling[0].attempts, 1);
    // After the wait a refusal without a permit is news; only one of them.
    let wait = closed_for(&mut bench, ask(REST));
    bench.advance(wait);
    for _ in 0..3 {
        bench.report_org(&total_exceeded());
    }
    assert_eq!(bench.usage().cooling[0].attempts, 2);
    // One of before the last good news is not.
    wait_out(&mut bench, &ask(REST));
    let probe = bench.grant(ask(REST));
    bench.report(&probe, answered(1));
    bench.advance(secs(1));
    let old = Report { completed_ago: secs(2), ..total_exceeded() };
    assert_eq!(bench.report(&before[3], old.clone()).advice, Advice::Continue);
    bench.report_org(&old);
    bench.report_former(&old);
    assert_eq!(bench.usage().cooling, []);
    bench.report(&probe, total_exceeded());
    assert_eq!(bench.usage().cooling, [], "of that call all has been told");
}

#[test]
fn a_reading_below_the_limit_opens_the_total_and_wakes_who_waits() {
    let start = || {
        let mut bench = world();
        let (first, other) =
            (bench.grant(ask(REST)), bench.grant(ask(READ).by("bob").lasting(secs(30))));
        bench.advance(secs(1));
        let full = Report { reading: Some(reading(15_000, 15_000)), ..total_exceeded() };
        bench.report(&first, full);
        bench.advance(secs(1));
        (bench, other)
    };
    let with = |used| Report { reading: Some(reading(used, 15_000)), ..answered(1) };
    // It comes with the answer of a call that needs no total.
    let (mut bench, _) = start();
    let waiting = bench.park(ask(REST).waiting(MINUTE));
    let later = bench.grant(ask(READ).by("bob"));
    bench.report(&later, with(15_000));
    closed_for(&mut bench, ask(REST));
    let later = bench.grant(ask(READ).by("bob"));
    bench.advance(ms(10));
    bench.report(&later, with(14_000));
    bench.woken(waiting);

    // With one of before: no.
    let (mut bench, before) = start();
    bench.report(&before, with(14_000));
    closed_for(&mut bench, ask(REST));
    // By itself, if it speaks of a later time.
    let read = |bench: &mut Bench, ago: u64| {
        let answer_time = Some(Wall(bench.now.wall.0 - ago * 1_000_000));
        let reading = Reading { usage: ApiUsage { used: 14_000, limit: 15_000 }, answer_time };
        tell_reading(&mut bench.ledger, bench.now, reading, Duration::ZERO);
        bench.quiet();
    };
    read(&mut bench, 10);
    closed_for(&mut bench, ask(REST));
    bench.advance(secs(5));
    read(&mut bench, 1);
    bench.grant(ask(REST));

    // While others are thought to use all of it, the probe goes all the same.
    let (mut bench, _) = start();
    wait_out(&mut bench, &ask(REST));
    let probe = bench.grant(ask(REST));
    closed_for(&mut bench, ask(REST));
    bench.advance(ms(100));
    bench.report(&probe, with(14_000));
    bench.grant(ask(REST));

    // A 403 that says nothing proves nothing, nor does a limit that nobody has.
    let (mut bench, _) = start();
    wait_out(&mut bench, &ask(REST));
    let probe = bench.grant(ask(REST));
    bench.report(&probe, report(0, 1, 403));
    closed_for(&mut bench, ask(REST));
    tell_reading(&mut bench.ledger, bench.now, reading(1, 200_000_000), Duration::ZERO);
    closed_for(&mut bench, ask(REST));
}

#[test]
fn a_user_that_is_throttled_opens_by_time_and_says_that_others_use_it() {
    let secs_of = |seconds| Some(secs(seconds));
    let rows = [
        (READ, None, secs(15)),
        (READ, secs_of(5), secs(5)),
        (READ, secs_of(0), secs(1)),
        (READ, secs_of(1_000_000), HOUR),
        (DELETE, None, HOUR / 4),
    ];
    for (operation, retry_after, wait) in rows {
        let mut bench = world();
        let permit = bench.grant(ask(operation).by("alice"));
        let trouble = Trouble::of(429, "", "", retry_after);
        let advice = bench.report(&permit, Report { trouble, ..report(0, 1, 429) }).advice;
        assert_eq!(advice, Advice::BackOff(wait));
        assert_eq!(closed_for(&mut bench, ask(operation).by("alice")), wait);
        let flagged = |bench: &mut Bench| {
            let users = bench.usage().users;
            users
                .iter()
                .filter(|u| u.foreign_traffic)
                .map(|u| u.user.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(flagged(&mut bench), ["alice"]);
        bench.advance(wait - ms(1));
        closed_for(&mut bench, ask(operation).by("alice"));
        let waiting = bench.park(ask(operation).by("alice").waiting(MINUTE));
        bench.advance(ms(1));
        bench.advance(Duration::ZERO);
        bench.woken(waiting);
        assert_eq!(flagged(&mut bench), ["alice"], "for a window more");
        bench.advance(HOUR);
        assert_eq!(flagged(&mut bench), [""; 0]);
    }
}

#[test]
fn slots_are_lowered_by_one_and_come_back_one_by_one() {
    let mut bench = world();
    let exceeded = || refused(403, "REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests Limit exceeded.");
    let mut held: Vec<Permit> = (0..5).map(|_| bench.grant(ask(LONG))).collect();
    bench.advance(ms(10));
    // Three of the five are refused: one trouble.
    for permit in held.drain(..3) {
        bench.report(&permit, exceeded());
    }
    check_wait(Some(closed_for(&mut bench, ask(LONG))), 1_000, 1_250);
    bench.advance(secs(2));
    // Four slots are left, two of them are taken.
    held.extend((0..2).map(|_| bench.grant(ask(LONG))));
    assert_eq!(bench.deny(ask(LONG)).reason, DenialReason::ConcurrencyLimit);
    let waiting = bench.park(ask(LONG).waiting(3 * MINUTE));
    bench.advance(secs(58));
    assert!(bench.still_waits(waiting));
    // A minute after the wait the fifth is back.
    bench.advance(secs(2));
    held.push(bench.woken(waiting));
    // Within that minute another one would have doubled the wait.
    for permit in held.drain(..) {
        bench.report(&permit, answered(1));
    }
    for (low, high) in [(1_000, 1_250), (2_000, 2_500), (4_000, 5_000), (8_000, 10_000)] {
        let permit = bench.grant(ask(LONG));
        bench.advance(ms(10));
        bench.report(&permit, exceeded());
        check_wait(Some(closed_for(&mut bench, ask(LONG))), low, high);
        wait_out(&mut bench, &ask(LONG));
    }
    // One slot is always left.
    bench.grant(ask(LONG));
    assert_eq!(bench.deny(ask(LONG)).reason, DenialReason::ConcurrencyLimit);
}

#[test]
fn what_does_not_serve_is_waited_for_and_closes_nothing() {
    let mut bench = world();
    let tell = |bench: &mut Bench, status| {
        let permit = bench.grant(ask(READ).by("alice"));
        match bench.report(&permit, refused(status, "", "")).advice {
            Advice::BackOff(wait) => wait,
            other => panic!("{other:?}"),
        }
    };
    for (low, high) in [(1_000, 1_250), (2_000, 2_500), (4_000, 5_000)] {
        let wait = tell(&mut bench, 503);
        check_wait(Some(wait), low, high);
        // Others hear the same in the same wait.
        assert_eq!(tell(&mut bench, 420), wait);
        bench.advance(wait);
    }
    for _ in 0..5 {
        let wait = tell(&mut bench, 406);
        assert!(wait <= secs(30));
        bench.advance(wait);
    }
    check_wait(Some(tell(&mut bench, 503)), 24_000, 30_000);
    // One that serves ends it.
    let permit = bench.grant(ask(READ).by("bob"));
    assert_eq!(bench.report(&permit, answered(1)).advice, Advice::Continue);
    check_wait(Some(tell(&mut bench, 503)), 1_000, 1_250);
}

#[test]
fn a_takeover_keeps_the_wait_and_sends_no_second_probe() {
    let cool = || {
        let mut bench = world();
        let permit = bench.grant(ask(REST));
        bench.report(&permit, total_exceeded());
        bench
    };
    // In the middle of a wait: its end stays, within the error of two clocks.
    let mut bench = cool();
    bench.advance(secs(10));
    let left = closed_for(&mut bench, ask(REST));
    bench.restart(secs(5));
    let kept = closed_for(&mut bench, ask(REST));
    assert!(kept + secs(5) >= left && kept + secs(5) <= left + secs(5), "{left:?} {kept:?}");
    assert_eq!(bench.usage().cooling[0].attempts, 1);
    wait_out(&mut bench, &ask(REST));
    let probe = bench.grant(ask(REST));
    bench.report(&probe, total_exceeded());
    check_wait(Some(closed_for(&mut bench, ask(REST))), 60_000, 75_000);

    // While a probe is out: no other one until it is certainly over.
    let mut bench = cool();
    wait_out(&mut bench, &ask(REST));
    let probe = bench.grant(ask(REST));
    bench.restart(ms(500));
    let wait = closed_for(&mut bench, ask(REST));
    assert!(wait >= probe.life_left.saturating_sub(ms(500)) + secs(5) - ms(1), "{wait:?}");
    wait_out(&mut bench, &ask(REST));
    bench.grant(ask(REST));
    closed_for(&mut bench, ask(REST));

    // The wait was over, and nobody had asked.
    let mut bench = cool();
    bench.restart(10 * MINUTE);
    check_wait(Some(closed_for(&mut bench, ask(REST))), 35_000, 42_500);

    // Every kind comes back, and is handed over.
    for (report, operation) in [
        (refused(429, "", ""), DELETE),
        (refused(403, "REQUEST_LIMIT_EXCEEDED", ""), DELETE),
        (refused(403, "REQUEST_LIMIT_EXCEEDED", ""), REST),
        (refused(400, "LIMIT_EXCEEDED", "bulk query jobs"), BULK_QUERY),
        (total_exceeded(), REST),
    ] {
        let mut bench = world();
        let permit = bench.grant(ask(operation).by("alice"));
        bench.report(&permit, report);
        let before = closed(&mut bench);
        bench.hand_over();
        bench.restart(secs(1));
        assert_eq!(closed(&mut bench), before);
    }
}

#[test]
fn a_cooling_down_is_written_at_once_and_its_record_goes_when_it_is_forgotten() {
    let mut bench = world();
    bench.report_org(&Report {
        user: Some(user("alice")),
        operation: Some(ask(READ).operation),
        ..refused(403, "REQUEST_LIMIT_EXCEEDED", "Some limit")
    });
    assert_eq!(bench.store.len(), 1, "though nothing is counted");
    bench.advance(MINUTE + secs(10));
    assert!(bench.sweep());
    assert!(bench.store.is_empty(), "{:?}", bench.store);
}

#[test]
fn nobody_gets_a_counter_by_a_report() {
    let mut bench = world();
    for n in 0..1_000 {
        bench.report_org(&Report {
            user: Some(user(&format!("stranger{n}"))),
            operation: Some(ask(READ).operation),
            ..refused(429, "", "")
        });
    }
    assert!(bench.sweep());
}

#[test]
fn three_users_give_three_times_ninety_a_minute_and_one_that_cools_drops_out_at_once() {
    let count = |bench: &mut Bench| {
        let mut granted = Vec::new();
        while let Outcome::Granted(permit) = bench.decide(ask(READ)) {
            bench.report(&permit, answered(1));
            granted.push(permit);
        }
        granted
    };
    let mut bench = Bench::of(org().pool(&["alice", "bob", "carol"]));
    assert_eq!(count(&mut bench).len(), 270);
    bench.advance(MINUTE);

    // Alice cools down: 180, and a waiter that could have had her gets another.
    let permit = bench.grant(ask(READ).by("alice"));
    bench.report(&permit, refused(429, "", ""));
    let granted = count(&mut bench);
    assert_eq!(granted.len(), 180);
    assert!(granted.iter().all(|permit| permit.user != Some(user("alice"))));
    let denial = bench.deny(ask(READ));
    assert_eq!(denial.reason, DenialReason::CoolingDown, "alice is free in 15 s, the others later");
    assert_eq!(denial.retry_after, Some(secs(15)));
    bench.advance(secs(15));
    assert_eq!(count(&mut bench).len(), 89, "she is back, less the call that was refused");
    bench.advance(MINUTE);
    bench.advance(MINUTE);

    // A fourth one is added while they wait: 360.
    assert_eq!(count(&mut bench).len(), 270);
    let waiting = bench.park(ask(READ).waiting(MINUTE));
    bench.change(|policy| policy.pool.push(user("dave")));
    assert_eq!(bench.woken(waiting).user, Some(user("dave")));
    assert_eq!(count(&mut bench).len(), 89);
    bench.advance(MINUTE + TRAVEL + secs(5));
    assert_eq!(count(&mut bench).len(), 360);

    // And one removed: 270 of the others, at once.
    bench.advance(MINUTE);
    bench.change(|policy| policy.pool.retain(|of| *of != user("bob")));
    let granted = count(&mut bench);
    assert_eq!(granted.len(), 270);
    assert!(granted.iter().all(|permit| permit.user != Some(user("bob"))));
}

#[test]
fn who_waits_for_any_user_gets_another_one_when_his_cools_down() {
    let mut bench = Bench::of(org().pool(&["alice", "bob"]));
    for name in ["alice", "bob"] {
        let permit = bench.grant(ask(READ).by(name).calls(90));
        bench.report(&permit, answered(90));
        bench.advance(secs(10));
    }
    // Alice is free in 40 s, Bob in 50 s.
    let waiting = bench.park(ask(READ).waiting(2 * MINUTE));
    let mut told = refused(429, "", "");
    told.trouble = Trouble::of(429, "", "", Some(MINUTE));
    told.user = Some(user("alice"));
    told.operation = Some(ask(READ).operation);
    bench.report_org(&told);
    bench.advance(secs(49));
    assert!(bench.still_waits(waiting));
    bench.advance(secs(1));
    bench.advance(ms(100));
    assert_eq!(bench.woken(waiting).user, Some(user("bob")));
}

#[derive(Clone, Debug)]
enum Step {
    Ask { operation: usize, class: usize, waits: bool },
    Report { back: usize, answer: usize },
    Release { back: usize },
    Read { used: u64 },
    Wait { ms: u64 },
    Restart { ms: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..4usize, 0..4usize, any::<bool>())
            .prop_map(|(operation, class, waits)| Step::Ask { operation, class, waits }),
        6 => (0..6usize, 0..8usize).prop_map(|(back, answer)| Step::Report { back, answer }),
        1 => (0..4usize).prop_map(|back| Step::Release { back }),
        1 => (0..20_000u64).prop_map(|used| Step::Read { used }),
        5 => prop_oneof![0..2_000u64, 0..60_000u64, 0..400_000u64].prop_map(|ms| Step::Wait { ms }),
        1 => (0..60_000u64).prop_map(|ms| Step::Restart { ms }),
    ];
    proptest::collection::vec(step, 1..120)
}

/// A permit that was granted while its counter was closed: a probe.
#[derive(Debug)]
struct OutProbe {
    counter: String,
    until: Wall,
    key: Option<quotagate::quota::PermitKey>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn at_any_time_at_most_one_probe_of_a_counter_is_out(steps in steps()) {
        let operations = [REST, LONG, READ, BULK_QUERY];
        let mut bench = world();
        let mut granted: Vec<Permit> = Vec::new();
        let mut waiting = Vec::new();
        let mut probes: Vec<OutProbe> = Vec::new();
        for step in steps {
            // What opens by itself needs no probe.
            let by_probe = |cause| matches!(
                cause,
                CoolingCause::TotalExceeded | CoolingCause::LimitExceeded | CoolingCause::CounterExceeded
            );
            let cooling: Vec<String> = bench.usage().cooling.iter()
                .filter(|c| by_probe(c.cause))
                .map(|c| format!("{} {}", c.identity, c.limit))
                .collect();
            let mut new = Vec::new();
            match step {
                Step::Ask { operation, class, waits } => {
                    let wait = if waits { 5 * MINUTE } else { Duration::ZERO };
                    let ask = ask(operations[operation]).by("alice")
                        .class(Class::ALL[class]).waiting(wait);
                    match bench.begin(ask) {
                        Answer::Done(Outcome::Granted(permit)) => new.push(*permit),
                        Answer::Done(_) => {}
                        Answer::Parked(id) => waiting.push(id),
                    }
                }
                Step::Report { back, answer } => {
                    let Some(at) = granted.len().checked_sub(back + 1) else { continue };
                    let permit = granted[at].clone();
                    let answer = match answer {
                        0..2 => answered(1),
                        2 => unanswered(1),
                        3 => refused(403, "REQUEST_LIMIT_EXCEEDED", ""),
                        4 => refused(400, "LIMIT_EXCEEDED", "bulk query jobs"),
                        5 => refused(503, "", ""),
                        _ => total_exceeded(),
                    };
                    if permit.epoch == bench.ledger.epoch() {
                        bench.report(&permit, answer);
                    } else {
                        bench.report_former(&answer);
                    }
                    probes.retain(|probe| probe.key != permit.key);
                }
                Step::Release { back } => {
                    let Some(at) = granted.len().checked_sub(back + 1) else { continue };
                    let permit = granted[at].clone();
                    if permit.epoch == bench.ledger.epoch() {
                        bench.release(&permit, Some(1));
                        probes.retain(|probe| probe.key != permit.key);
                    }
                }
                Step::Read { used } => bench.read(used, 15_000),
                Step::Wait { ms: wait } => bench.advance(ms(wait)),
                Step::Restart { ms: wait } => {
                    bench.restart(ms(wait));
                    waiting.clear();
                }
            }
            waiting.retain(|id| match bench.answer(*id) {
                Some(Outcome::Granted(permit)) => { new.push(*permit); false }
                Some(_) => false,
                None => true,
            });
            let usage = bench.usage();
            let still: Vec<String> = usage.cooling.iter().filter(|c| by_probe(c.cause))
                .map(|c| format!("{} {}", c.identity, c.limit)).collect();
            for permit in &new {
                // Time may have passed since the grant.
                let until = bench.now.wall_at(permit.decided) + permit.life_left + TRAVEL;
                for limit in &permit.limits {
                    let counter = format!("{} {}", limit.identity, limit.name);
                    // Closed before and after: what was granted between was let through.
                    if cooling.contains(&counter) && still.contains(&counter) {
                        probes.push(OutProbe { counter, until, key: permit.key });
                    }
                }
            }
            let now = bench.now.wall;
            probes.retain(|probe| probe.until > now && still.contains(&probe.counter));
            for counter in &still {
                let out = probes.iter().filter(|probe| probe.counter == *counter).count();
                prop_assert!(out <= 1, "{} probes of {} are out: {:?}", out, counter, probes);
            }
            granted.append(&mut new);
        }
    }
}
