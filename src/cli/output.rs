//! What goes to standard output.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
};

use prost::Name;

use super::table::count;
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

/// Draws a text over what the terminal shows: no flicker, and nothing scrolls.
///
/// # Errors
/// Standard output does not take it.
pub fn draw_over(text: &str) -> io::Result<()> {
    let (width, height) = terminal_size::terminal_size()
        .map_or((usize::MAX, usize::MAX), |(width, height)| {
            (usize::from(width.0), usize::from(height.0))
        });
    // Home, each line cleared to its end, the rest of the screen cleared.
    let mut frame = String::from("\u{1b}[H");
    let lines = text.lines().count();
    let shown = if lines < height { lines } else { height.saturating_sub(2) };
    for line in text.lines().take(shown) {
        frame.extend(line.chars().take(width));
        frame.push_str("\u{1b}[K\r\n");
    }
    if shown < lines {
        _ = write!(frame, "… {} more\u{1b}[K", count((lines - shown) as u64, "line"));
    }
    frame.push_str("\u{1b}[J");
    print(&frame)
}

/// A text of the server or of a stranger, made harmless for a terminal.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
