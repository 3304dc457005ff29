//! What there is: a store, nodes, transactions on their way, and the calls that
//! were granted. One counter of one shard; time passes in ticks.
//!
//! Two worlds that differ only in when they are, in the numbers that revisions
//! and attempts happen to have, or in the nodes' names, have the same future.
//! They are hashed alike, so the search ends although time, revisions and
//! attempts do not.

use std::{
    collections::BTreeSet,
    fmt,
    hash::{Hash, Hasher},
};

use super::Settings;

/// A moment.
pub type Tick = i32;

/// A revision of the store, from 1 on.
pub type Revision = u32;

/// All there is.
#[derive(Clone, PartialEq, Eq)]
pub struct World {
    pub now: Tick,
    /// The store's revision.
    pub revision: Revision,
    /// Attempts so far: each gets a number of its own.
    pub attempts: u32,
    /// The mod revision of the owner key, while it exists: the epoch.
    pub owner: Option<Revision>,
    /// The record, while it exists, with its mod revision.
    pub record: Option<(Revision, Record)>,
    /// What was sent and may still arrive.
    pub in_flight: Vec<Transaction>,
    pub nodes: Vec<Node>,
    /// What Salesforce may see, whoever granted it: the last moment at which
    /// each call can arrive, until it has left every window of a later grant.
    pub calls: Vec<Tick>,
    /// What the last step has done to a transaction of a former epoch.
    pub late: Option<Late>,
}

/// What is written down about the counter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Record {
    /// Of the writer.
    pub epoch: Revision,
    /// Of the attempt.
    pub seq: u32,
    /// The stamps of the units that are spent.
    pub sealed: Vec<Tick>,
    /// Units that may be granted without asking again, until `open_until`.
    pub open: u8,
    pub open_until: Tick,
}

/// A reserve on its way to the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Transaction {
    /// The owner key must have this mod revision.
    pub epoch: Revision,
    /// The record must have this mod revision; 0: it must not exist.
    pub expected: Revision,
    pub seq: u32,
    /// `None`: the record is deleted, because it is empty.
    pub put: Option<Record>,
}

/// One process after the other, under one name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Node {
    /// It owns nothing that it knows of.
    Idle,
    /// It has put the owner key, and has not read the record yet.
    Taken { epoch: Revision },
    /// It has read the record *before* it put the owner key: a planted fault.
    HasRead { record: Option<(Revision, Record)> },
    /// It grants. It may be wrong: it may have been overtaken long ago.
    Owner(Owner),
}

/// What an owner has in memory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    pub epoch: Revision,
    /// The record's mod revision, as far as is known; 0: it does not exist.
    pub known: Revision,
    /// Stamps of what former epochs have spent.
    pub former: Vec<Tick>,
    /// What this epoch has granted.
    pub granted: Vec<Grant>,
    /// Units of the block that are left.
    pub open: u8,
    /// The last tick in which they may be granted.
    pub until: Tick,
    /// Attempts that may have been applied, or may be yet, in order.
    pub attempts: Vec<Attempt>,
    /// The answer to the last attempt is waited for.
    pub waits: bool,
}

/// A call that an owner has granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Grant {
    /// The permit's expiry, or when it was reported.
    pub stamp: Tick,
    /// A reserve was sent since.
    pub sent: bool,
}

/// What is remembered of an attempt until it is known what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt {
    pub seq: u32,
    /// It puts no record, but removes it.
    pub deletes: bool,
    /// The block that it commits.
    pub open: u8,
    /// Until when it can be granted from: counted from the send.
    pub until: Tick,
    /// Units granted since it was sent, less those that came back.
    pub granted: u8,
}

/// A transaction of a former epoch has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Late {
    Refused,
    Applied,
}

impl World {
    /// Nodes, and an empty store.
    pub fn new(settings: &Settings) -> Self {
        Self {
            now: 0,
            revision: 0,
            attempts: 0,
            owner: None,
            record: None,
            in_flight: Vec::new(),
            nodes: vec![Node::Idle; settings.nodes],
            calls: Vec::new(),
            late: None,
        }
    }

    /// The record's mod revision; 0 if it does not exist.
    pub fn record_revision(&self) -> Revision {
        self.record.as_ref().map_or(0, |(revision, _)| *revision)
    }

    /// Units that the store counts as spent or committed.
    pub fn counted(&self) -> usize {
        self.record.as_ref().map_or(0, |(_, record)| record.units())
    }

    /// The owners, in their own eyes.
    pub fn owners(&self) -> impl Iterator<Item = &Owner> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Owner(owner) => Some(owner),
            _ => None,
        })
    }

    /// Drops what has left its window, everywhere: nobody would count it again.
    /// And a block that would have left, were it sealed, ended no longer ago than
    /// that.
    pub fn forget_what_has_left(&mut self, settings: &Settings) {
        let now = self.now;
        let counts = |stamp: &Tick| stamp + settings.window > now;
        let long_ago = now - settings.window - settings.ttl;
        self.calls.retain(counts);
        for node in &mut self.nodes {
            if let Node::Owner(owner) = node {
                owner.former.retain(counts);
                owner.granted.retain(|grant| counts(&grant.stamp));
            }
        }
        for record in self.records() {
            record.sealed.retain(counts);
            record.open_until = record.open_until.max(long_ago);
        }
    }

    /// The same world at tick 0, with the smallest numbers, and everything whose
    /// order does not matter in order.
    fn canonical(&self) -> Self {
        let mut world = self.clone();
        let revisions = Ranks::of(&world, |world, visit| world.each_revision(visit));
        world.each_revision(&mut |revision| *revision = revisions.rank(*revision));
        let seqs = Ranks::of(&world, |world, visit| world.each_seq(visit));
        world.each_seq(&mut |seq| *seq = seqs.rank(*seq));
        let now = world.now;
        // What ended long ago has ended: how long ago does not matter.
        world.each_tick(&mut |tick, oldest| *tick = (*tick - now).max(oldest));
        (world.now, world.revision, world.attempts) = (0, 0, 0);
        world.calls.sort_unstable();
        for record in world.records() {
            record.sealed.sort_unstable();
        }
        for node in &mut world.nodes {
            if let Node::Owner(owner) = node {
                owner.former.sort_unstable();
                owner.granted.sort_unstable();
            }
        }
        world.in_flight.sort_unstable();
        world.nodes.sort_unstable();
        world
    }

    fn records(&mut self) -> impl Iterator<Item = &mut Record> {
        let stands = self.record.as_mut().map(|(_, record)| record);
        let flying = self.in_flight.iter_mut().filter_map(|txn| txn.put.as_mut());
        let read = self.nodes.iter_mut().filter_map(|node| match node {
            Node::HasRead { record: Some((_, record)) } => Some(record),
            _ => None,
        });
        stands.into_iter().chain(flying).chain(read)
    }

    fn each_revision(&mut self, visit: &mut dyn FnMut(&mut Revision)) {
        self.owner.iter_mut().for_each(&mut *visit);
        if let Some((revision, _)) = &mut self.record {
            visit(revision);
        }
        for txn in &mut self.in_flight {
            visit(&mut txn.epoch);
            visit(&mut txn.expected);
        }
        for node in &mut self.nodes {
            match node {
                Node::Idle | Node::HasRead { record: None } => {}
                Node::Taken { epoch } => visit(epoch),
                Node::HasRead { record: Some((revision, _)) } => visit(revision),
                Node::Owner(owner) => {
                    visit(&mut owner.epoch);
                    visit(&mut owner.known);
                }
            }
        }
        self.records().for_each(|record| visit(&mut record.epoch));
    }

    fn each_seq(&mut self, visit: &mut dyn FnMut(&mut u32)) {
        for txn in &mut self.in_flight {
            visit(&mut txn.seq);
        }
        for node in &mut self.nodes {
            if let Node::Owner(owner) = node {
                owner.attempts.iter_mut().for_each(|attempt| visit(&mut attempt.seq));
            }
        }
        self.records().for_each(|record| visit(&mut record.seq));
    }

    /// Every moment, with the age from which on it makes no difference.
    fn each_tick(&mut self, visit: &mut dyn FnMut(&mut Tick, Tick)) {
        const OVER: Tick = -1;
        /// Forgotten when it has left.
        const EXACT: Tick = Tick::MIN;
        self.calls.iter_mut().for_each(|stamp| visit(stamp, EXACT));
        for record in self.records() {
            record.sealed.iter_mut().for_each(|stamp| visit(stamp, EXACT));
            visit(&mut record.open_until, EXACT);
        }
        for node in &mut self.nodes {
            if let Node::Owner(owner) = node {
                owner.former.iter_mut().for_each(|stamp| visit(stamp, EXACT));
                owner.granted.iter_mut().for_each(|grant| visit(&mut grant.stamp, EXACT));
                owner.attempts.iter_mut().for_each(|attempt| visit(&mut attempt.until, OVER));
                visit(&mut owner.until, OVER);
            }
        }
    }
}

impl Record {
    /// Units that it counts as spent or committed.
    pub fn units(&self) -> usize {
        self.sealed.len() + usize::from(self.open)
    }
}

impl Owner {
    /// Units that it counts as spent or committed.
    pub fn units(&self) -> usize {
        self.former.len() + self.granted.len() + usize::from(self.open)
    }
}

/// Numbers by their order. 0, which means "nothing", stays 0.
struct Ranks(Vec<u32>);

impl Ranks {
    fn of(world: &World, each: impl FnOnce(&mut World, &mut dyn FnMut(&mut u32))) -> Self {
        let mut numbers = BTreeSet::from([0]);
        each(&mut world.clone(), &mut |number| {
            numbers.insert(*number);
        });
        Self(numbers.into_iter().collect())
    }

    fn rank(&self, number: u32) -> u32 {
        let rank = self.0.binary_search(&number).expect("every number was visited");
        u32::try_from(rank).expect("a world has few numbers")
    }
}

impl Hash for World {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let Self { owner, record, in_flight, nodes, calls, late, .. } = self.canonical();
        (owner, record, in_flight, nodes, calls, late).hash(hasher);
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tick {}: ", self.now)?;
        match self.owner {
            Some(epoch) => write!(f, "owned in epoch {epoch}")?,
            None => f.write_str("owned by nobody")?,
        }
        match &self.record {
            Some((revision, record)) => write!(f, ", record @{revision} {record}")?,
            None => f.write_str(", no record")?,
        }
        for txn in &self.in_flight {
            write!(f, ", in flight {txn}")?;
        }
        write!(f, ", calls that can arrive until {:?}", self.calls)
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epoch, sealed, open, open_until, .. } = self;
        write!(f, "{{epoch {epoch}, spent at {sealed:?}, {open} open until {open_until}}}")
    }
}

impl fmt::Display for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "if owner @{} and record @{} ", self.epoch, self.expected)?;
        match &self.put {
            Some(record) => write!(f, "put {record}"),
            None => f.write_str("delete it"),
        }
    }
}
