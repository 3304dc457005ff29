//! What lies on the disk: the configuration, and certificates.

use std::{path::Path, time::Duration};

use super::{Files, finding::Report};
use crate::{
    config::{Config, check::read_file},
    quota::Wall,
    tls::examine::{Validity, examine},
};

/// A certificate is renewed in time: cert-manager begins when a third of its life is
/// left, which of 90 days are 30; what is not renewed by then has a fault.
const SOON: Duration = Duration::from_secs(21 * 24 * 60 * 60);

/// Within this somebody has to do something today.
const NOW: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// More of an org's total than this is kept from everybody by mistake, as a rule.
const MUCH: u32 = 50;

pub fn look_at_config(path: &Path, report: &mut Report) {
    let name = path.display();
    let config = read_file(path).and_then(|text| Config::parse(&text));
    let config = match config {
        Ok(config) => config,
        Err(faults) => {
            for fault in faults {
                report.fail("config", format!("{name}: {fault}"), "mend the file: it is not taken");
            }
            return;
        }
    };
    let operations = config.catalogue.operations.len();
    let orgs = config.orgs.len();
    report.ok("config", format!("{name} is valid: {orgs} orgs, {operations} operations"));
    let mut adds_up = true;
    for org in config.orgs.values() {
        for warning in org.warnings(&config.template) {
            adds_up = false;
            let remedy = "raise the org's daily_calls, or lower what its workspaces have";
            report.warn("limits", format!("org {}: {warning}", org.id), remedy);
        }
        let kept = org.reserve_percent.unwrap_or(config.template.reserve_percent);
        if kept + config.outage_share > MUCH {
            adds_up = false;
            let text = format!(
                "org {}: {kept} % are kept in reserve and {} % for outages: less than half is left",
                org.id, config.outage_share
            );
            report.warn("limits", text, "lower reserve_percent or outage_share");
        }
    }
    if adds_up {
        report.ok("limits", format!("the limits of {orgs} orgs add up"));
    }
    for warning in config.auth.warnings() {
        report.warn("auth", warning, "mend the rule, or add the identity that it is about");
    }
    let known: Vec<&str> = config.catalogue.operations.keys().map(|id| id.as_str()).collect();
    for rule in &config.auth.rules {
        let unknown = |pattern: &&String| {
            let begin = pattern.strip_suffix('*');
            !known.iter().any(|id| begin.map_or(*id == **pattern, |begin| id.starts_with(begin)))
        };
        for operation in rule.operations.iter().filter(unknown) {
            let text = format!(
                "the rule on line {} is about the operation `{operation}`, which the catalogue \
                 does not have",
                rule.line
            );
            let remedy = "declare it in `catalogue`, or correct its name (quotagate check \
                          --print-catalogue lists all)";
            report.warn("auth", text, remedy);
        }
    }
}

pub fn look_at_certificate(files: &Files, now: Wall, report: &mut Report) {
    let name = files.cert.display().to_string();
    let since = Duration::from_micros(now.0);
    match examine(&files.cert, files.key.as_deref(), files.ca.as_deref(), since) {
        Ok(examined) => {
            let of = match &*examined.names {
                [] => "nobody's name".to_owned(),
                names => names.join(", "),
            };
            tell_validity(&format!("{name} (of {of})"), examined.validity, now, report);
        }
        Err(fault) => {
            let remedy = "put the certificate with its chain, its key and its authorities there \
                          together";
            report.fail("certificate", fault.to_string(), remedy);
        }
    }
}

/// Tells how long a certificate is valid yet.
pub fn tell_validity(name: &str, validity: Validity, now: Wall, report: &mut Report) {
    let now = Duration::from_micros(now.0);
    let days = |time: Duration| time.as_secs() / (24 * 60 * 60);
    let renew = "renew it: files are read again by themselves, and no connection is dropped";
    if now < validity.from {
        let text =
            format!("{name} is not valid before {} days from now", days(validity.from - now) + 1);
        return report.fail("certificate", text, "see to this machine's clock, and its issuer's");
    }
    let Some(left) = validity.until.checked_sub(now).filter(|left| !left.is_zero()) else {
        let text = format!("{name} has expired {} days ago", days(now - validity.until));
        return report.fail("certificate", text, renew);
    };
    let text = format!("{name} is valid for {} days", days(left));
    if left < NOW {
        report.fail("certificate", text, renew);
    } else if left < SOON {
        report.warn("certificate", text, renew);
    } else {
        report.ok("certificate", text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Level;

    #[test]
    fn a_configuration_is_looked_through() {
        // (the file, how bad, which check, what is said)
        for (yaml, level, check, words) in [
            ("orgs: [{id: acme}]\n", Level::Ok, "config", "is valid: 1 orgs"),
            ("orgs: [{id: acme}]\n", Level::Ok, "limits", "add up"),
            ("orgs: [{id: acme, colour: red}]\n", Level::Fail, "config", "colour"),
            (
                "orgs: [{id: acme, daily_calls: 100, workspaces: [{id: w, daily_calls: 200}]}]\n",
                Level::Warn,
                "limits",
                "org acme: The cap of workspace w (200) is above the org's total (100)",
            ),
            ("orgs: [{id: acme, reserve_percent: 60}]\n", Level::Warn, "limits", "60 %"),
            (
                "auth: {certificates: true, rules: [{who: ['dns:a'], orgs: ['*'], may: [acquire], \
                 operations: [conversation-entries.gets]}]}\n",
                Level::Warn,
                "auth",
                "`conversation-entries.gets`, which the catalogue does not have",
            ),
        ] {
            let file = tempfile::NamedTempFile::new().expect("a place for temporary files");
            std::fs::write(file.path(), yaml).expect("it is writable");
            let mut report = Report::default();
            look_at_config(file.path(), &mut report);
            report.assert_has(level, check, words);
        }
        let mut report = Report::default();
        look_at_config(Path::new("/there/is/none"), &mut report);
        report.assert_has(Level::Fail, "config", "cannot be read");
    }

    #[test]
    fn a_certificate_is_told_of_by_the_days_that_it_has_left() {
        const DAY: u64 = 24 * 60 * 60;
        let validity = Validity {
            from: Duration::from_secs(100 * DAY),
            until: Duration::from_secs(200 * DAY),
        };
        for (day, level, words) in [
            (99, Level::Fail, "not valid before 2 days from now"),
            (100, Level::Ok, "valid for 100 days"),
            (178, Level::Ok, "valid for 22 days"),
            (180, Level::Warn, "valid for 20 days"),
            (198, Level::Fail, "valid for 2 days"),
            (200, Level::Fail, "expired 0 days ago"),
            (250, Level::Fail, "expired 50 days ago"),
        ] {
            let mut report = Report::default();
            tell_validity("it", validity, Wall(day * DAY * 1_000_000), &mut report);
            report.assert_has(level, "certificate", words);
        }
    }
}
