//! What the demo plays: an org with few users, workspaces with caps of their
//! own, and a fleet that wants twice what Salesforce gives.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::{
    config::{
        AuthConfig, Config, EnvoyConfig, OrgDeclaration, PartialClasses, Template, UnknownNames,
        WorkspaceDeclaration,
    },
    quota::{
        BadId, Catalogue, Charge, Class, Kind, LimitName, Operation, OperationId, OrgId, Scope,
        Unknown, UserId, WorkspaceId,
        catalogue::{Cost, Max},
    },
    standin::{
        self,
        options::{GET_ENTRIES, REST},
    },
};

/// One minute at Salesforce.
pub const MINUTE: Duration = Duration::from_secs(60);

/// Calls of one user in a minute: `GET /conversation-entries`.
pub const ENTRIES_PER_MINUTE: u64 = 90;

/// Units of the org's total in 24 hours: a Developer Edition's.
const DAILY_CALLS: u64 = 15_000;

/// Slots for long-running requests: a Developer Edition's.
const CONCURRENT_CALLS: u64 = 5;

/// Units of the org's total that others have used when the demo begins.
pub const FOREIGN_AT_START: u64 = 9_000;

/// An operator gives a workspace so many times the cap that has paused it.
pub const RAISE: u64 = 3;

/// Everything that both fleets share.
#[derive(Debug)]
pub struct World {
    /// The org.
    pub org: OrgId,
    /// The users that calls may be made as.
    pub users: Vec<UserId>,
    /// The workspaces that want calls.
    pub workspaces: Vec<Workspace>,
    /// What they want.
    pub demands: Vec<Demand>,
    /// How many pods the fleet has.
    pub pods: u32,
    /// How many times as fast as real time a minute passes.
    pub speed: f64,
    /// What others use of the org's total, in Salesforce's time.
    foreign_units_per_second: f64,
}

/// A customer's workspace.
#[derive(Debug)]
pub struct Workspace {
    /// Its name.
    pub id: WorkspaceId,
    cap: Option<AtomicU64>,
}

impl Workspace {
    /// A workspace; `cap` is what its owner lets it use in 24 hours, `None` is
    /// no cap.
    #[must_use]
    pub fn new(id: WorkspaceId, cap: Option<u64>) -> Self {
        Self { id, cap: cap.map(AtomicU64::new) }
    }

    /// What its owner lets it use in 24 hours, now.
    #[must_use]
    pub fn cap(&self) -> Option<u64> {
        self.cap.as_ref().map(|cap| cap.load(Relaxed))
    }

    /// Gives a workspace that has a cap another one.
    pub fn set_cap(&self, units: u64) {
        if let Some(cap) = &self.cap {
            cap.store(units, Relaxed);
        }
    }
}

/// A steady stream of calls that a workspace wants from the whole fleet.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    /// Index of the workspace.
    pub workspace: usize,
    /// Who waits.
    pub class: Class,
    /// Calls a minute of Salesforce's time.
    pub per_minute: f64,
    /// How long somebody waits for one call, in Salesforce's time.
    pub patience: Duration,
}

impl Demand {
    /// The operation: settings are read by REST, all else is conversations.
    #[must_use]
    pub const fn operation(self) -> &'static str {
        match self.class {
            Class::Control => REST,
            Class::Interactive | Class::Event | Class::Bulk => GET_ENTRIES,
        }
    }
}

impl World {
    /// A world in which every rule shows within `duration`.
    ///
    /// # Errors
    /// None with the names below.
    pub fn new(pods: u32, speed: f64, duration: Duration) -> Result<Self, BadId> {
        // A workspace is served about 60 calls a minute while nothing is
        // paused, 38 without bulk. With 36 calls for each minute of the demo,
        // bulk pauses in its first third and events before its last, so that
        // there is time to see what a raised cap does.
        let minutes = duration.as_secs_f64() * speed / 60.0;
        let cap = |per_minute: f64| Some((per_minute * minutes / 10.0).ceil().max(1.0) as u64 * 10);
        let workspace = |name, cap| Ok(Workspace::new(WorkspaceId::parse(name)?, cap));
        let workspaces = vec![
            workspace("acme", cap(36.0))?,
            workspace("globex", cap(240.0))?,
            workspace("initech", None)?,
        ];
        // A saturated minute comes in a burst, with nothing until the next:
        // whoever comes right after it waits for the best part of a minute.
        let wishes = [
            (Class::Control, 2.0, 90),
            (Class::Interactive, 12.0, 90),
            (Class::Event, 24.0, 120),
            (Class::Bulk, 84.0, 120),
        ];
        let demands = (0..workspaces.len())
            .flat_map(|workspace| {
                wishes.map(|(class, per_minute, patience_s)| Demand {
                    workspace,
                    class,
                    per_minute,
                    patience: Duration::from_secs(patience_s),
                })
            })
            .collect();
        Ok(Self {
            org: OrgId::parse("00D000000000001EAA")?,
            users: vec![UserId::parse("005000000000001AAA")?, UserId::parse("005000000000002AAA")?],
            workspaces,
            demands,
            pods,
            speed,
            // The org's total is no part of the story: others do not use it up.
            foreign_units_per_second: (4_000.0 / (minutes * 60.0)).min(1.0),
        })
    }

    /// How long something takes here that takes `at_salesforce` there.
    #[must_use]
    pub fn real(&self, at_salesforce: Duration) -> Duration {
        at_salesforce.div_f64(self.speed)
    }

    /// How the service is configured.
    ///
    /// # Errors
    /// None with the names above.
    pub fn config(&self) -> Result<Config, BadId> {
        let entries = Charge {
            limit: LimitName::parse("entries")?,
            scope: Scope::ExecutionUser,
            kind: Kind::Window,
            max: Max::Fixed(ENTRIES_PER_MINUTE),
            window: self.real(MINUTE),
            cost: Cost::One,
            shadow: false,
        };
        let operations = [(GET_ENTRIES, entries), (REST, Charge::org_total())];
        let operations = operations
            .into_iter()
            .map(|(name, charge)| {
                Ok((OperationId::parse(name)?, Operation { charges: vec![charge] }))
            })
            .collect::<Result<BTreeMap<_, _>, BadId>>()?;
        let workspaces = self.workspaces.iter().map(|workspace| WorkspaceDeclaration {
            daily_calls: workspace.cap(),
            ..WorkspaceDeclaration::new(workspace.id.clone())
        });
        let org = OrgDeclaration {
            id: self.org.clone(),
            daily_calls: Some(DAILY_CALLS),
            daily_calls_max: None,
            concurrent_calls: Some(CONCURRENT_CALLS),
            reserve_percent: None,
            header_lag: None,
            execution_users: self.users.clone(),
            workspaces: workspaces.collect(),
            preset: None,
            classes: PartialClasses::default(),
        };
        Ok(Config {
            unknown: UnknownNames {
                orgs: Unknown::Refuse,
                workspaces: Unknown::Refuse,
                users: Unknown::Refuse,
            },
            template: Template {
                daily_calls: DAILY_CALLS,
                concurrent_calls: CONCURRENT_CALLS,
                reserve_percent: 5,
            },
            outage_share: 0,
            catalogue: Catalogue { operations },
            orgs: BTreeMap::from([(self.org.clone(), org)]),
            webhook: None,
            auth: AuthConfig::default(),
            envoy: EnvoyConfig::default(),
        })
    }

    /// How Salesforce behaves: the published limits, and other integrations
    /// that use the org's total as well.
    #[must_use]
    pub fn salesforce(&self) -> standin::Options {
        let day = standin::Options::default().org_limit.window;
        let published = standin::Options {
            latency: standin::Latency {
                min: Duration::from_millis(60),
                max: Duration::from_millis(240),
            },
            foreign_units_per_second: self.foreign_units_per_second,
            arrivals_kept: 100_000,
            ..standin::Options::default()
        };
        let mut options = published.scaled(self.speed.recip());
        // Caps and totals are of the day, which a demo is far too short for:
        // it stays as long as it is, and is filled.
        options.org_limit.window = day;
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fleet_wants_twice_what_the_users_may_and_people_alone_fit() {
        let world = World::new(4, 6.0, MINUTE).unwrap();
        let wanted = |keep: &dyn Fn(&Demand) -> bool| -> f64 {
            let kept = world.demands.iter().filter(|d| d.operation() == GET_ENTRIES && keep(d));
            kept.map(|demand| demand.per_minute).sum()
        };
        let may = (ENTRIES_PER_MINUTE * world.users.len() as u64) as f64;
        assert_eq!(wanted(&|_| true), 2.0 * may);
        assert!(wanted(&|demand| demand.class != Class::Bulk) < 0.7 * may);
    }

    #[test]
    fn salesforce_and_the_service_agree_on_every_window() {
        for speed in [1.0, 6.0, 60.0] {
            let world = World::new(4, speed, MINUTE).unwrap();
            let (config, salesforce) = (world.config().unwrap(), world.salesforce());
            for user in salesforce.user_limits {
                let operation = OperationId::parse(user.operation).unwrap();
                let Some(operation) = config.catalogue.get(&operation) else { continue };
                assert_eq!(operation.charges[0].window, user.limit.window);
                assert_eq!(operation.charges[0].max, Max::Fixed(user.limit.max));
            }
            assert_eq!(salesforce.org_limit.window, Charge::org_total().window);
            assert_eq!(salesforce.org_limit.max, config.template.daily_calls);
        }
    }
}
