//! The promises of `trait Sessions`, in memory and on each version of etcd: what
//! the processes that share a store learn of each other.

use std::{sync::Arc, time::Duration};

use quotagate::store::{
    Changed, LeaseId, MemoryStore, Sessions, SharedStore, StoreError, Watched, Write,
};
use tokio::{sync::mpsc::Receiver, time::timeout};

use crate::{
    Fake,
    etcd::{Etcd, Which},
    open,
    words::{delete, get, put, show, txn, write},
};

/// What does not come by then never comes.
const PATIENCE: Duration = Duration::from_secs(30);

/// The shortest lease of etcd.
const SHORT: Duration = Duration::from_secs(2);

/// Long enough for any test.
const LONG: Duration = Duration::from_secs(600);

/// Runs each promise on two stores that know nothing of each other, of every
/// kind.
macro_rules! every_store_keeps {
    ($($promise:ident,)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $promise() {
            let memory = || -> SharedStore { Arc::new(MemoryStore::new()) };
            promises::$promise(&memory(), &memory()).await;
            let fake = Fake::start().await;
            promises::$promise(&fake.open("here"), &fake.open("there")).await;
            for which in [Which::Current, Which::Packaged] {
                let Some(etcd) = Etcd::start(1, which) else { continue };
                promises::$promise(&open(&etcd, "here"), &open(&etcd, "there")).await;
            }
        })*
    };
}

every_store_keeps! {
    keys_go_with_their_lease_and_a_watch_tells,
    a_lease_that_is_kept_alive_keeps_its_keys,
    a_revoked_lease_is_gone_at_once,
    nothing_is_put_under_a_lease_that_is_gone,
    a_watch_tells_what_stands_and_then_each_change_in_order,
    the_changes_of_a_transaction_come_together,
    a_watch_sees_its_prefix_only,
    a_thousand_changes_reach_a_slow_listener,
}

mod promises {
    use super::*;

    pub async fn keys_go_with_their_lease_and_a_watch_tells(store: &SharedStore, _: &SharedStore) {
        let mut watch = sessions(store).watch("k/");
        assert_eq!(next(&mut watch).await, ["all"]);
        let lease = sessions(store).grant(SHORT).await.unwrap();
        write(&**store, [leased("k/a", lease), put("k/b", "")]).await;
        assert_eq!(next(&mut watch).await, ["k/a=", "k/b="]);
        assert_eq!(next(&mut watch).await, ["k/a gone"]);
        assert_eq!(get(&**store, "k/a").await, None);
        assert!(get(&**store, "k/b").await.is_some());
        let left = sessions(store).keep_alive(lease).await.unwrap();
        assert_eq!(left, Duration::ZERO, "it is gone for ever");
    }

    pub async fn a_lease_that_is_kept_alive_keeps_its_keys(store: &SharedStore, _: &SharedStore) {
        let (kept, left) = (sessions(store).grant(SHORT).await, sessions(store).grant(SHORT).await);
        let (kept, left) = (kept.unwrap(), left.unwrap());
        write(&**store, [leased("kept", kept), leased("left", left)]).await;
        let mut watch = sessions(store).watch("left");
        assert_eq!(next(&mut watch).await, ["all", "left="]);
        // Two leases of the same length: one is over before the other would be
        // for the second time.
        let keep = async {
            loop {
                let left = sessions(store).keep_alive(kept).await.unwrap();
                assert!(!left.is_zero() && left <= SHORT + SHORT, "{left:?}");
                tokio::time::sleep(SHORT / 4).await;
            }
        };
        tokio::select! {
            () = keep => {}
            told = next(&mut watch) => assert_eq!(told, ["left gone"]),
        }
        assert!(get(&**store, "kept").await.is_some());
    }

    pub async fn a_revoked_lease_is_gone_at_once(store: &SharedStore, _: &SharedStore) {
        let lease = sessions(store).grant(LONG).await.unwrap();
        write(&**store, [leased("a", lease)]).await;
        assert!(sessions(store).keep_alive(lease).await.unwrap() >= LONG / 2);
        for _ in 0..2 {
            // For the second time, it is gone already.
            sessions(store).revoke(lease).await.unwrap();
            assert_eq!(get(&**store, "a").await, None);
            assert_eq!(sessions(store).keep_alive(lease).await.unwrap(), Duration::ZERO);
        }
    }

    pub async fn nothing_is_put_under_a_lease_that_is_gone(store: &SharedStore, _: &SharedStore) {
        let lease = sessions(store).grant(LONG).await.unwrap();
        sessions(store).revoke(lease).await.unwrap();
        for gone in [lease, LeaseId(4711)] {
            let outcome = store.txn(txn([], [put("b", ""), leased("a", gone)])).await;
            assert!(matches!(outcome, Err(StoreError::NotExecuted(_))), "{outcome:?}");
            assert_eq!(store.range("").await.unwrap(), []);
        }
    }

    pub async fn a_watch_tells_what_stands_and_then_each_change_in_order(
        store: &SharedStore,
        _: &SharedStore,
    ) {
        write(&**store, [put("k/b", "1"), put("k/a", "1")]).await;
        let mut watch = sessions(store).watch("k/");
        assert_eq!(next(&mut watch).await, ["all", "k/a=1", "k/b=1"]);
        write(&**store, [put("k/a", "2")]).await;
        write(&**store, [delete("k/b")]).await;
        write(&**store, [put("k/b", "3")]).await;
        assert_eq!(several(&mut watch, 3).await, ["k/a=2", "k/b gone", "k/b=3"]);
    }

    pub async fn the_changes_of_a_transaction_come_together(store: &SharedStore, _: &SharedStore) {
        let mut watch = sessions(store).watch("");
        assert_eq!(next(&mut watch).await, ["all"]);
        // Nearly as large as etcd takes.
        let large = "x".repeat(700 << 10);
        for n in 0..3 {
            write(&**store, [put("a", &large), put("b", &large), put("c", &n.to_string())]).await;
            let Some(Watched::Changes(changes)) = watch.recv().await else { panic!() };
            let keys: Vec<_> = changes.iter().map(key).collect();
            assert_eq!(keys, ["a", "b", "c"]);
        }
    }

    pub async fn a_watch_sees_its_prefix_only(store: &SharedStore, other: &SharedStore) {
        write(&**other, [put("k/other", "")]).await;
        let mut watch = sessions(store).watch("k/");
        assert_eq!(next(&mut watch).await, ["all"]);
        write(&**other, [put("k/a", "")]).await;
        write(&**store, [put("k", ""), put("k0", ""), put("l", "")]).await;
        write(&**store, [put("k/a", "")]).await;
        assert_eq!(next(&mut watch).await, ["k/a="]);
    }

    pub async fn a_thousand_changes_reach_a_slow_listener(store: &SharedStore, _: &SharedStore) {
        let mut watch = sessions(store).watch("");
        assert_eq!(next(&mut watch).await, ["all"]);
        for n in 0..1000 {
            write(&**store, [put("a", &n.to_string())]).await;
        }
        let expected: Vec<_> = (0..1000).map(|n| format!("a={n}")).collect();
        assert_eq!(several(&mut watch, expected.len()).await, expected);
    }
}

fn sessions(store: &SharedStore) -> &dyn Sessions {
    store.sessions().expect("it is shared")
}

fn leased(key: &str, lease: LeaseId) -> Write {
    Write::PutLeased(key.into(), Vec::new(), lease)
}

fn key(change: &Changed) -> &str {
    match change {
        Changed::Put(entry) => &entry.key,
        Changed::Deleted { key, .. } => key,
    }
}

/// The next message in words, without revisions.
async fn next(watch: &mut Receiver<Watched>) -> Vec<String> {
    let word = |entry| show(entry).split('@').next().unwrap_or_default().to_owned();
    match timeout(PATIENCE, watch.recv()).await.expect("it tells").expect("it goes on") {
        Watched::All(listing) => {
            ["all".to_owned()].into_iter().chain(listing.entries.iter().map(word)).collect()
        }
        Watched::Changes(changes) => changes
            .iter()
            .map(|change| match change {
                Changed::Put(entry) => word(entry),
                Changed::Deleted { key, .. } => format!("{key} gone"),
            })
            .collect(),
    }
}

/// So many changes, in however many messages.
async fn several(watch: &mut Receiver<Watched>, count: usize) -> Vec<String> {
    let mut changes = Vec::new();
    while changes.len() < count {
        changes.extend(next(watch).await);
    }
    changes
}
