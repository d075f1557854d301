//! Carries out a verification: every file of every snapshot is read and compared with what was sealed; of archives, every
//! row too.

use std::path::Path;
use std::sync::Arc;

use super::{Cause, Failure, Gauge, Outside, exit, files, load};
use crate::duck::{DuckError, Session, archive};
use crate::event::Event;
use crate::hitkeep;
use crate::measure::{Grouped, Sha256, counted};
use crate::name::{Name, SnapshotId};
use crate::record::{ArchivedFile, FileRecord, Manifest, SnapshotRecord, State};
use crate::store::{Part, Store, StoreError};
use crate::work::{ArchiveCheck, Sealed, SetCheck, SnapshotCheck, Task, VerifyWork};

/// How many files of an archive are fetched before an engine reads them.
const TOGETHER: usize = 16;

/// What a verification found about one set.
#[derive(Debug)]
pub struct Finding {
    /// The set.
    pub set: SnapshotId,
    /// What the catalogue says it is worth.
    pub state: State,
    /// What is wrong with it; empty when it is what was sealed.
    pub failures: Vec<Failure>,
    /// What was read of it.
    pub read: Read,
}

/// How much was read, of how much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// The files that were read.
    pub files: u64,
    /// The files that are there.
    pub of_files: u64,
    /// The bytes that were read.
    pub bytes: u64,
    /// The bytes that are there.
    pub of_bytes: u64,
}

impl Read {
    /// Returns what is read of these files, which have sizes, and are read or not.
    fn of(files: impl IntoIterator<Item = (u64, bool)>) -> Self {
        let add = |sum: Self, (bytes, is_read): (u64, bool)| Self {
            files: sum.files + u64::from(is_read),
            of_files: sum.of_files + 1,
            bytes: sum.bytes + if is_read { bytes } else { 0 },
            of_bytes: sum.of_bytes + bytes,
        };
        files.into_iter().fold(Self::default(), add)
    }
}

impl std::ops::AddAssign for Read {
    fn add_assign(&mut self, other: Self) {
        self.files += other.files;
        self.of_files += other.of_files;
        self.bytes += other.bytes;
        self.of_bytes += other.of_bytes;
    }
}

impl Finding {
    /// Returns the exit code that this asks for.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let by_state = match self.state {
            State::Complete | State::Foreign => exit::DONE,
            State::Partial => exit::PARTIAL,
            State::Damaged(_) | State::Stranger(_) | State::Orphan => exit::VERIFICATION,
        };
        self.failures.iter().map(|failure| failure.cause.exit_code()).fold(by_state, exit::worse)
    }
}

/// Carries out `work` at `destination`, and returns what was found of each set. What is read by an engine is fetched into
/// folders of its own inside `scratch`.
pub async fn verify(work: &VerifyWork, destination: &Name, scratch: &Path, outside: &Outside) -> Vec<Finding> {
    let title = format!("verify {} in {}", counted(work.sets.len(), "set"), work.at);
    outside.tell.hear(&Event::RunStarted { title, tasks: work.task_count() });
    let mut findings = Vec::new();
    for (set, state, checks) in &work.sets {
        let (mut failures, mut read) = (Vec::new(), Read::default());
        for check in checks {
            failures.extend(check_set(check, destination, scratch, outside, &mut read).await.err());
        }
        findings.push(Finding { set: *set, state: state.clone(), failures, read });
    }
    let exit_code = findings.iter().map(Finding::exit_code).fold(exit::DONE, exit::worse);
    let good = findings.iter().filter(|finding| finding.exit_code() == exit::DONE).count();
    let result = format!("{good} of {} verified", counted(findings.len(), "set"));
    outside.tell.hear(&Event::RunFinished { result, exit_code });
    findings
}

async fn check_set(
    task: &Task<SetCheck>,
    destination: &Name,
    scratch: &Path,
    outside: &Outside,
    sum: &mut Read,
) -> Result<(), Failure> {
    let gauge = Gauge::default();
    let bytes = match &task.action {
        SetCheck::Snapshot(check) => Some(check.bytes).filter(|_| check.sample.is_none()),
        SetCheck::Archive(check) => Some(check.bytes),
    };
    let work = async {
        let store = outside.store(destination)?;
        match &task.action {
            SetCheck::Snapshot(check) => snapshot(store, check, &gauge, sum).await,
            SetCheck::Archive(check) => {
                let (files, bytes) = (check.files.len() as u64, check.bytes.0);
                *sum += Read { files, of_files: check.of_files, bytes, of_bytes: check.of_bytes.0 };
                let folder = scratch.join(format!("reread-{}", task.id.0));
                let reread = outside.reread(store, check, &folder, &gauge).await;
                load::remove_folder(&folder)?;
                reread
            }
        }
    };
    outside.perform(task, bytes, &gauge, work).await
}

/// Verifies a snapshot, and adds what is read of it to `sum`.
async fn snapshot(
    store: &Arc<dyn Store>,
    check: &SnapshotCheck,
    gauge: &Gauge,
    sum: &mut Read,
) -> Result<((), String), Cause> {
    let Some(manifest) = sealed_manifest(store, check).await? else {
        return foreign(store, check, gauge, sum).await;
    };
    let (files, read) = taken(check, &manifest.files);
    *sum += read;
    files::check(store, &check.prefix, &files, gauge).await?;
    Ok(((), said(check, read, "as sealed")))
}

/// Returns the files that are read, and how much that is.
fn taken(check: &SnapshotCheck, files: &[FileRecord]) -> (Vec<FileRecord>, Read) {
    let is_read = |file: &&FileRecord| check.takes(&file.path);
    let read = Read::of(files.iter().map(|file| (file.bytes, is_read(&file))));
    (files.iter().filter(is_read).cloned().collect(), read)
}

/// Says what was found of what was read.
fn said(check: &SnapshotCheck, read: Read, found: &str) -> String {
    match &check.sample {
        None => format!("{} {found}", counted(usize::try_from(read.files).unwrap_or(usize::MAX), "file")),
        Some(_) => format!("{} of {} files {found}", read.files, read.of_files),
    }
}

impl Outside {
    /// Fetches the files of an archive, some at a time, and compares each, and the rows in it, with what was sealed.
    async fn reread(
        &self,
        store: &Arc<dyn Store>,
        check: &ArchiveCheck,
        folder: &Path,
        gauge: &Gauge,
    ) -> Result<((), String), Cause> {
        for some in check.files.chunks(TOGETHER) {
            files::get_archived(store, &check.prefix, some, folder, gauge).await?;
            let (some, schemas, from) = (some.to_vec(), check.schemas.clone(), folder.to_owned());
            let reread = move |session: &Session| {
                some.iter().try_for_each(|file| archive::reread(session, &from.join(&file.file.path), file, &schemas))
            };
            self.engine(reread).await.map_err(|error| match error {
                DuckError::Differs(how) => Cause::Differs(how),
                other => other.into(),
            })?;
            load::remove_folder(folder)?;
        }
        let rows: u64 = check.files.iter().map(ArchivedFile::rows).sum();
        Ok(((), format!("{} and {} rows as sealed", counted(check.files.len(), "file"), Grouped(rows))))
    }
}

/// Reads the manifest of a snapshot and proves that it is the one that was sealed, and that its files are those there;
/// nothing for a backup of HitKeep's own, which has none.
pub(super) async fn sealed_manifest(store: &Arc<dyn Store>, check: &SnapshotCheck) -> Result<Option<Manifest>, Cause> {
    let Some(sealed) = &check.sealed else { return Ok(None) };
    let at = store.locate(sealed.manifest.as_str());
    let bytes = store.read(&sealed.manifest, Part::Whole).await.map_err(|error| match error {
        StoreError::Missing { at } => Cause::Differs(format!("`{at}` is gone")),
        other => other.into(),
    })?;
    if Sha256::of(&bytes) != sealed.record.manifest_sha256 {
        return Err(Cause::Differs(format!("`{at}` is not the manifest that was sealed")));
    }
    let manifest = Manifest::read(&bytes).map_err(|error| Cause::Differs(format!("`{at}`: {error}")))?;
    if !agree(&manifest, sealed) {
        return Err(Cause::Differs(format!("`{at}` and the run record say different things: one of them was changed")));
    }
    let is_known = |name: &&String| manifest.files.iter().any(|file| file.path == **name);
    if let Some(extra) = check.files.iter().find(|name| !is_known(name)) {
        return Err(Cause::Differs(format!("`{}/{extra}` was not there when the set was sealed", check.at)));
    }
    if let Some(gone) = manifest.files.iter().find(|file| !check.files.contains(&file.path)) {
        return Err(Cause::Differs(format!("`{}/{}` is gone", check.at, gone.path)));
    }
    Ok(Some(manifest))
}

/// Tells whether a manifest is of the snapshot that a run record seals.
fn agree(manifest: &Manifest, sealed: &Sealed) -> bool {
    let SnapshotRecord { database, path, manifest_sha256: _, bytes, files, rows, database_bytes, .. } = &sealed.record;
    let SnapshotRecord { captured_at, capture, live, .. } = &sealed.record;
    let folder = hitkeep::snapshot_folder(manifest.database, manifest.snapshot);
    (manifest.run, manifest.database, folder.as_str()) == (sealed.run, *database, path.as_str())
        && (manifest.bytes(), manifest.files.len() as u64) == (*bytes, *files)
        && (manifest.rows(), manifest.database_bytes) == (*rows, *database_bytes)
        // Records of before there were live captures do not say these.
        && captured_at.is_none_or(|moment| moment == manifest.captured_at)
        && capture.is_none_or(|capture| (capture, live) == (manifest.capture, &manifest.live))
}

/// Verifies a backup of HitKeep's own by the only signs it has: every data file ends as Parquet does.
async fn foreign(
    store: &Arc<dyn Store>,
    check: &SnapshotCheck,
    gauge: &Gauge,
    sum: &mut Read,
) -> Result<((), String), Cause> {
    let mut read = Read { of_files: check.files.len() as u64, of_bytes: check.bytes.0, ..Read::default() };
    for name in check.files.iter().filter(|name| check.takes(name)) {
        gauge.set_place(name);
        let key = files::key(&check.prefix, name)?;
        let moved = store.digest(&key, &gauge.meter).await?;
        let end = store.read(&key, Part::Last(hitkeep::PARQUET_END.len() as u64)).await?;
        if name.ends_with(".parquet") && (end != hitkeep::PARQUET_END || moved.bytes < hitkeep::PARQUET_SMALLEST) {
            return Err(Cause::Differs(format!("`{}/{name}` does not end as a Parquet file does", check.at)));
        }
        (read.files, read.bytes) = (read.files + 1, read.bytes + moved.bytes);
    }
    *sum += read;
    Ok(((), said(check, read, "readable; HitKeep's own backups have no digests to compare with")))
}
