//! The scheduler: one thread, true time, and everything that can happen in it.
//! The shell's part is played as the real one plays it: one reserve in flight,
//! waiters pumped after every event, wakes honoured.

mod checks;
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
    node::Node,
    observer::Observer,
    scenario::{self, Plant, Scenario, Style},
    store::{Allowed, Applied, Careless, CounterKey, Store, Txn},
};
use crate::quota::{
    Answer, Catalogue, Charge, Group, GroupWrite, Kind, Ledger, Mono, Now, OrgPolicy, Outcome,
    ReserveOutcome, Scope, Standing, Stored,
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
    Deliver { node: usize, message: Message, came: u64, stamped: Option<u64> },
    /// An answer reaches a client.
    Reply { request: usize, reply: Reply },
    /// A client's call is over.
    Over { call: Use },
    /// These settings hold.
    Configure { policy: Arc<OrgPolicy>, catalogue: Arc<Catalogue> },
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
    trace: bool,
}

/// The most events of one run: more is a loop.
const MOST_EVENTS: u64 = 3_000_000;

impl World {
    /// A world at its beginning.
    pub fn new(mut rng: Rng, scenario: Scenario) -> Self {
        let mut world = Self {
            at: 0,
            order: 0,
            events: BinaryHeap::new(),
            scheduled: 0,
            policy: Arc::new(scenario.policy.clone()),
            catalogue: Arc::new(scenario.catalogue.clone()),
            store: Store::default(),
            nodes: vec![Node::default(), Node::default()],
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
            trace: std::env::var_os("QUOTAGATE_SIM_TRACE").is_some(),
            rng,
            scenario,
        };
        world.note_windows();
        for node in 0..world.nodes.len() {
            world.reset_clocks(node);
        }
        world.take_over(0);
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
        if let Err(overrun) = self.observer.check() {
            self.fail("I4", overrun.to_string());
        }
        self.check_gates();
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
        let at = self.at;
        self.violation.get_or_insert(Violation { id, text, at });
    }

    pub(super) fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{:>14} {}", self.at, what());
        }
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
    fn is_rough(&self) -> bool {
        match self.scenario.style {
            Style::Saturated => self.at < 3 * self.longest_window,
            _ => self.at < self.scenario.until,
        }
    }

    fn step(&mut self, event: Event) {
        if let Some(node) = addressee(&event)
            && self.nodes[node].frozen_until > self.at
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
            Event::Configure { policy, catalogue } => self.configure(policy, catalogue),
            Event::Deliver { node, message, came, stamped } => {
                self.deliver(node, message, came, stamped);
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
                self.nodes[node].wild = 0;
                if self.nodes[node].frozen_until <= self.at {
                    self.poll(node);
                }
            }
            Event::Tick => self.tick(),
        }
    }

    /// A paused process does nothing; what reaches it waits. Its clocks may have
    /// been read before, though.
    fn defer(&mut self, node: usize, mut event: Event) {
        let delay = self.nodes[node].frozen_until - self.at;
        if let Event::Deliver { stamped, message: Message::Acquire(_), .. } = &mut event
            && stamped.is_none()
            && self.rng.bool()
        {
            *stamped = Some(self.at);
        }
        self.coverage.hit("event put off by a pause");
        self.after(delay, event);
    }

    // ---- The shell ----

    fn deliver(&mut self, node: usize, message: Message, came: u64, stamped: Option<u64>) {
        let now = self.nodes[node].now(self.at);
        let Some(mut ledger) = self.nodes[node].ledger.take() else {
            self.coverage.hit("message to a node that is not up");
            if let Message::Acquire(request) = message {
                self.after(self.scenario.latency, Event::Reply { request, reply: Reply::Nothing });
            }
            return;
        };
        match message {
            Message::Acquire(request) => {
                let then = stamped.map_or(now, |stamped| self.nodes[node].now(stamped));
                if stamped.is_some() {
                    self.coverage.hit("clocks read before a pause");
                }
                let came = self.nodes[node].now(came.min(stamped.unwrap_or(self.at))).mono;
                let stamped = stamped.unwrap_or(self.at);
                self.acquire(node, &mut ledger, request, then, came, stamped);
            }
            Message::Cancel(request) => {
                let waiting = &mut self.nodes[node].waiting;
                let id = waiting.iter().find(|(_, all)| all.len() == 1 && all[0].0 == request);
                if let Some((id, _)) = id.map(|(id, all)| (*id, all.clone())) {
                    waiting.remove(&id);
                    ledger.cancel(id);
                    self.requests[request].closed = true;
                    self.coverage.hit("cancel");
                }
            }
            Message::Report(grant, report) => self.report(node, &mut ledger, grant, &report, now),
            Message::Release(grant, unused) => {
                self.release(node, &mut ledger, grant, unused, now.mono);
            }
        }
        self.nodes[node].ledger = Some(ledger);
        self.poll(node);
    }

    fn acquire(
        &mut self,
        node: usize,
        ledger: &mut Ledger,
        request: usize,
        now: Now,
        came: Mono,
        stamped: u64,
    ) {
        let ask = self.requests[request].ask.clone();
        self.nonce += 1;
        let before = self.sampled_totals(ledger, now.mono);
        let answer = ledger.acquire(now.mono, ask.clone(), self.nonce, true);
        let mut charged = None;
        match answer {
            Answer::Parked(id) => {
                self.coverage.hit("parked");
                self.nodes[node].waiting.entry(id).or_default().push((request, came));
            }
            Answer::Done(outcome) => {
                charged = self.reply(node, request, came, &outcome, now.mono, stamped);
            }
        }
        if let Some(before) = before {
            self.check_totals(ledger, now.mono, before, charged.into_iter().collect());
        }
    }

    /// After everything that happens to a node.
    pub(super) fn poll(&mut self, node: usize) {
        let Some(mut ledger) = self.nodes[node].ledger.take() else { return };
        let now = self.nodes[node].now(self.at);
        let before =
            if ledger.waiting() > 0 { self.sampled_totals(&ledger, now.mono) } else { None };
        let mut charged = Vec::new();
        for (id, outcome) in ledger.pump(now.mono) {
            for (request, came) in self.nodes[node].waiting.remove(&id).unwrap_or_default() {
                charged.extend(self.reply(node, request, came, &outcome, now.mono, self.at));
            }
        }
        if let Some(before) = before {
            self.check_totals(&ledger, now.mono, before, charged);
        }
        let writable = !self.nodes[node].in_flight && self.nodes[node].wild == 0;
        if writable && self.nodes[node].leaving {
            let most = self.scenario.most_records;
            let writes = ledger.begin_hand_over(self.written_now(node), most);
            if writes.is_empty() {
                self.handed_over(node);
                return;
            }
            self.coverage.hit("hand-over transaction");
            self.send(node, writes);
        } else if writable && ledger.wants_reserve(now.mono) {
            let writes = ledger.begin_reserve(self.written_now(node), self.scenario.most_records);
            if writes.is_empty() {
                self.fail("I6", "a reserve was wanted and has no writes".into());
            } else {
                self.send(node, writes);
            }
        }
        for id in ledger.take_violations() {
            self.fail(id, "the ledger says so itself".into());
        }
        if let Some(next) = ledger.next_wake(now.mono) {
            // A shell does not spin: what is due already waits a moment.
            let delay = micros(next.since(now.mono)).max(1_000.min(self.scenario.store_latency));
            let at = self.at + delay;
            if self.nodes[node].wake.is_none_or(|wake| at < wake) {
                self.nodes[node].wake = Some(at);
                let life = self.nodes[node].life;
                self.after(delay, Event::Wake { node, life });
            }
        }
        self.nodes[node].ledger = Some(ledger);
    }

    /// The clocks as they are read for a record.
    fn written_now(&mut self, node: usize) -> Now {
        let mut now = self.nodes[node].now(self.at);
        if self.has(Plant::RecordByWrongClock) && self.rng.u32(0..8) == 0 {
            let wrong = self.beyond();
            now.wall = now.wall - Duration::from_micros(wrong);
        }
        now
    }

    fn send(&mut self, node: usize, writes: Vec<GroupWrite>) {
        self.order += 1;
        self.coverage.hit("reserve");
        if writes.len() > 1 {
            self.coverage.hit("reserve of several records");
        }
        let allowed = self.allowed(node, &writes);
        let Node { epoch, life, .. } = self.nodes[node];
        self.say(|| format!("node {node} sends {}", describe(&writes)));
        let txn = Txn { epoch, writes: writes.clone(), order: self.order, sent: self.at, allowed };
        self.nodes[node].in_flight = true;
        let travel = self.rng.u64(0..=self.scenario.store_latency);
        let back = self.rng.u64(0..=self.scenario.store_latency);
        let timeout = self.scenario.store_timeout;
        let unknown = Event::Answered {
            node,
            life,
            writes: writes.clone(),
            outcome: ReserveOutcome::Unknown,
            fenced: false,
        };
        let cut_off = epoch != self.store.owner && self.percent(60);
        if !(self.is_rough() && (cut_off || self.percent(self.scenario.store_trouble))) {
            self.after(travel, Event::Apply { node, life, txn, answer_after: Some(back) });
            return;
        }
        match if cut_off { 1 } else { self.rng.u32(0..6) } {
            0 => {
                self.coverage.hit("transaction not executed");
                let outcome = ReserveOutcome::NotExecuted;
                self.after(travel, Event::Answered { node, life, writes, outcome, fenced: false });
            }
            1 => {
                self.coverage.hit("transaction lost");
                self.after(timeout, unknown);
            }
            2 => {
                self.coverage.hit("answer lost");
                self.after(travel, Event::Apply { node, life, txn, answer_after: None });
                self.after(timeout, unknown);
            }
            3 => {
                // Slow, but in time.
                let half = timeout.saturating_sub(1) / 2;
                let (there, back) = (self.rng.u64(0..=half), self.rng.u64(0..=half));
                self.after(there, Event::Apply { node, life, txn, answer_after: Some(back) });
            }
            _ => {
                self.coverage.hit("late transaction");
                let horizon = micros(self.scenario.rules.horizon_short);
                let late = self.rng.u64(0..=4) * self.rng.u64(0..=horizon);
                self.after(timeout + late, Event::Apply { node, life, txn, answer_after: None });
                self.after(timeout, unknown);
            }
        }
    }

    fn apply(&mut self, node: usize, life: u64, txn: Txn, answer_after: Option<u64>) {
        let careless = Careless {
            owner: self.has(Plant::BlindPut),
            records: self.has(Plant::Core(Fault::NoRecordCompare)),
        };
        let (outcome, fenced) = match self.store.apply(&txn, careless) {
            Ok(Applied::Done(revision)) => {
                self.coverage.hit("transaction applied");
                if answer_after.is_none() {
                    self.coverage.hit("transaction applied after its caller gave up");
                }
                self.take_over_soon(node, life);
                (ReserveOutcome::Committed { revision }, false)
            }
            Ok(Applied::Conflict(current)) => {
                self.coverage.hit("conflict");
                (ReserveOutcome::Conflict(current), false)
            }
            Ok(Applied::Fenced(current)) => {
                self.coverage.hit("fenced");
                (ReserveOutcome::Conflict(current), true)
            }
            Err((id, text)) => {
                self.fail(id, text);
                return;
            }
        };
        self.say(|| {
            let what = if fenced { "fenced" } else { outcome_name(&outcome) };
            format!("store: {what} (epoch {}) {}", txn.epoch, describe(&txn.writes))
        });
        if let Some(delay) = answer_after {
            let writes = txn.writes;
            self.after(delay, Event::Answered { node, life, writes, outcome, fenced });
        }
    }

    fn answered(
        &mut self,
        node: usize,
        life: u64,
        writes: &[GroupWrite],
        outcome: ReserveOutcome,
        fenced: bool,
    ) {
        if self.nodes[node].life != life {
            return;
        }
        self.nodes[node].in_flight = false;
        self.say(|| format!("node {node} hears {} fenced {fenced}", outcome_name(&outcome)));
        if fenced && !self.has(Plant::Core(Fault::FencedIsSuccess)) {
            self.coverage.hit("stale owner stops");
            self.end_of(node);
            return;
        }
        if outcome == ReserveOutcome::Unknown {
            self.coverage.hit("outcome unknown");
        }
        let now = self.nodes[node].now(self.at);
        let Some(ledger) = &mut self.nodes[node].ledger else { return };
        match ledger.finish_reserve(now.mono, writes, &outcome) {
            Standing::Owner => self.poll(node),
            Standing::Overtaken => {
                self.coverage.hit("overtaken");
                self.take_over(node);
            }
        }
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
        if self.nodes[node].wild != 0 {
            // A clock beyond ε is not read at a takeover.
            self.after(1_000_000, Event::Loaded { node, life, records });
            return;
        }
        let lost = |(_, stored): &(Group, Stored)| {
            stored.record.counters.iter().map(|counter| counter.open).sum::<u64>()
        };
        self.coverage.add("unit lost in an open block", records.iter().map(lost).sum());
        let now = self.nodes[node].now(self.at);
        self.nodes[node].ledger = Some(Ledger::new(
            now,
            self.nodes[node].epoch,
            self.scenario.rules,
            self.policy.clone(),
            self.catalogue.clone(),
            records,
        ));
        self.say(|| format!("node {node} is up in epoch {}", self.nodes[node].epoch));
        self.poll(node);
    }

    fn handed_over(&mut self, node: usize) {
        self.coverage.hit("hand-over");
        let epoch = self.nodes[node].epoch;
        let records = self.store.read().into_iter();
        let open = records.filter(|(_, stored)| stored.record.epoch == epoch).find_map(|record| {
            let (group, stored) = record;
            let counter = stored.record.counters.iter().find(|counter| counter.open > 0)?;
            Some(format!("{group:?}: {} units of {} are left open", counter.open, counter.limit))
        });
        if self.store.owner == epoch
            && let Some(text) = open
        {
            self.fail("I7", text);
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
        if self.scenario.trouble > 0 && self.is_rough() && self.percent(3) {
            let life = self.nodes[node].life;
            let delay = self.rng.u64(0..=self.scenario.store_latency);
            self.after(delay, Event::Crash { node, life });
        }
    }

    fn tick(&mut self) {
        for node in 0..self.nodes.len() {
            if self.nodes[node].frozen_until > self.at {
                continue;
            }
            let now = self.nodes[node].now(self.at);
            if let Some(ledger) = &mut self.nodes[node].ledger {
                ledger.sweep(now.mono);
            }
            self.poll(node);
        }
        if self.at < self.scenario.until + 5 * self.longest_window {
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
    pub(super) fn charges(&self) -> Vec<Charge> {
        let mut charges = vec![Charge::org_total(), Charge::workspace_cap()];
        for charge in self.catalogue.operations.values().flat_map(|operation| &operation.charges) {
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
    pub(super) fn limit_of(&self, charge: &Charge, daily: u64) -> u64 {
        let max = match charge.max {
            Max::Fixed(max) => max,
            Max::OrgConcurrent => self.policy.concurrent_calls,
            Max::OrgDaily => daily,
        };
        max - (max * u64::from(self.policy.outage_share)).div_ceil(100)
    }

    pub(super) fn daily(&self, read: Option<u64>) -> u64 {
        let daily = read.unwrap_or(self.policy.daily_calls);
        daily.min(self.policy.daily_calls_max.unwrap_or(u64::MAX))
    }

    // ---- The end ----

    /// The share of a saturated limit that was used, as I6 measures it: k × T
    /// divided by the time in which k × L calls arrive.
    pub(super) fn share_used(&self) -> f64 {
        const CYCLES: usize = 5;
        let Some(charge) = self.charges().into_iter().find(|c| c.scope == Scope::ExecutionUser)
        else {
            return 0.0;
        };
        let max = self.limit_of(&charge, 0);
        let rules = &self.scenario.rules;
        let settled = charge.window + charge.ttl_cap() + rules.travel + rules.clock_error * 2;
        let from = 4 * self.longest_window + micros(settled);
        let group = Group::User(self.policy.pool[0].clone());
        let arrivals = self.observer.arrivals(&CounterKey { group, limit: charge.limit.clone() });
        let first = arrivals.iter().position(|arrival| arrival.at >= from);
        let Some(first) = first else { return 0.0 };
        let calls = CYCLES * usize::try_from(max).unwrap_or(usize::MAX);
        let Some(last) = arrivals.get(first + calls) else { return 0.0 };
        let took = last.at - arrivals[first].at;
        CYCLES as f64 * micros(charge.window) as f64 / took as f64
    }

    /// The answer to a request leaves the node. The grant, if it is a new one.
    fn reply(
        &mut self,
        node: usize,
        request: usize,
        came: Mono,
        outcome: &Outcome,
        now: Mono,
        at: u64,
    ) -> Option<usize> {
        let waited = micros(now.since(came));
        let mut new = None;
        let reply = match outcome {
            Outcome::Granted(permit) => {
                let ttl = waited + micros(permit.life_left);
                match permit.key {
                    None => {
                        self.coverage.hit("check");
                        if !self.requests[request].ask.check_only || ttl != waited {
                            self.fail("I8", "a permit without a key".into());
                        }
                        Reply::Nothing
                    }
                    Some(key) => {
                        let (grant, is_new) = self.note_grant(node, request, key.0, permit, at);
                        new = is_new.then_some(grant);
                        Reply::Granted { grant, ttl }
                    }
                }
            }
            Outcome::Denied(_) => {
                self.coverage.hit("denial");
                Reply::Nothing
            }
            Outcome::Failed(_) => {
                self.coverage.hit("failure");
                Reply::Nothing
            }
        };
        let travel = self.rng.u64(0..=self.scenario.latency);
        self.after(travel, Event::Reply { request, reply });
        new
    }
}

type Totals = BTreeMap<CounterKey, u64>;

/// The node that an event happens to.
fn addressee(event: &Event) -> Option<usize> {
    match event {
        Event::Deliver { node, .. }
        | Event::Answered { node, .. }
        | Event::Wake { node, .. }
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

fn outcome_name(outcome: &ReserveOutcome) -> &'static str {
    match outcome {
        ReserveOutcome::Committed { .. } => "committed",
        ReserveOutcome::NotExecuted => "not executed",
        ReserveOutcome::Unknown => "unknown",
        ReserveOutcome::Conflict(_) => "conflict",
    }
}

fn describe(writes: &[GroupWrite]) -> String {
    let describe = |write: &GroupWrite| match &write.record {
        None => format!("{:?}: delete", write.group),
        Some(record) => {
            let counters = record.counters.iter().map(|counter| {
                let sealed: u64 = counter.sealed.iter().map(|(_, units)| units).sum();
                format!("{} sealed {sealed} open {}", counter.limit, counter.open)
            });
            let counters: Vec<String> = counters.collect();
            format!("{:?} #{}: {}", write.group, record.seq, counters.join(", "))
        }
    };
    writes.iter().map(describe).collect::<Vec<_>>().join("; ")
}
