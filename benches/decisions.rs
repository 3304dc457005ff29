//! Decisions about one hot org on its owner, without the wire: how many a second
//! one task gets, each with the report that follows it.
//!
//! ```sh
//! cargo bench --no-default-features --features server --bench decisions
//! ```
//!
//! `ledger` is the core alone. `node` is what a node does for a decision: the
//! route, the ledger under its lock, clocks, metrics, and the reserves that go
//! to the store meanwhile, which is in memory here. `service` is the handler of
//! the gRPC service, from message to message. `hop` is the same at a node that is not
//! the owner, which asks it over memory instead of a network.

mod subject;

use std::time::Duration;

use criterion::{Criterion, Throughput};
use quotagate::clock::Clock;
use tokio::{runtime::Runtime, time::Instant};

use self::subject::{Core, Edge, Owner, Way};

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(4))
        .measurement_time(Duration::from_secs(8))
        .sample_size(20)
        .configure_from_args();
    let mut group = criterion.benchmark_group("decisions");
    group.throughput(Throughput::Elements(1));

    let mut core = Core::new(Clock::default());
    group.bench_function("ledger", |bencher| bencher.iter(|| core.decides()));

    let runtime = Runtime::new().expect("threads can be had");
    let owner = runtime.block_on(Owner::start(Clock::default()));
    group.bench_function("node", |bencher| {
        bencher.iter_custom(|times| {
            runtime.block_on(async {
                let start = Instant::now();
                for _ in 0..times {
                    owner.decides().await;
                }
                start.elapsed()
            })
        });
    });
    group.bench_function("service", |bencher| {
        bencher.iter_custom(|times| {
            runtime.block_on(async {
                let start = Instant::now();
                for _ in 0..times {
                    owner.serves().await;
                }
                start.elapsed()
            })
        });
    });
    let edge = runtime.block_on(Edge::start(Clock::default(), Way::Stream));
    group.bench_function("hop", |bencher| {
        bencher.iter_custom(|times| {
            runtime.block_on(async {
                let start = Instant::now();
                for _ in 0..times {
                    edge.serves(1).await;
                }
                start.elapsed()
            })
        });
    });
    group.finish();
    criterion.final_summary();
}
