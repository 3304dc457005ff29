//! The etcd in memory does what etcd does, where the contract of stores does not
//! look: pages of the past, the order of watches, compaction, leases.

#![cfg(feature = "server")]

#[path = "common/fake_etcd/mod.rs"]
mod fake_etcd;

use std::time::Duration;

use etcd_client::{
    Client, Compare, CompareOp, Error, EventType, GetOptions, PutOptions, Txn, TxnOp, WatchOptions,
};
use fake_etcd::FakeEtcd;

async fn start() -> (FakeEtcd, Client) {
    let etcd = FakeEtcd::new();
    let address = etcd.listen(1).await.unwrap();
    let client = Client::connect([address.to_string()], None).await.unwrap();
    (etcd, client)
}

#[tokio::test]
async fn pages_are_read_as_of_one_revision() {
    let (_etcd, mut client) = start().await;
    for key in ["k/1", "k/2", "k/3", "other"] {
        client.put(key, "old", None).await.unwrap();
    }
    let pages = GetOptions::new().with_range("k0").with_limit(2);
    let first = client.get("k/", Some(pages.clone())).await.unwrap();
    let revision = first.header().unwrap().revision();
    assert_eq!((first.kvs().len(), first.more(), first.count(), revision), (2, true, 3, 5));
    client.put("k/3", "new", None).await.unwrap();
    client.delete("k/2", None).await.unwrap();
    client.put("k/4", "new", None).await.unwrap();
    let rest = pages.with_revision(revision);
    let rest = client.get("k/2\0", Some(rest)).await.unwrap();
    let kv = &rest.kvs()[0];
    assert_eq!((kv.key(), kv.value(), kv.mod_revision()), (&b"k/3"[..], &b"old"[..], 4));
    assert_eq!((rest.kvs().len(), rest.more()), (1, false));
}

#[tokio::test]
async fn the_past_is_gone_after_a_compaction() {
    let (etcd, mut client) = start().await;
    for value in ["1", "2", "3"] {
        client.put("k", value, None).await.unwrap();
    }
    etcd.compact(3);
    for (revision, value) in [(2, None), (3, Some("2")), (4, Some("3")), (5, None)] {
        let options = GetOptions::new().with_revision(revision);
        let found = client.get("k", Some(options)).await;
        match (found, value) {
            (Ok(found), Some(value)) => assert_eq!(found.kvs()[0].value(), value.as_bytes()),
            (Err(Error::GRpcStatus(status)), None) => {
                assert_eq!(status.code(), tonic::Code::OutOfRange, "{status}");
            }
            (found, _) => panic!("{revision}: {found:?}"),
        }
    }
    let options = WatchOptions::new().with_start_revision(2);
    let mut watch = client.watch("k", Some(options)).await.unwrap();
    assert!(watch.message().await.unwrap().unwrap().created());
    let end = watch.message().await.unwrap().unwrap();
    assert_eq!((end.canceled(), end.compact_revision()), (true, 3));
}

#[tokio::test]
async fn a_watch_tells_every_change_in_order_and_those_of_a_revision_together() {
    let (_etcd, mut client) = start().await;
    client.put("k/1", "", None).await.unwrap();
    let options = WatchOptions::new().with_range("k0").with_start_revision(2);
    let mut watch = client.watch("k/", Some(options)).await.unwrap();
    let both = [TxnOp::put("k/2", "", None), TxnOp::delete("k/1", None), TxnOp::put("l", "", None)];
    client.txn(Txn::new().and_then(both)).await.unwrap();
    client.put("m", "", None).await.unwrap();
    client.put("k/3", "", None).await.unwrap();
    let mut told = Vec::new();
    while told.len() < 3 {
        let message = watch.message().await.unwrap().unwrap();
        let events: Vec<_> = message
            .events()
            .iter()
            .map(|event| {
                let (kv, is_put) = (event.kv().unwrap(), event.event_type() == EventType::Put);
                (kv.key_str().unwrap().to_owned(), is_put, kv.mod_revision())
            })
            .collect();
        if !events.is_empty() {
            told.push(events);
        }
    }
    let row = |key: &str, is_put, revision| (key.to_owned(), is_put, revision);
    assert_eq!(
        told,
        [
            vec![row("k/1", true, 2)],
            vec![row("k/2", true, 3), row("k/1", false, 3)],
            vec![row("k/3", true, 5)],
        ]
    );
}

#[tokio::test]
async fn a_transaction_that_cannot_be_carried_out_changes_nothing() {
    let (etcd, mut client) = start().await;
    let leased = PutOptions::new().with_lease(77);
    let too_many = (0..129).map(|n| TxnOp::put(format!("{n}"), "", None));
    for (what, operations, code) in [
        ("no such lease", vec![TxnOp::put("b", "", Some(leased))], tonic::Code::NotFound),
        (
            "a key twice",
            vec![TxnOp::put("b", "", None), TxnOp::put("b", "", None)],
            tonic::Code::InvalidArgument,
        ),
        ("too many", too_many.collect(), tonic::Code::InvalidArgument),
    ] {
        let txn = Txn::new().and_then([vec![TxnOp::put("a", "", None)], operations].concat());
        let Err(Error::GRpcStatus(status)) = client.txn(txn).await else { panic!("{what}") };
        assert_eq!((status.code(), etcd.revision()), (code, 1), "{what}");
    }
    let absent = Compare::create_revision("a", CompareOp::Equal, 0);
    let txn = Txn::new().when([absent]).and_then([TxnOp::put("a", "", None)]);
    assert!(client.txn(txn.clone()).await.unwrap().succeeded());
    assert!(!client.txn(txn).await.unwrap().succeeded());
    assert_eq!(etcd.revision(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_lease_ends_when_nobody_keeps_it_alive() {
    let (etcd, mut client) = start().await;
    let lease = client.lease_grant(3, None).await.unwrap().id();
    for key in ["a", "b"] {
        client.put(key, "", Some(PutOptions::new().with_lease(lease))).await.unwrap();
    }
    let (mut keeper, mut answers) = client.lease_keep_alive(lease).await.unwrap();
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        keeper.keep_alive().await.unwrap();
        assert_eq!(answers.message().await.unwrap().unwrap().ttl(), 3);
    }
    assert_eq!((etcd.dump().len(), etcd.revision()), (2, 3));
    tokio::time::sleep(Duration::from_millis(3_200)).await;
    // Its keys go in one revision.
    assert_eq!((etcd.dump().len(), etcd.revision()), (0, 4));
    keeper.keep_alive().await.unwrap();
    assert_eq!(answers.message().await.unwrap().unwrap().ttl(), 0);
}
