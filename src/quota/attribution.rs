//! Who used an org's quota, and what was asked for: for people who look at it
//! and for trying other limits on it. Nothing is decided by it, and nothing of
//! it is recorded: it counts anew in each life of a ledger.
//!
//! `recent` puts together what is alike, for some seconds; then it comes into the
//! rest: `series` counts by time, `top` keeps the heaviest users of a table,
//! `demand` what was asked, granted and refused by the minute; names are compared by
//! their `mark` first. `history` keeps how far the total was used.

mod demand;
mod history;
mod mark;
mod recent;
mod series;
mod top;

use std::sync::Arc;

use self::{
    demand::Demand,
    history::History,
    mark::{Mark, Marked},
    recent::{Recent, Sort},
    series::{Series, TICK_SECS},
    top::Top,
};
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
    /// What `counted` has not been told yet.
    recent: Recent,
    counted: Option<Box<Counted>>,
    history: History,
    /// The end of the interval that was noted last.
    noted_until: Mono,
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

/// Who asked, what for, and what one call takes: kept with each permit, and shared
/// by those that are alike.
#[derive(Clone, Debug)]
pub struct Origin(Arc<Facts>);

#[derive(Clone, Debug)]
struct Facts {
    workspace: Option<WorkspaceId>,
    class: Class,
    operation: OperationId,
    caller: Option<Arc<str>>,
    cost: u32,
}

/// The same of a request, without taking hold of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker<'a> {
    class: Class,
    cost: u32,
    workspace: &'a Option<WorkspaceId>,
    operation: &'a OperationId,
    caller: &'a Option<Arc<str>>,
}

impl<'a> From<&'a Ask> for Asker<'a> {
    fn from(ask: &'a Ask) -> Self {
        let Ask { class, cost, workspace, operation, caller, .. } = ask;
        Self { class: *class, cost: *cost, workspace, operation, caller }
    }
}

impl Asker<'_> {
    fn mark(&self) -> Mark {
        let Self { class, cost, workspace, operation, caller } = self;
        let names =
            workspace.mark() ^ operation.mark().rotate_left(16) ^ caller.mark().rotate_left(32);
        names ^ class.mark().rotate_left(48) ^ u64::from(*cost)
    }

    fn mark_of_demand(&self) -> Mark {
        let Self { class, workspace, operation, .. } = self;
        workspace.mark() ^ operation.mark().rotate_left(16) ^ class.mark().rotate_left(48)
    }

    fn is_of(&self, key: &DemandKey) -> bool {
        *self.workspace == key.workspace
            && self.class == key.class
            && *self.operation == key.operation
    }

    fn demand_key(&self) -> DemandKey {
        let Self { workspace, class, operation, .. } = *self;
        DemandKey { workspace: workspace.clone(), class, operation: operation.clone() }
    }
}

impl Origin {
    fn of(asker: Asker<'_>) -> Self {
        let Asker { class, cost, workspace, operation, caller } = asker;
        let (workspace, operation) = (workspace.clone(), operation.clone());
        Self(Arc::new(Facts { workspace, class, operation, caller: caller.clone(), cost }))
    }

    /// The same of those who ask like it.
    #[must_use]
    pub fn asker(&self) -> Asker<'_> {
        let Facts { workspace, class, operation, caller, cost } = &*self.0;
        Asker { class: *class, cost: *cost, workspace, operation, caller }
    }

    fn units(&self, calls: u64) -> u64 {
        calls.saturating_mul(self.0.cost.into())
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
        Self {
            began: now,
            recent: Recent::default(),
            counted: None,
            history: History::default(),
            noted_until: Mono(0),
        }
    }

    /// The moment since which it counts.
    #[must_use]
    pub fn began(&self) -> Mono {
        self.began.mono
    }

    /// Calls are asked for. A request that waits is asked once. `user`: the one that
    /// it names.
    pub fn asked(&mut self, now: Mono, by: Asker<'_>, user: Option<&UserId>, calls: u32) {
        self.turn(now);
        // Demand is not told apart by users.
        let place = self.recent.find(by, None);
        let place = place.unwrap_or_else(|| self.insert(by, user.cloned()));
        self.recent.sort_mut(place).figures.asked += u64::from(calls);
    }

    /// Calls were granted. Returns what is to be kept with the permit.
    pub fn granted(
        &mut self,
        now: Mono,
        by: Asker<'_>,
        user: &Option<UserId>,
        calls: u32,
    ) -> Origin {
        let sort = self.sort(now, by, user);
        sort.figures.granted += u64::from(calls);
        sort.origin.clone()
    }

    /// Calls were refused.
    pub fn refused(
        &mut self,
        now: Mono,
        by: Asker<'_>,
        user: &Option<UserId>,
        calls: u32,
        why: RefusedFor,
    ) {
        self.sort(now, by, user).figures.refuse(calls.into(), why);
    }

    /// Calls that were granted then were never sent.
    pub fn returned(&mut self, granted: Mono, origin: &Origin, user: &Option<UserId>, calls: u32) {
        let calls = u64::from(calls);
        if (self.recent.begins..self.recent.ends).contains(&granted)
            && let Some(place) = self.recent.find(origin.asker(), Some(user))
        {
            let granted = &mut self.recent.sort_mut(place).figures.granted;
            if let Some(left) = granted.checked_sub(calls) {
                *granted = left;
                return;
            }
        }
        self.tell();
        let then = self.seconds(granted);
        let Some(counted) = &mut self.counted else { return };
        counted.take_back(then, origin, user, calls);
    }

    /// Frees what is older than a day. True if nothing is left.
    pub fn sweep(&mut self, now: Mono) -> bool {
        self.tell();
        let at = self.seconds(now);
        if self.counted.as_mut().is_some_and(|counted| counted.sweep(at)) {
            self.counted = None;
            // Nobody has asked for anything in a day: nothing of it is left.
            self.history.clear();
            self.noted_until = Mono(0);
        }
        self.counted.is_none()
    }

    /// Everybody's use.
    pub fn view(&mut self, now: Mono) -> AttributionView {
        self.tell();
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
        self.tell();
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
        self.tell();
        let at = self.seconds(now);
        let Some(counted) = &mut self.counted else { return Vec::new() };
        counted.users.sweep(at);
        counted.users.periods(at).filter_map(|(user, _)| user.clone()).collect()
    }

    /// True if the use of the total was noted in the present interval.
    #[must_use]
    pub fn is_noted(&self, now: Mono) -> bool {
        now < self.noted_until
    }

    /// Notes how far the org's total is used. `then` tells it for a moment since the
    /// last note, if nobody has used anything meanwhile.
    pub fn note_level(&mut self, now: Mono, level: Level, then: impl Fn(Mono) -> Level) {
        let (at, began) = (self.seconds(now), self.began);
        let then = |second: u64| then(began.mono_at(Wall(second * 1_000_000)));
        self.history.note(at, level, then);
        let end = (at / INTERVAL_SECS + 1) * INTERVAL_SECS;
        self.noted_until = began.mono_at(Wall(end * 1_000_000));
    }

    /// The sort of a request that has its user.
    fn sort(&mut self, now: Mono, by: Asker<'_>, user: &Option<UserId>) -> &mut Sort {
        self.turn(now);
        let place = self.recent.find(by, Some(user));
        let place = place.unwrap_or_else(|| self.insert(by, user.clone()));
        self.recent.sort_mut(place)
    }

    fn insert(&mut self, by: Asker<'_>, user: Option<UserId>) -> usize {
        if self.recent.is_full() {
            self.tell();
            self.recent.forget();
        }
        self.recent.insert(by, user)
    }

    /// Begins another tick, if it is time: all that is counted at once is of one
    /// bucket.
    fn turn(&mut self, now: Mono) {
        if now < self.recent.ends {
            return;
        }
        self.tell();
        let at = self.seconds(now) / TICK_SECS * TICK_SECS;
        let mono = |second: u64| self.began.mono_at(Wall(second * 1_000_000));
        (self.recent.begins, self.recent.ends) = (mono(at), mono(at + TICK_SECS));
        self.recent.at = at;
    }

    /// Tells the tables what has happened since they were told last.
    fn tell(&mut self) {
        let counted = &mut self.counted;
        self.recent.tell(|at, sort| counted.get_or_insert_default().add(at, sort));
    }

    /// Seconds since the Unix epoch, by the wall clock as it was at the
    /// beginning.
    fn seconds(&self, moment: Mono) -> u64 {
        self.began.wall_at(moment).0 / 1_000_000
    }
}

impl Counted {
    fn add(&mut self, at: u64, sort: &Sort) {
        let Sort { origin, user, figures, .. } = sort;
        let Facts { workspace, class, operation, caller, .. } = &*origin.0;
        let (asked, granted) = (origin.units(figures.asked), origin.units(figures.granted));
        self.demand.note(at, origin.asker(), &DemandMinute::of(figures, asked, granted));
        let refused_calls = figures.refused_calls();
        let used = Use { units: granted, calls: figures.granted, refused_calls };
        // A request weighs one, however much it asks for: who is refused a lot
        // is listed, but does not drive out who has used a lot.
        let weight = granted.saturating_add(figures.refusals);
        if weight == 0 {
            return;
        }
        self.total.add(at, used);
        self.workspaces.add(at, workspace, used, weight);
        self.classes.add(at, class, used, weight);
        self.operations.add(at, operation, used, weight);
        self.users.add(at, user, used, weight);
        self.callers.add(at, caller, used, weight);
    }

    fn take_back(&mut self, then: u64, origin: &Origin, user: &Option<UserId>, calls: u64) {
        let Facts { workspace, class, operation, caller, .. } = &*origin.0;
        let back = Use { units: origin.units(calls), calls, refused_calls: 0 };
        self.total.take_back(then, back);
        self.workspaces.take_back(then, workspace, back);
        self.classes.take_back(then, class, back);
        self.operations.take_back(then, operation, back);
        self.users.take_back(then, user, back);
        self.callers.take_back(then, caller, back);
        self.demand.take_back(then, origin.asker(), calls, back.units);
    }

    /// True if nothing is left.
    fn sweep(&mut self, at: u64) -> bool {
        self.total.expire(at);
        self.workspaces.sweep(at);
        self.classes.sweep(at);
        self.operations.sweep(at);
        self.users.sweep(at);
        self.callers.sweep(at);
        self.demand.sweep(at);
        self.total.is_empty() && self.demand.is_empty()
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

fn table<K: Clone + Eq + Marked>(
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

#[cfg(test)]
mod tests;
