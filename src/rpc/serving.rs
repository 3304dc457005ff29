//! Serves gRPC over connections that come ready made. It does what tonic's server
//! does, with fewer steps between a frame and its handler:
//!
//! - A request is begun where its frame was read, on the connection's own task. What
//!   is decided in memory is answered there; what has to wait goes on in a task of its
//!   own ([`InPlace`]).
//! - What a connection's requests answer is written at once, when all that had come
//!   were served ([`Wire`]). tonic writes each answer by itself as soon as a task per
//!   request wakes the connection's.
//! - The services that are asked most often are called without a router.

use std::{
    convert::Infallible,
    fmt,
    future::{pending, poll_fn},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use hyper::{body::Incoming, rt::Executor, server::conn::http2::Builder, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::watch,
    task::yield_now,
    time::{sleep, timeout},
};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{
    codegen::{StdError, http},
    service::Routes,
    transport::server::Connected,
};
use tower::Service;
use tracing::debug;

use super::{
    layers::{Edge, Known},
    unary::Sent,
};
use crate::tls::Peer;

/// One client's connection can hold a whole org's queue (1,000 waiters) and
/// still get its reports through.
const MAX_STREAMS_PER_CONNECTION: u32 = 2_000;

/// A node forwards all of its requests over a few connections: as many as it has
/// places for.
const MAX_STREAMS_PER_PEER: u32 = 12_000;

/// Streams of one connection that the server itself had to reset, because what was
/// sent on them was wrong; after them the connection ends. Such streams do not count
/// to those of the connection, so without this bound a client could have any number
/// begun ("MadeYouReset", CVE-2025-8671).
const MAX_ERROR_RESET_STREAMS: usize = 1_024;

/// hyper's own default, said here because memory hangs on it.
const MAX_HEADER_BYTES: u32 = 16 * 1024;

/// A client that has vanished without a word is noticed after these, and leaves
/// the queue.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a client may send before it hears that it was read. hyper takes small
/// frames that lie unread for an attack when they are more than a 512th of this:
/// a connection may have as many requests, so it must be so large.
const CONNECTION_WINDOW: u32 = 1 << 20;

/// What another node may send before it hears that it was read: thousands of
/// requests.
const PEER_WINDOW: u32 = 8 << 20;

/// A node that has vanished leaves the queues soon.
const PEER_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// What is read of one connection before others have their turn: some 100 requests,
/// about a millisecond.
const TURN_BYTES: usize = 16 * 1024;

/// What is held back at most until a connection's turn ends.
const MOST_UNSENT: usize = 64 * 1024;

/// How long a connection that ends is still read. A client that is told to go away
/// closes it when all is answered.
const LINGER: Duration = Duration::from_secs(1);

/// What a connection keeps for its next answers, once all are sent.
const KEPT_UNSENT: usize = 16 * 1024;

/// What is asked so often that it is answered without a router.
pub trait Often: Send + Sync + 'static {
    /// Whether it is this.
    fn is(&self, path: &str) -> bool;

    /// Answers it. It is polled for the first time on the connection's own task.
    fn answer(
        &self,
        request: Box<http::Request<Incoming>>,
        known: Known<'_>,
    ) -> impl Future<Output = http::Response<Sent>> + Send;
}

/// The services behind one port.
#[derive(Debug)]
pub struct Services<O> {
    /// Those that are asked most.
    pub often: O,
    /// All.
    pub rest: Routes,
}

impl<O: Often> Services<O> {
    async fn answer(
        &self,
        mut request: Box<http::Request<Incoming>>,
        known: Known<'_>,
    ) -> http::Response<Sent> {
        if self.often.is(request.uri().path()) {
            return self.often.answer(request, known).await;
        }
        known.note(request.extensions_mut());
        // Nobody knows how long it takes: it is none for the connection's task.
        yield_now().await;
        infallible(self.rest.clone().call(*request).await).map(Sent::from)
    }
}

/// What cannot fail.
pub fn infallible<T>(result: Result<T, Infallible>) -> T {
    result.unwrap_or_else(|never| match never {})
}

/// Services with the edge before them, and the bounds of the connections over which
/// they are asked.
#[derive(Debug)]
pub struct Port<O> {
    edge: Edge,
    services: Services<O>,
    http2: Builder<InPlace>,
    max_connection_age: Option<Duration>,
}

impl<O: Often> Port<O> {
    /// A port for clients. A connection that is as old as `max_connection_age` is
    /// told to go away: its client makes another one, maybe to another node. What was
    /// asked over it is answered over it, however long it waits: no grace is set, after
    /// which it would be cut off.
    pub(super) fn for_clients(
        edge: Edge,
        services: Services<O>,
        max_connection_age: Option<Duration>,
    ) -> Self {
        let mut http2 = builder();
        http2
            .max_concurrent_streams(MAX_STREAMS_PER_CONNECTION)
            // A client that gave its requests up while this process was paused says so
            // all at once when it goes on: no attack, and no reason to end what else
            // waits on the connection.
            .max_pending_accept_reset_streams(MAX_STREAMS_PER_CONNECTION as usize)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(KEEPALIVE_INTERVAL);
        Self { edge, services, http2, max_connection_age }
    }

    /// A port for other nodes. A node forwards all of its requests over a few
    /// connections, and what waits there may not hold up the rest.
    pub(super) fn for_peers(edge: Edge, services: Services<O>) -> Self {
        let mut http2 = builder();
        http2
            .max_concurrent_streams(MAX_STREAMS_PER_PEER)
            .max_pending_accept_reset_streams(MAX_STREAMS_PER_PEER as usize)
            .initial_connection_window_size(PEER_WINDOW)
            .keep_alive_interval(PEER_KEEPALIVE_INTERVAL);
        Self { edge, services, http2, max_connection_age: None }
    }

    /// Serves connections as they come, until `stop`: then no more are taken, and
    /// those that there are end when all is answered that was asked over them.
    ///
    /// Whoever accepts them sets `TCP_NODELAY`.
    pub async fn serve<C, E>(
        self,
        connections: impl Stream<Item = Result<C, E>>,
        stop: impl Future<Output = ()>,
    ) where
        C: AsyncRead + AsyncWrite + Connected<ConnectInfo = Peer> + Unpin + Send + 'static,
    {
        let port = Arc::new(self);
        let stopping = watch::Sender::new(false);
        port.accept(connections, stop, &stopping).await;
        // Nobody connects any more to a port that serves no more: the listener is gone.
        stopping.send_replace(true);
        stopping.closed().await;
    }

    async fn accept<C, E>(
        self: &Arc<Self>,
        connections: impl Stream<Item = Result<C, E>>,
        stop: impl Future<Output = ()>,
        stopping: &watch::Sender<bool>,
    ) where
        C: AsyncRead + AsyncWrite + Connected<ConnectInfo = Peer> + Unpin + Send + 'static,
    {
        let (mut connections, mut stop) = (pin!(connections), pin!(stop));
        loop {
            let connection = tokio::select! {
                () = &mut stop => return,
                connection = connections.next() => connection,
            };
            match connection {
                Some(Ok(connection)) => {
                    tokio::spawn(Arc::clone(self).serve_one(connection, stopping.subscribe()));
                }
                // It is gone already.
                Some(Err(_)) => {}
                None => return,
            }
        }
    }

    async fn serve_one<C>(self: Arc<Self>, connection: C, mut stopping: watch::Receiver<bool>)
    where
        C: AsyncRead + AsyncWrite + Connected<ConnectInfo = Peer> + Unpin + Send + 'static,
    {
        let peer = Arc::new(connection.connect_info());
        let wire = Wire::over(connection);
        let port = Arc::clone(&self);
        let service = service_fn(move |request: http::Request<Incoming>| {
            let (port, peer, request) = (Arc::clone(&port), Arc::clone(&peer), Box::new(request));
            // hyper moves it about four times before it is polled, and it is large.
            Box::pin(async move {
                let answer = |request, known| port.services.answer(request, known);
                Ok::<_, Infallible>(port.edge.serve(request, &peer, answer).await)
            })
        });
        let mut http2 = pin!(self.http2.serve_connection(TokioIo::new(wire.clone()), service));
        let mut age = pin!(async {
            match self.max_connection_age {
                Some(most) => sleep(most).await,
                None => pending().await,
            }
        });
        let mut goes_away = false;
        let ended = loop {
            let turn = poll_fn(|context| {
                let ended = http2.as_mut().poll(context).map_err(StdError::from);
                match wire.end_turn(context) {
                    Poll::Ready(Err(broken)) => Poll::Ready(Err(broken.into())),
                    Poll::Ready(Ok(())) | Poll::Pending => ended,
                }
            });
            tokio::select! {
                biased;
                ended = turn => break ended,
                () = &mut age, if !goes_away => {}
                _ = stopping.wait_for(|stop| *stop), if !goes_away => {}
            }
            goes_away = true;
            http2.as_mut().graceful_shutdown();
        };
        let ended = match ended {
            Ok(()) => poll_fn(|context| wire.end_turn(context)).await.map_err(StdError::from),
            broken => broken,
        };
        match ended {
            Ok(()) => {
                let _ = timeout(LINGER, wire.read_out()).await;
            }
            Err(error) => debug!(error, "a connection failed"),
        }
    }
}

/// The bounds of every connection.
fn builder() -> Builder<InPlace> {
    let mut http2 = Builder::new(InPlace);
    http2
        .timer(TokioTimer::new())
        // No client of gRPC reads it, and every answer would carry its 29 characters.
        .auto_date_header(false)
        .max_local_error_reset_streams(MAX_ERROR_RESET_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    http2
}

/// Begins what answers a request at once, and makes it a task of its own only if it
/// has to wait: most have not, and a task that ends would wake the connection's for
/// each answer.
#[derive(Clone, Copy, Debug)]
struct InPlace;

impl<F> Executor<F> for InPlace
where
    F: Future<Output = ()> + Send + Unpin + 'static,
{
    fn execute(&self, mut stream: F) {
        // A task of its own polls it again, and whatever it waits for wakes that one.
        let mut context = Context::from_waker(Waker::noop());
        // A panic ends the request, as it would end its task, and not the connection.
        let begun = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut stream).poll(&mut context)));
        if let Ok(Poll::Pending) = begun {
            tokio::spawn(stream);
        }
    }
}

/// A connection that is read for a turn's length, and written to at its end.
struct Wire<C>(Arc<Mutex<Held<C>>>);

struct Held<C> {
    connection: C,
    /// Read in this turn.
    read: usize,
    /// What HTTP/2 has written, and how much of that is gone.
    unsent: Vec<u8>,
    sent: usize,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Wire<C> {
    fn over(connection: C) -> Self {
        let held = Held { connection, read: 0, unsent: Vec::new(), sent: 0 };
        Self(Arc::new(Mutex::new(held)))
    }

    /// Never waits: only the connection's own task takes it.
    fn held(&self) -> MutexGuard<'_, Held<C>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what was written. Pending: the rest is sent when the connection takes
    /// more, which wakes the task.
    fn end_turn(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut held = self.held();
        held.read = 0;
        held.send(context)
    }

    /// Reads on until the client closes, and lets all of it fall. A connection that is
    /// closed with something unread is reset: then its client may not get the last
    /// answers, nor hear which of its requests were taken, and can only guess.
    async fn read_out(&self) {
        let mut rest = [0; 1_024];
        let mut closed = |context: &mut Context<'_>| {
            let mut rest = ReadBuf::new(&mut rest);
            let read = Pin::new(&mut self.held().connection).poll_read(context, &mut rest);
            read.map(|read| read.is_err() || rest.filled().is_empty())
        };
        while !poll_fn(&mut closed).await {}
    }
}

impl<C: AsyncWrite + Unpin> Held<C> {
    fn send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { connection, unsent, sent, .. } = self;
        let mut connection = Pin::new(connection);
        while *sent < unsent.len() {
            match ready!(connection.as_mut().poll_write(context, &unsent[*sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => *sent += written,
            }
        }
        *sent = 0;
        unsent.clear();
        unsent.shrink_to(KEPT_UNSENT);
        connection.poll_flush(context)
    }
}

impl<C> Clone for Wire<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C> fmt::Debug for Wire<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").finish_non_exhaustive()
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<C> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut held = self.held();
        if held.read >= TURN_BYTES {
            // The next turn comes when others had theirs.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut held.connection).poll_read(context, buffer))?;
        held.read += buffer.filled().len() - before;
        Poll::Ready(Ok(()))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<C> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut held = self.held();
        if held.unsent.len() >= MOST_UNSENT {
            // Who does not read is not answered either: the requests wait.
            ready!(held.send(context))?;
        }
        let taken = bytes.len().min(MOST_UNSENT - held.unsent.len());
        held.unsent.extend_from_slice(&bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    /// The turn's end flushes.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut held = self.held();
        ready!(held.send(context))?;
        Pin::new(&mut held.connection).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
        sync::oneshot,
        task::unconstrained,
    };

    use super::*;

    /// Both ends of a connection that takes so many bytes before they are read.
    fn wire(capacity: usize) -> (Wire<DuplexStream>, DuplexStream) {
        let (here, there) = duplex(capacity);
        (Wire::over(here), there)
    }

    fn now<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        poll(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn answers_go_out_together_at_the_end_of_a_turn() {
        let (mut wire, mut there) = wire(1_024);
        for answer in [b"one", b"two"] {
            wire.write_all(answer).await.expect("it is held back");
            wire.flush().await.expect("nothing is to be done");
        }
        let mut read = [0; 6];
        let mut early = ReadBuf::new(&mut read);
        let arrived = now(|context| Pin::new(&mut there).poll_read(context, &mut early));
        assert!(arrived.is_pending(), "the turn has not ended");
        assert!(matches!(now(|context| wire.end_turn(context)), Poll::Ready(Ok(()))));
        there.read_exact(&mut read).await.expect("both are there");
        assert_eq!(&read, b"onetwo");
    }

    #[tokio::test]
    async fn a_turn_ends_when_so_much_was_read_and_the_next_goes_on() {
        let (mut wire, mut there) = wire(4 * TURN_BYTES);
        there.write_all(&vec![1; 3 * TURN_BYTES]).await.expect("there is room");
        for turn in 0..3 {
            let mut read = vec![0; TURN_BYTES];
            unconstrained(wire.read_exact(&mut read)).await.expect("a turn's worth");
            let mut more = [0; 1];
            let mut more = ReadBuf::new(&mut more);
            let beyond = now(|context| Pin::new(&mut wire).poll_read(context, &mut more));
            assert!(beyond.is_pending(), "turn {turn}");
            assert!(matches!(now(|context| wire.end_turn(context)), Poll::Ready(Ok(()))));
        }
    }

    #[tokio::test]
    async fn who_does_not_read_is_not_written_to_without_end_and_gets_all_in_order() {
        let (wire, mut there) = wire(1_000);
        let sent: Vec<u8> = (0..10 * MOST_UNSENT).map(|at| (at % 251) as u8).collect();
        let mut writer = wire.clone();
        let mut taken = 0;
        while let Poll::Ready(written) =
            now(|context| Pin::new(&mut writer).poll_write(context, &sent[taken..]))
        {
            taken += written.expect("the connection stands");
        }
        assert!((MOST_UNSENT..=2 * MOST_UNSENT).contains(&taken), "{taken}");
        let rest = sent[taken..].to_vec();
        tokio::spawn(async move {
            writer.write_all(&rest).await.expect("it is read");
            writer.shutdown().await.expect("the last of it, too");
        });
        let mut read = Vec::new();
        there.read_to_end(&mut read).await.expect("all of it");
        assert_eq!(read, sent);
    }

    #[tokio::test]
    async fn a_connection_that_ends_is_read_until_its_client_closes() {
        let (wire, mut there) = wire(4 * TURN_BYTES);
        let mut end = pin!(wire.read_out());
        for _ in 0..2 {
            there.write_all(&vec![1; 3 * TURN_BYTES]).await.expect("there is room");
            assert!(now(|context| end.as_mut().poll(context)).is_pending(), "more may come");
        }
        drop(there);
        end.await;
    }

    #[tokio::test]
    async fn what_is_ready_is_done_at_once_what_waits_later_and_a_panic_ends_nothing_else() {
        static DONE: AtomicUsize = AtomicUsize::new(0);
        InPlace.execute(Box::pin(async { panic!("planted") }));
        InPlace.execute(Box::pin(async {
            DONE.fetch_add(1, Ordering::Relaxed);
        }));
        assert_eq!(DONE.load(Ordering::Relaxed), 1);
        let (tell, told) = oneshot::channel();
        let (done, ended) = oneshot::channel();
        InPlace.execute(Box::pin(async move {
            told.await.expect("it is told");
            done.send(()).expect("somebody waits");
        }));
        tell.send(()).expect("it waits for this");
        ended.await.expect("it went on");
    }
}
