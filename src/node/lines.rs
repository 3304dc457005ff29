//! All orgs at once, as far as this node decides for them, and where the others are
//! asked.

use std::collections::BTreeMap;

use super::Node;
use crate::{
    quota::{Now, OrgId, OrgLine},
    store::{Shard, shard_of},
};

/// The orgs of one shard, a line each.
#[derive(Clone, Debug)]
pub struct ShardLines {
    /// The shard.
    pub shard: Shard,
    /// The epoch in which it is served here.
    pub epoch: u64,
    /// Its orgs that are declared or have a ledger.
    pub lines: Vec<OrgLine>,
    /// The clocks when they were read.
    pub now: Now,
}

/// Another node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherNode {
    /// Its name.
    pub name: String,
    /// Where other nodes reach it.
    pub peer_address: String,
}

impl Node {
    /// The declared orgs, by shard.
    #[must_use]
    pub fn declared_by_shard(&self) -> BTreeMap<Shard, Vec<OrgId>> {
        let mut by_shard = BTreeMap::<Shard, Vec<OrgId>>::new();
        for org in self.settings.declared() {
            by_shard.entry(shard_of(&org)).or_default().push(org);
        }
        by_shard
    }

    /// The orgs of a shard in lines, with those of them that are declared; `None`
    /// if the shard is not served here.
    #[must_use]
    pub fn lines(&self, shard: Shard, declared: &[OrgId]) -> Option<ShardLines> {
        let epoch = self.routes.served(shard)?;
        let (lines, now) = self.shards.lines(shard, declared);
        // Looked at again afterwards: a ledger that has just gone shows nothing.
        (self.routes.served(shard) == Some(epoch)).then_some(ShardLines {
            shard,
            epoch,
            lines,
            now,
        })
    }

    /// The other nodes that are alive.
    #[must_use]
    pub fn others(&self) -> Vec<OtherNode> {
        let view = self.routes.view();
        let others = view.nodes.iter().filter(|(name, _)| **name != self.name);
        let other = |(name, node): (&String, &crate::cluster::NodeInfo)| OtherNode {
            name: name.clone(),
            peer_address: node.record.peer_address.clone(),
        };
        others.map(other).collect()
    }
}
