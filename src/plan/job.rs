//! What the kinds of jobs have in common.

use std::ops::Range;
use std::sync::Arc;

use super::template;
use super::timetable::Timing;
use super::{Archive, Backup, Destination, Selection, Source, Upload};
use crate::measure::Span;
use crate::name::{Name, Prefix};

/// A job of a plan, of whatever kind.
#[derive(Clone, Copy, Debug)]
pub enum Job<'p> {
    /// A whole copy of the databases.
    Backup(&'p Backup),
    /// The rows past their retention.
    Archive(&'p Archive),
}

/// Asks the job, whichever kind it is of.
macro_rules! ask {
    ($job:expr, $question:ident) => {
        match $job {
            Self::Backup(job) => job.$question(),
            Self::Archive(job) => job.$question(),
        }
    };
}

impl<'p> Job<'p> {
    /// Returns the backup that it is, if it is one.
    #[must_use]
    pub fn backup(self) -> Option<&'p Backup> {
        match self {
            Self::Backup(backup) => Some(backup),
            Self::Archive(_) => None,
        }
    }

    /// Returns the archive job; nothing where it backs up.
    #[must_use]
    pub fn archive(self) -> Option<&'p Archive> {
        match self {
            Self::Backup(_) => None,
            Self::Archive(archive) => Some(archive),
        }
    }

    /// Returns the name it has in the plan; no other job has it.
    #[must_use]
    pub fn name(self) -> &'p Name {
        ask!(self, name)
    }

    /// Returns the line of its table, from 1.
    #[must_use]
    pub fn line(self) -> usize {
        ask!(self, line)
    }

    /// Returns where its table begins, in bytes of the plan's text.
    #[must_use]
    pub fn place(self) -> Range<usize> {
        ask!(self, place)
    }

    /// Returns what it reads.
    #[must_use]
    pub fn source(self) -> &'p Source {
        ask!(self, source)
    }

    /// Returns where it writes, at least one place, in the order of the plan.
    #[must_use]
    pub fn to(self) -> &'p [Arc<Destination>] {
        ask!(self, to)
    }

    /// Returns its folder below each destination.
    #[must_use]
    pub fn prefix(self) -> &'p Prefix {
        ask!(self, prefix)
    }

    /// Tells whether its folder has another name on each host.
    #[must_use]
    pub fn names_host(self) -> bool {
        template::names_host(match self {
            Self::Backup(job) => &job.template,
            Self::Archive(job) => &job.template,
        })
    }

    /// Returns the databases that it is about.
    #[must_use]
    pub fn databases(self) -> &'p Selection {
        ask!(self, databases)
    }

    /// Returns how long a run may take; nothing when there is no limit.
    #[must_use]
    pub fn timeout(self) -> Option<Span> {
        ask!(self, timeout)
    }

    /// Returns what the plan says of when it runs; nothing where it is run by hand.
    pub(super) fn timing(self) -> Option<&'p Timing> {
        match self {
            Self::Backup(job) => job.timing.as_ref(),
            Self::Archive(job) => job.timing.as_ref(),
        }
    }

    /// Returns how it uploads to buckets.
    #[must_use]
    pub fn upload(self) -> Upload {
        ask!(self, upload)
    }
}
