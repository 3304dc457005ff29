//! The org's total at a glance: what is shown of thousands of orgs at once.

use super::Ledger;
use crate::quota::{Mono, OrgGlance, window::NO_TAG};

impl Ledger {
    /// The org's total; `None` where nothing has been counted or read of it.
    #[must_use]
    pub fn glance(&self, now: Mono) -> Option<OrgGlance> {
        let reading_age = self.last_reading().map(|read| now.since(read));
        let Some(total) = self.total_ref() else {
            // None of our calls counted in it, but others' may.
            return reading_age.is_some().then(|| OrgGlance {
                limit: self.daily_limit(),
                foreign: self.foreign_units(now),
                reading_age,
                drift: self.drift(),
                ..OrgGlance::default()
            });
        };
        let total = self.usage_of(now, total, NO_TAG);
        Some(OrgGlance {
            limit: total.max,
            used: total.used_by_caller + total.used_by_others.saturating_sub(total.foreign),
            foreign: total.foreign,
            held: total.held,
            reading_age,
            drift: self.drift(),
        })
    }

    /// What others use by the newest reading, less that by the one before.
    fn drift(&self) -> Option<i64> {
        let mut readings = self.readings.iter();
        let (newest, before) = (readings.next()?, readings.next()?);
        let units = |units: u64| i64::try_from(units).unwrap_or(i64::MAX);
        Some(units(newest.foreign()) - units(before.foreign()))
    }
}
