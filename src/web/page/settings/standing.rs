//! How an org stands: what a form begins with, and what an answer to it is held
//! against.

use prost_types::Timestamp;
use tonic::{Code, Status};

use super::facts::{self, Difference};
use crate::{
    auth::Verb,
    proto::{
        admin::v1::{
            Change, GetCatalogueRequest, GetOrgRequest, Org, OrgEntry, OrgSource,
            admin_service_server::AdminService,
        },
        v1::quota_service_server::QuotaService,
    },
    quota::OrgId,
    web::page::{Pages, Visit, words::Moment},
};

/// An org as it is declared.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Its settings. The etag is empty if the service knows nothing of the org.
    pub entry: OrgEntry,
    /// The last changes, newest first; none for those who may not see them.
    pub changes: Vec<Change>,
    /// The values of fields that nobody declares.
    pub template: Org,
    /// Its visitor may change all of it.
    pub may_change_all: bool,
}

/// A change, as it is told.
#[derive(Clone, Debug)]
pub struct Told {
    /// Who made it.
    pub who: String,
    /// When.
    pub time: Option<Moment>,
    /// What it changed.
    pub differences: Vec<Difference>,
    /// How many differences are not shown.
    pub more: usize,
    /// It was not looked at: its declarations are too long to be read for a page.
    pub is_unread: bool,
}

/// So many differences are shown; a new threshold of an org changes a thousand
/// workspaces.
const SHOWN: usize = 40;

impl Standing {
    /// Asks for it. An org of which nothing is known stands as nobody declared it, for
    /// those who may declare it.
    ///
    /// # Errors
    /// It may not be seen, or is not there.
    pub async fn of<Q: QuotaService, A: AdminService>(
        pages: &Pages<Q, A>,
        visit: &Visit,
        org: &str,
    ) -> Result<Self, Status> {
        let asked = visit.request(GetOrgRequest { org: org.to_owned() });
        let answer = pages.admin().get_org(asked).await;
        let asked = visit.request(GetCatalogueRequest {});
        let catalogue = pages.admin().get_catalogue(asked).await?.into_inner();
        let template = catalogue.template.unwrap_or_default();
        let may_change_all = visit.caller().may_all(Verb::Admin, org);
        let (entry, changes) = match answer {
            Ok(answer) => {
                let answer = answer.into_inner();
                (answer.entry.unwrap_or_default(), answer.changes)
            }
            Err(unknown) if unknown.code() == Code::NotFound && may_change_all => {
                let id = OrgId::parse(org).map_err(|_| unknown)?;
                let fields = ["daily_calls", "concurrent_calls", "reserve_percent"];
                let entry = OrgEntry {
                    org: Some(Org { id: id.as_str().to_owned(), ..template.clone() }),
                    source: OrgSource::Template.into(),
                    from_template: fields.map(ToOwned::to_owned).into(),
                    ..OrgEntry::default()
                };
                (entry, Vec::new())
            }
            Err(refused) => return Err(refused),
        };
        Ok(Self { entry, changes, template, may_change_all })
    }

    /// The org's name.
    pub fn id(&self) -> &str {
        self.entry.org.as_ref().map_or("", |org| org.id.as_str())
    }

    /// The settings.
    pub fn org(&self) -> Org {
        self.entry.org.clone().unwrap_or_default()
    }

    /// What an administrator, or the file, has declared: without what the template
    /// gives.
    pub fn declared(&self) -> Org {
        let mut org = self.org();
        for field in &self.entry.from_template {
            match field.as_str() {
                "daily_calls" => org.daily_calls = 0,
                "concurrent_calls" => org.concurrent_calls = 0,
                "reserve_percent" => org.reserve_percent = None,
                _ => {}
            }
        }
        org
    }

    /// True if somebody has declared the org.
    pub fn is_declared(&self) -> bool {
        matches!(self.entry.source(), OrgSource::File | OrgSource::Api)
    }

    /// Names the newest change, so that a form can tell which ones it has not seen.
    pub fn seen(&self) -> String {
        self.changes.first().map(stamp).unwrap_or_default()
    }

    /// The changes since the one that is named so, newest first.
    pub fn since(&self, seen: &str) -> Vec<Told> {
        /// More would hide what they are about.
        const SHOWN: usize = 5;
        let newer = self.changes.iter().take_while(|change| stamp(change) != seen);
        newer.take(SHOWN).map(Told::of).collect()
    }
}

impl Told {
    /// A change in words.
    pub fn of(change: &Change) -> Self {
        let (before, after) = (facts::of_yaml(&change.before), facts::of_yaml(&change.after));
        let mut differences = facts::differences(before.as_ref(), after.as_ref());
        let more = limit(&mut differences);
        Self { differences, more, is_unread: false, ..Self::unread(change) }
    }

    /// A change of which only is told who made it, and when.
    pub fn unread(change: &Change) -> Self {
        let (who, time) = (change.who.clone(), change.time.map(Moment));
        Self { who, time, differences: Vec::new(), more: 0, is_unread: true }
    }
}

/// Leaves as many differences as are shown; how many there are besides.
pub fn limit(differences: &mut Vec<Difference>) -> usize {
    let more = differences.len().saturating_sub(SHOWN);
    differences.truncate(SHOWN);
    more
}

fn stamp(change: &Change) -> String {
    let Timestamp { seconds, nanos } = change.time.unwrap_or_default();
    format!("{seconds}.{nanos:09}")
}
