//! What the world looks like, as far as planning needs to know: the only way it enters.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use super::Remains;
use crate::hitkeep::{Site, Tenant};
use crate::measure::{Bytes, Free, Grouped, Sha256, Share};
use crate::name::{DatabaseId, Key, Name, Prefix, RunId, SnapshotId, TenantId};
use crate::record::{self, ArchiveRecord, ArchivedFile, Catalogue, Ledger, Names, SchemaRecord, Set};

/// Facts for a backup.
#[derive(Clone, Debug)]
pub struct BackupFacts {
    /// The databases that a whole backup of the installation holds, the shared one first.
    pub databases: Vec<DatabaseFact>,
    /// The tenants that have neither a site nor a database yet: there is nothing to back up.
    pub unused: Vec<Tenant>,
    /// The job's destinations, in the plan's order.
    pub destinations: Vec<DestinationFact>,
    /// What is free where copies and exports are staged, beside the copies that are there already.
    pub staging_free: Free,
}

/// One database of the installation.
#[derive(Clone, Debug)]
pub struct DatabaseFact {
    /// Which one.
    pub id: DatabaseId,
    /// Its tenant's name.
    pub name: Option<String>,
    /// Where it lies or should lie.
    pub path: PathBuf,
    /// What was seen of it; or why it cannot be read.
    pub seen: Result<Seen, String>,
    /// What was spent on a copy of it that is in the staging directory already, made to look into it.
    pub copy: Option<Spent>,
}

/// What was spent on a copy: it is taken from the patience with the next try.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// How many tries.
    pub tries: u32,
    /// How much time.
    pub time: Duration,
}

/// What is seen of a database from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its size with its write-ahead log, in bytes.
    pub bytes: Bytes,
    /// The size of that log, in bytes.
    pub log: Bytes,
    /// When it was written to last.
    pub written_at: Option<Timestamp>,
    /// Whether a checkpoint is under way.
    pub is_checkpointing: bool,
    /// The process that has it open.
    pub holder: Option<String>,
}

impl DatabaseFact {
    /// Returns its size with its write-ahead log, in bytes; none where it cannot be read.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.seen.as_ref().map_or(Bytes(0), |seen| seen.bytes)
    }

    /// Tells whether a process has it open.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.seen.as_ref().is_ok_and(|seen| seen.holder.is_some())
    }
}

/// One destination of a job.
#[derive(Clone, Debug)]
pub struct DestinationFact {
    /// Its name.
    pub name: Name,
    /// Its own place and the backup prefix in it.
    pub place: Place,
    /// What it holds; or why it cannot be read.
    pub reached: Result<Reached, String>,
}

/// A backup prefix, for keys and for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The backup prefix, as keys have it.
    pub prefix: Prefix,
    /// The backup prefix, as a person would look for it: a path or a URL.
    pub at: String,
}

impl Place {
    /// Names something inside the prefix, for people.
    #[must_use]
    pub fn locate(&self, path: &str) -> String {
        format!("{}/{path}", self.at.trim_end_matches('/'))
    }
}

/// The set that a new one follows in its series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Predecessor {
    /// Its name.
    pub set: SnapshotId,
    /// The digest of its run record.
    pub digest: Sha256,
    /// What the sets of its series share, where it says so.
    pub series: Option<RunId>,
}

/// What a destination that answers holds, as far as a new set is concerned.
#[derive(Clone, Debug)]
pub struct Reached {
    /// The names of the sets in it.
    pub names: Names,
    /// The newest set that has a run record and is of the job's series.
    pub newest_record: Option<Predecessor>,
    /// The newest set whose run was complete.
    pub newest_complete: Option<Before>,
    /// What the newest runs that were never sealed have left of the databases, the newest first; nothing where taking it over
    /// would save nothing.
    pub remains: Vec<Remains>,
    /// What more fits, where there is such a limit.
    pub free: Option<Free>,
}

/// Facts for adopting a set of snapshots that HitKeep's own backup has written.
#[derive(Clone, Debug)]
pub struct AdoptFacts {
    /// The newest set.
    pub set: TheirSet,
    /// The job's destinations, in the plan's order.
    pub destinations: Vec<DestinationFact>,
    /// What destinations hold under the name of that set.
    pub there: BTreeMap<Name, Set>,
}

/// A set that HitKeep's own backup has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TheirSet {
    /// Its name: when HitKeep began it.
    pub id: SnapshotId,
    /// The databases that the installation had then, the shared one first.
    pub databases: Vec<TheirSnapshot>,
    /// The tenants that had neither a site nor a database: there is nothing to back up.
    pub unused: Vec<Tenant>,
    /// What is odd about it, or about what lies beside it.
    pub oddities: Vec<String>,
}

/// A database in a set that HitKeep's own backup has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TheirSnapshot {
    /// Which one.
    pub id: DatabaseId,
    /// Its tenant's name.
    pub name: Option<String>,
    /// Where its snapshot lies or should lie.
    pub folder: PathBuf,
    /// What lies there, if that is a finished export; or what is missing of it.
    pub held: Result<TheirFiles, String>,
}

/// The files of an export that HitKeep's own backup has finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TheirFiles {
    /// Their names.
    pub names: BTreeSet<String>,
    /// The sum of their sizes, in bytes.
    pub bytes: Bytes,
    /// When the first of them had been written, as far as the file system knows: what they hold is not younger.
    pub begun: Timestamp,
}

/// Facts for an archive.
#[derive(Clone, Debug)]
pub struct ArchiveFacts {
    /// The databases of the installation, the shared one first.
    pub databases: Vec<DatabaseFact>,
    /// The sites whose traffic is in one of them, each with its tenant and that database.
    pub sites: Vec<(Site, TenantId, DatabaseId)>,
    /// The tenant that every installation begins with.
    pub default_tenant: Option<TenantId>,
    /// The job's destinations, in the plan's order.
    pub destinations: Vec<ArchiveDestination>,
    /// What is free where copies and files are staged, beside the copies that are there already.
    pub staging_free: Bytes,
}

/// One destination of a job that archives.
#[derive(Clone, Debug)]
pub struct ArchiveDestination {
    /// Its name.
    pub name: Name,
    /// Its own place and the archive's prefix in it.
    pub place: Place,
    /// Whether it is a directory, where HitKeep's archives of the default tenant lie flat.
    pub is_directory: bool,
    /// What it holds; or why that cannot be read.
    pub reached: Result<ArchiveReached, String>,
}

/// What a destination that answers holds, as far as a new archive is concerned.
#[derive(Clone, Debug, Default)]
pub struct ArchiveReached {
    /// The runs that it has anything of.
    pub taken: BTreeSet<SnapshotId>,
    /// The newest run that has a record, and that record's digest.
    pub newest_record: Option<Predecessor>,
    /// What is archived there.
    pub ledger: Ledger,
    /// The files that were archived there, and are there no more as they were.
    pub lost: Vec<LostFile>,
    /// What each sealed run says of itself.
    pub records: BTreeMap<SnapshotId, ArchiveRecord>,
    /// The runs that others were made after, and whose records are gone: nobody knows what they archived.
    pub unknown: Vec<SnapshotId>,
    /// The records that are there and cannot be read: nobody knows what their runs archived either.
    pub unread: Vec<UnreadRecord>,
    /// What runs have left there that were never sealed: their files, then the note that they had begun.
    pub leftovers: Vec<(SnapshotId, Vec<Key>)>,
}

impl ArchiveReached {
    /// Returns the lost files whose rows have not all been archived again.
    pub fn missed(&self) -> impl Iterator<Item = &LostFile> {
        self.lost.iter().filter(|lost| !self.ledger.holds_all_of(&lost.file))
    }

    /// Returns the tables that a file's rows are of, as they were; none where its record does not say.
    #[must_use]
    pub fn schemas(&self, file: &ArchivedFile) -> Vec<SchemaRecord> {
        let schemas = || {
            let record = self.records.get(&record::run_of(&file.file.path)?)?;
            let site = record.sites.iter().find(|site| site.site == file.site)?;
            Some(record.schemas_of(site.database))
        };
        schemas().unwrap_or_default()
    }
}

/// A run record that is there and cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadRecord {
    /// Where it lies and why, in words.
    pub cause: String,
    /// Whether it was fetched, and is no record that can be understood.
    pub is_damaged: bool,
}

impl std::fmt::Display for UnreadRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "what is archived there is not known: {}", self.cause)
    }
}

/// A file of an archive that is there no more as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostFile {
    /// What it was.
    pub file: ArchivedFile,
    /// The size of what is there in its place, in bytes.
    pub found: Option<u64>,
}

impl std::fmt::Display for LostFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = &self.file.file.path;
        match self.found {
            None => write!(f, "the archived file `{path}` is gone"),
            Some(bytes) => write!(f, "the archived file `{path}` has {bytes} bytes and had {}", self.file.file.bytes),
        }
    }
}

/// Facts for bringing archived rows back.
#[derive(Clone, Debug)]
pub struct RowsFacts {
    /// The place that they are archived at.
    pub place: Place,
    /// What is archived there.
    pub archived: ArchiveReached,
    /// The databases that rows of sites are in.
    pub databases: Vec<DatabaseFact>,
    /// The sites that there are, each with its database.
    pub sites: Vec<(Site, DatabaseId)>,
    /// What is free where the databases are.
    pub target_free: Bytes,
}

/// A set that a new one is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Before {
    /// Its name.
    pub set: SnapshotId,
    /// How many rows it holds.
    pub rows: u64,
    /// Its size, in bytes.
    pub bytes: u64,
}

impl Before {
    /// Says how a set of `rows` and `bytes` has shrunk against this one, if it has lost more than `most`.
    #[must_use]
    pub fn shrunk(&self, rows: u64, bytes: u64, most: Share) -> Option<String> {
        let lost = |before: u64, now: u64| (u128::from(before - now) * 100 / u128::from(before)).to_string();
        let what = if most.is_exceeded(self.rows, rows) {
            format!("{} rows where set {} has {}", Grouped(rows), self.set, Grouped(self.rows))
                + &format!(", {} % fewer", lost(self.rows, rows))
        } else if most.is_exceeded(self.bytes, bytes) {
            format!("{} where set {} has {}", Bytes(bytes), self.set, Bytes(self.bytes))
                + &format!(", {} % less", lost(self.bytes, bytes))
        } else {
            return None;
        };
        Some(format!("{what}, and `max_shrink` allows {most}: if that is right, allow more of it for one run"))
    }
}

/// Facts for a restore.
#[derive(Clone, Debug)]
pub struct RestoreFacts {
    /// The place that sets are restored from.
    pub place: Place,
    /// The sets in it that were looked at to find the one that is wanted.
    pub catalogue: Catalogue,
    /// The files that exist where a restore would write, and those set aside there before.
    pub existing: BTreeSet<PathBuf>,
    /// The files that an interrupted restore left there, which nobody wants: its guards, and logs that it has set aside.
    pub leftovers: BTreeSet<PathBuf>,
    /// The tenants whose databases exist there.
    pub existing_tenants: BTreeSet<TenantId>,
    /// What is free at the data path.
    pub target_free: Bytes,
    /// What is free where the shared database goes, if that is another file system.
    pub shared_free: Option<Bytes>,
}
