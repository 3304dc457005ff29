//! Identifiers, parsed once at the edge: inside the service there is no bare
//! string that names an org, a workspace or a user.

use std::{fmt, sync::Arc};

use smol_str::SmolStr;

/// Why a text is not an identifier: a sentence for the caller, without the
/// field's name (the edge knows it).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadId(pub String);

impl fmt::Display for BadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadId {}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(SmolStr);

        impl $name {
            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

identifier! {
    /// A Salesforce org. Salesforce ids (prefix `00D`) are held in their
    /// 18-character form.
    OrgId
}
identifier! {
    /// A Salesforce user that makes calls (the Run-As user). Salesforce ids
    /// (prefix `005`) are held in their 18-character form.
    UserId
}
identifier! {
    /// A customer's workspace.
    WorkspaceId
}
identifier! {
    /// An operation of the catalogue, for example `conversation-entries.get`.
    OperationId
}
identifier! {
    /// The name of a limit in the catalogue. Operations that name the same
    /// limit of the same scope share its counter.
    LimitName
}
identifier! {
    /// The caller's own name for a request, to make a repeat of it safe.
    RequestId
}

impl OrgId {
    /// Parses an org: `[A-Za-z0-9._-]{1,64}`; see [`UserId::parse`] for ids of
    /// Salesforce.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, BadId> {
        salesforce_name(text, "00D").map(Self)
    }
}

impl UserId {
    /// Parses an execution user: `[A-Za-z0-9._-]{1,64}`. A text with the
    /// prefix `005` and 15 or 18 alphanumeric characters is a Salesforce id:
    /// 15 characters become 18, and a wrong checksum is refused.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, BadId> {
        salesforce_name(text, "005").map(Self)
    }
}

impl WorkspaceId {
    /// Parses a workspace: 1 to 128 bytes, no control characters, no `/`.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, BadId> {
        if text.is_empty() || text.len() > 128 {
            return Err(BadId(format!("must have 1 to 128 bytes, has {}", text.len())));
        }
        if text.chars().any(|c| c.is_control() || c == '/') {
            return Err(BadId("must not contain control characters or '/'".into()));
        }
        Ok(Self(text.into()))
    }
}

impl OperationId {
    /// Parses an operation: `[A-Za-z0-9._-]{1,64}`.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, BadId> {
        plain_name(text).map(Self)
    }
}

impl LimitName {
    /// Parses a limit's name: `[A-Za-z0-9._-]{1,64}`.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, BadId> {
        plain_name(text).map(Self)
    }

    /// The name of an org's total and of a workspace's cap.
    #[must_use]
    pub fn calls() -> Self {
        Self("calls".into())
    }

    /// The name of a workspace's brake for run-away jobs.
    #[must_use]
    pub fn burn() -> Self {
        Self("burn".into())
    }
}

impl RequestId {
    /// Parses a request id: 1 to 64 characters, no control characters.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, BadId> {
        let length = text.chars().count();
        if !(1..=64).contains(&length) {
            return Err(BadId(format!("must have 1 to 64 characters, has {length}")));
        }
        if text.chars().any(char::is_control) {
            return Err(BadId("must not contain control characters".into()));
        }
        Ok(Self(text.into()))
    }
}

/// Parses the name that a caller gives itself: `[A-Za-z0-9._:/@-]{1,64}`.
/// Nobody has checked it: it tells use apart, and gives no right.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn caller_name(text: &str) -> Result<Arc<str>, BadId> {
    if !(1..=64).contains(&text.len()) {
        return Err(BadId(format!("must have 1 to 64 characters, has {}", text.len())));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._:/@-".contains(c);
    match text.chars().find(|c| !allowed(*c)) {
        Some(c) => Err(BadId(format!(
            "must consist of letters, digits, '.', '_', ':', '/', '@' and '-', contains {c:?}"
        ))),
        None => Ok(text.into()),
    }
}

fn plain_name(text: &str) -> Result<SmolStr, BadId> {
    if text.is_empty() {
        return Err(BadId("must not be empty".into()));
    }
    if text.len() > 64 {
        return Err(BadId(format!("must have at most 64 characters, has {}", text.len())));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match text.chars().find(|c| !allowed(*c)) {
        Some(c) => {
            Err(BadId(format!("must consist of letters, digits, '.', '_' and '-', contains {c:?}")))
        }
        None => Ok(text.into()),
    }
}

fn salesforce_name(text: &str, prefix: &str) -> Result<SmolStr, BadId> {
    let name = plain_name(text)?;
    let is_id = text.starts_with(prefix)
        && matches!(text.len(), 15 | 18)
        && text.bytes().all(|b| b.is_ascii_alphanumeric());
    if !is_id {
        return Ok(name);
    }
    let mut full = [0; 18];
    full[..15].copy_from_slice(&text.as_bytes()[..15]);
    full[15..].copy_from_slice(&id_checksum(&text[..15]));
    let full = str::from_utf8(&full).expect("letters and digits are ASCII");
    // Salesforce accepts the suffix in any case; the 15 characters before it
    // are case-sensitive, and the suffix says which case they have.
    if text.len() == 18 && !text[15..].eq_ignore_ascii_case(&full[15..]) {
        return Err(BadId(format!(
            "is not a Salesforce id: the last three characters should be {:?}, are {:?}",
            &full[15..],
            &text[15..]
        )));
    }
    Ok(full.into())
}

/// The three characters that make a case-sensitive id of 15 characters safe to
/// compare without case: one per group of five, each telling which of the five
/// are capital letters.
fn id_checksum(id15: &str) -> [u8; 3] {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";
    let (groups, _) = id15.as_bytes().as_chunks::<5>();
    let mut checksum = [0; 3];
    for (letter, group) in checksum.iter_mut().zip(groups) {
        let capitals = (0..).zip(group).filter(|(_, byte)| byte.is_ascii_uppercase());
        *letter = ALPHABET[capitals.fold(0, |bits, (place, _)| bits | 1 << place)];
    }
    checksum
}
