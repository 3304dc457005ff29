//! Tokens that were checked a moment ago.
//!
//! A signature costs some hundred microseconds; the hash of the token costs one. So
//! what was proved is remembered by the token's hash, until the token expires, five
//! minutes have passed, or its issuer's keys have changed.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::{caller::Principal, issuer::Generation, token::Hash};
use crate::quota::{Mono, Wall};

/// The most tokens that are remembered; only good ones are.
const MOST: usize = 10_000;

/// How long they are.
const LIFE: Duration = Duration::from_secs(300);

/// What was proved.
#[derive(Debug, Default)]
pub struct ProvedTokens(Mutex<HashMap<Hash, Entry>>);

/// What a token has proved.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Who.
    pub principal: Principal,
    /// The place of its issuer.
    pub issuer: usize,
    /// The keys with which it was checked.
    pub generation: Generation,
    /// When it expires, the leeway included.
    pub until: Wall,
    /// When it was checked.
    pub checked: Mono,
}

impl ProvedTokens {
    /// What the token proved, if that was a moment ago. Whether it has expired
    /// since, and whether the keys are the same, is for the caller to see.
    pub fn get(&self, hash: &Hash, now: Mono) -> Option<Entry> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(hash).filter(|entry| entry.is_fresh(now)).cloned()
    }

    /// Remembers.
    pub fn put(&self, hash: Hash, entry: Entry) {
        let now = entry.checked;
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= MOST {
            entries.retain(|_, entry| entry.is_fresh(now));
        }
        if entries.len() >= MOST {
            // All of them are in use, and more than fit: each is checked once again.
            entries.clear();
        }
        entries.insert(hash, entry);
    }
}

impl Entry {
    fn is_fresh(&self, now: Mono) -> bool {
        now.since(self.checked) < LIFE
    }
}
