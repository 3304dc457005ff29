//! The totals of orgs: of those that have used the most of their limit, so many
//! as an operator wants to see. Labels are bounded by that, not by how many orgs
//! there are.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
    registry::Unit,
};

use crate::quota::{OrgGlance, OrgId};

/// How many orgs are shown by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShownOrgs {
    /// Those that have used the most of their limit.
    Busiest(usize),
    /// Each that has a counter in memory.
    All,
}

impl Default for ShownOrgs {
    fn default() -> Self {
        Self::Busiest(20)
    }
}

impl FromStr for ShownOrgs {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "all" => Ok(Self::All),
            _ => text
                .parse()
                .map(Self::Busiest)
                .map_err(|_| "must be how many orgs to show, for example 20, or `all`"),
        }
    }
}

impl fmt::Display for ShownOrgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busiest(orgs) => write!(f, "{orgs}"),
            Self::All => f.write_str("all"),
        }
    }
}

/// Chooses among all orgs, one after the other, with memory for the chosen.
#[derive(Debug)]
pub struct Busiest {
    most: usize,
    /// The least busy of the chosen is the first to go.
    chosen: BinaryHeap<Reverse<Entry>>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    /// Parts in a million of the limit.
    used: u64,
    /// Of equals the first by name is chosen.
    org: Reverse<OrgId>,
    glance: OrgGlance,
}

impl Busiest {
    /// Nothing is chosen yet.
    #[must_use]
    pub fn new(shown: ShownOrgs) -> Self {
        let most = match shown {
            ShownOrgs::Busiest(orgs) => orgs,
            ShownOrgs::All => usize::MAX,
        };
        Self { most, chosen: BinaryHeap::new() }
    }

    /// Here is an org.
    pub fn offer(&mut self, org: &OrgId, glance: OrgGlance) {
        let used = glance.used_in_a_million();
        let is_full = self.chosen.len() >= self.most;
        if is_full && self.chosen.peek().is_none_or(|Reverse(least)| used < least.used) {
            return;
        }
        self.chosen.push(Reverse(Entry { used, org: Reverse(org.clone()), glance }));
        if self.chosen.len() > self.most {
            self.chosen.pop();
        }
    }
}

/// What is shown of orgs by name.
#[derive(Clone, Debug, Default)]
pub struct OrgGauges {
    shown: Arc<Mutex<Vec<(OrgId, OrgGlance)>>>,
}

impl OrgGauges {
    /// From now on these are shown, by name.
    pub fn show(&self, busiest: Busiest) {
        let mut shown: Vec<_> = busiest
            .chosen
            .into_iter()
            .map(|Reverse(Entry { org: Reverse(org), glance, .. })| (org, glance))
            .collect();
        shown.sort_by(|(a, _), (b, _)| a.cmp(b));
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = shown;
    }
}

/// A gauge's value of one org; `None` where the org has none.
type Read = fn(&OrgGlance) -> Option<i64>;

/// Name, help, unit, value.
type Shown = (&'static str, &'static str, Option<Unit>, Read);

/// What is shown of each.
const SHOWN: [Shown; 6] = [
    ("org_limit_calls", "The limit of the org's total in 24 hours", None, |org| {
        Some(gauge(org.limit))
    }),
    ("org_used_calls", "Units that went through quotagate", None, |org| Some(gauge(org.used))),
    ("org_foreign_calls", "Units that others use, by Salesforce's newest figure", None, |org| {
        Some(gauge(org.foreign))
    }),
    ("org_held_calls", "Units set aside and not spent", None, |org| Some(gauge(org.held))),
    (
        "org_drift_calls",
        "What others use by the newest figure of Salesforce's, less what they used by the one before",
        None,
        |org| org.drift,
    ),
    (
        "org_reading_age",
        "How old the newest figure of Salesforce's is",
        Some(Unit::Seconds),
        |org| org.reading_age.map(|age| gauge(age.as_secs())),
    ),
];

impl Collector for OrgGauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, help, unit, read) in SHOWN {
            let mut family =
                encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
            for (org, glance) in &*shown {
                if let Some(value) = read(glance) {
                    let labels = [("org", org.as_str())];
                    ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }
}

fn gauge(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus_client::{encoding::text, registry::Registry};

    use super::*;

    fn org(name: &str, used: u64) -> (OrgId, OrgGlance) {
        let glance = OrgGlance { limit: 100, used, ..OrgGlance::default() };
        (OrgId::parse(name).expect("a name"), glance)
    }

    fn shown(shown: ShownOrgs, orgs: &[(OrgId, OrgGlance)]) -> Vec<String> {
        let mut busiest = Busiest::new(shown);
        orgs.iter().for_each(|(org, glance)| busiest.offer(org, *glance));
        let gauges = OrgGauges::default();
        gauges.show(busiest);
        let mut registry = Registry::with_prefix("quotagate");
        registry.register_collector(Box::new(gauges));
        let mut text = String::new();
        text::encode(&mut text, &registry).expect("it is written to a string");
        text.lines().map(str::to_owned).collect()
    }

    fn used(lines: &[String]) -> Vec<&str> {
        lines.iter().filter_map(|line| line.strip_prefix("quotagate_org_used_calls")).collect()
    }

    #[test]
    fn the_busiest_orgs_are_shown_and_no_others() {
        let orgs = [org("d", 5), org("b", 70), org("c", 9), org("a", 70), org("e", 10)];
        let check = |orders: ShownOrgs, expected: &[&str]| {
            assert_eq!(used(&shown(orders, &orgs)), expected, "{orders}");
        };
        check(ShownOrgs::Busiest(0), &[]);
        check(ShownOrgs::Busiest(1), &[r#"{org="a"} 70"#]);
        check(ShownOrgs::Busiest(3), &[r#"{org="a"} 70"#, r#"{org="b"} 70"#, r#"{org="e"} 10"#]);
        assert_eq!(used(&shown(ShownOrgs::All, &orgs)).len(), 5);
    }

    #[test]
    fn what_is_not_known_is_not_shown() {
        let (name, glance) = org("o", 1);
        let lines = shown(ShownOrgs::All, &[(name.clone(), glance)]);
        assert!(!lines.iter().any(|line| line.starts_with("quotagate_org_reading_age_seconds{")));
        let read = OrgGlance {
            reading_age: Some(Duration::from_millis(61_900)),
            drift: Some(-7),
            ..glance
        };
        let lines = shown(ShownOrgs::All, &[(name, read)]);
        for line in [
            r#"quotagate_org_reading_age_seconds{org="o"} 61"#,
            r#"quotagate_org_drift_calls{org="o"} -7"#,
        ] {
            assert!(lines.iter().any(|shown| shown == line), "{line} is not in {lines:#?}");
        }
    }

    #[test]
    fn how_many_is_a_number_or_all() {
        for (text, expected) in [("0", ShownOrgs::Busiest(0)), ("all", ShownOrgs::All)] {
            assert_eq!(text.parse(), Ok(expected));
            assert_eq!(expected.to_string(), text);
        }
        assert!("many".parse::<ShownOrgs>().is_err());
    }
}
