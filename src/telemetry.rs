//! Logs: for people on a terminal, JSON elsewhere.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::{
    EnvFilter, Layer as _, filter::ParseError, layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

/// How to log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Text if standard error is a terminal, else JSON
    #[default]
    Auto,
    /// Lines for people
    Text,
    /// One JSON object a line
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not one.
    #[error(
        "the log filter {filter:?} is not a level (error, warn, info, debug, trace) or a list of target=level"
    )]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// Somebody else has set up logging in this process.
    #[error("logging is set up already")]
    Already(#[from] tracing_subscriber::util::TryInitError),
}

/// Sends the process's events to standard error. `filter` is a level or a list
/// of `target=level`.
///
/// # Errors
/// The filter is not one, or logging is set up already.
pub fn init(format: LogFormat, filter: &str) -> Result<(), TelemetryError> {
    let filter = EnvFilter::builder()
        .parse(filter)
        .map_err(|source| TelemetryError::Filter { filter: filter.into(), source })?;
    let terminal = io::stderr().is_terminal();
    let json = match format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    // Nobody is left to be told that standard error is closed, and to try would
    // end the thread in a panic.
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).log_internal_errors(false);
    let lines = if json {
        lines.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed()
    } else {
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        lines.with_ansi(colour).with_target(false).boxed()
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).try_init()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_is_none_is_refused_by_name() {
        let error = init(LogFormat::Text, "quotagate=loud").expect_err("there is no such level");
        assert!(error.to_string().contains("\"quotagate=loud\""), "{error}");
    }
}
