//! What HitKeep's tree looks like: the one place that knows its conventions and how versions differ.
//!
//! Paths, keys and rows come in, meaning comes out; nothing here reads a file. The facts are HitKeep's own
//! code and files, versions 2.8 to 2.13.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::name::{DatabaseId, Key, Prefix, SiteId, SnapshotId, TenantId};

/// What the names of a database's write-ahead logs end with: the log itself, and the one of the time of a checkpoint.
const LOG_ENDINGS: [&str; 2] = [".wal", ".wal.checkpoint"];

/// The name of every database file of an installation.
pub const DATABASE_FILE: &str = "hitkeep.db";

/// Lists the tenants of the shared database: id, name, whether it is the default one.
pub const TENANTS_QUERY: &str =
    "SELECT id::VARCHAR, name, coalesce(is_default, false) FROM tenants ORDER BY created_at, id";

/// Lists the ids of the tenants that were archived; HitKeep keeps their files and serves them no more.
pub const ARCHIVED_QUERY: &str = "SELECT tenant_id::VARCHAR FROM tenant_archives";

/// Lists the ids of the tenants that have sites.
pub const WITH_SITES_QUERY: &str = "SELECT DISTINCT tenant_id::VARCHAR FROM site_tenants";

/// Lists the sites of the shared database: id, domain, tenant (none stands for the default one), days of retention.
pub const SITES_QUERY: &str = "SELECT sites.id::VARCHAR, domain, site_tenants.tenant_id::VARCHAR, \
     data_retention_days::BIGINT FROM sites LEFT JOIN site_tenants ON site_tenants.site_id = sites.id ORDER BY ALL";

/// Tells whether the default tenant has moved out of the shared database (HitKeep 2.13 and later).
pub const SPLIT_QUERY: &str = "SELECT count(*) > 0 FROM data_migrations WHERE name = 'default_tenant_split_v1'";

/// The tables of the shared database that the queries above ask; older versions lack some.
pub const LISTING_TABLES: [&str; 4] = ["tenants", "tenant_archives", "site_tenants", "data_migrations"];

/// The table that HitKeep's migrations are noted in.
pub const MIGRATIONS_TABLE: &str = "migrations";

/// How many bytes of database one byte of snapshot may become, where nothing says better: HitKeep's hits take 46 bytes a
/// row in Parquet and 128 in a database with its indexes.
pub const GROWTH: u64 = 4;

/// Names the last migration that ran, which is what HitKeep has for a schema version.
pub const MIGRATION_QUERY: &str = "SELECT max(migration) FROM migrations";

/// What a whole restore of an installation needs and no database holds.
pub const NOT_INCLUDED: [&str; 3] = [
    "QR code images (<data path>/assets)",
    "the archive directory (HITKEEP_ARCHIVE_PATH)",
    "configuration and secrets of the environment (HITKEEP_JWT_SECRET and the like)",
];

/// A tenant as the shared database knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// Its name, as people see it.
    pub name: String,
    /// Whether it is the one that every installation begins with.
    pub is_default: bool,
    /// Whether it was archived.
    pub is_archived: bool,
    /// Whether it has a site. HitKeep makes a tenant's database when it is first used, so one without sites may have none.
    pub has_sites: bool,
}

/// Where the default tenant's traffic lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// In the shared database: HitKeep up to 2.12.
    Joined,
    /// In a database of its own, like every other tenant's: HitKeep 2.13 and later.
    Split,
}

/// A site as the shared database knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Its id.
    pub id: SiteId,
    /// Its domain.
    pub domain: String,
    /// The tenant that has it; nothing where none is named, which means the default one.
    pub tenant: Option<TenantId>,
    /// How many days its rows are kept; nothing means for ever.
    pub retention_days: Option<u32>,
}

/// Returns the database that holds a tenant's traffic.
#[must_use]
pub fn traffic_database(tenant: &Tenant, layout: Layout) -> DatabaseId {
    match layout {
        Layout::Joined if tenant.is_default => DatabaseId::Shared,
        _ => DatabaseId::Tenant(tenant.id),
    }
}

/// Returns every database that a whole backup of the installation holds, the shared one first.
///
/// Archived tenants are left out, as HitKeep's own backup leaves them out.
#[must_use]
pub fn expected_databases(tenants: &[Tenant], layout: Layout) -> Vec<DatabaseId> {
    let has_own_file = |tenant: &&Tenant| !tenant.is_archived && (layout == Layout::Split || !tenant.is_default);
    let tenants = tenants.iter().filter(has_own_file).map(|tenant| DatabaseId::Tenant(tenant.id));
    std::iter::once(DatabaseId::Shared).chain(tenants).collect()
}

/// Returns where a database lies, given the shared database's path and the data path.
#[must_use]
pub fn database_path(shared: &Path, data_path: &Path, database: DatabaseId) -> PathBuf {
    match database {
        DatabaseId::Shared => shared.to_owned(),
        DatabaseId::Tenant(id) => tenants_path(data_path).join(id.to_string()).join(DATABASE_FILE),
    }
}

/// Returns the folder that holds one folder per tenant.
#[must_use]
pub fn tenants_path(data_path: &Path) -> PathBuf {
    data_path.join("tenants")
}

/// Returns the files that may lie beside a database and belong to it: its write-ahead logs.
#[must_use]
pub fn companions(database: &Path) -> [PathBuf; 2] {
    LOG_ENDINGS.map(|ending| with_ending(database, ending))
}

/// Returns the database that a file of this name is a write-ahead log of; nothing where the name is not that of a log.
#[must_use]
pub fn database_of(log: &Path) -> Option<PathBuf> {
    let name = log.as_os_str().as_bytes();
    let stem = LOG_ENDINGS.iter().find_map(|ending| name.strip_suffix(ending.as_bytes()))?;
    Some(PathBuf::from(OsStr::from_bytes(stem)))
}

/// Returns the name under which HitKeep and this program set an old database aside before a restore.
#[must_use]
pub fn aside_path(path: &Path, moment: SnapshotId) -> PathBuf {
    with_ending(&aside_beginning(path), &moment.to_string())
}

/// Returns what the names of everything that was set aside of a database begin with.
#[must_use]
pub fn aside_beginning(path: &Path) -> PathBuf {
    with_ending(path, ".pre-restore.")
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    PathBuf::from(name)
}

/// Returns the folder of one database's snapshots relative to a backup prefix, as HitKeep names it.
#[must_use]
pub fn snapshots_folder(database: DatabaseId) -> Prefix {
    Prefix::of(match database {
        DatabaseId::Shared => "shared".to_owned(),
        DatabaseId::Tenant(id) => format!("tenants/{id}"),
    })
}

/// Returns the folder relative to a backup prefix that holds one folder of snapshots per tenant.
#[must_use]
pub fn tenants_folder() -> Prefix {
    Prefix::of("tenants".to_owned())
}

/// Returns the folder of one snapshot relative to a backup prefix, as HitKeep names it.
#[must_use]
pub fn snapshot_folder(database: DatabaseId, snapshot: SnapshotId) -> Prefix {
    Prefix::of(format!("{}/{snapshot}", snapshots_folder(database)))
}

/// The file of a snapshot that creates its tables, views, macros and indexes.
pub const SCHEMA_FILE: &str = "schema.sql";

/// The file of a snapshot that names its data files; DuckDB writes it last, so it marks a finished export.
pub const LOAD_FILE: &str = "load.sql";

/// The bytes that every Parquet file ends with.
pub const PARQUET_END: &[u8] = b"PAR1";

/// The size of the smallest Parquet file, in bytes: both magic words and the length of the footer between them.
pub const PARQUET_SMALLEST: u64 = 12;

/// Returns the key of [`LOAD_FILE`] inside a snapshot's folder.
#[must_use]
pub fn load_key() -> Key {
    Key::of(LOAD_FILE.to_owned())
}

/// Where an object below a backup prefix belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Belongs {
    /// A file of a snapshot: `shared/<snapshot>/<file>`.
    Snapshot(DatabaseId, SnapshotId, String),
    /// A plain file beside snapshots: `shared/<file>`, such as a manifest.
    Beside(DatabaseId, String),
    /// None of HitKeep's places.
    Elsewhere,
}

/// Tells where an object lies, from its key relative to the backup prefix.
#[must_use]
pub fn place(key: &str) -> Belongs {
    let parts: Vec<&str> = key.split('/').collect();
    let (database, rest) = match parts.as_slice() {
        ["shared", rest @ ..] => (DatabaseId::Shared, rest),
        ["tenants", tenant, rest @ ..] => match tenant.parse() {
            Ok(id) => (DatabaseId::Tenant(id), rest),
            Err(_) => return Belongs::Elsewhere,
        },
        _ => return Belongs::Elsewhere,
    };
    match rest {
        [file] => Belongs::Beside(database, (*file).to_owned()),
        [snapshot, file @ ..] => match snapshot.parse() {
            Ok(snapshot) => Belongs::Snapshot(database, snapshot, file.join("/")),
            Err(_) => Belongs::Elsewhere,
        },
        [] => Belongs::Elsewhere,
    }
}

/// Returns the last part of a path in a `load.sql`.
///
/// DuckDB's own IMPORT ignores the folders before it too, so that a snapshot can be moved.
#[must_use]
pub fn base_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// Returns the key of an archive relative to the archive's folder, as HitKeep names it; `unix` is in seconds.
///
/// In a directory the default tenant's archives lie flat; in a bucket every tenant's has folders.
#[must_use]
pub fn archive_key(tenant: TenantId, site: SiteId, unix: i64, is_flat: bool) -> Key {
    let file = format!("site_{site}_{unix}.parquet");
    Key::of(if is_flat { file } else { format!("tenants/{tenant}/sites/{site}/{file}") })
}

/// Returns the second in the name of an archive, where it is one of a site.
#[must_use]
pub fn archive_second(key: &str) -> Option<i64> {
    let name = key.rsplit('/').next()?.strip_prefix("site_")?.strip_suffix(".parquet")?;
    name.rsplit_once('_')?.1.parse().ok()
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type, in DuckDB's words.
    pub data_type: String,
}

/// What says when a row happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeColumn {
    /// The column's name.
    pub name: String,
    /// What kind of value it holds.
    pub form: TimeForm,
    /// How much time a row stands for from there on: it is past when all of it is.
    pub span: RowSpan,
}

/// The kinds of values that say when a row happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeForm {
    /// `TIMESTAMP WITH TIME ZONE`.
    Instant,
    /// `TIMESTAMP`, which HitKeep writes in UTC.
    Clock,
    /// `DATE`, in UTC.
    Date,
}

/// How much time a row stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowSpan {
    /// None: it is an event.
    Event,
    /// The hour that begins there.
    Hour,
    /// The day that begins there.
    Day,
    /// The month that begins there.
    Month,
}

/// The columns that say when a row happened, the first one that a table has being the one.
///
/// Other times of HitKeep's tables (`created_at`, `expires_at`, `token_expiry`) say when a row was written or ends.
const TIME_COLUMNS: [&str; 9] = ["timestamp", "date", "bucket", "time", "ts", "day", "hour", "week", "month"];

/// Tables that have such a column and hold no rows of a site by time all the same, and why.
const NO_ROWS_BY_TIME: [(&str, &str); 2] = [
    ("rollup_dirty_buckets", "it lists what HitKeep has yet to add up"),
    ("site_activity_hourly_counts", "HitKeep keeps it with the site, and not with its traffic"),
];

/// Tells from a table's columns whether it holds rows of a site by time, and in which column the time is.
///
/// # Errors
/// When it is about sites and times and is left out all the same, with the reason.
pub fn rows_by_time(table: &str, columns: &[Column]) -> Result<Option<TimeColumn>, String> {
    let times: Vec<(&str, TimeForm)> =
        columns.iter().filter_map(|column| Some((column.name.as_str(), time_form(&column.data_type)?))).collect();
    if times.is_empty() || !columns.iter().any(|column| column.name == "site_id") {
        return Ok(None);
    }
    if let Some((_, why)) = NO_ROWS_BY_TIME.iter().find(|(name, _)| *name == table) {
        return Err((*why).to_owned());
    }
    let chosen = TIME_COLUMNS.iter().find_map(|name| times.iter().find(|(time, _)| time == name));
    let Some((name, form)) = chosen else {
        let names: Vec<String> = times.iter().map(|(name, _)| format!("`{name}`")).collect();
        return Err(format!("none of its times says when a row happened: {}", names.join(", ")));
    };
    Ok(Some(TimeColumn { name: (*name).to_owned(), form: *form, span: row_span(table, *form) }))
}

fn time_form(data_type: &str) -> Option<TimeForm> {
    match data_type {
        "TIMESTAMP WITH TIME ZONE" => Some(TimeForm::Instant),
        "DATE" => Some(TimeForm::Date),
        "TIMESTAMP" | "TIMESTAMP_S" | "TIMESTAMP_MS" | "TIMESTAMP_NS" => Some(TimeForm::Clock),
        _ => None,
    }
}

fn row_span(table: &str, form: TimeForm) -> RowSpan {
    match table.rsplit('_').next() {
        Some("hourly") => RowSpan::Hour,
        Some("daily") => RowSpan::Day,
        Some("monthly") => RowSpan::Month,
        _ if form == TimeForm::Date => RowSpan::Day,
        _ => RowSpan::Event,
    }
}

/// The tables of HitKeep's own archives in their order there.
const ARCHIVE_ORDER: [&str; 11] = [
    "hits",
    "events",
    "web_vitals",
    "ai_fetches",
    "qr_code_opens",
    "imported_traffic_daily",
    "imported_dimension_daily",
    "imported_event_daily",
    "imported_event_dimensions_daily",
    "imported_event_properties_daily",
    "search_console_facts",
];

/// Returns where a table stands in an archive: as in HitKeep's own, others behind.
#[must_use]
pub fn archive_rank(table: &str) -> usize {
    ARCHIVE_ORDER.iter().position(|known| *known == table).unwrap_or(ARCHIVE_ORDER.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(number: u128, is_default: bool, is_archived: bool) -> Tenant {
        let id = format!("00000000-0000-4000-8000-{number:012}").parse().unwrap_or_else(|e| panic!("{e}"));
        Tenant { id, name: format!("tenant {number}"), is_default, is_archived, has_sites: true }
    }

    #[test]
    fn both_generations_of_layout_name_the_databases_to_back_up() {
        let tenants = [tenant(1, true, false), tenant(2, false, false), tenant(3, false, true)];
        let names = |layout| {
            expected_databases(&tenants, layout)
                .iter()
                .map(|id| id.to_string().split('0').next_back().map(str::to_owned))
                .collect::<Vec<_>>()
        };
        assert_eq!(names(Layout::Joined), [Some("shared".into()), Some("2".into())]);
        assert_eq!(names(Layout::Split), [Some("shared".into()), Some("1".into()), Some("2".into())]);
    }

    #[test]
    fn keys_are_told_apart() {
        let id: SnapshotId = "2026-03-08T120000Z".parse().unwrap_or_else(|e| panic!("{e}"));
        let shared = DatabaseId::Shared;
        assert_eq!(
            place("shared/2026-03-08T120000Z/hits.parquet"),
            Belongs::Snapshot(shared, id, "hits.parquet".into())
        );
        assert_eq!(
            place("shared/2026-03-08T120000Z.manifest.json"),
            Belongs::Beside(shared, "2026-03-08T120000Z.manifest.json".into())
        );
        for elsewhere in ["", "runs/x.json", "shared", "shared/tmp-1/x", "tenants/nobody/2026-03-08T120000Z/x"] {
            assert_eq!(place(elsewhere), Belongs::Elsewhere, "{elsewhere}");
        }
    }
}
