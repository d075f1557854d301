//! Looks at the world and returns facts: what an installation holds, what a destination holds, what is in the way.
//!
//! Nothing is changed by looking: databases are opened read-only, places are listed and read.

mod sets;

pub use sets::{Asked, catalogue};

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::duck::{self, DuckError, Limits, check};
use crate::hitkeep::{self, Tenant};
use crate::measure::Bytes;
use crate::name::{DatabaseId, Name, Prefix};
use crate::plan::{Backup, Source};
use crate::record::Catalogue;
use crate::store::{Store, StoreError, local};
use crate::work::{BackupFacts, DatabaseFact, DestinationFact, Place, Reached, RestoreFacts, Wanted};

/// Why there are no facts.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// The shared database does not say which databases there are.
    #[error("which databases there are cannot be read: {0}")]
    Source(#[from] DuckError),
    /// A folder cannot be asked.
    #[error("cannot look at `{at}`: {cause}")]
    Folder {
        /// The folder.
        at: String,
        /// What the system says.
        cause: std::io::Error,
    },
}

/// Looks at everything that a backup job is about; `stores` are its destinations' stores, in the plan's order.
///
/// A destination that is known not to answer, with the reason in `silent`, is not asked again: each question to a
/// server that is gone takes as long as the patience with it.
///
/// # Errors
/// When the list of databases cannot be read, or the staging directory cannot be asked. A single database or
/// destination that does not answer is a fact.
pub async fn backup(
    job: &Backup,
    stores: &[Arc<dyn Store>],
    silent: &BTreeMap<Name, String>,
    staging: &Path,
    limits: &Limits,
) -> Result<BackupFacts, SurveyError> {
    let (databases, unused) = databases(job.source(), limits).await?;
    let mut destinations = Vec::new();
    for (destination, store) in job.to().iter().zip(stores) {
        let place = place(store.as_ref(), job.prefix());
        let reached = match silent.get(destination.name()) {
            Some(cause) => Err(cause.clone()),
            None => reach(store.as_ref(), job.prefix()).await.map_err(|error| error.to_string()),
        };
        destinations.push(DestinationFact { name: destination.name().clone(), place, reached });
    }
    Ok(BackupFacts { databases, unused, destinations, staging_free: free(staging)? })
}

/// Returns a backup prefix of a store with its name for people.
#[must_use]
pub fn place(store: &dyn Store, prefix: &Prefix) -> Place {
    Place { prefix: prefix.clone(), at: store.locate(prefix.as_str()) }
}

async fn reach(store: &dyn Store, prefix: &Prefix) -> Result<Reached, StoreError> {
    let (taken, newest_record) = sets::taken(store, prefix).await?;
    Ok(Reached { taken, newest_record, free: store.free_space().await? })
}

/// Reads which databases the installation has, and looks at each. Tenants that were never used come apart.
///
/// # Errors
/// When the list of databases cannot be read.
pub async fn databases(source: &Source, limits: &Limits) -> Result<(Vec<DatabaseFact>, Vec<Tenant>), DuckError> {
    let shared = source.db_path().to_owned();
    let (tenants, layout) =
        duck::enter(limits, std::future::pending(), move |session| check::tenants(session, &shared)).await?;
    let (mut facts, mut unused) = (Vec::new(), Vec::new());
    for id in hitkeep::expected_databases(&tenants, layout) {
        let path = hitkeep::database_path(source.db_path(), source.data_path(), id);
        let tenant = tenants.iter().find(|tenant| DatabaseId::Tenant(tenant.id) == id);
        if let Some(tenant) = tenant.filter(|tenant| !tenant.has_sites && !path.exists()) {
            unused.push(tenant.clone());
            continue;
        }
        let bytes = database_size(&path, limits).await.map_err(|error| error.to_string());
        facts.push(DatabaseFact { id, name: tenant.map(|tenant| tenant.name.clone()), path, bytes });
    }
    Ok((facts, unused))
}

/// Returns the size of a database and its logs, after opening it to see that it can be.
async fn database_size(path: &Path, limits: &Limits) -> Result<Bytes, DuckError> {
    let opened = path.to_owned();
    duck::enter(limits, std::future::pending(), move |session| check::contents(session, &opened)).await?;
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |about| about.len());
    Ok(Bytes(size(path) + hitkeep::companions(path).iter().map(|log| size(log)).sum::<u64>()))
}

/// Looks at everything that a restore is about.
///
/// # Errors
/// When the place cannot be read, or the target cannot be asked.
pub fn restore(place: Place, catalogue: Catalogue, wanted: &Wanted) -> Result<RestoreFacts, SurveyError> {
    let existing_tenants: BTreeSet<_> = existing_tenants(&wanted.data_path);
    let databases = catalogue.sets.iter().flat_map(|set| &set.databases).map(|held| held.database);
    let mut existing = BTreeSet::new();
    for database in databases.collect::<BTreeSet<_>>() {
        let path = hitkeep::database_path(&wanted.shared, &wanted.data_path, database);
        existing.extend(set_aside(&path));
        let files = hitkeep::companions(&path).into_iter().chain([path]);
        existing.extend(files.filter(|file| file.symlink_metadata().is_ok()));
    }
    let target_free = free(&wanted.data_path)?;
    Ok(RestoreFacts { place, catalogue, existing, existing_tenants, target_free })
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

fn existing_tenants(data_path: &Path) -> BTreeSet<crate::name::TenantId> {
    let entries = std::fs::read_dir(hitkeep::tenants_path(data_path)).into_iter().flatten().flatten();
    let tenant = |entry: std::fs::DirEntry| {
        let has_database = entry.path().join(hitkeep::DATABASE_FILE).exists();
        entry.file_name().to_str().filter(|_| has_database)?.parse().ok()
    };
    entries.filter_map(tenant).collect()
}

fn free(folder: &Path) -> Result<Bytes, SurveyError> {
    local::free_space(folder).map_err(|cause| SurveyError::Folder { at: folder.display().to_string(), cause })
}
