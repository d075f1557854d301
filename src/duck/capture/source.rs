//! The live files: opened read-only, looked at, never locked and never written.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crc_fast::{CrcAlgorithm, Digest};
use jiff::Timestamp;
use rustix::fs::OFlags;

use super::error::{CaptureError, OPENING};
use super::header::{self, Headers, Pointer, Unusable};
use super::judge::{Checkpoint, Log, Observation};
use super::log::{self, Scan, Unread};
use crate::duck::lock::{self, Holder};
use crate::duck::logs::{FileId, Logs};

/// How often what is torn is read again before it is damaged: who writes it needs far less time.
const REREADS: u32 = 20;
const REREAD: Duration = Duration::from_millis(10);

/// What shows whether a log is still the same and has not grown.
pub(super) type LogStamp = (FileId, u64);

/// A database that others may have open.
pub(super) struct Source {
    pub(super) file: File,
    path: PathBuf,
    id: FileId,
    /// How many names the file has.
    names: u64,
    /// Where its logs may lie …
    logs: Logs,
    /// … and where they did when this was opened.
    log_path: PathBuf,
    log_aside_path: PathBuf,
}

impl Source {
    /// Opens the database at `path`.
    pub(super) fn open(path: &Path) -> Result<Self, CaptureError> {
        let open = || {
            let file = open(path)?;
            let about = file.metadata()?;
            Ok((file, about, Logs::of(path)?))
        };
        let (file, about, logs) = open().map_err(CaptureError::file(OPENING, path))?;
        let [log_path, log_aside_path] = logs.there().map(|there| there.map(Path::to_owned)).map_err(|logs| {
            let [log, other] = logs.map(Path::to_owned);
            CaptureError::TwoLogs { path: path.to_owned(), log, other }
        })?;
        let (id, names) = (FileId::of(&about), about.nlink());
        Ok(Self { file, path: path.to_owned(), id, names, logs, log_path, log_aside_path })
    }

    /// Makes sure that there is no log but where this looks.
    ///
    /// What the process that has the database open calls its files may change while it is asked: then it is asked again.
    pub(super) fn has_no_log_elsewhere(&self) -> Result<(), CaptureError> {
        let holder = self.holder();
        let mut found = None;
        for _ in 0..REREADS {
            let asked = holder.and_then(|holder| holder.pid).map(|pid| self.logs.elsewhere(self.id, pid));
            match asked {
                Some(Ok(None)) => return Ok(()),
                Some(Ok(Some(log))) => found = Some(log),
                None | Some(Err(_)) if self.names == 1 => return Ok(()),
                None | Some(Err(_)) => {
                    return Err(CaptureError::ManyNames { path: self.path.clone(), names: self.names });
                }
            }
            std::thread::sleep(REREAD);
        }
        let holder = holder.map_or_else(String::new, |holder| holder.to_string());
        Err(CaptureError::LogElsewhere { path: self.path.clone(), log: found.unwrap_or_default(), holder })
    }

    /// Says whether a path leads to this very file.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        path.metadata().is_ok_and(|metadata| FileId::of(&metadata) == self.id)
    }

    /// Reads the headers, again while one of them is being written.
    pub(super) fn headers(&self) -> Result<(Box<header::Raw>, Headers), CaptureError> {
        for _ in 0..REREADS {
            let raw = self.raw_headers()?;
            match Headers::read(&raw) {
                Ok(headers) => return Ok((raw, headers)),
                Err(Unusable::Torn) => std::thread::sleep(REREAD),
                Err(Unusable::Foreign) => return Err(self.foreign("it does not begin as one")),
                Err(Unusable::Encrypted) => return Err(CaptureError::Encrypted { path: self.path.clone() }),
                Err(Unusable::UnknownVersion(version)) => {
                    return Err(CaptureError::UnknownStorage { path: self.path.clone(), version });
                }
            }
        }
        Err(self.damaged("one of its headers does not match its checksum".to_owned()))
    }

    pub(super) fn raw_headers(&self) -> Result<Box<header::Raw>, CaptureError> {
        let mut raw = Box::new([0; header::LENGTH]);
        match self.file.read_exact_at(raw.as_mut_slice(), 0) {
            Ok(()) => Ok(raw),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.foreign("it is shorter than its headers"))
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Returns how many bytes the file has.
    pub(super) fn length(&self) -> Result<u64, CaptureError> {
        let metadata = self.file.metadata().map_err(CaptureError::file("look at", &self.path))?;
        Ok(metadata.len())
    }

    /// Returns when the file or its log was written to last.
    pub(super) fn written_at(&self) -> Option<Timestamp> {
        let written =
            [self.file.metadata(), self.log_path.metadata()].map(|about| about.and_then(|about| about.modified()));
        let newest = written.into_iter().flatten().max()?;
        Timestamp::try_from(newest).ok()
    }

    /// Returns the process that has the database open, as far as it is known.
    pub(super) fn holder(&self) -> Option<Holder> {
        lock::holder_of(&self.file)
    }

    /// Opens the log; nothing where there is none.
    pub(super) fn log(&self) -> Result<Option<File>, CaptureError> {
        open_if_there(&self.log_path)
    }

    /// Opens the log that commits go to while a checkpoint is under way; nothing where there is none.
    pub(super) fn log_aside(&self) -> Result<Option<File>, CaptureError> {
        open_if_there(&self.log_aside_path)
    }

    pub(super) fn log_path(&self) -> &Path {
        &self.log_path
    }

    /// Reads a log, again while an entry of it is broken.
    pub(super) fn settled(&self, mut read: impl FnMut() -> Result<Scan, CaptureError>) -> Result<Scan, CaptureError> {
        let mut broken_at = 0;
        for _ in 0..REREADS {
            let scan = read()?;
            let Some(at) = scan.broken_at else { return Ok(scan) };
            broken_at = at;
            std::thread::sleep(REREAD);
        }
        Err(self.damaged(format!("the entry at byte {broken_at} of its log does not match its checksum")))
    }

    /// Reads the log where it lies.
    pub(super) fn scan_log(&self) -> Result<Scan, CaptureError> {
        let Some(log) = self.log()? else { return Ok(Scan::default()) };
        self.scan_growth(log, 0)
    }

    /// Returns what shows whether the log is the same and has not grown; nothing where there is none.
    pub(super) fn log_stamp(&self) -> Option<LogStamp> {
        self.log_path.metadata().ok().map(|metadata| (FileId::of(&metadata), metadata.len()))
    }

    /// Looks at a checkpoint that has begun and not ended.
    pub(super) fn checkpoint(&self, root: Pointer) -> Result<Checkpoint, CaptureError> {
        let failed = CaptureError::file("read", &self.log_path);
        let aside = self.log_aside()?.map(|mut aside| checksum(&mut aside, None)).transpose().map_err(failed)?;
        Ok(Checkpoint { root, is_held: self.holder().is_some(), aside: aside.flatten() })
    }

    /// Returns what the first look saw: the headers, then the log that was copied, then the length of the file.
    ///
    /// In this order a checkpoint that ends in between is one that the second look sees.
    pub(super) fn before(&self, headers: Box<header::Raw>, log: Log) -> Result<Observation, CaptureError> {
        Ok(Observation { headers, file: self.id, length: self.length()?, log })
    }

    /// Looks a second time, after a first that found the commits of `scan`: at the log, and then at the headers.
    ///
    /// In this order a checkpoint that ends in between is seen by its header, and one that begins has done no harm.
    pub(super) fn after(&self, scan: &Scan) -> Result<Observation, CaptureError> {
        let log = self.log_after(scan)?;
        let headers = self.raw_headers()?;
        let file = self.path.metadata().map_or(FileId(0, 0), |metadata| FileId::of(&metadata));
        Ok(Observation { headers, file, length: self.length()?, log })
    }

    fn log_after(&self, scan: &Scan) -> Result<Log, CaptureError> {
        if self.logs.there() != Ok([&self.log_path, &self.log_aside_path]) {
            return Ok(Log::default());
        }
        let Some(mut log) = self.log()? else {
            return Ok(Log { opening: (scan.commits_end == 0).then(nothing), ..Log::default() });
        };
        let failed = CaptureError::file("read", &self.log_path);
        let opening = checksum(&mut log, Some(scan.commits_end)).map_err(failed)?;
        let growth = self.scan_growth(log, scan.commits_end)?;
        let checkpoint = growth.checkpoint.map(|root| self.checkpoint(root)).transpose()?;
        Ok(Log { opening, refers_to_blocks: scan.refers_to_blocks, frees_blocks: growth.frees_blocks, checkpoint })
    }

    /// Reads what came after the commits that end at a place in the log.
    fn scan_growth(&self, mut log: File, at: u64) -> Result<Scan, CaptureError> {
        let mut read = || -> Result<Scan, Unread> {
            log.seek(SeekFrom::Start(at))?;
            let mut log = BufReader::new(&log);
            if at == 0 { log::scan(&mut log) } else { Ok(log::scan_on(&mut log, at, Scan::default())?) }
        };
        read().map_err(|unread| self.unread(unread))
    }

    /// Tells why the database was not read.
    pub(super) fn failed(&self, error: io::Error) -> CaptureError {
        CaptureError::file("read", &self.path)(error)
    }

    fn foreign(&self, seen: &'static str) -> CaptureError {
        CaptureError::NotADatabase { path: self.path.clone(), seen }
    }

    fn damaged(&self, seen: String) -> CaptureError {
        CaptureError::Damaged { path: self.path.clone(), seen }
    }

    /// Tells why a log was not read.
    pub(super) fn unread(&self, unread: Unread) -> CaptureError {
        match unread {
            Unread::Io(error) => CaptureError::file("read", &self.log_path)(error),
            Unread::UnknownVersion(version) => CaptureError::UnknownLog { path: self.log_path.clone(), version },
            Unread::Encrypted => CaptureError::Encrypted { path: self.log_path.clone() },
            Unread::Foreign => CaptureError::NotADatabase {
                path: self.log_path.clone(),
                seen: "it does not begin as a write-ahead log",
            },
        }
    }
}

/// Opens a file to be read, and leaves no trace of it where that is allowed: to its owner and to root.
fn open(path: &Path) -> io::Result<File> {
    let with = |flags: OFlags| {
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        OpenOptions::new().read(true).custom_flags(flags).open(path)
    };
    with(OFlags::NOATIME).or_else(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => with(OFlags::empty()),
        _ => Err(error),
    })
}

fn open_if_there(path: &Path) -> Result<Option<File>, CaptureError> {
    match open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CaptureError::file(OPENING, path)(error)),
    }
}

/// Returns a checksum of the first bytes of a file, or of all; nothing where it has less.
///
/// It is no secret and nobody forges it: 64 bits are plenty.
pub(super) fn checksum(file: &mut File, length: Option<u64>) -> io::Result<Option<u64>> {
    let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
    let mut part = vec![0; 256 * 1024];
    let mut from = file.take(length.unwrap_or(u64::MAX));
    let mut total = 0;
    loop {
        match from.read(&mut part) {
            Ok(0) => break,
            Ok(read) => {
                digest.update(&part[..read]);
                total += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length.is_none_or(|length| length == total).then(|| digest.finalize()))
}

/// Returns the checksum of no bytes.
pub(super) fn nothing() -> u64 {
    Digest::new(CrcAlgorithm::Crc64Nvme).finalize()
}
