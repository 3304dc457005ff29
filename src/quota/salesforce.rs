//! What Salesforce says about its limits: with each answer, in the HTTP header
//! `Sforce-Limit-Info` (`header`) or the SOAP header `LimitInfoHeader`
//! (`soap`); with errors ([`errors`]); and in the limits resource ([`limits`]).
//! [`requests`] is the other direction: what a request to it is.
//!
//! The parsers take what they understand and leave the rest: a directive that is
//! new, garbled or out of place never hides the one beside it. A figure that is
//! not a plain whole number is no figure.

pub mod errors;
mod header;
pub mod limits;
pub mod requests;
mod soap;

/// The org's total as Salesforce counts it. `used` may exceed `limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiUsage {
    /// Units used in the last 24 hours, by everybody.
    pub used: u64,
    /// The org's limit; 0 is unknown.
    pub limit: u64,
}

impl ApiUsage {
    /// The org's total in the `Sforce-Limit-Info` values of one answer: the
    /// first that has one (an answer may carry the header several times).
    #[must_use]
    pub fn first_of<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        values.into_iter().find_map(|value| LimitInfo::parse(value).api_usage)
    }
}

/// The share of one connected app in the org's total (a pilot of Salesforce's;
/// gone from its pages, still sent by some orgs).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppUsage {
    /// Units that the app has used.
    pub used: u64,
    /// The app's limit.
    pub limit: u64,
    /// The app's name, where it is told.
    pub app_name: Option<String>,
}

/// All that one answer says about limits. What it does not say, or says in a
/// way that nobody can read, is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitInfo {
    /// The org's total in 24 hours.
    pub api_usage: Option<ApiUsage>,
    /// One app's share in it.
    pub per_app: Option<AppUsage>,
    /// `api-bursts`: what it counts is undocumented; it comes with orgs that
    /// may exceed their total.
    pub api_bursts: Option<ApiUsage>,
}

/// A whole number of digits alone: no sign, no separators, no overflow.
fn number(text: &str) -> Option<u64> {
    let digits = text.trim();
    if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
}

fn non_empty(text: &str) -> Option<String> {
    let text = text.trim();
    if text.is_empty() { None } else { Some(text.to_owned()) }
}
