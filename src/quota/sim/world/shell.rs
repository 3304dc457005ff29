//! The shell around a node's ledger, played as the real one plays it: one
//! reserve in flight, waiters pumped after every event, wakes honoured.

use super::*;

impl World {
    pub(super) fn deliver(
        &mut self,
        node: usize,
        message: Message,
        came: u64,
        stamped: Option<u64>,
        via: Option<Via>,
    ) {
        let now = self.nodes[node].now(self.at);
        if self.ruled && !self.is_here(node, stamped, via) {
            self.signals.push(Signal::NotHere { node, message, came, via });
            return;
        }
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

    pub(super) fn acquire(
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
        let answer = ledger.acquire(now.mono, &ask, self.nonce, true);
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
        let pumped =
            if self.nodes[node].may_grant(now.mono) { ledger.pump(now.mono) } else { Vec::new() };
        for (id, outcome) in pumped {
            for (request, came) in self.nodes[node].waiting.remove(&id).unwrap_or_default() {
                charged.extend(self.reply(node, request, came, &outcome, now.mono, self.at));
            }
        }
        if let Some(before) = before {
            self.check_totals(&ledger, now.mono, before, charged);
        }
        let writable = !self.nodes[node].in_flight && self.nodes[node].clocks.wild == 0;
        if self.nodes[node].written {
            // Nothing follows the last record but the end.
        } else if writable && self.nodes[node].leaving {
            let most = self.scenario.most_records;
            let writes = ledger.begin_hand_over(self.written_now(node), most);
            if writes.is_empty() && self.ruled {
                self.nodes[node].written = true;
                let epoch = self.nodes[node].epoch;
                self.signals.push(Signal::Written { node, epoch });
                self.nodes[node].ledger = Some(ledger);
                return;
            }
            if writes.is_empty() {
                self.handed_over(node);
                return;
            }
            let writes = self.forgetting(writes);
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

    /// A planted fault: what was granted since the last record is not written.
    fn forgetting(&self, mut writes: Vec<GroupWrite>) -> Vec<GroupWrite> {
        if self.has(Plant::Core(Fault::HandOverForgetsGrants)) {
            let stored = self.store.read();
            for write in &mut writes {
                let before = stored.iter().find(|(group, _)| *group == write.group);
                let Some(record) = &mut write.record else { continue };
                for counter in &mut record.counters {
                    let before = before.and_then(|(_, stored)| {
                        stored.record.counters.iter().find(|c| c.limit == counter.limit)
                    });
                    counter.sealed = before.map_or(Vec::new(), |before| before.sealed.clone());
                }
            }
        }
        writes
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
        let alone = self.nodes[node].cut_off;
        let cut_off = alone || (epoch != self.store.owner && self.percent(60));
        if !(alone || self.is_rough() && (cut_off || self.percent(self.scenario.store_trouble))) {
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

    pub(super) fn apply(&mut self, node: usize, life: u64, txn: Txn, answer_after: Option<u64>) {
        if self.nodes[node].cut_off && answer_after.is_some() {
            self.coverage.hit("transaction lost");
            let (writes, outcome) = (txn.writes, ReserveOutcome::Unknown);
            let timeout = self.scenario.store_timeout;
            self.after(timeout, Event::Answered { node, life, writes, outcome, fenced: false });
            return;
        }
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

    pub(super) fn answered(
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
        let epoch = self.nodes[node].epoch;
        self.say(|| format!("node {node} hears {} fenced {fenced}", outcome_name(&outcome)));
        if fenced && !self.has(Plant::Core(Fault::FencedIsSuccess)) {
            self.coverage.hit("stale owner stops");
            if self.ruled {
                self.signals.push(Signal::Fenced { node, epoch });
            } else {
                self.end_of(node);
            }
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
                if self.ruled {
                    self.signals.push(Signal::Broken { node, epoch });
                } else {
                    self.take_over(node);
                }
            }
        }
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
        let waited = micros(now.since(came)) + self.requests[request].carried;
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
            Outcome::Denied(denial) => {
                self.coverage.hit("denial");
                if denial.reason == DenialReason::CoolingDown {
                    self.coverage.hit("denial for a cooling-down");
                }
                Reply::Nothing
            }
            Outcome::Failed(_) => {
                self.coverage.hit("failure");
                Reply::Nothing
            }
        };
        let mut travel = self.rng.u64(0..=self.scenario.latency);
        let mut reply = reply;
        if let Some(edge) = self.requests[request].edge {
            travel += self.rng.u64(0..=self.scenario.latency);
            if self.nodes[node].apart.contains(&edge) {
                self.coverage.hit("answer to a forwarded request lost");
                (reply, travel) = (Reply::Nothing, travel + self.scenario.store_timeout);
            }
        }
        self.after(travel, Event::Reply { request, reply });
        new
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
