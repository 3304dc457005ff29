//! The guards: a permit gives back what was not started, a call that was started
//! is reported.

use std::{
    error::Error,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use super::{answer::Answer, settle::Settling};
use crate::{
    clock::Moment,
    proto::v1::{Advice, ClassState, LimitUsage},
};

/// The right to start some calls before its deadline.
///
/// What was never started goes back when this is dropped. Each started call is a
/// [`Call`] of its own, which is reported, at the latest when it is dropped.
/// Nothing of that waits, and nothing of it can fail the caller: it is done in
/// the background, and tried again within the permit's life.
///
/// ```no_run
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// use quotagate::client::{Answer, Ask, Client};
///
/// let client = Client::connect("127.0.0.1:7400").await?;
/// let mut permit = client.permit(&Ask::new("acme", "rest").calls(3)).await?;
/// while permit.left() > 0 {
///     let call = permit.start()?;
///     // Exactly one request on the wire, retries of the HTTP library switched off:
///     let status = 200;
///     call.report(Answer::new(status).limit_info("api-usage=18/5000")).await;
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "what is not started goes back at once when this is dropped"]
pub struct Permit {
    grant: Arc<Grant>,
    /// Calls of this guard's that were not started.
    left: u32,
    /// Whether it is a part of a permit, which gives back to the whole.
    is_part: bool,
}

/// A call, or several with one outcome, that was started.
///
/// If it is dropped unreported it is reported as without an answer, which counts
/// as sent: nobody can know.
#[derive(Debug)]
#[must_use = "a call that is dropped is reported as if no answer had come"]
pub struct Call {
    grant: Arc<Grant>,
    first: u32,
    calls: u32,
    /// Reported, or known to be unsent.
    settled: bool,
}

/// Who granted a permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The service.
    Service,
    /// The [outage policy](super::OutagePolicy), while the service could not
    /// decide.
    Outage,
}

/// No call of the permit may be started: its deadline has passed, or all were
/// started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PermitExpired {
    /// The deadline has passed.
    Expired,
    /// All calls were started.
    NoneLeft,
}

/// What the service says to a report.
#[derive(Clone, Debug, PartialEq)]
pub struct Reported {
    /// What to do next.
    pub advice: Advice,
    /// How long to wait, for [`Advice::BackOff`].
    pub back_off: Option<Duration>,
    /// The traffic classes of the permit's workspace, where it had one.
    pub class_state: Option<ClassState>,
    /// False where the service could not be told yet: it goes on in the
    /// background, and the advice is to continue.
    pub is_settled: bool,
}

/// What was granted, and what has become of it. All guards of a permit share it.
#[derive(Debug)]
pub(super) struct Grant {
    /// What it says.
    pub terms: Terms,
    /// Whom to tell.
    pub settling: Settling,
    /// Ordinals below were started, those of `unsent` taken back.
    started: AtomicU32,
    /// Unstarted calls that parts have given back to the whole.
    returned: AtomicU32,
    /// Ordinals that were started, and certainly not sent.
    unsent: Mutex<Vec<u32>>,
    /// A permit is released once.
    is_released: AtomicBool,
}

/// What a permit says.
#[derive(Debug)]
pub(super) struct Terms {
    /// Its name in Release and Report; empty for one of the outage policy.
    pub id: String,
    /// How many calls may be started.
    pub calls: u32,
    /// The user to make them as.
    pub execution_user: String,
    /// No call may start after it.
    pub deadline: Moment,
    /// Every limit that was charged, as it stands after the grant.
    pub limits: Vec<LimitUsage>,
    /// The classes of the workspace.
    pub class_state: Option<ClassState>,
}

impl Permit {
    /// A permit whose calls are all there.
    pub(super) fn new(terms: Terms, settling: Settling) -> Self {
        let left = terms.calls;
        let grant = Grant {
            terms,
            settling,
            started: AtomicU32::new(0),
            returned: AtomicU32::new(0),
            unsent: Mutex::default(),
            is_released: AtomicBool::new(false),
        };
        Self { grant: Arc::new(grant), left, is_part: false }
    }

    /// The name of the permit; empty for one of the outage policy.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.grant.terms.id
    }

    /// How many calls were granted.
    #[must_use]
    pub fn calls(&self) -> u32 {
        self.grant.terms.calls
    }

    /// How many calls of this guard's may still be started.
    #[must_use]
    pub fn left(&self) -> u32 {
        self.left + if self.is_part { 0 } else { self.grant.returned.load(Ordering::Relaxed) }
    }

    /// The Salesforce user to make the calls as; empty where the operation does
    /// not depend on one and none was named.
    #[must_use]
    pub fn execution_user(&self) -> &str {
        &self.grant.terms.execution_user
    }

    /// No call may be started from this moment on.
    #[must_use]
    pub fn deadline(&self) -> Moment {
        self.grant.terms.deadline
    }

    /// Every limit that was charged, as it stood after the grant.
    #[must_use]
    pub fn limits(&self) -> &[LimitUsage] {
        &self.grant.terms.limits
    }

    /// The traffic classes of the workspace, where one was named.
    #[must_use]
    pub fn class_state(&self) -> Option<&ClassState> {
        self.grant.terms.class_state.as_ref()
    }

    /// Who granted it.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.grant.settling.origin()
    }

    /// Starts a call: send the request now.
    ///
    /// # Errors
    /// The deadline has passed, or all calls were started. It must not be sent.
    pub fn start(&mut self) -> Result<Call, PermitExpired> {
        self.start_at(Moment::now(), 1)
    }

    /// Starts so many calls that will have one outcome, such as those of a batch
    /// that goes out at once: one report settles all of them.
    ///
    /// # Errors
    /// The deadline has passed, or fewer calls are left. None must be sent.
    pub fn start_many(&mut self, calls: u32) -> Result<Call, PermitExpired> {
        self.start_at(Moment::now(), calls.max(1))
    }

    /// The same for a clock that was read already.
    pub(super) fn start_at(&mut self, now: Moment, calls: u32) -> Result<Call, PermitExpired> {
        if now >= self.deadline() {
            return Err(PermitExpired::Expired);
        }
        if !self.take(calls) {
            return Err(PermitExpired::NoneLeft);
        }
        let reused = if calls == 1 { self.grant.unsent().pop() } else { None };
        let has_hole = reused.is_none()
            && self.grant.started.load(Ordering::Relaxed) + calls > self.grant.terms.calls;
        if has_hole {
            // One report needs numbers in a row, and some of these were taken back
            // from between others.
            self.left += calls;
            return Err(PermitExpired::NoneLeft);
        }
        // Ordinals are given out at the start, so that those of calls that never
        // start are the last ones: which are what a Release gives back.
        let first =
            reused.unwrap_or_else(|| self.grant.started.fetch_add(calls, Ordering::Relaxed));
        Ok(Call { grant: Arc::clone(&self.grant), first, calls, settled: false })
    }

    /// Splits calls off into a guard of their own, for another task. What it does
    /// not start comes back to this one, if that is still there, and counts as
    /// used otherwise. `None` if fewer are left.
    #[must_use = "what is split off comes back when it is dropped"]
    pub fn split(&mut self, calls: u32) -> Option<Self> {
        let has_taken = self.take(calls);
        has_taken.then(|| Self { grant: Arc::clone(&self.grant), left: calls, is_part: true })
    }

    /// Gives back now what was not started: the same as dropping it.
    pub fn release(self) {
        drop(self);
    }

    /// What was granted, for somebody else to look after: nothing goes back.
    pub(super) fn into_grant(mut self) -> Arc<Grant> {
        self.left = 0;
        Arc::clone(&self.grant)
    }

    fn take(&mut self, calls: u32) -> bool {
        if !self.is_part && calls > self.left {
            self.left += self.grant.returned.swap(0, Ordering::Relaxed);
        }
        let is_there = calls <= self.left;
        if is_there {
            self.left -= calls;
        }
        is_there
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.is_part {
            self.grant.returned.fetch_add(self.left, Ordering::Relaxed);
        } else if self.left() > 0 {
            if self.grant.unsent().is_empty() {
                self.grant.release(self.left());
            } else {
                // A permit is released once, and a Release takes the last numbers that no
                // report has settled. What was taken back from between calls that are
                // still out goes back, with all the rest, when those are settled.
                self.grant.returned.fetch_add(self.left, Ordering::Relaxed);
            }
        }
    }
}

impl Call {
    /// The number of the call within its permit, from 0; of several, the first.
    #[must_use]
    pub fn ordinal(&self) -> u32 {
        self.first
    }

    /// How many calls this is.
    #[must_use]
    pub fn calls(&self) -> u32 {
        self.calls
    }

    /// The Salesforce user to make the call as: see [`Permit::execution_user`].
    #[must_use]
    pub fn execution_user(&self) -> &str {
        &self.grant.terms.execution_user
    }

    /// Tells what Salesforce answered, and waits for what the service says to
    /// that. It never fails: what could not be told goes on in the background.
    pub async fn report(mut self, answer: Answer) -> Reported {
        self.settled = true;
        self.grant.settling.report(&self.grant.terms, self.first, self.calls, answer).await
    }

    /// Tells what Salesforce answered, in the background.
    pub fn report_later(mut self, answer: Answer) {
        self.settled = true;
        self.grant.settling.report_later(&self.grant.terms, self.first, self.calls, answer);
    }

    /// The request was certainly not sent, and will not be: the connection was
    /// refused, or the name not found. The call goes back.
    pub fn unsent(mut self) {
        self.settled = true;
        let mut unsent = self.grant.unsent();
        let end = self.first + self.calls;
        let were_last = self.grant.started.compare_exchange(
            end,
            self.first,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        if were_last.is_err() {
            unsent.extend((self.first..end).rev());
        }
        drop(unsent);
        // The permit, if it is still there, may start it again.
        self.grant.returned.fetch_add(self.calls, Ordering::Relaxed);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.settled {
            let (grant, answer) = (&self.grant, Answer::none());
            grant.settling.report_later(&grant.terms, self.first, self.calls, answer);
        }
    }
}

impl Grant {
    fn unsent(&self) -> std::sync::MutexGuard<'_, Vec<u32>> {
        self.unsent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(&self, unused_calls: u32) {
        if !self.is_released.swap(true, Ordering::Relaxed) {
            // Without a number it is all, which the service takes only while
            // nothing was reported.
            let unused = (unused_calls < self.terms.calls).then_some(unused_calls);
            self.settling.release_later(&self.terms, unused);
        }
    }
}

impl Drop for Grant {
    /// The last guard has gone.
    fn drop(&mut self) {
        let returned = self.returned.load(Ordering::Relaxed);
        if returned > 0 {
            self.release(returned);
        }
    }
}

impl Default for Reported {
    /// Nothing was said.
    fn default() -> Self {
        Self { advice: Advice::Continue, back_off: None, class_state: None, is_settled: false }
    }
}

impl fmt::Display for PermitExpired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "the permit's deadline has passed: the call must not be made",
            Self::NoneLeft => "all calls of the permit were started",
        })
    }
}

impl Error for PermitExpired {}
