//! What happened in a run, told line by line: to people, or into a number that
//! two runs are compared by.

use std::{
    cell::Cell,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

/// Where the lines go.
#[derive(Clone, Debug, Default)]
pub enum Trace {
    /// Nowhere: they are not even made.
    #[default]
    Off,
    /// To the terminal.
    Printed,
    /// Into a hash of all lines so far.
    Hashed(Cell<u64>),
}

impl Trace {
    /// Printed, if a variable of the environment asks for it.
    pub fn asked(variable: &str) -> Self {
        if std::env::var_os(variable).is_some() { Self::Printed } else { Self::Off }
    }

    /// Tells a line about a moment of true time.
    pub fn say(&self, at: u64, what: impl FnOnce() -> String) {
        match self {
            Self::Off => {}
            Self::Printed => eprintln!("{at:>14} {}", what()),
            Self::Hashed(hash) => {
                let mut hasher = DefaultHasher::new();
                (hash.get(), at, what()).hash(&mut hasher);
                hash.set(hasher.finish());
            }
        }
    }

    /// The hash of all lines; 0 if they are not hashed.
    pub fn hash(&self) -> u64 {
        if let Self::Hashed(hash) = self { hash.get() } else { 0 }
    }
}
