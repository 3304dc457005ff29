//! The catalogue in force, in words.

use crate::{
    proto::admin::v1::{CatalogueCharge, GetCatalogueResponse},
    web::page::words,
};

/// An operation with what it charges.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Its name.
    pub name: String,
    /// The limits that it charges.
    pub charges: Vec<Charge>,
}

/// One limit that an operation charges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// The limit's name.
    pub limit: String,
    /// Whose it is.
    pub of: String,
    /// How much it is: `90 in any minute`.
    pub amount: String,
    /// What a call takes of it.
    pub cost: &'static str,
    /// It refuses nothing.
    pub shadow: bool,
}

/// The operations, by name.
pub fn operations(catalogue: &GetCatalogueResponse) -> Vec<Operation> {
    let operations = catalogue.operations.iter();
    operations
        .map(|operation| Operation {
            name: operation.name.clone(),
            charges: operation.charges.iter().map(charge).collect(),
        })
        .collect()
}

/// What holds for names that nobody declared: sentences.
pub fn unknown(catalogue: &GetCatalogueResponse) -> Vec<String> {
    let template = catalogue.template.clone().unwrap_or_default();
    let mut said = vec![match catalogue.unknown_orgs.as_str() {
        "refuse" => "Orgs that nobody declared are refused.".to_owned(),
        _ => format!(
            "Orgs that nobody declared take the template: {} in any 24 hours, {} at a time, {} % \
             kept for other integrations.",
            words::counted(template.daily_calls, "call"),
            words::counted(template.concurrent_calls.into(), "long-running request"),
            template.reserve_percent.unwrap_or_default(),
        ),
    }];
    for (what, then) in [
        ("Workspaces", &catalogue.unknown_workspaces),
        ("Execution users", &catalogue.unknown_users),
    ] {
        said.push(match then.as_str() {
            "refuse" => format!("{what} that nobody declared are refused."),
            _ => format!("{what} that nobody declared are counted."),
        });
    }
    if catalogue.outage_share > 0 {
        said.push(format!(
            "{} % of each limit is never granted: clients use it by themselves when the service \
             cannot be reached.",
            catalogue.outage_share
        ));
    }
    said
}

fn charge(charge: &CatalogueCharge) -> Charge {
    let window = words::length(charge.window.as_ref()).unwrap_or_default();
    let amount = match (charge.kind.as_str(), charge.max) {
        ("concurrency", 0) => "the org's slots".to_owned(),
        ("concurrency", max) => format!("{} at a time", words::count(max)),
        (_, 0) => "the org's total in any 24 hours".to_owned(),
        (_, max) => format!("{} in any {}", words::count(max), words::window(window)),
    };
    let of = match charge.scope.as_str() {
        "org" => "the org",
        "workspace" => "each workspace",
        "execution_user" => "each execution user",
        other => other,
    };
    Charge {
        limit: charge.limit.clone(),
        of: of.to_owned(),
        amount,
        cost: if charge.cost == "request" { "the request's cost" } else { "1" },
        shadow: charge.shadow,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_says_how_much_it_is_and_whose() {
        let check = |scope: &str, kind: &str, max: u64, seconds: i64, amount: &str, of: &str| {
            let window = Some(prost_types::Duration { seconds, nanos: 0 });
            let (scope, kind) = (scope.to_owned(), kind.to_owned());
            let found = charge(&CatalogueCharge { scope, kind, max, window, ..Default::default() });
            assert_eq!((found.amount.as_str(), found.of.as_str()), (amount, of));
        };
        check("execution_user", "window", 90, 60, "90 in any minute", "each execution user");
        check("execution_user", "window", 10, 3_600, "10 in any hour", "each execution user");
        check("org", "window", 0, 86_400, "the org's total in any 24 hours", "the org");
        check("org", "concurrency", 0, 600, "the org's slots", "the org");
        check("workspace", "concurrency", 1_000, 600, "1,000 at a time", "each workspace");
    }
}
