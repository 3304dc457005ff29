//! Why an ask was decided as it was: every limit that it touches, what is left
//! of it for the ask's class and why no more, and which of them binds. For
//! checks only; nothing here decides.

use std::{fmt::Write as _, time::Duration};

use super::{
    Ledger,
    groups::CounterRef,
    judge::{Ahead, Need, Plan},
    view::span,
};
use crate::quota::{Ask, Class, Kind, LimitExplanation, LimitUsage, Mono};

impl Ledger {
    /// Explains the decision about an ask, limit by limit. `refused_by`: the
    /// limit that refuses it; where none does, the one that leaves the fewest
    /// calls binds, if it leaves fewer than were asked for.
    pub(super) fn explain(
        &self,
        now: Mono,
        ask: &Ask,
        plan: &Plan,
        ahead: &Ahead,
        refused_by: Option<CounterRef>,
    ) -> Vec<LimitExplanation> {
        let calls_left = |need: &&Need| {
            let shadow = self.groups.counter(need.at).shadow;
            let room = self.enforced_room(now, need, ask, ahead).units;
            if shadow { u64::MAX } else { room / need.units_per_call }
        };
        let tightest = plan.needs.iter().min_by_key(calls_left);
        let shortens = |need: &&Need| calls_left(need) < u64::from(ask.calls);
        let binding = refused_by.or_else(|| tightest.filter(shortens).map(|need| need.at));
        let explain = |need: &Need| self.explain_limit(now, ask, need, ahead, binding);
        plan.needs.iter().map(explain).collect()
    }

    fn explain_limit(
        &self,
        now: Mono,
        ask: &Ask,
        need: &Need,
        ahead: &Ahead,
        binding: Option<CounterRef>,
    ) -> LimitExplanation {
        let counter = self.groups.counter(need.at);
        let room = self.enforced_room(now, need, ask, ahead);
        let needed = need.units_per_call * u64::from(ask.min_calls);
        let closed_until = self.closed_until(now, need, ask, ahead);
        let opens_in = match counter.kind {
            _ if closed_until.is_some() => closed_until.map(|until| until.since(now)),
            _ if room.units >= needed => Some(Duration::ZERO),
            Kind::Concurrency => None,
            Kind::Window if room.ceiling < needed => None,
            Kind::Window => self.frees_at(now, need, ask, ahead).map(|at| at.since(now)),
        };
        let thresholds = self.thresholds(need.at.group, ask.class);
        let thresholds = thresholds.filter(|_| counter.is_workspace_cap());
        let mut explanation = LimitExplanation {
            usage: self.usage_of(now, need.at, need.tag),
            room: if closed_until.is_some() { 0 } else { room.units },
            needed,
            ahead: ahead.get(&need.at).copied().unwrap_or(0),
            kept: self.kept(need).for_others,
            pauses_at: thresholds.map(|thresholds| thresholds.pause_point(counter.max)),
            binding: binding == Some(need.at),
            opens_in,
            text: String::new(),
        };
        explanation.text = self.sentence_about(ask, need, &explanation);
        explanation
    }

    fn sentence_about(&self, ask: &Ask, need: &Need, about: &LimitExplanation) -> String {
        let usage = &about.usage;
        let class = ask.class.name();
        let mut text = used_of(usage);
        // Writing to a string cannot fail.
        if usage.held > 0 {
            let _ = write!(text, ", {} more are set aside", usage.held);
        }
        if usage.reserved > 0 && ask.class != Class::Control {
            let _ = write!(text, ", {} are kept for other integrations", usage.reserved);
        }
        if usage.outage_share > 0 && !self.stops_nobody(need, ask.class) {
            let _ = write!(text, ", {} are kept for outages", usage.outage_share);
        }
        if about.kept > 0 {
            let _ = write!(text, ", {}", self.kept_for(need));
        }
        if let Some(point) = about.pauses_at {
            let is_paused = self.groups.get(need.at.group).classes.get(ask.class).paused;
            let verb = if is_paused { "is paused since it reached" } else { "pauses at" };
            let _ = write!(text, ", {class} {verb} {point}");
        }
        if about.ahead > 0 {
            let _ = write!(text, ", requests ahead wait for {}", about.ahead);
        }
        if usage.cooling_until.is_some() {
            text.push_str(", it cools down since Salesforce said stop");
        }
        if self.stops_nobody(need, ask.class) {
            let _ = write!(text, ": it does not stop {class} calls");
            return text;
        }
        let _ = match about.opens_in {
            Some(Duration::ZERO) => write!(text, ": {} are free for {class} calls", about.room),
            Some(wait) => write!(
                text,
                ": {} are free for {class} calls, {} are needed; they will be in {}",
                about.room,
                about.needed,
                span(wait)
            ),
            None => write!(
                text,
                ": {} are free for {class} calls, {} are needed, and nobody can say when they \
                 will be",
                about.room, about.needed
            ),
        };
        if usage.shadow.is_some() {
            text.push_str("; it is in shadow and refuses nothing");
        }
        text
    }

    /// A workspace without a cap has none for any class, and CONTROL passes its
    /// own limits.
    fn stops_nobody(&self, need: &Need, class: Class) -> bool {
        let counter = self.groups.counter(need.at);
        let capped = self.thresholds(need.at.group, class).is_some();
        counter.is_workspace_cap() && !capped || counter.is_burn_limit() && class == Class::Control
    }
}

fn used_of(usage: &LimitUsage) -> String {
    let used = usage.used_by_caller + usage.used_by_others;
    match usage.kind {
        Kind::Concurrency => format!("{used} of {} slots are taken", usage.max),
        Kind::Window if usage.max == 0 => format!("{used} used in {}", span(usage.window)),
        Kind::Window => format!("{used} of {} used in {}", usage.max, span(usage.window)),
    }
}
