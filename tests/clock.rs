//! A clock that is set by hand, and that only the program sees: libfaketime stands between it and the system's.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::Timestamp;
use tempfile::TempDir;

use crate::redact::skipped;

/// A clock for one or more processes. It goes on by itself from where it was set.
pub(crate) struct Clock {
    folder: TempDir,
    library: PathBuf,
}

impl Clock {
    /// Returns a clock that shows `at`; nothing where there is no libfaketime.
    pub(crate) fn at(at: &str) -> Option<Self> {
        let Some(library) = library() else {
            skipped("libfaketime is not here (on Debian: apt install faketime)");
            return None;
        };
        let clock = Self { folder: tempfile::tempdir().unwrap(), library };
        clock.set(at.parse().unwrap());
        Some(clock)
    }

    /// Sets the clock, also of processes that run.
    pub(crate) fn set(&self, at: Timestamp) {
        let ahead = at.duration_since(Timestamp::now()).as_secs_f64();
        let (written, file) = (self.folder.path().join("new"), self.file());
        fs::write(&written, format!("{ahead:+.3}\n")).unwrap();
        fs::rename(written, file).unwrap();
    }

    /// Lets a command run by this clock. How long things take is measured by the system's all the same.
    pub(crate) fn shown_to(&self, mut command: Command) -> Command {
        command.env("LD_PRELOAD", &self.library).env("FAKETIME_TIMESTAMP_FILE", self.file());
        for switch in ["FAKETIME_NO_CACHE", "FAKETIME_DONT_FAKE_MONOTONIC", "NO_FAKE_STAT"] {
            command.env(switch, "1");
        }
        command
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("clock")
    }
}

fn library() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let in_folder = |folder: &Path| folder.join("faketime/libfaketimeMT.so.1");
    folders.map(|folder| in_folder(&folder)).find(|library| library.is_file())
}
