//! Who used an org's quota, and what was asked for: for people who look at it
//! and for trying other limits on it. Nothing is decided by it, and nothing of
//! it is recorded: it counts anew in each life of a ledger.
//!
//! `series` counts by time, `top` keeps the heaviest users of a table, `demand`
//! keeps what was asked, granted and refused by the minute, `history` how far the
//! total was used.

mod demand;
mod history;
mod series;
mod top;

use std::{hash::Hash, sync::Arc};

use self::{demand::Demand, history::History, series::Series, top::Top};
pub use self::{
    demand::{DemandKey, DemandMinute, DemandSeries, MAX_CELLS, MAX_KEYS, RefusedFor},
    history::{HistoryPoint, INTERVAL_SECS, Level, MAX_POINTS},
    series::{Periods, Use},
    top::LISTED,
};
use super::{Ask, Class, DenialReason, Mono, Now, OperationId, UserId, Wall, WorkspaceId};

/// One org's attribution. It takes no memory while nobody asks.
#[derive(Clone, Debug)]
pub struct Attribution {
    /// Both clocks at its beginning: its buckets begin at full minutes of the
    /// wall clock as it was then, and a later step of that clock moves nothing.
    began: Now,
    counted: Option<Box<Counted>>,
    history: History,
}

#[derive(Clone, Debug, Default)]
struct Counted {
    total: Series,
    workspaces: Top<Option<WorkspaceId>>,
    classes: Top<Class>,
    operations: Top<OperationId>,
    users: Top<Option<UserId>>,
    callers: Top<Option<Arc<str>>>,
    demand: Demand,
}

/// Who asked, what for, and what one call takes: kept with each permit.
#[derive(Clone, Debug)]
pub struct Origin {
    workspace: Option<WorkspaceId>,
    class: Class,
    operation: OperationId,
    caller: Option<Arc<str>>,
    cost: u32,
}

impl Origin {
    /// That of an ask.
    #[must_use]
    pub fn of(ask: &Ask) -> Self {
        Self {
            workspace: ask.workspace.clone(),
            class: ask.class,
            operation: ask.operation.clone(),
            caller: ask.caller.clone(),
            cost: ask.cost,
        }
    }

    fn demand_key(&self) -> DemandKey {
        let Self { workspace, class, operation, .. } = self;
        DemandKey { workspace: workspace.clone(), class: *class, operation: operation.clone() }
    }

    fn used(&self, calls: u32) -> Use {
        let units = u64::from(calls) * u64::from(self.cost);
        Use { units, calls: calls.into(), refused_calls: 0 }
    }
}

/// By what use is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// The workspace that pays.
    Workspace,
    /// The traffic class.
    Class,
    /// The operation.
    Operation,
    /// The execution user.
    User,
    /// The name that a caller gives itself.
    Caller,
}

/// Attribution as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributionView {
    /// Nothing from before is known.
    pub since: Wall,
    /// The org's use.
    pub total: Periods,
    /// One for each [`Dimension`].
    pub tables: Vec<TableView>,
}

/// Use by one dimension. What is listed and the rest make up the org's use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableView {
    /// The dimension.
    pub dimension: Dimension,
    /// The heaviest, at most [`LISTED`]: by the last hour, then the last day.
    pub consumers: Vec<Consumer>,
    /// All others together.
    pub others: Periods,
    /// Nobody has used more units in the last day than this beyond what is
    /// listed for it; 0: the list is exact and nobody is missing.
    pub missing_at_most: u64,
}

/// One user of quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// The name; empty where none was given.
    pub name: Arc<str>,
    /// Its use.
    pub periods: Periods,
}

/// Demand as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemandView {
    /// Nothing from before is known.
    pub since: Wall,
    /// By key, then the rest, if there is one.
    pub series: Vec<DemandSeries>,
    /// The org's total, oldest first; nothing where one workspace is asked for.
    pub history: Vec<HistoryPoint>,
}

impl Attribution {
    /// Counts from now on.
    #[must_use]
    pub fn new(now: Now) -> Self {
        Self { began: now, counted: None, history: History::default() }
    }

    /// The moment since which it counts.
    #[must_use]
    pub fn began(&self) -> Mono {
        self.began.mono
    }

    /// Calls are asked for. A request that waits is asked once.
    pub fn asked(&mut self, now: Mono, origin: &Origin, calls: u32) {
        let units = origin.used(calls).units;
        self.note_demand(now, origin, |minute| {
            saturating_add(&mut minute.asked_calls, calls.into());
            saturating_add(&mut minute.asked_units, units);
        });
    }

    /// Calls were granted.
    pub fn granted(&mut self, now: Mono, origin: &Origin, user: Option<&UserId>, calls: u32) {
        let used = origin.used(calls);
        self.add(now, origin, user, used, used.units);
        self.note_demand(now, origin, |minute| {
            saturating_add(&mut minute.granted_calls, used.calls);
            saturating_add(&mut minute.granted_units, used.units);
        });
    }

    /// Calls were refused.
    pub fn refused(
        &mut self,
        now: Mono,
        origin: &Origin,
        user: Option<&UserId>,
        calls: u32,
        why: RefusedFor,
    ) {
        let refused = Use { refused_calls: calls.into(), ..Use::default() };
        // A request weighs one, however much it asks for: who is refused a lot
        // is listed, but does not drive out who has used a lot.
        self.add(now, origin, user, refused, 1);
        self.note_demand(now, origin, |minute| {
            saturating_add(minute.refused_mut(why), calls.into());
        });
    }

    /// Calls that were granted then were never sent.
    pub fn returned(&mut self, granted: Mono, origin: &Origin, user: Option<&UserId>, calls: u32) {
        let then = self.seconds(granted);
        let back = origin.used(calls);
        let Some(counted) = &mut self.counted else { return };
        counted.total.take_back(then, back);
        counted.workspaces.take_back(then, &origin.workspace, back);
        counted.classes.take_back(then, &origin.class, back);
        counted.operations.take_back(then, &origin.operation, back);
        counted.users.take_back(then, &user.cloned(), back);
        counted.callers.take_back(then, &origin.caller, back);
        counted.demand.correct(then, &origin.demand_key(), |minute| {
            saturating_sub(&mut minute.granted_calls, back.calls);
            saturating_sub(&mut minute.granted_units, back.units);
        });
    }

    /// Frees what is older than a day. True if nothing is left.
    pub fn sweep(&mut self, now: Mono) -> bool {
        let at = self.seconds(now);
        if self.counted.as_mut().is_some_and(|counted| counted.sweep(at)) {
            self.counted = None;
            // Nobody has asked for anything in a day: nothing of it is left.
            self.history.clear();
        }
        self.counted.is_none()
    }

    /// Everybody's use.
    pub fn view(&mut self, now: Mono) -> AttributionView {
        let at = self.seconds(now);
        let mut counted = self.counted.as_deref_mut();
        let mut unused = Counted::default();
        let counted = counted.get_or_insert(&mut unused);
        let total = counted.total.periods(at);
        let named = |name: Option<&str>| name.unwrap_or_default().into();
        let tables = vec![
            table(Dimension::Workspace, &mut counted.workspaces, at, total, |id| {
                named(id.as_ref().map(WorkspaceId::as_str))
            }),
            table(Dimension::Class, &mut counted.classes, at, total, |class| class.name().into()),
            table(Dimension::Operation, &mut counted.operations, at, total, |id| {
                id.as_str().into()
            }),
            table(Dimension::User, &mut counted.users, at, total, |id| {
                named(id.as_ref().map(UserId::as_str))
            }),
            table(Dimension::Caller, &mut counted.callers, at, total, |name| {
                named(name.as_deref())
            }),
        ];
        AttributionView { since: self.began.wall, total, tables }
    }

    /// What was asked, granted and refused, by the minute: of one workspace
    /// (`Some(None)`: of requests without one) or of all, from a moment on.
    pub fn demand(
        &mut self,
        now: Mono,
        workspace: Option<&Option<WorkspaceId>>,
        from: Option<Wall>,
    ) -> DemandView {
        let at = self.seconds(now);
        let demand = self.counted.as_mut().map(|counted| &mut counted.demand);
        let series = demand.map(|demand| demand.view(at, workspace, from));
        let all = workspace.is_none();
        let from = from.map_or(0, |from| from.0 / 1_000_000);
        let history = if all { self.history.points(from, at) } else { Vec::new() };
        DemandView { since: self.began.wall, series: series.unwrap_or_default(), history }
    }

    /// The execution users of the last day, the heaviest at least.
    pub fn users(&mut self, now: Mono) -> Vec<UserId> {
        let at = self.seconds(now);
        let Some(counted) = &mut self.counted else { return Vec::new() };
        counted.users.sweep(at);
        counted.users.periods(at).filter_map(|(user, _)| user.clone()).collect()
    }

    /// Notes how far the org's total is used. `then` tells it for a moment since the
    /// last note, if nobody has used anything meanwhile.
    pub fn note_level(&mut self, now: Mono, level: Level, then: impl Fn(Mono) -> Level) {
        let (at, began) = (self.seconds(now), self.began);
        let then = |second: u64| then(began.mono_at(Wall(second * 1_000_000)));
        self.history.note(at, level, then);
    }

    fn add(&mut self, now: Mono, origin: &Origin, user: Option<&UserId>, used: Use, weight: u64) {
        let at = self.seconds(now);
        let counted = self.counted.get_or_insert_default();
        counted.total.add(at, used);
        counted.workspaces.add(at, &origin.workspace, used, weight);
        counted.classes.add(at, &origin.class, used, weight);
        counted.operations.add(at, &origin.operation, used, weight);
        counted.users.add(at, &user.cloned(), used, weight);
        counted.callers.add(at, &origin.caller, used, weight);
    }

    fn note_demand(&mut self, now: Mono, origin: &Origin, note: impl FnOnce(&mut DemandMinute)) {
        let at = self.seconds(now);
        self.counted.get_or_insert_default().demand.note(at, &origin.demand_key(), note);
    }

    /// Seconds since the Unix epoch, by the wall clock as it was at the
    /// beginning.
    fn seconds(&self, moment: Mono) -> u64 {
        self.began.wall_at(moment).0 / 1_000_000
    }
}

impl Counted {
    /// True if nothing is left.
    fn sweep(&mut self, at: u64) -> bool {
        self.workspaces.sweep(at);
        self.classes.sweep(at);
        self.operations.sweep(at);
        self.users.sweep(at);
        self.callers.sweep(at);
        self.demand.sweep(at);
        self.total.is_empty(at) && self.demand.is_empty()
    }
}

impl RefusedFor {
    /// The family of a denial's reason.
    #[must_use]
    pub const fn reason(reason: DenialReason) -> Self {
        match reason {
            DenialReason::ExecutionUserLimit => Self::ExecutionUser,
            DenialReason::WorkspaceClassPaused | DenialReason::WorkspaceLimit => Self::Workspace,
            DenialReason::OrgLimit => Self::Org,
            DenialReason::ConcurrencyLimit => Self::Concurrency,
            DenialReason::CoolingDown | DenialReason::QueueFull => Self::Other,
        }
    }
}

fn table<K: Clone + Eq + Hash>(
    dimension: Dimension,
    top: &mut Top<K>,
    at: u64,
    total: Periods,
    name: impl Fn(&K) -> Arc<str>,
) -> TableView {
    top.sweep(at);
    let mut others = total;
    let mut consumers = Vec::new();
    for (key, periods) in top.periods(at) {
        others.subtract(periods);
        consumers.push(Consumer { name: name(key), periods });
    }
    let rank = |consumer: &Consumer| {
        let Periods { hour, day, .. } = consumer.periods;
        (hour.units, day.units, hour.refused_calls, day.refused_calls)
    };
    consumers.sort_by(|a, b| rank(b).cmp(&rank(a)).then_with(|| a.name.cmp(&b.name)));
    TableView { dimension, consumers, others, missing_at_most: top.missing_at_most(at) }
}

/// Figures of demand are narrow: a minute in which more than 4 billion units are
/// asked for shows as many.
fn saturating_add(figure: &mut u32, more: u64) {
    *figure = figure.saturating_add(u32::try_from(more).unwrap_or(u32::MAX));
}

fn saturating_sub(figure: &mut u32, less: u64) {
    *figure = figure.saturating_sub(u32::try_from(less).unwrap_or(u32::MAX));
}

#[cfg(test)]
mod tests;
