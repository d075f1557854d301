//! The trees that jobs write, in directories and in buckets, and the proof that none meets another or a source.
//!
//! Each job owns its folder in each destination: retention deletes there, and a restore takes the newest set it
//! finds. Two jobs in one folder, or one inside the other's, would delete or restore each other's snapshots.

use std::ffi::OsStr;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::resolve::Desk;
use super::{Chosen, Destination, Local, Source, Store, Surroundings, code};
use crate::diagnose::Diagnostic;
use crate::name::{Name, Prefix};

/// What trees grow on: two that have different grounds never meet.
#[derive(PartialEq, Eq)]
enum Ground {
    /// The file system of this host.
    Host,
    /// A bucket, and what tells its server from others.
    Bucket { server: Option<String>, name: String },
}

/// One job's folder in one destination.
pub(super) struct Tree {
    ground: Ground,
    path: PathBuf,
    /// The folder as people are told of it.
    address: String,
    job: Name,
    destination: Name,
    prefix: Range<usize>,
    to: Range<usize>,
}

impl Tree {
    /// Returns the tree that `job` writes below `destination`; `place` is where its prefix is written, `to` where
    /// the destination is named.
    pub(super) fn new(
        around: &Surroundings,
        job: &Name,
        destination: &Destination,
        prefix: &Prefix,
        place: &Range<usize>,
        to: &Range<usize>,
    ) -> Self {
        let (ground, path, address) = match destination.store() {
            Store::Directory(root) => {
                let path = real(around, &root.join(prefix.as_str()));
                let address = path.display().to_string();
                (Ground::Host, path, address)
            }
            Store::Bucket(bucket) => {
                let ground = Ground::Bucket { server: bucket.server(), name: bucket.name().to_owned() };
                (ground, PathBuf::from(bucket.root().join(prefix).as_str()), bucket.locate(prefix))
            }
        };
        let (job, destination) = (job.clone(), destination.name().clone());
        Self { ground, path, address, job, destination, prefix: place.clone(), to: to.clone() }
    }

    fn label(&self) -> String {
        format!("`{}` writes `{}`", self.job, self.address)
    }

    fn meet(&self, other: &Self) -> Option<Meeting> {
        if self.ground == other.ground { meet(&self.path, &other.path) } else { None }
    }
}

/// Every tree of a plan.
#[derive(Default)]
pub(super) struct Trees(Vec<Tree>);

impl Trees {
    /// Adds a tree.
    pub(super) fn add(&mut self, tree: Tree) {
        self.0.push(tree);
    }

    /// Reports every tree that meets an earlier one, a source, or the work's own directories.
    pub(super) fn check(&self, desk: &mut Desk<'_>, sources: &[Arc<Source>], local: Option<&Local>) {
        for (index, tree) in self.0.iter().enumerate() {
            let met = self.0[..index].iter().find_map(|before| Some((before, tree.meet(before)?)));
            desk.problems.extend(met.map(|(before, meeting)| overlap(tree, before, meeting)));
        }
        for tree in self.0.iter().filter(|tree| tree.ground == Ground::Host) {
            for source in sources {
                desk.problems.extend(against_source(desk.around, tree, source));
            }
            for own in local.into_iter().flat_map(directories) {
                desk.problems.extend(against_local(desk.around, tree, &own));
            }
        }
        for source in sources {
            for own in local.into_iter().flat_map(directories) {
                desk.problems.extend(local_in_source(desk.around, source, &own));
            }
        }
    }
}

/// One of the work's own directories: its key in `[local]`, and its path.
type Own<'l> = (&'static str, &'l Chosen<PathBuf>);

fn directories(local: &Local) -> [Own<'_>; 2] {
    [("state", &local.state), ("staging", &local.staging)]
}

/// How two trees meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meeting {
    Same,
    FirstInside,
    SecondInside,
}

/// Returns how two absolute paths meet, segment by segment; case does not count, since some file systems ignore it.
fn meet(first: &Path, second: &Path) -> Option<Meeting> {
    let fold = |segment: Component<'_>| segment.as_os_str().to_string_lossy().to_lowercase();
    let (mut first, mut second) = (first.components().map(fold), second.components().map(fold));
    loop {
        match (first.next(), second.next()) {
            (None, None) => return Some(Meeting::Same),
            (Some(_), None) => return Some(Meeting::FirstInside),
            (None, Some(_)) => return Some(Meeting::SecondInside),
            (Some(one), Some(other)) if one == other => {}
            _ => return None,
        }
    }
}

/// Returns `path` without symbolic links as far as it exists, and without `..`.
pub(super) fn real(around: &Surroundings, path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for segment in (around.real_path)(path).components() {
        match segment {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            other => plain.push(AsRef::<OsStr>::as_ref(&other)),
        }
    }
    plain
}

fn overlap(tree: &Tree, before: &Tree, meeting: Meeting) -> Diagnostic {
    let (job, other) = (&tree.job, &before.job);
    let by_case = !tree.path.starts_with(&before.path) && !before.path.starts_with(&tree.path);
    let case = if by_case { " where case does not count" } else { "" };
    let message = match meeting {
        Meeting::Same if job == other => format!("`{job}` would write everything into the same folder twice{case}"),
        _ if job == other => {
            let (one, two) = (&before.destination, &tree.destination);
            format!("the folder of `{job}` in one of `{one}` and `{two}` lies in its folder in the other{case}")
        }
        Meeting::Same => format!("`{job}` and `{other}` would write into the same folder{case}"),
        Meeting::FirstInside => format!("the folder of `{job}` lies in the folder of `{other}`{case}"),
        Meeting::SecondInside => format!("the folder of `{other}` lies in the folder of `{job}`{case}"),
    };
    let problem = Diagnostic::error(code::OVERLAP, message);
    if job == other {
        return problem
            .at(tree.to.clone(), format!("here `{}`", tree.address))
            .at(before.to.clone(), format!("here `{}`", before.address))
            .help(match tree.ground {
                Ground::Host => "name directories that lie beside each other, better on two disks, or leave one out",
                Ground::Bucket { .. } => {
                    "name folders that lie beside each other, better in two buckets, or leave one out"
                }
            });
    }
    problem
        .at(tree.prefix.clone(), tree.label())
        .at(before.prefix.clone(), before.label())
        .help("give each job a folder of its own, with another `prefix` or with `{{ job }}` in it")
}

fn against_source(around: &Surroundings, tree: &Tree, source: &Source) -> Option<Diagnostic> {
    let label = || format!("the data of `{}`", source.name());
    let places = source.places();
    let mut held = places.iter().map(|(path, place)| (real(around, path), place.clone()));
    let (data, place) = held.next()?;
    if tree.path.starts_with(&data) {
        let message = format!("`{}` would write inside the {} `{}`", tree.job, source.noun(), data.display());
        return Some(
            Diagnostic::error(code::INSIDE_SOURCE, message)
                .at(tree.prefix.clone(), tree.label())
                .at(place, label())
                .help(format!(
                    "move the destination `{}` out of it: a backup belongs on another disk",
                    tree.destination
                )),
        );
    }
    let (held, place) = std::iter::once((data, place)).chain(held).find(|(path, _)| path.starts_with(&tree.path))?;
    let message = format!("`{}` lies inside the folder that `{}` keeps its backups in", held.display(), tree.job);
    Some(
        Diagnostic::error(code::HOLDS_SOURCE, message)
            .at(place, label())
            .at(tree.prefix.clone(), tree.label())
            .help("give the backups a folder that holds nothing else"),
    )
}

fn against_local(around: &Surroundings, tree: &Tree, (key, chosen): &Own<'_>) -> Option<Diagnostic> {
    let path = real(around, &chosen.value);
    path.starts_with(&tree.path).then(|| {
        let message = format!("the {key} directory `{}` lies inside the folder of `{}`", path.display(), tree.job);
        let problem = Diagnostic::error(code::HOLDS_LOCAL, message)
            .help(format!("set `{key}` in `[local]` to a directory outside, or give the job another `prefix`"));
        mark(problem, key, chosen).at(tree.prefix.clone(), tree.label())
    })
}

fn local_in_source(around: &Surroundings, source: &Source, (key, chosen): &Own<'_>) -> Option<Diagnostic> {
    let (data, place) = source.places().into_iter().next()?;
    let path = real(around, &chosen.value);
    path.starts_with(real(around, data)).then(|| {
        let message = format!("the {key} directory `{}` lies inside a {}", path.display(), source.noun());
        let problem = Diagnostic::error(code::INSIDE_SOURCE, message)
            .help(format!("set `{key}` in `[local]` to a directory outside of it"));
        mark(problem, key, chosen).at(place, format!("the data of `{}`", source.name()))
    })
}

/// Marks the key that sets one of the work's own directories, when the plan has it.
fn mark(problem: Diagnostic, key: &str, chosen: &Chosen<PathBuf>) -> Diagnostic {
    match chosen.place() {
        Some(span) => problem.at(span, format!("the {key} directory")),
        None => problem,
    }
}
