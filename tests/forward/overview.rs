//! All orgs of the cluster in one list, at every edge; and what would have been.

use std::time::Duration;

use quotagate::proto::{
    admin::v1 as admin,
    v1::{self, Severity},
};

use crate::world::{TestNode, World, ask};

async fn list(edge: &TestNode) -> v1::ListUsageResponse {
    let request = v1::ListUsageRequest::default();
    edge.quota.clone().list_usage(request).await.expect("it is listed").into_inner()
}

/// What is listed once it is as wanted: a list is shown for a second.
async fn listed(
    edge: &TestNode,
    wanted: impl Fn(&v1::ListUsageResponse) -> bool,
) -> v1::ListUsageResponse {
    let mut last = list(edge).await;
    for _ in 0..300 {
        if wanted(&last) {
            return last;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        last = list(edge).await;
    }
    panic!("{}: never: {last:?}", edge.name);
}

fn own(list: &v1::ListUsageResponse, org: &str) -> Option<u64> {
    let line = list.orgs.iter().find(|line| line.org == org)?;
    Some(line.total.as_ref()?.used_by_caller)
}

#[tokio::test]
async fn every_edge_lists_the_orgs_of_all_nodes() {
    let world = World::pair().await;
    let [a, b] = &world.nodes[..] else { unreachable!() };
    a.permit(v1::AcquireRequest { calls: 7, ..ask("rest") }).await;
    a.permit(v1::AcquireRequest { org: "other".into(), ..ask("rest") }).await;
    for edge in [a, b] {
        let list = listed(edge, |list| own(list, "acme") == Some(7)).await;
        let names: Vec<&str> = list.orgs.iter().map(|line| line.org.as_str()).collect();
        assert_eq!(own(&list, "other"), Some(1), "{}: {names:?}", edge.name);
        assert_eq!((list.total_size, list.unknown), (2, 0), "{}", edge.name);
        assert!(list.silent_nodes.is_empty(), "{:?}", list.silent_nodes);
    }
}

#[tokio::test]
async fn orgs_of_a_node_that_does_not_answer_are_unknown_and_not_unused() {
    let mut world = World::start(&[None, None]).await;
    // Nobody listens where the others believe b to be.
    let nowhere = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    world.nodes[1].known_as = nowhere.local_addr().expect("an address");
    drop(nowhere);
    world.owned_by(1);
    let [a, b] = &world.nodes[..] else { unreachable!() };
    b.permit(ask("rest")).await;
    let list = listed(a, |list| list.unknown == 1).await;
    let [acme] = &list.orgs[..] else { panic!("one is declared: {list:?}") };
    assert_eq!((acme.severity(), acme.total.is_some()), (Severity::Unknown, false));
    assert!(acme.trouble.contains("does not answer"), "{acme:?}");
    let [silent] = &list.silent_nodes[..] else { panic!("one: {list:?}") };
    assert_eq!(silent.node, "b");
    assert!(!silent.reason.is_empty());
    // Its own list is whole: it asks a, which has nothing.
    let list = listed(b, |list| own(list, "acme") == Some(1)).await;
    assert_eq!((list.unknown, list.silent_nodes.len()), (0, 0));
}

#[tokio::test]
async fn what_would_have_been_is_asked_of_the_owner() {
    let world = World::pair().await;
    let [a, _] = &world.nodes[..] else { unreachable!() };
    a.permit(v1::AcquireRequest { calls: 40, ..ask("rest") }).await;
    let edited = |daily_calls| {
        let org = admin::Org { id: "acme".into(), daily_calls, ..Default::default() };
        admin::ReplayDemandRequest { org: Some(org) }
    };
    let answer = a.admin.clone().replay_demand(edited(30)).await.expect("it is replayed");
    assert_eq!(answer.metadata().get("quotagate-owner").expect("an owner"), &{
        world.nodes[1].address.to_string()
    });
    let answer = answer.into_inner();
    let total = |replay: &Option<admin::Replay>| {
        let total = replay.as_ref().and_then(|replay| replay.total).expect("its total");
        (total.asked, total.granted, total.refused_by_org)
    };
    assert_eq!(total(&answer.in_force), (40, 40, 0));
    // 5 % of 30 are kept for others, and what is granted of the first day leaves
    // when the second asks.
    let (asked, granted, refused) = total(&answer.edited);
    assert_eq!((asked, granted + refused), (40, 40));
    assert!((28..=30).contains(&granted), "{granted}");
    let faulty = a.admin.clone().replay_demand(edited(u64::MAX)).await;
    assert_eq!(faulty.expect_err("too many").code(), tonic::Code::InvalidArgument);
}
