//! The picture of the cluster: pure functions from snapshots to text.

use std::time::Duration;

use super::{
    board::NodeState,
    world::{LEASE, NODES, WINDOW},
};
use crate::demo::{
    ink::{Ink, Line, Size, Style, thousands},
    screen::Picture,
};

/// The cluster at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Real time since the start.
    pub elapsed: Duration,
    /// When it ends by itself; `None` if it waits for somebody to end it.
    pub end: Option<Duration>,
    /// Callers.
    pub callers: u64,
    /// The nodes, by name.
    pub nodes: Vec<NodeRow>,
    /// etcd runs.
    pub etcd_runs: bool,
    /// Who serves each shard.
    pub shards: Vec<Cell>,
    /// What became of the fleet's calls.
    pub calls: Calls,
    /// The orgs.
    pub orgs: Vec<OrgRow>,
    /// What has happened so far, oldest first.
    pub news: Vec<News>,
    /// What was done to the cluster, in the order of time.
    pub faults: Vec<FaultRow>,
    /// Keys are read.
    pub has_keys: bool,
    /// A fault is being played: the next must wait.
    pub is_busy: bool,
    /// Something went wrong that was no part of the play.
    pub is_broken: bool,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// Real time since the start.
    pub at: Duration,
    /// What.
    pub text: String,
}

/// One node.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeRow {
    /// How its process is.
    pub state: NodeState,
    /// How long its session lasts unless it is renewed; `None` if it has none,
    /// or does not answer.
    pub session_left: Option<Duration>,
    /// Shards that it serves.
    pub serves: u64,
    /// Acquires decided here, a second.
    pub decided_rate: f64,
    /// Requests forwarded, a second.
    pub forwarded_rate: f64,
}

/// One shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// This node decides.
    Served(usize),
    /// Its owner is down, or its session is over.
    Stranded(usize),
    /// It has no owner.
    Unowned,
}

/// What became of the fleet's calls.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Calls {
    /// Permits.
    pub granted: u64,
    /// Of late, a second.
    pub granted_rate: f64,
    /// Denials.
    pub denied: u64,
    /// Of late, a second.
    pub denied_rate: f64,
    /// Tries that got neither.
    pub unavailable: u64,
    /// Of late, a second.
    pub unavailable_rate: f64,
    /// Acquires that got no answer at any try.
    pub unanswered: u64,
    /// Permits that came too late to be used.
    pub late: u64,
    /// Calls that Salesforce refused.
    pub refused: u64,
}

/// One org's limit, in units.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrgRow {
    /// Its name.
    pub name: String,
    /// The node that answered for it last.
    pub owner: Option<usize>,
    /// What is used and held; `None` while nobody can say.
    pub figures: Option<OrgFigures>,
}

/// What an org has used of its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OrgFigures {
    /// Units used.
    pub used: u64,
    /// Units set aside and unspent.
    pub held: u64,
    /// The limit.
    pub max: u64,
}

/// What can be done to a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// SIGTERM to a node, which is started again.
    Roll,
    /// kill -9 of a node, which is started again.
    Kill,
    /// SIGSTOP of a node for longer than its lease.
    Pause,
    /// etcd is killed, and started again.
    Etcd,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultRow {
    /// What was done.
    pub kind: FaultKind,
    /// When every shard was served again.
    pub owners_after: Option<Duration>,
    /// The longest time in which callers of an org had no answer.
    pub silence: Duration,
    /// What was held afterwards of an org that had a block open, and that
    /// nobody asked about meanwhile.
    pub held: Option<u64>,
}

impl FaultKind {
    /// In the order of the script.
    pub const ALL: [Self; 4] = [Self::Roll, Self::Kill, Self::Pause, Self::Etcd];

    /// The key that asks for it.
    #[must_use]
    pub const fn key(self) -> char {
        match self {
            Self::Kill => 'k',
            Self::Pause => 'p',
            Self::Roll => 'r',
            Self::Etcd => 'e',
        }
    }

    /// What it takes, all in all.
    #[must_use]
    pub const fn usual_length(self) -> Duration {
        Duration::from_secs(match self {
            Self::Roll => 5,
            Self::Kill => 8,
            Self::Pause | Self::Etcd => 10,
        })
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Roll => "a node rolled (SIGTERM)",
            Self::Kill => "a node killed (kill -9)",
            Self::Pause => "a node paused (SIGSTOP)",
            Self::Etcd => "etcd away",
        }
    }
}

/// A time that people compare: `4.2 s`.
#[must_use]
pub fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

impl Picture for Snapshot {
    fn elapsed(&self) -> Duration {
        self.elapsed
    }

    fn render(&self, size: Size, ink: Ink) -> String {
        render(self, size, ink)
    }

    fn line(&self) -> String {
        line(self)
    }

    fn news(&self) -> Vec<String> {
        let line = |news: &News| format!("{:>7}  {}", seconds(news.at), news.text);
        self.news.iter().map(line).collect()
    }

    fn summary(&self) -> String {
        summary(self)
    }
}

/// Shards in a row of their map.
const MAP: usize = 32;

/// Columns of the widest page.
const WIDEST: usize = 120;

/// Draws the picture for a terminal of at least 80 columns and 24 rows; on a
/// smaller one the end is cut off. Each line ends with a line feed.
#[must_use]
pub fn render(snapshot: &Snapshot, size: Size, ink: Ink) -> String {
    const GAP: usize = 2;
    const NARROWEST: usize = 46;
    let page = size.columns.clamp(NARROWEST, WIDEST);
    let beside = page >= NARROWEST + GAP + MAP;
    // Where there is room a shard is two columns wide.
    let cell = if page >= NARROWEST + GAP + 2 * MAP { 2 } else { 1 };
    let pane = if beside { page - GAP - MAP * cell } else { page };

    let mut left = nodes(snapshot, pane, ink);
    left.extend(calls(snapshot, pane, ink));
    let right = map(snapshot, cell, ink);
    let mut lines = vec![title(snapshot, page, ink), Line::new(ink)];
    if beside {
        let rows = left.len().max(right.len());
        let (mut left, mut right) = (left.into_iter(), right.into_iter());
        for _ in 0..rows {
            let mut line = left.next().unwrap_or_else(|| Line::new(ink));
            line.pad_to(pane + GAP);
            lines.push(line.join(right.next().unwrap_or_else(|| Line::new(ink))));
        }
    } else {
        lines.extend(left);
        lines.extend(right);
    }
    lines.push(Line::new(ink));
    lines.extend(orgs(snapshot, page, ink));
    lines.push(Line::new(ink));
    // The news get what is left, and of that the newest.
    const LEAST_NEWS: usize = 4;
    let keys = keys(snapshot, ink);
    if lines.len() + LEAST_NEWS + 1 > size.rows {
        lines.retain(|line| !line.text.is_empty());
    }
    let room = size.rows.saturating_sub(lines.len() + 1);
    let shown = &snapshot.news[snapshot.news.len().saturating_sub(room)..];
    for (index, news) in shown.iter().enumerate() {
        let mut line = Line::new(ink);
        line.put(&format!("{:>7}  ", seconds(news.at)), Style::Faint);
        let room = page.saturating_sub(line.width);
        let newest = index + 1 == shown.len();
        let style = if newest { Style::Strong } else { Style::Normal };
        line.put(&news.text.chars().take(room).collect::<String>(), style);
        lines.push(line);
    }
    lines.truncate(size.rows.saturating_sub(1));
    if size.rows != usize::MAX {
        while lines.len() + 1 < size.rows {
            lines.push(Line::new(ink));
        }
        lines.push(keys);
    }
    lines.into_iter().fold(String::new(), |text, line| text + line.text.trim_end() + "\n")
}

fn title(snapshot: &Snapshot, width: usize, ink: Ink) -> Line {
    let mut line = Line::new(ink);
    line.put("quotagate", Style::Strong);
    line.put(&format!("  {} nodes, ", snapshot.nodes.len()), Style::Faint);
    if snapshot.etcd_runs {
        line.put("etcd runs", Style::Good);
    } else {
        line.put("etcd is away", Style::Bad);
    }
    line.put(
        &format!(", {} callers of {} orgs", snapshot.callers, snapshot.orgs.len()),
        Style::Faint,
    );
    let elapsed = snapshot.elapsed.as_secs();
    let time = match snapshot.end {
        Some(end) => format!("{elapsed} of {} s", end.as_secs()),
        None => format!("{elapsed} s, until q"),
    };
    line.put_right(&time, Style::Faint, width);
    line
}

/// The colour of a node.
const fn hue(node: usize) -> Style {
    match node % 3 {
        0 => Style::First,
        1 => Style::Second,
        _ => Style::Third,
    }
}

fn nodes(snapshot: &Snapshot, width: usize, ink: Ink) -> Vec<Line> {
    let columns = |shards: &str, session: &str, decided: &str, forwarded: &str| {
        format!("{shards:>6}{session:>9}{decided:>10}{forwarded:>9}")
    };
    let mut head = Line::new(ink);
    head.put("NODES", Style::Faint);
    head.put_right(&columns("shards", "session", "decided", "forward"), Style::Faint, width);
    let mut lines = vec![head];
    for (index, node) in snapshot.nodes.iter().enumerate() {
        let mut line = Line::new(ink);
        line.put(NODES[index % NODES.len()], hue(index));
        let (state, style) = match node.state {
            NodeState::Starting => ("starts", Style::Warn),
            NodeState::Alive => ("alive", Style::Good),
            NodeState::Paused => ("paused", Style::Bad),
            NodeState::Ending => ("ends", Style::Warn),
            NodeState::Gone => ("gone", Style::Bad),
        };
        line.put(" ", Style::Normal);
        line.put(state, style);
        let figures = if node.state == NodeState::Alive {
            columns(
                &node.serves.to_string(),
                &node.session_left.map_or_else(|| "none".to_owned(), seconds),
                &format!("{:.0}/s", node.decided_rate),
                &format!("{:.0}/s", node.forwarded_rate),
            )
        } else {
            columns("-", "-", "-", "-")
        };
        line.put_right(&figures, Style::Normal, width);
        lines.push(line);
    }
    lines
}

fn calls(snapshot: &Snapshot, width: usize, ink: Ink) -> Vec<Line> {
    let calls = &snapshot.calls;
    let row = |name: &str, rate: Option<f64>, total: u64, style: Style| {
        let mut line = Line::new(ink);
        line.put(name, Style::Normal);
        let rate = rate.map_or_else(String::new, |rate| format!("{rate:.0}/s"));
        line.pad_to(width.saturating_sub(18));
        line.put(&format!("{rate:>8}"), Style::Normal);
        line.put(&format!("{:>10}", thousands(total)), style);
        line
    };
    let bad_if = |count: u64, bad: Style| if count == 0 { Style::Good } else { bad };
    let mut head = Line::new(ink);
    head.put("CALLS", Style::Faint);
    head.put_right("total", Style::Faint, width);
    vec![
        head,
        row("granted", Some(calls.granted_rate), calls.granted, Style::Normal),
        row("denied: no room", Some(calls.denied_rate), calls.denied, Style::Normal),
        row(
            "no answer, tried again",
            Some(calls.unavailable_rate),
            calls.unavailable,
            Style::Normal,
        ),
        row("given up", None, calls.unanswered, bad_if(calls.unanswered, Style::Warn)),
        row("REFUSED BY SALESFORCE", None, calls.refused, bad_if(calls.refused, Style::Bad)),
    ]
}

fn map(snapshot: &Snapshot, cell: usize, ink: Ink) -> Vec<Line> {
    let mut head = Line::new(ink);
    head.put("SHARDS BY OWNER", Style::Faint);
    let unserved = snapshot.shards.iter().filter(|cell| !matches!(cell, Cell::Served(_))).count();
    if unserved > 0 {
        head.put_right(&format!("{unserved} unserved"), Style::Bad, MAP * cell);
    } else {
        head.put_right("all served", Style::Good, MAP * cell);
    }
    let mut lines = vec![head];
    for row in snapshot.shards.chunks(MAP) {
        let mut line = Line::new(ink);
        for run in row.chunk_by(|left, right| left == right) {
            let (letter, style) = match run[0] {
                Cell::Served(node) => (NODES[node % NODES.len()], hue(node)),
                Cell::Stranded(_) => ("×", Style::Bad),
                Cell::Unowned => ("·", Style::Bad),
            };
            line.put(&letter.repeat(run.len() * cell), style);
        }
        lines.push(line);
    }
    let mut legend = Line::new(ink);
    legend.put("× its owner is away   · no owner", Style::Faint);
    lines.push(legend);
    lines
}

fn orgs(snapshot: &Snapshot, width: usize, ink: Ink) -> Vec<Line> {
    const NAME: usize = 13;
    const FIGURES: usize = 18;
    let max = snapshot.orgs.iter().filter_map(|org| Some(org.figures?.max)).max();
    let mut head = Line::new(ink);
    head.put("ORGS AT", Style::Faint);
    head.pad_to(NAME);
    if let Some(max) = max {
        let limit = format!("Salesforce's limit: {max} calls in any {} s", WINDOW.as_secs());
        head.put(&limit, Style::Faint);
    }
    head.put_right(&format!("{:>8}{:>10}", "in use", "held"), Style::Faint, width);
    let mut lines = vec![head];
    for org in &snapshot.orgs {
        let mut line = Line::new(ink);
        line.put(&org.name, Style::Normal);
        line.pad_to(NAME - 3);
        match org.owner {
            Some(node) => line.put(NODES[node % NODES.len()], hue(node)),
            None => line.put("-", Style::Faint),
        }
        line.pad_to(NAME);
        match org.figures {
            Some(OrgFigures { used, held, max }) => {
                let columns = width.saturating_sub(NAME + FIGURES);
                let at = |units: u64| {
                    let share = units as f64 / max.max(1) as f64;
                    ((share * columns as f64).round() as usize).min(columns)
                };
                let (used_end, held_end) = (at(used), at(used + held));
                let style = if used + held >= max { Style::Warn } else { Style::Good };
                line.put(&"█".repeat(used_end), style);
                line.put(&"▒".repeat(held_end - used_end), Style::Warn);
                line.put(&"░".repeat(columns - held_end), Style::Faint);
                let style = if used + held > max { Style::Bad } else { Style::Normal };
                line.put_right(&format!("{used:>8}{held:>10}"), style, width);
            }
            None => line.put("nobody can say now", Style::Bad),
        }
        lines.push(line);
    }
    lines
}

fn keys(snapshot: &Snapshot, ink: Ink) -> Line {
    let mut line = Line::new(ink);
    if !snapshot.has_keys {
        return line;
    }
    let style = if snapshot.is_busy { Style::Faint } else { Style::Strong };
    for (kind, what) in [
        (FaultKind::Kill, "kill a node"),
        (FaultKind::Pause, "pause one"),
        (FaultKind::Roll, "roll one"),
        (FaultKind::Etcd, "stop etcd"),
    ] {
        line.put(&kind.key().to_string(), style);
        line.put(&format!(" {what}   "), Style::Faint);
    }
    line.put("q", Style::Strong);
    line.put(" quit", Style::Faint);
    if snapshot.is_busy {
        line.put("   one at a time", Style::Warn);
    }
    line
}

/// One line for a log.
#[must_use]
pub fn line(snapshot: &Snapshot) -> String {
    let calls = &snapshot.calls;
    let served = |node: usize| {
        let count = snapshot.shards.iter().filter(|cell| **cell == Cell::Served(node)).count();
        format!("{} {count}", NODES[node])
    };
    let served: Vec<_> = (0..NODES.len()).map(served).collect();
    format!(
        "{:>7}  granted {} ({:.0}/s), denied {}, no answer {}, refused by Salesforce {}; \
         shards: {}",
        seconds(snapshot.elapsed),
        thousands(calls.granted),
        calls.granted_rate,
        thousands(calls.denied),
        thousands(calls.unavailable),
        thousands(calls.refused),
        served.join(", "),
    )
}

/// What the demo has shown, as two small tables.
#[must_use]
pub fn summary(snapshot: &Snapshot) -> String {
    let calls = &snapshot.calls;
    let mut text = format!(
        "{} callers of {} orgs called through 3 nodes for {} s; a lease lives {}.\n\n",
        snapshot.callers,
        snapshot.orgs.len(),
        snapshot.elapsed.as_secs(),
        seconds(LEASE),
    );
    for (name, count) in [
        ("calls granted", calls.granted),
        ("calls denied: no room", calls.denied),
        ("tries that got no answer", calls.unavailable),
        ("calls that got none at all", calls.unanswered),
        ("calls refused by Salesforce", calls.refused),
    ] {
        text += &format!("{name:30}{:>10}\n", thousands(count));
    }
    if calls.late > 0 {
        text += &format!("{:30}{:>10}\n", "permits that came too late", thousands(calls.late));
    }
    if snapshot.faults.is_empty() {
        return text + "\nNothing was done to the cluster.\n";
    }
    text += &format!(
        "\n{:26}{:>6}{:>15}{:>17}{:>12}\n{:26}{:>6}{:>15}{:>17}{:>12}\n",
        "",
        "",
        "all shards",
        "longest without",
        "units held",
        "worst of each",
        "times",
        "served after",
        "an answer",
        "after it",
    );
    for kind in FaultKind::ALL {
        let rows = || snapshot.faults.iter().filter(move |fault| fault.kind == kind);
        let Some(silence) = rows().map(|fault| fault.silence).max() else { continue };
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        text += &format!(
            "{:26}{:>6}{:>15}{:>17}{:>12}\n",
            kind.name(),
            rows().count(),
            or_none(rows().filter_map(|fault| fault.owners_after).max().map(seconds)),
            seconds(silence),
            or_none(rows().filter_map(|fault| fault.held).max().map(thousands)),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        let node = |state, serves| NodeRow {
            state,
            session_left: Some(Duration::from_millis(2_400)),
            serves,
            decided_rate: 21.4,
            forwarded_rate: 12.0,
        };
        let org = |name: &str, owner, figures| OrgRow { name: name.into(), owner, figures };
        let figures = OrgFigures { used: 60, held: 5, max: 100 };
        let cell = |shard: usize| match shard % 4 {
            0 => Cell::Served(0),
            1 => Cell::Stranded(1),
            2 => Cell::Unowned,
            _ => Cell::Served(2),
        };
        Snapshot {
            elapsed: Duration::from_secs(23),
            end: Some(Duration::from_secs(60)),
            callers: 24,
            nodes: vec![
                node(NodeState::Alive, 86),
                node(NodeState::Gone, 0),
                node(NodeState::Alive, 85),
            ],
            etcd_runs: true,
            shards: (0..256).map(cell).collect(),
            calls: Calls {
                granted: 1_204,
                granted_rate: 48.2,
                denied: 112,
                unavailable: 41,
                ..Calls::default()
            },
            orgs: vec![
                org("acme", Some(0), Some(figures)),
                org("globex", Some(1), None),
                org("hooli", Some(2), Some(OrgFigures { used: 97, held: 3, max: 100 })),
                org("initech", None, Some(OrgFigures::default())),
                org("soylent", Some(2), Some(figures)),
                org("umbrella", Some(0), Some(figures)),
            ],
            news: (0..9)
                .map(|number| News {
                    at: Duration::from_secs(number),
                    text: format!("node b was killed (kill -9), number {number}"),
                })
                .collect(),
            faults: vec![
                FaultRow {
                    kind: FaultKind::Roll,
                    owners_after: Some(Duration::from_millis(420)),
                    silence: Duration::from_millis(230),
                    held: Some(0),
                },
                FaultRow {
                    kind: FaultKind::Kill,
                    owners_after: Some(Duration::from_millis(4_210)),
                    silence: Duration::from_millis(4_490),
                    held: Some(5),
                },
            ],
            has_keys: true,
            is_busy: false,
            is_broken: false,
        }
    }

    #[test]
    fn it_fits_every_terminal_and_fills_its_rows() {
        for (columns, rows) in [(80, 24), (120, 40), (200, 60), (79, 24), (50, 20), (10, 3)] {
            for ink in [Ink::Plain, Ink::Color] {
                let text = render(&snapshot(), Size { columns, rows }, ink);
                assert_eq!(text.lines().count(), rows, "{columns}x{rows}:\n{text}");
                if ink == Ink::Plain && columns >= 80 {
                    let widest = text.lines().map(|line| line.chars().count()).max();
                    assert!(widest <= Some(columns), "{columns}x{rows}:\n{text}");
                }
            }
        }
    }

    #[test]
    fn eighty_columns_and_twenty_four_rows_show_all_of_it() {
        let text = render(&snapshot(), Size { columns: 80, rows: 24 }, Ink::Plain);
        for part in [
            "etcd runs",
            "23 of 60 s",
            "a alive",
            "b gone",
            "128 unserved",
            "a×·ca×·c",
            "48/s     1,204",
            "REFUSED BY SALESFORCE",
            "nobody can say now",
            "Salesforce's limit: 100 calls in any 10 s",
            "8.0 s  node b was killed (kill -9), number 8",
            "k kill a node",
            "q quit",
        ] {
            assert!(text.contains(part), "{part:?} is missing:\n{text}");
        }
    }

    #[test]
    fn the_first_moment_can_be_drawn() {
        let first = Snapshot::default();
        for columns in [40, 80] {
            let text = render(&first, Size { columns, rows: 24 }, Ink::Color);
            assert!(text.contains("NODES"));
        }
        assert!(summary(&first).contains("Nothing was done"));
    }

    #[test]
    fn the_summary_has_a_row_for_each_kind_of_fault_with_its_worst() {
        let text = summary(&snapshot());
        let row = |start: &str| {
            let line = text.lines().find(|line| line.starts_with(start)).unwrap_or_default();
            line[start.len()..].split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(row("calls refused by Salesforce"), "0");
        assert_eq!(row("a node rolled (SIGTERM)"), "1 0.4 s 0.2 s 0");
        assert_eq!(row("a node killed (kill -9)"), "1 4.2 s 4.5 s 5");
        assert!(!text.contains("etcd away"), "{text}");
    }
}
