//! What must hold in every world, what must be possible, and the search.

use std::{fmt, time::Duration};

use stateright::{Checker, Expectation, HasDiscoveries, Model, Path, Property};

use super::{Fault, Settings, Step, World, world::Late};

const I1: &str = "I1: what is spent and open in the store is within the limit";
const I2: &str = "I2: every call is a unit that the store counts";
const I4: &str = "I4: no more calls than the limit arrive in any window";

impl Model for Settings {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self)]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        world.steps(self, steps);
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        Some(world.after(self, step))
    }

    fn format_action(&self, step: &Step) -> String {
        step.to_string()
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(I1, |settings: &Self, world: &World| {
                world.counted() <= settings.limit
            }),
            // With I1 this is the whole argument: what Salesforce can see is
            // within what the store counts, and that is within the limit.
            Property::always(I2, |_: &Self, world: &World| world.calls.len() <= world.counted()),
            Property::always(
                "I3: no transaction of a former epoch commits",
                |_: &Self, world: &World| world.late != Some(Late::Applied),
            ),
            // `calls` has those whose last moment is less than T ago. All of them
            // can share the window that ends now: what is not over arrives now,
            // the others arrived at their last moment.
            Property::always(I4, |settings: &Self, world: &World| {
                world.calls.len() <= settings.limit
            }),
            Property::always("what a taker has read is final", |_: &Self, world: &World| {
                world.owners().filter(|owner| world.owner == Some(owner.epoch)).all(|owner| {
                    let stands = world.record.as_ref();
                    world.record_revision() == owner.known
                        || stands.is_none_or(|(_, record)| record.epoch == owner.epoch)
                })
            }),
            Property::sometimes("the limit is used up", |settings: &Self, world: &World| {
                world.calls.len() == settings.limit
            }),
            Property::sometimes(
                "a shard is taken while a transaction is in flight",
                |_: &Self, world: &World| {
                    world
                        .in_flight
                        .iter()
                        .any(|txn| world.owner.is_some_and(|epoch| txn.epoch < epoch))
                },
            ),
            Property::sometimes("which is refused when it arrives", |_: &Self, world: &World| {
                world.late == Some(Late::Refused) && world.owner.is_some()
            }),
            Property::sometimes(
                "a transaction is applied, and its sender does not know",
                |_: &Self, world: &World| {
                    world.owners().any(|owner| {
                        let stands = world.record.as_ref().map(|(_, record)| record.seq);
                        !owner.waits
                            && owner.attempts.iter().any(|attempt| Some(attempt.seq) == stands)
                    })
                },
            ),
            Property::sometimes(
                "a node grants that is not the owner any more",
                |_: &Self, world: &World| {
                    world.owners().any(|owner| {
                        owner.open > 0
                            && owner.until >= world.now
                            && world.owner.is_some_and(|epoch| owner.epoch < epoch)
                    })
                },
            ),
            Property::sometimes("an empty record is deleted", |_: &Self, world: &World| {
                world.record.is_none() && world.owners().any(|owner| owner.known != 0)
            }),
        ];
        if self.in_flight > 1 {
            properties.push(Property::sometimes(
                "two attempts with the same compares are in flight",
                |_: &Self, world: &World| {
                    let [first, second] = &world.in_flight[..] else { return false };
                    (first.epoch, first.expected) == (second.epoch, second.expected)
                },
            ));
        }
        properties
    }
}

/// What a search has found.
pub struct Verdict {
    /// Different worlds.
    pub worlds: usize,
    /// Steps tried.
    pub steps: usize,
    /// The longest shortest path to a world.
    pub depth: usize,
    /// Every property: its name, and what was found of it.
    pub properties: Vec<Finding>,
}

/// What was found of a property.
pub struct Finding {
    /// The property.
    pub name: &'static str,
    /// It is as it should be.
    pub is_good: bool,
    /// It is a bound that must hold always; else something that must be possible.
    pub is_bound: bool,
    /// How the counterexample, or the example, is reached.
    pub path: Option<Path<World, Step>>,
}

/// Searches every world within `depth` steps (0: every world there is), breadth
/// first, so that what is found is as short as can be, and until a bound is
/// broken. `progress` is told the number of worlds now and then.
pub fn check(
    settings: &Settings,
    depth: usize,
    threads: usize,
    mut progress: impl FnMut(usize),
) -> Verdict {
    let mut builder = settings.clone().checker().threads(threads);
    if depth > 0 {
        builder = builder.target_max_depth(depth);
    }
    let stop = match settings.fault {
        // The compares of records make good for it: it is left to show that the
        // limit is in no danger.
        Some(Fault::ReadBeforeTake) => HasDiscoveries::AnyOf([I1, I2, I4].into()),
        _ => HasDiscoveries::AnyFailures,
    };
    let search = builder.finish_when(stop).spawn_bfs();
    while !search.is_done() {
        // The search has threads of its own, and nobody else waits for this one.
        std::thread::park_timeout(Duration::from_millis(50));
        progress(search.unique_state_count());
    }
    let mut found = search.discoveries();
    let properties = settings.properties().into_iter().map(|property| {
        let path = found.remove(property.name);
        let is_bound = matches!(property.expectation, Expectation::Always);
        Finding { name: property.name, is_good: path.is_some() != is_bound, is_bound, path }
    });
    Verdict {
        properties: properties.collect(),
        worlds: search.unique_state_count(),
        steps: search.state_count(),
        depth: search.max_depth(),
    }
}

impl Verdict {
    /// Every bound holds, and what must be possible happens.
    pub fn is_good(&self) -> bool {
        self.properties.iter().all(|finding| finding.is_good)
    }

    /// The bound that does not hold, if one does not.
    pub fn violation(&self) -> Option<&Finding> {
        self.properties.iter().find(|finding| finding.is_bound && !finding.is_good)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.properties {
            let word = match (finding.is_bound, finding.is_good) {
                (true, true) => "holds   ",
                (true, false) => "BROKEN  ",
                (false, true) => "happens ",
                (false, false) => "NEVER   ",
            };
            writeln!(f, "{word} {}", finding.name)?;
        }
        if let Some(Finding { path: Some(path), name, .. }) = self.violation() {
            writeln!(f, "\nHow it comes to that ({name}):")?;
            let mut before = None;
            for (n, (world, step)) in path.clone().into_vec().into_iter().enumerate() {
                if let Some(step) = before {
                    writeln!(f, "{n:>4}. {step}")?;
                }
                writeln!(f, "      {world:?}")?;
                before = step;
            }
        }
        let Self { worlds, steps, depth, .. } = self;
        write!(f, "\n{worlds} worlds, {steps} steps, at most {depth} steps from the first world")
    }
}
