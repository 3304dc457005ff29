//! Limits in shadow: counted and reported as all are, and refusing nothing. What
//! they would have refused is counted, so that a limit can be tried before it is
//! enforced.

use super::{
    Ledger,
    judge::{Ahead, Plan},
};
use crate::quota::{Ask, Charge, Class, DenialReason, Mono};

/// What limits in shadow would have refused, since it was last taken.
#[derive(Clone, Debug, Default)]
pub struct ShadowDenials {
    /// At most one entry for each reason and class.
    counts: Vec<((DenialReason, Class), u64)>,
}

impl Ledger {
    /// Grants that a limit in shadow would have refused, since the last call: by
    /// the reason that it would have given, and class.
    pub fn take_shadow_denials(&mut self) -> Vec<((DenialReason, Class), u64)> {
        std::mem::take(&mut self.shadow_denials.counts)
    }

    /// The charge of the org's total: in shadow where the catalogue says so.
    pub(super) fn org_total(&self) -> Charge {
        let mut charges = self.catalogue.operations.values().flat_map(|op| &op.charges);
        let declared = charges.find(|charge| charge.is_org_total());
        declared.cloned().unwrap_or_else(Charge::org_total)
    }

    /// Counts, at a grant, the limits in shadow that would have refused it. What
    /// they would have refused before counts as used in them: it was.
    pub(super) fn count_shadow_denials(&mut self, now: Mono, ask: &Ask, plan: &Plan) {
        for need in &plan.needs {
            if !self.groups.counter(need.at).shadow {
                continue;
            }
            let room = self.enforced_room(now, need, ask, &Ahead::new());
            if room.units >= need.units_per_call * u64::from(ask.min_calls) {
                continue;
            }
            let what = (self.reason(need.at, ask.class), ask.class);
            self.groups.counter_mut(need.at).shadow_refusals += 1;
            let counts = &mut self.shadow_denials.counts;
            match counts.iter_mut().find(|(known, _)| *known == what) {
                Some((_, count)) => *count += 1,
                None => counts.push((what, 1)),
            }
        }
    }
}
