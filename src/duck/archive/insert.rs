//! Archived rows go back into a database: what is missing, and nothing twice.
//!
//! A row is there if its key is, whatever else has changed in it since; in a table without a key, if a row is there that
//! is equal in everything, and as often.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::ALIAS;
use super::reread::{SOURCE, columns_of_file};
use super::table::{Table, rows_of_file, tables};
use crate::duck::load::memory_to_index;
use crate::duck::{DuckError, Session, identifier, literal, quoted, refused};
use crate::hitkeep::Column;
use crate::name::SiteId;
use crate::record::{ArchiveLayout, ArchivedFile, SchemaRecord};
use crate::work::Period;

/// An archived file that is at hand.
#[derive(Clone, Debug)]
pub struct AtHand {
    /// Where it is.
    pub path: PathBuf,
    /// Its record.
    pub file: ArchivedFile,
    /// The tables of its site's database as they were; none where that is not known.
    pub schemas: Vec<SchemaRecord>,
}

/// What came of archived rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Returned {
    /// How many were looked at.
    pub archived: u64,
    /// How many of them were missing, and are there now.
    pub inserted: u64,
}

/// Inserts what is missing in the database at `path` of the rows of archived files, the newest file first, in one
/// transaction. Columns that a table has got since get their defaults.
///
/// # Errors
/// When the database cannot be opened, or cannot hold everything that the rows hold; then nothing is inserted.
pub fn insert(session: &Session, path: &Path, files: &[AtHand], period: Period) -> Result<Returned, DuckError> {
    if !path.exists() {
        return Err(DuckError::Missing { path: path.to_owned() });
    }
    session.attach(path, ALIAS, "READ_WRITE")?;
    session.run("beginning a transaction", &format!("USE {ALIAS}; BEGIN TRANSACTION"))?;
    let inserted = insert_within(session, files, period);
    let end = if inserted.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = session.run("ending the transaction", end);
    session.run("letting go of the database", &format!("USE memory; DETACH {ALIAS}"))?;
    ended.and(inserted)
}

fn insert_within(session: &Session, files: &[AtHand], period: Period) -> Result<Returned, DuckError> {
    let (tables, _) = tables(session)?;
    let names: BTreeSet<&str> = files.iter().flat_map(|at| &at.file.parts).map(|part| part.table.as_str()).collect();
    if let Some(name) = names.iter().find(|name| !tables.iter().any(|table| table.name == **name)) {
        return Err(DuckError::Differs(format!(
            "rows of `{name}` are archived, and the database has no such table: bring them back into the version of \
             HitKeep that has it"
        )));
    }
    let _share = session.take_more(memory_to_index(files.iter().map(|at| at.file.rows()).sum()))?;
    let mut returned = Returned::default();
    for table in tables.iter().filter(|table| names.contains(table.name.as_str())) {
        let into = Into { session, table, key: primary_key(session, &table.name)?, period };
        for files in by_site(files, &table.name).values() {
            let one = into.insert(files)?;
            returned.archived += one.archived;
            returned.inserted += one.inserted;
        }
    }
    Ok(returned)
}

/// Returns the files that hold rows of a table, for each site.
fn by_site<'f>(files: &'f [AtHand], table: &str) -> BTreeMap<SiteId, Vec<&'f AtHand>> {
    let mut by_site: BTreeMap<SiteId, Vec<&AtHand>> = BTreeMap::new();
    for at in files.iter().filter(|at| at.file.parts.iter().any(|part| part.table == table)) {
        by_site.entry(at.file.site).or_default().push(at);
    }
    by_site
}

/// A table that rows go into.
struct Into<'i> {
    session: &'i Session,
    table: &'i Table,
    key: Vec<String>,
    period: Period,
}

impl Into<'_> {
    /// Inserts the rows of one site.
    fn insert(&self, files: &[&AtHand]) -> Result<Returned, DuckError> {
        let mut columns: BTreeMap<&Path, BTreeSet<String>> = BTreeMap::new();
        for at in files {
            let archived = self.archived_columns(at)?;
            self.refuse_unknown(at, &archived)?;
            columns.insert(&at.path, archived);
        }
        let mut returned = Returned::default();
        if self.key.is_empty() {
            let all: BTreeSet<String> = columns.values().flatten().cloned().collect();
            let rows = files.iter().map(|at| self.rows(at, &columns[at.path.as_path()], &all));
            let rows = rows.collect::<Result<Vec<_>, _>>()?.join(" UNION ALL ");
            returned.archived = self.count(&rows)?;
            returned.inserted = self.insert_unequal(files[0].file.site, &rows, &all)?;
        } else {
            for at in files {
                let own = &columns[at.path.as_path()];
                let rows = self.rows(at, own, own)?;
                returned.archived += self.count(&rows)?;
                returned.inserted += self.insert_unknown(&rows, own)?;
            }
        }
        Ok(returned)
    }

    /// Inserts rows whose key is not there.
    fn insert_unknown(&self, rows: &str, columns: &BTreeSet<String>) -> Result<u64, DuckError> {
        let equal = |column: &String| format!("there.{name} = archived.{name}", name = identifier(column));
        let equal: Vec<String> = self.key.iter().map(equal).collect();
        let (name, list) = (identifier(&self.table.name), self.list(columns));
        self.execute(&format!(
            "INSERT INTO {name} ({list}) SELECT {list} FROM ({rows}) AS archived WHERE NOT EXISTS \
             (SELECT 1 FROM {name} AS there WHERE {})",
            equal.join(" AND ")
        ))
    }

    /// Inserts rows as often as they are not there.
    fn insert_unequal(&self, site: SiteId, rows: &str, columns: &BTreeSet<String>) -> Result<u64, DuckError> {
        let (name, list) = (identifier(&self.table.name), self.list(columns));
        let there =
            format!("SELECT {list} FROM {name} WHERE site_id = '{site}' AND {}", self.table.during(self.period));
        self.execute(&format!("INSERT INTO {name} ({list}) (SELECT {list} FROM ({rows}) EXCEPT ALL ({there}))"))
    }

    fn execute(&self, sql: &str) -> Result<u64, DuckError> {
        let doing = format!("inserting into `{}`", self.table.name);
        self.session.connection.execute(sql, []).map(|rows| rows as u64).map_err(|error| refused(&doing, &error))
    }

    fn count(&self, rows: &str) -> Result<u64, DuckError> {
        self.session.value("counting what is archived", &format!("SELECT count(*)::UBIGINT FROM ({rows})"))
    }

    /// Lists those of the table's columns that are in `columns`, in the table's order.
    fn list(&self, columns: &BTreeSet<String>) -> String {
        let columns = self.table.columns.iter().filter(|column| columns.contains(&column.name));
        columns.map(|column| identifier(&column.name)).collect::<Vec<_>>().join(", ")
    }

    /// Returns the query of a file's rows that are wanted, with the columns `all`: those that are not the file's `own`
    /// have the table's defaults.
    fn rows(&self, at: &AtHand, own: &BTreeSet<String>, all: &BTreeSet<String>) -> Result<String, DuckError> {
        let of = |columns: &BTreeSet<String>| -> Vec<Column> {
            self.table.columns.iter().filter(|column| columns.contains(&column.name)).cloned().collect()
        };
        let (name, time) = (self.table.name.clone(), self.table.time.clone());
        let rows = rows_of_file(&Table { name, columns: of(own), time }, at.file.layout(), &at.path)?;
        let value = |column: &Column| {
            let name = identifier(&column.name);
            let is_own = own.contains(&column.name);
            if is_own { Ok(name) } else { Ok(format!("({}) AS {name}", self.default(&column.name)?)) }
        };
        let values: Vec<String> = of(all).iter().map(value).collect::<Result<_, DuckError>>()?;
        let (site, during) = (at.file.site, self.table.during(self.period));
        Ok(format!("SELECT {} FROM ({rows}) WHERE site_id = '{site}' AND {during}", values.join(", ")))
    }

    /// Returns the default of a column, as SQL.
    fn default(&self, column: &str) -> Result<String, DuckError> {
        let sql = format!(
            "SELECT coalesce(max(column_default), 'NULL') FROM duckdb_columns() WHERE database_name = {} AND \
             schema_name = 'main' AND table_name = {} AND column_name = {}",
            literal(ALIAS),
            literal(&self.table.name),
            literal(column)
        );
        self.session.value("reading a default", &sql)
    }

    /// Returns the columns of the table that a file has values of.
    fn archived_columns(&self, at: &AtHand) -> Result<BTreeSet<String>, DuckError> {
        if let Some(schema) = at.schemas.iter().find(|schema| schema.table == self.table.name) {
            return Ok(schema.columns.iter().map(|column| column.name.clone()).collect());
        }
        let columns =
            columns_of_file(self.session, &at.path)?.into_iter().map(|(name, _)| name).filter(|name| name != SOURCE);
        match at.file.layout() {
            ArchiveLayout::Hive => Ok(columns.collect()),
            // Of which table a column is, only its values tell.
            ArchiveLayout::Hitkeep => {
                let has_values = |column: &String| self.has_values(at, column);
                let columns = columns.map(|column| has_values(&column).map(|has| has.then_some(column)));
                Ok(columns.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
            }
        }
    }

    fn has_values(&self, at: &AtHand, column: &str) -> Result<bool, DuckError> {
        let of_table = match at.file.layout() {
            ArchiveLayout::Hitkeep => format!("_source = {}", literal(&self.table.name)),
            ArchiveLayout::Hive => "true".to_owned(),
        };
        let sql = format!(
            "SELECT count(*) > 0 FROM read_parquet({}, hive_partitioning = false) WHERE {of_table} AND {} IS NOT NULL",
            quoted(&at.path)?,
            identifier(column)
        );
        self.session.value("looking for values", &sql)
    }

    /// Refuses a file with values that the table has no column for.
    fn refuse_unknown(&self, at: &AtHand, archived: &BTreeSet<String>) -> Result<(), DuckError> {
        let is_known = |column: &&String| self.table.columns.iter().any(|known| known.name == **column);
        for column in archived.iter().filter(|column| !is_known(column)) {
            if self.has_values(at, column)? {
                return Err(DuckError::Differs(format!(
                    "rows of `{}` are archived with a `{column}`, and the table has no such column: bring them back into \
                     the version of HitKeep that has it",
                    self.table.name
                )));
            }
        }
        Ok(())
    }
}

/// Returns the columns of a table's primary key; none where it has none.
fn primary_key(session: &Session, table: &str) -> Result<Vec<String>, DuckError> {
    let sql = format!(
        "SELECT unnest(constraint_column_names) FROM duckdb_constraints() WHERE database_name = {} AND \
         schema_name = 'main' AND table_name = {} AND constraint_type = 'PRIMARY KEY'",
        literal(ALIAS),
        literal(table)
    );
    session.rows("reading a key", &sql, |row| row.get(0))
}
