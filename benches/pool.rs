//! A local pool on one core: calls acquired, started and settled a second, while
//! its source takes a millisecond for each request.
//!
//! ```sh
//! cargo bench --no-default-features --features client --bench pool
//! ```
//!
//! `acquire` takes a call and puts it back; `call` takes one, starts it, which
//! reads the clock, and settles it with 200; `answer` does the same with the
//! answer of the client, which reads the clock once more.

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, Throughput};
use quotagate::client::{
    Answer, Moment, Pool, PoolOptions,
    pool::source::{Fetched, Headroom, MAX_CALLS, Merge, Refusal, Source},
};
use tokio::runtime::Builder;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut group = criterion.benchmark_group("pool");
    group.throughput(Throughput::Elements(1));

    let pool = Pool::new(Endless::<Status>::default(), PoolOptions::default());
    group.bench_function("acquire", |bencher| {
        bencher.iter_custom(|calls| {
            runtime.block_on(async {
                let start = Moment::now();
                for _ in 0..calls {
                    drop(black_box(pool.acquire().await.expect("there is no limit")));
                }
                Moment::now().since(start)
            })
        });
    });
    group.bench_function("call", |bencher| {
        bencher.iter_custom(|calls| {
            runtime.block_on(async {
                let start = Moment::now();
                for _ in 0..calls {
                    let call = pool.start().await.expect("there is no limit");
                    black_box(call).report_later(Status(200));
                }
                Moment::now().since(start)
            })
        });
    });
    let pool = Pool::new(Endless::<Answer>::default(), PoolOptions::default());
    group.bench_function("answer", |bencher| {
        bencher.iter_custom(|calls| {
            runtime.block_on(async {
                let start = Moment::now();
                for _ in 0..calls {
                    let call = pool.start().await.expect("there is no limit");
                    black_box(call).report_later(Answer::new(200));
                }
                Moment::now().since(start)
            })
        });
    });
    group.finish();
    criterion.final_summary();
}

/// A source without a limit.
struct Endless<A> {
    _answers: std::marker::PhantomData<fn(A)>,
}

impl<A> Default for Endless<A> {
    fn default() -> Self {
        Self { _answers: std::marker::PhantomData }
    }
}

/// The least that an answer can be.
struct Status(u16);

impl Merge for Status {
    fn merge(&mut self, later: Self) -> Option<Self> {
        (self.0 != later.0).then_some(later)
    }

    fn is_urgent(&self) -> bool {
        self.0 >= 400
    }
}

impl<A: Merge + Send + 'static> Source for Endless<A> {
    type Permit = ();
    type Answer = A;
    type Error = ();

    fn now(&self) -> Moment {
        Moment::now()
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(1)
    }

    async fn fetch(&self, calls: u32, _: Duration) -> Result<Fetched<()>, Refusal<()>> {
        let ttl = Duration::from_secs(5);
        let deadline = Moment::now() + ttl;
        tokio::time::sleep(Duration::from_millis(1)).await;
        let headroom = Headroom { calls: u64::MAX, window: Duration::from_secs(60), slots: false };
        assert!(calls <= MAX_CALLS);
        Ok(Fetched { permit: (), calls, deadline, ttl, headroom: Some(headroom) })
    }

    async fn release(&self, (): (), _: u32) {}

    async fn report(&self, (): (), _: u32, _: u32, _: Option<A>) -> bool {
        false
    }

    async fn flush(&self) {}

    fn execution_user<'a>(&self, (): &'a ()) -> &'a str {
        ""
    }

    fn gave_up(&self) {}

    fn aged(&self, (): (), _: Duration) {}
}
