//! Stories of the live copy: a database is captured while another process writes to it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod books;
mod engine;
mod faults;
mod formats;
mod killed;
mod large;
mod patience;
mod places;
mod rules;
mod stress;

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hitkeep_plan::duck::capture::{CaptureError, Captured, Patience, capture};
use jiff::Timestamp;
use tempfile::TempDir;

/// A folder with a live database and a place for its copy.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// Returns one in memory, where it can be had: on a busy disk a commit may take longer than what is done beside it.
    fn in_memory() -> Self {
        tempfile::tempdir_in("/dev/shm").map_or_else(|_| Self::new(), |folder| Self { folder })
    }

    fn live(&self) -> PathBuf {
        self.path("live.db")
    }

    fn copy(&self) -> PathBuf {
        self.path("copy.db")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Captures, and calls `between` once, when the log has been copied and the database has not.
    fn capture_with(&self, between: impl FnOnce()) -> Result<Captured, CaptureError> {
        let between = Cell::new(Some(between));
        let is_stopped = || {
            between.take().into_iter().for_each(|between| between());
            false
        };
        capture(&self.live(), &self.copy(), &PATIENCE, &Timestamp::now, &is_stopped)
    }

    fn capture(&self) -> Result<Captured, CaptureError> {
        self.capture_with(|| {})
    }
}

/// Enough for every test, and an end for one that fails.
const PATIENCE: Patience = Patience { tries: 1000, time: Duration::from_mins(1) };

/// Opens a copy with the linked engine, as `hitkeep-plan` does, and replays its log.
fn opened(copy: &Path) -> Result<duckdb::Connection, String> {
    duckdb::Connection::open(copy).map_err(|error| error.to_string())
}

/// Asks a copy for one number.
fn number(copy: &Path, query: &str) -> Result<i64, String> {
    opened(copy)?.query_row(query, [], |row| row.get(0)).map_err(|error| error.to_string())
}

/// Copies as people do it: the database, then its log; as slowly as if the database were larger.
fn copy_plainly(live: &Path, copy: &Path) {
    forget(copy);
    let (mut from, mut to) = (File::open(live).unwrap(), File::create(copy).unwrap());
    while io::copy(&mut (&mut from).take(1 << 20), &mut to).unwrap() > 0 {
        std::thread::sleep(Duration::from_millis(15));
    }
    drop(fs::copy(log_of(live), log_of(copy)));
}

/// Removes a copy and its log.
fn forget(copy: &Path) {
    for file in [copy.to_owned(), log_of(copy)] {
        drop(fs::remove_file(file));
    }
}

fn log_of(database: &Path) -> PathBuf {
    PathBuf::from(format!("{}.wal", database.display()))
}
