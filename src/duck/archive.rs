//! Rows that are past become Parquet, each proven to be in it; and are deleted where they were, when that is wanted.
//!
//! Which tables hold rows of a site by time is read from the schema. What is past is chosen by one exact bound for each
//! table and site, for selecting and for deleting alike. Rows are counted and compared by a digest of all their values,
//! for each table, site and month. Times are in UTC: the engine has no time zones built in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::{Database, DuckError, Session, identifier, literal, quoted};
use crate::hitkeep::{self, Column, RowSpan, TimeColumn, TimeForm};
use crate::measure::Content;
use crate::name::{Month, SiteId, TenantId};
use crate::record::{self, ArchiveLayout, ArchivedFile, Ledger, LeftOut, PartId};

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

/// A table that holds rows of a site by time.
struct Table {
    name: String,
    columns: Vec<Column>,
    time: TimeColumn,
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

/// Finds the tables that hold rows of a site by time, in the order of HitKeep's archives, and those that are left out.
fn tables(session: &Session) -> Result<(Vec<Table>, BTreeSet<LeftOut>), DuckError> {
    let sql = format!(
        "SELECT table_name, column_name, data_type FROM duckdb_columns() SEMI JOIN (SELECT table_oid FROM \
         duckdb_tables() WHERE database_name = {alias} AND schema_name = 'main') USING (table_oid) \
         WHERE database_name = {alias} ORDER BY table_name, column_index",
        alias = literal(ALIAS)
    );
    let listed: Vec<(String, String, String)> =
        session.rows("listing columns", &sql, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let mut columns: BTreeMap<String, Vec<Column>> = BTreeMap::new();
    for (table, name, data_type) in listed {
        columns.entry(table).or_default().push(Column { name, data_type });
    }
    let (mut tables, mut left_out) = (Vec::new(), BTreeSet::new());
    for (name, columns) in columns {
        match hitkeep::rows_by_time(&name, &columns) {
            Ok(Some(time)) => tables.push(Table { name, columns, time }),
            Ok(None) => {}
            Err(reason) => drop(left_out.insert(LeftOut { table: name, reason })),
        }
    }
    tables.sort_by_key(|table| hitkeep::archive_rank(&table.name));
    Ok((tables, left_out))
}

fn measure_all(session: &Session, tables: &[Table], cuts: &[Cut]) -> Result<BTreeMap<PartId, Content>, DuckError> {
    let mut parts = BTreeMap::new();
    for table in tables {
        for cut in cuts {
            let rows = format!("SELECT {} FROM {} WHERE {}", table.list(), identifier(&table.name), table.past(cut));
            parts.extend(measure(session, table, cut.site, &rows)?);
        }
    }
    Ok(parts)
}

/// Measures rows of one site, which a query gives with the table's columns, month by month.
fn measure(session: &Session, table: &Table, site: SiteId, rows: &str) -> Result<BTreeMap<PartId, Content>, DuckError> {
    let doing = format!("reading `{}`", table.name);
    let time = identifier(&table.time.name);
    // Hashes of 64 bits add up to less than 128.
    let sql = format!(
        "SELECT strftime(month, '%Y-%m'), count(*)::UBIGINT, sum(hash)::VARCHAR, bit_xor(hash)::UBIGINT FROM \
         (SELECT date_trunc('month', {time}::TIMESTAMP) AS month, hash({}) AS hash FROM ({rows})) GROUP BY month",
        table.list()
    );
    let read: Vec<(String, u64, String, u64)> =
        session.rows(&doing, &sql, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
    let part = |(month, rows, sum, xor): (String, u64, String, u64)| {
        let odd = |what: &str| DuckError::Differs(format!("{doing}: `{what}` cannot be read"));
        let month = month.parse().map_err(|_| odd(&month))?;
        let sum = sum.parse().map_err(|_| odd(&sum))?;
        Ok((PartId { site, table: table.name.clone(), month }, Content { rows, sum, xor }))
    };
    read.into_iter().map(part).collect()
}

impl Table {
    /// Lists its columns, as SQL.
    fn list(&self) -> String {
        self.columns.iter().map(|column| identifier(&column.name)).collect::<Vec<_>>().join(", ")
    }

    /// Lists its columns as they come out of a file: with the types that they have in the table.
    fn list_from_file(&self) -> String {
        let is_date = |column: &&Column| column.data_type == "DATE";
        let cast = |column: &Column| {
            let name = identifier(&column.name);
            // A date that shares its column with instants has become one, and the engine knows no way straight back.
            let value = if is_date(&column) { format!("{name}::TIMESTAMP") } else { name.clone() };
            format!("({value})::{} AS {name}", column.data_type)
        };
        self.columns.iter().map(cast).collect::<Vec<_>>().join(", ")
    }

    /// Returns the condition of a site's rows that are past.
    fn past(&self, cut: &Cut) -> String {
        format!(
            "site_id = '{}' AND {}",
            cut.site,
            self.between(DateTime::new(1, 1, 1, 0, 0, 0, 0).ok(), self.bound(cut.cutoff))
        )
    }

    /// Returns the condition of times from `from` on and before `to`, in UTC.
    fn between(&self, from: Option<DateTime>, to: DateTime) -> String {
        let time = identifier(&self.time.name);
        let text = |moment: DateTime| match self.time.form {
            TimeForm::Instant => format!("TIMESTAMPTZ '{}+00'", moment.strftime("%Y-%m-%d %H:%M:%S")),
            TimeForm::Clock => format!("TIMESTAMP '{}'", moment.strftime("%Y-%m-%d %H:%M:%S")),
            TimeForm::Date => format!("DATE '{}'", moment.strftime("%Y-%m-%d")),
        };
        let from = from.map(|from| format!("{time} >= {} AND ", text(from))).unwrap_or_default();
        format!("({from}{time} < {})", text(to))
    }

    /// Returns the moment before which a row has its time if all that it stands for is before `cutoff`.
    fn bound(&self, cutoff: Timestamp) -> DateTime {
        let moment = TimeZone::UTC.to_datetime(cutoff);
        let day = moment.date();
        let hour = DateTime::from_parts(
            day,
            moment.time().with().minute(0).second(0).subsec_nanosecond(0).build().unwrap_or(moment.time()),
        );
        match self.time.span {
            RowSpan::Event => moment,
            RowSpan::Hour => hour,
            RowSpan::Day => day.to_datetime(jiff::civil::Time::midnight()),
            RowSpan::Month => day.first_of_month().to_datetime(jiff::civil::Time::midnight()),
        }
    }

    /// Returns the condition of times in any of these months.
    fn within(&self, months: &BTreeSet<Month>) -> String {
        let mut runs: Vec<(Month, Month)> = Vec::new();
        for month in months {
            match runs.last_mut() {
                Some((_, end)) if *end == *month => *end = month.next(),
                _ => runs.push((*month, month.next())),
            }
        }
        let begin = |month: Month| month.first_day().to_datetime(jiff::civil::Time::midnight());
        let runs: Vec<String> = runs.into_iter().map(|(from, to)| self.between(Some(begin(from)), begin(to))).collect();
        if runs.is_empty() { "false".to_owned() } else { format!("({})", runs.join(" OR ")) }
    }
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
        let done = Extract { engine, live, archived: before, left_out, ..Extract::default() };
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
        self.done.files.push(Written { path, cut: *cut, parts });
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

/// Returns the query of a table's rows in an archived file, with the table's columns.
fn rows_of_file(table: &Table, layout: ArchiveLayout, path: &Path) -> Result<String, DuckError> {
    let file = format!("read_parquet({}, hive_partitioning = false)", quoted(path)?);
    let of_table = match layout {
        ArchiveLayout::Hitkeep => format!(" WHERE _source = {}", literal(&table.name)),
        ArchiveLayout::Hive => String::new(),
    };
    // A column that the table has got since is empty in older files.
    let with_all =
        format!("SELECT * FROM {} WHERE false UNION ALL BY NAME SELECT * FROM {file}", identifier(&table.name));
    Ok(format!("SELECT {} FROM ({with_all}){of_table}", table.list_from_file()))
}
