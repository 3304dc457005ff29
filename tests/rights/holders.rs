//! Permits have holders, and what is told by those who are not believed moves
//! nothing of others.

use quotagate::proto::{
    admin::v1 as admin,
    v1::{self, OrgUsage, acquire_response::Outcome},
};
use tonic::Code;

use crate::{
    common::TestServer,
    world::{ask, by, granted, reason, start},
};

async fn usage(server: &TestServer) -> OrgUsage {
    let request = v1::GetUsageRequest { org: "acme".into() };
    let answer = server.quota.clone().get_usage(by("ops", request)).await.expect("they may");
    answer.into_inner().usage.expect("it has usage")
}

/// What Salesforce is said to have answered: the total is used up.
fn total_exceeded(permit_id: &str) -> v1::ReportRequest {
    v1::ReportRequest {
        permit_id: permit_id.into(),
        http_status: 403,
        error_code: "REQUEST_LIMIT_EXCEEDED".into(),
        error_message: "TotalRequests Limit exceeded.".into(),
        limit_info: vec!["api-usage=100000/100000".into()],
        ..Default::default()
    }
}

#[tokio::test]
async fn a_permit_is_settled_by_its_holder_and_by_nobody_else() {
    let server = start().await;
    let mut client = server.quota.clone();
    let permit =
        granted(&server, "sync", v1::AcquireRequest { calls: 5, ..ask("acme", "eu") }).await;
    let id = permit.permit_id;
    let before = usage(&server).await;
    for who in ["other", "inbox", "ops"] {
        let release = v1::ReleaseRequest { permit_id: id.clone(), unused_calls: None };
        let released = client.release(by(who, release)).await.expect_err("it is not theirs");
        let reported = client.report(by(who, total_exceeded(&id))).await.expect_err("nor this");
        for refused in [released, reported] {
            assert_eq!(refused.code(), Code::PermissionDenied, "{who}");
            assert_eq!(reason(&refused), "PERMIT_OF_ANOTHER", "{who}");
        }
    }
    let after = usage(&server).await;
    assert_eq!((after.cooling, after.readings), (before.cooling, before.readings));
    assert_eq!(after.limits[0].used_by_caller, before.limits[0].used_by_caller);
    let release = v1::ReleaseRequest { permit_id: id, unused_calls: Some(2) };
    let released = client.release(by("sync", release)).await.expect("it is theirs").into_inner();
    assert_eq!((released.returned_calls, released.already_settled), (2, false));
}

#[tokio::test]
async fn who_is_not_believed_closes_nothing_and_who_is_does() {
    let server = start().await;
    let mut client = server.quota.clone();
    let permit = granted(&server, "other", ask("acme", "eu")).await;
    let told = client.report(by("other", total_exceeded(&permit.permit_id))).await;
    let told = told.expect("their own call is settled").into_inner();
    assert!(!told.already_settled, "{told:?}");
    let seen = usage(&server).await;
    assert_eq!((seen.cooling.len(), seen.readings.len()), (0, 0));
    assert_eq!(seen.limits[0].foreign, 0, "their reading is not taken");

    let permit = granted(&server, "sync", ask("acme", "eu")).await;
    client.report(by("sync", total_exceeded(&permit.permit_id))).await.expect("it is taken");
    let seen = usage(&server).await;
    assert_eq!(seen.cooling.len(), 1);
    assert_eq!(seen.readings[0].told_by, "token:sync");
}

#[tokio::test]
async fn names_of_requests_are_each_principals_own_and_declared_names_count_for_nothing() {
    let server = start().await;
    let request = v1::AcquireRequest { request_id: "same".into(), ..ask("acme", "eu") };
    let mut ids = Vec::new();
    for who in ["sync", "other", "sync"] {
        let mut request = by(who, request.clone());
        // Somebody else's name, and one that could not be declared.
        let name = if who == "other" { "token:sync" } else { "a b" };
        request.metadata_mut().insert("quotagate-caller", name.parse().expect("ASCII"));
        let answer = server.quota.clone().acquire(request).await.expect("it is decided");
        let Some(Outcome::Permit(permit)) = answer.into_inner().outcome else { panic!("{who}") };
        ids.push(permit.permit_id);
    }
    assert_eq!(ids[0], ids[2], "a repeat finds its permit");
    assert_ne!(ids[0], ids[1], "and nobody else's");
    let tables = usage(&server).await.attribution.expect("it is asked for").tables;
    let callers = tables
        .iter()
        .find(|table| table.dimension() == v1::AttributionDimension::Caller)
        .expect("there is one");
    let mut names: Vec<_> = callers.consumers.iter().map(|caller| caller.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["token:other", "token:sync"]);
}

#[tokio::test]
async fn each_change_is_on_record_with_who_and_from_where() {
    let server = start().await;
    let mut client = server.admin.clone();
    for who in ["ops", "landlord"] {
        let workspace = admin::Workspace { id: "eu".into(), daily_calls: 7, ..Default::default() };
        let put = admin::PutWorkspaceRequest {
            org: "acme".into(),
            workspace: Some(workspace),
            ..Default::default()
        };
        client.put_workspace(by(who, put)).await.expect("they may");
    }
    let get = || admin::GetOrgRequest { org: "acme".into() };
    let changes = client.get_org(by("ops", get())).await.expect("they may").into_inner().changes;
    let told: Vec<_> =
        changes.iter().map(|change| (change.who.as_str(), change.action.as_str())).collect();
    assert_eq!(told, [("token:landlord", "PutWorkspace"), ("token:ops", "PutWorkspace")]);
    assert!(changes.iter().all(|change| change.from.starts_with("127.0.0.1:")), "{changes:?}");
    assert!(changes[1].before.contains("50000") && changes[1].after.contains("daily_calls: 7"));
    let partly = client.get_org(by("landlord", get())).await.expect("they may").into_inner();
    assert!(partly.changes.is_empty(), "each shows all of the org");
}
