//! A node at its bounds while etcd is away: what waits there, and in how much
//! memory.

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use quotagate::proto::v1::{
    AcquireRequest, acquire_response::Outcome, quota_service_client::QuotaServiceClient,
};
use tokio::{
    task::{JoinSet, block_in_place},
    time::{Instant, sleep, timeout},
};
use tonic::{Request, transport::Channel};

use crate::{
    etcd::{Etcd, Which},
    limits::STRICT,
    node::PATIENCE,
    scale::Cluster,
    world::{ONE_AT_A_TIME, duration_setting, say},
};

/// Callers at once: more than a node serves, which are more than it lets wait.
const CALLERS: usize = 13_000;

/// Their connections; each takes 2,000 requests.
const CONNECTIONS: usize = 8;

/// Each has few enough callers to let all of them wait.
const ORGS: usize = 20;

/// What a node of these many callers may need for one of them: a request with
/// all that is remembered of it, and its part of the connections' buffers.
const MOST_BYTES_EACH: u64 = 48 * 1024;

/// How long a caller waits for room, and rests when it does not get it.
const WAIT: Duration = Duration::from_secs(10 * 60);
const REST: Duration = Duration::from_secs(5);

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What callers have heard so far.
#[derive(Debug, Default)]
struct Heard {
    /// Requests without an answer yet.
    open: AtomicUsize,
    answers: Mutex<BTreeMap<String, u64>>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_bounded_while_etcd_is_away() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let outage = duration_setting("QUOTAGATE_CLUSTER_OUTAGE", Duration::from_secs(5));
    let Some(etcd) = block_in_place(|| Etcd::start(1, Which::Any)) else { return };
    let mut cluster = Cluster::new(etcd);
    cluster.start(0, true).await;
    cluster.is_balanced().await;
    let pid = cluster.node(0).pid();
    let Some(before) = resident_bytes(pid) else {
        return say("  there is no /proc here that tells a process's memory");
    };

    let heard = Arc::<Heard>::default();
    let mut crowd = JoinSet::new();
    let doors: Vec<_> = (0..CONNECTIONS).map(|_| cluster.node(0).another_door()).collect();
    for number in 0..CALLERS {
        let door = doors[number % CONNECTIONS].clone();
        crowd.spawn(call(door, format!("org-{}", number % ORGS), Arc::clone(&heard)));
    }
    let crowded = heard.waits_for(|open, _| open > CALLERS / 2).await;
    let (mut most, waiting) = (before, resident_bytes(pid).unwrap_or_default());

    cluster.etcd.pause(0);
    let since = Instant::now();
    while since.elapsed() < outage {
        sleep(LOOK).await;
        most = most.max(resident_bytes(pid).unwrap_or_default());
    }
    let open = heard.open.load(Ordering::Relaxed);
    cluster.etcd.resume(0);
    let granted = heard.granted();
    let since = Instant::now();
    heard.waits_for(|_, answers| answers.get("a permit").copied() > Some(granted)).await;
    let back = since.elapsed();
    most = most.max(resident_bytes(pid).unwrap_or_default());
    crowd.shutdown().await;
    cluster.node(0).keeps_its_invariants().await;
    let after = resident_bytes(pid).unwrap_or_default();
    cluster.stop().await;

    let [before_mib, waiting_mib, most_mib, after_mib] =
        [before, waiting, most, after].map(|bytes| bytes >> 20);
    say(&format!(
        "{CALLERS} callers of one node, etcd paused for {outage:?}: resident memory {before_mib} \
         MiB before, {waiting_mib} MiB with {crowded} requests open, {most_mib} MiB at most while \
         etcd was away, with {open} open at the end of that, {after_mib} MiB when they had gone; \
         the first permit {back:.2?} after etcd's return; answers: {:?}",
        heard.answers()
    ));
    let bound = before + MOST_BYTES_EACH * u64::try_from(CALLERS).expect("few");
    assert!(most < bound, "{most_mib} MiB are too much");
}

/// Asks, waits as long as it may, and asks again.
async fn call(mut door: QuotaServiceClient<Channel>, org: String, heard: Arc<Heard>) {
    loop {
        let mut request = Request::new(AcquireRequest {
            org: org.clone(),
            operation: STRICT[0].operation.to_owned(),
            execution_user: "crowd".to_owned(),
            max_wait: WAIT.try_into().ok(),
            ..AcquireRequest::default()
        });
        request.set_timeout(WAIT + PATIENCE);
        heard.open.fetch_add(1, Ordering::Relaxed);
        let answer = door.acquire(request).await;
        heard.open.fetch_sub(1, Ordering::Relaxed);
        let said = match answer.map(|answer| answer.into_inner().outcome) {
            Ok(Some(Outcome::Permit(_))) => "a permit".to_owned(),
            Ok(Some(Outcome::Denial(denial))) => denial.reason().as_str_name().to_owned(),
            Ok(None) => "nothing".to_owned(),
            Err(status) => format!("{:?}", status.code()),
        };
        *heard.lock().entry(said).or_default() += 1;
        sleep(REST).await;
    }
}

impl Heard {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, u64>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answers(&self) -> BTreeMap<String, u64> {
        self.lock().clone()
    }

    fn granted(&self) -> u64 {
        self.lock().get("a permit").copied().unwrap_or_default()
    }

    /// Waits for something to come about; how many requests are open then.
    async fn waits_for(&self, is_so: impl Fn(usize, &BTreeMap<String, u64>) -> bool) -> usize {
        let comes_about = async {
            loop {
                let open = self.open.load(Ordering::Relaxed);
                if is_so(open, &self.answers()) {
                    return open;
                }
                sleep(LOOK).await;
            }
        };
        let came = timeout(PATIENCE, comes_about).await;
        came.unwrap_or_else(|_| panic!("nothing comes of it: {self:?}"))
    }
}

/// The memory that a process has now, where the system tells it.
fn resident_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib << 10)
}
