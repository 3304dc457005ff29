//! Who is served next: fairly among workspaces, without starving anybody, and as
//! a naive queue would.

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;
use quotagate::quota::{
    Answer, Catalogue, Class, Mono, OrgPolicy, Outcome, Permit, Rules, WaiterId, WorkspacePolicy,
};

use crate::bench::*;

/// Takes slots until it is reported; charges nothing else.
const SLOW: &str = "slow";

/// A counter of slots is reserved at most this often.
const SETTLED: Duration = ms(200);

fn slow() -> Catalogue {
    catalogue(vec![(SLOW, vec![slots(secs(3_600))])])
}

fn weighing(weights: &[u32], slots: u64) -> OrgPolicy {
    let mut policy = org().slots(slots);
    for (index, weight) in weights.iter().enumerate() {
        let weighs = WorkspacePolicy { weight: *weight, ..WorkspacePolicy::default() };
        policy.workspaces.insert(workspace(&name(index)), weighs);
    }
    policy
}

fn name(flow: usize) -> String {
    format!("w{flow}")
}

/// Callers of one workspace, each with one request at a time.
#[derive(Clone, Copy, Debug)]
struct Flow {
    weight: u32,
    callers: usize,
    /// Calls of one request.
    calls: u32,
    /// How long a caller waits before it gives up.
    patience: Duration,
    /// How long it stays away then.
    away: Duration,
}

/// Impatience that never matters.
const PATIENT: Duration = secs(600);

fn flow(weight: u32, callers: usize, calls: u32) -> Flow {
    Flow { weight, callers, calls, patience: PATIENT, away: Duration::ZERO }
}

struct Caller {
    flow: usize,
    waits: Option<WaiterId>,
    asks_at: Mono,
}

/// Lets callers contend for slots; each permit is over after `hold`. Returns the
/// calls that each workspace was served.
fn contend(flows: &[Flow], slots: u64, hold: Duration, time: Duration) -> Vec<u64> {
    let weights: Vec<u32> = flows.iter().map(|flow| flow.weight).collect();
    let mut bench = Bench::with(weighing(&weights, slots), slow(), Rules::default());
    // Slots are freed one after the other, not all at once.
    let mut running: Vec<(Mono, Permit)> = Vec::new();
    for slot in 0..slots {
        let permit = bench.grant(ask(SLOW).class(Class::Bulk));
        let stagger = hold * u32::try_from(slot).unwrap() / u32::try_from(slots).unwrap();
        running.push((bench.now.mono + hold + stagger, permit));
    }
    let start = bench.now.mono;
    let mut callers: Vec<Caller> = flows
        .iter()
        .enumerate()
        .flat_map(|(flow, of)| {
            (0..of.callers).map(move |_| Caller { flow, waits: None, asks_at: start })
        })
        .collect();
    let mut served = vec![0; flows.len()];
    while bench.now.mono.since(start) < time {
        let now = bench.now.mono;
        for index in (0..running.len()).rev() {
            if running[index].0 <= now {
                let (_, permit) = running.swap_remove(index);
                let calls = permit.calls;
                bench.report(&permit, answered(calls));
            }
        }
        for caller in &mut callers {
            let of = flows[caller.flow];
            let mut take = |outcome: Outcome, caller: &mut Caller| match outcome {
                Outcome::Granted(permit) => {
                    served[caller.flow] += u64::from(permit.calls);
                    running.push((now + hold, *permit));
                    caller.asks_at = now;
                }
                Outcome::Denied(_) => caller.asks_at = now + of.away,
                Outcome::Failed(error) => panic!("{error}"),
            };
            if let Some(outcome) = caller.waits.and_then(|id| bench.answer(id)) {
                caller.waits = None;
                take(outcome, caller);
            }
            if caller.waits.is_none() && caller.asks_at <= now {
                let asks = ask(SLOW).of(&name(caller.flow)).calls(of.calls).waiting(of.patience);
                match bench.begin(asks) {
                    Answer::Parked(id) => caller.waits = Some(id),
                    Answer::Done(outcome) => take(outcome, caller),
                }
            }
        }
        bench.advance(ms(100));
    }
    served
}

/// Jain's index of fairness of what each was served, over its weight.
fn jain(flows: &[Flow], served: &[u64]) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let share = |(flow, served): (&Flow, &u64)| *served as f64 / f64::from(flow.weight);
    let shares: Vec<f64> = flows.iter().zip(served).map(share).collect();
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let count = shares.len() as f64;
    sum * sum / (count * squares)
}

#[track_caller]
fn check_fair(name: &str, flows: &[Flow]) {
    let served = contend(flows, 20, secs(2), secs(600));
    let index = jain(flows, &served);
    assert!(served.iter().sum::<u64>() > 3_000, "{name}: the slots were used: {served:?}");
    assert!(index >= 0.99, "{name}: {index:.4}, served {served:?}");
}

#[test]
fn workspaces_in_contention_share_by_weight() {
    let hasty = |weight, callers, calls| Flow {
        patience: ms(1_500),
        away: ms(300),
        ..flow(weight, callers, calls)
    };
    let ten = |of: fn(usize) -> Flow| (0..10).map(of).collect::<Vec<Flow>>();
    let rows: [(&str, Vec<Flow>); 10] = [
        ("two that are equal", vec![flow(1, 30, 1), flow(1, 30, 1)]),
        ("two, one of three times the weight", vec![flow(1, 30, 1), flow(3, 30, 1)]),
        ("few callers against many", vec![flow(1, 12, 1), flow(1, 100, 1)]),
        ("few callers of great weight", vec![flow(3, 20, 1), flow(1, 100, 1)]),
        ("large requests beside small ones", vec![flow(1, 10, 10), flow(1, 40, 1)]),
        ("large ones of little weight", vec![flow(1, 10, 10), flow(3, 60, 2)]),
        ("ten that are equal", ten(|_| flow(1, 10, 1))),
        (
            "ten, every other of three times the weight",
            ten(|i| flow(1 + 2 * (i as u32 % 2), 12, 1)),
        ),
        ("ten of all sizes", ten(|i| flow(1, 4 + i, 1 + i as u32 % 5))),
        ("one that gives up and comes again", vec![hasty(1, 30, 1), flow(1, 60, 1)]),
    ];
    for (name, flows) in rows {
        check_fair(name, &flows);
    }
}

#[test]
fn who_gives_up_keeps_the_share_of_his_workspace() {
    // A request waits longer than its caller does; another one comes at once.
    let hasty = Flow { patience: ms(900), away: Duration::ZERO, ..flow(1, 40, 1) };
    check_fair("impatient", &[hasty, flow(1, 40, 1)]);
    let heavy = Flow { weight: 3, ..hasty };
    check_fair("impatient, of great weight", &[heavy, flow(1, 100, 1)]);
}

/// A workspace in the property tests: weight, and the calls of its requests.
type Shape = (u32, u32);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The bound of the order: before a request of a workspace of weight w, with
    /// U calls of its own workspace before it and none there larger than L,
    /// another workspace of weight v, with requests of at most M calls, is served
    /// at most (U + L) v / w + 2 M calls, whatever comes later.
    #[test]
    fn nobody_starves(shapes in prop::collection::vec((1u32..=4, 1u32..=12), 2..6), backlog in 1usize..6) {
        bounded(&shapes, backlog);
    }
}

fn bounded(shapes: &[Shape], backlog: usize) {
    let weights: Vec<u32> = shapes.iter().map(|shape| shape.0).collect();
    let mut bench = Bench::with(weighing(&weights, 12), slow(), Rules::default());
    let mut running: Vec<Permit> = (0..12).map(|_| bench.grant(ask(SLOW))).collect();
    // What has waited: who, since how much each was served, what was before it.
    struct Waits {
        flow: usize,
        served: Vec<u64>,
        own: u64,
    }
    let mut waits: BTreeMap<WaiterId, Waits> = BTreeMap::new();
    let mut served = vec![0_u64; shapes.len()];
    let mut done = 0;
    while done < 150 {
        for (flow, (_, calls)) in shapes.iter().enumerate() {
            while waits.values().filter(|waits| waits.flow == flow).count() < backlog {
                let own = waits.values().filter(|waits| waits.flow == flow).count() as u64;
                let asks = ask(SLOW).of(&name(flow)).calls(*calls).waiting(PATIENT);
                match bench.begin(asks) {
                    Answer::Parked(id) => {
                        let own = own * u64::from(*calls);
                        waits.insert(id, Waits { flow, served: served.clone(), own });
                    }
                    Answer::Done(Outcome::Granted(permit)) => {
                        served[flow] += u64::from(*calls);
                        running.push(*permit);
                    }
                    Answer::Done(other) => panic!("{other:?}"),
                }
            }
        }
        let permit = running.swap_remove(0);
        let calls = permit.calls;
        bench.report(&permit, answered(calls));
        bench.advance(SETTLED);
        let ids: Vec<WaiterId> = waits.keys().copied().collect();
        let mut granted = Vec::new();
        for id in ids {
            if let Some(outcome) = bench.answer(id) {
                let Outcome::Granted(permit) = outcome else { panic!("{outcome:?}") };
                granted.push((id, permit));
            }
        }
        // Of those served at the same moment nobody knows who was first.
        let before = served.clone();
        for (id, permit) in granted {
            let Waits { flow, served: since, own } = waits.remove(&id).expect("it waited");
            done += 1;
            let (weight, calls) = shapes[flow];
            for (other, (of, most)) in shapes.iter().enumerate().filter(|(other, _)| *other != flow)
            {
                let got = before[other] - since[other];
                let share = (own + u64::from(calls)) * u64::from(*of);
                let bound = share.div_ceil(u64::from(weight)) + 2 * u64::from(*most);
                assert!(
                    got <= bound,
                    "{other} got {got} before {flow}, at most {bound}: {shapes:?}"
                );
            }
            served[flow] += u64::from(permit.calls);
            running.push(*permit);
        }
    }
}

#[test]
fn who_needs_two_counters_is_not_sent_round_for_ever() {
    // Whenever one of the two had room, small requests had taken the other.
    let (left, right) = (per_org("left", 20, MINUTE), per_org("right", 20, MINUTE));
    let operations = catalogue(vec![
        ("both", vec![left.clone(), right.clone()]),
        ("left", vec![left]),
        ("right", vec![right]),
    ]);
    let mut bench = Bench::with(org(), operations, Rules::default());
    for at in 0..60_u64 {
        for side in ["left", "right"] {
            bench.begin(ask(side).of("small").waiting(PATIENT));
        }
        bench.advance(secs(1 + at % 3));
    }
    let large = bench.park(ask("both").of("large").calls(15).waiting(PATIENT));
    for at in 0..300_u64 {
        if let Some(outcome) = bench.answer(large) {
            assert!(matches!(outcome, Outcome::Granted(_)), "{outcome:?}");
            return;
        }
        for side in ["left", "right"] {
            bench.begin(ask(side).of("small").waiting(PATIENT));
        }
        bench.advance(secs(1 + at % 3));
    }
    panic!("it starves");
}

/// The queue by its definition, walking everybody each time.
#[derive(Default)]
struct Naive {
    waits: Vec<(u64, usize, u32, Mono)>,
    /// By flow: units over weight times 2^20, and when it was left empty.
    tags: BTreeMap<usize, (u128, Option<Mono>)>,
    served: u128,
    free: u64,
}

const LINE_REMEMBERS: Duration = secs(60);

impl Naive {
    fn enter(&mut self, now: Mono, flow: usize, weight: u32, waits: (u64, u32, Mono)) {
        self.tags.retain(|_, (_, left)| left.is_none_or(|left| now < left + LINE_REMEMBERS));
        let cost = (u128::from(waits.1) << 20) / u128::from(weight);
        let (served, known) = (self.served, self.tags.get(&flow).copied());
        let tag = match known {
            None => served,
            Some((tag, None)) => tag,
            Some((tag, Some(_))) => tag.max(served.saturating_sub(cost)),
        };
        self.tags.insert(flow, (tag, None));
        self.waits.push((waits.0, flow, waits.1, waits.2));
        self.waits.sort_unstable();
    }

    fn leave(&mut self, now: Mono, arrival: u64) {
        let Some(at) = self.waits.iter().position(|waits| waits.0 == arrival) else { return };
        let (_, flow, ..) = self.waits.remove(at);
        if !self.waits.iter().any(|waits| waits.1 == flow) {
            self.tags.get_mut(&flow).expect("it waited").1 = Some(now);
        }
    }

    /// Serves while the first has room; returns the arrivals.
    fn serve(&mut self, now: Mono, weights: &[u32]) -> Vec<u64> {
        let mut out = Vec::new();
        loop {
            let first = |flow: usize| self.waits.iter().find(|waits| waits.1 == flow);
            let flows = self.tags.iter().filter_map(|(flow, (tag, _))| Some((tag, first(*flow)?)));
            let Some((tag, next)) = flows.min_by_key(|(tag, waits)| (**tag, waits.0)) else {
                break;
            };
            let (tag, (arrival, flow, calls, _)) = (*tag, *next);
            if u64::from(calls) > self.free {
                break;
            }
            self.free -= u64::from(calls);
            self.served = self.served.max(tag);
            let cost = (u128::from(calls) << 20) / u128::from(weights[flow]);
            self.tags.get_mut(&flow).expect("it waits").0 += cost;
            self.leave(now, arrival);
            out.push(arrival);
        }
        out
    }
}

#[derive(Clone, Debug)]
enum Step {
    Ask { flow: usize, calls: u32, patience: u64 },
    GoAway { which: usize },
    Free { which: usize },
    Wait { seconds: u64 },
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0usize..4, 1u32..6, 1u64..90)
            .prop_map(|(flow, calls, patience)| Step::Ask { flow, calls, patience }),
        1 => (0usize..40).prop_map(|which| Step::GoAway { which }),
        4 => (0usize..40).prop_map(|which| Step::Free { which }),
        2 => (0u64..40).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_queue_serves_as_a_naive_one_does(
        weights in prop::collection::vec(1u32..=5, 4),
        steps in prop::collection::vec(steps(), 1..80),
    ) {
        side_by_side(&weights, steps);
    }
}

fn side_by_side(weights: &[u32], steps: Vec<Step>) {
    let slots = 8;
    let mut bench = Bench::with(weighing(weights, slots), slow(), Rules::default());
    let mut naive = Naive { free: slots, ..Naive::default() };
    let mut running: Vec<Permit> = Vec::new();
    let mut waiting: BTreeMap<WaiterId, u64> = BTreeMap::new();
    let mut arrivals = 0;
    // A line forgets after a minute: histories are shorter.
    let mut time_left = 40;
    // Waits end one after the other, and let those behind them pass.
    let tick = |bench: &mut Bench, naive: &mut Naive, end: Mono| {
        let mut served = Vec::new();
        loop {
            let next = naive.waits.iter().filter(|waits| waits.3 <= end).min_by_key(|w| (w.3, w.0));
            let Some((arrival, _, _, at)) = next.copied() else { break };
            naive.leave(at, arrival);
            served.extend(naive.serve(at, weights));
        }
        bench.advance(end.since(bench.now.mono));
        served
    };
    for step in steps {
        let now = bench.now.mono;
        let mut expected = Vec::new();
        match step {
            Step::Ask { flow, calls, patience } => {
                arrivals += 1;
                // No two waits end at one moment, nor while a block is fetched.
                let patience = secs(patience) + ms(100) + Duration::from_micros(arrivals);
                let asks = ask(SLOW).of(&name(flow)).calls(calls).waiting(patience);
                let passes = naive.waits.is_empty() && u64::from(calls) <= naive.free;
                match bench.begin(asks) {
                    Answer::Done(Outcome::Granted(permit)) => {
                        assert!(passes, "somebody was passed");
                        naive.free -= u64::from(calls);
                        running.push(*permit);
                    }
                    Answer::Parked(id) => {
                        waiting.insert(id, arrivals);
                        if passes {
                            // It waited for the store only.
                            naive.free -= u64::from(calls);
                            expected.push(arrivals);
                        } else {
                            let waits = (arrivals, calls, now + patience);
                            naive.enter(now, flow, weights[flow], waits);
                        }
                    }
                    other => panic!("{other:?}"),
                }
            }
            Step::GoAway { which } => {
                let Some((id, arrival)) = waiting.iter().nth(which).map(|(id, a)| (*id, *a)) else {
                    continue;
                };
                bench.cancel(id);
                waiting.remove(&id);
                naive.leave(now, arrival);
            }
            Step::Free { which } => {
                if running.is_empty() {
                    continue;
                }
                let permit = running.swap_remove(which % running.len());
                naive.free += u64::from(permit.calls);
                let calls = permit.calls;
                bench.report(&permit, answered(calls));
            }
            Step::Wait { seconds } if seconds > time_left => continue,
            Step::Wait { seconds } => {
                time_left -= seconds;
                expected.extend(tick(&mut bench, &mut naive, now + secs(seconds)));
            }
        }
        let now = bench.now.mono;
        expected.extend(naive.serve(now, weights));
        expected.extend(tick(&mut bench, &mut naive, now + SETTLED));
        expected.sort_unstable();
        let mut served = Vec::new();
        let ids: Vec<WaiterId> = waiting.keys().copied().collect();
        for id in ids {
            match bench.answer(id) {
                Some(Outcome::Granted(permit)) => {
                    served.push(waiting.remove(&id).expect("it waited"));
                    running.push(*permit);
                }
                Some(Outcome::Denied(_)) => {
                    waiting.remove(&id);
                }
                Some(other) => panic!("{other:?}"),
                None => {}
            }
        }
        served.sort_unstable();
        let left: Vec<u64> = naive.waits.iter().map(|waits| waits.0).collect();
        assert_eq!(served, expected, "left {left:?}");
        let still: Vec<u64> = waiting.values().copied().collect();
        let gone: Vec<&u64> = still.iter().filter(|a| !left.contains(a)).collect();
        assert!(gone.is_empty(), "{gone:?} should have ended");
    }
}
