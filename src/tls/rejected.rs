//! What a server says of the certificate that it was shown, and how that is heard.
//!
//! Over TLS 1.3 a client has made its handshake before its server has looked at the
//! client's certificate. The refusal comes as the first thing that is read, when
//! whoever uses the connection has already begun to speak, and may see no more than
//! that it broke. So it is noted here, where it is read.

use std::{
    error::Error,
    fmt, io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::rustls::{self, AlertDescription};

/// Why a server that speaks TLS does not let this client in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejected {
    /// It wants a certificate, and none was shown.
    NoCertificate,
    /// It does not trust the authority that has signed the certificate.
    UnknownAuthority,
    /// The certificate is not valid any more, or not yet, by the server's clock.
    Expired,
    /// The certificate is of no use to it for another cause.
    Certificate,
    /// It closed the connection without a word as soon as TLS was made.
    Silently,
}

/// What is heard of a connection's server before it says anything else. Clones
/// share it.
#[derive(Clone, Debug, Default)]
pub struct Note(Arc<Mutex<Option<Rejected>>>);

/// A connection over TLS whose server's first words are noted.
#[derive(Debug)]
pub struct Noted<S> {
    stream: S,
    note: Note,
    /// The server has said something else: it has let this client in.
    is_in: bool,
}

impl Rejected {
    /// The refusal in an error of a handshake, or of what is read after it; `None`
    /// if it speaks of something else.
    fn of(error: &io::Error) -> Option<Self> {
        use AlertDescription as Alert;
        let inner = error.get_ref()?.downcast_ref::<rustls::Error>()?;
        let rustls::Error::AlertReceived(alert) = inner else { return None };
        match alert {
            Alert::CertificateRequired | Alert::NoCertificate => Some(Self::NoCertificate),
            Alert::UnknownCA => Some(Self::UnknownAuthority),
            Alert::CertificateExpired => Some(Self::Expired),
            Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateUnknown
            | Alert::AccessDenied => Some(Self::Certificate),
            _ => None,
        }
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoCertificate => "it wants a client certificate, and none was shown",
            Self::UnknownAuthority => {
                "it does not trust the authority that has signed the client certificate"
            }
            Self::Expired => "the client certificate has expired, or is not valid yet",
            Self::Certificate => "it refuses the client certificate",
            Self::Silently => {
                "it closed the connection right after TLS: it may want a client certificate"
            }
        })
    }
}

impl Error for Rejected {}

impl Note {
    /// Why the server does not let this client in, if it does not.
    #[must_use]
    pub fn rejected(&self) -> Option<Rejected> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what an error says; of a handshake, or of what is read after it.
    pub(super) fn fault(&self, error: &io::Error) {
        if let Some(rejected) = Rejected::of(error) {
            self.set(rejected);
        }
    }

    fn set(&self, rejected: Rejected) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(rejected);
    }
}

impl<S> Noted<S> {
    pub(super) fn new(stream: S, note: Note) -> Self {
        Self { stream, note, is_in: false }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Noted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        if !this.is_in
            && let Poll::Ready(read) = &read
        {
            match read {
                Ok(()) if buffer.filled().len() > before => this.is_in = true,
                Ok(()) => this.note.set(Rejected::Silently),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    this.note.set(Rejected::Silently);
                }
                Err(error) => this.note.fault(error),
            }
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Noted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
