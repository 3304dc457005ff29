//! What could not be decided, as callers see it: one table from errors to
//! statuses. A refusal is an answer and does not appear here.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use crate::{
    config::Fault,
    node::{AdminError, NodeError},
    quota::AskError,
};

/// The `domain` of every `ErrorInfo`.
pub const DOMAIN: &str = "quotagate";

/// A failed request, before it becomes a status of gRPC or of HTTP.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The canonical code.
    pub code: Code,
    /// For machines: `UPPER_SNAKE`, stable.
    pub reason: &'static str,
    /// One sentence for people: what is wrong and what would mend it.
    pub message: String,
    /// The fields that are wrong, for `InvalidArgument`.
    pub fields: Vec<FieldViolation>,
    /// When to try again, where trying again can help.
    pub retry_after: Option<Duration>,
}

impl Problem {
    /// A problem without details.
    pub fn new(code: Code, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), fields: Vec::new(), retry_after: None }
    }

    /// A request with wrong fields: the message names them and their remedies.
    #[must_use]
    pub fn fields(reason: &'static str, fields: Vec<FieldViolation>) -> Self {
        let sentences: Vec<_> =
            fields.iter().map(|f| format!("{}: {}", f.field, f.description)).collect();
        Self { fields, ..Self::new(Code::InvalidArgument, reason, sentences.join("; ")) }
    }

    /// A request with one wrong field.
    pub fn field(reason: &'static str, field: &str, description: impl Into<String>) -> Self {
        Self::fields(reason, vec![FieldViolation::new(field, description)])
    }

    /// The request may succeed after `delay`.
    #[must_use]
    pub fn retry_after(self, delay: Duration) -> Self {
        Self { retry_after: Some(delay), ..self }
    }
}

/// A status travels in HTTP headers, and some clients accept 8 KiB of them in
/// all: these bounds keep the base64 of the details and the message below.
const MAX_VIOLATIONS: usize = 16;
const MAX_DESCRIPTION_BYTES: usize = 200;
const MAX_MESSAGE_BYTES: usize = 512;

impl From<Problem> for Status {
    fn from(problem: Problem) -> Self {
        let mut details = ErrorDetails::new();
        details.set_error_info(problem.reason, DOMAIN, HashMap::new());
        if !problem.fields.is_empty() {
            details.set_bad_request(bounded(problem.fields));
        }
        if let Some(delay) = problem.retry_after {
            details.set_retry_info(Some(delay));
        }
        let message = cut(&problem.message, MAX_MESSAGE_BYTES);
        let mut status = Self::with_error_details(problem.code, message, details);
        let transient = matches!(problem.code, Code::Unavailable | Code::ResourceExhausted);
        if let Some(delay) = problem.retry_after.filter(|_| transient) {
            let millis = i32::try_from(delay.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX);
            status.metadata_mut().insert(PUSHBACK, millis.into());
        }
        status
    }
}

/// The trailer by which clients of gRPC that retry by themselves hear when to
/// (gRPC's retry design, A6): milliseconds. What can be repeated may always be
/// repeated once more, so the negative number that forbids it is never sent.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

fn bounded(mut fields: Vec<FieldViolation>) -> Vec<FieldViolation> {
    let rest = fields.len().saturating_sub(MAX_VIOLATIONS);
    if rest > 0 {
        // One place is for the sentence that says how many are not shown.
        fields.truncate(MAX_VIOLATIONS - 1);
        fields.push(FieldViolation::new("…", format!("{} more fields are wrong", rest + 1)));
    }
    for violation in &mut fields {
        violation.field = cut(&violation.field, MAX_DESCRIPTION_BYTES).into();
        violation.description = cut(&violation.description, MAX_DESCRIPTION_BYTES).into();
    }
    fields
}

/// The longest beginning of `text` that has at most `bytes` bytes.
#[must_use]
pub fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// A store's hiccup or a change of owner is over after about this time.
const SOON: Duration = Duration::from_secs(1);

/// Names are forgotten when their windows have passed: not soon.
const LATER: Duration = Duration::from_secs(60);

impl From<NodeError> for Problem {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::Ask(error) => error.into(),
            NodeError::UnknownOrg => Self::new(
                Code::NotFound,
                "UNKNOWN_ORG",
                "org: is not declared, and this service refuses undeclared orgs: declare it with \
                 PutOrg or in the configuration",
            ),
            NodeError::TooManyOrgs => Self::new(
                Code::ResourceExhausted,
                "TOO_MANY_ORGS",
                "org: is not declared, and no more undeclared orgs are kept: declare it, or try \
                 again when others have become idle",
            )
            .retry_after(LATER),
            NodeError::GarbledPermit => Self::field(
                "GARBLED_PERMIT_ID",
                "permit_id",
                "is not an id that this service made: send the permit_id of the answer to \
                 Acquire, unchanged",
            ),
            NodeError::NumberNeeded => Self::field(
                "UNUSED_CALLS_NEEDED",
                "unused_calls",
                "must be given, because calls of this permit have been reported: say how many \
                 were never sent",
            ),
            NodeError::NotOwner => AskError::NotOwner.into(),
            NodeError::PermitOfAnother => Self::new(
                Code::PermissionDenied,
                "PERMIT_OF_ANOTHER",
                "permit_id: the permit was granted to another principal, and only they can \
                 report or release its calls; nothing was changed",
            ),
        }
    }
}

impl From<AskError> for Problem {
    fn from(error: AskError) -> Self {
        match error {
            AskError::UnknownOperation => Self::new(
                Code::NotFound,
                "UNKNOWN_OPERATION",
                "operation: the catalogue has no such operation: use one of the catalogue, or add \
                 it in the configuration",
            ),
            AskError::UnknownWorkspace => Self::new(
                Code::NotFound,
                "UNKNOWN_WORKSPACE",
                "workspace: is not declared, and this service refuses undeclared workspaces: \
                 declare it with PutWorkspace or in the configuration",
            ),
            AskError::UnknownUser => Self::new(
                Code::NotFound,
                "UNKNOWN_EXECUTION_USER",
                "execution_user: is not declared, and this service refuses undeclared users: \
                 declare it with PutExecutionUser or in the configuration",
            ),
            AskError::NoUser => Self::field(
                "EXECUTION_USER_NEEDED",
                "execution_user",
                "must be given, because the operation charges a user and the org's pool is empty: \
                 name one, or add users with PutExecutionUser",
            ),
            AskError::RequestIdReused => Self::field(
                "REQUEST_ID_REUSED",
                "request_id",
                "was used for a request with another body: use a new one for each new request",
            ),
            AskError::StoreTimeout => Self::new(
                Code::Unavailable,
                "STORE_TIMEOUT",
                "the store did not commit in time: try again",
            )
            .retry_after(SOON),
            AskError::NotOwner => Self::new(
                Code::Unavailable,
                "NOT_OWNER",
                "this node may not grant for the org any more: try again",
            )
            .retry_after(SOON),
            AskError::TooManyNames => Self::new(
                Code::ResourceExhausted,
                "TOO_MANY_NAMES",
                "the org has as many undeclared workspaces or users as are kept: declare this \
                 one, or try again when others have become idle",
            )
            .retry_after(LATER),
            AskError::TooManyPermits => Self::new(
                Code::ResourceExhausted,
                "TOO_MANY_PERMITS",
                "the org has as many permits out as are kept: report or release them, or ask for \
                 more calls with one permit",
            )
            .retry_after(SOON),
            AskError::Overloaded => Self::new(
                Code::ResourceExhausted,
                "OVERLOADED",
                "too many requests wait for the store: try again",
            )
            .retry_after(SOON),
        }
    }
}

impl From<AdminError> for Problem {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::NotFound(what) => Self::new(Code::NotFound, "NOT_FOUND", what),
            AdminError::Faults(faults) => {
                let violation = |Fault { field, message, .. }| FieldViolation::new(field, message);
                Self::fields("INVALID_DECLARATION", faults.into_iter().map(violation).collect())
            }
            AdminError::EtagMismatch(present) => Self::new(
                Code::Aborted,
                "ETAG_MISMATCH",
                format!(
                    "etag: the org has changed, its etag is {present:?} now: read it again with \
                     GetOrg and repeat the change"
                ),
            ),
            AdminError::Store(cause) => Self::new(
                Code::Unavailable,
                "STORE_UNAVAILABLE",
                format!("the store did not take the change: {cause}"),
            )
            .retry_after(SOON),
        }
    }
}

impl From<NodeError> for Status {
    fn from(error: NodeError) -> Self {
        Problem::from(error).into()
    }
}

impl From<AdminError> for Status {
    fn from(error: AdminError) -> Self {
        Problem::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One row: the error, its code, its reason, its fields, and whether it says
    /// when to try again.
    fn check(
        error: impl Into<Problem>,
        code: Code,
        reason: &str,
        fields: &[&str],
        has_retry: bool,
    ) {
        let status = Status::from(error.into());
        assert_eq!(status.code(), code, "{reason}");
        let details = status.get_error_details();
        let info = details.error_info().expect("ErrorInfo is on every error");
        assert_eq!((info.domain.as_str(), info.reason.as_str()), (DOMAIN, reason));
        let named: Vec<_> = details
            .bad_request()
            .map(|bad| bad.field_violations.iter().map(|v| v.field.as_str()).collect())
            .unwrap_or_default();
        assert_eq!(named, fields, "{reason}");
        for field in fields {
            assert!(status.message().contains(field), "{reason}: {:?}", status.message());
        }
        assert_eq!(details.retry_info().is_some(), has_retry, "{reason}");
        let pushback = status.metadata().get(PUSHBACK).map(|value| value.to_str().expect("ASCII"));
        let delay = details.retry_info().and_then(|info| info.retry_delay);
        let millis = delay.map(|delay| delay.as_millis().to_string());
        assert_eq!(pushback, millis.as_deref(), "{reason}: the trailer says the same");
    }

    #[test]
    fn retries_are_pushed_back_where_they_can_help_and_never_forbidden() {
        for (code, delay, expected) in [
            (Code::Unavailable, Some(Duration::ZERO), Some("0")),
            (Code::Unavailable, Some(Duration::from_micros(1_500)), Some("2")),
            (Code::ResourceExhausted, Some(Duration::from_secs(60)), Some("60000")),
            (Code::Unavailable, Some(Duration::MAX), Some("2147483647")),
            (Code::Unavailable, None, None),
            (Code::Aborted, Some(Duration::from_secs(1)), None),
        ] {
            let problem = Problem { retry_after: delay, ..Problem::new(code, "X", "x") };
            let status = Status::from(problem);
            let pushback = status.metadata().get(PUSHBACK).and_then(|value| value.to_str().ok());
            assert_eq!(pushback, expected, "{code:?}, {delay:?}");
        }
    }

    #[test]
    fn every_error_has_a_code_a_reason_and_what_helps() {
        use AskError::*;
        use Code::{Aborted, InvalidArgument, NotFound, ResourceExhausted, Unavailable};
        let ask = NodeError::Ask;
        check(ask(UnknownOperation), NotFound, "UNKNOWN_OPERATION", &[], false);
        check(ask(UnknownWorkspace), NotFound, "UNKNOWN_WORKSPACE", &[], false);
        check(ask(UnknownUser), NotFound, "UNKNOWN_EXECUTION_USER", &[], false);
        check(ask(NoUser), InvalidArgument, "EXECUTION_USER_NEEDED", &["execution_user"], false);
        check(ask(RequestIdReused), InvalidArgument, "REQUEST_ID_REUSED", &["request_id"], false);
        check(ask(StoreTimeout), Unavailable, "STORE_TIMEOUT", &[], true);
        check(ask(NotOwner), Unavailable, "NOT_OWNER", &[], true);
        check(ask(TooManyNames), ResourceExhausted, "TOO_MANY_NAMES", &[], true);
        check(ask(TooManyPermits), ResourceExhausted, "TOO_MANY_PERMITS", &[], true);
        check(ask(Overloaded), ResourceExhausted, "OVERLOADED", &[], true);
        check(NodeError::UnknownOrg, NotFound, "UNKNOWN_ORG", &[], false);
        check(NodeError::TooManyOrgs, ResourceExhausted, "TOO_MANY_ORGS", &[], true);
        let garbled = NodeError::GarbledPermit;
        check(garbled, InvalidArgument, "GARBLED_PERMIT_ID", &["permit_id"], false);
        let number = NodeError::NumberNeeded;
        check(number, InvalidArgument, "UNUSED_CALLS_NEEDED", &["unused_calls"], false);
        check(NodeError::NotOwner, Unavailable, "NOT_OWNER", &[], true);

        let fault = |field: &str| Fault { line: None, field: field.into(), message: "bad".into() };
        check(AdminError::NotFound("no such user".into()), NotFound, "NOT_FOUND", &[], false);
        check(
            AdminError::Faults(vec![fault("reserve_percent"), fault("workspaces[1].id")]),
            InvalidArgument,
            "INVALID_DECLARATION",
            &["reserve_percent", "workspaces[1].id"],
            false,
        );
        check(AdminError::EtagMismatch("7".into()), Aborted, "ETAG_MISMATCH", &[], false);
        check(AdminError::Store("full".into()), Unavailable, "STORE_UNAVAILABLE", &[], true);
    }

    #[test]
    fn a_thousand_faults_fit_into_the_headers_that_any_client_accepts() {
        let fault = FieldViolation::new("workspaces[999].classes.bulk", "ä".repeat(5_000));
        let status = Status::from(Problem::fields("INVALID_DECLARATION", vec![fault; 1_000]));
        let base64 = status.details().len().div_ceil(3) * 4;
        let percent_encoded = status.message().len() * 3;
        assert!(base64 + percent_encoded < 8 * 1024 - 512, "{base64} + {percent_encoded}");
        let details = status.get_error_details();
        let bad = details.bad_request().expect("the fields are named");
        assert_eq!(bad.field_violations.len(), MAX_VIOLATIONS);
        let last = &bad.field_violations[MAX_VIOLATIONS - 1];
        assert_eq!(last.description, "985 more fields are wrong");
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        for (text, bytes, expected) in
            [("abc", 5, "abc"), ("abc", 2, "ab"), ("aä", 2, "a"), ("ä", 1, ""), ("", 0, "")]
        {
            assert_eq!(cut(text, bytes), expected, "{text:?} at {bytes}");
        }
    }
}
