//! Who uses an org's quota: a table like top(1), and what was asked for by the
//! minute.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _},
    time::Duration,
};

use clap::{Args, ValueEnum};
use prost_types::Timestamp;

use super::{
    Remote,
    call::timestamp,
    exit::{Exit, Fault},
    output::{Format, answer, clean, draw_over, print},
    table::{Align, Bar, Table, count, percent, thousands, unless_zero},
    usage::{class_name, clock, outlook},
};
use crate::{
    client::Client,
    json,
    proto::{
        admin::v1::ListOrgsRequest,
        v1::{
            Attribution, AttributionDimension as Dimension, Consumer, DemandMinute, DemandSeries,
            GetDemandRequest, GetDemandResponse, GetUsageRequest, OrgUsage, PeriodUse, UseCount,
        },
    },
};

pub const TOP_HELP: &str = "\
Figures are units: calls times their cost, of the last minute, hour and 24 hours, those first that
used most in the last hour. The bar and % are shares of the org's last hour, REFUSED is calls of the
last hour. What a node counts begins anew when it takes an org over; the heading says since when.

Callers are told apart by the name that they give themselves: QUOTAGATE_CALLER or --caller here, the
metadata or header quotagate-caller elsewhere. Nobody checks it, and it gives no right.

Examples:
  quotagate top --org acme
  quotagate top --org acme --by workspace --watch
  quotagate top
  quotagate top --org acme -o json | jq .tables";

pub const DEMAND_HELP: &str = "\
Calls, for each workspace, class and operation, over the last 24 hours; each cell of 24 H is two of
them. Who waits asks once; who is refused and tries again asks again. With -o json each minute is
there, to try other limits on.

Examples:
  quotagate demand --org acme
  quotagate demand --org acme --workspace acme-eu --since 2026-01-31T12:00:00Z
  quotagate demand --org acme -o json | jq '.series[] | {workspace, operation, minutes}'";

/// Between two pictures.
const EVERY: Duration = Duration::from_secs(2);

/// Orgs that are shown together.
const MAX_ORGS: u32 = 100;

/// Cells of a bar: with it, a table has 80 columns.
const BAR_WIDTH: u64 = 12;

/// Characters of a name.
const NAME_WIDTH: usize = 22;

/// Which table, and how.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// The Salesforce org [default: all, compared]
    #[arg(long, value_name = "ORG")]
    org: Option<String>,
    /// By what to tell use apart [default: by each]
    #[arg(long, value_name = "WHAT", value_enum)]
    by: Option<By>,
    /// Rows of a table [default: 5, or 20 with --by]
    #[arg(long, value_name = "N")]
    rows: Option<usize>,
    /// Show it anew every 2 s, until Ctrl-C
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    remote: Remote,
}

/// By what use is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    /// The workspace that pays
    Workspace,
    /// The traffic class
    Class,
    /// The operation
    Operation,
    /// The execution user
    User,
    /// The name that a caller gives itself
    Caller,
}

impl By {
    const fn dimension(self) -> Dimension {
        match self {
            Self::Workspace => Dimension::Workspace,
            Self::Class => Dimension::TrafficClass,
            Self::Operation => Dimension::Operation,
            Self::User => Dimension::ExecutionUser,
            Self::Caller => Dimension::Caller,
        }
    }
}

/// Fields of GetDemandRequest.
#[derive(Debug, Args)]
pub struct DemandArgs {
    /// The Salesforce org
    #[arg(long, value_name = "ORG")]
    org: String,
    /// Only this workspace; '' is requests that named none [default: all]
    #[arg(long, value_name = "WORKSPACE")]
    workspace: Option<String>,
    /// Only from this moment on, for example 2026-01-31T12:00:00Z [default: 24 hours ago]
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    since: Option<Timestamp>,
    #[command(flatten)]
    remote: Remote,
}

/// Shows who uses an org's quota.
pub async fn top(args: TopArgs) -> Result<Exit, Fault> {
    let client = args.remote.connect().await?;
    let rows = args.rows.unwrap_or(if args.by.is_some() { 20 } else { 5 });
    let by = args.by.map(By::dimension);
    loop {
        let shown = match &args.org {
            Some(org) => of_org(&client, org, by, rows, &args).await?,
            None => of_all(&client, rows.max(20), &args).await?,
        };
        if !args.watch {
            print(&shown)?;
            return Ok(Exit::Done);
        }
        match args.remote.output {
            Format::Table if io::stdout().is_terminal() => draw_over(&shown)?,
            Format::Table => print(&(shown + "\n"))?,
            Format::Json => print(&shown)?,
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            stopped = tokio::signal::ctrl_c() => {
                stopped?;
                return Ok(Exit::Done);
            }
        }
    }
}

/// Shows what was asked for.
pub async fn demand(args: DemandArgs) -> Result<Exit, Fault> {
    let DemandArgs { org, workspace, since, remote } = args;
    let request = GetDemandRequest { org, workspace, since };
    let response = remote.connect().await?.get_demand(request).await?;
    answer(remote.output, &response, demand_text)?;
    Ok(Exit::Done)
}

async fn of_org(
    client: &Client,
    org: &str,
    by: Option<Dimension>,
    rows: usize,
    args: &TopArgs,
) -> Result<String, Fault> {
    let mut usage = usage_of(client, org).await?;
    let attribution = usage.attribution.get_or_insert_default();
    attribution.tables.retain(|table| by.is_none_or(|by| table.dimension() == by));
    Ok(match args.remote.output {
        Format::Json if args.watch => json::to_line(attribution) + "\n",
        Format::Json => json::to_pretty(attribution) + "\n",
        Format::Table => org_text(&usage, rows),
    })
}

/// Every org, those first that used most in the last hour; as JSON, a line each.
async fn of_all(client: &Client, rows: usize, args: &TopArgs) -> Result<String, Fault> {
    let request = ListOrgsRequest { page_size: MAX_ORGS, ..Default::default() };
    let page = client.list_orgs(request).await?;
    let mut orgs = Vec::new();
    for org in page.orgs.into_iter().filter_map(|entry| entry.org) {
        orgs.push(usage_of(client, &org.id).await?);
    }
    let hour = |usage: &OrgUsage| {
        let total = usage.attribution.as_ref().and_then(|attribution| attribution.total);
        hour_of(&total.unwrap_or_default())
    };
    orgs.sort_by_key(|usage| {
        let UseCount { units, refused_calls, .. } = hour(usage);
        std::cmp::Reverse((units, refused_calls))
    });
    if args.remote.output == Format::Json {
        return Ok(orgs.iter().map(|usage| json::to_line(usage) + "\n").collect());
    }
    let consumer = |usage: &OrgUsage| Consumer {
        name: usage.org.clone(),
        used: usage.attribution.as_ref().and_then(|attribution| attribution.total),
    };
    let consumers: Vec<Consumer> = orgs.iter().map(consumer).collect();
    let units = orgs.iter().map(|usage| hour(usage).units).sum();
    let mut out = format!("{}\n", count(orgs.len() as u64, "org"));
    if !page.next_page_token.is_empty() {
        _ = writeln!(out, "there are more, which are not looked at");
    }
    _ = write!(out, "\nORGS\n{}", use_table(&consumers, None, units, rows));
    Ok(out)
}

async fn usage_of(client: &Client, org: &str) -> Result<OrgUsage, Fault> {
    let response = client.get_usage(GetUsageRequest { org: org.to_owned() }).await?;
    response.usage.ok_or_else(|| Fault::failure("the server answered without the usage"))
}

fn org_text(usage: &OrgUsage, rows: usize) -> String {
    let mut out = String::new();
    let no_attribution = Attribution::default();
    let attribution = usage.attribution.as_ref().unwrap_or(&no_attribution);
    let when = usage.as_of.map(clock).unwrap_or_default();
    let since = attribution.since.map(clock).unwrap_or_default();
    _ = writeln!(out, "org {}   {when}   counted since {since}", clean(&usage.org));
    _ = writeln!(
        out,
        "{} out, {} waiting",
        count(usage.permits_out.into(), "permit"),
        thousands(usage.waiting.into())
    );
    out.push_str(&outlook(usage));
    let total = hour_of(&attribution.total.unwrap_or_default());
    for table in &attribution.tables {
        let heading = match table.dimension() {
            Dimension::Unspecified => continue,
            Dimension::Workspace => "WORKSPACES",
            Dimension::TrafficClass => "CLASSES",
            Dimension::Operation => "OPERATIONS",
            Dimension::ExecutionUser => "EXECUTION USERS",
            Dimension::Caller => "CALLERS",
        };
        let text = use_table(&table.consumers, table.others.as_ref(), total.units, rows);
        _ = write!(out, "\n{heading}\n{text}");
        if table.missing_units_at_most > 0 {
            _ = writeln!(
                out,
                "  more names than are kept: of any one at most {} units in 24 h are missing here",
                thousands(table.missing_units_at_most)
            );
        }
    }
    out
}

/// The first consumers as a table; those below, and `others`, are one row.
fn use_table(
    consumers: &[Consumer],
    others: Option<&PeriodUse>,
    hour_units: u64,
    rows: usize,
) -> String {
    let mut table = Table::new([
        ("NAME", Align::Left),
        ("LAST HOUR", Align::Left),
        ("%", Align::Right),
        ("MINUTE", Align::Right),
        ("HOUR", Align::Right),
        ("24 H", Align::Right),
        ("REFUSED", Align::Right),
    ]);
    let mut row = |name: String, used: &PeriodUse| {
        let hour = hour_of(used);
        table.row([
            name,
            Bar { used: hour.units, max: hour_units, ..Default::default() }.render(BAR_WIDTH),
            percent(hour.units, hour_units),
            unless_zero(used.last_minute.unwrap_or_default().units),
            unless_zero(hour.units),
            unless_zero(used.last_day.unwrap_or_default().units),
            unless_zero(hour.refused_calls),
        ]);
    };
    for consumer in consumers.iter().take(rows) {
        let name = match consumer.name.as_str() {
            "" => "(without a name)".to_owned(),
            name => short(name, NAME_WIDTH),
        };
        row(name, &consumer.used.unwrap_or_default());
    }
    let below = consumers.iter().skip(rows).filter_map(|consumer| consumer.used.as_ref());
    let nothing = plus(&PeriodUse::default(), &PeriodUse::default());
    let rest = below.chain(others).fold(nothing, |sum, used| plus(&sum, used));
    if rest != nothing {
        row("all others".to_owned(), &rest);
    }
    if table.is_empty() { "  nobody yet\n".to_owned() } else { table.render() }
}

fn hour_of(used: &PeriodUse) -> UseCount {
    used.last_hour.unwrap_or_default()
}

fn plus(a: &PeriodUse, b: &PeriodUse) -> PeriodUse {
    let sum = |a: Option<UseCount>, b: Option<UseCount>| {
        let (a, b) = (a.unwrap_or_default(), b.unwrap_or_default());
        Some(UseCount {
            units: a.units.saturating_add(b.units),
            calls: a.calls.saturating_add(b.calls),
            refused_calls: a.refused_calls.saturating_add(b.refused_calls),
        })
    };
    PeriodUse {
        last_minute: sum(a.last_minute, b.last_minute),
        last_hour: sum(a.last_hour, b.last_hour),
        last_day: sum(a.last_day, b.last_day),
    }
}

/// A name that fits: its beginning, if it is too long.
fn short(name: &str, width: usize) -> String {
    let name = clean(name);
    if name.chars().count() <= width {
        return name;
    }
    name.chars().take(width - 1).chain(['…']).collect()
}

fn demand_text(response: &GetDemandResponse) -> String {
    let mut out = String::new();
    let when = response.as_of.map(clock).unwrap_or_default();
    let since = response.counted_since.map(clock).unwrap_or_default();
    _ = writeln!(out, "org {}   {when}   counted since {since}\n", clean(&response.org));
    let mut table = Table::new([
        ("WORKSPACE, CLASS, OPERATION", Align::Left),
        ("24 H", Align::Left),
        ("ASKED", Align::Right),
        ("GRANTED", Align::Right),
        ("REFUSED", Align::Right),
    ]);
    let now = response.as_of.map_or(0, |now| now.seconds);
    let mut all_refused = [0_u64; 5];
    for series in &response.series {
        let sum = |figure: fn(&DemandMinute) -> u32| -> u64 {
            series.minutes.iter().map(|minute| u64::from(figure(minute))).sum()
        };
        let refused = REFUSALS.map(|(_, figure)| sum(figure));
        for (all, refused) in all_refused.iter_mut().zip(refused) {
            *all += refused;
        }
        table.row([
            series_name(series),
            sparkline(&series.minutes, now),
            thousands(sum(|minute| minute.asked_calls)),
            unless_zero(sum(|minute| minute.granted_calls)),
            unless_zero(refused.iter().sum()),
        ]);
    }
    if table.is_empty() {
        return out + "  nobody has asked yet\n";
    }
    out.push_str(&table.render());
    let by: Vec<String> = REFUSALS
        .iter()
        .zip(all_refused)
        .filter(|(_, refused)| *refused > 0)
        .map(|((by, _), refused)| format!("{} by {by}", thousands(refused)))
        .collect();
    if !by.is_empty() {
        _ = writeln!(out, "\n  refused: {}", by.join(", "));
    }
    out
}

type Figure = fn(&DemandMinute) -> u32;

/// What refused calls, and how many.
const REFUSALS: [(&str, Figure); 5] = [
    ("execution users", |minute| minute.refused_by_execution_user),
    ("workspaces", |minute| minute.refused_by_workspace),
    ("the org", |minute| minute.refused_by_org),
    ("slots", |minute| minute.refused_by_concurrency),
    ("no limit", |minute| minute.refused_otherwise),
];

fn series_name(series: &DemandSeries) -> String {
    if series.rest {
        return "all others".to_owned();
    }
    let workspace = match series.workspace.as_str() {
        "" => "–".to_owned(),
        workspace => short(workspace, 14),
    };
    let class = class_name(series.traffic_class());
    short(&format!("{workspace} {class} {}", clean(&series.operation)), 42)
}

/// Calls asked for, in twelve steps of two hours, the last one is now.
fn sparkline(minutes: &[DemandMinute], now: i64) -> String {
    const STEPS: usize = 12;
    const STEP_SECS: i64 = 7_200;
    const SIGNS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let mut sums = [0_u64; STEPS];
    for minute in minutes {
        let begins = minute.minute.map_or(0, |time| time.seconds);
        let age = now.saturating_sub(begins).max(0) / STEP_SECS;
        let age = usize::try_from(age).unwrap_or(STEPS).min(STEPS - 1);
        sums[STEPS - 1 - age] += u64::from(minute.asked_calls);
    }
    let most = sums.iter().copied().max().unwrap_or(0).max(1);
    let sign = |sum: u64| match sum {
        0 => '·',
        sum => SIGNS[usize::try_from((sum * 8).div_ceil(most) - 1).unwrap_or(7).min(7)],
    };
    sums.into_iter().map(sign).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::{AttributionTable, LimitScope, LimitUsage, TrafficClass};

    fn used(minute: u64, hour: u64, day: u64, refused: u64) -> Option<PeriodUse> {
        let count = |units, refused_calls| Some(UseCount { units, calls: units, refused_calls });
        Some(PeriodUse {
            last_minute: count(minute, 0),
            last_hour: count(hour, refused),
            last_day: count(day, refused),
        })
    }

    fn consumer(name: &str, used: Option<PeriodUse>) -> Consumer {
        Consumer { name: name.into(), used }
    }

    fn at(seconds: i64) -> Option<Timestamp> {
        Some(Timestamp { seconds: 1_800_000_000 + seconds, nanos: 0 })
    }

    #[test]
    fn the_heaviest_come_first_and_the_rest_is_one_row_of_80_columns() {
        let workspaces = AttributionTable {
            dimension: Dimension::Workspace.into(),
            consumers: vec![
                consumer("acme-eu", used(120, 6_000, 40_000, 7)),
                consumer("a-workspace-with-a-very-long-name", used(0, 3_000, 3_000, 0)),
                consumer("", used(0, 500, 900, 0)),
            ],
            others: used(0, 500, 1_100, 1),
            missing_units_at_most: 40,
        };
        let attribution = Attribution {
            since: at(-3_600),
            total: used(120, 10_000, 45_000, 8),
            tables: vec![workspaces],
        };
        let total = LimitUsage {
            name: "calls".into(),
            scope: LimitScope::Org.into(),
            burn_per_hour: 10_000,
            ..Default::default()
        };
        let usage = OrgUsage {
            org: "acme".into(),
            as_of: at(0),
            limits: vec![total],
            permits_out: 2,
            attribution: Some(attribution),
            ..Default::default()
        };
        let expected = "\
org acme   2027-01-15 08:00:00 UTC   counted since 2027-01-15 07:00:00 UTC
2 permits out, 0 waiting

IF IT GOES ON LIKE THIS
  LIMIT  OF       AN HOUR  USED UP IN
  calls  the org   10,000  never

WORKSPACES
  NAME                    LAST HOUR          %  MINUTE   HOUR    24 H  REFUSED
  acme-eu                 ███████·····  60.0 %     120  6,000  40,000        7
  a-workspace-with-a-ve…  ███·········  30.0 %          3,000   3,000
  all others              █···········  10.0 %          1,000   2,000        1
  more names than are kept: of any one at most 40 units in 24 h are missing here
";
        let text = org_text(&usage, 2);
        assert_eq!(text, expected, "\n{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80));
    }

    #[test]
    fn an_org_that_nobody_uses_says_so() {
        assert_eq!(use_table(&[], used(0, 0, 0, 0).as_ref(), 0, 5), "  nobody yet\n");
    }

    #[test]
    fn demand_is_shown_with_its_course_and_who_refused() {
        let minute = |hours_ago: i64, asked_calls, granted_calls, refused| DemandMinute {
            minute: at(-3_600 * hours_ago),
            asked_calls,
            granted_calls,
            refused_by_workspace: refused,
            refused_by_org: asked_calls - granted_calls - refused,
            ..Default::default()
        };
        let response = GetDemandResponse {
            org: "acme".into(),
            as_of: at(0),
            counted_since: at(-90_000),
            history: Vec::new(),
            series: vec![
                DemandSeries {
                    workspace: "acme-eu".into(),
                    traffic_class: TrafficClass::Bulk.into(),
                    operation: "conversation-entries.get".into(),
                    minutes: vec![
                        minute(23, 800, 800, 0),
                        minute(3, 400, 300, 90),
                        minute(0, 100, 100, 0),
                    ],
                    ..Default::default()
                },
                DemandSeries {
                    rest: true,
                    minutes: vec![minute(0, 2, 0, 0)],
                    ..Default::default()
                },
            ],
        };
        let expected = "\
org acme   2027-01-15 08:00:00 UTC   counted since 2027-01-14 07:00:00 UTC

  WORKSPACE, CLASS, OPERATION            24 H          ASKED  GRANTED  REFUSED
  acme-eu bulk conversation-entries.get  █·········▄▁  1,300    1,200      100
  all others                             ···········█      2                 2

  refused: 90 by workspaces, 12 by the org
";
        let text = demand_text(&response);
        assert_eq!(text, expected, "\n{text}");
        let empty = demand_text(&GetDemandResponse { series: Vec::new(), ..response });
        assert!(empty.ends_with("nobody has asked yet\n"), "{empty}");
    }
}
