//! What is written about a group of counters, in the domain's own terms; its
//! bytes are the store's business.

use std::time::Duration;

use super::{Class, LimitName, UserId, WorkspaceId, catalogue::Kind, time::Wall};

/// Whose counters share one record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// The org's own.
    Org,
    /// One execution user's.
    User(UserId),
    /// One workspace's.
    Workspace(WorkspaceId),
}

/// The record of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupRecord {
    /// The epoch of the writer.
    pub epoch: u64,
    /// Counts the writes within an epoch.
    pub seq: u64,
    /// The settings that were in force.
    pub config_revision: u64,
    /// The counters.
    pub counters: Vec<CounterRecord>,
    /// What others use, for the org's total.
    pub foreign: Option<ForeignRecord>,
    /// Classes that are paused.
    pub paused: Vec<Class>,
    /// The writer's wall clock at the write.
    pub written: Wall,
}

/// One counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterRecord {
    /// The limit.
    pub limit: LimitName,
    /// Window or slots.
    pub kind: Kind,
    /// The window that was in force.
    pub window: Duration,
    /// The longest permit life that was in force.
    pub ttl_cap: Duration,
    /// Spent units by stamp, whole milliseconds, rising.
    pub sealed: Vec<(Wall, u64)>,
    /// Units of open blocks that crashes lost, by stamp.
    pub lost: Vec<(Wall, u64)>,
    /// Units set aside for grants.
    pub open: u64,
    /// No grant from them is made after this.
    pub open_until: Wall,
    /// All that the writer's settings allowed to be counted and set aside;
    /// `None` for a workspace's counters, which bound no reservation. What stands
    /// in the store can be audited by it alone.
    pub bound: Option<u64>,
}

/// The estimate of what other integrations use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForeignRecord {
    /// Units.
    pub estimate: u64,
    /// The answer time of the reading.
    pub as_of: Wall,
    /// The limit that the reading carried.
    pub limit: Option<u64>,
    /// Units that the reading showed as used; 0 is unknown.
    pub used: u64,
}
