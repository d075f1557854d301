//! What a deletion must know: every set of a place, what lies beside the run records, and how the last run ended.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::{Asked, Own, catalogue, place};
use crate::name::{Key, Name, Prefix, SnapshotId};
use crate::record::{self, Catalogue, DrillRecord, Pin, RunRecord};
use crate::store::{Part, Store, StoreError};
use crate::work::PruneFacts;

/// How many documents are read at the same time.
const ABREAST: usize = 8;

/// Looks at everything that a deletion is about; `own` and `last_run` are what this host knows of the job there, and of its
/// last run.
///
/// # Errors
/// When the place cannot be listed, or a document in it cannot be fetched.
pub async fn prune(
    store: &dyn Store,
    prefix: &Prefix,
    own: &Own,
    last_run: Vec<RunRecord>,
) -> Result<PruneFacts, StoreError> {
    let documents = documents(store, prefix).await?;
    let pins = pins(store, prefix, &documents).await?;
    let drilled = drilled(store, prefix, &documents).await?;
    let Catalogue { sets, doubt, .. } = catalogue(store, prefix, Asked::All, own).await?;
    Ok(PruneFacts { place: place(store, prefix), sets, documents, pins, drilled, last_run, planned: None, doubt })
}

/// Returns, for each set, the keys of what lies beside its run record.
///
/// # Errors
/// When the place cannot be listed.
pub async fn documents(store: &dyn Store, prefix: &Prefix) -> Result<BTreeMap<SnapshotId, BTreeSet<Key>>, StoreError> {
    let mut documents: BTreeMap<SnapshotId, BTreeSet<Key>> = BTreeMap::new();
    for key in store.list(&prefix.join(&record::runs_folder())).await?.into_keys() {
        let set = prefix.strip(&key).and_then(record::set_of_document);
        if let Some(set) = set.filter(|set| key != prefix.key(&record::record_key(*set))) {
            documents.entry(set).or_default().insert(key);
        }
    }
    Ok(documents)
}

/// Reads the pins among documents. One that cannot be understood still pins.
///
/// # Errors
/// When one cannot be fetched.
pub async fn pins(
    store: &dyn Store,
    prefix: &Prefix,
    documents: &BTreeMap<SnapshotId, BTreeSet<Key>>,
) -> Result<BTreeMap<SnapshotId, Option<Pin>>, StoreError> {
    let mut pins = BTreeMap::new();
    for (set, keys) in documents {
        let key = prefix.key(&record::pin_key(*set));
        if keys.contains(&key) {
            match store.read(&key, Part::Whole).await {
                // Taken away since it was listed.
                Err(StoreError::Missing { .. }) => {}
                read => drop(pins.insert(*set, Pin::read(&read?).ok())),
            }
        }
    }
    Ok(pins)
}

/// Returns the sets of which a drill has passed, by the records among documents. One that cannot be understood proves
/// nothing.
///
/// # Errors
/// When one cannot be fetched.
pub async fn drilled(
    store: &dyn Store,
    prefix: &Prefix,
    documents: &BTreeMap<SnapshotId, BTreeSet<Key>>,
) -> Result<BTreeSet<SnapshotId>, StoreError> {
    let is_drill = |key: &&Key| prefix.strip(key).and_then(record::drill_of).is_some();
    let drills = documents.iter().flat_map(|(set, keys)| keys.iter().filter(is_drill).map(|key| (*set, key)));
    let proven = async |(set, key): (SnapshotId, &Key)| match store.read(key, Part::Whole).await {
        // Taken away since it was listed.
        Err(StoreError::Missing { .. }) => Ok(None),
        read => Ok(DrillRecord::read(&read?).ok().filter(|drill| drill.passed && drill.snapshot == set).map(|_| set)),
    };
    let proven = stream::iter(drills).map(proven).buffered(ABREAST);
    proven.try_filter_map(async |set| Ok(set)).try_collect().await
}

/// Reads the records of the last run of a plan's job, one for each of its destinations, from the state directory. Other
/// plans may have a job of that name, and keep their records there too.
///
/// # Errors
/// When the directory cannot be read.
pub async fn last_records(state: &dyn Store, plan: &str, job: &Name) -> Result<Vec<RunRecord>, StoreError> {
    last_records_of(state, plan, job, |_| true).await
}

/// Reads the records of the last run of a plan's job that `counts`, by its records; none where none does.
///
/// # Errors
/// When the directory cannot be read.
pub async fn last_records_of(
    state: &dyn Store,
    plan: &str,
    job: &Name,
    mut counts: impl FnMut(&[RunRecord]) -> bool,
) -> Result<Vec<RunRecord>, StoreError> {
    let keys = state.list(&record::runs_folder()).await?.into_keys();
    // `runs/<set>.<job>.<destination>.<run>.json`; ids of runs sort by time.
    let run = |key: &Key| match key.as_str().split('.').collect::<Vec<_>>()[..] {
        [_, of, _, run, "json"] if of == job.as_str() => Some(run.to_owned()),
        _ => None,
    };
    let mut runs: BTreeMap<String, Vec<Key>> = BTreeMap::new();
    for key in keys {
        if let Some(run) = run(&key) {
            runs.entry(run).or_default().push(key);
        }
    }
    for keys in runs.into_values().rev() {
        let mut records = Vec::new();
        for key in keys {
            records.extend(RunRecord::read(&state.read(&key, Part::Whole).await?).ok());
        }
        records.retain(|record| record.plan.name == plan);
        if !records.is_empty() && counts(&records) {
            return Ok(records);
        }
    }
    Ok(Vec::new())
}
