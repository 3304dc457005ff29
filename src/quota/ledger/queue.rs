//! Requests that wait: for room, or for the store to commit a block. Strictly
//! by class, then in order of arrival. A waiter holds the counters that it
//! lacks: those of the same or a lower class that need one of them queue behind
//! it, others pass.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Answer, Ledger,
    groups::CounterRef,
    judge::{Ahead, Need, Plan, Verdict},
    requests::Remembered,
};
use crate::quota::{Ask, AskError, Class, Denial, DenialReason, Mono, Outcome};

/// Names a waiting request within its ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WaiterId(u64);

/// Waiting requests, in the order of service.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    waiters: BTreeMap<(Class, WaiterId), Waiter>,
    next: u64,
}

#[derive(Clone, Debug)]
struct Waiter {
    ask: Ask,
    plan: Plan,
    nonce: u64,
    /// The caller waits no longer than this for room.
    deadline: Mono,
    /// Nor than this for the store, where only a block lacks.
    store_deadline: Option<Mono>,
    /// The counters that it lacks, with what it waits for of each.
    lacking: Vec<(CounterRef, u64)>,
    /// All counters that it will charge, likewise: what a reserve must cover.
    needs: Vec<(CounterRef, u64)>,
    /// When something may have changed for it by the passing of time.
    retry_at: Option<Mono>,
    /// By the settings in force it cannot be decided any more.
    failed: Option<AskError>,
}

impl Queue {
    pub fn len(&self) -> usize {
        self.waiters.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// What requests that go before a new one of this class wait for.
    pub fn ahead_of(&self, class: Class) -> Ahead {
        let mut ahead = Ahead::new();
        for ((of, _), waiter) in &self.waiters {
            if *of > class {
                break;
            }
            waiter.add_to(&mut ahead);
        }
        ahead
    }
}

impl Waiter {
    fn add_to(&self, ahead: &mut Ahead) {
        for (at, units) in &self.lacking {
            *ahead.entry(*at).or_default() += units;
        }
    }

    /// Notes which counters of its plan it lacks, for so many calls.
    fn lack(&mut self, chosen: &Plan, lacking: &[CounterRef], calls: u32) {
        let units = |need: &Need| (need.at, need.units_per_call * u64::from(calls));
        self.needs = chosen.needs.iter().map(units).collect();
        self.lacking = self.needs.iter().filter(|(at, _)| lacking.contains(at)).copied().collect();
    }

    /// Notes that it waits for others that lack the same counters.
    fn wait_behind(&mut self, lacking: &[CounterRef]) {
        let plan = self.plan.clone();
        self.lack(&plan, lacking, self.ask.min_calls);
        self.store_deadline = None;
        self.retry_at = None;
    }

    fn refs(&self) -> BTreeSet<u32> {
        let pool = self.plan.pool.iter().flat_map(|plan| &plan.needs);
        self.plan.needs.iter().chain(pool).map(|need| need.at.group).collect()
    }
}

impl Ledger {
    /// Takes a waiter out of the queue: its caller has gone.
    pub fn cancel(&mut self, id: WaiterId) {
        let keys = Class::ALL.map(|class| (class, id));
        for key in keys {
            self.unpark(key);
        }
        self.recount_demand();
    }

    /// Decides the waiting requests again, in order. Call it after everything
    /// that can make room: a report, a release, a committed reserve, new
    /// settings, and when [`Ledger::next_wake`] says so.
    pub fn pump(&mut self, now: Mono) -> Vec<(WaiterId, Outcome)> {
        if self.queue.is_empty() {
            return Vec::new();
        }
        if self.stopped {
            return self.dismiss();
        }
        self.expire(now);
        self.update_classes(now);
        let mut answers = Vec::new();
        let mut ahead = Ahead::new();
        let mut place = 0;
        let keys: Vec<(Class, WaiterId)> = self.queue.waiters.keys().copied().collect();
        for key in keys {
            let Some(waiter) = self.queue.waiters.get(&key) else { continue };
            let failed = waiter.failed;
            if failed.is_none() && now < waiter.deadline {
                // Most of a long queue: no estimate is needed before its end.
                let lacking = self.behind(now, &waiter.ask, &waiter.plan, &ahead);
                if !lacking.is_empty() {
                    place += 1;
                    let waiter = self.queue.waiters.get_mut(&key).expect("it waits");
                    waiter.wait_behind(&lacking);
                    waiter.add_to(&mut ahead);
                    continue;
                }
            }
            let chosen = self.chosen(now, &waiter.ask, &waiter.plan, &ahead).clone();
            let ask = waiter.ask.clone();
            let verdict = failed.map_or_else(|| Ok(self.judge(now, &ask, &chosen, &ahead)), Err);
            place += 1;
            let outcome = match verdict {
                Err(error) => Some(Outcome::Failed(error)),
                Ok(Verdict::Grant { calls }) => {
                    let nonce = waiter.nonce;
                    Some(Outcome::Granted(self.grant(now, &ask, &chosen, calls, nonce)))
                }
                Ok(Verdict::AwaitBlock { calls, lacking, retry_at }) => {
                    let wait = self.rules.store_wait;
                    let waiter = self.queue.waiters.get_mut(&key).expect("it waits");
                    let until = *waiter.store_deadline.get_or_insert(now + wait);
                    waiter.lack(&chosen, &lacking, calls);
                    waiter.retry_at = (retry_at > now).then_some(retry_at);
                    (now >= until.max(waiter.deadline))
                        .then_some(Outcome::Failed(AskError::StoreTimeout))
                }
                Ok(Verdict::Refuse { refusal, lacking }) => {
                    let waiter = self.queue.waiters.get_mut(&key).expect("it waits");
                    waiter.store_deadline = None;
                    waiter.lack(&chosen, &lacking, ask.min_calls);
                    waiter.retry_at = refusal.frees_at.filter(|at| *at > now);
                    let over = now >= waiter.deadline || refusal.never;
                    let place = if ask.max_wait.is_zero() { 0 } else { place };
                    over.then(|| Outcome::Denied(self.denial(now, &ask, &chosen, &refusal, place)))
                }
            };
            match outcome {
                Some(outcome) => {
                    self.unpark(key);
                    answers.push((key.1, outcome));
                }
                None => {
                    if let Some(waiter) = self.queue.waiters.get(&key) {
                        waiter.add_to(&mut ahead);
                    }
                }
            }
        }
        self.recount_demand();
        answers
    }

    /// Sends every waiting request away: somebody else may be able to decide it.
    pub fn dismiss(&mut self) -> Vec<(WaiterId, Outcome)> {
        let keys: Vec<(Class, WaiterId)> = self.queue.waiters.keys().copied().collect();
        for key in &keys {
            self.unpark(*key);
        }
        self.recount_demand();
        keys.into_iter().map(|(_, id)| (id, Outcome::Failed(AskError::NotOwner))).collect()
    }

    /// Plans the waiting requests again: the pool, the operations and the names
    /// that are served may be others now. The next pump decides them.
    pub(super) fn replan(&mut self, now: Mono) {
        let keys: Vec<(Class, WaiterId)> = self.queue.waiters.keys().copied().collect();
        for key in keys {
            let Some(waiter) = self.queue.waiters.get(&key) else { continue };
            let (ask, before) = (waiter.ask.clone(), waiter.refs());
            let plan = self.plan(now, &ask);
            let waiter = self.queue.waiters.get_mut(&key).expect("it waits");
            match plan {
                Ok(plan) => {
                    waiter.plan = plan;
                    waiter.failed = None;
                    waiter.lacking.clear();
                    waiter.needs.clear();
                }
                Err(error) => waiter.failed = Some(error),
            }
            for slot in waiter.refs() {
                self.groups.get_mut(slot).refs += 1;
            }
            for slot in before {
                self.groups.get_mut(slot).refs -= 1;
            }
        }
        self.recount_demand();
    }

    /// When time alone can change something for a waiting request, or make a
    /// reserve due; `None` if nothing waits and nothing is open.
    #[must_use]
    pub fn next_wake(&self, now: Mono) -> Option<Mono> {
        let waits = self.queue.waiters.values().flat_map(|waiter| {
            let end = waiter.store_deadline.unwrap_or(waiter.deadline).max(waiter.deadline);
            [Some(end), waiter.retry_at].into_iter().flatten()
        });
        // The answer to a reserve in flight comes by itself.
        let groups = self.groups.iter().filter(|_| !self.in_flight);
        let blocks = groups.filter_map(|(_, group)| self.block_wake(group, now));
        let probe = self.probe_wake(now).filter(|_| !self.queue.is_empty());
        waits.chain(blocks).chain(probe).min()
    }

    /// Parks an ask that cannot be answered now.
    pub(super) fn park(
        &mut self,
        now: Mono,
        ask: Ask,
        plan: Plan,
        verdict: Verdict,
        nonce: u64,
        may_park: bool,
    ) -> Answer {
        if !may_park || self.queue.len() >= self.rules.max_waiting {
            return Answer::Done(match verdict {
                Verdict::Refuse { .. } => Outcome::Denied(self.queue_full(now, &plan)),
                _ => Outcome::Failed(AskError::Overloaded),
            });
        }
        self.queue.next += 1;
        let id = WaiterId(self.queue.next);
        let waiter = Waiter {
            deadline: now + ask.max_wait,
            ask,
            plan,
            nonce,
            store_deadline: None,
            lacking: Vec::new(),
            needs: Vec::new(),
            retry_at: None,
            failed: None,
        };
        for slot in waiter.refs() {
            self.groups.get_mut(slot).refs += 1;
        }
        if let Some(request) = &waiter.ask.request {
            self.requests.remember(request, Remembered::Waiting(id));
        }
        let key = (waiter.ask.class, id);
        let ahead = self.queue.ahead_of(waiter.ask.class);
        let chosen = self.chosen(now, &waiter.ask, &waiter.plan, &ahead).clone();
        let mut waiter = waiter;
        match verdict {
            Verdict::AwaitBlock { calls, lacking, retry_at } => {
                waiter.store_deadline = Some(now + self.rules.store_wait);
                waiter.lack(&chosen, &lacking, calls);
                waiter.retry_at = (retry_at > now).then_some(retry_at);
            }
            Verdict::Refuse { refusal, lacking } => {
                waiter.lack(&chosen, &lacking, waiter.ask.min_calls);
                waiter.retry_at = refusal.frees_at;
            }
            Verdict::Grant { .. } => {}
        }
        self.queue.waiters.insert(key, waiter);
        self.recount_demand();
        self.changes += 1;
        Answer::Parked(id)
    }

    fn unpark(&mut self, key: (Class, WaiterId)) {
        let Some(waiter) = self.queue.waiters.remove(&key) else { return };
        for slot in waiter.refs() {
            self.groups.get_mut(slot).refs -= 1;
        }
        if let Some(request) = &waiter.ask.request {
            self.requests.forget(request, Remembered::Waiting(key.1));
        }
        self.changes += 1;
    }

    /// What the next reserve must set aside for those who wait for a block only.
    fn recount_demand(&mut self) {
        self.demand.clear();
        let mut refused_ahead = Ahead::new();
        for waiter in self.queue.waiters.values() {
            if waiter.store_deadline.is_none() {
                waiter.add_to(&mut refused_ahead);
                continue;
            }
            for (at, units) in &waiter.needs {
                // The units that those ahead hold are not for this one: a block
                // that covers its own only would never reach it.
                let held = refused_ahead.remove(at).unwrap_or(0);
                *self.demand.entry(*at).or_default() += units + held;
            }
        }
    }

    fn queue_full(&self, now: Mono, plan: &Plan) -> Denial {
        let refs: Vec<CounterRef> = plan.needs.iter().map(|need| need.at).collect();
        Denial {
            reason: DenialReason::QueueFull,
            limit: None,
            limits: self.usages(now, &refs, plan.tag),
            retry_after: Some(self.rules.store_wait),
            queue_position: 0,
            message: format!(
                "{} requests wait for org {} already; ask again later, or without max_wait",
                self.queue.len(),
                self.org
            ),
            class_state: self.class_state_of(plan.tag),
        }
    }
}
