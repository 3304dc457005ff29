//! What cooling-down means for asks: who waits, who tries, and what is shown.

use std::time::Duration;

use super::{Gate, Probe, opens_by_time};
use crate::quota::{
    Ask, CoolingCause, CoolingUsage, DenialReason, Mono, PermitKey, Scope,
    ledger::{
        Ledger,
        groups::CounterRef,
        judge::{Ahead, Need, Plan, Refusal, Verdict},
        view::span,
    },
};

impl Ledger {
    /// A refusal for an ask that needs a counter which is closed; `None` if it
    /// needs none, or it is the one that may try.
    pub(in crate::quota::ledger) fn refused_by_cooling(
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
    pub(in crate::quota::ledger) fn closed_until(
        &self,
        now: Mono,
        need: &Need,
        ask: &Ask,
        ahead: &Ahead,
    ) -> Option<Mono> {
        let counter = self.groups.counter(need.at);
        let cooling = counter.cooling.as_ref().filter(|_| !counter.shadow)?;
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
    pub(in crate::quota::ledger) fn is_probe(&self, now: Mono, plan: &Plan) -> bool {
        plan.needs.iter().any(|need| self.may_probe(now, need.at))
    }

    /// The longest life of a permit that is a probe: the next owner of the org,
    /// who may not know of it, waits that long.
    pub(in crate::quota::ledger) fn probe_life(&self, now: Mono, plan: &Plan) -> Duration {
        let due = plan.needs.iter().filter(|need| self.may_probe(now, need.at));
        let waits =
            due.filter_map(|need| Some(self.groups.counter(need.at).cooling.as_ref()?.wait));
        waits.min().unwrap_or(Duration::MAX)
    }

    /// Notes that a permit is the probe of whatever it charges that waits for
    /// one.
    pub(in crate::quota::ledger) fn note_probe(
        &mut self,
        now: Mono,
        key: PermitKey,
        plan: &Plan,
        ends: Mono,
    ) {
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
    pub(in crate::quota::ledger) fn probe_unsent(&mut self, now: Mono, key: PermitKey) {
        for at in self.probed_by(key) {
            self.change_cooling(at, |cooling| {
                cooling.probe = None;
                cooling.until = now;
            });
        }
    }

    /// The probe of the org's total may look past what others are thought to
    /// use: that is what it is to find out.
    pub(in crate::quota::ledger) fn total_probe_is_due(&self, now: Mono) -> bool {
        self.total_ref().is_some_and(|at| self.may_probe(now, at))
    }

    /// When time alone opens something for those who wait.
    pub(in crate::quota::ledger) fn cooling_wake(&self, now: Mono) -> Option<Mono> {
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
    pub(in crate::quota::ledger) fn cooling_usages(&self, now: Mono) -> Vec<CoolingUsage> {
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
    pub(in crate::quota::ledger) fn cooling_sentence(
        &self,
        now: Mono,
        refusal: &Refusal,
    ) -> Option<String> {
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

    /// True if the next ask for this counter is the probe.
    pub(in crate::quota::ledger) fn may_probe(&self, now: Mono, at: CounterRef) -> bool {
        self.groups.counter(at).cooling.as_ref().is_some_and(|c| c.gate(now) == Gate::Due)
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
