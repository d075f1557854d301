//! How the state of a database is taken: from its file, or from a copy that is made while others have it open.

use std::fmt;
use std::path::{Path, PathBuf};

use super::facts::{DatabaseFact, Spent};
use super::{Numbering, Task};
use crate::hitkeep;
use crate::measure::Bytes;
use crate::name::DatabaseId;

/// What an export reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The database itself.
    Database,
    /// The database itself; or a copy, made at this path, if someone has the database open by then.
    DatabaseOrCopy(PathBuf),
    /// The copy at this path, captured before the first export, and removed after this one.
    Copy(PathBuf),
}

/// A database that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Which database.
    pub database: DatabaseId,
    /// Where it lies.
    pub path: PathBuf,
    /// What is read of it.
    pub from: Origin,
    /// Its size, in bytes.
    pub bytes: Bytes,
}

impl Input {
    pub(super) fn of(database: &DatabaseFact, from: Origin) -> Self {
        Self { database: database.id, path: database.path.clone(), from, bytes: database.bytes() }
    }

    /// Returns the file that is read, unless someone has opened the database by then.
    #[must_use]
    pub fn file(&self) -> &Path {
        match &self.from {
            Origin::Database | Origin::DatabaseOrCopy(_) => &self.path,
            Origin::Copy(copy) => copy,
        }
    }
}

impl Origin {
    /// Returns where a copy of the database lies, may come to lie, or neither.
    #[must_use]
    pub fn copy(&self) -> Option<&Path> {
        match self {
            Self::Database => None,
            Self::DatabaseOrCopy(copy) | Self::Copy(copy) => Some(copy),
        }
    }
}

/// Takes the state of a database that others have open, into a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// Which database.
    pub database: DatabaseId,
    /// Where it lies.
    pub source: PathBuf,
    /// Its size, in bytes.
    pub bytes: Bytes,
    /// The copy, which is brought up to date where there is one.
    pub into: PathBuf,
    /// What was spent on that copy before the run.
    pub spent: Spent,
}

impl fmt::Display for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "capture  {} ({}) live into {}", self.database, self.bytes, self.into.display())
    }
}

/// Makes the copy that a capture will bring up to date: what is written meanwhile is left to that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepare(pub Capture);

impl fmt::Display for Prepare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Capture { database, bytes, into, .. } = &self.0;
        write!(f, "prepare  {database} ({bytes}) in {}", into.display())
    }
}

/// Returns where the copy of a database lies in a run's folder of the staging directory.
#[must_use]
pub fn copy_path(staging: &Path, database: DatabaseId) -> PathBuf {
    staging.join("copies").join(database.to_string()).join(hitkeep::DATABASE_FILE)
}

/// Plans the captures of these databases, so that their moments lie as close together as can be.
///
/// First each is copied once, the largest first. Then, when all that is left to do is what was written meanwhile, they
/// are brought up to date one right after the other, the largest last: a state is that of the moment at which its
/// capture begins, so the time that the last one takes separates nothing. One database alone is captured at once.
///
/// A copy is brought up to date in its own place: a capture that fails takes what was prepared with it. To keep that would
/// take the room of another copy. So a database that was hard to copy is not touched again: the run keeps what it
/// prepared, and its record says how far apart that makes the set.
pub(super) fn captures(
    facts: &[&DatabaseFact],
    staging: &Path,
    numbering: &mut Numbering,
) -> (Vec<Task<Prepare>>, Vec<Task<Capture>>) {
    let mut captures: Vec<(Capture, bool)> =
        facts.iter().map(|fact| (capture(fact, staging), fact.copy.is_some())).collect();
    captures.sort_by_key(|(capture, _)| capture.bytes);
    let is_alone = captures.len() == 1;
    let unprepared = captures.iter().rev().filter(|(_, has_copy)| !is_alone && !has_copy);
    let prepared = unprepared.map(|(capture, _)| numbering.task(Prepare(capture.clone()))).collect();
    (prepared, captures.into_iter().map(|(capture, _)| numbering.task(capture)).collect())
}

fn capture(fact: &DatabaseFact, staging: &Path) -> Capture {
    let into = copy_path(staging, fact.id);
    let spent = fact.copy.unwrap_or_default();
    Capture { database: fact.id, source: fact.path.clone(), bytes: fact.bytes(), into, spent }
}
