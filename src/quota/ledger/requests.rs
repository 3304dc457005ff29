//! Requests that a caller may repeat, by the name that it gave them.

use std::{collections::HashMap, sync::Arc};

use super::queue::WaiterId;
use crate::quota::{PermitKey, RequestId, RequestKey};

/// What a request has become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remembered {
    Waiting(WaiterId),
    Granted(PermitKey),
    /// Its wait has ended as a denial; its place is kept for a while.
    Kept(u64),
}

/// Named requests that wait or hold a permit. The digest of a request's body is
/// no part of its name: the same name with another body is an error, and must
/// be found to be one.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    by_name: HashMap<(Arc<str>, RequestId), (u64, Remembered)>,
}

impl Requests {
    /// What the request has become, if its name is known, and whether it had
    /// the same body then.
    pub fn find(&self, request: &RequestKey) -> Option<(Remembered, bool)> {
        let (digest, remembered) = self.by_name.get(&name(request))?;
        Some((*remembered, *digest == request.digest))
    }

    pub fn remember(&mut self, request: &RequestKey, now_is: Remembered) {
        self.by_name.insert(name(request), (request.digest, now_is));
    }

    /// Forgets the request, unless it has become something else since.
    pub fn forget(&mut self, request: &RequestKey, was: Remembered) {
        let name = name(request);
        if self.by_name.get(&name).is_some_and(|(_, is)| *is == was) {
            self.by_name.remove(&name);
        }
    }
}

fn name(request: &RequestKey) -> (Arc<str>, RequestId) {
    (request.caller.clone(), request.id.clone())
}
