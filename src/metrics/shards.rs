//! What happens to shards, and how long decisions take.

use std::time::Duration;

use prometheus_client::{
    metrics::{counter::Counter, histogram::Histogram},
    registry::{Registry, Unit},
};

use super::{Counters, Metrics, counter, family};
use crate::quota::Group;

/// Upper bounds of `decision_seconds` and `forward_seconds`: from a decision in
/// memory to one that waits for the store as long as any does.
const DECISION_BUCKETS: [f64; 12] =
    [0.000_005, 0.000_01, 0.000_025, 0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0];

/// Upper bounds of `recover_seconds`: from an empty shard to all that may be read
/// in one go.
const RECOVER_BUCKETS: [f64; 9] = [0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 30.0];

/// How a shard's former owner left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// With everything written down: nothing is lost.
    InOrder,
    /// With open blocks: what was left in them counts as spent.
    Open,
}

/// Units by the scope of the counter that they are of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnitsByScope {
    org: u64,
    workspace: u64,
    user: u64,
}

/// The metrics of shards and decisions.
#[derive(Debug)]
pub(super) struct ShardMetrics {
    pub decision_seconds: Histogram,
    pub forward_seconds: Histogram,
    recovered: [Counter; 2],
    recover_seconds: Histogram,
    handed_over: Counter,
    lost_units: [Counter; 3],
}

impl UnitsByScope {
    /// Adds units of a counter of this group.
    pub const fn add(&mut self, group: &Group, units: u64) {
        let sum = match group {
            Group::Org => &mut self.org,
            Group::Workspace(_) => &mut self.workspace,
            Group::User(_) => &mut self.user,
        };
        *sum = sum.saturating_add(units);
    }

    /// How the owner left who had set these aside.
    #[must_use]
    pub const fn left(&self) -> Left {
        if self.org == 0 && self.workspace == 0 && self.user == 0 {
            Left::InOrder
        } else {
            Left::Open
        }
    }
}

impl ShardMetrics {
    pub fn new(registry: &mut Registry) -> Self {
        let histogram = |registry: &mut Registry, name: &str, help: &str, buckets: &[f64]| {
            let histogram = Histogram::new(buckets.iter().copied());
            registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
            histogram
        };
        let decision_seconds = histogram(
            registry,
            "decision",
            "How long the owner of an org took to decide an Acquire, the wait for the store \
             included, of those that asked for no wait",
            &DECISION_BUCKETS,
        );
        let forward_seconds = histogram(
            registry,
            "forward",
            "How long another node took to answer what was sent on to it, of what asked for no wait",
            &DECISION_BUCKETS,
        );
        let recovered: Counters<1> = family(
            registry,
            "recovered_shards",
            "Shards that were taken, by whether their former owner left blocks open",
        );
        let recovered =
            ["in_order", "open"].map(|left| recovered.get_or_create_owned(&[("left", left)]));
        let recover_seconds = histogram(
            registry,
            "recover",
            "How long a shard was read until requests were let in",
            &RECOVER_BUCKETS,
        );
        let handed_over =
            counter(registry, "handed_over_shards", "Shards that were given to another node");
        let lost_units: Counters<1> = family(
            registry,
            "lost_units",
            "Units in blocks that were found open when a shard was taken, by the scope of their \
             limit: they count as spent until their window has passed",
        );
        let lost_units = ["org", "workspace", "execution_user"]
            .map(|scope| lost_units.get_or_create_owned(&[("scope", scope)]));
        Self {
            decision_seconds,
            forward_seconds,
            recovered,
            recover_seconds,
            handed_over,
            lost_units,
        }
    }
}

impl Metrics {
    /// The owner of an org decided an Acquire that asked for no wait.
    pub fn decided(&self, took: Duration) {
        self.shards.decision_seconds.observe(took.as_secs_f64());
    }

    /// Another node answered, or did not, what was sent on to it.
    pub fn hop(&self, took: Duration) {
        self.shards.forward_seconds.observe(took.as_secs_f64());
    }

    /// A shard was taken from the store; `open` is what its former owner had set
    /// aside and did not write off.
    pub fn recovered(&self, open: UnitsByScope) {
        self.shards.recovered[usize::from(open.left() == Left::Open)].inc();
        for (counter, units) in
            self.shards.lost_units.iter().zip([open.org, open.workspace, open.user])
        {
            counter.inc_by(units);
        }
    }

    /// It took so long to read a shard that another node had.
    pub fn read_shard(&self, took: Duration) {
        self.shards.recover_seconds.observe(took.as_secs_f64());
    }

    /// A shard was given to another node.
    pub fn handed_over(&self) {
        self.shards.handed_over.inc();
    }
}
