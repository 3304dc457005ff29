//! The service's view of both clocks: one that counts, and one that is written down.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{monotonic_us, realtime_us};
use crate::quota::{Mono, Now, Wall};

/// Both clocks of this process.
///
/// The operating system's wall clock can step while the process runs. So its
/// start is remembered: the wall time of the start, and what the monotonic
/// clock has counted since, is a second wall clock that never steps. What is
/// written down gets the later of the two, and what others wrote is read with
/// the earlier one: whichever is wrong, calls count longer, never shorter.
#[derive(Clone, Debug)]
pub struct Clock {
    /// Added to the wall clock: how far it was behind the last time that the
    /// store has seen.
    behind: Duration,
    shared: Arc<Shared>,
}

/// What all copies of a clock have in common.
#[derive(Debug, Default)]
struct Shared {
    source: Source,
    /// The wall clock that never steps, less the monotonic clock, in
    /// microseconds.
    anchor_us: AtomicI64,
    /// Added to the operating system's wall clock, in microseconds; by tests
    /// that cannot step the machine's clock.
    planted_us: AtomicI64,
}

/// Where the time comes from.
#[derive(Debug, Default)]
enum Source {
    #[default]
    OperatingSystem,
    /// The runtime's clock, which showed `start` when it was `wall`.
    Runtime { start: Instant, wall: Wall },
}

impl Source {
    /// Counted from some moment in the past, in microseconds.
    fn mono_us(&self) -> u64 {
        match self {
            Self::OperatingSystem => monotonic_us(),
            Self::Runtime { start, .. } => elapsed_us(*start),
        }
    }

    /// Since 1970, in microseconds.
    fn wall_us(&self) -> u64 {
        match self {
            Self::OperatingSystem => realtime_us(),
            Self::Runtime { start, wall } => wall.0 + elapsed_us(*start),
        }
    }
}

/// The monotonic clock of a machine starts near zero when it boots, but entries
/// of a store may be older than that. So it is moved up by this: 35 years.
const EPOCH_US: u64 = 1 << 50;

/// Two readings within this are one.
const TOGETHER: Duration = Duration::from_millis(1);

impl Default for Clock {
    fn default() -> Self {
        let clock = Self { behind: Duration::ZERO, shared: Arc::default() };
        clock.trust_wall_clock();
        clock
    }
}

impl Clock {
    /// A clock that does not show less than what the store has seen: if the
    /// wall clock is behind it, time goes on from there.
    #[must_use]
    pub fn not_before(last: Option<Wall>) -> Self {
        let clock = Self::default();
        let behind = last.map_or(Duration::ZERO, |last| last.since(clock.wall()));
        let clock = Self { behind, ..clock };
        clock.trust_wall_clock();
        clock
    }

    /// A clock that follows the runtime's own, and shows this wall time now: for
    /// simulations, which say how fast time passes.
    #[must_use]
    pub fn of_runtime(wall: Wall) -> Self {
        let source = Source::Runtime { start: Instant::now(), wall };
        let shared = Shared { source, ..Shared::default() };
        let clock = Self { behind: Duration::ZERO, shared: Arc::new(shared) };
        clock.trust_wall_clock();
        clock
    }

    /// How far the wall clock was behind the store's last time.
    #[must_use]
    pub fn behind(&self) -> Duration {
        self.behind
    }

    /// Both clocks, now, for what is decided and written down: of the two wall
    /// clocks the later one.
    #[must_use]
    pub fn now(&self) -> Now {
        self.read(Ord::max)
    }

    /// Both clocks, now, to read with what another process has written: of the
    /// two wall clocks the earlier one.
    #[must_use]
    pub fn now_for_takeover(&self) -> Now {
        self.read(Ord::min)
    }

    /// The monotonic clock alone.
    #[must_use]
    pub fn mono(&self) -> Mono {
        Mono(EPOCH_US + self.shared.source.mono_us())
    }

    /// The operating system's wall clock, which is compared with the other
    /// nodes'.
    #[must_use]
    pub fn wall(&self) -> Wall {
        let planted = self.shared.planted_us.load(Ordering::Relaxed);
        let wall = self.shared.source.wall_us().saturating_add_signed(planted);
        Wall(wall) + self.behind
    }

    /// By how many microseconds the wall clock has been stepped since it was
    /// last trusted; negative if it was set back.
    #[must_use]
    pub fn stepped_us(&self) -> i64 {
        let now = self.read(|os, _| os);
        now.wall.0.cast_signed() - self.anchored(now.mono).0.cast_signed()
    }

    /// Takes the operating system's wall clock for right, whatever steps it has
    /// made: at the start, and where other nodes confirm it.
    pub fn trust_wall_clock(&self) {
        let now = self.read(|os, _| os);
        let anchor = now.wall.0.cast_signed() - now.mono.0.cast_signed();
        self.shared.anchor_us.store(anchor, Ordering::Relaxed);
    }

    /// Moves the wall clock as if it had been stepped: for tests.
    pub fn plant_step(&self, offset_us: i64) {
        self.shared.planted_us.store(offset_us, Ordering::Relaxed);
    }

    /// What the wall clock that never steps shows.
    fn anchored(&self, mono: Mono) -> Wall {
        Wall(mono.0.saturating_add_signed(self.shared.anchor_us.load(Ordering::Relaxed)))
    }

    fn read(&self, choose: impl Fn(Wall, Wall) -> Wall) -> Now {
        loop {
            let mono = self.mono();
            let wall = self.wall();
            // A process that is stopped between the two would take everything it
            // inherits for older than it is.
            if self.mono().since(mono) < TOGETHER {
                return Now { mono, wall: choose(wall, self.anchored(mono)) };
            }
        }
    }
}

fn elapsed_us(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_behind_the_store_goes_on_from_the_stores_time() {
        let seen = Clock::default().wall() + Duration::from_secs(3_600);
        let clock = Clock::not_before(Some(seen));
        assert!(clock.now().wall >= seen);
        assert!(clock.behind() > Duration::from_secs(3_599));
        assert_eq!(Clock::not_before(Some(Wall(1))).behind(), Duration::ZERO);
    }

    #[test]
    fn a_step_of_the_wall_clock_makes_nothing_count_shorter() {
        const HOUR: Duration = Duration::from_secs(3_600);
        const SLACK: Duration = Duration::from_secs(60);
        for forth in [true, false] {
            let clock = Clock::default();
            let (start, other) = (clock.now(), clock.clone());
            let step_us = i64::try_from(HOUR.as_micros()).unwrap();
            other.plant_step(if forth { step_us } else { -step_us });
            let (writes, reads) = (clock.now(), clock.now_for_takeover());
            // Either is right, or wrong on the side of caution. The two clocks that
            // they stand on are not read in the same instant, and one of them may be
            // slewed meanwhile: that is no step.
            assert!(writes.wall + SLACK >= start.wall && reads.wall < start.wall + HOUR / 2);
            assert_eq!(writes.wall >= start.wall + HOUR - SLACK, forth);
            assert_eq!(reads.wall + SLACK < start.wall, !forth);
            let expected_us = if forth { step_us } else { -step_us };
            assert!(clock.stepped_us().abs_diff(expected_us) < 1_000_000);
            clock.trust_wall_clock();
            assert_eq!(clock.stepped_us() / 1_000_000, 0);
            assert_eq!(clock.now_for_takeover().wall >= start.wall + SLACK, forth);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_of_the_runtime_goes_as_fast_as_the_runtime() {
        const DAY: Duration = Duration::from_secs(86_400);
        let clock = Clock::of_runtime(Wall(1_000_000));
        let start = clock.now();
        assert_eq!(start.wall, Wall(1_000_000));
        tokio::time::advance(DAY).await;
        let end = clock.now();
        assert_eq!((end.mono.since(start.mono), end.wall.since(start.wall)), (DAY, DAY));
    }

    #[test]
    fn the_monotonic_clock_can_name_moments_long_before_the_machine_started() {
        let now = Clock::default().now();
        let month = Duration::from_secs(31 * 86_400);
        assert_eq!(now.mono_at(now.wall - month), now.mono - month);
        assert!(now.mono - month > Mono(0));
    }
}
