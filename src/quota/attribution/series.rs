//! What was used in the last minute, hour and day, in buckets.

use std::collections::VecDeque;

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

/// Use by time, in three grains. Empty buckets take no memory.
#[derive(Clone, Debug, Default)]
pub struct Series {
    minute: Rolling<5, 12>,
    hour: Rolling<60, 60>,
    day: Rolling<900, 96>,
}

/// The longest that anything is remembered: a day and the bucket that it began
/// in.
pub const LONGEST_SECS: u64 = 900 * 97;

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

    /// The part of it that there is.
    fn at_most(self, present: Self) -> Self {
        Self {
            units: self.units.min(present.units),
            calls: self.calls.min(present.calls),
            refused_calls: self.refused_calls.min(present.refused_calls),
        }
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
        self.minute.add(at, used);
        self.hour.add(at, used);
        self.day.add(at, used);
    }

    /// Takes back, at most what there is, what was counted at a second.
    pub fn take_back(&mut self, then: u64, back: Use) {
        self.minute.take_back(then, back);
        self.hour.take_back(then, back);
        self.day.take_back(then, back);
    }

    /// What was used until this second.
    pub fn periods(&mut self, at: u64) -> Periods {
        Periods { minute: self.minute.sum(at), hour: self.hour.sum(at), day: self.day.sum(at) }
    }

    /// True if nothing was counted in the last day.
    pub fn is_empty(&mut self, at: u64) -> bool {
        self.day.sum(at);
        self.day.buckets.is_empty()
    }

    /// Bytes that it has taken besides itself.
    #[cfg(test)]
    pub fn heap_bytes(&self) -> usize {
        let buckets = self.minute.buckets.capacity()
            + self.hour.buckets.capacity()
            + self.day.buckets.capacity();
        buckets * size_of::<Bucket>()
    }
}

/// The sum over the present bucket of so many seconds and `COUNT` before it.
#[derive(Clone, Debug, Default)]
struct Rolling<const SECONDS: u64, const COUNT: u64> {
    /// Oldest first; only those with something in them.
    buckets: VecDeque<Bucket>,
    sum: Use,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Its number since the Unix epoch.
    number: u64,
    used: Use,
}

impl<const SECONDS: u64, const COUNT: u64> Rolling<SECONDS, COUNT> {
    fn add(&mut self, at: u64, used: Use) {
        self.expire(at);
        let number = at / SECONDS;
        match self.buckets.back_mut() {
            Some(bucket) if bucket.number == number => bucket.used.add(used),
            _ => self.buckets.push_back(Bucket { number, used }),
        }
        self.sum.add(used);
    }

    fn take_back(&mut self, then: u64, back: Use) {
        let number = then / SECONDS;
        if let Ok(place) = self.buckets.binary_search_by_key(&number, |bucket| bucket.number) {
            let used = &mut self.buckets[place].used;
            let back = back.at_most(*used);
            used.subtract(back);
            self.sum.subtract(back);
        }
    }

    fn sum(&mut self, at: u64) -> Use {
        self.expire(at);
        self.sum
    }

    fn expire(&mut self, at: u64) {
        let present = at / SECONDS;
        while let Some(bucket) = self.buckets.front() {
            if bucket.number + COUNT >= present {
                return;
            }
            self.sum.subtract(bucket.used);
            self.buckets.pop_front();
        }
        // An idle one keeps no memory.
        if self.buckets.capacity() > 0 {
            self.buckets = VecDeque::new();
        }
    }
}
