//! What it costs to observe the service: the metrics of an Acquire and its Report, what
//! traces and logs ask of both where nothing is recorded, and a scrape. What counts the
//! instructions is `benches/overhead.py`.
//!
//! ```sh
//! cargo bench --bench overhead -- metrics 1000
//! ```
//!
//! `ledger`, `node` and `service` are those of `decisions`, beside which the others are set; `scrape-ORGS` is
//! what `/metrics` says where so many orgs are shown by name.

#[expect(dead_code, reason = "other benches go through another node")]
mod subject;

use std::{hint::black_box, process::ExitCode, time::Duration};

use quotagate::{
    clock::Clock,
    metrics::{Metrics, ShownOrgs},
    quota::{Class, OperationId, OrgGlance, OrgId, Wall},
    telemetry::{self, LogFormat},
    trace::{self, Traces},
};
use tokio::{runtime::Builder, time::advance};
use tonic::{
    Code,
    codegen::http::{HeaderMap, HeaderValue},
};
use tracing::{debug, debug_span, field::Empty};

use self::subject::{Core, Owner};

const ACQUIRE: &str = "/quotagate.v1.QuotaService/Acquire";
const REPORT: &str = "/quotagate.v1.QuotaService/Report";

/// Iterations between two steps of the clock, and how far it goes: as in `hot_path`.
const STEP: u64 = 10;
const STEP_TIME: Duration = Duration::from_millis(1);

/// Some day.
const WALL: Wall = Wall(1_700_000_000_000_000);

fn main() -> ExitCode {
    // `cargo bench` adds an option of its own.
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [subject, times] = &arguments[..] else { return usage() };
    let Ok(times) = times.parse() else { return usage() };
    telemetry::init(LogFormat::Json, "info").expect("a good filter, and nobody else's");
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without threads can be had");
    runtime.block_on(async {
        match subject.split_once('-') {
            None if subject == "ledger" => ledger(times).await,
            None if subject == "node" => node(times).await,
            None if subject == "service" => service(times).await,
            None if subject == "metrics" => metrics(times),
            None if subject == "traces" => traces(times),
            Some(("scrape", orgs)) => match orgs.parse() {
                Ok(orgs) => println!("{} bytes", scrapes(times, orgs)),
                Err(_) => return usage(),
            },
            _ => return usage(),
        }
        ExitCode::SUCCESS
    })
}

fn usage() -> ExitCode {
    eprintln!("usage: overhead ledger|node|service|metrics|traces|scrape-ORGS TIMES");
    ExitCode::from(2)
}

async fn ledger(times: u64) {
    let mut core = Core::new(Clock::of_runtime(WALL));
    for done in 1..=times {
        core.decides();
        pass(done).await;
    }
}

async fn node(times: u64) {
    let owner = Owner::start(Clock::of_runtime(WALL)).await;
    for done in 1..=times {
        owner.decides().await;
        pass(done).await;
    }
}

async fn service(times: u64) {
    let owner = Owner::start(Clock::of_runtime(WALL)).await;
    for done in 1..=times {
        owner.serves().await;
        pass(done).await;
    }
}

async fn pass(done: u64) {
    if done.is_multiple_of(STEP) {
        advance(STEP_TIME).await;
    }
}

/// All that is counted of an Acquire that is granted, and of its Report; and the clock
/// that is read for nothing else.
fn metrics(times: u64) {
    let (clock, metrics) = (Clock::of_runtime(WALL), Metrics::new("bench", WALL));
    let operation = OperationId::parse("hot").expect("a good id");
    for _ in 0..times {
        let asked = clock.mono();
        metrics.decided(clock.mono().since(asked));
        metrics.granted(black_box(Class::Event), black_box(&operation), black_box(1));
        metrics.request(black_box(ACQUIRE), Code::Ok);
        metrics.reported(black_box(true));
        metrics.request(black_box(REPORT), Code::Ok);
    }
    black_box(metrics);
}

/// What is asked for traces and for the lines of the log of an Acquire and its Report,
/// none of which is recorded: at the edge, where the org is known, and when it is
/// decided.
fn traces(times: u64) {
    let (traces, org) = (Traces::off(), OrgId::parse("acme").expect("a good id"));
    let mut headers = HeaderMap::new();
    for (name, value) in
        [("content-type", "application/grpc"), ("te", "trailers"), ("user-agent", "bench")]
    {
        headers.insert(name, HeaderValue::from_static(value));
    }
    for _ in 0..times {
        for path in [ACQUIRE, REPORT] {
            let headers = black_box(&headers);
            let span = traces.serve(black_box(path), headers, true);
            let begun = span.trace_id();
            let ids = (
                begun.as_deref().or_else(|| trace::trace_id(headers)),
                headers.get("x-request-id"),
            );
            let line = debug_span!("rpc", method = path, org = Empty, owner = Empty, from = Empty);
            black_box((ids, line.is_disabled(), span.is_recorded()));
            tracing::Span::current().record("org", org.as_str());
            trace::Span::current().note("quotagate.org", org.as_str());
            if path == ACQUIRE {
                trace::Span::current().note("quotagate.decision", "granted");
            }
            debug!(outcome = ?Code::Ok, "answered");
            black_box(trace::Span::current().is_recorded());
        }
    }
}

/// How long a scrape is that shows so many orgs.
fn scrapes(times: u64, orgs: usize) -> usize {
    let metrics = Metrics::new("bench", WALL).showing(ShownOrgs::Busiest(orgs));
    let mut busiest = metrics.choose_orgs();
    for number in 0..u64::try_from(orgs).unwrap_or(u64::MAX) {
        let org = OrgId::parse(&format!("org-{number:06}")).expect("a good id");
        let glance = OrgGlance {
            limit: 100_000,
            used: 10_000 + number % 50_000,
            foreign: 1_234,
            held: 512,
            reading_age: Some(Duration::from_secs(number % 600)),
            drift: Some(-17),
        };
        busiest.offer(&org, glance);
    }
    metrics.show_orgs(busiest);
    (0..times).map(|_| black_box(metrics.encode()).len()).max().unwrap_or_default()
}
