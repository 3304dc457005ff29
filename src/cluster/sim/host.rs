//! A node as the simulation sees it: its state machine, its clocks, what it
//! serves, and how far it has heard what the store has to tell.

use std::collections::{BTreeMap, BTreeSet};

use super::driver::Records;
use crate::{
    cluster::{Member, view::WATCHED},
    quota::{Mono, sim::node::Clocks},
    store::Shard,
};

/// A node.
#[derive(Debug)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Its state machine; `None` while it does not run.
    pub member: Option<Member>,
    /// Counts its lives: answers for a former one are lost.
    pub life: u64,
    /// Its clocks.
    pub clocks: Clocks,
    /// It does not reach the store.
    pub cut_off: bool,
    /// Its watches are slow.
    pub hears_late: bool,
    /// It ends when all is handed over.
    pub ends: bool,
    /// It has handed all over, and ends its session.
    pub leaves: bool,
    /// It never comes back.
    pub is_dead: bool,
    /// The shards that it serves, or is about to.
    pub tenures: BTreeMap<Shard, Tenure>,
    /// A planted fault: what it has read before it took a shard.
    pub read_before: BTreeMap<Shard, Records>,
    /// Its watches.
    pub watches: [Watch; WATCHED.len()],
    /// When it will be polled, by true time.
    pub wake: Option<u64>,
}

/// A shard in the hands of a node.
#[derive(Clone, Debug)]
pub struct Tenure {
    /// In which epoch.
    pub epoch: u64,
    /// How far it is.
    pub stage: Stage,
}

/// How far a node is with a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It reads the records.
    Recovering,
    /// It grants.
    Serving,
    /// It writes down what is open: the orgs that are still to be written, and
    /// how often the owner key could not be deleted.
    Leaving {
        /// Orgs that have something to write.
        unwritten: BTreeSet<usize>,
        /// Tries so far.
        tries: u32,
    },
}

/// How far a watch is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watch {
    /// The place in the store's log up to which it has told.
    pub told: usize,
    /// It has begun with everything.
    pub has_begun: bool,
    /// Its connection is lost.
    pub is_lost: bool,
}

impl Host {
    /// A node that does not run yet.
    pub fn new(number: usize) -> Self {
        Self {
            name: format!("n{number}"),
            member: None,
            life: 0,
            clocks: Clocks::default(),
            cut_off: false,
            hears_late: false,
            ends: false,
            leaves: false,
            is_dead: false,
            tenures: BTreeMap::new(),
            read_before: BTreeMap::new(),
            watches: [Watch::default(); WATCHED.len()],
            wake: None,
        }
    }

    /// Its monotonic clock at a true time.
    pub fn mono(&self, at: u64) -> Mono {
        self.clocks.now(at).mono
    }

    /// It is paused at a true time.
    pub fn is_frozen(&self, at: u64) -> bool {
        self.clocks.frozen_until > at
    }

    /// The process ends.
    pub fn end(&mut self) {
        self.life += 1;
        self.member = None;
        self.ends = false;
        self.leaves = false;
        self.tenures.clear();
        self.read_before.clear();
        self.watches = [Watch::default(); WATCHED.len()];
        self.wake = None;
    }
}
