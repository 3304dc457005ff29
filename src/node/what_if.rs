//! What would have been by other settings.

use std::sync::Arc;

use super::{AdminError, Node, NodeError};
use crate::{
    config::OrgDeclaration,
    quota::{
        Catalogue, OrgPolicy, Wall,
        replay::{Recording, Replayed, left_out, replay},
    },
    shard::Policies as _,
};

/// Replays at the same time: each keeps a core busy for up to some seconds.
pub(super) const MAX_REPLAYS: usize = 1;

/// The last day, as the settings in force meet it and as others would have.
#[derive(Clone, Debug)]
pub struct WhatIf {
    /// When the recording began.
    pub since: Wall,
    /// The end of the day.
    pub until: Wall,
    /// Calls that nobody knows whose they were.
    pub left_out: u64,
    /// By the settings in force.
    pub in_force: Replayed,
    /// By the edited ones.
    pub edited: Replayed,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum WhatIfError {
    /// The org cannot be looked at here.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The edited settings are wrong.
    #[error(transparent)]
    Settings(#[from] AdminError),
    /// The replay broke off.
    #[error("the replay broke off: {0}")]
    Died(#[from] tokio::task::JoinError),
}

impl Node {
    /// Replays an org's last day by the settings in force and by edited ones.
    /// Changes nothing.
    ///
    /// # Errors
    /// See [`WhatIfError`].
    pub async fn what_if(&self, edited: OrgDeclaration) -> Result<WhatIf, WhatIfError> {
        let org = edited.id.clone();
        self.admit(&org)?;
        let edited = self.settings.policy_of(&edited)?;
        // One after the other; who gives up meanwhile does not begin. The semaphore
        // is never closed.
        let _turn = Arc::clone(&self.replays).acquire_owned().await;
        let (recording, now) = self.shards.recording(&org);
        // Looked at afterwards: a ledger that has just gone knows of nothing.
        if !self.is_here(&org) {
            return Err(NodeError::NotOwner.into());
        }
        let (in_force, catalogue) = (self.settings.policy(&org), self.settings.catalogue());
        let replays = move || both(&recording, now.wall, &in_force, &edited, &catalogue);
        Ok(tokio::task::spawn_blocking(replays).await?)
    }
}

fn both(
    recording: &Recording,
    until: Wall,
    in_force: &OrgPolicy,
    edited: &OrgPolicy,
    catalogue: &Catalogue,
) -> WhatIf {
    WhatIf {
        since: recording.demand.since,
        until,
        left_out: left_out(recording, until),
        in_force: replay(recording, until, in_force, catalogue),
        edited: replay(recording, until, edited, catalogue),
    }
}
