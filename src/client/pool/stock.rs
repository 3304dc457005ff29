//! What a pool has, and what it should do next: pure, `now` is an argument.
//!
//! Calls of one permit are alike until their outcome is known, so they are
//! counted, not numbered. A call gets its number when its outcome is noted: what
//! is reported of a permit therefore has no holes, and what is given back are its
//! highest numbers, which is how the service reads a Release.

use std::{collections::VecDeque, time::Duration};

use super::source::{Fetched, Headroom, MAX_CALLS, Merge};
use crate::{client::PoolOptions, clock::Moment};

/// Fetches that may be under way at the same time. One is enough unless a period
/// takes more calls than one permit can have.
const MOST_ASKS: usize = 4;

/// The most calls to have at hand, in permits of the largest size.
const MOST_AHEAD: u32 = 8 * MAX_CALLS;

/// A pool takes at most this part of what is left of a limit: the others that
/// share it want some, too.
const FAIR_PART: u64 = 16;

/// Parts of the shortest window that calls are fetched ahead for. A call that is
/// fetched and not made yet takes room from others, so this bounds the waste.
const PERIODS_IN_WINDOW: u32 = 100;

/// Parts of the shortest window that outcomes are gathered for: a call leaves
/// its window that much later.
const FLUSHES_IN_WINDOW: u32 = 400;

/// How long outcomes are gathered where the windows are long, or not known yet.
const LONGEST_FLUSH: Duration = Duration::from_millis(250);
const FIRST_FLUSH: Duration = Duration::from_millis(5);

/// Different outcomes that are gathered before they are told, and that are kept
/// where they cannot be told: then the oldest is lost, and its calls count as
/// used until their permit has ended.
const MANY_OUTCOMES: usize = 64;
const MOST_OUTCOMES: usize = 1_000;

/// Execution users whose withdrawn calls are told from those of others while
/// requests are under way. Most pools have one.
const MANY_USERS: usize = 64;

/// Outcomes that one more is compared with: calls of a few batches end at the
/// same time.
const RECENT: usize = 4;

/// How long a denial is taken for granted at most: limits are raised, and calls
/// come back, earlier than anybody can foresee.
const LONGEST_MEMORY: Duration = Duration::from_secs(5);

/// The same where the service could not say when to try again.
const SHORTEST_MEMORY: Duration = Duration::from_millis(500);

/// A denial that comes so long before the end of the wait is no mere end of it.
const EARLY: Duration = Duration::from_millis(250);

/// A request that was to wait for room, and has no answer after so long, does
/// wait, and can be given up without losing what the service has granted it.
const SURELY_PARKED: Duration = Duration::from_secs(1);

/// Where a batch stands.
pub(super) type Slot = usize;

/// A call that was taken: of which batch, and until when it may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) slot: Slot,
    pub(super) deadline: Moment,
}

/// A pool's calls, those who wait for one, and what it has to tell the service.
/// `P` names a permit, `A` is an answer, `E` a refusal, `W` somebody who waits.
pub(super) struct Stock<P, A, E, W> {
    options: PoolOptions,
    /// Empty places are reused.
    batches: Vec<Option<Batch<P>>>,
    vacant: Vec<Slot>,
    /// Batches with room, in the order of their deadlines.
    open: VecDeque<Slot>,
    /// Calls that may be taken, of all of them.
    room: u32,
    /// When so few are left, more are fetched.
    low: u32,
    /// So few were left, and more have not been asked for yet.
    is_low: bool,
    demand: Demand,
    waiters: VecDeque<Waiter<W>>,
    denial: Option<Denial<E>>,
    /// Fetches under way that do not wait for room, and the calls they ask for.
    asks: usize,
    asked: u32,
    /// Since when a fetch waits for room at the service.
    parked: Option<Moment>,
    headroom: Option<Headroom>,
    /// What goes back at the next step.
    withdrawn: Vec<(P, u32)>,
    /// How often something was withdrawn: what was asked for before that is not
    /// wanted any more, if it is for the same execution user.
    withdrawals: u64,
    /// Whose calls were withdrawn while requests are under way, and which time it
    /// was.
    withdrawn_users: Vec<(String, u64)>,
    /// Which time everybody's were.
    all_withdrawn: u64,
    outcomes: VecDeque<Outcome<P, A>>,
    flush_at: Option<Moment>,
    closed: bool,
}

/// One permit's calls: those that can be taken, are out, have an outcome, and
/// were given back are all there are.
struct Batch<P> {
    permit: P,
    /// Calls that may be taken.
    room: u32,
    /// Calls taken, neither put back nor settled.
    out: u32,
    /// The number that the next outcome gets.
    next: u32,
    /// No call may start after it.
    deadline: Moment,
    /// What is not taken by then goes back to the service; `None` when it went.
    return_at: Option<Moment>,
}

/// What was taken of late.
struct Demand {
    current: u32,
    previous: u32,
    period: Duration,
    ends: Moment,
}

/// Somebody who waits, with the moment until which it does; `None` waits only
/// for the answer of the service.
struct Waiter<W> {
    token: W,
    until: Option<Moment>,
}

/// A refusal that holds for a while.
struct Denial<E> {
    error: E,
    since: Moment,
    until: Moment,
}

/// The same outcome of several calls of a permit.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outcome<P, A> {
    pub(super) slot: Slot,
    pub(super) permit: P,
    pub(super) first: u32,
    pub(super) calls: u32,
    /// `None` where none came.
    pub(super) answer: Option<A>,
}

/// A request to the service: for so many calls, or fewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) calls: u32,
    /// Until when it waits for room; `None` is not at all.
    pub(super) until: Option<Moment>,
    /// How often something had been withdrawn when it was made.
    withdrawals: u64,
}

/// What is to be done now.
pub(super) struct Step<P, A, W> {
    /// Requests to send.
    pub(super) asks: Vec<Ask>,
    /// The request that waits for room is of no use any more.
    pub(super) cancel_parked: bool,
    /// Who got which call.
    pub(super) served: Vec<(W, Taken)>,
    /// Unused calls to give back.
    pub(super) returns: Vec<(P, u32)>,
    /// Outcomes to tell.
    pub(super) outcomes: Vec<Outcome<P, A>>,
    /// When to look again, if nothing happens before; `None` is never.
    pub(super) wake: Option<Moment>,
}

impl<P: Clone, A: Merge, E: Clone, W> Stock<P, A, E, W> {
    pub(super) fn new(options: PoolOptions) -> Self {
        Self {
            demand: Demand {
                current: 0,
                previous: 0,
                period: options.target_period,
                ends: Moment::START,
            },
            options,
            batches: Vec::new(),
            vacant: Vec::new(),
            open: VecDeque::new(),
            room: 0,
            low: 0,
            is_low: false,
            waiters: VecDeque::new(),
            denial: None,
            asks: 0,
            asked: 0,
            parked: None,
            headroom: None,
            withdrawn: Vec::new(),
            withdrawals: 0,
            withdrawn_users: Vec::new(),
            all_withdrawn: 0,
            outcomes: VecDeque::new(),
            flush_at: None,
            closed: false,
        }
    }

    /// Takes a call that is at hand and that nobody waits for; also says whether
    /// it is time to fetch more.
    pub(super) fn take(&mut self) -> Option<(Taken, bool)> {
        if !self.waiters.is_empty() {
            return None;
        }
        let taken = self.take_first()?;
        // Said once: what is put back meanwhile does not take it back.
        let is_low = self.low > 0 && !self.is_low && self.room + self.asked <= self.low;
        self.is_low |= is_low;
        Some((taken, is_low))
    }

    fn take_first(&mut self) -> Option<Taken> {
        let slot = *self.open.front()?;
        let batch = self.batches[slot].as_mut()?;
        batch.room -= 1;
        batch.out += 1;
        let deadline = batch.deadline;
        if batch.room == 0 {
            self.open.pop_front();
        }
        self.room -= 1;
        self.demand.current = self.demand.current.saturating_add(1);
        Some(Taken { slot, deadline })
    }

    /// Lines up for a call. What is known to be refused is refused at once.
    pub(super) fn wait(
        &mut self,
        now: Moment,
        token: W,
        until: Option<Moment>,
    ) -> Result<(), (E, Duration)> {
        if let (None, Some(denial)) = (until, &self.denial)
            && now < denial.until
        {
            return Err((denial.error.clone(), now.since(denial.since)));
        }
        self.waiters.push_back(Waiter { token, until });
        Ok(())
    }

    /// Takes somebody out of the line; `None` if it has been served or refused.
    pub(super) fn leave(&mut self, is_it: impl Fn(&W) -> bool) -> Option<W> {
        let at = self.waiters.iter().position(|waiter| is_it(&waiter.token))?;
        self.waiters.remove(at).map(|waiter| waiter.token)
    }

    /// A call was not sent and will not be: the next taker gets it. Says whether
    /// there is something to do.
    pub(super) fn put_back(&mut self, slot: Slot) -> bool {
        let Some(batch) = self.batches[slot].as_mut() else { return false };
        batch.out -= 1;
        batch.room += 1;
        self.room += 1;
        // Among others it is looked after already, at the end of a period at the
        // latest.
        let is_alone = self.open.is_empty();
        if batch.room == 1 {
            let deadline = batch.deadline;
            self.open_up(slot, deadline);
        }
        is_alone || !self.waiters.is_empty()
    }

    /// Notes a call's outcome; `None`: it was sent, and no answer is known. Says
    /// whether there is something to do.
    pub(super) fn settle(&mut self, slot: Slot, answer: Option<A>) -> bool {
        let Some(batch) = self.batches[slot].as_mut() else { return false };
        let first = batch.next;
        batch.next += 1;
        batch.out -= 1;
        let mut answer = answer;
        let recent = self.outcomes.iter_mut().rev().take(RECENT);
        for noted in recent.filter(|noted| noted.is_followed_by(slot, first)) {
            match noted.absorb(answer) {
                None => return false,
                Some(other) => answer = other,
            }
        }
        self.note(slot, first, answer)
    }

    /// The number of a call whose outcome is told at once, and its permit.
    pub(super) fn number(&mut self, slot: Slot) -> Option<(P, u32)> {
        let batch = self.batches[slot].as_mut()?;
        batch.out -= 1;
        batch.next += 1;
        Some((batch.permit.clone(), batch.next - 1))
    }

    /// A call turned out to be over: no call of its batch can start any more.
    pub(super) fn discard(&mut self, now: Moment, slot: Slot) {
        self.expire(now);
        if let Some(batch) = self.batches[slot].as_mut() {
            batch.out -= 1;
        }
    }

    /// A request came to nothing before it was answered.
    pub(super) fn cancelled(&mut self, ask: Ask) {
        self.answered(ask);
    }

    /// The service granted what was asked for, or a part of it, to be used as
    /// `user`.
    pub(super) fn granted(&mut self, now: Moment, ask: Ask, fetched: Fetched<P>, user: &str) {
        let is_unwanted = self.was_withdrawn(ask, user);
        self.answered(ask);
        let cut_short = fetched.calls < ask.calls;
        self.headroom = fetched
            .headroom
            .map(|room| if cut_short { Headroom { calls: 0, ..room } } else { room });
        self.denial = None;
        self.demand.period = self.period(fetched.ttl);
        let batch = Batch {
            permit: fetched.permit,
            room: fetched.calls,
            out: 0,
            next: 0,
            deadline: fetched.deadline,
            return_at: Some(fetched.deadline - fetched.ttl / 2),
        };
        if fetched.calls == 0 || now >= fetched.deadline {
            return;
        }
        if is_unwanted {
            self.withdrawn.push((batch.permit, batch.room));
            return;
        }
        self.room += fetched.calls;
        let slot = self.vacant.pop().unwrap_or(self.batches.len());
        if slot == self.batches.len() {
            self.batches.push(None);
        }
        self.batches[slot] = Some(batch);
        self.open_up(slot, fetched.deadline);
    }

    /// The service refused: those hear it who do not wait, or whose time is over.
    pub(super) fn denied(
        &mut self,
        now: Moment,
        ask: Ask,
        error: E,
        retry_after: Option<Duration>,
    ) -> Vec<(W, E)> {
        self.answered(ask);
        let memory = retry_after.unwrap_or(SHORTEST_MEMORY).min(LONGEST_MEMORY);
        self.denial = Some(Denial { error: error.clone(), since: now, until: now + memory });
        self.headroom = self.headroom.map(|room| Headroom { calls: 0, ..room });
        // Before its time, the answer to one that waits means that waiting is of no
        // use, or not allowed.
        let end = ask.until.map(|end| if now + EARLY < end { Moment::END } else { end });
        self.refuse(error, |until| until.is_none() || until <= end)
    }

    /// Nothing could be decided: all who waited for this hear it.
    pub(super) fn failed(&mut self, ask: Ask, error: E) -> Vec<(W, E)> {
        self.answered(ask);
        // Nothing is fetched ahead until it works again.
        self.headroom = None;
        self.refuse(error, |until| until.is_none() || ask.until.is_some())
    }

    /// Nobody gets what is at hand of an execution user, nor what is being fetched
    /// and turns out to be this one's: it goes back at the next step. Nothing is
    /// fetched ahead until something is asked for.
    pub(super) fn withdraw(&mut self, user: &str, user_of: impl Fn(&P) -> &str) {
        self.take_back(|permit| user_of(permit) == user);
        if self.asks == 0 && self.parked.is_none() {
            return;
        }
        self.withdrawn_users.retain(|(other, _)| other != user);
        if self.withdrawn_users.len() == MANY_USERS {
            self.withdrawn_users.clear();
            self.all_withdrawn = self.withdrawals;
        } else {
            self.withdrawn_users.push((user.to_owned(), self.withdrawals));
        }
    }

    /// Nobody will take anything any more.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.take_back(|_| true);
        self.all_withdrawn = self.withdrawals;
    }

    fn take_back(&mut self, chosen: impl Fn(&P) -> bool) {
        self.headroom = self.headroom.map(|room| Headroom { calls: 0, ..room });
        self.withdrawals += 1;
        let returns = self.give_back(|batch| chosen(&batch.permit));
        self.withdrawn.extend(returns);
    }

    /// Whether a user's calls were withdrawn after this was asked.
    fn was_withdrawn(&self, ask: Ask, user: &str) -> bool {
        let of_user = self.withdrawn_users.iter().find(|(other, _)| other == user);
        let last = of_user.map_or(0, |(_, last)| *last).max(self.all_withdrawn);
        ask.withdrawals < last
    }

    /// Whether everything has been told to the service that can be.
    pub(super) fn is_idle(&self) -> bool {
        self.open.is_empty()
            && self.withdrawn.is_empty()
            && self.outcomes.is_empty()
            && self.waiters.is_empty()
            && self.asks == 0
            && self.parked.is_none()
    }

    /// The permit that a batch is of.
    pub(super) fn permit(&self, slot: Slot) -> Option<&P> {
        self.batches[slot].as_ref().map(|batch| &batch.permit)
    }

    /// Until when calls of a batch may start.
    pub(super) fn deadline(&self, slot: Slot) -> Moment {
        self.batches[slot].as_ref().map_or(Moment::START, |batch| batch.deadline)
    }

    /// Brings everything up to `now`, and says what is to be done; outcomes are
    /// kept back where `may_tell` is false.
    pub(super) fn step(&mut self, now: Moment, may_tell: bool) -> Step<P, A, W> {
        self.demand.roll(now);
        let mut step = Step {
            asks: Vec::new(),
            cancel_parked: false,
            served: Vec::new(),
            returns: Vec::new(),
            outcomes: Vec::new(),
            wake: None,
        };
        self.expire(now);
        while !self.waiters.is_empty()
            && let Some(taken) = self.take_first()
        {
            let waiter = self.waiters.pop_front().map(|waiter| waiter.token);
            step.served.extend(waiter.map(|token| (token, taken)));
        }
        // Unused calls go back when nobody has wanted one for a period, and in the
        // middle of their permit's life at the latest.
        let is_unwanted = self.demand.is_over() || self.closed;
        step.returns = std::mem::take(&mut self.withdrawn);
        let is_due = |batch: &Batch<P>| batch.return_at.is_some_and(|at| is_unwanted || now >= at);
        step.returns.extend(self.give_back(is_due));
        self.ask(now, &mut step.asks);
        let give_up_at =
            self.parked.filter(|_| self.waiters.is_empty()).map(|at| at + SURELY_PARKED);
        step.cancel_parked = give_up_at.is_some_and(|at| now >= at);
        let flush_at = self.flush(now, may_tell, &mut step.outcomes);
        self.tidy();
        let give_up_at = give_up_at.filter(|_| !step.cancel_parked);
        step.wake = [self.next_wake(), flush_at, give_up_at].into_iter().flatten().min();
        step
    }

    /// What is over cannot be taken any more.
    pub(super) fn expire(&mut self, now: Moment) {
        while let Some(&slot) = self.open.front()
            && let Some(batch) = self.batches[slot].as_mut()
            && now >= batch.deadline
        {
            self.room -= batch.room;
            batch.room = 0;
            self.open.pop_front();
        }
    }

    /// Takes unused calls of some batches away, to be given back. A permit's calls
    /// can be given back once: what comes back to the pool after that is there for
    /// the next taker until its time is over.
    fn give_back(&mut self, is_chosen: impl Fn(&Batch<P>) -> bool) -> Vec<(P, u32)> {
        let mut returns = Vec::new();
        let Self { open, batches, room, .. } = self;
        open.retain(|&slot| {
            let Some(batch) = batches[slot].as_mut() else { return false };
            if batch.return_at.is_some() && is_chosen(batch) {
                returns.push((batch.permit.clone(), batch.room));
                *room -= batch.room;
                batch.room = 0;
                batch.return_at = None;
            }
            batch.room > 0
        });
        returns
    }

    fn ask(&mut self, now: Moment, asks: &mut Vec<Ask>) {
        if self.denial.as_ref().is_some_and(|denial| now >= denial.until) {
            self.denial = None;
        }
        let ahead = if self.denial.is_some() || self.closed { 0 } else { self.ahead() };
        self.low = ahead / 2;
        let waiting = u32::try_from(self.waiters.len()).unwrap_or(u32::MAX);
        let calls = waiting.max(ahead).min(self.options.max_batch);
        let hurried = self.waiters.iter().any(|waiter| waiter.until.is_none());
        if waiting > 0 && self.asks == 0 {
            let longest = self.waiters.iter().filter_map(|waiter| waiter.until).max();
            if hurried && self.denial.is_none() {
                self.send(now, Ask { calls, until: None, withdrawals: self.withdrawals }, asks);
            } else if longest.is_some() && self.parked.is_none() {
                self.send(now, Ask { calls, until: longest, withdrawals: self.withdrawals }, asks);
            }
        }
        // What waits for room may be answered at once, and with as many.
        let may_fetch = ahead > 0 && self.parked.is_none();
        let mut is_low = std::mem::take(&mut self.is_low);
        while may_fetch && self.asks < MOST_ASKS && (is_low || self.room + self.asked <= self.low) {
            is_low = false;
            let calls = ahead.min(self.options.max_batch);
            self.send(now, Ask { calls, until: None, withdrawals: self.withdrawals }, asks);
        }
    }

    fn send(&mut self, now: Moment, ask: Ask, asks: &mut Vec<Ask>) {
        if ask.until.is_none() {
            self.asks += 1;
            self.asked += ask.calls;
        } else {
            self.parked = Some(now);
        }
        asks.push(ask);
    }

    fn answered(&mut self, ask: Ask) {
        if ask.until.is_none() {
            self.asks -= 1;
            self.asked -= ask.calls;
        } else {
            self.parked = None;
        }
        if self.asks == 0 && self.parked.is_none() {
            // All that will be asked for is asked after it.
            self.withdrawn_users.clear();
        }
    }

    /// How many calls to have at hand: as many as a period took of late, and no
    /// more than a fair part of what is left. Where a period takes fewer than two
    /// there is nothing to gain: they are fetched when they are wanted.
    fn ahead(&self) -> u32 {
        let recent = self.demand.current.max(self.demand.previous);
        let fair = match self.headroom {
            Some(room) if !room.slots => u32::try_from(room.calls / FAIR_PART).unwrap_or(u32::MAX),
            _ => 0,
        };
        let ahead = recent.min(fair).min(MOST_AHEAD);
        if ahead < 2 { 0 } else { ahead }
    }

    /// The period that calls are fetched for.
    fn period(&self, ttl: Duration) -> Duration {
        let window = self.headroom.map_or(Duration::MAX, |room| room.window);
        let period = self.options.target_period.min(window / PERIODS_IN_WINDOW).min(ttl / 4);
        period.max(Duration::from_millis(1))
    }

    fn refuse(&mut self, error: E, whom: impl Fn(Option<Moment>) -> bool) -> Vec<(W, E)> {
        let (refused, kept) =
            self.waiters.drain(..).partition::<VecDeque<_>, _>(|waiter| whom(waiter.until));
        self.waiters = kept;
        refused.into_iter().map(|waiter| (waiter.token, error.clone())).collect()
    }

    fn note(&mut self, slot: Slot, first: u32, answer: Option<A>) -> bool {
        let Some(permit) = self.permit(slot).cloned() else { return false };
        if self.outcomes.len() == MOST_OUTCOMES {
            self.outcomes.pop_front();
        }
        let urgent = answer.as_ref().is_some_and(Merge::is_urgent);
        self.outcomes.push_back(Outcome { slot, permit, first, calls: 1, answer });
        if urgent {
            self.flush_at = Some(Moment::START);
        }
        self.outcomes.len() == 1 || urgent || self.outcomes.len() == MANY_OUTCOMES
    }

    /// Hands out what is to be told now, and says when there is more.
    fn flush(
        &mut self,
        now: Moment,
        may_tell: bool,
        told: &mut Vec<Outcome<P, A>>,
    ) -> Option<Moment> {
        if self.outcomes.is_empty() {
            return None;
        }
        let window = self.headroom.map(|room| room.window / FLUSHES_IN_WINDOW);
        let gather = window.unwrap_or(FIRST_FLUSH).min(LONGEST_FLUSH);
        let flush_at = *self.flush_at.get_or_insert(now + gather);
        if !may_tell {
            return None;
        }
        if now < flush_at && self.outcomes.len() < MANY_OUTCOMES && !self.closed {
            return Some(flush_at);
        }
        self.flush_at = None;
        told.extend(self.outcomes.drain(..));
        None
    }

    /// A batch is forgotten when nothing of it can happen any more.
    fn tidy(&mut self) {
        for (slot, place) in self.batches.iter_mut().enumerate() {
            let over = place.as_ref().is_some_and(|batch| {
                batch.out == 0 && batch.room == 0 && !self.outcomes.iter().any(|o| o.slot == slot)
            });
            if over {
                *place = None;
                self.vacant.push(slot);
            }
        }
    }

    fn next_wake(&self) -> Option<Moment> {
        let at_hand = self.open.iter().filter_map(|&slot| {
            let batch = self.batches[slot].as_ref()?;
            Some(batch.return_at.map_or(batch.deadline, |at| at.min(batch.deadline)))
        });
        let period = (!self.open.is_empty()).then_some(self.demand.ends);
        at_hand.chain(period).min()
    }

    /// Puts a batch that has room among the others.
    fn open_up(&mut self, slot: Slot, deadline: Moment) {
        let at = self.open.iter().rposition(|&other| self.deadline(other) <= deadline);
        self.open.insert(at.map_or(0, |at| at + 1), slot);
    }
}

impl<P, A: Merge> Outcome<P, A> {
    fn is_followed_by(&self, slot: Slot, first: u32) -> bool {
        self.slot == slot && self.first + self.calls == first
    }

    /// Takes the outcome of the next call in, if it is the same; otherwise it
    /// comes back.
    fn absorb(&mut self, answer: Option<A>) -> Option<Option<A>> {
        let other = match (&mut self.answer, answer) {
            (None, None) => None,
            (Some(noted), Some(answer)) => noted.merge(answer).map(Some),
            (_, answer) => Some(answer),
        };
        if other.is_none() {
            self.calls += 1;
        }
        other
    }
}

impl Demand {
    fn roll(&mut self, now: Moment) {
        if now >= self.ends {
            // Nobody may have looked for longer than a period.
            let late = now.since(self.ends).as_micros();
            let period = self.period.as_micros().max(1);
            let previous = (u128::from(self.current) * period).div_ceil(period + late);
            self.previous = u32::try_from(previous).unwrap_or(u32::MAX);
            self.current = 0;
            self.ends = now + self.period;
        }
    }

    fn is_over(&self) -> bool {
        self.current == 0 && self.previous == 0
    }
}

#[cfg(test)]
mod tests;
