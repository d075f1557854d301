//! What a database holds, in a form that two databases can be compared by.

use std::collections::BTreeMap;
use std::path::Path;

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
