//! What would have been: the demand of the last day by edited limits and thresholds,
//! beside those in force. Nothing is changed.

mod outcome;

use std::collections::BTreeSet;

use askama::Template;
use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use self::outcome::Outcome;
use super::{Form, Frame, Pages, Section, Shared, Visit, answer, words};
use crate::proto::{
    admin::v1::{
        ClassThresholds, Classes, GetOrgRequest, Org, ReplayDemandRequest, Workspace,
        admin_service_server::AdminService,
    },
    v1::{
        ClassStatus, GetUsageRequest, OrgUsage, TrafficClass, WorkspaceUsage,
        quota_service_server::QuotaService,
    },
};

/// Workspaces that can be edited on the page: those with most use.
const MOST_WORKSPACES: usize = 40;

#[derive(Template)]
#[template(path = "what_if.html")]
struct WhatIf {
    frame: Frame,
    org: String,
    path: String,
    faults: Vec<String>,
    fields: Vec<Field>,
    workspaces: Vec<WorkspaceFields>,
    /// How many are not shown; they stay as they are.
    not_shown: String,
    outcome: Option<Outcome>,
}

/// A number in the form.
struct Field {
    name: String,
    label: &'static str,
    value: String,
    placeholder: &'static str,
}

struct WorkspaceFields {
    /// Its place in the form.
    place: usize,
    name: String,
    cap: String,
    classes: Vec<ClassFields>,
}

struct ClassFields {
    key: &'static str,
    name: &'static str,
    pause: String,
    resume: String,
}

/// The classes that can pause, with their thresholds where nothing else is known.
const CLASSES: [(TrafficClass, u32, u32); 3] = [
    (TrafficClass::Bulk, 40, 40),
    (TrafficClass::Event, 80, 60),
    (TrafficClass::Interactive, 100, 100),
];

/// The page with the settings in force.
pub async fn page<Q: QuotaService, A: AdminService>(
    State(pages): Shared<Q, A>,
    Path(org): Path<String>,
    visit: Visit,
) -> Response {
    match in_force(&pages, &visit, &org).await {
        Ok(settings) => answer(StatusCode::OK, &WhatIf::new(&visit, &org, &settings)),
        Err(refused) => pages.refuse(&refused, &visit),
    }
}

/// The page with what edited ones would have done.
pub async fn replayed<Q: QuotaService, A: AdminService>(
    State(pages): Shared<Q, A>,
    Path(org): Path<String>,
    form: Form,
) -> Response {
    let settings = match in_force(&pages, &form.visit, &org).await {
        Ok(settings) => settings,
        Err(refused) => return pages.refuse(&refused, &form.visit),
    };
    let edited = match edited(&settings, &form) {
        Ok(edited) => edited,
        Err(faults) => {
            let page = WhatIf { faults, ..WhatIf::new(&form.visit, &org, &settings).typed(&form) };
            return answer(StatusCode::BAD_REQUEST, &page);
        }
    };
    let request = ReplayDemandRequest { org: Some(edited) };
    let replayed = pages.admin().replay_demand(form.visit.request(request)).await;
    let page = WhatIf::new(&form.visit, &org, &settings).typed(&form);
    match replayed {
        Ok(replayed) => {
            let outcome = Some(Outcome::new(&replayed.into_inner()));
            answer(StatusCode::OK, &WhatIf { outcome, ..page })
        }
        Err(refused) if refused.code() == Code::InvalidArgument => {
            answer(StatusCode::BAD_REQUEST, &WhatIf { faults: said_of(&refused), ..page })
        }
        Err(refused) => pages.refuse(&refused, &form.visit),
    }
}

/// An org as it is declared, and as its use shows it.
struct Settings {
    declared: Org,
    usage: OrgUsage,
}

async fn in_force<Q: QuotaService, A: AdminService>(
    pages: &Pages<Q, A>,
    visit: &Visit,
    org: &str,
) -> Result<Settings, Status> {
    let asked = visit.request(GetUsageRequest { org: org.to_owned() });
    let usage = pages.quota().get_usage(asked).await?.into_inner().usage.unwrap_or_default();
    let asked = visit.request(GetOrgRequest { org: org.to_owned() });
    let declared = match pages.admin().get_org(asked).await {
        Ok(entry) => entry.into_inner().entry.and_then(|entry| entry.org).unwrap_or_default(),
        // Who may only look sees by its use how an org is declared; and so does
        // everybody where it is by the template.
        Err(refused) if matches!(refused.code(), Code::PermissionDenied | Code::NotFound) => {
            declared_by(&usage)
        }
        Err(refused) => return Err(refused),
    };
    Ok(Settings { declared, usage })
}

/// The declaration that an org's use shows.
fn declared_by(usage: &OrgUsage) -> Org {
    let total = usage.limits.iter().find(|limit| limit.name == "calls").cloned();
    let total = total.unwrap_or_default();
    let reserve = (total.reserved.saturating_mul(100)).checked_div(total.max).unwrap_or(0);
    let workspaces = usage.workspaces.iter().filter(|usage| cap_of(usage) > 0);
    Org {
        id: usage.org.clone(),
        daily_calls: total.max,
        reserve_percent: u32::try_from(reserve).ok(),
        execution_users: usage
            .execution_users
            .iter()
            .filter(|user| user.in_pool)
            .map(|user| user.execution_user.clone())
            .collect(),
        workspaces: workspaces
            .map(|usage| Workspace {
                id: usage.workspace.clone(),
                daily_calls: cap_of(usage),
                classes: Some(classes_of(None, Some(usage))),
                weight: usage.weight,
                guaranteed_calls: usage.guaranteed_calls,
                ..Workspace::default()
            })
            .collect(),
        ..Org::default()
    }
}

fn cap_of(usage: &WorkspaceUsage) -> u64 {
    let own = usage.limits.iter().find(|limit| limit.name == "calls");
    own.filter(|limit| limit.identity == usage.workspace).map_or(0, |limit| limit.max)
}

/// The thresholds that hold for a workspace: what its use shows, else what is
/// declared, else the usual ones.
fn classes_of(declared: Option<&Workspace>, usage: Option<&WorkspaceUsage>) -> Classes {
    let shown = usage.and_then(|usage| usage.class_state.as_ref()).map(|state| &state.classes);
    let own = declared.and_then(|workspace| workspace.classes).unwrap_or_default();
    let of = |(class, pause, resume): (TrafficClass, u32, u32), own: Option<ClassThresholds>| {
        let status = |status: &&ClassStatus| status.traffic_class() == class;
        let shown = shown.and_then(|classes| classes.iter().find(status));
        let shown = shown.map(|status| ClassThresholds {
            pause: status.pauses_at_percent,
            resume: status.resumes_below_percent,
        });
        shown.or(own).or(Some(ClassThresholds { pause, resume }))
    };
    let [bulk, event, interactive] = CLASSES;
    Classes {
        bulk: of(bulk, own.bulk),
        event: of(event, own.event),
        interactive: of(interactive, own.interactive),
    }
}

impl Settings {
    /// The workspaces that can be edited: those with most use first.
    fn workspaces(&self) -> Vec<(Workspace, u64)> {
        let used = |id: &str| {
            let usage = self.usage.workspaces.iter().find(|usage| usage.workspace == id);
            usage.map_or(0, |usage| {
                let own = usage.limits.iter().find(|limit| limit.identity == usage.workspace);
                own.map_or(0, |limit| limit.used_by_caller)
            })
        };
        let of_usage = |id: &str| self.usage.workspaces.iter().find(|usage| usage.workspace == id);
        let declared = self.declared.workspaces.iter().map(|workspace| Workspace {
            classes: Some(classes_of(Some(workspace), of_usage(&workspace.id))),
            ..workspace.clone()
        });
        let known: BTreeSet<&str> =
            self.declared.workspaces.iter().map(|workspace| workspace.id.as_str()).collect();
        let others = self.usage.workspaces.iter();
        let others = others.filter(|usage| !known.contains(usage.workspace.as_str()));
        let others = others.map(|usage| Workspace {
            id: usage.workspace.clone(),
            classes: Some(classes_of(None, Some(usage))),
            ..Workspace::default()
        });
        let mut all: Vec<(Workspace, u64)> = declared
            .chain(others)
            .map(|workspace| {
                let used = used(&workspace.id);
                (workspace, used)
            })
            .collect();
        all.sort_by(|(a, of_a), (b, of_b)| of_b.cmp(of_a).then_with(|| a.id.cmp(&b.id)));
        all
    }
}

impl WhatIf {
    fn new(visit: &Visit, org: &str, settings: &Settings) -> Self {
        let Settings { declared, .. } = settings;
        let given = |number: u64| if number == 0 { String::new() } else { words::count(number) };
        let fields = vec![
            Field {
                name: "daily_calls".to_owned(),
                label: "Calls of the org in any 24 hours",
                value: given(declared.daily_calls),
                placeholder: "as by the template",
            },
            Field {
                name: "daily_calls_max".to_owned(),
                label: "Never more than",
                value: given(declared.daily_calls_max),
                placeholder: "no bound",
            },
            Field {
                name: "reserve_percent".to_owned(),
                label: "Kept for others, percent",
                value: declared.reserve_percent.map(|it| it.to_string()).unwrap_or_default(),
                placeholder: "as by the template",
            },
        ];
        let all = settings.workspaces();
        let hidden = all.len().saturating_sub(MOST_WORKSPACES) as u64;
        let workspaces = all.into_iter().take(MOST_WORKSPACES).enumerate();
        let workspaces = workspaces.map(|(place, (workspace, _))| WorkspaceFields {
            place,
            cap: given(workspace.daily_calls),
            classes: class_fields(workspace.classes.unwrap_or_default()),
            name: workspace.id,
        });
        Self {
            frame: visit.frame(format!("What if · {org}"), Section::Orgs),
            org: org.to_owned(),
            path: visit.path().to_owned(),
            faults: Vec::new(),
            fields,
            workspaces: workspaces.collect(),
            not_shown: match hidden {
                0 => String::new(),
                _ => format!(
                    "The {MOST_WORKSPACES} workspaces with most use are shown; {} more stay as \
                     they are.",
                    words::count(hidden)
                ),
            },
            outcome: None,
        }
    }

    /// The form as it was sent.
    fn typed(mut self, form: &Form) -> Self {
        for field in &mut self.fields {
            form.get(&field.name).clone_into(&mut field.value);
        }
        for workspace in &mut self.workspaces {
            // Use has moved meanwhile: another workspace may stand here now.
            let Some(place) = place_of(form, &workspace.name) else { continue };
            form.get(&format!("w{place}.cap")).clone_into(&mut workspace.cap);
            for class in &mut workspace.classes {
                let of =
                    |what: &str| form.get(&format!("w{place}.{}.{what}", class.key)).to_owned();
                (class.pause, class.resume) = (of("pause"), of("resume"));
            }
        }
        self
    }
}

fn class_fields(classes: Classes) -> Vec<ClassFields> {
    let of = |(class, ..): (TrafficClass, u32, u32)| {
        let thresholds = match class {
            TrafficClass::Bulk => classes.bulk,
            TrafficClass::Event => classes.event,
            _ => classes.interactive,
        };
        let thresholds = thresholds.unwrap_or_default();
        ClassFields {
            key: words::class_key(class),
            name: words::class_name(class),
            pause: thresholds.pause.to_string(),
            resume: thresholds.resume.to_string(),
        }
    };
    CLASSES.map(of).into()
}

/// Where a workspace stands in a form.
fn place_of(form: &Form, workspace: &str) -> Option<usize> {
    // Names come without blanks around them.
    let is_it = |place: &usize| form.get(&format!("w{place}.id")) == workspace.trim();
    (0..MOST_WORKSPACES).find(is_it)
}

/// The settings in force with what was typed in their place, or all that is wrong with
/// that.
fn edited(settings: &Settings, form: &Form) -> Result<Org, Vec<String>> {
    let mut faults = Vec::new();
    let mut number = |what: String, text: &str| -> Option<u64> {
        let digits = text.replace([',', ' '], "");
        if digits.is_empty() {
            return None;
        }
        let parsed = digits.parse().ok();
        if parsed.is_none() {
            faults.push(format!("{what} must be a number: write digits only."));
        }
        parsed
    };
    let mut org = settings.declared.clone();
    org.daily_calls =
        number("The calls of the org".to_owned(), form.get("daily_calls")).unwrap_or(0);
    org.daily_calls_max =
        number("The bound of the org".to_owned(), form.get("daily_calls_max")).unwrap_or(0);
    let reserve = number("What is kept for others".to_owned(), form.get("reserve_percent"));
    org.reserve_percent = reserve.map(|percent| u32::try_from(percent).unwrap_or(u32::MAX));
    for (workspace, _) in settings.workspaces() {
        let Some(place) = place_of(form, &workspace.id) else { continue };
        let id = workspace.id.clone();
        let cap = number(format!("The limit of {id}"), form.get(&format!("w{place}.cap")));
        let mut thresholds = |class: TrafficClass| {
            let key = words::class_key(class);
            let mut percent = |what: &str| {
                let text = form.get(&format!("w{place}.{key}.{what}"));
                let number = number(format!("A threshold of {id}"), text);
                number.map(|percent| u32::try_from(percent).unwrap_or(u32::MAX))
            };
            let pause = percent("pause")?;
            Some(ClassThresholds { pause, resume: percent("resume").unwrap_or(pause) })
        };
        let classes = Classes {
            bulk: thresholds(TrafficClass::Bulk),
            event: thresholds(TrafficClass::Event),
            interactive: thresholds(TrafficClass::Interactive),
        };
        let edited =
            Workspace { daily_calls: cap.unwrap_or(0), classes: Some(classes), ..workspace };
        match org.workspaces.iter_mut().find(|known| known.id == edited.id) {
            Some(known) => *known = edited,
            None if edited.daily_calls > 0 => org.workspaces.push(edited),
            None => {}
        }
    }
    if faults.is_empty() { Ok(org) } else { Err(faults) }
}

fn said_of(refused: &Status) -> Vec<String> {
    let details = refused.get_error_details();
    let fields = details.bad_request().map(|bad| bad.field_violations.as_slice());
    let sentences: Vec<String> = fields
        .unwrap_or_default()
        .iter()
        .map(|fault| words::sentence(&format!("{} {}", fault.field, fault.description)))
        .collect();
    if sentences.is_empty() { vec![words::sentence(refused.message())] } else { sentences }
}
