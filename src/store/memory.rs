//! Objects in memory: for tests of everything that is not about files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;

use super::{Body, Lock, Mode, Moved, Part, Purpose, Store, StoreError, failed};
use crate::event::Meter;
use crate::measure::Free;
use crate::name::{Key, Prefix};

/// Objects in memory, lost with the process.
#[derive(Debug, Default)]
pub struct Memory {
    objects: Mutex<BTreeMap<Key, Vec<u8>>>,
    locks: Mutex<BTreeMap<Prefix, (Weak<()>, String)>>,
    marks: Mutex<Vec<Mark>>,
}

/// Where, what for, as long as what is held, and by whom.
type Mark = (Prefix, Purpose, Weak<()>, String);

impl Memory {
    fn objects(&self) -> MutexGuard<'_, BTreeMap<Key, Vec<u8>>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn object(&self, key: &Key) -> Result<Vec<u8>, StoreError> {
        self.objects().get(key).cloned().ok_or_else(|| StoreError::Missing { at: self.locate(key.as_str()) })
    }
}

#[async_trait]
impl Store for Memory {
    fn locate(&self, key: &str) -> String {
        format!("memory:{key}")
    }

    async fn put(&self, key: &Key, body: Body, mode: Mode, meter: &Meter) -> Result<Moved, StoreError> {
        let at = self.locate(key.as_str());
        let bytes = match body {
            Body::Bytes(bytes) => bytes,
            Body::File(path) | Body::Spare(path) => std::fs::read(&path).map_err(failed("read", &path))?,
        };
        let moved = Moved::of(&bytes);
        if !meter.add(moved.bytes) {
            return Err(StoreError::Stopped { at });
        }
        let mut objects = self.objects();
        if mode == Mode::Create && objects.contains_key(key) {
            return Err(StoreError::Exists { at });
        }
        objects.insert(key.clone(), bytes);
        Ok(moved)
    }

    async fn copy(&self, from: &Key, to: &Key, _: Moved, meter: &Meter) -> Result<(), StoreError> {
        self.put(to, Body::Bytes(self.object(from)?), Mode::Create, meter).await.map(drop)
    }

    async fn get(&self, key: &Key, into: PathBuf, meter: &Meter) -> Result<Moved, StoreError> {
        let bytes = self.object(key)?;
        if !meter.add(bytes.len() as u64) {
            return Err(StoreError::Stopped { at: self.locate(key.as_str()) });
        }
        let mut file = OpenOptions::new().write(true).create_new(true).open(&into).map_err(failed("create", &into))?;
        file.write_all(&bytes).map_err(failed("write", &into))?;
        Ok(Moved::of(&bytes))
    }

    async fn digest(&self, key: &Key, meter: &Meter) -> Result<Moved, StoreError> {
        let moved = Moved::of(&self.object(key)?);
        if meter.add(moved.bytes) { Ok(moved) } else { Err(StoreError::Stopped { at: self.locate(key.as_str()) }) }
    }

    async fn read(&self, key: &Key, part: Part) -> Result<Vec<u8>, StoreError> {
        let mut bytes = self.object(key)?;
        if let Part::Last(count) = part {
            let kept = usize::try_from(count).unwrap_or(usize::MAX).min(bytes.len());
            bytes.drain(..bytes.len() - kept);
        }
        Ok(bytes)
    }

    async fn list(&self, prefix: &Prefix) -> Result<BTreeMap<Key, u64>, StoreError> {
        let inside = |(key, bytes): (&Key, &Vec<u8>)| prefix.strip(key).map(|_| (key.clone(), bytes.len() as u64));
        Ok(self.objects().iter().filter_map(inside).collect())
    }

    async fn folders(&self, prefix: &Prefix, from: &str) -> Result<BTreeSet<String>, StoreError> {
        let folder = |key: &Key| prefix.strip(key)?.split_once('/').map(|(folder, _)| folder.to_owned());
        Ok(self.objects().keys().filter_map(folder).filter(|folder| folder.as_str() >= from).collect())
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.objects().remove(key);
        Ok(())
    }

    async fn lock(&self, prefix: &Prefix, holder: &str) -> Result<Lock, StoreError> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, holder)) = locks.get(prefix).filter(|(guard, _)| guard.strong_count() > 0) {
            return Err(StoreError::Busy { at: self.locate(prefix.as_str()), holder: holder.clone() });
        }
        let guard = Arc::new(());
        locks.insert(prefix.clone(), (Arc::downgrade(&guard), holder.to_owned()));
        Ok(Lock::new(guard))
    }

    async fn holder(&self, prefix: &Prefix) -> Result<Option<String>, StoreError> {
        let locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        let held = locks.get(prefix).filter(|(guard, _)| guard.strong_count() > 0);
        Ok(held.map(|(_, holder)| holder.clone()))
    }

    async fn try_lock(&self, prefix: &Prefix, holder: &str) -> Result<(), StoreError> {
        self.lock(prefix, holder).await.map(drop)
    }

    async fn mark(&self, prefix: &Prefix, purpose: Purpose, holder: &str) -> Result<Lock, StoreError> {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        marks.retain(|(_, _, guard, _)| guard.strong_count() > 0);
        let disturbs = |other: &Purpose| (purpose, *other) != (Purpose::Reading, Purpose::Reading);
        if let Some((_, other, _, holder)) = marks.iter().find(|(at, other, ..)| at == prefix && disturbs(other)) {
            let at = self.locate(prefix.as_str());
            return Err(StoreError::InUse { at, purpose: *other, holder: holder.clone() });
        }
        let guard = Arc::new(());
        marks.push((prefix.clone(), purpose, Arc::downgrade(&guard), holder.to_owned()));
        Ok(Lock::new(guard))
    }

    async fn free_space(&self) -> Result<Option<Free>, StoreError> {
        Ok(None)
    }
}
