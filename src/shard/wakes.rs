//! Wakes ledgers at the moments that they have named: when a waiting request's
//! turn comes or its wait ends, and when a block is to be fetched.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use super::Shards;
use crate::quota::{Mono, OrgId};

/// Planned wakes, earliest first; of one ledger there is one.
#[derive(Debug, Default)]
pub struct Wakes {
    planned: Mutex<BTreeSet<(Mono, OrgId)>>,
    earlier: Notify,
}

/// A ledger that asks for a wake that is due already has just been looked at:
/// it is looked at again after this, not in a busy loop.
const SHORTEST: Duration = Duration::from_millis(1);

impl Wakes {
    /// Plans a wake in place of a later one, and says for when: not for now,
    /// since the ledger has just been looked at, and a wake that leads to the
    /// next one would spin.
    pub fn plan(&self, at: Mono, former: Option<Mono>, now: Mono, org: &OrgId) -> Mono {
        let at = at.max(now + SHORTEST);
        let mut planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(former) = former {
            planned.remove(&(former, org.clone()));
        }
        let is_first = planned.first().is_none_or(|(first, _)| at < *first);
        planned.insert((at, org.clone()));
        if is_first {
            self.earlier.notify_one();
        }
        at
    }

    /// Takes out one wake that is due.
    fn take_due(&self, now: Mono) -> Option<(Mono, OrgId)> {
        let mut planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
        planned.first().filter(|(at, _)| *at <= now)?;
        planned.pop_first()
    }

    fn next(&self) -> Option<Mono> {
        let planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
        planned.first().map(|(at, _)| *at)
    }
}

impl Shards {
    /// Carries out the planned wakes, until the process stops.
    pub(super) async fn wake(self: Arc<Self>) {
        let mut stopping = self.stopping.subscribe();
        loop {
            while let Some((at, org)) = self.wakes.take_due(self.clock.mono()) {
                self.with_live(&org, |_, inner, now| {
                    if inner.wake_at == Some(at) {
                        inner.wake_at = None;
                    }
                    self.pump(inner, now.mono);
                });
                // What this has woken may wait for this very thread: the runtime
                // lets no other take it. Where a look takes longer than
                // `SHORTEST`, the next wake is due already, and without this
                // the reserver that was just asked would never have its turn.
                tokio::task::yield_now().await;
            }
            let until = self.wakes.next().map(|at| at.since(self.clock.mono()).max(SHORTEST));
            tokio::select! {
                biased;
                _ = stopping.changed() => return,
                () = self.wakes.earlier.notified() => {}
                () = tokio::time::sleep(until.unwrap_or(Duration::MAX)), if until.is_some() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Waker},
    };

    use super::*;
    use crate::{
        clock::Clock, config::Config, metrics::Metrics, node::Settings, quota::Wall,
        store::MemoryStore,
    };

    #[tokio::test]
    async fn between_two_wakes_others_have_their_turn() {
        // On a busy machine a look at a ledger took longer than the time to its
        // next wake: the loop never ended, and the reserver, woken by it and
        // waiting for its thread, fetched no block for seconds.
        let store: crate::store::SharedStore = Arc::new(MemoryStore::new());
        let settings = Settings::read(Config::built_in(), &*store).await.expect("they are read");
        let metrics = Arc::new(Metrics::new("test", Wall(0)));
        let clock = Clock::default();
        let running =
            Shards::start(store, clock, metrics, Arc::new(settings) as _, "test".to_owned())
                .await
                .expect("they start");
        let shards = running.shards();
        let planned = || shards.wakes.planned.lock().expect("no panic").len();
        for name in ["acme", "globex", "initech"] {
            let past = shards.now().mono - SHORTEST * 2;
            shards.wakes.plan(past, None, past, &OrgId::parse(name).expect("an org"));
        }
        let mut wake = pin!(Arc::clone(&shards).wake());
        let mut context = Context::from_waker(Waker::noop());
        for left in [2, 1, 0] {
            assert!(wake.as_mut().poll(&mut context).is_pending());
            assert_eq!(planned(), left);
        }
    }

    #[test]
    fn a_wake_that_is_due_already_does_not_come_in_the_same_moment() {
        // A ledger that asked for a wake in the past was woken again at once,
        // for ever, and nothing else ran on that thread.
        let (wakes, now) = (Wakes::default(), Mono(1_000_000));
        let org = OrgId::parse("acme").expect("an org");
        for at in [Mono(0), now] {
            let planned = wakes.plan(at, None, now, &org);
            assert!(planned > now);
            assert_eq!(wakes.take_due(now), None);
            assert_eq!(wakes.take_due(planned), Some((planned, org.clone())));
        }
        let later = now + Duration::from_secs(60);
        assert_eq!(wakes.plan(later, None, now, &org), later);
    }

    #[test]
    fn an_earlier_wake_takes_the_place_of_a_later_one() {
        // Short waits beside a long one left a wake behind each.
        let (wakes, now) = (Wakes::default(), Mono(1_000_000));
        let org = OrgId::parse("acme").expect("an org");
        let mut former = None;
        for seconds in (1..600).rev() {
            former = Some(wakes.plan(now + Duration::from_secs(seconds), former, now, &org));
        }
        let after_all = now + Duration::from_secs(600);
        assert_eq!(wakes.take_due(after_all).map(|(at, _)| at), former);
        assert_eq!(wakes.take_due(after_all), None);
    }
}
