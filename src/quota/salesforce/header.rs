//! The HTTP header `Sforce-Limit-Info`.

use super::{ApiUsage, AppUsage, LimitInfo, non_empty, number};

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

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(
            any in ".*",
            header in r"((api-usage|per-app-api-usage|appName|é)?[=/();, 0-9-]{0,4}){0,12}",
        ) {
            for text in [any, header] {
                let _ = LimitInfo::parse(&text);
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
