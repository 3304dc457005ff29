//! Takes shards over: first the owner keys, then, after it, what is recorded. No
//! older owner can commit any more, so what is read is final.

use std::{collections::BTreeMap, sync::Arc};

use tokio::time::timeout;

use super::{
    AT_ONCE, Shards,
    reserver::STORE_TIMEOUT,
    table::{Cell, Terms},
};
use crate::{
    metrics::UnitsByScope,
    quota::{Group, GroupRecord, Ledger, Now, OrgId, Stored},
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
    /// The shard was given up while its records were read.
    #[error("the shard was given up while its records were read")]
    GivenUp,
}

impl RecoverError {
    /// Trying again does not help: what is stored is of no use to this version.
    #[must_use]
    pub fn is_unusable(&self) -> bool {
        match self {
            Self::Value { .. } | Self::Shards { .. } => true,
            Self::Store(_) | Self::Contended | Self::GivenUp => false,
        }
    }
}

/// Owner keys of one transaction: etcd's bound is 128 operations.
const SHARDS_PER_TXN: usize = 64;

/// The records of a shard, by org.
type Found = BTreeMap<OrgId, Vec<(Group, Stored)>>;

impl Shards {
    /// Becomes the owner of shards, in a new epoch, and builds the ledgers of
    /// all orgs that have records there.
    pub(super) async fn take_over(
        &self,
        owner: &OwnerRecord,
        shards: &[Shard],
    ) -> Result<(), RecoverError> {
        self.check_meta().await?;
        let mut epochs = BTreeMap::new();
        for chunk in shards.chunks(SHARDS_PER_TXN) {
            let epoch = self.take_owner_keys(owner, chunk).await?;
            epochs.extend(chunk.iter().map(|shard| (*shard, epoch)));
        }
        for (shard, epoch) in &epochs {
            self.begin(*shard, Terms { epoch: *epoch, closed_since: None });
        }
        let prefix = match shards {
            [shard] => shard.counters(),
            _ => ALL_SHARDS.to_owned(),
        };
        let mut found: BTreeMap<Shard, Found> = BTreeMap::new();
        for (org, stored) in self.read(&prefix).await? {
            found.entry(shard_of(&org)).or_default().insert(org, stored);
        }
        for (shard, epoch) in epochs {
            self.serve(shard, epoch, found.remove(&shard).unwrap_or_default()).await;
        }
        Ok(())
    }

    /// From now on nothing of a shard's former epoch is used. False if this
    /// epoch is held already.
    pub(super) fn begin(&self, shard: Shard, terms: Terms) -> bool {
        let Some(former) = self.table.begin(shard, terms) else { return false };
        self.retire(&former);
        true
    }

    /// What is recorded under a prefix.
    pub(super) async fn read(&self, prefix: &str) -> Result<Found, RecoverError> {
        let mut found = Found::new();
        for present in self.store.range(prefix).await? {
            let Ok(Key::Counters { org, group }) = present.key.parse() else { continue };
            let record = GroupRecord::decode(&present.value)
                .map_err(|cause| RecoverError::Value { key: present.key, cause })?;
            let stored = Stored { revision: present.mod_revision, record };
            found.entry(org).or_default().push((group, stored));
        }
        Ok(found)
    }

    /// Builds a shard's ledgers, and only then lets requests in: one that came
    /// before would have found, or made, a ledger that knows of nothing. False
    /// if the shard was dropped or taken anew meanwhile.
    pub(super) async fn serve(&self, shard: Shard, epoch: u64, found: Found) -> bool {
        let mut open = UnitsByScope::default();
        for (group, stored) in found.values().flatten() {
            stored.record.counters.iter().for_each(|counter| open.add(group, counter.open));
        }
        let terms = Terms { epoch, ..self.table.terms(shard) };
        let orgs: Vec<OrgId> = found.keys().cloned().collect();
        let mut cells = Vec::with_capacity(found.len());
        for (org, stored) in found {
            cells.push(Cell::new(&org, self.ledger(&org, terms, stored)));
            if cells.len() % AT_ONCE == 0 {
                tokio::task::yield_now().await;
            }
        }
        let serves = self.table.serve(shard, epoch, cells);
        self.count_owned();
        // What was changed meanwhile takes effect, a record that is empty by
        // now is deleted, an open block written off.
        self.reconfigure_all(&orgs).await;
        if serves {
            self.metrics.recovered(open);
        }
        serves
    }

    /// The ledger of an org, with what is stored.
    pub(super) fn ledger(&self, org: &OrgId, terms: Terms, stored: Vec<(Group, Stored)>) -> Ledger {
        let (policy, catalogue) = (self.policies.policy(org), self.policies.catalogue());
        let (now, Terms { epoch, closed_since }) = (self.takeover_time(), terms);
        Ledger::closed_since(
            now,
            epoch,
            Arc::clone(&self.rules),
            policy,
            catalogue,
            stored,
            closed_since,
        )
    }

    /// The clocks for what is taken over.
    fn takeover_time(&self) -> Now {
        self.clock.now_for_takeover()
    }

    /// Finds out whether the store works: by a write that changes nothing, or,
    /// where others would be told of that, by reading what was written.
    pub async fn try_store(&self) {
        let key: String = Key::MetaStore.into();
        let answer = async {
            if self.is_shared() {
                return self.store.list(&key).await.map(drop);
            }
            let wall = Some(self.clock.now().wall);
            let then = vec![Write::Put(key, meta().encode())];
            self.store.txn(Txn { when: Vec::new(), then, wall }).await.map(drop)
        };
        let answer = timeout(STORE_TIMEOUT, answer).await;
        let unknown = |_| Err(StoreError::Unknown(format!("no answer within {STORE_TIMEOUT:?}")));
        self.note_store(&answer.unwrap_or_else(unknown));
    }

    /// Puts the owner keys of shards. Returns their epoch.
    async fn take_owner_keys(
        &self,
        owner: &OwnerRecord,
        shards: &[Shard],
    ) -> Result<u64, RecoverError> {
        let keys: Vec<String> = shards.iter().map(|s| Key::ShardOwner(*s).into()).collect();
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
                TxnOutcome::Done { revision } => return Ok(revision),
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
