//! A set of a catalogue becomes the work of a restore drill: everything that a restore does, in a scratch folder, and a
//! look at what came back.
//!
//! The scratch folder is one that did not exist before: whoever makes it fails where something has its name. So no drill
//! writes to a database that anyone uses, and what is thrown away afterwards is the drill's own.

use std::fmt;
use std::path::PathBuf;

use super::facts::Place;
use super::restore::{check_space, choose_set, refuse_empty};
use super::verify::snapshot_checks;
use super::{At, Fetch, Load, Numbering, Refusal, Task};
use crate::hitkeep::{self, Layout, Tenant};
use crate::measure::{Bytes, Sha256, counted};
use crate::name::{DatabaseId, Key, Name, RunId, SnapshotId};
use crate::plan::{Backup, Selection};
use crate::record::{self, Catalogue, State};

/// What a person or a job wants drilled.
#[derive(Clone, Debug)]
pub struct DrillWanted<'p> {
    /// Which set.
    pub set: At,
    /// The job whose set it is, where a plan asks.
    pub job: Option<&'p Backup>,
    /// The scratch folder; nothing may be there yet.
    pub scratch: PathBuf,
}

/// Facts for a drill.
#[derive(Clone, Debug)]
pub struct DrillFacts {
    /// The place that the set lies in.
    pub place: Place,
    /// The sets in it that were looked at to find the one that is wanted.
    pub catalogue: Catalogue,
    /// What is free where the scratch folder goes.
    pub scratch_free: Bytes,
}

/// The work of a drill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrillWork {
    /// The drill's id.
    pub run: RunId,
    /// The job whose set it is.
    pub job: Option<Name>,
    /// The line of the plan that the job begins at.
    pub plan_line: Option<usize>,
    /// The set.
    pub snapshot: SnapshotId,
    /// The digest of its run record.
    pub record_sha256: Option<Sha256>,
    /// The place that it lies in, for people.
    pub at: String,
    /// The scratch folder.
    pub scratch: PathBuf,
    /// What is done for each database.
    pub chains: Vec<DrillChain>,
    /// What is asked of the shared database, where the set has one.
    pub question: Option<Task<Question>>,
    /// Where it is written down what came of it.
    pub note: Task<Note>,
}

/// What is done for one database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrillChain {
    /// Its files are fetched and compared …
    pub fetch: Task<Fetch>,
    /// … loaded …
    pub load: Task<Load>,
    /// … and looked through.
    pub examine: Task<Examine>,
}

/// Compares a restored database with what was captured, and follows its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examine {
    /// Which database.
    pub database: DatabaseId,
    /// Its file.
    pub path: PathBuf,
}

impl fmt::Display for Examine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "examine  {}", self.database)
    }
}

/// Asks a restored shared database which tenants there are, and what the plan asserts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Its file.
    pub path: PathBuf,
    /// The databases of the set.
    pub databases: Vec<DatabaseId>,
    /// Those that it should hold, of the tenants that there are; nothing where no plan says it.
    pub wanted: Option<Selection>,
    /// The queries that must be true, in the order of the plan.
    pub assertions: Vec<String>,
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ask      shared for its tenants")?;
        match self.assertions.len() {
            0 => Ok(()),
            count => write!(f, " and {}", counted(count, "assertion")),
        }
    }
}

/// Writes down what came of a drill, next to the set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The record's key.
    pub key: Key,
    /// The record's place, for people.
    pub at: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "note     the drill in {}", self.at)
    }
}

/// Plans the drill of a set.
///
/// # Errors
/// When there is no such set, it holds nothing, or the scratch folder would have too little room.
pub fn drill(wanted: &DrillWanted<'_>, facts: &DrillFacts, run: RunId) -> Result<DrillWork, Refusal> {
    let set = choose_set(wanted.set, &facts.catalogue, &facts.place.at)?;
    match &set.state {
        State::Damaged(reason) => {
            return Err(Refusal::Damaged { set: set.id, at: facts.place.at.clone(), reason: reason.clone() });
        }
        State::Orphan => return Err(Refusal::NoSet(format!("{} is no set: an unfinished run left it", set.id))),
        State::Complete | State::Partial | State::Stranger(_) | State::Foreign => {}
    }
    let snapshots = snapshot_checks(&facts.place, set);
    refuse_empty(set, &snapshots)?;
    check_space(&snapshots, facts.scratch_free, "the staging directory")?;

    let databases: Vec<DatabaseId> = snapshots.iter().map(|snapshot| snapshot.database).collect();
    let data_path = wanted.scratch.join("data");
    let path = |database| hitkeep::database_path(&data_path.join(hitkeep::DATABASE_FILE), &data_path, database);
    let mut numbering = Numbering::default();
    let chains = snapshots.into_iter().map(|snapshot| {
        let (database, from) = (snapshot.database, wanted.scratch.join("files").join(snapshot.database.to_string()));
        DrillChain {
            fetch: numbering.task(Fetch { database, snapshot, into: from.clone() }),
            load: numbering.task(Load { database, from, into: path(database) }),
            examine: numbering.task(Examine { database, path: path(database) }),
        }
    });
    let chains = chains.collect();
    let question = databases.contains(&DatabaseId::Shared).then(|| Question {
        path: path(DatabaseId::Shared),
        databases,
        wanted: wanted.job.map(|job| job.databases().clone()),
        assertions: wanted.job.map(|job| job.assertions().to_vec()).unwrap_or_default(),
    });
    let key = record::drill_key(set.id, run);
    Ok(DrillWork {
        run,
        job: wanted.job.map(|job| job.name().clone()),
        plan_line: wanted.job.map(Backup::line),
        snapshot: set.id,
        record_sha256: set.record.as_ref().map(|(_, digest)| *digest),
        at: facts.place.at.clone(),
        scratch: wanted.scratch.clone(),
        chains,
        question: question.map(|question| numbering.task(question)),
        note: numbering.task(Note { at: facts.place.locate(key.as_str()), key: facts.place.prefix.key(&key) }),
    })
}

impl DrillWork {
    /// Returns how many tasks there are.
    #[must_use]
    pub fn task_count(&self) -> u32 {
        self.note.id.0
    }
}

/// Compares the tenants of a restored shared database with the databases of its set, and says what does not fit.
///
/// A set must hold each tenant that is wanted and that HitKeep serves, unless that tenant has no site: HitKeep makes a
/// tenant's database when it is first used. No set may hold a database of nobody's.
#[must_use]
pub fn missing_tenants(
    tenants: &[Tenant],
    layout: Layout,
    databases: &[DatabaseId],
    wanted: Option<&Selection>,
) -> Option<String> {
    let is_listed = |database: &DatabaseId| tenants.iter().any(|tenant| DatabaseId::Tenant(tenant.id) == *database);
    let nobodys = databases.iter().find(|database| **database != DatabaseId::Shared && !is_listed(database));
    if let Some(database) = nobodys {
        return Some(format!("the set holds {database}, and the restored shared database knows no such tenant"));
    }
    let served = hitkeep::expected_databases(tenants, layout);
    let is_used = |database: &DatabaseId| {
        tenants.iter().any(|tenant| DatabaseId::Tenant(tenant.id) == *database && tenant.has_sites)
    };
    let is_wanted = |database: &DatabaseId| wanted.is_some_and(|wanted| wanted.includes(*database));
    let mut lost = served.iter().filter(|database| is_wanted(database) && !databases.contains(database));
    let lost = lost.find(|database| is_used(database));
    lost.map(|database| {
        format!("tenant {database} has sites in the restored shared database, and the set does not hold it")
    })
}
