//! What stands for HitKeep in a demo of live capture: another process, which has the databases open and writes.
//!
//! It opens each database the way HitKeep does, for as long as it lives, and goes on inserting page views and events
//! in batches of one transaction each. Once a batch is committed in every database it says so: whatever a backup that
//! began later lacks of it is lost. It ends when its standard input does, so also when the process that started it
//! was killed.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use duckdb::Connection;
use jiff::Timestamp;

use super::{DemoError, text};

/// The page views of one batch in one database.
pub const HITS: u64 = 100;
/// The events of one batch in one database.
pub const EVENTS: u64 = 10;
/// How long there is nothing to write after a batch.
const PAUSE: Duration = Duration::from_millis(20);
/// After how many batches there is a checkpoint. HitKeep's come every five minutes, which is too long to be watched.
pub const BATCHES: u32 = 25;
/// How long a server has to close its databases.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server of a demo while it runs. It is ended when this is dropped.
#[derive(Debug)]
pub struct Server {
    process: Child,
    input: Option<ChildStdin>,
    acknowledged: Arc<Mutex<Vec<Timestamp>>>,
}

impl Server {
    /// Starts this program once more as a server: with `verb` and the paths of the databases as its words.
    ///
    /// # Errors
    /// When the program cannot be started, or ends before the first batch is acknowledged.
    pub fn start(verb: &str, databases: &[PathBuf]) -> Result<Self, DemoError> {
        let program = std::env::current_exe().map_err(failed("find", "this program"))?;
        let mut command = Command::new(&program);
        command.arg(verb).args(databases).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().map_err(failed("start", &program))?;
        let acknowledged = Arc::new(Mutex::new(Vec::new()));
        let input = process.stdin.take();
        let output = process.stdout.take();
        let server = Self { process, input, acknowledged };
        server.listen(output.into_iter().flat_map(|output| BufReader::new(output).lines()))?;
        Ok(server)
    }

    /// Waits for the first batch, and has a thread note when each further one is acknowledged.
    fn listen(&self, mut lines: impl Iterator<Item = io::Result<String>> + Send + 'static) -> Result<(), DemoError> {
        lines.next().transpose().map_err(failed("hear from", "the server"))?.ok_or(DemoError::ServerEnded)?;
        let acknowledged = Arc::clone(&self.acknowledged);
        let note = move || acknowledged.lock().unwrap_or_else(PoisonError::into_inner).push(Timestamp::now());
        note();
        thread::spawn(move || lines.map_while(Result::ok).for_each(|_| note()));
        Ok(())
    }

    /// Waits until this many batches are acknowledged.
    ///
    /// # Errors
    /// When it ends before.
    pub fn wait_for(&mut self, batches: u32) -> Result<(), DemoError> {
        while self.acknowledged().len() < batches as usize {
            self.check()?;
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Sees to it that it still runs.
    ///
    /// # Errors
    /// When it has ended.
    pub fn check(&mut self) -> Result<(), DemoError> {
        match self.process.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(DemoError::ServerEnded),
            Err(error) => Err(failed("wait for", "the server")(error)),
        }
    }

    /// Returns the process's number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Returns the moments at which this process heard that a batch is committed: the first batch first.
    #[must_use]
    pub fn acknowledged(&self) -> Vec<Timestamp> {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.input.take());
        let begun = Instant::now();
        while matches!(self.process.try_wait(), Ok(None)) && begun.elapsed() < PATIENCE {
            thread::sleep(PAUSE);
        }
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Serves, as the process that [`Server::start`] starts: writes to the databases until the input ends, and says on
/// `output` when a batch is committed.
///
/// # Errors
/// When a database cannot be opened or written.
pub fn serve(databases: &[PathBuf], output: &mut dyn Write) -> Result<(), DemoError> {
    let has_ended = until_input_ends();
    let open = databases.iter().map(|path| open(path)).collect::<Result<Vec<_>, _>>()?;
    for batch in 1.. {
        for database in &open {
            database.execute_batch(&statements(batch))?;
        }
        if writeln!(output, "{batch}").and_then(|()| output.flush()).is_err() || has_ended.load(Ordering::Relaxed) {
            break;
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// Returns what becomes true when nobody is there any more who could write to the standard input.
fn until_input_ends() -> Arc<AtomicBool> {
    let has_ended = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&has_ended);
    thread::spawn(move || {
        drop(io::stdin().read_to_end(&mut Vec::new()));
        ended.store(true, Ordering::Relaxed);
    });
    has_ended
}

/// Opens a database with HitKeep's settings, as far as this engine has what they are about.
fn open(path: &Path) -> Result<Connection, DemoError> {
    text(path)?;
    let database = Connection::open(path)?;
    database.execute_batch("PRAGMA wal_autocheckpoint = '64MB'")?;
    Ok(database)
}

/// Writes one batch in one transaction, and now and then a checkpoint after it.
fn statements(batch: u64) -> String {
    let site = "(SELECT min(id) FROM sites)";
    let checkpoint = if batch.is_multiple_of(BATCHES.into()) { "CHECKPOINT;" } else { "" };
    format!(
        "BEGIN;
        INSERT INTO hits (site_id, session_id, page_id, \"timestamp\", path)
            SELECT {site}, uuidv7(), uuidv7(), now(), '{path}' FROM range({HITS});
        INSERT INTO events (site_id, session_id, name, \"timestamp\")
            SELECT {site}, uuidv7(), '{path}', now() FROM range({EVENTS});
        COMMIT; {checkpoint}",
        path = mark(batch)
    )
}

/// Returns what marks the rows of a batch: the path of its page views, the name of its events.
fn mark(batch: u64) -> String {
    format!("/live/{batch}")
}

/// Returns how many batches a database holds from the first on, and whether each is whole and none is beyond a gap.
///
/// # Errors
/// When the database cannot be read, or holds half a batch or one without those before it.
pub fn count_batches(database: &Path) -> Result<u64, DemoError> {
    let path = text(database)?.replace('\'', "''");
    let engine = Connection::open_in_memory()?;
    engine.execute_batch(&format!("ATTACH '{path}' AS restored (READ_ONLY); USE restored;"))?;
    let query = format!(
        "WITH rows AS (
            SELECT path AS mark, 1 AS hits, 0 AS events FROM hits WHERE path LIKE '/live/%'
            UNION ALL SELECT name, 0, 1 FROM events WHERE name LIKE '/live/%'
        ), batches AS (
            SELECT mark[7:]::UBIGINT AS batch, sum(hits) = {HITS} AND sum(events) = {EVENTS} AS whole
            FROM rows GROUP BY ALL
        )
        SELECT count(*)::UBIGINT, coalesce(max(batch), 0) = count(*) AND coalesce(bool_and(whole), true) FROM batches"
    );
    match engine.query_row(&query, [], |row| Ok((row.get(0)?, row.get(1)?)))? {
        (batches, true) => Ok(batches),
        (_, false) => Err(DemoError::Torn(database.to_owned())),
    }
}

fn failed(doing: &'static str, what: impl AsRef<OsStr>) -> impl FnOnce(io::Error) -> DemoError {
    let path = PathBuf::from(what.as_ref());
    move |source| DemoError::Server { doing, path, source }
}
