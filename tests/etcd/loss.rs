//! What etcd has forgotten: by compaction, by loss of its data, or because it is
//! not there.

use std::net::TcpListener;

use etcd_client::Client;
use quotagate::store::{Sessions as _, Store as _, StoreError, Txn, Watched, Write};

use crate::{
    etcd::{Etcd, Which},
    words::{next, put, put_at_last, puts, store, watch},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_lists_again_what_was_compacted_while_it_was_cut_off() {
    let Some(mut etcd) = Etcd::start(3, Which::Any) else { return };
    let cut_off = etcd.endpoints().remove(0);
    let others = store(etcd.endpoints().split_off(1));
    put_at_last(&others, "a", "1").await;
    let mut watch = watch(&store([cut_off])).await;
    etcd.kill9(0);
    put_at_last(&others, "a", "2").await;
    put_at_last(&others, "b", "1").await;
    let now = others.list("").await.expect("two members work").revision;
    let mut client = Client::connect([&etcd.endpoints()[1]], None).await.expect("it works");
    client.compact(i64::try_from(now).expect("small"), None).await.expect("it compacts");
    etcd.restart(0);
    let Watched::All(listing) = next(&mut watch).await else { panic!("changes were missed") };
    let keys: Vec<_> = listing.entries.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!((keys, listing.revision), (vec!["a", "b"], now));
    put_at_last(&others, "c", "1").await;
    assert_eq!(puts(&next(&mut watch).await).last().map(String::as_str), Some("c=1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_made_anew_went_back_once_and_holds_then() {
    let Some(mut etcd) = Etcd::start(1, Which::Any) else { return };
    let store = store(etcd.endpoints());
    let mut watch = watch(&store).await;
    for n in 0..10 {
        put(&store, "a", &n.to_string()).await.expect("it works");
        assert_eq!(puts(&next(&mut watch).await), [format!("a={n}")]);
    }
    let seen = store.list("").await.expect("it works").revision;
    etcd.kill9(0);
    // The watch would be the first to notice.
    drop(watch);
    etcd.wipe(0);
    etcd.restart(0);
    let went_back = loop {
        match store.list("").await {
            Err(StoreError::NotExecuted(_)) => {}
            other => break other,
        }
    };
    let Err(StoreError::WentBack { seen: told, found }) = went_back else {
        panic!("{went_back:?}")
    };
    assert_eq!(told, seen);
    assert!(found < seen, "{found}");
    assert_eq!(store.list("").await.expect("the new history holds").entries, []);
    put(&store, "b", "1").await.expect("the new history holds");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_tells_all_of_an_etcd_made_anew() {
    let Some(mut etcd) = Etcd::start(1, Which::Any) else { return };
    let store = store(etcd.endpoints());
    for n in 0..10 {
        put(&store, "a", &n.to_string()).await.expect("it works");
    }
    let mut watch = watch(&store).await;
    etcd.kill9(0);
    etcd.wipe(0);
    etcd.restart(0);
    let Watched::All(listing) = next(&mut watch).await else { panic!("nothing is as it was") };
    assert_eq!(listing.entries, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_listens_nothing_is_executed_and_every_member_is_named() {
    let nobody = || {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("it is bound").to_string()
    };
    let members = [nobody(), nobody()];
    let store = store(members.clone());
    let errors = [
        put(&store, "a", "1").await.expect_err("nobody listens"),
        store.list("").await.expect_err("nobody listens"),
        store.grant(std::time::Duration::from_secs(10)).await.expect_err("nobody listens"),
    ];
    for error in errors {
        assert!(matches!(error, StoreError::NotExecuted(_)), "{error:?}");
        for member in &members {
            assert!(error.to_string().contains(member), "{error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_keys_are_listed_as_of_one_revision() {
    const TXNS: usize = 1000;
    const KEYS: usize = 100;
    let Some(etcd) = Etcd::start(1, Which::Any) else { return };
    let store = std::sync::Arc::new(store(etcd.endpoints()));
    for txn in 0..TXNS {
        let key = |n| format!("k/{:06}", txn * KEYS + n);
        let then = (0..KEYS).map(|n| Write::Put(key(n), vec![0; 100])).collect();
        store.txn(Txn { then, ..Txn::default() }).await.expect("it works");
    }
    // Meanwhile somebody adds a key to each end.
    let writer = tokio::spawn({
        let store = std::sync::Arc::clone(&store);
        async move {
            for n in 0.. {
                let ends = ["k/", "k/~"].map(|end| Write::Put(format!("{end}{n}"), vec![]));
                let then = ends.to_vec();
                store.txn(Txn { then, ..Txn::default() }).await.expect("it works");
            }
        }
    });
    let listing = store.list("k/").await.expect("it works");
    writer.abort();
    let (ends, keys): (Vec<_>, Vec<_>) =
        listing.entries.iter().partition(|entry| entry.value.is_empty());
    assert_eq!(keys.len(), TXNS * KEYS);
    assert_eq!(ends.len() % 2, 0, "half a transaction is seen");
    assert!(listing.entries.is_sorted_by(|one, next| one.key < next.key));
    assert!(listing.entries.iter().all(|entry| entry.mod_revision <= listing.revision));
}
