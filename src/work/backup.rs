//! A backup job and facts become the work of one set.

use std::fmt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::capture::{Origin, captures, copy_path};
use super::facts::{BackupFacts, Before, DatabaseFact, DestinationFact, Reached};
use super::{Announce, Capture, Check, Describe, Export, Numbering, Prepare, Put, Refusal, Seal, Task};
use crate::hitkeep;
use crate::measure::{Bytes, Share, counted};
use crate::name::{DatabaseId, Name, RunId, SnapshotId};
use crate::plan::{self, Backup, Selection, Verify};
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
    /// What is verified before sealing.
    pub verification: Verification,
    /// How much smaller than the one before it a set may be and still be complete.
    pub max_shrink: Share,
    /// What is needed of the staging directory.
    pub room: Room,
    /// What deserves attention although nothing failed.
    pub warnings: Vec<String>,
}

/// What is needed of the staging directory at the worst moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// For all copies of databases together.
    pub copies: Bytes,
    /// For an export, which takes less than its database: Parquet has no indexes and no free blocks, and is compressed
    /// harder.
    pub export: Bytes,
}

impl Room {
    /// Returns what these databases need: all copies are there when the first database is exported.
    #[must_use]
    pub fn of(databases: &[&DatabaseFact], is_live: bool) -> Self {
        let sizes = || databases.iter().map(|fact| fact.bytes().0);
        let copies = if is_live { sizes().sum() } else { 0 };
        Self { copies: Bytes(copies), export: Bytes(sizes().max().unwrap_or(0)) }
    }

    /// Returns the sum.
    #[must_use]
    pub fn total(self) -> Bytes {
        Bytes(self.copies.0 + self.export.0)
    }

    /// Goes on if that much is free.
    ///
    /// # Errors
    /// [`Refusal::NoSpace`] where it is not.
    pub fn check(self, free: Bytes) -> Result<(), Refusal> {
        let (needed, place) = (self.total(), "the staging directory".to_owned());
        if free < needed {
            return Err(Refusal::NoSpace { place, is_destination: false, free, needed, copies: self.copies });
        }
        Ok(())
    }
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
    /// It is exported once …
    pub export: Task<Export>,
    /// … and delivered to each destination.
    pub deliveries: Vec<Delivery>,
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
    /// The first thing that is written there …
    pub announce: Task<Announce>,
    /// … and the last.
    pub seal: Task<Seal>,
    /// Why the destination is left out altogether, when it did not answer.
    pub unreachable: Option<String>,
    /// The newest complete set there, which the new one is compared with.
    pub before: Option<Before>,
}

/// Plans a backup that begins at `now`, staging copies and exports inside `staging`.
///
/// # Errors
/// When a place has too little room.
pub fn backup(
    job: &Backup,
    facts: &BackupFacts,
    staging: &Path,
    run: RunId,
    now: Timestamp,
) -> Result<BackupWork, Refusal> {
    let (present, missing) = select(job.databases(), &facts.databases);
    let is_live = job.source().capture().is_live(facts.databases.iter().any(DatabaseFact::is_held));
    let room = Room::of(&present, is_live);
    check_space(&present, facts, room)?;
    let (snapshot, warnings) = choose_snapshot(facts, now);
    let expected = present.iter().map(|fact| fact.id).chain(missing.iter().map(|missing| missing.database)).collect();

    let mut numbering = Numbering::default();
    let announces: Vec<_> = facts.destinations.iter().map(|fact| numbering.task(announce(fact, snapshot))).collect();
    let live = if is_live { present.as_slice() } else { &[] };
    let (preparations, captures) = captures(live, staging, &mut numbering);
    let chain = |fact: &&DatabaseFact| {
        let from = origin(job.source().capture(), is_live, copy_path(staging, fact.id));
        chain(job, fact, from, facts, staging, snapshot, &mut numbering)
    };
    let chains = present.iter().map(chain).collect();
    let series = facts.destinations.iter().zip(announces).map(|(fact, announce)| Series {
        announce,
        seal: numbering.task(seal(fact, snapshot)),
        unreachable: fact.reached.as_ref().err().cloned(),
        before: fact.reached.as_ref().ok().and_then(|reached| reached.newest_complete),
    });
    let series = series.collect();
    let verification = match job.verify() {
        Verify::None => Verification::None,
        Verify::Checksum | Verify::Restore => Verification::Checksum,
    };
    let plan_line = job.line();
    Ok(BackupWork {
        run,
        job: job.name().clone(),
        plan_line,
        snapshot,
        expected,
        missing,
        unused: facts.unused.iter().map(|tenant| (DatabaseId::Tenant(tenant.id), tenant.name.clone())).collect(),
        preparations,
        captures,
        chains,
        series,
        verification,
        max_shrink: job.max_shrink(),
        room,
        warnings,
    })
}

/// Sorts the databases that the job wants into those that can be captured and those that cannot.
fn select<'f>(wanted: &Selection, facts: &'f [DatabaseFact]) -> (Vec<&'f DatabaseFact>, Vec<Missing>) {
    let mut present = Vec::new();
    let mut missing = Vec::new();
    for fact in facts.iter().filter(|fact| wanted.includes(fact.id)) {
        match &fact.seen {
            Ok(_) => present.push(fact),
            Err(cause) => missing.push(Missing { database: fact.id, cause: cause.clone() }),
        }
    }
    if let Selection::Only(ids) = wanted {
        let unknown = ids.iter().filter(|id| !facts.iter().any(|fact| fact.id == **id));
        let cause = "the installation has no active tenant of this id with a database";
        missing.extend(unknown.map(|id| Missing { database: *id, cause: cause.to_owned() }));
    }
    (present, missing)
}

/// Returns what an export reads.
fn origin(wanted: plan::Capture, is_live: bool, copy: PathBuf) -> Origin {
    match (is_live, wanted) {
        (true, _) => Origin::Copy(copy),
        (false, plan::Capture::Auto) => Origin::DatabaseOrCopy(copy),
        (false, _) => Origin::Database,
    }
}

/// Checks that what is needed of the staging directory is free, and all exports fit into each destination.
fn check_space(present: &[&DatabaseFact], facts: &BackupFacts, room: Room) -> Result<(), Refusal> {
    let there: u64 = present.iter().filter(|fact| fact.has_copy).map(|fact| fact.bytes().0).sum();
    room.check(Bytes(facts.staging_free.0 + there))?;
    let needed = present.iter().map(|fact| fact.bytes().0).sum();
    for fact in &facts.destinations {
        if let Ok(Reached { free: Some(free), .. }) = fact.reached
            && free.0 < needed
        {
            let place = format!("destination `{}`", fact.name);
            let needed = Bytes(needed);
            return Err(Refusal::NoSpace { place, is_destination: true, free, needed, copies: Bytes(0) });
        }
    }
    Ok(())
}

/// Chooses a name that no destination has yet: the present second, or the next one that is free.
fn choose_snapshot(facts: &BackupFacts, now: Timestamp) -> (SnapshotId, Vec<String>) {
    let reached = || facts.destinations.iter().filter_map(|fact| fact.reached.as_ref().ok());
    let mut id = SnapshotId::at(now);
    while reached().any(|reached| reached.taken.contains(&id)) {
        id = id.next();
    }
    let newest = reached().filter_map(|reached| reached.taken.last().copied()).max();
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
        database: database.id,
        name: database.name.clone(),
        source: database.path.clone(),
        from,
        bytes: database.bytes(),
        into: into.clone(),
        codec: job.compression(),
    });
    let reachable = facts.destinations.iter().filter(|fact| fact.reached.is_ok());
    let deliveries = reachable.map(|fact| delivery(job, database.id, fact, &into, snapshot, numbering)).collect();
    Chain { export, deliveries }
}

fn delivery(
    job: &Backup,
    database: DatabaseId,
    fact: &DestinationFact,
    from: &Path,
    snapshot: SnapshotId,
    numbering: &mut Numbering,
) -> Delivery {
    let folder = hitkeep::snapshot_folder(database, snapshot);
    let prefix = fact.place.prefix.join(&folder);
    let at = fact.place.locate(folder.as_str());
    let destination = || fact.name.clone();
    let put =
        Put { database, from: from.to_owned(), destination: destination(), prefix: prefix.clone(), at: at.clone() };
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

fn announce(fact: &DestinationFact, snapshot: SnapshotId) -> Announce {
    let note = record::announcement_key(snapshot);
    Announce { destination: fact.name.clone(), key: fact.place.prefix.key(&note), at: fact.place.locate(note.as_str()) }
}

fn seal(fact: &DestinationFact, snapshot: SnapshotId) -> Seal {
    let record = record::record_key(snapshot);
    Seal {
        destination: fact.name.clone(),
        key: fact.place.prefix.key(&record),
        announcement: fact.place.prefix.key(&record::announcement_key(snapshot)),
        at: fact.place.locate(record.as_str()),
        previous: fact.reached.as_ref().ok().and_then(|reached| reached.newest_record),
    }
}

/// Lists the work the way it will be done: this is the dry run.
impl fmt::Display for BackupWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "backup {}: set {}, {}", self.job, self.snapshot, counted(self.expected.len(), "database"))?;
        for series in self.series.iter().filter(|series| series.unreachable.is_none()) {
            writeln!(f, "{}", series.announce)?;
        }
        self.preparations.iter().try_for_each(|task| writeln!(f, "{task}"))?;
        self.captures.iter().try_for_each(|task| writeln!(f, "{task}"))?;
        for chain in &self.chains {
            writeln!(f, "{}", chain.export)?;
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
            let Room { copies, export } = self.room;
            writeln!(
                f,
                "      staging  {copies} for the copies, until each is exported, and up to {export} for an export"
            )?;
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
    /// Returns how many tasks there are.
    #[must_use]
    pub fn task_count(&self) -> u32 {
        self.series.last().map_or(0, |series| series.seal.id.0)
    }
}
