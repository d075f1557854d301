//! Objects in a bucket of AWS S3, or of anything that speaks its language: MinIO, R2, Garage, Ceph, SeaweedFS.
//!
//! Servers differ in what they promise, and accept headers that they ignore. So nothing is believed for having been
//! accepted: whether a condition on a write is honoured and whether a checksum is compared is tried on the lease, at
//! the begin of each run (`lease`), and what the server was found to ignore is made up for: an object is looked at
//! before it is created, a payload is signed, a file is read back.
//!
//! Moving bytes takes at most as many buffers of one part each as the plan's `upload` allows, whatever the size and
//! the number of the files.

mod buffers;
mod client;
mod copy;
mod download;
mod examine;
mod kept;
mod lease;
mod lifecycle;
mod mark;
mod pace;
mod proxy;
mod refusal;
mod sign;
mod trials;
mod unfinished;
mod upload;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::types::{ChecksumMode, ServerSideEncryption, StorageClass};
use jiff::SignedDuration;
use tokio::sync::OnceCell;

use self::buffers::Buffers;
use self::client::{Quiet, ServerClock};
use self::pace::Pace;
use self::refusal::Refused;
use super::{Body, Lock, Mode, Moved, Part, Purpose, Store, StoreError};
use crate::diagnose::Finding;
use crate::event::Meter;
use crate::measure::{Bytes, Crc64, Free};
use crate::name::{Key, Prefix};
use crate::plan::{Bucket, Checksum, Upload};
use crate::secret::Hidden;

pub use self::client::OpenError;
pub use self::lifecycle::{Odd, Rewritten};

/// The folder of leases below a prefix; like the lock file of a directory it is no object that a listing shows.
const LEASES: &str = ".lock";

/// Objects in a bucket. Nothing is fetched, not even a secret, before something is asked for.
#[derive(Debug)]
pub struct S3 {
    bucket: Bucket,
    upload: Upload,
    hidden: Hidden,
    insists: bool,
    abandoned: SignedDuration,
    copied_at_once: u64,
    opened: OnceCell<Opened>,
}

impl S3 {
    /// Returns the store of a bucket, which moves objects as `upload` says.
    #[must_use]
    pub fn new(bucket: &Bucket, upload: Upload) -> Self {
        Self {
            bucket: bucket.clone(),
            upload,
            hidden: Hidden::default(),
            insists: true,
            abandoned: unfinished::ABANDONED,
            copied_at_once: copy::AT_ONCE,
            opened: OnceCell::new(),
        }
    }

    /// Returns the same store for someone who waits for an answer: where nobody listens to begin with, it says so at once,
    /// and does not try again for half a minute as at night.
    #[must_use]
    pub fn at_hand(self) -> Self {
        Self { insists: false, ..self }
    }

    /// Returns the same store, for which an unfinished upload is nobody's that was begun longer ago than this: a day
    /// unless it is said.
    #[must_use]
    pub fn sweeping_after(self, abandoned: SignedDuration) -> Self {
        Self { abandoned, ..self }
    }

    /// Returns the same store, whose server copies no more bytes in one request than these: 5 GiB unless it is said.
    #[must_use]
    pub fn copying_at_once(self, most: Bytes) -> Self {
        Self { copied_at_once: most.0, ..self }
    }

    /// Returns the same store for someone who hides its credentials too, as soon as they are known.
    #[must_use]
    pub fn hiding(self, hidden: &Hidden) -> Self {
        Self { hidden: hidden.clone(), ..self }
    }

    /// Returns the bucket ready for requests, after fetching the secrets from where the plan says that they are.
    async fn opened(&self) -> Result<&Opened, StoreError> {
        let failed = |cause| StoreError::Unopened { at: locate(&self.bucket, ""), cause };
        self.opened.get_or_try_init(|| Opened::of(self)).await.map_err(failed)
    }
}

#[async_trait]
impl Store for S3 {
    fn locate(&self, key: &str) -> String {
        locate(&self.bucket, key)
    }

    async fn put(&self, key: &Key, body: Body, mode: Mode, meter: &Meter) -> Result<Moved, StoreError> {
        Box::pin(self.opened().await?.upload(key, body, mode, meter)).await
    }

    async fn copy(&self, from: &Key, to: &Key, measure: Moved, meter: &Meter) -> Result<(), StoreError> {
        Box::pin(self.opened().await?.copy(from, to, measure, meter)).await
    }

    async fn get(&self, key: &Key, into: PathBuf, meter: &Meter) -> Result<Moved, StoreError> {
        self.opened().await?.download(key, into, meter).await
    }

    async fn digest(&self, key: &Key, meter: &Meter) -> Result<Moved, StoreError> {
        self.opened().await?.read_through(key, meter).await
    }

    async fn attests(&self, key: &Key, bytes: u64, crc64nvme: Crc64) -> Result<bool, StoreError> {
        self.opened().await?.attests(key, bytes, crc64nvme).await
    }

    async fn read(&self, key: &Key, part: Part) -> Result<Vec<u8>, StoreError> {
        self.opened().await?.read_small(key, part).await
    }

    async fn list(&self, prefix: &Prefix) -> Result<BTreeMap<Key, u64>, StoreError> {
        self.opened().await?.list(prefix).await
    }

    async fn folders(&self, prefix: &Prefix, from: &str) -> Result<BTreeSet<String>, StoreError> {
        self.opened().await?.folders(prefix, from).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.opened().await?.delete(key).await
    }

    async fn lock(&self, prefix: &Prefix, holder: &str) -> Result<Lock, StoreError> {
        self.opened().await?.take_lease(prefix, holder).await
    }

    async fn try_lock(&self, prefix: &Prefix, holder: &str) -> Result<(), StoreError> {
        self.opened().await?.try_lease(prefix, holder).await
    }

    async fn holder(&self, prefix: &Prefix) -> Result<Option<String>, StoreError> {
        self.opened().await?.lease_holder(prefix).await
    }

    async fn mark(&self, prefix: &Prefix, purpose: Purpose, holder: &str) -> Result<Lock, StoreError> {
        self.opened().await?.mark(prefix, purpose, holder).await
    }

    async fn examine(&self, prefix: &Prefix) -> Vec<Finding> {
        match self.opened().await {
            Ok(opened) => opened.examine(prefix).await,
            Err(error) => vec![Finding::failed("credentials", error)],
        }
    }

    fn caveats(&self) -> Vec<String> {
        let of = |opened: &Opened| [opened.other_class(), opened.ignored_checksum()].into_iter().flatten().collect();
        self.opened.get().map(of).unwrap_or_default()
    }

    async fn free_space(&self) -> Result<Option<Free>, StoreError> {
        Ok(None)
    }
}

/// A bucket that is ready for requests.
#[derive(Debug)]
struct Opened {
    client: Quiet,
    bucket: Bucket,
    upload: Upload,
    buffers: Buffers,
    pace: Pace,
    clock: ServerClock,
    hidden: Hidden,
    /// The proxy before the server, where there is one.
    proxy: Option<String>,
    /// How old an unfinished upload must be to be nobody's.
    abandoned: SignedDuration,
    /// How many bytes one request may copy.
    copied_at_once: u64,
    learnt: Learnt,
}

/// What a server was found to do: nothing is taken for granted before it was seen.
#[derive(Debug, Default)]
struct Learnt {
    /// It refuses to create an object that is there.
    honours_conditions: AtomicBool,
    /// It does not understand such a condition, and refuses the whole request.
    refuses_conditions: AtomicBool,
    /// It compares an object with the checksum that comes with it, and keeps that checksum.
    compares_checksums: AtomicBool,
    /// It does not understand the checksum, and refuses the whole request.
    refuses_checksums: AtomicBool,
    /// It encrypts as it is asked to, by what it says of an object.
    encrypts: AtomicBool,
    /// The class of the first object that was looked at for it, where a class was asked for.
    class: OnceLock<String>,
}

/// What a look at an object tells of it.
#[derive(Clone, Debug)]
struct Head {
    bytes: u64,
    /// The checksum of all of it, where the server keeps one.
    crc64nvme: Option<Crc64>,
    /// What changes when another object takes its place.
    etag: Option<String>,
    /// How it is encrypted, where the server says so.
    encryption: Option<ServerSideEncryption>,
    /// Its class; nothing for the usual one.
    class: Option<StorageClass>,
}

impl Opened {
    async fn of(store: &S3) -> Result<Self, OpenError> {
        let S3 { bucket, upload, hidden, insists, abandoned, copied_at_once, .. } = store;
        let clock = ServerClock::default();
        let proxy = proxy::of(bucket)?;
        let client = client::open(bucket, upload, *insists, proxy.is_some(), &clock, hidden).await?;
        Ok(Self {
            client,
            bucket: bucket.clone(),
            upload: *upload,
            buffers: Buffers::new(upload.concurrency),
            pace: Pace::new(upload.bandwidth.map(|rate| rate.0)),
            clock,
            hidden: hidden.clone(),
            proxy,
            abandoned: *abandoned,
            copied_at_once: *copied_at_once,
            learnt: Learnt::default(),
        })
    }

    fn locate(&self, key: &str) -> String {
        locate(&self.bucket, key)
    }

    /// Returns the key as the bucket has it: below the root that the plan's `url` names.
    fn full(&self, key: &Key) -> String {
        self.bucket.root().key(key).to_string()
    }

    /// Returns what the bucket's keys inside a prefix begin with: nothing, or a text that ends with `/`.
    fn beginning(&self, prefix: &Prefix) -> String {
        self.bucket.beginning(prefix)
    }

    /// Returns a function that words a refusal of the server, or its silence, while `doing` something with `key`.
    fn failed<'s, E: Refused>(&'s self, doing: &'static str, key: &'s str) -> impl FnOnce(E) -> StoreError + 's {
        move |error| error.worded(doing, self.locate(key), &self.server(), &self.hidden)
    }

    /// Names the server, and the proxy before it, for a person.
    fn server(&self) -> String {
        let server = self.bucket.endpoint().map_or_else(|| "AWS".to_owned(), |endpoint| format!("`{endpoint}`"));
        self.proxy.as_ref().map_or_else(|| server.clone(), |proxy| format!("{server} through the proxy `{proxy}`"))
    }

    fn sends_checksums(&self) -> bool {
        self.bucket.checksum() != Checksum::None && !self.learnt.refuses_checksums.load(Ordering::Relaxed)
    }

    async fn attests(&self, key: &Key, bytes: u64, crc64nvme: Crc64) -> Result<bool, StoreError> {
        if !self.learnt.compares_checksums.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let head = self.head(key).await?;
        Ok(head.is_some_and(|head| (head.bytes, head.crc64nvme) == (bytes, Some(crc64nvme))))
    }

    /// Looks at an object.
    async fn head(&self, key: &Key) -> Result<Option<Head>, StoreError> {
        let head = self.client.head_object().bucket(self.bucket.name()).key(self.full(key));
        let head = head.set_checksum_mode(self.sends_checksums().then_some(ChecksumMode::Enabled));
        match head.send().await {
            Ok(found) => {
                let crc64nvme = found.checksum_crc64_nvme.as_deref().and_then(|text| text.parse().ok());
                Ok(Some(Head {
                    bytes: size(found.content_length),
                    crc64nvme,
                    etag: found.e_tag,
                    encryption: found.server_side_encryption,
                    class: found.storage_class,
                }))
            }
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(self.failed("look at", key.as_str())(error)),
        }
    }

    async fn list(&self, prefix: &Prefix) -> Result<BTreeMap<Key, u64>, StoreError> {
        let request = self.client.list_objects_v2().bucket(self.bucket.name()).prefix(self.beginning(prefix));
        let mut pages = request.into_paginator().send();
        let mut found = BTreeMap::new();
        while let Some(page) = pages.next().await {
            for object in page.map_err(self.failed("list", prefix.as_str()))?.contents.unwrap_or_default() {
                let key = object.key.as_deref().and_then(|key| key.parse::<Key>().ok());
                let key = key.and_then(|key| self.bucket.root().strip(&key)?.parse::<Key>().ok());
                found.extend(key.filter(|key| !is_lease(key)).map(|key| (key, size(object.size))));
            }
        }
        Ok(found)
    }

    async fn folders(&self, prefix: &Prefix, from: &str) -> Result<BTreeSet<String>, StoreError> {
        let beginning = self.beginning(prefix);
        let request = self.client.list_objects_v2().bucket(self.bucket.name()).prefix(&beginning).delimiter("/");
        // What begins with the name comes after it. A server that overlooks this lists all.
        let after = Some(from).filter(|from| !from.is_empty()).map(|from| format!("{beginning}{from}"));
        let mut pages = request.set_start_after(after).into_paginator().send();
        let mut found = BTreeSet::new();
        while let Some(page) = pages.next().await {
            for folder in page.map_err(self.failed("list", prefix.as_str()))?.common_prefixes.unwrap_or_default() {
                let name = folder.prefix.as_deref().and_then(|text| text.strip_prefix(&beginning)?.strip_suffix('/'));
                found.extend(name.filter(|name| *name != LEASES && *name >= from).map(str::to_owned));
            }
        }
        Ok(found)
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let deleted = self.client.delete_object().bucket(self.bucket.name()).key(self.full(key)).send().await;
        match deleted {
            Err(error) if error.is_missing() => Ok(()),
            deleted => deleted.map(drop).map_err(self.failed("delete", key.as_str())),
        }
    }
}

/// Names an object as people and other programs do.
fn locate(bucket: &Bucket, key: &str) -> String {
    let segments = [bucket.name(), bucket.root().as_str(), key].into_iter();
    format!("s3://{}", segments.filter(|segment| !segment.is_empty()).collect::<Vec<_>>().join("/"))
}

/// Returns a size as the SDK has it.
fn size(length: Option<i64>) -> u64 {
    length.and_then(|length| u64::try_from(length).ok()).unwrap_or_default()
}

fn is_lease(key: &Key) -> bool {
    key.as_str().rsplit('/').nth(1) == Some(LEASES)
}

/// Waits for `work`, but no longer than the meter lets it: the word to stop must not wait for a slow server.
async fn until_stopped<T>(
    meter: &Meter,
    at: impl Fn() -> String,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    const TICK: Duration = Duration::from_millis(100);
    let mut ticks = tokio::time::interval(TICK);
    tokio::pin!(work);
    loop {
        tokio::select! {
            ended = &mut work => return ended,
            _ = ticks.tick() => if meter.is_stopped() {
                return Err(StoreError::Stopped { at: at() });
            }
        }
    }
}
