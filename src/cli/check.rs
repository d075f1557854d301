//! `check`: every problem of a plan, before anything is touched.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::error::{CliError, tell_problems};
use super::{Voice, desk, print};
use crate::measure::counted;
use crate::run::exit;

/// Check a plan without touching anything: every problem at once, each at its place.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// The plan.
    plan: PathBuf,
    /// How problems are written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(super) format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people, on standard error.
    Text,
    /// One JSON object, on standard error when the plan is rejected and on standard output when it is not.
    Json,
}

impl Check {
    pub(super) fn carry_out(self, voice: Voice) -> Result<u8, CliError> {
        match (desk::read_plan(&self.plan), self.format) {
            (Ok(reading), Format::Json) => {
                print(&(reading.warnings.json() + "\n"))?;
                Ok(exit::DONE)
            }
            (Ok(reading), Format::Text) => {
                tell_problems(&reading.warnings);
                let backups = counted(reading.plan.backups().len(), "backup job");
                let archives = reading.plan.archives().len();
                let archives =
                    if archives > 0 { format!(", {}", counted(archives, "archive job")) } else { String::new() };
                voice.say(&format!("{}: {backups}{archives}, no errors\n", self.plan.display()))?;
                Ok(exit::DONE)
            }
            (Err(error), _) => Err(error),
        }
    }
}
