//! Who of a line is served next: weighted fair queueing among workspaces, in
//! order of arrival within one (start-time fair queueing, Goyal, Vin and Cheng
//! 1996, with tags that move at service).
//!
//! A *flow* is what waits for one workspace. Each has a tag: the units that it
//! was served, over its weight. Least tag first, of two the elder request. A
//! request that leaves unserved has not moved its flow's tag: who is impatient
//! is not punished for what he did not get.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, btree_map::Entry},
    time::Duration,
};

use super::WaiterId;
use crate::quota::{Mono, window::Tag};

/// The order in which requests came: unique within a ledger, kept when a
/// request moves to another line or takes its place again.
pub type Arrival = u64;

/// Service that a flow has had, in units over its weight, times 2^20.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Service(u128);

impl Service {
    /// What so many units are to a workspace of this weight.
    pub fn of(units: u64, weight: u32) -> Self {
        Self((u128::from(units) << 20) / u128::from(weight.max(1)))
    }

    fn plus(self, more: Self) -> Self {
        Self(self.0.saturating_add(more.0))
    }

    fn less(self, fewer: Self) -> Self {
        Self(self.0.saturating_sub(fewer.0))
    }
}

/// A flow that waits no more is remembered for this long.
pub const REMEMBERED: Duration = Duration::from_secs(60);

/// The requests that wait in one line.
#[derive(Clone, Debug, Default)]
pub struct Line {
    flows: BTreeMap<Tag, Flow>,
    /// Flows in which somebody waits, by tag, then the arrival of the first.
    order: BTreeSet<(Service, Arrival, Tag)>,
    /// Flows in which nobody does, by when they may be forgotten.
    idle: BTreeSet<(Mono, Tag)>,
    /// Virtual time: the greatest tag at which anybody was served.
    served: Service,
    len: usize,
}

#[derive(Clone, Debug, Default)]
struct Flow {
    tag: Service,
    waiting: BTreeMap<Arrival, Waits>,
    forget_at: Mono,
}

#[derive(Clone, Copy, Debug)]
struct Waits {
    id: WaiterId,
    cost: Service,
}

impl Line {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Flows that are remembered though nobody waits in them.
    pub fn idle(&self) -> usize {
        self.idle.len()
    }

    /// A request joins. Its flow begins where the line is now: nobody saves up
    /// service for later. One that has waited here lately may be behind by this
    /// one request: it missed its turn because it came back a moment too late.
    pub fn enter(&mut self, now: Mono, flow: Tag, arrival: Arrival, id: WaiterId, cost: Service) {
        self.forget(now);
        let from = match self.flows.entry(flow) {
            Entry::Vacant(_) => self.served,
            Entry::Occupied(_) => self.served.less(cost),
        };
        let state = self.flows.entry(flow).or_default();
        if state.waiting.is_empty() {
            self.idle.remove(&(state.forget_at, flow));
            state.tag = state.tag.max(from);
        } else {
            self.order.remove(&state.key(flow));
        }
        if state.waiting.insert(arrival, Waits { id, cost }).is_none() {
            self.len += 1;
        }
        self.order.insert(state.key(flow));
    }

    /// A request goes, served or not.
    pub fn leave(&mut self, now: Mono, flow: Tag, arrival: Arrival, remember: bool) {
        self.forget(now);
        let Some(state) = self.flows.get_mut(&flow) else { return };
        if !state.waiting.contains_key(&arrival) {
            return;
        }
        self.order.remove(&state.key(flow));
        state.waiting.remove(&arrival);
        self.len -= 1;
        if !state.waiting.is_empty() {
            self.order.insert(state.key(flow));
        } else if remember {
            // An emptied tree keeps a node.
            state.waiting = BTreeMap::new();
            state.forget_at = now + REMEMBERED;
            self.idle.insert((state.forget_at, flow));
        } else {
            self.flows.remove(&flow);
        }
    }

    /// A flow is served in its turn.
    pub fn serve(&mut self, flow: Tag, cost: Service) {
        if let Some(state) = self.flows.get(&flow) {
            self.served = self.served.max(state.tag);
        }
        self.charge(flow, cost);
    }

    /// A flow was served what this line waits for, wherever its turn was.
    pub fn charge(&mut self, flow: Tag, cost: Service) {
        let Some(state) = self.flows.get_mut(&flow) else { return };
        let waits = !state.waiting.is_empty();
        if waits {
            self.order.remove(&state.key(flow));
        }
        state.tag = state.tag.plus(cost);
        if waits {
            self.order.insert(state.key(flow));
        }
    }

    /// The first request of each workspace, the next to be served first.
    pub fn firsts(&self) -> impl Iterator<Item = WaiterId> + '_ {
        self.order
            .iter()
            .filter_map(|(_, arrival, flow)| Some(self.flows.get(flow)?.waiting.get(arrival)?.id))
    }

    /// All requests in the order in which they would be served.
    pub fn iter(&self) -> impl Iterator<Item = WaiterId> + '_ {
        let mut cursor = Cursor::default();
        std::iter::from_fn(move || cursor.next(self))
    }

    /// Drops flows in which nobody has waited for a while. What was served to
    /// them is forgiven.
    fn forget(&mut self, now: Mono) {
        while let Some((at, flow)) = self.idle.first().copied().filter(|(at, _)| *at <= now) {
            self.idle.remove(&(at, flow));
            self.flows.remove(&flow);
        }
    }
}

impl Flow {
    /// Its place in the order; somebody waits.
    fn key(&self, flow: Tag) -> (Service, Arrival, Tag) {
        let first = self.waiting.first_key_value().map_or(Arrival::MAX, |(arrival, _)| *arrival);
        (self.tag, first, flow)
    }
}

/// Walks a line in the order of service, as if each were served in full, at the
/// cost of those that it has met.
#[derive(Clone, Debug, Default)]
pub struct Cursor {
    /// The last flow that was met for the first time.
    met: Option<(Service, Arrival, Tag)>,
    /// The next requests of flows that were met.
    again: BinaryHeap<Reverse<(Service, Arrival, Tag)>>,
}

impl Cursor {
    pub fn next(&mut self, line: &Line) -> Option<WaiterId> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = self.met.map_or(Unbounded, Excluded);
        let fresh = line.order.range((from, Unbounded)).next().copied();
        let again = self.again.peek().map(|Reverse(next)| *next);
        let (tag, arrival, flow) = match (fresh, again) {
            (Some(fresh), again) if again.is_none_or(|again| fresh < again) => {
                self.met = Some(fresh);
                fresh
            }
            (_, Some(again)) => {
                self.again.pop();
                again
            }
            _ => return None,
        };
        let state = line.flows.get(&flow)?;
        let waits = state.waiting.get(&arrival)?;
        if let Some((next, _)) = state.waiting.range((Excluded(arrival), Unbounded)).next() {
            self.again.push(Reverse((tag.plus(waits.cost), *next, flow)));
        }
        Some(waits.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Mono {
        Mono(seconds * 1_000_000)
    }

    /// A line in which flow 1 has waited and flow 2 was served five times, and
    /// flow 1 has left unserved at second 0.
    fn line() -> Line {
        let mut line = Line::default();
        let cost = Service::of(1, 1);
        line.enter(at(0), 1, 1, WaiterId(1), cost);
        line.leave(at(0), 1, 1, true);
        for arrival in 2..8 {
            line.enter(at(0), 2, arrival, WaiterId(arrival), cost);
        }
        for arrival in 2..7 {
            line.serve(2, cost);
            line.leave(at(0), 2, arrival, true);
        }
        line
    }

    #[test]
    fn who_comes_back_has_missed_one_turn_at_most() {
        let order = |from: u64, flow: Tag| {
            let (mut line, cost) = (line(), Service::of(1, 1));
            for arrival in 10..13 {
                line.enter(at(from), flow, arrival, WaiterId(arrival), cost);
            }
            line.iter().map(|id| id.0).collect::<Vec<u64>>()
        };
        // Flow 2 has a tag of 5; the line is at 4.
        assert_eq!(order(1, 3), [10, 7, 11, 12], "a new flow begins where the line is");
        assert_eq!(order(59, 1), [10, 11, 7, 12], "one turn is made good");
        assert_eq!(order(60, 1), [10, 7, 11, 12], "after a minute it is a new flow");
    }

    #[test]
    fn weights_share_and_ties_go_by_arrival() {
        let mut line = Line::default();
        for arrival in 0..8 {
            let (flow, weight) = if arrival % 2 == 0 { (1, 1) } else { (2, 3) };
            line.enter(at(0), flow, arrival, WaiterId(arrival), Service::of(3, weight));
        }
        let order: Vec<u64> = line.iter().map(|id| id.0).collect();
        assert_eq!(order, [0, 1, 3, 5, 2, 7, 4, 6]);
        assert_eq!(line.firsts().map(|id| id.0).collect::<Vec<u64>>(), [0, 1]);
    }
}
