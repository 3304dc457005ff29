//! The program.

use std::process::ExitCode;

fn main() -> ExitCode {
    quotagate::cli::main()
}
