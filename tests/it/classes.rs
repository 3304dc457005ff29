//! Intercom's own example of a shared limit, told to the running service.

use quotagate::proto::{
    admin::v1 as admin,
    v1::{self, ClassRunState, DenialReason, LimitScope, TrafficClass},
};

use crate::{
    common::TestServer,
    talk::{acquire, answered, limit, release},
};

/// A Developer Edition's org, in which the workspace of the app may use a third.
async fn server() -> TestServer {
    let server = TestServer::start("").await;
    let app = admin::Workspace { id: "app".into(), daily_calls: 5_000, ..Default::default() };
    let org = admin::Org {
        id: "acme".into(),
        daily_calls: 15_000,
        workspaces: vec![app],
        ..Default::default()
    };
    server.put_org(org).await;
    server
}

/// As many calls as there are, up to a number.
fn calls(traffic_class: TrafficClass, calls: u32) -> v1::AcquireRequest {
    v1::AcquireRequest {
        workspace: "app".into(),
        traffic_class: traffic_class.into(),
        calls,
        min_calls: 1,
        ..acquire("rest")
    }
}

/// What Salesforce's header says.
fn header(used: u32) -> Vec<String> {
    vec![format!("api-usage={used}/15000")]
}

impl TestServer {
    async fn runs(&self, class: TrafficClass) -> bool {
        let usage = self.usage().await;
        let state = usage.workspaces[0].class_state.clone().expect("it has a cap");
        let status = state.classes.iter().find(|status| status.traffic_class() == class);
        status.expect("it can pause").state() == ClassRunState::Running
    }

    async fn granted(&self, class: TrafficClass, most: u32) -> v1::Permit {
        self.permit(calls(class, most)).await
    }

    async fn refused(&self, class: TrafficClass) -> DenialReason {
        self.denial(calls(class, 1)).await.reason()
    }
}

#[tokio::test]
async fn what_the_app_and_all_others_have_used_leaves_9_010_of_15_000() {
    let server = server().await;
    let mine = server.granted(TrafficClass::Interactive, 2_918).await;
    assert_eq!(mine.calls, 2_918);
    // Salesforce has counted them all, and 3,072 of others.
    let report = v1::ReportRequest {
        calls: 2_918,
        limit_info: header(2_918 + 3_072),
        ..answered(&mine, 200)
    };
    server.report(report).await;
    let usage = server.usage().await;
    let total = limit(&usage.limits, LimitScope::Org, "calls");
    assert_eq!((total.max, total.foreign), (15_000, 3_072));
    assert_eq!(total.remaining + total.held, 9_010);
    let share = limit(&usage.workspaces[0].limits, LimitScope::Org, "calls");
    assert_eq!((share.used_by_caller, share.used_by_others), (2_918, 3_072));
}

#[tokio::test]
async fn bulk_pauses_first_then_events_then_the_inbox_and_settings_go_on_to_the_orgs_own_end() {
    use TrafficClass::{Bulk, Control, Event, Interactive};
    let server = server().await;
    let others = v1::ReportRequest {
        org: "acme".into(),
        limit_info: header(3_072),
        http_status: 200,
        ..Default::default()
    };
    server.report(others).await;

    // A manual synchronisation takes what it can: 40 % of the cap.
    assert_eq!(server.granted(Bulk, 10_000).await.calls, 2_000);
    assert_eq!(server.refused(Bulk).await, DenialReason::WorkspaceClassPaused);
    assert!(!server.runs(Bulk).await && server.runs(Event).await);

    // Events go on to 80 %.
    let first = server.granted(Event, 999).await;
    let one = server.granted(Event, 1).await;
    let rest = server.granted(Event, 10_000).await;
    assert_eq!((first.calls, one.calls, rest.calls), (999, 1, 1_000));
    assert_eq!(server.refused(Event).await, DenialReason::WorkspaceClassPaused);

    // They resume below 60 %, and not at it.
    assert_eq!(server.release(release(&rest, None)).await, (1_000, false));
    assert!(!server.runs(Event).await, "3,000 are used");
    server.release(release(&one, None)).await;
    assert!(server.runs(Event).await, "2,999 are used");
    assert_eq!(server.granted(Event, 10_000).await.calls, 1_001);

    // The inbox goes on to the cap.
    assert_eq!(server.granted(Interactive, 10_000).await.calls, 1_000);
    let denial = server.denial(calls(Interactive, 1)).await;
    assert_eq!(denial.reason(), DenialReason::WorkspaceLimit);
    let warnings = denial.class_state.expect("it has a cap").warnings;
    assert!(warnings[0].text.contains("raising its limit cures this at once"), "{warnings:?}");

    // Settings go on until the org itself has no more: not even a reserve is kept.
    assert_eq!(server.granted(Control, 10_000).await.calls, 15_000 - 3_072 - 5_000);
    assert_eq!(server.refused(Control).await, DenialReason::OrgLimit);
}
