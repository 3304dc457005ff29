//! Who is believed: what somebody tells who is not moves nothing of others.

use std::time::Duration;

use proptest::prelude::*;
use quotagate::quota::{
    Ask, Outcome, Permit, PermitKey, PermitOfAnother, Reading, Report, Teller, Wall,
    salesforce::{ApiUsage, errors::Trouble},
};

use crate::bench::*;

fn teller(principal: &str, believed: bool) -> Teller {
    Teller { principal: Some(principal.into()), believed }
}

fn by(principal: &str, ask: Ask) -> Ask {
    Ask { principal: Some(principal.into()), caller: Some(principal.into()), ..ask }
}

fn key(permit: &Permit) -> PermitKey {
    permit.key.expect("it is no check")
}

#[test]
fn a_permit_is_its_holders_and_what_nobody_holds_is_anybodys() {
    let check = |holder: Option<&str>, who: Option<&str>, may: bool| {
        let mut bench = Bench::of(org().pool(&["alice"]));
        let principal = holder.map(Into::into);
        let permit = bench.grant(Ask { principal, ..ask(READ).calls(4) });
        let before = bench.ledger.clone().usage(bench.now.mono);
        let who = Teller { principal: who.map(Into::into), believed: true };
        let expected = if may { Ok(()) } else { Err(PermitOfAnother) };
        let now = bench.now;
        let told = Report { reading: Some(reading(1, 100)), ..total_exceeded() };
        let reported = bench.ledger.report(now, key(&permit), &told, &who).map(drop);
        assert_eq!(reported, expected, "{holder:?} {who:?}");
        let released = bench.ledger.release(now.mono, key(&permit), Some(2), &who).map(drop);
        assert_eq!(released, expected, "{holder:?} {who:?}");
        if !may {
            assert_eq!(bench.ledger.usage(now.mono), before, "nothing was changed");
        }
    };
    check(Some("token:a"), Some("token:a"), true);
    check(Some("token:a"), Some("token:b"), false);
    check(None, Some("token:b"), true);
    check(Some("token:a"), None, true);
    check(None, None, true);
}

#[test]
fn the_probe_is_for_its_caller_to_find_out_whoever_it_is() {
    for believed in [true, false] {
        let mut bench = Bench::of(org());
        let first = bench.grant(ask(REST));
        bench.report(&first, total_exceeded());
        let wait = Duration::from_secs(60);
        let who = teller("token:probe", believed);
        let mut refusals = 0;
        for answer in [total_exceeded(), unanswered(1), answered(1)] {
            bench.advance(wait * 6);
            let probe = bench.grant(by("token:probe", ask(REST)));
            bench.deny(ask(REST));
            let is_good = answer.http_status == 200;
            refusals += u32::from(answer.trouble.is_some());
            let told = bench.ledger.report(bench.now, key(&probe), &answer, &who);
            told.expect("it is theirs");
            let usage = bench.ledger.usage(bench.now.mono);
            let closed = usage.cooling.first().map(|cooling| cooling.attempts);
            assert_eq!(closed, (!is_good).then_some(1 + refusals), "believed: {believed}");
        }
        bench.grant(ask(REST));
    }
}

/// What a hostile caller tells.
#[derive(Clone, Debug)]
struct Lie {
    status: u16,
    trouble: usize,
    used: u64,
    limit: u64,
    answer_time: Option<u64>,
    completed_ago: u64,
}

#[derive(Clone, Debug)]
enum Step {
    /// Others ask, and are told honestly of.
    Ask {
        operation: usize,
        calls: u32,
        class: usize,
    },
    Told {
        which: usize,
        refused: bool,
    },
    /// The hostile caller.
    Take {
        operation: usize,
    },
    LieOfOwn {
        which: usize,
        lie: Lie,
    },
    LieOfAnothers {
        which: usize,
        lie: Lie,
    },
    LieOfUnknown {
        lie: Lie,
    },
    LieOfFormer {
        lie: Lie,
    },
    Pass {
        millis: u64,
    },
}

fn lies() -> impl Strategy<Value = Lie> {
    let status = prop_oneof![Just(0), Just(200), Just(400), Just(403), Just(429), Just(503)];
    let time = prop_oneof![Just(None), (0..2_000_000_000_000_000_u64).prop_map(Some)];
    (status, 0..5_usize, 0..1_000_u64, 0..1_000_u64, time, 0..100_000_u64).prop_map(
        |(status, trouble, used, limit, answer_time, completed_ago)| Lie {
            status,
            trouble,
            used,
            limit,
            answer_time,
            completed_ago,
        },
    )
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4_usize, 1..4_u32, 0..4_usize)
            .prop_map(|(operation, calls, class)| Step::Ask { operation, calls, class }),
        2 => (any::<usize>(), prop::bool::weighted(0.2))
            .prop_map(|(which, refused)| Step::Told { which, refused }),
        2 => (0..4_usize).prop_map(|operation| Step::Take { operation }),
        2 => (any::<usize>(), lies()).prop_map(|(which, lie)| Step::LieOfOwn { which, lie }),
        2 => (any::<usize>(), lies()).prop_map(|(which, lie)| Step::LieOfAnothers { which, lie }),
        1 => lies().prop_map(|lie| Step::LieOfUnknown { lie }),
        1 => lies().prop_map(|lie| Step::LieOfFormer { lie }),
        2 => (0..20_000_u64).prop_map(|millis| Step::Pass { millis }),
    ]
}

const OPERATIONS: [&str; 4] = [REST, READ, DELETE, LONG];

impl Lie {
    fn told(&self) -> Report {
        let (code, text) = [
            ("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."),
            (
                "REQUEST_LIMIT_EXCEEDED",
                "ConcurrentRequests (Concurrent API Requests) Limit exceeded.",
            ),
            ("REQUEST_LIMIT_EXCEEDED", "some limit"),
            ("LOGIN_RATE_EXCEEDED", ""),
            ("INVALID_SESSION_ID", ""),
        ][self.trouble];
        let usage = ApiUsage { used: self.used, limit: self.limit };
        Report {
            trouble: Trouble::of(self.status, code, text, Some(Duration::from_secs(600))),
            reading: Some(Reading { usage, answer_time: self.answer_time.map(Wall) }),
            completed_ago: Duration::from_millis(self.completed_ago),
            ..report(0, 1, self.status)
        }
    }

    /// The same, as far as it is about nothing but their own call.
    fn harmless(&self) -> Report {
        let completed_ago = Duration::from_millis(self.completed_ago);
        let status = if (100..=499).contains(&self.status) { 200 } else { 0 };
        Report { completed_ago, ..report(0, 1, status) }
    }
}

/// An org as it is seen by those who use it: what hostile reports may not change.
#[derive(Debug)]
struct World {
    bench: Bench,
    lies: bool,
    mine: Vec<Permit>,
    theirs: Vec<Permit>,
}

impl World {
    fn new(lies: bool) -> Self {
        let policy = org().pool(&["alice", "bob"]).daily(300);
        Self { bench: Bench::of(policy), lies, mine: Vec::new(), theirs: Vec::new() }
    }

    /// Carries out a step, and says what others have seen of it.
    fn take(&mut self, step: &Step) -> String {
        let hostile = &teller("token:hostile", false);
        let (now, lies) = (self.bench.now, self.lies);
        match step {
            Step::Ask { operation, calls, class } => {
                let class = quotagate::quota::Class::ALL[*class];
                let ask = by("token:honest", ask(OPERATIONS[*operation]).calls(*calls));
                let outcome = self.bench.decide(ask.class(class));
                if let Outcome::Granted(permit) = &outcome {
                    self.theirs.push((**permit).clone());
                }
                return format!("{outcome:?}");
            }
            Step::Told { which, refused } => {
                let Some(permit) = pick(&self.theirs, *which) else { return String::new() };
                let told = if *refused { total_exceeded() } else { answered(1) };
                let honest = teller("token:honest", true);
                let told = self.bench.ledger.report(now, key(&permit), &told, &honest);
                return format!("{told:?}");
            }
            Step::Take { operation } => {
                // What is closed is left alone: who gets the probe may speak of it.
                let closed =
                    self.bench.ledger.cooling_counts(now.mono).iter().any(|count| *count > 0);
                if !closed {
                    let ask = by("token:hostile", ask(OPERATIONS[*operation]));
                    if let Outcome::Granted(permit) = self.bench.decide(ask) {
                        self.mine.push(*permit);
                    }
                }
            }
            Step::LieOfOwn { which, lie } => {
                if let Some(permit) = pick(&self.mine, *which) {
                    let told = if lies { lie.told() } else { lie.harmless() };
                    let told = self.bench.ledger.report(now, key(&permit), &told, hostile);
                    told.expect("it is theirs");
                }
            }
            Step::LieOfAnothers { which, lie } => {
                if let Some(permit) = pick(&self.theirs, *which).filter(|_| lies) {
                    let told = lie.told();
                    // It is known no more, or it is not theirs.
                    let _ = self.bench.ledger.report(now, key(&permit), &told, hostile);
                    let _ = self.bench.ledger.release(now.mono, key(&permit), None, hostile);
                }
            }
            Step::LieOfUnknown { lie } => {
                if lies {
                    let told =
                        self.bench.ledger.report(now, PermitKey(u64::MAX), &lie.told(), hostile);
                    told.expect("it is nobody's");
                }
            }
            Step::LieOfFormer { lie } => {
                if lies {
                    let ledger = &mut self.bench.ledger;
                    ledger.report_without_permit(now, &lie.told(), true, hostile);
                }
            }
            Step::Pass { millis } => self.bench.advance(Duration::from_millis(*millis)),
        }
        self.bench.quiet();
        String::new()
    }
}

fn pick(permits: &[Permit], which: usize) -> Option<Permit> {
    which.checked_rem(permits.len()).map(|place| permits[place].clone())
}

proptest! {
    #[test]
    fn no_report_of_one_who_is_not_believed_changes_what_others_get(
        steps in prop::collection::vec(steps(), 1..60),
    ) {
        let [mut with, mut without] = [World::new(true), World::new(false)];
        for step in &steps {
            let [seen, expected] = [with.take(step), without.take(step)];
            prop_assert_eq!(seen, expected, "{:?}", step);
        }
        let at = with.bench.now.mono;
        let [seen, expected] =
            [&mut with, &mut without].map(|world| world.bench.ledger.usage(at));
        prop_assert_eq!(seen.limits, expected.limits);
        prop_assert_eq!(seen.cooling, expected.cooling);
        prop_assert_eq!(seen.readings, expected.readings);
    }
}
