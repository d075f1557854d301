//! An archived file is read through once more, and compared with its record: its columns, its rows, and what is in them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::table::{Table, measure, rows_of_file};
use crate::duck::{DuckError, Session, quoted};
use crate::measure::Content;
use crate::record::{ArchiveLayout, ArchivedFile, PartId, SchemaRecord};

/// The column of HitKeep's own archives that names the table of a row.
pub(super) const SOURCE: &str = "_source";

/// Reads the archived file at `path` through, and compares it with its record; `schemas` are those of its site's
/// database, as they were. Of a file from before these were recorded only the rows are counted.
///
/// Values and types are compared where this engine wrote the file: digests of others do not compare, and they may call types
/// by other names. Types of a file from before they were recorded are not.
///
/// # Errors
/// [`DuckError::Differs`] when it holds something else, or is no Parquet at all.
pub fn reread(session: &Session, path: &Path, file: &ArchivedFile, schemas: &[SchemaRecord]) -> Result<(), DuckError> {
    let reading = Rereading { session, path, file };
    match reading.compare(schemas) {
        // The engine's words name a folder that nobody knows, and may quote a row.
        Err(DuckError::Refused { message, .. }) => {
            let kind = message.split(':').next().unwrap_or_default();
            Err(reading.differs(&format!("cannot be read as what its record says ({kind})")))
        }
        compared => compared,
    }
}

struct Rereading<'r> {
    session: &'r Session,
    path: &'r Path,
    file: &'r ArchivedFile,
}

impl Rereading<'_> {
    fn differs(&self, how: &str) -> DuckError {
        DuckError::Differs(format!("`{}` {how}", self.file.file.path))
    }

    fn compare(&self, schemas: &[SchemaRecord]) -> Result<(), DuckError> {
        if !schemas.is_empty() {
            let engine: String = self.session.value("asking for the version", "SELECT version()")?;
            let is_comparable = self.file.duckdb == engine;
            self.compare_columns(schemas, is_comparable)?;
            self.compare_rows(schemas, is_comparable)?;
        }
        let total = format!("SELECT count(*)::UBIGINT FROM read_parquet({})", quoted(self.path)?);
        match self.session.value::<u64>("counting what was archived", &total)? {
            rows if rows == self.file.rows() => Ok(()),
            rows => Err(self.differs(&format!("holds {rows} rows, and its record says {}", self.file.rows()))),
        }
    }

    /// Goes on if the file has the columns of its table, or those of all tables, and where they are comparable, of their
    /// types.
    fn compare_columns(&self, schemas: &[SchemaRecord], is_comparable: bool) -> Result<(), DuckError> {
        let is_hitkeeps = self.file.layout() == ArchiveLayout::Hitkeep;
        let is_in_it = |schema: &&SchemaRecord| is_hitkeeps || self.has(schema);
        let columns = || schemas.iter().filter(is_in_it).flat_map(|schema| &schema.columns);
        let source = is_hitkeeps.then(|| SOURCE.to_owned());
        // The engine tells no `a` from an `A`: where one table has the one and another the other, they are one column.
        let wanted: BTreeSet<String> = columns().map(|column| column.name.to_lowercase()).chain(source).collect();
        let types = columns_of_file(self.session, self.path)?.into_iter();
        let types: BTreeMap<String, String> = types.map(|(name, stored)| (name.to_lowercase(), stored)).collect();
        let found: BTreeSet<String> = types.keys().cloned().collect();
        if let Some(column) = wanted.difference(&found).next() {
            return Err(self.differs(&format!("lacks the column `{column}`")));
        }
        if let Some(column) = found.difference(&wanted).next() {
            return Err(self.differs(&format!("has a column `{column}` that its record does not")));
        }
        for column in columns().filter(|_| is_comparable) {
            let (Some(stored), Some(found)) = (&column.stored, types.get(&column.name.to_lowercase())) else {
                continue;
            };
            if stored != found {
                let name = &column.name;
                return Err(self.differs(&format!("has the column `{name}` as {found}, and its record says {stored}")));
            }
        }
        Ok(())
    }

    fn has(&self, schema: &SchemaRecord) -> bool {
        self.file.parts.iter().any(|part| part.table == schema.table)
    }

    /// Goes on if the file holds of each table and month the rows that its record says.
    fn compare_rows(&self, schemas: &[SchemaRecord], is_comparable: bool) -> Result<(), DuckError> {
        let mut found = BTreeMap::new();
        for schema in schemas.iter().filter(|schema| self.has(schema)) {
            let table = Table::recorded(schema)?;
            let rows = rows_of_file(&table, self.file.layout(), self.path)?;
            found.extend(measure(self.session, &table, self.file.site, &rows)?);
        }
        for part in &self.file.parts {
            let id = PartId { site: self.file.site, table: part.table.clone(), month: part.month };
            let Content { rows, .. } = *found.get(&id).unwrap_or(&Content::default());
            let (table, month) = (&part.table, part.month);
            if rows != part.rows {
                let wanted = part.rows;
                let how = format!("holds {rows} rows of `{table}` in {month}, and its record says {wanted}");
                return Err(self.differs(&how));
            }
            let is_equal = found.get(&id).copied() == Content::read(part.rows, &part.content);
            if is_comparable && !is_equal {
                return Err(self.differs(&format!("holds other rows of `{table}` in {month} than its record says")));
            }
        }
        Ok(())
    }
}

/// Returns the names of a Parquet file's columns, and their types, in order.
pub(super) fn columns_of_file(session: &Session, path: &Path) -> Result<Vec<(String, String)>, DuckError> {
    let sql = format!(
        "SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM read_parquet({}, hive_partitioning = false))",
        quoted(path)?
    );
    session.rows("reading what was archived", &sql, |row| Ok((row.get(0)?, row.get(1)?)))
}
