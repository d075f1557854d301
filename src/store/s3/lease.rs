//! The lease of a prefix: a small object that says who writes there, until when.
//!
//! A bucket has no locks that a kernel lets go of, so a lease ends by itself: at a time by the server's clock, unless
//! its holder renews it. Leases of a prefix are numbered; a new one gets the next number by a write that fails where
//! the number is taken, so of two runs that see the same lease end, one gets the next. A holder that was cut off finds
//! a higher number when it comes back, and seals nothing.
//!
//! The lease is also where the server is tried, before anything depends on what it promises: a second creation must
//! be refused, and so must a checksum that is wrong. Where a server creates what is there (Garage does), each run
//! writes its lease, waits, and goes on only if the one it reads is still its own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_s3::Client;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::client::ServerClock;
use super::refusal::Refused;
use super::{LEASES, Opened};
use crate::measure::Crc64;
use crate::name::{Key, Prefix};
use crate::plan::Checksum;
use crate::store::{Lease, Lock, Part, StoreError};

/// The number of the document's format.
const FORMAT: u32 = 1;

/// How long a lease lasts that is not renewed.
const TERM: SignedDuration = SignedDuration::from_mins(5);

/// How often it is renewed.
const RENEWAL: Duration = Duration::from_mins(1);

/// How long to wait before a lease is read back, where two may have written it: longer than any write between.
const SETTLING: Duration = Duration::from_secs(2);

/// How old the parts of an unfinished object must be to be nobody's: no upload takes a day.
const ABANDONED: SignedDuration = SignedDuration::from_hours(24);

/// What a run relies on where the server does not honour conditions.
const CAVEAT: &str = "the server ignores conditions on writes: that no two runs write at once rests on a lease that \
                      each reads back after writing it, and on the server's clock";

/// A lease as it lies in the bucket.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Note {
    format: u32,
    /// Who has it, in the holder's own words.
    holder: String,
    /// Tells two notes of the same number apart.
    token: Uuid,
    /// When it ends, by the server's clock.
    expires_at: Timestamp,
    /// Whether the holder has given it back.
    is_released: bool,
}

impl Note {
    fn new(holder: &str, now: Timestamp) -> Self {
        let note = Self {
            format: FORMAT,
            holder: holder.to_owned(),
            token: Uuid::now_v7(),
            expires_at: now,
            is_released: false,
        };
        note.renewed(now)
    }

    fn renewed(&self, now: Timestamp) -> Self {
        Self { expires_at: now.saturating_add(TERM).unwrap_or(now), ..self.clone() }
    }

    fn bytes(&self) -> Vec<u8> {
        // A type of our own without maps: serialising it cannot fail.
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }
}

/// A lease of ours: where it lies and what it says.
#[derive(Clone, Debug)]
struct Own {
    client: Client,
    clock: ServerClock,
    bucket: String,
    /// The folder of leases, as the bucket has it.
    folder: String,
    generation: u64,
    note: Note,
    is_lost: Arc<AtomicBool>,
}

impl Opened {
    /// Takes the lease of a prefix, or says who has it.
    pub(super) async fn take_lease(&self, prefix: &Prefix, holder: &str) -> Result<Lock, StoreError> {
        let folder = self.beginning(&prefix.join(&Prefix::of(LEASES.to_owned())));
        let failed = || self.failed("take the lease of", prefix.as_str());
        let before = generations(&self.client, self.bucket.name(), &folder).await.map_err(failed())?;
        let newest = before.last().copied().unwrap_or_default();
        if newest > 0 {
            self.check_ended(prefix, newest).await?;
        }
        let own = Own {
            client: self.client.clone(),
            clock: self.clock.clone(),
            bucket: self.bucket.name().to_owned(),
            folder,
            generation: newest + 1,
            note: Note::new(holder, self.clock.now()),
            is_lost: Arc::default(),
        };
        self.create(prefix, &own).await?;
        match self.try_server(prefix, &own).await {
            Ok(caveat) => {
                own.remove(&before).await;
                self.sweep(prefix).await;
                Ok(own.into_lock(caveat))
            }
            Err(busy @ StoreError::Busy { .. }) => Err(busy),
            Err(error) => {
                own.give_back().await;
                Err(error)
            }
        }
    }

    /// Finds out what the server does with writes to a lease, and returns what the lease rests on where that is little.
    async fn try_server(&self, prefix: &Prefix, own: &Own) -> Result<Option<String>, StoreError> {
        self.try_conditions(prefix, own).await?;
        self.try_checksums(prefix, own).await?;
        if self.learnt.honours_conditions.load(Ordering::Relaxed) {
            return Ok(None);
        }
        self.settle(prefix, own).await?;
        Ok(Some(CAVEAT.to_owned()))
    }

    /// Goes on only if a lease has ended: it was given back, or its time is over.
    async fn check_ended(&self, prefix: &Prefix, generation: u64) -> Result<(), StoreError> {
        match self.read_note(prefix, generation).await? {
            Some(note) if !note.is_released && note.expires_at > self.clock.now() => Err(self.busy(prefix, &note)),
            _ => Ok(()),
        }
    }

    /// Reads a lease; nothing where it is gone or cannot be understood, and so binds nobody.
    async fn read_note(&self, prefix: &Prefix, generation: u64) -> Result<Option<Note>, StoreError> {
        match self.read_small(&key(prefix, generation), Part::Whole).await {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(StoreError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn busy(&self, prefix: &Prefix, note: &Note) -> StoreError {
        let holder = format!("{}; its lease ends at {:.0} unless it is renewed", note.holder, note.expires_at);
        StoreError::Busy { at: self.locate(prefix.as_str()), holder }
    }

    /// Writes a lease under a number that must be free.
    async fn create(&self, prefix: &Prefix, own: &Own) -> Result<(), StoreError> {
        loop {
            let is_conditional = !self.learnt.refuses_conditions.load(Ordering::Relaxed);
            let checksum = self.sends_checksums().then(|| Crc64::of(&own.note.bytes()));
            match own.put(&own.note, is_conditional, checksum).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_taken() => {
                    // A lost answer makes the SDK write again: then it is our own that has the number.
                    return match self.read_note(prefix, own.generation).await? {
                        Some(note) if note.token == own.note.token => Ok(()),
                        Some(note) => Err(self.busy(prefix, &note)),
                        None => Err(self.failed("take the lease of", prefix.as_str())(error)),
                    };
                }
                Err(error) if self.learns_from(&error) => {}
                Err(error) => return Err(self.failed("take the lease of", prefix.as_str())(error)),
            }
        }
    }

    /// Finds out whether the server refuses to create what is there.
    async fn try_conditions(&self, prefix: &Prefix, own: &Own) -> Result<(), StoreError> {
        if self.learnt.refuses_conditions.load(Ordering::Relaxed) {
            return Ok(());
        }
        match own.put(&own.note, true, None).await {
            Ok(()) => Ok(()),
            Err(error) if error.is_taken() => {
                self.learnt.honours_conditions.store(true, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => Err(self.failed("try a condition on the lease of", prefix.as_str())(error)),
        }
    }

    /// Finds out whether the server refuses bytes that do not have the checksum that comes with them, and keeps the
    /// checksum of those that do.
    async fn try_checksums(&self, prefix: &Prefix, own: &Own) -> Result<(), StoreError> {
        if self.bucket.checksum() == Checksum::None || !self.sends_checksums() {
            return Ok(());
        }
        let wrong = Crc64::of(b"not what the lease says");
        let refuses = match own.put(&own.note, false, Some(wrong)).await {
            Ok(()) => false,
            Err(error) if error.is_damage() => true,
            Err(error) => return Err(self.failed("try a checksum on the lease of", prefix.as_str())(error)),
        };
        let right = Crc64::of(&own.note.bytes());
        let keeps = matches!(own.put(&own.note, false, Some(right)).await, Ok(()))
            && self.head(&key(prefix, own.generation)).await?.is_some_and(|head| head.crc64nvme == Some(right));
        self.learnt.compares_checksums.store(refuses && keeps, Ordering::Relaxed);
        Ok(())
    }

    /// Waits until everyone who wrote a lease of this number has done so, and goes on only if it is ours that stayed.
    async fn settle(&self, prefix: &Prefix, own: &Own) -> Result<(), StoreError> {
        tokio::time::sleep(SETTLING).await;
        match self.read_note(prefix, own.generation).await? {
            Some(note) if note.token != own.note.token => Err(self.busy(prefix, &note)),
            _ => Ok(()),
        }
    }

    /// Takes away the parts of objects that no run will ever complete. A server that does not list them is left alone.
    async fn sweep(&self, prefix: &Prefix) {
        let listing = self.client.list_multipart_uploads().bucket(self.bucket.name()).prefix(self.beginning(prefix));
        let Ok(listing) = listing.send().await else { return };
        let now = self.clock.now();
        for upload in listing.uploads.unwrap_or_default() {
            let begun = upload.initiated.and_then(|moment| Timestamp::from_second(moment.secs()).ok());
            if begun.is_some_and(|begun| now.duration_since(begun) > ABANDONED) {
                let abort = self.client.abort_multipart_upload().bucket(self.bucket.name());
                drop(abort.set_key(upload.key).set_upload_id(upload.upload_id).send().await);
            }
        }
    }
}

fn key(prefix: &Prefix, generation: u64) -> Key {
    prefix.key(&Key::of(format!("{LEASES}/{}", file_name(generation))))
}

/// Returns the name of a lease, which sorts by its number.
fn file_name(generation: u64) -> String {
    format!("{generation:010}")
}

type PutError = aws_sdk_s3::error::SdkError<aws_sdk_s3::operation::put_object::PutObjectError>;
type ListError = aws_sdk_s3::error::SdkError<aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Error>;

/// Lists the numbers of the leases in a folder.
async fn generations(client: &Client, bucket: &str, folder: &str) -> Result<BTreeSet<u64>, ListError> {
    let listed = client.list_objects_v2().bucket(bucket).prefix(folder).send().await?;
    let keys = listed.contents.unwrap_or_default().into_iter().filter_map(|object| object.key);
    Ok(keys.filter_map(|key| key.strip_prefix(folder)?.parse().ok()).collect())
}

impl Own {
    /// Writes a note under this lease's number.
    async fn put(&self, note: &Note, is_new: bool, checksum: Option<Crc64>) -> Result<(), PutError> {
        let put = self.client.put_object().bucket(&self.bucket).key(self.key(self.generation));
        put.set_if_none_match(is_new.then(|| "*".to_owned()))
            .set_checksum_crc64_nvme(checksum.map(|crc| crc.to_string()))
            .body(note.bytes().into())
            .send()
            .await
            .map(drop)
    }

    fn key(&self, generation: u64) -> String {
        format!("{}{}", self.folder, file_name(generation))
    }

    /// Removes leases that have ended. One that stays harms nobody: the highest number counts.
    async fn remove(&self, ended: &BTreeSet<u64>) {
        for generation in ended {
            drop(self.client.delete_object().bucket(&self.bucket).key(self.key(*generation)).send().await);
        }
    }

    /// Returns the lock that this lease is, renewed until it is given back or lost.
    fn into_lock(self, caveat: Option<String>) -> Lock {
        let lease = Lease { generation: self.generation, caveat, is_lost: Arc::clone(&self.is_lost) };
        let renewing = AbortOnDrop(tokio::spawn(self.clone().renew()).abort_handle());
        Lock::leased(lease, async move {
            drop(renewing);
            if !self.is_lost.load(Ordering::Relaxed) {
                self.give_back().await;
            }
        })
    }

    /// Says that the lease is free. Where this fails it ends by itself.
    async fn give_back(&self) {
        let note = Note { is_released: true, ..self.note.clone() };
        drop(self.put(&note, false, None).await);
    }

    /// Tells whether another has the place: it holds a higher number, or has written over this one.
    async fn is_taken_over(&self) -> bool {
        let listed = generations(&self.client, &self.bucket, &self.folder).await;
        if listed.is_ok_and(|found| found.last().is_some_and(|newest| *newest > self.generation)) {
            return true;
        }
        let get = self.client.get_object().bucket(&self.bucket).key(self.key(self.generation));
        let Ok(answer) = get.send().await else { return false };
        let Ok(bytes) = answer.body.collect().await else { return false };
        serde_json::from_slice::<Note>(&bytes.into_bytes()).is_ok_and(|note| note.token != self.note.token)
    }

    /// Renews the lease until it is lost: taken over by another, or not renewed in time.
    async fn renew(self) {
        let mut expires_at = self.note.expires_at;
        while !self.is_lost.load(Ordering::Relaxed) {
            tokio::time::sleep(RENEWAL).await;
            let note = self.note.renewed(self.clock.now());
            let is_taken_over = self.is_taken_over().await;
            if !is_taken_over && self.put(&note, false, None).await.is_ok() {
                expires_at = note.expires_at;
            }
            self.is_lost.store(is_taken_over || self.clock.now() > expires_at, Ordering::Relaxed);
        }
    }
}

/// Ends a task when nobody needs it any more.
struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
