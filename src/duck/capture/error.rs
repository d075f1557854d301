//! Why a database was not captured: what was seen, where, and what to do.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;

use super::header;
use super::judge::Rejection;
use super::log;

/// The verb of what is done to the live files, of which the path may be wrong.
pub(super) const OPENING: &str = "open";

/// Why a database was not captured.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// There is no such file.
    #[error("`{}` does not exist", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It may not be read, or the copy may not be written.
    #[error("`{}` cannot be opened: permission denied", path.display())]
    Denied {
        /// The file.
        path: PathBuf,
    },
    /// It is something else.
    #[error("`{}` is not a DuckDB file: {seen}", path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
        /// What it is taken by.
        seen: &'static str,
    },
    /// Its storage version is not known, so what may be done with it is not known.
    #[error(
        "`{}` has storage version {version}, and only {} to {} can be captured",
        path.display(), header::KNOWN.start(), header::KNOWN.end()
    )]
    UnknownStorage {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u64,
    },
    /// The version of its log is not known.
    #[error("`{}` has log version {version}, and only {} can be captured", path.display(), log::KNOWN)]
    UnknownLog {
        /// The log.
        path: PathBuf,
        /// Its version.
        version: u64,
    },
    /// It is encrypted.
    #[error("`{}` is encrypted", path.display())]
    Encrypted {
        /// The file.
        path: PathBuf,
    },
    /// It has a log beside its name and another beside the file that this leads to.
    #[error("`{}` has two logs, `{}` and `{}`", path.display(), log.display(), other.display())]
    TwoLogs {
        /// The database.
        path: PathBuf,
        /// One of the logs.
        log: PathBuf,
        /// The other one.
        other: PathBuf,
    },
    /// Who has it open writes the log somewhere else.
    #[error("the log of `{}` is `{}`, as {holder} calls it: it knows the file by another name", path.display(), log.display())]
    LogElsewhere {
        /// The database.
        path: PathBuf,
        /// The log, as the process calls it.
        log: PathBuf,
        /// The process.
        holder: String,
    },
    /// Its log lies beside one of its names, and nobody can be asked beside which.
    #[error("`{}` has {names} names (hard links), and its log may lie beside another one", path.display())]
    ManyNames {
        /// The database.
        path: PathBuf,
        /// How many names it has.
        names: u64,
    },
    /// It contradicts itself, however often it is read.
    #[error("`{}` is damaged: {seen}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was seen.
        seen: String,
    },
    /// The copy would be written over the database itself.
    #[error("`{}` is the database itself", path.display())]
    SameFile {
        /// The path of the copy.
        path: PathBuf,
    },
    /// The copy does not fit.
    #[error("there is no room for `{}`: {cause}", path.display())]
    NoRoom {
        /// The file that was written.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// A file could not be read, written or removed.
    #[error("cannot {doing} `{}`: {cause}", path.display())]
    File {
        /// The verb.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// No try gave a copy that can be trusted.
    #[error("`{}` did not keep still: {tries} tries in {:.0} s, {}", path.display(), elapsed.as_secs_f64(), listed(rejected))]
    Exhausted {
        /// The database.
        path: PathBuf,
        /// How many passes were made over it.
        tries: u32,
        /// How long that took.
        elapsed: Duration,
        /// What was seen, and how often.
        rejected: BTreeMap<Rejection, u32>,
    },
    /// It was told to stop.
    #[error("stopped while capturing `{}`", path.display())]
    Stopped {
        /// The database.
        path: PathBuf,
    },
}

impl CaptureError {
    /// Returns what to do about it, where something is known.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        Some(match self {
            Self::Missing { .. } => "is the path right, and the directory mounted here?",
            Self::Denied { .. } => "run as the user that HitKeep runs as, or as root",
            Self::NotADatabase { .. } => "name HitKeep's database: it is called `hitkeep.db`",
            Self::UnknownStorage { .. } | Self::UnknownLog { .. } => "use a `hitkeep-plan` whose DuckDB knows it",
            Self::Encrypted { .. } => "its key is HitKeep's alone: stop HitKeep, and back up the file as it is",
            Self::TwoLogs { .. } => {
                "name the database in the plan without symbolic links; one of the logs is left over from an older HitKeep"
            }
            Self::LogElsewhere { .. } => {
                "name the database in the plan as HitKeep does; into a container mount its directory, not the file alone"
            }
            Self::ManyNames { .. } => "remove the other names, or run as the user that HitKeep runs as, or as root",
            Self::Damaged { .. } => "restore it from the last good backup, if HitKeep cannot open it either",
            Self::SameFile { .. } => "name another directory as `staging` in `[local]`",
            Self::NoRoom { .. } => "make room, or name another directory as `staging` in `[local]`",
            Self::Exhausted { .. } => {
                "it is checkpointed more often than it can be copied: put `staging` on a faster disk, let HitKeep \
                 checkpoint less often, or run at a calmer time"
            }
            Self::File { .. } | Self::Stopped { .. } => return None,
        })
    }

    /// Returns what makes an error of what the system says about a file.
    pub(super) fn file(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> Self {
        move |cause| {
            let path = path.to_owned();
            match cause.kind() {
                io::ErrorKind::NotFound if doing == OPENING => Self::Missing { path },
                io::ErrorKind::PermissionDenied if doing == OPENING => Self::Denied { path },
                _ if Errno::from_io_error(&cause).is_some_and(is_full) => Self::NoRoom { path, cause },
                _ => Self::File { doing, path, cause },
            }
        }
    }
}

/// Says whether an error means that there is no room: on the disk, in the quota, or below the limit of a file's size.
pub(super) fn is_full(error: Errno) -> bool {
    matches!(error, Errno::NOSPC | Errno::DQUOT | Errno::FBIG)
}

fn listed(rejected: &BTreeMap<Rejection, u32>) -> String {
    let each = rejected.iter().map(|(rejection, count)| format!("{rejection} {count} times"));
    each.collect::<Vec<_>>().join(", ")
}
