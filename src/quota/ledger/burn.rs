//! The brake for run-away jobs: at most so many units of one workspace in a
//! time, whatever else there is room for. It is counted for every call of the
//! workspace, and never stops CONTROL: as the cap, it is a gate at the grant and
//! bounds no reservation.

use super::{Ledger, counter::Counter};
use crate::quota::{Charge, Group};

impl Ledger {
    /// The burn limit of a group, where it is a workspace that has one.
    pub(super) fn burn_charge(&self, group: &Group) -> Option<Charge> {
        let Group::Workspace(workspace) = group else { return None };
        let burn = self.policy.workspaces.get(workspace)?.burn_limit?;
        Some(Charge::burn_limit(burn))
    }

    /// True for a counter that the settings have no more, and that is kept for
    /// the case that they will again: what is recorded counts then.
    pub(super) fn is_withdrawn(&self, group: &Group, counter: &Counter) -> bool {
        counter.is_burn_limit() && self.burn_charge(group).is_none()
    }
}
