//! A HitKeep installation as a plan names it.

use std::ops::Range;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use super::raw::{self, At};
use super::resolve::Desk;
use super::{Chosen, Origin};
use crate::name::Name;

/// How the databases of a source are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Capture {
    /// Opened read-only, which DuckDB allows only while nobody has them open: HitKeep is stopped.
    Direct,
    /// Copied while HitKeep has them open, with a guard against torn copies; the copies are read.
    Live,
    /// Copied where anybody has one of them open; otherwise opened.
    Auto,
}

impl Capture {
    /// Returns the word that plans use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Live => "live",
            Self::Auto => "auto",
        }
    }

    /// Tells whether the databases are copied, given whether anybody has one of them open.
    ///
    /// One is enough: HitKeep opens a tenant's database when that is first needed, and must not find it locked.
    #[must_use]
    pub fn is_live(self, is_held: bool) -> bool {
        match self {
            Self::Direct => false,
            Self::Live => true,
            Self::Auto => is_held,
        }
    }
}

/// A HitKeep installation on this host.
#[derive(Clone, Debug)]
pub struct Source {
    pub(super) name: Name,
    pub(super) line: usize,
    pub(super) data_path: Chosen<PathBuf>,
    pub(super) db_path: Chosen<PathBuf>,
    pub(super) capture: Chosen<Capture>,
}

impl Source {
    /// Reads `[source.NAME]`; returns nothing when a part of it is missing or was refused.
    pub(super) fn resolve(desk: &mut Desk<'_>, name: Name, table: At<raw::Source>) -> Option<Self> {
        let raw = table.value;
        let data_path = raw.data_path.as_ref().and_then(|at| desk.path(at));
        let db_path = raw.db_path.as_ref().map(|at| desk.path(at));
        let data_path = data_path?;
        let db_path = match db_path {
            Some(chosen) => chosen?,
            None => Chosen { value: data_path.value.join("hitkeep.db"), origin: Origin::Default },
        };
        let capture = desk.word(raw.capture, Capture::Auto);
        Some(Self { name, line: desk.line(&table.span), data_path, db_path, capture })
    }

    /// Returns the name it has in the plan.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Returns the line of its table, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }

    /// Returns where the plan names its data directory, in bytes of the plan's text.
    #[must_use]
    pub fn place(&self) -> Range<usize> {
        self.data_path.place().unwrap_or_default()
    }

    /// Returns HitKeep's data directory, absolute.
    #[must_use]
    pub fn data_path(&self) -> &Path {
        &self.data_path.value
    }

    /// Returns the file of the shared database, absolute.
    #[must_use]
    pub fn db_path(&self) -> &Path {
        &self.db_path.value
    }

    /// Returns how its databases are read.
    #[must_use]
    pub fn capture(&self) -> Capture {
        self.capture.value
    }
}
