//! Whether every permit is accounted for: what etcd says is spent, read straight
//! from it, against what callers were granted.

use std::{collections::BTreeMap, time::Duration};

use etcd_client::{Client, ConnectOptions, GetOptions};
use quotagate::{
    clock::Clock,
    quota::{Group, GroupRecord},
    standin::options::REST,
    store::{Key, Record as _},
};
use tokio::time::Instant;

use crate::{
    limits::{LONG, PLENTY, STRICT, Spec, total},
    load::Ledger,
};

/// A counter: the org, the user unless it is the org's own, and the limit.
type Counter = (String, Option<String>, &'static str);

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
    let mut granted = BTreeMap::<Counter, u64>::new();
    for grant in &grants[..granted_before] {
        let Some(limit) = charged_by(grant.job.operation) else { continue };
        // It may have left already if it was granted when it was asked for.
        if grant.asked + limit.window > read {
            let of_org = limit.name == "calls";
            let user = (!of_org).then(|| grant.job.user.to_owned());
            let counter = (grant.job.org.clone(), user, limit.name);
            *granted.entry(counter).or_default() += u64::from(grant.calls);
        }
    }
    let mut audit = Audit { counters: granted.len(), ..Audit::default() };
    for (counter, granted) in granted {
        let (org, user, name) = &counter;
        let record = records.get(&(org.clone(), user.clone()));
        let counters = record.iter().flat_map(|record| &record.counters);
        let counted: u64 = counters
            .filter(|counter| counter.limit.as_str() == *name)
            .map(|counter| {
                let spent = counter.sealed.iter().chain(&counter.lost);
                let in_force =
                    spent.filter(|(stamp, _)| *stamp + counter.window + INHERITED >= now);
                in_force.map(|(_, units)| units).sum::<u64>() + counter.open
            })
            .sum();
        assert!(
            counted >= granted,
            "{counter:?}: callers were granted {granted}, and the record counts {counted}: \
             {record:#?}"
        );
        audit.granted += granted;
        audit.counted += counted;
    }
    audit
}

/// What is set aside and was not granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Units of blocks that are open.
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

fn charged_by(operation: &str) -> Option<Spec> {
    if [REST, LONG].contains(&operation) {
        return Some(total(0));
    }
    STRICT.iter().chain([&PLENTY]).find(|spec| spec.operation == operation).copied()
}

/// Every record of counters, by org and user. Workspaces have none here.
async fn records(endpoints: &[String]) -> BTreeMap<(String, Option<String>), GroupRecord> {
    let mut failures = Vec::new();
    for endpoint in endpoints {
        match pairs(endpoint).await {
            Ok(pairs) => return pairs.iter().filter_map(|(key, value)| read(key, value)).collect(),
            Err(error) => failures.push(format!("{endpoint}: {error}")),
        }
    }
    panic!("no member of etcd answers: {failures:?}");
}

fn read(key: &str, value: &[u8]) -> Option<((String, Option<String>), GroupRecord)> {
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
