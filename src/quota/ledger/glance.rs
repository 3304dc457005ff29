//! The org's total at a glance: what is shown of thousands of orgs at once.

use super::Ledger;
use crate::quota::{Mono, OrgGlance, window::NO_TAG};

impl Ledger {
    /// The org's total; `None` where nothing has been counted of it.
    #[must_use]
    pub fn glance(&self, now: Mono) -> Option<OrgGlance> {
        let total = self.usage_of(now, self.total_ref()?, NO_TAG);
        let mut readings = self.readings.iter();
        let newest = readings.next();
        let drift = newest.zip(readings.next()).map(|(newest, before)| {
            let units = |units: u64| i64::try_from(units).unwrap_or(i64::MAX);
            units(newest.foreign()) - units(before.foreign())
        });
        Some(OrgGlance {
            limit: total.max,
            used: total.used_by_caller + total.used_by_others.saturating_sub(total.foreign),
            foreign: total.foreign,
            held: total.held,
            reading_age: self.last_reading().map(|read| now.since(read)),
            drift,
        })
    }
}
