//! The list of everything that is wrong with a text.

use std::cell::{Cell, RefCell};

use super::Fault;

/// More faults than this are counted, not listed: nobody reads them, and a
/// hostile text could make millions.
const MAX_FAULTS: usize = 1_000;

/// Collects faults while a text is read; shared by all of its readers.
#[derive(Debug, Default)]
pub struct Faults {
    list: RefCell<Vec<Fault>>,
    unlisted: Cell<usize>,
}

impl Faults {
    /// Adds a fault; `field` is empty where it is about the whole text.
    pub fn add(&self, line: Option<usize>, field: &str, message: impl Into<String>) {
        let mut list = self.list.borrow_mut();
        if list.len() == MAX_FAULTS {
            self.unlisted.set(self.unlisted.get() + 1);
            return;
        }
        list.push(Fault { line, field: field.to_owned(), message: message.into() });
    }

    /// `value` if nothing was wrong, else all faults in the order of their lines.
    ///
    /// # Errors
    /// The faults.
    pub fn into_result<T>(self, value: Option<T>) -> Result<T, Vec<Fault>> {
        let mut list = self.list.into_inner();
        if let (Some(value), true) = (value, list.is_empty()) {
            return Ok(value);
        }
        if list.is_empty() {
            let message = "cannot be read".to_owned();
            list.push(Fault { line: None, field: String::new(), message });
        }
        list.sort_by_key(|fault| fault.line);
        let unlisted = self.unlisted.get();
        if unlisted > 0 {
            let message = format!("and {unlisted} more faults");
            list.push(Fault { line: None, field: String::new(), message });
        }
        Err(list)
    }
}

/// A text in a message: escaped, and short whatever its length.
pub fn shown(text: &str) -> String {
    const MAX_CHARS: usize = 64;
    let mut chars = text.chars();
    let short: String = chars.by_ref().take(MAX_CHARS).flat_map(char::escape_debug).collect();
    let more = if chars.next().is_some() { "…" } else { "" };
    format!("`{short}{more}`")
}

/// ` (did you mean `x`?)` with the known name nearest to `name`, or the list of
/// what is known where none is near.
pub fn suggestion(name: &str, known: &[&str]) -> String {
    let nearest = known
        .iter()
        .filter(|_| name.len() <= 64)
        .map(|candidate| (edit_distance(name, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).clamp(1, 3))
        .min();
    match nearest {
        Some((_, candidate)) => format!("did you mean `{candidate}`?"),
        None => format!("known are {}", listed(known)),
    }
}

/// "`a`, `b` and `c`".
pub fn listed(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => "none".to_owned(),
    }
}

/// How many letters must be inserted, removed, replaced or swapped with their
/// neighbour to make `b` of `a` (optimal string alignment).
fn edit_distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_gets_the_nearest_known_one() {
        let known = ["daily_calls", "daily_calls_max", "preset", "id"];
        let rows = [
            ("daily_call", "did you mean `daily_calls`?"),
            ("dialy_calls", "did you mean `daily_calls`?"),
            ("daily-calls", "did you mean `daily_calls`?"),
            ("daily_calls_mx", "did you mean `daily_calls_max`?"),
            ("ID", "known are `daily_calls`, `daily_calls_max`, `preset` and `id`"),
            ("di", "did you mean `id`?"),
            ("colour", "known are `daily_calls`, `daily_calls_max`, `preset` and `id`"),
        ];
        for (name, expected) in rows {
            assert_eq!(suggestion(name, &known), expected, "{name}");
        }
    }

    #[test]
    fn a_flood_of_faults_is_counted_and_not_listed() {
        let faults = Faults::default();
        (0..MAX_FAULTS + 5).for_each(|line| faults.add(Some(line), "field", "is wrong"));
        let list = faults.into_result::<()>(None).expect_err("there are faults");
        assert_eq!(list.len(), MAX_FAULTS + 1);
        assert_eq!(list.last().map(|fault| fault.message.as_str()), Some("and 5 more faults"));
    }
}
