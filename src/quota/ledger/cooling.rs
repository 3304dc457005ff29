//! Cooling-down: what Salesforce's refusals close, for how long, and who tries
//! again.
//!
//! A trouble closes a *counter*: the org's total, its slots, one user's limit,
//! one counter of the Bulk API's. Some open by time. The others open by a
//! *probe*: when the wait is over, exactly one ask is let through, and its
//! answer decides for the whole fleet. The rules that keep hundreds of answers
//! to one moment from counting as hundreds of troubles:
//!
//! - The present wait has a beginning. A refusal counts if its call was granted
//!   after that; calls granted before are what the closing was about. Where
//!   nobody knows when a call was granted (no permit, or a former owner's), it
//!   counts if it was complete after the wait's end. So there is one trouble in
//!   a wait, and only it doubles the next one.
//! - A success of a call that the counter counts ends the cooling-down if the
//!   call was granted after the wait's beginning: while a counter is closed only
//!   probes are. A success of before says nothing.
//! - A reading below the limit ends that of the org's total, by the same rule:
//!   it came with the success of a call granted since, or without a permit and
//!   later.
//! - News from before the end is old: a refusal that was complete then changes
//!   nothing any more.
//! - A probe that nobody reports, or whose answer says nothing about the limit,
//!   has failed for an unknown cause: the next goes after the wait, which does
//!   not double. One that was given back unsent makes room for the next at once.
//! - What has not been asked for in a whole window after its wait is forgotten:
//!   all that Salesforce can have counted has left by then.

use std::time::Duration;

use super::{
    Ledger,
    counter::Counter,
    groups::CounterRef,
    judge::{Ahead, Need, Plan, Refusal, Verdict},
    view::span,
};
use crate::quota::{
    Advice, Ask, Charge, CoolingCause, CoolingRecord, CoolingUsage, DenialReason, Group, Kind,
    Mono, Now, PermitKey, Reading, Report, Scope,
    rules::{Rules, Waits},
    salesforce::errors::{OwnCounter, Trouble, TroubleKind},
    time::micros,
};

/// A counter that Salesforce has told to stop.
#[derive(Clone, Debug)]
pub struct Cooling {
    cause: CoolingCause,
    /// Since when it is closed.
    since: Mono,
    /// When the present wait began: what was granted before is what it is about.
    began: Mono,
    /// When the present wait ends.
    until: Mono,
    /// Its length.
    wait: Duration,
    /// Troubles that counted.
    attempts: u32,
    probe: Option<Probe>,
    /// Slots that are not given out for now.
    lowered: u64,
}

/// The one call that is let through.
#[derive(Clone, Copy, Debug)]
struct Probe {
    key: PermitKey,
    granted: Mono,
    /// Nobody can report it later.
    ends: Mono,
}

/// Whether a cooling counter may be granted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Open,
    /// The next ask is the probe.
    Due,
    Closed {
        until: Mono,
    },
}

/// A call that Salesforce has answered.
#[derive(Clone, Debug)]
pub struct Sent {
    key: Option<PermitKey>,
    origin: Origin,
    /// When its answer was complete.
    completed: Mono,
    /// The counters that it was charged to, as far as they are known.
    charged: Vec<CounterRef>,
}

/// What is known of where a call came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// It was granted here then.
    Granted(Mono),
    /// It had a permit that is not known any more.
    Former,
    /// It had none.
    Elsewhere,
    /// All of it was told before.
    Repeated,
}

/// How long callers are to wait while Salesforce does not serve.
#[derive(Clone, Copy, Debug, Default)]
pub struct BackOff {
    attempts: u32,
    wait: Duration,
    until: Mono,
}

impl Cooling {
    /// What another epoch has left. No second probe goes out beside one of that
    /// epoch's, which nobody here knows of: a probe lives no longer than its wait.
    pub fn restored(now: Now, record: &CoolingRecord, rules: &Rules) -> Self {
        let waits = waits_of(record.cause, rules);
        let base = doubled(waits, record.attempts);
        // As long as that epoch's can have been.
        let base = (base + base / 4).min(waits.longest);
        let since = now.mono_at(record.since).min(now.mono);
        let recorded = now.mono_at(record.until);
        let until = if opens_by_time(record.cause) {
            recorded
        } else if record.probe_out || recorded <= now.mono {
            now.mono + base + rules.travel
        } else {
            recorded + rules.clock_error * 2
        };
        Self {
            cause: record.cause,
            since,
            began: now.mono,
            until,
            wait: base,
            attempts: record.attempts,
            probe: None,
            lowered: record.lowered,
        }
    }

    pub fn record(&self, now: Now) -> CoolingRecord {
        CoolingRecord {
            cause: self.cause,
            since: now.wall_at(self.since),
            until: now.wall_at(self.next(now.mono)),
            attempts: self.attempts,
            probe_out: self.probe.is_some(),
            lowered: self.lowered,
        }
    }

    /// True once it need not be known any more.
    pub fn is_forgotten(&self, now: Mono, window: Duration, rules: &Rules) -> bool {
        let last = self.probe.map_or(self.until, |probe| probe.ends.max(self.until));
        now >= match self.cause {
            CoolingCause::ConcurrencyExceeded => self.regained_at(self.lowered.max(1), rules),
            _ => last + window,
        }
    }

    fn gate(&self, now: Mono) -> Gate {
        if now < self.next(now) {
            return Gate::Closed { until: self.next(now) };
        }
        if opens_by_time(self.cause) { Gate::Open } else { Gate::Due }
    }

    /// When the next probe may go, or when it opens. While a probe is out, the
    /// soonest at which another one could follow it.
    fn next(&self, now: Mono) -> Mono {
        match self.probe {
            None => self.until,
            Some(probe) if now < probe.granted + self.wait => probe.granted + self.wait,
            Some(probe) => probe.ends + self.wait,
        }
    }

    /// The slots that are still taken away.
    fn lowered_at(&self, now: Mono, rules: &Rules) -> u64 {
        let back = now.since(self.until).as_micros() / rules.cooling.regain.as_micros().max(1);
        self.lowered.saturating_sub(u64::try_from(back).unwrap_or(u64::MAX))
    }

    /// When so many slots are back.
    fn regained_at(&self, slots: u64, rules: &Rules) -> Mono {
        let slots = u32::try_from(slots).unwrap_or(u32::MAX);
        self.until + rules.cooling.regain.saturating_mul(slots)
    }

    /// True if a refusal of this call is news for the present wait.
    fn is_news(&self, sent: &Sent) -> bool {
        match sent.origin {
            Origin::Granted(granted) => granted > self.began,
            Origin::Former | Origin::Elsewhere => sent.completed >= self.until,
            Origin::Repeated => false,
        }
    }

    /// True if a success of this call opens the counter again.
    fn is_ended_by(&self, sent: &Sent) -> bool {
        let is_later = matches!(sent.origin, Origin::Granted(granted) if granted > self.began);
        is_later && !opens_by_time(self.cause)
    }

    /// True if a reading that came with this call's answer speaks of a later
    /// time.
    fn is_before(&self, sent: &Sent) -> bool {
        match sent.origin {
            Origin::Granted(granted) => granted > self.began,
            Origin::Elsewhere => sent.completed > self.began,
            Origin::Former | Origin::Repeated => false,
        }
    }
}

impl BackOff {
    /// The wait for one more answer; those of one wait count once.
    fn next(&mut self, now: Mono, bits: u64, rules: &Rules) -> Duration {
        let waits = rules.cooling.back_off;
        if self.attempts > 0 && now < self.until {
            return self.wait;
        }
        let is_old = now >= self.until + waits.longest;
        self.attempts = if is_old { 1 } else { self.attempts.saturating_add(1) };
        self.wait = jittered(waits, self.attempts, bits);
        self.until = now + self.wait;
        self.wait
    }
}

impl Counter {
    /// Slots that may be given out, while some are taken away.
    pub fn lowered_bound(&self, now: Mono, rules: &Rules) -> u64 {
        let lowered = self.cooling.as_ref().map_or(0, |cooling| cooling.lowered_at(now, rules));
        self.bound.saturating_sub(lowered).max(self.bound.min(1))
    }

    /// Nothing is granted from it before then.
    pub fn cooling_until(&self, now: Mono) -> Option<Mono> {
        let cooling = self.cooling.as_ref()?;
        (cooling.gate(now) != Gate::Open).then(|| cooling.next(now))
    }

    /// True after refusals of what had been counted to have room.
    pub fn has_foreign_traffic(&self) -> bool {
        self.cooling.as_ref().is_some_and(|cooling| cooling.cause == CoolingCause::Throttled)
    }

    /// Drops a cooling-down that need not be known any more.
    pub fn forget_cooling(&mut self, now: Mono, rules: &Rules) {
        let (window, cooling) = (self.window, &mut self.cooling);
        if cooling.as_ref().is_some_and(|cooling| cooling.is_forgotten(now, window, rules)) {
            *cooling = None;
            self.block.dirty = true;
        }
    }
}

impl Ledger {
    /// Takes what a client tells of a call that had no permit, or
    /// (`had_permit`) one of a former epoch.
    pub fn report_without_permit(&mut self, now: Now, report: &Report, had_permit: bool) -> Advice {
        self.forget(now.mono);
        let completed = now.mono - report.completed_ago;
        if let Some(reading) = report.reading {
            self.take_reading(now, reading, completed);
        }
        let charged = self.charged_by_name(now.mono, report);
        let origin = if had_permit { Origin::Former } else { Origin::Elsewhere };
        self.hear(now, report, &Sent { key: None, origin, completed, charged })
    }

    /// The call that a report for a permit is about. Ask before it is settled.
    pub(super) fn sent(&mut self, now: Mono, key: PermitKey, report: &Report) -> Sent {
        let completed = now - report.completed_ago;
        let key_of_permit = Some(key);
        if let Some(permit) = self.permits.get(key) {
            let told = permit.was_told(report);
            let origin = if told { Origin::Repeated } else { Origin::Granted(permit.granted) };
            let is_closed = |at: CounterRef| self.groups.counter(at).cooling.is_some();
            // Nearly every report: a success while nothing is closed.
            let is_of_use =
                report.trouble.is_some() || permit.charges.iter().any(|c| is_closed(c.at));
            let charges = permit.charges.iter().filter(|_| is_of_use);
            let charged = charges.map(|charge| charge.at).collect();
            return Sent { key: key_of_permit, origin, completed, charged };
        }
        // A probe's own report is known by its key, however late.
        let of_probe = self.cooling().find_map(|(at, cooling)| {
            let probe = cooling.probe.filter(|probe| probe.key == key)?;
            Some((at, probe.granted))
        });
        let mut charged = self.charged_by_name(now, report);
        charged.extend(of_probe.map(|(at, _)| at).filter(|at| !charged.contains(at)));
        let granted = of_probe.map(|(_, granted)| Origin::Granted(granted));
        let origin = granted.unwrap_or(Origin::Former);
        Sent { key: key_of_permit, origin, completed, charged }
    }

    /// Takes what an answer says about limits, and says what its caller should
    /// do.
    pub(super) fn hear(&mut self, now: Now, report: &Report, sent: &Sent) -> Advice {
        let now = now.mono;
        let Some(trouble) = report.trouble else {
            if report.is_answered() {
                self.back_off = BackOff::default();
                self.hear_success(now, report.reading, sent);
            } else {
                self.fail_probe(now, sent);
            }
            return Advice::Continue;
        };
        let bits = bits_of(sent.key, now);
        let kind = decided_by_header(trouble.kind, report.reading);
        let (cause, closes) = match kind {
            TroubleKind::TooLarge => {
                self.hear_success(now, report.reading, sent);
                return Advice::Continue;
            }
            TroubleKind::NotAllowed => {
                self.fail_probe(now, sent);
                return Advice::Stop;
            }
            TroubleKind::Unavailable => {
                self.fail_probe(now, sent);
                let wait = self.back_off.next(now, bits, &self.rules);
                return Advice::BackOff(self.believable(trouble.retry_after, wait).max(wait));
            }
            TroubleKind::TotalExceeded => (CoolingCause::TotalExceeded, vec![self.total_or_new()]),
            TroubleKind::ConcurrencyExceeded => {
                (CoolingCause::ConcurrencyExceeded, self.slots_of(&sent.charged))
            }
            TroubleKind::LimitExceeded => {
                let users = self.users_windows(&sent.charged, |_| true);
                let is_known = !sent.charged.is_empty();
                let closes =
                    if users.is_empty() && is_known { vec![self.total_or_new()] } else { users };
                (CoolingCause::LimitExceeded, closes)
            }
            TroubleKind::CounterExceeded(named) => {
                (CoolingCause::CounterExceeded, self.own_counter(named, &sent.charged))
            }
            TroubleKind::LoginsExceeded => {
                let logins = |counter: &Counter| counter.limit.as_str().contains("login");
                (CoolingCause::LoginsExceeded, self.users_windows(&sent.charged, logins))
            }
            TroubleKind::Throttled => {
                (CoolingCause::Throttled, self.users_windows(&sent.charged, |_| true))
            }
        };
        let mut next = None;
        for at in &closes {
            next = next.max(self.close(now, *at, cause, trouble, sent, bits));
        }
        // A probe of another counter has heard nothing about that one.
        self.fail_probe(now, sent);
        self.changes += 1;
        if closes.is_empty() {
            let wait = match cause {
                CoolingCause::Throttled => self.back_off.next(now, bits, &self.rules),
                _ => waits_of(cause, &self.rules).first,
            };
            return Advice::BackOff(self.believable(trouble.retry_after, wait));
        }
        let wait = next.map(|next: Mono| next.since(now)).filter(|wait| !wait.is_zero());
        wait.map_or(Advice::Continue, Advice::BackOff)
    }

    /// A refusal for an ask that needs a counter which is closed; `None` if it
    /// needs none, or it is the one that may try.
    pub(super) fn refused_by_cooling(
        &self,
        now: Mono,
        ask: &Ask,
        plan: &Plan,
        ahead: &Ahead,
        short: impl Iterator<Item = CounterRef>,
    ) -> Option<Verdict> {
        let mut binding: Option<(Mono, CounterRef)> = None;
        let mut lacking = Vec::new();
        for need in &plan.needs {
            let Some(until) = self.closed_until(now, need, ask, ahead) else { continue };
            lacking.push(need.at);
            if binding.is_none_or(|(latest, _)| until > latest) {
                binding = Some((until, need.at));
            }
        }
        let (until, at) = binding?;
        for at in short {
            if !lacking.contains(&at) {
                lacking.push(at);
            }
        }
        let reason = DenialReason::CoolingDown;
        let refusal = Refusal { at, reason, frees_at: Some(until), never: false };
        Some(Verdict::Refuse { refusal, lacking })
    }

    /// Until when a counter is closed for an ask.
    pub(super) fn closed_until(
        &self,
        now: Mono,
        need: &Need,
        ask: &Ask,
        ahead: &Ahead,
    ) -> Option<Mono> {
        let cooling = self.groups.counter(need.at).cooling.as_ref()?;
        match cooling.gate(now) {
            Gate::Open => None,
            Gate::Closed { until } => Some(until),
            // It is the turn of those ahead, unless they lack room besides.
            Gate::Due => {
                let waiting = ahead.get(&need.at).copied().unwrap_or(0);
                let theirs = waiting > 0 && self.has_room_for(now, need, ask, waiting);
                theirs.then_some(now + cooling.wait)
            }
        }
    }

    /// True if a grant of this plan would be a probe.
    pub(super) fn is_probe(&self, now: Mono, plan: &Plan) -> bool {
        plan.needs.iter().any(|need| self.may_probe(now, need.at))
    }

    /// The longest life of a permit that is a probe: the next owner of the org,
    /// who may not know of it, waits that long.
    pub(super) fn probe_life(&self, now: Mono, plan: &Plan) -> Duration {
        let due = plan.needs.iter().filter(|need| self.may_probe(now, need.at));
        let waits =
            due.filter_map(|need| Some(self.groups.counter(need.at).cooling.as_ref()?.wait));
        waits.min().unwrap_or(Duration::MAX)
    }

    /// Notes that a permit is the probe of whatever it charges that waits for
    /// one.
    pub(super) fn note_probe(&mut self, now: Mono, key: PermitKey, plan: &Plan, ends: Mono) {
        for need in &plan.needs {
            if !self.may_probe(now, need.at) {
                continue;
            }
            let group = self.groups.get_mut(need.at.group);
            let counter = &mut group.counters[usize::from(need.at.counter)];
            if let Some(cooling) = &mut counter.cooling {
                cooling.probe = Some(Probe { key, granted: now, ends });
                group.record.urgent = true;
            }
        }
    }

    /// A permit was given back as it was: if it was a probe, nobody has tried.
    pub(super) fn probe_unsent(&mut self, now: Mono, key: PermitKey) {
        for at in self.probed_by(key) {
            self.change_cooling(at, |cooling| {
                cooling.probe = None;
                cooling.until = now;
            });
        }
    }

    /// The probe of the org's total may look past what others are thought to
    /// use: that is what it is to find out.
    pub(super) fn total_probe_is_due(&self, now: Mono) -> bool {
        self.total_ref().is_some_and(|at| self.may_probe(now, at))
    }

    /// A reading that came without a permit of ours.
    pub(super) fn cool_by_reading(&mut self, now: Now, reading: Reading, completed: Mono) {
        let told = reading.answer_time.map_or(completed, |at| now.mono_at(at).min(completed));
        let origin = Origin::Elsewhere;
        let sent = Sent { key: None, origin, completed: told, charged: Vec::new() };
        self.hear_reading(now.mono, reading, &sent);
    }

    /// When time alone opens something for those who wait.
    pub(super) fn cooling_wake(&self, now: Mono) -> Option<Mono> {
        if self.queue.is_empty() {
            return None;
        }
        let changes = self.cooling().flat_map(|(_, cooling)| {
            let lowered = cooling.lowered_at(now, &self.rules);
            let regained = cooling.lowered.saturating_sub(lowered.saturating_sub(1));
            let regained = (lowered > 0).then(|| cooling.regained_at(regained, &self.rules));
            [Some(cooling.next(now)), regained].into_iter().flatten()
        });
        changes.filter(|at| *at > now).min()
    }

    /// Counters that cool down, for those who look.
    pub(super) fn cooling_usages(&self, now: Mono) -> Vec<CoolingUsage> {
        let mut usages: Vec<CoolingUsage> = self
            .cooling()
            .filter(|(_, cooling)| cooling.gate(now) != Gate::Open)
            .map(|(at, cooling)| {
                let counter = self.groups.counter(at);
                CoolingUsage {
                    scope: counter.scope,
                    identity: counter.identity.clone(),
                    limit: counter.limit.clone(),
                    cause: cooling.cause,
                    since: cooling.since,
                    until: cooling.next(now),
                    attempts: cooling.attempts,
                    probe_out: cooling.probe.is_some_and(|probe| now < probe.ends),
                }
            })
            .collect();
        usages.sort_by(|a, b| {
            (a.scope, &a.identity, &a.limit).cmp(&(b.scope, &b.identity, &b.limit))
        });
        usages
    }

    /// A refusal for a cooling-down as a sentence.
    pub(super) fn cooling_sentence(&self, now: Mono, refusal: &Refusal) -> Option<String> {
        let counter = self.groups.counter(refusal.at);
        let cooling =
            counter.cooling.as_ref().filter(|_| refusal.reason == DenialReason::CoolingDown)?;
        let whose = match counter.scope {
            Scope::Org => format!("org {}", counter.identity),
            Scope::Workspace => format!("workspace {}", counter.identity),
            Scope::ExecutionUser => format!("execution user {}", counter.identity),
        };
        let (since, wait) = (span(now.since(cooling.since)), refusal.frees_at?.since(now));
        let next = match cooling.probe {
            _ if opens_by_time(cooling.cause) => format!("it opens in {}", span(wait)),
            Some(probe) if now < probe.ends => {
                format!("one call is out to try; the next one may go in {}", span(wait))
            }
            _ => format!("one call will try in {}", span(wait)),
        };
        Some(format!(
            "'{}' of {whose} cools down since {since}: Salesforce said {} ({}); {next}",
            counter.limit,
            said(cooling.cause),
            match cooling.attempts {
                1 => "once".to_owned(),
                times => format!("{times} times"),
            },
        ))
    }

    /// How many counters are closed, by cause.
    #[must_use]
    pub fn cooling_counts(&self, now: Mono) -> [u32; CoolingCause::ALL.len()] {
        let mut counts = [0; CoolingCause::ALL.len()];
        for (_, cooling) in self.cooling().filter(|(_, cooling)| cooling.gate(now) != Gate::Open) {
            let place = CoolingCause::ALL.iter().position(|cause| *cause == cooling.cause);
            counts[place.expect("all causes are listed")] += 1;
        }
        counts
    }

    fn cooling(&self) -> impl Iterator<Item = (CounterRef, &Cooling)> {
        self.groups.iter().flat_map(|(group, state)| {
            (0..).zip(&state.counters).filter_map(move |(counter, state)| {
                Some((CounterRef { group, counter }, state.cooling.as_deref()?))
            })
        })
    }

    fn may_probe(&self, now: Mono, at: CounterRef) -> bool {
        self.groups.counter(at).cooling.as_ref().is_some_and(|c| c.gate(now) == Gate::Due)
    }

    /// Counters that a permit is the probe of.
    fn probed_by(&self, key: PermitKey) -> Vec<CounterRef> {
        let by = |cooling: &Cooling| cooling.probe.is_some_and(|probe| probe.key == key);
        self.cooling().filter(|(_, cooling)| by(cooling)).map(|(at, _)| at).collect()
    }

    /// The probe, if the call was one, has found out nothing.
    fn fail_probe(&mut self, now: Mono, sent: &Sent) {
        let Some(key) = sent.key.filter(|_| sent.origin != Origin::Repeated) else { return };
        for at in self.probed_by(key) {
            self.change_cooling(at, |cooling| {
                cooling.probe = None;
                cooling.until = now + cooling.wait;
            });
        }
    }

    /// A call has passed the limits that it was charged to.
    fn hear_success(&mut self, now: Mono, reading: Option<Reading>, sent: &Sent) {
        for at in &sent.charged {
            let cooling = self.groups.counter(*at).cooling.as_ref();
            if cooling.is_some_and(|cooling| cooling.is_ended_by(sent)) {
                self.end_cooling(*at, sent.completed);
            }
        }
        if let Some(reading) = reading {
            self.hear_reading(now, reading, sent);
        }
    }

    /// A reading below the limit ends the cooling-down of the org's total.
    fn hear_reading(&mut self, now: Mono, reading: Reading, sent: &Sent) {
        let Some(at) = self.total_ref() else { return };
        let Some(cooling) = &self.groups.counter(at).cooling else { return };
        if cooling.is_before(sent) && reading.usage.used < reading.usage.limit {
            self.end_cooling(at, sent.completed.min(now));
        }
    }

    fn end_cooling(&mut self, at: CounterRef, known: Mono) {
        let counter = self.groups.counter_mut(at);
        counter.cooling = None;
        counter.reopened = counter.reopened.max(known);
        counter.block.dirty = true;
        self.changes += 1;
    }

    fn change_cooling(&mut self, at: CounterRef, change: impl FnOnce(&mut Cooling)) {
        let counter = self.groups.counter_mut(at);
        if let Some(cooling) = &mut counter.cooling {
            change(cooling);
            counter.block.dirty = true;
        }
    }

    /// Closes a counter, or closes it for longer, and says until when.
    fn close(
        &mut self,
        now: Mono,
        at: CounterRef,
        cause: CoolingCause,
        trouble: Trouble,
        sent: &Sent,
        bits: u64,
    ) -> Option<Mono> {
        let rules = self.rules;
        let group = self.groups.get_mut(at.group);
        let counter = &mut group.counters[usize::from(at.counter)];
        let wait_of = |cause: CoolingCause, attempts, window: Duration| match cause {
            CoolingCause::Throttled => {
                let most = rules.cooling.longest_retry_after.max(window);
                trouble.retry_after.map_or(window / 4, |wait| wait.min(most)).max(SHORTEST)
            }
            _ => jittered(waits_of(cause, &rules), attempts, bits),
        };
        if sent.completed < counter.reopened {
            return None;
        }
        if sent.origin == Origin::Repeated {
            return counter.cooling_until(now);
        }
        let most_lowered = counter.bound.saturating_sub(1);
        match &mut counter.cooling {
            Some(cooling) if weight(cooling.cause) >= weight(cause) => {
                if !cooling.is_news(sent) {
                    return Some(cooling.next(now));
                }
                if cooling.gate(now) == Gate::Open {
                    cooling.since = now;
                }
                cooling.lowered = cooling.lowered_at(now, &rules);
                cooling.attempts = cooling.attempts.saturating_add(1);
                cooling.wait = wait_of(cooling.cause, cooling.attempts, counter.window);
                cooling.began = now;
                cooling.until = now + cooling.wait;
                cooling.probe = None;
            }
            slot => {
                let wait = wait_of(cause, 1, counter.window);
                *slot = Some(Box::new(Cooling {
                    cause,
                    since: now,
                    began: now,
                    until: now + wait,
                    wait,
                    attempts: 1,
                    probe: None,
                    lowered: 0,
                }));
            }
        }
        let cooling = counter.cooling.as_mut()?;
        if cooling.cause == CoolingCause::ConcurrencyExceeded {
            cooling.lowered = (cooling.lowered + 1).min(most_lowered);
        }
        counter.block.dirty = true;
        group.record.urgent = true;
        Some(cooling.until)
    }

    /// What an answer says about when to come back, within reason.
    fn believable(&self, retry_after: Option<Duration>, otherwise: Duration) -> Duration {
        retry_after.map_or(otherwise, |wait| wait.min(self.rules.cooling.longest_retry_after))
    }

    fn total_or_new(&mut self) -> CounterRef {
        self.counter_ref(&Group::Org, &Charge::org_total())
    }

    /// The org's slots that the call had taken; else all that it has.
    fn slots_of(&mut self, charged: &[CounterRef]) -> Vec<CounterRef> {
        let is_slots =
            |counter: &Counter| counter.kind == Kind::Concurrency && counter.scope == Scope::Org;
        let taken = charged.iter().copied().filter(|at| is_slots(self.groups.counter(*at)));
        let taken: Vec<CounterRef> = taken.collect();
        if !taken.is_empty() {
            return taken;
        }
        let of_org =
            |charge: &&Charge| charge.kind == Kind::Concurrency && charge.scope == Scope::Org;
        self.counters_of_org(of_org)
    }

    /// The user's windows among those that the call was charged to.
    fn users_windows(
        &self,
        charged: &[CounterRef],
        which: impl Fn(&Counter) -> bool,
    ) -> Vec<CounterRef> {
        let is_users = |at: &&CounterRef| {
            let counter = self.groups.counter(**at);
            counter.scope == Scope::ExecutionUser && counter.kind == Kind::Window && which(counter)
        };
        charged.iter().filter(is_users).copied().collect()
    }

    /// The counter that Salesforce has named: the one of that name; else the
    /// only one of the org's that the call was charged to besides the total.
    fn own_counter(&mut self, named: OwnCounter, charged: &[CounterRef]) -> Vec<CounterRef> {
        let of_call: Vec<CounterRef> = charged
            .iter()
            .copied()
            .filter(|at| {
                let counter = self.groups.counter(*at);
                counter.scope == Scope::Org
                    && counter.kind == Kind::Window
                    && !counter.is_org_total()
            })
            .collect();
        let by_name = of_call
            .iter()
            .copied()
            .find(|at| named.is_named(self.groups.counter(*at).limit.as_str()));
        if let Some(at) = by_name {
            return vec![at];
        }
        if let [only] = of_call[..] {
            return vec![only];
        }
        let mut found = self.counters_of_org(|charge: &&Charge| {
            charge.scope == Scope::Org
                && charge.kind == Kind::Window
                && !charge.is_org_total()
                && named.is_named(charge.limit.as_str())
        });
        found.truncate(1);
        found
    }

    /// Counters of the org's own that the catalogue has.
    fn counters_of_org(&mut self, which: impl Fn(&&Charge) -> bool) -> Vec<CounterRef> {
        let catalogue = self.catalogue.clone();
        let charges = catalogue.operations.values().flat_map(|operation| &operation.charges);
        let mut found = Vec::new();
        for charge in charges.filter(which) {
            let at = self.counter_ref(&Group::Org, charge);
            if !found.contains(&at) {
                found.push(at);
            }
        }
        found
    }

    /// The counters that a call was charged to by what its report says, where no
    /// permit says it. A user that is not known here gets no counter by it.
    fn charged_by_name(&mut self, now: Mono, report: &Report) -> Vec<CounterRef> {
        let catalogue = self.catalogue.clone();
        let operation = report.operation.as_ref().and_then(|operation| catalogue.get(operation));
        let Some(operation) = operation.filter(|_| report.trouble.is_some()) else {
            return Vec::new();
        };
        let user = report.user.clone().map(Group::User).filter(|user| {
            let in_pool = report.user.as_ref().is_some_and(|user| self.policy.pool.contains(user));
            in_pool || self.groups.slot(user).is_some()
        });
        let mut charged = Vec::new();
        for charge in &operation.charges {
            let group = match charge.scope {
                Scope::Org => Some(&Group::Org),
                Scope::ExecutionUser => user.as_ref(),
                Scope::Workspace => None,
            };
            if let Some(group) = group {
                charged.push(self.counter_ref(group, charge));
            }
        }
        self.expire_counters(now, charged.iter().copied());
        charged
    }
}

/// A wait of nothing closes nothing.
const SHORTEST: Duration = Duration::from_secs(1);

/// Those that time alone opens; the others need a good answer.
const fn opens_by_time(cause: CoolingCause) -> bool {
    match cause {
        CoolingCause::Throttled
        | CoolingCause::ConcurrencyExceeded
        | CoolingCause::LoginsExceeded => true,
        CoolingCause::LimitExceeded
        | CoolingCause::CounterExceeded
        | CoolingCause::TotalExceeded => false,
    }
}

/// What Salesforce said, in its own words where it has some.
const fn said(cause: CoolingCause) -> &'static str {
    match cause {
        CoolingCause::Throttled => "'429 Too Many Requests' though there was room by our count",
        CoolingCause::LimitExceeded => "'REQUEST_LIMIT_EXCEEDED'",
        CoolingCause::ConcurrencyExceeded => "'ConcurrentRequests Limit exceeded'",
        CoolingCause::LoginsExceeded => "'LOGIN_RATE_EXCEEDED'",
        CoolingCause::CounterExceeded => "that this limit is used up",
        CoolingCause::TotalExceeded => "'TotalRequests Limit exceeded'",
    }
}

/// Which of two causes says more: a lesser one does not replace it.
const fn weight(cause: CoolingCause) -> u8 {
    match cause {
        CoolingCause::Throttled => 0,
        CoolingCause::LimitExceeded => 1,
        CoolingCause::ConcurrencyExceeded
        | CoolingCause::LoginsExceeded
        | CoolingCause::CounterExceeded => 2,
        CoolingCause::TotalExceeded => 3,
    }
}

const fn waits_of(cause: CoolingCause, rules: &Rules) -> Waits {
    let rules = &rules.cooling;
    match cause {
        CoolingCause::TotalExceeded => rules.total,
        CoolingCause::ConcurrencyExceeded => rules.slots,
        CoolingCause::CounterExceeded => rules.counter,
        CoolingCause::LimitExceeded | CoolingCause::Throttled => rules.unnamed,
        CoolingCause::LoginsExceeded => Waits { first: rules.logins, longest: rules.logins },
    }
}

/// A limit that Salesforce did not name is the org's total where the same
/// answer's header shows it used up.
fn decided_by_header(kind: TroubleKind, reading: Option<Reading>) -> TroubleKind {
    match (kind, reading) {
        (TroubleKind::LimitExceeded, Some(Reading { usage, .. }))
            if usage.limit > 0 && usage.used >= usage.limit =>
        {
            TroubleKind::TotalExceeded
        }
        _ => kind,
    }
}

/// The wait after so many troubles, without jitter.
fn doubled(waits: Waits, attempts: u32) -> Duration {
    let factor = 1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
    waits.first.saturating_mul(factor).min(waits.longest)
}

/// The wait after so many troubles: within a quarter of what doubling makes it,
/// and never shorter than the first or longer than the longest, so that orgs
/// that were closed together do not try together.
fn jittered(waits: Waits, attempts: u32, bits: u64) -> Duration {
    let base = doubled(waits, attempts);
    let low = base.min(waits.longest * 4 / 5).max(waits.first.min(base));
    let high = (base + base / 4).min(waits.longest).max(low);
    let spread = micros(high - low);
    low + Duration::from_micros(mixed(bits) % (spread + 1))
}

/// Chance comes from outside: a permit's key is random. A report without one
/// comes at a moment that nobody has chosen.
fn bits_of(key: Option<PermitKey>, now: Mono) -> u64 {
    key.map_or(now.0, |key| key.0 ^ now.0)
}

/// Spreads what bits there are over all of them (the finish of `SplitMix64`).
const fn mixed(bits: u64) -> u64 {
    let bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
