//! The store that forgets at exit.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fmt,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use super::{
    KeyValue, Listing, Sessions, Store, StoreError, Txn, TxnOutcome,
    apply::{self, Table},
};

mod sessions;

use self::sessions::{Leases, Watchers};

/// A store in this process's memory. What it calls durable lasts as long as the
/// process. It ignores [`Txn::wall`]: it has no life after this one.
///
/// Several nodes of one process can share it as they would share etcd: its
/// leases end by the runtime's clock.
#[derive(Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    revision: u64,
    entries: BTreeMap<String, KeyValue>,
    leases: Leases,
    watchers: Watchers,
}

impl MemoryStore {
    /// An empty store, at revision 0.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // A panic under the lock could only come from a failed allocation, before
    // anything was changed: what is there is whole.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Store for MemoryStore {
    fn kind(&self) -> &'static str {
        "memory"
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        let mut state = self.state();
        state.end_leases();
        Ok(state.list(prefix))
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        apply::check(&txn)?;
        let mut state = self.state();
        state.end_leases();
        state.txn(txn)
    }

    fn sessions(&self) -> Option<&dyn Sessions> {
        Some(self)
    }
}

impl State {
    fn list(&self, prefix: &str) -> Listing {
        let from = self.entries.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        let entries = from
            .map(|(_, entry)| entry)
            .take_while(|entry| entry.key.starts_with(prefix))
            .cloned()
            .collect();
        Listing { revision: self.revision, entries }
    }

    fn txn(&mut self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        if let Some(gone) = self.leases.missing(&txn) {
            // What stands in the way is said first, as etcd does.
            let conditions = Txn { then: Vec::new(), ..txn };
            let Ok(outcome) = apply::apply(&mut self.entries, &mut self.revision, conditions);
            return match outcome {
                TxnOutcome::Done { .. } => {
                    Err(StoreError::NotExecuted(format!("the lease {} is gone", gone.0)))
                }
                conflict @ TxnOutcome::Conflict { .. } => Ok(conflict),
            };
        }
        let followed = self.followed(&txn);
        let Ok(outcome) = apply::apply(&mut self.entries, &mut self.revision, txn);
        if let TxnOutcome::Done { .. } = outcome {
            self.follow(followed);
        }
        Ok(outcome)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("MemoryStore")
            .field("revision", &state.revision)
            .field("keys", &state.entries.len())
            .finish()
    }
}

impl Table for BTreeMap<String, KeyValue> {
    type Error = Infallible;

    fn get(&self, key: &str) -> Result<Option<KeyValue>, Infallible> {
        Ok(BTreeMap::get(self, key).cloned())
    }

    fn put(&mut self, entry: KeyValue) -> Result<(), Infallible> {
        self.insert(entry.key.clone(), entry);
        Ok(())
    }

    fn remove(&mut self, key: &str) -> Result<bool, Infallible> {
        Ok(BTreeMap::remove(self, key).is_some())
    }
}
