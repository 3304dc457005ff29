//! Report and Release.

use quotagate::proto::v1::{self, LimitScope};
use tonic::Code;

use crate::{
    common::TestServer,
    talk::{acquire, answered, check_error, limit, release, seconds, total_used},
};

const SMALL: &str = "
catalogue:
  ten: {charges: [{limit: ten, scope: org, max: 10, window: 1h}]}
orgs:
  - {id: acme, daily_calls: 100, reserve_percent: 0, concurrent_calls: 1}
";

fn calls(operation: &str, calls: u32) -> v1::AcquireRequest {
    v1::AcquireRequest { calls, ..acquire(operation) }
}

#[tokio::test]
async fn what_was_never_sent_comes_back_once() {
    let server = TestServer::start(SMALL).await;
    let permit = server.permit(calls("rest", 10)).await;
    for (unused, answer) in
        [(Some(4), (4, false)), (Some(4), (4, true)), (None, (4, true)), (Some(10), (4, true))]
    {
        assert_eq!(server.release(release(&permit, unused)).await, answer, "{unused:?}");
    }
    assert_eq!(total_used(&server.usage().await), 6);
}

#[tokio::test]
async fn after_a_report_a_release_needs_its_number_and_gives_back_what_is_left() {
    let server = TestServer::start(SMALL).await;
    let permit = server.permit(calls("rest", 10)).await;
    let first = v1::ReportRequest { calls: 7, ..answered(&permit, 200) };
    assert!(!server.report(first.clone()).await);
    assert!(server.report(first).await, "a repeat holds nothing new");
    let refused = server.quota.clone().release(release(&permit, None)).await;
    let code = Code::InvalidArgument;
    check_error(refused, code, "UNUSED_CALLS_NEEDED", &["unused_calls"], false);
    assert_eq!(server.release(release(&permit, Some(9))).await, (3, false));
    let rest = v1::ReportRequest { first_call: 7, calls: 3, ..answered(&permit, 200) };
    assert!(server.report(rest).await, "a report of returned calls changes nothing");
    assert_eq!(total_used(&server.usage().await), 7);
}

#[tokio::test]
async fn an_answer_settles_what_was_reported_without_one() {
    let server = TestServer::start(SMALL).await;
    let permit = server.permit(calls("rest", 1)).await;
    for (status, already_settled) in
        [(0, false), (0, true), (503, true), (200, false), (200, true), (503, true)]
    {
        assert_eq!(server.report(answered(&permit, status)).await, already_settled, "{status}");
    }
    assert_eq!(total_used(&server.usage().await), 1);
}

/// A report for a call beyond a permit's last ended the org's ledger in a panic.
#[tokio::test]
async fn a_report_of_calls_that_a_permit_does_not_have_holds_nothing_new() {
    let server = TestServer::start(SMALL).await;
    let permit = server.permit(calls("rest", 2)).await;
    for (first_call, calls, already_settled) in
        [(2, 1, true), (9_999, 1, true), (1, 9_999, false), (0, 10_000, false), (0, 1, true)]
    {
        let report = v1::ReportRequest { first_call, calls, ..answered(&permit, 200) };
        assert_eq!(server.report(report).await, already_settled, "{first_call} {calls}");
    }
    assert_eq!(total_used(&server.usage().await), 2);
}

#[tokio::test]
async fn a_permit_that_nobody_has_made_is_garbled() {
    let server = TestServer::start(SMALL).await;
    let permit = server.permit(calls("rest", 1)).await;
    let shard = permit.permit_id.replacen("p1-", "p1-f", 1);
    for permit_id in ["x", "p1-00-0-0-acme", "p1-zz-1-0000000000000000-acme", &shard] {
        let permit = v1::Permit { permit_id: permit_id.into(), ..Default::default() };
        let code = Code::InvalidArgument;
        let refused = server.quota.clone().release(release(&permit, None)).await;
        check_error(refused, code, "GARBLED_PERMIT_ID", &["permit_id"], false);
        let refused = server.quota.clone().report(answered(&permit, 200)).await;
        check_error(refused, code, "GARBLED_PERMIT_ID", &["permit_id"], false);
    }
}

#[tokio::test]
async fn a_slot_is_free_after_an_answer_or_a_release_and_not_before() {
    let server = TestServer::start(SMALL).await;
    let slot = || v1::AcquireRequest { max_wait: seconds(60), ..acquire("rest.long") };
    let permit = server.permit(slot()).await;
    assert!(!server.report(answered(&permit, 504)).await);
    let denial = server.denial(acquire("rest.long")).await;
    assert_eq!(denial.reason(), v1::DenialReason::ConcurrencyLimit, "it may still run");
    assert!(!server.report(answered(&permit, 200)).await);
    let permit = server.permit(slot()).await;
    assert_eq!(server.release(release(&permit, None)).await, (1, false));
    server.permit(slot()).await;
}

#[tokio::test]
async fn a_reading_tells_of_others_and_of_the_limit() {
    let server = TestServer::start(SMALL).await;
    let permit = server.permit(calls("rest", 3)).await;
    let report = v1::ReportRequest {
        calls: 3,
        limit_info: vec!["per-app-api-usage=17/250(appName=x), api-usage=43/200".into()],
        ..answered(&permit, 200)
    };
    server.report(report).await;
    let usage = server.usage().await;
    let total = limit(&usage.limits, LimitScope::Org, "calls");
    assert_eq!((total.max, total.used_by_caller, total.foreign), (200, 3, 40), "{total:?}");
    assert_eq!(total.used_by_others, 40);
    assert!(usage.last_reading.is_some());

    // Without a permit, it feeds readings only.
    let seen = v1::ReportRequest {
        org: "acme".into(),
        http_status: 200,
        limit_info: vec!["api-usage=53/200".into()],
        ..Default::default()
    };
    server.report(seen).await;
    let total = limit(&server.usage().await.limits, LimitScope::Org, "calls");
    assert_eq!((total.used_by_caller, total.foreign), (3, 50));
    assert_eq!(server.denial(calls("rest", 148)).await.reason(), v1::DenialReason::OrgLimit);
    server.permit(calls("rest", 147)).await;
}

/// Sums with the largest numbers that a header can carry.
#[tokio::test]
async fn the_largest_figures_of_a_header_harm_nobody() {
    let server = TestServer::start(SMALL).await;
    server.permit(calls("rest", 1)).await;
    for info in [
        "api-usage=18446744073709551615/100",
        "api-usage=18446744073709551615/18446744073709551615",
        "api-usage=18446744073709551615/0",
    ] {
        let seen = v1::ReportRequest {
            org: "acme".into(),
            http_status: 200,
            limit_info: vec![info.into()],
            ..Default::default()
        };
        server.report(seen.clone()).await;
        // An answer of long ago says nothing of today.
        server.report(v1::ReportRequest { completed_ago: seconds(315_576_000_000), ..seen }).await;
        let denial = server.denial(calls("rest", 1)).await;
        assert_eq!(denial.reason(), v1::DenialReason::OrgLimit, "{info}");
        let total = limit(&server.usage().await.limits, LimitScope::Org, "calls");
        assert_eq!((total.remaining, total.max), (0, 100), "{info}");
    }
}
