//! What is written down of a run, and how it is read again: records, metrics, and failures at their lines of the plan.

use std::collections::BTreeSet;

use super::super::error::{remedy, tell_problems};
use super::super::subject::Kept;
use super::job::JobDesk;
use crate::diagnose::Diagnostic;
use crate::event::{Event, Listener as _, Meter};
use crate::name::Key;
use crate::record::{Failed, HookRecord, PlaceRecord, RunRecord, Status};
use crate::report::metrics;
use crate::run::{self, Outcome, Outside, exit};
use crate::store::{Body, Mode, Store as _};
use crate::survey::{self, Asked};
use crate::work;

/// How many sets are looked at for metrics, where nothing is deleted.
const NEWEST: usize = 20;

impl JobDesk<'_> {
    /// Adds to the records that this host keeps what came after they were first written.
    pub(super) async fn complete(&self, records: &mut [RunRecord], ran: &[HookRecord], untold: &[String], code: u8) {
        let is_more = code != worst(records);
        if !is_more && ran.is_empty() && untold.is_empty() && self.plan.metrics().is_none() {
            return;
        }
        for record in records.iter_mut() {
            record.place = self.held(record).await;
            record.hooks = ran.to_vec();
            // Of a command before the job, which may have said a secret that was fetched later.
            record.failures.iter_mut().for_each(|failed| failed.cause = self.hidden.hide(&failed.cause));
            record.ended_with = is_more.then_some(code);
            record.warnings.extend_from_slice(untold);
        }
        self.keep_records(records, Mode::Replace).await;
    }

    /// Looks at what the destination of a record holds, where that is wanted for metrics and the run may have changed it; one
    /// that does not answer says nothing.
    async fn held(&self, record: &RunRecord) -> Option<PlaceRecord> {
        if self.plan.metrics().is_none() || record.status == Status::Failed || self.stop.reason().is_some() {
            return None;
        }
        let (_, store) = self.job.to().iter().zip(&self.stores).find(|(to, _)| *to.name() == record.destination)?;
        // Who deletes has looked at every set anyway; nobody else needs to.
        let is_kept = self.job.backup().is_some_and(|job| job.keep().is_some());
        let asked = if is_kept { Asked::All } else { Asked::Newest(NEWEST) };
        let own = Kept::of(self.plan).own(self.job.name(), &record.destination).await;
        let facts = survey::series(store.as_ref(), self.job.prefix(), asked, &own).await.ok()?;
        Some(work::held(&facts))
    }

    /// Writes the metrics of all jobs, where the plan wants them.
    pub(super) async fn measure(&self) {
        let Some(metrics) = self.plan.metrics() else { return };
        let records = survey::kept_records(self.plan.local().state(), self.plan.name()).await;
        if let Err(cause) = metrics::write(metrics.textfile(), &metrics::text(self.plan, &records)) {
            let message = format!("the metrics could not be written to `{}`: {cause}", metrics.textfile().display());
            self.tell.hear(&Event::Warned { message });
        }
    }

    /// Tells whether the last run of the job that was not skipped did not end well, as far as this host knows.
    pub(super) async fn was_bad(&self) -> bool {
        let is_attempt = |records: &[RunRecord]| Outcome::of(ended_with(records)) != Outcome::Skipped;
        let last = survey::last_records_of(&self.state(), self.plan.name(), self.job.name(), is_attempt)
            .await
            .unwrap_or_default();
        Outcome::of(ended_with(&last)).is_bad()
    }

    /// Writes down that a run ended before it began, while `task` was done.
    pub(super) async fn note_unbegun(&self, outside: &Outside, task: &str, cause: (&str, u8)) -> Vec<RunRecord> {
        let records = run::unbegun(self.job, self.run, self.now, outside, task, cause);
        self.keep_records(&records, Mode::Create).await;
        records
    }

    /// Keeps each record in the state directory too: also those of runs that sealed nothing.
    pub(super) async fn keep_records(&self, records: &[RunRecord], mode: Mode) {
        let state = self.state();
        for record in records {
            // Of two runs in one second, one may have failed before there was a set of that name.
            let RunRecord { snapshot, job, destination, run, .. } = record;
            let key = Key::of(format!("runs/{snapshot}.{job}.{destination}.{run}.json"));
            let kept = state.put(&key, Body::Bytes(record.write()), mode, &Meter::default()).await;
            if let Err(cause) = kept {
                let message = format!("the run's record could not be kept: {cause}");
                self.tell.hear(&Event::Warned { message });
            }
        }
    }

    /// Shows what failed at the line of the plan that asked for it.
    pub(super) fn tell_failures(&self, records: &[RunRecord]) {
        let problem = |record: &RunRecord, failed: &Failed| {
            let task = failed.task.split_whitespace().collect::<Vec<_>>().join(" ");
            let mut to = self.job.to().iter();
            let unseen = to.find(|to| *to.name() == record.destination && task == run::looking_at(to.name()));
            let (place, asked) = match unseen {
                Some(destination) => (destination.place(), format!("where job `{}` writes to", self.job.name())),
                None => (self.job.place(), format!("this job, at destination `{}`", record.destination)),
            };
            let problem = Diagnostic::error("run::failed", format!("{task}: {}", failed.cause)).at(place, asked);
            remedy(&failed.cause).into_iter().fold(problem, Diagnostic::help)
        };
        let problems =
            records.iter().flat_map(|record| record.failures.iter().map(move |failed| problem(record, failed)));
        tell_problems(&self.plan.problems(problems.collect()));
    }
}

/// Returns the exit code that the worst of a run's destinations asks for.
pub(super) fn worst(records: &[RunRecord]) -> u8 {
    records.iter().map(|record| record.exit_code).fold(exit::DONE, exit::worse)
}

/// Returns the exit code that the run of these records ended with.
fn ended_with(records: &[RunRecord]) -> u8 {
    records.iter().filter_map(|record| record.ended_with).fold(worst(records), exit::worse)
}

/// Returns what failed in a run, in a sentence each; where no record tells of it, the error that ended it.
pub(super) fn failures(records: &[RunRecord], error: Option<String>) -> Vec<String> {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let failed = records.iter().flat_map(|record| &record.failures);
    let failed: BTreeSet<String> = failed.map(|failed| format!("{}: {}", words(&failed.task), failed.cause)).collect();
    if failed.is_empty() { error.into_iter().collect() } else { failed.into_iter().collect() }
}
