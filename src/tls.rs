//! Certificates, ours and theirs: read, followed as they change, and put around
//! connections.
//!
//! What is read from [files] is looked at every second. Each new handshake uses
//! what is in force then; connections that stand are left alone. Files that do not
//! fit together (a new certificate beside the old key, half of a bundle) change
//! nothing, and are told.
//!
//! TLS 1.3 and 1.2 are spoken, by rustls on ring. No session is ever resumed: a
//! resumed one would carry an identity that was checked against authorities which
//! may not be trusted any more, and connections here live for minutes.

#[cfg(feature = "server")]
mod accept;
#[cfg(feature = "server")]
mod bounds;
mod connect;
#[cfg(feature = "server")]
pub mod examine;
pub mod files;
#[cfg(feature = "server")]
mod names;
#[cfg(feature = "server")]
mod refusal;
mod rejected;
#[cfg(feature = "server")]
mod serve;

use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};

#[cfg(feature = "server")]
pub use self::{
    accept::{Acceptor, Connection, Incoming, Peer, Transport},
    bounds::Bounds,
    names::CertificateNames,
    serve::{ClientAuth, Protocol, Server, ServerFiles},
};
pub use self::{
    connect::{ClientFiles, Connector},
    files::Fault,
    rejected::{Note, Noted, Rejected},
};

/// The one provider of cryptography in this program.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
