//! Every format from DuckDB 1.1 to 2.0 is captured, and so is what a killed server leaves.

use hitkeep_plan::duck::capture::look;

use super::engine::{Connection, Engine, Kind};
use super::{Place, number};

/// An engine, how a database is asked of it, and the storage version that comes of it.
const FORMATS: &[(Kind, &str, u64)] = &[
    (Kind::Wheel("1.1.3"), "", 64),
    (Kind::Wheel("1.2.2"), "", 64),
    (Kind::Wheel("1.2.2"), "v1.2.0", 65),
    (Kind::Wheel("1.3.2"), "v1.3.0", 65),
    (Kind::Wheel("1.4.4"), "v1.4.0", 67),
    (Kind::Wheel("1.5.4"), "", 64),
    (Kind::Wheel("1.5.4"), "v1.5.0", 68),
    (Kind::Wheel("2.0.0"), "v1.0.0", 64),
    (Kind::Wheel("2.0.0"), "", 69),
    (Kind::Linked, "v1.5.0", 68),
];

/// Fills a database with what is in its file, and what is in its log only: small rows, and rows that the log refers to.
fn fill(connection: &Connection) {
    connection
        .must("CREATE TABLE t (a INTEGER PRIMARY KEY, b VARCHAR); INSERT INTO t SELECT range, 'x' FROM range(1000);");
    connection.must("CHECKPOINT;");
    connection.must("UPDATE t SET b = 'y' WHERE a < 10; INSERT INTO t VALUES (5000, 'z');");
    connection.must("CREATE TABLE u AS SELECT range AS k FROM range(130000); CREATE INDEX i ON u (k);");
}

const QUERY: &str = "SELECT (SELECT count(*) FROM t) + (SELECT count(*) FROM t WHERE b = 'y') + (SELECT count(*) FROM u) \
                     + (SELECT count(*) FROM u WHERE k = 77)";
const EXPECTED: i64 = 1001 + 10 + 130_000 + 1;

#[test]
fn every_format_is_captured_while_its_engine_has_it_open() {
    for (kind, version, storage) in FORMATS {
        let place = Place::new();
        // The engine opens a database beside, and makes the live one as it is asked.
        let Some((engine, [connection])) = Engine::start::<1>(*kind, &place.path("beside.db")) else { continue };
        let option = if version.is_empty() { String::new() } else { format!("(STORAGE_VERSION '{version}')") };
        connection.must(&format!("ATTACH '{}' AS live {option}; USE live;", place.live().display()));
        fill(&connection);
        let state = look(&place.live()).unwrap();
        assert_eq!((state.storage_version, state.is_checkpointing), (*storage, false), "{} {version}", kind.name());
        assert!(state.holder.unwrap().contains(&format!("(PID {})", engine.id())), "{}", kind.name());
        let captured = place.capture().unwrap();
        assert_eq!((captured.storage_version, captured.tries), (*storage, 1), "{} {version}", kind.name());
        assert!(captured.log_bytes > 0 && captured.library.starts_with('v'), "{captured:?}");
        assert_eq!(number(&place.copy(), QUERY), Ok(EXPECTED), "{} {version}", kind.name());
    }
}
