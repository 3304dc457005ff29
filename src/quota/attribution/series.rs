//! What was used in the last minute, hour and day, in buckets.

use crate::quota::tight;

/// What was used, or refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Use {
    /// Calls granted times their cost, less those that came back unsent.
    pub units: u64,
    /// Calls granted, less those that came back unsent.
    pub calls: u64,
    /// Calls of requests that were refused.
    pub refused_calls: u64,
}

/// Use of late. Each covers its length at least, and one bucket more at most:
/// 60 to 65 s, 60 to 61 min, 24 h to 24 h 15 min.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Periods {
    /// Of the last minute.
    pub minute: Use,
    /// Of the last hour.
    pub hour: Use,
    /// Of the last 24 hours.
    pub day: Use,
}

/// Use by time, each unit in one bucket: of 5 s in the last minute, of a minute in
/// the hour before, of a quarter of an hour in the day before that. Each width is a
/// multiple of the one before, so a bucket that grows old is put together with its
/// neighbours, and never divided.
///
/// It takes 24 bytes and one more bucket's for each with something in it, 181 at
/// most: three lists, of a bucket in each, took three times as much.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// Oldest first.
    buckets: Vec<Bucket>,
}

/// The longest that anything is remembered: a day and the bucket that it began
/// in.
pub const LONGEST_SECS: u64 = 900 * 97;

/// The narrowest bucket: all times here are counted in these.
pub const TICK_SECS: u64 = 5;

/// The present bucket of so many ticks and `count` before it.
#[derive(Clone, Copy)]
struct Grain {
    ticks: u32,
    count: u32,
}

const MINUTE: Grain = Grain { ticks: 1, count: 12 };
const HOUR: Grain = Grain { ticks: 12, count: 60 };
const DAY: Grain = Grain { ticks: 180, count: 96 };

/// What was used in a bucket. Calls are narrow: more than 4 billion of them within
/// a quarter of an hour show as many.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    units: u64,
    calls: u32,
    refused_calls: u32,
    /// The tick that it begins with.
    begins: u32,
}

impl Use {
    fn add(&mut self, more: Self) {
        self.units = self.units.saturating_add(more.units);
        self.calls = self.calls.saturating_add(more.calls);
        self.refused_calls = self.refused_calls.saturating_add(more.refused_calls);
    }

    fn subtract(&mut self, less: Self) {
        self.units = self.units.saturating_sub(less.units);
        self.calls = self.calls.saturating_sub(less.calls);
        self.refused_calls = self.refused_calls.saturating_sub(less.refused_calls);
    }
}

impl Periods {
    /// Takes out what is listed.
    pub fn subtract(&mut self, less: Self) {
        self.minute.subtract(less.minute);
        self.hour.subtract(less.hour);
        self.day.subtract(less.day);
    }
}

impl Series {
    /// Counts at a second, which is never earlier than the last one.
    pub fn add(&mut self, at: u64, used: Use) {
        let begins = tick_of(at);
        let minute = |tick: u32| tick / HOUR.ticks;
        match self.buckets.last_mut() {
            Some(last) if last.begins == begins => return last.add(used),
            Some(last) if minute(last.begins) != minute(begins) => self.expire(at),
            _ => {}
        }
        let mut bucket = Bucket { units: 0, calls: 0, refused_calls: 0, begins };
        bucket.add(used);
        tight::push(&mut self.buckets, bucket);
    }

    /// Takes back, at most what there is, what was counted at a second.
    pub fn take_back(&mut self, then: u64, back: Use) {
        let tick = tick_of(then);
        let later = self.buckets.partition_point(|bucket| bucket.begins <= tick);
        let Some(bucket) = self.buckets[..later].last_mut() else { return };
        if DAY.number(bucket.begins) == DAY.number(tick) {
            bucket.subtract(back);
        }
    }

    /// What was used until this second.
    pub fn periods(&self, at: u64) -> Periods {
        let present = tick_of(at);
        let mut periods = Periods::default();
        for bucket in self.buckets.iter().rev() {
            let used = bucket.used();
            if !DAY.covers(bucket.begins, present) {
                break;
            }
            periods.day.add(used);
            if HOUR.covers(bucket.begins, present) {
                periods.hour.add(used);
            }
            if MINUTE.covers(bucket.begins, present) {
                periods.minute.add(used);
            }
        }
        periods
    }

    /// Drops what is older than a day, and makes buckets wide that have grown old.
    pub fn expire(&mut self, at: u64) {
        let present = tick_of(at);
        let mut kept = 0;
        for place in 0..self.buckets.len() {
            let mut bucket = self.buckets[place];
            let grain = [MINUTE, HOUR, DAY].into_iter().find(|g| g.covers(bucket.begins, present));
            let Some(grain) = grain else { continue };
            bucket.begins -= bucket.begins % grain.ticks;
            match self.buckets[..kept].last_mut() {
                Some(last) if last.begins == bucket.begins => last.add(bucket.used()),
                _ => {
                    self.buckets[kept] = bucket;
                    kept += 1;
                }
            }
        }
        self.buckets.truncate(kept);
        if self.buckets.capacity() > 2 * kept {
            self.buckets.shrink_to_fit();
        }
    }

    /// True if nothing was counted, or all of it was dropped.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// Bytes that it has taken besides itself.
    #[cfg(test)]
    pub fn heap_bytes(&self) -> usize {
        self.buckets.capacity() * size_of::<Bucket>()
    }
}

impl Bucket {
    fn used(&self) -> Use {
        let Self { units, calls, refused_calls, .. } = *self;
        Use { units, calls: calls.into(), refused_calls: refused_calls.into() }
    }

    fn add(&mut self, more: Use) {
        self.units = self.units.saturating_add(more.units);
        self.calls = self.calls.saturating_add(narrow(more.calls));
        self.refused_calls = self.refused_calls.saturating_add(narrow(more.refused_calls));
    }

    fn subtract(&mut self, less: Use) {
        self.units = self.units.saturating_sub(less.units);
        self.calls = self.calls.saturating_sub(narrow(less.calls));
        self.refused_calls = self.refused_calls.saturating_sub(narrow(less.refused_calls));
    }
}

impl Grain {
    const fn number(self, tick: u32) -> u32 {
        tick / self.ticks
    }

    const fn covers(self, begins: u32, present: u32) -> bool {
        self.number(begins) + self.count >= self.number(present)
    }
}

/// The number of a second's tick since the Unix epoch, which fits until 2650.
fn tick_of(at: u64) -> u32 {
    narrow(at / TICK_SECS)
}

/// A number in half the size; one that is too large becomes the largest.
pub fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
