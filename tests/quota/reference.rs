//! The ledger against a naive reference: a list of time stamps per counter, by
//! the one definition of when a call leaves its window.
//!
//! The reference takes from the ledger what is free to choose (how much of a
//! partial grant, the permit's life within its cap) after checking that it may
//! be so, and predicts everything else.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::prelude::*;
use quotagate::quota::{
    Ask, Catalogue, Charge, Class, ClassPolicy, Denial, DenialReason, Kind, LimitUsage, Mono,
    OrgPolicy, Outcome, Permit, Released, Scope, Thresholds, WorkspaceId, WorkspacePolicy,
    catalogue::Cost,
};

use crate::bench::*;

/// Fresh entries of bucketed windows are rounded to later by less than this;
/// all times here are multiples of it, so that they are exact.
const GRAIN: Duration = ms(10);

/// Entries of bucketed windows that cannot move any more are rounded to later
/// by less than this.
const COARSE: Duration = secs(60);

/// One limit of one identity: scope, identity, limit.
type Place = (Scope, String, String);

/// By which the binding limit is chosen, the greatest first: nobody knows when
/// it frees; when it frees; precedence.
type Order = (bool, Option<Mono>, u8);

/// A counter by the definition: the stamps of all units.
#[derive(Clone, Debug)]
struct Naive {
    window: Duration,
    max: u64,
    kind: Kind,
    /// Stamp, permit, ordinal of the call, units.
    units: Vec<(Mono, usize, u32, u64)>,
}

impl Naive {
    fn used(&self, now: Mono) -> u64 {
        let left = |stamp: Mono| stamp + self.window <= now;
        self.units.iter().filter(|(stamp, ..)| !left(*stamp)).map(|(.., units)| units).sum()
    }

    /// When so many more units have left.
    fn frees_at(&self, now: Mono, needed: u64) -> Option<Mono> {
        let mut leaves: Vec<(Mono, u64)> =
            self.units.iter().map(|u| (u.0 + self.window, u.3)).collect();
        leaves.retain(|(at, _)| *at > now);
        leaves.sort();
        let mut freed = 0;
        if needed == 0 {
            return Some(now);
        }
        leaves.into_iter().find_map(|(at, units)| {
            freed += units;
            (freed >= needed).then_some(at)
        })
    }
}

/// A permit as the reference knows it.
#[derive(Clone, Debug)]
struct NaivePermit {
    permit: Permit,
    granted: Mono,
    expires: Mono,
    answered: BTreeSet<u32>,
    unanswered: BTreeSet<u32>,
    returned: BTreeSet<u32>,
    released: Option<u32>,
    /// The ledger remembers it until then: slots are held for longer than a life.
    known_until: Mono,
}

/// The org by the definition.
#[derive(Clone, Debug)]
struct Reference {
    policy: OrgPolicy,
    catalogue: Catalogue,
    counters: BTreeMap<Place, Naive>,
    permits: Vec<NaivePermit>,
    paused: BTreeSet<(String, Class)>,
}

/// What the reference says to an ask.
#[derive(Debug)]
enum Expected {
    Granted { calls: u32 },
    Denied { never: bool, binding: Place, reason: DenialReason, frees_at: Option<Mono> },
}

impl Reference {
    fn new(policy: OrgPolicy, catalogue: Catalogue) -> Self {
        let empty = BTreeMap::new();
        Self { policy, catalogue, counters: empty, permits: Vec::new(), paused: BTreeSet::new() }
    }

    /// The limits that an ask touches, with the units that a call takes.
    fn touches(&mut self, ask: &Ask) -> Vec<(Place, u64)> {
        let mut charges: Vec<Charge> = self.catalogue.operations[&ask.operation].charges.clone();
        if ask.workspace.is_some() {
            charges.insert(0, Charge::workspace_cap());
        }
        charges
            .iter()
            .map(|charge| {
                let place = self.place(charge, ask);
                let units = if charge.cost == Cost::Request { u64::from(ask.cost) } else { 1 };
                let max = self.max_of(charge, &place.1);
                let fresh =
                    Naive { window: charge.window, max, kind: charge.kind, units: Vec::new() };
                self.counters.entry(place.clone()).or_insert(fresh).max = max;
                (place, units)
            })
            .collect()
    }

    fn place(&self, charge: &Charge, ask: &Ask) -> Place {
        let identity = match charge.scope {
            Scope::Org => self.policy.org.to_string(),
            Scope::Workspace => ask.workspace.as_ref().map_or(String::new(), ToString::to_string),
            Scope::ExecutionUser => ask.user.as_ref().map_or(String::new(), ToString::to_string),
        };
        (charge.scope, identity, charge.limit.to_string())
    }

    fn max_of(&self, charge: &Charge, identity: &str) -> u64 {
        use quotagate::quota::catalogue::Max;
        match (charge.scope, charge.max) {
            (Scope::Workspace, Max::OrgDaily) => {
                let declared = self.policy.workspaces.get(&workspace(identity));
                declared.and_then(|policy| policy.daily_calls).unwrap_or(u64::MAX / 8)
            }
            (_, Max::Fixed(max)) => max,
            (_, Max::OrgDaily) => self.policy.daily_calls,
            (_, Max::OrgConcurrent) => self.policy.concurrent_calls,
        }
    }

    fn thresholds(&self, place: &Place, class: Class) -> Option<Thresholds> {
        if place.0 != Scope::Workspace {
            return None;
        }
        let policy = self.policy.workspaces.get(&workspace(&place.1))?;
        policy.daily_calls?;
        policy.classes.of(class)
    }

    fn reserve(&self) -> u64 {
        self.policy.daily_calls * u64::from(self.policy.reserve_percent) / 100
    }

    /// Up to where a class may fill a counter, now and ever.
    fn gate(&self, place: &Place, class: Class) -> (u64, u64) {
        let max = self.counters[place].max;
        if place.0 == Scope::Org && place.2 == "calls" {
            let level =
                max.saturating_sub(if class == Class::Control { 0 } else { self.reserve() });
            return (level, level);
        }
        if let Some(thresholds) = self.thresholds(place, class) {
            let point = thresholds.pause_point(max);
            let paused = self.paused.contains(&(place.1.clone(), class));
            return (if paused { 0 } else { point }, point);
        }
        if place.0 == Scope::Workspace { (u64::MAX / 4, u64::MAX / 4) } else { (max, max) }
    }

    /// Pauses and resumes classes by what is used.
    /// The classes of a workspace whose settings were others before begin afresh.
    fn update_classes(&mut self, used: &BTreeMap<Place, u64>, before: Option<&Workspaces>) {
        for (id, policy) in &self.policy.workspaces {
            let afresh = before.is_some_and(|before| before.get(id) != Some(policy));
            let Some(cap) = policy.daily_calls else { continue };
            let place = (Scope::Workspace, id.to_string(), "calls".to_owned());
            let used = used.get(&place).copied().unwrap_or(0);
            for class in Class::PAUSABLE {
                let thresholds = policy.classes.of(class).expect("it can pause");
                let key = (id.to_string(), class);
                let bound = if self.paused.contains(&key) && !afresh {
                    thresholds.resume_point(cap)
                } else {
                    thresholds.pause_point(cap)
                };
                if used >= bound {
                    self.paused.insert(key);
                } else {
                    self.paused.remove(&key);
                }
            }
        }
    }

    fn expected(&mut self, now: Mono, ask: &Ask, used: &BTreeMap<Place, u64>) -> Expected {
        let touches = self.touches(ask);
        let mut calls = u64::from(ask.calls);
        let mut binding: Option<(Order, Place)> = None;
        let mut never = false;
        for (place, units) in &touches {
            let (level, ceiling) = self.gate(place, ask.class);
            let fit = level.saturating_sub(used[place]) / units;
            calls = calls.min(fit);
            if fit >= u64::from(ask.min_calls) {
                continue;
            }
            let wanted = u64::from(ask.min_calls) * units;
            let hopeless = wanted > ceiling;
            never |= hopeless;
            let counter = &self.counters[place];
            let mut needed = (used[place] + wanted).saturating_sub(ceiling);
            if let Some(thresholds) = self.thresholds(place, ask.class)
                && self.paused.contains(&(place.1.clone(), ask.class))
            {
                let resume = thresholds.resume_point(counter.max);
                needed = needed.max((used[place] + 1).saturating_sub(resume));
            }
            let frees_at = if hopeless { None } else { counter.frees_at(now, needed) };
            let precedence = match (place.0, counter.kind) {
                (_, Kind::Concurrency) => 0,
                (Scope::ExecutionUser, _) => 1,
                (Scope::Workspace, _) => 2,
                (Scope::Org, _) => 3,
            };
            let order = (frees_at.is_none(), frees_at, precedence);
            if binding.as_ref().is_none_or(|(best, _)| order > *best) {
                binding = Some((order, place.clone()));
            }
        }
        match binding {
            None => Expected::Granted { calls: u32::try_from(calls).unwrap() },
            Some(((_, frees_at, _), place)) => {
                let reason = self.reason(&place, ask.class, used[&place]);
                Expected::Denied { never, reason, frees_at, binding: place }
            }
        }
    }

    fn reason(&self, place: &Place, class: Class, used: u64) -> DenialReason {
        let counter = &self.counters[place];
        match (counter.kind, place.0) {
            (Kind::Concurrency, _) => DenialReason::ConcurrencyLimit,
            (_, Scope::Org) => DenialReason::OrgLimit,
            (_, Scope::ExecutionUser) => DenialReason::ExecutionUserLimit,
            (_, Scope::Workspace) => {
                let point = self.thresholds(place, class).map(|t| t.pause_point(counter.max));
                if used < counter.max && point.is_some_and(|point| point < counter.max) {
                    DenialReason::WorkspaceClassPaused
                } else {
                    DenialReason::WorkspaceLimit
                }
            }
        }
    }

    /// Notes a grant that the ledger made.
    fn granted(&mut self, now: Mono, ask: &Ask, permit: &Permit) {
        let expires = now + permit.life_left;
        let index = self.permits.len();
        let touches = self.touches(ask);
        let mut known_until = expires;
        for (place, units) in touches {
            let counter = self.counters.get_mut(&place).expect("touched");
            if counter.kind == Kind::Concurrency {
                known_until = expires + TRAVEL + counter.window;
            }
            for call in 0..permit.calls {
                counter.units.push((expires + TRAVEL, index, call, units));
            }
        }
        let empty = BTreeSet::new();
        self.permits.push(NaivePermit {
            permit: permit.clone(),
            granted: now,
            expires,
            answered: empty.clone(),
            unanswered: empty.clone(),
            returned: empty,
            released: None,
            known_until,
        });
    }

    /// True if the report settles something that was not settled.
    fn report(&mut self, now: Mono, index: usize, report: &quotagate::quota::Report) -> bool {
        let permit = &mut self.permits[index];
        if now >= permit.known_until {
            return false;
        }
        let over = now >= permit.expires;
        let is_answered = (100..=499).contains(&report.http_status);
        let end = report.first_call.saturating_add(report.calls).min(permit.permit.calls);
        let mut new = Vec::new();
        for call in report.first_call..end {
            let open = !permit.returned.contains(&call) && !permit.answered.contains(&call);
            if open && (is_answered || !permit.unanswered.contains(&call)) {
                new.push(call);
            }
        }
        for call in &new {
            if is_answered {
                permit.answered.insert(*call)
            } else {
                permit.unanswered.insert(*call)
            };
        }
        if is_answered {
            let completed = now - report.completed_ago;
            let settled = permit.expires.min(permit.granted.max(completed));
            for counter in self.counters.values_mut() {
                if counter.kind == Kind::Concurrency {
                    counter.units.retain(|(_, p, call, _)| *p != index || !new.contains(call));
                } else if !over {
                    for unit in counter.units.iter_mut() {
                        if unit.1 == index && new.contains(&unit.2) {
                            unit.0 = settled;
                        }
                    }
                }
            }
        }
        !new.is_empty()
    }

    fn release(&mut self, now: Mono, index: usize, unused: Option<u32>) -> Released {
        let permit = &mut self.permits[index];
        let over = now >= permit.expires;
        if let Some(calls) = permit.released
            && now < permit.known_until
        {
            return Released::Returned { calls, already_settled: true };
        }
        if over {
            return Released::Returned { calls: 0, already_settled: true };
        }
        let reported: BTreeSet<u32> = permit.answered.union(&permit.unanswered).copied().collect();
        let all = permit.permit.calls;
        let wanted = match unused {
            None if !reported.is_empty() => return Released::NumberNeeded,
            None => all,
            Some(calls) => calls,
        };
        let highest: Vec<u32> =
            (0..all).rev().filter(|call| !reported.contains(call)).take(wanted as usize).collect();
        permit.returned.extend(highest.iter().copied());
        let calls = u32::try_from(highest.len()).unwrap();
        permit.released = Some(calls);
        for counter in self.counters.values_mut() {
            counter.units.retain(|(_, p, call, _)| *p != index || !highest.contains(call));
        }
        Released::Returned { calls, already_settled: false }
    }
}

/// One step of a history.
#[derive(Clone, Debug)]
enum Step {
    Ask {
        op: usize,
        user: usize,
        workspace: usize,
        class: Class,
        calls: u32,
        min: u32,
        cost: u32,
        ttl: Option<u64>,
    },
    Report {
        permit: usize,
        first: u32,
        calls: u32,
        status: u16,
        ago: u64,
    },
    Release {
        permit: usize,
        unused: Option<u32>,
    },
    /// In grains.
    Wait(u64),
    Cap {
        workspace: usize,
        cap: u64,
    },
    Daily(u64),
    Reserve(u32),
    Slots(u64),
}

/// The settings of workspaces.
type Workspaces = BTreeMap<WorkspaceId, WorkspacePolicy>;

const OPS: [&str; 4] = ["minute", "hours", "total", "long"];
const USERS: [&str; 2] = ["alice", "bob"];
const WORKSPACES: [&str; 3] = ["capped", "strict", "free"];

fn operations() -> Catalogue {
    catalogue(vec![
        ("minute", vec![per_user("minute", 6, MINUTE)]),
        (
            "hours",
            vec![
                per_user("minute", 6, MINUTE),
                per_user("hour", 9, HOUR),
                per_org("few", 14, HOUR),
            ],
        ),
        ("total", vec![Charge::org_total()]),
        ("long", vec![Charge::org_total(), slots(secs(100)), per_user("minute", 6, MINUTE)]),
    ])
}

fn settings() -> OrgPolicy {
    let strict = ClassPolicy::preset("strict").expect("a preset");
    org()
        .daily(60)
        .slots(3)
        .keeping(10)
        .pool(&USERS)
        .capped("capped", 25)
        .capped_by("strict", 20, strict)
}

fn steps() -> impl Strategy<Value = Step> {
    let class = prop::sample::select(Class::ALL.to_vec());
    let ask = (
        0..OPS.len(),
        0..USERS.len(),
        0..=WORKSPACES.len(),
        class,
        1u32..5,
        1u32..5,
        1u32..4,
        prop::option::of(1u64..40_000),
    )
        .prop_map(|(op, user, workspace, class, calls, min, cost, ttl)| Step::Ask {
            op,
            user,
            workspace,
            class,
            calls: calls.max(min),
            min,
            cost,
            ttl,
        });
    let status = prop::sample::select(vec![0u16, 100, 200, 200, 200, 403, 429, 499, 500, 503]);
    let report = (any::<prop::sample::Index>(), 0u32..5, 1u32..5, status, 0u64..800).prop_map(
        |(permit, first, calls, status, ago)| Step::Report {
            permit: permit.index(6),
            first,
            calls,
            status,
            ago,
        },
    );
    let release = (any::<prop::sample::Index>(), prop::option::of(0u32..5))
        .prop_map(|(permit, unused)| Step::Release { permit: permit.index(6), unused });
    let wait =
        prop_oneof![4 => 0u64..300, 3 => 0u64..3_000, 2 => 0u64..70_000, 1 => 0u64..5_000_000];
    prop_oneof![
        8 => ask,
        4 => report,
        2 => release,
        4 => wait.prop_map(Step::Wait),
        1 => (0usize..2, 1u64..60).prop_map(|(workspace, cap)| Step::Cap { workspace, cap }),
        1 => (1u64..90).prop_map(Step::Daily),
        1 => (0u32..60).prop_map(Step::Reserve),
        1 => (1u64..5).prop_map(Step::Slots),
    ]
}

/// The ledger and the reference, side by side.
struct Pair {
    bench: Bench,
    reference: Reference,
}

impl Pair {
    fn new() -> Self {
        let bench = Bench::with(settings(), operations(), Default::default());
        Self { bench, reference: Reference::new(settings(), operations()) }
    }

    fn now(&self) -> Mono {
        self.bench.now.mono
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Wait(grains) => {
                self.bench.advance(GRAIN * u32::try_from(grains).unwrap());
            }
            Step::Ask { op, user, workspace, class, calls, min, cost, ttl } => {
                let mut ask = ask(OPS[op])
                    .by(USERS[user])
                    .class(class)
                    .calls(calls)
                    .at_least(min)
                    .costing(cost);
                if let Some(id) = WORKSPACES.get(workspace) {
                    ask = ask.of(id);
                }
                ask.ttl = ttl.map(|grains| GRAIN * u32::try_from(grains).unwrap());
                self.ask(&ask);
            }
            Step::Report { permit, first, calls, status, ago } => {
                let Some(index) = self.recent(permit) else { return };
                let completed_ago = GRAIN * u32::try_from(ago).unwrap();
                let report =
                    quotagate::quota::Report { completed_ago, ..report(first, calls, status) };
                let permit = self.reference.permits[index].permit.clone();
                let expected = self.reference.report(self.now(), index, &report);
                let reported = self.bench.report(&permit, report.clone());
                assert_eq!(reported.already_settled, !expected, "{report:?} of {permit:?}");
            }
            Step::Release { permit, unused } => {
                let Some(index) = self.recent(permit) else { return };
                let permit = self.reference.permits[index].permit.clone();
                let expected = self.reference.release(self.now(), index, unused);
                assert_eq!(self.bench.release(&permit, unused), expected);
            }
            Step::Cap { workspace: index, cap } => {
                self.update_classes(None);
                self.change(|policy| {
                    let id = workspace(WORKSPACES[index]);
                    policy.workspaces.get_mut(&id).expect("declared").daily_calls = Some(cap);
                });
            }
            Step::Daily(calls) => self.change(|policy| policy.daily_calls = calls),
            Step::Reserve(percent) => self.change(|policy| policy.reserve_percent = percent),
            Step::Slots(slots) => self.change(|policy| policy.concurrent_calls = slots),
        }
        self.compare();
    }

    /// One of the permits of late, the last one for 0.
    fn recent(&self, back: usize) -> Option<usize> {
        self.reference.permits.len().checked_sub(back + 1)
    }

    fn change(&mut self, change: impl Fn(&mut OrgPolicy)) {
        let before = self.reference.policy.workspaces.clone();
        change(&mut self.reference.policy);
        self.bench.change(change);
        self.update_classes(Some(&before));
    }

    fn ask(&mut self, ask: &Ask) {
        self.update_classes(None);
        let used = self.compare();
        // A check says what can be had as if every block could be fetched: it
        // must agree to the unit.
        let now = self.now();
        let expected = self.reference.expected(now, ask, &used);
        let before = self.bench.usage();
        let checked = self.bench.decide(Ask { check_only: true, ..ask.clone() });
        assert_eq!(self.bench.usage(), before, "a check changed something");
        match (&checked, &expected) {
            (Outcome::Granted(permit), Expected::Granted { calls }) => {
                assert_eq!(permit.calls, *calls, "{ask:?}");
            }
            (Outcome::Denied(denial), expected) => self.same_denial(ask, denial, expected),
            other => panic!("{ask:?} at {now:?}: {other:?}"),
        }
        match self.bench.decide(ask.clone()) {
            Outcome::Granted(permit) => {
                let now = self.now();
                let mut used = self.counted();
                if let Some(id) = &ask.workspace {
                    // What the ledger shows contains the grant already.
                    let place = (Scope::Workspace, id.to_string(), "calls".to_owned());
                    let cap = used.get_mut(&place).expect("counted");
                    *cap -= u64::from(permit.calls) * u64::from(ask.cost);
                }
                self.reference.update_classes(&used, None);
                match self.reference.expected(now, ask, &used) {
                    Expected::Granted { calls } => {
                        let range = ask.min_calls..=calls;
                        assert!(
                            range.contains(&permit.calls),
                            "{ask:?}: {permit:?}, not in {range:?}"
                        );
                    }
                    denied => panic!("{ask:?} was granted {permit:?}, not {denied:?}"),
                }
                let touches = self.reference.touches(ask);
                let cap =
                    touches.iter().map(|(place, _)| self.reference.counters[place].window / 2);
                let cap = cap.min().expect("something").min(secs(300));
                let operation = &self.reference.catalogue.operations[&ask.operation];
                let wanted = ask.ttl.unwrap_or(operation.default_ttl());
                assert_eq!(permit.life_left, wanted.min(cap));
                self.reference.granted(now, ask, &permit);
                self.update_classes(None);
            }
            Outcome::Denied(denial) => {
                let now = self.now();
                self.update_classes(None);
                let used = self.counted();
                let expected = self.reference.expected(now, ask, &used);
                self.same_denial(ask, &denial, &expected);
            }
            Outcome::Failed(error) => panic!("{ask:?}: {error}"),
        }
    }

    fn same_denial(&self, ask: &Ask, denial: &Denial, expected: &Expected) {
        let limit = denial.limit.as_ref().expect("a limit");
        let pause = limit.window / 1_000;
        let Expected::Denied { never, binding, reason, frees_at } = expected else {
            // At its limit a counter is reserved once in T/1000: what has come
            // back since is refused until then, where nobody waits that long.
            assert!(pause > secs(2), "{ask:?} was denied: {denial:?}, not {expected:?}");
            assert!(denial.retry_after.is_some_and(|wait| wait <= pause));
            return;
        };
        let bound = (limit.scope, limit.identity.to_string(), limit.name.to_string());
        // The ends of coarse buckets, and pauses of a counter at its limit, can
        // make another limit the last to free.
        let exact = denial.limits.iter().all(|limit| limit.scope != Scope::Workspace)
            && denial.limits.iter().all(|limit| limit.window <= MINUTE);
        if exact {
            assert_eq!((&bound, denial.reason), (binding, *reason), "{ask:?}: {denial:?}");
        }
        let soonest = match (limit.kind, *never) {
            (Kind::Concurrency, _) => None,
            _ if bound != *binding => return,
            (Kind::Window, true) if frees_at.is_none() => None,
            (Kind::Window, _) => *frees_at,
        };
        if *never {
            assert_eq!(denial.retry_after, None, "{ask:?}: {denial:?}");
            return;
        }
        let wait = soonest.map(|at| at.since(self.now()));
        match (wait, denial.retry_after) {
            (None, None) => {}
            (Some(least), Some(shown)) => {
                let rounding =
                    if limit.scope == Scope::Workspace { COARSE } else { Duration::ZERO };
                let most = least.max(pause) + rounding;
                assert!(
                    (least..=most).contains(&shown),
                    "{ask:?}: {least:?} to {most:?}, {denial:?}"
                );
            }
            other => panic!("{ask:?}: {other:?}, {denial:?}"),
        }
    }

    /// What each counter has used: the definition's figure where the ledger
    /// keeps an exact log, and the ledger's own where it rounds.
    fn counted(&mut self) -> BTreeMap<Place, u64> {
        let shown = self.shown();
        let now = self.now();
        let naive = |place: &Place| self.reference.counters.get(place).map_or(0, |n| n.used(now));
        let mut counted: BTreeMap<Place, u64> = shown
            .iter()
            .map(|(place, limit)| {
                let used = if place.0 == Scope::Workspace { spent(limit) } else { naive(place) };
                (place.clone(), used)
            })
            .collect();
        for place in self.reference.counters.keys() {
            counted.entry(place.clone()).or_insert(0);
        }
        for id in WORKSPACES {
            counted.entry((Scope::Workspace, id.into(), "calls".into())).or_insert(0);
        }
        for operation in self.reference.catalogue.operations.values() {
            for charge in &operation.charges {
                for user in USERS {
                    counted
                        .entry((charge.scope, user.into(), charge.limit.to_string()))
                        .or_insert(0);
                }
                let org = self.reference.policy.org.to_string();
                counted.entry((charge.scope, org, charge.limit.to_string())).or_insert(0);
            }
        }
        counted
    }

    fn shown(&mut self) -> BTreeMap<Place, LimitUsage> {
        let usage = self.bench.usage();
        let of_workspaces = usage.workspaces.iter().flat_map(|shown| &shown.limits);
        let of_workspaces = of_workspaces.filter(|limit| limit.scope == Scope::Workspace);
        let of_users = usage.users.iter().flat_map(|shown| &shown.limits);
        usage
            .limits
            .iter()
            .chain(of_workspaces)
            .chain(of_users)
            .map(|limit| {
                ((limit.scope, limit.identity.to_string(), limit.name.to_string()), limit.clone())
            })
            .collect()
    }

    /// Every counter is what the definition says, rounded ones within their
    /// rounding, and later only.
    fn compare(&mut self) -> BTreeMap<Place, u64> {
        let shown = self.shown();
        let now = self.now();
        for (place, naive) in &self.reference.counters {
            let limit = shown.get(place);
            let used = limit.map_or(0, spent);
            let exact = naive.used(now);
            let most = if place.0 == Scope::Workspace { naive.used(now - COARSE) } else { exact };
            assert!((exact..=most).contains(&used), "{place:?}: {used}, not {exact} to {most}");
            let Some(limit) = limit else { continue };
            let taken = spent(limit) + limit.held;
            assert_eq!(limit.remaining, limit.max.saturating_sub(taken), "{place:?}");
            if place.0 == Scope::Workspace
                && !self.reference.policy.workspaces.contains_key(&workspace(&place.1))
            {
                continue;
            }
            assert_eq!(limit.max, self.max_now(place), "{place:?}");
        }
        self.update_classes(None);
        for id in &WORKSPACES[..2] {
            for class in Class::PAUSABLE {
                let paused = self.reference.paused.contains(&((*id).to_owned(), class));
                assert_eq!(self.bench.is_paused(id, class), paused, "{id} {class:?}");
            }
        }
        self.counted()
    }

    fn max_now(&self, place: &Place) -> u64 {
        match (place.0, place.2.as_str()) {
            (Scope::Workspace, _) => {
                self.reference.policy.workspaces[&workspace(&place.1)].daily_calls.expect("a cap")
            }
            (Scope::Org, "calls") => self.reference.policy.daily_calls,
            (_, "long") => self.reference.policy.concurrent_calls,
            _ => self.reference.counters[place].max,
        }
    }

    fn update_classes(&mut self, before: Option<&Workspaces>) {
        let used = self.counted();
        self.reference.update_classes(&used, before);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_ledger_agrees_with_a_list_of_time_stamps(history in prop::collection::vec(steps(), 1..60)) {
        let mut pair = Pair::new();
        for step in history {
            pair.step(step);
        }
    }
}
