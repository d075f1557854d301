//! The program `hitkeep-plan`: see the crate's documentation for the walk of one job.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(hitkeep_plan::cli::main(std::env::args_os()))
}
