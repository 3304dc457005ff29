//! Tables, numbers, lengths of time and bars, for people.

use std::time::Duration;

use crate::quota::figures;

/// Which side of a column the text is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows under a header. Columns in which no row says anything are left out.
#[derive(Debug)]
pub struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new(columns: impl IntoIterator<Item = (&'static str, Align)>) -> Self {
        Self { columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    /// Adds a row, one cell per column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<_> = cells.into_iter().collect();
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }

    /// True without rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table, each line ended and indented by two blanks.
    pub fn render(&self) -> String {
        let width = |text: &str| text.chars().count();
        let columns: Vec<(usize, usize)> = (0..self.columns.len())
            .filter(|place| self.rows.iter().any(|row| !row[*place].is_empty()))
            .map(|place| {
                let cells = self.rows.iter().map(|row| width(&row[place])).max().unwrap_or(0);
                (place, cells.max(width(self.columns[place].0)))
            })
            .collect();
        let mut out = String::new();
        let mut line = |cell: &dyn Fn(usize) -> String| {
            let mut text = String::new();
            for (place, column) in &columns {
                let cell = cell(*place);
                let padding = " ".repeat(column - width(&cell));
                let (before, after) = match self.columns[*place].1 {
                    Align::Left => ("", padding.as_str()),
                    Align::Right => (padding.as_str(), ""),
                };
                text.push_str("  ");
                text.push_str(before);
                text.push_str(&cell);
                text.push_str(after);
            }
            out.push_str(text.trim_end());
            out.push('\n');
        };
        line(&|place| self.columns[place].0.to_owned());
        for row in &self.rows {
            line(&|place| row[place].clone());
        }
        out
    }
}

/// `15000` as `15,000`.
pub fn thousands(number: u64) -> String {
    figures::thousands(number).to_string()
}

/// The number, or nothing for 0.
pub fn unless_zero(number: u64) -> String {
    if number == 0 { String::new() } else { thousands(number) }
}

/// A share with one decimal, rounded down: 100 % is not shown before it is
/// reached. Nothing where there is no whole.
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return String::new();
    }
    let permille = u128::from(part) * 1_000 / u128::from(whole);
    format!("{}.{} %", permille / 10, permille % 10)
}

/// `3 calls`, `1 call`.
pub fn count(number: u64, one: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {one}{plural}", thousands(number))
}

/// A length of time in its two largest units: `2 h 14 min`, `12 s`, `250 ms`.
/// Never shorter than it is.
pub fn human(duration: Duration) -> String {
    const SECOND: u64 = 1_000_000;
    const UNITS: [(&str, u64); 5] =
        [("h", 3_600 * SECOND), ("min", 60 * SECOND), ("s", SECOND), ("ms", 1_000), ("µs", 1)];
    let micros = u64::try_from(duration.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX);
    let Some(first) = UNITS.iter().position(|(_, length)| micros >= *length) else {
        return "0 s".into();
    };
    // Two units, except that fractions of a second are of no use beside minutes.
    let last = if first >= 2 { (first + 1).min(4) } else { (first + 1).min(2) };
    let mut rest = micros.div_ceil(UNITS[last].1).saturating_mul(UNITS[last].1);
    let mut words = Vec::new();
    for (unit, length) in &UNITS[first..=last] {
        if rest >= *length {
            words.push(format!("{} {unit}", rest / length));
            rest %= length;
        }
    }
    words.join(" ")
}

/// The parts of a bar, in the order in which they are drawn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bar {
    /// Used through the service.
    pub used: u64,
    /// Used by others.
    pub foreign: u64,
    /// Set aside.
    pub held: u64,
    /// All there is.
    pub max: u64,
}

impl Bar {
    /// What the signs mean.
    pub const LEGEND: &str = "█ used   ▓ by others   ▒ held   · free";

    /// The bar in `width` cells. Something used never looks like nothing, and
    /// what is not used up never looks full.
    pub fn render(self, width: u64) -> String {
        let cell = |units: u64| -> u64 {
            let units = units.min(self.max);
            if units == 0 || self.max == 0 {
                return 0;
            }
            let cells = u128::from(units) * u128::from(width) / u128::from(self.max);
            u64::try_from(cells).unwrap_or(width).max(1)
        };
        let mut out = String::new();
        let (mut units, mut cells) = (0_u64, 0);
        for (part, sign) in [(self.used, '█'), (self.foreign, '▓'), (self.held, '▒')] {
            units = units.saturating_add(part);
            let end = if part == 0 { cells } else { cell(units).max(cells) };
            out.extend((cells..end).map(|_| sign));
            cells = end;
        }
        out.extend((cells..width).map(|_| '·'));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_empty_ones_left_out() {
        let mut table =
            Table::new([("NAME", Align::Left), ("NOTE", Align::Left), ("MAX", Align::Right)]);
        table.row(["calls".into(), String::new(), "15,000".into()]);
        table.row(["größe".into(), String::new(), "5".into()]);
        assert_eq!(table.render(), "  NAME      MAX\n  calls  15,000\n  größe       5\n");
    }

    #[test]
    fn numbers_are_readable() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (15_000, "15,000"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(thousands(number), text);
        }
        for (part, whole, text) in [
            (0, 90, "0.0 %"),
            (1, 3, "33.3 %"),
            (14_999, 15_000, "99.9 %"),
            (90, 90, "100.0 %"),
            (110_018, 100_000, "110.0 %"),
            (u64::MAX, 1, "1844674407370955161500.0 %"),
            (1, 0, ""),
        ] {
            assert_eq!(percent(part, whole), text, "{part}/{whole}");
        }
        assert_eq!(count(1, "call"), "1 call");
        assert_eq!(count(1_000, "call"), "1,000 calls");
    }

    #[test]
    fn lengths_of_time_are_readable_and_never_shorter_than_they_are() {
        for (duration, text) in [
            (Duration::ZERO, "0 s"),
            (Duration::from_nanos(1), "1 µs"),
            (Duration::from_micros(180), "180 µs"),
            (Duration::from_micros(1_250), "1 ms 250 µs"),
            (Duration::from_millis(250), "250 ms"),
            (Duration::from_millis(1_500), "1 s 500 ms"),
            (Duration::from_secs(5), "5 s"),
            (Duration::from_secs(60), "1 min"),
            (Duration::from_millis(59_999), "59 s 999 ms"),
            (Duration::from_millis(60_001), "1 min 1 s"),
            (Duration::from_secs(8_040), "2 h 14 min"),
            (Duration::from_secs(8_041), "2 h 15 min"),
            (Duration::from_secs(86_400), "24 h"),
        ] {
            assert_eq!(human(duration), text, "{duration:?}");
        }
    }

    #[track_caller]
    fn draws(used: u64, foreign: u64, held: u64, max: u64, bar: &str) {
        assert_eq!(Bar { used, foreign, held, max }.render(10), bar);
    }

    #[test]
    fn bars_show_use_truthfully() {
        draws(0, 0, 0, 100, "··········");
        draws(50, 0, 0, 100, "█████·····");
        draws(30, 20, 10, 100, "███▓▓▒····");
        draws(1, 0, 0, 15_000, "█·········");
        draws(99, 0, 0, 100, "█████████·");
        draws(100, 0, 0, 100, "██████████");
        draws(80, 80, 0, 100, "████████▓▓");
        draws(5, 0, 0, 0, "··········");
        draws(u64::MAX, u64::MAX, 1, u64::MAX, "██████████");
    }
}
