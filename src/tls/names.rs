//! Who a certificate says it is of.

use tokio_rustls::rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

/// The names in a client's certificate, of one kind: the best that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateNames {
    /// A SPIFFE ID, `spiffe://TRUST-DOMAIN/PATH`: of an X.509-SVID, which has exactly
    /// one URI (SPIFFE's X509-SVID, section 2).
    Spiffe(String),
    /// Names of hosts, in lower case and without wildcards, in the order of the
    /// certificate; perhaps none.
    Dns(Vec<String>),
}

/// The longest SPIFFE ID, in bytes (SPIFFE-ID, section 2.3).
const MOST_BYTES: usize = 2_048;

const SCHEME: &str = "spiffe://";

impl CertificateNames {
    /// The names in a certificate, whose chain the handshake has checked.
    #[must_use]
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        match EndEntityCert::try_from(certificate) {
            Ok(certificate) => {
                let uris: Vec<_> = certificate.valid_uri_names().collect();
                let dns: Vec<_> = certificate.valid_dns_names().collect();
                Self::best(&uris, &dns)
            }
            // The handshake has read it, too.
            Err(_) => Self::Dns(Vec::new()),
        }
    }

    /// As principals are named: the SPIFFE ID as it is, or `dns:` and each name.
    #[must_use]
    pub fn principals(&self) -> Vec<String> {
        match self {
            Self::Spiffe(id) => vec![id.clone()],
            Self::Dns(names) => names.iter().map(|name| format!("dns:{name}")).collect(),
        }
    }

    fn best(uris: &[&str], dns: &[&str]) -> Self {
        let is_svid = |uri: &&str| uri.to_ascii_lowercase().starts_with(SCHEME);
        match uris {
            [id] if is_spiffe_id(id) => return Self::Spiffe((*id).to_owned()),
            // An SVID that is not valid is nobody's, whatever else stands in it.
            uris if uris.iter().any(is_svid) => return Self::Dns(Vec::new()),
            _ => {}
        }
        // A wildcard is the name of nobody in particular.
        let names = dns.iter().filter(|name| !name.starts_with('*'));
        Self::Dns(names.map(|name| name.trim_end_matches('.').to_ascii_lowercase()).collect())
    }
}

/// A trust domain of `[a-z0-9._-]`, and segments of `[A-Za-z0-9._-]`, none of them
/// empty or dots (SPIFFE-ID, sections 2.1 and 2.2).
fn is_spiffe_id(text: &str) -> bool {
    let Some(rest) = text.strip_prefix(SCHEME) else { return false };
    let mut parts = rest.split('/');
    let domain = parts.next().unwrap_or_default();
    let in_domain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    let in_segment = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    text.len() <= MOST_BYTES
        && (1..=255).contains(&domain.len())
        && domain.bytes().all(in_domain)
        && parts.all(|part| !matches!(part, "" | "." | "..") && part.bytes().all(in_segment))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spiffe_id_is_better_than_names_of_hosts_and_a_broken_one_is_nobodys() {
        let id = "spiffe://prod/ns/inbox/sa/sender";
        let spiffe = || CertificateNames::Spiffe(id.to_owned());
        let dns = |names: &[&str]| {
            CertificateNames::Dns(names.iter().map(|&name| name.to_owned()).collect())
        };
        for (uris, hosts, names) in [
            (&[id][..], &[][..], spiffe()),
            (&[id], &["a.example"], spiffe()),
            (&[], &["A.example", "b.example."], dns(&["a.example", "b.example"])),
            (&[], &["*.example", "a.example"], dns(&["a.example"])),
            (&["https://x"], &["a.example"], dns(&["a.example"])),
            (&[id, id], &["a.example"], dns(&[])),
            (&[id, "https://x"], &["a.example"], dns(&[])),
            (&["SPIFFE://prod/x"], &["a.example"], dns(&[])),
            (&["spiffe://Prod/x"], &[], dns(&[])),
            (&["spiffe://prod/x/"], &[], dns(&[])),
            (&["spiffe://prod//x"], &[], dns(&[])),
            (&["spiffe://prod/../x"], &[], dns(&[])),
            (&["spiffe://prod/x?y"], &[], dns(&[])),
            (&["spiffe://prod:1/x"], &[], dns(&[])),
            (&["spiffe://me@prod/x"], &[], dns(&[])),
            (&["spiffe:///x"], &[], dns(&[])),
            (&["spiffe://prod/a%20b"], &[], dns(&[])),
            (&["spiffe://prod"], &[], CertificateNames::Spiffe("spiffe://prod".to_owned())),
            (&[], &[], dns(&[])),
        ] {
            assert_eq!(CertificateNames::best(uris, hosts), names, "{uris:?} {hosts:?}");
        }
        assert_eq!(spiffe().principals(), [id]);
        assert_eq!(dns(&["a", "b"]).principals(), ["dns:a", "dns:b"]);
    }
}
