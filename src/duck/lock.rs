//! Who has a database open, and how to keep others from opening it.
//!
//! DuckDB holds a POSIX record lock on an open file, for the process: any process may ask who has it, and one that
//! has it keeps DuckDB out. Closing *any* descriptor of the file drops the process's locks on it, so no lock is
//! asked for on a file that this process itself has open in an engine.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::process::{Flock, FlockOffsetType, FlockType, fcntl_getlk};

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
            let holder = holder_of(&file).unwrap_or(Holder { pid: None }).to_string();
            Err(DuckError::Locked { path: PathBuf::from(path), holder })
        }
        Err(error) => Err(failed(io::Error::from(error))),
    }
}

/// A process that has a lock on a database.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holder {
    /// Its number; nothing for one that is not seen from here, such as one outside this container.
    pub(super) pid: Option<u32>,
}

/// Says so as far as it is known: `/usr/bin/hitkeep (PID 812)`. The process of another user is known by its short name only.
impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(pid) = self.pid else { return f.write_str("another process") };
        let program = std::fs::read_link(format!("/proc/{pid}/exe")).map(|exe| exe.display().to_string());
        let program = program.or_else(|_| std::fs::read_to_string(format!("/proc/{pid}/comm")));
        write!(f, "{} (PID {pid})", program.as_deref().map_or("a process", str::trim_end))
    }
}

/// Returns a process that has a lock on the file.
pub(super) fn holder_of(file: &File) -> Option<Holder> {
    let wanted = Flock { start: 0, length: 0, pid: None, typ: FlockType::WriteLock, offset_type: FlockOffsetType::Set };
    let lock = fcntl_getlk(file, &wanted).ok()??;
    Some(Holder { pid: lock.pid.and_then(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok()) })
}
