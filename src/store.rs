//! Objects in a directory, a bucket or memory: the places that snapshots are stored in.
//!
//! [`Store`] is small, and its meaning is a test suite (`contract`) that every implementation passes. Two promises
//! carry everything else: what [`Store::put`] has returned from is durable and whole under its key, and what it has
//! not returned from is either whole or absent, never half.

pub mod contract;
pub mod faulty;
pub mod local;
pub mod memory;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use async_trait::async_trait;

use crate::event::Meter;
use crate::measure::{Bytes, Sha256};
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
    /// These bytes.
    Bytes(Vec<u8>),
}

/// What was moved, measured on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// How many bytes.
    pub bytes: u64,
    /// The digest of them.
    pub sha256: Sha256,
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

    /// Lists the folders directly inside `prefix` that hold an object, however deep: their names alone, in order.
    ///
    /// This is the cheap look at a place of many objects: what lies in the folders is not listed.
    ///
    /// # Errors
    /// When the place cannot be read. A prefix without folders is an empty list, not an error.
    async fn folders(&self, prefix: &Prefix) -> Result<BTreeSet<String>, StoreError>;

    /// Removes an object. One that is not there is as good as removed.
    ///
    /// # Errors
    /// When the object may still be there.
    async fn delete(&self, key: &Key) -> Result<(), StoreError>;

    /// Takes the place below `prefix` for one writer, until the lock is dropped or the process ends, however it ends.
    ///
    /// `holder` is what others are told who has it.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when another writer has it.
    async fn lock(&self, prefix: &Prefix, holder: &str) -> Result<Lock, StoreError>;

    /// Returns how much more fits, where the place has such a limit.
    ///
    /// # Errors
    /// When the place cannot be asked.
    async fn free_space(&self) -> Result<Option<Bytes>, StoreError>;
}

/// The right to be the only writer below a prefix; given back when it is dropped.
pub struct Lock(Box<dyn std::any::Any + Send + Sync>);

impl Lock {
    /// Returns a lock that lasts as long as `guard`.
    #[must_use]
    pub fn new(guard: impl std::any::Any + Send + Sync) -> Self {
        Self(Box::new(guard))
    }
}

impl std::fmt::Debug for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Lock").field(&self.0.type_id()).finish()
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
    /// The meter said so.
    #[error("stopped while moving `{at}`")]
    Stopped {
        /// The object.
        at: String,
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
