//! Many orgs, a line each.

use super::{Checks, hex, quota::line, unhex, wire_time};
use crate::{
    node::ShardLines,
    proto::{peer::v1 as peer, v1},
    quota::Now,
    rpc::status::Problem,
};

const DEFAULT_PAGE_SIZE: u32 = 50;
const MAX_PAGE_SIZE: u32 = 1_000;

/// As long as the name of an org may be.
const MAX_SEARCH_CHARS: usize = 64;

/// What a ListUsage asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What comes first.
    pub order: Order,
    /// A part of the org's id.
    pub search: String,
    /// The page begins after this place.
    pub after: Option<Place>,
    /// Lines on a page.
    pub size: usize,
}

/// What comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// What needs somebody.
    Trouble,
    /// The highest share of the total.
    Used,
    /// What is used up soonest.
    Exhausted,
    /// By name.
    Name,
}

/// The place of an org in an order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The order.
    pub order: Order,
    /// What the order goes by: the lowest first.
    pub rank: (u64, u64),
    /// Of equals the name decides.
    pub org: String,
}

/// Checks a ListUsage.
///
/// # Errors
/// Every field that is wrong.
pub fn asked(request: v1::ListUsageRequest) -> Result<Asked, Problem> {
    let mut checks = Checks::default();
    let size = match request.page_size {
        0 => Some(DEFAULT_PAGE_SIZE),
        size => checks.number("page_size", size, 1..=MAX_PAGE_SIZE),
    };
    let size = size.and_then(|size| usize::try_from(size).ok());
    let order = checks.keep("order", order(request.order));
    let search = checks.keep("search", search(request.search));
    let after = match (request.page_token.as_str(), order) {
        ("", _) => Some(None),
        (_, None) => None,
        (token, Some(order)) => checks.keep("page_token", place(token, order)).map(Some),
    };
    let asked = || Some(Asked { order: order?, search: search?, after: after?, size: size? });
    let asked = asked();
    checks.finish(asked)
}

fn order(number: i32) -> Result<Order, String> {
    use v1::UsageOrder as Wire;
    match Wire::try_from(number) {
        Ok(Wire::Unspecified | Wire::Trouble) => Ok(Order::Trouble),
        Ok(Wire::Used) => Ok(Order::Used),
        Ok(Wire::Exhausted) => Ok(Order::Exhausted),
        Ok(Wire::Name) => Ok(Order::Name),
        Err(_) => Err(format!("must be TROUBLE, USED, EXHAUSTED or NAME, is number {number}")),
    }
}

fn search(text: String) -> Result<String, String> {
    match text.chars().count() {
        0..=MAX_SEARCH_CHARS => Ok(text),
        long => Err(format!("must have at most {MAX_SEARCH_CHARS} characters, has {long}")),
    }
}

/// A token that leads to what comes after a place.
#[must_use]
pub fn token(place: &Place) -> String {
    let Place { order, rank: (first, second), org } = place;
    hex(&format!("{} {first} {second} {org}", letter(*order)))
}

fn letter(order: Order) -> &'static str {
    match order {
        Order::Trouble => "t",
        Order::Used => "u",
        Order::Exhausted => "e",
        Order::Name => "n",
    }
}

fn place(token: &str, order: Order) -> Result<Place, &'static str> {
    let garbled = "is not a token of this service: send next_page_token unchanged, or nothing for \
                   the first page";
    let text = unhex(token).ok_or(garbled)?;
    let mut parts = text.splitn(4, ' ');
    let mut part = || parts.next().ok_or(garbled);
    if part()? != letter(order) {
        return Err("is of another order: begin with the first page, without a token");
    }
    let (first, second) = (part()?.parse(), part()?.parse());
    let rank = first.ok().zip(second.ok()).ok_or(garbled)?;
    Ok(Place { order, rank, org: part()?.to_owned() })
}

/// The orgs of a shard as another node is told of them.
#[must_use]
pub fn glance(lines: ShardLines) -> peer::GlanceResponse {
    let ShardLines { shard, epoch, lines, now } = lines;
    let orgs = lines.into_iter().map(|org| line(org, now)).collect();
    peer::GlanceResponse { shard: shard.number().into(), epoch, orgs }
}

/// The wall clock's time.
#[must_use]
pub fn time(now: Now) -> prost_types::Timestamp {
    wire_time(now.wall)
}
