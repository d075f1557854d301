//! How the series of a plan stand: what lies at their destinations, and what the state directory knows besides.

use std::path::Path;

use crate::name::Prefix;
use crate::record::{self, DrillRecord, RunRecord};
use crate::store::local::Local;
use crate::store::{Part, Store, StoreError};
use crate::work::SeriesFacts;

use super::{Asked, Own, catalogue};

/// How many drills are looked at to find one that passed.
const DRILLS: usize = 12;

/// Looks at a series: its sets, as far as they are asked for, its newest drills, and who writes there.
///
/// # Errors
/// When the place cannot be listed or read.
pub async fn series(store: &dyn Store, prefix: &Prefix, asked: Asked, own: &Own) -> Result<SeriesFacts, StoreError> {
    Ok(SeriesFacts {
        catalogue: catalogue(store, prefix, asked, own).await?,
        drills: drills(store, prefix).await?,
        holder: store.holder(prefix).await?,
    })
}

/// Reads the newest drill records back to one that passed. One that cannot be understood proves nothing.
async fn drills(store: &dyn Store, prefix: &Prefix) -> Result<Vec<DrillRecord>, StoreError> {
    let runs = store.list(&prefix.join(&record::runs_folder())).await?;
    let mut found: Vec<_> = runs.keys().filter_map(|key| record::drill_of(prefix.strip(key)?)).collect();
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
