//! AdminService: what is declared, what is in force, and what is remembered.

use quotagate::{
    proto::{
        admin::v1::{self as admin, OrgSource},
        v1::{self, DenialReason, LimitScope},
    },
    store::StoreAddress,
};
use tonic::{Code, Status};

use crate::{
    common::TestServer,
    talk::{acquire, check_error, limit, release, seconds, total_used},
};

const FILE: &str = "
orgs:
  - {id: acme, daily_calls: 2, reserve_percent: 0}
";

fn org(daily_calls: u64) -> admin::Org {
    let reserve_percent = Some(0);
    let concurrent_calls = 5;
    admin::Org {
        id: "acme".into(),
        daily_calls,
        concurrent_calls,
        reserve_percent,
        ..Default::default()
    }
}

fn calls(calls: u32) -> v1::AcquireRequest {
    v1::AcquireRequest { calls, ..acquire("rest") }
}

/// Every change of the org, through its method.
async fn change(server: &TestServer, what: &str) -> Result<Option<admin::OrgEntry>, Status> {
    let mut client = server.admin.clone();
    let org = || "acme".to_owned();
    let workspace = || "eu".to_owned();
    let user = || "alice".to_owned();
    Ok(match what {
        "PutWorkspace" => {
            let declared =
                admin::Workspace { id: workspace(), daily_calls: 1, ..Default::default() };
            let request = admin::PutWorkspaceRequest {
                org: org(),
                workspace: Some(declared),
                ..Default::default()
            };
            client.put_workspace(request).await?.into_inner().entry
        }
        "DeleteWorkspace" => {
            let request = admin::DeleteWorkspaceRequest {
                org: org(),
                workspace: workspace(),
                ..Default::default()
            };
            client.delete_workspace(request).await?.into_inner().entry
        }
        "PutExecutionUser" => {
            let request = admin::PutExecutionUserRequest {
                org: org(),
                execution_user: user(),
                ..Default::default()
            };
            client.put_execution_user(request).await?.into_inner().entry
        }
        "DeleteExecutionUser" => {
            let request = admin::DeleteExecutionUserRequest {
                org: org(),
                execution_user: user(),
                ..Default::default()
            };
            client.delete_execution_user(request).await?.into_inner().entry
        }
        "DeleteOrg" => {
            let request = admin::DeleteOrgRequest { org: org(), ..Default::default() };
            client.delete_org(request).await?;
            None
        }
        what => panic!("there is no {what}"),
    })
}

#[tokio::test]
async fn what_is_put_is_in_force_at_the_answer_and_what_is_deleted_no_more() {
    let server = TestServer::start(FILE).await;
    assert_eq!(server.get_org().await.entry.expect("it").source(), OrgSource::File);
    let entry = server.put_org(org(3)).await;
    assert_eq!((entry.source(), entry.org), (OrgSource::Api, Some(org(3))));
    server.permit(calls(3)).await;
    assert_eq!(server.denial(calls(1)).await.reason(), DenialReason::OrgLimit);

    let entry = change(&server, "PutWorkspace").await.expect("it is in force").expect("the entry");
    assert_eq!(entry.org.expect("the org").workspaces[0].id, "eu");
    let entry = change(&server, "PutExecutionUser").await.expect("in force").expect("the entry");
    assert_eq!(entry.org.expect("the org").execution_users, ["alice"]);
    let chosen = server.permit(acquire("conversations.delete")).await;
    assert_eq!(chosen.execution_user, "alice");
    let in_eu = v1::AcquireRequest { workspace: "eu".into(), ..acquire("conversations.delete") };
    server.permit(in_eu.clone()).await;
    assert_eq!(server.denial(in_eu.clone()).await.reason(), DenialReason::WorkspaceLimit);
    change(&server, "DeleteWorkspace").await.expect("it is in force");
    server.permit(in_eu).await;
    change(&server, "DeleteExecutionUser").await.expect("it is in force");
    let nobody = server.quota.clone().acquire(acquire("conversations.delete")).await;
    let (code, field) = (Code::InvalidArgument, "execution_user");
    check_error(nobody, code, "EXECUTION_USER_NEEDED", &[field], false);

    for gone in ["DeleteWorkspace", "DeleteExecutionUser"] {
        check_error(change(&server, gone).await, Code::NotFound, "NOT_FOUND", &[], false);
    }
    change(&server, "DeleteOrg").await.expect("it is withdrawn");
    let entry = server.get_org().await.entry.expect("the file still has it");
    assert_eq!((entry.source(), entry.org), (OrgSource::File, Some(org(2))));
    check_error(change(&server, "DeleteOrg").await, Code::NotFound, "NOT_FOUND", &[], false);
}

#[tokio::test]
async fn an_org_that_nobody_knows_is_not_found() {
    let server = TestServer::start("").await;
    let request = admin::GetOrgRequest { org: "acme".into() };
    let found = server.admin.clone().get_org(request).await;
    check_error(found, Code::NotFound, "NOT_FOUND", &[], false);
    check_error(change(&server, "DeleteOrg").await, Code::NotFound, "NOT_FOUND", &[], false);
    server.permit(calls(1)).await;
    assert_eq!(server.get_org().await.entry.expect("it counts").source(), OrgSource::Template);
}

#[tokio::test]
async fn a_declaration_that_is_wrong_names_every_fault_and_changes_nothing() {
    let server = TestServer::start(FILE).await;
    let workspace = || admin::Workspace { id: "eu".into(), ..Default::default() };
    let wrong = admin::Org {
        reserve_percent: Some(101),
        workspaces: vec![workspace(), workspace()],
        preset: "no such".into(),
        ..org(3)
    };
    let request = admin::PutOrgRequest { org: Some(wrong), ..Default::default() };
    let status = server.admin.clone().put_org(request).await.expect_err("it is wrong");
    let details = tonic_types::StatusExt::get_error_details(&status);
    let violations = &details.bad_request().expect("the fields").field_violations;
    assert!(violations.len() >= 3, "{violations:?}");
    assert_eq!(status.code(), Code::InvalidArgument);
    let after = server.get_org().await;
    assert_eq!((after.entry.expect("it").org, after.changes), (Some(org(2)), Vec::new()));
}

#[tokio::test]
async fn only_to_validate_changes_nothing() {
    let server = TestServer::start(FILE).await;
    let before = server.get_org().await;
    let request =
        admin::PutOrgRequest { org: Some(org(9)), validate_only: true, ..Default::default() };
    let answer = server.admin.clone().put_org(request).await.expect("it is good").into_inner();
    assert_eq!(answer.entry.expect("as it would be").org, Some(org(9)));
    assert_eq!(server.get_org().await, before);
    server.denial(calls(3)).await;
}

#[tokio::test]
async fn a_change_of_what_has_changed_meanwhile_is_refused() {
    let server = TestServer::start(FILE).await;
    let put = async |etag: &str, daily_calls| {
        let etag = etag.to_owned();
        let request =
            admin::PutOrgRequest { org: Some(org(daily_calls)), etag, ..Default::default() };
        server.admin.clone().put_org(request).await
    };
    let first = server.get_org().await.entry.expect("it").etag;
    let entry = put(&first, 5).await.expect("it is the present one").into_inner().entry;
    check_error(put(&first, 6).await, Code::Aborted, "ETAG_MISMATCH", &[], false);
    put(&entry.expect("the entry").etag, 7).await.expect("it is the present one");
    let declared = server.get_org().await.entry.expect("it").org.expect("the org");
    assert_eq!(declared.daily_calls, 7);
}

#[tokio::test]
async fn raising_wakes_a_waiter_at_once_and_lowering_lets_nothing_underflow() {
    let server = TestServer::start(FILE).await;
    let holder = server.permit(calls(2)).await;
    let mut quota = server.quota.clone();
    let waits = v1::AcquireRequest { max_wait: seconds(300), ..calls(1) };
    let waiter = tokio::spawn(async move { quota.acquire(waits).await });
    server.until_waiting(1).await;
    server.put_org(org(3)).await;
    let outcome = waiter.await.expect("no panic").expect("decided").into_inner().outcome;
    assert!(matches!(outcome, Some(v1::acquire_response::Outcome::Permit(_))), "{outcome:?}");

    server.put_org(org(1)).await;
    let total = limit(&server.usage().await.limits, LimitScope::Org, "calls");
    assert_eq!((total.max, total.used_by_caller, total.remaining), (1, 3, 0), "{total:?}");
    assert_eq!(server.denial(calls(1)).await.reason(), DenialReason::OrgLimit);
    assert_eq!(server.release(release(&holder, None)).await, (2, false), "permits stay valid");
    let total = limit(&server.usage().await.limits, LimitScope::Org, "calls");
    assert_eq!((total.used_by_caller, total.remaining), (1, 0), "{total:?}");
    server.put_org(org(2)).await;
    server.permit(v1::AcquireRequest { max_wait: seconds(300), ..calls(1) }).await;
}

#[tokio::test]
async fn orgs_are_listed_in_pages() {
    let server = TestServer::start(FILE).await;
    for id in ["b", "d", "c"] {
        server.put_org(admin::Org { id: id.into(), ..Default::default() }).await;
    }
    server.permit(v1::AcquireRequest { org: "used".into(), ..calls(1) }).await;
    let mut names = Vec::new();
    let mut pages = 0;
    let mut page_token = String::new();
    loop {
        let request = admin::ListOrgsRequest { page_size: 2, page_token, ..Default::default() };
        let page = server.admin.clone().list_orgs(request).await.expect("a page").into_inner();
        names.extend(page.orgs.into_iter().map(|entry| entry.org.expect("the org").id));
        pages += 1;
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!((names.join(" "), pages), ("acme b c d used".into(), 3));
}

#[tokio::test]
async fn the_cluster_is_one_node() {
    let server = TestServer::start(FILE).await;
    server.permit(calls(1)).await;
    let request = admin::GetClusterRequest {};
    let cluster = server.admin.clone().get_cluster(request).await.expect("it").into_inner();
    assert_eq!((cluster.store.as_str(), cluster.shards), ("memory", 256));
    let [node] = &cluster.nodes[..] else { panic!("{cluster:?}") };
    assert_eq!((node.name.as_str(), node.owned_shards, node.orgs), ("test", 256, 1));
    assert_eq!(node.address, server.grpc_addr.to_string());
    assert!(node.min_epoch > 0 && node.min_epoch <= node.max_epoch);
}

#[tokio::test]
async fn counts_declarations_and_changes_survive_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = || StoreAddress::File(directory.path().to_owned());
    let server = TestServer::start_on(FILE, store()).await;
    server.put_org(org(5)).await;
    change(&server, "PutWorkspace").await.expect("it is in force");
    let permit = server.permit(calls(3)).await;
    let before = server.get_org().await;
    server.service.stop().await;
    drop((server.quota, server.admin, server.channel));

    let server = TestServer::start_on(FILE, store()).await;
    let after = server.get_org().await;
    assert_eq!(after, before);
    let actions: Vec<&str> = after.changes.iter().map(|change| change.action.as_str()).collect();
    assert_eq!(actions, ["PutWorkspace", "PutOrg"], "newest first");
    let [put_workspace, put_org] = &after.changes[..] else { panic!("{after:?}") };
    assert!(put_org.before.contains("daily_calls: 2"), "{put_org:?}");
    assert!(put_org.after.contains("daily_calls: 5"), "{put_org:?}");
    assert_eq!(put_workspace.before, put_org.after);
    assert!(put_org.who.starts_with("127.0.0.1:") && put_org.time.is_some(), "{put_org:?}");

    let usage = server.usage().await;
    let total = limit(&usage.limits, LimitScope::Org, "calls");
    assert_eq!((total_used(&usage), total.held), (3, 0), "an orderly stop wastes nothing");
    assert_eq!(server.release(release(&permit, None)).await, (0, true), "of a former life");
    server.permit(calls(2)).await;
    assert_eq!(server.denial(calls(1)).await.reason(), DenialReason::OrgLimit);
    server.service.stop().await;
}

/// An org that left something to the template was shown with zeros, though the
/// template's figures were in force.
#[tokio::test]
async fn what_the_template_gives_is_shown_but_not_declared_by_a_change() {
    let server =
        TestServer::start("template: {daily_calls: 70, concurrent_calls: 3, reserve_percent: 9}")
            .await;
    let entry = change(&server, "PutWorkspace").await.unwrap().unwrap();
    let shown = entry.org.unwrap();
    assert_eq!((shown.daily_calls, shown.concurrent_calls), (70, 3));
    assert_eq!(shown.reserve_percent, Some(9));
    let request = admin::GetOrgRequest { org: "acme".into() };
    let got = server.admin.clone().get_org(request).await.unwrap().into_inner();
    assert!(!got.changes[0].after.contains("daily_calls: 70"), "{}", got.changes[0].after);
}
