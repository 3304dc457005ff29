//! Several servers as one: requests go to those that are connected and healthy,
//! in turn. What fails is left alone, for longer and longer, and comes back.
//!
//! A task for each server connects to it, and follows its health, beside the
//! requests: none of them waits for a server while another is there.

use std::{
    fmt,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use tokio::{
    sync::Notify,
    task::AbortHandle,
    time::{Instant, sleep, timeout, timeout_at},
};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

use super::{health, random};

/// The servers. Their tasks end when this is dropped.
#[derive(Debug)]
pub struct Balance {
    servers: Arc<[Server]>,
    next: AtomicUsize,
    /// Any server's state has changed.
    changed: Arc<Notify>,
    tasks: Vec<AbortHandle>,
}

struct Server {
    /// As it was configured, without a scheme.
    address: Arc<str>,
    endpoint: Endpoint,
    state: Mutex<State>,
    /// A request has got no answer.
    suspected: Notify,
}

#[derive(Clone)]
enum State {
    /// It is being connected to; the first time, or again.
    Opening,
    Ready(Channel),
    /// Connected, but it says that it does not serve: it is asked if nobody else
    /// is there, for it can say why.
    NotServing(Channel),
    Away {
        why: Arc<str>,
    },
}

/// A way to one of the servers.
#[derive(Clone, Debug)]
pub struct Way {
    /// Which it is.
    pub server: usize,
    /// The connection.
    pub channel: Channel,
}

/// How long to try to connect and hear that it serves: a server that is there
/// answers within few round trips.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// What failed is left alone for so long, at first and at most.
const FIRST_BACK_OFF: Duration = Duration::from_millis(50);
const LAST_BACK_OFF: Duration = Duration::from_secs(5);

impl Balance {
    /// Begins to connect to all of them, on the runtime that this is called on.
    pub fn start(endpoints: impl IntoIterator<Item = (Arc<str>, Endpoint)>) -> Self {
        let server = |(address, endpoint)| Server {
            address,
            endpoint,
            state: Mutex::new(State::Opening),
            suspected: Notify::new(),
        };
        let servers: Arc<[Server]> = endpoints.into_iter().map(server).collect();
        let changed = Arc::new(Notify::new());
        let keep = |number: usize| {
            let (servers, changed) = (Arc::clone(&servers), Arc::clone(&changed));
            tokio::spawn(async move { servers[number].keep(&changed).await }).abort_handle()
        };
        let tasks = (0..servers.len()).map(keep).collect();
        // Processes that start together do not all begin with the same server.
        let next = AtomicUsize::new(random::below(servers.len()));
        Self { servers, next, changed, tasks }
    }

    /// How many servers there are.
    pub fn len(&self) -> usize {
        self.servers.len()
    }

    /// True if there is a healthy server other than this one.
    pub fn has_other_than(&self, server: usize) -> bool {
        (0..self.len()).any(|other| other != server && self.is_ready(other))
    }

    /// The configured server of this address, if it is there and healthy now.
    pub fn named(&self, address: &str) -> Option<Way> {
        let server = self.servers.iter().position(|server| &*server.address == address)?;
        match &*self.servers[server].state() {
            State::Ready(channel) => Some(Way { server, channel: channel.clone() }),
            _ => None,
        }
    }

    /// True if a server of this address was configured.
    pub fn is_configured(&self, address: &str) -> bool {
        self.servers.iter().any(|server| &*server.address == address)
    }

    /// The next healthy server; waits while one may still come.
    ///
    /// # Errors
    /// `Unavailable`, at the latest at `deadline`: none of them can be reached.
    pub async fn pick(&self, deadline: Instant) -> Result<Way, Status> {
        loop {
            let changed = self.changed.notified();
            if let Some(way) = self.pick_now() {
                return Ok(way);
            }
            if !self.servers.iter().any(|server| matches!(*server.state(), State::Opening)) {
                return Err(self.nobody());
            }
            if timeout_at(deadline, changed).await.is_err() {
                return Err(self.nobody());
            }
        }
    }

    /// Waits until any server's state changes, or the time is over.
    pub async fn wait_for_change(&self, time: Duration) {
        let _ = timeout(time, self.changed.notified()).await;
    }

    /// A request that went this way has got no answer, or none of ours: it is
    /// looked after, and nothing goes there meanwhile.
    pub fn suspect(&self, way: &Way) {
        let server = &self.servers[way.server];
        let mut state = server.state();
        if matches!(*state, State::Ready(_) | State::NotServing(_)) {
            *state = State::Opening;
            server.suspected.notify_one();
        }
    }

    /// Why each server is away, as one sentence.
    fn nobody(&self) -> Status {
        let why = self.servers.iter().map(|server| match &*server.state() {
            State::Away { why } => format!("{}: {why}", server.address),
            _ => format!("{}: it has not answered yet", server.address),
        });
        let why: Vec<_> = why.collect();
        Status::unavailable(format!("no quotagate can be reached ({})", why.join("; ")))
    }

    fn pick_now(&self) -> Option<Way> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let order = || (0..self.len()).map(|n| first.wrapping_add(n) % self.len());
        let ready = order().find_map(|server| match &*self.servers[server].state() {
            State::Ready(channel) => Some(Way { server, channel: channel.clone() }),
            _ => None,
        });
        ready.or_else(|| {
            if self.servers.iter().any(|server| matches!(*server.state(), State::Opening)) {
                return None;
            }
            order().find_map(|server| match &*self.servers[server].state() {
                State::NotServing(channel) => Some(Way { server, channel: channel.clone() }),
                _ => None,
            })
        })
    }

    fn is_ready(&self, server: usize) -> bool {
        matches!(*self.servers[server].state(), State::Ready(_))
    }
}

impl Drop for Balance {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Server {
    /// Connects, and connects again.
    async fn keep(&self, changed: &Notify) {
        let mut back_off = FIRST_BACK_OFF;
        loop {
            let became = |state| {
                *self.state() = state;
                changed.notify_waiters();
            };
            // What was suspected of a former connection is over.
            let _ = timeout(Duration::ZERO, self.suspected.notified()).await;
            let end = match timeout(CONNECT_TIMEOUT, self.open()).await {
                Err(_) => State::Away { why: "it does not answer".into() },
                Ok(Err(why)) => State::Away { why: why.into() },
                Ok(Ok((channel, None))) => {
                    back_off = FIRST_BACK_OFF;
                    became(State::Ready(channel));
                    self.suspected.notified().await;
                    State::Opening
                }
                Ok(Ok((channel, Some(mut health)))) => {
                    back_off = FIRST_BACK_OFF;
                    became(State::Ready(channel.clone()));
                    loop {
                        match first_of(health.message(), self.suspected.notified()).await {
                            First::Left(Ok(Some(now))) if now.is_serving() => {}
                            First::Left(Ok(Some(_))) => break State::NotServing(channel),
                            // The connection has gone, or goes; or the server is
                            // suspected. It may be back at once.
                            First::Left(Ok(None) | Err(_)) | First::Right(()) => {
                                break State::Opening;
                            }
                        }
                    }
                }
            };
            became(end);
            sleep(random::jitter(back_off)).await;
            back_off = (back_off * 2).min(LAST_BACK_OFF);
        }
    }

    /// Connects to a server that serves; with its health from there on, if it
    /// tells.
    async fn open(&self) -> Result<(Channel, Option<Health>), String> {
        let channel = self.endpoint.connect().await.map_err(|error| root_cause(&error))?;
        match health::watch(channel.clone()).await {
            Ok(mut health) => match health.message().await {
                Ok(Some(now)) if now.is_serving() => Ok((channel, Some(health))),
                Ok(Some(_)) => Err("it does not serve".to_owned()),
                Ok(None) => Err("it hung up".to_owned()),
                Err(status) if status.code() == Code::Unimplemented => Ok((channel, None)),
                Err(status) => Err(status.message().to_owned()),
            },
            Err(status) if status.code() == Code::Unimplemented => Ok((channel, None)),
            Err(status) => Err(status.message().to_owned()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Health = tonic::Streaming<health::HealthCheckResponse>;

enum First<A, B> {
    Left(A),
    Right(B),
}

/// What of two futures is there first.
async fn first_of<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> First<A, B> {
    let (mut a, mut b) = (pin!(a), pin!(b));
    std::future::poll_fn(|context| {
        if let Poll::Ready(a) = a.as_mut().poll(context) {
            return Poll::Ready(First::Left(a));
        }
        b.as_mut().poll(context).map(First::Right)
    })
    .await
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &*self.state() {
            State::Opening => "opening".to_owned(),
            State::Ready(_) => "ready".to_owned(),
            State::NotServing(_) => "not serving".to_owned(),
            State::Away { why } => format!("away: {why}"),
        };
        write!(f, "{} ({state})", self.address)
    }
}
