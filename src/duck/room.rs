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

/// The memory of an engine.
#[derive(Debug)]
pub(super) struct Room {
    /// How much there may ever be.
    most: Bytes,
    now: Mutex<Now>,
    given_back: Condvar,
}

/// How much there is.
#[derive(Debug)]
struct Now {
    memory: Bytes,
    /// What nobody has taken of that which is shared out.
    free: u64,
}

/// Some of it, which is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Taken<'r> {
    room: &'r Room,
    bytes: u64,
}

impl Room {
    pub(super) fn new(memory: Bytes, most: Bytes) -> Self {
        Self { most, now: Mutex::new(Now { memory, free: shared(memory) }), given_back: Condvar::new() }
    }

    /// Returns how much memory the engine may use now.
    pub(super) fn memory(&self) -> Bytes {
        self.now().memory
    }

    /// Calls `set` with the memory that the engine is to use from now on, if that is more than it uses already: `memory`, or
    /// the most that it may.
    pub(super) fn enlarge<E>(&self, memory: Bytes, set: impl FnOnce(Bytes) -> Result<(), E>) -> Result<(), E> {
        let memory = memory.min(self.most);
        let mut now = self.now();
        if memory > now.memory {
            set(memory)?;
            now.free += shared(memory) - shared(now.memory);
            now.memory = memory;
            self.given_back.notify_all();
        }
        Ok(())
    }

    /// Waits until there are `bytes`, and takes them; whoever wants more than there are gets all.
    ///
    /// Nobody may hold some and want more: two who do would wait for each other.
    pub(super) fn take(&self, bytes: u64) -> Taken<'_> {
        let mut now = self.now();
        loop {
            let bytes = bytes.min(shared(now.memory));
            if bytes <= now.free {
                now.free -= bytes;
                return Taken { room: self, bytes };
            }
            now = self.given_back.wait(now).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns how much of an engine's memory is shared out.
fn shared(memory: Bytes) -> u64 {
    memory.0 - memory.0 / UNRECKONED
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.room.now().free += self.bytes;
        self.room.given_back.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
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
        assert_eq!(room.take(100).bytes, 75);
    }

    #[test]
    fn there_is_more_where_it_is_needed_and_allowed() {
        let room = Room::new(Bytes(100), Bytes(400));
        let mut set = Vec::new();
        for wanted in [80, 200, 120, 1000, 1000] {
            let _taken = room.take(50);
            let enlarged: Result<(), Infallible> = room.enlarge(Bytes(wanted), |memory| {
                set.push(memory);
                Ok(())
            });
            assert_eq!(enlarged, Ok(()));
        }
        assert_eq!(set, [Bytes(200), Bytes(400)]);
        assert_eq!((room.memory(), room.take(1000).bytes), (Bytes(400), 300));
        assert_eq!(room.enlarge(Bytes(1000), |_| Err("refused")), Ok(()), "there is no more");
    }
}
