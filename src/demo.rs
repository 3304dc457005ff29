//! `quotagate demo`: what it is for, to be seen in a minute.
//!
//! One fleet of pods runs twice at the same time, each against a strict
//! stand-in for Salesforce of its own: once with quotagate, over real gRPC, and
//! once with each pod counting alone. Both want the same calls at the same
//! moments, twice what Salesforce gives.
//!
//! With `--cluster` it is another play: [`cluster`] has three nodes and an etcd,
//! and harms them.
//!
//! - [`world`]: the org, its workspaces, and what they want.
//! - [`fleet`]: the callers.
//! - `operator`: asks the service how things stand, and raises a cap.
//! - [`picture`]: what is drawn, as pure functions.
//! - `screen`: where it is drawn; [`ink`]: text in colours.

use std::{net::SocketAddr, path::PathBuf, pin::Pin, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, MissedTickBehavior, interval},
};

use self::{
    fleet::{Coordination, Fleet, Tally},
    operator::Operator,
    picture::{ClassRow, News, Side, Snapshot, UserBar, WorkspaceBar},
    screen::Screen,
    world::{FOREIGN_AT_START, World},
};
use crate::{
    config::Config,
    duration,
    quota::Class,
    standin::{StandIn, options::GET_ENTRIES, worst_window},
};

pub mod cluster;
pub mod fleet;
pub mod ink;
mod operator;
pub mod picture;
mod screen;
pub mod world;

/// The options of `quotagate demo`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How long it runs, for example 30s or 5m; from 1s to 1h [default: 1m, 2m with --cluster]
    #[arg(long, value_parser = parse_duration)]
    pub duration: Option<Duration>,
    /// How many times as fast as real time Salesforce's minute passes, 1 to 60
    ///
    /// Without it, as fast as shows six of its minutes, in which the whole
    /// story fits.
    #[arg(long, value_name = "FACTOR", value_parser = parse_speed, conflicts_with = "cluster")]
    pub speed: Option<f64>,
    /// How many pods each fleet has
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub pods: u32,
    /// Lines instead of a live picture, also on a terminal
    #[arg(long)]
    pub plain: bool,
    /// Another play: three nodes and an etcd on this machine, to be killed, paused and rolled
    ///
    /// By the keys k, p, r and e, or by themselves one after another.
    #[arg(long)]
    pub cluster: bool,
    /// The program etcd, for --cluster; looked for in .tools/ and on the PATH without it
    #[arg(long, value_name = "PATH")]
    pub etcd: Option<PathBuf>,
}

impl Args {
    /// How long it runs.
    fn duration(&self) -> Duration {
        self.duration.unwrap_or(Duration::from_secs(60))
    }

    /// How many times as fast as real time a minute passes.
    fn speed(&self) -> f64 {
        /// What the story takes, in Salesforce's time.
        const STORY: Duration = Duration::from_secs(6 * 60);
        self.speed.unwrap_or_else(|| {
            let tenths = (STORY.div_duration_f64(self.duration()) * 10.0).round();
            (tenths / 10.0).clamp(SLOWEST, FASTEST)
        })
    }
}

/// The least and the most that `--speed` takes: beyond it, the life of a permit
/// comes near to what an answer takes on a slow machine.
const SLOWEST: f64 = 1.0;
const FASTEST: f64 = 60.0;

/// How often things are looked at.
const TICK: Duration = Duration::from_millis(200);

/// A running service.
pub struct DemoService {
    /// Where it takes gRPC.
    pub grpc_addr: SocketAddr,
    /// Ends it in order.
    pub stop: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// Runs the demo with a service that `start` starts with the given
/// configuration; on loopback, with a store that forgets. SIGINT, SIGTERM
/// and SIGHUP end it early, with its summary. Success means that Salesforce refused none
/// of the calls that were made through the service, and that none broke.
///
/// # Errors
/// Something did not start, or standard output is gone.
pub async fn run(
    args: Args,
    start: impl AsyncFnOnce(Config) -> anyhow::Result<DemoService>,
) -> anyhow::Result<ExitCode> {
    if args.cluster {
        return cluster::run(&args).await;
    }
    let duration = args.duration();
    let mut stop = StopSignals::listen()?;
    let world = Arc::new(World::new(args.pods, args.speed(), duration)?);
    let service = start(world.config()?).await.context("the service does not start")?;
    let together = Stage::set(&world, Coordination::Quotagate(service.grpc_addr)).await?;
    let alone = Stage::set(&world, Coordination::EachAlone).await?;
    let mut operator = Operator::connect(service.grpc_addr, &world, duration.div_f64(12.0)).await?;

    let mut screen = Screen::open(args.plain, duration)?;
    let begin = Instant::now();
    let mut ticks = interval(TICK.min(duration / 20));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut news = Vec::new();
    let mut before: Option<Snapshot> = None;
    let snapshot = loop {
        let stopped = tokio::select! {
            _ = ticks.tick() => false,
            () = stop.any() => true,
        };
        let elapsed = begin.elapsed().min(duration);
        let mut snapshot = Snapshot {
            elapsed,
            duration,
            speed: world.speed,
            pods: args.pods,
            together: together.side(&world),
            alone: alone.side(&world),
            news: Vec::new(),
        };
        operator.look(&mut snapshot.together).await;
        if let Some(before) = before {
            news.extend(picture::news(&before, &snapshot).map(|text| News { at: elapsed, text }));
        }
        snapshot.news.clone_from(&news);
        if stopped || elapsed == duration {
            break snapshot;
        }
        screen.show(&snapshot)?;
        operator.act(&snapshot.together).await?;
        before = Some(snapshot);
    };
    screen.close(&snapshot)?;
    together.fleet.stop().await;
    alone.fleet.stop().await;
    drop(operator);
    service.stop.await;
    let flawless = snapshot.together.refused == 0 && snapshot.together.faults == 0;
    Ok(if flawless { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The signals that end the demo early.
struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl StopSignals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            // The terminal is gone: processes must not stay behind.
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Returns when one of them has come.
    async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// A fleet and the Salesforce that it calls.
struct Stage {
    salesforce: StandIn,
    fleet: Fleet,
}

impl Stage {
    async fn set(world: &Arc<World>, coordination: Coordination) -> anyhow::Result<Self> {
        let salesforce = StandIn::start(world.salesforce())
            .await
            .context("the stand-in for Salesforce does not start")?;
        salesforce.handle.add_foreign(world.org.as_str(), FOREIGN_AT_START);
        let fleet = Fleet::start(world.clone(), coordination, &salesforce.url()).await?;
        Ok(Self { salesforce, fleet })
    }

    /// How it stands, from outside: what Salesforce saw and what callers got.
    fn side(&self, world: &World) -> Side {
        let (handle, tally) = (&self.salesforce.handle, &*self.fleet.tally);
        let org = world.org.as_str();
        let arrivals = handle.arrivals();
        let window_us = u64::try_from(world.real(world::MINUTE).as_micros()).unwrap_or(u64::MAX);
        let users = world.users.iter().map(|user| {
            let calls: Vec<_> = arrivals
                .iter()
                .filter(|call| *call.user == *user.as_str() && call.operation == GET_ENTRIES)
                .map(|call| (call.at_us, 1))
                .collect();
            let usage = handle.user_usage(org, user.as_str(), GET_ENTRIES).unwrap_or_default();
            UserBar { used: usage.used, worst: worst_window(&calls, window_us), max: usage.max }
        });
        let workspaces =
            world.workspaces.iter().enumerate().map(|(index, workspace)| WorkspaceBar {
                name: workspace.id.to_string(),
                used: tally.answered_for(index),
                cap: workspace.cap(),
                paused: Vec::new(),
            });
        let org_usage = handle.org_usage(org);
        let own = arrivals.iter().filter(|call| call.refusal.is_none()).map(|call| call.org_units);
        Side {
            refused: handle.counts().refused(),
            faults: tally.faults(),
            first_fault: tally.first_fault().map(str::to_owned),
            users: users.collect(),
            org_used: org_usage.used,
            org_max: org_usage.max,
            foreign: org_usage.used.saturating_sub(own.sum()),
            foreign_estimate: None,
            workspaces: workspaces.collect(),
            classes: Class::ALL.map(|class| class_row(tally, class)).into(),
        }
    }
}

fn class_row(tally: &Tally, class: Class) -> ClassRow {
    use std::sync::atomic::Ordering::Relaxed;
    let counts = tally.class(class);
    ClassRow {
        class,
        asked: counts.asked.load(Relaxed),
        answered: counts.answered.load(Relaxed),
        put_off: counts.put_off.load(Relaxed),
        failed: counts.failed.load(Relaxed),
    }
}

/// From a second to an hour.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = duration::parse(text)?;
    let range = Duration::from_secs(1)..=Duration::from_secs(60 * 60);
    if range.contains(&duration) {
        Ok(duration)
    } else {
        Err("the demo runs for a second to an hour".into())
    }
}

fn parse_speed(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(speed) if (SLOWEST..=FASTEST).contains(&speed) => Ok(speed),
        _ => Err(format!("a speed is a number from {SLOWEST} to {FASTEST}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_runs_for_a_second_to_an_hour() {
        for (text, seconds) in [("1s", 1), ("30s", 30), ("1m30s", 90), ("1h", 3600)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "30", "0s", "999ms", "2h", "-5s", "1.5m", "99999999999999999999s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_speed_is_from_1_to_60() {
        assert_eq!(parse_speed("6"), Ok(6.0));
        for text in ["", "0", "0.5", "61", "NaN", "inf", "-1"] {
            assert!(parse_speed(text).is_err(), "{text}");
        }
    }

    #[test]
    fn without_a_speed_six_minutes_fit_in_any_duration() {
        for (seconds, speed) in
            [(60, 6.0), (15, 24.0), (7, 51.4), (1, 60.0), (300, 1.2), (3600, 1.0)]
        {
            let duration = Duration::from_secs(seconds);
            let args = Args {
                duration: Some(duration),
                speed: None,
                pods: 4,
                plain: true,
                cluster: false,
                etcd: None,
            };
            assert_eq!(args.speed(), speed, "{seconds} s");
        }
    }
}
