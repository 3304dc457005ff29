//! Two texts, line by line: what is gone, what is new, and what stands around it.

/// A line of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What became of it.
    pub kind: Kind,
    /// How it begins, as in the line that it stands for.
    pub head: String,
    /// What of it differs.
    pub middle: String,
    /// How it ends, as in the line that it stands for.
    pub tail: String,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It stands in both.
    Same,
    /// It stands in the first only.
    Gone,
    /// It stands in the second only.
    New,
    /// Lines that stand in both are left out here.
    LeftOut,
}

/// Lines that are shown before and after those that differ.
const AROUND: usize = 2;

/// More pairs of lines than this are not compared: then what lies between the first
/// and the last difference is all gone, and all new.
const MAX_PAIRS: usize = 250_000;

/// Compares two texts.
pub fn difference(before: &str, after: &str) -> Vec<Line> {
    let (before, after): (Vec<&str>, Vec<&str>) =
        (before.lines().collect(), after.lines().collect());
    let head = before.iter().zip(&after).take_while(|(a, b)| a == b).count();
    let rest = (&before[head..], &after[head..]);
    let tail = rest.0.iter().rev().zip(rest.1.iter().rev()).take_while(|(a, b)| a == b).count();
    let middle = (&rest.0[..rest.0.len() - tail], &rest.1[..rest.1.len() - tail]);
    let mut all: Vec<(Kind, &str)> =
        before[..head].iter().map(|line| (Kind::Same, *line)).collect();
    all.extend(aligned(middle.0, middle.1));
    all.extend(before[before.len() - tail..].iter().map(|line| (Kind::Same, *line)));
    shortened(&emphasised(&all))
}

impl Line {
    /// It stands in the first text only.
    pub fn is_gone(&self) -> bool {
        self.kind == Kind::Gone
    }

    /// It stands in the second text only.
    pub fn is_new(&self) -> bool {
        self.kind == Kind::New
    }

    /// The class of its style.
    pub const fn class(&self) -> &'static str {
        match self.kind {
            Kind::Same => "same",
            Kind::Gone => "gone",
            Kind::New => "new",
            Kind::LeftOut => "left-out",
        }
    }

    /// The sign before it.
    pub const fn sign(&self) -> &'static str {
        match self.kind {
            Kind::Same => " ",
            Kind::Gone => "−",
            Kind::New => "+",
            Kind::LeftOut => "⋯",
        }
    }

    fn plain(kind: Kind, text: &str) -> Self {
        let (head, middle) = match kind {
            Kind::Gone | Kind::New => (String::new(), text.to_owned()),
            Kind::Same | Kind::LeftOut => (text.to_owned(), String::new()),
        };
        Self { kind, head, middle, tail: String::new() }
    }
}

/// The longest common subsequence stays; what is gone stands before what is new.
fn aligned<'t>(before: &[&'t str], after: &[&'t str]) -> Vec<(Kind, &'t str)> {
    let gone = |line: &&'t str| (Kind::Gone, *line);
    let new = |line: &&'t str| (Kind::New, *line);
    let (rows, columns) = (before.len(), after.len());
    if rows.saturating_mul(columns) > MAX_PAIRS {
        return before.iter().map(gone).chain(after.iter().map(new)).collect();
    }
    // How long it is from here on, by how many lines are left out of each.
    let mut longest = vec![vec![0_u32; columns + 1]; rows + 1];
    for row in (0..rows).rev() {
        for column in (0..columns).rev() {
            longest[row][column] = if before[row] == after[column] {
                longest[row + 1][column + 1] + 1
            } else {
                longest[row + 1][column].max(longest[row][column + 1])
            };
        }
    }
    let (mut row, mut column) = (0, 0);
    let mut all = Vec::with_capacity(rows + columns);
    while row < rows && column < columns {
        if before[row] == after[column] {
            all.push((Kind::Same, before[row]));
            (row, column) = (row + 1, column + 1);
        } else if longest[row + 1][column] >= longest[row][column + 1] {
            all.push((Kind::Gone, before[row]));
            row += 1;
        } else {
            all.push((Kind::New, after[column]));
            column += 1;
        }
    }
    all.extend(before[row..].iter().map(gone));
    all.extend(after[column..].iter().map(new));
    all
}

/// Where as many lines are new as are gone, each stands for one: what differs of the
/// two is set apart.
fn emphasised(all: &[(Kind, &str)]) -> Vec<Line> {
    let mut lines: Vec<Line> = all.iter().map(|&(kind, text)| Line::plain(kind, text)).collect();
    let mut at = 0;
    while at < all.len() {
        let run = |from: usize, kind| all[from..].iter().take_while(|line| line.0 == kind).count();
        let gone = run(at, Kind::Gone);
        let new = run(at + gone, Kind::New);
        if gone == new {
            for pair in at..at + gone {
                let (head, tail) = common(all[pair].1, all[pair + gone].1);
                for place in [pair, pair + gone] {
                    let text = all[place].1;
                    lines[place] = Line {
                        kind: all[place].0,
                        head: text[..head].to_owned(),
                        middle: text[head..text.len() - tail].to_owned(),
                        tail: text[text.len() - tail..].to_owned(),
                    };
                }
            }
        }
        at += (gone + new).max(1);
    }
    lines
}

/// How many bytes two lines have in common at their beginnings and at their ends, in
/// whole words.
fn common(before: &str, after: &str) -> (usize, usize) {
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    let words = |text: &str| -> Vec<usize> {
        let mut ends = Vec::new();
        let mut chars = text.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            let next = chars.peek().map(|&(_, next)| next);
            if !(is_word(c) && next.is_some_and(is_word)) {
                ends.push(at + c.len_utf8());
            }
        }
        ends
    };
    let head = words(before)
        .into_iter()
        .filter(|&end| {
            let begins = after.get(..end).is_some_and(|begin| begin == &before[..end]);
            begins && words(after).contains(&end)
        })
        .max()
        .unwrap_or(0);
    let (before, after) = (&before[head..], &after[head..]);
    let starts = |text: &str| -> Vec<usize> {
        let mut starts = vec![0];
        starts.extend(words(text));
        starts
    };
    let after_starts = starts(after);
    let tail = starts(before)
        .into_iter()
        .filter(|&start| {
            let end = &before[start..];
            after.ends_with(end) && after_starts.contains(&(after.len() - end.len()))
        })
        .map(|start| before.len() - start)
        .max()
        .unwrap_or(0);
    (head, tail)
}

/// Long stretches of what stands in both are left out.
fn shortened(lines: &[Line]) -> Vec<Line> {
    let mut is_near = vec![false; lines.len()];
    for at in (0..lines.len()).filter(|&at| lines[at].kind != Kind::Same) {
        is_near[at.saturating_sub(AROUND)..lines.len().min(at + AROUND + 1)].fill(true);
    }
    let mut shown: Vec<Line> = Vec::new();
    let mut left_out = 0_u64;
    let flush = |shown: &mut Vec<Line>, left_out: &mut u64| {
        if *left_out > 0 {
            let text = super::words::counted(*left_out, "line");
            shown.push(Line::plain(Kind::LeftOut, &text));
            *left_out = 0;
        }
    };
    for (at, line) in lines.iter().enumerate() {
        if is_near[at] {
            flush(&mut shown, &mut left_out);
            shown.push(line.clone());
        } else {
            left_out += 1;
        }
    }
    flush(&mut shown, &mut left_out);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(before: &str, after: &str) -> Vec<String> {
        let line = |line: &Line| {
            let Line { head, middle, tail, .. } = line;
            let middle = if middle.is_empty() { String::new() } else { format!("[{middle}]") };
            format!("{}{head}{middle}{tail}", line.sign())
        };
        difference(before, after).iter().map(line).collect()
    }

    #[test]
    fn lines_that_differ_stand_among_their_neighbours() {
        let check = |before: &str, after: &str, expected: &[&str]| {
            assert_eq!(shown(before, after), expected, "{before:?} to {after:?}");
        };
        check("", "", &[]);
        check("a: 1", "a: 1", &["⋯1 line"]);
        check("", "id: x\na: 1", &["+[id: x]", "+[a: 1]"]);
        check("id: x\na: 1", "", &["−[id: x]", "−[a: 1]"]);
        check("id: x\na: 100", "id: x\na: 120", &[" id: x", "−a: [100]", "+a: [120]"]);
        check("id: x\na: 1", "id: x\na: 1\nb: 2", &[" id: x", " a: 1", "+[b: 2]"]);
        check(
            "- {id: eu, daily_calls: 5000, weight: 2}",
            "- {id: eu, daily_calls: 7000, weight: 2}",
            &[
                "−- {id: eu, daily_calls: [5000], weight: 2}",
                "+- {id: eu, daily_calls: [7000], weight: 2}",
            ],
        );
        check("- {id: eu}", "- {id: eu, weight: 2}", &["−- {id: eu}", "+- {id: eu[, weight: 2]}"]);
        check(
            "1\n2\n3\n4\n5\n6\n7\n8\n9",
            "1\n2\n3\n4\nx\n6\n7\n8\n9",
            &["⋯2 lines", " 3", " 4", "−[5]", "+[x]", " 6", " 7", "⋯2 lines"],
        );
        // A line in the middle has moved.
        check("a\nb\nc", "b\na\nc", &["−[a]", " b", "+[a]", " c"]);
        check("é: ä", "é: ö", &["−é: [ä]", "+é: [ö]"]);
    }

    #[test]
    fn texts_that_are_too_long_are_not_compared_line_by_line() {
        let text = |word: &str| (0..600).map(|n| format!("{word}{n}\n")).collect::<String>();
        let lines = difference(&text("a"), &text("b"));
        assert_eq!(lines.iter().filter(|line| line.is_gone()).count(), 600);
        assert_eq!(lines.iter().filter(|line| line.is_new()).count(), 600);
    }
}
