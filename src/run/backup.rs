//! Carries out a backup: announce, capture what others have open, then database by database export, store, check and
//! describe, then seal.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use super::capture::{Captures, Taken};
use super::{Cause, Failure, Gauge, Outside, exit, files, make_private_folder};
use crate::duck::export::{self, Exported};
use crate::duck::{Database, compare};
use crate::event::Event;
use crate::hitkeep;
use crate::measure::{Bytes, Grouped, Sha256, counted};
use crate::name::{DatabaseId, Key, Name, RunId, SnapshotId};
use crate::plan::{Backup, Destination};
use crate::record::{
    ContentRecord, FORMAT, Failed, FileRecord, Kind, Manifest, RunRecord, SnapshotRecord, Status, TableRecord,
    Verification,
};
use crate::store::{Body, Mode, Part, StoreError};
use crate::work::{BackupWork, Chain, Delivery, Export, Origin, Seal, Series, Task};

/// Why a task is not begun when every destination has failed.
const NOWHERE: &str = "there is no destination left to store it at";

/// Carries out `work`, and returns the record of what came of it at each destination, sealed there or not.
pub async fn backup(work: &BackupWork, outside: &Outside) -> Vec<RunRecord> {
    outside.tell.hear(&Event::RunStarted { title: title(work), tasks: work.task_count() });
    work.warnings.iter().for_each(|warning| outside.warn(warning.clone()));
    let started_at = (outside.clock)();
    let mut walk =
        Walk { work, outside, started_at, places: BTreeMap::new(), captures: Captures::new(), has_come: false };
    walk.announce().await;
    walk.capture().await;
    for chain in &work.chains {
        walk.back_up(chain).await;
    }
    let mut records = Vec::new();
    for series in &work.series {
        records.push(walk.finish(series).await);
    }
    let exit_code = records.iter().map(|record| record.exit_code).fold(exit::DONE, exit::worse);
    outside.tell.hear(&Event::RunFinished { result: result(work, &records), exit_code });
    records
}

fn title(work: &BackupWork) -> String {
    format!("backup {}: set {}, {}", work.job, work.snapshot, counted(work.expected.len(), "database"))
}

fn result(work: &BackupWork, records: &[RunRecord]) -> String {
    let at = |record: &RunRecord| {
        format!(
            "set {} at `{}` is {}: {} of {}, {} rows, {}",
            work.snapshot,
            record.destination,
            record.status,
            record.captured.len(),
            counted(record.expected.len(), "database"),
            Grouped(record.rows()),
            Bytes(record.bytes()),
        )
    };
    records.iter().map(at).collect::<Vec<_>>().join("; ")
}

/// Returns the records of a run that ended before it began, one for each destination of the job.
#[must_use]
pub fn unbegun(
    job: &Backup,
    run: RunId,
    now: Timestamp,
    outside: &Outside,
    cause: &str,
    exit_code: u8,
) -> Vec<RunRecord> {
    let failed =
        || Failed { task: "look at the installation".to_owned(), plan_line: Some(job.line()), cause: cause.to_owned() };
    let record = |destination: &Arc<Destination>| RunRecord {
        format: FORMAT,
        run,
        plan: outside.about.plan.clone(),
        job: job.name().clone(),
        destination: destination.name().clone(),
        kind: Kind::Backup,
        snapshot: SnapshotId::at(now),
        status: Status::Failed,
        exit_code,
        started_at: now,
        finished_at: (outside.clock)(),
        host: outside.about.host.clone(),
        tool: outside.about.tool.clone(),
        expected: Vec::new(),
        captured: Vec::new(),
        snapshots: Vec::new(),
        verification: Verification::None,
        spread_seconds: 0,
        lease: None,
        guards: None,
        warnings: Vec::new(),
        failures: vec![failed()],
        previous_set: None,
        previous: None,
    };
    job.to().iter().map(record).collect()
}

/// A backup on its way.
struct Walk<'w> {
    work: &'w BackupWork,
    outside: &'w Outside,
    started_at: Timestamp,
    places: BTreeMap<Name, Progress>,
    captures: Captures,
    /// Whether someone has opened a database since the work was planned.
    has_come: bool,
}

/// How far a backup has come at one destination.
#[derive(Default)]
struct Progress {
    /// What has been stored there or may have been, in order, so that it can be taken away again.
    written: Vec<Key>,
    snapshots: Vec<SnapshotRecord>,
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
                    task: format!("look at destination `{}`", series.seal.action.destination),
                    cause: Cause::Before { cause: cause.clone(), exit_code: exit::DESTINATION },
                }),
                None => self.write_note(series, &mut progress).await,
            };
            if let Err(failure) = announced {
                progress.is_given_up = true;
                progress.failures.push(failure);
            }
            self.places.insert(series.seal.action.destination.clone(), progress);
        }
    }

    async fn write_note(&self, series: &Series, progress: &mut Progress) -> Result<(), Failure> {
        let (gauge, action) = (Gauge::default(), &series.announce.action);
        let note = serde_json::json!({
            "format": FORMAT,
            "run": self.work.run,
            "job": self.work.job,
            "host": self.outside.about.host,
            "started_at": self.started_at,
        });
        let put = async {
            let note = format!("{note}\n").into_bytes();
            self.put_own(&action.destination, &action.key, note, &gauge, &mut progress.written).await?;
            Ok(((), String::new()))
        };
        self.outside.perform(&series.announce, None, &gauge, put).await
    }

    /// Stores a document, and notes its key as written unless another had taken it.
    async fn put_own(
        &self,
        destination: &Name,
        key: &Key,
        bytes: Vec<u8>,
        gauge: &Gauge,
        written: &mut Vec<Key>,
    ) -> Result<(), Cause> {
        let put = self.outside.store(destination)?.put(key, Body::Bytes(bytes), Mode::Create, &gauge.meter).await;
        if !matches!(put, Err(StoreError::Exists { .. })) {
            written.push(key.clone());
        }
        Ok(put.map(drop)?)
    }

    /// Captures the databases that others have open, unless that would be for nobody.
    async fn capture(&mut self) {
        if self.is_given_up() {
            self.outside.skip_captures(self.work, NOWHERE);
        } else {
            self.captures = self.outside.capture_all(self.work).await;
        }
    }

    /// Exports one database and delivers it everywhere; neither the export nor a copy outlives this.
    async fn back_up(&mut self, chain: &Chain) {
        if self.is_given_up() {
            let why = NOWHERE.to_owned();
            return self.outside.tell.hear(&Event::TaskSkipped { task: chain.export.id, why });
        }
        match self.export(&chain.export).await {
            Ok((taken, exported)) => {
                for delivery in &chain.deliveries {
                    self.deliver(chain, delivery, &taken, &exported).await;
                }
            }
            Err(failure) => self.fail_everywhere(chain, &failure),
        }
        let export = &chain.export.action;
        for folder in [Some(export.into.as_path()), export.from.copy().and_then(Path::parent)].into_iter().flatten() {
            if let Err(cause) = remove_folder(folder) {
                self.outside.warn(format!("`{}` could not be removed: {cause}", folder.display()));
            }
        }
    }

    /// Tells whether there is no destination left to store anything at.
    fn is_given_up(&self) -> bool {
        self.places.values().all(|progress| progress.is_given_up)
    }

    /// Exports what was captured of a database, or what is in it now.
    async fn export(&mut self, task: &Task<Export>) -> Result<(Taken, Exported), Failure> {
        let (gauge, action, outside) = (Gauge::default(), &task.action, self.outside);
        let captured = self.captures.remove(&action.database).transpose()?;
        let has_come = &mut self.has_come;
        let export = async {
            make_private_folder(&action.into)?;
            let (taken, exported) = match (captured, &action.from) {
                (Some(taken), Origin::Copy(copy)) => {
                    (taken, outside.export(action, Database::Copy(copy.clone()), &gauge).await?)
                }
                _ => outside.export_present(action, has_come, &gauge).await?,
            };
            let rows: u64 = exported.tables.iter().map(|table| table.rows).sum();
            let result = format!("{}, {} rows", counted(exported.tables.len(), "table"), Grouped(rows));
            Ok(((taken, exported), result))
        };
        outside.perform(task, None, &gauge, export).await
    }

    /// Tells every destination that a database could not be exported.
    fn fail_everywhere(&mut self, chain: &Chain, failure: &Failure) {
        for delivery in &chain.deliveries {
            let cause = Cause::Before { cause: failure.cause.to_string(), exit_code: failure.cause.exit_code() };
            if let Some(progress) = self.places.get_mut(&delivery.put.action.destination) {
                progress.failures.push(Failure { task: failure.task.clone(), cause });
            }
        }
    }

    /// Stores one database at one destination, whole or not at all.
    async fn deliver(&mut self, chain: &Chain, delivery: &Delivery, taken: &Taken, exported: &Exported) {
        let destination = &delivery.put.action.destination;
        let Some(mut progress) = self.places.remove(destination) else { return };
        if !progress.is_given_up {
            let before = progress.written.len();
            match self.store_snapshot(chain, delivery, taken, exported, &mut progress.written).await {
                Ok(snapshot) => progress.snapshots.push(snapshot),
                Err(failure) => {
                    progress.failures.push(failure);
                    let half = progress.written.split_off(before);
                    progress.written.extend(self.take_away(destination, half).await);
                }
            }
        }
        self.places.insert(destination.clone(), progress);
    }

    async fn store_snapshot(
        &self,
        chain: &Chain,
        delivery: &Delivery,
        taken: &Taken,
        exported: &Exported,
        written: &mut Vec<Key>,
    ) -> Result<SnapshotRecord, Failure> {
        let stored = self.put(delivery, written).await?;
        self.check(delivery, &stored).await?;
        let manifest = self.manifest(&chain.export.action, taken, exported, stored);
        self.describe(delivery, &manifest, written).await
    }

    async fn put(&self, delivery: &Delivery, written: &mut Vec<Key>) -> Result<Vec<FileRecord>, Failure> {
        let (gauge, action) = (Gauge::default(), &delivery.put.action);
        let fail = |cause| Failure { task: action.to_string(), cause };
        let names = files::names_in_order(&action.from).map_err(fail)?;
        let size = |name: &String| std::fs::metadata(action.from.join(name)).map_or(0, |about| about.len());
        let total = Bytes(names.iter().map(size).sum());
        let own = Mutex::default();
        let put = async {
            let store = self.outside.store(&action.destination)?;
            let stored = files::put(store, &action.from, &names, &action.prefix, &gauge, &own).await?;
            let result = format!("{}, {total}", counted(stored.len(), "file"));
            Ok((stored, result))
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
        };
        let put = async {
            self.put_own(&action.destination, &action.key, bytes, &gauge, written).await?;
            Ok((snapshot, String::new()))
        };
        self.outside.perform(&delivery.describe, None, &gauge, put).await
    }

    fn manifest(&self, export: &Export, taken: &Taken, exported: &Exported, files: Vec<FileRecord>) -> Manifest {
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
            database: export.database,
            name: export.name.clone(),
            run: self.work.run,
            captured_at: taken.at,
            capture: taken.capture,
            live: taken.live.clone(),
            database_bytes: export.bytes.0,
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
        let mut may_stay = false;
        if !progress.is_given_up && !progress.snapshots.is_empty() && self.outside.stop.reason().is_none() {
            let record = self.record(series, &progress);
            let is_unanswered = AtomicBool::new(false);
            if let Some((_, why)) = self.shrunk(series, &progress).filter(|_| record.guards.is_some()) {
                self.outside.warn(why);
            }
            let Err(failure) = self.seal(&series.seal, &record, &is_unanswered).await else { return record };
            match self.is_sealed(seal, &record).await {
                Some(true) => return record,
                // A record that was sent may still come to lie there: then its files must be there too.
                Some(false) => may_stay = is_unanswered.into_inner(),
                None => may_stay = true,
            }
            progress.failures.push(failure);
        }
        if !may_stay {
            progress.written = self.take_away(&seal.destination, std::mem::take(&mut progress.written)).await;
        }
        if let Some(reason) = self.outside.stop.reason().filter(|_| progress.failures.is_empty()) {
            // The word to stop came between two tasks: none of them tells of it.
            progress.failures.push(Failure { task: seal.to_string(), cause: Cause::Stopped(reason) });
        }
        self.unsealed(series, &progress)
    }

    /// Writes the record; `is_unanswered` is set where it was sent and nobody said what came of it.
    async fn seal(&self, task: &Task<Seal>, record: &RunRecord, is_unanswered: &AtomicBool) -> Result<(), Failure> {
        let (gauge, action) = (Gauge::default(), &task.action);
        let put = async {
            self.check_lease(&action.destination)?;
            let store = self.outside.store(&action.destination)?;
            let put = store.put(&action.key, Body::Bytes(record.write()), Mode::Create, &gauge.meter).await;
            is_unanswered.store(matches!(put, Err(StoreError::Unreachable { .. })), Ordering::Relaxed);
            put?;
            Ok(((), record.status.to_string()))
        };
        self.outside.perform(task, None, &gauge, put).await?;
        let removed = match self.outside.store(&action.destination) {
            Ok(store) => store.delete(&action.announcement).await.map_err(|error| error.to_string()),
            Err(cause) => Err(cause.to_string()),
        };
        if let Err(cause) = removed {
            // The record outweighs the note; `list` does not even look at it.
            self.outside.warn(format!("the note of the run stays: {cause}"));
        }
        Ok(())
    }

    /// Goes on unless another run may have the place by now.
    fn check_lease(&self, destination: &Name) -> Result<(), Cause> {
        match self.outside.leases.get(destination) {
            Some(lease) if lease.is_lost() => Err(Cause::LeaseLost { generation: lease.generation }),
            _ => Ok(()),
        }
    }

    /// Tells whether the record is there although storing it failed: an answer can be lost after the deed is done.
    async fn is_sealed(&self, seal: &Seal, record: &RunRecord) -> Option<bool> {
        match self.outside.store(&seal.destination).ok()?.read(&seal.key, Part::Whole).await {
            Ok(found) => Some(found == record.write()),
            Err(StoreError::Missing { .. }) => Some(false),
            Err(_) => None,
        }
    }

    /// Deletes what this run has stored, the last first, so that what is left half-way looks unfinished to everyone.
    /// Returns what could not be deleted.
    async fn take_away(&self, destination: &Name, mut written: Vec<Key>) -> Vec<Key> {
        let Ok(store) = self.outside.store(destination) else { return written };
        while let Some(key) = written.last() {
            if let Err(cause) = store.delete(key).await {
                self.outside.warn(format!("what this run had stored at `{destination}` could not be removed: {cause}"));
                break;
            }
            written.pop();
        }
        written
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
        let caveat = lease.and_then(|lease| lease.caveat.clone());
        RunRecord {
            format: FORMAT,
            run: self.work.run,
            plan: self.outside.about.plan.clone(),
            job: self.work.job.clone(),
            destination: series.seal.action.destination.clone(),
            kind: Kind::Backup,
            snapshot: self.work.snapshot,
            status,
            exit_code: differs.fold(code, exit::worse),
            started_at: self.started_at,
            finished_at: (self.outside.clock)(),
            host: self.outside.about.host.clone(),
            tool: self.outside.about.tool.clone(),
            expected: self.work.expected.clone(),
            captured,
            snapshots: progress.snapshots.clone(),
            verification: self.work.verification,
            spread_seconds: spread(&progress.snapshots),
            lease: lease.map(|lease| lease.generation),
            guards,
            warnings: self.work.warnings.iter().cloned().chain(caveat).chain(shrunk).collect(),
            failures: self.failures(progress),
            previous_set: series.seal.action.previous.map(|(set, _)| set),
            previous: series.seal.action.previous.map(|(_, digest)| digest),
        }
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
fn spread(snapshots: &[SnapshotRecord]) -> u64 {
    let moments = || snapshots.iter().filter_map(|snapshot| snapshot.captured_at);
    match (moments().min(), moments().max()) {
        (Some(first), Some(last)) => last.duration_since(first).unsigned_abs().as_secs(),
        _ => 0,
    }
}

fn remove_folder(folder: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
