//! How a command ends: its exit code, and what is wrong in readable lines.

use std::{error::Error, io, process::ExitCode};

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{output::clean, table::human};
use crate::{client::ConnectError, tls::Rejected};

/// What the exit code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It is done.
    Done,
    /// It failed.
    Failure,
    /// It was asked for wrongly.
    Usage,
    /// The service answered no.
    Denied,
    /// The service cannot be reached, or cannot decide now.
    Unavailable,
    /// A command that was run ended with this.
    Of(u8),
}

impl Exit {
    /// The number that the shell sees.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Denied => 3,
            Self::Unavailable => 4,
            Self::Of(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command was not carried out, in lines for people.
#[derive(Debug)]
pub struct Fault {
    exit: Exit,
    lines: Vec<String>,
}

impl Fault {
    /// The command line asks for something that cannot be.
    pub fn usage(line: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, lines: vec![line.into()] }
    }

    /// What is needed cannot be reached, or came too late.
    pub fn unavailable(line: impl Into<String>) -> Self {
        Self { exit: Exit::Unavailable, lines: vec![line.into()] }
    }

    /// All of it in one line.
    #[cfg(feature = "server")]
    pub fn into_text(self) -> String {
        self.lines.join("; ")
    }

    /// It failed.
    pub fn failure(line: impl Into<String>) -> Self {
        Self { exit: Exit::Failure, lines: vec![line.into()] }
    }
}

/// Prints a fault on standard error and gives its exit code.
pub fn tell(fault: &Fault) -> ExitCode {
    let mut lines = fault.lines.iter();
    if let Some(first) = lines.next() {
        eprintln!("error: {first}");
    }
    for line in lines {
        eprintln!("  {line}");
    }
    fault.exit.into()
}

impl From<Status> for Fault {
    fn from(status: Status) -> Self {
        Self { exit: exit_of(status.code()), lines: lines_of(&status) }
    }
}

impl From<ConnectError> for Fault {
    fn from(error: ConnectError) -> Self {
        let exit = match error {
            ConnectError::Address { .. }
            | ConnectError::Caller(_)
            | ConnectError::Credentials(_)
            | ConnectError::TokenInTheClear { .. } => Exit::Usage,
            ConnectError::Rejected { .. } | ConnectError::Unreachable { .. } => Exit::Unavailable,
        };
        let mut lines = vec![error.to_string()];
        if let Some(cause) = root_cause(&error) {
            lines.push(format!("cause: {cause}"));
        }
        match &error {
            ConnectError::Rejected { source, .. } => lines.push(remedy(*source).into()),
            ConnectError::Unreachable { server, .. } => {
                lines.push("is it running? start it with: quotagate serve".into());
                if !server.starts_with("https://") {
                    lines.push("does it speak TLS? name it as https://HOST:PORT".into());
                }
            }
            _ => {}
        }
        Self { exit, lines }
    }
}

/// What to do about a server's refusal.
fn remedy(rejected: Rejected) -> &'static str {
    match rejected {
        Rejected::NoCertificate | Rejected::Silently => {
            "show one with: --tls-cert FILE --tls-key FILE"
        }
        Rejected::UnknownAuthority => {
            "show one that an authority of the server's --tls-client-ca has signed, and in the \
             same file those between it and the authority: --tls-cert FILE --tls-key FILE"
        }
        Rejected::Expired => {
            "renew it (--tls-cert FILE --tls-key FILE), and compare the clocks of both machines"
        }
        _ => "it must be for clients (extendedKeyUsage clientAuth): --tls-cert FILE --tls-key FILE",
    }
}

impl From<anyhow::Error> for Fault {
    fn from(error: anyhow::Error) -> Self {
        let mut lines = error.chain().map(ToString::to_string);
        let first = lines.next().unwrap_or_default();
        let causes = lines.map(|line| format!("cause: {line}"));
        Self { exit: Exit::Failure, lines: std::iter::once(first).chain(causes).collect() }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        // Who reads our output has seen enough (`quotagate usage | head`).
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self { exit: Exit::Done, lines: Vec::new() };
        }
        Self::failure(error.to_string())
    }
}

/// The exit code of an error of the service.
pub fn exit_of(code: Code) -> Exit {
    match code {
        Code::Ok => Exit::Done,
        Code::InvalidArgument => Exit::Usage,
        Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded | Code::Cancelled => {
            Exit::Unavailable
        }
        _ => Exit::Failure,
    }
}

/// An error of the service: its sentence, then each detail on a line.
pub fn lines_of(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    let message = if status.message().is_empty() {
        status.code().description().to_owned()
    } else {
        clean(status.message())
    };
    let mut lines = vec![message];
    for fault in details.bad_request().map_or(&[][..], |request| &request.field_violations) {
        lines.push(format!("{}: {}", option_of(&fault.field), clean(&fault.description)));
    }
    if let Some(info) = details.error_info() {
        let mut extra: Vec<_> = info.metadata.iter().collect();
        extra.sort_unstable();
        let extra: String =
            extra.iter().map(|(key, value)| format!(", {}={}", clean(key), clean(value))).collect();
        lines.push(format!("reason: {}{extra}", clean(&info.reason)));
    }
    if let Some(delay) = details.retry_info().and_then(|info| info.retry_delay) {
        lines.push(format!("try again in {}", human(delay)));
    }
    if let (0, Some(cause)) = (status.details().len(), root_cause(status)) {
        lines.push(format!("cause: {cause}"));
    }
    lines
}

/// A field of a request as its option; a path into a message stays one.
fn option_of(field: &str) -> String {
    let simple = field.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if simple && !field.is_empty() {
        format!("--{}", field.replace('_', "-"))
    } else {
        clean(field)
    }
}

fn root_cause(error: &dyn Error) -> Option<String> {
    let mut cause = error.source()?;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    Some(cause.to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn each_status_has_its_exit_code() {
        for (code, exit) in [
            (Code::Ok, 0),
            (Code::InvalidArgument, 2),
            (Code::Unavailable, 4),
            (Code::ResourceExhausted, 4),
            (Code::DeadlineExceeded, 4),
            (Code::NotFound, 1),
            (Code::PermissionDenied, 1),
            (Code::Unauthenticated, 1),
            (Code::Aborted, 1),
            (Code::FailedPrecondition, 1),
            (Code::Internal, 1),
            (Code::Unknown, 1),
        ] {
            assert_eq!(exit_of(code).code(), exit, "{code:?}");
        }
        assert_eq!(Exit::Denied.code(), 3);
    }

    #[test]
    fn details_become_lines() {
        let mut details = ErrorDetails::with_error_info(
            "BAD_FIELD",
            "quotagate",
            [("org".to_owned(), "acme".to_owned())],
        );
        details.add_bad_request_violation("max_wait", "must be at most 10m");
        details.add_bad_request_violation("org.workspaces[0].id", "must not be empty");
        details.set_retry_info(Some(Duration::from_secs(90)));
        let status =
            Status::with_error_details(Code::InvalidArgument, "two faults\u{1b}[2J", details);
        assert_eq!(
            lines_of(&status),
            [
                "two faults\u{fffd}[2J",
                "--max-wait: must be at most 10m",
                "org.workspaces[0].id: must not be empty",
                "reason: BAD_FIELD, org=acme",
                "try again in 1 min 30 s",
            ]
        );
        assert_eq!(
            lines_of(&Status::new(Code::Unavailable, "")),
            ["The service is currently unavailable"]
        );
    }

    #[test]
    fn a_reader_that_left_is_no_failure() {
        let fault = Fault::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((fault.exit, fault.lines.len()), (Exit::Done, 0));
    }
}
