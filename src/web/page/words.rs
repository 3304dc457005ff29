//! Numbers, times and sentences, as people read them.

use std::{fmt, fmt::Write as _, time::Duration};

use prost_types::Timestamp;
use serde_json::Value;

use crate::{proto::v1::TrafficClass, quota::figures};

/// A number with thousands marks: `15,000`.
pub fn count(number: u64) -> String {
    figures::thousands(number).to_string()
}

/// A number of things: `1 call`, `2,918 calls`. Regular plurals only.
pub fn counted(number: u64, thing: &str) -> String {
    format!("{} {thing}{}", count(number), if number == 1 { "" } else { "s" })
}

/// A share of something, in whole percent, rounded down so that nothing looks
/// reached which is not: `19 %`; what is not nothing is at least `<1 %`.
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "–".to_owned();
    }
    match u128::from(part) * 100 / u128::from(whole) {
        0 if part > 0 => "<1 %".to_owned(),
        share => format!("{} %", count(u64::try_from(share).unwrap_or(u64::MAX))),
    }
}

/// A length of time by its two largest units, rounded up to the smaller one, so that
/// nobody comes too early: `45 s`, `2 h 14 min`, `3 d`.
pub fn span(length: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let seconds = length.as_secs() + u64::from(length.subsec_nanos() > 0);
    let largest = UNITS.iter().position(|&(unit, _)| seconds >= unit).unwrap_or(UNITS.len() - 1);
    let (unit, name) = UNITS[largest];
    let Some(&(smaller, smaller_name)) = UNITS.get(largest + 1) else {
        return format!("{seconds} {name}");
    };
    // Rounding up may make it a whole larger unit, as 59 min 59.5 s.
    let rounded = seconds.div_ceil(smaller) * smaller;
    if largest > 0 && rounded >= UNITS[largest - 1].0 {
        return format!("1 {}", UNITS[largest - 1].1);
    }
    match rounded % unit / smaller {
        0 => format!("{} {name}", rounded / unit),
        rest => format!("{} {name} {rest} {smaller_name}", rounded / unit),
    }
}

/// A length of time of a message; `None` where it is absent, or before zero.
pub fn length(duration: Option<&prost_types::Duration>) -> Option<Duration> {
    duration.and_then(|duration| Duration::try_from(*duration).ok())
}

/// A window of a limit: `24 hours`, `minute`, `90 seconds`. It stands after "any".
pub fn window(length: Duration) -> String {
    match length.as_secs() {
        60 => "minute".to_owned(),
        3_600 => "hour".to_owned(),
        seconds if seconds.is_multiple_of(3_600) => counted(seconds / 3_600, "hour"),
        seconds if seconds.is_multiple_of(60) => counted(seconds / 60, "minute"),
        seconds => counted(seconds, "second"),
    }
}

/// The time from one moment to a later one.
pub fn between(earlier: &Timestamp, later: &Timestamp) -> Duration {
    let nanos =
        |time: &Timestamp| i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos);
    let nanos = u64::try_from(nanos(later) - nanos(earlier)).unwrap_or(0);
    Duration::from_nanos(nanos)
}

/// The moment so long after another one.
pub fn after(now: Timestamp, length: Duration) -> Moment {
    let seconds = i64::try_from(length.as_secs()).unwrap_or(i64::MAX);
    Moment(Timestamp { seconds: now.seconds.saturating_add(seconds), nanos: 0 })
}

/// A moment: UTC in the page, which the script shows in local time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment(pub Timestamp);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stamp = Timestamp { nanos: 0, ..self.0 }.to_string();
        let text = stamp.replacen('T', " ", 1).replacen('Z', " UTC", 1);
        write!(f, "<time datetime=\"{stamp}\">{text}</time>")
    }
}

// A timestamp writes digits and its few letters only.
impl askama::filters::HtmlSafe for Moment {}

/// A class as people call it.
pub fn class_name(class: TrafficClass) -> &'static str {
    match class {
        TrafficClass::Unspecified => "–",
        TrafficClass::Bulk => "Manual bulk sync",
        TrafficClass::Event => "Event-based sync",
        TrafficClass::Interactive => "People in the inbox",
        TrafficClass::Control => "App settings",
    }
}

/// The class's name in rules and requests.
pub fn class_key(class: TrafficClass) -> &'static str {
    match class {
        TrafficClass::Unspecified => "",
        TrafficClass::Bulk => "bulk",
        TrafficClass::Event => "event",
        TrafficClass::Interactive => "interactive",
        TrafficClass::Control => "control",
    }
}

/// A message as a sentence: with a capital, unless it begins with a name such as
/// `token:ops`, and a full stop.
pub fn sentence(message: &str) -> String {
    let message = message.trim();
    let first_word = message.split([' ', ',']).next().unwrap_or_default();
    let is_name = !first_word.trim_end_matches(':').chars().all(char::is_alphabetic);
    let mut chars = message.chars();
    let Some(first) = chars.next() else { return String::new() };
    let mut text: String =
        if is_name { message.to_owned() } else { first.to_uppercase().chain(chars).collect() };
    if !text.ends_with(['.', '!', '?']) {
        text.push('.');
    }
    text
}

/// A text in which `code` stands between backticks, as HTML.
#[derive(Clone, Copy, Debug)]
pub struct Prose<'t>(&'t str);

/// Such a text.
pub fn prose(text: &str) -> Prose<'_> {
    Prose(text)
}

impl fmt::Display for Prose<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some((before, (code, after))) =
            rest.split_once('`').and_then(|(before, rest)| Some((before, rest.split_once('`')?)))
        {
            write!(f, "{}<code>{}</code>", escaped(before)?, escaped(code)?)?;
            rest = after;
        }
        write!(f, "{}", escaped(rest)?)
    }
}

// Everything in it is escaped.
impl askama::filters::HtmlSafe for Prose<'_> {}

fn escaped(text: &str) -> Result<impl fmt::Display, fmt::Error> {
    askama::filters::escape(text, askama::filters::Html).map_err(|_| fmt::Error)
}

/// A text as a part of a URL's path or query.
pub fn encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut url, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            url.push(char::from(byte));
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
        url
    })
}

/// A path with a query of what is not empty.
pub fn url(path: &str, query: &[(&str, &str)]) -> String {
    let mut url = path.to_owned();
    let given = query.iter().filter(|(_, value)| !value.is_empty());
    for (place, (name, value)) in given.enumerate() {
        let joint = if place == 0 { '?' } else { '&' };
        let _ = write!(url, "{joint}{name}={}", encoded(value));
    }
    url
}

/// Data for a script, to stand in `<script type="application/json">`: nothing in it
/// can end that element.
pub fn island(data: &Value) -> String {
    data.to_string().replace('<', "\\u003c")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_thousands_marks() {
        for (number, text) in [
            (0, "0"),
            (7, "7"),
            (999, "999"),
            (1_000, "1,000"),
            (15_000, "15,000"),
            (2_918, "2,918"),
            (100_000_000, "100,000,000"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(count(number), text);
        }
        assert_eq!(counted(1, "call"), "1 call");
        assert_eq!(counted(0, "call"), "0 calls");
        assert_eq!(counted(9_010, "call"), "9,010 calls");
    }

    #[test]
    fn shares_are_rounded_down_and_nothing_is_nothing() {
        for (part, whole, text) in [
            (0, 15_000, "0 %"),
            (1, 15_000, "<1 %"),
            (2_918, 15_000, "19 %"),
            (5_999, 15_000, "39 %"),
            (6_000, 15_000, "40 %"),
            (15_000, 15_000, "100 %"),
            (110_018, 100_000, "110 %"),
            (1, 0, "–"),
            (u64::MAX, 1, "18,446,744,073,709,551,615 %"),
        ] {
            assert_eq!(percent(part, whole), text, "{part} of {whole}");
        }
    }

    #[test]
    fn lengths_of_time_are_read_at_a_glance() {
        for (millis, text) in [
            (0, "0 s"),
            (1, "1 s"),
            (45_000, "45 s"),
            (59_001, "1 min"),
            (60_000, "1 min"),
            (61_000, "1 min 1 s"),
            (3_599_500, "1 h"),
            (3_600_000, "1 h"),
            (8_040_000, "2 h 14 min"),
            (8_040_001, "2 h 15 min"),
            (86_399_000, "1 d"),
            (86_400_000, "1 d"),
            (90_000_000, "1 d 1 h"),
            (864_000_000, "10 d"),
        ] {
            assert_eq!(span(Duration::from_millis(millis)), text, "{millis} ms");
        }
    }

    #[test]
    fn windows_stand_after_any() {
        for (seconds, text) in [
            (60, "minute"),
            (3_600, "hour"),
            (86_400, "24 hours"),
            (300, "5 minutes"),
            (90, "90 seconds"),
        ] {
            assert_eq!(window(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn moments_are_for_machines_and_people() {
        let moment = Moment(Timestamp { seconds: 1_769_860_800, nanos: 123 });
        let expected = "<time datetime=\"2026-01-31T12:00:00Z\">2026-01-31 12:00:00 UTC</time>";
        assert_eq!(moment.to_string(), expected);
        let later = Timestamp { seconds: 1_769_860_801, nanos: 0 };
        assert_eq!(between(&moment.0, &later), Duration::from_nanos(999_999_877));
        assert_eq!(between(&later, &moment.0), Duration::ZERO);
    }

    #[test]
    fn texts_are_safe_where_they_stand() {
        assert_eq!(encoded("a b/ü?&=#"), "a%20b%2F%C3%BC%3F%26%3D%23");
        let url = url("/orgs/x", &[("q", ""), ("by", "a&b"), ("page", "2")]);
        assert_eq!(url, "/orgs/x?by=a%26b&page=2");
        assert_eq!(island(&serde_json::json!("</script>")), "\"\\u003c/script>\"");
        assert_eq!(sentence("org: is odd"), "Org: is odd.");
        assert_eq!(sentence("Why?"), "Why?");
        assert_eq!(sentence("token:ops may not"), "token:ops may not.");
        let html = "the &#60;right&#62; <code>re&#38;ad</code>, and ` alone";
        assert_eq!(prose("the <right> `re&ad`, and ` alone").to_string(), html);
        assert_eq!(sentence(""), "");
    }
}
