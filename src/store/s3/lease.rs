//! The lease of a prefix: a small object that says who writes there, until when.
//!
//! A bucket has no locks that a kernel lets go of, so a lease ends by itself: at a time by the server's clock, unless
//! its holder renews it. Leases of a prefix are numbered, and a new one gets the next number. A holder that was cut off
//! finds a higher number when it comes back, and seals nothing.
//!
//! Who takes a lease is alone while it does: it marks the prefix first and looks for others' marks then ([`super::mark`]),
//! and only after that looks which leases there are, and writes its own. So whoever comes next finds that one, however long
//! its writing took, and no server need promise more than to show each write to whoever looks after it. The mark is taken
//! away when the lease is written; a lease counts for nobody whose mark may have ended before, since another may have
//! come between.
//!
//! A new number is written on the condition that it is free, where the server knows conditions. That is a second line, for
//! what the first cannot see: a request that was given up may still arrive. Where a server creates what is there (Garage
//! does), such a one may write a lease that nobody has over another's: so a holder reads its lease again before it seals
//! and before it deletes, and in doubt does neither.
//!
//! The lease is also where the server is tried, before anything depends on what it promises: a second creation must
//! be refused, and so must a checksum that is wrong.
//!
//! What remains, whatever the server honours, is a seal that leaves the host or arrives more than [`MARGIN`] after that
//! look, when the lease may have ended and be another's.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::types::ServerSideEncryption;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::client::{Quiet, ServerClock};
use super::refusal::Refused;
use super::{LEASES, Opened};
use crate::measure::Crc64;
use crate::name::{Key, Prefix};
use crate::plan::Checksum;
use crate::store::{Lease, Lock, Part, StoreError, Witness};

/// The number of the document's format.
const FORMAT: u32 = 1;

/// How long a lease lasts that is not renewed.
pub(super) const TERM: SignedDuration = SignedDuration::from_mins(5);

/// How often it is renewed.
pub(super) const RENEWAL: Duration = Duration::from_mins(1);

/// How long before its end a holder stops relying on a lease: what it has sent then is done by the end.
pub(super) const MARGIN: SignedDuration = SignedDuration::from_mins(1);

/// How long a renewal may take.
pub(super) const ROUND: Duration = Duration::from_secs(30);

/// What the names of objects begin with that a lease is tried on.
pub(super) const TRYING: &str = "trying-";

/// What a run relies on where the server does not honour conditions.
const CAVEAT: &str = "the server ignores conditions on writes: that no two runs seal rests on a lease that each takes \
                      alone and reads again before it seals, and on the clocks of the server and the hosts";

/// A lease as it lies in the bucket.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Note {
    format: u32,
    /// Who has it, in the holder's own words.
    pub(super) holder: String,
    /// Tells two notes of the same number apart.
    token: Uuid,
    /// When it ends, by the server's clock.
    pub(super) expires_at: Timestamp,
    /// Whether the holder has given it back.
    is_released: bool,
}

impl Note {
    pub(super) fn new(holder: &str, now: Timestamp) -> Self {
        let note = Self {
            format: FORMAT,
            holder: holder.to_owned(),
            token: Uuid::now_v7(),
            expires_at: now,
            is_released: false,
        };
        note.renewed(now)
    }

    pub(super) fn renewed(&self, now: Timestamp) -> Self {
        Self { expires_at: now.saturating_add(TERM).unwrap_or(now), ..self.clone() }
    }

    /// Returns who has it and until when, for a person.
    fn said(&self) -> String {
        format!("{}; its lease ends at {:.0} unless it is renewed", self.holder, self.expires_at)
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        // A type of our own without maps: serialising it cannot fail.
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }
}

/// A lease of ours: where it lies and what it says.
#[derive(Clone, Debug)]
struct Own {
    client: Quiet,
    clock: ServerClock,
    bucket: String,
    /// The folder of leases, as the bucket has it.
    folder: String,
    generation: u64,
    /// Where it lies, and its key as the bucket has it.
    at: Key,
    full: String,
    note: Note,
    encryption: Option<ServerSideEncryption>,
    kms_key: Option<String>,
    sends_checksums: bool,
    is_lost: Arc<AtomicBool>,
}

impl Opened {
    /// Takes the lease of a prefix, or says who has it.
    pub(super) async fn take_lease(&self, prefix: &Prefix, holder: &str) -> Result<Lock, StoreError> {
        let alone = self.mark_taking(prefix, holder).await?;
        let taken = self.take_alone(prefix, holder, alone.lease()).await;
        alone.release().await;
        let (own, ended) = taken?;
        own.remove(&ended).await;
        self.sweep(prefix).await;
        let caveat = (!self.honours_conditions()).then(|| CAVEAT.to_owned());
        Ok(own.into_lock(caveat))
    }

    /// Takes the lease of a prefix while the mark `alone` keeps others from it, and returns it with the numbers of those that
    /// have ended.
    async fn take_alone(
        &self,
        prefix: &Prefix,
        holder: &str,
        alone: Option<&Lease>,
    ) -> Result<(Own, BTreeSet<u64>), StoreError> {
        let listed = generations(&self.client, self.bucket.name(), &self.lease_folder(prefix)).await;
        let ended = listed.map_err(self.failed("take the lease of", prefix.as_str()))?;
        let newest = ended.last().copied().unwrap_or_default();
        if newest > 0 {
            self.check_ended(prefix, newest).await?;
        }
        let own = self.create(prefix, self.lease_of(prefix, newest + 1, &file_name(newest + 1), holder)).await?;
        let tried = self.try_server(prefix, &own).await;
        if alone.is_some_and(Lease::is_lost) {
            // Another may have the number by now: it is left alone.
            return Err(self.too_late(prefix));
        }
        match tried {
            Ok(()) => Ok((own, ended)),
            Err(error) => {
                own.give_back().await;
                Err(error)
            }
        }
    }

    /// Finds out whether the lease of a prefix could be taken: who has it, and what the server does with writes to one. This
    /// is tried on an object of its own, which is taken away.
    pub(super) async fn try_lease(&self, prefix: &Prefix, holder: &str) -> Result<(), StoreError> {
        let trial = self.lease_of(prefix, 0, &format!("{TRYING}{}", Uuid::now_v7().simple()), holder);
        let at = trial.at.clone();
        let tried = async { self.try_server(prefix, &self.create(prefix, trial).await?).await }.await;
        let removed = self.delete(&at).await;
        tried.and(removed)?;
        match self.lease_holder(prefix).await? {
            Some(holder) => Err(StoreError::Busy { at: self.locate(prefix.as_str()), holder }),
            None => Ok(()),
        }
    }

    /// Returns a lease of ours that is not written yet.
    fn lease_of(&self, prefix: &Prefix, generation: u64, name: &str, holder: &str) -> Own {
        let at = key(prefix, name);
        Own {
            client: self.client.clone(),
            clock: self.clock.clone(),
            bucket: self.bucket.name().to_owned(),
            folder: self.lease_folder(prefix),
            generation,
            full: self.full(&at),
            at,
            note: Note::new(holder, self.clock.now()),
            encryption: self.encryption(),
            kms_key: self.kms_key(),
            sends_checksums: self.sends_checksums(),
            is_lost: Arc::default(),
        }
    }

    /// Returns the folder of a prefix's leases, as the bucket has it.
    fn lease_folder(&self, prefix: &Prefix) -> String {
        self.beginning(&prefix.join(&Prefix::of(LEASES.to_owned())))
    }

    /// Tells who has the lease of a prefix, and until when.
    pub(super) async fn lease_holder(&self, prefix: &Prefix) -> Result<Option<String>, StoreError> {
        let listed = generations(&self.client, self.bucket.name(), &self.lease_folder(prefix)).await;
        let newest = listed.map_err(self.failed("look for a lease of", prefix.as_str()))?.last().copied();
        let Some(newest) = newest else { return Ok(None) };
        let note = self.read_note(&key(prefix, &file_name(newest))).await?.filter(|note| self.binds(note));
        Ok(note.map(|note| note.said()))
    }

    /// Tells whether a lease has not ended: it was not given back, and its time is not over.
    fn binds(&self, note: &Note) -> bool {
        !note.is_released && note.expires_at > self.clock.now()
    }

    fn honours_conditions(&self) -> bool {
        self.learnt.honours_conditions.load(Ordering::Relaxed)
    }

    /// Finds out what the server does with writes to a lease that was written.
    async fn try_server(&self, prefix: &Prefix, own: &Own) -> Result<(), StoreError> {
        self.try_conditions(prefix, own).await?;
        self.try_checksums(prefix, own).await
    }

    fn too_late(&self, prefix: &Prefix) -> StoreError {
        let at = self.locate(prefix.as_str());
        let cause = "that took so long that another run may have come between".to_owned();
        StoreError::Unreachable { doing: "take the lease of", at, cause }
    }

    /// Goes on only if a lease has ended: it was given back, or its time is over.
    async fn check_ended(&self, prefix: &Prefix, generation: u64) -> Result<(), StoreError> {
        match self.read_note(&key(prefix, &file_name(generation))).await? {
            Some(note) if self.binds(&note) => Err(self.busy(prefix, generation, Some(&note))),
            _ => Ok(()),
        }
    }

    /// Reads a lease; nothing where it is gone or cannot be understood, and so binds nobody.
    async fn read_note(&self, at: &Key) -> Result<Option<Note>, StoreError> {
        match self.read_small(at, Part::Whole).await {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(StoreError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn busy(&self, prefix: &Prefix, generation: u64, note: Option<&Note>) -> StoreError {
        let holder = note.map_or_else(|| format!("lease {generation}"), Note::said);
        StoreError::Busy { at: self.locate(prefix.as_str()), holder }
    }

    /// Writes a lease under a number that must be free, and returns it as the server takes it.
    async fn create(&self, prefix: &Prefix, mut own: Own) -> Result<Own, StoreError> {
        loop {
            let is_conditional = !self.learnt.refuses_conditions.load(Ordering::Relaxed);
            own.sends_checksums = self.sends_checksums();
            match own.put(&own.note, is_conditional, own.checksum(&own.note)).await {
                Ok(()) => return Ok(own),
                Err(error) if error.is_taken() => {
                    // A lost answer makes the SDK write again: then it is our own that has the number.
                    return match self.read_note(&own.at).await? {
                        Some(note) if note.token == own.note.token => Ok(own),
                        Some(note) => Err(self.busy(prefix, own.generation, Some(&note))),
                        None => Err(self.failed("take the lease of", prefix.as_str())(error)),
                    };
                }
                Err(error) if self.learns_from(&error, own.sends_checksums, is_conditional) => {}
                Err(error) => return Err(self.failed("take the lease of", prefix.as_str())(error)),
            }
        }
    }

    /// Finds out whether the server refuses to create what is there.
    async fn try_conditions(&self, prefix: &Prefix, own: &Own) -> Result<(), StoreError> {
        if self.learnt.refuses_conditions.load(Ordering::Relaxed) {
            return Ok(());
        }
        match own.put(&own.note, true, own.checksum(&own.note)).await {
            Ok(()) => Ok(()),
            Err(error) if error.is_taken() || error.is_conflict() => {
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
            && self.head(&own.at).await?.is_some_and(|head| head.crc64nvme == Some(right));
        self.learnt.compares_checksums.store(refuses && keeps, Ordering::Relaxed);
        Ok(())
    }
}

fn key(prefix: &Prefix, name: &str) -> Key {
    prefix.key(&Key::of(format!("{LEASES}/{name}")))
}

/// Returns the name of a lease, which sorts by its number.
fn file_name(generation: u64) -> String {
    format!("{generation:010}")
}

type PutError = aws_sdk_s3::error::SdkError<aws_sdk_s3::operation::put_object::PutObjectError>;
type ListError = aws_sdk_s3::error::SdkError<aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Error>;

/// Lists the numbers of the leases in a folder.
async fn generations(client: &Client, bucket: &str, folder: &str) -> Result<BTreeSet<u64>, ListError> {
    let mut pages = client.list_objects_v2().bucket(bucket).prefix(folder).into_paginator().send();
    let mut found = BTreeSet::new();
    while let Some(page) = pages.next().await {
        let keys = page?.contents.unwrap_or_default().into_iter().filter_map(|object| object.key);
        found.extend(keys.filter_map(|key| key.strip_prefix(folder)?.parse::<u64>().ok()));
    }
    Ok(found)
}

impl Own {
    /// Writes a note under this lease's number.
    async fn put(&self, note: &Note, is_new: bool, checksum: Option<Crc64>) -> Result<(), PutError> {
        let put = self.client.put_object().bucket(&self.bucket).key(&self.full);
        put.set_if_none_match(is_new.then(|| "*".to_owned()))
            .set_server_side_encryption(self.encryption.clone())
            .set_ssekms_key_id(self.kms_key.clone())
            .set_checksum_crc64_nvme(checksum.map(|crc| crc.to_string()))
            .body(note.bytes().into())
            .send()
            .await
            .map(drop)
    }

    /// Returns the checksum that goes with a note, where the server is given one.
    fn checksum(&self, note: &Note) -> Option<Crc64> {
        self.sends_checksums.then(|| Crc64::of(&note.bytes()))
    }

    /// Removes leases that have ended. One that stays harms nobody: the highest number counts.
    async fn remove(&self, ended: &BTreeSet<u64>) {
        for generation in ended {
            let key = format!("{}{}", self.folder, file_name(*generation));
            drop(self.client.delete_object().bucket(&self.bucket).key(key).send().await);
        }
    }

    /// Returns the lock that this lease is, renewed until it is given back or lost.
    fn into_lock(self, caveat: Option<String>) -> Lock {
        let ends_at = Arc::new(AtomicI64::new(self.relied_on_until(&self.note)));
        let is_lost = Arc::clone(&self.is_lost);
        let witness: Option<Arc<dyn Witness>> = caveat.is_some().then(|| Arc::new(self.clone()) as _);
        let lease = Lease { generation: self.generation, caveat, is_lost, ends_at: Arc::clone(&ends_at), witness };
        let renewing = AbortOnDrop(tokio::spawn(self.clone().renew(ends_at)).abort_handle());
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
        drop(self.put(&note, false, self.checksum(&note)).await);
    }

    /// Returns until when the holder relies on a note, in seconds of this host's clock.
    fn relied_on_until(&self, note: &Note) -> i64 {
        (note.expires_at - self.clock.ahead() - MARGIN).as_second()
    }

    /// Tells whether another has the place: it holds a higher number, or has written over this one. Nothing
    /// where the server does not say.
    async fn is_taken_over(&self) -> Option<bool> {
        let newest = generations(&self.client, &self.bucket, &self.folder).await.ok()?.last().copied();
        if newest.is_some_and(|newest| newest > self.generation) {
            return Some(true);
        }
        let get = self.client.get_object().bucket(&self.bucket).key(&self.full);
        let bytes = get.send().await.ok()?.body.collect().await.ok()?.into_bytes();
        let is_ours = |note: Note| note.token == self.note.token;
        Some(!serde_json::from_slice::<Note>(&bytes).is_ok_and(is_ours))
    }

    /// Renews the lease until another has taken over. One that is not renewed in time ends by itself.
    async fn renew(self, ends_at: Arc<AtomicI64>) {
        while !self.is_lost.load(Ordering::Relaxed) {
            tokio::time::sleep(RENEWAL).await;
            // A round that is cut short, or of which the server says nothing, leaves the end where it is.
            drop(tokio::time::timeout(ROUND, self.renew_once(&ends_at)).await);
        }
    }

    async fn renew_once(&self, ends_at: &AtomicI64) {
        let Some(is_taken_over) = self.is_taken_over().await else { return };
        if is_taken_over {
            return self.is_lost.store(true, Ordering::Relaxed);
        }
        let note = self.note.renewed(self.clock.now());
        if self.put(&note, false, self.checksum(&note)).await.is_ok() {
            ends_at.store(self.relied_on_until(&note), Ordering::Relaxed);
        }
    }
}

#[async_trait]
impl Witness for Own {
    async fn is_taken_over(&self) -> Option<bool> {
        Self::is_taken_over(self).await
    }
}

/// Ends a task when nobody needs it any more.
pub(super) struct AbortOnDrop(pub(super) tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
