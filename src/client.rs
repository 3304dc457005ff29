//! The library for callers: one line in front of each Salesforce call.
//!
//! ```no_run
//! use quotagate::client::{AcquireError, Answer, Ask, Client};
//!
//! # async fn f() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder("quota-1:7400,quota-2:7400").caller("inbox").build()?;
//! let ask = Ask::new("00D000000000001EAA", "conversation-entries.get").workspace("acme-eu");
//! match client.permit(&ask).await {
//!     Ok(mut permit) => {
//!         let call = permit.start()?;
//!         // Make exactly one request, as `call.execution_user()`; then:
//!         call.report(Answer::new(200).limit_info("api-usage=18/5000")).await;
//!     }
//!     Err(AcquireError::Denied(denied)) => println!("again in {:?}", denied.retry_after),
//!     Err(error) => return Err(error.into()),
//! }
//! client.close().await;
//! # Ok(()) }
//! ```
//!
//! - [`Client`] knows one or several servers and asks those that are healthy. It
//!   tries again, within its deadline and with the same request id, what was
//!   certainly not decided or can be decided twice without harm.
//! - [`Permit`] and [`Call`] are guards: what was not started goes back, what was
//!   started is reported, in the background if nobody waits for it.
//! - [`Pool`] fetches calls ahead, so that most of them leave with nobody asked.
//! - `http` has a tower layer and a middleware for reqwest (features `tower` and
//!   `reqwest`), which need no call site to be changed.
//! - [`OutagePolicy`] says what a traffic class does while the service cannot
//!   decide.
//! - The RPCs themselves are methods of [`Client`], too: [`Client::acquire`],
//!   [`Client::report`] and so on, with the messages of [`crate::proto`].

mod answer;
mod ask;
mod balance;
mod builder;
mod error;
mod health;
#[cfg(any(feature = "tower", feature = "reqwest"))]
pub mod http;
mod outage;
mod owners;
mod permit;
pub mod pool;
mod race;
mod random;
pub mod rules;
mod security;
mod settle;
mod wire;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use tonic::{
    Status, Streaming,
    metadata::{AsciiMetadataValue, errors::InvalidMetadataValue},
};

pub use self::{
    answer::{Answer, MAX_BODY_BYTES},
    ask::Ask,
    builder::{ClientBuilder, ConnectError, DEFAULT_SERVER},
    error::{AcquireError, Denied, Invalid, Unavailable, Violation},
    outage::OutagePolicy,
    permit::{Call, Origin, Permit, PermitExpired, Reported},
    pool::{CallExpired, Pool, PoolOptions, Pooled, PooledCall},
};
use self::{
    outage::{Leave, OUTAGE_TTL, Policies, Shares},
    permit::Terms,
    security::Connection,
    settle::{Settler, Settling},
    wire::{MAX_ANSWER_BYTES, Repeat, Wire, org_of, quota, within},
};
use crate::proto::{
    admin::v1::{
        DeleteExecutionUserRequest, DeleteExecutionUserResponse, DeleteOrgRequest,
        DeleteOrgResponse, DeleteWorkspaceRequest, DeleteWorkspaceResponse, GetCatalogueRequest,
        GetCatalogueResponse, GetClusterRequest, GetClusterResponse, GetOrgRequest, GetOrgResponse,
        ListChangesRequest, ListChangesResponse, ListOrgsRequest, ListOrgsResponse,
        PutExecutionUserRequest, PutExecutionUserResponse, PutOrgRequest, PutOrgResponse,
        PutWorkspaceRequest, PutWorkspaceResponse, ReplayDemandRequest, ReplayDemandResponse,
        admin_service_client::AdminServiceClient,
    },
    v1::{
        AcquireRequest, AcquireResponse, GetDemandRequest, GetDemandResponse, GetUsageRequest,
        GetUsageResponse, ListUsageRequest, ListUsageResponse, ReleaseRequest, ReleaseResponse,
        ReportRequest, ReportResponse, WatchUsageRequest, WatchUsageResponse,
        acquire_response::Outcome, quota_service_client::QuotaServiceClient,
    },
};
pub use crate::{
    clock::Moment,
    proto::v1::{Advice, DenialReason, TrafficClass},
    tls::{ClientFiles as TlsFiles, Rejected},
};

/// How long a call of the RPCs themselves may take besides the wait that the
/// request asks for. The service itself waits at most 2 s for its store.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the longest wait may be; more is refused by the service anyway.
const MAX_WAIT: Duration = Duration::from_secs(600);

/// A client of the service. Clones share its connections.
///
/// Any server takes any request and passes it on to the node that owns the org.
/// The client spreads its requests over the servers that are healthy, learns from
/// the answers which node owns an org, and asks it directly where it can be
/// reached. A server that fails or says nothing is left alone, and comes back.
#[derive(Clone, Debug)]
pub struct Client {
    caller: Option<AsciiMetadataValue>,
    wire: Arc<Wire>,
    settler: Settler,
    shared: Arc<Shared>,
}

/// What all clones have in common.
#[derive(Debug)]
struct Shared {
    policies: Policies,
    shares: Arc<Mutex<Shares>>,
    /// Begins the ids of this client's questions.
    id: String,
    questions: AtomicU64,
}

impl Client {
    /// Connects to `host:port`, `http://host:port` or `https://host:port`; several are separated by
    /// commas. See [`Client::builder`] for more.
    ///
    /// # Errors
    /// What is given is no address, or nobody answers there within 3 s.
    pub async fn connect(servers: &str) -> Result<Self, ConnectError> {
        Self::builder(servers).connect().await
    }

    /// A client of these servers, to be told more: `host:port` or
    /// `http://host:port`, separated by commas.
    pub fn builder(servers: &str) -> ClientBuilder {
        ClientBuilder::new(servers)
    }

    fn new(wire: Arc<Wire>, policies: Policies, caller: Option<AsciiMetadataValue>) -> Self {
        let shared = Shared {
            policies,
            shares: Arc::default(),
            id: format!("{:016x}{:016x}", random::bits(), random::bits()),
            questions: AtomicU64::new(0),
        };
        let settler = Settler::start(Arc::clone(&wire));
        Self { caller, wire, settler, shared: Arc::new(shared) }
    }

    /// The same client for a caller that names itself: what it acquires is shown
    /// under this name, and its request ids are its own. It gives no right.
    ///
    /// # Errors
    /// It is not printable ASCII. The service wants `[A-Za-z0-9._:/@-]{1,64}`.
    pub fn with_caller(self, name: &str) -> Result<Self, InvalidMetadataValue> {
        Ok(Self { caller: Some(name.parse()?), ..self })
    }

    /// Asks to make calls, within the client's timeout and what the question
    /// waits. All tries carry the same request id, so that none is charged twice.
    ///
    /// Dropping the future gives the question up. A permit that the service grants
    /// at that very moment is lost, and counts until it expires.
    ///
    /// # Errors
    /// The service answered no; or nothing could be decided, and the
    /// [`OutagePolicy`] of the traffic class lets no call through; or the question
    /// is wrong or not allowed.
    pub async fn permit(&self, ask: &Ask) -> Result<Permit, AcquireError> {
        let request = ask.message(|| self.fresh_id());
        let wait = ask.max_wait.min(MAX_WAIT);
        let answer = self.wire.acquire(&request, wait, self.caller.as_ref()).await;
        let status = match answer {
            Ok((sent, AcquireResponse { outcome: Some(outcome) })) => {
                self.is_decided();
                return self.decided(ask, sent, outcome);
            }
            Ok(_) => Status::internal("the answer says neither yes nor no"),
            Err(status) => status,
        };
        match AcquireError::of(&status) {
            Some(error) => {
                self.is_decided();
                Err(error)
            }
            None => self.in_outage(ask, status),
        }
    }

    /// Waits until everything that guards have left to settle is told to the
    /// service, or given up, 2 s at most. True if nothing is left.
    ///
    /// Without it, the same goes on in the background when the last client, permit
    /// and call are dropped, as long as the runtime lives.
    pub async fn close(self) -> bool {
        self.settler.flush().await
    }

    fn decided(&self, ask: &Ask, sent: Moment, outcome: Outcome) -> Result<Permit, AcquireError> {
        let learn = |user: &str, limits: &[_]| {
            if self.shared.policies.use_shares() {
                self.shared.shares().learn(ask, user, limits);
            }
        };
        match outcome {
            Outcome::Permit(permit) => {
                learn(&permit.execution_user, &permit.limits);
                let ttl = permit.ttl.and_then(|ttl| ttl.try_into().ok()).unwrap_or_default();
                let terms = Terms {
                    id: permit.permit_id,
                    calls: permit.calls,
                    execution_user: permit.execution_user,
                    deadline: sent + ttl,
                    limits: permit.limits,
                    class_state: permit.class_state,
                };
                Ok(Permit::new(terms, Settling::Service(self.settler.clone())))
            }
            Outcome::Denial(denial) => {
                let denied = Denied::from(denial);
                learn(user_of(&denied, ask), &denied.limits);
                Err(AcquireError::Denied(Box::new(denied)))
            }
        }
    }

    fn is_decided(&self) {
        if self.wire.note_outage(false) {
            tracing::info!("quotagate decides again");
        }
    }

    /// Does what the policy of the class says.
    fn in_outage(&self, ask: &Ask, status: Status) -> Result<Permit, AcquireError> {
        let policy = self.shared.policies.of(ask.traffic_class);
        if self.wire.note_outage(true) {
            tracing::warn!(?policy, status = %status, "quotagate cannot decide");
        }
        let now = Moment::now();
        let allowed = match policy {
            OutagePolicy::Closed => Err("the outage policy is closed"),
            OutagePolicy::Open => Ok((ask.calls, ask.execution_user.clone(), None)),
            OutagePolicy::Safe { processes } => {
                let leave = self.shared.shares().take(now, ask, processes);
                leave.map(|Leave { ticket, calls, execution_user }| {
                    (calls, execution_user, Some((Arc::clone(&self.shared.shares), ticket)))
                })
            }
        };
        let (calls, execution_user, log) = allowed
            .map_err(|why| AcquireError::Unavailable(Box::new(Unavailable { status, why })))?;
        let terms = Terms {
            id: String::new(),
            calls,
            execution_user,
            deadline: now + OUTAGE_TTL,
            limits: Vec::new(),
            class_state: None,
        };
        Ok(Permit::new(terms, Settling::Outage(log)))
    }

    fn fresh_id(&self) -> String {
        let number = self.shared.questions.fetch_add(1, Ordering::Relaxed);
        format!("{}-{number:x}", self.shared.id)
    }
}

impl Shared {
    fn shares(&self) -> std::sync::MutexGuard<'_, Shares> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of whom a denial speaks: the user whose limits it names, else the one that was
/// asked for.
fn user_of<'a>(denied: &'a Denied, ask: &'a Ask) -> &'a str {
    let mut of_users = denied
        .limits
        .iter()
        .filter(|limit| limit.scope() == crate::proto::v1::LimitScope::ExecutionUser);
    of_users.next().map_or(&ask.execution_user, |limit| &limit.identity)
}

/// The RPCs themselves.
impl Client {
    /// Asks to make calls; waits as long as the request says. A denial is an
    /// answer.
    ///
    /// # Errors
    /// Nothing could be decided.
    pub async fn acquire(&self, request: AcquireRequest) -> Result<AcquireResponse, Status> {
        let wait = request
            .max_wait
            .and_then(|wait| Duration::try_from(wait).ok())
            .unwrap_or_default()
            .min(MAX_WAIT);
        self.ask(&request.org, wait, |mut quota, time| {
            let mut request = within(time, request.clone());
            if let Some(caller) = &self.caller {
                request.metadata_mut().insert("quotagate-caller", caller.clone());
            }
            async move { quota.acquire(request).await }
        })
        .await
    }

    /// Gives back calls that were never sent.
    ///
    /// # Errors
    /// The service refused it, could not decide, or did not answer in time.
    pub async fn release(&self, request: ReleaseRequest) -> Result<ReleaseResponse, Status> {
        self.ask(org_of(&request.permit_id), Duration::ZERO, |mut quota, time| {
            let request = within(time, request.clone());
            async move { quota.release(request).await }
        })
        .await
    }

    /// Tells what Salesforce answered.
    ///
    /// # Errors
    /// The service refused it, could not decide, or did not answer in time.
    pub async fn report(&self, request: ReportRequest) -> Result<ReportResponse, Status> {
        let permit = request.permit_id.as_str();
        let org = if permit.is_empty() { &request.org } else { org_of(permit) };
        self.ask(org, Duration::ZERO, |mut quota, time| {
            let request = within(time, request.clone());
            async move { quota.report(request).await }
        })
        .await
    }

    /// Streams an org's usage: a snapshot first, then what changes.
    ///
    /// # Errors
    /// The org is refused, or the service is away.
    pub async fn watch_usage(
        &self,
        request: WatchUsageRequest,
    ) -> Result<Streaming<WatchUsageResponse>, Status> {
        let mut quota = quota(self.channel().await?);
        quota.watch_usage(request).await.map(tonic::Response::into_inner)
    }

    async fn ask<T, F>(
        &self,
        org: &str,
        wait: Duration,
        ask: impl Fn(QuotaServiceClient<Connection>, Duration) -> F,
    ) -> Result<T, Status>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        self.wire.ask(org, CALL_TIMEOUT, wait, Repeat::Unsent, ask).await
    }

    /// The connection to the next server.
    async fn channel(&self) -> Result<Connection, Status> {
        let way = self.wire.balance().pick(Instant::now() + CALL_TIMEOUT).await?;
        Ok(way.channel)
    }
}

macro_rules! calls {
    ($($(#[$doc:meta])* $client:ident.$name:ident($request:ty) -> $response:ty;)*) => {
        impl Client {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// The service refused it, could not decide, or did not answer in time.
            pub async fn $name(&self, request: $request) -> Result<$response, Status> {
                let request = within(CALL_TIMEOUT, request);
                let answer = $client(self.channel().await?).$name(request).await?;
                Ok(answer.into_inner())
            }
        )*}
    };
}

calls! {
    /// Shows one org.
    quota.get_usage(GetUsageRequest) -> GetUsageResponse;
    /// Shows what was asked of one org, by the minute.
    quota.get_demand(GetDemandRequest) -> GetDemandResponse;
    /// Shows a page of many orgs, a line each.
    quota.list_usage(ListUsageRequest) -> ListUsageResponse;
    /// Lists a page of orgs.
    admin.list_orgs(ListOrgsRequest) -> ListOrgsResponse;
    /// Shows one org's settings.
    admin.get_org(GetOrgRequest) -> GetOrgResponse;
    /// Declares an org.
    admin.put_org(PutOrgRequest) -> PutOrgResponse;
    /// Withdraws an org.
    admin.delete_org(DeleteOrgRequest) -> DeleteOrgResponse;
    /// Declares a workspace.
    admin.put_workspace(PutWorkspaceRequest) -> PutWorkspaceResponse;
    /// Withdraws a workspace.
    admin.delete_workspace(DeleteWorkspaceRequest) -> DeleteWorkspaceResponse;
    /// Adds a user to the pool.
    admin.put_execution_user(PutExecutionUserRequest) -> PutExecutionUserResponse;
    /// Takes a user out of the pool.
    admin.delete_execution_user(DeleteExecutionUserRequest) -> DeleteExecutionUserResponse;
    /// Shows the cluster.
    admin.get_cluster(GetClusterRequest) -> GetClusterResponse;
    /// Shows the last changes of all orgs.
    admin.list_changes(ListChangesRequest) -> ListChangesResponse;
    /// Shows which limits each operation charges.
    admin.get_catalogue(GetCatalogueRequest) -> GetCatalogueResponse;
    /// Shows what would have been by other settings.
    admin.replay_demand(ReplayDemandRequest) -> ReplayDemandResponse;
}

fn admin(channel: Connection) -> AdminServiceClient<Connection> {
    AdminServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES)
}
