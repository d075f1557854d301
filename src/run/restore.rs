//! Carries out a restore: every database is fetched, compared and loaded under a temporary name before the first is
//! put in its place. Until then nothing that exists is touched, and when a step fails all of them are undone.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use futures_util::{StreamExt as _, stream};

use super::load::{self, remove_folder};
use super::place::Placing;
use super::staging::Staging;
use super::{Cause, Failure, Gauge, Outside};
use crate::duck::{DuckError, Session, lock};
use crate::event::Event;
use crate::measure::{Grouped, counted};
use crate::name::Name;
use crate::stop::Reason;
use crate::store::StoreError;
use crate::work::{ABREAST, RestoreChain, RestoreWork, Swap};

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
        Err(Failure { cause: cause @ Cause::Half { .. }, .. }) => (cause.to_string(), cause.exit_code()),
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
        let restored = self.load_and_place().await;
        if restored.is_err() {
            // Those that are not empty have got something from someone else.
            for folder in missing {
                drop(fs::remove_dir(folder));
            }
        }
        restored
    }

    async fn load_and_place(&self) -> Result<u64, Failure> {
        // As long as it is locked, nobody sweeps what lies in it and beside the databases.
        let _staging = self.stage().map_err(|cause| Failure { task: "make a folder to work in".to_owned(), cause })?;
        let placed = match self.load_all().await {
            Ok(rows) => self.place_all().await.map(|()| rows),
            Err(failure) => Err(failure),
        };
        self.clean_up();
        placed
    }

    fn stage(&self) -> Result<Staging, Cause> {
        let staging = &self.work.staging;
        load::make_folder(staging.parent().unwrap_or(Path::new("/")))?;
        Staging::of_restore(staging.clone())
    }

    /// Takes the lock of every database that will be replaced, and of the shared one, or says who has it open.
    fn hold_existing(&self) -> Result<Vec<lock::Held>, Failure> {
        let replaced = self.work.swaps.iter().map(|swap| &swap.action.to);
        // HitKeep has the shared one open as long as it runs, and may open any other at any time.
        let all: BTreeSet<&PathBuf> = replaced.chain([&self.work.shared]).filter(|path| path.exists()).collect();
        let hold = |path: &PathBuf| {
            let fail = |error| Failure { task: format!("hold {}", path.display()), cause: Cause::Living(error) };
            lock::hold(path).map_err(fail)
        };
        all.into_iter().map(hold).collect()
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
        opened.map_err(|error| Failure { task: "open an engine".to_owned(), cause: Cause::Unloaded { error } })
    }

    async fn load_one(&self, chain: &RestoreChain, session: Session) -> Result<u64, Failure> {
        let load = async {
            let manifest = load::fetch(&chain.fetch, self.destination, self.outside).await?;
            load::load(&chain.load, manifest.as_ref(), session, self.outside).await
        };
        let tables = load.await.map_err(|failure| Failure { cause: self.blame(failure.cause), ..failure })?;
        Ok(load::rows(&tables))
    }

    /// Tells what failed where the databases are made from what failed where the backup lies. A restore has no source.
    fn blame(&self, cause: Cause) -> Cause {
        match cause {
            Cause::Duck(error) => Cause::Unloaded { error },
            Cause::Store(StoreError::Io { doing, at, cause }) if Path::new(&at).starts_with(&self.work.staging) => {
                Cause::Unloaded { error: DuckError::File { doing, path: at.into(), cause } }
            }
            cause => cause,
        }
    }

    /// Puts every new database in its place, or none.
    async fn place_all(&self) -> Result<(), Failure> {
        let mut placing = Placing::new(self.work.swaps.iter().map(|task| &task.action).collect());
        let placed = self.place_each(&mut placing).await;
        placed.map_err(|failure| match placing.put_back() {
            Ok(()) => failure,
            Err(then) => {
                Failure { cause: Cause::Half { cause: Box::new(failure.cause), then: then.to_string() }, ..failure }
            }
        })
    }

    async fn place_each(&self, placing: &mut Placing<'_>) -> Result<(), Failure> {
        placing.prepare().map_err(|cause| Failure { task: "set aside what is there".to_owned(), cause })?;
        for task in &self.work.swaps {
            let place = async { placing.next().map(|()| ((), String::new())) };
            self.outside.perform(task, None, &Gauge::default(), place).await?;
        }
        Ok(())
    }

    /// Removes what a restore leaves on its way, whether it succeeded or not.
    fn clean_up(&self) {
        let swaps = self.work.swaps.iter().map(|task| &task.action);
        for path in swaps.flat_map(Swap::temporary_paths) {
            drop(fs::remove_file(path));
        }
        if let Err(cause) = remove_folder(&self.work.staging) {
            self.outside.warn(cause.to_string());
        }
    }
}
