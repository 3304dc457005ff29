//! The keys of an issuer, kept fresh by one task.
//!
//! Requests never fetch: they look at what the task has, and ask it for more where
//! a token names a key that is not there. The task fetches one thing at a time,
//! every five minutes, and on demand at most every half minute: whoever makes up
//! names of keys makes nobody busy. While the issuer cannot be reached the keys that
//! it had stay in force, for a day.

mod fetch;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};

use self::fetch::fetch;
use super::{
    jwt::Head,
    keys::{Key, KeySet},
    refused::Refused,
};
use crate::{clock::Clock, config::OidcConfig, quota::Mono};

/// How often the keys are fetched: a key that the issuer has withdrawn is in force
/// no longer than this.
pub const EVERY: Duration = Duration::from_secs(300);

/// After a fetch that failed, and between those that are asked for.
pub const AT_MOST_EVERY: Duration = Duration::from_secs(30);

/// How long keys stay in force without the issuer.
pub const KEPT: Duration = Duration::from_secs(24 * 3_600);

/// How long a request waits for keys.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// An issuer, and the task that keeps its keys; the task ends with it.
#[derive(Debug)]
pub struct Issuer {
    config: OidcConfig,
    clock: Clock,
    known: watch::Receiver<Known>,
    wanted: mpsc::Sender<()>,
    task: JoinHandle<()>,
}

/// What the task knows.
#[derive(Clone, Debug)]
struct Known {
    keys: Arc<KeySet>,
    /// Counts the sets that differed.
    generation: u64,
    /// When the keys came; `None`: never.
    fetched: Option<Mono>,
    /// When a fetch began.
    began: Mono,
    /// A fetch is under way.
    is_fetching: bool,
    /// Fetches that have ended.
    ended: u64,
}

/// A set of keys that was in force when a token was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation(u64);

impl Issuer {
    /// Begins to fetch the keys. Must be called within a runtime.
    #[must_use]
    pub fn start(config: OidcConfig, clock: Clock) -> Self {
        let known = Known {
            keys: Arc::default(),
            generation: 0,
            fetched: None,
            began: clock.mono(),
            is_fetching: true,
            ended: 0,
        };
        let (tell, known) = watch::channel(known);
        let (wanted, want) = mpsc::channel(1);
        let task = tokio::spawn(keep(config.clone(), clock.clone(), tell, want));
        Self { config, clock, known, wanted, task }
    }

    /// Its configuration.
    #[must_use]
    pub fn config(&self) -> &OidcConfig {
        &self.config
    }

    /// The keys in force now; `None`: there are none.
    #[must_use]
    pub fn generation(&self) -> Option<Generation> {
        let known = self.known.borrow();
        known.is_in_force(&self.clock).then_some(Generation(known.generation))
    }

    /// The key that a token names. If it is not there, the issuer may have it by
    /// now: that is waited for, a little.
    ///
    /// # Errors
    /// There is no such key, or nobody can know.
    pub async fn key(&self, head: &Head) -> Result<(Key, Generation), Refused> {
        let mut known = self.known.clone();
        let (found, seen) = {
            let known = known.borrow_and_update();
            let found = known.find(head, &self.clock);
            let is_recent = self.clock.mono().since(known.began) < AT_MOST_EVERY;
            if !is_worth_a_fetch(&found) || is_recent && !known.is_fetching {
                return found;
            }
            if !known.is_fetching {
                // One that is asked for already will do.
                let _ = self.wanted.try_send(());
            }
            (found, known.ended)
        };
        let ended = known.wait_for(|known| known.ended > seen);
        match timeout(PATIENCE, ended).await {
            Ok(Ok(known)) => known.find(head, &self.clock),
            // Late, or the task is gone.
            Ok(Err(_)) | Err(_) => found,
        }
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A key for another algorithm is there: fetching it again changes nothing.
fn is_worth_a_fetch(found: &Result<(Key, Generation), Refused>) -> bool {
    matches!(found, Err(Refused::UnknownKey | Refused::KeysUnavailable))
}

impl Known {
    fn is_in_force(&self, clock: &Clock) -> bool {
        self.fetched.is_some_and(|fetched| clock.mono().since(fetched) < KEPT)
    }

    fn find(&self, head: &Head, clock: &Clock) -> Result<(Key, Generation), Refused> {
        if !self.is_in_force(clock) {
            return Err(Refused::KeysUnavailable);
        }
        self.keys.find(head).map(|key| (key.clone(), Generation(self.generation)))
    }
}

/// The task.
async fn keep(
    config: OidcConfig,
    clock: Clock,
    tell: watch::Sender<Known>,
    mut want: mpsc::Receiver<()>,
) {
    loop {
        tell.send_modify(|known| {
            known.is_fetching = true;
            known.began = clock.mono();
        });
        let fetched = fetch(&config).await;
        let next = if fetched.is_ok() { EVERY } else { AT_MOST_EVERY };
        if let Err(cause) = &fetched {
            let has_keys = tell.borrow().is_in_force(&clock);
            tracing::warn!(
                issuer = %config.issuer, name = %config.name, %cause, has_keys,
                "an issuer's keys cannot be had"
            );
        }
        tell.send_modify(|known| {
            known.is_fetching = false;
            known.ended += 1;
            let Ok(keys) = fetched else { return };
            known.fetched = Some(clock.mono());
            if known.generation == 0 || *known.keys != keys {
                tracing::info!(
                    issuer = %config.issuer, name = %config.name, keys = keys.len(),
                    "an issuer's keys are in force"
                );
                known.keys = Arc::new(keys);
                known.generation += 1;
            }
        });
        // What was asked for meanwhile was answered.
        let _ = want.try_recv();
        let due = Instant::now() + next;
        loop {
            tokio::select! {
                () = sleep_until(due) => break,
                wanted = want.recv() => {
                    if wanted.is_none() {
                        return;
                    }
                    if clock.mono().since(tell.borrow().began) >= AT_MOST_EVERY {
                        break;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
