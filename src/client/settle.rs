//! Settling in the background: what guards have to say goes to the service
//! without holding anybody up.

use std::{
    collections::VecDeque,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tonic::{Code, Status};

use super::{
    answer::Answer,
    outage::{Shares, Ticket},
    permit::{Origin, Reported, Terms},
    race::first_of,
    wire::Wire,
};
use crate::{
    clock::Moment,
    proto::v1::{Advice, ReleaseRequest, ReportResponse},
};

/// Whom the guards of a permit tell.
#[derive(Clone, Debug)]
pub enum Settling {
    /// The service.
    Service(Settler),
    /// The log of this process's own part, if the policy keeps one.
    Outage(Option<(Arc<Mutex<Shares>>, Ticket)>),
}

impl Settling {
    /// Who granted.
    pub fn origin(&self) -> Origin {
        match self {
            Self::Service(_) => Origin::Service,
            Self::Outage(_) => Origin::Outage,
        }
    }

    /// Reports calls, and waits for what the service says.
    pub async fn report(&self, terms: &Terms, first: u32, calls: u32, answer: Answer) -> Reported {
        match self {
            Self::Service(settler) => {
                settler.report(Job::report(terms, first, calls, answer)).await
            }
            Self::Outage(_) => {
                self.report_later(terms, first, calls, answer);
                Reported { is_settled: true, ..Reported::default() }
            }
        }
    }

    /// Reports calls in the background.
    pub fn report_later(&self, terms: &Terms, first: u32, calls: u32, answer: Answer) {
        match self {
            Self::Service(settler) => settler.add(Job::report(terms, first, calls, answer)),
            Self::Outage(Some((shares, ticket))) if answer.shows_when_it_was_made() => {
                let mut shares = shares.lock().unwrap_or_else(PoisonError::into_inner);
                shares.answered(*ticket, calls, answer.at());
            }
            Self::Outage(_) => {}
        }
    }

    /// Gives unused calls back in the background; without a number all.
    pub fn release_later(&self, terms: &Terms, unused_calls: Option<u32>) {
        match self {
            Self::Service(settler) => settler.add(Job::release(terms, unused_calls)),
            Self::Outage(Some((shares, ticket))) => {
                let mut shares = shares.lock().unwrap_or_else(PoisonError::into_inner);
                shares.unused(*ticket, unused_calls.unwrap_or(terms.calls));
            }
            Self::Outage(None) => {}
        }
    }
}

/// Sends reports and releases, tries again within the permit's life, and forgets
/// the oldest where too many wait. Clones share it; when the last is dropped, its
/// task ends within [`FLUSH`].
#[derive(Clone, Debug)]
pub struct Settler {
    wire: Arc<Wire>,
    queue: Arc<Queue>,
    /// The task goes on as long as anybody holds it.
    _alive: Arc<watch::Sender<()>>,
}

#[derive(Debug, Default)]
struct Queue {
    jobs: Mutex<Jobs>,
    /// A job was added, or is done.
    changed: Notify,
    /// There is no job, and none is being done.
    idle: Notify,
    /// Jobs that were forgotten: told once.
    has_overflowed: AtomicBool,
}

#[derive(Debug, Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    in_flight: usize,
}

/// Something to tell the service.
#[derive(Clone, Debug)]
struct Job {
    message: Message,
    permit_id: String,
    /// It is of use until then.
    until: Moment,
}

#[derive(Clone, Debug)]
enum Message {
    Report { first: u32, calls: u32, answer: Answer },
    Release { unused_calls: Option<u32> },
}

/// Beyond, the oldest is forgotten: the permit's expiry settles it.
const MAX_WAITING: usize = 1_000;

/// Sent at the same time.
const MAX_IN_FLIGHT: usize = 256;

/// How long what waits may take when nobody is left to wait for it.
pub const FLUSH: Duration = Duration::from_secs(2);

/// An answer is told for so long at least.
const LATE_ANSWERS: Duration = Duration::from_secs(30);

/// After all tries of one sending have failed.
const PAUSE: Duration = Duration::from_millis(500);

impl Settler {
    /// Starts the task, on the runtime that this is called on.
    pub fn start(wire: Arc<Wire>) -> Self {
        let queue = Arc::<Queue>::default();
        let (alive, ended) = watch::channel(());
        tokio::spawn(work(Arc::clone(&wire), Arc::clone(&queue), ended));
        Self { wire, queue, _alive: Arc::new(alive) }
    }

    /// Waits until everything is told, or given up; at most [`FLUSH`]. True if
    /// nothing is left.
    pub async fn flush(&self) -> bool {
        timeout(FLUSH, self.queue.idle()).await.is_ok()
    }

    fn add(&self, job: Job) {
        self.queue.add(job);
    }

    async fn report(&self, job: Job) -> Reported {
        // If nobody waits for this any more, it goes on in the background.
        let mut pending = Pending { queue: &self.queue, job: Some(job.clone()) };
        match job.send(&self.wire).await {
            Ok(answer) => {
                pending.job = None;
                answer.map(Reported::from).unwrap_or_default()
            }
            Err(status) => {
                if is_final(&status) {
                    pending.job = None;
                }
                Reported::default()
            }
        }
    }
}

/// A job that is added to the queue when this is dropped.
struct Pending<'a> {
    queue: &'a Queue,
    job: Option<Job>,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if let Some(job) = self.job.take() {
            self.queue.add(job);
        }
    }
}

/// Sends what waits, until nobody is left who could add to it, and then for a
/// while what is still there.
async fn work(wire: Arc<Wire>, queue: Arc<Queue>, mut ended: watch::Receiver<()>) {
    let mut serve = pin!(serve(&wire, &queue));
    // Nothing is ever sent there: it changes when the sender is dropped.
    first_of(serve.as_mut(), ended.changed()).await;
    let _ = timeout(FLUSH, first_of(serve, queue.idle())).await;
}

/// Sends what waits, several at the same time, for ever.
async fn serve(wire: &Arc<Wire>, queue: &Arc<Queue>) {
    let mut sending = JoinSet::new();
    loop {
        let changed = queue.changed.notified();
        while let Some(job) = queue.take() {
            let (wire, done) = (Arc::clone(wire), Done { queue: Arc::clone(queue) });
            sending.spawn(async move {
                job.settle(&wire).await;
                drop(done);
            });
        }
        while sending.try_join_next().is_some() {}
        changed.await;
    }
}

/// A job that has been done when this is dropped, however it ended.
struct Done {
    queue: Arc<Queue>,
}

impl Drop for Done {
    fn drop(&mut self) {
        self.queue.done();
    }
}

impl Job {
    fn report(terms: &Terms, first: u32, calls: u32, answer: Answer) -> Self {
        let has_come = answer.came();
        let mut job = Self::new(terms, Message::Report { first, calls, answer });
        if has_come {
            // A slot is held until its answer is told, also after the permit's expiry.
            job.until = job.until.max(Moment::now() + LATE_ANSWERS);
        }
        job
    }

    fn release(terms: &Terms, unused_calls: Option<u32>) -> Self {
        Self::new(terms, Message::Release { unused_calls })
    }

    fn new(terms: &Terms, message: Message) -> Self {
        Self { message, permit_id: terms.id.clone(), until: terms.deadline }
    }

    /// Sends it, again and again while it is of use. A report without an answer
    /// that comes late is sent once.
    async fn settle(self, wire: &Wire) {
        let is_release = matches!(self.message, Message::Release { .. });
        if is_release && Moment::now() >= self.until {
            return;
        }
        while let Err(status) = self.send(wire).await {
            if is_final(&status) || Moment::now() + PAUSE >= self.until {
                break;
            }
            sleep(PAUSE).await;
        }
    }

    /// Sends it once: that may be several tries within the client's timeout.
    /// Repeats are safe: a report settles a range of calls once, and a permit is
    /// released once.
    async fn send(&self, wire: &Wire) -> Result<Option<ReportResponse>, Status> {
        match &self.message {
            Message::Report { first, calls, answer } => {
                let request = answer.message(&self.permit_id, *first, *calls);
                wire.report(request).await.map(Some)
            }
            Message::Release { unused_calls } => {
                let permit_id = self.permit_id.clone();
                let request = ReleaseRequest { permit_id, unused_calls: *unused_calls };
                wire.release(request).await.map(|_| None)
            }
        }
    }
}

/// Trying again changes nothing.
fn is_final(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::InvalidArgument | Code::NotFound | Code::PermissionDenied | Code::Unauthenticated
    )
}

impl Queue {
    fn add(&self, job: Job) {
        let mut jobs = self.jobs();
        if jobs.waiting.len() >= MAX_WAITING {
            jobs.waiting.pop_front();
            if !self.has_overflowed.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    "more than {MAX_WAITING} reports and releases wait for quotagate: the oldest \
                     are forgotten, and their calls count until their permits expire"
                );
            }
        }
        jobs.waiting.push_back(job);
        drop(jobs);
        self.changed.notify_one();
    }

    fn take(&self) -> Option<Job> {
        let mut jobs = self.jobs();
        if jobs.in_flight >= MAX_IN_FLIGHT {
            return None;
        }
        let job = jobs.waiting.pop_front()?;
        jobs.in_flight += 1;
        Some(job)
    }

    fn done(&self) {
        let mut jobs = self.jobs();
        jobs.in_flight -= 1;
        if jobs.is_idle() {
            self.idle.notify_waiters();
        }
        drop(jobs);
        self.changed.notify_one();
    }

    async fn idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.jobs().is_idle() {
                break;
            }
            idle.await;
        }
    }

    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Jobs {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.in_flight == 0
    }
}

impl From<ReportResponse> for Reported {
    fn from(answer: ReportResponse) -> Self {
        let advice = match answer.advice() {
            Advice::Unspecified => Advice::Continue,
            advice => advice,
        };
        Self {
            advice,
            back_off: answer.back_off.and_then(|time| time.try_into().ok()),
            class_state: answer.class_state,
            is_settled: true,
        }
    }
}
