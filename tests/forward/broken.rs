//! Ways to the owner that lose what is sent.

use quotagate::proto::v1;
use tonic::Code;

use crate::world::{Proxy, World, answered, ask, check_error, granted, listen};

/// a forwards to b through a proxy.
async fn through_a_proxy() -> (World, Proxy) {
    let mut world = World::start(&[None, None]).await;
    let proxy = Proxy::before(world.nodes[1].peer_address).await;
    world.nodes[1].known_as = proxy.address;
    world.owned_by(1);
    (world, proxy)
}

#[tokio::test]
async fn an_acquire_whose_answer_is_lost_is_not_asked_again() {
    let (world, proxy) = through_a_proxy().await;
    let [a, b] = &world.nodes[..] else { unreachable!() };
    proxy.mute(true);
    let asked = a.park(ask("rest"));
    while b.usage().await.permits_out == 0 {}
    proxy.cut();
    check_error(asked.await.expect("no panic"), Code::Unavailable, "ANSWER_LOST");
    assert_eq!(b.usage().await.permits_out, 1);
}

#[tokio::test]
async fn what_may_be_repeated_is_asked_again_when_its_answer_is_lost() {
    let (world, proxy) = through_a_proxy().await;
    let [a, b] = &world.nodes[..] else { unreachable!() };
    let permit = a.permit(ask("rest")).await;
    proxy.mute(true);
    let mut quota = a.quota.clone();
    let report = answered(&permit);
    let reported = tokio::spawn(async move { quota.report(report).await });
    while b.count("quotagate_reports_total{answered=\"true\"}") == 0 {
        tokio::task::yield_now().await;
    }
    // In this order: what is still under way is lost for certain.
    proxy.cut();
    proxy.mute(false);
    let reported = reported.await.expect("no panic").expect("it is taken").into_inner();
    assert!(reported.already_settled, "the first one was");
    assert!(a.forwarded("lost") >= 1);
}

#[tokio::test]
async fn a_request_that_could_not_be_sent_was_not_made_and_is_tried_again() {
    let mut world = World::start(&[None, None]).await;
    let closed = listen().await.local_addr().expect("an address");
    world.nodes[1].known_as = closed;
    world.owned_by(1);
    let [a, b] = &mut world.nodes[..] else { unreachable!() };
    let asked = a.park(ask("rest"));
    a.until_forwarded("not_sent", 1).await;
    b.known_as = b.peer_address;
    world.owned_by(1);
    granted(asked).await;
    let [a, b] = &world.nodes[..] else { unreachable!() };
    assert_eq!((a.forwarded("lost"), b.usage().await.permits_out), (0, 1));
}

#[tokio::test]
async fn requests_in_flight_share_few_connections() {
    let (world, proxy) = through_a_proxy().await;
    let [a, b] = &world.nodes[..] else { unreachable!() };
    let asked: Vec<_> = (0..200).map(|_| a.park(ask("rest"))).collect();
    for asked in asked {
        granted(asked).await;
    }
    assert!(proxy.connections() <= 2, "{} connections", proxy.connections());
    let usage = b.usage().await;
    assert_eq!(usage.permits_out, 200);
    let request = v1::GetUsageRequest { org: "acme".into() };
    let shown = a.quota.clone().get_usage(request).await.expect("it is shown").into_inner();
    assert_eq!(shown.usage.map(|usage| usage.permits_out), Some(200));
}
