//! Several servers as one: requests go to those that are connected and healthy,
//! in turn. What fails is left alone, for longer and longer, and comes back.
//!
//! A task for each server connects to it, and follows its health, beside the
//! requests: none of them waits for a server while another is there.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    task::AbortHandle,
    time::{Instant, sleep, timeout, timeout_at},
};
use tonic::{Code, Status};

use super::{
    health,
    race::{First, first_of},
    random,
    security::{Connection, Dial},
};
use crate::tls::Rejected;

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
    dial: Dial,
    state: Mutex<State>,
    /// Counts connections.
    connections: AtomicU64,
    /// A request has got no answer.
    suspected: Notify,
}

#[derive(Clone)]
enum State {
    /// It is being connected to; the first time, or again.
    Opening,
    Ready(Connection),
    /// Connected, but it says that it does not serve: it is asked if nobody else
    /// is there, for it can say why.
    NotServing(Connection),
    Away(Why),
}

/// Why a server cannot be asked.
#[derive(Clone)]
enum Why {
    Rejected(Rejected),
    Other(Arc<str>),
}

/// A way to one of the servers.
#[derive(Clone, Debug)]
pub struct Way {
    /// Which it is.
    pub server: usize,
    /// The connection.
    pub channel: Connection,
    /// Which of that server's it is.
    connection: u64,
}

/// How long to try to connect and hear that it serves: a server that is there
/// answers within few round trips.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// What failed is left alone for so long, at first and at most.
const FIRST_BACK_OFF: Duration = Duration::from_millis(50);
const LAST_BACK_OFF: Duration = Duration::from_secs(2);

/// A connection that has lived so long was a good one.
const STEADY: Duration = Duration::from_secs(1);

impl Balance {
    /// Begins to connect to all of them, on the runtime that this is called on.
    pub fn start(servers: impl IntoIterator<Item = (Arc<str>, Dial)>) -> Self {
        let server = |(address, dial)| Server {
            address,
            dial,
            state: Mutex::new(State::Opening),
            connections: AtomicU64::new(0),
            suspected: Notify::new(),
        };
        let servers: Arc<[Server]> = servers.into_iter().map(server).collect();
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

    /// True if there is a server other than this one that is healthy, or may be
    /// soon: whoever is asked first is often just the first one that was reached.
    pub fn has_other_than(&self, server: usize) -> bool {
        (0..self.len()).any(|other| other != server && self.may_serve(other))
    }

    /// The configured server of this address, if it is there and healthy now.
    pub fn named(&self, address: &str) -> Option<Way> {
        let server = self.servers.iter().position(|server| &*server.address == address)?;
        self.way(server, |state| match state {
            State::Ready(channel) => Some(channel),
            _ => None,
        })
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
            if !self.is_any_opening() || timeout_at(deadline, changed).await.is_err() {
                return Err(Status::unavailable(self.why_nobody()));
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
        let is_of_now = server.connections.load(Ordering::Relaxed) == way.connection;
        if is_of_now && matches!(*state, State::Ready(_)) {
            *state = State::Opening;
            server.suspected.notify_one();
        }
    }

    /// Why a server does not let this client in, if one has said so.
    pub fn rejected(&self) -> Option<Rejected> {
        self.servers.iter().find_map(|server| match &*server.state() {
            State::Away(Why::Rejected(rejected)) => Some(*rejected),
            _ => None,
        })
    }

    /// Why nobody can be asked.
    fn why_nobody(&self) -> String {
        let why = |server: &Server| match &*server.state() {
            State::Away(why) => why.to_string(),
            _ => "it has not answered yet".to_owned(),
        };
        match &*self.servers {
            [server] => why(server),
            servers => {
                let all =
                    servers.iter().map(|server| format!("{}: {}", server.address, why(server)));
                all.collect::<Vec<_>>().join("; ")
            }
        }
    }

    fn pick_now(&self) -> Option<Way> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let order = || (0..self.len()).map(|n| first.wrapping_add(n) % self.len());
        let ready = order().find_map(|server| {
            self.way(server, |state| match state {
                State::Ready(channel) => Some(channel),
                _ => None,
            })
        });
        ready.or_else(|| {
            if self.is_any_opening() {
                return None;
            }
            order().find_map(|server| {
                self.way(server, |state| match state {
                    State::NotServing(channel) => Some(channel),
                    _ => None,
                })
            })
        })
    }

    fn way(&self, server: usize, channel: impl Fn(&State) -> Option<&Connection>) -> Option<Way> {
        let kept = &self.servers[server];
        let state = kept.state();
        let channel = channel(&state)?.clone();
        Some(Way { server, channel, connection: kept.connections.load(Ordering::Relaxed) })
    }

    fn is_any_opening(&self) -> bool {
        self.servers.iter().any(|server| matches!(*server.state(), State::Opening))
    }

    fn may_serve(&self, server: usize) -> bool {
        matches!(*self.servers[server].state(), State::Ready(_) | State::Opening)
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
        let became = |state| {
            *self.state() = state;
            changed.notify_waiters();
        };
        let mut back_off = FIRST_BACK_OFF;
        loop {
            let opened = match timeout(CONNECT_TIMEOUT, self.open()).await {
                Err(_) => Err(Why::Other("it does not answer".into())),
                Ok(opened) => opened,
            };
            let end = match opened {
                Err(why) => State::Away(why),
                Ok(Opened { channel, is_serving: false, .. }) => State::NotServing(channel),
                Ok(Opened { channel, health, is_serving: true }) => {
                    let since = Instant::now();
                    // What was suspected of a former connection is over.
                    let _ = timeout(Duration::ZERO, self.suspected.notified()).await;
                    self.connections.fetch_add(1, Ordering::Relaxed);
                    became(State::Ready(channel.clone()));
                    let is_broken = self.until_broken(health).await;
                    if since.elapsed() >= STEADY {
                        back_off = FIRST_BACK_OFF;
                        if is_broken {
                            // It may be back at once: a connection does not live for ever.
                            became(State::Opening);
                            continue;
                        }
                    }
                    if is_broken { State::Opening } else { State::NotServing(channel) }
                }
            };
            became(end);
            sleep(random::jitter(back_off)).await;
            back_off = (back_off * 2).min(LAST_BACK_OFF);
        }
    }

    /// Follows the health of a server; true if the connection has gone or is
    /// suspected, false if it is there and the server does not serve any more.
    async fn until_broken(&self, health: Option<Health>) -> bool {
        let Some(mut health) = health else {
            self.suspected.notified().await;
            return true;
        };
        loop {
            match first_of(health.message(), self.suspected.notified()).await {
                First::Left(Ok(Some(now))) if now.is_serving() => {}
                // The stream ends here: a server that goes waits for its streams.
                First::Left(Ok(Some(_))) => return false,
                First::Left(Ok(None) | Err(_)) | First::Right(()) => return true,
            }
        }
    }

    /// Connects to a server, and hears how it is.
    async fn open(&self) -> Result<Opened, Why> {
        let (channel, note) = self.dial.connect().await;
        let why = |text: String| match note.rejected() {
            Some(rejected) => Why::Rejected(rejected),
            None => Why::Other(text.into()),
        };
        let channel = channel.map_err(|error| why(root_cause(&error)))?;
        let first = async {
            let mut health = health::watch(channel.clone()).await?;
            let now = health.message().await?;
            Ok::<_, Status>((health, now))
        };
        match first.await {
            Ok((health, Some(now))) => {
                Ok(Opened { channel, health: Some(health), is_serving: now.is_serving() })
            }
            Ok((_, None)) => Err(why("it hung up".to_owned())),
            Err(status) if status.code() == Code::Unimplemented => {
                Ok(Opened { channel, health: None, is_serving: true })
            }
            Err(status) => Err(why(explained(&status))),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A server that was reached.
struct Opened {
    channel: Connection,
    /// Its health from here on, if it tells.
    health: Option<Health>,
    is_serving: bool,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejected) => rejected.fmt(f),
            Self::Other(text) => f.write_str(text),
        }
    }
}

type Health = tonic::Streaming<health::HealthCheckResponse>;

/// What is wrong with a connection, or what came over it.
fn explained(status: &Status) -> String {
    use std::error::Error as _;
    status.source().map_or_else(|| status.message().to_owned(), root_cause)
}

fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
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
            State::Away(why) => format!("away: {why}"),
        };
        write!(f, "{} ({state})", self.address)
    }
}
