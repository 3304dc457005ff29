//! Everybody tries everything: what the model allows passes, and nothing else.

use quotagate::proto::{
    admin::v1::{self as admin},
    v1::{self, AcquireMode},
};
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    common::TestServer,
    world::{CLASSES, May, OPERATIONS, ORGS, WHO, WORKSPACES, ask, by, may, reason, start},
};

/// What is allowed may find that there is no such org; what is not must hear
/// nothing but that.
#[track_caller]
fn check<T>(what: &str, org: &str, allowed: bool, answer: &Result<Response<T>, Status>) {
    let code = answer.as_ref().err().map_or(Code::Ok, Status::code);
    let expected = match (allowed, org) {
        (false, _) => Code::PermissionDenied,
        (true, "nowhere") => Code::NotFound,
        (true, _) => Code::Ok,
    };
    assert_eq!(code, expected, "{what}: {:?}", answer.as_ref().err());
    if !allowed {
        let reason = answer.as_ref().err().map(reason);
        assert_eq!(reason.as_deref(), Some("NOT_ALLOWED"), "{what}");
    }
}

#[tokio::test]
async fn calls_are_granted_to_those_who_may_make_them_and_to_nobody_else() {
    let server = start().await;
    let mut client = server.quota.clone();
    let mut tried = 0;
    for (who, org) in WHO.iter().flat_map(|who| ORGS.map(|org| (*who, org))) {
        for (workspace, operation) in
            WORKSPACES.iter().flat_map(|id| OPERATIONS.map(|operation| (*id, operation)))
        {
            for class in CLASSES {
                let what = format!("{who}: {operation} as {class:?} for {workspace:?} of {org}");
                let request = v1::AcquireRequest {
                    operation: operation.into(),
                    traffic_class: class.into(),
                    ..ask(org, workspace)
                };
                let acquire = may(who, May::Acquire(operation, class), org, workspace);
                check(&what, org, acquire, &client.acquire(by(who, request.clone())).await);
                let look = v1::AcquireRequest { mode: AcquireMode::CheckOnly.into(), ..request };
                let allowed = acquire || may(who, May::Read, org, workspace);
                check(&what, org, allowed, &client.acquire(by(who, look)).await);
                tried += 2;
            }
        }
    }
    assert_eq!(tried, 7 * 3 * 3 * 2 * 4 * 2);
}

#[tokio::test]
async fn what_is_told_without_a_permit_needs_the_right_to_report() {
    let server = start().await;
    for (who, org) in WHO.iter().flat_map(|who| ORGS.map(|org| (*who, org))) {
        let report = v1::ReportRequest { org: org.into(), http_status: 200, ..Default::default() };
        let answer = server.quota.clone().report(by(who, report)).await;
        check(&format!("{who}: {org}"), org, may(who, May::Report, org, ""), &answer);
    }
}

#[tokio::test]
async fn who_looks_sees_their_workspaces_and_no_others() {
    let server = start().await;
    let mut client = server.quota.clone();
    for workspace in WORKSPACES {
        client.acquire(by("ops", ask("acme", workspace))).await.expect("it is decided");
    }
    for (who, org) in WHO.iter().flat_map(|who| ORGS.map(|org| (*who, org))) {
        let what = format!("{who}: {org}");
        let sees = |workspace: &str| may(who, May::Read, org, workspace);
        let mine: Vec<&str> = ["eu", "us"].into_iter().filter(|id| sees(id)).collect();
        let usage = client.get_usage(by(who, v1::GetUsageRequest { org: org.into() })).await;
        check(&what, org, !mine.is_empty(), &usage);
        let watched = client.watch_usage(by(who, v1::WatchUsageRequest { org: org.into() })).await;
        check(&what, org, !mine.is_empty(), &watched);
        let demand = v1::GetDemandRequest { org: org.into(), ..Default::default() };
        let demand = client.get_demand(by(who, demand)).await;
        check(&what, org, !mine.is_empty(), &demand);
        let (Ok(usage), Ok(watched), Ok(demand)) = (usage, watched, demand) else { continue };
        let first = watched.into_inner().message().await.expect("it goes on").expect("an event");
        for usage in [usage.into_inner().usage, first.usage] {
            let usage = usage.expect("it has usage");
            let names: Vec<_> = usage.workspaces.iter().map(|w| w.workspace.as_str()).collect();
            assert_eq!(names, mine, "{what}");
            assert!(!usage.limits.is_empty(), "{what}: the org's totals are for all of them");
            let sees_all = who == "ops";
            assert_eq!(!usage.execution_users.is_empty(), sees_all && org == "acme", "{what}");
            assert!(sees_all || usage.attribution.is_none() && usage.queue.is_none(), "{what}");
        }
        if org == "acme" {
            let series = demand.into_inner().series;
            let mut names: Vec<_> = series.iter().map(|s| s.workspace.as_str()).collect();
            names.retain(|name| !name.is_empty());
            assert_eq!(names, mine, "{what}");
        }
    }
}

/// What an administrator tries, with what it is about: `None` is all of the org.
async fn administer(
    server: &TestServer,
    who: &str,
    org: &str,
) -> Vec<(&'static str, Option<&'static str>, Result<Response<()>, Status>)> {
    let mut client = server.admin.clone();
    let (org, validate_only) = (org.to_owned(), true);
    let mut tried = Vec::new();
    for workspace in ["eu", "us"] {
        let declared = admin::Workspace { id: workspace.into(), ..Default::default() };
        let put = admin::PutWorkspaceRequest {
            org: org.clone(),
            workspace: Some(declared),
            validate_only,
            ..Default::default()
        };
        let put = client.put_workspace(by(who, put)).await;
        if let Ok(answer) = &put {
            let entry = answer.get_ref().entry.clone().unwrap_or_default();
            let shown = entry.org.unwrap_or_default().workspaces.len();
            let all = if org == "nowhere" { 1 } else { 2 };
            assert_eq!(shown, if who == "ops" { all } else { 1 }, "{who}: {org}");
        }
        tried.push(("PutWorkspace", Some(workspace), put.map(|answer| answer.map(drop))));
        let delete = admin::DeleteWorkspaceRequest {
            org: org.clone(),
            workspace: workspace.into(),
            validate_only,
            ..Default::default()
        };
        let deleted = client.delete_workspace(by(who, delete)).await;
        tried.push(("DeleteWorkspace", Some(workspace), deleted.map(|answer| answer.map(drop))));
    }
    let declared = admin::Org { id: org.clone(), ..Default::default() };
    let put = admin::PutOrgRequest { org: Some(declared), validate_only, ..Default::default() };
    let put = client.put_org(by(who, put)).await;
    tried.push(("PutOrg", None, put.map(|answer| answer.map(drop))));
    let user = admin::PutExecutionUserRequest {
        org: org.clone(),
        execution_user: "bob".into(),
        validate_only,
        ..Default::default()
    };
    let put = client.put_execution_user(by(who, user)).await;
    tried.push(("PutExecutionUser", None, put.map(|answer| answer.map(drop))));
    tried
}

#[tokio::test]
async fn limits_are_changed_by_those_who_administer_them_and_by_nobody_else() {
    let server = start().await;
    for (who, org) in WHO.iter().flat_map(|who| ORGS.map(|org| (*who, org))) {
        for (method, workspace, answer) in administer(&server, who, org).await {
            let what = format!("{who}: {method} {workspace:?} of {org}");
            let allowed = match workspace {
                Some(workspace) => may(who, May::Admin, org, workspace),
                None => who == "ops",
            };
            // An org can be declared that was not; of one that is not, nothing can
            // be withdrawn.
            let found = if method == "DeleteWorkspace" { org } else { "acme" };
            check(&what, found, allowed, &answer);
        }
    }
}

#[tokio::test]
async fn administrators_see_what_is_theirs_and_lists_tell_of_nothing_else() {
    let server = start().await;
    let mut client = server.admin.clone();
    for who in WHO {
        let orgs = client.list_orgs(by(who, admin::ListOrgsRequest::default())).await;
        let page = orgs.expect("a list may be empty").into_inner();
        let shown: Vec<(String, usize)> = page
            .orgs
            .into_iter()
            .map(|entry| entry.org.unwrap_or_default())
            .map(|org| (org.id, org.workspaces.len()))
            .collect();
        let expected: &[(&str, usize)] = match who {
            "ops" => &[("acme", 2), ("beta", 2)],
            "landlord" => &[("acme", 1)],
            _ => &[],
        };
        let expected: Vec<_> = expected.iter().map(|(id, of)| ((*id).to_owned(), *of)).collect();
        assert_eq!(shown, expected, "{who}");
        assert_eq!(page.next_page_token, "", "{who}: nothing is left");
        for org in ORGS {
            let what = format!("{who}: GetOrg {org}");
            let allowed = may(who, May::Admin, org, "eu");
            let answer = client.get_org(by(who, admin::GetOrgRequest { org: org.into() })).await;
            check(&what, org, allowed, &answer);
        }
        let cluster = client.get_cluster(by(who, admin::GetClusterRequest {})).await;
        check(who, "", who == "ops", &cluster);
    }
}

#[tokio::test]
async fn a_stranger_cannot_tell_an_org_that_there_is_from_one_that_there_is_not() {
    let server = start().await;
    let mut quota = server.quota.clone();
    let mut admin = server.admin.clone();
    for who in ["sync", "viewer", "landlord", "nobody"] {
        let mut heard = Vec::new();
        for org in ["beta", "nowhere"] {
            let org = org.to_owned();
            let usage = v1::GetUsageRequest { org: org.clone() };
            let report =
                v1::ReportRequest { org: org.clone(), http_status: 200, ..Default::default() };
            let delete = admin::DeleteOrgRequest { org: org.clone(), ..Default::default() };
            let refusals = [
                quota.acquire(by(who, ask(&org, "eu"))).await.map(drop),
                quota.get_usage(by(who, usage)).await.map(drop),
                quota.report(by(who, report)).await.map(drop),
                admin.get_org(by(who, admin::GetOrgRequest { org: org.clone() })).await.map(drop),
                admin.delete_org(by(who, delete)).await.map(drop),
            ];
            let refusals = refusals.map(|refused| refused.expect_err("it is not theirs"));
            heard.push(refusals.map(|status| {
                let (message, details) = (status.message().to_owned(), status.details().to_vec());
                assert!(message.contains(&format!("token:{who}")), "{message}");
                assert!(!message.contains("beta") && !message.contains("nowhere"), "{message}");
                (status.code(), message, details)
            }));
        }
        assert_eq!(heard[0], heard[1], "{who}");
    }
}

#[tokio::test]
async fn who_shows_nothing_or_something_wrong_stays_outside_and_hears_why() {
    let server = start().await;
    let mut client = server.quota.clone();
    for (authorization, expected) in [
        (None, "NO_CREDENTIALS"),
        (Some("Basic b3BzOm9wcw=="), "NO_CREDENTIALS"),
        (Some("Bearer qg_wrong"), "TOKEN_UNKNOWN"),
        (Some("Bearer "), "TOKEN_UNKNOWN"),
    ] {
        let mut request = Request::new(ask("acme", "eu"));
        if let Some(value) = authorization {
            request.metadata_mut().insert("authorization", value.parse().expect("ASCII"));
        }
        let refused = client.acquire(request).await.expect_err("nobody is known");
        assert_eq!(refused.code(), Code::Unauthenticated, "{authorization:?}");
        assert_eq!(reason(&refused), expected, "{authorization:?}");
        assert!(!refused.message().contains("qg_wrong"), "{refused:?}");
    }
    let mut health = HealthClient::new(server.channel.clone());
    let check = HealthCheckRequest { service: String::new() };
    health.check(check).await.expect("health needs no name");
}
