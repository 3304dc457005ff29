//! Takes shards over: first the owner keys, then, after it, what is recorded. No
//! older owner can commit any more, so what is read is final.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering,
};

use tokio::time::timeout;

use super::{Shards, reserver::STORE_TIMEOUT};
use crate::{
    quota::{Group, GroupRecord, Ledger, OrgId, Stored},
    store::{
        Compare, Key, Record as _, Shard, StoreError, Txn, TxnOutcome, Write,
        keys::SHARDS,
        records::{MetaRecord, OwnerRecord, RecordError},
        shard_of,
    },
};

/// Why shards could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The store did not answer.
    #[error("taking over the shards")]
    Store(#[from] StoreError),
    /// A value cannot be used.
    #[error(
        "the store's value {key:?} cannot be used: {cause}; run the version of quotagate that \
         wrote it, restore a backup, or start on an empty store (that forgets what was counted)"
    )]
    Value {
        /// Where it stands.
        key: String,
        /// Why.
        cause: RecordError,
    },
    /// The store was made with another number of shards.
    #[error("the store has {found} shards, this version knows stores of {SHARDS}")]
    Shards {
        /// How many.
        found: u32,
    },
    /// Another process takes shards at the same time.
    #[error("another process is taking over the shards of this store")]
    Contended,
}

/// Owner keys of one transaction: etcd's bound is 128 operations.
const SHARDS_PER_TXN: usize = 64;

impl Shards {
    /// Becomes the owner of shards, in a new epoch, and builds the ledgers of
    /// all orgs that have records there.
    pub(super) async fn take_over(&self, shards: &[Shard]) -> Result<(), RecoverError> {
        self.check_meta().await?;
        for chunk in shards.chunks(SHARDS_PER_TXN) {
            self.take_owner_keys(chunk).await?;
        }
        let wanted: BTreeSet<Shard> = shards.iter().copied().collect();
        let prefix = match shards {
            [shard] => shard.counters(),
            _ => ALL_SHARDS.to_owned(),
        };
        let mut found: BTreeMap<OrgId, Vec<(Group, Stored)>> = BTreeMap::new();
        for present in self.store.range(&prefix).await? {
            let Ok(Key::Counters { org, group }) = present.key.parse() else { continue };
            if !wanted.contains(&shard_of(&org)) {
                continue;
            }
            let record = GroupRecord::decode(&present.value)
                .map_err(|cause| RecoverError::Value { key: present.key, cause })?;
            let stored = Stored { revision: present.mod_revision, record };
            found.entry(org).or_default().push((group, stored));
        }
        for org in self.table.orgs() {
            if wanted.contains(&shard_of(&org)) && !found.contains_key(&org) {
                found.insert(org, Vec::new());
            }
        }
        for (org, stored) in found {
            let epoch = self.state(shard_of(&org)).epoch.load(Ordering::Acquire);
            let (policy, catalogue) = (self.policies.policy(&org), self.policies.catalogue());
            let now = self.clock.now();
            let ledger = Ledger::new(now, epoch, self.rules, policy, catalogue, stored);
            if let Some(former) = self.table.replace(&org, ledger) {
                let retired = former.with(|inner| {
                    inner.retire();
                    self.pump(inner, now.mono);
                });
                if retired.is_none() {
                    former.abandon();
                }
            }
            // What was changed meanwhile takes effect, a record that is empty by
            // now is deleted, an open block written off.
            self.reconfigure(std::slice::from_ref(&org));
        }
        let owned = self.states.iter().filter(|state| state.epoch.load(Ordering::Acquire) > 0);
        self.metrics.set_owned_shards(u32::try_from(owned.count()).unwrap_or(u32::MAX));
        Ok(())
    }

    /// Finds out whether the store carries out a write, by one that changes
    /// nothing.
    pub async fn try_store(&self) {
        let key: String = Key::MetaStore.into();
        let wall = Some(self.clock.now().wall);
        let then = vec![Write::Put(key, meta().encode())];
        let answer = timeout(STORE_TIMEOUT, self.store.txn(Txn { when: Vec::new(), then, wall }));
        let unknown = |_| Err(StoreError::Unknown(format!("no answer within {STORE_TIMEOUT:?}")));
        self.note_store(&answer.await.unwrap_or_else(unknown));
    }

    async fn take_owner_keys(&self, shards: &[Shard]) -> Result<(), RecoverError> {
        let keys: Vec<String> = shards.iter().map(|s| Key::ShardOwner(*s).into()).collect();
        let owner = OwnerRecord { node: self.node.clone(), incarnation: self.incarnation.clone() };
        let mut revisions = vec![0; keys.len()];
        // The first try finds out what stands there, the second replaces it.
        for _ in 0..3 {
            let compares = keys.iter().zip(&revisions);
            let txn = Txn {
                when: compares
                    .map(|(key, revision)| Compare::ModRevision(key.clone(), *revision))
                    .collect(),
                then: keys.iter().map(|key| Write::Put(key.clone(), owner.encode())).collect(),
                wall: Some(self.clock.now().wall),
            };
            match self.store.txn(txn).await? {
                TxnOutcome::Done { revision } => {
                    for shard in shards {
                        self.state(*shard).epoch.store(revision, Ordering::Release);
                    }
                    return Ok(());
                }
                TxnOutcome::Conflict { current } => {
                    let present = current.iter().map(Option::as_ref);
                    revisions = present.map(|kv| kv.map_or(0, |kv| kv.mod_revision)).collect();
                }
            }
        }
        Err(RecoverError::Contended)
    }

    /// Says what the store is, or checks that it is what this version knows.
    async fn check_meta(&self) -> Result<(), RecoverError> {
        let key: String = Key::MetaStore.into();
        let txn = Txn {
            when: vec![Compare::CreateRevision(key.clone(), 0)],
            then: vec![Write::Put(key.clone(), meta().encode())],
            wall: None,
        };
        let TxnOutcome::Conflict { current } = self.store.txn(txn).await? else { return Ok(()) };
        let Some(Some(present)) = current.into_iter().next() else { return Ok(()) };
        let found = MetaRecord::decode(&present.value)
            .map_err(|cause| RecoverError::Value { key, cause })?
            .shards;
        if found == u32::from(SHARDS) { Ok(()) } else { Err(RecoverError::Shards { found }) }
    }
}

/// What this version says about a store.
fn meta() -> MetaRecord {
    MetaRecord { shards: SHARDS.into(), created_by: env!("CARGO_PKG_VERSION").to_owned() }
}

/// Begins the keys of every shard.
const ALL_SHARDS: &str = "shards/";
