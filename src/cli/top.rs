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
    table::{Align, Bar, Table, count, human, percent, thousands, unless_zero},
    usage::{class_name, clock, outlook},
};
use crate::{
    client::Client,
    json,
    proto::v1::{
        Attribution, AttributionDimension as Dimension, Consumer, DemandMinute, DemandSeries,
        GetDemandRequest, GetDemandResponse, GetUsageRequest, ListUsageRequest, ListUsageResponse,
        OrgLine, OrgUsage, PeriodUse, UsageOrder, UseCount,
    },
};

pub const TOP_HELP: &str = "\
Figures are units: calls times their cost, of the last minute, hour and 24 hours, those first that
used most in the last hour. The bar and % are shares of the org's last hour, REFUSED is calls of the
last hour. What a node counts begins anew when it takes an org over; the heading says since when.

Without --org it is a line for each org that the caller may read: what it has used of its total in any
24 hours, through quotagate and by others, and what is the matter with it. Those that need somebody
come first, unless --order says otherwise.

Callers are told apart by the name that they give themselves: QUOTAGATE_CALLER or --caller here, the
metadata or header quotagate-caller elsewhere. Nobody checks it, and it gives no right.

Examples:
  quotagate top --org acme
  quotagate top --org acme --by workspace --watch
  quotagate top --watch
  quotagate top --order exhausted --search acme
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

/// Orgs that are shown together: as many as the server puts on a page.
const MAX_ORGS: u32 = 1_000;

/// Cells of a bar: with it, a table has 80 columns.
const BAR_WIDTH: u64 = 12;

/// Characters of a name.
const NAME_WIDTH: usize = 22;

/// Which table, and how.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// The Salesforce org [default: all, a line each]
    #[arg(long, value_name = "ORG")]
    org: Option<String>,
    /// By what to tell the use of one org apart [default: by each]
    #[arg(long, value_name = "WHAT", value_enum, requires = "org")]
    by: Option<By>,
    /// Which orgs come first [default: trouble]
    #[arg(long, value_name = "WHAT", value_enum, conflicts_with = "org")]
    order: Option<Order>,
    /// Only orgs whose id contains this, in small or capital letters
    #[arg(long, value_name = "TEXT", conflicts_with = "org")]
    search: Option<String>,
    /// Rows of a table [default: 5, or 20 with --by or without --org]
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

/// What comes first among orgs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Order {
    /// Those that need somebody
    Trouble,
    /// Those that have used most of their total
    Used,
    /// Those whose total will be used up soonest
    Exhausted,
    /// By name
    Name,
}

impl Order {
    const fn on_the_wire(self) -> UsageOrder {
        match self {
            Self::Trouble => UsageOrder::Trouble,
            Self::Used => UsageOrder::Used,
            Self::Exhausted => UsageOrder::Exhausted,
            Self::Name => UsageOrder::Name,
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
    let few = args.org.is_some() && args.by.is_none();
    let rows = args.rows.unwrap_or(if few { 5 } else { 20 });
    let by = args.by.map(By::dimension);
    loop {
        let shown = match &args.org {
            Some(org) => of_org(&client, org, by, rows, &args).await?,
            None => of_all(&client, rows, &args).await?,
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

/// Every org that the caller may read, as the server orders them: one request.
async fn of_all(client: &Client, rows: usize, args: &TopArgs) -> Result<String, Fault> {
    let request = ListUsageRequest {
        page_size: u32::try_from(rows).unwrap_or(MAX_ORGS).clamp(1, MAX_ORGS),
        page_token: String::new(),
        order: args.order.map_or(UsageOrder::Trouble, Order::on_the_wire).into(),
        search: args.search.clone().unwrap_or_default(),
    };
    let page = client.list_usage(request).await?;
    Ok(match args.remote.output {
        Format::Json if args.watch => json::to_line(&page) + "\n",
        Format::Json => json::to_pretty(&page) + "\n",
        Format::Table => orgs_text(&page),
    })
}

fn orgs_text(page: &ListUsageResponse) -> String {
    let total = u64::from(page.total_size);
    let mut out = count(total, "org");
    match page.in_trouble {
        0 if total > 0 => out.push_str(", none in trouble"),
        0 => {}
        some => _ = write!(out, ", {} in trouble", thousands(some.into())),
    }
    if page.unknown > 0 {
        _ = write!(out, ", {} not known", thousands(page.unknown.into()));
    }
    _ = writeln!(out, "   {}", page.as_of.map(clock).unwrap_or_default());
    for silent in &page.silent_nodes {
        let node = if silent.node.is_empty() { "a node" } else { &silent.node };
        _ = writeln!(out, "{} does not tell of its orgs: {}", clean(node), clean(&silent.reason));
    }
    let mut table = Table::new([
        ("ORG", Align::Left),
        ("24 HOURS", Align::Left),
        ("%", Align::Right),
        ("OF", Align::Right),
        ("LEFT", Align::Right),
        ("USED UP IN", Align::Left),
        ("WHAT IS THE MATTER", Align::Left),
    ]);
    for line in &page.orgs {
        table.row(org_row(line));
    }
    if table.is_empty() {
        return out + "\n  none\n";
    }
    _ = write!(out, "\n{}\n  {}\n", table.render(), Bar::LEGEND);
    let below = total.saturating_sub(page.orgs.len() as u64);
    if below > 0 {
        _ = writeln!(out, "  {} more: --rows shows them, --search finds them", thousands(below));
    }
    out
}

fn org_row(line: &OrgLine) -> [String; 7] {
    let name = short(&line.org, NAME_WIDTH);
    let trouble = clean(&line.trouble);
    let Some(total) = &line.total else {
        return [
            name,
            String::new(),
            String::new(),
            String::new(),
            String::new(),
            String::new(),
            trouble,
        ];
    };
    let bar = Bar {
        used: total.used_by_caller,
        foreign: total.used_by_others,
        held: total.held,
        max: total.max,
    };
    let used = total.used_by_caller.saturating_add(total.used_by_others);
    let lasts = match total.exhausted_in.and_then(|time| Duration::try_from(time).ok()) {
        None => String::new(),
        Some(Duration::ZERO) => "used up".to_owned(),
        // Fractions of a second would only flicker.
        Some(time) => human(Duration::from_secs(time.as_secs().max(1))),
    };
    [
        name,
        bar.render(BAR_WIDTH),
        percent(used, total.max),
        thousands(total.max),
        thousands(total.remaining),
        lasts,
        trouble,
    ]
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
    use crate::proto::v1::{AttributionTable, LimitScope, LimitUsage, SilentNode, TrafficClass};

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
    fn orgs_are_lines_that_say_what_is_the_matter() {
        let total = |ours, others, lasts| LimitUsage {
            max: 15_000,
            used_by_caller: ours,
            used_by_others: others,
            remaining: 15_000 - ours - others,
            exhausted_in: lasts,
            ..Default::default()
        };
        let lasts = prost_types::Duration { seconds: 8_040, nanos: 500 };
        let page = ListUsageResponse {
            as_of: at(0),
            orgs: vec![
                OrgLine {
                    org: "globex".into(),
                    total: Some(total(11_000, 3_500, Some(lasts))),
                    trouble: "96 % of the 15,000 calls of 24 hours are used.".into(),
                    ..Default::default()
                },
                OrgLine {
                    org: "hooli".into(),
                    trouble: "Node b, which decides for it, does not answer.".into(),
                    ..Default::default()
                },
                OrgLine {
                    org: "acme".into(),
                    total: Some(total(2_918, 3_072, None)),
                    ..Default::default()
                },
            ],
            total_size: 1_003,
            in_trouble: 1,
            unknown: 1,
            silent_nodes: vec![SilentNode { node: "b".into(), reason: "it is gone".into() }],
            ..Default::default()
        };
        let expected = "\
1,003 orgs, 1 in trouble, 1 not known   2027-01-15 08:00:00 UTC
b does not tell of its orgs: it is gone

  ORG     24 HOURS           %      OF   LEFT  USED UP IN  WHAT IS THE MATTER
  globex  ████████▓▓▓·  96.6 %  15,000    500  2 h 14 min  96 % of the 15,000 calls of 24 hours are used.
  hooli                                                    Node b, which decides for it, does not answer.
  acme    ██▓▓········  39.9 %  15,000  9,010

  █ used   ▓ by others   ▒ held   · free
  1,000 more: --rows shows them, --search finds them
";
        let text = orgs_text(&page);
        assert_eq!(text, expected, "\n{text}");
        assert_eq!(orgs_text(&ListUsageResponse::default()), "0 orgs   \n\n  none\n");
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
