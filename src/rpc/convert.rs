//! Wire types to the domain's and back. Every check of input that does not need
//! the state of an org is made here, and a request hears of all its faults at
//! once.

pub mod admin;
pub mod overview;
pub mod peer;
mod queue;
pub mod quota;
pub mod replay;

use std::{
    fmt::{self, Write as _},
    ops::RangeInclusive,
    time::Duration,
};

use tonic_types::FieldViolation;

use super::status::Problem;
use crate::quota::{BadId, Mono, Now, OrgId, Wall};

/// Checks a request that names an org only.
///
/// # Errors
/// The field and what is wrong with it.
pub fn org(text: &str) -> Result<OrgId, Problem> {
    let mut checks = Checks::default();
    let org = checks.keep("org", OrgId::parse(text));
    checks.finish(org)
}

/// The faults of one request, collected field by field.
#[derive(Debug, Default)]
struct Checks(Vec<FieldViolation>);

impl Checks {
    /// Notes a fault.
    fn refuse(&mut self, field: impl Into<String>, what: impl Into<String>) {
        self.0.push(FieldViolation::new(field, what));
    }

    /// The value, or nothing and a fault noted.
    fn keep<T, E: fmt::Display>(
        &mut self,
        field: impl Into<String>,
        parsed: Result<T, E>,
    ) -> Option<T> {
        parsed.map_err(|what| self.refuse(field, what.to_string())).ok()
    }

    /// A number within bounds.
    fn number(&mut self, field: &str, value: u32, bounds: RangeInclusive<u32>) -> Option<u32> {
        if bounds.contains(&value) {
            return Some(value);
        }
        let (low, high) = bounds.into_inner();
        self.refuse(field, format!("must be {low} to {high}, is {value}"));
        None
    }

    /// A duration; absent is zero.
    fn duration(&mut self, field: &str, value: Option<prost_types::Duration>) -> Option<Duration> {
        self.keep(field, value.map_or(Ok(Duration::ZERO), duration))
    }

    /// What was made of the request, if nothing was wrong with it. Every field
    /// that is missing from `made` has noted why.
    fn finish<T>(self, made: Option<T>) -> Result<T, Problem> {
        match made {
            Some(made) if self.0.is_empty() => Ok(made),
            _ => Err(Problem::fields("INVALID_REQUEST", self.0)),
        }
    }
}

/// An identifier that may be left out.
fn optional<T>(text: &str, parse: fn(&str) -> Result<T, BadId>) -> Result<Option<T>, BadId> {
    if text.is_empty() { Ok(None) } else { parse(text).map(Some) }
}

/// A page token is text in hexadecimal, so that nobody is tempted to make one up.
fn hex(text: &str) -> String {
    text.bytes().fold(String::with_capacity(2 * text.len()), |mut token, byte| {
        // Writing to a string cannot fail.
        let _ = write!(token, "{byte:02x}");
        token
    })
}

/// The text of a token; `None` where it is none.
fn unhex(token: &str) -> Option<String> {
    let digits = token.as_bytes();
    if !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes = digits.chunks(2).map(byte).collect::<Option<Vec<_>>>()?;
    String::from_utf8(bytes).ok()
}

/// Protobuf's own bound, about 10,000 years.
const MAX_SECONDS: i64 = 315_576_000_000;

fn duration(value: prost_types::Duration) -> Result<Duration, String> {
    if value.seconds < 0 || value.nanos < 0 {
        return Err("must not be negative".into());
    }
    if value.seconds > MAX_SECONDS {
        return Err(format!("must have at most {MAX_SECONDS} seconds, has {}", value.seconds));
    }
    if value.nanos > 999_999_999 {
        return Err(format!("must have at most 999999999 nanos, has {}", value.nanos));
    }
    Ok(Duration::new(value.seconds.unsigned_abs(), value.nanos.unsigned_abs()))
}

fn wall(value: prost_types::Timestamp) -> Result<Wall, String> {
    /// 9999-12-31T23:59:59Z, protobuf's own bound.
    const LAST_SECOND: i64 = 253_402_300_799;
    if !(0..=LAST_SECOND).contains(&value.seconds) {
        return Err("must lie between the years 1970 and 9999".into());
    }
    if !(0..=999_999_999).contains(&value.nanos) {
        return Err(format!("must have 0 to 999999999 nanos, has {}", value.nanos));
    }
    let micros =
        value.seconds.unsigned_abs() * 1_000_000 + u64::from(value.nanos.unsigned_abs() / 1_000);
    Ok(Wall(micros))
}

pub(super) fn wire_duration(value: Duration) -> prost_types::Duration {
    let seconds = i64::try_from(value.as_secs()).unwrap_or(MAX_SECONDS).min(MAX_SECONDS);
    let nanos = value.subsec_nanos().cast_signed();
    prost_types::Duration { seconds, nanos }
}

fn wire_time(value: Wall) -> prost_types::Timestamp {
    let since_epoch = wire_duration(Duration::from_micros(value.0));
    prost_types::Timestamp { seconds: since_epoch.seconds, nanos: since_epoch.nanos }
}

fn wire_moment(value: Mono, now: Now) -> prost_types::Timestamp {
    wire_time(now.wall_at(value))
}
