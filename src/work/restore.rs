//! A set of a catalogue and facts become the work of restoring it.

use std::cmp::Reverse;
use std::fmt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::facts::RestoreFacts;
use super::verify::{SnapshotCheck, snapshot_checks};
use super::{Fetch, Load, Numbering, Refusal, Swap, Task};
use crate::hitkeep;
use crate::measure::{Bytes, counted};
use crate::name::{DatabaseId, RunId, Shard, SnapshotId, TenantId};
use crate::record::{Catalogue, Set};

/// How many sets are named where the one that is wanted is not there.
pub const INSTEAD: usize = 3;

/// How many other shards are named one by one.
const NAMED: u16 = 9;

/// How many databases are fetched and loaded at the same time: while the engine works on one core for the one, or waits
/// for the disk, it works on the other for the other.
pub const ABREAST: usize = 2;

/// What the name of the folder begins with that a restore stages files in.
pub const RESTORE_STAGING: &str = ".restore-";

/// How much a table may take beside its rows. A new database has blocks of 256 KiB, and each column and index begins
/// some; HitKeep's have blocks of 16 KiB. Measured: 124 small tables of 11 MiB came back as 103 MB.
const PER_TABLE: Bytes = Bytes(1 << 20);

/// What a person wants restored.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Which set.
    pub set: At,
    /// Which of its databases; every one where this is empty.
    pub databases: Vec<DatabaseId>,
    /// Where the shared database goes.
    pub shared: PathBuf,
    /// The data path that the tenants' databases go below.
    pub data_path: PathBuf,
    /// Whether what is there may be set aside.
    pub replace: bool,
}

/// Which set is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The newest whole one.
    Latest,
    /// The one of this name, whatever it is worth.
    Snapshot(SnapshotId),
    /// The newest whole one that is not younger.
    Moment(Timestamp),
}

impl At {
    /// Finds the set in a catalogue.
    #[must_use]
    pub fn find(self, catalogue: &Catalogue) -> Option<&Set> {
        match self {
            Self::Latest => catalogue.latest(),
            Self::Snapshot(id) => catalogue.find(id),
            Self::Moment(moment) => catalogue.latest_at(moment),
        }
    }
}

/// The work of a restore: every database is fetched and loaded before the first is put in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreWork {
    /// The set.
    pub snapshot: SnapshotId,
    /// Which part of the installation it is, where it is not all of it.
    pub shard: Option<Shard>,
    /// The place that it lies in, for people.
    pub at: String,
    /// The folder of fetched files, made for this and removed afterwards.
    pub staging: PathBuf,
    /// Where the shared database is or goes, whether or not it is restored.
    pub shared: PathBuf,
    /// What is done for each database.
    pub chains: Vec<RestoreChain>,
    /// What is done when all of them are ready.
    pub swaps: Vec<Task<Swap>>,
    /// What deserves attention although nothing failed.
    pub warnings: Vec<String>,
}

/// What is done for one database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreChain {
    /// Its files are fetched and compared …
    pub fetch: Task<Fetch>,
    /// … and loaded.
    pub load: Task<Load>,
}

/// Plans a restore that begins at `now`. Fetched files are staged below the data path, where the databases go too.
///
/// # Errors
/// When there is no such set, it lacks what is wanted, something is in the way, or a place has too little room.
pub fn restore(wanted: &Wanted, facts: &RestoreFacts, run: RunId, now: Timestamp) -> Result<RestoreWork, Refusal> {
    let staging = wanted.data_path.join(format!("{RESTORE_STAGING}{run}"));
    let set = choose_set(wanted.set, &facts.catalogue, &facts.place.at)?;
    let snapshots = choose_databases(wanted, set, snapshot_checks(&facts.place, set))?;
    check_target(&snapshots, facts)?;

    let mut numbering = Numbering::default();
    let target = |database| hitkeep::database_path(&wanted.shared, &wanted.data_path, database);
    let temporary = |database| temporary_path(&target(database), run);
    let chains: Vec<RestoreChain> = snapshots
        .into_iter()
        .map(|snapshot| {
            let (database, into) = (snapshot.database, staging.join(snapshot.database.to_string()));
            RestoreChain {
                fetch: numbering.task(Fetch { database, snapshot, into: into.clone() }),
                load: numbering.task(Load { database, from: into, into: temporary(database) }),
            }
        })
        .collect();
    let databases: Vec<DatabaseId> = chains.iter().map(|chain| chain.load.action.database).collect();
    let targets: Vec<PathBuf> = databases.iter().map(|database| target(*database)).collect();
    let moment = free_moment(&targets, facts, now);
    let swap = |database| {
        let (from, to) = (temporary(database), target(database));
        let aside = set_aside(&to, facts, wanted.replace, moment)?;
        let leftovers = names_beside(&to, &from.with_extension("left"));
        let leftovers = leftovers.into_iter().filter(|(path, _)| facts.leftovers.contains(path)).collect();
        Ok(Swap { database, from, to, aside, leftovers })
    };
    let mut swaps: Vec<Swap> = databases.iter().map(|database| swap(*database)).collect::<Result<_, Refusal>>()?;
    // HitKeep opens the shared one when it starts: it must not find it before the others are there.
    swaps.sort_by_key(|swap| swap.database == DatabaseId::Shared);
    let swaps = swaps.into_iter().map(|swap| numbering.task(swap)).collect();
    let at = facts.place.at.clone();
    Ok(RestoreWork {
        snapshot: set.id,
        shard: set.shard(),
        at,
        staging,
        shared: wanted.shared.clone(),
        chains,
        swaps,
        warnings: warnings(set, wanted, facts),
    })
}

pub(super) fn choose_set<'c>(at: At, catalogue: &'c Catalogue, place: &str) -> Result<&'c Set, Refusal> {
    let what = match at {
        At::Latest => "complete set".to_owned(),
        At::Snapshot(id) => format!("set {id}"),
        At::Moment(moment) => format!("complete set as old as {moment}"),
    };
    let ids: Vec<String> =
        catalogue.sets.iter().rev().take(INSTEAD).map(|set| format!("{} ({})", set.id, set.state)).collect();
    let there_is = if ids.is_empty() {
        "it holds no set at all".to_owned()
    } else {
        format!("the newest there: {}", ids.join(", "))
    };
    match at.find(catalogue) {
        Some(set) if set.archive().is_some() => {
            Err(Refusal::NoSet(format!("{} in {place} is an archive of old rows, and no set of databases", set.id)))
        }
        Some(set) => Ok(set),
        None => Err(Refusal::NoSet(format!("there is no {what} in {place}; {there_is}"))),
    }
}

/// Keeps what is wanted of a set's snapshots.
fn choose_databases(wanted: &Wanted, set: &Set, snapshots: Vec<SnapshotCheck>) -> Result<Vec<SnapshotCheck>, Refusal> {
    let holds = |database: &DatabaseId| snapshots.iter().any(|snapshot| snapshot.database == *database);
    if let Some(database) = wanted.databases.iter().find(|database| !holds(database)) {
        if let Some(other) = set.shard().and_then(|shard| shard.others().find(|other| other.includes(*database))) {
            return Err(Refusal::NoSet(format!(
                "{database} is in no set of this shard: it belongs to `--shard {other}`"
            )));
        }
        let held: Vec<String> = snapshots.iter().map(|snapshot| format!("`{}`", snapshot.database)).collect();
        return Err(Refusal::NotInSet { set: set.id, database: *database, held: held.join(", ") });
    }
    refuse_empty(set, &snapshots)?;
    let is_wanted =
        |snapshot: &SnapshotCheck| wanted.databases.is_empty() || wanted.databases.contains(&snapshot.database);
    Ok(snapshots.into_iter().filter(is_wanted).collect())
}

/// Goes on if a set holds anything; a shard may have no tenant, and then its sets hold nothing.
pub(super) fn refuse_empty(set: &Set, snapshots: &[SnapshotCheck]) -> Result<(), Refusal> {
    if snapshots.is_empty() && !(set.shard().is_some() && set.state.is_whole()) {
        return Err(Refusal::NoSet(format!("set {} holds no database", set.id)));
    }
    Ok(())
}

/// Goes on if the databases fit where each of them goes.
fn check_target(snapshots: &[SnapshotCheck], facts: &RestoreFacts) -> Result<(), Refusal> {
    let Some(shared_free) = facts.shared_free else {
        return check_space(snapshots, facts.target_free, "the place to restore to");
    };
    let (shared, others): (Vec<_>, Vec<_>) =
        snapshots.iter().partition(|snapshot| snapshot.database == DatabaseId::Shared);
    check(shared_free, databases_size(shared), "the place of the shared database")?;
    check(facts.target_free, databases_size(others).saturating_add(staged_size(snapshots)), "the place to restore to")
}

/// Goes on if all databases of these snapshots fit into `free` bytes, beside the files of those that are loaded at a time.
pub(super) fn check_space(snapshots: &[SnapshotCheck], free: Bytes, place: &str) -> Result<(), Refusal> {
    check(free, databases_size(snapshots).saturating_add(staged_size(snapshots)), place)
}

fn check(free: Bytes, needed: u64, place: &str) -> Result<(), Refusal> {
    let needed = Bytes(needed);
    if free >= needed {
        return Ok(());
    }
    Err(Refusal::NoSpace { place: place.to_owned(), is_destination: false, free, needed, copies: Bytes(0) })
}

/// Returns about how many bytes the databases of these snapshots take.
fn databases_size<'s>(snapshots: impl IntoIterator<Item = &'s SnapshotCheck>) -> u64 {
    let captured = |snapshot: &SnapshotCheck| {
        let grown = || snapshot.bytes.0.saturating_mul(hitkeep::GROWTH);
        snapshot.sealed.as_ref().map_or_else(grown, |sealed| sealed.record.database_bytes)
    };
    // Nearly every file holds a table's rows.
    let blocks = |snapshot: &SnapshotCheck| PER_TABLE.0.saturating_mul(snapshot.files.len() as u64);
    snapshots.into_iter().map(|snapshot| captured(snapshot).saturating_add(blocks(snapshot))).sum()
}

/// Returns the size of the files that are there at a time.
fn staged_size(snapshots: &[SnapshotCheck]) -> u64 {
    let mut staged: Vec<u64> = snapshots.iter().map(|snapshot| snapshot.bytes.0).collect();
    staged.sort_unstable_by_key(|bytes| Reverse(*bytes));
    staged.iter().take(ABREAST).sum()
}

/// Returns a name beside `target`, on the same file system, that nothing takes for a database.
fn temporary_path(target: &Path, run: RunId) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!(".{name}{RESTORE_STAGING}{run}.tmp"))
}

/// Tells whether a file beside a database is one that the restore of this run uses on its way.
#[must_use]
pub fn is_temporary(path: &Path, run: RunId) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with('.') && name.contains(&format!("{RESTORE_STAGING}{run}."))
}

/// Returns a moment that nothing was set aside at before: the present second, or the next one that is free.
fn free_moment(targets: &[PathBuf], facts: &RestoreFacts, now: Timestamp) -> SnapshotId {
    let is_taken = |moment| {
        let asides = targets.iter().map(|target| hitkeep::aside_path(target, moment));
        asides
            .flat_map(|aside| hitkeep::companions(&aside).into_iter().chain([aside]))
            .any(|path| facts.existing.contains(&path))
    };
    let mut moment = SnapshotId::at(now);
    while is_taken(moment) {
        moment = moment.next();
    }
    moment
}

/// Returns the files in the way of `target`, each with the name that it is set aside under.
fn set_aside(
    target: &Path,
    facts: &RestoreFacts,
    replace: bool,
    moment: SnapshotId,
) -> Result<Vec<(PathBuf, PathBuf)>, Refusal> {
    let pairs = names_beside(target, &hitkeep::aside_path(target, moment));
    let in_the_way: Vec<_> = pairs.into_iter().filter(|(path, _)| facts.existing.contains(path)).collect();
    match in_the_way.first() {
        Some((path, _)) if !replace => Err(Refusal::InTheWay { path: path.clone() }),
        _ => Ok(in_the_way),
    }
}

/// Pairs the files of a database with those of another: the database first, then its logs.
fn names_beside(one: &Path, other: &Path) -> [(PathBuf, PathBuf); 3] {
    let ([log, checkpoint_log], [other_log, other_checkpoint_log]) =
        (hitkeep::companions(one), hitkeep::companions(other));
    [(one.to_owned(), other.to_owned()), (log, other_log), (checkpoint_log, other_checkpoint_log)]
}

/// What a guard begins with, and no database does.
const GUARD: &str = "This is no database. hitkeep-plan was interrupted while it restored the one that belongs here.\n";

/// Tells whether a file that begins with these bytes is a guard.
#[must_use]
pub fn is_guard(beginning: &[u8]) -> bool {
    beginning.starts_with(GUARD.as_bytes())
}

impl Swap {
    /// Returns what stands in the database's place until all of a restore are placed: no engine opens it, and a person
    /// who does reads what to do.
    #[must_use]
    pub fn guard(&self) -> String {
        let old = self.aside.iter().find(|(path, _)| *path == self.to);
        let old = old.map_or("There was none before.\n".to_owned(), |(_, aside)| {
            format!(
                "The one before is whole, with its log where it has one:\n    {}\n\
                 To have it back, give it this name, its log too, and so with every other one of this restore.\n",
                aside.display()
            )
        });
        format!("{GUARD}\nRun the restore again: it puts the database here.\n\n{old}")
    }

    /// Returns the name that the guard has before it is put in its place.
    #[must_use]
    pub fn guard_path(&self) -> PathBuf {
        self.from.with_extension("guard")
    }

    /// Returns the name that a file has for the moment before it takes over another's.
    #[must_use]
    pub fn spare_path(&self) -> PathBuf {
        self.from.with_extension("spare")
    }

    /// Returns the names that it uses on its way and that nobody needs afterwards.
    #[must_use]
    pub fn temporary_paths(&self) -> Vec<PathBuf> {
        let left = self.leftovers.iter().map(|(_, left)| left.clone());
        let own = [self.from.clone(), self.guard_path(), self.spare_path()];
        left.chain(hitkeep::companions(&self.from)).chain(own).collect()
    }

    /// Returns every file that has another name while this restore lasts: those in the way, and what another one left.
    pub fn kept(&self) -> impl Iterator<Item = &(PathBuf, PathBuf)> {
        self.aside.iter().chain(&self.leftovers)
    }
}

fn warnings(set: &Set, wanted: &Wanted, facts: &RestoreFacts) -> Vec<String> {
    let mut warnings = Vec::new();
    if !set.state.is_whole() {
        warnings.push(format!("set {} is {}: what it lacks is not restored", set.id, set.state));
    }
    // Those of another shard are there because that one was restored to the same place.
    let is_its = |tenant: &TenantId| set.shard().is_none_or(|shard| shard.includes(DatabaseId::Tenant(*tenant)));
    let is_held = |tenant: &TenantId| set.databases.iter().any(|held| held.database == DatabaseId::Tenant(*tenant));
    let is_left = |tenant: &&TenantId| is_its(tenant) && !is_held(tenant);
    if wanted.databases.is_empty() {
        let left = facts.existing_tenants.iter().filter(is_left);
        warnings.extend(left.map(|tenant| format!("tenant {tenant} is there and not in the set: it stays as it is")));
    }
    warnings
}

impl fmt::Display for RestoreWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "restore set {}, {}, from {}", self.snapshot, counted(self.chains.len(), "database"), self.at)?;
        for RestoreChain { fetch, load } in &self.chains {
            writeln!(f, "{fetch}\n{load}")?;
        }
        self.swaps.iter().try_for_each(|swap| writeln!(f, "{swap}"))?;
        if let Some(rest) = self.rest() {
            writeln!(f, "      then     {rest}")?;
        }
        self.warnings.iter().try_for_each(|warning| writeln!(f, "      warning  {warning}"))
    }
}

impl RestoreWork {
    /// Tells whether the set is this program's own, which it may also delete.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.chains.iter().any(|chain| chain.fetch.action.snapshot.sealed.is_some())
    }

    /// Says what else is to be restored, where the set is about a part of the installation.
    #[must_use]
    pub fn rest(&self) -> Option<String> {
        let shard = self.shard.filter(|shard| shard.count() > 1)?;
        let others = match shard.count() - 1 {
            ..=NAMED => shard.others().map(|other| other.to_string()).collect::<Vec<_>>().join(" and "),
            count => format!("the {count} others"),
        };
        Some(format!("this is shard {shard} of the installation: restore {others} to the same place, too"))
    }

    /// Returns how many tasks there are.
    #[must_use]
    pub fn task_count(&self) -> u32 {
        self.swaps.last().map_or(0, |swap| swap.id.0)
    }
}
