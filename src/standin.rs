//! A strict stand-in for Salesforce: it speaks HTTP on Salesforce's paths,
//! enforces the true limits, and remembers every call that arrived.
//!
//! It is for the demo, for tests and for who tries an integration without an org
//! (`quotagate standin`), and it knows nothing of the rest of this crate: what it counts is what it saw on the wire. Nothing here tells a caller
//! more than Salesforce would.
//!
//! - [`options`]: the switches, from the shape of the windows to foreign traffic.
//! - [`engine`]: who may pass; pure, `now` is an argument.
//! - [`arrivals`]: what came, and whether it ever came too fast.
//! - `http`: sessions, headers and error bodies; `resource`: paths, and what
//!   they answer.

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{net::TcpListener, sync::watch, task::JoinHandle, time::Instant};

pub mod arrivals;
pub mod engine;
mod http;
pub mod options;
mod resource;

use self::{arrivals::Log, engine::Engine};
pub use self::{
    arrivals::{Arrival, Counts, Overrun, WindowSummary, overruns, window_summaries, worst_window},
    engine::{Refusal, Usage},
    options::{Cap, Latency, Limit, Options, Shape, UserLimit},
};

/// A running stand-in. It stops when it is dropped.
#[derive(Debug)]
pub struct StandIn {
    /// Where it listens.
    pub addr: SocketAddr,
    /// What it saw, and the switches that may move while it runs.
    pub handle: Handle,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
}

impl StandIn {
    /// Starts a stand-in; it takes calls when this returns.
    ///
    /// # Errors
    /// The address of the options cannot be listened on.
    pub async fn start(options: Options) -> std::io::Result<Self> {
        let listener = TcpListener::bind(options.address).await?;
        let addr = listener.local_addr()?;
        let (stop, stopping) = watch::channel(false);
        let handle = Handle { shared: Arc::new(Shared::new(options)) };
        let router = http::router(handle.clone(), stopping.clone());
        let server = tokio::spawn(async move {
            let stopped = http::stopped(stopping);
            // Serving ends only when it is told to.
            let _ = axum::serve(listener, router).with_graceful_shutdown(stopped).await;
        });
        Ok(Self { addr, handle, stop, server })
    }

    /// Where callers find it, for example `http://127.0.0.1:41234`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Stops and returns when every connection has ended. Calls under way are
    /// answered at once, with 503.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        // It fails only if serving panicked, which the test has seen already.
        let _ = (&mut self.server).await;
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// What came, in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Microseconds since the start.
    pub elapsed_us: u64,
    /// How many calls came, and what became of them.
    pub counts: Counts,
    /// Arrivals that were too many for a limit, among those that are remembered.
    pub overruns: usize,
    /// Each limit that was touched, by the arrivals that are remembered.
    pub windows: Vec<WindowSummary>,
}

/// What the stand-in saw, and the switches that may move while it runs. Clones
/// are the same handle.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    /// The calls that are remembered, in the order of their arrival.
    #[must_use]
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.lock().log.arrivals()
    }

    /// How many calls came, and what became of them.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.lock().log.counts()
    }

    /// Returns when at least `count` calls have come since the start.
    pub async fn arrived(&self, count: u64) {
        let mut arrived = self.shared.arrived.subscribe();
        // The sender lives as long as this handle.
        let _ = arrived.wait_for(|seen| *seen >= count).await;
    }

    /// Where more calls arrived than a limit allows, in any interval of its
    /// window's length, among the calls that are remembered. Foreign traffic is
    /// no arrival. Empty is what everybody hopes for.
    #[must_use]
    pub fn overruns(&self) -> Vec<Overrun> {
        let arrivals = self.arrivals();
        overruns(&arrivals, &self.shared.options)
    }

    /// What came, in short.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let (counts, arrivals) = {
            let state = self.lock();
            (state.log.counts(), state.log.arrivals())
        };
        let options = &self.shared.options;
        Summary {
            elapsed_us: self.now_us(),
            counts,
            overruns: overruns(&arrivals, options).len(),
            windows: window_summaries(&arrivals, options),
        }
    }

    /// What the org has used now, foreign traffic included; not delayed by the
    /// header's lag.
    #[must_use]
    pub fn org_usage(&self, org: &str) -> Usage {
        let mut state = self.lock();
        let now = state.now_us(&self.shared);
        state.engine.org_usage(now, org)
    }

    /// What a user has used now of the limit of `operation`; `None` where there
    /// is no such limit.
    #[must_use]
    pub fn user_usage(&self, org: &str, user: &str, operation: &str) -> Option<Usage> {
        let mut state = self.lock();
        let now = state.now_us(&self.shared);
        state.engine.user_usage(now, org, user, operation)
    }

    /// Other integrations use `units` of the org's total at once (as far as a
    /// hard cap lets them).
    pub fn add_foreign(&self, org: &str, units: u64) {
        let mut state = self.lock();
        let now = state.now_us(&self.shared);
        state.engine.add_foreign(now, org, units);
    }

    /// Changes every org's limit from now on, as when licences are bought.
    pub fn set_org_max(&self, max: u64) {
        self.lock().engine.set_org_max(max);
    }

    /// Microseconds since the start: the clock of [`Arrival::at_us`].
    #[must_use]
    pub fn now_us(&self) -> u64 {
        self.shared.elapsed_us()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

/// What the handle and the calls under way share.
struct Shared {
    options: Options,
    start: Instant,
    arrived: watch::Sender<u64>,
    state: Mutex<State>,
}

/// What changes with each call.
struct State {
    engine: Engine,
    log: Log,
    jitter: options::Jitter,
    last_us: u64,
}

impl Shared {
    fn new(options: Options) -> Self {
        let state = State {
            engine: Engine::new(&options),
            log: Log::new(options.arrivals_kept),
            jitter: options::Jitter::new(options.seed),
            last_us: 0,
        };
        Self {
            options,
            start: Instant::now(),
            arrived: watch::Sender::new(0),
            state: Mutex::new(state),
        }
    }

    fn elapsed_us(&self) -> u64 {
        options::micros(self.start.elapsed())
    }
}

impl State {
    /// The time now. Read under the lock, so that arrivals are in order.
    fn now_us(&mut self, shared: &Shared) -> u64 {
        self.last_us = self.last_us.max(shared.elapsed_us());
        self.last_us
    }
}
