//! A database that takes longer to copy than it keeps still: only the first pass copies all of it.

use std::cell::Cell;

use hitkeep_plan::duck::capture::{Rejection, capture};
use jiff::Timestamp;

use super::engine::{Engine, Kind};
use super::{PATIENCE, Place, number};

/// More than two of the strides of 64 MiB after which a pass asks whether it still has a use.
const MAKE: &str = "CREATE TABLE t AS SELECT hash(range) AS a, hash(range + 1) AS b FROM range(9000000); \
                    CREATE TABLE s (a INTEGER); CHECKPOINT; \
                    CREATE TABLE last AS SELECT range AS k FROM range(130000); CHECKPOINT;";

#[test]
fn a_pass_that_has_become_useless_is_broken_off_and_the_next_writes_only_what_differs() {
    let place = Place::new();
    let Some((_engine, [first])) = Engine::start::<1>(Kind::Linked, &place.live()) else { return };
    first.must(MAKE);
    let size = place.live().metadata().unwrap().len();
    assert!(size > 130 << 20, "{size}");
    let passes = Cell::new(0);
    let asked = Cell::new([0; 3]);
    let begin = || {
        passes.set(passes.get() + 1);
        Timestamp::now()
    };
    let disturb = || {
        let mut counts = asked.get();
        let count = &mut counts[passes.get() - 1];
        *count += 1;
        // The first pass is disturbed as soon as it has begun, the second after 64 MiB.
        if *count == passes.get() && passes.get() < 3 {
            first.must("INSERT INTO s VALUES (1); CHECKPOINT;");
        }
        asked.set(counts);
        false
    };
    let captured = capture(&place.live(), &place.copy(), &PATIENCE, &begin, &disturb).unwrap();
    let rejected: Vec<_> = captured.rejected.into_iter().collect();
    assert_eq!((captured.tries, rejected.as_slice()), (3, &[(Rejection::CheckpointEnded, 2)][..]));
    let [whole, broken_off, last] = asked.get();
    assert!(whole >= 3 && last >= 3, "{whole} {last}");
    assert_eq!(broken_off, 3, "when it began, after 64 MiB, and when it had been judged");
    assert!(captured.written.0 < size + (16 << 20), "{} of {size} bytes", captured.written.0);
    assert_eq!(number(&place.copy(), "SELECT count(*) FROM t"), Ok(9_000_000));
    assert_eq!(number(&place.copy(), "SELECT count(*) FROM s"), Ok(2));
}

#[test]
fn a_list_of_free_blocks_that_is_long_is_read_to_its_end() {
    let place = Place::new();
    let Some((_engine, [first])) = Engine::start::<1>(Kind::Linked, &place.live()) else { return };
    first.must(MAKE);
    // What stands behind the table keeps its blocks, more than 511 of them, in the file: their list has several parts.
    first.must("DROP TABLE t; CHECKPOINT;");
    assert!(place.live().metadata().unwrap().len() > 130 << 20);
    assert_eq!(place.capture().unwrap().tries, 1);
    assert_eq!(number(&place.copy(), "SELECT count(*) FROM last"), Ok(130_000));
}
