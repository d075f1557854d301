//! The last lines of the log, kept for whoever is told of a run when it has ended.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::lines;
use crate::event::{Event, Listener};

/// How many lines are kept.
const KEPT: usize = 100;

/// Keeps the last lines, and lets another listener hear everything.
pub struct Tail {
    other: Arc<dyn Listener>,
    lines: Mutex<VecDeque<String>>,
}

impl Tail {
    /// Returns a listener before another.
    #[must_use]
    pub fn before(other: Arc<dyn Listener>) -> Self {
        Self { other, lines: Mutex::default() }
    }

    /// Adds a line that is no event's.
    pub fn add(&self, line: String) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// Returns the lines so far, the newest last.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

impl Listener for Tail {
    fn hear(&self, event: &Event) {
        if let Some((_, line)) = lines::in_words(event) {
            self.add(line);
        }
        self.other.hear(event);
    }
}
