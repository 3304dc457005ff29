//! What a node knows of the cluster: the nodes that are alive and who owns which
//! shard, from watches of the store. It may be old.

use std::collections::BTreeMap;

use crate::{
    quota::Wall,
    store::{
        Changed, Key, KeyValue, Record as _, RecordError, Shard, Watched,
        keys::{META, NODES, OWNERS},
        records::{ClosedRecord, GenerationRecord, NodeRecord, OwnerRecord},
    },
};

/// A node that is alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// What it says of itself.
    pub record: NodeRecord,
    /// The mod revision of its key.
    pub revision: u64,
}

/// Who owns a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerInfo {
    /// The node's name.
    pub node: String,
    /// The session of it.
    pub incarnation: String,
    /// The mod revision of the owner key.
    pub epoch: u64,
}

/// The cluster, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The nodes that are alive, by name.
    pub nodes: BTreeMap<String, NodeInfo>,
    /// The owners, by shard.
    pub owners: BTreeMap<Shard, OwnerInfo>,
    /// The cluster's birth; `None` if there is none.
    pub generation: Option<GenerationRecord>,
    /// What was counted until then is not known.
    pub closed_since: Option<Wall>,
    /// The values that this version cannot read, by key, with the reason.
    pub unreadable: BTreeMap<String, RecordError>,
    /// Which of [`WATCHED`] have been listed.
    listed: [bool; WATCHED.len()],
}

/// Begin the keys that make a [`View`]; each is watched. Counters are not.
pub const WATCHED: [&str; 3] = [NODES, OWNERS, META];

impl View {
    /// Everything was listed at least once. Before that nothing follows from
    /// what is missing.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.listed == [true; WATCHED.len()]
    }

    /// Takes in what the watch of one of [`WATCHED`] tells.
    pub fn apply(&mut self, prefix: &str, told: &Watched) {
        match told {
            Watched::All(listing) => {
                self.forget(prefix);
                for entry in &listing.entries {
                    self.put(entry);
                }
                for (listed, of) in self.listed.iter_mut().zip(WATCHED) {
                    *listed |= of == prefix;
                }
            }
            Watched::Changes(changes) => {
                for change in changes {
                    match change {
                        Changed::Put(entry) => self.put(entry),
                        Changed::Deleted { key, .. } => self.delete(key),
                    }
                }
            }
        }
    }

    /// Takes in one key, for one that this node has written itself.
    pub fn put(&mut self, entry: &KeyValue) {
        self.delete(&entry.key);
        let Ok(key) = entry.key.parse() else { return };
        if let Err(error) = self.read(key, entry) {
            self.unreadable.insert(entry.key.clone(), error);
        }
    }

    fn read(&mut self, key: Key, entry: &KeyValue) -> Result<(), RecordError> {
        let (value, revision) = (&entry.value, entry.mod_revision);
        match key {
            Key::Node(name) => {
                let record = NodeRecord::decode(value)?;
                self.nodes.insert(name, NodeInfo { record, revision });
            }
            Key::ShardOwner(shard) => {
                let OwnerRecord { node, incarnation } = OwnerRecord::decode(value)?;
                self.owners.insert(shard, OwnerInfo { node, incarnation, epoch: revision });
            }
            Key::Generation => self.generation = Some(GenerationRecord::decode(value)?),
            Key::Closed => self.closed_since = Some(ClosedRecord::decode(value)?.since),
            Key::MetaStore | Key::OrgConfig(_) | Key::Counters { .. } => {}
        }
        Ok(())
    }

    fn delete(&mut self, key: &str) {
        self.unreadable.remove(key);
        match key.parse() {
            Ok(Key::Node(name)) => {
                self.nodes.remove(&name);
            }
            Ok(Key::ShardOwner(shard)) => {
                self.owners.remove(&shard);
            }
            Ok(Key::Generation) => self.generation = None,
            Ok(Key::Closed) => self.closed_since = None,
            Ok(Key::MetaStore | Key::OrgConfig(_) | Key::Counters { .. }) | Err(_) => {}
        }
    }

    fn forget(&mut self, prefix: &str) {
        self.unreadable.retain(|key, _| !key.starts_with(prefix));
        match prefix {
            NODES => self.nodes.clear(),
            OWNERS => self.owners.clear(),
            META => (self.generation, self.closed_since) = (None, None),
            _ => {}
        }
    }
}
