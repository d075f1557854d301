//! `man`: the manual pages.

use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_mangen::Man as Page;

use super::error::CliError;
use super::init::write_new;
use super::{command, print};
use crate::run::exit;

/// Print the manual page of the program, or of one of its verbs.
#[derive(Debug, Args)]
pub(super) struct Man {
    /// The verb; the program itself where it is left out.
    verb: Option<String>,
    /// Write every page into this directory, where they must not be yet.
    #[arg(long, value_name = "DIR", conflicts_with = "verb")]
    to: Option<PathBuf>,
}

impl Man {
    pub(super) fn carry_out(self) -> Result<u8, CliError> {
        let mut whole = command();
        whole.build();
        match self.to {
            Some(folder) => write_all(&whole, &folder)?,
            None => print(&text(chosen(&whole, self.verb.as_deref())?)?)?,
        }
        Ok(exit::DONE)
    }
}

fn chosen<'c>(whole: &'c Command, verb: Option<&str>) -> Result<&'c Command, CliError> {
    let Some(verb) = verb else { return Ok(whole) };
    whole.find_subcommand(verb).ok_or_else(|| CliError::Usage {
        message: format!("there is no verb `{verb}`"),
        help: "`hitkeep-plan --help` lists them".to_owned(),
    })
}

fn write_all(whole: &Command, folder: &Path) -> Result<(), CliError> {
    let verbs = whole.get_subcommands().filter(|verb| verb.get_name() != "help" && !verb.is_hide_set());
    for command in std::iter::once(whole).chain(verbs) {
        let name = command.get_display_name().unwrap_or(command.get_name());
        write_new(&folder.join(format!("{name}.1")), &text(command)?)?;
    }
    Ok(())
}

fn text(command: &Command) -> Result<String, CliError> {
    let source = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));
    let mut text = Vec::new();
    Page::new(command.clone()).source(source).render(&mut text).map_err(CliError::Output)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
