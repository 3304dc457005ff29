//! Who has changed an org's settings: each change with what it took away and what
//! it added.

use super::{output::clean, usage::clock};
use crate::proto::admin::v1::{Change, GetOrgResponse};

/// Lines around a difference that are shown.
const CONTEXT: usize = 1;

/// The changes, newest first.
pub fn text(response: &GetOrgResponse) -> String {
    if response.changes.is_empty() {
        return "no changes yet, or none that you may see\n".to_owned();
    }
    let changes: Vec<String> = response.changes.iter().map(change).collect();
    changes.join("\n")
}

fn change(change: &Change) -> String {
    let time = change.time.map(clock).unwrap_or_default();
    let from = match change.from.as_str() {
        from if from.is_empty() || from == change.who => String::new(),
        from => format!("   from {}", clean(from)),
    };
    let mut text = format!("{time}   {}   {}{from}\n", clean(&change.action), clean(&change.who));
    for line in difference(&change.before, &change.after) {
        text.push_str(&format!("  {}\n", clean(&line)));
    }
    text
}

/// The lines that differ, and those beside them: `-` was, `+` is.
fn difference(before: &str, after: &str) -> Vec<String> {
    let (before, after): (Vec<&str>, Vec<&str>) =
        (before.lines().collect(), after.lines().collect());
    let same_head = before.iter().zip(&after).take_while(|(was, is)| was == is).count();
    let rest = before.len().min(after.len()) - same_head;
    let same_tail =
        before.iter().rev().zip(after.iter().rev()).take(rest).take_while(|(was, is)| was == is);
    let same_tail = same_tail.count();
    let (was, is) =
        (&before[same_head..before.len() - same_tail], &after[same_head..after.len() - same_tail]);
    if was.is_empty() && is.is_empty() {
        return vec!["  (as before)".to_owned()];
    }
    let mut lines = Vec::new();
    let mut push = |sign: &str, text: &[&str]| {
        lines.extend(text.iter().map(|line| format!("{sign} {line}")));
    };
    push(" ", &before[same_head.saturating_sub(CONTEXT)..same_head]);
    push("-", was);
    push("+", is);
    let tail = before.len() - same_tail;
    push(" ", &before[tail..before.len().min(tail + CONTEXT)]);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_shows_what_was_and_what_is_and_what_stands_beside() {
        let check = |before: &str, after: &str, expected: &[&str]| {
            assert_eq!(difference(before, after), expected, "{before:?} {after:?}");
        };
        check("a\nb\nc\nd", "a\nb\nx\nd", &["  b", "- c", "+ x", "  d"]);
        check("a\nb", "a\nb\nc", &["  b", "+ c"]);
        check("a\nb\nc", "b\nc", &["- a", "  b"]);
        check("", "a\nb", &["+ a", "+ b"]);
        check("a", "", &["- a"]);
        check("a\na\na", "a\na", &["  a", "- a"]);
        check("a", "a", &["  (as before)"]);
    }

    #[test]
    fn a_change_tells_when_what_who_and_from_where() {
        let one = Change {
            time: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
            who: "token:ops".into(),
            action: "PutWorkspace".into(),
            before: "daily_calls: 5".into(),
            after: "daily_calls: 7".into(),
            from: "192.0.2.1:4000".into(),
        };
        let nameless = Change { who: one.from.clone(), ..one.clone() };
        let text = text(&GetOrgResponse { changes: vec![one, nameless], ..Default::default() });
        assert_eq!(
            text,
            "2023-11-14 22:13:20 UTC   PutWorkspace   token:ops   from 192.0.2.1:4000\n\
             \x20 - daily_calls: 5\n\
             \x20 + daily_calls: 7\n\
             \n\
             2023-11-14 22:13:20 UTC   PutWorkspace   192.0.2.1:4000\n\
             \x20 - daily_calls: 5\n\
             \x20 + daily_calls: 7\n"
        );
    }
}
