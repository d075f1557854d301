//! A place for backups as a plan names it: a directory, today.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::raw::{self, At};
use super::resolve::Desk;
use super::words::written;
use super::{Chosen, code, trees};
use crate::diagnose::Diagnostic;
use crate::name::Name;

/// Where a destination keeps what it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
    /// A directory of this host, absolute.
    Directory(PathBuf),
}

impl Store {
    /// Returns the directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        match self {
            Self::Directory(path) => path,
        }
    }
}

/// A place that backups are written to.
#[derive(Clone, Debug)]
pub struct Destination {
    pub(super) name: Name,
    pub(super) line: usize,
    pub(super) store: Chosen<Store>,
}

impl Destination {
    /// Reads `[destination.NAME]`; returns nothing when a part of it is missing or was refused.
    pub(super) fn resolve(desk: &mut Desk<'_>, name: Name, table: At<raw::Destination>) -> Option<Self> {
        let at = table.value.url?;
        let path = directory(&at).map_err(|problem| desk.problems.push(problem)).ok()?;
        let root = desk.path(&path)?;
        if trees::real(desk.around, &root.value).parent().is_none() {
            desk.problems.push(
                Diagnostic::error(code::ROOT_DESTINATION, "backups cannot be written into the root of the file system")
                    .at(at.span, "this is `/`")
                    .help("name a directory of its own, such as `/srv/hitkeep`"),
            );
            return None;
        }
        let store = Chosen { value: Store::Directory(root.value), origin: root.origin };
        Some(Self { name, line: desk.line(&table.span), store })
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

    /// Returns where the plan names its directory, in bytes of the plan's text.
    #[must_use]
    pub fn place(&self) -> Range<usize> {
        self.store.place().unwrap_or_default()
    }

    /// Returns where it keeps what it is given.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store.value
    }
}

/// Returns the path that a `url` stands for, in the place where it is written.
fn directory(at: &At<String>) -> Result<At<String>, Diagnostic> {
    let Some(scheme) = scheme(&at.value) else { return Ok(at.clone()) };
    let span: Range<usize> = at.span.clone();
    match scheme {
        "file" => {
            let path = at.value.strip_prefix("file://").filter(|path| path.starts_with('/'));
            let path = path.filter(|path| !path.contains(['%', '?', '#']));
            let path = path.map(|path| At { value: path.to_owned(), span: span.clone() });
            path.ok_or_else(|| {
                Diagnostic::error(code::INVALID_URL, format!("{} does not name a directory", written(&at.value)))
                    .at(span, "expected `file:///` and a path, without `%`, `?` and `#`")
                    .help("write the plain path instead: a directory needs no `file://`")
            })
        }
        "s3" => Err(Diagnostic::error(code::BUCKET, "this version writes to directories only, not to buckets")
            .at(span, "a bucket")
            .help("name a directory, such as `/srv/hitkeep`; a mounted disk or share will do")),
        other => Err(Diagnostic::error(code::UNKNOWN_SCHEME, format!("`{other}:` is not a kind of destination"))
            .at(span, "expected a directory or `file:///directory`")
            .help("a directory whose name holds a colon is written with `./` or in full")),
    }
}

/// Returns what stands before the first colon, when it looks like the scheme of an address.
fn scheme(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once(':')?;
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    (scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(letter)).then_some(scheme)
}
