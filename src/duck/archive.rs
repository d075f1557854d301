//! Rows that are past become Parquet, each proven to be in it; and are deleted where they were, when that is wanted.
//!
//! Which tables hold rows of a site by time is read from the schema. What is past is chosen by one exact bound for each
//! table and site, for selecting and for deleting alike. Rows are counted and compared by a digest of all their values,
//! for each table, site and month. Times are in UTC: the engine has no time zones built in.

mod cover;
mod insert;
mod reread;
mod table;

pub use cover::{Found, Held, Sources, cover, table_names};
pub use insert::{AtHand, Returned, insert};
pub use reread::reread;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::{Database, DuckError, Session, identifier, literal, quoted};
use crate::hitkeep;
use crate::measure::Content;
use crate::name::{Month, SiteId, TenantId};
use crate::record::{self, ArchiveLayout, ArchivedFile, ColumnRecord, Ledger, LeftOut, PartId};
use reread::columns_of_file;
use table::{Table, measure, measure_all, rows_of_file, tables};

const ALIAS: &str = "hitkeep_plan_source";

/// How many rows of a file a query engine can skip together.
const ROW_GROUP: u64 = 122_880;

/// A site whose rows are archived, and from when on they are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The site.
    pub site: SiteId,
    /// Its tenant.
    pub tenant: TenantId,
    /// What happened before is past.
    pub cutoff: Timestamp,
}

/// What is to be archived of a database.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The sites.
    pub cuts: Vec<Cut>,
    /// Where rows lie.
    pub layout: ArchiveLayout,
    /// The second that files are named by.
    pub unix: i64,
    /// What is archived already.
    pub ledger: Ledger,
}

/// What came of archiving a database.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// These archived files must be at hand first, to tell which rows are in them: some of a month are, and some not.
    Needs(BTreeSet<ArchivedFile>),
    /// Everything that is past is in these files, or was archived before.
    Done(Extract),
}

/// The rows of a database that are past, as files.
#[derive(Clone, Debug, Default)]
pub struct Extract {
    /// The engine's version.
    pub engine: String,
    /// The files that were written.
    pub files: Vec<Written>,
    /// Every row that is past and was found, archived before or now.
    pub live: BTreeMap<PartId, Content>,
    /// The tables that hold such rows, each with its columns.
    pub schemas: BTreeMap<String, Vec<ColumnRecord>>,
    /// The parts of it of which rows were archived before.
    pub archived: BTreeSet<PartId>,
    /// The tables that have sites and times and are left out.
    pub left_out: BTreeSet<LeftOut>,
}

/// A file that was written.
#[derive(Clone, Debug)]
pub struct Written {
    /// Its name, in the layout's folders.
    pub path: String,
    /// The site and its tenant.
    pub cut: Cut,
    /// What is in it, as it was read back.
    pub parts: BTreeMap<PartId, Content>,
}

/// Writes every row of a database that is past, and not archived yet, into the folder `into`, and proves that each is
/// there. `fetched` finds an archived file that is at hand.
///
/// # Errors
/// When the database cannot be read, the folder cannot be written, or a file does not hold what it should.
pub fn extract(
    session: &Session,
    database: &Database,
    wanted: &Wanted,
    into: &Path,
    fetched: &dyn Fn(&ArchivedFile) -> Option<PathBuf>,
) -> Result<Outcome, DuckError> {
    session.attach_database(database, ALIAS)?;
    session.run("beginning a transaction", &format!("USE {ALIAS}; BEGIN TRANSACTION READ ONLY"))?;
    let done = Extraction::begin(session, wanted, into).and_then(|mut extraction| extraction.carry_out(fetched));
    session.run("ending the transaction", &format!("ROLLBACK; USE memory; DETACH {ALIAS}"))?;
    done
}

/// Deletes every row of the database at `path` that is past, in one transaction, and returns how many there were.
///
/// What is past must be exactly `archived` when the transaction begins, and as many rows must go. The file keeps its storage
/// format: DuckDB 1.5.4 goes on with a file of its own that 2.0.0 has deleted from, also where a crash has left the log.
///
/// # Errors
/// When the database cannot be opened, or holds other rows than those; then nothing is deleted.
pub fn erase(
    session: &Session,
    path: &Path,
    cuts: &[Cut],
    archived: &BTreeMap<PartId, Content>,
) -> Result<u64, DuckError> {
    if !path.exists() {
        return Err(DuckError::Missing { path: path.to_owned() });
    }
    session.attach(path, ALIAS, "READ_WRITE")?;
    session.run("beginning a transaction", &format!("USE {ALIAS}; BEGIN TRANSACTION"))?;
    let erased = erase_within(session, cuts, archived);
    let end = if erased.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = session.run("ending the transaction", end);
    session.run("letting go of the database", &format!("USE memory; DETACH {ALIAS}"))?;
    ended.and(erased)
}

fn erase_within(session: &Session, cuts: &[Cut], archived: &BTreeMap<PartId, Content>) -> Result<u64, DuckError> {
    let (tables, _) = tables(session)?;
    let live = measure_all(session, &tables, cuts)?;
    if live != *archived {
        return Err(DuckError::Differs(
            "the rows that are past are not those that were archived: someone has written since; nothing is deleted"
                .to_owned(),
        ));
    }
    let mut erased = 0;
    for table in &tables {
        for cut in cuts {
            let of_it = |(id, _): &(&PartId, &Content)| id.site == cut.site && id.table == table.name;
            let expected: u64 = live.iter().filter(of_it).map(|(_, content)| content.rows).sum();
            if expected == 0 {
                continue;
            }
            let doing = format!("deleting from `{}`", table.name);
            let sql = format!("DELETE FROM {} WHERE {}", identifier(&table.name), table.past(cut));
            let deleted = session.connection.execute(&sql, []).map_err(|error| super::refused(&doing, &error))?;
            if deleted as u64 != expected {
                return Err(DuckError::Differs(format!(
                    "{deleted} rows of `{}` would be deleted and {expected} were archived: nothing is deleted",
                    table.name
                )));
            }
            erased += expected;
        }
    }
    Ok(erased)
}

/// What is done with the rows of one table and site.
#[derive(Default)]
struct Share {
    /// The months that are not archived at all.
    new: BTreeSet<Month>,
    /// The months of which some rows are archived.
    mixed: BTreeSet<Month>,
    /// The files that have them.
    files: BTreeSet<ArchivedFile>,
}

impl Share {
    fn is_empty(&self) -> bool {
        self.new.is_empty() && self.mixed.is_empty()
    }
}

/// A database on its way into files.
struct Extraction<'e> {
    session: &'e Session,
    wanted: &'e Wanted,
    into: &'e Path,
    tables: Vec<Table>,
    shares: BTreeMap<(SiteId, String), Share>,
    done: Extract,
}

impl<'e> Extraction<'e> {
    /// Measures what is past, and compares it with what is archived.
    fn begin(session: &'e Session, wanted: &'e Wanted, into: &'e Path) -> Result<Self, DuckError> {
        let (tables, left_out) = tables(session)?;
        let live = measure_all(session, &tables, &wanted.cuts)?;
        let engine: String = session.value("asking for the version", "SELECT version()")?;
        let archived = wanted.ledger.parts(&engine);
        let mut shares: BTreeMap<(SiteId, String), Share> = BTreeMap::new();
        let mut before = BTreeSet::new();
        for (id, content) in &live {
            let share = shares.entry((id.site, id.table.clone())).or_default();
            let Some((sum, files)) = archived.get(id) else {
                share.new.insert(id.month);
                continue;
            };
            before.insert(id.clone());
            if *sum != Some(*content) {
                share.mixed.insert(id.month);
                share.files.extend(files.iter().map(|file| (*file).clone()));
            }
        }
        shares.retain(|_, share| !share.is_empty());
        let schemas = tables.iter().map(|table| (table.name.clone(), table.record())).collect();
        let done = Extract { engine, live, schemas, archived: before, left_out, ..Extract::default() };
        Ok(Self { session, wanted, into, tables, shares, done })
    }

    fn carry_out(&mut self, fetched: &dyn Fn(&ArchivedFile) -> Option<PathBuf>) -> Result<Outcome, DuckError> {
        let files = self.shares.values().flat_map(|share| &share.files);
        let needs: BTreeSet<ArchivedFile> = files.filter(|file| fetched(file).is_none()).cloned().collect();
        if !needs.is_empty() {
            return Ok(Outcome::Needs(needs));
        }
        for cut in &self.wanted.cuts {
            match self.wanted.layout {
                ArchiveLayout::Hitkeep => self.write_site(cut, fetched)?,
                ArchiveLayout::Hive => self.write_months(cut, fetched)?,
            }
        }
        Ok(Outcome::Done(std::mem::take(&mut self.done)))
    }

    /// Writes the rows of a site into one file, as HitKeep does.
    fn write_site(&mut self, cut: &Cut, fetched: &dyn Fn(&ArchivedFile) -> Option<PathBuf>) -> Result<(), DuckError> {
        let (mut selects, mut expected) = (Vec::new(), BTreeMap::new());
        for table in &self.tables {
            let rows = match self.shares.get(&(cut.site, table.name.clone())) {
                Some(share) => {
                    let rows = unarchived(table, cut, share, fetched)?;
                    expected.extend(self.expect(table, cut, share, &rows)?);
                    rows
                }
                // Its columns are there all the same, as they are in HitKeep's archives.
                None => format!("SELECT {} FROM {} WHERE false", table.list(), identifier(&table.name)),
            };
            selects.push(format!("SELECT {} AS _source, * FROM ({rows})", literal(&table.name)));
        }
        expected.retain(|_, content: &mut Content| content.rows > 0);
        if expected.is_empty() {
            return Ok(());
        }
        let path = hitkeep::archive_key(cut.tenant, cut.site, self.wanted.unix, false).to_string();
        self.copy(&path, &selects.join(" UNION ALL BY NAME "), "COMPRESSION snappy")?;
        self.prove(path, cut, &expected)
    }

    /// Writes the rows of a site into one file for each table and month.
    fn write_months(&mut self, cut: &Cut, fetched: &dyn Fn(&ArchivedFile) -> Option<PathBuf>) -> Result<(), DuckError> {
        let mut files = Vec::new();
        for table in &self.tables {
            let Some(share) = self.shares.get(&(cut.site, table.name.clone())) else { continue };
            for month in share.new.union(&share.mixed) {
                let of_month =
                    |months: &BTreeSet<Month>| months.iter().filter(|other| *other == month).copied().collect();
                let one =
                    Share { new: of_month(&share.new), mixed: of_month(&share.mixed), files: share.files.clone() };
                let rows = unarchived(table, cut, &one, fetched)?;
                let mut expected = self.expect(table, cut, &one, &rows)?;
                expected.retain(|_, content| content.rows > 0);
                let Some(part) = expected.keys().next() else { continue };
                let path = record::hive_key(part, cut.tenant, self.wanted.unix).to_string();
                let sorted = format!("SELECT * FROM ({rows}) ORDER BY {}", identifier(&table.time.name));
                files.push((path, sorted, expected));
            }
        }
        for (path, rows, expected) in files {
            self.copy(&path, &rows, &format!("COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP}"))?;
            self.prove(path, cut, &expected)?;
        }
        Ok(())
    }

    /// Returns what the file of these rows must hold: of new months, what was measured already.
    fn expect(
        &self,
        table: &Table,
        cut: &Cut,
        share: &Share,
        rows: &str,
    ) -> Result<BTreeMap<PartId, Content>, DuckError> {
        if !share.mixed.is_empty() {
            return measure(self.session, table, cut.site, rows);
        }
        let id = |month: &Month| PartId { site: cut.site, table: table.name.clone(), month: *month };
        Ok(share.new.iter().map(id).filter_map(|id| Some((id.clone(), *self.done.live.get(&id)?))).collect())
    }

    fn copy(&self, path: &str, rows: &str, options: &str) -> Result<(), DuckError> {
        let file = self.into.join(path);
        let folder = file.parent().unwrap_or(self.into);
        std::fs::create_dir_all(folder).map_err(|cause| DuckError::File {
            doing: "make",
            path: folder.to_owned(),
            cause,
        })?;
        self.session.run("archiving", &format!("COPY ({rows}) TO {} (FORMAT parquet, {options})", quoted(&file)?))
    }

    /// Reads a file back, and compares it with what it must hold.
    fn prove(&mut self, path: String, cut: &Cut, expected: &BTreeMap<PartId, Content>) -> Result<(), DuckError> {
        let mut parts = BTreeMap::new();
        for table in self.tables.iter().filter(|table| expected.keys().any(|id| id.table == table.name)) {
            let rows = rows_of_file(table, self.wanted.layout, &self.into.join(&path))?;
            parts.extend(measure(self.session, table, cut.site, &rows)?);
        }
        let total = format!("SELECT count(*)::UBIGINT FROM read_parquet({})", quoted(&self.into.join(&path))?);
        let total: u64 = self.session.value("counting what was archived", &total)?;
        if parts != *expected || total != parts.values().map(|content| content.rows).sum::<u64>() {
            return Err(DuckError::Differs(format!("`{path}` does not hold the rows that it was written from")));
        }
        self.note_types(&path, &parts)?;
        self.done.files.push(Written { path, cut: *cut, parts });
        Ok(())
    }

    /// Notes which types the columns have in a file. They have the same in every file of this database.
    fn note_types(&mut self, path: &str, parts: &BTreeMap<PartId, Content>) -> Result<(), DuckError> {
        let types = columns_of_file(self.session, &self.into.join(path))?.into_iter();
        let types: BTreeMap<String, String> = types.map(|(name, stored)| (name.to_lowercase(), stored)).collect();
        let is_in_it =
            |table: &String| self.wanted.layout == ArchiveLayout::Hitkeep || parts.keys().any(|id| id.table == *table);
        for (_, columns) in self.done.schemas.iter_mut().filter(|(table, _)| is_in_it(table)) {
            for column in columns {
                column.stored = types.get(&column.name.to_lowercase()).cloned();
            }
        }
        Ok(())
    }
}

/// Returns the query of a site's rows that are past and not archived yet.
fn unarchived(
    table: &Table,
    cut: &Cut,
    share: &Share,
    fetched: &dyn Fn(&ArchivedFile) -> Option<PathBuf>,
) -> Result<String, DuckError> {
    let past = |months: &BTreeSet<Month>| {
        let from = identifier(&table.name);
        format!("SELECT {} FROM {from} WHERE {} AND {}", table.list(), table.past(cut), table.within(months))
    };
    let mut queries = Vec::new();
    if !share.new.is_empty() {
        queries.push(past(&share.new));
    }
    if !share.mixed.is_empty() {
        let is_of_it = |file: &&ArchivedFile| {
            file.site == cut.site
                && file.parts.iter().any(|part| part.table == table.name && share.mixed.contains(&part.month))
        };
        let archived = share.files.iter().filter(is_of_it).map(|file| {
            let path = fetched(file).unwrap_or_default();
            Ok(format!(
                "SELECT * FROM ({}) WHERE {}",
                rows_of_file(table, file.layout(), &path)?,
                table.within(&share.mixed)
            ))
        });
        let archived: Vec<String> = archived.collect::<Result<_, DuckError>>()?;
        queries.push(format!("(({}) EXCEPT ALL ({}))", past(&share.mixed), archived.join(" UNION ALL ")));
    }
    Ok(queries.join(" UNION ALL "))
}
