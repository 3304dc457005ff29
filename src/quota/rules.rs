//! The constants of the protocol, in one place: the simulations run with
//! smaller ones.

use std::time::Duration;

/// Times and bounds that decisions depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// *d*: a started call reaches Salesforce within this (assumption A2). Paid
    /// only by calls that nobody reports.
    pub travel: Duration,
    /// *ε*: wall clocks are within this of true time whenever a record is
    /// written or taken over (assumption A3). Paid only by what is inherited.
    pub clock_error: Duration,
    /// *H* of windows shorter than an hour: how long a block may be granted from.
    pub horizon_short: Duration,
    /// *H* of longer windows.
    pub horizon_long: Duration,
    /// A request waits for the store at most this long.
    pub store_wait: Duration,
    /// A counter at its limit is reserved at most once in a thousandth of its
    /// window, and never waits longer than this for it where it counts slots.
    pub slot_pause: Duration,
    /// Requests that may wait for one org.
    pub max_waiting: usize,
    /// Permits that may be out for one org.
    pub max_permits: usize,
    /// Undeclared workspaces of one org.
    pub max_workspaces: usize,
    /// Undeclared users of one org.
    pub max_users: usize,
    /// A fault that a test has planted; `None` outside tests.
    #[cfg(test)]
    pub fault: Option<Fault>,
    /// How long counters cool down.
    pub cooling: CoolingRules,
}

/// How long a counter is closed after Salesforce said stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoolingRules {
    /// The org's total is used up.
    pub total: Waits,
    /// Too many long-running requests.
    pub slots: Waits,
    /// A slot that was taken away comes back after this time, one after the
    /// other.
    pub regain: Duration,
    /// A limit that Salesforce did not name.
    pub unnamed: Waits,
    /// A counter of its own.
    pub counter: Waits,
    /// Too many logins (Salesforce's help: wait one hour).
    pub logins: Duration,
    /// Salesforce does not serve: nothing is closed, callers are told to wait.
    pub back_off: Waits,
    /// A Retry-After beyond this, and beyond the limit's own window, is not
    /// believed.
    pub longest_retry_after: Duration,
}

/// A wait that doubles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// The first, and the shortest.
    pub first: Duration,
    /// The longest.
    pub longest: Duration,
}

impl Waits {
    const fn secs(first: u64, longest: u64) -> Self {
        Self { first: Duration::from_secs(first), longest: Duration::from_secs(longest) }
    }
}

impl Default for CoolingRules {
    fn default() -> Self {
        Self {
            total: Waits::secs(30, 5 * 60),
            slots: Waits::secs(1, 30),
            regain: Duration::from_secs(60),
            unnamed: Waits::secs(5, 60),
            counter: Waits::secs(5 * 60, 5 * 60),
            logins: Duration::from_secs(3_600),
            back_off: Waits::secs(1, 30),
            longest_retry_after: Duration::from_secs(3_600),
        }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            travel: Duration::from_secs(5),
            clock_error: Duration::from_secs(2),
            horizon_short: Duration::from_secs(3),
            horizon_long: Duration::from_secs(10),
            store_wait: Duration::from_secs(2),
            slot_pause: Duration::from_millis(60),
            max_waiting: 1_000,
            max_permits: 100_000,
            max_workspaces: 1_000,
            max_users: 200,
            #[cfg(test)]
            fault: None,
            cooling: CoolingRules::default(),
        }
    }
}

/// Faults that tests plant, to see that they find them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Δ = 0: a call that nobody answered for leaves as if it had not travelled,
    /// and nothing is added to what is inherited.
    NoDelta,
    /// A block can be granted from for ever.
    NoBlockDeadline,
    /// The block's deadline counts from the store's answer.
    DeadlineFromAnswer,
    /// A restart reads nothing back.
    TakeoverWithoutSealing,
    /// A lost block is sealed at its end, without the life of its permits.
    SealWithoutTtlCap,
    /// What is sealed has no time to travel.
    SealWithoutTravel,
    /// Records are put without comparing.
    NoRecordCompare,
    /// An unanswered transaction is taken for a success.
    TimeoutIsSuccess,
    /// A block is granted from before it is committed.
    GrantBeforePersist,
    /// A fenced transaction is taken for a success.
    FencedIsSuccess,
    /// A second release of a permit returns calls again.
    ReleaseTwice,
    /// A repeated report settles further calls.
    ReportSettlesMore,
    /// A report without an answer moves the stamp.
    ReportWithoutAnswerFrees,
    /// A repeated request gets the full life again.
    RepeatWithFullTtl,
    /// Ages are taken from the wall clock.
    WallAges,
    /// A slot is free when its permit has expired.
    SlotFreedAtExpiry,
    /// A class is only asked whether it is paused, not how much room it has.
    GateBeforeGrant,
    /// A unit that a reserve in flight contains goes back to the open block.
    ReleaseInFlightToOpen,
    /// A unit that a record contains goes back to the open block.
    ReleaseRecordedToOpen,
    /// A release without a number is accepted after a report.
    ReleaseAfterReport,
    /// A hand-over closes the blocks, but does not write what was granted from
    /// them.
    HandOverForgetsGrants,
    /// A hand-over writes that blocks are closed, and goes on granting from
    /// them.
    HandOverGrantsOn,
}

impl Rules {
    /// True if a test has planted this fault.
    #[cfg(test)]
    #[must_use]
    pub fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// Never: faults are planted in tests only.
    #[cfg(not(test))]
    #[must_use]
    #[inline]
    pub const fn has(&self, _fault: Fault) -> bool {
        false
    }
}
