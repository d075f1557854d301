//! How far the readings of parts of a place have come.

use crate::name::{Prefix, RunId};
use crate::record::{self, SampleRecord};
use crate::store::{Part, Store, StoreError};

/// Returns the number of the newest reading of which there is a record that can be understood.
///
/// # Errors
/// When the place cannot be listed, or a record in it cannot be fetched.
pub async fn last_sample(store: &dyn Store, prefix: &Prefix) -> Result<Option<u64>, StoreError> {
    let listed = store.list(&prefix.join(&record::runs_folder())).await?;
    let mut readings: Vec<(RunId, _)> =
        listed.into_keys().filter_map(|key| Some((record::sample_of(prefix.strip(&key)?)?.1, key))).collect();
    readings.sort();
    while let Some((_, key)) = readings.pop() {
        if let Ok(record) = SampleRecord::read(&store.read(&key, Part::Whole).await?) {
            return Ok(Some(record.round));
        }
    }
    Ok(None)
}
