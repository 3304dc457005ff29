//! How a request comes to a server that decides it: which server, how long each
//! try may take, and what is tried again.

use std::{
    error::Error as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout_at};
use tonic::{
    Code, ConnectError as NotConnected, Request, Response, Status, metadata::AsciiMetadataValue,
};

use super::{
    balance::{Balance, Way},
    error::retry_info,
    owners::Owners,
    random,
    security::{Connection, Security},
};
use crate::{
    clock::Moment,
    proto::v1::{
        AcquireRequest, AcquireResponse, ReleaseRequest, ReleaseResponse, ReportRequest,
        ReportResponse, quota_service_client::QuotaServiceClient,
    },
    unsent::was_not_begun,
};

/// The connections. Clients share it, and what settles in the background.
#[derive(Debug)]
pub struct Wire {
    balance: Balance,
    owners: Owners,
    /// How long a question may take, besides the wait that it asks for.
    timeout: Duration,
    /// Makes the way to an owner's address.
    security: Security,
    /// The last question could not be decided.
    is_outage: AtomicBool,
}

/// What may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Only what was certainly not sent.
    Unsent,
    /// Also what may have been carried out, because doing it twice is doing it
    /// once: the owner remembers an Acquire by its `request_id` and gives the same
    /// permit again, with the life that it has left then; a report settles a call
    /// once; a permit is released once. (After a change of owner an Acquire may be
    /// decided anew: that may charge twice, and never grants too much.)
    Safe,
}

/// Tries of one request.
const MAX_TRIES: u32 = 4;

/// Between tries, where no other server is there to be asked.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// The usage of an org with all the names that the service keeps is some
/// hundred KiB.
pub const MAX_ANSWER_BYTES: usize = 16 << 20;

impl Wire {
    /// Over these servers.
    pub fn new(balance: Balance, timeout: Duration, security: Security) -> Self {
        let (owners, is_outage) = (Owners::default(), AtomicBool::new(false));
        Self { balance, owners, timeout, security, is_outage }
    }

    /// The servers.
    pub fn balance(&self) -> &Balance {
        &self.balance
    }

    /// How long a question may take, besides the wait that it asks for.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// True if the last question could not be decided.
    pub fn is_outage(&self) -> bool {
        self.is_outage.load(Ordering::Relaxed)
    }

    /// Notes whether a question could be decided; true if that is new.
    pub fn note_outage(&self, is_outage: bool) -> bool {
        // Mostly it is not, and shared memory is only read.
        self.is_outage() != is_outage
            && self.is_outage.swap(is_outage, Ordering::Relaxed) != is_outage
    }

    /// Asks for a permit. With the answer comes the moment from which its permit's
    /// life counts: just before the request that was answered was sent.
    pub async fn acquire(
        &self,
        request: &AcquireRequest,
        wait: Duration,
        caller: Option<&AsciiMetadataValue>,
    ) -> Result<(Moment, AcquireResponse), Status> {
        self.ask(&request.org, self.timeout, wait, Repeat::Safe, |mut quota, time| {
            let mut request = within(time, request.clone());
            if let Some(caller) = caller {
                request.metadata_mut().insert("quotagate-caller", caller.clone());
            }
            let sent = Moment::now();
            async move { quota.acquire(request).await.map(|answer| answer.map(|answer| (sent, answer))) }
        })
        .await
    }

    /// Reports.
    pub async fn report(&self, request: ReportRequest) -> Result<ReportResponse, Status> {
        let org = org_of(&request.permit_id);
        self.ask(org, self.timeout, Duration::ZERO, Repeat::Safe, |mut quota, time| {
            let request = within(time, request.clone());
            async move { quota.report(request).await }
        })
        .await
    }

    /// Gives back.
    pub async fn release(&self, request: ReleaseRequest) -> Result<ReleaseResponse, Status> {
        let org = org_of(&request.permit_id);
        self.ask(org, self.timeout, Duration::ZERO, Repeat::Safe, |mut quota, time| {
            let request = within(time, request.clone());
            async move { quota.release(request).await }
        })
        .await
    }

    /// Asks the org's owner, where the way to it is known and open, else one of
    /// the servers; and again, as long as that is safe and there is time:
    /// `timeout`, and `wait` for which the service may keep the request.
    ///
    /// # Errors
    /// What went wrong last.
    pub async fn ask<T, F>(
        &self,
        org: &str,
        timeout: Duration,
        wait: Duration,
        repeat: Repeat,
        ask: impl Fn(QuotaServiceClient<Connection>, Duration) -> F,
    ) -> Result<T, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let deadline = Instant::now() + timeout + wait;
        let mut pause = FIRST_PAUSE;
        let mut follows_owner = true;
        let mut tries = 0;
        loop {
            tries += 1;
            let target = match follows_owner.then(|| self.owner(org)).flatten() {
                Some(owner) => Ok(owner),
                None => self.balance.pick(deadline).await.map(Target::Server),
            };
            let (status, again) = match target {
                // In an outage nobody waits for those who are known to be away: they
                // are looked after beside the requests.
                Err(status) if repeat == Repeat::Unsent || self.is_outage() => return Err(status),
                Err(status) => (status, Again::Pause),
                Ok(target) => {
                    // A server that says nothing is left while there is time to ask
                    // another one.
                    let spare = match repeat {
                        Repeat::Safe if tries == 1 && self.has_other_than(&target) => timeout / 2,
                        _ => Duration::ZERO,
                    };
                    match answer(&target, deadline - spare, &ask).await {
                        Ok(answer) => {
                            let dial = |owner: &str| {
                                if self.balance.is_configured(owner) {
                                    return None;
                                }
                                self.security.dial_owner(owner)
                            };
                            self.owners.learn(org, answer.metadata(), dial);
                            return Ok(answer.into_inner());
                        }
                        Err(status) => {
                            let again = self.failed(&target, org, &status, repeat);
                            follows_owner = follows_owner && !matches!(target, Target::Owner(..));
                            (status, again)
                        }
                    }
                }
            };
            let wait = match again {
                Again::Never => return Err(status),
                Again::AtOnce => Duration::ZERO,
                Again::Pause => random::jitter(pause),
                Again::After(wait) => wait,
            };
            if tries >= MAX_TRIES || Instant::now() + wait >= deadline {
                return Err(status);
            }
            match again {
                Again::Never | Again::AtOnce => {}
                Again::After(wait) => sleep(wait).await,
                Again::Pause => {
                    // Whoever is back is asked at once.
                    self.balance.wait_for_change(wait).await;
                    pause = (pause * 2).min(LAST_PAUSE);
                }
            }
        }
    }

    /// The way to the org's owner.
    fn owner(&self, org: &str) -> Option<Target> {
        let owner = self.owners.of(org)?;
        if let Some(way) = self.balance.named(&owner) {
            return Some(Target::Server(way));
        }
        let channel = self.owners.way_to(&owner)?;
        Some(Target::Owner(owner, channel))
    }

    fn has_other_than(&self, target: &Target) -> bool {
        match target {
            Target::Owner(..) => true,
            Target::Server(way) => self.balance.has_other_than(way.server),
        }
    }

    /// Draws the consequences of a failed try.
    fn failed(&self, target: &Target, org: &str, status: &Status, repeat: Repeat) -> Again {
        let fault = Fault::of(status);
        match (fault, target) {
            (Fault::Final, _) => {}
            (Fault::Undecided, _) => self.owners.forget(org),
            (_, Target::Owner(owner, _)) => self.owners.leave_alone(owner),
            (Fault::Stranger, Target::Server(_)) => {}
            (_, Target::Server(way)) => self.balance.suspect(way),
        }
        match (fault, target, repeat) {
            (Fault::Final, ..) => Again::Never,
            (Fault::Unsent, ..) => Again::AtOnce,
            // What went to something else that listens at the owner's address here
            // cannot have been decided.
            (Fault::Stranger, Target::Owner(..), _) => Again::AtOnce,
            (_, _, Repeat::Unsent) => Again::Never,
            (Fault::Stranger, Target::Server(_), Repeat::Safe) => match status.code() {
                Code::InvalidArgument
                | Code::NotFound
                | Code::PermissionDenied
                | Code::Unauthenticated => Again::Never,
                _ => Again::Pause,
            },
            (Fault::Undecided, ..) => retry_info(status).map_or(Again::Pause, Again::After),
            (Fault::Lost | Fault::Silent, ..) => Again::AtOnce,
        }
    }
}

/// Whom a try goes to.
#[derive(Clone, Debug)]
enum Target {
    /// One of the configured servers.
    Server(Way),
    /// The org's owner, which is none of them.
    Owner(Arc<str>, Connection),
}

#[derive(Clone, Copy, Debug)]
enum Again {
    Never,
    AtOnce,
    /// After a short pause, longer each time.
    Pause,
    /// When the service said that it may help.
    After(Duration),
}

/// What a status says about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The service has decided against it.
    Final,
    /// The service has not decided it: it is overloaded, or nobody owns the org
    /// just now.
    Undecided,
    /// It was certainly not sent, or not begun.
    Unsent,
    /// The connection broke: nobody knows.
    Lost,
    /// No answer came in time: nobody knows.
    Silent,
    /// Neither the service's word, nor a connection's: a proxy's, for one, that
    /// answers at an address which means something else in this network.
    Stranger,
}

impl Fault {
    fn of(status: &Status) -> Self {
        if was_not_sent(status) {
            return Self::Unsent;
        }
        let is_of_the_service = !status.details().is_empty();
        match status.code() {
            Code::DeadlineExceeded | Code::Cancelled if !is_of_the_service => Self::Silent,
            Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded
                if is_of_the_service =>
            {
                Self::Undecided
            }
            _ if is_of_the_service => Self::Final,
            // Every error of the service has details; those of a connection have a
            // cause.
            _ if status.source().is_some() => Self::Lost,
            _ => Self::Stranger,
        }
    }
}

/// One try.
async fn answer<T, F>(
    target: &Target,
    deadline: Instant,
    ask: &impl Fn(QuotaServiceClient<Connection>, Duration) -> F,
) -> Result<Response<T>, Status>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let channel = match target {
        Target::Server(way) => way.channel.clone(),
        Target::Owner(_, channel) => channel.clone(),
    };
    let late = || Err(Status::deadline_exceeded("no answer came in time"));
    let time = deadline.saturating_duration_since(Instant::now());
    if time.is_zero() {
        return late();
    }
    // The transport's own timeout does not cover the time until it is connected.
    let answer = timeout_at(deadline, ask(quota(channel), time)).await;
    answer.unwrap_or_else(|_| late())
}

/// The client of a connection.
pub fn quota(channel: Connection) -> QuotaServiceClient<Connection> {
    QuotaServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES)
}

/// A request that the service may take so long for.
pub fn within<M>(timeout: Duration, message: M) -> Request<M> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}

/// The org that a permit is of, which stands last in its name. Should that ever
/// change, requests only take a hop more.
pub fn org_of(permit_id: &str) -> &str {
    permit_id.splitn(5, '-').nth(4).unwrap_or_default()
}

fn was_not_sent(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        let was_not_begun = error.downcast_ref().is_some_and(was_not_begun);
        if was_not_begun || error.is::<NotConnected>() {
            return true;
        }
        cause = error.source();
    }
    false
}
