//! A service with TLS, in this process, and clients of all kinds.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use quotagate::{
    client::{Ask, Client},
    config::Config,
    server::{Connections, Options, Service},
    tls::ClientFiles,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep},
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    },
};

use crate::pki::Issued;

/// Longer than anything may take here, however busy the machine is.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A service whose connections live for so long.
pub async fn serve(connections: Connections, max_connection_age: Option<Duration>) -> Service {
    let options =
        Options { max_connection_age, connections, ..Options::in_memory(Config::built_in()) };
    Service::start(options).await.expect("it starts")
}

/// A client of the library.
pub fn client(address: SocketAddr, files: ClientFiles) -> Client {
    let server = format!("https://localhost:{}", address.port());
    Client::builder(&server).tls(files).timeout(PATIENCE).build().expect("good files")
}

/// Gets an answer to a question.
pub async fn ask(client: &Client) -> Result<(), String> {
    let ask = Ask::new("acme", "conversation-entries.get").execution_user("alice");
    match client.permit(&ask).await {
        Ok(_) | Err(quotagate::client::AcquireError::Denied(_)) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// A handshake of a client that is not the library.
pub async fn handshake(
    address: SocketAddr,
    protocol: &str,
    ca: &str,
    issued: Option<&Issued>,
    name: &str,
) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).expect("PEM")).expect("an authority");
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let mut config = match issued {
        None => builder.with_no_client_auth(),
        Some(Issued { cert, key }) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(cert.as_bytes()).expect("PEM")],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM"),
            )
            .expect("they fit"),
    };
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// Begins to speak HTTP/2 and reads what comes: a client that is let in gets the
/// server's settings.
pub async fn is_let_in(stream: io::Result<TlsStream<TcpStream>>) -> bool {
    let Ok(mut stream) = stream else { return false };
    if stream.write_all(PREFACE).await.is_err() {
        return false;
    }
    matches!(stream.read(&mut [0; 64]).await, Ok(read) if read > 0)
}

/// `GET path` by HTTP/1.1: all of the answer.
pub async fn get(mut stream: TlsStream<TcpStream>, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = Vec::new();
    // An end without TLS's own farewell is an end, too.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Waits until something is so.
pub async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let start = Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < PATIENCE, "{what}");
        sleep(Duration::from_millis(20)).await;
    }
}
