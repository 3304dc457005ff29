//! Cooling-down: what Salesforce's refusals close, for how long, and who tries
//! again.
//!
//! A trouble closes a *counter*: the org's total, its slots, one user's limit,
//! one counter of the Bulk API's. Some open by time. The others open by a
//! *probe*: when the wait is over, exactly one ask is let through, and its
//! answer decides for the whole fleet. The rules that keep hundreds of answers
//! to one moment from counting as hundreds of troubles:
//!
//! - The present wait has a beginning. A refusal counts if its call was granted
//!   after that; calls granted before are what the closing was about. Where
//!   nobody knows when a call was granted (no permit, or a former owner's), it
//!   counts if it was complete after the wait's end. So there is one trouble in
//!   a wait, and only it doubles the next one.
//! - A success of a call that the counter counts ends the cooling-down if the
//!   call was granted after the wait's beginning: while a counter is closed only
//!   probes are. A success of before says nothing.
//! - A reading below the limit ends that of the org's total, by the same rule:
//!   it came with the success of a call granted since, or without a permit and
//!   later.
//! - News from before the end is old: a refusal that was complete then changes
//!   nothing any more.
//! - A probe that nobody reports, or whose answer says nothing about the limit,
//!   has failed for an unknown cause: the next goes after the wait, which does
//!   not double. One that was given back unsent makes room for the next at once.
//! - What has not been asked for in a whole window after its wait is forgotten:
//!   all that Salesforce can have counted has left by then.
//!
//! The state is here; `answers` has what closes and opens, `asks` who waits and
//! who tries.

mod answers;
mod asks;

use std::time::Duration;

use super::{Ledger, counter::Counter, groups::CounterRef};
use crate::quota::{
    CoolingCause, CoolingRecord, Mono, Now, PermitKey,
    rules::{Rules, Waits},
    time::micros,
};

/// A counter that Salesforce has told to stop.
#[derive(Clone, Debug)]
pub struct Cooling {
    cause: CoolingCause,
    /// Since when it is closed.
    since: Mono,
    /// When the present wait began: what was granted before is what it is about.
    began: Mono,
    /// When the present wait ends.
    until: Mono,
    /// Its length.
    wait: Duration,
    /// Troubles that counted.
    attempts: u32,
    probe: Option<Probe>,
    /// Slots that are not given out for now.
    lowered: u64,
}

/// The one call that is let through.
#[derive(Clone, Copy, Debug)]
struct Probe {
    key: PermitKey,
    granted: Mono,
    /// Nobody can report it later.
    ends: Mono,
}

/// Whether a cooling counter may be granted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Open,
    /// The next ask is the probe.
    Due,
    Closed {
        until: Mono,
    },
}

/// A call that Salesforce has answered.
#[derive(Clone, Debug)]
pub struct Sent {
    key: Option<PermitKey>,
    origin: Origin,
    /// When its answer was complete.
    completed: Mono,
    /// The counters that it was charged to, as far as they are known.
    charged: Vec<CounterRef>,
}

/// What is known of where a call came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// It was granted here then.
    Granted(Mono),
    /// It had a permit that is not known any more.
    Former,
    /// It had none.
    Elsewhere,
    /// All of it was told before.
    Repeated,
}

/// How long callers are to wait while Salesforce does not serve.
#[derive(Clone, Copy, Debug, Default)]
pub struct BackOff {
    attempts: u32,
    wait: Duration,
    until: Mono,
}

impl Cooling {
    /// What another epoch has left. No second probe goes out beside one of that
    /// epoch's, which nobody here knows of: a probe lives no longer than its wait.
    pub fn restored(now: Now, record: &CoolingRecord, rules: &Rules) -> Self {
        let waits = waits_of(record.cause, rules);
        let base = doubled(waits, record.attempts);
        // As long as that epoch's can have been.
        let base = (base + base / 4).min(waits.longest);
        let since = now.mono_at(record.since).min(now.mono);
        let recorded = now.mono_at(record.until);
        let until = if opens_by_time(record.cause) {
            recorded
        } else if record.probe_out || recorded <= now.mono {
            now.mono + base + rules.travel
        } else {
            recorded + rules.clock_error * 2
        };
        Self {
            cause: record.cause,
            since,
            began: now.mono,
            until,
            wait: base,
            attempts: record.attempts,
            probe: None,
            lowered: record.lowered,
        }
    }

    pub fn record(&self, now: Now) -> CoolingRecord {
        CoolingRecord {
            cause: self.cause,
            since: now.wall_at(self.since),
            until: now.wall_at(self.next(now.mono)),
            attempts: self.attempts,
            probe_out: self.probe.is_some(),
            lowered: self.lowered,
        }
    }

    /// True once it need not be known any more.
    pub fn is_forgotten(&self, now: Mono, window: Duration, rules: &Rules) -> bool {
        let last = self.probe.map_or(self.until, |probe| probe.ends.max(self.until));
        now >= match self.cause {
            CoolingCause::ConcurrencyExceeded => self.regained_at(self.lowered.max(1), rules),
            _ => last + window,
        }
    }

    fn gate(&self, now: Mono) -> Gate {
        if now < self.next(now) {
            return Gate::Closed { until: self.next(now) };
        }
        if opens_by_time(self.cause) { Gate::Open } else { Gate::Due }
    }

    /// When the next probe may go, or when it opens. While a probe is out, the
    /// soonest at which another one could follow it.
    fn next(&self, now: Mono) -> Mono {
        match self.probe {
            None => self.until,
            Some(probe) if now < probe.granted + self.wait => probe.granted + self.wait,
            Some(probe) => probe.ends + self.wait,
        }
    }

    /// The slots that are still taken away.
    fn lowered_at(&self, now: Mono, rules: &Rules) -> u64 {
        let back = now.since(self.until).as_micros() / rules.cooling.regain.as_micros().max(1);
        self.lowered.saturating_sub(u64::try_from(back).unwrap_or(u64::MAX))
    }

    /// When so many slots are back.
    fn regained_at(&self, slots: u64, rules: &Rules) -> Mono {
        let slots = u32::try_from(slots).unwrap_or(u32::MAX);
        self.until + rules.cooling.regain.saturating_mul(slots)
    }

    /// True if a refusal of this call is news for the present wait.
    fn is_news(&self, sent: &Sent) -> bool {
        match sent.origin {
            Origin::Granted(granted) => granted > self.began,
            Origin::Former | Origin::Elsewhere => sent.completed >= self.until,
            Origin::Repeated => false,
        }
    }

    /// True if a success of this call opens the counter again.
    fn is_ended_by(&self, sent: &Sent) -> bool {
        let is_later = matches!(sent.origin, Origin::Granted(granted) if granted > self.began);
        is_later && !opens_by_time(self.cause)
    }

    /// True if a reading that came with this call's answer speaks of a later
    /// time.
    fn is_before(&self, sent: &Sent) -> bool {
        match sent.origin {
            Origin::Granted(granted) => granted > self.began,
            Origin::Elsewhere => sent.completed > self.began,
            Origin::Former | Origin::Repeated => false,
        }
    }
}

impl BackOff {
    /// The wait for one more answer; those of one wait count once.
    fn next(&mut self, now: Mono, bits: u64, rules: &Rules) -> Duration {
        let waits = rules.cooling.back_off;
        if self.attempts > 0 && now < self.until {
            return self.wait;
        }
        let is_old = now >= self.until + waits.longest;
        self.attempts = if is_old { 1 } else { self.attempts.saturating_add(1) };
        self.wait = jittered(waits, self.attempts, bits);
        self.until = now + self.wait;
        self.wait
    }
}

impl Counter {
    /// Slots that may be given out, while some are taken away.
    pub fn lowered_bound(&self, now: Mono, rules: &Rules) -> u64 {
        let lowered = self.cooling.as_ref().map_or(0, |cooling| cooling.lowered_at(now, rules));
        self.bound.saturating_sub(lowered).max(self.bound.min(1))
    }

    /// Nothing is granted from it before then.
    pub fn cooling_until(&self, now: Mono) -> Option<Mono> {
        let cooling = self.cooling.as_ref()?;
        (cooling.gate(now) != Gate::Open).then(|| cooling.next(now))
    }

    /// True after refusals of what had been counted to have room.
    pub fn has_foreign_traffic(&self) -> bool {
        self.cooling.as_ref().is_some_and(|cooling| cooling.cause == CoolingCause::Throttled)
    }

    /// Drops a cooling-down that need not be known any more.
    pub fn forget_cooling(&mut self, now: Mono, rules: &Rules) {
        let (window, cooling) = (self.window, &mut self.cooling);
        if cooling.as_ref().is_some_and(|cooling| cooling.is_forgotten(now, window, rules)) {
            *cooling = None;
            self.block.dirty = true;
        }
    }
}
impl Ledger {
    /// Counters that cool down.
    fn cooling(&self) -> impl Iterator<Item = (CounterRef, &Cooling)> {
        self.groups.iter().flat_map(|(group, state)| {
            (0..).zip(&state.counters).filter_map(move |(counter, state)| {
                Some((CounterRef { group, counter }, state.cooling.as_deref()?))
            })
        })
    }

    /// Counters that a permit is the probe of.
    fn probed_by(&self, key: PermitKey) -> Vec<CounterRef> {
        let by = |cooling: &Cooling| cooling.probe.is_some_and(|probe| probe.key == key);
        if let Some(permit) = self.permits.get(key) {
            let is_probed =
                |at: &CounterRef| self.groups.counter(*at).cooling.as_deref().is_some_and(by);
            return permit.plan.needs.iter().map(|need| need.at).filter(is_probed).collect();
        }
        self.cooling().filter(|(_, cooling)| by(cooling)).map(|(at, _)| at).collect()
    }

    fn change_cooling(&mut self, at: CounterRef, change: impl FnOnce(&mut Cooling)) {
        let counter = self.groups.counter_mut(at);
        if let Some(cooling) = &mut counter.cooling {
            change(cooling);
            counter.block.dirty = true;
        }
    }
}

/// Those that time alone opens; the others need a good answer.
const fn opens_by_time(cause: CoolingCause) -> bool {
    match cause {
        CoolingCause::Throttled
        | CoolingCause::ConcurrencyExceeded
        | CoolingCause::LoginsExceeded => true,
        CoolingCause::LimitExceeded
        | CoolingCause::CounterExceeded
        | CoolingCause::TotalExceeded => false,
    }
}

const fn waits_of(cause: CoolingCause, rules: &Rules) -> Waits {
    let rules = &rules.cooling;
    match cause {
        CoolingCause::TotalExceeded => rules.total,
        CoolingCause::ConcurrencyExceeded => rules.slots,
        CoolingCause::CounterExceeded => rules.counter,
        CoolingCause::LimitExceeded | CoolingCause::Throttled => rules.unnamed,
        CoolingCause::LoginsExceeded => Waits { first: rules.logins, longest: rules.logins },
    }
}

/// The wait after so many troubles, without jitter.
fn doubled(waits: Waits, attempts: u32) -> Duration {
    let factor = 1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
    waits.first.saturating_mul(factor).min(waits.longest)
}

/// The wait after so many troubles: within a quarter of what doubling makes it,
/// and never shorter than the first or longer than the longest, so that orgs
/// that were closed together do not try together.
fn jittered(waits: Waits, attempts: u32, bits: u64) -> Duration {
    let base = doubled(waits, attempts);
    let low = base.min(waits.longest * 4 / 5).max(waits.first.min(base));
    let high = (base + base / 4).min(waits.longest).max(low);
    let spread = micros(high - low);
    low + Duration::from_micros(mixed(bits) % (spread + 1))
}

/// Spreads what bits there are over all of them (the finish of `SplitMix64`).
const fn mixed(bits: u64) -> u64 {
    let bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
