//! What was found, for people and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::cli::output::clean;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing is to be done.
    Ok,
    /// It works, and should be seen to.
    Warn,
    /// It does not work, or soon will not.
    Fail,
}

impl Level {
    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub level: Level,
    /// A word for what was looked at.
    pub check: &'static str,
    /// What was found, in a sentence.
    pub text: String,
    /// What to do; empty if nothing is.
    pub remedy: String,
}

/// All that was found, in the order in which it was looked at.
#[derive(Debug, Default)]
pub struct Report {
    findings: Vec<Finding>,
}

impl Report {
    /// It is well.
    pub fn ok(&mut self, check: &'static str, text: impl Into<String>) {
        self.find(Level::Ok, check, text, "");
    }

    /// It should be seen to.
    pub fn warn(&mut self, check: &'static str, text: impl Into<String>, remedy: &str) {
        self.find(Level::Warn, check, text, remedy);
    }

    /// It does not work, or soon will not.
    pub fn fail(&mut self, check: &'static str, text: impl Into<String>, remedy: &str) {
        self.find(Level::Fail, check, text, remedy);
    }

    /// It is so bad.
    pub fn find(
        &mut self,
        level: Level,
        check: &'static str,
        text: impl Into<String>,
        remedy: &str,
    ) {
        let (text, remedy) = (clean(&text.into()), remedy.to_owned());
        self.findings.push(Finding { level, check, text, remedy });
    }

    /// How many things do not work.
    pub fn fails(&self) -> usize {
        self.count(Level::Fail)
    }

    /// How many should be seen to.
    pub fn warns(&self) -> usize {
        self.count(Level::Warn)
    }

    fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }

    /// A line for each, and below it what to do.
    pub fn render(&self) -> String {
        let mut out = String::new();
        for Finding { level, check, text, remedy } in &self.findings {
            _ = writeln!(out, "{:<5} {check:<12} {text}", level.name());
            if !remedy.is_empty() {
                _ = writeln!(out, "{:>20}{remedy}", "→ ");
            }
        }
        let counts = [Level::Ok, Level::Warn, Level::Fail].map(|level| self.count(level));
        _ = writeln!(out, "{} OK, {} WARN, {} FAIL", counts[0], counts[1], counts[2]);
        out
    }

    /// The same for programs.
    pub fn as_json(&self) -> Value {
        let findings = self.findings.iter().map(|Finding { level, check, text, remedy }| {
            json!({"level": level.name(), "check": check, "text": text, "remedy": remedy})
        });
        json!({
            "findings": findings.collect::<Vec<_>>(),
            "ok": self.count(Level::Ok),
            "warn": self.warns(),
            "fail": self.fails(),
        })
    }

    /// What a check has found, for tests: `LEVEL check`, and a part of the text.
    #[cfg(test)]
    pub fn assert_has(&self, level: Level, check: &str, words: &str) {
        let is_it = |finding: &&Finding| {
            finding.level == level && finding.check == check && finding.text.contains(words)
        };
        let found = self.findings.iter().find(is_it);
        let found = found
            .unwrap_or_else(|| panic!("no {level:?} {check} with {words:?}:\n{}", self.render()));
        assert_eq!(found.remedy.is_empty(), level == Level::Ok, "{found:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_is_a_line_and_its_remedy_another() {
        let mut report = Report::default();
        report.ok("config", "good");
        report.warn("clock", "late\u{1b}[2J", "mend it");
        report.fail("store", "gone", "start it");
        let text = report.render();
        assert_eq!(
            text,
            "OK    config       good\n\
             WARN  clock        late\u{fffd}[2J\n                  → mend it\n\
             FAIL  store        gone\n                  → start it\n\
             1 OK, 1 WARN, 1 FAIL\n"
        );
        let json = report.as_json();
        assert_eq!(json["findings"][2]["level"], "FAIL");
        assert_eq!((json["warn"].as_u64(), json["fail"].as_u64()), (Some(1), Some(1)));
    }
}
