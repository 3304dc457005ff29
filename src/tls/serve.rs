//! What this process shows to those who connect to it, and asks of them.

use std::{path::PathBuf, sync::Arc};

use tokio_rustls::rustls::{
    ServerConfig,
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};

use super::{
    files::{Fault, Followed, Reload, authorities, certificates, private_key},
    provider,
};

/// The files by which a server shows who it is, and knows its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFiles {
    /// The certificate, with those between it and its authority (PEM).
    pub cert: PathBuf,
    /// Its private key (PEM).
    pub key: PathBuf,
    /// The certificates of the authorities that clients' are checked with (PEM);
    /// without, clients are asked for none.
    pub client_ca: Option<PathBuf>,
    /// Whether a client must show one, if there are such authorities.
    pub client_auth: ClientAuth,
}

/// Whether clients must show certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ClientAuth {
    /// Who shows none may prove otherwise who they are
    #[default]
    Optional,
    /// Who shows none is not let in
    Require,
}

/// What is spoken over a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 from the first byte, as gRPC wants it.
    Http2,
}

/// The server's side of TLS. Clones share it.
#[derive(Clone, Debug)]
pub struct Server(Arc<Followed<Configs>>);

/// The same for each protocol.
struct Configs {
    http1: Arc<ServerConfig>,
    http2: Arc<ServerConfig>,
}

impl Server {
    /// Reads the files, and follows them.
    ///
    /// # Errors
    /// The first fault of a file.
    pub fn open(files: ServerFiles) -> Result<Self, Fault> {
        let paths = [Some(&files.cert), Some(&files.key), files.client_ca.as_ref()];
        let paths = paths.into_iter().flatten().cloned().collect();
        Followed::open(paths, move |contents| configs(&files, contents)).map(Self)
    }

    /// Has each change of the files told to `listener`.
    pub fn on_reload(&self, listener: impl Fn(Reload) + Send + Sync + 'static) {
        self.0.on_reload(listener);
    }

    /// What is in force now.
    pub(super) fn config(&self, protocol: Protocol) -> Arc<ServerConfig> {
        let configs = self.0.now();
        Arc::clone(match protocol {
            Protocol::Http1 => &configs.http1,
            Protocol::Http2 => &configs.http2,
        })
    }
}

/// Of the contents of the certificate, the key and the authorities, in this order.
fn configs(files: &ServerFiles, contents: &[Vec<u8>]) -> Result<Configs, Fault> {
    let ServerFiles { cert, key, client_ca, client_auth } = files;
    let content = |at: usize| contents.get(at).map_or(&[][..], Vec::as_slice);
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring has the suites of TLS 1.2 and 1.3");
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(authorities(path, content(2))?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
            let verifier = match client_auth {
                ClientAuth::Optional => verifier.allow_unauthenticated(),
                ClientAuth::Require => verifier,
            };
            let verifier = verifier.build().map_err(|error| Fault::new(path, error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let (chain, key) = (certificates(cert, content(0))?, private_key(key, content(1))?);
    // A key that is another certificate's is an error here.
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| Fault::new(cert, error.to_string()))?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    let speaking = |protocol: &[u8]| {
        let mut config = config.clone();
        config.alpn_protocols = vec![protocol.to_vec()];
        Arc::new(config)
    };
    Ok(Configs { http1: speaking(b"http/1.1"), http2: speaking(b"h2") })
}
