//! Text in colours that knows how wide it is.

use crate::quota::figures;

/// Whether text is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// Characters alone.
    Plain,
    /// ANSI colours.
    Color,
}

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Characters of a line.
    pub columns: usize,
    /// Lines.
    pub rows: usize,
}

/// A number with a comma after each three digits.
pub(super) fn thousands(number: u64) -> String {
    figures::thousands(number).to_string()
}

/// What a piece of text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Normal,
    Strong,
    Faint,
    Good,
    Warn,
    Bad,
    /// Three things that are to be told apart.
    First,
    Second,
    Third,
}

impl Style {
    /// The parameters of the ANSI sequence.
    const fn code(self) -> &'static str {
        match self {
            Self::Normal => "",
            Self::Strong => "1",
            Self::Faint => "2",
            Self::Good => "32",
            Self::Warn => "33",
            Self::Bad => "1;31",
            Self::First => "36",
            Self::Second => "35",
            Self::Third => "94",
        }
    }
}

/// A line that knows how many columns it fills; every character used here
/// fills one.
pub(super) struct Line {
    pub(super) text: String,
    pub(super) width: usize,
    ink: Ink,
}

impl Line {
    pub(super) const fn new(ink: Ink) -> Self {
        Self { text: String::new(), width: 0, ink }
    }

    pub(super) fn put(&mut self, text: &str, style: Style) {
        self.width += text.chars().count();
        if self.ink == Ink::Plain || style == Style::Normal {
            self.text += text;
        } else {
            self.text += &format!("\x1b[{}m{text}\x1b[0m", style.code());
        }
    }

    pub(super) fn pad_to(&mut self, width: usize) {
        let missing = width.saturating_sub(self.width);
        self.put(&" ".repeat(missing), Style::Normal);
    }

    /// Puts a text so that it ends in column `width`.
    pub(super) fn put_right(&mut self, text: &str, style: Style, width: usize) {
        self.pad_to(width.saturating_sub(text.chars().count()));
        self.put(text, style);
    }

    pub(super) fn join(mut self, other: Self) -> Self {
        self.text += &other.text;
        self.width += other.width;
        self
    }
}
