//! The only place that reads the clocks of the operating system.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::quota::{Mono, Now, Wall};

/// Both clocks of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// Added to the wall clock: how far it was behind the last time that the
    /// store has seen.
    behind: Duration,
}

/// The monotonic clock of a machine starts near zero when it boots, but entries
/// of a store may be older than that. So it is moved up by this: 35 years.
const EPOCH_US: u64 = 1 << 50;

/// Two readings within this are one.
const TOGETHER: Duration = Duration::from_millis(1);

/// Runs through suspend; other systems' monotonic clocks are the best they have.
#[cfg(target_os = "linux")]
const MONOTONIC: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const MONOTONIC: ClockId = ClockId::Monotonic;

impl Clock {
    /// A clock that does not show less than what the store has seen: if the
    /// wall clock is behind it, time goes on from there.
    #[must_use]
    pub fn not_before(last: Option<Wall>) -> Self {
        let now = read_wall();
        Self { behind: last.map_or(Duration::ZERO, |last| last.since(now)) }
    }

    /// How far the wall clock was behind the store's last time.
    #[must_use]
    pub fn behind(&self) -> Duration {
        self.behind
    }

    /// Both clocks, now.
    #[must_use]
    pub fn now(&self) -> Now {
        loop {
            let mono = self.mono();
            let wall = read_wall() + self.behind;
            // A process that is stopped between the two would take everything it
            // inherits for older than it is.
            if self.mono().since(mono) < TOGETHER {
                return Now { mono, wall };
            }
        }
    }

    /// The monotonic clock alone.
    #[must_use]
    pub fn mono(&self) -> Mono {
        Mono(EPOCH_US + micros(clock_gettime(MONOTONIC)))
    }
}

fn read_wall() -> Wall {
    Wall(micros(clock_gettime(ClockId::Realtime)))
}

fn micros(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds * 1_000_000 + nanos / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_behind_the_store_goes_on_from_the_stores_time() {
        let seen = read_wall() + Duration::from_secs(3_600);
        let clock = Clock::not_before(Some(seen));
        assert!(clock.now().wall >= seen);
        assert!(clock.behind() > Duration::from_secs(3_599));
        assert_eq!(Clock::not_before(Some(Wall(1))).behind(), Duration::ZERO);
    }

    #[test]
    fn the_monotonic_clock_can_name_moments_long_before_the_machine_started() {
        let now = Clock::default().now();
        let month = Duration::from_secs(31 * 86_400);
        assert_eq!(now.mono_at(now.wall - month), now.mono - month);
        assert!(now.mono - month > Mono(0));
    }
}
