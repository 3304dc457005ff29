//! Transactions that read as prose.

use quotagate::store::{Compare, KeyValue, SharedStore, Store, Txn, TxnOutcome, Write};

pub fn put(key: &str, value: &str) -> Write {
    Write::Put(key.into(), value.into())
}

pub fn delete(key: &str) -> Write {
    Write::Delete(key.into())
}

pub fn modified_at(key: &str, revision: u64) -> Compare {
    Compare::ModRevision(key.into(), revision)
}

pub fn created_at(key: &str, revision: u64) -> Compare {
    Compare::CreateRevision(key.into(), revision)
}

pub fn absent(key: &str) -> Compare {
    created_at(key, 0)
}

pub fn txn(when: impl Into<Vec<Compare>>, then: impl Into<Vec<Write>>) -> Txn {
    Txn { when: when.into(), then: then.into(), wall: None }
}

/// Writes, whatever stands; answers with the revision.
pub async fn write(store: &dyn Store, then: impl Into<Vec<Write>>) -> u64 {
    match store.txn(txn([], then)).await.unwrap() {
        TxnOutcome::Done { revision } => revision,
        conflict @ TxnOutcome::Conflict { .. } => panic!("{conflict:?} without a condition"),
    }
}

/// One key.
pub async fn get(store: &dyn Store, key: &str) -> Option<KeyValue> {
    store.range(key).await.unwrap().into_iter().find(|entry| entry.key == key)
}

/// Everything, as `key=value@create/mod`.
pub async fn dump(store: &dyn Store) -> Vec<String> {
    store.range("").await.unwrap().iter().map(show).collect()
}

pub fn show(entry: &KeyValue) -> String {
    let KeyValue { key, value, create_revision, mod_revision } = entry;
    format!("{key}={}@{create_revision}/{mod_revision}", String::from_utf8_lossy(value))
}

/// Carries out transactions that are all handed over before any is answered, in
/// this order. Needs a runtime of one thread to keep the order.
pub async fn together(store: &SharedStore, txns: Vec<Txn>) -> Vec<TxnOutcome> {
    let tasks: Vec<_> = txns
        .into_iter()
        .map(|txn| {
            let store = store.clone();
            tokio::spawn(async move { store.txn(txn).await.unwrap() })
        })
        .collect();
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.await.unwrap());
    }
    outcomes
}
