//! The manifest: what is in one snapshot, file by file and table by table.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FORMAT, RecordError, read, write};
use crate::measure::{Crc64, Sha256};
use crate::name::{DatabaseId, RunId, SnapshotId};

/// What one snapshot holds. It lies beside the snapshot's folder, and is written after the folder's files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    /// The number of this format: 1.
    pub format: u32,
    /// What kind of copy this is.
    pub kind: Kind,
    /// The set that the snapshot belongs to, such as `2026-03-08T120000Z`.
    #[schemars(with = "String")]
    pub snapshot: SnapshotId,
    /// `shared`, or the tenant's UUID.
    #[schemars(with = "String")]
    pub database: DatabaseId,
    /// The tenant's name when it was captured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The run that wrote it.
    #[schemars(with = "String")]
    pub run: RunId,
    /// The moment whose state it holds. What HitKeep exported itself holds at least what was committed at this moment,
    /// which is that of the set.
    #[schemars(with = "String")]
    pub captured_at: Timestamp,
    /// How the state was taken.
    pub capture: Capture,
    /// How the copy came about, where the state was taken live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<LiveRecord>,
    /// The size of the database when it was captured, with its write-ahead log, in bytes: about what a restore needs. An
    /// estimate where HitKeep exported it itself.
    pub database_bytes: u64,
    /// The engine that wrote the files, such as `v2.0.0`.
    pub duckdb: String,
    /// HitKeep's last migration, which is its schema version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hitkeep: Option<String>,
    /// The SHA-256 of `schema.sql`.
    #[schemars(with = "String")]
    pub schema_digest: Sha256,
    /// Every file of the snapshot's folder.
    pub files: Vec<FileRecord>,
    /// Every table, in the order in which they must be loaded.
    pub tables: Vec<TableRecord>,
    /// What the database held and an export cannot express, such as comments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<String>,
    /// What a whole restore of the installation needs besides its databases.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_included: Vec<String>,
}

/// The kinds of copies that have manifests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A restore point of a whole database.
    Backup,
    /// Rows that are past their retention.
    Archive,
}

/// How a database's state was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Capture {
    /// Read from the database file itself, which nobody else had open.
    Direct,
    /// Read from a copy of the database file and its log, made while another process had them open.
    Live,
    /// Exported by HitKeep's own backup; the files are stored as it wrote them.
    Adopted,
}

/// How the copy of a database that was open came about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LiveRecord {
    /// How many tries there were; the last one was accepted.
    pub tries: u32,
    /// Why the others were not accepted, in a word, and how many for each reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rejected: BTreeMap<String, u32>,
    /// How long the accepted try took, in milliseconds.
    pub copy_milliseconds: u64,
    /// How long all tries took, in milliseconds.
    pub milliseconds: u64,
    /// The number of the checkpoint that the copy is of.
    pub checkpoint: u64,
    /// The length of the write-ahead log in the copy, in bytes: what was written since that checkpoint.
    pub log_bytes: u64,
}

/// One file of a snapshot or of an archive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct FileRecord {
    /// Its name inside the snapshot's folder, or inside the archive's prefix.
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// The SHA-256 of its content.
    #[schemars(with = "String")]
    pub sha256: Sha256,
    /// The CRC-64/NVME of its content, in Base64: S3 keeps the same of each object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub crc64nvme: Option<Crc64>,
}

/// One table of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TableRecord {
    /// Its schema; left out for `main`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// Its name.
    pub name: String,
    /// How many rows it holds.
    pub rows: u64,
    /// A digest of them, as they were captured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<ContentRecord>,
}

/// A digest of a table's rows that does not depend on their order.
///
/// It is made of the hashes of an engine: two compare only where algorithm and engine are the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContentRecord {
    /// How it is made.
    pub algorithm: String,
    /// The engine that made it, such as `v2.0.0`.
    pub engine: String,
    /// The digest.
    pub digest: String,
}

impl TableRecord {
    /// Returns the name that a person would write: `hits`, or `other.hits` outside the schema `main`.
    #[must_use]
    pub fn title(&self) -> String {
        self.schema.as_ref().map_or_else(|| self.name.clone(), |schema| format!("{schema}.{}", self.name))
    }
}

impl Manifest {
    /// Reads a manifest of any format that was ever written.
    ///
    /// # Errors
    /// When the bytes are no manifest, or one of a newer format.
    pub fn read(bytes: &[u8]) -> Result<Self, RecordError> {
        read("manifest", bytes)
    }

    /// Returns the bytes to be stored.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        debug_assert_eq!(self.format, FORMAT);
        write(self)
    }

    /// Returns the sum of the files' sizes, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Returns the sum of the tables' rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|table| table.rows).sum()
    }
}
