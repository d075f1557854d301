//! The word to stop: given once, heard by everyone who looks or works.

use std::fmt;
use std::sync::{Arc, OnceLock};

use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::measure::Span;

/// The word to stop, which anyone may give and everyone who works listens for.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<Word>);

#[derive(Debug, Default)]
struct Word {
    given: watch::Sender<Option<Reason>>,
    /// What passes the word of the whole on to this part.
    passing_on: OnceLock<AbortHandle>,
}

impl Drop for Word {
    fn drop(&mut self) {
        self.passing_on.get().into_iter().for_each(AbortHandle::abort);
    }
}

/// Why work was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// The job's own time limit.
    Timeout(Span),
    /// What is worth nothing without it failed.
    Elsewhere,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interrupt => f.write_str("interrupted"),
            Self::Terminate => f.write_str("terminated"),
            Self::Timeout(limit) => write!(f, "not done within the job's `timeout` of {limit}"),
            Self::Elsewhere => f.write_str("not needed any more"),
        }
    }
}

impl Stop {
    /// Gives the word. The first reason stays.
    pub fn request(&self, reason: Reason) {
        self.0.given.send_if_modified(|current| {
            let is_first = current.is_none();
            current.get_or_insert(reason);
            is_first
        });
    }

    /// Returns why work is to stop, if it is.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        *self.0.given.borrow()
    }

    /// Returns a word for one part of the work: it is given with this one, and may be given alone.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn part(&self) -> Self {
        let (whole, part) = (self.clone(), Self::default());
        let word = Arc::downgrade(&part.0);
        let passing_on = tokio::spawn(async move {
            whole.wait().await;
            if let (Some(part), Some(reason)) = (word.upgrade().map(Self), whole.reason()) {
                part.request(reason);
            }
        });
        // The part is new: nothing else was to be told to it.
        part.0.passing_on.get_or_init(|| passing_on.abort_handle());
        part
    }

    /// Goes on unless the word was given.
    ///
    /// # Errors
    /// The reason, when it was.
    pub fn check(&self) -> Result<(), Reason> {
        self.reason().map_or(Ok(()), Err)
    }

    /// Waits for the word.
    pub async fn wait(&self) {
        // The sender lives as long as this, so the wait ends only with a reason.
        drop(self.0.given.subscribe().wait_for(Option::is_some).await);
    }
}
