//! A line of each org: what is shown of thousands at once.

use super::Shards;
use crate::{
    quota::{Now, OrgId, OrgLine},
    store::Shard,
};

impl Shards {
    /// A line of each org of a shard that has a ledger here, and of each other one
    /// that is declared; by name. The clocks were read afterwards.
    ///
    /// Each ledger's lock is taken for itself, and held for one look.
    pub fn lines(&self, shard: Shard, declared: &[OrgId]) -> (Vec<OrgLine>, Now) {
        let mut lines: Vec<OrgLine> = self
            .table
            .cells(shard)
            .into_iter()
            .filter_map(|cell| {
                self.with_live(&cell.org, |_, inner, now| inner.ledger.line(now.mono))
            })
            .collect();
        lines.sort_unstable_by(|a, b| a.org.cmp(&b.org));
        let is_known = |org: &OrgId| lines.binary_search_by(|line| line.org.cmp(org)).is_ok();
        let unused: Vec<&OrgId> = declared.iter().filter(|org| !is_known(org)).collect();
        let terms = self.table.terms(shard);
        for org in unused {
            let mut ledger = self.ledger(org, terms, Vec::new());
            lines.push(ledger.line(self.clock.mono()));
        }
        lines.sort_unstable_by(|a, b| a.org.cmp(&b.org));
        (lines, self.now())
    }
}
