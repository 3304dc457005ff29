//! Bad input of every kind: INVALID_ARGUMENT with the field, and the server
//! goes on.

use http_body_util::Full;
use prost::Message as _;
use quotagate::proto::{admin::v1 as admin, v1};
use tonic::{
    Code, Response, Status, body::Body, client::GrpcService as _, codegen::http, transport::Channel,
};
use tonic_types::StatusExt as _;

use crate::common::TestServer;

/// The first bytes of a message on the wire: not compressed, and its length.
fn frame(length: usize, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(length).expect("a message fits into 4 GiB");
    [&[0], &length.to_be_bytes()[..], message].concat()
}

/// Sends a request's body as it is, and gives back the status.
async fn send(
    channel: &Channel,
    path: &str,
    headers: &[(&'static str, &str)],
    body: Vec<u8>,
) -> Status {
    let mut request = http::Request::post(path).header("content-type", "application/grpc");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::new(Full::from(body))).expect("a request");
    let mut channel = channel.clone();
    std::future::poll_fn(|context| channel.poll_ready(context)).await.expect("it is connected");
    let response = channel.call(request).await.expect("there is an answer");
    Status::from_header_map(response.headers()).expect("there is a status")
}

fn check_refused(what: &str, status: &Status, reason: &str, fields: &[&str]) {
    assert_eq!(status.code(), Code::InvalidArgument, "{what}: {status:?}");
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("{what}: no ErrorInfo"));
    assert_eq!((info.domain.as_str(), info.reason.as_str()), ("quotagate", reason), "{what}");
    let bad = details.bad_request().unwrap_or_else(|| panic!("{what}: no BadRequest"));
    let named: Vec<_> = bad.field_violations.iter().map(|v| v.field.as_str()).collect();
    assert_eq!(named, fields, "{what}: {status:?}");
}

/// The server answers sensibly, on the same connection.
async fn check_alive(server: &TestServer, after: &str) {
    let refused = server.quota.clone().acquire(v1::AcquireRequest::default()).await;
    let status = refused.map(Response::into_inner).expect_err("an empty request is wrong");
    check_refused(after, &status, "INVALID_REQUEST", &["org", "operation"]);
}

fn acquire() -> v1::AcquireRequest {
    v1::AcquireRequest { org: "acme".into(), operation: "rest".into(), ..Default::default() }
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

#[tokio::test]
async fn a_request_with_a_wrong_value_is_refused_by_field() {
    let server = TestServer::start("").await;
    let check = async |fields: &[&str], request: v1::AcquireRequest| {
        let refused = server.quota.clone().acquire(request).await;
        let status = refused.map(Response::into_inner).expect_err("it is wrong");
        check_refused(fields[0], &status, "INVALID_REQUEST", fields);
        check_alive(&server, fields[0]).await;
    };
    check(&["org"], v1::AcquireRequest { org: "00D000000000001EAB".into(), ..acquire() }).await;
    check(&["workspace"], v1::AcquireRequest { workspace: "a/b".into(), ..acquire() }).await;
    check(&["operation"], v1::AcquireRequest { operation: "o".repeat(65), ..acquire() }).await;
    check(&["execution_user"], v1::AcquireRequest { execution_user: "ä".into(), ..acquire() })
        .await;
    check(&["traffic_class"], v1::AcquireRequest { traffic_class: 5, ..acquire() }).await;
    check(&["traffic_class"], v1::AcquireRequest { traffic_class: i32::MIN, ..acquire() }).await;
    check(&["mode"], v1::AcquireRequest { mode: 3, ..acquire() }).await;
    check(&["calls"], v1::AcquireRequest { calls: u32::MAX, ..acquire() }).await;
    check(&["min_calls"], v1::AcquireRequest { min_calls: u32::MAX, ..acquire() }).await;
    check(&["cost"], v1::AcquireRequest { cost: u32::MAX, ..acquire() }).await;
    check(&["max_wait"], v1::AcquireRequest { max_wait: seconds(-1), ..acquire() }).await;
    check(&["max_wait"], v1::AcquireRequest { max_wait: seconds(i64::MAX), ..acquire() }).await;
    check(&["permit_ttl"], v1::AcquireRequest { permit_ttl: seconds(i64::MIN), ..acquire() }).await;
    check(&["permit_ttl"], v1::AcquireRequest { permit_ttl: seconds(0), ..acquire() }).await;
    check(&["request_id"], v1::AcquireRequest { request_id: "r".repeat(60_000), ..acquire() })
        .await;
    check(
        &["org", "calls", "max_wait"],
        v1::AcquireRequest {
            org: String::new(),
            calls: u32::MAX,
            max_wait: seconds(601),
            ..acquire()
        },
    )
    .await;
}

#[tokio::test]
async fn every_method_refuses_a_wrong_value_by_field() {
    let server = TestServer::start("").await;
    let check = |fields: &[&str], refused: Result<(), Status>| {
        check_refused(fields[0], &refused.expect_err("it is wrong"), "INVALID_REQUEST", fields);
    };
    let (mut quota, mut client) = (server.quota.clone(), server.admin.clone());
    let org = || "a b".to_owned();
    let release = v1::ReleaseRequest { permit_id: String::new(), unused_calls: Some(u32::MAX) };
    check(&["permit_id", "unused_calls"], quota.release(release).await.map(drop));
    let report = v1::ReportRequest { http_status: u32::MAX, ..Default::default() };
    check(&["permit_id", "http_status"], quota.report(report).await.map(drop));
    check(&["org"], quota.get_usage(v1::GetUsageRequest { org: org() }).await.map(drop));
    check(&["org"], quota.watch_usage(v1::WatchUsageRequest { org: org() }).await.map(drop));
    let page = admin::ListOrgsRequest {
        page_size: u32::MAX,
        page_token: "x".into(),
        ..Default::default()
    };
    check(&["page_size", "page_token"], client.list_orgs(page).await.map(drop));
    check(&["org"], client.get_org(admin::GetOrgRequest { org: org() }).await.map(drop));
    check(&["org"], client.put_org(admin::PutOrgRequest::default()).await.map(drop));
    let delete = admin::DeleteOrgRequest { org: org(), ..Default::default() };
    check(&["org"], client.delete_org(delete).await.map(drop));
    let put = admin::PutWorkspaceRequest { org: org(), ..Default::default() };
    check(&["org", "workspace"], client.put_workspace(put).await.map(drop));
    let delete = admin::DeleteWorkspaceRequest { org: org(), ..Default::default() };
    check(&["org", "workspace"], client.delete_workspace(delete).await.map(drop));
    let put = admin::PutExecutionUserRequest { org: org(), ..Default::default() };
    check(&["org", "execution_user"], client.put_execution_user(put).await.map(drop));
    let delete = admin::DeleteExecutionUserRequest { org: org(), ..Default::default() };
    check(&["org", "execution_user"], client.delete_execution_user(delete).await.map(drop));
    check_alive(&server, "every method").await;
}

#[tokio::test]
async fn bytes_that_are_no_message_are_refused_with_what_can_be_told_of_the_field() {
    let server = TestServer::start("").await;
    let check = async |what: &str, body: Vec<u8>, field: &str| {
        let path = "/quotagate.v1.QuotaService/Acquire";
        let status = send(&server.channel, path, &[], body).await;
        check_refused(what, &status, "MALFORMED_MESSAGE", &[field]);
        check_alive(&server, what).await;
    };
    let whole = acquire().encode_to_vec();
    let message = |bytes: &[u8]| frame(bytes.len(), bytes);

    check("invalid UTF-8", message(&[0x0a, 2, 0xc3, 0x28]), "org").await;
    check("a field cut off", message(&whole[..whole.len() - 1]), "operation").await;
    check("a field longer than the message", message(&[0x1a, 0xff, 0x7f]), "operation").await;
    check("another wire type", message(&[0x30, 5, 0x08, 1]), "org").await;
    check("another wire type inside", message(&[0x4a, 2, 0x0a, 0]), "max_wait.seconds").await;
    check("a number without an end", message(&[0x30, 0xff, 0xff]), "calls").await;
    check("a key without an end", message(&[0xff]), "AcquireRequest").await;
    check("a key of no field", message(&[0]), "AcquireRequest").await;
    check("an open group", message(&[0x7b]), "AcquireRequest").await;
    check("a message cut off", frame(whole.len(), &whole[..3]), "AcquireRequest").await;
    check("a header cut off", vec![0, 0, 0], "AcquireRequest").await;
    check("no message", Vec::new(), "AcquireRequest").await;
    check("compressed, and not said how", [&[1], &message(&whole)[1..]].concat(), "AcquireRequest")
        .await;
    check("an unknown flag", [&[7], &message(&whole)[1..]].concat(), "AcquireRequest").await;
}

#[tokio::test]
async fn a_message_beyond_64_kib_is_refused_whether_it_comes_or_not() {
    let server = TestServer::start("").await;
    let huge = v1::AcquireRequest { org: "a".repeat(1 << 20), ..acquire() };
    for round in 0..20 {
        let refused = server.quota.clone().acquire(huge.clone()).await;
        let status = refused.map(Response::into_inner).expect_err("it is too large");
        check_refused("a string of 1 MiB", &status, "MESSAGE_TOO_LARGE", &["AcquireRequest"]);
        check_alive(&server, &format!("1 MiB, round {round}")).await;
    }
    let path = "/quotagate.admin.v1.AdminService/PutOrg";
    let promised = frame(u32::MAX as usize, b"x");
    let status = send(&server.channel, path, &[], promised).await;
    check_refused("4 GiB promised", &status, "MESSAGE_TOO_LARGE", &["PutOrgRequest"]);
    check_alive(&server, "4 GiB promised").await;
}

#[tokio::test]
async fn unknown_fields_are_ignored() {
    let server = TestServer::start("").await;
    // Field 1000, a number.
    let body = frame(3, &[0xc0, 0x3e, 1]);
    let status = send(&server.channel, "/quotagate.v1.QuotaService/Acquire", &[], body).await;
    check_refused("unknown field", &status, "INVALID_REQUEST", &["org", "operation"]);
}

#[tokio::test]
async fn what_is_not_served_says_so_with_a_reason() {
    let server = TestServer::start("").await;
    let check = async |path: &str, headers: &[(&'static str, &str)], reason: &str| {
        let status = send(&server.channel, path, headers, frame(0, &[])).await;
        assert_eq!(status.code(), Code::Unimplemented, "{path}: {status:?}");
        let details = status.get_error_details();
        let info = details.error_info().expect("ErrorInfo is on every error");
        assert_eq!((info.domain.as_str(), info.reason.as_str()), ("quotagate", reason), "{path}");
    };
    check("/quotagate.v1.QuotaService/Steal", &[], "UNKNOWN_METHOD").await;
    check("/quotagate.v2.QuotaService/Acquire", &[], "UNKNOWN_METHOD").await;
    let gzip = [("grpc-encoding", "gzip")];
    check("/quotagate.v1.QuotaService/Acquire", &gzip, "UNIMPLEMENTED").await;
    check_alive(&server, "what is not served").await;
}
