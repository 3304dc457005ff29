//! What is declared for an org, and the policy that follows from it.

use std::{collections::BTreeMap, time::Duration};

use super::{ClassPolicy, OrgId, UserId, WorkspaceId};

/// What happens to a name that nobody declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// It is counted (an org takes the template).
    Accept,
    /// The request is refused: NOT_FOUND.
    Refuse,
}

/// The policy of one workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkspacePolicy {
    /// Its cap in units in any 24 hours; `None` is no cap.
    pub daily_calls: Option<u64>,
    /// When its classes pause and resume.
    pub classes: ClassPolicy,
    /// Its share of what workspaces contend for, against the others' weights, 1
    /// to 1,000.
    pub weight: u32,
    /// Units of the org's total in any 24 hours that no other workspace may
    /// take.
    pub guaranteed_calls: u64,
    /// A brake for run-away jobs.
    pub burn_limit: Option<BurnLimit>,
    /// Its cap is counted and reported, and refuses nothing.
    pub shadow: bool,
}

/// At most so many units in a time, whatever else there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BurnLimit {
    /// Units.
    pub calls: u64,
    /// In any interval of this length.
    pub window: Duration,
}

impl Default for WorkspacePolicy {
    fn default() -> Self {
        Self {
            daily_calls: None,
            classes: ClassPolicy::default(),
            weight: 1,
            guaranteed_calls: 0,
            burn_limit: None,
            shadow: false,
        }
    }
}

/// Everything that decisions about one org depend on, besides the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrgPolicy {
    /// The org.
    pub org: OrgId,
    /// The org's total in any 24 hours, until the first reading.
    pub daily_calls: u64,
    /// The most that is used whatever a reading says.
    pub daily_calls_max: Option<u64>,
    /// Slots for long-running requests.
    pub concurrent_calls: u64,
    /// Percent of the total that is kept for foreign traffic.
    pub reserve_percent: u32,
    /// Percent of every limit that the service never grants, for clients to use
    /// by themselves when it cannot be reached.
    pub outage_share: u32,
    /// How long Salesforce's own figure lags behind.
    pub header_lag: Duration,
    /// The pool of execution users, sorted, without repeats.
    pub pool: Vec<UserId>,
    /// The declared workspaces.
    pub workspaces: BTreeMap<WorkspaceId, WorkspacePolicy>,
    /// Thresholds of workspaces that are not declared (they have no cap, so
    /// this matters for what is shown only).
    pub classes: ClassPolicy,
    /// Whether a workspace that is not declared is served.
    pub unknown_workspaces: Unknown,
    /// Whether a user outside the pool is served.
    pub unknown_users: Unknown,
    /// Names this state of the settings; written into records.
    pub revision: u64,
}
