//! Notices that etcd has lost what it once acknowledged.

use std::sync::{Mutex, MutexGuard, PoisonError};

use etcd_client::ResponseHeader;
use tokio::sync::watch;

use super::unsigned;
use crate::store::StoreError;

/// The newest that linearizable answers have shown. Only those count: keep-alives
/// and watches are answered by a member that may lag behind.
#[derive(Debug, Default)]
pub(super) struct History {
    known: Mutex<Known>,
    lives: watch::Sender<u64>,
}

/// What was known at some moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// How many times etcd went back.
    lives: u64,
    /// Names the cluster: one that is made anew has another one, and so does one
    /// that is restored with other members.
    cluster: Option<u64>,
    revision: u64,
}

impl History {
    /// Follows how many times etcd went back. Whoever notices it first, be it a
    /// watch that has nobody to tell: all hear of it.
    pub(super) fn lives(&self) -> watch::Receiver<u64> {
        self.lives.subscribe()
    }

    /// What is known before a request is sent: its answer must not be older.
    pub(super) fn known(&self) -> Known {
        *self.lock()
    }

    /// Takes in an answer's header: the cluster and the revision.
    ///
    /// # Errors
    /// [`StoreError::WentBack`] if it is older than what was known when it was
    /// asked for. What it shows is what is known from then on.
    pub(super) fn check(
        &self,
        asked: Known,
        header: Option<&ResponseHeader>,
    ) -> Result<(u64, u64), StoreError> {
        let Some(header) = header else {
            return Err(StoreError::Unknown("an answer of etcd has no header".to_owned()));
        };
        let (cluster, revision) = (header.cluster_id(), unsigned(header.revision()));
        self.take_in(asked, cluster, revision)?;
        Ok((cluster, revision))
    }

    fn take_in(&self, asked: Known, cluster: u64, revision: u64) -> Result<(), StoreError> {
        let is_other = asked.cluster.is_some_and(|known| known != cluster);
        let went_back = is_other || revision < asked.revision;
        let mut known = self.lock();
        if known.lives == asked.lives && went_back {
            tracing::error!(
                seen = asked.revision,
                found = revision,
                was_cluster = asked.cluster.map(|id| format!("{id:x}")),
                cluster = format!("{cluster:x}"),
                "etcd went back: it was restored from a backup, or made anew"
            );
            *known = Known { lives: known.lives + 1, cluster: Some(cluster), revision };
            self.lives.send_replace(known.lives);
        } else if (known.lives == asked.lives) != went_back
            && known.cluster.is_none_or(|known| known == cluster)
        {
            // Of the history that holds now. An answer of a former one, that
            // comes late, is not.
            known.cluster = Some(cluster);
            known.revision = known.revision.max(revision);
        }
        drop(known);
        if went_back {
            return Err(StoreError::WentBack { seen: asked.revision, found: revision });
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Nothing under the lock panics half-way.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers in order, each as (what was known when it was asked: the number
    /// of the answer before which it was asked, cluster, revision, went back).
    fn check(rows: &[(usize, u64, u64, bool)], at_the_end: u64) {
        let history = History::default();
        let mut known = vec![history.known()];
        for (at, (asked, cluster, revision, went_back)) in rows.iter().enumerate() {
            let answer = history.take_in(known[*asked], *cluster, *revision);
            let expected = *went_back;
            assert_eq!(matches!(answer, Err(StoreError::WentBack { .. })), expected, "{at}");
            known.push(history.known());
        }
        assert_eq!(history.known().revision, at_the_end);
    }

    #[test]
    fn an_answer_may_be_older_than_others_but_not_than_its_question() {
        check(&[(0, 1, 5, false), (1, 1, 9, false), (1, 1, 7, false), (3, 1, 9, false)], 9);
        check(&[(0, 1, 5, false), (1, 1, 4, true)], 4);
    }

    #[test]
    fn all_hear_of_it_whoever_notices() {
        let history = History::default();
        let mut lives = history.lives();
        let asked = history.known();
        history.take_in(asked, 1, 5).unwrap();
        assert!(!lives.has_changed().unwrap());
        let asked = history.known();
        for _ in 0..3 {
            assert!(history.take_in(asked, 1, 2).is_err());
        }
        assert!(lives.has_changed().unwrap());
        assert_eq!(*lives.borrow_and_update(), 1);
    }

    #[test]
    fn another_cluster_is_another_history_whatever_its_revision() {
        check(&[(0, 1, 5, false), (1, 2, 90, true), (2, 2, 91, false)], 91);
    }

    #[test]
    fn what_went_back_is_told_once_to_each_who_asked_before_and_holds_then() {
        check(
            &[
                (0, 1, 100, false),
                (1, 1, 5, true),
                // Asked before it was noticed.
                (1, 1, 6, true),
                // Of the old history, on the way for long.
                (1, 1, 101, false),
                (4, 1, 6, false),
                (5, 1, 7, false),
            ],
            7,
        );
    }
}
