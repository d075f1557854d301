//! A snapshot becomes a database again, in a new file.
//!
//! Not by `IMPORT DATABASE`: that maintains every index row by row while it loads, and stops where one definition
//! needs a later one. Here tables come first, then rows, then the keys and indexes that fit into memory, and a
//! definition that cannot be made yet waits for the others. A key that comes late is the same key; only its place among
//! the table's constraints is the last one. The file has the storage format of DuckDB 1.4, which every DuckDB of HitKeep
//! opens, and which takes a third less time to write than that of 1.0.

mod order;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use super::export::{Table, count_rows, read_script};
use super::script::{self, Copy};
use super::{DuckError, Session, quoted};
use crate::hitkeep;
use crate::measure::Bytes;
pub(super) use order::memory_to_index;
use order::{Order, TableName};

const ALIAS: &str = "hitkeep_plan_restored";

/// How many rows DuckDB keeps together.
const ROW_GROUP: u64 = 122_880;

/// The column that DuckDB numbers the rows of a file in, from 0, unless the file has a column of this name.
const ROW_NUMBER: &str = "file_row_number";

/// How many row groups are loaded in one transaction at most.
const MOST_GROUPS: u64 = 8;

/// How much memory there must be for each row group of a transaction that keeps a primary key up to date.
///
/// What a transaction adds to the index of a primary key must stay in memory until it commits, and what is not
/// checkpointed is in the way of building the other indexes. Measured with 16-byte keys: 10 million rows at once need
/// more than 512 MiB, piece by piece they do not; a million at once need more than 128 MiB.
const MEMORY_PER_KEYED_GROUP: u64 = 64 << 20;

/// The same for a table without one. Measured: a million rows at once do not need 128 MiB.
const MEMORY_PER_GROUP: u64 = 16 << 20;

/// How many rows of a long table are looked at to see in whose order they lie.
const SAMPLE: u64 = 100_000;

/// Which part of a table lies between two rows that are far apart.
const FAR: u64 = 20;

/// How the new file is attached. It has no write-ahead log: one that is not finished is thrown away, and each index would
/// be written twice.
const NEW_FILE: &str = "STORAGE_VERSION 'v1.4.0', RECOVERY_MODE 'no_wal_writes'";

/// How far a load is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'s> {
    /// What comes next: a table, a piece of one, or the indexes.
    At(&'s str),
    /// So many more bytes of the data files are loaded.
    Loaded(Bytes),
}

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
/// `tell` is told each table before it is loaded, and the bytes of its file as they are loaded: all in all as many as
/// [`data_size`] says. When this returns, the file is checkpointed, closed and synced.
///
/// # Errors
/// When a script or a data file cannot be read, the engine refuses a statement, or the file cannot be written.
pub fn load(session: &Session, from: &Path, into: &Path, tell: &dyn Fn(Step<'_>)) -> Result<Loaded, DuckError> {
    let schema_script = read_script(from, hitkeep::SCHEMA_FILE)?;
    let load_script = read_script(from, hitkeep::LOAD_FILE)?;
    let copies: Vec<Copy<'_>> =
        script::statements(&load_script).into_iter().map(read_copy).collect::<Result<_, _>>()?;
    let rows: Vec<u64> = copies.iter().map(|copy| row_count(session, from, copy)).collect::<Result<_, _>>()?;
    let order = in_order(session, from, &script::statements(&schema_script), copies.iter().zip(rows.iter().copied()))?;

    let alias = format!("{ALIAS}_{}", session.number);
    session.attach(into, &alias, NEW_FILE)?;
    session.run("entering the new database", &format!("USE {alias}"))?;
    let left_out = define(session, order.first.iter().map(AsRef::as_ref).collect())?;
    define(session, order.early)?;
    for (copy, rows) in copies.iter().zip(rows) {
        let pace = Pace::of(session, !order.keyless.contains(&copy.names()));
        load_table(session, &Source { from, alias: &alias, copy, rows }, pace, tell)?;
    }
    tell(Step::At("indexes"));
    order.late.iter().try_for_each(|late| late.build(session, &alias))?;
    let tables = count_rows(session, &copies)?;
    checkpoint(session, "writing the new database", &alias)?;
    session.run("leaving the new database", &format!("USE memory; DETACH {alias}"))?;
    make_durable(into)?;
    Ok(Loaded { tables, left_out })
}

/// Returns the size of the files in the folder of a snapshot that hold its rows, as far as its script can be read.
#[must_use]
pub fn data_size(from: &Path) -> Bytes {
    let load_script = read_script(from, hitkeep::LOAD_FILE).unwrap_or_default();
    let copies = script::statements(&load_script).into_iter().filter_map(script::copy);
    Bytes(copies.map(|copy| file_size(from, &copy)).sum())
}

fn file_size(from: &Path, copy: &Copy<'_>) -> u64 {
    from.join(&copy.file).metadata().map_or(0, |about| about.len())
}

pub(super) fn read_copy(statement: &str) -> Result<Copy<'_>, DuckError> {
    script::copy(statement).ok_or_else(|| {
        DuckError::Differs(format!("`{}` holds a statement that is no COPY: `{statement}`", hitkeep::LOAD_FILE))
    })
}

/// Puts the statements of a schema in order, for these tables of so many rows.
fn in_order<'s, 'c>(
    session: &Session,
    from: &Path,
    statements: &[&'s str],
    copies: impl Iterator<Item = (&'c Copy<'c>, u64)>,
) -> Result<Order<'s>, DuckError> {
    let tables: BTreeMap<TableName, _> = copies.map(|(copy, rows)| (copy.names(), (&copy.file, rows))).collect();
    let rows = |table: &_| tables.get(table).map_or(0, |(_, rows)| *rows);
    let is_scattered = |table: &_, keys: &_| match tables.get(table) {
        Some((file, rows)) => is_scattered(session, &quoted(&from.join(file))?, *rows, keys),
        None => Ok(false),
    };
    Order::new(session.memory(), statements, rows, is_scattered)
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

/// Runs one definition; that of a sequence which is used up needs another way.
fn define_one(session: &Session, statement: &str) -> Result<(), DuckError> {
    let defined = session.run("defining", statement);
    match (&defined, script::one_step_back(statement)) {
        (Err(DuckError::Refused { .. }), Some(remade)) => session.run("defining", &remade).or(defined),
        _ => defined,
    }
}

/// How the rows of a table come in.
#[derive(Clone, Copy)]
struct Pace {
    /// How many in one transaction.
    piece: u64,
    /// How much memory each row group of a transaction takes.
    memory_per_group: u64,
}

impl Pace {
    fn of(session: &Session, is_keyed: bool) -> Self {
        let memory_per_group = if is_keyed { MEMORY_PER_KEYED_GROUP } else { MEMORY_PER_GROUP };
        let groups = (session.share().0 / memory_per_group).clamp(1, MOST_GROUPS);
        Self { piece: groups * ROW_GROUP, memory_per_group }
    }

    /// Returns how much memory the next transaction takes when `rows` are left.
    fn memory(&self, rows: u64) -> u64 {
        rows.min(self.piece).div_ceil(ROW_GROUP) * self.memory_per_group
    }
}

/// Where the rows of a table come from and go to.
struct Source<'s> {
    from: &'s Path,
    alias: &'s str,
    copy: &'s Copy<'s>,
    rows: u64,
}

/// Loads one file of rows; a long one piece by piece, each in a transaction of its own.
fn load_table(session: &Session, source: &Source<'_>, pace: Pace, tell: &dyn Fn(Step<'_>)) -> Result<(), DuckError> {
    let Source { from, alias, copy, rows } = *source;
    let (_, name) = copy.names();
    let doing = format!("loading `{name}`");
    let file = quoted(&from.join(&copy.file))?;
    let bytes = file_size(from, copy);
    tell(Step::At(&name));
    if rows <= pace.piece || hides_row_numbers(session, &file)? {
        let _taken = session.take(pace.memory(rows));
        session.run(&doing, &format!("COPY {} FROM {file} {}", copy.table, copy.options))?;
        tell(Step::Loaded(Bytes(bytes)));
        return Ok(());
    }
    let mut first = 0;
    while first < rows {
        tell(Step::At(&format!("{name} {} %", first * 100 / rows)));
        let beyond = first + pace.piece;
        let within = format!("{ROW_NUMBER} >= {first} AND {ROW_NUMBER} < {beyond}");
        let _taken = session.take(pace.memory(rows - first));
        session
            .run(&doing, &format!("INSERT INTO {} SELECT * FROM read_parquet({file}) WHERE {within}", copy.table))?;
        // What is not checkpointed is in the way of what comes next.
        checkpoint(session, &doing, alias)?;
        tell(Step::Loaded(Bytes(share(bytes, beyond.min(rows), rows) - share(bytes, first, rows))));
        first = beyond;
    }
    Ok(())
}

/// Returns how many of a file's bytes its first `part` rows take, as if all took the same.
fn share(bytes: u64, part: u64, rows: u64) -> u64 {
    let share = u128::from(bytes) * u128::from(part) / u128::from(rows);
    u64::try_from(share).unwrap_or(bytes)
}

/// Tells whether keys are scattered over the rows of a file, rather than coming in order or in a few orders at once: in a
/// sample, rows whose keys follow each other lie far apart.
fn is_scattered(session: &Session, file: &str, rows: u64, keys: &str) -> Result<bool, DuckError> {
    if hides_row_numbers(session, file)? {
        return Ok(true);
    }
    let (step, far) = (rows.div_ceil(SAMPLE), rows / FAR);
    let sql = format!(
        "SELECT coalesce(median(abs(place - place_before)) > {far}, false) FROM (
             SELECT place, lag(place) OVER (ORDER BY {keys}, place) AS place_before FROM (
                 SELECT {ROW_NUMBER} AS place, * FROM read_parquet({file}) WHERE {ROW_NUMBER} % {step} = 0))"
    );
    session.value("looking at the order of rows", &sql)
}

/// Tells whether a file has a column of its own by the name of that which numbers its rows: pieces cannot be told apart then.
fn hides_row_numbers(session: &Session, file: &str) -> Result<bool, DuckError> {
    let sql = format!("SELECT count(*) > 0 FROM parquet_schema({file}) WHERE lower(name) = '{ROW_NUMBER}'");
    session.value("reading a file's footer", &sql)
}

/// Writes to the file what is committed. `FORCE` waits for what the engine still winds up of the statements before;
/// without it a checkpoint is refused now and then, for a write that nobody else makes.
fn checkpoint(session: &Session, doing: &str, alias: &str) -> Result<(), DuckError> {
    session.run(doing, &format!("FORCE CHECKPOINT {alias}"))
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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;
    use crate::duck::Limits;

    /// Rows of a hundred sites in the order of time, as HitKeep writes them.
    const ROWS: &str = "SELECT uuidv7() AS id, uuid() AS visit, hash(row) % 100 AS site, to_timestamp(row) AS seen, \
                        concat('/', hash(-row) % 16) AS path FROM range(400_000) numbers(row)";

    #[test]
    fn keys_are_scattered_where_the_rows_are_not_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let (memory, file) = (Bytes(512 << 20), quoted(&folder.path().join("rows.parquet")).unwrap());
        let session = Session::open(&Limits { memory, most: memory, spill: folder.path().to_owned() }).unwrap();
        session.run("writing rows", &format!("SET preserve_insertion_order = true; COPY ({ROWS}) TO {file}")).unwrap();
        let keys = ["seen", "site, seen", "site, path", "path", "id", "visit", "site, visit", "hash(seen)"];
        let scattered = keys.map(|keys| (keys, is_scattered(&session, &file, 400_000, keys).unwrap()));
        let expected = [false, false, false, false, false, true, true, true];
        assert_eq!(scattered.map(|(_, is_scattered)| is_scattered), expected, "{scattered:?}");
    }
}
