//! Events as JSON lines on standard output, for programs.

use std::io::{self, Write};

use serde::Serialize;

use crate::event::{Event, Listener};

/// The number of the format of these lines: fields may be added, none changes its meaning.
const FORMAT: u32 = 1;

/// Writes each event as one line of JSON.
#[derive(Clone, Copy, Debug)]
pub struct Json;

#[derive(Serialize)]
struct Line<'e> {
    format: u32,
    #[serde(flatten)]
    event: &'e Event,
}

/// A line of a dry run.
#[derive(Serialize)]
struct Planned {
    format: u32,
    event: &'static str,
    /// The task that would be done; nothing where the line is about them all.
    task: Option<u32>,
    what: String,
}

impl Json {
    /// Writes what a dry run shows, each line as an event that no run has.
    pub fn plan(shown: &str) {
        for line in shown.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (task, what) = match words.split_first() {
                // Only tasks begin with a number, and only after blanks.
                Some((first, rest)) if line.starts_with(' ') => match first.parse() {
                    Ok(task) => (Some(task), rest),
                    Err(_) => (None, &words[..]),
                },
                _ => (None, &words[..]),
            };
            write(&Planned { format: FORMAT, event: "planned", task, what: what.join(" ") });
        }
    }
}

impl Listener for Json {
    fn hear(&self, event: &Event) {
        write(&Line { format: FORMAT, event });
    }
}

fn write(line: &impl Serialize) {
    let line = serde_json::to_string(line).unwrap_or_default();
    // A reader that has gone away must not stop a backup.
    drop(writeln!(io::stdout().lock(), "{line}"));
}
