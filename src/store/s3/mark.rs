//! Marks of those who read the sets of a prefix, of who deletes some, and of who takes its lease: small objects that end
//! by themselves.
//!
//! Each writes a mark first and looks for others' then. A bucket shows a write to whoever looks after it, so of two that
//! come at one time and do not go together at least one sees the other, and goes; or it waits until it is alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use uuid::Uuid;

use super::lease::{AbortOnDrop, MARGIN, Note, RENEWAL, ROUND};
use super::{LEASES, Opened};
use crate::name::{Key, Prefix};
use crate::store::s3::client::{Quiet, ServerClock};
use crate::store::{Lease, Lock, Part, Purpose, StoreError};

/// How long to wait for another that takes a lease: it is soon done, or it was killed.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long two that take a lease at one time wait at most before they look again.
const LONGEST_PAUSE: u128 = 2000;

/// What a mark is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Reading,
    Deleting,
    Taking,
}

impl Kind {
    /// Returns what the names of such marks begin with. Leases are named by numbers, and take no notice of these.
    fn beginning(self) -> &'static str {
        match self {
            Self::Reading => "reading-",
            Self::Deleting => "deleting-",
            Self::Taking => "taking-",
        }
    }

    /// Returns the verb of who looks for others' marks, where that fails, and of who sets one.
    fn verbs(self) -> (&'static str, &'static str) {
        match self {
            Self::Reading | Self::Deleting => ("look for marks in", "mark"),
            Self::Taking => ("take the lease of", "take the lease of"),
        }
    }

    /// Returns what does not go together with it.
    fn disturbances(self) -> &'static [Self] {
        match self {
            Self::Reading => &[Self::Deleting],
            Self::Deleting => &[Self::Deleting, Self::Reading],
            Self::Taking => &[Self::Taking],
        }
    }
}

impl From<Purpose> for Kind {
    fn from(purpose: Purpose) -> Self {
        match purpose {
            Purpose::Reading => Self::Reading,
            Purpose::Deleting => Self::Deleting,
        }
    }
}

/// A mark of ours.
#[derive(Clone, Debug)]
struct Own {
    client: Quiet,
    clock: ServerClock,
    bucket: String,
    /// Its key, as the bucket has it.
    key: String,
    note: Note,
    encryption: Option<aws_sdk_s3::types::ServerSideEncryption>,
    kms_key: Option<String>,
}

impl Opened {
    /// Marks a prefix, or says who is in the way.
    pub(super) async fn mark(&self, prefix: &Prefix, purpose: Purpose, holder: &str) -> Result<Lock, StoreError> {
        self.mark_alone(prefix, purpose.into(), holder, Duration::ZERO).await
    }

    /// Marks that the lease of a prefix is being taken, after waiting for others who take it, or says who that is.
    ///
    /// Of several who do so at one time the first by name stays where it is, and the others go when they see it: were all to
    /// go, they could meet again and again.
    pub(super) async fn mark_taking(&self, prefix: &Prefix, holder: &str) -> Result<Lock, StoreError> {
        let begun = Instant::now();
        loop {
            match self.mark_alone(prefix, Kind::Taking, holder, PATIENCE).await {
                Err(StoreError::Busy { .. }) if begun.elapsed() < PATIENCE => tokio::time::sleep(pause()).await,
                ended => return ended,
            }
        }
    }

    /// Sets a mark where nobody is who does not go together with it. Where somebody has come meanwhile, it is taken away
    /// again; unless it is the first by name, and the other goes within its `patience`.
    async fn mark_alone(
        &self,
        prefix: &Prefix,
        kind: Kind,
        holder: &str,
        patience: Duration,
    ) -> Result<Lock, StoreError> {
        // What the server's clock says is known once it has answered.
        if let Some(other) = self.other(prefix, kind, None).await? {
            return Err(other.in_the_way());
        }
        let own = self.set_mark(prefix, kind, holder).await?;
        let set = Instant::now();
        let error = loop {
            match self.other(prefix, kind, Some(&own)).await {
                Ok(None) => return Ok(own.into_lock()),
                Ok(Some(other)) if own.key < other.key && set.elapsed() < patience => {
                    tokio::time::sleep(pause()).await;
                }
                Ok(Some(other)) => break other.in_the_way(),
                Err(error) => break error,
            }
        };
        own.remove().await;
        Err(error)
    }

    async fn set_mark(&self, prefix: &Prefix, kind: Kind, holder: &str) -> Result<Own, StoreError> {
        let folder = prefix.join(&Prefix::of(LEASES.to_owned()));
        let key = folder.key(&Key::of(format!("{}{}", kind.beginning(), Uuid::now_v7().simple())));
        let own = Own {
            client: self.client.clone(),
            clock: self.clock.clone(),
            bucket: self.bucket.name().to_owned(),
            key: self.full(&key),
            note: Note::new(holder, self.clock.now()),
            encryption: self.encryption(),
            kms_key: self.kms_key(),
        };
        match own.put(&own.note).await {
            Ok(()) => Ok(own),
            Err(error) => {
                // What was not answered may have been done.
                own.remove().await;
                Err(self.failed(kind.verbs().1, prefix.as_str())(error))
            }
        }
    }

    /// Finds somebody who does not go together with a mark of this kind, but for our `own`: of each kind the first by name.
    async fn other(&self, prefix: &Prefix, kind: Kind, own: Option<&Own>) -> Result<Option<Other>, StoreError> {
        let folder = self.beginning(&prefix.join(&Prefix::of(LEASES.to_owned())));
        for others in kind.disturbances() {
            let beginning = format!("{folder}{}", others.beginning());
            for key in self.mark_keys(prefix, &beginning, kind.verbs().0).await? {
                let full = self.full(&key);
                if own.is_some_and(|own| own.key == full) {
                    continue;
                }
                if let Some(holder) = self.holder_of_mark(&key).await? {
                    return Ok(Some(Other { kind: *others, key: full, holder, at: self.locate(prefix.as_str()) }));
                }
            }
        }
        Ok(None)
    }

    /// Lists the marks whose full keys have this beginning.
    async fn mark_keys(&self, prefix: &Prefix, beginning: &str, doing: &'static str) -> Result<Vec<Key>, StoreError> {
        let mut pages =
            self.client.list_objects_v2().bucket(self.bucket.name()).prefix(beginning).into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            for object in page.map_err(self.failed(doing, prefix.as_str()))?.contents.unwrap_or_default() {
                let key = object.key.as_deref().and_then(|key| key.parse::<Key>().ok());
                found.extend(key.and_then(|key| self.bucket.root().strip(&key)?.parse::<Key>().ok()));
            }
        }
        Ok(found)
    }

    /// Tells who holds another's mark and until when; nothing where it is gone, or its time is over: then it is taken away,
    /// since its holder was killed.
    async fn holder_of_mark(&self, key: &Key) -> Result<Option<String>, StoreError> {
        let note: Option<Note> = match self.read_small(key, Part::Whole).await {
            Ok(bytes) => serde_json::from_slice(&bytes).ok(),
            Err(StoreError::Missing { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        match note {
            Some(note) if note.expires_at > self.clock.now() => {
                Ok(Some(format!("{}; this ends at {:.0} unless it is renewed", note.holder, note.expires_at)))
            }
            _ => {
                // One that stays binds nobody.
                drop(self.delete(key).await);
                Ok(None)
            }
        }
    }
}

/// Another's mark.
#[derive(Debug)]
struct Other {
    kind: Kind,
    /// Its key, as the bucket has it.
    key: String,
    /// Who has set it and until when, for a person.
    holder: String,
    /// The place that is marked.
    at: String,
}

impl Other {
    /// Returns the error that it is in the way.
    fn in_the_way(self) -> StoreError {
        let Self { holder, at, .. } = self;
        match self.kind {
            Kind::Reading => StoreError::InUse { at, purpose: Purpose::Reading, holder },
            Kind::Deleting => StoreError::InUse { at, purpose: Purpose::Deleting, holder },
            Kind::Taking => StoreError::Busy { at, holder },
        }
    }
}

/// Returns how long to wait before the next look: another time for each, so that they do not meet again.
fn pause() -> Duration {
    // The last bits of such a name are random.
    let chosen = Uuid::now_v7().as_u128() % LONGEST_PAUSE;
    Duration::from_millis(u64::try_from(chosen).unwrap_or_default())
}

type PutError = aws_sdk_s3::error::SdkError<aws_sdk_s3::operation::put_object::PutObjectError>;

impl Own {
    async fn put(&self, note: &Note) -> Result<(), PutError> {
        let put = self.client.put_object().bucket(&self.bucket).key(&self.key);
        let put = put.set_server_side_encryption(self.encryption.clone()).set_ssekms_key_id(self.kms_key.clone());
        put.body(note.bytes().into()).send().await.map(drop)
    }

    /// Takes the mark away. Where this fails it ends by itself.
    async fn remove(&self) {
        drop(self.client.delete_object().bucket(&self.bucket).key(&self.key).send().await);
    }

    /// Returns the lock that this mark is, renewed until it is given back.
    fn into_lock(self) -> Lock {
        let ends_at = Arc::new(AtomicI64::new(self.relied_on_until(&self.note)));
        let is_lost = Arc::new(AtomicBool::new(false));
        let lease = Lease { generation: 0, caveat: None, is_lost, ends_at: Arc::clone(&ends_at), witness: None };
        let renewing = AbortOnDrop(tokio::spawn(self.clone().renew(ends_at)).abort_handle());
        Lock::leased(lease, async move {
            drop(renewing);
            self.remove().await;
        })
    }

    /// Returns until when the holder relies on a note, in seconds of this host's clock.
    fn relied_on_until(&self, note: &Note) -> i64 {
        (note.expires_at - self.clock.ahead() - MARGIN).as_second()
    }

    async fn renew(self, ends_at: Arc<AtomicI64>) {
        loop {
            tokio::time::sleep(RENEWAL).await;
            // What has ended is anybody's to take away, and stays ended.
            if Timestamp::now().as_second() >= ends_at.load(Ordering::Relaxed) {
                return;
            }
            let note = self.note.renewed(self.clock.now());
            // A round that is cut short, or of which the server says nothing, leaves the end where it is.
            if let Ok(Ok(())) = tokio::time::timeout(ROUND, self.put(&note)).await {
                ends_at.store(self.relied_on_until(&note), Ordering::Relaxed);
            }
        }
    }
}
