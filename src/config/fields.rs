//! Reading of values out of a document: each reader either returns the value
//! or adds a fault that names line, field and remedy, and returns `None`; so
//! reading goes on, and every fault is found at once.

use std::{collections::BTreeMap, fmt, ops::RangeInclusive, time::Duration};

use super::{
    document::{Entry, Node, Value},
    faults::{Faults, listed, shown, suggestion},
};
use crate::duration;

/// A value with its path.
#[derive(Clone, Debug)]
pub struct Item<'n> {
    node: &'n Node,
    faults: &'n Faults,
    /// The line to name in a fault: of the key where there is one.
    line: usize,
    /// For example `orgs[0].workspaces[1].daily_calls`.
    path: String,
}

/// A mapping without duplicate keys: of several the first counts.
#[derive(Clone, Debug)]
pub struct Fields<'n> {
    entries: Vec<&'n Entry>,
    item: Item<'n>,
}

impl<'n> Item<'n> {
    /// The whole document.
    pub fn root(node: &'n Node, faults: &'n Faults) -> Self {
        Self { node, faults, line: node.line, path: String::new() }
    }

    /// Where the value stands, for sentences of other faults.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The line of the value, from 1: of its key where there is one.
    pub fn line(&self) -> usize {
        self.line
    }

    /// True for an absent value.
    pub fn is_null(&self) -> bool {
        self.node.is_null()
    }

    /// True for a mapping.
    pub fn is_mapping(&self) -> bool {
        matches!(self.node.value, Value::Mapping(_))
    }

    /// True for a mapping with any of these keys.
    pub fn has_any_key(&self, keys: &[&str]) -> bool {
        match &self.node.value {
            Value::Mapping(entries) => {
                entries.iter().any(|entry| keys.contains(&entry.key.as_str()))
            }
            _ => false,
        }
    }

    /// Adds a fault about this value.
    pub fn fault(&self, message: impl Into<String>) {
        self.faults.add(Some(self.line), &self.path, message);
    }

    /// A mapping with these keys and no others.
    pub fn fields(self, known: &[&str]) -> Option<Fields<'n>> {
        let fields = self.mapping("a mapping with keys (`key: value`)")?;
        for &entry in &fields.entries {
            if !known.contains(&entry.key.as_str()) {
                let message = format!("is not a key here: {}", suggestion(&entry.key, known));
                fields.child(entry).fault(message);
            }
        }
        Some(fields)
    }

    /// A mapping whose keys are names of the user's choice.
    pub fn entries(self) -> Vec<(&'n str, Item<'n>)> {
        let Some(fields) = self.mapping("a mapping of names (`name: …`)") else {
            return Vec::new();
        };
        fields.entries.iter().map(|entry| (entry.key.as_str(), fields.child(entry))).collect()
    }

    /// A list of at most `max` values.
    pub fn items(&self, max: usize) -> Option<Vec<Item<'n>>> {
        let Value::Sequence(nodes) = &self.node.value else {
            self.wrong_type("a list (`[a, b]`, or lines that begin with `- `)");
            return None;
        };
        if nodes.len() > max {
            self.fault(format!("must have at most {max} entries, has {}", nodes.len()));
            return None;
        }
        let item = |(place, node): (usize, &'n Node)| Item {
            node,
            faults: self.faults,
            line: node.line,
            path: format!("{}[{place}]", self.path),
        };
        Some(nodes.iter().enumerate().map(item).collect())
    }

    /// A whole number within bounds.
    pub fn number(&self, bounds: RangeInclusive<u64>) -> Option<u64> {
        let (text, plain) = self.scalar("a whole number")?;
        let expected = format!("a whole number from {} to {}", bounds.start(), bounds.end());
        if !plain {
            self.fault(format!("must be {expected}, is a text: leave out the quotes"));
            return None;
        }
        // Only decimal digits: "010" is eight to some readers of YAML.
        let decimal = text.bytes().all(|byte| byte.is_ascii_digit())
            && (text == "0" || !text.starts_with('0'));
        let number = text.parse().ok().filter(|number| decimal && bounds.contains(number));
        if number.is_none() {
            self.fault(format!("must be {expected}, is {}", shown(text)));
        }
        number
    }

    /// A whole percentage within bounds.
    pub fn percent(&self, bounds: RangeInclusive<u32>) -> Option<u32> {
        let number = self.number(u64::from(*bounds.start())..=u64::from(*bounds.end()))?;
        u32::try_from(number).ok()
    }

    /// `true` or `false`.
    pub fn boolean(&self) -> Option<bool> {
        match self.scalar("`true` or `false`")? {
            ("true", true) => Some(true),
            ("false", true) => Some(false),
            (text, _) => {
                self.fault(format!("must be `true` or `false` without quotes, is {}", shown(text)));
                None
            }
        }
    }

    /// A duration within bounds.
    pub fn duration(&self, bounds: RangeInclusive<Duration>) -> Option<Duration> {
        let (text, _) = self.scalar("a duration such as `1m`")?;
        let duration = match duration::parse(text) {
            Ok(duration) => duration,
            Err(message) => {
                self.fault(message);
                return None;
            }
        };
        if !bounds.contains(&duration) {
            let (least, most) =
                (duration::format(*bounds.start()), duration::format(*bounds.end()));
            self.fault(format!("must be from {least} to {most}, is {}", shown(text)));
            return None;
        }
        Some(duration)
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let (text, _) = self.scalar(&format!("one of {}", listed(&names)))?;
        let choice = choices.iter().find(|(name, _)| *name == text);
        if choice.is_none() {
            let expected = listed(&names);
            self.fault(format!("must be one of {expected}, is {}", shown(text)));
        }
        choice.map(|(_, value)| *value)
    }

    /// A name that a parser of its own checks. Quotes or not: an id that looks
    /// like a number is an id.
    pub fn parsed<T, E: fmt::Display>(&self, parse: impl Fn(&str) -> Result<T, E>) -> Option<T> {
        let (text, _) = self.scalar("a name")?;
        match parse(text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.fault(format!("{error} ({})", shown(text)));
                None
            }
        }
    }

    fn scalar(&self, expected: &str) -> Option<(&'n str, bool)> {
        match &self.node.value {
            Value::Scalar { text, plain } if !self.node.is_null() => Some((text, *plain)),
            _ => {
                self.wrong_type(expected);
                None
            }
        }
    }

    fn mapping(self, expected: &str) -> Option<Fields<'n>> {
        let Value::Mapping(entries) = &self.node.value else {
            self.wrong_type(expected);
            return None;
        };
        let mut fields = Fields { entries: Vec::new(), item: self };
        let mut first_lines = BTreeMap::new();
        for entry in entries {
            if let Some(first) = first_lines.get(&entry.key) {
                let message = format!("is here already, on line {first}: remove one of the two");
                fields.child(entry).fault(message);
            } else {
                first_lines.insert(&entry.key, entry.line);
                fields.entries.push(entry);
            }
        }
        Some(fields)
    }

    fn wrong_type(&self, expected: &str) {
        let found = match &self.node.value {
            _ if self.node.is_null() => "nothing".to_owned(),
            Value::Scalar { text, .. } => shown(text),
            Value::Sequence(_) => "a list".to_owned(),
            Value::Mapping(_) => "a mapping".to_owned(),
            Value::Faulty => return,
        };
        self.fault(format!("must be {expected}, is {found}"));
    }
}

impl<'n> Fields<'n> {
    /// The value of a key; `None` where it is absent or null.
    pub fn get(&self, key: &str) -> Option<Item<'n>> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        (!entry.value.is_null()).then(|| self.child(entry))
    }

    /// The value of a key that must be there.
    pub fn required(&self, key: &str, example: &str) -> Option<Item<'n>> {
        let item = self.get(key);
        if item.is_none() {
            self.item.faults.add(
                Some(self.item.line),
                &join(&self.item.path, key),
                format!("is missing: add for example `{key}: {example}`"),
            );
        }
        item
    }

    /// The mapping itself.
    pub fn item(&self) -> &Item<'n> {
        &self.item
    }

    fn child(&self, entry: &'n Entry) -> Item<'n> {
        Item {
            node: &entry.value,
            faults: self.item.faults,
            line: entry.line,
            path: join(&self.item.path, &entry.key),
        }
    }
}

/// Names whose repeats are faults.
#[derive(Debug)]
pub struct Once<T> {
    first_paths: BTreeMap<T, String>,
}

impl<T: Ord + Clone + fmt::Display> Once<T> {
    /// None seen yet.
    pub fn new() -> Self {
        Self { first_paths: BTreeMap::new() }
    }

    /// True if the name is new; else a fault at `item`.
    pub fn take(&mut self, name: &T, item: &Item<'_>) -> bool {
        if let Some(first) = self.first_paths.get(name) {
            item.fault(format!(
                "`{name}` is declared already, by `{first}`: remove one of the two"
            ));
            return false;
        }
        self.first_paths.insert(name.clone(), item.path.clone());
        true
    }
}

fn join(path: &str, key: &str) -> String {
    const MAX_CHARS: usize = 64;
    let key: String = key.chars().take(MAX_CHARS).flat_map(char::escape_debug).collect();
    if path.is_empty() { key } else { format!("{path}.{key}") }
}
