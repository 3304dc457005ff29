//! What an answer to Acquire says about limits in the fields `RateLimit-Policy` and
//! `RateLimit`, as draft-ietf-httpapi-ratelimit-headers has them: for clients and
//! proxies that know those, and nothing of this service.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use tonic::metadata::BinaryMetadataValue;

use crate::proto::v1::{
    AcquireResponse, Denial, DenialReason, LimitKind, LimitScope, LimitUsage,
    acquire_response::Outcome,
};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// An integer of a structured field has at most 15 digits.
const MOST: u64 = 999_999_999_999_999;

/// Adds the fields for every limit of a decision that can refuse something.
pub fn describe(answer: &AcquireResponse, headers: &mut HeaderMap) {
    let (limits, denial) = match &answer.outcome {
        Some(Outcome::Permit(permit)) => (&permit.limits, None),
        Some(Outcome::Denial(denial)) => (&denial.limits, Some(denial)),
        None => return,
    };
    // No cap, or a limit that is only tried.
    let limits = || limits.iter().filter(|limit| limit.max > 0 && limit.shadow.is_none());
    let policies: Vec<String> = limits().map(policy).collect();
    let states: Vec<String> = limits().map(|limit| state(limit, denial)).collect();
    for (name, items) in [(POLICY, policies), (LIMIT, states)] {
        // An empty list is said by no field at all.
        if !items.is_empty()
            && let Ok(value) = HeaderValue::from_str(&items.join(", "))
        {
            headers.insert(name, value);
        }
    }
}

/// `"user.entries";q=90;w=60;pk=:YWxpY2U=:`
fn policy(limit: &LimitUsage) -> String {
    let mut item = format!("{};q={}", name(limit), limit.max.min(MOST));
    match limit.kind() {
        LimitKind::Concurrency => item.push_str(";qu=\"concurrent-requests\""),
        LimitKind::Window | LimitKind::Unspecified => {
            let window = limit.window.and_then(|window| Duration::try_from(window).ok());
            if let Some(window) = window {
                item.push_str(&format!(";w={}", seconds_up(window)));
            }
        }
    }
    item + &partition(limit)
}

/// `"user.entries";r=45;t=12;pk=:YWxpY2U=:`; `t` where it is known.
fn state(limit: &LimitUsage, denial: Option<&Denial>) -> String {
    let binds = denial.filter(|denial| denial.limit.as_ref().is_some_and(|b| is_same(b, limit)));
    // What the reserve and the outage share keep is for nobody who reads this.
    let kept = limit.reserved.saturating_add(limit.outage_share);
    let mut left = limit.remaining.saturating_sub(kept).min(MOST);
    let closed = limit.cooling_until.is_some()
        || binds.is_some_and(|denial| denial.reason() == DenialReason::WorkspaceClassPaused);
    if closed {
        left = 0;
    }
    let mut item = format!("{};r={left}", name(limit));
    let wait = binds.and_then(|denial| denial.retry_after);
    if let Some(wait) = wait.and_then(|wait| Duration::try_from(wait).ok()) {
        item.push_str(&format!(";t={}", seconds_up(wait)));
    }
    item + &partition(limit)
}

/// A policy's name in quotes: whose limit it is, and which.
fn name(limit: &LimitUsage) -> String {
    let scope = match limit.scope() {
        LimitScope::Org => "org",
        LimitScope::Workspace => "workspace",
        LimitScope::ExecutionUser => "user",
        LimitScope::Unspecified => "other",
    };
    let printable = limit.name.chars().filter(|c| matches!(c, ' '..='~'));
    let mut name = format!("\"{scope}.");
    for c in printable {
        if matches!(c, '"' | '\\') {
            name.push('\\');
        }
        name.push(c);
    }
    name.push('"');
    name
}

/// The partition key: the org, workspace or user whose limit it is.
fn partition(limit: &LimitUsage) -> String {
    let key = BinaryMetadataValue::from_bytes(limit.identity.as_bytes());
    let mut key = String::from_utf8_lossy(key.as_encoded_bytes()).into_owned();
    // Metadata of gRPC goes without the padding that a structured field has.
    while !key.len().is_multiple_of(4) {
        key.push('=');
    }
    format!(";pk=:{key}:")
}

fn is_same(a: &LimitUsage, b: &LimitUsage) -> bool {
    (&a.name, a.kind, a.scope, &a.identity) == (&b.name, b.kind, b.scope, &b.identity)
}

/// Whole seconds, at least 1: who waits as long has waited long enough.
fn seconds_up(duration: Duration) -> u64 {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    seconds.clamp(1, MOST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::{Permit, Shadow};

    fn limit(scope: LimitScope, name: &str, identity: &str) -> LimitUsage {
        LimitUsage {
            name: name.into(),
            kind: LimitKind::Window.into(),
            scope: scope.into(),
            identity: identity.into(),
            max: 90,
            remaining: 45,
            window: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
            ..Default::default()
        }
    }

    fn entries() -> LimitUsage {
        limit(LimitScope::ExecutionUser, "entries", "alice")
    }

    #[track_caller]
    fn check(outcome: Outcome, policy: Option<&str>, state: Option<&str>) {
        let mut headers = HeaderMap::new();
        describe(&AcquireResponse { outcome: Some(outcome) }, &mut headers);
        let said = |name| headers.get(name).map(|value| value.to_str().expect("ASCII"));
        assert_eq!((said(POLICY), said(LIMIT)), (policy, state));
    }

    #[track_caller]
    fn granted(limits: Vec<LimitUsage>, policy: Option<&str>, state: Option<&str>) {
        check(Outcome::Permit(Permit { limits, ..Default::default() }), policy, state);
    }

    #[test]
    fn a_permit_says_what_is_left_of_each_limit() {
        granted(
            vec![entries()],
            Some(r#""user.entries";q=90;w=60;pk=:YWxpY2U=:"#),
            Some(r#""user.entries";r=45;pk=:YWxpY2U=:"#),
        );
        // What is kept for others, or for outages, is not left for callers.
        let total = LimitUsage {
            max: 15_000,
            remaining: 1_000,
            reserved: 750,
            outage_share: 300,
            window: Some(prost_types::Duration { seconds: 86_400, nanos: 0 }),
            ..limit(LimitScope::Org, "calls", "acme")
        };
        granted(
            vec![LimitUsage { reserved: 5, outage_share: 1, ..entries() }, total],
            Some(
                r#""user.entries";q=90;w=60;pk=:YWxpY2U=:, "org.calls";q=15000;w=86400;pk=:YWNtZQ==:"#,
            ),
            Some(r#""user.entries";r=39;pk=:YWxpY2U=:, "org.calls";r=0;pk=:YWNtZQ==:"#),
        );
    }

    #[test]
    fn slots_have_another_unit_and_no_window() {
        let kind = LimitKind::Concurrency.into();
        granted(
            vec![LimitUsage {
                kind,
                max: 5,
                remaining: 2,
                ..limit(LimitScope::Org, "long", "abc")
            }],
            Some(r#""org.long";q=5;qu="concurrent-requests";pk=:YWJj:"#),
            Some(r#""org.long";r=2;pk=:YWJj:"#),
        );
    }

    #[test]
    fn what_refuses_nothing_is_left_out_and_odd_values_are_said_within_the_syntax() {
        let uncapped = LimitUsage { max: 0, ..limit(LimitScope::Workspace, "calls", "eu") };
        granted(vec![uncapped.clone()], None, None);
        let shadow = LimitUsage { shadow: Some(Shadow::default()), ..entries() };
        granted(vec![shadow], None, None);
        granted(vec![], None, None);
        let window = Some(prost_types::Duration { seconds: 1, nanos: 1 });
        let odd = LimitUsage {
            name: "a\"\\ü\n".into(),
            max: u64::MAX,
            remaining: u64::MAX,
            window,
            identity: "ü".into(),
            ..entries()
        };
        granted(
            vec![odd, uncapped],
            Some(r#""user.a\"\\";q=999999999999999;w=2;pk=:w7w=:"#),
            Some(r#""user.a\"\\";r=999999999999999;pk=:w7w=:"#),
        );
        let cooling_until = Some(prost_types::Timestamp::default());
        granted(
            vec![LimitUsage { cooling_until, ..entries() }],
            Some(r#""user.entries";q=90;w=60;pk=:YWxpY2U=:"#),
            Some(r#""user.entries";r=0;pk=:YWxpY2U=:"#),
        );
    }

    #[test]
    fn a_denial_says_when_the_limit_that_binds_has_room() {
        let cap = limit(LimitScope::Workspace, "calls", "eu");
        let denial = |reason: DenialReason, binding: &LimitUsage| {
            Outcome::Denial(Denial {
                reason: reason.into(),
                limit: Some(binding.clone()),
                limits: vec![cap.clone(), entries()],
                retry_after: Some(prost_types::Duration { seconds: 11, nanos: 1 }),
                ..Default::default()
            })
        };
        let policies = Some(
            r#""workspace.calls";q=90;w=60;pk=:ZXU=:, "user.entries";q=90;w=60;pk=:YWxpY2U=:"#,
        );
        check(
            denial(DenialReason::ExecutionUserLimit, &entries()),
            policies,
            Some(r#""workspace.calls";r=45;pk=:ZXU=:, "user.entries";r=45;t=12;pk=:YWxpY2U=:"#),
        );
        // Nothing is left for a class that is paused, whatever is left of the cap.
        check(
            denial(DenialReason::WorkspaceClassPaused, &cap),
            policies,
            Some(r#""workspace.calls";r=0;t=12;pk=:ZXU=:, "user.entries";r=45;pk=:YWxpY2U=:"#),
        );
    }
}
