//! Connections that come in: in the clear or over TLS, each made ready in a task of
//! its own, so that a slow client holds up nobody but itself.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::TcpStream,
    sync::mpsc,
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep, timeout},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::pki_types::{CertificateDer, ServerName},
    server::TlsStream,
};
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::server::Connected;
use webpki::EndEntityCert;

use super::{
    bounds::{Bounds, Place, Places},
    files::Fault,
    names::CertificateNames,
    refusal,
    serve::{Protocol, Server},
};
use crate::metrics::{Listener, Metrics, Refusal};

/// A client that is there has made its handshake, and begun to speak the protocol
/// within it, after few round trips.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// How long to wait after an accept that failed (too many open files, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections that are ready, and wait to be served.
const BACKLOG: usize = 64;

/// Refusals are counted, each; a log tells of one in this time.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// How long, and how much, is read of a client that was refused.
const FAREWELL: Duration = Duration::from_secs(1);
const FAREWELL_BYTES: u64 = 64 << 10;

/// What every client that speaks HTTP/2 sends first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How the connections of a listener are made ready.
#[derive(Debug)]
pub struct Acceptor {
    /// Which listener it is, for metrics and logs.
    pub listener: Listener,
    /// What is spoken over its connections.
    pub protocol: Protocol,
    /// TLS; `None`: in the clear.
    pub tls: Option<Server>,
    /// A name that must stand in the clients' certificates, besides what TLS asks
    /// of them.
    pub client_name: Option<ServerName<'static>>,
    /// How many there may be.
    pub bounds: Bounds,
    /// Where they are counted.
    pub metrics: Arc<Metrics>,
}

/// What connections run over.
pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// The address here, and that of the other end.
    ///
    /// # Errors
    /// The other end is gone.
    fn ends(&self) -> io::Result<(SocketAddr, SocketAddr)>;
}

/// Who is at the other end of a connection. Services that are not asked often find it
/// among the extensions of each request that comes over it.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address.
    pub remote: SocketAddr,
    /// The address here.
    pub local: SocketAddr,
    /// True if nobody between could read or change what was sent.
    pub is_encrypted: bool,
    /// The names in its certificate, whose chain was checked; `None` if it showed
    /// none.
    pub certificate: Option<Arc<CertificateNames>>,
}

/// Connections that are ready, as they come. When it is dropped, no more are taken.
#[derive(Debug)]
pub struct Incoming<C> {
    ready: mpsc::Receiver<Connection<C>>,
    task: AbortHandle,
}

/// A connection over which its client has begun to speak.
pub struct Connection<C> {
    stream: Layer<C>,
    /// What was read of it already.
    first: [u8; PREFACE.len()],
    unread: std::ops::Range<usize>,
    peer: Peer,
    /// Held for its drop.
    _counted: Counted,
}

enum Layer<C> {
    Plain(C),
    Tls(Box<TlsStream<C>>),
}

/// A connection as it counts, as long as it lives.
#[derive(Debug)]
struct Counted {
    _place: Place,
    listener: Listener,
    metrics: Arc<Metrics>,
}

impl Acceptor {
    /// In the clear, as many as there are by default.
    #[must_use]
    pub fn plain(listener: Listener, protocol: Protocol, metrics: Arc<Metrics>) -> Self {
        let bounds = Bounds::default();
        Self { listener, protocol, tls: None, client_name: None, bounds, metrics }
    }

    /// A name that can stand in certificates.
    ///
    /// # Errors
    /// It is none.
    pub fn name(text: &str) -> Result<ServerName<'static>, Fault> {
        ServerName::try_from(text.to_owned())
            .map_err(|_| Fault::new(text.as_ref(), "this is no name of a server"))
    }

    /// Makes connections ready, in the background. To be called within a tokio
    /// runtime.
    pub fn take<I, C, E>(self, connections: I) -> Incoming<C>
    where
        I: Stream<Item = Result<C, E>> + Send + 'static,
        C: Transport,
        E: fmt::Display + Send + 'static,
    {
        let (tell, ready) = mpsc::channel(BACKLOG);
        let acceptor =
            Accepting { places: Places::new(self.bounds), quiet: Quiet::default(), acceptor: self };
        let task = tokio::spawn(Arc::new(acceptor).run(connections, tell)).abort_handle();
        Incoming { ready, task }
    }
}

/// A listener that runs.
struct Accepting {
    acceptor: Acceptor,
    places: Arc<Places>,
    quiet: Quiet,
}

impl Accepting {
    async fn run<I, C, E>(self: Arc<Self>, connections: I, ready: mpsc::Sender<Connection<C>>)
    where
        I: Stream<Item = Result<C, E>> + Send + 'static,
        C: Transport,
        E: fmt::Display + Send + 'static,
    {
        // Half of the places are for those who have said something.
        let most_handshakes = self.acceptor.bounds.total.div_ceil(2);
        let listener = self.acceptor.listener.name();
        let mut connections = pin!(connections);
        let mut handshakes = JoinSet::new();
        loop {
            let stream = tokio::select! {
                () = ready.closed() => return,
                Some(_) = handshakes.join_next() => continue,
                accepted = connections.next() => match accepted {
                    None => break,
                    Some(Ok(stream)) => stream,
                    Some(Err(error)) => {
                        tracing::warn!(%error, listener, "cannot accept a connection");
                        sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
            };
            while handshakes.try_join_next().is_some() {}
            let Ok((local, remote)) = stream.ends() else {
                self.refuse(Refusal::Gone, None, &"it is gone already");
                continue;
            };
            let place = match self.places.take(remote.ip()) {
                Ok(_) if handshakes.len() >= most_handshakes => Err(Refusal::TooManyHandshakes),
                taken => taken,
            };
            let place = match place {
                Ok(place) => place,
                Err(cause) => {
                    self.refuse(cause, Some(remote), &"there is no place for it");
                    continue;
                }
            };
            let (this, ready) = (Arc::clone(&self), ready.clone());
            handshakes.spawn(async move {
                let prepared = timeout(READY_WITHIN, this.prepare(stream, local, remote, place));
                match prepared.await {
                    // Nobody listens any more at the end.
                    Ok(Ok(connection)) => drop(ready.send(connection).await),
                    Ok(Err((cause, error))) => this.refuse(cause, Some(remote), &error),
                    Err(_) => {
                        let error = format!("it was not ready within {READY_WITHIN:?}");
                        this.refuse(Refusal::Late, Some(remote), &error);
                    }
                }
            });
        }
        while handshakes.join_next().await.is_some() {}
    }

    /// Makes the handshake, and waits for the first bytes of the protocol.
    async fn prepare<C: Transport>(
        &self,
        stream: C,
        local: SocketAddr,
        remote: SocketAddr,
        place: Place,
    ) -> Result<Connection<C>, (Refusal, io::Error)> {
        let Acceptor { listener, protocol, ref tls, ref client_name, ref metrics, .. } =
            self.acceptor;
        let mut certificate = None;
        let mut stream = match tls {
            None => Layer::Plain(stream),
            Some(tls) => {
                let acceptor = TlsAcceptor::from(tls.config(protocol));
                let stream = match acceptor.accept(stream).into_fallible().await {
                    Ok(stream) => stream,
                    Err((error, stream)) => {
                        say_farewell(stream).await;
                        return Err((refusal::of_handshake(&error), error));
                    }
                };
                let chain = stream.get_ref().1.peer_certificates();
                let leaf = chain.and_then(|chain| chain.first());
                if let Some(name) = client_name {
                    must_have(leaf, name)?;
                }
                certificate = leaf.map(|leaf| Arc::new(CertificateNames::of(leaf)));
                Layer::Tls(Box::new(stream))
            }
        };
        let mut first = [0; PREFACE.len()];
        let unread = match protocol {
            // Its head has a time of its own.
            Protocol::Http1 => 0..0,
            Protocol::Http2 => {
                stream.read_exact(&mut first).await.map_err(|error| (Refusal::Gone, error))?;
                if first != *PREFACE {
                    return Err((Refusal::NotHttp2, io::Error::other("it speaks no HTTP/2")));
                }
                0..first.len()
            }
        };
        metrics.connected(listener);
        let counted = Counted { _place: place, listener, metrics: Arc::clone(metrics) };
        let peer = Peer { remote, local, is_encrypted: tls.is_some(), certificate };
        Ok(Connection { stream, first, unread, peer, _counted: counted })
    }

    fn refuse(&self, cause: Refusal, remote: Option<SocketAddr>, error: &dyn fmt::Display) {
        let listener = self.acceptor.listener;
        self.acceptor.metrics.connection_refused(listener, cause);
        let is_news = cause != Refusal::Gone;
        let (listener, cause) = (listener.name(), cause.name());
        let remote = remote.map(tracing::field::display);
        // Probes that only connect are no news.
        let untold = if is_news { self.quiet.may_tell() } else { None };
        match untold {
            Some(untold) => {
                tracing::info!(listener, cause, remote, %error, untold, "a connection was refused");
            }
            None => tracing::debug!(listener, cause, remote, %error, "a connection was refused"),
        }
    }
}

/// TLS has said why not; to close with words of the client's unread would take that
/// back before the client has read it.
async fn say_farewell(mut stream: impl Transport) {
    let drain = async {
        stream.shutdown().await?;
        let mut rest = stream.take(FAREWELL_BYTES);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    let _ = timeout(FAREWELL, drain).await;
}

fn must_have(
    leaf: Option<&CertificateDer<'_>>,
    name: &ServerName<'_>,
) -> Result<(), (Refusal, io::Error)> {
    let Some(leaf) = leaf else {
        return Err((Refusal::NoCertificate, io::Error::other("it showed no certificate")));
    };
    let checked =
        EndEntityCert::try_from(leaf).and_then(|leaf| leaf.verify_is_valid_for_subject_name(name));
    checked.map_err(|error| (Refusal::CertificateName, io::Error::other(error)))
}

/// Keeps a flood out of the log.
#[derive(Default)]
struct Quiet(Mutex<(Option<Instant>, u64)>);

impl Quiet {
    /// How many were not told before, if this may be.
    fn may_tell(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (told, untold) = &mut *state;
        if told.is_some_and(|told| told.elapsed() < TELL_EVERY) {
            *untold += 1;
            return None;
        }
        *told = Some(Instant::now());
        Some(std::mem::take(untold))
    }
}

impl Transport for TcpStream {
    fn ends(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.local_addr()?, self.peer_addr()?))
    }
}

impl<C> Stream for Incoming<C> {
    type Item = io::Result<Connection<C>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.ready.poll_recv(context).map(|ready| ready.map(Ok))
    }
}

impl<C> Drop for Incoming<C> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<C> Connection<C> {
    /// Who is at its other end.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }
}

impl<C> Connected for Connection<C> {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.disconnected(self.listener);
    }
}

impl<C> fmt::Debug for Connection<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl<C: Transport> AsyncRead for Connection<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.unread.is_empty() {
            return Pin::new(&mut this.stream).poll_read(context, buffer);
        }
        let bytes = &this.first[this.unread.clone()];
        let read = bytes.len().min(buffer.remaining());
        buffer.put_slice(&bytes[..read]);
        this.unread.start += read;
        Poll::Ready(Ok(()))
    }
}

impl<C: Transport> AsyncWrite for Connection<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<C: Transport> AsyncRead for Layer<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl<C: Transport> AsyncWrite for Layer<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
