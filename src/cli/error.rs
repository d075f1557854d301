//! The one rendering of everything that can go wrong, and the exit code of each.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use crate::demo::DemoError;
use crate::diagnose::{Look, Problems, Rejected};
use crate::duck::DuckError;
use crate::plan::environment;
use crate::run::{Cause, Failure, exit};
use crate::store::StoreError;
use crate::survey::SurveyError;
use crate::work::Refusal;

/// Why a verb did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// The plan is wrong.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// The command line asks for something that is not there.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do about it.
        help: String,
    },
    /// A file could not be read or written.
    #[error("cannot {doing} `{}`: {cause}", path.display())]
    File {
        /// The verb.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The world could not be looked at.
    #[error(transparent)]
    Survey(#[from] SurveyError),
    /// A place could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A database could not be read.
    #[error(transparent)]
    Duck(#[from] DuckError),
    /// There is nothing to be done.
    #[error(transparent)]
    Refusal(#[from] Refusal),
    /// A folder could not be made.
    #[error(transparent)]
    Cause(#[from] Cause),
    /// A task failed.
    #[error("{}", .0.cause)]
    Failure(#[from] Failure),
    /// The demo could not be made.
    #[error(transparent)]
    Demo(#[from] DemoError),
    /// What was restored is not what was backed up.
    #[error("{0}")]
    Differs(String),
    /// Standard output is gone.
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
    /// The program could not start its threads.
    #[error("cannot start: {0}")]
    Runtime(io::Error),
}

impl CliError {
    /// Returns the exit code.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Rejected(_)
            | Self::Usage { .. }
            | Self::File { doing: "read", .. }
            | Self::Refusal(Refusal::NoSet(_) | Refusal::NotInSet { .. }) => exit::REJECTED,
            Self::Survey(SurveyError::Source(_)) | Self::Duck(_) => exit::SOURCE,
            Self::Store(StoreError::Busy { .. }) => exit::LOCKED,
            Self::Store(_) | Self::Refusal(Refusal::NoSpace { is_destination: true, .. }) => exit::DESTINATION,
            Self::Refusal(_) | Self::Demo(DemoError::Occupied(_)) => exit::REFUSED,
            Self::Cause(cause) | Self::Failure(Failure { cause, .. }) => cause.exit_code(),
            Self::Differs(_) => exit::VERIFICATION,
            Self::Demo(_) | Self::Survey(_) | Self::File { .. } | Self::Output(_) | Self::Runtime(_) => {
                exit::UNEXPECTED
            }
        }
    }

    fn help(&self) -> Option<String> {
        let help = match self {
            Self::Usage { help, .. } => help,
            Self::Survey(SurveyError::Source(DuckError::Locked { .. })) | Self::Duck(DuckError::Locked { .. }) => {
                "`capture = \"direct\"` reads a HitKeep that is stopped: stop it for the length of the run"
            }
            Self::Survey(SurveyError::Source(DuckError::Missing { .. })) => {
                "is `data_path` the directory of HITKEEP_DATA_PATH, and `db_path` the file of HITKEEP_DB_PATH?"
            }
            Self::Survey(SurveyError::Source(DuckError::Refused { .. } | DuckError::Unopenable { .. })) => {
                "is this HitKeep's shared database?"
            }
            Self::Store(StoreError::Busy { .. }) => "wait for it to end; the lock goes with the process that holds it",
            Self::Demo(DemoError::Occupied(_)) => "choose another directory, or remove this one",
            _ => return None,
        };
        Some(help.to_owned())
    }

    /// Tells a person, on standard error, and returns the exit code.
    pub(super) fn tell(&self) -> u8 {
        match self {
            Self::Rejected(rejected) => tell_problems(rejected.problems()),
            other => {
                let bold = anstyle::Style::new().bold().fg_color(Some(anstyle::AnsiColor::Red.into()));
                let help = self.help().map(|help| format!(" help: {help}\n"));
                write_error(&format!("{bold}error:{bold:#} {other}\n{}", help.unwrap_or_default()));
            }
        }
        self.exit_code()
    }
}

/// Draws problems of a plan on standard error, as wide and as colourful as it is.
pub(super) fn tell_problems(problems: &Problems) {
    if !problems.list().is_empty() {
        write_error(&problems.graphical(look()));
    }
}

fn look() -> Look {
    let is_terminal = io::stderr().is_terminal();
    let colour = is_terminal && anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never;
    let width = rustix::termios::tcgetwinsize(io::stderr()).map_or(100, |size| usize::from(size.ws_col).clamp(40, 120));
    let is_utf8 = |name| std::env::var(name).is_ok_and(|value: String| value.to_ascii_uppercase().contains("UTF"));
    Look { width, colour, unicode: !is_terminal || environment::LOCALE.into_iter().any(is_utf8) }
}

/// Writes to standard error; when that is gone there is nobody left to tell.
pub(super) fn write_error(text: &str) {
    drop(anstream::stderr().lock().write_all(text.as_bytes()));
}
