//! Limits in rows: the org's others, and each execution user's windows.

use std::time::Duration;

use prost_types::Timestamp;

use crate::{
    proto::v1::{ExecutionUserUsage, LimitKind, LimitScope, LimitUsage},
    web::page::{
        bar::{Bar, Part},
        words,
    },
};

/// One limit in words.
pub struct LimitRow {
    /// Its name in the catalogue.
    pub name: String,
    /// `in any minute`, `at the same time`.
    pub window: String,
    /// How it stands.
    pub bar: Bar,
    /// `60 of 90`.
    pub used: String,
    /// Whether there is room, and else when.
    pub room: String,
}

/// An execution user and its windows.
pub struct UserRows {
    /// The Salesforce user id.
    pub name: String,
    /// What is to be known of it.
    pub notes: Vec<String>,
    /// Its limits.
    pub rows: Vec<LimitRow>,
}

/// True for the org's total.
pub fn is_total(limit: &LimitUsage) -> bool {
    limit.scope() == LimitScope::Org && limit.name == "calls"
}

/// One limit.
pub fn row(limit: &LimitUsage, now: Timestamp) -> LimitRow {
    let used = limit.used_by_caller.saturating_add(limit.used_by_others);
    let length = words::length(limit.window.as_ref());
    let window = match limit.kind() {
        LimitKind::Concurrency => "at the same time".to_owned(),
        _ => length.map_or_else(String::new, |length| format!("in any {}", words::window(length))),
    };
    let said = format!("{} of {} used", words::count(used), words::count(limit.max));
    let parts = vec![
        (Part::Ours, limit.used_by_caller),
        (Part::Others, limit.used_by_others),
        (Part::Held, limit.held),
    ];
    LimitRow {
        name: limit.name.clone(),
        window,
        bar: Bar { max: limit.max, parts, ticks: Vec::new(), text: said },
        used: format!("{} of {}", words::count(used), words::count(limit.max)),
        room: room(limit, now),
    }
}

/// Users that are shown; those that need somebody are among them.
const MOST_USERS: usize = 50;

/// The execution users, those first whose windows are full or who share them with
/// somebody else; and what is said of all.
pub fn users(all: &[ExecutionUserUsage], now: Timestamp) -> (Vec<UserRows>, String) {
    let rank = |user: &&ExecutionUserUsage| {
        let is_full = user.limits.iter().any(|limit| limit.remaining == 0);
        (!(is_full || user.foreign_traffic), !user.in_pool)
    };
    let mut ordered: Vec<&ExecutionUserUsage> = all.iter().collect();
    ordered.sort_by_key(rank);
    let hidden = all.len().saturating_sub(MOST_USERS);
    let mut said = "Each user has its own windows: more users, more capacity.".to_owned();
    if hidden > 0 {
        let hidden = u64::try_from(hidden).unwrap_or(u64::MAX);
        said.push_str(&format!(" {} more are not shown.", words::counted(hidden, "user")));
    }
    (ordered.into_iter().take(MOST_USERS).map(|one| user(one, now)).collect(), said)
}

fn user(usage: &ExecutionUserUsage, now: Timestamp) -> UserRows {
    let mut notes = vec![if usage.in_pool { "in the pool" } else { "not in the pool" }.to_owned()];
    if usage.foreign_traffic {
        notes.push("somebody else makes calls as this user".to_owned());
    }
    let rows = usage.limits.iter().map(|limit| row(limit, now)).collect();
    UserRows { name: usage.execution_user.clone(), notes, rows }
}

fn room(limit: &LimitUsage, now: Timestamp) -> String {
    if let Some(until) = &limit.cooling_until {
        return format!("cools down, tried again in {}", words::span(words::between(&now, until)));
    }
    match (limit.remaining, words::length(limit.opens_in.as_ref())) {
        (0, Some(wait)) if wait > Duration::ZERO => format!("in {}", words::span(wait)),
        (0, _) if limit.kind() == LimitKind::Concurrency => "when a running call ends".to_owned(),
        (0, _) if limit.held > 0 => "what is held comes first".to_owned(),
        (0, _) => "nobody knows when".to_owned(),
        (left, _) => format!("{} now", words::count(left)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_says_whether_there_is_room_and_else_when() {
        let check = |limit: LimitUsage, expected: &str| {
            let now = Timestamp { seconds: 1_000, nanos: 0 };
            assert_eq!(row(&limit, now).room, expected, "{limit:?}");
        };
        let full = LimitUsage { max: 90, used_by_caller: 90, ..LimitUsage::default() };
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        check(LimitUsage { remaining: 1_234, ..full.clone() }, "1,234 now");
        check(LimitUsage { opens_in: seconds(59), ..full.clone() }, "in 59 s");
        check(full.clone(), "nobody knows when");
        check(LimitUsage { held: 3, ..full.clone() }, "what is held comes first");
        let slots = LimitUsage { kind: LimitKind::Concurrency.into(), ..full.clone() };
        check(slots, "when a running call ends");
        let until = Some(Timestamp { seconds: 1_030, nanos: 0 });
        check(LimitUsage { cooling_until: until, ..full }, "cools down, tried again in 30 s");
    }
}
