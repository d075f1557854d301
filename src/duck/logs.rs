//! Where the logs of a database lie.
//!
//! Beside it; but beside which of its names? Up to DuckDB 1.4 beside the one that it was opened by, even where that is a
//! symbolic link, and from 1.5 on beside the file itself (measured with 1.1.3 to 2.0.0). A file with a second name (a hard link), or
//! one that was mounted by itself into a container, has its logs beside that other name, where nobody looks who does
//! not know it. Whoever read only the wrong place would find no log there, and miss every commit since the last checkpoint
//! without a word.
//!
//! So both places are looked at, and the process that has the database open is asked, by way of `/proc`, where it has
//! put them. Of a process that may not be asked (another user's) nothing is known; then the file must have one name only.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::hitkeep;

/// What tells one file from another: its device, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId(pub(super) u64, pub(super) u64);

impl FileId {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }

    fn at(path: &Path) -> Option<Self> {
        path.metadata().ok().map(|metadata| Self::of(&metadata))
    }
}

/// The places where the logs of a database may lie.
#[derive(Clone, Debug)]
pub(super) struct Logs {
    /// Beside the database as it is spelled, and beside the file that this leads to, where that is another place.
    places: Vec<[PathBuf; 2]>,
}

impl Logs {
    /// Returns the places for the database at `path`, which must be there.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let file = path.canonicalize()?;
        let spelled = match (path.parent(), path.file_name()) {
            (Some(folder), Some(name)) if folder.as_os_str().is_empty() => Path::new(".").canonicalize()?.join(name),
            (Some(folder), Some(name)) => folder.canonicalize()?.join(name),
            _ => file.clone(),
        };
        let mut places = vec![hitkeep::companions(path)];
        if spelled != file {
            places.push(hitkeep::companions(&file));
        }
        Ok(Self { places })
    }

    /// Returns the log and the one that commits go to during a checkpoint, where they are or would be; logs in both places
    /// are an error.
    pub(super) fn there(&self) -> Result<[&Path; 2], [&Path; 2]> {
        let mut there = self.places.iter().filter_map(|[log, aside]| {
            let found = [log, aside].into_iter().find(|path| path.symlink_metadata().is_ok())?;
            Some(([log.as_path(), aside.as_path()], found.as_path()))
        });
        match (there.next(), there.next()) {
            (Some((_, one)), Some((_, other))) => Err([one, other]),
            (Some((place, _)), None) => Ok(place),
            (None, _) => Ok(self.places.first().map_or([Path::new(""); 2], |[log, aside]| [log, aside])),
        }
    }

    /// Returns a log that lies beside a link, where only engines before DuckDB 1.5 look.
    pub(super) fn overlooked(&self) -> Option<&Path> {
        let beside_link = self.places.split_last().map_or(&[][..], |(_, links)| links);
        beside_link.iter().flatten().map(PathBuf::as_path).find(|log| log.symlink_metadata().is_ok())
    }

    /// Returns a log of the database that is in none of the places, as the process that has the database open calls it.
    ///
    /// # Errors
    /// When that process may not be asked.
    pub(super) fn elsewhere(&self, database: FileId, holder: u32) -> io::Result<Option<PathBuf>> {
        let process = Process::of(holder)?;
        let names = process.open.iter().filter(|path| process.id(path) == Some(database));
        let beside = names.flat_map(|name| hitkeep::companions(name)).collect::<Vec<_>>();
        // One that was opened by way of a link has its log beside the link, which the process has no name of.
        let opened = process
            .open
            .iter()
            .filter(|path| hitkeep::database_of(path).and_then(|name| process.id(&name)) == Some(database));
        let known: Vec<FileId> = self.places.iter().flatten().filter_map(|path| FileId::at(path)).collect();
        let is_other = |path: &&PathBuf| process.id(path).is_some_and(|id| !known.contains(&id));
        Ok(beside.iter().chain(opened).find(is_other).cloned())
    }
}

/// A process, as far as it may be looked at.
struct Process {
    /// Where its file system begins, seen from here.
    root: PathBuf,
    /// The files that it has open, as it calls them.
    open: Vec<PathBuf>,
}

impl Process {
    fn of(pid: u32) -> io::Result<Self> {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        let mut open = Vec::new();
        for descriptor in fs::read_dir(folder.join("fd"))? {
            // One that was closed meanwhile is none.
            open.extend(fs::read_link(descriptor?.path()));
        }
        Ok(Self { root: folder.join("root"), open })
    }

    /// Tells which file the process means by a path.
    fn id(&self, path: &Path) -> Option<FileId> {
        let below = path.as_os_str().as_bytes().strip_prefix(b"/")?;
        FileId::at(&self.root.join(OsStr::from_bytes(below)))
    }
}
