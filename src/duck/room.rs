//! How those who work with one engine at the same time share its memory.
//!
//! The engine refuses a statement that does not fit into what is left of its memory, whoever has the rest. So whoever
//! knows how much a statement will need takes that much first, and waits until the others have given it back.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::measure::Bytes;

/// Which part of an engine's memory is kept for what nobody reckons with: catalogues, and blocks that are in use for a moment.
///
/// A margin: three databases that are loaded at the same time in 128 MiB fit without it too, twelve times of twelve.
const UNRECKONED: u64 = 4;

/// What an engine is given beside the memory that someone has who works alone.
const BESIDE: u64 = 64 << 20;

/// The memory of an engine.
#[derive(Debug)]
pub(super) struct Room {
    /// How much there is.
    memory: Bytes,
    /// How much there may be for a time.
    most: Bytes,
    /// What nobody has taken of that which is shared out.
    free: Mutex<u64>,
    given_back: Condvar,
}

/// Some of it, which is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Taken<'r> {
    room: &'r Room,
    bytes: u64,
}

impl Room {
    pub(super) fn new(memory: Bytes, most: Bytes) -> Self {
        Self { memory, most, free: Mutex::new(shared(memory)), given_back: Condvar::new() }
    }

    /// Returns how much memory the engine may use.
    pub(super) fn memory(&self) -> Bytes {
        self.memory
    }

    /// Returns how much it may use for a time.
    pub(super) fn most(&self) -> Bytes {
        self.most
    }

    /// Waits until there are `bytes`, and takes them; whoever wants more than there are gets all.
    ///
    /// Nobody may hold some and want more: two who do would wait for each other.
    pub(super) fn take(&self, bytes: u64) -> Taken<'_> {
        let bytes = bytes.min(shared(self.memory));
        let mut free = self.free();
        while bytes > *free {
            free = self.given_back.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= bytes;
        Taken { room: self, bytes }
    }

    /// Returns how much the engine has to use while someone works alone who wants `bytes`, if that is more than it may
    /// use otherwise.
    pub(super) fn enlarged(&self, bytes: u64) -> Option<Bytes> {
        let wanted = Bytes(bytes.saturating_add(BESIDE)).min(self.most);
        (wanted > self.memory).then_some(wanted)
    }

    fn free(&self) -> MutexGuard<'_, u64> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns how much of an engine's memory is shared out.
fn shared(memory: Bytes) -> u64 {
    memory.0 - memory.0 / UNRECKONED
}

impl Taken<'_> {
    /// Tells whether nobody else has any.
    pub(super) fn is_all(&self) -> bool {
        self.bytes == shared(self.room.memory)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.room.free() += self.bytes;
        self.room.given_back.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn those_who_work_at_once_never_hold_more_than_there_is() {
        let (room, held) = (Room::new(Bytes(100), Bytes(100)), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for wanted in [60, 50, 40, 100, 1000] {
                let (room, held) = (&room, &held);
                scope.spawn(move || {
                    for _ in 0..200 {
                        let taken = room.take(wanted);
                        assert!(held.fetch_add(taken.bytes, Ordering::SeqCst) + taken.bytes <= 75);
                        held.fetch_sub(taken.bytes, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(!room.take(74).is_all());
        assert!(room.take(100).is_all());
    }

    #[test]
    fn there_is_more_where_it_is_needed_and_allowed() {
        const MIB: u64 = 1 << 20;
        let enlarged = |most: u64, wanted: u64| Room::new(Bytes(512 * MIB), Bytes(most * MIB)).enlarged(wanted * MIB);
        assert_eq!(enlarged(2048, 448), None, "there is as much");
        assert_eq!(enlarged(2048, 700), Some(Bytes(764 * MIB)));
        assert_eq!(enlarged(600, 700), Some(Bytes(600 * MIB)));
        assert_eq!(enlarged(512, 700), None);
        assert_eq!(Room::new(Bytes(512), Bytes(2048)).enlarged(u64::MAX), Some(Bytes(2048)));
    }
}
