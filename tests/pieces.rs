//! A long table is loaded piece by piece, and comes back whole.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hitkeep_plan::duck::compare::Content;
use hitkeep_plan::duck::export::{Exported, Form, Table};
use hitkeep_plan::duck::load::Step;
use hitkeep_plan::duck::{Database, Limits, Session, compare, export, load};
use hitkeep_plan::measure::Bytes;
use hitkeep_plan::plan::Codec;

use crate::fixture::read_tree;

/// Rows that fill two pieces of 128 MiB and a part of a third, under keys, a default, a check and a generated column.
const LONG: &str = "
    CREATE TABLE parents(id INTEGER PRIMARY KEY);
    INSERT INTO parents SELECT range FROM range(10);
    CREATE TABLE long(
        id UUID PRIMARY KEY DEFAULT (uuidv7()),
        parent INTEGER NOT NULL REFERENCES parents(id),
        seen TIMESTAMPTZ,
        big HUGEINT CHECK (big >= 0),
        double INTEGER GENERATED ALWAYS AS (parent * 2) VIRTUAL,
        tags VARCHAR[]
    );
    INSERT INTO long
        SELECT md5(i::VARCHAR)::UUID, i % 10, make_timestamp(i * 1000000)::TIMESTAMPTZ, i::HUGEINT << 60, [i::VARCHAR, NULL]
        FROM range(600000) AS t(i);
    CREATE INDEX long_seen ON long(seen);
    CREATE TABLE hits(id UUID, site INTEGER NOT NULL, PRIMARY KEY (id), FOREIGN KEY (site) REFERENCES parents(id));
    INSERT INTO hits SELECT id, parent FROM long;
    CREATE INDEX hits_site ON hits(site, id);
    CREATE TABLE edge AS SELECT range AS i FROM range(245760);
    CREATE TABLE beyond AS SELECT range AS i FROM range(245761);
";

/// Makes a database and its export, and returns their places.
fn exported(folder: &Path, limits: &Limits, statements: &str) -> (PathBuf, PathBuf, Exported) {
    let (source, exported) = (folder.join("source.db"), folder.join("exported"));
    let make = duckdb::Connection::open(&source).unwrap();
    make.execute_batch(statements).unwrap();
    drop(make);
    std::fs::create_dir(&exported).unwrap();
    let out = export_to(&exported, &source, limits, false);
    (source, exported, out)
}

fn export_to(folder: &Path, source: &Path, limits: &Limits, is_repeatable: bool) -> Exported {
    let form = Form { codec: Codec::Zstd, is_repeatable };
    export::export(&Session::open(limits).unwrap(), &Database::Source(source.to_owned()), folder, form).unwrap()
}

/// Returns the tables of an export as a load counts them, without the digests of their rows.
fn counted(out: &Exported) -> Vec<Table> {
    out.tables.iter().map(|table| Table { digest: None, ..table.clone() }).collect()
}

fn contents(path: &Path, limits: &Limits) -> BTreeMap<(String, String), Content> {
    compare::contents(&Session::open(limits).unwrap(), path).unwrap()
}

/// Returns the constraints and indexes of a database, as text and in order.
fn constraints(path: &Path) -> Vec<String> {
    let engine = duckdb::Connection::open(path).unwrap();
    let sql = "SELECT concat_ws(' ', table_name, constraint_text) AS text FROM duckdb_constraints() \
               UNION ALL SELECT sql FROM duckdb_indexes() ORDER BY ALL";
    let mut query = engine.prepare(sql).unwrap();
    query.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn the_same_rows_make_the_same_files_where_that_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { memory: Bytes(128 << 20), most: Bytes(128 << 20), spill: folder.path().join("spill") };
    let (source, ..) = exported(folder.path(), &limits, LONG);
    let [first, second, third] = ["first", "second", "third"].map(|name| {
        let into = folder.path().join(name);
        std::fs::create_dir(&into).unwrap();
        export_to(&into, &source, &limits, true);
        let mut files = read_tree(&into);
        // What loads them names the folder.
        files.remove(Path::new("load.sql")).unwrap();
        files
    });
    assert!(first.len() > 4, "{:?}", first.keys());
    assert!(first == second && second == third);
}

#[test]
fn a_table_of_many_rows_comes_back_whole_within_its_memory() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { memory: Bytes(128 << 20), most: Bytes(128 << 20), spill: folder.path().join("spill") };
    let (source, exported, out) = exported(folder.path(), &limits, LONG);
    let restored = folder.path().join("restored.db");

    let (places, moved) = (std::sync::Mutex::new(Vec::new()), std::sync::Mutex::new(Vec::new()));
    let tell = |step: Step<'_>| match step {
        Step::At(place) => places.lock().unwrap().push(place.to_owned()),
        Step::Loaded(Bytes(bytes)) => moved.lock().unwrap().push(bytes),
    };
    let loaded = load::load(&Session::open(&limits).unwrap(), &exported, &restored, &tell).unwrap();

    assert_eq!(loaded.tables, counted(&out));
    assert_eq!(loaded.left_out, Vec::<String>::new());
    assert_eq!(contents(&source, &limits), contents(&restored, &limits));
    assert_eq!(constraints(&source), constraints(&restored));
    let places = places.into_inner().unwrap();
    let of = |table: &str| places.iter().filter(|place| place.starts_with(table)).cloned().collect::<Vec<_>>();
    assert_eq!(of("long"), ["long", "long 0 %", "long 40 %", "long 81 %"]);
    assert_eq!(of("hits"), ["hits"], "what has no key yet needs less");
    assert_eq!((of("edge").len(), of("beyond").len()), (1, 3), "a piece more only where it is needed");
    assert_eq!(places.last().map(String::as_str), Some("indexes"));
    let moved = moved.into_inner().unwrap();
    assert_eq!(Bytes(moved.iter().sum()), load::data_size(&exported), "every byte of every file, once");
    assert!(moved.len() > out.tables.len() && moved.iter().all(|bytes| *bytes > 0), "{moved:?}");
}

#[test]
fn databases_that_are_loaded_at_the_same_time_share_the_memory() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { memory: Bytes(128 << 20), most: Bytes(128 << 20), spill: folder.path().join("spill") };
    let (source, exported, out) = exported(folder.path(), &limits, LONG);
    let restored = ["one.db", "two.db", "three.db"].map(|name| folder.path().join(name));

    let sessions = Session::open_several(&limits, 3, 3).unwrap();
    std::thread::scope(|scope| {
        for (session, restored) in sessions.into_iter().zip(&restored) {
            let (exported, out) = (&exported, &out);
            scope.spawn(move || {
                let loaded = load::load(&session, exported, restored, &|_: Step<'_>| ()).unwrap();
                assert_eq!(loaded.tables, counted(out));
            });
        }
    });
    for restored in &restored {
        assert_eq!(contents(&source, &limits), contents(restored, &limits));
    }
}

#[test]
fn a_long_table_that_numbers_its_rows_itself_comes_back_whole() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { memory: Bytes(128 << 20), most: Bytes(128 << 20), spill: folder.path().join("spill") };
    let numbered = "CREATE TABLE numbered AS SELECT 7 AS \"File_Row_Number\", range AS i FROM range(300000);";
    let (source, exported, out) = exported(folder.path(), &limits, numbered);
    let restored = folder.path().join("restored.db");
    let loaded = load::load(&Session::open(&limits).unwrap(), &exported, &restored, &|_: Step<'_>| ()).unwrap();
    assert_eq!(loaded.tables, counted(&out));
    assert_eq!(contents(&source, &limits), contents(&restored, &limits));
}
