//! Puts new databases in their places, so that a restore that is killed at any moment leaves nothing that looks whole
//! and is not: everything as it was, or everything new, or at least one *guard*, a file that no engine opens.
//!
//! First every old file gets a second name. Then guards take the places of the databases, old logs are removed, and new
//! databases take the places of the guards, the shared one last. No step takes away the only name of a file, so each can
//! be taken back, and taking back all of them in reverse leaves nothing else on its way.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::Cause;
use super::load::give_to_owner;
use crate::survey::is_guard;
use crate::work::Swap;

/// A name that gets another file, in one step.
#[derive(Clone, Debug)]
struct Change {
    name: PathBuf,
    /// Another name of the file that has the name before; nothing where none has it.
    before: Option<PathBuf>,
    /// Another name of the file that has it afterwards; nothing where the name goes.
    after: Option<PathBuf>,
    /// A name in the same folder that is free.
    spare: PathBuf,
}

impl Change {
    fn carry_out(&self) -> io::Result<()> {
        self.turn(self.before.as_deref(), self.after.as_deref())
    }

    fn take_back(&self) -> io::Result<()> {
        self.turn(self.after.as_deref(), self.before.as_deref())
    }

    fn turn(&self, before: Option<&Path>, after: Option<&Path>) -> io::Result<()> {
        match (before, after) {
            (_, None) => fs::remove_file(&self.name),
            // Fails where something has come.
            (None, Some(file)) => fs::hard_link(file, &self.name),
            (Some(_), Some(file)) => {
                fs::hard_link(file, &self.spare)?;
                fs::rename(&self.spare, &self.name).inspect_err(|_| drop(fs::remove_file(&self.spare)))
            }
        }
    }
}

/// The changes that put databases in their places, with those that are made.
#[derive(Debug)]
pub(super) struct Placing<'s> {
    swaps: Vec<&'s Swap>,
    ahead: std::vec::IntoIter<Vec<Change>>,
    made: Vec<Change>,
}

impl<'s> Placing<'s> {
    /// Plans to put databases in their places, in this order.
    pub(super) fn new(swaps: Vec<&'s Swap>) -> Self {
        Self { ahead: phases(&swaps).into_iter(), swaps, made: Vec::new() }
    }

    /// Sets aside what is there. Until the last database is in its place, an engine opens none of them, or all as they
    /// were.
    pub(super) fn prepare(&mut self) -> Result<(), Cause> {
        for swap in &self.swaps {
            if let Some((path, _)) = swap.leftovers.iter().find(|(path, _)| *path == swap.to && !is_guard(path)) {
                return Err(failed(path)(io::Error::other("another restore has replaced it meanwhile")));
            }
        }
        for swap in self.swaps.iter().filter(|swap| is_guarded(swap, &self.swaps)) {
            write_guard(swap).map_err(failed(&swap.to))?;
            give_to_owner(&swap.guard_path())?;
        }
        (0..PREPARING).try_for_each(|_| self.next())
    }

    /// Puts the next database in its place, durably: HitKeep may start on the last.
    pub(super) fn next(&mut self) -> Result<(), Cause> {
        let mut folders = BTreeSet::new();
        for change in self.ahead.next().into_iter().flatten() {
            change.carry_out().map_err(failed(&change.name))?;
            folders.extend(change.name.parent().map(Path::to_owned));
            self.made.push(change);
        }
        folders.iter().try_for_each(|folder| sync_folder(folder).map_err(failed(folder)))
    }

    /// Makes everything as it was.
    pub(super) fn put_back(&mut self) -> Result<(), Cause> {
        while let Some(change) = self.made.pop() {
            change.take_back().map_err(failed(&change.name))?;
            // It may be the disk that does not sync why all this is taken back.
            drop(change.name.parent().map(sync_folder));
        }
        Ok(())
    }
}

/// How many phases come before the first database is put in its place.
const PREPARING: usize = 3;

/// Returns what is to be changed; each phase is made durable before the next.
fn phases(swaps: &[&Swap]) -> Vec<Vec<Change>> {
    let keep = swaps.iter().flat_map(|swap| swap.kept().map(|(path, kept)| change(swap, kept, None, Some(path))));
    // HitKeep meets the guard of the shared one first.
    let guarded = swaps.iter().rev().filter(|swap| is_guarded(swap, swaps));
    let guards: Vec<(&Swap, PathBuf)> = guarded.map(|swap| (*swap, swap.guard_path())).collect();
    let guard = guards.iter().map(|(swap, guard)| change(swap, &swap.to, kept_as(swap), Some(guard)));
    let logs = swaps.iter().flat_map(|swap| logs(swap).map(|(log, kept)| change(swap, log, Some(kept), None)));
    let place = swaps.iter().map(|swap| {
        let guard = is_guarded(swap, swaps).then(|| swap.guard_path());
        vec![change(swap, &swap.to, guard.as_deref().or(kept_as(swap)), Some(&swap.from))]
    });
    [keep.collect(), guard.collect(), logs.collect()].into_iter().chain(place).collect()
}

fn change(swap: &Swap, name: &Path, before: Option<&Path>, after: Option<&Path>) -> Change {
    let own = Path::to_owned;
    Change { name: own(name), before: before.map(own), after: after.map(own), spare: swap.spare_path() }
}

/// Returns the other name of what is in a database's place.
fn kept_as(swap: &Swap) -> Option<&Path> {
    swap.kept().find(|(path, _)| *path == swap.to).map(|(_, kept)| kept.as_path())
}

/// Returns the logs of what is in a database's place, with their other names.
fn logs(swap: &Swap) -> impl Iterator<Item = &(PathBuf, PathBuf)> {
    swap.kept().filter(|(path, _)| *path != swap.to)
}

/// Tells whether a guard is put in a database's place: unless an interrupted restore has left one there, or one name is
/// all that changes.
fn is_guarded(swap: &Swap, all: &[&Swap]) -> bool {
    let is_there = swap.leftovers.iter().any(|(path, _)| *path == swap.to);
    let is_one_step = all.len() == 1 && logs(swap).next().is_none();
    !is_there && !is_one_step
}

fn write_guard(swap: &Swap) -> io::Result<()> {
    let mut guard = OpenOptions::new().write(true).create_new(true).mode(0o600).open(swap.guard_path())?;
    guard.write_all(swap.guard().as_bytes())?;
    guard.sync_all()
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> Cause {
    let at = path.display().to_string();
    |cause| Cause::Folder { at, cause }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::hitkeep::companions;
    use crate::name::DatabaseId;
    use crate::work::is_guard;

    /// What is in a database's place before a restore.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Old {
        Nothing,
        Database,
        /// With a log, or two.
        Logs(usize),
        OnlyLog,
        /// What an interrupted restore leaves, before it has removed the log, or afterwards.
        Guard(bool),
    }

    /// What an engine makes of a database's place.
    #[derive(Debug, PartialEq)]
    enum Seen {
        AsBefore,
        New,
        Refused,
        Torn,
    }

    fn old() -> impl Strategy<Value = Old> {
        let kinds = [
            Old::Nothing,
            Old::Database,
            Old::Logs(1),
            Old::Logs(2),
            Old::OnlyLog,
            Old::Guard(true),
            Old::Guard(false),
        ];
        prop::sample::select(kinds.to_vec())
    }

    type Tree = BTreeMap<PathBuf, String>;

    fn tree(folder: &Path) -> Tree {
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        files.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
    }

    /// Makes a new database and what is before it, and returns how it gets its place.
    fn prepared(folder: &Path, number: usize, old: Old) -> Swap {
        let to = folder.join(format!("{number}.db"));
        let from = folder.join(format!(".{number}.db.restore-run.tmp"));
        fs::write(&from, format!("new {number}")).unwrap();
        let files = |path: &Path| [vec![path.to_owned()], companions(path).to_vec()].concat();
        let there = match old {
            Old::Nothing => vec![],
            Old::Database | Old::Guard(false) => vec![0],
            Old::Logs(logs) => (0..=logs).collect(),
            Old::OnlyLog => vec![1],
            Old::Guard(true) => vec![0, 1],
        };
        let is_left = matches!(old, Old::Guard(_));
        let kept = if is_left { from.with_extension("left") } else { folder.join(format!("{number}.db.aside")) };
        let pairs: Vec<_> = there.iter().map(|&at| (files(&to)[at].clone(), files(&kept)[at].clone())).collect();
        for (path, _) in &pairs {
            fs::write(path, format!("old {number} {}", path.display())).unwrap();
        }
        let (aside, leftovers) = if is_left { (vec![], pairs) } else { (pairs, vec![]) };
        let swap = Swap { database: DatabaseId::Shared, from, to, aside, leftovers };
        if is_left {
            fs::write(&swap.to, swap.guard()).unwrap();
        }
        swap
    }

    fn seen(swap: &Swap, before: &Tree, now: &Tree) -> Seen {
        let logs = companions(&swap.to);
        let is_same = |path: &PathBuf| before.get(path) == now.get(path);
        match now.get(&swap.to) {
            Some(text) if is_guard(text.as_bytes()) => Seen::Refused,
            Some(text) if text.starts_with("new") && !logs.iter().any(|log| now.contains_key(log)) => Seen::New,
            _ if is_same(&swap.to) && logs.iter().all(is_same) => Seen::AsBefore,
            _ => Seen::Torn,
        }
    }

    proptest! {
        #[test]
        fn after_any_change_all_is_old_or_all_is_new_or_something_refuses(olds in prop::collection::vec(old(), 1..4)) {
            let changes = {
                let folder = tempfile::tempdir().unwrap();
                let swaps: Vec<Swap> = (0..).zip(&olds).map(|(at, old)| prepared(folder.path(), at, *old)).collect();
                phases(&swaps.iter().collect::<Vec<_>>()).into_iter().flatten().count()
            };
            for made in 0..=changes {
                let folder = tempfile::tempdir().unwrap();
                let swaps: Vec<Swap> = (0..).zip(&olds).map(|(at, old)| prepared(folder.path(), at, *old)).collect();
                let swaps: Vec<&Swap> = swaps.iter().collect();
                let before = tree(folder.path());
                let mut placing = Placing::new(swaps.clone());
                for swap in &swaps {
                    write_guard(swap).unwrap();
                }
                for change in phases(&swaps).into_iter().flatten().take(made) {
                    change.carry_out().unwrap();
                    placing.made.push(change);
                }

                let now = tree(folder.path());
                let states: Vec<Seen> = swaps.iter().map(|swap| seen(swap, &before, &now)).collect();
                let is_all = |state| states.iter().all(|one| *one == state);
                let about = format!("{made} of {changes} changes to {olds:?}: {states:?}");
                prop_assert!(!states.contains(&Seen::Torn), "{about}");
                prop_assert!(states.contains(&Seen::Refused) || is_all(Seen::AsBefore) || is_all(Seen::New), "{about}");
                prop_assert!(made < changes || is_all(Seen::New), "{about}");
                let shared = states.last().unwrap();
                prop_assert!(*shared != Seen::AsBefore || !states.contains(&Seen::New), "{about}");
                prop_assert!(*shared != Seen::New || is_all(Seen::New), "{about}");
                let is_kept = |text: &String| now.values().any(|one| one == text);
                prop_assert!(before.values().all(is_kept), "{about}: something is lost");

                placing.put_back().unwrap();
                let mut after = tree(folder.path());
                after.retain(|path, _| !path.to_string_lossy().ends_with(".guard"));
                prop_assert_eq!(after, before, "{}: put back", about);
            }
        }
    }
}
