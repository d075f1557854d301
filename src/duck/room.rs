//! How those who work with one engine at the same time share its memory.
//!
//! The engine refuses a statement that does not fit into what is left of its memory, whoever has the rest. So whoever
//! knows how much a statement will need takes that much first, and waits until the others have given it back.

use std::sync::{Condvar, Mutex, PoisonError};

use crate::measure::Bytes;

/// The memory that is still to be had.
#[derive(Debug)]
pub(super) struct Room {
    all: u64,
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
    pub(super) fn new(all: Bytes) -> Self {
        Self { all: all.0, free: Mutex::new(all.0), given_back: Condvar::new() }
    }

    /// Waits until there are `bytes`, and takes them; whoever wants more than there ever are gets all.
    ///
    /// Nobody may hold some and want more: two who do would wait for each other.
    pub(super) fn take(&self, bytes: u64) -> Taken<'_> {
        let bytes = bytes.min(self.all);
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let too_little = |free: &mut u64| *free < bytes;
        *self.given_back.wait_while(free, too_little).unwrap_or_else(PoisonError::into_inner) -= bytes;
        Taken { room: self, bytes }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.room.free.lock().unwrap_or_else(PoisonError::into_inner) += self.bytes;
        self.room.given_back.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn those_who_work_at_once_never_hold_more_than_there_is() {
        let (room, held) = (Room::new(Bytes(100)), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for wanted in [60, 50, 40, 100, 1000] {
                let (room, held) = (&room, &held);
                scope.spawn(move || {
                    for _ in 0..200 {
                        let taken = room.take(wanted);
                        assert!(held.fetch_add(taken.bytes, Ordering::SeqCst) + taken.bytes <= 100);
                        held.fetch_sub(taken.bytes, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(room.take(100).bytes, 100);
    }
}
