//! What is written about a group of counters, in the domain's own terms; its
//! bytes are the store's business.

use std::time::Duration;

use super::{
    Class, LimitName, UserId, WorkspaceId, catalogue::Kind, decision::CoolingCause, time::Wall,
};

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
    /// What was told of the workspace, where that is not what holds: no owner
    /// tells the same again, and none forgets to tell.
    pub told: Option<ToldRecord>,
}

/// What those who listen believe of a workspace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToldRecord {
    /// The classes that they believe to be paused.
    pub paused: Vec<Class>,
    /// The highest warning that they have had and that still holds.
    pub warned: Warned,
}

/// How far a workspace has been warned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Warned {
    /// Not at all.
    #[default]
    Nothing,
    /// That it approaches its cap.
    Approaching,
    /// That it has reached it.
    Reached,
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
    /// Salesforce has told it to stop.
    pub cooling: Option<CoolingRecord>,
}

/// The cooling-down of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoolingRecord {
    /// What Salesforce said.
    pub cause: CoolingCause,
    /// Since when.
    pub since: Wall,
    /// When the next probe goes, or when it opens by itself.
    pub until: Wall,
    /// How often Salesforce has said so since.
    pub attempts: u32,
    /// One call was out to see whether it still holds.
    pub probe_out: bool,
    /// Slots that are not given out for now.
    pub lowered: u64,
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
}
