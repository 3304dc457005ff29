//! What one seed stands for: settings, constants, habits of the clients, and
//! how often things go wrong. Small numbers make an adversary sharp.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use fastrand::Rng;

use crate::quota::{
    Catalogue, Charge, ClassPolicy, Kind, LimitName, Operation, OperationId, OrgId, OrgPolicy,
    Rules, Scope, Thresholds, Unknown, UserId, WorkspaceId, WorkspacePolicy,
    catalogue::{Cost, Max},
    rules::{CoolingRules, Fault, Waits},
};

/// A fault that a test plants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// None, for comparison.
    Nothing,
    /// One of the core, or of the shell around it.
    Core(Fault),
    /// The owner's epoch is not compared: a blind put.
    BlindPut,
    /// Wall clocks differ from true time by more than ε.
    ClocksBeyondError,
    /// One record is written while the wall clock is wrong by more than ε.
    RecordByWrongClock,
    /// A hypervisor stops all clocks of a guest during a pause.
    FrozenClocks,
    /// A client starts calls after its permit has ended.
    ClientIgnoresTtl,
}

/// The sort of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Short windows of few calls, permits as long as they may be, each used at
    /// once or at the last instant.
    Sharp,
    /// Several limits of all sorts, big buckets too, clients of all habits.
    General,
    /// The org's total, caps and classes, slots, foreign use: days go by.
    Day,
    /// Saturated callers who report, no faults: what I6 measures.
    Saturated,
}

/// A scenario.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its sort.
    pub style: Style,
    /// The planted fault.
    pub plant: Option<Plant>,
    /// The constants.
    pub rules: Rules,
    /// Settings at the start.
    pub policy: OrgPolicy,
    /// Operations at the start.
    pub catalogue: Catalogue,
    /// Operations with how much they are asked for.
    pub demand: Vec<(OperationId, u32)>,
    /// Clients ask until then, in microseconds.
    pub until: u64,
    /// Faults end then; `None`: with the requests.
    pub rough_until: Option<u64>,
    /// How long messages travel at most, in microseconds.
    pub latency: u64,
    /// How long the store takes at most when nothing is wrong.
    pub store_latency: u64,
    /// After this time without an answer the caller of the store gives up.
    pub store_timeout: u64,
    /// Mean time between faults; 0: none.
    pub trouble: u64,
    /// Percent of transactions to which something happens.
    pub store_trouble: u32,
    /// Requests of one burst.
    pub burst: u64,
    /// Mean time between two requests of a burst, in microseconds.
    pub spacing: u64,
    /// Mean pause between bursts.
    pub pause: u64,
    /// Most calls of a request.
    pub most_calls: u32,
    /// Mean time between changes of the settings; 0: none.
    pub changes: u64,
    /// Mean time between foreign calls; 0: none.
    pub foreign: u64,
    /// Records of one transaction.
    pub most_records: usize,
}

const SECOND: u64 = 1_000_000;
const HOUR: u64 = 3_600 * SECOND;

impl Scenario {
    /// The scenario of a seed.
    pub fn draw(rng: &mut Rng, plant: Option<Plant>) -> Self {
        // What is planted is found sooner by the sharp.
        let [sharp_below, general_below] = if plant.is_some() { [80, 90] } else { [50, 80] };
        let style = match rng.u32(0..100) {
            ticket if ticket < sharp_below => Style::Sharp,
            ticket if ticket < general_below => Style::General,
            _ => Style::Day,
        };
        let mut scenario = match style {
            Style::Sharp => sharp(rng),
            Style::General => general(rng),
            _ => day(rng),
        };
        scenario.plant = plant;
        if style != Style::Day {
            scenario.rules.cooling = cooling(Duration::from_micros(5 * SECOND));
        }
        if let Some(Plant::Core(fault)) = plant {
            scenario.rules.fault = Some(fault);
        }
        scenario
    }

    /// Callers who keep one limit saturated; faults at the start only.
    pub fn saturated(rng: &mut Rng) -> Self {
        let window = rng.u64(10..=90) * SECOND;
        let max = rng.u64(50..=200);
        let charges = vec![charge("w", Scope::ExecutionUser, max, window)];
        Self {
            style: Style::Saturated,
            rules: Rules {
                fault: None,
                cooling: cooling(Duration::from_micros(window / 4)),
                ..Rules::default()
            },
            demand: vec![(operation("get"), 1)],
            catalogue: catalogue([("get", charges)]),
            policy: policy(rng, 1),
            until: 14 * window,
            rough_until: Some(3 * window),
            latency: 2_000,
            store_latency: 5_000,
            store_timeout: SECOND,
            trouble: window / 3,
            store_trouble: 5,
            burst: 0,
            spacing: 0,
            pause: 0,
            most_calls: 1,
            changes: 0,
            foreign: 0,
            plant: None,
            most_records: 126,
        }
    }
}

fn sharp(rng: &mut Rng) -> Scenario {
    let window = rng.u64(800..4_000) * 1_000;
    let max = rng.u64(1..=4);
    let mut charges = vec![charge("w", Scope::ExecutionUser, max, window)];
    if rng.u32(0..4) == 0 {
        charges.push(charge("o", Scope::Org, rng.u64(1..=6), rng.u64(800..6_000) * 1_000));
    }
    if rng.u32(0..4) == 0 {
        charges.push(slots(rng.u64(1..=3), rng.u64(400..3_000) * 1_000));
    }
    let latency = [50, 50, 1_000, 20_000][rng.usize(0..4)];
    let store_latency = [100, 2_000, 30_000][rng.usize(0..3)];
    Scenario {
        style: Style::Sharp,
        plant: None,
        rules: small_rules(rng),
        policy: policy(rng, 1),
        catalogue: catalogue([("a", charges)]),
        demand: vec![(operation("a"), 1)],
        until: 60 * SECOND,
        rough_until: None,
        latency,
        store_latency,
        store_timeout: store_latency * 2 + rng.u64(50_000..400_000),
        trouble: [0, 1, 2, 4][rng.usize(0..4)] * SECOND,
        store_trouble: [0, 10, 40][rng.usize(0..3)],
        burst: rng.u64(4..24),
        spacing: [1, window / 100, window / 20][rng.usize(0..3)],
        pause: rng.u64(1..6) * window / 8,
        most_calls: [1, 1, 2, 4][rng.usize(0..4)],
        changes: if rng.u32(0..5) == 0 { 5 * SECOND } else { 0 },
        foreign: 0,
        most_records: rng.usize(1..4),
    }
}

fn general(rng: &mut Rng) -> Scenario {
    let window = |rng: &mut Rng| rng.u64(800..12_000) * 1_000;
    let user = charge("w", Scope::ExecutionUser, rng.u64(3..60), window(rng));
    let other = charge("v", Scope::ExecutionUser, rng.u64(1..12), window(rng));
    let org =
        Charge { cost: Cost::Request, ..charge("o", Scope::Org, rng.u64(5..150), window(rng)) };
    let workspace = charge("s", Scope::Workspace, rng.u64(2..30), window(rng));
    let big = Charge {
        cost: Cost::Request,
        ..charge("big", Scope::Org, rng.u64(4_000..9_000), window(rng))
    };
    let slots = slots(rng.u64(1..=5), rng.u64(1_000..15_000) * 1_000);
    let catalogue = catalogue([
        ("a", vec![user.clone()]),
        ("b", vec![other, org.clone()]),
        ("c", vec![slots, org]),
        ("d", vec![workspace, user]),
        ("e", vec![big]),
    ]);
    let mut demand: Vec<_> = catalogue.operations.keys().map(|op| (op.clone(), 1)).collect();
    let favourite = rng.usize(0..demand.len());
    demand[favourite].1 = 8;
    let store_latency = [1_000, 10_000, 60_000][rng.usize(0..3)];
    let users = rng.usize(1..4);
    Scenario {
        style: Style::General,
        plant: None,
        rules: small_rules(rng),
        policy: policy(rng, users),
        catalogue,
        demand,
        until: 60 * SECOND,
        rough_until: None,
        latency: [50, 2_000, 30_000][rng.usize(0..3)],
        store_latency,
        store_timeout: store_latency * 2 + rng.u64(50_000..600_000),
        trouble: [0, 2, 6][rng.usize(0..3)] * SECOND,
        store_trouble: [0, 5, 30][rng.usize(0..3)],
        burst: rng.u64(10..120),
        spacing: rng.u64(1_000..80_000),
        pause: rng.u64(1..10) * SECOND / 2,
        most_calls: [1, 3, 10, 700][rng.usize(0..4)],
        changes: if rng.bool() { 6 * SECOND } else { 0 },
        foreign: 0,
        most_records: rng.usize(1..6),
    }
}

fn day(rng: &mut Rng) -> Scenario {
    let long = Charge {
        max: Max::OrgConcurrent,
        limit: limit("long"),
        ..slots(0, rng.u64(60..900) * SECOND)
    };
    // Around an hour the horizon changes.
    let hourly = charge("h", Scope::ExecutionUser, rng.u64(2..20), rng.u64(3_000..4_200) * SECOND);
    let minute = charge("m", Scope::ExecutionUser, rng.u64(2..20), 60 * SECOND);
    let catalogue = catalogue([
        ("rest", vec![Charge::org_total()]),
        ("rest.long", vec![Charge::org_total(), long]),
        ("hourly", vec![hourly]),
        ("minute", vec![minute]),
    ]);
    let demand = catalogue
        .operations
        .keys()
        .map(|op| (op.clone(), if op.as_str() == "rest" { 6 } else { 1 }));
    let big = rng.u32(0..4) == 0;
    let daily = if big { rng.u64(5_000..20_000) } else { rng.u64(10..300) };
    let users = rng.usize(1..3);
    let mut policy = policy(rng, users);
    policy.daily_calls = daily;
    policy.daily_calls_max = rng.bool().then_some(daily + daily / 2);
    for name in ["acme", "bolt", "core"] {
        let cap = (rng.u32(0..4) > 0).then(|| rng.u64(1..=daily));
        let (name, workspace) = workspace(rng, name, cap);
        policy.workspaces.insert(name, workspace);
    }
    Scenario {
        style: Style::Day,
        plant: None,
        rules: Rules {
            travel: Duration::from_millis(rng.u64(100..6_000)),
            clock_error: Duration::from_millis(rng.u64(10..3_000)),
            ..small_rules(rng)
        },
        demand: demand.collect(),
        catalogue,
        policy,
        until: 60 * HOUR,
        rough_until: None,
        latency: 5_000,
        store_latency: 20_000,
        store_timeout: rng.u64(200_000..1_000_000),
        trouble: [0, 1, 4][rng.usize(0..3)] * HOUR,
        store_trouble: [0, 5, 20][rng.usize(0..3)],
        burst: rng.u64(10..60),
        spacing: [50_000, 2 * SECOND, 60 * SECOND][rng.usize(0..3)],
        pause: rng.u64(1..5) * HOUR / 2,
        most_calls: if big { 1_000 } else { [1, 3, 20][rng.usize(0..3)] },
        changes: if rng.bool() { 7 * HOUR } else { 0 },
        foreign: if rng.bool() { HOUR } else { 0 },
        most_records: rng.usize(1..6),
    }
}

/// Constants of all proportions: what one of them hides another shows.
fn small_rules(rng: &mut Rng) -> Rules {
    // A third has calls that travel far, and next to nothing that hides them.
    let is_bare = rng.u32(0..3) == 0;
    let mut of = |ranges: [std::ops::Range<u64>; 3], bare: usize| {
        let range = ranges[if is_bare { bare } else { rng.usize(0..3) }].clone();
        Duration::from_micros(rng.u64(range))
    };
    Rules {
        travel: of([5_000..20_000, 50_000..150_000, 200_000..500_000], 2),
        clock_error: of([100..3_000, 20_000..60_000, 60_000..200_000], 0),
        horizon_short: of([20_000..60_000, 100_000..300_000, 500_000..1_500_000], 0),
        horizon_long: of([100_000..500_000, 1_500_000..3_000_000, 3_000_000..6_000_000], 0),
        store_wait: of([20_000..60_000, 100_000..400_000, 500_000..1_500_000], 2),
        slot_pause: of([1_000..2_000, 5_000..20_000, 20_000..60_000], 1),
        max_waiting: rng.usize(4..40),
        ..Rules::default()
    }
}

/// Counters cool down no longer than this at a time.
fn cooling(longest: Duration) -> CoolingRules {
    let waits = |first: u32, last: u32| Waits { first: longest / first, longest: longest / last };
    CoolingRules {
        total: waits(10, 1),
        slots: waits(100, 4),
        regain: longest / 4,
        unnamed: waits(60, 5),
        counter: waits(1, 1),
        logins: longest,
        back_off: waits(100, 10),
        longest_retry_after: longest,
    }
}

fn policy(rng: &mut Rng, users: usize) -> OrgPolicy {
    let pool = (0..users).map(|n| UserId::parse(&format!("user{n}")).expect("a name")).collect();
    OrgPolicy {
        org: OrgId::parse("org").expect("a name"),
        daily_calls: 1_000_000,
        daily_calls_max: None,
        concurrent_calls: rng.u64(1..=5),
        reserve_percent: [0, 5][rng.usize(0..2)],
        outage_share: [0, 0, 0, 10][rng.usize(0..4)],
        header_lag: Duration::ZERO,
        pool,
        workspaces: BTreeMap::new(),
        classes: ClassPolicy::default(),
        unknown_workspaces: Unknown::Accept,
        unknown_users: Unknown::Accept,
        revision: 1,
    }
}

fn workspace(rng: &mut Rng, name: &str, cap: Option<u64>) -> (WorkspaceId, WorkspacePolicy) {
    let preset = ClassPolicy::PRESETS[rng.usize(0..3)];
    let classes = ClassPolicy::preset(preset).expect("presets are known");
    let name = WorkspaceId::parse(name).expect("a name");
    (name, WorkspacePolicy { daily_calls: cap, classes, ..WorkspacePolicy::default() })
}

fn catalogue<const N: usize>(operations: [(&str, Vec<Charge>); N]) -> Catalogue {
    let operations =
        operations.into_iter().map(|(name, charges)| (operation(name), Operation { charges }));
    Catalogue { operations: operations.collect() }
}

fn charge(name: &str, scope: Scope, max: u64, window_us: u64) -> Charge {
    Charge {
        limit: limit(name),
        scope,
        kind: Kind::Window,
        max: Max::Fixed(max),
        window: Duration::from_micros(window_us),
        cost: Cost::One,
        shadow: false,
    }
}

fn slots(max: u64, longest_us: u64) -> Charge {
    Charge { kind: Kind::Concurrency, ..charge("slots", Scope::Org, max, longest_us) }
}

fn limit(name: &str) -> LimitName {
    LimitName::parse(name).expect("a name")
}

fn operation(name: &str) -> OperationId {
    OperationId::parse(name).expect("a name")
}

/// A change of the settings, as an operator might make it.
pub fn change(rng: &mut Rng, policy: &mut Arc<OrgPolicy>, catalogue: &mut Arc<Catalogue>) {
    let settings = Arc::make_mut(policy);
    settings.revision += 1;
    match rng.u32(0..8) {
        0 => settings.daily_calls = (settings.daily_calls * rng.u64(5..20) / 10).max(1),
        1 => settings.concurrent_calls = rng.u64(1..=5),
        2 | 3 if !settings.workspaces.is_empty() => {
            let at = rng.usize(0..settings.workspaces.len());
            let daily = settings.daily_calls;
            if let Some(workspace) = settings.workspaces.values_mut().nth(at) {
                workspace.daily_calls = (rng.u32(0..6) > 0).then(|| rng.u64(1..=daily));
                let pause = rng.u32(1..=100);
                let resume = rng.u32(1..=pause);
                workspace.classes.event = Thresholds { pause, resume };
            }
        }
        2 | 3 => settings.outage_share = [0, 10, 30][rng.usize(0..3)],
        4 if settings.pool.len() > 1 => {
            settings.pool.remove(rng.usize(0..settings.pool.len()));
        }
        _ => change_limit(rng, Arc::make_mut(catalogue)),
    }
}

/// Another number or another window of one limit, for every operation that
/// names it.
fn change_limit(rng: &mut Rng, catalogue: &mut Catalogue) {
    let charges: Vec<Charge> =
        catalogue.operations.values().flat_map(|operation| operation.charges.clone()).collect();
    let chosen = &charges[rng.usize(0..charges.len())];
    let Max::Fixed(max) = chosen.max else { return };
    let max = (max * rng.u64(3..25) / 10).max(1);
    // A slot's longest time stays: calls that run keep what they were promised.
    let shift = if chosen.kind == Kind::Window && rng.bool() { rng.u32(50..200) } else { 100 };
    for charge in catalogue.operations.values_mut().flat_map(|operation| &mut operation.charges) {
        if charge.limit == chosen.limit && charge.scope == chosen.scope {
            charge.max = Max::Fixed(max);
            charge.window = charge.window * shift / 100;
        }
    }
}
