//! Which series are a host's own: those of the sets that it has stored itself, as its state directory remembers.
//!
//! Sets that were copied to a place look like those that were made there, and may be newer and more. Whoever made the
//! others knows them: by the run records that every run leaves in the state directory besides.

use std::collections::{BTreeMap, BTreeSet};

use crate::name::{Key, Name, RunId, SnapshotId};
use crate::record::{self, RunRecord, Status};
use crate::store::{Part, Store};

/// How many of the newest sets of a job at a destination are remembered: disks that are changed in turns have a series each.
const REMEMBERED: usize = 400;

/// How many of the newest records are read for that at most: not every run seals a set.
const READ: usize = 4000;

/// The series of a job at a destination that this host has stored sets of; empty where it knows of none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    series: BTreeSet<RunId>,
    /// The sets that it remembers.
    sets: BTreeSet<SnapshotId>,
}

impl FromIterator<RunId> for Own {
    fn from_iter<I: IntoIterator<Item = RunId>>(series: I) -> Self {
        Self { series: series.into_iter().collect(), sets: BTreeSet::new() }
    }
}

impl Own {
    /// Tells whether the host knows of none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Tells whether sets of a series are known to be of this host's making.
    #[must_use]
    pub fn has(&self, series: RunId) -> bool {
        self.series.contains(&series)
    }

    /// Tells whether the host remembers that it has stored a set of this name.
    #[must_use]
    pub fn remembers(&self, set: SnapshotId) -> bool {
        self.sets.contains(&set)
    }
}

/// What is known of a job's destinations before they are asked.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Those that do not answer, with the reason.
    pub silent: BTreeMap<Name, String>,
    /// The host's own series at the others.
    pub own: BTreeMap<Name, Own>,
}

/// Reads from the `state` directory which series are this host's own, but for what it knows by the run `except`. One that
/// cannot be read remembers nothing: a new host has none, and must be able to restore.
pub async fn own(state: &dyn Store, plan: &str, job: &Name, destination: &Name, except: Option<RunId>) -> Own {
    let keys = state.list(&record::runs_folder()).await.unwrap_or_default().into_keys();
    let except = except.map(|run| run.to_string());
    // `runs/<set>.<job>.<destination>.<run>.json`.
    let is_of_it = |key: &Key| {
        matches!(key.as_str().split('.').collect::<Vec<_>>()[..], [_, of, at, run, "json"]
            if of == job.as_str() && at == destination.as_str() && except.as_deref() != Some(run))
    };
    let mut keys: Vec<Key> = keys.filter(is_of_it).collect();
    keys.sort();
    let (mut own, mut remembered) = (Own::default(), 0);
    for key in keys.into_iter().rev().take(READ) {
        let Ok(bytes) = state.read(&key, Part::Whole).await else { continue };
        let Ok(record) = RunRecord::read(&bytes) else { continue };
        if record.plan.name == plan && matches!(record.status, Status::Complete | Status::Partial) {
            own.series.extend(record.series);
            own.sets.insert(record.snapshot);
            remembered += 1;
        }
        if remembered == REMEMBERED {
            break;
        }
    }
    own
}
