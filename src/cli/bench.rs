//! Load on a server: throughput and latency, as a caller sees them.

mod load;
mod measured;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{Instant, MissedTickBehavior, interval};

use self::{
    load::{Asks, How, Shared, load},
    measured::{nanos, rate},
};
use super::{
    Remote,
    call::Class,
    exit::{Exit, Fault},
    output::{Format, print},
    table::{count, thousands},
    usage::wire,
};
use crate::{
    duration,
    proto::v1::{AcquireRequest, TrafficClass},
};

pub const HELP: &str = "\
This spends quota of the orgs: use some that nobody needs. With --release each permit is given back
at once, so that the limit is not used up. An org has 100,000 permits out at most, each until its
life ends: --permit-ttl makes that short.

Each of the requests in flight waits for its answer before the next one is sent; --concurrency 1
measures one at a time. With --rate requests are due at that rate, whatever becomes of those before
them, and latencies count from when each was due: a server that stalls shows it in all requests
that had to wait.

Every answer is looked at: granted, denied (by reason) and failed (by error) are told apart. Exits
with 1 if there were errors.

Examples:
  quotagate bench --org bench --release
  quotagate bench --org bench --release --concurrency 1 --connections 1
  quotagate bench --org bench --orgs 100 --permit-ttl 100ms --calls 100
  quotagate bench --org bench --release --rate 5000 --duration 1m --histogram
  quotagate bench --org bench --concurrency 256 --connections 4 --duration 30s -o json";

/// How much load, of what kind.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// The Salesforce org whose quota is spent
    #[arg(long, value_name = "ORG", default_value = "bench")]
    org: String,
    /// Spread it over so many orgs: ORG-1, ORG-2 and so on
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    orgs: Option<u32>,
    /// What the calls are for; several, separated by commas, in turn
    #[arg(long, value_name = "OPERATION", value_delimiter = ',', default_value = "rest")]
    operation: Vec<String>,
    /// The workspace that pays; several, separated by commas, in turn
    #[arg(long, value_name = "WORKSPACE", value_delimiter = ',')]
    workspace: Vec<String>,
    /// The Salesforce user, for operations that charge one; several, separated by commas, in turn
    #[arg(long, value_name = "USER", value_delimiter = ',')]
    execution_user: Vec<String>,
    /// Who waits for the calls
    #[arg(long, value_name = "CLASS", value_enum, default_value_t)]
    traffic_class: Class,
    /// Calls of each permit
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    calls: u32,
    /// How long the permits are to live [default: as the limits suggest]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    permit_ttl: Option<Duration>,
    /// Connections to the server
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    connections: u32,
    /// Requests in flight, over all connections; with --rate, at most
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    concurrency: u32,
    /// Requests a second, over all connections [default: as many as are answered]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    rate: Option<u64>,
    /// How long
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration::parse)]
    duration: Duration,
    /// Give each permit back at once
    #[arg(long)]
    release: bool,
    /// Show how many decisions took how long, too (JSON always has it)
    #[arg(long)]
    histogram: bool,
    #[command(flatten)]
    remote: Remote,
}

/// Puts load on a server and prints what came of it.
pub async fn bench(args: BenchArgs) -> Result<Exit, Fault> {
    let asks = args.asks()?;
    eprintln!(
        "this spends quota of {} at {}{}",
        match args.orgs {
            None => format!("the org {:?}", args.org),
            Some(orgs) => format!("{}, {:?}", count(u64::from(orgs), "org"), asks.orgs[0]),
        },
        args.remote.connection.server,
        if args.release { ", and gives it back" } else { "" }
    );
    let mut clients = Vec::new();
    for _ in 0..args.connections.min(args.concurrency) {
        clients.push(args.remote.connect().await?);
    }
    let how = How { concurrency: args.concurrency, rate: args.rate, release: args.release };
    let shared = Arc::new(Shared::new(asks, how));
    let over = progress(&shared, args.duration);
    let outcome = load(Arc::clone(&shared), &clients, over).await;
    match args.remote.output {
        Format::Table => print(&outcome.text(args.histogram))?,
        Format::Json => print(&format!("{:#}\n", outcome.json()))?,
    }
    Ok(if outcome.tally.errors.is_empty() { Exit::Done } else { Exit::Failure })
}

impl BenchArgs {
    fn asks(&self) -> Result<Asks, Fault> {
        let orgs = match self.orgs {
            None => vec![self.org.clone()],
            Some(orgs) => (1..=orgs).map(|number| format!("{}-{number}", self.org)).collect(),
        };
        let request = AcquireRequest {
            traffic_class: TrafficClass::from(self.traffic_class).into(),
            calls: self.calls,
            permit_ttl: self.permit_ttl.map(wire).transpose()?,
            ..AcquireRequest::default()
        };
        Ok(Asks {
            orgs,
            workspaces: self.workspace.clone(),
            operations: self.operation.clone(),
            execution_users: self.execution_user.clone(),
            request,
        })
    }
}

/// Shows how far it is, on a terminal, until the time is over or Ctrl-C.
async fn progress(shared: &Shared, duration: Duration) {
    let started = shared.started();
    let bar = ProgressBar::new(nanos(duration) / 1_000_000);
    if let Ok(style) = ProgressStyle::with_template("{bar:32} {msg}") {
        bar.set_style(style.progress_chars("█▉ "));
    }
    let mut ticks = interval(Duration::from_millis(200));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut before = (started, 0);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = tokio::signal::ctrl_c() => break,
        }
        let (now, elapsed) = (Instant::now(), started.elapsed());
        if elapsed >= duration {
            break;
        }
        let [granted, denied, errors] = [&shared.granted, &shared.denied, &shared.errors]
            .map(|counter| counter.load(Ordering::Relaxed));
        let decided = granted + denied;
        let rate = rate(decided - before.1, now - before.0);
        before = (now, decided);
        bar.set_position(nanos(elapsed) / 1_000_000);
        bar.set_message(format!(
            "{} a second   {} granted   {} denied   {}",
            thousands(rate),
            thousands(granted),
            thousands(denied),
            count(errors, "error"),
        ));
    }
    bar.finish_and_clear();
}
