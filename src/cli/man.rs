//! `man`: the manual pages.

use clap::Args;

use super::error::CliError;
use super::{command, print};
use crate::run::exit;

/// Print the manual page of the program, or of one of its verbs.
#[derive(Debug, Args)]
pub(super) struct Man {
    /// The verb; the program itself where it is left out.
    verb: Option<String>,
}

impl Man {
    pub(super) fn carry_out(self) -> Result<u8, CliError> {
        let mut whole = command();
        whole.build();
        let page = match &self.verb {
            None => whole,
            Some(verb) => {
                let unknown = || CliError::Usage {
                    message: format!("there is no verb `{verb}`"),
                    help: "`hitkeep-plan --help` lists them".to_owned(),
                };
                whole.find_subcommand(verb).ok_or_else(unknown)?.clone()
            }
        };
        let mut text = Vec::new();
        clap_mangen::Man::new(page).render(&mut text).map_err(CliError::Output)?;
        print(&String::from_utf8_lossy(&text))?;
        Ok(exit::DONE)
    }
}
