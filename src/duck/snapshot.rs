//! A snapshot is looked into where it lies: nothing is loaded, and nothing of it is written to.

use std::collections::BTreeSet;
use std::path::Path;

use super::check::{self, ALIAS};
use super::export::{Exported, Table, read_script, try_schema};
use super::load::read_copy;
use super::script::{self, Copy};
use super::{DuckError, Session, identifier, quoted};
use crate::hitkeep::{self, Layout, Tenant};

/// Reads which tenants the installation had when its shared database was exported into `folder`, and where its default
/// one lay.
///
/// # Errors
/// When a file cannot be read, or none lists tenants: then it is no snapshot of HitKeep's shared database.
pub fn tenants(session: &Session, folder: &Path) -> Result<(Vec<Tenant>, Layout), DuckError> {
    let load_script = read(folder, hitkeep::LOAD_FILE)?;
    with_tables(session, folder, &copies(&load_script)?, &hitkeep::LISTING_TABLES, check::read_tenants)
}

/// Reads a snapshot through: its scripts, and every value of every table. `at` is told each table before it is read.
///
/// The engine is the one that wrote the files, as they say themselves. What the export left out of the database is not
/// known, but for what a plain `IMPORT DATABASE` will miss.
///
/// # Errors
/// When a file cannot be read or is damaged, or the two scripts do not name the same tables.
pub fn examine(session: &Session, folder: &Path, at: &dyn Fn(&str)) -> Result<Exported, DuckError> {
    let load_script = read(folder, hitkeep::LOAD_FILE)?;
    let copies = copies(&load_script)?;
    compare_scripts(&read(folder, hitkeep::SCHEMA_FILE)?, &copies)?;
    let read_through = |copy: &Copy<'_>| {
        at(copy.file.trim_end_matches(".parquet"));
        read_table(session, folder, copy)
    };
    let tables: Vec<Table> = copies.iter().map(read_through).collect::<Result<_, _>>()?;
    let migration = if copies.iter().any(|copy| is_of(copy, hitkeep::MIGRATIONS_TABLE)) {
        with_tables(session, folder, &copies, &[hitkeep::MIGRATIONS_TABLE], |session| {
            session.value("reading the last migration", hitkeep::MIGRATION_QUERY)
        })?
    } else {
        None
    };
    let lost = try_schema(session, folder)?.into_iter().collect();
    Ok(Exported { engine: written_by(session, folder, &copies)?, migration, tables, lost })
}

/// Reads a script of someone else's: one that cannot be read is a fault of the source.
fn read(folder: &Path, name: &str) -> Result<String, DuckError> {
    read_script(folder, name).map_err(|error| match error {
        DuckError::File { cause, .. } => {
            DuckError::Refused { doing: format!("reading `{name}`"), message: cause.to_string() }
        }
        other => other,
    })
}

fn copies(load_script: &str) -> Result<Vec<Copy<'_>>, DuckError> {
    script::statements(load_script).into_iter().map(read_copy).collect()
}

fn is_of(copy: &Copy<'_>, table: &str) -> bool {
    let (schema, name) = copy.names();
    name == table && schema.is_none_or(|schema| schema == "main")
}

/// Compares the tables that one script creates with those that the other fills: a script that was cut off names fewer.
fn compare_scripts(schema_script: &str, copies: &[Copy<'_>]) -> Result<(), DuckError> {
    let plain = |(schema, name): (Option<String>, String)| (schema.unwrap_or_else(|| "main".to_owned()), name);
    let created = script::statements(schema_script).into_iter().filter_map(script::created_table).map(plain);
    let (created, filled): (BTreeSet<_>, BTreeSet<_>) =
        (created.collect(), copies.iter().map(Copy::names).map(plain).collect());
    match created.symmetric_difference(&filled).next() {
        None => Ok(()),
        Some(table) => {
            let [has, lacks] = if created.contains(table) {
                [hitkeep::SCHEMA_FILE, hitkeep::LOAD_FILE]
            } else {
                [hitkeep::LOAD_FILE, hitkeep::SCHEMA_FILE]
            };
            Err(DuckError::Differs(format!("`{has}` has the table `{}`, and `{lacks}` has not", table.1)))
        }
    }
}

/// Reads every value of a table's file, and counts the rows.
fn read_table(session: &Session, folder: &Path, copy: &Copy<'_>) -> Result<Table, DuckError> {
    let (schema, name) = copy.names();
    // Whatever the hashes are: it takes every value to make them.
    let sql = format!(
        "SELECT count(*)::UBIGINT, bit_xor(hash(t)) FROM read_parquet({}) AS t",
        quoted(&folder.join(&copy.file))?
    );
    let counted: Vec<u64> = session.rows(&format!("reading `{}`", copy.file), &sql, |row| row.get(0))?;
    let rows = counted.into_iter().sum();
    Ok(Table { schema: schema.filter(|schema| schema != "main"), name, rows, digest: None })
}

/// Returns the engine that wrote the files, such as `v1.5.4`.
fn written_by(session: &Session, folder: &Path, copies: &[Copy<'_>]) -> Result<String, DuckError> {
    let paths: Vec<String> = copies.iter().map(|copy| quoted(&folder.join(&copy.file))).collect::<Result<_, _>>()?;
    let sql = format!("SELECT DISTINCT created_by FROM parquet_file_metadata([{}]) ORDER BY ALL", paths.join(", "));
    let written: Vec<String> = session.rows("reading the files' footers", &sql, |row| row.get(0))?;
    let version = |text: String| {
        let version = text.strip_prefix("DuckDB version ").and_then(|rest| rest.split_whitespace().next());
        version.map_or(text.clone(), str::to_owned)
    };
    Ok(written.into_iter().map(version).collect::<Vec<_>>().join(", "))
}

/// Has those of `tables` that the snapshot has in a database that is in use for the length of `work`.
fn with_tables<T>(
    session: &Session,
    folder: &Path,
    copies: &[Copy<'_>],
    tables: &[&str],
    work: impl FnOnce(&Session) -> Result<T, DuckError>,
) -> Result<T, DuckError> {
    let find = |table: &str| copies.iter().find(|copy| is_of(copy, table));
    let files: Vec<(&str, &str)> =
        tables.iter().filter_map(|table| Some((*table, find(table)?.file.as_str()))).collect();
    session.run("opening a database in memory", &format!("ATTACH ':memory:' AS {ALIAS}; USE {ALIAS}"))?;
    let load = |(table, file): &(&str, &str)| {
        let create =
            format!("CREATE TABLE {} AS FROM read_parquet({})", identifier(table), quoted(&folder.join(file))?);
        session.run(&format!("reading `{file}`"), &create)
    };
    let done = files.iter().try_for_each(load).and_then(|()| work(session));
    session.run("closing the database in memory", &format!("USE memory; DETACH {ALIAS}"))?;
    done
}
