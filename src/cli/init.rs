//! `init`: a plan to start from, or an installation to try one on.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;

use super::Voice;
use super::error::CliError;
use crate::demo::{Demo, Installation};
use crate::run::exit;

/// The plan that `init` writes.
const STARTING_PLAN: &str = include_str!("../../plans/minimal.toml");

/// The plan of a demo, beside the installation that it is about.
const DEMO_PLAN: &str = include_str!("demo.toml");

/// The plan that archives what a demo has restored.
const DEMO_ARCHIVE_PLAN: &str = include_str!("demo-archive.toml");

/// Write a commented plan to start from; or, with --demo, a made-up installation with a plan that runs.
#[derive(Debug, Args)]
pub(super) struct Init {
    /// The plan to be written.
    #[arg(default_value = "plan.toml")]
    plan: PathBuf,
    /// Make a demo installation in this directory instead, with a plan beside it.
    #[arg(long, value_name = "DIR", conflicts_with = "plan")]
    demo: Option<PathBuf>,
    /// How many page views the demo has.
    #[arg(long, default_value_t = 50_000, requires = "demo")]
    hits: u64,
}

impl Init {
    /// Tells whether a plan is all that is written.
    pub(super) fn writes_a_plan_alone(&self) -> bool {
        self.demo.is_none()
    }

    pub(super) fn carry_out(self, voice: Voice) -> Result<u8, CliError> {
        if let Some(directory) = &self.demo {
            let plan = make_demo(directory, self.hits)?.0;
            voice.say(&format!(
                "a demo installation is in {}; try:\n  hitkeep-plan run {}\n",
                directory.display(),
                plan.display()
            ))?;
            return Ok(exit::DONE);
        }
        write_new(&self.plan, STARTING_PLAN)?;
        let plan = self.plan.display();
        voice.say(&format!("{plan} is written; make it yours, then:\n  hitkeep-plan check {plan}\n  hitkeep-plan run {plan} --dry-run\n"))?;
        Ok(exit::DONE)
    }
}

/// Makes a demo installation and its plan in `directory`.
pub(super) fn make_demo(directory: &Path, hits: u64) -> Result<(PathBuf, Installation), CliError> {
    let demo = Demo { hits, ..Demo::new(Timestamp::now()) };
    let installation = demo.build(&directory.join("data"))?;
    let plan = directory.join("plan.toml");
    write_new(&plan, DEMO_PLAN)?;
    Ok((plan, installation))
}

/// Writes the plan that archives what a demo has restored beside the demo's own.
pub(super) fn write_demo_archive_plan(directory: &Path) -> Result<PathBuf, CliError> {
    let plan = directory.join("archive.toml");
    write_new(&plan, DEMO_ARCHIVE_PLAN)?;
    Ok(plan)
}

/// Writes a file that must not be there yet.
pub(super) fn write_new(path: &Path, text: &str) -> Result<(), CliError> {
    let written =
        OpenOptions::new().write(true).create_new(true).open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|cause| match cause.kind() {
        ErrorKind::AlreadyExists => CliError::Usage {
            message: format!("`{}` is there already and is not overwritten", path.display()),
            help: "choose another name".to_owned(),
        },
        _ => CliError::File { doing: "write", path: path.to_owned(), cause },
    })
}
