//! What follows a backup that has succeeded: its set is proven, and what is not kept is deleted.

use std::path::Path;

use super::super::error::CliError;
use super::super::subject::{Kept, Spot};
use super::super::{drill, prune};
use super::job::JobDesk;
use super::records::worst;
use crate::event::{Event, Listener as _};
use crate::plan::{Backup, Job, Verify};
use crate::record::{RunRecord, Status};
use crate::run::{Outside, exit};
use crate::store::StoreError;
use crate::work::{At, Retention};

impl JobDesk<'_> {
    /// Does what follows a backup: proves the set, and deletes what is not kept.
    pub(super) async fn go_on(&self, records: &[RunRecord], staging: &Path, outside: &Outside) -> Result<u8, CliError> {
        let mut code = worst(records);
        let Job::Backup(job) = self.job else { return Ok(code) };
        if job.verify() == Verify::Restore {
            code = exit::worse(code, self.drill_all(job, records, staging, outside).await?);
        }
        if code != exit::DONE {
            return Ok(code);
        }
        self.prune(job, records, outside).await
    }

    /// Drills the set at each destination that has it complete.
    async fn drill_all(
        &self,
        job: &Backup,
        records: &[RunRecord],
        staging: &Path,
        outside: &Outside,
    ) -> Result<u8, CliError> {
        let mut code = exit::DONE;
        let set_at = |spot: &Spot| {
            let mut complete = records.iter().filter(|record| record.status == Status::Complete);
            complete.find(|record| record.destination == spot.destination).map(|record| record.snapshot)
        };
        for (spot, set) in self.spots().filter_map(|spot| set_at(&spot).map(|set| (spot, At::Snapshot(set)))) {
            outside.stop.check()?;
            code = exit::worse(
                code,
                match drill::drill(&spot, Some(job), set, staging, outside).await {
                    Ok(drilled) => {
                        self.voice.say(&drill::lines(&spot, &drilled))?;
                        drilled.exit_code
                    }
                    Err(error) => error.tell(),
                },
            );
        }
        Ok(code)
    }

    /// Deletes what the job's rules do not keep: last of all, and only after everything has succeeded everywhere.
    async fn prune(&self, job: &Backup, records: &[RunRecord], outside: &Outside) -> Result<u8, CliError> {
        let mut code = exit::DONE;
        if job.keep().is_some() {
            self.voice.say(&self.deleted_by_buckets())?;
        }
        for (spot, wanted) in self.spots().filter_map(|spot| self.with_retention(spot)) {
            let holder = self.holder(outside);
            // What this run has just added is no memory of whose the place was before.
            let own = Kept::of(self.plan).own_before(self.job.name(), &spot.destination, self.run).await;
            let known = (&own, records.to_vec());
            let deleted = prune::delete(self.plan, &spot, &wanted, known, false, &holder, outside).await;
            match deleted {
                Ok(deleted) => {
                    code = exit::worse(code, deleted.code);
                    let account = prune::account(&deleted.work, deleted.record.as_ref());
                    match &deleted.work.brake {
                        Some(brake) => self.tell.hear(&Event::Warned { message: brake.to_string() }),
                        None => self.voice.say(&account)?,
                    }
                }
                // They are deleted after the next run.
                Err(CliError::Store(in_use @ StoreError::InUse { .. })) => {
                    self.tell.hear(&Event::Warned { message: format!("nothing is deleted: {in_use}") });
                }
                Err(error) => code = exit::worse(code, error.tell()),
            }
        }
        Ok(code)
    }

    /// Returns a place of the job with what is to be kept there; nothing where that is everything, or not asked.
    pub(super) fn with_retention(&self, spot: Spot) -> Option<(Spot, Retention)> {
        prune::retention_at(Some(self.plan), &spot).map(|wanted| (spot, wanted))
    }

    /// Says at which of the job's places the buckets delete by themselves.
    pub(super) fn deleted_by_buckets(&self) -> String {
        self.spots().filter_map(|spot| prune::deleted_by_bucket(&spot)).collect()
    }
}
