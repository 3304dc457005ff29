//! A client is told what it needs to know, and connects.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use tokio::time::Instant;
use tonic::{
    metadata::{AsciiMetadataValue, errors::InvalidMetadataValue},
    transport::Endpoint,
};

use super::{
    Client,
    balance::Balance,
    outage::{OutagePolicy, Policies},
    wire::Wire,
};
use crate::proto::v1::TrafficClass;

/// Where the service listens unless it is told otherwise.
pub const DEFAULT_SERVER: &str = "127.0.0.1:7400";

/// How long to try to connect: a server that is there answers within one round
/// trip.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long to try to connect to an org's owner. It is tried beside the
/// requests, which go to the configured servers meanwhile.
const OWNER_CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// How often a connection is tested, so that a server that vanished without a
/// word is noticed in the middle of a wait.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a question may take, besides the wait that it asks for.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);

/// A client that is not connected yet: see [`Client::builder`].
///
/// ```no_run
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// use std::{num::NonZeroU32, time::Duration};
/// use quotagate::client::{Client, OutagePolicy, TrafficClass};
///
/// let eight = NonZeroU32::new(8).expect("not zero");
/// let client = Client::builder("quota-1:7400,quota-2:7400")
///     .caller("inbox/eu")
///     .timeout(Duration::from_millis(500))
///     .outage(OutagePolicy::Safe { processes: eight })
///     .outage_of(TrafficClass::Bulk, OutagePolicy::Closed)
///     .build()?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "it does nothing until it is built or connected"]
pub struct ClientBuilder {
    servers: Vec<String>,
    caller: Option<String>,
    timeout: Duration,
    policies: Policies,
}

/// Why there is no client.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// What was given is not the address of a server.
    Address {
        /// What was given.
        server: String,
        /// What is wrong with it.
        why: String,
    },
    /// What was given is not a caller's name.
    Caller(InvalidMetadataValue),
    /// Nobody answers there.
    Unreachable {
        /// The addresses.
        server: String,
        /// What happened.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl ClientBuilder {
    pub(super) fn new(servers: &str) -> Self {
        let builder = Self {
            servers: Vec::new(),
            caller: None,
            timeout: DEFAULT_TIMEOUT,
            policies: Policies::default(),
        };
        builder.servers(servers.split(','))
    }

    /// More servers: `host:port` or `http://host:port` each.
    pub fn servers<S: AsRef<str>>(mut self, servers: impl IntoIterator<Item = S>) -> Self {
        self.servers.extend(servers.into_iter().map(|server| server.as_ref().trim().to_owned()));
        self
    }

    /// The name under which what it acquires is shown. It gives no right. The
    /// service wants `[A-Za-z0-9._:/@-]{1,64}`.
    pub fn caller(self, name: impl Into<String>) -> Self {
        Self { caller: Some(name.into()), ..self }
    }

    /// How long a question may take, all of its tries together, besides the wait
    /// that it asks for; 1 s unless told otherwise.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// What all traffic classes do while the service cannot decide.
    pub fn outage(mut self, policy: OutagePolicy) -> Self {
        self.policies.set_all(policy);
        self
    }

    /// What one traffic class does while the service cannot decide.
    pub fn outage_of(mut self, class: TrafficClass, policy: OutagePolicy) -> Self {
        self.policies.set(class, policy);
        self
    }

    /// The client, which connects in the background: it is there also when no
    /// server is, and its outage policy holds from the first question on. To be
    /// called within a tokio runtime.
    ///
    /// # Errors
    /// An address is none, or the caller's name is not printable ASCII.
    pub fn build(self) -> Result<Client, ConnectError> {
        let caller = self.caller.map(|name| name.parse::<AsciiMetadataValue>()).transpose();
        let caller = caller.map_err(ConnectError::Caller)?;
        let mut endpoints = Vec::new();
        for server in &self.servers {
            let address = bare(server).into();
            if !endpoints.iter().any(|(other, _)| *other == address) {
                endpoints.push((address, endpoint(server)?));
            }
        }
        let balance = Balance::start(endpoints);
        let wire = Arc::new(Wire::new(balance, self.timeout, owner_endpoint));
        Ok(Client::new(wire, self.policies, caller))
    }

    /// The client, once one of the servers answers.
    ///
    /// # Errors
    /// The same, or nobody answers within 3 s.
    pub async fn connect(self) -> Result<Client, ConnectError> {
        let server = self.servers.join(",");
        let client = self.build()?;
        match client.wire.balance().pick(Instant::now() + CONNECT_TIMEOUT).await {
            Ok(_) => Ok(client),
            Err(status) => {
                Err(ConnectError::Unreachable { server, source: status.message().into() })
            }
        }
    }
}

fn owner_endpoint(address: &str) -> Option<Endpoint> {
    endpoint(address).ok().map(|endpoint| endpoint.connect_timeout(OWNER_CONNECT_TIMEOUT))
}

/// The address as answers name it.
fn bare(server: &str) -> &str {
    server.split_once("://").map_or(server, |(_, server)| server).trim_end_matches('/')
}

fn endpoint(server: &str) -> Result<Endpoint, ConnectError> {
    let bad = |why: &str| ConnectError::Address { server: server.into(), why: why.into() };
    let uri = match server.split_once("://") {
        None => format!("http://{server}"),
        Some(("http", _)) => server.to_owned(),
        Some(("https", _)) => return Err(bad("TLS is not supported")),
        Some(_) => return Err(bad("the scheme is not http")),
    };
    let endpoint = Endpoint::from_shared(uri).map_err(|_| bad("it is not host:port"))?;
    if endpoint.uri().port().is_none() {
        return Err(bad("the port is missing"));
    }
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true))
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { server, why } => {
                write!(f, "{server:?} is not the address of a server: {why}")
            }
            Self::Caller(_) => f.write_str("the caller's name is not printable ASCII"),
            Self::Unreachable { server, .. } => write!(f, "no quotagate answers at {server}"),
        }
    }
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Address { .. } => None,
            Self::Caller(error) => Some(error),
            Self::Unreachable { source, .. } => Some(&**source),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_named_by_host_and_port() {
        for (server, fault) in [
            ("127.0.0.1:7400", None),
            ("localhost:7400", None),
            ("[::1]:7400", None),
            ("http://quotagate.internal:7400", None),
            ("https://quotagate.internal:7400", Some("TLS")),
            ("etcd://h:1", Some("scheme")),
            ("localhost", Some("port")),
            ("", Some("host:port")),
            ("a b:1", Some("host:port")),
        ] {
            let error = endpoint(server).err().map(|error| error.to_string());
            match (error, fault) {
                (None, None) => {}
                (Some(error), Some(fault)) => assert!(error.contains(fault), "{server}: {error}"),
                (error, _) => panic!("{server}: {error:?}"),
            }
        }
    }
}
