//! Adopts what HitKeep's own backup has written: reads it through where it lies, before any of it is stored.
//!
//! HitKeep removes its oldest sets whenever it has written a new one, also one that is being read. That is told from
//! damage: nothing of such a set is sealed, and the next run takes a newer one.

use std::path::PathBuf;

use super::capture::Taken;
use super::{Cause, Failure, Gauge, Outside};
use crate::duck::export::Exported;
use crate::duck::snapshot;
use crate::measure::{Grouped, counted};
use crate::record;
use crate::work::{Adopt, Take, Task};

impl Outside {
    /// Reads a snapshot through that HitKeep has exported.
    pub(super) async fn adopt(&self, task: &Task<Adopt>) -> Result<(Taken, Exported), Failure> {
        let (gauge, action) = (Gauge::default(), &task.action);
        let adopt = async {
            let (folder, at) = (action.from.clone(), gauge.clone());
            let examine = move |session: &_| snapshot::examine(session, &folder, &|table| at.set_place(table));
            let exported = self.engine(examine).await.map_err(|error| or_vanished(error.into(), action))?;
            let rows: u64 = exported.tables.iter().map(|table| table.rows).sum();
            let tables = counted(exported.tables.len(), "table");
            let result = format!("{tables}, {} rows, written by DuckDB {}", Grouped(rows), exported.engine);
            let taken =
                Taken { at: action.captured_at, by: action.captured_by, capture: record::Capture::Adopted, live: None };
            Ok(((taken, exported), result))
        };
        self.perform(task, None, &gauge, adopt).await
    }
}

/// Returns a failure with its true cause, where that is that the files are gone.
pub(super) fn explained(take: &Take, failure: Failure) -> Failure {
    match take {
        Take::Adopt(task) => Failure { cause: or_vanished(failure.cause, &task.action), ..failure },
        Take::Export(_) => failure,
    }
}

fn or_vanished(cause: Cause, adopt: &Adopt) -> Cause {
    match first_gone(adopt) {
        Some(at) => Cause::Vanished { at },
        None => cause,
    }
}

fn first_gone(adopt: &Adopt) -> Option<PathBuf> {
    adopt.files.iter().map(|name| adopt.from.join(name)).find(|path| !path.exists())
}
