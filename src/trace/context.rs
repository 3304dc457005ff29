//! W3C trace context: what comes along with a request, and what goes along with
//! the next one. <https://www.w3.org/TR/trace-context/>

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use tonic::codegen::http::{HeaderMap, HeaderName, HeaderValue};

/// Every request is asked for it.
static PARENT: HeaderName = HeaderName::from_static("traceparent");

/// The id of the trace that a request belongs to, whether it is recorded or not;
/// `None` if it says nothing, or nothing that can be read.
#[must_use]
pub fn trace_id(headers: &HeaderMap) -> Option<&str> {
    parse(headers.get(&PARENT)?.to_str().ok()?).map(|parent| parent.trace)
}

/// The span that a request is a part of.
pub fn remote(headers: &HeaderMap) -> Option<SpanContext> {
    let Parent { trace, span, flags } = parse(headers.get(&PARENT)?.to_str().ok()?)?;
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    // A state that cannot be read ends; the trace goes on.
    let states = headers.get_all("tracestate").iter().map(HeaderValue::to_str);
    let state = states.collect::<Result<Vec<_>, _>>().ok();
    let state = state.and_then(|parts| parts.join(",").parse().ok()).unwrap_or(TraceState::NONE);
    Some(SpanContext::new(trace, span, flags, true, state))
}

/// The values of `traceparent` and, if there is one, of `tracestate`.
pub fn written(context: &SpanContext) -> (String, Option<String>) {
    let (trace, span) = (context.trace_id(), context.span_id());
    let parent = format!("00-{trace}-{span}-{:02x}", context.trace_flags());
    let state = context.trace_state().header();
    (parent, Some(state).filter(|state| !state.is_empty()))
}

struct Parent<'a> {
    trace: &'a str,
    span: &'a str,
    flags: &'a str,
}

/// A version that is not known yet may have more at its end.
fn parse(text: &str) -> Option<Parent<'_>> {
    let mut parts = text.trim().splitn(5, '-');
    let mut hex = |digits: usize| {
        let part = parts.next()?;
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (part.len() == digits && part.bytes().all(is_hex)).then_some(part)
    };
    let (version, trace, span, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
    let is_zero = |part: &str| part.bytes().all(|byte| byte == b'0');
    let is_good = version != "ff"
        && !is_zero(trace)
        && !is_zero(span)
        && (version != "00" || parts.next().is_none());
    is_good.then_some(Parent { trace, span, flags })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    fn headers(parent: &str, states: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", parent.parse().expect("a header value"));
        for state in states {
            headers.append("tracestate", state.parse().expect("a header value"));
        }
        headers
    }

    #[test]
    fn a_context_that_is_none_is_taken_for_absent() {
        // (traceparent, whether it is one, whether it is sampled)
        for (parent, is_good, is_sampled) in [
            (format!("00-{TRACE}-b7ad6b7169203331-01"), true, true),
            (format!("00-{TRACE}-b7ad6b7169203331-00"), true, false),
            (format!("00-{TRACE}-b7ad6b7169203331-03"), true, true),
            (format!("00-{TRACE}-b7ad6b7169203331-02"), true, false),
            (format!("cc-{TRACE}-b7ad6b7169203331-01-what-comes"), true, true),
            (format!("00-{TRACE}-b7ad6b7169203331-01-what-comes"), false, false),
            (format!("ff-{TRACE}-b7ad6b7169203331-01"), false, false),
            (format!("00-{}-b7ad6b7169203331-01", TRACE.to_uppercase()), false, false),
            (format!("00-{TRACE}-0000000000000000-01"), false, false),
            (format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)), false, false),
            (format!("00-{TRACE}-b7ad6b71692033-01"), false, false),
            (format!("00-{TRACE}-b7ad6b7169203331"), false, false),
            (format!("00-+{}-b7ad6b7169203331-01", &TRACE[1..]), false, false),
            ("garbage".to_owned(), false, false),
            (String::new(), false, false),
        ] {
            let headers = headers(&parent, &[]);
            let remote = remote(&headers);
            assert_eq!(remote.is_some(), is_good, "{parent}");
            assert_eq!(remote.is_some_and(|it| it.is_sampled()), is_sampled, "{parent}");
            assert_eq!(trace_id(&headers), is_good.then_some(TRACE), "{parent}");
        }
        assert!(remote(&HeaderMap::new()).is_none());
    }

    #[test]
    fn what_comes_is_what_goes_on() {
        let parent = format!("00-{TRACE}-b7ad6b7169203331-01");
        // (tracestate as it comes, as it goes on)
        let rows: [(&[&str], Option<&str>); 4] = [
            (&[], None),
            (
                &["rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"],
                Some("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
            ),
            (&["rojo=1", "congo=2"], Some("rojo=1,congo=2")),
            (&["no state"], None),
        ];
        for (states, expected) in rows {
            let remote = remote(&headers(&parent, states)).expect("it is one");
            let (again, state) = written(&remote);
            assert_eq!(again, parent);
            assert_eq!(state.as_deref(), expected, "{states:?}");
        }
    }
}
