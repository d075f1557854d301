//! A database becomes a snapshot: `EXPORT DATABASE` in one transaction, counted on both sides.

use std::collections::BTreeMap;
use std::path::Path;

use super::compare::Digests;
use super::script::{self, Copy};
use super::{Database, DuckError, Session, literal, quoted};
use crate::hitkeep;
use crate::plan::Codec;

const ALIAS: &str = "hitkeep_plan_source";
const TRIAL: &str = "hitkeep_plan_trial";

/// Has rows written in their order, by one thread. Within a limit of memory, an export of 5 million hits took 1.3 times as
/// long in order as in any, and 1.7 times as long where several threads kept to it.
const KEEP_ORDER: &str = "SET GLOBAL threads = 1; SET preserve_insertion_order = true";

/// How many tables are counted by one statement: one for each took a millisecond a table, and a statement may nest only so
/// deep.
const COUNTED_AT_ONCE: usize = 100;

/// How the files of an export are written.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// How the Parquet is compressed.
    pub codec: Codec,
    /// Whether the same rows make the same files.
    pub is_repeatable: bool,
}

/// What an export wrote, besides its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The engine's version, such as `v2.0.0`: other versions write other bytes for the same rows.
    pub engine: String,
    /// HitKeep's last migration, where the database has any.
    pub migration: Option<String>,
    /// The tables in the order in which they must be loaded.
    pub tables: Vec<Table>,
    /// What the database holds and the export cannot express, in words.
    pub lost: Vec<String>,
}

/// A table and its rows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Table {
    /// Its schema, unless that is `main`.
    pub schema: Option<String>,
    /// Its name.
    pub name: String,
    /// How many rows it holds.
    pub rows: u64,
    /// The digest of them, where it was asked for and there is a column that it can be made of.
    pub digest: Option<String>,
}

/// Exports a database into the folder `into`, which exists and is empty.
///
/// The export, the counting and the look at what gets lost happen in one transaction, and nobody else writes to what is
/// attached: they and the digests, which are made at the same time, see one state. Every table's rows are compared with
/// the footer of its file.
///
/// # Errors
/// When the database cannot be opened, the folder cannot be written, or the counts differ.
pub fn export(session: &Session, database: &Database, into: &Path, form: Form) -> Result<Exported, DuckError> {
    session.attach_database(database, ALIAS)?;
    if form.is_repeatable {
        session.run("keeping the order of rows", KEEP_ORDER)?;
    }
    session.run("beginning a transaction", &format!("USE {ALIAS}; BEGIN TRANSACTION READ ONLY"))?;
    let (mut exported, digests) =
        beside(session, || write(session, into, form.codec), |other| Digests::of(other, ALIAS))?;
    session.run("ending the transaction", &format!("COMMIT; USE memory; DETACH {ALIAS}"))?;

    digests.add_to(&mut exported.tables);
    exported.lost.extend(try_schema(session, into)?);
    Ok(exported)
}

/// Does `work`, and at the same time `other` on another connection to the engine. An error of `work` comes first.
fn beside<T, U: Send>(
    session: &Session,
    work: impl FnOnce() -> Result<T, DuckError>,
    other: impl FnOnce(&Session) -> Result<U, DuckError> + Send,
) -> Result<(T, U), DuckError> {
    let connection = session.another()?;
    std::thread::scope(|scope| {
        let other = scope.spawn(move || other(&connection));
        let worked = work();
        let made = other.join().unwrap_or_else(|panicked| std::panic::resume_unwind(panicked));
        Ok((worked?, made?))
    })
}

/// Writes the files, and looks at what was written and what was not.
fn write(session: &Session, into: &Path, codec: Codec) -> Result<Exported, DuckError> {
    write_files(session, into, codec)?;
    let load_script = read_script(into, hitkeep::LOAD_FILE)?;
    let copies = script::statements(&load_script).into_iter().filter_map(script::copy).collect::<Vec<_>>();
    let tables = count_rows(session, &copies)?;
    compare_with_files(session, into, &copies, &tables)?;
    let migration = last_migration(session, &tables)?;
    let engine = session.value("asking for the version", "SELECT version()")?;
    Ok(Exported { engine, migration, tables, lost: lost_in_export(session)? })
}

fn write_files(session: &Session, into: &Path, codec: Codec) -> Result<(), DuckError> {
    let (folder, codec) = (quoted(into)?, codec.as_str());
    session.run("exporting", &format!("EXPORT DATABASE {ALIAS} TO {folder} (FORMAT parquet, COMPRESSION {codec})"))
}

pub(super) fn read_script(folder: &Path, name: &str) -> Result<String, DuckError> {
    let path = folder.join(name);
    std::fs::read_to_string(&path).map_err(|cause| DuckError::File { doing: "read", path, cause })
}

/// Counts the rows of every table that a script names, in its order; a table that it names twice is counted once.
pub(super) fn count_rows(session: &Session, copies: &[Copy<'_>]) -> Result<Vec<Table>, DuckError> {
    let mut tables: Vec<Table> = Vec::new();
    for copy in copies {
        let (schema, name) = copy.names();
        let schema = schema.filter(|schema| schema != "main");
        if tables.iter().all(|table| (&table.schema, &table.name) != (&schema, &name)) {
            tables.push(Table { schema, name, rows: 0, digest: None });
        }
    }
    for tables in tables.chunks_mut(COUNTED_AT_ONCE) {
        let count = |(number, table): (usize, &Table)| {
            let schema = super::identifier(table.schema.as_deref().unwrap_or("main"));
            let name = super::identifier(&table.name);
            format!("SELECT {number}::UBIGINT, count(*)::UBIGINT FROM {schema}.{name}")
        };
        let sql = tables.iter().enumerate().map(count).collect::<Vec<_>>().join(" UNION ALL ");
        let counted: BTreeMap<u64, u64> =
            session.rows("counting the rows", &sql, |row| Ok((row.get(0)?, row.get(1)?)))?.into_iter().collect();
        for (number, table) in (0..).zip(tables) {
            let missed = || DuckError::Differs(format!("the rows of `{}` were not counted", table.name));
            table.rows = *counted.get(&number).ok_or_else(missed)?;
        }
    }
    Ok(tables)
}

fn last_migration(session: &Session, tables: &[Table]) -> Result<Option<String>, DuckError> {
    if tables.iter().any(|table| table.schema.is_none() && table.name == hitkeep::MIGRATIONS_TABLE) {
        return session.value("reading the last migration", hitkeep::MIGRATION_QUERY);
    }
    Ok(None)
}

/// Compares each table's rows with what the footer of its file says was written.
fn compare_with_files(session: &Session, into: &Path, copies: &[Copy<'_>], tables: &[Table]) -> Result<(), DuckError> {
    if copies.is_empty() {
        return Ok(());
    }
    let paths: Vec<String> = copies.iter().map(|copy| quoted(&into.join(&copy.file))).collect::<Result<_, _>>()?;
    let sql = format!("SELECT file_name, num_rows::UBIGINT FROM parquet_file_metadata([{}])", paths.join(", "));
    let written: BTreeMap<String, u64> =
        session.rows("reading the files' footers", &sql, |row| Ok((row.get(0)?, row.get(1)?)))?.into_iter().collect();
    for (copy, table) in copies.iter().zip(tables) {
        let path = into.join(&copy.file).display().to_string();
        if written.get(&path) != Some(&table.rows) {
            let found = written.get(&path).map_or_else(|| "no file".to_owned(), |rows| format!("{rows} rows"));
            return Err(DuckError::Differs(format!(
                "`{}` has {} rows and its export has {found}",
                table.name, table.rows
            )));
        }
    }
    Ok(())
}

/// Names what the attached database holds and `EXPORT DATABASE` is known to drop or to round.
fn lost_in_export(session: &Session) -> Result<Vec<String>, DuckError> {
    Ok([lost_comments(session)?, changed_columns(session)?, used_sequences(session)?, triggers(session)?].concat())
}

fn lost_comments(session: &Session) -> Result<Vec<String>, DuckError> {
    let kinds = ["tables", "views", "columns", "indexes", "functions", "types", "sequences", "triggers"];
    let commented = kinds.map(|kind| {
        let alias = literal(ALIAS);
        format!("SELECT comment FROM duckdb_{kind}() WHERE database_name = {alias} AND comment IS NOT NULL")
    });
    let sql = format!("SELECT count(*)::UBIGINT FROM ({})", commented.join(" UNION ALL "));
    let comments: u64 = session.value("looking for comments", &sql)?;
    Ok(if comments > 0 { vec![format!("what COMMENT ON has set: {comments}")] } else { Vec::new() })
}

/// Names the columns of tables whose values Parquet cannot hold to the last digit, also inside lists and structs.
fn changed_columns(session: &Session) -> Result<Vec<String>, DuckError> {
    let sql = format!(
        "SELECT if(schema_name = 'main', '', schema_name || '.') || table_name || '.' || column_name, data_type \
         FROM duckdb_columns() SEMI JOIN (SELECT schema_name, table_name FROM duckdb_tables() \
         WHERE database_name = {alias}) USING (schema_name, table_name) WHERE database_name = {alias} ORDER BY ALL",
        alias = literal(ALIAS)
    );
    let columns: Vec<(String, String)> =
        session.rows("looking for types that change", &sql, |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut lost = Vec::new();
    for (column, data_type) in columns {
        if rounds(&data_type) {
            lost.push(format!(
                "what is below a millisecond in `{column}` ({data_type}); and 24 hours in it come back as 1 day"
            ));
        }
        if moves(&data_type) {
            lost.push(format!("the offsets in `{column}` ({data_type}): its times come back in UTC"));
        }
    }
    Ok(lost)
}

/// Tells whether Parquet rounds values of a type.
fn rounds(data_type: &str) -> bool {
    script::has_word(data_type, "INTERVAL")
}

/// Tells whether Parquet moves values of a type to another time zone.
fn moves(data_type: &str) -> bool {
    data_type.replace("TIMESTAMP WITH", "").contains("TIME WITH TIME ZONE")
}

/// Tells whether values of a type come back from an export as they were.
pub(super) fn is_steady(data_type: &str) -> bool {
    !rounds(data_type) && !moves(data_type)
}

fn used_sequences(session: &Session) -> Result<Vec<String>, DuckError> {
    let sql = format!(
        "SELECT if(schema_name = 'main', '', schema_name || '.') || sequence_name FROM duckdb_sequences() \
         WHERE database_name = {} AND last_value IS NOT NULL ORDER BY ALL",
        literal(ALIAS)
    );
    let sequences: Vec<String> = session.rows("looking for sequences", &sql, |row| row.get(0))?;
    let said =
        |sequence| format!("where sequence `{sequence}` began: it comes back as one that begins at its next number");
    Ok(sequences.into_iter().map(said).collect())
}

fn triggers(session: &Session) -> Result<Vec<String>, DuckError> {
    let sql = format!(
        "SELECT trigger_name, table_name FROM duckdb_triggers() WHERE database_name = {} ORDER BY ALL",
        literal(ALIAS)
    );
    let triggers: Vec<(String, String)> =
        session.rows("looking for triggers", &sql, |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(triggers.into_iter().map(|(name, table)| format!("trigger `{name}` on `{table}`")).collect())
}

/// Runs the exported schema in an empty database in memory, the way a plain `IMPORT DATABASE` would.
pub(super) fn try_schema(session: &Session, into: &Path) -> Result<Option<String>, DuckError> {
    let schema = read_script(into, hitkeep::SCHEMA_FILE)?;
    session.run("opening a trial database", &format!("ATTACH ':memory:' AS {TRIAL}; USE {TRIAL}"))?;
    let refusal = script::statements(&schema).into_iter().find_map(|statement| session.run("", statement).err());
    session.run("closing the trial database", &format!("USE memory; DETACH {TRIAL}"))?;
    Ok(match refusal {
        Some(DuckError::Refused { message, .. }) => Some(format!(
            "what a plain IMPORT DATABASE needs: it stops at `{}`; `hitkeep-plan restore` goes on",
            message.split(" LINE 1: ").next().unwrap_or_default()
        )),
        _ => None,
    })
}
