//! Events as plain lines on standard error, for logs and for terminals that asked for quiet.
//!
//! Tasks may be under way at the same time: each line begins with the number of its task.

use std::io::Write;

use crate::event::{Event, Listener};

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Loudness {
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
        let line = match event {
            Event::Warned { message } => format!("warning: {message}"),
            Event::Waiting { message } if self.loudness == Loudness::Tasks => format!("waiting: {message}"),
            Event::TaskStarted { task, title, .. } if self.loudness == Loudness::Tasks => {
                format!("{:>4}  {title}", task.0)
            }
            Event::TaskDone { task, result, took } if self.loudness == Loudness::Tasks => {
                format!("{:>4}  {}", task.0, done(result, took.as_secs_f64()))
            }
            Event::HookEnded { when, command, result, took } if self.loudness == Loudness::Tasks => {
                format!("{when}: {command}: {result} in {:.1} s", took.as_secs_f64())
            }
            _ => return,
        };
        // Nobody is left to tell when standard error is gone.
        drop(writeln!(anstream::stderr().lock(), "{line}"));
    }
}

fn done(result: &str, seconds: f64) -> String {
    let result = if result.is_empty() { String::new() } else { format!(": {result}") };
    format!("done{result} in {seconds:.1} s")
}
