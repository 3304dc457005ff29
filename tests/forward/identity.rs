//! Who asks goes along to the owner: whose a permit is, and whether its holder is
//! believed, is the same through whichever node they come.

use quotagate::{
    auth::token::{Hex, hash},
    proto::v1::{self, AttributionDimension, OrgUsage, acquire_response::Outcome},
};
use tonic::{Code, Request};

use crate::world::{CONFIG, TestNode, World, ask, check_error};

/// `token:` and one of these.
const WHO: [&str; 4] = ["sync", "other", "believed", "ops"];

fn config() -> String {
    let token = |who: &str| format!("{{name: {who}, sha256: \"{}\"}}", Hex(&hash(who)));
    format!(
        "{CONFIG}
auth:
  tokens: [{}]
  rules:
    - {{who: ['token:believed'], orgs: ['*'], workspaces: ['*', ''], may: [acquire, report]}}
    - {{who: ['token:sync', 'token:other'], orgs: ['*'], workspaces: ['*', ''], may: [acquire]}}
    - {{who: ['token:ops'], orgs: ['*'], workspaces: ['*', ''], may: [read]}}
",
        WHO.map(token).join(", ")
    )
}

/// Two nodes of which the second owns everything.
async fn pair() -> World {
    let world = World::start_with(&config(), &[None, None]).await;
    world.owned_by(1);
    world
}

fn by<M>(who: &str, message: M) -> Request<M> {
    let mut request = Request::new(message);
    let bearer = format!("Bearer {who}").parse().expect("ASCII");
    request.metadata_mut().insert("authorization", bearer);
    request
}

async fn permit_of(node: &TestNode, who: &str, request_id: &str) -> String {
    let request = v1::AcquireRequest { request_id: request_id.into(), ..ask("rest") };
    let answer = node.quota.clone().acquire(by(who, request)).await.expect("it is decided");
    match answer.into_inner().outcome {
        Some(Outcome::Permit(permit)) => permit.permit_id,
        other => panic!("{who}: {other:?}"),
    }
}

async fn usage(node: &TestNode) -> OrgUsage {
    let request = by("ops", v1::GetUsageRequest { org: "acme".into() });
    let answer = node.quota.clone().get_usage(request).await.expect("they may");
    answer.into_inner().usage.expect("the usage")
}

/// What Salesforce is said to have answered: the total is used up.
fn total_exceeded(permit_id: &str) -> v1::ReportRequest {
    v1::ReportRequest {
        permit_id: permit_id.into(),
        http_status: 403,
        error_code: "REQUEST_LIMIT_EXCEEDED".into(),
        error_message: "TotalRequests Limit exceeded.".into(),
        limit_info: vec!["api-usage=1000/1000".into()],
        ..Default::default()
    }
}

#[tokio::test]
async fn a_permit_is_its_holders_through_every_node() {
    let world = pair().await;
    let [a, b] = &world.nodes[..] else { unreachable!() };
    for (asked, settled) in [(a, a), (a, b), (b, a)] {
        let what = format!("asked {}, settled {}", asked.name, settled.name);
        let id = permit_of(asked, "sync", "").await;
        let release = || v1::ReleaseRequest { permit_id: id.clone(), unused_calls: None };
        for edge in [a, b] {
            let mut quota = edge.quota.clone();
            let (denied, reason) = (Code::PermissionDenied, "PERMIT_OF_ANOTHER");
            for who in ["other", "believed"] {
                check_error(quota.release(by(who, release())).await, denied, reason);
                check_error(quota.report(by(who, total_exceeded(&id))).await, denied, reason);
            }
            check_error(quota.release(by("ops", release())).await, denied, "NOT_ALLOWED");
            let bare = quota.release(release()).await;
            check_error(bare, Code::Unauthenticated, "NO_CREDENTIALS");
        }
        assert_eq!(usage(a).await.cooling, [], "{what}");
        let released = settled.quota.clone().release(by("sync", release())).await;
        let released = released.expect("it is theirs").into_inner();
        assert_eq!((released.returned_calls, released.already_settled), (1, false), "{what}");
    }
    assert!(a.forwarded("answered") > 0, "the requests were sent on");
}

#[tokio::test]
async fn who_is_believed_is_so_through_every_node_and_who_is_not_is_not() {
    let world = pair().await;
    let [a, b] = &world.nodes[..] else { unreachable!() };
    for edge in [a, b] {
        let id = permit_of(edge, "other", "").await;
        let told = edge.quota.clone().report(by("other", total_exceeded(&id))).await;
        assert!(!told.expect("their own call is settled").into_inner().already_settled);
        let mut quota = edge.quota.clone();
        let of_org = v1::ReportRequest { org: "acme".into(), ..total_exceeded("") };
        check_error(quota.report(by("other", of_org)).await, Code::PermissionDenied, "NOT_ALLOWED");
        let seen = usage(edge).await;
        assert_eq!((seen.cooling.len(), seen.readings.len()), (0, 0), "{}", edge.name);
        assert_eq!(seen.limits[0].foreign, 0, "{}: their reading is not taken", edge.name);
    }
    // The one who is believed comes to the node that does not decide.
    let id = permit_of(a, "believed", "").await;
    a.quota.clone().report(by("believed", total_exceeded(&id))).await.expect("it is taken");
    for edge in [a, b] {
        let seen = usage(edge).await;
        assert_eq!(seen.cooling.len(), 1, "{}", edge.name);
        assert_eq!(seen.readings[0].told_by, "token:believed", "{}", edge.name);
    }
}

#[tokio::test]
async fn names_of_requests_are_each_principals_own_through_every_node() {
    let world = pair().await;
    let [a, b] = &world.nodes[..] else { unreachable!() };
    let first = permit_of(a, "sync", "same").await;
    assert_eq!(permit_of(b, "sync", "same").await, first, "a repeat, at another edge");
    assert_ne!(permit_of(a, "other", "same").await, first, "and nobody else's");
    let callers = usage(a).await.attribution.expect("it is asked for").tables;
    let callers = callers.into_iter().filter(|t| t.dimension() == AttributionDimension::Caller);
    let mut names: Vec<String> =
        callers.flat_map(|table| table.consumers).map(|consumer| consumer.name).collect();
    names.sort_unstable();
    assert_eq!(names, ["token:other", "token:sync"]);
}
