//! A set that HitKeep's own backup has written becomes the work of storing it as it is.
//!
//! It keeps its name, and is stored where it is not yet. What is staged for it is nothing: its files are read where they
//! lie.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use jiff::Timestamp;

use super::backup::{
    BackupWork, Chain, Delivery, Files, Missing, Series, Take, There, announce, delivery, unknown, unused, verification,
};
use super::facts::{AdoptFacts, DestinationFact, Place, TheirFiles, TheirSnapshot};
use super::room::check_stored;
use super::{Announce, Clear, Numbering, Refusal, Room, Task};
use crate::hitkeep;
use crate::measure::Bytes;
use crate::name::{DatabaseId, Key, RunId, SnapshotId};
use crate::plan::Backup;
use crate::record::{self, Held, Set, State};

/// Reads a snapshot through that HitKeep has exported, where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopt {
    /// Which database's.
    pub database: DatabaseId,
    /// Its tenant's name.
    pub name: Option<String>,
    /// The folder that it lies in.
    pub from: PathBuf,
    /// Its files.
    pub files: BTreeSet<String>,
    /// The sum of their sizes, in bytes.
    pub bytes: Bytes,
    /// What was committed at this moment is in it …
    pub captured_at: Timestamp,
    /// … and nothing that came after this one.
    pub captured_by: Timestamp,
}

impl fmt::Display for Adopt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "adopt    {} ({}) from {}", self.database, self.bytes, self.from.display())
    }
}

/// What a destination holds under the name of the set.
enum Meeting {
    /// Nothing.
    Nothing,
    /// What an unfinished run has left: these keys.
    Remains(Vec<Key>),
    /// The set.
    Set { is_partial: bool },
    /// Something that is not to be touched, in words.
    Stranger(String),
}

/// Plans the adoption of a set.
///
/// # Errors
/// When a destination has too little room.
pub fn adopt(job: &Backup, facts: &AdoptFacts, run: RunId) -> Result<BackupWork, Refusal> {
    let snapshot = facts.set.id;
    let (present, missing) = select(job, &facts.set.databases);
    let (targets, there) = sort_destinations(facts);
    let needed = Bytes(present.iter().map(|(_, files)| files.bytes.0).sum());
    check_stored(needed, &targets.iter().map(|(fact, _)| fact).collect::<Vec<_>>())?;
    let expected =
        present.iter().map(|(fact, _)| fact.id).chain(missing.iter().map(|missing| missing.database)).collect();

    let mut numbering = Numbering::default();
    let begun: Vec<_> = targets.iter().map(|(fact, remains)| begin(fact, remains, snapshot, &mut numbering)).collect();
    let (present, missing) = if targets.is_empty() { (Vec::new(), Vec::new()) } else { (present, missing) };
    let chains =
        present.iter().map(|(fact, files)| chain(job, fact, files, &targets, snapshot, &mut numbering)).collect();
    let series = targets
        .iter()
        .zip(begun)
        .map(|((fact, _), (clear, announce))| Series::ending(fact, clear, announce, snapshot, &mut numbering));
    let series = series.collect();
    Ok(BackupWork {
        run,
        job: job.name().clone(),
        plan_line: job.line(),
        snapshot,
        expected,
        missing,
        unused: unused(job.databases(), &facts.set.unused),
        preparations: Vec::new(),
        captures: Vec::new(),
        chains,
        series,
        there,
        verification: verification(job),
        max_shrink: job.max_shrink(),
        room: Room { copies: Bytes(0), exports: Bytes(0) },
        exports_ahead: false,
        warnings: facts.set.oddities.clone(),
    })
}

/// Sorts the databases that the job wants into those whose export is there and those whose is not.
fn select<'f>(job: &Backup, facts: &'f [TheirSnapshot]) -> (Vec<(&'f TheirSnapshot, &'f TheirFiles)>, Vec<Missing>) {
    let mut present = Vec::new();
    let mut missing = Vec::new();
    for fact in facts.iter().filter(|fact| job.databases().includes(fact.id)) {
        match &fact.held {
            Ok(files) => present.push((fact, files)),
            Err(cause) => missing.push(Missing { database: fact.id, cause: cause.clone() }),
        }
    }
    missing.extend(unknown(job.databases(), |id| facts.iter().any(|fact| fact.id == id)));
    (present, missing)
}

/// A destination that lacks the set, and the keys that are to be deleted there first.
type Target = (DestinationFact, Vec<Key>);

/// Sorts the destinations into those that lack the set and those that hold it.
fn sort_destinations(facts: &AdoptFacts) -> (Vec<Target>, Vec<There>) {
    let mut targets = Vec::new();
    let mut there = Vec::new();
    for fact in &facts.destinations {
        match meeting(fact, facts) {
            Meeting::Nothing => targets.push((fact.clone(), Vec::new())),
            Meeting::Remains(keys) => targets.push((fact.clone(), keys)),
            Meeting::Stranger(cause) => {
                targets.push((DestinationFact { reached: Err(cause), ..fact.clone() }, Vec::new()));
            }
            Meeting::Set { is_partial } => {
                let (destination, at) = (fact.name.clone(), fact.place.at.clone());
                there.push(There { destination, at, is_partial });
            }
        }
    }
    (targets, there)
}

fn meeting(fact: &DestinationFact, facts: &AdoptFacts) -> Meeting {
    let id = facts.set.id;
    let (Ok(reached), Some(set)) = (&fact.reached, facts.there.get(&fact.name)) else { return Meeting::Nothing };
    let is_ours = reached.names.announced.contains(&id);
    match &set.state {
        State::Complete => Meeting::Set { is_partial: false },
        State::Partial => Meeting::Set { is_partial: true },
        State::Orphan if is_ours => Meeting::Remains(remains(set, &fact.place)),
        State::Orphan | State::Foreign => Meeting::Stranger(format!(
            "it has something under the name of set {id} that no run of this program has stored: give the job a `prefix` of its own"
        )),
        State::Stranger(cause) => Meeting::Stranger(format!(
            "it holds something under the name of set {id}: {cause}; take that away, or give the job a `prefix` of its own"
        )),
        State::Damaged(cause) => Meeting::Stranger(format!(
            "it holds set {id} already, and that is damaged: {cause}; HitKeep's next set will be stored beside it"
        )),
    }
}

/// Returns the keys of everything that lies under a set's name, the announcement last.
fn remains(set: &Set, place: &Place) -> Vec<Key> {
    let keys = |held: &Held| {
        let folder = place.prefix.join(&hitkeep::snapshot_folder(held.database, set.id));
        let files = held.files.keys().filter_map(|name| Some(folder.key(&name.parse().ok()?))).collect::<Vec<_>>();
        std::iter::once(place.prefix.key(&record::manifest_key(held.database, set.id))).chain(files)
    };
    let note = place.prefix.key(&record::announcement_key(set.id));
    set.databases.iter().flat_map(keys).chain([note]).collect()
}

fn begin(
    fact: &DestinationFact,
    remains: &[Key],
    snapshot: SnapshotId,
    numbering: &mut Numbering,
) -> (Option<Task<Clear>>, Task<Announce>) {
    let clear =
        || Clear { destination: fact.name.clone(), run: snapshot, keys: remains.to_vec(), at: fact.place.at.clone() };
    let clear = (!remains.is_empty()).then(|| numbering.task(clear()));
    (clear, numbering.task(announce("set", &fact.name, &fact.place, snapshot)))
}

fn chain(
    job: &Backup,
    fact: &TheirSnapshot,
    files: &TheirFiles,
    targets: &[Target],
    snapshot: SnapshotId,
    numbering: &mut Numbering,
) -> Chain {
    let take = numbering.task(Adopt {
        database: fact.id,
        name: fact.name.clone(),
        from: fact.folder.clone(),
        files: files.names.clone(),
        bytes: files.bytes,
        captured_at: snapshot.moment(),
        captured_by: files.begun,
    });
    let reachable = targets.iter().map(|(fact, _)| fact).filter(|fact| fact.reached.is_ok());
    let files = Files { database: fact.id, folder: &fact.folder, names: Some(&files.names) };
    let deliveries: Vec<Delivery> = reachable.map(|fact| delivery(job, files, fact, snapshot, numbering)).collect();
    Chain { take: Take::Adopt(take), deliveries }
}
