//! What is said while work is done: the only interface between doing and telling.
//!
//! The doing sends events and knows no listener; a listener draws, logs or counts and can change nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

use crate::measure::Bytes;

/// The number of a task within its work, beginning at 1, in the order in which the dry run prints them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct TaskId(pub u32);

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// Work begins.
    RunStarted {
        /// What is being done, in words.
        title: String,
        /// How many tasks it has.
        tasks: u32,
    },
    /// A task begins.
    TaskStarted {
        /// The task.
        task: TaskId,
        /// What it does, in words.
        title: String,
        /// How many bytes it will move, where that is known.
        total: Option<Bytes>,
    },
    /// A task has moved on.
    TaskMoved {
        /// The task.
        task: TaskId,
        /// How many bytes it has moved so far.
        moved: Bytes,
        /// What it is at, such as a table or a file.
        at: String,
    },
    /// A task succeeded.
    TaskDone {
        /// The task.
        task: TaskId,
        /// What came of it, in words.
        result: String,
        /// How long it took, in seconds.
        #[serde(serialize_with = "seconds")]
        took: Duration,
    },
    /// A task failed.
    TaskFailed {
        /// The task.
        task: TaskId,
        /// Why.
        cause: String,
    },
    /// A task was not begun.
    TaskSkipped {
        /// The task.
        task: TaskId,
        /// Why.
        why: String,
    },
    /// A command around the job ended.
    HookEnded {
        /// When it is run: `before`, `after` or `failure`.
        when: String,
        /// The command.
        command: String,
        /// How it ended, in words.
        result: String,
        /// How long it took, in seconds.
        #[serde(serialize_with = "seconds")]
        took: Duration,
    },
    /// Something deserves attention although nothing failed.
    Warned {
        /// What.
        message: String,
    },
    /// Nothing can be done until something else has ended.
    Waiting {
        /// What is waited for, in words.
        message: String,
    },
    /// The work ended.
    RunFinished {
        /// How, in words.
        result: String,
        /// The exit code that it asks for.
        exit_code: u8,
    },
}

fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

/// Who is told.
pub trait Listener: Send + Sync {
    /// Hears one event. It must not block for long: the work waits.
    fn hear(&self, event: &Event);
}

/// A listener that hears nothing.
#[derive(Clone, Copy, Debug)]
pub struct Silence;

impl Listener for Silence {
    fn hear(&self, _: &Event) {}
}

/// Counts bytes while they move, and carries the word to stop the other way.
///
/// Whoever moves bytes adds them piece by piece and gives up when told so; clones share one count.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    moved: Arc<AtomicU64>,
    stopped: Arc<AtomicBool>,
}

impl Meter {
    /// Returns a meter with a count of its own, which carries the same word to stop.
    #[must_use]
    pub fn beside(&self) -> Self {
        Self { moved: Arc::default(), stopped: Arc::clone(&self.stopped) }
    }

    /// Adds `bytes` that have moved, and tells whether to go on.
    #[must_use]
    pub fn add(&self, bytes: u64) -> bool {
        self.moved.fetch_add(bytes, Ordering::Relaxed);
        !self.is_stopped()
    }

    /// Takes back `bytes` that were added and have to move again.
    pub fn take_back(&self, bytes: u64) {
        self.moved.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Returns how many bytes have moved.
    #[must_use]
    pub fn moved(&self) -> Bytes {
        Bytes(self.moved.load(Ordering::Relaxed))
    }

    /// Tells whether whoever moves bytes was asked to give up.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Asks whoever moves bytes to give up.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}
