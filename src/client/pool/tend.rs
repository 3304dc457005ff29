//! The task that looks after a pool: it fetches, gives back and tells, as long as
//! there is anything to look after.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{Notify, oneshot},
    task::AbortHandle,
};

use super::{
    PoolOptions,
    source::{Fetched, Refusal, Source},
    stock::{Ask, Outcome, Slot, Step, Stock, Taken},
};

/// Who waits hears from the service when its time is over, or, if the service says
/// nothing, from the request a timeout later; this is how much longer it waits for
/// that word. If it left first, the request would be given up for want of anybody
/// who waits, and nobody would learn that the service is away.
const GRACE: Duration = Duration::from_millis(250);

/// Reports and releases under way at the same time, beyond which outcomes are
/// gathered for longer.
const MOST_TOLD: usize = 64;

/// What all handles and guards of a pool share.
///
/// One mutex guards the counters. It is held for some ten instructions and never
/// over a wait, and where one thread takes calls it costs as much as the two
/// atomic operations that anything else would need, at the least.
pub(super) struct Shared<S: Source> {
    pub(super) source: S,
    state: Mutex<State<S>>,
    /// There is something to do.
    work: Notify,
    /// Everything has been told.
    rest: Notify,
    /// Where the pool was first used: guards may be dropped anywhere.
    runtime: OnceLock<Handle>,
    next_waiter: AtomicU64,
    /// Handles of the pool; guards are none.
    handles: AtomicUsize,
}

struct State<S: Source> {
    stock: Stock<S::Permit, S::Answer, S::Error, Waiter<S>>,
    /// Whether a task looks after the stock.
    is_tended: bool,
    /// The request that waits for room.
    parked: Option<AbortHandle>,
    /// Reports and releases under way.
    telling: usize,
}

struct Waiter<S: Source> {
    id: u64,
    sender: oneshot::Sender<Result<Taken, S::Error>>,
}

impl<S: Source> Shared<S> {
    pub(super) fn new(source: S, options: PoolOptions) -> Self {
        let stock = Stock::new(options);
        Self {
            source,
            state: Mutex::new(State { stock, is_tended: false, parked: None, telling: 0 }),
            work: Notify::new(),
            rest: Notify::new(),
            runtime: OnceLock::new(),
            next_waiter: AtomicU64::new(0),
            handles: AtomicUsize::new(1),
        }
    }

    /// A call that is at hand.
    #[inline]
    pub(super) fn take(self: &Arc<Self>) -> Option<Taken> {
        let (taken, is_low) = self.lock().stock.take()?;
        if is_low {
            self.attend();
        }
        Some(taken)
    }

    /// Lines up for a call.
    pub(super) async fn wait(self: &Arc<Self>, max_wait: Duration) -> Result<Taken, S::Error> {
        self.runtime.get_or_init(Handle::current);
        let now = self.source.now();
        let until = (!max_wait.is_zero()).then(|| now + max_wait);
        let (sender, receiver) = oneshot::channel();
        let id = self.next_waiter.fetch_add(1, Ordering::Relaxed);
        let queued = self.lock().stock.wait(now, Waiter { id, sender }, until);
        queued.map_err(|(error, age)| self.source.aged(error, age))?;
        let mut place = Place { shared: self, id, receiver, is_left: false };
        self.attend();
        let answer = if until.is_none() {
            (&mut place.receiver).await.ok()
        } else {
            let patience = max_wait.saturating_add(self.source.timeout()).saturating_add(GRACE);
            let answer = tokio::time::timeout(patience, &mut place.receiver).await;
            answer.ok().and_then(Result::ok)
        };
        place.is_left = answer.is_some();
        answer.unwrap_or_else(|| Err(self.source.gave_up()))
    }

    /// A call was not sent, and will not be.
    pub(super) fn put_back(self: &Arc<Self>, slot: Slot) {
        let has_work = self.lock().stock.put_back(slot);
        if has_work {
            self.attend();
        }
    }

    /// A call has an outcome, `None` where no answer came.
    #[inline]
    pub(super) fn settle(self: &Arc<Self>, slot: Slot, answer: Option<S::Answer>) {
        let has_work = self.lock().stock.settle(slot, answer);
        if has_work {
            self.attend();
        }
    }

    /// Tells a call's outcome now. Returns whether no more had better be made.
    pub(super) async fn tell(self: &Arc<Self>, slot: Slot, answer: S::Answer) -> bool {
        let (numbered, telling) = {
            let mut state = self.lock();
            state.telling += 1;
            (state.stock.number(slot), Telling(Arc::clone(self)))
        };
        let Some((permit, number)) = numbered else { return false };
        let advice = self.told(permit, number, 1, Some(answer)).await;
        drop(telling);
        advice
    }

    /// A call was taken and turns out to be too late. True if it is.
    #[inline]
    pub(super) fn is_over(&self, taken: Taken) -> bool {
        let now = self.source.now();
        let is_over = now >= taken.deadline;
        if is_over {
            self.lock().stock.discard(now, taken.slot);
        }
        is_over
    }

    /// The permit that a batch is of.
    pub(super) fn permit(&self, slot: Slot) -> Option<S::Permit> {
        self.lock().stock.permit(slot).cloned()
    }

    /// There is one more handle.
    pub(super) fn hold(&self) {
        self.handles.fetch_add(1, Ordering::Relaxed);
    }

    /// There is one handle less. With the last, unused calls go back.
    pub(super) fn let_go(self: &Arc<Self>) {
        if self.handles.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.close();
        }
    }

    /// Nothing is fetched ahead any more, and what is at hand goes back.
    pub(super) fn close(self: &Arc<Self>) {
        self.lock().stock.close();
        self.attend();
    }

    /// Returns when everything that there is to tell has been told.
    pub(super) async fn at_rest(&self) {
        loop {
            let mut rest = std::pin::pin!(self.rest.notified());
            rest.as_mut().enable();
            if self.lock().is_at_rest() {
                break;
            }
            rest.await;
        }
        self.source.flush().await;
    }

    fn lock(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that somebody looks after the stock.
    #[cold]
    fn attend(self: &Arc<Self>) {
        let is_tended = std::mem::replace(&mut self.lock().is_tended, true);
        if is_tended {
            self.work.notify_one();
            return;
        }
        let tending = Tending { shared: Arc::clone(self), is_over: false };
        // A runtime may have ended since.
        let here = Handle::try_current().ok();
        if let Some(runtime) = here.as_ref().or(self.runtime.get()) {
            runtime.spawn(tend(tending));
        }
    }

    /// Does what is to be done, and says when to look again.
    fn do_work(self: &Arc<Self>) -> Next {
        let now = self.source.now();
        let mut state = self.lock();
        let may_tell = state.telling < MOST_TOLD;
        let Step { asks, cancel_parked, served, returns, outcomes, wake } =
            state.stock.step(now, may_tell);
        for (waiter, taken) in served {
            // Who waits has left the line, under this lock, before it stops listening.
            let _ = waiter.sender.send(Ok(taken));
        }
        if cancel_parked && let Some(task) = state.parked.take() {
            task.abort();
        }
        state.telling += returns.len() + outcomes.len();
        let is_over = wake.is_none() && state.stock.is_idle();
        state.is_tended = !is_over;
        let is_at_rest = state.is_at_rest();
        drop(state);
        if is_at_rest {
            self.rest.notify_waiters();
        }
        // Not under the lock: a runtime that closes drops what is spawned at once,
        // which takes the lock itself.
        let is_lost = self.send(asks);
        for (permit, unused) in returns {
            let telling = Telling(Arc::clone(self));
            tokio::spawn(async move { telling.0.source.release(permit, unused).await });
        }
        for outcome in outcomes {
            let telling = Telling(Arc::clone(self));
            let Outcome { permit, first, calls, answer, .. } = outcome;
            tokio::spawn(async move { telling.0.told(permit, first, calls, answer).await });
        }
        match wake {
            _ if is_over => Next::Nothing,
            _ if is_lost => Next::Again,
            None => Next::Work,
            Some(wake) => Next::Sleep(wake.since(now)),
        }
    }

    /// Sends requests. True if one is over already, as on a runtime that closes.
    fn send(self: &Arc<Self>, asks: Vec<Ask>) -> bool {
        let mut is_over = false;
        for ask in asks {
            let request = Request { shared: Arc::clone(self), ask: Some(ask) };
            let task = tokio::spawn(request.send());
            is_over |= task.is_finished();
            if ask.until.is_some() {
                // If it has been answered meanwhile, this one ends nothing.
                self.lock().parked = Some(task.abort_handle());
            }
        }
        is_over
    }

    /// Tells an outcome, and gives back what had better not be used.
    async fn told(
        &self,
        permit: S::Permit,
        first: u32,
        calls: u32,
        answer: Option<S::Answer>,
    ) -> bool {
        let is_advised = self.source.report(permit.clone(), first, calls, answer).await;
        if is_advised {
            let user = self.source.execution_user(&permit);
            self.lock().stock.withdraw(user, |other| self.source.execution_user(other));
            self.work.notify_one();
        }
        is_advised
    }
}

impl<S: Source> State<S> {
    fn is_at_rest(&self) -> bool {
        !self.is_tended && self.telling == 0
    }
}

/// What the task that looks after a stock waits for.
enum Next {
    /// Somebody says that there is work.
    Work,
    /// The same, or this long.
    Sleep(Duration),
    /// Whatever else the runtime has to do, such as to end this task: if it closes,
    /// who asks again and again would never let it.
    Again,
    /// Nothing: there is nothing to look after.
    Nothing,
}

/// Looks after a stock as long as there is anything in it.
async fn tend<S: Source>(mut tending: Tending<S>) {
    let shared = Arc::clone(&tending.shared);
    loop {
        let work = shared.work.notified();
        match shared.do_work() {
            Next::Work => work.await,
            Next::Sleep(time) => {
                let _ = tokio::time::timeout(time, work).await;
            }
            Next::Again => tokio::task::yield_now().await,
            Next::Nothing => break,
        }
    }
    tending.is_over = true;
}

/// Notes when the task has gone before its work was done, as with its runtime.
struct Tending<S: Source> {
    shared: Arc<Shared<S>>,
    is_over: bool,
}

impl<S: Source> Drop for Tending<S> {
    fn drop(&mut self) {
        if !self.is_over {
            self.shared.lock().is_tended = false;
        }
    }
}

/// A place in the line, which is left when it is dropped.
struct Place<'a, S: Source> {
    shared: &'a Arc<Shared<S>>,
    id: u64,
    receiver: oneshot::Receiver<Result<Taken, S::Error>>,
    /// Its turn has come.
    is_left: bool,
}

impl<S: Source> Drop for Place<'_, S> {
    fn drop(&mut self) {
        if self.is_left {
            return;
        }
        // Calls are handed over under the lock: after this, it has one or gets none.
        let waiter = self.shared.lock().stock.leave(|waiter| waiter.id == self.id);
        if waiter.is_some() {
            self.shared.attend();
        } else if let Ok(Ok(taken)) = self.receiver.try_recv() {
            self.shared.put_back(taken.slot);
        }
    }
}

/// A request to the source, which is accounted for however it ends.
struct Request<S: Source> {
    shared: Arc<Shared<S>>,
    /// `None` once it has been answered.
    ask: Option<Ask>,
}

impl<S: Source> Request<S> {
    async fn send(mut self) {
        let Some(ask) = self.ask else { return };
        let source = &self.shared.source;
        let max_wait = ask.until.map_or(Duration::ZERO, |until| until.since(source.now()));
        let result = source.fetch(ask.calls, max_wait).await;
        self.ask = None;
        self.shared.answered(ask, result);
    }
}

impl<S: Source> Drop for Request<S> {
    fn drop(&mut self) {
        if let Some(ask) = self.ask.take() {
            self.shared.lock().stock.cancelled(ask);
            self.shared.attend();
        }
    }
}

impl<S: Source> Shared<S> {
    fn answered(self: &Arc<Self>, ask: Ask, result: Result<Fetched<S::Permit>, Refusal<S::Error>>) {
        let now = self.source.now();
        let mut state = self.lock();
        let refused = match result {
            Ok(fetched) => {
                let user = self.source.execution_user(&fetched.permit).to_owned();
                state.stock.granted(now, ask, fetched, &user);
                Vec::new()
            }
            Err(Refusal::Denied { error, retry_after }) => {
                state.stock.denied(now, ask, error, retry_after)
            }
            Err(Refusal::Failed(error)) => state.stock.failed(ask, error),
        };
        for (waiter, error) in refused {
            let _ = waiter.sender.send(Err(error));
        }
        drop(state);
        self.attend();
    }
}

/// A report or a release that is under way until this is dropped.
struct Telling<S: Source>(Arc<Shared<S>>);

impl<S: Source> Drop for Telling<S> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.telling -= 1;
        let (is_at_rest, has_place) = (state.is_at_rest(), state.telling + 1 == MOST_TOLD);
        drop(state);
        if has_place {
            self.0.work.notify_one();
        }
        if is_at_rest {
            self.0.rest.notify_waiters();
        }
    }
}
