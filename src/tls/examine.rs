//! What is to be known of certificates before they are shown to anybody.

use std::{fs, path::Path, str, time::Duration};

use tokio_rustls::rustls::{
    pki_types::{CertificateDer, UnixTime},
    sign::CertifiedKey,
};
use webpki::{EndEntityCert, KeyUsage};

use super::{
    files::{Fault, authorities, certificates, private_key},
    provider,
};

/// When a certificate is valid, as times since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Not before.
    pub from: Duration,
    /// Not after.
    pub until: Duration,
}

/// What stands in the files of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examined {
    /// The names of hosts and the URIs that it is of.
    pub names: Vec<String>,
    /// When all of its chain are valid.
    pub validity: Validity,
}

/// Reads a certificate with its chain; holds its key to it, and, where there are
/// authorities, the chain to them, at the time `now` since the Unix epoch.
///
/// # Errors
/// A file cannot be read, the key is another certificate's, or no authority has
/// issued it.
pub fn examine(
    cert: &Path,
    key: Option<&Path>,
    ca: Option<&Path>,
    now: Duration,
) -> Result<Examined, Fault> {
    let chain = certificates(cert, &read(cert)?)?;
    let bad = |why: String| Fault::new(cert, why);
    if let Some(key) = key {
        let key = private_key(key, &read(key)?)?;
        CertifiedKey::from_der(chain.clone(), key, &provider())
            .map_err(|error| bad(format!("the key does not fit it: {error}")))?;
    }
    let unreadable = || bad("a certificate in it cannot be read".to_owned());
    let validity = of_all(&chain).ok_or_else(unreadable)?;
    let (leaf, between) = chain.split_first().ok_or_else(unreadable)?;
    let leaf = EndEntityCert::try_from(leaf).map_err(|_| unreadable())?;
    if let Some(ca) = ca {
        // Times are told of by themselves: here they are not to hide a wrong issuer.
        let now = now.clamp(validity.from, validity.until);
        leaf.verify_for_usage(
            provider().signature_verification_algorithms.all,
            &authorities(ca, &read(ca)?)?.roots,
            between,
            UnixTime::since_unix_epoch(now),
            KeyUsage::server_auth(),
            None,
            None,
        )
        .map_err(|error| {
            bad(format!("the authorities in {} do not know it: {error}", ca.display()))
        })?;
    }
    let names = leaf.valid_dns_names().chain(leaf.valid_uri_names()).map(str::to_owned).collect();
    Ok(Examined { names, validity })
}

/// When all certificates of a chain are valid; `None` if one cannot be read.
#[must_use]
pub fn of_all(chain: &[CertificateDer<'_>]) -> Option<Validity> {
    let all: Option<Vec<Validity>> =
        chain.iter().map(|certificate| validity(certificate)).collect();
    all?.into_iter()
        .reduce(|a, b| Validity { from: a.from.max(b.from), until: a.until.min(b.until) })
}

fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    fs::read(path).map_err(|error| Fault::new(path, error.to_string()))
}

/// Reads `tbsCertificate.validity` (RFC 5280, section 4.1): webpki checks it and
/// does not show it.
fn validity(certificate: &[u8]) -> Option<Validity> {
    const SEQUENCE: u8 = 0x30;
    const VERSION: u8 = 0xa0;
    let mut certificate = Der(Der(certificate).take(SEQUENCE)?);
    let mut body = Der(certificate.take(SEQUENCE)?);
    if body.0.first() == Some(&VERSION) {
        body.any()?;
    }
    // The serial number, the algorithm, the issuer.
    for _ in 0..3 {
        body.any()?;
    }
    let mut validity = Der(body.take(SEQUENCE)?);
    Some(Validity { from: time(validity.any()?)?, until: time(validity.any()?)? })
}

/// UTCTime until 2049, GeneralizedTime after; both in seconds and in UTC
/// (RFC 5280, section 4.1.2.5).
fn time((tag, text): (u8, &[u8])) -> Option<Duration> {
    let text = str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let text = match (tag, text.len()) {
        (0x17, 12) if text < "50" => format!("20{text}"),
        (0x17, 12) => format!("19{text}"),
        (0x18, 14) => text.to_owned(),
        _ => return None,
    };
    let part = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let (hour, minute, second) = (part(8, 10)?, part(10, 12)?, part(12, 14)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Days of a year that begins in March, so that the leap day is its last.
    let (year, month) =
        if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    const TO_1970: u64 = 719_468;
    let days = days.saturating_sub(TO_1970);
    Some(Duration::from_secs(((days * 24 + hour) * 60 + minute) * 60 + second))
}

/// What is left of some DER.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The content of the next value, which must have this tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.any().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }

    /// The tag and the content of the next value.
    fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], mut rest) = self.0.split_first_chunk()?;
        let length = if first < 0x80 {
            usize::from(first)
        } else {
            let (bytes, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
            rest = after;
            let fits = (1..=4).contains(&bytes.len());
            fits.then(|| bytes.iter().fold(0, |all, byte| all << 8 | usize::from(*byte)))?
        };
        let (content, after) = rest.split_at_checked(length)?;
        self.0 = after;
        Some((tag, content))
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, CertifiedIssuer, KeyPair, date_time_ymd};

    use super::*;

    const DAY: u64 = 24 * 60 * 60;

    fn days(days: u64) -> Duration {
        Duration::from_secs(days * DAY)
    }

    #[test]
    fn a_certificate_tells_from_when_until_when_it_is_valid() {
        // (year, month, day, days since 1970)
        for (year, month, day, since) in [
            (1970, 1, 1, 0),
            (1999, 12, 31, 10_956),
            (2000, 2, 29, 11_016),
            (2026, 11, 22, 20_779),
            (2049, 12, 31, 29_219),
            (2050, 1, 1, 29_220),
            (2100, 3, 1, 47_541),
        ] {
            let mut params = CertificateParams::new(vec!["a.example".to_owned()]).expect("a name");
            params.not_before = date_time_ymd(year, month, day);
            params.not_after = date_time_ymd(4_000, 1, 1);
            let key = KeyPair::generate().expect("a key");
            let certificate = params.self_signed(&key).expect("a certificate");
            let validity = validity(certificate.der()).expect("it is one");
            assert_eq!(validity.from, days(since), "{year}-{month}-{day}");
            assert!(validity.until > days(700_000), "{validity:?}");
            // Whatever is cut off, nothing is read beyond it.
            for length in 0..certificate.der().len() {
                let _ = super::validity(&certificate.der()[..length]);
            }
        }
    }

    #[test]
    fn a_key_and_authorities_are_held_to_their_certificate() {
        let issue = |name: &str| {
            let mut params = CertificateParams::new(Vec::new()).expect("no names");
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            let key = KeyPair::generate().expect("a key");
            let authority = CertifiedIssuer::self_signed(params, key).expect("a certificate");
            let key = KeyPair::generate().expect("a key");
            let mut params = CertificateParams::new(vec!["a.example".into()]).expect("a name");
            params.not_after = date_time_ymd(2_027, 1, 1);
            let leaf = params.signed_by(&key, &*authority).expect("a certificate");
            (authority.pem(), leaf.pem(), key.serialize_pem())
        };
        let home = tempfile::tempdir().expect("a place for temporary files");
        let put = |name: &str, text: &str| {
            let path = home.path().join(name);
            std::fs::write(&path, text).expect("it is writable");
            path
        };
        let ((ca, cert, key), (other_ca, _, other_key)) = (issue("ours"), issue("theirs"));
        let (ca, cert, key) = (put("ca", &ca), put("cert", &cert), put("key", &key));
        let (other_ca, other_key) = (put("other-ca", &other_ca), put("other-key", &other_key));
        let now = days(20_779);
        // (key, authorities, what is wrong)
        for (key, ca, wrong) in [
            (None, None, None),
            (Some(&key), Some(&ca), None),
            (Some(&other_key), Some(&ca), Some("the key does not fit it")),
            (Some(&key), Some(&other_ca), Some("do not know it: UnknownIssuer")),
            (Some(&cert), None, Some("no private key")),
            (None, Some(&key), Some("no certificate")),
        ] {
            let found = examine(&cert, key.map(|path| &**path), ca.map(|path| &**path), now);
            match (found, wrong) {
                (Ok(found), None) => assert_eq!(found.names, ["a.example"]),
                (Err(fault), Some(words)) => assert!(fault.to_string().contains(words), "{fault}"),
                (found, _) => panic!("{found:?}, not {wrong:?}"),
            }
        }
    }
}
