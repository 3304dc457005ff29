//! The driver's part: what a node's state machine wants done is carried out, on
//! a store that answers late, twice as late, or never; what the store says is
//! told back.

use std::collections::BTreeSet;

use super::{
    host::{Host, Stage, Tenure, Watch},
    scenario::Plant,
    world::{Cluster, Event},
};
use crate::{
    cluster::{
        member::{Effect, Event as Told, Recovery, Registration, Taking},
        view::WATCHED,
    },
    quota::{Group, Mono, Stored, time::micros},
    store::{
        Compare, Key, LeaseId, Record as _, Shard, StoreError, Txn, TxnOutcome, Watched, Write,
        records::OwnerRecord,
    },
};

/// A call of the store by a driver.
#[derive(Clone, Debug)]
pub enum Call {
    /// Make a lease; the clock before it was sent.
    Grant { sent: Mono },
    /// Keep one alive; the clock before it was sent.
    KeepAlive { lease: LeaseId, sent: Mono },
    /// End one.
    Revoke { lease: LeaseId },
    /// Put the node key.
    Register { lease: LeaseId, txn: Txn },
    /// Put an owner key. `read`: what a planted fault has read before.
    Take { shard: Shard, lease: LeaseId, txn: Txn },
    /// Read a shard's records.
    Read { shard: Shard, epoch: u64 },
    /// Delete the owner key, at the end of a hand-over.
    Delete { shard: Shard, epoch: u64 },
}

/// The records of the orgs of a shard.
pub type Records = Vec<(usize, Vec<(Group, Stored)>)>;

/// What the store answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A lease was made.
    Lease(LeaseId),
    /// The lease is alive, or gone.
    Alive(bool),
    /// It is gone.
    Revoked,
    /// What became of a transaction.
    Txn(TxnOutcome),
    /// What was read.
    Records(Records),
    /// Certainly nothing was done.
    NotExecuted,
    /// Nobody knows.
    Unknown,
}

/// How often the deletion of an owner key is tried.
const DELETE_TRIES: u32 = 5;

/// More effects than this without an event between them are a loop.
const MOST_EFFECTS: u32 = 5_000;

impl Cluster {
    /// Tells a node's state machine what has happened, and does what it wants.
    pub(super) fn tell(&mut self, node: usize, told: Told) {
        let now = self.hosts[node].mono(self.at);
        let Some(member) = &mut self.hosts[node].member else { return };
        member.handle(now, told);
        self.drive(node);
    }

    /// Does what a node's state machine wants, until it wants nothing.
    pub(super) fn drive(&mut self, node: usize) {
        let now = self.hosts[node].mono(self.at);
        let mut effects = 0;
        while let Some(effect) = self.hosts[node].member.as_mut().and_then(|m| m.poll(now)) {
            effects += 1;
            if effects > MOST_EFFECTS {
                self.fail("I6", format!("node {node} never stops: {effect:?}"));
                return;
            }
            self.execute(node, effect);
        }
        if self.hosts[node].ends && self.leaves(node) {
            return;
        }
        let next = self.hosts[node].member.as_ref().and_then(crate::cluster::Member::next_wake);
        if let Some(next) = next {
            // What is due already waits a moment: a driver does not spin.
            let delay = micros(next.since(now)).max(100);
            let at = self.at + delay;
            if self.hosts[node].wake.is_none_or(|wake| at < wake) {
                self.hosts[node].wake = Some(at);
                let life = self.hosts[node].life;
                self.after(delay, Event::Wake { node, life });
            }
        }
    }

    /// A node that is to end has handed everything over: it leaves, and is gone
    /// when the store has heard of it. True if it is.
    fn leaves(&mut self, node: usize) -> bool {
        let now = self.hosts[node].mono(self.at);
        let Host { member, leaves, .. } = &mut self.hosts[node];
        let Some(member) = member else { return true };
        if member.has_left() {
            self.coverage.hit("end after a drain");
            self.exit(node);
            return true;
        }
        if member.is_drained() && !*leaves {
            *leaves = true;
            member.leave(now);
            self.drive(node);
            return true;
        }
        false
    }

    fn execute(&mut self, node: usize, effect: Effect) {
        self.say(|| format!("node {node} wants {effect:?}"));
        let sent = self.hosts[node].mono(self.at);
        match effect {
            Effect::Grant => self.call(node, Call::Grant { sent }),
            Effect::KeepAlive(lease) => self.call(node, Call::KeepAlive { lease, sent }),
            Effect::Revoke(lease) => self.call(node, Call::Revoke { lease }),
            Effect::Register { lease, record, replaces } => {
                let key: String = Key::Node(self.hosts[node].name.clone()).into();
                let txn = put_if(key, replaces, record.encode(), lease);
                self.call(node, Call::Register { lease, txn });
            }
            Effect::Take { shard, lease, incarnation, replaces } => {
                let record = OwnerRecord { node: self.hosts[node].name.clone(), incarnation };
                let txn = put_if(Key::ShardOwner(shard).into(), replaces, record.encode(), lease);
                self.call(node, Call::Take { shard, lease, txn });
            }
            Effect::Recover { shard, epoch } => {
                self.hosts[node].tenures.insert(shard, Tenure { epoch, stage: Stage::Recovering });
                self.call(node, Call::Read { shard, epoch });
            }
            Effect::HandOver { shard, epoch } => self.hand_over(node, shard, epoch),
            Effect::Drop { shard, epoch } => self.drop_shard(node, shard, epoch),
            Effect::SessionUntil(until) => {
                if self.scenario.sessions_bind {
                    for org in 0..self.orgs.len() {
                        self.orgs[org].world.set_session(node, Some(until));
                    }
                }
            }
        }
    }

    // ---- Calls of the store ----

    /// Sends a call: it may be lost, its answer may be, it may come late.
    fn call(&mut self, node: usize, call: Call) {
        let life = self.hosts[node].life;
        let latency = self.scenario.store_latency;
        let timeout = self.scenario.store_timeout;
        let deadline = self.at + timeout;
        let (mut there, mut back) = (self.rng.u64(0..=latency), Some(self.rng.u64(0..=latency)));
        let unknown = Event::Answer {
            node,
            life,
            call: call.clone(),
            answer: Answer::Unknown,
            deadline: self.at,
        };
        if self.is_rough() && self.percent(self.scenario.store_trouble) {
            match self.rng.u32(0..5) {
                0 => {
                    self.coverage.hit("call of the store not executed");
                    let answer = Answer::NotExecuted;
                    self.after(there, Event::Answer { node, life, call, answer, deadline });
                    return;
                }
                1 => {
                    self.coverage.hit("call of the store lost");
                    self.after(timeout, unknown);
                    return;
                }
                2 => {
                    self.coverage.hit("answer of the store lost");
                    back = None;
                    self.after(timeout, unknown);
                }
                3 => {
                    // Slow, but in time.
                    let half = timeout.saturating_sub(1) / 2;
                    there = self.rng.u64(0..=half);
                    back = Some(self.rng.u64(0..=half));
                }
                _ => {
                    self.coverage.hit("call of the store executed after its caller gave up");
                    there = timeout + self.rng.u64(0..=self.ttl());
                    back = None;
                    self.after(timeout, unknown);
                }
            }
        }
        self.after(there, Event::Arrive { node, life, call, answer_after: back, deadline });
    }

    /// A call reaches the store.
    pub(super) fn arrive(
        &mut self,
        node: usize,
        life: u64,
        call: Call,
        answer_after: Option<u64>,
        deadline: u64,
    ) {
        if self.hosts[node].cut_off {
            if answer_after.is_some() {
                let answer = Answer::Unknown;
                let delay = deadline.saturating_sub(self.at);
                self.after(delay, Event::Answer { node, life, call, answer, deadline: self.at });
            }
            return;
        }
        let before = self.store.log_len();
        let answer = self.apply(node, &call);
        self.announce(before);
        self.say(|| format!("the store answers node {node} {answer:?} to {call:?}"));
        if let Some(delay) = answer_after {
            self.after(delay, Event::Answer { node, life, call, answer, deadline });
        }
    }

    fn apply(&mut self, node: usize, call: &Call) -> Answer {
        let until = self.at + self.ttl();
        match call {
            Call::Grant { .. } => {
                let lease = self.store.grant(node, until);
                self.after(self.ttl(), Event::LeaseDue { lease });
                Answer::Lease(lease)
            }
            Call::KeepAlive { lease, .. } => Answer::Alive(self.store.keep_alive(*lease, until)),
            Call::Revoke { lease } => {
                self.store.end(*lease);
                Answer::Revoked
            }
            Call::Register { txn, .. } => self.txn(txn.clone()),
            Call::Take { shard, txn, .. } => {
                let before = self.store.epoch(*shard);
                let answer = self.txn(txn.clone());
                if matches!(answer, Answer::Txn(TxnOutcome::Done { .. })) {
                    self.note_take(node, *shard, before);
                }
                answer
            }
            Call::Read { shard, .. } => Answer::Records(self.records_of(*shard)),
            Call::Delete { shard, epoch } => {
                let key: String = Key::ShardOwner(*shard).into();
                let answer = self.txn(Txn {
                    when: vec![Compare::ModRevision(key.clone(), *epoch)],
                    then: vec![Write::Delete(key)],
                    wall: None,
                });
                if matches!(answer, Answer::Txn(TxnOutcome::Done { .. })) {
                    self.note_hand_over(*shard, *epoch);
                }
                answer
            }
        }
    }

    fn txn(&mut self, txn: Txn) -> Answer {
        match self.store.txn(txn) {
            Ok(outcome) => Answer::Txn(outcome),
            Err(StoreError::NotExecuted(_)) => Answer::NotExecuted,
            Err(_) => Answer::Unknown,
        }
    }

    /// The answer reaches the node.
    pub(super) fn answered(&mut self, node: usize, call: Call, answer: Answer) {
        self.say(|| format!("node {node} hears {answer:?}"));
        if matches!(answer, Answer::Unknown) {
            self.coverage.hit("call of the store without an answer");
        }
        match call {
            Call::Grant { sent } => {
                let lease = match answer {
                    Answer::Lease(lease) => Some(lease),
                    _ => None,
                };
                self.tell(node, Told::Granted { sent, lease });
            }
            Call::KeepAlive { lease, sent } => {
                let alive = match answer {
                    Answer::Alive(alive) => Some(alive),
                    _ => None,
                };
                if alive == Some(false) {
                    self.coverage.hit("keep-alive of a lease that is gone");
                }
                self.tell(node, Told::KeptAlive { lease, sent, alive });
            }
            Call::Revoke { lease } => self.tell(node, Told::Revoked { lease }),
            Call::Register { lease, txn } => {
                let outcome = match answer {
                    Answer::Txn(TxnOutcome::Done { revision }) => Registration::Done(revision),
                    Answer::Txn(TxnOutcome::Conflict { current }) => {
                        standing(&txn, &current).map_or(Registration::Taken, Registration::Done)
                    }
                    _ => Registration::Unknown,
                };
                self.tell(node, Told::Registered { lease, outcome });
            }
            Call::Take { shard, lease, txn } => {
                let outcome = match answer {
                    Answer::Txn(TxnOutcome::Done { revision }) => Taking::Done(revision),
                    Answer::Txn(TxnOutcome::Conflict { current }) => {
                        match standing(&txn, &current) {
                            // An attempt before this one, that nobody heard of.
                            Some(epoch) if self.rng.bool() => Taking::Done(epoch),
                            _ => Taking::Conflict,
                        }
                    }
                    Answer::NotExecuted => Taking::NotExecuted,
                    _ => Taking::Unknown,
                };
                self.tell(node, Told::Taken { shard, lease, outcome });
            }
            Call::Read { shard, epoch } => self.recovered(node, shard, epoch, answer),
            Call::Delete { shard, epoch } => self.deleted(node, shard, epoch, &answer),
        }
    }

    // ---- Shards ----

    fn records_of(&self, shard: Shard) -> Records {
        let of_it = self.orgs.iter().enumerate().filter(|(_, org)| org.shard == shard);
        of_it.map(|(org, state)| (org, state.world.records())).collect()
    }

    fn is_at(&self, node: usize, shard: Shard, epoch: u64, stage: &Stage) -> bool {
        let tenure = self.hosts[node].tenures.get(&shard);
        tenure.is_some_and(|tenure| {
            let same = std::mem::discriminant(&tenure.stage) == std::mem::discriminant(stage);
            tenure.epoch == epoch && same
        })
    }

    /// What was read reaches the node: it serves the shard.
    fn recovered(&mut self, node: usize, shard: Shard, epoch: u64, answer: Answer) {
        if !self.is_at(node, shard, epoch, &Stage::Recovering) {
            return;
        }
        let mut records = match answer {
            Answer::Records(records) => records,
            _ => {
                self.hosts[node].tenures.remove(&shard);
                let outcome = Recovery::Unreachable;
                self.tell(node, Told::Recovered { shard, epoch, outcome });
                return;
            }
        };
        if self.hosts[node].clocks.wild != 0 {
            // A clock beyond ε is not read at a takeover.
            let (life, deadline) = (self.hosts[node].life, self.at);
            let (call, answer) = (Call::Read { shard, epoch }, Answer::Records(records));
            self.after(50_000, Event::Answer { node, life, call, answer, deadline });
            return;
        }
        if let Some(before) = self.hosts[node].read_before.get(&shard) {
            self.coverage.hit("records read too early");
            records.clone_from(before);
        }
        self.coverage.hit("takeover");
        self.hosts[node].tenures.insert(shard, Tenure { epoch, stage: Stage::Serving });
        for (org, records) in records {
            self.with_org(org, |world| world.serve(node, epoch, records));
        }
        self.tell(node, Told::Recovered { shard, epoch, outcome: Recovery::Done });
    }

    fn hand_over(&mut self, node: usize, shard: Shard, epoch: u64) {
        self.coverage.hit("hand-over begun");
        // Also without a ledger the owner key is to go.
        let unwritten: BTreeSet<usize> = (0..self.orgs.len())
            .filter(|org| self.orgs[*org].shard == shard)
            .filter(|org| self.orgs[*org].world.serves(node) == Some(epoch))
            .collect();
        let stage = Stage::Leaving { unwritten: unwritten.clone(), tries: 0 };
        self.hosts[node].tenures.insert(shard, Tenure { epoch, stage });
        if unwritten.is_empty() {
            self.coverage.hit("owner key given back");
            self.delete_if_written(node, shard, epoch);
        }
        for org in unwritten {
            self.with_org(org, |world| world.leave(node));
        }
    }

    /// An org has nothing more to write.
    pub(super) fn written(&mut self, node: usize, org: usize, epoch: u64) {
        let shard = self.orgs[org].shard;
        if let Some(Tenure { epoch: of, stage: Stage::Leaving { unwritten, .. } }) =
            self.hosts[node].tenures.get_mut(&shard)
            && *of == epoch
            && unwritten.remove(&org)
        {
            self.delete_if_written(node, shard, epoch);
        }
    }

    /// The last transaction of a hand-over deletes the owner key.
    fn delete_if_written(&mut self, node: usize, shard: Shard, epoch: u64) {
        if let Some(Tenure { epoch: of, stage: Stage::Leaving { unwritten, tries } }) =
            self.hosts[node].tenures.get_mut(&shard)
            && *of == epoch
            && unwritten.is_empty()
        {
            *tries += 1;
            self.call(node, Call::Delete { shard, epoch });
        }
    }

    fn deleted(&mut self, node: usize, shard: Shard, epoch: u64, answer: &Answer) {
        let Some(Tenure { epoch: of, stage: Stage::Leaving { tries, .. } }) =
            self.hosts[node].tenures.get(&shard)
        else {
            return;
        };
        let failed = matches!(answer, Answer::Unknown | Answer::NotExecuted);
        if *of == epoch && failed && *tries < DELETE_TRIES {
            self.coverage.hit("deletion of an owner key tried again");
            self.delete_if_written(node, shard, epoch);
        } else if *of == epoch {
            self.end_hand_over(node, shard, epoch);
        }
    }

    fn end_hand_over(&mut self, node: usize, shard: Shard, epoch: u64) {
        self.forget(node, shard);
        self.tell(node, Told::HandedOver { shard, epoch });
    }

    fn drop_shard(&mut self, node: usize, shard: Shard, epoch: u64) {
        if self.hosts[node].tenures.get(&shard).is_some_and(|tenure| tenure.epoch == epoch) {
            self.coverage.hit("shard dropped");
            self.forget(node, shard);
        }
    }

    fn forget(&mut self, node: usize, shard: Shard) {
        self.hosts[node].tenures.remove(&shard);
        for org in 0..self.orgs.len() {
            if self.orgs[org].shard == shard {
                self.with_org(org, |world| world.forget(node));
            }
        }
    }

    /// A transaction was fenced off.
    pub(super) fn fenced(&mut self, node: usize, shard: Shard, epoch: u64) {
        match self.hosts[node].tenures.get(&shard) {
            Some(tenure) if tenure.epoch == epoch => match tenure.stage {
                Stage::Leaving { .. } => self.end_hand_over(node, shard, epoch),
                _ => {
                    self.coverage.hit("owner fenced off");
                    self.tell(node, Told::Fenced { shard, epoch });
                }
            },
            _ => {}
        }
    }

    /// A ledger is of no use any more.
    pub(super) fn broken(&mut self, node: usize, shard: Shard, epoch: u64) {
        match self.hosts[node].tenures.get(&shard) {
            Some(tenure) if tenure.epoch == epoch => match tenure.stage {
                Stage::Leaving { .. } => self.end_hand_over(node, shard, epoch),
                _ => {
                    self.coverage.hit("shard taken anew");
                    self.tell(node, Told::Broken { shard, epoch });
                }
            },
            _ => {}
        }
    }

    // ---- Watches ----

    /// A watch tells what has changed up to a place in the log.
    pub(super) fn watch(&mut self, node: usize, watch: usize, upto: usize) {
        let Watch { told, has_begun, is_lost } = self.hosts[node].watches[watch];
        if self.hosts[node].cut_off || is_lost || !has_begun || upto <= told {
            return;
        }
        self.hosts[node].watches[watch].told = upto;
        let prefix = WATCHED[watch];
        self.read_early(node);
        self.say(|| format!("node {node} is told of {prefix} from {told} to {upto}"));
        let revisions = self.store.changes(prefix, told, upto);
        let messages = if self.rng.bool() {
            revisions
        } else {
            vec![revisions.into_iter().flatten().collect()]
        };
        for changes in messages.into_iter().filter(|changes| !changes.is_empty()) {
            self.tell(node, Told::Watched { prefix, told: Watched::Changes(changes) });
        }
    }

    /// A planted fault: a node reads the records of a shard while another owns
    /// it, to have them at hand when it takes the shard.
    fn read_early(&mut self, node: usize) {
        if self.has(Plant::ReadBeforeTake) {
            let shards: BTreeSet<Shard> = self.orgs.iter().map(|org| org.shard).collect();
            for shard in shards.into_iter().filter(|shard| self.store.epoch(*shard) != 0) {
                let records = self.records_of(shard);
                self.hosts[node].read_before.insert(shard, records);
            }
        }
    }

    /// A watch begins, or has a connection again: it goes on where it was, or,
    /// where that was compacted away, with everything.
    pub(super) fn resume(&mut self, node: usize, watch: usize) {
        if self.hosts[node].cut_off || self.hosts[node].member.is_none() {
            return;
        }
        self.hosts[node].watches[watch].is_lost = false;
        if self.hosts[node].watches[watch].has_begun && self.rng.u32(0..3) > 0 {
            self.coverage.hit("watch resumed");
            self.watch(node, watch, self.store.log_len());
            return;
        }
        self.coverage.hit("watch lists everything");
        let prefix = WATCHED[watch];
        let (told, place) = self.store.all(prefix);
        self.say(|| format!("node {node} is told all of {prefix}, up to {place}"));
        self.hosts[node].watches[watch] = Watch { told: place, has_begun: true, is_lost: false };
        self.tell(node, Told::Watched { prefix, told });
    }

    // ---- Leases ----

    /// A lease is over, unless it was kept alive; then, too, it may live on.
    pub(super) fn lease_due(&mut self, lease: LeaseId) {
        let Some(state) = self.store.lease(lease) else { return };
        if state.until > self.at {
            self.after(state.until - self.at, Event::LeaseDue { lease });
        } else if self.is_rough() && self.percent(40) {
            self.coverage.hit("lease that ends late");
            let late = self.rng.u64(1..=self.ttl());
            self.after(late, Event::LeaseDue { lease });
        } else {
            self.coverage.hit("lease expiry");
            self.end_lease(lease);
        }
    }

    pub(super) fn end_lease(&mut self, lease: LeaseId) {
        self.say(|| format!("{lease:?} ends"));
        let before = self.store.log_len();
        self.store.end(lease);
        self.announce(before);
    }

    /// Makes all watches of a node list or go on, soon.
    pub(super) fn resume_soon(&mut self, node: usize) {
        let life = self.hosts[node].life;
        for watch in 0..WATCHED.len() {
            let delay = self.rng.u64(0..=self.scenario.store_latency * 2);
            self.after(delay, Event::Resume { node, life, watch });
        }
    }

    // ---- What is noted ----

    fn note_take(&mut self, node: usize, shard: Shard, before: u64) {
        self.moved_at = self.at;
        let epoch = self.store.epoch(shard);
        if epoch <= before {
            self.fail("I3", format!("epoch {epoch} of shard {shard} follows {before}"));
        }
        if before != 0 {
            self.coverage.hit("owner key replaced");
        }
        self.say(|| format!("node {node} has shard {shard} in epoch {epoch}"));
    }

    fn note_hand_over(&mut self, shard: Shard, epoch: u64) {
        self.coverage.hit("hand-over");
        self.moved_at = self.at;
        for org in 0..self.orgs.len() {
            if self.orgs[org].shard == shard {
                self.with_org(org, |world| world.check_handed_over(epoch));
            }
        }
    }
}

/// Puts a key under a lease, if its mod revision is what it must be.
fn put_if(key: String, replaces: u64, value: Vec<u8>, lease: LeaseId) -> Txn {
    let compare = match replaces {
        0 => Compare::CreateRevision(key.clone(), 0),
        revision => Compare::ModRevision(key.clone(), revision),
    };
    Txn { when: vec![compare], then: vec![Write::PutLeased(key, value, lease)], wall: None }
}

/// The mod revision of the very value that a transaction wanted to put, if it
/// stands there already.
fn standing(txn: &Txn, current: &[Option<crate::store::KeyValue>]) -> Option<u64> {
    let Some(Write::PutLeased(_, wanted, _)) = txn.then.first() else { return None };
    let present = current.first()?.as_ref()?;
    (present.value == *wanted).then_some(present.mod_revision)
}
