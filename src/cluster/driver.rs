//! Lets a [`Member`] act: on the store, and on the shards of this process. One
//! task holds the machine; whatever waits for an answer waits in a task of its
//! own and tells it the answer as an event.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use super::{
    Effect, Event, Member, Timing, View,
    clock_guard::{ClockGuard, Verdict},
    member::{Recovery, Registration, Taking},
    pings::{Pings, Standing},
    view::WATCHED,
};
use crate::{
    clock::Clock,
    quota::{Mono, Wall},
    store::{
        Compare, Key, KeyValue, LeaseId, Record, Sessions, Shard, SharedStore, StoreError, Txn,
        TxnOutcome, Write,
        keys::{META, NODES, SHARDS},
        records::{ClosedRecord, GenerationRecord, NodeRecord, OwnerRecord},
    },
};

/// The ledgers that a node serves, as its [`Member`] rules over them.
#[async_trait]
pub trait Ground: fmt::Debug + Send + Sync + 'static {
    /// Reads a shard's records and serves it in an epoch. The owner key was put
    /// before. `closed_since`: what was counted until then is not known.
    async fn recover(&self, shard: Shard, epoch: u64, closed_since: Option<Wall>) -> Recovery;

    /// Stops granting, resolves what is in flight, writes down what is open,
    /// and deletes the owner key in the last transaction. Returns when the
    /// ledgers are gone: with the owner key, or, where the store does not
    /// answer, without.
    async fn hand_over(&self, shard: Shard, epoch: u64);

    /// Forgets a shard's ledgers at once, writing nothing.
    fn drop_shard(&self, shard: Shard, epoch: u64);

    /// Grants are allowed until this, and no longer.
    fn session_until(&self, until: Mono);
}

/// What a node needs to take part.
#[derive(Debug)]
pub struct Options {
    /// Its name: one life after another, never two at a time.
    pub name: String,
    /// Where clients reach it.
    pub address: String,
    /// Where other nodes reach it.
    pub peer_address: String,
    /// The times and bounds.
    pub timing: Timing,
    /// Make the cluster, if there is none.
    pub create: bool,
    /// What was counted until now is not known: if no node is alive, everything
    /// counts as spent.
    pub cold_start_closed: bool,
    /// Nodes whose clocks differ by more have no time in common.
    pub clock_error: Duration,
    /// Makes jitter and incarnations differ from those of other nodes.
    pub seed: u64,
}

/// How far a node has come with its shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// How many shards it serves.
    pub served: usize,
    /// It gives its shards away.
    pub draining: bool,
    /// It drains and has nothing left.
    pub drained: bool,
}

/// A node that takes part in a cluster.
#[derive(Debug)]
pub struct Driver {
    view: watch::Receiver<Arc<View>>,
    standing: watch::Receiver<Standing>,
    progress: watch::Receiver<Progress>,
    commands: mpsc::UnboundedSender<Command>,
    task: JoinHandle<()>,
}

#[derive(Clone, Debug)]
enum Command {
    /// What the shards of this process have found out.
    Tell(Event),
    Drain,
    Leave,
}

/// An answer of the store that takes longer is none.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a node that leaves tries to end its lease.
const LEAVE: Duration = Duration::from_secs(2);

/// What must be written before a node takes part is tried again after this.
const RETRY: Duration = Duration::from_millis(500);

/// A clock that was off, and differs from nobody's for so long, is right again,
/// also where fewer than two others are left to confirm it.
const AGREES_FOR: Duration = Duration::from_secs(30);

/// A clock that has stepped by more is worth a line.
const STEP_US: i64 = 500_000;

/// A key that outlives its lease, armed anew, by this is kept alive.
const OUTLIVED: Duration = Duration::from_secs(5);

/// Messages of one watch that wait; more wait in the store's connection.
const TOLD: usize = 64;

impl Driver {
    /// Starts to take part, once `settled` says that the settings are known.
    /// `store` has [`Sessions`]; `pings` is what is measured of the other nodes.
    ///
    /// # Panics
    /// The store has no sessions.
    #[must_use]
    pub fn start(
        store: SharedStore,
        clock: Clock,
        ground: Arc<dyn Ground>,
        pings: watch::Receiver<Arc<Pings>>,
        settled: oneshot::Receiver<()>,
        options: Options,
    ) -> Self {
        let lives = store.sessions().expect("a cluster needs a store that can be shared").lives();
        let (commands, orders) = mpsc::unbounded_channel();
        let (show_view, view) = watch::channel(Arc::new(View::default()));
        let (show_standing, standing) = watch::channel(Standing {
            problem: "it starts: the store has not told yet what is declared".to_owned(),
            ..Standing::default()
        });
        let (show_progress, progress) = watch::channel(Progress::default());
        let record = NodeRecord {
            address: options.address.clone(),
            peer_address: options.peer_address.clone(),
            incarnation: String::new(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            draining: false,
        };
        let member = Member::new(options.name.clone(), record, options.timing, options.seed);
        // Bounded by what is in flight: each effect has one answer.
        let (tell, told) = mpsc::unbounded_channel();
        // Nothing is told here before the watches begin.
        let (_, watched) = mpsc::channel(1);
        let task = Task {
            member,
            acts: Acts {
                store,
                clock,
                ground,
                name: options.name.clone(),
                ttl: options.timing.ttl,
                tell,
            },
            told,
            watched,
            watches: JoinSet::new(),
            orders,
            pings,
            settled: Some(settled),
            guard: ClockGuard::new(options.clock_error),
            lives: lives.clone(),
            lives_seen: *lives.borrow(),
            closed_since: None,
            recovered: BTreeMap::new(),
            agreed_since: None,
            ending: false,
            clock_is_off: false,
            verdict: Verdict::Fine,
            show_view,
            show_standing,
            show_progress,
            options,
        };
        Self { view, standing, progress, commands, task: tokio::spawn(task.run()) }
    }

    /// Follows what is known of the cluster.
    #[must_use]
    pub fn view(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    /// Follows how this node's own session is.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// Follows how far it has come with its shards.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Gives every shard away; returns when none is left, or after `most`.
    /// True if none is left.
    pub async fn drain(&self, most: Duration) -> bool {
        let _ = self.commands.send(Command::Drain);
        let mut progress = self.progress.clone();
        let drained = progress.wait_for(|progress| progress.draining && progress.drained);
        matches!(timeout(most, drained).await, Ok(Ok(_)))
    }

    /// Ends the session, so that nobody waits for its lease.
    pub async fn leave(mut self) {
        let _ = self.commands.send(Command::Leave);
        if timeout(LEAVE, &mut self.task).await.is_err() {
            tracing::warn!("the store did not end the session: it ends with its lease");
            self.task.abort();
        }
    }

    /// How the shards of this process tell what they find out.
    pub fn teller(&self) -> impl Fn(Event) + Send + Sync + 'static {
        let commands = self.commands.clone();
        move |event| {
            let _ = commands.send(Command::Tell(event));
        }
    }
}

struct Task {
    member: Member,
    acts: Acts,
    told: mpsc::UnboundedReceiver<Event>,
    watched: mpsc::Receiver<Event>,
    /// Tell `watched`, until the store goes back or the process ends.
    watches: JoinSet<()>,
    orders: mpsc::UnboundedReceiver<Command>,
    pings: watch::Receiver<Arc<Pings>>,
    settled: Option<oneshot::Receiver<()>>,
    guard: ClockGuard,
    /// How often the store went back, and how often that was seen to.
    lives: watch::Receiver<u64>,
    lives_seen: u64,
    /// What this process has found out itself about lost counts.
    closed_since: Option<Wall>,
    /// What was known of lost counts when each shard was recovered.
    recovered: BTreeMap<Shard, Option<Wall>>,
    /// Since when no clock is seen to differ from this node's.
    agreed_since: Option<Mono>,
    ending: bool,
    clock_is_off: bool,
    verdict: Verdict,
    show_view: watch::Sender<Arc<View>>,
    show_standing: watch::Sender<Standing>,
    show_progress: watch::Sender<Progress>,
    options: Options,
}

/// What a node acts with.
#[derive(Clone, Debug)]
struct Acts {
    store: SharedStore,
    clock: Clock,
    ground: Arc<dyn Ground>,
    name: String,
    ttl: Duration,
    tell: mpsc::UnboundedSender<Event>,
}

impl Task {
    async fn run(mut self) {
        if !self.begin().await {
            self.show_progress.send_replace(Progress { served: 0, draining: true, drained: true });
            return;
        }
        self.follow();
        loop {
            self.act();
            if self.member.has_left() {
                return;
            }
            let now = self.acts.clock.mono();
            let wake = self.member.next_wake().map(|at| at.since(now));
            // In this order a simulation repeats itself. What comes seldom is first,
            // and nobody starves: of what may come often there is a bound, and
            // the time is looked at after each event.
            tokio::select! {
                biased;
                Some(order) = self.orders.recv() => self.obey(order).await,
                Ok(()) = self.lives.changed() => self.take_in(Event::WentBack).await,
                Ok(()) = self.pings.changed() => self.look_at_clocks(),
                Some(event) = self.told.recv() => self.take_in(event).await,
                Some(event) = self.watched.recv() => self.take_in(event).await,
                () = tokio::time::sleep(wake.unwrap_or_default()), if wake.is_some() => {}
                else => return,
            }
        }
    }

    /// What stands before everything else: the settings, the cluster itself,
    /// where it is to be made, and the word that its counts are not known. False
    /// if the process ends before.
    async fn begin(&mut self) -> bool {
        let Some(settled) = self.settled.take() else { return false };
        let (acts, options) = (&self.acts, &self.options);
        let prepared = async {
            if settled.await.is_err() {
                return false;
            }
            if options.create {
                until_done("make the cluster", || acts.create(options.seed)).await;
            }
            if options.cold_start_closed {
                until_done("close the orgs", || acts.close_if_alone()).await;
            }
            true
        };
        tokio::select! {
            biased;
            // Nothing was taken, so there is nothing to give away.
            () = ended(&mut self.orders) => false,
            prepared = prepared => prepared,
        }
    }

    /// Watches what makes the view, from a listing on. Whatever was watched before
    /// is not heard of any more.
    fn follow(&mut self) {
        let (tell, watched) = mpsc::channel(TOLD);
        self.watched = watched;
        self.watches.abort_all();
        for prefix in WATCHED {
            self.watches.spawn(self.acts.clone().follow(prefix, tell.clone()));
        }
    }

    fn act(&mut self) {
        loop {
            let now = self.acts.clock.mono();
            let Some(effect) = self.member.poll(now) else { break };
            tracing::trace!(?effect, "acts");
            let closed = self.closed();
            if let Effect::Recover { shard, .. } = effect {
                self.recovered.insert(shard, closed);
            }
            self.acts.carry_out(effect, closed);
        }
        self.show();
    }

    /// What was counted until then is not known.
    fn closed(&self) -> Option<Wall> {
        self.closed_since.max(self.member.view().closed_since)
    }

    /// Takes those shards anew that were recovered before it was known that their
    /// counts are not. What they have granted since then is not known for sure
    /// either: for this process everything closes now.
    fn close_what_is_open(&mut self) {
        let closed = self.closed();
        let open: Vec<(Shard, u64)> = self
            .member
            .served()
            .filter(|(shard, _)| self.recovered.get(shard).is_none_or(|known| *known < closed))
            .collect();
        if open.is_empty() {
            return;
        }
        tracing::warn!(shards = open.len(), "these shards were taken too early: they are closed");
        self.closed_since = Some(self.acts.clock.now().wall);
        let now = self.acts.clock.mono();
        for (shard, epoch) in open {
            self.acts.ground.drop_shard(shard, epoch);
            self.member.handle(now, Event::Broken { shard, epoch });
        }
    }

    fn show(&self) {
        self.show_view.send_if_modified(|shown| {
            let changed = **shown != *self.member.view();
            if changed {
                *shown = Arc::new(self.member.view().clone());
            }
            changed
        });
        let standing = Standing {
            session_until: self.member.session_until(),
            incarnation: self.member.incarnation().to_owned(),
            problem: self.problem().unwrap_or_default(),
        };
        self.show_standing.send_if_modified(|shown| {
            if shown.problem != standing.problem {
                match standing.problem.as_str() {
                    "" => tracing::info!("this node is well"),
                    problem => tracing::warn!(problem, "this node is not well"),
                }
            }
            let changed = *shown != standing;
            *shown = standing;
            changed
        });
        let progress = Progress {
            served: self.member.served().count(),
            draining: self.member.is_draining(),
            drained: self.member.is_drained(),
        };
        self.show_progress.send_if_modified(|shown| {
            let changed = *shown != progress;
            *shown = progress;
            changed
        });
    }

    fn problem(&self) -> Option<String> {
        if self.clock_is_off {
            let text = "its clock differs from the other nodes': it has given its shards away; \
                        see to the machine's time synchronisation";
            return Some(text.to_owned());
        }
        self.member.problem()
    }

    async fn take_in(&mut self, event: Event) {
        tracing::trace!(?event, "happens");
        if event == Event::WentBack {
            return self.begin_anew().await;
        }
        let is_about_the_store = matches!(event, Event::Watched { prefix: META, .. });
        self.member.handle(self.acts.clock.mono(), event);
        if is_about_the_store {
            self.close_what_is_open();
        }
    }

    /// The store went back. First of all nothing is granted any more; and nothing
    /// is taken in the new history before it is written there that the counts of
    /// the former one are not known.
    async fn begin_anew(&mut self) {
        let lives = *self.lives.borrow_and_update();
        if lives == self.lives_seen {
            return;
        }
        self.lives_seen = lives;
        tracing::error!(
            "the store went back: it was restored or made anew; everything counts as spent until \
             its window has passed"
        );
        self.member.handle(self.acts.clock.mono(), Event::WentBack);
        self.act();
        let since = self.acts.clock.now().wall;
        self.closed_since = Some(since);
        until_done("close the orgs", || self.acts.close(since)).await;
        // A watch that had noticed first has told its listing already, and would
        // not tell it again.
        self.follow();
    }

    async fn obey(&mut self, order: Command) {
        let now = self.acts.clock.mono();
        match order {
            Command::Tell(event) => self.take_in(event).await,
            Command::Drain => {
                self.ending = true;
                self.member.handle(now, Event::Drain(true));
            }
            Command::Leave => self.member.leave(now),
        }
    }

    /// Compares clocks. A clock that others confirm is trusted, whatever steps it
    /// has made.
    fn look_at_clocks(&mut self) {
        let now = self.acts.clock.mono();
        let pings = Arc::clone(&self.pings.borrow_and_update());
        for (peer, pinged) in pings.iter() {
            if let Ok(pinged) = pinged {
                self.guard.sample(pinged.at, peer, pinged.offset_us, pinged.round_trip);
            }
        }
        let own = self.member.name();
        let nodes = self.member.view().nodes.keys().map(String::as_str);
        let peers: Vec<&str> = nodes.filter(|node| *node != own).collect();
        let verdict = self.guard.verdict(now, peers);
        let is_off = match verdict {
            Verdict::Confirmed => {
                if self.acts.clock.stepped_us().abs() > STEP_US {
                    tracing::warn!("the clock was stepped, and most other nodes agree with it");
                    self.acts.clock.trust_wall_clock();
                }
                false
            }
            // Too few confirm it: what was found before holds for a while.
            Verdict::Fine => {
                let since = *self.agreed_since.get_or_insert(now);
                self.clock_is_off && now.since(since) < AGREES_FOR
            }
            Verdict::Warn { .. } => self.clock_is_off,
            Verdict::Drain { .. } => true,
        };
        if matches!(verdict, Verdict::Warn { .. } | Verdict::Drain { .. }) {
            self.agreed_since = None;
        }
        if std::mem::discriminant(&verdict) != std::mem::discriminant(&self.verdict) {
            match verdict {
                Verdict::Confirmed | Verdict::Fine => {}
                Verdict::Warn { peers, offset_us } => {
                    tracing::warn!(peers, offset_us, "this node's clock differs from another's");
                }
                Verdict::Drain { peers, offset_us } => {
                    tracing::error!(
                        peers,
                        offset_us,
                        "this node's clock differs from most others': it gives its shards away"
                    );
                }
            }
            self.verdict = verdict;
        }
        if is_off != self.clock_is_off {
            self.clock_is_off = is_off;
            self.member.handle(now, Event::Drain(is_off || self.ending));
        }
    }
}

impl Acts {
    fn sessions(&self) -> &dyn Sessions {
        self.store.sessions().expect("it was asked for at the start")
    }

    fn carry_out(&self, effect: Effect, closed_since: Option<Wall>) {
        match effect {
            Effect::SessionUntil(until) => return self.ground.session_until(until),
            Effect::Drop { shard, epoch } => return self.ground.drop_shard(shard, epoch),
            _ => {}
        }
        let acts = self.clone();
        tokio::spawn(async move {
            let event = acts.outcome_of(effect, closed_since).await;
            // The machine is gone where nobody listens.
            let _ = acts.tell.send(event);
        });
    }

    async fn outcome_of(&self, effect: Effect, closed_since: Option<Wall>) -> Event {
        let sent = self.clock.mono();
        match effect {
            Effect::Grant => {
                let lease = self.within(self.sessions().grant(self.ttl)).await;
                Event::Granted { sent, lease: lease.ok() }
            }
            Effect::KeepAlive(lease) => {
                let left = self.within(self.sessions().keep_alive(lease)).await;
                let alive = left.ok().map(|left| !left.is_zero());
                Event::KeptAlive { lease, sent, alive }
            }
            Effect::Revoke(lease) => {
                self.revoke(lease).await;
                Event::Revoked { lease }
            }
            Effect::Register { lease, record, replaces } => {
                let key: String = Key::Node(self.name.clone()).into();
                let value = record.encode();
                let outcome = match self.put_leased(key, &value, lease, replaces).await {
                    Ok(Put::Done(revision)) => Registration::Done(revision),
                    // An earlier attempt, which nobody had acknowledged.
                    Ok(Put::Stands(Some(stands))) if stands.value == value => {
                        Registration::Done(stands.mod_revision)
                    }
                    Ok(Put::Stands(_)) => Registration::Taken,
                    Err(_) => Registration::Unknown,
                };
                Event::Registered { lease, outcome }
            }
            Effect::Take { shard, lease, incarnation, replaces } => {
                let owner = OwnerRecord { node: self.name.clone(), incarnation };
                let key: String = Key::ShardOwner(shard).into();
                let outcome = match self.put_leased(key, &owner.encode(), lease, replaces).await {
                    Ok(Put::Done(revision)) => Taking::Done(revision),
                    Ok(Put::Stands(_)) => Taking::Conflict,
                    Err(StoreError::NotExecuted(_)) => Taking::NotExecuted,
                    Err(StoreError::Unknown(_) | StoreError::WentBack { .. }) => Taking::Unknown,
                };
                Event::Taken { shard, lease, outcome }
            }
            Effect::Recover { shard, epoch } => {
                let outcome = self.ground.recover(shard, epoch, closed_since).await;
                Event::Recovered { shard, epoch, outcome }
            }
            Effect::HandOver { shard, epoch } => {
                self.ground.hand_over(shard, epoch).await;
                Event::HandedOver { shard, epoch }
            }
            Effect::Drop { .. } | Effect::SessionUntil(_) => {
                unreachable!("these are carried out at once")
            }
        }
    }

    /// Ends a lease. Sessions die when the store is away, so this is tried until
    /// it is back: the next session would have to wait for the keys of this one
    /// else, up to a whole lease after the store's return.
    async fn revoke(&self, lease: LeaseId) {
        while let Err(error) = self.within(self.sessions().revoke(lease)).await {
            if matches!(error, StoreError::WentBack { .. }) || self.tell.is_closed() {
                return;
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// An answer that does not come in time is unknown. That the store went back
    /// is told whoever finds it out.
    async fn within<T>(
        &self,
        answer: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let answer = timeout(STORE_TIMEOUT, answer).await;
        let answer = answer.unwrap_or_else(|_| {
            Err(StoreError::Unknown(format!("no answer within {STORE_TIMEOUT:?}")))
        });
        if let Err(error) = &answer {
            tracing::debug!(%error, "the store did not do what the cluster needs");
            if matches!(error, StoreError::WentBack { .. }) {
                let _ = self.tell.send(Event::WentBack);
            }
        }
        answer
    }

    async fn put_leased(
        &self,
        key: String,
        value: &[u8],
        lease: LeaseId,
        replaces: u64,
    ) -> Result<Put, StoreError> {
        let txn = Txn {
            when: vec![Compare::ModRevision(key.clone(), replaces)],
            then: vec![Write::PutLeased(key, value.to_vec(), lease)],
            wall: None,
        };
        Ok(match self.within(self.store.txn(txn)).await? {
            TxnOutcome::Done { revision } => Put::Done(revision),
            TxnOutcome::Conflict { current } => Put::Stands(current.into_iter().flatten().next()),
        })
    }

    async fn create(&self, id: u64) -> Result<(), StoreError> {
        let key: String = Key::Generation.into();
        let generation = GenerationRecord {
            id: format!("{id:016x}"),
            shards: SHARDS.into(),
            created_by: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let txn = Txn {
            when: vec![Compare::CreateRevision(key.clone(), 0)],
            then: vec![Write::Put(key, generation.encode())],
            wall: None,
        };
        if let TxnOutcome::Done { .. } = self.within(self.store.txn(txn)).await? {
            tracing::info!(generation = generation.id, "a cluster was made");
        }
        Ok(())
    }

    /// Closes the orgs, unless another node is alive. That a node key stands does
    /// not prove it: a restored store has the keys of its backup, until their
    /// leases end.
    async fn close_if_alone(&self) -> Result<(), StoreError> {
        let own: String = Key::Node(self.name.clone()).into();
        let names = |entries: Vec<KeyValue>| -> BTreeSet<String> {
            entries.into_iter().map(|entry| entry.key).filter(|key| *key != own).collect()
        };
        let first = names(self.within(self.store.list(NODES)).await?.entries);
        // A lease is armed anew, in full, when etcd's leader changes.
        let outlived = self.clock.mono() + self.ttl * 2 + OUTLIVED;
        let mut stand = first;
        while !stand.is_empty() {
            if self.clock.mono() >= outlived {
                tracing::warn!(nodes = ?stand, "other nodes are alive: the orgs are NOT closed");
                return Ok(());
            }
            tokio::time::sleep(RETRY).await;
            let now = names(self.within(self.store.list(NODES)).await?.entries);
            stand = stand.intersection(&now).cloned().collect();
        }
        self.close(self.clock.now().wall).await?;
        tracing::warn!(
            "all orgs start closed: everything counts as spent until its window has passed"
        );
        Ok(())
    }

    async fn close(&self, since: Wall) -> Result<(), StoreError> {
        let then = vec![Write::Put(Key::Closed.into(), ClosedRecord { since }.encode())];
        let txn = Txn { when: Vec::new(), then, wall: None };
        self.within(self.store.txn(txn)).await.map(|_| ())
    }

    async fn follow(self, prefix: &'static str, tell: mpsc::Sender<Event>) {
        let mut watch = self.sessions().watch(prefix);
        while let Some(told) = watch.recv().await {
            if tell.send(Event::Watched { prefix, told }).await.is_err() {
                return;
            }
        }
    }
}

/// What became of putting a key.
enum Put {
    Done(u64),
    Stands(Option<KeyValue>),
}

/// Waits for an order to end.
async fn ended(orders: &mut mpsc::UnboundedReceiver<Command>) {
    while let Some(Command::Tell(_)) = orders.recv().await {}
}

/// Tries until it is done.
async fn until_done<F: Future<Output = Result<(), StoreError>>>(what: &str, act: impl Fn() -> F) {
    while let Err(error) = act().await {
        tracing::error!(%error, "cannot {what} yet");
        tokio::time::sleep(RETRY).await;
    }
}
