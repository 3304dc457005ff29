//! From what is declared to what is in force: defaults resolved.

use super::{Config, OrgDeclaration, PartialClasses, WorkspaceDeclaration};
use crate::quota::{ClassPolicy, OrgId, OrgPolicy, WorkspaceId, WorkspacePolicy};

impl Config {
    /// The policy of a declared org. Thresholds of a class are, from weakest to
    /// strongest: the default, the org's preset, the org's own, the
    /// workspace's preset, the workspace's own.
    #[must_use]
    pub fn policy(&self, declaration: &OrgDeclaration, revision: u64) -> OrgPolicy {
        let classes =
            resolve(ClassPolicy::default(), declaration.preset.as_deref(), declaration.classes);
        let mut pool = declaration.execution_users.clone();
        pool.sort();
        pool.dedup();
        let workspaces = declaration.workspaces.iter().map(|workspace| {
            let classes = resolve(classes, workspace.preset.as_deref(), workspace.classes);
            let policy = WorkspacePolicy {
                daily_calls: workspace.daily_calls,
                classes,
                weight: workspace.weight.unwrap_or(1),
                guaranteed_calls: workspace.guaranteed_calls.unwrap_or(0),
                burn_limit: workspace.burn_limit,
                shadow: workspace.shadow,
            };
            (workspace.id.clone(), policy)
        });
        OrgPolicy {
            org: declaration.id.clone(),
            daily_calls: declaration.daily_calls_or(&self.template),
            daily_calls_max: declaration.daily_calls_max,
            concurrent_calls: declaration
                .concurrent_calls
                .unwrap_or(self.template.concurrent_calls),
            reserve_percent: declaration.reserve_percent.unwrap_or(self.template.reserve_percent),
            outage_share: self.outage_share,
            header_lag: declaration.header_lag.unwrap_or_default(),
            pool,
            workspaces: workspaces.collect(),
            classes,
            unknown_workspaces: self.unknown.workspaces,
            unknown_users: self.unknown.users,
            revision,
        }
    }

    /// The policy of an org that nobody declared.
    #[must_use]
    pub fn template_policy(&self, org: &OrgId, revision: u64) -> OrgPolicy {
        self.policy(&OrgDeclaration::new(org.clone()), revision)
    }
}

impl OrgDeclaration {
    /// A declaration that takes everything from the template.
    #[must_use]
    pub fn new(id: OrgId) -> Self {
        Self {
            id,
            daily_calls: None,
            daily_calls_max: None,
            concurrent_calls: None,
            reserve_percent: None,
            header_lag: None,
            execution_users: Vec::new(),
            workspaces: Vec::new(),
            preset: None,
            classes: PartialClasses::default(),
        }
    }
}

impl WorkspaceDeclaration {
    /// A workspace without a cap, which takes everything else from its org.
    #[must_use]
    pub fn new(id: WorkspaceId) -> Self {
        Self {
            id,
            daily_calls: None,
            preset: None,
            classes: PartialClasses::default(),
            weight: None,
            guaranteed_calls: None,
            burn_limit: None,
            shadow: false,
        }
    }
}

/// `base`, replaced by the preset where one is named, and class by class by
/// what is given.
fn resolve(base: ClassPolicy, preset: Option<&str>, own: PartialClasses) -> ClassPolicy {
    let base = preset.and_then(ClassPolicy::preset).unwrap_or(base);
    ClassPolicy {
        bulk: own.bulk.unwrap_or(base.bulk),
        event: own.event.unwrap_or(base.event),
        interactive: own.interactive.unwrap_or(base.interactive),
    }
}
