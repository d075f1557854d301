//! Does: walks the work, sends events, seals last.
//!
//! Each kind of work has one file with one function per action. A failure ends the chain that it is in and no other;
//! what an unfinished chain has stored is taken away again; nothing is sealed after a word to stop. Deleting comes
//! last, and never touches what another run has written.

mod adopt;
mod archive;
mod backup;
mod capture;
mod coverage;
mod doctor;
mod drill;
mod files;
mod hook;
mod load;
mod place;
mod prune;
mod restore;
mod rows;
mod series;
pub mod staging;
mod take;
mod takeover;
mod verify;

pub use archive::archive;
pub use backup::{backup, unbegun};
pub use coverage::{Newest, StoredSet, Unread, coverage};
pub use doctor::{Examined, Patient, doctor};
pub use drill::drill;
pub use hook::{Ended, Hook, Ran};
pub use prune::prune;
pub use restore::restore;
pub use rows::rows;
pub use verify::{Finding, Read, verify};

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Display;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::duck::capture::{CaptureError, Patience};
use crate::duck::{self, DuckError, Limits, Session};
use crate::event::{Event, Listener, Meter};
use crate::measure::Bytes;
use crate::name::{Name, Shard};
use crate::record::PlanRecord;
use crate::stop::{Reason, Stop};
use crate::store::{Lease, Store, StoreError};
use crate::survey::Means;
use crate::work::Task;

/// How often a task that takes long says where it is.
const TICK: Duration = Duration::from_millis(200);

/// Everything outside that work touches, and who is told.
#[derive(Clone)]
pub struct Outside {
    /// The destinations' stores.
    pub stores: BTreeMap<Name, Arc<dyn Store>>,
    /// The leases that are held of them, where they are buckets.
    pub leases: BTreeMap<Name, Lease>,
    /// What an engine may use.
    pub limits: Limits,
    /// How long is tried to capture a database that others have open: to prepare it and to bring it up to date.
    pub patience: Patience,
    /// What time it is.
    pub clock: fn() -> Timestamp,
    /// Who is told.
    pub tell: Arc<dyn Listener>,
    /// The word to stop.
    pub stop: Stop,
    /// Whose work this is, for the records.
    pub about: About,
}

/// Whose work this is, as records say it.
#[derive(Clone, Debug)]
pub struct About {
    /// The plan.
    pub plan: PlanRecord,
    /// Which part of the plan it is; nothing where it is all of it.
    pub shard: Option<Shard>,
    /// The host.
    pub host: String,
    /// The program and its version.
    pub tool: String,
}

/// Why a task failed.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// A database could not be read or made.
    #[error(transparent)]
    Duck(#[from] DuckError),
    /// A destination failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A folder of this run could not be made or removed.
    #[error("cannot use the folder `{at}`: {cause}")]
    Folder {
        /// The folder.
        at: String,
        /// What the system says.
        cause: std::io::Error,
    },
    /// A database that is to be replaced cannot be had for it.
    #[error("{0}: stop HitKeep first")]
    Living(DuckError),
    /// What is there is not what was sealed.
    #[error("{0}")]
    Differs(String),
    /// A database cannot hold everything that rows hold which are to be brought back into it.
    #[error("{0}")]
    Unfit(String),
    /// HitKeep has removed what was being read.
    #[error("`{}` is gone: HitKeep has removed this set of its own while it was read", at.display())]
    Vanished {
        /// A file that was there before.
        at: PathBuf,
    },
    /// Another run may write there by now.
    #[error(
        "lease {generation} of the destination was lost: it could not be renewed in time or looked at, or another run \
         has taken over"
    )]
    LeaseLost {
        /// The number of the lease.
        generation: u64,
    },
    /// Something that it needs failed before.
    #[error("{cause}")]
    Before {
        /// What failed.
        cause: String,
        /// The exit code that it asks for.
        exit_code: u8,
    },
    /// No database could be made of what was backed up, where it is to be.
    #[error("{error}{}", remedy(error).map(|remedy| format!(": {remedy}")).unwrap_or_default())]
    Unloaded {
        /// What it says.
        error: DuckError,
    },
    /// Some of what was there is replaced, and could not be put back.
    #[error(
        "{cause}; and not all that was there could be put back: {then}. It is set aside beside its place; run the restore again"
    )]
    Half {
        /// What failed first.
        cause: Box<Cause>,
        /// What failed then.
        then: String,
    },
    /// The word to stop was given.
    #[error("{0}")]
    Stopped(Reason),
}

/// Returns what to do about what an engine says that makes a database.
fn remedy(error: &DuckError) -> Option<&'static str> {
    const REMEDIES: [(&str, &str); 3] = [
        ("No space left", "make room, or choose another place"),
        ("Disk quota exceeded", "make room, or choose another place"),
        ("Out of Memory", "let DuckDB use more, with `memory_limit` in `[local]` of the plan"),
    ];
    let said = error.to_string();
    REMEDIES.iter().find(|(words, _)| said.contains(words)).map(|(_, remedy)| *remedy)
}

impl From<Reason> for Cause {
    fn from(reason: Reason) -> Self {
        Self::Stopped(reason)
    }
}

/// A task that failed, and why.
#[derive(Debug, thiserror::Error)]
#[error("{task}: {cause}")]
pub struct Failure {
    /// What was being done, in words.
    pub task: String,
    /// Why it failed.
    pub cause: Cause,
}

/// The exit codes of the program, each with one meaning for ever.
pub mod exit {
    /// Done.
    pub const DONE: u8 = 0;
    /// Something that no other code names.
    pub const UNEXPECTED: u8 = 1;
    /// The command line or the plan is wrong.
    pub const REJECTED: u8 = 2;
    /// Something was captured, something is missing.
    pub const PARTIAL: u8 = 3;
    /// The source cannot be read.
    pub const SOURCE: u8 = 4;
    /// A destination failed.
    pub const DESTINATION: u8 = 5;
    /// What was read back is not what was written.
    pub const VERIFICATION: u8 = 6;
    /// Another run holds the lock.
    pub const LOCKED: u8 = 7;
    /// A job does not meet the objective that its plan has for it.
    pub const OBJECTIVE: u8 = 8;
    /// Refused rather than put at risk what is there.
    pub const REFUSED: u8 = 9;
    /// Skipped, since a command before the job said so.
    pub const SKIPPED: u8 = 75;
    /// Stopped by Ctrl-C.
    pub const INTERRUPTED: u8 = 130;
    /// Stopped by SIGTERM.
    pub const TERMINATED: u8 = 143;

    /// Returns the worse of two codes: a signal, then the unexpected, then verification, destination, source, partial,
    /// an objective, a skip.
    #[must_use]
    pub fn worse(one: u8, other: u8) -> u8 {
        const ORDER: [u8; 13] = [
            DONE,
            SKIPPED,
            OBJECTIVE,
            PARTIAL,
            SOURCE,
            REJECTED,
            LOCKED,
            REFUSED,
            DESTINATION,
            VERIFICATION,
            UNEXPECTED,
            TERMINATED,
            INTERRUPTED,
        ];
        let rank = |code| ORDER.iter().position(|known| *known == code).unwrap_or(ORDER.len());
        if rank(other) > rank(one) { other } else { one }
    }
}

/// How a run ended, as whoever stands around it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All that was asked for was done.
    Success,
    /// Something is missing.
    Partial,
    /// It did not end well.
    Failure,
    /// It was not begun, since a command before it said so.
    Skipped,
}

impl Outcome {
    /// Returns what an exit code says.
    #[must_use]
    pub fn of(code: u8) -> Self {
        match code {
            exit::DONE => Self::Success,
            exit::PARTIAL => Self::Partial,
            exit::SKIPPED => Self::Skipped,
            _ => Self::Failure,
        }
    }

    /// Tells whether a person should look at it.
    #[must_use]
    pub fn is_bad(self) -> bool {
        matches!(self, Self::Partial | Self::Failure)
    }
}

impl Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Success => "success",
            Self::Partial => "partial",
            Self::Failure => "failure",
            Self::Skipped => "skipped",
        })
    }
}

impl Cause {
    /// Returns the exit code that this asks for.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Duck(DuckError::File { .. } | DuckError::Capture(CaptureError::NoRoom { .. }))
            | Self::Folder { .. }
            | Self::Unloaded { .. }
            | Self::Half { .. }
            | Self::Stopped(Reason::Timeout(_) | Reason::Elsewhere) => exit::UNEXPECTED,
            Self::Duck(_) | Self::Vanished { .. } => exit::SOURCE,
            Self::Store(_) | Self::LeaseLost { .. } => exit::DESTINATION,
            Self::Differs(_) => exit::VERIFICATION,
            Self::Living(_) | Self::Unfit(_) => exit::REFUSED,
            Self::Before { exit_code, .. } => *exit_code,
            Self::Stopped(Reason::Interrupt) => exit::INTERRUPTED,
            Self::Stopped(Reason::Terminate) => exit::TERMINATED,
        }
    }
}

/// Returns what fails at a destination that could not be looked at before the work began, in words.
#[must_use]
pub fn looking_at(destination: &Name) -> String {
    format!("look at destination `{destination}`")
}

/// Where a task is: how many bytes have moved, and what it is at.
#[derive(Clone, Debug, Default)]
struct Gauge {
    meter: Meter,
    at: Arc<Mutex<String>>,
}

impl Gauge {
    fn set_place(&self, place: &str) {
        place.clone_into(&mut self.at.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn place(&self) -> String {
        self.at.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for an engine's work while reading off the folder that it writes to how far it is: one file after another.
    async fn watch_folder<T>(
        &self,
        folder: &Path,
        size: impl Fn(&Metadata) -> u64,
        work: impl Future<Output = T>,
    ) -> T {
        let mut ticks = tokio::time::interval(TICK);
        let mut seen = 0;
        tokio::pin!(work);
        loop {
            tokio::select! {
                ended = &mut work => return ended,
                _ = ticks.tick() => seen = self.read_off(folder, &size, seen),
            }
        }
    }

    fn read_off(&self, folder: &Path, size: &impl Fn(&Metadata) -> u64, seen: u64) -> u64 {
        let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let sized =
            files.filter_map(|file| Some((file.metadata().ok()?, file.file_name().to_string_lossy().into_owned())));
        let mut sized: Vec<_> =
            sized.filter_map(|(about, name)| Some((about.modified().ok()?, size(&about), name))).collect();
        sized.sort();
        if let Some((_, _, name)) = sized.last() {
            self.set_place(name.trim_end_matches(".parquet"));
        }
        let total: u64 = sized.iter().map(|(_, bytes, _)| bytes).sum();
        let _ = self.meter.add(total.saturating_sub(seen));
        total.max(seen)
    }
}

impl Outside {
    /// Carries out one task: told when it begins, while it moves, and how it ends.
    ///
    /// `work` returns what the task made and a few words about it. When the word to stop comes, the gauge's meter is
    /// told, and the task fails as stopped whatever `work` makes of it.
    async fn perform<A: Display, T>(
        &self,
        task: &Task<A>,
        total: Option<Bytes>,
        gauge: &Gauge,
        work: impl Future<Output = Result<(T, String), Cause>>,
    ) -> Result<T, Failure> {
        let title = task.action.to_string();
        if let Some(reason) = self.stop.reason() {
            self.tell.hear(&Event::TaskSkipped { task: task.id, why: reason.to_string() });
            return Err(Failure { task: title, cause: Cause::Stopped(reason) });
        }
        self.tell.hear(&Event::TaskStarted { task: task.id, title: title.clone(), total });
        let begun = Instant::now();
        let ended = self.watch(task, gauge, work).await;
        let ended = match (ended, self.stop.reason()) {
            (Err(_), Some(reason)) => Err(Cause::Stopped(reason)),
            (ended, _) => ended,
        };
        match ended {
            Ok((made, result)) => {
                self.tell.hear(&Event::TaskDone { task: task.id, result, took: begun.elapsed() });
                Ok(made)
            }
            Err(cause) => {
                self.tell.hear(&Event::TaskFailed { task: task.id, cause: cause.to_string() });
                Err(Failure { task: title, cause })
            }
        }
    }

    /// Waits for `work`, and hands the word to stop on to the meter that it works with: it ends in good order then.
    async fn hand_stop_on<T>(&self, meter: &Meter, work: impl Future<Output = T>) -> T {
        let hand_on = async {
            self.stop.wait().await;
            meter.stop();
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            ended = work => ended,
            never = hand_on => match never {},
        }
    }

    /// Waits for `work`, says now and then where it is, and hands the word to stop on to it.
    async fn watch<A, T>(&self, task: &Task<A>, gauge: &Gauge, work: impl Future<Output = T>) -> T {
        let mut ticks = tokio::time::interval(TICK);
        let mut work = Box::pin(self.hand_stop_on(&gauge.meter, work));
        loop {
            tokio::select! {
                ended = &mut work => return ended,
                _ = ticks.tick() => self.tell.hear(&Event::TaskMoved { task: task.id, moved: gauge.meter.moved(), at: gauge.place() }),
            }
        }
    }

    /// Returns what an installation is looked at with, from the folder of this run's own.
    #[must_use]
    pub fn means<'m>(&'m self, staging: &'m Path) -> Means<'m> {
        let (limits, tell) = (&self.limits, self.tell.as_ref());
        Means { limits, staging, patience: self.patience, clock: self.clock, tell, stop: &self.stop }
    }

    fn warn(&self, message: String) {
        self.tell.hear(&Event::Warned { message });
    }

    /// Calls an engine; the word to stop interrupts it.
    async fn engine<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Session) -> Result<T, DuckError> + Send + 'static,
    ) -> Result<T, DuckError> {
        duck::enter(&self.limits, self.stop.wait(), work).await
    }

    /// Says what a destination does otherwise than it was asked, and what its lease rests on: for the record of a run.
    fn caveats(&self, destination: &Name) -> impl Iterator<Item = String> {
        let lease = self.leases.get(destination).and_then(|lease| lease.caveat.clone());
        let store = self.stores.get(destination).map(|store| store.caveats());
        lease.into_iter().chain(store.into_iter().flatten())
    }

    /// Warns of what a destination does otherwise than it was asked.
    fn warn_of_caveats(&self, destination: &Name) {
        let caveats = self.stores.get(destination).map(|store| store.caveats()).unwrap_or_default();
        for caveat in caveats {
            self.warn(format!("{destination}: {caveat}"));
        }
    }

    fn store(&self, destination: &Name) -> Result<&Arc<dyn Store>, Cause> {
        let unknown = || format!("there is no destination `{destination}`");
        self.stores.get(destination).ok_or_else(|| Cause::Before { cause: unknown(), exit_code: exit::UNEXPECTED })
    }
}

/// Makes a fresh folder that only its owner can read, and those above it that are missing.
///
/// # Errors
/// When it exists already: what lies in it would be taken for this run's.
pub fn make_private_folder(folder: &Path) -> Result<(), Cause> {
    use std::os::unix::fs::DirBuilderExt;
    let failed = |cause| Cause::Folder { at: folder.display().to_string(), cause };
    let mut builder = std::fs::DirBuilder::new();
    builder.mode(0o700);
    if let Some(above) = folder.parent() {
        builder.recursive(true).create(above).map_err(failed)?;
    }
    builder.recursive(false).create(folder).map_err(failed)
}
