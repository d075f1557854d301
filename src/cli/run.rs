//! `run`: does the jobs of a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use jiff::Timestamp;

use super::around::{Around, Unbegun};
use super::error::{CliError, about, remedy, tell_problems};
use super::locks::Locks;
use super::shard::Portion;
use super::subject::{Kept, Spot};
use super::{Voice, account, desk, drill, print, prune};
use crate::diagnose::Diagnostic;
use crate::event::{Event, Listener, Meter};
use crate::name::{Key, Name, RunId, Shard};
use crate::plan::{self, Archive, Backup, Job, LATE, Plan, SourceKind, Timetable, Verify};
use crate::record::{HookRecord, PlaceRecord, RunRecord, Status};
use crate::report::log::Subject;
use crate::report::{Json, Tail, metrics};
use crate::run::staging::Staging;
use crate::run::{self, Cause, Outcome, Outside, exit};
use crate::secret::Hidden;
use crate::stop::{Reason, Stop};
use crate::store::local::Local;
use crate::store::{Body, Mode, Store, StoreError};
use crate::survey::{self, Asked, Known, Means};
use crate::work::{self, ArchiveFacts, ArchiveWork, At, BackupWork, PruneFacts, Retention};

/// How many sets are looked at for metrics, where nothing is deleted.
const NEWEST: usize = 20;

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
            code = exit::worse(code, do_job(&plan, job, waits_for, self.preview, &stop, voice, self.json).await);
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
    json: bool,
) -> u8 {
    let now = Timestamp::now();
    let subject = Subject { run: RunId::fresh(now), job: job.name().clone(), shard: plan.shard() };
    let tell = if json { Arc::new(Json) } else { voice.listener_of(Some(subject.clone())) };
    let tell = Arc::new(Tail::before(tell));
    let hidden = Hidden::of(plan);
    let desk = JobDesk { plan, job, waits_for, run: subject.run, now, tell: &tell, stop, hidden };
    let doing = async {
        let ended = if preview { desk.show_work().await } else { desk.carry_out(voice, json).await };
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
struct JobDesk<'r> {
    plan: &'r Plan,
    job: Job<'r>,
    /// What the job waits for, unless it is to run at once.
    waits_for: Option<Timetable>,
    /// The run, and when it began.
    run: RunId,
    now: Timestamp,
    tell: &'r Arc<Tail>,
    stop: &'r Stop,
    /// The plan's secrets, as far as they are known.
    hidden: Hidden,
}

impl JobDesk<'_> {
    fn stores(&self) -> Vec<Arc<dyn Store>> {
        self.job.to().iter().map(|destination| desk::store(destination, self.job.upload(), &self.hidden)).collect()
    }

    /// The dry run: looks, plans, prints.
    async fn show_work(&self) -> Result<u8, CliError> {
        let root = self.plan.local().staging();
        let (run, now) = (self.run, self.now);
        let staging = Staging::for_a_look(root, run)?;
        let stores = self.stores();
        if !self.is_due(&stores).await? {
            return Ok(exit::DONE);
        }
        let outside = self.outside(&stores, staging.path());
        let known = self.known(BTreeMap::new()).await;
        let look = Look { stores: &stores, known: &known, means: outside.means(staging.path()) };
        let shown = root.join("hitkeep-plan-…");
        let (is_partial, is_unreachable) = match self.job {
            Job::Backup(job) => {
                let work = plan_backup(job, look, &shown, run, now).await?;
                print(&work.to_string())?;
                self.show_prune(job, &stores, &work).await?;
                let is_partial = !work.missing.is_empty() || work.there.iter().any(|there| there.is_partial);
                (is_partial, work.series.iter().any(|series| series.unreachable.is_some()))
            }
            Job::Archive(job) => {
                let (work, _) = plan_archive(job, look, &shown, run, now).await?;
                print(&work.to_string())?;
                (!work.missing.is_empty(), work.series.iter().any(|series| series.unreachable.is_some()))
            }
        };
        print(&work::Around(self.plan).to_string())?;
        let missing = if is_partial { exit::PARTIAL } else { exit::DONE };
        Ok(if is_unreachable { exit::DESTINATION } else { missing })
    }

    /// The real run: takes the locks, does what there is to do, and gives the locks back however it ended.
    async fn carry_out(&self, voice: Voice, json: bool) -> Result<u8, CliError> {
        // What this host remembers costs nothing to ask.
        if !self.is_due(&[]).await? {
            return Ok(exit::DONE);
        }
        warn_of_root(self.tell.as_ref(), self.job);
        let stores = self.stores();
        let mut locks = Locks::default();
        let ended = match locks.take(self.job, &stores, &self.lock_holder()).await {
            Ok(()) => match self.is_due(&stores).await {
                Ok(true) => self.work_around(&stores, &locks, voice, json).await,
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
    async fn is_due(&self, stores: &[Arc<dyn Store>]) -> Result<bool, CliError> {
        let Some(timetable) = &self.waits_for else { return Ok(true) };
        let last = survey::last_run(self.plan.name(), self.job, stores, &self.state()).await?;
        warn_of_the_future(self.tell.as_ref(), self.job, last, self.now);
        Ok(work::due(timetable, last, self.now).is_some())
    }

    /// Returns what is known of the job's destinations, beside those that do not answer.
    async fn known(&self, silent: BTreeMap<Name, String>) -> Known {
        let (kept, mut own) = (Kept::of(self.plan), BTreeMap::new());
        for destination in self.job.to() {
            own.insert(destination.name().clone(), kept.own(self.job.name(), destination.name()).await);
        }
        Known { silent, own }
    }

    fn state(&self) -> Local {
        Local::new(self.plan.local().state().to_owned())
    }

    /// Does the job between the commands that the plan has around it, and writes down how everything ended.
    async fn work_around(
        &self,
        stores: &[Arc<dyn Store>],
        locks: &Locks,
        voice: Voice,
        json: bool,
    ) -> Result<u8, CliError> {
        let was_bad = self.was_bad().await;
        let (began, hidden) = ((self.run, self.now), self.hidden.clone());
        let mut around = Around::new(self.plan, self.job.name(), began, self.tell, self.stop, hidden);
        let mut untold = Vec::new();
        let (mut records, ended) = match around.before().await {
            Ok(()) => {
                untold.extend(around.tell_start().await);
                self.work(stores, locks, voice, json).await
            }
            Err(unbegun) => self.leave(unbegun, stores, voice, json).await,
        };
        let error = ended.as_ref().err().map(ToString::to_string);
        if let Some(error) = &error {
            self.tell.add(format!("error: {error}"));
        }
        let code = ended.unwrap_or_else(|error| error.tell_at(self.plan, self.job));
        let code = around.after(code).await;
        untold.extend(around.tell_end(code, was_bad, &failures(&records, error)).await);
        self.complete(&mut records, stores, &around.ran(), &untold, code).await;
        self.measure().await;
        Ok(code)
    }

    /// Adds to the records that this host keeps what came after they were first written.
    async fn complete(
        &self,
        records: &mut [RunRecord],
        stores: &[Arc<dyn Store>],
        ran: &[HookRecord],
        untold: &[String],
        code: u8,
    ) {
        let is_more = code != worst(records);
        if !is_more && ran.is_empty() && untold.is_empty() && self.plan.metrics().is_none() {
            return;
        }
        for record in records.iter_mut() {
            record.place = self.held(record, stores).await;
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
    async fn held(&self, record: &RunRecord, stores: &[Arc<dyn Store>]) -> Option<PlaceRecord> {
        if self.plan.metrics().is_none() || record.status == Status::Failed || self.stop.reason().is_some() {
            return None;
        }
        let (_, store) = self.job.to().iter().zip(stores).find(|(to, _)| *to.name() == record.destination)?;
        // Who deletes has looked at every set anyway; nobody else needs to.
        let is_kept = self.job.backup().is_some_and(|job| job.keep().is_some());
        let asked = if is_kept { Asked::All } else { Asked::Newest(NEWEST) };
        let own = Kept::of(self.plan).own(self.job.name(), &record.destination).await;
        let facts = survey::series(store.as_ref(), self.job.prefix(), asked, &own).await.ok()?;
        Some(work::held(&facts))
    }

    /// Writes the metrics of all jobs, where the plan wants them.
    async fn measure(&self) {
        let Some(metrics) = self.plan.metrics() else { return };
        let records = survey::kept_records(self.plan.local().state(), self.plan.name()).await;
        if let Err(cause) = metrics::write(metrics.textfile(), &metrics::text(self.plan, &records)) {
            let message = format!("the metrics could not be written to `{}`: {cause}", metrics.textfile().display());
            self.tell.hear(&Event::Warned { message });
        }
    }

    /// Tells whether the last run of the job that was not skipped did not end well, as far as this host knows.
    async fn was_bad(&self) -> bool {
        let is_attempt = |records: &[RunRecord]| Outcome::of(ended_with(records)) != Outcome::Skipped;
        let last = survey::last_records_of(&self.state(), self.plan.name(), self.job.name(), is_attempt)
            .await
            .unwrap_or_default();
        Outcome::of(ended_with(&last)).is_bad()
    }

    /// Writes down that a job was not begun.
    async fn leave(
        &self,
        unbegun: Unbegun,
        stores: &[Arc<dyn Store>],
        voice: Voice,
        json: bool,
    ) -> (Vec<RunRecord>, Result<u8, CliError>) {
        let outside = self.outside(stores, self.plan.local().staging());
        let (cause, ended) = match unbegun {
            Unbegun::Failed(error) => (error.to_string(), Err(error)),
            Unbegun::Skipped(why) if json => (why, Ok(exit::SKIPPED)),
            Unbegun::Skipped(why) => {
                let job = Shard::title(self.job.name(), self.plan.shard());
                let said = voice.say(&format!("{job}: skipped: {why}\n"));
                (why, said.map(|()| exit::SKIPPED))
            }
        };
        let code = ended.as_ref().map_or_else(CliError::exit_code, |code| *code);
        (self.note_unbegun(&outside, "get ready for the job", (&cause, code)).await, ended)
    }

    /// Looks, plans, does, and writes down what happened at the destinations.
    async fn work(
        &self,
        stores: &[Arc<dyn Store>],
        locks: &Locks,
        voice: Voice,
        json: bool,
    ) -> (Vec<RunRecord>, Result<u8, CliError>) {
        let staging = match Staging::make(self.plan.local().staging(), self.run) {
            Ok(staging) => staging,
            Err(error) => return (Vec::new(), Err(error.into())),
        };
        let outside = Outside { leases: locks.leases(), ..self.outside(stores, staging.path()) };
        self.limit_time(&outside);
        let known = self.known(locks.unlocked.clone()).await;
        let look = Look { stores, known: &known, means: outside.means(staging.path()) };
        let ended = match self.job {
            Job::Backup(job) => back_up(job, look, staging.path(), self.run, self.now, &outside).await,
            Job::Archive(job) => archive(job, look, staging.path(), self.run, self.now, &outside).await,
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
        let said = if json { Ok(()) } else { voice.say(&summary) };
        let ended = match said {
            Ok(()) => self.go_on(stores, &records, staging.path(), &outside, voice, json).await,
            Err(error) => Err(error),
        };
        (records, ended)
    }

    /// Does what follows a backup: proves the set, and deletes what is not kept.
    async fn go_on(
        &self,
        stores: &[Arc<dyn Store>],
        records: &[RunRecord],
        staging: &Path,
        outside: &Outside,
        voice: Voice,
        json: bool,
    ) -> Result<u8, CliError> {
        let mut code = worst(records);
        let Job::Backup(job) = self.job else { return Ok(code) };
        if job.verify() == Verify::Restore {
            let voice = if json { Voice { quiet: true, ..voice } } else { voice };
            code = exit::worse(code, self.drill_all(job, stores, records, voice, staging, outside).await?);
        }
        if code != exit::DONE {
            return Ok(code);
        }
        self.prune(job, stores, records, outside, voice, json).await
    }

    /// Drills the set at each destination that has it complete.
    async fn drill_all(
        &self,
        job: &Backup,
        stores: &[Arc<dyn Store>],
        records: &[RunRecord],
        voice: Voice,
        staging: &Path,
        outside: &Outside,
    ) -> Result<u8, CliError> {
        let mut code = exit::DONE;
        let set_at = |spot: &Spot| {
            let mut complete = records.iter().filter(|record| record.status == Status::Complete);
            complete.find(|record| record.destination == spot.destination).map(|record| record.snapshot)
        };
        for (spot, set) in self.spots(stores).filter_map(|spot| set_at(&spot).map(|set| (spot, At::Snapshot(set)))) {
            outside.stop.check()?;
            code = exit::worse(
                code,
                match drill::drill(&spot, Some(job), set, staging, outside).await {
                    Ok(drilled) => {
                        voice.say(&drill::lines(&spot, &drilled))?;
                        drilled.exit_code
                    }
                    Err(error) => error.tell(),
                },
            );
        }
        Ok(code)
    }

    /// Deletes what the job's rules do not keep: last of all, and only after everything has succeeded everywhere.
    async fn prune(
        &self,
        job: &Backup,
        stores: &[Arc<dyn Store>],
        records: &[RunRecord],
        outside: &Outside,
        voice: Voice,
        json: bool,
    ) -> Result<u8, CliError> {
        let mut code = exit::DONE;
        if !json && job.keep().is_some() {
            voice.say(&self.deleted_by_buckets(stores))?;
        }
        for (spot, wanted) in self.spots(stores).filter_map(|spot| self.with_retention(spot)) {
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
                        None if !json => voice.say(&account)?,
                        None => {}
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

    /// Returns the job's places, in the plan's order.
    fn spots(&self, stores: &[Arc<dyn Store>]) -> impl Iterator<Item = Spot> {
        self.job.to().iter().zip(stores).map(|(destination, store)| {
            let place = survey::place(store.as_ref(), self.job.prefix());
            let (store, expires_after) = (Arc::clone(store), destination.expires_after());
            let (job, destination) = (Some(self.job.name().clone()), destination.name().clone());
            Spot { job, destination, store, place, is_archive: false, expires_after, kept: Some(Kept::of(self.plan)) }
        })
    }

    /// Returns a place of the job with what is to be kept there; nothing where that is everything, or not asked.
    fn with_retention(&self, spot: Spot) -> Option<(Spot, Retention)> {
        prune::retention_at(Some(self.plan), &spot).map(|wanted| (spot, wanted))
    }

    /// Says at which of the job's places the buckets delete by themselves.
    fn deleted_by_buckets(&self, stores: &[Arc<dyn Store>]) -> String {
        self.spots(stores).filter_map(|spot| prune::deleted_by_bucket(&spot)).collect()
    }

    /// Says what the job's rules would not keep once the planned set is there.
    async fn show_prune(&self, job: &Backup, stores: &[Arc<dyn Store>], work: &BackupWork) -> Result<(), CliError> {
        if job.keep().is_some() {
            print(&self.deleted_by_buckets(stores))?;
        }
        let reached = work.series.iter().map(|series| series.unreachable.is_none());
        let reached = self.spots(stores).zip(reached).filter_map(|(spot, reached)| reached.then_some(spot));
        for (spot, wanted) in reached.filter_map(|spot| self.with_retention(spot)) {
            let facts = survey::prune(spot.store.as_ref(), &spot.place.prefix, &spot.own().await, Vec::new()).await?;
            let facts = PruneFacts { planned: Some(work.snapshot), ..facts };
            print(&work::prune(&wanted, &facts, false, work.snapshot.moment()).to_string())?;
        }
        Ok(())
    }

    fn holder(&self, outside: &Outside) -> String {
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

    fn outside(&self, stores: &[Arc<dyn Store>], staging: &Path) -> Outside {
        let names = self.job.to().iter().map(|destination| destination.name().clone());
        let stores = names.zip(stores.iter().map(Arc::clone)).collect();
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

    /// Writes down that a run ended before it began, while `task` was done.
    async fn note_unbegun(&self, outside: &Outside, task: &str, cause: (&str, u8)) -> Vec<RunRecord> {
        let records = run::unbegun(self.job, self.run, self.now, outside, task, cause);
        self.keep_records(&records, Mode::Create).await;
        records
    }

    /// Keeps each record in the state directory too: also those of runs that sealed nothing.
    async fn keep_records(&self, records: &[RunRecord], mode: Mode) {
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
    fn tell_failures(&self, records: &[RunRecord]) {
        let problem = |record: &RunRecord, failed: &crate::record::Failed| {
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
fn worst(records: &[RunRecord]) -> u8 {
    records.iter().map(|record| record.exit_code).fold(exit::DONE, exit::worse)
}

/// Returns the exit code that the run of these records ended with.
fn ended_with(records: &[RunRecord]) -> u8 {
    records.iter().filter_map(|record| record.ended_with).fold(worst(records), exit::worse)
}

/// Returns what failed in a run, in a sentence each; where no record tells of it, the error that ended it.
fn failures(records: &[RunRecord], error: Option<String>) -> Vec<String> {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let failed = records.iter().flat_map(|record| &record.failures);
    let failed: BTreeSet<String> = failed.map(|failed| format!("{}: {}", words(&failed.task), failed.cause)).collect();
    if failed.is_empty() { error.into_iter().collect() } else { failed.into_iter().collect() }
}

/// What a job is looked at with.
#[derive(Clone, Copy)]
struct Look<'l> {
    /// The stores of its destinations, in the plan's order.
    stores: &'l [Arc<dyn Store>],
    /// What is known of its destinations.
    known: &'l Known,
    /// What its source is looked at with.
    means: Means<'l>,
}

/// The records of a run, and what is said of them.
type Ended = (Vec<RunRecord>, String);

/// Looks at what a backup is about, and plans its work with copies and exports inside `staging`.
async fn plan_backup(
    job: &Backup,
    look: Look<'_>,
    staging: &Path,
    run: RunId,
    now: Timestamp,
) -> Result<BackupWork, CliError> {
    let Look { stores, known, means } = look;
    Ok(match job.source().kind() {
        SourceKind::Installation(installation) => {
            let facts = survey::backup(job, installation, stores, known, &means).await?;
            work::backup(job, installation, &facts, staging, run, now)?
        }
        SourceKind::Snapshots(snapshots) => {
            let facts = survey::adopt(job, snapshots, stores, known, &means).await?;
            work::adopt(job, &facts, run)?
        }
    })
}

async fn back_up(
    job: &Backup,
    look: Look<'_>,
    staging: &Path,
    run: RunId,
    now: Timestamp,
    outside: &Outside,
) -> Result<Ended, CliError> {
    let work = plan_backup(job, look, staging, run, now).await?;
    let records = run::backup(&work, outside).await;
    let summary = account::backup(&work, &records, outside.about.shard);
    Ok((records, summary))
}

/// Looks at what an archive is about, and plans its work with copies and files inside `staging`.
async fn plan_archive(
    job: &Archive,
    look: Look<'_>,
    staging: &Path,
    run: RunId,
    now: Timestamp,
) -> Result<(ArchiveWork, ArchiveFacts), CliError> {
    let facts = survey::archive(job, look.stores, &look.known.silent, &look.means).await?;
    Ok((work::archive(job, &facts, staging, run, now)?, facts))
}

async fn archive(
    job: &Archive,
    look: Look<'_>,
    staging: &Path,
    run: RunId,
    now: Timestamp,
    outside: &Outside,
) -> Result<Ended, CliError> {
    let (work, facts) = plan_archive(job, look, staging, run, now).await?;
    let records = run::archive(&work, outside).await;
    let summary = account::archive(&work, &facts, &records, outside.about.shard);
    Ok((records, summary))
}
