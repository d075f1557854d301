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
        let script = String::from_utf8_lossy(&script);
        // clap_complete 4.6 calls the program by one name where bash notes a verb, and by this other one where it looks that up.
        print(&script.replace("hitkeep__subcmd__plan", "hitkeep__plan"))?;
        Ok(exit::DONE)
    }
}
