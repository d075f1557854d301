//! The catalogue: which sets a backup prefix holds, derived from what is listed and the run records in it.
//!
//! It is never stored. A set exists by its run record; what lies there without one is HitKeep's own, or an orphan.
//! The names of all sets come first and cheap; what a set is worth is judged by what was found of that set alone, and
//! by the run record after it.

use std::collections::{BTreeMap, BTreeSet};

use super::run::Status;
use super::{ArchiveRecord, Kind, RunRecord};
use crate::hitkeep::{self, Belongs};
use crate::measure::Sha256;
use crate::name::{DatabaseId, Key, Prefix, RunId, Shard, SnapshotId};

/// The names of the sets of one backup prefix, by what tells of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Those that have a run record.
    pub sealed: BTreeSet<SnapshotId>,
    /// Those that a run has announced.
    pub announced: BTreeSet<SnapshotId>,
    /// Those that have snapshots, as far as they were looked for.
    pub stored: BTreeSet<SnapshotId>,
}

impl Names {
    /// Derives the names from keys (relative to the backup prefix) and the names of the sets that have snapshots.
    pub fn derive<'k>(keys: impl IntoIterator<Item = &'k str>, stored: BTreeSet<SnapshotId>) -> Self {
        let mut names = Self { stored, ..Self::default() };
        for key in keys {
            names.sealed.extend(record_id(key));
            names.announced.extend(announced_id(key));
        }
        names
    }

    /// Tells whether a set has this name.
    #[must_use]
    pub fn contains(&self, id: SnapshotId) -> bool {
        [&self.sealed, &self.announced, &self.stored].iter().any(|names| names.contains(&id))
    }

    /// Returns the name of the newest set.
    #[must_use]
    pub fn newest(&self) -> Option<SnapshotId> {
        [&self.sealed, &self.announced, &self.stored].iter().filter_map(|names| names.last().copied()).max()
    }

    /// Returns every name once.
    #[must_use]
    pub fn all(&self) -> BTreeSet<SnapshotId> {
        [&self.sealed, &self.announced, &self.stored].into_iter().flatten().copied().collect()
    }
}

/// The sets of one backup prefix, as far as they were looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// The sets, oldest first.
    pub sets: Vec<Set>,
    /// How many more are named there that were not looked at; of old ones, only those that have a run record are counted.
    pub unseen: usize,
    /// The series that the place belongs to, where that was found out from more than these sets; else it is that of most
    /// of them.
    pub home: Option<RunId>,
    /// Why it is not certain which series the place belongs to, where that is so.
    pub doubt: Option<Doubt>,
}

/// Why it is not certain which series a place belongs to: then it is that of most of its newest sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// There are sets of more than one, and whoever looks has no memory of having stored any.
    Mixed,
    /// Whoever looks has stored sets of others there, and none of those is there now.
    Gone,
}

/// Every snapshot of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Its name.
    pub id: SnapshotId,
    /// What it is worth.
    pub state: State,
    /// The snapshots whose files lie there.
    pub databases: Vec<Held>,
    /// Its run record and that record's digest, where it has one that can be read.
    pub record: Option<(RunRecord, Sha256)>,
}

/// What lies in one snapshot's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The database.
    pub database: DatabaseId,
    /// The names of the files in the folder, with their sizes in bytes.
    pub files: BTreeMap<String, u64>,
    /// Whether a manifest lies beside the folder.
    pub has_manifest: bool,
    /// The data files that its `load.sql` names; read only where nothing else speaks for the set.
    pub loads: Option<BTreeSet<String>>,
}

/// What a set is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Sealed by this program; everything is there.
    Complete,
    /// Sealed by this program, and known to lack something: never the latest, restored only by name.
    Partial,
    /// HitKeep's own backup, complete by its signs: restored like a complete one, never deleted.
    Foreign,
    /// Sealed, but something of it is gone or changed since.
    Damaged(String),
    /// Sealed by this program somewhere else, and copied here: never the latest, never deleted, restored only by name.
    Stranger(String),
    /// Neither sealed nor whole: what an interrupted run left behind.
    Orphan,
}

impl State {
    /// Tells whether "latest" may mean a set in this state.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        matches!(self, Self::Complete | Self::Foreign)
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Complete => "complete",
            Self::Partial => "partial",
            Self::Foreign => "foreign",
            Self::Damaged(_) => "damaged",
            Self::Stranger(_) => "stranger",
            Self::Orphan => "orphan",
        })
    }
}

/// A run record as it was found: read, or why it could not be, with the digest of its bytes.
pub type FoundRecord = (Result<RunRecord, String>, Sha256);

impl Extend<Set> for Catalogue {
    fn extend<I: IntoIterator<Item = Set>>(&mut self, sets: I) {
        self.sets.extend(sets);
        self.sets.sort_by_key(|set| set.id);
        self.find_strangers();
        self.follow_records();
    }
}

/// Returns the series that most of these belong to, which are in order from the newest; of two with as many, that of the
/// newest. Nothing where those of most do not say.
pub fn home_of(series: impl IntoIterator<Item = Option<RunId>>) -> Option<RunId> {
    let mut votes: Vec<(Option<RunId>, usize)> = Vec::new();
    for one in series {
        match votes.iter_mut().find(|(other, _)| *other == one) {
            Some((_, count)) => *count += 1,
            None => votes.push((one, 1)),
        }
    }
    let most = votes.iter().map(|(_, count)| *count).max()?;
    votes.into_iter().find(|(_, count)| *count == most)?.0
}

impl Catalogue {
    /// Finds the sets that say of themselves that they are of another series than the place.
    fn find_strangers(&mut self) {
        let records = self.sets.iter().rev().filter_map(|set| set.record.as_ref());
        let Some(home) = self.home.or_else(|| home_of(records.map(|(record, _)| record.series))) else { return };
        for set in &mut self.sets {
            let Some((record, _)) = &set.record else { continue };
            if record.series.is_some_and(|series| series != home) {
                let RunRecord { job, host, run, .. } = record;
                let whose = format!("it is of another series: run {run} of job `{job}` on {host} stored it elsewhere");
                set.state = State::Stranger(whose);
            }
        }
    }

    /// Looks from each run record at the one before it, which must be the one that it names.
    fn follow_records(&mut self) {
        let is_of_place = |set: &&Set| !matches!(set.state, State::Stranger(_));
        let named = self.sets.iter().filter(is_of_place).filter_map(|set| {
            let record = &set.record.as_ref()?.0;
            Some((record.previous_set?, record.previous?, set.id))
        });
        for (id, digest, by) in named.collect::<Vec<_>>() {
            let Ok(at) = self.sets.binary_search_by_key(&id, |set| set.id) else { continue };
            let set = &mut self.sets[at];
            if set.record.as_ref().is_some_and(|(_, found)| *found != digest) {
                set.state = State::Damaged(format!("its run record is not the one that set {by} was made after"));
            }
        }
    }

    /// Returns the newest set that is whole.
    #[must_use]
    pub fn latest(&self) -> Option<&Set> {
        self.sets.iter().rev().find(|set| set.state.is_whole())
    }

    /// Returns the newest set that is whole and not younger than `moment`.
    #[must_use]
    pub fn latest_at(&self, moment: jiff::Timestamp) -> Option<&Set> {
        self.sets.iter().rev().find(|set| set.state.is_whole() && set.id.moment() <= moment)
    }

    /// Returns the set of this name, whatever it is worth.
    #[must_use]
    pub fn find(&self, id: SnapshotId) -> Option<&Set> {
        self.sets.iter().find(|set| set.id == id)
    }
}

impl Set {
    /// Judges a set by what was found of it.
    #[must_use]
    pub fn judge(id: SnapshotId, is_announced: bool, record: Option<FoundRecord>, databases: Vec<Held>) -> Self {
        let (state, record) = match record {
            None if is_announced => (State::Orphan, None),
            None if databases.iter().any(|held| held.has_manifest) => {
                (State::Damaged("its run record is gone".to_owned()), None)
            }
            None => (unsealed_state(&databases), None),
            Some((Err(cause), _)) => (State::Damaged(format!("its run record: {cause}")), None),
            Some((Ok(record), digest)) => (sealed_state(&record, &databases), Some((record, digest))),
        };
        Self { id, state, databases, record }
    }

    /// Returns the sum of the sizes of everything in the set's folders, in bytes; of an archive, of its files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let held: u64 = self.databases.iter().flat_map(|held| held.files.values()).sum();
        held + self.archive().map_or(0, ArchiveRecord::bytes)
    }

    /// Returns which part of the installation it is about; nothing where that is all of it, as far as is known.
    #[must_use]
    pub fn shard(&self) -> Option<Shard> {
        self.record.as_ref()?.0.shard
    }

    /// Returns what was archived, where it is not a set of snapshots but an archive.
    #[must_use]
    pub fn archive(&self) -> Option<&ArchiveRecord> {
        self.record.as_ref()?.0.archive.as_ref()
    }
}

impl Held {
    /// Returns what a finished export has and this lacks, by HitKeep's own signs; nothing where it lacks nothing.
    #[must_use]
    pub fn lacks(&self) -> Option<String> {
        let Some(loads) = self.loads.as_ref().filter(|loads| !loads.is_empty()) else {
            return Some(format!("`{}`, which is written last", hitkeep::LOAD_FILE));
        };
        let is_there = |name: &str| self.files.get(name).is_some_and(|bytes| *bytes > 0);
        let mut needed = loads.iter().map(String::as_str).chain([hitkeep::SCHEMA_FILE]);
        needed.find(|name| !is_there(name)).map(|name| format!("`{name}`"))
    }

    /// Sorts listed keys (relative to the backup prefix, with sizes in bytes) into sets and their databases.
    pub fn by_set<'k>(listing: impl IntoIterator<Item = (&'k str, u64)>) -> BTreeMap<SnapshotId, Vec<Self>> {
        let mut sets: BTreeMap<SnapshotId, BTreeMap<DatabaseId, Self>> = BTreeMap::new();
        let mut held = |id, database, change: &mut dyn FnMut(&mut Self)| {
            let empty = || Self { database, files: BTreeMap::new(), has_manifest: false, loads: None };
            change(sets.entry(id).or_default().entry(database).or_insert_with(empty));
        };
        for (key, bytes) in listing {
            match hitkeep::place(key) {
                Belongs::Snapshot(database, id, file) => held(id, database, &mut |held| {
                    held.files.insert(file.clone(), bytes);
                }),
                Belongs::Beside(database, file) => {
                    if let Some(id) = file.strip_suffix(".manifest.json").and_then(|id| id.parse().ok()) {
                        held(id, database, &mut |held| held.has_manifest = true);
                    }
                }
                Belongs::Elsewhere => {}
            }
        }
        sets.into_iter().map(|(id, databases)| (id, databases.into_values().collect())).collect()
    }
}

/// Returns the folder, relative to the backup prefix, of run records and announcements.
#[must_use]
pub fn runs_folder() -> Prefix {
    Prefix::of("runs".to_owned())
}

/// Returns the key, relative to the backup prefix, of a set's run record.
#[must_use]
pub fn record_key(id: SnapshotId) -> Key {
    Key::of(format!("runs/{id}.json"))
}

/// Returns the key, relative to the backup prefix, of the note that a run leaves before it writes anything else.
///
/// It tells an interrupted run's files from a backup of HitKeep's own, which has no run record either.
#[must_use]
pub fn announcement_key(id: SnapshotId) -> Key {
    Key::of(format!("runs/{id}.started.json"))
}

/// Returns the key, relative to the backup prefix, of a snapshot's manifest.
#[must_use]
pub fn manifest_key(database: DatabaseId, id: SnapshotId) -> Key {
    Key::of(format!("{}.manifest.json", hitkeep::snapshot_folder(database, id)))
}

/// Returns the set whose run record has this key, relative to the backup prefix.
fn record_id(key: &str) -> Option<SnapshotId> {
    key.strip_prefix("runs/")?.strip_suffix(".json")?.parse().ok()
}

fn announced_id(key: &str) -> Option<SnapshotId> {
    key.strip_prefix("runs/")?.strip_suffix(".started.json")?.parse().ok()
}

/// Compares a run record with what lies there; whether the files of an archive do, only reading them tells.
fn sealed_state(record: &RunRecord, databases: &[Held]) -> State {
    if record.kind == Kind::Archive {
        return if record.status == Status::Complete { State::Complete } else { State::Partial };
    }
    for snapshot in &record.snapshots {
        let Some(held) = databases.iter().find(|held| held.database == snapshot.database) else {
            return State::Damaged(format!("`{}` is gone", snapshot.path));
        };
        let bytes: u64 = held.files.values().sum();
        if !held.has_manifest {
            return State::Damaged(format!("the manifest of `{}` is gone", snapshot.path));
        }
        if (bytes, held.files.len() as u64) != (snapshot.bytes, snapshot.files) {
            return State::Damaged(format!(
                "`{}` holds {} files and {bytes} bytes, and held {} files and {} bytes when it was sealed",
                snapshot.path,
                held.files.len(),
                snapshot.files,
                snapshot.bytes,
            ));
        }
    }
    let has = |database: &DatabaseId| record.snapshots.iter().any(|snapshot| snapshot.database == *database);
    match (record.status, record.expected.iter().all(has)) {
        (Status::Complete, true) => State::Complete,
        (Status::Partial | Status::Failed | Status::Skipped, false) => State::Partial,
        (Status::Partial, true) if record.guards.is_some() => State::Partial,
        (Status::Complete, false) => State::Damaged("its run record says complete, and lacks a database".to_owned()),
        (_, true) => State::Damaged("its run record says partial, and lacks no database".to_owned()),
    }
}

/// Tells HitKeep's own finished backups from leftovers, by HitKeep's own signs.
fn unsealed_state(databases: &[Held]) -> State {
    let has_shared = databases.iter().any(|held| held.database == DatabaseId::Shared);
    let is_whole = databases.iter().all(|held| held.lacks().is_none());
    if has_shared && is_whole { State::Foreign } else { State::Orphan }
}
