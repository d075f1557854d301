//! The sets of a place, and the rules of its job, become the work of deleting what no rule keeps.
//!
//! Every set gets a verdict with its reasons. A brake holds all deletions back; the verdicts are shown all the same.

mod explain;
mod rules;
mod simulate;

pub use explain::explain;
pub use rules::{Candidate, Ground, Reason, Verdict, Worth, judge};
pub use simulate::{Moment, Simulation};

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::facts::Place;
use super::{Numbering, Task};
use crate::hitkeep;
use crate::measure::{Bytes, counted};
use crate::name::{DatabaseId, Key, Name, SnapshotId};
use crate::plan::{Keep, Verify};
use crate::record::{self, Doubt, Held, Pin, RunRecord, Set, State, Status};

/// The share of the sets that count of which more must not go at once: one in four.
const SHARE: usize = 4;

/// How far the name of a set may be ahead because the names before it were taken.
const NEXT_NAMES: SignedDuration = SignedDuration::from_mins(1);

/// What a job wants to be kept at one of its destinations.
#[derive(Clone, Debug)]
pub struct Retention {
    /// The job.
    pub job: Name,
    /// The destination.
    pub destination: Name,
    /// The rules.
    pub keep: Keep,
    /// What must have been verified of a set for it to count.
    pub verify: Verify,
    /// Whose days and weeks the rules mean.
    pub zone: TimeZone,
}

/// Facts for a deletion.
#[derive(Clone, Debug)]
pub struct PruneFacts {
    /// The place that the sets lie in.
    pub place: Place,
    /// Every set in it, oldest first.
    pub sets: Vec<Set>,
    /// For each set the documents about it that lie beside its run record.
    pub documents: BTreeMap<SnapshotId, BTreeSet<Key>>,
    /// The sets that are pinned, each with its pin where that can be read.
    pub pins: BTreeMap<SnapshotId, Option<Pin>>,
    /// The sets of which a restore drill has passed.
    pub drilled: BTreeSet<SnapshotId>,
    /// The records of the job's last run that this host knows of.
    pub last_run: Vec<RunRecord>,
    /// The set that a run will have made before, where that is only planned.
    pub planned: Option<SnapshotId>,
    /// Why it is not certain which sets are the place's own, where that is so.
    pub doubt: Option<Doubt>,
}

impl PruneFacts {
    fn is_announced(&self, id: SnapshotId) -> bool {
        let note = self.place.prefix.key(&record::announcement_key(id));
        self.documents.get(&id).is_some_and(|documents| documents.contains(&note))
    }

    /// Returns the sets as rules see them.
    #[must_use]
    pub fn candidates(&self, wanted: &Retention) -> Vec<Candidate> {
        let candidate = |set: &Set| {
            let worth = Worth::of(set, wanted.verify, self.is_announced(set.id), self.drilled.contains(&set.id));
            let guards = set.record.as_ref().and_then(|(record, _)| record.guards);
            Candidate::new(set.id, worth, self.pins.contains_key(&set.id), Bytes(set.bytes()), &wanted.zone)
                .guarding(guards)
        };
        let planned = self.planned.map(|id| Candidate::new(id, Worth::Counts, false, Bytes(0), &wanted.zone));
        self.sets.iter().map(candidate).chain(planned).collect()
    }
}

/// The work of deleting what no rule keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PruneWork {
    /// The job whose rules these are.
    pub job: Name,
    /// The destination.
    pub destination: Name,
    /// The place that the sets lie in, for people.
    pub at: String,
    /// Each set with what becomes of it, oldest first.
    pub sets: Vec<Judged>,
    /// Why nothing is deleted all the same.
    pub brake: Option<Brake>,
    /// What is deleted, the oldest first; nothing where there is a brake.
    pub deletions: Vec<Task<Delete>>,
}

/// A set and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The set.
    pub id: SnapshotId,
    /// What the catalogue says it is worth.
    pub state: State,
    /// Its size, in bytes.
    pub bytes: Bytes,
    /// What becomes of it.
    pub verdict: Verdict,
}

/// Deletes a set: a note is left, the run record is removed, which ends the set, then its files, and the note last.
///
/// Whatever stops this on the way leaves the whole set, or what looks unfinished to everyone and goes the next time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    /// The set.
    pub set: SnapshotId,
    /// Why it goes.
    pub ground: Ground,
    /// The destination.
    pub destination: Name,
    /// The note that tells what is left half-way from a backup of HitKeep's own.
    pub note: Key,
    /// The run record; nothing where there is none any more.
    pub record: Option<Key>,
    /// What marks each snapshot as finished, removed before the rest of it …
    pub marks: Vec<Key>,
    /// … which is this, in any order.
    pub files: Vec<Key>,
    /// The size of all files, in bytes.
    pub bytes: Bytes,
    /// The place, for people.
    pub at: String,
}

impl fmt::Display for Delete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "delete   set {} ({}) in {}: {}", self.set, self.bytes, self.at, self.ground)
    }
}

/// Why nothing is deleted although there is something that no rule keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Brake {
    /// The last run was not complete.
    LastRun {
        /// Its set.
        set: SnapshotId,
        /// How it ended.
        status: Status,
    },
    /// There is something younger than this moment.
    Clock {
        /// The moment of the youngest.
        newest: Timestamp,
    },
    /// It is not certain which sets are the place's own.
    Doubt(Doubt),
    /// Too many would go at once.
    Mass {
        /// How many would go.
        deleted: usize,
        /// How many there are that count.
        of: usize,
    },
}

impl fmt::Display for Brake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LastRun { set, status } => {
                write!(f, "the last run ({set}) is {status}: nothing is deleted until one is complete")
            }
            Self::Clock { newest } => {
                write!(f, "the clock has gone backwards: something is of {newest:.0}, and that is not past yet")
            }
            Self::Doubt(Doubt::Mixed) => write!(
                f,
                "sets of more than one series are there, and this host remembers none of them as its own: nothing is deleted"
            ),
            Self::Doubt(Doubt::Gone) => {
                write!(f, "no set there is of a series that this host has stored: nothing is deleted")
            }
            Self::Mass { deleted, of } => write!(
                f,
                "{deleted} of {} that count would go at once, which is more than a quarter: `--allow-mass-delete` \
                 lets them",
                counted(*of, "set")
            ),
        }
    }
}

/// Plans what is deleted at `now`; `may_be_many` takes the brake off that holds back more than a quarter.
#[must_use]
pub fn prune(wanted: &Retention, facts: &PruneFacts, may_be_many: bool, now: Timestamp) -> PruneWork {
    let candidates = facts.candidates(wanted);
    let verdicts = judge(&wanted.keep, &candidates, now);
    let brake = facts.doubt.map(Brake::Doubt).or_else(|| last_run(facts)).or_else(|| clock(facts, now)).or_else(|| {
        let mass = mass(&wanted.keep, &candidates, &verdicts);
        mass.filter(|_| !may_be_many)
    });
    let brake = brake.filter(|_| verdicts.iter().any(|verdict| !verdict.keeps()));
    let mut numbering = Numbering::default();
    let condemned = facts.sets.iter().zip(&verdicts).filter_map(|(set, verdict)| match verdict {
        Verdict::Delete(ground) if brake.is_none() => Some((set, *ground)),
        _ => None,
    });
    let deletions =
        condemned.map(|(set, ground)| numbering.task(deletion(set, ground, &wanted.destination, facts))).collect();
    let judged = |(set, verdict): (&Set, Verdict)| Judged {
        id: set.id,
        state: set.state.clone(),
        bytes: Bytes(set.bytes()),
        verdict,
    };
    PruneWork {
        job: wanted.job.clone(),
        destination: wanted.destination.clone(),
        at: facts.place.at.clone(),
        sets: facts.sets.iter().zip(verdicts).map(judged).collect(),
        brake,
        deletions,
    }
}

/// Holds back after a run that was not complete: the last one of this host, or the newest set of whomever.
fn last_run(facts: &PruneFacts) -> Option<Brake> {
    let is_of_place = |set: &&Set| !matches!(set.state, State::Stranger(_));
    let sealed =
        facts.sets.iter().rev().filter(is_of_place).find_map(|set| set.record.as_ref().map(|(record, _)| record));
    let mut last = facts.last_run.iter().chain(sealed);
    let failed = last.find(|record| record.status.is_short())?;
    Some(Brake::LastRun { set: failed.snapshot, status: failed.status })
}

/// Holds back where something has happened that is still to come.
fn clock(facts: &PruneFacts, now: Timestamp) -> Option<Brake> {
    let last_runs = facts.last_run.iter().map(|record| record.finished_at);
    let newest = facts.sets.iter().map(moment).chain(last_runs).max().filter(|newest| *newest > now)?;
    Some(Brake::Clock { newest })
}

/// Returns the moment that a set tells of: the one it is named after, or at which its run ended. The latter alone where the
/// name is hardly ahead of it: the second of two runs within a second takes the name of the next.
fn moment(set: &Set) -> Timestamp {
    let named = set.id.moment();
    match &set.record {
        Some((record, _)) if named.duration_since(record.finished_at) < NEXT_NAMES => record.finished_at,
        _ => named,
    }
}

/// Holds back where more than a quarter of the sets that count would go, and more than a new set can push out: one for
/// each rule.
fn mass(keep: &Keep, sets: &[Candidate], verdicts: &[Verdict]) -> Option<Brake> {
    let counting = || sets.iter().zip(verdicts).filter(|(set, _)| set.worth == Worth::Counts);
    let (of, deleted) = (counting().count(), counting().filter(|(_, verdict)| !verdict.keeps()).count());
    let rules = keep.rules.len() + usize::from(keep.within.is_some());
    (deleted * SHARE > of && deleted > rules).then_some(Brake::Mass { deleted, of })
}

fn deletion(set: &Set, ground: Ground, destination: &Name, facts: &PruneFacts) -> Delete {
    let prefix = &facts.place.prefix;
    let note = prefix.key(&record::announcement_key(set.id));
    let keys = set.databases.iter().flat_map(|held| keys(held, set.id)).map(|key| prefix.key(&key));
    let is_mark = |key: &Key| [hitkeep::LOAD_FILE, hitkeep::SCHEMA_FILE].contains(&key.file_name());
    let (mut marks, mut files): (Vec<Key>, Vec<Key>) = keys.partition(is_mark);
    marks.sort_by_key(|key| key.file_name() != hitkeep::LOAD_FILE);
    let documents = facts.documents.get(&set.id).into_iter().flatten();
    files.extend(documents.filter(|document| **document != note).cloned());
    Delete {
        set: set.id,
        ground,
        destination: destination.clone(),
        record: set.record.is_some().then(|| prefix.key(&record::record_key(set.id))),
        note,
        marks,
        files,
        bytes: Bytes(set.bytes()),
        at: facts.place.at.clone(),
    }
}

/// Returns the keys, relative to the backup prefix, of everything that lies there of one database's snapshot.
fn keys(held: &Held, id: SnapshotId) -> Vec<Key> {
    let database: DatabaseId = held.database;
    let folder = hitkeep::snapshot_folder(database, id);
    let files = held.files.keys().map(|name| folder.key(&Key::of(name.clone())));
    files.chain(held.has_manifest.then(|| record::manifest_key(database, id))).collect()
}

impl fmt::Display for PruneWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "prune {} → {}: {} in {}", self.job, self.destination, self.count(), self.at)?;
        for set in &self.sets {
            let word = if set.verdict.keeps() { "keep" } else { "delete" };
            let (state, bytes) = (&set.state, set.bytes.to_string());
            writeln!(f, "  {word:<6}  {}  {state:<8}  {bytes:>9}  {}", set.id, set.verdict)?;
        }
        self.brake.iter().try_for_each(|brake| writeln!(f, "  held back: {brake}"))
    }
}

impl PruneWork {
    /// Returns the sets that no rule keeps.
    pub fn condemned(&self) -> impl Iterator<Item = &Judged> {
        self.sets.iter().filter(|set| !set.verdict.keeps())
    }

    /// Says how many sets go, of how many, and what room that makes.
    #[must_use]
    pub fn count(&self) -> String {
        let (gone, bytes) = self.condemned().fold((0, 0), |(gone, bytes), set| (gone + 1, bytes + set.bytes.0));
        match gone {
            0 => format!("{} and all of them stay", counted(self.sets.len(), "set")),
            gone => format!("{gone} of {} ({}) to be deleted", counted(self.sets.len(), "set"), Bytes(bytes)),
        }
    }
}
