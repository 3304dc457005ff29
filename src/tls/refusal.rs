//! Why a connection is not served, in few words.

use std::io;

use tokio_rustls::rustls::{CertificateError, Error, InvalidMessage};

use crate::metrics::Refusal;

/// The cause of a handshake that failed.
pub(super) fn of_handshake(error: &io::Error) -> Refusal {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        None => Refusal::Gone,
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => Refusal::NotTls,
        Some(Error::PeerIncompatible(_) | Error::NoApplicationProtocol) => Refusal::Incompatible,
        Some(Error::NoCertificatesPresented) => Refusal::NoCertificate,
        Some(Error::InvalidCertificate(error)) => of_certificate(error),
        Some(Error::AlertReceived(_)) => Refusal::RefusedByClient,
        Some(_) => Refusal::Malformed,
    }
}

fn of_certificate(error: &CertificateError) -> Refusal {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            Refusal::CertificateExpired
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            Refusal::CertificateNotYetValid
        }
        CertificateError::UnknownIssuer => Refusal::CertificateUnknownAuthority,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Refusal::CertificateName
        }
        _ => Refusal::CertificateBad,
    }
}
