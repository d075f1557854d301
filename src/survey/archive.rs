//! What an archive job is about: sites and their retention, and what is archived at each destination already.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::{Means, SurveyError, databases, enter, free, place};
use crate::duck::{Database, check};
use crate::hitkeep::{self, Site};
use crate::measure::Sha256;
use crate::name::{DatabaseId, Key, Name, Prefix, SnapshotId, TenantId};
use crate::plan::{self, Archive};
use crate::record::{self, ArchivedFile, Ledger, Names, RunRecord};
use crate::store::{Part, Store, StoreError};
use crate::work::{self, ArchiveDestination, ArchiveFacts, ArchiveReached, Predecessor};

/// How many run records are read at the same time.
const ABREAST: usize = 8;

/// Looks at everything that an archive job is about; `stores` are its destinations' stores, in the plan's order.
///
/// # Errors
/// When the lists of databases and sites cannot be read, or the staging directory cannot be asked. A single database or
/// destination that does not answer is a fact.
pub async fn archive(
    job: &Archive,
    stores: &[Arc<dyn Store>],
    silent: &BTreeMap<Name, String>,
    means: &Means<'_>,
) -> Result<ArchiveFacts, SurveyError> {
    let found = databases(job.installation(), means).await?;
    let shared = match &found.copied {
        Some(_) => Database::Copy(work::copy_path(means.staging, DatabaseId::Shared)),
        None => Database::Source(job.installation().db_path().to_owned()),
    };
    let sites = enter(means, check::sites, shared).await?;
    let default_tenant = found.tenants.iter().find(|tenant| tenant.is_default).map(|tenant| tenant.id);
    let sites = sites.into_iter().filter_map(|site| belongs(site, default_tenant, &found)).collect();
    let destinations = means.unless_stopped(destinations(job, stores, silent)).await?;
    Ok(ArchiveFacts { databases: found.facts, sites, default_tenant, destinations, staging_free: free(means.staging)? })
}

/// Finds the tenant that a site belongs to and the database of its traffic; none where HitKeep serves it no more.
fn belongs(
    site: Site,
    default_tenant: Option<TenantId>,
    found: &super::Databases,
) -> Option<(Site, TenantId, DatabaseId)> {
    let id = site.tenant.or(default_tenant)?;
    let tenant = found.tenants.iter().find(|tenant| tenant.id == id && !tenant.is_archived)?;
    Some((site, id, hitkeep::traffic_database(tenant, found.layout)))
}

async fn destinations(
    job: &Archive,
    stores: &[Arc<dyn Store>],
    silent: &BTreeMap<Name, String>,
) -> Vec<ArchiveDestination> {
    let mut destinations = Vec::new();
    for (destination, store) in job.to().iter().zip(stores) {
        let reached = match silent.get(destination.name()) {
            Some(cause) => Err(cause.clone()),
            None => archived(store.as_ref(), job.prefix()).await,
        };
        destinations.push(ArchiveDestination {
            name: destination.name().clone(),
            place: place(store.as_ref(), job.prefix()),
            is_directory: matches!(destination.store(), plan::Store::Directory(_)),
            reached,
        });
    }
    destinations
}

/// Reads what is archived below a prefix: every run record, and which files are there.
///
/// # Errors
/// When the place cannot be listed, or a record cannot be read: then nobody knows what is archived, and rows might be
/// archived twice.
pub async fn archived(store: &dyn Store, prefix: &Prefix) -> Result<ArchiveReached, String> {
    let listed = store.list(prefix).await.map_err(|error| error.to_string())?;
    let listed: BTreeMap<&str, u64> =
        listed.iter().filter_map(|(key, bytes)| Some((prefix.strip(key)?, *bytes))).collect();
    let names = Names::derive(listed.keys().copied(), BTreeSet::new());
    let read = stream::iter(names.sealed.iter().copied()).map(|id| read_record(store, prefix, id));
    let records: Vec<(RunRecord, Sha256)> = read.buffered(ABREAST).try_collect().await?;

    let (mut ledger, mut warnings) = (Ledger::default(), Vec::new());
    let mut on_record = BTreeSet::new();
    for file in records.iter().filter_map(|(record, _)| record.archive.as_ref()).flat_map(|archive| &archive.files) {
        on_record.insert(file.file.path.as_str());
        match problem(file, listed.get(file.file.path.as_str())) {
            Some(problem) => warnings.push(problem),
            None => drop(ledger.files.insert(file.clone())),
        }
    }
    let mut taken = names.all();
    taken.extend(listed.keys().filter_map(|path| record::run_of(path)));
    let unsealed = names.announced.difference(&names.sealed);
    let leftovers = unsealed.map(|run| (*run, leftovers(*run, &listed, &on_record, prefix))).collect();
    let newest = |(record, digest): &(RunRecord, Sha256)| {
        let (set, series) = (record.snapshot, record.series);
        Predecessor { set, digest: *digest, series }
    };
    let newest_record = records.last().map(newest);
    Ok(ArchiveReached { taken, newest_record, ledger, leftovers, warnings })
}

async fn read_record(store: &dyn Store, prefix: &Prefix, id: SnapshotId) -> Result<(RunRecord, Sha256), String> {
    let key = prefix.key(&record::record_key(id));
    let unknown =
        |cause: String| format!("what is archived there is not known: `{}`: {cause}", store.locate(key.as_str()));
    let bytes = store.read(&key, Part::Whole).await.map_err(|error: StoreError| unknown(error.to_string()))?;
    let record = RunRecord::read(&bytes).map_err(|error| unknown(error.to_string()))?;
    Ok((record, Sha256::of(&bytes)))
}

/// Says what is wrong with a file that a record names, by its size.
fn problem(file: &ArchivedFile, found: Option<&u64>) -> Option<String> {
    let path = &file.file.path;
    let again = "what of its rows is still in the source is archived again";
    match found {
        None => Some(format!("the archived file `{path}` is gone: {again}")),
        Some(bytes) if *bytes != file.file.bytes => {
            Some(format!("the archived file `{path}` has {bytes} bytes and had {}: {again}", file.file.bytes))
        }
        Some(_) => None,
    }
}

/// Returns what a run has left that was announced and never sealed: files that are named by its second and that no
/// record names, then its note.
fn leftovers(run: SnapshotId, listed: &BTreeMap<&str, u64>, on_record: &BTreeSet<&str>, prefix: &Prefix) -> Vec<Key> {
    let is_left = |path: &&&str| record::run_of(path) == Some(run) && !on_record.contains(**path);
    let files = listed.keys().filter(is_left).filter_map(|path| path.parse::<Key>().ok());
    files.chain([record::announcement_key(run)]).map(|key| prefix.key(&key)).collect()
}
