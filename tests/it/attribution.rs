//! Who used it, and what was asked for: GetUsage, GetDemand and the caller's
//! name, over gRPC and HTTP.

use quotagate::proto::v1::{self, AttributionDimension as Dimension, TrafficClass};
use serde_json::json;
use tonic::{Code, Request};

use crate::{
    common::TestServer,
    talk::{acquire, answered, check_error, limit, release, seconds},
};

const ACME: &str = "
orgs:
  - id: acme
    daily_calls: 1000
    concurrent_calls: 1
    execution_users: [alice]
    workspaces: [{id: eu, daily_calls: 10}]
";

fn named(caller: &str, request: v1::AcquireRequest) -> Request<v1::AcquireRequest> {
    let mut request = Request::new(request);
    request.metadata_mut().insert("quotagate-caller", caller.parse().expect("ASCII"));
    request
}

/// Units and refused calls of the last day, by name.
fn by(usage: &v1::OrgUsage, dimension: Dimension) -> Vec<(&str, u64, u64)> {
    let attribution = usage.attribution.as_ref().expect("GetUsage has it");
    let table = attribution.tables.iter().find(|table| table.dimension() == dimension);
    let consumers = table.expect("there is one for each").consumers.iter();
    let row = |consumer: &v1::Consumer| {
        let day = consumer.used.and_then(|used| used.last_day).expect("what it used");
        (day.units, day.refused_calls)
    };
    consumers.map(|consumer| (consumer.name.as_str(), row(consumer).0, row(consumer).1)).collect()
}

async fn demand(server: &TestServer, workspace: Option<&str>) -> v1::GetDemandResponse {
    let workspace = workspace.map(ToOwned::to_owned);
    let request = v1::GetDemandRequest { org: "acme".into(), workspace, since: None };
    server.quota.clone().get_demand(request).await.expect("it is shown").into_inner()
}

fn of_eu(calls: u32) -> v1::AcquireRequest {
    v1::AcquireRequest { workspace: "eu".into(), calls, cost: 2, ..acquire("rest") }
}

#[tokio::test]
async fn use_is_shown_by_all_that_is_known_of_who_asked() {
    let server = TestServer::start(ACME).await;
    let granted = server.quota.clone().acquire(named("inbox/eu", of_eu(3))).await;
    assert!(granted.is_ok(), "{granted:?}");
    server.denial(of_eu(7)).await;
    server.permit(acquire("conversations.delete")).await;
    let usage = server.usage().await;
    for (dimension, rows) in [
        (Dimension::Workspace, vec![("eu", 6, 7), ("", 1, 0)]),
        (Dimension::TrafficClass, vec![("event", 7, 7)]),
        (Dimension::Operation, vec![("rest", 6, 7), ("conversations.delete", 1, 0)]),
        (Dimension::ExecutionUser, vec![("", 6, 7), ("alice", 1, 0)]),
        (Dimension::Caller, vec![("inbox/eu", 6, 0), ("", 1, 7)]),
    ] {
        assert_eq!(by(&usage, dimension), rows, "{dimension:?}");
    }
    let total = limit(&usage.limits, v1::LimitScope::Org, "calls");
    assert_eq!(total.burn_per_hour, 6 * 60, "in the first minute");
    assert!(total.exhausted_in.is_some(), "at this rate it does not last: {total:?}");
    let deletes = &usage.execution_users[0].limits;
    let deletes = limit(deletes, v1::LimitScope::ExecutionUser, "conversation-deletes");
    assert_eq!(deletes.burn_per_hour, 60);
    let metrics = server.metrics().await;
    for line in [
        r#"quotagate_granted_calls_total{class="event",operation="rest"} 3"#,
        r#"quotagate_refused_calls_total{class="event",operation="rest"} 7"#,
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line} is not in\n{metrics}");
    }
    assert!(!metrics.contains("inbox"), "what callers choose is no label");
}

#[tokio::test]
async fn a_watch_is_spared_attribution() {
    let server = TestServer::start(ACME).await;
    server.permit(acquire("rest")).await;
    let request = v1::WatchUsageRequest { org: "acme".into() };
    let events = server.quota.clone().watch_usage(request).await.expect("it is watched");
    let first = events.into_inner().message().await.expect("no error").expect("a snapshot");
    let usage = first.usage.expect("the usage");
    assert_eq!(usage.attribution, None);
    assert!(usage.limits[0].burn_per_hour > 0);
}

#[tokio::test]
async fn demand_has_what_was_asked_granted_and_refused() {
    let server = TestServer::start(ACME).await;
    server.permit(of_eu(2)).await;
    let permit = server.permit(of_eu(1)).await;
    server.release(release(&permit, None)).await;
    server.denial(of_eu(9)).await;
    let slot = server.permit(acquire("rest.long")).await;
    let mut quota = server.quota.clone();
    let waits = v1::AcquireRequest { max_wait: seconds(300), ..acquire("rest.long") };
    let waits = tokio::spawn(async move { quota.acquire(waits).await });
    server.until_waiting(1).await;
    let all = demand(&server, None).await;
    let sums = |response: &v1::GetDemandResponse| -> Vec<(String, String, [u32; 5])> {
        let sum = |series: &v1::DemandSeries, figure: fn(&v1::DemandMinute) -> u32| {
            series.minutes.iter().map(figure).sum::<u32>()
        };
        let row = |series: &v1::DemandSeries| {
            assert_eq!((series.traffic_class(), series.rest), (TrafficClass::Event, false));
            [
                sum(series, |minute| minute.asked_calls),
                sum(series, |minute| minute.asked_units),
                sum(series, |minute| minute.granted_calls),
                sum(series, |minute| minute.granted_units),
                sum(series, |minute| minute.refused_by_workspace),
            ]
        };
        let rows = response.series.iter();
        rows.map(|of| (of.workspace.clone(), of.operation.clone(), row(of))).collect()
    };
    let nobody = (String::new(), "rest.long".to_owned(), [2, 2, 1, 1, 0]);
    let eu = ("eu".to_owned(), "rest".to_owned(), [12, 24, 2, 4, 9]);
    assert_eq!(sums(&all), [nobody.clone(), eu.clone()]);
    assert_eq!(sums(&demand(&server, Some("eu")).await), [eu]);
    assert_eq!(sums(&demand(&server, Some("")).await), [nobody]);
    assert_eq!(demand(&server, Some("us")).await.series, []);
    let minute = all.series[0].minutes[0].minute.expect("when it begins");
    assert_eq!((minute.seconds % 60, minute.nanos), (0, 0), "of the wall clock");
    server.report(answered(&slot, 200)).await;
    waits.await.expect("no panic").expect("it is decided");
    let (_, _, later) = sums(&demand(&server, Some("")).await).remove(0);
    assert_eq!(later, [2, 2, 2, 2, 0], "who waits asks once");
}

#[tokio::test]
async fn a_garbled_name_of_a_caller_is_refused() {
    let server = TestServer::start("").await;
    let asked = server.quota.clone().acquire(named("in box", acquire("rest"))).await;
    check_error(asked, Code::InvalidArgument, "INVALID_REQUEST", &["quotagate-caller"], false);
    let faulty = v1::AcquireRequest { calls: 10_001, ..acquire("rest") };
    let asked = server.quota.clone().acquire(named("a,b", faulty)).await;
    let fields = ["quotagate-caller", "calls", "min_calls"];
    let named: Vec<_> = fields.into_iter().take(2).collect();
    check_error(asked, Code::InvalidArgument, "INVALID_REQUEST", &named, false);
    let wrong = v1::GetDemandRequest { workspace: Some("a/b".into()), ..Default::default() };
    let asked = server.quota.clone().get_demand(wrong).await;
    check_error(asked, Code::InvalidArgument, "INVALID_REQUEST", &["org", "workspace"], false);
}

#[tokio::test]
async fn request_ids_of_two_callers_do_not_meet() {
    let server = TestServer::start(ACME).await;
    let request = v1::AcquireRequest { request_id: "r".into(), ..acquire("rest") };
    let mut ids = Vec::new();
    for caller in ["one", "two", "one"] {
        let mut quota = server.quota.clone();
        let answer = quota.acquire(named(caller, request.clone())).await.expect("it is decided");
        let Some(v1::acquire_response::Outcome::Permit(permit)) = answer.into_inner().outcome
        else {
            panic!("there is room");
        };
        ids.push(permit.permit_id);
    }
    assert_eq!(ids[0], ids[2], "a repeat");
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn http_has_the_callers_name_and_demand_too() {
    let server = TestServer::start(ACME).await;
    let headers = "host: localhost\r\nquotagate-caller: inbox\r\n";
    let body = r#"{"operation": "rest", "workspace": "eu"}"#;
    let answer = server.http("POST /api/v1/orgs/acme:acquire", headers, body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(by(&server.usage().await, Dimension::Caller), [("inbox", 1, 0)]);
    let check = async |line: &str, status: u16, pointer: &str, expected: serde_json::Value| {
        let (found, answer) = server.json(line, "").await;
        let value = answer.pointer(pointer).cloned().unwrap_or_default();
        assert_eq!((found, value), (status, expected), "{line}: {answer}");
    };
    let demand = "GET /api/v1/orgs/acme/demand";
    check(demand, 200, "/series/0/minutes/0/grantedCalls", json!(1)).await;
    check(&format!("{demand}?workspace=us"), 200, "/org", json!("acme")).await;
    check(&format!("{demand}?workspace=us"), 200, "/series/0", json!(null)).await;
    let later = format!("{demand}?since=2200-01-01T00:00:00Z&workspace=eu");
    check(&later, 200, "/series/0", json!(null)).await;
    check(&format!("{demand}?since=soon"), 400, "/code", json!("INVALID_ARGUMENT")).await;
}
