//! The drill record: a set was fetched, loaded and looked at, and this is what came of it. It lies next to the set.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::run::{Failed, PlanRecord};
use super::{FORMAT, RecordError, read, write};
use crate::measure::Sha256;
use crate::name::{DatabaseId, Key, Name, RunId, SnapshotId};

/// What one restore drill of one set found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DrillRecord {
    /// The number of this format: 1.
    pub format: u32,
    /// The drill's id.
    #[schemars(with = "String")]
    pub run: RunId,
    /// The plan that asked for it; its name is empty where there was none.
    pub plan: PlanRecord,
    /// The job whose set it is, where a plan asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub job: Option<Name>,
    /// The destination that the set was fetched from.
    #[schemars(with = "String")]
    pub destination: Name,
    /// The set.
    #[schemars(with = "String")]
    pub snapshot: SnapshotId,
    /// The SHA-256 of the set's run record; a backup of HitKeep's own has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub record_sha256: Option<Sha256>,
    /// Whether everything came back as it was captured.
    pub passed: bool,
    /// The exit code of the drill.
    pub exit_code: u8,
    /// When it began.
    #[schemars(with = "String")]
    pub started_at: Timestamp,
    /// When it ended.
    #[schemars(with = "String")]
    pub finished_at: Timestamp,
    /// How long it took until every database was fetched, compared and loaded, in milliseconds: the measured recovery
    /// time. Nothing where that point was not reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_milliseconds: Option<u64>,
    /// The host that it ran on.
    pub host: String,
    /// The program and its version.
    pub tool: String,
    /// The engine that loaded the set, such as `v2.0.0`.
    pub duckdb: String,
    /// Each database that came back.
    pub databases: Vec<DrilledDatabase>,
    /// Each assertion of the plan, in its order, as far as they were asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assertions: Vec<Assertion>,
    /// What deserves a person's attention although it did not fail.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Failed>,
}

/// A database that came back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DrilledDatabase {
    /// `shared`, or the tenant's UUID.
    #[schemars(with = "String")]
    pub database: DatabaseId,
    /// How many tables it has.
    pub tables: u64,
    /// How many rows they have together.
    pub rows: u64,
    /// Of how many of its tables the content was compared with what was captured, beyond the number of rows.
    pub compared: u64,
    /// How many foreign keys were followed.
    pub foreign_keys: u64,
}

/// An assertion of the plan and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Assertion {
    /// The query, as the plan has it.
    pub sql: String,
    /// Whether it was true.
    pub holds: bool,
}

impl DrillRecord {
    /// Reads a drill record of any format that was ever written.
    ///
    /// # Errors
    /// When the bytes are no drill record, or one of a newer format.
    pub fn read(bytes: &[u8]) -> Result<Self, RecordError> {
        read("drill record", bytes)
    }

    /// Returns the bytes to be stored.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        debug_assert_eq!(self.format, FORMAT);
        write(self)
    }
}

/// Returns the key, relative to the backup prefix, of the record of one drill of a set.
///
/// It lies among the run records, so that one listing shows both, under a name that nothing takes for one of those.
#[must_use]
pub fn drill_key(set: SnapshotId, drill: RunId) -> Key {
    Key::of(format!("runs/{set}.drill.{drill}.json"))
}

/// Returns the set and the id of the drill whose record has this key, relative to the backup prefix.
#[must_use]
pub fn drill_of(key: &str) -> Option<(SnapshotId, RunId)> {
    let (set, drill) = key.strip_prefix("runs/")?.strip_suffix(".json")?.split_once(".drill.")?;
    Some((set.parse().ok()?, drill.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_drill_tells_its_set_and_its_id() {
        let set = SnapshotId::at(Timestamp::UNIX_EPOCH);
        let drill = RunId::fixed([7; 16]);
        assert_eq!(drill_of(drill_key(set, drill).as_str()), Some((set, drill)));
        for other in [
            "runs/1970-01-01T000000Z.json",
            "runs/1970-01-01T000000Z.started.json",
            "runs/x.drill.07070707-0707-0707-0707-070707070707.json",
            "runs/1970-01-01T000000Z.drill.x.json",
            "shared/1970-01-01T000000Z.drill.07070707-0707-0707-0707-070707070707.json",
        ] {
            assert_eq!(drill_of(other), None, "{other}");
        }
    }
}
