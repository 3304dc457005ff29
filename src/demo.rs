//! `quotagate demo`: what it is for, to be seen in a minute.
//!
//! One fleet of pods runs twice at the same time, each against a strict
//! stand-in for Salesforce of its own: once with quotagate, over real gRPC, and
//! once with each pod counting alone. Both want the same calls at the same
//! moments, twice what Salesforce gives.
//!
//! - [`world`]: the org, its workspaces, and what they want.
//! - [`fleet`]: the callers.
//! - [`picture`]: what is drawn, as a pure function.
//! - `screen`: where it is drawn.

use std::{any::Any, net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tonic::transport::{Channel, Endpoint};

use self::{
    fleet::{Coordination, Fleet, Tally},
    picture::{ClassRow, Side, Snapshot, UserBar, WorkspaceBar},
    screen::Screen,
    world::World,
};
use crate::{
    config::Config,
    proto::v1::{
        ClassRunState, GetUsageRequest, OrgUsage, TrafficClass,
        quota_service_client::QuotaServiceClient,
    },
    quota::Class,
    standin::{StandIn, options::GET_ENTRIES, worst_window},
};

pub mod fleet;
pub mod picture;
mod screen;
pub mod world;

/// The options of `quotagate demo`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How long it runs, for example 30s or 5m
    #[arg(long, default_value = "60s", value_parser = parse_duration)]
    pub duration: Duration,
    /// How many times as fast as real time Salesforce's minute passes, 1 to 60
    #[arg(long, default_value_t = 6.0, value_parser = parse_speed)]
    pub speed: f64,
    /// How many pods each fleet has
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub pods: u32,
    /// Lines instead of a live picture, also on a terminal
    #[arg(long)]
    pub plain: bool,
}

/// A running service.
pub struct DemoService {
    /// Where it takes gRPC.
    pub grpc_addr: SocketAddr,
    /// Keeps it alive; the service stops when this is dropped.
    pub running: Box<dyn Any + Send>,
}

/// Runs the demo with a service that `start` starts with the given
/// configuration; on loopback, with a store that forgets. Success means that
/// Salesforce refused none of the calls that were made through the service.
///
/// # Errors
/// Something did not start, or standard output is gone.
pub async fn run(
    args: Args,
    start: impl AsyncFnOnce(Config) -> anyhow::Result<DemoService>,
) -> anyhow::Result<ExitCode> {
    let world = Arc::new(World::new(args.pods, args.speed, args.duration)?);
    let service = start(world.config()?).await.context("the service does not start")?;
    let together = Stage::set(&world, Coordination::Quotagate(service.grpc_addr)).await?;
    let alone = Stage::set(&world, Coordination::EachAlone).await?;
    let mut usage = UsageReader::connect(service.grpc_addr, &world).await?;

    let screen = Screen::open(args.plain)?;
    let begin = Instant::now();
    let end = begin + args.duration;
    let period = screen.period(args.duration);
    let mut ticks = interval_at(begin + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let snapshot = loop {
        let last = tokio::select! {
            _ = ticks.tick() => Instant::now() >= end,
            () = tokio::time::sleep_until(end) => true,
            signal = tokio::signal::ctrl_c() => { signal?; true }
        };
        let mut side = together.side(&world);
        usage.add_to(&mut side).await;
        let snapshot = Snapshot {
            elapsed: begin.elapsed().min(args.duration),
            duration: args.duration,
            speed: args.speed,
            pods: args.pods,
            together: side,
            alone: alone.side(&world),
        };
        if last {
            break snapshot;
        }
        screen.show(&snapshot)?;
    };
    screen.close(&snapshot)?;
    together.fleet.stop().await;
    alone.fleet.stop().await;
    drop(service);
    let flawless = snapshot.together.refused == 0 && snapshot.together.faults == 0;
    Ok(if flawless { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
                cap: workspace.cap,
                paused: Vec::new(),
            });
        let org_usage = handle.org_usage(org);
        Side {
            refused: handle.counts().refused(),
            faults: tally.faults(),
            users: users.collect(),
            org_used: org_usage.used,
            org_max: org_usage.max,
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

/// Asks the service for what only it knows: which classes are paused.
struct UsageReader {
    client: QuotaServiceClient<Channel>,
    org: String,
}

impl UsageReader {
    async fn connect(addr: SocketAddr, world: &World) -> anyhow::Result<Self> {
        let channel = Endpoint::from_shared(format!("http://{addr}"))?.connect().await?;
        Ok(Self { client: QuotaServiceClient::new(channel), org: world.org.to_string() })
    }

    /// A service that does not answer leaves the states out; the callers'
    /// figures show what is wrong.
    async fn add_to(&mut self, side: &mut Side) {
        let request = GetUsageRequest { org: self.org.clone() };
        let answer = tokio::time::timeout(Duration::from_secs(1), self.client.get_usage(request));
        let Ok(Ok(response)) = answer.await else { return };
        let OrgUsage { workspaces, .. } = response.into_inner().usage.unwrap_or_default();
        for bar in &mut side.workspaces {
            let usage = workspaces.iter().find(|usage| usage.workspace == bar.name);
            let state = usage.and_then(|usage| usage.class_state.as_ref());
            let Some(state) = state else { continue };
            bar.paused = Class::PAUSABLE
                .into_iter()
                .filter_map(|class| {
                    let status = state
                        .classes
                        .iter()
                        .find(|status| class_of(status.traffic_class()) == Some(class))?;
                    Some((class, status.state() == ClassRunState::Paused))
                })
                .collect();
        }
    }
}

const fn class_of(class: TrafficClass) -> Option<Class> {
    match class {
        TrafficClass::Unspecified => None,
        TrafficClass::Bulk => Some(Class::Bulk),
        TrafficClass::Event => Some(Class::Event),
        TrafficClass::Interactive => Some(Class::Interactive),
        TrafficClass::Control => Some(Class::Control),
    }
}

/// A whole number and `s`, `m` or `h`; from a second to an hour.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        other => return Err(format!("{other:?} is no unit: use s, m or h, as in 30s")),
    };
    let number: u64 =
        digits.parse().map_err(|_| "a duration is a number and s, m or h, as in 30s")?;
    match number.checked_mul(unit) {
        Some(seconds @ 1..=3600) => Ok(Duration::from_secs(seconds)),
        _ => Err("the demo runs for a second to an hour".into()),
    }
}

fn parse_speed(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(speed) if (1.0..=60.0).contains(&speed) => Ok(speed),
        _ => Err("a speed is a number from 1 to 60".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        for (text, seconds) in [("30", 30), ("30s", 30), ("5m", 300), ("1h", 3600)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "s", "0s", "2h", "-5s", "1.5m", "5x", "é", "99999999999999999999s"] {
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
}
