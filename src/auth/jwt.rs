//! JSON Web Tokens (RFC 7519): what one says, and whether it is so.
//!
//! Whoever has a token can use it until it expires, as often as they like: that is
//! what a bearer token is, and a `jti` changes nothing about it as long as many
//! nodes take it many times. So tokens should be short-lived, and are refused
//! without an expiry.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, Validation, errors::ErrorKind};
use serde_json::{Map, Value};

use super::{crypto, keys::Key, refused::Refused};
use crate::quota::Wall;

/// The longest token that is read, in bytes.
pub const MOST_BYTES: usize = 8 << 10;

/// How far the issuer's clock and this one may be apart.
pub const LEEWAY: Duration = Duration::from_secs(30);

/// What must be known of a token to find the key that it is checked with. Nothing
/// of it is proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// How it is signed.
    pub algorithm: Algorithm,
    /// With which of the issuer's keys.
    pub kid: Option<String>,
    /// Who issued it.
    pub issuer: String,
}

/// What a token must say.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The issuer, exactly.
    pub issuer: &'a str,
    /// At least one of these audiences.
    pub audiences: &'a [String],
    /// The claim that holds the subject.
    pub claim: &'a str,
}

/// What a token proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proved {
    /// Whom it names.
    pub subject: String,
    /// Until when, the leeway included.
    pub until: Wall,
}

/// True for a text in the form of a JWT, good or bad.
#[must_use]
pub fn is_jwt(text: &str) -> bool {
    text.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// Reads what a token says of itself, and proves nothing.
///
/// # Errors
/// It cannot be read, or is signed in a way that proves nothing.
pub fn parse(token: &str) -> Result<Head, Refused> {
    if token.len() > MOST_BYTES {
        return Err(Refused::TooLarge);
    }
    let mut parts = token.split('.');
    let (Some(header), Some(claims), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refused::Malformed);
    };
    let header = object(header)?;
    let algorithm = text(&header, "alg").ok_or(Refused::Malformed)?;
    let known = crypto::ALGORITHMS.iter().find(|(name, _)| *name == algorithm);
    let algorithm = known.ok_or(Refused::Algorithm)?.1;
    // "The recipient must reject it" if it does not understand what is critical
    // (RFC 7515, section 4.1.11), and nothing is understood here.
    if header.contains_key("crit") {
        return Err(Refused::Malformed);
    }
    let kid = match header.get("kid") {
        None => None,
        Some(Value::String(kid)) => Some(kid.clone()),
        Some(_) => return Err(Refused::Malformed),
    };
    let issuer = text(&object(claims)?, "iss").ok_or(Refused::Issuer)?.to_owned();
    Ok(Head { algorithm, kid, issuer })
}

/// Proves what a token says: the signature first, so that nothing is believed, or
/// told, of a token that somebody has made up.
///
/// # Errors
/// What is wrong with it.
pub fn verify(
    token: &str,
    algorithm: Algorithm,
    key: &Key,
    expected: Expected<'_>,
    now: Wall,
) -> Result<Proved, Refused> {
    crypto::install();
    // The claims are judged below, by this program's clock.
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    let claims = jsonwebtoken::decode::<Map<String, Value>>(token, &key.decoding, &validation)
        .map_err(|error| match error.kind() {
            ErrorKind::InvalidSignature => Refused::Signature,
            ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => Refused::Algorithm,
            _ => Refused::Malformed,
        })?
        .claims;
    judge(&claims, expected, now)
}

/// Judges claims that are proved.
fn judge(
    claims: &Map<String, Value>,
    expected: Expected<'_>,
    now: Wall,
) -> Result<Proved, Refused> {
    if text(claims, "iss") != Some(expected.issuer) {
        return Err(Refused::Issuer);
    }
    let until = time(claims, "exp")?.ok_or(Refused::NoExpiry)? + LEEWAY;
    if now >= until {
        return Err(Refused::Expired);
    }
    if time(claims, "nbf")?.is_some_and(|from| now + LEEWAY < from) {
        return Err(Refused::NotYetValid);
    }
    let is_ours = |value: &Value| {
        value.as_str().is_some_and(|text| expected.audiences.iter().any(|ours| ours == text))
    };
    let for_us = match claims.get("aud") {
        Some(Value::Array(audiences)) => audiences.iter().any(is_ours),
        Some(audience) => is_ours(audience),
        None => false,
    };
    if !for_us {
        return Err(Refused::Audience);
    }
    let subject = text(claims, expected.claim).ok_or(Refused::Subject)?.to_owned();
    Ok(Proved { subject, until })
}

fn object(part: &str) -> Result<Map<String, Value>, Refused> {
    let json = URL_SAFE_NO_PAD.decode(part).map_err(|_| Refused::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| Refused::Malformed)
}

fn text<'c>(claims: &'c Map<String, Value>, name: &str) -> Option<&'c str> {
    claims.get(name).and_then(Value::as_str)
}

/// A number of seconds since 1970, which may have a fraction; what is before that
/// is 1970, and what is very late is the end of time.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<Wall>, Refused> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_f64().filter(|seconds| seconds.is_finite()).ok_or(Refused::Malformed)?;
    // A whole number of seconds, rounded down: a fraction is within the leeway.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
    let seconds = seconds as u64;
    Ok(Some(Wall(seconds.saturating_mul(1_000_000))))
}
