//! `quotagate can`: says from a configuration who may do what, and why.

use std::{fmt::Write as _, path::PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;

use super::{
    call,
    exit::{Exit, Fault},
    output::{self, Format},
};
use crate::{
    auth::{
        Action, Principal, Rules, Verb,
        explain::{Explanation, Question, explain},
    },
    config::{AuthConfig, Config, check::read_file},
    quota::{Class, OperationId, OrgId, WorkspaceId},
};

pub const HELP: &str = "\
WHO is named as in the rules: token:NAME, oidc:ISSUER:SUBJECT, a SPIFFE ID, or
dns:NAME. It asks nobody: the answer follows from the file alone, by the rule that
the service goes by.
Exits with 0 where it is allowed, and with 3 where it is not.

Examples:
  quotagate can token:ci acquire --org acme --workspace eu --operation rest --config q.yaml
  quotagate can spiffe://prod/ns/inbox/sa/sender report --org acme --config q.yaml
  quotagate can oidc:k8s:system:serviceaccount:ops:admin admin --org acme --config q.yaml -o json";

/// What to explain.
#[derive(Debug, Args)]
pub struct CanArgs {
    /// Who: the name of a principal
    who: String,
    /// Wants to do what
    what: What,
    /// In which org
    #[arg(long, value_name = "ORG")]
    org: String,
    /// In which workspace; without it calls are made in the name of none, and the whole org is read or changed
    #[arg(long, value_name = "WORKSPACE")]
    workspace: Option<String>,
    /// Which operation the calls are; needed for acquire
    #[arg(long, value_name = "OPERATION", required_if_eq("what", "acquire"))]
    operation: Option<String>,
    /// Who waits for the calls
    #[arg(long, value_name = "CLASS", value_enum, default_value_t)]
    traffic_class: call::Class,
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// How to print the answer: for people, or as JSON
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,
}

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Make calls
    Acquire,
    /// Be believed about Salesforce's numbers
    Report,
    /// See the use
    Read,
    /// See and change what is declared
    Admin,
}

/// Says whether they may.
pub fn can(args: &CanArgs) -> Result<Exit, Fault> {
    let config = read(&args.config)?;
    let named =
        |option: &str, error: &dyn std::fmt::Display| Fault::usage(format!("--{option} {error}"));
    let org = OrgId::parse(&args.org).map_err(|error| named("org", &error))?;
    let workspace = args.workspace.as_deref().filter(|name| !name.is_empty());
    let workspace = workspace.map(WorkspaceId::parse).transpose();
    let workspace = workspace.map_err(|error| named("workspace", &error))?;
    let operation = args.operation.as_deref().map(OperationId::parse).transpose();
    let operation = operation.map_err(|error| named("operation", &error))?;
    let who = Principal::new(&args.who).ok_or_else(|| {
        Fault::usage("WHO must be the name of a principal, such as token:ci or dns:a.example.com")
    })?;

    let verb = Verb::from(args.what);
    let call = operation.as_ref().filter(|_| verb == Verb::Acquire);
    let question = match (verb, &args.workspace) {
        (Verb::Read | Verb::Admin, None) => Question::Whole { verb, org: org.as_str() },
        _ => Question::One(Action {
            verb,
            org: org.as_str(),
            workspace: workspace.as_ref().map_or("", WorkspaceId::as_str),
            call: call.map(|operation| (operation.as_str(), Class::from(args.traffic_class))),
        }),
    };
    let answer = Answer::of(&config.auth, &who, &question);
    output::print(&match args.output {
        Format::Table => answer.sentences(verb, &org),
        Format::Json => answer.json(),
    })?;
    Ok(if answer.allowed { Exit::Done } else { Exit::Denied })
}

fn read(path: &std::path::Path) -> Result<Config, Fault> {
    let config = read_file(path).and_then(|text| Config::parse(&text));
    config.map_err(|faults| {
        let lines: Vec<String> = faults.iter().map(|fault| format!("\n  {fault}")).collect();
        Fault::usage(format!("{} has faults:{}", path.display(), lines.concat()))
    })
}

/// The answer to one question.
struct Answer<'a> {
    who: &'a Principal,
    allowed: bool,
    /// Absent where no identity is configured.
    explanation: Option<Explanation>,
    note: Option<String>,
    auth: &'a AuthConfig,
}

impl<'a> Answer<'a> {
    fn of(auth: &'a AuthConfig, who: &'a Principal, question: &Question<'_>) -> Self {
        if !auth.requires_identity() {
            let note = "no identity is configured: everybody may do everything".to_owned();
            return Self { who, allowed: true, explanation: None, note: Some(note), auth };
        }
        let rules = Rules::of_config(&auth.rules);
        let explanation = explain(&rules, who.as_str(), question);
        let allowed = explanation.allowed;
        let note = nobody(auth, who.as_str());
        Self { who, allowed, explanation: Some(explanation), note, auth }
    }

    /// The number of a rule, from 1, and its line.
    fn place(&self, place: usize) -> (usize, usize) {
        (place + 1, self.auth.rules[place].line)
    }

    fn sentences(&self, verb: Verb, org: &OrgId) -> String {
        let (yes, not) = if self.allowed { ("yes", "") } else { ("no", " not") };
        let mut text = format!("{yes}: {} may{not} {verb} in {org}\n", self.who);
        if let Some(explanation) = &self.explanation {
            _ = match explanation.decided_by.map(|place| self.place(place)) {
                Some((number, line)) => {
                    let verdict = if self.allowed { "allows" } else { "does not allow" };
                    writeln!(text, "  rule {number} (line {line}) {verdict} it")
                }
                None => writeln!(text, "  no rule allows it"),
            };
            for passed in &explanation.passed_over {
                let (number, line) = self.place(passed.place);
                let because = passed.because.join("; ");
                _ = writeln!(text, "  rule {number} (line {line}) does not fit: {because}");
            }
        }
        if let Some(note) = &self.note {
            _ = writeln!(text, "  {note}");
        }
        text
    }

    fn json(&self) -> String {
        let placed = |place| {
            let (number, line) = self.place(place);
            json!({"rule": number, "line": line})
        };
        let explanation = self.explanation.as_ref();
        let passed_over = explanation.map_or(&[][..], |explanation| &explanation.passed_over);
        let passed_over: Vec<_> = passed_over
            .iter()
            .map(|passed| {
                let (number, line) = self.place(passed.place);
                json!({"rule": number, "line": line, "because": passed.because})
            })
            .collect();
        let answer = json!({
            "who": self.who.as_str(),
            "allowed": self.allowed,
            "decidedBy": explanation.and_then(|it| it.decided_by).map(placed),
            "passedOver": passed_over,
            "note": self.note,
        });
        format!("{answer:#}\n")
    }
}

/// Why nobody can be this principal, if so.
fn nobody(auth: &AuthConfig, who: &str) -> Option<String> {
    let is_known = if let Some(name) = who.strip_prefix("token:") {
        auth.tokens.iter().any(|token| token.name == name)
    } else if let Some(rest) = who.strip_prefix("oidc:") {
        auth.oidc
            .iter()
            .any(|issuer| rest.strip_prefix(&issuer.name).is_some_and(|rest| rest.starts_with(':')))
    } else if who.starts_with("spiffe://") || who.starts_with("dns:") {
        auth.certificates
    } else {
        false
    };
    (!is_known).then(|| format!("but nobody can be {who}: no identity of the file gives this name"))
}

impl From<What> for Verb {
    fn from(what: What) -> Self {
        match what {
            What::Acquire => Self::Acquire,
            What::Report => Self::Report,
            What::Read => Self::Read,
            What::Admin => Self::Admin,
        }
    }
}

impl From<call::Class> for Class {
    fn from(class: call::Class) -> Self {
        match class {
            call::Class::Bulk => Self::Bulk,
            call::Class::Event => Self::Event,
            call::Class::Interactive => Self::Interactive,
            call::Class::Control => Self::Control,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "auth:
  tokens:
    - {name: ci, sha256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef}
  rules:
    - {who: ['token:ci'], orgs: [acme], workspaces: [eu], may: [acquire]}
    - {who: ['token:ci'], orgs: [acme], operations: [rest], highest_class: control, may: [acquire]}
    - {who: ['**'], orgs: [secret], may: [acquire, read], deny: true}
    - {who: ['**'], orgs: ['*'], may: [read]}
";

    fn answer(who: &str, question: &Question<'_>, check: impl Fn(&Answer<'_>)) {
        let auth = Config::parse(TEXT).expect("it is good").auth;
        let who = Principal::new(who).expect("a name");
        check(&Answer::of(&auth, &who, question));
    }

    fn acquire<'a>(org: &'a str, workspace: &'a str, operation: &'a str) -> Question<'a> {
        let call = Some((operation, Class::Bulk));
        Question::One(Action { verb: Verb::Acquire, org, workspace, call })
    }

    fn says(who: &str, question: &Question<'_>, org: &str, verb: Verb, expected: &str) {
        let org = OrgId::parse(org).expect("a name");
        answer(who, question, |answer| assert_eq!(answer.sentences(verb, &org), expected));
    }

    #[test]
    fn an_answer_names_the_rule_that_decides_and_why_the_others_do_not() {
        says(
            "token:ci",
            &acquire("acme", "us", "rest"),
            "acme",
            Verb::Acquire,
            "yes: token:ci may acquire in acme\n  rule 2 (line 6) allows it\n  rule 1 (line 5) does \
             not fit: its workspaces are `eu`\n",
        );
        says(
            "token:ci",
            &acquire("acme", "", "report.run"),
            "acme",
            Verb::Acquire,
            "no: token:ci may not acquire in acme\n  no rule allows it\n  rule 1 (line 5) does not \
             fit: its workspaces are `eu`: calls in the name of none must be named, as \"\"\n  \
             rule 2 (line 6) does not fit: its workspaces are `*`: calls in the name of none must \
             be named, as \"\"; its operations are `rest`\n  rule 3 (line 7) does not fit: its \
             orgs are `secret`\n  rule 4 (line 8) does not fit: it is about read\n",
        );
        says(
            "token:gone",
            &Question::Whole { verb: Verb::Read, org: "secret" },
            "secret",
            Verb::Read,
            "no: token:gone may not read in secret\n  rule 3 (line 7) does not allow it\n  but \
             nobody can be token:gone: no identity of the file gives this name\n",
        );
    }

    #[test]
    fn json_says_the_same() {
        answer("token:ci", &acquire("acme", "us", "rest"), |answer| {
            let value: serde_json::Value = serde_json::from_str(&answer.json()).expect("JSON");
            assert_eq!(value["allowed"], true);
            assert_eq!(value["decidedBy"], json!({"rule": 2, "line": 6}));
            assert_eq!(value["passedOver"][0]["because"], json!(["its workspaces are `eu`"]));
        });
    }

    #[test]
    fn without_identities_everybody_may() {
        let auth = AuthConfig::default();
        let who = Principal::new("token:ci").expect("a name");
        let answer = Answer::of(&auth, &who, &acquire("o", "", "rest"));
        assert!(answer.allowed && answer.note.is_some());
    }
}
