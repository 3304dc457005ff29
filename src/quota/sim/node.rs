//! A process that owns the org, or believes so: its clocks, its ledger, its one
//! reserve in flight.

use std::{collections::BTreeMap, sync::Arc};

use crate::quota::{Catalogue, Ledger, Mono, Now, OrgPolicy, WaiterId, Wall};

/// The true time 0 by a wall clock that is right.
const WALL_START: u64 = 1_800_000_000_000_000;

/// The clocks of a process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clocks {
    /// What the monotonic clock shows at the true time 0.
    pub boot: u64,
    /// By how much the wall clock is ahead of true time.
    pub offset: i64,
    /// A step beyond ε, during which nothing is written or read.
    pub wild: i64,
    /// Nothing is executed before this; 0: it runs.
    pub frozen_until: u64,
    /// Ages are taken from the wall clock: a planted fault.
    pub wall_ages: bool,
}

impl Clocks {
    /// Both clocks at a true time.
    pub fn now(&self, at: u64) -> Now {
        let wall = (WALL_START + at).saturating_add_signed(self.offset + self.wild);
        let mono = if self.wall_ages { wall } else { self.boot + at };
        Now { mono: Mono(mono), wall: Wall(wall) }
    }
}

/// The settings, as somebody knows them.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Of the org.
    pub policy: Arc<OrgPolicy>,
    /// Of the limits.
    pub catalogue: Arc<Catalogue>,
}

/// A process.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// Its clocks.
    pub clocks: Clocks,
    /// The epoch that it took.
    pub epoch: u64,
    /// Counts its lives: answers for a former one are lost.
    pub life: u64,
    /// The ledger, while it is up.
    pub ledger: Option<Ledger>,
    /// A transaction has not been answered.
    pub in_flight: bool,
    /// It hands over.
    pub leaving: bool,
    /// Requests that wait, with the moment at which each came.
    pub waiting: BTreeMap<WaiterId, Vec<(usize, Mono)>>,
    /// When it will be woken.
    pub wake: Option<u64>,
    /// In a cluster: the settings that it has heard of, with the place of their
    /// change in the order of things; `None`: those that hold.
    pub settings: Option<(u64, Settings)>,
    /// In a cluster: everything is written down, and nothing more will be.
    pub written: bool,
    /// In a cluster: the session, which bounds when it grants.
    pub session: Option<Mono>,
    /// In a cluster: the store does not hear it.
    pub cut_off: bool,
    /// In a cluster: it does not run, and is known not to.
    pub is_down: bool,
    /// In a cluster: nodes that do not hear it.
    pub apart: Vec<usize>,
}

impl Node {
    /// Both clocks at a true time.
    pub fn now(&self, at: u64) -> Now {
        self.clocks.now(at)
    }

    /// Its session allows it to grant.
    pub fn may_grant(&self, now: Mono) -> bool {
        self.session.is_none_or(|until| now < until)
    }

    /// Ends this life; whatever was in flight is somebody else's business.
    /// Returns the requests that waited.
    pub fn die(&mut self) -> Vec<(usize, Mono)> {
        self.life += 1;
        self.ledger = None;
        self.in_flight = false;
        self.leaving = false;
        self.written = false;
        self.wake = None;
        std::mem::take(&mut self.waiting).into_values().flatten().collect()
    }
}

/// What a correct wall clock shows at a true time.
pub fn true_wall(at: u64) -> Wall {
    Wall(WALL_START + at)
}
