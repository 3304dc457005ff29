//! A model of etcd, as far as its promises go: revisions, keys under leases,
//! transactions that compare before they write, and a log that watches follow.
//! Written from the contract of [`Store`](crate::store::Store) and
//! [`Sessions`](crate::store::Sessions), not from any implementation.
//!
//! The counters' records are not here: each org's world keeps and audits its
//! own, at the revisions of this store.

use std::collections::BTreeMap;

use crate::store::{
    Changed, Compare, Key, KeyValue, LeaseId, Listing, Shard, StoreError, Txn, TxnOutcome, Watched,
    Write,
};

/// The store.
#[derive(Debug, Default)]
pub struct Store {
    /// The revision of the last change.
    pub revision: u64,
    keys: BTreeMap<String, Entry>,
    leases: BTreeMap<LeaseId, Lease>,
    last_lease: i64,
    /// What each revision changed.
    log: Vec<Vec<Changed>>,
}

#[derive(Debug)]
struct Entry {
    value: KeyValue,
    lease: Option<LeaseId>,
}

/// A lease.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    /// Who made it.
    pub node: usize,
    /// It does not end before this moment of true time.
    pub until: u64,
}

impl Store {
    // ---- Leases ----

    /// Makes a lease.
    pub fn grant(&mut self, node: usize, until: u64) -> LeaseId {
        self.last_lease += 1;
        let id = LeaseId(self.last_lease);
        self.leases.insert(id, Lease { node, until });
        id
    }

    /// Keeps a lease alive; false if it is gone.
    pub fn keep_alive(&mut self, lease: LeaseId, until: u64) -> bool {
        let Some(lease) = self.leases.get_mut(&lease) else { return false };
        lease.until = lease.until.max(until);
        true
    }

    /// Ends a lease; its keys go in one revision.
    pub fn end(&mut self, lease: LeaseId) {
        if self.leases.remove(&lease).is_none() {
            return;
        }
        let of_it = |entry: &&Entry| entry.lease == Some(lease);
        let gone = self.keys.values().filter(of_it).map(|entry| entry.value.key.clone());
        let gone: Vec<String> = gone.collect();
        if !gone.is_empty() {
            self.revision += 1;
            let changes = gone.into_iter().map(|key| self.remove(key)).collect();
            self.log.push(changes);
        }
    }

    /// A new leader of etcd knows when leases were made, not when they were kept
    /// alive: all of them start anew.
    pub fn rearm(&mut self, until: u64) {
        for lease in self.leases.values_mut() {
            lease.until = lease.until.max(until);
        }
    }

    /// A lease, unless it has ended.
    pub fn lease(&self, lease: LeaseId) -> Option<Lease> {
        self.leases.get(&lease).copied()
    }

    /// The leases of a node.
    pub fn leases_of(&self, node: usize) -> Vec<LeaseId> {
        let of_it = self.leases.iter().filter(|(_, lease)| lease.node == node);
        of_it.map(|(id, _)| *id).collect()
    }

    // ---- Keys ----

    /// Carries out a transaction.
    pub fn txn(&mut self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        let dead = txn.then.iter().find_map(|write| match write {
            Write::PutLeased(_, _, lease) => (!self.leases.contains_key(lease)).then_some(*lease),
            Write::Put(..) | Write::Delete(_) => None,
        });
        let mut holds = true;
        let mut current = Vec::with_capacity(txn.when.len());
        for compare in &txn.when {
            let (key, wanted, found) = match compare {
                Compare::ModRevision(key, wanted) => (key, wanted, self.revisions_of(key).0),
                Compare::CreateRevision(key, wanted) => (key, wanted, self.revisions_of(key).1),
            };
            holds &= *wanted == found;
            current.push(self.get(key).cloned());
        }
        if !holds {
            return Ok(TxnOutcome::Conflict { current });
        }
        if let Some(lease) = dead {
            return Err(StoreError::NotExecuted(format!("{lease:?} is gone")));
        }
        self.revision += 1;
        let mut changes = Vec::with_capacity(txn.then.len());
        for write in txn.then {
            match write {
                Write::Put(key, value) => changes.push(self.put(key, value, None)),
                Write::PutLeased(key, value, lease) => {
                    changes.push(self.put(key, value, Some(lease)));
                }
                Write::Delete(key) if self.keys.contains_key(&key) => {
                    changes.push(self.remove(key));
                }
                Write::Delete(_) => {}
            }
        }
        if changes.is_empty() {
            // To remove what does not exist changes nothing.
            self.revision -= 1;
        } else {
            self.log.push(changes);
        }
        Ok(TxnOutcome::Done { revision: self.revision })
    }

    /// What a key holds.
    pub fn get(&self, key: &str) -> Option<&KeyValue> {
        self.keys.get(key).map(|entry| &entry.value)
    }

    /// The mod revision of a shard's owner key; 0 if there is none.
    pub fn epoch(&self, shard: Shard) -> u64 {
        self.revisions_of(&String::from(Key::ShardOwner(shard))).0
    }

    // ---- Watches ----

    /// All keys under a prefix, and the place in the log from which to go on.
    pub fn all(&self, prefix: &str) -> (Watched, usize) {
        let under = self.keys.values().filter(|entry| entry.value.key.starts_with(prefix));
        let entries = under.map(|entry| entry.value.clone()).collect();
        (Watched::All(Listing { revision: self.revision, entries }), self.log.len())
    }

    /// The length of the log.
    pub fn log_len(&self) -> usize {
        self.log.len()
    }

    /// What changed under a prefix between two places in the log, by revision.
    pub fn changes(&self, prefix: &str, from: usize, to: usize) -> Vec<Vec<Changed>> {
        let of_it = |change: &&Changed| key_of(change).starts_with(prefix);
        let revisions = self.log[from..to].iter();
        let revisions = revisions.map(|all| all.iter().filter(of_it).cloned().collect::<Vec<_>>());
        revisions.filter(|changes| !changes.is_empty()).collect()
    }

    /// Mod and create revision.
    fn revisions_of(&self, key: &str) -> (u64, u64) {
        self.get(key).map_or((0, 0), |value| (value.mod_revision, value.create_revision))
    }

    fn put(&mut self, key: String, value: Vec<u8>, lease: Option<LeaseId>) -> Changed {
        let mod_revision = self.revision;
        let create_revision =
            self.get(&key).map_or(mod_revision, |present| present.create_revision);
        let value = KeyValue { key: key.clone(), value, create_revision, mod_revision };
        self.keys.insert(key, Entry { value: value.clone(), lease });
        Changed::Put(value)
    }

    fn remove(&mut self, key: String) -> Changed {
        self.keys.remove(&key);
        Changed::Deleted { key, revision: self.revision }
    }
}

fn key_of(change: &Changed) -> &str {
    match change {
        Changed::Put(value) => &value.key,
        Changed::Deleted { key, .. } => key,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_takes_its_keys_with_it_in_one_revision() {
        let mut store = Store::default();
        let lease = store.grant(0, 10);
        let put = |key: &str| Txn {
            when: vec![Compare::CreateRevision(key.into(), 0)],
            then: vec![Write::PutLeased(key.into(), Vec::new(), lease)],
            wall: None,
        };
        assert!(matches!(store.txn(put("a/1")), Ok(TxnOutcome::Done { revision: 1 })));
        assert!(matches!(store.txn(put("a/2")), Ok(TxnOutcome::Done { revision: 2 })));
        assert!(matches!(store.txn(put("a/2")), Ok(TxnOutcome::Conflict { .. })));
        store.end(lease);
        assert_eq!(store.revision, 3);
        assert_eq!(store.changes("a/", 2, 3).len(), 1);
        assert_eq!(store.changes("a/", 2, 3)[0].len(), 2);
        assert!(!store.keep_alive(lease, 20));
        assert!(matches!(store.txn(put("a/3")), Err(StoreError::NotExecuted(_))));
    }
}
