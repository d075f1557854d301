//! How the series of a plan stand: what lies at their destinations, and what the state directory knows besides.

use std::collections::BTreeSet;
use std::path::Path;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::name::{Prefix, SnapshotId};
use crate::record::{self, DrillRecord, RunRecord, SampleRecord, State};
use crate::store::local::Local;
use crate::store::{Part, Store, StoreError};
use crate::work::SeriesFacts;

use super::{Asked, Own, catalogue};

/// How many drills are looked at to find one that passed.
const DRILLS: usize = 12;

/// How many readings of parts of the sets are looked at: more parts than there are percents are never read.
const SAMPLES: usize = 100;

/// How many records of such readings are read at the same time.
const ABREAST: usize = 8;

/// Looks at a series: its sets, as far as they are asked for, its newest drills and readings, and who writes there.
///
/// # Errors
/// When the place cannot be listed or read.
pub async fn series(store: &dyn Store, prefix: &Prefix, asked: Asked, own: &Own) -> Result<SeriesFacts, StoreError> {
    let catalogue = catalogue(store, prefix, asked, own).await?;
    let runs = store.list(&prefix.join(&record::runs_folder())).await?;
    // What was found out about sets of another series came with them.
    let strangers = catalogue.sets.iter().filter(|set| matches!(set.state, State::Stranger(_)));
    let strangers: BTreeSet<SnapshotId> = strangers.map(|set| set.id).collect();
    let about = |key: &str| record::drill_of(key).map(|of| of.0).or_else(|| Some(record::sample_of(key)?.0));
    let documents = runs.keys().filter_map(|key| prefix.strip(key));
    let documents: Vec<&str> =
        documents.filter(|key| about(key).is_some_and(|set| !strangers.contains(&set))).collect();
    let newest = catalogue.sets.iter().rev().find(|set| set.state == State::Complete).map(|set| set.id);
    Ok(SeriesFacts {
        drills: drills(store, prefix, &documents).await?,
        samples: samples(store, prefix, &documents, newest).await?,
        catalogue,
        holder: store.holder(prefix).await?,
    })
}

/// Reads the newest drill records back to one that passed. One that cannot be understood proves nothing.
async fn drills(store: &dyn Store, prefix: &Prefix, documents: &[&str]) -> Result<Vec<DrillRecord>, StoreError> {
    let mut found: Vec<_> = documents.iter().filter_map(|key| record::drill_of(key)).collect();
    found.sort_by_key(|(_, drill)| *drill);
    let mut drills = Vec::new();
    for (set, drill) in found.into_iter().rev().take(DRILLS) {
        let bytes = store.read(&prefix.key(&record::drill_key(set, drill)), Part::Whole).await?;
        let Ok(record) = DrillRecord::read(&bytes) else { continue };
        let is_enough = record.passed;
        drills.push(record);
        if is_enough {
            break;
        }
    }
    drills.reverse();
    Ok(drills)
}

/// Reads the records of the readings since a set is there, and that of the newest reading in any case, the newest last.
/// One that cannot be understood proves nothing.
async fn samples(
    store: &dyn Store,
    prefix: &Prefix,
    documents: &[&str],
    since: Option<SnapshotId>,
) -> Result<Vec<SampleRecord>, StoreError> {
    let mut found: Vec<_> = documents.iter().filter_map(|key| record::sample_of(key)).collect();
    found.sort_by_key(|(_, reading)| *reading);
    let is_meant = |at: usize, set| at == 0 || since.is_some_and(|since| set >= since);
    let found = found.into_iter().rev().take(SAMPLES).enumerate().filter(|(at, (set, _))| is_meant(*at, *set));
    let read =
        async |(_, (set, reading))| store.read(&prefix.key(&record::sample_key(set, reading)), Part::Whole).await;
    let read: Vec<Vec<u8>> = stream::iter(found).map(read).buffered(ABREAST).try_collect().await?;
    Ok(read.iter().rev().filter_map(|bytes| SampleRecord::read(bytes).ok()).collect())
}

/// Reads every run record of a plan that the state directory has; none where there is no such directory.
pub async fn kept_records(state: &Path, plan: &str) -> Vec<RunRecord> {
    let store = Local::new(state.to_owned());
    let mut records = Vec::new();
    for key in store.list(&record::runs_folder()).await.unwrap_or_default().into_keys() {
        let bytes = store.read(&key, Part::Whole).await.unwrap_or_default();
        records.extend(RunRecord::read(&bytes).ok().filter(|record| record.plan.name == plan));
    }
    records
}
