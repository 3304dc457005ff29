//! One member of etcd: its connection and its health.

use std::{
    fmt,
    future::Future,
    sync::{
        PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use etcd_client::{Channel, Client, ConnectOptions, Error as EtcdError};
use tokio::{
    sync::{Mutex, Notify},
    time::{Instant, timeout},
};
use tonic::transport::Endpoint;

use super::{BadMember, Dial, fault::Fault};
use crate::{store::StoreMember, tls::Connector};

/// A connection is made within this, or is not; and so is an identity proved.
const CONNECT: Duration = Duration::from_secs(1);

/// A request is answered within this, or its fate is unknown.
pub(super) const ANSWER: Duration = Duration::from_secs(1);

/// A connection with open requests or watches is tried after so long without a
/// word. etcd takes less than 5 s for an attack.
const PING: Duration = Duration::from_secs(6);

/// A connection that does not answer that within this is lost.
const PONG: Duration = Duration::from_secs(2);

/// A member, with a connection that is made when it is needed.
pub(super) struct Member {
    name: String,
    endpoint: Endpoint,
    user: Option<(String, String)>,
    dial: Option<Dial>,
    tls: Option<Connector>,
    connection: Mutex<Option<Connection>>,
    /// Attempts to connect that have ended.
    attempts: AtomicU64,
    health: std::sync::Mutex<Health>,
    said: std::sync::Mutex<Said>,
    /// Wakes its watches in the order in which they came, so that a simulation
    /// repeats itself.
    failed: Notify,
}

/// How a member did last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Health {
    /// It answers.
    Good,
    /// It does not, since a failure with this number: numbers rise.
    Failed(u64),
}

/// What is known of a member for those who look.
#[derive(Clone, Debug, Default)]
struct Said {
    /// Why it does not answer as it should; empty if it does.
    problem: String,
    round_trip: Option<Duration>,
}

#[derive(Clone)]
struct Connection {
    /// The attempt that made it.
    attempt: u64,
    client: Client,
}

impl Member {
    pub(super) fn new(
        name: String,
        tls: Option<Connector>,
        user: Option<(String, String)>,
        dial: Option<Dial>,
    ) -> Result<Self, BadMember> {
        let bad = |reason: String| BadMember { member: name.clone(), reason };
        // What speaks TLS is the connector.
        let endpoint = Endpoint::from_shared(format!("http://{name}"));
        let mut endpoint = endpoint
            .map_err(|_| bad("it is not HOST:PORT".to_owned()))?
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(PING)
            .keep_alive_timeout(PONG)
            // Without open requests, etcd takes any for an attack.
            .keep_alive_while_idle(false);
        if tls.is_some() {
            let origin = format!("https://{name}").parse();
            endpoint = endpoint.origin(origin.map_err(|_| bad("it is not HOST:PORT".to_owned()))?);
        }
        Ok(Self {
            name,
            endpoint,
            user,
            dial,
            tls,
            connection: Mutex::new(None),
            attempts: AtomicU64::new(0),
            health: std::sync::Mutex::new(Health::Good),
            said: std::sync::Mutex::default(),
            failed: Notify::new(),
        })
    }

    /// `HOST:PORT`.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn health(&self) -> Health {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request. A token that has expired is renewed; nothing else is
    /// repeated.
    pub(super) async fn ask<T, F>(&self, request: impl Fn(Client) -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, EtcdError>>,
    {
        let mut renews = self.user.is_some();
        loop {
            let connection = self.connection().await.map_err(|fault| fault.at(&self.name))?;
            let asked = Instant::now();
            let fault = match timeout(ANSWER, request(connection.client)).await {
                Ok(Ok(answer)) => {
                    self.said().round_trip = Some(asked.elapsed());
                    return Ok(answer);
                }
                Ok(Err(error)) => Fault::of(&error),
                Err(_) => Fault::Unknown(format!("no answer within {ANSWER:?}")),
            };
            if !matches!(fault, Fault::Refused(..)) {
                self.forget(connection.attempt).await;
            }
            if matches!(fault, Fault::Stranger(_)) && std::mem::take(&mut renews) {
                tracing::debug!(member = self.name, "etcd's token has expired: getting another");
                continue;
            }
            return Err(fault.at(&self.name));
        }
    }

    pub(super) fn is_healthy(&self) -> bool {
        self.health() == Health::Good
    }

    /// It has answered. True if that is new.
    pub(super) fn works(&self) -> bool {
        self.said().problem.clear();
        self.becomes(Health::Good) != Health::Good
    }

    /// It has failed, as the `number`-th failure of all members. True if it had
    /// worked before.
    pub(super) fn fails(&self, number: u64, reason: &str) -> bool {
        reason.clone_into(&mut self.said().problem);
        let before = self.becomes(Health::Failed(number));
        self.failed.notify_waiters();
        before == Health::Good
    }

    /// Returns when it has failed.
    pub(super) async fn failure(&self) {
        // Before the look, so that no failure is missed.
        let failed = self.failed.notified();
        if self.is_healthy() {
            failed.await;
        }
    }

    /// How it is, by what was last asked of it.
    pub(super) fn standing(&self) -> StoreMember {
        let Said { problem, round_trip } = self.said().clone();
        StoreMember { endpoint: self.name.clone(), problem, round_trip }
    }

    fn said(&self) -> std::sync::MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it did before.
    fn becomes(&self, health: Health) -> Health {
        let mut known = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut known, health)
    }

    /// The connection that stands, or a new one. Whoever waits for an attempt of
    /// somebody else shares its outcome.
    async fn connection(&self) -> Result<Connection, Fault> {
        let ended = self.attempts.load(Ordering::Acquire);
        let mut connection = self.connection.lock().await;
        if let Some(connection) = &*connection {
            return Ok(connection.clone());
        }
        if self.attempts.load(Ordering::Acquire) != ended {
            return Err(Fault::NotSent("there is no connection".to_owned()));
        }
        let connected = self.connect().await;
        let attempt = self.attempts.fetch_add(1, Ordering::AcqRel) + 1;
        let client = connected.map_err(Fault::NotSent)?;
        let made = Connection { attempt, client };
        *connection = Some(made.clone());
        Ok(made)
    }

    /// Makes a connection, and proves who we are. Whatever goes wrong: no request
    /// was sent on it.
    async fn connect(&self) -> Result<Client, String> {
        let dialing = async {
            match (&self.dial, &self.tls) {
                (Some(dial), _) => dial(self.endpoint.clone()).await,
                (None, Some(tls)) => self.endpoint.connect_with_connector(tls.clone()).await,
                (None, None) => self.endpoint.connect().await,
            }
        };
        let channel = match timeout(CONNECT, dialing).await {
            Ok(dialed) => dialed.map_err(|error| chain(&error))?,
            Err(_) => return Err(format!("no connection within {CONNECT:?}")),
        };
        let mut options = ConnectOptions::new().with_require_leader(true);
        if let Some((name, password)) = &self.user {
            options = options.with_user(name, password);
        }
        match timeout(ANSWER, Client::from_channel(Channel::Tonic(channel), Some(options))).await {
            Ok(Ok(client)) => Ok(client),
            Ok(Err(error)) => Err(Fault::of(&error).into_reason()),
            Err(_) => Err(format!("the user was not identified within {ANSWER:?}")),
        }
    }

    /// The next request makes another connection than that of this attempt.
    async fn forget(&self, attempt: u64) {
        let mut connection = self.connection.lock().await;
        if connection.as_ref().is_some_and(|connection| connection.attempt == attempt) {
            *connection = None;
        }
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("name", &self.name)
            .field("health", &self.health())
            .finish_non_exhaustive()
    }
}

/// An error with all its causes, which tonic's own sentence leaves out.
fn chain(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        told = format!("{told}: {error}");
        cause = error.source();
    }
    told
}
