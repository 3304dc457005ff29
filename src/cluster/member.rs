//! One node's part in the cluster, as a state machine without a clock, a
//! network or chance: its session, its registration, which shards it takes,
//! keeps and gives away.
//!
//! The driver tells it [`Event`]s, and after each takes its [`Effect`]s with
//! [`Member::poll`] until there are none. Whatever has an answer is told back
//! as an event, however late, or not at all.
//!
//! `session` keeps the node alive in the store's eyes, `shards` decides what
//! becomes of each shard. Both act in one pass over everything that may be due,
//! which is repeated until it finds nothing to do; what is not due yet leaves
//! its time behind, and the earliest of these is when to come back.

mod session;
mod shards;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use self::{
    session::Standing,
    shards::{Phase, Slot},
};
use crate::{
    cluster::{Timing, View, placement},
    quota::{Mono, time::micros},
    store::{
        Changed, Key, LeaseId, Shard, Watched,
        keys::{META, NODES, OWNERS, SHARDS},
        records::NodeRecord,
    },
};

/// What happens to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The answer to [`Effect::Grant`]: the lease, or `None` if the store made
    /// none or did not say. `sent`: the clock before the request was sent.
    Granted {
        /// Before the request was sent.
        sent: Mono,
        /// The lease.
        lease: Option<LeaseId>,
    },
    /// The answer to [`Effect::KeepAlive`].
    KeptAlive {
        /// Whose.
        lease: LeaseId,
        /// Before the request was sent.
        sent: Mono,
        /// `Some(true)`: alive for a whole TTL from some moment after `sent`;
        /// `Some(false)`: gone; `None`: the store did not say.
        alive: Option<bool>,
    },
    /// The answer to [`Effect::Revoke`], whatever it was.
    Revoked {
        /// Which.
        lease: LeaseId,
    },
    /// The answer to [`Effect::Register`].
    Registered {
        /// Under which lease.
        lease: LeaseId,
        /// What became of it.
        outcome: Registration,
    },
    /// What the watch of one of [`WATCHED`](super::view::WATCHED) tells.
    Watched {
        /// Which.
        prefix: &'static str,
        /// What.
        told: Watched,
    },
    /// The answer to [`Effect::Take`].
    Taken {
        /// The shard.
        shard: Shard,
        /// Under which lease.
        lease: LeaseId,
        /// What became of it.
        outcome: Taking,
    },
    /// The answer to [`Effect::Recover`].
    Recovered {
        /// The shard.
        shard: Shard,
        /// In which epoch.
        epoch: u64,
        /// What became of it.
        outcome: Recovery,
    },
    /// The answer to [`Effect::HandOver`]: the ledgers are gone, and the owner
    /// key was deleted, or will go with the lease.
    HandedOver {
        /// The shard.
        shard: Shard,
        /// In which epoch.
        epoch: u64,
    },
    /// A transaction of this epoch was fenced off: the owner key was another's,
    /// or nobody's, although no hand-over had begun.
    Fenced {
        /// The shard.
        shard: Shard,
        /// In which epoch.
        epoch: u64,
    },
    /// The shard's ledgers cannot be used any more, though the shard is owned:
    /// it is to be taken anew, in a new epoch.
    Broken {
        /// The shard.
        shard: Shard,
        /// In which epoch.
        epoch: u64,
    },
    /// The store went back: everything that is known of it is void. The watches
    /// begin anew after this, each with a listing.
    WentBack,
    /// The node is to give its shards away and take no more (true: it ends, or
    /// its clock is wrong), or to take part again.
    Drain(bool),
}

/// What became of putting the node key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// It stands, at this mod revision.
    Done(u64),
    /// Another value stands there: another process, or this node's former
    /// session, until its lease ends.
    Taken,
    /// It was not written, or nobody knows.
    Unknown,
}

/// What became of putting an owner key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taking {
    /// It is ours: the epoch.
    Done(u64),
    /// Another value stands there, or the one to be replaced does not.
    Conflict,
    /// It was certainly not written.
    NotExecuted,
    /// Nobody knows. The watch will tell whether it is there.
    Unknown,
}

/// What became of reading a shard's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// It is served.
    Done,
    /// The store did not answer: try again.
    Unreachable,
    /// A record cannot be used by this version.
    Unusable,
}

/// What a node wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Make a lease; answered by [`Event::Granted`].
    Grant,
    /// Keep a lease alive, by two members of the store at once; answered by
    /// [`Event::KeptAlive`].
    KeepAlive(LeaseId),
    /// End a lease; answered by [`Event::Revoked`].
    Revoke(LeaseId),
    /// Put the node key under a lease, if its mod revision is `replaces` (0: if
    /// it is absent); answered by [`Event::Registered`].
    Register {
        /// Under which lease.
        lease: LeaseId,
        /// What to put.
        record: NodeRecord,
        /// What must stand there.
        replaces: u64,
    },
    /// Put the owner key under a lease, if its mod revision is `replaces` (0: if
    /// it is absent); answered by [`Event::Taken`].
    Take {
        /// The shard.
        shard: Shard,
        /// Under which lease.
        lease: LeaseId,
        /// The session, for the record.
        incarnation: String,
        /// What must stand there.
        replaces: u64,
    },
    /// Read the shard's records, *after* the owner key was put, and serve it;
    /// answered by [`Event::Recovered`].
    Recover {
        /// The shard.
        shard: Shard,
        /// In this epoch.
        epoch: u64,
    },
    /// Stop granting, write everything down, delete the owner key in the last
    /// transaction; answered by [`Event::HandedOver`].
    HandOver {
        /// The shard.
        shard: Shard,
        /// In this epoch.
        epoch: u64,
    },
    /// Forget the shard's ledgers at once, writing nothing.
    Drop {
        /// The shard.
        shard: Shard,
        /// In this epoch.
        epoch: u64,
    },
    /// The session allows grants until this, and no longer; in the past when it
    /// is dead. Never answered.
    SessionUntil(Mono),
}

/// How many shards are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateCounts {
    /// Served.
    pub served: usize,
    /// The owner key is being put.
    pub taking: usize,
    /// Owned, and being read.
    pub recovering: usize,
    /// Being given away.
    pub handing_over: usize,
}

/// One node's part in the cluster.
#[derive(Clone, Debug)]
pub struct Member {
    name: String,
    /// What the node says of itself; its incarnation is the session's.
    record: NodeRecord,
    timing: Timing,
    chance: Chance,
    view: View,
    standing: Standing,
    /// It is to end: no session follows the present one.
    leaving: bool,
    /// Since when the node drains.
    draining: Option<Mono>,
    /// By number.
    slots: Vec<Slot>,
    membership: Membership,
    /// The generation's id as the view showed it last.
    generation: Option<String>,
    /// What is to be done before anything else is decided.
    effects: VecDeque<Effect>,
    /// When something is due, as of the last pass.
    wake: Option<Mono>,
    /// An event came after the last pass, then.
    unpolled: Option<Mono>,
}

/// The nodes among which the shards are divided: alive, and not draining.
#[derive(Clone, Debug, Default)]
struct Membership {
    /// Their incarnations, by name.
    nodes: BTreeMap<String, String>,
    /// Since when they have been the same.
    since: Mono,
    /// This node's rank for each shard; empty while it is not among them.
    ranks: Vec<usize>,
}

/// `SplitMix64`: numbers that nobody needs to guess, the same for a seed.
#[derive(Clone, Debug)]
struct Chance(u64);

impl Member {
    /// A node that has not begun. `record` is what it says of itself (its
    /// incarnation is made anew for each session, from `seed`).
    #[must_use]
    pub fn new(name: String, record: NodeRecord, timing: Timing, seed: u64) -> Self {
        Self {
            name,
            record,
            timing,
            chance: Chance(seed),
            view: View::default(),
            standing: Standing::default(),
            leaving: false,
            draining: None,
            slots: vec![Slot::default(); usize::from(SHARDS)],
            membership: Membership::default(),
            generation: None,
            effects: VecDeque::new(),
            wake: None,
            unpolled: Some(Mono::default()),
        }
    }

    /// Takes in what has happened.
    pub fn handle(&mut self, now: Mono, event: Event) {
        if self.has_left() {
            return;
        }
        self.unpolled = Some(now);
        // Before anything else: no event revives a session whose time is over.
        self.end_if_over(now);
        match event {
            Event::Granted { sent, lease } => self.granted(now, sent, lease),
            Event::KeptAlive { lease, sent, alive } => self.kept_alive(now, lease, sent, alive),
            Event::Revoked { lease } => self.revoked(now, lease),
            Event::Registered { lease, outcome } => self.registered(now, lease, outcome),
            Event::Watched { prefix, told } => self.watched(now, prefix, &told),
            Event::Taken { shard, lease, outcome } => self.taken(now, shard, lease, outcome),
            Event::Recovered { shard, epoch, outcome } => {
                self.recovered(now, shard, epoch, outcome);
            }
            Event::HandedOver { shard, epoch } => self.handed_over(now, shard, epoch),
            Event::Fenced { shard, epoch } => self.fenced(now, shard, epoch),
            Event::Broken { shard, epoch } => self.broken(now, shard, epoch),
            Event::WentBack => {
                self.end_session(now);
                // Nothing follows from what was seen of the former history.
                self.view = View::default();
                self.generation = None;
                self.update_membership(now);
            }
            Event::Drain(true) => {
                self.draining.get_or_insert(now);
            }
            Event::Drain(false) => self.draining = None,
        }
    }

    /// Ends the node's part for good: what it serves is forgotten, and its lease
    /// is revoked, with which its keys go. Nothing follows. To give the shards
    /// away in good order it is to be drained before.
    pub fn leave(&mut self, now: Mono) {
        self.unpolled = Some(now);
        self.leaving = true;
        self.end_session(now);
        self.forget_grant();
    }

    /// It has left: the lease was revoked, or the store does not answer, and
    /// nothing is to be done any more.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.leaving && matches!(self.standing, Standing::Without { .. }) && self.effects.is_empty()
    }

    /// The next thing to be done; `None` when nothing is until the next event
    /// or [`Member::next_wake`].
    pub fn poll(&mut self, now: Mono) -> Option<Effect> {
        self.end_if_over(now);
        if self.effects.is_empty() {
            self.unpolled = None;
            self.wake = None;
            self.advance_session(now);
            self.advance_shards(now);
        }
        self.effects.pop_front()
    }

    /// When to poll again although nothing has happened.
    #[must_use]
    pub fn next_wake(&self) -> Option<Mono> {
        self.unpolled.or(self.wake)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it knows of the cluster.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The shards that it serves, with their epochs.
    pub fn served(&self) -> impl Iterator<Item = (Shard, u64)> + '_ {
        Shard::all().zip(&self.slots).filter_map(|(shard, slot)| match slot.phase {
            Phase::Serving { epoch } => Some((shard, epoch)),
            _ => None,
        })
    }

    /// How many shards are in which state.
    #[must_use]
    pub fn state_counts(&self) -> StateCounts {
        let mut counts = StateCounts::default();
        for slot in &self.slots {
            match slot.phase {
                Phase::Free | Phase::Broken { .. } => {}
                Phase::Taking { .. } => counts.taking += 1,
                Phase::Recovering { .. } => counts.recovering += 1,
                Phase::Serving { .. } => counts.served += 1,
                Phase::HandingOver { .. } => counts.handing_over += 1,
            }
        }
        counts
    }

    /// Until when its session is alive; `None` if it has none.
    #[must_use]
    pub fn session_until(&self) -> Option<Mono> {
        self.session().map(|session| session.until)
    }

    /// The incarnation of its session; empty if it has none.
    #[must_use]
    pub fn incarnation(&self) -> &str {
        self.session().map_or("", |session| &session.incarnation)
    }

    /// It gives its shards away.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.is_some()
    }

    /// It drains and owns nothing any more.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.is_draining() && self.slots.iter().all(Slot::is_given_away)
    }

    /// Why this node serves nothing, or is not well, in a sentence; `None` if it
    /// is well, be it that all shards are others'.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        if self.leaving {
            return Some("this node leaves".to_owned());
        }
        let Some(session) = self.session() else {
            return Some("no session: the store does not answer".to_owned());
        };
        if !self.view.is_known() {
            return Some("the store has not told yet who is there".to_owned());
        }
        if let Some((key, error)) = self.view.unreadable.first_key_value() {
            return Some(format!("the value of {key} cannot be used: {error}"));
        }
        let Some(generation) = &self.view.generation else {
            return Some(
                "there is no cluster at this store's prefix: start one node with \
                 --create-cluster, or correct the prefix"
                    .to_owned(),
            );
        };
        if generation.shards != u32::from(SHARDS) {
            return Some(format!(
                "the cluster was made with {} shards, and this version has {SHARDS}",
                generation.shards
            ));
        }
        if !session.is_registered() {
            let is_other = self.view.nodes.contains_key(&self.name);
            return Some(if is_other {
                format!(
                    "another process is registered under the name {}, or was, until its lease ends",
                    self.name
                )
            } else {
                "this node is not registered yet".to_owned()
            });
        }
        if self.is_draining() {
            return Some("this node drains: it gives its shards away".to_owned());
        }
        let unusable: Vec<String> = Shard::all()
            .zip(&self.slots)
            .filter(|(_, slot)| slot.is_unusable)
            .map(|(shard, _)| shard.to_string())
            .collect();
        (!unusable.is_empty()).then(|| {
            format!("this version cannot use the records of these shards: {}", unusable.join(", "))
        })
    }

    fn watched(&mut self, now: Mono, prefix: &'static str, told: &Watched) {
        self.view.apply(prefix, told);
        match prefix {
            NODES => {
                self.update_membership(now);
                match told {
                    Watched::All(listing) => self.saw_own_node(now, listing.revision),
                    Watched::Changes(changes) => {
                        for change in changes {
                            if changed_key(change) == Some(Key::Node(self.name.clone())) {
                                self.saw_own_node(now, revision_of(change));
                            }
                        }
                    }
                }
            }
            OWNERS => match told {
                Watched::All(listing) => {
                    for shard in Shard::all() {
                        self.saw_owner(now, shard, listing.revision);
                    }
                }
                Watched::Changes(changes) => {
                    for change in changes {
                        if let Some(Key::ShardOwner(shard)) = changed_key(change) {
                            self.saw_owner(now, shard, revision_of(change));
                        }
                    }
                }
            },
            META => self.saw_generation(now),
            _ => {}
        }
    }

    /// What was seen of one cluster means nothing in another: if the generation
    /// has changed or gone, the store was made anew or restored.
    fn saw_generation(&mut self, now: Mono) {
        let current = self.view.generation.as_ref().map(|generation| generation.id.clone());
        if current != self.generation {
            if self.generation.is_some() {
                self.end_session(now);
            }
            self.generation = current;
        }
    }

    fn update_membership(&mut self, now: Mono) {
        let live = self.view.nodes.iter().filter(|(_, info)| !info.record.draining);
        let nodes: BTreeMap<String, String> =
            live.map(|(name, info)| (name.clone(), info.record.incarnation.clone())).collect();
        if nodes == self.membership.nodes {
            return;
        }
        if !nodes.keys().eq(self.membership.nodes.keys()) {
            self.membership.ranks = if nodes.contains_key(&self.name) {
                placement::ranks(&self.name, nodes.keys().map(String::as_str))
            } else {
                Vec::new()
            };
        }
        self.membership.nodes = nodes;
        self.membership.since = now;
    }

    /// Whether a moment has come. If not, it is one to come back at.
    fn is_due(&mut self, now: Mono, at: Mono) -> bool {
        if at <= now {
            return true;
        }
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
        false
    }

    /// After this a request to the store is not waited for any longer.
    fn patience(&self) -> Duration {
        self.timing.ttl / 2
    }
}

impl Chance {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Half of a duration to all of it.
    fn half_to_whole(&mut self, whole: Duration) -> Duration {
        let half = micros(whole) / 2;
        whole - Duration::from_micros(self.draw() % (half + 1))
    }
}

fn changed_key(change: &Changed) -> Option<Key> {
    match change {
        Changed::Put(entry) => entry.key.parse().ok(),
        Changed::Deleted { key, .. } => key.parse().ok(),
    }
}

fn revision_of(change: &Changed) -> u64 {
    match change {
        Changed::Put(entry) => entry.mod_revision,
        Changed::Deleted { revision, .. } => *revision,
    }
}

#[cfg(test)]
mod tests;
