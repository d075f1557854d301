//! `status`: how the jobs of a plan stand, judged by what lies at their destinations.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::error::CliError;
use super::shard::Portion;
use super::subject::{Spot, plan_spots};
use super::{Voice, desk, page, print};
use crate::name::Name;
use crate::plan::{Backup, Job, Objective, Plan};
use crate::record::RunRecord;
use crate::report;
use crate::run::exit;
use crate::store::StoreError;
use crate::survey::{self, Asked};
use crate::work::{self, Looked, SeriesFacts, SeriesStatus};

/// The number of the JSON document's format.
const FORMAT: u32 = 1;

/// How many sets of a series are looked at.
const NEWEST: usize = 20;

/// How wide lines are where nobody says how much room there is.
const WIDTH: usize = 100;

/// Say how the jobs stand: their newest sets, what was proven of them, and whether their objectives are met.
///
/// Exit code 8 says that an objective is broken. Nothing is read but listings and records.
#[derive(Debug, Args)]
pub(super) struct Status {
    /// The plan.
    plan: PathBuf,
    /// The jobs, by name; every job where none is named.
    jobs: Vec<Name>,
    #[command(flatten)]
    portion: Portion,
    /// Write one JSON document.
    #[arg(long, conflicts_with = "html")]
    pub(super) json: bool,
    /// Write a page for a browser into this file, in the place of what is there, and print nothing: a calendar of sets, how
    /// tables grow, what is kept and why.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

#[derive(Serialize)]
struct Document<'d> {
    format: u32,
    now: Timestamp,
    series: Vec<&'d SeriesStatus>,
}

impl Status {
    pub(super) async fn carry_out(self, voice: Voice) -> Result<u8, CliError> {
        let plan = desk::read_portion(&self.plan, self.portion)?.plan;
        let chosen = super::run::choose_jobs(&plan, &self.jobs)?;
        let jobs: Vec<&Backup> = chosen.into_iter().filter_map(Job::backup).collect();
        let now = Timestamp::now();
        if let Some(file) = &self.html {
            return page::write(file, &plan, &jobs, now).await;
        }
        let all = look(&plan, &jobs, now).await;
        if self.json {
            let document = Document { format: FORMAT, now, series: all.iter().map(|(series, _)| series).collect() };
            print(&(serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"))?;
        } else {
            voice.say(&report::status::status(&all, now, width()))?;
        }
        Ok(all.iter().map(|(series, _)| exit_code(series)).fold(exit::DONE, exit::worse))
    }
}

/// Looks at every series of the jobs and judges it.
async fn look(plan: &Plan, jobs: &[&Backup], now: Timestamp) -> Vec<(SeriesStatus, Objective)> {
    let kept = survey::kept_records(plan.local().state(), plan.name()).await;
    let mut all = Vec::new();
    for job in jobs {
        for spot in plan_spots(plan, Job::Backup(job)) {
            let (asked, own) = (Asked::Newest(NEWEST), spot.own().await);
            let facts = survey::series(spot.store.as_ref(), &spot.place.prefix, asked, &own).await;
            all.push((judge(plan, job, &spot, facts.as_ref(), &kept, now), job.objective()));
        }
    }
    all
}

/// Judges what was seen of a series, or says why nothing was.
pub(super) fn judge(
    plan: &Plan,
    job: &Backup,
    spot: &Spot,
    facts: Result<&SeriesFacts, &StoreError>,
    kept: &[RunRecord],
    now: Timestamp,
) -> SeriesStatus {
    let is_of_it = |record: &&RunRecord| record.job == *job.name() && record.destination == spot.destination;
    let runs: Vec<RunRecord> = kept.iter().filter(is_of_it).cloned().collect();
    let standing = match facts {
        Ok(facts) => Looked::Standing(Box::new(work::status(job.objective(), facts, &runs, now))),
        Err(error) => Looked::Unreachable(error.to_string()),
    };
    let next = plan.timetable(Job::Backup(job)).and_then(|timetable| timetable.next(now));
    let (destination, at, next_run) = (spot.destination.clone(), spot.place.at.clone(), next.map(|start| start.at));
    SeriesStatus { job: job.name().clone(), destination, at, next_run, standing }
}

/// Returns the exit code that a series asks for.
pub(super) fn exit_code(series: &SeriesStatus) -> u8 {
    match &series.standing {
        Looked::Unreachable(_) => exit::DESTINATION,
        Looked::Standing(standing) if standing.is_broken() => exit::OBJECTIVE,
        Looked::Standing(_) => exit::DONE,
    }
}

/// Returns how wide the terminal is.
fn width() -> usize {
    rustix::termios::tcgetwinsize(std::io::stdout()).map_or(WIDTH, |size| usize::from(size.ws_col))
}
