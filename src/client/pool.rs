//! A local pool: calls fetched ahead, so that most of them leave with nobody
//! asked.
//!
//! ```no_run
//! use quotagate::client::{Answer, Ask, Client};
//!
//! # async fn f() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect("127.0.0.1:7400").await?;
//! let pool = client.pool(&Ask::new("acme", "rest").workspace("acme-eu"));
//! for _ in 0..1_000 {
//!     let call = pool.start().await?;
//!     // Exactly one request on the wire, as `call.execution_user()`; then:
//!     call.report_later(Answer::new(200).limit_info("api-usage=18/5000"));
//! }
//! pool.close().await;
//! # Ok(()) }
//! ```
//!
//! **How much it fetches.** As many calls as were taken in a *target period* of
//! late: a second, or less where a window or a permit's life is short (a hundredth
//! of the window, a quarter of the life), and never more than a sixteenth of what
//! is left of the limits. When half of that is gone, the next batch is fetched in
//! the background. Where a limit binds, or takes slots, or gives less than two
//! calls a period, nothing is fetched ahead: then a request asks for as many calls
//! as are waited for, and one waits at the service for all who wait here, who are
//! served in order.
//!
//! **What comes back.** Calls that nobody has wanted for a period, and whatever
//! is left in the middle of a permit's life; all of it when the last handle of
//! the pool is dropped. If the process dies instead, its permits end by
//! themselves, and their calls count as used: the pool wastes what it held,
//! nothing is counted twice.
//!
//! **What is told.** Outcomes that are the same are told as one, a fraction of a
//! window later: [`PooledCall::report_later`] waits for nothing. Errors are told at once,
//! and if the service then advises to wait, the pool gives back what it has of
//! that execution user. A denial is remembered until its `retry_after`, 5 s at
//! most, so that a thousand callers do not ask a thousand times.

mod service;
pub mod source;
mod stock;
mod tend;
#[cfg(test)]
mod tests;

use std::{error::Error, fmt, sync::Arc, time::Duration};

pub use self::service::{Service, ServicePermit};
use self::{
    source::{MAX_CALLS, Source},
    stock::Taken,
    tend::Shared,
};

/// How long [`Pool::close`] waits for what is to be told.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// How a pool fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    /// Calls are fetched ahead for this long, as many as were taken of late in so
    /// long a time; for less, where windows or permits are short.
    pub target_period: Duration,
    /// The most calls to fetch at once, 1 to 10,000.
    pub max_batch: u32,
    /// How long a caller waits for room; zero is not at all. If the service says
    /// nothing, it hears of that after the client's timeout beyond.
    pub max_wait: Duration,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            target_period: Duration::from_secs(1),
            max_batch: MAX_CALLS,
            max_wait: Duration::ZERO,
        }
    }
}

/// Calls for one question. Clones share them.
///
/// It is used within a Tokio runtime; guards may be dropped anywhere.
pub struct Pool<S: Source = Service> {
    shared: Arc<Shared<S>>,
    max_wait: Duration,
}

/// A call that may be started. If it is dropped instead, the next taker gets it.
#[must_use = "the call goes back when this is dropped"]
pub struct Pooled<'pool, S: Source = Service> {
    pool: Hold<'pool, S>,
    taken: Taken,
}

/// A call that was started.
///
/// If it is dropped unreported it is reported as without an answer, which counts
/// as sent: nobody can know.
#[must_use = "a call that is dropped is reported as if no answer had come"]
pub struct PooledCall<'pool, S: Source = Service> {
    pool: Hold<'pool, S>,
    taken: Taken,
}

/// The deadline of the call has passed: it must not be made. Another one can be
/// acquired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallExpired;

impl<S: Source> Pool<S> {
    /// An empty pool: it fetches when it is first asked.
    pub fn new(source: S, options: PoolOptions) -> Self {
        let options = PoolOptions { max_batch: options.max_batch.clamp(1, MAX_CALLS), ..options };
        Self { shared: Arc::new(Shared::new(source, options)), max_wait: options.max_wait }
    }

    /// A call that is at hand; `None` if the service would have to be asked.
    #[inline]
    #[must_use]
    pub fn try_acquire(&self) -> Option<Pooled<'_, S>> {
        let taken = self.shared.take()?;
        Some(Pooled { pool: Hold::Borrowed(&self.shared), taken })
    }

    /// A call: one that is at hand, else as soon as the service grants one. Who
    /// waits is served in order.
    ///
    /// # Errors
    /// The service answered no, or could not decide.
    #[inline]
    pub async fn acquire(&self) -> Result<Pooled<'_, S>, S::Error> {
        let taken = self.take_or_wait().await?;
        Ok(Pooled { pool: Hold::Borrowed(&self.shared), taken })
    }

    /// The same with a guard that does not borrow the pool.
    ///
    /// # Errors
    /// The service answered no, or could not decide.
    pub async fn acquire_owned(&self) -> Result<Pooled<'static, S>, S::Error> {
        let taken = self.take_or_wait().await?;
        Ok(Pooled { pool: Hold::Owned(Arc::clone(&self.shared)), taken })
    }

    /// Acquires a call and starts it: send the request now.
    ///
    /// # Errors
    /// The service answered no, or could not decide.
    #[inline]
    pub async fn start(&self) -> Result<PooledCall<'_, S>, S::Error> {
        loop {
            // What has expired here is not handed out again.
            if let Ok(call) = self.acquire().await?.start() {
                return Ok(call);
            }
        }
    }

    /// The same with a guard that does not borrow the pool.
    ///
    /// # Errors
    /// The service answered no, or could not decide.
    pub async fn start_owned(&self) -> Result<PooledCall<'static, S>, S::Error> {
        loop {
            if let Ok(call) = self.acquire_owned().await?.start() {
                return Ok(call);
            }
        }
    }

    /// Gives back what is at hand, and waits until everything has been told to
    /// the service, 2 s at most. True if it has. What is acquired afterwards is
    /// fetched call by call.
    pub async fn close(&self) -> bool {
        self.shared.close();
        tokio::time::timeout(CLOSE_TIMEOUT, self.shared.at_rest()).await.is_ok()
    }

    #[inline]
    async fn take_or_wait(&self) -> Result<Taken, S::Error> {
        match self.shared.take() {
            Some(taken) => Ok(taken),
            None => self.shared.wait(self.max_wait).await,
        }
    }
}

impl<'pool, S: Source> Pooled<'pool, S> {
    /// Starts the call: send the request now.
    ///
    /// # Errors
    /// Its deadline has passed: it must not be sent.
    #[inline]
    pub fn start(mut self) -> Result<PooledCall<'pool, S>, CallExpired> {
        let pool = self.pool.take();
        match pool.shared() {
            Some(shared) if !shared.is_over(self.taken) => {
                Ok(PooledCall { pool, taken: self.taken })
            }
            _ => Err(CallExpired),
        }
    }

    /// The Salesforce user to make the call as; empty where the operation does
    /// not depend on one and none was named.
    #[must_use]
    pub fn execution_user(&self) -> String {
        self.pool.execution_user(self.taken)
    }
}

impl<S: Source> PooledCall<'_, S> {
    /// Tells what came back, and waits until the service knows. It never fails:
    /// what could not be told goes on in the background. Returns true if the
    /// service advises not to go on: what the pool had of this execution user has
    /// gone back then.
    pub async fn report(mut self, answer: S::Answer) -> bool {
        let pool = self.pool.take();
        match pool.shared() {
            Some(shared) => shared.tell(self.taken.slot, answer).await,
            None => false,
        }
    }

    /// Tells what came back, in the background.
    #[inline]
    pub fn report_later(mut self, answer: S::Answer) {
        if let Some(shared) = self.pool.take().shared() {
            shared.settle(self.taken.slot, Some(answer));
        }
    }

    /// The request was certainly not sent, and will not be: the connection was
    /// refused, or the name not found. The next taker gets the call.
    pub fn unsent(mut self) {
        if let Some(shared) = self.pool.take().shared() {
            shared.put_back(self.taken.slot);
        }
    }

    /// The Salesforce user to make the call as; empty where the operation does
    /// not depend on one and none was named.
    #[must_use]
    pub fn execution_user(&self) -> String {
        self.pool.execution_user(self.taken)
    }
}

impl<S: Source> Drop for Pooled<'_, S> {
    fn drop(&mut self) {
        if let Some(shared) = self.pool.shared() {
            shared.put_back(self.taken.slot);
        }
    }
}

impl<S: Source> Drop for PooledCall<'_, S> {
    fn drop(&mut self) {
        if let Some(shared) = self.pool.shared() {
            shared.settle(self.taken.slot, None);
        }
    }
}

impl<S: Source> Clone for Pool<S> {
    fn clone(&self) -> Self {
        self.shared.hold();
        Self { shared: Arc::clone(&self.shared), max_wait: self.max_wait }
    }
}

impl<S: Source> Drop for Pool<S> {
    fn drop(&mut self) {
        self.shared.let_go();
    }
}

/// How a guard holds its pool. Counting references costs as much as taking a
/// call, so it is done only where a guard has to outlive its borrow.
enum Hold<'pool, S: Source> {
    Borrowed(&'pool Arc<Shared<S>>),
    Owned(Arc<Shared<S>>),
    /// The guard has nothing left to do.
    Nothing,
}

impl<S: Source> Hold<'_, S> {
    #[inline]
    fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Nothing)
    }

    #[inline]
    fn shared(&self) -> Option<&Arc<Shared<S>>> {
        match self {
            Self::Borrowed(shared) => Some(shared),
            Self::Owned(shared) => Some(shared),
            Self::Nothing => None,
        }
    }

    fn execution_user(&self, taken: Taken) -> String {
        let shared = self.shared();
        let permit = shared.and_then(|shared| Some((shared, shared.permit(taken.slot)?)));
        permit.map_or(String::new(), |(shared, permit)| {
            shared.source.execution_user(&permit).to_owned()
        })
    }
}

impl<S: Source> fmt::Debug for Pool<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("max_wait", &self.max_wait).finish_non_exhaustive()
    }
}

impl<S: Source> fmt::Debug for Pooled<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pooled").field("deadline", &self.taken.deadline).finish_non_exhaustive()
    }
}

impl<S: Source> fmt::Debug for PooledCall<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledCall").finish_non_exhaustive()
    }
}

impl fmt::Display for CallExpired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the call's deadline has passed: it must not be made")
    }
}

impl Error for CallExpired {}
