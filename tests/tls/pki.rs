//! Authorities and certificates, in files.

use std::{fs, path::PathBuf};

use quotagate::tls::{ClientAuth, ClientFiles, ServerFiles};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};

/// An authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// When a certificate is valid.
#[derive(Clone, Copy)]
pub enum Valid {
    Now,
    Once,
    Later,
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct Issued {
    pub cert: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate of hosts, and of a SPIFFE ID if a name is one.
    pub fn issue(&self, names: &[&str], valid: Valid) -> Issued {
        let (uris, hosts): (Vec<&str>, Vec<&str>) =
            names.iter().partition(|name| name.contains("://"));
        let hosts: Vec<String> = hosts.into_iter().map(str::to_owned).collect();
        let mut params = CertificateParams::new(hosts).expect("names of hosts");
        let uris = uris.into_iter().map(|uri| SanType::URI(uri.try_into().expect("ASCII")));
        params.subject_alt_names.extend(uris);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let (from, to) = match valid {
            Valid::Now => (2_000, 4_000),
            Valid::Once => (2_000, 2_001),
            Valid::Later => (3_999, 4_000),
        };
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &*self.0).expect("a certificate");
        Issued { cert: cert.pem(), key: key.serialize_pem() }
    }
}

/// A directory with the files of one process.
pub struct Files {
    home: tempfile::TempDir,
}

impl Files {
    /// What a process shows, and whom it trusts.
    pub fn new(issued: &Issued, ca: &str) -> Self {
        let files = Self { home: tempfile::tempdir().expect("a place for temporary files") };
        files.show(issued);
        files.trust(ca);
        files
    }

    /// Swaps the certificate and its key.
    pub fn show(&self, issued: &Issued) {
        self.put("cert.pem", &issued.cert);
        self.put("key.pem", &issued.key);
    }

    /// Swaps the authorities.
    pub fn trust(&self, ca: &str) {
        self.put("ca.pem", ca);
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub fn server(&self, client_auth: ClientAuth) -> ServerFiles {
        ServerFiles {
            cert: self.path("cert.pem"),
            key: self.path("key.pem"),
            client_ca: Some(self.path("ca.pem")),
            client_auth,
        }
    }

    pub fn client(&self) -> ClientFiles {
        ClientFiles {
            ca: Some(self.path("ca.pem")),
            identity: Some((self.path("cert.pem"), self.path("key.pem"))),
            name: None,
        }
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("it is writable");
    }
}
