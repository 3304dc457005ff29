//! Rows of log entries and what they say of a call.

use prost_types::{Duration as WireDuration, ListValue, Struct, Timestamp, Value};

use super::*;
use crate::proto::envoy::config::core::v3::Metadata;

const SENT: Option<WireDuration> = Some(WireDuration { seconds: 0, nanos: 1 });

fn common(first_byte: Option<WireDuration>, attempts: u32) -> AccessLogCommon {
    AccessLogCommon {
        time_to_first_upstream_tx_byte: first_byte,
        upstream_request_attempt_count: attempts,
        ..AccessLogCommon::default()
    }
}

fn response(status: u32, details: &str, headers: &[(&str, &str)]) -> HttpResponseProperties {
    let header = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
    HttpResponseProperties {
        response_code: Some(status),
        response_code_details: details.to_owned(),
        response_headers: headers.iter().map(header).collect(),
    }
}

#[test]
fn a_call_is_unsent_only_if_no_byte_of_it_went_out() {
    let failed = || response(503, "upstream_reset_before_response_started", &[]);
    assert_eq!(outcome(&common(None, 0), failed()), Outcome::Unsent);
    assert_eq!(outcome(&common(None, 1), failed()), Outcome::Unsent);
    let unknown = Outcome::Sent(Box::default());
    assert_eq!(outcome(&common(None, 2), failed()), unknown);
    assert_eq!(outcome(&common(SENT, 1), failed()), unknown);
    let timeout = response(504, "upstream_response_timeout", &[]);
    assert_eq!(outcome(&common(SENT, 1), timeout), unknown, "it is the proxy's own answer");
    assert_eq!(outcome(&common(SENT, 1), response(0, VIA_UPSTREAM, &[])), unknown);
}

#[test]
fn an_answer_is_reported_with_what_its_headers_say() {
    let headers = [
        ("sforce-limit-info", "api-usage=7/100"),
        ("date", "Sun, 22 Nov 2026 08:00:00 GMT"),
        ("retry-after", "30"),
    ];
    let expected = ReportRequest {
        http_status: 429,
        limit_info: vec!["api-usage=7/100".into()],
        answer_time: Some(Timestamp { seconds: 1_795_334_400, nanos: 0 }),
        retry_after: Some(WireDuration { seconds: 30, nanos: 0 }),
        ..ReportRequest::default()
    };
    let answered = outcome(&common(SENT, 1), response(429, VIA_UPSTREAM, &headers));
    assert_eq!(answered, Outcome::Sent(Box::new(expected)));
    let bare = outcome(&common(SENT, 1), response(200, VIA_UPSTREAM, &[("date", "today")]));
    let expected = ReportRequest { http_status: 200, ..ReportRequest::default() };
    assert_eq!(bare, Outcome::Sent(Box::new(expected)));
}

#[test]
fn retry_after_is_seconds_or_a_moment_by_the_answers_clock() {
    let date = httpdate::parse_http_date("Sun, 22 Nov 2026 08:00:00 GMT").ok();
    let check = |text: &str, date, expected: Option<i64>| {
        let headers = HashMap::from([("retry-after".to_owned(), text.to_owned())]);
        assert_eq!(retry_after(&headers, date).map(|wait| wait.seconds), expected, "{text}");
    };
    check("5", None, Some(5));
    check("Sun, 22 Nov 2026 08:01:00 GMT", date, Some(60));
    check("Sun, 22 Nov 2026 07:59:00 GMT", date, Some(0));
    check("Sun, 22 Nov 2026 08:01:00 GMT", None, None);
    check("soon", date, None);
    check("-1", date, None);
}

#[test]
fn permits_are_those_that_the_filter_noted() {
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.into())) };
    let list = |values| Value { kind: Some(Kind::ListValue(ListValue { values })) };
    let noted = |filter: &str, key: &str, value| {
        let fields = Struct { fields: [(key.to_owned(), value)].into() };
        let metadata = Metadata { filter_metadata: [(filter.to_owned(), fields)].into() };
        AccessLogCommon { metadata: Some(metadata), ..AccessLogCommon::default() }
    };
    let number = Value { kind: Some(Kind::NumberValue(1.0)) };
    let two = noted(FILTER, PERMITS_KEY, list(vec![text("a"), number, text("b")]));
    assert_eq!(permits(&two), ["a", "b"]);
    assert!(permits(&noted("another", PERMITS_KEY, list(vec![text("a")]))).is_empty());
    assert!(permits(&noted(FILTER, "another", list(vec![text("a")]))).is_empty());
    assert!(permits(&noted(FILTER, PERMITS_KEY, text("a"))).is_empty());
    assert!(permits(&AccessLogCommon::default()).is_empty());
}
