//! Requests that wait: for room, or for the store to commit a block.
//!
//! Who waits for the same thing stands in one *line*: of one class, for one
//! counter, or for any user of the pool. Classes are served strictly in order;
//! in a line workspaces share by weight, and each workspace's requests go in
//! order of arrival (`line`). Only the *front* of a line is judged: what it
//! lacks it holds, and everybody behind it needs the same. So a pump judges as
//! many requests as there are lines in which something may have changed, not as
//! many as wait.
//!
//! A front that lacks something else goes to that line, with its arrival. One
//! that comes back to a line whose front it was is a *senior*: the eldest such
//! request of a class is judged before all lines and holds everything that it
//! has lacked, until it is served. The others come back once in a pump, and then
//! stay without holding up those behind them, or they might be sent round for
//! ever. Lines that want the same counter take turns.

mod line;
mod serve;
mod show;
mod table;

use std::sync::Arc;

pub use self::table::Queue;
use self::table::{LineKey, Place, Point, Waiter, pool_point};
use super::{
    Answer, Ledger,
    groups::CounterRef,
    judge::{Ahead, Plan, Verdict},
    requests::Remembered,
};
use crate::quota::{Ask, AskError, Denial, DenialReason, Kind, Mono, Outcome, Scope};

/// Names a waiting request within its ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WaiterId(u64);

impl Ledger {
    /// Takes a waiter out of the queue: its caller has gone.
    pub fn cancel(&mut self, id: WaiterId) {
        // Its flow is remembered from the last moment that anybody spoke of.
        self.unpark(self.queue.time, id);
        self.recount_demand();
    }

    /// Decides the waiting requests again, in order. Call it after everything
    /// that can make room: a report, a release, a committed reserve, new
    /// settings, and when [`Ledger::next_wake`] says so.
    pub fn pump(&mut self, now: Mono) -> Vec<(WaiterId, Outcome)> {
        self.queue.time = now;
        if self.queue.is_empty() {
            return Vec::new();
        }
        if self.stopped {
            return self.dismiss();
        }
        self.expire(now);
        self.update_classes(now);
        let answers = self.serve(now);
        self.recount_demand();
        answers
    }

    /// Sends every waiting request away: somebody else may be able to decide it.
    pub fn dismiss(&mut self) -> Vec<(WaiterId, Outcome)> {
        let ids: Vec<WaiterId> = self.queue.waiters.keys().copied().collect();
        for id in &ids {
            self.unpark(self.queue.time, *id);
        }
        self.recount_demand();
        ids.into_iter().map(|id| (id, Outcome::Failed(AskError::NotOwner))).collect()
    }

    /// Plans the waiting requests again: the pool, the operations, the weights
    /// and the names that are served may be others now. The next pump decides
    /// them.
    pub(super) fn replan(&mut self, now: Mono) {
        self.queue.time = now;
        let ids: Vec<WaiterId> = self.queue.waiters.keys().copied().collect();
        for id in ids {
            let Some(waiter) = self.queue.waiters.get(&id) else { continue };
            let (ask, before, was_in) = (waiter.ask.clone(), waiter.groups(), waiter.line.clone());
            let store_deadline = waiter.store_deadline;
            let weight = self.weight_of(&ask);
            match self.plan(now, &ask) {
                Ok(plan) => {
                    self.queue.wait_for_store(id, store_deadline, Vec::new());
                    self.queue.hold(id, Vec::new(), None);
                    let everything: Vec<CounterRef> = needs(&plan).map(|(at, _)| at).collect();
                    let stays = match &was_in.point {
                        Point::Counter(at) | Point::Store(at) => everything.contains(at),
                        Point::Pool(_) => pool_point(&plan).as_ref() == Some(&was_in.point),
                    };
                    let point =
                        if stays { was_in.point } else { self.point_of(&plan, &everything) };
                    let replanned = |waiter: &mut Waiter| {
                        waiter.plan = plan;
                        waiter.weight = weight;
                        waiter.assumed = 0;
                        waiter.failed = None;
                    };
                    self.queue.replan(now, id, point, replanned);
                    self.queue.failed.remove(&id);
                }
                Err(error) => {
                    if let Some(waiter) = self.queue.waiters.get_mut(&id) {
                        waiter.failed = Some(error);
                        self.queue.failed.insert(id);
                    }
                }
            }
            let after = self.queue.waiters.get(&id).map(Waiter::groups).unwrap_or_default();
            for slot in after {
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
    pub fn next_wake(&mut self, now: Mono) -> Option<Mono> {
        let block = self.next_block(now);
        if self.queue.is_empty() {
            return block;
        }
        let waits = self.queue.next_wake().map(|at| at.max(now));
        let open = [self.cooling_wake(now), self.probe_wake(now)];
        waits.into_iter().chain(block).chain(open.into_iter().flatten()).min()
    }

    /// Parks an ask that cannot be answered now.
    pub(super) fn park(
        &mut self,
        now: Mono,
        ask: Ask,
        plan: Arc<Plan>,
        verdict: Verdict,
        nonce: u64,
        may_park: bool,
    ) -> Answer {
        // Those who wait for room do not keep out who waits for a block only.
        let for_store = self.queue.for_store();
        let waiting = match verdict {
            Verdict::AwaitBlock { .. } => for_store,
            _ => self.queue.len() - for_store,
        };
        if !may_park || waiting >= self.rules.max_waiting {
            self.note_refused(now, &ask, Some(DenialReason::QueueFull));
            return Answer::Done(match verdict {
                Verdict::Refuse { .. } => Outcome::Denied(self.queue_full(now, &ask, &plan)),
                _ => Outcome::Failed(AskError::Overloaded),
            });
        }
        self.queue.time = now;
        let ahead = self.queue.ahead_of(ask.class, &plan);
        let assumed = self.choose(now, &ask, &plan, &ahead).unwrap_or(0);
        let chosen = plan.pool.get(assumed).unwrap_or(&plan).clone();
        let (lacking, calls, awaits, retry_at) = match verdict {
            Verdict::AwaitBlock { calls, lacking, retry_at } => {
                (lacking, calls, true, Some(retry_at))
            }
            Verdict::Refuse { refusal, lacking } => {
                (lacking, ask.min_calls, false, refusal.frees_at)
            }
            Verdict::Grant { calls } => (Vec::new(), calls, false, None),
        };
        let weight = self.weight_of(&ask);
        let kept = self.kept_place(&ask);
        let point = match lacking.first() {
            Some(at) if awaits => Point::Store(*at),
            _ => self.point_of(&plan, &lacking),
        };
        let line = LineKey { class: ask.class, point };
        let request = ask.request.clone();
        let waiter = Waiter {
            arrival: 0,
            since: now,
            deadline: now + ask.max_wait,
            ask,
            plan,
            nonce,
            store_deadline: None,
            weight,
            line: line.clone(),
            assumed,
            holds: Vec::new(),
            front: None,
            demands: Vec::new(),
            retry_at: retry_at.filter(|at| *at > now),
            headed: Vec::new(),
            returned_in: 0,
            failed: None,
        };
        for slot in waiter.groups() {
            self.groups.get_mut(slot).refs += 1;
        }
        let retry_at = waiter.retry_at;
        let id = self.queue.insert(now, waiter, kept);
        if let Some(request) = request {
            self.requests.remember(&request, Remembered::Waiting(id));
        }
        if awaits {
            let until = Some(now + self.rules.store_wait);
            self.queue.wait_for_store(id, until, units(&chosen, calls, None));
        }
        self.stand(id, &chosen, &lacking, calls, awaits, retry_at);
        if kept.is_some() {
            self.queue.soil(&line);
        }
        self.recount_demand();
        self.changes += 1;
        Answer::Parked(id)
    }

    /// A new request is at the front if nobody is refused before it.
    fn stand(
        &mut self,
        id: WaiterId,
        chosen: &Plan,
        lacking: &[CounterRef],
        calls: u32,
        awaits: bool,
        retry_at: Option<Mono>,
    ) {
        let Some(waiter) = self.queue.waiters.get(&id) else { return };
        let (key, share) = (waiter.line.clone(), waiter.share());
        let Some(line) = self.queue.line(&key) else { return };
        let awaiting = |front: &WaiterId| {
            self.queue.waiters.get(front).is_some_and(|front| front.store_deadline.is_some())
        };
        let is_front =
            line.fronts.len() + 1 == line.order.len() && line.fronts.iter().all(awaiting);
        if !is_front {
            self.queue.hold(id, share, None);
            return;
        }
        let index = u32::try_from(line.fronts.len()).unwrap_or(u32::MAX);
        let place = Place { class: key.class, turn: line.turn, index };
        let holds = if awaits {
            held_for_store(chosen, calls, waiter.ask.min_calls, lacking)
        } else {
            units(chosen, calls, Some(lacking))
        };
        self.queue.hold(id, holds, Some((place, !awaits)));
        let judged_at = self.groups.version();
        if let Some(line) = self.queue.line_mut(&key) {
            if line.fronts.is_empty() {
                line.judged_at = judged_at;
            }
            line.fronts.push(id);
        }
        let known = self.queue.look_at(&key);
        self.queue.look_again(&key, known.into_iter().chain(retry_at).min());
    }

    /// Takes a request out of every table.
    fn unpark(&mut self, now: Mono, id: WaiterId) -> Option<Waiter> {
        let waiter = self.queue.remove(now, id)?;
        for slot in waiter.groups() {
            self.groups.get_mut(slot).refs -= 1;
        }
        if let Some(request) = &waiter.ask.request {
            self.requests.forget(request, Remembered::Waiting(id));
        }
        self.changes += 1;
        Some(waiter)
    }

    /// The line of a request that lacks these: of several the widest counter,
    /// which most others want as well.
    fn point_of(&self, plan: &Plan, lacking: &[CounterRef]) -> Point {
        let width = |at: &CounterRef| {
            let counter = self.groups.counter(*at);
            match (counter.kind, counter.scope) {
                (Kind::Window, Scope::Org) => 0,
                (Kind::Window, Scope::Workspace) => 1,
                (Kind::Window, Scope::ExecutionUser) => 2,
                (Kind::Concurrency, _) => 3,
            }
        };
        let widest = lacking.iter().min_by_key(|at| (width(at), **at)).copied();
        let first = || needs(plan).next().map(|(at, _)| at);
        let none = CounterRef { group: u32::MAX, counter: 0 };
        let at = widest.or_else(first).unwrap_or(none);
        let of_user = !plan.needs.iter().any(|need| need.at == at);
        match pool_point(plan) {
            Some(pool) if of_user => pool,
            _ => Point::Counter(at),
        }
    }

    fn weight_of(&self, ask: &Ask) -> u32 {
        let declared = ask.workspace.as_ref().and_then(|id| self.policy.workspaces.get(id));
        declared.map_or(1, |policy| policy.weight.max(1))
    }

    /// What the next reserve must set aside for those who wait for a block only.
    fn recount_demand(&mut self) {
        let before = std::mem::replace(&mut self.demand, self.queue.demand());
        for at in before.keys().chain(self.demand.keys()) {
            self.groups.note_change(at.group);
        }
    }

    fn queue_full(&self, now: Mono, ask: &Ask, plan: &Arc<Plan>) -> Box<Denial> {
        // Of a pool's users the one who would have it: a denial names every limit.
        let plan = self.chosen(now, ask, plan, &Ahead::new());
        Box::new(Denial {
            reason: DenialReason::QueueFull,
            limit: None,
            limits: self.usages(now, plan),
            retry_after: Some(self.rules.store_wait),
            queue_position: 0,
            message: format!(
                "{} requests wait for org {} already; ask again later, or without max_wait",
                self.queue.len(),
                self.org
            ),
            class_state: self.class_state_of(plan.tag),
            explanation: Vec::new(),
        })
    }

    /// The arrival that is kept for a request whose wait has ended lately.
    fn kept_place(&self, ask: &Ask) -> Option<line::Arrival> {
        match self.requests.find(ask.request.as_ref()?)? {
            (Remembered::Kept(arrival), true) => Some(arrival),
            _ => None,
        }
    }

    /// Forgets places that nobody has taken again in time.
    pub(super) fn forget_places(&mut self, now: Mono) {
        while let Some((arrival, request)) = self.queue.unkept(now) {
            self.requests.forget(&request, Remembered::Kept(arrival));
        }
    }

    /// Forgets lines in which nobody waits any more.
    pub(super) fn forget_lines(&mut self, now: Mono) {
        let groups = &self.groups;
        self.queue.fade(now, |slot| groups.is_live(slot));
    }
}

/// The counters of a plan, with what one call takes.
fn needs(plan: &Plan) -> impl Iterator<Item = (CounterRef, u64)> + '_ {
    let of_pool = plan.pool.iter().flat_map(|of_user| &of_user.needs[plan.needs.len()..]);
    plan.needs.iter().chain(of_pool).map(|need| (need.at, need.units_per_call))
}

/// What a request holds that waits for the store: all that it needs, or those
/// behind it would have taken it when the block is there.
fn held_for_store(
    plan: &Plan,
    calls: u32,
    min_calls: u32,
    lacking: &[CounterRef],
) -> Vec<(CounterRef, u64)> {
    let wanted = |at| u64::from(if lacking.contains(&at) { calls } else { min_calls });
    plan.needs.iter().map(|need| (need.at, need.units_per_call * wanted(need.at))).collect()
}

/// What so many calls take of a plan's counters, or of some of them.
fn units(plan: &Plan, calls: u32, of: Option<&[CounterRef]>) -> Vec<(CounterRef, u64)> {
    let wanted = plan.needs.iter().filter(|need| of.is_none_or(|of| of.contains(&need.at)));
    wanted.map(|need| (need.at, need.units_per_call * u64::from(calls))).collect()
}
