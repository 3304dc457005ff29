//! From the edge to an org's owner: here, or one hop away.
//!
//! Routes may be old, owners change, and connections break. As long as it is
//! certain that nothing was done, a request is sent on by newer routes, for a
//! short time; what may have been done is asked again only where that does no
//! harm. A node that is asked as the owner never sends a request on.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Mutex, watch},
    time::{Instant, sleep_until},
};
use tonic::{
    Code, Request, Response, Status,
    codegen::http::{HeaderMap, HeaderName, HeaderValue},
};
use tracing::{Span, debug};

use super::{
    convert::quota as wire,
    layers::{Deadline, Known, note_org},
    operation::{Asked, Failure, Operation},
    overview::{Overview, Sweep},
    rights,
    status::Problem,
};
use crate::{
    auth::{Caller, Principal},
    cluster::peers::{Call, PeerError, Peers, Trace},
    metrics::{ForwardOutcome, Metrics},
    node::{Author, Node, NodeError, PeerTarget, Route, RouteChanges},
    proto::peer::v1::Forwarded,
    quota::{Mono, OrgId, Teller},
    tls,
    trace::{self, Traces},
};

/// How long a request that does not wait for room is sent after its owner.
const SEARCH: Duration = Duration::from_secs(1);

/// How long an owner may take to answer besides the wait that was asked for: it
/// waits for its store at most 2 s.
const ANSWER: Duration = Duration::from_secs(3);

/// The owner's word about a deadline comes before the edge's own.
const MARGIN: Duration = Duration::from_millis(20);

/// Between two tries by the same routes: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(160);

/// A takeover or a restart is over after some such times.
const RETRY: Duration = Duration::from_secs(1);

/// Names the node that has answered.
static OWNER: HeaderName = HeaderName::from_static("quotagate-owner");

/// Has requests decided by whoever owns their org.
#[derive(Debug)]
pub struct Forward {
    node: Arc<Node>,
    /// The node's address for clients, as it stands in answers. One that is no header
    /// value would be a fault of the configuration; the answers are good without.
    address: Option<HeaderValue>,
    peers: Arc<Peers>,
    metrics: Arc<Metrics>,
    traces: Traces,
    stopping: watch::Sender<bool>,
    /// A watch wakes those who wait for it in an order by chance. So one at a time
    /// waits for other routes, and they go on in the order in which they came.
    turns: Mutex<()>,
    overview: Overview,
    /// How many pauses were made, so that no two are alike.
    pauses: AtomicU64,
}

/// What is known of a request besides its message.
#[derive(Clone, Debug)]
pub struct Context {
    /// When it came.
    pub arrived: Mono,
    /// When its caller stops listening.
    pub deadline: Deadline,
    /// The trace that it belongs to.
    pub trace: Trace,
    /// Who calls, and what they may do.
    pub caller: Caller,
    /// From where, if it is known.
    pub address: Option<SocketAddr>,
    /// The name that the caller gives itself, unchecked; empty where it gives
    /// none.
    pub declared_caller: String,
    /// It came by HTTP, where a write needs the right to administer besides.
    pub over_http: bool,
}

/// Marks requests that came by HTTP.
#[derive(Clone, Copy, Debug)]
pub struct OverHttp;

impl Context {
    /// Who asks for calls.
    pub fn asker(&self) -> wire::Asker<'_> {
        match self.caller.principal() {
            Some(principal) => wire::Asker::Proved(principal.to_shared()),
            None => wire::Asker::Declared(&self.declared_caller),
        }
    }

    /// Who changes settings.
    pub fn author(&self) -> Author {
        let from = self.address();
        let who = self.caller.principal().map_or_else(|| from.clone(), ToString::to_string);
        Author { who, from }
    }

    /// From where it came, in words.
    fn address(&self) -> String {
        self.address.map_or_else(|| "unknown".to_owned(), |address| address.to_string())
    }

    /// Who tells of the calls of an org.
    fn teller(&self, org: &OrgId) -> Teller {
        let principal = self.caller.principal().map(Principal::to_shared);
        Teller { principal, believed: rights::is_believed(&self.caller, org) }
    }
}

impl Forward {
    /// Sends what `node` does not decide to its peers.
    #[must_use]
    pub fn new(node: Arc<Node>, peers: Arc<Peers>, metrics: Arc<Metrics>) -> Self {
        let stopping = watch::channel(false).0;
        let address = HeaderValue::try_from(node.address()).ok();
        Self {
            node,
            address,
            peers,
            metrics,
            traces: Traces::off(),
            stopping,
            turns: Mutex::new(()),
            overview: Overview::default(),
            pauses: AtomicU64::new(0),
        }
    }

    /// The same, with what is asked recorded in traces.
    #[must_use]
    pub fn tracing(self, traces: Traces) -> Self {
        Self { traces, ..self }
    }

    /// Records what is asked, or does not.
    #[must_use]
    pub fn traces(&self) -> &Traces {
        &self.traces
    }

    /// The node at whose edge this is.
    #[must_use]
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// All orgs of the cluster, as they are now or were some seconds ago: nothing
    /// has been looked at on behalf of anybody, so nobody's rights are in it.
    pub async fn overview(&self) -> Arc<Sweep> {
        self.overview.latest(&self.node, &self.peers).await
    }

    /// From now on streams end, and nothing waits at another node any more:
    /// clients are to go to another edge. For good.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Follows whether it has been stopped.
    #[must_use]
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    /// What is known of a request that has just come, from what was noted among its
    /// extensions.
    ///
    /// # Errors
    /// No edge has asked who calls: such a request is nobody's.
    pub fn context<M>(&self, request: &Request<M>) -> Result<Context, Problem> {
        let (headers, extensions) = (request.metadata().as_ref(), request.extensions());
        // tonic itself knows only the connections that it has accepted.
        let peer = extensions.get::<tls::Peer>();
        Ok(Context {
            arrived: self.node.mono(),
            deadline: Deadline::of(request),
            trace: self.trace_of(headers),
            caller: extensions.get::<Caller>().cloned().ok_or_else(unidentified)?,
            address: peer.map(|peer| peer.remote).or_else(|| request.remote_addr()),
            declared_caller: wire::declared_caller(headers),
            over_http: extensions.get::<OverHttp>().is_some(),
        })
    }

    /// The same of a request that has come from the edge straight away.
    ///
    /// # Errors
    /// As of [`Self::context`].
    pub fn context_of(&self, known: Known<'_>, headers: &HeaderMap) -> Result<Context, Problem> {
        let Known { seen, deadline, peer, caller } = known;
        Ok(Context {
            arrived: self.node.mono(),
            deadline,
            trace: if seen.trace { self.trace_of(headers) } else { Trace::default() },
            caller: caller.ok_or_else(unidentified)?,
            address: Some(peer.remote),
            declared_caller: if seen.caller {
                wire::declared_caller(headers)
            } else {
                String::new()
            },
            over_http: false,
        })
    }

    /// Nothing is sent on where there are no other nodes.
    fn trace_of(&self, headers: &HeaderMap) -> Trace {
        if self.node.is_alone() { Trace::default() } else { Trace::of(headers) }
    }

    /// Has an operation carried out by the org's owner, if its caller may ask for
    /// it. The answer names the owner, and has no more than its caller may see.
    ///
    /// # Errors
    /// The caller may not; the owner's own, unchanged; or there is no owner, or
    /// none that answers.
    pub async fn decide<O: Operation>(
        &self,
        operation: &O,
        context: &Context,
    ) -> Result<Response<O::Answer>, Status> {
        operation.check_rights(context)?;
        let mut answer = self.ask_owner(operation, context).await?;
        operation.cut_down(&context.caller, answer.get_mut());
        Ok(answer)
    }

    async fn ask_owner<O: Operation>(
        &self,
        operation: &O,
        context: &Context,
    ) -> Result<Response<O::Answer>, Status> {
        note_org(operation.org());
        let asked = Asked { arrived: context.arrived, by: context.teller(operation.org()) };
        let mut search: Option<Box<Search<'_>>> = None;
        loop {
            let route = self.node.route(operation.org());
            let why = match &route {
                Route::Here { .. } => match operation.here(&self.node, &asked).await {
                    Ok(answer) => return Ok(answer_of(self.address.clone(), answer)),
                    Err(Failure::Problem(problem)) => return Err(problem.into()),
                    Err(Failure::NotOwner) if self.node.is_alone() => {
                        return Err(NodeError::NotOwner.into());
                    }
                    Err(Failure::NotOwner) => "this node owns it no longer".to_owned(),
                },
                Route::Peer(target) => {
                    // A call to a peer takes kilobytes, which every request would be
                    // moved about with, from its frame to here.
                    let asked = Box::pin(self.ask(operation, context, &asked.by, target));
                    match asked.await {
                        Ok(answer) => {
                            let owner = HeaderValue::try_from(&target.address).ok();
                            return Ok(answer_of(owner, answer));
                        }
                        Err(PeerError::Status(status)) => return Err(status),
                        Err(PeerError::Lost(why)) if !self.may_repeat(operation, context) => {
                            return Err(lost(&target.node, &why).into());
                        }
                        Err(error) => format!("its owner is {}: {error}", target.node),
                    }
                }
                Route::Nobody { .. } if O::NEEDS_NO_OWNER => {
                    let answer = operation.here(&self.node, &asked).await;
                    return match answer {
                        Ok(answer) => Ok(answer_of(self.address.clone(), answer)),
                        Err(Failure::Problem(problem)) => Err(problem.into()),
                        Err(Failure::NotOwner) => Err(NodeError::NotOwner.into()),
                    };
                }
                Route::Nobody { why } => (*why).to_owned(),
            };
            let wait = self.wait_left(operation, context);
            if *self.stopping.borrow() && !wait.is_zero() {
                return Err(stopping().into());
            }
            debug!(%why, "no decision yet");
            let search =
                search.get_or_insert_with(|| Box::new(Search::begin(self, context.deadline, wait)));
            if !Box::pin(search.goes_on(operation, &route)).await {
                return Err(no_owner(&why).into());
            }
        }
    }

    /// One hop.
    async fn ask<O: Operation>(
        &self,
        operation: &O,
        context: &Context,
        by: &Teller,
        target: &PeerTarget,
    ) -> Result<O::Answer, PeerError> {
        Span::current().record("owner", target.node.as_str());
        let span = trace::Span::current().ask("forward", &target.peer_address);
        span.note("quotagate.owner", &target.node);
        let wait = self.wait_left(operation, context);
        let asked_at = Instant::now();
        let deadline = (asked_at + wait + ANSWER).min(context.deadline.at() - MARGIN);
        let asked = async {
            let connection = self.peers.connect(&target.peer_address, O::LANE, deadline).await?;
            let waited = self.node.mono().since(context.arrived);
            let forwarded = Forwarded {
                waited: waited.try_into().ok(),
                epoch: target.epoch,
                caller: context.address(),
                node: self.peers.node().to_owned(),
                principal: by.principal.as_deref().unwrap_or_default().to_owned(),
                believed: by.believed,
            };
            let trace = Trace::through(&span).unwrap_or_else(|| context.trace.clone());
            let call = Call { deadline, trace };
            operation.there(connection, forwarded, &call).await
        };
        let answer = tokio::select! {
            biased;
            answer = asked => answer,
            // Whoever waits can wait elsewhere; anything else is over soon.
            () = self.stopped(), if !wait.is_zero() => {
                Err(PeerError::Status(stopping().into()))
            }
        };
        if wait.is_zero() {
            self.metrics.hop(asked_at.elapsed());
        }
        if let Err(error) = &answer {
            span.fail(&error.to_string());
        }
        self.metrics.forwarded(match &answer {
            Ok(_) => ForwardOutcome::Answered,
            Err(PeerError::Status(_)) => ForwardOutcome::Failed,
            Err(PeerError::NotOwner) => ForwardOutcome::NotOwner,
            Err(PeerError::NotSent(_)) => ForwardOutcome::NotSent,
            Err(PeerError::Refused(_)) => ForwardOutcome::Refused,
            Err(PeerError::Lost(_)) => ForwardOutcome::Lost,
        });
        answer
    }

    fn may_repeat<O: Operation>(&self, operation: &O, context: &Context) -> bool {
        operation.may_repeat(self.wait_left(operation, context))
    }

    fn wait_left<O: Operation>(&self, operation: &O, context: &Context) -> Duration {
        operation.max_wait().saturating_sub(self.node.mono().since(context.arrived))
    }

    async fn stopped(&self) {
        let mut stopping = self.stopping.subscribe();
        // The sender lives as long as this does.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }

    /// Half to all of `pause`: those who failed together do not come back
    /// together.
    fn jittered(&self, pause: Duration) -> Duration {
        let mut hasher = DefaultHasher::new();
        let count = self.pauses.fetch_add(1, Ordering::Relaxed);
        (self.peers.node(), count).hash(&mut hasher);
        let [chance, ..] = hasher.finish().to_be_bytes();
        pause / 2 + pause * u32::from(chance) / 510
    }
}

/// The time in which a request without a decision is tried again.
struct Search<'f> {
    forward: &'f Forward,
    ends: Instant,
    pause: Duration,
    changes: RouteChanges,
}

impl<'f> Search<'f> {
    /// Begins when the first try has come to nothing. Who waits for room may as
    /// well wait for an owner.
    fn begin(forward: &'f Forward, deadline: Deadline, wait: Duration) -> Self {
        let now = Instant::now();
        Self {
            forward,
            ends: now + deadline.cap(wait.max(SEARCH)),
            pause: FIRST_PAUSE,
            changes: forward.node.route_changes(),
        }
    }

    /// Returns when it is worth trying again: the route is another one, or some
    /// time has passed. False: the time is over.
    async fn goes_on<O: Operation>(&mut self, operation: &O, tried: &Route) -> bool {
        let now = Instant::now();
        if now >= self.ends {
            return false;
        }
        let again = (now + self.forward.jittered(self.pause)).min(self.ends);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        let mut paused = pin!(sleep_until(again));
        let Self { forward, changes, .. } = self;
        loop {
            let changed = async {
                let _turn = forward.turns.lock().await;
                changes.changed().await
            };
            tokio::select! {
                biased;
                () = &mut paused => return true,
                changed = changed => {
                    if changed.is_err() {
                        // Nobody follows the cluster any more: the process ends.
                        paused.await;
                        return true;
                    }
                    if forward.node.route(operation.org()) != *tried {
                        // Whoever is named now may not yet know of it, but soon will.
                        self.pause = FIRST_PAUSE;
                        return true;
                    }
                }
            }
        }
    }
}

/// An answer that names the node which gave it.
fn answer_of<T>(owner: Option<HeaderValue>, message: T) -> Response<T> {
    let mut response = Response::new(message);
    if let Some(address) = owner {
        response.metadata_mut().as_mut().insert(OWNER.clone(), address);
    }
    response
}

fn unidentified() -> Problem {
    let message = "nobody has asked who calls, so nothing is done: this is a fault of the service";
    Problem::new(Code::Unauthenticated, "UNIDENTIFIED", message)
}

fn no_owner(why: &str) -> Problem {
    let message = format!("nobody can decide for the org now: {why}: try again");
    Problem::new(Code::Unavailable, "NO_OWNER", message).retry_after(RETRY)
}

fn lost(node: &str, why: &str) -> Problem {
    let message = format!(
        "the org's owner, {node}, was asked, and its answer was lost ({why}): try again, with the \
         same request_id if there was one"
    );
    Problem::new(Code::Unavailable, "ANSWER_LOST", message).retry_after(RETRY)
}

fn stopping() -> Problem {
    let message = "this node stops: try again, at another one";
    Problem::new(Code::Unavailable, "STOPPING", message).retry_after(Duration::ZERO)
}
