//! Members among events that chance has chosen.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::{collection::vec, prelude::*};

use super::{
    TIMING, entry, generation,
    model::{Cluster, Link},
    solo::{Solo, node, owner, shard},
};
use crate::{
    cluster::{
        Effect, Event,
        member::{Recovery, Registration, Taking},
    },
    quota::Mono,
    store::{
        Changed, Key, LeaseId, Shard,
        keys::{META, NODES, OWNERS},
    },
};

/// A step of one member's life.
#[derive(Clone, Debug)]
enum Step {
    /// Answers one of the requests that are open, well or badly, and perhaps
    /// not for the last time.
    Answer { which: prop::sample::Index, how: u8, again: bool },
    /// The watch tells of what the member has put, or of others.
    Watch { shard: u16, revision: u64, what: u8 },
    /// Anything.
    Told(Event),
    /// Time passes, in milliseconds.
    Pass(u64),
    /// The same, without the member being woken.
    Sleep(u64),
}

fn steps() -> impl Strategy<Value = Step> {
    let shards = || (0..4_u16).prop_map(shard);
    let leases = || (0..4_i64).prop_map(LeaseId);
    let outcome = prop_oneof![
        (100..140_u64).prop_map(Taking::Done),
        Just(Taking::Conflict),
        Just(Taking::NotExecuted),
        Just(Taking::Unknown),
    ];
    let recovery =
        prop_oneof![Just(Recovery::Done), Just(Recovery::Unreachable), Just(Recovery::Unusable)];
    let event =
        prop_oneof![
            (0..9_000_000_u64, prop::option::of(leases()))
                .prop_map(|(sent, lease)| Event::Granted { sent: Mono(sent), lease }),
            (leases(), 0..9_000_000_u64, any::<Option<bool>>()).prop_map(|(lease, sent, alive)| {
                Event::KeptAlive { lease, sent: Mono(sent), alive }
            }),
            leases().prop_map(|lease| Event::Revoked { lease }),
            (leases(), 1..140_u64).prop_map(|(lease, revision)| Event::Registered {
                lease,
                outcome: Registration::Done(revision)
            }),
            (shards(), leases(), outcome).prop_map(|(shard, lease, outcome)| Event::Taken {
                shard,
                lease,
                outcome
            }),
            (shards(), 100..140_u64, recovery)
                .prop_map(|(shard, epoch, outcome)| Event::Recovered { shard, epoch, outcome }),
            (shards(), 100..140_u64).prop_map(|(shard, epoch)| Event::HandedOver { shard, epoch }),
            (shards(), 100..140_u64).prop_map(|(shard, epoch)| Event::Fenced { shard, epoch }),
            (shards(), 100..140_u64).prop_map(|(shard, epoch)| Event::Broken { shard, epoch }),
            Just(Event::WentBack),
            any::<bool>().prop_map(Event::Drain),
        ];
    prop_oneof![
        12 => (any::<prop::sample::Index>(), any::<u8>(), prop::bool::weighted(0.1))
            .prop_map(|(which, how, again)| Step::Answer { which, how, again }),
        4 => (0..4_u16, 100..140_u64, any::<u8>())
            .prop_map(|(shard, revision, what)| Step::Watch { shard, revision, what }),
        1 => event.prop_map(Step::Told),
        3 => (0..4000_u64).prop_map(Step::Pass),
        1 => (0..12_000_u64).prop_map(Step::Sleep),
    ]
}

/// Looks at everything that a member wants.
struct Witness {
    solo: Solo,
    /// Requests, answered or not.
    asked: Vec<(Mono, Effect)>,
    until: Mono,
    lease: Option<LeaseId>,
    dead: BTreeSet<LeaseId>,
    /// The ledgers that the process has, by what it was told to do.
    held: BTreeMap<Shard, u64>,
    revision: u64,
    /// A store gives each lease's id out once.
    granted: BTreeSet<LeaseId>,
}

impl Witness {
    fn new() -> Self {
        let solo = Solo::new();
        let asked = vec![(solo.now, Effect::Grant)];
        Self {
            solo,
            asked,
            until: Mono::default(),
            lease: None,
            dead: BTreeSet::new(),
            held: BTreeMap::new(),
            revision: 140,
            granted: BTreeSet::new(),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Answer { which, how, again } => {
                if self.asked.is_empty() {
                    return;
                }
                let at = which.index(self.asked.len());
                let (sent, effect) = self.asked[at].clone();
                if !again {
                    self.asked.remove(at);
                }
                self.answer(sent, effect, how);
            }
            Step::Watch { shard, revision, what } => self.watch(shard, revision, what),
            Step::Told(Event::Granted { lease: Some(lease), .. })
                if !self.granted.insert(lease) => {}
            Step::Told(event) => self.tell(event),
            Step::Pass(ms) => {
                let end = self.solo.now + Duration::from_millis(ms);
                while let Some(wake) = self.solo.member.next_wake().filter(|&wake| wake <= end) {
                    self.solo.now = wake.max(self.solo.now);
                    self.look(false);
                }
                self.solo.now = end;
                self.look(false);
            }
            Step::Sleep(ms) => {
                self.solo.now = self.solo.now + Duration::from_millis(ms);
            }
        }
    }

    fn answer(&mut self, sent: Mono, effect: Effect, how: u8) {
        let is_well = !how.is_multiple_of(4);
        self.revision += 1;
        let revision = self.revision;
        match effect {
            Effect::Grant => {
                let lease = is_well.then(|| self.grant());
                self.tell(Event::Granted { sent, lease });
            }
            Effect::KeepAlive(lease) => {
                let alive =
                    if is_well { Some(true) } else { how.is_multiple_of(8).then_some(false) };
                self.tell(Event::KeptAlive { lease, sent, alive });
            }
            Effect::Revoke(lease) => self.tell(Event::Revoked { lease }),
            Effect::Register { lease, .. } => {
                let outcome = match how % 4 {
                    0 => Registration::Taken,
                    1 => Registration::Unknown,
                    _ => Registration::Done(revision),
                };
                self.tell(Event::Registered { lease, outcome });
                if !how.is_multiple_of(3) {
                    let entry = self.solo.own_node(revision, how % 8 == 1);
                    self.tell_change(NODES, Changed::Put(entry));
                }
            }
            Effect::Take { shard, lease, .. } => {
                let outcome = match how % 8 {
                    0 => Taking::Conflict,
                    1 => Taking::NotExecuted,
                    2 => Taking::Unknown,
                    _ => Taking::Done(revision),
                };
                self.tell(Event::Taken { shard, lease, outcome });
            }
            Effect::Recover { shard, epoch } => {
                let outcome = match how % 8 {
                    0 => Recovery::Unusable,
                    1 => Recovery::Unreachable,
                    _ => Recovery::Done,
                };
                self.tell(Event::Recovered { shard, epoch, outcome });
            }
            Effect::HandOver { shard, epoch } => self.tell(Event::HandedOver { shard, epoch }),
            Effect::Drop { .. } | Effect::SessionUntil(_) => {}
        }
    }

    /// The least id that no lease has had: among those that
    /// [`steps`] tells of, too.
    fn grant(&mut self) -> LeaseId {
        let id = (1..).map(LeaseId).find(|&id| self.granted.insert(id));
        id.expect("there are more ids than steps")
    }

    fn watch(&mut self, number: u16, revision: u64, what: u8) {
        let s = shard(number);
        self.revision += 1;
        let newest = self.revision;
        let revision = if what.is_multiple_of(2) { revision } else { newest };
        let key = Key::ShardOwner(s).to_string();
        let own = |solo: &Solo, epoch| Changed::Put(solo.own_owner(s, epoch));
        match what / 2 % 12 {
            0..=3 => self.tell_change(OWNERS, Changed::Deleted { key, revision }),
            4 => self.tell_change(OWNERS, Changed::Put(owner(s, "you", "theirs", revision))),
            5 => self.tell_change(OWNERS, own(&self.solo, revision)),
            6 => {
                let epoch = self.held.get(&s).copied().unwrap_or(revision);
                self.tell_change(OWNERS, own(&self.solo, epoch));
            }
            7 => {
                let key = Key::Node("me".to_owned()).to_string();
                self.tell_change(NODES, Changed::Deleted { key, revision });
            }
            8 => self.tell_change(NODES, Changed::Put(node("you", "theirs", revision))),
            9 => {
                let key = Key::Node("you".to_owned()).to_string();
                self.tell_change(NODES, Changed::Deleted { key, revision });
            }
            10 => {
                let others = Shard::all().skip(4).map(|of| owner(of, "you", "theirs", 5));
                let own = self.held.iter().map(|(&of, &epoch)| self.solo.own_owner(of, epoch));
                let entries = others.chain(own).collect();
                self.solo_does(|solo| {
                    solo.member.handle(solo.now, listing(OWNERS, revision, entries));
                });
            }
            _ => {
                let id = if number == 0 { "second" } else { "first" };
                let entry = entry(&Key::Generation, &generation(id), revision);
                self.tell_change(META, Changed::Put(entry));
            }
        }
    }

    fn tell_change(&mut self, prefix: &'static str, change: Changed) {
        let told = crate::store::Watched::Changes(vec![change]);
        self.tell(Event::Watched { prefix, told });
    }

    fn solo_does(&mut self, act: impl FnOnce(&mut Solo)) {
        act(&mut self.solo);
        self.look(false);
    }

    fn tell(&mut self, event: Event) {
        let lengthens = matches!(event, Event::Granted { .. } | Event::KeptAlive { .. });
        let given = match event {
            Event::HandedOver { shard, epoch } => Some((shard, epoch)),
            _ => None,
        };
        let is_handing_over = self.solo.member.state_counts().handing_over;
        self.solo.member.handle(self.solo.now, event);
        if let Some((shard, epoch)) = given
            && self.solo.member.state_counts().handing_over < is_handing_over
            && self.held.get(&shard) == Some(&epoch)
        {
            self.held.remove(&shard);
        }
        self.look(lengthens);
    }

    /// Takes what the member wants, and looks at it.
    fn look(&mut self, lengthens: bool) {
        let now = self.solo.now;
        // It may have died in between: then what it wants is the next one's.
        for effect in self.solo.effects() {
            match &effect {
                Effect::SessionUntil(until) => {
                    assert!(*until <= self.until || lengthens, "{until:?} after {:?}", self.until);
                    self.until = *until;
                    if *until <= now {
                        self.dead.extend(self.lease.take());
                    }
                }
                Effect::KeepAlive(lease)
                | Effect::Register { lease, .. }
                | Effect::Take { lease, .. } => {
                    assert!(self.until > now, "{effect:?} without a session");
                    assert!(!self.dead.contains(lease), "{effect:?} for a dead lease");
                    self.lease = Some(*lease);
                }
                Effect::Recover { shard, epoch } => {
                    assert!(self.until > now, "{effect:?} without a session");
                    let former = self.held.insert(*shard, *epoch);
                    assert!(
                        former.is_none_or(|former| former == *epoch),
                        "{effect:?} over {former:?}"
                    );
                }
                Effect::Drop { shard, epoch } => {
                    if self.held.get(shard) == Some(epoch) {
                        self.held.remove(shard);
                    }
                }
                Effect::HandOver { .. } => assert!(self.until > now, "{effect:?} when dead"),
                Effect::Grant | Effect::Revoke(_) => {}
            }
            let is_answered = !matches!(effect, Effect::Drop { .. } | Effect::SessionUntil(_));
            if is_answered {
                self.asked.push((now, effect));
            }
        }
        let member = &self.solo.member;
        assert_eq!(member.session_until().filter(|until| *until > now), member.session_until());
        assert_eq!(member.session_until().unwrap_or(self.until), self.until);
        let counts = member.state_counts();
        if member.session_until().is_none() {
            assert_eq!(counts, super::StateCounts::default());
            assert_eq!(self.held, BTreeMap::new(), "what the dead session held is dropped");
        }
        assert!(counts.taking + counts.recovering <= TIMING.takes_at_a_time);
        for (shard, epoch) in member.served() {
            assert_eq!(self.held.get(&shard), Some(&epoch), "{shard}");
        }
        let _ = member.problem();
    }
}

fn listing(prefix: &'static str, revision: u64, entries: Vec<crate::store::KeyValue>) -> Event {
    let listing = crate::store::Listing { revision, entries };
    Event::Watched { prefix, told: crate::store::Watched::All(listing) }
}

/// Something that happens to a cluster.
#[derive(Clone, Debug)]
enum Fault {
    Link(usize, Link),
    Restart(usize),
    Drain(usize, bool),
    Break(usize, prop::sample::Index),
    WentBack(usize),
    Relist(usize),
    Pass(u64),
}

fn faults() -> impl Strategy<Value = Fault> {
    let link = prop_oneof![Just(Link::Good), Just(Link::Cut), Just(Link::Deaf)];
    prop_oneof![
        3 => (0..3_usize, link).prop_map(|(n, link)| Fault::Link(n, link)),
        1 => (0..3_usize).prop_map(Fault::Restart),
        1 => (0..3_usize, any::<bool>()).prop_map(|(n, on)| Fault::Drain(n, on)),
        1 => (0..3_usize, any::<prop::sample::Index>()).prop_map(|(n, of)| Fault::Break(n, of)),
        1 => (0..3_usize).prop_map(Fault::WentBack),
        1 => (0..3_usize).prop_map(Fault::Relist),
        6 => (0..15_000_u64).prop_map(Fault::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_member_keeps_its_word_whatever_happens(steps in vec(steps(), 0..150)) {
        let mut witness = Witness::new();
        witness.answer(witness.solo.now, Effect::Grant, 1);
        witness.tell_change(META, Changed::Put(entry(&Key::Generation, &generation("first"), 1)));
        for prefix in [META, NODES, OWNERS] {
            let entries = match prefix {
                META => vec![entry(&Key::Generation, &generation("first"), 1)],
                OWNERS => Shard::all().skip(4).map(|of| owner(of, "you", "theirs", 5)).collect(),
                _ => Vec::new(),
            };
            witness.tell(listing(prefix, 5, entries));
        }
        for step in steps {
            witness.step(step);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn a_cluster_recovers_from_whatever_has_happened(faults in vec(faults(), 0..30)) {
        let names = ["a", "b", "c"];
        let mut cluster = Cluster::of(&names);
        // The process that has each name.
        let mut alive = [0, 1, 2];
        for fault in faults {
            match fault {
                Fault::Link(n, link) => cluster.nodes[alive[n]].link = link,
                Fault::Restart(n) => {
                    cluster.crash(alive[n]);
                    cluster.start(names[n]);
                    alive[n] = cluster.nodes.len() - 1;
                }
                Fault::Drain(n, on) => cluster.tell(alive[n], Event::Drain(on)),
                Fault::Break(n, which) => {
                    let served: Vec<_> = cluster.nodes[alive[n]].member.served().collect();
                    if !served.is_empty() {
                        let (shard, epoch) = served[which.index(served.len())];
                        cluster.tell(alive[n], Event::Broken { shard, epoch });
                    }
                }
                Fault::WentBack(n) => {
                    cluster.tell(alive[n], Event::WentBack);
                    // The watches begin anew.
                    cluster.list(alive[n]);
                }
                Fault::Relist(n) => cluster.list(alive[n]),
                Fault::Pass(ms) => cluster.run(Duration::from_millis(ms)),
            }
            cluster.settle();
        }
        for n in alive {
            cluster.nodes[n].link = Link::Good;
            cluster.tell(n, Event::Drain(false));
        }
        cluster.run(TIMING.ttl * 2 + Duration::from_secs(5));
        prop_assert!(cluster.is_whole());
        cluster.run(Duration::from_secs(80));
        prop_assert!(cluster.is_balanced());
        for n in alive {
            prop_assert_eq!(cluster.nodes[n].member.problem(), None);
        }
    }
}
