//! The shards of this process as the ground that a member of a cluster rules
//! over.

use async_trait::async_trait;

use crate::{
    cluster::{driver::Ground, member::Recovery},
    quota::{Mono, Wall},
    shard::Shards,
    store::Shard,
};

#[async_trait]
impl Ground for Shards {
    async fn recover(&self, shard: Shard, epoch: u64, closed_since: Option<Wall>) -> Recovery {
        match Self::recover(self, shard, epoch, closed_since).await {
            Ok(()) => Recovery::Done,
            Err(error) if error.is_unusable() => {
                tracing::error!(%shard, %error, "the shard cannot be served");
                Recovery::Unusable
            }
            Err(error) => {
                tracing::debug!(%shard, %error, "the shard is not served yet");
                Recovery::Unreachable
            }
        }
    }

    async fn hand_over(&self, shard: Shard, epoch: u64) {
        Self::hand_over(self, shard, epoch).await;
    }

    fn drop_shard(&self, shard: Shard, epoch: u64) {
        Self::drop_shard(self, shard, epoch);
    }

    fn session_until(&self, until: Mono) {
        Self::session_until(self, until);
    }
}
