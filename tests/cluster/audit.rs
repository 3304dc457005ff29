//! Whether every permit is accounted for: what etcd says is spent, read straight
//! from it, against what callers were granted; and `quotagate audit`, which reads
//! etcd alone.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use etcd_client::{Client, ConnectOptions, GetOptions};
use quotagate::{
    clock::Clock,
    quota::{CounterRecord, Group, GroupRecord, Wall},
    standin::options::REST,
    store::{Key, Record as _},
};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    limits::{LONG, PLENTY, STRICT, Spec, total},
    load::{Grant, Ledger},
    process::program,
};

/// Whose counters a record holds: an org's, or one user's of it.
type Owner = (String, Option<String>);

/// What was compared.
#[derive(Clone, Copy, Debug, Default)]
pub struct Audit {
    /// Counters.
    pub counters: usize,
    /// Units that callers were granted, in the windows that end now.
    pub granted: u64,
    /// Units that the records count.
    pub counted: u64,
}

/// What is inherited counts for so much longer.
const INHERITED: Duration = Duration::from_secs(4);

/// How long each audit watches what is written.
const WATCHED_FOR: Duration = Duration::from_secs(3);

/// How long a member may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Compares the records with what callers were granted.
///
/// # Panics
/// If a counter has fewer units than callers were granted within its window.
pub async fn every_permit_is_counted(endpoints: &[String], ledger: &Ledger) -> Audit {
    let granted_before = ledger.grants();
    let now = Clock::default().now().wall;
    let records = records(endpoints).await;
    let read = Instant::now();
    // As they are now: what was given back meanwhile need not be counted.
    let grants = ledger.seen().grants;
    compare(&grants[..granted_before], read, &records, now)
        .unwrap_or_else(|fault| panic!("{fault}"))
}

/// `grants` came before `records` were read, which was after `now` and before
/// `read`.
fn compare(
    grants: &[Grant],
    read: Instant,
    records: &BTreeMap<Owner, GroupRecord>,
    now: Wall,
) -> Result<Audit, String> {
    let mut granted = BTreeMap::<(Owner, &str), u64>::new();
    for grant in grants {
        let limit = charged_by(grant.job.operation);
        // It may have left already if it was granted when it was asked for.
        if grant.asked + limit.window > read {
            let user = (limit.name != "calls").then(|| grant.job.user.to_owned());
            let owner = (grant.job.org.clone(), user);
            *granted.entry((owner, limit.name)).or_default() += u64::from(grant.calls);
        }
    }
    let mut audit = Audit { counters: granted.len(), ..Audit::default() };
    for ((owner, limit), granted) in granted {
        let record = records.get(&owner);
        let counters = record.iter().flat_map(|record| &record.counters);
        let counters = counters.filter(|counter| counter.limit.as_str() == limit);
        let counted: u64 = counters.map(|counter| in_force(counter, now)).sum();
        if counted < granted {
            return Err(format!(
                "{owner:?}, {limit}: callers were granted {granted}, and the record counts \
                 {counted}: {record:#?}"
            ));
        }
        audit.granted += granted;
        audit.counted += counted;
    }
    Ok(audit)
}

/// The units that a record counts, open ones too.
fn in_force(counter: &CounterRecord, now: Wall) -> u64 {
    let spent = counter.sealed.iter().chain(&counter.lost);
    let in_force = spent.filter(|(stamp, _)| *stamp + counter.window + INHERITED >= now);
    in_force.map(|(_, units)| units).sum::<u64>() + counter.open
}

/// `quotagate audit`, again and again. It ends when it is dropped.
#[derive(Debug)]
pub struct Watchman {
    looking: JoinSet<()>,
    seen: Arc<Mutex<Rounds>>,
}

/// What the watchman has seen.
#[derive(Clone, Debug, Default)]
pub struct Rounds {
    /// Audits that said that nothing was violated.
    pub good: u64,
    /// Audits that could not be made: etcd was away.
    pub not_made: u64,
    /// What those said that found something.
    pub bad: Vec<String>,
}

impl Watchman {
    /// Goes to work on a store, whose address is a value of `--store`.
    pub fn start(store: String) -> Self {
        let seen = Arc::<Mutex<Rounds>>::default();
        let mut looking = JoinSet::new();
        let told = Arc::clone(&seen);
        looking.spawn(async move {
            loop {
                let audited = audit_command(&store, WATCHED_FOR).await;
                let mut seen = told.lock().unwrap_or_else(PoisonError::into_inner);
                match audited {
                    Ok(()) => seen.good += 1,
                    Err(said) if said.contains("VIOLATED") => seen.bad.push(said),
                    Err(_) => seen.not_made += 1,
                }
            }
        });
        Self { looking, seen }
    }

    /// It is still at work.
    pub fn is_well(&mut self) {
        assert!(self.looking.try_join_next().is_none(), "an audit goes on");
    }

    /// What it has seen until now.
    pub fn seen(&self) -> Rounds {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Runs `quotagate audit` to its end; what it says unless it finds all well.
pub async fn audit_command(store: &str, time: Duration) -> Result<(), String> {
    let time = format!("{}s", time.as_secs());
    let mut command = program(&["audit", "--store", store, "--duration", &time]);
    let output = command.output().await.expect("the program runs");
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(String::from_utf8_lossy(&said).into_owned())
}

/// What is set aside and was not granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Units of blocks that are open: of nodes that run, and of dead ones where
    /// nobody has used the counter since.
    pub open: u64,
    /// Units of blocks that were open when their node died, and have not left.
    pub lost: u64,
}

/// What all records hold.
pub async fn held(endpoints: &[String]) -> Held {
    let records = records(endpoints).await;
    let counters = || records.values().flat_map(|record| &record.counters);
    Held {
        open: counters().map(|counter| counter.open).sum(),
        lost: counters().flat_map(|counter| &counter.lost).map(|(_, units)| units).sum(),
    }
}

/// The window that an operation charges.
fn charged_by(operation: &str) -> Spec {
    if [REST, LONG].contains(&operation) {
        return total(0);
    }
    let specs = STRICT.into_iter().chain([PLENTY]);
    specs.into_iter().find(|spec| spec.operation == operation).expect("one of ours")
}

/// Every record of counters, by org and user. Workspaces have none here.
async fn records(endpoints: &[String]) -> BTreeMap<Owner, GroupRecord> {
    let mut failures = Vec::new();
    for endpoint in endpoints {
        match pairs(endpoint).await {
            Ok(pairs) => return pairs.iter().filter_map(|(key, value)| read(key, value)).collect(),
            Err(error) => failures.push(format!("{endpoint}: {error}")),
        }
    }
    panic!("no member of etcd answers: {failures:?}");
}

fn read(key: &str, value: &[u8]) -> Option<(Owner, GroupRecord)> {
    // Behind the cluster's prefix.
    let key = &key[key.find("shards/")?..];
    let Ok(Key::Counters { org, group }) = key.parse() else { return None };
    let user = match group {
        Group::Org => None,
        Group::User(user) => Some(user.to_string()),
        Group::Workspace(_) => return None,
    };
    let record = GroupRecord::decode(value).unwrap_or_else(|error| panic!("{key}: {error}"));
    Some(((org.to_string(), user), record))
}

/// All that a member holds, as of the latest revision.
async fn pairs(endpoint: &str) -> Result<Vec<(String, Vec<u8>)>, etcd_client::Error> {
    let options = ConnectOptions::new().with_connect_timeout(PATIENCE).with_timeout(PATIENCE);
    let mut client = Client::connect([endpoint], Some(options)).await?;
    let answer = client.get("", Some(GetOptions::new().with_all_keys())).await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(answer.kvs().iter().map(|pair| (text(pair.key()), pair.value().to_vec())).collect())
}

#[cfg(test)]
mod tests {
    use quotagate::{
        quota::{Kind, LimitName},
        standin::options::GET_ENTRIES,
    };

    use super::*;
    use crate::load::saturating;

    const NOW: Wall = Wall(1_000_000_000_000_000);

    /// Seven calls of a window of two seconds were granted so long ago, and the
    /// record counts these units with a stamp of so long ago, and these as open.
    fn check(granted_ago: Duration, sealed: u64, stamp_ago: Duration, open: u64, good: bool) {
        let (job, _) = saturating("o").swap_remove(0);
        assert_eq!((job.operation, charged_by(job.operation).window.as_secs()), (GET_ENTRIES, 2));
        let read = Instant::now() + Duration::from_secs(60);
        let owner = (job.org.clone(), Some(job.user.to_owned()));
        let grant = Grant { job: Arc::new(job), calls: 7, asked: read - granted_ago };
        let counter = CounterRecord {
            limit: LimitName::parse("entries").expect("a good name"),
            kind: Kind::Window,
            window: Duration::from_secs(2),
            ttl_cap: Duration::from_secs(1),
            sealed: vec![(NOW - stamp_ago, sealed)],
            lost: vec![],
            open,
            open_until: NOW,
            bound: Some(20),
            cooling: None,
        };
        let record = GroupRecord { counters: vec![counter], ..GroupRecord::default() };
        let compared = compare(&[grant], read, &BTreeMap::from([(owner, record)]), NOW);
        assert_eq!(compared.is_ok(), good, "{compared:?}");
    }

    #[test]
    fn a_permit_that_no_record_counts_is_found() {
        let seconds = Duration::from_secs;
        check(seconds(1), 7, seconds(1), 0, true);
        check(seconds(1), 3, seconds(1), 4, true);
        check(seconds(1), 0, seconds(1), 7, true);
        check(seconds(1), 6, seconds(1), 0, false);
        check(seconds(1), 3, seconds(1), 3, false);
        // Units that have left do not count, and neither do permits.
        check(seconds(1), 7, seconds(7), 0, false);
        check(seconds(2), 0, seconds(7), 0, true);
    }
}
