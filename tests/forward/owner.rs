//! Requests that come to a node which is not the owner.

use std::time::Duration;

use quotagate::{
    proto::{
        admin::v1 as admin,
        peer::v1::{self as peer, peer_service_client::PeerServiceClient},
        v1::{self, DenialReason, acquire_response::Outcome},
    },
    store::{keys::SHARDS, records::GenerationRecord},
};
use tokio::time::Instant;
use tonic::{Code, Request};

use crate::world::{World, answered, ask, check_error, granted, owner, ttl, waiting};

#[tokio::test]
async fn a_request_is_decided_by_the_owner_wherever_it_comes() {
    let world = World::pair().await;
    let [a, b] = &world.nodes[..] else { unreachable!() };
    for edge in [a, b] {
        let asked = Instant::now();
        let (outcome, decided_by) = edge.acquire(ask("rest")).await.expect("it is decided");
        assert_eq!(decided_by, b.address.to_string());
        let Outcome::Permit(permit) = outcome else { panic!("{outcome:?}") };
        let life =
            ttl(&permit).checked_sub(Duration::from_secs(60)).expect("that of a day's limit");
        assert!(life <= asked.elapsed(), "no more is added than it has waited: {permit:?}");
        let report = edge.quota.clone().report(answered(&permit)).await.expect("it is taken");
        assert_eq!(owner(&report), b.address.to_string());
        assert!(!report.into_inner().already_settled);
    }
    let permit = a.permit(v1::AcquireRequest { calls: 3, ..ask("rest") }).await;
    let release = v1::ReleaseRequest { permit_id: permit.permit_id, unused_calls: None };
    let released = a.quota.clone().release(release).await.expect("it is released");
    assert_eq!(released.into_inner().returned_calls, 3);
    assert_eq!((a.shards.shards().orgs().len(), b.shards.shards().orgs().len()), (0, 1));
    assert_eq!(b.forwarded("answered"), 0);
}

#[tokio::test]
async fn a_permits_life_counts_from_the_request_also_where_that_was_forwarded_and_waited() {
    let world = World::pair().await;
    let [a, b] = &world.nodes[..] else { unreachable!() };
    let holder = a.permit(ask("rest.long")).await;
    let asked = a.park(waiting("rest.long"));
    b.until_waiting(1).await;
    a.quota.clone().report(answered(&holder)).await.expect("it is taken");
    let life = ttl(&granted(asked).await);
    assert!(life >= Duration::from_secs(60), "the wait is added to its life: {life:?}");
}

#[tokio::test]
async fn an_owner_that_is_none_any_more_says_so_and_the_next_one_is_asked() {
    let world = World::start(&[None, None, None]).await;
    let [a, b, c] = &world.nodes[..] else { unreachable!() };
    world.owned_by(2);
    a.believes(world.view(Some(1)));
    let asked = a.park(ask("rest"));
    a.until_forwarded("not_owner", 1).await;
    a.believes(world.view(Some(2)));
    granted(asked).await;
    assert_eq!((b.shards.shards().orgs().len(), c.shards.shards().orgs().len()), (0, 1));
}

#[tokio::test]
async fn a_request_takes_one_hop_at_most() {
    let world = World::start(&[None, None]).await;
    let [a, b] = &world.nodes[..] else { unreachable!() };
    a.believes(world.view(Some(1)));
    b.believes(world.view(Some(0)));
    check_error(a.acquire(ask("rest")).await, Code::Unavailable, "NO_OWNER");
    assert!(a.forwarded("not_owner") >= 1);
    assert_eq!(b.forwarded("not_owner"), 0, "b was asked as the owner, and sent nothing on");
}

#[tokio::test]
async fn where_nobody_owns_the_org_the_error_says_what_is_going_on() {
    let world = World::start(&[None, None]).await;
    let [a, _] = &world.nodes[..] else { unreachable!() };
    let refused = a.acquire(ask("rest")).await;
    let message = refused.as_ref().expect_err("nobody decides").message().to_owned();
    assert!(message.contains("none has taken over yet"), "{message}");
    check_error(refused, Code::Unavailable, "NO_OWNER");
    let asked = a.park(waiting("rest"));
    world.owned_by(1);
    granted(asked).await;
}

#[tokio::test]
async fn an_owners_error_is_passed_on_with_its_details_unchanged() {
    let world = World::pair().await;
    let [a, b] = &world.nodes[..] else { unreachable!() };
    let refuse = async |node: &crate::world::TestNode| {
        node.acquire(ask("made.up")).await.expect_err("there is no such operation")
    };
    let (through, direct) = (refuse(a).await, refuse(b).await);
    assert_eq!(direct.code(), Code::NotFound);
    assert_eq!(
        (through.code(), through.message(), through.details()),
        (direct.code(), direct.message(), direct.details())
    );
    assert_eq!(a.forwarded("failed"), 1);
    let garbled = v1::ReleaseRequest { permit_id: "p".into(), unused_calls: None };
    let refused = a.quota.clone().release(garbled).await;
    check_error(refused, Code::InvalidArgument, "GARBLED_PERMIT_ID");
}

#[tokio::test]
async fn a_forwarded_wait_ends_in_time_for_the_callers_deadline() {
    let world = World::pair().await;
    let [a, b] = &world.nodes[..] else { unreachable!() };
    b.permit(ask("rest.long")).await;
    // The answer comes 100 ms before the deadline: on a machine that is busy
    // for longer than that the client gives up first, and tries again.
    for _ in 0..10 {
        let mut request = Request::new(waiting("rest.long"));
        request.set_timeout(Duration::from_millis(800));
        match a.quota.clone().acquire(request).await {
            Ok(answer) => {
                let Some(Outcome::Denial(denial)) = answer.into_inner().outcome else {
                    panic!("there is no slot");
                };
                assert_eq!(denial.reason(), DenialReason::ConcurrencyLimit);
                assert_eq!(denial.queue_position, 1, "{denial:?}");
                return;
            }
            Err(status) => assert!(
                matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded),
                "{status:?}"
            ),
        }
        b.until_waiting(0).await;
    }
    panic!("no answer came in time");
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_the_owners_queue() {
    let world = World::pair().await;
    let [a, b] = &world.nodes[..] else { unreachable!() };
    b.permit(ask("rest.long")).await;
    let gone = a.park(waiting("rest.long"));
    b.until_waiting(1).await;
    gone.abort();
    b.until_waiting(0).await;
}

#[tokio::test]
async fn a_node_without_the_token_is_refused_and_nothing_is_done() {
    let secret = "a secret of many characters";
    let token = secret.replace(' ', "-");
    let world =
        World::start(&[Some(&token), Some(&token), Some("another-secret-altogether")]).await;
    let [a, b, c] = &world.nodes[..] else { unreachable!() };
    world.owned_by(1);
    a.permit(ask("rest")).await;
    check_error(c.acquire(ask("rest")).await, Code::Unavailable, "NO_OWNER");
    assert!(c.forwarded("refused") >= 1);
    let stranger = PeerServiceClient::connect(format!("http://{}", b.peer_address)).await;
    let pinged = stranger.expect("it listens").ping(peer::PingRequest::default()).await;
    check_error(pinged, Code::Unauthenticated, "WRONG_PEER_TOKEN");
    assert_eq!(b.usage().await.permits_out, 1, "only the one that a asked for");
}

#[tokio::test]
async fn a_node_of_another_cluster_decides_nothing() {
    let world = World::start(&[None, None, None]).await;
    let [a, b, c] = &world.nodes[..] else { unreachable!() };
    world.owned_by(1);
    let made_as = |id: &str| {
        let (id, created_by) = (id.to_owned(), String::new());
        let generation = GenerationRecord { id, shards: SHARDS.into(), created_by };
        let mut view = world.view(Some(1));
        view.generation = Some(generation);
        view
    };
    // The owner of what c asks for has died, and b has its address now.
    for (node, id) in [(a, "1f"), (b, "1f"), (c, "2e")] {
        node.believes(made_as(id));
    }
    a.permit(ask("rest")).await;
    check_error(c.acquire(ask("rest")).await, Code::Unavailable, "NO_OWNER");
    assert!(c.forwarded("refused") >= 1);
    assert!(!c.streams_to(b));
    assert_eq!(b.usage().await.permits_out, 1, "only the one that a asked for");
    c.believes(made_as("1f"));
    c.permit(ask("rest")).await;
}

#[tokio::test]
async fn what_is_asked_of_a_node_that_is_no_owner_is_not_done() {
    let world = World::start(&[None]).await;
    let [a] = &world.nodes[..] else { unreachable!() };
    let peer = PeerServiceClient::connect(format!("http://{}", a.peer_address)).await;
    let peer = peer.expect("it listens");
    let org = "acme".to_owned();
    let reason = "NOT_OWNER";
    let code = Code::FailedPrecondition;
    let request = peer::AcquireRequest { request: Some(ask("rest")), ..Default::default() };
    check_error(peer.clone().acquire(request).await, code, reason);
    let request = Some(v1::ReportRequest { org: org.clone(), ..Default::default() });
    let request = peer::ReportRequest { request, ..Default::default() };
    check_error(peer.clone().report(request).await, code, reason);
    let request = Some(v1::GetUsageRequest { org: org.clone() });
    let request = peer::GetUsageRequest { request, ..Default::default() };
    check_error(peer.clone().get_usage(request).await, code, reason);
    let request = Some(v1::WatchUsageRequest { org });
    let request = peer::WatchUsageRequest { request, ..Default::default() };
    check_error(peer.clone().watch_usage(request).await, code, reason);
    assert!(a.shards.shards().orgs().is_empty());
}

#[tokio::test]
async fn a_change_is_carried_out_by_the_owner_in_the_callers_name() {
    let world = World::pair().await;
    let [a, b] = &world.nodes[..] else { unreachable!() };
    let org = admin::Org { id: "acme".into(), daily_calls: 77, ..Default::default() };
    let request = admin::PutOrgRequest { org: Some(org), ..Default::default() };
    let put = a.admin.clone().put_org(request).await.expect("it is in force");
    assert_eq!(owner(&put), b.address.to_string());
    assert_eq!(put.into_inner().entry.and_then(|e| e.org).map(|o| o.daily_calls), Some(77));
    let request = admin::GetOrgRequest { org: "acme".into() };
    let shown = b.admin.clone().get_org(request).await.expect("it is known").into_inner();
    let [change] = &shown.changes[..] else { panic!("{shown:?}") };
    assert_eq!(change.action, "PutOrg");
    assert!(change.who.starts_with("127.0.0.1:"), "{change:?}");
    let request = admin::DeleteExecutionUserRequest {
        org: "acme".into(),
        execution_user: "nobody".into(),
        ..Default::default()
    };
    let refused = a.admin.clone().delete_execution_user(request).await;
    check_error(refused, Code::NotFound, "NOT_FOUND");
}

#[tokio::test]
async fn a_change_needs_no_owner() {
    let world = World::start(&[None, None]).await;
    let [a, _] = &world.nodes[..] else { unreachable!() };
    let request = admin::PutWorkspaceRequest {
        org: "acme".into(),
        workspace: Some(admin::Workspace { id: "eu".into(), ..Default::default() }),
        ..Default::default()
    };
    let put = a.admin.clone().put_workspace(request).await.expect("it is in the store");
    assert_eq!(put.into_inner().entry.map(|e| e.org.unwrap_or_default().workspaces.len()), Some(1));
}

#[tokio::test]
async fn the_cluster_is_shown_by_any_node() {
    let world = World::pair().await;
    let [a, b] = &world.nodes[..] else { unreachable!() };
    b.permit(ask("rest")).await;
    // The nodes ask each other once a second.
    let shown = loop {
        let shown = a.admin.clone().get_cluster(admin::GetClusterRequest {}).await;
        let shown = shown.expect("it is shown").into_inner();
        if shown.nodes[1].orgs == 1 {
            break shown;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((shown.shards, shown.answered_by.as_str()), (256, "a"));
    let [first, second] = &shown.nodes[..] else { panic!("{shown:?}") };
    assert_eq!((first.name.as_str(), first.owned_shards), ("a", 0));
    assert_eq!((second.name.as_str(), second.owned_shards), ("b", 256));
    assert_eq!((second.min_epoch, second.max_epoch), (7, 7));
    assert_eq!(second.peer_address, b.peer_address.to_string());
    let offset = second.clock_offset.expect("it is measured");
    assert_eq!(offset.seconds, 0, "both have the same clock: {offset:?}");
    assert_eq!(shown.owners.len(), 256);
    assert!(shown.owners.iter().all(|owner| owner.node == "b" && owner.epoch == 7));
}
