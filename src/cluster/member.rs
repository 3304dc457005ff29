//! One node's part in the cluster, as a state machine without a clock, a
//! network or chance: its session, its registration, which shards it takes,
//! keeps and gives away.
//!
//! The driver tells it [`Event`]s, and after each takes its [`Effect`]s with
//! [`Member::poll`] until there are none. Whatever has an answer is told back
//! as an event, however late, or not at all.

use crate::{
    cluster::{Timing, View},
    quota::Mono,
    store::{LeaseId, Shard, Watched, records::NodeRecord},
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
    /// The store went back: everything that is known of it is void.
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

/// One node's part in the cluster.
#[derive(Clone, Debug)]
pub struct Member {
    name: String,
    timing: Timing,
    view: View,
}

impl Member {
    /// A node that has not begun. `record` is what it says of itself (its
    /// incarnation is made anew for each session, from `seed`).
    #[must_use]
    pub fn new(name: String, record: NodeRecord, timing: Timing, seed: u64) -> Self {
        let _ = (record, seed);
        Self { name, timing, view: View::default() }
    }

    /// Takes in what has happened.
    pub fn handle(&mut self, now: Mono, event: Event) {
        let _ = (now, event);
    }

    /// The next thing to be done; `None` when nothing is until the next event
    /// or [`Member::next_wake`].
    pub fn poll(&mut self, now: Mono) -> Option<Effect> {
        let _ = (now, self.timing);
        None
    }

    /// When to poll again although nothing has happened.
    #[must_use]
    pub fn next_wake(&self) -> Option<Mono> {
        None
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
        std::iter::empty()
    }

    /// Until when its session is alive; `None` if it has none.
    #[must_use]
    pub fn session_until(&self) -> Option<Mono> {
        None
    }

    /// The incarnation of its session.
    #[must_use]
    pub fn incarnation(&self) -> &str {
        ""
    }

    /// It gives its shards away.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        false
    }

    /// It drains and owns nothing any more.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        false
    }
}
