//! The ledgers that are alive in this process, and what they need of the world:
//! clocks, the store, randomness, wakers.
//!
//! `table` finds an org's ledger; `reserver` carries reserves to the store, in
//! the transactions that `batch` makes of them; `recover` takes shards over;
//! `lines` shows all orgs at once;
//! `shared` holds those that it is told to hold, where several processes share
//! the store; `sweep` frees what is idle; `wakes` calls when time alone changes something.

mod batch;
mod lines;
pub mod permit_id;
pub mod random;
mod recover;
mod reserver;
mod shared;
mod sweep;
mod table;
mod wakes;

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Mutex, oneshot, watch},
    task::JoinSet,
    time::timeout,
};

use self::{
    permit_id::PermitId,
    reserver::Asked,
    shared::Shared,
    table::{Cell, Inner, Table, Terms},
    wakes::Wakes,
};
pub use self::{recover::RecoverError, shared::ShardEvent};
use crate::{
    clock::Clock,
    metrics::Metrics,
    quota::{
        Answer, Ask, AskError, Catalogue, Class, DemandView, Event, Ledger, Mono, Now, OrgId,
        OrgPolicy, OrgUsage, Outcome, PermitOfAnother, Released, Report, Reported, Rules, Teller,
        Transition, WaiterId, Wall, WorkspaceId, replay::Recording,
    },
    store::{Shard, SharedStore, StoreError, keys::SHARDS, records::OwnerRecord, shard_of},
    trace::Span,
};

/// Requests that may wait in this process, over all orgs: so many of those that
/// may wait for room, and so many of those that may wait for the store only.
const MAX_WAITING: usize = 10_000;

/// Orgs that nobody declared, and that have counters.
const MAX_UNKNOWN_ORGS: usize = 10_000;

/// With more ledgers than this those of orgs that nobody declared are not kept
/// for the sake of what is remembered of them alone.
const MOST_REMEMBERED: usize = 1_000;

/// How long the writes of the end may take.
const HAND_OVER: Duration = Duration::from_secs(10);

/// Orgs that something is done with without letting requests in between.
const AT_ONCE: usize = 100;

/// How often a line of the log may say that a shared store works, or does not.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// Where policies come from.
pub trait Policies: Send + Sync + fmt::Debug + 'static {
    /// The policy of an org, declared or by the template.
    fn policy(&self, org: &OrgId) -> Arc<OrgPolicy>;
    /// The catalogue in force.
    fn catalogue(&self) -> Arc<Catalogue>;
    /// Whether somebody declared the org.
    fn is_declared(&self, org: &OrgId) -> bool;
}

/// Who is told of what happens by itself. Only the owner of an org tells.
pub trait Listener: Send + Sync + fmt::Debug + 'static {
    /// Takes an event; never waits: it is called under a ledger's lock.
    fn tell(&self, org: &OrgId, event: Event, now: Now);
}

/// All shards of this process.
#[derive(Debug)]
pub struct Shards {
    store: SharedStore,
    clock: Clock,
    metrics: Arc<Metrics>,
    policies: Arc<dyn Policies>,
    rules: Arc<Rules>,
    ownership: Ownership,
    table: Table,
    /// By the shard's number.
    states: Vec<ShardState>,
    wakes: Wakes,
    waiting: AtomicUsize,
    /// Those that wait for the store, and asked for no wait.
    waiting_for_store: AtomicUsize,
    /// False from a write that the store did not carry out to the next that it
    /// did.
    store_works: watch::Sender<bool>,
    /// When a change of it was last worth a line of the log.
    store_said: AtomicU64,
    /// How many shards are served; told whenever what becomes of one changes.
    owned: watch::Sender<usize>,
    draining: AtomicBool,
    stopping: watch::Sender<bool>,
    listener: OnceLock<Arc<dyn Listener>>,
}

/// How this process comes by its shards.
#[derive(Debug)]
enum Ownership {
    /// It has the store for itself: it takes all of them, under this name.
    Alone(OwnerRecord),
    /// Others share the store: it is told which.
    Shared(Shared),
}

/// What is known of one shard besides its ledgers.
#[derive(Debug, Default)]
struct ShardState {
    /// One of its ledgers panicked; it is to be read again. Only where this
    /// process has the store for itself.
    broken: AtomicBool,
    asked: Asked,
    /// Whoever has it may send a transaction of this shard.
    pen: Mutex<()>,
}

/// The tasks that keep the shards going.
#[derive(Debug)]
pub struct Running {
    shards: Arc<Shards>,
    tasks: JoinSet<()>,
}

/// Why an org has no ledger here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoLedger {
    /// The shard is not owned now.
    NotOwned,
    /// Too many orgs that nobody declared.
    TooManyOrgs,
}

impl Shards {
    /// Takes all shards of a store that no other process uses, and starts the
    /// tasks that serve them.
    ///
    /// # Errors
    /// What the store holds cannot be used, or it did not answer.
    pub async fn start(
        store: SharedStore,
        clock: Clock,
        metrics: Arc<Metrics>,
        policies: Arc<dyn Policies>,
        node: String,
    ) -> Result<Running, RecoverError> {
        let incarnation = format!("{:016x}", random::next());
        let owner = OwnerRecord { node, incarnation };
        let alone = Ownership::Alone(owner.clone());
        let shards = Arc::new(Self::new(store, clock, metrics, policies, alone));
        let all: Vec<Shard> = Shard::all().collect();
        shards.take_over(&owner, &all).await?;
        Ok(Running::spawn(shards))
    }

    fn new(
        store: SharedStore,
        clock: Clock,
        metrics: Arc<Metrics>,
        policies: Arc<dyn Policies>,
        ownership: Ownership,
    ) -> Self {
        Self {
            store,
            clock,
            metrics,
            policies,
            rules: Arc::default(),
            ownership,
            table: Table::default(),
            states: (0..SHARDS).map(|_| ShardState::default()).collect(),
            wakes: Wakes::default(),
            waiting: AtomicUsize::new(0),
            waiting_for_store: AtomicUsize::new(0),
            store_works: watch::channel(true).0,
            store_said: AtomicU64::new(0),
            owned: watch::Sender::new(0),
            draining: AtomicBool::new(false),
            stopping: watch::channel(false).0,
            listener: OnceLock::new(),
        }
    }

    /// Tells this listener of events from now on; the first one stays.
    pub fn listen(&self, listener: Arc<dyn Listener>) {
        if self.listener.set(listener).is_err() {
            tracing::error!("events have a listener already");
        }
    }

    /// Both clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        self.clock.now()
    }

    /// The monotonic clock alone: half the cost of both.
    #[must_use]
    pub fn mono(&self) -> Mono {
        self.clock.mono()
    }

    /// The machine's wall clock, to be compared with other machines'.
    #[must_use]
    pub fn wall_clock(&self) -> Wall {
        self.clock.wall()
    }

    /// Decides an ask, and waits where it says so. Dropping the future takes it
    /// out of the queue. Tells the clocks at the decision, too.
    ///
    /// # Errors
    /// The org has no ledger here.
    pub async fn acquire(&self, org: &OrgId, ask: &Ask) -> Result<(Outcome, Now), NoLedger> {
        let Ask { class, operation, calls, check_only: checks, .. } = ask;
        let (outcome, now) = self.decide(org, ask).await?;
        record(&outcome);
        if !checks {
            match &outcome {
                Outcome::Granted(permit) => self.metrics.granted(*class, operation, permit.calls),
                Outcome::Denied(denial) => {
                    self.metrics.denied(denial.reason, *class, operation, *calls);
                }
                Outcome::Failed(_) => {}
            }
        }
        Ok((outcome, now))
    }

    async fn decide(&self, org: &OrgId, ask: &Ask) -> Result<(Outcome, Now), NoLedger> {
        let (class, waits_for_room) = (ask.class, !ask.max_wait.is_zero());
        let asked = self.clock.mono();
        let answer = self.with(org, |cell, inner, now| {
            if self.is_shared() && (inner.ledger.is_stopped() || !self.may_grant(now.mono)) {
                return Err(NoLedger::NotOwned);
            }
            let may_park = self.count(waits_for_room).load(Ordering::Relaxed) < MAX_WAITING;
            Ok(match inner.ledger.acquire(now.mono, ask, random::next(), may_park) {
                Answer::Done(outcome) => Ok((outcome, now)),
                Answer::Parked(id) => {
                    let (tell, told) = oneshot::channel();
                    inner.waiters.entry(id).or_default().push(tell);
                    let cell = Arc::clone(cell);
                    Err((Waiting::new(self, cell, id, told, waits_for_room), now.mono))
                }
            })
        })??;
        let decided = match answer {
            Ok(decided) => decided,
            // Hardly any request waits, and each is moved about with what it might need.
            Err((waiting, since)) => Box::pin(self.wait(waiting, class, since)).await,
        };
        if !waits_for_room {
            self.metrics.decided(self.clock.mono().since(asked));
        }
        Ok(decided)
    }

    async fn wait(&self, waiting: Waiting<'_>, class: Class, since: Mono) -> (Outcome, Now) {
        let for_room = waiting.for_room;
        let span = Span::current().part(if for_room { "wait" } else { "wait for the store" });
        let outcome = waiting.outcome().await;
        drop(span);
        let now = self.clock.now();
        let waited = now.mono.since(since);
        if for_room {
            self.metrics.waited_for_room(class, waited);
        } else {
            self.metrics.waited_for_store(waited);
        }
        (outcome, now)
    }

    /// The requests that wait, of those that may wait for room, or of those that
    /// may wait for the store only: the first do not keep out the others.
    const fn count(&self, waits_for_room: bool) -> &AtomicUsize {
        if waits_for_room { &self.waiting } else { &self.waiting_for_store }
    }

    /// Gives back calls of a permit.
    ///
    /// # Errors
    /// The permit is another principal's.
    pub fn release(
        &self,
        id: &PermitId,
        unused: Option<u32>,
        by: &Teller,
    ) -> Result<Released, PermitOfAnother> {
        let released = self.with_live(&id.org, |_, inner, now| {
            if inner.ledger.epoch() != id.epoch {
                return None;
            }
            let released = inner.ledger.release(now.mono, id.key, unused, by);
            self.pump(inner, now.mono);
            Some(released)
        });
        let ended = Released::Returned { calls: 0, already_settled: true };
        let released = released.flatten().unwrap_or(Ok(ended))?;
        if let Released::Returned { calls, already_settled } = released {
            self.metrics.released(if already_settled { 0 } else { calls });
        }
        Ok(released)
    }

    /// Settles calls of a permit. A permit of a former epoch still feeds
    /// readings and cooling-down.
    ///
    /// # Errors
    /// The permit is another principal's.
    pub fn report(
        &self,
        id: &PermitId,
        report: &Report,
        by: &Teller,
    ) -> Result<Reported, PermitOfAnother> {
        let reported = self.with(&id.org, |_, inner, now| {
            let reported = if inner.ledger.epoch() == id.epoch {
                inner.ledger.report(now, id.key, report, by)
            } else {
                let advice = inner.ledger.report_without_permit(now, report, true, by);
                Ok(Reported { already_settled: true, class_state: None, advice })
            };
            self.pump(inner, now.mono);
            reported
        });
        let nothing = Reported { already_settled: true, ..Reported::default() };
        let reported = reported.unwrap_or(Ok(nothing))?;
        self.note_report(report);
        Ok(reported)
    }

    /// Takes what a client tells of a call that had no permit.
    ///
    /// # Errors
    /// The org has no ledger here.
    pub fn report_org(
        &self,
        org: &OrgId,
        report: &Report,
        by: &Teller,
    ) -> Result<Reported, NoLedger> {
        self.note_report(report);
        self.with(org, |_, inner, now| {
            let advice = inner.ledger.report_without_permit(now, report, false, by);
            self.pump(inner, now.mono);
            Reported { already_settled: false, class_state: None, advice }
        })
    }

    fn note_report(&self, report: &Report) {
        self.metrics.reported(report.is_answered());
        if let Some(trouble) = report.trouble {
            self.metrics.troubled(trouble.kind);
        }
    }

    /// One org's usage; that of an org without a ledger is its policy, unused.
    pub fn usage(&self, org: &OrgId) -> Usage {
        self.look(org, Usage::of)
    }

    /// The same, and who used it.
    pub fn attributed_usage(&self, org: &OrgId) -> Usage {
        self.look(org, |ledger, now| {
            let mut usage = Usage::of(ledger, now);
            usage.usage.attribution = Some(ledger.attribution(now.mono));
            usage
        })
    }

    /// What was asked of an org, by the minute: for one workspace (`Some(None)`:
    /// for none) or for all, from a moment on.
    pub fn demand(
        &self,
        org: &OrgId,
        workspace: Option<&Option<WorkspaceId>>,
        from: Option<Wall>,
    ) -> (DemandView, Now) {
        self.look(org, |ledger, now| (ledger.demand(now.mono, workspace, from), now))
    }

    /// All that is known of an org's last day.
    pub fn recording(&self, org: &OrgId) -> (Recording, Now) {
        self.look(org, |ledger, now| (ledger.recording(now.mono), now))
    }

    /// Looks at an org's ledger; at an unused one where there is none.
    fn look<T>(&self, org: &OrgId, look: impl Fn(&mut Ledger, Now) -> T) -> T {
        let seen = self.with_live(org, |_, inner, now| look(&mut inner.ledger, now));
        seen.unwrap_or_else(|| {
            let terms = Terms { epoch: 0, ..self.table.terms(shard_of(org)) };
            look(&mut self.ledger(org, terms, Vec::new()), self.clock.now())
        })
    }

    /// Class transitions of an org after a number.
    pub fn transitions_after(&self, org: &OrgId, number: u64) -> Vec<Transition> {
        self.with_live(org, |_, inner, _| inner.ledger.transitions_after(number))
            .unwrap_or_default()
    }

    /// Puts the present policies in force for the orgs that have a ledger.
    pub fn reconfigure(&self, orgs: &[OrgId]) {
        for org in orgs {
            self.with_live(org, |_, inner, now| {
                // Read under the lock: of two changes at a time the later one
                // stays in force.
                let (policy, catalogue) = (self.policies.policy(org), self.policies.catalogue());
                inner.ledger.configure(now.mono, policy, catalogue);
                self.pump(inner, now.mono);
            });
        }
    }

    /// The same for many orgs, with requests let in meanwhile.
    pub async fn reconfigure_all(&self, orgs: &[OrgId]) {
        for some in orgs.chunks(AT_ONCE) {
            self.reconfigure(some);
            tokio::task::yield_now().await;
        }
    }

    /// The orgs that have a ledger.
    #[must_use]
    pub fn orgs(&self) -> Vec<OrgId> {
        self.table.orgs()
    }

    /// How many they are.
    #[must_use]
    pub fn count_orgs(&self) -> usize {
        self.table.len()
    }

    /// Whether an org has one.
    #[must_use]
    pub fn has(&self, org: &OrgId) -> bool {
        self.table.get(org).is_some()
    }

    /// The lowest and the highest epoch of the shards that are served here; 0
    /// and 0 if none is.
    #[must_use]
    pub fn epochs(&self) -> (u64, u64) {
        let both = |(low, high): (u64, u64), epoch: u64| (low.min(epoch), high.max(epoch));
        self.table
            .epochs()
            .map(|epoch| (epoch, epoch))
            .reduce(|a, b| both(a, b.0))
            .unwrap_or((0, 0))
    }

    /// True while this process can decide, and is not being stopped: while it
    /// owns every shard and its store works, or, where others share the store,
    /// while its session is alive; then there is an owner of each shard
    /// somewhere.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        let serves = match &self.ownership {
            Ownership::Alone(_) => {
                *self.store_works.borrow() && self.table.epochs().count() == usize::from(SHARDS)
            }
            Ownership::Shared(_) => self.may_grant(self.clock.mono()),
        };
        serves && !self.is_stopping()
    }

    /// True from the moment on at which no more is granted, for good.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Follows whether the store works.
    #[must_use]
    pub fn store_works(&self) -> watch::Receiver<bool> {
        self.store_works.subscribe()
    }

    /// Notes whether the store has carried out what it was asked to write.
    pub fn note_store<T>(&self, answer: &Result<T, StoreError>) {
        let works = answer.is_ok();
        let changed = self.store_works.send_if_modified(|known| {
            let changed = *known != works;
            *known = works;
            changed
        });
        let changed = changed && self.is_worth_saying();
        match answer {
            Ok(_) if changed => tracing::info!("the store works again"),
            Err(error) if changed => {
                tracing::error!(%error, "the store does not work: not ready until it does");
            }
            Err(error) => tracing::debug!(%error, "the store does not work"),
            Ok(_) => {}
        }
    }

    /// Where several processes share a store, some of what it is asked may fail
    /// and some may not, at the same time: one line in a while says enough.
    fn is_worth_saying(&self) -> bool {
        if !self.is_shared() {
            return true;
        }
        let now = self.clock.mono();
        let said = self.store_said.load(Ordering::Relaxed);
        let is_new = now.since(Mono(said)) >= SAY_EVERY;
        is_new
            && self
                .store_said
                .compare_exchange(said, now.0, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    fn state(&self, shard: Shard) -> &ShardState {
        &self.states[usize::from(shard.number())]
    }

    /// The cell of an org; made if there is none.
    fn cell(&self, org: &OrgId) -> Result<Arc<Cell>, NoLedger> {
        if let Some(cell) = self.table.get(org) {
            return Ok(cell);
        }
        if self.is_stopping() || self.table.served(shard_of(org)).is_none() {
            return Err(NoLedger::NotOwned);
        }
        if !self.policies.is_declared(org) && self.table.len() >= MAX_UNKNOWN_ORGS {
            return Err(NoLedger::TooManyOrgs);
        }
        // The settings are read while the place is held: a change either comes
        // before, or finds the ledger.
        let cell = self.table.get_or_insert(org, |terms| self.ledger(org, terms, Vec::new()));
        cell.ok_or(NoLedger::NotOwned)
    }

    /// Uses the ledger of an org; made if there is none.
    fn with<T>(
        &self,
        org: &OrgId,
        mut work: impl FnOnce(&Arc<Cell>, &mut Inner, Now) -> T,
    ) -> Result<T, NoLedger> {
        loop {
            let cell = self.cell(org)?;
            let used = cell.with(|inner| {
                if inner.retired { Err(work) } else { Ok(self.work(&cell, inner, work)) }
            });
            match used {
                Some(Ok(result)) => return Ok(result),
                // It was freed meanwhile, and is looked up again.
                Some(Err(unused)) => work = unused,
                None => {
                    self.read_again(&cell);
                    return Err(NoLedger::NotOwned);
                }
            }
        }
    }

    /// Uses the ledger of an org, if there is one.
    fn with_live<T>(
        &self,
        org: &OrgId,
        work: impl FnOnce(&Arc<Cell>, &mut Inner, Now) -> T,
    ) -> Option<T> {
        self.with_cell(&self.table.get(org)?, work)
    }

    /// Uses a ledger, if it has not been freed meanwhile.
    fn with_cell<T>(
        &self,
        cell: &Arc<Cell>,
        work: impl FnOnce(&Arc<Cell>, &mut Inner, Now) -> T,
    ) -> Option<T> {
        let used = cell.with(|inner| (!inner.retired).then(|| self.work(cell, inner, work)));
        if used.is_none() {
            self.read_again(cell);
        }
        used.flatten()
    }

    /// `now` is read once, under the lock: time never runs backwards in a ledger.
    fn work<T>(
        &self,
        cell: &Arc<Cell>,
        inner: &mut Inner,
        work: impl FnOnce(&Arc<Cell>, &mut Inner, Now) -> T,
    ) -> T {
        let now = self.clock.now();
        let result = work(cell, inner, now);
        self.after(cell, inner, now.mono);
        result
    }

    /// Decides waiting requests again and tells their callers; where no grant is
    /// allowed now, sends them on.
    fn pump(&self, inner: &mut Inner, now: Mono) {
        let may_grant = self.may_grant(now);
        let decided = if may_grant { inner.ledger.pump(now) } else { inner.ledger.dismiss() };
        for (id, outcome) in decided {
            for caller in inner.waiters.remove(&id).unwrap_or_default() {
                // A caller that has gone needs no answer; its permit, if it got
                // one, counts until it expires.
                let _ = caller.send(outcome.clone());
            }
        }
    }

    /// What follows every use of a ledger: ask for a reserve, plan the next
    /// wake, count violations.
    fn after(&self, cell: &Arc<Cell>, inner: &mut Inner, now: Mono) {
        for id in inner.ledger.take_violations() {
            tracing::error!(org = %cell.org, invariant = id, "an invariant was violated");
            self.metrics.violated(id);
        }
        for ((reason, class), grants) in inner.ledger.take_shadow_denials() {
            self.metrics.shadow_denied(reason, class, grants);
        }
        if inner.retired || !self.may_grant(now) {
            return;
        }
        let events = inner.ledger.take_events();
        if let Some(listener) = self.listener.get()
            && !events.is_empty()
        {
            let now = self.clock.now();
            for event in events {
                listener.tell(&cell.org, event, now);
            }
        }
        if inner.ledger.wants_reserve(now) {
            self.state(cell.shard).asked.ask(&cell.org);
        }
        if let Some(at) = inner.ledger.next_wake(now)
            && inner.wake_at.is_none_or(|planned| at < planned)
        {
            inner.wake_at = Some(self.wakes.plan(at, inner.wake_at, now, &cell.org));
        }
    }

    /// Ends the use of ledgers that are in the table no more. Who waits is sent
    /// on.
    fn retire(&self, cells: &[Arc<Cell>]) {
        for cell in cells {
            let retired = cell.with(|inner| {
                inner.retire();
                self.pump(inner, self.clock.mono());
            });
            if retired.is_none() {
                cell.abandon();
            }
        }
    }

    /// Keeps the gauge of the shards that are served.
    fn count_owned(&self) {
        let owned = self.table.epochs().count();
        self.owned.send_replace(owned);
        self.metrics.set_owned_shards(u32::try_from(owned).unwrap_or(u32::MAX));
    }
}

impl Running {
    fn spawn(shards: Arc<Shards>) -> Self {
        let mut tasks = JoinSet::new();
        for shard in Shard::all() {
            tasks.spawn(Arc::clone(&shards).reserve_for(shard));
        }
        tasks.spawn(Arc::clone(&shards).wake());
        tasks.spawn(Arc::clone(&shards).keep_swept());
        Self { shards, tasks }
    }

    /// The shards.
    #[must_use]
    pub fn shards(&self) -> Arc<Shards> {
        Arc::clone(&self.shards)
    }

    /// Ends all granting: requests that wait are answered at once. Permits that
    /// are out can still be settled.
    pub fn stop_granting(&self) {
        let shards = &self.shards;
        shards.draining.store(true, Ordering::Release);
        for org in shards.table.orgs() {
            shards.with_live(&org, |_, inner, now| {
                inner.ledger.stop();
                shards.pump(inner, now.mono);
            });
        }
    }

    /// Ends all granting, writes every record so that nothing is held, and ends
    /// the tasks.
    ///
    /// A store that does not answer is not waited for: what is open then stays
    /// counted, as after a crash.
    pub async fn hand_over(mut self) {
        self.stop_granting();
        self.shards.stopping.send_replace(true);
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(HAND_OVER, ended).await.is_err() {
            tracing::warn!(
                "the store did not take every record within {HAND_OVER:?}: what is set aside \
                 stays counted until its window has passed"
            );
            self.tasks.abort_all();
        }
    }
}

/// One org's usage, with what is needed to follow it.
#[derive(Debug)]
pub struct Usage {
    /// The usage.
    pub usage: OrgUsage,
    /// The clocks when it was read.
    pub now: Now,
    /// The epoch of the ledger; 0 where there is none.
    pub epoch: u64,
    /// The number of the last class transition.
    pub last_transition: u64,
}

impl Usage {
    fn of(ledger: &mut Ledger, now: Now) -> Self {
        let usage = ledger.usage(now.mono);
        Self { usage, now, epoch: ledger.epoch(), last_transition: ledger.last_transition() }
    }
}

/// Notes for the trace what was decided.
fn record(outcome: &Outcome) {
    let (decision, reason) = match outcome {
        Outcome::Granted(_) => ("granted", None),
        Outcome::Denied(denial) => ("denied", Some(denial.reason.name())),
        Outcome::Failed(_) => ("failed", None),
    };
    let span = Span::current();
    span.note("quotagate.decision", decision);
    if let Some(reason) = reason {
        span.note("quotagate.reason", reason);
    }
}

/// A request in a ledger's queue; dropping it leaves the queue.
struct Waiting<'s> {
    shards: &'s Shards,
    cell: Arc<Cell>,
    id: WaiterId,
    told: Option<oneshot::Receiver<Outcome>>,
    for_room: bool,
}

impl<'s> Waiting<'s> {
    fn new(
        shards: &'s Shards,
        cell: Arc<Cell>,
        id: WaiterId,
        told: oneshot::Receiver<Outcome>,
        for_room: bool,
    ) -> Self {
        shards.count(for_room).fetch_add(1, Ordering::Relaxed);
        Self { shards, cell, id, told: Some(told), for_room }
    }

    async fn outcome(mut self) -> Outcome {
        let told = self.told.as_mut().expect("it is taken at the drop only");
        told.await.unwrap_or(Outcome::Failed(AskError::NotOwner))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shards.count(self.for_room).fetch_sub(1, Ordering::Relaxed);
        drop(self.told.take());
        let left = self.cell.with(|inner| {
            let Some(callers) = inner.waiters.get_mut(&self.id) else { return };
            callers.retain(|caller| !caller.is_closed());
            if callers.is_empty() {
                inner.waiters.remove(&self.id);
                inner.ledger.cancel(self.id);
                let now = self.shards.clock.mono();
                self.shards.pump(inner, now);
                self.shards.after(&self.cell, inner, now);
            }
        });
        if left.is_none() {
            self.shards.read_again(&self.cell);
        }
    }
}

#[cfg(test)]
mod tests;
