//! What a configuration may say: every number has a bound, with its reason.

use std::{ops::RangeInclusive, time::Duration};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Units in any 24 hours, of an org or a workspace: the range of limits that
/// are believed in Salesforce's header.
pub const DAILY_CALLS: RangeInclusive<u64> = 1..=100_000_000;

/// Slots, of an org or of a limit in the catalogue.
pub const CONCURRENT_CALLS: RangeInclusive<u64> = 1..=10_000;

/// The number of a window in the catalogue. The largest that Salesforce
/// publishes is a terabyte a day, in kilobytes.
pub const LIMIT_MAX: RangeInclusive<u64> = 1..=1_000_000_000;

/// The length of a window. Shorter ones than a second cannot be kept apart from
/// the travel time of calls; none of Salesforce's is longer than a month.
pub const WINDOW: RangeInclusive<Duration> = SECOND..=Duration::from_secs(31 * 86_400);

/// How long a call may hold a slot.
pub const MAX_DURATION: RangeInclusive<Duration> = SECOND..=DAY;

/// How long Salesforce's own figure may lag behind.
pub const HEADER_LAG: RangeInclusive<Duration> = Duration::ZERO..=HOUR;

/// Percent of a limit that can be kept back. Keeping more would leave a service
/// that mostly refuses, which is more likely a mistake than a wish.
pub const KEPT_PERCENT: RangeInclusive<u32> = 0..=90;

/// Percent of a workspace's cap at which a class pauses or resumes.
pub const THRESHOLD_PERCENT: RangeInclusive<u32> = 1..=100;

/// A workspace's weight against others'. A larger ratio than a thousand is no
/// share any more.
pub const WEIGHT: RangeInclusive<u64> = 1..=1_000;

/// The window of a burn limit: shorter than a second it is no brake but a
/// metronome, longer than a day it is what `daily_calls` is for.
pub const BURN_WINDOW: RangeInclusive<Duration> = SECOND..=DAY;

/// How long the webhook is not told of the same again.
pub const COOL_DOWN: RangeInclusive<Duration> = SECOND..=DAY;

/// How long a permit that a proxy asked for lives: a shorter one than a tenth of
/// a second is over before the proxy has a connection; the longest that any limit
/// allows is five minutes.
pub const ENVOY_PERMIT_TTL: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(300);

/// How long a proxy's request may wait for room: as long as any request.
pub const ENVOY_MAX_WAIT: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(600);

/// Domains of proxies.
pub const MAX_ENVOY_DOMAINS: usize = 100;

/// Rules of one domain. They are tried one after the other.
pub const MAX_ENVOY_RULES: usize = 200;

/// Static tokens. They are looked up by their hash.
pub const MAX_AUTH_TOKENS: usize = 10_000;

/// Issuers of JWTs. Each is asked for its keys every few minutes.
pub const MAX_AUTH_ISSUERS: usize = 16;

/// Audiences of an issuer's tokens.
pub const MAX_AUTH_AUDIENCES: usize = 16;

/// Rules of who may do what. They are tried one after the other, with each request.
pub const MAX_AUTH_RULES: usize = 1_000;

/// Patterns of one part of such a rule.
pub const MAX_AUTH_PATTERNS: usize = 200;

/// Requests of one principal, at a time or in a second: more than one node serves.
pub const MAX_AUTH_REQUESTS: u64 = 1_000_000;

/// A text in `auth`: as long as the name of a principal.
pub const MAX_TEXT_BYTES: usize = 255;

/// The path of a file: Linux takes no longer one.
pub const MAX_PATH_BYTES: usize = 4_095;

/// Declared orgs: as many as are served without being declared.
pub const MAX_ORGS: usize = 10_000;

/// Declared workspaces of an org.
pub const MAX_WORKSPACES: usize = 1_000;

/// Execution users in an org's pool.
pub const MAX_EXECUTION_USERS: usize = 1_000;

/// Limits that one operation charges.
pub const MAX_CHARGES: usize = 16;
