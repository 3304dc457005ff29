//! What it costs to observe the service: the metrics of an Acquire and its Report, what
//! traces and logs ask of both where nothing is recorded, and a scrape. What counts the
//! instructions is `benches/overhead.py`.
//!
//! ```sh
//! cargo bench --bench overhead -- metrics 1000
//! ```
//!
//! `ledger`, `node` and `service` are those of `decisions`, beside which the others are
//! set; `scrape-ORGS` is what `/metrics` says where so many orgs are shown by name.

#[path = "subject/counted.rs"]
mod counted;
#[expect(dead_code, reason = "other benches go through another node")]
mod subject;

use std::{hint::black_box, process::ExitCode, time::Duration};

use quotagate::{
    clock::Clock,
    metrics::{Metrics, ShownOrgs},
    quota::{Class, OperationId, OrgGlance, OrgId},
    telemetry::{self, LogFormat},
    trace::{self, Traces},
};
use tonic::{
    Code,
    codegen::http::{HeaderMap, HeaderValue},
};
use tracing::{debug, debug_span, field::Empty};

use self::counted::{WALL, run};

const ACQUIRE: &str = "/quotagate.v1.QuotaService/Acquire";
const REPORT: &str = "/quotagate.v1.QuotaService/Report";

fn main() -> ExitCode {
    telemetry::init(LogFormat::Json, "info").expect("a good filter, and nobody else's");
    let usage = "overhead ledger|node|service|metrics|traces|scrape-ORGS";
    run(usage, async |subject, times| {
        let orgs = subject.strip_prefix("scrape-").map(str::parse);
        match (subject, orgs) {
            ("metrics", _) => metrics(times),
            ("traces", _) => traces(times),
            (_, Some(Ok(orgs))) => println!("{} bytes", scrapes(times, orgs)),
            _ => return false,
        }
        true
    })
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
