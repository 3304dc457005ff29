//! The clients: what they ask for, how they use what they get, and what they
//! tell. They keep to the contract: no call starts at or after the end of its
//! permit by the client's own clock, reports are truthful, and what is given
//! back is never sent.

use std::{sync::Arc, time::Duration};

use super::{
    node::{Settings, true_wall},
    observer::Arrival,
    scenario::{Plant, Style},
    store::CounterKey,
    world::{Event, World},
};
use crate::quota::{
    Ask, Charge, Class, Group, Kind, Ledger, LimitUsage, Mono, Now, Permit, PermitKey, Reading,
    Released, Report, RequestId, RequestKey, Scope, Teller, UserId, Wall, WorkspaceId,
    catalogue::{Cost, DAY, Max},
    ranges::RangeSet,
    salesforce::{
        ApiUsage,
        errors::{OwnCounter, Trouble, TroubleKind},
    },
    time::micros,
};

/// A request as a client sent it.
#[derive(Clone, Debug)]
pub struct Request {
    /// What it asks.
    pub ask: Ask,
    /// When it was sent, by the client's clock, which is true time here.
    pub sent: u64,
    /// It needs no answer any more.
    pub closed: bool,
    /// Its answer is lost on the way.
    deaf: bool,
    /// The node that forwarded it, in a cluster.
    pub edge: Option<usize>,
    /// How long it was there, by that node's clock.
    pub carried: u64,
}

/// What reaches a node.
#[derive(Clone, Debug)]
pub enum Message {
    /// A request.
    Acquire(usize),
    /// The client has gone.
    Cancel(usize),
    /// What became of calls of a grant.
    Report(usize, Report),
    /// Calls of a grant that were not sent.
    Release(usize, Option<u32>),
}

/// What reaches a client.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A grant, with a life that counts from the sending of the request.
    Granted { grant: usize, ttl: u64 },
    /// A denial, an error, or a check.
    Nothing,
}

/// A grant, as it left a ledger.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Its permit's key.
    key: PermitKey,
    /// The epoch that granted it.
    epoch: u64,
    /// Its place in the order of things.
    order: u64,
    /// How many calls.
    pub calls: u32,
    /// What it charges.
    pub charges: Vec<Charged>,
    /// The client has made its plan.
    used: bool,
    /// Calls that the client has sent, or will.
    sends: u32,
    reported: RangeSet,
    answered: RangeSet,
    released: Option<u32>,
    reads: bool,
}

/// One counter that a grant charges.
#[derive(Clone, Debug)]
pub struct Charged {
    /// Which.
    pub key: CounterKey,
    /// Units of a call.
    pub units_per_call: u64,
    limit: u64,
    slots: bool,
    window: u64,
}

/// Calls of a grant that a client makes together.
#[derive(Clone, Debug)]
pub struct Use {
    grant: usize,
    first: u32,
    calls: u32,
    /// The HTTP status; 0: no answer.
    status: u16,
    /// The client reports so long after it knows.
    report_after: Option<u64>,
    again: bool,
}

/// Units of one call.
pub fn units_per_call(charge: &Charge, ask: &Ask) -> u64 {
    match charge.cost {
        Cost::One => 1,
        Cost::Request => u64::from(ask.cost),
    }
}

impl World {
    /// One request of a burst, and the next one.
    pub(super) fn demand(&mut self, left: u64) {
        if self.at >= self.scenario.until {
            return;
        }
        let ask = self.ask();
        let saturated = self.scenario.style == Style::Saturated;
        if !saturated {
            let delay = if left > 1 {
                self.around(self.scenario.spacing)
            } else {
                self.coverage.hit("burst");
                self.around(self.scenario.pause)
            };
            let left = if left > 1 { left - 1 } else { self.scenario.burst };
            self.after(delay, Event::Demand { left });
        }
        let has_id = ask.request.is_some();
        let cancels = !ask.max_wait.is_zero() && !saturated && self.percent(5);
        let max_wait = micros(ask.max_wait);
        let deaf = !saturated && self.percent(if has_id { 60 } else { 3 });
        let node = self.send_request(ask.clone(), deaf);
        let request = self.requests.len() - 1;
        if cancels {
            let delay = self.rng.u64(0..=max_wait);
            self.tell(node, delay, Message::Cancel(request));
        }
        if has_id {
            let mut delay = 0;
            for _ in 0..self.rng.u32(1..4) {
                let ttl = self.scenario.catalogue.get(&ask.operation).map_or(0, |operation| {
                    let caps = operation.charges.iter().map(|charge| micros(charge.ttl_cap()));
                    caps.min().unwrap_or(0)
                });
                delay += self.rng.u64(0..=ttl);
                self.coverage.hit("repeat of a request");
                self.after(delay, Event::Again { request });
            }
        }
    }

    /// The client sends a request again: under the same name, with its own start.
    pub(super) fn again(&mut self, request: usize) {
        let ask = self.requests[request].ask.clone();
        let deaf = self.percent(30);
        self.send_request(ask, deaf);
    }

    fn send_request(&mut self, ask: Ask, deaf: bool) -> usize {
        let request = self.requests.len();
        self.requests.push(Request {
            ask,
            sent: self.at,
            closed: false,
            deaf,
            edge: None,
            carried: 0,
        });
        let node = self.route();
        let delay = self.rng.u64(0..=self.scenario.latency);
        self.tell(node, delay, Message::Acquire(request));
        node
    }

    fn tell(&mut self, node: usize, delay: u64, message: Message) {
        let came = self.at + delay;
        self.after(delay, Event::Deliver { node, message, came, stamped: None, via: None });
    }

    fn ask(&mut self) -> Ask {
        let total: u32 = self.scenario.demand.iter().map(|(_, weight)| weight).sum();
        let mut ticket = self.rng.u32(0..total);
        let mut chosen = &self.scenario.demand[0].0;
        for (operation, weight) in &self.scenario.demand {
            chosen = operation;
            if ticket < *weight {
                break;
            }
            ticket -= weight;
        }
        let operation = chosen.clone();
        let style = self.scenario.style;
        let calls = if self.percent(50) { 1 } else { self.rng.u32(1..=self.scenario.most_calls) };
        let min_calls = if self.rng.bool() { calls } else { self.rng.u32(1..=calls) };
        let named = match style {
            Style::Sharp => 15,
            Style::General => 50,
            Style::Day => 90,
            Style::Saturated => 0,
        };
        let workspace = self.percent(named).then(|| {
            let name = ["acme", "acme", "bolt", "core", "other"][self.rng.usize(0..5)];
            WorkspaceId::parse(name).expect("a name")
        });
        let user = if self.rng.bool() && !self.policy.pool.is_empty() {
            None
        } else {
            let user = if self.percent(90) { "user0" } else { "stranger" };
            Some(UserId::parse(user).expect("a name"))
        };
        let user = if style == Style::Saturated { None } else { user };
        let class = match style {
            Style::Saturated => Class::Event,
            _ if self.percent(50) => Class::Event,
            _ => Class::ALL[self.rng.usize(0..4)],
        };
        let longest =
            self.longest_window.min(if style == Style::Day { 600_000_000 } else { u64::MAX });
        let max_wait = match style {
            Style::Saturated => 600_000_000,
            _ if self.percent(50) => 0,
            _ => self.rng.u64(0..=longest * 3 / 2),
        };
        let ttl = match style {
            Style::Sharp | Style::Saturated => None,
            _ if self.percent(60) => None,
            _ => Some(Duration::from_micros(self.rng.u64(1..=longest))),
        };
        let request = (style != Style::Saturated && self.percent(20)).then(|| {
            let name = format!("request-{}", self.requests.len());
            RequestKey {
                caller: Arc::from(""),
                id: RequestId::parse(&name).expect("a name"),
                digest: 1,
            }
        });
        Ask {
            caller: None,
            principal: None,
            workspace,
            operation,
            user,
            class,
            calls,
            min_calls,
            cost: if style != Style::Saturated && self.percent(30) {
                self.rng.u32(1..8)
            } else {
                1
            },
            ttl,
            request,
            max_wait: Duration::from_micros(max_wait),
            check_only: style != Style::Saturated && self.percent(2),
        }
    }

    // ---- A grant leaves a ledger ----

    /// The grant of a permit; true if it is a new one.
    pub(super) fn note_grant(
        &mut self,
        node: usize,
        request: usize,
        nonce: u64,
        permit: &Permit,
        at: u64,
    ) -> (usize, bool) {
        if let Some(known) = self.by_nonce.get(&nonce) {
            self.coverage.hit("repeat answered with the same permit");
            return (*known, false);
        }
        self.coverage.hit("grant");
        self.order += 1;
        let ask = self.requests[request].ask.clone();
        if permit.calls < ask.min_calls || permit.calls > ask.calls {
            self.fail("I8", format!("{} calls granted, asked {ask:?}", permit.calls));
        }
        if permit.calls < ask.calls {
            self.coverage.hit("partial grant");
        }
        if self.nodes[node].epoch != self.store.owner {
            self.coverage.hit("grant by a stale owner");
        }
        let charges = self.charged(node, &ask, permit);
        let mut named: Vec<CounterKey> = permit.limits.iter().map(key_of).collect();
        let mut due: Vec<CounterKey> = charges.iter().map(|charge| charge.key.clone()).collect();
        named.sort();
        due.sort();
        if named != due {
            self.fail("I8", format!("charged {named:?}, not {due:?}"));
        }
        for charge in &charges {
            self.note_spent(node, permit, charge, at);
        }
        self.check_gate(node, &ask, permit);
        let reads = charges.iter().any(|charge| is_total(&charge.key));
        let grant = self.grants.len();
        self.say(|| format!("node {node} grants #{grant}: {} calls, {ask:?}", permit.calls));
        self.grants.push(Grant {
            key: PermitKey(nonce),
            epoch: permit.epoch,
            order: self.order,
            calls: permit.calls,
            charges,
            used: false,
            sends: 0,
            reported: RangeSet::default(),
            answered: RangeSet::default(),
            released: None,
            reads,
        });
        self.by_nonce.insert(nonce, grant);
        self.crash_soon(node);
        (grant, true)
    }

    /// What a grant must charge, by the catalogue.
    fn charged(&mut self, node: usize, ask: &Ask, permit: &Permit) -> Vec<Charged> {
        let Settings { policy, catalogue } = self.settings_of(node);
        let mut charges: Vec<Charge> =
            ask.workspace.iter().map(|_| Charge::workspace_cap()).collect();
        if let Some(operation) = catalogue.get(&ask.operation) {
            charges.extend(operation.charges.iter().cloned());
        }
        let mut charged = Vec::new();
        for charge in charges {
            let group = match charge.scope {
                Scope::Org => Some(Group::Org),
                Scope::ExecutionUser => permit.user.clone().map(Group::User),
                Scope::Workspace => ask.workspace.clone().map(Group::Workspace),
            };
            let Some(group) = group else { continue };
            let key = CounterKey { group, limit: charge.limit.clone() };
            // Only a ledger knows what the header said last.
            let shown = permit.limits.iter().find(|limit| key_of(limit) == key);
            let limit = match (charge.scope, charge.max) {
                (Scope::Workspace, Max::OrgDaily) => u64::MAX,
                _ => Self::limit_of(&policy, &charge, shown.map_or(0, |limit| limit.max)),
            };
            let (window, slots) = (micros(charge.window), charge.kind == Kind::Concurrency);
            self.observer.window(&key, self.order, window, slots);
            let units_per_call = units_per_call(&charge, ask);
            charged.push(Charged { key, units_per_call, limit, slots, window });
        }
        charged
    }

    /// I2, from outside: what an epoch has granted since its last record was
    /// sent is at most what that record set aside, and granted before the end of
    /// the block. `at`: the time at which the clocks were read.
    fn note_spent(&mut self, node: usize, permit: &Permit, charge: &Charged, at: u64) {
        let epoch = self.nodes[node].epoch;
        if permit.epoch != epoch {
            self.fail("I3", format!("epoch {} granted in epoch {epoch}", permit.epoch));
        }
        let block = self.store.block(epoch, &charge.key);
        let units = u64::from(permit.calls) * charge.units_per_call;
        let spent = self.spent.entry((epoch, charge.key.clone())).or_default();
        spent.retain(|(order, _)| *order > block.order);
        spent.push((self.order, units));
        let units: u64 = spent.iter().map(|(_, units)| units).sum();
        if units > block.open || at >= block.until {
            let text = format!("{:?}: {units} granted at {at} from {block:?}", charge.key);
            self.fail("I2", text);
        }
    }

    /// I9: no grant takes a workspace beyond the pause point of its class.
    fn check_gate(&mut self, node: usize, ask: &Ask, permit: &Permit) {
        let settings = self.settings_of(node);
        let Some(workspace) = &ask.workspace else { return };
        let Some(policy) = settings.policy.workspaces.get(workspace) else { return };
        let Some(cap) = policy.daily_calls else { return };
        let Some(thresholds) = policy.classes.of(ask.class) else { return };
        let share = (cap * u64::from(settings.policy.outage_share)).div_ceil(100);
        let point = thresholds.pause_point(cap).min(cap - share);
        let group = Group::Workspace(workspace.clone());
        let key = CounterKey { group, limit: Charge::workspace_cap().limit };
        let used = permit.limits.iter().find(|limit| key_of(limit) == key);
        let used = used.map_or(0, |limit| limit.used_by_caller + limit.used_by_others);
        self.coverage.hit("grant under a cap");
        if used > point {
            self.fail("I9", format!("{key:?}: {used} used, the pause point is {point}"));
        }
        let units = u64::from(permit.calls) * u64::from(ask.cost);
        self.gates.push((key, self.at, units, point));
    }

    // ---- A client has an answer ----

    pub(super) fn receive(&mut self, request: usize, reply: Reply) {
        let saturated = self.scenario.style == Style::Saturated;
        let Reply::Granted { grant, ttl } = reply else {
            self.requests[request].closed = true;
            if saturated {
                // Where nobody serves, nobody asks without a pause.
                let pause = if self.ruled { 20_000 } else { 1_000 };
                self.after(pause, Event::Demand { left: 1 });
            }
            return;
        };
        self.requests[request].closed = true;
        let deadline = self.requests[request].sent + ttl;
        if self.requests[request].deaf || self.grants[grant].used {
            return;
        }
        if self.at >= deadline {
            self.coverage.hit("permit that came too late");
            if saturated {
                self.after(1_000, Event::Demand { left: 1 });
            }
            return;
        }
        self.grants[grant].used = true;
        if saturated {
            self.use_at_once(grant);
            return;
        }
        let habit = self.rng.u32(0..100);
        let [quick, late, ghost, split] = match self.scenario.style {
            Style::Sharp => [36, 72, 78, 88],
            _ => [30, 55, 65, 70],
        };
        if habit < quick {
            self.use_at_once(grant);
        } else if habit < late {
            self.use_at_the_last_instant(grant, deadline);
        } else if habit < ghost {
            self.use_and_lose_the_answer(grant);
        } else if habit < split {
            self.use_one_and_then_the_rest(grant, deadline);
        } else {
            self.use_somehow(grant, deadline);
        }
    }

    fn use_at_once(&mut self, grant: usize) {
        let calls = self.grants[grant].calls;
        let saturated = self.scenario.style == Style::Saturated;
        let most = if saturated { self.longest_window / 450 } else { self.scenario.latency };
        let travel = self.rng.u64(0..=most).min(self.travel());
        let lasts = self.rng.u64(0..=most);
        self.call(grant, 0..calls, self.at, travel, Some(lasts), 200, Some(0));
        self.coverage.hit("use at once");
    }

    fn use_at_the_last_instant(&mut self, grant: usize, deadline: u64) {
        let calls = self.grants[grant].calls;
        let start = if self.has(Plant::ClientIgnoresTtl) {
            deadline + self.travel() + self.rng.u64(0..=self.longest_window / 2)
        } else {
            deadline - 1
        };
        let report = self.rng.bool().then_some(0);
        self.call(grant, 0..calls, start, self.travel(), None, 0, report);
        self.coverage.hit("use at the last instant");
    }

    /// The connection breaks at once, but the bytes travel on.
    fn use_and_lose_the_answer(&mut self, grant: usize) {
        let calls = self.grants[grant].calls;
        let status = [0, 500, 503][self.rng.usize(0..3)];
        self.call(grant, 0..calls, self.at, self.travel(), None, status, Some(0));
        self.coverage.hit("report without an answer");
        if self.percent(40) {
            self.release_after(grant, self.scenario.latency * 2, None);
        }
    }

    /// The first call at once, the others at the last instant.
    fn use_one_and_then_the_rest(&mut self, grant: usize, deadline: u64) {
        let calls = self.grants[grant].calls;
        self.call(grant, 0..1, self.at, 0, Some(0), 200, Some(0));
        if calls > 1 {
            let report = self.rng.bool().then_some(0);
            self.call(grant, 1..calls, deadline - 1, self.travel(), None, 0, report);
        }
        self.coverage.hit("use of one call, then of the rest");
    }

    /// Some calls now, some later, some never; told at any time or not at all.
    fn use_somehow(&mut self, grant: usize, deadline: u64) {
        let calls = self.grants[grant].calls;
        let life = deadline - self.at;
        let sends = if self.percent(40) { calls } else { self.rng.u32(0..=calls) };
        self.grants[grant].sends = sends;
        let mut first = 0;
        while first < sends {
            let count =
                if self.rng.bool() { sends - first } else { self.rng.u32(1..=sends - first) };
            let start = match self.rng.u32(0..4) {
                0 => self.at,
                1 => deadline - 1,
                _ => self.at + self.rng.u64(0..life),
            };
            let travel =
                if self.rng.bool() { self.travel() } else { self.rng.u64(0..=self.travel()) };
            let lasts = self.percent(70).then(|| self.rng.u64(0..=life));
            let status = match lasts {
                Some(_) => [200, 200, 200, 404, 403, 503][self.rng.usize(0..6)],
                None => 0,
            };
            let report = match self.rng.u32(0..4) {
                0 => None,
                1 | 2 => Some(0),
                _ => Some(self.rng.u64(0..=life)),
            };
            self.call(grant, first..first + count, start, travel, lasts, status, report);
            first += count;
        }
        self.coverage.hit("use somehow");
        if sends < calls && self.percent(80) {
            let unused = Some(calls - sends);
            let delay = if self.rng.bool() { 0 } else { self.rng.u64(0..=life + life / 4) };
            // What is given back is a promise; a part of it may be, too.
            let part =
                if self.percent(20) { Some(self.rng.u32(0..=calls - sends)) } else { unused };
            self.release_after(grant, delay, part);
            for _ in 0..self.rng.u32(0..3) {
                let later = delay + self.rng.u64(0..=life / 2);
                self.release_after(grant, later, unused);
                self.coverage.hit("release again");
            }
        } else if self.percent(20) {
            let delay = self.rng.u64(0..=life);
            self.release_after(grant, delay, if sends == calls { Some(0) } else { None });
        }
    }

    fn travel(&self) -> u64 {
        micros(self.scenario.rules.travel)
    }

    fn release_after(&mut self, grant: usize, delay: u64, unused: Option<u32>) {
        let node = self.route();
        let travel = self.rng.u64(0..=self.scenario.latency);
        self.tell(node, delay + travel, Message::Release(grant, unused));
    }

    /// Makes calls: they arrive, whatever becomes of their answers.
    #[expect(clippy::too_many_arguments, reason = "the facts of a call, named at four places")]
    fn call(
        &mut self,
        grant: usize,
        range: std::ops::Range<u32>,
        start: u64,
        travel: u64,
        lasts: Option<u64>,
        status: u16,
        report_after: Option<u64>,
    ) {
        let made = range.end - range.start;
        let slot = self.grants[grant].charges.iter().filter(|charge| charge.slots);
        let longest = slot.map(|charge| charge.window).min();
        let lasts = lasts.map(|lasts| lasts.min(longest.unwrap_or(u64::MAX)));
        let arrives = start + travel;
        let over = lasts.map(|lasts| arrives + lasts);
        for charge in self.grants[grant].charges.clone() {
            let (order, limit) = (self.grants[grant].order, charge.limit);
            let units = charge.units_per_call * u64::from(made);
            let (at, until) = if charge.slots {
                (start, over.unwrap_or(arrives + charge.window))
            } else {
                (arrives, arrives)
            };
            self.observer.arrive(&charge.key, Arrival { at, until, units, order, limit });
        }
        self.coverage.add("call", u64::from(made));
        let sends = &mut self.grants[grant].sends;
        *sends = (*sends).max(range.end);
        let knows = match (over, status) {
            (Some(over), _) => over,
            // A broken connection is noticed at once, a missing answer later.
            (None, 0) => start + 1,
            (None, _) => start + self.scenario.latency,
        };
        let again = self.percent(20);
        let call = Use { grant, first: range.start, calls: made, status, report_after, again };
        self.after(knows - self.at, Event::Over { call });
    }

    /// The client knows what became of calls, and tells it now or later.
    pub(super) fn over(&mut self, call: Use) {
        if self.scenario.style == Style::Saturated {
            self.after(0, Event::Demand { left: 1 });
        }
        let Some(delay) = call.report_after else { return };
        let reading = (self.grants[call.grant].reads && (100..500).contains(&call.status))
            .then(|| self.reading());
        let trouble = self.refusal(call.status);
        let answered = (100..500).contains(&call.status);
        let status = if answered && trouble.is_some() { 403 } else { call.status };
        let report = |first_call, calls, completed_ago| Report {
            first_call,
            calls,
            http_status: status,
            completed_ago: Duration::from_micros(completed_ago),
            reading,
            trouble,
            ..Report::default()
        };
        let node = self.route();
        let grant = call.grant;
        let travel = |world: &mut Self| world.rng.u64(0..=world.scenario.latency);
        let parts = if call.calls > 1 && self.percent(30) {
            self.coverage.hit("partial report");
            let first = self.rng.u32(1..call.calls);
            vec![(call.first, first), (call.first + first, call.calls - first)]
        } else {
            vec![(call.first, call.calls)]
        };
        for (first, calls) in parts {
            let told = report(first, calls, delay);
            let travels = travel(self);
            if self.scenario.style == Style::Saturated || !self.percent(3) {
                self.tell(node, delay + travels, Message::Report(grant, told));
            }
            if call.again && self.scenario.style != Style::Saturated {
                let later = delay + travel(self) + self.rng.u64(0..=self.scenario.latency * 2);
                let told = report(first, calls, later);
                let travels = travel(self);
                self.coverage.hit("repeated report");
                self.tell(node, later + travels, Message::Report(grant, told));
            }
        }
    }

    /// What Salesforce says instead of a success, at random, while things go
    /// wrong.
    fn refusal(&mut self, status: u16) -> Option<Trouble> {
        const KINDS: [TroubleKind; 8] = [
            TroubleKind::TotalExceeded,
            TroubleKind::ConcurrencyExceeded,
            TroubleKind::LimitExceeded,
            TroubleKind::LimitExceeded,
            TroubleKind::Throttled,
            TroubleKind::CounterExceeded(OwnCounter::Bulk),
            TroubleKind::Unavailable,
            TroubleKind::NotAllowed,
        ];
        if self.ruled || !self.is_rough() {
            return None;
        }
        let rng = self.refusals.as_mut()?;
        let kind = match status {
            503 => TroubleKind::Unavailable,
            100..=499 if rng.u32(0..100) < 4 => KINDS[rng.usize(0..KINDS.len())],
            _ => return None,
        };
        let retry_after =
            (rng.u32(0..4) == 0).then(|| Duration::from_micros(rng.u64(0..=self.longest_window)));
        self.coverage.hit("refusal by Salesforce");
        Some(Trouble { kind, retry_after })
    }

    /// What the header of an answer says now.
    fn reading(&mut self) -> Reading {
        let key = CounterKey { group: Group::Org, limit: Charge::org_total().limit };
        let from = self.at.saturating_sub(micros(DAY));
        let foreign = self.foreign.iter().filter(|at| **at > from).count();
        let used = self.observer.units(&key, from, self.at) + foreign as u64;
        let limit = match self.rng.u32(0..10) {
            0 => 0,
            1 => self.policy.daily_calls * 3 / 4 + 1,
            _ => self.policy.daily_calls,
        };
        let second = Wall(true_wall(self.at).0 / 1_000_000 * 1_000_000);
        let answer_time = self.percent(80).then_some(second);
        self.coverage.hit("reading");
        Reading { usage: ApiUsage { used, limit }, answer_time }
    }

    // ---- What clients tell reaches a node ----

    pub(super) fn report(
        &mut self,
        node: usize,
        ledger: &mut Ledger,
        grant: usize,
        report: &Report,
        now: Now,
    ) {
        let told = ledger.report(now, self.grants[grant].key, report, &Teller::anybody());
        let told = told.expect("nobody is asked for a name");
        self.coverage.hit("report");
        let range = report.first_call..report.first_call + report.calls;
        let known = &self.grants[grant].answered;
        if known.missing(range).is_empty() && !told.already_settled {
            self.fail("I5", format!("#{grant}: a repeated report settled something"));
        }
        if told.already_settled {
            self.coverage.hit("report of nothing new");
        }
        self.say(|| format!("node {node} hears of #{grant}: {report:?} {}", told.already_settled));
        let noted = &mut self.grants[grant];
        if noted.epoch != self.nodes[node].epoch {
            return;
        }
        let end = (report.first_call + report.calls).min(noted.calls);
        let range = report.first_call..end;
        noted.reported.add(range.clone());
        if report.is_answered() {
            let new = noted.answered.missing(range.clone());
            let new: u32 = new.into_iter().map(|range| range.end - range.start).sum();
            noted.answered.add(range);
            // An answer ends the hold of a slot.
            self.unspend(grant, new, |charge| charge.slots);
        }
    }

    pub(super) fn release(
        &mut self,
        node: usize,
        ledger: &mut Ledger,
        at: usize,
        unused: Option<u32>,
        now: Mono,
    ) {
        let grant = &self.grants[at];
        let epoch = self.nodes[node].epoch;
        // Who has sent some gives the number; nobody notices if he does not,
        // once something has been reported.
        let careful = grant.sends > 0 && grant.reported.is_empty();
        let unused =
            if careful { Some(unused.unwrap_or(grant.calls - grant.sends)) } else { unused };
        let reported = grant.reported.len();
        let (calls, first) = (grant.calls, grant.released.is_none());
        let released = ledger.release(now, grant.key, unused, &Teller::anybody());
        let released = released.expect("nobody is asked for a name");
        self.say(|| format!("node {node} gets back of #{at}: {unused:?} {released:?}"));
        match released {
            Released::NumberNeeded => self.coverage.hit("release that needs a number"),
            Released::Returned { already_settled: true, .. } => {
                self.coverage.hit("release of nothing new");
            }
            Released::Returned { calls: returned, already_settled: false } => {
                self.coverage.hit("release");
                if grant_is_wrong(self, at, epoch, returned, calls - reported, first) {
                    let text =
                        format!("#{at}: {returned} of {calls} returned, {reported} reported");
                    self.fail("I5", text);
                }
                self.grants[at].released = Some(returned);
                self.unspend(at, returned, |_| true);
            }
        }
    }

    /// Returned units may be granted again: from the block, if no record had
    /// them, and I2 sees the difference.
    fn unspend(&mut self, grant: usize, calls: u32, of: impl Fn(&Charged) -> bool) {
        let Grant { epoch, order, .. } = self.grants[grant];
        for charge in self.grants[grant].charges.clone().into_iter().filter(of) {
            let sent = self.store.block(epoch, &charge.key).order;
            if let Some(spent) = self.spent.get_mut(&(epoch, charge.key)) {
                let units = charge.units_per_call * u64::from(calls);
                let of_it = |(of, _): &&mut (u64, u64)| *of == order && order > sent;
                for (_, left) in spent.iter_mut().filter(of_it) {
                    *left -= units.min(*left);
                    self.coverage.hit("release to the open block");
                }
            }
        }
    }
}

fn grant_is_wrong(
    world: &World,
    grant: usize,
    epoch: u64,
    returned: u32,
    unreported: u32,
    first: bool,
) -> bool {
    returned > 0 && (world.grants[grant].epoch != epoch || returned > unreported || !first)
}

/// The counter that is shown.
fn key_of(limit: &LimitUsage) -> CounterKey {
    let name = &*limit.identity;
    let group = match limit.scope {
        Scope::Org => Group::Org,
        Scope::ExecutionUser => Group::User(UserId::parse(name).expect("it was one")),
        Scope::Workspace => Group::Workspace(WorkspaceId::parse(name).expect("it was one")),
    };
    CounterKey { group, limit: limit.name.clone() }
}

fn is_total(key: &CounterKey) -> bool {
    key.group == Group::Org && key.limit == Charge::org_total().limit
}
