//! Events as plain lines on standard error, for logs and for terminals that asked for quiet.
//!
//! Tasks may be under way at the same time: each line begins with the number of its task.

use super::log::{self, Level};
use crate::event::{Event, Listener};

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Loudness {
    /// What failed or deserves attention.
    Problems,
    /// Each task that was done, and what is waited for, as well.
    Tasks,
}

/// Writes events as lines.
#[derive(Clone, Copy, Debug)]
pub struct Lines {
    loudness: Loudness,
}

impl Lines {
    /// Returns a listener that says only what failed or deserves attention.
    #[must_use]
    pub fn problems() -> Self {
        Self { loudness: Loudness::Problems }
    }

    /// Returns a listener that says each task that was done as well.
    #[must_use]
    pub fn tasks() -> Self {
        Self { loudness: Loudness::Tasks }
    }
}

impl Listener for Lines {
    fn hear(&self, event: &Event) {
        // What failed is drawn when all is over, at the line of the plan that asked for it.
        if matches!(event, Event::TaskFailed { .. } | Event::RunStarted { .. } | Event::RunFinished { .. }) {
            return;
        }
        if let Some((loudness, line)) = in_words(event).filter(|(loudness, _)| *loudness <= self.loudness) {
            log::write(if loudness == Loudness::Problems { Level::Warning } else { Level::Info }, &line);
        }
    }
}

/// Returns an event as a line, and who wants to hear it; nothing for one that says little.
pub(super) fn in_words(event: &Event) -> Option<(Loudness, String)> {
    let (problem, task) = (|line| Some((Loudness::Problems, line)), |line| Some((Loudness::Tasks, line)));
    match event {
        Event::Warned { message } => problem(format!("warning: {message}")),
        Event::Waiting { message } => task(format!("waiting: {message}")),
        Event::TaskStarted { task: id, title, .. } => task(format!("{:>4}  {title}", id.0)),
        Event::TaskDone { task: id, result, took } => {
            task(format!("{:>4}  {}", id.0, done(result, took.as_secs_f64())))
        }
        Event::TaskFailed { task: id, cause } => problem(format!("{:>4}  failed: {cause}", id.0)),
        Event::HookEnded { when, command, result, took } => {
            task(format!("{when}: {command}: {result} in {:.1} s", took.as_secs_f64()))
        }
        Event::RunStarted { title, .. } => task(title.clone()),
        Event::RunFinished { result, .. } => task(result.clone()),
        Event::TaskMoved { .. } | Event::TaskSkipped { .. } => None,
    }
}

fn done(result: &str, seconds: f64) -> String {
    let result = if result.is_empty() { String::new() } else { format!(": {result}") };
    format!("done{result} in {seconds:.1} s")
}
