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
use crate::record::{ArchivedFile, Manifest, SnapshotRecord, State};
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
}

impl Finding {
    /// Returns the exit code that this asks for.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let by_state = match self.state {
            State::Complete | State::Foreign => exit::DONE,
            State::Partial => exit::PARTIAL,
            State::Damaged(_) | State::Orphan => exit::VERIFICATION,
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
        let mut failures = Vec::new();
        for check in checks {
            failures.extend(check_set(check, destination, scratch, outside).await.err());
        }
        findings.push(Finding { set: *set, state: state.clone(), failures });
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
) -> Result<(), Failure> {
    let gauge = Gauge::default();
    let bytes = match &task.action {
        SetCheck::Snapshot(check) => check.bytes,
        SetCheck::Archive(check) => check.bytes,
    };
    let work = async {
        let store = outside.store(destination)?;
        match &task.action {
            SetCheck::Snapshot(check) => snapshot(store, check, &gauge).await,
            SetCheck::Archive(check) => {
                let folder = scratch.join(format!("reread-{}", task.id.0));
                let reread = outside.reread(store, check, &folder, &gauge).await;
                load::remove_folder(&folder)?;
                reread
            }
        }
    };
    outside.perform(task, Some(bytes), &gauge, work).await
}

async fn snapshot(store: &Arc<dyn Store>, check: &SnapshotCheck, gauge: &Gauge) -> Result<((), String), Cause> {
    let Some(manifest) = sealed_manifest(store, check).await? else {
        return foreign(store, check, gauge).await;
    };
    files::check(store, &check.prefix, &manifest.files, gauge).await?;
    Ok(((), format!("{} as sealed", counted(manifest.files.len(), "file"))))
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
async fn foreign(store: &Arc<dyn Store>, check: &SnapshotCheck, gauge: &Gauge) -> Result<((), String), Cause> {
    for name in &check.files {
        gauge.set_place(name);
        let key = files::key(&check.prefix, name)?;
        let moved = store.digest(&key, &gauge.meter).await?;
        let end = store.read(&key, Part::Last(hitkeep::PARQUET_END.len() as u64)).await?;
        if name.ends_with(".parquet") && (end != hitkeep::PARQUET_END || moved.bytes < hitkeep::PARQUET_SMALLEST) {
            return Err(Cause::Differs(format!("`{}/{name}` does not end as a Parquet file does", check.at)));
        }
    }
    Ok((
        (),
        format!(
            "{} readable; HitKeep's own backups have no digests to compare with",
            counted(check.files.len(), "file")
        ),
    ))
}
