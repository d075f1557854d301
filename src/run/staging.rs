//! The folder that a run works in: private, its own, and gone afterwards, also after a crash.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::{Cause, make_private_folder};
use crate::hitkeep;
use crate::name::RunId;
use crate::work::{RESTORE_STAGING, Wanted, is_temporary};

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

    /// Makes the folder of a restore, which lies where the databases go.
    ///
    /// # Errors
    /// When the folder cannot be made or locked.
    pub(super) fn of_restore(path: PathBuf) -> Result<Self, Cause> {
        Self::make_at(path, Vec::new())
    }

    fn make_only(root: &Path, run: RunId, above: Vec<PathBuf>) -> Result<Self, Cause> {
        Self::make_at(root.join(format!("{NAME}{run}")), above)
    }

    fn make_at(path: PathBuf, above: Vec<PathBuf>) -> Result<Self, Cause> {
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
    for (folder, _) in abandoned(root, NAME) {
        drop(fs::remove_dir_all(folder));
    }
}

/// Removes what restores that are no more have left where one is to be made: rows in clear, and databases half made.
pub fn sweep_restores(wanted: &Wanted) {
    for (staging, run) in abandoned(&wanted.data_path, RESTORE_STAGING) {
        let tenants: Vec<PathBuf> = entries(&hitkeep::tenants_path(&wanted.data_path)).collect();
        let folders = wanted.shared.parent().into_iter().chain(tenants.iter().map(PathBuf::as_path));
        for file in folders.flat_map(entries).filter(|file| is_temporary(file, run)) {
            drop(fs::remove_file(file));
        }
        // Last: without it nobody knows that the others are abandoned.
        drop(fs::remove_dir_all(staging));
    }
}

/// Returns the folders of runs that are no more, by what their names begin with.
fn abandoned(root: &Path, beginning: &str) -> impl Iterator<Item = (PathBuf, RunId)> {
    let run = move |path: &Path| path.file_name()?.to_str()?.strip_prefix(beginning)?.parse::<RunId>().ok();
    let folders = entries(root).filter_map(move |path| run(&path).map(|run| (path, run)));
    folders.filter(|(path, _)| is_abandoned(path).unwrap_or(false))
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
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
