//! Requests that wait for room.

use std::time::Duration;

use quotagate::proto::v1::{self, DenialReason, TrafficClass, acquire_response::Outcome};
use tokio::task::JoinHandle;
use tonic::{Code, Request};

use crate::{
    common::TestServer,
    talk::{acquire, answered, check_error, release, seconds, wire},
};

/// One slot, and a window of one call.
const ONE: &str = "
catalogue:
  one: {charges: [{limit: one, scope: org, max: 1, window: 1h}]}
orgs:
  - {id: acme, concurrent_calls: 1}
";

/// Far longer than any test runs.
const LONG: u64 = 300;

fn waiting(operation: &str) -> v1::AcquireRequest {
    v1::AcquireRequest { max_wait: seconds(LONG), ..acquire(operation) }
}

fn of_class(class: TrafficClass) -> v1::AcquireRequest {
    v1::AcquireRequest { traffic_class: class.into(), ..waiting("rest.long") }
}

/// Sends a request that is to wait, and returns when `count` wait.
async fn park(
    server: &TestServer,
    request: v1::AcquireRequest,
    count: u32,
) -> JoinHandle<Result<Outcome, tonic::Status>> {
    let mut quota = server.quota.clone();
    let asked = tokio::spawn(async move {
        let answer = quota.acquire(request).await?;
        Ok(answer.into_inner().outcome.expect("one or the other"))
    });
    server.until_waiting(count).await;
    asked
}

async fn granted(asked: JoinHandle<Result<Outcome, tonic::Status>>) -> v1::Permit {
    match asked.await.expect("no panic").expect("it is decided") {
        Outcome::Permit(permit) => permit,
        Outcome::Denial(denial) => panic!("denied: {denial:?}"),
    }
}

#[tokio::test]
async fn a_waiting_request_is_woken_when_a_report_frees_a_slot() {
    let server = TestServer::start(ONE).await;
    let holder = server.permit(acquire("rest.long")).await;
    let asked = park(&server, waiting("rest.long"), 1).await;
    server.report(answered(&holder, 200)).await;
    let permit = granted(asked).await;
    let ttl = crate::talk::ttl(&permit);
    assert!(ttl >= Duration::from_secs(60), "the wait is added to its life: {ttl:?}");
}

#[tokio::test]
async fn a_waiting_request_is_woken_when_a_release_makes_room_in_a_window() {
    let server = TestServer::start(ONE).await;
    let holder = server.permit(acquire("one")).await;
    let asked = park(&server, waiting("one"), 1).await;
    assert_eq!(server.release(release(&holder, None)).await, (1, false));
    assert_eq!(granted(asked).await.calls, 1);
}

#[tokio::test]
async fn the_higher_class_goes_first_and_within_a_class_who_came_first() {
    let server = TestServer::start(ONE).await;
    let mut holder = server.permit(acquire("rest.long")).await;
    let order = [
        TrafficClass::Control,
        TrafficClass::Interactive,
        TrafficClass::Event,
        TrafficClass::Event,
        TrafficClass::Bulk,
    ];
    // They come in another order.
    let mut queue = Vec::new();
    for (count, place) in (1..).zip([4, 2, 1, 3, 0]) {
        queue.push((place, park(&server, of_class(order[place]), count).await));
    }
    queue.sort_by_key(|(place, _)| *place);
    for (left, (place, asked)) in (0..5).rev().zip(queue) {
        server.report(answered(&holder, 200)).await;
        holder = granted(asked).await;
        assert_eq!(server.usage().await.waiting, left, "only the one in place {place} was served");
    }
}

#[tokio::test]
async fn a_wait_ends_as_a_denial_with_its_place() {
    let server = TestServer::start(ONE).await;
    let _holder = server.permit(acquire("rest.long")).await;
    let first = park(&server, of_class(TrafficClass::Interactive), 1).await;
    let max_wait = wire(Duration::from_millis(20));
    let denial = server.denial(v1::AcquireRequest { max_wait, ..acquire("rest.long") }).await;
    assert_eq!((denial.reason(), denial.queue_position), (DenialReason::ConcurrencyLimit, 2));
    first.abort();
}

#[tokio::test]
async fn a_wait_ends_in_time_for_the_callers_deadline() {
    let server = TestServer::start(ONE).await;
    let _holder = server.permit(acquire("rest.long")).await;
    // The answer comes 100 ms before the deadline: on a machine that is busy
    // for longer than that the client gives up first, and tries again.
    for _ in 0..10 {
        let mut request = Request::new(waiting("rest.long"));
        request.set_timeout(Duration::from_millis(800));
        match server.quota.clone().acquire(request).await {
            Ok(answer) => {
                let Some(Outcome::Denial(denial)) = answer.into_inner().outcome else {
                    panic!("there is no slot");
                };
                assert_eq!(denial.queue_position, 1, "{denial:?}");
                return;
            }
            Err(status) => assert!(
                matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded),
                "{status:?}"
            ),
        }
        server.until_waiting(0).await;
    }
    panic!("no answer came in time");
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_the_queue() {
    let server = TestServer::start(ONE).await;
    let holder = server.permit(acquire("rest.long")).await;
    let gone = park(&server, of_class(TrafficClass::Control), 1).await;
    let stays = park(&server, of_class(TrafficClass::Bulk), 2).await;
    gone.abort();
    server.until_waiting(1).await;
    server.report(answered(&holder, 200)).await;
    granted(stays).await;
    assert_eq!(server.usage().await.waiting, 0);
}

#[tokio::test]
async fn a_repeat_joins_the_wait_of_the_first() {
    let server = TestServer::start(ONE).await;
    let holder = server.permit(acquire("rest.long")).await;
    let request = || v1::AcquireRequest { request_id: "one".into(), ..waiting("rest.long") };
    let first = park(&server, request(), 1).await;
    let again = park(&server, request(), 1).await;
    let other = v1::AcquireRequest { cost: 2, ..request() };
    let refused = server.quota.clone().acquire(other).await;
    let code = Code::InvalidArgument;
    check_error(refused, code, "REQUEST_ID_REUSED", &["request_id"], false);
    server.report(answered(&holder, 200)).await;
    let (first, again) = (granted(first).await, granted(again).await);
    assert_eq!(first.permit_id, again.permit_id);
    assert_eq!(server.usage().await.permits_out, 2, "the holder's, and one for both");
}

#[tokio::test]
async fn of_two_that_wait_as_one_either_may_go_away() {
    let server = TestServer::start(ONE).await;
    let holder = server.permit(acquire("rest.long")).await;
    let request = || v1::AcquireRequest { request_id: "one".into(), ..waiting("rest.long") };
    let first = park(&server, request(), 1).await;
    let again = park(&server, request(), 1).await;
    // An answer on the same connection shows that the repeat was read before.
    server.usage().await;
    first.abort();
    assert!(first.await.expect_err("it is aborted").is_cancelled());
    server.usage().await;
    server.report(answered(&holder, 200)).await;
    granted(again).await;
}

#[tokio::test]
async fn who_waits_when_the_service_stops_is_told_at_once() {
    let server = TestServer::start(ONE).await;
    let _holder = server.permit(acquire("rest.long")).await;
    let asked = park(&server, waiting("rest.long"), 1).await;
    let stopped = tokio::spawn(server.service.stop());
    let ended = asked.await.expect("no panic");
    check_error(ended, Code::Unavailable, "NOT_OWNER", &[], true);
    drop((server.quota, server.admin, server.channel));
    stopped.await.expect("it stops");
}

#[tokio::test]
async fn who_asks_again_after_a_denial_takes_its_place_again() {
    let server = TestServer::start(ONE).await;
    let holder = server.permit(acquire("rest.long")).await;
    let mine = |max_wait| v1::AcquireRequest {
        request_id: "mine".into(),
        max_wait: wire(max_wait),
        ..acquire("rest.long")
    };
    let hasty = mine(Duration::from_secs(2));
    let asked = {
        let mut quota = server.quota.clone();
        tokio::spawn(async move { quota.acquire(hasty).await })
    };
    server.until_waiting(1).await;
    let later = {
        let (mut quota, workspace) = (server.quota.clone(), "later".into());
        let request = v1::AcquireRequest { workspace, ..waiting("rest.long") };
        tokio::spawn(async move {
            Ok(quota.acquire(request).await?.into_inner().outcome.expect("one or the other"))
        })
    };
    let has_come = |queue: v1::QueueUsage| queue.first.iter().any(|one| one.workspace == "later");
    while !has_come(server.usage().await.queue.expect("it is shown")) {}
    let answer = asked.await.expect("no panic").expect("it is decided").into_inner();
    let Some(Outcome::Denial(denial)) = answer.outcome else { panic!("{answer:?}") };
    assert_eq!(denial.queue_position, 1, "{denial:?}");
    let again = park(&server, mine(Duration::from_secs(LONG)), 2).await;
    server.report(answered(&holder, 200)).await;
    let second = granted(again).await;
    assert_eq!(server.usage().await.waiting, 1, "who came later still waits");
    server.report(answered(&second, 200)).await;
    granted(later).await;
}

#[tokio::test]
async fn the_queue_is_to_be_seen_and_ends_with_those_who_go_away() {
    let server = TestServer::start(ONE).await;
    let _slot = server.permit(acquire("rest.long")).await;
    let _call = server.permit(acquire("one")).await;
    let of_eu = v1::AcquireRequest { workspace: "eu".into(), ..waiting("one") };
    let first = park(&server, of_eu, 1).await;
    let second = park(&server, of_class(TrafficClass::Bulk), 2).await;
    let usage = server.usage().await;
    let queue = usage.queue.expect("it is shown");
    let by_class: Vec<_> =
        queue.waiting.iter().map(|of| (of.traffic_class(), of.requests)).collect();
    assert_eq!(by_class, [(TrafficClass::Event, 1), (TrafficClass::Bulk, 1)]);
    let [call, slot] = &queue.first[..] else { panic!("{:?}", queue.first) };
    assert_eq!((call.workspace.as_str(), call.operation.as_str(), call.place), ("eu", "one", 1));
    assert_eq!((call.limit.as_str(), call.identity.as_str()), ("one", "acme"));
    let seconds = |time: &Option<prost_types::Timestamp>| time.expect("it is known").seconds;
    let hour = seconds(&call.due_at) - seconds(&usage.as_of);
    assert!((3_500..=3_700).contains(&hour), "due in {hour} s");
    assert_eq!((slot.limit.as_str(), slot.due_at), ("long", None));
    first.abort();
    server.until_waiting(1).await;
    let queue = server.usage().await.queue.expect("it is shown");
    assert_eq!(queue.first.len(), 1);
    second.abort();
    server.until_waiting(0).await;
    assert_eq!(server.usage().await.queue, Some(v1::QueueUsage::default()));
}
