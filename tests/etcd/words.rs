//! What the tests say often.

use std::time::Duration;

use quotagate::store::{
    Changed, EtcdOptions, EtcdStore, Sessions as _, Store, StoreError, Txn, TxnOutcome, Watched,
    Write,
};
use tokio::{
    sync::mpsc::Receiver,
    time::{sleep, timeout},
};

/// What does not come by then never comes.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A store that asks the members in this order.
pub fn store(members: impl IntoIterator<Item = String>) -> EtcdStore {
    let options = EtcdOptions {
        members: members.into_iter().collect(),
        prefix: "/test/".into(),
        ..EtcdOptions::default()
    };
    EtcdStore::new(options).expect("good members")
}

/// Sets a key.
pub async fn put(store: &EtcdStore, key: &str, value: &str) -> Result<TxnOutcome, StoreError> {
    let then = vec![Write::Put(key.into(), value.into())];
    store.txn(Txn { then, ..Txn::default() }).await
}

/// Sets a key as soon as that works.
pub async fn put_at_last(store: &EtcdStore, key: &str, value: &str) {
    let put = async {
        while put(store, key, value).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, put).await.expect("etcd works again");
}

/// Waits until every member is known to work.
pub async fn all_work(store: &EtcdStore) {
    let all_work = async {
        while format!("{store:?}").contains("Failed") {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, all_work).await.expect("every member works again");
}

/// A watch, after it has told what stands.
pub async fn watch(store: &EtcdStore) -> Receiver<Watched> {
    let mut watch = store.watch("");
    assert!(matches!(next(&mut watch).await, Watched::All(_)));
    watch
}

/// The next message.
pub async fn next(watch: &mut Receiver<Watched>) -> Watched {
    timeout(PATIENCE, watch.recv()).await.expect("it tells").expect("it goes on")
}

/// Puts in words; nothing else may come.
pub fn puts(told: &Watched) -> Vec<String> {
    let Watched::Changes(changes) = told else { panic!("changes are missing: {told:?}") };
    let word = |change: &Changed| match change {
        Changed::Put(entry) => {
            format!("{}={}", entry.key, String::from_utf8_lossy(&entry.value))
        }
        gone @ Changed::Deleted { .. } => panic!("{gone:?}"),
    };
    changes.iter().map(word).collect()
}
