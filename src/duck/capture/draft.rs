//! The copy while it is made.
//!
//! A database file without its headers is none: no DuckDB opens it. So they are taken from the copy before anything else
//! is done, and written last, when the copy is accepted. Whatever ends this process in between, even `kill -9`, what
//! stays is a file that nobody can take for a database, and that the next capture brings up to date. A draft that is
//! dropped is removed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{copy_file_range, ioctl_ficlone};
use rustix::io::Errno;

use super::audit;
use super::error::{CaptureError, is_full};
use super::header::{self, Headers};
use super::judge::Log;
use super::log::{self, Scan};
use super::source::{Source, checksum};
use crate::hitkeep;

/// How much is copied between two looks at whether to go on, in bytes.
const STRIDE: u64 = 64 << 20;

/// How much is compared at once, in bytes: a block, as long as nobody has asked DuckDB for smaller ones.
const PIECE: usize = 256 << 10;

/// Whether a pass is to go on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// It is.
    GoOn,
    /// It has become useless.
    Break,
}

/// A copy that nobody can take for a database yet.
pub(super) struct Draft {
    file: File,
    path: PathBuf,
    log: File,
    log_path: PathBuf,
    /// How much of the log is committed.
    log_length: u64,
    /// Whether most of the database is in it already.
    has_most: bool,
    /// Whether the file system can share the blocks of both files: then copying all again costs nothing.
    shares_blocks: bool,
    /// How many bytes were written.
    pub(super) written: u64,
    is_accepted: bool,
}

impl Draft {
    /// Begins a copy of `source` at `path`; an older one there is what it begins with.
    pub(super) fn begin(source: &Source, path: &Path) -> Result<Self, CaptureError> {
        if source.is_at(path) {
            return Err(CaptureError::SameFile { path: path.to_owned() });
        }
        let open = |path: &Path| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600);
            options.open(path).map_err(CaptureError::file("write", path))
        };
        let logs = hitkeep::companions(path);
        for left in &logs {
            match fs::remove_file(left) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(CaptureError::file("remove", left)(error));
                }
                _ => {}
            }
        }
        let [log_path, _] = logs;
        let file = open(path)?;
        let written = CaptureError::file("write", path);
        let length = file.metadata().map_err(&written)?.len();
        let headers = usize::try_from(length).unwrap_or(usize::MAX).min(header::LENGTH);
        file.write_all_at(&[0; header::LENGTH][..headers], 0).map_err(&written)?;
        Ok(Self {
            has_most: length > header::LENGTH as u64,
            shares_blocks: shares_blocks(source, path),
            log: open(&log_path)?,
            file,
            path: path.to_owned(),
            log_path,
            log_length: 0,
            written: 0,
            is_accepted: false,
        })
    }

    /// Copies the log up to its last commit, and returns what it says, and what a look sees of it.
    ///
    /// Where a checkpoint was begun by a process that was killed, the copy gets what DuckDB would replay: the commits that
    /// came before the checkpoint, unless that has ended, and those that came after it began.
    pub(super) fn take_log(&mut self, source: &Source, headers: &Headers) -> Result<(Scan, Log), CaptureError> {
        let scan = source.settled(|| self.copy_log(source))?;
        self.log_length = scan.commits_end;
        let opening = self.log.rewind().and_then(|()| checksum(&mut self.log, Some(scan.commits_end)));
        let opening = opening.map_err(CaptureError::file("read", &self.log_path))?;
        let checkpoint = scan.checkpoint.map(|root| source.checkpoint(root)).transpose()?;
        if let Some(left) = checkpoint.filter(|checkpoint| !checkpoint.is_held) {
            self.take_log_aside(source, scan, left.root == headers.root)?;
        }
        let log = Log { opening, refers_to_blocks: scan.refers_to_blocks, frees_blocks: false, checkpoint };
        Ok((scan, log))
    }

    fn copy_log(&mut self, source: &Source) -> Result<Scan, CaptureError> {
        let Some(log) = source.log()? else { return self.write_log(0, &mut io::empty()).map(|()| Scan::default()) };
        let length = log.metadata().map_err(CaptureError::file("look at", source.log_path()))?.len();
        self.write_log(0, &mut log.take(length))?;
        self.log.rewind().map_err(CaptureError::file("read", &self.log_path))?;
        log::scan(&mut BufReader::new(&self.log)).map_err(|unread| source.unread(unread))
    }

    /// Adds the log that commits went to while a checkpoint was under way; or, where that has ended, only this one counts.
    fn take_log_aside(&mut self, source: &Source, scan: Scan, has_ended: bool) -> Result<(), CaptureError> {
        self.log_length = if has_ended { 0 } else { scan.commits_end };
        let Some(mut aside) = source.log_aside()? else { return Ok(()) };
        let failed = CaptureError::file("read", source.log_path());
        let more = source.settled(|| {
            aside.rewind().map_err(&failed)?;
            log::scan(&mut BufReader::new(&aside)).map_err(|unread| source.unread(unread))
        })?;
        if more.commits_end > 0 {
            let (from, to) = if has_ended { (0, 0) } else { (more.header_end, scan.commits_end.max(scan.header_end)) };
            aside.seek(SeekFrom::Start(from)).map_err(&failed)?;
            self.write_log(to, &mut aside.take(more.commits_end - from))?;
            self.log_length = to + more.commits_end - from;
        }
        Ok(())
    }

    /// Writes to the copy's log from `at` on, where it ends then.
    fn write_log(&mut self, at: u64, from: &mut impl Read) -> Result<(), CaptureError> {
        let mut write = || {
            self.log.set_len(at)?;
            self.log.seek(SeekFrom::Start(at))?;
            io::copy(from, &mut self.log)
        };
        self.written += write().map_err(CaptureError::file("write", &self.log_path))?;
        Ok(())
    }

    /// Copies the first `length` bytes of the database but for its headers: all of them, or what differs.
    ///
    /// `go_on` is asked from time to time whether the pass still has a use, and told whether the copy had most of it; the
    /// last answer is returned.
    pub(super) fn take_database(
        &mut self,
        source: &Source,
        length: u64,
        go_on: &mut dyn FnMut(bool) -> Result<Pass, CaptureError>,
    ) -> Result<Pass, CaptureError> {
        self.file.set_len(length).map_err(CaptureError::file("write", &self.path))?;
        let (has_most, mut at) = (self.has_most, header::LENGTH as u64);
        if go_on(has_most)? == Pass::Break {
            return Ok(Pass::Break);
        }
        if self.shares_blocks || !has_most {
            at = self.copy(source, at..length, || go_on(false))?;
            self.has_most = true;
        }
        self.renew(source, at..length, || go_on(has_most))
    }

    /// Copies within the kernel, which lets both files share blocks where it can, and returns how far it came.
    fn copy(
        &mut self,
        source: &Source,
        mut range: Range<u64>,
        mut go_on: impl FnMut() -> Result<Pass, CaptureError>,
    ) -> Result<u64, CaptureError> {
        while !range.is_empty() {
            // The kernel copies whole runs of pages where a copy begins with one: behind the headers none does, and all strides
            // that began so would take a third longer.
            let stride = match range.start % PIECE as u64 {
                0 => STRIDE,
                over => PIECE as u64 - over,
            };
            let length = usize::try_from((range.end - range.start).min(stride)).unwrap_or(usize::MAX);
            let (mut from, mut to) = (range.start, range.start);
            match copy_file_range(&source.file, Some(&mut from), &self.file, Some(&mut to), length) {
                Ok(0) => break,
                Ok(copied) => {
                    range.start += copied as u64;
                    self.written += copied as u64;
                    go_on()?;
                }
                Err(Errno::INTR) => {}
                Err(error) if is_full(error) => return Err(CaptureError::file("write", &self.path)(error.into())),
                // Some file systems cannot; those that really fail, fail again when the bytes are read and written.
                Err(_) => break,
            }
        }
        Ok(range.start)
    }

    /// Writes what differs from the source.
    fn renew(
        &mut self,
        source: &Source,
        range: Range<u64>,
        mut go_on: impl FnMut() -> Result<Pass, CaptureError>,
    ) -> Result<Pass, CaptureError> {
        let (mut theirs, mut ours) = (vec![0; PIECE], vec![0; PIECE]);
        let mut asked = range.start;
        for at in range.clone().step_by(PIECE) {
            if at - asked >= STRIDE {
                asked = at;
                if go_on()? == Pass::Break {
                    return Ok(Pass::Break);
                }
            }
            let wanted = usize::try_from(range.end - at).map_or(PIECE, |left| left.min(PIECE));
            let read = read_at(&source.file, &mut theirs[..wanted], at).map_err(|error| source.failed(error))?;
            let known = read_at(&self.file, &mut ours[..read], at).map_err(CaptureError::file("read", &self.path))?;
            if ours[..known] != theirs[..read] {
                self.file.write_all_at(&theirs[..read], at).map_err(CaptureError::file("write", &self.path))?;
                self.written += read as u64;
            }
            if read < wanted {
                break;
            }
        }
        Ok(Pass::GoOn)
    }

    /// Says whether the metadata in the copy is whole.
    pub(super) fn has_whole_metadata(&self, headers: &Headers) -> Result<bool, CaptureError> {
        audit::is_whole(&self.file, headers).map_err(CaptureError::file("read", &self.path))
    }

    /// Makes the copy a database, with its log, and returns how many bytes that has, and both together.
    pub(super) fn accept(mut self, headers: &header::Raw) -> Result<(u64, u64), CaptureError> {
        let log = if self.log_length > 0 { self.log.set_len(self.log_length) } else { fs::remove_file(&self.log_path) };
        log.map_err(CaptureError::file("write", &self.log_path))?;
        let failed = CaptureError::file("write", &self.path);
        self.file.write_all_at(headers, 0).map_err(&failed)?;
        self.is_accepted = true;
        Ok((self.log_length, self.file.metadata().map_err(&failed)?.len() + self.log_length))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_accepted {
            drop(fs::remove_file(&self.log_path));
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Says whether a file beside `path` can share the blocks of the source.
fn shares_blocks(source: &Source, path: &Path) -> bool {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tempfile::tempfile_in(folder).is_ok_and(|nameless| ioctl_ficlone(&nameless, &source.file).is_ok())
}

/// Reads until the buffer is full, or the file ends, and returns how much.
fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
