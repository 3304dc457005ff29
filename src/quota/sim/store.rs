//! A model of the store: one owner's epoch, the records of one org, and
//! transactions that compare before they write.

use std::collections::{BTreeMap, HashMap};

use crate::quota::{
    CounterRecord, Group, GroupRecord, GroupWrite, LimitName, Stored, Wall, time::micros,
};

/// One counter, as the outside world knows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CounterKey {
    /// Whose.
    pub group: Group,
    /// Which.
    pub limit: LimitName,
}

/// The transaction of one reserve, and what was true when it was sent.
#[derive(Clone, Debug)]
pub struct Txn {
    /// The sender's epoch: the owner key must still have it.
    pub epoch: u64,
    /// The writes, each with the revision that it compares.
    pub writes: Vec<GroupWrite>,
    /// Counts everything that happens: grants up to this one are in the records.
    pub order: u64,
    /// The true time of the sending.
    pub sent: u64,
    /// For each counter of the writes: what the settings then allowed.
    pub allowed: HashMap<CounterKey, Allowed>,
}

/// What a record may say about one counter.
#[derive(Clone, Copy, Debug)]
pub struct Allowed {
    /// The limit in force; `None` for a workspace's cap, which bounds nothing.
    pub limit: Option<u64>,
    /// The largest block that the settings and the waiting asks justify.
    pub block: u64,
}

/// What became of a transaction.
#[derive(Clone, Debug)]
pub enum Applied {
    /// Written.
    Done(u64),
    /// Another epoch owns the org.
    Fenced(Vec<(Group, Option<Stored>)>),
    /// A record differs.
    Conflict(Vec<(Group, Option<Stored>)>),
}

/// Compares that a planted fault leaves out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Careless {
    /// The owner's epoch is not compared.
    pub owner: bool,
    /// The records' revisions are not compared.
    pub records: bool,
}

/// The store.
#[derive(Clone, Debug, Default)]
pub struct Store {
    /// The owner's epoch.
    pub owner: u64,
    revision: u64,
    records: BTreeMap<Group, Stored>,
    /// For each epoch and counter: what its last record set aside.
    blocks: HashMap<(u64, CounterKey), Block>,
}

/// What an epoch's last record set aside for a counter.
#[derive(Clone, Copy, Debug, Default)]
pub struct Block {
    /// Units.
    pub open: u64,
    /// The place of its sending in the order of things.
    pub order: u64,
    /// The true time at which it is over.
    pub until: u64,
}

impl Store {
    /// Gives the org to somebody; the old epoch writes nothing any more.
    pub fn take(&mut self) -> u64 {
        self.revision += 1;
        self.owner = self.revision;
        self.owner
    }

    /// Takes over what another store knows: the owner, and the revision.
    pub fn see(&mut self, owner: u64, revision: u64) {
        self.owner = owner;
        self.revision = revision;
    }

    /// The revision of the last change.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// All records.
    pub fn read(&self) -> Vec<(Group, Stored)> {
        self.records.iter().map(|(group, stored)| (group.clone(), stored.clone())).collect()
    }

    /// What the last record of an epoch set aside for a counter.
    pub fn block(&self, epoch: u64, key: &CounterKey) -> Block {
        self.blocks.get(&(epoch, key.clone())).copied().unwrap_or_default()
    }

    /// Carries out a transaction; an invariant that the records alone show to be
    /// violated is an error.
    pub fn apply(
        &mut self,
        txn: &Txn,
        careless: Careless,
    ) -> Result<Applied, (&'static str, String)> {
        let current = || {
            let stored =
                |write: &GroupWrite| (write.group.clone(), self.records.get(&write.group).cloned());
            txn.writes.iter().map(stored).collect()
        };
        if txn.epoch != self.owner && !careless.owner {
            return Ok(Applied::Fenced(current()));
        }
        let revision_of =
            |group: &Group| self.records.get(group).map_or(0, |stored| stored.revision);
        let differs = |write: &GroupWrite| revision_of(&write.group) != write.expected_revision;
        if !careless.records && txn.writes.iter().any(differs) {
            return Ok(Applied::Conflict(current()));
        }
        if txn.epoch != self.owner {
            let text = format!("epoch {} wrote when {} was the owner", txn.epoch, self.owner);
            return Err(("I3", text));
        }
        self.revision += 1;
        for write in &txn.writes {
            self.audit(txn, write)?;
            let group = write.group.clone();
            match &write.record {
                Some(record) => {
                    let stored = Stored { revision: self.revision, record: record.clone() };
                    self.records.insert(group, stored);
                }
                None => {
                    self.records.remove(&group);
                }
            }
        }
        for key in txn.allowed.keys() {
            let write = txn.writes.iter().find(|write| write.group == key.group);
            let record = write.and_then(|write| write.record.as_ref());
            let mut block = Block { open: 0, order: txn.order, until: txn.sent };
            if let Some(record) = record
                && let Some(counter) = counter(record, &key.limit)
            {
                block.open = counter.open;
                block.until += micros(counter.open_until.since(record.written));
            }
            self.blocks.insert((txn.epoch, key.clone()), block);
        }
        Ok(Applied::Done(self.revision))
    }

    /// I1, I3 and the size of blocks, from the records alone.
    fn audit(&self, txn: &Txn, write: &GroupWrite) -> Result<(), (&'static str, String)> {
        let Some(record) = &write.record else { return Ok(()) };
        let before = self.records.get(&write.group).map(|stored| &stored.record);
        if let Some(before) = before
            && (before.epoch, before.seq) >= (record.epoch, record.seq)
        {
            let text = format!("{:?}: a record of an earlier write was put last", write.group);
            return Err(("I3", text));
        }
        for after in &record.counters {
            let key = CounterKey { group: write.group.clone(), limit: after.limit.clone() };
            let Some(allowed) = txn.allowed.get(&key) else { continue };
            let stood = before.and_then(|before| counter(before, &after.limit));
            let total = total(after);
            if let Some(limit) = allowed.limit
                && total > limit.max(stood.map_or(0, self::total))
            {
                let text = format!(
                    "{key:?}: {total} units recorded, {limit} allowed, {stood:?} stood before"
                );
                return Err(("I1", text));
            }
            let open = stood.filter(|_| before.is_some_and(|before| before.epoch == record.epoch));
            let most = allowed.block.max(open.map_or(0, |stood| stood.open));
            if after.open > most {
                let text =
                    format!("{key:?}: a block of {}, {most} would do: {allowed:?}", after.open);
                return Err(("I7", text));
            }
        }
        Ok(())
    }
}

fn counter<'a>(record: &'a GroupRecord, limit: &LimitName) -> Option<&'a CounterRecord> {
    record.counters.iter().find(|counter| &counter.limit == limit)
}

/// Everything that a record counts as spent.
fn total(counter: &CounterRecord) -> u64 {
    let units = |entries: &[(Wall, u64)]| entries.iter().map(|(_, units)| units).sum::<u64>();
    units(&counter.sealed) + units(&counter.lost) + counter.open
}
