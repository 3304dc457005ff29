//! The configuration: what the file says, and the policies that follow from it.

//!
//! A text is read once, completely, and either becomes a [`Config`] in which
//! every value is within its [`bounds`], or the list of everything that is
//! wrong with it. The rooms: [`check`] is the command, [`reload`] watches the
//! file; within, `document` turns text into a tree that knows its lines,
//! `fields` reads values out of it, `parse`, `auth`, `catalogue`, `declaration`,
//! `envoy` and `webhook` are the grammar, `policy` resolves defaults.

mod auth;
pub mod bounds;
mod catalogue;
pub mod check;
mod declaration;
mod document;
pub mod envoy;
mod faults;
mod fields;
mod parse;
mod policy;
pub mod reload;
mod webhook;

use std::{collections::BTreeMap, fmt, time::Duration};

pub use self::{
    auth::{AuthConfig, KeySource, OidcConfig, PrincipalLimits, Right, RuleConfig, TokenConfig},
    catalogue::{BUILT_IN_CATALOGUE, print_catalogue},
    envoy::EnvoyConfig,
    webhook::{SecretSource, WebhookConfig},
};
use crate::quota::{BurnLimit, Catalogue, OrgId, Thresholds, Unknown, UserId, WorkspaceId};

/// The whole configuration, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What happens to names that nobody declared.
    pub unknown: UnknownNames,
    /// The settings of orgs that nobody declared, and the defaults of those
    /// that are.
    pub template: Template,
    /// Percent of every limit that the service never grants, 0 to 90.
    pub outage_share: u32,
    /// The built-in catalogue with the file's additions.
    pub catalogue: Catalogue,
    /// The declared orgs.
    pub orgs: BTreeMap<OrgId, OrgDeclaration>,
    /// Where events are told, if anywhere.
    pub webhook: Option<WebhookConfig>,
    /// What the descriptors of proxies' requests mean.
    pub envoy: EnvoyConfig,
    /// Who may call, and who may do what.
    pub auth: AuthConfig,
}

/// What happens to names that nobody declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownNames {
    /// Orgs: `template` or `refuse`.
    pub orgs: Unknown,
    /// Workspaces: `count` or `refuse`.
    pub workspaces: Unknown,
    /// Execution users: `count` or `refuse`.
    pub users: Unknown,
}

/// Settings of an org that says nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Template {
    /// Units in any 24 hours; 15,000, a Developer Edition's.
    pub daily_calls: u64,
    /// Slots for long-running requests; 5, a Developer Edition's.
    pub concurrent_calls: u64,
    /// Percent of the total kept for foreign traffic; 5.
    pub reserve_percent: u32,
}

/// What is declared for an org; what is absent takes the template's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrgDeclaration {
    /// The org.
    pub id: OrgId,
    /// Units in any 24 hours, until the first reading.
    pub daily_calls: Option<u64>,
    /// The most that is used whatever a reading says.
    pub daily_calls_max: Option<u64>,
    /// Slots for long-running requests.
    pub concurrent_calls: Option<u64>,
    /// Percent of the total kept for foreign traffic, 0 to 90.
    pub reserve_percent: Option<u32>,
    /// How long Salesforce's own figure lags behind.
    pub header_lag: Option<Duration>,
    /// The pool.
    pub execution_users: Vec<UserId>,
    /// The workspaces.
    pub workspaces: Vec<WorkspaceDeclaration>,
    /// The preset of workspaces that name none.
    pub preset: Option<String>,
    /// Thresholds of workspaces that set none.
    pub classes: PartialClasses,
}

/// What is declared for a workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkspaceDeclaration {
    /// The workspace.
    pub id: WorkspaceId,
    /// Its cap; absent is none.
    pub daily_calls: Option<u64>,
    /// A named set of thresholds; absent takes the org's.
    pub preset: Option<String>,
    /// Thresholds that differ from the preset's.
    pub classes: PartialClasses,
    /// Its share where workspaces contend, 1 to 1,000; absent is 1.
    pub weight: Option<u32>,
    /// Units of the org's total that no other workspace may take.
    pub guaranteed_calls: Option<u64>,
    /// The most units in a shorter time than a day.
    pub burn_limit: Option<BurnLimit>,
    /// Its own limits are counted and reported, and refuse nothing.
    pub shadow: bool,
}

/// Thresholds that are given one by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartialClasses {
    /// Manual bulk synchronisation.
    pub bulk: Option<Thresholds>,
    /// Event-based synchronisation.
    pub event: Option<Thresholds>,
    /// People.
    pub interactive: Option<Thresholds>,
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, from 1, where there is a text.
    pub line: Option<usize>,
    /// The field, for example `orgs[0].workspaces[1].daily_calls`; empty where
    /// the text as a whole is wrong.
    pub field: String,
    /// What is wrong and what would be right, one sentence.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}
