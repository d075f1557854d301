//! Another process that has a database open: this binary itself, started once more.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed; the other process answers"
)]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const DATABASE: &str = "HITKEEP_PLAN_TEST_DATABASE";
const STATEMENTS: &str = "HITKEEP_PLAN_TEST_STATEMENTS";

/// A process that has a database open until this is dropped.
pub(crate) struct OtherProcess(Child);

impl OtherProcess {
    /// Starts the process and waits until it has the database open.
    pub(crate) fn opening(database: &Path) -> Self {
        Self::writing(database, "")
    }

    /// Starts the process and waits until it has the database open and has carried out statements there, without a
    /// checkpoint.
    pub(crate) fn writing(database: &Path, statements: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "other_process::has_a_database_open", "--ignored", "--nocapture"])
            .env(DATABASE, database)
            .env(STATEMENTS, statements)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("the database is open")));
        Self(child)
    }

    /// Returns the process as messages name it.
    pub(crate) fn name(&self) -> String {
        format!("{} (PID {})", std::env::current_exe().unwrap().display(), self.0.id())
    }
}

impl Drop for OtherProcess {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        drop(self.0.wait());
    }
}

#[test]
#[ignore = "what the other process runs, started by the tests that need one"]
fn has_a_database_open() {
    let engine = duckdb::Connection::open(std::env::var_os(DATABASE).unwrap()).unwrap();
    let tables: u64 = engine.query_row("SELECT count(*) FROM duckdb_tables()", [], |row| row.get(0)).unwrap();
    assert!(tables > 0);
    engine.execute_batch(&std::env::var(STATEMENTS).unwrap()).unwrap();
    println!("the database is open");
    drop(std::io::stdin().read_to_end(&mut Vec::new()));
}
