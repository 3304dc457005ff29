//! PeerService: what other nodes forward is carried out here, or not at all. `stream`
//! is where most of it comes.

mod stream;

use std::{sync::Arc, time::Duration};

use hyper::body::Incoming;
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::yield_now,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, Request, Response, Status, Streaming,
    body::Body,
    codegen::http,
    service::{Interceptor, Routes, interceptor::InterceptedService},
};
use tower::Service as _;
use tracing::Span;

use self::stream::Answers;
use super::{
    convert::{self, quota as wire},
    forward::Forward,
    layers::{self, Deadline, Edge, Known, note_org},
    operation::{
        Acquire, Asked, Change, Failure, GetDemand, GetUsage, Mutation, Operation, Release,
        ReplayDemand, Report,
    },
    serving::{Often, Port, Services, infallible},
    status::Problem,
    unary::Sent,
    watch::BUFFER,
};
use crate::{
    auth::Principal,
    cluster::peers::{Kin, NOT_OWNER, Stranger},
    metrics::Metrics,
    node::{Author, Node, Shard},
    proto::peer::v1::{
        self as peer, Forwarded, administer_request, administer_response,
        peer_service_server::{PeerService, PeerServiceServer},
    },
    quota::Teller,
    trace,
};

/// A message of the public contract, and what goes with it.
const MAX_MESSAGE_BYTES: usize = layers::MAX_MESSAGE_BYTES + 4 * 1024;

/// Watches that other nodes forward: each costs a task and a bounded buffer, and
/// each node forwards at most 1,000.
const MAX_WATCHES: usize = 10_000;

/// A watcher's place is free when another one leaves.
const WATCH_RETRY: Duration = Duration::from_secs(10);

/// The longest that a request can have waited at its edge; what is said beyond
/// is cut, which makes a permit's life shorter.
const MAX_WAITED: Duration = Duration::from_secs(wire::MAX_WAIT.as_secs() + 30);

/// A request for an org whose shard is just being taken over here is kept for so
/// long: sent back, it would come again after a pause, and find it later. Nodes
/// allow an owner 3 s, and it may wait for its store for 2.
const TAKEN: Duration = Duration::from_millis(200);

/// What is served to other nodes, on a port of its own: to those of `kin`.
///
/// It ends when `forward` is stopped: streams to other edges do not hold it up.
pub fn peer_port(forward: &Forward, kin: Kin, metrics: Arc<Metrics>) -> Port<Calls> {
    let edge = Edge::for_peers(metrics, forward.traces().clone());
    let owner = Owner { node: Arc::clone(forward.node()), edge: edge.clone() };
    let peer = Peer {
        owner: Arc::new(owner),
        watches: Arc::new(Semaphore::new(MAX_WATCHES)),
        stopping: forward.stopping(),
    };
    let service = PeerServiceServer::new(peer).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let service = InterceptedService::new(service, Guard(kin));
    let rest = Routes::new(service.clone()).prepare();
    Port::for_peers(edge, Services { often: Calls(service), rest })
}

/// What every forwarded call of a caller's needs.
#[derive(Debug)]
pub struct Calls(InterceptedService<PeerServiceServer<Peer>, Guard>);

impl Often for Calls {
    fn is(&self, path: &str) -> bool {
        let method = path.strip_prefix("/quotagate.peer.v1.PeerService/");
        matches!(method, Some("Acquire" | "Report" | "Release"))
    }

    async fn answer(
        &self,
        mut request: Box<http::Request<Incoming>>,
        known: Known<'_>,
    ) -> http::Response<Sent> {
        known.note(request.extensions_mut());
        infallible(self.0.clone().call(*request).await).map(Body::new).map(Sent::from)
    }
}

/// Lets in the nodes of this cluster.
#[derive(Clone, Debug)]
pub struct Guard(Kin);

impl Interceptor for Guard {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        match self.0.check(request.metadata()) {
            Ok(()) => Ok(request),
            Err(Stranger::Token) => Err(wrong_token().into()),
            Err(Stranger::Cluster) => Err(another_cluster().into()),
        }
    }
}

/// The service's handlers.
#[derive(Debug)]
pub struct Peer {
    owner: Arc<Owner>,
    watches: Arc<Semaphore>,
    stopping: watch::Receiver<bool>,
}

/// What is decided here is done by this, however it has come.
#[derive(Debug)]
pub struct Owner {
    node: Arc<Node>,
    edge: Edge,
}

/// What another node says of a request, checked.
struct Origin {
    waited: Duration,
    asked: Asked,
    /// The address that the edge has seen; of an Acquire the name that the caller
    /// gives itself.
    caller: String,
}

impl Origin {
    fn asker(&self) -> wire::Asker<'_> {
        match &self.asked.by.principal {
            Some(principal) => wire::Asker::Proved(Arc::clone(principal)),
            None => wire::Asker::Declared(wire::forwarded_caller(&self.caller)),
        }
    }

    fn author(&self) -> Author {
        let who = self.asked.by.principal.as_deref().unwrap_or(&self.caller);
        Author { who: who.to_owned(), from: self.caller.clone() }
    }
}

impl Owner {
    async fn acquire(
        &self,
        message: peer::AcquireRequest,
        deadline: Deadline,
    ) -> Result<peer::AcquireResponse, Status> {
        let peer::AcquireRequest { forwarded, request } = message;
        let origin = self.origin(forwarded)?;
        let asker = &origin.asker();
        let acquire = Acquire::new(request.unwrap_or_default(), asker, origin.waited, deadline)?;
        let response = Some(self.carry_out(&acquire, &origin).await?.into());
        Ok(peer::AcquireResponse { response })
    }

    async fn release(
        &self,
        message: peer::ReleaseRequest,
    ) -> Result<peer::ReleaseResponse, Status> {
        let peer::ReleaseRequest { forwarded, request } = message;
        let origin = self.origin(forwarded)?;
        let release = Release::new(request.unwrap_or_default())?;
        let response = Some(self.carry_out(&release, &origin).await?);
        Ok(peer::ReleaseResponse { response })
    }

    async fn report(&self, message: peer::ReportRequest) -> Result<peer::ReportResponse, Status> {
        let peer::ReportRequest { forwarded, request } = message;
        let origin = self.origin(forwarded)?;
        let report = Report::new(request.unwrap_or_default())?;
        let response = Some(self.carry_out(&report, &origin).await?);
        Ok(peer::ReportResponse { response })
    }

    fn origin(&self, forwarded: Option<Forwarded>) -> Result<Origin, Problem> {
        let Forwarded { waited, caller, node, epoch: _, principal, believed } =
            forwarded.unwrap_or_default();
        Span::current().record("from", node.as_str());
        trace::Span::current().note("quotagate.from", &node);
        // What cannot be read has not waited: that makes a permit's life shorter.
        let waited = waited.and_then(|waited| Duration::try_from(waited).ok());
        let waited = waited.unwrap_or_default().min(MAX_WAITED);
        let arrived = self.node.now().mono - waited;
        // A name that is none must not become nobody's, who may do everything.
        let by = match &*principal {
            "" => Teller::anybody(),
            name => {
                let principal = Principal::new(name).ok_or_else(no_principal)?.to_shared();
                Teller { principal: Some(principal), believed }
            }
        };
        Ok(Origin { waited, asked: Asked { arrived, by }, caller })
    }

    async fn carry_out<O: Operation>(
        &self,
        operation: &O,
        origin: &Origin,
    ) -> Result<O::Answer, Status> {
        note_org(operation.org());
        // Which epoch the sender believed in does not matter: if it is served
        // here, then it is by whoever owns it now.
        let org = operation.org();
        if !self.node.is_here(org) && !Box::pin(self.node.is_here_soon(org, TAKEN)).await {
            return Err(not_owner().into());
        }
        operation.here(&self.node, &origin.asked).await.map_err(|failure| match failure {
            Failure::NotOwner => not_owner().into(),
            Failure::Problem(problem) => problem.into(),
        })
    }

    async fn change<M>(
        &self,
        message: M,
        origin: Origin,
    ) -> Result<administer_response::Response, Status>
    where
        M: Mutation<Answer: Into<administer_response::Response>>,
    {
        let change = Change::new(message, origin.author())?;
        self.carry_out(&change, &origin).await.map(Into::into)
    }
}

#[tonic::async_trait]
impl PeerService for Peer {
    async fn ping(
        &self,
        _: Request<peer::PingRequest>,
    ) -> Result<Response<peer::PingResponse>, Status> {
        Ok(Response::new(convert::peer::pong(self.owner.node.facts())))
    }

    async fn acquire(
        &self,
        request: Request<peer::AcquireRequest>,
    ) -> Result<Response<peer::AcquireResponse>, Status> {
        let deadline = Deadline::of(&request);
        self.owner.acquire(request.into_inner(), deadline).await.map(Response::new)
    }

    async fn release(
        &self,
        request: Request<peer::ReleaseRequest>,
    ) -> Result<Response<peer::ReleaseResponse>, Status> {
        self.owner.release(request.into_inner()).await.map(Response::new)
    }

    async fn report(
        &self,
        request: Request<peer::ReportRequest>,
    ) -> Result<Response<peer::ReportResponse>, Status> {
        self.owner.report(request.into_inner()).await.map(Response::new)
    }

    type ForwardStream = Answers;

    async fn forward(
        &self,
        request: Request<Streaming<peer::ForwardRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let (owner, stopping) = (Arc::clone(&self.owner), self.stopping.clone());
        Ok(Response::new(Answers::to(request.into_inner(), owner, stopping)))
    }

    async fn get_usage(
        &self,
        request: Request<peer::GetUsageRequest>,
    ) -> Result<Response<peer::GetUsageResponse>, Status> {
        let peer::GetUsageRequest { forwarded, request } = request.into_inner();
        let origin = self.owner.origin(forwarded)?;
        let get_usage = GetUsage::new(&request.unwrap_or_default())?;
        let response = Some(self.owner.carry_out(&get_usage, &origin).await?);
        Ok(Response::new(peer::GetUsageResponse { response }))
    }

    async fn get_demand(
        &self,
        request: Request<peer::GetDemandRequest>,
    ) -> Result<Response<peer::GetDemandResponse>, Status> {
        let peer::GetDemandRequest { forwarded, request } = request.into_inner();
        let origin = self.owner.origin(forwarded)?;
        let get_demand = GetDemand::new(request.unwrap_or_default())?;
        let response = Some(self.owner.carry_out(&get_demand, &origin).await?);
        Ok(Response::new(peer::GetDemandResponse { response }))
    }

    type WatchUsageStream = ReceiverStream<Result<peer::WatchUsageResponse, Status>>;

    async fn watch_usage(
        &self,
        request: Request<peer::WatchUsageRequest>,
    ) -> Result<Response<Self::WatchUsageStream>, Status> {
        let peer::WatchUsageRequest { forwarded, request } = request.into_inner();
        self.owner.origin(forwarded)?;
        let org = convert::org(&request.unwrap_or_default().org)?;
        note_org(&org);
        let Ok(place) = Arc::clone(&self.watches).try_acquire_owned() else {
            return Err(too_many_watches().into());
        };
        let mut watch = match self.owner.node.watch(&org) {
            Ok(watch) => watch,
            Err(error) if error.is_not_owner() => return Err(not_owner().into()),
            Err(error) => return Err(error.into()),
        };
        let (events, stream) = mpsc::channel(BUFFER);
        let mut stopping = self.stopping.clone();
        tokio::spawn(async move {
            let pass_on = async {
                while let Some(event) = watch.next().await {
                    let response = Some(wire::usage_event(event));
                    if events.send(Ok(peer::WatchUsageResponse { response })).await.is_err() {
                        return;
                    }
                }
                // A watcher that has gone needs no word.
                let _ = events.send(Err(not_owner().into())).await;
            };
            tokio::select! {
                biased;
                _ = stopping.wait_for(|stopping| *stopping) => {}
                () = events.closed() => {}
                () = pass_on => {}
            }
            drop(place);
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    type GlanceStream = ReceiverStream<Result<peer::GlanceResponse, Status>>;

    async fn glance(
        &self,
        request: Request<peer::GlanceRequest>,
    ) -> Result<Response<Self::GlanceStream>, Status> {
        Span::current().record("from", request.get_ref().node.as_str());
        let (shards, stream) = mpsc::channel(BUFFER);
        let node = Arc::clone(&self.owner.node);
        tokio::spawn(async move {
            let declared = node.declared_by_shard();
            for shard in Shard::all() {
                let declared = declared.get(&shard).map(Vec::as_slice).unwrap_or_default();
                let Some(lines) = node.lines(shard, declared) else { continue };
                if shards.send(Ok(convert::overview::glance(lines))).await.is_err() {
                    return;
                }
                // Whoever reads fast does not keep the thread from others.
                yield_now().await;
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn replay_demand(
        &self,
        request: Request<peer::ReplayDemandRequest>,
    ) -> Result<Response<peer::ReplayDemandResponse>, Status> {
        let peer::ReplayDemandRequest { forwarded, request } = request.into_inner();
        let origin = self.owner.origin(forwarded)?;
        let replay = ReplayDemand::new(request.unwrap_or_default())?;
        let response = Some(self.owner.carry_out(&replay, &origin).await?);
        Ok(Response::new(peer::ReplayDemandResponse { response }))
    }

    async fn administer(
        &self,
        request: Request<peer::AdministerRequest>,
    ) -> Result<Response<peer::AdministerResponse>, Status> {
        use administer_request::Request as Change;
        let peer::AdministerRequest { forwarded, request } = request.into_inner();
        let origin = self.owner.origin(forwarded)?;
        let response = match request {
            Some(Change::PutOrg(request)) => self.owner.change(request, origin).await?,
            Some(Change::DeleteOrg(request)) => self.owner.change(request, origin).await?,
            Some(Change::PutWorkspace(request)) => self.owner.change(request, origin).await?,
            Some(Change::DeleteWorkspace(request)) => self.owner.change(request, origin).await?,
            Some(Change::PutExecutionUser(request)) => self.owner.change(request, origin).await?,
            Some(Change::DeleteExecutionUser(request)) => {
                self.owner.change(request, origin).await?
            }
            None => return Err(unknown_change().into()),
        };
        Ok(Response::new(peer::AdministerResponse { response: Some(response) }))
    }
}

fn not_owner() -> Problem {
    let message = "this node does not own the org, and has done nothing";
    Problem::new(Code::FailedPrecondition, NOT_OWNER, message)
}

fn no_principal() -> Problem {
    Problem::field("INVALID_REQUEST", "forwarded.principal", "is not a principal's name")
}

fn wrong_token() -> Problem {
    let message = "the peer token is missing or another one: all nodes of a cluster need the same";
    Problem::new(Code::Unauthenticated, "WRONG_PEER_TOKEN", message)
}

fn another_cluster() -> Problem {
    let message = "this node is of another cluster, and has done nothing: the address that was asked \
                   has been given to it, or both clusters' nodes advertise the same one";
    Problem::new(Code::Unauthenticated, "ANOTHER_CLUSTER", message)
}

fn too_many_watches() -> Problem {
    let message = format!("{MAX_WATCHES} watches of other nodes are open: try again later");
    Problem::new(Code::ResourceExhausted, "TOO_MANY_WATCHES", message).retry_after(WATCH_RETRY)
}

fn unknown_change() -> Problem {
    let message = "the owner's version does not know this change: update all nodes";
    Problem::new(Code::Unimplemented, "UNKNOWN_CHANGE", message)
}
