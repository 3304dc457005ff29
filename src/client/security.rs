//! How connections to servers are secured, and what is shown there of who asks.

use std::{net::IpAddr, path::Path, sync::Arc, time::Duration};

use tonic::{
    Request, Status,
    metadata::AsciiMetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use super::builder::{CONNECT_TIMEOUT, ConnectError};
use crate::tls::{
    Connector, Note,
    files::{Fault, Followed},
};

/// How long to try to connect to an org's owner. It is tried beside the
/// requests, which go to the configured servers meanwhile.
const OWNER_CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// How often a connection is tested, so that a server that vanished without a
/// word is noticed in the middle of a wait.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest token, in bytes: a server takes no more than that of all headers.
const MOST_TOKEN_BYTES: usize = 12 << 10;

/// An open connection, over which each request says who asks.
pub type Connection = InterceptedService<Channel, Bearer>;

/// What holds for all connections of a client.
#[derive(Clone, Debug, Default)]
pub struct Security {
    /// Opens connections to servers that are named with `https://`, or where that
    /// is what no scheme means.
    pub tls: Option<Connector>,
    /// TLS is spoken where no scheme says otherwise.
    pub is_default: bool,
    /// What is shown.
    pub bearer: Bearer,
    /// It may be shown where others can read it.
    pub in_the_clear: bool,
}

/// The way to a server.
#[derive(Clone, Debug)]
pub struct Dial {
    endpoint: Endpoint,
    tls: Option<Connector>,
    bearer: Bearer,
}

/// Shows a token with each request, if there is one; the newest that its file has.
#[derive(Clone, Debug, Default)]
pub struct Bearer(Option<Arc<Followed<AsciiMetadataValue>>>);

impl Security {
    /// The way to a configured server.
    ///
    /// # Errors
    /// It is no address, or a token would be sent to it in the clear.
    pub fn dial(&self, server: &str) -> Result<Dial, ConnectError> {
        // What stands before an `@` may be a password.
        let shown = server.rsplit_once('@').map_or(server, |(_, shown)| shown);
        let bad = |why: &str| ConnectError::Address { server: shown.into(), why: why.into() };
        let (is_tls, address) = match server.split_once("://") {
            None => (self.is_default, server),
            Some(("http", address)) => (false, address),
            Some(("https", address)) => (true, address),
            Some(_) => return Err(bad("the scheme is neither https nor http")),
        };
        let tls = self.tls.as_ref().filter(|_| is_tls).cloned();
        if address.contains('@') {
            return Err(bad("it must not hold a user or a password: a token says who asks"));
        }
        // What speaks TLS is the connector.
        let endpoint = Endpoint::from_shared(format!("http://{address}"));
        let mut endpoint = endpoint.map_err(|_| bad("it is not host:port"))?;
        if endpoint.uri().port().is_none() {
            return Err(bad("the port is missing"));
        }
        let host = endpoint.uri().host().unwrap_or_default();
        if !is_tls && self.bearer.0.is_some() && !self.in_the_clear && !is_here(host) {
            return Err(ConnectError::TokenInTheClear { server: server.into() });
        }
        if is_tls {
            let origin = format!("https://{address}").parse();
            endpoint = endpoint.origin(origin.map_err(|_| bad("it is not host:port"))?);
        }
        let endpoint = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true);
        Ok(Dial { endpoint, tls, bearer: self.bearer.clone() })
    }

    /// The way to an org's owner, which is secured as the servers are that named
    /// it; `None` if what they named is of no use here.
    pub fn dial_owner(&self, address: &str) -> Option<Dial> {
        if address.contains("://") {
            return None;
        }
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let mut dial = self.dial(&format!("{scheme}://{address}")).ok()?;
        dial.endpoint = dial.endpoint.connect_timeout(OWNER_CONNECT_TIMEOUT);
        Some(dial)
    }
}

impl Dial {
    /// Connects; and what its server says of this client's certificate, now or as
    /// the first thing over the connection.
    ///
    /// # Errors
    /// Nobody answers there, or each other's certificates are not liked.
    pub async fn connect(&self) -> (Result<Connection, tonic::transport::Error>, Note) {
        let (channel, note) = match &self.tls {
            Some(tls) => {
                let (tls, note) = tls.noting();
                (self.endpoint.connect_with_connector(tls).await, note)
            }
            None => (self.endpoint.connect().await, Note::default()),
        };
        (channel.map(|channel| InterceptedService::new(channel, self.bearer.clone())), note)
    }
}

impl Bearer {
    /// Reads a token from a file, and follows it.
    ///
    /// # Errors
    /// There is none in it.
    pub fn open(path: &Path) -> Result<Self, Fault> {
        let shown = path.to_owned();
        let followed = Followed::open(vec![path.to_owned()], move |contents| {
            let content = contents.first().map_or(&[][..], Vec::as_slice).trim_ascii();
            let is_good = (1..=MOST_TOKEN_BYTES).contains(&content.len())
                && content.iter().all(u8::is_ascii_graphic);
            let header = is_good.then(|| [b"Bearer ", content].concat());
            let value = header.and_then(|header| AsciiMetadataValue::try_from(header).ok());
            let why = "there is no token in it: a line of visible ASCII characters";
            let mut value = value.ok_or_else(|| Fault::new(&shown, why))?;
            value.set_sensitive(true);
            Ok(value)
        });
        followed.map(|token| Self(Some(token)))
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            let token = AsciiMetadataValue::clone(&token.now());
            request.metadata_mut().insert("authorization", token);
        }
        Ok(request)
    }
}

/// True for a host whose connections do not leave this machine.
fn is_here(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || bare.parse().is_ok_and(|address: IpAddr| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(text: &str) -> Result<Bearer, Fault> {
        let home = tempfile::tempdir().expect("a place for temporary files");
        let path = home.path().join("token");
        std::fs::write(&path, text).expect("it is writable");
        Bearer::open(&path)
    }

    fn plain(bearer: Bearer, in_the_clear: bool) -> Security {
        Security { tls: None, is_default: false, bearer, in_the_clear }
    }

    #[test]
    fn servers_are_named_by_host_and_port() {
        let security = plain(Bearer::default(), false);
        for (server, fault) in [
            ("127.0.0.1:7400", None),
            ("localhost:7400", None),
            ("[::1]:7400", None),
            ("http://quotagate.internal:7400", None),
            ("etcd://h:1", Some("scheme")),
            ("localhost", Some("port")),
            ("", Some("host:port")),
            ("a b:1", Some("host:port")),
            ("https://me:secret@quotagate.internal:7400", Some("user or a password")),
            ("me:secret@quotagate.internal", Some("user or a password")),
        ] {
            let error = security.dial(server).err().map(|error| error.to_string());
            match (error, fault) {
                (None, None) => {}
                (Some(error), Some(fault)) => assert!(error.contains(fault), "{server}: {error}"),
                (error, _) => panic!("{server}: {error:?}"),
            }
        }
    }

    #[test]
    fn a_token_is_not_sent_where_others_can_read_it_and_never_shown() {
        for (server, in_the_clear, good) in [
            ("127.0.0.1:7400", false, true),
            ("localhost:7400", false, true),
            ("[::1]:7400", false, true),
            ("http://[::ffff:127.0.0.1]:7400", false, true),
            ("quotagate.internal:7400", false, false),
            ("http://10.0.0.1:7400", false, false),
            ("localhost.evil:7400", false, false),
            ("http://10.0.0.1:7400", true, true),
        ] {
            let security = plain(bearer("hush-1234\n").expect("a token"), in_the_clear);
            assert_eq!(security.dial(server).is_ok(), good, "{server}");
            assert_eq!(security.dial_owner(server.trim_start_matches("http://")).is_some(), good);
            assert!(!format!("{security:?} {:?}", security.dial(server)).contains("hush"));
        }
    }

    #[test]
    fn a_token_goes_with_each_request() {
        let mut token = bearer("  hush-1234\n").expect("a token");
        let request = token.call(Request::new(())).expect("it goes on");
        let shown = request.metadata().get("authorization").expect("it is there");
        assert_eq!(shown.as_bytes(), b"Bearer hush-1234");
        assert!(!format!("{request:?} {token:?}").contains("hush"));
        for text in ["", " \n", "hush hush", "hush\u{e4}", &"x".repeat(MOST_TOKEN_BYTES + 1)] {
            let fault = bearer(text).expect_err("it is none");
            assert!(!format!("{fault} {fault:?}").contains("hush"), "{fault}");
        }
    }
}
