//! etcd is restored from a backup: the procedure of docs/operations.md with the
//! programs that it names, and what comes of leaving a part of it out. A strict
//! stand-in for Salesforce has seen the calls that the backup does not know of.

use std::{path::PathBuf, time::Duration};

use quotagate::{
    proto::v1::{AcquireRequest, Permit, ReportRequest, acquire_response::Outcome},
    standin::{StandIn, options::REST},
};
use tokio::{
    task::block_in_place,
    time::{Instant, sleep},
};

use crate::{
    audit::audit_command,
    etcd::{Etcd, Which},
    limits,
    node::PATIENCE,
    salesforce::{Call, Salesforce},
    scale::Cluster,
    world::{MEMBERS, NODES, ONE_AT_A_TIME, PREFIX, duration_setting, say},
};

/// Calls that each org may make in 24 hours.
const DAY: u64 = 200;

/// All of them were used after the backup.
const SPENT: &str = "spent";

/// Half of them were used, most of it after the backup.
const HALF: &str = "half";

/// As the runbook has it: what was read before is taken for current by nobody.
const BY_THE_BOOK: [&str; 3] = ["--bump-revision", "1000000000", "--mark-compacted"];

/// A cluster, and the stand-in that has seen all calls.
struct Restored {
    cluster: Cluster,
    standin: StandIn,
    salesforce: Salesforce,
}

impl Restored {
    /// Uses some, saves a snapshot, and uses the rest of one org and a half of the
    /// other. `None` where something is not installed, which has been said then.
    async fn prepare() -> Option<(Self, PathBuf)> {
        let etcd = block_in_place(|| Etcd::start(MEMBERS, Which::Current))?;
        let standin = StandIn::start(limits::salesforce(DAY)).await.expect("a free port");
        let salesforce = Salesforce::new(&standin.url());
        let mut it = Self { cluster: Cluster::of_orgs(etcd, DAY), standin, salesforce };
        it.start_nodes(true).await;
        assert_eq!((it.uses(SPENT, 30).await, it.uses(HALF, 30).await), (30, 30));
        let snapshot = block_in_place(|| it.cluster.etcd.save())?;
        assert_eq!((it.uses(SPENT, 170).await, it.uses(HALF, 70).await), (170, 70));
        assert_eq!(it.uses(SPENT, 1).await, 0, "all of it is used");
        Some((it, snapshot))
    }

    async fn start_nodes(&mut self, creates_cluster: bool) {
        for number in 0..NODES {
            self.cluster.start(number, creates_cluster && number == 0).await;
        }
        self.cluster.is_balanced().await;
    }

    /// With all nodes stopped, as the runbook says.
    async fn restore(&mut self, snapshot: &std::path::Path) {
        self.cluster.stop().await;
        let restored = block_in_place(|| self.cluster.etcd.restore(snapshot, &BY_THE_BOOK));
        restored.expect("etcdutl is beside etcdctl");
    }

    /// Makes as many calls as are granted of so many; each is made at Salesforce,
    /// whatever that says, and not reported.
    async fn uses(&self, org: &str, calls: u64) -> u64 {
        let mut made = 0;
        while made < calls {
            let Some(permit) = self.asks(org, calls - made).await else { break };
            for _ in 0..permit.calls {
                let call = Call { org, user: "somebody", operation: REST, runs: Duration::ZERO };
                self.salesforce.call(call).await;
            }
            made += u64::from(permit.calls);
        }
        made
    }

    /// A permit for at most so many calls, or none: denied.
    async fn asks(&self, org: &str, calls: u64) -> Option<Permit> {
        let start = Instant::now();
        loop {
            let request = AcquireRequest {
                org: org.into(),
                operation: REST.into(),
                calls: u32::try_from(calls).expect("few"),
                min_calls: 1,
                ..Default::default()
            };
            let answer = self.cluster.node(0).quota.clone().acquire(request).await;
            match answer.map(|answer| answer.into_inner().outcome) {
                Ok(Some(Outcome::Permit(permit))) => return Some(permit),
                Ok(_) => return None,
                Err(status) => assert!(start.elapsed() < PATIENCE, "{status}"),
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Somebody reads what Salesforce counts, as `quotagate poll-limits` does.
    async fn reads(&self, org: &str) {
        let usage = self.standin.handle.org_usage(org);
        let request = ReportRequest {
            org: org.into(),
            http_status: 200,
            limit_info: vec![format!("api-usage={}/{}", usage.used, usage.max)],
            ..Default::default()
        };
        self.cluster.node(0).quota.clone().report(request).await.expect("it takes readings");
    }

    /// Reads both orgs, and uses all that is granted of them then.
    async fn reads_and_uses(&self) -> [u64; 2] {
        self.reads(SPENT).await;
        self.reads(HALF).await;
        [self.uses(SPENT, DAY).await, self.uses(HALF, DAY).await]
    }

    async fn finish(mut self) {
        self.cluster.stop().await;
        let audited = audit_command(&self.cluster.etcd.store_address(PREFIX), Duration::ZERO).await;
        assert_eq!(audited, Ok(()), "quotagate audit finds nothing wrong");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restore_by_the_book_overruns_no_limit_and_a_later_reading_opens_the_day() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let Some((mut it, snapshot)) = Restored::prepare().await else { return };
    it.restore(&snapshot).await;
    it.cluster.starts_closed = true;
    it.start_nodes(false).await;
    assert_eq!((it.uses(SPENT, 50).await, it.uses(HALF, 50).await), (0, 0), "both are closed");
    // A call of before may be on its way yet: a reading of now need not contain it.
    assert_eq!(it.reads_and_uses().await, [0, 0], "a reading of now opens nothing");
    let is_waited_for = duration_setting("QUOTAGATE_CLUSTER_RESTORE", Duration::ZERO);
    if !is_waited_for.is_zero() {
        sleep(is_waited_for).await;
        let again = it.reads_and_uses().await;
        assert_eq!(again, [0, DAY / 2], "what Salesforce says is left, and no more");
        say(&format!("  opened by a reading after {is_waited_for:?}"));
    }
    assert_eq!(it.standin.handle.overruns(), [], "no limit is overrun");
    assert_eq!(it.standin.handle.counts().refused(), 0);
    say("a restore by the book: closed, nothing overrun");
    it.finish().await;
}

/// Why the runbook is as it is: nobody can see that the store went back while no node
/// ran.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restore_without_a_closed_start_grants_again_what_the_backup_does_not_know() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let Some((mut it, snapshot)) = Restored::prepare().await else { return };
    it.restore(&snapshot).await;
    it.start_nodes(false).await;
    let again = it.uses(SPENT, DAY).await;
    assert!(again > 0, "the backup knows of 30 calls only");
    let refused = it.standin.handle.counts().refused();
    assert_eq!(refused, again, "Salesforce had counted all of them");
    say(&format!("a restore without --cold-start closed: {again} calls too many were granted"));
    it.finish().await;
}
