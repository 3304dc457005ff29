//! Marks of names: numbers that differ where names nearly always do, so that names
//! are compared only where they are probably equal. A caller who makes equal marks
//! on purpose makes its own requests slower by some comparisons, and no more.

use std::sync::Arc;

use crate::quota::{Class, OperationId, UserId, WorkspaceId};

/// A number for a name: equal names have equal ones.
pub type Mark = u64;

/// What has a mark.
pub trait Marked {
    /// It.
    fn mark(&self) -> Mark;
}

impl Marked for Option<WorkspaceId> {
    fn mark(&self) -> Mark {
        self.as_ref().map_or(0, |id| of(id.as_str()))
    }
}

impl Marked for Option<UserId> {
    fn mark(&self) -> Mark {
        self.as_ref().map_or(0, |id| of(id.as_str()))
    }
}

impl Marked for Option<Arc<str>> {
    fn mark(&self) -> Mark {
        self.as_ref().map_or(0, |name| of(name))
    }
}

impl Marked for OperationId {
    fn mark(&self) -> Mark {
        of(self.as_str())
    }
}

impl Marked for Class {
    fn mark(&self) -> Mark {
        *self as Mark
    }
}

/// Names of one sort differ at their end, if anywhere, or in their length: numbers
/// are counted up there, and an id of Salesforce ends in the checksum of its case.
fn of(name: &str) -> Mark {
    let bytes = name.as_bytes();
    let end = match bytes.last_chunk::<8>() {
        Some(end) => u64::from_le_bytes(*end),
        None => bytes.iter().fold(0, |end, byte| end << 8 | u64::from(*byte)),
    };
    // The golden ratio: neighbours come to lie far apart.
    (end ^ bytes.len() as Mark).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
