//! Declarations and what is in force. Only identifiers and the form of numbers
//! are checked here; the node checks a declaration as a whole, with the same
//! rules as a configuration file.

use std::time::Duration;

use super::{Checks, duration, hex, unhex, wire_duration, wire_time};
use crate::{
    cluster::moves::Move,
    config::{Config, OrgDeclaration, PartialClasses, Template, WorkspaceDeclaration},
    node::{
        AdminChange, Change, ClusterInfo, NodeEntry, OrgEntry, OrgSource, ShardEntry, StoreMember,
    },
    proto::admin::v1,
    quota::{
        BurnLimit, Charge, Kind, Operation, OperationId, OrgId, Scope, Thresholds, Unknown, UserId,
        WorkspaceId,
        catalogue::{Cost, Max},
    },
    rpc::status::Problem,
};

const DEFAULT_PAGE_SIZE: u32 = 100;
const MAX_PAGE_SIZE: u32 = 1_000;

/// As many changes as are kept of one org: beyond them the newest of all would
/// have gaps.
const MAX_CHANGES: u32 = 100;

/// A change of one org, as `Node::administer` takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Administer {
    /// The org.
    pub org: OrgId,
    /// The change.
    pub change: AdminChange,
    /// The etag that must be the present one.
    pub etag: Option<String>,
    /// Check only.
    pub validate_only: bool,
}

/// Every request for a change has these two fields.
macro_rules! administer {
    ($checks:ident, $request:ident, $org:expr, $change:expr) => {{
        let (org, change) = ($org, $change);
        let etag = Some($request.etag).filter(|etag| !etag.is_empty());
        let validate_only = $request.validate_only;
        let made = org.zip(change);
        $checks.finish(made.map(|(org, change)| Administer { org, change, etag, validate_only }))
    }};
}

/// Checks a PutOrg.
///
/// # Errors
/// Every field that is wrong.
pub fn put_org(request: v1::PutOrgRequest) -> Result<Administer, Problem> {
    let mut checks = Checks::default();
    let declaration = match request.org {
        Some(org) => org_declaration(&mut checks, org),
        None => {
            checks.refuse("org", "must be given: the whole declaration");
            None
        }
    };
    let org = declaration.as_ref().map(|declared| declared.id.clone());
    administer!(checks, request, org, declaration.map(AdminChange::PutOrg))
}

/// Checks a DeleteOrg.
///
/// # Errors
/// Every field that is wrong.
pub fn delete_org(request: v1::DeleteOrgRequest) -> Result<Administer, Problem> {
    let mut checks = Checks::default();
    let org = checks.keep("org", OrgId::parse(&request.org));
    administer!(checks, request, org, Some(AdminChange::DeleteOrg))
}

/// Checks a PutWorkspace.
///
/// # Errors
/// Every field that is wrong.
pub fn put_workspace(request: v1::PutWorkspaceRequest) -> Result<Administer, Problem> {
    let mut checks = Checks::default();
    let org = checks.keep("org", OrgId::parse(&request.org));
    let declaration = match request.workspace {
        Some(workspace) => workspace_declaration(&mut checks, "workspace", workspace),
        None => {
            checks.refuse("workspace", "must be given: the whole declaration");
            None
        }
    };
    administer!(checks, request, org, declaration.map(AdminChange::PutWorkspace))
}

/// Checks a DeleteWorkspace.
///
/// # Errors
/// Every field that is wrong.
pub fn delete_workspace(request: v1::DeleteWorkspaceRequest) -> Result<Administer, Problem> {
    let mut checks = Checks::default();
    let org = checks.keep("org", OrgId::parse(&request.org));
    let workspace = checks.keep("workspace", WorkspaceId::parse(&request.workspace));
    administer!(checks, request, org, workspace.map(AdminChange::DeleteWorkspace))
}

/// Checks a PutExecutionUser.
///
/// # Errors
/// Every field that is wrong.
pub fn put_execution_user(request: v1::PutExecutionUserRequest) -> Result<Administer, Problem> {
    let mut checks = Checks::default();
    let org = checks.keep("org", OrgId::parse(&request.org));
    let user = checks.keep("execution_user", UserId::parse(&request.execution_user));
    administer!(checks, request, org, user.map(AdminChange::PutExecutionUser))
}

/// Checks a DeleteExecutionUser.
///
/// # Errors
/// Every field that is wrong.
pub fn delete_execution_user(
    request: v1::DeleteExecutionUserRequest,
) -> Result<Administer, Problem> {
    let mut checks = Checks::default();
    let org = checks.keep("org", OrgId::parse(&request.org));
    let user = checks.keep("execution_user", UserId::parse(&request.execution_user));
    administer!(checks, request, org, user.map(AdminChange::DeleteExecutionUser))
}

/// Checks a ReplayDemand: the org as it would be.
///
/// # Errors
/// Every field that is wrong.
pub fn edited(request: v1::ReplayDemandRequest) -> Result<OrgDeclaration, Problem> {
    let mut checks = Checks::default();
    let declaration = match request.org {
        Some(org) => org_declaration(&mut checks, org),
        None => {
            checks.refuse("org", "must be given: the whole declaration, as it would be");
            None
        }
    };
    checks.finish(declaration)
}

fn org_declaration(checks: &mut Checks, org: v1::Org) -> Option<OrgDeclaration> {
    let id = checks.keep("org.id", OrgId::parse(&org.id));
    let header_lag = checks.keep("org.header_lag", org.header_lag.map(duration).transpose());
    let users: Vec<_> = (0..)
        .zip(&org.execution_users)
        .map(|(i, user): (usize, _)| {
            checks.keep(format!("org.execution_users[{i}]"), UserId::parse(user))
        })
        .collect();
    let workspaces: Vec<_> = (0..)
        .zip(org.workspaces)
        .map(|(i, workspace): (usize, _)| {
            workspace_declaration(checks, &format!("org.workspaces[{i}]"), workspace)
        })
        .collect();
    Some(OrgDeclaration {
        id: id?,
        daily_calls: given(org.daily_calls),
        daily_calls_max: given(org.daily_calls_max),
        concurrent_calls: given(org.concurrent_calls.into()),
        reserve_percent: org.reserve_percent,
        header_lag: header_lag?,
        execution_users: users.into_iter().collect::<Option<_>>()?,
        workspaces: workspaces.into_iter().collect::<Option<_>>()?,
        preset: Some(org.preset).filter(|preset| !preset.is_empty()),
        classes: partial_classes(org.classes),
    })
}

fn workspace_declaration(
    checks: &mut Checks,
    field: &str,
    workspace: v1::Workspace,
) -> Option<WorkspaceDeclaration> {
    let id = checks.keep(format!("{field}.id"), WorkspaceId::parse(&workspace.id));
    let burn_limit = match workspace.burn_limit {
        None => Some(None),
        Some(limit) => checks
            .keep(format!("{field}.burn_limit.window"), duration(limit.window.unwrap_or_default()))
            .map(|window| Some(BurnLimit { calls: limit.calls, window })),
    };
    Some(WorkspaceDeclaration {
        id: id?,
        daily_calls: given(workspace.daily_calls),
        preset: Some(workspace.preset).filter(|preset| !preset.is_empty()),
        classes: partial_classes(workspace.classes),
        weight: (workspace.weight != 0).then_some(workspace.weight),
        guaranteed_calls: given(workspace.guaranteed_calls),
        burn_limit: burn_limit?,
        shadow: workspace.shadow,
    })
}

fn given(number: u64) -> Option<u64> {
    (number != 0).then_some(number)
}

fn partial_classes(classes: Option<v1::Classes>) -> PartialClasses {
    let thresholds = |t: v1::ClassThresholds| Thresholds { pause: t.pause, resume: t.resume };
    let classes = classes.unwrap_or_default();
    PartialClasses {
        bulk: classes.bulk.map(thresholds),
        event: classes.event.map(thresholds),
        interactive: classes.interactive.map(thresholds),
    }
}

/// Checks a ListOrgs: the org after which the page begins, and its size.
///
/// # Errors
/// Every field that is wrong.
pub fn page(request: &v1::ListOrgsRequest) -> Result<(Option<OrgId>, usize), Problem> {
    let mut checks = Checks::default();
    let size = match request.page_size {
        0 => Some(DEFAULT_PAGE_SIZE),
        size => checks.number("page_size", size, 1..=MAX_PAGE_SIZE),
    };
    let size = size.and_then(|size| usize::try_from(size).ok());
    let after = match request.page_token.as_str() {
        "" => Some(None),
        token => match org_of(token) {
            Some(org) => Some(Some(org)),
            None => {
                checks.refuse(
                    "page_token",
                    "is not a token of this service: send next_page_token unchanged, or nothing \
                     for the first page",
                );
                None
            }
        },
    };
    checks.finish(after.zip(size))
}

/// A page. `more` says that there are orgs after it. What would make the
/// message larger than clients take by default goes to the next page.
#[must_use]
pub fn org_page(orgs: Vec<OrgEntry>, more: bool) -> v1::ListOrgsResponse {
    let count = orgs.len();
    let page = fitting(orgs.into_iter().map(org_entry));
    let last = page.last().and_then(|entry| entry.org.as_ref()).map(|org| hex(&org.id));
    let next_page_token = last.filter(|_| more || page.len() < count).unwrap_or_default();
    v1::ListOrgsResponse { orgs: page, next_page_token }
}

/// The first of a list, as many as fit into a message, and at least one.
fn fitting<M: prost::Message>(list: impl Iterator<Item = M>) -> Vec<M> {
    /// Clients take 4 MiB, unless told otherwise.
    const MAX_PAGE_BYTES: usize = 3 << 20;
    let mut bytes = 0;
    list.take_while(|message| {
        let is_first = bytes == 0;
        bytes += message.encoded_len();
        is_first || bytes <= MAX_PAGE_BYTES
    })
    .collect()
}

/// The org that a page token names: the last of the page before.
fn org_of(token: &str) -> Option<OrgId> {
    OrgId::parse(&unhex(token)?).ok()
}

/// An org as it is in force.
#[must_use]
pub fn org_entry(entry: OrgEntry) -> v1::OrgEntry {
    v1::OrgEntry {
        org: Some(wire_org(entry.declaration)),
        etag: entry.etag,
        source: match entry.source {
            OrgSource::Template => v1::OrgSource::Template,
            OrgSource::File => v1::OrgSource::File,
            OrgSource::Api => v1::OrgSource::Api,
        }
        .into(),
        warnings: entry.warnings,
        from_template: entry.from_template.into_iter().map(ToOwned::to_owned).collect(),
    }
}

/// A declaration as a message: what is absent is left out.
#[must_use]
pub fn wire_org(org: OrgDeclaration) -> v1::Org {
    v1::Org {
        id: org.id.as_str().to_owned(),
        daily_calls: org.daily_calls.unwrap_or_default(),
        daily_calls_max: org.daily_calls_max.unwrap_or_default(),
        concurrent_calls: org
            .concurrent_calls
            .map_or(0, |slots| u32::try_from(slots).unwrap_or(u32::MAX)),
        reserve_percent: org.reserve_percent,
        execution_users: org.execution_users.iter().map(|user| user.as_str().to_owned()).collect(),
        workspaces: org.workspaces.into_iter().map(wire_workspace).collect(),
        preset: org.preset.unwrap_or_default(),
        classes: wire_classes(org.classes),
        header_lag: org.header_lag.map(wire_duration),
    }
}

fn wire_workspace(workspace: WorkspaceDeclaration) -> v1::Workspace {
    v1::Workspace {
        id: workspace.id.as_str().to_owned(),
        daily_calls: workspace.daily_calls.unwrap_or_default(),
        preset: workspace.preset.unwrap_or_default(),
        classes: wire_classes(workspace.classes),
        weight: workspace.weight.unwrap_or_default(),
        guaranteed_calls: workspace.guaranteed_calls.unwrap_or_default(),
        burn_limit: workspace.burn_limit.map(|BurnLimit { calls, window }| v1::BurnLimit {
            calls,
            window: Some(wire_duration(window)),
        }),
        shadow: workspace.shadow,
    }
}

fn wire_classes(classes: PartialClasses) -> Option<v1::Classes> {
    let thresholds = |t: Thresholds| v1::ClassThresholds { pause: t.pause, resume: t.resume };
    (classes != PartialClasses::default()).then(|| v1::Classes {
        bulk: classes.bulk.map(thresholds),
        event: classes.event.map(thresholds),
        interactive: classes.interactive.map(thresholds),
    })
}

/// One entry of the audit list.
#[must_use]
pub fn change(change: Change) -> v1::Change {
    v1::Change {
        time: Some(wire_time(change.time)),
        who: change.who,
        from: change.from,
        action: change.action,
        before: change.before,
        after: change.after,
    }
}

/// Checks a ListChanges: how many are asked for.
///
/// # Errors
/// Every field that is wrong.
pub fn changes_page(request: &v1::ListChangesRequest) -> Result<usize, Problem> {
    let mut checks = Checks::default();
    let size = match request.page_size {
        0 => Some(MAX_CHANGES),
        size => checks.number("page_size", size, 1..=MAX_CHANGES),
    };
    checks.finish(size.and_then(|size| usize::try_from(size).ok()))
}

/// The newest changes. `more` says that there are older ones.
#[must_use]
pub fn changes(changes: Vec<(OrgId, Change)>, more: bool) -> v1::ListChangesResponse {
    let count = changes.len();
    let wire = |(org, it): (OrgId, Change)| v1::OrgChange {
        org: org.as_str().to_owned(),
        change: Some(change(it)),
    };
    let changes = fitting(changes.into_iter().map(wire));
    let more = more || changes.len() < count;
    v1::ListChangesResponse { changes, more }
}

/// What is charged, and what holds for names that nobody declared.
#[must_use]
pub fn catalogue(config: &Config) -> v1::GetCatalogueResponse {
    let operation = |(name, operation): (&OperationId, &Operation)| v1::CatalogueOperation {
        name: name.as_str().to_owned(),
        charges: operation.charges.iter().map(charge).collect(),
    };
    let unknown = |unknown, accepted: &str| match unknown {
        Unknown::Accept => accepted.to_owned(),
        Unknown::Refuse => "refuse".to_owned(),
    };
    let Template { daily_calls, concurrent_calls, reserve_percent } = config.template;
    v1::GetCatalogueResponse {
        operations: config.catalogue.operations.iter().map(operation).collect(),
        template: Some(v1::Org {
            daily_calls,
            concurrent_calls: u32::try_from(concurrent_calls).unwrap_or(u32::MAX),
            reserve_percent: Some(reserve_percent),
            ..v1::Org::default()
        }),
        unknown_orgs: unknown(config.unknown.orgs, "template"),
        unknown_workspaces: unknown(config.unknown.workspaces, "count"),
        unknown_users: unknown(config.unknown.users, "count"),
        outage_share: config.outage_share,
    }
}

fn charge(charge: &Charge) -> v1::CatalogueCharge {
    let scope = match charge.scope {
        Scope::Org => "org",
        Scope::Workspace => "workspace",
        Scope::ExecutionUser => "execution_user",
    };
    let kind = match charge.kind {
        Kind::Window => "window",
        Kind::Concurrency => "concurrency",
    };
    let cost = match charge.cost {
        Cost::One => "one",
        Cost::Request => "request",
    };
    v1::CatalogueCharge {
        limit: charge.limit.as_str().to_owned(),
        scope: scope.to_owned(),
        kind: kind.to_owned(),
        max: match charge.max {
            Max::Fixed(max) => max,
            Max::OrgDaily | Max::OrgConcurrent => 0,
        },
        window: Some(wire_duration(charge.window)),
        cost: cost.to_owned(),
        shadow: charge.shadow,
    }
}

/// The cluster.
#[must_use]
pub fn cluster(info: ClusterInfo) -> v1::GetClusterResponse {
    let owner = |ShardEntry { shard, node, epoch }| v1::ShardOwner { shard, node, epoch };
    v1::GetClusterResponse {
        store: info.store.to_owned(),
        shards: info.shards,
        nodes: info.nodes.into_iter().map(node).collect(),
        owners: info.owners.into_iter().map(owner).collect(),
        generation: info.generation,
        answered_by: info.answered_by,
        store_members: info.store_members.into_iter().map(store_member).collect(),
        moves: info.moves.iter().map(shard_move).collect(),
    }
}

fn store_member(member: StoreMember) -> v1::StoreMember {
    let StoreMember { endpoint, problem, round_trip } = member;
    v1::StoreMember {
        endpoint,
        healthy: problem.is_empty(),
        problem,
        round_trip: round_trip.map(wire_duration),
    }
}

fn shard_move(moved: &Move) -> v1::ShardMove {
    v1::ShardMove {
        time: Some(wire_time(moved.at)),
        shard: moved.shard.number().into(),
        from: moved.from.clone(),
        to: moved.to.clone(),
        epoch: moved.epoch,
    }
}

fn node(entry: NodeEntry) -> v1::Node {
    let (min_epoch, max_epoch) = entry.epochs;
    v1::Node {
        name: entry.name,
        address: entry.address,
        version: entry.version,
        owned_shards: entry.owned_shards,
        orgs: entry.orgs,
        started: entry.started.map(wire_time),
        min_epoch,
        max_epoch,
        peer_address: entry.peer_address,
        incarnation: entry.incarnation,
        draining: entry.draining,
        session_left: entry.session_left.map(wire_duration),
        clock_offset: entry.clock_offset_us.map(wire_offset),
        problem: entry.problem,
    }
}

fn wire_offset(micros: i64) -> prost_types::Duration {
    let duration = wire_duration(Duration::from_micros(micros.unsigned_abs()));
    let sign = if micros < 0 { -1 } else { 1 };
    let (seconds, nanos) = (i64::from(sign) * duration.seconds, sign * duration.nanos);
    prost_types::Duration { seconds, nanos }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults<T: std::fmt::Debug>(result: Result<T, Problem>) -> Vec<String> {
        result.expect_err("it is refused").fields.into_iter().map(|f| f.field).collect()
    }

    fn declared() -> v1::Org {
        v1::Org {
            id: "00D000000000001EAA".into(),
            daily_calls: 100_000,
            concurrent_calls: 25,
            reserve_percent: Some(0),
            execution_users: vec!["005000000000001AAA".into()],
            workspaces: vec![v1::Workspace {
                id: "acme eu".into(),
                daily_calls: 5_000,
                preset: "strict".into(),
                classes: Some(v1::Classes {
                    bulk: Some(v1::ClassThresholds { pause: 30, resume: 20 }),
                    ..Default::default()
                }),
                weight: 3,
                guaranteed_calls: 1_000,
                burn_limit: Some(v1::BurnLimit {
                    calls: 10_000,
                    window: Some(prost_types::Duration { seconds: 1_800, nanos: 0 }),
                }),
                shadow: true,
            }],
            header_lag: Some(prost_types::Duration { seconds: 1, nanos: 500_000_000 }),
            ..Default::default()
        }
    }

    #[test]
    fn a_declaration_comes_back_as_it_was_sent() {
        let request =
            v1::PutOrgRequest { org: Some(declared()), etag: "7".into(), validate_only: true };
        let administer = put_org(request).expect("it is valid");
        assert_eq!(administer.etag.as_deref(), Some("7"));
        assert!(administer.validate_only);
        let AdminChange::PutOrg(declaration) = administer.change else { panic!("not a PutOrg") };
        assert_eq!(declaration.header_lag, Some(Duration::from_millis(1_500)));
        assert_eq!(declaration.daily_calls_max, None, "0 is absent");
        assert_eq!(declaration.reserve_percent, Some(0), "a given 0 is 0");
        assert_eq!(wire_org(declaration), declared());
    }

    #[test]
    fn every_fault_of_a_declaration_is_named_with_its_place() {
        let mut org = declared();
        org.id = "00D000000000001EAB".into();
        org.header_lag = Some(prost_types::Duration { seconds: -1, nanos: 0 });
        org.execution_users.push("a user".into());
        org.workspaces.push(v1::Workspace { id: "a/b".into(), ..Default::default() });
        let backwards = Some(prost_types::Duration { seconds: -1, nanos: 0 });
        org.workspaces[0].burn_limit = Some(v1::BurnLimit { calls: 1, window: backwards });
        let request = v1::PutOrgRequest { org: Some(org), ..Default::default() };
        assert_eq!(
            faults(put_org(request)),
            [
                "org.id",
                "org.header_lag",
                "org.execution_users[1]",
                "org.workspaces[0].burn_limit.window",
                "org.workspaces[1].id"
            ]
        );
        assert_eq!(faults(put_org(v1::PutOrgRequest::default())), ["org"]);
        assert_eq!(faults(delete_org(v1::DeleteOrgRequest::default())), ["org"]);
        assert_eq!(faults(put_workspace(v1::PutWorkspaceRequest::default())), ["org", "workspace"]);
        assert_eq!(
            faults(delete_workspace(v1::DeleteWorkspaceRequest::default())),
            ["org", "workspace"]
        );
        assert_eq!(
            faults(put_execution_user(v1::PutExecutionUserRequest::default())),
            ["org", "execution_user"]
        );
        assert_eq!(
            faults(delete_execution_user(v1::DeleteExecutionUserRequest::default())),
            ["org", "execution_user"]
        );
    }

    #[test]
    fn an_offset_has_one_sign_in_both_its_parts() {
        for (micros, seconds, nanos) in [
            (0, 0, 0),
            (1_500_000, 1, 500_000_000),
            (-1_500_000, -1, -500_000_000),
            (-1, 0, -1_000),
            (-3_600_000_001, -3_600, -1_000),
        ] {
            assert_eq!(wire_offset(micros), prost_types::Duration { seconds, nanos }, "{micros}");
        }
    }

    #[test]
    fn a_page_token_names_the_last_org_and_nothing_else_is_one() {
        let entry = |id: &str| OrgEntry {
            declaration: OrgDeclaration::new(OrgId::parse(id).expect("a name")),
            etag: String::new(),
            source: OrgSource::Template,
            warnings: Vec::new(),
            from_template: Vec::new(),
        };
        let orgs = || vec![entry("one"), entry("two")];
        assert_eq!(org_page(orgs(), false).next_page_token, "");
        assert_eq!(org_page(Vec::new(), false), v1::ListOrgsResponse::default());
        let page_token = org_page(orgs(), true).next_page_token;
        let (after, size) =
            page(&v1::ListOrgsRequest { page_token, ..Default::default() }).expect("valid");
        assert_eq!((after, size), (OrgId::parse("two").ok(), 100));

        for token in ["x", "0", "é", "ff", "20", "0x41", "+1", &"61".repeat(65)] {
            let request = v1::ListOrgsRequest {
                page_size: 1_001,
                page_token: token.into(),
                ..Default::default()
            };
            assert_eq!(faults(page(&request)), ["page_size", "page_token"], "{token:?}");
        }
    }

    #[test]
    fn a_page_never_outgrows_what_clients_take() {
        let warnings = vec!["x".repeat(1 << 20)];
        let entry = |id: &str| OrgEntry {
            declaration: OrgDeclaration::new(OrgId::parse(id).expect("a name")),
            etag: String::new(),
            source: OrgSource::Api,
            warnings: warnings.clone(),
            from_template: Vec::new(),
        };
        let page = org_page(["a", "b", "c", "d"].map(entry).into(), false);
        assert_eq!(page.orgs.len(), 2);
        assert_eq!(page.next_page_token, hex("b"));
    }
}
