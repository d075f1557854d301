//! Carries out an archive: clear up, announce, capture what others have open; then database by database extract, store
//! and read back; then seal; and only when every destination is sealed, delete.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use super::capture::Captures;
use super::files::Storing;
use super::series::{Heading, Note, blank};
use super::takeover::Takeover;
use super::{Cause, Failure, Gauge, Outside, exit, files, looking_at, make_private_folder};
use crate::duck::archive::{self, Cut, Outcome, Wanted};
use crate::duck::{Database, DuckError};
use crate::event::Event;
use crate::measure::{Bytes, Content, Grouped, counted};
use crate::name::{DatabaseId, Key, Name};
use crate::record::{
    ArchiveRecord, ArchivedFile, ColumnRecord, Failed, FileRecord, Kind, Ledger, LeftOut, PartId, PartRecord,
    RunRecord, SchemaRecord, SiteRecord, Status, Verification,
};
use crate::store::{Body, Store};
use crate::work::{ArchiveChain, ArchiveDelivery, ArchiveSeries, ArchiveWork, Erase, Extract, Origin, Task};

/// Carries out `work`, and returns the record of what came of it at each destination, sealed there or not.
///
/// Of rows that were deleted only these records tell, and not those that are sealed: they are deleted afterwards.
pub async fn archive(work: &ArchiveWork, outside: &Outside) -> Vec<RunRecord> {
    let databases = counted(work.expected.len(), "database");
    let title = format!("archive {}: run {}, {databases}", work.job, work.snapshot);
    outside.tell.hear(&Event::RunStarted { title, tasks: work.task_count() });
    work.warnings.iter().for_each(|warning| outside.warn(warning.clone()));
    let started_at = (outside.clock)();
    let mut walk = Walk {
        work,
        outside,
        started_at,
        places: BTreeMap::new(),
        captures: Captures::new(),
        live: BTreeMap::new(),
        has_come: false,
    };
    walk.begin().await;
    walk.capture().await;
    for chain in &work.chains {
        walk.carry_out(chain).await;
    }
    let mut records = Vec::new();
    for series in &work.series {
        records.push(walk.finish(series).await);
    }
    walk.erase(&mut records).await;
    let exit_code = records.iter().map(|record| record.exit_code).fold(exit::DONE, exit::worse);
    outside.tell.hear(&Event::RunFinished { result: result(work, &records), exit_code });
    records
}

fn result(work: &ArchiveWork, records: &[RunRecord]) -> String {
    let at = |record: &RunRecord| {
        let files = record.archive.as_ref().map_or(0, |archive| archive.files.len());
        format!(
            "archive {} at `{}` is {}: {} rows in {}, {}",
            work.snapshot,
            record.destination,
            record.status,
            Grouped(record.rows()),
            counted(files, "file"),
            Bytes(record.bytes()),
        )
    };
    records.iter().map(at).collect::<Vec<_>>().join("; ")
}

/// An archive on its way.
struct Walk<'w> {
    work: &'w ArchiveWork,
    outside: &'w Outside,
    started_at: Timestamp,
    places: BTreeMap<Name, Progress>,
    captures: Captures,
    /// What was past in each database when it was read, once for each group of destinations: what may be deleted.
    live: BTreeMap<DatabaseId, Vec<BTreeMap<PartId, Content>>>,
    /// Whether someone has opened a database since the work was planned.
    has_come: bool,
}

/// How far an archive has come at one destination.
#[derive(Default)]
struct Progress {
    /// What has been stored there or may have been, in order, so that it can be taken away again.
    written: Vec<Key>,
    archived: BTreeSet<DatabaseId>,
    files: Vec<ArchivedFile>,
    /// The tables with their columns, each with the databases in which it is like that.
    schemas: BTreeMap<(String, Vec<ColumnRecord>), BTreeSet<DatabaseId>>,
    left_out: BTreeSet<LeftOut>,
    failures: Vec<Failure>,
    /// Whether nothing more is to be stored there.
    is_given_up: bool,
    /// Whether everything there is sealed.
    is_sealed: bool,
}

impl Progress {
    /// Notes what was found in a database whose rows are archived.
    fn add(&mut self, database: DatabaseId, extract: &archive::Extract) {
        self.archived.insert(database);
        self.left_out.extend(extract.left_out.iter().cloned());
        for schema in extract.schemas.clone() {
            self.schemas.entry(schema).or_default().insert(database);
        }
    }

    fn schemas(&self) -> Vec<SchemaRecord> {
        let schema = |((table, columns), databases): (&(String, Vec<ColumnRecord>), &BTreeSet<DatabaseId>)| {
            let (table, columns, databases) = (table.clone(), columns.clone(), databases.iter().copied().collect());
            SchemaRecord { table, databases, columns }
        };
        self.schemas.iter().map(schema).collect()
    }
}

impl Walk<'_> {
    /// Clears up and leaves a note at each destination.
    async fn begin(&mut self) {
        for series in &self.work.series {
            let mut progress = Progress::default();
            if let Err(failure) = self.begin_at(series, &mut progress).await {
                progress.is_given_up = true;
                progress.failures.push(failure);
            }
            self.places.insert(series.seal.action.destination.clone(), progress);
        }
    }

    async fn begin_at(&self, series: &ArchiveSeries, progress: &mut Progress) -> Result<(), Failure> {
        if let Some(cause) = &series.unreachable {
            let cause = Cause::Before { cause: cause.clone(), exit_code: exit::DESTINATION };
            return Err(Failure { task: looking_at(&series.seal.action.destination), cause });
        }
        for clear in &series.clear {
            self.outside.clear(clear).await?;
        }
        let note = Note { run: self.work.run, job: &self.work.job, started_at: self.started_at };
        self.outside.announce(&series.announce, &note, &mut progress.written).await?;
        self.outside.warn_of_caveats(&series.announce.action.destination);
        Ok(())
    }

    fn is_given_up(&self, chain: &ArchiveChain) -> bool {
        let is_given_up = |delivery: &ArchiveDelivery| {
            self.places.get(&delivery.put.action.destination).is_none_or(|progress| progress.is_given_up)
        };
        chain.deliveries.iter().all(is_given_up)
    }

    async fn capture(&mut self) {
        let (preparations, captures) = (&self.work.preparations, &self.work.captures);
        if self.places.values().all(|progress| progress.is_given_up) {
            self.outside.skip_captures(preparations, captures, "there is no destination left to store it at");
        } else {
            self.captures = self.outside.capture_all(preparations, captures).await;
        }
    }

    /// Extracts what is past in one database, and delivers it everywhere.
    async fn carry_out(&mut self, chain: &ArchiveChain) {
        if self.is_given_up(chain) {
            let why = "there is no destination left to store it at".to_owned();
            return self.outside.tell.hear(&Event::TaskSkipped { task: chain.extract.id, why });
        }
        match self.extract(&chain.extract).await {
            Ok(extract) => {
                self.live.entry(chain.extract.action.input.database).or_default().push(extract.live.clone());
                for delivery in &chain.deliveries {
                    self.deliver(delivery, &extract).await;
                }
            }
            Err(failure) => {
                for delivery in &chain.deliveries {
                    let cause =
                        Cause::Before { cause: failure.cause.to_string(), exit_code: failure.cause.exit_code() };
                    if let Some(progress) = self.places.get_mut(&delivery.put.action.destination) {
                        progress.failures.push(Failure { task: failure.task.clone(), cause });
                    }
                }
            }
        }
        self.outside.remove_staged(&chain.extract.action.into).await;
    }

    async fn extract(&mut self, task: &Task<Extract>) -> Result<archive::Extract, Failure> {
        let (gauge, action, outside, work) = (Gauge::default(), &task.action, self.outside, self.work);
        let (captures, has_come) = (&self.captures, &mut self.has_come);
        let extract = async {
            make_private_folder(&action.into)?;
            let copy = match (captures.get(&action.input.database), &action.input.from) {
                (Some(Err(failure)), _) => {
                    return Err(Cause::Before {
                        cause: failure.cause.to_string(),
                        exit_code: failure.cause.exit_code(),
                    });
                }
                (Some(Ok(_)), Origin::Copy(copy)) => Some(copy),
                _ => None,
            };
            let fetched = Mutex::new(BTreeMap::new());
            let extract = loop {
                let read = async |database| {
                    let at_hand = fetched.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    outside.extract(action, work, database, at_hand).await
                };
                let outcome = if let Some(copy) = copy {
                    read(Database::Copy(copy.clone())).await?
                } else {
                    outside.read_present(&action.input, has_come, std::future::ready(()), &gauge, read).await?.1
                };
                match outcome {
                    Outcome::Done(extract) => break extract,
                    Outcome::Needs(needs) => {
                        let fresh = outside.fetch_archived(action, work, &needs, &gauge).await?;
                        fetched.lock().unwrap_or_else(PoisonError::into_inner).extend(fresh);
                    }
                }
            };
            let rows: u64 = extract.files.iter().flat_map(|file| file.parts.values()).map(|part| part.rows).sum();
            let live: u64 = extract.live.values().map(|part| part.rows).sum();
            let (files, rows, live) = (counted(extract.files.len(), "file"), Grouped(rows), Grouped(live));
            Ok((extract, format!("{rows} rows in {files}, of {live} that are past")))
        };
        outside.perform(task, None, &gauge, extract).await
    }

    /// Stores what was extracted of one database at one destination, whole or not at all.
    async fn deliver(&mut self, delivery: &ArchiveDelivery, extract: &archive::Extract) {
        let destination = &delivery.put.action.destination;
        let Some(mut progress) = self.places.remove(destination) else { return };
        if !progress.is_given_up {
            let before = progress.written.len();
            match self.store(delivery, extract, &mut progress.written).await {
                Ok(files) => {
                    progress.files.extend(files);
                    progress.add(delivery.put.action.database, extract);
                }
                Err(failure) => {
                    progress.failures.push(failure);
                    let half = progress.written.split_off(before);
                    progress.written.extend(self.outside.take_away(destination, half).await);
                }
            }
        }
        self.places.insert(destination.clone(), progress);
    }

    async fn store(
        &self,
        delivery: &ArchiveDelivery,
        extract: &archive::Extract,
        written: &mut Vec<Key>,
    ) -> Result<Vec<ArchivedFile>, Failure> {
        let sources: BTreeMap<String, &archive::Written> =
            extract.files.iter().map(|file| (self.name(delivery, file), file)).collect();
        let stored = self.put(delivery, &sources, written).await?;
        let files: Vec<ArchivedFile> = stored
            .into_iter()
            .filter_map(|file| {
                let written = sources.get(&file.path)?;
                let part = |(id, content): (&PartId, &Content)| PartRecord {
                    table: id.table.clone(),
                    month: id.month,
                    rows: content.rows,
                    content: content.digest(),
                };
                let parts = written.parts.iter().map(part).collect();
                Some(ArchivedFile { file, site: written.cut.site, duckdb: extract.engine.clone(), parts })
            })
            .collect();
        self.check(delivery, &files, extract).await?;
        Ok(files)
    }

    /// Returns the name of a file at a destination.
    fn name(&self, delivery: &ArchiveDelivery, file: &archive::Written) -> String {
        match delivery.flat {
            Some(tenant) if tenant == file.cut.tenant => {
                let unix = self.work.snapshot.moment().as_second();
                crate::hitkeep::archive_key(tenant, file.cut.site, unix, true).to_string()
            }
            _ => file.path.clone(),
        }
    }

    async fn put(
        &self,
        delivery: &ArchiveDelivery,
        sources: &BTreeMap<String, &archive::Written>,
        written: &mut Vec<Key>,
    ) -> Result<Vec<FileRecord>, Failure> {
        let (gauge, action) = (Gauge::default(), &delivery.put.action);
        let path = |name: &str| sources.get(name).map_or_else(PathBuf::new, |file| action.from.join(&file.path));
        let names: Vec<String> = sources.keys().cloned().collect();
        let size = |name: &String| std::fs::metadata(path(name)).map_or(0, |about| about.len());
        let from = |name: &str| Body::File(path(name));
        let total = Bytes(names.iter().map(size).sum());
        let (own, takeover) = (Mutex::default(), Takeover::of(&action.remains));
        let put = async {
            let store = self.outside.store(&action.destination)?;
            let (prefix, takeover, gauge, own) = (&action.prefix, &takeover, &gauge, &own);
            let storing = Storing { store, from, prefix, takeover, gauge, own };
            let stored = storing.put_each(&names, files::ABREAST).await?;
            let result = format!("{}, {total}", counted(stored.len(), "file"));
            Ok((stored, result))
        };
        let put = self.outside.perform(&delivery.put, Some(total), &gauge, put).await;
        written.append(&mut own.into_inner().unwrap_or_else(PoisonError::into_inner));
        put
    }

    /// Reads back what was stored, and where rows are to be deleted, also the earlier files that some of them are in.
    async fn check(
        &self,
        delivery: &ArchiveDelivery,
        stored: &[ArchivedFile],
        extract: &archive::Extract,
    ) -> Result<(), Failure> {
        let (gauge, action) = (Gauge::default(), &delivery.check.action);
        let earlier = if self.work.deletes { holding(&delivery.ledger, &extract.archived) } else { Vec::new() };
        let files: Vec<FileRecord> = stored.iter().map(|file| file.file.clone()).chain(earlier).collect();
        let total = Bytes(files.iter().map(|file| file.bytes).sum());
        let check = async {
            let store = self.outside.store(&action.destination)?;
            files::check(store, &action.prefix, &files, &gauge).await?;
            Ok(((), format!("{} read back and equal", counted(files.len(), "file"))))
        };
        self.outside.perform(&delivery.check, Some(total), &gauge, check).await
    }

    /// Seals what was stored at a destination, or takes it away.
    async fn finish(&mut self, series: &ArchiveSeries) -> RunRecord {
        let seal = &series.seal.action;
        let mut progress = self.places.remove(&seal.destination).unwrap_or_default();
        // A run that has looked at nothing has nothing to say; one that has found nothing has.
        let is_empty = progress.archived.is_empty() && !self.work.expected.is_empty();
        if progress.is_given_up || is_empty || self.outside.stop.reason().is_some() {
            progress.written = self.outside.take_away(&seal.destination, progress.written).await;
        } else {
            let record = self.record(series, &progress);
            match self.outside.settle(&series.seal, &record, std::mem::take(&mut progress.written)).await {
                Ok(()) => {
                    progress.is_sealed = true;
                    self.places.insert(seal.destination.clone(), progress);
                    return record;
                }
                Err(failure) => progress.failures.push(failure),
            }
        }
        if let Some(reason) = self.outside.stop.reason().filter(|_| progress.failures.is_empty()) {
            progress.failures.push(Failure { task: seal.to_string(), cause: Cause::Stopped(reason) });
        }
        self.unsealed(series, &progress)
    }

    fn unsealed(&self, series: &ArchiveSeries, progress: &Progress) -> RunRecord {
        let codes = progress.failures.iter().map(|failure| failure.cause.exit_code());
        let exit_code = match codes.fold(exit::DONE, exit::worse) {
            exit::DONE => exit::SOURCE,
            code => code,
        };
        let record = self.record(series, progress);
        let archive = record.archive.map(|archive| ArchiveRecord { files: Vec::new(), schemas: Vec::new(), ..archive });
        RunRecord { status: Status::Failed, exit_code, captured: Vec::new(), archive, ..record }
    }

    fn record(&self, series: &ArchiveSeries, progress: &Progress) -> RunRecord {
        let is_complete = self.work.expected.iter().all(|database| progress.archived.contains(database));
        let (status, code) =
            if is_complete { (Status::Complete, exit::DONE) } else { (Status::Partial, exit::PARTIAL) };
        let codes = progress.failures.iter().map(|failure| failure.cause.exit_code());
        let differs = codes.filter(|code| *code == exit::VERIFICATION);
        let lease = self.outside.leases.get(&series.seal.action.destination);
        let caveats = self.outside.caveats(&series.seal.action.destination);
        let heading = Heading {
            run: self.work.run,
            job: self.work.job.clone(),
            destination: series.seal.action.destination.clone(),
            kind: Kind::Archive,
            snapshot: self.work.snapshot,
            started_at: self.started_at,
        };
        RunRecord {
            status,
            exit_code: differs.fold(code, exit::worse),
            expected: self.work.expected.clone(),
            captured: progress.archived.iter().copied().collect(),
            archive: Some(ArchiveRecord {
                at: self.work.snapshot.moment(),
                layout: self.work.layout,
                deletes: self.work.deletes,
                sites: self.work.sites.clone(),
                files: progress.files.clone(),
                schemas: progress.schemas(),
                left_out: progress.left_out.iter().cloned().collect(),
                deleted: BTreeMap::new(),
            }),
            verification: Verification::Checksum,
            lease: lease.map(|lease| lease.generation),
            warnings: self.work.warnings.iter().cloned().chain(caveats).collect(),
            failures: self.failures(progress),
            previous_set: series.seal.action.previous.map(|previous| previous.set),
            previous: series.seal.action.previous.map(|previous| previous.digest),
            ..blank(self.outside, heading)
        }
    }

    fn failures(&self, progress: &Progress) -> Vec<Failed> {
        let missing = self.work.missing.iter().map(|missing| Failed {
            task: format!("extract {}", missing.database),
            plan_line: Some(self.work.plan_line),
            cause: missing.cause.clone(),
        });
        missing.chain(progress.failures.iter().map(|failure| self.failed(failure))).collect()
    }

    fn failed(&self, failure: &Failure) -> Failed {
        let plan_line = Some(self.work.plan_line);
        Failed { task: failure.task.clone(), plan_line, cause: failure.cause.to_string() }
    }

    /// Deletes what is archived from each database whose rows are sealed at every destination.
    async fn erase(&self, records: &mut [RunRecord]) {
        for task in &self.work.erasures {
            let database = task.action.database;
            let is_archived = |series: &ArchiveSeries| {
                let progress = self.places.get(&series.seal.action.destination);
                progress.is_some_and(|progress| progress.is_sealed && progress.archived.contains(&database))
            };
            if !self.work.series.iter().all(is_archived) {
                let why = "not every destination has all of it".to_owned();
                self.outside.tell.hear(&Event::TaskSkipped { task: task.id, why });
                continue;
            }
            let erased = self.erase_one(task).await;
            for record in &mut *records {
                match &erased {
                    Ok(rows) => {
                        if let Some(archive) = &mut record.archive {
                            archive.deleted.insert(database, *rows);
                        }
                    }
                    Err(failure) => {
                        record.exit_code = exit::worse(record.exit_code, failure.cause.exit_code());
                        record.failures.push(self.failed(failure));
                    }
                }
            }
        }
    }

    async fn erase_one(&self, task: &Task<Erase>) -> Result<u64, Failure> {
        let Erase { path, sites, database } = task.action.clone();
        let mut live = self.live.get(&database).cloned().unwrap_or_default().into_iter();
        let erase = async {
            let archived = live.next().unwrap_or_default();
            if live.any(|other| other != archived) {
                return Err(DuckError::Differs("the rows that are past have changed during the run".to_owned()).into());
            }
            let cuts = cuts(&sites);
            let erased = self.outside.engine(move |session| archive::erase(session, &path, &cuts, &archived));
            let rows = erased.await.map_err(|error| match error {
                locked @ DuckError::Locked { .. } => Cause::Living(locked),
                other => other.into(),
            })?;
            Ok((rows, format!("{} rows", Grouped(rows))))
        };
        self.outside.perform(task, None, &Gauge::default(), erase).await
    }
}

impl Outside {
    async fn extract(
        &self,
        action: &Extract,
        work: &ArchiveWork,
        database: Database,
        at_hand: BTreeMap<ArchivedFile, PathBuf>,
    ) -> Result<Outcome, DuckError> {
        let wanted = Wanted {
            cuts: cuts(&action.sites),
            layout: work.layout,
            unix: work.snapshot.moment().as_second(),
            ledger: action.ledger.clone(),
        };
        let into = action.into.clone();
        self.engine(move |session| {
            archive::extract(session, &database, &wanted, &into, &|file| at_hand.get(file).cloned())
        })
        .await
    }

    /// Fetches archived files, and compares each with its record.
    async fn fetch_archived(
        &self,
        action: &Extract,
        work: &ArchiveWork,
        files: &BTreeSet<ArchivedFile>,
        gauge: &Gauge,
    ) -> Result<BTreeMap<ArchivedFile, PathBuf>, Cause> {
        let series = work.chains.iter().flat_map(|chain| &chain.deliveries);
        let prefix = series.map(|delivery| &delivery.put.action).find(|put| put.destination == action.fetch_from);
        let prefix = prefix.map(|put| put.prefix.clone()).unwrap_or_default();
        let store: &Arc<dyn Store> = self.store(&action.fetch_from)?;
        let folder = action.into.with_extension("earlier");
        files::get_archived(store, &prefix, files, &folder, gauge).await?;
        Ok(files.iter().map(|file| (file.clone(), folder.join(&file.file.path))).collect())
    }
}

fn cuts(sites: &[SiteRecord]) -> Vec<Cut> {
    sites.iter().map(|site| Cut { site: site.site, tenant: site.tenant, cutoff: site.cutoff }).collect()
}

/// Returns the files of a ledger that hold rows of any of these parts.
fn holding(ledger: &Ledger, parts: &BTreeSet<PartId>) -> Vec<FileRecord> {
    let holds = |file: &&ArchivedFile| {
        file.parts
            .iter()
            .any(|part| parts.contains(&PartId { site: file.site, table: part.table.clone(), month: part.month }))
    };
    ledger.files.iter().filter(holds).map(|file| file.file.clone()).collect()
}
