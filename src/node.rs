//! Where a request is decided: here, or at the node that [`Routes`] lead to. The
//! only place that knows which part of this process answers for an org.

mod directory;
mod ground;
mod lines;
mod routes;
mod settings;
mod what_if;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, watch},
    time::timeout,
};
use tracing::Instrument as _;

pub use self::{
    lines::{OtherNode, ShardLines},
    routes::{PeerTarget, Route, RouteChanges, Routes, Served},
    settings::Settings,
    what_if::{WhatIf, WhatIfError},
};
use crate::{
    cluster::{
        moves::Moves,
        pings::{Facts, Pinged, Pings, Standing},
    },
    config::{Config, Fault, OrgDeclaration, WorkspaceDeclaration},
    metrics::ClusterSample,
    quota::{
        Ask, AskError, DemandView, Denial, Mono, Now, OrgId, OrgUsage, Outcome, Permit,
        PermitOfAnother, Released, Report, Reported, Teller, Transition, Unknown, UserId, Wall,
        WorkspaceId,
    },
    shard::{NoLedger, Policies as _, Shards, Usage},
    store::{SharedStore, keys::SHARDS, shard_of},
};
/// What the edge is told of, by its own name.
pub use crate::{
    shard::permit_id::PermitId,
    store::{Shard, StoreMember},
};

/// Why a request could not be decided.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// The ledger could not decide.
    #[error("{0}")]
    Ask(AskError),
    /// The org is not declared, and undeclared ones are refused.
    #[error("the org is not declared")]
    UnknownOrg,
    /// More orgs than the service keeps.
    #[error("more orgs than are kept")]
    TooManyOrgs,
    /// A permit id that this service did not make.
    #[error("the permit id is garbled")]
    GarbledPermit,
    /// The number of unused calls is needed, because some were reported.
    #[error("the number of unused calls is needed")]
    NumberNeeded,
    /// The org is not decided here now, and nothing was done.
    #[error("the org is not decided here now")]
    NotOwner,
    /// The permit is held by another principal; nothing was done.
    #[error("the permit is another principal's")]
    PermitOfAnother,
}

impl NodeError {
    /// True if nothing was done, because another node decides for the org, or
    /// nobody does.
    #[must_use]
    pub fn is_not_owner(&self) -> bool {
        matches!(self, Self::NotOwner | Self::Ask(AskError::NotOwner))
    }
}

/// Why an administrator's request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// No such org, workspace or user.
    #[error("{0}")]
    NotFound(String),
    /// The declaration is wrong; every fault at once.
    #[error("the declaration is wrong")]
    Faults(Vec<Fault>),
    /// The etag is not the present one.
    #[error("the org has changed: its etag is {0} now")]
    EtagMismatch(String),
    /// The store did not take the change.
    #[error("the store did not take the change: {0}")]
    Store(String),
}

/// A decision with what the edge needs to write it down.
#[derive(Clone, Debug)]
pub struct Decided {
    /// The decision.
    pub decision: Decision,
    /// The clocks at the answer.
    pub now: Now,
}

/// Granted or refused.
#[derive(Clone, Debug)]
pub enum Decision {
    /// Calls may be made.
    Permit {
        /// Opaque to its caller, and routable; `None` for a check.
        id: Option<PermitId>,
        /// `waited + life_left`; zero for a check.
        ttl: Duration,
        /// The rest.
        permit: Box<Permit>,
    },
    /// They may not.
    Denial(Box<Denial>),
}

/// What a watcher is told.
#[derive(Clone, Debug)]
pub struct UsageEvent {
    /// All of it if `snapshot`, else what changed.
    pub usage: OrgUsage,
    /// Forget what came before.
    pub snapshot: bool,
    /// Class transitions since the last event.
    pub transitions: Vec<Transition>,
    /// The clocks at this event.
    pub now: Now,
}

/// Where an org's settings come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrgSource {
    /// The template.
    Template,
    /// The configuration file.
    File,
    /// The administration API.
    Api,
}

/// An org as it is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrgEntry {
    /// The settings.
    pub declaration: OrgDeclaration,
    /// Names this state.
    pub etag: String,
    /// Where they come from.
    pub source: OrgSource,
    /// What an operator should know.
    pub warnings: Vec<String>,
    /// The fields that nobody declared: the template's values stand in them.
    pub from_template: Vec<&'static str>,
}

/// One entry of the audit list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When.
    pub time: Wall,
    /// Who, as proved; else the address.
    pub who: String,
    /// From where: an address; empty if it is not known.
    pub from: String,
    /// The RPC's name.
    pub action: String,
    /// YAML; empty if there was nothing.
    pub before: String,
    /// YAML; empty if there is nothing.
    pub after: String,
}

/// What an administrator wants changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminChange {
    /// Declare an org.
    PutOrg(OrgDeclaration),
    /// Withdraw it.
    DeleteOrg,
    /// Declare a workspace.
    PutWorkspace(WorkspaceDeclaration),
    /// Withdraw it.
    DeleteWorkspace(WorkspaceId),
    /// Add a user to the pool.
    PutExecutionUser(UserId),
    /// Take it out.
    DeleteExecutionUser(UserId),
}

/// Who changes settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Author {
    /// Who, as proved; else the address.
    pub who: String,
    /// From where: an address; empty if it is not known.
    pub from: String,
}

/// The facts of `GetCluster`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterInfo {
    /// "memory", "file" or "etcd".
    pub store: &'static str,
    /// The number of shards.
    pub shards: u32,
    /// The nodes, by name.
    pub nodes: Vec<NodeEntry>,
    /// Every shard's owner, by number; empty where there is no cluster.
    pub owners: Vec<ShardEntry>,
    /// Tells two clusters apart that were made at the same place; empty where
    /// there is none.
    pub generation: String,
    /// The node that says all this.
    pub answered_by: String,
    /// The members of the store; empty where it is within this process.
    pub store_members: Vec<StoreMember>,
    /// The shards that have changed hands of late, newest first.
    pub moves: Arc<Moves>,
}

/// A node as another one, or itself, sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeEntry {
    /// Its name.
    pub name: String,
    /// Where clients reach it.
    pub address: String,
    /// Where other nodes reach it; empty where there is no cluster.
    pub peer_address: String,
    /// Its version.
    pub version: String,
    /// Tells two sessions of it apart; empty where there is no cluster.
    pub incarnation: String,
    /// It hands its shards over and wants no more.
    pub draining: bool,
    /// How many shards it owns.
    pub owned_shards: u32,
    /// The lowest and the highest epoch of its shards.
    pub epochs: (u64, u64),
    /// Orgs in memory; 0 where it did not say.
    pub orgs: u32,
    /// When it started, by its own clock; `None` where it did not say.
    pub started: Option<Wall>,
    /// How long its session lasts if it is not renewed; `None` where it has
    /// none, or did not say.
    pub session_left: Option<Duration>,
    /// How far its wall clock is ahead of this node's, in microseconds; `None`
    /// where it has not been measured.
    pub clock_offset_us: Option<i64>,
    /// Why it is not well, in a sentence; empty if it is.
    pub problem: String,
}

/// Who owns a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardEntry {
    /// The shard's number.
    pub shard: u32,
    /// The owner's name; empty while there is none.
    pub node: String,
    /// The fencing number of its ownership; 0 while there is none.
    pub epoch: u64,
}

/// What a node in a cluster knows besides its routes.
#[derive(Clone, Debug)]
pub struct Insight {
    /// How its own session is.
    pub standing: watch::Receiver<Standing>,
    /// How the other nodes are.
    pub pings: watch::Receiver<Arc<Pings>>,
    /// What has changed hands.
    pub moves: watch::Receiver<Arc<Moves>>,
}

/// This process's part of the service.
#[derive(Debug)]
pub struct Node {
    name: String,
    address: String,
    started: Wall,
    store: SharedStore,
    settings: Arc<Settings>,
    shards: Arc<Shards>,
    routes: Routes,
    insight: Option<Insight>,
    /// Whoever replays has a place.
    replays: Arc<Semaphore>,
}

/// A waiting request is decided at its old owner's end and asked again at most
/// this often.
const TRIES: usize = 3;

/// A watcher is told at most once in this time.
const WATCH_EVERY: Duration = Duration::from_secs(1);

impl Node {
    /// A node over shards that run. `address` is where clients reach it,
    /// `routes` lead to the owner of each org.
    #[must_use]
    pub fn new(
        name: String,
        address: String,
        store: SharedStore,
        settings: Arc<Settings>,
        shards: Arc<Shards>,
        routes: Routes,
    ) -> Self {
        let started = shards.now().wall;
        let replays = Arc::new(Semaphore::new(what_if::MAX_REPLAYS));
        Self { name, address, started, store, settings, shards, routes, insight: None, replays }
    }

    /// The node in a cluster, which knows how it and the others are.
    #[must_use]
    pub fn observing(self, insight: Insight) -> Self {
        Self { insight: Some(insight), ..self }
    }

    /// Where an org's requests are decided.
    #[must_use]
    pub fn route(&self, org: &OrgId) -> Route {
        self.routes.route(org)
    }

    /// True if an org's requests are decided in this process.
    #[must_use]
    pub fn is_here(&self, org: &OrgId) -> bool {
        self.routes.is_here(org)
    }

    /// True where there are no other nodes.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.routes.is_alone()
    }

    /// Tells of changes of routes.
    #[must_use]
    pub fn route_changes(&self) -> RouteChanges {
        RouteChanges { view: self.routes.changed(), owned: self.shards.owned() }
    }

    /// True if an org's requests are decided in this process, or will be so within
    /// a time, since its shard is being taken over: that is waited for.
    pub async fn is_here_soon(&self, org: &OrgId, within: Duration) -> bool {
        let settled = timeout(within, self.shards.settled(shard_of(org))).await;
        settled.is_ok() && self.is_here(org)
    }

    /// The org that a permit is of.
    ///
    /// # Errors
    /// The permit id is garbled.
    pub fn org_of(permit_id: &str) -> Result<OrgId, NodeError> {
        parse(permit_id).map(|id| id.org)
    }

    /// True from the moment on at which nothing is granted any more, for good.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.shards.is_stopping()
    }

    /// Both clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        self.shards.now()
    }

    /// The monotonic clock alone.
    #[must_use]
    pub fn mono(&self) -> Mono {
        self.shards.mono()
    }

    /// The address of this node for clients (`quotagate-owner` metadata).
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Follows whether the store works.
    #[must_use]
    pub fn store_works(&self) -> watch::Receiver<bool> {
        self.shards.store_works()
    }

    /// True while requests can be decided (for readiness).
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.shards.is_serving()
    }

    /// Decides an ask; waits up to `ask.max_wait`. Dropping the future leaves
    /// the queue. `arrived`: when this request reached the service.
    ///
    /// # Errors
    /// It could not be decided.
    pub async fn acquire(
        &self,
        org: &OrgId,
        ask: &Ask,
        arrived: Mono,
    ) -> Result<Decided, NodeError> {
        self.admit(org)?;
        for _ in 0..TRIES {
            let (outcome, now) = if ask.max_wait.is_zero() {
                self.shards.acquire(org, ask).await?
            } else {
                let max_wait = ask.max_wait.saturating_sub(self.mono().since(arrived));
                let ask = Box::new(Ask { max_wait, ..ask.clone() });
                self.shards.acquire(org, &ask).await?
            };
            let decision = match outcome {
                Outcome::Granted(permit) => self.permit(org, permit, arrived),
                Outcome::Denied(denial) => Decision::Denial(denial),
                // The ledger was taken anew meanwhile.
                Outcome::Failed(AskError::NotOwner) if self.is_alone() && self.is_ready() => {
                    continue;
                }
                Outcome::Failed(error) => return Err(error.into()),
            };
            return Ok(Decided { decision, now });
        }
        Err(NodeError::Ask(AskError::NotOwner))
    }

    /// Gives back calls.
    ///
    /// # Errors
    /// The permit id is garbled, the permit is another's, a number is needed, or
    /// the org is not served here.
    pub async fn release(
        &self,
        permit_id: &str,
        unused: Option<u32>,
        by: &Teller,
    ) -> Result<Released, NodeError> {
        let id = parse(permit_id)?;
        match self.shards.release(&id, unused, by)? {
            Released::NumberNeeded => Err(NodeError::NumberNeeded),
            // Asked of a ledger that has just gone: the owner may know more.
            Released::Returned { already_settled: true, .. } if !self.is_here(&id.org) => {
                Err(NodeError::NotOwner)
            }
            released @ Released::Returned { .. } => Ok(released),
        }
    }

    /// Settles calls of a permit.
    ///
    /// # Errors
    /// The permit id is garbled, the permit is another's, or the org is not
    /// served here.
    pub async fn report(
        &self,
        permit_id: &str,
        report: Report,
        by: &Teller,
    ) -> Result<Reported, NodeError> {
        let id = parse(permit_id)?;
        // A name that could have been ours, of an org that nobody may create:
        // there is nothing to settle, and no memory is spent on it.
        if self.admit(&id.org).is_err() {
            return Ok(Reported { already_settled: true, ..Reported::default() });
        }
        let reported = self.shards.report(&id, &report, by)?;
        // Told to a ledger that has just gone: the owner may take it.
        if reported.already_settled && !self.is_here(&id.org) {
            return Err(NodeError::NotOwner);
        }
        Ok(reported)
    }

    /// Takes what is told of a call that had no permit.
    ///
    /// # Errors
    /// The org is not served here.
    pub async fn report_org(
        &self,
        org: &OrgId,
        report: Report,
        by: &Teller,
    ) -> Result<Reported, NodeError> {
        self.admit(org)?;
        Ok(self.shards.report_org(org, &report, by)?)
    }

    /// One org's usage. Never creates an org: an accepted unknown one shows its
    /// template, unused.
    ///
    /// # Errors
    /// The org is not served here.
    pub async fn usage(&self, org: &OrgId) -> Result<(OrgUsage, Now), NodeError> {
        self.admit(org)?;
        let usage = self.shards.attributed_usage(org);
        // Looked at afterwards: a ledger that has just gone shows nothing used.
        if !self.is_here(org) {
            return Err(NodeError::NotOwner);
        }
        Ok((usage.usage, usage.now))
    }

    /// What was asked of an org by the minute: for one workspace (`Some(None)`:
    /// for none) or for all, from a moment on.
    ///
    /// # Errors
    /// The org is not served here.
    pub async fn demand(
        &self,
        org: &OrgId,
        workspace: Option<&Option<WorkspaceId>>,
        from: Option<Wall>,
    ) -> Result<(DemandView, Now), NodeError> {
        self.admit(org)?;
        let demand = self.shards.demand(org, workspace, from);
        // Looked at afterwards: a ledger that has just gone knows of nothing.
        if !self.is_here(org) {
            return Err(NodeError::NotOwner);
        }
        Ok(demand)
    }

    /// One org's usage, as it changes.
    ///
    /// # Errors
    /// The org is not served here.
    pub fn watch(&self, org: &OrgId) -> Result<UsageWatch, NodeError> {
        self.admit(org)?;
        if !self.is_here(org) {
            return Err(NodeError::NotOwner);
        }
        let (shards, routes) = (Arc::clone(&self.shards), self.routes.clone());
        Ok(UsageWatch { shards, routes, org: org.clone(), told: None })
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        self.settings.config()
    }

    /// Takes over a new configuration (file reload).
    pub async fn reconfigure(&self, config: Config) {
        self.settings.replace_config(config);
        self.shards.reconfigure_all(&self.shards.orgs()).await;
    }

    /// Of the orgs that `may_show` lets through those after `after`, by name, at
    /// most `limit`; true if there are more.
    pub fn list_orgs(
        &self,
        after: Option<&OrgId>,
        limit: usize,
        may_show: impl Fn(&OrgId) -> bool,
    ) -> (Vec<OrgEntry>, bool) {
        let mut names = self.settings.declared();
        names.extend(self.shards.orgs());
        let later = |name: &OrgId| after.is_none_or(|after| name > after) && may_show(name);
        let mut later: Vec<OrgId> = names.into_iter().filter(later).take(limit + 1).collect();
        let more = later.len() > limit;
        later.truncate(limit);
        (later.iter().map(|org| self.settings.entry(org)).collect(), more)
    }

    /// The newest changes of the orgs that `may_show` lets through, newest first,
    /// at most `limit`; true if there are more.
    pub fn list_changes(
        &self,
        limit: usize,
        may_show: impl Fn(&OrgId) -> bool,
    ) -> (Vec<(OrgId, Change)>, bool) {
        self.settings.newest_changes(limit, may_show)
    }

    /// One org and its last changes, newest first; `None` if nobody declared it
    /// and nothing is counted.
    #[must_use]
    pub fn get_org(&self, org: &OrgId) -> Option<(OrgEntry, Vec<Change>)> {
        let changes = self.settings.changes(org);
        let known = self.settings.is_declared(org) || !changes.is_empty() || self.shards.has(org);
        known.then(|| (self.settings.entry(org), changes))
    }

    /// Carries out an administrator's change; answers when it is in force.
    ///
    /// # Errors
    /// What is wrong with it, or the store did not take it.
    pub async fn administer(
        &self,
        org: &OrgId,
        change: AdminChange,
        etag: Option<&str>,
        validate_only: bool,
        author: &Author,
    ) -> Result<OrgEntry, AdminError> {
        let now = self.now().wall;
        let (settings, store) = (Arc::clone(&self.settings), Arc::clone(&self.store));
        let shards = Arc::clone(&self.shards);
        let (org, author) = (org.clone(), author.clone());
        let etag = etag.map(ToOwned::to_owned);
        // In a task of its own: a caller that goes away does not leave a change
        // in the store that is not in force.
        let carry_out = async move {
            let etag = etag.as_deref();
            let changed =
                settings.change(&*store, now, &org, change, etag, validate_only, &author).await;
            match &changed {
                Ok(_) if !validate_only => shards.reconfigure(&[org]),
                Err(AdminError::Store(_)) => {
                    tokio::spawn(async move { shards.try_store().await });
                }
                Ok(_) | Err(_) => {}
            }
            changed
        };
        let carried_out = tokio::spawn(carry_out.in_current_span());
        let cut_off = |_| Err(AdminError::Store("the change was cut off".to_owned()));
        carried_out.await.unwrap_or_else(cut_off)
    }

    /// What this node says of itself.
    #[must_use]
    pub fn facts(&self) -> Facts {
        let now = self.now();
        let standing = self.insight.as_ref().map(|insight| insight.standing.borrow().clone());
        let Standing { incarnation, session_until, problem } = standing.unwrap_or_default();
        Facts {
            node: self.name.clone(),
            incarnation,
            clock: self.shards.wall_clock(),
            session_left: session_until.map(|until| until.since(now.mono)),
            owned_shards: self.routes.owned(),
            orgs: u32::try_from(self.shards.count_orgs()).unwrap_or(u32::MAX),
            started: self.started,
            problem,
        }
    }

    /// How this node stands in its cluster; `None` where it is alone.
    #[must_use]
    pub fn sample(&self) -> Option<ClusterSample> {
        let insight = self.insight.as_ref()?;
        let now = self.now().mono;
        let session_until = insight.standing.borrow().session_until;
        let pings = insight.pings.borrow();
        let answering: Vec<_> = pings.values().filter_map(|ping| ping.as_ref().ok()).collect();
        let offset = |pinged: &&Pinged| Duration::from_micros(pinged.offset_us.unsigned_abs());
        let count = |nodes: usize| u32::try_from(nodes).unwrap_or(u32::MAX);
        Some(ClusterSample {
            session_left: session_until.map_or(Duration::ZERO, |until| until.since(now)),
            clock_offset: answering.iter().map(offset).max(),
            answering: count(answering.len()),
            silent: count(pings.len() - answering.len()),
        })
    }

    /// The cluster, as far as there is one.
    #[must_use]
    pub fn cluster(&self) -> ClusterInfo {
        let own = self.facts();
        if self.is_alone() {
            let node = NodeEntry {
                address: self.address.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                epochs: self.shards.epochs(),
                ..NodeEntry::from(own)
            };
            return ClusterInfo {
                store: self.store.kind(),
                shards: SHARDS.into(),
                nodes: vec![node],
                owners: Vec::new(),
                generation: String::new(),
                answered_by: self.name.clone(),
                store_members: self.store.members(),
                moves: Arc::default(),
            };
        }
        let view = self.routes.view();
        let pings = self.insight.as_ref().map(|insight| Arc::clone(&insight.pings.borrow()));
        ClusterInfo {
            store: self.store.kind(),
            shards: SHARDS.into(),
            nodes: directory::nodes(&view, &own, &pings.unwrap_or_default()),
            owners: directory::owners(&view),
            generation: view.generation.as_ref().map_or_else(String::new, |made| made.id.clone()),
            answered_by: self.name.clone(),
            store_members: self.store.members(),
            moves: self
                .insight
                .as_ref()
                .map(|insight| Arc::clone(&insight.moves.borrow()))
                .unwrap_or_default(),
        }
    }

    /// Refuses an org that nobody declared, where such are refused.
    fn admit(&self, org: &OrgId) -> Result<(), NodeError> {
        let refuses = self.settings.config().unknown.orgs == Unknown::Refuse;
        if refuses && !self.settings.is_declared(org) {
            return Err(NodeError::UnknownOrg);
        }
        Ok(())
    }

    /// A permit's name, and its life from the moment at which the client sent
    /// this request: what it has waited here is added, so that the client's
    /// deadline is never later than ours.
    fn permit(&self, org: &OrgId, permit: Box<Permit>, arrived: Mono) -> Decision {
        match permit.key {
            Some(key) => {
                let id = PermitId { org: org.clone(), epoch: permit.epoch, key };
                let ttl = permit.decided.since(arrived) + permit.life_left;
                Decision::Permit { id: Some(id), ttl, permit }
            }
            None => Decision::Permit { id: None, ttl: Duration::ZERO, permit },
        }
    }
}

fn parse(permit_id: &str) -> Result<PermitId, NodeError> {
    permit_id.parse().map_err(|_| NodeError::GarbledPermit)
}

impl From<AskError> for NodeError {
    fn from(error: AskError) -> Self {
        Self::Ask(error)
    }
}

impl From<PermitOfAnother> for NodeError {
    fn from(_: PermitOfAnother) -> Self {
        Self::PermitOfAnother
    }
}

impl From<NoLedger> for NodeError {
    fn from(error: NoLedger) -> Self {
        match error {
            NoLedger::TooManyOrgs => Self::TooManyOrgs,
            NoLedger::NotOwned => Self::NotOwner,
        }
    }
}

/// A stream of one org's usage.
#[derive(Debug)]
pub struct UsageWatch {
    shards: Arc<Shards>,
    routes: Routes,
    org: OrgId,
    told: Option<Usage>,
}

impl UsageWatch {
    /// The next event: at most one a second; `None` when the service stops, or
    /// the org is not served here any more.
    pub async fn next(&mut self) -> Option<UsageEvent> {
        loop {
            if self.told.is_some() {
                tokio::time::sleep(WATCH_EVERY).await;
            }
            if self.shards.is_stopping() {
                return None;
            }
            let usage = self.shards.usage(&self.org);
            if !self.routes.is_here(&self.org) {
                return None;
            }
            if let Some(event) = self.event(&usage) {
                self.told = Some(usage);
                return Some(event);
            }
        }
    }

    /// What is new; `None` if nothing is. A new owner's ledger counts its
    /// transitions anew, so it begins with a snapshot.
    fn event(&self, usage: &Usage) -> Option<UsageEvent> {
        let now = usage.now;
        let snapshot = |transitions| UsageEvent {
            usage: usage.usage.clone(),
            snapshot: true,
            transitions,
            now,
        };
        let Some(told) = &self.told else { return Some(snapshot(Vec::new())) };
        if told.epoch != usage.epoch {
            return Some(snapshot(self.shards.transitions_after(&self.org, 0)));
        }
        let transitions = if usage.last_transition > told.last_transition {
            self.shards.transitions_after(&self.org, told.last_transition)
        } else {
            Vec::new()
        };
        // Forecasts change all the time: they are no news by themselves.
        let (before, after) = (told.usage.without_forecasts(), usage.usage.without_forecasts());
        if before == after && transitions.is_empty() {
            return None;
        }
        let mut changed = usage.usage.clone();
        changed.limits = news(changed.limits, &before.limits, &after.limits);
        changed.workspaces = news(changed.workspaces, &before.workspaces, &after.workspaces);
        changed.users = news(changed.users, &before.users, &after.users);
        changed.queue = changed.queue.filter(|_| before.queue != after.queue);
        Some(UsageEvent { usage: changed, snapshot: false, transitions, now })
    }
}

/// Of what is shown, that of which the facts were not known before.
fn news<T: PartialEq>(shown: Vec<T>, before: &[T], facts: &[T]) -> Vec<T> {
    let with_facts = shown.into_iter().zip(facts);
    with_facts.filter(|(_, facts)| !before.contains(facts)).map(|(shown, _)| shown).collect()
}
