//! When a job last ran: what the records say, those of its destinations and those that this host has kept.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::{last_records_of, own, sets};
use crate::plan::Job;
use crate::record::RunRecord;
use crate::store::{Store, StoreError};

/// How many runs in a row may be stopped before that is what becomes of the job: it waits for its next time then.
const STOPPED: usize = 3;

/// Returns when the last run of a plan's job began, however it came to its end: of the runs that sealed a set at a destination,
/// on whatever host, and of those whose records are in the `state` directory of this one. One that a signal has stopped,
/// as a restart of the host or of the daemon does, has not come to its end, unless those before it have not either: what it
/// sealed at one destination does not stand for the others.
///
/// # Errors
/// When the state directory cannot be read. A destination that does not answer says nothing.
pub async fn last_run(
    plan: &str,
    job: Job<'_>,
    stores: &[Arc<dyn Store>],
    state: &dyn Store,
) -> Result<Option<Timestamp>, StoreError> {
    let mut stopped = BTreeSet::new();
    let counts = |records: &[RunRecord]| {
        let run = records.iter().find(|record| record.is_stopped()).map(|record| record.run);
        let is_enough = run.is_none() || stopped.len() + 1 == STOPPED;
        stopped.extend(run.filter(|_| !is_enough));
        is_enough
    };
    let last = last_records_of(state, plan, job.name(), counts).await?;
    let mut begun = last.iter().map(|record| record.started_at).max();
    for (destination, store) in job.to().iter().zip(stores) {
        let own = own(state, plan, job.name(), destination.name(), None).await;
        let counts = |record: &RunRecord| !stopped.contains(&record.run);
        let sealed = sets::newest_record(store.as_ref(), job.prefix(), job.name(), &own, counts).await.ok().flatten();
        begun = begun.max(sealed.map(|record| record.started_at));
    }
    Ok(begun)
}
