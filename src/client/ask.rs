//! What a caller asks for.

use std::time::Duration;

use crate::proto::v1::{AcquireRequest, TrafficClass};

/// A question: so many calls of one operation on one org.
///
/// ```
/// use std::time::Duration;
/// use quotagate::client::{Ask, TrafficClass};
///
/// let ask = Ask::new("acme", "conversation-entries.get")
///     .workspace("acme-eu")
///     .traffic_class(TrafficClass::Interactive)
///     .max_wait(Duration::from_secs(2));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[must_use = "it asks nothing until it is given to `Client::permit`"]
pub struct Ask {
    pub(super) org: String,
    pub(super) operation: String,
    pub(super) workspace: String,
    pub(super) execution_user: String,
    pub(super) traffic_class: TrafficClass,
    pub(super) calls: u32,
    pub(super) min_calls: u32,
    pub(super) cost: u32,
    pub(super) max_wait: Duration,
    pub(super) permit_ttl: Option<Duration>,
    pub(super) request_id: Option<String>,
}

impl Ask {
    /// One call of `operation` on `org`, for background work
    /// ([`TrafficClass::Event`]), without waiting.
    pub fn new(org: impl Into<String>, operation: impl Into<String>) -> Self {
        Self {
            org: org.into(),
            operation: operation.into(),
            workspace: String::new(),
            execution_user: String::new(),
            traffic_class: TrafficClass::Event,
            calls: 1,
            min_calls: 0,
            cost: 0,
            max_wait: Duration::ZERO,
            permit_ttl: None,
            request_id: None,
        }
    }

    /// The customer's workspace that pays.
    pub fn workspace(self, workspace: impl Into<String>) -> Self {
        Self { workspace: workspace.into(), ..self }
    }

    /// The Salesforce user that the calls will be made as. Without one, the
    /// service chooses of the org's pool: see
    /// [`Permit::execution_user`](super::Permit::execution_user).
    pub fn execution_user(self, execution_user: impl Into<String>) -> Self {
        Self { execution_user: execution_user.into(), ..self }
    }

    /// Who waits for the calls.
    pub fn traffic_class(self, traffic_class: TrafficClass) -> Self {
        let traffic_class = match traffic_class {
            TrafficClass::Unspecified => TrafficClass::Event,
            named => named,
        };
        Self { traffic_class, ..self }
    }

    /// How many calls, 1 to 10,000.
    pub fn calls(self, calls: u32) -> Self {
        Self { calls: calls.max(1), ..self }
    }

    /// The fewest calls that are of use; otherwise it is all or nothing.
    pub fn min_calls(self, min_calls: u32) -> Self {
        Self { min_calls, ..self }
    }

    /// Units that one call takes of the org's total and of the workspace's cap.
    pub fn cost(self, cost: u32) -> Self {
        Self { cost, ..self }
    }

    /// How long to wait for room, at most 10 minutes.
    pub fn max_wait(self, max_wait: Duration) -> Self {
        Self { max_wait, ..self }
    }

    /// How long the permit is to live; what is longer than the limits allow is
    /// shortened.
    pub fn permit_ttl(self, permit_ttl: Duration) -> Self {
        Self { permit_ttl: Some(permit_ttl), ..self }
    }

    /// The id that makes a repeat safe, where a repeat by another process shall
    /// be one: 1 to 64 characters, unique per caller and org. Every question has
    /// one of its own otherwise.
    pub fn request_id(self, request_id: impl Into<String>) -> Self {
        Self { request_id: Some(request_id.into()), ..self }
    }

    /// The message, for one question. `fresh_id` makes an id where none is given.
    pub(super) fn message(&self, fresh_id: impl FnOnce() -> String) -> AcquireRequest {
        AcquireRequest {
            org: self.org.clone(),
            workspace: self.workspace.clone(),
            operation: self.operation.clone(),
            execution_user: self.execution_user.clone(),
            traffic_class: self.traffic_class.into(),
            calls: self.calls,
            min_calls: self.min_calls,
            cost: self.cost,
            max_wait: (!self.max_wait.is_zero()).then(|| wire(self.max_wait)),
            permit_ttl: self.permit_ttl.map(wire),
            request_id: self.request_id.clone().unwrap_or_else(fresh_id),
            ..AcquireRequest::default()
        }
    }
}

/// A length of time as a message; the longest there is for what is longer.
pub(super) fn wire(time: Duration) -> prost_types::Duration {
    let longest = prost_types::Duration { seconds: i64::MAX, nanos: 0 };
    time.try_into().unwrap_or(longest)
}
