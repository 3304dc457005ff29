//! Durations as people write them: `90s`, `1m`, `24h`, `1h30m`, `500ms`.

use std::time::Duration;

/// Units, longest first, in nanoseconds.
const UNITS: [(&str, u128); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Parses whole numbers with units, the longest unit first and each at most
/// once: `1m`, `1h30m`, `500ms`. The units are `d`, `h`, `m`, `s`, `ms`, `us`
/// and `ns`; zero may be written `0`.
///
/// # Errors
/// A sentence that says what would be right, without the field's name.
pub fn parse(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    parse_parts(text)
        .and_then(exact)
        .ok_or_else(|| format!("must be a duration such as 90s, 1m or 1h30m, is {}", shown(text)))
}

/// Writes a duration exactly, so that [`parse`] reads the same: `1m`, `24h`,
/// `1h30m`, `0s`. Days are written as hours, as Salesforce names its windows.
#[must_use]
pub fn format(duration: Duration) -> String {
    let mut rest = duration.as_nanos();
    let mut text = String::new();
    for (unit, nanos) in &UNITS[1..] {
        let whole = rest / nanos;
        rest %= nanos;
        if whole > 0 {
            text.push_str(&format!("{whole}{unit}"));
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// The sum in nanoseconds; `None` where a part is malformed or out of order.
fn parse_parts(text: &str) -> Option<u128> {
    let mut rest = text;
    let mut units = &UNITS[..];
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let (digits, after) = split_at(rest, |c| !c.is_ascii_digit());
        let (unit, after) = split_at(after, |c| c.is_ascii_digit());
        let place = units.iter().position(|(name, _)| *name == unit)?;
        let count: u128 = digits.parse().ok()?;
        total = total.checked_add(count.checked_mul(units[place].1)?)?;
        units = &units[place + 1..];
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

fn split_at(text: &str, stop: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(stop).unwrap_or(text.len()))
}

fn exact(nanos: u128) -> Option<Duration> {
    const SECOND: u128 = 1_000_000_000;
    let seconds = u64::try_from(nanos / SECOND).ok()?;
    let subsecond = u32::try_from(nanos % SECOND).ok()?;
    Some(Duration::new(seconds, subsecond))
}

/// The text in a message: escaped, and short whatever its length.
fn shown(text: &str) -> String {
    let short: String = text.chars().take(32).collect();
    if short.len() < text.len() { format!("{short:?}…") } else { format!("{short:?}") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_numbers_with_units_longest_first() {
        let rows = [
            ("1m", Some(60_000)),
            ("90s", Some(90_000)),
            ("1h", Some(3_600_000)),
            ("24h", Some(86_400_000)),
            ("500ms", Some(500)),
            ("1h30m", Some(5_400_000)),
            ("1d12h", Some(129_600_000)),
            ("0", Some(0)),
            ("0s", Some(0)),
            ("", None),
            ("1", None),
            ("m", None),
            ("1 m", None),
            ("1.5h", None),
            ("-1s", None),
            ("+1s", None),
            ("1M", None),
            ("30m1h", None),
            ("1m1m", None),
            ("1h30", None),
            ("٣s", None),
            ("999999999999999999999999999999999999999999s", None),
            ("340282366920938463463374607431768211455d", None),
        ];
        for (text, millis) in rows {
            assert_eq!(parse(text).ok(), millis.map(Duration::from_millis), "{text:?}");
        }
    }

    #[test]
    fn durations_are_written_in_the_longest_units_up_to_hours() {
        let rows = [
            (Duration::ZERO, "0s"),
            (Duration::from_secs(60), "1m"),
            (Duration::from_secs(90), "1m30s"),
            (Duration::from_secs(86_400), "24h"),
            (Duration::from_secs(31 * 86_400), "744h"),
            (Duration::from_micros(1_500_001), "1s500ms1us"),
        ];
        for (duration, text) in rows {
            assert_eq!(format(duration), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(seconds: u64, nanos in 0..1_000_000_000_u32) {
            let duration = Duration::new(seconds, nanos);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }

        #[test]
        fn parsing_never_panics(text in "\\PC*|[0-9a-z]{0,12}") {
            let _ = parse(&text);
        }
    }
}
