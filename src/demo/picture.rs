//! The picture: pure functions from snapshots to text.

use std::time::Duration;

use super::{
    ink::{Ink, Line, Size, Style, thousands},
    screen::Picture,
};
use crate::quota::Class;

/// The demo at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Real time since the start.
    pub elapsed: Duration,
    /// Real time in all.
    pub duration: Duration,
    /// How many times as fast as real time a minute passes.
    pub speed: f64,
    /// Pods in each fleet.
    pub pods: u32,
    /// The fleet that asks quotagate.
    pub together: Side,
    /// The same fleet, each pod for itself.
    pub alone: Side,
    /// What has happened so far, oldest first.
    pub news: Vec<News>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// Real time since the start.
    pub at: Duration,
    /// What.
    pub text: String,
}

/// One fleet at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// Calls that Salesforce refused.
    pub refused: u64,
    /// Requests that broke for another reason.
    pub faults: u64,
    /// The first of them.
    pub first_fault: Option<String>,
    /// The users, in the order of the pool.
    pub users: Vec<UserBar>,
    /// Units of the org's total, everybody's.
    pub org_used: u64,
    /// The org's limit.
    pub org_max: u64,
    /// Units of the org's total that others have used.
    pub foreign: u64,
    /// What the service takes that to be, from the headers in reports.
    pub foreign_estimate: Option<u64>,
    /// The workspaces.
    pub workspaces: Vec<WorkspaceBar>,
    /// The classes, in the order of service.
    pub classes: Vec<ClassRow>,
}

/// One execution user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UserBar {
    /// Calls in the last minute that Salesforce let pass.
    pub used: u64,
    /// Calls that arrived in the worst minute so far.
    pub worst: u64,
    /// Calls that Salesforce allows in a minute.
    pub max: u64,
}

/// One workspace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkspaceBar {
    /// Its name.
    pub name: String,
    /// Calls made for it.
    pub used: u64,
    /// Its cap, if it has one.
    pub cap: Option<u64>,
    /// The classes that can pause, and whether they have; empty where nobody
    /// can tell.
    pub paused: Vec<(Class, bool)>,
}

/// One traffic class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassRow {
    /// The class.
    pub class: Class,
    /// Calls wanted.
    pub asked: u64,
    /// Calls answered by Salesforce.
    pub answered: u64,
    /// Calls that were not sent.
    pub put_off: u64,
    /// Calls that Salesforce refused until nobody waited any more.
    pub failed: u64,
}

impl Side {
    /// Calls answered, of all classes.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.classes.iter().map(|row| row.answered).sum()
    }

    /// Of the calls of a class that have ended, how many percent were
    /// answered; rounded down, so that 100 means all.
    #[must_use]
    pub fn served_percent(&self, class: Class) -> Option<u64> {
        let row = self.classes.iter().find(|row| row.class == class)?;
        (row.answered * 100).checked_div(row.answered + row.put_off + row.failed)
    }

    /// The worst minute of any user.
    #[must_use]
    pub fn worst_minute(&self) -> UserBar {
        self.users.iter().copied().max_by_key(|user| user.worst).unwrap_or_default()
    }
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
        let line = |news: &News| format!("{:>7}  {}", clock(self, news.at), news.text);
        self.news.iter().map(line).collect()
    }

    fn summary(&self) -> String {
        summary(self)
    }
}

/// Draws the picture for a terminal: the two fleets side by side, or one below
/// the other where there is no room. Each line ends with a line feed, and none
/// is wider. Where it is too high, blank lines go first, then old news; what is
/// still too much is cut off.
#[must_use]
pub fn render(snapshot: &Snapshot, size: Size, ink: Ink) -> String {
    const GAP: usize = 3;
    const NARROWEST: usize = 38;
    const WIDEST: usize = 64;
    const MOST_NEWS: usize = 5;
    let half = size.columns.saturating_sub(GAP) / 2;
    let beside = half >= NARROWEST;
    let pane_width = if beside { half.min(WIDEST) } else { size.columns.clamp(NARROWEST, WIDEST) };
    let page_width = if beside { 2 * pane_width + GAP } else { pane_width };

    let together = pane("WITH QUOTAGATE", &snapshot.together, pane_width, ink);
    let alone = pane("WITHOUT: EACH POD COUNTS ALONE", &snapshot.alone, pane_width, ink);
    let mut lines = heading(snapshot, page_width, ink);
    lines.push(Line::new(ink));
    if beside {
        for (mut left, right) in together.into_iter().zip(alone) {
            left.pad_to(pane_width + GAP);
            lines.push(left.join(right));
        }
    } else {
        lines.extend(together);
        lines.push(Line::new(ink));
        lines.extend(alone);
    }
    if lines.len() + 1 + MOST_NEWS > size.rows {
        lines.retain(|line| !line.text.trim().is_empty());
    } else {
        lines.push(Line::new(ink));
    }
    let room = size.rows.saturating_sub(lines.len()).min(MOST_NEWS);
    for news in &snapshot.news[snapshot.news.len().saturating_sub(room)..] {
        let mut line = Line::new(ink);
        line.put(&format!("{:>5}  ", clock(snapshot, news.at)), Style::Faint);
        let room = page_width.saturating_sub(line.width);
        line.put(&news.text.chars().take(room).collect::<String>(), Style::Strong);
        lines.push(line);
    }
    lines.truncate(size.rows);
    lines.into_iter().fold(String::new(), |text, line| text + line.text.trim_end() + "\n")
}

/// Time at Salesforce, as minutes and seconds.
#[must_use]
pub fn clock(snapshot: &Snapshot, real: Duration) -> String {
    let seconds = (real.as_secs_f64() * snapshot.speed) as u64;
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// What has happened between two snapshots, a sentence each.
pub fn news(before: &Snapshot, after: &Snapshot) -> impl Iterator<Item = String> {
    let mut news = Vec::new();
    if before.alone.refused == 0 && after.alone.refused > 0 {
        news.push("without quotagate, Salesforce refuses the first call".to_owned());
    }
    let (before, after) = (&before.together, &after.together);
    if before.refused == 0 && after.refused > 0 {
        news.push("with quotagate, Salesforce refuses the first call".to_owned());
    }
    for (old, new) in before.workspaces.iter().zip(&after.workspaces) {
        let (name, cap) = (&new.name, thousands(new.cap.unwrap_or_default()));
        let changed = |to_paused: bool| -> Vec<&str> {
            let classes = new.paused.iter().filter(|(class, paused)| {
                *paused == to_paused && old.paused.contains(&(*class, !to_paused))
            });
            classes.map(|(class, _)| class.name()).collect()
        };
        let (paused, resumed) = (changed(true), changed(false));
        if !paused.is_empty() {
            let (used, paused) = (thousands(new.used), paused.join(", "));
            news.push(format!("{name} has used {used} of its {cap}: {paused} pauses"));
        }
        let raised = match (old.cap, new.cap) {
            (Some(old), Some(new)) if new > old => {
                format!("an operator raises the cap of {name} from {} to {cap}", thousands(old))
            }
            _ if resumed.is_empty() => continue,
            _ => format!("{name} uses less of its {cap}"),
        };
        news.push(match resumed[..] {
            [] => raised,
            [one] => format!("{raised}: {one} resumes"),
            _ => format!("{raised}: {} resume", resumed.join(", ")),
        });
    }
    news.into_iter()
}

/// One line for a log.
#[must_use]
pub fn line(snapshot: &Snapshot) -> String {
    let side = |side: &Side| {
        let people = side.served_percent(Class::Interactive);
        format!(
            "{:>6} answered, {:>5} refused by Salesforce, people served {:>4}",
            thousands(side.answered()),
            thousands(side.refused),
            people.map_or_else(|| "-".into(), |percent| format!("{percent}%")),
        )
    };
    format!(
        "{:>4} s  with quotagate: {}  |  each pod alone: {}",
        snapshot.elapsed.as_secs(),
        side(&snapshot.together),
        side(&snapshot.alone),
    )
}

/// What the demo has shown, as a small table.
#[must_use]
pub fn summary(snapshot: &Snapshot) -> String {
    let minutes = snapshot.elapsed.as_secs_f64() * snapshot.speed / 60.0;
    let (together, alone) = (&snapshot.together, &snapshot.alone);
    let mut text = format!(
        "{} pods wanted twice what {} users may do, for {minutes:.1} of Salesforce's \
         minutes.\n\n{:34}{:>15}{:>17}\n",
        snapshot.pods,
        together.users.len(),
        "",
        "with quotagate",
        "each pod alone",
    );
    let mut row = |name: &str, figure: &dyn Fn(&Side) -> String| {
        text += &format!("{name:34}{:>15}{:>17}\n", figure(together), figure(alone));
    };
    let percent = |percent: Option<u64>| percent.map_or("-".into(), |share| format!("{share} %"));
    row("calls refused by Salesforce", &|side| thousands(side.refused));
    if together.faults + alone.faults > 0 {
        row("requests that broke", &|side| thousands(side.faults));
    }
    row("others' use of the org, known", &|side| {
        let estimate = side.foreign_estimate.map_or("-".into(), thousands);
        format!("{estimate} of {}", thousands(side.foreign))
    });
    row("calls answered", &|side| thousands(side.answered()));
    row("people served (interactive)", &|side| percent(side.served_percent(Class::Interactive)));
    row("events served", &|side| percent(side.served_percent(Class::Event)));
    row("bulk served", &|side| percent(side.served_percent(Class::Bulk)));
    row("worst minute of a user", &|side| {
        let user = side.worst_minute();
        format!("{} of {}", user.worst, user.max)
    });
    for (index, workspace) in together.workspaces.iter().enumerate() {
        let Some(cap) = workspace.cap else { continue };
        let name = format!("{}'s calls, cap {}", workspace.name, thousands(cap));
        row(&name, &|side| side.workspaces.get(index).map_or("-".into(), |of| thousands(of.used)));
    }
    for fault in [&together.first_fault, &alone.first_fault].into_iter().flatten() {
        text += &format!("the first that broke: {fault}\n");
    }
    text
}

fn heading(snapshot: &Snapshot, width: usize, ink: Ink) -> Vec<Line> {
    let mut title = Line::new(ink);
    let time = format!(
        "{} of {} min",
        clock(snapshot, snapshot.elapsed),
        clock(snapshot, snapshot.duration)
    );
    title.put("quotagate", Style::Strong);
    let fleet = format!("  the same {} pods, twice", snapshot.pods);
    let speed = format!(", {}x real time", snapshot.speed);
    if title.width + fleet.len() + time.len() + speed.len() + 2 <= width {
        title.put(&fleet, Style::Faint);
        title.put_right(&(time + &speed), Style::Faint, width);
    } else {
        title.put_right(&time, Style::Faint, width);
    }
    // What one has to know to read the rest, as far as there is room.
    let texts = [
        "Both want twice what Salesforce allows; only the left ones ask before they call.",
        "Both want twice what Salesforce allows; the left ones ask first.",
        "Both want twice what they may.",
    ];
    let mut about = Line::new(ink);
    let fitting = texts.into_iter().find(|text| text.len() <= width);
    about.put(fitting.unwrap_or_default(), Style::Faint);
    vec![title, about]
}

fn pane(title: &str, side: &Side, width: usize, ink: Ink) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut add = |draw: &dyn Fn(&mut Line)| {
        let mut line = Line::new(ink);
        draw(&mut line);
        lines.push(line);
    };
    let section = |line: &mut Line, left: &str, right: &str| {
        line.put(left, Style::Faint);
        line.put_right(right, Style::Faint, width);
    };

    add(&|line| {
        line.put(title, Style::Strong);
        if side.faults > 0 {
            let faults = format!("{} broke", thousands(side.faults));
            line.put_right(&faults, Style::Bad, width);
        }
    });
    add(&|line| {
        line.put("calls refused by Salesforce", Style::Normal);
        let style = if side.refused == 0 { Style::Good } else { Style::Bad };
        line.put_right(&thousands(side.refused), style, width);
    });
    add(&|_| {});

    add(&|line| section(line, "LIMITS OF SALESFORCE", "worst minute"));
    for (index, user) in side.users.iter().enumerate() {
        add(&|line| {
            let figures = format!("{}/{}", user.worst, user.max);
            bar(
                line,
                &format!("user {}", index + 1),
                user.used,
                user.worst,
                user.max,
                &figures,
                width,
            );
        });
    }
    add(&|line| {
        let (used, max) = (side.org_used, side.org_max);
        let figures = format!("{}/{}", thousands(used), thousands(max));
        bar(line, "org 24 h", used, used, max, &figures, width);
    });
    add(&|line| {
        line.pad_to(NAME - 2);
        line.put(&format!("others {}", thousands(side.foreign)), Style::Faint);
        let known = match side.foreign_estimate {
            Some(estimate) => format!("it knows of {}", thousands(estimate)),
            None => "nobody knows".to_owned(),
        };
        line.put_right(&known, Style::Normal, width);
    });
    add(&|_| {});

    add(&|line| section(line, "CAPS OF THE WORKSPACES", "used/cap"));
    for workspace in &side.workspaces {
        let used = workspace.used;
        let Some(cap) = workspace.cap else {
            add(&|line| {
                line.put(&workspace.name, Style::Normal);
                line.put_right(&format!("{}, no cap", thousands(used)), Style::Normal, width);
            });
            continue;
        };
        add(&|line| {
            let figures = format!("{}/{}", thousands(used), thousands(cap));
            bar(line, &workspace.name, used, used, cap, &figures, width);
        });
        add(&|line| {
            line.pad_to(NAME - 2);
            if used > cap {
                line.put(&format!("{} beyond the cap", thousands(used - cap)), Style::Bad);
                return;
            }
            for (index, (class, paused)) in workspace.paused.iter().enumerate() {
                if index > 0 {
                    line.put("  ", Style::Normal);
                }
                let (mark, style) =
                    if *paused { ("‖", Style::Warn) } else { ("▸", Style::Good) };
                line.put(mark, style);
                let style = if *paused { Style::Warn } else { Style::Normal };
                line.put(&format!(" {}", class.name()), style);
            }
        });
    }
    add(&|_| {});

    add(&|line| {
        section(line, "WHO IS SERVED", &format!("{:>7}{:>9}{:>8}", "asked", "answered", "not"));
    });
    for row in &side.classes {
        add(&|line| {
            line.put(row.class.name(), Style::Normal);
            let unserved = row.put_off + row.failed;
            let figures = format!("{:>7}{:>9}", thousands(row.asked), thousands(row.answered));
            let style = match (row.failed, row.put_off) {
                (0, 0) => Style::Faint,
                (0, _) => Style::Warn,
                _ => Style::Bad,
            };
            line.pad_to(width.saturating_sub(figures.len() + 8));
            line.put(&figures, Style::Normal);
            line.put_right(&thousands(unserved), style, width);
        });
    }
    lines
}

/// Columns for a bar's name.
const NAME: usize = 9;

/// Columns for a bar's figures.
const FIGURES: usize = 13;

/// Draws what is in use now, a mark at the most there has been, and in another
/// ink what lies beyond the limit.
fn bar(line: &mut Line, name: &str, used: u64, most: u64, max: u64, figures: &str, width: usize) {
    let columns = width.saturating_sub(NAME + FIGURES);
    let full = most.max(used).max(max).max(1);
    let at = |units: u64| (units as f64 / full as f64 * columns as f64).round() as usize;
    let (used_end, limit_end, most_end) = (at(used), at(max), at(most.max(used)));
    line.put(name, Style::Normal);
    line.pad_to(NAME);
    let solid = used_end.min(limit_end);
    let style = if used * 100 >= max * 80 { Style::Warn } else { Style::Good };
    line.put(&"█".repeat(solid), style);
    line.put(&"░".repeat(limit_end - solid), Style::Faint);
    line.put(&"▓".repeat(most_end.saturating_sub(limit_end)), Style::Bad);
    let style = if most > max { Style::Bad } else { Style::Normal };
    line.put_right(figures, style, width);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(refused: u64, worst: u64, acme: u64) -> Side {
        let row = |class, asked, answered, put_off, failed| ClassRow {
            class,
            asked,
            answered,
            put_off,
            failed,
        };
        let together = refused == 0;
        Side {
            refused,
            users: vec![
                UserBar { used: 88, worst, max: 90 },
                UserBar { used: 41, worst: worst - 2, max: 90 },
            ],
            org_used: 9_204,
            org_max: 15_000,
            foreign: 9_150,
            foreign_estimate: together.then_some(9_148),
            workspaces: vec![
                WorkspaceBar {
                    name: "acme".into(),
                    used: acme,
                    cap: Some(260),
                    paused: if together {
                        vec![
                            (Class::Interactive, false),
                            (Class::Event, false),
                            (Class::Bulk, true),
                        ]
                    } else {
                        vec![]
                    },
                },
                WorkspaceBar { name: "initech".into(), used: 1_017, cap: None, paused: vec![] },
            ],
            classes: vec![
                row(Class::Control, 12, 12, 0, 0),
                row(
                    Class::Interactive,
                    216,
                    if together { 216 } else { 120 },
                    0,
                    if together { 0 } else { 96 },
                ),
                row(Class::Event, 432, 431, 1, 0),
                row(Class::Bulk, 1_512, 430, 1_002, 0),
            ],
            ..Side::default()
        }
    }

    fn snapshot() -> Snapshot {
        Snapshot {
            elapsed: Duration::from_secs(25),
            duration: Duration::from_secs(60),
            speed: 6.0,
            pods: 4,
            together: side(0, 90, 131),
            alone: side(1_412, 171, 408),
            news: vec![
                News {
                    at: Duration::from_millis(3_400),
                    text: "without quotagate, Salesforce refuses the first call".into(),
                },
                News {
                    at: Duration::from_millis(12_700),
                    text: "acme has used 104 of its 260: bulk pauses".into(),
                },
            ],
        }
    }

    const ROWS: usize = 40;

    #[test]
    fn at_80_columns_the_fleets_stand_side_by_side() {
        let text = render(&snapshot(), Size { columns: 80, rows: ROWS }, Ink::Plain);
        assert_eq!(text, include_str!("picture_80.txt"));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_colour_changes_no_place() {
        for columns in [38, 40, 60, 78, 79, 80, 100, 120, 200] {
            let size = Size { columns, rows: ROWS };
            let plain = render(&snapshot(), size, Ink::Plain);
            for line in plain.lines() {
                assert!(line.chars().count() <= columns, "{columns} columns: {line:?}");
            }
            let colored = render(&snapshot(), size, Ink::Color);
            assert_eq!(without_color(&colored), plain, "{columns} columns");
        }
    }

    #[test]
    fn the_picture_is_never_higher_than_the_terminal_and_24_rows_hold_all_but_old_news() {
        for rows in 0..ROWS {
            for columns in [60, 80] {
                let text = render(&snapshot(), Size { columns, rows }, Ink::Plain);
                assert!(text.lines().count() <= rows, "{columns} x {rows}");
            }
        }
        let text = render(&snapshot(), Size { columns: 80, rows: 24 }, Ink::Plain);
        assert!(text.contains("bulk            1,512"), "{text}");
        assert!(text.ends_with("bulk pauses\n"), "{text}");
    }

    #[test]
    fn what_changes_between_two_snapshots_is_told_in_sentences() {
        let paused = |bulk, event| vec![(Class::Event, event), (Class::Bulk, bulk)];
        let at = |refused_alone, used, cap, paused| Snapshot {
            alone: Side { refused: refused_alone, ..Side::default() },
            together: Side {
                workspaces: vec![WorkspaceBar {
                    name: "acme".into(),
                    used,
                    cap: Some(cap),
                    paused,
                }],
                ..Side::default()
            },
            ..Snapshot::default()
        };
        let check = |before: &Snapshot, after: &Snapshot, expected: &[&str]| {
            assert_eq!(news(before, after).collect::<Vec<_>>(), expected);
        };
        let (unknown, start) = (at(0, 0, 100, vec![]), at(0, 10, 100, paused(false, false)));
        let bulk = at(0, 41, 100, paused(true, false));
        let both = at(0, 80, 1_000, paused(true, true));
        let raised = at(7, 80, 3_000, paused(false, false));
        check(&start, &start, &[]);
        check(&unknown, &start, &[]);
        check(&start, &bulk, &["acme has used 41 of its 100: bulk pauses"]);
        check(&bulk, &start, &["acme uses less of its 100: bulk resumes"]);
        check(
            &both,
            &raised,
            &[
                "without quotagate, Salesforce refuses the first call",
                "an operator raises the cap of acme from 1,000 to 3,000: event, bulk resume",
            ],
        );
    }

    #[test]
    fn an_empty_snapshot_is_drawn_as_well() {
        for columns in [0, 1, 80] {
            let text = render(&Snapshot::default(), Size { columns, rows: 24 }, Ink::Color);
            assert!(text.contains("WITH QUOTAGATE"));
        }
        assert!(summary(&Snapshot::default()).contains("calls refused by Salesforce"));
        assert!(line(&Snapshot::default()).contains("people served    -"));
    }

    #[test]
    fn the_summary_puts_both_fleets_in_one_table() {
        let text = summary(&snapshot());
        let row = |start: &str| {
            let line = text.lines().find(|line| line.starts_with(start)).unwrap_or_default();
            line[start.len()..].split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(row("calls refused by Salesforce"), "0 1,412");
        assert_eq!(row("others' use of the org, known"), "9,148 of 9,150 - of 9,150");
        assert_eq!(row("people served (interactive)"), "100 % 55 %");
        assert_eq!(row("worst minute of a user"), "90 of 90 171 of 90");
        assert_eq!(row("acme's calls, cap 260"), "131 408");
    }

    fn without_color(text: &str) -> String {
        let mut pieces = text.split('\x1b');
        let mut plain = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            plain += piece.split_once('m').map_or("", |(_, text)| text);
        }
        let lines = plain.lines().map(str::trim_end);
        lines.fold(String::new(), |text, line| text + line + "\n")
    }
}
