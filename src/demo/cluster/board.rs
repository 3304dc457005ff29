//! What has been done to the cluster, and what came of it: written by the
//! director, read by the picture.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    picture::{FaultRow, News},
    world::NODES,
};

/// How a node's process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeState {
    /// It has been started and does not serve yet.
    #[default]
    Starting,
    /// It runs.
    Alive,
    /// It is stopped by SIGSTOP.
    Paused,
    /// It was told to end, and hands over.
    Ending,
    /// Its process is gone.
    Gone,
}

/// What is known of the processes, by those who move them.
#[derive(Debug)]
pub(super) struct Board {
    begin: Instant,
    state: Mutex<State>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) nodes: [NodeState; NODES.len()],
    pub(super) etcd_runs: bool,
    /// A fault is being played.
    pub(super) is_busy: bool,
    pub(super) news: Vec<News>,
    pub(super) faults: Vec<FaultRow>,
    /// What happened that nobody had asked for.
    pub(super) broken: Option<String>,
}

impl Board {
    pub(super) fn new() -> Self {
        Self { begin: Instant::now(), state: Mutex::default() }
    }

    /// Real time since the start.
    pub(super) fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    pub(super) fn state(&self) -> State {
        self.lock().clone()
    }

    pub(super) fn nodes(&self) -> [NodeState; NODES.len()] {
        self.lock().nodes
    }

    pub(super) fn is_busy(&self) -> bool {
        self.lock().is_busy
    }

    pub(super) fn set_node(&self, node: usize, state: NodeState) {
        self.lock().nodes[node] = state;
    }

    pub(super) fn set_etcd(&self, runs: bool) {
        self.lock().etcd_runs = runs;
    }

    pub(super) fn set_busy(&self, is_busy: bool) {
        self.lock().is_busy = is_busy;
    }

    /// Tells something.
    pub(super) fn tell(&self, text: impl Into<String>) {
        let news = News { at: self.elapsed(), text: text.into() };
        self.lock().news.push(news);
    }

    /// Notes what came of a fault.
    pub(super) fn note(&self, fault: FaultRow) {
        self.lock().faults.push(fault);
    }

    /// Something went wrong that was no part of the play.
    pub(super) fn broke(&self, what: &str) {
        self.tell(what);
        self.lock().broken.get_or_insert_with(|| what.to_owned());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
