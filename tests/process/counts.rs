//! What is counted: only what was granted, once, over restarts and changes.

use std::time::Duration;

use quotagate::proto::{
    admin::v1::{Org, PutOrgRequest},
    v1::{
        AcquireMode, AcquireRequest, DenialReason, OrgUsage, ReleaseRequest, ReportRequest,
        TrafficClass, WatchUsageRequest, acquire_response::Outcome,
    },
};
use tonic::Code;

use crate::program::{Home, Program, limit};

/// Deletions take from a user, the org's total and a workspace.
const CONFIG: &str = "
template: {daily_calls: 100, concurrent_calls: 2, reserve_percent: 0}
orgs: [{id: o, workspaces: [{id: w, daily_calls: 50}]}]
catalogue:
  conversations.delete:
    charges: [{limit: conversation-deletes, scope: execution_user, max: 10, window: 1h}]
    also_charge: true
";

const DELETE: &str = "conversations.delete";

fn ask(operation: &str, calls: u32) -> AcquireRequest {
    AcquireRequest {
        org: "o".into(),
        operation: operation.into(),
        execution_user: "u".into(),
        calls,
        ..Default::default()
    }
}

/// Every counter with what is used of it, and with what is left, set aside or
/// not: a block that is over goes back by itself.
fn counts(usage: &OrgUsage) -> Vec<(String, [u64; 5])> {
    let workspaces = usage.workspaces.iter().flat_map(|workspace| {
        workspace.limits.iter().map(move |limit| (workspace.workspace.as_str(), limit))
    });
    let users = usage.execution_users.iter().flat_map(|user| {
        user.limits.iter().map(move |limit| (user.execution_user.as_str(), limit))
    });
    let own = usage.limits.iter().map(|limit| ("", limit));
    let count = |(seen_by, limit): (&str, &quotagate::proto::v1::LimitUsage)| {
        let name = format!("{} of {}, as {seen_by:?} sees it", limit.name, limit.identity);
        let left = limit.remaining + limit.held;
        let used = [limit.used_by_caller, limit.used_by_others];
        (name, [limit.max, used[0], used[1], limit.foreign, left])
    };
    own.chain(workspaces).chain(users).map(count).collect()
}

#[tokio::test]
async fn a_denial_changes_no_counter() {
    let home = Home::new(CONFIG);
    let server = home.start().await;
    let of_workspace = |calls, class: TrafficClass| AcquireRequest {
        workspace: "w".into(),
        traffic_class: class.into(),
        ..ask("rest", calls)
    };
    server.permit(ask(DELETE, 10)).await;
    server.permit(ask("rest.long", 2)).await;
    server.permit(of_workspace(20, TrafficClass::Bulk)).await;
    let check_only = AcquireMode::CheckOnly.into();
    for (request, reason) in [
        (ask(DELETE, 1), DenialReason::ExecutionUserLimit),
        (AcquireRequest { mode: check_only, ..ask(DELETE, 1) }, DenialReason::ExecutionUserLimit),
        // Another user has room; the workspace has not.
        (
            AcquireRequest {
                operation: DELETE.into(),
                execution_user: "v".into(),
                ..of_workspace(1, TrafficClass::Bulk)
            },
            DenialReason::WorkspaceClassPaused,
        ),
        (of_workspace(21, TrafficClass::Event), DenialReason::WorkspaceClassPaused),
        (of_workspace(31, TrafficClass::Interactive), DenialReason::WorkspaceLimit),
        (ask("rest", 69), DenialReason::OrgLimit),
        (ask("rest.long", 1), DenialReason::ConcurrencyLimit),
        // Never, even when everything has left.
        (ask("rest", 101), DenialReason::OrgLimit),
    ] {
        let before = counts(&server.usage("o").await);
        match server.acquire(request.clone()).await {
            Outcome::Denial(denial) => assert_eq!(denial.reason(), reason, "{denial:?}"),
            Outcome::Permit(permit) => panic!("{request:?}: {permit:?}"),
        }
        assert_eq!(counts(&server.usage("o").await), before, "{request:?}");
    }
    // What was denied is there for who asks for less.
    server.permit(ask("rest", 68)).await;
    server.stop().await;
}

/// What a caller does with a permit of three calls, and the answer that it gets.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Unused calls; how many come back, and whether that was settled before.
    Release(Option<u32>, Result<(u32, bool), Code>),
    /// First call, calls, status; whether that was settled before.
    Report(u32, u32, u32, bool),
}

#[tokio::test]
async fn nothing_is_minted_by_settling_twice() {
    use Step::{Release, Report};
    let home = Home::new(CONFIG);
    let server = home.start().await;
    for (number, (steps, used)) in [
        (&[Release(None, Ok((3, false))), Release(None, Ok((3, true)))][..], 0),
        (&[Release(Some(1), Ok((1, false))), Release(Some(2), Ok((1, true)))], 2),
        (&[Release(Some(9), Ok((3, false)))], 0),
        (&[Report(0, 1, 200, false), Release(None, Err(Code::InvalidArgument))], 3),
        (&[Report(0, 1, 200, false), Release(Some(3), Ok((2, false)))], 1),
        (&[Report(0, 3, 200, false), Release(Some(3), Ok((0, false)))], 3),
        (&[Report(0, 3, 200, false), Report(0, 3, 200, true)], 3),
        (&[Report(0, 2, 200, false), Report(1, 2, 200, false), Report(0, 3, 200, true)], 3),
        (&[Report(0, 3, 503, false), Report(0, 3, 200, false), Report(0, 3, 200, true)], 3),
        (&[Report(0, 3, 404, false), Release(Some(3), Ok((0, false)))], 3),
        (&[Report(5, 9, 200, true)], 3),
        (&[Release(None, Ok((3, false))), Report(0, 3, 200, true)], 0),
        (
            &[
                Release(Some(2), Ok((2, false))),
                Report(0, 3, 200, false),
                Report(0, 3, 200, true),
                Release(Some(2), Ok((2, true))),
            ],
            1,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        check_steps(&server, &format!("settled{number}"), steps, used).await;
    }
    server.stop().await;
}

async fn check_steps(server: &Program, user: &str, steps: &[Step], used: u64) {
    let request = |calls| AcquireRequest { execution_user: user.into(), ..ask(DELETE, calls) };
    let total_before = total(&server.usage("o").await);
    let permit_id = server.permit(request(3)).await.permit_id;
    for step in steps {
        match *step {
            Step::Release(unused_calls, expected) => {
                let request = ReleaseRequest { permit_id: permit_id.clone(), unused_calls };
                let answer = server.quota.clone().release(request).await;
                let answer = answer.map(tonic::Response::into_inner);
                let answer = answer.map(|told| (told.returned_calls, told.already_settled));
                assert_eq!(answer.map_err(|status| status.code()), expected, "{steps:?}: {step:?}");
            }
            Step::Report(first_call, calls, http_status, already_settled) => {
                let permit_id = permit_id.clone();
                let request = ReportRequest {
                    permit_id,
                    first_call,
                    calls,
                    http_status,
                    ..Default::default()
                };
                let answer = server.quota.clone().report(request).await.expect("it is taken");
                let settled = answer.into_inner().already_settled;
                assert_eq!(settled, already_settled, "{steps:?}: {step:?}");
            }
        }
    }
    let usage = server.usage("o").await;
    assert_eq!(total(&usage), total_before + used, "{steps:?}");
    let left = u32::try_from(10 - used).expect("a few");
    // Exactly what is left can be had, and given back unsent.
    let rest = server.permit(request(left)).await;
    let beyond = server.acquire(request(1)).await;
    assert!(matches!(beyond, Outcome::Denial(_)), "{steps:?}: {beyond:?}");
    let unsent = ReleaseRequest { permit_id: rest.permit_id, unused_calls: None };
    server.quota.clone().release(unsent).await.expect("it is taken");
}

fn total(usage: &OrgUsage) -> u64 {
    let total = limit(usage, "o", "calls");
    total.used_by_caller + total.used_by_others
}

#[tokio::test]
async fn a_lowered_total_refuses_until_use_has_fallen_and_a_raised_one_serves_at_once() {
    let home = Home::new(CONFIG);
    let server = home.start().await;
    server.permit(ask("rest", 50)).await;
    for (daily_calls, left) in [(10, 0), (1, 0), (50, 0), (60, 10), (5, 0), (63, 3)] {
        let org = Org { id: "o".into(), daily_calls, ..Default::default() };
        let request = PutOrgRequest { org: Some(org), ..Default::default() };
        server.admin.clone().put_org(request).await.expect("it is in force");
        let usage = server.usage("o").await;
        let shown = limit(&usage, "o", "calls");
        assert_eq!(shown.max, daily_calls);
        if left == 0 {
            assert_eq!(shown.remaining, 0, "{daily_calls} a day: {shown:?}");
        } else {
            assert_eq!(shown.remaining + shown.held, left, "{daily_calls} a day: {shown:?}");
            server.permit(ask("rest", u32::try_from(left).expect("a few"))).await;
        }
        let beyond = server.acquire(ask("rest", 1)).await;
        let Outcome::Denial(denial) = beyond else { panic!("{daily_calls} a day: {beyond:?}") };
        assert_eq!(denial.reason(), DenialReason::OrgLimit);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_limit_that_is_lowered_in_the_file_does_not_underflow() {
    let home = Home::new(CONFIG);
    let server = home.start().await;
    server.permit(ask(DELETE, 6)).await;
    home.configure(&CONFIG.replace("max: 10", "max: 4"));
    let request = WatchUsageRequest { org: "o".into() };
    let changes = server.quota.clone().watch_usage(request).await.expect("it is shown");
    let mut changes = changes.into_inner();
    let lowered = async {
        loop {
            let usage = changes.message().await.expect("it goes on").expect("it goes on").usage;
            let users = usage.unwrap_or_default().execution_users;
            let limits = users.into_iter().flat_map(|user| user.limits);
            let mut deletes = limits.filter(|limit| limit.name == "conversation-deletes");
            if let Some(shown) = deletes.find(|limit| limit.max == 4) {
                return shown;
            }
        }
    };
    let lowered = tokio::time::timeout(Duration::from_secs(30), lowered).await;
    let shown = lowered.expect("the file is read again");
    assert_eq!((shown.used_by_caller, shown.remaining), (6, 0), "{shown:?}");
    assert!(matches!(server.acquire(ask(DELETE, 1)).await, Outcome::Denial(_)));
    server.stop().await;
}

#[tokio::test]
async fn a_restart_in_order_keeps_every_count_and_holds_nothing() {
    let home = Home::new(CONFIG);
    let mut server = home.start().await;
    let reported = server.permit(ask(DELETE, 3)).await.permit_id;
    let report = ReportRequest {
        permit_id: reported,
        calls: 3,
        http_status: 200,
        limit_info: vec!["api-usage=13/80".into()],
        ..Default::default()
    };
    server.quota.report(report).await.expect("it is taken");
    server.permit(ask(DELETE, 2)).await;
    server.permit(ask("rest.long", 1)).await;
    let in_workspace = AcquireRequest { workspace: "w".into(), ..ask("rest", 7) };
    server.permit(in_workspace).await;
    let returned = server.permit(ask("rest", 4)).await.permit_id;
    let release = ReleaseRequest { permit_id: returned, unused_calls: Some(3) };
    server.quota.release(release).await.expect("it is taken");
    for restart in 0..3 {
        server.stop().await;
        server = home.start().await;
        let usage = server.usage("o").await;
        for (identity, name, max, used, foreign) in [
            ("o", "calls", 80, 3 + 2 + 1 + 7 + 1, 10),
            ("o", "long", 2, 1, 0),
            ("u", "conversation-deletes", 10, 5, 0),
        ] {
            let shown = limit(&usage, identity, name);
            let counted = shown.used_by_caller + shown.used_by_others - shown.foreign;
            assert_eq!(
                (shown.max, counted, shown.foreign, shown.held),
                (max, used, foreign, 0),
                "restart {restart}: {shown:?}"
            );
        }
        let workspace = usage.workspaces.iter().find(|workspace| workspace.workspace == "w");
        let cap = workspace.and_then(|workspace| workspace.limits.first()).expect("its cap");
        assert_eq!((cap.max, cap.used_by_caller, cap.held), (50, 7, 0), "{cap:?}");
    }
    // What is left can be had, and nothing beyond.
    server.permit(ask(DELETE, 5)).await;
    assert!(matches!(server.acquire(ask(DELETE, 1)).await, Outcome::Denial(_)));
    server.stop().await;
}
