//! Taking over what runs that were never sealed have left of a snapshot's files, instead of sending those again.
//!
//! Only the content of a file makes it the same: by the server's own checksum of what is left, or, where the server
//! attests to none, by reading that through. Whatever goes wrong, the file is sent.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::Gauge;
use super::files::key;
use crate::measure::{Bytes, Grouped};
use crate::name::{Key, SnapshotId};
use crate::record::TakenOver;
use crate::store::{Moved, Store, StoreError};
use crate::work::Remains;

/// What may be taken over of one snapshot's files, and what was.
#[derive(Debug, Default)]
pub(super) struct Takeover<'r> {
    remains: &'r [Remains],
    taken: Mutex<Vec<(SnapshotId, u64)>>,
}

impl<'r> Takeover<'r> {
    /// Returns what may be taken over, the newest first.
    pub(super) fn of(remains: &'r [Remains]) -> Self {
        Self { remains, taken: Mutex::default() }
    }

    /// Has the store make `to` of what is left of a file, and returns the file's measure; nothing where the file must be
    /// sent. `begun` is called when the copy may be there from now on.
    pub(super) async fn take(
        &self,
        store: &dyn Store,
        (file, name): (&Path, &str),
        to: &Key,
        gauge: &Gauge,
        begun: impl Fn(),
    ) -> Option<Moved> {
        let bytes = tokio::fs::metadata(file).await.ok()?.len();
        let is_alike = |remains: &&Remains| remains.files.get(name) == Some(&bytes);
        let mut measured = None;
        for remains in self.remains.iter().filter(is_alike) {
            let moved = match measured {
                Some(moved) => moved,
                None => *measured.insert(Moved::of_file(file).await.ok()?),
            };
            let from = key(&remains.prefix, name).ok()?;
            if !is_same(store, &from, &moved, gauge).await.unwrap_or(false) {
                continue;
            }
            let copied = store.copy(&from, to, moved, &gauge.meter).await;
            if !matches!(copied, Err(StoreError::Exists { .. })) {
                begun();
            }
            copied.ok()?;
            self.taken.lock().unwrap_or_else(PoisonError::into_inner).push((remains.set, bytes));
            return Some(moved);
        }
        None
    }

    /// Returns how much was taken over; nothing where that is nothing.
    pub(super) fn taken(&self) -> Option<TakenOver> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let sets = taken.iter().map(|(set, _)| *set).collect();
        let (files, bytes) = (taken.len() as u64, taken.iter().map(|(_, bytes)| bytes).sum());
        (files > 0).then_some(TakenOver { files, bytes, sets })
    }
}

/// Says how much of the files was not sent.
pub(super) fn said(taken: &TakenOver) -> String {
    let sets: Vec<String> = taken.sets.iter().map(SnapshotId::to_string).collect();
    let plural = if sets.len() == 1 { "" } else { "s" };
    format!(
        ", {} of them ({}) taken over from unfinished set{plural} {}",
        Grouped(taken.files),
        Bytes(taken.bytes),
        sets.join(" and ")
    )
}

/// Tells whether an object has just this content.
async fn is_same(store: &dyn Store, key: &Key, moved: &Moved, gauge: &Gauge) -> Result<bool, StoreError> {
    let is_attested = store.attests(key, moved.bytes, moved.crc64nvme).await?;
    // What is read through does not move the file forward.
    Ok(is_attested || store.digest(key, &gauge.meter.beside()).await? == *moved)
}
