//! `quotagate check`: says whether a configuration is good.

use std::{fs::File, io::Read as _, path::Path};

use super::{
    Config, Fault,
    document::{MAX_BYTES, too_long},
    print_catalogue,
};

/// What `quotagate check` prints, and whether all is well (exit code 0 or 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Lines for people, ending with a line break.
    pub text: String,
    /// False if there are faults.
    pub good: bool,
}

/// Checks a file; see [`check`].
#[must_use]
pub fn check_file(path: &Path, with_catalogue: bool) -> Checked {
    let name = path.display().to_string();
    match read_file(path) {
        Ok(text) => check(&name, &text, with_catalogue),
        Err(faults) => report(&name, &faults),
    }
}

/// Checks a text: a summary with warnings, or every fault as
/// `NAME:LINE: field: message`. With the catalogue, the summary stands in
/// comments, so that the whole can be loaded again.
#[must_use]
pub fn check(name: &str, text: &str, with_catalogue: bool) -> Checked {
    let config = match Config::parse(text) {
        Ok(config) => config,
        Err(faults) => return report(name, &faults),
    };
    let summary = summarize(name, &config);
    let lines: Vec<String> = if with_catalogue {
        let comments = summary.iter().map(|line| format!("# {line}\n"));
        comments.chain([print_catalogue(&config.catalogue)]).collect()
    } else {
        summary.iter().map(|line| format!("{line}\n")).collect()
    };
    Checked { text: lines.concat(), good: true }
}

/// Reads the text of a configuration file.
///
/// # Errors
/// One fault: it cannot be read, is too long, or is not UTF-8.
pub fn read_file(path: &Path) -> Result<String, Vec<Fault>> {
    let fault = |line, message| vec![Fault { line, field: String::new(), message }];
    let unreadable = |error: std::io::Error| fault(None, format!("cannot be read: {error}"));
    let mut bytes = Vec::new();
    // Bounded, whatever the path names: a device has no end.
    let bound = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)
        .and_then(|file| file.take(bound).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() > MAX_BYTES {
        return Err(fault(None, too_long(bytes.len())));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        fault(Some(line), "is not UTF-8: save the file as UTF-8".to_owned())
    })
}

fn summarize(name: &str, config: &Config) -> Vec<String> {
    let workspaces = config.orgs.values().map(|org| org.workspaces.len()).sum();
    let mut lines = vec![format!(
        "{name}: good: {}, {}, {}",
        counted(config.orgs.len(), "org"),
        counted(workspaces, "workspace"),
        counted(config.catalogue.operations.len(), "operation"),
    )];
    for org in config.orgs.values() {
        let warnings = org.warnings(&config.template);
        lines.extend(warnings.iter().map(|text| format!("warning: org {}: {text}", org.id)));
    }
    lines.extend(config.auth.warnings().iter().map(|text| format!("warning: auth: {text}")));
    lines
}

fn report(name: &str, faults: &[Fault]) -> Checked {
    let lines = faults.iter().map(|fault| {
        let line = fault.line.map(|line| format!(":{line}")).unwrap_or_default();
        let field = match fault.field.as_str() {
            "" => String::new(),
            field => format!(" {field}:"),
        };
        format!("{name}{line}:{field} {}\n", fault.message)
    });
    let text = lines.chain([format!("{}\n", counted(faults.len(), "fault"))]).collect();
    Checked { text, good: false }
}

fn counted(number: usize, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}
