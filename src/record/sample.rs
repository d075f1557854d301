//! The sample record: a part of everything that a place holds was read back, and this is what came of it. Such parts follow
//! each other, so that after as many as there are every file has been read. It lies next to the newest set.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::run::{Failed, PlanRecord};
use super::{FORMAT, RecordError, read, write};
use crate::name::{Key, Name, RunId, SnapshotId};

/// What one reading of a part of a place found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SampleRecord {
    /// The number of this format: 1.
    pub format: u32,
    /// The reading's id.
    #[schemars(with = "String")]
    pub run: RunId,
    /// The plan that asked for it; its name is empty where there was none.
    pub plan: PlanRecord,
    /// The job whose sets they are, where a plan asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub job: Option<Name>,
    /// The destination that was read.
    #[schemars(with = "String")]
    pub destination: Name,
    /// The newest set that was there.
    #[schemars(with = "String")]
    pub snapshot: SnapshotId,
    /// The number of this reading; each later one has the next number.
    pub round: u64,
    /// How many parts there are: of as many readings that follow each other, each reads another part.
    pub parts: u64,
    /// How many sets were there.
    pub sets: u64,
    /// How many files were read, and compared with what was sealed.
    pub files: u64,
    /// How many there were.
    pub of_files: u64,
    /// How many bytes were read.
    pub bytes: u64,
    /// How many there were.
    pub of_bytes: u64,
    /// Whether all that was read is as it was sealed.
    pub passed: bool,
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
    /// What is not as it was sealed, or could not be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Failed>,
}

impl SampleRecord {
    /// Reads a sample record of any format that was ever written.
    ///
    /// # Errors
    /// When the bytes are no sample record, or one of a newer format.
    pub fn read(bytes: &[u8]) -> Result<Self, RecordError> {
        read("sample record", bytes)
    }

    /// Returns the bytes to be stored.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        debug_assert_eq!(self.format, FORMAT);
        write(self)
    }
}

/// Returns the key, relative to the prefix, of the record of a reading after which `newest` was the newest set.
#[must_use]
pub fn sample_key(newest: SnapshotId, reading: RunId) -> Key {
    Key::of(format!("runs/{newest}.sample.{reading}.json"))
}

/// Returns which set was the newest at the reading whose record has this key, relative to the prefix, and that reading's id.
#[must_use]
pub fn sample_of(key: &str) -> Option<(SnapshotId, RunId)> {
    let (set, reading) = key.strip_prefix("runs/")?.strip_suffix(".json")?.split_once(".sample.")?;
    Some((set.parse().ok()?, reading.parse().ok()?))
}
