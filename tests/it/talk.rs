//! Requests and answers in few words.

use std::time::Duration;

use quotagate::proto::{
    admin::v1 as admin,
    v1::{self, acquire_response::Outcome},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::common::TestServer;

/// An Acquire of one call for the org `acme`.
pub fn acquire(operation: &str) -> v1::AcquireRequest {
    v1::AcquireRequest { org: "acme".into(), operation: operation.into(), ..Default::default() }
}

/// A report that Salesforce answered so.
pub fn answered(permit: &v1::Permit, http_status: u32) -> v1::ReportRequest {
    let permit_id = permit.permit_id.clone();
    v1::ReportRequest { permit_id, http_status, ..Default::default() }
}

/// A release; `None` gives back all calls.
pub fn release(permit: &v1::Permit, unused_calls: Option<u32>) -> v1::ReleaseRequest {
    v1::ReleaseRequest { permit_id: permit.permit_id.clone(), unused_calls }
}

pub fn wire(duration: Duration) -> Option<prost_types::Duration> {
    Some(duration.try_into().expect("a short time"))
}

pub fn seconds(seconds: u64) -> Option<prost_types::Duration> {
    wire(Duration::from_secs(seconds))
}

pub fn duration(wire: Option<prost_types::Duration>) -> Option<Duration> {
    wire.map(|wire| wire.try_into().expect("it is not negative"))
}

/// A permit's life.
pub fn ttl(permit: &v1::Permit) -> Duration {
    duration(permit.ttl).expect("a permit has a life")
}

impl TestServer {
    pub async fn ask(&self, request: v1::AcquireRequest) -> Outcome {
        let answer = self.quota.clone().acquire(request).await.expect("it is decided");
        answer.into_inner().outcome.expect("one or the other")
    }

    pub async fn permit(&self, request: v1::AcquireRequest) -> v1::Permit {
        match self.ask(request).await {
            Outcome::Permit(permit) => permit,
            Outcome::Denial(denial) => panic!("denied: {denial:?}"),
        }
    }

    pub async fn denial(&self, request: v1::AcquireRequest) -> v1::Denial {
        match self.ask(request).await {
            Outcome::Permit(permit) => panic!("granted: {permit:?}"),
            Outcome::Denial(denial) => denial,
        }
    }

    pub async fn release(&self, request: v1::ReleaseRequest) -> (u32, bool) {
        let answer = self.quota.clone().release(request).await.expect("it is released");
        let v1::ReleaseResponse { returned_calls, already_settled } = answer.into_inner();
        (returned_calls, already_settled)
    }

    /// True if the report held nothing new.
    pub async fn report(&self, request: v1::ReportRequest) -> bool {
        let answer = self.quota.clone().report(request).await.expect("it is taken");
        answer.into_inner().already_settled
    }

    pub async fn usage(&self) -> v1::OrgUsage {
        let request = v1::GetUsageRequest { org: "acme".into() };
        let answer = self.quota.clone().get_usage(request).await.expect("it is shown");
        answer.into_inner().usage.expect("the usage")
    }

    /// Asks until so many requests of the org wait.
    pub async fn until_waiting(&self, count: u32) {
        while self.usage().await.waiting != count {}
    }

    pub async fn put_org(&self, org: admin::Org) -> admin::OrgEntry {
        let request = admin::PutOrgRequest { org: Some(org), ..Default::default() };
        let answer = self.admin.clone().put_org(request).await.expect("it is in force");
        answer.into_inner().entry.expect("the entry")
    }

    pub async fn get_org(&self) -> admin::GetOrgResponse {
        let request = admin::GetOrgRequest { org: "acme".into() };
        self.admin.clone().get_org(request).await.expect("it is known").into_inner()
    }

    /// Sends an HTTP request; `line` is method and path.
    pub async fn http(&self, line: &str, headers: &str, body: &str) -> Answer {
        let mut stream = TcpStream::connect(self.http_addr).await.expect("it listens");
        let length = body.len();
        let request = format!(
            "{line} HTTP/1.1\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("it answers");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    /// An HTTP request from this machine, with a JSON answer.
    pub async fn json(&self, line: &str, body: &str) -> (u16, Value) {
        let answer = self.http(line, "host: localhost\r\n", body).await;
        (answer.status, serde_json::from_str(&answer.body).expect("JSON"))
    }

    /// Everything that `/metrics` shows.
    pub async fn metrics(&self) -> String {
        self.http("GET /metrics", "", "").await.body
    }
}

/// An HTTP answer as it came.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// The limit of this name and scope.
pub fn limit(limits: &[v1::LimitUsage], scope: v1::LimitScope, name: &str) -> v1::LimitUsage {
    let found = limits.iter().find(|limit| limit.scope() == scope && limit.name == name);
    found.cloned().unwrap_or_else(|| panic!("no {scope:?} {name} in {limits:?}"))
}

/// Units of the org's total that are used through the service.
pub fn total_used(usage: &v1::OrgUsage) -> u64 {
    limit(&usage.limits, v1::LimitScope::Org, "calls").used_by_caller
}

/// Checks an error: its code, its reason, the wrong fields, and whether it says
/// when to try again.
#[track_caller]
pub fn check_error<T: std::fmt::Debug>(
    result: Result<T, Status>,
    code: Code,
    reason: &str,
    fields: &[&str],
    has_retry: bool,
) {
    let status = result.expect_err(reason);
    assert_eq!(status.code(), code, "{status:?}");
    let details = status.get_error_details();
    let info = details.error_info().expect("ErrorInfo is on every error");
    assert_eq!((info.domain.as_str(), info.reason.as_str()), ("quotagate", reason));
    let violations = details.bad_request().map(|bad| bad.field_violations.as_slice());
    let named: Vec<&str> =
        violations.unwrap_or_default().iter().map(|field| field.field.as_str()).collect();
    assert_eq!(named, fields, "{reason}");
    assert_eq!(details.retry_info().is_some(), has_retry, "{reason}");
}
