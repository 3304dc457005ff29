//! Who waits.

use super::whose;
use crate::{
    proto::v1::{QueueUsage, QueuedRequest},
    web::page::words::{self, Moment},
};

/// One request that waits.
pub struct QueueRow {
    /// Its place, from 1.
    pub place: String,
    /// For whom.
    pub who: String,
    /// Of what class it is, and what it wants.
    pub what: String,
    /// Since when.
    pub since: Option<Moment>,
    /// When its turn comes, where that is known.
    pub due: Option<Moment>,
    /// What it waits for.
    pub limit: String,
}

/// Those that wait, in order.
pub fn rows(queue: Option<&QueueUsage>) -> Vec<QueueRow> {
    queue.map_or_else(Vec::new, |queue| queue.first.iter().map(row).collect())
}

/// How many wait.
pub fn said(queue: Option<&QueueUsage>) -> String {
    let Some(queue) = queue else { return String::new() };
    let waiting = |class: &crate::proto::v1::ClassWaiting| {
        let name = words::class_name(class.traffic_class()).to_lowercase();
        format!("{} of {name}", words::count(class.requests.into()))
    };
    let all: u64 = queue.waiting.iter().map(|class| u64::from(class.requests)).sum();
    let classes: Vec<_> = queue.waiting.iter().map(waiting).collect();
    let verb = if all == 1 { "waits" } else { "wait" };
    let mut text = format!("{} {verb}: {}.", words::counted(all, "request"), classes.join(", "));
    let shown = u64::try_from(queue.first.len()).unwrap_or(u64::MAX);
    if shown < all {
        text.push_str(&format!(" The first {} are shown.", words::count(shown)));
    }
    text
}

fn row(request: &QueuedRequest) -> QueueRow {
    let class = words::class_name(request.traffic_class());
    let who = if request.workspace.is_empty() { "no workspace" } else { &request.workspace };
    QueueRow {
        place: words::count(request.place.into()),
        who: who.to_owned(),
        what: format!(
            "{class}: {} of {}",
            words::counted(request.calls.into(), "call"),
            request.operation
        ),
        since: request.waiting_since.map(Moment),
        due: request.due_at.map(Moment),
        limit: match request.limit.as_str() {
            "" => "for the service's store".to_owned(),
            limit => format!("for {limit} of {}", whose(request.scope(), &request.identity)),
        },
    }
}
