//! What a caller says of itself goes along, and what the owner has noted comes
//! back.

use quotagate::proto::v1::{self, AttributionDimension as Dimension, acquire_response::Outcome};
use tonic::Request;

use crate::world::{TestNode, World, ask};

async fn permit_of(node: &TestNode, caller: &str, request_id: &str) -> String {
    let request = v1::AcquireRequest { request_id: request_id.into(), ..ask("rest") };
    let mut request = Request::new(request);
    request.metadata_mut().insert("quotagate-caller", caller.parse().expect("ASCII"));
    let answer = node.quota.clone().acquire(request).await.expect("it is decided").into_inner();
    let Some(Outcome::Permit(permit)) = answer.outcome else { panic!("{answer:?}") };
    permit.permit_id
}

#[tokio::test]
async fn the_owner_notes_the_name_that_a_caller_gave_at_any_edge() {
    let world = World::pair().await;
    let [a, b] = &world.nodes[..] else { unreachable!() };
    let first = permit_of(a, "inbox", "r").await;
    assert_eq!(permit_of(b, "inbox", "r").await, first, "a repeat, at another edge");
    assert_ne!(permit_of(a, "sync", "r").await, first);
    a.permit(ask("rest")).await;
    for edge in [a, b] {
        let request = v1::GetUsageRequest { org: "acme".into() };
        let shown = edge.quota.clone().get_usage(request).await.expect("it is shown");
        let usage = shown.into_inner().usage.expect("the usage");
        let attribution = usage.attribution.expect("who used it");
        let callers = attribution.tables.into_iter();
        let callers = callers.filter(|table| table.dimension() == Dimension::Caller);
        let names: Vec<String> =
            callers.flat_map(|table| table.consumers).map(|consumer| consumer.name).collect();
        assert_eq!(names, ["", "inbox", "sync"]);
        let request = v1::GetDemandRequest { org: "acme".into(), ..Default::default() };
        let shown = edge.quota.clone().get_demand(request).await.expect("it is shown");
        let [rest] = &shown.into_inner().series[..] else { panic!("one operation") };
        assert_eq!(rest.minutes.iter().map(|minute| minute.asked_calls).sum::<u32>(), 3);
    }
}
