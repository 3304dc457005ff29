//! What an org costs in memory, declared and active, and how long a start takes
//! where the store holds many.
//!
//! ```sh
//! cargo bench --no-default-features --features server --bench memory
//! ```
//!
//! `QUOTAGATE_ORGS` are declared in a `file:` store (100,000), and
//! `QUOTAGATE_ACTIVE` of them have counters recorded there (as many); then each of
//! these is asked once for a call by a user, in the name of a workspace. Another
//! process fills the store, so that nothing of that stays here.

use std::{
    env, fs,
    path::Path,
    process::{self, Command},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use quotagate::{
    clock::Clock,
    config::{Config, OrgDeclaration},
    metrics::Metrics,
    node::Settings,
    quota::{
        Ask, AskError, Class, CounterRecord, Group, GroupRecord, Kind, LimitName, OperationId,
        OrgId, Outcome, UserId, Wall, WorkspaceId,
    },
    shard::{Running, Shards},
    store::{
        FileStore, Key, Record, SharedStore, Store, Txn, Write,
        records::{ChangeRecord, OrgConfigRecord},
    },
};
use tokio::time::Instant;

/// The program's.
#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Sweeps come every five seconds: the longest stall of some of them.
const WATCHED: Duration = Duration::from_secs(17);

/// Requests at a time.
const AT_ONCE: usize = 64;

fn main() {
    let (orgs, active) = (number("QUOTAGATE_ORGS", 100_000), number("QUOTAGATE_ACTIVE", 100_000));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime can be had");
    if let Ok(dir) = env::var("QUOTAGATE_FILL") {
        runtime.block_on(fill(Path::new(&dir), orgs, active.min(orgs)));
        return;
    }
    let dir = tempfile::tempdir().expect("a directory can be made");
    let program = env::current_exe().expect("this program is a file");
    let filled = Command::new(program).env("QUOTAGATE_FILL", dir.path()).status();
    assert!(filled.is_ok_and(|status| status.success()), "the store is filled");
    runtime.block_on(measure(dir.path(), orgs, active.min(orgs)));
}

/// Prints the table.
async fn measure(dir: &Path, orgs: usize, active: usize) {
    println!("| {orgs} orgs declared, {active} of them active | time | resident | an org |");
    println!("|---|---|---|---|");
    let mut before = resident();
    let mut line = |what: &str, since: Instant, of: usize| {
        let (time, now) = (since.elapsed(), resident());
        let each = now.saturating_sub(before).checked_div(of);
        let each = each.map(|bytes| format!("{bytes} B")).unwrap_or_default();
        println!("| {what} | {time:.2?} | {} MiB | {each} |", now >> 20);
        before = now;
    };
    let begun = Instant::now();
    let store: SharedStore = Arc::new(FileStore::open(dir).expect("it is a store"));
    line("the store is open", begun, orgs);
    let read = Instant::now();
    let settings = Settings::read(Config::built_in(), &*store).await.expect("they can be used");
    line("the declarations are read", read, orgs);
    let recovered = Instant::now();
    let running = start(store, settings).await;
    line("the records are taken over", recovered, active);
    println!("| it serves, all in all | {:.2?} | | |", begun.elapsed());
    let asked = Instant::now();
    ask_all(&running, active).await;
    line("each active one was asked once", asked, active);
    let swept = Instant::now();
    let stall = longest_stall(WATCHED).await;
    line("idle memory was freed", swept, active);
    println!("| the longest stall meanwhile | {stall:.2?} | | |");
    // What was written is not needed, and handing over takes long.
    process::exit(0);
}

async fn start(store: SharedStore, settings: Settings) -> Running {
    let clock = Clock::default();
    let metrics = Arc::new(Metrics::new("bench", clock.now().wall));
    let policies = Arc::new(settings);
    Shards::start(store, clock, metrics, policies, "bench".to_owned()).await.expect("it starts")
}

async fn ask_all(running: &Running, active: usize) {
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..AT_ONCE {
        let (shards, next) = (running.shards(), Arc::clone(&next));
        tasks.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= active as u64 {
                    return;
                }
                // A store that is slow for once is asked again.
                let outcome = loop {
                    let answer = shards.acquire(&org(number), &ask()).await;
                    let outcome = answer.map(|(outcome, _)| outcome);
                    if !matches!(outcome, Ok(Outcome::Failed(AskError::StoreTimeout))) {
                        break outcome;
                    }
                };
                assert!(matches!(outcome, Ok(Outcome::Granted(_))), "{outcome:?}");
            }
        });
    }
    tasks.join_all().await;
}

/// How late something was at most that wants to happen every millisecond.
async fn longest_stall(watched: Duration) -> Duration {
    let tick = Duration::from_millis(1);
    let end = Instant::now() + watched;
    let mut longest = Duration::ZERO;
    while Instant::now() < end {
        let slept = Instant::now();
        tokio::time::sleep(tick).await;
        longest = longest.max(slept.elapsed().saturating_sub(2 * tick));
    }
    longest
}

/// Declares orgs as an administrator would, and records what some have used.
async fn fill(dir: &Path, orgs: usize, active: usize) {
    let store = FileStore::open(dir).expect("an empty directory is a store");
    let now = Clock::default().now().wall;
    let numbers: Vec<u64> = (0..orgs as u64).collect();
    for some in numbers.chunks(2_000) {
        let then = some.iter().flat_map(|number| {
            let org = org(*number);
            let declared = declared(&org, now).encode();
            let key = Key::OrgConfig(org.clone()).into();
            let records = (*number < active as u64).then(|| {
                let key = Key::Counters { org, group: Group::Org }.into();
                Write::Put(key, used(now).encode())
            });
            [Write::Put(key, declared)].into_iter().chain(records)
        });
        let txn = Txn { then: then.collect(), ..Txn::default() };
        store.txn(txn).await.expect("there is room");
    }
}

fn declared(org: &OrgId, now: Wall) -> OrgConfigRecord {
    let declaration =
        OrgDeclaration { daily_calls: Some(100_000), ..OrgDeclaration::new(org.clone()) };
    let mut record = OrgConfigRecord::default();
    record.change(ChangeRecord {
        time: now,
        who: "admin".to_owned(),
        from: "10.0.0.1".to_owned(),
        action: "PutOrg".to_owned(),
        before: String::new(),
        after: declaration.to_yaml(),
    });
    record
}

/// Ten calls of an hour ago.
fn used(now: Wall) -> GroupRecord {
    let hour = Duration::from_secs(3_600);
    let counter = CounterRecord {
        limit: LimitName::parse("calls").expect("a good name"),
        kind: Kind::Window,
        window: 24 * hour,
        ttl_cap: Duration::from_secs(300),
        sealed: vec![(now - hour, 10)],
        lost: Vec::new(),
        open: 0,
        open_until: Wall(0),
        bound: None,
        cooling: None,
    };
    GroupRecord {
        epoch: 1,
        seq: 1,
        counters: vec![counter],
        written: now,
        ..GroupRecord::default()
    }
}

fn org(number: u64) -> OrgId {
    OrgId::parse(&format!("org-{number:07}")).expect("a good id")
}

fn ask() -> Ask {
    Ask {
        caller: Some("inbox".into()),
        principal: None,
        workspace: Some(WorkspaceId::parse("acme-eu").expect("a good id")),
        operation: OperationId::parse("conversation-entries.get").expect("a good id"),
        user: Some(UserId::parse("integration-1").expect("a good id")),
        class: Class::Event,
        calls: 1,
        min_calls: 1,
        cost: 1,
        ttl: None,
        request: None,
        max_wait: Duration::ZERO,
        check_only: false,
    }
}

/// Bytes of this process's memory that are resident.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    kib.unwrap_or(0) << 10
}

fn number(name: &str, otherwise: usize) -> usize {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}
