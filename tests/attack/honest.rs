//! Those who want nothing but their answers.

use std::{net::SocketAddr, sync::mpsc, thread::JoinHandle, time::Duration};

use quotagate::proto::v1::{AcquireMode, AcquireRequest, quota_service_client::QuotaServiceClient};
use tokio::time::{Instant, sleep_until};
use tonic::{
    Request,
    transport::{Channel, Endpoint},
};

/// An answer that takes longer has not come.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A caller with a connection of its own.
pub struct Caller {
    quota: QuotaServiceClient<Channel>,
    token: Option<&'static str>,
}

impl Caller {
    /// One that shows this token, if any.
    pub async fn connect(address: SocketAddr, token: Option<&'static str>) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let endpoint = endpoint.timeout(PATIENCE).tcp_nodelay(true);
        let channel = endpoint.connect().await.expect("it takes honest callers");
        Self { quota: QuotaServiceClient::new(channel), token }
    }

    /// Asks something that costs nothing, however often: how long it took.
    pub async fn ask(&mut self) -> Duration {
        let mut request = Request::new(AcquireRequest {
            org: "acme".to_owned(),
            operation: "rest".to_owned(),
            mode: AcquireMode::CheckOnly.into(),
            ..AcquireRequest::default()
        });
        if let Some(token) = self.token {
            let bearer = format!("Bearer {token}").parse().expect("a header's value");
            request.metadata_mut().insert("authorization", bearer);
        }
        let begun = Instant::now();
        self.quota.acquire(request).await.expect("an honest caller is answered");
        begun.elapsed()
    }
}

/// Honest callers in a thread of their own, so that they measure the service and
/// not the attackers beside them. They ask at a steady pace.
pub struct Fleet {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<Vec<Duration>>,
}

/// How many they are, and how often each asks.
const CALLERS: u32 = 4;
const PACE: Duration = Duration::from_millis(10);

impl Fleet {
    pub fn start(address: SocketAddr, token: &'static str) -> Self {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(ask_until(address, token, &stopped))
        });
        Self { stop, thread }
    }

    /// How long each answer took, in order of length.
    pub fn stop(self) -> Vec<Duration> {
        let _ = self.stop.send(());
        let mut times = self.thread.join().expect("every honest caller is answered");
        times.sort_unstable();
        times
    }
}

async fn ask_until(
    address: SocketAddr,
    token: &'static str,
    stopped: &mpsc::Receiver<()>,
) -> Vec<Duration> {
    let mut callers = Vec::new();
    for _ in 0..CALLERS {
        callers.push(Caller::connect(address, Some(token)).await);
    }
    let mut times = Vec::new();
    let mut next = Instant::now();
    while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
        // One after another: each in its turn of the pace.
        for caller in &mut callers {
            sleep_until(next).await;
            next = (next + PACE / CALLERS).max(Instant::now());
            times.push(caller.ask().await);
        }
    }
    times
}

/// The time below which this share of them lies, in percent.
pub fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}
