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
    /// The folders above it that are to go with it, the deepest first.
    above: Vec<PathBuf>,
    _lock: File,
}

impl Staging {
    /// Makes the folder of `run` inside `root`, after removing those that crashed runs have left there.
    ///
    /// # Errors
    /// When the folder cannot be made or locked.
    pub fn make(root: &Path, run: RunId) -> Result<Self, Cause> {
        sweep(root);
        Self::make_only(root, run, Vec::new())
    }

    /// Makes the folder of one who only looks: when it is dropped, everything is as it was before.
    ///
    /// # Errors
    /// When the folder cannot be made or locked.
    pub fn for_a_look(root: &Path, run: RunId) -> Result<Self, Cause> {
        let above = root.ancestors().take_while(|folder| !folder.exists()).map(Path::to_owned).collect();
        Self::make_only(root, run, above)
    }

    fn make_only(root: &Path, run: RunId, above: Vec<PathBuf>) -> Result<Self, Cause> {
        let path = root.join(format!("{NAME}{run}"));
        let failed = |cause| Cause::Folder { at: path.display().to_string(), cause };
        make_private_folder(&path)?;
        let lock = File::open(&path).map_err(failed)?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
        Ok(Self { path, above, _lock: lock })
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
        for folder in &self.above {
            drop(fs::remove_dir(folder));
        }
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
