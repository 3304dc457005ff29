//! The switches of the stand-in.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

/// How the stand-in behaves. The default is a Developer Edition org with the
/// published limits, sliding windows, nobody else about, and instant answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// The limits of each execution user.
    pub user_limits: Vec<UserLimit>,
    /// The limit of each org's total.
    pub org_limit: Limit,
    /// What happens beyond the org's total.
    pub cap: Cap,
    /// Whether the calls of the Conversation Data API count toward the org's
    /// total as well (nobody outside Salesforce knows).
    pub conversations_count_for_org: bool,
    /// The figure in `Sforce-Limit-Info` is the one of so long ago.
    pub header_lag: Duration,
    /// What other integrations use of each org's total, from the start on.
    pub foreign_units_per_second: f64,
    /// How many long-running requests an org may have at the same time.
    pub long_running_slots: usize,
    /// From this duration on a request is long-running.
    pub long_running_from: Duration,
    /// How long each answer takes, beside what the request asks for.
    pub latency: Latency,
    /// What a refusal by the org's total says.
    pub total_text: &'static str,
    /// Whether a refusal by a user's limit says `Retry-After`.
    pub says_retry_after: bool,
    /// How many arrivals are remembered; older ones are forgotten.
    pub arrivals_kept: usize,
    /// What the jitter is drawn from.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        const MINUTE: Duration = Duration::from_secs(60);
        const HOUR: Duration = Duration::from_secs(60 * 60);
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let user_limit =
            |operation, max, window| UserLimit { operation, limit: Limit::sliding(max, window) };
        Self {
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            user_limits: vec![
                user_limit(GET_ENTRIES, 90, MINUTE),
                user_limit(DELETE_PARTICIPANT, 10, HOUR),
                user_limit(DELETE_CONVERSATION, 10, HOUR),
            ],
            org_limit: Limit::sliding(15_000, DAY),
            cap: Cap::Hard,
            conversations_count_for_org: false,
            header_lag: Duration::ZERO,
            foreign_units_per_second: 0.0,
            long_running_slots: 5,
            long_running_from: Duration::from_secs(20),
            latency: Latency::default(),
            total_text: "TotalRequests Limit exceeded.",
            says_retry_after: false,
            arrivals_kept: 1_000_000,
            seed: 1,
        }
    }
}

impl Options {
    /// The same world with all of its times multiplied by `factor`: with 0.1 a
    /// minute passes in six seconds, and foreign traffic is ten times as fast.
    ///
    /// # Panics
    /// If `factor` is not a positive number.
    #[must_use]
    pub fn scaled(mut self, factor: f64) -> Self {
        assert!(factor.is_finite() && factor > 0.0, "a scale is a positive number, not {factor}");
        for limit in self.user_limits.iter_mut().map(|user| &mut user.limit) {
            *limit = limit.scaled(factor);
        }
        self.org_limit = self.org_limit.scaled(factor);
        self.header_lag = self.header_lag.mul_f64(factor);
        self.foreign_units_per_second /= factor;
        self.long_running_from = self.long_running_from.mul_f64(factor);
        self.latency = Latency {
            min: self.latency.min.mul_f64(factor),
            max: self.latency.max.mul_f64(factor),
        };
        self
    }

    /// The same world with all of its windows in this shape.
    #[must_use]
    pub fn shaped(mut self, shape: Shape) -> Self {
        for user in &mut self.user_limits {
            user.limit.shape = shape;
        }
        self.org_limit.shape = shape;
        self
    }
}

/// `GET /conversation-entries`.
pub const GET_ENTRIES: &str = "conversation-entries.get";
/// `DELETE /conversation-participants`.
pub const DELETE_PARTICIPANT: &str = "conversation-participants.delete";
/// `DELETE /conversations`.
pub const DELETE_CONVERSATION: &str = "conversations.delete";
/// Every other resource.
pub const REST: &str = "rest";

/// A limit of each execution user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserLimit {
    /// The calls that it counts: one of the constants above.
    pub operation: &'static str,
    /// How many.
    pub limit: Limit,
}

/// At most so many units in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Units.
    pub max: u64,
    /// The window's length; taken as at least a microsecond.
    pub window: Duration,
    /// Where windows begin.
    pub shape: Shape,
}

impl Limit {
    /// At most `max` units in every interval of length `window`.
    #[must_use]
    pub const fn sliding(max: u64, window: Duration) -> Self {
        Self { max, window, shape: Shape::Sliding }
    }

    /// The window's length in microseconds, at least 1.
    #[must_use]
    pub fn window_us(self) -> u64 {
        micros(self.window).max(1)
    }

    fn scaled(self, factor: f64) -> Self {
        let shape = match self.shape {
            Shape::Sliding => Shape::Sliding,
            Shape::Fixed { phase } => Shape::Fixed { phase: phase.mul_f64(factor) },
        };
        Self { window: self.window.mul_f64(factor), shape, ..self }
    }
}

/// Where windows begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Every interval of the window's length counts.
    Sliding,
    /// Windows follow one another without overlap, and each starts from nothing.
    Fixed {
        /// How far the first window had run at the start.
        phase: Duration,
    },
}

/// What happens beyond the org's total.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cap {
    /// Calls are refused (Developer, trial and sandbox orgs).
    Hard,
    /// Calls are answered, and the header shows more used than there is (paid
    /// production orgs, up to an amount that nobody publishes).
    Soft,
}

/// How long an answer takes: evenly spread from `min` to `max`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// The shortest.
    pub min: Duration,
    /// The longest; taken as `min` where it is less.
    pub max: Duration,
}

impl Latency {
    /// Always the same.
    #[must_use]
    pub const fn fixed(latency: Duration) -> Self {
        Self { min: latency, max: latency }
    }
}

/// Whole microseconds of a duration, saturating.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A small source of numbers that nobody needs to guess: `SplitMix64`.
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn draw(&mut self, latency: Latency) -> Duration {
        let spread = latency.max.saturating_sub(latency.min);
        if spread.is_zero() {
            return latency.min;
        }
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        latency.min + Duration::from_micros(bits % (micros(spread) + 1))
    }
}
