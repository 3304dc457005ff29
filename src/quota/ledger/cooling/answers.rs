//! What answers of Salesforce's close, and what opens again by them.

use std::time::Duration;

use super::{BackOff, Cooling, Gate, Origin, Sent, jittered, waits_of};
use crate::quota::{
    Advice, Charge, CoolingCause, Group, Kind, Mono, Now, PermitKey, Reading, Report, Scope,
    Teller,
    ledger::{Ledger, counter::Counter, groups::CounterRef, reconcile::BELIEVABLE},
    salesforce::{
        ApiUsage,
        errors::{OwnCounter, Trouble, TroubleKind},
    },
};

/// A wait of nothing closes nothing.
const SHORTEST: Duration = Duration::from_secs(1);

impl Ledger {
    /// Takes what a client tells of a call that had no permit, or
    /// (`had_permit`) one of a former epoch.
    pub fn report_without_permit(
        &mut self,
        now: Now,
        report: &Report,
        had_permit: bool,
        by: &Teller,
    ) -> Advice {
        self.forget(now.mono);
        let completed = now.mono - report.completed_ago;
        let nothing = Sent { key: None, origin: Origin::Former, completed, charged: Vec::new() };
        if !by.believed {
            return self.hear_unbelieved(now.mono, report, &nothing);
        }
        if let Some(reading) = report.reading {
            self.take_reading(now, reading, completed, by);
        }
        let charged = self.charged_by_name(now.mono, report);
        let origin = if had_permit { Origin::Former } else { Origin::Elsewhere };
        // No answer was made after it arrived, and it may have been made long
        // before it is told of.
        let made = report.reading.and_then(|reading| reading.answer_time);
        let completed = made.map_or(completed, |made| now.mono_at(made).min(completed));
        self.hear(now, report, &Sent { origin, completed, charged, ..nothing })
    }

    /// The call that a report for a permit is about. Ask before it is settled.
    pub(in crate::quota::ledger) fn sent(
        &mut self,
        now: Mono,
        key: PermitKey,
        report: &Report,
        by: &Teller,
    ) -> Sent {
        let completed = now - report.completed_ago;
        let key_of_permit = Some(key);
        if let Some(permit) = self.permits.get(key) {
            let is_closed = |at: CounterRef| self.groups.counter(at).cooling.is_some();
            // Nearly every report is none: a success while nothing is closed.
            let is_of_use =
                report.trouble.is_some() || permit.plan.needs.iter().any(|n| is_closed(n.at));
            let is_repeated = is_of_use && permit.was_told(report);
            let origin =
                if is_repeated { Origin::Repeated } else { Origin::Granted(permit.granted) };
            let needs = permit.plan.needs.iter().filter(|_| is_of_use);
            let charged = needs.map(|need| need.at).collect();
            return Sent { key: key_of_permit, origin, completed, charged };
        }
        if !by.believed {
            // Nobody knows any more whose it was.
            return Sent { key: None, origin: Origin::Former, completed, charged: Vec::new() };
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
    pub(in crate::quota::ledger) fn hear(
        &mut self,
        now: Now,
        report: &Report,
        sent: &Sent,
    ) -> Advice {
        let now = now.mono;
        let Some(trouble) = report.trouble else {
            // Limits are told with a 403, too: one that does not say why proves
            // nothing.
            if report.is_answered() && report.http_status != 403 {
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

    /// What somebody tells who is not believed: where their permit is a probe, it
    /// was for them to find out, and what they say decides about what it probes.
    /// It changes nothing else, and what they are advised hangs on nothing that
    /// others have told.
    pub(in crate::quota::ledger) fn hear_unbelieved(
        &mut self,
        now: Mono,
        report: &Report,
        sent: &Sent,
    ) -> Advice {
        let is_probed = |at: &CounterRef| {
            let cooling = self.groups.counter(*at).cooling.as_ref();
            let probe = cooling.and_then(|cooling| cooling.probe);
            probe.is_some_and(|probe| Some(probe.key) == sent.key)
        };
        let probed = sent.charged.iter().copied().filter(is_probed).collect();
        let sent = &Sent { charged: probed, ..sent.clone() };
        if !sent.charged.is_empty() {
            self.changes += 1;
        }
        let Some(trouble) = report.trouble else {
            if report.is_answered() && report.http_status != 403 {
                self.hear_success(now, None, sent);
            } else {
                self.fail_probe(now, sent);
            }
            return Advice::Continue;
        };
        let bits = bits_of(sent.key, now);
        let waits = match trouble.kind {
            TroubleKind::TooLarge => {
                self.hear_success(now, None, sent);
                return Advice::Continue;
            }
            TroubleKind::NotAllowed => {
                self.fail_probe(now, sent);
                return Advice::Stop;
            }
            TroubleKind::Unavailable => {
                self.fail_probe(now, sent);
                self.rules.cooling.back_off
            }
            TroubleKind::Throttled => self.rules.cooling.back_off,
            TroubleKind::TotalExceeded => self.rules.cooling.total,
            TroubleKind::ConcurrencyExceeded => self.rules.cooling.slots,
            TroubleKind::CounterExceeded(_) => self.rules.cooling.counter,
            TroubleKind::LimitExceeded => self.rules.cooling.unnamed,
            TroubleKind::LoginsExceeded => waits_of(CoolingCause::LoginsExceeded, &self.rules),
        };
        let mut next = None;
        for at in &sent.charged {
            let cause = self.groups.counter(*at).cooling.as_ref().map(|cooling| cooling.cause);
            if let Some(cause) = cause.filter(|_| trouble.kind != TroubleKind::Unavailable) {
                next = next.max(self.close(now, *at, cause, trouble, sent, bits));
            }
        }
        let probed = next.map_or(Duration::ZERO, |next: Mono| next.since(now));
        let wait = self.believable(trouble.retry_after, jittered(waits, 1, bits));
        Advice::BackOff(wait.max(probed))
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
        let ApiUsage { used, limit } = reading.usage;
        if cooling.is_before(sent) && BELIEVABLE.contains(&limit) && used < limit {
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
        let rules = *self.rules;
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
                // Whatever it says this time: of both waits the longer one.
                let wait = wait_of(cooling.cause, cooling.attempts, counter.window);
                cooling.wait = wait.max(wait_of(cause, 1, counter.window));
                cooling.began = now;
                // A probe that somebody else still has may yet be sent.
                let out = cooling.probe.filter(|probe| Some(probe.key) != sent.key);
                let free = out.map_or(now, |probe| probe.ends);
                cooling.until = free.max(now + cooling.wait);
                cooling.probe = None;
            }
            slot => {
                let wait = wait_of(cause, 1, counter.window);
                // It was closed for something lighter: not for less long than that.
                let before = slot.as_ref().map(|cooling| cooling.next(now));
                let lowered = slot.as_ref().map_or(0, |cooling| cooling.lowered_at(now, &rules));
                *slot = Some(Box::new(Cooling {
                    cause,
                    since: now,
                    began: now,
                    until: before.map_or(now, |before| before.max(now)).max(now + wait),
                    wait,
                    attempts: 1,
                    probe: None,
                    lowered,
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

/// Chance comes from outside: a permit's key is random. A report without one
/// comes at a moment that nobody has chosen.
fn bits_of(key: Option<PermitKey>, now: Mono) -> u64 {
    key.map_or(now.0, |key| key.0 ^ now.0)
}
