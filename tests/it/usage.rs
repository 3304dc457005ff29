//! GetUsage and WatchUsage.

use quotagate::proto::{
    admin::v1 as admin,
    v1::{self, LimitScope, TrafficClass},
};
use tonic::Streaming;

use crate::{
    common::TestServer,
    talk::{acquire, limit, release, total_used},
};

const ACME: &str = "
orgs:
  - id: acme
    daily_calls: 1000
    execution_users: [alice]
    workspaces: [{id: eu, daily_calls: 10, classes: {bulk: {pause: 40, resume: 40}}}, {id: us}]
";

async fn watch(server: &TestServer) -> Streaming<v1::WatchUsageResponse> {
    let request = v1::WatchUsageRequest { org: "acme".into() };
    server.quota.clone().watch_usage(request).await.expect("it is watched").into_inner()
}

async fn next(events: &mut Streaming<v1::WatchUsageResponse>) -> v1::WatchUsageResponse {
    events.message().await.expect("no error").expect("it goes on")
}

fn bulk(calls: u32) -> v1::AcquireRequest {
    let (workspace, traffic_class) = ("eu".into(), TrafficClass::Bulk.into());
    v1::AcquireRequest { workspace, traffic_class, calls, ..acquire("rest") }
}

#[tokio::test]
async fn usage_shows_the_total_and_each_workspace_and_user() {
    let server = TestServer::start(ACME).await;
    server.permit(bulk(3)).await;
    let of_user = v1::AcquireRequest { workspace: "us".into(), ..acquire("conversations.delete") };
    server.permit(of_user).await;
    let usage = server.usage().await;
    assert_eq!(usage.org, "acme");
    let total = limit(&usage.limits, LimitScope::Org, "calls");
    assert_eq!((total.max, total.used_by_caller, total.reserved), (1_000, 3, 50));
    assert_eq!(total.remaining, 997 - total.held, "before the reserve is taken off");
    assert_eq!(usage.permits_out, 2);
    let names: Vec<&str> = usage.workspaces.iter().map(|w| w.workspace.as_str()).collect();
    assert_eq!(names, ["eu", "us"]);
    let [eu, us] = &usage.workspaces[..] else { panic!("{usage:?}") };
    let cap = limit(&eu.limits, LimitScope::Workspace, "calls");
    assert_eq!((cap.max, cap.used_by_caller, cap.remaining), (10, 3, 7));
    assert_eq!(limit(&us.limits, LimitScope::Workspace, "calls").used_by_caller, 1);
    let share = limit(&us.limits, LimitScope::Org, "calls");
    assert_eq!((share.used_by_caller, share.used_by_others), (0, 3));
    assert!(eu.class_state.is_some() && us.class_state.is_none(), "{usage:?}");
    let [alice] = &usage.execution_users[..] else { panic!("{usage:?}") };
    assert!(alice.in_pool);
    let deletes = limit(&alice.limits, LimitScope::ExecutionUser, "conversation-deletes");
    assert_eq!((deletes.max, deletes.used_by_caller), (10, 1));
}

#[tokio::test]
async fn to_look_at_an_unknown_org_shows_the_template_and_makes_nothing() {
    let server = TestServer::start("template: {daily_calls: 7}").await;
    let usage = server.usage().await;
    assert_eq!(limit(&usage.limits, LimitScope::Org, "calls").max, 7);
    assert!(usage.workspaces.is_empty() && usage.execution_users.is_empty());
    let mut events = watch(&server).await;
    assert!(next(&mut events).await.snapshot);
    let orgs = server.admin.clone().list_orgs(admin::ListOrgsRequest::default()).await;
    assert_eq!(orgs.expect("it is listed").into_inner().orgs, []);
}

#[tokio::test]
async fn a_watch_begins_with_all_goes_on_with_changes_and_drops_no_transition() {
    let server = TestServer::start(ACME).await;
    // The ledger is there before; its beginning would be another snapshot.
    let permit = server.permit(bulk(1)).await;
    server.release(release(&permit, None)).await;
    let mut events = watch(&server).await;
    let first = next(&mut events).await;
    assert!(first.snapshot && first.transitions.is_empty(), "{first:?}");
    let usage = first.usage.expect("the usage");
    assert_eq!((total_used(&usage), usage.workspaces.len()), (0, 2));

    server.permit(bulk(4)).await;
    let mut transitions = Vec::new();
    let mut used = 0;
    while used < 4 || transitions.is_empty() {
        let event = next(&mut events).await;
        assert!(!event.snapshot, "{event:?}");
        let usage = event.usage.expect("what changed");
        used = used.max(usage.limits.iter().map(|l| l.used_by_caller).max().unwrap_or(0));
        assert!(usage.execution_users.is_empty(), "nothing changed there");
        transitions.extend(event.transitions);
    }
    let [paused] = &transitions[..] else { panic!("{transitions:?}") };
    assert_eq!(paused.workspace, "eu");
    let status = paused.status.expect("the class");
    assert_eq!(status.traffic_class(), TrafficClass::Bulk);
    assert_eq!(status.state(), v1::ClassRunState::Paused);
    assert_eq!((status.pauses_at_percent, status.resumes_below_percent), (40, 40));

    // Raising the cap resumes it.
    let workspace = admin::Workspace { id: "eu".into(), daily_calls: 100, ..Default::default() };
    let request = admin::PutWorkspaceRequest {
        org: "acme".into(),
        workspace: Some(workspace),
        ..Default::default()
    };
    server.admin.clone().put_workspace(request).await.expect("it is in force");
    let resumed = loop {
        if let Some(change) = next(&mut events).await.transitions.first() {
            break *change.status.as_ref().expect("the class");
        }
    };
    assert_eq!(resumed.state(), v1::ClassRunState::Running);
}

#[tokio::test]
async fn a_watch_ends_when_the_service_stops() {
    let server = TestServer::start(ACME).await;
    let mut events = watch(&server).await;
    next(&mut events).await;
    let stopped = tokio::spawn(server.service.stop());
    while let Some(event) = events.message().await.expect("it ends without an error") {
        assert!(!event.snapshot, "{event:?}");
    }
    drop((server.quota, server.admin, server.channel));
    stopped.await.expect("it stops");
}
