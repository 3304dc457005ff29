//! Where a request is decided: here. The only place that knows which part of
//! this process answers for an org.

use std::{sync::Arc, time::Duration};

use crate::{
    config::{Config, Fault, OrgDeclaration, WorkspaceDeclaration},
    quota::{
        Ask, AskError, Denial, Mono, Now, OrgId, OrgUsage, Permit, Released, Report, Reported,
        Transition, UserId, Wall, WorkspaceId,
    },
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
    /// Nobody can decide now.
    #[error("nobody can decide now: {reason}")]
    Unavailable {
        /// Why, for people.
        reason: String,
        /// When to try again.
        retry_after: Duration,
    },
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
        /// Opaque and routable; empty for a check.
        permit_id: String,
        /// `waited + life_left`; zero for a check.
        ttl: Duration,
        /// The rest.
        permit: Permit,
    },
    /// They may not.
    Denial(Denial),
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
}

/// One entry of the audit list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When.
    pub time: Wall,
    /// Who.
    pub who: String,
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

/// The facts of `GetCluster` on one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterInfo {
    /// "memory", "file" or "etcd".
    pub store: &'static str,
    /// The number of shards.
    pub shards: u32,
    /// This node's name.
    pub node: String,
    /// Where clients reach it.
    pub address: String,
    /// Orgs in memory.
    pub orgs: u32,
    /// When it started.
    pub started: Wall,
    /// The lowest and the highest epoch of its shards.
    pub epochs: (u64, u64),
}

/// This process's part of the service.
#[derive(Debug)]
pub struct Node {}

/// A stream of one org's usage.
#[derive(Debug)]
pub struct UsageWatch {}

impl UsageWatch {
    /// The next event: at most one a second; `None` when the service stops.
    pub async fn next(&mut self) -> Option<UsageEvent> {
        unimplemented!()
    }
}

impl Node {
    /// Both clocks.
    pub fn now(&self) -> Now {
        unimplemented!()
    }
    /// The address of this node for clients (`quotagate-owner` metadata).
    pub fn address(&self) -> &str {
        unimplemented!()
    }
    /// True while requests can be decided (for readiness).
    pub fn is_ready(&self) -> bool {
        unimplemented!()
    }
    /// Decides an ask; waits up to `ask.max_wait`. Dropping the future leaves the queue.
    /// `arrived`: when this request reached the service.
    pub async fn acquire(
        &self,
        org: &OrgId,
        ask: Ask,
        arrived: Mono,
    ) -> Result<Decided, NodeError> {
        unimplemented!()
    }
    /// Gives back calls.
    pub async fn release(
        &self,
        permit_id: &str,
        unused: Option<u32>,
    ) -> Result<Released, NodeError> {
        unimplemented!()
    }
    /// Settles calls of a permit.
    pub async fn report(&self, permit_id: &str, report: Report) -> Result<Reported, NodeError> {
        unimplemented!()
    }
    /// Takes a reading without a permit.
    pub async fn report_org(&self, org: &OrgId, report: Report) -> Result<Reported, NodeError> {
        unimplemented!()
    }
    /// One org's usage. Never creates an org: an accepted unknown one shows its template, unused.
    pub async fn usage(&self, org: &OrgId) -> Result<(OrgUsage, Now), NodeError> {
        unimplemented!()
    }
    /// One org's usage, as it changes.
    pub fn watch(&self, org: &OrgId) -> Result<UsageWatch, NodeError> {
        unimplemented!()
    }
    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        unimplemented!()
    }
    /// Takes over a new configuration (file reload).
    pub async fn reconfigure(&self, config: Config) {
        unimplemented!()
    }
    /// Orgs after `after`, by name, at most `limit`; true if there are more.
    pub fn list_orgs(&self, after: Option<&OrgId>, limit: usize) -> (Vec<OrgEntry>, bool) {
        unimplemented!()
    }
    /// One org and its last changes, newest first.
    pub fn get_org(&self, org: &OrgId) -> Option<(OrgEntry, Vec<Change>)> {
        unimplemented!()
    }
    /// Carries out an administrator's change; answers when it is in force.
    pub async fn administer(
        &self,
        org: &OrgId,
        change: AdminChange,
        etag: Option<&str>,
        validate_only: bool,
        who: &str,
    ) -> Result<OrgEntry, AdminError> {
        unimplemented!()
    }
    /// The cluster, as far as there is one.
    pub fn cluster(&self) -> ClusterInfo {
        unimplemented!()
    }
}
