//! `coverage`: proves where the rows are that a plan archives.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::error::CliError;
use super::shard::Portion;
use super::subject::plan_spots;
use super::{Voice, desk, print};
use crate::event::Listener;
use crate::name::{Name, RunId, SnapshotId};
use crate::plan::{Archive, Backup, Job, Plan};
use crate::record::{Catalogue, State};
use crate::report;
use crate::run::staging::Staging;
use crate::run::{self, Newest, StoredSet, Unread, exit};
use crate::stop::Stop;
use crate::store::Store;
use crate::survey::{self, Asked};
use crate::work::{self, At, Place};

/// The number of the JSON document's format.
const FORMAT: u32 = 1;

/// Prove where archived rows are: live, in the archive, in the newest snapshots, or nowhere any more.
///
/// Of each site and month, how many rows there are of which kind.
///
/// Databases are read, or copied where HitKeep runs; of the newest complete set of each job and destination the tables are
/// fetched that hold rows by time, and of the archive the files of months that are archived in part. Exit code 8 says that rows are nowhere.
#[derive(Debug, Args)]
pub(super) struct Coverage {
    /// The plan.
    plan: PathBuf,
    /// The jobs that archive, by name; every one where none is named.
    jobs: Vec<Name>,
    #[command(flatten)]
    portion: Portion,
    /// Write one JSON document.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Serialize)]
struct Document {
    format: u32,
    jobs: Vec<work::Coverage>,
}

impl Coverage {
    pub(super) async fn carry_out(self, voice: Voice) -> Result<u8, CliError> {
        let plan = desk::read_portion(&self.plan, self.portion)?.plan;
        let chosen = super::run::choose_jobs(&plan, &self.jobs)?;
        let jobs: Vec<&Archive> = chosen.into_iter().filter_map(Job::archive).collect();
        if jobs.is_empty() {
            return Err(CliError::Usage {
                message: "no job that is meant archives".to_owned(),
                help: "add an `[archive.…]` to the plan, or name one".to_owned(),
            });
        }
        let (mut all, mut code, stop) = (Vec::new(), exit::DONE, desk::stop_at_signals()?);
        for job in jobs {
            let (coverage, unread) = look(&plan, job, voice.listener_beside_document(self.json), &stop).await?;
            code = exit::worse(code, unread);
            code = exit::worse(code, if coverage.is_whole() { exit::DONE } else { exit::OBJECTIVE });
            all.push(coverage);
        }
        if self.json {
            let document = Document { format: FORMAT, jobs: all };
            print(&(serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"))?;
        } else {
            let texts: Vec<String> = all.iter().map(report::coverage::coverage).collect();
            voice.say(&texts.join("\n"))?;
        }
        Ok(code)
    }
}

/// Looks where the rows of a job are; and returns the exit code that what could not be read asks for.
async fn look(
    plan: &Plan,
    job: &Archive,
    tell: Arc<dyn Listener>,
    stop: &Stop,
) -> Result<(work::Coverage, u8), CliError> {
    let staging = Staging::for_a_look(plan.local().staging(), RunId::fresh(Timestamp::now()))?;
    let spots = plan_spots(plan, Job::Archive(job));
    let own: Vec<Arc<dyn Store>> = spots.iter().map(|spot| Arc::clone(&spot.store)).collect();
    let mut stores: BTreeMap<Name, Arc<dyn Store>> =
        spots.iter().map(|spot| (spot.destination.clone(), Arc::clone(&spot.store))).collect();
    let mut unread = Unread::default();
    let mut newest = Vec::new();
    for backup in plan.backups().iter().filter(|backup| backup.source().name() == job.source().name()) {
        newest.extend(newest_of(plan, backup, &mut stores, &mut unread).await);
    }
    let limits = desk::limits(Some(plan), staging.path().join("spill"));
    let outside = desk::outside(stores, limits, tell, stop.clone(), desk::about(Some(plan)));
    let facts = survey::coverage(job, &own, &BTreeMap::new(), &outside.means(staging.path())).await?;
    Ok(run::coverage(job, &facts, &newest, unread, staging.path(), &outside).await?)
}

/// Finds the newest complete set of a job at each destination, one that is at several only once; the stores that have them
/// come to the others.
async fn newest_of(
    plan: &Plan,
    job: &Backup,
    stores: &mut BTreeMap<Name, Arc<dyn Store>>,
    unread: &mut Unread,
) -> Vec<Newest> {
    let (mut newest, mut damaged): (Vec<Newest>, Vec<(SnapshotId, String)>) = (Vec::new(), Vec::new());
    for spot in plan_spots(plan, Job::Backup(job)) {
        let catalogue = match spot.catalogue(Asked::At(At::Latest)).await {
            Ok(catalogue) => catalogue,
            Err(cause) => {
                let follows = "whether they have rows that are nowhere else is uncertain";
                let problem = format!("the snapshots of {} cannot be looked at, and {follows}: {cause}", spot.title());
                unread.add(problem, exit::DESTINATION);
                continue;
            }
        };
        let latest = catalogue.latest().filter(|set| set.state == State::Complete);
        damaged.extend(newer_damaged(&catalogue, latest.map(|set| set.id), &spot.place));
        let Some((set, (record, _))) = latest.and_then(|set| Some((set.id, set.record.clone()?))) else { continue };
        stores.entry(spot.destination.clone()).or_insert(spot.store);
        let (run, copy) = (record.run, StoredSet { destination: spot.destination, place: spot.place, record });
        match newest.iter_mut().find(|other| other.copies.iter().any(|stored| stored.record.run == run)) {
            Some(other) => other.copies.push(copy),
            None => newest.push(Newest { set, copies: vec![copy] }),
        }
    }
    // What another destination has of the same set says it all.
    for (_, problem) in damaged.into_iter().filter(|(set, _)| newest.iter().all(|newest| newest.set != *set)) {
        unread.add(problem, exit::VERIFICATION);
    }
    newest
}

/// Says which sets are damaged that are newer than the one that is taken.
fn newer_damaged<'c>(
    catalogue: &'c Catalogue,
    taken: Option<SnapshotId>,
    place: &'c Place,
) -> impl Iterator<Item = (SnapshotId, String)> + 'c {
    catalogue.sets.iter().filter(move |set| taken.is_none_or(|taken| set.id > taken)).filter_map(|set| {
        let State::Damaged(why) = &set.state else { return None };
        let follows = "whether it has rows that are nowhere else is uncertain";
        Some((set.id, format!("set {} in {} is not looked at, and {follows}: {why}", set.id, place.at)))
    })
}
