//! Objects as files below a directory.
//!
//! A file is written, or moved, to a temporary name in the folder it belongs to, synced, renamed, and the folder synced;
//! folders are 0700 and files 0600, because snapshots hold secrets in clear. Temporary names begin with `.` and end
//! with `.partial`: like the lock file they are no objects, and a listing does not show them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use rustix::fs::{CWD, FlockOperation, RenameFlags};
use uuid::Uuid;

use super::{Body, Lock, Mode, Moved, Part, Purpose, Store, StoreError, blocking, failed};
use crate::event::Meter;
use crate::measure::{Bytes, Free, Tally};
use crate::name::{Key, Prefix};

/// How much is read, hashed and written at a time, in bytes.
const CHUNK: usize = 1 << 20;

/// How old a partial file must be to be nobody's: no file takes a day to be written.
const ABANDONED: Duration = Duration::from_hours(24);

/// The file in a prefix's folder that a writer locks.
const LOCK_FILE: &str = ".lock";

/// The file in a prefix's folder that those lock who read sets or delete them.
const MARK_FILE: &str = ".readers";

/// Objects as files below one directory, which need not exist before something is put.
#[derive(Clone, Debug)]
pub struct Local {
    root: PathBuf,
}

impl Local {
    /// Returns the store below `root`.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.root.join(key.as_str())
    }
}

#[async_trait]
impl Store for Local {
    fn locate(&self, key: &str) -> String {
        let at = self.root.join(key).display().to_string();
        if key.is_empty() { at.trim_end_matches('/').to_owned() } else { at }
    }

    async fn put(&self, key: &Key, body: Body, mode: Mode, meter: &Meter) -> Result<Moved, StoreError> {
        let (target, meter) = (self.path(key), meter.clone());
        blocking(move || put(&target, &body, mode, &meter)).await
    }

    async fn copy(&self, from: &Key, to: &Key, _: Moved, meter: &Meter) -> Result<(), StoreError> {
        self.put(to, Body::File(self.path(from)), Mode::Create, meter).await.map(drop)
    }

    async fn get(&self, key: &Key, into: PathBuf, meter: &Meter) -> Result<Moved, StoreError> {
        let (path, meter) = (self.path(key), meter.clone());
        blocking(move || {
            let source = open(&path)?;
            write_new(&into, source, &meter).inspect_err(|error| {
                if !matches!(error, StoreError::Exists { .. }) {
                    // The first error is the one to tell; a file that could not be removed is not whole and has no digest.
                    drop(fs::remove_file(&into));
                }
            })
        })
        .await
    }

    async fn digest(&self, key: &Key, meter: &Meter) -> Result<Moved, StoreError> {
        let (path, meter) = (self.path(key), meter.clone());
        blocking(move || copy(open(&path)?, &mut io::sink(), &path, &meter)).await
    }

    async fn read(&self, key: &Key, part: Part) -> Result<Vec<u8>, StoreError> {
        let path = self.path(key);
        blocking(move || read(&path, part)).await
    }

    async fn list(&self, prefix: &Prefix) -> Result<BTreeMap<Key, u64>, StoreError> {
        let (root, prefix) = (self.root.clone(), prefix.clone());
        blocking(move || {
            check_root(&root)?;
            let mut found = BTreeMap::new();
            list(&root, &prefix, &mut found)?;
            Ok(found)
        })
        .await
    }

    async fn folders(&self, prefix: &Prefix, from: &str) -> Result<BTreeSet<String>, StoreError> {
        let (root, prefix, from) = (self.root.clone(), prefix.clone(), from.to_owned());
        blocking(move || {
            check_root(&root)?;
            folders(&root, &prefix, &from)
        })
        .await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let (root, path) = (self.root.clone(), self.path(key));
        blocking(move || delete(&root, &path)).await
    }

    async fn lock(&self, prefix: &Prefix, holder: &str) -> Result<Lock, StoreError> {
        let (folder, holder) = (self.root.join(prefix.as_str()), holder.to_owned());
        blocking(move || lock(&folder, &holder).map(Lock::new)).await
    }

    async fn try_lock(&self, prefix: &Prefix, _holder: &str) -> Result<(), StoreError> {
        let folder = self.root.join(prefix.as_str());
        blocking(move || try_lock(&folder)).await
    }

    async fn holder(&self, prefix: &Prefix) -> Result<Option<String>, StoreError> {
        let path = self.root.join(prefix.as_str()).join(LOCK_FILE);
        blocking(move || holder(&path)).await
    }

    async fn mark(&self, prefix: &Prefix, purpose: Purpose, holder: &str) -> Result<Lock, StoreError> {
        let (folder, holder) = (self.root.join(prefix.as_str()), holder.to_owned());
        blocking(move || mark(&folder, purpose, &holder).map(Lock::new)).await
    }

    async fn free_space(&self) -> Result<Option<Free>, StoreError> {
        let root = self.root.clone();
        blocking(move || free_space(&root).map(Some).map_err(failed("ask for the free space of", &root))).await
    }
}

fn open(path: &Path) -> Result<File, StoreError> {
    File::open(path).map_err(failed("open", path))
}

fn put(target: &Path, body: &Body, mode: Mode, meter: &Meter) -> Result<Moved, StoreError> {
    let folder = target.parent().unwrap_or(Path::new("/"));
    make_folder(folder)?;
    let partial = folder.join(format!(".{}.partial", Uuid::now_v7().simple()));
    let put = || {
        let moved = match body {
            Body::File(path) => write_new(&partial, open(path)?, meter)?,
            Body::Spare(path) => take(path, &partial, meter)?,
            Body::Bytes(bytes) => write_new(&partial, bytes.as_slice(), meter)?,
        };
        publish(&partial, target, mode).map_err(failed("create", target))?;
        sync_folder(folder)?;
        Ok(moved)
    };
    put().inspect_err(|_| {
        // Usually gone already; and a partial file that stays is no object.
        drop(fs::remove_file(&partial));
    })
}

/// Gives a finished file its name.
fn publish(partial: &Path, target: &Path, mode: Mode) -> io::Result<()> {
    match mode {
        Mode::Replace => fs::rename(partial, target),
        Mode::Create => match rustix::fs::renameat_with(CWD, partial, CWD, target, RenameFlags::NOREPLACE) {
            // Some network file systems know no such rename; a hard link is as exclusive.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                fs::hard_link(partial, target)?;
                fs::remove_file(partial)
            }
            done => Ok(done?),
        },
    }
}

/// Makes a folder and those above it; each new one is synced into the one above.
fn make_folder(folder: &Path) -> Result<(), StoreError> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        make_folder(above)?;
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(cause) => Err(StoreError::Io { doing: "make the folder", at: folder.display().to_string(), cause }),
        Ok(()) => folder.parent().map_or(Ok(()), sync_folder),
    }
}

/// Makes the names in a folder durable.
///
/// # Errors
/// When the folder cannot be opened or synced.
pub fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    open(folder)?.sync_all().map_err(failed("sync", folder))
}

/// Writes a new file of mode 0600 and syncs it.
fn write_new(path: &Path, source: impl Read, meter: &Meter) -> Result<Moved, StoreError> {
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed("create", path))?;
    let moved = copy(source, &mut file, path, meter)?;
    file.sync_all().map_err(failed("sync", path))?;
    Ok(moved)
}

/// Moves a file to a new one and hashes it there; from another file system it is copied.
fn take(spare: &Path, path: &Path, meter: &Meter) -> Result<Moved, StoreError> {
    match fs::rename(spare, path) {
        Err(error) if error.kind() == ErrorKind::CrossesDevices => return write_new(path, open(spare)?, meter),
        moved => moved.map_err(failed("move", spare))?,
    }
    let file = open(path)?;
    file.set_permissions(Permissions::from_mode(0o600)).map_err(failed("close to others", path))?;
    let moved = copy(&file, &mut io::sink(), path, meter)?;
    file.sync_all().map_err(failed("sync", path))?;
    Ok(moved)
}

/// Copies and hashes in one pass, a chunk at a time.
fn copy(mut source: impl Read, target: &mut impl Write, path: &Path, meter: &Meter) -> Result<Moved, StoreError> {
    let mut chunk = vec![0; CHUNK];
    let mut tally = Tally::default();
    loop {
        let count = match source.read(&mut chunk) {
            Ok(0) => return Ok(tally.into()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed("read", path)(error)),
        };
        tally.add(&chunk[..count]);
        target.write_all(&chunk[..count]).map_err(failed("write", path))?;
        if !meter.add(count as u64) {
            return Err(StoreError::Stopped { at: path.display().to_string() });
        }
    }
}

fn read(path: &Path, part: Part) -> Result<Vec<u8>, StoreError> {
    let mut file = open(path)?;
    let read = |file: &mut File| {
        if let Part::Last(count) = part {
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(count)))?;
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read(&mut file).map_err(failed("read", path))
}

/// Checks that the root is a directory where it is there at all: a file in its place is no empty store.
fn check_root(root: &Path) -> Result<(), StoreError> {
    if root.exists() && !root.is_dir() {
        return Err(failed("list", root)(ErrorKind::NotADirectory.into()));
    }
    Ok(())
}

/// Adds every object below `prefix` to `found`.
fn list(root: &Path, prefix: &Prefix, found: &mut BTreeMap<Key, u64>) -> Result<(), StoreError> {
    for (key, about) in entries(root, prefix)? {
        if about.is_dir() {
            list(root, &prefix_of(&key), found)?;
        } else if about.is_file() {
            found.insert(key, about.len());
        }
    }
    Ok(())
}

/// Returns the names, from `from` on, of the folders in `prefix` that hold an object: an object store has no empty ones
/// either.
fn folders(root: &Path, prefix: &Prefix, from: &str) -> Result<BTreeSet<String>, StoreError> {
    let mut found = BTreeSet::new();
    for (key, about) in entries(root, prefix)? {
        if about.is_dir() && key.file_name() >= from && holds_object(root, &prefix_of(&key))? {
            found.insert(key.file_name().to_owned());
        }
    }
    Ok(found)
}

fn holds_object(root: &Path, prefix: &Prefix) -> Result<bool, StoreError> {
    for (key, about) in entries(root, prefix)? {
        if about.is_file() || (about.is_dir() && holds_object(root, &prefix_of(&key))?) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn prefix_of(folder: &Key) -> Prefix {
    folder.as_str().parse().unwrap_or_default()
}

/// Returns what lies directly in `prefix`. Names that are no keys, and partial files, are not ours and passed over.
fn entries(root: &Path, prefix: &Prefix) -> Result<Vec<(Key, fs::Metadata)>, StoreError> {
    let folder = root.join(prefix.as_str());
    let entries = match fs::read_dir(&folder) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Vec::new()),
        entries => entries.map_err(failed("list", &folder))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed("list", &folder))?;
        let Some(name) = entry.file_name().to_str().filter(|name| !is_hidden(name)).map(str::parse) else { continue };
        let Ok(name) = name else { continue };
        if let Some(about) = metadata(&entry.path())? {
            found.push((prefix.key(&name), about));
        }
    }
    Ok(found)
}

/// Looks at a file through links; one that vanished since it was listed is nothing.
fn metadata(path: &Path) -> Result<Option<fs::Metadata>, StoreError> {
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        about => about.map(Some).map_err(failed("look at", path)),
    }
}

fn is_hidden(name: &str) -> bool {
    name == LOCK_FILE || name == MARK_FILE || is_partial(name)
}

fn is_partial(name: &str) -> bool {
    name.starts_with('.') && name.rsplit('.').next() == Some("partial")
}

/// Removes a file, and the folders above it that are empty then: an object store has no empty folders either, and
/// HitKeep takes one for a snapshot.
fn delete(root: &Path, path: &Path) -> Result<(), StoreError> {
    if let Err(error) = fs::remove_file(path)
        && !is_absence(&error)
    {
        return Err(failed("delete", path)(error));
    }
    let is_gone = |folder: &&Path| fs::remove_dir(folder).map_or_else(|error| is_absence(&error), |()| true);
    let folders = path.ancestors().skip(1).take_while(|folder| *folder != root);
    let above = folders.take_while(is_gone).last().unwrap_or(path).parent();
    above.filter(|folder| folder.is_dir()).map_or(Ok(()), sync_folder)
}

/// Tells whether a file could not be found, be it that something above it is no folder.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Takes the kernel's lock on a file in `folder`, which holds the holder's words. The kernel lets go of it when the
/// process ends, however it ends; the file stays, because removing it would let two runs lock two files of one name.
fn lock(folder: &Path, holder: &str) -> Result<Locked, StoreError> {
    make_folder(folder)?;
    let path = folder.join(LOCK_FILE);
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let mut locked = lock_alone(open.map_err(failed("open", &path))?, folder, &path)?;
    locked.note(holder).map_err(failed("write", &path))?;
    sweep(folder);
    Ok(locked)
}

/// Finds out whether a folder could be locked, without making anything there.
fn try_lock(folder: &Path) -> Result<(), StoreError> {
    let path = folder.join(LOCK_FILE);
    match OpenOptions::new().read(true).write(true).open(&path) {
        Err(error) if is_absence(&error) => Ok(()),
        opened => lock_alone(opened.map_err(failed("open", &path))?, folder, &path).map(drop),
    }
}

/// Takes the kernel's lock on a folder's file, or says who has it, in the words that are in it.
fn lock_alone(mut file: File, folder: &Path, path: &Path) -> Result<Locked, StoreError> {
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            file.read_to_string(&mut holder).map_err(failed("read", path))?;
            Err(StoreError::Busy { at: folder.display().to_string(), holder })
        }
        taken => taken.map(|()| Locked(file)).map_err(|error| failed("lock", path)(error.into())),
    }
}

/// A file with the kernel's lock on it, which goes with this. To close the file would not be enough: a command that is just
/// being started has it open too, for a moment.
struct Locked(File);

impl Locked {
    /// Writes who has the lock.
    fn note(&mut self, holder: &str) -> io::Result<()> {
        self.0.set_len(0)?;
        self.0.write_all(holder.as_bytes())
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // What could not be unlocked is unlocked when nobody has the file open any more.
        _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

/// Returns who has locked a file, in the words that are in it. To try the lock would be to hold it for a moment, and a run
/// that begins in that moment would find it held: so the kernel's list of locks is read.
fn holder(path: &Path) -> Result<Option<String>, StoreError> {
    let inode = match fs::metadata(path) {
        Err(error) if is_absence(&error) => return Ok(None),
        about => about.map_err(failed("look at", path))?.ino(),
    };
    let locks = Path::new("/proc/locks");
    let list = fs::read_to_string(locks).map_err(failed("read", locks))?;
    if !list.lines().any(|line| is_flock_of(line, inode)) {
        return Ok(None);
    }
    fs::read_to_string(path).map(Some).map_err(failed("read", path))
}

/// Tells whether a line of the kernel's list, `1: FLOCK  ADVISORY  WRITE 812 fe:01:1234 0 EOF`, is of a lock that is held
/// on this inode. The device is not compared: some file systems show another there than a file's own.
fn is_flock_of(line: &str, inode: u64) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let ["FLOCK", _, "WRITE", _, file, ..] = words.get(1..).unwrap_or_default() else { return false };
    file.rsplit(':').next().and_then(|number| number.parse().ok()) == Some(inode)
}

/// Takes the kernel's lock on another file in `folder`, which readers share. It holds the words of whoever came last.
///
/// A reader that may not write there shares the lock all the same, once there is the file.
fn mark(folder: &Path, purpose: Purpose, holder: &str) -> Result<Locked, StoreError> {
    if !folder.exists() {
        return Err(StoreError::Missing { at: folder.display().to_string() });
    }
    let path = folder.join(MARK_FILE);
    let writable = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let (mut file, is_writable) = match writable {
        Err(_) if purpose == Purpose::Reading => (open(&path)?, false),
        writable => (writable.map_err(failed("open", &path))?, true),
    };
    let (operation, others) = match purpose {
        Purpose::Reading => (FlockOperation::NonBlockingLockShared, Purpose::Deleting),
        Purpose::Deleting => (FlockOperation::NonBlockingLockExclusive, Purpose::Reading),
    };
    match rustix::fs::flock(&file, operation) {
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            file.read_to_string(&mut holder).map_err(failed("read", &path))?;
            return Err(StoreError::InUse { at: folder.display().to_string(), purpose: others, holder });
        }
        taken => taken.map_err(|error| failed("lock", &path)(error.into()))?,
    }
    let mut locked = Locked(file);
    if is_writable {
        give_to_owner(&locked.0, folder).map_err(failed("give away", &path))?;
        locked.note(holder).map_err(failed("write", &path))?;
    }
    Ok(locked)
}

/// Gives a file to the owner of its folder: a restore is often run by root, and must not keep others from deleting later.
fn give_to_owner(file: &File, folder: &Path) -> io::Result<()> {
    let (owner, own) = (fs::metadata(folder)?, file.metadata()?);
    if (owner.uid(), owner.gid()) != (own.uid(), own.gid()) && rustix::process::geteuid().is_root() {
        std::os::unix::fs::fchown(file, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

/// Removes the partial files that killed runs have left below a folder. What cannot be looked at or removed stays: it is
/// no object, and the next run tries again.
fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(about) = entry.metadata() else { continue };
        let age = about.modified().ok().and_then(|modified| modified.elapsed().ok()).unwrap_or_default();
        if about.is_dir() {
            sweep(&entry.path());
        } else if entry.file_name().to_str().is_some_and(is_partial) && age > ABANDONED {
            drop(fs::remove_file(entry.path()));
        }
    }
}

/// Returns how many bytes an unprivileged process may still write where `path` lies or will lie, and to which file system.
///
/// # Errors
/// When no folder above `path` can be asked.
pub fn free_space(path: &Path) -> io::Result<Free> {
    let existing = path.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let about = rustix::fs::statvfs(existing)?;
    let file_system = existing.metadata()?.dev();
    Ok(Free { bytes: Bytes(about.f_bavail.saturating_mul(about.f_frsize)), file_system })
}
