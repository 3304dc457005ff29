//! What goes to standard output.

use std::io::{self, Write as _};

use prost::Name;

use crate::json;

/// How to print an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned, with units, for people
    #[default]
    Table,
    /// Canonical proto JSON
    Json,
}

/// Prints an answer: the message as JSON, or `table` of it.
///
/// # Errors
/// Standard output does not take it.
pub fn answer<M: Name>(
    format: Format,
    message: &M,
    table: impl FnOnce(&M) -> String,
) -> io::Result<()> {
    match format {
        Format::Json => print(&(json::to_pretty(message) + "\n")),
        Format::Table => print(&table(message)),
    }
}

/// Prints a text as it is.
///
/// # Errors
/// Standard output does not take it.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// A text of the server or of a stranger, made harmless for a terminal.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
