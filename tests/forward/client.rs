//! Our own client, which goes to the owner directly where it can.

use quotagate::{client::Client, proto::v1::acquire_response::Outcome};

use crate::world::{TestNode, World, answered, ask, listen};

/// Asks until a request did not come through this edge.
async fn until_direct(client: &Client, edge: &TestNode) {
    loop {
        let before = edge.forwarded("answered");
        client.acquire(ask("rest")).await.expect("it is decided");
        if edge.forwarded("answered") == before {
            return;
        }
    }
}

#[tokio::test]
async fn a_client_goes_to_the_owner_that_an_answer_has_named() {
    let world = World::pair().await;
    let [a, b] = &world.nodes[..] else { unreachable!() };
    let client = Client::connect(&a.address.to_string()).await.expect("it listens");
    until_direct(&client, a).await;
    let before = a.forwarded("answered");
    let answer = client.acquire(ask("rest")).await.expect("it is decided");
    let Some(Outcome::Permit(permit)) = answer.outcome else { panic!("{answer:?}") };
    let report = client.report(answered(&permit)).await.expect("it is taken");
    assert!(!report.already_settled);
    assert_eq!(a.forwarded("answered"), before, "a permit's name tells its org");

    // The owner is another one: the old one sends the request on, and its answer
    // names the new one, which is the configured server.
    world.owned_by(0);
    client.acquire(ask("rest")).await.expect("it is decided");
    let before = b.forwarded("answered");
    assert_eq!(before, 1);
    client.acquire(ask("rest")).await.expect("it is decided");
    assert_eq!(b.forwarded("answered"), before);
}

#[tokio::test]
async fn an_owner_that_the_client_cannot_reach_does_no_harm() {
    let mut world = World::start(&[None, None]).await;
    world.nodes[1].told_as = listen().await.local_addr().expect("an address");
    world.owned_by(1);
    let [a, _] = &world.nodes[..] else { unreachable!() };
    let client = Client::connect(&a.address.to_string()).await.expect("it listens");
    for asked in 1..=20 {
        client.acquire(ask("rest")).await.expect("it is decided");
        assert_eq!(a.forwarded("answered"), asked);
    }
}
