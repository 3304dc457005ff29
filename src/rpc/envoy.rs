//! Envoy's rate limit service and its access log service: a proxy asks before it
//! lets a request pass, and may tell afterwards what became of it. [`descriptor`]
//! says what is asked, `answer` puts decisions into Envoy's words, and
//! [`access_log`] is the way back. Whatever is asked goes the way of any other
//! Acquire.

pub mod access_log;
mod answer;
mod descriptor;

use std::{sync::Arc, time::Duration};

use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt as _;
use tracing::debug;

pub use self::access_log::AccessLog;
use self::{
    answer::{Answer, Refusal},
    descriptor::Meaning,
};
use super::{
    forward::{Context, Forward},
    operation::{Acquire, Release},
    status::Problem,
};
use crate::{
    config::envoy::{EnvoyDomain, Unmatched},
    metrics::{DescriptorMeaning, Metrics},
    proto::{
        envoy::service::ratelimit::v3::{
            RateLimitRequest, RateLimitResponse, rate_limit_service_server::RateLimitService,
        },
        v1::{AcquireRequest, AcquireResponse, Permit, ReleaseRequest, acquire_response::Outcome},
    },
};

/// Descriptors of one request: each takes a decision.
const MAX_DESCRIPTORS: usize = 16;

/// Decides about the requests of proxies.
#[derive(Debug)]
pub struct RateLimit {
    forward: Arc<Forward>,
    metrics: Arc<Metrics>,
}

impl RateLimit {
    /// The service at the edge of a node.
    #[must_use]
    pub fn new(forward: Arc<Forward>, metrics: Arc<Metrics>) -> Self {
        Self { forward, metrics }
    }
}

#[tonic::async_trait]
impl RateLimitService for RateLimit {
    /// An error is for what could not be decided; what can never be granted, for
    /// one an org that the service refuses to serve, is a refusal.
    async fn should_rate_limit(
        &self,
        request: Request<RateLimitRequest>,
    ) -> Result<Response<RateLimitResponse>, Status> {
        let context = self.forward.context(&request)?;
        let request = request.into_inner();
        check(&request)?;
        let config = self.forward.node().config();
        let domain = config.envoy.domains.get(&request.domain);
        let domain = domain.ok_or_else(|| unknown_domain(&request.domain))?;
        let mut asks = Vec::with_capacity(request.descriptors.len());
        for (at, descriptor) in request.descriptors.iter().enumerate() {
            let meaning = descriptor::meaning(domain, descriptor, request.hits_addend);
            match self.ask(domain, meaning)? {
                Ok(ask) => asks.push(ask),
                // Nothing has been charged yet.
                Err(refusal) => {
                    let answer = Answer::refused(at, request.descriptors.len(), refusal);
                    return Ok(Response::new(answer));
                }
            }
        }
        let answer = self.charge(asks, &context).await?;
        Ok(Response::new(answer))
    }
}

impl RateLimit {
    /// What is to be acquired for a descriptor, nothing where it is free; or why
    /// its request is refused.
    fn ask(
        &self,
        domain: &EnvoyDomain,
        meaning: Meaning,
    ) -> Result<Result<Option<AcquireRequest>, Refusal>, Problem> {
        let (label, ask) = match meaning {
            Meaning::Ask(ask) => (DescriptorMeaning::Asked, Ok(Ok(Some(*ask)))),
            Meaning::Free => (DescriptorMeaning::Free, Ok(Ok(None))),
            Meaning::Faulty(why) => {
                debug!(why, "a descriptor is faulty");
                let refusal = Refusal::new("FAULTY_DESCRIPTOR", why);
                (DescriptorMeaning::Faulty, Ok(Err(refusal)))
            }
            Meaning::Unmatched(why) => {
                debug!(why, "no rule fits a descriptor");
                let ask = match domain.unmatched {
                    Unmatched::Allow => Ok(Ok(None)),
                    Unmatched::Deny => Ok(Err(Refusal::new("UNMATCHED_DESCRIPTOR", why))),
                    Unmatched::Error => {
                        Err(Problem::field("UNMATCHED_DESCRIPTOR", "descriptors", why))
                    }
                };
                (DescriptorMeaning::Unmatched, ask)
            }
        };
        self.metrics.envoy_descriptor(label);
        ask
    }

    /// Charges all, one after the other, or none.
    async fn charge(
        &self,
        asks: Vec<Option<AcquireRequest>>,
        context: &Context,
    ) -> Result<RateLimitResponse, Status> {
        let count = asks.len();
        let mut granted: Vec<Option<Permit>> = Vec::with_capacity(count);
        // A request goes out as one user: the one of the first pool that chose.
        let mut chosen: Option<(String, String)> = None;
        for (at, ask) in asks.into_iter().enumerate() {
            let Some(mut ask) = ask else {
                granted.push(None);
                continue;
            };
            let (org, is_free) = (ask.org.clone(), ask.execution_user.is_empty());
            if let Some((_, user)) = chosen.as_ref().filter(|(of, _)| is_free && *of == org) {
                ask.execution_user.clone_from(user);
            }
            // An error leaves charged what was granted: whether the proxy lets the
            // request pass all the same is its own affair.
            match self.acquire(ask, context).await? {
                Ok(permit) => {
                    if is_free && chosen.is_none() && !permit.execution_user.is_empty() {
                        chosen = Some((org, permit.execution_user.clone()));
                    }
                    granted.push(Some(permit));
                }
                Err(refusal) => {
                    // The proxy never sends what it was told to refuse.
                    for permit in granted.into_iter().flatten() {
                        self.release(permit, context).await;
                    }
                    return Ok(Answer::refused(at, count, *refusal));
                }
            }
        }
        Ok(Answer::granted(&granted))
    }

    async fn acquire(
        &self,
        ask: AcquireRequest,
        context: &Context,
    ) -> Result<Result<Permit, Box<Refusal>>, Status> {
        let (asker, deadline) = (&context.asker(), context.deadline);
        let decided = match Acquire::new(ask, asker, Duration::ZERO, deadline) {
            Ok(acquire) => self.forward.decide(&acquire, context).await,
            Err(problem) => Err(problem.into()),
        };
        match decided.map(|response| AcquireResponse::from(response.into_inner()).outcome) {
            Ok(Some(Outcome::Permit(permit))) => Ok(Ok(permit)),
            Ok(Some(Outcome::Denial(denial))) => Ok(Err(Box::new(denial.into()))),
            Ok(None) => Err(Status::internal("a decision is empty")),
            Err(status) if is_for_good(status.code()) => {
                let details = status.get_error_details();
                let reason = details.error_info().map_or("REFUSED", |info| &info.reason);
                Ok(Err(Box::new(Refusal::new(reason, status.message()))))
            }
            Err(status) => Err(status),
        }
    }

    async fn release(&self, permit: Permit, context: &Context) {
        let request = ReleaseRequest { permit_id: permit.permit_id, unused_calls: None };
        let released = match Release::new(request) {
            Ok(release) => self.forward.decide(&release, context).await.map(drop),
            Err(problem) => Err(problem.into()),
        };
        if let Err(status) = released {
            // It counts until it leaves its windows by itself.
            debug!(%status, "a permit was not given back");
        }
    }
}

/// True for what trying again does not mend.
fn is_for_good(code: Code) -> bool {
    matches!(code, Code::InvalidArgument | Code::NotFound | Code::PermissionDenied)
}

fn check(request: &RateLimitRequest) -> Result<(), Problem> {
    match request.descriptors.len() {
        1..=MAX_DESCRIPTORS => Ok(()),
        count => {
            let what = format!("must be 1 to {MAX_DESCRIPTORS}, are {count}");
            Err(Problem::field("INVALID_REQUEST", "descriptors", what))
        }
    }
}

fn unknown_domain(domain: &str) -> Problem {
    Problem::new(
        Code::NotFound,
        "UNKNOWN_DOMAIN",
        format!("domain: {domain:?} is not configured: add it to `envoy.domains`"),
    )
}
