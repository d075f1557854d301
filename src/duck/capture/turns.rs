//! Taking turns with whoever writes to the database while it is copied.
//!
//! A copy takes what the processor, the memory and the disk can give, and every commit of the server waits for these.
//! So while somebody writes the copy pauses for twice as long as it was at work, over and over: that takes it three times the
//! time, and the server loses a third of what it would. Where nobody writes nobody is given way to.
//!
//! What decides is the time that the work took, not a rate in bytes: on a slow disk the pauses are as long as they must be.

use std::time::{Duration, Instant};

use super::source::{LogStamp, Source};

/// How many times as long as its own turn the copy leaves to others.
const SHARE: u32 = 2;

/// Whose turn it is.
pub(super) struct Turns {
    /// The log when the copy's turn began.
    log: Option<LogStamp>,
    begun: Instant,
}

impl Turns {
    /// Begins with the copy's turn.
    pub(super) fn begin(source: &Source) -> Self {
        Self { log: source.log_stamp(), begun: Instant::now() }
    }

    /// Ends the copy's turn, lets `pause` wait while it is the writer's, and begins the next.
    pub(super) fn give<E>(&mut self, source: &Source, pause: impl FnOnce(Duration) -> Result<(), E>) -> Result<(), E> {
        let log = source.log_stamp();
        if log != self.log {
            pause(self.begun.elapsed().saturating_mul(SHARE))?;
        }
        *self = Self { log, begun: Instant::now() };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use std::convert::Infallible;
    use std::fs;
    use std::thread::sleep;

    use super::*;

    #[test]
    fn whoever_writes_has_a_longer_turn_than_the_copy_had() {
        const WORK: Duration = Duration::from_millis(3);
        let folder = tempfile::tempdir().unwrap();
        let (database, log) = (folder.path().join("hitkeep.db"), folder.path().join("hitkeep.db.wal"));
        fs::write(&database, "").unwrap();
        let source = Source::open(&database).unwrap();
        let mut turns = Turns::begin(&source);
        let writes: [(&str, Option<&str>); 5] = [
            ("nobody writes", None),
            ("a log is begun", Some("one")),
            ("nobody writes any more", None),
            ("the log grows", Some("one, two")),
            ("a checkpoint ends", Some("")),
        ];
        for (what, text) in writes {
            if let Some(text) = text {
                fs::write(&log, text).unwrap();
            }
            sleep(WORK);
            let mut given = None;
            let Ok(()) = turns.give(&source, |pause| {
                given = Some(pause);
                Ok::<(), Infallible>(())
            });
            assert_eq!(given.is_some(), text.is_some(), "{what}: {given:?}");
            assert!(given.is_none_or(|pause| pause >= WORK * SHARE), "{what}: {given:?}");
        }
    }
}
