//! Connections that this process opens.

use std::{
    fmt, io,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        client::Resumption,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName},
    },
};
use tonic::codegen::{Service, http::Uri};

use super::{
    files::{Fault, Followed, Reload, authorities, certificates, private_key},
    provider,
    rejected::{Note, Noted},
};

/// The files by which a client knows its servers, and shows who it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFiles {
    /// The certificates of the authorities that a server's is checked with (PEM);
    /// without, the system's.
    pub ca: Option<PathBuf>,
    /// The certificate to show, with those between it and the authority, and its
    /// private key (PEM).
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name that must stand in a server's certificate; without, the host that
    /// is connected to.
    pub name: Option<String>,
}

/// Opens connections for HTTP/2 over TLS, each with what the files say then.
#[derive(Clone)]
pub struct Connector {
    config: Arc<Followed<ClientConfig>>,
    name: Option<ServerName<'static>>,
    note: Note,
}

impl Connector {
    /// Reads the files, and follows them.
    ///
    /// # Errors
    /// The first fault of a file; the system's authorities, or the name, are at
    /// fault under the path of what they stand for.
    pub fn open(files: ClientFiles) -> Result<Self, Fault> {
        let ClientFiles { ca, identity, name } = files;
        let name = name.map(|name| {
            let bad = Fault::new(name.as_ref(), "this is no name of a server");
            ServerName::try_from(name).map_err(|_| bad)
        });
        let paths: Vec<PathBuf> =
            ca.iter().chain(identity.iter().flat_map(|(cert, key)| [cert, key])).cloned().collect();
        // They are read once: the system's authorities change with its image.
        let system = if ca.is_none() { Some(system_authorities()?) } else { None };
        let config = Followed::open(paths, move |contents| {
            let mut contents = contents.iter();
            let mut next = || contents.next().map_or(&[][..], Vec::as_slice);
            let roots = match &ca {
                Some(path) => authorities(path, next())?,
                None => system.clone().unwrap_or_else(RootCertStore::empty),
            };
            let identity = match &identity {
                Some((cert, key)) => {
                    Some((cert, certificates(cert, next())?, private_key(key, next())?))
                }
                None => None,
            };
            config(roots, identity)
        })?;
        Ok(Self { config, name: name.transpose()?, note: Note::default() })
    }

    /// The same, for one connection; and what will be noted of its server.
    #[must_use]
    pub fn noting(&self) -> (Self, Note) {
        let note = Note::default();
        (Self { note: note.clone(), ..self.clone() }, note)
    }

    /// Has each change of the files told to `listener`.
    pub fn on_reload(&self, listener: impl Fn(Reload) + Send + Sync + 'static) {
        self.config.on_reload(listener);
    }

    /// Speaks TLS over a stream to a host, a name or an address.
    ///
    /// # Errors
    /// What broke, or what is wrong with the server's certificate.
    pub async fn wrap<S>(&self, host: &str, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => {
                let host = host.trim_start_matches('[').trim_end_matches(']');
                ServerName::try_from(host.to_owned()).map_err(io::Error::other)?
            }
        };
        TlsConnector::from(self.config.now()).connect(name, stream).await
    }

    /// Connects to `HOST:PORT`.
    ///
    /// # Errors
    /// Nobody listens there, or as for [`wrap`](Self::wrap).
    pub async fn dial(&self, address: &str) -> io::Result<TlsStream<TcpStream>> {
        let (host, _) = address
            .rsplit_once(':')
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the port is missing"))?;
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        self.wrap(host, stream).await
    }
}

/// For tonic's channels: to an address that is written with `http://`, because
/// tonic would else want to speak TLS itself.
impl Service<Uri> for Connector {
    type Response = TokioIo<Noted<TlsStream<TcpStream>>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let address = uri.authority().map_or("", |authority| authority.as_str());
            let dialled = connector.dial(address).await;
            let stream = dialled.inspect_err(|error| connector.note.fault(error))?;
            Ok(TokioIo::new(Noted::new(stream, connector.note)))
        })
    }
}

fn config(
    roots: RootCertStore,
    identity: Option<(&PathBuf, Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
) -> Result<ClientConfig, Fault> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring has the suites of TLS 1.2 and 1.3")
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((path, chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| Fault::new(path, error.to_string()))?,
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn system_authorities() -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    // Single ones that rustls cannot use are common, and no harm.
    let (good, _) = roots.add_parsable_certificates(found.certs);
    if good == 0 {
        let why = "there are none: name the file of an authority";
        return Err(Fault::new("the system's authorities".as_ref(), why));
    }
    Ok(roots)
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("files", &self.config).field("name", &self.name).finish()
    }
}
