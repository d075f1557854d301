//! What has happened, as it is written down: manifests, run records, and the catalogue read back from them.
//!
//! Bytes in, bytes out. These types are the promise on disk: they carry a `format` number, they are never the
//! types that the program works with, and a reader goes on reading every number that was ever written.
//! Fields may be added; none changes its meaning.

mod archive;
mod catalogue;
mod drill;
mod manifest;
mod pin;
mod prune;
mod run;
mod sample;

pub use archive::{
    ArchiveLayout, ArchiveRecord, ArchivedFile, ColumnRecord, Ledger, LeftOut, PartId, PartRecord, SchemaRecord,
    SiteRecord, hive_key, run_of,
};
pub use catalogue::{
    Catalogue, Doubt, FoundRecord, Held, Names, Set, State, announcement_key, home_of, manifest_key, record_key,
    runs_folder,
};
pub use drill::{Assertion, DrillRecord, DrilledDatabase, drill_key, drill_of};
pub use manifest::{Capture, ContentRecord, FileRecord, Kind, LiveRecord, Manifest, TableRecord};
pub use pin::{Pin, pin_key, set_of_document};
pub use prune::{DeletedRecord, PruneRecord};
pub use run::{
    Failed, HookRecord, PlaceRecord, PlanRecord, RunRecord, SetsRecord, SnapshotRecord, Status, TakenOver, Verification,
};
pub use sample::{SampleRecord, sample_key, sample_of};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The number of the format that this version writes, of manifests, run records and drill records alike.
pub const FORMAT: u32 = 1;

/// Why a document could not be read back.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The text is not such a document.
    #[error("it is not a readable {document}: {cause}")]
    Unreadable {
        /// What it was taken for.
        document: &'static str,
        /// What the parser says.
        cause: serde_json::Error,
    },
    /// It was written by a newer version.
    #[error(
        "this {document} has format {found}, and this version of hitkeep-plan reads up to {FORMAT}: use a newer one"
    )]
    Newer {
        /// What it was taken for.
        document: &'static str,
        /// The number it carries.
        found: u32,
    },
}

/// Reads a document after looking at its number, so that a newer one is named as such and not as broken.
fn read<T: DeserializeOwned>(document: &'static str, bytes: &[u8]) -> Result<T, RecordError> {
    #[derive(serde::Deserialize)]
    struct Numbered {
        format: u32,
    }
    let unreadable = |cause| RecordError::Unreadable { document, cause };
    let Numbered { format } = serde_json::from_slice(bytes).map_err(unreadable)?;
    if format > FORMAT {
        return Err(RecordError::Newer { document, found: format });
    }
    serde_json::from_slice(bytes).map_err(unreadable)
}

/// Writes a document for people and programs: indented JSON, with a newline at its end.
fn write<T: Serialize>(document: &T) -> Vec<u8> {
    // Own types without maps of odd keys: serialising them cannot fail, and an empty file would be refused on reading.
    let mut bytes = serde_json::to_vec_pretty(document).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// Returns the JSON Schema of manifests.
#[must_use]
pub fn manifest_schema() -> String {
    schema_text(&schemars::schema_for!(Manifest))
}

/// Returns the JSON Schema of run records.
#[must_use]
pub fn run_schema() -> String {
    schema_text(&schemars::schema_for!(RunRecord))
}

/// Returns the JSON Schema of drill records.
#[must_use]
pub fn drill_schema() -> String {
    schema_text(&schemars::schema_for!(DrillRecord))
}

/// Returns the JSON Schema of sample records.
#[must_use]
pub fn sample_schema() -> String {
    schema_text(&schemars::schema_for!(SampleRecord))
}

/// Returns the JSON Schema of pins.
#[must_use]
pub fn pin_schema() -> String {
    schema_text(&schemars::schema_for!(Pin))
}

/// Returns the JSON Schema of prune records.
#[must_use]
pub fn prune_schema() -> String {
    schema_text(&schemars::schema_for!(PruneRecord))
}

fn schema_text(schema: &schemars::Schema) -> String {
    String::from_utf8(write(schema)).unwrap_or_default()
}
