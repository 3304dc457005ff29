//! The scheduler: one thread, true time, nodes and a store, and a world of its
//! own for each org (`quota::sim`), which brings the ledgers, the callers and
//! the observer. Here is what they share: clocks, links, the store, and who owns
//! what, which follows from the nodes' state machines alone.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

use fastrand::Rng;

use super::{
    driver::{Answer, Call},
    host::Host,
    scenario::{Plant, Scenario},
    store::Store,
};
use crate::{
    cluster::view::WATCHED,
    quota::{
        sim::{
            client::Message,
            coverage::Coverage,
            scenario::Plant as OrgPlant,
            trace::Trace,
            world::{Signal, Via, Violation, World},
        },
        time::micros,
    },
    store::{
        Key, LeaseId, Record as _, Shard, Txn, Write,
        keys::SHARDS,
        records::{GenerationRecord, OwnerRecord},
    },
};

/// What can happen.
#[derive(Debug)]
pub enum Event {
    /// A node's state machine wants to be polled.
    Wake { node: usize, life: u64 },
    /// A call reaches the store; its answer takes so long, if it comes. Without
    /// one the caller waits until `deadline`.
    Arrive { node: usize, life: u64, call: Call, answer_after: Option<u64>, deadline: u64 },
    /// The answer reaches the node.
    Answer { node: usize, life: u64, call: Call, answer: Answer, deadline: u64 },
    /// A watch tells what has changed up to a place in the log.
    Watch { node: usize, life: u64, watch: usize, upto: usize },
    /// A watch has a connection again.
    Resume { node: usize, life: u64, watch: usize },
    /// A lease may end.
    LeaseDue { lease: LeaseId },
    /// A lease ends, however long it was kept alive: somebody has revoked it.
    LeaseRevoked { lease: LeaseId },
    /// An edge tries once more to find the owner.
    Resolve { org: usize, message: Message, via: Via },
    /// Something goes wrong.
    Trouble,
    /// A process ends.
    Crash { node: usize, life: u64 },
    /// A process starts.
    Start { node: usize },
    /// It had time enough to hand over.
    DrainEnds { node: usize, life: u64 },
    /// It takes part again.
    Undrain { node: usize, life: u64 },
    /// A node can go on after a pause.
    Thaw { node: usize, life: u64 },
    /// A wild step of the wall clock is undone.
    Tame { node: usize },
    /// A node reaches the store again.
    Rejoin { node: usize },
    /// Two nodes hear each other again.
    Mend { pair: (usize, usize) },
    /// No more faults.
    Calm,
    /// Who owns what is looked at.
    Look,
}

#[derive(Debug)]
struct Scheduled {
    at: u64,
    number: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        Reverse((self.at, self.number)).cmp(&Reverse((other.at, other.number)))
    }
}

/// An org in the cluster.
#[derive(Debug)]
pub struct Org {
    /// Its shard.
    pub shard: Shard,
    /// Its ledgers, callers and observer.
    pub world: World,
}

/// Everything.
#[derive(Debug)]
pub struct Cluster {
    pub(super) rng: Rng,
    pub(super) scenario: Scenario,
    /// True time, in microseconds.
    pub(super) at: u64,
    events: BinaryHeap<Scheduled>,
    scheduled: u64,
    pub(super) store: Store,
    pub(super) hosts: Vec<Host>,
    pub(super) orgs: Vec<Org>,
    /// Pairs of nodes that do not hear each other.
    pub(super) apart: BTreeSet<(usize, usize)>,
    /// A restart of all nodes, one after the other, has come to this one.
    pub(super) rolling: Option<usize>,
    /// When each shard was last seen served by its owner.
    pub(super) served_at: BTreeMap<Shard, u64>,
    /// When the owner of a shard last changed.
    pub(super) moved_at: u64,
    pub(super) coverage: Coverage,
    pub(super) violation: Option<Violation>,
    trace: Trace,
}

/// The most events of one run, those of the orgs aside: more is a loop.
const MOST_EVENTS: u64 = 2_000_000;

/// The least time between two looks at who owns what.
const LOOK: u64 = 50_000;

impl Cluster {
    /// A cluster at its beginning: a store, and nodes that start.
    pub fn new(mut rng: Rng, scenario: Scenario, trace: &Trace) -> Self {
        let orgs = scenario.orgs.iter().map(|org| Org {
            shard: org.shard,
            world: World::ruled(rng.fork(), org.scenario.clone(), scenario.nodes, trace.clone()),
        });
        let orgs = orgs.collect();
        let mut cluster = Self {
            at: 0,
            events: BinaryHeap::new(),
            scheduled: 0,
            store: Store::default(),
            hosts: (0..scenario.nodes).map(Host::new).collect(),
            orgs,
            apart: BTreeSet::new(),
            rolling: None,
            served_at: BTreeMap::new(),
            moved_at: 0,
            coverage: Coverage::default(),
            violation: None,
            trace: trace.clone(),
            rng,
            scenario,
        };
        cluster.found();
        for node in 0..cluster.hosts.len() {
            let delay = cluster.rng.u64(0..200_000);
            cluster.after(delay, Event::Start { node });
        }
        let first = cluster.around(cluster.scenario.trouble);
        cluster.after(first, Event::Trouble);
        cluster.after(cluster.scenario.calm_at, Event::Calm);
        cluster.after(LOOK, Event::Look);
        cluster
    }

    /// The store as an operator has made it.
    fn found(&mut self) {
        let generation = GenerationRecord {
            id: "simulated".into(),
            shards: u32::from(SHARDS),
            created_by: "simulation".into(),
        };
        let mut then = vec![Write::Put(Key::Generation.into(), generation.encode())];
        if !self.scenario.all_shards {
            let used: BTreeSet<Shard> = self.orgs.iter().map(|org| org.shard).collect();
            let elsewhere = OwnerRecord { node: "elsewhere".into(), incarnation: "e".into() };
            let others = Shard::all().filter(|shard| !used.contains(shard));
            then.extend(others.map(|s| Write::Put(Key::ShardOwner(s).into(), elsewhere.encode())));
        }
        let founded = self.store.txn(Txn { when: Vec::new(), then, wall: None });
        assert!(founded.is_ok(), "nothing is compared: {founded:?}");
    }

    /// Runs to the end.
    pub fn run(mut self) -> Result<Self, Violation> {
        let mut steps = 0;
        while let Some(at) = self.step() {
            steps += 1;
            if steps > MOST_EVENTS {
                self.fail("I6", "events never end".into());
            }
            if let Some(violation) = self.violation.take() {
                return Err(violation);
            }
            if at >= self.scenario.until {
                break;
            }
        }
        self.look();
        self.check_served("in the end");
        for org in &mut self.orgs {
            self.coverage.merge(org.world.finish()?);
        }
        self.violation.take().map_or(Ok(self), Err)
    }

    /// The next event, the cluster's or an org's; its time.
    fn step(&mut self) -> Option<u64> {
        let own = self.events.peek().map(|next| next.at);
        let theirs = self.orgs.iter().enumerate();
        let theirs = theirs.filter_map(|(org, state)| Some((state.world.next_at()?, org))).min();
        match (own, theirs) {
            (own, Some((at, org))) if own.is_none_or(|own| at < own) => {
                self.at = at;
                let epoch = self.store.epoch(self.orgs[org].shard);
                self.orgs[org].world.advance(epoch, &mut self.store.revision);
                self.listen(org);
                Some(at)
            }
            (Some(_), _) => {
                let Scheduled { at, event, .. } = self.events.pop()?;
                self.at = at;
                self.happen(event);
                Some(at)
            }
            (None, _) => None,
        }
    }

    /// An org's world, at the time and with the store of the cluster.
    pub(super) fn with_org<T>(&mut self, org: usize, act: impl FnOnce(&mut World) -> T) -> T {
        let epoch = self.store.epoch(self.orgs[org].shard);
        let result = self.orgs[org].world.within(self.at, epoch, &mut self.store.revision, act);
        self.listen(org);
        result
    }

    /// Acts on what an org's world has to tell.
    fn listen(&mut self, org: usize) {
        if let Some(violation) = self.orgs[org].world.take_violation() {
            self.violation.get_or_insert(violation);
            return;
        }
        let shard = self.orgs[org].shard;
        for signal in self.orgs[org].world.take_signals() {
            match signal {
                Signal::NotHere { node, message, came, via } => {
                    self.not_here(org, node, message, came, via);
                }
                Signal::Fenced { node, epoch } => self.fenced(node, shard, epoch),
                Signal::Broken { node, epoch } => self.broken(node, shard, epoch),
                Signal::Written { node, epoch } => self.written(node, org, epoch),
                Signal::Granted { node } => self.crash_soon(node),
                Signal::Committed { node } => self.lose_block_soon(node),
            }
        }
    }

    fn happen(&mut self, event: Event) {
        if let Some(Addressee { node, life, waits }) = addressee(&event) {
            if self.hosts[node].life != life {
                return;
            }
            if waits && self.hosts[node].is_frozen(self.at) {
                self.coverage.hit("event of the cluster put off by a pause");
                self.after(self.hosts[node].clocks.frozen_until - self.at, event);
                return;
            }
        }
        match event {
            Event::Wake { node, .. } => {
                if self.hosts[node].wake.is_some_and(|wake| wake <= self.at) {
                    self.hosts[node].wake = None;
                }
                self.drive(node);
            }
            Event::Arrive { node, life, call, answer_after, deadline } => {
                self.arrive(node, life, call, answer_after, deadline);
            }
            Event::Answer { node, life, call, answer, deadline } => {
                if self.hosts[node].cut_off && self.at < deadline {
                    let answer = Answer::Unknown;
                    let event = Event::Answer { node, life, call, answer, deadline };
                    self.after(deadline - self.at, event);
                } else {
                    self.answered(node, call, answer);
                }
            }
            Event::Watch { node, watch, upto, .. } => self.watch(node, watch, upto),
            Event::Resume { node, watch, .. } => self.resume(node, watch),
            Event::LeaseDue { lease } => self.lease_due(lease),
            Event::LeaseRevoked { lease } => {
                if self.store.lease(lease).is_some() {
                    self.coverage.hit("lease revoked");
                    self.end_lease(lease);
                }
            }
            Event::Resolve { org, message, via } => self.resolve(org, message, via),
            Event::Trouble => self.trouble(),
            Event::Crash { node, .. } => {
                self.coverage.hit("crash just after a grant");
                self.crash(node);
            }
            Event::Start { node } => self.start(node),
            Event::DrainEnds { node, .. } => {
                if self.hosts[node].ends {
                    self.coverage.hit("killed while it drained");
                    self.crash(node);
                }
            }
            Event::Undrain { node, .. } => self.drain(node, false),
            Event::Thaw { node, .. } => self.thaw(node),
            Event::Tame { node } => {
                self.hosts[node].clocks.wild = 0;
                self.clocks_changed(node);
                self.wake_ledgers(node);
            }
            Event::Rejoin { node } => self.rejoin(node),
            Event::Mend { pair } => {
                self.apart.remove(&pair);
                self.links_changed();
            }
            Event::Calm => self.calm(),
            Event::Look => {
                self.look();
                self.after(LOOK, Event::Look);
            }
        }
    }

    // ---- Requests at the wrong node ----

    /// A node that does not serve the org forwards, once; one that was taken for
    /// the owner and is not says so to whoever forwarded.
    fn not_here(&mut self, org: usize, node: usize, message: Message, came: u64, via: Option<Via>) {
        let Some(via) = via else {
            if self.hosts[node].member.is_none() {
                // Nobody listens there.
                let latency = self.scenario.latency;
                self.with_org(org, |world| world.refuse(&message, latency));
                return;
            }
            let via = Via { edge: node, came, epoch: 0, again: false };
            self.resolve(org, message, via);
            return;
        };
        self.coverage.hit("request sent to a node that was not the owner");
        let timeout = self.scenario.store_timeout;
        if self.are_apart(node, via.edge) || via.again || self.hosts[via.edge].member.is_none() {
            self.with_org(org, |world| world.refuse(&message, timeout));
            return;
        }
        let delay = self.rng.u64(0..=self.scenario.latency) + self.rng.u64(0..timeout);
        self.after(delay, Event::Resolve { org, message, via: Via { again: true, ..via } });
    }

    /// The edge looks up the owner, which may be wrong, and forwards.
    fn resolve(&mut self, org: usize, message: Message, via: Via) {
        let shard = self.orgs[org].shard;
        let host = &self.hosts[via.edge];
        let owner = host.member.as_ref().and_then(|member| member.view().owners.get(&shard));
        let found = owner.and_then(|owner| {
            let node = self.hosts.iter().position(|host| host.name == owner.node)?;
            Some((node, owner.epoch))
        });
        let timeout = self.scenario.store_timeout;
        let Some((target, epoch)) = found.filter(|(node, _)| *node != via.edge || via.again) else {
            self.coverage.hit("request with no owner");
            self.with_org(org, |world| world.refuse(&message, timeout));
            return;
        };
        self.coverage.hit("forwarded request");
        if self.store.epoch(shard) != epoch {
            self.coverage.hit("forwarded by a stale view");
        }
        if self.are_apart(via.edge, target) {
            self.coverage.hit("forwarded request lost");
            self.with_org(org, |world| world.refuse(&message, timeout));
            return;
        }
        let delay = self.rng.u64(0..=self.scenario.latency);
        let via = Via { epoch, ..via };
        self.with_org(org, |world| world.forward(target, delay, message, via));
    }

    pub(super) fn are_apart(&self, one: usize, other: usize) -> bool {
        self.apart.contains(&(one.min(other), one.max(other)))
    }

    // ---- Small tools ----

    /// Schedules an event.
    pub(super) fn after(&mut self, delay: u64, event: Event) {
        self.scheduled += 1;
        let (at, number) = (self.at + delay, self.scheduled);
        self.events.push(Scheduled { at, number, event });
    }

    /// Notes the first violation.
    pub(super) fn fail(&mut self, id: &'static str, text: String) {
        // What is planted is to be found by what it breaks.
        if self.scenario.plant.is_some() && matches!(id, "I6" | "I7") {
            return;
        }
        let violation = Violation::new(id, text, self.at);
        self.violation.get_or_insert(violation);
    }

    pub(super) fn say(&self, what: impl FnOnce() -> String) {
        self.trace.say(self.at, what);
    }

    /// The hash of everything that was told.
    pub fn trace_hash(&self) -> u64 {
        let orgs = self.orgs.iter().map(|org| org.world.trace_hash());
        orgs.fold(self.trace.hash(), |hash, org| hash.rotate_left(7) ^ org)
    }

    /// What has happened.
    pub fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// The share of a saturated limit that was used after everything had
    /// settled, as I6 measures it.
    pub fn share_used(&self) -> f64 {
        let Some(Org { world, .. }) = self.orgs.first() else { return 0.0 };
        world.share_used_from(self.moved_at)
    }

    /// When the owner of a shard last changed.
    pub fn moved_at(&self) -> u64 {
        self.moved_at
    }

    /// A random time around a mean.
    pub(super) fn around(&mut self, mean: u64) -> u64 {
        self.rng.u64(0..=mean * 2)
    }

    pub(super) fn percent(&mut self, percent: u32) -> bool {
        self.rng.u32(0..100) < percent
    }

    pub(super) fn has(&self, plant: Plant) -> bool {
        self.scenario.plant == Some(plant)
    }

    pub(super) fn has_of_org(&self, plant: OrgPlant) -> bool {
        self.has(Plant::Org(plant))
    }

    /// Faults happen now.
    pub(super) fn is_rough(&self) -> bool {
        self.at < self.scenario.calm_at
    }

    pub(super) fn ttl(&self) -> u64 {
        micros(self.scenario.timing.ttl)
    }

    // ---- Checks ----

    /// Looks which shards are served by their owner.
    fn look(&mut self) {
        if self.scenario.all_shards {
            let others = Shard::all().filter(|s| self.orgs.iter().all(|org| org.shard != *s));
            for shard in others.filter(|shard| self.store.epoch(*shard) != 0) {
                self.served_at.insert(shard, self.at);
            }
        }
        for org in 0..self.orgs.len() {
            let shard = self.orgs[org].shard;
            if self.is_served(shard) {
                self.coverage.hit("look at an org that is served");
                self.served_at.insert(shard, self.at);
            } else {
                self.coverage.hit("look at an org that nobody serves");
            }
        }
        if self.at >= self.scenario.recovered_by() && self.at < self.scenario.recovered_by() + LOOK
        {
            self.check_served("2 TTL + 5 s after the last fault");
        }
    }

    /// The shard's owner is a node that runs, knows that it owns the shard, and
    /// has a ledger for each of its orgs.
    fn is_served(&self, shard: Shard) -> bool {
        let epoch = self.store.epoch(shard);
        let of_it = self.orgs.iter().filter(|org| org.shard == shard);
        epoch != 0
            && self.hosts.iter().enumerate().any(|(node, host)| {
                host.tenures.get(&shard).is_some_and(|tenure| tenure.epoch == epoch)
                    && of_it.clone().all(|org| org.world.serves(node) == Some(epoch))
            })
    }

    /// I6: every shard was served a moment ago (one may be on its way from one
    /// node to another just now).
    fn check_served(&mut self, when: &str) {
        let since = self.at.saturating_sub(self.ttl());
        let used: BTreeSet<Shard> = self.orgs.iter().map(|org| org.shard).collect();
        let checked = Shard::all().filter(|s| self.scenario.all_shards || used.contains(s));
        for shard in checked.collect::<Vec<_>>() {
            let served = self.served_at.get(&shard).copied().unwrap_or(0);
            if served < since {
                let owner = self.store.get(&String::from(Key::ShardOwner(shard)));
                let owner = owner.map(|value| OwnerRecord::decode(&value.value));
                let nodes = self.hosts.iter().map(|host| {
                    let problem = host.member.as_ref().map(crate::cluster::Member::problem);
                    let vacant = host.member.as_ref().map(|m| m.view().owners.get(&shard));
                    format!("{}: {problem:?}, sees {vacant:?}", host.name)
                });
                let nodes = nodes.collect::<Vec<_>>().join("; ");
                let text = format!("shard {shard} is not served {when}; {owner:?}; {nodes}");
                self.fail("I6", text);
            }
        }
    }

    /// What changed in the store is on its way to those who watch.
    pub(super) fn announce(&mut self, log_before: usize) {
        let upto = self.store.log_len();
        if upto == log_before {
            return;
        }
        for node in 0..self.hosts.len() {
            for (watch, prefix) in WATCHED.into_iter().enumerate() {
                if self.store.changes(prefix, log_before, upto).is_empty() {
                    continue;
                }
                let Host { life, hears_late, .. } = self.hosts[node];
                let most = if hears_late && self.is_rough() {
                    self.scenario.watch_delay
                } else {
                    self.scenario.store_latency
                };
                let delay = self.rng.u64(0..=most);
                self.after(delay, Event::Watch { node, life, watch, upto });
            }
        }
    }
}

/// Whom an event happens to.
struct Addressee {
    node: usize,
    life: u64,
    /// While the node is paused it does not happen.
    waits: bool,
}

fn addressee(event: &Event) -> Option<Addressee> {
    match *event {
        Event::Wake { node, life }
        | Event::Answer { node, life, .. }
        | Event::Watch { node, life, .. }
        | Event::Resume { node, life, .. }
        | Event::Undrain { node, life } => Some(Addressee { node, life, waits: true }),
        Event::Crash { node, life }
        | Event::DrainEnds { node, life }
        | Event::Thaw { node, life } => Some(Addressee { node, life, waits: false }),
        _ => None,
    }
}
