//! What a transaction does to a table of keys: the one place that knows, for
//! every embedded store. No IO of its own, no locks.

use std::collections::HashSet;

use super::{Compare, KeyValue, StoreError, Txn, TxnOutcome, Write};

/// Keys and values that can be read and written one by one.
pub(super) trait Table {
    /// Why the table could not be read or written.
    type Error;

    /// What the key holds; `None` if it does not exist.
    fn get(&self, key: &str) -> Result<Option<KeyValue>, Self::Error>;

    /// Sets a key.
    fn put(&mut self, entry: KeyValue) -> Result<(), Self::Error>;

    /// Removes a key, if it exists. True if it did.
    fn remove(&mut self, key: &str) -> Result<bool, Self::Error>;
}

/// Refuses what no store carries out: a transaction that writes a key twice.
///
/// # Errors
/// [`StoreError::NotExecuted`], naming the key.
pub(super) fn check(txn: &Txn) -> Result<(), StoreError> {
    let mut written = HashSet::with_capacity(txn.then.len());
    match txn.then.iter().map(Write::key).find(|key| !written.insert(*key)) {
        Some(key) => {
            Err(StoreError::NotExecuted(format!("the transaction writes the key {key:?} twice")))
        }
        None => Ok(()),
    }
}

/// Evaluates the conditions against the table and, if all hold, applies the
/// writes. `revision` is the store's; it rises by one if a key changed.
///
/// # Errors
/// The table's. What was written before the error stands, and is the caller's
/// to undo.
pub(super) fn apply<T: Table>(
    table: &mut T,
    revision: &mut u64,
    txn: Txn,
) -> Result<TxnOutcome, T::Error> {
    let mut current = Vec::with_capacity(txn.when.len());
    let mut holds = true;
    for condition in &txn.when {
        let entry = table.get(condition.key())?;
        holds &= condition.holds(entry.as_ref());
        current.push(entry);
    }
    if !holds {
        return Ok(TxnOutcome::Conflict { current });
    }

    let next = *revision + 1;
    let mut changed = false;
    for write in txn.then {
        changed |= match write {
            Write::Put(key, value) | Write::PutLeased(key, value, _) => {
                let create_revision = table.get(&key)?.map_or(next, |old| old.create_revision);
                table.put(KeyValue { key, value, create_revision, mod_revision: next })?;
                true
            }
            Write::Delete(key) => table.remove(&key)?,
        };
    }
    if changed {
        *revision = next;
    }
    Ok(TxnOutcome::Done { revision: *revision })
}

impl Compare {
    pub(super) fn key(&self) -> &str {
        match self {
            Self::ModRevision(key, _) | Self::CreateRevision(key, _) => key,
        }
    }

    fn holds(&self, entry: Option<&KeyValue>) -> bool {
        match self {
            Self::ModRevision(_, wanted) => *wanted == entry.map_or(0, |entry| entry.mod_revision),
            Self::CreateRevision(_, wanted) => {
                *wanted == entry.map_or(0, |entry| entry.create_revision)
            }
        }
    }
}

impl Write {
    pub(super) fn key(&self) -> &str {
        match self {
            Self::Put(key, _) | Self::PutLeased(key, _, _) | Self::Delete(key) => key,
        }
    }
}
