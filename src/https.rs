//! Requests to HTTP servers that are not ours: Salesforce, a customer's webhook.
//!
//! One client for all of them: TLS with the roots of the system, a bound on the
//! time and on the size of every answer, and no redirect is followed, so that
//! what a request carries goes to the host that it names and to no other.

use std::{error::Error as _, fmt, io, time::Duration};

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
pub use hyper::{HeaderMap, Method, Request, StatusCode, Uri, body::Bytes, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, builderstates::WantsSchemes};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

/// The longest answer that is read, in bytes.
pub const MOST_BODY: usize = 1 << 20;

/// Connections; clones share them.
#[derive(Clone)]
pub struct HttpsClient {
    connections: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    patience: Duration,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status, whatever it is: a refusal is an answer, too.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, at most [`MOST_BODY`] bytes.
    pub body: Bytes,
}

/// Why there is no answer. No text of it holds anything of the request.
#[derive(Debug)]
pub enum NoAnswer {
    /// It did not come in time.
    Late(Duration),
    /// It is longer than [`MOST_BODY`].
    TooLong,
    /// No connection was had, so nothing was sent.
    Unreachable(String),
    /// The connection broke; the request may have arrived.
    Broken(String),
}

impl HttpsClient {
    /// A client that waits at most `patience` for a whole answer.
    ///
    /// # Errors
    /// The system has no certificate of an authority to trust.
    pub fn new(patience: Duration) -> io::Result<Self> {
        Ok(Self::over(HttpsConnectorBuilder::new().with_native_roots()?, patience))
    }

    /// The same, which trusts these certificates, in PEM, and not the system's.
    ///
    /// # Errors
    /// They are no certificates, or there is none.
    #[cfg(feature = "server")]
    pub fn trusting(patience: Duration, pem: &[u8]) -> io::Result<Self> {
        use tokio_rustls::rustls::{
            ClientConfig, RootCertStore,
            crypto::ring,
            pki_types::{CertificateDer, pem::PemObject as _},
        };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
        }
        if roots.is_empty() {
            return Err(io::Error::other("there is no certificate"));
        }
        let provider = std::sync::Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self::over(HttpsConnectorBuilder::new().with_tls_config(config), patience))
    }

    fn over(builder: HttpsConnectorBuilder<WantsSchemes>, patience: Duration) -> Self {
        let connector = builder.https_or_http().enable_http1().build();
        let connections = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector);
        Self { connections, patience }
    }

    /// Sends a request, once, and reads the whole answer.
    ///
    /// # Errors
    /// There was no answer, or none within the bounds.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, NoAnswer> {
        tokio::time::timeout(self.patience, self.exchange(request))
            .await
            .unwrap_or(Err(NoAnswer::Late(self.patience)))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer, NoAnswer> {
        let answer = self.connections.request(request).await.map_err(|error| {
            let cause = error.source().map_or_else(|| error.to_string(), innermost);
            if error.is_connect() { NoAnswer::Unreachable(cause) } else { NoAnswer::Broken(cause) }
        })?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MOST_BODY).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                NoAnswer::TooLong
            } else {
                NoAnswer::Broken(innermost(error.as_ref()))
            }
        })?;
        Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
    }
}

impl fmt::Debug for HttpsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpsClient").field("patience", &self.patience).finish_non_exhaustive()
    }
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late(patience) => write!(f, "no answer within {} s", patience.as_secs_f32()),
            Self::TooLong => write!(f, "the answer is longer than {MOST_BODY} bytes"),
            Self::Unreachable(cause) => write!(f, "no connection: {cause}"),
            Self::Broken(cause) => write!(f, "the connection broke: {cause}"),
        }
    }
}

impl std::error::Error for NoAnswer {}

/// True if what is sent to this address is encrypted, or does not leave the
/// machine: a secret may go there.
#[must_use]
pub fn keeps_secrets(address: &Uri) -> bool {
    let host = address.host().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_here = host == "localhost"
        || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    match address.scheme_str() {
        Some("https") => !host.is_empty(),
        Some("http") => is_here,
        _ => false,
    }
}

/// The cause at the bottom says what happened; those above it repeat each other.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    #[test]
    fn a_secret_goes_only_where_nobody_listens_on_the_way() {
        for (address, expected) in [
            ("https://acme.my.salesforce.com", true),
            ("https://acme.my.salesforce.com:8443/x", true),
            ("http://acme.my.salesforce.com", false),
            ("http://127.0.0.1:8080", true),
            ("http://127.8.9.1", true),
            ("http://[::1]:8080/x", true),
            ("http://localhost:1", true),
            ("http://localhost.example.com", false),
            ("http://10.0.0.1", false),
            ("ftp://localhost", false),
            ("/services/data", false),
        ] {
            assert_eq!(keeps_secrets(&address.parse().unwrap()), expected, "{address}");
        }
    }

    /// A server that answers every connection with these bytes.
    async fn server(answer: Vec<u8>) -> Uri {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/x", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let answer = answer.clone();
                tokio::spawn(async move {
                    let _ = stream.read(&mut [0; 1024]).await;
                    let _ = stream.write_all(&answer).await;
                    // What is not finished stays open.
                    std::future::pending::<()>().await;
                });
            }
        });
        address
    }

    fn get(address: &Uri) -> Request<Full<Bytes>> {
        Request::get(address.clone()).body(Full::default()).unwrap()
    }

    #[tokio::test]
    async fn an_answer_is_read_whole_and_a_redirect_is_one() {
        let client = HttpsClient::new(Duration::from_secs(30)).unwrap();
        let address = server(
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 4\r\n\r\nelse"
                .to_vec(),
        )
        .await;
        let answer = client.send(get(&address)).await.unwrap();
        assert_eq!((answer.status, answer.body.as_ref()), (StatusCode::FOUND, &b"else"[..]));
    }

    #[tokio::test]
    async fn what_is_late_or_long_is_no_answer() {
        let hasty = HttpsClient::new(Duration::from_millis(50)).unwrap();
        let client = HttpsClient::new(Duration::from_secs(30)).unwrap();
        let address = server(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab".to_vec()).await;
        assert!(matches!(hasty.send(get(&address)).await, Err(NoAnswer::Late(_))));
        let mut long = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", MOST_BODY + 1);
        long.push_str(&"x".repeat(MOST_BODY + 1));
        let address = server(long.into_bytes()).await;
        assert!(matches!(client.send(get(&address)).await, Err(NoAnswer::TooLong)));
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_has_seen_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        drop(listener);
        let client = HttpsClient::new(Duration::from_secs(30)).unwrap();
        let fault = client.send(get(&address)).await.unwrap_err();
        assert!(matches!(fault, NoAnswer::Unreachable(_)), "{fault:?}");
        assert!(fault.to_string().contains("refused"), "{fault}");
    }
}
