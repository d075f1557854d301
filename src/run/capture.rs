//! Takes the states of databases: from the files of those that nobody has open, from copies of the others.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Display;
use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use super::{Failure, Gauge, Outside};
use crate::duck::capture::{CaptureError, Captured, Patience};
use crate::duck::export::{self, Exported, Form};
use crate::duck::{self, Database, DuckError};
use crate::event::Event;
use crate::measure::Bytes;
use crate::name::DatabaseId;
use crate::record::{self, LiveRecord};
use crate::store::local;
use crate::work::{Capture, Export, Input, Origin, Prepare, Room, Spent, Task};

/// A state of a database, as records tell of it.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    /// The moment whose state it is …
    pub(super) at: Timestamp,
    /// … or, where that is not known so well, one that it is not younger than; the same otherwise.
    pub(super) by: Timestamp,
    /// How it was taken.
    pub(super) capture: record::Capture,
    /// How the copy came about, where there is one.
    pub(super) live: Option<LiveRecord>,
}

/// The databases that were captured before the first export, and those of them that could not be.
pub(super) type Captures = BTreeMap<DatabaseId, Result<Taken, Failure>>;

impl Taken {
    fn directly(at: Timestamp) -> Self {
        Self { at, by: at, capture: record::Capture::Direct, live: None }
    }

    fn live(captured: &Captured) -> Self {
        let live = LiveRecord {
            tries: captured.tries,
            rejected: captured.rejected.iter().map(|(why, times)| (why.as_str().to_owned(), *times)).collect(),
            copy_milliseconds: milliseconds(captured.copying),
            milliseconds: milliseconds(captured.elapsed),
            checkpoint: captured.iteration,
            log_bytes: captured.log_bytes,
        };
        let at = captured.captured_at;
        Self { at, by: at, capture: record::Capture::Live, live: Some(live) }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Says how a copy came about.
pub(super) fn tries(captured: &Captured) -> String {
    let rejected: Vec<String> = captured.rejected.iter().map(|(why, times)| format!("{why} {times}×")).collect();
    match rejected.as_slice() {
        [] => "at the first try".to_owned(),
        rejected => format!("at try {}, after {}", captured.tries, rejected.join(", ")),
    }
}

impl Outside {
    /// Captures every database that others have open: all of them before the first is read.
    pub(super) async fn capture_all(&self, preparations: &[Task<Prepare>], tasks: &[Task<Capture>]) -> Captures {
        let mut captures = Captures::new();
        let mut spent = BTreeMap::new();
        for task in preparations {
            let action = &task.action.0;
            match self.capture(task, action, action.spent).await {
                Ok((taken, used)) if self.patience.is_half_gone(used.tries, used.time) => {
                    captures.insert(action.database, Ok(taken));
                }
                Ok((_, used)) => drop(spent.insert(action.database, used)),
                Err(failure) => drop(captures.insert(action.database, Err(failure))),
            }
        }
        for task in tasks {
            let action = &task.action;
            let why = match captures.entry(action.database) {
                Entry::Vacant(entry) => {
                    let spent = spent.remove(&action.database).unwrap_or(action.spent);
                    entry.insert(self.capture(task, action, spent).await.map(|(taken, _)| taken));
                    continue;
                }
                Entry::Occupied(entry) if entry.get().is_ok() => {
                    "it was hard to copy once: what was prepared is what is captured"
                }
                Entry::Occupied(_) => "there is no copy to bring up to date",
            };
            self.tell.hear(&Event::TaskSkipped { task: task.id, why: why.to_owned() });
        }
        captures
    }

    /// Says that nothing is captured.
    pub(super) fn skip_captures(&self, preparations: &[Task<Prepare>], captures: &[Task<Capture>], why: &str) {
        let tasks = preparations.iter().map(|task| task.id).chain(captures.iter().map(|task| task.id));
        tasks.for_each(|task| self.tell.hear(&Event::TaskSkipped { task, why: why.to_owned() }));
    }

    /// Captures a database with what is left of the patience, and returns what that took.
    async fn capture<A: Display>(
        &self,
        task: &Task<A>,
        action: &Capture,
        spent: Spent,
    ) -> Result<(Taken, Spent), Failure> {
        let gauge = Gauge::default();
        let patience = self.patience.after(spent.tries, spent.time);
        let capture = async {
            let captured = self.copy(&action.source, &action.into, patience, &gauge).await?;
            let result = format!("{} written, {}", captured.written, tries(&captured));
            let spent = Spent { tries: captured.tries, time: captured.elapsed };
            Ok(((Taken::live(&captured), spent), result))
        };
        self.perform(task, Some(action.bytes), &gauge, capture).await
    }

    /// Copies a database that others have open, and reads off the copy how far it is.
    async fn copy(&self, source: &Path, into: &Path, patience: Patience, gauge: &Gauge) -> Result<Captured, DuckError> {
        // The copy has its full length from the start: how far it is, is what it takes of the disk.
        let allocated = |file: &Metadata| file.len().min(file.blocks() * 512);
        let copy = duck::copy_live(source, into, patience, self.clock, &self.stop);
        gauge.watch_folder(into.parent().unwrap_or(into), allocated, copy).await
    }

    /// Reads a database that was not captured before: its file, or a copy once someone has come, of whom `has_come`
    /// tells those that follow. Before a copy is made, it waits until there is as much `room` as there will be.
    pub(super) async fn read_present<T>(
        &self,
        input: &Input,
        has_come: &mut bool,
        room: impl Future<Output = ()>,
        gauge: &Gauge,
        read: impl AsyncFn(Database) -> Result<T, DuckError>,
    ) -> Result<(Taken, T), DuckError> {
        let directly = async || {
            let at = (self.clock)();
            Ok((Taken::directly(at), read(Database::Source(input.path.clone())).await?))
        };
        let Origin::DatabaseOrCopy(copy) = &input.from else { return directly().await };
        if !*has_come {
            match directly().await {
                Err(DuckError::Locked { holder, .. }) => {
                    *has_come = true;
                    let message = "from here on databases are captured live";
                    self.warn(format!("{} is open in {holder} by now: {message}", input.database));
                }
                read => return read,
            }
        }
        room.await;
        check_room(input.bytes, copy)?;
        let captured = self.copy(&input.path, copy, self.patience, gauge).await?;
        Ok((Taken::live(&captured), read(Database::Copy(copy.clone())).await?))
    }

    /// Removes the copy that an export was made of, if there is one: it is not needed any more.
    pub(super) async fn remove_copy(&self, export: &Export) {
        if let Some(folder) = export.input.from.copy().and_then(Path::parent) {
            self.remove_staged(folder).await;
        }
    }

    /// Removes a folder of what was staged and is not needed any more. What stays goes with the whole folder of the run.
    pub(super) async fn remove_staged(&self, folder: &Path) {
        match tokio::fs::remove_dir_all(folder).await {
            Err(cause) if cause.kind() != ErrorKind::NotFound => {
                self.warn(format!("`{}` could not be removed: {cause}", folder.display()));
            }
            _ => {}
        }
    }

    /// Exports a database or its copy.
    pub(super) async fn export(
        &self,
        export: &Export,
        database: Database,
        gauge: &Gauge,
    ) -> Result<Exported, DuckError> {
        let (into, form) = (export.into.clone(), Form { codec: export.codec, is_repeatable: export.is_repeatable });
        let exported = self.engine(move |session| export::export(session, &database, &into, form));
        gauge.watch_folder(&export.into, Metadata::len, exported).await
    }
}

/// Goes on if there is room for a copy that nobody has reckoned with, and for what is read of it.
fn check_room(bytes: Bytes, copy: &Path) -> Result<(), DuckError> {
    let needed = Room { copies: bytes, exports: bytes }.total();
    let folder = copy.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    // Where nobody can say what is free, writing will tell.
    match local::free_space(folder) {
        Ok(free) if free.bytes < needed => {
            let seen = format!("{} are free, and {needed} may be needed for it and what is read of it", free.bytes);
            let cause = std::io::Error::new(ErrorKind::StorageFull, seen);
            Err(CaptureError::NoRoom { path: copy.to_owned(), cause }.into())
        }
        _ => Ok(()),
    }
}
