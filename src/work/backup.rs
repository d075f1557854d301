//! A backup job and facts become the work of one set.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::adopt::Adopt;
use super::capture::{Input, Origin, captures, copy_path};
use super::facts::{BackupFacts, Before, DatabaseFact, DestinationFact, Place, Predecessor};
use super::room::check_staged_and_stored;
use super::{
    Announce, Capture, Check, Clear, Describe, Export, Numbering, Prepare, Put, Refusal, Room, Seal, Task, remains,
};
use crate::event::TaskId;
use crate::hitkeep::{self, Tenant};
use crate::measure::{Bytes, Free, Share, counted};
use crate::name::{DatabaseId, Name, RunId, SnapshotId};
use crate::plan::{self, Backup, Installation, Selection, Verify};
use crate::record::{self, Verification};

/// The work of one set: announced, captured where others have it open, then one chain per database, then sealed at
/// each destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupWork {
    /// The run.
    pub run: RunId,
    /// The job that asked for it.
    pub job: Name,
    /// The line of the plan that the job begins at.
    pub plan_line: usize,
    /// The set's name.
    pub snapshot: SnapshotId,
    /// The databases that the set should hold.
    pub expected: Vec<DatabaseId>,
    /// Those of them that cannot be captured, with the reason.
    pub missing: Vec<Missing>,
    /// The tenants that have no data yet, by id and name.
    pub unused: Vec<(DatabaseId, String)>,
    /// What goes before the captures, so that they take little time …
    pub preparations: Vec<Task<Prepare>>,
    /// … and the captures of all databases that others have open, before the first export.
    pub captures: Vec<Task<Capture>>,
    /// What is done for each database that can.
    pub chains: Vec<Chain>,
    /// What is done at each destination.
    pub series: Vec<Series>,
    /// The destinations that hold the set already, where nothing is done.
    pub there: Vec<There>,
    /// What is verified before sealing.
    pub verification: Verification,
    /// How much smaller than the one before it a set may be and still be complete.
    pub max_shrink: Share,
    /// What is needed of the staging directory.
    pub room: Room,
    /// Whether a database is exported while the one before it is stored.
    pub exports_ahead: bool,
    /// What deserves attention although nothing failed.
    pub warnings: Vec<String>,
}

/// A database that should be in the set and cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Which one.
    pub database: DatabaseId,
    /// Why.
    pub cause: String,
}

/// What is done for one database; each step needs the one before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its snapshot is taken once …
    pub take: Take,
    /// … and delivered to each destination.
    pub deliveries: Vec<Delivery>,
}

/// How a snapshot comes about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Take {
    /// It is exported.
    Export(Task<Export>),
    /// HitKeep has exported it.
    Adopt(Task<Adopt>),
}

impl Take {
    /// Returns the number of the task.
    #[must_use]
    pub fn id(&self) -> TaskId {
        match self {
            Self::Export(task) => task.id,
            Self::Adopt(task) => task.id,
        }
    }

    /// Returns which database's it is.
    #[must_use]
    pub fn database(&self) -> DatabaseId {
        match self {
            Self::Export(task) => task.action.input.database,
            Self::Adopt(task) => task.action.database,
        }
    }

    /// Returns the name of the database's tenant.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Export(task) => task.action.name.as_deref(),
            Self::Adopt(task) => task.action.name.as_deref(),
        }
    }

    /// Returns the size of the database, in bytes: an estimate where nothing but the snapshot is known.
    #[must_use]
    pub fn database_bytes(&self) -> Bytes {
        match self {
            Self::Export(task) => task.action.input.bytes,
            Self::Adopt(task) => Bytes(task.action.bytes.0.saturating_mul(hitkeep::GROWTH)),
        }
    }
}

impl fmt::Display for Take {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Export(task) => task.fmt(f),
            Self::Adopt(task) => task.fmt(f),
        }
    }
}

/// What is done for one database at one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its files are stored …
    pub put: Task<Put>,
    /// … read back, where the job wants that …
    pub check: Option<Task<Check>>,
    /// … and described.
    pub describe: Task<Describe>,
}

/// What is done once at one destination: its end of the series of sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// Its place, for people.
    pub at: String,
    /// What goes before everything else, where an earlier run has left something under the set's name.
    pub clear: Option<Task<Clear>>,
    /// The first thing that is written there …
    pub announce: Task<Announce>,
    /// … and the last.
    pub seal: Task<Seal>,
    /// Why the destination is left out altogether, when it did not answer.
    pub unreachable: Option<String>,
    /// The newest complete set there, which the new one is compared with.
    pub before: Option<Before>,
}

impl Series {
    /// Returns what is done at a destination after what has been planned for it: the set is sealed.
    pub(super) fn ending(
        fact: &DestinationFact,
        clear: Option<Task<Clear>>,
        announce: Task<Announce>,
        snapshot: SnapshotId,
        numbering: &mut Numbering,
    ) -> Self {
        Self {
            at: fact.place.at.clone(),
            clear,
            announce,
            seal: numbering.task(seal("set", &fact.name, &fact.place, snapshot, newest_record(fact))),
            unreachable: fact.reached.as_ref().err().cloned(),
            before: fact.reached.as_ref().ok().and_then(|reached| reached.newest_complete),
        }
    }
}

/// A destination that holds the set already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct There {
    /// The destination.
    pub destination: Name,
    /// Its place, for people.
    pub at: String,
    /// Whether what it holds is known to lack something.
    pub is_partial: bool,
}

/// Plans a backup of an installation that begins at `now`, staging copies and exports inside `staging`.
///
/// # Errors
/// When a place has too little room.
pub fn backup(
    job: &Backup,
    installation: &Installation,
    facts: &BackupFacts,
    staging: &Path,
    run: RunId,
    now: Timestamp,
) -> Result<BackupWork, Refusal> {
    let (present, missing) = select(job.databases(), &facts.databases);
    let is_live = installation.capture().is_live(facts.databases.iter().any(DatabaseFact::is_held));
    let (room, exports_ahead) = plan_room(&present, facts, is_live)?;
    let taken = facts.destinations.iter().filter_map(|fact| Some(fact.reached.as_ref().ok()?.names.all()));
    let taken: Vec<BTreeSet<SnapshotId>> = taken.collect();
    let (snapshot, warnings) = choose_snapshot(&taken.iter().collect::<Vec<_>>(), now);
    let expected = present.iter().map(|fact| fact.id).chain(missing.iter().map(|missing| missing.database)).collect();

    let mut numbering = Numbering::default();
    let announces: Vec<_> = facts
        .destinations
        .iter()
        .map(|fact| numbering.task(announce("set", &fact.name, &fact.place, snapshot)))
        .collect();
    let live = if is_live { present.as_slice() } else { &[] };
    let (preparations, captures) = captures(live, staging, &mut numbering);
    let chain = |fact: &&DatabaseFact| {
        let from = origin(installation.capture(), is_live, copy_path(staging, fact.id));
        chain(job, fact, from, facts, staging, snapshot, &mut numbering)
    };
    let chains = present.iter().map(chain).collect();
    let series = facts.destinations.iter().zip(announces);
    let series =
        series.map(|(fact, announce)| Series::ending(fact, None, announce, snapshot, &mut numbering)).collect();
    Ok(BackupWork {
        run,
        job: job.name().clone(),
        plan_line: job.line(),
        snapshot,
        expected,
        missing,
        unused: unused(job.databases(), &facts.unused),
        preparations,
        captures,
        chains,
        series,
        there: Vec::new(),
        verification: verification(job),
        max_shrink: job.max_shrink(),
        room,
        exports_ahead,
        warnings,
    })
}

/// Returns what is verified before sealing.
pub(super) fn verification(job: &Backup) -> Verification {
    match job.verify() {
        Verify::None => Verification::None,
        Verify::Checksum | Verify::Restore => Verification::Checksum,
    }
}

/// Names those of the wanted tenants that there is nothing to back up of.
pub(super) fn unused(wanted: &Selection, tenants: &[Tenant]) -> Vec<(DatabaseId, String)> {
    let named = tenants.iter().map(|tenant| (DatabaseId::Tenant(tenant.id), tenant.name.clone()));
    named.filter(|(database, _)| wanted.includes(*database)).collect()
}

/// Sorts the databases that the job wants into those that can be captured and those that cannot.
pub(super) fn select<'f>(wanted: &Selection, facts: &'f [DatabaseFact]) -> (Vec<&'f DatabaseFact>, Vec<Missing>) {
    let mut present = Vec::new();
    let mut missing = Vec::new();
    for fact in facts.iter().filter(|fact| wanted.includes(fact.id)) {
        match &fact.seen {
            Ok(_) => present.push(fact),
            Err(cause) => missing.push(Missing { database: fact.id, cause: cause.clone() }),
        }
    }
    missing.extend(unknown(wanted, |id| facts.iter().any(|fact| fact.id == id)));
    (present, missing)
}

/// Returns the databases that a job wants and the installation does not have.
pub(super) fn unknown(wanted: &Selection, is_known: impl Fn(DatabaseId) -> bool) -> Vec<Missing> {
    let Selection::Only(ids) = wanted else { return Vec::new() };
    let cause = "the installation has no active tenant of this id with a database";
    let unknown = ids.iter().filter(|id| !is_known(**id));
    unknown.map(|id| Missing { database: *id, cause: cause.to_owned() }).collect()
}

/// Returns what an export reads.
pub(super) fn origin(wanted: plan::Capture, is_live: bool, copy: PathBuf) -> Origin {
    match (is_live, wanted) {
        (true, _) => Origin::Copy(copy),
        (false, plan::Capture::Auto) => Origin::DatabaseOrCopy(copy),
        (false, _) => Origin::Database,
    }
}

/// Returns what is needed of the staging directory, and whether one database is exported while the one before it is stored:
/// where there is room for both exports.
fn plan_room(present: &[&DatabaseFact], facts: &BackupFacts, is_live: bool) -> Result<(Room, bool), Refusal> {
    let fits = |exports_ahead| {
        let room = Room::of(present, is_live, exports_ahead);
        check_space(present, facts, room).map(|()| (room, exports_ahead))
    };
    fits(present.len() > 1).or_else(|_| fits(false))
}

/// Checks that there is room for everything that is staged and stored, beside the copies that are there already.
fn check_space(present: &[&DatabaseFact], facts: &BackupFacts, room: Room) -> Result<(), Refusal> {
    let there: u64 = present.iter().filter(|fact| fact.copy.is_some()).map(|fact| fact.bytes().0).sum();
    let grown = |free: Free| Free { bytes: Bytes(free.bytes.0 + there), ..free };
    let staging = grown(facts.staging_free);
    let mut destinations = facts.destinations.clone();
    for free in destinations.iter_mut().filter_map(|fact| fact.reached.as_mut().ok()?.free.as_mut()) {
        if free.file_system == staging.file_system {
            *free = grown(*free);
        }
    }
    let set = Bytes(present.iter().map(|fact| fact.bytes().0).sum());
    check_staged_and_stored(room, staging, set, &destinations.iter().collect::<Vec<_>>())
}

/// Chooses a name that no destination has yet: the present second, or the next one that is free.
pub(super) fn choose_snapshot(taken: &[&BTreeSet<SnapshotId>], now: Timestamp) -> (SnapshotId, Vec<String>) {
    let mut id = SnapshotId::at(now);
    while taken.iter().any(|taken| taken.contains(&id)) {
        id = id.next();
    }
    let newest = taken.iter().filter_map(|taken| taken.last().copied()).max();
    let ahead = newest.filter(|newest| *newest > id);
    let warning = |newest| {
        format!(
            "set {newest} is younger than this run: the clock has gone backwards, and \"latest\" means that set until it is past"
        )
    };
    (id, ahead.map(warning).into_iter().collect())
}

fn chain(
    job: &Backup,
    database: &DatabaseFact,
    from: Origin,
    facts: &BackupFacts,
    staging: &Path,
    snapshot: SnapshotId,
    numbering: &mut Numbering,
) -> Chain {
    let into = staging.join(database.id.to_string());
    let export = numbering.task(Export {
        input: Input::of(database, from),
        name: database.name.clone(),
        into: into.clone(),
        codec: job.compression(),
        // In a directory there is nothing to be saved by taking files over.
        is_repeatable: job.to().iter().any(|destination| destination.is_bucket()),
    });
    let reachable = facts.destinations.iter().filter(|fact| fact.reached.is_ok());
    let files = Files { database: database.id, folder: &into, names: None };
    let mut deliveries: Vec<Delivery> = reachable.map(|fact| delivery(job, files, fact, snapshot, numbering)).collect();
    if let Some(last) = deliveries.last_mut() {
        last.put.action.is_last = true;
    }
    Chain { take: Take::Export(export), deliveries }
}

/// The files of a database's snapshot on this host.
#[derive(Clone, Copy)]
pub(super) struct Files<'f> {
    pub(super) database: DatabaseId,
    pub(super) folder: &'f Path,
    /// Nothing where all that will lie in the folder are meant.
    pub(super) names: Option<&'f BTreeSet<String>>,
}

pub(super) fn delivery(
    job: &Backup,
    files: Files<'_>,
    fact: &DestinationFact,
    snapshot: SnapshotId,
    numbering: &mut Numbering,
) -> Delivery {
    let Files { database, folder: from, names } = files;
    let folder = hitkeep::snapshot_folder(database, snapshot);
    let prefix = fact.place.prefix.join(&folder);
    let at = fact.place.locate(folder.as_str());
    let destination = || fact.name.clone();
    let remains = fact.reached.as_ref().map_or(&[][..], |reached| &reached.remains);
    let put = Put {
        database,
        from: from.to_owned(),
        names: names.cloned(),
        remains: remains::of_use(remains, database, snapshot),
        is_last: false,
        destination: destination(),
        prefix: prefix.clone(),
        at: at.clone(),
    };
    let check = Check { database, destination: destination(), prefix, at };
    let manifest = record::manifest_key(database, snapshot);
    let describe = Describe {
        database,
        destination: destination(),
        path: folder.to_string(),
        key: fact.place.prefix.key(&manifest),
        at: fact.place.locate(manifest.as_str()),
    };
    Delivery {
        put: numbering.task(put),
        check: (job.verify() != Verify::None).then(|| numbering.task(check)),
        describe: numbering.task(describe),
    }
}

fn newest_record(fact: &DestinationFact) -> Option<Predecessor> {
    fact.reached.as_ref().ok().and_then(|reached| reached.newest_record)
}

pub(super) fn announce(what: &'static str, destination: &Name, place: &Place, snapshot: SnapshotId) -> Announce {
    let note = record::announcement_key(snapshot);
    let (key, at) = (place.prefix.key(&note), place.locate(note.as_str()));
    Announce { what, destination: destination.clone(), key, at }
}

pub(super) fn seal(
    what: &'static str,
    destination: &Name,
    place: &Place,
    snapshot: SnapshotId,
    previous: Option<Predecessor>,
) -> Seal {
    let record = record::record_key(snapshot);
    Seal {
        what,
        destination: destination.clone(),
        key: place.prefix.key(&record),
        announcement: place.prefix.key(&record::announcement_key(snapshot)),
        at: place.locate(record.as_str()),
        previous,
    }
}

/// Lists the work in the order of the tasks' numbers: this is the dry run.
impl fmt::Display for BackupWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "backup {}: set {}, {}", self.job, self.snapshot, counted(self.expected.len(), "database"))?;
        for series in self.series.iter().filter(|series| series.unreachable.is_none()) {
            series.clear.iter().try_for_each(|clear| writeln!(f, "{clear}"))?;
            writeln!(f, "{}", series.announce)?;
        }
        self.preparations.iter().try_for_each(|task| writeln!(f, "{task}"))?;
        self.captures.iter().try_for_each(|task| writeln!(f, "{task}"))?;
        for chain in &self.chains {
            writeln!(f, "{}", chain.take)?;
            for Delivery { put, check, describe } in &chain.deliveries {
                writeln!(f, "{put}")?;
                check.iter().try_for_each(|check| writeln!(f, "{check}"))?;
                writeln!(f, "{describe}")?;
            }
        }
        for series in self.series.iter().filter(|series| series.unreachable.is_none()) {
            writeln!(f, "{}", series.seal)?;
        }
        if self.room.copies.0 > 0 {
            let Room { copies, exports } = self.room;
            writeln!(
                f,
                "      staging  {copies} for the copies, until each is exported, and up to {exports} for an export"
            )?;
        }
        for series in &self.series {
            let destination = &series.seal.action.destination;
            let puts = self.chains.iter().flat_map(|chain| &chain.deliveries).map(|delivery| &delivery.put.action);
            let puts = puts.filter(|put| put.destination == *destination);
            remains::write_summary(f, destination, puts.flat_map(|put| &put.remains))?;
        }
        for There { destination, at, is_partial } in &self.there {
            let state = if *is_partial { ", as a partial one" } else { "" };
            writeln!(f, "      there    destination {destination} holds the set already{state}: {at}")?;
        }
        for (database, name) in &self.unused {
            writeln!(f, "      unused   {database}: tenant `{name}` has no site and no database yet")?;
        }
        for missing in &self.missing {
            writeln!(f, "      missing  {}: {}", missing.database, missing.cause)?;
        }
        for series in &self.series {
            if let Some(cause) = &series.unreachable {
                writeln!(f, "      missing  destination {}: {cause}", series.seal.action.destination)?;
            }
        }
        self.warnings.iter().try_for_each(|warning| writeln!(f, "      warning  {warning}"))
    }
}

impl BackupWork {
    /// Tells whether the set is one of HitKeep's own, which the next run will find again under the same name.
    #[must_use]
    pub fn is_adopted(&self) -> bool {
        self.chains.iter().any(|chain| matches!(chain.take, Take::Adopt(_)))
    }

    /// Returns how many tasks there are.
    #[must_use]
    pub fn task_count(&self) -> u32 {
        self.series.last().map_or(0, |series| series.seal.id.0)
    }
}
