//! The core: no clock, no network, no randomness, no threads. Every decision
//! about quota is made here, from arguments alone.

pub mod attribution;
pub mod catalogue;
pub mod class;
pub mod decision;
pub mod event;
pub mod figures;
pub mod ids;
pub mod ledger;
pub mod policy;
mod ranges;
pub mod record;
pub mod replay;
pub mod rules;
pub mod salesforce;
#[cfg(test)]
pub(crate) mod sim;
mod tight;
pub mod time;
mod window;

pub use self::{
    attribution::{
        AttributionView, Consumer, DemandKey, DemandMinute, DemandSeries, DemandView, Dimension,
        HistoryPoint, Level, Periods, RefusedFor, TableView, Use,
    },
    catalogue::{Catalogue, Charge, Kind, Operation, Scope},
    class::{Class, ClassPolicy, Thresholds},
    decision::{
        Advice, Ask, AskError, ClassState, ClassStatus, CoolingCause, CoolingLine, CoolingUsage,
        Denial, DenialReason, LimitExplanation, LimitUsage, Limits, OrgGlance, OrgLine, OrgUsage,
        Outcome, Permit, PermitKey, PermitOfAnother, QueueUsage, Queued, Reading, Released, Report,
        Reported, RequestKey, SeenReading, Teller, Transition, UserUsage, WaitsFor, Warning,
        WorkspaceUsage,
    },
    event::{Event, EventKind, Happening},
    ids::{BadId, LimitName, OperationId, OrgId, RequestId, UserId, WorkspaceId, caller_name},
    ledger::{Answer, GroupWrite, Ledger, ReserveOutcome, Standing, Stored, WaiterId},
    policy::{BurnLimit, OrgPolicy, Unknown, WorkspacePolicy},
    record::{CoolingRecord, CounterRecord, ForeignRecord, Group, GroupRecord, ToldRecord, Warned},
    rules::Rules,
    time::{Mono, Now, Wall},
};
