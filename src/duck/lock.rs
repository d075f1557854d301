//! Who has a database open, and how to keep others from opening it.
//!
//! DuckDB holds a POSIX record lock on an open file, for the process: any process may ask who has it, and one that
//! has it keeps DuckDB out. Closing *any* descriptor of the file drops the process's locks on it, so no lock is
//! asked for on a file that this process itself has open in an engine.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::process::{Flock, FlockOffsetType, FlockType, Pid, fcntl_getlk};

use super::DuckError;

/// A database that nobody else can open until this is dropped.
#[derive(Debug)]
pub struct Held {
    _file: File,
}

/// Keeps every other process from opening the database at `path`, or says who has it open.
///
/// # Errors
/// [`DuckError::Locked`] when a process has it open; `File` when it cannot be opened at all.
pub fn hold(path: &Path) -> Result<Held, DuckError> {
    let failed = |cause| DuckError::File { doing: "lock", path: path.to_owned(), cause };
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(failed)?;
    match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Held { _file: file }),
        Err(rustix::io::Errno::ACCESS | rustix::io::Errno::AGAIN) => {
            let holder = holder_of(&file).unwrap_or_else(|| "another process".to_owned());
            Err(DuckError::Locked { path: PathBuf::from(path), holder })
        }
        Err(error) => Err(failed(io::Error::from(error))),
    }
}

/// Names a process that has a lock on the file, as far as it is known: `/usr/bin/hitkeep (PID 812)`.
///
/// The process of another user is known by its short name only, one of another container perhaps not at all.
pub(super) fn holder_of(file: &File) -> Option<String> {
    let wanted = Flock { start: 0, length: 0, pid: None, typ: FlockType::WriteLock, offset_type: FlockOffsetType::Set };
    let lock = fcntl_getlk(file, &wanted).ok()??;
    let Some(pid) = lock.pid.map(Pid::as_raw_nonzero).filter(|pid| pid.get() > 0) else {
        return Some("another process".to_owned());
    };
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).map(|exe| exe.display().to_string());
    let program = program.or_else(|_| std::fs::read_to_string(format!("/proc/{pid}/comm")));
    Some(format!("{} (PID {pid})", program.as_deref().map_or("a process", str::trim_end)))
}
