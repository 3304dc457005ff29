//! A few members, and a store with leases, in a time of their own. Everything
//! is carried out and answered at once, over links that can be bad.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{TIMING, entry, generation, record};
use crate::{
    cluster::{
        Effect, Event, Member,
        member::{Recovery, Registration, Taking},
        placement,
    },
    quota::Mono,
    store::{
        Changed, Key, KeyValue, LeaseId, Listing, Record, Shard, Watched,
        keys::{META, NODES, OWNERS},
        records::{GenerationRecord, OwnerRecord},
    },
};

/// What becomes of a node's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// They are carried out and answered.
    Good,
    /// They are carried out, and the answers are lost.
    Deaf,
    /// They are not carried out, and the watches are silent.
    Cut,
}

/// A process.
pub struct Node {
    pub name: String,
    pub member: Member,
    pub link: Link,
    pub is_running: bool,
    /// Whose records it cannot use.
    pub unusable: BTreeSet<Shard>,
    /// The shards that have ledgers, with their epochs.
    ledgers: BTreeMap<Shard, u64>,
    until: Mono,
    /// What it was told of the log.
    told: usize,
}

/// The store and its nodes.
#[derive(Default)]
pub struct Cluster {
    pub now: Mono,
    pub nodes: Vec<Node>,
    /// Hand-overs that were asked for.
    pub moves: usize,
    revision: u64,
    keys: BTreeMap<String, (KeyValue, Option<LeaseId>)>,
    leases: BTreeMap<LeaseId, Mono>,
    log: Vec<Changed>,
    granted: i64,
}

impl Cluster {
    /// A store where a cluster was made, and these nodes, started at once.
    pub fn of(names: &[&str]) -> Self {
        let mut cluster = Self { now: Mono(1_000_000), ..Self::default() };
        cluster.make("first");
        for name in names {
            cluster.start(name);
        }
        cluster
    }

    /// Writes a generation.
    pub fn make(&mut self, id: &str) {
        self.put(&Key::Generation, &generation(id), None);
    }

    /// Starts a process.
    pub fn start(&mut self, name: &str) {
        let seed = self.nodes.len() as u64;
        let member = Member::new(name.to_owned(), record(name, ""), TIMING, seed);
        self.nodes.push(Node {
            name: name.to_owned(),
            member,
            link: Link::Good,
            is_running: true,
            unusable: BTreeSet::new(),
            ledgers: BTreeMap::new(),
            until: Mono::default(),
            told: self.log.len(),
        });
        self.list(self.nodes.len() - 1);
    }

    /// Tells a node everything that stands.
    pub fn list(&mut self, n: usize) {
        self.nodes[n].told = self.log.len();
        for prefix in [META, NODES, OWNERS] {
            let entries = self.keys.values().map(|(entry, _)| entry);
            let entries = entries.filter(|entry| entry.key.starts_with(prefix)).cloned().collect();
            let told = Watched::All(Listing { revision: self.revision, entries });
            self.tell(n, Event::Watched { prefix, told });
        }
    }

    /// Ends a process without a word.
    pub fn crash(&mut self, n: usize) {
        self.nodes[n].is_running = false;
    }

    pub fn tell(&mut self, n: usize, event: Event) {
        self.nodes[n].member.handle(self.now, event);
    }

    /// Ends a process that has nothing to give away any more.
    pub fn leave(&mut self, n: usize) {
        self.nodes[n].member.leave(self.now);
        self.settle();
        assert!(self.nodes[n].member.has_left());
        self.crash(n);
    }

    /// Lets time pass.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            self.settle();
            let wakes = self.running().filter_map(|node| node.member.next_wake());
            let next = wakes.chain(self.leases.values().copied()).min();
            match next.filter(|&next| next <= end) {
                Some(next) => self.now = next.max(self.now),
                None => break,
            }
        }
        self.now = end;
        self.settle();
    }

    /// Lets time pass until something holds; how long it took.
    pub fn run_until(&mut self, holds: impl Fn(&Self) -> bool) -> Duration {
        let begun = self.now;
        self.settle();
        while !holds(self) {
            self.run(Duration::from_millis(10));
            assert!(self.now.since(begun) < Duration::from_secs(300), "it never comes true");
        }
        self.now.since(begun)
    }

    /// Carries out everything that is wanted now.
    pub fn settle(&mut self) {
        let now = self.now;
        let over: Vec<LeaseId> =
            self.leases.iter().filter(|(_, ends)| **ends <= now).map(|(&lease, _)| lease).collect();
        over.into_iter().for_each(|lease| self.end(lease));
        for round in 0.. {
            assert!(round < 200, "it never settles");
            let mut is_quiet = true;
            for n in 0..self.nodes.len() {
                is_quiet &= !self.watch(n);
                let mut effects = 0;
                while let Some(effect) = Some(&mut self.nodes[n])
                    .filter(|node| node.is_running)
                    .and_then(|node| node.member.poll(now))
                {
                    is_quiet = false;
                    effects += 1;
                    assert!(effects < 5000, "it never ends: {effect:?}");
                    self.carry_out(n, effect);
                }
            }
            if is_quiet {
                break;
            }
        }
        self.check();
    }

    /// What holds at every moment.
    fn check(&self) {
        let mut servers: BTreeMap<Shard, &str> = BTreeMap::new();
        for node in self.running() {
            let member = &node.member;
            let wake = member.next_wake();
            assert!(wake.is_none_or(|wake| wake > self.now), "{} wakes for nothing", node.name);
            let counts = member.state_counts();
            assert!(counts.taking + counts.recovering <= TIMING.takes_at_a_time, "{counts:?}");
            assert!(counts.handing_over <= TIMING.drains_at_a_time, "{counts:?}");
            match member.session_until() {
                Some(until) => assert!(until == node.until && until > self.now),
                None => assert!(node.until <= self.now && node.ledgers.is_empty()),
            }
            for (shard, epoch) in member.served() {
                assert_eq!(node.ledgers.get(&shard), Some(&epoch), "{}", node.name);
                // In one time for all, sessions end before leases do.
                if let Some(other) = servers.insert(shard, &node.name) {
                    panic!("{other} and {} serve {shard}", node.name);
                }
            }
        }
    }

    /// The shards that each node serves.
    pub fn shares(&self) -> BTreeMap<&str, BTreeSet<u16>> {
        let numbers = |node: &Node| node.member.served().map(|(shard, _)| shard.number()).collect();
        self.running().map(|node| (node.name.as_str(), numbers(node))).collect()
    }

    /// Every shard is served.
    pub fn is_whole(&self) -> bool {
        self.running().map(|node| node.member.served().count()).sum::<usize>() == 256
    }

    /// Every shard is served by the node that ought to.
    pub fn is_balanced(&self) -> bool {
        let names = || self.running().map(|node| node.name.as_str());
        self.is_whole()
            && self.running().all(|node| {
                let mut served = node.member.served();
                served.all(|(shard, _)| placement::rank(shard, &node.name, names()) == 0)
            })
    }

    pub fn running(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.is_running)
    }

    fn carry_out(&mut self, n: usize, effect: Effect) {
        let now = self.now;
        let link = self.nodes[n].link;
        let (is_done, is_heard) = (link != Link::Cut, link == Link::Good);
        let answer = match effect {
            Effect::Grant => {
                let lease = is_done.then(|| {
                    self.granted += 1;
                    self.leases.insert(LeaseId(self.granted), now + TIMING.ttl);
                    LeaseId(self.granted)
                });
                Event::Granted { sent: now, lease: lease.filter(|_| is_heard) }
            }
            Effect::KeepAlive(lease) => {
                let ends = self.leases.get_mut(&lease).filter(|_| is_done);
                let alive = ends.map(|ends| *ends = now + TIMING.ttl).is_some();
                Event::KeptAlive { lease, sent: now, alive: is_heard.then_some(alive) }
            }
            Effect::Revoke(lease) => {
                if is_done {
                    self.end(lease);
                }
                Event::Revoked { lease }
            }
            Effect::Register { lease, record, replaces } => {
                let key = Key::Node(self.nodes[n].name.clone());
                let done = is_done.then(|| self.put_if(&key, replaces, &record, lease));
                let outcome = match done.filter(|_| is_heard) {
                    Some(Some(revision)) => Registration::Done(revision),
                    Some(None) => Registration::Taken,
                    None => Registration::Unknown,
                };
                Event::Registered { lease, outcome }
            }
            Effect::Take { shard, lease, incarnation, replaces } => {
                let record = OwnerRecord { node: self.nodes[n].name.clone(), incarnation };
                let key = Key::ShardOwner(shard);
                let done = is_done.then(|| self.put_if(&key, replaces, &record, lease));
                let outcome = match done {
                    Some(_) if !is_heard => Taking::Unknown,
                    Some(Some(epoch)) => Taking::Done(epoch),
                    Some(None) => Taking::Conflict,
                    None if shard.number() % 2 == 0 => Taking::NotExecuted,
                    None => Taking::Unknown,
                };
                Event::Taken { shard, lease, outcome }
            }
            Effect::Recover { shard, epoch } => {
                let node = &mut self.nodes[n];
                let outcome = if !is_heard {
                    Recovery::Unreachable
                } else if node.unusable.contains(&shard) {
                    Recovery::Unusable
                } else {
                    let former = node.ledgers.insert(shard, epoch);
                    assert_eq!(former, None, "{} had {shard} already", node.name);
                    Recovery::Done
                };
                Event::Recovered { shard, epoch, outcome }
            }
            Effect::HandOver { shard, epoch } => {
                self.moves += 1;
                let ledgers = &mut self.nodes[n].ledgers;
                if ledgers.get(&shard) == Some(&epoch) {
                    ledgers.remove(&shard);
                }
                let key = Key::ShardOwner(shard).to_string();
                let stands = self.keys.get(&key).map(|(entry, _)| entry.mod_revision);
                if is_done && stands == Some(epoch) {
                    self.revision += 1;
                    self.delete(key);
                }
                Event::HandedOver { shard, epoch }
            }
            Effect::Drop { shard, epoch } => {
                let ledgers = &mut self.nodes[n].ledgers;
                if ledgers.get(&shard) == Some(&epoch) {
                    ledgers.remove(&shard);
                }
                return;
            }
            Effect::SessionUntil(until) => {
                self.nodes[n].until = until;
                return;
            }
        };
        self.tell(n, answer);
    }

    /// Tells a node what has happened since; whether anything has.
    fn watch(&mut self, n: usize) -> bool {
        let node = &mut self.nodes[n];
        if !node.is_running || node.link == Link::Cut || node.told == self.log.len() {
            return false;
        }
        let news = self.log[node.told..].to_vec();
        node.told = self.log.len();
        for change in news {
            let key = match &change {
                Changed::Put(entry) => &entry.key,
                Changed::Deleted { key, .. } => key,
            };
            let prefix = [META, NODES, OWNERS].into_iter().find(|of| key.starts_with(of)).unwrap();
            self.tell(n, Event::Watched { prefix, told: Watched::Changes(vec![change]) });
        }
        true
    }

    /// Puts a key under a lease if it stands at a revision; its new one.
    fn put_if(
        &mut self,
        key: &Key,
        replaces: u64,
        record: &impl Record,
        lease: LeaseId,
    ) -> Option<u64> {
        let stands = self.keys.get(&key.to_string()).map_or(0, |(entry, _)| entry.mod_revision);
        let may = self.leases.contains_key(&lease) && stands == replaces;
        may.then(|| self.put(key, record, Some(lease)))
    }

    fn put(&mut self, key: &Key, record: &impl Record, lease: Option<LeaseId>) -> u64 {
        self.revision += 1;
        let entry = entry(key, record, self.revision);
        self.log.push(Changed::Put(entry.clone()));
        self.keys.insert(entry.key.clone(), (entry, lease));
        self.revision
    }

    fn end(&mut self, lease: LeaseId) {
        self.leases.remove(&lease);
        let keys: Vec<String> = self
            .keys
            .iter()
            .filter(|(_, (_, of))| *of == Some(lease))
            .map(|(key, _)| key.clone())
            .collect();
        self.revision += u64::from(!keys.is_empty());
        keys.into_iter().for_each(|key| self.delete(key));
    }

    fn delete(&mut self, key: String) {
        self.keys.remove(&key);
        self.log.push(Changed::Deleted { key, revision: self.revision });
    }

    /// The cluster's birth was undone.
    pub fn unmake(&mut self) {
        self.revision += 1;
        self.delete(Key::Generation.to_string());
    }

    /// The generation that stands.
    pub fn generation(&self) -> Option<GenerationRecord> {
        let (entry, _) = self.keys.get(&Key::Generation.to_string())?;
        GenerationRecord::decode(&entry.value).ok()
    }
}
