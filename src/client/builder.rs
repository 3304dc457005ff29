//! A client is told what it needs to know, and connects.

use std::{error::Error, fmt, path::PathBuf, sync::Arc, time::Duration};

use tokio::time::Instant;
use tonic::metadata::{AsciiMetadataValue, errors::InvalidMetadataValue};

use super::{
    Client,
    balance::Balance,
    outage::{OutagePolicy, Policies},
    security::{Bearer, Security},
    wire::Wire,
};
use crate::{
    proto::v1::TrafficClass,
    tls::{ClientFiles, Connector, Fault, Rejected},
};

/// Where the service listens unless it is told otherwise.
pub const DEFAULT_SERVER: &str = "127.0.0.1:7400";

/// How long to try to connect: a server that is there answers within one round
/// trip.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a question may take, besides the wait that it asks for.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);

/// A client that is not connected yet: see [`Client::builder`].
///
/// ```no_run
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// use std::{num::NonZeroU32, time::Duration};
/// use quotagate::client::{Client, OutagePolicy, TlsFiles, TrafficClass};
///
/// let eight = NonZeroU32::new(8).expect("not zero");
/// let client = Client::builder("quota-1:7400,quota-2:7400")
///     .caller("inbox/eu")
///     .timeout(Duration::from_millis(500))
///     .tls(TlsFiles { ca: Some("/etc/quotagate/ca.pem".into()), ..TlsFiles::default() })
///     .token_file("/var/run/secrets/tokens/quotagate")
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
    tls: Option<ClientFiles>,
    token_file: Option<PathBuf>,
    token_in_the_clear: bool,
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
    /// A certificate, a key or a token cannot be read, or is none.
    Credentials(Fault),
    /// The token would be sent to this server where others can read it.
    TokenInTheClear {
        /// The address.
        server: String,
    },
    /// What answers there speaks TLS, and does not let this client in.
    Rejected {
        /// The addresses.
        server: String,
        /// Why.
        source: Rejected,
    },
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
            tls: None,
            token_file: None,
            token_in_the_clear: false,
        };
        builder.servers(servers.split(','))
    }

    /// More servers: `host:port`, `https://host:port` or `http://host:port` each.
    /// Without a scheme TLS is spoken where [`tls`](Self::tls) was said.
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

    /// Speaks TLS with servers that are named without a scheme or with `https://`.
    /// The files are read again when they change; each new connection uses what they
    /// say then. (With `https://` alone, the system's authorities are trusted.)
    pub fn tls(self, files: ClientFiles) -> Self {
        Self { tls: Some(files), ..self }
    }

    /// A file with a token that says who asks, in every request. It is read again
    /// when it changes, as Kubernetes renews those of service accounts.
    pub fn token_file(self, path: impl Into<PathBuf>) -> Self {
        Self { token_file: Some(path.into()), ..self }
    }

    /// Sends the token also over connections that others can read: without TLS, and
    /// to another machine.
    pub fn token_in_the_clear(self) -> Self {
        Self { token_in_the_clear: true, ..self }
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
    /// An address is none, the caller's name is not printable ASCII, or a file is
    /// of no use; or a token would be sent in the clear.
    pub fn build(self) -> Result<Client, ConnectError> {
        let caller = self.caller.map(|name| name.parse::<AsciiMetadataValue>()).transpose();
        let caller = caller.map_err(ConnectError::Caller)?;
        let is_default = self.tls.is_some();
        let wants_tls = is_default || self.servers.iter().any(|s| s.starts_with("https://"));
        let tls = wants_tls.then(|| Connector::open(self.tls.unwrap_or_default())).transpose();
        let bearer = self.token_file.as_deref().map(Bearer::open).transpose();
        let security = Security {
            tls: tls.map_err(ConnectError::Credentials)?,
            is_default,
            bearer: bearer.map_err(ConnectError::Credentials)?.unwrap_or_default(),
            in_the_clear: self.token_in_the_clear,
        };
        let mut ways = Vec::new();
        for server in &self.servers {
            let address = bare(server).into();
            if !ways.iter().any(|(other, _)| *other == address) {
                ways.push((address, security.dial(server)?));
            }
        }
        let balance = Balance::start(ways);
        let wire = Arc::new(Wire::new(balance, self.timeout, security));
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
            Err(status) => Err(match client.wire.balance().rejected() {
                Some(source) => ConnectError::Rejected { server, source },
                None => ConnectError::Unreachable { server, source: status.message().into() },
            }),
        }
    }
}

/// The address as answers name it.
fn bare(server: &str) -> &str {
    server.split_once("://").map_or(server, |(_, server)| server).trim_end_matches('/')
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { server, why } => {
                write!(f, "{server:?} is not the address of a server: {why}")
            }
            Self::Caller(_) => f.write_str("the caller's name is not printable ASCII"),
            Self::Credentials(_) => f.write_str("a file of the connection is of no use"),
            Self::TokenInTheClear { server } => {
                write!(f, "the token would be sent to {server} where others can read it: use https")
            }
            Self::Rejected { server, .. } => write!(f, "{server} does not let this client in"),
            Self::Unreachable { server, .. } => write!(f, "no quotagate answers at {server}"),
        }
    }
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Address { .. } | Self::TokenInTheClear { .. } => None,
            Self::Credentials(fault) => Some(fault),
            Self::Caller(error) => Some(error),
            Self::Rejected { source, .. } => Some(source),
            Self::Unreachable { source, .. } => Some(&**source),
        }
    }
}
