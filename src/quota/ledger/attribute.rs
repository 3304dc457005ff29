//! Notes who asks, who gets and who is refused.

use super::{Ledger, judge::Plan};
use crate::quota::{
    Ask, AttributionView, DemandView, DenialReason, Mono, PermitKey, RefusedFor, Wall, WorkspaceId,
    attribution::Origin,
};

impl Ledger {
    /// Who used the org's quota, of late.
    pub fn attribution(&mut self, now: Mono) -> AttributionView {
        self.attribution.view(now)
    }

    /// What was asked, granted and refused by the minute: of one workspace
    /// (`Some(None)`: of requests without one) or of all, from a moment on.
    pub fn demand(
        &mut self,
        now: Mono,
        workspace: Option<&Option<WorkspaceId>>,
        from: Option<Wall>,
    ) -> DemandView {
        self.attribution.demand(now, workspace, from)
    }

    /// True if somebody asked for something within the last day: there is
    /// something to show, though nothing may be counted any more.
    pub fn is_remembered(&mut self, now: Mono) -> bool {
        !self.attribution.sweep(now)
    }

    /// Calls are asked for. One that waits, or waits again after its settings
    /// changed, is not asked again.
    pub(super) fn note_asked(&mut self, now: Mono, ask: &Ask) {
        self.attribution.asked(now, &Origin::of(ask), ask.calls);
    }

    /// An ask was granted; who got it.
    pub(super) fn note_granted(&mut self, now: Mono, ask: &Ask, plan: &Plan, calls: u32) -> Origin {
        let origin = Origin::of(ask);
        self.attribution.granted(now, &origin, plan.user.as_ref(), calls);
        origin
    }

    /// An ask was refused, or (`None`) could not be decided.
    pub(super) fn note_refused(&mut self, now: Mono, ask: &Ask, why: Option<DenialReason>) {
        let why = why.map_or(RefusedFor::Other, RefusedFor::reason);
        self.attribution.refused(now, &Origin::of(ask), ask.user.as_ref(), ask.calls, why);
    }

    /// Calls of a permit came back unsent.
    pub(super) fn note_returned(&mut self, key: PermitKey, calls: u32) {
        if let Some(permit) = self.permits.get(key) {
            let (origin, user) = (&permit.origin, permit.user.as_ref());
            self.attribution.returned(permit.granted, origin, user, calls);
        }
    }
}
