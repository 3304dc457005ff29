//! Starts the processes, harms them one after another, measures how long it
//! takes until all is well again, and ends them.

use std::{collections::VecDeque, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use rustix::process::Signal;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};

use super::{
    board::{Board, NodeState},
    fleet::{Door, Doors, Tally, within},
    observer::{Facts, Observer, held},
    picture::{FaultKind, FaultRow, seconds},
    process::{Etcd, Home, Node},
    world::{LEASE, LIMIT, NODES, ORGS, OUTAGE, PAUSE, USER},
};
use crate::{
    proto::v1::{AcquireMode, AcquireRequest},
    standin::options::GET_ENTRIES,
};

/// The processes, and whoever moves them.
pub(super) struct Director {
    home: Home,
    etcd: Etcd,
    nodes: [Option<Node>; NODES.len()],
    doors: Arc<Doors>,
    board: Arc<Board>,
    /// The node that was harmed last.
    last: usize,
    /// Numbers the orgs that only the director asks about.
    quiet_orgs: usize,
}

/// When faults happen by themselves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Script {
    /// The end of the demo: no fault begins that is not over by then.
    pub(super) end: Instant,
    /// Between one and the next.
    pub(super) quiet: Duration,
}

/// All is well again after a fault within this, or never.
const PATIENCE: Duration = Duration::from_secs(40);

/// What follows a recovery belongs to the fault as well.
const AFTERMATH: Duration = Duration::from_secs(1);

/// A node that ends in order takes less.
const HAND_OVER: Duration = Duration::from_secs(30);

impl Director {
    /// Starts etcd and the nodes; they are running when this returns.
    pub(super) async fn start(
        etcd: PathBuf,
        doors: Arc<Doors>,
        board: Arc<Board>,
    ) -> anyhow::Result<Self> {
        let mut home = Home::create()?;
        let etcd = match Etcd::start(etcd, &home).await {
            Ok(etcd) => etcd,
            Err(error) => {
                home.keep();
                return Err(error);
            }
        };
        board.set_etcd(true);
        let nodes = [const { None }; NODES.len()];
        let last = NODES.len() - 1;
        let mut director = Self { home, etcd, nodes, doors, board, last, quiet_orgs: 0 };
        for node in 0..NODES.len() {
            // The first one makes the cluster, the others find it.
            if let Err(error) = director.start_node(node, node == 0).await {
                director.home.keep();
                director.end_all().await;
                return Err(error);
            }
        }
        Ok(director)
    }

    /// Plays what is asked for by `wishes`, and the script until the first of
    /// them, until it is to stop. Every process has ended when this returns.
    pub(super) async fn run(
        mut self,
        observer: Arc<Observer>,
        tally: Arc<Tally>,
        script: Script,
        mut wishes: mpsc::Receiver<FaultKind>,
        mut stop: watch::Receiver<bool>,
    ) {
        let play = async {
            let played = self.play(&observer, &tally, script, &mut wishes).await;
            if let Err(error) = played {
                self.board.broke(&format!("{error:#}"));
                self.board.set_busy(false);
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            // An error means that nobody can tell it to stop any more.
            _ = stop.wait_for(|stop| *stop) => {}
            () = play => {}
        }
        if let Some(broken) = self.board.state().broken {
            self.home.keep();
            self.board.tell(format!("the logs are in {}", self.home.dir().display()));
            tracing::debug!(%broken, "the demo keeps its logs");
        }
        self.end_all().await;
    }

    async fn play(
        &mut self,
        observer: &Observer,
        tally: &Tally,
        script: Script,
        wishes: &mut mpsc::Receiver<FaultKind>,
    ) -> anyhow::Result<()> {
        /// A process that ends by itself is noticed within this.
        const LOOK: Duration = Duration::from_millis(500);
        let begin = Instant::now();
        self.until(observer, |facts, _| facts.all_owned_by(|_| true))
            .await
            .context("not every shard has an owner: the nodes' logs say why")?;
        let after = seconds(begin.elapsed());
        self.board.tell(format!("etcd and 3 nodes run: every shard has an owner after {after}"));
        let mut kinds = VecDeque::from(FaultKind::ALL);
        let mut next = Instant::now() + script.quiet;
        let mut is_scripted = true;
        loop {
            let kind = match timeout(LOOK, wishes.recv()).await {
                Ok(Some(kind)) => {
                    is_scripted = false;
                    kind
                }
                Ok(None) => return Ok(()),
                Err(_) => {
                    self.look_after_the_nodes()?;
                    let now = Instant::now();
                    let kind = kinds[0];
                    if !is_scripted || now < next || now + kind.usual_length() > script.end {
                        continue;
                    }
                    kinds.rotate_left(1);
                    kind
                }
            };
            self.board.set_busy(true);
            let played = match kind {
                FaultKind::Roll => self.roll(observer, tally).await,
                FaultKind::Kill => self.kill(observer, tally).await,
                FaultKind::Pause => self.pause(observer, tally).await,
                FaultKind::Etcd => self.stop_etcd(observer, tally).await,
            };
            self.board.set_busy(false);
            played?;
            next = Instant::now() + script.quiet;
        }
    }

    /// SIGTERM: it hands its shards over, and is started again.
    async fn roll(&mut self, observer: &Observer, tally: &Tally) -> anyhow::Result<()> {
        let node = self.choose(observer, tally);
        let quiet_org = self.open_a_block(node).await;
        let shards = observer.facts().owned(node);
        let name = NODES[node];
        tally.mark();
        let begin = Instant::now();
        self.board.tell(format!(
            "node {name} is told to end (SIGTERM): {}",
            self.part(node, observer, tally)
        ));
        self.board.set_node(node, NodeState::Ending);
        // As a load balancer does with who is about to end.
        self.doors.close(node);
        self.signal(node, Signal::TERM);
        let mut process = self.nodes[node].take().context("it runs")?.process;
        let (ended, owners_after) =
            tokio::join!(process.ends_within(HAND_OVER), self.until_owned(observer, begin));
        let (took, owners_after) = (seconds(begin.elapsed()), owners_after?);
        let ended = ended.with_context(|| format!("node {name} does not end at SIGTERM"))?;
        anyhow::ensure!(ended.success(), "node {name} did not end in order: {ended}");
        self.board.set_node(node, NodeState::Gone);
        self.until_answered(tally).await?;
        let held = self.held(quiet_org.as_deref()).await;
        let of_block = held.map_or_else(String::new, |held| format!(", {held} units held"));
        self.board.tell(format!(
            "node {name} has handed over {shards} shards and ended, in {took}{of_block}"
        ));
        self.note(FaultKind::Roll, tally, Some(owners_after), held).await;
        self.start_again(node).await
    }

    /// kill -9; it is started again when others have its shards.
    async fn kill(&mut self, observer: &Observer, tally: &Tally) -> anyhow::Result<()> {
        let node = self.choose(observer, tally);
        let quiet_org = self.open_a_block(node).await;
        let part = self.part(node, observer, tally);
        let name = NODES[node];
        tally.mark();
        let begin = Instant::now();
        self.board.set_node(node, NodeState::Gone);
        if let Some(mut node) = self.nodes[node].take() {
            node.process.kill().await;
        }
        self.board.tell(format!("node {name} was killed (kill -9): {part}"));
        let owners_after = self.until_owned(observer, begin).await?;
        self.board.tell(format!(
            "node {name} was killed: its shards had new owners after {}",
            seconds(owners_after)
        ));
        self.until_answered(tally).await?;
        let held = self.held(quiet_org.as_deref()).await;
        self.note(FaultKind::Kill, tally, Some(owners_after), held).await;
        self.start_again(node).await
    }

    /// SIGSTOP for longer than its lease, then SIGCONT.
    async fn pause(&mut self, observer: &Observer, tally: &Tally) -> anyhow::Result<()> {
        let node = self.choose(observer, tally);
        let quiet_org = self.open_a_block(node).await;
        let part = self.part(node, observer, tally);
        let name = NODES[node];
        tally.mark();
        let begin = Instant::now();
        self.board.set_node(node, NodeState::Paused);
        self.signal(node, Signal::STOP);
        self.board.tell(format!("node {name} is paused (SIGSTOP) beyond its lease: {part}"));
        let owners_after = self.until_owned(observer, begin).await?;
        self.board.tell(format!(
            "node {name} is paused: its shards had new owners after {}",
            seconds(owners_after)
        ));
        self.until_answered(tally).await?;
        let held = self.held(quiet_org.as_deref()).await;
        tokio::time::sleep_until(begin + PAUSE).await;
        self.signal(node, Signal::CONT);
        self.board.set_node(node, NodeState::Alive);
        self.board.tell(format!(
            "node {name} goes on after {}; its lease of {} is over",
            seconds(begin.elapsed()),
            seconds(LEASE)
        ));
        self.note(FaultKind::Pause, tally, Some(owners_after), held).await;
        Ok(())
    }

    /// etcd is killed, and started again with all that it knew.
    async fn stop_etcd(&mut self, observer: &Observer, tally: &Tally) -> anyhow::Result<()> {
        tally.mark();
        let begin = Instant::now();
        self.board.set_etcd(false);
        self.etcd.kill().await;
        self.board.tell(format!("etcd was killed, for {}", seconds(OUTAGE)));
        tokio::time::sleep_until(begin + OUTAGE).await;
        self.etcd.start_again(&self.home).await?;
        let back = Instant::now();
        self.board.set_etcd(true);
        self.board.tell(format!("etcd is back after {}", seconds(begin.elapsed())));
        let all_well = |facts: &Facts, states: [NodeState; NODES.len()]| {
            let serves =
                |node: usize| states[node] == NodeState::Alive && facts.nodes[node].is_serving();
            facts.read_at > back && facts.all_owned_by(serves)
        };
        self.until(observer, all_well).await.context("not every shard is served again")?;
        let owners_after = begin.elapsed();
        self.until_answered(tally).await?;
        self.board.tell(format!(
            "etcd is back: every org is served again {} later",
            seconds(back.elapsed())
        ));
        self.note(FaultKind::Etcd, tally, Some(owners_after), None).await;
        Ok(())
    }

    /// Notes what came of a fault, some time after it is over.
    async fn note(
        &self,
        kind: FaultKind,
        tally: &Tally,
        owners_after: Option<Duration>,
        held: Option<u64>,
    ) {
        sleep(AFTERMATH).await;
        let silence = tally.longest_silence();
        self.board.note(FaultRow { kind, owners_after, silence, held });
    }

    async fn start_again(&mut self, node: usize) -> anyhow::Result<()> {
        self.start_node(node, false).await?;
        self.board.tell(format!("node {} was started again", NODES[node]));
        Ok(())
    }

    async fn start_node(&mut self, node: usize, creates_cluster: bool) -> anyhow::Result<()> {
        self.board.set_node(node, NodeState::Starting);
        let started = Node::start(NODES[node], &self.etcd, &self.home, creates_cluster).await?;
        self.doors.open(node, Door::to(started.grpc, started.http)?);
        self.nodes[node] = Some(started);
        self.board.set_node(node, NodeState::Alive);
        Ok(())
    }

    fn look_after_the_nodes(&mut self) -> anyhow::Result<()> {
        for (name, node) in NODES.into_iter().zip(&mut self.nodes) {
            if let Some(ended) = node.as_mut().and_then(|node| node.process.has_ended()) {
                anyhow::bail!("node {name} ended by itself: {ended}");
            }
        }
        Ok(())
    }

    /// The node that most orgs depend on; of several, the one after the last
    /// that was chosen.
    fn choose(&mut self, observer: &Observer, tally: &Tally) -> usize {
        let (owners, facts) = (tally.owners(), observer.facts());
        let in_turn = (1..=NODES.len()).map(|step| (self.last + step) % NODES.len());
        let orgs = |node: usize| owners.iter().filter(|owner| **owner == Some(node)).count();
        // The last of equal maxima is taken: the order is turned round.
        let backwards = in_turn.rev().filter(|node| self.nodes[*node].is_some());
        let chosen = backwards.max_by_key(|node| (orgs(*node).min(1), facts.owned(*node).min(1)));
        self.last = chosen.unwrap_or(self.last);
        self.last
    }

    /// What a node does for the cluster, for people.
    fn part(&self, node: usize, observer: &Observer, tally: &Tally) -> String {
        let orgs = tally.owners().iter().filter(|owner| **owner == Some(node)).count();
        let shards = observer.facts().owned(node);
        format!("{shards} shards, {orgs} of {} orgs", ORGS.len())
    }

    fn signal(&mut self, node: usize, signal: Signal) {
        if let Some(node) = &mut self.nodes[node] {
            node.process.signal(signal);
        }
    }

    /// Lets a node open a block for an org that nobody else asks about, so that
    /// it can be seen what becomes of it: the org's name. `None` where none of
    /// its orgs is found.
    async fn open_a_block(&mut self, node: usize) -> Option<String> {
        /// Any of so many names is a node's, if it has more than a few shards.
        const NAMES: usize = 60;
        /// More asks than the smallest blocks take.
        const ASKS: usize = 24;
        let mut door = self.doors.get(node)?;
        let mut ask = async |org: &str, mode: AcquireMode| {
            let request = AcquireRequest {
                org: org.to_owned(),
                operation: GET_ENTRIES.to_owned(),
                execution_user: USER.to_owned(),
                mode: mode.into(),
                ..AcquireRequest::default()
            };
            let answer = door.quota.acquire(within(Duration::from_secs(1), request)).await.ok()?;
            Some(answer.metadata().get("quotagate-owner")?.to_str().ok()?.to_owned())
        };
        for _ in 0..NAMES {
            self.quiet_orgs += 1;
            let org = format!("quiet-{}", self.quiet_orgs);
            let owner = ask(&org, AcquireMode::CheckOnly).await?;
            if self.doors.at(&owner) != Some(node) {
                continue;
            }
            for _ in 0..ASKS {
                ask(&org, AcquireMode::Enforce).await?;
            }
            return Some(org);
        }
        None
    }

    /// What is held of an org that nobody asks about any more.
    async fn held(&self, quiet_org: Option<&str>) -> Option<u64> {
        for _ in 0..5 {
            if let Some(held) = held(&self.doors, quiet_org?).await {
                return Some(held.min(LIMIT));
            }
        }
        None
    }

    /// How long after `begin` every shard was owned by a node that runs.
    async fn until_owned(&self, observer: &Observer, begin: Instant) -> anyhow::Result<Duration> {
        let owned = |facts: &Facts, states: [NodeState; NODES.len()]| {
            facts.read_at > begin && facts.all_owned_by(|node| states[node] == NodeState::Alive)
        };
        self.until(observer, owned).await.context("some shards have no new owner")?;
        Ok(observer.facts().read_at - begin)
    }

    /// Returns when each org has been answered for.
    async fn until_answered(&self, tally: &Tally) -> anyhow::Result<()> {
        let since = Instant::now();
        let answered = async {
            while !tally.all_answered_since(since) {
                sleep(LOOK_AGAIN).await;
            }
        };
        timeout(PATIENCE, answered).await.context("an org gets no answer any more")
    }

    async fn until(
        &self,
        observer: &Observer,
        condition: impl Fn(&Facts, [NodeState; NODES.len()]) -> bool,
    ) -> anyhow::Result<()> {
        let fulfilled = async {
            while !condition(&observer.facts(), self.board.nodes()) {
                sleep(LOOK_AGAIN).await;
            }
        };
        timeout(PATIENCE, fulfilled).await.with_context(|| format!("not within {PATIENCE:?}"))
    }

    /// Nobody is left behind.
    async fn end_all(&mut self) {
        for node in self.nodes.iter_mut().flatten() {
            node.process.kill().await;
        }
        self.etcd.kill().await;
    }
}

/// How often a condition is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
