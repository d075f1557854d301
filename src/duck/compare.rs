//! What a database holds, in a form that two databases can be compared by.

use std::collections::BTreeMap;
use std::path::Path;

use super::export::{self, Table};
use super::{DuckError, Session, identifier, literal};

const ALIAS: &str = "hitkeep_plan_compared";

/// The rows of a table and a digest of them that does not depend on their order.
///
/// The digest is made of the engine's own hashes: it compares only with one of the same engine version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// How many rows there are.
    pub rows: u64,
    /// The digest, as text.
    pub digest: String,
}

/// How the digests of tables are made: of the engine's hash of each row, the exclusive or and the sum. Columns of
/// types that Parquet changes (`INTERVAL`, `TIME WITH TIME ZONE`) are left out.
pub const ALGORITHM: &str = "row-hash-xor-sum";

/// The digests of tables, by schema and name: of those that have a column which they can be made of.
pub(super) struct Digests(BTreeMap<(String, String), String>);

impl Digests {
    /// Digests the rows of every table of an attached database, whatever their order.
    pub(super) fn of(session: &Session, alias: &str) -> Result<Self, DuckError> {
        let mut digests = BTreeMap::new();
        for (table, columns) in steady_columns(session, alias)? {
            let (schema, name) = &table;
            let sql = format!(
                "SELECT coalesce(bit_xor(row_hash), 0)::UBIGINT, coalesce(sum(row_hash), 0)::HUGEINT \
                 FROM (SELECT hash({}) AS row_hash FROM {alias}.{}.{})",
                columns.join(", "),
                identifier(schema),
                identifier(name)
            );
            let doing = format!("digesting `{name}`");
            let found: Vec<(u64, i128)> = session.rows(&doing, &sql, |row| Ok((row.get(0)?, row.get(1)?)))?;
            digests.extend(found.first().map(|(xor, sum)| (table, format!("{xor:016x}{sum:032x}"))));
        }
        Ok(Self(digests))
    }

    /// Adds its digest to each table.
    pub(super) fn add_to(&self, tables: &mut [Table]) {
        for table in tables {
            let schema = table.schema.as_deref().unwrap_or("main");
            table.digest = self.0.get(&(schema.to_owned(), table.name.clone())).cloned();
        }
    }
}

/// Returns the columns of each table, by schema and name, that come back from an export as they were: as SQL, in order.
fn steady_columns(session: &Session, alias: &str) -> Result<BTreeMap<(String, String), Vec<String>>, DuckError> {
    let sql = format!(
        "SELECT schema_name, table_name, column_name, data_type FROM duckdb_columns() \
         SEMI JOIN (SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = {alias}) \
         USING (schema_name, table_name) WHERE database_name = {alias} ORDER BY schema_name, table_name, column_index",
        alias = literal(alias)
    );
    let listed: Vec<[String; 4]> =
        session.rows("listing columns", &sql, |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?]))?;
    let mut columns: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for [schema, table, column, data_type] in listed {
        if export::is_steady(&data_type) {
            columns.entry((schema, table)).or_default().push(identifier(&column));
        }
    }
    Ok(columns)
}

/// Returns the content of every table of the database at `path`, by schema and name.
///
/// # Errors
/// When the database cannot be opened or read.
pub fn contents(session: &Session, path: &Path) -> Result<BTreeMap<(String, String), Content>, DuckError> {
    session.attach_source(path, ALIAS)?;
    let sql = format!("SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = {}", literal(ALIAS));
    let tables: Vec<(String, String)> = session.rows("listing tables", &sql, |row| Ok((row.get(0)?, row.get(1)?)))?;
    let content = |(schema, name): (String, String)| {
        let sql = format!(
            "SELECT count(*)::UBIGINT, concat_ws(' ', bit_xor(hash(t)), sum(hash(t)::HUGEINT)) FROM {ALIAS}.{}.{} AS t",
            identifier(&schema),
            identifier(&name)
        );
        let read = session.rows("comparing", &sql, |row| Ok(Content { rows: row.get(0)?, digest: row.get(1)? }))?;
        let content =
            read.into_iter().next().ok_or_else(|| DuckError::Differs("an aggregate without a row".to_owned()))?;
        Ok(((schema, name), content))
    };
    let contents = tables.into_iter().map(content).collect();
    session.run("letting go of the database", &format!("DETACH {ALIAS}"))?;
    contents
}
