//! The limits resource: `GET /services/data/vXX.X/limits`, a JSON object with an
//! entry per limit.
//!
//! What makes it awkward: entries hold further objects (the shares of apps, where
//! `Max` 0 is "no share of its own", not "nothing left"); keys have spaces and
//! dots and change their names between versions; `Remaining` comes before or
//! after `Max`, or not at all; whether it falls below 0 when an org has used more
//! than it has is not known.

use super::ApiUsage;

/// The entry of the org's total.
const TOTAL: &str = "DailyApiRequests";

/// Objects and lists within one another that are still read. Salesforce's are
/// three deep.
const DEEPEST: usize = 32;

impl ApiUsage {
    /// The org's total in the answer of the limits resource. `None` where it has
    /// none, or is no JSON up to there: figures are never guessed.
    ///
    /// An org that has used more than its limit may be shown with nothing
    /// remaining: `used` is then too low, where the header's would not be.
    #[must_use]
    pub fn of_limits(json: &str) -> Option<Self> {
        limits(json).find(|(name, _)| *name == TOTAL).map(|(_, usage)| usage)
    }
}

/// Every limit of the resource with both figures, in the order of the text, as
/// far as it can be read. Names are as they are written, escapes and all.
pub fn limits(json: &str) -> impl Iterator<Item = (&str, ApiUsage)> {
    Limits { tokens: Tokens(json), depth: 0, name: None, key: None, max: None, remaining: None }
}

/// Walks through the text once, without going back.
struct Limits<'a> {
    tokens: Tokens<'a>,
    depth: usize,
    /// The entry that is open.
    name: Option<&'a str>,
    /// The key whose value comes next, directly in the entry.
    key: Option<&'a str>,
    max: Option<i64>,
    remaining: Option<i64>,
}

impl<'a> Iterator for Limits<'a> {
    type Item = (&'a str, ApiUsage);

    fn next(&mut self) -> Option<Self::Item> {
        let mut text: Option<&'a str> = None;
        loop {
            match self.tokens.next()? {
                Token::Open => {
                    self.depth += 1;
                    if self.depth > DEEPEST {
                        return None;
                    }
                    if self.depth == 2 {
                        (self.name, self.max, self.remaining) = (self.key.take(), None, None);
                    }
                    self.key = None;
                }
                Token::Close => {
                    self.depth = self.depth.checked_sub(1)?;
                    self.key = None;
                    if self.depth == 1
                        && let Some(found) = self.entry()
                    {
                        return Some(found);
                    }
                }
                Token::Text(piece) => text = Some(piece),
                // What stood before the colon was a key.
                Token::Colon => self.key = text.take(),
                Token::Number(number) => {
                    if self.depth == 2 {
                        match self.key.take() {
                            Some("Max") => self.max = number,
                            Some("Remaining") => self.remaining = number,
                            _ => {}
                        }
                    }
                }
                Token::Other => self.key = None,
            }
        }
    }
}

impl<'a> Limits<'a> {
    /// The entry that has just been closed, if it has both figures.
    fn entry(&mut self) -> Option<(&'a str, ApiUsage)> {
        let name = self.name.take()?;
        let limit = u64::try_from(self.max.take()?).ok()?;
        // Below zero is beyond the limit, should Salesforce ever say so.
        let used = i128::from(limit) - i128::from(self.remaining.take()?);
        Some((name, ApiUsage { used: u64::try_from(used.max(0)).ok()?, limit }))
    }
}

/// As much of JSON as is needed to know where in it one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    /// An object or a list begins.
    Open,
    /// It ends.
    Close,
    Colon,
    Text(&'a str),
    /// `None` where it is no whole number of reasonable size.
    Number(Option<i64>),
    /// A comma or a word.
    Other,
}

struct Tokens<'a>(&'a str);

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let text = self.0.trim_start();
        let first = text.bytes().next()?;
        let (token, length) = match first {
            b'{' | b'[' => (Token::Open, 1),
            b'}' | b']' => (Token::Close, 1),
            b':' => (Token::Colon, 1),
            b',' => (Token::Other, 1),
            b'"' => {
                // A text that does not end ends the walk.
                let length = closing_quote(&text[1..])?;
                (Token::Text(&text[1..=length]), length + 2)
            }
            b'-' | b'0'..=b'9' => {
                let length = text
                    .find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E'))
                    .unwrap_or(text.len());
                (Token::Number(text[..length].parse().ok()), length)
            }
            b'a'..=b'z' => {
                let length = text.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(text.len());
                (Token::Other, length)
            }
            _ => return None,
        };
        self.0 = &text[length..];
        Some(token)
    }
}

/// Where the text that begins here ends.
fn closing_quote(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return Some(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(json: &str, expected: Option<(u64, u64)>) {
        let found = ApiUsage::of_limits(json).map(|usage| (usage.used, usage.limit));
        assert_eq!(found, expected, "{json}");
    }

    #[test]
    fn the_total_is_what_stands_directly_in_its_entry() {
        let total = Some((63, 5000));
        check(r#"{"DailyApiRequests":{"Max":5000,"Remaining":4937}}"#, total);
        check(r#" { "DailyApiRequests" : { "Remaining" : 4937 , "Max" : 5000 } } "#, total);
        check(
            r#"{"A":{"Max":1,"Remaining":1,"DailyApiRequests":{"Max":7,"Remaining":7}},
                "DailyApiRequests":{"An App":{"Max":0,"Remaining":0},"Max":5000,
                "B":{"Remaining":9},"Remaining":4937,"C":[{"Max":1}]}}"#,
            total,
        );
        check(
            r#"{"x":"DailyApiRequests","DailyApiRequests":{"Max":5000,"Remaining":4937}}"#,
            total,
        );
        check(
            r#"{"a\"b{\\":{"Max":1},"n":[1,-2.5e3,true,null,"}"],"DailyApiRequests":{"Max":5000,"Remaining":4937}}"#,
            total,
        );
        // What breaks off later has been read by then.
        check(r#"{"DailyApiRequests":{"Max":5000,"Remaining":4937},"Dai"#, total);
        check(r#"{"DailyApiRequests":{"Max":100,"Remaining":-18}}"#, Some((118, 100)));
        check(r#"{"DailyApiRequests":{"Max":100,"Remaining":101}}"#, Some((0, 100)));
    }

    #[test]
    fn figures_are_never_guessed() {
        for json in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"DailyApiRequests":{"Max":5000}}"#,
            r#"{"DailyApiRequests":{"Remaining":5000}}"#,
            r#"{"DailyApiRequests":{"Max":"5000","Remaining":4937}}"#,
            r#"{"DailyApiRequests":{"Max":5e3,"Remaining":4937}}"#,
            r#"{"DailyApiRequests":{"Max":-1,"Remaining":4937}}"#,
            r#"{"DailyApiRequests":{"Max":99999999999999999999,"Remaining":4937}}"#,
            r#"{"DailyApiRequests":{"Max":null,"Remaining":4937}}"#,
            r#"{"DailyApiRequests":{"App":{"Max":1,"Remaining":1}}}"#,
            r#"{"dailyApiRequests":{"Max":5000,"Remaining":4937}}"#,
            r#"{"Outer":{"DailyApiRequests":{"Max":5000,"Remaining":4937}}}"#,
            r#"[{"errorCode":"INVALID_SESSION_ID","message":"Session expired or invalid"}]"#,
            r#"{"DailyApiRequests":{"Max":5000,"Remaining":4937"#,
            r#"{"DailyApiRequests":5000,"Max":5000,"Remaining":4937}"#,
        ] {
            check(json, None);
        }
        let deep = "[".repeat(1_000_000);
        check(&deep, None);
        check(&format!(r#"{{"a":{deep}"#), None);
    }

    #[test]
    fn other_limits_are_read_as_well() {
        let json = r#"{"DailyBulkApiBatches":{"Max":15000,"Remaining":14990,"App":{"Max":0,"Remaining":0}},
            "Odd":{"Max":1},"PrivateConnectOutboundCalloutHourlyLimitMB":{"Max":0,"Remaining":0}}"#;
        let found: Vec<_> =
            limits(json).map(|(name, usage)| (name, usage.used, usage.limit)).collect();
        let expected = [
            ("DailyBulkApiBatches", 10, 15000),
            ("PrivateConnectOutboundCalloutHourlyLimitMB", 0, 0),
        ];
        assert_eq!(found, expected);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(
            any in ".*",
            json in r#"([{}\[\]:,]|"(Max|Remaining|DailyApiRequests|é|\\.)"?|-?[0-9]{1,21}|[a-z.]| ){0,60}"#,
        ) {
            for text in [any, json] {
                let _ = limits(&text).count();
            }
        }
    }
}
