//! Rows of decisions and what a proxy is told.

use super::*;
use crate::proto::v1::DenialReason;

fn limit(name: &str, scope: LimitScope, max: u64, remaining: u64, window_s: i64) -> LimitUsage {
    LimitUsage {
        name: name.into(),
        kind: LimitKind::Window.into(),
        scope: scope.into(),
        identity: "i".into(),
        max,
        remaining,
        window: Some(prost_types::Duration { seconds: window_s, nanos: 0 }),
        ..LimitUsage::default()
    }
}

fn limits() -> Vec<LimitUsage> {
    let slots = LimitUsage {
        kind: LimitKind::Concurrency.into(),
        ..limit("long", LimitScope::Org, 5, 4, 600)
    };
    vec![
        limit("calls", LimitScope::Org, 15_000, 9_000, 86_400),
        // A workspace without a cap.
        limit("calls", LimitScope::Workspace, 0, 0, 86_400),
        limit("entries", LimitScope::ExecutionUser, 90, 12, 60),
        slots,
    ]
}

fn value<'h>(headers: &'h [HeaderValue], key: &str) -> Option<&'h str> {
    headers.iter().find(|header| header.key == key).map(|header| header.value.as_str())
}

#[test]
fn a_permit_is_named_to_the_upstream_and_the_limits_to_the_caller() {
    let permit = Permit {
        permit_id: "p1".into(),
        execution_user: "ann".into(),
        limits: limits(),
        ..Permit::default()
    };
    let answer = Answer::granted(&[Some(permit), None]);
    assert_eq!(answer.overall_code(), Code::Ok);
    let status = &answer.statuses[0];
    let current = status.current_limit.as_ref().expect("a minute is a unit");
    assert_eq!((current.requests_per_unit, current.unit()), (90, Unit::Minute));
    assert_eq!((current.name.as_str(), status.limit_remaining), ("user.entries", 12));
    assert_eq!((answer.statuses[1].code(), answer.statuses.len()), (Code::Ok, 2));
    let (request, response) = (&answer.request_headers_to_add, &answer.response_headers_to_add);
    assert_eq!(value(request, "quotagate-permit"), Some("p1"));
    assert_eq!(value(request, "quotagate-execution-user"), Some("ann"));
    let policy = r#""org.calls";q=15000;w=86400, "user.entries";q=90;w=60"#;
    assert_eq!(value(response, "ratelimit-policy"), Some(policy));
    let state = r#""org.calls";r=9000, "user.entries";r=12"#;
    assert_eq!(value(response, "ratelimit"), Some(state));
    let metadata = answer.dynamic_metadata.expect("for the access log");
    assert!(metadata.fields.contains_key(PERMITS_KEY));
}

#[test]
fn a_denial_says_which_limit_and_when_to_come_back() {
    let denial = Denial {
        reason: DenialReason::ExecutionUserLimit.into(),
        limit: Some(limit("entries", LimitScope::ExecutionUser, 90, 3, 60)),
        limits: limits(),
        retry_after: Some(prost_types::Duration { seconds: 7, nanos: 1 }),
        message: "no".into(),
        ..Denial::default()
    };
    let answer = Answer::refused(1, 3, denial.into());
    assert_eq!(answer.overall_code(), Code::OverLimit);
    let codes: Vec<Code> = answer.statuses.iter().map(DescriptorStatus::code).collect();
    assert_eq!(codes, [Code::Ok, Code::OverLimit, Code::Unknown]);
    assert!(answer.statuses[1].current_limit.is_some());
    assert_eq!(answer.statuses[1].duration_until_reset.map(|wait| wait.seconds), Some(7));
    let headers = &answer.response_headers_to_add;
    assert_eq!(value(headers, "retry-after"), Some("8"));
    let state = r#""org.calls";r=9000, "user.entries";r=0;t=8"#;
    assert_eq!(value(headers, "ratelimit"), Some(state));
    assert_eq!(value(headers, "content-type"), Some("application/json"));
    let body = String::from_utf8(answer.raw_body).expect("JSON");
    assert_eq!(body, r#"[{"errorCode":"QUOTAGATE_EXECUTION_USER_LIMIT","message":"no"}]"#);
    assert!(answer.request_headers_to_add.is_empty());
}

#[test]
fn a_refusal_without_a_limit_promises_nothing() {
    let answer = Answer::refused(0, 1, Refusal::new("UNMATCHED_DESCRIPTOR", "why"));
    let headers = &answer.response_headers_to_add;
    assert_eq!(value(headers, "retry-after"), None);
    assert_eq!(value(headers, "ratelimit"), None);
    assert_eq!(answer.statuses[0].current_limit, None);
}

#[test]
fn only_units_that_envoy_knows_are_current_limits() {
    let unit = |window_s, nanos| {
        let window = Some(prost_types::Duration { seconds: window_s, nanos });
        let limit = LimitUsage { window, ..limit("x", LimitScope::Org, u64::MAX, 1, 0) };
        current_limit(&limit).map(|limit| (limit.unit(), limit.requests_per_unit))
    };
    assert_eq!(unit(1, 0), Some((Unit::Second, u32::MAX)));
    assert_eq!(unit(3_600, 0), Some((Unit::Hour, u32::MAX)));
    assert_eq!(unit(86_400, 0), Some((Unit::Day, u32::MAX)));
    assert_eq!(unit(2, 0), None);
    assert_eq!(unit(1, 1), None);
}
