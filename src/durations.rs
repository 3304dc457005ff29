//! Lengths of time as people write them: `90s`, `1h30m`, `250ms`.

use std::time::Duration;

/// The units, largest first, with their length in nanoseconds.
const UNITS: [(&str, u128); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Parses one or more numbers with a unit each, the larger unit first: `1h30m`,
/// `1.5s`, `250ms`. Units are `d`, `h`, `m`, `s`, `ms`, `us` (or `µs`) and
/// `ns`. Exact to the nanosecond; digits beyond it are an error.
///
/// # Errors
/// A sentence that says what is wrong, for the person who wrote the text.
pub fn parse(text: &str) -> Result<Duration, String> {
    let bad = |why: &str| format!("{text:?} is not a length of time such as 90s or 1h30m: {why}");
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(bad("it is empty"));
    }
    let mut nanos: u128 = 0;
    let mut allowed = &UNITS[..];
    while !rest.is_empty() {
        let (number, after) = split(rest, |c| c.is_ascii_digit() || c == '.');
        let (unit, after) = split(after, |c| !c.is_ascii_digit() && c != '.' && c != '-');
        if number.is_empty() {
            return Err(bad("a unit needs a number before it, without a sign"));
        }
        let name = if unit == "µs" { "us" } else { unit };
        if name.is_empty() {
            return Err(bad("the number needs a unit (d, h, m, s, ms, us, ns)"));
        }
        if !UNITS.iter().any(|(known, _)| *known == name) {
            return Err(bad(&format!("{unit:?} is no unit (d, h, m, s, ms, us, ns are)")));
        }
        let Some(place) = allowed.iter().position(|(known, _)| *known == name) else {
            return Err(bad("each unit once, the larger one first"));
        };
        let part = scaled(number, allowed[place].1)
            .ok_or_else(|| bad(&format!("{number:?} is no number that fits")))?;
        nanos = nanos.checked_add(part).ok_or_else(|| bad("it is too long"))?;
        allowed = &allowed[place + 1..];
        rest = after;
    }
    let seconds = u64::try_from(nanos / 1_000_000_000).map_err(|_| bad("it is too long"))?;
    let below = u32::try_from(nanos % 1_000_000_000).expect("less than 10^9");
    Ok(Duration::new(seconds, below))
}

/// Writes a length of time so that [`parse`] reads the same one back: `1h30m`,
/// `24h`, `1s500ms`, `0s`. Days are written as hours, as Salesforce does.
#[must_use]
pub fn format(duration: Duration) -> String {
    let mut nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".into();
    }
    let mut text = String::new();
    for (unit, length) in &UNITS[1..] {
        let count = nanos / length;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
            nanos %= length;
        }
    }
    text
}

fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

/// `number` × `length`, exactly; `None` where that is no whole number of
/// nanoseconds, or too large.
fn scaled(number: &str, length: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let fraction = fraction.trim_end_matches('0');
    if whole.is_empty() || number.ends_with('.') || fraction.contains('.') || fraction.len() > 18 {
        return None;
    }
    let mut total = whole.parse::<u64>().ok().map(u128::from)?.checked_mul(length)?;
    if !fraction.is_empty() {
        let digits = fraction.parse::<u64>().ok().map(u128::from)? * length;
        let divisor = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
        if !digits.is_multiple_of(divisor) {
            return None;
        }
        total = total.checked_add(digits / divisor)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn reads(text: &str, expected: Duration) {
        assert_eq!(parse(text), Ok(expected), "{text}");
        assert_eq!(parse(&format(expected)), Ok(expected), "{text} written again");
    }

    #[track_caller]
    fn refuses(text: &str, why: &str) {
        let message = parse(text).expect_err(text);
        assert!(message.contains(why), "{text:?}: {message}");
    }

    #[test]
    fn what_people_write_is_read_exactly() {
        reads("0s", Duration::ZERO);
        reads("30s", Duration::from_secs(30));
        reads(" 1m ", Duration::from_secs(60));
        reads("1h30m", Duration::from_secs(5_400));
        reads("1d", Duration::from_secs(86_400));
        reads("24h", Duration::from_secs(86_400));
        reads("1.5s", Duration::from_millis(1_500));
        reads("0.1s", Duration::from_millis(100));
        reads("250ms", Duration::from_millis(250));
        reads("1s1ms1us1ns", Duration::new(1, 1_001_001));
        reads("7µs", Duration::from_micros(7));
        reads("1.50h", Duration::from_secs(5_400));
    }

    #[test]
    fn what_is_no_length_of_time_is_refused_with_the_reason() {
        refuses("", "empty");
        refuses("30", "needs a unit");
        refuses("s", "number before it");
        refuses("-1s", "without a sign");
        refuses("1m-1s", "without a sign");
        refuses("1w", "no unit");
        refuses("1 s", "no unit");
        refuses("1m1h", "larger one first");
        refuses("1s1s", "each unit once");
        refuses("1.ns", "no number");
        refuses(".5s", "no number");
        refuses("1.2.3s", "no number");
        refuses("0.5ns", "no number");
        refuses("99999999999999999999s", "no number");
        refuses("18446744073709551615d", "too long");
    }

    #[test]
    fn lengths_are_written_with_the_units_that_salesforce_uses() {
        for (duration, text) in [
            (Duration::ZERO, "0s"),
            (Duration::from_secs(60), "1m"),
            (Duration::from_secs(86_400), "24h"),
            (Duration::from_secs(5_400), "1h30m"),
            (Duration::from_millis(1_500), "1s500ms"),
        ] {
            assert_eq!(format(duration), text);
        }
    }
}
