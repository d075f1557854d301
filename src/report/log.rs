//! The log on standard error: lines for people or, line by line, JSON; with the priorities of the journal where that reads it.

use std::io::{self, Write as _};
use std::sync::LazyLock;

use jiff::Timestamp;
use serde::Serialize;

use crate::event::{Event, Listener};
use crate::name::{Name, RunId, Shard};
use crate::plan::environment;

/// The number of the format of JSON lines: fields may be added, none changes its meaning.
const FORMAT: u32 = 1;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Something was not done.
    Error,
    /// Something deserves attention.
    Warning,
    /// All is as it should be.
    Info,
}

impl Level {
    /// Returns what a line begins with that the journal reads: the priority, as syslog numbers it.
    fn mark(self) -> &'static str {
        match self {
            _ if !*IS_JOURNAL => "",
            Self::Error => "<3>",
            Self::Warning => "<4>",
            Self::Info => "<6>",
        }
    }
}

/// Whether standard error is the stream that systemd says it has connected with the journal.
static IS_JOURNAL: LazyLock<bool> = LazyLock::new(|| {
    let stream = std::env::var(environment::JOURNAL_STREAM).unwrap_or_default();
    rustix::fs::fstat(io::stderr()).is_ok_and(|about| stream == format!("{}:{}", about.st_dev, about.st_ino))
});

/// The run that a line is about.
#[derive(Clone, Debug, Serialize)]
pub struct Subject {
    /// Its id.
    pub run: RunId,
    /// Its job.
    pub job: Name,
    /// Which part of the plan it does; left out where that is all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
}

/// Writes a text for people, of one or more lines.
pub fn write(level: Level, text: &str) {
    let marked: String = text.lines().flat_map(|line| [level.mark(), line, "\n"]).collect();
    // Nobody is left to tell when standard error is gone.
    drop(anstream::stderr().lock().write_all(marked.as_bytes()));
}

#[derive(Serialize)]
struct Line<'l, T> {
    format: u32,
    time: Timestamp,
    level: Level,
    #[serde(flatten)]
    subject: Option<&'l Subject>,
    #[serde(flatten)]
    content: T,
}

/// Writes an object as one line of JSON, with the time, how much it matters, and whose run it is about.
pub fn write_object(level: Level, subject: Option<&Subject>, content: impl Serialize) {
    let line = Line { format: FORMAT, time: Timestamp::now(), level, subject, content };
    // Own types without maps of odd keys: writing them as JSON cannot fail.
    write(level, &serde_json::to_string(&line).unwrap_or_default());
}

/// Writes each event but the moves of tasks as one line of JSON.
#[derive(Clone, Debug)]
pub struct JsonLog {
    subject: Option<Subject>,
    /// What matters least of what is said.
    least: Level,
}

impl JsonLog {
    /// Returns a listener that says everything, of the run that it is about.
    #[must_use]
    pub fn of(subject: Option<Subject>) -> Self {
        Self { subject, least: Level::Info }
    }

    /// Returns a listener that says only what failed or deserves attention, of no run.
    #[must_use]
    pub fn problems() -> Self {
        Self { subject: None, least: Level::Warning }
    }
}

impl Listener for JsonLog {
    fn hear(&self, event: &Event) {
        let level = match event {
            Event::TaskMoved { .. } => return,
            Event::TaskFailed { .. } | Event::RunFinished { exit_code: 1.., .. } => Level::Error,
            Event::Warned { .. } | Event::TaskSkipped { .. } => Level::Warning,
            _ => Level::Info,
        };
        if level <= self.least {
            write_object(level, self.subject.as_ref(), event);
        }
    }
}
