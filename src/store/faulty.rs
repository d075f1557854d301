//! A store that fails when it is told to: how the rest of the program proves what it does then.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;

use super::{Body, Lock, Mode, Moved, Part, Purpose, Store, StoreError};
use crate::diagnose::Finding;
use crate::event::Meter;
use crate::measure::{Crc64, Free};
use crate::name::{Key, Prefix};

/// Which call fails, counted from 1, and how.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// The number of the call.
    pub call: u64,
    /// Whether the call does its work before it fails: the answer was lost, not the question.
    pub after_effect: bool,
    /// Whether every later call fails too, as after a crash or a cut cable.
    pub for_good: bool,
}

/// Another store, seen through faults.
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn Store>,
    fault: Option<Fault>,
    calls: AtomicU64,
}

impl Faulty {
    /// Returns `inner` with one fault, or with none.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, fault: Option<Fault>) -> Self {
        Self { inner, fault, calls: AtomicU64::new(0) }
    }

    /// Returns how many calls were made so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// Makes one call, or fails it. What is done beside goes on first, as beside any store that is not at hand.
    async fn call<T>(
        &self,
        doing: &'static str,
        key: &str,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        tokio::task::yield_now().await;
        let broken = || StoreError::Io { doing, at: self.locate(key), cause: io::Error::other("injected fault") };
        match self.fault {
            Some(fault) if number == fault.call && fault.after_effect => call.await.and(Err(broken())),
            Some(fault) if number == fault.call || (fault.for_good && number > fault.call) => Err(broken()),
            _ => call.await,
        }
    }
}

#[async_trait]
impl Store for Faulty {
    fn locate(&self, key: &str) -> String {
        self.inner.locate(key)
    }

    async fn put(&self, key: &Key, body: Body, mode: Mode, meter: &Meter) -> Result<Moved, StoreError> {
        self.call("create", key.as_str(), self.inner.put(key, body, mode, meter)).await
    }

    async fn copy(&self, from: &Key, to: &Key, measure: Moved, meter: &Meter) -> Result<(), StoreError> {
        self.call("copy", from.as_str(), self.inner.copy(from, to, measure, meter)).await
    }

    async fn get(&self, key: &Key, into: PathBuf, meter: &Meter) -> Result<Moved, StoreError> {
        self.call("fetch", key.as_str(), self.inner.get(key, into, meter)).await
    }

    async fn digest(&self, key: &Key, meter: &Meter) -> Result<Moved, StoreError> {
        self.call("read", key.as_str(), self.inner.digest(key, meter)).await
    }

    async fn attests(&self, key: &Key, bytes: u64, crc64nvme: Crc64) -> Result<bool, StoreError> {
        self.call("ask for", key.as_str(), self.inner.attests(key, bytes, crc64nvme)).await
    }

    async fn read(&self, key: &Key, part: Part) -> Result<Vec<u8>, StoreError> {
        self.call("read", key.as_str(), self.inner.read(key, part)).await
    }

    async fn list(&self, prefix: &Prefix) -> Result<BTreeMap<Key, u64>, StoreError> {
        self.call("list", prefix.as_str(), self.inner.list(prefix)).await
    }

    async fn folders(&self, prefix: &Prefix, from: &str) -> Result<BTreeSet<String>, StoreError> {
        self.call("list", prefix.as_str(), self.inner.folders(prefix, from)).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.call("delete", key.as_str(), self.inner.delete(key)).await
    }

    async fn lock(&self, prefix: &Prefix, holder: &str) -> Result<Lock, StoreError> {
        self.call("lock", prefix.as_str(), self.inner.lock(prefix, holder)).await
    }

    async fn try_lock(&self, prefix: &Prefix, holder: &str) -> Result<(), StoreError> {
        self.call("try to lock", prefix.as_str(), self.inner.try_lock(prefix, holder)).await
    }

    async fn holder(&self, prefix: &Prefix) -> Result<Option<String>, StoreError> {
        self.call("ask", prefix.as_str(), self.inner.holder(prefix)).await
    }

    async fn mark(&self, prefix: &Prefix, purpose: Purpose, holder: &str) -> Result<Lock, StoreError> {
        self.call("mark", prefix.as_str(), self.inner.mark(prefix, purpose, holder)).await
    }

    async fn examine(&self, prefix: &Prefix) -> Vec<Finding> {
        self.inner.examine(prefix).await
    }

    fn caveats(&self) -> Vec<String> {
        self.inner.caveats()
    }

    async fn free_space(&self) -> Result<Option<Free>, StoreError> {
        self.call("ask", "", self.inner.free_space()).await
    }
}
