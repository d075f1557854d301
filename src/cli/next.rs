//! `next`: the coming runs of a plan.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;

use super::error::CliError;
use super::run::{choose_jobs, refuse_none};
use super::shard::Portion;
use super::{desk, print};
use crate::name::Name;
use crate::plan::Start;
use crate::report::table;
use crate::run::exit;

/// Show the coming runs of a plan's schedules, and what a change of the clock does to them.
#[derive(Debug, Args)]
pub(super) struct Next {
    /// The plan.
    plan: PathBuf,
    /// The jobs, by name; every job with a schedule where none is named.
    jobs: Vec<Name>,
    #[command(flatten)]
    portion: Portion,
    /// How many runs to show.
    #[arg(short = 'n', long, default_value_t = 10)]
    count: usize,
    /// The time after which they come, such as `2026-03-28T00:00:00Z`; now unless given.
    #[arg(long, value_name = "TIME")]
    after: Option<Timestamp>,
}

impl Next {
    pub(super) fn carry_out(self) -> Result<u8, CliError> {
        let plan = desk::read_portion(&self.plan, self.portion)?.plan;
        let jobs = choose_jobs(&plan, &self.jobs)?;
        let scheduled: Vec<_> = jobs.into_iter().filter_map(|job| Some((job.name(), plan.timetable(job)?))).collect();
        refuse_none(&scheduled)?;
        let after = self.after.unwrap_or_else(Timestamp::now);
        let mut runs: Vec<(Start, &Name)> = Vec::new();
        for (name, timetable) in scheduled {
            let starts = std::iter::successors(timetable.next(after), |start| timetable.next(start.at));
            runs.extend(starts.take(self.count).map(|start| (start, name)));
        }
        runs.sort_by_key(|(start, _)| start.at);
        runs.truncate(self.count);
        print(&table::runs(&runs, plan.timezone()))?;
        Ok(exit::DONE)
    }
}
