//! What of a snapshot is defined when: before its rows, or after them.
//!
//! An index that is built of rows which are there takes less time than one that is kept up to date while they come in,
//! and all of it must be in memory until it is written to the file. One that is kept up to date can be written piece by
//! piece, and only what the next piece touches comes back: next to nothing where the rows lie in the order of its keys,
//! as they do by time, and everything where its keys are scattered over them, as those of a random id are. So of a long
//! table, the indexes in whose order the rows lie come first, and the scattered ones come last, one after the other.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::{MEMORY_PER_KEYED_GROUP, ROW_GROUP, checkpoint};
use crate::duck::script::{self, Keyless};
use crate::duck::{DuckError, Session};
use crate::measure::Bytes;

/// How much memory building an index takes for each row, in bytes, measured with keys of two columns.
const MEMORY_PER_INDEXED_ROW: u64 = 100;

/// The same for one whose keys are scattered over the rows of a long table. Measured with a random id for every three rows,
/// 25 million of them: 32 are enough for one thread and 33 for two. Where it is not enough, the index is built again in more.
const MEMORY_PER_SCATTERED_ROW: u64 = 32;

/// A table's schema, where the script has one, and its name.
pub(super) type TableName = (Option<String>, String);

/// Returns how much memory it takes to bring so many rows into an index, in bytes.
pub(in crate::duck) fn memory_to_index(rows: u64) -> u64 {
    rows.saturating_mul(MEMORY_PER_INDEXED_ROW)
}

/// What is defined when.
#[derive(Default)]
pub(super) struct Order<'s> {
    /// Everything but indexes, some tables without their keys: before any rows.
    pub(super) first: Vec<Cow<'s, str>>,
    /// The tables that get their keys when their rows are in.
    pub(super) keyless: BTreeSet<TableName>,
    /// The indexes of long tables in whose order the rows lie: also before the rows.
    pub(super) early: Vec<&'s str>,
    /// The keys and the other indexes: after the rows.
    pub(super) late: Vec<Late<'s>>,
}

/// A key or an index that is built of the rows that are there.
pub(super) struct Late<'s> {
    statement: Cow<'s, str>,
    /// How much memory it is reckoned to take, in bytes.
    memory: u64,
}

impl<'s> Order<'s> {
    /// Puts the statements of a schema in order. `rows` tells how long each table is; of an index of a long one,
    /// `is_scattered` tells whether its keys are scattered over the rows.
    pub(super) fn new(
        memory: Bytes,
        statements: &[&'s str],
        rows: impl Fn(&TableName) -> u64,
        is_scattered: impl Fn(&TableName, &str) -> Result<bool, DuckError>,
    ) -> Result<Self, DuckError> {
        let room = memory.0.saturating_sub(MEMORY_PER_KEYED_GROUP) / MEMORY_PER_INDEXED_ROW;
        let referred: BTreeSet<String> = statements.iter().copied().flat_map(script::referred_tables).collect();
        // A key that others refer to cannot come late; for few rows it makes no difference.
        let waits =
            |one: &Keyless| (ROW_GROUP + 1..=room).contains(&rows(&one.table)) && !referred.contains(&one.table.1);
        let (mut order, mut indexes) = (Self::default(), Vec::new());
        for &statement in statements {
            if let Some((table, keys)) = script::indexed(statement) {
                let rows = rows(&table);
                let memory_per_row = match rows <= room {
                    true => MEMORY_PER_INDEXED_ROW,
                    false if is_scattered(&table, keys)? => MEMORY_PER_SCATTERED_ROW,
                    false => {
                        order.early.push(statement);
                        continue;
                    }
                };
                indexes.push(Late { statement: Cow::Borrowed(statement), memory: rows * memory_per_row });
            } else if let Some(Keyless { table, create, add_key }) = script::keyless(statement).filter(waits) {
                order.first.push(Cow::Owned(create));
                order.late.push(Late { statement: Cow::Owned(add_key), memory: rows(&table) * MEMORY_PER_INDEXED_ROW });
                order.keyless.insert(table);
            } else {
                order.first.push(Cow::Borrowed(statement));
            }
        }
        // The engine changes no table that has an index.
        order.late.append(&mut indexes);
        Ok(order)
    }
}

impl Late<'_> {
    /// Builds it and writes it to the file: until then it fills memory that nobody else can have.
    pub(super) fn build(&self, session: &Session, alias: &str) -> Result<(), DuckError> {
        let mut memory = self.memory;
        loop {
            let share = session.take_more(memory)?;
            match (session.run("defining", &self.statement), share.more()) {
                (Err(error), Some(more)) if error.is_lack_of_memory() => memory = more,
                (defined, _) => return defined.and_then(|()| checkpoint(session, "writing an index", alias)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HITS: [&str; 5] = [
        "CREATE TABLE hits(id UUID, site UUID, session UUID, at TIMESTAMP, PRIMARY KEY(id))",
        "CREATE TABLE sites(id UUID, PRIMARY KEY(id))",
        "CREATE INDEX by_time ON hits(site, at)",
        "CREATE INDEX by_session ON hits(session)",
        "CREATE INDEX of_sites ON sites(id)",
    ];

    /// Returns what comes first, early and late when `hits` has so many rows, and 512 MiB of memory are there.
    fn order(rows: u64) -> [Vec<String>; 3] {
        let rows = |table: &TableName| if table.1 == "hits" { rows } else { 10 };
        let is_scattered = |_: &TableName, keys: &str| Ok(keys == "session");
        let Ok(order) = Order::new(Bytes(512 << 20), &HITS, rows, is_scattered) else { return Default::default() };
        let late = order.late.iter().map(|late| format!("{} B: {}", late.memory, late.statement));
        let owned = |statements: Vec<&str>| statements.into_iter().map(str::to_owned).collect();
        [owned(order.first.iter().map(AsRef::as_ref).collect()), owned(order.early), late.collect()]
    }

    #[test]
    fn few_rows_are_indexed_when_they_are_there() {
        let [first, early, late] = order(1000);
        assert_eq!((first, early), (HITS[..2].iter().map(|one| (*one).to_owned()).collect(), vec![]));
        assert_eq!(
            late,
            [
                "100000 B: CREATE INDEX by_time ON hits(site, at)",
                "100000 B: CREATE INDEX by_session ON hits(session)",
                "1000 B: CREATE INDEX of_sites ON sites(id)"
            ]
        );
    }

    #[test]
    fn a_key_comes_late_too_where_there_is_memory_for_it() {
        let [first, early, late] = order(4_000_000);
        assert_eq!(first, ["CREATE TABLE hits(id UUID, site UUID, session UUID, at TIMESTAMP)", HITS[1]]);
        assert_eq!((early, late[0].as_str()), (vec![], "400000000 B: ALTER TABLE hits ADD PRIMARY KEY(id)"));
        assert_eq!(late.len(), 4);
    }

    #[test]
    fn of_many_rows_only_scattered_keys_come_late() {
        let [first, early, late] = order(25_000_000);
        assert_eq!((first, early), (HITS[..2].iter().map(|one| (*one).to_owned()).collect(), vec![HITS[2].to_owned()]));
        assert_eq!(
            late,
            ["800000000 B: CREATE INDEX by_session ON hits(session)", "1000 B: CREATE INDEX of_sites ON sites(id)"]
        );
    }
}
