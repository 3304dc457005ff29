//! Members fail, and requests, leases and watches go on at the others.

use std::time::Duration;

use quotagate::store::{EtcdStore, Sessions as _, Store as _, StoreError};
use tokio::time::Instant;

use crate::{
    etcd::{Etcd, Which},
    words::{PATIENCE, all_work, next, put, put_at_last, puts, store, watch},
};

/// Three members and a store that asks one of them first.
struct World {
    etcd: Etcd,
    /// The member that is asked first.
    first: usize,
    store: EtcdStore,
}

/// Who is asked first.
#[derive(Clone, Copy)]
enum First {
    Leader,
    Follower,
}

impl World {
    fn new(first: First) -> Option<Self> {
        let etcd = Etcd::start(3, Which::Any)?;
        let leader = etcd.leader().expect("there is one");
        let first = match first {
            First::Leader => leader,
            First::Follower => (leader + 1) % 3,
        };
        let mut members = etcd.endpoints();
        members.rotate_left(first);
        Some(Self { etcd, first, store: store(members) })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_follower_is_not_noticed() {
    let Some(World { mut etcd, first, store }) = World::new(First::Follower) else { return };
    put(&store, "a", "0").await.expect("all members work");
    etcd.kill9(first);
    // The connection may break under the very first request: its fate is unknown.
    let _ = put(&store, "a", "1").await;
    for n in 0..100 {
        put(&store, "a", &n.to_string()).await.expect("another member takes it");
        store.list("").await.expect("another member answers");
    }
    etcd.restart(first);
    all_work(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_leader_is_followed_by_another() {
    let Some(World { mut etcd, first, store }) = World::new(First::Leader) else { return };
    put(&store, "a", "0").await.expect("all members work");
    etcd.kill9(first);
    put_at_last(&store, "a", "1").await;
    for n in 0..100 {
        put(&store, "a", &n.to_string()).await.expect("there is a leader");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_member_costs_one_request_and_not_each() {
    let Some(World { etcd, first, store }) = World::new(First::Follower) else { return };
    put(&store, "a", "0").await.expect("all members work");
    etcd.pause(first);
    let outcome = put(&store, "a", "1").await;
    assert!(matches!(outcome, Err(StoreError::Unknown(_))), "{outcome:?}");
    let start = Instant::now();
    for n in 0..100 {
        put(&store, "a", &n.to_string()).await.expect("others are asked first");
        store.list("").await.expect("others are asked first");
    }
    // Each would wait for a second.
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    etcd.resume(first);
    all_work(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_goes_on_where_a_member_is_silent() {
    let Some(World { etcd, first, store }) = World::new(First::Follower) else { return };
    put(&store, "a", "0").await.expect("all members work");
    etcd.pause(first);
    assert_eq!(store.list("").await.expect("the next member is asked").entries.len(), 1);
    etcd.resume(first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_kept_while_a_member_is_silent() {
    let Some(World { etcd, first, store }) = World::new(First::Follower) else { return };
    let ttl = Duration::from_secs(60);
    let lease = store.grant(ttl).await.expect("all members work");
    etcd.pause(first);
    for _ in 0..5 {
        let left = store.keep_alive(lease).await.expect("the second member answers");
        assert!(left > ttl / 2, "{left:?}");
    }
    etcd.resume(first);
    store.revoke(lease).await.expect("some member does it");
    assert_eq!(store.keep_alive(lease).await.expect("it is known"), Duration::ZERO);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_misses_nothing_and_repeats_nothing_when_its_member_dies_or_stops() {
    let Some(World { mut etcd, first, store }) = World::new(First::Follower) else { return };
    let mut watch = watch(&store).await;
    let mut told = Vec::new();
    let mut written = Vec::new();
    for n in 0..90 {
        match n {
            20 => etcd.kill9(first),
            40 => etcd.restart(first),
            60 => etcd.pause(first),
            _ => {}
        }
        put_at_last(&store, &format!("k{n:02}"), "").await;
        written.push(format!("k{n:02}="));
    }
    while told.last() != written.last() {
        told.extend(puts(&next(&mut watch).await));
    }
    // A put whose fate was unknown was written twice, perhaps.
    told.dedup();
    assert_eq!(told, written);
    etcd.resume(first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_everything_fails_soon_and_works_again_with_one() {
    let Some(World { mut etcd, first, store }) = World::new(First::Leader) else { return };
    let mut watch = watch(&store).await;
    put(&store, "a", "0").await.expect("all members work");
    assert_eq!(puts(&next(&mut watch).await), ["a=0"]);
    let others = [(first + 1) % 3, (first + 2) % 3];
    for other in others {
        etcd.kill9(other);
    }
    let start = Instant::now();
    for _ in 0..5 {
        put(&store, "b", "1").await.expect_err("there is no quorum");
        store.list("").await.expect_err("there is no quorum");
        store.grant(PATIENCE).await.expect_err("there is no quorum");
    }
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    for other in others {
        etcd.start_again(other);
    }
    put_at_last(&store, "c", "2").await;
    let mut told = Vec::new();
    while told.last().is_none_or(|last| last != "c=2") {
        told.extend(puts(&next(&mut watch).await));
    }
}
