//! What the cluster's demo plays: orgs with one short window each, so that
//! things move, and how much is wanted of them.

use std::{fmt::Write as _, time::Duration};

use crate::{
    duration,
    standin::{
        self, Latency, Limit, UserLimit,
        options::{GET_ENTRIES, Jitter},
    },
};

/// The names of the nodes.
pub const NODES: [&str; 3] = ["a", "b", "c"];

/// How long a node's lease in etcd lives: what is lost with a node is served by
/// others after about this.
pub const LEASE: Duration = Duration::from_secs(3);

/// A paused node stays paused so long: longer than its lease.
pub const PAUSE: Duration = Duration::from_secs(7);

/// etcd stays away so long: longer than a lease, and than a block can be
/// granted from.
pub const OUTAGE: Duration = Duration::from_secs(6);

/// Salesforce lets each org's user make so many calls …
pub const LIMIT: u64 = 100;

/// … in any interval of this length.
pub const WINDOW: Duration = Duration::from_secs(10);

/// The name of that limit.
pub const LIMIT_NAME: &str = "entries";

/// A Salesforce org whose calls the fleet shares.
#[derive(Clone, Copy, Debug)]
pub struct Org {
    /// Its name.
    pub name: &'static str,
    /// Calls that the fleet wants in a window, in percent of the limit.
    pub wanted_percent: u64,
}

/// The orgs: most want less than Salesforce gives, two want more.
pub const ORGS: [Org; 6] = [
    Org { name: "acme", wanted_percent: 60 },
    Org { name: "globex", wanted_percent: 140 },
    Org { name: "hooli", wanted_percent: 50 },
    Org { name: "initech", wanted_percent: 80 },
    Org { name: "soylent", wanted_percent: 120 },
    Org { name: "umbrella", wanted_percent: 40 },
];

/// Callers of each org.
pub const CALLERS: u64 = 4;

/// The Salesforce user that calls are made as, in every org.
pub const USER: &str = "integration";

impl Org {
    /// How long a caller waits from one call to the next: from half to one and a
    /// half times the mean.
    #[must_use]
    pub(super) fn pause(self, jitter: &mut Jitter) -> Duration {
        let per_window = (LIMIT * self.wanted_percent) as f64 / 100.0 / CALLERS as f64;
        let mean = WINDOW.div_f64(per_window);
        jitter.draw(Latency { min: mean / 2, max: mean * 3 / 2 })
    }
}

/// The configuration file of the nodes.
#[must_use]
pub fn config() -> String {
    let window = duration::format(WINDOW);
    let mut yaml = format!(
        "catalogue:\n  {GET_ENTRIES}:\n    charges:\n      \
         - {{limit: {LIMIT_NAME}, scope: execution_user, max: {LIMIT}, window: {window}}}\n\
         orgs:\n"
    );
    for org in ORGS {
        // Writing to a string does not fail.
        let _ = writeln!(yaml, "  - {{id: {}, execution_users: [{USER}]}}", org.name);
    }
    yaml
}

/// How Salesforce behaves.
#[must_use]
pub fn salesforce() -> standin::Options {
    standin::Options {
        user_limits: vec![UserLimit {
            operation: GET_ENTRIES,
            limit: Limit::sliding(LIMIT, WINDOW),
        }],
        latency: Latency { min: Duration::from_millis(20), max: Duration::from_millis(80) },
        ..standin::Options::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_nodes_and_salesforce_agree_on_the_limit() {
        let config = Config::parse(&config()).expect("it has no faults");
        let charges: Vec<_> =
            config.catalogue.operations.values().flat_map(|operation| &operation.charges).collect();
        assert_eq!(config.orgs.len(), ORGS.len());
        assert!(charges.iter().any(|charge| charge.window == WINDOW));
    }

    #[test]
    fn some_orgs_want_more_than_their_limit_and_most_less() {
        let beyond = ORGS.iter().filter(|org| org.wanted_percent > 100).count();
        assert!((1..ORGS.len() / 2).contains(&beyond));
        let mut jitter = Jitter::new(1);
        for org in ORGS {
            let pause = org.pause(&mut jitter);
            assert!(pause > Duration::from_millis(50) && pause < WINDOW, "{}: {pause:?}", org.name);
        }
    }
}
