//! Lets a [`Member`] act: on the store, and on the shards of this process.

use std::fmt;

use async_trait::async_trait;

use super::member::Recovery;
use crate::{
    quota::{Mono, Wall},
    store::Shard,
};

/// The ledgers that a node serves, as its [`Member`](super::Member) rules over
/// them.
#[async_trait]
pub trait Ground: fmt::Debug + Send + Sync + 'static {
    /// Reads a shard's records and serves it in an epoch. The owner key was put
    /// before. `closed_since`: what was counted until then is not known.
    async fn recover(&self, shard: Shard, epoch: u64, closed_since: Option<Wall>) -> Recovery;

    /// Stops granting, resolves what is in flight, writes down what is open,
    /// and deletes the owner key in the last transaction. Returns when the
    /// ledgers are gone: with the owner key, or, where the store does not
    /// answer, without.
    async fn hand_over(&self, shard: Shard, epoch: u64);

    /// Forgets a shard's ledgers at once, writing nothing.
    fn drop_shard(&self, shard: Shard, epoch: u64);

    /// Grants are allowed until this, and no longer.
    fn session_until(&self, until: Mono);
}
