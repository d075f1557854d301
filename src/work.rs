//! What will be done: a plan and facts become tasks, as a value that can be shown before it is carried out.
//!
//! Printing such a value is the dry run; `run` walks the same value. Paths and keys are final in it; only sizes,
//! digests, rows and durations are learnt on the way. The shape of a value says what depends on what, so that
//! nothing needs to be looked up while it is walked.

mod adopt;
mod archive;
mod around;
mod backup;
mod capture;
mod coverage;
mod drill;
mod due;
mod facts;
mod held;
mod lifecycle;
mod prune;
mod remains;
mod restore;
mod room;
mod rows;
mod sample;
mod status;
mod verify;

pub use adopt::{Adopt, adopt};
pub use archive::{ArchiveChain, ArchiveDelivery, ArchiveSeries, ArchiveWork, Erase, Extract, archive};
pub use around::Around;
pub use backup::{BackupWork, Chain, Delivery, Missing, Series, Take, There, backup};
pub use capture::{Capture, Input, Origin, Prepare, copy_path};
pub use coverage::{Coverage, CoveringSet, MonthCoverage, Share, SiteCoverage};
pub use drill::{DrillChain, DrillFacts, DrillWanted, DrillWork, Examine, Note, Question, drill, missing_tenants};
pub use due::{Waiting, coming, due, first_due};
pub use facts::{
    AdoptFacts, ArchiveDestination, ArchiveFacts, ArchiveReached, BackupFacts, Before, DatabaseFact, DestinationFact,
    LostFile, Place, Predecessor, Reached, RestoreFacts, RowsFacts, Seen, Spent, TheirFiles, TheirSet, TheirSnapshot,
    UnreadRecord,
};
pub use held::held;
pub use lifecycle::{
    BucketRule, BucketRules, Change as RuleChange, Condition, Peril, Territory, Versions, When, difference, effects,
    merge, peril, wanted_rules,
};
pub use prune::{
    Brake, Candidate, Delete, Ground, Judged, Moment, PruneFacts, PruneWork, Reason, Retention, Simulation, Verdict,
    Worth, explain, judge, prune,
};
pub use remains::Remains;
pub use restore::{
    ABREAST, At, INSTEAD, RESTORE_STAGING, RestoreChain, RestoreWork, Wanted, is_guard, is_temporary, restore,
};
pub use room::Room;
pub use rows::{FetchRows, InsertRows, Period, RowsChain, RowsWanted, RowsWork, SiteName, rows};
pub use sample::Sample;
pub use status::{
    Change, Drilled, FailedDrill, FailedSample, Judgement, Looked, Newest, Sampled, SeriesFacts, SeriesStatus,
    Standing, Trend, Trouble, is_ahead, status,
};
pub use verify::{ArchiveCheck, Sealed, SetCheck, SnapshotCheck, VerifyWork, verify};

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use crate::event::TaskId;
use crate::measure::{Bytes, counted};
use crate::name::{DatabaseId, Key, Name, Prefix, SnapshotId};
use crate::plan::Codec;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task<A> {
    /// Its number within the work.
    pub id: TaskId,
    /// What it does.
    pub action: A,
}

impl<A: fmt::Display> fmt::Display for Task<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>4}  {}", self.id.0, self.action)
    }
}

/// Gives tasks their numbers.
#[derive(Debug, Default)]
struct Numbering(u32);

impl Numbering {
    fn task<A>(&mut self, action: A) -> Task<A> {
        self.0 += 1;
        Task { id: TaskId(self.0), action }
    }
}

/// Writes a database into a fresh folder as Parquet and SQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// What it reads.
    pub input: Input,
    /// Its tenant's name.
    pub name: Option<String>,
    /// The folder, made for this and removed afterwards.
    pub into: PathBuf,
    /// How the Parquet is compressed.
    pub codec: Codec,
    /// Whether the same rows must make the same files, so that what a killed run has stored need not be sent again.
    pub is_repeatable: bool,
}

impl fmt::Display for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Input { database, bytes, .. } = &self.input;
        write!(f, "export   {database} ({bytes}) from {}", self.input.file().display())
    }
}

/// Leaves a note at a destination that a run has begun, and takes the set's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announce {
    /// What begins: a set or an archive.
    pub what: &'static str,
    /// The destination.
    pub destination: Name,
    /// The note's key.
    pub key: Key,
    /// The note's place, for people.
    pub at: String,
}

impl fmt::Display for Announce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "announce the {} in {}", self.what, self.at)
    }
}

/// Removes what an unfinished run has left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clear {
    /// The destination.
    pub destination: Name,
    /// The run.
    pub run: SnapshotId,
    /// What it has left, in the order in which it is deleted: what is left half-way still looks unfinished, the note that it
    /// had begun comes last.
    pub keys: Vec<Key>,
    /// The place that it has left them in, for people.
    pub at: String,
}

impl fmt::Display for Clear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "clear    {} that run {} left unsealed in {}", counted(self.keys.len(), "file"), self.run, self.at)
    }
}

/// Stores the files of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// Which database's.
    pub database: DatabaseId,
    /// The folder that they lie in.
    pub from: PathBuf,
    /// Their names; nothing for everything that lies there.
    pub names: Option<BTreeSet<String>>,
    /// What of them may be at the destination already: left by runs that were never sealed, the newest first.
    pub remains: Vec<Remains>,
    /// Whether nobody needs them afterwards.
    pub is_last: bool,
    /// The destination.
    pub destination: Name,
    /// The folder of keys that they go to.
    pub prefix: Prefix,
    /// That folder's place, for people.
    pub at: String,
}

impl fmt::Display for Put {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "store    {} at {}/", self.database, self.at)
    }
}

/// Reads back what was stored and compares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Which database's files.
    pub database: DatabaseId,
    /// The destination.
    pub destination: Name,
    /// The folder of keys.
    pub prefix: Prefix,
    /// That folder's place, for people.
    pub at: String,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "check    {} at {}/", self.database, self.at)
    }
}

/// Writes the manifest of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Describe {
    /// Which database's.
    pub database: DatabaseId,
    /// The destination.
    pub destination: Name,
    /// The snapshot's folder, relative to the backup prefix.
    pub path: String,
    /// The manifest's key.
    pub key: Key,
    /// The manifest's place, for people.
    pub at: String,
}

impl fmt::Display for Describe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "describe {} in {}", self.database, self.at)
    }
}

/// Writes the run record, which makes the set exist, and takes the announcement away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// What is sealed: a set or an archive.
    pub what: &'static str,
    /// The destination.
    pub destination: Name,
    /// The run record's key.
    pub key: Key,
    /// The announcement's key.
    pub announcement: Key,
    /// The run record's place, for people.
    pub at: String,
    /// The set before it.
    pub previous: Option<Predecessor>,
}

impl fmt::Display for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seal     the {} in {}", self.what, self.at)
    }
}

/// Fetches the files of a snapshot and compares them with what was sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Which database's.
    pub database: DatabaseId,
    /// The snapshot, as the catalogue knows it.
    pub snapshot: SnapshotCheck,
    /// The folder that they go to, made for this and removed afterwards.
    pub into: PathBuf,
}

impl fmt::Display for Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fetch    {} ({}) from {}/", self.database, self.snapshot.bytes, self.snapshot.at)
    }
}

/// Makes a new database file of fetched files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// Which database.
    pub database: DatabaseId,
    /// The folder that the files lie in.
    pub from: PathBuf,
    /// The new file, under a temporary name beside its final one.
    pub into: PathBuf,
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "load     {} into {}", self.database, self.into.display())
    }
}

/// Gives a new database file its final name, after setting aside what has that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swap {
    /// Which database.
    pub database: DatabaseId,
    /// The new file.
    pub from: PathBuf,
    /// Its final name.
    pub to: PathBuf,
    /// The files in the way, each with the name it is set aside under: the old database first, then its logs.
    pub aside: Vec<(PathBuf, PathBuf)>,
    /// What an interrupted restore left there, each with the name it has until this one is done: its guard first, then
    /// the logs that it did not come to.
    pub leftovers: Vec<(PathBuf, PathBuf)>,
}

impl fmt::Display for Swap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "place    {} at {}", self.database, self.to.display())?;
        match (self.aside.first(), self.leftovers.is_empty()) {
            (Some((_, aside)), _) => write!(f, ", the old one set aside as {}", aside.display()),
            (None, false) => f.write_str(", where a restore was interrupted"),
            (None, true) => Ok(()),
        }
    }
}

/// Why there will be no work: nothing was touched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A place has too little room.
    #[error("{place} has {free} free, and about {needed} are needed{}: make room, or choose another place", of_it(*.copies))]
    NoSpace {
        /// The place, in words.
        place: String,
        /// Whether the place is a destination.
        is_destination: bool,
        /// What is free.
        free: Bytes,
        /// What is needed.
        needed: Bytes,
        /// How much of that is for copies of databases that are open.
        copies: Bytes,
    },
    /// Rows are to be deleted from, or brought back into, a database that someone has open.
    #[error("{who} needs the databases to itself, and {database} is open in {holder}: stop HitKeep first")]
    Held {
        /// What is to be done, in words.
        who: &'static str,
        /// Which database.
        database: DatabaseId,
        /// Who has it.
        holder: String,
    },
    /// There is no set to work on.
    #[error("{0}")]
    NoSet(String),
    /// The set is not what was sealed.
    #[error("set {set} in {at} is damaged: {reason}")]
    Damaged {
        /// The set.
        set: SnapshotId,
        /// Where it lies, for people.
        at: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something is in the way and must not be replaced unasked.
    #[error("`{}` is there already: `--yes` sets it aside and puts the restored one in its place", path.display())]
    InTheWay {
        /// What is there.
        path: PathBuf,
    },
    /// The set lacks a database that was asked for.
    #[error("set {set} holds no database `{database}`; it holds {held}")]
    NotInSet {
        /// The set.
        set: SnapshotId,
        /// What was asked for.
        database: DatabaseId,
        /// What there is.
        held: String,
    },
}

fn of_it(copies: Bytes) -> String {
    if copies.0 == 0 { String::new() } else { format!(", {copies} of it for copies of databases that are open") }
}
