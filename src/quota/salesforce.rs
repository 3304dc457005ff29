//! What Salesforce says about its limits with each answer: the HTTP header
//! `Sforce-Limit-Info` and the SOAP header `LimitInfoHeader`.
//!
//! Both parsers take what they understand and leave the rest: a directive that
//! is new, garbled or out of place never hides the one beside it. A figure that
//! is not a plain whole number is no figure.

/// The org's total as Salesforce counts it. `used` may exceed `limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiUsage {
    /// Units used in the last 24 hours, by everybody.
    pub used: u64,
    /// The org's limit; 0 is unknown.
    pub limit: u64,
}

impl ApiUsage {
    /// The org's total in the `Sforce-Limit-Info` values of one answer: the
    /// first that has one (an answer may carry the header several times).
    #[must_use]
    pub fn first_of<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        values.into_iter().find_map(|value| LimitInfo::parse(value).api_usage)
    }
}

/// The share of one connected app in the org's total (a pilot of Salesforce's;
/// gone from its pages, still sent by some orgs).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppUsage {
    /// Units that the app has used.
    pub used: u64,
    /// The app's limit.
    pub limit: u64,
    /// The app's name, where it is told.
    pub app_name: Option<String>,
}

/// All that one answer says about limits. What it does not say, or says in a
/// way that nobody can read, is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitInfo {
    /// The org's total in 24 hours.
    pub api_usage: Option<ApiUsage>,
    /// One app's share in it.
    pub per_app: Option<AppUsage>,
    /// `api-bursts`: what it counts is undocumented; it comes with orgs that
    /// may exceed their total.
    pub api_bursts: Option<ApiUsage>,
}

impl LimitInfo {
    /// Reads one value of the HTTP header, for example
    /// `api-usage=25/5000; per-app-api-usage=17/250(appName=sync)`.
    ///
    /// Directives come in any order, keys in any case, with white space
    /// anywhere between the words. Of several directives with the same key, the
    /// first readable one counts.
    #[must_use]
    pub fn parse(value: &str) -> Self {
        let mut info = Self::default();
        let mut rest = value;
        while !rest.is_empty() {
            let (directive, after) = split_directive(rest);
            rest = after;
            let Some((key, figures)) = directive.split_once('=') else { continue };
            let (figures, note) = match figures.split_once('(') {
                Some((figures, note)) => (figures, Some(note)),
                None => (figures, None),
            };
            let Some(usage) = ratio(figures) else { continue };
            let key = key.trim();
            if key.eq_ignore_ascii_case("api-usage") {
                info.api_usage.get_or_insert(usage);
            } else if key.eq_ignore_ascii_case("api-bursts") {
                info.api_bursts.get_or_insert(usage);
            } else if key.eq_ignore_ascii_case("per-app-api-usage") {
                let ApiUsage { used, limit } = usage;
                let app_name = note.and_then(app_name);
                info.per_app.get_or_insert(AppUsage { used, limit, app_name });
            }
        }
        info
    }

    /// Reads the `LimitInfoHeader` of a SOAP answer, from the header alone or
    /// from the whole envelope, with any namespace prefix.
    #[must_use]
    pub fn parse_soap(xml: &str) -> Self {
        let mut info = Self::default();
        let mut entry = SoapEntry::default();
        let mut text = String::new();
        for token in SoapTokens(xml) {
            match token {
                Token::Open("limitInfo") => entry = SoapEntry::default(),
                Token::Open(_) => text.clear(),
                Token::Text(piece) => text.push_str(piece),
                Token::Close("current") => entry.current = number(&text),
                Token::Close("limit") => entry.limit = number(&text),
                Token::Close("type") => text.trim().clone_into(&mut entry.kind),
                Token::Close("appName") => entry.app_name = non_empty(&unescape(&text)),
                Token::Close("limitInfo") => std::mem::take(&mut entry).add_to(&mut info),
                Token::Close(_) => {}
            }
        }
        info
    }
}

/// Cuts the first directive off a header value; the separator is in neither
/// part.
fn split_directive(value: &str) -> (&str, &str) {
    let mut start = 0;
    while let Some(at) = value[start..].find([';', ',', '(']).map(|at| start + at) {
        let after = &value[at + 1..];
        match value.as_bytes()[at] {
            // Whatever an app's name holds, it separates nothing.
            b'(' => start = at + 1 + parenthesis_length(after).unwrap_or(0),
            // A proxy may have joined two headers with a comma: only what can
            // begin a key follows such a one.
            b',' if !after.trim_start().starts_with(|c: char| c.is_ascii_alphabetic()) => {
                start = at + 1;
            }
            _ => return (&value[..at], after),
        }
    }
    (value, "")
}

/// The length of what follows an opening parenthesis, up to and with the
/// closing one: the one that balances it; or, where the app's name has unpaired
/// ones, the first after which the directive ends.
fn parenthesis_length(text: &str) -> Option<usize> {
    let mut depth = 1_usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at + 1);
        }
    }
    text.match_indices(')').map(|(at, _)| at + 1).find(|end| {
        let after = text[*end..].trim_start();
        after.is_empty() || after.starts_with(';')
    })
}

/// The name in `appName=NAME)`.
fn app_name(note: &str) -> Option<String> {
    let (key, name) = note.trim_end().strip_suffix(')')?.split_once('=')?;
    if key.trim().eq_ignore_ascii_case("appName") { non_empty(name) } else { None }
}

fn ratio(text: &str) -> Option<ApiUsage> {
    let (used, limit) = text.split_once('/')?;
    Some(ApiUsage { used: number(used)?, limit: number(limit)? })
}

/// A whole number of digits alone: no sign, no separators, no overflow.
fn number(text: &str) -> Option<u64> {
    let digits = text.trim();
    if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
}

fn non_empty(text: &str) -> Option<String> {
    let text = text.trim();
    if text.is_empty() { None } else { Some(text.to_owned()) }
}

/// One `limitInfo` element, as far as it has been read.
#[derive(Default)]
struct SoapEntry {
    current: Option<u64>,
    limit: Option<u64>,
    kind: String,
    app_name: Option<String>,
}

impl SoapEntry {
    fn add_to(self, info: &mut LimitInfo) {
        let (Some(used), Some(limit)) = (self.current, self.limit) else { return };
        if self.kind.eq_ignore_ascii_case("API REQUESTS") {
            info.api_usage.get_or_insert(ApiUsage { used, limit });
        } else if self.kind.eq_ignore_ascii_case("API REQUESTS PER APP") {
            info.per_app.get_or_insert(AppUsage { used, limit, app_name: self.app_name });
        }
    }
}

/// What the scanner below tells apart; names are without prefix.
enum Token<'a> {
    Open(&'a str),
    Close(&'a str),
    Text(&'a str),
}

/// Just enough of XML for a flat list of elements: prefixes and attributes are
/// passed over, comments and declarations too, and a text that breaks off ends
/// the walk.
struct SoapTokens<'a>(&'a str);

impl<'a> Iterator for SoapTokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            if self.0.is_empty() {
                return None;
            }
            if !self.0.starts_with('<') {
                let end = self.0.find('<').unwrap_or(self.0.len());
                let (text, rest) = self.0.split_at(end);
                self.0 = rest;
                return Some(Token::Text(text));
            }
            if let Some(rest) = self.0.strip_prefix("<![CDATA[") {
                return self.take_until(rest, "]]>").map(Token::Text);
            }
            if let Some(rest) = self.0.strip_prefix("<!--") {
                self.take_until(rest, "-->")?;
            } else if let Some(rest) = self.0.strip_prefix("<?") {
                self.take_until(rest, "?>")?;
            } else if let Some(rest) = self.0.strip_prefix("</") {
                let tag = self.take_until(rest, ">")?;
                return Some(Token::Close(local_name(tag)));
            } else {
                let rest = &self.0[1..];
                let end = tag_end(rest)?;
                self.0 = &rest[end + 1..];
                return Some(Token::Open(local_name(&rest[..end])));
            }
        }
    }
}

impl<'a> SoapTokens<'a> {
    /// What stands in `rest` before `end`; goes on after it.
    fn take_until(&mut self, rest: &'a str, end: &str) -> Option<&'a str> {
        let (inside, after) = rest.split_once(end)?;
        self.0 = after;
        Some(inside)
    }
}

/// Where an opening tag ends: at the first `>` outside of quotes.
fn tag_end(tag: &str) -> Option<usize> {
    let mut quote = None;
    for (at, byte) in tag.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return Some(at),
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), _) if open == byte => quote = None,
            _ => {}
        }
    }
    None
}

/// `sf:limitInfo attribute="…"` is `limitInfo`.
fn local_name(tag: &str) -> &str {
    let name = tag.split(|c: char| c.is_whitespace() || c == '/').next().unwrap_or_default();
    name.rsplit(':').next().unwrap_or_default()
}

/// Resolves the five entities that every XML text knows.
fn unescape(text: &str) -> String {
    const ENTITIES: [(&str, char); 5] =
        [("&amp;", '&'), ("&lt;", '<'), ("&gt;", '>'), ("&quot;", '"'), ("&apos;", '\'')];
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        let (length, character) = ENTITIES
            .iter()
            .find(|(entity, _)| rest.starts_with(entity))
            .map_or((1, '&'), |(entity, character)| (entity.len(), *character));
        plain.push(character);
        rest = &rest[length..];
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(value: &str, api_usage: Option<(u64, u64)>, app: Option<(u64, u64, Option<&str>)>) {
        let info = LimitInfo::parse(value);
        let expected = api_usage.map(|(used, limit)| ApiUsage { used, limit });
        assert_eq!(info.api_usage, expected, "api-usage of {value:?}");
        let expected = app.map(|(used, limit, name)| AppUsage {
            used,
            limit,
            app_name: name.map(str::to_owned),
        });
        assert_eq!(info.per_app, expected, "per-app-api-usage of {value:?}");
    }

    #[test]
    fn an_apps_directive_may_come_first_and_its_name_may_hold_anything_that_is_closed() {
        let org = Some((25, 5000));
        for name in ["sync", "a;b", "a, api-usage=1/2", "My (new) app; v2", "=", "a/b", "é"] {
            let app = Some((17, 250, Some(name)));
            let directive = format!("per-app-api-usage=17/250(appName={name})");
            check(&format!("{directive}; api-usage=25/5000"), org, app);
            check(&format!("api-usage=25/5000;{directive}"), org, app);
            check(&directive, None, app);
        }
        check(
            "per-app-api-usage=17/250(appName=a(b); api-usage=25/5000",
            org,
            Some((17, 250, Some("a(b"))),
        );
    }

    #[test]
    fn a_broken_directive_does_not_hide_the_one_beside_it() {
        let org = Some((25, 5000));
        check(
            "per-app-api-usage=17/250(appName=open; api-usage=25/5000",
            org,
            Some((17, 250, None)),
        );
        check("per-app-api-usage=x/250(appName=a); api-usage=25/5000", org, None);
        check("api-usage=x/5000; api-usage=25/5000", org, None);
        check(";;=;(;api-usage=25/5000;", org, None);
        check("new-directive; other=(a;b); api-usage=25/5000", org, None);
        check("api-usage=25/5000, api-usage=26/5000", org, None);
    }

    #[test]
    fn only_plain_whole_numbers_are_figures() {
        for figures in [
            "-1/15000",
            "1/-15000",
            "+1/15000",
            "1.5/15000",
            "1e3/15000",
            "0x10/15000",
            "1,000/15000",
            "1/15,000",
            "١/١٥",
            "18446744073709551616/15000",
            "1/99999999999999999999999",
            "/",
            "1/",
            "/1",
            "1",
            "",
            "1/2/3",
        ] {
            check(&format!("api-usage={figures}"), None, None);
        }
        check("api-usage=18446744073709551615/1", Some((u64::MAX, 1)), None);
    }

    #[test]
    fn a_key_is_a_whole_word_in_any_case() {
        check("API-USAGE=7/15000", Some((7, 15000)), None);
        check(" api-usage\t=\t7 / 15000 ", Some((7, 15000)), None);
        check("xapi-usage=7/15000", None, None);
        check("per-app-api-usage=2/100", None, Some((2, 100, None)));
        check("Per-App-Api-Usage=2/100 ( APPNAME = a b )", None, Some((2, 100, Some("a b"))));
    }

    #[test]
    fn of_several_values_the_first_with_a_total_counts() {
        let values = ["garbage", "per-app-api-usage=2/100", "api-usage=3/5", "api-usage=4/5"];
        assert_eq!(ApiUsage::first_of(values), Some(ApiUsage { used: 3, limit: 5 }));
        assert_eq!(ApiUsage::first_of([]), None);
    }

    #[test]
    fn a_soap_header_is_found_in_its_envelope() {
        let info = LimitInfo::parse_soap(
            r#"<?xml version="1.0" encoding="UTF-8"?>
            <soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" odd="a>b">
              <soapenv:Header><!-- <current>1</current> --><LimitInfoHeader>
                <sf:limitInfo><sf:type>API REQUESTS PER APP</sf:type><sf:limit> 250 </sf:limit>
                  <sf:appName>Q&amp;A &lt;1&gt; &other;</sf:appName><sf:current>20</sf:current></sf:limitInfo>
                <limitInfo><current>9</current><limit>many</limit><type>API REQUESTS</type></limitInfo>
                <limitInfo><current><![CDATA[18]]></current><limit>5000</limit><type>API REQUESTS</type></limitInfo>
              </LimitInfoHeader></soapenv:Header><soapenv:Body/>
            </soapenv:Envelope>"#,
        );
        assert_eq!(info.api_usage, Some(ApiUsage { used: 18, limit: 5000 }));
        let app_name = Some("Q&A <1> &other;".to_owned());
        assert_eq!(info.per_app, Some(AppUsage { used: 20, limit: 250, app_name }));
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(
            any in ".*",
            header in r"((api-usage|per-app-api-usage|appName|é)?[=/();, 0-9-]{0,4}){0,12}",
            soap in r#"(<|>|/|limitInfo|type|API REQUESTS|sf:|&amp;|&|!--|--|!\[CDATA\[|\]\]|"|é|[0-9]){0,40}"#,
        ) {
            for text in [any, header, soap] {
                let _ = LimitInfo::parse(&text);
                let _ = LimitInfo::parse_soap(&text);
            }
        }

        #[test]
        fn what_is_written_is_read_back(used: u64, limit: u64, name in r"[^()\pC\pZ]([^()\pC]*[^()\pC\pZ])?") {
            let header =
                format!("per-app-api-usage={limit}/{used}(appName={name}); api-usage={used}/{limit}");
            let app_name = Some(name.clone());
            let expected = LimitInfo {
                api_usage: Some(ApiUsage { used, limit }),
                per_app: Some(AppUsage { used: limit, limit: used, app_name }),
                api_bursts: None,
            };
            prop_assert_eq!(LimitInfo::parse(&header), expected);
        }
    }
}
