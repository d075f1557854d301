//! Folders of files on their way to and from a store, several at a time.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::stream::{self, StreamExt};

use super::takeover::Takeover;
use super::{Cause, Gauge};
use crate::hitkeep;
use crate::name::{Key, Prefix};
use crate::record::{ArchivedFile, FileRecord};
use crate::store::{Body, Mode, Moved, Store, StoreError};

/// How many files move at the same time.
pub(super) const ABREAST: usize = 4;

/// Returns the names of the files in a folder, or those that are known, in the order in which they are stored: data, then
/// the schema, then the script that marks a finished export. Whoever looks at a half-stored snapshot sees an unfinished
/// one.
pub(super) fn names_in_order(folder: &Path, known: Option<&BTreeSet<String>>) -> Result<Vec<String>, Cause> {
    let failed = |cause| Cause::Folder { at: folder.display().to_string(), cause };
    let mut names: Vec<String> = known.into_iter().flatten().cloned().collect();
    if known.is_none() {
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
        }
    }
    let rank = |name: &String| {
        [hitkeep::SCHEMA_FILE, hitkeep::LOAD_FILE].iter().position(|last| last == name).map_or(0, |at| at + 1)
    };
    names.sort_by_key(|name| (rank(name), name.clone()));
    Ok(names)
}

/// Files on their way into a store.
pub(super) struct Storing<'s, F> {
    pub(super) store: &'s Arc<dyn Store>,
    /// Returns what is stored under a name.
    pub(super) from: F,
    pub(super) prefix: &'s Prefix,
    /// What need not be sent.
    pub(super) takeover: &'s Takeover<'s>,
    pub(super) gauge: &'s Gauge,
    /// Gets the keys that were stored or may have been, data before scripts, as far as no other had taken them.
    pub(super) own: &'s Mutex<Vec<Key>>,
}

impl<F: Fn(&str) -> Body> Storing<'_, F> {
    /// Stores files under these names, and returns what was measured of each on the way.
    pub(super) async fn put(&self, names: &[String]) -> Result<Vec<FileRecord>, Cause> {
        let is_data = |name: &&String| ![hitkeep::SCHEMA_FILE, hitkeep::LOAD_FILE].contains(&name.as_str());
        let count = names.iter().take_while(is_data).count();
        let (data, scripts) = names.split_at(count);
        let mut stored = self.put_each(data, ABREAST).await?;
        stored.extend(self.put_each(scripts, 1).await?);
        Ok(stored)
    }

    /// Stores files in any order, up to `abreast` at a time; otherwise like [`Storing::put`].
    pub(super) async fn put_each(&self, names: &[String], abreast: usize) -> Result<Vec<FileRecord>, Cause> {
        each(names, abreast, self.gauge, |name| self.put_one(name, (self.from)(name))).await
    }

    async fn put_one(&self, name: &str, body: Body) -> Result<Moved, StoreError> {
        let key = key(self.prefix, name)?;
        let note = || self.own.lock().unwrap_or_else(PoisonError::into_inner).push(key.clone());
        if let Body::File(file) | Body::Spare(file) = &body
            && let Some(moved) = self.takeover.take(&**self.store, (file, name), &key, self.gauge, note).await
        {
            return Ok(moved);
        }
        let put = self.store.put(&key, body, Mode::Create, &self.gauge.meter).await;
        if !matches!(put, Err(StoreError::Exists { .. })) {
            note();
        }
        put
    }
}

/// Proves that the store holds what went in: by its own checksum where it attests to one, else by reading back.
/// Returns how many files were read back.
pub(super) async fn prove(
    store: &Arc<dyn Store>,
    prefix: &Prefix,
    files: &[FileRecord],
    gauge: &Gauge,
) -> Result<usize, Cause> {
    let attested: Vec<Result<bool, StoreError>> =
        stream::iter(files).map(|file| is_attested(store, prefix, file, gauge)).buffered(ABREAST).collect().await;
    let mut unproven = Vec::new();
    for (file, is_attested) in files.iter().zip(attested) {
        if !is_attested? {
            unproven.push(file.clone());
        }
    }
    check(store, prefix, &unproven, gauge).await?;
    Ok(unproven.len())
}

async fn is_attested(
    store: &Arc<dyn Store>,
    prefix: &Prefix,
    file: &FileRecord,
    gauge: &Gauge,
) -> Result<bool, StoreError> {
    let Some(crc64nvme) = file.crc64nvme else { return Ok(false) };
    let is_attested = store.attests(&key(prefix, &file.path)?, file.bytes, crc64nvme).await?;
    if is_attested && !gauge.meter.add(file.bytes) {
        return Err(StoreError::Stopped { at: file.path.clone() });
    }
    Ok(is_attested)
}

/// Reads files through and compares each with its record.
pub(super) async fn check(
    store: &Arc<dyn Store>,
    prefix: &Prefix,
    files: &[FileRecord],
    gauge: &Gauge,
) -> Result<(), Cause> {
    let names: Vec<String> = files.iter().map(|file| file.path.clone()).collect();
    let digest = |name: &String| {
        let key = key(prefix, name);
        async move { store.digest(&key?, &gauge.meter).await }
    };
    let found = each(&names, ABREAST, gauge, digest).await?;
    compare(store, prefix, files, &found)
}

/// Fetches the files of a snapshot into a folder, and compares each with its record.
pub(super) async fn get(
    store: &Arc<dyn Store>,
    prefix: &Prefix,
    files: &[FileRecord],
    folder: &Path,
    gauge: &Gauge,
) -> Result<(), Cause> {
    let names: Vec<String> = files.iter().map(|file| file.path.clone()).collect();
    let found = fetch(store, prefix, &names, folder, gauge).await?;
    compare(store, prefix, files, &found)
}

/// Fetches archived files into the folders of their names below a folder, and compares each with its record.
pub(super) async fn get_archived(
    store: &Arc<dyn Store>,
    prefix: &Prefix,
    files: impl IntoIterator<Item = &ArchivedFile>,
    folder: &Path,
    gauge: &Gauge,
) -> Result<(), Cause> {
    let files: Vec<FileRecord> = files.into_iter().map(|file| file.file.clone()).collect();
    for file in &files {
        let into = folder.join(&file.path);
        let above = into.parent().unwrap_or(folder);
        let failed = |cause| Cause::Folder { at: above.display().to_string(), cause };
        std::fs::create_dir_all(above).map_err(failed)?;
    }
    match get(store, prefix, &files, folder, gauge).await {
        Err(Cause::Store(StoreError::Missing { at })) => Err(Cause::Differs(format!("`{at}` is gone"))),
        got => got,
    }
}

/// Fetches files into a folder, and returns what was measured of each on the way.
pub(super) async fn fetch(
    store: &Arc<dyn Store>,
    prefix: &Prefix,
    names: &[String],
    folder: &Path,
    gauge: &Gauge,
) -> Result<Vec<FileRecord>, Cause> {
    let get = |name: &String| {
        let (key, into) = (key(prefix, name), folder.join(name));
        async move { store.get(&key?, into, &gauge.meter).await }
    };
    each(names, ABREAST, gauge, get).await
}

/// Moves files, up to `abreast` at a time, and waits for all of them even when one fails: nothing moves afterwards.
async fn each<'n, F>(
    names: &'n [String],
    abreast: usize,
    gauge: &Gauge,
    work: impl Fn(&'n String) -> F,
) -> Result<Vec<FileRecord>, Cause>
where
    F: Future<Output = Result<Moved, StoreError>>,
{
    let moved = stream::iter(names).map(|name| {
        let work = work(name);
        async move {
            gauge.set_place(name);
            let moved = work.await.inspect_err(|_| gauge.meter.stop())?;
            let Moved { bytes, sha256, crc64nvme } = moved;
            Ok(FileRecord { path: name.clone(), bytes, sha256, crc64nvme: Some(crc64nvme) })
        }
    });
    let moved: Vec<Result<FileRecord, StoreError>> = moved.buffered(abreast).collect().await;
    let (done, mut failed): (Vec<_>, Vec<_>) = moved.into_iter().partition(Result::is_ok);
    // The others were only told to stop: the one that broke is the one to tell.
    failed.sort_by_key(|error| matches!(error, Err(StoreError::Stopped { .. })));
    match failed.into_iter().next() {
        Some(Err(error)) => Err(error.into()),
        _ => Ok(done.into_iter().flatten().collect()),
    }
}

fn compare(store: &Arc<dyn Store>, prefix: &Prefix, files: &[FileRecord], found: &[FileRecord]) -> Result<(), Cause> {
    let is_other =
        |(wanted, found): &(&FileRecord, &FileRecord)| (wanted.bytes, wanted.sha256) != (found.bytes, found.sha256);
    match files.iter().zip(found).find(is_other) {
        None => Ok(()),
        Some((wanted, found)) => Err(Cause::Differs(format!(
            "`{}` is damaged: it has {} bytes with SHA-256 {}, and was stored as {} bytes with SHA-256 {}",
            store.locate(prefix.join(&folder_of(wanted)).as_str()),
            found.bytes,
            found.sha256,
            wanted.bytes,
            wanted.sha256
        ))),
    }
}

fn folder_of(file: &FileRecord) -> Prefix {
    file.path.parse().unwrap_or_default()
}

/// Returns the key of a file; a name that no key allows cannot be stored.
pub(super) fn key(prefix: &Prefix, name: &str) -> Result<Key, StoreError> {
    let name: Key = name.parse().map_err(|error| StoreError::Io {
        doing: "name",
        at: name.to_owned(),
        cause: std::io::Error::new(std::io::ErrorKind::InvalidInput, error),
    })?;
    Ok(prefix.key(&name))
}
