//! A server that was killed: nobody has the database open, and it is captured as DuckDB would recover it.

use std::time::Duration;

use hitkeep_plan::duck::capture::look;

use super::engine::{Connection, Engine, Kind};
use super::{Place, log_of, number};

const ENGINES: &[Kind] = &[Kind::Wheel("1.4.4"), Kind::Wheel("1.5.4"), Kind::Wheel("2.0.0"), Kind::Linked];

const COUNT: &str = "SELECT count(*) FROM t";

/// Fills a database with five rows that are in its file, and five that are in its log only.
fn fill(connection: &Connection) {
    connection.must("CREATE TABLE t AS SELECT range AS a FROM range(5); CHECKPOINT;");
    connection.must("INSERT INTO t SELECT range FROM range(5);");
}

/// Commits one row, and another one to the log of the time of a checkpoint that `second` begins; a reader of an old state
/// lets that be.
fn commit_during_checkpoint(place: &Place, first: &Connection, second: &Connection, reader: &Connection) {
    reader.must("BEGIN; SELECT count(*) FROM t;");
    first.must("INSERT INTO t VALUES (10);");
    second.begin("CHECKPOINT;");
    while !look(&place.live()).unwrap().is_checkpointing {
        std::thread::sleep(Duration::from_millis(5));
    }
    first.must("INSERT INTO t VALUES (11);");
}

#[test]
fn what_was_logged_is_in_the_copy() {
    for kind in ENGINES {
        let place = Place::new();
        let Some((engine, [first])) = Engine::start::<1>(*kind, &place.live()) else { return };
        fill(&first);
        engine.kill();
        assert_eq!(look(&place.live()).unwrap().holder, None);
        let captured = place.capture().unwrap();
        assert_eq!((captured.tries, captured.rejected.len()), (1, 0), "{}", kind.name());
        assert_eq!(number(&place.copy(), COUNT), Ok(10), "{}", kind.name());
    }
}

#[test]
fn what_a_checkpoint_that_was_killed_leaves_is_put_together() {
    for kind in &ENGINES[1..] {
        let place = Place::new();
        let Some((engine, [first, second, reader])) = Engine::start::<3>(*kind, &place.live()) else { return };
        fill(&first);
        first.must("SET debug_checkpoint_sleep_ms = 60000;");
        commit_during_checkpoint(&place, &first, &second, &reader);
        engine.kill();
        assert!(place.path("live.db.wal.checkpoint").exists(), "{}", kind.name());
        let captured = place.capture().unwrap();
        assert_eq!((captured.tries, captured.rejected.len()), (1, 0), "{}", kind.name());
        assert_eq!(number(&place.copy(), COUNT), Ok(12), "{}", kind.name());
    }
}

#[test]
fn what_was_committed_during_a_checkpoint_that_ended_but_for_its_log_is_all_that_is_replayed() {
    for kind in &ENGINES[1..] {
        let place = Place::new();
        let Some((engine, [first, second, reader])) = Engine::start::<3>(*kind, &place.live()) else { return };
        fill(&first);
        first.must("SET debug_checkpoint_sleep_ms = 2000; SET debug_checkpoint_abort = 'before_truncate';");
        commit_during_checkpoint(&place, &first, &second, &reader);
        assert!(second.wait().is_err(), "{}", kind.name());
        engine.kill();
        assert!(log_of(&place.live()).exists() && place.path("live.db.wal.checkpoint").exists(), "{}", kind.name());
        let captured = place.capture().unwrap();
        assert_eq!((captured.tries, captured.rejected.len()), (1, 0), "{}", kind.name());
        assert_eq!(number(&place.copy(), COUNT), Ok(12), "{}", kind.name());
    }
}

#[test]
fn a_checkpoint_that_ended_but_for_its_log_is_not_replayed_twice() {
    for kind in ENGINES {
        let place = Place::new();
        let Some((engine, [first])) = Engine::start::<1>(*kind, &place.live()) else { return };
        fill(&first);
        first.must("SET debug_checkpoint_abort = 'before_truncate';");
        assert!(first.run("CHECKPOINT;").is_err());
        engine.kill();
        assert!(log_of(&place.live()).exists(), "{}", kind.name());
        let captured = place.capture().unwrap();
        assert_eq!((captured.tries, captured.log_bytes), (1, 0), "{}", kind.name());
        assert_eq!(number(&place.copy(), COUNT), Ok(10), "{}", kind.name());
    }
}

#[test]
fn a_checkpoint_that_was_killed_before_its_header_is_as_if_it_had_not_begun() {
    for kind in ENGINES {
        let place = Place::new();
        let Some((engine, [first])) = Engine::start::<1>(*kind, &place.live()) else { return };
        fill(&first);
        first.must("SET debug_checkpoint_abort = 'before_header';");
        assert!(first.run("CHECKPOINT;").is_err());
        engine.kill();
        let captured = place.capture().unwrap();
        assert!(captured.tries == 1 && captured.log_bytes > 0, "{}", kind.name());
        assert_eq!(number(&place.copy(), COUNT), Ok(10), "{}", kind.name());
    }
}
