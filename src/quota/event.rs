//! What the service tells by itself: that a class of a workspace paused, that a
//! cap is near, that an org cools down. For those who are not asking.

use std::fmt;

use smol_str::SmolStr;

use super::{ClassStatus, LimitName, Mono, Scope, WorkspaceId};

/// Something that others should hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Mono,
    /// Whose, where it is about one workspace.
    pub workspace: Option<WorkspaceId>,
    /// What.
    pub what: Happening,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A class is refused until use has fallen.
    ClassPaused(ClassStatus),
    /// A class is served again.
    ClassResumed(ClassStatus),
    /// Use has reached 80 % of the cap; a sentence for people.
    LimitApproaching(String),
    /// Use has reached the cap; a sentence for people.
    LimitReached(String),
    /// Salesforce said stop.
    CoolingBegan(Cooling),
    /// It did no more.
    CoolingEnded(Cooling),
}

/// What cools down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cooling {
    /// Whose limit.
    pub scope: Scope,
    /// The org, workspace or user.
    pub identity: SmolStr,
    /// The limit's name.
    pub limit: LimitName,
    /// When the next call may try, as far as it is known.
    pub until: Option<Mono>,
}

/// The sorts of events, as listeners choose among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventKind {
    /// See [`Happening::ClassPaused`].
    ClassPaused,
    /// See [`Happening::ClassResumed`].
    ClassResumed,
    /// See [`Happening::LimitApproaching`].
    LimitApproaching,
    /// See [`Happening::LimitReached`].
    LimitReached,
    /// See [`Happening::CoolingBegan`].
    CoolingBegan,
    /// See [`Happening::CoolingEnded`].
    CoolingEnded,
}

impl EventKind {
    /// All sorts.
    pub const ALL: [Self; 6] = [
        Self::ClassPaused,
        Self::ClassResumed,
        Self::LimitApproaching,
        Self::LimitReached,
        Self::CoolingBegan,
        Self::CoolingEnded,
    ];

    /// The name in configuration and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClassPaused => "class_paused",
            Self::ClassResumed => "class_resumed",
            Self::LimitApproaching => "limit_approaching",
            Self::LimitReached => "limit_reached",
            Self::CoolingBegan => "cooling_began",
            Self::CoolingEnded => "cooling_ended",
        }
    }
}

impl Happening {
    /// Its sort.
    #[must_use]
    pub const fn kind(&self) -> EventKind {
        match self {
            Self::ClassPaused(_) => EventKind::ClassPaused,
            Self::ClassResumed(_) => EventKind::ClassResumed,
            Self::LimitApproaching(_) => EventKind::LimitApproaching,
            Self::LimitReached(_) => EventKind::LimitReached,
            Self::CoolingBegan(_) => EventKind::CoolingBegan,
            Self::CoolingEnded(_) => EventKind::CoolingEnded,
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
