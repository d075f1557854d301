//! Carries out a deletion, one set after the other, the oldest first. The first failure ends it.

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::{Cause, Failure, Gauge, Outside, exit};
use crate::event::{Event, Meter};
use crate::measure::counted;
use crate::record::{DeletedRecord, FORMAT, Failed, PruneRecord};
use crate::store::{Body, Lock, Mode, StoreError};
use crate::work::{Delete, PruneWork, Task};

/// How many files are deleted at the same time.
const ABREAST: usize = 8;

/// Carries out `work` while `mark` keeps readers out, and returns the record of what was deleted, and the exit code.
pub async fn prune(work: &PruneWork, mark: &Lock, outside: &Outside) -> (PruneRecord, u8) {
    let started_at = (outside.clock)();
    let title = format!("prune {}: {} in {}", work.job, counted(work.deletions.len(), "set"), work.at);
    outside.tell.hear(&Event::RunStarted { title, tasks: u32::try_from(work.deletions.len()).unwrap_or(u32::MAX) });
    let (mut deleted, mut failed) = (Vec::new(), None);
    for task in &work.deletions {
        if let Err(failure) = delete(task, mark, outside).await {
            failed = Some(failure);
            break;
        }
        let Delete { set, bytes, ground, .. } = &task.action;
        deleted.push(DeletedRecord { snapshot: *set, bytes: bytes.0, ground: ground.to_string() });
    }
    let exit_code = failed.as_ref().map_or(exit::DONE, |failure| failure.cause.exit_code());
    let result = format!("{} of {} deleted", deleted.len(), counted(work.deletions.len(), "set"));
    outside.tell.hear(&Event::RunFinished { result, exit_code });
    let failures = failed.into_iter().map(|Failure { task, cause }| {
        let (plan_line, cause) = (None, cause.to_string());
        Failed { task, plan_line, cause }
    });
    let record = PruneRecord {
        format: FORMAT,
        job: work.job.clone(),
        destination: work.destination.clone(),
        at: work.at.clone(),
        started_at,
        finished_at: (outside.clock)(),
        host: outside.about.host.clone(),
        tool: outside.about.tool.clone(),
        kept: work.sets.len() - deleted.len(),
        deleted,
        failures: failures.collect(),
    };
    (record, exit_code)
}

async fn delete(task: &Task<Delete>, mark: &Lock, outside: &Outside) -> Result<(), Failure> {
    let (gauge, action) = (Gauge::default(), &task.action);
    let delete = async {
        check_right(action, mark, outside).await?;
        let store = outside.store(&action.destination)?;
        let note =
            serde_json::json!({ "format": FORMAT, "set": action.set, "deleted_because": action.ground.to_string() });
        let body = Body::Bytes(format!("{note}\n").into_bytes());
        match store.put(&action.note, body, Mode::Create, &Meter::default()).await {
            // One of the run that made it, or of a deletion that was interrupted.
            Err(StoreError::Exists { .. }) => {}
            put => drop(put?),
        }
        for key in action.record.iter().chain(&action.marks) {
            store.delete(key).await?;
        }
        check_right(action, mark, outside).await?;
        stream::iter(&action.files).map(Ok).try_for_each_concurrent(ABREAST, |key| store.delete(key)).await?;
        store.delete(&action.note).await?;
        let files = action.marks.len() + action.files.len();
        Ok(((), counted(files, "file")))
    };
    outside.perform(task, None, &gauge, delete).await
}

/// Goes on unless another may write or read there by now.
async fn check_right(action: &Delete, mark: &Lock, outside: &Outside) -> Result<(), Cause> {
    for lease in outside.leases.get(&action.destination).into_iter().chain(mark.lease()) {
        if !lease.is_still_held().await {
            return Err(Cause::LeaseLost { generation: lease.generation });
        }
    }
    Ok(())
}
