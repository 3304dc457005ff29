//! Adapters for HTTP clients: a call is acquired before a request is sent, and
//! its answer is reported.
//!
//! One call is one request on the wire. So an adapter belongs *below* whatever
//! sends a request again, and redirects are not to be followed by what is below
//! it.
//!
//! Answers are read, not consumed: of an error at most the first 64 KiB of the
//! body are looked at, for a second at most, before it goes on to the caller, whole.

mod body;
#[cfg(feature = "tower")]
mod layer;
#[cfg(feature = "reqwest")]
mod middleware;

use std::{
    borrow::Cow,
    collections::HashMap,
    error::Error,
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{HeaderMap, StatusCode, header};

#[cfg(feature = "tower")]
pub use self::layer::{QuotaLayer, QuotaService};
#[cfg(feature = "reqwest")]
pub use self::middleware::{QuotaMiddleware, one_request_per_call};
pub use self::{super::rules::Charge, body::QuotaBody};
use super::{
    AcquireError, Answer, Ask, Call, Client, Pool, PooledCall, TrafficClass, rules::classify,
};

/// Operations with a pool of their own. More are acquired call by call: rules may
/// make their names up.
const MOST_POOLS: usize = 64;

/// For whom an adapter makes calls, and which requests are calls.
///
/// ```
/// use std::time::Duration;
/// use quotagate::client::{TrafficClass, http::HttpOptions};
///
/// let options = HttpOptions::new("00D000000000001EAA")
///     .workspace("acme-eu")
///     .execution_user("005000000000001AAA")
///     .traffic_class(TrafficClass::Interactive)
///     .max_wait(Duration::from_secs(2));
/// ```
#[derive(Clone)]
#[must_use = "options do nothing by themselves"]
pub struct HttpOptions {
    ask: Ask,
    rules: Arc<Rules>,
}

/// The method, the path and, where it is at hand, the body of a request; what it
/// takes, or `None` if it passes without asking.
type Rules = dyn Fn(&str, &str, Option<&[u8]>) -> Option<Charge> + Send + Sync;

/// The Salesforce user that a request is to be made as, by the service's choice:
/// an extension of each request that takes a call, for what adds the session's
/// token below. Empty where the operation does not depend on one and none was
/// named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutionUser(pub String);

impl HttpOptions {
    /// Calls of an org: background work ([`TrafficClass::Event`]) that does not
    /// wait, for no workspace, by the default rules
    /// ([`classify`]).
    pub fn new(org: impl Into<String>) -> Self {
        Self { ask: Ask::new(org, ""), rules: Arc::new(classify) }
    }

    /// The customer's workspace that pays.
    pub fn workspace(self, workspace: impl Into<String>) -> Self {
        Self { ask: self.ask.workspace(workspace), ..self }
    }

    /// The Salesforce user that the session's token is of. Without one, the
    /// service chooses, and something below has to heed [`ExecutionUser`].
    pub fn execution_user(self, execution_user: impl Into<String>) -> Self {
        Self { ask: self.ask.execution_user(execution_user), ..self }
    }

    /// Who waits for the calls.
    pub fn traffic_class(self, traffic_class: TrafficClass) -> Self {
        Self { ask: self.ask.traffic_class(traffic_class), ..self }
    }

    /// How long a request waits for room, at most 10 minutes.
    pub fn max_wait(self, max_wait: Duration) -> Self {
        Self { ask: self.ask.max_wait(max_wait), ..self }
    }

    /// Other rules, of method, path and body.
    pub fn rules(
        self,
        rules: impl Fn(&str, &str, Option<&[u8]>) -> Option<Charge> + Send + Sync + 'static,
    ) -> Self {
        Self { rules: Arc::new(rules), ..self }
    }
}

impl fmt::Debug for HttpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpOptions").field("ask", &self.ask).finish_non_exhaustive()
    }
}

/// What the adapters share: calls for requests.
#[derive(Clone, Debug)]
struct Gate {
    client: Client,
    options: HttpOptions,
    pools: Arc<Mutex<HashMap<Cow<'static, str>, Pool>>>,
}

/// A call that was started, and is reported when it is dropped, at the latest.
enum Started {
    Pooled(PooledCall<'static>),
    Single(Call),
}

impl Gate {
    fn new(client: Client, options: HttpOptions) -> Self {
        Self { client, options, pools: Arc::default() }
    }

    /// What a request takes.
    fn charge(
        &self,
        method: &http::Method,
        path: &str,
        body: Option<&[u8]>,
        extension: Option<&Charge>,
    ) -> Option<Charge> {
        match extension {
            Some(charge) => Some(charge.clone()),
            None => (self.options.rules)(method.as_str(), path, body),
        }
    }

    /// A call, started: the request is to be sent now.
    async fn start(&self, charge: Charge) -> Result<Started, AcquireError> {
        if let Some(pool) = self.pool(&charge) {
            return pool.start_owned().await.map(Started::Pooled);
        }
        let Charge { operation, cost } = charge;
        let ask = Ask { operation: operation.into_owned(), cost, ..self.options.ask.clone() };
        loop {
            // One that comes too late goes back, and is asked for again.
            if let Ok(call) = self.client.permit(&ask).await?.start() {
                return Ok(Started::Single(call));
            }
        }
    }

    /// Gives back what the pools have, and waits until all is told.
    async fn close(&self) -> bool {
        let pools: Vec<Pool> = {
            let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
            pools.values().cloned().collect()
        };
        let mut is_told = true;
        for pool in pools {
            is_told &= pool.close().await;
        }
        is_told
    }

    /// The pool for calls of an operation that cost one unit.
    fn pool(&self, charge: &Charge) -> Option<Pool> {
        if charge.cost != 1 {
            return None;
        }
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.get(&charge.operation) {
            return Some(pool.clone());
        }
        if pools.len() >= MOST_POOLS {
            return None;
        }
        let operation = charge.operation.clone();
        let ask = Ask { operation: operation.clone().into_owned(), ..self.options.ask.clone() };
        Some(pools.entry(operation).or_insert(self.client.pool(&ask)).clone())
    }
}

impl Started {
    fn execution_user(&self) -> ExecutionUser {
        ExecutionUser(match self {
            Self::Pooled(call) => call.execution_user(),
            Self::Single(call) => call.execution_user().to_owned(),
        })
    }

    /// Tells what came back, in the background.
    fn report_later(self, answer: Answer) {
        match self {
            Self::Pooled(call) => call.report_later(answer),
            Self::Single(call) => call.report_later(answer),
        }
    }

    /// Tells what came back, and waits until the service knows: what it refuses
    /// because of a refusal is refused from the next request on.
    async fn report(self, answer: Answer) {
        match self {
            Self::Pooled(call) => {
                call.report(answer).await;
            }
            Self::Single(call) => {
                call.report(answer).await;
            }
        }
    }

    /// Nothing came back: unless the request was certainly not sent, it counts as
    /// sent.
    fn failed(self, is_unsent: bool) {
        match self {
            Self::Pooled(call) if is_unsent => call.unsent(),
            Self::Single(call) if is_unsent => call.unsent(),
            _ => {}
        }
    }
}

/// A call that was answered with an error, while the body is looked at. If nobody
/// waits for that any more, what the head says is told.
struct Refused(Option<(Started, Answer)>);

impl Refused {
    fn new(call: Started, answer: Answer) -> Self {
        Self(Some((call, answer)))
    }

    /// Tells it with the beginning of the body, and waits until the service knows.
    async fn report(mut self, text: &[u8]) {
        if let Some((call, answer)) = self.0.take() {
            call.report(answer.body(text)).await;
        }
    }
}

impl Drop for Refused {
    fn drop(&mut self) {
        if let Some((call, answer)) = self.0.take() {
            call.report_later(answer);
        }
    }
}

/// What an answer's head says.
fn answer(status: StatusCode, headers: &HeaderMap) -> Answer {
    let mut answer = Answer::new(status.as_u16());
    for value in headers.get_all("sforce-limit-info") {
        // Whatever is not ASCII there is no figure either.
        answer = answer.limit_info(&String::from_utf8_lossy(value.as_bytes()));
    }
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(value) = text(header::RETRY_AFTER) {
        answer = answer.retry_after(value);
    }
    if let Some(value) = text(header::DATE) {
        answer = answer.date(value);
    }
    answer
}

/// Whether an error shows that no connection was made. That a host or a network
/// cannot be reached shows nothing: who has connected may learn it, too.
fn is_unsent(error: &(dyn Error + 'static)) -> bool {
    let is_of_connecting = |cause: &(dyn Error + 'static)| {
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        matches!(kind, Some(io::ErrorKind::ConnectionRefused | io::ErrorKind::AddrNotAvailable))
    };
    !has_connected(error) && causes(error).any(is_of_connecting)
}

/// Whether an error is of a connection that was made: hyper's, then. Among its
/// causes may be what the request's own body failed with, such as a connection to
/// where that comes from, which was refused.
fn has_connected(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| cause.is::<hyper::Error>())
}

/// An error, what caused it, what caused that, and so on.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

#[cfg(all(test, feature = "tower", feature = "reqwest"))]
mod tests;
