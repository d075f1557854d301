//! `run`: does the jobs of a plan.

mod after;
mod job;
mod preview;
mod records;

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use jiff::Timestamp;

use self::job::JobDesk;
use super::error::{CliError, about, tell_problems};
use super::shard::Portion;
use super::{Voice, desk};
use crate::event::{Event, Listener};
use crate::name::{Name, RunId};
use crate::plan::{Job, LATE, Plan, Timetable};
use crate::report::Tail;
use crate::report::log::Subject;
use crate::run::{Cause, exit};
use crate::secret::Hidden;
use crate::stop::Stop;

/// Do the jobs of a plan: those that back up, then those that archive.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// The plan.
    plan: PathBuf,
    /// The jobs, by name; every job where none is named.
    jobs: Vec<Name>,
    /// Only the jobs whose schedule has come since they last ran, on whatever host: for a timer that ticks more often than
    /// they run. A job that another run is at is left to it.
    #[arg(long)]
    due: bool,
    #[command(flatten)]
    portion: Portion,
    /// Print what would be done, and touch nothing.
    #[arg(long = "dry-run")]
    preview: bool,
    /// Write events as JSON lines on standard output.
    #[arg(long)]
    pub(super) json: bool,
}

impl Run {
    pub(super) async fn carry_out(self, voice: Voice) -> Result<u8, CliError> {
        let reading = desk::read_portion(&self.plan, self.portion)?;
        let plan = reading.plan;
        let mut jobs = choose_jobs(&plan, &self.jobs)?;
        if self.due {
            jobs.retain(|job| plan.timetable(*job).is_some());
            refuse_none(&jobs)?;
        }
        if self.preview || voice.verbose {
            tell_problems(&reading.warnings);
        }
        let stop = desk::stop_at_signals()?;
        let mut code = exit::DONE;
        for job in jobs {
            if let Err(stopped) = stop.check() {
                return Ok(exit::worse(code, Cause::from(stopped).exit_code()));
            }
            let waits_for = plan.timetable(job).filter(|_| self.due);
            // One job that fails must not keep the next from its backup.
            code = exit::worse(code, do_job(&plan, job, waits_for, self.preview, &stop, voice).await);
        }
        Ok(code)
    }
}

pub(super) fn choose_jobs<'p>(plan: &'p Plan, names: &[Name]) -> Result<Vec<Job<'p>>, CliError> {
    if names.is_empty() {
        return Ok(plan.jobs().collect());
    }
    let find = |name: &Name| {
        plan.jobs().find(|job| job.name() == name).ok_or_else(|| CliError::Usage {
            message: format!("the plan has no job `{name}`"),
            help: format!(
                "it has {}",
                plan.jobs().map(|job| format!("`{}`", job.name())).collect::<Vec<_>>().join(", ")
            ),
        })
    };
    names.iter().map(find).collect()
}

/// Refuses to go on where no job has a schedule.
pub(super) fn refuse_none<T>(scheduled: &[T]) -> Result<(), CliError> {
    if !scheduled.is_empty() {
        return Ok(());
    }
    let message = "no job that is meant has a schedule".to_owned();
    Err(CliError::Usage { message, help: "write `schedule = \"0 3 * * *\"` at a job".to_owned() })
}

/// Does a job, or prints what would be done, at once or if it is due; tells what failed, and returns the exit code.
pub(super) async fn do_job(
    plan: &Plan,
    job: Job<'_>,
    waits_for: Option<Timetable>,
    preview: bool,
    stop: &Stop,
    voice: Voice,
) -> u8 {
    let now = Timestamp::now();
    let subject = Subject { run: RunId::fresh(now), job: job.name().clone(), shard: plan.shard() };
    let tell = Arc::new(Tail::before(voice.listener_of(Some(subject.clone()))));
    let hidden = Hidden::of(plan);
    let stores = job.to().iter().map(|destination| desk::store(destination, job.upload(), &hidden)).collect();
    let desk = JobDesk { plan, job, stores, waits_for, run: subject.run, now, voice, tell: &tell, stop, hidden };
    let doing = async {
        let ended = if preview { desk.show_work().await } else { desk.carry_out().await };
        ended.unwrap_or_else(|error| error.tell_at(plan, job))
    };
    about(subject, Box::pin(doing)).await
}

/// Says that nothing of a job is due because its last run is still to come: this clock is wrong, or was.
pub(super) fn warn_of_the_future(tell: &dyn Listener, job: Job<'_>, last: Option<Timestamp>, now: Timestamp) {
    if let Some(last) = last.filter(|last| last.duration_since(now) > LATE) {
        let (name, yet) = (job.name(), "which is to come yet: nothing is due before");
        tell.hear(&Event::Warned { message: format!("the last run of `{name}` began at {last:.0}, {yet}") });
    }
}
