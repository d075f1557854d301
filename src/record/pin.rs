//! The pin: a person's word that a set is to stay, and why. It lies beside the set's run record, created once.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FORMAT, RecordError, read, write};
use crate::name::{Key, SnapshotId};

/// What keeps a set whatever the rules say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pin {
    /// The number of this format: 1.
    pub format: u32,
    /// The set.
    #[schemars(with = "String")]
    pub snapshot: SnapshotId,
    /// Why it is to stay, in the words of who pinned it.
    pub reason: String,
    /// When it was pinned.
    #[schemars(with = "String")]
    pub pinned_at: Timestamp,
    /// The host that it was pinned from.
    pub host: String,
}

impl Pin {
    /// Returns a pin as it is written today.
    #[must_use]
    pub fn new(snapshot: SnapshotId, reason: String, pinned_at: Timestamp, host: String) -> Self {
        Self { format: FORMAT, snapshot, reason, pinned_at, host }
    }

    /// Reads a pin of any format that was ever written.
    ///
    /// # Errors
    /// When the bytes are no pin, or one of a newer format.
    pub fn read(bytes: &[u8]) -> Result<Self, RecordError> {
        read("pin", bytes)
    }

    /// Returns the bytes to be stored.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        write(self)
    }
}

/// Returns the key, relative to the backup prefix, of a set's pin.
#[must_use]
pub fn pin_key(id: SnapshotId) -> Key {
    Key::of(format!("runs/{id}.pin.json"))
}

/// Returns the set that a document beside the run records is about, from its key relative to the backup prefix: a run
/// record is `runs/<set>.json`, and everything else about that set is `runs/<set>.<what>.json`.
#[must_use]
pub fn set_of_document(key: &str) -> Option<SnapshotId> {
    key.strip_prefix("runs/")?.split_once('.')?.0.parse().ok()
}
