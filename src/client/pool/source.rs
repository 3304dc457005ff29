//! Where a pool's calls come from.

use std::time::Duration;

use crate::clock::Moment;

/// The most calls that one permit can have.
pub const MAX_CALLS: u32 = 10_000;

/// Where a pool's calls come from: the service, by way of a
/// [`Client`](crate::client::Client), or what a test puts in its place.
pub trait Source: Send + Sync + 'static {
    /// Names a permit in what is told of it.
    type Permit: Clone + Send + Sync + 'static;
    /// What came back of a call.
    type Answer: Merge + Send + 'static;
    /// Why there is no call.
    type Error: Clone + Send + 'static;

    /// The clock that deadlines are moments of.
    fn now(&self) -> Moment;

    /// How long a fetch may take at most, besides the wait that it asks for.
    fn timeout(&self) -> Duration;

    /// Asks for `calls` calls, 1 to [`MAX_CALLS`], or fewer, at least one; waits
    /// for room as long as `max_wait`. Dropping the future gives it up.
    fn fetch(
        &self,
        calls: u32,
        max_wait: Duration,
    ) -> impl Future<Output = Result<Fetched<Self::Permit>, Refusal<Self::Error>>> + Send;

    /// Gives back calls of a permit: those with the highest numbers. Once for a
    /// permit.
    fn release(&self, permit: Self::Permit, unused: u32) -> impl Future<Output = ()> + Send;

    /// Tells what came back of the calls `first..first + calls` of a permit,
    /// `None` where no answer did. Returns true if the other calls of the same
    /// execution user had better not be made now.
    fn report(
        &self,
        permit: Self::Permit,
        first: u32,
        calls: u32,
        answer: Option<Self::Answer>,
    ) -> impl Future<Output = bool> + Send;

    /// Returns when everything that was handed over has been told, or given up.
    fn flush(&self) -> impl Future<Output = ()> + Send;

    /// The execution user that calls of a permit are made as.
    fn execution_user<'a>(&self, permit: &'a Self::Permit) -> &'a str;

    /// What somebody hears whose wait has ended without a word of the service.
    fn gave_up(&self) -> Self::Error;

    /// A denial, such a time after it was given.
    fn aged(&self, denial: Self::Error, age: Duration) -> Self::Error;
}

/// What came back of calls, which can be told for several of them at once.
pub trait Merge: Sized {
    /// Takes in what came back of a later call, if one report can tell both;
    /// otherwise it comes back.
    fn merge(&mut self, later: Self) -> Option<Self>;

    /// Whether the service should know at once.
    fn is_urgent(&self) -> bool;
}

/// Calls that were granted.
#[derive(Clone, Debug)]
pub struct Fetched<P> {
    /// Names the permit.
    pub permit: P,
    /// How many.
    pub calls: u32,
    /// No call may start from then on.
    pub deadline: Moment,
    /// The life that the permit has left.
    pub ttl: Duration,
    /// What is left of its limits; `None` where nobody knows, and nothing is
    /// fetched ahead.
    pub headroom: Option<Headroom>,
}

/// What is left of the limits of a permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headroom {
    /// Calls of this kind that there is still room for.
    pub calls: u64,
    /// The shortest window.
    pub window: Duration,
    /// Whether calls take slots, which are few, and held until they are answered:
    /// none is fetched ahead.
    pub slots: bool,
}

/// Why nothing was granted.
#[derive(Clone, Debug)]
pub enum Refusal<E> {
    /// The answer is no.
    Denied {
        /// What callers hear.
        error: E,
        /// When to try again, where anybody can know.
        retry_after: Option<Duration>,
    },
    /// Nothing could be decided.
    Failed(E),
}
