//! Whose turn it is: the fronts of the lines are judged, and waits that are
//! over end.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Ledger, WaiterId, held_for_store,
    line::Cursor,
    table::{LineKey, Place, Point, SENIOR, Waiter},
    units,
};
use crate::quota::{
    AskError, Class, Mono, Outcome,
    ledger::{
        groups::CounterRef,
        judge::{Ahead, Plan, Verdict},
        requests::Remembered,
    },
};

/// What became of those who waited.
type Answers = Vec<(WaiterId, Outcome)>;

/// What was found of a request at the front.
enum Look {
    /// It waits no more.
    Answered(Outcome),
    /// It lacks what another line waits for, and has gone there.
    Moved,
    /// It waits for the store.
    Awaits,
    /// A limit refuses it.
    Refused,
    /// A limit refuses it that is not its line's, and it has been round already.
    Stays,
}

/// A pump ends after so many rounds, whatever there is left: the rest is due at
/// once. Each round but the last has moved or answered somebody.
const ROUNDS: usize = 64;

impl Ledger {
    /// Looks at every line in which something may have changed, and ends what is
    /// over, until nothing moves.
    pub(super) fn serve(&mut self, now: Mono) -> Answers {
        let mut answers = Answers::new();
        self.queue.pumps += 1;
        for id in std::mem::take(&mut self.queue.failed) {
            let Some(waiter) = self.unpark(now, id) else { continue };
            let Some(error) = waiter.failed else { continue };
            self.note_refused(now, &waiter.ask, None);
            answers.push((id, Outcome::Failed(error)));
        }
        for _ in 0..ROUNDS {
            for class in Class::ALL {
                self.serve_senior(now, class, &mut answers);
                self.serve_lines(now, class, &mut answers);
            }
            let ended = self.end_waits(now, &mut answers);
            if !ended && !self.queue.has_dirty() {
                break;
            }
        }
        answers
    }

    fn serve_senior(&mut self, now: Mono, class: Class, answers: &mut Answers) {
        let place = Place { class, turn: SENIOR, index: 0 };
        while let Some(id) = self.queue.senior(class) {
            let Look::Answered(outcome) = self.look(now, id, place) else { return };
            answers.push((id, outcome));
        }
    }

    /// Lines are visited in turn; one whose front was served is visited again
    /// after the others.
    fn serve_lines(&mut self, now: Mono, class: Class, answers: &mut Answers) {
        let mut from = 0;
        loop {
            let next = self.queue.turns(class, from).next();
            let Some((turn, key)) = next.map(|(turn, key)| (turn, key.clone())) else { return };
            if self.is_due(now, turn, &key) {
                self.visit(now, &key, answers);
            }
            from = turn + 1;
        }
    }

    /// True if something may have changed for the front of a line: for one of
    /// the counters that it needs, or by the passing of time. What others do to
    /// the org's total is not written on its counter, nor when one that cools
    /// down gets room back.
    fn is_due(&self, now: Mono, turn: u64, key: &LineKey) -> bool {
        if self.queue.is_dirty(key.class, turn) || self.queue.is_look_due(key, now) {
            return true;
        }
        let Some(line) = self.queue.line(key) else { return false };
        let changed = |slot: u32| self.groups.touched(slot) > line.judged_at;
        let total = self.total_ref();
        let cools = |at: CounterRef| self.groups.counter(at).cooling.is_some();
        line.fronts.is_empty()
            || line.fronts.iter().filter_map(|id| self.queue.waiters.get(id)).any(|waiter| {
                let plan = &waiter.plan;
                let mut needs = plan.needs.iter().chain(plan.pool.iter().flat_map(|p| &p.needs));
                needs.any(|need| changed(need.at.group) || total == Some(need.at) || cools(need.at))
            })
    }

    /// Judges the front of a line until somebody is refused what it waits for:
    /// then nobody behind gets it either. Of those who want any user of the pool
    /// as many may be refused as there are users, since each holds but one.
    fn visit(&mut self, now: Mono, key: &LineKey, answers: &mut Answers) {
        let Some(line) = self.queue.line_mut(key) else { return };
        let (turn, before) = (line.turn, std::mem::take(&mut line.fronts));
        let most = match &key.point {
            Point::Counter(_) | Point::Store(_) => 1,
            Point::Pool(users) => self.policy.pool.len().max(users.len()).max(1),
        };
        let senior = self.queue.senior(key.class);
        let (mut cursor, mut fronts, mut refused) = (Cursor::default(), Vec::new(), 0);
        let mut passes = Passes::default();
        let some_pass = self.some_pass(key);
        while refused < most || some_pass {
            let Some(line) = self.queue.line(key) else { return };
            let next = if refused < most {
                cursor.next(&line.order)
            } else {
                passes.next(line, &fronts, |id| self.is_guaranteed(id))
            };
            let Some(id) = next else { break };
            if senior == Some(id) {
                continue;
            }
            let index = u32::try_from(fronts.len()).unwrap_or(u32::MAX);
            let place = Place { class: key.class, turn, index };
            if let Some(former) = before.get(fronts.len()).filter(|former| **former != id) {
                self.step_back(*former, place);
            }
            match self.look(now, id, place) {
                // Those behind it may be served: it does not lack what they wait for.
                Look::Awaits | Look::Stays => fronts.push(id),
                Look::Refused => {
                    refused += 1;
                    fronts.push(id);
                }
                moved @ (Look::Answered(_) | Look::Moved) => {
                    for front in before.iter().chain(&fronts) {
                        self.step_back_from(*front, turn);
                    }
                    self.queue.yield_turn(key);
                    if let Look::Answered(outcome) = moved {
                        answers.push((id, outcome));
                    }
                    return;
                }
            }
        }
        for front in before.iter().filter(|id| !fronts.contains(id)) {
            self.step_back_from(*front, turn);
        }
        self.settle_line(key, fronts, refused > 0);
    }

    /// Notes what was found of a line in which nobody could be served.
    fn settle_line(&mut self, key: &LineKey, fronts: Vec<WaiterId>, refuses: bool) {
        let judged_at = self.groups.version();
        let looks = fronts.iter().filter_map(|id| self.queue.waiters.get(id)?.retry_at);
        let retry_at = looks.min();
        let mut behind = Vec::new();
        if let Some(line) = self.queue.line_mut(key) {
            if refuses {
                // There is no room: they do not wait for the store.
                let is_behind = |id: &&WaiterId| !fronts.contains(id);
                behind = line.hasty.iter().filter(is_behind).copied().collect();
            }
            line.fronts = fronts;
            line.judged_at = judged_at;
        }
        for id in behind {
            self.queue.wait_for_store(id, None, Vec::new());
        }
        self.queue.look_again(key, retry_at);
    }

    /// Judges a request at a place at the front.
    fn look(&mut self, now: Mono, id: WaiterId, place: Place) -> Look {
        let Some(waiter) = self.queue.waiters.get(&id) else { return Look::Moved };
        let ahead = self.queue.ahead_at(place, &waiter.plan);
        let (ask, nonce) = (waiter.ask.clone(), waiter.nonce);
        let assumed = self.choose(now, &ask, &waiter.plan, &ahead);
        let chosen = assumed.map_or(&waiter.plan, |index| &waiter.plan.pool[index]).clone();
        let point = waiter.line.point.clone();
        self.queue.judged += 1;
        let verdict = self.judge(now, &ask, &chosen, &ahead);
        if let Some(waiter) = self.queue.waiters.get_mut(&id) {
            waiter.assumed = assumed.unwrap_or(0);
            waiter.retry_at = None;
        }
        match verdict {
            Verdict::Grant { calls } => {
                let permit = self.grant(now, &ask, &chosen, calls, nonce);
                self.queue.charge(id, &chosen, calls);
                self.unpark(now, id);
                Look::Answered(Outcome::Granted(permit))
            }
            Verdict::AwaitBlock { calls, lacking, retry_at } => {
                let until = now + self.rules.store_wait;
                let waiter = self.queue.waiters.get_mut(&id);
                let until = waiter.map(|waiter| {
                    waiter.retry_at = Some(retry_at).filter(|at| *at > now);
                    waiter.store_deadline.unwrap_or(until)
                });
                self.queue.wait_for_store(id, until, units(&chosen, calls, None));
                let holds = held_for_store(&chosen, calls, ask.min_calls, &lacking);
                self.hold(id, holds, Some((place, false)));
                Look::Awaits
            }
            Verdict::Refuse { refusal, .. } if refusal.never => {
                self.unpark(now, id);
                let place = if ask.max_wait.is_zero() { 0 } else { 1 };
                self.note_refused(now, &ask, Some(refusal.reason));
                Look::Answered(Outcome::Denied(self.denial(now, &ask, &chosen, &refusal, place)))
            }
            Verdict::Refuse { refusal, lacking } => {
                self.queue.wait_for_store(id, None, Vec::new());
                let is_senior = place.turn == SENIOR;
                let is_elsewhere = !is_senior && !waits_for(&point, &chosen, &lacking);
                if is_elsewhere && self.redirect(now, id, &lacking) {
                    return Look::Moved;
                }
                let mut holds = units(&chosen, ask.min_calls, Some(&lacking));
                if let Some(waiter) = self.queue.waiters.get_mut(&id) {
                    waiter.retry_at = refusal.frees_at.filter(|at| *at > now);
                    if is_senior && waiter.front.is_some_and(|(held, _)| held == place) {
                        // What it has come to hold it keeps, until it has all.
                        let more = waiter.holds.iter().filter(|(at, _)| !lacking.contains(at));
                        holds.extend(more.copied());
                    }
                }
                self.hold(id, holds, Some((place, true)));
                if is_elsewhere { Look::Stays } else { Look::Refused }
            }
        }
    }

    /// A request that does not lack what its line waits for goes to another. False
    /// if it has come back to a line once in this pump, and would again.
    ///
    /// What is ahead of a request depends on its line's turn, so that in each of two
    /// lines it can be found to lack what the other waits for. The senior of a class
    /// is judged before all lines, but all others could be sent round for ever.
    fn redirect(&mut self, now: Mono, id: WaiterId, lacking: &[CounterRef]) -> bool {
        let Some(waiter) = self.queue.waiters.get(&id) else { return true };
        let point = self.point_of(&waiter.plan, lacking);
        if waiter.returned_in == self.queue.pumps && waiter.headed.contains(&point) {
            return false;
        }
        let to = LineKey { class: waiter.ask.class, point: point.clone() };
        self.hold(id, Vec::new(), None);
        let returns = self.queue.transfer(now, id, point);
        let share = self.queue.waiters.get(&id).map(Waiter::share).unwrap_or_default();
        self.hold(id, share, None);
        self.queue.soil(&to);
        if returns {
            for at in self.queue.note_returned(id) {
                self.groups.touch(at.group);
            }
        }
        true
    }

    /// Ends the waits that are over. True if somebody was answered.
    fn end_waits(&mut self, now: Mono, answers: &mut Answers) -> bool {
        let mut by_line: BTreeMap<LineKey, BTreeSet<WaiterId>> = BTreeMap::new();
        for id in self.queue.over(now) {
            if let Some(waiter) = self.queue.waiters.get(&id) {
                by_line.entry(waiter.line.clone()).or_default().insert(id);
            }
        }
        let before = answers.len();
        for (key, over) in by_line {
            let Some(line) = self.queue.line(&key) else { continue };
            let mut left = over.len();
            let upto_last: Vec<WaiterId> = line
                .order
                .iter()
                .take_while(|id| {
                    let goes_on = left > 0;
                    left -= usize::from(goes_on && over.contains(id));
                    goes_on
                })
                .collect();
            let higher = u32::try_from(self.queue.higher(&key)).unwrap_or(u32::MAX);
            let mut prior = Ahead::new();
            for (place, id) in (higher.saturating_add(1)..).zip(upto_last) {
                if over.contains(&id)
                    && let Some(outcome) = self.end_wait(now, id, place, &prior)
                {
                    answers.push((id, outcome));
                    continue;
                }
                self.add_to(&mut prior, id);
            }
        }
        answers.len() > before
    }

    /// Ends one wait; `None` if it goes on, for the store.
    fn end_wait(
        &mut self,
        now: Mono,
        id: WaiterId,
        position: u32,
        prior: &Ahead,
    ) -> Option<Outcome> {
        let waiter = self.queue.waiters.get(&id)?;
        if waiter.store_deadline.is_some() {
            let waiter = self.unpark(now, id)?;
            self.note_refused(now, &waiter.ask, None);
            return Some(Outcome::Failed(AskError::StoreTimeout));
        }
        let ahead = self.ahead_in_line(waiter, prior);
        let (ask, nonce) = (waiter.ask.clone(), waiter.nonce);
        let chosen = self.chosen(now, &ask, &waiter.plan, &ahead).clone();
        self.queue.judged += 1;
        match self.judge(now, &ask, &chosen, &ahead) {
            Verdict::Grant { calls } => {
                let permit = self.grant(now, &ask, &chosen, calls, nonce);
                self.queue.charge(id, &chosen, calls);
                self.unpark(now, id);
                Some(Outcome::Granted(permit))
            }
            Verdict::AwaitBlock { calls, .. } => {
                let until = Some(now + self.rules.store_wait);
                self.queue.wait_for_store(id, until, units(&chosen, calls, None));
                None
            }
            Verdict::Refuse { refusal, .. } => {
                let waited = !ask.max_wait.is_zero();
                let position = if waited { position } else { 0 };
                let denial = self.denial(now, &ask, &chosen, &refusal, position);
                self.note_refused(now, &ask, Some(refusal.reason));
                let waiter = self.unpark(now, id)?;
                if waited && let Some(request) = waiter.ask.request {
                    self.keep_place(now, waiter.arrival, request);
                }
                Some(Outcome::Denied(denial))
            }
        }
    }

    /// What is ahead of a request: `prior` in its line, and what others hold.
    pub(super) fn ahead_in_line(&self, waiter: &Waiter, prior: &Ahead) -> Ahead {
        let turn = self.queue.line(&waiter.line).map_or(0, |line| line.turn);
        let place = Place { class: waiter.ask.class, turn, index: 0 };
        let mut ahead = self.queue.ahead_outside(place, &waiter.plan);
        for (at, units) in prior {
            *ahead.entry(*at).or_default() += units;
        }
        ahead
    }

    /// Adds what a request holds to what is ahead of those behind it.
    fn add_to(&self, ahead: &mut Ahead, id: WaiterId) {
        for (at, units) in self.queue.waiters.get(&id).into_iter().flat_map(|w| &w.holds) {
            *ahead.entry(*at).or_default() += units;
        }
    }

    /// Keeps the place of a request whose wait has ended as a denial.
    fn keep_place(
        &mut self,
        now: Mono,
        arrival: super::line::Arrival,
        request: crate::quota::RequestKey,
    ) {
        self.requests.remember(&request, Remembered::Kept(arrival));
        let over = self.queue.keep(now, arrival, request, self.rules.max_waiting);
        if let Some((arrival, request)) = over {
            self.requests.forget(&request, Remembered::Kept(arrival));
        }
    }

    /// Another request has taken this place at the front.
    fn step_back(&mut self, id: WaiterId, place: Place) {
        let Some(waiter) = self.queue.waiters.get(&id) else { return };
        if waiter.front.is_some_and(|(held, _)| held == place) {
            let share = waiter.share();
            self.hold(id, share, None);
        }
    }

    /// A request is not at the front of the line with this turn any more.
    fn step_back_from(&mut self, id: WaiterId, turn: u64) {
        let front = self.queue.waiters.get(&id).and_then(|waiter| waiter.front);
        if let Some((place, _)) = front.filter(|(place, _)| place.turn == turn) {
            self.step_back(id, place);
        }
    }

    /// Sets what a request holds. Where it held more at the front, somebody else
    /// may be served now.
    fn hold(&mut self, id: WaiterId, holds: Vec<(CounterRef, u64)>, front: Option<(Place, bool)>) {
        let before: Vec<u32> = self
            .queue
            .waiters
            .get(&id)
            .map(|waiter| waiter.holds.iter().map(|(at, _)| at.group).collect())
            .unwrap_or_default();
        if self.queue.hold(id, holds, front) {
            for slot in before {
                self.groups.touch(slot);
            }
        }
    }

    /// True if somebody may have room where others who wait for the same have
    /// none: some workspace has a share of the org's total for itself.
    fn some_pass(&self, key: &LineKey) -> bool {
        let total = self.total_ref().map(Point::Counter);
        let mut policies = self.policy.workspaces.values();
        total.as_ref() == Some(&key.point) && policies.any(|policy| policy.guaranteed_calls > 0)
    }

    /// True if a request's workspace has a share of the org's total for itself.
    fn is_guaranteed(&self, id: WaiterId) -> bool {
        let workspace = || self.queue.waiters.get(&id)?.ask.workspace.as_ref();
        let policy = || self.policy.workspaces.get(workspace()?);
        policy().is_some_and(|policy| policy.guaranteed_calls > 0)
    }
}

/// Those who may pass a front that is refused: the first of each workspace that
/// has a share for itself.
#[derive(Default)]
struct Passes {
    asked: BTreeSet<WaiterId>,
}

impl Passes {
    fn next(
        &mut self,
        line: &super::table::LineState,
        fronts: &[WaiterId],
        may_pass: impl Fn(WaiterId) -> bool,
    ) -> Option<WaiterId> {
        let is_new = |id: &WaiterId| !self.asked.contains(id) && !fronts.contains(id);
        let next = line.order.firsts().filter(is_new).find(|id| may_pass(*id))?;
        self.asked.insert(next);
        Some(next)
    }
}

/// True if a line's request lacks what the line waits for.
fn waits_for(point: &Point, chosen: &Plan, lacking: &[CounterRef]) -> bool {
    match point {
        Point::Counter(at) => lacking.contains(at),
        Point::Store(_) => false,
        Point::Pool(users) => {
            let windows = chosen.needs.len().saturating_sub(users.len());
            chosen.needs[windows..].iter().any(|need| lacking.contains(&need.at))
        }
    }
}
