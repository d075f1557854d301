//! The run record: every snapshot of a set, written last. It is the commit marker: without it the set does not exist.

use std::collections::BTreeSet;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::archive::ArchiveRecord;
use super::manifest::{Capture, Kind, LiveRecord};
use super::{FORMAT, RecordError, read, write};
use crate::measure::Sha256;
use crate::name::{DatabaseId, Name, RunId, Shard, SnapshotId};

/// What one run of one job did at one destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunRecord {
    /// The number of this format: 1.
    pub format: u32,
    /// The run's id, the same at each of its destinations.
    #[schemars(with = "String")]
    pub run: RunId,
    /// The plan that asked for it.
    pub plan: PlanRecord,
    /// The job's name in the plan.
    #[schemars(with = "String")]
    pub job: Name,
    /// The destination's name in the plan.
    #[schemars(with = "String")]
    pub destination: Name,
    /// What kind of job it was.
    pub kind: Kind,
    /// The set that the run wrote or would have written.
    #[schemars(with = "String")]
    pub snapshot: SnapshotId,
    /// How it ended.
    pub status: Status,
    /// The exit code of the run as far as this destination goes.
    pub exit_code: u8,
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
    /// Which part of the installation the set is about, as in `0/3`, the first of three; all of it where this is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub shard: Option<Shard>,
    /// The databases that the set should hold.
    #[schemars(with = "Vec<String>")]
    pub expected: Vec<DatabaseId>,
    /// The databases that it does hold.
    #[schemars(with = "Vec<String>")]
    pub captured: Vec<DatabaseId>,
    /// Each snapshot of the set.
    pub snapshots: Vec<SnapshotRecord>,
    /// What was archived, where the job is one that archives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<ArchiveRecord>,
    /// What was verified before the record was written.
    pub verification: Verification,
    /// The seconds between the first and the last database's capture; at most, where HitKeep exported them itself.
    #[serde(default)]
    pub spread_seconds: u64,
    /// The number of the lease that the run held, where the destination is a bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<u64>,
    /// The complete set before, where this one has lost more of it than the plan allows. Then this one is partial
    /// although it lacks no database, and that one should not be deleted while this one stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub guards: Option<SnapshotId>,
    /// What deserves a person's attention although it did not fail.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Failed>,
    /// What all sets of one series share: the id of the run that made the first of them. A set with another one was
    /// brought here from elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub series: Option<RunId>,
    /// The commands that were run around the job, in order; in the record that the host keeps in its state directory only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<HookRecord>,
    /// The exit code of the whole run, with its drill, its deletions and its commands, where that is not the worst of its
    /// destinations; in the record that the host keeps only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_with: Option<u8>,
    /// What the destination held when the run had ended; in the record that the host keeps only, for its metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<PlaceRecord>,
    /// The set that was the newest with a run record before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub previous_set: Option<SnapshotId>,
    /// The SHA-256 of that set's run record: one that is changed later is found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub previous: Option<Sha256>,
}

/// The plan of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanRecord {
    /// The plan file's name without its ending.
    pub name: String,
    /// The SHA-256 of its text.
    #[schemars(with = "String")]
    pub sha256: Sha256,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Everything expected is there.
    Complete,
    /// Something is there and something is missing.
    Partial,
    /// Nothing that could be restored was written.
    Failed,
    /// There was nothing to do: the destination holds the set already.
    Skipped,
}

impl Status {
    /// Tells whether something is missing that should be there; nothing is where there was nothing to do.
    #[must_use]
    pub fn is_short(self) -> bool {
        matches!(self, Self::Partial | Self::Failed)
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Complete => "complete",
            Self::Partial => "partial",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        })
    }
}

/// One snapshot of a set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotRecord {
    /// `shared`, or the tenant's UUID.
    #[schemars(with = "String")]
    pub database: DatabaseId,
    /// The snapshot's folder, relative to the backup prefix.
    pub path: String,
    /// The SHA-256 of its manifest.
    #[schemars(with = "String")]
    pub manifest_sha256: Sha256,
    /// The sum of its files' sizes, in bytes, without the manifest.
    pub bytes: u64,
    /// The number of its files, without the manifest.
    pub files: u64,
    /// The sum of its tables' rows.
    pub rows: u64,
    /// The size of the database when it was captured, in bytes: about what a restore needs.
    pub database_bytes: u64,
    /// The moment whose state it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub captured_at: Option<Timestamp>,
    /// How the state was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<Capture>,
    /// How the copy came about, where the state was taken live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<LiveRecord>,
    /// What of its files was not sent, where a run that was never sealed had left it there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_over: Option<TakenOver>,
}

/// What the server copied from what runs had left that were never sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TakenOver {
    /// How many files.
    pub files: u64,
    /// The sum of their sizes, in bytes.
    pub bytes: u64,
    /// The sets that those runs did not come to seal, oldest first.
    #[schemars(with = "Vec<String>")]
    pub sets: BTreeSet<SnapshotId>,
}

/// What was verified of a set before it was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verification {
    /// Nothing was read back.
    None,
    /// Every file was read back from the destination and its SHA-256 compared.
    Checksum,
}

/// What a job's place held at one time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlaceRecord {
    /// How many complete and how many partial sets; nothing where not all of them were looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sets: Option<SetsRecord>,
    /// The newest complete set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub newest_complete: Option<SnapshotId>,
    /// When the run ended that made the newest set whose files were compared after they were stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub verified_at: Option<Timestamp>,
    /// When the newest restore drill that passed had ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub drilled_at: Option<Timestamp>,
}

/// All sets of a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SetsRecord {
    /// How many are complete.
    pub complete: u64,
    /// How many are partial.
    pub partial: u64,
    /// The oldest complete set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub oldest_complete: Option<SnapshotId>,
}

/// One command that was run around a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HookRecord {
    /// `before`, `after` or `failure`.
    pub when: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// How it ended, in words.
    pub ended: String,
    /// Its exit code; none where it was stopped, or could not be started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// How long it took.
    pub milliseconds: u64,
    /// The end of what it wrote to its standard output and standard error, without secrets of the plan.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub output: String,
}

/// One failure of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failed {
    /// What was being done, in words.
    pub task: String,
    /// The line of the plan that asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_line: Option<usize>,
    /// Why it failed.
    pub cause: String,
}

impl RunRecord {
    /// Reads a run record of any format that was ever written.
    ///
    /// # Errors
    /// When the bytes are no run record, or one of a newer format.
    pub fn read(bytes: &[u8]) -> Result<Self, RecordError> {
        read("run record", bytes)
    }

    /// Returns the bytes to be stored.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        debug_assert_eq!(self.format, FORMAT);
        write(self)
    }

    /// Returns the sum of the sizes of the snapshots, or of the archived files, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let snapshots: u64 = self.snapshots.iter().map(|snapshot| snapshot.bytes).sum();
        snapshots + self.archive.as_ref().map_or(0, ArchiveRecord::bytes)
    }

    /// Returns the sum of the sizes of the files that were taken over and not sent, in bytes.
    #[must_use]
    pub fn bytes_taken_over(&self) -> u64 {
        self.snapshots.iter().filter_map(|snapshot| snapshot.taken_over.as_ref()).map(|taken| taken.bytes).sum()
    }

    /// Tells whether a signal stopped the run: the exit code is that of a shell then, 128 and the number of SIGINT or SIGTERM.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        matches!(self.exit_code, 130 | 143)
    }

    /// Returns the sum of the rows of the snapshots, or of the archived files.
    #[must_use]
    pub fn rows(&self) -> u64 {
        let snapshots: u64 = self.snapshots.iter().map(|snapshot| snapshot.rows).sum();
        snapshots + self.archive.as_ref().map_or(0, ArchiveRecord::rows)
    }
}
