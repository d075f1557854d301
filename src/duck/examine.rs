//! A database that was restored for a drill is looked through: its rows, its keys, and what a plan asserts of it.
//!
//! What a plan asserts is SQL of its author, and runs where it can do no harm: on a file that was opened read-only, in an
//! engine of its own that reaches no other file and no network, and whose settings cannot be changed any more.

use std::collections::BTreeMap;
use std::path::Path;

use duckdb::Statement;
use duckdb::arrow::datatypes::DataType;

use super::compare::Digests;
use super::export::Table;
use super::{DuckError, Limits, Session, identifier, literal, refused};

const ALIAS: &str = "hitkeep_plan_restored";

/// What is found in a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examined {
    /// The tables that were asked for, each with its digest.
    pub tables: Vec<Table>,
    /// How many foreign keys were followed: every one that there is.
    pub foreign_keys: u64,
    /// The engine's version, such as `v2.0.0`.
    pub engine: String,
}

/// Digests the rows of tables of the database at `path`, and follows its foreign keys.
///
/// # Errors
/// When it cannot be opened or read; [`DuckError::Differs`] where a key refers to nothing.
pub fn examine(session: &Session, path: &Path, mut tables: Vec<Table>) -> Result<Examined, DuckError> {
    session.attach_source(path, ALIAS)?;
    Digests::of(session, ALIAS)?.add_to(&mut tables);
    let keys = foreign_keys(session)?;
    keys.iter().try_for_each(|key| key.follow(session))?;
    let engine = session.value("asking for the version", "SELECT version()")?;
    session.run("letting go of the database", &format!("DETACH {ALIAS}"))?;
    Ok(Examined { tables, foreign_keys: keys.len() as u64, engine })
}

/// A foreign key of a table.
#[derive(Clone, Debug, Default)]
struct ForeignKey {
    schema: String,
    table: String,
    referred: String,
    /// Each column with the one that it refers to.
    columns: Vec<(String, String)>,
}

/// A column of a foreign key: schema, table and number of the key; the table that it refers to; and both columns.
type KeyColumn = ((String, String, u64), String, (String, String));

fn foreign_keys(session: &Session) -> Result<Vec<ForeignKey>, DuckError> {
    let sql = format!(
        "SELECT schema_name, table_name, constraint_index::UBIGINT, referenced_table, \
         unnest(constraint_column_names), unnest(referenced_column_names) FROM duckdb_constraints() \
         WHERE database_name = {} AND constraint_type = 'FOREIGN KEY'",
        literal(ALIAS)
    );
    let rows: Vec<KeyColumn> = session.rows("listing foreign keys", &sql, |row| {
        Ok(((row.get(0)?, row.get(1)?, row.get(2)?), row.get(3)?, (row.get(4)?, row.get(5)?)))
    })?;
    let mut keys: BTreeMap<(String, String, u64), ForeignKey> = BTreeMap::new();
    for (place, referred, columns) in rows {
        let (schema, table, _) = place.clone();
        let empty = || ForeignKey { schema, table, referred, columns: Vec::new() };
        keys.entry(place).or_insert_with(empty).columns.push(columns);
    }
    Ok(keys.into_values().collect())
}

impl ForeignKey {
    /// Goes on only if every row that refers to another finds it.
    fn follow(&self, session: &Session) -> Result<(), DuckError> {
        let Self { schema, table, referred, columns } = self;
        let each = |form: &dyn Fn(&str, &str) -> String| {
            let parts: Vec<String> =
                columns.iter().map(|(own, other)| form(&identifier(own), &identifier(other))).collect();
            parts.join(" AND ")
        };
        let sql = format!(
            "SELECT count(*)::UBIGINT FROM {ALIAS}.{schema}.{table} AS own WHERE {refers} AND NOT EXISTS \
             (SELECT 1 FROM {ALIAS}.{schema}.{referred} AS other WHERE {finds})",
            schema = identifier(schema),
            table = identifier(table),
            referred = identifier(referred),
            refers = each(&|own, _| format!("own.{own} IS NOT NULL")),
            finds = each(&|own, other| format!("other.{other} = own.{own}")),
        );
        match session.value(&format!("following the keys of `{table}`"), &sql)? {
            0_u64 => Ok(()),
            lost => Err(DuckError::Differs(format!(
                "{lost} rows of `{table}` refer to rows of `{referred}` that are not there"
            ))),
        }
    }
}

/// Asks queries of the database at `path`, each of which should answer with one value, true or false. The answer to one
/// that cannot be answered is the reason.
///
/// # Errors
/// When the database cannot be opened, or the engine cannot be shut off.
pub fn ask(limits: &Limits, path: &Path, queries: &[String]) -> Result<Vec<Result<bool, DuckError>>, DuckError> {
    let session = Session::open(limits)?;
    session.attach_source(path, ALIAS)?;
    session.run("entering the database", &format!("USE {ALIAS}"))?;
    session.run("shutting the engine off", "SET enable_external_access = false; SET lock_configuration = true")?;
    Ok(queries.iter().map(|query| session.answer(query)).collect())
}

impl Session {
    /// Returns the one value of a query, which must be true or false. Nothing is read of any other type: the answer to a
    /// slip of the pen may be whole tables.
    fn answer(&self, query: &str) -> Result<bool, DuckError> {
        let failed = |error| refused("asking", &error);
        let mut statement = self.connection.prepare(query).map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        let is_one_truth =
            |answer: &Statement<'_>| answer.column_count() == 1 && answer.column_type(0) == DataType::Boolean;
        if !rows.as_ref().is_some_and(is_one_truth) {
            return Err(DuckError::Differs("it answers with something that is neither true nor false".to_owned()));
        }
        let mut next = || rows.next().and_then(|row| row.map(|row| row.get::<_, Option<bool>>(0)).transpose());
        match (next().map_err(failed)?, next().map_err(failed)?) {
            (Some(Some(answer)), None) => Ok(answer),
            (Some(None), None) => Err(DuckError::Differs("it answers with neither true nor false".to_owned())),
            (None, _) => Err(DuckError::Differs("it answers with no row".to_owned())),
            (Some(_), Some(_)) => Err(DuckError::Differs("it answers with more than one row".to_owned())),
        }
    }
}
