//! A place for backups as a plan names it: a directory, or a bucket.

use std::ops::Range;
use std::path::PathBuf;

use super::raw::{self, At};
use super::resolve::Desk;
use super::words::{quoted, written};
use super::{Bucket, Chosen, Secret, Surroundings, code, environment, secret, trees};
use crate::diagnose::{Diagnostic, Problems, Rejected, Severity};
use crate::name::Name;

/// Where a destination keeps what it is given.
#[derive(Clone, Debug)]
pub enum Store {
    /// A directory of this host, absolute.
    Directory(PathBuf),
    /// A bucket.
    Bucket(Box<Bucket>),
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
        let At { value: mut raw, span } = table;
        let url = raw.url.take()?;
        let store = match scheme(&url.value) {
            Some(scheme) if scheme.eq_ignore_ascii_case("s3") => {
                Store::Bucket(Box::new(Bucket::resolve(desk, &url, raw)?))
            }
            Some("file") | None => {
                desk.problems.extend(bucket_only(&raw));
                Store::Directory(directory(desk, &url)?)
            }
            Some(other) => {
                desk.problems.push(unknown_scheme(other, &url));
                return None;
            }
        };
        Some(Self { name, line: desk.line(&span), store: desk.chosen(store, &url.span) })
    }

    /// Reads a place that is given without a plan: `s3://bucket/folder` with what the environment says of buckets, or a
    /// directory. Its name is `here`.
    ///
    /// # Errors
    /// When anything is wrong with it, with everything that is, shown in `text`.
    pub fn of_address(text: &str, around: &Surroundings) -> Result<Self, Rejected> {
        let span = 0..text.len();
        let url = At { value: text.to_owned(), span: span.clone() };
        let table = At { value: raw::Destination { url: Some(url), ..raw::Destination::default() }, span };
        let mut desk = Desk { text, plan: "", around, is_whole: true, problems: Vec::new() };
        let destination = Self::resolve(&mut desk, Name::of("here"), table);
        let reworded = |problem: Diagnostic| problem.reworded(environment::instead_of_keys);
        desk.problems = desk.problems.into_iter().map(reworded).collect();
        let refused = desk.problems.iter().any(|problem| problem.severity() == Severity::Error);
        let rejected = || Rejected::new(Problems::new("the command line", &secret::blanked(text), desk.problems));
        destination.filter(|_| !refused).ok_or_else(rejected)
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

    /// Returns where the plan names its directory or its bucket, in bytes of the plan's text.
    #[must_use]
    pub fn place(&self) -> Range<usize> {
        self.store.place().unwrap_or_default()
    }

    /// Returns after how many days it deletes sets by itself; nothing where deleting is this program's.
    #[must_use]
    pub fn expires_after(&self) -> Option<u32> {
        match self.store() {
            Store::Bucket(bucket) => bucket.lifecycle()?.expire_after,
            Store::Directory(_) => None,
        }
    }

    /// Returns where the secrets that it takes are found.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &Secret> {
        let keys = match self.store() {
            Store::Bucket(bucket) => bucket.credentials(),
            Store::Directory(_) => None,
        };
        keys.into_iter().flat_map(|keys| {
            [&keys.access_key_id, &keys.secret_access_key].into_iter().chain(keys.session_token.as_ref())
        })
    }

    /// Returns where it keeps what it is given.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store.value
    }

    /// Tells whether that is a bucket.
    #[must_use]
    pub fn is_bucket(&self) -> bool {
        matches!(self.store(), Store::Bucket(_))
    }
}

/// Returns the directory that a `url` stands for.
fn directory(desk: &mut Desk<'_>, url: &At<String>) -> Option<PathBuf> {
    let path = plain_path(url).map_err(|problem| desk.problems.push(problem)).ok()?;
    let root = desk.path(&path)?.value;
    if trees::real(desk.around, &root).parent().is_some() {
        return Some(root);
    }
    desk.problems.push(
        Diagnostic::error(code::ROOT_DESTINATION, "backups cannot be written into the root of the file system")
            .at(url.span.clone(), "this is `/`")
            .help("name a directory of its own, such as `/srv/hitkeep`"),
    );
    None
}

/// Returns the path that a `url` stands for, in the place where it is written.
fn plain_path(url: &At<String>) -> Result<At<String>, Diagnostic> {
    if scheme(&url.value).is_none() {
        return Ok(url.clone());
    }
    let path = url.value.strip_prefix("file://").filter(|path| path.starts_with('/'));
    let path = path.filter(|path| !path.contains(['%', '?', '#']));
    path.map(|path| At { value: path.to_owned(), span: url.span.clone() }).ok_or_else(|| {
        Diagnostic::error(code::INVALID_URL, format!("{} does not name a directory", written(&url.value)))
            .at(url.span.clone(), "expected `file:///` and a path, without `%`, `?` and `#`")
            .help("write the plain path instead: a directory needs no `file://`")
    })
}

fn unknown_scheme(scheme: &str, url: &At<String>) -> Diagnostic {
    let help = match scheme.to_ascii_lowercase().as_str() {
        "http" | "https" => "a bucket is written `s3://bucket/folder`, and its server is named by `endpoint`",
        _ => "a directory whose name holds a colon is written with `./` or in full",
    };
    Diagnostic::error(code::UNKNOWN_SCHEME, format!("`{scheme}:` is not a kind of destination"))
        .at(url.span.clone(), "expected a directory or `s3://bucket/folder`")
        .help(help)
}

/// Reports the keys of a bucket that stand at a directory.
fn bucket_only(raw: &raw::Destination) -> Option<Diagnostic> {
    let keys: Vec<_> = raw.bucket_keys().collect();
    let names = quoted(keys.iter().map(|(key, _)| *key));
    let message = format!("{names} cannot be said of a directory");
    let problem = keys.iter().fold(Diagnostic::error(code::BUCKET_ONLY, message), |problem, (_, span)| {
        problem.at(span.clone(), "said of buckets only")
    });
    (!keys.is_empty()).then(|| problem.help("remove it, or name a bucket: `url = \"s3://bucket/folder\"`"))
}

/// Returns what stands before the first colon, when it looks like the scheme of an address.
fn scheme(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once(':')?;
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    (scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(letter)).then_some(scheme)
}
