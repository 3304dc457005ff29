//! The cluster as one node shows it: what the nodes have registered, who owns
//! what, and what they answered when they were last asked.

use super::{NodeEntry, ShardEntry};
use crate::{
    cluster::{
        View,
        pings::{Facts, Pings},
    },
    store::Shard,
};

/// The nodes that are alive, by name; `own` is what the one that shows them says
/// of itself.
pub fn nodes(view: &View, own: &Facts, pings: &Pings) -> Vec<NodeEntry> {
    let entry = |(name, node): (&String, &crate::cluster::NodeInfo)| {
        let said = if *name == own.node {
            NodeEntry { clock_offset_us: Some(0), ..NodeEntry::from(own.clone()) }
        } else {
            match pings.get(name) {
                Some(Ok(pinged)) => NodeEntry {
                    clock_offset_us: Some(pinged.offset_us),
                    ..NodeEntry::from(pinged.facts.clone())
                },
                Some(Err(why)) => NodeEntry {
                    problem: format!("it does not answer: {why}"),
                    ..NodeEntry::default()
                },
                None => NodeEntry::default(),
            }
        };
        let record = node.record.clone();
        let mut owned = 0;
        let mut epochs: Option<(u64, u64)> = None;
        for owner in view.owners.values().filter(|owner| owner.node == *name) {
            owned += 1;
            let (low, high) = epochs.unwrap_or((owner.epoch, owner.epoch));
            epochs = Some((low.min(owner.epoch), high.max(owner.epoch)));
        }
        NodeEntry {
            name: name.clone(),
            address: record.address,
            peer_address: record.peer_address,
            version: record.version,
            incarnation: record.incarnation,
            draining: record.draining,
            owned_shards: owned,
            epochs: epochs.unwrap_or_default(),
            ..said
        }
    };
    view.nodes.iter().map(entry).collect()
}

/// Every shard with its owner, by number.
pub fn owners(view: &View) -> Vec<ShardEntry> {
    let entry = |shard: Shard| {
        let owner = view.owners.get(&shard);
        ShardEntry {
            shard: shard.number().into(),
            node: owner.map_or_else(String::new, |owner| owner.node.clone()),
            epoch: owner.map_or(0, |owner| owner.epoch),
        }
    };
    Shard::all().map(entry).collect()
}

impl From<Facts> for NodeEntry {
    /// What is said; where it is reached and what it owns are known otherwise.
    fn from(facts: Facts) -> Self {
        Self {
            name: facts.node,
            incarnation: facts.incarnation,
            owned_shards: facts.owned_shards,
            orgs: facts.orgs,
            started: Some(facts.started),
            session_left: facts.session_left,
            problem: facts.problem,
            ..Self::default()
        }
    }
}
