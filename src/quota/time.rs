//! Two kinds of time that do not convert into each other.
//!
//! [`Mono`] measures ages inside one process; [`Wall`] is written into records
//! and read back at a takeover or restart. The core never reads a clock: both
//! are arguments.

use std::{
    ops::{Add, Sub},
    time::Duration,
};

/// A reading of a monotonic clock that runs through suspend (`CLOCK_BOOTTIME`),
/// in microseconds since an arbitrary moment of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(pub u64);

/// A reading of the wall clock, in microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(pub u64);

/// Whole microseconds of a duration, saturating (585,000 years).
#[must_use]
pub fn micros(duration: Duration) -> u64 {
    let whole = duration.as_secs().saturating_mul(1_000_000);
    whole.saturating_add(u64::from(duration.subsec_micros()))
}

macro_rules! instant {
    ($name:ident) => {
        impl $name {
            /// Time from `earlier` to this moment; zero if it lies ahead.
            #[must_use]
            pub fn since(self, earlier: Self) -> Duration {
                Duration::from_micros(self.0.saturating_sub(earlier.0))
            }
        }

        impl Add<Duration> for $name {
            type Output = Self;
            fn add(self, rhs: Duration) -> Self {
                Self(self.0.saturating_add(micros(rhs)))
            }
        }

        impl Sub<Duration> for $name {
            type Output = Self;
            fn sub(self, rhs: Duration) -> Self {
                Self(self.0.saturating_sub(micros(rhs)))
            }
        }
    };
}

instant!(Mono);
instant!(Wall);

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For ages.
    pub mono: Mono,
    /// For records.
    pub wall: Wall,
}

impl Now {
    /// The wall time at which the monotonic clock showed (or will show) `mono`,
    /// if the wall clock goes on as it does now.
    #[must_use]
    pub fn wall_at(self, mono: Mono) -> Wall {
        if mono >= self.mono {
            self.wall + mono.since(self.mono)
        } else {
            self.wall - self.mono.since(mono)
        }
    }

    /// The monotonic time that corresponds to `wall`. Moments before the start
    /// of the monotonic clock become its start.
    #[must_use]
    pub fn mono_at(self, wall: Wall) -> Mono {
        if wall >= self.wall {
            self.mono + wall.since(self.wall)
        } else {
            self.mono - self.wall.since(wall)
        }
    }
}
