//! The scheduler: one thread, true time, and everything that can happen in it.
//! The shell's part is played as the real one plays it: one reserve in flight,
//! waiters pumped after every event, wakes honoured.

mod checks;
mod ruled;
mod shell;
mod trouble;

use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeMap, BinaryHeap, HashMap},
    fmt,
    sync::Arc,
    time::Duration,
};

use fastrand::Rng;

use super::{
    client::{Grant, Message, Reply, Request, Use},
    coverage::Coverage,
    node::{Node, Settings},
    observer::Observer,
    scenario::{self, Plant, Scenario, Style},
    store::{Allowed, Applied, Careless, CounterKey, Store, Txn},
    trace::Trace,
};
use crate::quota::{
    Answer, Catalogue, Charge, DenialReason, Group, GroupWrite, Kind, Ledger, Mono, Now, OrgPolicy,
    Outcome, ReserveOutcome, Scope, Standing, Stored,
    catalogue::{DAY, Max},
    rules::Fault,
    time::micros,
};

/// An invariant that did not hold.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Its number.
    pub id: &'static str,
    text: String,
    at: u64,
}

impl Violation {
    /// An invariant that did not hold at a moment.
    pub fn new(id: &'static str, text: String, at: u64) -> Self {
        Self { id, text, at }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} µs: {}", self.id, self.at, self.text)
    }
}

/// What can happen.
#[derive(Clone, Debug)]
pub enum Event {
    /// Clients ask.
    Demand { left: u64 },
    /// A client repeats a request.
    Again { request: usize },
    /// Others use the org's total.
    Foreign,
    /// Something goes wrong.
    Trouble,
    /// A process ends just after a grant.
    Crash { node: usize, life: u64 },
    /// The other node takes the org from one whose block is fresh.
    TakeOver { from: usize, life: u64 },
    /// The settings change.
    Change,
    /// A message reaches a node; its clocks were read at `stamped`, if that was
    /// before it could go on.
    Deliver { node: usize, message: Message, came: u64, stamped: Option<u64>, via: Option<Via> },
    /// An answer reaches a client.
    Reply { request: usize, reply: Reply },
    /// A client's call is over.
    Over { call: Use },
    /// These settings hold.
    Configure { settings: Settings },
    /// A node hears of the settings.
    Settle { node: usize, order: u64, settings: Settings },
    /// A transaction reaches the store; its answer takes so long, if it comes.
    Apply { node: usize, life: u64, txn: Txn, answer_after: Option<u64> },
    /// The store's answer, or the end of the wait for it.
    Answered {
        node: usize,
        life: u64,
        writes: Vec<GroupWrite>,
        outcome: ReserveOutcome,
        fenced: bool,
    },
    /// The time that a ledger asked for.
    Wake { node: usize, life: u64 },
    /// A new owner reads the records, after it has become the owner.
    Read { node: usize, life: u64 },
    /// What it has read arrives.
    Loaded { node: usize, life: u64, records: Vec<(Group, Stored)> },
    /// A wild step of the wall clock is undone.
    Tame { node: usize },
    /// Housekeeping.
    Tick,
}

#[derive(Clone, Debug)]
struct Scheduled {
    at: u64,
    number: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> Ordering {
        Reverse((self.at, self.number)).cmp(&Reverse((other.at, other.number)))
    }
}

/// Everything.
#[derive(Debug)]
pub struct World {
    pub(super) rng: Rng,
    pub(super) scenario: Scenario,
    /// True time, in microseconds.
    pub(super) at: u64,
    /// Counts grants, settings and transactions: the order of things.
    pub(super) order: u64,
    events: BinaryHeap<Scheduled>,
    scheduled: u64,
    pub(super) policy: Arc<OrgPolicy>,
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) store: Store,
    pub(super) nodes: Vec<Node>,
    pub(super) requests: Vec<Request>,
    pub(super) grants: Vec<Grant>,
    pub(super) by_nonce: HashMap<u64, usize>,
    /// Units granted by epoch and counter, with the grant's order.
    pub(super) spent: HashMap<(u64, CounterKey), Vec<(u64, u64)>>,
    pub(super) nonce: u64,
    pub(super) observer: Observer,
    pub(super) foreign: Vec<u64>,
    /// Grants of workspaces with a cap: when, units, and the pause point then.
    pub(super) gates: Vec<(CounterKey, u64, u64, u64)>,
    pub(super) coverage: Coverage,
    pub(super) longest_window: u64,
    rested: bool,
    violation: Option<Violation>,
    trace: Trace,
    /// Owners are chosen by a cluster, not by the adversary here.
    pub(super) ruled: bool,
    /// What the cluster is to hear.
    signals: Vec<Signal>,
    /// Where refusals of Salesforce's come from, in the runs that have some: a
    /// source of its own, so that the others stay what they are.
    pub(super) refusals: Option<Rng>,
}

/// The most events of one run: more is a loop.
const MOST_EVENTS: u64 = 3_000_000;

impl World {
    /// A world at its beginning.
    pub fn new(rng: Rng, scenario: Scenario) -> Self {
        let mut world = Self::empty(rng, scenario, 2);
        for node in 0..world.nodes.len() {
            world.reset_clocks(node);
        }
        world.take_over(0);
        world
    }

    fn empty(mut rng: Rng, scenario: Scenario, nodes: usize) -> Self {
        let mut world = Self {
            at: 0,
            order: 0,
            events: BinaryHeap::new(),
            scheduled: 0,
            policy: Arc::new(scenario.policy.clone()),
            catalogue: Arc::new(scenario.catalogue.clone()),
            store: Store::default(),
            nodes: vec![Node::default(); nodes],
            requests: Vec::new(),
            grants: Vec::new(),
            by_nonce: HashMap::new(),
            spent: HashMap::new(),
            nonce: rng.u64(..) >> 1,
            observer: Observer::default(),
            foreign: Vec::new(),
            gates: Vec::new(),
            coverage: Coverage::default(),
            longest_window: 0,
            rested: false,
            violation: None,
            trace: Trace::asked("QUOTAGATE_SIM_TRACE"),
            ruled: false,
            signals: Vec::new(),
            refusals: None,
            rng,
            scenario,
        };
        let refuses = world.scenario.style == Style::Saturated || world.nonce % 2 == 0;
        if refuses && world.scenario.plant.is_none() {
            world.refusals = Some(Rng::with_seed(world.nonce));
        }
        let catalogue = world.catalogue.clone();
        world.note_windows(&catalogue);
        world
    }

    /// Runs to the end.
    pub fn run(mut self) -> Result<(Self, Coverage), Violation> {
        self.begin();
        let mut steps = 0;
        while let Some(Scheduled { at, event, .. }) = self.events.pop() {
            self.at = at;
            steps += 1;
            if steps > MOST_EVENTS {
                self.fail("I6", "events never end".into());
            }
            self.step(event);
            if let Some(violation) = self.violation.take() {
                return Err(violation);
            }
        }
        self.coverage.add("event", steps);
        self.check_arrivals();
        self.check_rest();
        match self.violation.take() {
            Some(violation) => Err(violation),
            None => {
                let coverage = self.coverage.clone();
                Ok((self, coverage))
            }
        }
    }

    fn begin(&mut self) {
        if self.scenario.style == Style::Saturated {
            self.begin_saturated();
        } else {
            let left = self.scenario.burst;
            self.after(1_000, Event::Demand { left });
        }
        if self.scenario.trouble > 0 {
            let first = self.around(self.scenario.trouble);
            self.after(first, Event::Trouble);
        }
        if self.scenario.changes > 0 {
            let first = self.around(self.scenario.changes);
            self.after(first, Event::Change);
        }
        if self.scenario.foreign > 0 {
            self.after(1, Event::Foreign);
        }
        self.after(self.longest_window / 2 + 1, Event::Tick);
    }

    /// Schedules an event.
    pub(super) fn after(&mut self, delay: u64, event: Event) {
        self.scheduled += 1;
        let (at, number) = (self.at + delay, self.scheduled);
        self.events.push(Scheduled { at, number, event });
    }

    /// Notes the first violation.
    pub(super) fn fail(&mut self, id: &'static str, text: String) {
        // A planted fault is to be found by what it breaks: what the store or
        // the callers lose by it does not count.
        if self.scenario.plant.is_some() && matches!(id, "I6" | "I7") {
            return;
        }
        let violation = Violation::new(id, text, self.at);
        self.violation.get_or_insert(violation);
    }

    pub(super) fn say(&self, what: impl FnOnce() -> String) {
        self.trace.say(self.at, what);
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

    /// Faults happen now.
    pub(super) fn is_rough(&self) -> bool {
        self.at < self.scenario.rough_until.unwrap_or(self.scenario.until)
    }

    fn step(&mut self, event: Event) {
        if let Some(node) = addressee(&event)
            && self.nodes[node].clocks.frozen_until > self.at
        {
            self.defer(node, event);
            return;
        }
        match event {
            Event::Demand { left } => self.demand(left),
            Event::Again { request } => self.again(request),
            Event::Foreign => self.use_foreign(),
            Event::Trouble => self.trouble(),
            Event::Crash { node, life } => {
                if self.nodes[node].life == life {
                    self.coverage.hit("crash just after a grant");
                    self.crash(node);
                }
            }
            Event::TakeOver { from, life } => {
                if self.nodes[from].life == life {
                    self.coverage.hit("takeover from a fresh block");
                    self.take_over(1 - from);
                }
            }
            Event::Change => self.change(),
            Event::Configure { settings } => self.configure(settings),
            Event::Settle { node, order, settings } => self.settle(node, order, settings),
            Event::Deliver { node, message, came, stamped, via } => {
                self.deliver(node, message, came, stamped, via);
            }
            Event::Reply { request, reply } => self.receive(request, reply),
            Event::Over { call } => self.over(call),
            Event::Apply { node, life, txn, answer_after } => {
                self.apply(node, life, txn, answer_after);
            }
            Event::Answered { node, life, writes, outcome, fenced } => {
                self.answered(node, life, &writes, outcome, fenced);
            }
            Event::Wake { node, life } => {
                if self.nodes[node].life == life {
                    if self.nodes[node].wake.is_some_and(|wake| wake <= self.at) {
                        self.nodes[node].wake = None;
                    }
                    self.poll(node);
                }
            }
            Event::Read { node, life } => self.read(node, life),
            Event::Loaded { node, life, records } => self.loaded(node, life, records),
            Event::Tame { node } => {
                self.nodes[node].clocks.wild = 0;
                if self.nodes[node].clocks.frozen_until <= self.at {
                    self.poll(node);
                }
            }
            Event::Tick => self.tick(),
        }
    }

    /// A paused process does nothing; what reaches it waits. Its clocks may have
    /// been read before, though.
    fn defer(&mut self, node: usize, mut event: Event) {
        let delay = self.nodes[node].clocks.frozen_until - self.at;
        if let Event::Deliver { stamped, message: Message::Acquire(_), .. } = &mut event
            && stamped.is_none()
            && self.rng.bool()
        {
            *stamped = Some(self.at);
        }
        self.coverage.hit("event put off by a pause");
        self.after(delay, event);
    }

    // ---- Owners ----

    /// The process, or its ledger, ends; who waited there hears of it.
    fn end_of(&mut self, node: usize) {
        for (request, _) in self.nodes[node].die() {
            self.after(self.scenario.latency, Event::Reply { request, reply: Reply::Nothing });
        }
    }

    /// The node takes the org: a new epoch, then a read, then a new ledger.
    fn take_over(&mut self, node: usize) {
        self.end_of(node);
        self.nodes[node].epoch = self.store.take();
        self.coverage.hit("takeover");
        self.say(|| format!("node {node} takes epoch {}", self.nodes[node].epoch));
        let life = self.nodes[node].life;
        let travel = self.rng.u64(0..=self.scenario.store_latency);
        self.after(travel, Event::Read { node, life });
    }

    fn read(&mut self, node: usize, life: u64) {
        if self.nodes[node].life == life {
            let records = self.store.read();
            let travel = self.rng.u64(0..=self.scenario.store_latency);
            self.after(travel, Event::Loaded { node, life, records });
        }
    }

    fn loaded(&mut self, node: usize, life: u64, records: Vec<(Group, Stored)>) {
        if self.nodes[node].life != life {
            return;
        }
        if self.nodes[node].clocks.wild != 0 {
            // A clock beyond ε is not read at a takeover.
            self.after(1_000_000, Event::Loaded { node, life, records });
            return;
        }
        self.rise(node, records);
    }

    /// The node serves the org in its epoch.
    fn rise(&mut self, node: usize, records: Vec<(Group, Stored)>) {
        let lost = |(_, stored): &(Group, Stored)| {
            stored.record.counters.iter().map(|counter| counter.open).sum::<u64>()
        };
        self.coverage.add("unit lost in an open block", records.iter().map(lost).sum());
        let now = self.nodes[node].now(self.at);
        let settings = self.settings_of(node);
        self.note_windows(&settings.catalogue);
        let Settings { policy, catalogue } = settings;
        let (epoch, rules) = (self.nodes[node].epoch, self.scenario.rules);
        self.nodes[node].ledger = Some(Ledger::new(now, epoch, rules, policy, catalogue, records));
        self.say(|| format!("node {node} is up in epoch {}", self.nodes[node].epoch));
        self.poll(node);
    }

    fn handed_over(&mut self, node: usize) {
        self.coverage.hit("hand-over");
        let epoch = self.nodes[node].epoch;
        if self.store.owner == epoch {
            self.check_handed_over(epoch);
        }
        self.end_of(node);
        let next = self.rng.usize(0..self.nodes.len());
        if self.store.owner == epoch {
            self.take_over(next);
        }
    }

    fn owner(&self) -> usize {
        self.nodes.iter().position(|node| node.epoch == self.store.owner).unwrap_or(0)
    }

    /// Where a client's message goes: mostly to the owner.
    pub(super) fn route(&mut self) -> usize {
        if self.ruled {
            return self.route_in_cluster();
        }
        let owner = self.owner();
        if self.nodes[1 - owner].ledger.is_some() && self.rng.bool() {
            self.coverage.hit("message to a stale owner");
            1 - owner
        } else {
            owner
        }
    }

    // ---- What goes wrong ----

    /// The worst moment for a crash is between a grant and its record.
    pub(super) fn crash_soon(&mut self, node: usize) {
        if self.ruled {
            self.signals.push(Signal::Granted { node });
            return;
        }
        if self.scenario.trouble > 0 && self.is_rough() && self.percent(3) {
            let life = self.nodes[node].life;
            let delay = self.rng.u64(0..=self.scenario.store_latency);
            self.after(delay, Event::Crash { node, life });
        }
    }

    fn tick(&mut self) {
        for node in 0..self.nodes.len() {
            if self.nodes[node].clocks.frozen_until > self.at {
                continue;
            }
            let now = self.nodes[node].now(self.at);
            if let Some(ledger) = &mut self.nodes[node].ledger {
                ledger.sweep(now.mono);
            }
            self.poll(node);
        }
        if self.ruled || self.at < self.scenario.until + 5 * self.longest_window {
            self.after(self.longest_window / 2 + 1, Event::Tick);
        } else if self.at < self.end() && self.scenario.style != Style::Saturated {
            // Every workspace has a counter of a day.
            self.after(micros(DAY) / 2, Event::Tick);
        } else if !self.rested {
            // A transaction that was late may have left a record that its owner
            // does not know of: the next owner clears it away.
            self.rested = true;
            let owner = self.owner();
            self.take_over(owner);
            self.after(micros(DAY) * 2, Event::Tick);
        }
    }

    /// By then everything has left and is forgotten.
    fn end(&self) -> u64 {
        let rules = &self.scenario.rules;
        let slack = rules.travel * 4 + rules.clock_error * 8 + rules.horizon_long * 4;
        self.scenario.until + 5 * self.longest_window + micros(slack) + 2 * micros(DAY)
    }

    // ---- What the settings say ----

    /// The charges of the catalogue that can be charged to a group, and the two
    /// that every org has.
    pub(super) fn charges(catalogue: &Catalogue) -> Vec<Charge> {
        let mut charges = vec![Charge::org_total(), Charge::workspace_cap()];
        for charge in catalogue.operations.values().flat_map(|operation| &operation.charges) {
            let known =
                |other: &Charge| (other.scope, &other.limit) == (charge.scope, &charge.limit);
            if !charges.iter().any(known) {
                charges.push(charge.clone());
            }
        }
        charges
    }

    /// A limit as it is in force: what may be granted, the outage share aside.
    /// `daily`: the org's total as the ledger knows it.
    pub(super) fn limit_of(policy: &OrgPolicy, charge: &Charge, daily: u64) -> u64 {
        let max = match charge.max {
            Max::Fixed(max) => max,
            Max::OrgConcurrent => policy.concurrent_calls,
            Max::OrgDaily => daily,
        };
        max - (max * u64::from(policy.outage_share)).div_ceil(100)
    }

    pub(super) fn daily(policy: &OrgPolicy, read: Option<u64>) -> u64 {
        let daily = read.unwrap_or(policy.daily_calls);
        daily.min(policy.daily_calls_max.unwrap_or(u64::MAX))
    }

    // ---- The end ----

    /// The share of a saturated limit that was used, as I6 measures it: k × T
    /// divided by the time in which k × L calls arrive.
    pub(super) fn share_used(&self) -> f64 {
        self.share_used_from(4 * self.longest_window)
    }

    /// The same, from a moment on at which everything was as it should be; what
    /// came before that has left after a while.
    pub fn share_used_from(&self, settled_at: u64) -> f64 {
        const CYCLES: usize = 5;
        let charges = Self::charges(&self.catalogue);
        let Some(charge) = charges.into_iter().find(|c| c.scope == Scope::ExecutionUser) else {
            return 0.0;
        };
        let max = Self::limit_of(&self.policy, &charge, 0);
        let rules = &self.scenario.rules;
        let settled = charge.window + charge.ttl_cap() + rules.travel + rules.clock_error * 2;
        let from = settled_at + micros(settled);
        let group = Group::User(self.policy.pool[0].clone());
        let arrivals = self.observer.arrivals(&CounterKey { group, limit: charge.limit.clone() });
        let first = arrivals.iter().position(|arrival| arrival.at >= from);
        let Some(first) = first else { return 0.0 };
        let calls = CYCLES * usize::try_from(max).unwrap_or(usize::MAX);
        let Some(last) = arrivals.get(first + calls) else { return 0.0 };
        let took = last.at - arrivals[first].at;
        CYCLES as f64 * micros(charge.window) as f64 / took as f64
    }
}

pub use self::ruled::{Signal, Via};

type Totals = BTreeMap<CounterKey, u64>;

/// The node that an event happens to.
fn addressee(event: &Event) -> Option<usize> {
    match event {
        Event::Deliver { node, .. }
        | Event::Answered { node, .. }
        | Event::Wake { node, .. }
        | Event::Settle { node, .. }
        | Event::Read { node, .. }
        | Event::Loaded { node, .. } => Some(*node),
        _ => None,
    }
}

/// The scope of a group's limits.
pub fn scope_of(group: &Group) -> Scope {
    match group {
        Group::Org => Scope::Org,
        Group::User(_) => Scope::ExecutionUser,
        Group::Workspace(_) => Scope::Workspace,
    }
}
