//! Who may write by HTTP: no page of another site through somebody's browser.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, header, uri::Authority};

/// Checks a write: `Host` must be loopback, the address that the connection
/// came in on, or a name of `hosts`; `Origin`, where a browser sends one, must
/// be that same host. The first stops names that others have pointed here, the
/// second the pages of others.
///
/// # Errors
/// A sentence for the caller.
pub fn check(headers: &HeaderMap, local: SocketAddr, hosts: &[String]) -> Result<(), String> {
    let host = only(headers, &header::HOST)?.ok_or("a write needs a Host header")?;
    let authority =
        parse(host).ok_or_else(|| format!("the Host {host:?} is not the name of a server"))?;
    if !is_ours(authority.host(), local, hosts) {
        return Err(format!(
            "writes for the Host {:?} are refused: it is not a name of this service",
            authority.host()
        ));
    }
    let Some(origin) = only(headers, &header::ORIGIN)? else { return Ok(()) };
    let same = origin.split_once("://").is_some_and(|(scheme, rest)| {
        let default = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return false,
        };
        parse(rest).is_some_and(|other| {
            other.host().eq_ignore_ascii_case(authority.host())
                && other.port_u16().unwrap_or(default) == authority.port_u16().unwrap_or(default)
        })
    });
    if same {
        Ok(())
    } else {
        Err(format!("writes from the Origin {origin:?} are refused: it is not this service"))
    }
}

/// The one value of a header; several would leave open which one counts.
fn only<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Result<Option<&'a str>, String> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(format!("there are several {name} headers"));
    }
    first
        .map(|value| value.to_str().map_err(|_| format!("the {name} header is not text")))
        .transpose()
}

fn parse(text: &str) -> Option<Authority> {
    let authority: Authority = text.parse().ok()?;
    (!authority.host().is_empty() && !text.contains('@')).then_some(authority)
}

fn is_ours(host: &str, local: SocketAddr, hosts: &[String]) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return ip.is_loopback() || ip.to_canonical() == local.ip().to_canonical();
    }
    host.eq_ignore_ascii_case("localhost")
        || hosts.iter().any(|known| known.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn write(host: &str, origin: Option<&str>, refused_for: Option<&str>) {
        let mut headers = HeaderMap::new();
        if !host.is_empty() {
            headers.insert(header::HOST, host.parse().expect("a header"));
        }
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().expect("a header"));
        }
        let local = "10.1.2.3:7401".parse().expect("an address");
        let outcome = check(&headers, local, &["quota.example".into()]);
        match (outcome, refused_for) {
            (Ok(()), None) => {}
            (Err(sentence), Some(part)) => {
                assert!(sentence.contains(part), "{host} {origin:?}: {sentence}");
            }
            (outcome, _) => panic!("{host} {origin:?}: {outcome:?}"),
        }
    }

    #[test]
    fn programs_write_under_the_services_own_names() {
        write("localhost:7401", None, None);
        write("LOCALHOST", None, None);
        write("127.0.0.1:7401", None, None);
        write("127.8.9.1", None, None);
        write("[::1]:7401", None, None);
        write("10.1.2.3:7401", None, None);
        write("[::ffff:10.1.2.3]:7401", None, None);
        write("quota.example", None, None);
        write("Quota.Example:443", None, None);
    }

    #[test]
    fn names_that_are_not_the_services_are_refused() {
        write("", None, Some("needs a Host"));
        write("evil.example:7401", None, Some("evil.example"));
        write("10.1.2.4:7401", None, Some("10.1.2.4"));
        write("localhost.evil.example", None, Some("not a name"));
        write("localhost@evil.example", None, Some("not the name"));
        write("a b", None, Some("not the name"));
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        write("localhost:7401", Some("http://localhost:7401"), None);
        write("quota.example", Some("https://quota.example"), None);
        write("quota.example", Some("https://quota.example:443"), None);
        write("localhost:7401", Some("http://localhost:3000"), Some("3000"));
        write("localhost:7401", Some("http://127.0.0.1:7401"), Some("127.0.0.1"));
        write("quota.example", Some("https://quota.example:8443"), Some("8443"));
        write("localhost:7401", Some("http://evil.example"), Some("evil.example"));
        write("localhost:7401", Some("null"), Some("null"));
        write("localhost:7401", Some("file://localhost:7401"), Some("file"));
        write("localhost:7401", Some(""), Some("Origin"));
    }

    #[test]
    fn two_hosts_are_refused() {
        let mut headers = HeaderMap::new();
        headers.append(header::HOST, "localhost".parse().expect("a header"));
        headers.append(header::HOST, "evil.example".parse().expect("a header"));
        let local = "127.0.0.1:7401".parse().expect("an address");
        assert!(check(&headers, local, &[]).is_err());
    }
}
