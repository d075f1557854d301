//! A long table is loaded piece by piece, and comes back whole.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use hitkeep_plan::duck::{Limits, Session, compare, export, load};
use hitkeep_plan::measure::Bytes;
use hitkeep_plan::plan::Codec;

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
    CREATE TABLE edge AS SELECT range AS i FROM range(245760);
    CREATE TABLE beyond AS SELECT range AS i FROM range(245761);
";

#[test]
fn a_table_of_many_rows_comes_back_whole_within_its_memory() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { memory: Bytes(128 << 20), spill: folder.path().join("spill") };
    let (source, exported, restored) =
        (folder.path().join("source.db"), folder.path().join("exported"), folder.path().join("restored.db"));
    let make = duckdb::Connection::open(&source).unwrap();
    make.execute_batch(LONG).unwrap();
    drop(make);
    std::fs::create_dir(&exported).unwrap();

    let out = export::export(&Session::open(&limits).unwrap(), &source, &exported, Codec::Zstd).unwrap();
    let places = std::sync::Mutex::new(Vec::new());
    let at = |place: &str| places.lock().unwrap().push(place.to_owned());
    let loaded = load::load(&Session::open(&limits).unwrap(), &exported, &restored, &at).unwrap();

    assert_eq!(loaded.tables, out.tables);
    assert_eq!(loaded.left_out, Vec::<String>::new());
    let session = Session::open(&limits).unwrap();
    let contents = |path| compare::contents(&session, path).unwrap();
    assert_eq!(contents(&source), contents(&restored));
    let places = places.into_inner().unwrap();
    let of = |table: &str| places.iter().filter(|place| place.starts_with(table)).cloned().collect::<Vec<_>>();
    assert_eq!(of("long"), ["long", "long 0 %", "long 40 %", "long 81 %"]);
    assert_eq!((of("edge").len(), of("beyond").len()), (1, 3), "a piece more only where it is needed");
    assert_eq!(places.last().map(String::as_str), Some("indexes"));
}
