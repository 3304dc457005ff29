//! `quotagate demo --cluster`: three real nodes and a real etcd on one machine,
//! and what happens when they are killed, paused, rolled, or lose etcd.
//!
//! Nodes and etcd are processes of their own. The callers, which ask through
//! all nodes, and the strict stand-in for Salesforce, which counts what it has
//! to refuse, are in this one.
//!
//! - `world`: the orgs, their limit, and what is wanted of them.
//! - `process`: etcd and the nodes.
//! - `director`: what is done to them, and how long it takes to be well again.
//! - `fleet`: the callers.
//! - `observer`: what the cluster says of itself.
//! - `board`: what was done, for those who show it.
//! - `picture`: what is drawn, as pure functions; `keys`: what is pressed.

use std::{
    collections::VecDeque,
    process::ExitCode,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval},
};

use self::{
    board::{Board, NodeState},
    director::{Director, Script},
    fleet::{Doors, Fleet, Tally},
    keys::Keys,
    observer::Observer,
    picture::{Calls, Cell, FaultKind, NodeRow, OrgFigures, OrgRow, Snapshot},
    world::{CALLERS, NODES, ORGS},
};
use super::{Args, StopSignals, screen::Screen};
use crate::standin::StandIn;

mod board;
mod director;
mod fleet;
mod keys;
mod observer;
mod picture;
mod process;
mod world;

/// How long it runs unless it is told.
pub(super) const DURATION: Duration = Duration::from_secs(120);

/// How often the picture is drawn.
const TICK: Duration = Duration::from_millis(200);

/// After the end a fault that is being played may go on so long.
const OVERTIME: Duration = Duration::from_secs(30);

/// Runs the cluster's demo. SIGINT, SIGTERM, SIGHUP and the key q end it early,
/// with its summary. Success means that Salesforce refused none of the calls, that
/// no window of any limit was overrun, and that nothing broke that was not
/// meant to.
///
/// # Errors
/// There is no etcd, something did not start, or standard output is gone.
pub(super) async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut stop = StopSignals::listen()?;
    let program = process::find_etcd(args.etcd.as_deref())?;
    let duration = args.duration.unwrap_or(DURATION);
    let salesforce = StandIn::start(world::salesforce())
        .await
        .context("the stand-in for Salesforce does not start")?;
    let (doors, board) = (Arc::new(Doors::default()), Arc::new(Board::new()));
    let begin = Instant::now();
    let director = tokio::select! {
        director = Director::start(program, Arc::clone(&doors), Arc::clone(&board)) => director?,
        // What runs already is killed with the future that holds it.
        () = stop.any() => return Ok(ExitCode::FAILURE),
    };
    let observer = Arc::new(Observer::start(&doors, &board));
    let fleet = Fleet::start(&doors, &salesforce.url());
    let (wish, wishes) = mpsc::channel(1);
    let (end, ended) = watch::channel(false);
    let script = Script { end: begin + duration, quiet: quiet(duration) };
    let directing = tokio::spawn(director.run(
        Arc::clone(&observer),
        Arc::clone(&fleet.tally),
        script,
        wishes,
        ended,
    ));

    let mut screen = Screen::open(args.plain, duration)?;
    let keys = Keys::open(screen.is_live())?;
    let mut show = Show {
        board,
        observer,
        tally: Arc::clone(&fleet.tally),
        salesforce,
        end: Some(duration),
        has_keys: keys.are_read(),
        history: VecDeque::new(),
    };
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let stopped = tokio::select! {
            _ = ticks.tick() => false,
            () = stop.any() => true,
        };
        let pressed = keys.pressed();
        for kind in FaultKind::ALL.into_iter().filter(|kind| pressed.contains(&kind.key())) {
            // Whoever presses a key has taken over.
            show.end = None;
            if !show.board.is_busy() {
                // One that waits already is enough.
                let _ = wish.try_send(kind);
            }
        }
        let snapshot = show.snapshot();
        let over = show.end.is_some_and(|end| {
            let so_far = show.board.elapsed();
            so_far >= end && (!snapshot.is_busy || so_far >= end + OVERTIME)
        });
        if stopped || over || pressed.contains(&'q') || snapshot.is_broken {
            break;
        }
        screen.show(&snapshot)?;
    }
    // The callers first: what is refused from now on nobody would count.
    let tally = Arc::clone(&fleet.tally);
    fleet.stop().await;
    let mut snapshot = show.snapshot();
    // It fails only if the director is gone.
    let _ = end.send(true);
    directing.await.context("the processes were not ended in order")?;
    snapshot.news = show.board.state().news;
    drop(keys);
    screen.close(&snapshot)?;
    Ok(verdict(&show, &tally, &snapshot))
}

/// The time between two faults that happen by themselves: at its longest, a
/// node that was started again has got its share back.
fn quiet(duration: Duration) -> Duration {
    (duration / 10).clamp(Duration::from_secs(1), Duration::from_secs(12))
}

/// Says what is not as it must be.
fn verdict(show: &Show, tally: &Tally, snapshot: &Snapshot) -> ExitCode {
    let overruns = show.salesforce.handle.overruns();
    let facts = show.observer.facts();
    let mut wrong = Vec::new();
    if snapshot.calls.refused > 0 {
        wrong.push(format!("Salesforce refused {} calls", snapshot.calls.refused));
    }
    if let Some(overrun) = overruns.first() {
        wrong.push(format!("{} calls were over a limit, first {overrun:?}", overruns.len()));
    }
    let violations: u64 = facts.nodes.iter().map(|node| node.violations).sum();
    if violations > 0 {
        wrong.push(format!("the nodes saw {violations} promises of the protocol broken"));
    }
    if let Some(fault) = tally.first_fault() {
        let faults = tally.faults.load(Relaxed);
        wrong.push(format!("{faults} requests failed as none may, first {fault}"));
    }
    if let Some(broken) = show.board.state().broken {
        wrong.push(broken);
    }
    if snapshot.calls.granted == 0 {
        wrong.push("no call was granted".to_owned());
    }
    for sentence in &wrong {
        eprintln!("error: {sentence}");
    }
    if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// All that is shown.
struct Show {
    board: Arc<Board>,
    observer: Arc<Observer>,
    tally: Arc<Tally>,
    salesforce: StandIn,
    end: Option<Duration>,
    has_keys: bool,
    /// The counts of late, for rates.
    history: VecDeque<(Instant, Calls)>,
}

impl Show {
    fn snapshot(&mut self) -> Snapshot {
        let (state, facts) = (self.board.state(), self.observer.facts());
        let serves =
            |node: usize| state.nodes[node] == NodeState::Alive && facts.nodes[node].is_serving();
        let cell = |owner: &Option<usize>| match *owner {
            Some(node) if serves(node) => Cell::Served(node),
            Some(node) => Cell::Stranded(node),
            None => Cell::Unowned,
        };
        let nodes = (0..NODES.len()).map(|node| NodeRow {
            state: state.nodes[node],
            session_left: facts.nodes[node].session_left,
            serves: facts.nodes[node].serves,
            decided_rate: facts.nodes[node].decided_rate,
            forwarded_rate: facts.nodes[node].forwarded_rate,
        });
        let owners = self.tally.owners();
        let orgs = ORGS.iter().enumerate().map(|(index, org)| OrgRow {
            name: org.name.to_owned(),
            owner: owners[index],
            figures: facts.orgs[index].map(|org| OrgFigures {
                used: org.used,
                held: org.held,
                max: org.max,
            }),
        });
        Snapshot {
            elapsed: self.board.elapsed(),
            end: self.end,
            callers: CALLERS * ORGS.len() as u64,
            nodes: nodes.collect(),
            etcd_runs: state.etcd_runs,
            shards: facts.owners.iter().map(cell).collect(),
            calls: self.calls(),
            orgs: orgs.collect(),
            news: state.news,
            faults: state.faults,
            has_keys: self.has_keys,
            is_busy: state.is_busy,
            is_broken: state.broken.is_some(),
        }
    }

    /// The counts, and what they are a second.
    fn calls(&mut self) -> Calls {
        /// Rates are of so long.
        const OF: Duration = Duration::from_secs(2);
        let now = Instant::now();
        let mut calls = Calls {
            granted: self.tally.granted.load(Relaxed),
            denied: self.tally.denied.load(Relaxed),
            unavailable: self.tally.unavailable.load(Relaxed),
            unanswered: self.tally.unanswered.load(Relaxed),
            late: self.tally.late.load(Relaxed),
            refused: self.salesforce.handle.counts().refused(),
            ..Calls::default()
        };
        self.history.push_back((now, calls));
        while self.history.len() > 2 && now - self.history[0].0 > OF {
            self.history.pop_front();
        }
        if let Some((then, before)) = self.history.front() {
            let seconds = (now - *then).as_secs_f64();
            let rate = |before: u64, after: u64| {
                if seconds > 0.0 { (after - before) as f64 / seconds } else { 0.0 }
            };
            calls.granted_rate = rate(before.granted, calls.granted);
            calls.denied_rate = rate(before.denied, calls.denied);
            calls.unavailable_rate = rate(before.unavailable, calls.unavailable);
        }
        calls
    }
}
