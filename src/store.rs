//! Objects in a directory, a bucket or memory: the places that snapshots are stored in.
//!
//! [`Store`] is small, and its meaning is a test suite (`contract`) that every implementation passes. Two promises
//! carry everything else: what [`Store::put`] has returned from is durable and whole under its key, and what it has
//! not returned from is either whole or absent, never half.

pub mod contract;
pub mod faulty;
pub mod local;
pub mod memory;
pub mod s3;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use crate::diagnose::Finding;
use crate::event::Meter;
use crate::measure::{Crc64, Free, Sha256, Tally};
use crate::name::{Key, Prefix};

/// Whether an object may take the place of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Only where no object has this key: of two that try, one fails with [`StoreError::Exists`].
    Create,
    /// In the place of whatever has this key.
    Replace,
}

/// What is put.
#[derive(Clone, Debug)]
pub enum Body {
    /// The content of a file.
    File(PathBuf),
    /// The content of a file that nobody needs afterwards, whether it was put or not: the store may have the file itself.
    Spare(PathBuf),
    /// These bytes.
    Bytes(Vec<u8>),
}

/// What was moved, measured on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// How many bytes.
    pub bytes: u64,
    /// The digest of them, which manifests hold.
    pub sha256: Sha256,
    /// The checksum of them, which S3 keeps.
    pub crc64nvme: Crc64,
}

impl From<Tally> for Moved {
    fn from(tally: Tally) -> Self {
        let (bytes, sha256, crc64nvme) = tally.finish();
        Self { bytes, sha256, crc64nvme }
    }
}

impl Moved {
    /// Measures bytes that lie in memory.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut tally = Tally::default();
        tally.add(bytes);
        tally.into()
    }

    /// Measures a file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn of_file(path: &Path) -> Result<Self, StoreError> {
        let path = path.to_owned();
        blocking(move || {
            let mut file = File::open(&path).map_err(failed("open", &path))?;
            let (mut tally, mut chunk) = (Tally::default(), vec![0; 1 << 20]);
            loop {
                match file.read(&mut chunk).map_err(failed("read", &path))? {
                    0 => return Ok(tally.into()),
                    count => tally.add(&chunk[..count]),
                }
            }
        })
        .await
    }
}

/// Which bytes of an object are read into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of them.
    Whole,
    /// The last ones, this many at most.
    Last(u64),
}

/// A place for objects.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug {
    /// Names an object as a person would look for it: a path, a URL.
    fn locate(&self, key: &str) -> String;

    /// Stores an object, whole and durable or not at all.
    ///
    /// # Errors
    /// [`StoreError::Exists`] in mode `Create` when the key is taken; any other when nothing was stored.
    async fn put(&self, key: &Key, body: Body, mode: Mode, meter: &Meter) -> Result<Moved, StoreError>;

    /// Stores an object that is the same as another one of this place, of which this is the measure, whole and durable or
    /// not at all: its bytes do not come by here where the place can do without that.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the key is taken; `Missing` when there is nothing to copy; after any other, the copy may
    /// be there.
    async fn copy(&self, from: &Key, to: &Key, measure: Moved, meter: &Meter) -> Result<(), StoreError>;

    /// Fetches an object into a new file, which is synced; on an error no file is left.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when there is no such object; `Exists` when the file is already there.
    async fn get(&self, key: &Key, into: PathBuf, meter: &Meter) -> Result<Moved, StoreError>;

    /// Reads an object through and keeps nothing but its size and digest.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when there is no such object.
    async fn digest(&self, key: &Key, meter: &Meter) -> Result<Moved, StoreError>;

    /// Asks the place whether it holds exactly these bytes, by a checksum that it has computed itself.
    ///
    /// `false` says nothing about the object: the place keeps no such checksum, or none that can be relied on, and
    /// only reading the object through tells.
    ///
    /// # Errors
    /// When the place cannot be asked.
    async fn attests(&self, _key: &Key, _bytes: u64, _crc64nvme: Crc64) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// Reads a small object, or the end of a large one, into memory.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when there is no such object.
    async fn read(&self, key: &Key, part: Part) -> Result<Vec<u8>, StoreError>;

    /// Lists every object inside `prefix`: keys relative to the store's root, with sizes in bytes, in order of keys.
    ///
    /// # Errors
    /// When the place cannot be read. A prefix that holds nothing is an empty list, not an error.
    async fn list(&self, prefix: &Prefix) -> Result<BTreeMap<Key, u64>, StoreError>;

    /// Lists the folders directly inside `prefix` that hold an object, however deep: their names alone, in order, from
    /// the name `from` on. Some servers, as SeaweedFS, go on naming one for a while after its last object was deleted.
    ///
    /// This is the cheap look at a place of many objects: what lies in the folders is not listed.
    ///
    /// # Errors
    /// When the place cannot be read. A prefix without folders is an empty list, not an error.
    async fn folders(&self, prefix: &Prefix, from: &str) -> Result<BTreeSet<String>, StoreError>;

    /// Removes an object. One that is not there is as good as removed.
    ///
    /// # Errors
    /// When the object may still be there.
    async fn delete(&self, key: &Key) -> Result<(), StoreError>;

    /// Takes the place below `prefix` for one writer, until the lock is released or the process ends, however it ends:
    /// at once where a kernel holds the lock, after a few minutes where it is a lease.
    ///
    /// `holder` is what others are told who has it.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when another writer has it.
    async fn lock(&self, prefix: &Prefix, holder: &str) -> Result<Lock, StoreError>;

    /// Finds out whether the place below `prefix` could be taken by [`Store::lock`], for a person who asks. It leaves nothing
    /// behind.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when another writer has it.
    async fn try_lock(&self, prefix: &Prefix, holder: &str) -> Result<(), StoreError>;

    /// Tells who has the place below `prefix`, in the holder's own words, without taking it or getting in anyone's way.
    ///
    /// Of a directory that another host has locked, nothing is known here.
    ///
    /// # Errors
    /// When the place cannot be asked.
    async fn holder(&self, _prefix: &Prefix) -> Result<Option<String>, StoreError> {
        Ok(None)
    }

    /// Takes the place below `prefix` for reading, or for deleting, until the mark is released or the process ends, as
    /// with [`Store::lock`]. Of those who read there may be many, who delete is alone.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when others are there who do not go together with `purpose`.
    async fn mark(&self, prefix: &Prefix, purpose: Purpose, holder: &str) -> Result<Lock, StoreError>;

    /// Finds out what is peculiar about the place, for a person who asks: what it ignores, and what it does by itself.
    /// It leaves nothing behind.
    async fn examine(&self, _prefix: &Prefix) -> Vec<Finding> {
        Vec::new()
    }

    /// Says what the place was seen to do otherwise than it was asked, and is taken as it is: a sentence each, for the record
    /// of a run.
    fn caveats(&self) -> Vec<String> {
        Vec::new()
    }

    /// Returns how much more fits, where the place has such a limit.
    ///
    /// # Errors
    /// When the place cannot be asked.
    async fn free_space(&self) -> Result<Option<Free>, StoreError>;
}

/// What sets are marked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// They must not go: someone reads them, or pins one.
    Reading,
    /// Some of them go.
    Deleting,
}

impl Purpose {
    /// Returns what is being done, in words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reading => "read",
            Self::Deleting => "deleted",
        }
    }
}

/// The right to be the only writer below a prefix, or a mark there.
pub struct Lock {
    /// What is held while the lock is.
    _guard: Box<dyn Any + Send>,
    lease: Option<Lease>,
    giving_back: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Lock {
    /// Returns a lock that lasts as long as `guard`.
    #[must_use]
    pub fn new(guard: impl Any + Send) -> Self {
        Self { _guard: Box::new(guard), lease: None, giving_back: None }
    }

    /// Returns a lock that lasts until `giving_back` has been carried out, or until its lease has ended.
    #[must_use]
    pub fn leased(lease: Lease, giving_back: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { _guard: Box::new(()), lease: Some(lease), giving_back: Some(Box::pin(giving_back)) }
    }

    /// Returns the lease, where the lock is one.
    #[must_use]
    pub fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// Gives the place back. A lock that is dropped without this is gone at once where a kernel holds it, and when its
    /// time is over where it is a lease.
    pub async fn release(mut self) {
        if let Some(giving_back) = self.giving_back.take() {
            giving_back.await;
        }
    }
}

impl std::fmt::Debug for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lock").field("lease", &self.lease).finish_non_exhaustive()
    }
}

/// A lock that is an object in a bucket, and ends by itself.
#[derive(Clone, Debug)]
pub struct Lease {
    /// How many leases of the place there have been, with this one; 0 for a mark, since those are not counted.
    pub generation: u64,
    /// What the lease rests on, where the server does not promise enough.
    pub caveat: Option<String>,
    pub(crate) is_lost: Arc<AtomicBool>,
    /// When its holder no longer relies on it, in seconds of this host's clock.
    pub(crate) ends_at: Arc<AtomicI64>,
    /// Who looks at it in the bucket, where its server does not keep others from writing over it.
    pub(crate) witness: Option<Arc<dyn Witness>>,
}

/// Looks at a lease where it lies.
#[async_trait]
pub(crate) trait Witness: Send + Sync + std::fmt::Debug {
    /// Tells whether another has taken over; nothing where the server does not say.
    async fn is_taken_over(&self) -> Option<bool>;
}

impl Lease {
    /// Tells whether another may have the place by now, or soon: the lease was taken over, or not renewed in time.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        let is_over = jiff::Timestamp::now().as_second() >= self.ends_at.load(Ordering::Relaxed);
        is_over || self.is_lost.load(Ordering::Relaxed)
    }

    /// Waits until the lease is lost.
    pub async fn lost(&self) {
        const TICK: Duration = Duration::from_secs(1);
        while !self.is_lost() {
            tokio::time::sleep(TICK).await;
        }
    }

    /// Tells whether its holder may do now what only one may do: the lease is not lost, and where its server does not
    /// keep others out, a look at it has just said so.
    pub async fn is_still_held(&self) -> bool {
        if let Some(witness) = self.witness.as_ref().filter(|_| !self.is_lost()) {
            let is_lost = witness.is_taken_over().await.unwrap_or(true);
            self.is_lost.fetch_or(is_lost, Ordering::Relaxed);
        }
        !self.is_lost()
    }
}

/// Why a store did not do what it was asked, with the key or path it was about.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The key is taken.
    #[error("`{at}` already exists")]
    Exists {
        /// The object.
        at: String,
    },
    /// There is no such object.
    #[error("`{at}` does not exist")]
    Missing {
        /// The object.
        at: String,
    },
    /// Another writer has the place.
    #[error("another run writes to `{at}`: {holder}")]
    Busy {
        /// The place.
        at: String,
        /// Who has it, in the holder's own words.
        holder: String,
    },
    /// Others are there who must not be disturbed.
    #[error("sets in `{at}` are being {}: {holder}", purpose.as_str())]
    InUse {
        /// The place.
        at: String,
        /// What they do.
        purpose: Purpose,
        /// Who, in the holder's own words.
        holder: String,
    },
    /// The meter said so.
    #[error("stopped while moving `{at}`")]
    Stopped {
        /// The object.
        at: String,
    },
    /// What it takes to speak to the place is not there.
    #[error("cannot open `{at}`: {cause}")]
    Unopened {
        /// The place.
        at: String,
        /// What is missing.
        cause: s3::OpenError,
    },
    /// The server does not encrypt what it keeps.
    #[error("the server does not encrypt `{at}` with `{asked}`, as it was asked to")]
    Unencrypted {
        /// The object, which was taken away again.
        at: String,
        /// The encryption that the plan wants.
        asked: String,
    },
    /// The server said no.
    #[error("cannot {doing} `{at}`: the server says {code}{}{message}", if .message.is_empty() { "" } else { ": " })]
    Refused {
        /// The verb.
        doing: &'static str,
        /// The object or the place.
        at: String,
        /// The server's code, such as `AccessDenied`.
        code: String,
        /// What it says in words, if anything.
        message: String,
    },
    /// What answers is no S3 server.
    #[error("cannot {doing} `{at}`: {server} answers as no S3 server does, with HTTP status {status}")]
    Foreign {
        /// The verb.
        doing: &'static str,
        /// The object or the place.
        at: String,
        /// The server's address.
        server: String,
        /// The status of the answer.
        status: u16,
    },
    /// The server did not answer.
    #[error("cannot {doing} `{at}`: {cause}")]
    Unreachable {
        /// The verb.
        doing: &'static str,
        /// The object or the place.
        at: String,
        /// How far the request came.
        cause: String,
    },
    /// The place itself failed.
    #[error("cannot {doing} `{at}`: {cause}")]
    Io {
        /// The verb.
        doing: &'static str,
        /// The object, or a file on the way to it.
        at: String,
        /// What the system says.
        cause: std::io::Error,
    },
}

/// Runs file work on a thread that may wait.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

/// Returns a function that makes a store's error of a system's, for file work on `path`.
fn failed(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
    let at = path.display().to_string();
    move |cause| match cause.kind() {
        std::io::ErrorKind::NotFound => StoreError::Missing { at },
        std::io::ErrorKind::AlreadyExists => StoreError::Exists { at },
        _ => StoreError::Io { doing, at, cause },
    }
}
