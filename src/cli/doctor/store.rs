//! What holds the counters.

use std::{path::Path, time::Duration};

use rustix::fs::{Access, access, statvfs};

use super::finding::{Level, Report};
use crate::{
    cli::table::human,
    store::{
        self, Key, StoreAddress, StoreOptions,
        etcd::examine::{Examined, Says},
        keys::META,
        open::examine,
    },
};

/// The oldest etcd that is tested with.
const OLDEST: (u64, u64) = (3, 4);

/// A read that takes longer costs every first Acquire as much.
const SLOW: Duration = Duration::from_millis(100);

/// So much of etcd's quota, in percent, asks for compaction or more room: at 100 % it
/// takes no writes.
const FULL: u64 = 80;

/// etcd's own default, for versions that do not say.
const DEFAULT_QUOTA: u64 = 2 << 30;

/// A directory with less is full within days.
const LITTLE: u64 = 1 << 30;

pub async fn look(address: &StoreAddress, options: &StoreOptions, report: &mut Report) {
    match address {
        StoreAddress::Memory => {
            let remedy = "use file:DIR or etcd://…, unless this is a trial";
            report.warn("store", "memory: forgets every count at the end", remedy);
        }
        StoreAddress::File(dir) => look_at_directory(dir, report),
        StoreAddress::Etcd(etcd) => match examine(etcd, options).await {
            Err(error) => {
                report.fail("store", error.to_string(), "correct --store and its options");
            }
            Ok(members) => {
                let votes = members.iter().filter(|member| member.says.is_ok()).count();
                judge(&members, report);
                if votes > 0 {
                    look_for_cluster(address, options, report).await;
                }
            }
        },
    }
}

fn look_at_directory(dir: &Path, report: &mut Report) {
    let name = dir.display();
    if let Err(error) = access(dir, Access::EXISTS) {
        let remedy = "the service makes it when it starts, if it may; else see to its parents";
        return report.warn("store", format!("{name}: {error}"), remedy);
    }
    if let Err(error) = access(dir, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) {
        let remedy = "give this user the directory: the service runs as somebody who can write";
        return report.fail("store", format!("{name} cannot be written to: {error}"), remedy);
    }
    match statvfs(dir) {
        Err(error) => report.warn("store", format!("{name}: {error}"), "see to the disk"),
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let text = format!("{name} can be written to, {} MiB are free", free >> 20);
            if free < LITTLE {
                report.warn("store", text, "make room: a full disk ends every decision");
            } else {
                report.ok("store", text);
            }
        }
    }
}

/// Judges the members one by one and together.
fn judge(members: &[Examined], report: &mut Report) {
    for Examined { endpoint, says } in members {
        let (level, text, remedy) = match says {
            Ok(says) => judge_member(endpoint, says),
            Err(why) => {
                let why = why.trim_start_matches(&format!("{endpoint}: "));
                let text = format!("{endpoint} does not answer: {why}");
                (Level::Warn, text, "start it, or mend the way to it, or name another one")
            }
        };
        report.find(level, "etcd", text, remedy);
    }
    let up: Vec<&Says> = members.iter().filter_map(|member| member.says.as_ref().ok()).collect();
    let (count, named) = (up.len(), members.len());
    let Some(first) = up.first() else {
        let remedy = "without etcd nothing is decided: start it, and see to --store, its \
                      certificates and its user";
        return report.fail("etcd", format!("none of {named} members answers"), remedy);
    };
    if up.iter().any(|says| says.cluster != first.cluster) {
        let remedy = "name the members of one etcd: counts would be split between two";
        report.fail("etcd", "the members are of different clusters", remedy);
    }
    if up.iter().all(|says| says.leader == 0) {
        let remedy = "bring a majority of its members up: without a leader nothing is written";
        report.fail("etcd", "etcd has no leader", remedy);
    }
    if up.iter().any(|says| says.version != first.version) {
        let versions: Vec<&str> = up.iter().map(|says| &*says.version).collect();
        let text = format!("the members have different versions: {}", versions.join(", "));
        report.warn("etcd", text, "finish the upgrade");
    }
    if named == 1 {
        let remedy = "name all members: with one, its end is the end of every decision";
        report.warn("etcd", "one member is named", remedy);
    } else if 2 * count <= named {
        let text = format!("{count} of {named} members answer: that is no majority");
        report.fail("etcd", text, "bring the others up");
    } else {
        report.ok("etcd", format!("{count} of {named} members answer"));
    }
}

fn judge_member(endpoint: &str, says: &Says) -> (Level, String, &'static str) {
    let Says { version, bytes, most_bytes, alarms, round_trip, is_learner, .. } = says;
    let quota = most_bytes.unwrap_or(DEFAULT_QUOTA);
    let used = bytes.saturating_mul(100) / quota.max(1);
    let text = format!(
        "{endpoint}: version {version}, a read in {}, {} of {} MiB used",
        human(*round_trip),
        bytes >> 20,
        quota >> 20
    );
    if alarms.iter().any(|alarm| alarm == "CORRUPT") {
        let remedy = "take the member out and add it anew, with an empty directory";
        return (Level::Fail, format!("{text}; its data are corrupt"), remedy);
    }
    if !alarms.is_empty() {
        let remedy = "it takes no writes: compact, defragment, and disarm (etcdctl alarm disarm)";
        return (Level::Fail, format!("{text}; its room is used up"), remedy);
    }
    if is_older(version, OLDEST) {
        return (Level::Fail, text, "etcd 3.4 or newer is needed");
    }
    if used >= FULL {
        let remedy = "compact and defragment, or give etcd a larger --quota-backend-bytes";
        return (Level::Warn, text, remedy);
    }
    if *round_trip > SLOW {
        let remedy = "see to its disk and to the way there: every first Acquire waits as long";
        return (Level::Warn, text, remedy);
    }
    if *is_learner {
        return (Level::Warn, format!("{text}; it does not vote"), "promote it (etcdctl member)");
    }
    (Level::Ok, text, "")
}

fn is_older(version: &str, oldest: (u64, u64)) -> bool {
    let mut parts = version.split('.').map(str::parse::<u64>);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) < oldest,
        _ => false,
    }
}

async fn look_for_cluster(address: &StoreAddress, options: &StoreOptions, report: &mut Report) {
    let found = match store::open(address, options) {
        Ok(opened) => opened.store.range(META).await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let generation: String = Key::Generation.into();
    match found {
        Err(error) => report.fail("cluster", error, "see to etcd, and to the user's rights"),
        Ok(entries) if entries.iter().any(|entry| entry.key == generation) => {
            report.ok("cluster", format!("there is a cluster at {address}"));
        }
        Ok(_) => {
            let remedy = "correct the prefix, or start one node with --create-cluster, once";
            report.warn("cluster", format!("there is no cluster at {address}"), remedy);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says() -> Says {
        Says {
            id: 1,
            cluster: 7,
            version: "3.6.1".to_owned(),
            leader: 1,
            bytes: 20 << 20,
            most_bytes: Some(2 << 30),
            round_trip: Duration::from_millis(2),
            ..Says::default()
        }
    }

    #[test]
    fn each_member_is_judged_and_all_of_them_together() {
        let up = |says: Says| Ok(says);
        let down = || Err::<Says, _>("connection refused".to_owned());
        let alarm = |name: &str| Says { alarms: vec![name.to_owned()], ..says() };
        // (the members, how bad, what is said)
        for (members, level, words) in [
            (vec![up(says())], Level::Warn, "one member is named"),
            (vec![up(says())], Level::Ok, "version 3.6.1, a read in 2 ms, 20 of 2048 MiB used"),
            (vec![up(says()), up(says()), down()], Level::Ok, "2 of 3 members answer"),
            (vec![up(says()), up(says()), down()], Level::Warn, "does not answer: connection"),
            (vec![up(says()), down(), down()], Level::Fail, "1 of 3 members answer"),
            (vec![down(), down(), down()], Level::Fail, "none of 3 members answers"),
            (vec![up(alarm("NOSPACE"))], Level::Fail, "its room is used up"),
            (vec![up(alarm("CORRUPT"))], Level::Fail, "its data are corrupt"),
            (vec![up(Says { version: "3.3.27".into(), ..says() })], Level::Fail, "version 3.3.27"),
            (vec![up(Says { bytes: 1_700 << 20, ..says() })], Level::Warn, "1700 of 2048 MiB"),
            (
                vec![up(Says { bytes: 1_700 << 20, most_bytes: Some(8 << 30), ..says() })],
                Level::Ok,
                "1700 of 8192 MiB",
            ),
            (
                vec![up(Says { round_trip: Duration::from_millis(150), ..says() })],
                Level::Warn,
                "a read in 150 ms",
            ),
            (vec![up(Says { leader: 0, ..says() })], Level::Fail, "has no leader"),
            (
                vec![up(says()), up(Says { cluster: 8, ..says() })],
                Level::Fail,
                "of different clusters",
            ),
            (
                vec![up(says()), up(Says { version: "3.5.9".into(), ..says() })],
                Level::Warn,
                "different versions: 3.6.1, 3.5.9",
            ),
        ] {
            let members: Vec<Examined> =
                members.into_iter().map(|says| Examined { endpoint: "e:1".into(), says }).collect();
            let mut report = Report::default();
            judge(&members, &mut report);
            report.assert_has(level, "etcd", words);
        }
    }

    #[test]
    fn a_directory_is_there_and_takes_writes() {
        let home = tempfile::tempdir().expect("a place for temporary files");
        let mut report = Report::default();
        look_at_directory(home.path(), &mut report);
        look_at_directory(&home.path().join("none"), &mut report);
        report.assert_has(Level::Warn, "store", "No such file");
        assert_eq!(report.fails(), 0);
    }
}
