//! The folder that a run works in: private, its own, and gone afterwards, also after a crash.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::{Cause, make_private_folder};
use crate::name::RunId;

const NAME: &str = "hitkeep-plan-";

/// A run's working folder. It is locked while it is used, and removed when this is dropped.
#[derive(Debug)]
pub struct Staging {
    path: PathBuf,
    _lock: File,
}

impl Staging {
    /// Makes the folder of `run` inside `root`, after removing those that crashed runs have left there.
    ///
    /// # Errors
    /// When the folder cannot be made or locked.
    pub fn make(root: &Path, run: RunId) -> Result<Self, Cause> {
        sweep(root);
        let path = root.join(format!("{NAME}{run}"));
        let failed = |cause| Cause::Folder { at: path.display().to_string(), cause };
        make_private_folder(&path)?;
        let lock = File::open(&path).map_err(failed)?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
        Ok(Self { path, _lock: lock })
    }

    /// Returns where the folder is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next run.
        drop(fs::remove_dir_all(&self.path));
    }
}

/// Removes the working folders of runs that are no more: the kernel has let go of their locks.
fn sweep(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let is_ours =
            entry.file_name().to_str().and_then(|name| name.strip_prefix(NAME)?.parse::<RunId>().ok()).is_some();
        if is_ours && is_abandoned(&entry.path()).unwrap_or(false) {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

/// Tells whether a working folder is this user's, unlocked, and older than the moment between making and locking it.
fn is_abandoned(folder: &Path) -> io::Result<bool> {
    let about = fs::symlink_metadata(folder)?;
    let age = about.modified()?.elapsed().unwrap_or_default();
    if !about.is_dir() || about.uid() != rustix::process::geteuid().as_raw() || age.as_secs() < 2 {
        return Ok(false);
    }
    Ok(flock(File::open(folder)?, FlockOperation::NonBlockingLockExclusive).is_ok())
}
