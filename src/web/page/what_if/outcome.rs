//! Before and after, side by side.

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;

use crate::{
    proto::admin::v1::{Replay, ReplayDemandResponse, ReplayedCalls, ReplayedClass, ReplayedUse},
    web::page::words::{self, Moment},
};

/// What became of the day, twice.
pub struct Outcome {
    /// In a sentence.
    pub said: String,
    /// What is to be known of it.
    pub notes: Vec<String>,
    /// Nothing was asked for.
    pub is_empty: bool,
    /// The day.
    pub from: Option<Moment>,
    /// Its end.
    pub until: Option<Moment>,
    /// All calls.
    pub calls: Vec<Row>,
    /// By workspace and class.
    pub classes: Vec<ClassRow>,
    /// How far limits were used.
    pub limits: Vec<LimitRow>,
    /// The data of the curve.
    pub curve: Option<String>,
}

/// A figure before and after.
pub struct Row {
    /// What it counts.
    pub what: &'static str,
    /// By the settings in force.
    pub before: String,
    /// By the edited ones.
    pub after: String,
    /// How it differs.
    pub change: Change,
}

/// How a figure differs.
pub struct Change {
    /// A class of the style sheet.
    pub kind: &'static str,
    /// With its sign; empty where it does not.
    pub text: String,
}

/// One class of one workspace.
pub struct ClassRow {
    /// The workspace.
    pub workspace: String,
    /// The class.
    pub class: &'static str,
    /// Calls asked for.
    pub asked: String,
    /// Granted by the settings in force.
    pub before: String,
    /// Granted by the edited ones.
    pub after: String,
    /// How it differs.
    pub change: Change,
    /// For how long it was paused before.
    pub paused_before: String,
    /// And after.
    pub paused_after: String,
}

/// How far a limit was used.
pub struct LimitRow {
    /// Its name.
    pub name: String,
    /// Whose.
    pub whose: String,
    /// Most that was used of how much, before.
    pub before: String,
    /// And after.
    pub after: String,
}

impl Outcome {
    /// What a replay has shown.
    pub fn new(replayed: &ReplayDemandResponse) -> Self {
        let before = replayed.in_force.clone().unwrap_or_default();
        let after = replayed.edited.clone().unwrap_or_default();
        let total = |replay: &Replay| replay.total.unwrap_or_default();
        Self {
            said: said(&total(&before), &total(&after)),
            notes: notes(replayed),
            is_empty: total(&before).asked == 0,
            from: replayed.from.map(Moment),
            until: replayed.until.map(Moment),
            calls: calls(&total(&before), &total(&after)),
            classes: classes(&before, &after),
            limits: limits(&before, &after),
            curve: curve(&before, &after),
        }
    }
}

fn said(before: &ReplayedCalls, after: &ReplayedCalls) -> String {
    let asked = words::counted(after.asked, "call");
    let difference = after.granted.abs_diff(before.granted);
    let differs = match after.granted.cmp(&before.granted) {
        std::cmp::Ordering::Equal => {
            return format!(
                "The same: {} of {asked} asked for would have been granted by both.",
                words::count(after.granted)
            );
        }
        std::cmp::Ordering::Less => "fewer",
        std::cmp::Ordering::Greater => "more",
    };
    format!(
        "{} {differs} would have been granted: {} instead of {}, of {asked} asked for.",
        words::counted(difference, "call"),
        words::count(after.granted),
        words::count(before.granted)
    )
}

fn notes(replayed: &ReplayDemandResponse) -> Vec<String> {
    let mut notes = Vec::new();
    if let (Some(since), Some(from)) = (replayed.counted_since, replayed.from)
        && since.seconds > from.seconds
    {
        let known = replayed.until.map(|until| words::between(&since, &until)).unwrap_or_default();
        notes.push(format!(
            "Demand is known of the last {} only: it is kept in memory, and begins anew when the \
             org moves to another node or the service starts.",
            words::span(known)
        ));
    }
    if replayed.left_out_calls > 0 {
        notes.push(format!(
            "{} are left out: there were more workspaces, classes and operations than are told \
             apart.",
            words::counted(replayed.left_out_calls, "call")
        ));
    }
    notes
}

/// `good`: more of it is better.
fn change(before: u64, after: u64, good: bool) -> Change {
    let difference = words::count(after.abs_diff(before));
    let kind = |is_better: bool| if is_better { "better" } else { "worse" };
    match after.cmp(&before) {
        std::cmp::Ordering::Equal => Change { kind: "", text: String::new() },
        std::cmp::Ordering::Greater => Change { kind: kind(good), text: format!("+{difference}") },
        std::cmp::Ordering::Less => Change { kind: kind(!good), text: format!("−{difference}") },
    }
}

fn calls(before: &ReplayedCalls, after: &ReplayedCalls) -> Vec<Row> {
    let row = |what, of: fn(&ReplayedCalls) -> u64, good| Row {
        what,
        before: words::count(of(before)),
        after: words::count(of(after)),
        change: change(of(before), of(after), good),
    };
    let mut rows = vec![
        row("Asked for", |it| it.asked, true),
        row("Granted", |it| it.granted, true),
        row("Refused", refused, false),
    ];
    let causes: [(&str, fn(&ReplayedCalls) -> u64); 4] = [
        ("by a workspace's limit or a pause", |it| it.refused_by_workspace),
        ("by the org's limit", |it| it.refused_by_org),
        ("by an execution user's window", |it| it.refused_by_execution_user),
        ("otherwise", |it| it.refused_otherwise),
    ];
    let causes = causes.into_iter().filter(|(_, of)| of(before) + of(after) > 0);
    rows.extend(causes.map(|(what, of)| row(what, of, false)));
    rows
}

fn refused(calls: &ReplayedCalls) -> u64 {
    calls.refused_by_workspace
        + calls.refused_by_org
        + calls.refused_by_execution_user
        + calls.refused_otherwise
}

fn classes(before: &Replay, after: &Replay) -> Vec<ClassRow> {
    let mut both = BTreeMap::<(&str, &str), [Option<&ReplayedClass>; 2]>::new();
    for (side, replay) in [before, after].into_iter().enumerate() {
        for class in &replay.classes {
            both.entry((&class.workspace, &class.traffic_class)).or_default()[side] = Some(class);
        }
    }
    let row = |((workspace, class), sides): ((&str, &str), [Option<&ReplayedClass>; 2])| {
        let calls = sides.map(|side| side.and_then(|side| side.calls).unwrap_or_default());
        let paused = sides.map(|side| match side.map_or(0, |side| side.paused_minutes) {
            0 => "never".to_owned(),
            minutes => words::span(Duration::from_secs(u64::from(minutes) * 60)),
        });
        let [paused_before, paused_after] = paused;
        ClassRow {
            workspace: if workspace.is_empty() {
                "none named".to_owned()
            } else {
                workspace.to_owned()
            },
            class: class_name(class),
            asked: words::count(calls[1].asked),
            before: words::count(calls[0].granted),
            after: words::count(calls[1].granted),
            change: change(calls[0].granted, calls[1].granted, true),
            paused_before,
            paused_after,
        }
    };
    both.into_iter().map(row).collect()
}

fn class_name(key: &str) -> &'static str {
    use crate::proto::v1::TrafficClass::{Bulk, Control, Event, Interactive, Unspecified};
    let all = [Bulk, Event, Interactive, Control];
    let class = all.into_iter().find(|class| words::class_key(*class) == key);
    words::class_name(class.unwrap_or(Unspecified))
}

fn limits(before: &Replay, after: &Replay) -> Vec<LimitRow> {
    let mut both = BTreeMap::<(&str, &str, &str), [Option<(u64, u64)>; 2]>::new();
    for (side, replay) in [before, after].into_iter().enumerate() {
        for limit in &replay.limits {
            let key = (&*limit.workspace, &*limit.execution_user, &*limit.name);
            both.entry(key).or_default()[side] = Some((limit.peak, limit.max));
        }
    }
    let said = |side: Option<(u64, u64)>| match side {
        None => "not used".to_owned(),
        Some((peak, 0)) => format!("{}, no limit", words::count(peak)),
        Some((peak, max)) => {
            let percent = words::percent(peak, max);
            format!("{} of {} ({percent})", words::count(peak), words::count(max))
        }
    };
    let row = |((workspace, user, name), sides): ((&str, &str, &str), [Option<(u64, u64)>; 2])| {
        let [before, after] = sides.map(said);
        let whose = match (workspace, user) {
            ("", "") => "the org".to_owned(),
            ("", user) => format!("user {user}"),
            (workspace, _) => format!("workspace {workspace}"),
        };
        LimitRow { name: name.to_owned(), whose, before, after }
    };
    both.into_iter().map(row).collect()
}

fn curve(before: &Replay, after: &Replay) -> Option<String> {
    if before.curve.is_empty() && after.curve.is_empty() {
        return None;
    }
    let mut both = BTreeMap::<i64, [Option<u64>; 2]>::new();
    for (side, replay) in [before, after].into_iter().enumerate() {
        for point in &replay.curve {
            let time = point.time.map_or(0, |time| time.seconds);
            both.entry(time).or_default()[side] = Some(point.own.saturating_add(point.foreign));
        }
    }
    let limit = |replay: &Replay| replay.curve.last().map_or(0, |point: &ReplayedUse| point.limit);
    let (old, new) = (limit(before), limit(after));
    let mut lines = vec![json!({"at": new, "text": format!("limit {}", words::count(new))})];
    if old != new {
        lines.push(json!({"at": old, "text": format!("limit in force {}", words::count(old))}));
    }
    let data = json!({
        "x": both.keys().collect::<Vec<_>>(),
        "series": [
            {
                "name": "In force",
                "colour": "--others",
                "values": both.values().map(|sides| sides[0]).collect::<Vec<_>>(),
            },
            {
                "name": "Edited",
                "colour": "--ours",
                "values": both.values().map(|sides| sides[1]).collect::<Vec<_>>(),
            },
        ],
        "lines": lines,
        "max": old.max(new),
    });
    Some(words::island(&data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::admin::v1::ReplayedLimit;

    fn replay(granted: u64, paused_minutes: u32, max: u64) -> Replay {
        let calls = ReplayedCalls {
            asked: 4_204,
            granted,
            refused_by_workspace: 4_204 - granted,
            ..ReplayedCalls::default()
        };
        let class = ReplayedClass {
            workspace: "eu".into(),
            traffic_class: "bulk".into(),
            calls: Some(calls),
            paused_minutes,
        };
        let limit = ReplayedLimit {
            name: "calls".into(),
            workspace: "eu".into(),
            max,
            peak: granted,
            ..ReplayedLimit::default()
        };
        let time = Some(prost_types::Timestamp { seconds: 300, nanos: 0 });
        let point = ReplayedUse { time, own: granted, foreign: 1, limit: 15_000 };
        Replay { total: Some(calls), classes: vec![class], limits: vec![limit], curve: vec![point] }
    }

    #[test]
    fn both_sides_are_told_with_what_differs() {
        let answer = ReplayDemandResponse {
            in_force: Some(replay(4_204, 0, 5_000)),
            edited: Some(replay(3_000, 90, 3_000)),
            ..ReplayDemandResponse::default()
        };
        let outcome = Outcome::new(&answer);
        assert_eq!(
            outcome.said,
            "1,204 calls fewer would have been granted: 3,000 instead of 4,204, of 4,204 calls \
             asked for."
        );
        let figures: Vec<_> = outcome
            .calls
            .iter()
            .map(|row| (row.what, &*row.before, &*row.after, &*row.change.text, row.change.kind))
            .collect();
        assert_eq!(
            figures,
            [
                ("Asked for", "4,204", "4,204", "", ""),
                ("Granted", "4,204", "3,000", "−1,204", "worse"),
                ("Refused", "0", "1,204", "+1,204", "worse"),
                ("by a workspace's limit or a pause", "0", "1,204", "+1,204", "worse"),
            ]
        );
        let [class] = &outcome.classes[..] else { panic!("one") };
        assert_eq!(
            (class.class, &*class.paused_before, &*class.paused_after),
            ("Manual bulk sync", "never", "1 h 30 min")
        );
        let [limit] = &outcome.limits[..] else { panic!("one") };
        assert_eq!(
            (&*limit.before, &*limit.after),
            ("4,204 of 5,000 (84 %)", "3,000 of 3,000 (100 %)")
        );
        assert!(outcome.curve.expect("a curve").contains("\"values\":[3001]"));
    }

    #[test]
    fn where_nothing_differs_that_is_said() {
        let same = replay(7, 0, 10).total.expect("it has one");
        assert!(said(&same, &same).starts_with("The same: 7 of 4,204 calls"));
    }
}
