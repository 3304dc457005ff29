//! The tables of the queue: who waits, in which line, and what is held for
//! whom. Nothing is decided here.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    WaiterId,
    line::{Arrival, Line, REMEMBERED, Service},
};
use crate::quota::{
    Ask, AskError, Class, Mono, RequestKey,
    ledger::{
        groups::CounterRef,
        judge::{Ahead, Need, Plan},
    },
};

/// What the requests of a line wait for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// One counter.
    Counter(CounterRef),
    /// Any user of the pool; these are the windows of the first one, which stand
    /// for the limits that are charged.
    Pool(Arc<[CounterRef]>),
    /// The store, to commit a block of a counter: no limit has refused them.
    Store(CounterRef),
}

/// Names a line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LineKey {
    pub class: Class,
    pub point: Point,
}

/// The order among those at the front: classes strictly; within a class the
/// senior, then lines by turn; within a line by the order of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub class: Class,
    pub turn: u64,
    pub index: u32,
}

/// What somebody at the front holds of a counter.
#[derive(Clone, Copy, Debug)]
struct Front {
    id: WaiterId,
    units: u64,
    refused: bool,
}

/// The turn of a class's senior: before all lines.
pub const SENIOR: u64 = 0;

/// One request that waits.
#[derive(Clone, Debug)]
pub struct Waiter {
    pub ask: Ask,
    pub plan: Arc<Plan>,
    pub nonce: u64,
    pub arrival: Arrival,
    pub since: Mono,
    /// The caller waits no longer than this for room.
    pub deadline: Mono,
    /// Nor than this for the store, where only a block lacks.
    pub store_deadline: Option<Mono>,
    /// Its workspace's weight.
    pub weight: u32,
    pub line: LineKey,
    /// Which user of the pool it will probably get, by its place there.
    pub assumed: usize,
    /// Units that it waits for, by counter: at the front of all that it lacks,
    /// else of its line's.
    pub holds: Vec<(CounterRef, u64)>,
    /// Its place at the front, and whether a limit refuses it.
    pub front: Option<(Place, bool)>,
    /// Units that the next reserve must cover for it.
    pub demands: Vec<(CounterRef, u64)>,
    /// When something may have changed for it by the passing of time.
    pub retry_at: Option<Mono>,
    /// Lines whose front it has left because it lacked something else.
    pub headed: Vec<Point>,
    /// The last pump in which it came back to one of them.
    pub returned_in: u64,
    /// By the settings in force it cannot be decided any more.
    pub failed: Option<AskError>,
}

impl Waiter {
    /// The plan with the user that it will probably get.
    pub fn assumed_plan(&self) -> &Plan {
        self.plan.pool.get(self.assumed).unwrap_or(&self.plan)
    }

    /// What it holds where it is not at the front: what its line waits for.
    pub fn share(&self) -> Vec<(CounterRef, u64)> {
        let plan = self.assumed_plan();
        let units = |need: &Need| (need.at, need.units_per_call * u64::from(self.ask.min_calls));
        let windows = self.plan.needs.len()..;
        match &self.line.point {
            Point::Pool(_) => plan.needs[windows].iter().map(units).collect(),
            Point::Store(_) => plan.needs.iter().map(units).collect(),
            Point::Counter(at) => {
                plan.needs.iter().filter(|need| need.at == *at).map(units).collect()
            }
        }
    }

    /// What so many calls of it are in the line's own units.
    pub fn cost(&self, point: &Point, calls: u32) -> Service {
        let plan = self.assumed_plan();
        let need = match point {
            Point::Counter(at) | Point::Store(at) => plan.needs.iter().find(|n| n.at == *at),
            Point::Pool(_) => plan.needs.get(self.plan.needs.len()),
        };
        let units = need.map_or(1, |need| need.units_per_call);
        Service::of(units * u64::from(calls), self.weight)
    }

    /// When its wait ends.
    pub fn end(&self) -> Mono {
        self.store_deadline.unwrap_or(self.deadline).max(self.deadline)
    }

    /// The groups that it points to.
    pub fn groups(&self) -> BTreeSet<u32> {
        let pool = self.plan.pool.iter().flat_map(|plan| &plan.needs);
        self.plan.needs.iter().chain(pool).map(|need| need.at.group).collect()
    }
}

/// A line, and what its front was found to be.
#[derive(Clone, Debug, Default)]
pub struct LineState {
    pub order: Line,
    /// Its place among the lines of its class: the last that was served is last.
    pub turn: u64,
    /// The requests that were judged and wait, in order.
    pub fronts: Vec<WaiterId>,
    /// The state of the groups that this was found in.
    pub judged_at: u64,
    /// Those that wait for the store.
    pub hasty: BTreeSet<WaiterId>,
    retry_at: Option<Mono>,
    fades_at: Mono,
}

/// Waiting requests.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    pub waiters: BTreeMap<WaiterId, Waiter>,
    /// Lines in which somebody waits, or did lately.
    lines: BTreeMap<LineKey, LineState>,
    /// Lines in which somebody waits, in the order of their turns.
    turns: BTreeMap<(Class, u64), LineKey>,
    /// Lines that must be looked at, whatever has happened.
    dirty: BTreeSet<(Class, u64)>,
    /// Lines by when time alone may have changed something.
    looks: BTreeSet<(Mono, Class, u64)>,
    /// Empty lines by when they are forgotten.
    fading: BTreeSet<(Mono, LineKey)>,
    /// Waits by their end.
    ends: BTreeSet<(Mono, WaiterId)>,
    /// What all who wait hold of a counter, by class.
    sums: BTreeMap<CounterRef, [u64; 4]>,
    /// What those at the front hold of a counter, and whether they are refused.
    fronts: BTreeMap<CounterRef, BTreeMap<Place, Front>>,
    /// What those hold that wait for the store.
    demands: BTreeMap<CounterRef, [u64; 4]>,
    /// Requests that have come back to the front of a line that they had left.
    returned: BTreeSet<(Class, Arrival, WaiterId)>,
    pub failed: BTreeSet<WaiterId>,
    /// Places that are kept for those whose wait has ended.
    kept: BTreeMap<(Mono, Arrival), RequestKey>,
    by_class: [u32; 4],
    for_store: usize,
    last_id: u64,
    last_arrival: Arrival,
    last_turn: u64,
    /// Requests judged: the work that the queue has made.
    pub judged: u64,
    /// How often the queue was pumped.
    pub pumps: u64,
    /// The last moment that it was told of.
    pub time: Mono,
}

impl Queue {
    pub fn len(&self) -> usize {
        self.waiters.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// How many wait for the store, not for room.
    pub fn for_store(&self) -> usize {
        self.for_store
    }

    /// How many wait of each class, in the order of service.
    pub fn by_class(&self) -> [u32; 4] {
        self.by_class
    }

    pub fn line(&self, key: &LineKey) -> Option<&LineState> {
        self.lines.get(key)
    }

    pub fn line_mut(&mut self, key: &LineKey) -> Option<&mut LineState> {
        self.lines.get_mut(key)
    }

    /// The lines of a class in which somebody waits, in turn, from one on.
    pub fn turns(&self, class: Class, from: u64) -> impl Iterator<Item = (u64, &LineKey)> {
        self.turns.range((class, from)..=(class, u64::MAX)).map(|((_, turn), key)| (*turn, key))
    }

    /// What all who wait in classes up to this one hold of a plan's counters.
    pub fn ahead_of(&self, class: Class, plan: &Plan) -> Ahead {
        if self.sums.is_empty() {
            return Ahead::new();
        }
        let index = index(class);
        let held = |at: CounterRef| self.sums.get(&at).map(|sums| sums[..=index].iter().sum());
        counters(plan).filter_map(|at| Some((at, held(at)?))).collect()
    }

    /// What those at the front before a place hold of a plan's counters.
    pub fn ahead_at(&self, place: Place, plan: &Plan) -> Ahead {
        let held = |at: CounterRef| {
            let fronts = self.fronts.get(&at)?.range(..place);
            Some(fronts.map(|(_, front)| front.units).sum::<u64>()).filter(|units| *units > 0)
        };
        counters(plan).filter_map(|at| Some((at, held(at)?))).collect()
    }

    /// What is ahead of a place besides its own line, for an estimate: all of
    /// the higher classes, and the fronts of this one.
    pub fn ahead_outside(&self, place: Place, plan: &Plan) -> Ahead {
        let higher = index(place.class);
        let first = Place { turn: SENIOR, index: 0, ..place };
        let held = |at: CounterRef| {
            let above: u64 = self.sums.get(&at).map_or(0, |sums| sums[..higher].iter().sum());
            let beside = self.fronts.get(&at).map(|fronts| fronts.range(first..place));
            let beside: u64 = beside.map_or(0, |fronts| fronts.map(|(_, front)| front.units).sum());
            above + beside
        };
        counters(plan).map(|at| (at, held(at))).filter(|(_, units)| *units > 0).collect()
    }

    /// How many of higher classes wait for the same.
    pub fn higher(&self, key: &LineKey) -> usize {
        let higher = Class::ALL.into_iter().take_while(|class| *class < key.class);
        let of = |class| LineKey { class, point: key.point.clone() };
        higher.filter_map(|class| self.lines.get(&of(class))).map(|line| line.order.len()).sum()
    }

    /// Takes in a request; `place` is one that was kept for it.
    pub fn insert(&mut self, now: Mono, mut waiter: Waiter, place: Option<Arrival>) -> WaiterId {
        self.last_id += 1;
        let id = WaiterId(self.last_id);
        waiter.arrival = place.unwrap_or_else(|| {
            self.last_arrival += 1;
            self.last_arrival
        });
        self.by_class[index(waiter.ask.class)] += 1;
        self.ends.insert((waiter.end(), id));
        self.waiters.insert(id, waiter);
        self.join(now, id);
        id
    }

    /// Takes a request out. Its counters' groups are the caller's to mark.
    pub fn remove(&mut self, now: Mono, id: WaiterId) -> Option<Waiter> {
        self.wait_for_store(id, None, Vec::new());
        self.hold(id, Vec::new(), None);
        let key = self.waiters.get(&id)?.line.clone();
        self.part(now, id, &key);
        let waiter = self.waiters.remove(&id)?;
        self.by_class[index(waiter.ask.class)] -= 1;
        self.ends.remove(&(waiter.end(), id));
        self.failed.remove(&id);
        let class = waiter.ask.class;
        if self.returned.remove(&(class, waiter.arrival, id)) {
            self.soil_senior(class);
        }
        if self.waiters.is_empty() {
            self.release();
        }
        Some(waiter)
    }

    /// Sends a request to another line, where it keeps its arrival. True if it
    /// had been at the front of that line before.
    pub fn transfer(&mut self, now: Mono, id: WaiterId, to: Point) -> bool {
        let Some(waiter) = self.waiters.get_mut(&id) else { return false };
        let from = waiter.line.clone();
        waiter.line.point = to.clone();
        if !waiter.headed.contains(&from.point) {
            waiter.headed.push(from.point.clone());
        }
        let returns = waiter.headed.contains(&to);
        if returns {
            waiter.returned_in = self.pumps;
        }
        self.part(now, id, &from);
        self.join(now, id);
        returns
    }

    /// Takes over what a request needs by new settings, in the line for this.
    pub fn replan(
        &mut self,
        now: Mono,
        id: WaiterId,
        point: Point,
        change: impl FnOnce(&mut Waiter),
    ) {
        let Some(from) = self.waiters.get(&id).map(|waiter| waiter.line.clone()) else { return };
        self.part(now, id, &from);
        let Some(waiter) = self.waiters.get_mut(&id) else { return };
        change(waiter);
        waiter.line.point = point;
        let (key, share) = (waiter.line.clone(), waiter.share());
        self.join(now, id);
        self.hold(id, share, None);
        self.soil(&key);
    }

    /// A request that has come back is first of its class once all that came
    /// back and are elder have gone: it cannot be sent round for ever. Returns
    /// the counters that a former first one does not hold any more.
    pub fn note_returned(&mut self, id: WaiterId) -> Vec<CounterRef> {
        let Some(waiter) = self.waiters.get(&id) else { return Vec::new() };
        let (class, arrival) = (waiter.ask.class, waiter.arrival);
        let before = self.senior(class);
        let mut freed = Vec::new();
        self.returned.insert((class, arrival, id));
        if let Some(former) = before
            && self.senior(class) != Some(former)
        {
            let Some(waiter) = self.waiters.get(&former) else { return freed };
            freed.extend(waiter.holds.iter().map(|(at, _)| *at));
            let (key, share) = (waiter.line.clone(), waiter.share());
            self.hold(former, share, None);
            self.soil(&key);
        }
        self.soil_senior(class);
        freed
    }

    /// The eldest request of a class that has come back.
    pub fn senior(&self, class: Class) -> Option<WaiterId> {
        let from = (class, 0, WaiterId(0));
        self.returned.range(from..).next().filter(|(of, ..)| *of == class).map(|(.., id)| *id)
    }

    /// The line of a class's senior is to be looked at.
    fn soil_senior(&mut self, class: Class) {
        let line = self.senior(class).and_then(|id| self.waiters.get(&id));
        if let Some(key) = line.map(|waiter| waiter.line.clone()) {
            self.soil(&key);
        }
    }

    /// Sets what a request holds. Returns true if what it held at the front is
    /// not held there any more, or not as before.
    pub fn hold(
        &mut self,
        id: WaiterId,
        holds: Vec<(CounterRef, u64)>,
        front: Option<(Place, bool)>,
    ) -> bool {
        let Some(waiter) = self.waiters.get_mut(&id) else { return false };
        if waiter.holds == holds && waiter.front == front {
            return false;
        }
        let class = index(waiter.ask.class);
        let (old, former) = (std::mem::take(&mut waiter.holds), waiter.front);
        waiter.front = front;
        waiter.holds.clone_from(&holds);
        for (at, units) in &old {
            subtract(&mut self.sums, *at, class, *units);
            if let Some((place, _)) = former
                && let Some(fronts) = self.fronts.get_mut(at)
            {
                // Another may have taken the place since.
                if fronts.get(&place).is_some_and(|front| front.id == id) {
                    fronts.remove(&place);
                }
                if fronts.is_empty() {
                    self.fronts.remove(at);
                }
            }
        }
        for (at, units) in &holds {
            self.sums.entry(*at).or_default()[class] += units;
            if let Some((place, refused)) = front {
                let front = Front { id, units: *units, refused };
                self.fronts.entry(*at).or_default().insert(place, front);
            }
        }
        former.is_some()
    }

    /// Sets until when a request waits for the store, and for what.
    pub fn wait_for_store(
        &mut self,
        id: WaiterId,
        until: Option<Mono>,
        demands: Vec<(CounterRef, u64)>,
    ) {
        let Some(waiter) = self.waiters.get_mut(&id) else { return };
        let class = index(waiter.ask.class);
        for (at, units) in std::mem::take(&mut waiter.demands) {
            subtract(&mut self.demands, at, class, units);
        }
        for (at, units) in &demands {
            self.demands.entry(*at).or_default()[class] += units;
        }
        waiter.demands = demands;
        if waiter.store_deadline == until {
            return;
        }
        self.ends.remove(&(waiter.end(), id));
        match (waiter.store_deadline, until) {
            (None, Some(_)) => self.for_store += 1,
            (Some(_), None) => self.for_store -= 1,
            _ => {}
        }
        waiter.store_deadline = until;
        self.ends.insert((waiter.end(), id));
        if let Some(line) = self.lines.get_mut(&waiter.line) {
            if until.is_some() {
                line.hasty.insert(id)
            } else {
                line.hasty.remove(&id)
            };
        }
    }

    /// What the next reserve must set aside for those who wait for the store.
    /// The units that those who are refused hold before them are not for them:
    /// a block that covers theirs only would never reach them.
    pub fn demand(&self) -> BTreeMap<CounterRef, u64> {
        let with_held = |(at, sums): (&CounterRef, &[u64; 4])| {
            let last = sums.iter().rposition(|units| *units > 0)?;
            let fronts = self.fronts.get(at).into_iter().flatten();
            let ahead = fronts.filter(|(place, front)| front.refused && index(place.class) <= last);
            let held: u64 = ahead.map(|(_, front)| front.units).sum();
            Some((*at, sums.iter().sum::<u64>() + held))
        };
        self.demands.iter().filter_map(with_held).collect()
    }

    /// Waits that are over.
    pub fn over(&self, now: Mono) -> impl Iterator<Item = WaiterId> + '_ {
        self.ends.iter().take_while(move |(end, _)| *end <= now).map(|(_, id)| *id)
    }

    /// When time alone may change something for somebody who waits; a time that
    /// has passed, where somebody is to be judged at once.
    pub fn next_wake(&self) -> Option<Mono> {
        let at_once = (!self.dirty.is_empty() || !self.failed.is_empty()).then_some(Mono(0));
        let end = self.ends.first().map(|(end, _)| *end);
        let look = self.looks.first().map(|(at, ..)| *at);
        let seniors = Class::ALL.into_iter().filter_map(|class| self.senior(class));
        let seniors = seniors.filter_map(|id| self.waiters.get(&id)?.retry_at);
        [at_once, end, look].into_iter().flatten().chain(seniors).min()
    }

    /// A line must be looked at.
    pub fn soil(&mut self, key: &LineKey) {
        if let Some(line) = self.lines.get(key)
            && !line.order.is_empty()
        {
            self.dirty.insert((key.class, line.turn));
        }
    }

    pub fn is_dirty(&self, class: Class, turn: u64) -> bool {
        self.dirty.contains(&(class, turn))
    }

    pub fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// True if time alone may have changed something for a line.
    pub fn is_look_due(&self, key: &LineKey, now: Mono) -> bool {
        self.lines.get(key).is_some_and(|line| line.retry_at.is_some_and(|at| at <= now))
    }

    /// When a line must be looked at again, at the latest.
    pub fn look_at(&self, key: &LineKey) -> Option<Mono> {
        self.lines.get(key)?.retry_at
    }

    /// Notes when a line must be looked at again, at the latest.
    pub fn look_again(&mut self, key: &LineKey, at: Option<Mono>) {
        let Some(line) = self.lines.get_mut(key) else { return };
        self.dirty.remove(&(key.class, line.turn));
        if let Some(former) = line.retry_at {
            self.looks.remove(&(former, key.class, line.turn));
        }
        line.retry_at = at;
        if let Some(at) = at {
            self.looks.insert((at, key.class, line.turn));
        }
    }

    /// A line has had its turn: it is the last of its class now, and must be
    /// looked at.
    pub fn yield_turn(&mut self, key: &LineKey) {
        self.look_again(key, None);
        self.last_turn += 1;
        let turn = self.last_turn;
        let Some(line) = self.lines.get_mut(key).filter(|line| !line.order.is_empty()) else {
            return;
        };
        self.turns.remove(&(key.class, line.turn));
        line.turn = turn;
        self.turns.insert((key.class, turn), key.clone());
        self.dirty.insert((key.class, turn));
    }

    /// A request was granted: its line notes it, and every other one in which
    /// somebody waits for what it took.
    pub fn charge(&mut self, id: WaiterId, taken: &Plan, calls: u32) {
        let Some(waiter) = self.waiters.get(&id) else { return };
        let flow = waiter.plan.tag;
        let own = waiter.line.clone();
        let class = own.class;
        let mut points: Vec<Point> = taken.needs.iter().map(|n| Point::Counter(n.at)).collect();
        points.extend(pool_point(&waiter.plan));
        for point in points {
            let cost = waiter.cost(&point, calls);
            let key = LineKey { class, point };
            let Some(line) = self.lines.get_mut(&key) else { continue };
            if key == own {
                line.order.serve(flow, cost);
            } else if !line.order.is_empty() {
                line.order.charge(flow, cost);
            }
        }
    }

    /// Keeps the place of a request whose wait has ended, and forgets the eldest
    /// one of too many. Returns requests whose places are not kept any more.
    pub fn keep(
        &mut self,
        now: Mono,
        arrival: Arrival,
        request: RequestKey,
        most: usize,
    ) -> Option<(Arrival, RequestKey)> {
        self.kept.insert((now + REMEMBERED, arrival), request);
        let over = self.kept.len() > most;
        over.then(|| self.kept.pop_first()).flatten().map(|((_, arrival), key)| (arrival, key))
    }

    /// A place that is not kept any more.
    pub fn unkept(&mut self, now: Mono) -> Option<(Arrival, RequestKey)> {
        let (until, arrival) = *self.kept.first_key_value()?.0;
        if until > now {
            return None;
        }
        self.kept.pop_first().map(|(_, request)| (arrival, request))
    }

    /// Forgets empty lines: after a while, and those whose counters are gone.
    pub fn fade(&mut self, now: Mono, is_live: impl Fn(u32) -> bool) {
        if self.fading.is_empty() {
            return;
        }
        while let Some((at, key)) = self.fading.first().filter(|(at, _)| *at <= now).cloned() {
            self.fading.remove(&(at, key.clone()));
            self.lines.remove(&key);
        }
        let lost = |(_, key): &&(Mono, LineKey)| match &key.point {
            Point::Counter(at) | Point::Store(at) => !is_live(at.group),
            Point::Pool(users) => users.iter().any(|at| !is_live(at.group)),
        };
        let gone: Vec<(Mono, LineKey)> = self.fading.iter().filter(lost).cloned().collect();
        for (at, key) in gone {
            self.lines.remove(&key);
            self.fading.remove(&(at, key));
        }
        self.release();
    }

    /// Gives back the memory of tables in which nothing stands: a tree that was
    /// emptied keeps a node, which took 10 KiB of an org in which somebody has waited.
    fn release(&mut self) {
        fn map<K, V>(emptied: &mut BTreeMap<K, V>) {
            if emptied.is_empty() {
                *emptied = BTreeMap::new();
            }
        }
        fn set<T>(emptied: &mut BTreeSet<T>) {
            if emptied.is_empty() {
                *emptied = BTreeSet::new();
            }
        }
        map(&mut self.waiters);
        map(&mut self.lines);
        map(&mut self.turns);
        set(&mut self.dirty);
        set(&mut self.looks);
        set(&mut self.fading);
        set(&mut self.ends);
        map(&mut self.sums);
        map(&mut self.fronts);
        map(&mut self.demands);
        set(&mut self.returned);
        set(&mut self.failed);
        map(&mut self.kept);
    }

    /// A request joins the line that it names.
    fn join(&mut self, now: Mono, id: WaiterId) {
        let Some(waiter) = self.waiters.get(&id) else { return };
        let key = waiter.line.clone();
        let line = self.lines.entry(key.clone()).or_default();
        if line.order.is_empty() {
            self.fading.remove(&(line.fades_at, key.clone()));
            self.last_turn += 1;
            line.turn = self.last_turn;
            self.turns.insert((key.class, line.turn), key.clone());
        }
        let cost = waiter.cost(&key.point, waiter.ask.min_calls);
        line.order.enter(now, waiter.plan.tag, waiter.arrival, id, cost);
        if waiter.store_deadline.is_some() {
            line.hasty.insert(id);
        }
    }

    /// A request leaves a line.
    fn part(&mut self, now: Mono, id: WaiterId, key: &LineKey) {
        let Some(waiter) = self.waiters.get(&id) else { return };
        let (flow, arrival) = (waiter.plan.tag, waiter.arrival);
        let Some(line) = self.lines.get_mut(key) else { return };
        let remember = line.order.idle() < MAX_IDLE;
        line.order.leave(now, flow, arrival, remember);
        line.hasty.remove(&id);
        let was_front = line.fronts.contains(&id);
        line.fronts.retain(|front| *front != id);
        let (turn, is_empty, idle) = (line.turn, line.order.is_empty(), line.order.idle());
        if !is_empty {
            if was_front {
                self.dirty.insert((key.class, turn));
            }
            return;
        }
        self.look_again(key, None);
        self.turns.remove(&(key.class, turn));
        // Once all have what the store had to commit, there is nothing left to share:
        // what was served meanwhile took 4 KiB of each org that had waited for a block.
        if idle == 0 || matches!(key.point, Point::Store(_)) {
            self.lines.remove(key);
        } else if let Some(line) = self.lines.get_mut(key) {
            line.fades_at = now + REMEMBERED;
            self.fading.insert((line.fades_at, key.clone()));
        }
    }
}

/// Flows of one line that are remembered though nobody waits in them.
const MAX_IDLE: usize = 1_000;

/// The line of a plan's pool, where there is a choice.
pub fn pool_point(plan: &Plan) -> Option<Point> {
    let first = plan.pool.first().filter(|_| plan.pool.len() > 1)?;
    Some(Point::Pool(first.needs[plan.needs.len()..].iter().map(|need| need.at).collect()))
}

pub const fn index(class: Class) -> usize {
    class as usize
}

/// All counters that a plan may charge.
fn counters(plan: &Plan) -> impl Iterator<Item = CounterRef> + '_ {
    let of_pool = plan.pool.iter().flat_map(|of_user| &of_user.needs[plan.needs.len()..]);
    plan.needs.iter().chain(of_pool).map(|need| need.at)
}

fn subtract(sums: &mut BTreeMap<CounterRef, [u64; 4]>, at: CounterRef, class: usize, units: u64) {
    if let Some(of) = sums.get_mut(&at) {
        of[class] -= units;
        if of.iter().all(|units| *units == 0) {
            sums.remove(&at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::quota::{OperationId, window::NO_TAG};

    fn waits_for(point: Point) -> Waiter {
        let ask = Ask {
            caller: None,
            principal: None,
            workspace: None,
            operation: OperationId::parse("rest").expect("a good id"),
            user: None,
            class: Class::Event,
            calls: 1,
            min_calls: 1,
            cost: 1,
            ttl: None,
            request: None,
            max_wait: Duration::ZERO,
            check_only: false,
        };
        let plan = Plan {
            user: None,
            tag: NO_TAG,
            needs: Vec::new(),
            default_ttl: Duration::ZERO,
            pool: Vec::new(),
        };
        Waiter {
            line: LineKey { class: ask.class, point },
            ask,
            plan: Arc::new(plan),
            nonce: 0,
            arrival: 0,
            since: Mono(0),
            deadline: Mono(0),
            store_deadline: None,
            weight: 1,
            assumed: 0,
            holds: Vec::new(),
            front: None,
            demands: Vec::new(),
            retry_at: None,
            headed: Vec::new(),
            returned_in: 0,
            failed: None,
        }
    }

    #[test]
    fn a_line_for_the_store_is_forgotten_with_its_last_and_one_for_room_after_a_while() {
        let at = CounterRef { group: 0, counter: 0 };
        for (point, remembered) in [(Point::Store(at), false), (Point::Counter(at), true)] {
            let mut queue = Queue::default();
            let key = LineKey { class: Class::Event, point: point.clone() };
            let enter = |queue: &mut Queue| queue.insert(Mono(1), waits_for(point.clone()), None);
            let (first, second) = (enter(&mut queue), enter(&mut queue));
            queue.remove(Mono(2), first);
            assert!(queue.line(&key).is_some());
            queue.remove(Mono(2), second);
            assert_eq!(queue.line(&key).is_some(), remembered, "{point:?}");
            queue.fade(Mono(2) + REMEMBERED, |_| true);
            assert!(queue.line(&key).is_none());
        }
    }
}
