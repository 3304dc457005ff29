//! The org's total.

use std::time::Duration;

use crate::{
    proto::v1::{LimitUsage, OrgUsage},
    web::page::{
        bar::Bar,
        home,
        words::{self, Moment},
    },
};

/// The org's total in words.
pub struct Total {
    /// `15,000 calls in any 24 hours`.
    pub title: String,
    /// How it stands.
    pub bar: Bar,
    /// What the bar shows.
    pub said: String,
    /// What is kept for others.
    pub reserve: String,
    /// Names and figures.
    pub facts: Vec<(&'static str, String)>,
    /// When Salesforce's figure was last heard of.
    pub read: Option<Moment>,
    /// When nothing will be left.
    pub used_up: Option<Moment>,
}

impl Total {
    /// The total, and what goes with it.
    pub fn new(usage: &OrgUsage, total: &LimitUsage) -> Self {
        let lasts = words::length(total.exhausted_in.as_ref());
        let window = words::length(total.window.as_ref()).map(words::window).unwrap_or_default();
        let used = total.used_by_caller.saturating_add(total.used_by_others);
        let mut facts = vec![
            ("Used", words::percent(used, total.max)),
            ("Rate of late", format!("{} an hour", words::count(total.burn_per_hour))),
            ("Permits out", words::count(usage.permits_out.into())),
            ("Waiting", words::count(usage.waiting.into())),
        ];
        match lasts {
            Some(Duration::ZERO) => facts.push(("What is left", "nothing".to_owned())),
            Some(lasts) => facts.push(("What is left lasts", words::span(lasts))),
            None => {}
        }
        Self {
            title: format!("{} in any {window}", words::counted(total.max, "call")),
            bar: home::total_bar(total, true),
            said: home::said(total),
            reserve: reserve(total),
            facts,
            read: usage.last_reading.map(Moment),
            used_up: lasts
                .filter(|lasts| !lasts.is_zero())
                .zip(usage.as_of)
                .map(|(lasts, now)| words::after(now, lasts)),
        }
    }
}

fn reserve(total: &LimitUsage) -> String {
    let mut text = match total.reserved {
        0 => "Nothing is kept for other integrations: what they use between two readings may be \
              refused to us."
            .to_owned(),
        reserved => format!(
            "{} are kept for other integrations, whose use Salesforce tells only now and then: at \
             {} of {} all but app settings stops.",
            words::count(reserved),
            words::count(total.max.saturating_sub(reserved)),
            words::count(total.max),
        ),
    };
    if total.held > 0 {
        text.push_str(&format!(
            " {} are held: set aside in the store, to be granted next, or lost in a crash.",
            words::count(total.held)
        ));
    }
    if total.outage_share > 0 {
        text.push_str(&format!(
            " {} are left to clients for outages of this service.",
            words::count(total.outage_share)
        ));
    }
    text
}
