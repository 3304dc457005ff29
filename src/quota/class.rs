//! Traffic classes and the arithmetic of their thresholds (Intercom's rules:
//! bulk synchronisation pauses first, event synchronisation later, people last,
//! settings never by the workspace's cap).

/// Who waits for a call. The order is the order of service: `Control` first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Application settings: never stopped by a workspace's cap.
    Control,
    /// A person waits.
    Interactive,
    /// Event-based background synchronisation.
    Event,
    /// Manual bulk synchronisation.
    Bulk,
}

impl Class {
    /// All classes, in the order of service.
    pub const ALL: [Self; 4] = [Self::Control, Self::Interactive, Self::Event, Self::Bulk];

    /// The classes that a workspace's cap can pause, in the order of service.
    pub const PAUSABLE: [Self; 3] = [Self::Interactive, Self::Event, Self::Bulk];

    /// The name in configuration, metrics and sentences.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Interactive => "interactive",
            Self::Event => "event",
            Self::Bulk => "bulk",
        }
    }

    /// What the customers of a workspace call it.
    #[must_use]
    pub const fn described(self) -> &'static str {
        match self {
            Self::Control => "app settings",
            Self::Interactive => "the inbox",
            Self::Event => "event-based sync",
            Self::Bulk => "manual bulk sync",
        }
    }
}

/// Percentages of a workspace's cap, each 1 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// The class pauses when use has reached this share.
    pub pause: u32,
    /// It resumes when use is below this share; at most `pause`.
    pub resume: u32,
}

impl Thresholds {
    /// The use at which the class is paused: `ceil(pause × cap / 100)`. No
    /// grant takes use beyond it.
    #[must_use]
    pub fn pause_point(self, cap: u64) -> u64 {
        percent_up(self.pause, cap)
    }

    /// A paused class resumes when use is below this: `ceil(resume × cap / 100)`
    /// (for whole units, the same as use being below the exact share).
    #[must_use]
    pub fn resume_point(self, cap: u64) -> u64 {
        percent_up(self.resume, cap)
    }
}

fn percent_up(percent: u32, cap: u64) -> u64 {
    let (hundreds, rest) = (cap / 100, cap % 100);
    let percent = u64::from(percent);
    hundreds.saturating_mul(percent).saturating_add((rest * percent).div_ceil(100))
}

/// The thresholds of the classes that can pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassPolicy {
    /// Manual bulk synchronisation.
    pub bulk: Thresholds,
    /// Event-based synchronisation.
    pub event: Thresholds,
    /// People.
    pub interactive: Thresholds,
}

impl ClassPolicy {
    /// The thresholds of a named preset: `default` (bulk 40/40, event 80/60,
    /// interactive 100/100), `strict` (event pauses at 60 already) or `calm`
    /// (bulk resumes two points lower).
    #[must_use]
    pub fn preset(name: &str) -> Option<Self> {
        let default = Self::default();
        match name {
            "default" => Some(default),
            "strict" => Some(Self { event: Thresholds { pause: 60, resume: 60 }, ..default }),
            "calm" => Some(Self { bulk: Thresholds { pause: 40, resume: 38 }, ..default }),
            _ => None,
        }
    }

    /// The names that [`ClassPolicy::preset`] knows.
    pub const PRESETS: [&'static str; 3] = ["default", "strict", "calm"];

    /// The thresholds of one class; `Control` has none.
    #[must_use]
    pub const fn of(&self, class: Class) -> Option<Thresholds> {
        match class {
            Class::Control => None,
            Class::Interactive => Some(self.interactive),
            Class::Event => Some(self.event),
            Class::Bulk => Some(self.bulk),
        }
    }
}

impl Default for ClassPolicy {
    fn default() -> Self {
        Self {
            bulk: Thresholds { pause: 40, resume: 40 },
            event: Thresholds { pause: 80, resume: 60 },
            interactive: Thresholds { pause: 100, resume: 100 },
        }
    }
}
