//! Carries out a restore: every database is fetched, compared and loaded under a temporary name before the first is
//! put in its place. Until then nothing that exists is touched, and when a step fails all of them are undone.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use futures_util::{StreamExt as _, stream};
use rustix::fs::{CWD, RenameFlags};

use super::verify::sealed_manifest;
use super::{Cause, Failure, Gauge, Outside, files, make_private_folder};
use crate::duck::export::Table;
use crate::duck::load::{self, Loaded};
use crate::duck::{self, Session, lock};
use crate::event::Event;
use crate::measure::{Bytes, Grouped, counted};
use crate::name::Name;
use crate::record::Manifest;
use crate::stop::Reason;
use crate::store::local;
use crate::work::{ABREAST, Fetch, Load, RestoreChain, RestoreWork, Swap, Task};

/// Carries out `work` from `destination`, and returns the rows that were restored.
///
/// # Errors
/// The first failure. What existed before is then in its place.
pub async fn restore(work: &RestoreWork, destination: &Name, outside: &Outside) -> Result<u64, Failure> {
    let title = format!("restore set {}, {}, from {}", work.snapshot, counted(work.chains.len(), "database"), work.at);
    outside.tell.hear(&Event::RunStarted { title, tasks: work.task_count() });
    work.warnings.iter().for_each(|warning| outside.warn(warning.clone()));
    let restored = Walk { work, destination, outside }.walk().await;
    let (result, exit_code) = match &restored {
        Ok(rows) => (format!("{} and {} rows are back", counted(work.chains.len(), "database"), Grouped(*rows)), 0),
        Err(failure) => (format!("nothing was replaced: {}", failure.cause), failure.cause.exit_code()),
    };
    outside.tell.hear(&Event::RunFinished { result, exit_code });
    restored
}

struct Walk<'w> {
    work: &'w RestoreWork,
    destination: &'w Name,
    outside: &'w Outside,
}

impl Walk<'_> {
    async fn walk(&self) -> Result<u64, Failure> {
        // Held until everything is in place, so that no server starts on what is about to be replaced.
        let _held = self.hold_existing()?;
        let missing = self.missing_folders();
        let loaded = self.load_all().await;
        let placed = match loaded {
            Ok(rows) => self.place_all().await.map(|()| rows),
            Err(failure) => Err(failure),
        };
        self.clean_up();
        if placed.is_err() {
            // Those that are not empty have got something from someone else.
            for folder in missing {
                drop(fs::remove_dir(folder));
            }
        }
        placed
    }

    /// Takes the lock of every database that will be replaced, or says who has it open.
    fn hold_existing(&self) -> Result<Vec<lock::Held>, Failure> {
        let existing = self.work.swaps.iter().filter(|swap| swap.action.to.exists());
        let hold = |swap: &Task<Swap>| {
            let fail = |error| Failure { task: swap.action.to_string(), cause: Cause::Living(error) };
            lock::hold(&swap.action.to).map_err(fail)
        };
        existing.map(hold).collect()
    }

    /// Returns the folders that are to be made, the deepest first.
    fn missing_folders(&self) -> Vec<PathBuf> {
        let files = self.work.chains.iter().map(|chain| &chain.load.action.into).chain([&self.work.staging]);
        let above = files.flat_map(|file| file.ancestors().skip(1)).filter(|folder| !folder.exists());
        let folders: BTreeSet<PathBuf> = above.map(Path::to_owned).collect();
        folders.into_iter().rev().collect()
    }

    /// Fetches and loads every database, some of them abreast. When one fails, the others are stopped.
    async fn load_all(&self) -> Result<u64, Failure> {
        let outside = Outside { stop: self.outside.stop.part(), ..self.outside.clone() };
        let walk = Walk { outside: &outside, ..*self };
        let chains = self.work.chains.iter().zip(self.sessions()?);
        let mut loads =
            stream::iter(chains).map(|(chain, session)| walk.load_one(chain, session)).buffer_unordered(ABREAST);
        let mut loaded = Ok(0);
        while let Some(one) = loads.next().await {
            match (&mut loaded, one) {
                (Ok(all), Ok(rows)) => *all += rows,
                (Ok(_), Err(failure)) => {
                    outside.stop.request(Reason::Elsewhere);
                    loaded = Err(failure);
                }
                (Err(_), _) => {}
            }
        }
        loaded
    }

    /// Opens one engine for all loads, so that they share its memory, with a connection for each.
    fn sessions(&self) -> Result<Vec<Session>, Failure> {
        let opened = Session::open_several(&self.outside.limits, self.work.chains.len(), ABREAST);
        opened.map_err(|error| Failure { task: "open an engine".to_owned(), cause: error.into() })
    }

    async fn load_one(&self, chain: &RestoreChain, session: Session) -> Result<u64, Failure> {
        let manifest = self.fetch(&chain.fetch).await?;
        self.load(&chain.load, manifest, session).await
    }

    async fn fetch(&self, task: &Task<Fetch>) -> Result<Option<Manifest>, Failure> {
        let (gauge, action) = (Gauge::default(), &task.action);
        let fetch = async {
            make_private_folder(&action.into)?;
            let store = self.outside.store(self.destination)?;
            let manifest = sealed_manifest(store, &action.snapshot).await?;
            let prefix = &action.snapshot.prefix;
            match &manifest {
                Some(manifest) => files::get(store, prefix, &manifest.files, &action.into, &gauge).await?,
                None => drop(files::fetch(store, prefix, &action.snapshot.files, &action.into, &gauge).await?),
            }
            let checked = if manifest.is_some() { ", each as sealed" } else { "" };
            let result = format!("{}{checked}", counted(action.snapshot.files.len(), "file"));
            Ok((manifest, result))
        };
        self.outside.perform(task, Some(action.snapshot.bytes), &gauge, fetch).await
    }

    async fn load(&self, task: &Task<Load>, manifest: Option<Manifest>, session: Session) -> Result<u64, Failure> {
        let (gauge, action) = (Gauge::default(), &task.action);
        let (from, into, at) = (action.from.clone(), action.into.clone(), gauge.clone());
        let load = async {
            make_folder(action.into.parent().unwrap_or(Path::new("/")))?;
            let load = move |session: &Session| load::load(session, &from, &into, &|table| at.set_place(table));
            let Loaded { tables, left_out } = duck::call(session, self.outside.stop.wait(), load).await?;
            for view in left_out {
                self.outside.warn(format!("a view of {} is left out: {view}", action.database));
            }
            if let Some(manifest) = manifest {
                compare(&manifest, &tables)?;
            }
            give_to_owner(&action.into)?;
            remove_folder(&action.from)?;
            let rows: u64 = tables.iter().map(|table| table.rows).sum();
            let result = format!("{}, {} rows, {}", counted(tables.len(), "table"), Grouped(rows), size(&action.into));
            Ok((rows, result))
        };
        self.outside.perform(task, None, &gauge, load).await
    }

    /// Puts every new database in its place, or none.
    async fn place_all(&self) -> Result<(), Failure> {
        for (index, task) in self.work.swaps.iter().enumerate() {
            let place = async { place(&task.action).map(|()| ((), String::new())) };
            if let Err(failure) = self.outside.perform(task, None, &Gauge::default(), place).await {
                self.work.swaps[..index].iter().rev().for_each(|done| self.undo(&done.action));
                return Err(failure);
            }
        }
        for Swap { to, .. } in self.work.swaps.iter().map(|task| &task.action) {
            let synced = local::sync_folder(to.parent().unwrap_or(Path::new("/")));
            synced.map_err(|error| Failure { task: "sync what was placed".to_owned(), cause: error.into() })?;
        }
        Ok(())
    }

    fn undo(&self, swap: &Swap) {
        let undone = fs::remove_file(&swap.to).and_then(|()| put_back(&swap.aside));
        if let Err(cause) = undone {
            self.outside.warn(format!("`{}` could not be put back: {cause}", swap.to.display()));
        }
    }

    /// Removes what a restore leaves on its way, whether it succeeded or not.
    fn clean_up(&self) {
        let temporary = self.work.chains.iter().map(|chain| &chain.load.action.into);
        let files = temporary.flat_map(|path| crate::hitkeep::companions(path).into_iter().chain([path.clone()]));
        for path in files {
            drop(fs::remove_file(path));
        }
        if let Err(cause) = remove_folder(&self.work.staging) {
            self.outside.warn(cause.to_string());
        }
    }
}

/// Compares what was loaded with what the manifest says was captured.
fn compare(manifest: &Manifest, tables: &[Table]) -> Result<(), Cause> {
    for wanted in &manifest.tables {
        let found = tables.iter().find(|table| (&table.schema, &table.name) == (&wanted.schema, &wanted.name));
        if found.map(|table| table.rows) != Some(wanted.rows) {
            let found = found.map_or_else(|| "is missing".to_owned(), |table| format!("has {} rows", table.rows));
            return Err(Cause::Differs(format!(
                "table `{}` {found} after loading, and had {} when it was captured",
                wanted.title(),
                wanted.rows
            )));
        }
    }
    Ok(())
}

/// Sets aside what is there and puts the new database in its place. On an error everything is as it was.
///
/// The old database keeps its name until the new one takes it over in one step, so that a crash in between never
/// leaves HitKeep without a file and free to begin an empty one.
fn place(swap: &Swap) -> Result<(), Cause> {
    let failed = |cause| Cause::Folder { at: swap.to.display().to_string(), cause };
    let mut done = 0;
    let mut place = || {
        for (path, aside) in &swap.aside {
            if *path == swap.to {
                fs::hard_link(path, aside)?;
            } else {
                rename_new(path, aside)?;
            }
            done += 1;
        }
        if swap.aside.iter().any(|(path, _)| *path == swap.to) {
            fs::rename(&swap.from, &swap.to)
        } else {
            rename_new(&swap.from, &swap.to)
        }
    };
    if let Err(cause) = place() {
        put_back(&swap.aside[..done]).map_err(failed)?;
        return Err(failed(cause));
    }
    Ok(())
}

/// Gives what was set aside its name again: pairs of names, the old one and the one it was set aside under.
fn put_back(set_aside: &[(PathBuf, PathBuf)]) -> io::Result<()> {
    for (path, aside) in set_aside.iter().rev() {
        if path.exists() {
            fs::remove_file(aside)?;
        } else {
            rename_new(aside, path)?;
        }
    }
    Ok(())
}

fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    Ok(rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
}

fn size(path: &Path) -> Bytes {
    Bytes(fs::metadata(path).map_or(0, |about| about.len()))
}

/// Makes the folders of a tenant that is not there yet.
fn make_folder(folder: &Path) -> Result<(), Cause> {
    if folder.is_dir() {
        return Ok(());
    }
    make_folder(folder.parent().unwrap_or(Path::new("/")))?;
    make_private_folder(folder)?;
    give_to_owner(folder)
}

/// Gives a new file or folder to the owner of the folder it lies in: a restore is often run by root, and HitKeep is not.
fn give_to_owner(path: &Path) -> Result<(), Cause> {
    let failed = |cause| Cause::Folder { at: path.display().to_string(), cause };
    let Some(folder) = path.parent() else { return Ok(()) };
    let (owner, own) = (fs::metadata(folder).map_err(failed)?, fs::metadata(path).map_err(failed)?);
    if (owner.uid(), owner.gid()) != (own.uid(), own.gid()) && rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(path, Some(owner.uid()), Some(owner.gid())).map_err(failed)?;
    }
    Ok(())
}

fn remove_folder(folder: &PathBuf) -> Result<(), Cause> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(|cause| Cause::Folder { at: folder.display().to_string(), cause }),
    }
}
