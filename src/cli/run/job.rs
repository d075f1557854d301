//! One job: what it is done with, and what is done from its locks to its records.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use super::super::around::{Around, Unbegun};
use super::super::error::CliError;
use super::super::locks::Locks;
use super::super::subject::{Kept, Spot};
use super::super::{Voice, account, desk};
use super::records::failures;
use super::warn_of_the_future;
use crate::event::{Event, Listener};
use crate::name::{Name, RunId, Shard};
use crate::plan::{self, Archive, Backup, Job, Plan, SourceKind, Timetable};
use crate::record::RunRecord;
use crate::report::Tail;
use crate::run::staging::Staging;
use crate::run::{self, Outside, exit};
use crate::secret::Hidden;
use crate::stop::{Reason, Stop};
use crate::store::local::Local;
use crate::store::{Mode, Store, StoreError};
use crate::survey::{self, Known, Means};
use crate::work::{self, ArchiveFacts, ArchiveWork, BackupWork};

/// Says where root is about to write to a directory of somebody else, such as the user that a service runs as.
fn warn_of_root(tell: &dyn Listener, job: Job<'_>) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    for destination in job.to() {
        let plan::Store::Directory(directory) = destination.store() else { continue };
        // Where there is none yet, root will have it.
        let owner = std::fs::metadata(directory).map_or(0, |about| about.uid());
        if owner != 0 {
            let (at, advice) = (directory.display(), "whose runs cannot read what root writes there: run as that user");
            tell.hear(&Event::Warned { message: format!("`{at}` belongs to the user {owner}, {advice}") });
        }
    }
}

/// Everything that one job is done with.
pub(super) struct JobDesk<'r> {
    pub(super) plan: &'r Plan,
    pub(super) job: Job<'r>,
    /// The stores of its destinations, in the plan's order.
    pub(super) stores: Vec<Arc<dyn Store>>,
    /// What the job waits for, unless it is to run at once.
    pub(super) waits_for: Option<Timetable>,
    /// The run, and when it began.
    pub(super) run: RunId,
    pub(super) now: Timestamp,
    pub(super) voice: Voice,
    pub(super) tell: &'r Arc<Tail>,
    pub(super) stop: &'r Stop,
    /// The plan's secrets, as far as they are known.
    pub(super) hidden: Hidden,
}

impl JobDesk<'_> {
    /// The real run: takes the locks, does what there is to do, and gives the locks back however it ended.
    pub(super) async fn carry_out(&self) -> Result<u8, CliError> {
        // What this host remembers costs nothing to ask.
        if !self.is_due(&[]).await? {
            return Ok(exit::DONE);
        }
        warn_of_root(self.tell.as_ref(), self.job);
        let mut locks = Locks::default();
        let ended = match locks.take(self.job, &self.stores, &self.lock_holder()).await {
            Ok(()) => match self.is_due(&self.stores).await {
                Ok(true) => self.work_around(&locks).await,
                // Another host has done it meanwhile.
                is_due => is_due.map(|_| exit::DONE),
            },
            Err(StoreError::Busy { .. }) if self.waits_for.is_some() => Ok(exit::DONE),
            Err(busy) => Err(busy.into()),
        };
        locks.release().await;
        ended
    }

    /// Tells whether the job is to run now: at once, or because its time has come since it last ran.
    pub(super) async fn is_due(&self, stores: &[Arc<dyn Store>]) -> Result<bool, CliError> {
        let Some(timetable) = &self.waits_for else { return Ok(true) };
        let last = survey::last_run(self.plan.name(), self.job, stores, &self.state()).await?;
        warn_of_the_future(self.tell.as_ref(), self.job, last, self.now);
        Ok(work::due(timetable, last, self.now).is_some())
    }

    /// Does the job between the commands that the plan has around it, and writes down how everything ended.
    async fn work_around(&self, locks: &Locks) -> Result<u8, CliError> {
        let was_bad = self.was_bad().await;
        let (began, hidden) = ((self.run, self.now), self.hidden.clone());
        let mut around = Around::new(self.plan, self.job.name(), began, self.tell, self.stop, hidden);
        let mut untold = Vec::new();
        let (mut records, ended) = match around.before().await {
            Ok(()) => {
                untold.extend(around.tell_start().await);
                self.work(locks).await
            }
            Err(unbegun) => self.leave(unbegun).await,
        };
        let error = ended.as_ref().err().map(ToString::to_string);
        if let Some(error) = &error {
            self.tell.add(format!("error: {error}"));
        }
        let code = ended.unwrap_or_else(|error| error.tell_at(self.plan, self.job));
        let code = around.after(code).await;
        untold.extend(around.tell_end(code, was_bad, &failures(&records, error)).await);
        self.complete(&mut records, &around.ran(), &untold, code).await;
        self.measure().await;
        Ok(code)
    }

    /// Looks, plans, does, and writes down what happened at the destinations.
    async fn work(&self, locks: &Locks) -> (Vec<RunRecord>, Result<u8, CliError>) {
        let staging = match Staging::make(self.plan.local().staging(), self.run) {
            Ok(staging) => staging,
            Err(error) => return (Vec::new(), Err(error.into())),
        };
        let outside = Outside { leases: locks.leases(), ..self.outside(staging.path()) };
        self.limit_time(&outside);
        let known = self.known(locks.unlocked.clone()).await;
        let ended = match self.job {
            Job::Backup(job) => self.back_up(job, &known, &outside, staging.path()).await,
            Job::Archive(job) => self.archive(job, &known, &outside, staging.path()).await,
        };
        let (records, summary) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                let cause = (&*error.to_string(), error.exit_code());
                return (self.note_unbegun(&outside, "look at the installation", cause).await, Err(error));
            }
        };
        self.keep_records(&records, Mode::Create).await;
        self.tell_failures(&records);
        let ended = match self.voice.say(&summary) {
            Ok(()) => self.go_on(&records, staging.path(), &outside).await,
            Err(error) => Err(error),
        };
        (records, ended)
    }

    /// Writes down that a job was not begun.
    async fn leave(&self, unbegun: Unbegun) -> (Vec<RunRecord>, Result<u8, CliError>) {
        let outside = self.outside(self.plan.local().staging());
        let (cause, ended) = match unbegun {
            Unbegun::Failed(error) => (error.to_string(), Err(error)),
            Unbegun::Skipped(why) => {
                let job = Shard::title(self.job.name(), self.plan.shard());
                let said = self.voice.say(&format!("{job}: skipped: {why}\n"));
                (why, said.map(|()| exit::SKIPPED))
            }
        };
        let code = ended.as_ref().map_or_else(CliError::exit_code, |code| *code);
        (self.note_unbegun(&outside, "get ready for the job", (&cause, code)).await, ended)
    }

    /// Returns what is known of the job's destinations, beside those that do not answer.
    pub(super) async fn known(&self, silent: BTreeMap<Name, String>) -> Known {
        let (kept, mut own) = (Kept::of(self.plan), BTreeMap::new());
        for destination in self.job.to() {
            own.insert(destination.name().clone(), kept.own(self.job.name(), destination.name()).await);
        }
        Known { silent, own }
    }

    pub(super) fn state(&self) -> Local {
        desk::state(self.plan)
    }

    /// Returns the job's places, in the plan's order.
    pub(super) fn spots(&self) -> impl Iterator<Item = Spot> {
        self.job.to().iter().zip(&self.stores).map(|(destination, store)| {
            let place = survey::place(store.as_ref(), self.job.prefix());
            let (store, expires_after) = (Arc::clone(store), destination.expires_after());
            let (job, destination) = (Some(self.job.name().clone()), destination.name().clone());
            Spot { job, destination, store, place, is_archive: false, expires_after, kept: Some(Kept::of(self.plan)) }
        })
    }

    pub(super) fn holder(&self, outside: &Outside) -> String {
        format!("process {} on {} (job {})", std::process::id(), outside.about.host, self.job.name())
    }

    /// Says who holds a lock, for whoever finds it taken.
    fn lock_holder(&self) -> String {
        format!(
            "process {} on {} since {} (run {}, job {})",
            std::process::id(),
            desk::host(),
            self.now,
            self.run,
            self.job.name()
        )
    }

    pub(super) fn outside(&self, staging: &Path) -> Outside {
        let names = self.job.to().iter().map(|destination| destination.name().clone());
        let stores = names.zip(self.stores.iter().map(Arc::clone)).collect();
        let limits = desk::limits(Some(self.plan), staging.join("spill"));
        // The time that this job has is none of the next one's business.
        desk::outside(stores, limits, Arc::<Tail>::clone(self.tell), self.stop.part(), desk::about(Some(self.plan)))
    }

    fn limit_time(&self, outside: &Outside) {
        if let Some(limit) = self.job.timeout() {
            let (stop, over) = (outside.stop.clone(), tokio::time::sleep(limit.0));
            tokio::spawn(async move {
                over.await;
                stop.request(Reason::Timeout(limit));
            });
        }
    }
}

/// The records of a run, and what is said of them.
type Ended = (Vec<RunRecord>, String);

impl JobDesk<'_> {
    /// Looks at what a backup is about, and plans its work with copies and exports inside `staging`.
    pub(super) async fn plan_backup(
        &self,
        job: &Backup,
        known: &Known,
        means: &Means<'_>,
        staging: &Path,
    ) -> Result<BackupWork, CliError> {
        let (stores, run, now) = (&self.stores, self.run, self.now);
        Ok(match job.source().kind() {
            SourceKind::Installation(installation) => {
                let facts = survey::backup(job, installation, stores, known, means).await?;
                work::backup(job, installation, &facts, staging, run, now)?
            }
            SourceKind::Snapshots(snapshots) => {
                let facts = survey::adopt(job, snapshots, stores, known, means).await?;
                work::adopt(job, &facts, run)?
            }
        })
    }

    async fn back_up(&self, job: &Backup, known: &Known, outside: &Outside, staging: &Path) -> Result<Ended, CliError> {
        let work = self.plan_backup(job, known, &outside.means(staging), staging).await?;
        let records = run::backup(&work, outside).await;
        let summary = account::backup(&work, &records, outside.about.shard);
        Ok((records, summary))
    }

    /// Looks at what an archive is about, and plans its work with copies and files inside `staging`.
    pub(super) async fn plan_archive(
        &self,
        job: &Archive,
        known: &Known,
        means: &Means<'_>,
        staging: &Path,
    ) -> Result<(ArchiveWork, ArchiveFacts), CliError> {
        let facts = survey::archive(job, &self.stores, &known.silent, means).await?;
        Ok((work::archive(job, &facts, staging, self.run, self.now)?, facts))
    }

    async fn archive(
        &self,
        job: &Archive,
        known: &Known,
        outside: &Outside,
        staging: &Path,
    ) -> Result<Ended, CliError> {
        let (work, facts) = self.plan_archive(job, known, &outside.means(staging), staging).await?;
        let records = run::archive(&work, outside).await;
        let summary = account::archive(&work, &facts, &records, outside.about.shard);
        Ok((records, summary))
    }
}
