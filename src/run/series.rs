//! One destination's end of a run: what goes before everything else there, and what comes last.

use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;

use super::{Cause, Failure, Gauge, Outside, exit};
use crate::name::{Key, Name, RunId, SnapshotId};
use crate::record::{FORMAT, Kind, RunRecord, Status, Verification};
use crate::store::{Body, Mode, Part, StoreError};
use crate::work::{Announce, Clear, Seal, Task};

/// What the note says that a run leaves when it begins.
pub(super) struct Note<'n> {
    pub(super) run: RunId,
    pub(super) job: &'n Name,
    pub(super) started_at: Timestamp,
}

/// Which run's record it is, at which destination.
pub(super) struct Heading {
    pub(super) run: RunId,
    pub(super) job: Name,
    pub(super) destination: Name,
    pub(super) kind: Kind,
    pub(super) snapshot: SnapshotId,
    pub(super) started_at: Timestamp,
}

/// Returns the record of a run that ends now and has done nothing.
pub(super) fn blank(outside: &Outside, heading: Heading) -> RunRecord {
    let Heading { run, job, destination, kind, snapshot, started_at } = heading;
    RunRecord {
        format: FORMAT,
        run,
        plan: outside.about.plan.clone(),
        job,
        destination,
        kind,
        snapshot,
        status: Status::Failed,
        exit_code: exit::DONE,
        started_at,
        finished_at: (outside.clock)(),
        host: outside.about.host.clone(),
        tool: outside.about.tool.clone(),
        shard: outside.about.shard,
        expected: Vec::new(),
        captured: Vec::new(),
        snapshots: Vec::new(),
        archive: None,
        verification: Verification::None,
        spread_seconds: 0,
        lease: None,
        guards: None,
        warnings: Vec::new(),
        failures: Vec::new(),
        series: None,
        hooks: Vec::new(),
        ended_with: None,
        place: None,
        previous_set: None,
        previous: None,
    }
}

impl Outside {
    /// Deletes what an unfinished run has left.
    pub(super) async fn clear(&self, task: &Task<Clear>) -> Result<(), Failure> {
        let clear = async {
            self.check_lease(&task.action.destination).await?;
            let store = self.store(&task.action.destination)?;
            for key in &task.action.keys {
                store.delete(key).await?;
            }
            Ok(((), String::new()))
        };
        self.perform(task, None, &Gauge::default(), clear).await
    }

    /// Leaves the note that a run has begun, and takes the name that it will seal. What it says is what the lease of the
    /// place rests on, where that is little: whoever asks for every task hears it, and the record has it.
    pub(super) async fn announce(
        &self,
        task: &Task<Announce>,
        note: &Note<'_>,
        written: &mut Vec<Key>,
    ) -> Result<(), Failure> {
        let (gauge, action) = (Gauge::default(), &task.action);
        let note = serde_json::json!({
            "format": FORMAT,
            "run": note.run,
            "job": note.job,
            "host": self.about.host,
            "started_at": note.started_at,
        });
        let put = async {
            let note = format!("{note}\n").into_bytes();
            self.put_own(&action.destination, &action.key, note, &gauge, written).await?;
            Ok(((), self.leases.get(&action.destination).and_then(|lease| lease.caveat.clone()).unwrap_or_default()))
        };
        self.perform(task, None, &gauge, put).await
    }

    /// Stores a document, and notes its key as written unless another had taken it.
    pub(super) async fn put_own(
        &self,
        destination: &Name,
        key: &Key,
        bytes: Vec<u8>,
        gauge: &Gauge,
        written: &mut Vec<Key>,
    ) -> Result<(), Cause> {
        let put = self.store(destination)?.put(key, Body::Bytes(bytes), Mode::Create, &gauge.meter).await;
        if !matches!(put, Err(StoreError::Exists { .. })) {
            written.push(key.clone());
        }
        Ok(put.map(drop)?)
    }

    /// Seals what is in `written`, or takes it away where it cannot be sealed.
    pub(super) async fn settle(&self, task: &Task<Seal>, record: &RunRecord, written: Vec<Key>) -> Result<(), Failure> {
        let is_unanswered = AtomicBool::new(false);
        let Err(failure) = self.seal(task, record, &is_unanswered).await else { return Ok(()) };
        let may_stay = match self.is_sealed(&task.action, record).await {
            Some(true) => return Ok(()),
            // A record that was sent may still come to lie there: then its files must be there too.
            Some(false) => is_unanswered.into_inner(),
            None => true,
        };
        if !may_stay {
            self.take_away(&task.action.destination, written).await;
        }
        Err(failure)
    }

    /// Writes the record; `is_unanswered` is set where it was sent and nobody said what came of it.
    async fn seal(&self, task: &Task<Seal>, record: &RunRecord, is_unanswered: &AtomicBool) -> Result<(), Failure> {
        let (gauge, action) = (Gauge::default(), &task.action);
        let put = async {
            self.check_lease(&action.destination).await?;
            let store = self.store(&action.destination)?;
            let put = store.put(&action.key, Body::Bytes(record.write()), Mode::Create, &gauge.meter);
            let put = self.while_leased(&action.destination, put).await;
            let is_sent = matches!(put, Err(Cause::LeaseLost { .. } | Cause::Store(StoreError::Unreachable { .. })));
            is_unanswered.store(is_sent, Ordering::Relaxed);
            put?;
            Ok(((), record.status.to_string()))
        };
        self.perform(task, None, &gauge, put).await?;
        let removed = match self.store(&action.destination) {
            Ok(store) => store.delete(&action.announcement).await.map_err(|error| error.to_string()),
            Err(cause) => Err(cause.to_string()),
        };
        if let Err(cause) = removed {
            // The record outweighs the note; `list` does not even look at it.
            self.warn(format!("the note of the run stays: {cause}"));
        }
        Ok(())
    }

    /// Goes on unless another run may have the place by now.
    async fn check_lease(&self, destination: &Name) -> Result<(), Cause> {
        match self.leases.get(destination) {
            Some(lease) if !lease.is_still_held().await => Err(Cause::LeaseLost { generation: lease.generation }),
            _ => Ok(()),
        }
    }

    /// Does what only the holder of a lease may do, and gives it up when that is lost: a request is sent again for minutes.
    async fn while_leased<T>(
        &self,
        destination: &Name,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, Cause> {
        let Some(lease) = self.leases.get(destination) else { return Ok(work.await?) };
        tokio::select! {
            done = work => Ok(done?),
            () = lease.lost() => Err(Cause::LeaseLost { generation: lease.generation }),
        }
    }

    /// Tells whether the record is there although storing it failed: an answer can be lost after the deed is done.
    async fn is_sealed(&self, seal: &Seal, record: &RunRecord) -> Option<bool> {
        match self.store(&seal.destination).ok()?.read(&seal.key, Part::Whole).await {
            Ok(found) => Some(found == record.write()),
            Err(StoreError::Missing { .. }) => Some(false),
            Err(_) => None,
        }
    }

    /// Deletes what this run has stored, the last first, so that what is left half-way looks unfinished to everyone.
    /// Returns what could not be deleted.
    pub(super) async fn take_away(&self, destination: &Name, mut written: Vec<Key>) -> Vec<Key> {
        let Ok(store) = self.store(destination) else { return written };
        while let Some(key) = written.last() {
            if let Err(cause) = store.delete(key).await {
                self.warn(format!("what this run had stored at `{destination}` could not be removed: {cause}"));
                break;
            }
            written.pop();
        }
        written
    }
}
