//! The service as the source of a pool's calls.

use std::{sync::Arc, time::Duration};

use super::{
    Pool, PoolOptions,
    source::{Fetched, Headroom, Merge, Refusal, Source},
};
use crate::{
    client::{AcquireError, Answer, Ask, Client, Denied, Origin, permit::Grant},
    clock::Moment,
    proto::v1::{Advice, DenialReason, LimitKind, LimitScope, LimitUsage},
};

/// The service, asked one question again and again.
#[derive(Clone, Debug)]
pub struct Service {
    client: Client,
    ask: Ask,
}

/// A permit of the service, as its pool knows it.
#[derive(Clone, Debug)]
pub struct ServicePermit(Arc<Grant>);

impl Client {
    /// A local pool of calls for a question, of which the number of calls and the
    /// request id are of no matter. See [`pool`](super).
    #[must_use]
    pub fn pool(&self, ask: &Ask) -> Pool {
        self.pool_with(ask, PoolOptions { max_wait: ask.max_wait, ..PoolOptions::default() })
    }

    /// The same with other options; how long to wait is theirs.
    #[must_use]
    pub fn pool_with(&self, ask: &Ask, options: PoolOptions) -> Pool {
        let ask = Ask { request_id: None, min_calls: 1, ..ask.clone() };
        Pool::new(Service { client: self.clone(), ask }, options)
    }
}

impl Source for Service {
    type Permit = ServicePermit;
    type Answer = Answer;
    type Error = AcquireError;

    fn now(&self) -> Moment {
        Moment::now()
    }

    fn timeout(&self) -> Duration {
        self.client.wire.timeout()
    }

    async fn fetch(
        &self,
        calls: u32,
        max_wait: Duration,
    ) -> Result<Fetched<ServicePermit>, Refusal<AcquireError>> {
        let ask = Ask { calls, max_wait, ..self.ask.clone() };
        let permit = self.client.permit(&ask).await.map_err(|error| match &error {
            AcquireError::Denied(denied) => {
                Refusal::Denied { retry_after: denied.retry_after, error }
            }
            _ => Refusal::Failed(error),
        })?;
        let (calls, deadline) = (permit.calls(), permit.deadline());
        let headroom = match permit.origin() {
            Origin::Service => Some(headroom(permit.limits(), self.ask.cost)),
            // This process's own part in an outage is no stock to be filled.
            Origin::Outage => None,
        };
        let ttl = deadline.since(Moment::now());
        Ok(Fetched { permit: ServicePermit(permit.into_grant()), calls, deadline, ttl, headroom })
    }

    async fn release(&self, permit: ServicePermit, unused: u32) {
        permit.0.settling.release_later(&permit.0.terms, Some(unused));
    }

    async fn report(
        &self,
        permit: ServicePermit,
        first: u32,
        calls: u32,
        answer: Option<Answer>,
    ) -> bool {
        let answer = answer.unwrap_or_else(Answer::none);
        let reported = permit.0.settling.report(&permit.0.terms, first, calls, answer).await;
        matches!(reported.advice, Advice::BackOff | Advice::Stop)
    }

    async fn flush(&self) {
        self.client.settler.flush().await;
    }

    fn execution_user<'a>(&self, permit: &'a ServicePermit) -> &'a str {
        &permit.0.terms.execution_user
    }

    fn gave_up(&self) -> AcquireError {
        AcquireError::Denied(Box::new(Denied {
            reason: DenialReason::Unspecified,
            retry_after: None,
            limit: None,
            limits: Vec::new(),
            message: "the wait ended before there was room".to_owned(),
            class_state: None,
            queue_position: 0,
        }))
    }

    fn aged(&self, mut denial: AcquireError, age: Duration) -> AcquireError {
        if let AcquireError::Denied(denied) = &mut denial {
            denied.retry_after = denied.retry_after.map(|wait| wait.saturating_sub(age));
        }
        denial
    }
}

impl Merge for Answer {
    fn merge(&mut self, later: Self) -> Option<Self> {
        self.merge_later(later)
    }

    fn is_urgent(&self) -> bool {
        self.is_error()
    }
}

/// What is left of the limits that calls of this cost take from.
fn headroom(limits: &[LimitUsage], cost: u32) -> Headroom {
    let mut room = Headroom { calls: u64::MAX, window: Duration::MAX, slots: false };
    // A workspace without a cap has no limit; one in shadow refuses nothing.
    for limit in limits.iter().filter(|limit| limit.max > 0 && limit.shadow.is_none()) {
        match limit.kind() {
            LimitKind::Concurrency => room.slots = true,
            LimitKind::Window | LimitKind::Unspecified => {
                let units = match limit.scope() {
                    LimitScope::ExecutionUser => 1,
                    _ => u64::from(cost.max(1)),
                };
                let left = limit.remaining.saturating_sub(limit.reserved) / units;
                room.calls = room.calls.min(left);
                let window = limit.window.and_then(|window| window.try_into().ok());
                room.window = room.window.min(window.unwrap_or(Duration::MAX));
            }
        }
    }
    room
}
