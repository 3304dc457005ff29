//! The core: no clock, no network, no randomness, no threads. Every decision
//! about quota is made here, from arguments alone.

pub mod catalogue;
pub mod class;
pub mod decision;
pub mod ids;
pub mod ledger;
pub mod policy;
mod ranges;
pub mod record;
pub mod rules;
pub mod salesforce;
#[cfg(test)]
pub(crate) mod sim;
pub mod time;
mod window;

pub use self::{
    catalogue::{Catalogue, Charge, Kind, Operation, Scope},
    class::{Class, ClassPolicy, Thresholds},
    decision::{
        Ask, AskError, ClassState, ClassStatus, Denial, DenialReason, LimitUsage, OrgUsage,
        Outcome, Permit, PermitKey, Reading, Released, Report, Reported, RequestKey, SeenReading,
        Transition, UserUsage, Warning, WorkspaceUsage,
    },
    ids::{BadId, LimitName, OperationId, OrgId, RequestId, UserId, WorkspaceId},
    ledger::{Answer, GroupWrite, Ledger, ReserveOutcome, Standing, Stored, WaiterId},
    policy::{BurnLimit, OrgPolicy, Unknown, WorkspacePolicy},
    record::{CounterRecord, ForeignRecord, Group, GroupRecord},
    rules::Rules,
    time::{Mono, Now, Wall},
};
