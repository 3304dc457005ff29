//! Pools against a strict service, in paused time.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, mpsc::channel},
    time::Duration,
};

use tokio::{
    runtime::Builder,
    time::{Instant, advance, sleep},
};

use super::{
    Pool, PoolOptions,
    source::{Fetched, Headroom, Merge, Refusal, Source},
};
use crate::{
    client::{Answer, Ask, Client, OutagePolicy},
    clock::Moment,
};

/// How long a request to the service takes.
const ROUND_TRIP: Duration = Duration::from_millis(2);

/// How long a report may be on its way before a call counts for longer.
const TRAVEL: Duration = Duration::from_secs(5);

/// How long a request to the service may take, besides its wait.
const TIMEOUT: Duration = Duration::from_secs(1);

/// One limit, counted as the service counts: a call leaves a window after the
/// moment at which it can have been made at the latest.
#[derive(Clone)]
struct Strict(Arc<Mutex<Books>>);

struct Books {
    start: Instant,
    max: u32,
    window: Duration,
    ttl: Duration,
    /// `None`: no limit at all.
    is_limited: bool,
    permits: BTreeMap<u64, Permit>,
    fetches: u32,
    denied: u32,
    /// Those who wait for room, in order.
    line: Vec<u64>,
    next: u64,
    is_away: bool,
    /// Requests come in, and nobody answers them.
    hangs: bool,
    /// Whether a report is answered with the advice to wait.
    advises_to_wait: bool,
    /// Happens when somebody looks at the clock.
    on_now: Option<Box<dyn FnOnce() + Send>>,
}

#[derive(Clone, Debug)]
struct Permit {
    calls: u32,
    deadline: Moment,
    released: u32,
    /// When answers of calls came.
    answers: Vec<Moment>,
    unanswered: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum No {
    Room { retry_after: Duration },
    Service,
    InTime,
}

/// A status, and when it came.
#[derive(Clone, Debug)]
struct Status(u16);

impl Merge for Status {
    fn merge(&mut self, later: Self) -> Option<Self> {
        (self.0 != later.0).then_some(later)
    }

    fn is_urgent(&self) -> bool {
        self.0 >= 400
    }
}

impl Strict {
    fn new(max: u32, window: Duration, ttl: Duration) -> Self {
        Self(Arc::new(Mutex::new(Books {
            start: Instant::now(),
            max,
            window,
            ttl,
            is_limited: max > 0,
            permits: BTreeMap::new(),
            fetches: 0,
            denied: 0,
            line: Vec::new(),
            next: 0,
            is_away: false,
            hangs: false,
            advises_to_wait: false,
            on_now: None,
        })))
    }

    fn pool(&self, max_wait: Duration) -> Pool<Self> {
        Pool::new(self.clone(), PoolOptions { max_wait, ..PoolOptions::default() })
    }

    fn books<T>(&self, look: impl FnOnce(&mut Books) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }

    fn granted(&self) -> u32 {
        self.books(|books| books.permits.values().map(|permit| permit.calls).sum())
    }

    fn released(&self) -> u32 {
        self.books(|books| books.permits.values().map(|permit| permit.released).sum())
    }

    fn told(&self) -> usize {
        self.books(|books| {
            let told = |permit: &Permit| permit.answers.len() + permit.unanswered as usize;
            books.permits.values().map(told).sum()
        })
    }
}

impl Books {
    fn now(&self) -> Moment {
        Moment::START + self.start.elapsed()
    }

    /// Calls that count, and when the first of them leaves.
    fn counted(&self, now: Moment) -> (u32, Option<Moment>) {
        let mut leave = Vec::new();
        for permit in self.permits.values() {
            leave.extend(permit.answers.iter().map(|at| *at + self.window));
            let answers = u32::try_from(permit.answers.len()).unwrap();
            let open = permit.calls - permit.released - answers;
            let at = permit.deadline + self.window + TRAVEL;
            leave.extend((0..open).map(|_| at));
        }
        leave.retain(|at| *at > now);
        (u32::try_from(leave.len()).unwrap(), leave.into_iter().min())
    }

    /// The life of a permit is counted from the sending of the request that did
    /// not have to wait.
    fn grant(&mut self, calls: u32, room: u32) -> Fetched<u64> {
        let calls = calls.min(room);
        let now = self.now();
        let deadline = now + self.ttl - ROUND_TRIP / 2;
        let id = self.next;
        self.next += 1;
        let permit = Permit { calls, deadline, released: 0, answers: Vec::new(), unanswered: 0 };
        self.permits.insert(id, permit);
        let left = if self.is_limited { u64::from(room - calls) } else { 1 << 40 };
        let headroom = Some(Headroom { calls: left, window: self.window, slots: false });
        Fetched { permit: id, calls, deadline, ttl: deadline.since(now), headroom }
    }

    fn room(&self) -> (u32, Option<Moment>) {
        let (counted, first) = self.counted(self.now());
        if self.is_limited { (self.max - counted.min(self.max), first) } else { (u32::MAX, None) }
    }
}

impl Source for Strict {
    type Permit = u64;
    type Answer = Status;
    type Error = No;

    fn now(&self) -> Moment {
        if let Some(happen) = self.books(|books| books.on_now.take()) {
            happen();
        }
        self.books(|books| books.now())
    }

    fn timeout(&self) -> Duration {
        TIMEOUT
    }

    async fn fetch(&self, calls: u32, max_wait: Duration) -> Result<Fetched<u64>, Refusal<No>> {
        let sent = self.now();
        if self.books(|books| books.hangs) {
            sleep(max_wait + TIMEOUT).await;
            return Err(Refusal::Failed(No::Service));
        }
        sleep(ROUND_TRIP / 2).await;
        let place = self.books(|books| {
            books.fetches += 1;
            books.next += 1;
            let place = books.next;
            books.line.push(place);
            place
        });
        let place = InLine { strict: self, place };
        let result = loop {
            let (is_first, room, first, is_away) = self.books(|books| {
                let (room, first) = books.room();
                (books.line.first() == Some(&place.place), room, first, books.is_away)
            });
            if is_away {
                break Err(Refusal::Failed(No::Service));
            }
            if is_first && room > 0 {
                break Ok(self.books(|books| books.grant(calls, room)));
            }
            let now = self.now();
            if now.since(sent) >= max_wait {
                let retry_after = first.map_or(Duration::ZERO, |first| first.since(now));
                self.books(|books| books.denied += 1);
                let error = No::Room { retry_after };
                break Err(Refusal::Denied { error, retry_after: Some(retry_after) });
            }
            sleep(Duration::from_millis(1)).await;
        };
        drop(place);
        sleep(ROUND_TRIP / 2).await;
        result
    }

    async fn release(&self, permit: u64, unused: u32) {
        sleep(ROUND_TRIP / 2).await;
        self.books(|books| {
            let now = books.now();
            let permit = books.permits.get_mut(&permit).unwrap();
            assert_eq!(permit.released, 0, "once");
            assert!(now < permit.deadline, "in time");
            permit.released = unused;
        });
    }

    async fn report(&self, permit: u64, first: u32, calls: u32, answer: Option<Status>) -> bool {
        sleep(ROUND_TRIP / 2).await;
        self.books(|books| {
            let now = books.now();
            let advises_to_wait = books.advises_to_wait;
            let permit = books.permits.get_mut(&permit).unwrap();
            assert!(first + calls <= permit.calls - permit.released, "{permit:?}");
            match answer {
                Some(_) if now < permit.deadline => {
                    permit.answers.extend((0..calls).map(|_| now));
                }
                _ => permit.unanswered += calls,
            }
            advises_to_wait
        })
    }

    async fn flush(&self) {}

    fn execution_user<'a>(&self, _: &'a u64) -> &'a str {
        "user"
    }

    fn gave_up(&self) -> No {
        No::InTime
    }

    fn aged(&self, error: No, age: Duration) -> No {
        match error {
            No::Room { retry_after } => No::Room { retry_after: retry_after.saturating_sub(age) },
            other => other,
        }
    }
}

/// A place in the service's line.
struct InLine<'a> {
    strict: &'a Strict,
    place: u64,
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.strict.books(|books| books.line.retain(|place| *place != self.place));
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn at_steady_load_99_of_100_calls_are_local_and_what_is_left_goes_back() {
    let service = Strict::new(0, MINUTE, 5 * SECOND);
    let pool = service.pool(Duration::ZERO);
    let (mut local, calls) = (0, 20_000);
    for _ in 0..calls {
        let call = match pool.try_acquire() {
            Some(call) => {
                local += 1;
                call
            }
            None => pool.acquire().await.unwrap(),
        };
        call.start().unwrap().report_later(Status(200));
        sleep(MS).await;
    }
    assert!(local * 100 >= calls * 99, "{local} of {calls}");
    let fetches = service.books(|books| books.fetches);
    assert!(fetches < 100, "{fetches} requests for {calls} calls in 20 s");
    // Within a fraction of the permits' life.
    sleep(2 * SECOND).await;
    assert_eq!(service.told(), calls as usize);
    assert_eq!(service.granted(), calls + service.released());
}

#[tokio::test(start_paused = true)]
async fn unused_calls_go_back_when_demand_stops_or_the_pool_is_dropped() {
    for is_dropped in [true, false] {
        let service = Strict::new(0, MINUTE, 5 * SECOND);
        let pool = service.pool(Duration::ZERO);
        for _ in 0..100 {
            pool.start().await.unwrap().report_later(Status(200));
            sleep(10 * MS).await;
        }
        let held = service.granted() - service.released() - 100;
        assert!(held > 20, "{held}");
        if is_dropped {
            drop(pool);
            sleep(10 * MS).await;
        } else {
            sleep(1_300 * MS).await;
        }
        assert_eq!(service.granted() - service.released(), 100);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_is_closed_has_told_everything() {
    let service = Strict::new(0, MINUTE, 5 * SECOND);
    let pool = service.pool(Duration::ZERO);
    for _ in 0..100 {
        pool.start().await.unwrap().report_later(Status(200));
    }
    drop(pool.start().await.unwrap());
    assert!(pool.close().await);
    assert_eq!(service.told(), 101);
    assert_eq!(service.granted() - service.released(), 101);
}

#[tokio::test(start_paused = true)]
async fn a_denial_is_asked_for_once() {
    let service = Strict::new(3, MINUTE, 5 * SECOND);
    let pool = service.pool(Duration::ZERO);
    for _ in 0..3 {
        pool.start().await.unwrap().report_later(Status(200));
    }
    let asked = service.books(|books| books.fetches);
    for _ in 0..1_000 {
        assert!(matches!(pool.start().await, Err(No::Room { .. })));
        sleep(MS).await;
    }
    assert_eq!(service.books(|books| books.fetches), asked + 1);
    // Limits are raised: a denial is not believed for ever.
    service.books(|books| books.max = 10);
    sleep(5 * SECOND).await;
    pool.start().await.unwrap().report_later(Status(200));
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_are_served_in_order_by_one_request() {
    let service = Strict::new(1, SECOND, 500 * MS);
    let pool = service.pool(MINUTE);
    pool.start().await.unwrap().report_later(Status(200));
    let order = Arc::new(Mutex::new(Vec::new()));
    let tasks: Vec<_> = (0..5)
        .map(|number| {
            let (pool, order) = (pool.clone(), Arc::clone(&order));
            tokio::spawn(async move {
                sleep(number * MS).await;
                let call = pool.start_owned().await.unwrap();
                order.lock().unwrap().push(number);
                call.report_later(Status(200));
            })
        })
        .collect();
    sleep(100 * MS).await;
    assert_eq!(service.books(|books| books.line.len()), 1);
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
    assert_eq!(service.books(|books| books.denied), 0);
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_in_time_with_the_services_word() {
    let service = Strict::new(1, MINUTE, 5 * SECOND);
    let pool = service.pool(3 * SECOND);
    pool.start().await.unwrap().report_later(Status(200));
    let start = Instant::now();
    assert!(matches!(pool.start().await, Err(No::Room { .. })));
    assert!(start.elapsed() < 3_250 * MS, "{:?}", start.elapsed());
    // Who gives up leaves the service's line, too.
    let waits = tokio::time::timeout(SECOND, pool.start()).await;
    assert!(waits.is_err());
    sleep(10 * MS).await;
    assert_eq!(service.books(|books| books.line.len()), 0);
}

#[tokio::test(start_paused = true)]
async fn who_waits_a_round_trip_only_loses_nothing() {
    let service = Strict::new(0, MINUTE, 5 * SECOND);
    let pool = service.pool(MINUTE);
    for _ in 0..5_000 {
        pool.start().await.unwrap().report_later(Status(200));
    }
    assert!(pool.close().await);
    assert_eq!(service.granted() - service.released(), 5_000);
    assert_eq!(service.told(), 5_000);
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_is_dropped_unsent_serves_the_next() {
    let service = Strict::new(1, MINUTE, 5 * SECOND);
    let pool = service.pool(SECOND);
    for _ in 0..10 {
        drop(pool.acquire().await.unwrap());
        pool.acquire_owned().await.unwrap().start().unwrap().unsent();
    }
    let held = pool.acquire().await.unwrap();
    let waits = {
        let pool = pool.clone();
        tokio::spawn(
            async move { pool.start_owned().await.map(|call| call.report_later(Status(200))) },
        )
    };
    sleep(10 * MS).await;
    drop(held);
    waits.await.unwrap().unwrap();
    assert_eq!(service.granted(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_too_late_is_not_made_and_not_handed_out_again() {
    let service = Strict::new(0, MINUTE, 5 * SECOND);
    let pool = service.pool(SECOND);
    let call = pool.acquire().await.unwrap();
    // As when a machine sleeps: nobody looks after anything meanwhile.
    advance(6 * SECOND).await;
    assert!(call.start().is_err());
    pool.start().await.unwrap().report_later(Status(200));
    assert_eq!(service.granted(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_away_is_said_to_all_and_not_asked_in_a_loop() {
    let service = Strict::new(0, MINUTE, 5 * SECOND);
    let pool = service.pool(Duration::ZERO);
    for _ in 0..100 {
        pool.start().await.unwrap().report_later(Status(200));
    }
    service.books(|books| books.is_away = true);
    while pool.start().await.is_ok() {}
    let asked = service.books(|books| books.fetches);
    sleep(MINUTE).await;
    assert_eq!(service.books(|books| books.fetches), asked);
    assert_eq!(pool.start().await.map(drop), Err(No::Service));
    service.books(|books| books.is_away = false);
    pool.start().await.unwrap().report_later(Status(200));
}

/// Who waited used to leave before the request was over, which was given up then:
/// that the service was away was never found out.
#[tokio::test(start_paused = true)]
async fn who_waits_hears_that_the_service_hangs() {
    for max_wait in [100 * MS, SECOND, MINUTE] {
        let service = Strict::new(1, MINUTE, 5 * SECOND);
        service.books(|books| books.hangs = true);
        let pool = service.pool(max_wait);
        let start = Instant::now();
        assert_eq!(pool.start().await.map(drop), Err(No::Service));
        assert!(start.elapsed() <= max_wait + TIMEOUT + 10 * MS, "{:?}", start.elapsed());
        // Nor does a wait take longer than it should for the others.
        service.books(|books| books.hangs = false);
        pool.start().await.unwrap().report_later(Status(200));
        let start = Instant::now();
        assert!(matches!(pool.start().await, Err(No::Room { .. })));
        assert!(start.elapsed() <= max_wait + 250 * MS, "{:?}", start.elapsed());
    }
}

/// The same with a real client, whose outage policy is asked then.
#[tokio::test]
async fn a_pool_that_waits_does_in_an_outage_what_the_policy_says() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Client::builder(&silent.local_addr().unwrap().to_string())
        .timeout(500 * MS)
        .outage(OutagePolicy::Open)
        .build()
        .unwrap();
    let pool = client.pool(&Ask::new("acme", "rest").max_wait(100 * MS));
    let call = tokio::time::timeout(10 * SECOND, pool.start()).await.unwrap();
    call.unwrap().report_later(Answer::new(200));
    assert!(client.wire.is_outage());
}

#[tokio::test(start_paused = true)]
async fn advice_to_wait_gives_back_what_is_at_hand() {
    let service = Strict::new(0, MINUTE, 5 * SECOND);
    let pool = service.pool(Duration::ZERO);
    for _ in 0..200 {
        pool.start().await.unwrap().report_later(Status(200));
        sleep(MS).await;
    }
    assert!(pool.try_acquire().is_some());
    service.books(|books| books.advises_to_wait = true);
    pool.start().await.unwrap().report_later(Status(429));
    sleep(5 * MS).await;
    service.books(|books| books.advises_to_wait = false);
    assert!(service.released() > 0);
}

/// What was spawned then was dropped under the lock that its drop takes.
#[test]
fn a_runtime_that_closes_while_a_pool_has_work_leaves_it_usable() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (service, pool, call) = runtime.block_on(async {
        let service = Strict::new(0, MINUTE, 5 * SECOND);
        let pool = service.pool(Duration::ZERO);
        let call = pool.start_owned().await.unwrap();
        (service, pool, call)
    });
    let (works, has_work) = channel();
    let (open, is_closed) = channel::<()>();
    // Dropped when the runtime takes no more tasks.
    runtime.spawn(async move {
        std::future::pending::<()>().await;
        drop(open);
    });
    service.books(|books| {
        books.on_now = Some(Box::new(move || {
            works.send(()).unwrap();
            let _ = is_closed.recv();
        }));
    });
    call.report_later(Status(429));
    has_work.recv().unwrap();
    runtime.shutdown_background();
    let (looks, has_looked) = channel();
    std::thread::spawn(move || {
        while Arc::strong_count(&pool.shared) > 1 {
            std::thread::yield_now();
        }
        looks.send(pool.try_acquire().is_some())
    });
    assert_eq!(has_looked.recv_timeout(10 * SECOND), Ok(false), "all has ended");
}

/// Eight processes share a small limit for ten windows of demand without end.
#[tokio::test(start_paused = true)]
async fn a_fleet_shares_a_small_limit_evenly_and_uses_it_up() {
    const CYCLES: u32 = 10;
    let window = 2 * SECOND;
    let service = Strict::new(90, window, SECOND);
    let start = Instant::now();
    let arrivals = Arc::new(Mutex::new(Vec::new()));
    let mut fleet = Vec::new();
    for process in 0..8_usize {
        let pool = service.pool(MINUTE);
        for _ in 0..4 {
            let (pool, arrivals) = (pool.clone(), Arc::clone(&arrivals));
            fleet.push(tokio::spawn(async move {
                while start.elapsed() < CYCLES * window {
                    let call = pool.start_owned().await.unwrap();
                    sleep(MS).await;
                    arrivals.lock().unwrap().push((start.elapsed(), process));
                    sleep(2 * MS).await;
                    call.report_later(Status(200));
                }
            }));
        }
    }
    for process in fleet {
        process.await.unwrap();
    }
    let arrivals = arrivals.lock().unwrap();
    for (first, arrival) in arrivals.iter().enumerate() {
        let in_window = arrivals[first..].iter().take_while(|(at, _)| *at - arrival.0 < window);
        assert!(in_window.count() <= 90);
    }
    let used = arrivals.iter().filter(|(at, _)| *at < CYCLES * window).count();
    assert!(used >= 90 * CYCLES as usize * 98 / 100, "{used}");
    for process in 0..8 {
        let part = arrivals.iter().filter(|(_, of)| *of == process).count();
        assert!((used / 12..used / 6).contains(&part), "{process} made {part} of {used}");
    }
}
