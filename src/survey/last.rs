//! When a job last ran: what the records say, those of its destinations and those that this host has kept.

use std::sync::Arc;

use jiff::Timestamp;

use super::sets;
use crate::name::Prefix;
use crate::plan::Backup;
use crate::record::RunRecord;
use crate::store::{Part, Store, StoreError};

/// Returns when the last run of a job began, however it ended: of the runs that sealed a set at a destination, on whatever host,
/// and of those whose records are in the `state` directory of this one.
///
/// # Errors
/// When the state directory cannot be read. A destination that does not answer says nothing.
pub async fn last_run(
    job: &Backup,
    stores: &[Arc<dyn Store>],
    state: &dyn Store,
) -> Result<Option<Timestamp>, StoreError> {
    let mut begun = kept(job, state).await?;
    for store in stores {
        let sealed = sets::newest_record(store.as_ref(), job.prefix()).await.ok().flatten();
        begun = begun.max(sealed.map(|record| record.started_at));
    }
    Ok(begun)
}

/// Reads the newest record of a job that the state directory has.
async fn kept(job: &Backup, state: &dyn Store) -> Result<Option<Timestamp>, StoreError> {
    let listed = state.list(&Prefix::of("runs".to_owned())).await?;
    let is_meant = |name: &str| name.split('.').nth(1) == Some(job.name().as_str());
    for key in listed.keys().rev().filter(|key| is_meant(key.as_str())) {
        let bytes = state.read(key, Part::Whole).await?;
        if let Ok(record) = RunRecord::read(&bytes) {
            return Ok(Some(record.started_at));
        }
    }
    Ok(None)
}
