//! The store that forgets at exit.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fmt,
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use super::{
    KeyValue, Listing, Store, StoreError, Txn, TxnOutcome,
    apply::{self, Table},
};

/// A store in this process's memory. What it calls durable lasts as long as the
/// process. It ignores [`Txn::wall`]: it has no life after this one.
#[derive(Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    revision: u64,
    entries: BTreeMap<String, KeyValue>,
}

impl MemoryStore {
    /// An empty store, at revision 0.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic under the lock could only come from a failed allocation,
        // before anything was changed: what is there is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn kind(&self) -> &'static str {
        "memory"
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        let state = self.state();
        let from = state.entries.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        let entries = from
            .map(|(_, entry)| entry)
            .take_while(|entry| entry.key.starts_with(prefix))
            .cloned()
            .collect();
        Ok(Listing { revision: state.revision, entries })
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        apply::check(&txn)?;
        let State { revision, entries } = &mut *self.state();
        let Ok(outcome) = apply::apply(entries, revision, txn);
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
