//! docs/metrics.md lists every metric, as the service has it.

#![cfg(feature = "server")]

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fmt::Write as _,
    fs,
    path::Path,
    time::Duration,
};

use quotagate::{
    metrics::{ClusterSample, Metrics},
    quota::{Class, DenialReason, OperationId, OrgGlance, OrgId, Wall},
};

const BEGIN: &str = "<!-- metrics -->\n";
const END: &str = "<!-- end of metrics -->";

#[test]
fn the_table_of_metrics_is_what_the_service_has() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let document = fs::read_to_string(&path).expect("the document is there");
    let (head, rest) = document.split_once(BEGIN).expect("it has a place for the table");
    let (_, tail) = rest.split_once(END).expect("the table has an end");
    let wanted = format!("{head}{BEGIN}{}{END}{tail}", table());
    if env::var_os("QUOTAGATE_UPDATE").is_some() {
        fs::write(&path, wanted).expect("it can be written");
    } else {
        assert!(
            document == wanted,
            "QUOTAGATE_UPDATE=1 cargo test --all-features --test metrics writes docs/metrics.md; \
             the table should be\n{}",
            table()
        );
    }
}

/// One metric, as its text tells of it.
#[derive(Default)]
struct Family {
    kind: String,
    unit: String,
    help: String,
    /// Values by label; none where they come with what is counted.
    labels: BTreeMap<String, BTreeSet<String>>,
}

/// The table in Markdown, by name.
fn table() -> String {
    let metrics = Metrics::new("1.2.3", Wall(0));
    // What is there from the start has all its values.
    let mut families = families(&metrics.encode());
    for (name, used) in families_in_use(&metrics) {
        let Family { kind, unit, help, labels } = used;
        let known =
            families.entry(name).or_insert(Family { kind, unit, help, ..Family::default() });
        for label in labels.into_keys() {
            known.labels.entry(label).or_default();
        }
    }
    // The values of these are the build's.
    families
        .entry("quotagate_build_info".into())
        .or_default()
        .labels
        .values_mut()
        .for_each(BTreeSet::clear);

    let mut table =
        String::from("| name | type | unit | labels | what it tells |\n|---|---|---|---|---|\n");
    for (name, Family { kind, unit, help, labels }) in families {
        let labels: Vec<String> = labels
            .into_iter()
            .map(|(label, values)| {
                let values = Vec::from_iter(values).join(", ");
                if values.is_empty() {
                    format!("`{label}`")
                } else {
                    format!("`{label}`: {values}")
                }
            })
            .collect();
        let labels = labels.join("; ");
        writeln!(table, "| `{name}` | {kind} | {unit} | {labels} | {help} |").expect("a string");
    }
    table
}

/// What is there only once it has been counted.
fn families_in_use(metrics: &Metrics) -> BTreeMap<String, Family> {
    let operation = OperationId::parse("rest").expect("a name");
    metrics.granted(Class::Event, &operation, 1);
    metrics.denied(DenialReason::QueueFull, Class::Event, &operation, 1);
    metrics.request("/quotagate.v1.QuotaService/Acquire", tonic::Code::Ok);
    let org = OrgId::parse("acme").expect("a name");
    let read =
        OrgGlance { reading_age: Some(Duration::ZERO), drift: Some(0), ..Default::default() };
    let mut busiest = metrics.choose_orgs();
    busiest.offer(&org, read);
    metrics.show_orgs(busiest);
    let sample = ClusterSample { clock_offset: Some(Duration::ZERO), ..ClusterSample::default() };
    metrics.show_cluster(Box::new(move || Some(sample)));
    families(&metrics.encode())
}

/// Reads OpenMetrics text.
fn families(text: &str) -> BTreeMap<String, Family> {
    let mut families = BTreeMap::new();
    let mut base = String::new();
    let mut family = Family::default();
    let mut keep = |base: &str, family: Family| {
        let suffix = match family.kind.as_str() {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        if !base.is_empty() {
            families.insert(format!("{base}{suffix}"), family);
        }
    };
    for line in text.lines() {
        let told = line.strip_prefix("# ").and_then(|comment| {
            let mut words = comment.splitn(3, ' ');
            Some((words.next()?, words.next()?, words.next()?))
        });
        match told {
            // It begins with its help.
            Some(("HELP", name, help)) => {
                keep(&base, std::mem::take(&mut family));
                name.clone_into(&mut base);
                help.trim_end_matches('.').clone_into(&mut family.help);
            }
            Some(("TYPE", _, kind)) => kind.clone_into(&mut family.kind),
            Some(("UNIT", _, unit)) => unit.clone_into(&mut family.unit),
            _ => {
                for (label, value) in labels(line).filter(|(label, _)| *label != "le") {
                    family.labels.entry(label.to_owned()).or_default().insert(value.to_owned());
                }
            }
        }
    }
    keep(&base, family);
    families
}

/// The labels of a sample. No value of ours has a quote, a comma or a brace in it.
fn labels(sample: &str) -> impl Iterator<Item = (&str, &str)> {
    let inner = sample.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
    inner.map_or("", |(inner, _)| inner).split(',').filter_map(|pair| {
        let (label, value) = pair.split_once('=')?;
        Some((label, value.trim_matches('"')))
    })
}
