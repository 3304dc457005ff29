//! Who waits.

use super::{quota::wire_class, wire_moment};
use crate::{
    proto::v1,
    quota::{Class, Now, QueueUsage, Queued, Scope},
};

/// The queue of an org.
pub fn usage(usage: QueueUsage, now: Now) -> v1::QueueUsage {
    let by_class = Class::ALL.into_iter().zip(usage.by_class);
    let waiting = by_class.filter(|(_, requests)| *requests > 0);
    let waiting = waiting.map(|(class, requests)| v1::ClassWaiting {
        traffic_class: wire_class(class).into(),
        requests,
    });
    v1::QueueUsage {
        waiting: waiting.collect(),
        first: usage.first.into_iter().map(|queued| request(queued, now)).collect(),
    }
}

fn request(queued: Queued, now: Now) -> v1::QueuedRequest {
    let (limit, scope, identity) = match queued.limit {
        Some(limit) => {
            let scope = match limit.scope {
                Scope::Org => v1::LimitScope::Org,
                Scope::Workspace => v1::LimitScope::Workspace,
                Scope::ExecutionUser => v1::LimitScope::ExecutionUser,
            };
            (limit.name.as_str().to_owned(), scope, limit.identity.to_string())
        }
        None => (String::new(), v1::LimitScope::Unspecified, String::new()),
    };
    v1::QueuedRequest {
        place: queued.place,
        workspace: queued.workspace.map(|id| id.as_str().to_owned()).unwrap_or_default(),
        operation: queued.operation.as_str().to_owned(),
        traffic_class: wire_class(queued.class).into(),
        calls: queued.calls,
        execution_user: queued.user.map(|id| id.as_str().to_owned()).unwrap_or_default(),
        waiting_since: Some(wire_moment(queued.since, now)),
        due_at: queued.due.map(|due| wire_moment(due, now)),
        limit,
        scope: scope.into(),
        identity,
    }
}
