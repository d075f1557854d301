//! `units`: the files by which a scheduler asks a plan what is due.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, value_parser};

use super::error::CliError;
use super::init::write_new;
use super::run::refuse_none;
use super::{Voice, desk, print};
use crate::plan::Plan;
use crate::report::units::{self, Unfit, Unit};
use crate::run::exit;

/// The image of this version.
const IMAGE: &str = concat!("hitkeep-plan:", env!("CARGO_PKG_VERSION"));

/// Print what makes cron, systemd or Kubernetes run a plan's schedules, or GitHub check the plan.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[command(group = ArgGroup::new("scheduler").required(true))]
pub(super) struct Units {
    /// The plan, by the path that it has where it is used.
    plan: PathBuf,
    /// A service and the timer that has it ask what is due, for systemd.
    #[arg(long, group = "scheduler")]
    systemd: bool,
    /// With `--systemd`: one service that keeps the schedules itself, with no timer.
    #[arg(long, conflicts_with_all = ["cron", "kubernetes", "github"])]
    daemon: bool,
    /// A line for a crontab that asks what is due.
    #[arg(long, group = "scheduler")]
    cron: bool,
    /// A `CronJob` that asks what is due, with the plan and a place for its run records.
    #[arg(long, group = "scheduler")]
    kubernetes: bool,
    /// With `--kubernetes`: have this many pods do each run together, each for its part of the tenants.
    #[arg(long, value_name = "N", conflicts_with_all = ["systemd", "cron", "github"], value_parser = value_parser!(u16).range(2..))]
    shards: Option<u16>,
    /// A workflow that checks the plan before a change of it is merged.
    #[arg(long, group = "scheduler")]
    github: bool,
    /// The image of this program, for `--kubernetes` and `--github`.
    #[arg(long, default_value = IMAGE, conflicts_with_all = ["systemd", "cron"])]
    image: String,
    /// Write the files into this directory, where they must not be yet; it is made where it is missing.
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

impl Units {
    pub(super) fn carry_out(self, voice: Voice) -> Result<u8, CliError> {
        let plan = desk::read_plan(&self.plan)?.plan;
        let units = self.units(&plan)?;
        let Some(folder) = &self.to else {
            let texts: Vec<String> = units.into_iter().map(|unit| unit.text).collect();
            print(&texts.join("\n"))?;
            return Ok(exit::DONE);
        };
        std::fs::create_dir_all(folder).map_err(|cause| CliError::File {
            doing: "make",
            path: folder.clone(),
            cause,
        })?;
        for unit in units {
            let path = folder.join(&unit.name);
            write_new(&path, &unit.text)?;
            voice.say(&format!("{} is written\n", path.display()))?;
        }
        Ok(exit::DONE)
    }

    fn units(&self, plan: &Plan) -> Result<Vec<Unit>, CliError> {
        if self.github {
            return Ok(vec![units::workflow(plan, self.in_a_repository(), &self.image)]);
        }
        let scheduled: Vec<_> = plan.jobs().filter_map(|job| plan.timetable(job)).collect();
        refuse_none(&scheduled)?;
        let failed = |cause| CliError::File { doing: "find", path: self.plan.clone(), cause };
        let file = std::path::absolute(&self.plan).map_err(failed)?;
        if self.kubernetes {
            return Ok(vec![
                units::kubernetes(plan, &file, &self.image, self.shards).map_err(|reason| unfit(&reason))?,
            ]);
        }
        let program = std::env::current_exe().map_err(failed)?;
        Ok(match (self.cron, self.daemon) {
            (true, _) => vec![units::crontab(plan, &file, &program)],
            (false, true) => vec![units::daemon(plan, &file, &program)],
            (false, false) => units::systemd(plan, &file, &program),
        })
    }

    /// Returns where the plan lies in its repository: there a path that is not absolute starts.
    fn in_a_repository(&self) -> &Path {
        let path = self.plan.strip_prefix(".").unwrap_or(&self.plan);
        if path.is_absolute() { path.file_name().map_or(path, Path::new) } else { path }
    }
}

/// Says what of a plan a pod cannot do, and what to do instead.
fn unfit(unfit: &Unfit) -> CliError {
    let help = match unfit {
        Unfit::Secret(_) => "say where it is found with `env` or `file`",
        Unfit::Deletes(_) => {
            "leave out its `delete`, or its `schedule` and run its shards one after the other while HitKeep is stopped"
        }
        Unfit::Host(_) => "write another word in its `prefix`, the same for every run",
    };
    CliError::Usage { message: unfit.to_string(), help: help.to_owned() }
}
