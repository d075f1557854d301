//! What a run of an archive job has stored: every file, and what rows are in it.
//!
//! The records of all runs together are the ledger of what is archived: a row that is in it is not archived again.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::FileRecord;
use crate::hitkeep;
use crate::measure::Content;
use crate::name::{DatabaseId, Key, Month, SiteId, SnapshotId, TenantId};

/// The archive of one run, in its run record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArchiveRecord {
    /// The instant that every cutoff is reckoned from; the files are named by its second.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Where rows lie.
    pub layout: ArchiveLayout,
    /// Whether the run was to delete from the source what it had archived.
    pub deletes: bool,
    /// Every site that has a cutoff: its rows from before are in this archive or an earlier one.
    pub sites: Vec<SiteRecord>,
    /// Every file.
    pub files: Vec<ArchivedFile>,
    /// The tables that hold rows by time, as they were when these were archived.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schemas: Vec<SchemaRecord>,
    /// The tables that have sites and times and are in no archive.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// How many rows were deleted from each database. Only the record in the state directory says this: the deletion
    /// comes after the record is sealed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, u64>")]
    pub deleted: BTreeMap<DatabaseId, u64>,
}

/// Where archived rows lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ArchiveLayout {
    /// One file for each site, as HitKeep's own archives, with the table's name in `_source`.
    Hitkeep,
    /// One file for each table, site and month.
    Hive,
}

/// One site of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SiteRecord {
    /// Its UUID.
    #[schemars(with = "String")]
    pub site: SiteId,
    /// Its tenant's UUID.
    #[schemars(with = "String")]
    pub tenant: TenantId,
    /// The database that its rows were in.
    #[schemars(with = "String")]
    pub database: DatabaseId,
    /// The instant before which its rows are past. A row that stands for an hour, a day or a month is past when all of
    /// that is, in UTC.
    #[schemars(with = "String")]
    pub cutoff: Timestamp,
}

/// One file of an archive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct ArchivedFile {
    /// Its name relative to the archive's prefix, its size and its digests.
    #[serde(flatten)]
    pub file: FileRecord,
    /// The site whose rows it holds.
    #[schemars(with = "String")]
    pub site: SiteId,
    /// The engine that wrote it and that the digests of its rows compare with, such as `v2.0.0`.
    pub duckdb: String,
    /// Which rows it holds.
    pub parts: Vec<PartRecord>,
}

/// The rows of one table and one month in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct PartRecord {
    /// The table.
    pub table: String,
    /// The month in UTC, such as `2026-03`.
    #[schemars(with = "String")]
    pub month: Month,
    /// How many rows.
    pub rows: u64,
    /// A digest of them that does not depend on their order, made of hashes of this engine version.
    pub content: String,
}

/// A table that rows are archived of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SchemaRecord {
    /// The table.
    pub table: String,
    /// The databases in which it is like this.
    #[schemars(with = "Vec<String>")]
    pub databases: Vec<DatabaseId>,
    /// Its columns, in order.
    pub columns: Vec<ColumnRecord>,
}

/// A column of such a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct ColumnRecord {
    /// Its name.
    pub name: String,
    /// Its type, in DuckDB's words.
    #[serde(rename = "type")]
    pub data_type: String,
    /// Its type in the files of the run, as the engine that wrote them reads it: Parquet does not know every type, and
    /// columns of several tables that share a file share one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<String>,
}

/// A table that is in no archive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct LeftOut {
    /// The table.
    pub table: String,
    /// Why it is left out.
    pub reason: String,
}

impl ArchiveRecord {
    /// Returns the sum of the files' sizes, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.file.bytes).sum()
    }

    /// Returns the sum of the files' rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.files.iter().map(ArchivedFile::rows).sum()
    }

    /// Returns the tables of a database as they were.
    #[must_use]
    pub fn schemas_of(&self, database: DatabaseId) -> Vec<SchemaRecord> {
        self.schemas.iter().filter(|schema| schema.databases.contains(&database)).cloned().collect()
    }
}

impl ArchivedFile {
    /// Returns how many rows it holds.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.parts.iter().map(|part| part.rows).sum()
    }

    /// Tells in which layout it lies: the folders of the one are named `key=value`.
    #[must_use]
    pub fn layout(&self) -> ArchiveLayout {
        if self.file.path.starts_with("table=") { ArchiveLayout::Hive } else { ArchiveLayout::Hitkeep }
    }
}

/// The rows of one site, table and month: what an archive is compared by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartId {
    /// The site.
    pub site: SiteId,
    /// The table.
    pub table: String,
    /// The month.
    pub month: Month,
}

/// What is archived at a place: the files of all its run records.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ledger {
    /// The files, in order.
    pub files: BTreeSet<ArchivedFile>,
}

impl Ledger {
    /// Tells whether another place has the same rows archived, wherever they lie there.
    #[must_use]
    pub fn holds_the_same(&self, other: &Self) -> bool {
        let rows = |ledger: &Self| {
            let mut rows: Vec<_> =
                ledger.files.iter().map(|file| (file.site, file.duckdb.clone(), file.parts.clone())).collect();
            rows.sort();
            rows
        };
        rows(self) == rows(other)
    }

    /// Tells whether a file of these holds the same rows of a table and month as another does, or did.
    #[must_use]
    pub fn has_twin(&self, of: &ArchivedFile, part: &PartRecord) -> bool {
        let comparable = |file: &&ArchivedFile| file.site == of.site && file.duckdb == of.duckdb;
        self.files.iter().filter(comparable).any(|file| file.parts.contains(part))
    }

    /// Tells whether these hold all rows again that another file holds, or did.
    #[must_use]
    pub fn holds_all_of(&self, file: &ArchivedFile) -> bool {
        file.parts.iter().all(|part| self.has_twin(file, part))
    }

    /// Returns the files that hold rows of a part, and what they hold of it together; no content where any of them was
    /// written by an engine whose digests do not compare with those of `engine`.
    #[must_use]
    pub fn parts(&self, engine: &str) -> BTreeMap<PartId, (Option<Content>, Vec<&ArchivedFile>)> {
        let mut parts: BTreeMap<PartId, (Option<Content>, Vec<&ArchivedFile>)> = BTreeMap::new();
        for file in &self.files {
            for part in &file.parts {
                let id = PartId { site: file.site, table: part.table.clone(), month: part.month };
                let content = Content::read(part.rows, &part.content).filter(|_| file.duckdb == engine);
                let (sum, files) = parts.entry(id).or_insert_with(|| (Some(Content::default()), Vec::new()));
                *sum = sum.zip(content).map(|(mut sum, content)| {
                    sum += content;
                    sum
                });
                files.push(file);
            }
        }
        parts
    }
}

/// Returns the key of a file in the layout `hive`, relative to the archive's prefix; `unix` is in seconds.
#[must_use]
pub fn hive_key(part: &PartId, tenant: TenantId, unix: i64) -> Key {
    let PartId { site, table, month } = part;
    let (year, month) = (month.first_day().year(), month.first_day().month());
    let table: String = table.chars().map(hive_character).collect();
    Key::of(format!("table={table}/tenant={tenant}/site={site}/year={year:04}/month={month:02}/{unix}.parquet"))
}

/// Returns a character as a folder's name may have it; the record says the table's real name.
fn hive_character(c: char) -> char {
    if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' }
}

/// Returns the run that a file belongs to by its name, in either layout.
#[must_use]
pub fn run_of(path: &str) -> Option<SnapshotId> {
    let hive = || path.rsplit('/').next()?.strip_suffix(".parquet")?.parse().ok();
    let second = hitkeep::archive_second(path).or_else(|| hive().filter(|_| path.starts_with("table=")))?;
    Some(SnapshotId::at(Timestamp::from_second(second).ok()?))
}
