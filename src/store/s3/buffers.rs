//! The memory that moving bytes may take: a fixed number of buffers, each as long as one part.
//!
//! What is measured on its way from or to a file is read, or written, piece by piece: a piece is still in the processor's cache
//! when its digest is computed, and a part is not.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many bytes a piece has.
pub(super) const PIECE: usize = 128 << 10;

/// A fixed number of buffers, which come back when they are dropped.
#[derive(Clone, Debug)]
pub(super) struct Buffers {
    idle: Arc<Mutex<Vec<Vec<u8>>>>,
    permits: Arc<Semaphore>,
}

impl Buffers {
    /// Returns so many buffers; none of them takes memory before it is used.
    pub(super) fn new(count: usize) -> Self {
        Self { idle: Arc::default(), permits: Arc::new(Semaphore::new(count)) }
    }

    /// Waits for a buffer, which may hold what it held last: to clear it would be to fill it with zeros for nothing.
    pub(super) async fn take(&self) -> Buffer {
        // The semaphore is never closed.
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
        let bytes = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        Buffer { bytes, idle: Arc::clone(&self.idle), _permit: permit }
    }
}

/// One buffer on loan.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    idle: Arc<Mutex<Vec<Vec<u8>>>>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(std::mem::take(&mut self.bytes));
    }
}
