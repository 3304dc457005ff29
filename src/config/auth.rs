//! Who may call, and who may do what: the grammar of `auth`.
//!
//! No secret stands here: of a token only its SHA-256, of an issuer only where its
//! keys are.

use std::{fmt, path::PathBuf};

use super::{
    bounds,
    faults::{listed, shown},
    fields::{Fields, Item, Once},
};
use crate::quota::{Class, OperationId, OrgId, WorkspaceId};

/// Who may call, and who may do what. Without an identity everybody may do
/// everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthConfig {
    /// Static tokens. Several may have the same name: so one is rotated.
    pub tokens: Vec<TokenConfig>,
    /// Issuers of JWTs.
    pub oidc: Vec<OidcConfig>,
    /// The names in client certificates are identities.
    pub certificates: bool,
    /// In order: the first that fits decides.
    pub rules: Vec<RuleConfig>,
    /// What one principal may take of the service.
    pub limits: PrincipalLimits,
    /// Holds the key that sessions are sealed with, at least 32 bytes: nodes with
    /// the same take each other's. `None`: each process has its own.
    pub session_key_file: Option<PathBuf>,
}

/// What one principal may take of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrincipalLimits {
    /// Requests that are served at the same time, parked ones included.
    pub in_flight: u32,
    /// Requests a second, on average; as many may come at once. `None`: any.
    pub requests_per_second: Option<u32>,
}

impl Default for PrincipalLimits {
    /// A third of what a node serves at once.
    fn default() -> Self {
        Self { in_flight: 4_000, requests_per_second: None }
    }
}

/// A static token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenConfig {
    /// Its bearer is the principal `token:NAME`.
    pub name: String,
    /// The SHA-256 of the token's text.
    pub sha256: [u8; 32],
}

/// An issuer of JWTs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OidcConfig {
    /// A bearer is the principal `oidc:NAME:SUBJECT`.
    pub name: String,
    /// The issuer, exactly as tokens name it in `iss`.
    pub issuer: String,
    /// A token must be for at least one of these (`aud`).
    pub audiences: Vec<String>,
    /// Where its keys are.
    pub keys: KeySource,
    /// Certificates, in PEM, that sign the issuer's; `None`: the system's roots.
    pub ca_file: Option<PathBuf>,
    /// A token that is sent to the issuer with each request for its keys.
    pub token_file: Option<PathBuf>,
    /// The claim that holds the subject.
    pub claim: String,
}

/// Where an issuer's keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// Where `ISSUER/.well-known/openid-configuration` says.
    Discovery,
    /// At this address.
    Uri(String),
    /// In this file, which is read again like an address.
    File(PathBuf),
}

/// Who may do what, or may not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleConfig {
    /// The line in the file, from 1.
    pub line: usize,
    /// Patterns of principals.
    pub who: Vec<String>,
    /// Patterns of orgs; ids of Salesforce's in their long form.
    pub orgs: Vec<String>,
    /// Patterns of workspaces; the empty one is no workspace.
    pub workspaces: Vec<String>,
    /// Patterns of operations.
    pub operations: Vec<String>,
    /// The highest class.
    pub highest_class: Class,
    /// What.
    pub may: Vec<Right>,
    /// It forbids instead of allowing.
    pub deny: bool,
}

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// `acquire`
    Acquire,
    /// `report`
    Report,
    /// `read`
    Read,
    /// `admin`
    Admin,
}

const RIGHTS: [(&str, Right); 4] = [
    ("acquire", Right::Acquire),
    ("report", Right::Report),
    ("read", Right::Read),
    ("admin", Right::Admin),
];

/// How the names of principals begin.
const KINDS: [&str; 4] = ["spiffe://", "dns:", "oidc:", "token:"];

impl AuthConfig {
    /// True if callers must say who they are.
    #[must_use]
    pub fn requires_identity(&self) -> bool {
        self.certificates || !self.tokens.is_empty() || !self.oidc.is_empty()
    }

    /// What is allowed and probably not meant, each in a sentence.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.requires_identity() && self.rules.is_empty() {
            warnings.push("identities are configured and no rules: nobody may do anything".into());
        }
        for rule in &self.rules {
            let nobody = rule.who.iter().filter_map(|who| Some((who, self.missing(who)?)));
            warnings.extend(nobody.map(|(who, missing)| {
                format!("the rule on line {} is about `{who}`, and {missing}", rule.line)
            }));
        }
        warnings
    }

    /// What is missing for anybody to be one of these; `None`: nothing.
    fn missing(&self, who: &str) -> Option<String> {
        let named = |kind: &str| {
            let name = who.strip_prefix(kind)?.split(':').next()?;
            (!name.contains('*')).then_some(name)
        };
        if let Some(name) = named("token:") {
            let is_known = self.tokens.iter().any(|token| token.name == name);
            return (!is_known).then(|| format!("`tokens` has no `{name}`"));
        }
        if let Some(name) = named("oidc:") {
            let is_known = self.oidc.iter().any(|issuer| issuer.name == name);
            return (!is_known).then(|| format!("`oidc` has no `{name}`"));
        }
        let of_certificate = who.starts_with("spiffe://") || who.starts_with("dns:");
        (of_certificate && !self.certificates)
            .then(|| "nobody has this name without `certificates: true`".to_owned())
    }
}

pub fn read(item: Item<'_>) -> Option<AuthConfig> {
    let fields =
        item.fields(&["tokens", "oidc", "certificates", "rules", "limits", "session_key_file"])?;
    let tokens = match fields.get("tokens") {
        Some(item) => read_tokens(&item),
        None => Some(Vec::new()),
    };
    let oidc = match fields.get("oidc") {
        Some(item) => read_issuers(&item),
        None => Some(Vec::new()),
    };
    let certificates = match fields.get("certificates") {
        Some(item) => item.boolean(),
        None => Some(false),
    };
    let rules = match fields.get("rules") {
        Some(item) => read_list(&item, bounds::MAX_AUTH_RULES, read_rule),
        None => Some(Vec::new()),
    };
    let limits = match fields.get("limits") {
        Some(item) => read_limits(item),
        None => Some(PrincipalLimits::default()),
    };
    let session_key_file = read_path(&fields, "session_key_file");
    let config = AuthConfig {
        tokens: tokens?,
        oidc: oidc?,
        certificates: certificates?,
        rules: rules?,
        limits: limits?,
        session_key_file: session_key_file?,
    };
    if let Some(rules) = fields.get("rules")
        && !config.requires_identity()
    {
        rules.fault(
            "are about nobody: add `tokens`, `oidc` or `certificates: true`, or remove them",
        );
    }
    Some(config)
}

fn read_limits(item: Item<'_>) -> Option<PrincipalLimits> {
    let fields = item.fields(&["in_flight", "requests_per_second"])?;
    let number = |key, otherwise| match fields.get(key) {
        Some(item) => Some(item.number(1..=bounds::MAX_AUTH_REQUESTS)?.try_into().ok()),
        None => Some(otherwise),
    };
    let in_flight = number("in_flight", Some(PrincipalLimits::default().in_flight));
    let requests_per_second = number("requests_per_second", None);
    Some(PrincipalLimits { in_flight: in_flight??, requests_per_second: requests_per_second? })
}

fn read_tokens(item: &Item<'_>) -> Option<Vec<TokenConfig>> {
    let mut once = Once::new();
    let read = |item: Item<'_>| {
        let fields = item.clone().fields(&["name", "sha256"])?;
        let name = fields.required("name", "ci").and_then(|item| item.parsed(parse_name));
        let sha256 = fields.required("sha256", "(`quotagate token` prints it)");
        let sha256 = sha256.and_then(|item| {
            // The message shows nothing: somebody may have put the token here.
            let text = item.parsed(|text| Ok::<_, &str>(text.to_owned()))?;
            let hash = parse_sha256(&text);
            if hash.is_none() {
                item.fault(
                    "must be the SHA-256 of the token, 64 hexadecimal digits: \
                     `quotagate token --hash` prints it",
                );
            }
            hash.filter(|_| once.take(&text.to_ascii_lowercase(), &item))
        });
        Some(TokenConfig { name: name?, sha256: sha256? })
    };
    read_list(item, bounds::MAX_AUTH_TOKENS, read)
}

fn read_issuers(item: &Item<'_>) -> Option<Vec<OidcConfig>> {
    let (mut names, mut issuers) = (Once::new(), Once::new());
    let read = |item: Item<'_>| {
        let known = [
            "name",
            "issuer",
            "audiences",
            "jwks_uri",
            "jwks_file",
            "ca_file",
            "token_file",
            "claim",
        ];
        let fields = item.fields(&known)?;
        let name = fields.required("name", "k8s").and_then(|item| {
            let name = item.parsed(parse_name)?;
            names.take(&name, &item).then_some(name)
        });
        let issuer = fields.required("issuer", "https://kubernetes.default.svc");
        let issuer = issuer.and_then(|item| {
            let issuer = read_address(&item)?;
            issuers.take(&issuer, &item).then_some(issuer)
        });
        let audiences = fields.required("audiences", "[quotagate]").and_then(|item| {
            non_empty(&item, bounds::MAX_AUTH_AUDIENCES, |item| item.parsed(parse_text))
        });
        let claim = match fields.get("claim") {
            Some(item) => item.parsed(parse_text),
            None => Some("sub".to_owned()),
        };
        let keys = read_key_source(&fields);
        let (ca_file, token_file) =
            (read_path(&fields, "ca_file"), read_path(&fields, "token_file"));
        Some(OidcConfig {
            name: name?,
            issuer: issuer?,
            audiences: audiences?,
            keys: keys?,
            ca_file: ca_file?,
            token_file: token_file?,
            claim: claim?,
        })
    };
    read_list(item, bounds::MAX_AUTH_ISSUERS, read)
}

fn read_key_source(fields: &Fields<'_>) -> Option<KeySource> {
    match (fields.get("jwks_uri"), fields.get("jwks_file")) {
        (None, None) => Some(KeySource::Discovery),
        (Some(uri), None) => read_address(&uri).map(KeySource::Uri),
        (None, Some(_)) => read_path(fields, "jwks_file")?.map(KeySource::File),
        (Some(_), Some(file)) => {
            file.fault("must be left out where `jwks_uri` is given: the keys are in one place");
            None
        }
    }
}

/// The outer option is the check's, the inner one the field's.
fn read_path(fields: &Fields<'_>, key: &str) -> Option<Option<PathBuf>> {
    let Some(item) = fields.get(key) else { return Some(None) };
    let path = item.parsed(|text| match text.len() {
        1..=bounds::MAX_PATH_BYTES => Ok(PathBuf::from(text)),
        _ => Err(format!("must be a path of 1 to {} bytes", bounds::MAX_PATH_BYTES)),
    })?;
    Some(Some(path))
}

fn read_rule(item: Item<'_>) -> Option<RuleConfig> {
    let line = item.line();
    let known = ["who", "orgs", "workspaces", "operations", "highest_class", "may", "deny"];
    let fields = item.fields(&known)?;
    let patterns = |item: &Item<'_>, parse: fn(&str) -> Result<String, String>| {
        non_empty(item, bounds::MAX_AUTH_PATTERNS, |item| item.parsed(parse))
    };
    let who = fields.required("who", "[\"token:ci\"]");
    let who = who.and_then(|item| patterns(&item, parse_who));
    let orgs = fields.required("orgs", "[\"*\"]").and_then(|item| patterns(&item, parse_org));
    let or_any = |key, parse| match fields.get(key) {
        Some(item) => patterns(&item, parse),
        None => Some(vec!["*".to_owned()]),
    };
    let workspaces = or_any("workspaces", parse_workspace);
    let operations = or_any("operations", parse_operation);
    let highest_class = match fields.get("highest_class") {
        Some(item) => item.choice(&Class::ALL.map(|class| (class.name(), class))),
        None => Some(Class::Event),
    };
    let may = fields.required("may", "[acquire]");
    let may = may.and_then(|item| non_empty(&item, RIGHTS.len(), |item| item.choice(&RIGHTS)));
    let deny = match fields.get("deny") {
        Some(item) => item.boolean(),
        None => Some(false),
    };
    Some(RuleConfig {
        line,
        who: who?,
        orgs: orgs?,
        workspaces: workspaces?,
        operations: operations?,
        highest_class: highest_class?,
        may: may?,
        deny: deny?,
    })
}

/// Every value is read, so that every fault is found.
fn read_list<'n, T>(
    item: &Item<'n>,
    most: usize,
    read: impl FnMut(Item<'n>) -> Option<T>,
) -> Option<Vec<T>> {
    let read: Vec<Option<T>> = item.items(most)?.into_iter().map(read).collect();
    read.into_iter().collect()
}

fn non_empty<T>(
    item: &Item<'_>,
    most: usize,
    read: impl Fn(&Item<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let list = read_list(item, most, |item| read(&item))?;
    if list.is_empty() {
        item.fault("must have at least one entry");
        return None;
    }
    Some(list)
}

/// A name that stands in the name of a principal.
fn parse_name(text: &str) -> Result<String, String> {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=64).contains(&text.len()) && text.bytes().all(is_good) {
        return Ok(text.to_owned());
    }
    Err("must be 1 to 64 letters, digits, dots, dashes or underscores".to_owned())
}

fn parse_sha256(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    let mut hash = [0; 32];
    if digits.len() != 2 * hash.len() {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
    }
    Some(hash)
}

fn read_address(item: &Item<'_>) -> Option<String> {
    let text = item.parsed(|text| Ok::<_, &str>(text.to_owned()))?;
    let fault = match parse_address(&text) {
        Ok(address) => return Some(address),
        // Somebody may have put a password here.
        Err(fault) if text.contains('@') => fault,
        Err(fault) => format!("{fault} ({})", shown(&text)),
    };
    item.fault(fault);
    None
}

/// Who can answer in the place of an issuer can be anybody: only encrypted, or
/// within the machine.
fn parse_address(text: &str) -> Result<String, String> {
    let bad = |what: &str| Err(format!("must {what}"));
    if text.len() > bounds::MAX_TEXT_BYTES || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return bad("be printable ASCII without blanks, at most 255 bytes");
    }
    let (here, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (false, rest),
        (None, Some(rest)) => (true, rest),
        (None, None) => return bad("begin with `https://`"),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let is_loopback = host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    if host.is_empty() {
        bad("name a host")
    } else if authority.contains('@') {
        bad("not hold a user or a password")
    } else if rest.contains(['?', '#']) {
        bad("not hold a query or a fragment")
    } else if here && !is_loopback {
        bad("begin with `https://`: what comes from another machine decides who is let in")
    } else {
        Ok(text.to_owned())
    }
}

/// Printable ASCII.
fn parse_text(text: &str) -> Result<String, String> {
    let is_good = text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_good && (1..=bounds::MAX_TEXT_BYTES).contains(&text.len()) {
        return Ok(text.to_owned());
    }
    Err("must be 1 to 255 bytes of printable ASCII without blanks".to_owned())
}

/// A pattern that can fit somebody: a name that begins otherwise is a slip.
fn parse_who(text: &str) -> Result<String, String> {
    let text = parse_text(text)?;
    let literal = text.split('*').next().unwrap_or_default();
    let has_star = literal.len() < text.len();
    let can_fit = |kind: &str| literal.starts_with(kind) || has_star && kind.starts_with(literal);
    if KINDS.iter().any(|kind| can_fit(kind)) {
        return Ok(text);
    }
    Err(format!("must begin with one of {}, or be `*`", listed(&KINDS)))
}

fn parse_org(text: &str) -> Result<String, String> {
    parse_pattern(text, |text| OrgId::parse(text).map(|id| id.as_str().to_owned()))
}

fn parse_workspace(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    parse_pattern(text, |text| WorkspaceId::parse(text).map(|id| id.as_str().to_owned()))
}

fn parse_operation(text: &str) -> Result<String, String> {
    parse_pattern(text, |text| OperationId::parse(text).map(|id| id.as_str().to_owned()))
}

/// A name without a star is the name itself, in the form in which requests are
/// judged: an org that is denied by its short id is denied.
fn parse_pattern<E: fmt::Display>(
    text: &str,
    parse: impl Fn(&str) -> Result<String, E>,
) -> Result<String, String> {
    if !text.contains('*') {
        return parse(text).map_err(|error| error.to_string());
    }
    if text.len() > bounds::MAX_TEXT_BYTES || text.chars().any(char::is_control) {
        return Err("must be at most 255 bytes without control characters".to_owned());
    }
    // What a star may stand for is also a letter: the rest must be good with one.
    let without = text.replace('*', "");
    match (without.is_empty(), parse(&format!("a{without}"))) {
        (false, Err(error)) if without.len() < 64 => {
            Err(format!("is no pattern that fits a name: a name {error} ({})", shown(&without)))
        }
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests;
