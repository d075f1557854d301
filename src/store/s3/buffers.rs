//! The memory that moving bytes may take: a fixed number of buffers, each as long as one part.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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

    /// Waits for an empty buffer.
    pub(super) async fn take(&self) -> Buffer {
        // The semaphore is never closed.
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
        let mut bytes = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        bytes.clear();
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
