//! Sessions: a statement of ours that somebody has proved who they are, which
//! they show instead of proving it again.
//!
//! A statement is sealed with a key, and nothing is remembered about it here: so
//! several nodes take it that have the same key. It gives no right by itself. What
//! its bearer may do is asked of the rules that hold at each request, and it ends
//! early when what it was proved with is taken out of the configuration.

use std::{fmt, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{digest, hmac, rand::SystemRandom};

use super::{caller::Principal, token::Hash};
use crate::quota::Wall;

/// No session lasts longer.
pub const LONGEST: Duration = Duration::from_secs(12 * 3_600);

/// No statement is longer.
const MOST_BYTES: usize = 1_024;

/// A key that holds less can be guessed.
pub const KEY_BYTES: usize = 32;

/// What is stated of somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Who they have proved to be.
    pub principal: Principal,
    /// Until when it holds.
    pub until: Wall,
    /// Of what they have proved it with. The configuration holds a hash of a
    /// static token, and this is that of the hash: it tells nothing of either.
    pub proof: Hash,
}

/// Seals statements, and knows its own again.
pub struct Seal(hmac::Key);

impl Seal {
    /// With this key.
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// With a key that nobody else has: sessions end with this process.
    #[must_use]
    pub fn random() -> Self {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        Self(key.expect("the system has randomness"))
    }

    /// A statement as its bearer keeps it.
    #[must_use]
    pub fn seal(&self, statement: &Statement) -> String {
        let body = body_of(statement);
        let tag = hmac::sign(&self.0, body.as_bytes());
        format!("{body}.{}", URL_SAFE_NO_PAD.encode(tag))
    }

    /// The statement, if it is one of ours, unchanged, and still holds.
    #[must_use]
    pub fn open(&self, sealed: &str, now: Wall) -> Option<Statement> {
        if sealed.len() > MOST_BYTES {
            return None;
        }
        let (body, tag) = sealed.rsplit_once('.')?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        // In a time that does not hang on where they differ.
        hmac::verify(&self.0, body.as_bytes(), &tag).ok()?;
        let statement = read(body)?;
        (now < statement.until).then_some(statement)
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal(…)")
    }
}

/// What a statement says of the token that it was proved with.
#[must_use]
pub fn proof_of(hash: &Hash) -> Hash {
    let mut proof = Hash::default();
    proof.copy_from_slice(digest::digest(&digest::SHA256, hash).as_ref());
    proof
}

/// The kind and version of the statement comes first: what is sealed with the
/// same key for another purpose is none.
const KIND: &str = "session1";

fn body_of(statement: &Statement) -> String {
    let Statement { principal, until, proof } = statement;
    let principal = URL_SAFE_NO_PAD.encode(principal.as_str());
    format!("{KIND}.{}.{principal}.{}", until.0, URL_SAFE_NO_PAD.encode(proof))
}

fn read(body: &str) -> Option<Statement> {
    let [kind, until, principal, proof] = body.split('.').collect::<Vec<_>>()[..] else {
        return None;
    };
    let text = URL_SAFE_NO_PAD.decode(principal).ok()?;
    let principal = Principal::new(std::str::from_utf8(&text).ok()?)?;
    let proof = URL_SAFE_NO_PAD.decode(proof).ok()?.try_into().ok()?;
    let until = Wall(until.parse().ok()?);
    (kind == KIND).then_some(Statement { principal, until, proof })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement() -> Statement {
        let principal = Principal::new("oidc:k8s:system:serviceaccount:a:b").expect("a name");
        Statement { principal, until: Wall(2_000_000), proof: [7; 32] }
    }

    #[test]
    fn a_statement_holds_until_its_end_and_under_its_key_only() {
        let seal = Seal::new(&[1; KEY_BYTES]);
        let sealed = seal.seal(&statement());
        let check = |seal: &Seal, now: u64, holds: bool| {
            assert_eq!(seal.open(&sealed, Wall(now)), holds.then(statement), "at {now}");
        };
        check(&seal, 0, true);
        check(&seal, 1_999_999, true);
        check(&seal, 2_000_000, false);
        check(&Seal::new(&[1; KEY_BYTES]), 0, true);
        check(&Seal::new(&[2; KEY_BYTES]), 0, false);
        check(&Seal::random(), 0, false);
    }

    #[test]
    fn a_statement_that_was_changed_anywhere_is_none() {
        let seal = Seal::new(&[1; KEY_BYTES]);
        let sealed = seal.seal(&statement());
        for place in 0..sealed.len() {
            for other in ["A", "0", ".", ""] {
                let mut changed = sealed.clone();
                changed.replace_range(place..=place, other);
                if changed != sealed {
                    assert_eq!(seal.open(&changed, Wall(0)), None, "{changed}");
                }
            }
        }
        for garbage in ["", ".", "session1", "session1.1.a.b", &"x.".repeat(2_000)] {
            assert_eq!(seal.open(garbage, Wall(0)), None, "{garbage:.20}");
        }
    }
}
