//! What one seed stands for: how many nodes, the times of the cluster, the orgs
//! with their callers, and how often things go wrong.

use std::time::Duration;

use fastrand::Rng;

use crate::{
    cluster::Timing,
    quota::{
        OrgId,
        sim::scenario::{Plant as OrgPlant, Scenario as OrgScenario, Style},
        time::micros,
    },
    store::Shard,
};

/// A fault that a test plants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// None, for comparison.
    Nothing,
    /// One of those that show in a single org, too.
    Org(OrgPlant),
    /// A new owner reads the records before it puts the owner key.
    ReadBeforeTake,
}

/// An org: where it lies, and its callers.
#[derive(Clone, Debug)]
pub struct Org {
    /// Its shard.
    pub shard: Shard,
    /// Its limits, and what its callers want.
    pub scenario: OrgScenario,
}

/// A scenario.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The planted fault.
    pub plant: Option<Plant>,
    /// How many nodes.
    pub nodes: usize,
    /// The times of membership and ownership.
    pub timing: Timing,
    /// The orgs.
    pub orgs: Vec<Org>,
    /// Every shard is there, not only those with orgs: the rest belongs to a
    /// node that nobody hears of.
    pub all_shards: bool,
    /// Owners ask the session before they grant. Safety does not rest on it.
    pub sessions_bind: bool,
    /// How long messages between nodes travel at most, in microseconds.
    pub latency: u64,
    /// How long the store takes at most when nothing is wrong.
    pub store_latency: u64,
    /// After this time without an answer the caller of the store gives up.
    pub store_timeout: u64,
    /// How late a watch tells what has changed, at most.
    pub watch_delay: u64,
    /// Percent of the store's calls to which something happens.
    pub store_trouble: u32,
    /// Mean time between faults.
    pub trouble: u64,
    /// Percent of fresh blocks that the owner loses its lease over.
    pub lost_blocks: u32,
    /// Percent of grants after which the owner crashes.
    pub crashes: u32,
    /// When the faults stop.
    pub calm_at: u64,
    /// When the run ends.
    pub until: u64,
}

const SECOND: u64 = 1_000_000;

/// What I6 leaves for recovery besides two TTLs.
const GRACE: u64 = 5 * SECOND;

impl Scenario {
    /// The scenario of a seed: faults all the time, then calm.
    pub fn draw(rng: &mut Rng, plant: Option<Plant>) -> Self {
        let org_plant = plant.map(|plant| match plant {
            Plant::Org(plant) => plant,
            Plant::Nothing | Plant::ReadBeforeTake => OrgPlant::Nothing,
        });
        let count = if plant.is_some() { rng.usize(1..=2) } else { rng.usize(1..=3) };
        let timing = small_timing(rng);
        let mut orgs: Vec<Org> = Vec::new();
        for number in 0..count {
            let mut scenario = OrgScenario::draw(rng, org_plant);
            scenario.policy.org = OrgId::parse(&format!("org{number}")).expect("a name");
            scenario.trouble = 0;
            if scenario.style == Style::Day {
                compress(&mut scenario);
            }
            // Nodes have one set of constants, one network and one store.
            if let Some(Org { scenario: first, .. }) = orgs.first() {
                scenario.rules = first.rules;
                scenario.latency = first.latency;
                scenario.store_latency = first.store_latency;
                scenario.store_timeout = first.store_timeout;
                scenario.store_trouble = first.store_trouble;
            }
            let shard = match orgs.first() {
                Some(first) if rng.u32(0..3) == 0 => first.shard,
                _ => Shard::new(rng.u16(0..256)).expect("below 256"),
            };
            orgs.push(Org { shard, scenario });
        }
        let first = &orgs[0].scenario;
        let (latency, store_latency) = (first.latency, first.store_latency);
        let (store_timeout, store_trouble) = (first.store_timeout, first.store_trouble);
        let calm_at = 40 * SECOND;
        let mut scenario = Self {
            plant,
            nodes: rng.usize(2..=4),
            timing,
            all_shards: plant.is_none() && rng.u32(0..40) == 0,
            sessions_bind: rng.bool(),
            latency,
            store_latency,
            store_timeout,
            store_trouble,
            watch_delay: [50_000, SECOND / 2, 3 * SECOND][rng.usize(0..3)],
            trouble: [SECOND, 2 * SECOND, 4 * SECOND][rng.usize(0..3)],
            lost_blocks: [0, 3, 10][rng.usize(0..3)],
            crashes: [0, 1, 4][rng.usize(0..3)],
            calm_at,
            until: 0,
            orgs,
        };
        if scenario.all_shards {
            // As in production: hundreds of shards take their time one by one.
            scenario.timing.takes_at_a_time = Timing::default().takes_at_a_time;
        }
        scenario.until = scenario.recovered_by() + 8 * SECOND;
        for org in &mut scenario.orgs {
            org.scenario.until = scenario.until;
            org.scenario.rough_until = Some(calm_at);
        }
        scenario
    }

    /// Saturated callers, and the times of production: what I6 measures.
    pub fn saturated(rng: &mut Rng) -> Self {
        let mut scenario = Self::draw(rng, None);
        let mut org = OrgScenario::saturated(rng);
        let window = 10 * SECOND + rng.u64(0..20 * SECOND);
        for charge in org.catalogue.operations.values_mut().flat_map(|op| &mut op.charges) {
            charge.window = Duration::from_micros(window);
        }
        org.trouble = 0;
        let shard = scenario.orgs[0].shard;
        scenario.timing = Timing::default();
        (scenario.latency, scenario.store_latency) = (org.latency, org.store_latency);
        (scenario.store_timeout, scenario.store_trouble) = (org.store_timeout, org.store_trouble);
        scenario.watch_delay = 50_000;
        scenario.trouble = 10 * SECOND;
        scenario.lost_blocks = 0;
        scenario.crashes = 0;
        scenario.all_shards = false;
        scenario.sessions_bind = true;
        scenario.calm_at = 60 * SECOND;
        // Nodes that are back are given their share after a while.
        let settled = scenario.recovered_by() + 4 * micros(scenario.timing.stable_for);
        scenario.until = settled + 9 * window + 30 * SECOND;
        org.until = scenario.until;
        org.rough_until = Some(scenario.calm_at);
        scenario.orgs = vec![Org { shard, scenario: org }];
        scenario
    }

    /// I6: every shard is owned by then.
    pub fn recovered_by(&self) -> u64 {
        self.calm_at + 2 * micros(self.timing.ttl) + GRACE
    }
}

/// Days in a minute: the windows are as long as ever, what is done in them is
/// not.
fn compress(scenario: &mut OrgScenario) {
    scenario.pause /= 3_600;
    scenario.spacing = (scenario.spacing / 600).max(1_000);
    scenario.changes /= 3_600;
    scenario.foreign /= 1_200;
}

/// Times of all proportions, small against production's.
fn small_timing(rng: &mut Rng) -> Timing {
    let ms = |rng: &mut Rng, range: std::ops::Range<u64>| Duration::from_millis(rng.u64(range));
    let ttl = ms(rng, 300..2_000);
    Timing {
        ttl,
        margin: ttl * rng.u32(5..40) / 100,
        rank_delay: ms(rng, 10..300),
        stable_for: ms(rng, 300..4_000),
        moves_at_a_time: rng.usize(1..=4),
        unhurried: ms(rng, 0..3000),
        drains_at_a_time: rng.usize(1..=16),
        takes_at_a_time: rng.usize(1..=32),
        retry: ms(rng, 20..500),
    }
}
