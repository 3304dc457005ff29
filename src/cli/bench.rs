//! Load on a server: throughput and latency, as a caller sees them.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use clap::Args;
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use tonic::Status;

use super::{
    Remote,
    call::Class,
    exit::{Exit, Fault, lines_of},
    output::{Format, print},
    table::{Align, Table, count, human, percent, thousands},
};
use crate::{
    client::Client,
    duration,
    proto::v1::{AcquireRequest, ReleaseRequest, TrafficClass, acquire_response::Outcome},
};

pub const HELP: &str = "\
This spends quota of the org: use one that nobody needs. With --release each permit is given back
at once, so that the limit is not used up. Each of the requests in flight waits for its answer
before the next one is sent; --concurrency 1 measures one at a time. Exits with 1 if there were
errors.

Examples:
  quotagate bench --org bench --release
  quotagate bench --org bench --release --concurrency 1 --connections 1
  quotagate bench --org bench --concurrency 256 --connections 4 --duration 30s -o json";

/// How long a worker waits after an error: a server that is away is not to be
/// stormed.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(10);

/// The longest latency that is told apart.
const MAX_LATENCY_NANOS: u64 = 600_000_000_000;

const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// How much load, of what kind.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// The Salesforce org whose quota is spent
    #[arg(long, value_name = "ORG", default_value = "bench")]
    org: String,
    /// What the calls are for
    #[arg(long, value_name = "OPERATION", default_value = "rest")]
    operation: String,
    /// The workspace that pays
    #[arg(long, value_name = "WORKSPACE", default_value = "", hide_default_value = true)]
    workspace: String,
    /// The Salesforce user, for operations that charge one
    #[arg(long, value_name = "USER", default_value = "", hide_default_value = true)]
    execution_user: String,
    /// Who waits for the calls
    #[arg(long, value_name = "CLASS", value_enum, default_value_t)]
    traffic_class: Class,
    /// Connections to the server
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    connections: u32,
    /// Requests in flight, over all connections
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    concurrency: u32,
    /// How long
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration::parse)]
    duration: Duration,
    /// Give each permit back at once
    #[arg(long)]
    release: bool,
    #[command(flatten)]
    remote: Remote,
}

/// Puts load on a server and prints what came of it.
pub async fn bench(args: BenchArgs) -> Result<Exit, Fault> {
    eprintln!(
        "this spends quota of the org {:?} at {}{}",
        args.org,
        args.remote.connection.server,
        if args.release { ", and gives it back" } else { "" }
    );
    let mut clients = Vec::new();
    for _ in 0..args.connections.min(args.concurrency) {
        clients.push(args.remote.connect().await?);
    }
    let outcome = load(&args, &clients).await;
    match args.remote.output {
        Format::Table => print(&outcome.text())?,
        Format::Json => print(&format!("{:#}\n", outcome.json()))?,
    }
    Ok(if outcome.tally.errors.is_empty() { Exit::Done } else { Exit::Failure })
}

/// What all workers see.
#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    granted: AtomicU64,
    denied: AtomicU64,
    errors: AtomicU64,
}

/// What one worker, or all of them, measured. Latencies are nanoseconds of
/// Acquire alone.
#[derive(Debug)]
struct Tally {
    granted: Histogram<u64>,
    denied: Histogram<u64>,
    errors: BTreeMap<String, u64>,
}

/// The result of a run.
#[derive(Debug)]
struct Measured {
    tally: Tally,
    took: Duration,
}

async fn load(args: &BenchArgs, clients: &[Client]) -> Measured {
    let request = AcquireRequest {
        org: args.org.clone(),
        workspace: args.workspace.clone(),
        operation: args.operation.clone(),
        execution_user: args.execution_user.clone(),
        traffic_class: TrafficClass::from(args.traffic_class).into(),
        ..Default::default()
    };
    let shared = Arc::new(Shared::default());
    let started = Instant::now();
    let mut workers = JoinSet::new();
    for client in clients.iter().cycle().take(args.concurrency as usize) {
        workers.spawn(work(client.clone(), request.clone(), args.release, shared.clone()));
    }
    progress(&shared, started, args.duration).await;
    shared.stop.store(true, Ordering::Relaxed);
    let mut tally = Tally::new();
    while let Some(worker) = workers.join_next().await {
        match worker {
            Ok(part) => tally.add(part),
            Err(error) => tally.error(format!("a worker ended: {error}")),
        }
    }
    Measured { tally, took: started.elapsed() }
}

async fn work(
    client: Client,
    request: AcquireRequest,
    release: bool,
    shared: Arc<Shared>,
) -> Tally {
    let mut tally = Tally::new();
    while !shared.stop.load(Ordering::Relaxed) {
        let sent = Instant::now();
        let answer = client.acquire(request.clone()).await;
        let took = nanos(sent.elapsed());
        let failed = match answer.map(|answer| answer.outcome) {
            Ok(Some(Outcome::Permit(permit))) => {
                tally.granted.saturating_record(took);
                shared.granted.fetch_add(1, Ordering::Relaxed);
                if release { give_back(&client, permit.permit_id).await.err() } else { None }
            }
            Ok(Some(Outcome::Denial(_))) => {
                tally.denied.saturating_record(took);
                shared.denied.fetch_add(1, Ordering::Relaxed);
                None
            }
            Ok(None) => Some(Status::internal("the server answered nothing")),
            Err(status) => Some(status),
        };
        if let Some(status) = failed {
            shared.errors.fetch_add(1, Ordering::Relaxed);
            tally.error(lines_of(&status).join("; "));
            sleep(PAUSE_AFTER_ERROR).await;
        }
    }
    tally
}

async fn give_back(client: &Client, permit_id: String) -> Result<(), Status> {
    client.release(ReleaseRequest { permit_id, unused_calls: None }).await.map(|_| ())
}

/// Shows how far it is, on a terminal, until the time is over or Ctrl-C.
async fn progress(shared: &Shared, started: Instant, duration: Duration) {
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

impl Tally {
    fn new() -> Self {
        let histogram = || {
            Histogram::new_with_bounds(1, MAX_LATENCY_NANOS, 3)
                .expect("the bounds are good: 1 < 10 min, 3 digits")
        };
        Self { granted: histogram(), denied: histogram(), errors: BTreeMap::new() }
    }

    fn add(&mut self, other: Self) {
        for (mine, theirs) in [(&mut self.granted, other.granted), (&mut self.denied, other.denied)]
        {
            mine.add(theirs).expect("the bounds are the same");
        }
        for (text, times) in other.errors {
            *self.errors.entry(text).or_default() += times;
        }
    }

    fn error(&mut self, text: String) {
        *self.errors.entry(text).or_default() += 1;
    }
}

impl Measured {
    fn errors(&self) -> u64 {
        self.tally.errors.values().sum()
    }

    fn text(&self) -> String {
        let (granted, denied) = (self.tally.granted.len(), self.tally.denied.len());
        let decided = granted + denied;
        let mut out = String::new();
        _ = writeln!(
            out,
            "{} in {}: {} a second",
            count(decided, "decision"),
            human(self.took),
            thousands(rate(decided, self.took))
        );
        _ = writeln!(
            out,
            "{} granted ({}), {} denied, {}\n",
            thousands(granted),
            percent(granted, decided),
            thousands(denied),
            count(self.errors(), "error")
        );
        let mut table = Table::new(
            [("LATENCY", Align::Left)]
                .into_iter()
                .chain(QUANTILES.map(|(name, _)| (name, Align::Right)))
                .chain([("max", Align::Right)]),
        );
        for (name, histogram) in [("granted", &self.tally.granted), ("denied", &self.tally.denied)]
        {
            if !histogram.is_empty() {
                table.row(
                    [name.to_owned()]
                        .into_iter()
                        .chain(QUANTILES.map(|(_, q)| millis(histogram.value_at_quantile(q))))
                        .chain([millis(histogram.max())]),
                );
            }
        }
        if !table.is_empty() {
            out.push_str(&table.render());
        }
        for (text, times) in &self.tally.errors {
            _ = writeln!(out, "  {} × {text}", thousands(*times));
        }
        out
    }

    fn json(&self) -> serde_json::Value {
        let latency = |histogram: &Histogram<u64>| {
            let micros = |nanos: u64| nanos as f64 / 1_000.0;
            let mut figures: serde_json::Map<_, _> = QUANTILES
                .iter()
                .map(|(name, q)| {
                    ((*name).to_owned(), json!(micros(histogram.value_at_quantile(*q))))
                })
                .collect();
            figures.insert("max".into(), json!(micros(histogram.max())));
            figures
        };
        let (granted, denied) = (self.tally.granted.len(), self.tally.denied.len());
        json!({
            "seconds": self.took.as_secs_f64(),
            "decisionsPerSecond": rate(granted + denied, self.took),
            "granted": granted,
            "denied": denied,
            "errors": self.errors(),
            "grantedLatencyMicros": latency(&self.tally.granted),
            "deniedLatencyMicros": latency(&self.tally.denied),
            "errorTexts": self.tally.errors,
        })
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Events a second, rounded down.
fn rate(events: u64, time: Duration) -> u64 {
    let nanos = time.as_nanos().max(1);
    u64::try_from(u128::from(events) * 1_000_000_000 / nanos).unwrap_or(u64::MAX)
}

/// Nanoseconds as milliseconds with three decimals, so that columns compare.
fn millis(nanos: u64) -> String {
    let micros = nanos / 1_000;
    format!("{}.{:03} ms", thousands(micros / 1_000), micros % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_told_with_rates_and_percentiles() {
        let mut tally = Tally::new();
        for micros in 1..=1_000 {
            tally.granted.saturating_record(micros * 1_000);
        }
        let mut other = Tally::new();
        other.denied.saturating_record(2_000_000);
        other.error("no".into());
        other.error("no".into());
        tally.add(other);
        let measured = Measured { tally, took: Duration::from_millis(500) };
        assert_eq!(
            measured.text(),
            "1,001 decisions in 500 ms: 2,002 a second\n\
             1,000 granted (99.9 %), 1 denied, 2 errors\n\n\
             \x20 LATENCY       p50       p90       p99     p99.9       max\n\
             \x20 granted  0.500 ms  0.900 ms  0.990 ms  0.999 ms  1.000 ms\n\
             \x20 denied   2.000 ms  2.000 ms  2.000 ms  2.000 ms  2.000 ms\n\
             \x20 2 × no\n"
        );
        let json = measured.json();
        assert_eq!((&json["granted"], &json["errors"]), (&json!(1_000), &json!(2)));
    }

    #[test]
    fn rates_and_latencies_are_rounded_down() {
        assert_eq!(rate(10, Duration::from_secs(3)), 3);
        assert_eq!(rate(1, Duration::ZERO), 1_000_000_000);
        assert_eq!(millis(1_234_567_890), "1,234.567 ms");
        assert_eq!(millis(999), "0.000 ms");
    }
}
