//! Decisions in Envoy's words.

use std::{collections::BTreeMap, time::Duration};

use prost_types::{ListValue, Struct, Value, value::Kind};
use serde_json::json;

use crate::proto::{
    envoy::{
        config::core::v3::HeaderValue,
        service::ratelimit::v3::{
            RateLimitResponse,
            rate_limit_response::{Code, DescriptorStatus, RateLimit, rate_limit::Unit},
        },
    },
    v1::{Denial, LimitKind, LimitScope, LimitUsage, Permit},
};

/// Names the permits of a request: to later filters, and to the upstream unless
/// the proxy takes it off.
const PERMIT: &str = "quotagate-permit";

/// The user that a request is to be made as.
const EXECUTION_USER: &str = "quotagate-execution-user";

/// Where an access log finds the permits, in the metadata of the filter.
pub const PERMITS_KEY: &str = "quotagate_permits";

/// Why a request may not pass.
#[derive(Debug)]
pub struct Refusal {
    /// For machines: `UPPER_SNAKE`.
    reason: String,
    /// One sentence for people.
    message: String,
    retry_after: Option<Duration>,
    /// The one that refuses.
    limit: Option<LimitUsage>,
    limits: Vec<LimitUsage>,
}

impl Refusal {
    /// A refusal that no limit has made.
    pub fn new(reason: impl Into<String>, message: impl Into<String>) -> Self {
        let (reason, message) = (reason.into(), message.into());
        Self { reason, message, retry_after: None, limit: None, limits: Vec::new() }
    }
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        let reason = denial.reason().as_str_name().trim_start_matches("DENIAL_REASON_");
        let retry_after = denial.retry_after.and_then(|wait| Duration::try_from(wait).ok());
        Self {
            reason: reason.to_owned(),
            message: denial.message,
            retry_after,
            limit: denial.limit,
            limits: denial.limits,
        }
    }
}

/// Answers to one request.
pub struct Answer;

impl Answer {
    /// It may pass. One permit for each descriptor, none where it is free.
    pub fn granted(permits: &[Option<Permit>]) -> RateLimitResponse {
        let given = || permits.iter().flatten();
        let limits: Vec<&LimitUsage> = given().flat_map(|permit| &permit.limits).collect();
        let mut request_headers: Vec<_> =
            given().map(|permit| header(PERMIT, &permit.permit_id)).collect();
        let user = given().map(|permit| &permit.execution_user).find(|user| !user.is_empty());
        request_headers.extend(user.map(|user| header(EXECUTION_USER, user)));
        let ids = given().map(|permit| text(&permit.permit_id)).collect();
        let ids = Value { kind: Some(Kind::ListValue(ListValue { values: ids })) };
        let has_permits = given().next().is_some();
        RateLimitResponse {
            overall_code: Code::Ok.into(),
            statuses: permits.iter().map(|permit| passes(permit.as_ref())).collect(),
            response_headers_to_add: rate_limit_fields(&limits, None),
            request_headers_to_add: request_headers,
            raw_body: Vec::new(),
            dynamic_metadata: has_permits.then(|| metadata(PERMITS_KEY, ids)),
        }
    }

    /// It may not, because of the descriptor `at`, of so many.
    pub fn refused(at: usize, descriptors: usize, refusal: Refusal) -> RateLimitResponse {
        let mut statuses: Vec<_> = (0..descriptors)
            .map(|place| {
                // What comes later was not asked any more.
                let code = if place < at { Code::Ok } else { Code::Unknown };
                DescriptorStatus { code: code.into(), ..DescriptorStatus::default() }
            })
            .collect();
        if let Some(status) = statuses.get_mut(at) {
            status.code = Code::OverLimit.into();
            status.current_limit = refusal.limit.as_ref().and_then(current_limit);
            status.duration_until_reset = refusal.retry_after.and_then(|wait| wait.try_into().ok());
        }
        let limits: Vec<_> = refusal.limits.iter().collect();
        let binding = refusal.limit.as_ref().map(|limit| (limit, refusal.retry_after));
        let mut headers = rate_limit_fields(&limits, binding);
        headers.push(header("content-type", "application/json"));
        if let Some(wait) = refusal.retry_after {
            headers.push(header("retry-after", &whole_seconds(wait).to_string()));
        }
        // As Salesforce writes errors, so that its libraries show the sentence.
        let code = format!("QUOTAGATE_{}", refusal.reason);
        let body = json!([{ "message": refusal.message, "errorCode": code }]);
        RateLimitResponse {
            overall_code: Code::OverLimit.into(),
            statuses,
            response_headers_to_add: headers,
            request_headers_to_add: Vec::new(),
            raw_body: body.to_string().into_bytes(),
            dynamic_metadata: Some(metadata("quotagate_denial", text(&refusal.reason))),
        }
    }
}

/// The status of a descriptor that may pass: of its windows the one with the
/// least left.
fn passes(permit: Option<&Permit>) -> DescriptorStatus {
    let limits = permit.map(|permit| permit.limits.as_slice()).unwrap_or_default();
    let least = limits.iter().filter(|limit| is_bound(limit)).min_by_key(|limit| limit.remaining);
    DescriptorStatus {
        code: Code::Ok.into(),
        current_limit: least.and_then(current_limit),
        limit_remaining: least.map_or(0, |limit| saturated(limit.remaining)),
        duration_until_reset: None,
    }
}

/// The limit, where its window is one of the units that Envoy knows.
fn current_limit(limit: &LimitUsage) -> Option<RateLimit> {
    let unit = match (limit.kind(), seconds(limit)) {
        (LimitKind::Window, Some(1)) => Unit::Second,
        (LimitKind::Window, Some(60)) => Unit::Minute,
        (LimitKind::Window, Some(3_600)) => Unit::Hour,
        (LimitKind::Window, Some(86_400)) => Unit::Day,
        _ => return None,
    };
    let requests_per_unit = saturated(limit.max);
    Some(RateLimit { requests_per_unit, unit: unit.into(), name: name(limit) })
}

/// The fields `RateLimit-Policy` and `RateLimit` of the IETF's draft
/// (draft-ietf-httpapi-ratelimit-headers, 10). Of the limit that refuses nothing
/// is left, and its time is the one after which to come back.
fn rate_limit_fields(
    limits: &[&LimitUsage],
    binding: Option<(&LimitUsage, Option<Duration>)>,
) -> Vec<HeaderValue> {
    let mut policies = BTreeMap::new();
    let mut states = BTreeMap::new();
    for limit in limits.iter().filter(|limit| is_bound(limit)) {
        let name = name(limit);
        let window = seconds(limit).map(|seconds| format!(";w={seconds}")).unwrap_or_default();
        policies.insert(name.clone(), format!("{name:?};q={}{window}", limit.max));
        let is_binding = |(other, _): &(&LimitUsage, _)| {
            (&other.name, other.scope, &other.identity)
                == (&limit.name, limit.scope, &limit.identity)
        };
        let state = match binding.filter(is_binding) {
            Some((_, Some(wait))) => format!("{name:?};r=0;t={}", whole_seconds(wait)),
            Some((_, None)) => format!("{name:?};r=0"),
            // What is kept for others is not left for callers.
            None => {
                let kept = limit.reserved.saturating_add(limit.outage_share);
                format!("{name:?};r={}", limit.remaining.saturating_sub(kept))
            }
        };
        states.insert(name, state);
    }
    if policies.is_empty() {
        return Vec::new();
    }
    let list = |items: BTreeMap<String, String>| items.into_values().collect::<Vec<_>>().join(", ");
    vec![header("ratelimit-policy", &list(policies)), header("ratelimit", &list(states))]
}

/// True for a window that refuses something.
fn is_bound(limit: &LimitUsage) -> bool {
    limit.kind() == LimitKind::Window && limit.max > 0 && limit.shadow.is_none()
}

/// For example `org.calls`: a name alone may stand for an org's limit and for a
/// workspace's.
fn name(limit: &LimitUsage) -> String {
    let scope = match limit.scope() {
        LimitScope::Org | LimitScope::Unspecified => "org",
        LimitScope::Workspace => "workspace",
        LimitScope::ExecutionUser => "user",
    };
    format!("{scope}.{}", limit.name)
}

/// The window, where it is whole seconds.
fn seconds(limit: &LimitUsage) -> Option<i64> {
    limit.window.filter(|window| window.nanos == 0).map(|window| window.seconds)
}

fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

fn saturated(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn header(key: &str, value: &str) -> HeaderValue {
    HeaderValue { key: key.to_owned(), value: value.to_owned() }
}

fn text(value: &str) -> Value {
    Value { kind: Some(Kind::StringValue(value.to_owned())) }
}

fn metadata(key: &str, value: Value) -> Struct {
    Struct { fields: [(key.to_owned(), value)].into() }
}

#[cfg(test)]
mod tests;
