//! Carries out a backup: announce, capture what others have open, then database by database export (or examine what
//! HitKeep has exported), store, check and describe, then seal. Where there is room for two exports, a database is exported
//! while the one before it is stored.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use jiff::Timestamp;

use super::capture::{Captures, Taken};
use super::files::Storing;
use super::series::{Heading, Note, blank};
use super::take::{Attempt, Taking};
use super::takeover::{self, Takeover};
use super::{Cause, Failure, Gauge, Outside, adopt, exit, files, looking_at};
use crate::duck::compare;
use crate::duck::export::{self, Exported};
use crate::event::Event;
use crate::hitkeep;
use crate::measure::{Bytes, Grouped, Sha256, counted};
use crate::name::{DatabaseId, Key, Name, RunId, SnapshotId};
use crate::plan::{Destination, Job};
use crate::record::{
    ContentRecord, FORMAT, Failed, FileRecord, Kind, Manifest, RunRecord, SnapshotRecord, Status, TableRecord,
    TakenOver,
};
use crate::store::Body;
use crate::work::{BackupWork, Chain, Delivery, Series, Take, There};

/// Why a task is not begun when every destination has failed.
const NOWHERE: &str = "there is no destination left to store it at";

/// Why a task is not begun when there is no set any more.
const VANISHED: &str = "HitKeep has removed the set";

/// Carries out `work`, and returns the record of what came of it at each destination, sealed there or not.
pub async fn backup(work: &BackupWork, outside: &Outside) -> Vec<RunRecord> {
    outside.tell.hear(&Event::RunStarted { title: title(work), tasks: work.task_count() });
    work.warnings.iter().for_each(|warning| outside.warn(warning.clone()));
    let started_at = (outside.clock)();
    let mut walk = Walk { work, outside, started_at, places: BTreeMap::new(), has_vanished: false };
    walk.announce().await;
    let captures = walk.capture().await;
    walk.back_up(captures).await;
    let mut records = Vec::new();
    for series in &work.series {
        records.push(walk.finish(series).await);
    }
    records.extend(work.there.iter().map(|there| walk.skipped(there)));
    let exit_code = records.iter().map(|record| record.exit_code).fold(exit::DONE, exit::worse);
    outside.tell.hear(&Event::RunFinished { result: result(work, &records), exit_code });
    records
}

fn title(work: &BackupWork) -> String {
    format!("backup {}: set {}, {}", work.job, work.snapshot, counted(work.expected.len(), "database"))
}

fn result(work: &BackupWork, records: &[RunRecord]) -> String {
    let at = |record: &RunRecord| match record.status {
        Status::Skipped => format!("set {} at `{}` is there already", work.snapshot, record.destination),
        status => format!(
            "set {} at `{}` is {status}: {} of {}, {} rows, {}{}",
            work.snapshot,
            record.destination,
            record.captured.len(),
            counted(record.expected.len(), "database"),
            Grouped(record.rows()),
            Bytes(record.bytes()),
            match record.bytes_taken_over() {
                0 => String::new(),
                bytes => format!(", {} of it taken over", Bytes(bytes)),
            },
        ),
    };
    records.iter().map(at).collect::<Vec<_>>().join("; ")
}

/// Returns the records of a run that ended before it began, while `task` was done: one for each destination of the job.
#[must_use]
pub fn unbegun(
    job: Job<'_>,
    run: RunId,
    now: Timestamp,
    outside: &Outside,
    task: &str,
    (cause, exit_code): (&str, u8),
) -> Vec<RunRecord> {
    let (status, is_failed) = match exit_code {
        exit::SKIPPED => (Status::Skipped, false),
        _ => (Status::Failed, true),
    };
    let failed = Failed { task: task.to_owned(), plan_line: Some(job.line()), cause: cause.to_owned() };
    let failures: Vec<Failed> = is_failed.then_some(failed).into_iter().collect();
    let kind = match job {
        Job::Backup(_) => Kind::Backup,
        Job::Archive(_) => Kind::Archive,
    };
    let record = |destination: &Arc<Destination>| {
        let (job, destination, snapshot) = (job.name().clone(), destination.name().clone(), SnapshotId::at(now));
        let blank = blank(outside, Heading { run, job, destination, kind, snapshot, started_at: now });
        RunRecord { status, exit_code, failures: failures.clone(), ..blank }
    };
    job.to().iter().map(record).collect()
}

/// A backup on its way.
struct Walk<'w> {
    work: &'w BackupWork,
    outside: &'w Outside,
    started_at: Timestamp,
    places: BTreeMap<Name, Progress>,
    /// Whether HitKeep has removed the set that is adopted.
    has_vanished: bool,
}

/// How far a backup has come at one destination.
#[derive(Default)]
struct Progress {
    /// What has been stored there or may have been, in order, so that it can be taken away again.
    written: Vec<Key>,
    snapshots: Vec<SnapshotRecord>,
    /// What no snapshot holds is from after this moment.
    captured_by: Option<Timestamp>,
    failures: Vec<Failure>,
    /// Whether nothing more is to be stored there.
    is_given_up: bool,
}

impl Walk<'_> {
    /// Leaves the note at each destination that tells an unfinished set of ours from a backup of HitKeep's own.
    async fn announce(&mut self) {
        for series in &self.work.series {
            let mut progress = Progress::default();
            let announced = match &series.unreachable {
                Some(cause) => Err(Failure {
                    task: looking_at(&series.seal.action.destination),
                    cause: Cause::Before { cause: cause.clone(), exit_code: exit::DESTINATION },
                }),
                None => self.begin_at(series, &mut progress).await,
            };
            if let Err(failure) = announced {
                progress.is_given_up = true;
                progress.failures.push(failure);
            }
            self.places.insert(series.seal.action.destination.clone(), progress);
        }
    }

    /// Removes what an unfinished run has left of the set, where there is such a thing, and leaves the note.
    async fn begin_at(&self, series: &Series, progress: &mut Progress) -> Result<(), Failure> {
        if let Some(clear) = &series.clear {
            self.outside.clear(clear).await?;
        }
        self.outside.announce(&series.announce, &self.note(), &mut progress.written).await?;
        self.outside.warn_of_caveats(&series.announce.action.destination);
        Ok(())
    }

    fn note(&self) -> Note<'_> {
        Note { run: self.work.run, job: &self.work.job, started_at: self.started_at }
    }

    /// Captures the databases that others have open, unless that would be for nobody.
    async fn capture(&self) -> Captures {
        if self.is_given_up() {
            self.outside.skip_captures(&self.work.preparations, &self.work.captures, NOWHERE);
            return Captures::new();
        }
        self.outside.capture_all(&self.work.preparations, &self.work.captures).await
    }

    /// Takes one database's snapshot after the other and delivers each everywhere, while the next is taken if there is room.
    async fn back_up(&mut self, captures: Captures) {
        let mut taking = Taking::of(captures, self.outside);
        let mut ready = None;
        for chain in &self.work.chains {
            if !self.work.exports_ahead {
                self.deliver(ready.take()).await;
            }
            let why_not = self.why_not();
            let delivered = self.deliver(ready.take()).shared();
            let ((), attempt) = tokio::join!(delivered.clone(), taking.take(&chain.take, why_not, delivered));
            ready = Some((chain, attempt));
        }
        self.deliver(ready).await;
    }

    /// Says why nothing more is to be done, where that is so.
    fn why_not(&self) -> Option<&'static str> {
        if self.has_vanished { Some(VANISHED) } else { self.is_given_up().then_some(NOWHERE) }
    }

    /// Tells whether there is no destination left to store anything at.
    fn is_given_up(&self) -> bool {
        self.places.values().all(|progress| progress.is_given_up)
    }

    /// Delivers a database's snapshot everywhere and removes its export, or tells every destination why there is none.
    async fn deliver(&mut self, ready: Option<(&Chain, Attempt)>) {
        let Some((chain, Some(attempt))) = ready else { return };
        match attempt {
            Ok((taken, exported)) => {
                for delivery in &chain.deliveries {
                    self.deliver_to(chain, delivery, &taken, &exported).await;
                }
            }
            Err(failure) => self.fail_everywhere(chain, &failure),
        }
        if let Take::Export(task) = &chain.take {
            self.outside.remove_staged(&task.action.into).await;
        }
    }

    /// Tells every destination that there is no snapshot of a database.
    fn fail_everywhere(&mut self, chain: &Chain, failure: &Failure) {
        self.has_vanished |= matches!(failure.cause, Cause::Vanished { .. });
        for delivery in &chain.deliveries {
            let cause = Cause::Before { cause: failure.cause.to_string(), exit_code: failure.cause.exit_code() };
            if let Some(progress) = self.places.get_mut(&delivery.put.action.destination) {
                progress.failures.push(Failure { task: failure.task.clone(), cause });
            }
        }
    }

    /// Stores one database at one destination, whole or not at all.
    async fn deliver_to(&mut self, chain: &Chain, delivery: &Delivery, taken: &Taken, exported: &Exported) {
        let destination = &delivery.put.action.destination;
        let Some(mut progress) = self.places.remove(destination) else { return };
        let mut vanished = None;
        if !progress.is_given_up && !self.has_vanished {
            let before = progress.written.len();
            match self.store_snapshot(chain, delivery, taken, exported, &mut progress.written).await {
                Ok(snapshot) => {
                    progress.snapshots.push(snapshot);
                    progress.captured_by = progress.captured_by.max(Some(taken.by));
                }
                Err(failure) => {
                    let half = progress.written.split_off(before);
                    progress.written.extend(self.outside.take_away(destination, half).await);
                    match adopt::explained(&chain.take, failure) {
                        failure @ Failure { cause: Cause::Vanished { .. }, .. } => vanished = Some(failure),
                        failure => progress.failures.push(failure),
                    }
                }
            }
        }
        self.places.insert(destination.clone(), progress);
        if let Some(failure) = vanished {
            self.fail_everywhere(chain, &failure);
        }
    }

    async fn store_snapshot(
        &self,
        chain: &Chain,
        delivery: &Delivery,
        taken: &Taken,
        exported: &Exported,
        written: &mut Vec<Key>,
    ) -> Result<SnapshotRecord, Failure> {
        let (stored, taken_over) = self.put(delivery, written).await?;
        self.check(delivery, &stored).await?;
        let manifest = self.manifest(&chain.take, taken, exported, stored);
        let snapshot = self.describe(delivery, &manifest, written).await?;
        Ok(SnapshotRecord { taken_over, ..snapshot })
    }

    async fn put(
        &self,
        delivery: &Delivery,
        written: &mut Vec<Key>,
    ) -> Result<(Vec<FileRecord>, Option<TakenOver>), Failure> {
        let (gauge, action) = (Gauge::default(), &delivery.put.action);
        let fail = |cause| Failure { task: action.to_string(), cause };
        let names = files::names_in_order(&action.from, action.names.as_ref()).map_err(fail)?;
        let size = |name: &String| std::fs::metadata(action.from.join(name)).map_or(0, |about| about.len());
        let total = Bytes(names.iter().map(size).sum());
        let as_body = if action.is_last { Body::Spare } else { Body::File };
        let from = |name: &str| as_body(action.from.join(name));
        let (own, takeover) = (Mutex::default(), Takeover::of(&action.remains));
        let put = async {
            let store = self.outside.store(&action.destination)?;
            let (prefix, takeover, gauge, own) = (&action.prefix, &takeover, &gauge, &own);
            let stored = Storing { store, from, prefix, takeover, gauge, own }.put(&names).await?;
            let taken = takeover.taken();
            let said = taken.as_ref().map(takeover::said).unwrap_or_default();
            let result = format!("{}, {total}{said}", counted(stored.len(), "file"));
            Ok(((stored, taken), result))
        };
        let put = self.outside.perform(&delivery.put, Some(total), &gauge, put).await;
        written.append(&mut own.into_inner().unwrap_or_else(PoisonError::into_inner));
        put
    }

    async fn check(&self, delivery: &Delivery, stored: &[FileRecord]) -> Result<(), Failure> {
        let Some(task) = &delivery.check else { return Ok(()) };
        let (gauge, action) = (Gauge::default(), &task.action);
        let total = Bytes(stored.iter().map(|file| file.bytes).sum());
        let check = async {
            let store = self.outside.store(&action.destination)?;
            let read_back = files::prove(store, &action.prefix, stored, &gauge).await?;
            Ok(((), proof(stored.len() - read_back, read_back)))
        };
        self.outside.perform(task, Some(total), &gauge, check).await
    }

    async fn describe(
        &self,
        delivery: &Delivery,
        manifest: &Manifest,
        written: &mut Vec<Key>,
    ) -> Result<SnapshotRecord, Failure> {
        let (gauge, action) = (Gauge::default(), &delivery.describe.action);
        let bytes = manifest.write();
        let snapshot = SnapshotRecord {
            database: manifest.database,
            path: action.path.clone(),
            manifest_sha256: Sha256::of(&bytes),
            bytes: manifest.bytes(),
            files: manifest.files.len() as u64,
            rows: manifest.rows(),
            database_bytes: manifest.database_bytes,
            captured_at: Some(manifest.captured_at),
            capture: Some(manifest.capture),
            live: manifest.live.clone(),
            taken_over: None,
        };
        let put = async {
            self.outside.put_own(&action.destination, &action.key, bytes, &gauge, written).await?;
            Ok((snapshot, String::new()))
        };
        self.outside.perform(&delivery.describe, None, &gauge, put).await
    }

    fn manifest(&self, take: &Take, taken: &Taken, exported: &Exported, files: Vec<FileRecord>) -> Manifest {
        let schema = files.iter().find(|file| file.path == hitkeep::SCHEMA_FILE);
        let table = |table: &export::Table| TableRecord {
            schema: table.schema.clone(),
            name: table.name.clone(),
            rows: table.rows,
            content: table.digest.clone().map(|digest| ContentRecord {
                algorithm: compare::ALGORITHM.to_owned(),
                engine: exported.engine.clone(),
                digest,
            }),
        };
        Manifest {
            format: FORMAT,
            kind: Kind::Backup,
            snapshot: self.work.snapshot,
            database: take.database(),
            name: take.name().map(str::to_owned),
            run: self.work.run,
            captured_at: taken.at,
            capture: taken.capture,
            live: taken.live.clone(),
            database_bytes: take.database_bytes().0,
            duckdb: exported.engine.clone(),
            hitkeep: exported.migration.clone(),
            schema_digest: schema.map_or_else(|| Sha256::of(b""), |file| file.sha256),
            files,
            tables: exported.tables.iter().map(table).collect(),
            lost: exported.lost.clone(),
            not_included: hitkeep::NOT_INCLUDED.map(str::to_owned).to_vec(),
        }
    }

    /// Seals what was stored at a destination, or takes it away where there is nothing to seal.
    async fn finish(&mut self, series: &Series) -> RunRecord {
        let seal = &series.seal.action;
        let mut progress = self.places.remove(&seal.destination).unwrap_or_default();
        if self.is_worth_sealing(&progress) {
            let record = self.record(series, &progress);
            if let Some((_, why)) = self.shrunk(series, &progress).filter(|_| record.guards.is_some()) {
                self.outside.warn(why);
            }
            match self.outside.settle(&series.seal, &record, std::mem::take(&mut progress.written)).await {
                Ok(()) => return record,
                Err(failure) => progress.failures.push(failure),
            }
        } else {
            progress.written = self.outside.take_away(&seal.destination, progress.written).await;
        }
        if let Some(reason) = self.outside.stop.reason().filter(|_| progress.failures.is_empty()) {
            // The word to stop came between two tasks: none of them tells of it.
            progress.failures.push(Failure { task: seal.to_string(), cause: Cause::Stopped(reason) });
        }
        self.unsealed(series, &progress)
    }

    /// Tells whether what was stored makes a set.
    ///
    /// A set of HitKeep's own has only one name: sealed without something that could have been stored, it could never
    /// get that any more. Unsealed, it is the next run's.
    fn is_worth_sealing(&self, progress: &Progress) -> bool {
        let is_lost = |failure: &Failure| failure.cause.exit_code() == exit::SOURCE;
        let is_all_there_is = !self.has_vanished && progress.failures.iter().all(is_lost);
        // A shard may have no database at all: then all of it is there.
        !progress.is_given_up
            && progress.snapshots.is_empty() == self.work.expected.is_empty()
            && self.outside.stop.reason().is_none()
            && (!self.work.is_adopted() || is_all_there_is)
    }

    /// Returns the record of a destination where nothing was sealed.
    fn unsealed(&self, series: &Series, progress: &Progress) -> RunRecord {
        let stopped = self.outside.stop.reason().map_or(exit::DONE, |reason| Cause::Stopped(reason).exit_code());
        let codes = progress.failures.iter().map(|failure| failure.cause.exit_code());
        let exit_code = match codes.fold(stopped, exit::worse) {
            // Nothing failed on the way: there was nothing to capture to begin with.
            exit::DONE => exit::SOURCE,
            code => code,
        };
        let record = self.record(series, progress);
        RunRecord {
            status: Status::Failed,
            exit_code,
            captured: Vec::new(),
            snapshots: Vec::new(),
            guards: None,
            ..record
        }
    }

    fn record(&self, series: &Series, progress: &Progress) -> RunRecord {
        let captured: Vec<DatabaseId> = progress.snapshots.iter().map(|snapshot| snapshot.database).collect();
        let is_complete = self.work.expected.iter().all(|database| captured.contains(database));
        let differs = progress
            .failures
            .iter()
            .map(|failure| failure.cause.exit_code())
            .filter(|code| *code == exit::VERIFICATION);
        let lease = self.outside.leases.get(&series.seal.action.destination);
        let (guards, shrunk) = self.shrunk(series, progress).filter(|_| is_complete).unzip();
        let (status, code) = if is_complete && guards.is_none() {
            (Status::Complete, exit::DONE)
        } else {
            (Status::Partial, exit::PARTIAL)
        };
        let caveats = self.outside.caveats(&series.seal.action.destination);
        let previous = series.seal.action.previous;
        RunRecord {
            status,
            exit_code: differs.fold(code, exit::worse),
            expected: self.work.expected.clone(),
            captured,
            snapshots: progress.snapshots.clone(),
            archive: None,
            verification: self.work.verification,
            spread_seconds: spread(&progress.snapshots, progress.captured_by),
            lease: lease.map(|lease| lease.generation),
            guards,
            warnings: self.work.warnings.iter().cloned().chain(caveats).chain(shrunk).collect(),
            failures: self.failures(progress),
            series: previous.and_then(|previous| previous.series).or(Some(self.work.run)),
            previous_set: previous.map(|previous| previous.set),
            previous: previous.map(|previous| previous.digest),
            ..self.blank(&series.seal.action.destination)
        }
    }

    /// Returns the record of a destination that holds the set already.
    fn skipped(&self, there: &There) -> RunRecord {
        RunRecord {
            status: Status::Skipped,
            exit_code: if there.is_partial { exit::PARTIAL } else { exit::DONE },
            expected: self.work.expected.clone(),
            warnings: self.work.warnings.clone(),
            ..self.blank(&there.destination)
        }
    }

    fn blank(&self, destination: &Name) -> RunRecord {
        let BackupWork { run, job, snapshot, .. } = self.work;
        let (job, destination) = (job.clone(), destination.clone());
        let started_at = self.started_at;
        blank(
            self.outside,
            Heading { run: *run, job, destination, kind: Kind::Backup, snapshot: *snapshot, started_at },
        )
    }

    /// Compares what was stored with the complete set before it, and returns that one and the warning where it shrank.
    fn shrunk(&self, series: &Series, progress: &Progress) -> Option<(SnapshotId, String)> {
        let before = series.before?;
        let sum = |measure: fn(&SnapshotRecord) -> u64| progress.snapshots.iter().map(measure).sum();
        let (rows, bytes) = (sum(|snapshot| snapshot.rows), sum(|snapshot| snapshot.bytes));
        Some((before.set, before.shrunk(rows, bytes, self.work.max_shrink)?))
    }

    fn failures(&self, progress: &Progress) -> Vec<Failed> {
        let plan_line = Some(self.work.plan_line);
        let missing = self.work.missing.iter().map(|missing| Failed {
            task: format!("export {}", missing.database),
            plan_line,
            cause: missing.cause.clone(),
        });
        let failed = progress.failures.iter().map(|failure| Failed {
            task: failure.task.clone(),
            plan_line,
            cause: failure.cause.to_string(),
        });
        missing.chain(failed).collect()
    }
}

/// Says how stored files were proven to be what went in.
fn proof(attested: usize, read_back: usize) -> String {
    let by_server = || format!("{} attested by the server's own checksum", counted(attested, "file"));
    match (attested, read_back) {
        (0, _) => format!("{} read back and equal", counted(read_back, "file")),
        (_, 0) => by_server(),
        _ => format!("{}, {} read back and equal", by_server(), counted(read_back, "file")),
    }
}

/// Returns the whole seconds between the moments of the first and the last snapshot.
fn spread(snapshots: &[SnapshotRecord], captured_by: Option<Timestamp>) -> u64 {
    let moments = || snapshots.iter().filter_map(|snapshot| snapshot.captured_at);
    match (moments().min(), captured_by) {
        (Some(first), Some(last)) => last.duration_since(first).unsigned_abs().as_secs(),
        _ => 0,
    }
}
