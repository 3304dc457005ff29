//! The program.

use std::process::ExitCode;

/// A request takes some fifty short-lived pieces of memory: the system's allocator needs
/// twice the instructions for them.
#[cfg(feature = "server")]
#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    quotagate::cli::main()
}
