//! An issuer's public keys: a JSON Web Key Set (RFC 7517).

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse},
};
use serde_json::Value;

use super::{jwt::Head, refused::Refused};

/// The longest set that is read, in bytes.
pub const MOST_BYTES: usize = 256 << 10;

/// The most keys of a set. Issuers have two or three.
pub const MOST_KEYS: usize = 64;

/// The keys of an issuer with which it signs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeySet(Vec<Key>);

/// A key that an issuer signs with.
#[derive(Clone, Debug)]
pub struct Key {
    jwk: Jwk,
    /// The same, ready for use.
    pub decoding: DecodingKey,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.jwk == other.jwk
    }
}

impl KeySet {
    /// Reads a set. Keys that are no use here (for encryption, of an unknown type,
    /// shared secrets) are passed over: they are none of ours.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence without its text.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > MOST_BYTES {
            return Err(format!("the keys are longer than {MOST_BYTES} bytes"));
        }
        let value: Value = serde_json::from_slice(bytes)
            .map_err(|error| format!("the keys are not JSON (line {})", error.line()))?;
        let Some(Value::Array(keys)) = value.get("keys") else {
            return Err("the keys have no list `keys`".to_owned());
        };
        if keys.len() > MOST_KEYS {
            return Err(format!("there are {} keys, more than {MOST_KEYS}", keys.len()));
        }
        Ok(Self(keys.iter().filter_map(Key::read).collect()))
    }

    /// The number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True without any key: no token of the issuer's is good.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The key with which a token says that it was signed. A token that names none
    /// means the only one.
    ///
    /// # Errors
    /// [`Refused::UnknownKey`], or [`Refused::Algorithm`] if the key is for another
    /// one.
    pub fn find(&self, head: &Head) -> Result<&Key, Refused> {
        let named = |key: &&Key| match &head.kid {
            Some(kid) => key.jwk.common.key_id.as_ref() == Some(kid),
            None => self.0.len() == 1,
        };
        let mut found = Err(Refused::UnknownKey);
        for key in self.0.iter().filter(named) {
            if key.is_for(head.algorithm) {
                return Ok(key);
            }
            found = Err(Refused::Algorithm);
        }
        found
    }
}

impl Key {
    fn read(value: &Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
        let signs = matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature));
        let verifies = jwk
            .common
            .key_operations
            .as_ref()
            .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
        let is_public = matches!(
            jwk.algorithm,
            AlgorithmParameters::RSA(_)
                | AlgorithmParameters::EllipticCurve(_)
                | AlgorithmParameters::OctetKeyPair(_)
        );
        if !signs || !verifies || !is_public {
            return None;
        }
        let decoding = DecodingKey::from_jwk(&jwk).ok()?;
        Some(Self { jwk, decoding })
    }

    /// The algorithm must fit the key's type and curve, and be the one that the key
    /// says it is for, if it says one: a key is never used for another.
    fn is_for(&self, algorithm: Algorithm) -> bool {
        let fits = match (&self.jwk.algorithm, algorithm) {
            (
                AlgorithmParameters::RSA(_),
                Algorithm::RS256
                | Algorithm::RS384
                | Algorithm::RS512
                | Algorithm::PS256
                | Algorithm::PS384
                | Algorithm::PS512,
            ) => true,
            (AlgorithmParameters::EllipticCurve(key), Algorithm::ES256) => {
                key.curve == EllipticCurve::P256
            }
            (AlgorithmParameters::EllipticCurve(key), Algorithm::ES384) => {
                key.curve == EllipticCurve::P384
            }
            (AlgorithmParameters::OctetKeyPair(key), Algorithm::EdDSA) => {
                key.curve == EllipticCurve::Ed25519
            }
            _ => false,
        };
        let said = self.jwk.common.key_algorithm;
        fits && said.is_none_or(|said| said == KeyAlgorithm::from(algorithm))
    }
}

#[cfg(test)]
mod tests;
