//! What a caller may ask for, and how much of an answer they may see.
//!
//! It is asked when a request has been read and before anything about its org is
//! looked up. So a refusal says the same of an org that there is and of one that
//! there is not, and takes the same way.

use std::borrow::Cow;

use tonic::Code;

use super::{forward::Context, status::Problem};
use crate::{
    auth::{Action, Caller, Verb},
    proto::{admin::v1 as admin, v1},
    quota::{Ask, OrgId, WorkspaceId},
};

/// An Acquire needs the right to make such calls. To look is enough where nothing
/// is charged.
///
/// # Errors
/// They may not.
pub fn acquire(context: &Context, org: &OrgId, ask: &Ask) -> Result<(), Problem> {
    let caller = &context.caller;
    let workspace = ask.workspace.as_ref().map_or("", WorkspaceId::as_str);
    let action = |verb, call| Action { verb, org: org.as_str(), workspace, call };
    let call = Some((ask.operation.as_str(), ask.class));
    let may = caller.may(&action(Verb::Acquire, call))
        || ask.check_only && caller.may(&action(Verb::Read, None));
    allow(caller, may, Verb::Acquire, "for this org, workspace, operation and class")?;
    // A check changes nothing.
    let writes = context.over_http && !ask.check_only;
    let may_write = !writes || caller.may(&action(Verb::Admin, None));
    allow(caller, may_write, Verb::Admin, "for this org and workspace, to write over HTTP")
}

/// Who holds a permit may settle it; who is believed may at least try.
///
/// # Errors
/// They may not.
pub fn settle(context: &Context, org: &OrgId) -> Result<(), Problem> {
    let caller = &context.caller;
    let some = |verb| caller.may_some(verb, org.as_str());
    let may = some(Verb::Acquire) || some(Verb::Report);
    allow(caller, may, Verb::Acquire, "for something in this org")?;
    let may_write = !context.over_http || some(Verb::Admin);
    allow(caller, may_write, Verb::Admin, "for this org, to write over HTTP")
}

/// What is told without a permit is told about the org.
///
/// # Errors
/// They may not.
pub fn report_org(context: &Context, org: &OrgId) -> Result<(), Problem> {
    let caller = &context.caller;
    allow(caller, is_believed(caller, org), Verb::Report, "for this org")?;
    let may_write = !context.over_http || caller.may_some(Verb::Admin, org.as_str());
    allow(caller, may_write, Verb::Admin, "for this org, to write over HTTP")
}

/// True if what they tell of Salesforce is taken.
pub fn is_believed(caller: &Caller, org: &OrgId) -> bool {
    let org = org.as_str();
    caller.may(&Action { verb: Verb::Report, org, workspace: "", call: None })
}

/// To look at an org one must be allowed to see something of it.
///
/// # Errors
/// They may not.
pub fn read(caller: &Caller, org: &OrgId) -> Result<(), Problem> {
    let may = caller.may_some(Verb::Read, org.as_str());
    allow(caller, may, Verb::Read, "for this org")
}

/// To look at what becomes of everybody's calls one must be allowed to see all of
/// the org.
///
/// # Errors
/// They may not.
pub fn read_all(caller: &Caller, org: &OrgId) -> Result<(), Problem> {
    let may = caller.may_all(Verb::Read, org.as_str());
    allow(caller, may, Verb::Read, "for this org and all of its workspaces")
}

/// To see what is declared for an org one must administer something of it.
///
/// # Errors
/// They may not.
pub fn get_org(caller: &Caller, org: &OrgId) -> Result<(), Problem> {
    allow(caller, may_administer_some(caller, org), Verb::Admin, "for this org")
}

/// To see the nodes one must administer everything.
///
/// # Errors
/// They may not.
pub fn cluster(caller: &Caller) -> Result<(), Problem> {
    allow(caller, caller.may_everywhere(Verb::Admin), Verb::Admin, "for every org")
}

/// To see what is charged one must administer something.
///
/// # Errors
/// They may not.
pub fn catalogue(caller: &Caller) -> Result<(), Problem> {
    allow(caller, caller.may_somewhere(Verb::Admin), Verb::Admin, "for something")
}

/// To change a workspace one must administer it; to change anything else of an
/// org (`None`), all of it.
///
/// # Errors
/// They may not.
pub fn change(
    caller: &Caller,
    org: &OrgId,
    workspace: Option<&WorkspaceId>,
) -> Result<(), Problem> {
    match workspace {
        Some(workspace) => {
            let may = may(caller, Verb::Admin, org.as_str(), workspace.as_str());
            allow(caller, may, Verb::Admin, "for this org and workspace")
        }
        None => {
            let may = caller.may_all(Verb::Admin, org.as_str());
            allow(caller, may, Verb::Admin, "for this org and all of its workspaces")
        }
    }
}

/// True if they may see what is declared for at least a part of the org.
pub fn may_administer_some(caller: &Caller, org: &OrgId) -> bool {
    caller.may_some(Verb::Admin, org.as_str())
}

/// True if they may see who changed what: each change shows all of the org.
pub fn may_see_changes(caller: &Caller, org: &OrgId) -> bool {
    caller.may_all(Verb::Admin, org.as_str())
}

/// Leaves of an org's usage its own totals, and the workspaces that may be seen.
pub fn cut_usage(caller: &Caller, usage: &mut v1::OrgUsage) {
    if caller.may_all(Verb::Read, &usage.org) {
        return;
    }
    let org = std::mem::take(&mut usage.org);
    usage.workspaces.retain(|workspace| may(caller, Verb::Read, &org, &workspace.workspace));
    *usage = v1::OrgUsage {
        org,
        as_of: usage.as_of,
        limits: std::mem::take(&mut usage.limits),
        workspaces: std::mem::take(&mut usage.workspaces),
        waiting: usage.waiting,
        permits_out: usage.permits_out,
        last_reading: usage.last_reading,
        // Who makes calls, and as whom, is everybody's affair.
        ..v1::OrgUsage::default()
    };
}

/// The same for what a watcher is told. False: nothing is left to tell.
pub fn cut_event(caller: &Caller, event: &mut v1::WatchUsageResponse) -> bool {
    let Some(usage) = &mut event.usage else { return true };
    let org = usage.org.clone();
    if caller.may_all(Verb::Read, &org) {
        return true;
    }
    cut_usage(caller, usage);
    event.transitions.retain(|change| may(caller, Verb::Read, &org, &change.workspace));
    let usage = event.usage.as_ref();
    let tells = |usage: &v1::OrgUsage| !usage.limits.is_empty() || !usage.workspaces.is_empty();
    event.snapshot || !event.transitions.is_empty() || usage.is_some_and(tells)
}

/// A line of an org, of which those who may read all of it see everything, and
/// those who may read a part of it the total; `None`: they may read nothing.
pub fn read_line<'l>(caller: &Caller, line: &'l v1::OrgLine) -> Option<Cow<'l, v1::OrgLine>> {
    if caller.may_all(Verb::Read, &line.org) {
        return Some(Cow::Borrowed(line));
    }
    caller.may_some(Verb::Read, &line.org).then(|| {
        Cow::Owned(v1::OrgLine {
            org: line.org.clone(),
            total: line.total.clone(),
            waiting: line.waiting,
            // The rest is everybody's affair.
            ..v1::OrgLine::default()
        })
    })
}

/// Leaves of what was asked for that of the workspaces which may be seen.
pub fn cut_demand(caller: &Caller, demand: &mut v1::GetDemandResponse) {
    if caller.may_all(Verb::Read, &demand.org) {
        return;
    }
    let org = &demand.org;
    demand.series.retain(|series| !series.rest && may(caller, Verb::Read, org, &series.workspace));
}

/// Leaves of a declaration what is declared for the whole org, and the
/// workspaces that are theirs to administer.
pub fn cut_entry(caller: &Caller, entry: &mut admin::OrgEntry) {
    let Some(org) = &mut entry.org else { return };
    if caller.may_all(Verb::Admin, &org.id) {
        return;
    }
    let id = &org.id;
    org.workspaces.retain(|workspace| may(caller, Verb::Admin, id, &workspace.id));
    org.execution_users.clear();
    // They speak of other workspaces.
    entry.warnings.clear();
}

/// The same with the last changes, of which each shows all of the org.
pub fn cut_org(caller: &Caller, response: &mut admin::GetOrgResponse) {
    let Some(entry) = &mut response.entry else { return };
    let sees_all = entry.org.as_ref().is_some_and(|org| caller.may_all(Verb::Admin, &org.id));
    if !sees_all {
        response.changes.clear();
    }
    cut_entry(caller, entry);
}

fn may(caller: &Caller, verb: Verb, org: &str, workspace: &str) -> bool {
    caller.may(&Action { verb, org, workspace, call: None })
}

/// The refusal names no org: there may be none of that name.
fn allow(caller: &Caller, may: bool, verb: Verb, what: &str) -> Result<(), Problem> {
    if may {
        return Ok(());
    }
    let who = caller.principal().map_or_else(String::new, ToString::to_string);
    let message = format!(
        "{who} may not do this: ask an administrator for the right `{verb}` {what}; `quotagate \
         can` explains what rules decide"
    );
    Err(Problem::new(Code::PermissionDenied, "NOT_ALLOWED", message))
}
