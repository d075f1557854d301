//! Sets of a catalogue become the work of verifying them.

use std::fmt;

use super::facts::Place;
use super::{Numbering, Refusal, Sample, Task};
use crate::hitkeep;
use crate::measure::{Bytes, counted};
use crate::name::{DatabaseId, Key, Prefix, RunId, SnapshotId};
use crate::record::{self, ArchiveRecord, ArchivedFile, Catalogue, SchemaRecord, Set, SnapshotRecord, State};

/// The work of verifying sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyWork {
    /// The place that the sets lie in, for people.
    pub at: String,
    /// Each set with what is checked of it, oldest first.
    pub sets: Vec<(SnapshotId, State, Vec<Task<SetCheck>>)>,
}

/// What is checked of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetCheck {
    /// A snapshot.
    Snapshot(Box<SnapshotCheck>),
    /// What is archived of a database.
    Archive(ArchiveCheck),
}

impl fmt::Display for SetCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Snapshot(check) => check.fmt(f),
            Self::Archive(check) => check.fmt(f),
        }
    }
}

/// Reads every file of a snapshot and compares it with what was sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotCheck {
    /// Which database's.
    pub database: DatabaseId,
    /// The snapshot's folder of keys.
    pub prefix: Prefix,
    /// What was sealed; nothing for a backup of HitKeep's own.
    pub sealed: Option<Sealed>,
    /// The names of the files that lie there.
    pub files: Vec<String>,
    /// The sum of their sizes.
    pub bytes: Bytes,
    /// The folder's place, for people.
    pub at: String,
    /// The part of the files that is read, where not all are, and what the keys begin with before it counts.
    pub sample: Option<(Sample, Prefix)>,
}

impl SnapshotCheck {
    /// Tells whether a file of the folder is read, by its name in it.
    #[must_use]
    pub fn takes(&self, name: &str) -> bool {
        let Some((sample, prefix)) = &self.sample else { return true };
        let below = prefix.strip(&self.prefix.key(&Key::of(name.to_owned()))).map(str::to_owned);
        sample.takes(&below.unwrap_or_else(|| name.to_owned()))
    }
}

/// Reads what is archived of a database's sites, file by file, and compares each, and the rows in it, with what was
/// sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveCheck {
    /// Which database's.
    pub database: DatabaseId,
    /// The archive's folder of keys.
    pub prefix: Prefix,
    /// The files.
    pub files: Vec<ArchivedFile>,
    /// The tables of the database as they were.
    pub schemas: Vec<SchemaRecord>,
    /// The sum of the files' sizes.
    pub bytes: Bytes,
    /// How many files there are, also those that are not read.
    pub of_files: u64,
    /// The sum of the sizes of all of them.
    pub of_bytes: Bytes,
    /// The folder's place, for people.
    pub at: String,
}

impl ArchiveCheck {
    /// Returns the check that reads a part of the files.
    fn sampled(mut self, sample: Sample) -> Self {
        self.files.retain(|file| sample.takes(&file.file.path));
        self.bytes = Bytes(self.files.iter().map(|file| file.file.bytes).sum());
        self
    }
}

impl SetCheck {
    /// Returns the check that reads a part of the files, where that is wanted.
    fn sampled(self, sample: Option<&(Sample, Prefix)>) -> Self {
        match (self, sample) {
            (check, None) => check,
            (Self::Snapshot(mut check), Some(sample)) => {
                check.sample = Some(sample.clone());
                Self::Snapshot(check)
            }
            (Self::Archive(check), Some((sample, _))) => Self::Archive(check.sampled(*sample)),
        }
    }
}

impl fmt::Display for ArchiveCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reread   {} ({}) at {}/", self.database, self.bytes, self.at)
    }
}

/// What a run record says of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The manifest's key.
    pub manifest: Key,
    /// The run that sealed it.
    pub run: RunId,
    /// What the record says of this snapshot, with the digest of the manifest.
    pub record: SnapshotRecord,
}

impl fmt::Display for SnapshotCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "verify   {} ({}) at {}/", self.database, self.bytes, self.at)
    }
}

/// Plans the verification of one set, or of every set that is sealed or whole; of their files, `sample` or all.
///
/// # Errors
/// When there is no such set, or none at all.
pub fn verify(
    place: &Place,
    catalogue: &Catalogue,
    one: Option<SnapshotId>,
    sample: Option<Sample>,
) -> Result<VerifyWork, Refusal> {
    let wanted: Vec<&Set> = match one {
        Some(id) => {
            vec![catalogue.find(id).ok_or_else(|| Refusal::NoSet(format!("there is no set {id} in {}", place.at)))?]
        }
        None => catalogue.sets.iter().filter(|set| set.state != State::Orphan).collect(),
    };
    if wanted.is_empty() {
        return Err(Refusal::NoSet(format!("there is no set to verify in {}", place.at)));
    }
    let mut numbering = Numbering::default();
    let sample = sample.map(|sample| (sample, place.prefix.clone()));
    let sampled = |check: SetCheck| check.sampled(sample.as_ref());
    let checks = |set: &Set| set_checks(place, set).into_iter().map(|check| numbering.task(sampled(check))).collect();
    let sets = wanted.into_iter().map({
        let mut checks = checks;
        move |set| (set.id, set.state.clone(), checks(set))
    });
    Ok(VerifyWork { at: place.at.clone(), sets: sets.collect() })
}

/// Returns what there is to check of a set of either kind.
fn set_checks(place: &Place, set: &Set) -> Vec<SetCheck> {
    let snapshots = snapshot_checks(place, set).into_iter().map(|check| SetCheck::Snapshot(Box::new(check)));
    let captured = set.record.iter().flat_map(|(record, _)| &record.captured);
    let archives = set.archive().into_iter().flat_map(|archive| {
        captured.clone().map(|database| SetCheck::Archive(archive_check(place, archive, *database)))
    });
    snapshots.chain(archives).collect()
}

/// Returns what there is to check of a set of snapshots: each snapshot of its run record, or each folder where it has none.
pub(super) fn snapshot_checks(place: &Place, set: &Set) -> Vec<SnapshotCheck> {
    let check = |database, sealed| {
        let folder = hitkeep::snapshot_folder(database, set.id);
        let held = set.databases.iter().find(|held| held.database == database);
        let files = held.map(|held| held.files.keys().cloned().collect()).unwrap_or_default();
        let bytes = held.map(|held| held.files.values().sum()).unwrap_or_default();
        let at = place.locate(folder.as_str());
        let prefix = place.prefix.join(&folder);
        SnapshotCheck { database, prefix, sealed, files, bytes: Bytes(bytes), at, sample: None }
    };
    match &set.record {
        None => set.databases.iter().map(|held| check(held.database, None)).collect(),
        Some((record, _)) => {
            let manifest = |database| place.prefix.key(&record::manifest_key(database, set.id));
            let sealed = |record: &SnapshotRecord, run| {
                let sealed = Sealed { manifest: manifest(record.database), run, record: record.clone() };
                check(record.database, Some(sealed))
            };
            record.snapshots.iter().map(|snapshot| sealed(snapshot, record.run)).collect()
        }
    }
}

/// Returns what there is to check of an archive: the files of one database's sites.
fn archive_check(place: &Place, archive: &ArchiveRecord, database: DatabaseId) -> ArchiveCheck {
    let is_of_it = |site| archive.sites.iter().any(|known| known.site == site && known.database == database);
    let files: Vec<ArchivedFile> = archive.files.iter().filter(|file| is_of_it(file.site)).cloned().collect();
    let bytes = Bytes(files.iter().map(|file| file.file.bytes).sum());
    let (prefix, at) = (place.prefix.clone(), place.at.clone());
    ArchiveCheck {
        database,
        prefix,
        of_files: files.len() as u64,
        of_bytes: bytes,
        files,
        schemas: archive.schemas_of(database),
        bytes,
        at,
    }
}

impl fmt::Display for VerifyWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "verify {} in {}", counted(self.sets.len(), "set"), self.at)?;
        self.sets.iter().flat_map(|(_, _, checks)| checks).try_for_each(|check| writeln!(f, "{check}"))
    }
}

impl VerifyWork {
    /// Tells whether files are fetched and read: then there must be a folder for them.
    #[must_use]
    pub fn rereads(&self) -> bool {
        let mut checks = self.sets.iter().flat_map(|(_, _, checks)| checks);
        checks.any(|check| matches!(check.action, SetCheck::Archive(_)))
    }

    /// Returns how many tasks there are.
    #[must_use]
    pub fn task_count(&self) -> u32 {
        self.sets.iter().flat_map(|(_, _, checks)| checks).last().map_or(0, |check| check.id.0)
    }
}
