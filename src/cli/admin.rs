//! Orgs, workspaces and execution users.

use std::{fmt::Write as _, fs, io::Read as _, path::PathBuf, time::Duration};

use clap::{Args, Subcommand};

use super::{
    Remote, changes,
    exit::{Exit, Fault},
    output::{answer, clean},
    table::{Align, Table, human, thousands, unless_zero},
    usage::wire,
};
use crate::{
    duration, json,
    proto::admin::v1::{
        BurnLimit, ClassThresholds, Classes, DeleteExecutionUserRequest, DeleteOrgRequest,
        DeleteWorkspaceRequest, GetOrgRequest, GetOrgResponse, ListOrgsRequest, ListOrgsResponse,
        Org, OrgEntry, OrgSource, PutExecutionUserRequest, PutOrgRequest, PutWorkspaceRequest,
        Workspace,
    },
};

pub const ORGS_HELP: &str = "\
Examples:
  quotagate orgs list
  quotagate orgs get --org acme
  quotagate orgs changes --org acme
  quotagate orgs put --org acme --daily-calls 100000 --execution-user alice --execution-user bob
  quotagate orgs get --org acme -o json | jq .entry.org > acme.json
  quotagate orgs put --org acme --from acme.json --validate-only";

pub const WORKSPACES_HELP: &str = "\
Examples:
  quotagate workspaces list --org acme
  quotagate workspaces put --org acme --workspace eu --daily-calls 5000
  quotagate workspaces put --org acme --workspace eu --daily-calls 5000 --classes event=70/50
  quotagate workspaces put --org acme --workspace eu --guaranteed-calls 2000 --burn-limit 10000/30m
  quotagate workspaces put --org acme --workspace eu --daily-calls 5000 --shadow
  quotagate workspaces delete --org acme --workspace eu";

pub const USERS_HELP: &str = "\
Examples:
  quotagate users list --org acme
  quotagate users put --org acme --execution-user 005000000000001AAA
  quotagate users delete --org acme --execution-user 005000000000001AAA";

/// What to do with orgs.
#[derive(Debug, Subcommand)]
pub enum Orgs {
    /// List the orgs that are declared or have counters
    List {
        /// At most this many orgs a page; every page is shown
        #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
        page_size: u32,
        #[command(flatten)]
        remote: Remote,
    },
    /// Show an org's settings and its last changes
    Get {
        #[command(flatten)]
        org: OrgName,
        #[command(flatten)]
        remote: Remote,
    },
    /// Show who has changed an org's settings: when, from where, and what
    ///
    /// The last 100 changes are kept, newest first. They are for those who may
    /// administer all of the org.
    Changes {
        #[command(flatten)]
        org: OrgName,
        #[command(flatten)]
        remote: Remote,
    },
    /// Declare an org; this replaces its whole declaration, workspaces included
    Put(Box<PutOrgArgs>),
    /// Withdraw an org's declaration; its counters stay until their windows have passed
    Delete {
        #[command(flatten)]
        org: OrgName,
        #[command(flatten)]
        condition: Condition,
        #[command(flatten)]
        remote: Remote,
    },
}

/// What to do with workspaces.
#[derive(Debug, Subcommand)]
pub enum Workspaces {
    /// List an org's declared workspaces
    List {
        #[command(flatten)]
        org: OrgName,
        #[command(flatten)]
        remote: Remote,
    },
    /// Declare a workspace; this replaces its whole declaration
    Put {
        #[command(flatten)]
        org: OrgName,
        /// The workspace
        #[arg(long, value_name = "WORKSPACE")]
        workspace: String,
        /// The most units in any 24 hours; 0 is no cap
        #[arg(long, value_name = "UNITS", default_value_t = 0)]
        daily_calls: u64,
        #[command(flatten)]
        thresholds: ThresholdArgs,
        #[command(flatten)]
        share: ShareArgs,
        #[command(flatten)]
        condition: Condition,
        #[command(flatten)]
        remote: Remote,
    },
    /// Withdraw a workspace's declaration
    Delete {
        #[command(flatten)]
        org: OrgName,
        /// The workspace
        #[arg(long, value_name = "WORKSPACE")]
        workspace: String,
        #[command(flatten)]
        condition: Condition,
        #[command(flatten)]
        remote: Remote,
    },
}

/// What to do with execution users.
#[derive(Debug, Subcommand)]
pub enum Users {
    /// List the users of an org's pool
    List {
        #[command(flatten)]
        org: OrgName,
        #[command(flatten)]
        remote: Remote,
    },
    /// Add a user to the pool
    Put {
        #[command(flatten)]
        org: OrgName,
        /// The Salesforce user
        #[arg(long, value_name = "USER")]
        execution_user: String,
        #[command(flatten)]
        condition: Condition,
        #[command(flatten)]
        remote: Remote,
    },
    /// Take a user out of the pool
    Delete {
        #[command(flatten)]
        org: OrgName,
        /// The Salesforce user
        #[arg(long, value_name = "USER")]
        execution_user: String,
        #[command(flatten)]
        condition: Condition,
        #[command(flatten)]
        remote: Remote,
    },
}

/// Fields of PutOrgRequest.
#[derive(Debug, Args)]
pub struct PutOrgArgs {
    #[command(flatten)]
    org: OrgName,
    /// Start from the org in this JSON file (`-` is standard input); options override it
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// The org's total in any 24 hours, until the first reading
    #[arg(long, value_name = "UNITS")]
    daily_calls: Option<u64>,
    /// The most that is used whatever a reading says; 0 is no bound
    #[arg(long, value_name = "UNITS")]
    daily_calls_max: Option<u64>,
    /// Slots for long-running requests
    #[arg(long, value_name = "N")]
    concurrent_calls: Option<u32>,
    /// Percent of the total kept for foreign traffic
    #[arg(long, value_name = "PERCENT")]
    reserve_percent: Option<u32>,
    /// A user of the pool; may be repeated
    #[arg(long, value_name = "USER")]
    execution_user: Vec<String>,
    /// How long Salesforce's own figure lags behind
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    header_lag: Option<Duration>,
    #[command(flatten)]
    thresholds: ThresholdArgs,
    #[command(flatten)]
    condition: Condition,
    #[command(flatten)]
    remote: Remote,
}

/// Which org.
#[derive(Debug, Args)]
pub struct OrgName {
    /// The Salesforce org
    #[arg(long, value_name = "ORG")]
    org: String,
}

/// When a class pauses.
#[derive(Debug, Args)]
pub struct ThresholdArgs {
    /// A named set of thresholds: default, strict or calm
    #[arg(long, value_name = "PRESET")]
    preset: Option<String>,
    /// Thresholds of one class, such as bulk=40/38 (pause/resume); may be repeated
    #[arg(long, value_name = "CLASS=PAUSE/RESUME", value_parser = thresholds)]
    classes: Vec<(Pausable, ClassThresholds)>,
}

/// What a workspace may have besides a cap.
#[derive(Debug, Args)]
pub struct ShareArgs {
    /// Its share where workspaces contend, against the others' weights, 1 to 1000 [default: 1]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    weight: u32,
    /// Units of the org's total in any 24 hours that no other workspace may take
    #[arg(long, value_name = "UNITS", default_value_t = 0, hide_default_value = true)]
    guaranteed_calls: u64,
    /// The most units in a shorter time, such as 10000/30m: a brake for run-away jobs
    #[arg(long, value_name = "UNITS/TIME", value_parser = burn_limit)]
    burn_limit: Option<BurnLimit>,
    /// Count and report its cap and its burn limit, and refuse nothing
    #[arg(long)]
    shadow: bool,
}

/// Under which condition.
#[derive(Debug, Args)]
pub struct Condition {
    /// Change it only if this is the org's present etag
    #[arg(long, value_name = "ETAG", default_value = "", hide_default_value = true)]
    etag: String,
    /// Check only, change nothing
    #[arg(long)]
    validate_only: bool,
}

/// A class that a workspace's cap can pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pausable {
    Bulk,
    Event,
    Interactive,
}

/// Carries out a command about orgs.
pub async fn orgs(verb: Orgs) -> Result<Exit, Fault> {
    match verb {
        Orgs::List { page_size, remote } => {
            let client = remote.connect().await?;
            let mut all = ListOrgsResponse::default();
            let mut page_token = String::new();
            loop {
                let page = client
                    .list_orgs(ListOrgsRequest { page_size, page_token, ..Default::default() })
                    .await?;
                all.orgs.extend(page.orgs);
                page_token = page.next_page_token;
                if page_token.is_empty() {
                    break;
                }
            }
            answer(remote.output, &all, orgs_text)?;
        }
        Orgs::Get { org: OrgName { org }, remote } => {
            let response = remote.connect().await?.get_org(GetOrgRequest { org }).await?;
            answer(remote.output, &response, org_text)?;
        }
        Orgs::Changes { org: OrgName { org }, remote } => {
            let response = remote.connect().await?.get_org(GetOrgRequest { org }).await?;
            let response = GetOrgResponse { entry: None, ..response };
            answer(remote.output, &response, changes::text)?;
        }
        Orgs::Put(args) => {
            let org = declared(&args)?;
            let Condition { etag, validate_only } = args.condition;
            let request = PutOrgRequest { org: Some(org), etag, validate_only };
            let response = args.remote.connect().await?.put_org(request).await?;
            answer(args.remote.output, &response, |response| {
                entry_text(response.entry.as_ref(), validate_only)
            })?;
        }
        Orgs::Delete { org: OrgName { org }, condition, remote } => {
            let Condition { etag, validate_only } = condition;
            let request = DeleteOrgRequest { org, etag, validate_only };
            let response = remote.connect().await?.delete_org(request).await?;
            let text = if validate_only { "would be withdrawn\n" } else { "withdrawn\n" };
            answer(remote.output, &response, |_| text.to_owned())?;
        }
    }
    Ok(Exit::Done)
}

/// Carries out a command about workspaces.
pub async fn workspaces(verb: Workspaces) -> Result<Exit, Fault> {
    match verb {
        Workspaces::List { org: OrgName { org }, remote } => {
            let response = remote.connect().await?.get_org(GetOrgRequest { org }).await?;
            answer(remote.output, &response, |response| {
                workspaces_text(declaration(response).map_or(&[], |org| &org.workspaces))
            })?;
        }
        Workspaces::Put {
            org: OrgName { org },
            workspace,
            daily_calls,
            thresholds,
            share,
            condition,
            remote,
        } => {
            let Condition { etag, validate_only } = condition;
            let workspace = Workspace {
                id: workspace,
                daily_calls,
                preset: thresholds.preset.unwrap_or_default(),
                classes: classes(&thresholds.classes, None),
                weight: share.weight,
                guaranteed_calls: share.guaranteed_calls,
                burn_limit: share.burn_limit,
                shadow: share.shadow,
            };
            let request =
                PutWorkspaceRequest { org, workspace: Some(workspace), etag, validate_only };
            let response = remote.connect().await?.put_workspace(request).await?;
            answer(remote.output, &response, |response| {
                entry_text(response.entry.as_ref(), validate_only)
            })?;
        }
        Workspaces::Delete { org: OrgName { org }, workspace, condition, remote } => {
            let Condition { etag, validate_only } = condition;
            let request = DeleteWorkspaceRequest { org, workspace, etag, validate_only };
            let response = remote.connect().await?.delete_workspace(request).await?;
            answer(remote.output, &response, |response| {
                entry_text(response.entry.as_ref(), validate_only)
            })?;
        }
    }
    Ok(Exit::Done)
}

/// Carries out a command about execution users.
pub async fn users(verb: Users) -> Result<Exit, Fault> {
    match verb {
        Users::List { org: OrgName { org }, remote } => {
            let response = remote.connect().await?.get_org(GetOrgRequest { org }).await?;
            answer(remote.output, &response, |response| {
                let users = declaration(response).map_or(&[][..], |org| &org.execution_users);
                users.iter().map(|user| clean(user) + "\n").collect()
            })?;
        }
        Users::Put { org: OrgName { org }, execution_user, condition, remote } => {
            let Condition { etag, validate_only } = condition;
            let request = PutExecutionUserRequest { org, execution_user, etag, validate_only };
            let response = remote.connect().await?.put_execution_user(request).await?;
            answer(remote.output, &response, |response| {
                entry_text(response.entry.as_ref(), validate_only)
            })?;
        }
        Users::Delete { org: OrgName { org }, execution_user, condition, remote } => {
            let Condition { etag, validate_only } = condition;
            let request = DeleteExecutionUserRequest { org, execution_user, etag, validate_only };
            let response = remote.connect().await?.delete_execution_user(request).await?;
            answer(remote.output, &response, |response| {
                entry_text(response.entry.as_ref(), validate_only)
            })?;
        }
    }
    Ok(Exit::Done)
}

/// The org as the file and the options declare it.
fn declared(args: &PutOrgArgs) -> Result<Org, Fault> {
    let mut org: Org = match &args.from {
        None => Org::default(),
        Some(path) => {
            let text = read(path).map_err(|error| {
                Fault::failure(format!("cannot read {}: {error}", path.display()))
            })?;
            json::from_slice(&text)
                .map_err(|error| Fault::usage(format!("{}: {error}", path.display())))?
        }
    };
    org.id.clone_from(&args.org.org);
    set(&mut org.daily_calls, args.daily_calls);
    set(&mut org.daily_calls_max, args.daily_calls_max);
    set(&mut org.concurrent_calls, args.concurrent_calls);
    org.reserve_percent = args.reserve_percent.or(org.reserve_percent);
    if !args.execution_user.is_empty() {
        org.execution_users.clone_from(&args.execution_user);
    }
    if let Some(lag) = args.header_lag {
        org.header_lag = Some(wire(lag)?);
    }
    set(&mut org.preset, args.thresholds.preset.clone());
    org.classes = classes(&args.thresholds.classes, org.classes);
    Ok(org)
}

fn read(path: &PathBuf) -> std::io::Result<Vec<u8>> {
    if path.as_os_str() != "-" {
        return fs::read(path);
    }
    let mut text = Vec::new();
    std::io::stdin().lock().read_to_end(&mut text)?;
    Ok(text)
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

fn classes(given: &[(Pausable, ClassThresholds)], base: Option<Classes>) -> Option<Classes> {
    given.iter().fold(base, |classes, (class, thresholds)| {
        let mut classes = classes.unwrap_or_default();
        let field = match class {
            Pausable::Bulk => &mut classes.bulk,
            Pausable::Event => &mut classes.event,
            Pausable::Interactive => &mut classes.interactive,
        };
        *field = Some(*thresholds);
        Some(classes)
    })
}

fn thresholds(text: &str) -> Result<(Pausable, ClassThresholds), String> {
    let bad = || "it is not CLASS=PAUSE/RESUME, such as bulk=40/38".to_owned();
    let (class, numbers) = text.split_once('=').ok_or_else(bad)?;
    let (pause, resume) = numbers.split_once('/').ok_or_else(bad)?;
    let class = match class {
        "bulk" => Pausable::Bulk,
        "event" => Pausable::Event,
        "interactive" => Pausable::Interactive,
        _ => return Err(format!("{class:?} is not bulk, event or interactive")),
    };
    let pause = pause.parse().map_err(|_| bad())?;
    let resume = resume.parse().map_err(|_| bad())?;
    Ok((class, ClassThresholds { pause, resume }))
}

fn burn_limit(text: &str) -> Result<BurnLimit, String> {
    let bad = || "it is not UNITS/TIME, such as 10000/30m".to_owned();
    let (calls, window) = text.split_once('/').ok_or_else(bad)?;
    let calls = calls.parse().map_err(|_| bad())?;
    let window = duration::parse(window).map_err(|_| bad())?;
    let window = prost_types::Duration::try_from(window).map_err(|_| bad())?;
    Ok(BurnLimit { calls, window: Some(window) })
}

fn declaration(response: &GetOrgResponse) -> Option<&Org> {
    response.entry.as_ref()?.org.as_ref()
}

fn orgs_text(response: &ListOrgsResponse) -> String {
    let mut table = Table::new([
        ("ORG", Align::Left),
        ("DAILY CALLS", Align::Right),
        ("CONCURRENT", Align::Right),
        ("RESERVE", Align::Right),
        ("USERS", Align::Right),
        ("WORKSPACES", Align::Right),
        ("FROM", Align::Left),
        ("", Align::Left),
    ]);
    for entry in &response.orgs {
        let org = entry.org.clone().unwrap_or_default();
        table.row([
            clean(&org.id),
            thousands(org.daily_calls),
            thousands(org.concurrent_calls.into()),
            org.reserve_percent.map(|percent| format!("{percent} %")).unwrap_or_default(),
            thousands(org.execution_users.len() as u64),
            thousands(org.workspaces.len() as u64),
            source(entry).to_owned(),
            if entry.warnings.is_empty() { String::new() } else { "has warnings".to_owned() },
        ]);
    }
    if table.is_empty() { "no orgs yet\n".into() } else { table.render() }
}

fn org_text(response: &GetOrgResponse) -> String {
    let mut out = entry_lines(response.entry.as_ref());
    if !response.changes.is_empty() {
        let mut table =
            Table::new([("WHEN", Align::Left), ("WHAT", Align::Left), ("WHO", Align::Left)]);
        for change in &response.changes {
            let when = change.time.map(|time| time.to_string()).unwrap_or_default();
            table.row([when, clean(&change.action), clean(&change.who)]);
        }
        _ = write!(out, "\nLAST CHANGES\n{}", table.render());
    }
    out
}

fn entry_text(entry: Option<&OrgEntry>, validate_only: bool) -> String {
    let first = if validate_only { "good; nothing was changed\n" } else { "in force\n" };
    format!("{first}{}", entry_lines(entry))
}

fn entry_lines(entry: Option<&OrgEntry>) -> String {
    let Some(entry) = entry else { return String::new() };
    let org = entry.org.clone().unwrap_or_default();
    let mut out = String::new();
    _ = writeln!(
        out,
        "org {}   from {}   etag {}",
        clean(&org.id),
        source(entry),
        clean(&entry.etag)
    );
    _ = write!(out, "{} calls in any 24 h", thousands(org.daily_calls));
    if org.daily_calls_max > 0 {
        _ = write!(out, ", never more than {}", thousands(org.daily_calls_max));
    }
    _ = write!(out, ", {} long-running at a time", thousands(org.concurrent_calls.into()));
    if let Some(percent) = org.reserve_percent {
        _ = write!(out, ", {percent} % kept for foreign traffic");
    }
    out.push('\n');
    if !org.execution_users.is_empty() {
        let users: Vec<String> = org.execution_users.iter().map(|user| clean(user)).collect();
        _ = writeln!(out, "users: {}", users.join(" "));
    }
    for warning in &entry.warnings {
        _ = writeln!(out, "warning: {}", clean(warning));
    }
    if !org.workspaces.is_empty() {
        _ = write!(out, "\nWORKSPACES\n{}", workspaces_text(&org.workspaces));
    }
    out
}

fn workspaces_text(workspaces: &[Workspace]) -> String {
    let mut table = Table::new([
        ("WORKSPACE", Align::Left),
        ("DAILY CALLS", Align::Right),
        ("PRESET", Align::Left),
        ("BULK", Align::Left),
        ("EVENT", Align::Left),
        ("INTERACTIVE", Align::Left),
        ("WEIGHT", Align::Right),
        ("GUARANTEED", Align::Right),
        ("BURN LIMIT", Align::Left),
        ("", Align::Left),
    ]);
    for workspace in workspaces {
        let classes = workspace.classes.unwrap_or_default();
        let percents = |one: Option<ClassThresholds>| {
            one.map(|one| format!("{}/{} %", one.pause, one.resume)).unwrap_or_default()
        };
        let cap = unless_zero(workspace.daily_calls);
        table.row([
            clean(&workspace.id),
            if cap.is_empty() { "no cap".into() } else { cap },
            clean(&workspace.preset),
            percents(classes.bulk),
            percents(classes.event),
            percents(classes.interactive),
            unless_zero(workspace.weight.into()),
            unless_zero(workspace.guaranteed_calls),
            workspace.burn_limit.as_ref().map(burn_limit_text).unwrap_or_default(),
            if workspace.shadow { "in shadow".to_owned() } else { String::new() },
        ]);
    }
    if table.is_empty() { "no workspaces are declared\n".into() } else { table.render() }
}

fn burn_limit_text(limit: &BurnLimit) -> String {
    let window = limit.window.and_then(|window| Duration::try_from(window).ok());
    format!("{} in {}", thousands(limit.calls), human(window.unwrap_or_default()))
}

fn source(entry: &OrgEntry) -> &'static str {
    match entry.source() {
        OrgSource::Unspecified => "unknown",
        OrgSource::Template => "template",
        OrgSource::File => "file",
        OrgSource::Api => "API",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> OrgEntry {
        OrgEntry {
            org: Some(Org {
                id: "acme".into(),
                daily_calls: 100_000,
                concurrent_calls: 25,
                reserve_percent: Some(5),
                execution_users: vec!["alice".into(), "bob".into()],
                workspaces: vec![
                    Workspace { id: "eu".into(), daily_calls: 5_000, ..Default::default() },
                    Workspace {
                        id: "us".into(),
                        preset: "strict".into(),
                        classes: Some(Classes {
                            bulk: Some(ClassThresholds { pause: 40, resume: 38 }),
                            ..Default::default()
                        }),
                        ..Default::default()
                    },
                ],
                ..Default::default()
            }),
            etag: "7".into(),
            source: OrgSource::File.into(),
            warnings: vec![],
            from_template: vec![],
        }
    }

    #[test]
    fn thresholds_are_written_as_class_pause_resume() {
        for (text, expected) in [
            ("bulk=40/38", Some((Pausable::Bulk, 40, 38))),
            ("event=80/60", Some((Pausable::Event, 80, 60))),
            ("interactive=100/100", Some((Pausable::Interactive, 100, 100))),
            ("control=1/1", None),
            ("bulk=40", None),
            ("bulk", None),
            ("bulk=a/b", None),
            ("bulk=-1/1", None),
        ] {
            let parsed = thresholds(text).ok().map(|(class, t)| (class, t.pause, t.resume));
            assert_eq!(parsed, expected, "{text}");
        }
    }

    #[test]
    fn a_burn_limit_is_written_as_units_and_time() {
        for (text, expected) in [
            ("10000/30m", Some((10_000, 1_800))),
            ("1/1s", Some((1, 1))),
            ("10000", None),
            ("10000/30", None),
            ("-1/30m", None),
            ("many/30m", None),
        ] {
            let parsed = burn_limit(text).ok();
            let parsed = parsed.map(|b| (b.calls, b.window.unwrap_or_default().seconds));
            assert_eq!(parsed, expected, "{text}");
        }
    }

    #[test]
    fn orgs_and_workspaces_are_tables() {
        assert_eq!(
            orgs_text(&ListOrgsResponse { orgs: vec![entry()], ..Default::default() }),
            "  ORG   DAILY CALLS  CONCURRENT  RESERVE  USERS  WORKSPACES  FROM\n\
             \x20 acme      100,000          25      5 %      2           2  file\n"
        );
        assert_eq!(orgs_text(&ListOrgsResponse::default()), "no orgs yet\n");
        assert_eq!(
            entry_text(Some(&entry()), false),
            "in force\n\
             org acme   from file   etag 7\n\
             100,000 calls in any 24 h, 25 long-running at a time, 5 % kept for foreign traffic\n\
             users: alice bob\n\n\
             WORKSPACES\n\
             \x20 WORKSPACE  DAILY CALLS  PRESET  BULK\n\
             \x20 eu               5,000\n\
             \x20 us              no cap  strict  40/38 %\n"
        );
    }

    #[test]
    fn an_org_that_is_printed_as_json_can_be_put_again() {
        let org = entry().org.expect("it has one");
        assert_eq!(json::from_slice::<Org>(json::to_pretty(&org).as_bytes()), Ok(org));
    }
}
