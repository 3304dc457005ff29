//! `quotagate audit`: proves from the store alone that no limit was overrun.

use std::{
    io::{IsTerminal as _, stderr},
    time::Duration,
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tokio::{
    select,
    time::{Instant, interval_at, sleep_until, timeout},
};

use super::{
    exit::{Exit, Fault},
    output::{self, Format},
    table::{Align, Table, thousands},
};
use crate::{
    cluster::audit::{Audit, Standing, WATCHED},
    quota::Group,
    store::{self, SharedStore, StoreAddress, StoreOptions},
};

pub const HELP: &str = "\
It reads the store and nothing else, while the cluster runs. Each record that is
written meanwhile is compared with the one before it: together, the units that
are spent, lost and set aside never pass what the settings allow (invariant I1),
and nobody writes after the shard has changed its owner (I3).
Exits with 1 if something was violated.

Examples:
  quotagate audit --store etcd://127.0.0.1:2379
  quotagate audit --store etcd://127.0.0.1:2379 --duration 10m
  quotagate audit --store etcd://127.0.0.1:2379 --duration 0s --counters";

/// What to audit.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// The cluster's store
    #[arg(long, value_name = "STORE")]
    store: StoreAddress,
    #[command(flatten)]
    options: StoreOptions,
    /// How long to watch what is written; 0s looks at what stands
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = crate::duration::parse)]
    duration: Duration,
    /// Show every counter
    #[arg(long)]
    counters: bool,
    /// How to print the result: for people, or as JSON
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,
}

/// What stands is told within this, or the store cannot be reached.
const FIRST_LISTING: Duration = Duration::from_secs(10);

/// How often the owners of what was written are compared, and progress is shown.
const LOOK: Duration = Duration::from_secs(1);

/// Audits.
pub async fn audit(args: AuditArgs) -> Result<Exit, Fault> {
    let opened = store::open(&args.store, &args.options);
    let store = opened.map_err(|error| Fault::failure(format!("{error:#}")))?.store;
    let mut audit = Audit::default();
    watch(&store, &mut audit, args.duration).await?;
    let counted = audit.counted();
    match args.output {
        Format::Json => output::print(&format!("{:#}\n", as_json(&audit)))?,
        Format::Table => {
            let mut text = String::new();
            if args.counters {
                text.push_str(&table(&audit));
                text.push('\n');
            }
            text.push_str(&format!(
                "{} counters in {} records; {} writes and {} changes of owners while watching",
                thousands(counted.counters as u64),
                thousands(counted.records as u64),
                thousands(counted.writes),
                thousands(counted.owner_changes),
            ));
            if counted.gaps > 0 {
                text.push_str(&format!("; changes were missed {} times", counted.gaps));
            }
            text.push('\n');
            for violation in audit.violations() {
                text.push_str(&format!("VIOLATED {violation}\n"));
            }
            text.push_str(match audit.violations().len() {
                0 => "no invariant was violated\n",
                _ => "INVARIANTS WERE VIOLATED\n",
            });
            output::print(&text)?;
        }
    }
    Ok(if audit.violations().is_empty() { Exit::Done } else { Exit::Failure })
}

async fn watch(store: &SharedStore, audit: &mut Audit, duration: Duration) -> Result<(), Fault> {
    let Some(sessions) = store.sessions() else {
        return Err(Fault::usage(
            "--store: only a store that processes share can be audited while they run: etcd://…",
        ));
    };
    let [mut owners, mut counters] = WATCHED.map(|prefix| sessions.watch(prefix));
    let first = async { (owners.recv().await, counters.recv().await) };
    let (Some(owners_first), Some(counters_first)) =
        timeout(FIRST_LISTING, first).await.unwrap_or_default()
    else {
        return Err(lost());
    };
    audit.take_in(WATCHED[0], &owners_first);
    audit.take_in(WATCHED[1], &counters_first);
    let progress = progress(duration);
    let until = Instant::now() + duration;
    let mut looks = interval_at(Instant::now() + LOOK, LOOK);
    // Writes are settled one look later: by then the owners have been told.
    let mut settle_up_to = 0;
    while Instant::now() < until {
        select! {
            told = owners.recv() => audit.take_in(WATCHED[0], &told.ok_or_else(lost)?),
            told = counters.recv() => audit.take_in(WATCHED[1], &told.ok_or_else(lost)?),
            _ = looks.tick() => {
                audit.settle(settle_up_to);
                settle_up_to = audit.last_write().unwrap_or(settle_up_to);
                let counted = audit.counted();
                progress.inc(LOOK.as_secs());
                progress.set_message(format!(
                    "{} counters, {} writes, {} violations",
                    counted.counters, counted.writes, audit.violations().len()
                ));
            }
            () = sleep_until(until) => {}
        }
    }
    progress.finish_and_clear();
    audit.settle(settle_up_to);
    Ok(())
}

fn lost() -> Fault {
    Fault::unavailable("the store does not answer: see to --store and to etcd")
}

fn progress(duration: Duration) -> ProgressBar {
    if !stderr().is_terminal() || duration.is_zero() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(duration.as_secs());
    let style = ProgressStyle::with_template("{bar:30} {elapsed} of {len} s: {msg}");
    bar.with_style(style.expect("the template is well formed"))
}

fn table(audit: &Audit) -> String {
    let mut table = Table::new([
        ("ORG", Align::Left),
        ("OF", Align::Left),
        ("LIMIT", Align::Left),
        ("SPENT", Align::Right),
        ("LOST", Align::Right),
        ("SET ASIDE", Align::Right),
        ("ALLOWED", Align::Right),
        ("EPOCH", Align::Right),
    ]);
    for standing in audit.standing() {
        table.row([
            standing.org.to_string(),
            of(&standing),
            standing.limit.clone(),
            thousands(standing.spent),
            thousands(standing.lost),
            thousands(standing.open),
            standing.bound.map(thousands).unwrap_or_default(),
            standing.epoch.to_string(),
        ]);
    }
    table.render()
}

fn of(standing: &Standing) -> String {
    match &standing.group {
        Group::Org => "the org".to_owned(),
        Group::User(user) => format!("user {user}"),
        Group::Workspace(workspace) => format!("workspace {workspace}"),
    }
}

fn as_json(audit: &Audit) -> Value {
    let counted = audit.counted();
    let counters: Vec<Value> = audit
        .standing()
        .map(|standing| {
            json!({
                "org": standing.org.to_string(),
                "of": of(&standing),
                "limit": standing.limit,
                "spent": standing.spent,
                "lost": standing.lost,
                "open": standing.open,
                "total": standing.total(),
                "bound": standing.bound,
                "epoch": standing.epoch,
                "writtenMs": standing.written.0 / 1_000,
            })
        })
        .collect();
    let violations: Vec<Value> = audit
        .violations()
        .iter()
        .map(|violation| {
            json!({
                "id": violation.id,
                "key": violation.key,
                "revision": violation.revision,
                "text": violation.text,
            })
        })
        .collect();
    json!({
        "records": counted.records,
        "writes": counted.writes,
        "ownerChanges": counted.owner_changes,
        "gaps": counted.gaps,
        "violations": violations,
        "counters": counters,
    })
}
