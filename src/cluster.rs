//! Who owns what: nodes find each other through the store, divide the shards
//! among themselves, and take over from each other.
//!
//! [`Member`] is the state machine of one node: pure, with `now` as an argument,
//! [`Event`]s in and [`Effect`]s out; [`view`] is what it knows of the others.
//! One task ([`driver`]) lets it act on a store and on the shards of
//! this process.
//!
//! Safety does not rest on anything in here. A node that believes wrongly to own
//! a shard is fenced by the shard's owner key in every transaction.

pub mod audit;
pub mod clock_guard;
pub mod driver;
pub mod member;
pub mod moves;
pub mod peers;
pub mod pings;
pub mod placement;
#[cfg(test)]
mod sim;
pub mod view;

use std::time::Duration;

pub use self::{
    clock_guard::{ClockGuard, Verdict},
    member::{Effect, Event, Member, StateCounts},
    view::{NodeInfo, OwnerInfo, View},
};

/// The times and bounds of membership and ownership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long a lease lives unless it is kept alive. etcd makes 2 s of less.
    pub ttl: Duration,
    /// The session ends this long before its lease may: it stops granting
    /// before others may think that it has gone.
    pub margin: Duration,
    /// The node that comes `k`-th for a shard waits `k` times this, or down to
    /// half of it, before it takes a shard that nobody owns.
    pub rank_delay: Duration,
    /// Nothing is moved for balance until membership has been the same for so
    /// long.
    pub stable_for: Duration,
    /// Shards that are handed over at a time. Those that go together wait for each
    /// other's transactions: alone, each is away for the time of its own.
    pub moves_at_a_time: usize,
    /// A node that drains does so without haste for so long.
    pub unhurried: Duration,
    /// Shards that are handed over at a time by a node that drains, once it hurries.
    pub drains_at_a_time: usize,
    /// Shards that are taken over at a time.
    pub takes_at_a_time: usize,
    /// What the store did not carry out is tried again after this.
    pub retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(10),
            margin: Duration::from_secs(2),
            rank_delay: Duration::from_secs(1),
            stable_for: Duration::from_secs(10),
            moves_at_a_time: 1,
            unhurried: Duration::from_secs(3),
            drains_at_a_time: 16,
            takes_at_a_time: 32,
            retry: Duration::from_millis(500),
        }
    }
}
