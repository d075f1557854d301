//! Takes the states of databases: from the files of those that nobody has open, from copies of the others.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Display;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use super::{Failure, Gauge, Outside};
use crate::duck::capture::Captured;
use crate::duck::export::{self, Exported};
use crate::duck::{self, Database, DuckError};
use crate::event::Event;
use crate::name::DatabaseId;
use crate::record::{self, LiveRecord};
use crate::work::{BackupWork, Capture, Export, Origin, Task};

/// A state of a database, as records tell of it.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    /// The moment whose state it is.
    pub(super) at: Timestamp,
    /// How it was taken.
    pub(super) capture: record::Capture,
    /// How the copy came about, where there is one.
    pub(super) live: Option<LiveRecord>,
}

/// The databases that were captured before the first export, and those of them that could not be.
pub(super) type Captures = BTreeMap<DatabaseId, Result<Taken, Failure>>;

impl Taken {
    fn directly(at: Timestamp) -> Self {
        Self { at, capture: record::Capture::Direct, live: None }
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
        Self { at: captured.captured_at, capture: record::Capture::Live, live: Some(live) }
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
    /// Captures every database of `work` that others have open: all of them before the first is exported.
    pub(super) async fn capture_all(&self, work: &BackupWork) -> Captures {
        let mut captures = Captures::new();
        for task in &work.preparations {
            if let Err(failure) = self.capture(task, &task.action.0).await {
                captures.insert(task.action.0.database, Err(failure));
            }
        }
        for task in &work.captures {
            match captures.entry(task.action.database) {
                Entry::Vacant(entry) => {
                    entry.insert(self.capture(task, &task.action).await);
                }
                Entry::Occupied(_) => {
                    let why = "there is no copy to bring up to date".to_owned();
                    self.tell.hear(&Event::TaskSkipped { task: task.id, why });
                }
            }
        }
        captures
    }

    /// Says that nothing is captured.
    pub(super) fn skip_captures(&self, work: &BackupWork, why: &str) {
        let tasks = work.preparations.iter().map(|task| task.id).chain(work.captures.iter().map(|task| task.id));
        tasks.for_each(|task| self.tell.hear(&Event::TaskSkipped { task, why: why.to_owned() }));
    }

    async fn capture<A: Display>(&self, task: &Task<A>, action: &Capture) -> Result<Taken, Failure> {
        let gauge = Gauge::default();
        let capture = async {
            let captured = self.copy(&action.source, &action.into, &gauge).await?;
            let result = format!("{} written, {}", captured.written, tries(&captured));
            Ok((Taken::live(&captured), result))
        };
        self.perform(task, Some(action.bytes), &gauge, capture).await
    }

    /// Copies a database that others have open, and reads off the copy how far it is.
    async fn copy(&self, source: &Path, into: &Path, gauge: &Gauge) -> Result<Captured, DuckError> {
        // The copy has its full length from the start: how far it is, is what it takes of the disk.
        let allocated = |file: &Metadata| file.len().min(file.blocks() * 512);
        let copy = duck::copy_live(source, into, self.clock, &self.stop);
        gauge.watch_folder(into.parent().unwrap_or(into), allocated, copy).await
    }

    /// Exports a database that was not captured before: from its file, or from a copy once someone has come, of whom
    /// `has_come` tells those that follow.
    pub(super) async fn export_present(
        &self,
        export: &Export,
        has_come: &mut bool,
        gauge: &Gauge,
    ) -> Result<(Taken, Exported), DuckError> {
        let Origin::DatabaseOrCopy(copy) = &export.from else { return self.export_directly(export, gauge).await };
        if !*has_come {
            match self.export_directly(export, gauge).await {
                Err(DuckError::Locked { holder, .. }) => {
                    *has_come = true;
                    let message = "from here on databases are captured live";
                    self.warn(format!("{} is open in {holder} by now: {message}", export.database));
                }
                exported => return exported,
            }
        }
        let captured = self.copy(&export.source, copy, gauge).await?;
        let exported = self.export(export, Database::Copy(copy.clone()), gauge).await?;
        Ok((Taken::live(&captured), exported))
    }

    async fn export_directly(&self, export: &Export, gauge: &Gauge) -> Result<(Taken, Exported), DuckError> {
        let at = (self.clock)();
        let exported = self.export(export, Database::Source(export.source.clone()), gauge).await?;
        Ok((Taken::directly(at), exported))
    }

    /// Exports a database or its copy.
    pub(super) async fn export(
        &self,
        export: &Export,
        database: Database,
        gauge: &Gauge,
    ) -> Result<Exported, DuckError> {
        let (into, codec) = (export.into.clone(), export.codec);
        let exported = self.engine(move |session| export::export(session, &database, &into, codec));
        gauge.watch_folder(&export.into, Metadata::len, exported).await
    }
}
