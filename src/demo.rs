//! A made-up HitKeep installation on disk: something to try a plan on, and what the tests are built upon.
//!
//! The tables are HitKeep's own, with their keys and defaults; the year of traffic in them is drawn from a seed.
//! The same [`Demo`] gives the same rows on every machine: nothing is drawn from the clock or from the engine's own
//! hashes. The files are written in the storage version that HitKeep's engine reads. Every secret in them is made
//! up and says so.

pub mod live;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use duckdb::types::Type;
use duckdb::{Config, Connection, Row};
use jiff::Timestamp;

pub use crate::hitkeep::Layout;
use crate::hitkeep::{DATABASE_FILE, database_path, tenants_path};
use crate::measure::Bytes;
use crate::name::{DatabaseId, NameError, TenantId};

/// How much may be held in memory while an installation is made; beyond it the engine spills to disk.
const MEMORY: Bytes = Bytes(1 << 30);
/// How much an index takes for each page view while it is built, which is never spilled. It is more than [`MEMORY`] only
/// above ten million.
const MEMORY_PER_HIT: u64 = 100;
/// Sessions per batch, three hits each: bounds the rows held in memory at once.
const BATCH: usize = 100_000;
/// Up to this many hits the files have blocks of 16 KiB, a tenth of the size and faster to make; above it they
/// have the engine's usual blocks of 256 KiB, as HitKeep's files do.
const SMALL: u64 = 10_000;
/// Percent of the hits that go to the tenant of each ordinal; what rounding leaves goes to the default tenant.
const SHARES: [u64; 4] = [50, 30, 15, 5];
/// The age of the installation when its traffic stops, 400 days, in microseconds.
const AGE: i64 = 400 * 86_400_000_000;

/// The scripts, each in the order of its statements; its first lines say which variables it reads.
mod script {
    pub(super) const WORDS: &str = include_str!("demo/words.sql");
    pub(super) const PEOPLE: &str = include_str!("demo/people.sql");

    pub(super) const SHARED: &str = include_str!("demo/shared.sql");
    pub(super) const TENANT: &str = include_str!("demo/tenant.sql");
    pub(super) const ANALYTICS: &str = include_str!("demo/analytics.sql");
    pub(super) const MACROS: &str = include_str!("demo/macros.sql");
    pub(super) const VIEW: &str = include_str!("demo/view.sql");
    pub(super) const SPLIT: &str = include_str!("demo/split.sql");

    pub(super) const CONTROL: &str = include_str!("demo/control.sql");
    pub(super) const MIRROR: &str = include_str!("demo/mirror.sql");
    pub(super) const AROUND: &str = include_str!("demo/around.sql");
    pub(super) const CALENDAR: &str = include_str!("demo/calendar.sql");
    pub(super) const BATCH: &str = include_str!("demo/batch.sql");
    pub(super) const SUMS: &str = include_str!("demo/sums.sql");
    pub(super) const ACTIVITY: &str = include_str!("demo/activity.sql");

    pub(super) const ANALYTICS_INDEXES: &str = include_str!("demo/analytics_indexes.sql");
    pub(super) const CONTROL_INDEXES: &str = include_str!("demo/control_indexes.sql");
}

/// What kind of installation to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demo {
    /// The page views of all tenants together; sessions, events and the rest are in proportion.
    pub hits: u64,
    /// What everything is drawn from: another seed, other ids and other traffic.
    pub seed: u64,
    /// Where the default tenant's traffic lies.
    pub layout: Layout,
    /// When the traffic stops; the 365 days before are filled.
    pub until: Timestamp,
}

/// An installation that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// The shared database's file.
    pub shared: PathBuf,
    /// The tenants in order of age, the default one first: id, name, and whether it is archived.
    pub tenants: Vec<(TenantId, String, bool)>,
    /// The databases: the shared one first, then the tenants' in order of age.
    pub databases: Vec<Database>,
}

/// One database of an installation that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// Which of the installation's databases it is.
    pub id: DatabaseId,
    /// Its file.
    pub path: PathBuf,
    /// The size of its file.
    pub size: Bytes,
    /// The rows of each of its tables.
    pub rows: BTreeMap<String, u64>,
}

impl Database {
    /// Returns the rows of all its tables together.
    #[must_use]
    pub fn total_rows(&self) -> u64 {
        self.rows.values().sum()
    }
}

/// Why an installation could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// Something is where the installation would go.
    #[error("`{0}` is already there; a demo is made only where there is no installation yet")]
    Occupied(PathBuf),
    /// The engine takes paths as text.
    #[error("the path `{0}` is not UTF-8")]
    NotText(PathBuf),
    /// A folder or a file could not be made.
    #[error("cannot make `{path}`: {source}")]
    Io {
        /// What could not be made.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The engine refused a statement.
    #[error("the demo's tables: {0}")]
    Engine(#[from] duckdb::Error),
    /// The process that stands for HitKeep could not be had.
    #[error("cannot {doing} `{path}`: {source}")]
    Server {
        /// The verb.
        doing: &'static str,
        /// What could not be had.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The process that stands for HitKeep ended early.
    #[error("the process that stands for HitKeep has ended by itself")]
    ServerEnded,
    /// A restored database holds half a transaction, or one without those before it.
    #[error("`{0}` holds a part of what was written, and not what was written before it")]
    Torn(PathBuf),
}

impl Demo {
    /// Returns the usual demo: 50 000 hits in the year before `until`, seed 42, the layout of HitKeep up to 2.12.
    #[must_use]
    pub fn new(until: Timestamp) -> Self {
        Self { hits: 50_000, seed: 42, layout: Layout::Joined, until }
    }

    /// Makes the installation below `data_path`, which is made too where it is missing.
    ///
    /// Folders get the mode 0700 and files 0600. No write-ahead log is left.
    ///
    /// # Errors
    /// When `hitkeep.db` or `tenants` is already there, when a folder cannot be made, or when the engine cannot
    /// write. What had been made by then stays.
    pub fn build(&self, data_path: &Path) -> Result<Installation, DemoError> {
        let shared = data_path.join(DATABASE_FILE);
        refuse_occupied([&shared, &tenants_path(data_path)])?;
        make_folder(data_path)?;

        let engine = self.open_engine(data_path)?;
        let tenants = read_tenants(&engine)?;
        let mut databases = Vec::with_capacity(tenants.len() + 1);
        for (ordinal, (tenant, _, _)) in tenants.iter().enumerate().skip(self.joined_tenants()) {
            let id = DatabaseId::Tenant(*tenant);
            let fill = || self.fill_tenant(&engine, ordinal);
            databases.push(self.make_database(&engine, id, database_path(&shared, data_path, id), fill)?);
        }
        // Last, because it tells how active every tenant was.
        let fill = || self.fill_shared(&engine);
        databases.insert(0, self.make_database(&engine, DatabaseId::Shared, shared.clone(), fill)?);
        Ok(Installation { shared, tenants, databases })
    }

    /// Opens an engine that knows this demo's variables, words and people, and spills into `data_path`.
    fn open_engine(&self, data_path: &Path) -> Result<Connection, DemoError> {
        let config = Config::default()
            .enable_autoload_extension(false)?
            .max_memory(&format!("{}B", MEMORY.0.max(self.hits * MEMORY_PER_HIT)))?
            .with("temp_directory", text(&data_path.join(".demo-spill"))?)?;
        let engine = Connection::open_in_memory_with_flags(config)?;
        if self.is_small() {
            // There is nothing to share out, and tests make many of these at once.
            engine.execute_batch("SET threads = 1;")?;
        }
        let until = self.until.as_microsecond();
        engine.execute_batch(&format!("SET VARIABLE seed = '{}';", self.seed))?;
        set(&engine, "until", until)?;
        set(&engine, "founded", until - AGE)?;
        run(&engine, &[script::WORDS, script::PEOPLE])?;
        Ok(engine)
    }

    /// Makes one database: attaches its file, has `fill` fill it, and measures what came of it.
    fn make_database(
        &self,
        engine: &Connection,
        id: DatabaseId,
        path: PathBuf,
        fill: impl FnOnce() -> Result<(), DemoError>,
    ) -> Result<Database, DemoError> {
        path.parent().map_or(Ok(()), make_folder)?;
        let quoted = text(&path)?.replace('\'', "''");
        let blocks = if self.is_small() { 16_384 } else { 262_144 };
        let attach =
            format!("ATTACH '{quoted}' AS demo (STORAGE_VERSION 'v1.0.0', BLOCK_SIZE {blocks}); USE demo; BEGIN;");
        engine.execute_batch(&attach)?;
        fill()?;
        engine.execute_batch("COMMIT; FORCE CHECKPOINT demo;")?;
        let rows = count_rows(engine)?;
        engine.execute_batch("USE memory; DETACH demo;")?;
        let size = seal_file(&path)?;
        Ok(Database { id, path, size, rows })
    }

    fn fill_tenant(&self, engine: &Connection, ordinal: usize) -> Result<(), DemoError> {
        set(engine, "tenant", ordinal)?;
        run(engine, &[script::TENANT, script::ANALYTICS, script::MACROS, script::MIRROR])?;
        self.fill_traffic(engine, ordinal)?;
        run(engine, &[script::ANALYTICS_INDEXES])
    }

    fn fill_shared(&self, engine: &Connection) -> Result<(), DemoError> {
        run(engine, &[script::SHARED, script::ANALYTICS, script::MACROS, script::VIEW])?;
        run(engine, &[script::CONTROL])?;
        match self.layout {
            Layout::Joined => self.fill_traffic(engine, 0)?,
            Layout::Split => run(engine, &[script::SPLIT])?,
        }
        run(engine, &[script::ACTIVITY, script::ANALYTICS_INDEXES, script::CONTROL_INDEXES])
    }

    /// Fills the traffic tables of the database in use, batch by batch in order of time, and sums them up.
    fn fill_traffic(&self, engine: &Connection, ordinal: usize) -> Result<(), DemoError> {
        let hits = self.hits_of(ordinal);
        // Five sessions have fifteen hits; the last of them are cut off.
        let sessions = hits.div_ceil(15) * 5;
        set(engine, "tenant", ordinal)?;
        set(engine, "hits", hits)?;
        set(engine, "sessions", sessions)?;
        run(engine, &[script::AROUND, script::CALENDAR])?;
        for first in (0..sessions).step_by(BATCH) {
            if first > 0 {
                engine.execute_batch("COMMIT; BEGIN;")?;
            }
            set(engine, "first", first)?;
            set(engine, "beyond", sessions.min(first + BATCH as u64))?;
            run(engine, &[script::BATCH])?;
        }
        run(engine, &[script::SUMS])
    }

    fn is_small(&self) -> bool {
        self.hits <= SMALL
    }

    /// Returns how many tenants have no database of their own.
    fn joined_tenants(&self) -> usize {
        match self.layout {
            Layout::Joined => 1,
            Layout::Split => 0,
        }
    }

    fn hits_of(&self, ordinal: usize) -> u64 {
        let part = |ordinal: usize| self.hits / 100 * SHARES[ordinal] + self.hits % 100 * SHARES[ordinal] / 100;
        match ordinal {
            0 => self.hits - (1..SHARES.len()).map(part).sum::<u64>(),
            other => part(other),
        }
    }
}

fn refuse_occupied(paths: [&Path; 2]) -> Result<(), DemoError> {
    match paths.into_iter().find(|path| path.symlink_metadata().is_ok()) {
        Some(path) => Err(DemoError::Occupied(path.to_owned())),
        None => Ok(()),
    }
}

fn make_folder(path: &Path) -> Result<(), DemoError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| DemoError::Io { path: path.to_owned(), source })
}

/// Takes everyone else's rights to a file away, and returns its size.
fn seal_file(path: &Path) -> Result<Bytes, DemoError> {
    let sealed = fs::set_permissions(path, Permissions::from_mode(0o600)).and_then(|()| fs::metadata(path));
    sealed.map(|file| Bytes(file.len())).map_err(|source| DemoError::Io { path: path.to_owned(), source })
}

fn text(path: &Path) -> Result<&str, DemoError> {
    path.to_str().ok_or_else(|| DemoError::NotText(path.to_owned()))
}

/// Reads the tenants that the scripts made up.
fn read_tenants(engine: &Connection) -> Result<Vec<(TenantId, String, bool)>, DemoError> {
    let mut query = engine.prepare("SELECT id::VARCHAR, name, archived FROM demo_tenant ORDER BY ordinal")?;
    let tenants = query.query_map([], |row| Ok((read_tenant_id(row)?, row.get(1)?, row.get(2)?)))?;
    Ok(tenants.collect::<Result<_, _>>()?)
}

fn read_tenant_id(row: &Row<'_>) -> Result<TenantId, duckdb::Error> {
    let id: String = row.get(0)?;
    id.parse().map_err(|refused| duckdb::Error::FromSqlConversionFailure(0, Type::Text, Box::<NameError>::new(refused)))
}

/// Counts the rows of each table. The engine's estimate is exact as long as nothing was deleted.
fn count_rows(engine: &Connection) -> Result<BTreeMap<String, u64>, DemoError> {
    let mut query =
        engine.prepare("SELECT table_name, estimated_size FROM duckdb_tables() WHERE database_name = 'demo'")?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Sets a number that the scripts read with `getvariable`.
fn set(engine: &Connection, name: &str, value: impl Display) -> Result<(), DemoError> {
    Ok(engine.execute_batch(&format!("SET VARIABLE {name} = {value}::BIGINT;"))?)
}

fn run(engine: &Connection, scripts: &[&str]) -> Result<(), DemoError> {
    Ok(scripts.iter().try_for_each(|script| engine.execute_batch(script))?)
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    type Outcome = Result<(), Box<dyn Error>>;

    const UNTIL: &str = "2026-06-25T00:00:00Z";

    fn small(layout: Layout) -> Result<Demo, Box<dyn Error>> {
        Ok(Demo { hits: 300, layout, ..Demo::new(UNTIL.parse()?) })
    }

    /// Returns, for each table with rows, a digest of them that does not depend on their order.
    fn digests(path: &Path, tables: &BTreeMap<String, u64>) -> Result<BTreeMap<String, String>, Box<dyn Error>> {
        let engine = Connection::open_in_memory()?;
        engine.execute_batch(&format!("ATTACH '{}' AS made (READ_ONLY); USE made;", path.display()))?;
        let digest = |table: &String| {
            let query = format!("SELECT concat(count(*), ' ', bit_xor(md5_number(t::VARCHAR))) FROM \"{table}\" AS t");
            Ok((table.clone(), engine.query_row(&query, [], |row| row.get(0))?))
        };
        tables.keys().map(digest).collect()
    }

    #[test]
    fn an_installation_is_laid_out_as_hitkeep_lays_it_out() -> Outcome {
        for (layout, own) in [(Layout::Joined, 3), (Layout::Split, 4)] {
            let folder = tempfile::tempdir()?;
            let made = small(layout)?.build(&folder.path().join("data"))?;

            let names: Vec<_> = made.tenants.iter().map(|(_, name, archived)| (name.as_str(), *archived)).collect();
            assert_eq!(
                names,
                [
                    ("Default Tenant", false),
                    ("Acme Analytics", false),
                    ("Northwind Studio", false),
                    ("Retired Project", true)
                ]
            );
            assert_eq!(made.databases.len(), 1 + own);
            assert_eq!(made.databases[0].rows.len(), if layout == Layout::Split { 69 } else { 68 });
            assert!(made.databases[1..].iter().all(|tenant| tenant.rows.len() == 28));
            assert_eq!(made.databases.iter().map(|database| database.rows["hits"]).sum::<u64>(), 300);
            for database in &made.databases {
                let beside: Vec<_> = fs::read_dir(database.path.parent().ok_or("no folder")?)?
                    .map(|entry| entry.map(|entry| entry.file_name()))
                    .filter(|name| !name.as_ref().is_ok_and(|name| name == "tenants"))
                    .collect::<Result<_, _>>()?;
                assert_eq!(beside, ["hitkeep.db"]);
                assert_eq!(fs::metadata(&database.path)?.permissions().mode() & 0o777, 0o600);
            }
        }
        Ok(())
    }

    #[test]
    fn the_same_demo_has_the_same_rows() -> Outcome {
        let folder = tempfile::tempdir()?;
        let demo = small(Layout::Joined)?;
        let all = |name: &str, demo: Demo| -> Result<Vec<_>, Box<dyn Error>> {
            let made = demo.build(&folder.path().join(name))?;
            made.databases.iter().map(|database| digests(&database.path, &database.rows)).collect()
        };
        let first = all("first", demo)?;
        assert_eq!(first, all("again", demo)?);
        assert_ne!(first, all("other", Demo { seed: 43, ..demo })?);
        Ok(())
    }

    #[test]
    fn a_layout_moves_the_default_tenants_traffic_and_nothing_else() -> Outcome {
        let folder = tempfile::tempdir()?;
        let joined = small(Layout::Joined)?.build(&folder.path().join("joined"))?;
        let split = small(Layout::Split)?.build(&folder.path().join("split"))?;
        let traffic = BTreeMap::from([("hits".to_owned(), 0), ("events".to_owned(), 0), ("goals".to_owned(), 0)]);
        assert_eq!(joined.tenants, split.tenants);
        assert_eq!(digests(&joined.shared, &traffic)?, digests(&split.databases[1].path, &traffic)?);
        assert_eq!(split.databases[0].rows["hits"], 0);
        Ok(())
    }

    #[test]
    fn the_rows_reported_are_the_rows_there() -> Outcome {
        let folder = tempfile::tempdir()?;
        let made = small(Layout::Joined)?.build(folder.path())?;
        let engine = Connection::open_in_memory()?;
        engine.execute_batch(&format!("ATTACH '{}' AS made (READ_ONLY); USE made;", made.shared.display()))?;
        for (table, rows) in &made.databases[0].rows {
            let counted: u64 = engine.query_row(&format!("SELECT count(*) FROM \"{table}\""), [], |row| row.get(0))?;
            assert_eq!((table, counted), (table, *rows));
        }
        let late: u64 = engine.query_row(
            &format!("SELECT count(*) FROM hits WHERE \"timestamp\" >= TIMESTAMPTZ '{UNTIL}'"),
            [],
            |row| row.get(0),
        )?;
        assert_eq!(late, 0, "traffic after the moment it was to stop at");
        Ok(())
    }

    #[test]
    fn an_installation_is_never_written_over() -> Outcome {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("hitkeep.db"), "someone's")?;
        let refused = small(Layout::Joined)?.build(folder.path());
        assert!(matches!(refused, Err(DemoError::Occupied(path)) if path == folder.path().join("hitkeep.db")));
        assert_eq!(fs::read(folder.path().join("hitkeep.db"))?, b"someone's");
        Ok(())
    }

    #[test]
    fn few_hits_and_odd_folders_will_do() -> Outcome {
        for hits in [0, 1, 7] {
            let folder = tempfile::tempdir()?;
            let made = Demo { hits, ..small(Layout::Split)? }.build(&folder.path().join("it's a \"demo\", ümläut"))?;
            assert_eq!(made.databases.iter().map(|database| database.rows["hits"]).sum::<u64>(), hits);
        }
        Ok(())
    }
}
