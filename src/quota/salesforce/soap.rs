//! The SOAP header `LimitInfoHeader`.

use super::{ApiUsage, AppUsage, LimitInfo, non_empty, number};

impl LimitInfo {
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
        fn no_text_makes_the_parser_panic(
            any in ".*",
            soap in r#"(<|>|/|limitInfo|type|API REQUESTS|sf:|&amp;|&|!--|--|!\[CDATA\[|\]\]|"|é|[0-9]){0,40}"#,
        ) {
            for text in [any, soap] {
                let _ = LimitInfo::parse_soap(&text);
            }
        }
    }
}
