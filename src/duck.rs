//! DuckDB databases: looked at, captured, exported, loaded, and whether anyone has them open.
//!
//! Every session is an engine of its own in memory, with a bounded memory and a scratch folder to spill to; the
//! databases that matter are attached to it, the sources read-only, copies of them read-write. All calls block:
//! callers that may not wait come through the doors here.

pub mod archive;
pub mod capture;
pub mod check;
pub mod compare;
pub mod examine;
pub mod export;
pub mod load;
pub mod lock;
mod logs;
mod room;
mod script;
pub mod snapshot;

use std::fmt;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use duckdb::{Config, Connection, InterruptHandle};
use jiff::Timestamp;
use tokio::task::spawn_blocking;

use crate::measure::Bytes;
use crate::stop::Stop;

use capture::{CaptureError, Captured, Patience};
use logs::Logs;
use room::{Room, Taken};
pub use script::data_files;

/// How long an interrupted engine has to end its call before it is interrupted again.
const AGAIN: Duration = Duration::from_millis(10);

/// What an engine may use.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How much memory, in bytes.
    pub memory: Bytes,
    /// How much of it where a table is so long that one of its indexes cannot be built in less; no less than `memory`.
    pub most: Bytes,
    /// The folder for what does not fit into it.
    pub spill: PathBuf,
}

/// A database to be read, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    /// Someone's: neither it nor its write-ahead log is changed.
    Source(PathBuf),
    /// A copy of this program's own: what its log holds may be worked into it.
    Copy(PathBuf),
}

/// A DuckDB engine without a database of its own, or one of several connections that work with it at the same time.
#[derive(Debug)]
pub struct Session {
    connection: Connection,
    interrupters: Interrupters,
    room: Arc<Room>,
    /// How many work with the engine at the same time.
    abreast: usize,
    /// Which connection of the engine this is: what is attached needs a name that no other has.
    number: usize,
}

/// A share of an engine's memory.
#[derive(Debug)]
struct Share<'s> {
    session: &'s Session,
    /// How much the engine may use meanwhile.
    memory: Bytes,
    _taken: Taken<'s>,
}

impl Share<'_> {
    /// Returns what to take instead where this was not enough, if there may be more.
    fn more(&self) -> Option<u64> {
        (self.memory < self.session.room.most()).then_some(self.memory.0 / 4 * 5)
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        if self.memory > self.session.memory() {
            // Where the engine cannot do with less yet, it keeps what it may have at most.
            drop(self.session.limit(self.session.memory()));
            drop(self.session.run("using all threads", "RESET GLOBAL threads"));
        }
    }
}

/// What interrupts each connection of an engine.
#[derive(Clone, Default)]
struct Interrupters(Arc<Mutex<Vec<Arc<InterruptHandle>>>>);

/// Why DuckDB did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DuckError {
    /// Another process has the database open.
    #[error("`{}` is open in {holder}", path.display())]
    Locked {
        /// The database.
        path: PathBuf,
        /// The process, as far as it is known.
        holder: String,
    },
    /// There is no such database.
    #[error("`{}` does not exist", path.display())]
    Missing {
        /// The database.
        path: PathBuf,
    },
    /// The file cannot be opened as a database.
    #[error("`{}` cannot be opened: {message}", path.display())]
    Unopenable {
        /// The database.
        path: PathBuf,
        /// What the engine says.
        message: String,
    },
    /// The call was interrupted from outside.
    #[error("stopped while {doing}")]
    Interrupted {
        /// What was being done.
        doing: String,
    },
    /// The engine refused a statement.
    #[error("{doing}: {message}")]
    Refused {
        /// What was being done.
        doing: String,
        /// What the engine says.
        message: String,
    },
    /// What came out is not what went in.
    #[error("{0}")]
    Differs(String),
    /// A database was not captured.
    #[error(transparent)]
    Capture(CaptureError),
    /// A file could not be read, written or synced.
    #[error("cannot {doing} `{}`: {cause}", path.display())]
    File {
        /// The verb.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
}

impl DuckError {
    /// Tells whether it is for want of memory.
    fn is_lack_of_memory(&self) -> bool {
        matches!(self, Self::Refused { message, .. } if message.starts_with("Out of Memory"))
    }
}

impl From<CaptureError> for DuckError {
    fn from(error: CaptureError) -> Self {
        match error {
            CaptureError::Missing { path } => Self::Missing { path },
            CaptureError::Stopped { path } => Self::Interrupted { doing: format!("capturing `{}`", path.display()) },
            error => Self::Capture(error),
        }
    }
}

impl Session {
    /// Opens an engine that loads nothing from outside and keeps to `limits`.
    ///
    /// # Errors
    /// When the engine refuses its settings.
    pub fn open(limits: &Limits) -> Result<Self, DuckError> {
        let open = || {
            let config = Config::default()
                .enable_autoload_extension(false)?
                .with("autoinstall_known_extensions", "false")?
                .with("allow_community_extensions", "false")?
                .with("preserve_insertion_order", "false")?
                .with("allocator_flush_threshold", "16MiB")?
                .with("temp_directory", limits.spill.to_string_lossy())?
                .max_memory(&format!("{}B", limits.memory.0))?;
            Connection::open_in_memory_with_flags(config)
        };
        let connection = open().map_err(|error| refused("opening an engine", &error))?;
        let room = Arc::new(Room::new(limits.memory, limits.most));
        Ok(Self::over(connection, Interrupters::default(), room))
    }

    /// Opens one engine and `count` connections to it, of which `abreast` work at the same time: they share its limits.
    ///
    /// # Errors
    /// When the engine refuses its settings.
    pub fn open_several(limits: &Limits, count: usize, abreast: usize) -> Result<Vec<Self>, DuckError> {
        let (engine, abreast) = (Self::open(limits)?, abreast.min(count).max(1));
        (0..count).map(|number| Ok(Self { abreast, number, ..engine.another()? })).collect()
    }

    /// Returns another connection to the same engine: it sees what is attached, and is interrupted with this one.
    fn another(&self) -> Result<Self, DuckError> {
        let connection = self.connection.try_clone().map_err(|error| refused("connecting to an engine", &error))?;
        Ok(Self::over(connection, self.interrupters.clone(), Arc::clone(&self.room)))
    }

    fn over(connection: Connection, interrupters: Interrupters, room: Arc<Room>) -> Self {
        interrupters.add(connection.interrupt_handle());
        Self { connection, interrupters, room, abreast: 1, number: 0 }
    }

    /// Returns how much memory the engine may use.
    fn memory(&self) -> Bytes {
        self.room.memory()
    }

    /// Returns how much of it is for this connection while others work too.
    fn share(&self) -> Bytes {
        Bytes(self.memory().0 / self.abreast as u64)
    }

    /// Waits until others have left `bytes` of the memory, and takes them until what is returned is dropped.
    fn take(&self, bytes: u64) -> Taken<'_> {
        self.room.take(bytes)
    }

    /// Does the same. Who wants more than there are works alone, and the engine may use more for that time, as far as its
    /// limits allow it.
    fn take_more(&self, bytes: u64) -> Result<Share<'_>, DuckError> {
        let taken = self.take(bytes);
        let enlarged = self.room.enlarged(bytes).filter(|_| taken.is_all());
        if let Some(memory) = enlarged {
            // Each thread holds memory of its own.
            self.limit(memory)?;
            self.run("using one thread", "SET GLOBAL threads = 1")?;
        }
        Ok(Share { session: self, memory: enlarged.unwrap_or(self.memory()), _taken: taken })
    }

    fn limit(&self, memory: Bytes) -> Result<(), DuckError> {
        self.run("setting the limit of memory", &format!("SET GLOBAL memory_limit = '{}B'", memory.0))
    }

    /// Attaches a database under `alias`.
    fn attach_database(&self, database: &Database, alias: &str) -> Result<(), DuckError> {
        match database {
            Database::Source(path) => self.attach_source(path, alias),
            Database::Copy(path) => {
                // The copy is read once and removed: to tidy it up first would be work for nothing.
                self.run("opening a copy", "SET wal_autocheckpoint = '1TB'; PRAGMA disable_checkpoint_on_shutdown")?;
                self.attach(path, alias, "READ_WRITE")
            }
        }
    }

    /// Attaches the database at `path` under `alias`, read-only: neither it nor its write-ahead log is changed.
    ///
    /// This engine would not see a log that an older one has left beside a symbolic link.
    fn attach_source(&self, path: &Path, alias: &str) -> Result<(), DuckError> {
        if !path.exists() {
            return Err(DuckError::Missing { path: path.to_owned() });
        }
        if let Some(log) = Logs::of(path).ok().and_then(|logs| logs.overlooked().map(Path::to_owned)) {
            let message = format!(
                "its log `{}` lies beside a link, where no DuckDB since 1.5 looks: `capture = \"live\"` reads it",
                log.display()
            );
            return Err(DuckError::Unopenable { path: path.to_owned(), message });
        }
        self.attach(path, alias, "READ_ONLY")
    }

    fn attach(&self, path: &Path, alias: &str, option: &str) -> Result<(), DuckError> {
        let file = quoted(path)?;
        self.connection.execute_batch(&format!("ATTACH {file} AS {alias} ({option})")).map_err(|error| {
            let error = refused("opening a database", &error);
            let DuckError::Refused { message, .. } = error else { return error };
            match holder(&message) {
                Some(holder) => DuckError::Locked { path: path.to_owned(), holder },
                None => DuckError::Unopenable { path: path.to_owned(), message },
            }
        })
    }

    fn run(&self, doing: &str, sql: &str) -> Result<(), DuckError> {
        self.connection.execute_batch(sql).map_err(|error| refused(doing, &error))
    }

    /// Returns every row of a query, each read by `row`.
    fn rows<T>(
        &self,
        doing: &str,
        sql: &str,
        row: impl FnMut(&duckdb::Row<'_>) -> duckdb::Result<T>,
    ) -> Result<Vec<T>, DuckError> {
        let read = || self.connection.prepare(sql)?.query_map([], row)?.collect::<duckdb::Result<Vec<T>>>();
        read().map_err(|error| refused(doing, &error))
    }

    /// Returns the one value of a query of one row and one column.
    fn value<T: duckdb::types::FromSql>(&self, doing: &str, sql: &str) -> Result<T, DuckError> {
        self.connection.query_row(sql, [], |row| row.get(0)).map_err(|error| refused(doing, &error))
    }
}

impl Interrupters {
    fn add(&self, interrupter: Arc<InterruptHandle>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(interrupter);
    }

    fn interrupt(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|one| one.interrupt());
    }
}

impl fmt::Debug for Interrupters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Interrupters")
    }
}

/// Opens an engine and calls it on a thread that may wait, as [`call`] does.
///
/// # Errors
/// Those of opening a session and of `work`.
pub async fn enter<T: Send + 'static>(
    limits: &Limits,
    stop: impl Future<Output = ()>,
    work: impl FnOnce(&Session) -> Result<T, DuckError> + Send + 'static,
) -> Result<T, DuckError> {
    call(Session::open(limits)?, stop, work).await
}

/// Calls an engine on a thread that may wait: the one door between async code and DuckDB.
///
/// When `stop` is ready first, the engine is interrupted, and the call ends with [`DuckError::Interrupted`]; it has
/// always ended when this returns, so that its files may be removed.
///
/// # Errors
/// Those of `work`.
pub async fn call<T: Send + 'static>(
    session: Session,
    stop: impl Future<Output = ()>,
    work: impl FnOnce(&Session) -> Result<T, DuckError> + Send + 'static,
) -> Result<T, DuckError> {
    let interrupters = session.interrupters.clone();
    let mut call = spawn_blocking(move || work(&session));
    let ended = tokio::select! {
        ended = &mut call => ended,
        () = stop => loop {
            // An interruption that comes between two statements is forgotten by the next.
            interrupters.interrupt();
            if let Ok(ended) = tokio::time::timeout(AGAIN, &mut call).await {
                break ended;
            }
        },
    };
    ended.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
}

/// Brings the copy at `into`, which is made where it is missing, to a state of the database at `source`, on a thread
/// that may wait as long as `patience` lasts. The folders of the copy are this user's alone.
///
/// # Errors
/// Those of a capture; [`DuckError::Interrupted`] after the word to stop. It has always ended when this returns.
pub async fn copy_live(
    source: &Path,
    into: &Path,
    patience: Patience,
    clock: fn() -> Timestamp,
    stop: &Stop,
) -> Result<Captured, DuckError> {
    let (source, into, stop) = (source.to_owned(), into.to_owned(), stop.clone());
    let capture = spawn_blocking(move || {
        let folder = into.parent().unwrap_or(Path::new("/"));
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|cause| DuckError::File { doing: "make", path: folder.to_owned(), cause })?;
        Ok(capture::capture(&source, &into, &patience, &clock, &|| stop.reason().is_some())?)
    });
    capture.await.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
}

/// Returns the version of the engine that is built in or linked, such as `v2.0.0`.
///
/// # Errors
/// When no engine can be opened at all.
pub fn engine_version() -> Result<String, DuckError> {
    let ask = || Connection::open_in_memory()?.query_row("SELECT version()", [], |row| row.get(0));
    ask().map_err(|error| refused("asking for the engine's version", &error))
}

/// Returns a path as an SQL string.
fn quoted(path: &Path) -> Result<String, DuckError> {
    let text = path.to_str().ok_or_else(|| DuckError::Unopenable {
        path: path.to_owned(),
        message: "its path is not UTF-8, and DuckDB takes no other".to_owned(),
    })?;
    Ok(literal(text))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn refused(doing: &str, error: &duckdb::Error) -> DuckError {
    let message = message(error);
    let doing = doing.to_owned();
    if message.starts_with("INTERRUPT") {
        DuckError::Interrupted { doing }
    } else {
        DuckError::Refused { doing, message }
    }
}

/// Returns the engine's words on one line, without its pointer to a web page and without anything of a row.
fn message(error: &duckdb::Error) -> String {
    let text = match error {
        duckdb::Error::DuckDBFailure(_, Some(message)) => message.clone(),
        other => other.to_string(),
    };
    let text = text.split(" See also https://").next().unwrap_or_default();
    without_rows(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Hides what the engine quotes of a row that it refuses: it may be a secret.
fn without_rows(text: String) -> String {
    let quotes_rows = ["Constraint Error", "Conversion Error"].iter().any(|kind| text.starts_with(kind));
    let is_quote = |c| matches!(c, '"' | '\'');
    match (text.find(is_quote), text.rfind(is_quote)) {
        (Some(first), Some(last)) if quotes_rows && first < last => format!("{}…{}", &text[..=first], &text[last..]),
        _ => text,
    }
}

/// Finds the process in `Conflicting lock is held in <program> (PID <number>)`.
fn holder(message: &str) -> Option<String> {
    if !message.contains("Could not set lock") {
        return None;
    }
    let held = message.split("Conflicting lock is held in ").nth(1).map(|rest| rest.trim_end_matches('.'));
    Some(held.unwrap_or("another process").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_lock_is_named() {
        let said = "IO Error: Could not set lock on file \"/d/hitkeep.db\": Conflicting lock is held in /usr/bin/hitkeep (PID 812).";
        assert_eq!(holder(said).as_deref(), Some("/usr/bin/hitkeep (PID 812)"));
        assert_eq!(holder("IO Error: Cannot open file"), None);
    }
}
