//! Divides the records of many orgs into transactions that a store takes.

use std::sync::Arc;

use super::table::Cell;
use crate::{
    quota::GroupWrite,
    store::{Compare, Key, Record as _, Write},
    trace::Span,
};

/// Records of one transaction: etcd's bound is 128 operations, and besides the
/// records the owner key is compared and perhaps deleted.
pub const MAX_RECORDS: usize = 126;

/// Bytes of one transaction's keys and values: etcd's bound is 1.5 MiB, with
/// everything around them.
pub const MAX_BYTES: usize = 1 << 20;

/// The writes of one org's reserve, or a part of them.
#[derive(Debug)]
pub struct Part {
    pub cell: Arc<Cell>,
    pub writes: Vec<GroupWrite>,
    /// Recorded if the request is that had the reserve asked for.
    pub span: Span,
}

/// The records of one transaction.
#[derive(Debug, Default)]
pub struct Batch {
    pub parts: Vec<Part>,
    /// One for each record, in the order of the parts.
    pub when: Vec<Compare>,
    /// One for each record, likewise.
    pub then: Vec<Write>,
    bytes: usize,
}

/// Divides writes into transactions, in order: as few as there can be with at
/// most [`MAX_RECORDS`] records, and `max_bytes` bytes unless one record alone
/// has more.
pub fn batches(parts: Vec<Part>, max_bytes: usize) -> Vec<Batch> {
    let mut batches = Vec::new();
    let mut last = Batch::default();
    for Part { cell, writes, span } in parts {
        for write in writes {
            let (compare, put, bytes) = operations(&cell, &write);
            let is_full = last.when.len() == MAX_RECORDS || last.bytes + bytes > max_bytes;
            if is_full && !last.when.is_empty() {
                batches.push(std::mem::take(&mut last));
            }
            last.bytes += bytes;
            last.when.push(compare);
            last.then.push(put);
            match last.parts.last_mut().filter(|part| Arc::ptr_eq(&part.cell, &cell)) {
                Some(part) => part.writes.push(write),
                None => {
                    let (cell, span) = (Arc::clone(&cell), span.clone());
                    last.parts.push(Part { cell, writes: vec![write], span });
                }
            }
        }
    }
    if !last.when.is_empty() {
        batches.push(last);
    }
    batches
}

/// What one record needs of a transaction, and how many bytes that takes.
fn operations(cell: &Cell, write: &GroupWrite) -> (Compare, Write, usize) {
    let key: String = Key::Counters { org: cell.org.clone(), group: write.group.clone() }.into();
    let compare = Compare::ModRevision(key.clone(), write.expected_revision);
    let keys = 2 * key.len();
    match &write.record {
        Some(record) => {
            let value = record.encode();
            let bytes = keys + value.len();
            (compare, Write::Put(key, value), bytes)
        }
        None => (compare, Write::Delete(key), keys),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Config,
        node::Settings,
        quota::{Group, GroupRecord, Ledger, Now, OrgId, Rules, WorkspaceId},
        shard::Policies as _,
        store::MemoryStore,
    };

    async fn part(org: &str, records: usize) -> Part {
        let org = OrgId::parse(org).expect("an org");
        let settings = Settings::read(Config::built_in(), &MemoryStore::new()).await;
        let settings = settings.expect("it is empty");
        let (policy, catalogue) = (settings.policy(&org), settings.catalogue());
        let ledger =
            Ledger::new(Now::default(), 1, Rules::default(), policy, catalogue, Vec::new());
        let write = |n| GroupWrite {
            group: Group::Workspace(WorkspaceId::parse(&format!("w{n}")).expect("a workspace")),
            expected_revision: n,
            record: Some(GroupRecord::default()),
        };
        Part {
            cell: Arc::new(Cell::new(&org, ledger)),
            writes: (0..).map(write).take(records).collect(),
            span: Span::default(),
        }
    }

    #[tokio::test]
    async fn a_transaction_has_no_more_records_and_bytes_than_a_store_takes() {
        let one = part("o0", 1).await;
        let bytes = operations(&one.cell, &one.writes[0]).2;
        // (records of each org, bytes, records of each transaction)
        type Row = (&'static [usize], usize, &'static [usize]);
        let rows: [Row; 6] = [
            (&[], MAX_BYTES, &[]),
            (&[1, 2, 3], MAX_BYTES, &[6]),
            (&[100, 26], MAX_BYTES, &[126]),
            (&[100, 27, 126], MAX_BYTES, &[126, 126, 1]),
            (&[5], 2 * bytes, &[2, 2, 1]),
            (&[2], 1, &[1, 1]),
        ];
        for (orgs, max_bytes, expected) in rows {
            let mut parts = Vec::new();
            for (n, records) in orgs.iter().enumerate() {
                parts.push(part(&format!("o{n}"), *records).await);
            }
            let batches = batches(parts, max_bytes);
            let records: Vec<usize> = batches.iter().map(|batch| batch.when.len()).collect();
            assert_eq!(records, expected, "{orgs:?}");
            for batch in &batches {
                let of_parts: usize = batch.parts.iter().map(|part| part.writes.len()).sum();
                assert_eq!((of_parts, batch.then.len()), (batch.when.len(), batch.when.len()));
            }
        }
    }
}
