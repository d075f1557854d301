//! Commands as plans write them: a program and its arguments, which no shell reads.

use std::fmt;

use super::code;
use super::raw::At;
use super::resolve::{Desk, absolute};
use super::words::written;
use crate::diagnose::Diagnostic;

/// A program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command(Vec<String>);

impl Command {
    /// Reads the command at `key`; returns nothing when it is none. A program with a slash in it is a path, and a relative
    /// one starts at the plan file.
    pub(super) fn resolve(desk: &mut Desk<'_>, key: &str, at: At<Vec<At<String>>>, example: &str) -> Option<Self> {
        let mut words: Vec<String> = at.value.into_iter().map(|word| word.value).collect();
        let Some(program) = words.first_mut().filter(|program| !program.is_empty()) else {
            desk.problems.push(
                Diagnostic::error(code::EMPTY_ARRAY, format!("`{key}` names no program"))
                    .at(at.span, "nothing to be run")
                    .help(format!("write the program and its arguments, as in `{example}`")),
            );
            return None;
        };
        if program.contains(char::is_whitespace) && !program.contains('/') {
            let words = program.split_whitespace().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ");
            desk.problems.push(
                Diagnostic::error(code::NO_SHELL, format!("`{key}` has no program called {}", written(program)))
                    .at(at.span, "no shell takes this apart")
                    .help(format!("write each word as a text of its own: `[{words}]`")),
            );
            return None;
        }
        if program.contains('/') {
            *program = absolute(&desk.around.directory, program).to_string_lossy().into_owned();
        }
        Some(Self(words))
    }

    /// Returns the program and its arguments, at least the program.
    #[must_use]
    pub fn words(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, word) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { " " })?;
            if word.is_empty() || word.contains(|c: char| c.is_whitespace() || c.is_control()) {
                write!(f, "{word:?}")?;
            } else {
                f.write_str(word)?;
            }
        }
        Ok(())
    }
}
