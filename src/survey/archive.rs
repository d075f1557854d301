//! What an archive job is about: sites and their retention, and what is archived at each destination already.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};

use super::{Means, SurveyError, databases, enter, free, place};
use crate::duck::{self, Database, DuckError, Limits, capture, check};
use crate::hitkeep::{self, Layout, Site, Tenant};
use crate::measure::Sha256;
use crate::name::{DatabaseId, Key, Name, Prefix, Shard, SnapshotId, TenantId};
use crate::plan::{self, Archive};
use crate::record::{self, Ledger, Names, RunRecord};
use crate::store::{Part, Store, StoreError};
use crate::work::{
    self, ArchiveDestination, ArchiveFacts, ArchiveReached, DatabaseFact, LostFile, Place, Predecessor, Refusal,
    RowsFacts, RowsWanted, UnreadRecord,
};

/// How many run records are read at the same time.
const ABREAST: usize = 8;

/// Looks at everything that an archive job is about; `stores` are its destinations' stores, in the plan's order. One that
/// has a record which cannot be read is taken for one that does not answer.
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
    let mut facts = coverage(job, stores, silent, means).await?;
    for destination in &mut facts.destinations {
        destination.reached = std::mem::replace(&mut destination.reached, Err(String::new())).and_then(all_read);
    }
    Ok(facts)
}

/// Looks at everything that an archive job is about as [`archive`] does, and at a destination as far as its records can be
/// read.
///
/// # Errors
/// As [`archive`].
pub async fn coverage(
    job: &Archive,
    stores: &[Arc<dyn Store>],
    silent: &BTreeMap<Name, String>,
    means: &Means<'_>,
) -> Result<ArchiveFacts, SurveyError> {
    let mut found = databases(job.installation(), job.databases(), means).await?;
    let shared = match &found.copied {
        Some(_) => Database::Copy(work::copy_path(means.staging, DatabaseId::Shared)),
        None => Database::Source(job.installation().db_path().to_owned()),
    };
    let sites = enter(means, check::sites, shared).await?;
    let default_tenant = found.tenants.iter().find(|tenant| tenant.is_default).map(|tenant| tenant.id);
    let sites = sites.into_iter().filter_map(|site| belongs(site, default_tenant, &found.tenants, found.layout));
    let sites = sites.filter(|(_, _, database)| job.databases().includes(*database)).collect();
    found.drop_unwanted(job.databases(), means.staging);
    let destinations = means.unless_stopped(destinations(job, stores, silent)).await?;
    Ok(ArchiveFacts {
        databases: found.facts,
        sites,
        default_tenant,
        destinations,
        staging_free: free(means.staging)?.bytes,
    })
}

/// Looks at everything that bringing archived rows back is about: what is archived at a place, and the databases that are
/// wanted to have it.
///
/// # Errors
/// When the shared database cannot be read, someone has it open, or the data path cannot be asked.
pub async fn rows(
    place: Place,
    archived: ArchiveReached,
    wanted: &RowsWanted,
    limits: &Limits,
) -> Result<RowsFacts, SurveyError> {
    let look = |path: &Path| capture::look(path).map(super::seen);
    if let Some(holder) = look(&wanted.shared).map_err(DuckError::from)?.holder {
        return Err(Refusal::Held { who: "bringing rows back", database: DatabaseId::Shared, holder }.into());
    }
    let shared = Database::Source(wanted.shared.clone());
    let (tenants, layout, sites) = duck::enter(limits, std::future::pending(), move |session| {
        let (tenants, layout) = check::tenants(session, &shared)?;
        Ok((tenants, layout, check::sites(session, &shared)?))
    })
    .await?;
    let databases = hitkeep::expected_databases(&tenants, layout).into_iter().map(|id| {
        let path = hitkeep::database_path(&wanted.shared, &wanted.data_path, id);
        let seen = look(&path).map_err(|error| error.to_string());
        DatabaseFact { id, name: None, path, seen, copy: None }
    });
    let databases = databases.collect();
    let default_tenant = tenants.iter().find(|tenant| tenant.is_default).map(|tenant| tenant.id);
    let sites = sites.into_iter().filter_map(|site| belongs(site, default_tenant, &tenants, layout));
    let sites = sites.map(|(site, _, database)| (site, database)).collect();
    Ok(RowsFacts { place, archived, databases, sites, target_free: free(&wanted.data_path)?.bytes })
}

/// Finds the tenant that a site belongs to and the database of its traffic; none where HitKeep serves it no more.
fn belongs(
    site: Site,
    default_tenant: Option<TenantId>,
    tenants: &[Tenant],
    layout: Layout,
) -> Option<(Site, TenantId, DatabaseId)> {
    let id = site.tenant.or(default_tenant)?;
    let tenant = tenants.iter().find(|tenant| tenant.id == id && !tenant.is_archived)?;
    Some((site, id, hitkeep::traffic_database(tenant, layout)))
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
            None => as_far_as_read(store.as_ref(), job.prefix()).await,
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
    as_far_as_read(store, prefix).await.and_then(all_read)
}

/// Refuses what is not known as a whole.
fn all_read(reached: ArchiveReached) -> Result<ArchiveReached, String> {
    reached.unread.first().map_or(Ok(()), |unread| Err(unread.to_string())).map(|()| reached)
}

/// Reads what is archived below a prefix, by every run record that can be read.
async fn as_far_as_read(store: &dyn Store, prefix: &Prefix) -> Result<ArchiveReached, String> {
    let listed = store.list(prefix).await.map_err(|error| error.to_string())?;
    let listed = listed.iter().filter_map(|(key, bytes)| Some((prefix.strip(key)?, *bytes)));
    let listed: BTreeMap<&str, u64> = listed.filter(|(path, _)| !is_of_a_shard(path)).collect();
    let names = Names::derive(listed.keys().copied(), BTreeSet::new());
    let read = stream::iter(names.sealed.iter().copied()).map(|id| read_record(store, prefix, id));
    let read: Vec<Result<(RunRecord, Sha256), UnreadRecord>> = read.buffered(ABREAST).collect().await;
    let (mut records, mut unread) = (Vec::new(), Vec::new());
    for record in read {
        match record {
            Ok(record) => records.push(record),
            Err(cause) => unread.push(cause),
        }
    }

    let (mut ledger, mut lost) = (Ledger::default(), Vec::new());
    let mut on_record = BTreeSet::new();
    for file in records.iter().filter_map(|(record, _)| record.archive.as_ref()).flat_map(|archive| &archive.files) {
        on_record.insert(file.file.path.as_str());
        match listed.get(file.file.path.as_str()).copied() {
            Some(bytes) if bytes == file.file.bytes => drop(ledger.files.insert(file.clone())),
            found => lost.push(LostFile { file: file.clone(), found }),
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
    let after = records.iter().filter_map(|(record, _)| record.previous_set);
    let unknown = after.filter(|before| !names.sealed.contains(before)).collect();
    let records = records.into_iter().filter_map(|(record, _)| Some((record.snapshot, record.archive?))).collect();
    Ok(ArchiveReached { taken, newest_record, ledger, lost, records, unknown, unread, leftovers })
}

/// Tells whether what lies there is a shard's, which has a folder of its own and is none of the others' business.
fn is_of_a_shard(path: &str) -> bool {
    path.split_once('/').is_some_and(|(folder, _)| Shard::of_folder(folder).is_some())
}

async fn read_record(store: &dyn Store, prefix: &Prefix, id: SnapshotId) -> Result<(RunRecord, Sha256), UnreadRecord> {
    let key = prefix.key(&record::record_key(id));
    let unread = |cause: String, is_damaged| {
        let cause = format!("`{}`: {cause}", store.locate(key.as_str()));
        UnreadRecord { cause, is_damaged }
    };
    let bytes = store.read(&key, Part::Whole).await.map_err(|error: StoreError| unread(error.to_string(), false))?;
    let record = RunRecord::read(&bytes).map_err(|error| unread(error.to_string(), true))?;
    Ok((record, Sha256::of(&bytes)))
}

/// Returns what a run has left that was announced and never sealed: files that are named by its second and that no
/// record names, then its note.
fn leftovers(run: SnapshotId, listed: &BTreeMap<&str, u64>, on_record: &BTreeSet<&str>, prefix: &Prefix) -> Vec<Key> {
    let is_left = |path: &&&str| record::run_of(path) == Some(run) && !on_record.contains(**path);
    let files = listed.keys().filter(is_left).filter_map(|path| path.parse::<Key>().ok());
    files.chain([record::announcement_key(run)]).map(|key| prefix.key(&key)).collect()
}
