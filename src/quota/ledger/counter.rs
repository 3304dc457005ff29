//! One limit of one identity: what is counted, and the open block that may be
//! granted from.

use std::time::Duration;

use smol_str::SmolStr;

use super::{UNBOUNDED, cooling::Cooling};
use crate::quota::{
    CounterRecord, Kind, LimitName, Mono, Now, Scope,
    catalogue::Charge,
    rules::{Fault, Rules},
    time::{Wall, micros},
    window::{Inherited, NO_TAG, Tag, Tally, pack},
};

/// A counter and its block.
#[derive(Clone, Debug)]
pub struct Counter {
    pub limit: LimitName,
    pub kind: Kind,
    pub scope: Scope,
    pub identity: SmolStr,
    pub window: Duration,
    pub ttl_cap: Duration,
    /// The limit that is shown.
    pub max: u64,
    /// Units of `max` that are never granted: clients may use them while nobody
    /// can be asked.
    pub outage_share: u64,
    /// Reservations stay within this: the limit less the outage share. A
    /// workspace's own limits are gates at the grant and bound no reservation.
    pub bound: u64,
    /// Blocks are sized as shares of this: the bound, or for a workspace's cap
    /// the org's.
    pub block_base: u64,
    pub own: Tally,
    pub inherited: Inherited,
    pub block: Block,
    rate: Rate,
    /// It is counted and reported, and refuses nothing.
    pub shadow: bool,
    /// Grants that it would have refused, since this process owns the counter.
    pub shadow_refusals: u64,
    /// Salesforce has told it to stop.
    pub cooling: Option<Box<Cooling>>,
    /// When it was last found open again: refusals of before are old news.
    pub reopened: Mono,
    /// Those who listen believe that it cools down.
    pub cooling_told: bool,
    role: Role,
}

/// What a counter is to the ledger: told once by its names, asked all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// The one limit that others also move.
    OrgTotal,
    /// Gates classes and bounds no reservation.
    WorkspaceCap,
    /// A workspace's brake for run-away jobs, a gate as its cap is.
    BurnLimit,
    /// A limit as any other.
    Limit,
}

impl Role {
    fn of(scope: Scope, kind: Kind, limit: &LimitName) -> Self {
        match (scope, kind, limit.as_str()) {
            (Scope::Org, Kind::Window, TOTAL) => Self::OrgTotal,
            (Scope::Workspace, Kind::Window, TOTAL) => Self::WorkspaceCap,
            (Scope::Workspace, Kind::Window, BURN) => Self::BurnLimit,
            _ => Self::Limit,
        }
    }
}

/// The numbers of a limit as the settings have them now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    pub max: u64,
    pub outage_share: u64,
    pub bound: u64,
    pub block_base: u64,
    pub shadow: bool,
    /// How far back a reading may ask what was counted; zero where none does.
    pub look_back: Duration,
}

/// Quota that the store counts as spent and that may be granted from.
#[derive(Clone, Debug, Default)]
pub struct Block {
    /// Units left in it.
    pub open: u64,
    /// No grant from it at or after this.
    pub deadline: Mono,
    /// The permit life that the committed record allows.
    pub ttl_cap: Duration,
    /// Units that the committed record set aside, for I2.
    pub committed: u64,
    /// Units granted, less those returned to the block, since this process owns
    /// the counter.
    pub granted: u64,
    /// `granted` at the snapshot of the committed record.
    pub granted_at_snapshot: u64,
    /// When the last reserve that contained this counter was sent.
    pub last_sent: Option<Mono>,
    /// `granted` at that moment.
    pub granted_at_send: u64,
    /// The size that the last reserve aimed at.
    pub target: u64,
    /// The last reserve could not set aside as much as it aimed at.
    pub limited: bool,
    /// Something differs from what was last written.
    pub dirty: bool,
}

impl Counter {
    /// A counter of an identity, as the catalogue has it, with nothing counted.
    pub fn new(charge: &Charge, identity: SmolStr, numbers: Numbers) -> Self {
        let mut own = Tally::new(numbers.bound, charge.window, charge.kind == Kind::Concurrency);
        own.look_back(numbers.look_back);
        Self {
            limit: charge.limit.clone(),
            kind: charge.kind,
            scope: charge.scope,
            identity,
            window: charge.window,
            ttl_cap: charge.ttl_cap(),
            max: numbers.max,
            outage_share: numbers.outage_share,
            bound: numbers.bound,
            block_base: numbers.block_base,
            own,
            inherited: Inherited::default(),
            block: Block::default(),
            rate: Rate::default(),
            shadow: numbers.shadow,
            shadow_refusals: 0,
            cooling: None,
            reopened: Mono(0),
            cooling_told: false,
            role: Role::of(charge.scope, charge.kind, &charge.limit),
        }
    }

    /// A counter as it is taken over from another epoch. What the settings say
    /// about it comes later; until then the record's own figures hold.
    pub fn restored(
        now: Now,
        record: &CounterRecord,
        scope: Scope,
        identity: SmolStr,
        rules: &Rules,
    ) -> Self {
        let mut lost = record.lost.clone();
        if record.open > 0 {
            let life =
                if rules.has(Fault::SealWithoutTtlCap) { Duration::ZERO } else { record.ttl_cap };
            let travel = if rules.has(Fault::SealWithoutTravel) || rules.has(Fault::NoDelta) {
                Duration::ZERO
            } else {
                rules.travel
            };
            lost.push((record.open_until + life + travel, record.open));
        }
        Self {
            limit: record.limit.clone(),
            kind: record.kind,
            scope,
            identity,
            window: record.window,
            ttl_cap: record.ttl_cap,
            max: 0,
            outage_share: 0,
            bound: 0,
            block_base: 0,
            own: Tally::new(0, record.window, true),
            inherited: Inherited::new(now, &record.sealed, &lost),
            // A fresh owner rewrites what it has taken over with its first
            // reserve; until then the record is as good.
            block: Block::default(),
            rate: Rate::default(),
            shadow: false,
            shadow_refusals: 0,
            cooling: record
                .cooling
                .map(|cooling| Box::new(Cooling::restored(now, &cooling, rules))),
            reopened: Mono(0),
            cooling_told: record.cooling.is_some(),
            role: Role::of(scope, record.kind, &record.limit),
        }
    }

    /// Takes over what the settings say now.
    pub fn configure(&mut self, charge: &Charge, numbers: Numbers) {
        // The width of a tally's buckets is fixed while it holds anything: an
        // entry must be found again under the stamp that it was added with.
        if self.own.total() == 0 {
            let exact = charge.kind == Kind::Concurrency;
            self.own = Tally::new(numbers.bound, charge.window, exact);
        }
        self.own.look_back(numbers.look_back);
        if numbers.bound > self.bound {
            // What was at its limit is not any more: raising acts at once.
            self.block.limited = false;
        }
        self.kind = charge.kind;
        self.role = Role::of(self.scope, self.kind, &self.limit);
        self.window = charge.window;
        self.ttl_cap = charge.ttl_cap();
        self.max = numbers.max;
        self.outage_share = numbers.outage_share;
        self.bound = numbers.bound;
        self.block_base = numbers.block_base;
        self.shadow = numbers.shadow;
    }

    /// Drops what has left.
    pub fn expire(&mut self, now: Mono, rules: &Rules) {
        let early = self.kind == Kind::Concurrency && rules.has(Fault::SlotFreedAtExpiry);
        self.own.expire(now, if early { Duration::ZERO } else { self.window });
        self.inherited.expire(now, self.inherited_life(rules));
        self.forget_cooling(now, rules);
    }

    /// How long an inherited unit counts after its stamp.
    pub fn inherited_life(&self, rules: &Rules) -> Duration {
        if rules.has(Fault::NoDelta) { self.window } else { self.window + rules.clock_error * 2 }
    }

    /// True for the one limit that others also move.
    pub fn is_org_total(&self) -> bool {
        self.role == Role::OrgTotal
    }

    /// True for a workspace's cap, which gates classes and bounds no reservation.
    pub fn is_workspace_cap(&self) -> bool {
        self.role == Role::WorkspaceCap
    }

    /// True for a workspace's brake for run-away jobs, a gate as its cap is.
    pub fn is_burn_limit(&self) -> bool {
        self.role == Role::BurnLimit
    }

    /// True where reservations are not bounded: what is set aside says nothing
    /// about what may be granted.
    pub fn is_gate_only(&self) -> bool {
        self.bound == UNBOUNDED
    }

    /// Units of `max` that may ever be granted.
    pub fn served(&self) -> u64 {
        self.max.saturating_sub(self.outage_share)
    }

    /// The bound of grants as it would be if this were not in shadow.
    pub fn enforced_bound(&self) -> u64 {
        let own_of_workspace = self.is_workspace_cap() || self.is_burn_limit();
        if self.shadow && !own_of_workspace { self.block_base } else { self.bound }
    }

    /// Units granted that have not left, inherited ones and lost blocks too.
    pub fn used(&self) -> u64 {
        self.own.total() + self.inherited.total()
    }

    /// Nothing is counted or set aside, and nothing else is known of it.
    pub fn is_empty(&self) -> bool {
        self.used() == 0 && self.block.open == 0 && self.cooling.is_none()
    }

    /// Units of the open block that may be granted now.
    pub fn grantable(&self, now: Mono, rules: &Rules) -> u64 {
        if now < self.block.deadline || rules.has(Fault::NoBlockDeadline) {
            self.block.open
        } else if rules.has(Fault::GrantBeforePersist) {
            self.bound.saturating_sub(self.used())
        } else {
            0
        }
    }

    /// Grants units of the block with this stamp.
    pub fn grant(&mut self, now: Mono, stamp: Mono, tag: Tag, units: u64, rules: &Rules) {
        self.block.open = self.block.open.saturating_sub(units);
        self.block.granted += units;
        self.block.dirty = true;
        self.own.add(stamp, tag, units);
        self.rate.note(now, units, self.horizon(rules));
    }

    /// Moves units to an earlier stamp. Returns how many.
    pub fn settle(&mut self, from: Mono, to: Mono, tag: Tag, units: u64) -> u64 {
        let moved = self.own.remove(from, tag, units);
        self.own.add(to, tag, moved);
        self.block.dirty = true;
        moved
    }

    /// Takes units out: back to the block if no reserve has been sent with
    /// them, else for the next reserve to find.
    pub fn give_back(&mut self, stamp: Mono, tag: Tag, units: u64, was_sent: bool) {
        let back = self.own.remove(stamp, tag, units);
        self.block.dirty = true;
        if !was_sent {
            self.block.open += back;
            self.block.granted -= back;
        }
    }

    /// The time at which `needed` more units have left, by what is counted now;
    /// `None` if all that is counted is not enough.
    pub fn frees_at(&self, needed: u64, rules: &Rules) -> Option<Mono> {
        if needed == 0 {
            return Some(Mono(0));
        }
        let mut freed = 0;
        let enough = self.leaving(rules).find(|(_, _, units)| {
            freed += units;
            freed >= needed
        });
        enough.map(|(leaves, _, _)| leaves)
    }

    /// When what is counted leaves, by whom it was used, and how much: soonest
    /// first. What former epochs used is nobody's in particular.
    pub fn leaving(&self, rules: &Rules) -> impl Iterator<Item = (Mono, Tag, u64)> + '_ {
        let life = self.inherited_life(rules);
        let own = self.own.iter_tagged();
        let mut own = own.map(|(stamp, tag, units)| (stamp + self.window, tag, units)).peekable();
        let inherited = self.inherited.iter();
        let mut inherited =
            inherited.map(move |(stamp, units)| (stamp + life, NO_TAG, units)).peekable();
        std::iter::from_fn(move || {
            let own_first = match (own.peek(), inherited.peek()) {
                (Some((mine, ..)), Some((theirs, ..))) => mine <= theirs,
                (own, _) => own.is_some(),
            };
            if own_first { own.next() } else { inherited.next() }
        })
    }

    /// The units to aim at in a reserve, where waiting asks need `needed`.
    pub fn block_size(&self, now: Mono, needed: u64, rules: &Rules) -> u64 {
        let horizon = self.horizon(rules);
        let share = self.block_base / if self.window >= HOUR { 200 } else { 20 };
        needed.max(self.rate.per(now, horizon).max(1).min(share.max(1)))
    }

    /// *H* of this counter.
    pub fn horizon(&self, rules: &Rules) -> Duration {
        if self.window < HOUR { rules.horizon_short } else { rules.horizon_long }
    }

    /// At its limit a counter is reserved at most once in this time.
    pub fn pause(&self, rules: &Rules) -> Duration {
        let pause = Duration::from_micros(micros(self.window) / 1_000);
        match self.kind {
            Kind::Window => pause,
            // Freed slots are for the next caller; the rule exists to spare the
            // store, which a fixed pause does as well.
            Kind::Concurrency => pause.min(rules.slot_pause),
        }
    }

    /// The moment before which the counter is not reserved again.
    pub fn paused_until(&self, rules: &Rules) -> Mono {
        match self.block.last_sent {
            Some(sent) if self.block.limited => sent + self.pause(rules),
            _ => Mono(0),
        }
    }

    /// The moment at which its block is over, and the last reserve long ago.
    pub fn quiet_at(&self, rules: &Rules) -> Mono {
        let asked = self.block.last_sent.map_or(Mono(0), |sent| sent + self.horizon(rules));
        self.block.deadline.max(asked)
    }

    /// The record of this counter with `open` units set aside until `open_until`.
    pub fn record(&self, now: Now, open: u64, open_until: Wall) -> CounterRecord {
        let own = self.own.iter().map(|(stamp, units)| (now.wall_at(stamp), units));
        CounterRecord {
            limit: self.limit.clone(),
            kind: self.kind,
            window: self.window,
            ttl_cap: self.ttl_cap,
            sealed: pack(own.chain(self.inherited.recorded(false)), self.window),
            lost: pack(self.inherited.recorded(true), self.window),
            open,
            open_until: Wall(open_until.0.div_ceil(1_000) * 1_000),
            bound: (self.scope != Scope::Workspace && !self.shadow).then_some(self.bound),
            cooling: self.cooling.as_ref().map(|cooling| cooling.record(now)),
        }
    }

    /// True if I2 is violated: what is open and what was granted since the
    /// snapshot of the committed record is more than that record set aside.
    pub fn overdraws(&self) -> bool {
        let block = &self.block;
        block.open + block.granted > block.committed + block.granted_at_snapshot
    }
}

/// The name of the org's total and of a workspace's cap.
const TOTAL: &str = "calls";

/// The name of a workspace's brake for run-away jobs.
const BURN: &str = "burn";

const HOUR: Duration = Duration::from_secs(3_600);

/// How much is granted per horizon, of late: two half-remembered intervals.
#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    since: Mono,
    before: u64,
    current: u64,
}

impl Rate {
    fn note(&mut self, now: Mono, units: u64, interval: Duration) {
        self.turn(now, interval);
        self.current += units;
    }

    /// Units that a time of this length may take, rounded up.
    fn per(&self, now: Mono, interval: Duration) -> u64 {
        let mut copy = *self;
        copy.turn(now, interval);
        let length = micros(interval).max(1);
        let left = length.saturating_sub(micros(now.since(copy.since)));
        let carried = (u128::from(copy.before) * u128::from(left)).div_ceil(u128::from(length));
        copy.current + u64::try_from(carried).unwrap_or(u64::MAX)
    }

    fn turn(&mut self, now: Mono, interval: Duration) {
        if now >= self.since + interval {
            let two_gone = now >= self.since + interval * 2;
            self.before = if two_gone { 0 } else { self.current };
            self.current = 0;
            self.since = now;
        }
    }
}
