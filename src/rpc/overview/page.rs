//! Of all orgs those that one caller is shown: filtered, in order, a page at a time.

use std::{borrow::Cow, time::Duration};

use super::{Sweep, trouble};
use crate::{
    auth::Caller,
    proto::v1::{self, OrgLine, Severity},
    rpc::{
        convert::overview::{Asked, Order, Place, token},
        rights,
    },
};

/// A page of what a sweep has found, with nothing that its caller may not see.
pub fn page(sweep: &Sweep, asked: &Asked, caller: &Caller) -> v1::ListUsageResponse {
    let matches = sweep.lines.iter().filter(|line| contains(&line.org, &asked.search));
    let mut lines: Vec<Cow<'_, OrgLine>> =
        matches.filter_map(|line| shown_to(caller, line)).collect();
    let count = |is_counted: fn(Severity) -> bool| {
        let counted = lines.iter().filter(|line| is_counted(line.severity()));
        u32::try_from(counted.count()).unwrap_or(u32::MAX)
    };
    let mut response = v1::ListUsageResponse {
        as_of: Some(sweep.as_of),
        total_size: u32::try_from(lines.len()).unwrap_or(u32::MAX),
        in_trouble: count(|it| matches!(it, Severity::Warning | Severity::Critical)),
        unknown: count(|it| it == Severity::Unknown),
        silent_nodes: silent(sweep, caller),
        ..Default::default()
    };
    let place = |line: &OrgLine| Place {
        order: asked.order,
        rank: rank(line, asked.order, sweep.as_of),
        org: line.org.clone(),
    };
    let mut places: Vec<(Place, usize)> =
        lines.iter().enumerate().map(|(at, line)| (place(line), at)).collect();
    if let Some(after) = &asked.after {
        places.retain(|(place, _)| place > after);
    }
    let more = places.len() > asked.size;
    if more {
        // What comes later need not be put in order.
        places.select_nth_unstable(asked.size);
        places.truncate(asked.size);
    }
    places.sort_unstable();
    if more && let Some((last, _)) = places.last() {
        response.next_page_token = token(last);
    }
    let shown = places.iter().map(|(_, at)| std::mem::take(&mut lines[*at]).into_owned());
    response.orgs = shown.collect();
    response
}

/// What nodes there are is for those who may see the cluster: the others hear that
/// something is missing.
fn silent(sweep: &Sweep, caller: &Caller) -> Vec<v1::SilentNode> {
    if rights::cluster(caller).is_ok() {
        return sweep.silent.clone();
    }
    let nameless = |_: &v1::SilentNode| v1::SilentNode {
        node: String::new(),
        reason: "it does not answer".to_owned(),
    };
    sweep.silent.iter().map(nameless).collect()
}

/// A line as a caller may see it: whole, without what concerns workspaces that are
/// not theirs, or not at all.
fn shown_to<'l>(caller: &Caller, line: &'l OrgLine) -> Option<Cow<'l, OrgLine>> {
    rights::read_line(caller, line).map(|shown| match shown {
        Cow::Borrowed(line) => Cow::Borrowed(line),
        Cow::Owned(mut line) => {
            trouble::judge(&mut line);
            Cow::Owned(line)
        }
    })
}

/// Where a line stands in an order: the lowest first.
fn rank(line: &OrgLine, order: Order, as_of: prost_types::Timestamp) -> (u64, u64) {
    let gravity = match line.severity() {
        Severity::Critical => 0,
        Severity::Warning => 1,
        Severity::Unknown => 2,
        Severity::Notice => 3,
        Severity::Fine | Severity::Unspecified => 4,
    };
    match order {
        Order::Trouble => (gravity, u64::MAX - used_in_a_million(line)),
        Order::Used => (u64::MAX - used_in_a_million(line), 0),
        Order::Exhausted => (exhausted_at(line, as_of), u64::MAX - used_in_a_million(line)),
        Order::Name => (0, 0),
    }
}

fn used_in_a_million(line: &OrgLine) -> u64 {
    let Some(total) = &line.total else { return 0 };
    let taken = u128::from(trouble::taken(total)) * 1_000_000;
    let parts = taken.checked_div(total.max.into()).unwrap_or(u128::MAX);
    u64::try_from(parts).unwrap_or(u64::MAX)
}

/// In milliseconds since the epoch, so that a place holds from one look to the next;
/// 0 for what is used up already, the end of time for what is not going to be.
fn exhausted_at(line: &OrgLine, as_of: prost_types::Timestamp) -> u64 {
    let lasts = line.total.as_ref().and_then(|total| total.exhausted_in);
    let Some(lasts) = lasts.and_then(|lasts| Duration::try_from(lasts).ok()) else {
        return u64::MAX;
    };
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let now = Duration::from_secs(u64::try_from(as_of.seconds).unwrap_or(0));
    if lasts.is_zero() { 0 } else { millis(now).saturating_add(millis(lasts)) }
}

/// Names of orgs are ASCII.
fn contains(org: &str, wanted: &str) -> bool {
    let (org, wanted) = (org.as_bytes(), wanted.as_bytes());
    wanted.is_empty() || org.windows(wanted.len()).any(|part| part.eq_ignore_ascii_case(wanted))
}
