//! The only place that reads the clocks of the operating system.

#[cfg(feature = "server")]
mod both;

use std::{
    ops::{Add, Sub},
    time::Duration,
};

use rustix::time::{ClockId, Timespec, clock_gettime};

#[cfg(feature = "server")]
pub use self::both::Clock;

/// A moment of this machine's monotonic clock, **which runs through suspend**: a
/// permit's life goes on while a laptop sleeps or a virtual machine is stopped.
/// `std::time::Instant` does not count that time on Linux.
///
/// ```
/// use std::time::Duration;
/// use quotagate::clock::Moment;
///
/// let start = Moment::now();
/// let deadline = start + Duration::from_secs(5);
/// assert!(start < deadline);
/// assert_eq!(deadline.since(start), Duration::from_secs(5));
/// assert_eq!(start.since(deadline), Duration::ZERO);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment {
    /// Counted from some moment in the past.
    us: u64,
}

impl Moment {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        Self { us: monotonic_us() }
    }

    /// No moment is earlier.
    pub const START: Self = Self { us: 0 };

    /// No moment is later.
    pub const END: Self = Self { us: u64::MAX };

    /// A moment so long after the start of the clock, for what is computed
    /// without one.
    #[must_use]
    pub const fn from_start(time: Duration) -> Self {
        #[allow(clippy::cast_possible_truncation, reason = "half a million years fit")]
        Self { us: time.as_micros() as u64 }
    }

    /// The time from `earlier` until this moment; zero if that is in the future.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.us.saturating_sub(earlier.us))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Self { us: self.us.saturating_add(us) }
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;

    fn sub(self, time: Duration) -> Self {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Self { us: self.us.saturating_sub(us) }
    }
}

/// Runs through suspend; other systems' monotonic clocks are the best they have.
#[cfg(target_os = "linux")]
const MONOTONIC: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const MONOTONIC: ClockId = ClockId::Monotonic;

/// Counted from some moment in the past.
fn monotonic_us() -> u64 {
    micros(clock_gettime(MONOTONIC))
}

/// Counted from 1970; steps when somebody sets the clock.
#[cfg(feature = "server")]
fn realtime_us() -> u64 {
    micros(clock_gettime(ClockId::Realtime))
}

fn micros(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds * 1_000_000 + nanos / 1_000
}
