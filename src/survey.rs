//! Looks at the world and returns facts: what an installation holds, what a destination holds, what is in the way.
//!
//! Nothing is changed by looking: databases are opened read-only or copied, places are listed and read.

mod archive;
mod growth;
mod last;
mod own;
mod prune;
mod sample;
mod sets;
mod status;
mod theirs;

pub use archive::{archive, archived, coverage, rows};
pub use growth::growth;
pub use last::last_run;
pub use own::{Known, Own, own};
pub use prune::{documents, drilled, last_records, last_records_of, pins, prune};
pub use sample::last_sample;
pub use sets::{Asked, catalogue, sealed};
pub use status::{kept_records, series};
pub use theirs::{Theirs, Unfinished, adopt, look};

use std::collections::BTreeSet;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use crate::duck::capture::{self, Captured, Patience};
use crate::duck::{self, Database, DuckError, Limits, Session, check};
use crate::event::Listener;
use crate::hitkeep::{self, Layout, Tenant};
use crate::measure::{Bytes, Free};
use crate::name::{DatabaseId, Prefix};
use crate::plan::{Backup, Capture, Installation, Selection};
use crate::record::Catalogue;
use crate::stop::{Reason, Stop};
use crate::store::{Store, StoreError, local};
use crate::work::{
    self, BackupFacts, DatabaseFact, DestinationFact, DrillFacts, Place, Reached, Refusal, RestoreFacts, Room, Seen,
    Spent, Wanted,
};

/// How much of a file tells whether it is a guard, in bytes.
const GUARD_READ: u64 = 200;

/// Why there are no facts.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// The shared database does not say which databases there are.
    #[error("which databases there are cannot be read: {0}")]
    Source(#[from] DuckError),
    /// What HitKeep's own backup writes cannot be read.
    #[error("HitKeep's own backups cannot be read: {0}")]
    Theirs(StoreError),
    /// HitKeep's own backup has written no set yet.
    #[error("`{at}` holds no finished set of HitKeep's own{}", instead(.oddities))]
    NoSet {
        /// The directory.
        at: String,
        /// What is there instead.
        oddities: Vec<String>,
    },
    /// There is no room for a copy to look into.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The word to stop was given.
    #[error("{0}")]
    Stopped(Reason),
    /// A folder cannot be asked.
    #[error("cannot look at `{at}`: {cause}")]
    Folder {
        /// The folder.
        at: String,
        /// What the system says.
        cause: std::io::Error,
    },
}

fn instead(oddities: &[String]) -> String {
    if oddities.is_empty() { String::new() } else { format!(": {}", oddities.join("; ")) }
}

/// What an installation is looked at with.
#[derive(Clone, Copy)]
pub struct Means<'m> {
    /// What an engine may use.
    pub limits: &'m Limits,
    /// The folder of this run's own, where a copy is made of a database that others have open.
    pub staging: &'m Path,
    /// How long is tried to copy such a database.
    pub patience: Patience,
    /// What time it is.
    pub clock: fn() -> Timestamp,
    /// Who is told that it takes long.
    pub tell: &'m dyn Listener,
    /// The word to stop.
    pub stop: &'m Stop,
}

impl Means<'_> {
    /// Waits for `look`, or for the word to stop.
    async fn unless_stopped<T>(&self, look: impl Future<Output = T>) -> Result<T, SurveyError> {
        tokio::select! {
            seen = look => Ok(seen),
            () = self.stop.wait() => {
                let reason = self.stop.reason().unwrap_or(Reason::Elsewhere);
                Err(SurveyError::Stopped(reason))
            }
        }
    }
}

/// Looks at everything that the backup of an installation is about; `stores` are its destinations' stores, in the plan's order.
///
/// A destination that is `known` not to answer is not asked again: each question to a server that is gone takes as long
/// as the patience with it.
///
/// # Errors
/// When the list of databases cannot be read, or the staging directory cannot be asked. A single database or
/// destination that does not answer is a fact.
pub async fn backup(
    job: &Backup,
    installation: &Installation,
    stores: &[Arc<dyn Store>],
    known: &Known,
    means: &Means<'_>,
) -> Result<BackupFacts, SurveyError> {
    let mut found = databases(installation, job.databases(), means).await?;
    found.drop_unwanted(job.databases(), means.staging);
    let Databases { facts: databases, unused, .. } = found;
    let wanted: Vec<DatabaseId> =
        databases.iter().map(|fact| fact.id).filter(|id| job.databases().includes(*id)).collect();
    let destinations = means.unless_stopped(destinations(job, stores, &wanted, known)).await?;
    Ok(BackupFacts { databases, unused, destinations, staging_free: free(means.staging)? })
}

/// Asks each destination of a job what it holds, and each bucket what is left there of the databases that are wanted. In a
/// directory a copy saves nothing.
async fn destinations(
    job: &Backup,
    stores: &[Arc<dyn Store>],
    wanted: &[DatabaseId],
    known: &Known,
) -> Vec<DestinationFact> {
    let mut destinations = Vec::new();
    for (destination, store) in job.to().iter().zip(stores) {
        let place = place(store.as_ref(), job.prefix());
        let own = known.own.get(destination.name()).cloned().unwrap_or_default();
        let reached = if let Some(cause) = known.silent.get(destination.name()) {
            Err(cause.clone())
        } else {
            // In a directory there is nothing to be saved by taking files over.
            let wanted = if destination.is_bucket() { wanted } else { &[] };
            reach(store.as_ref(), job, wanted, &own).await.map_err(|error| error.to_string())
        };
        destinations.push(DestinationFact { name: destination.name().clone(), place, reached });
    }
    destinations
}

/// Returns a backup prefix of a store with its name for people.
#[must_use]
pub fn place(store: &dyn Store, prefix: &Prefix) -> Place {
    Place { prefix: prefix.clone(), at: store.locate(prefix.as_str()) }
}

async fn reach(store: &dyn Store, job: &Backup, wanted: &[DatabaseId], own: &Own) -> Result<Reached, StoreError> {
    let found = sets::predecessors(store, job.prefix(), job.name(), own).await?;
    let sets::Predecessors { names, newest_record, newest_complete } = found;
    let remains = sets::remains(store, job.prefix(), &names, wanted).await?;
    Ok(Reached { names, newest_record, newest_complete, remains, free: store.free_space().await? })
}

/// What an installation holds.
#[derive(Debug)]
pub struct Databases {
    /// Its databases, as far as they are wanted, and before them the shared one.
    pub facts: Vec<DatabaseFact>,
    /// Its tenants.
    pub tenants: Vec<Tenant>,
    /// Where the default one's traffic lies.
    pub layout: Layout,
    /// Those of the tenants that are wanted and were never used.
    pub unused: Vec<Tenant>,
    /// What came of copying the shared database, where that was the way to look into it. The copy is still there.
    pub copied: Option<Captured>,
}

impl Databases {
    /// Removes the copy of the shared database if a job is not about that one.
    fn drop_unwanted(&mut self, wanted: &Selection, staging: &Path) {
        for fact in self.facts.iter_mut().filter(|fact| fact.copy.is_some() && !wanted.includes(fact.id)) {
            // One that cannot be removed now goes with the whole folder.
            drop(work::copy_path(staging, fact.id).parent().map(std::fs::remove_dir_all));
            fact.copy = None;
        }
    }
}

/// Reads which databases an installation has, and looks at the shared one and each that is wanted: from outside where they
/// will be copied, by opening them where they will be opened. Tenants that were never used come apart.
///
/// # Errors
/// When the list of databases cannot be read.
pub async fn databases(source: &Installation, wanted: &Selection, means: &Means<'_>) -> Result<Databases, SurveyError> {
    let Listing { tenants, layout, shared, copied } = tenants(source, means).await?;
    let (mut facts, mut unused) = (Vec::new(), Vec::new());
    let spent = copied.as_ref().map(|copied| Spent { tries: copied.tries, time: copied.elapsed });
    // Whoever has the shared one open may open any other at any time.
    let is_looked_at = |id: &DatabaseId| *id == DatabaseId::Shared || wanted.includes(*id);
    for id in hitkeep::expected_databases(&tenants, layout).into_iter().filter(is_looked_at) {
        let path = hitkeep::database_path(source.db_path(), source.data_path(), id);
        let tenant = tenants.iter().find(|tenant| DatabaseId::Tenant(tenant.id) == id);
        if let Some(tenant) = tenant.filter(|tenant| !tenant.has_sites && !path.exists()) {
            unused.push(tenant.clone());
            continue;
        }
        let (seen, copy) = match id {
            DatabaseId::Shared => (Ok(shared.clone()), spent),
            DatabaseId::Tenant(_) => (capture::look(&path).map(seen).map_err(|error| error.to_string()), None),
        };
        facts.push(DatabaseFact { id, name: tenant.map(|tenant| tenant.name.clone()), path, seen, copy });
    }
    if !source.capture().is_live(facts.iter().any(DatabaseFact::is_held)) {
        open_each(&mut facts, source.capture(), means).await;
    }
    Ok(Databases { facts, tenants, layout, unused, copied })
}

/// What the shared database says, and how it was asked.
struct Listing {
    tenants: Vec<Tenant>,
    layout: Layout,
    /// What was seen of it from outside.
    shared: Seen,
    /// What came of copying it, where that is how it was read.
    copied: Option<Captured>,
}

/// Reads the tenants of an installation.
async fn tenants(source: &Installation, means: &Means<'_>) -> Result<Listing, SurveyError> {
    let shared = capture::look(source.db_path()).map(seen).map_err(DuckError::from)?;
    if !source.capture().is_live(shared.holder.is_some()) {
        match enter(means, check::tenants, Database::Source(source.db_path().to_owned())).await {
            // Someone has come since, who is not in the way of a copy.
            Err(DuckError::Locked { .. }) if source.capture() == Capture::Auto => {}
            read => {
                let (tenants, layout) = read?;
                return Ok(Listing { tenants, layout, shared, copied: None });
            }
        }
    }
    let copied = copy_shared(source, shared.bytes, means).await?;
    let copy = Database::Copy(work::copy_path(means.staging, DatabaseId::Shared));
    let (tenants, layout) = enter(means, check::tenants, copy).await?;
    // What has come since the copy was begun is seen once more by whoever brings it up to date.
    Ok(Listing { tenants, layout, shared, copied: Some(copied) })
}

async fn copy_shared(source: &Installation, needed: Bytes, means: &Means<'_>) -> Result<Captured, SurveyError> {
    Room { copies: needed, exports: Bytes(0) }.check(free(means.staging)?.bytes)?;
    let copy = work::copy_path(means.staging, DatabaseId::Shared);
    let copied = duck::copy_live(source.db_path(), &copy, means.patience, means.clock, means.stop).await;
    match means.stop.reason() {
        Some(reason) => Err(SurveyError::Stopped(reason)),
        None => Ok(copied?),
    }
}

/// Opens every database that was seen, to see that it can be.
async fn open_each(facts: &mut [DatabaseFact], wanted: Capture, means: &Means<'_>) {
    for fact in facts {
        let Ok(seen) = &mut fact.seen else { continue };
        match enter(means, check::contents, Database::Source(fact.path.clone())).await {
            Ok(_) => {}
            Err(DuckError::Locked { holder, .. }) if wanted == Capture::Auto => seen.holder = Some(holder),
            Err(error) => fact.seen = Err(error.to_string()),
        }
    }
}

/// Has an engine look into a database.
async fn enter<T: Send + 'static>(
    means: &Means<'_>,
    look: fn(&Session, &Database) -> Result<T, DuckError>,
    database: Database,
) -> Result<T, DuckError> {
    duck::enter(means.limits, std::future::pending(), move |session| look(session, &database)).await
}

fn seen(state: capture::State) -> Seen {
    Seen {
        bytes: Bytes(state.bytes + state.log_bytes),
        log: Bytes(state.log_bytes),
        written_at: state.written_at,
        is_checkpointing: state.is_checkpointing,
        holder: state.holder,
    }
}

/// Looks at everything that a restore is about.
///
/// # Errors
/// When the place cannot be read, or the target cannot be asked.
pub fn restore(place: Place, catalogue: Catalogue, wanted: &Wanted) -> Result<RestoreFacts, SurveyError> {
    let existing_tenants: BTreeSet<_> = existing_tenants(&wanted.data_path);
    let databases = catalogue.sets.iter().flat_map(|set| &set.databases).map(|held| held.database);
    let (mut existing, mut leftovers) = (BTreeSet::new(), BTreeSet::new());
    for database in databases.collect::<BTreeSet<_>>() {
        let path = hitkeep::database_path(&wanted.shared, &wanted.data_path, database);
        let aside = set_aside(&path);
        let left = left_by_interrupted(&path, &aside);
        let files = hitkeep::companions(&path).into_iter().chain([path]);
        existing.extend(files.filter(|file| file.symlink_metadata().is_ok() && !left.contains(file)));
        existing.extend(aside);
        leftovers.extend(left);
    }
    let (target_free, shared_free) = (free(&wanted.data_path)?, free(&wanted.shared)?);
    let is_apart = shared_free.file_system != target_free.file_system;
    let (target_free, shared_free) = (target_free.bytes, is_apart.then_some(shared_free.bytes));
    Ok(RestoreFacts { place, catalogue, existing, leftovers, existing_tenants, target_free, shared_free })
}

/// Looks at everything that a drill is about; its scratch folder will lie in `staging`.
///
/// # Errors
/// When the file system cannot be asked what is free.
pub fn drill(place: Place, catalogue: Catalogue, staging: &Path) -> Result<DrillFacts, SurveyError> {
    Ok(DrillFacts { place, catalogue, scratch_free: free(staging)?.bytes })
}

/// Returns what restores have set aside of a database.
fn set_aside(database: &Path) -> Vec<PathBuf> {
    let begins = hitkeep::aside_beginning(database);
    let entries = database.parent().and_then(|folder| std::fs::read_dir(folder).ok()).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().starts_with(&*begins.to_string_lossy()))
        .collect()
}

/// Returns what an interrupted restore left in a database's place: a guard, and beside it logs that it has set `aside`.
fn left_by_interrupted(database: &Path, aside: &[PathBuf]) -> Vec<PathBuf> {
    if !is_guard(database) {
        return Vec::new();
    }
    let file = |path: &Path| path.symlink_metadata().map(|about| (about.dev(), about.ino())).ok();
    let is_aside = |log: &PathBuf| file(log).is_some_and(|log| aside.iter().any(|path| file(path) == Some(log)));
    let logs = hitkeep::companions(database).into_iter().filter(is_aside);
    logs.chain([database.to_owned()]).collect()
}

/// Tells whether an interrupted restore has put its guard in a database's place.
#[must_use]
pub fn is_guard(database: &Path) -> bool {
    let mut beginning = Vec::new();
    let read = std::fs::File::open(database).and_then(|file| file.take(GUARD_READ).read_to_end(&mut beginning));
    read.is_ok() && work::is_guard(&beginning)
}

fn existing_tenants(data_path: &Path) -> BTreeSet<crate::name::TenantId> {
    let entries = std::fs::read_dir(hitkeep::tenants_path(data_path)).into_iter().flatten().flatten();
    let tenant = |entry: std::fs::DirEntry| {
        let has_database = entry.path().join(hitkeep::DATABASE_FILE).exists();
        entry.file_name().to_str().filter(|_| has_database)?.parse().ok()
    };
    entries.filter_map(tenant).collect()
}

fn free(folder: &Path) -> Result<Free, SurveyError> {
    local::free_space(folder).map_err(|cause| SurveyError::Folder { at: folder.display().to_string(), cause })
}
