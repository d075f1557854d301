//! The prune record: what was deleted at one destination, and why. It lies in the state directory, and is not read back.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Failed, write};
use crate::name::{Name, SnapshotId};

/// What was deleted at one destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PruneRecord {
    /// The number of this format: 1.
    pub format: u32,
    /// The job whose rules it went by.
    #[schemars(with = "String")]
    pub job: Name,
    /// The destination's name in the plan.
    #[schemars(with = "String")]
    pub destination: Name,
    /// The place, for people.
    pub at: String,
    /// When it began.
    #[schemars(with = "String")]
    pub started_at: Timestamp,
    /// When it ended.
    #[schemars(with = "String")]
    pub finished_at: Timestamp,
    /// The host that it ran on.
    pub host: String,
    /// The program and its version.
    pub tool: String,
    /// The sets that were deleted.
    pub deleted: Vec<DeletedRecord>,
    /// How many sets were there and stayed.
    pub kept: usize,
    /// What failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Failed>,
}

/// A set that was deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DeletedRecord {
    /// The set.
    #[schemars(with = "String")]
    pub snapshot: SnapshotId,
    /// Its size, in bytes.
    pub bytes: u64,
    /// Why it went.
    pub ground: String,
}

impl PruneRecord {
    /// Returns the bytes to be stored.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        write(self)
    }
}
