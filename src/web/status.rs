//! Errors of the services as HTTP answers.

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::metrics::code_name;

/// An error as an answer: status, `Retry-After` where it is worth it, and the
/// body `{error: {code, status, message, details}}`.
pub fn response(status: &Status) -> Response {
    response_as(http_code(status.code()), status)
}

/// The same under an HTTP status that says more than gRPC's code can.
pub fn response_as(code: StatusCode, status: &Status) -> Response {
    let retry = retry_after(status);
    let body = Json(json!({"error": {
        "code": code.as_u16(),
        "status": code_name(status.code()),
        "message": status.message(),
        "details": details(status),
    }}));
    let mut response = (code, body).into_response();
    if let Some(value) = retry.and_then(seconds_up) {
        response.headers_mut().insert(header::RETRY_AFTER, value);
    }
    if status.code() == Code::Unauthenticated {
        let bearer = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
    }
    response
}

/// An error that arises at this edge.
pub fn refuse(code: Code, reason: &str, message: impl Into<String>) -> Status {
    Status::with_error_details(
        code,
        message,
        ErrorDetails::with_error_info(reason, "quotagate", []),
    )
}

/// `Retry-After`: whole seconds, rounded up, at least 1.
pub fn seconds_up(wait: Duration) -> Option<HeaderValue> {
    let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1);
    HeaderValue::try_from(seconds.to_string()).ok()
}

/// No such path.
pub async fn not_found() -> Response {
    response(&refuse(Code::NotFound, "NO_SUCH_PATH", "there is nothing under this path"))
}

/// No such method on this path.
pub async fn method_not_allowed() -> Response {
    response_as(
        StatusCode::METHOD_NOT_ALLOWED,
        &refuse(Code::Unimplemented, "METHOD_NOT_ALLOWED", "this path does not take this method"),
    )
}

/// The status of HTTP that stands for one of gRPC.
pub fn http_code(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::Aborted | Code::FailedPrecondition | Code::AlreadyExists => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Cancelled | Code::Unknown | Code::Internal | Code::DataLoss => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

/// What the service says; where it says nothing, a second for what passes.
fn retry_after(status: &Status) -> Option<Duration> {
    match status.code() {
        Code::Unavailable | Code::ResourceExhausted => Some(
            status
                .get_details_retry_info()
                .and_then(|info| info.retry_delay)
                .unwrap_or(Duration::from_secs(1)),
        ),
        _ => None,
    }
}

/// The details that the service uses, as JSON with their types.
fn details(status: &Status) -> Vec<Value> {
    let details = status.get_error_details();
    let mut list = Vec::new();
    if let Some(info) = details.error_info() {
        list.push(json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": info.reason, "domain": info.domain, "metadata": info.metadata,
        }));
    }
    if let Some(request) = details.bad_request() {
        let violations: Vec<Value> = request
            .field_violations
            .iter()
            .map(|fault| json!({"field": fault.field, "description": fault.description}))
            .collect();
        list.push(json!({
            "@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": violations,
        }));
    }
    if let Some(delay) = details.retry_info().and_then(|info| info.retry_delay) {
        let seconds = delay.as_secs_f64();
        list.push(json!({
            "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": format!("{seconds}s"),
        }));
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn answers(code: Code, retry: Option<Duration>, http: u16, header_value: Option<&str>) {
        let details = ErrorDetails::with_retry_info(retry);
        let details = if retry.is_some() { details } else { ErrorDetails::new() };
        let response = response(&Status::with_error_details(code, "why", details));
        let header = response.headers().get(header::RETRY_AFTER);
        assert_eq!(response.status().as_u16(), http, "{code:?}");
        assert_eq!(header.map(|value| value.to_str().expect("text")), header_value, "{code:?}");
    }

    #[test]
    fn each_status_has_its_http_status() {
        answers(Code::InvalidArgument, None, 400, None);
        answers(Code::Unauthenticated, None, 401, None);
        answers(Code::PermissionDenied, None, 403, None);
        answers(Code::NotFound, None, 404, None);
        answers(Code::Aborted, None, 409, None);
        answers(Code::FailedPrecondition, None, 409, None);
        answers(Code::ResourceExhausted, None, 429, Some("1"));
        answers(Code::ResourceExhausted, Some(Duration::from_secs(30)), 429, Some("30"));
        answers(Code::Internal, None, 500, None);
        answers(Code::Unknown, None, 500, None);
        answers(Code::Unavailable, None, 503, Some("1"));
        answers(Code::Unavailable, Some(Duration::from_millis(1_001)), 503, Some("2"));
        answers(Code::Unavailable, Some(Duration::ZERO), 503, Some("1"));
        answers(Code::DeadlineExceeded, None, 504, None);
    }

    #[test]
    fn details_are_decoded() {
        let mut details = ErrorDetails::with_error_info("BAD_FIELD", "quotagate", []);
        details.add_bad_request_violation("calls", "must be at most 10000");
        details.set_retry_info(Some(Duration::from_millis(1_500)));
        let status = Status::with_error_details(Code::InvalidArgument, "bad", details);
        let list = super::details(&status);
        assert_eq!(list[0]["reason"], "BAD_FIELD");
        assert_eq!(list[1]["fieldViolations"][0]["field"], "calls");
        assert_eq!(list[2]["retryDelay"], "1.5s");
    }
}
