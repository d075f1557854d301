//! `show`: the effective plan, with the origin of each value.

use std::path::PathBuf;

use clap::Args;

use super::error::CliError;
use super::shard::Portion;
use super::{desk, print};
use crate::run::exit;

/// Show the plan as it is understood: every value, and where it comes from.
#[derive(Debug, Args)]
pub(super) struct Show {
    /// The plan.
    plan: PathBuf,
    #[command(flatten)]
    portion: Portion,
}

impl Show {
    pub(super) fn carry_out(self) -> Result<u8, CliError> {
        let reading = desk::read_portion(&self.plan, self.portion)?;
        print(&reading.plan.show())?;
        Ok(exit::DONE)
    }
}
