//! The stock against what a service would say of it, in every order of events
//! that chance finds.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{collection::vec, prelude::*};

use super::*;

/// An HTTP status: all that is needed of an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Status(u16);

impl Merge for Status {
    fn merge(&mut self, later: Self) -> Option<Self> {
        (*self != later).then_some(later)
    }

    fn is_urgent(&self) -> bool {
        self.0 >= 400
    }
}

/// Something happens. Numbers choose among what is there.
#[derive(Clone, Copy, Debug)]
enum Event {
    Take,
    Wait {
        wait_ms: u64,
    },
    Leave(usize),
    PutBack(usize),
    Start(usize),
    /// A started call was not sent after all.
    Unsent(usize),
    Settle(usize, Option<u16>),
    /// An outcome is told without the others.
    Tell(usize),
    Grant {
        ask: usize,
        percent: u32,
        ttl_ms: u64,
        left: u64,
    },
    /// The answer never comes, although the service may have granted it.
    Lose(usize),
    Deny {
        ask: usize,
        retry_ms: Option<u64>,
    },
    Fail(usize),
    Advance {
        ms: u64,
    },
    Withdraw,
    Close,
}

fn event() -> impl Strategy<Value = Event> {
    let any = || 0..64_usize;
    prop_oneof![
        8 => Just(Event::Take),
        4 => prop_oneof![Just(0), 1..3_000_u64].prop_map(|wait_ms| Event::Wait { wait_ms }),
        1 => any().prop_map(Event::Leave),
        3 => any().prop_map(Event::PutBack),
        6 => any().prop_map(Event::Start),
        1 => any().prop_map(Event::Unsent),
        6 => (any(), prop_oneof![6 => Just(Some(200)), 1 => Just(Some(429)), 1 => Just(None)])
            .prop_map(|(call, status)| Event::Settle(call, status)),
        1 => any().prop_map(Event::Tell),
        6 => (any(), 0..=100_u32, 1..5_000_u64, 0..100_000_u64)
            .prop_map(|(ask, percent, ttl_ms, left)| Event::Grant { ask, percent, ttl_ms, left }),
        1 => any().prop_map(Event::Lose),
        1 => (any(), prop_oneof![Just(None), (0..10_000_u64).prop_map(Some)])
            .prop_map(|(ask, retry_ms)| Event::Deny { ask, retry_ms }),
        1 => any().prop_map(Event::Fail),
        4 => prop_oneof![0..50_u64, 0..3_000_u64].prop_map(|ms| Event::Advance { ms }),
        1 => Just(Event::Withdraw),
        1 => prop_oneof![20 => Just(Event::Take), 1 => Just(Event::Close)],
    ]
}

/// One permit as the service sees it.
#[derive(Debug, Default)]
struct Granted {
    calls: u32,
    /// Taken by callers that have not started it.
    held: u32,
    started: u32,
    /// The numbers that have an outcome.
    told: BTreeSet<u32>,
    /// The highest numbers, which came back.
    released: Option<u32>,
}

struct World {
    now: Moment,
    permits: BTreeMap<u64, Granted>,
    asks: Vec<Ask>,
    held: Vec<(u64, Taken)>,
    started: Vec<(u64, Taken)>,
    waiting: Vec<u32>,
    next_waiter: u32,
}

impl Default for World {
    fn default() -> Self {
        Self {
            now: Moment::from_start(Duration::from_secs(1)),
            permits: BTreeMap::new(),
            asks: Vec::new(),
            held: Vec::new(),
            started: Vec::new(),
            waiting: Vec::new(),
            next_waiter: 0,
        }
    }
}

type TestStock = Stock<u64, Status, &'static str, u32>;

/// Half of the permits are of one user.
fn user_of(permit: &u64) -> &str {
    if permit.is_multiple_of(2) { "ann" } else { "bob" }
}

fn pick<T>(of: &mut Vec<T>, number: usize) -> Option<T> {
    (!of.is_empty()).then(|| of.swap_remove(number % of.len()))
}

impl World {
    fn hold(&mut self, stock: &TestStock, taken: Taken) {
        let permit = *stock.permit(taken.slot).expect("a batch that is out is kept");
        self.granted(permit).held += 1;
        self.held.push((permit, taken));
    }

    fn granted(&mut self, permit: u64) -> &mut Granted {
        self.permits.get_mut(&permit).expect("a permit of this service")
    }

    fn refused(&mut self, refused: Vec<(u32, &'static str)>) {
        for (waiter, _) in refused {
            self.waiting.retain(|other| *other != waiter);
        }
    }

    fn happen(&mut self, stock: &mut TestStock, event: Event) {
        match event {
            Event::Take => {
                if let Some((taken, _)) = stock.take() {
                    self.hold(stock, taken);
                }
            }
            Event::Wait { wait_ms } => {
                let until = (wait_ms > 0).then(|| self.now + Duration::from_millis(wait_ms));
                self.next_waiter += 1;
                if stock.wait(self.now, self.next_waiter, until).is_ok() {
                    self.waiting.push(self.next_waiter);
                }
            }
            Event::Leave(number) => {
                if let Some(waiter) = pick(&mut self.waiting, number) {
                    assert_eq!(stock.leave(|other| *other == waiter), Some(waiter));
                }
            }
            Event::PutBack(number) => {
                if let Some((permit, taken)) = pick(&mut self.held, number) {
                    self.granted(permit).held -= 1;
                    stock.put_back(taken.slot);
                }
            }
            Event::Start(number) => {
                let Some((permit, taken)) = pick(&mut self.held, number) else { return };
                self.granted(permit).held -= 1;
                if self.now < taken.deadline {
                    self.granted(permit).started += 1;
                    self.started.push((permit, taken));
                } else {
                    stock.discard(self.now, taken.slot);
                    let again = stock.take();
                    assert!(again.is_none_or(|(again, _)| again.deadline > self.now), "{again:?}");
                    if let Some((again, _)) = again {
                        self.hold(stock, again);
                    }
                }
            }
            Event::Unsent(number) => {
                if let Some((permit, taken)) = pick(&mut self.started, number) {
                    self.granted(permit).started -= 1;
                    stock.put_back(taken.slot);
                }
            }
            Event::Settle(number, status) => {
                if let Some((_, taken)) = pick(&mut self.started, number) {
                    stock.settle(taken.slot, status.map(Status));
                }
            }
            Event::Tell(number) => {
                let Some((permit, taken)) = pick(&mut self.started, number) else { return };
                let told = stock.number(taken.slot).map(|(permit, number)| (permit, number, 1));
                self.tell(told.expect("a batch that is out is kept"));
                assert_eq!(told.map(|told| told.0), Some(permit));
            }
            Event::Grant { ask, percent, ttl_ms, left } => {
                let Some(ask) = pick(&mut self.asks, ask) else { return };
                let permit = self.permits.len() as u64;
                let calls = (ask.calls * percent / 100).max(1);
                self.permits.insert(permit, Granted { calls, ..Granted::default() });
                let ttl = Duration::from_millis(ttl_ms);
                // The answer took a part of its life, or all of it.
                let deadline = self.now + ttl - Duration::from_millis(ttl_ms % 7);
                let window = Duration::from_secs(60);
                let headroom = Some(Headroom { calls: left, window, slots: left % 5 == 0 });
                let fetched = Fetched { permit, calls, deadline, ttl, headroom };
                stock.granted(self.now, ask, fetched, user_of(&permit));
            }
            Event::Lose(ask) => {
                if let Some(ask) = pick(&mut self.asks, ask) {
                    stock.cancelled(ask);
                }
            }
            Event::Deny { ask, retry_ms } => {
                let Some(ask) = pick(&mut self.asks, ask) else { return };
                let retry_after = retry_ms.map(Duration::from_millis);
                let refused = stock.denied(self.now, ask, "denied", retry_after);
                self.refused(refused);
            }
            Event::Fail(ask) => {
                let Some(ask) = pick(&mut self.asks, ask) else { return };
                let refused = stock.failed(ask, "failed");
                self.refused(refused);
            }
            Event::Advance { ms } => self.now = self.now + Duration::from_millis(ms),
            Event::Withdraw => stock.withdraw("ann", user_of),
            Event::Close => stock.close(),
        }
    }

    fn step(&mut self, stock: &mut TestStock) {
        let step = stock.step(self.now, true);
        self.asks.extend(&step.asks);
        assert!(step.asks.iter().all(|ask| (1..=MAX_CALLS).contains(&ask.calls)));
        if step.cancel_parked {
            self.asks.retain(|ask| {
                let is_parked = ask.until.is_some();
                if is_parked {
                    stock.cancelled(*ask);
                }
                !is_parked
            });
        }
        for (waiter, taken) in step.served {
            // In order: nobody who came earlier waits for the same.
            self.waiting.retain(|other| *other != waiter);
            assert!(taken.deadline > self.now, "nothing is handed out after its deadline");
            self.hold(stock, taken);
        }
        for (permit, unused) in step.returns {
            let granted = self.granted(permit);
            assert_eq!(granted.released.replace(unused), None, "given back once: {granted:?}");
        }
        for told in step.outcomes {
            self.tell((told.permit, told.first, told.calls));
        }
        if !self.waiting.is_empty() {
            assert!(!self.asks.is_empty(), "somebody asks for those who wait");
        }
        assert!(step.wake.is_none_or(|wake| wake > self.now), "{:?} {:?}", step.wake, self.now);
        self.check(stock);
    }

    fn tell(&mut self, (permit, first, calls): (u64, u32, u32)) {
        let granted = self.granted(permit);
        for number in first..first + calls {
            assert!(granted.told.insert(number), "{number} is told once: {granted:?}");
            assert!(number < granted.started, "{number}: {granted:?}");
        }
    }

    fn check(&self, stock: &TestStock) {
        for granted in self.permits.values() {
            let out = granted.held + granted.started;
            assert!(out + granted.released.unwrap_or(0) <= granted.calls, "{granted:?}");
        }
        let mut room = 0;
        for (slot, batch) in stock.batches.iter().enumerate() {
            let Some(batch) = batch else { continue };
            let granted = &self.permits[&batch.permit];
            room += batch.room;
            assert_eq!(stock.open.contains(&slot), batch.room > 0);
            let held = self.held.iter().chain(&self.started).filter(|(_, t)| t.slot == slot);
            assert_eq!(batch.out as usize, held.count());
            // What expired is in neither.
            let all = batch.room + batch.out + batch.next + granted.released.unwrap_or(0);
            assert!(all <= granted.calls, "{all} {granted:?}");
            assert!(self.now >= batch.deadline || all == granted.calls, "{all} {granted:?}");
        }
        assert_eq!(stock.room, room);
        assert_eq!(stock.waiters.len(), self.waiting.len());
        let asked: u32 =
            self.asks.iter().filter(|ask| ask.until.is_none()).map(|ask| ask.calls).sum();
        assert_eq!(stock.asked, asked);
        assert_eq!(stock.parked.is_some(), self.asks.iter().any(|ask| ask.until.is_some()));
    }

    /// Everything comes to its end.
    fn end(&mut self, stock: &mut TestStock) {
        for (_, taken) in std::mem::take(&mut self.held) {
            stock.put_back(taken.slot);
        }
        for (_, taken) in std::mem::take(&mut self.started) {
            stock.settle(taken.slot, Some(Status(200)));
        }
        for granted in self.permits.values_mut() {
            granted.held = 0;
        }
        for waiter in std::mem::take(&mut self.waiting) {
            stock.leave(|other| *other == waiter);
        }
        for _ in 0..3 {
            for ask in std::mem::take(&mut self.asks) {
                stock.failed(ask, "the service is away");
            }
            self.step(stock);
            self.now = self.now + Duration::from_secs(10);
        }
        assert!(stock.is_idle() && stock.room == 0);
        assert!(stock.batches.iter().all(Option::is_none), "nothing is kept for ever");
        for granted in self.permits.values() {
            assert_eq!(granted.told.len(), granted.started as usize, "every started call was told");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn a_call_is_handed_out_once_and_in_time_and_what_went_back_stays_back(
        events in vec((event(), any::<bool>()), 1..150),
    ) {
        let mut world = World::default();
        let mut stock = TestStock::new(PoolOptions::default());
        for (event, looks) in events {
            world.happen(&mut stock, event);
            if looks {
                world.step(&mut stock);
            }
        }
        world.step(&mut stock);
        world.end(&mut stock);
    }
}

/// What another user's refusal took away was whatever came next, after its whole
/// wait.
#[test]
fn what_was_waited_for_is_kept_unless_its_own_user_was_withdrawn() {
    const ANNS: u64 = 2;
    const BOBS: u64 = 3;
    // Whether it is withdrawn, and everything is, before and after it is asked for.
    let withdraw = |stock: &mut TestStock| stock.withdraw("ann", user_of);
    type Happen = fn(&mut TestStock);
    let rows: [(Happen, Happen, u64, bool); 6] = [
        (|_| (), |_| (), ANNS, true),
        (|_| (), withdraw, ANNS, false),
        (|_| (), withdraw, BOBS, true),
        (withdraw, |_| (), ANNS, true),
        (|_| (), TestStock::close, BOBS, false),
        (TestStock::close, |_| (), BOBS, true),
    ];
    for (number, (before, after, permit, is_kept)) in rows.into_iter().enumerate() {
        let now = Moment::from_start(Duration::from_secs(1));
        let ttl = Duration::from_secs(60);
        let mut stock = TestStock::new(PoolOptions::default());
        before(&mut stock);
        stock.wait(now, 7, Some(now + ttl)).unwrap();
        let asks = stock.step(now, true).asks;
        after(&mut stock);
        let fetched = Fetched { permit, calls: 1, deadline: now + ttl, ttl, headroom: None };
        stock.granted(now, asks[0], fetched, user_of(&permit));
        let step = stock.step(now, true);
        assert_eq!(!step.served.is_empty(), is_kept, "{number}");
        assert_eq!(step.returns, if is_kept { vec![] } else { vec![(permit, 1)] }, "{number}");
        // Who waits still is asked for again, and that is nobody's refusal.
        for ask in step.asks {
            let fetched =
                Fetched { permit: ANNS, calls: 1, deadline: now + ttl, ttl, headroom: None };
            stock.granted(now, ask, fetched, user_of(&ANNS));
            assert_eq!(stock.step(now, true).served.len(), 1, "{number}");
        }
        assert!(stock.withdrawn_users.is_empty(), "{number}");
    }
}
