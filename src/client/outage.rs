//! What is done while the service cannot decide: nothing, everything, or this
//! process's own part of what the service never grants.
//!
//! The service keeps `outage_share` units of each limit to itself, of which each
//! of N processes may use floor(share / N) in any window. [`Shares`] counts them,
//! as a state machine without a clock: `now` is an argument.

use std::{collections::HashMap, num::NonZeroU32, time::Duration};

use super::ask::Ask;
use crate::{
    clock::Moment,
    proto::v1::{LimitKind, LimitScope, LimitUsage, TrafficClass},
};

/// What a traffic class does while the service cannot decide.
///
/// An outage is what is left after the retries, within the deadline: no
/// connection, no answer, an overloaded service, or an answer that is none. What
/// the service refuses as wrong or forbidden is an error, never an outage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutagePolicy {
    /// No calls: [`AcquireError::Unavailable`](super::AcquireError::Unavailable).
    #[default]
    Closed,
    /// All calls, uncounted: limits may be overrun. Permits live for 5 s.
    Open,
    /// This process's own part of what the service never grants
    /// (`outage_share` in its configuration), so that no limit is overrun.
    ///
    /// A question that the service has never answered in this process, and one
    /// that touches a limit without such a share, is closed.
    Safe {
        /// How many processes may use their part within one window, **restarted
        /// ones included**: who divides it by too few overruns the share.
        processes: NonZeroU32,
    },
}

/// The policy of each class.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Policies([OutagePolicy; 5]);

impl Policies {
    /// The policy of a class.
    pub fn of(&self, class: TrafficClass) -> OutagePolicy {
        self.0[class as usize]
    }

    /// Sets the policy of a class.
    pub fn set(&mut self, class: TrafficClass, policy: OutagePolicy) {
        let class = if class == TrafficClass::Unspecified { TrafficClass::Event } else { class };
        self.0[class as usize] = policy;
    }

    /// Sets the policy of all classes.
    pub fn set_all(&mut self, policy: OutagePolicy) {
        self.0 = [policy; 5];
    }

    /// True if any class uses shares: they are not learnt otherwise.
    pub fn use_shares(&self) -> bool {
        self.0.iter().any(|policy| matches!(policy, OutagePolicy::Safe { .. }))
    }
}

/// A permit of the outage policy lives so long.
pub const OUTAGE_TTL: Duration = Duration::from_secs(5);

/// A call that nobody has answered may still be made so long after its permit's
/// expiry, by the clocks and the network that the service's protocol assumes.
const UNANSWERED_MARGIN: Duration = Duration::from_secs(5);

/// Questions whose answers are remembered; beyond, all are forgotten and learnt
/// anew. What was used never is.
const MAX_QUESTIONS: usize = 10_000;

/// The shares of the service's limits that this process may use by itself, and
/// what it has used of them.
#[derive(Debug, Default)]
pub struct Shares {
    /// What the last answer to each question said.
    known: HashMap<Question, Known>,
    /// What is used of each limit; those of nothing are removed.
    logs: HashMap<Counter, Vec<Use>>,
    next_ticket: u64,
}

/// What tells questions apart that touch different limits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Question {
    org: String,
    workspace: String,
    operation: String,
    execution_user: String,
}

#[derive(Clone, Debug)]
struct Known {
    execution_user: String,
    shares: Vec<Share>,
}

/// A limit's part that the service never grants.
#[derive(Clone, Debug)]
struct Share {
    counter: Counter,
    /// Of all processes together.
    units: u64,
    /// The window; for slots, the longest time a call may hold one.
    window: Duration,
    kind: LimitKind,
}

/// Whose counter it is: names of identities are unique within an org and scope.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Counter {
    org: String,
    scope: LimitScope,
    identity: String,
    name: String,
}

/// One call in one limit's log.
#[derive(Clone, Debug)]
struct Use {
    ticket: Ticket,
    units: u64,
    /// The window to count it for.
    window: Duration,
    is_slot: bool,
    /// When it no longer counts, if nothing more is heard of it.
    leaves: Moment,
    is_answered: bool,
}

/// Names the calls of one permit in the logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

/// What may be done during an outage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leave {
    /// Names the calls.
    pub ticket: Ticket,
    /// How many.
    pub calls: u32,
    /// The user to make them as.
    pub execution_user: String,
}

impl Shares {
    /// Takes in what the service has answered: `limits` are all that the question
    /// touches, `execution_user` is who they are of.
    pub fn learn(&mut self, ask: &Ask, execution_user: &str, limits: &[LimitUsage]) {
        let question = Question::of(ask);
        if self.known.len() >= MAX_QUESTIONS && !self.known.contains_key(&question) {
            self.known.clear();
        }
        let shares = limits.iter().filter_map(|limit| Share::of(&ask.org, limit)).collect();
        self.known.insert(question, Known { execution_user: execution_user.to_owned(), shares });
    }

    /// Takes room for the calls of a question in all of its limits, or in none.
    /// `processes` divide the shares.
    ///
    /// # Errors
    /// Why there is no room.
    pub fn take(
        &mut self,
        now: Moment,
        ask: &Ask,
        processes: NonZeroU32,
    ) -> Result<Leave, &'static str> {
        let Some(known) = self.known.get(&Question::of(ask)) else {
            return Err("the service has never answered this question, so no share is known");
        };
        let known = known.clone();
        if known.shares.is_empty() {
            return Err("no limit of this question is known, so there is no share of one");
        }
        let cost = u64::from(ask.cost.max(1));
        let mut calls = u64::from(ask.calls);
        for share in &known.shares {
            let part = share.units / u64::from(processes.get());
            let room = part.saturating_sub(self.used(now, &share.counter));
            calls = calls.min(room / share.units_of_call(cost));
        }
        let fewest = if ask.min_calls == 0 { ask.calls } else { ask.min_calls.min(ask.calls) };
        let calls = u32::try_from(calls).unwrap_or(ask.calls);
        if calls < fewest.max(1) {
            return Err("this process's part of the outage share is used up, or nothing");
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        for share in &known.shares {
            let one = Use {
                ticket,
                units: share.units_of_call(cost),
                window: share.window,
                is_slot: share.kind == LimitKind::Concurrency,
                leaves: now + OUTAGE_TTL + UNANSWERED_MARGIN + share.window,
                is_answered: false,
            };
            let log = self.logs.entry(share.counter.clone()).or_default();
            log.extend(std::iter::repeat_n(one, calls as usize));
        }
        Ok(Leave { ticket, calls, execution_user: known.execution_user })
    }

    /// So many calls were answered at a moment: they leave their windows from
    /// there, and their slots now.
    pub fn answered(&mut self, ticket: Ticket, calls: u32, at: Moment) {
        self.settle(ticket, calls, |one| {
            one.is_answered = true;
            let leaves = if one.is_slot { at } else { at + one.window };
            // What is told late counts no longer than what is never told.
            one.leaves = one.leaves.min(leaves);
        });
    }

    /// So many calls were never made.
    pub fn unused(&mut self, ticket: Ticket, calls: u32) {
        self.settle(ticket, calls, |one| {
            one.is_answered = true;
            one.leaves = Moment::from_start(Duration::ZERO);
        });
    }

    /// Units that count now.
    fn used(&mut self, now: Moment, counter: &Counter) -> u64 {
        let Some(log) = self.logs.get_mut(counter) else { return 0 };
        log.retain(|one| now < one.leaves);
        let used = log.iter().map(|one| one.units).sum();
        if log.is_empty() {
            self.logs.remove(counter);
        }
        used
    }

    fn settle(&mut self, ticket: Ticket, calls: u32, settle: impl Fn(&mut Use)) {
        for log in self.logs.values_mut() {
            let open = log.iter_mut().filter(|one| one.ticket == ticket && !one.is_answered);
            open.take(calls as usize).for_each(&settle);
        }
    }
}

impl Question {
    fn of(ask: &Ask) -> Self {
        Self {
            org: ask.org.clone(),
            workspace: ask.workspace.clone(),
            operation: ask.operation.clone(),
            execution_user: ask.execution_user.clone(),
        }
    }
}

impl Share {
    /// What a limit gives in an outage; `None` for one that bounds nothing.
    fn of(org: &str, limit: &LimitUsage) -> Option<Self> {
        let counter = Counter {
            org: org.to_owned(),
            scope: limit.scope(),
            identity: limit.identity.clone(),
            name: limit.name.clone(),
        };
        let window = limit.window.and_then(|window| window.try_into().ok()).unwrap_or_default();
        // A workspace without a cap has a maximum of 0; a limit in shadow refuses
        // nothing.
        (limit.max > 0 && limit.shadow.is_none()).then(|| Self {
            counter,
            units: limit.outage_share,
            window,
            kind: limit.kind(),
        })
    }

    /// Which limits take a request's cost is the catalogue's matter, and not
    /// known here: all but slots are taken to.
    fn units_of_call(&self, cost: u64) -> u64 {
        if self.kind == LimitKind::Concurrency { 1 } else { cost }
    }
}

#[cfg(test)]
mod tests;
