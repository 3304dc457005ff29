//! Operations and the limits that each charges: data, never code.

use std::{collections::BTreeMap, time::Duration};

use super::{BurnLimit, LimitName, OperationId, time::micros};

/// Whose counter a limit has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// One per Salesforce org.
    Org,
    /// One per workspace of an org.
    Workspace,
    /// One per execution user of an org.
    ExecutionUser,
}

/// What a limit bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Units in every interval of a length.
    Window,
    /// Calls at the same time.
    Concurrency,
}

/// Where the number of a limit comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Max {
    /// The catalogue says it.
    Fixed(u64),
    /// The org's `daily_calls`, or what Salesforce's header says.
    OrgDaily,
    /// The org's `concurrent_calls`.
    OrgConcurrent,
}

/// How many units one call takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// One.
    One,
    /// The request's `cost`.
    Request,
}

/// One limit that an operation charges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// The limit's name.
    pub limit: LimitName,
    /// Whose.
    pub scope: Scope,
    /// Window or slots.
    pub kind: Kind,
    /// The number.
    pub max: Max,
    /// The window's length; for slots the longest time a call may hold one.
    pub window: Duration,
    /// Units per call.
    pub cost: Cost,
    /// In shadow it is counted and reported, and refuses nothing.
    pub shadow: bool,
}

impl Charge {
    /// The org's total: `daily_calls` in any 24 hours, counted in units of cost.
    #[must_use]
    pub fn org_total() -> Self {
        Self {
            limit: LimitName::calls(),
            scope: Scope::Org,
            kind: Kind::Window,
            max: Max::OrgDaily,
            window: DAY,
            cost: Cost::Request,
            shadow: false,
        }
    }

    /// A workspace's cap: counted in units of cost in any 24 hours.
    #[must_use]
    pub fn workspace_cap() -> Self {
        Self { scope: Scope::Workspace, ..Self::org_total() }
    }

    /// The limit of a workspace that brakes run-away jobs: counted in units of
    /// cost in a time of its policy's choice.
    #[must_use]
    pub fn burn_limit(burn: BurnLimit) -> Self {
        Self {
            limit: LimitName::burn(),
            max: Max::Fixed(burn.calls),
            window: burn.window,
            ..Self::workspace_cap()
        }
    }

    /// True for the limits that a workspace has by its policy: its cap and its
    /// burn limit. They are gates at the grant and bound no reservation.
    #[must_use]
    pub fn is_own_of_workspace(&self) -> bool {
        self.scope == Scope::Workspace
            && (self.limit == LimitName::calls() || self.limit == LimitName::burn())
    }

    /// True for the org's total, the one limit that others also move.
    #[must_use]
    pub fn is_org_total(&self) -> bool {
        self.scope == Scope::Org && self.max == Max::OrgDaily
    }

    /// The longest life of a permit that this limit allows: half of the window,
    /// at most five minutes.
    #[must_use]
    pub fn ttl_cap(&self) -> Duration {
        Duration::from_micros(micros(self.window) / 2).min(MAX_TTL)
    }
}

/// Twenty-four hours.
pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// No permit lives longer than this.
pub const MAX_TTL: Duration = Duration::from_secs(5 * 60);

/// How long a call may hold a concurrency slot where the catalogue does not say.
pub const DEFAULT_MAX_DURATION: Duration = Duration::from_secs(10 * 60);

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Its limits, in the order of the catalogue. A workspace's cap is charged
    /// besides, for every operation.
    pub charges: Vec<Charge>,
}

impl Operation {
    /// The life of a permit where the request gives none: 5 s where the
    /// shortest window is at most a minute, 30 s where at most an hour, else
    /// 60 s.
    #[must_use]
    pub fn default_ttl(&self) -> Duration {
        let shortest = self
            .charges
            .iter()
            .filter(|charge| charge.kind == Kind::Window)
            .map(|charge| charge.window)
            .min()
            .unwrap_or(DAY);
        Duration::from_secs(match shortest.as_secs() {
            ..=60 => 5,
            61..=3600 => 30,
            _ => 60,
        })
    }
}

/// All operations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// By name.
    pub operations: BTreeMap<OperationId, Operation>,
}

impl Catalogue {
    /// One operation.
    #[must_use]
    pub fn get(&self, operation: &OperationId) -> Option<&Operation> {
        self.operations.get(operation)
    }
}
