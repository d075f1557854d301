//! What is backed up, as a plan names it: a HitKeep installation, or what HitKeep's own backup has written.

use std::ops::Range;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use super::raw::{self, At};
use super::resolve::Desk;
use super::{Chosen, Origin, code};
use crate::diagnose::Diagnostic;
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

/// What is backed up.
#[derive(Clone, Debug)]
pub struct Source {
    pub(super) name: Name,
    pub(super) line: usize,
    pub(super) kind: SourceKind,
}

/// The kinds of sources.
#[derive(Clone, Debug)]
pub enum SourceKind {
    /// The databases of an installation.
    Installation(Installation),
    /// The sets of snapshots that HitKeep's own backup writes.
    Snapshots(Snapshots),
}

/// A HitKeep installation on this host.
#[derive(Clone, Debug)]
pub struct Installation {
    pub(super) data_path: Chosen<PathBuf>,
    pub(super) db_path: Chosen<PathBuf>,
    pub(super) capture: Chosen<Capture>,
}

/// The directory that HitKeep's own backup writes to.
#[derive(Clone, Debug)]
pub struct Snapshots {
    pub(super) folder: Chosen<PathBuf>,
}

impl Source {
    /// Reads `[source.NAME]`; returns nothing when a part of it is missing or was refused.
    pub(super) fn resolve(desk: &mut Desk<'_>, name: Name, table: At<raw::Source>) -> Option<Self> {
        let At { value: mut raw, span } = table;
        let kind = match raw.snapshots.take() {
            Some(at) => Snapshots::resolve(desk, &at, &raw).map(SourceKind::Snapshots),
            None => Installation::resolve(desk, raw).map(SourceKind::Installation),
        };
        Some(Self { name, line: desk.line(&span), kind: kind? })
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

    /// Returns where the plan names what it is read from, in bytes of the plan's text.
    #[must_use]
    pub fn place(&self) -> Range<usize> {
        self.places().into_iter().next().map(|(_, place)| place).unwrap_or_default()
    }

    /// Returns where the plan names what says which databases there are, in bytes of the plan's text.
    #[must_use]
    pub fn list_place(&self) -> Range<usize> {
        self.places().pop().map(|(_, place)| place).unwrap_or_default()
    }

    /// Returns what it is.
    #[must_use]
    pub fn kind(&self) -> &SourceKind {
        &self.kind
    }

    /// Returns what of HitKeep's it is read from: each place, and where the plan names it. Nothing may be written inside
    /// the first.
    pub(super) fn places(&self) -> Vec<(&Path, Range<usize>)> {
        let place = |chosen: &Chosen<PathBuf>| chosen.place().unwrap_or_default();
        match &self.kind {
            SourceKind::Snapshots(Snapshots { folder }) => vec![(&folder.value, place(folder))],
            SourceKind::Installation(Installation { data_path, db_path, .. }) => {
                let database = db_path.place().unwrap_or_else(|| place(data_path));
                vec![(&data_path.value, place(data_path)), (&db_path.value, database)]
            }
        }
    }

    /// Names the directory that nothing may be written inside of.
    pub(super) fn noun(&self) -> &'static str {
        match self.kind {
            SourceKind::Installation(_) => "HitKeep data directory",
            SourceKind::Snapshots(_) => "directory of HitKeep's own backups",
        }
    }
}

impl Installation {
    fn resolve(desk: &mut Desk<'_>, raw: raw::Source) -> Option<Self> {
        let data_path = raw.data_path.as_ref().and_then(|at| desk.path(at));
        let db_path = raw.db_path.as_ref().map(|at| desk.path(at));
        let data_path = data_path?;
        let db_path = match db_path {
            Some(chosen) => chosen?,
            None => Chosen { value: data_path.value.join("hitkeep.db"), origin: Origin::Default },
        };
        Some(Self { data_path, db_path, capture: desk.word(raw.capture, Capture::Auto) })
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

impl Snapshots {
    fn resolve(desk: &mut Desk<'_>, at: &At<String>, others: &raw::Source) -> Option<Self> {
        for (key, place) in others.installation_keys() {
            desk.problems.push(
                Diagnostic::error(code::SNAPSHOTS, format!("`{key}` and `snapshots` cannot be of one source"))
                    .at(place, "says that databases are read")
                    .at(at.span.clone(), "says that HitKeep's own backups are")
                    .help("remove one of them; a plan may have a source of each kind, and a job for each"),
            );
        }
        if at.value.contains("://") {
            let problem = Diagnostic::error(
                code::SNAPSHOTS,
                "`snapshots` is an address, where a directory is expected",
            )
            .at(at.span.clone(), "not a directory")
            .help(
                "what HitKeep backs up to a bucket lies there already: `list`, `verify` and `restore` take its address",
            );
            desk.problems.push(problem);
            return None;
        }
        Some(Self { folder: desk.path(at)? })
    }

    /// Returns the directory, absolute.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder.value
    }
}
