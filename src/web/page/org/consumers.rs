//! Who used the quota of late, by each of the five dimensions.

use crate::{
    proto::v1::{Attribution, AttributionDimension, PeriodUse, TrafficClass, UseCount},
    web::page::{
        Visit,
        bar::{Bar, Part},
        visit::Tab,
        words,
    },
};

/// As the URL names them, and as people do. The first is meant where the URL is silent.
const DIMENSIONS: [(&str, &str, AttributionDimension); 5] = [
    ("", "Workspaces", AttributionDimension::Workspace),
    ("class", "Traffic", AttributionDimension::TrafficClass),
    ("operation", "Operations", AttributionDimension::Operation),
    ("user", "Users", AttributionDimension::ExecutionUser),
    ("caller", "Callers", AttributionDimension::Caller),
];

/// The same of periods.
const PERIODS: [(&str, &str); 3] =
    [("", "Last hour"), ("minute", "Last minute"), ("day", "Last 24 hours")];

/// Who used it.
pub struct Consumers {
    /// What it can be told apart by.
    pub dimensions: Vec<Tab>,
    /// Of how long.
    pub periods: Vec<Tab>,
    /// The heaviest first.
    pub rows: Vec<Consumer>,
    /// What the table shows.
    pub said: String,
}

/// One of them, in words.
pub struct Consumer {
    /// Its name.
    pub name: String,
    /// Its part of all.
    pub bar: Bar,
    /// Units.
    pub units: String,
    /// Calls.
    pub calls: String,
    /// Calls that were refused.
    pub refused: String,
}

impl Consumers {
    /// By what the URL asks for.
    pub fn new(visit: &Visit, attribution: Option<&Attribution>) -> Self {
        let by = DIMENSIONS.iter().find(|(key, ..)| *key == visit.query("by"));
        let &(by, by_name, dimension) = by.unwrap_or(&DIMENSIONS[0]);
        let period = PERIODS.iter().find(|(key, _)| *key == visit.query("period"));
        let &(period, period_name) = period.unwrap_or(&PERIODS[0]);
        let url = |by: &str, period: &str| {
            let path = words::url(visit.path(), &[("by", by), ("period", period)]);
            format!("{path}#consumers-panel")
        };
        let of = |used: Option<&PeriodUse>| -> UseCount {
            let used = used.and_then(|used| match period {
                "minute" => used.last_minute,
                "day" => used.last_day,
                _ => used.last_hour,
            });
            used.unwrap_or_default()
        };
        let total = of(attribution.and_then(|attribution| attribution.total.as_ref()));
        let table = attribution.and_then(|attribution| {
            attribution.tables.iter().find(|table| table.dimension() == dimension)
        });
        let mut rows: Vec<(String, UseCount)> = Vec::new();
        if let Some(table) = table {
            rows.extend(
                table
                    .consumers
                    .iter()
                    .map(|consumer| (name(dimension, &consumer.name), of(consumer.used.as_ref()))),
            );
            rows.sort_by_key(|(_, used)| std::cmp::Reverse((used.units, used.refused_calls)));
            rows.push(("all others".to_owned(), of(table.others.as_ref())));
        }
        rows.retain(|(_, used)| used.calls > 0 || used.refused_calls > 0);
        Self {
            dimensions: DIMENSIONS
                .iter()
                .map(|(key, name, _)| Tab { name, url: url(key, period), is_here: *key == by })
                .collect(),
            periods: PERIODS
                .iter()
                .map(|(key, name)| Tab { name, url: url(by, key), is_here: *key == period })
                .collect(),
            rows: rows.into_iter().map(|(name, used)| consumer(name, used, total)).collect(),
            said: format!(
                "{by_name}, {}: {} in {}",
                period_name.to_lowercase(),
                words::counted(total.units, "unit"),
                words::counted(total.calls, "call"),
            ),
        }
    }
}

fn consumer(name: String, used: UseCount, total: UseCount) -> Consumer {
    let text = format!("{} of all", words::percent(used.units, total.units));
    let parts = vec![(Part::Ours, used.units)];
    Consumer {
        name,
        bar: Bar { max: total.units, parts, ticks: Vec::new(), text },
        units: words::count(used.units),
        calls: words::count(used.calls),
        refused: words::count(used.refused_calls),
    }
}

fn name(dimension: AttributionDimension, name: &str) -> String {
    let none = match dimension {
        AttributionDimension::Workspace => "no workspace",
        AttributionDimension::ExecutionUser => "no user named",
        AttributionDimension::Caller => "no name given",
        AttributionDimension::TrafficClass
        | AttributionDimension::Operation
        | AttributionDimension::Unspecified => "–",
    };
    match name {
        "" => none.to_owned(),
        name if dimension == AttributionDimension::TrafficClass => {
            let known = [
                TrafficClass::Bulk,
                TrafficClass::Event,
                TrafficClass::Interactive,
                TrafficClass::Control,
            ];
            let known = known.into_iter().find(|class| words::class_key(*class) == name);
            known.map_or_else(|| name.to_owned(), |class| words::class_name(class).to_owned())
        }
        name => name.to_owned(),
    }
}
