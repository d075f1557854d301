//! The word to stop: given once, heard by everyone who looks or works.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use crate::measure::Span;

/// The word to stop, which anyone may give and everyone who works listens for.
#[derive(Clone, Debug)]
pub struct Stop(Arc<watch::Sender<Option<Reason>>>);

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

impl Default for Stop {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl Stop {
    /// Gives the word. The first reason stays.
    pub fn request(&self, reason: Reason) {
        self.0.send_if_modified(|current| {
            let is_first = current.is_none();
            current.get_or_insert(reason);
            is_first
        });
    }

    /// Returns why work is to stop, if it is.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        *self.0.borrow()
    }

    /// Returns a word for one part of the work: it is given with this one, and may be given alone.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn part(&self) -> Self {
        let (whole, part) = (self.clone(), Self::default());
        let given = part.clone();
        tokio::spawn(async move {
            whole.wait().await;
            whole.reason().into_iter().for_each(|reason| given.request(reason));
        });
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
        drop(self.0.subscribe().wait_for(Option::is_some).await);
    }
}
