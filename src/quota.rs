//! The core: no clock, no network, no randomness, no threads. Every decision
//! about quota is made here, from arguments alone.

pub mod catalogue;
pub mod class;
pub mod decision;
pub mod ids;
pub mod policy;
pub mod record;
pub mod salesforce;
pub mod time;

pub use self::{
    catalogue::{Catalogue, Charge, Kind, Operation, Scope},
    class::{Class, ClassPolicy, Thresholds},
    decision::{
        Ask, AskError, ClassState, ClassStatus, Denial, DenialReason, LimitUsage, OrgUsage,
        Outcome, Permit, PermitKey, Reading, Released, Report, Reported, RequestKey, Transition,
        UserUsage, Warning, WorkspaceUsage,
    },
    ids::{BadId, LimitName, OperationId, OrgId, RequestId, UserId, WorkspaceId},
    policy::{OrgPolicy, Unknown, WorkspacePolicy},
    record::{CounterRecord, ForeignRecord, Group, GroupRecord},
    time::{Mono, Now, Wall},
};
