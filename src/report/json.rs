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

/// A line of a dry run: what no run tells, and so no event.
#[derive(Serialize)]
struct Planned<'l> {
    format: u32,
    event: &'static str,
    /// The task that would be done; nothing where the line is about them all.
    task: Option<u32>,
    what: &'l str,
}

impl Json {
    /// Writes what a dry run shows, line by line.
    ///
    /// # Errors
    /// Those of standard output, as nothing is at stake but that.
    pub fn planned(shown: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        for line in shown.lines() {
            let (task, what) = task_of(line.trim());
            write(&mut out, &Planned { format: FORMAT, event: "planned", task, what })?;
        }
        Ok(())
    }
}

/// Returns the number of the task that a line shows, and the rest of it.
fn task_of(line: &str) -> (Option<u32>, &str) {
    let task = line.split_once("  ").filter(|(number, _)| number.bytes().all(|byte| byte.is_ascii_digit()));
    task.and_then(|(number, what)| Some((Some(number.parse().ok()?), what))).unwrap_or((None, line))
}

impl Listener for Json {
    fn hear(&self, event: &Event) {
        // A reader that has gone away must not stop a backup.
        drop(write(&mut io::stdout().lock(), &Line { format: FORMAT, event }));
    }
}

fn write(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    writeln!(out, "{}", serde_json::to_string(line).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_known_by_its_number_alone() {
        let cases = [
            ("3  store    shared at x/", (Some(3), "store    shared at x/")),
            ("10000  seal     the set", (Some(10_000), "seal     the set")),
            ("3 sets in all", (None, "3 sets in all")),
            ("+5  of them", (None, "+5  of them")),
            ("99999999999  of them", (None, "99999999999  of them")),
            ("missing  2: gone", (None, "missing  2: gone")),
            ("", (None, "")),
        ];
        for (line, expected) in cases {
            assert_eq!(task_of(line), expected, "{line}");
        }
    }
}
