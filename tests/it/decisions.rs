//! What an Acquire gets: permits, denials, errors.

use std::time::Duration;

use quotagate::proto::v1::{
    self, AcquireMode, DenialReason, LimitKind, LimitScope, TrafficClass, acquire_response::Outcome,
};
use tonic::Code;

use crate::{
    common::TestServer,
    talk::{acquire, check_error, duration, limit, seconds, total_used, ttl},
};

/// Limits that a test fills quickly, and an org without reserve.
const SMALL: &str = "
unknown: {orgs: refuse, workspaces: refuse, users: refuse}
catalogue:
  user.two: {charges: [{limit: two, scope: execution_user, max: 2, window: 1h}]}
  org.two: {charges: [{limit: two, scope: org, max: 2, window: 1h}]}
  org.ten: {charges: [{limit: ten, scope: org, max: 10, window: 1h}]}
orgs:
  - id: acme
    daily_calls: 20
    reserve_percent: 0
    concurrent_calls: 1
    execution_users: [alice, bob]
    workspaces:
      - {id: ten, daily_calls: 10, classes: {bulk: {pause: 40, resume: 40}}}
      - {id: free}
";

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

fn of_user(operation: &str, user: &str) -> v1::AcquireRequest {
    v1::AcquireRequest { execution_user: user.into(), ..acquire(operation) }
}

fn in_workspace(operation: &str, workspace: &str, class: TrafficClass) -> v1::AcquireRequest {
    let workspace = workspace.into();
    v1::AcquireRequest { workspace, traffic_class: class.into(), ..acquire(operation) }
}

#[tokio::test]
async fn a_permit_says_what_it_is_for_how_long_and_what_was_charged() {
    let server = TestServer::start("").await;
    let request = of_user("conversation-entries.get", "alice");
    let answer = server.quota.clone().acquire(request).await.expect("it is decided");
    let owner = answer.metadata().get("quotagate-owner").expect("the owner is named");
    assert_eq!(owner.as_bytes(), server.grpc_addr.to_string().as_bytes());
    let Some(Outcome::Permit(permit)) = answer.into_inner().outcome else { panic!("denied") };
    assert!((1..=128).contains(&permit.permit_id.len()), "{permit:?}");
    assert_eq!((permit.calls, permit.execution_user.as_str()), (1, "alice"));
    assert_eq!(permit.class_state, None, "there is no workspace");
    let [entries] = &permit.limits[..] else { panic!("{permit:?}") };
    let expected = v1::LimitUsage {
        name: "entries".into(),
        kind: LimitKind::Window.into(),
        scope: LimitScope::ExecutionUser.into(),
        identity: "alice".into(),
        max: 90,
        used_by_caller: 1,
        window: seconds(MINUTE),
        held: entries.held,
        remaining: 89 - entries.held,
        ..Default::default()
    };
    assert_eq!(entries, &expected);
}

#[tokio::test]
async fn a_permit_lives_as_long_as_its_shortest_window_allows() {
    let server = TestServer::start("").await;
    let rows = [
        ("conversation-entries.get", None, 5),
        ("conversations.delete", None, 30),
        ("rest", None, 60),
        ("rest.long", None, 60),
        ("rest", Some(1), 1),
        ("rest", Some(HOUR), 5 * MINUTE),
        ("conversation-entries.get", Some(HOUR), 30),
    ];
    for (operation, wanted, life) in rows {
        let permit_ttl = wanted.and_then(seconds);
        let request = v1::AcquireRequest { permit_ttl, ..of_user(operation, "alice") };
        // It counts from the sending of the request, so the time that passed
        // at the server is added.
        let ttl = ttl(&server.permit(request).await);
        let waited = ttl.checked_sub(Duration::from_secs(life));
        assert!(waited.is_some_and(|w| w < Duration::from_secs(10)), "{operation}: {ttl:?}");
    }
}

/// All limits of an org.
/// What is counted, without how long it lasts.
fn counters(usage: v1::OrgUsage) -> Vec<v1::LimitUsage> {
    let workspaces = usage.workspaces.into_iter().flat_map(|workspace| workspace.limits);
    let users = usage.execution_users.into_iter().flat_map(|user| user.limits);
    let all = usage.limits.into_iter().chain(workspaces).chain(users);
    all.map(|limit| v1::LimitUsage { opens_in: None, ..limit }).collect()
}

#[tokio::test]
async fn a_denial_names_the_limit_that_bound_and_charges_nothing() {
    struct Row {
        fill: v1::AcquireRequest,
        ask: v1::AcquireRequest,
        reason: DenialReason,
        limit: (&'static str, LimitScope, &'static str),
        retries_within: Option<u64>,
    }
    let rows = [
        Row {
            fill: v1::AcquireRequest { calls: 2, ..of_user("user.two", "alice") },
            ask: of_user("user.two", "alice"),
            reason: DenialReason::ExecutionUserLimit,
            limit: ("two", LimitScope::ExecutionUser, "alice"),
            retries_within: Some(HOUR),
        },
        Row {
            fill: v1::AcquireRequest { calls: 2, ..acquire("org.two") },
            ask: acquire("org.two"),
            reason: DenialReason::OrgLimit,
            limit: ("two", LimitScope::Org, "acme"),
            retries_within: Some(HOUR),
        },
        Row {
            fill: v1::AcquireRequest {
                calls: 4,
                ..in_workspace("rest", "ten", TrafficClass::Bulk)
            },
            ask: in_workspace("rest", "ten", TrafficClass::Bulk),
            reason: DenialReason::WorkspaceClassPaused,
            limit: ("calls", LimitScope::Workspace, "ten"),
            retries_within: Some(24 * HOUR),
        },
        Row {
            fill: v1::AcquireRequest {
                calls: 10,
                ..in_workspace("rest", "ten", TrafficClass::Interactive)
            },
            ask: in_workspace("rest", "ten", TrafficClass::Interactive),
            reason: DenialReason::WorkspaceLimit,
            limit: ("calls", LimitScope::Workspace, "ten"),
            retries_within: Some(24 * HOUR),
        },
        Row {
            fill: acquire("rest.long"),
            ask: acquire("rest.long"),
            reason: DenialReason::ConcurrencyLimit,
            limit: ("long", LimitScope::Org, "acme"),
            retries_within: None,
        },
        Row {
            fill: acquire("org.two"),
            ask: v1::AcquireRequest { calls: 3, max_wait: seconds(600), ..acquire("org.two") },
            reason: DenialReason::OrgLimit,
            limit: ("two", LimitScope::Org, "acme"),
            retries_within: None,
        },
    ];
    for Row { fill, ask, reason, limit: (name, scope, identity), retries_within } in rows {
        let server = TestServer::start(SMALL).await;
        server.permit(fill).await;
        let before = counters(server.usage().await);
        let denial = server.denial(ask).await;
        let after = counters(server.usage().await);
        assert_eq!(denial.reason(), reason, "{denial:?}");
        let binding = denial.limit.clone().expect("the limit that bound");
        assert_eq!(
            (binding.name.as_str(), binding.scope(), binding.identity.as_str()),
            (name, scope, identity)
        );
        assert!(denial.limits.contains(&binding), "{denial:?}");
        assert!(denial.message.contains(identity), "{denial:?}");
        assert_eq!(denial.queue_position, 0, "it did not wait");
        // An unanswered call leaves after its permit's life, the time to travel
        // and the window.
        let within = retries_within.map(|window| Duration::from_secs(window + 5 * MINUTE));
        match (duration(denial.retry_after), within) {
            (None, None) => {}
            (Some(wait), Some(within)) => assert!(wait > Duration::ZERO && wait < within),
            (wait, _) => panic!("{reason:?}: {wait:?}"),
        }
        assert_eq!(before, after, "{reason:?}: a denial charges nothing");
    }
}

#[tokio::test]
async fn control_calls_pass_the_workspaces_cap_and_are_counted() {
    let server = TestServer::start(SMALL).await;
    let interactive = in_workspace("rest", "ten", TrafficClass::Interactive);
    server.permit(v1::AcquireRequest { calls: 10, ..interactive.clone() }).await;
    let permit = server.permit(in_workspace("rest", "ten", TrafficClass::Control)).await;
    assert_eq!(limit(&permit.limits, LimitScope::Workspace, "calls").used_by_caller, 11);
    let denial = server.denial(interactive).await;
    assert_eq!(denial.reason(), DenialReason::WorkspaceLimit);
    let state = denial.class_state.expect("the workspace has a cap");
    assert!(state.classes.iter().all(|class| class.state() == v1::ClassRunState::Paused));
    assert_eq!(state.warnings[0].kind(), v1::WarningKind::LimitReached);
    let denial = server
        .denial(v1::AcquireRequest {
            calls: 10,
            ..in_workspace("rest", "ten", TrafficClass::Control)
        })
        .await;
    assert_eq!(denial.reason(), DenialReason::OrgLimit, "the org's total stops it");
}

#[tokio::test]
async fn a_grant_may_be_a_part_of_whole_calls_down_to_the_fewest_of_use() {
    let server = TestServer::start(SMALL).await;
    let ask = |calls, min_calls| v1::AcquireRequest { calls, min_calls, ..acquire("org.ten") };
    assert_eq!(server.permit(ask(7, 0)).await.calls, 7);
    assert_eq!(server.denial(ask(5, 4)).await.reason(), DenialReason::OrgLimit);
    assert_eq!(server.permit(ask(5, 1)).await.calls, 3);
    assert_eq!(server.denial(ask(5, 1)).await.reason(), DenialReason::OrgLimit);
    // A cost of three units: what is left of 20 lets through six whole calls.
    let costly = v1::AcquireRequest { calls: 7, min_calls: 1, cost: 3, ..acquire("rest") };
    let permit = server.permit(costly).await;
    assert_eq!(permit.calls, 6);
    assert_eq!(limit(&permit.limits, LimitScope::Org, "calls").used_by_caller, 18);
}

#[tokio::test]
async fn a_check_says_what_would_be_and_changes_nothing() {
    let server = TestServer::start(SMALL).await;
    let check = |calls, min_calls| v1::AcquireRequest {
        calls,
        min_calls,
        mode: AcquireMode::CheckOnly.into(),
        request_id: "same".into(),
        max_wait: seconds(600),
        ..acquire("org.ten")
    };
    for (calls, min_calls, granted) in [(4, 0, 4), (10, 0, 10), (12, 1, 10)] {
        let permit = server.permit(check(calls, min_calls)).await;
        assert_eq!((permit.permit_id.as_str(), ttl(&permit)), ("", Duration::ZERO));
        assert_eq!(permit.calls, granted);
    }
    let denial = server.denial(check(11, 0)).await;
    assert_eq!((denial.reason(), denial.queue_position), (DenialReason::OrgLimit, 0));
    assert_eq!(
        server.permit(v1::AcquireRequest { calls: 10, ..acquire("org.ten") }).await.calls,
        10
    );
    assert_eq!(server.denial(check(1, 0)).await.queue_position, 0, "it never parks");
    let metrics = server.metrics().await;
    let granted = r#"quotagate_decisions_total{decision="granted",reason="none",class="event"} 1"#;
    assert!(metrics.lines().any(|line| line == granted), "checks are no decisions: {metrics}");
}

#[tokio::test]
async fn what_is_not_declared_is_refused_where_the_policy_says_so() {
    let server = TestServer::start(SMALL).await;
    let check = async |request: v1::AcquireRequest, code, reason: &str, fields: &[&str]| {
        check_error(server.quota.clone().acquire(request).await, code, reason, fields, false);
    };
    let elsewhere = v1::AcquireRequest { org: "nobody".into(), ..acquire("rest") };
    check(elsewhere, Code::NotFound, "UNKNOWN_ORG", &[]).await;
    let workspace = in_workspace("rest", "nowhere", TrafficClass::Event);
    check(workspace, Code::NotFound, "UNKNOWN_WORKSPACE", &[]).await;
    check(of_user("user.two", "carol"), Code::NotFound, "UNKNOWN_EXECUTION_USER", &[]).await;
    check(acquire("no.such"), Code::NotFound, "UNKNOWN_OPERATION", &[]).await;
    let mut quota = server.quota.clone();
    let org = || "nobody".to_owned();
    let usage = quota.get_usage(v1::GetUsageRequest { org: org() }).await;
    check_error(usage, Code::NotFound, "UNKNOWN_ORG", &[], false);
    let watch = quota.watch_usage(v1::WatchUsageRequest { org: org() }).await;
    check_error(watch.map(drop), Code::NotFound, "UNKNOWN_ORG", &[], false);
    let reading = v1::ReportRequest { org: org(), http_status: 200, ..Default::default() };
    check_error(quota.report(reading).await, Code::NotFound, "UNKNOWN_ORG", &[], false);
    let open = TestServer::start("").await;
    let nobody = open.quota.clone().acquire(acquire("conversations.delete")).await;
    let (code, field) = (Code::InvalidArgument, "execution_user");
    check_error(nobody, code, "EXECUTION_USER_NEEDED", &[field], false);
}

#[tokio::test]
async fn a_user_of_the_pool_is_chosen_where_none_is_named() {
    // A workspace stays with its user while half is left, then goes where there
    // is most room.
    let server = TestServer::start(SMALL).await;
    let of = async |workspace: &str| {
        let request = in_workspace("user.two", workspace, TrafficClass::Event);
        server.permit(request).await.execution_user
    };
    assert_eq!(of("free").await, "alice");
    assert_eq!(of("free").await, "alice");
    assert_eq!(of("free").await, "bob");
    assert_eq!(of("ten").await, "bob");
    let denial = server.denial(acquire("user.two")).await;
    assert_eq!(denial.reason(), DenialReason::ExecutionUserLimit);

    let server = TestServer::start(SMALL).await;
    let mut users = Vec::new();
    for _ in 0..4 {
        users.push(server.permit(acquire("user.two")).await.execution_user);
    }
    assert_eq!(users, ["alice", "bob", "alice", "bob"], "most room, ties by id");
}

#[tokio::test]
async fn a_user_outside_of_the_pool_has_a_bucket_of_its_own() {
    let server = TestServer::start(&SMALL.replace("users: refuse", "users: count")).await;
    for user in ["alice", "bob", "carol"] {
        let permit =
            server.permit(v1::AcquireRequest { calls: 2, ..of_user("user.two", user) }).await;
        assert_eq!(permit.execution_user, user);
    }
    assert!(server.denial(acquire("user.two")).await.limit.is_some());
}

#[tokio::test]
async fn both_forms_of_a_salesforce_id_are_one_identity() {
    let server = TestServer::start("").await;
    let ids =
        [("00D000000000001", "005000000000001"), ("00D000000000001EAA", "005000000000001AAA")];
    let mut used = Vec::new();
    for (org, user) in ids {
        let org = org.into();
        let permit = server
            .permit(v1::AcquireRequest { org, ..of_user("conversation-entries.get", user) })
            .await;
        assert_eq!(permit.execution_user, "005000000000001AAA");
        used.push(permit.limits[0].used_by_caller);
    }
    assert_eq!(used, [1, 2]);
}

#[tokio::test]
async fn a_repeated_request_gets_the_same_permit_and_is_charged_once() {
    let server = TestServer::start(SMALL).await;
    let request = v1::AcquireRequest { request_id: "once".into(), calls: 2, ..acquire("rest") };
    let first = server.permit(request.clone()).await;
    let again = server.permit(request.clone()).await;
    assert_eq!((&again.permit_id, again.calls), (&first.permit_id, 2));
    assert!(ttl(&again) <= ttl(&first) + Duration::from_secs(10), "the life left, not a new one");
    assert_eq!(total_used(&server.usage().await), 2);
    let other = v1::AcquireRequest { calls: 3, ..request };
    let refused = server.quota.clone().acquire(other).await;
    let code = Code::InvalidArgument;
    check_error(refused, code, "REQUEST_ID_REUSED", &["request_id"], false);
}

#[tokio::test]
async fn a_denial_is_not_remembered_under_its_request_id() {
    let server = TestServer::start(SMALL).await;
    let permit = server.permit(v1::AcquireRequest { calls: 2, ..acquire("org.two") }).await;
    let request = v1::AcquireRequest { request_id: "later".into(), ..acquire("org.two") };
    assert_eq!(server.denial(request.clone()).await.reason(), DenialReason::OrgLimit);
    assert_eq!(server.release(crate::talk::release(&permit, None)).await, (2, false));
    let granted = server.permit(v1::AcquireRequest { max_wait: seconds(60), ..request }).await;
    assert_eq!(granted.calls, 1);
}

#[tokio::test]
async fn an_unnamed_class_is_event_and_an_unnamed_number_is_one() {
    let server = TestServer::start(SMALL).await;
    let permit = server.permit(in_workspace("rest", "ten", TrafficClass::Unspecified)).await;
    assert_eq!(limit(&permit.limits, LimitScope::Workspace, "calls").used_by_caller, 1);
    let metrics = server.metrics().await;
    let line = r#"quotagate_granted_calls_total{class="event",operation="rest"} 1"#;
    assert!(metrics.lines().any(|l| l == line), "{metrics}");
}
