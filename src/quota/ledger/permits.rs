//! Permits that are out, and how their calls are settled.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    hash::{BuildHasherDefault, Hasher},
    ops::Range,
    sync::Arc,
};

use super::{
    Ledger,
    judge::{Need, Plan},
};
use crate::quota::{
    Kind, Mono, Now, PermitKey, PermitOfAnother, Released, Report, Reported, RequestKey, Teller,
    attribution::Origin,
    ranges::{RangeSet, Ranges},
    rules::Fault,
};

/// One permit.
#[derive(Clone, Debug)]
pub struct PermitState {
    pub calls: u32,
    /// What it took, and as whom.
    pub plan: Arc<Plan>,
    pub granted: Mono,
    pub expires: Mono,
    /// The permit is known until then.
    pub forget_at: Mono,
    /// Reserves that had been sent at the grant.
    sends_at_grant: u64,
    pub request: Option<Box<RequestKey>>,
    answered: RangeSet,
    unanswered: RangeSet,
    returned: RangeSet,
    release_answer: Option<u32>,
    /// For whom it was asked, as attribution shows it.
    pub origin: Origin,
    /// Who has proved to have asked for it: it is theirs to settle.
    pub holder: Option<Arc<str>>,
}

impl PermitState {
    #[expect(clippy::too_many_arguments, reason = "the facts of a grant, named at the one call")]
    pub fn new(
        calls: u32,
        plan: Arc<Plan>,
        granted: Mono,
        expires: Mono,
        forget_at: Mono,
        sends_at_grant: u64,
        request: Option<Box<RequestKey>>,
        origin: Origin,
        holder: Option<Arc<str>>,
    ) -> Self {
        Self {
            calls,
            plan,
            granted,
            expires,
            forget_at,
            sends_at_grant,
            request,
            answered: RangeSet::default(),
            unanswered: RangeSet::default(),
            returned: RangeSet::default(),
            release_answer: None,
            origin,
            holder,
        }
    }

    /// Calls that were not given back: the lowest ordinals that no report had
    /// settled, and those that one had.
    pub fn usable_calls(&self) -> u32 {
        self.calls - self.returned.len()
    }

    /// True if all that a report tells was told before.
    pub fn was_told(&self, report: &Report) -> bool {
        let end = report.first_call.saturating_add(report.calls).min(self.calls);
        let new = self.answered.missing(report.first_call.min(end)..end);
        let is_told = |range: &Range<u32>| self.unanswered.missing(range.clone()).is_empty();
        if report.is_answered() { new.is_empty() } else { new.iter().all(is_told) }
    }

    /// Calls that were reported, with or without an answer.
    fn reported(&self) -> u32 {
        if self.unanswered.is_empty() {
            return self.answered.len();
        }
        let mut all = self.answered.clone();
        for range in self.unanswered.iter() {
            all.add(range);
        }
        all.len()
    }
}

/// The permits of an org.
#[derive(Clone, Debug, Default)]
pub struct Permits {
    by_key: HashMap<PermitKey, PermitState, BuildHasherDefault<KeyHasher>>,
    /// By the end, soonest first: those that end behind all before them, as most
    /// do, and the others.
    in_turn: VecDeque<(Mono, PermitKey)>,
    out_of_turn: BinaryHeap<Reverse<(Mono, PermitKey)>>,
}

/// A permit's key is random already, and nobody chooses it: it is spread over the
/// bits that a table looks at, and not hashed against anybody.
#[derive(Clone, Copy, Debug, Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = (self.0 ^ key).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Permits {
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    pub fn get(&self, key: PermitKey) -> Option<&PermitState> {
        self.by_key.get(&key)
    }

    pub fn insert(&mut self, key: PermitKey, state: PermitState) {
        let end = (state.forget_at, key);
        if self.in_turn.back().is_none_or(|last| *last <= end) {
            self.in_turn.push_back(end);
        } else {
            self.out_of_turn.push(Reverse(end));
        }
        self.by_key.insert(key, state);
    }

    /// Takes out the permits that need not be known any more, soonest first.
    pub fn forget(&mut self, now: Mono, mut forgotten: impl FnMut(PermitKey, &PermitState)) {
        while let Some(key) = self.take_end(now) {
            if let Some(permit) = self.by_key.remove(&key) {
                forgotten(key, &permit);
            }
        }
    }

    /// Takes out the soonest end that has come.
    fn take_end(&mut self, now: Mono) -> Option<PermitKey> {
        let has_come = |end: &&(Mono, PermitKey)| end.0 <= now;
        let in_turn = self.in_turn.front().filter(has_come);
        let out_of_turn = self.out_of_turn.peek().map(|Reverse(end)| end).filter(has_come);
        let next = match (in_turn, out_of_turn) {
            (Some(next), Some(other)) if other < next => self.out_of_turn.pop().map(|end| end.0),
            (None, Some(_)) => self.out_of_turn.pop().map(|end| end.0),
            (Some(_), _) => self.in_turn.pop_front(),
            (None, None) => None,
        };
        next.map(|(_, key)| key)
    }

    /// Gives back the memory of many permits that are known no more.
    pub fn release(&mut self) {
        if self.by_key.capacity() > 4 * self.by_key.len() {
            self.by_key.shrink_to(2 * self.by_key.len());
        }
        if self.in_turn.capacity() > 4 * self.in_turn.len() {
            self.in_turn.shrink_to(2 * self.in_turn.len());
        }
        if self.out_of_turn.capacity() > 4 * self.out_of_turn.len() {
            self.out_of_turn.shrink_to(2 * self.out_of_turn.len());
        }
    }

    /// Permits that can still be used.
    pub fn out(&self, now: Mono) -> usize {
        self.by_key.values().filter(|permit| now < permit.expires).count()
    }
}

impl Ledger {
    /// Settles calls of a permit by what Salesforce answered. Of those who are
    /// believed it takes the reading, too, that came with the answer.
    ///
    /// # Errors
    /// The permit is not theirs.
    pub fn report(
        &mut self,
        now: Now,
        key: PermitKey,
        report: &Report,
        by: &Teller,
    ) -> Result<Reported, PermitOfAnother> {
        self.forget(now.mono);
        self.check_holder(key, by)?;
        self.touch_permit(now.mono, key);
        let completed = now.mono - report.completed_ago;
        let sent = self.sent(now.mono, key, report, by);
        // The reading first: what is settled then is taken off it by its exact
        // moment, while stamps are kept in buckets that end a little later.
        let reading = report.reading.filter(|_| by.believed);
        let read = reading.and_then(|reading| self.take_reading(now, reading, completed, by));
        let settled = self.settle(now.mono, key, report, by, read);
        let advice = if by.believed {
            self.hear(now, report, &sent)
        } else {
            self.hear_unbelieved(now.mono, report, &sent)
        };
        let tag = self.permits.get(key).map(|permit| permit.plan.tag);
        Ok(Reported {
            already_settled: !settled,
            class_state: tag.and_then(|tag| self.class_state_of(tag)),
            advice,
        })
    }

    /// Gives back calls that were not sent.
    ///
    /// # Errors
    /// The permit is not theirs.
    pub fn release(
        &mut self,
        now: Mono,
        key: PermitKey,
        unused: Option<u32>,
        by: &Teller,
    ) -> Result<Released, PermitOfAnother> {
        self.forget(now);
        self.check_holder(key, by)?;
        Ok(self.give_back_calls(now, key, unused))
    }

    /// What is not known any more is nobody's, and nothing of it can be settled.
    fn check_holder(&self, key: PermitKey, by: &Teller) -> Result<(), PermitOfAnother> {
        let holder = self.permits.get(key).and_then(|permit| permit.holder.as_ref());
        if by.may_settle_of(holder) { Ok(()) } else { Err(PermitOfAnother) }
    }

    fn give_back_calls(&mut self, now: Mono, key: PermitKey, unused: Option<u32>) -> Released {
        self.touch_permit(now, key);
        let ended = Released::Returned { calls: 0, already_settled: true };
        let twice = self.rules.has(Fault::ReleaseTwice);
        let Some(permit) = self.permits.by_key.get_mut(&key) else { return ended };
        if let Some(calls) = permit.release_answer
            && !twice
        {
            return Released::Returned { calls, already_settled: true };
        }
        if now >= permit.expires {
            return ended;
        }
        let reported = permit.reported();
        let careless = self.rules.has(Fault::ReleaseAfterReport);
        let wanted = match unused {
            Some(calls) => calls,
            None if reported == 0 || careless => permit.calls,
            None => return Released::NumberNeeded,
        };
        let returnable = if careless || twice { permit.calls } else { permit.calls - reported };
        let calls = wanted.min(returnable);
        permit.release_answer = Some(calls);
        // The highest ordinals that no report has settled.
        let mut left = calls;
        let mut free = permit.answered.missing(0..permit.calls);
        free = free.into_iter().flat_map(|range| permit.unanswered.missing(range)).collect();
        for range in free.into_iter().rev() {
            let take = left.min(range.end - range.start);
            permit.returned.add(range.end - take..range.end);
            left -= take;
        }
        let returns_all = calls == permit.calls;
        let (plan, sends) = (Arc::clone(&permit.plan), permit.sends_at_grant);
        let stamp = self.unsettled_stamp(permit_expiry(&self.permits, key));
        for need in &plan.needs {
            self.give_back(need, sends, stamp, u64::from(calls));
        }
        self.note_returned(key, calls);
        self.update_classes_of(now, plan.tag);
        if returns_all {
            self.probe_unsent(now, key);
        }
        Released::Returned { calls, already_settled: false }
    }

    /// The stamp of a call that nobody has answered for: its permit's expiry,
    /// and the time to travel.
    pub(super) fn unsettled_stamp(&self, expires: Mono) -> Mono {
        if self.rules.has(Fault::NoDelta) { expires } else { expires + self.rules.travel }
    }

    /// True if the range held something new. `read`: the moment of the reading that
    /// came with it, if that is the newest.
    fn settle(
        &mut self,
        now: Mono,
        key: PermitKey,
        report: &Report,
        by: &Teller,
        read: Option<Mono>,
    ) -> bool {
        let rules = *self.rules;
        let Some(permit) = self.permits.by_key.get_mut(&key) else { return false };
        let start = report.first_call.min(permit.calls);
        let end = report.first_call.saturating_add(report.calls).min(permit.calls);
        let unreturned = permit.returned.missing(start..end);
        let answered = report.is_answered() || rules.has(Fault::ReportWithoutAnswerFrees);
        let mut new: Ranges =
            unreturned.iter().flat_map(|range| permit.answered.missing(range.clone())).collect();
        if !answered {
            new = new.into_iter().flat_map(|range| permit.unanswered.missing(range)).collect();
            for range in &new {
                permit.unanswered.add(range.clone());
            }
            return !new.is_empty();
        }
        if new.is_empty() && rules.has(Fault::ReportSettlesMore) {
            new = permit.answered.missing(0..permit.calls);
            new.truncate(1);
        }
        for range in &new {
            permit.answered.add(range.clone());
        }
        let calls: u64 = new.iter().map(|range| u64::from(range.end - range.start)).sum();
        let (expires, granted) = (permit.expires, permit.granted);
        let (plan, sends) = (Arc::clone(&permit.plan), permit.sends_at_grant);
        let settled = expires.min(granted.max(now - report.completed_ago));
        let unsettled = self.unsettled_stamp(expires);
        // A figure has the call that it came with, however late the answer arrived; one
        // from before the grant did not come with it, whatever is said.
        let answered_by = read.filter(|read| *read >= granted);
        let answered_by = answered_by.map_or(settled, |read| settled.min(read));
        for need in &plan.needs {
            if self.groups.counter(need.at).kind == Kind::Concurrency {
                self.give_back(need, sends, unsettled, calls);
            } else if now < expires {
                let units = calls * need.units_per_call;
                let counter = self.groups.counter_mut(need.at);
                let moved = counter.settle(unsettled, settled, need.tag, units);
                if counter.is_org_total() && by.believed {
                    self.answered_by_reading(unsettled, answered_by, moved);
                }
            }
        }
        !new.is_empty() && (now < expires || self.holds_slots(key))
    }

    fn holds_slots(&self, key: PermitKey) -> bool {
        self.permits.get(key).is_some_and(|permit| {
            let mut kinds = permit.plan.needs.iter().map(|n| self.groups.counter(n.at).kind);
            kinds.any(|kind| kind == Kind::Concurrency)
        })
    }

    fn give_back(&mut self, need: &Need, sends_at_grant: u64, stamp: Mono, calls: u64) {
        let record = &self.groups.get(need.at.group).record;
        let sends = if self.rules.has(Fault::ReleaseInFlightToOpen) {
            record.committed_sends
        } else {
            record.sends
        };
        let was_sent = sends > sends_at_grant && !self.rules.has(Fault::ReleaseRecordedToOpen);
        let units = calls * need.units_per_call;
        self.groups.counter_mut(need.at).give_back(stamp, need.tag, units, was_sent);
    }
}

fn permit_expiry(permits: &Permits, key: PermitKey) -> Mono {
    permits.get(key).map_or(Mono(0), |permit| permit.expires)
}
