//! `completions`: scripts that let shells complete this program's words.

use clap::Args;
use clap_complete::Shell;

use super::error::CliError;
use super::{command, print};
use crate::run::exit;

/// Print the completion script of a shell.
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(super) fn carry_out(self) -> Result<u8, CliError> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command(), "hitkeep-plan", &mut script);
        print(&String::from_utf8_lossy(&script))?;
        Ok(exit::DONE)
    }
}
