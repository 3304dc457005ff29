//! Chance for request ids and back-off: the standard library's hash keys, which
//! the operating system gives. No secret hangs on it, and no dependency.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    time::Duration,
};

/// 64 random bits.
pub fn bits() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A number below `end`; 0 if there is none.
pub fn below(end: usize) -> usize {
    let end = u64::try_from(end).unwrap_or(u64::MAX).max(1);
    usize::try_from(bits() % end).unwrap_or_default()
}

/// From a half to all of `time`, so that who failed together does not come back
/// together.
pub fn jitter(time: Duration) -> Duration {
    let parts = u32::try_from(bits() % 1_024).unwrap_or_default();
    time / 2 + time / 2 * parts / 1_024
}
