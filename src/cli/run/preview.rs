//! The dry run: what would be done, shown before anything is touched.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::super::error::CliError;
use super::job::JobDesk;
use crate::plan::{Backup, Job};
use crate::run::exit;
use crate::run::staging::Staging;
use crate::survey;
use crate::work::{self, BackupWork, PruneFacts};

impl JobDesk<'_> {
    /// The dry run: looks, plans, prints.
    pub(super) async fn show_work(&self) -> Result<u8, CliError> {
        let root = self.plan.local().staging();
        let staging = Staging::for_a_look(root, self.run)?;
        if !self.is_due(&self.stores).await? {
            return Ok(exit::DONE);
        }
        let outside = self.outside(staging.path());
        let known = self.known(BTreeMap::new()).await;
        let means = outside.means(staging.path());
        let shown = root.join("hitkeep-plan-…");
        let (is_partial, is_unreachable) = match self.job {
            Job::Backup(job) => {
                let work = self.plan_backup(job, &known, &means, &shown).await?;
                self.voice.show(&work)?;
                self.show_prune(job, &work).await?;
                let is_partial = !work.missing.is_empty() || work.there.iter().any(|there| there.is_partial);
                (is_partial, work.series.iter().any(|series| series.unreachable.is_some()))
            }
            Job::Archive(job) => {
                let (work, _) = self.plan_archive(job, &known, &means, &shown).await?;
                self.voice.show(&work)?;
                (!work.missing.is_empty(), work.series.iter().any(|series| series.unreachable.is_some()))
            }
        };
        self.voice.show(&work::Around(self.plan))?;
        let missing = if is_partial { exit::PARTIAL } else { exit::DONE };
        Ok(if is_unreachable { exit::DESTINATION } else { missing })
    }

    /// Says what the job's rules would not keep once the planned set is there.
    async fn show_prune(&self, job: &Backup, work: &BackupWork) -> Result<(), CliError> {
        if job.keep().is_some() {
            self.voice.show(&self.deleted_by_buckets())?;
        }
        let reached = work.series.iter().map(|series| series.unreachable.is_none());
        let reached = self.spots().zip(reached).filter_map(|(spot, reached)| reached.then_some(spot));
        for (spot, wanted) in reached.filter_map(|spot| self.with_retention(spot)) {
            let facts = survey::prune(spot.store.as_ref(), &spot.place.prefix, &spot.own().await, Vec::new()).await?;
            let facts = PruneFacts { planned: Some(work.snapshot), ..facts };
            // The set is sealed after the moment it is named after, as those before it were.
            let now = Timestamp::now().max(work.snapshot.moment());
            self.voice.show(&work::prune(&wanted, &facts, false, now))?;
        }
        Ok(())
    }
}
