//! A snapshot becomes a database again, in a new file.
//!
//! Not by `IMPORT DATABASE`: that maintains every index row by row while it loads, and stops where one definition
//! needs a later one. Here tables come first, then rows, then the indexes that fit into memory, and a definition that
//! cannot be made yet waits for the others. The file has the storage format of DuckDB 1.0, which every DuckDB of HitKeep opens.

use std::fs::File;
use std::path::Path;

use super::export::{Table, count_rows, read_script};
use super::script::{self, Copy};
use super::{DuckError, Session, quoted};
use crate::hitkeep;

const ALIAS: &str = "hitkeep_plan_restored";

/// How many rows DuckDB keeps together.
const ROW_GROUP: u64 = 122_880;

/// How much memory there must be for each row group that is loaded in one transaction, and how many there are at most.
///
/// What a transaction adds to the index of a primary key must stay in memory until it commits, and what is not
/// checkpointed is in the way of building the other indexes. Measured with 16-byte keys: 10 million rows at once need
/// more than 512 MiB, piece by piece they do not; a million at once need more than 128 MiB.
const MEMORY_PER_GROUP: u64 = 64 << 20;
const MOST_GROUPS: u64 = 8;

/// How much memory building an index takes for each row, in bytes, measured with keys of two columns.
const MEMORY_PER_INDEXED_ROW: u64 = 100;

/// What a load made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The tables and how many rows arrived in each.
    pub tables: Vec<Table>,
    /// Views that cannot be made of what there is, in the engine's words: the source tolerates a view on a table that
    /// was dropped, and no data is in a view.
    pub left_out: Vec<String>,
}

/// Loads the snapshot in the folder `from` into a new database file `into`, and counts what arrived.
///
/// `at` is told each table before it is loaded. When this returns, the file is checkpointed, closed and synced.
///
/// # Errors
/// When a script or a data file cannot be read, the engine refuses a statement, or the file cannot be written.
pub fn load(session: &Session, from: &Path, into: &Path, at: &dyn Fn(&str)) -> Result<Loaded, DuckError> {
    let schema_script = read_script(from, hitkeep::SCHEMA_FILE)?;
    let load_script = read_script(from, hitkeep::LOAD_FILE)?;
    let (indexes, definitions): (Vec<&str>, Vec<&str>) =
        script::statements(&schema_script).into_iter().partition(|one| script::creates_index(one));
    let copies: Vec<Copy<'_>> =
        script::statements(&load_script).into_iter().map(read_copy).collect::<Result<_, _>>()?;
    let rows: Vec<u64> = copies.iter().map(|copy| row_count(session, from, copy)).collect::<Result<_, _>>()?;
    let long = long_tables(session, &copies, &rows);
    let (early, late) = indexes.into_iter().partition(|index: &&str| long.contains(&script::indexed_table(index)));

    session.attach(into, ALIAS, "STORAGE_VERSION 'v1.0.0'")?;
    session.run("entering the new database", &format!("USE {ALIAS}"))?;
    let left_out = define(session, definitions)?;
    define(session, early)?;
    copies.iter().zip(&rows).try_for_each(|(copy, rows)| load_table(session, from, copy, *rows, at))?;
    at("indexes");
    define(session, late)?;
    let tables = count_rows(session, &copies)?;
    session.run("writing the new database", &format!("CHECKPOINT {ALIAS}; USE memory; DETACH {ALIAS}"))?;
    make_durable(into)?;
    Ok(Loaded { tables, left_out })
}

fn read_copy(statement: &str) -> Result<Copy<'_>, DuckError> {
    script::copy(statement).ok_or_else(|| {
        DuckError::Differs(format!("`{}` holds a statement that is no COPY: `{statement}`", hitkeep::LOAD_FILE))
    })
}

/// Runs definitions in any order that works: each round tries what is left, until nothing is or nothing moves. Returns
/// the views that are left then; anything else that is left is an error.
fn define(session: &Session, mut waiting: Vec<&str>) -> Result<Vec<String>, DuckError> {
    loop {
        let before = waiting.len();
        let mut refusals = Vec::new();
        waiting.retain(|statement| match define_one(session, statement) {
            Ok(()) => false,
            Err(error) => {
                refusals.push((script::creates_view(statement), error));
                true
            }
        });
        if let Some(stopped) = refusals.iter().position(|(_, error)| matches!(error, DuckError::Interrupted { .. })) {
            return Err(refusals.swap_remove(stopped).1);
        }
        if waiting.len() < before && !waiting.is_empty() {
            continue;
        }
        let (views, others): (Vec<_>, Vec<_>) = refusals.into_iter().partition(|(is_view, _)| *is_view);
        return match others.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(views.into_iter().map(|(_, error)| error.to_string()).collect()),
        };
    }
}

/// Returns the tables whose indexes would not fit into memory if they were built at once. Those are kept up to date
/// while the rows come in, which takes longer and needs no more memory than a piece.
fn long_tables(session: &Session, copies: &[Copy<'_>], rows: &[u64]) -> Vec<(Option<String>, String)> {
    let room = session.memory().0.saturating_sub(MEMORY_PER_GROUP) / MEMORY_PER_INDEXED_ROW;
    copies.iter().zip(rows).filter(|(_, rows)| **rows > room).map(|(copy, _)| copy.names()).collect()
}

/// Runs one definition; that of a sequence which is used up needs another way.
fn define_one(session: &Session, statement: &str) -> Result<(), DuckError> {
    let defined = session.run("defining", statement);
    match (&defined, script::one_step_back(statement)) {
        (Err(DuckError::Refused { .. }), Some(remade)) => session.run("defining", &remade).or(defined),
        _ => defined,
    }
}

/// Loads one file of rows; a long one piece by piece, each in a transaction of its own.
fn load_table(session: &Session, from: &Path, copy: &Copy<'_>, rows: u64, at: &dyn Fn(&str)) -> Result<(), DuckError> {
    let (_, name) = copy.names();
    let doing = format!("loading `{name}`");
    let file = quoted(&from.join(&copy.file))?;
    at(&name);
    let piece = ROW_GROUP * (session.memory().0 / MEMORY_PER_GROUP).clamp(1, MOST_GROUPS);
    if rows <= piece {
        return session.run(&doing, &format!("COPY {} FROM {file} {}", copy.table, copy.options));
    }
    let mut first = 0;
    while first < rows {
        at(&format!("{name} {} %", first * 100 / rows));
        let beyond = first + piece;
        let within = format!("file_row_number >= {first} AND file_row_number < {beyond}");
        let insert = format!("INSERT INTO {} SELECT * FROM read_parquet({file}) WHERE {within}", copy.table);
        session.run(&doing, &format!("{insert}; CHECKPOINT {ALIAS}"))?;
        first = beyond;
    }
    Ok(())
}

/// Reads from its footer how many rows a file holds; none of one that is not Parquet, which is loaded in one piece.
fn row_count(session: &Session, from: &Path, copy: &Copy<'_>) -> Result<u64, DuckError> {
    let path = from.join(&copy.file);
    if !path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("parquet")) {
        return Ok(0);
    }
    let sql = format!("SELECT coalesce(sum(num_rows), 0)::UBIGINT FROM parquet_file_metadata({})", quoted(&path)?);
    session.value("reading a file's footer", &sql)
}

/// Syncs the finished file, after making sure that nothing of it is left in a log beside it.
fn make_durable(path: &Path) -> Result<(), DuckError> {
    if let Some(log) = hitkeep::companions(path).into_iter().find(|log| log.exists()) {
        return Err(DuckError::Differs(format!("`{}` is left after a checkpoint", log.display())));
    }
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|cause| DuckError::File { doing: "sync", path: path.to_owned(), cause })
}
