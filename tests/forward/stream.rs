//! What callers ask most goes over one stream to each peer, and is answered as it
//! would be by itself.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use quotagate::proto::{
    peer::v1::{
        self as peer, ForwardRequest, ForwardedCall,
        forwarded_answer::Answer,
        forwarded_call::Request as Call,
        peer_service_client::PeerServiceClient,
        peer_service_server::{PeerService, PeerServiceServer},
    },
    v1::{self, DenialReason, acquire_response::Outcome},
};
use tokio::task::JoinSet;
use tokio_stream::{Empty, iter};
use tonic::{
    Code, Request, Response, Status, Streaming,
    transport::{Channel, Server},
};

use crate::world::{
    Proxy, TestNode, World, answered, ask, check_error, granted, incoming, listen, waiting,
};

/// How many streams a node has begun to serve, and how many Acquires it has answered.
const STREAMS: &str =
    r#"quotagate_grpc_requests_total{method="quotagate.peer.v1.PeerService/Forward",code="OK"}"#;
const ACQUIRES: &str =
    r#"quotagate_grpc_requests_total{method="quotagate.peer.v1.PeerService/Acquire",code="OK"}"#;

/// a forwards to b through a proxy, over a stream.
async fn streaming() -> (World, Proxy) {
    let mut world = World::start(&[None, None, None]).await;
    let proxy = Proxy::before(world.nodes[1].peer_address).await;
    world.nodes[1].known_as = proxy.address;
    world.owned_by(1);
    world.nodes[0].until_streaming_to(&world.nodes[1]).await;
    (world, proxy)
}

#[tokio::test]
async fn requests_share_a_stream_and_each_is_counted_by_itself() {
    let (world, _proxy) = streaming().await;
    let [a, b, _] = &world.nodes[..] else { unreachable!() };
    let before = b.count(ACQUIRES);
    let asked: Vec<_> = (0..300).map(|_| a.park(ask("rest"))).collect();
    for asked in asked {
        let permit = granted(asked).await;
        a.quota.clone().report(answered(&permit)).await.expect("it is taken");
    }
    assert_eq!(b.count(ACQUIRES) - before, 300);
    assert_eq!(b.count(STREAMS), 1);
    assert!(a.streams_to(b));
}

#[tokio::test]
async fn who_waits_holds_up_nobody_and_answers_come_in_any_order() {
    let (world, _proxy) = streaming().await;
    let [a, b, _] = &world.nodes[..] else { unreachable!() };
    let slot = a.permit(ask("rest.long")).await;
    let first = a.park(waiting("rest.long"));
    b.until_waiting(1).await;
    let second = a.permit(ask("rest")).await;
    assert!(!first.is_finished(), "it still waits");
    let release = v1::ReleaseRequest { permit_id: second.permit_id, unused_calls: None };
    let released = a.quota.clone().release(release).await.expect("it is taken").into_inner();
    assert_eq!(released.returned_calls, 1);
    a.quota.clone().report(answered(&slot)).await.expect("it is taken");
    granted(first).await;
    assert_eq!(b.count(STREAMS), 1);
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_the_owners_queue_and_the_stream_goes_on() {
    let (world, _proxy) = streaming().await;
    let [a, b, _] = &world.nodes[..] else { unreachable!() };
    let slot = a.permit(ask("rest.long")).await;
    let [gone, stays] = [a.park(waiting("rest.long")), a.park(waiting("rest.long"))];
    b.until_waiting(2).await;
    gone.abort();
    b.until_waiting(1).await;
    a.quota.clone().report(answered(&slot)).await.expect("it is taken");
    granted(stays).await;
    assert_eq!((a.forwarded("lost"), b.count(STREAMS)), (0, 1));
}

#[tokio::test]
async fn a_wait_over_a_stream_ends_in_time_for_the_callers_deadline() {
    let (world, _proxy) = streaming().await;
    let [a, b, _] = &world.nodes[..] else { unreachable!() };
    b.permit(ask("rest.long")).await;
    // As without a stream: on a machine that is busy the client gives up first.
    for _ in 0..10 {
        let mut request = Request::new(waiting("rest.long"));
        request.set_timeout(Duration::from_millis(800));
        if let Ok(answer) = a.quota.clone().acquire(request).await {
            let Some(Outcome::Denial(denial)) = answer.into_inner().outcome else {
                panic!("there is no slot");
            };
            assert_eq!(denial.reason(), DenialReason::ConcurrencyLimit);
            assert!(a.streams_to(b));
            return;
        }
        b.until_waiting(0).await;
    }
    panic!("no answer came in time");
}

#[tokio::test]
async fn an_error_is_the_owners_own() {
    let (world, _proxy) = streaming().await;
    let [a, b, _] = &world.nodes[..] else { unreachable!() };
    let partly = v1::ReportRequest { calls: 1, ..answered(&a.permit(two()).await) };
    a.quota.clone().report(partly.clone()).await.expect("it is taken");
    let release = v1::ReleaseRequest { permit_id: partly.permit_id, unused_calls: None };
    let id = |calls| v1::AcquireRequest { request_id: "one".into(), calls, ..ask("rest") };
    a.permit(id(1)).await;
    let through = [
        a.acquire(ask("made.up")).await.expect_err("no such operation"),
        a.acquire(id(2)).await.expect_err("another request's name"),
        a.quota.clone().release(release.clone()).await.expect_err("a number is needed"),
    ];
    let direct = [
        b.acquire(ask("made.up")).await.expect_err("no such operation"),
        b.acquire(id(2)).await.expect_err("another request's name"),
        b.quota.clone().release(release).await.expect_err("a number is needed"),
    ];
    for (through, direct) in through.into_iter().zip(direct) {
        assert_eq!(
            (through.code(), through.message(), through.details()),
            (direct.code(), direct.message(), direct.details())
        );
        assert!(!through.details().is_empty());
    }
    assert_eq!((a.forwarded("failed"), b.count(STREAMS)), (3, 1));
}

fn two() -> v1::AcquireRequest {
    v1::AcquireRequest { calls: 2, ..ask("rest") }
}

#[tokio::test]
async fn what_was_under_way_on_a_stream_that_breaks_is_lost_or_asked_again() {
    let (world, proxy) = streaming().await;
    let [a, b, _] = &world.nodes[..] else { unreachable!() };
    let permit = a.permit(ask("rest")).await;
    let before = b.usage().await.permits_out;
    proxy.mute(true);
    let asked = a.park(ask("rest"));
    let mut quota = a.quota.clone();
    let report = answered(&permit);
    let reported = tokio::spawn(async move { quota.report(report).await });
    while b.count("quotagate_reports_total{answered=\"true\"}") == 0 {
        tokio::task::yield_now().await;
    }
    while b.usage().await.permits_out == before {}
    proxy.cut();
    proxy.mute(false);
    check_error(asked.await.expect("no panic"), Code::Unavailable, "ANSWER_LOST");
    let reported = reported.await.expect("no panic").expect("it is taken").into_inner();
    assert!(reported.already_settled, "the first one was");
    assert_eq!(b.usage().await.permits_out, before + 1, "it was granted once");
    // The next connection has a stream of its own.
    a.until_streaming_to(b).await;
    a.permit(ask("rest")).await;
    assert_eq!(b.count(STREAMS), 2);
}

#[tokio::test]
async fn who_waits_on_a_stream_follows_the_org_when_it_moves_or_the_stream_breaks() {
    for breaks in [false, true] {
        let (world, proxy) = streaming().await;
        let [a, b, c] = &world.nodes[..] else { unreachable!() };
        b.permit(ask("rest.long")).await;
        let asked = a.park(waiting("rest.long"));
        b.until_waiting(1).await;
        world.owned_by(2);
        if breaks {
            proxy.cut();
        } else {
            b.shards.stop_granting();
        }
        granted(asked).await;
        let not_owner = u64::from(!breaks);
        assert_eq!((a.forwarded("lost"), a.forwarded("not_owner")), (1 - not_owner, not_owner));
        assert_eq!(c.usage().await.permits_out, 1);
    }
}

#[tokio::test]
async fn a_node_that_stops_answers_what_was_sent_and_takes_no_more_on_the_stream() {
    let (world, _proxy) = streaming().await;
    let [a, b, _] = &world.nodes[..] else { unreachable!() };
    let slot = a.permit(ask("rest.long")).await;
    let waits = a.park(waiting("rest.long"));
    b.until_waiting(1).await;
    b.forward.stop();
    // By itself, as soon as a has heard it.
    for _ in 0..20 {
        a.permit(ask("rest")).await;
    }
    a.quota.clone().report(answered(&slot)).await.expect("it is taken");
    granted(waits).await;
    while a.streams_to(b) {
        tokio::task::yield_now().await;
    }
    a.permit(ask("rest")).await;
    assert_eq!((a.forwarded("lost"), a.forwarded("not_sent")), (0, 0));
}

#[tokio::test]
async fn a_stream_is_for_those_who_know_the_token() {
    let world = World::start(&[Some("a-secret-of-many-characters")]).await;
    let [a] = &world.nodes[..] else { unreachable!() };
    let stranger = PeerServiceClient::connect(format!("http://{}", a.peer_address)).await;
    let streamed = stranger.expect("it listens").forward(tokio_stream::empty()).await;
    check_error(streamed, Code::Unauthenticated, "WRONG_PEER_TOKEN");
}

#[tokio::test]
async fn the_owner_answers_each_request_of_a_message_and_then_the_stream_ends() {
    let world = World::pair().await;
    let [_, b] = &world.nodes[..] else { unreachable!() };
    let client = PeerServiceClient::connect(format!("http://{}", b.peer_address)).await;
    let mut client = client.expect("it listens");
    let acquire = |operation: &str| {
        let request = Some(ask(operation));
        Some(Call::Acquire(peer::AcquireRequest { request, ..Default::default() }))
    };
    let call = |id, request| ForwardedCall { id, request, ..Default::default() };
    let calls = vec![
        call(7, acquire("rest")),
        call(8, acquire("made.up")),
        call(9, None),
        call(3, acquire("rest.long")),
    ];
    // A request that was never made is given up: nothing happens.
    let request = ForwardRequest { calls, cancelled: vec![99] };
    let answers = client.forward(iter([request])).await.expect("it is served");
    let mut answers = answers.into_inner();
    let mut seen = Vec::new();
    while let Some(message) = answers.message().await.expect("no error") {
        seen.extend(message.answers.into_iter().map(|answer| {
            let kind = match answer.answer {
                Some(Answer::Acquire(_)) => "permit",
                Some(Answer::Error(error)) if error.code == Code::NotFound as i32 => "not found",
                None => "lost",
                other => panic!("{other:?}"),
            };
            (answer.id, kind)
        }));
    }
    seen.sort_unstable();
    assert_eq!(seen, [(3, "permit"), (7, "permit"), (8, "not found"), (9, "lost")]);
}

/// A peer of a version that knows no stream: it passes on what it knows.
struct Old {
    owner: PeerServiceClient<Channel>,
    streams: Arc<AtomicU64>,
}

#[tonic::async_trait]
impl PeerService for Old {
    async fn ping(
        &self,
        request: Request<peer::PingRequest>,
    ) -> Result<Response<peer::PingResponse>, Status> {
        self.owner.clone().ping(request.into_inner()).await
    }

    async fn acquire(
        &self,
        request: Request<peer::AcquireRequest>,
    ) -> Result<Response<peer::AcquireResponse>, Status> {
        self.owner.clone().acquire(request.into_inner()).await
    }

    async fn release(
        &self,
        request: Request<peer::ReleaseRequest>,
    ) -> Result<Response<peer::ReleaseResponse>, Status> {
        self.owner.clone().release(request.into_inner()).await
    }

    async fn report(
        &self,
        request: Request<peer::ReportRequest>,
    ) -> Result<Response<peer::ReportResponse>, Status> {
        self.owner.clone().report(request.into_inner()).await
    }

    type ForwardStream = Empty<Result<peer::ForwardResponse, Status>>;

    async fn forward(
        &self,
        _: Request<Streaming<ForwardRequest>>,
    ) -> Result<Response<Self::ForwardStream>, Status> {
        self.streams.fetch_add(1, Ordering::Relaxed);
        Err(Status::unimplemented(""))
    }

    async fn get_usage(
        &self,
        _: Request<peer::GetUsageRequest>,
    ) -> Result<Response<peer::GetUsageResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    type WatchUsageStream = Empty<Result<peer::WatchUsageResponse, Status>>;

    async fn watch_usage(
        &self,
        _: Request<peer::WatchUsageRequest>,
    ) -> Result<Response<Self::WatchUsageStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_demand(
        &self,
        _: Request<peer::GetDemandRequest>,
    ) -> Result<Response<peer::GetDemandResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    type GlanceStream = Empty<Result<peer::GlanceResponse, Status>>;

    async fn glance(
        &self,
        _: Request<peer::GlanceRequest>,
    ) -> Result<Response<Self::GlanceStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn replay_demand(
        &self,
        _: Request<peer::ReplayDemandRequest>,
    ) -> Result<Response<peer::ReplayDemandResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn administer(
        &self,
        _: Request<peer::AdministerRequest>,
    ) -> Result<Response<peer::AdministerResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

#[tokio::test]
async fn a_peer_of_an_older_version_is_asked_by_calls_and_seldom_for_a_stream() {
    let mut world = World::start(&[None, None]).await;
    let owner = PeerServiceClient::connect(format!("http://{}", world.nodes[1].peer_address)).await;
    let streams = Arc::default();
    let old = Old { owner: owner.expect("it listens"), streams: Arc::clone(&streams) };
    let listener = listen().await;
    world.nodes[1].known_as = listener.local_addr().expect("an address");
    world.owned_by(1);
    let mut serving = JoinSet::new();
    let server = Server::builder().add_service(PeerServiceServer::new(old));
    serving.spawn(async move { server.serve_with_incoming(incoming(listener)).await });

    let [a, b] = &world.nodes[..] else { unreachable!() };
    let ask_often = async |a: &TestNode| {
        for _ in 0..20 {
            let permit = a.permit(ask("rest")).await;
            a.quota.clone().report(answered(&permit)).await.expect("it is taken");
        }
    };
    ask_often(a).await;
    while streams.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    ask_often(a).await;
    assert!(!a.streams_to(b));
    assert_eq!(streams.load(Ordering::Relaxed), 1);
    assert_eq!((a.forwarded("answered"), a.forwarded("failed"), a.forwarded("lost")), (80, 0, 0));
}
