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

impl Listener for Json {
    fn hear(&self, event: &Event) {
        let line = serde_json::to_string(&Line { format: FORMAT, event }).unwrap_or_default();
        // A reader that has gone away must not stop a backup.
        drop(writeln!(io::stdout().lock(), "{line}"));
    }
}
