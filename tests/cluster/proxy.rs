//! A link that can be made bad: a TCP proxy on loopback.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};

/// What a link does with what passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduct {
    /// Hands it on.
    Pass,
    /// Hands it on late, as a slow network that loses packets does.
    Slow(Slowness),
    /// Takes connections and whatever comes on them, and answers nothing. What
    /// was swallowed is gone: the connections are reset when this ends.
    Blackhole,
    /// Resets every connection.
    Cut,
}

/// How slow a link is, in each direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slowness {
    /// What everything takes.
    pub delay: Duration,
    /// What it may take besides.
    pub jitter: Duration,
    /// How many pieces in a hundred are lost, and sent again by TCP after
    /// [`RESENT`]; what follows them on their connection waits.
    pub loss_percent: u8,
}

/// A proxy in front of one address. It stops, and resets its connections, when
/// it is dropped.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub addr: SocketAddr,
    link: Link,
    _accepting: JoinSet<()>,
}

#[derive(Clone, Debug)]
struct Link {
    conduct: Arc<watch::Sender<Conduct>>,
    target: Arc<watch::Sender<SocketAddr>>,
}

/// After so long TCP sends again what was not acknowledged, at the least.
pub const RESENT: Duration = Duration::from_millis(200);

/// The most that is read as one piece.
const PIECE_BYTES: usize = 16 << 10;

/// Pieces of a direction that are on the way at a time: a slow link is long, and
/// still bounded.
const ON_THE_WAY: usize = 1_024;

impl Proxy {
    /// A proxy that hands on to `target`.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let link = Link {
            conduct: Arc::new(watch::Sender::new(Conduct::Pass)),
            target: Arc::new(watch::Sender::new(target)),
        };
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, link.clone()));
        Self { addr, link, _accepting: accepting }
    }

    /// What it does from now on, also on the connections that stand.
    pub fn conducts(&self, conduct: Conduct) {
        self.link.conduct.send_replace(conduct);
    }

    /// Where it hands on to from now on: connections that stand are reset.
    pub fn leads_to(&self, target: SocketAddr) {
        self.link.target.send_replace(target);
    }
}

async fn accept(listener: TcpListener, link: Link) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.expect("it listens");
                // What was written has waited long enough.
                stream.set_nodelay(true).expect("it is open");
                connections.spawn(carry(stream, link.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection, to its end.
async fn carry(mut inner: TcpStream, link: Link) {
    let (mut conduct, mut target) = (link.conduct.subscribe(), link.target.subscribe());
    let now = *conduct.borrow_and_update();
    match now {
        Conduct::Cut => {}
        Conduct::Blackhole => swallow(&mut conduct, &mut inner, None).await,
        Conduct::Pass | Conduct::Slow(_) => {
            let address = *target.borrow_and_update();
            let Ok(mut outer) = TcpStream::connect(address).await else { return reset(&inner) };
            let _ = outer.set_nodelay(true);
            let ended_by_itself = {
                let (mut inner_read, mut inner_write) = inner.split();
                let (mut outer_read, mut outer_write) = outer.split();
                let there = pump(&mut inner_read, &mut outer_write, &link);
                let back = pump(&mut outer_read, &mut inner_write, &link);
                let ends = |now: &Conduct| matches!(now, Conduct::Cut | Conduct::Blackhole);
                tokio::select! {
                    _ = async { tokio::join!(there, back) } => true,
                    _ = target.changed() => false,
                    _ = conduct.wait_for(ends) => false,
                }
            };
            if ended_by_itself {
                return;
            }
            swallow(&mut conduct, &mut inner, Some(&mut outer)).await;
            reset(&outer);
        }
    }
    reset(&inner);
}

/// Hands one direction on, until one of its ends is closed.
async fn pump(from: &mut ReadHalf<'_>, to: &mut WriteHalf<'_>, link: &Link) {
    let (send, mut on_the_way) = mpsc::channel::<(Instant, Vec<u8>)>(ON_THE_WAY);
    let reading = async move {
        let mut arrives = Instant::now();
        let mut piece = vec![0; PIECE_BYTES];
        while let Ok(bytes @ 1..) = from.read(&mut piece).await {
            // In order: nothing overtakes what was sent before it.
            let takes = link.conduct.borrow().takes();
            arrives = arrives.max(Instant::now() + takes);
            if send.send((arrives, piece[..bytes].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let writing = async move {
        while let Some((arrives, piece)) = on_the_way.recv().await {
            sleep_until(arrives).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(reading, writing);
}

/// Reads and forgets, for as long as the link is a blackhole.
async fn swallow(
    conduct: &mut watch::Receiver<Conduct>,
    inner: &mut TcpStream,
    outer: Option<&mut TcpStream>,
) {
    let forget = async |end: Option<&mut TcpStream>| {
        if let Some(end) = end {
            let _ = tokio::io::copy(end, &mut tokio::io::sink()).await;
        }
        // Nobody learns that one side has gone.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = forget(Some(inner)) => {}
        () = forget(outer) => {}
        _ = conduct.wait_for(|now| *now != Conduct::Blackhole) => {}
    }
}

impl Conduct {
    /// How long a piece that comes now is on its way.
    fn takes(self) -> Duration {
        let Self::Slow(slowness) = self else { return Duration::ZERO };
        let resent = fastrand::u8(0..100) < slowness.loss_percent;
        let lost = if resent { RESENT } else { Duration::ZERO };
        slowness.delay + slowness.jitter.mul_f64(fastrand::f64()) + lost
    }
}

/// Makes the end of a connection an error for its other side.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

#[tokio::test]
async fn a_link_passes_on_is_slow_swallows_and_cuts_as_it_is_told() {
    let echo = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let proxy = Proxy::start(echo.local_addr().expect("it is bound")).await;
    let mut answering = JoinSet::new();
    answering.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = echo.accept().await {
            connections.spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    let connect = async || TcpStream::connect(proxy.addr).await.expect("it listens");
    let mut stream = connect().await;
    assert_eq!(echoed(&mut stream).await, Some(b'?'));

    let delay = Duration::from_millis(30);
    let slowness = Slowness { delay, jitter: delay, loss_percent: 50 };
    proxy.conducts(Conduct::Slow(slowness));
    let start = Instant::now();
    assert_eq!(echoed(&mut stream).await, Some(b'?'));
    assert!(start.elapsed() >= 2 * delay, "there and back");

    proxy.conducts(Conduct::Blackhole);
    let mut late = connect().await;
    for mute in [&mut stream, &mut late] {
        mute.write_all(b"?").await.expect("it is taken");
        let answer = tokio::time::timeout(Duration::from_millis(50), mute.read_u8()).await;
        assert!(answer.is_err(), "nothing comes back: {answer:?}");
    }
    proxy.conducts(Conduct::Pass);
    assert!(stream.read_u8().await.is_err(), "what was swallowed does not come back");
    assert!(late.read_u8().await.is_err(), "what was swallowed does not come back");
    let mut stream = connect().await;
    assert_eq!(echoed(&mut stream).await, Some(b'?'));

    proxy.conducts(Conduct::Cut);
    assert!(stream.read_u8().await.is_err(), "it is reset");
    assert_eq!(echoed(&mut connect().await).await, None);
}

/// What comes back for a byte; `None` where the connection ends.
async fn echoed(stream: &mut TcpStream) -> Option<u8> {
    stream.write_all(b"?").await.ok()?;
    stream.read_u8().await.ok()
}
