//! What is declared for each org, by the file and by administrators, and what
//! follows from it. An administrator's declaration stands in the store and
//! overrides the file's; withdrawing it lets the file's hold again.

use std::{
    borrow::Cow,
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio::time::timeout;

use super::{AdminChange, AdminError, Author, Change, OrgEntry, OrgSource};
use crate::{
    config::{Config, OrgDeclaration},
    quota::{Catalogue, OrgId, OrgPolicy, Wall},
    shard::Policies,
    store::{
        Changed, Compare, Key, KeyValue, Record as _, Store, StoreError, Txn, TxnOutcome, Watched,
        Write,
        keys::ORG_CONFIGS,
        records::{ChangeRecord, OrgConfigRecord, RecordError},
    },
};

/// The settings of all orgs.
#[derive(Debug)]
pub struct Settings {
    state: RwLock<State>,
    /// One change at a time: each is read, checked, stored and put in force.
    changing: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    config: Arc<Config>,
    catalogue: Arc<Catalogue>,
    /// Rises with each configuration that is put in force.
    generation: u64,
    /// What administrators declared, and the changes, by org.
    stored: BTreeMap<OrgId, StoredOrg>,
}

/// What the store holds about one org. There may be a million: its declaration, which
/// decisions need, is kept ready, and its changes as they are stored.
#[derive(Clone, Debug, Default)]
struct StoredOrg {
    /// The mod revision in the store.
    revision: u64,
    /// Counts the changes by administrators.
    version: u64,
    /// When the last one was.
    changed: Wall,
    /// Changes that are known still.
    changes: u32,
    /// An [`OrgConfigRecord`] as it is stored; empty if there is none.
    value: Box<[u8]>,
    /// Its declaration, read.
    declaration: Option<OrgDeclaration>,
}

/// A store that takes longer has not said what became of a change.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);

/// A change that finds another value in the store is tried again upon that.
const TRIES: usize = 3;

/// Why the stored settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The store did not answer.
    #[error("reading the declared orgs")]
    Store(#[from] StoreError),
    /// A value cannot be used.
    #[error("the store's value {key:?} cannot be used: {cause}")]
    Value {
        /// Where it stands.
        key: String,
        /// Why.
        cause: RecordError,
    },
}

impl Settings {
    /// The settings of a configuration and of what a store holds.
    ///
    /// # Errors
    /// The store did not answer, or holds what cannot be used.
    pub async fn read(config: Config, store: &dyn Store) -> Result<Self, SettingsError> {
        let settings = Self::of_file(config);
        let read = |present: KeyValue| {
            let Ok(Key::OrgConfig(org)) = present.key.parse() else { return None };
            let stored = StoredOrg::read(&org, &present);
            Some(match stored {
                Ok(stored) => Ok((org, stored)),
                Err(cause) => Err(SettingsError::Value { key: present.key, cause }),
            })
        };
        // Collected, not inserted one by one: nodes of the map are full then, not half.
        let stored = store.range(ORG_CONFIGS).await?.into_iter().filter_map(read);
        let stored = stored.collect::<Result<BTreeMap<_, _>, _>>()?;
        settings.state.write().unwrap_or_else(PoisonError::into_inner).stored = stored;
        Ok(settings)
    }

    /// The settings of a configuration alone; what a store holds is to be taken
    /// in with [`Settings::take_in`].
    #[must_use]
    pub fn of_file(config: Config) -> Self {
        let catalogue = Arc::new(config.catalogue.clone());
        let config = Arc::new(config);
        let state = State { config, catalogue, generation: 1, stored: BTreeMap::new() };
        Self { state: RwLock::new(state), changing: tokio::sync::Mutex::default() }
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.state().config)
    }

    /// Puts another configuration in force.
    pub fn replace_config(&self, config: Config) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.catalogue = Arc::new(config.catalogue.clone());
        state.config = Arc::new(config);
        state.generation += 1;
    }

    /// Takes in what a watch of [`ORG_CONFIGS`] tells: the orgs whose settings
    /// have changed by it. A value that cannot be used leaves in force what was,
    /// and says so.
    pub fn take_in(&self, told: &Watched) -> Vec<OrgId> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let mut changed = Vec::new();
        match told {
            Watched::All(listing) => {
                // A store that went back counts anew from an earlier revision:
                // what was known of its former history is void.
                if state.stored.values().any(|org| org.revision > listing.revision) {
                    state.stored.values_mut().for_each(|org| org.revision = 0);
                }
                let named = |entry: &KeyValue| match entry.key.parse() {
                    Ok(Key::OrgConfig(org)) => Some(org),
                    _ => None,
                };
                let stand: BTreeSet<OrgId> = listing.entries.iter().filter_map(named).collect();
                let gone = state.stored.keys().filter(|org| !stand.contains(*org));
                changed.extend(gone.cloned().collect::<Vec<_>>());
                for org in &changed {
                    state.stored.remove(org);
                }
                changed.extend(listing.entries.iter().filter_map(|entry| state.put(entry)));
            }
            Watched::Changes(changes) => {
                changed.extend(changes.iter().filter_map(|change| match change {
                    Changed::Put(entry) => state.put(entry),
                    Changed::Deleted { key, revision } => match key.parse() {
                        Ok(Key::OrgConfig(org)) => state.remove(&org, *revision).then_some(org),
                        _ => None,
                    },
                }));
            }
        }
        changed
    }

    /// The orgs that are declared, by name.
    pub fn declared(&self) -> BTreeSet<OrgId> {
        let state = self.state();
        let stored = state.stored.iter().filter(|(_, org)| org.declaration.is_some());
        state.config.orgs.keys().chain(stored.map(|(name, _)| name)).cloned().collect()
    }

    /// An org as it is in force.
    pub fn entry(&self, org: &OrgId) -> OrgEntry {
        self.state().entry(org)
    }

    /// The policy of a declaration, as if it were in force.
    ///
    /// # Errors
    /// Every fault that it has.
    pub fn policy_of(&self, declaration: &OrgDeclaration) -> Result<OrgPolicy, AdminError> {
        let faults = declaration.check();
        if !faults.is_empty() {
            return Err(AdminError::Faults(faults));
        }
        let state = self.state();
        Ok(state.config.policy(declaration, state.revision(&declaration.id)))
    }

    /// The last changes of an org, newest first.
    pub fn changes(&self, org: &OrgId) -> Vec<Change> {
        let record = self.state().stored.get(org).map(StoredOrg::record);
        record.unwrap_or_default().changes.into_iter().map(Change::from).collect()
    }

    /// The last changes of the orgs that `may_show` lets through, newest first, at
    /// most `limit`; true if there are more.
    pub fn newest_changes(
        &self,
        limit: usize,
        may_show: impl Fn(&OrgId) -> bool,
    ) -> (Vec<(OrgId, Change)>, bool) {
        let state = self.state();
        let shown = state.stored.iter().filter(|(org, stored)| stored.changes > 0 && may_show(org));
        let mut orgs: Vec<(&OrgId, &StoredOrg)> = shown.collect();
        let all: usize = orgs.iter().map(|(_, stored)| stored.changes as usize).sum();
        // Each has a change that is newer than all of those that come after.
        orgs.sort_by_key(|(_, stored)| Reverse(stored.changed));
        orgs.truncate(limit);
        orgs.sort_by_key(|(org, _)| *org);
        let mut newest: Vec<(OrgId, Change)> = orgs
            .into_iter()
            .flat_map(|(org, stored)| {
                stored.record().changes.into_iter().map(|change| (org.clone(), change.into()))
            })
            .collect();
        // Stable: those of one millisecond stay in their org's order.
        newest.sort_by_key(|(_, change)| Reverse(change.time));
        newest.truncate(limit);
        (newest, all > limit)
    }

    /// Carries out a change: checks it, stores it, puts it in force, and writes
    /// the audit event. Not to be dropped half-way: what is stored would not be
    /// in force.
    #[expect(clippy::too_many_arguments, reason = "the facts of a change, named at the one call")]
    pub async fn change(
        &self,
        store: &dyn Store,
        now: Wall,
        org: &OrgId,
        change: AdminChange,
        etag: Option<&str>,
        validate_only: bool,
        author: &Author,
    ) -> Result<OrgEntry, AdminError> {
        let _one_at_a_time = self.changing.lock().await;
        for _ in 0..TRIES {
            let change = change.clone();
            if let Some(entry) =
                self.try_change(store, now, org, change, etag, validate_only, author).await?
            {
                return Ok(entry);
            }
        }
        Err(AdminError::Store("the org was changed at the same time".to_owned()))
    }

    /// `None` if another value stood in the store: it is in force now.
    #[expect(clippy::too_many_arguments, reason = "the same")]
    async fn try_change(
        &self,
        store: &dyn Store,
        now: Wall,
        org: &OrgId,
        change: AdminChange,
        etag: Option<&str>,
        validate_only: bool,
        author: &Author,
    ) -> Result<Option<OrgEntry>, AdminError> {
        let action = change.action();
        let (before, present) = {
            let state = self.state();
            (state.declared_entry(org), state.stored.get(org).cloned().unwrap_or_default())
        };
        if let Some(etag) = etag
            && etag != before.etag
        {
            return Err(AdminError::EtagMismatch(before.etag));
        }
        let is_stored = present.declaration.is_some();
        let after = change.apply(&before, is_stored)?;
        if let Some(declaration) = &after {
            let faults = declaration.check();
            if !faults.is_empty() {
                return Err(AdminError::Faults(faults));
            }
        }
        let mut record = present.record();
        let yaml_before = match before.source {
            OrgSource::Template => String::new(),
            OrgSource::File | OrgSource::Api => before.declaration.to_yaml(),
        };
        record.change(ChangeRecord {
            // The store keeps milliseconds.
            time: Wall(now.0 / 1_000 * 1_000),
            who: author.who.clone(),
            from: author.from.clone(),
            action: action.to_owned(),
            before: yaml_before,
            after: after.as_ref().map(OrgDeclaration::to_yaml).unwrap_or_default(),
        });
        let compared = present.revision;
        let value = record.encode();
        let mut stored = StoredOrg::new(compared, &record, value.clone(), after);
        if validate_only {
            return Ok(Some(self.state().preview(org, stored).entry(org)));
        }
        let key: String = Key::OrgConfig(org.clone()).into();
        let txn = Txn {
            when: vec![Compare::ModRevision(key.clone(), compared)],
            then: vec![Write::Put(key, value)],
            wall: Some(now),
        };
        let answer = timeout(STORE_TIMEOUT, store.txn(txn)).await;
        let answer =
            answer.map_err(|_| AdminError::Store("it did not answer in time".to_owned()))?;
        match answer.map_err(|error| AdminError::Store(error.to_string()))? {
            TxnOutcome::Done { revision } => stored.revision = revision,
            TxnOutcome::Conflict { current } => {
                // For one, an earlier change that the store did not acknowledge.
                let present = current.into_iter().flatten().next();
                let read = |present| StoredOrg::read(org, present);
                let present = present.as_ref().map(read).transpose();
                let present = present.map_err(|cause| AdminError::Store(cause.to_string()))?;
                let present = present.unwrap_or_default();
                let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
                if present.revision < compared {
                    // The store went back.
                    state.stored.remove(org);
                }
                state.keep(org, present);
                return Ok(None);
            }
        }
        if let Some(change) = record.changes.first() {
            tracing::info!(
                target: "audit",
                %org,
                who = change.who,
                from = change.from,
                action = change.action,
                before = change.before,
                after = change.after,
                "an org's settings were changed"
            );
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.keep(org, stored);
        Ok(Some(state.entry(org)))
    }

    fn state(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Policies for Settings {
    fn policy(&self, org: &OrgId) -> Arc<OrgPolicy> {
        let state = self.state();
        let (declaration, _) = state.declaration(org);
        Arc::new(state.config.policy(&declaration, state.revision(org)))
    }

    fn catalogue(&self) -> Arc<Catalogue> {
        Arc::clone(&self.state().catalogue)
    }

    fn is_declared(&self, org: &OrgId) -> bool {
        let state = self.state();
        let is_stored = state.stored.get(org).is_some_and(|org| org.declaration.is_some());
        is_stored || state.config.orgs.contains_key(org)
    }
}

impl From<ChangeRecord> for Change {
    fn from(record: ChangeRecord) -> Self {
        let ChangeRecord { time, who, from, action, before, after } = record;
        Self { time, who, from, action, before, after }
    }
}

impl StoredOrg {
    fn new(
        revision: u64,
        record: &OrgConfigRecord,
        value: Vec<u8>,
        declaration: Option<OrgDeclaration>,
    ) -> Self {
        Self {
            revision,
            version: record.version,
            changed: record.changes.iter().map(|change| change.time).max().unwrap_or_default(),
            changes: u32::try_from(record.changes.len()).unwrap_or(u32::MAX),
            value: value.into(),
            declaration,
        }
    }

    fn read(org: &OrgId, present: &KeyValue) -> Result<Self, RecordError> {
        let record = OrgConfigRecord::decode(&present.value)?;
        let read = record.org_yaml.as_deref().map(OrgDeclaration::from_yaml).transpose();
        let mut declaration = read.map_err(|faults| {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            RecordError::Damaged(faults.join("; "))
        })?;
        if let Some(declaration) = &mut declaration
            && declaration.id == *org
        {
            // One name in memory, not two that are equal.
            declaration.id = org.clone();
        }
        Ok(Self::new(present.mod_revision, &record, present.value.clone(), declaration))
    }

    /// All that is stored. What could be read once can be read again.
    fn record(&self) -> OrgConfigRecord {
        OrgConfigRecord::decode(&self.value).unwrap_or_default()
    }
}

impl State {
    fn declaration(&self, org: &OrgId) -> (Cow<'_, OrgDeclaration>, OrgSource) {
        let stored = self.stored.get(org).and_then(|stored| stored.declaration.as_ref());
        match (stored, self.config.orgs.get(org)) {
            (Some(declaration), _) => (Cow::Borrowed(declaration), OrgSource::Api),
            (None, Some(declaration)) => (Cow::Borrowed(declaration), OrgSource::File),
            (None, None) => (Cow::Owned(OrgDeclaration::new(org.clone())), OrgSource::Template),
        }
    }

    /// An org with everything that is in force, also what the template gives.
    fn entry(&self, org: &OrgId) -> OrgEntry {
        let mut entry = self.declared_entry(org);
        let (declaration, template) = (&mut entry.declaration, &self.config.template);
        let fields = [
            ("daily_calls", declaration.daily_calls.is_none()),
            ("concurrent_calls", declaration.concurrent_calls.is_none()),
            ("reserve_percent", declaration.reserve_percent.is_none()),
        ];
        let taken = fields.into_iter().filter(|&(_, is_taken)| is_taken);
        entry.from_template = taken.map(|(field, _)| field).collect();
        let most = declaration.daily_calls_max.unwrap_or(u64::MAX);
        declaration.daily_calls.get_or_insert(template.daily_calls.min(most));
        declaration.concurrent_calls.get_or_insert(template.concurrent_calls);
        declaration.reserve_percent.get_or_insert(template.reserve_percent);
        entry
    }

    /// An org with what was declared and no more: what a change starts from, so
    /// that the template goes on to hold for the rest.
    fn declared_entry(&self, org: &OrgId) -> OrgEntry {
        let (declaration, source) = self.declaration(org);
        let warnings = declaration.warnings(&self.config.template);
        let etag = self.etag(org, &declaration);
        let declaration = declaration.into_owned();
        OrgEntry { etag, declaration, source, warnings, from_template: Vec::new() }
    }

    /// Changes with every change by an administrator, and with what the file
    /// says about the org; a restart does not change it.
    fn etag(&self, org: &OrgId, declaration: &OrgDeclaration) -> String {
        let version = self.stored.get(org).map_or(0, |stored| stored.version);
        let digest = declaration.to_yaml().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        format!("{version}-{digest:016x}")
    }

    /// Takes in what stands in the store, unless something newer was taken in
    /// before: this node's own changes come by the watch, too. The org, if it
    /// has changed.
    fn put(&mut self, entry: &KeyValue) -> Option<OrgId> {
        let Ok(Key::OrgConfig(org)) = entry.key.parse() else { return None };
        let known = self.stored.get(&org).map_or(0, |stored| stored.revision);
        if known >= entry.mod_revision {
            return None;
        }
        match StoredOrg::read(&org, entry) {
            Ok(stored) => {
                self.stored.insert(org.clone(), stored);
                Some(org)
            }
            Err(error) => {
                tracing::error!(%org, %error, "the stored settings cannot be used: the last stay");
                None
            }
        }
    }

    /// Keeps what this node has written or found, unless a watch has brought
    /// something newer meanwhile.
    fn keep(&mut self, org: &OrgId, stored: StoredOrg) {
        let known = self.stored.get(org).map_or(0, |known| known.revision);
        if stored.revision >= known || stored.revision == 0 {
            self.stored.insert(org.clone(), stored);
        }
    }

    fn remove(&mut self, org: &OrgId, revision: u64) -> bool {
        let is_older = self.stored.get(org).is_some_and(|stored| stored.revision < revision);
        is_older && self.stored.remove(org).is_some()
    }

    fn revision(&self, org: &OrgId) -> u64 {
        self.generation + self.stored.get(org).map_or(0, |stored| stored.version)
    }

    /// The settings as if one org's were these; of the others nothing is known.
    fn preview(&self, org: &OrgId, stored: StoredOrg) -> Self {
        Self {
            config: Arc::clone(&self.config),
            catalogue: Arc::clone(&self.catalogue),
            generation: self.generation,
            stored: BTreeMap::from([(org.clone(), stored)]),
        }
    }
}

impl AdminChange {
    /// The RPC's name.
    #[must_use]
    pub fn action(&self) -> &'static str {
        match self {
            Self::PutOrg(_) => "PutOrg",
            Self::DeleteOrg => "DeleteOrg",
            Self::PutWorkspace(_) => "PutWorkspace",
            Self::DeleteWorkspace(_) => "DeleteWorkspace",
            Self::PutExecutionUser(_) => "PutExecutionUser",
            Self::DeleteExecutionUser(_) => "DeleteExecutionUser",
        }
    }

    /// The declaration after the change; `None` if it is withdrawn.
    fn apply(
        self,
        before: &OrgEntry,
        is_stored: bool,
    ) -> Result<Option<OrgDeclaration>, AdminError> {
        let mut declaration = before.declaration.clone();
        let org = declaration.id.clone();
        match self {
            Self::PutOrg(declaration) => return Ok(Some(declaration)),
            Self::DeleteOrg if is_stored => return Ok(None),
            Self::DeleteOrg => {
                return Err(AdminError::NotFound(match before.source {
                    OrgSource::File => format!(
                        "org {org} is declared by the configuration file: take it out there"
                    ),
                    OrgSource::Api | OrgSource::Template => format!("org {org} is not declared"),
                }));
            }
            Self::PutWorkspace(workspace) => {
                match declaration.workspaces.iter_mut().find(|known| known.id == workspace.id) {
                    Some(known) => *known = workspace,
                    None => declaration.workspaces.push(workspace),
                }
            }
            Self::DeleteWorkspace(id) => {
                let count = declaration.workspaces.len();
                declaration.workspaces.retain(|workspace| workspace.id != id);
                if declaration.workspaces.len() == count {
                    let text = format!("workspace {id} of org {org} is not declared");
                    return Err(AdminError::NotFound(text));
                }
            }
            Self::PutExecutionUser(user) => {
                if !declaration.execution_users.contains(&user) {
                    declaration.execution_users.push(user);
                }
            }
            Self::DeleteExecutionUser(user) => {
                let count = declaration.execution_users.len();
                declaration.execution_users.retain(|known| *known != user);
                if declaration.execution_users.len() == count {
                    let text = format!("execution user {user} is not in the pool of org {org}");
                    return Err(AdminError::NotFound(text));
                }
            }
        }
        Ok(Some(declaration))
    }
}
