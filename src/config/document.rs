//! A YAML text as a tree of values that know their lines.
//!
//! Everything here is bounded: the size of the text, the depth of nesting, the
//! number of values. Aliases are refused rather than expanded, so that a small
//! text cannot become a large tree. Duplicate keys are kept, so that they can
//! be reported.

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::faults::Faults;

/// The longest text that is read. An org with a thousand workspaces takes about
/// 50 KiB.
pub const MAX_BYTES: usize = 4 << 20;

/// The deepest nesting; the configuration itself needs eight levels.
const MAX_DEPTH: usize = 32;

/// The most values in a text.
const MAX_VALUES: usize = 500_000;

/// A value and where it stands.
#[derive(Debug)]
pub struct Node {
    /// The line, from 1.
    pub line: usize,
    /// The value.
    pub value: Value,
}

/// What stands there.
#[derive(Debug)]
pub enum Value {
    /// A single value, not yet interpreted: an id of digits stays an id.
    Scalar {
        /// As written, without quotes.
        text: String,
        /// True unless quoted: only plain values can be numbers or null.
        plain: bool,
    },
    /// A list.
    Sequence(Vec<Node>),
    /// Keys with values, in the order of the text, duplicates included.
    Mapping(Vec<Entry>),
    /// Something already reported as a fault; readers pass over it.
    Faulty,
}

/// A key with its value.
#[derive(Debug)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The line of the key, from 1.
    pub line: usize,
    /// The value.
    pub value: Node,
}

impl Node {
    /// True for an absent value: nothing, `~` or `null`.
    pub fn is_null(&self) -> bool {
        match &self.value {
            Value::Scalar { text, plain: true } => {
                matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL")
            }
            _ => false,
        }
    }
}

/// Reads the one document of a text; an empty text is null. `None` where the
/// text cannot be read as a whole, which is then among the faults.
pub fn read(text: &str, faults: &Faults) -> Option<Node> {
    if text.len() > MAX_BYTES {
        faults.add(None, "", too_long(text.len()));
        return None;
    }
    // The parser takes a NUL for the end of the text, and would read half of it.
    if let Some(place) = text.find('\0') {
        let line = text[..place].matches('\n').count() + 1;
        faults.add(Some(line), "", "must not contain a NUL character");
        return None;
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder { faults, open: Vec::new(), values: 0, root: None };
    // Pulled event by event: the parser's own loader recurses with the nesting.
    let mut parser = Parser::new_from_str(text);
    while let Some(next) = parser.next_event() {
        let (event, span) = match next {
            Ok(event) => event,
            Err(error) => {
                // At the end of the text the parser is one line too far.
                let line = error.marker().line().clamp(1, text.lines().count().max(1));
                faults.add(Some(line), "", format!("is not YAML: {}", error.info()));
                return None;
            }
        };
        builder.take(event, span)?;
    }
    let empty = Value::Scalar { text: String::new(), plain: true };
    Some(builder.root.unwrap_or(Node { line: 1, value: empty }))
}

/// Why a text of that many bytes is refused.
pub fn too_long(bytes: usize) -> String {
    format!("must have at most {MAX_BYTES} bytes, has {bytes}")
}

struct Builder<'f> {
    faults: &'f Faults,
    /// The collections that have begun and not ended, outermost first.
    open: Vec<Open>,
    values: usize,
    root: Option<Node>,
}

struct Open {
    line: usize,
    /// It has a fault of its own, and its content does not matter.
    faulty: bool,
    content: Content,
}

enum Content {
    Sequence(Vec<Node>),
    Mapping { entries: Vec<Entry>, key: Option<Key> },
}

/// A key whose value has not come yet; `None` for one that is no name.
struct Key {
    line: usize,
    name: Option<String>,
}

impl Builder<'_> {
    /// Takes an event; `None` ends the reading.
    fn take(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        let line = span.start.line().max(1);
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            Event::DocumentStart(_) => {
                if self.root.is_some() {
                    let message = "must be one document: remove the line `---` or `...` before it";
                    self.faults.add(Some(line), "", message);
                    return None;
                }
            }
            Event::Alias(_) => {
                self.faults.add(
                    Some(line),
                    "",
                    "aliases (`*name`) are not supported: repeat the value",
                );
                self.insert(Node { line, value: Value::Faulty })?;
            }
            Event::Scalar(text, style, _, tag) => {
                let value = if self.refuses_tag(line, tag.is_some()) {
                    Value::Faulty
                } else {
                    let plain = style == ScalarStyle::Plain;
                    Value::Scalar { text: text.into_owned(), plain }
                };
                self.insert(Node { line, value })?;
            }
            Event::SequenceStart(_, tag) => {
                let faulty = self.refuses_tag(line, tag.is_some());
                self.begin(Open { line, faulty, content: Content::Sequence(Vec::new()) })?;
            }
            Event::MappingStart(_, tag) => {
                let faulty = self.refuses_tag(line, tag.is_some());
                let content = Content::Mapping { entries: Vec::new(), key: None };
                self.begin(Open { line, faulty, content })?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Open { line, faulty, content } = self.open.pop()?;
                let value = match content {
                    _ if faulty => Value::Faulty,
                    Content::Sequence(items) => Value::Sequence(items),
                    Content::Mapping { entries, .. } => Value::Mapping(entries),
                };
                self.insert(Node { line, value })?;
            }
        }
        Some(())
    }

    fn begin(&mut self, open: Open) -> Option<()> {
        if self.open.len() == MAX_DEPTH {
            let message = format!("must be nested at most {MAX_DEPTH} deep");
            self.faults.add(Some(open.line), "", message);
            return None;
        }
        self.open.push(open);
        Some(())
    }

    /// Puts a finished value where it belongs.
    fn insert(&mut self, node: Node) -> Option<()> {
        self.values += 1;
        if self.values > MAX_VALUES {
            let message = format!("must have at most {MAX_VALUES} values");
            self.faults.add(Some(node.line), "", message);
            return None;
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(Content::Sequence(items)) => items.push(node),
            Some(Content::Mapping { entries, key }) => match key.take() {
                Some(Key { line, name: Some(name) }) => {
                    entries.push(Entry { key: name, line, value: node });
                }
                Some(Key { name: None, .. }) => {}
                None => {
                    let name = match node.value {
                        Value::Scalar { text, .. } => Some(text),
                        Value::Faulty => None,
                        Value::Sequence(_) | Value::Mapping(_) => {
                            self.faults.add(Some(node.line), "", "a key must be a plain name");
                            None
                        }
                    };
                    *key = Some(Key { line: node.line, name });
                }
            },
        }
        Some(())
    }

    fn refuses_tag(&self, line: usize, tagged: bool) -> bool {
        if tagged {
            self.faults.add(Some(line), "", "tags (`!name`) are not supported: remove it");
        }
        tagged
    }
}
