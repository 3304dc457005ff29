//! Proves from the store alone that no reserve took more than its limit allows:
//! every record is looked at as it is written, beside the one that stood before.
//!
//! It needs nothing of the nodes, and the nodes need nothing of it.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
};

use crate::{
    quota::{CounterRecord, Group, GroupRecord, OrgId, Wall},
    store::{
        Changed, Key, KeyValue, Record as _, RecordError, Shard, Watched, keys::OWNERS, shard_of,
    },
};

/// Begin the keys that an audit watches.
pub const WATCHED: [&str; 2] = [OWNERS, COUNTERS];

/// Begins the keys of all counters.
const COUNTERS: &str = "shards/";

/// Records whose owner is still to be compared.
const MAX_PENDING: usize = 100_000;

/// Changes of one shard's owner that are remembered.
const OWNERS_KEPT: usize = 64;

/// An audit that goes on.
#[derive(Debug, Default)]
pub struct Audit {
    records: BTreeMap<String, GroupRecord>,
    /// The revisions at which each shard's owner key was put or went.
    owners: BTreeMap<Shard, VecDeque<u64>>,
    /// Records whose epoch is to be compared with the owners, once those of
    /// that revision have been told.
    pending: VecDeque<Written>,
    counted: Counted,
    violations: Vec<Violation>,
}

/// What an audit has looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Records that stand.
    pub records: usize,
    /// Counters in them.
    pub counters: usize,
    /// Records that were written while it watched.
    pub writes: u64,
    /// Owners that came or went meanwhile.
    pub owner_changes: u64,
    /// Times at which changes were missed, and all was read anew.
    pub gaps: u64,
}

/// A counter as it stands in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whose.
    pub org: OrgId,
    /// Whose within the org.
    pub group: Group,
    /// The limit.
    pub limit: String,
    /// Units that are spent.
    pub spent: u64,
    /// Units whose fate a crash has hidden: they count as spent.
    pub lost: u64,
    /// Units set aside for grants.
    pub open: u64,
    /// What the settings allowed at the last write; `None` where a reserve is
    /// not bounded (a workspace's cap is a gate at the grant).
    pub bound: Option<u64>,
    /// When it was written, by the writer's clock.
    pub written: Wall,
    /// By whose ownership.
    pub epoch: u64,
}

/// An invariant that a write has broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its number.
    pub id: &'static str,
    /// The key that was written.
    pub key: String,
    /// At which revision.
    pub revision: u64,
    /// What is wrong.
    pub text: String,
}

#[derive(Clone, Debug)]
struct Written {
    key: String,
    shard: Shard,
    epoch: u64,
    revision: u64,
}

impl Audit {
    /// Takes in what the watch of one of [`WATCHED`] tells.
    pub fn take_in(&mut self, prefix: &str, told: &Watched) {
        match told {
            Watched::All(listing) => {
                let stands = if prefix == OWNERS {
                    !std::mem::take(&mut self.owners).is_empty()
                } else {
                    !std::mem::take(&mut self.records).is_empty()
                };
                if stands {
                    self.counted.gaps += 1;
                    self.pending.clear();
                }
                for entry in &listing.entries {
                    self.stands(entry);
                }
            }
            Watched::Changes(changes) => {
                for change in changes {
                    match change {
                        Changed::Put(entry) => self.written(entry),
                        Changed::Deleted { key, revision } => self.deleted(key, *revision),
                    }
                }
            }
        }
    }

    /// What was looked at so far.
    #[must_use]
    pub fn counted(&self) -> Counted {
        let counters = self.records.values().map(|record| record.counters.len()).sum();
        Counted { records: self.records.len(), counters, ..self.counted }
    }

    /// What was broken so far.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Every counter as it stands.
    pub fn standing(&self) -> impl Iterator<Item = Standing> + '_ {
        self.records.iter().flat_map(|(key, record)| {
            let named = match key.parse() {
                Ok(Key::Counters { org, group }) => Some((org, group)),
                _ => None,
            };
            named.into_iter().flat_map(move |(org, group)| {
                record.counters.iter().map(move |counter| Standing {
                    org: org.clone(),
                    group: group.clone(),
                    limit: counter.limit.to_string(),
                    spent: units(&counter.sealed),
                    lost: units(&counter.lost),
                    open: counter.open,
                    bound: counter.bound,
                    written: record.written,
                    epoch: record.epoch,
                })
            })
        })
    }

    /// Compares the writers of what was written up to a revision with the owners
    /// of the shards: call it when the watch of the owners is past that.
    pub fn settle(&mut self, up_to: u64) {
        while let Some(written) = self.pending.front()
            && written.revision <= up_to
        {
            let written = self.pending.pop_front().expect("it is there");
            let owners = self.owners.get(&written.shard);
            let mut between = owners.into_iter().flatten().filter(|at| {
                // The last transaction of a hand-over writes, and gives the shard up.
                (written.epoch + 1..written.revision).contains(at)
            });
            if let Some(at) = between.next() {
                let text = format!(
                    "epoch {} wrote although the shard's owner had changed at revision {at}",
                    written.epoch
                );
                self.violated("I3", &written.key, written.revision, text);
            }
        }
    }

    /// The last revision of a write that waits for [`Audit::settle`].
    #[must_use]
    pub fn last_write(&self) -> Option<u64> {
        self.pending.back().map(|written| written.revision)
    }

    fn stands(&mut self, entry: &KeyValue) {
        match entry.key.parse() {
            Ok(Key::ShardOwner(shard)) => self.owner_at(shard, entry.mod_revision),
            Ok(Key::Counters { .. }) => {
                self.record(entry);
            }
            _ => {}
        }
    }

    fn written(&mut self, entry: &KeyValue) {
        let revision = entry.mod_revision;
        match entry.key.parse() {
            Ok(Key::ShardOwner(shard)) => {
                self.counted.owner_changes += 1;
                self.owner_at(shard, revision);
            }
            Ok(Key::Counters { org, .. }) => {
                self.counted.writes += 1;
                let before = self.records.get(&entry.key).cloned();
                let Some(after) = self.record(entry) else { return };
                for (id, text) in compare(before.as_ref(), &after) {
                    self.violated(id, &entry.key, revision, text);
                }
                let (key, shard, epoch) = (entry.key.clone(), shard_of(&org), after.epoch);
                if self.pending.len() < MAX_PENDING {
                    self.pending.push_back(Written { key, shard, epoch, revision });
                }
            }
            _ => {}
        }
    }

    fn deleted(&mut self, key: &str, revision: u64) {
        match key.parse() {
            Ok(Key::ShardOwner(shard)) => {
                self.counted.owner_changes += 1;
                self.owner_at(shard, revision);
            }
            Ok(Key::Counters { .. }) => {
                self.records.remove(key);
            }
            _ => {}
        }
    }

    fn owner_at(&mut self, shard: Shard, revision: u64) {
        let known = self.owners.entry(shard).or_default();
        known.push_back(revision);
        if known.len() > OWNERS_KEPT {
            known.pop_front();
        }
    }

    fn record(&mut self, entry: &KeyValue) -> Option<GroupRecord> {
        match GroupRecord::decode(&entry.value) {
            Ok(record) => {
                self.records.insert(entry.key.clone(), record.clone());
                Some(record)
            }
            Err(RecordError::UnknownFormat { .. }) => None,
            Err(error) => {
                self.violated("record", &entry.key, entry.mod_revision, error.to_string());
                None
            }
        }
    }

    fn violated(&mut self, id: &'static str, key: &str, revision: u64, text: String) {
        self.violations.push(Violation { id, key: key.to_owned(), revision, text });
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at revision {}, {}: {}", self.id, self.revision, self.key, self.text)
    }
}

impl Standing {
    /// Everything that counts against the limit.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.spent + self.lost + self.open
    }
}

/// What a write breaks, beside the record that stood before it.
fn compare(before: Option<&GroupRecord>, after: &GroupRecord) -> Vec<(&'static str, String)> {
    let mut broken = Vec::new();
    if let Some(before) = before
        && (before.epoch, before.seq) >= (after.epoch, after.seq)
    {
        broken.push((
            "I3",
            format!(
                "write {} of epoch {} followed write {} of epoch {}",
                after.seq, after.epoch, before.seq, before.epoch
            ),
        ));
    }
    for counter in &after.counters {
        let Some(bound) = counter.bound else { continue };
        let same = |other: &&CounterRecord| other.limit == counter.limit;
        let stood = before.and_then(|before| before.counters.iter().find(same)).map_or(0, total);
        let total = total(counter);
        if total > bound.max(stood) {
            broken.push((
                "I1",
                format!(
                    "{}: {total} units are recorded, {bound} are allowed, {stood} stood before",
                    counter.limit
                ),
            ));
        }
    }
    broken
}

fn total(counter: &CounterRecord) -> u64 {
    units(&counter.sealed) + units(&counter.lost) + counter.open
}

fn units(entries: &[(Wall, u64)]) -> u64 {
    entries.iter().map(|(_, units)| units).sum()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        quota::{Kind, LimitName},
        store::{Listing, records::OwnerRecord},
    };

    fn counters() -> Key {
        Key::Counters { org: OrgId::parse("acme").expect("an org"), group: Group::Org }
    }

    fn owner() -> Key {
        Key::ShardOwner(shard_of(&OrgId::parse("acme").expect("an org")))
    }

    fn entry(key: &Key, value: Vec<u8>, revision: u64) -> KeyValue {
        let (create_revision, mod_revision) = (revision, revision);
        KeyValue { key: key.to_string(), value, create_revision, mod_revision }
    }

    /// A record with one counter of `spent` and `open` units, 10 allowed.
    fn record(epoch: u64, seq: u64, spent: u64, open: u64) -> Vec<u8> {
        let counter = CounterRecord {
            limit: LimitName::parse("calls").expect("a limit"),
            kind: Kind::Window,
            window: Duration::from_secs(60),
            ttl_cap: Duration::from_secs(30),
            sealed: vec![(Wall(1_000_000), spent)],
            lost: Vec::new(),
            open,
            open_until: Wall(2_000_000),
            bound: Some(10),
            cooling: None,
        };
        GroupRecord { epoch, seq, counters: vec![counter], ..GroupRecord::default() }.encode()
    }

    /// Owner changes at these revisions, and records written at those: what is
    /// found.
    fn check(owners: &[u64], writes: &[(u64, Vec<u8>)], found: &[&str]) {
        let mut audit = Audit::default();
        for prefix in WATCHED {
            audit.take_in(prefix, &Watched::All(Listing::default()));
        }
        for (revision, value) in writes {
            let put = Changed::Put(entry(&counters(), value.clone(), *revision));
            audit.take_in(COUNTERS, &Watched::Changes(vec![put]));
        }
        for revision in owners {
            let record = OwnerRecord { node: "a".to_owned(), incarnation: "1".to_owned() };
            let put = Changed::Put(entry(&owner(), record.encode(), *revision));
            audit.take_in(OWNERS, &Watched::Changes(vec![put]));
        }
        audit.settle(u64::MAX);
        let ids: Vec<&str> = audit.violations().iter().map(|violation| violation.id).collect();
        assert_eq!(ids, found, "{:?}", audit.violations());
        assert_eq!(audit.counted().writes, writes.len() as u64);
        assert_eq!(audit.counted().gaps, 0);
    }

    #[test]
    fn every_write_is_compared_with_the_one_before_and_with_the_owners() {
        check(&[1], &[(2, record(1, 1, 3, 7))], &[]);
        check(&[1], &[(2, record(1, 1, 4, 7))], &["I1"]);
        // What stood before may stay, where a limit was lowered.
        check(&[1], &[(2, record(1, 1, 4, 7)), (3, record(1, 2, 11, 0))], &["I1"]);
        check(&[1], &[(2, record(1, 1, 4, 7)), (3, record(1, 2, 12, 0))], &["I1", "I1"]);
        // A successor, in order.
        check(&[1, 3], &[(2, record(1, 1, 1, 1)), (4, record(3, 1, 1, 1))], &[]);
        // The last transaction of a hand-over.
        check(&[1, 2], &[(2, record(1, 1, 1, 0))], &[]);
        // A former owner writes after its successor has come, or has written.
        check(&[1, 3], &[(2, record(1, 1, 1, 1)), (4, record(1, 2, 1, 1))], &["I3"]);
        let late = [(4, record(3, 1, 1, 1)), (5, record(1, 2, 1, 1))];
        check(&[1, 3], &late, &["I3", "I3"]);
        // One writer's earlier write comes after its later one.
        check(&[1], &[(2, record(1, 2, 1, 1)), (3, record(1, 1, 1, 1))], &["I3"]);
        check(&[1], &[(2, vec![0xff])], &["record"]);
    }

    #[test]
    fn what_was_missed_is_counted_and_what_stands_is_shown() {
        let mut audit = Audit::default();
        let stands = entry(&counters(), record(1, 1, 3, 2), 7);
        let listing = Listing { revision: 9, entries: vec![stands] };
        audit.take_in(COUNTERS, &Watched::All(listing.clone()));
        assert_eq!((audit.counted().gaps, audit.counted().counters), (0, 1));
        audit.take_in(COUNTERS, &Watched::All(listing));
        assert_eq!(audit.counted().gaps, 1);
        let standing: Vec<Standing> = audit.standing().collect();
        assert_eq!(standing.len(), 1);
        assert_eq!((standing[0].total(), standing[0].bound), (5, Some(10)));
        let gone = Changed::Deleted { key: counters().to_string(), revision: 11 };
        audit.take_in(COUNTERS, &Watched::Changes(vec![gone]));
        assert_eq!(audit.standing().count(), 0);
    }
}
