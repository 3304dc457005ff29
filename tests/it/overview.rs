//! Many orgs, a line each: order, pages, search, and ten thousand of them.

use std::{fmt::Write as _, time::Duration};

use quotagate::proto::v1::{self, LimitScope, Severity, TrafficClass, UsageOrder};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};
use tonic::Code;

use crate::{
    common::TestServer,
    talk::{acquire, check_error},
};

const ORGS: &str = "
orgs:
  - {id: full, daily_calls: 10, reserve_percent: 0}
  - {id: half, daily_calls: 10, reserve_percent: 0}
  - id: Capped
    daily_calls: 1000
    workspaces: [{id: eu, daily_calls: 10}, {id: us, daily_calls: 10}]
  - {id: unused, daily_calls: 20}
";

async fn list(server: &TestServer, request: v1::ListUsageRequest) -> v1::ListUsageResponse {
    server.quota.clone().list_usage(request).await.expect("it is listed").into_inner()
}

/// Lists once what was used is shown: a list is kept for a second.
async fn listed(
    server: &TestServer,
    wanted: impl Fn(&v1::ListUsageResponse) -> bool,
) -> v1::ListUsageResponse {
    for _ in 0..600 {
        let found = list(server, v1::ListUsageRequest::default()).await;
        if wanted(&found) {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it is never listed");
}

fn names(list: &v1::ListUsageResponse) -> Vec<&str> {
    list.orgs.iter().map(|line| line.org.as_str()).collect()
}

fn of(org: &str, calls: u32) -> v1::AcquireRequest {
    v1::AcquireRequest { org: org.into(), calls, ..acquire("rest") }
}

async fn used() -> TestServer {
    let server = TestServer::start(ORGS).await;
    server.permit(of("full", 10)).await;
    server.permit(of("half", 5)).await;
    for (workspace, calls) in [("eu", 10), ("us", 4)] {
        let request = v1::AcquireRequest {
            workspace: workspace.into(),
            traffic_class: TrafficClass::Interactive.into(),
            ..of("Capped", calls)
        };
        server.permit(request).await;
    }
    let uses = |list: &v1::ListUsageResponse| {
        let used = |line: &v1::OrgLine| line.total.as_ref().map_or(0, |total| total.used_by_caller);
        list.orgs.iter().map(used).sum::<u64>() == 29
    };
    listed(&server, uses).await;
    server
}

#[tokio::test]
async fn what_needs_somebody_comes_first_and_says_why() {
    let server = used().await;
    let found = list(&server, v1::ListUsageRequest::default()).await;
    // What lasts for less than an hour at this rate comes before what is only much.
    assert_eq!(names(&found)[..1], ["full"]);
    assert_eq!(names(&found)[3..], ["unused"]);
    assert_eq!((found.total_size, found.unknown), (4, 0));
    let line = |org: &str| found.orgs.iter().find(|line| line.org == org).expect("it is listed");
    let full = line("full");
    assert_eq!(full.severity(), Severity::Critical);
    assert!(full.trouble.starts_with("All 10 calls of 24 hours are used"), "{}", full.trouble);
    let capped = line("Capped");
    assert_eq!((capped.workspaces, capped.workspaces_at_limit), (2, 1));
    assert_eq!((&*capped.fullest_workspace, capped.fullest_used_percent), ("eu", 100));
    assert_eq!(capped.severity(), Severity::Warning);
    assert!(capped.trouble.starts_with("Workspace eu has reached its limit"), "{}", capped.trouble);
    let paused: Vec<_> = capped.paused.iter().map(|p| (p.traffic_class(), p.workspaces)).collect();
    use TrafficClass::{Bulk, Event, Interactive};
    assert_eq!(paused, [(Interactive, 1), (Event, 1), (Bulk, 2)]);
    let unused = line("unused");
    let total = unused.total.as_ref().expect("a total");
    assert_eq!((total.max, total.reserved, total.scope()), (20, 1, LimitScope::Org));
    assert_eq!((unused.severity(), &*unused.trouble), (Severity::Fine, ""));
    let trouble = found
        .orgs
        .iter()
        .filter(|line| matches!(line.severity(), Severity::Warning | Severity::Critical));
    assert_eq!(usize::try_from(found.in_trouble).expect("small"), trouble.count());
}

#[tokio::test]
async fn orgs_are_listed_in_each_order_page_by_page() {
    let server = used().await;
    for (order, expected) in [
        (UsageOrder::Name, ["Capped", "full", "half", "unused"]),
        (UsageOrder::Used, ["full", "half", "Capped", "unused"]),
        (UsageOrder::Exhausted, ["full", "half", "Capped", "unused"]),
    ] {
        let mut found = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = v1::ListUsageRequest {
                page_size: 1,
                order: order.into(),
                page_token,
                ..Default::default()
            };
            let page = list(&server, request).await;
            assert_eq!((page.orgs.len(), page.total_size), (1, 4));
            found.extend(page.orgs.into_iter().map(|line| line.org));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(found, expected, "{order:?}");
    }
    for (search, expected) in [("a", vec!["Capped", "half"]), ("AP", vec!["Capped"]), ("x", vec![])]
    {
        let order = UsageOrder::Name.into();
        let request = v1::ListUsageRequest { search: search.into(), order, ..Default::default() };
        let found = list(&server, request).await;
        assert_eq!(names(&found), expected, "{search}");
        assert_eq!(found.total_size as usize, expected.len(), "{search}");
    }
}

#[tokio::test]
async fn a_list_that_makes_no_sense_is_refused_field_by_field() {
    let server = TestServer::start(ORGS).await;
    let request = |page_token: &str, order| v1::ListUsageRequest {
        page_token: page_token.into(),
        order,
        ..Default::default()
    };
    let first = v1::ListUsageRequest { page_size: 1, ..Default::default() };
    let token = list(&server, first).await.next_page_token;
    for (request, fields) in [
        (v1::ListUsageRequest { page_size: 1_001, ..Default::default() }, vec!["page_size"]),
        (v1::ListUsageRequest { search: "x".repeat(65), ..Default::default() }, vec!["search"]),
        (request("zz", 0), vec!["page_token"]),
        (request("", 99), vec!["order"]),
        (request(&token, UsageOrder::Name.into()), vec!["page_token"]),
    ] {
        let refused = server.quota.clone().list_usage(request).await;
        check_error(refused, Code::InvalidArgument, "INVALID_REQUEST", &fields, false);
    }
}

fn at(value: &Value, pointer: &str) -> Value {
    value.pointer(pointer).cloned().unwrap_or(Value::Null)
}

#[tokio::test]
async fn the_list_and_the_replay_are_json_too() {
    let server = used().await;
    let path = "GET /api/v1/usage?order=used&page_size=1&search=f";
    let (status, found) = server.json(path, "").await;
    assert_eq!((status, at(&found, "/orgs/0/org")), (200, json!("full")), "{found}");
    assert_eq!(at(&found, "/orgs/0/severity"), json!("SEVERITY_CRITICAL"));
    assert_eq!(at(&found, "/totalSize"), json!(2));
    let (status, refused) = server.json("GET /api/v1/usage?order=x", "").await;
    assert_eq!(status, 400, "{refused}");
    let body = r#"{"org": {"dailyCalls": "4", "reservePercent": 0}}"#;
    let (status, found) = server.json("POST /api/v1/orgs/half/replay", body).await;
    assert_eq!((status, at(&found, "/edited/total/refusedByOrg")), (200, json!("1")), "{found}");
    assert_eq!(at(&found, "/inForce/total/granted"), json!("5"));
    let (_, entry) = server.json("GET /api/v1/orgs/half", "").await;
    assert_eq!(at(&entry, "/entry/org/dailyCalls"), json!("10"), "nothing has changed");
}

#[tokio::test]
async fn ten_thousand_orgs_are_listed_at_once() {
    const ORGS: usize = 10_000;
    const USED: usize = 1_000;
    let mut config = "orgs:\n".to_owned();
    for org in 0..ORGS {
        let _ = writeln!(
            config,
            "  - {{id: org-{org:05}, daily_calls: 15000, workspaces: [{{id: eu, daily_calls: \
             5000}}, {{id: us, daily_calls: 5000}}]}}"
        );
    }
    let server = TestServer::start(&config).await;
    let mut asked = JoinSet::new();
    for part in 0..10 {
        let mut quota = server.quota.clone();
        asked.spawn(async move {
            for org in (part..USED).step_by(10) {
                let request = v1::AcquireRequest {
                    workspace: "eu".into(),
                    ..of(&format!("org-{org:05}"), 1 + u32::try_from(org).expect("small"))
                };
                quota.acquire(request).await.expect("it is decided");
            }
        });
    }
    while let Some(done) = asked.join_next().await {
        done.expect("all are asked for");
    }
    let is_whole = |list: &v1::ListUsageResponse| {
        list.total_size as usize == ORGS
            && list.orgs[0].total.as_ref().is_some_and(|total| total.used_by_caller > 0)
    };
    listed(&server, is_whole).await;
    // A list is shown for a while after the sweep that made it: some of these have
    // made one.
    let mut times = Vec::new();
    let mut swept = Vec::new();
    let mut as_of = None;
    for order in [UsageOrder::Trouble, UsageOrder::Used, UsageOrder::Name].iter().cycle().take(60) {
        let order = (*order).into();
        let began = Instant::now();
        let found = list(&server, v1::ListUsageRequest { order, ..Default::default() }).await;
        let took = began.elapsed();
        assert_eq!(found.orgs.len(), 50);
        if as_of != found.as_of && as_of.is_some() {
            swept.push(took);
        } else {
            times.push(took);
        }
        as_of = found.as_of;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    times.sort();
    println!(
        "10,000 orgs: a page takes {:?} (median), {:?} at most; with a sweep {swept:?}",
        times[times.len() / 2],
        times[times.len() - 1],
    );
}
