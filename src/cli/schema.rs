//! `schema`: the JSON Schemas of what people write and of what is written for them.

use clap::{Args, ValueEnum};

use super::error::CliError;
use super::print;
use crate::run::exit;
use crate::{plan, record};

/// Print a JSON Schema, for editors and other programs.
#[derive(Debug, Args)]
pub(super) struct Schema {
    /// Of what.
    #[arg(value_enum)]
    of: Of,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Of {
    /// The plan.
    Plan,
    /// The manifest of a snapshot.
    Manifest,
    /// The record of a run.
    Run,
    /// The record of a restore drill.
    Drill,
    /// The record of a reading of a part of everything.
    Sample,
    /// The pin of a set.
    Pin,
    /// The record of what was deleted.
    Prune,
}

impl Schema {
    pub(super) fn carry_out(self) -> Result<u8, CliError> {
        print(&match self.of {
            Of::Plan => plan::schema(),
            Of::Manifest => record::manifest_schema(),
            Of::Run => record::run_schema(),
            Of::Drill => record::drill_schema(),
            Of::Sample => record::sample_schema(),
            Of::Pin => record::pin_schema(),
            Of::Prune => record::prune_schema(),
        })?;
        Ok(exit::DONE)
    }
}
