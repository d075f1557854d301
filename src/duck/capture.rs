//! The live copy: one state of a DuckDB file that another process has open and writes to.
//!
//! DuckDB lets nobody else open a file that is open read-write, and a plain copy of one is wrong more often than right:
//! rows that were acknowledged are missing, half transactions are there, and mostly nothing complains. What is copied
//! here is proven instead. One try:
//!
//! 1. **Look**: the headers, which say what state is in force; then the log.
//! 2. **Copy the log first**: whatever it refers to in the database file is there by then. It is cut at its last commit.
//! 3. **Copy the database file.** The first pass copies all; each further one only what differs, and is broken off as
//!    soon as it has become useless, so that the next has all the time until the next checkpoint. The first gives way to
//!    whoever writes meanwhile (`turns.rs`).
//! 4. **Look again**, and let the judge (`judge.rs`) decide whether anything has happened between the two looks by which the
//!    copy could be of two states; it names each such thing and why.
//! 5. **Audit** the metadata in the copy (`audit.rs`) against its own checksums.
//!
//! The copy becomes a database only then (`draft.rs`); it is opened read-write, because its log is to be replayed.
//!
//! Nothing is asked of the process that has the database open, and nothing of it is held up: the live files are opened
//! read-only, never locked and never written. Never call this in a process that has the same database open in an engine:
//! the locks of a process on a file are gone as soon as *any* of its descriptors of it is closed.
//!
//! A database whose process was killed is captured too: as DuckDB would recover it. What DuckDB itself could not recover, such
//! as a log that a mistake of its own has made unusable, is captured as it is, and fails when the copy is opened.
//!
//! The copy is not synced to the disk: it is read at once, and made again after a crash.

mod audit;
mod checksum;
mod draft;
mod error;
mod header;
mod judge;
mod log;
mod source;
mod turns;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::measure::Bytes;

use draft::{Draft, Pass};
pub use error::CaptureError;
use header::Headers;
pub use judge::Rejection;
use judge::{Observation, judge};
use source::Source;
use turns::Turns;

/// How long is slept between two looks at whether a wait has an end.
const PAUSE: Duration = Duration::from_millis(2);

/// How long at most is waited before another look, or another try.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Which part of the patience may go by with a copy that gives way to others.
const COURTESY: u32 = 4;

/// How often the metadata may be torn before it is damaged: it is written within milliseconds, once a checkpoint, and the
/// waits in between add up to more than ten seconds.
const TORN: u32 = 20;

/// How long a capture may go on trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How many passes are made over the database at most.
    pub tries: u32,
    /// After which time no try is begun any more.
    pub time: Duration,
}

/// As much as a large database needs that is checkpointed each minute: a pass over 20 GB takes most of a minute on a disk
/// that reads 500 MB a second, the first one longer, and each further one begins right after a checkpoint.
///
/// HitKeep's own are rarer. It asks for one every 15 minutes (2.8) or 5 (newer), and 64 MB of log bring one: between 76 000 and
/// 196 000 page views, of 840 bytes each when committed one by one, of 330 in batches of 50 (measured with 1.5.4).
impl Default for Patience {
    fn default() -> Self {
        Self { tries: 100, time: Duration::from_mins(15) }
    }
}

impl Patience {
    /// Returns what is left of it after this many tries that took this long.
    #[must_use]
    pub fn after(self, tries: u32, time: Duration) -> Self {
        Self { tries: self.tries.saturating_sub(tries), time: self.time.saturating_sub(time) }
    }

    /// Tells whether this many tries that took this long are more than half of it.
    #[must_use]
    pub fn is_half_gone(self, tries: u32, time: Duration) -> bool {
        tries > self.tries / 2 || time > self.time / 2
    }
}

/// What a capture found out and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// When the accepted try began: what was committed before is in the copy.
    pub captured_at: Timestamp,
    /// How many passes were made over the database, the accepted one with them.
    pub tries: u32,
    /// What was seen at the looks that led to nothing, and how often; those before which nothing was copied count too.
    pub rejected: BTreeMap<Rejection, u32>,
    /// How long the accepted pass took.
    pub copying: Duration,
    /// How long all took.
    pub elapsed: Duration,
    /// The number of the checkpoint whose header is in force in the copy.
    pub iteration: u64,
    /// The size of the log in the copy, cut at its last commit, in bytes.
    pub log_bytes: u64,
    /// The size of the copy, its log with it.
    pub bytes: Bytes,
    /// What was written for it, over all passes.
    pub written: Bytes,
    /// The storage version of the database: 64 to 69.
    pub storage_version: u64,
    /// The version of the library that made the file, such as `v1.5.4`.
    pub library: String,
}

/// What a look at a database sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The size of the database file, in bytes.
    pub bytes: u64,
    /// The size of its log, in bytes.
    pub log_bytes: u64,
    /// The storage version of the database: 64 to 69.
    pub storage_version: u64,
    /// The version of the library that made the file, such as `v1.5.4`.
    pub library: String,
    /// How many checkpoints there have been.
    pub iteration: u64,
    /// When the file or its log was written to last; nothing where the file system does not say.
    pub written_at: Option<Timestamp>,
    /// Whether a checkpoint is under way.
    pub is_checkpointing: bool,
    /// The process that has the database open, as far as it is known: `/usr/bin/hitkeep (PID 812)`.
    pub holder: Option<String>,
}

/// Copies the database at `source` to `into`, and its log to `into` with `.wal` at its end.
///
/// What lies at `into` is brought up to date: only what differs is written. Until the copy is accepted there is nothing at
/// `into` that could be opened; when this fails, nothing at all. `clock` says when a try begins, and `is_stopped` is asked
/// whether to give up, at least after every 64 MiB.
///
/// Where `source` is a symbolic link, the log may lie beside the link or beside the file: both places are looked at (`logs.rs`).
///
/// # Errors
/// When there is nothing that may and can be captured, when the copy cannot be written, when `is_stopped`, and when
/// `patience` has an end before the database has kept still for as long as a pass takes.
pub fn capture(
    source: &Path,
    into: &Path,
    patience: &Patience,
    clock: &dyn Fn() -> Timestamp,
    is_stopped: &dyn Fn() -> bool,
) -> Result<Captured, CaptureError> {
    let mut draft = Draft::begin(&Source::open(source)?, into)?;
    let mut tries = Tries::begin(source, patience, is_stopped);
    loop {
        let captured_at = clock();
        match tries.attempt(&mut draft)? {
            Ok(accepted) => return tries.accept(draft, accepted, captured_at),
            Err(rejection) => tries.wait_after(rejection)?,
        }
    }
}

/// Looks at the database at `source`, without copying or locking it.
///
/// # Errors
/// Those of [`capture`] that are about the database.
pub fn look(source: &Path) -> Result<State, CaptureError> {
    let source = Source::open(source)?;
    let (_, headers) = source.headers()?;
    let scan = source.scan_log()?;
    source.has_no_log_elsewhere()?;
    let holder = source.holder().map(|holder| holder.to_string());
    Ok(State {
        bytes: source.length()?,
        log_bytes: source.log_stamp().map_or(0, |(_, bytes)| bytes),
        storage_version: headers.storage_version,
        library: headers.library,
        iteration: headers.iteration,
        written_at: source.written_at(),
        is_checkpointing: scan.checkpoint.is_some() && holder.is_some(),
        holder,
    })
}

/// The tries of one capture.
struct Tries<'a> {
    source: &'a Path,
    patience: &'a Patience,
    is_stopped: &'a dyn Fn() -> bool,
    begun: Instant,
    count: u32,
    rejected: BTreeMap<Rejection, u32>,
}

/// What a try has given.
struct Accepted {
    /// The headers as they are in the database.
    raw: Box<header::Raw>,
    /// What they say.
    headers: Headers,
    /// How long the pass took.
    copying: Duration,
}

impl<'a> Tries<'a> {
    fn begin(source: &'a Path, patience: &'a Patience, is_stopped: &'a dyn Fn() -> bool) -> Self {
        Self { source, patience, is_stopped, begun: Instant::now(), count: 0, rejected: BTreeMap::new() }
    }

    /// Makes one try: looks, copies, looks again.
    fn attempt(&mut self, draft: &mut Draft) -> Result<Result<Accepted, Rejection>, CaptureError> {
        let source = Source::open(self.source)?;
        let (raw, headers) = source.headers()?;
        let (scan, log) = draft.take_log(&source, &headers)?;
        let before = source.before(raw, log)?;
        if before.log.checkpoint.is_some_and(|checkpoint| checkpoint.is_held) {
            return Ok(Err(Rejection::CheckpointUnderWay));
        }
        self.count += 1;
        let pass = Instant::now();
        let mut turns = Turns::begin(&source);
        let mut go_on = |has_most| self.go_on(&source, &before, has_most, &mut turns);
        if draft.take_database(&source, before.length, &mut go_on)? == Pass::Break {
            return Ok(Err(Rejection::CheckpointEnded));
        }
        let copying = pass.elapsed();
        let after = source.after(&scan)?;
        if let Some(rejection) = judge(&before, &after) {
            return Ok(Err(rejection));
        }
        source.has_no_log_elsewhere()?;
        if !draft.has_whole_metadata(&headers)? {
            return Ok(Err(Rejection::MetadataTorn));
        }
        Ok(Ok(Accepted { raw: before.headers, headers, copying }))
    }

    /// Says whether a pass is to go on: the first to its end, so that the others have little to write, but with
    /// pauses; another as fast as it can, for as long as it can still be accepted.
    fn go_on(
        &self,
        source: &Source,
        before: &Observation,
        has_most: bool,
        turns: &mut Turns,
    ) -> Result<Pass, CaptureError> {
        self.stop_if_told()?;
        if !has_most {
            if self.begun.elapsed() < self.patience.time / COURTESY {
                turns.give(source, |pause| self.pause_while(|begun| begun.elapsed() < pause))?;
            }
            return Ok(Pass::GoOn);
        }
        Ok(if source.raw_headers()? == before.headers { Pass::GoOn } else { Pass::Break })
    }

    /// Waits as long as it takes until another try may succeed.
    ///
    /// The best moment is right after a checkpoint: the time until the next is longest then. After anything else each wait
    /// is twice as long as the one before.
    fn wait_after(&mut self, rejection: Rejection) -> Result<(), CaptureError> {
        let count = self.rejected.entry(rejection).and_modify(|count| *count += 1).or_insert(1);
        let pause = PAUSE.saturating_mul(1 << (*count).min(16)).min(LOOK_AGAIN);
        match rejection {
            Rejection::MetadataTorn if *count >= TORN => {
                let seen = "its metadata does not match its checksums".to_owned();
                return Err(CaptureError::Damaged { path: self.source.to_owned(), seen });
            }
            Rejection::CheckpointEnded => {}
            Rejection::CheckpointUnderWay => self.wait_for_log()?,
            _ => self.pause_while(|begun| begun.elapsed() < pause)?,
        }
        self.stop_if_told()?;
        if self.count >= self.patience.tries || self.begun.elapsed() >= self.patience.time {
            return Err(CaptureError::Exhausted {
                path: self.source.to_owned(),
                tries: self.count,
                elapsed: self.begun.elapsed(),
                rejected: std::mem::take(&mut self.rejected),
            });
        }
        Ok(())
    }

    /// Waits until the log has changed, as it does when a checkpoint ends, or for a while.
    fn wait_for_log(&self) -> Result<(), CaptureError> {
        let source = Source::open(self.source)?;
        let seen = source.log_stamp();
        self.pause_while(|begun| source.log_stamp() == seen && begun.elapsed() < LOOK_AGAIN)
    }

    /// Waits as long as `goes_on` says so of the moment when the wait began.
    fn pause_while(&self, goes_on: impl Fn(Instant) -> bool) -> Result<(), CaptureError> {
        let begun = Instant::now();
        while goes_on(begun) {
            self.stop_if_told()?;
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn stop_if_told(&self) -> Result<(), CaptureError> {
        if (self.is_stopped)() { Err(CaptureError::Stopped { path: self.source.to_owned() }) } else { Ok(()) }
    }

    /// Makes the draft a database, and tells what it took.
    fn accept(self, draft: Draft, accepted: Accepted, captured_at: Timestamp) -> Result<Captured, CaptureError> {
        let Accepted { raw, headers, copying } = accepted;
        let written = Bytes(draft.written + header::LENGTH as u64);
        let (log_bytes, bytes) = draft.accept(&raw)?;
        Ok(Captured {
            captured_at,
            tries: self.count,
            rejected: self.rejected,
            copying,
            elapsed: self.begun.elapsed(),
            iteration: headers.iteration,
            log_bytes,
            bytes: Bytes(bytes),
            written,
            storage_version: headers.storage_version,
            library: headers.library,
        })
    }
}
