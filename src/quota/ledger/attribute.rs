//! Notes who asks, who gets and who is refused.

use super::{Ledger, counter::Counter, judge::Plan};
use crate::quota::{
    Ask, AttributionView, DemandView, DenialReason, Level, Mono, PermitKey, RefusedFor, Wall,
    WorkspaceId, attribution::Origin, replay::Recording,
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
        self.note_level(now);
        self.attribution.demand(now, workspace, from)
    }

    /// All that is known of the last day, to be tried with other settings.
    pub fn recording(&mut self, now: Mono) -> Recording {
        let limit_read = self.foreign.and_then(|foreign| foreign.limit);
        let users = self.attribution.users(now);
        Recording { demand: self.demand(now, None, None), limit_read, users }
    }

    /// True if somebody asked for something within the last day: there is
    /// something to show, though nothing may be counted any more.
    pub fn is_remembered(&mut self, now: Mono) -> bool {
        !self.attribution.sweep(now)
    }

    /// Notes how far the total was used where another interval of its history has
    /// begun, before anything of that leaves. Within one the use that was noted last
    /// only falls, but by what notes it itself.
    pub(super) fn note_turn(&mut self, now: Mono) {
        if !self.attribution.is_noted(now) {
            self.note_level(now);
        }
    }

    /// Notes how far the total is used: before anything of it leaves, and when there
    /// is more of it.
    pub(super) fn note_level(&mut self, now: Mono) {
        let total = self.total_ref().map(|at| self.groups.counter(at));
        if total.is_none() && self.foreign.is_none() {
            return;
        }
        let (foreign, limit) = (self.foreign_units(now), self.daily_limit());
        let level = |own| Level { own, foreign, limit };
        let life = total.map(|counter| counter.inherited_life(&self.rules)).unwrap_or_default();
        // Of what has not been dropped, that which had not left then.
        let then = |then: Mono| {
            level(total.map_or(0, |counter| {
                let inherited = counter.inherited.iter();
                let inherited = inherited.filter(|(stamp, _)| *stamp + life > then);
                let own = counter.own.after(then - counter.window);
                own + inherited.map(|(_, units)| units).sum::<u64>()
            }))
        };
        self.attribution.note_level(now, level(total.map_or(0, Counter::used)), then);
    }

    /// Calls are asked for. One that waits, or waits again after its settings
    /// changed, is not asked again.
    pub(super) fn note_asked(&mut self, now: Mono, ask: &Ask) {
        self.attribution.asked(now, ask.into(), ask.user.as_ref(), ask.calls);
    }

    /// An ask was granted; who got it.
    pub(super) fn note_granted(&mut self, now: Mono, ask: &Ask, plan: &Plan, calls: u32) -> Origin {
        self.attribution.granted(now, ask.into(), &plan.user, calls)
    }

    /// An ask was refused, or (`None`) could not be decided.
    pub(super) fn note_refused(&mut self, now: Mono, ask: &Ask, why: Option<DenialReason>) {
        let why = why.map_or(RefusedFor::Other, RefusedFor::reason);
        self.attribution.refused(now, ask.into(), &ask.user, ask.calls, why);
    }

    /// Calls of a permit came back unsent.
    pub(super) fn note_returned(&mut self, key: PermitKey, calls: u32) {
        if let Some(permit) = self.permits.get(key) {
            self.attribution.returned(permit.granted, &permit.origin, &permit.plan.user, calls);
        }
    }
}
