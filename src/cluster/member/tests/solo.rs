//! One member, spoken to by hand.

use std::collections::BTreeSet;

use super::{TIMING, entry, generation, record};
use crate::{
    cluster::{
        Effect, Event, Member,
        member::{Recovery, Registration, Taking},
    },
    quota::Mono,
    store::{
        Changed, Key, KeyValue, LeaseId, Listing, Record as _, Shard, Watched,
        keys::{META, NODES, OWNERS},
        records::{NodeRecord, OwnerRecord},
    },
};

pub const LEASE: LeaseId = LeaseId(7);

/// A member, and the clock that it is told.
pub struct Solo {
    pub member: Member,
    pub now: Mono,
}

impl Solo {
    /// It has asked for a lease at one second.
    pub fn new() -> Self {
        let member = Member::new("me".to_owned(), record("me", ""), TIMING, 1);
        let mut solo = Self { member, now: Mono(1_000_000) };
        assert_eq!(solo.effects(), [Effect::Grant]);
        solo
    }

    /// It has a session of 8 s from one second on, has asked to be registered,
    /// and knows that others own all shards.
    pub fn with_session() -> Self {
        let mut solo = Self::new();
        solo.granted(LEASE);
        solo.list(META, vec![entry(&Key::Generation, &generation("g"), 1)]);
        solo.list(NODES, Vec::new());
        solo.list(OWNERS, Shard::all().map(|shard| owner(shard, "other", "their", 5)).collect());
        solo
    }

    /// It is registered at revision 10, by the answer and by the watch.
    pub fn registered() -> Self {
        let mut solo = Self::with_session();
        solo.tell(Event::Registered { lease: LEASE, outcome: Registration::Done(10) });
        let told = solo.changed(solo.own_node(10, false));
        assert_eq!(told, [], "others own all shards");
        solo
    }

    /// It serves these shards, in the epochs 100 and up.
    pub fn serving(shards: impl IntoIterator<Item = u16>) -> Self {
        let mut solo = Self::registered();
        for (n, number) in shards.into_iter().enumerate() {
            let (shard, epoch) = (shard(number), 100 + n as u64);
            assert_eq!(solo.vacated(shard, epoch - 1), [solo.take(shard, 0)]);
            let recover = Effect::Recover { shard, epoch };
            assert_eq!(solo.taken(shard, Taking::Done(epoch)), [recover]);
            assert_eq!(solo.recovered(shard, epoch, Recovery::Done), []);
            assert_eq!(solo.changed(solo.own_owner(shard, epoch)), []);
        }
        solo
    }

    /// What it wants done now.
    pub fn effects(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        while let Some(effect) = self.member.poll(self.now) {
            effects.push(effect);
            assert!(effects.len() < 2000, "it never ends: {:?}", &effects[1990..]);
        }
        let wake = self.member.next_wake();
        assert!(wake.is_none_or(|wake| wake > self.now), "woken at {wake:?} for nothing");
        effects
    }

    pub fn tell(&mut self, event: Event) -> Vec<Effect> {
        self.member.handle(self.now, event);
        self.effects()
    }

    /// Lets milliseconds pass, and it be woken when it wants to be: what it
    /// wanted, each with the milliseconds since it began.
    pub fn pass(&mut self, ms: u64) -> Vec<(u64, Effect)> {
        let end = Mono(self.now.0 + ms * 1000);
        let mut effects = Vec::new();
        while let Some(wake) = self.member.next_wake().filter(|&wake| wake <= end) {
            self.now = wake.max(self.now);
            let ms = self.now.0 / 1000;
            effects.extend(self.effects().into_iter().map(|effect| (ms, effect)));
        }
        self.now = end;
        effects
    }

    /// The same without keep-alives, which go on whatever happens.
    pub fn pass_quietly(&mut self, ms: u64) -> Vec<(u64, Effect)> {
        let mut effects = self.pass(ms);
        effects.retain(|(_, effect)| !matches!(effect, Effect::KeepAlive(_)));
        effects
    }

    pub fn granted(&mut self, lease: LeaseId) -> Vec<Effect> {
        let effects = self.tell(Event::Granted { sent: self.now, lease: Some(lease) });
        assert_eq!(effects[0], Effect::SessionUntil(self.until()));
        assert_eq!(effects[1..], [self.register(lease, 0, false)]);
        effects
    }

    pub fn kept_alive(&mut self) -> Vec<Effect> {
        self.tell(Event::KeptAlive { lease: LEASE, sent: self.now, alive: Some(true) })
    }

    pub fn taken(&mut self, shard: Shard, outcome: Taking) -> Vec<Effect> {
        self.tell(Event::Taken { shard, lease: LEASE, outcome })
    }

    pub fn recovered(&mut self, shard: Shard, epoch: u64, outcome: Recovery) -> Vec<Effect> {
        self.tell(Event::Recovered { shard, epoch, outcome })
    }

    pub fn list(&mut self, prefix: &'static str, entries: Vec<KeyValue>) -> Vec<Effect> {
        let revision = entries.iter().map(|entry| entry.mod_revision).max().unwrap_or(1);
        self.list_as_of(prefix, revision, entries)
    }

    pub fn list_as_of(
        &mut self,
        prefix: &'static str,
        revision: u64,
        entries: Vec<KeyValue>,
    ) -> Vec<Effect> {
        self.tell(Event::Watched { prefix, told: Watched::All(Listing { revision, entries }) })
    }

    /// The watch tells of a value.
    pub fn changed(&mut self, entry: KeyValue) -> Vec<Effect> {
        let prefix = [META, NODES, OWNERS].into_iter().find(|of| entry.key.starts_with(of));
        let told = Watched::Changes(vec![Changed::Put(entry)]);
        self.tell(Event::Watched { prefix: prefix.unwrap(), told })
    }

    /// The watch tells that nobody owns a shard any more.
    pub fn vacated(&mut self, shard: Shard, revision: u64) -> Vec<Effect> {
        let key = Key::ShardOwner(shard).to_string();
        let told = Watched::Changes(vec![Changed::Deleted { key, revision }]);
        self.tell(Event::Watched { prefix: OWNERS, told })
    }

    pub fn until(&self) -> Mono {
        self.member.session_until().unwrap()
    }

    pub fn served(&self) -> Vec<(u16, u64)> {
        self.member.served().map(|(shard, epoch)| (shard.number(), epoch)).collect()
    }

    pub fn own_node(&self, revision: u64, draining: bool) -> KeyValue {
        let record = NodeRecord { draining, ..record("me", self.member.incarnation()) };
        entry(&Key::Node("me".to_owned()), &record, revision)
    }

    pub fn own_owner(&self, shard: Shard, epoch: u64) -> KeyValue {
        owner(shard, "me", self.member.incarnation(), epoch)
    }

    pub fn register(&self, lease: LeaseId, replaces: u64, draining: bool) -> Effect {
        let record = NodeRecord { draining, ..record("me", self.member.incarnation()) };
        Effect::Register { lease, record, replaces }
    }

    pub fn take(&self, shard: Shard, replaces: u64) -> Effect {
        let incarnation = self.member.incarnation().to_owned();
        Effect::Take { shard, lease: LEASE, incarnation, replaces }
    }

    /// The session ends now: what is to be done about it.
    pub fn death(&self, drops: &[(u16, u64)]) -> Vec<Effect> {
        let drops = drops.iter().map(|&(number, epoch)| drop_of(number, epoch));
        [Effect::SessionUntil(self.now)]
            .into_iter()
            .chain(drops)
            .chain([Effect::Revoke(LEASE)])
            .collect()
    }
}

pub fn shard(number: u16) -> Shard {
    Shard::new(number).unwrap()
}

pub fn drop_of(number: u16, epoch: u64) -> Effect {
    Effect::Drop { shard: shard(number), epoch }
}

pub fn owner(shard: Shard, node: &str, incarnation: &str, epoch: u64) -> KeyValue {
    let (node, incarnation) = (node.to_owned(), incarnation.to_owned());
    entry(&Key::ShardOwner(shard), &OwnerRecord { node, incarnation }, epoch)
}

pub fn node(name: &str, incarnation: &str, revision: u64) -> KeyValue {
    let record = record(name, incarnation);
    assert!(NodeRecord::decode(&record.encode()).is_ok());
    entry(&Key::Node(name.to_owned()), &record, revision)
}

/// The shards that are to be another node's, with both alive.
pub fn shards_of(name: &str) -> BTreeSet<u16> {
    let is_first =
        |shard: &Shard| crate::cluster::placement::ranked(*shard, ["me", "you"])[0] == name;
    Shard::all().filter(is_first).map(Shard::number).collect()
}
