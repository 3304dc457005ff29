//! Random transactions on every store, against a list that is searched from the
//! front.

use std::sync::Arc;

use proptest::{collection::vec, prelude::*};
use quotagate::store::{Compare, FileStore, KeyValue, MemoryStore, Store, Txn, TxnOutcome, Write};

use crate::words::txn;

/// Every key and value in order of writing; the last entry of a key counts, and
/// a value of `None` is a deletion. Slow, and too simple to be wrong.
#[derive(Default)]
struct History {
    revision: u64,
    writes: Vec<(u64, String, Option<Vec<u8>>)>,
}

impl History {
    fn get(&self, wanted: &str) -> Option<KeyValue> {
        let life = self.writes.iter().filter(|(_, key, _)| key == wanted);
        let life: Vec<_> = life.collect();
        let start = life.iter().rposition(|(_, _, value)| value.is_none()).map_or(0, |at| at + 1);
        let (first, last) = (life.get(start)?, life.last()?);
        Some(KeyValue {
            key: wanted.into(),
            value: last.2.clone()?,
            create_revision: first.0,
            mod_revision: last.0,
        })
    }

    fn txn(&mut self, txn: &Txn) -> TxnOutcome {
        let current: Vec<_> = txn
            .when
            .iter()
            .map(|condition| match condition {
                Compare::ModRevision(key, _) | Compare::CreateRevision(key, _) => self.get(key),
            })
            .collect();
        let holds = txn.when.iter().zip(&current).all(|(condition, entry)| match condition {
            Compare::ModRevision(_, revision) => {
                entry.as_ref().map_or(0, |entry| entry.mod_revision) == *revision
            }
            Compare::CreateRevision(_, revision) => {
                entry.as_ref().map_or(0, |entry| entry.create_revision) == *revision
            }
        });
        if !holds {
            return TxnOutcome::Conflict { current };
        }
        let next = self.revision + 1;
        for write in &txn.then {
            match write {
                Write::Put(key, value) | Write::PutLeased(key, value, _) => {
                    self.writes.push((next, key.clone(), Some(value.clone())));
                    self.revision = next;
                }
                Write::Delete(key) if self.get(key).is_some() => {
                    self.writes.push((next, key.clone(), None));
                    self.revision = next;
                }
                Write::Delete(_) => {}
            }
        }
        TxnOutcome::Done { revision: self.revision }
    }
}

/// A transaction on five keys; its conditions name what stands, one time in
/// five something else.
#[derive(Clone, Debug)]
struct Step {
    when: Vec<(u8, bool, u8)>,
    then: Vec<(u8, Option<u8>)>,
}

fn steps(at_most: usize) -> impl Strategy<Value = Vec<Step>> {
    let when = vec((0..5_u8, any::<bool>(), 0..5_u8), 0..3);
    let then = vec((0..5_u8, proptest::option::weighted(0.7, any::<u8>())), 0..4);
    vec((when, then).prop_map(|(when, then)| Step { when, then }), 1..at_most)
}

impl Step {
    fn txn(&self, history: &History) -> Txn {
        let name = |key: u8| format!("k{key}");
        let when: Vec<_> = self
            .when
            .iter()
            .map(|&(key, created, luck)| {
                let entry = history.get(&name(key));
                let miss = u64::from(luck == 0);
                if created {
                    let revision = entry.map_or(0, |entry| entry.create_revision);
                    Compare::CreateRevision(name(key), revision + miss)
                } else {
                    let revision = entry.map_or(0, |entry| entry.mod_revision);
                    Compare::ModRevision(name(key), revision + miss)
                }
            })
            .collect();
        let mut then: Vec<Write> = Vec::new();
        let mut written = [false; 5];
        for &(key, value) in &self.then {
            if !std::mem::replace(&mut written[usize::from(key)], true) {
                then.push(match value {
                    Some(byte) => Write::Put(name(key), vec![byte]),
                    None => Write::Delete(name(key)),
                });
            }
        }
        txn(when, then)
    }
}

async fn follow(store: &dyn Store, history: &mut History, steps: &[Step]) {
    for step in steps {
        let txn = step.txn(history);
        assert_eq!(store.txn(txn.clone()).await.unwrap(), history.txn(&txn), "{txn:?}");
        compare(store, history).await;
    }
}

async fn compare(store: &dyn Store, history: &History) {
    let expected: Vec<_> = (0..5).filter_map(|key| history.get(&format!("k{key}"))).collect();
    assert_eq!(store.range("").await.unwrap(), expected);
}

fn block_on(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn the_memory_store_does_what_the_list_does(steps in steps(40)) {
        block_on(async {
            follow(&MemoryStore::new(), &mut History::default(), &steps).await;
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(12) })]

    #[test]
    fn the_file_store_does_what_the_list_does_and_after_reopening(lives in vec(steps(12), 1..4)) {
        block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let mut history = History::default();
            for steps in &lives {
                let store = Arc::new(FileStore::open(dir.path()).unwrap());
                compare(&*store, &history).await;
                follow(&*store, &mut history, steps).await;
            }
        });
    }
}
