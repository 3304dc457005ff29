//! What a form is shown with: what was typed, what is wrong with it, and what has
//! happened meanwhile.

use axum::http::StatusCode;
use tonic::{Code, Status};

use super::{
    fields::{Faults, Field, Input, ORG, USER, Values, WORKSPACE},
    standing::{Standing, Told},
};
use crate::web::{
    page::{Form, Visit, words},
    status,
};

/// A form in work.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// What stands in the fields.
    pub values: Values,
    /// What stood in them before anything was typed.
    pub was: Values,
    /// What is wrong with them.
    pub faults: Faults,
    /// What is in force now, where it is something else than when the form was made.
    pub now: Option<Values>,
}

/// What is said above a form.
#[derive(Clone, Debug, Default)]
pub struct Notice {
    /// A change was saved: it, if it may be seen.
    pub saved: Option<Option<Told>>,
    /// Somebody else has changed the same: what, newest first.
    pub conflict: Option<Vec<Told>>,
    /// What is wrong, with the field where it is one of the form.
    pub problems: Vec<Problem>,
}

/// Something that is wrong with a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The name of its field; empty if it is about the whole.
    pub field: String,
    /// What the field is called.
    pub label: String,
    /// What is wrong, in a sentence.
    pub text: String,
}

impl Draft {
    /// A form that begins with what holds.
    pub fn begun(values: Values) -> Self {
        Self { was: values.clone(), values, ..Self::default() }
    }

    /// A form as it was sent.
    pub fn sent(fields: &'static [Field], form: &Form) -> Self {
        Self {
            values: Values::of_form(fields, form, ""),
            was: Values::of_form(fields, form, "was."),
            ..Self::default()
        }
    }

    /// The form upon what holds now: what somebody typed stays, the rest is as it is now.
    pub fn rebased(self, now: Values) -> Self {
        let values = self.values.rebased(&self.was, &now);
        Self { values, was: now.clone(), faults: self.faults, now: Some(now) }
    }

    /// What is in force instead of what was typed, where these differ now.
    pub fn instead(&self, name: &str) -> Option<String> {
        let now = self.now.as_ref()?.get(name);
        let text = if now.is_empty() { "nothing" } else { now };
        (now != self.values.get(name)).then(|| text.to_owned())
    }
}

impl Notice {
    /// What is wrong with fields, before the service was asked.
    pub fn of_faults(faults: &Faults) -> Self {
        Self { problems: faults.0.iter().map(problem).collect(), ..Self::default() }
    }

    /// What the service refused.
    pub fn of_refusal(refused: &Status, form: &Form, standing: &Standing) -> Self {
        if refused.code() == Code::Aborted {
            let conflict = Some(standing.since(form.get("seen")));
            return Self { conflict, ..Self::default() };
        }
        if let Some(faults) = Faults::of_status(refused) {
            return Self::of_faults(&faults);
        }
        let text = match refused.code() {
            Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted => {
                format!("{} Nothing was saved: try again.", words::sentence(refused.message()))
            }
            _ => words::sentence(refused.message()),
        };
        let problem = Problem { field: String::new(), label: String::new(), text };
        Self { problems: vec![problem], ..Self::default() }
    }

    /// What a page says that was come to after a change.
    pub fn of_visit(visit: &Visit, standing: &Standing) -> Self {
        let is_it = match visit.query("saved") {
            "" => false,
            super::edit::WITHDRAWN => {
                standing.changes.first().is_some_and(|change| change.action == "DeleteOrg")
            }
            etag => etag == standing.entry.etag,
        };
        let saved = is_it.then(|| standing.changes.first().map(Told::of));
        Self { saved, ..Self::default() }
    }

    /// For the page's title: whoever listens hears it first.
    pub fn prefix(&self) -> &'static str {
        match (self.problems.is_empty(), &self.conflict) {
            (false, _) => "Not saved: ",
            (true, Some(_)) => "Changed meanwhile: ",
            (true, None) => "",
        }
    }
}

/// The status of HTTP of a form that comes back.
pub fn code(refused: &Status) -> StatusCode {
    status::http_code(refused.code())
}

fn problem((name, text): &(String, String)) -> Problem {
    let mut known = ORG.iter().chain(&WORKSPACE).chain([&USER]);
    let found = known.find(|field| field.name == name);
    let class = match name.split('.').nth(1) {
        Some("bulk") => "Manual bulk sync: ",
        Some("event") => "Event-based sync: ",
        Some("interactive") => "People in the inbox: ",
        _ => "",
    };
    Problem {
        field: found.map(|field| field.name.to_owned()).unwrap_or_default(),
        label: found.map_or_else(|| name.clone(), |field| format!("{class}{}", field.label)),
        text: text.clone(),
    }
}

/// A class with its two thresholds.
#[derive(Clone, Debug)]
pub struct ClassRow {
    /// The class.
    pub name: &'static str,
    /// At which share of the cap it pauses.
    pub pause: Input,
    /// Below which share it resumes.
    pub resume: Input,
}

/// The classes' rows, taken out of a form's inputs.
pub fn class_rows(inputs: &mut Vec<Input>) -> Vec<ClassRow> {
    use crate::proto::v1::TrafficClass::{Bulk, Event, Interactive};
    let mut take = |name: String| {
        let at = inputs.iter().position(|input| input.field.name == name)?;
        Some(inputs.remove(at))
    };
    let mut row = |class| {
        let key = words::class_key(class);
        let pause = take(format!("classes.{key}.pause"))?;
        let resume = take(format!("classes.{key}.resume"))?;
        Some(ClassRow { name: words::class_name(class), pause, resume })
    };
    [Bulk, Event, Interactive].into_iter().filter_map(&mut row).collect()
}
