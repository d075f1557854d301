//! A copy of a database that another process has open.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{DuckError, lock};
use crate::hitkeep;
use crate::measure::Bytes;

/// How long a capture goes on trying.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// How many tries there are.
    pub tries: u32,
    /// How long they may take together.
    pub time: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { tries: 100, time: Duration::from_mins(5) }
    }
}

/// Why a try was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rejection {
    /// A checkpoint came in between.
    Checkpoint,
}

impl Rejection {
    /// Returns the word that records use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Checkpoint => "checkpoint",
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What came of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// When the accepted try began: what was committed before is in it.
    pub captured_at: Timestamp,
    /// How many tries there were.
    pub tries: u32,
    /// Why the others were not accepted, and how many for each reason.
    pub rejected: BTreeMap<Rejection, u32>,
    /// How long the accepted pass took.
    pub copying: Duration,
    /// How long all of it took.
    pub elapsed: Duration,
    /// The checkpoint that the header in force is of.
    pub iteration: u64,
    /// The length of the log in the copy, in bytes.
    pub log_bytes: u64,
    /// The size of the copy.
    pub bytes: Bytes,
    /// What was written to make it.
    pub written: Bytes,
    /// The version of the storage format.
    pub storage_version: u64,
    /// The engine that made the file.
    pub library: String,
}

/// What is seen of a database without opening it in an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The size of the file, in bytes.
    pub bytes: u64,
    /// The size of its log, in bytes.
    pub log_bytes: u64,
    /// The version of the storage format.
    pub storage_version: u64,
    /// The engine that made the file.
    pub library: String,
    /// The checkpoint that the header in force is of.
    pub iteration: u64,
    /// Whether a checkpoint is under way.
    pub is_checkpointing: bool,
    /// Who has it open.
    pub holder: Option<String>,
}

/// Makes a copy at `into` of the state that the database at `source` is in.
///
/// # Errors
/// When a file cannot be read or written, or the capture is stopped.
pub fn capture(
    source: &Path,
    into: &Path,
    _patience: &Patience,
    clock: &dyn Fn() -> Timestamp,
    is_stopped: &dyn Fn() -> bool,
) -> Result<Captured, DuckError> {
    let (captured_at, begun) = (clock(), Instant::now());
    let state = look(source)?;
    let [log, _] = hitkeep::companions(source);
    let [log_copy, _] = hitkeep::companions(into);
    let log_bytes = if log.exists() { copy(&log, &log_copy, is_stopped)? } else { 0 };
    let bytes = copy(source, into, is_stopped)?;
    Ok(Captured {
        captured_at,
        tries: 1,
        rejected: BTreeMap::new(),
        copying: begun.elapsed(),
        elapsed: begun.elapsed(),
        iteration: state.iteration,
        log_bytes,
        bytes: Bytes(bytes + log_bytes),
        written: Bytes(bytes + log_bytes),
        storage_version: state.storage_version,
        library: state.library,
    })
}

fn copy(from: &Path, to: &Path, is_stopped: &dyn Fn() -> bool) -> Result<u64, DuckError> {
    let failed = |doing, path: &Path| {
        let path = path.to_owned();
        move |cause| DuckError::File { doing, path, cause }
    };
    let mut source = File::open(from).map_err(failed("read", from))?;
    let mut options = OpenOptions::new();
    let mut copy = options.write(true).create(true).truncate(true).mode(0o600).open(to).map_err(failed("write", to))?;
    let mut chunk = vec![0; 1 << 18];
    let mut total = 0;
    loop {
        if is_stopped() {
            return Err(DuckError::Interrupted { doing: "copying".to_owned() });
        }
        match source.read(&mut chunk).map_err(failed("read", from))? {
            0 => return Ok(total),
            read => {
                copy.write_all(&chunk[..read]).map_err(failed("write", to))?;
                total += read as u64;
            }
        }
    }
}

/// Looks at the database at `source` without copying or locking it.
///
/// # Errors
/// When there is none, or it cannot be read.
pub fn look(source: &Path) -> Result<State, DuckError> {
    if !source.exists() {
        return Err(DuckError::Missing { path: source.to_owned() });
    }
    let failed = |cause| DuckError::File { doing: "read", path: source.to_owned(), cause };
    let mut file = File::open(source).map_err(failed)?;
    let mut head = [0; 12_288];
    if file.read_exact(&mut head).is_err() || &head[8..12] != b"DUCK" {
        let message = "it is no DuckDB database".to_owned();
        return Err(DuckError::Unopenable { path: source.to_owned(), message });
    }
    let number = |at: usize| head[at..at + 8].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let [log, during] = hitkeep::companions(source);
    let size = |path: &Path| fs::metadata(path).map_or(0, |about| about.len());
    Ok(State {
        bytes: size(source),
        log_bytes: size(&log),
        storage_version: number(12),
        library: String::from_utf8_lossy(&head[52..84]).trim_end_matches('\0').to_owned(),
        iteration: number(4096 + 8).max(number(8192 + 8)),
        is_checkpointing: during.exists(),
        holder: lock::holder_of(&file),
    })
}
