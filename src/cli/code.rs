//! The codes of everything that can go wrong beside what is wrong with a plan: stable for ever, since scripts compare them.

use super::error::CliError;
use crate::demo::DemoError;
use crate::diagnose::Diagnostic;
use crate::duck::DuckError;
use crate::duck::capture::CaptureError;
use crate::run::{Cause, Failure};
use crate::store::StoreError;
use crate::survey::SurveyError;
use crate::work::Refusal;

/// Defines each code as a constant, and all of them as one list.
macro_rules! codes {
    ($($(#[doc = $meaning:literal])+ $name:ident = $code:literal;)+) => {
        $($(#[doc = $meaning])+ const $name: &str = $code;)+

        #[cfg(test)]
        const CODES: &[&str] = &[$($code),+];
    };
}

codes! {
    /// The command line asks for something that is not there, or does not say enough.
    USAGE = "usage::refused";
    /// A file beside the databases and the sets cannot be read or written.
    FILE = "file::failed";
    /// A database, or a set of HitKeep's own, is not there.
    SOURCE_MISSING = "source::missing";
    /// A database is open in another process and is wanted closed.
    SOURCE_IN_USE = "source::in-use";
    /// A database, or a set of HitKeep's own, cannot be read.
    SOURCE_FAILED = "source::failed";
    /// A destination, or something in it, is not there.
    DESTINATION_MISSING = "destination::missing";
    /// Another run writes to the destination, or took it over.
    DESTINATION_LOCKED = "destination::locked";
    /// Sets are being read that would be deleted, or deleted that would be read.
    DESTINATION_IN_USE = "destination::in-use";
    /// The server of a destination says no.
    DESTINATION_REFUSED = "destination::refused";
    /// A destination cannot be reached, read or written.
    DESTINATION_FAILED = "destination::failed";
    /// There is no such set, or no such database in it.
    SET_MISSING = "set::missing";
    /// What is there is not what was sealed.
    SET_DIFFERS = "set::differs";
    /// What was sealed cannot be made databases of, or their rows do not fit.
    SET_UNLOADED = "set::unloaded";
    /// A place has too little room.
    NO_ROOM = "place::no-room";
    /// Something is in the way and is not replaced unasked.
    IN_THE_WAY = "place::in-the-way";
    /// A folder of this run, or one that it asks, cannot be used.
    FOLDER = "place::failed";
    /// A replacement ended halfway, and not all that was there could be put back.
    HALF = "restore::half";
    /// A command around a job failed.
    HOOK = "hook::failed";
    /// The demo could not be made.
    DEMO = "demo::failed";
    /// The word to stop came: a signal, or the time was up.
    STOPPED = "run::stopped";
    /// Something that is needed failed before.
    BEFORE = "run::before";
    /// The process itself cannot go on: without threads, or standard output.
    PROCESS = "process::failed";
}

/// Returns the code of what a verb ended with.
pub(super) fn code(error: &CliError) -> &'static str {
    match error {
        CliError::Rejected(rejected) => rejected.problems().chief().map_or(USAGE, Diagnostic::code),
        CliError::Usage { .. } => USAGE,
        CliError::File { .. } => FILE,
        CliError::Survey(error) => of_survey(error),
        CliError::Store(error) => of_store(error),
        CliError::Duck(error) => of_duck(error),
        CliError::Refusal(refusal) => of_refusal(refusal),
        CliError::Cause(cause) | CliError::Failure(Failure { cause, .. }) => of_cause(cause),
        CliError::Hook(_) => HOOK,
        CliError::Demo(DemoError::Occupied(_)) => IN_THE_WAY,
        CliError::Demo(_) => DEMO,
        CliError::Unread(_) => DESTINATION_FAILED,
        CliError::Differs(_) => SET_DIFFERS,
        CliError::Output(_) | CliError::Runtime(_) => PROCESS,
    }
}

fn of_survey(error: &SurveyError) -> &'static str {
    match error {
        SurveyError::Source(error) => of_duck(error),
        SurveyError::Theirs(StoreError::Missing { .. }) | SurveyError::NoSet { .. } => SOURCE_MISSING,
        SurveyError::Theirs(_) => SOURCE_FAILED,
        SurveyError::Refused(refusal) => of_refusal(refusal),
        SurveyError::Stopped(_) => STOPPED,
        SurveyError::Folder { .. } => FOLDER,
    }
}

fn of_store(error: &StoreError) -> &'static str {
    match error {
        StoreError::Missing { .. } => DESTINATION_MISSING,
        StoreError::Busy { .. } => DESTINATION_LOCKED,
        StoreError::InUse { .. } => DESTINATION_IN_USE,
        StoreError::Stopped { .. } => STOPPED,
        StoreError::Refused { .. } => DESTINATION_REFUSED,
        StoreError::Exists { .. }
        | StoreError::Unopened { .. }
        | StoreError::Unencrypted { .. }
        | StoreError::Foreign { .. }
        | StoreError::Unreachable { .. }
        | StoreError::Io { .. } => DESTINATION_FAILED,
    }
}

fn of_duck(error: &DuckError) -> &'static str {
    match error {
        DuckError::Locked { .. } => SOURCE_IN_USE,
        DuckError::Missing { .. } => SOURCE_MISSING,
        DuckError::Interrupted { .. } => STOPPED,
        DuckError::Differs(_) => SET_DIFFERS,
        DuckError::Capture(CaptureError::NoRoom { .. }) => NO_ROOM,
        DuckError::File { .. } => FILE,
        DuckError::Unopenable { .. } | DuckError::Refused { .. } | DuckError::Capture(_) => SOURCE_FAILED,
    }
}

fn of_refusal(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::NoSpace { .. } => NO_ROOM,
        Refusal::Held { .. } => SOURCE_IN_USE,
        Refusal::NoSet(_) | Refusal::NotInSet { .. } => SET_MISSING,
        Refusal::Damaged { .. } => SET_DIFFERS,
        Refusal::InTheWay { .. } => IN_THE_WAY,
    }
}

fn of_cause(cause: &Cause) -> &'static str {
    match cause {
        Cause::Duck(error) => of_duck(error),
        Cause::Store(error) => of_store(error),
        Cause::Folder { .. } => FOLDER,
        Cause::Living(_) => SOURCE_IN_USE,
        Cause::Differs(_) => SET_DIFFERS,
        Cause::Unfit(_) | Cause::Unloaded { .. } => SET_UNLOADED,
        Cause::Vanished { .. } => SOURCE_MISSING,
        Cause::LeaseLost { .. } => DESTINATION_LOCKED,
        Cause::Before { .. } => BEFORE,
        Cause::Half { .. } => HALF,
        Cause::Stopped(_) => STOPPED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_explained() {
        let readme = include_str!("../../README.md");
        let unexplained: Vec<&&str> = CODES.iter().filter(|code| !readme.contains(&format!("| `{code}` |"))).collect();
        assert_eq!(unexplained, Vec::<&&str>::new());
    }
}
