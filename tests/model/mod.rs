//! A model of how a counter is reserved and how its shard changes hands, small
//! enough that every order of events can be tried.
//!
//! In it: fenced transactions that are applied late, or not at all, or whose
//! answer is lost; leases that end at any moment, whoever believes what; nodes
//! that crash, or sleep for as long as they like and go on where they were;
//! calls that are made at the last moment, reported, or given back.
//!
//! Not in it: errors of clocks and the time that a call travels (they only move
//! stamps), several counters in one transaction, and who takes a shard when:
//! here anybody may at any time, which is more than the members ever do.

mod properties;
mod steps;
mod world;

use std::{fmt, str::FromStr};

pub use self::{
    properties::check,
    steps::Step,
    world::{Tick, World},
};

/// How large the world is, and what is wrong in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Nodes that compete for the shard.
    pub nodes: usize,
    /// *L*: units in every window.
    pub limit: usize,
    /// Units of a block.
    pub block: usize,
    /// *T*, in ticks.
    pub window: Tick,
    /// *H*: ticks for which a block can be granted from, after the one in which
    /// it was asked for.
    pub horizon: Tick,
    /// The life of a permit, in ticks.
    pub ttl: Tick,
    /// Transactions that may be on their way at a time.
    pub in_flight: usize,
    /// What is wrong.
    pub fault: Option<Fault>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            nodes: 2,
            limit: 2,
            block: 1,
            window: 2,
            horizon: 1,
            ttl: 1,
            in_flight: 2,
            fault: None,
        }
    }
}

/// A mistake that can be planted, to see that it is found.
///
/// [`Fault::ReadBeforeTake`] alone breaks what is read, but not the limit: as
/// records are compared, such a taker finds out with its first reserve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    BlindPut,
    ReadBeforeTake,
    NoRecordCompare,
    NoOwnerCompare,
    TimeoutIsSuccess,
    DeadlineFromAnswer,
    NoBlockDeadline,
    TakeoverWithoutSealing,
    SealWithoutTtl,
    ReleaseSentToOpen,
}

impl Fault {
    /// All of them, with their names and what each is.
    pub const ALL: [(Self, &str, &str); 10] = [
        (Self::BlindPut, "blind-put", "records are put without comparing anything"),
        (Self::ReadBeforeTake, "read-before-take", "a taker reads first, then puts the owner key"),
        (Self::NoRecordCompare, "no-record-compare", "only the owner key is compared"),
        (Self::NoOwnerCompare, "no-owner-compare", "only the record is compared"),
        (Self::TimeoutIsSuccess, "timeout-is-success", "no answer is taken for success"),
        (
            Self::DeadlineFromAnswer,
            "deadline-from-answer",
            "a block's deadline counts from the answer",
        ),
        (Self::NoBlockDeadline, "no-block-deadline", "a block can be granted from for ever"),
        (Self::TakeoverWithoutSealing, "takeover-without-sealing", "a taker forgets what was open"),
        (
            Self::SealWithoutTtl,
            "seal-without-ttl",
            "a lost block is sealed without its permits' life",
        ),
        (
            Self::ReleaseSentToOpen,
            "release-sent-to-open",
            "a unit that was sent goes back to the open block",
        ),
    ];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = Self::ALL.iter().find(|(fault, ..)| fault == self);
        f.pad(row.map_or("", |(_, name, _)| name))
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let row = Self::ALL.iter().find(|(_, name, _)| *name == text);
        row.map(|(fault, ..)| *fault).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|(_, name, _)| *name).collect();
            format!("there is no fault {text:?}; there are {}", names.join(", "))
        })
    }
}
