//! A snapshot becomes a database again: fetched, compared with what was sealed, loaded, and counted.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::place::sync_folder;
use super::verify::sealed_manifest;
use super::{Cause, Failure, Gauge, Outside, files, make_private_folder};
use crate::duck::export::Table;
use crate::duck::load::{self, Loaded, Step};
use crate::duck::{self, Session};
use crate::measure::{Bytes, Grouped, counted};
use crate::name::Name;
use crate::record::Manifest;
use crate::work::{Fetch, Load, Task};

/// Fetches the files of a snapshot, and returns its manifest where it has one.
pub(super) async fn fetch(
    task: &Task<Fetch>,
    destination: &Name,
    outside: &Outside,
) -> Result<Option<Manifest>, Failure> {
    let (gauge, action) = (Gauge::default(), &task.action);
    let fetch = async {
        make_private_folder(&action.into)?;
        let store = outside.store(destination)?;
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
    outside.perform(task, Some(action.snapshot.bytes), &gauge, fetch).await
}

/// Makes a database of fetched files, removes those, and returns the tables with the rows that arrived.
pub(super) async fn load(
    task: &Task<Load>,
    manifest: Option<&Manifest>,
    session: Session,
    outside: &Outside,
) -> Result<Vec<Table>, Failure> {
    let (gauge, action) = (Gauge::default(), &task.action);
    let (from, into, moves) = (action.from.clone(), action.into.clone(), gauge.clone());
    let load = async {
        make_folder(action.into.parent().unwrap_or(Path::new("/")))?;
        let tell = move |step: Step<'_>| match step {
            Step::At(table) => moves.set_place(table),
            // Whoever is asked to stop hears it from the engine.
            Step::Loaded(Bytes(bytes)) => _ = moves.meter.add(bytes),
        };
        let load = move |session: &Session| load::load(session, &from, &into, &tell);
        let Loaded { tables, left_out } = duck::call(session, outside.stop.wait(), load).await?;
        for view in left_out {
            outside.warn(format!("a view of {} is left out: {view}", action.database));
        }
        if let Some(manifest) = manifest {
            compare(manifest, &tables)?;
        }
        give_to_owner(&action.into)?;
        remove_folder(&action.from)?;
        let result =
            format!("{}, {} rows, {}", counted(tables.len(), "table"), Grouped(rows(&tables)), size(&action.into));
        Ok((tables, result))
    };
    outside.perform(task, Some(load::data_size(&action.from)), &gauge, load).await
}

/// Returns the sum of the tables' rows.
pub(super) fn rows(tables: &[Table]) -> u64 {
    tables.iter().map(|table| table.rows).sum()
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

fn size(path: &Path) -> Bytes {
    Bytes(fs::metadata(path).map_or(0, |about| about.len()))
}

/// Makes a folder that is not there yet, and those above it, durably.
pub(super) fn make_folder(folder: &Path) -> Result<(), Cause> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().unwrap_or(Path::new("/"));
    make_folder(above)?;
    make_private_folder(folder)?;
    give_to_owner(folder)?;
    sync_folder(above).map_err(|cause| Cause::Folder { at: above.display().to_string(), cause })
}

/// Gives a new file or folder to the owner of the folder it lies in: a restore is often run by root, and HitKeep is not.
pub(super) fn give_to_owner(path: &Path) -> Result<(), Cause> {
    let failed = |cause| Cause::Folder { at: path.display().to_string(), cause };
    let Some(folder) = path.parent() else { return Ok(()) };
    let (owner, own) = (fs::metadata(folder).map_err(failed)?, fs::metadata(path).map_err(failed)?);
    if (owner.uid(), owner.gid()) != (own.uid(), own.gid()) && rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(path, Some(owner.uid()), Some(owner.gid())).map_err(failed)?;
    }
    Ok(())
}

/// Removes a folder with everything in it; one that is not there is as good as removed.
pub(super) fn remove_folder(folder: &Path) -> Result<(), Cause> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(|cause| Cause::Folder { at: folder.display().to_string(), cause }),
    }
}
