//! Orgs that move while somebody waits or watches.

use quotagate::proto::v1;
use tonic::{Code, Streaming};

use crate::world::{Proxy, TestNode, World, answered, ask, check_error, granted, owner, waiting};

async fn watch(node: &TestNode) -> (Streaming<v1::WatchUsageResponse>, String) {
    let request = v1::WatchUsageRequest { org: "acme".into() };
    let answer = node.quota.clone().watch_usage(request).await.expect("it is watched");
    let owner = owner(&answer);
    (answer.into_inner(), owner)
}

async fn next(events: &mut Streaming<v1::WatchUsageResponse>) -> v1::WatchUsageResponse {
    events.message().await.expect("no error").expect("it goes on")
}

/// Reads events until one is a snapshot, and gives its permits out.
async fn snapshot(events: &mut Streaming<v1::WatchUsageResponse>) -> u32 {
    loop {
        let event = next(events).await;
        if event.snapshot {
            return event.usage.expect("the usage").permits_out;
        }
    }
}

#[tokio::test]
async fn a_waiting_request_follows_the_org_when_it_moves() {
    for first in [0, 1] {
        let world = World::start(&[None, None, None]).await;
        let [a, _, c] = &world.nodes[..] else { unreachable!() };
        world.owned_by(first);
        let old = &world.nodes[first];
        old.permit(ask("rest.long")).await;
        let asked = a.park(waiting("rest.long"));
        old.until_waiting(1).await;
        // At the new owner it has to wait, too.
        world.owned_by(2);
        let slot = c.permit(ask("rest.long")).await;
        old.shards.stop_granting();
        c.until_waiting(1).await;
        assert!(!asked.is_finished());
        c.quota.clone().report(answered(&slot)).await.expect("it is taken");
        granted(asked).await;
    }
}

#[tokio::test]
async fn a_waiting_request_is_asked_again_when_the_way_to_the_owner_breaks() {
    let mut world = World::start(&[None, None, None]).await;
    let proxy = Proxy::before(world.nodes[1].peer_address).await;
    world.nodes[1].known_as = proxy.address;
    let [a, b, c] = &world.nodes[..] else { unreachable!() };
    world.owned_by(1);
    b.permit(ask("rest.long")).await;
    let asked = a.park(waiting("rest.long"));
    b.until_waiting(1).await;
    world.owned_by(2);
    assert!(!asked.is_finished(), "it still waits at its old owner");
    proxy.cut();
    granted(asked).await;
    assert_eq!(a.forwarded("lost"), 1);
    assert_eq!(c.usage().await.permits_out, 1);
}

#[tokio::test]
async fn a_watch_follows_the_org_and_begins_anew_with_a_snapshot() {
    let world = World::start(&[None, None, None]).await;
    let [a, b, c] = &world.nodes[..] else { unreachable!() };
    world.owned_by(1);
    b.permit(ask("rest")).await;
    let (mut events, decided_by) = watch(a).await;
    assert_eq!(decided_by, b.address.to_string());
    assert_eq!(snapshot(&mut events).await, 1);
    // To a third node, then here, then away again.
    for (to, permits) in [(2, 2), (0, 3), (1, 1)] {
        let new = &world.nodes[to];
        world.owned_by(to);
        while new.usage().await.permits_out < permits {
            new.permit(ask("rest")).await;
        }
        let seen = snapshot(&mut events).await;
        assert!(seen <= permits, "{seen} at node {to}");
        if seen < permits {
            // The rest comes as a change.
            while next(&mut events).await.usage.expect("the usage").permits_out != permits {}
        }
    }
    drop(events);
    assert_eq!(c.usage().await.permits_out, 1);
}

#[tokio::test]
async fn a_watch_outlives_a_broken_connection_and_a_time_without_an_owner() {
    let mut world = World::start(&[None, None]).await;
    let proxy = Proxy::before(world.nodes[1].peer_address).await;
    world.nodes[1].known_as = proxy.address;
    let [a, b] = &world.nodes[..] else { unreachable!() };
    world.owned_by(1);
    b.permit(ask("rest")).await;
    let (mut events, _) = watch(a).await;
    assert_eq!(snapshot(&mut events).await, 1);
    proxy.cut();
    assert_eq!(snapshot(&mut events).await, 1);
    b.serves(false);
    world.draw(None);
    // Longer than a single search for an owner.
    check_error(a.acquire(ask("rest")).await, Code::Unavailable, "NO_OWNER");
    check_error(a.acquire(ask("rest")).await, Code::Unavailable, "NO_OWNER");
    world.owned_by(1);
    assert_eq!(snapshot(&mut events).await, 1);
}

#[tokio::test]
async fn a_node_that_stops_ends_its_streams_and_sends_those_who_wait_to_another_one() {
    let world = World::pair().await;
    let [a, b] = &world.nodes[..] else { unreachable!() };
    b.permit(ask("rest.long")).await;
    let (mut events, _) = watch(a).await;
    next(&mut events).await;
    let asked = a.park(waiting("rest.long"));
    b.until_waiting(1).await;
    a.forward.stop();
    check_error(asked.await.expect("no panic"), Code::Unavailable, "STOPPING");
    while events.message().await.expect("no error").is_some() {}
    // What does not wait is still decided.
    a.permit(ask("rest")).await;
}
