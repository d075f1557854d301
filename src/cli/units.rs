//! `units`: the files by which a host's scheduler asks a plan what is due.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::error::CliError;
use super::init::write_new;
use super::run::refuse_none;
use super::{Voice, desk, print};
use crate::report::units;
use crate::run::exit;

/// Print what makes cron or systemd run a plan's schedules: `run --due`, every few minutes.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("scheduler").required(true))]
pub(super) struct Units {
    /// The plan.
    plan: PathBuf,
    /// A service and its timer, for systemd.
    #[arg(long, group = "scheduler")]
    systemd: bool,
    /// A line for a crontab.
    #[arg(long, group = "scheduler")]
    cron: bool,
    /// Write the files into this directory, where they must not be yet.
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

impl Units {
    pub(super) fn carry_out(self, voice: Voice) -> Result<u8, CliError> {
        let plan = desk::read_plan(&self.plan)?.plan;
        let scheduled: Vec<_> = plan.jobs().filter_map(|job| plan.timetable(job)).collect();
        refuse_none(&scheduled)?;
        let failed = |cause| CliError::File { doing: "find", path: self.plan.clone(), cause };
        let file = std::path::absolute(&self.plan).map_err(failed)?;
        let program = std::env::current_exe().map_err(failed)?;
        let units = if self.systemd {
            units::systemd(&plan, &file, &program)
        } else {
            vec![units::crontab(&plan, &file, &program)]
        };
        let Some(folder) = &self.to else {
            let texts: Vec<String> = units.into_iter().map(|unit| unit.text).collect();
            print(&texts.join("\n"))?;
            return Ok(exit::DONE);
        };
        for unit in units {
            let path = folder.join(&unit.name);
            write_new(&path, &unit.text)?;
            voice.say(&format!("{} is written\n", path.display()))?;
        }
        Ok(exit::DONE)
    }
}
