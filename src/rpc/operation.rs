//! What can be asked about an org: each in one place, as this node carries it
//! out and as it asks another one for it. The edge and the peer port both use
//! these, so a forwarded request is decided as one that came to its owner.

use std::time::Duration;

use tonic::{Code, Streaming};

use super::{
    convert::{self, admin, quota as wire},
    forward::Context,
    layers::Deadline,
    rights,
    status::Problem,
};
use crate::{
    auth::Caller,
    cluster::peers::{Call, Connection, Lane, PeerError},
    config::OrgDeclaration,
    node::{AdminChange, AdminError, Author, Decided, Node, NodeError, UsageWatch, WhatIfError},
    proto::{
        admin::v1::{
            DeleteExecutionUserRequest, DeleteExecutionUserResponse, DeleteOrgRequest,
            DeleteOrgResponse, DeleteWorkspaceRequest, DeleteWorkspaceResponse, OrgEntry,
            PutExecutionUserRequest, PutExecutionUserResponse, PutOrgRequest, PutOrgResponse,
            PutWorkspaceRequest, PutWorkspaceResponse, ReplayDemandRequest, ReplayDemandResponse,
        },
        peer::v1::{self as peer, Forwarded, administer_request, administer_response},
        v1,
    },
    quota::{Ask, Mono, OrgId, Report as Reported, Teller},
};

/// What is known of a request where it is carried out.
#[derive(Clone, Debug)]
pub struct Asked {
    /// When it came to the service, by this node's clock.
    pub arrived: Mono,
    /// Who asks, and whether what they tell is taken.
    pub by: Teller,
}

/// A request about one org.
pub trait Operation: Send + Sync {
    /// The message that answers it.
    type Answer: Send;

    /// True if any node may carry it out while nobody owns the org.
    const NEEDS_NO_OWNER: bool = false;

    /// Over which connection it goes to another node.
    const LANE: Lane = Lane::Rest;

    /// The org.
    fn org(&self) -> &OrgId;

    /// Whether its caller may ask for it. Nothing about the org is looked up
    /// before.
    ///
    /// # Errors
    /// They may not.
    fn check_rights(&self, context: &Context) -> Result<(), Problem>;

    /// Takes out of an answer what its caller may not see.
    fn cut_down(&self, _: &Caller, _: &mut Self::Answer) {}

    /// How long it may wait for room, since it came to the service.
    fn max_wait(&self) -> Duration {
        Duration::ZERO
    }

    /// True if it may be asked again when nobody knows whether it was carried
    /// out. `wait`: how long it may still wait.
    fn may_repeat(&self, wait: Duration) -> bool;

    /// Carries it out in this process.
    fn here(
        &self,
        node: &Node,
        asked: &Asked,
    ) -> impl Future<Output = Result<Self::Answer, Failure>> + Send;

    /// Has it carried out at another node.
    fn there(
        &self,
        connection: Connection,
        forwarded: Forwarded,
        call: &Call,
    ) -> impl Future<Output = Result<Self::Answer, PeerError>> + Send;
}

/// Why this node gave no answer.
#[derive(Debug)]
pub enum Failure {
    /// The org is not decided here; nothing was done.
    NotOwner,
    /// Anything else, for the caller.
    Problem(Problem),
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        if error.is_not_owner() { Self::NotOwner } else { Self::Problem(error.into()) }
    }
}

impl From<AdminError> for Failure {
    fn from(error: AdminError) -> Self {
        Self::Problem(error.into())
    }
}

impl From<WhatIfError> for Failure {
    fn from(error: WhatIfError) -> Self {
        match error {
            WhatIfError::Node(error) => error.into(),
            WhatIfError::Settings(error) => error.into(),
            WhatIfError::Died(error) => {
                tracing::error!(%error, "a replay of demand broke off");
                let message = "the replay broke off: this is a fault of the service";
                Self::Problem(Problem::new(Code::Internal, "REPLAY_BROKEN", message))
            }
        }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// An answer of a peer that has not the message it should have: one of another
/// version, which has done nobody knows what.
fn answer_of<T>(message: Option<T>) -> Result<T, PeerError> {
    message.ok_or_else(|| PeerError::Lost("its answer is empty".to_owned()))
}

/// An Acquire.
#[derive(Debug)]
pub struct Acquire {
    request: v1::AcquireRequest,
    org: OrgId,
    ask: Ask,
}

impl Acquire {
    /// Checks an Acquire that has waited so long already. Its wait is shortened
    /// so that there is time for an answer.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub fn new(
        request: v1::AcquireRequest,
        asker: &wire::Asker<'_>,
        waited: Duration,
        deadline: Deadline,
    ) -> Result<Self, Problem> {
        let (org, mut ask) = wire::ask(&request, asker)?;
        ask.max_wait = waited + deadline.cap(ask.max_wait.saturating_sub(waited));
        Ok(Self { request, org, ask })
    }
}

/// The answer to an Acquire, which becomes a message where one is needed.
#[derive(Debug)]
pub enum Answered {
    /// It was decided in this process.
    Here(Decided),
    /// Its owner's word.
    There(Box<v1::AcquireResponse>),
}

impl From<Answered> for v1::AcquireResponse {
    fn from(answer: Answered) -> Self {
        match answer {
            Answered::Here(decided) => wire::decided(decided),
            Answered::There(message) => *message,
        }
    }
}

impl Operation for Acquire {
    type Answer = Answered;

    const LANE: Lane = Lane::Calls;

    fn org(&self) -> &OrgId {
        &self.org
    }

    fn check_rights(&self, context: &Context) -> Result<(), Problem> {
        rights::acquire(context, &self.org, &self.ask)
    }

    fn max_wait(&self) -> Duration {
        self.ask.max_wait
    }

    /// Who waits has time for a second try. If the first one was granted and its
    /// answer lost, its calls stay counted until they expire: it is charged
    /// twice then, unless its request_id finds the first permit, but what is
    /// granted twice was charged twice, so no limit is passed.
    fn may_repeat(&self, wait: Duration) -> bool {
        self.ask.check_only || !wait.is_zero()
    }

    async fn here(&self, node: &Node, asked: &Asked) -> Result<Answered, Failure> {
        Ok(Answered::Here(node.acquire(&self.org, &self.ask, asked.arrived).await?))
    }

    async fn there(
        &self,
        connection: Connection,
        forwarded: Forwarded,
        call: &Call,
    ) -> Result<Answered, PeerError> {
        let caller = self.ask.caller.as_deref().unwrap_or_default().to_owned();
        let forwarded = Forwarded { caller, ..forwarded };
        let (forwarded, request) = (Some(forwarded), Some(self.request.clone()));
        let message = peer::AcquireRequest { forwarded, request };
        let answer = answer_of(connection.acquire(message, call).await?.response)?;
        Ok(Answered::There(Box::new(answer)))
    }
}

/// A Release.
#[derive(Debug)]
pub struct Release {
    request: v1::ReleaseRequest,
    org: OrgId,
}

impl Release {
    /// Checks a Release.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub fn new(request: v1::ReleaseRequest) -> Result<Self, Problem> {
        let (permit_id, _) = wire::release(&request)?;
        let org = Node::org_of(permit_id)?;
        Ok(Self { request, org })
    }
}

impl Operation for Release {
    type Answer = v1::ReleaseResponse;

    const LANE: Lane = Lane::Calls;

    fn org(&self) -> &OrgId {
        &self.org
    }

    fn check_rights(&self, context: &Context) -> Result<(), Problem> {
        rights::settle(context, &self.org)
    }

    fn may_repeat(&self, _: Duration) -> bool {
        true
    }

    async fn here(&self, node: &Node, asked: &Asked) -> Result<v1::ReleaseResponse, Failure> {
        let (permit_id, unused) = wire::release(&self.request)?;
        Ok(wire::released(node.release(permit_id, unused, &asked.by).await?)?)
    }

    async fn there(
        &self,
        connection: Connection,
        forwarded: Forwarded,
        call: &Call,
    ) -> Result<v1::ReleaseResponse, PeerError> {
        let (forwarded, request) = (Some(forwarded), Some(self.request.clone()));
        let message = peer::ReleaseRequest { forwarded, request };
        answer_of(connection.release(message, call).await?.response)
    }
}

/// A Report.
#[derive(Debug)]
pub struct Report {
    request: v1::ReportRequest,
    org: OrgId,
    report: Reported,
}

impl Report {
    /// Checks a Report.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub fn new(request: v1::ReportRequest) -> Result<Self, Problem> {
        let (subject, report) = wire::report(&request)?;
        let org = match subject {
            wire::Subject::Permit(permit_id) => Node::org_of(permit_id)?,
            wire::Subject::Org(org) => org,
        };
        Ok(Self { request, org, report })
    }

    fn has_permit(&self) -> bool {
        !self.request.permit_id.is_empty()
    }

    /// The request, as it came.
    pub fn request(&self) -> &v1::ReportRequest {
        &self.request
    }
}

impl Operation for Report {
    type Answer = v1::ReportResponse;

    const LANE: Lane = Lane::Calls;

    fn org(&self) -> &OrgId {
        &self.org
    }

    fn check_rights(&self, context: &Context) -> Result<(), Problem> {
        if self.has_permit() {
            rights::settle(context, &self.org)
        } else {
            rights::report_org(context, &self.org)
        }
    }

    fn may_repeat(&self, _: Duration) -> bool {
        true
    }

    async fn here(&self, node: &Node, asked: &Asked) -> Result<v1::ReportResponse, Failure> {
        let report = self.report.clone();
        let reported = if self.has_permit() {
            node.report(&self.request.permit_id, report, &asked.by).await?
        } else {
            node.report_org(&self.org, report, &asked.by).await?
        };
        Ok(wire::reported(reported, node.now()))
    }

    async fn there(
        &self,
        connection: Connection,
        forwarded: Forwarded,
        call: &Call,
    ) -> Result<v1::ReportResponse, PeerError> {
        let (forwarded, request) = (Some(forwarded), Some(self.request.clone()));
        let message = peer::ReportRequest { forwarded, request };
        answer_of(connection.report(message, call).await?.response)
    }
}

/// A GetUsage.
#[derive(Debug)]
pub struct GetUsage {
    org: OrgId,
}

impl GetUsage {
    /// Checks a GetUsage.
    ///
    /// # Errors
    /// The field and what is wrong with it.
    pub fn new(request: &v1::GetUsageRequest) -> Result<Self, Problem> {
        Ok(Self { org: convert::org(&request.org)? })
    }
}

impl Operation for GetUsage {
    type Answer = v1::GetUsageResponse;

    fn org(&self) -> &OrgId {
        &self.org
    }

    fn check_rights(&self, context: &Context) -> Result<(), Problem> {
        rights::read(&context.caller, &self.org)
    }

    fn cut_down(&self, caller: &Caller, answer: &mut v1::GetUsageResponse) {
        if let Some(usage) = &mut answer.usage {
            rights::cut_usage(caller, usage);
        }
    }

    fn may_repeat(&self, _: Duration) -> bool {
        true
    }

    async fn here(&self, node: &Node, _: &Asked) -> Result<v1::GetUsageResponse, Failure> {
        let (usage, now) = node.usage(&self.org).await?;
        Ok(v1::GetUsageResponse { usage: Some(wire::org_usage(usage, now)) })
    }

    async fn there(
        &self,
        connection: Connection,
        forwarded: Forwarded,
        call: &Call,
    ) -> Result<v1::GetUsageResponse, PeerError> {
        let request = v1::GetUsageRequest { org: self.org.as_str().to_owned() };
        let (forwarded, request) = (Some(forwarded), Some(request));
        let message = peer::GetUsageRequest { forwarded, request };
        answer_of(connection.get_usage(message, call).await?.response)
    }
}

/// A GetDemand.
#[derive(Debug)]
pub struct GetDemand {
    request: v1::GetDemandRequest,
    org: OrgId,
    filter: wire::DemandFilter,
}

impl GetDemand {
    /// Checks a GetDemand.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub fn new(request: v1::GetDemandRequest) -> Result<Self, Problem> {
        let (org, filter) = wire::demand_filter(&request)?;
        Ok(Self { request, org, filter })
    }
}

impl Operation for GetDemand {
    type Answer = v1::GetDemandResponse;

    fn org(&self) -> &OrgId {
        &self.org
    }

    fn check_rights(&self, context: &Context) -> Result<(), Problem> {
        rights::read(&context.caller, &self.org)
    }

    fn cut_down(&self, caller: &Caller, answer: &mut v1::GetDemandResponse) {
        rights::cut_demand(caller, answer);
    }

    fn may_repeat(&self, _: Duration) -> bool {
        true
    }

    async fn here(&self, node: &Node, _: &Asked) -> Result<v1::GetDemandResponse, Failure> {
        let wire::DemandFilter { workspace, since } = &self.filter;
        let (demand, now) = node.demand(&self.org, workspace.as_ref(), *since).await?;
        Ok(wire::demand(&self.org, demand, now))
    }

    async fn there(
        &self,
        connection: Connection,
        forwarded: Forwarded,
        call: &Call,
    ) -> Result<v1::GetDemandResponse, PeerError> {
        let (forwarded, request) = (Some(forwarded), Some(self.request.clone()));
        let message = peer::GetDemandRequest { forwarded, request };
        answer_of(connection.get_demand(message, call).await?.response)
    }
}

/// A ReplayDemand.
#[derive(Debug)]
pub struct ReplayDemand {
    request: ReplayDemandRequest,
    edited: OrgDeclaration,
}

impl ReplayDemand {
    /// Checks a ReplayDemand.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub fn new(request: ReplayDemandRequest) -> Result<Self, Problem> {
        let edited = admin::edited(request.clone())?;
        Ok(Self { request, edited })
    }
}

impl Operation for ReplayDemand {
    type Answer = ReplayDemandResponse;

    fn org(&self) -> &OrgId {
        &self.edited.id
    }

    fn check_rights(&self, context: &Context) -> Result<(), Problem> {
        rights::read_all(&context.caller, &self.edited.id)
    }

    fn may_repeat(&self, _: Duration) -> bool {
        true
    }

    async fn here(&self, node: &Node, _: &Asked) -> Result<ReplayDemandResponse, Failure> {
        let what_if = node.what_if(self.edited.clone()).await?;
        Ok(convert::replay::what_if(&self.edited.id, what_if))
    }

    async fn there(
        &self,
        connection: Connection,
        forwarded: Forwarded,
        call: &Call,
    ) -> Result<ReplayDemandResponse, PeerError> {
        let (forwarded, request) = (Some(forwarded), Some(self.request.clone()));
        let message = peer::ReplayDemandRequest { forwarded, request };
        answer_of(connection.replay_demand(message, call).await?.response)
    }
}

/// A WatchUsage, until the org moves.
#[derive(Debug)]
pub struct Watch {
    org: OrgId,
}

/// Where the events of a watch come from; the first one is a snapshot.
#[derive(Debug)]
pub enum Source {
    /// The org's ledger in this process.
    Here(Box<UsageWatch>),
    /// Its owner.
    Peer(Box<Streaming<peer::WatchUsageResponse>>),
}

impl Watch {
    /// Checks a WatchUsage.
    ///
    /// # Errors
    /// The field and what is wrong with it.
    pub fn new(request: &v1::WatchUsageRequest) -> Result<Self, Problem> {
        Ok(Self { org: convert::org(&request.org)? })
    }
}

impl Operation for Watch {
    type Answer = Source;

    fn org(&self) -> &OrgId {
        &self.org
    }

    /// What it is told is cut down event by event.
    fn check_rights(&self, context: &Context) -> Result<(), Problem> {
        rights::read(&context.caller, &self.org)
    }

    fn may_repeat(&self, _: Duration) -> bool {
        true
    }

    async fn here(&self, node: &Node, _: &Asked) -> Result<Source, Failure> {
        Ok(Source::Here(Box::new(node.watch(&self.org)?)))
    }

    async fn there(
        &self,
        connection: Connection,
        forwarded: Forwarded,
        call: &Call,
    ) -> Result<Source, PeerError> {
        let request = v1::WatchUsageRequest { org: self.org.as_str().to_owned() };
        let (forwarded, request) = (Some(forwarded), Some(request));
        let message = peer::WatchUsageRequest { forwarded, request };
        Ok(Source::Peer(Box::new(connection.watch_usage(message, call).await?)))
    }
}

/// An administrator's change.
#[derive(Debug)]
pub struct Change<M> {
    message: M,
    what: admin::Administer,
    author: Author,
}

/// A message that asks for a change.
pub trait Mutation: Clone + Send + Sync {
    /// The message that answers it.
    type Answer: Send;

    /// Checks it.
    ///
    /// # Errors
    /// Every field that is wrong.
    fn check(self) -> Result<admin::Administer, Problem>;

    /// The answer: the org as it is in force then.
    fn answer(entry: crate::node::OrgEntry) -> Self::Answer;

    /// The org in an answer, where it has one.
    fn entry(answer: &mut Self::Answer) -> Option<&mut OrgEntry>;

    /// The message as another node is sent it.
    fn forward(self) -> administer_request::Request;

    /// The answer out of another node's; `None` if it is that to something else.
    fn answered(response: administer_response::Response) -> Option<Self::Answer>;
}

macro_rules! mutations {
    ($($name:ident($request:ty) -> $response:ident $fields:tt by $check:ident;)*) => {$(
        impl Mutation for $request {
            type Answer = $response;

            fn check(self) -> Result<admin::Administer, Problem> {
                admin::$check(self)
            }

            fn answer(entry: crate::node::OrgEntry) -> $response {
                mutations!(@answer $response $fields entry)
            }

            fn entry(answer: &mut $response) -> Option<&mut OrgEntry> {
                mutations!(@entry $fields answer)
            }

            fn forward(self) -> administer_request::Request {
                administer_request::Request::$name(self)
            }

            fn answered(response: administer_response::Response) -> Option<$response> {
                match response {
                    administer_response::Response::$name(response) => Some(response),
                    _ => None,
                }
            }
        }

        impl From<$response> for administer_response::Response {
            fn from(response: $response) -> Self {
                Self::$name(response)
            }
        }
    )*};
    (@entry {} $answer:ident) => {{
        let _ = $answer;
        None
    }};
    (@entry { entry } $answer:ident) => {
        $answer.entry.as_mut()
    };
    (@answer $response:ident {} $entry:ident) => {{
        let _ = $entry;
        $response {}
    }};
    (@answer $response:ident { entry } $entry:ident) => {
        $response { entry: Some(admin::org_entry($entry)) }
    };
}

mutations! {
    PutOrg(PutOrgRequest) -> PutOrgResponse { entry } by put_org;
    DeleteOrg(DeleteOrgRequest) -> DeleteOrgResponse {} by delete_org;
    PutWorkspace(PutWorkspaceRequest) -> PutWorkspaceResponse { entry } by put_workspace;
    DeleteWorkspace(DeleteWorkspaceRequest) -> DeleteWorkspaceResponse { entry } by delete_workspace;
    PutExecutionUser(PutExecutionUserRequest) -> PutExecutionUserResponse { entry } by put_execution_user;
    DeleteExecutionUser(DeleteExecutionUserRequest) -> DeleteExecutionUserResponse { entry } by delete_execution_user;
}

impl<M: Mutation> Change<M> {
    /// Checks a change that somebody asks for.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub fn new(message: M, author: Author) -> Result<Self, Problem> {
        let what = message.clone().check()?;
        Ok(Self { message, what, author })
    }
}

impl<M: Mutation> Operation for Change<M> {
    type Answer = M::Answer;

    /// The store tells changes apart by revision, and the next owner reads them.
    const NEEDS_NO_OWNER: bool = true;

    fn org(&self) -> &OrgId {
        &self.what.org
    }

    fn check_rights(&self, context: &Context) -> Result<(), Problem> {
        let workspace = match &self.what.change {
            AdminChange::PutWorkspace(workspace) => Some(&workspace.id),
            AdminChange::DeleteWorkspace(workspace) => Some(workspace),
            AdminChange::PutOrg(_)
            | AdminChange::DeleteOrg
            | AdminChange::PutExecutionUser(_)
            | AdminChange::DeleteExecutionUser(_) => None,
        };
        rights::change(&context.caller, &self.what.org, workspace).inspect_err(|_| {
            tracing::warn!(
                target: "audit",
                org = %self.what.org,
                who = self.author.who,
                from = self.author.from,
                action = self.what.change.action(),
                "a change of an org's settings was refused: its author may not make it"
            );
        })
    }

    fn cut_down(&self, caller: &Caller, answer: &mut M::Answer) {
        if let Some(entry) = M::entry(answer) {
            rights::cut_entry(caller, entry);
        }
    }

    /// A second try would find the etag changed by the first.
    fn may_repeat(&self, _: Duration) -> bool {
        false
    }

    async fn here(&self, node: &Node, _: &Asked) -> Result<M::Answer, Failure> {
        let admin::Administer { org, change, etag, validate_only } = &self.what;
        let (change, etag) = (change.clone(), etag.as_deref());
        let entry = node.administer(org, change, etag, *validate_only, &self.author).await?;
        Ok(M::answer(entry))
    }

    async fn there(
        &self,
        connection: Connection,
        forwarded: Forwarded,
        call: &Call,
    ) -> Result<M::Answer, PeerError> {
        let (forwarded, request) = (Some(forwarded), Some(self.message.clone().forward()));
        let message = peer::AdministerRequest { forwarded, request };
        let response = connection.administer(message, call).await?.response;
        answer_of(response.and_then(M::answered))
    }
}
