//! Why there is no permit.

use std::{error::Error, fmt, time::Duration};

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::proto::v1::{ClassState, Denial, DenialReason, LimitUsage};

/// Why there is no permit.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AcquireError {
    /// The service answered no. Nothing was charged.
    Denied(Box<Denied>),
    /// Nothing could be decided within the deadline, and the
    /// [outage policy](super::OutagePolicy) of the traffic class lets no call
    /// through, or no more.
    Unavailable(Box<Unavailable>),
    /// The question is wrong: it will be refused however often it is asked.
    Invalid(Box<Invalid>),
    /// The service does not know the operation, or refuses an org, workspace or
    /// user that nobody declared.
    NotFound(Box<Status>),
    /// This caller may not ask that.
    PermissionDenied(Box<Status>),
    /// The service does not know this caller.
    Unauthenticated(Box<Status>),
}

/// The service answered no.
#[derive(Clone, Debug, PartialEq)]
pub struct Denied {
    /// What stopped the request.
    pub reason: DenialReason,
    /// When to try again; `None` where nobody can know, or where it can never be
    /// granted.
    pub retry_after: Option<Duration>,
    /// The binding limit: the one that frees last. Cooling-down and a full queue
    /// may have none.
    pub limit: Option<LimitUsage>,
    /// Every limit that the request touches.
    pub limits: Vec<LimitUsage>,
    /// One sentence for people.
    pub message: String,
    /// The traffic classes of the workspace, where one was named.
    pub class_state: Option<ClassState>,
    /// The place in the queue at which the wait ended, from 1; 0 if it did not
    /// wait.
    pub queue_position: u32,
}

/// Nothing could be decided, and the outage policy lets no call through.
#[derive(Clone, Debug)]
pub struct Unavailable {
    /// The last thing that went wrong.
    pub status: Status,
    /// What the outage policy said.
    pub why: &'static str,
}

/// What is wrong with a question.
#[derive(Clone, Debug)]
pub struct Invalid {
    /// Each wrong field, and what would mend it.
    pub violations: Vec<Violation>,
    /// The whole answer.
    pub status: Status,
}

/// One wrong field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field of the request.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

impl Denied {
    /// The reason without its prefix, such as `ORG_LIMIT`: for logs and metrics.
    #[must_use]
    pub fn reason_name(&self) -> &'static str {
        self.reason.as_str_name().trim_start_matches("DENIAL_REASON_")
    }
}

impl From<Denial> for Denied {
    fn from(denial: Denial) -> Self {
        Self {
            reason: denial.reason(),
            retry_after: denial.retry_after.and_then(|wait| wait.try_into().ok()),
            limit: denial.limit,
            limits: denial.limits,
            message: denial.message,
            class_state: denial.class_state,
            queue_position: denial.queue_position,
        }
    }
}

impl AcquireError {
    /// When to try again, where the service has said so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Denied(denied) => denied.retry_after,
            Self::Unavailable(unavailable) => retry_info(&unavailable.status),
            Self::Invalid(_)
            | Self::NotFound(_)
            | Self::PermissionDenied(_)
            | Self::Unauthenticated(_) => None,
        }
    }

    /// The error that a status is by itself; `None` for an outage: nothing was
    /// decided, and asking again may help.
    pub(super) fn of(status: &Status) -> Option<Self> {
        let status = Box::new(status.clone());
        match status.code() {
            Code::InvalidArgument => {
                let details = status.get_error_details();
                let violations = details.bad_request().map_or(&[][..], |bad| &bad.field_violations);
                let violations = violations.iter().map(|violation| Violation {
                    field: violation.field.clone(),
                    description: violation.description.clone(),
                });
                let violations = violations.collect();
                Some(Self::Invalid(Box::new(Invalid { violations, status: *status })))
            }
            Code::NotFound => Some(Self::NotFound(status)),
            Code::PermissionDenied => Some(Self::PermissionDenied(status)),
            Code::Unauthenticated => Some(Self::Unauthenticated(status)),
            _ => None,
        }
    }
}

/// When the service says that trying again may help.
pub(super) fn retry_info(status: &Status) -> Option<Duration> {
    status.get_details_retry_info().and_then(|info| info.retry_delay)
}

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(denied) => {
                write!(f, "denied: {}: {}", denied.reason_name(), denied.message)
            }
            Self::Unavailable(unavailable) => {
                let Unavailable { status, why } = &**unavailable;
                write!(f, "nothing could be decided ({}), and {why}", status.message())
            }
            Self::Invalid(invalid) => {
                write!(f, "the question is wrong: {}", invalid.status.message())
            }
            Self::NotFound(status) => write!(f, "not known: {}", status.message()),
            Self::PermissionDenied(status) => write!(f, "not allowed: {}", status.message()),
            Self::Unauthenticated(status) => write!(f, "not known: {}", status.message()),
        }
    }
}

impl Error for AcquireError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Denied(_) => None,
            Self::Unavailable(unavailable) => Some(&unavailable.status),
            Self::Invalid(invalid) => Some(&invalid.status),
            Self::NotFound(status)
            | Self::PermissionDenied(status)
            | Self::Unauthenticated(status) => Some(status),
        }
    }
}
