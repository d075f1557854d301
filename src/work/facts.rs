//! What the world looks like, as far as planning needs to know: the only way it enters.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::hitkeep::Tenant;
use crate::measure::{Bytes, Grouped, Sha256, Share};
use crate::name::{DatabaseId, Name, Prefix, SnapshotId, TenantId};
use crate::record::Catalogue;

/// Facts for a backup.
#[derive(Clone, Debug)]
pub struct BackupFacts {
    /// The databases that a whole backup of the installation holds, the shared one first.
    pub databases: Vec<DatabaseFact>,
    /// The tenants that have neither a site nor a database yet: there is nothing to back up.
    pub unused: Vec<Tenant>,
    /// The job's destinations, in the plan's order.
    pub destinations: Vec<DestinationFact>,
    /// What is free where copies and exports are staged, beside the copies that are there already.
    pub staging_free: Bytes,
}

/// One database of the installation.
#[derive(Clone, Debug)]
pub struct DatabaseFact {
    /// Which one.
    pub id: DatabaseId,
    /// Its tenant's name.
    pub name: Option<String>,
    /// Where it lies or should lie.
    pub path: PathBuf,
    /// What was seen of it; or why it cannot be read.
    pub seen: Result<Seen, String>,
    /// Whether there is a copy of it in the staging directory already, made to look into it.
    pub has_copy: bool,
}

/// What is seen of a database from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its size with its write-ahead log, in bytes.
    pub bytes: Bytes,
    /// The size of that log, in bytes.
    pub log: Bytes,
    /// Whether a checkpoint is under way.
    pub is_checkpointing: bool,
    /// The process that has it open.
    pub holder: Option<String>,
}

impl DatabaseFact {
    /// Returns its size with its write-ahead log, in bytes; none where it cannot be read.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.seen.as_ref().map_or(Bytes(0), |seen| seen.bytes)
    }

    /// Tells whether a process has it open.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.seen.as_ref().is_ok_and(|seen| seen.holder.is_some())
    }
}

/// One destination of a job.
#[derive(Clone, Debug)]
pub struct DestinationFact {
    /// Its name.
    pub name: Name,
    /// Its own place and the backup prefix in it.
    pub place: Place,
    /// What it holds; or why it cannot be read.
    pub reached: Result<Reached, String>,
}

/// A backup prefix, for keys and for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The backup prefix, as keys have it.
    pub prefix: Prefix,
    /// The backup prefix, as a person would look for it: a path or a URL.
    pub at: String,
}

impl Place {
    /// Names something inside the prefix, for people.
    #[must_use]
    pub fn locate(&self, path: &str) -> String {
        format!("{}/{path}", self.at.trim_end_matches('/'))
    }
}

/// What a destination that answers holds, as far as a new set is concerned.
#[derive(Clone, Debug)]
pub struct Reached {
    /// The names of the sets in it.
    pub taken: BTreeSet<SnapshotId>,
    /// The newest set that has a run record, and that record's digest.
    pub newest_record: Option<(SnapshotId, Sha256)>,
    /// The newest set whose run was complete.
    pub newest_complete: Option<Before>,
    /// What more fits, where there is such a limit.
    pub free: Option<Bytes>,
}

/// A set that a new one is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Before {
    /// Its name.
    pub set: SnapshotId,
    /// How many rows it holds.
    pub rows: u64,
    /// Its size, in bytes.
    pub bytes: u64,
}

impl Before {
    /// Says how a set of `rows` and `bytes` has shrunk against this one, if it has lost more than `most`.
    #[must_use]
    pub fn shrunk(&self, rows: u64, bytes: u64, most: Share) -> Option<String> {
        let lost = |before: u64, now: u64| (u128::from(before - now) * 100 / u128::from(before)).to_string();
        let what = if most.is_exceeded(self.rows, rows) {
            format!("{} rows where set {} has {}", Grouped(rows), self.set, Grouped(self.rows))
                + &format!(", {} % fewer", lost(self.rows, rows))
        } else if most.is_exceeded(self.bytes, bytes) {
            format!("{} where set {} has {}", Bytes(bytes), self.set, Bytes(self.bytes))
                + &format!(", {} % less", lost(self.bytes, bytes))
        } else {
            return None;
        };
        Some(format!("{what}, and `max_shrink` allows {most}: if that is right, allow more of it for one run"))
    }
}

/// Facts for a restore.
#[derive(Clone, Debug)]
pub struct RestoreFacts {
    /// The place that sets are restored from.
    pub place: Place,
    /// The sets in it that were looked at to find the one that is wanted.
    pub catalogue: Catalogue,
    /// The files that exist where a restore would write, and those set aside there before.
    pub existing: BTreeSet<PathBuf>,
    /// The tenants whose databases exist there.
    pub existing_tenants: BTreeSet<TenantId>,
    /// What is free where the databases go.
    pub target_free: Bytes,
}
