//! What is shown of the queue: who waits, at which place, and until when.

use super::{Ledger, WaiterId, line::Cursor, table::LineKey};
use crate::quota::{
    Class, Mono, QueueUsage, Queued, WaitsFor,
    ledger::judge::{Ahead, Verdict},
};

/// Requests that are shown; of longer queues only how many wait.
const SHOWN: usize = 100;

/// A line as it is walked through.
struct Walk {
    key: LineKey,
    cursor: Cursor,
    /// What those hold that were met.
    prior: Ahead,
    place: u32,
}

impl Ledger {
    /// How many wait, and the first of them: by class, then by place.
    pub(in crate::quota::ledger) fn queue_usage(&self, now: Mono) -> QueueUsage {
        let mut first = Vec::new();
        for class in Class::ALL {
            let most = SHOWN - first.len();
            first.extend(self.first_of(now, class, most));
        }
        QueueUsage { by_class: self.queue.by_class(), first }
    }

    /// The first requests of a class: those in the first place of their lines,
    /// then those in the second, and so on.
    fn first_of(&self, now: Mono, class: Class, most: usize) -> Vec<Queued> {
        let lines = self.queue.turns(class, 0).map(|(_, key)| Walk {
            key: key.clone(),
            cursor: Cursor::default(),
            prior: Ahead::new(),
            place: u32::try_from(self.queue.higher(key)).unwrap_or(u32::MAX),
        });
        let mut walks: Vec<Walk> = if most == 0 { Vec::new() } else { lines.collect() };
        let mut found = Vec::new();
        while found.len() < most && !walks.is_empty() {
            walks.retain_mut(|walk| {
                let line = self.queue.line(&walk.key);
                let next = line.and_then(|line| walk.cursor.next(&line.order));
                let Some(waiter) = next.and_then(|id| self.queue.waiters.get(&id)) else {
                    return false;
                };
                walk.place = walk.place.saturating_add(1);
                let shown = next.and_then(|id| self.queued(now, id, walk.place, &mut walk.prior));
                found.extend(shown.map(|shown| (walk.place, waiter.arrival, shown)));
                true
            });
        }
        found.sort_by_key(|(place, arrival, _)| (*place, *arrival));
        found.truncate(most);
        found.into_iter().map(|(_, _, shown)| shown).collect()
    }

    /// One request, and when its turn comes, after those that hold `prior`; what
    /// it holds itself is added there.
    fn queued(&self, now: Mono, id: WaiterId, place: u32, prior: &mut Ahead) -> Option<Queued> {
        let waiter = self.queue.waiters.get(&id)?;
        let ask = &waiter.ask;
        let ahead = self.ahead_in_line(waiter, prior);
        let chosen = self.chosen(now, ask, &waiter.plan, &ahead);
        let (due, limit) = match self.judge(now, ask, chosen, &ahead) {
            Verdict::Refuse { refusal, .. } => {
                let counter = self.groups.counter(refusal.at);
                let limit = WaitsFor {
                    name: counter.limit.clone(),
                    kind: counter.kind,
                    scope: counter.scope,
                    identity: counter.identity.clone(),
                };
                let knowable = counter.kind == crate::quota::Kind::Window;
                (refusal.frees_at.filter(|_| knowable && !refusal.never), Some(limit))
            }
            // It waits for the store.
            Verdict::Grant { .. } | Verdict::AwaitBlock { .. } => (Some(now), None),
        };
        // Whoever may have any user will have the one that was found for it now.
        let windows = if waiter.plan.pool.is_empty() { 0 } else { waiter.plan.needs.len() };
        let calls = u64::from(ask.min_calls);
        if waiter.plan.pool.len() > 1 {
            for need in &chosen.needs[windows..] {
                *prior.entry(need.at).or_default() += need.units_per_call * calls;
            }
        } else {
            for (at, units) in &waiter.holds {
                *prior.entry(*at).or_default() += units;
            }
        }
        Some(Queued {
            place,
            workspace: ask.workspace.clone(),
            operation: ask.operation.clone(),
            class: ask.class,
            calls: ask.calls,
            user: ask.user.clone(),
            since: waiter.since,
            due,
            limit,
        })
    }
}
