//! Commands that are run around every job.

use std::fmt;
use std::time::Duration;

use super::raw::{self, At, Commands};
use super::resolve::Desk;
use super::{Chosen, Command, Origin};
use crate::measure::Span;

/// How long a command may take unless the plan says otherwise.
const LIMIT: Span = Span(Duration::from_mins(5));

/// When a command is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Before the job looks at anything.
    Before,
    /// When the job has ended, however it did.
    After,
    /// Last, where the job did not end well.
    Failure,
}

impl When {
    /// Returns the word that plans use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
            Self::Failure => "failure",
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The commands around every job of a plan.
#[derive(Clone, Debug)]
pub struct Hooks {
    pub(super) before: Chosen<Vec<Command>>,
    pub(super) after: Chosen<Vec<Command>>,
    pub(super) failure: Chosen<Vec<Command>>,
    pub(super) timeout: Chosen<Span>,
}

impl Hooks {
    /// Reads `[hooks]`; returns nothing when a part of it was refused.
    pub(super) fn resolve(desk: &mut Desk<'_>, raw: raw::Hooks) -> Option<Self> {
        let raw::Hooks { before, after, failure, timeout } = raw;
        let before = commands(desk, When::Before, before);
        let after = commands(desk, When::After, after);
        let failure = commands(desk, When::Failure, failure);
        let timeout = match timeout {
            Some(at) => desk.span(&at, "timeout", "stops every command at once", "leave the key out for `5m`"),
            None => Some(Chosen { value: LIMIT, origin: Origin::Default }),
        };
        Some(Self { before: before?, after: after?, failure: failure?, timeout: timeout? })
    }

    /// Returns the commands of one time, in the order in which they are run.
    #[must_use]
    pub fn at(&self, when: When) -> &[Command] {
        match when {
            When::Before => &self.before.value,
            When::After => &self.after.value,
            When::Failure => &self.failure.value,
        }
    }

    /// Tells whether there is no command at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        [When::Before, When::After, When::Failure].into_iter().all(|when| self.at(when).is_empty())
    }

    /// Returns how long each command may take.
    #[must_use]
    pub fn timeout(&self) -> Span {
        self.timeout.value
    }
}

/// Reads the commands of one time, none where there is no key; returns nothing when one of them was refused.
fn commands(desk: &mut Desk<'_>, when: When, at: Option<At<Commands>>) -> Option<Chosen<Vec<Command>>> {
    let Some(At { value, span }) = at else { return Some(Chosen { value: Vec::new(), origin: Origin::Default }) };
    let asked = value.len();
    let mut commands = Vec::new();
    for command in value {
        commands.extend(Command::resolve(desk, when.as_str(), command, r#"["systemctl", "stop", "hitkeep"]"#));
    }
    (commands.len() == asked).then(|| desk.chosen(commands, &span))
}
