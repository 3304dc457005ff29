//! Static tokens, of which only the hash is known.
//!
//! A token has 256 random bits, so one round of SHA-256 hides it: there is nothing
//! to guess, and nothing that a slow hash would make slower. It is found by its
//! hash in a table. How long that takes depends on bits of the hash, which nobody
//! can choose without having the token: timing tells nothing of any other.

use std::{collections::HashMap, fmt};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest;

use super::{caller::Principal, refused::Refused, session};
use crate::config::TokenConfig;

/// How a token begins, so that it is recognised where it should not be: in a
/// repository, in a log.
pub const PREFIX: &str = "qg_";

/// SHA-256 of a token.
pub type Hash = [u8; 32];

/// The tokens that are known.
#[derive(Clone, Debug, Default)]
pub struct Tokens(HashMap<Hash, Principal>);

impl Tokens {
    /// These.
    #[must_use]
    pub fn new(tokens: &[TokenConfig]) -> Self {
        let entry = |token: &TokenConfig| {
            Some((token.sha256, Principal::new(&format!("token:{}", token.name))?))
        };
        Self(tokens.iter().filter_map(entry).collect())
    }

    /// Whose token has this hash.
    ///
    /// # Errors
    /// Nobody's.
    pub fn find(&self, hash: &Hash) -> Result<Principal, Refused> {
        self.0.get(hash).cloned().ok_or(Refused::UnknownToken)
    }

    /// True if a session of this principal was proved with one of them.
    #[must_use]
    pub fn has(&self, principal: &Principal, proof: &Hash) -> bool {
        self.0.iter().any(|(hash, of)| of == principal && session::proof_of(hash) == *proof)
    }
}

/// The hash of a token, as the configuration holds it.
#[must_use]
pub fn hash(token: &str) -> Hash {
    let mut hash = Hash::default();
    hash.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    hash
}

/// A new token of these random bytes.
#[must_use]
pub fn of_random(bytes: &[u8; 32]) -> String {
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// A hash in hexadecimal digits.
pub struct Hex<'h>(pub &'h Hash);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
