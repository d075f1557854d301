//! The page of `status --html`: everything that is known of each series, as one file for a browser.

use std::io::Write as _;
use std::path::Path;

use jiff::Timestamp;

use super::desk;
use super::error::CliError;
use super::prune::retention_at;
use super::status::{exit_code, judge};
use super::subject::{Spot, plan_spots};
use crate::measure::counted;
use crate::name::SnapshotId;
use crate::plan::{Backup, Job, Plan};
use crate::record::{RunRecord, Set};
use crate::report::page::{Heading, Series, page};
use crate::run::exit;
use crate::store::StoreError;
use crate::survey::{self, Asked};
use crate::work::{self, PruneFacts};

/// Looks at everything that the jobs have, writes the page, and returns the exit code that `status` has.
pub(super) async fn write(file: &Path, plan: &Plan, jobs: &[&Backup], now: Timestamp) -> Result<u8, CliError> {
    let kept = survey::kept_records(plan.local().state(), plan.name()).await;
    let mut all = Vec::new();
    for job in jobs {
        for spot in plan_spots(plan, Job::Backup(job)) {
            all.push(series(plan, job, &spot, &kept, now).await);
        }
    }
    let heading = Heading {
        plan: plan.name().to_owned(),
        host: desk::host(),
        tool: desk::tool(),
        zone: plan.timezone().clone(),
        now,
    };
    let page = page(&heading, &all).map_err(|error| CliError::Output(std::io::Error::other(error)))?;
    replace(file, &page).map_err(|cause| CliError::File { doing: "write", path: file.to_owned(), cause })?;
    Ok(all.iter().map(|series| exit_code(&series.status)).fold(exit::DONE, exit::worse))
}

/// Puts a text in the place of a file, whole and for its owner alone: whoever reads it meanwhile reads the old one.
fn replace(file: &Path, text: &str) -> std::io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut fresh = tempfile::NamedTempFile::new_in(folder)?;
    fresh.write_all(text.as_bytes())?;
    fresh.as_file().sync_all()?;
    fresh.persist(file).map(drop).map_err(|error| error.error)
}

async fn series(plan: &Plan, job: &Backup, spot: &Spot, kept: &[RunRecord], now: Timestamp) -> Series {
    let (store, prefix) = (spot.store.as_ref(), &spot.place.prefix);
    let facts = survey::series(store, prefix, Asked::All, &spot.own().await).await;
    let status = judge(plan, job, spot, facts.as_ref(), kept, now);
    let sets = facts.map(|facts| facts.catalogue.sets).unwrap_or_default();
    let tables = survey::growth(store, prefix, &sets).await;
    let why = reasons(plan, spot, &sets, now).await;
    let why = why.unwrap_or_else(|error| vec![format!("not known: {error}"); sets.len()]);
    Series { status, objective: job.objective(), sets: sets.into_iter().zip(why).collect(), tables }
}

/// Says why each set is kept, in the words of `prune` and `explain`.
async fn reasons(plan: &Plan, spot: &Spot, sets: &[Set], now: Timestamp) -> Result<Vec<String>, StoreError> {
    let (store, prefix) = (spot.store.as_ref(), &spot.place.prefix);
    let documents = survey::documents(store, prefix).await?;
    let pins = survey::pins(store, prefix, &documents).await?;
    let pinned = |id: SnapshotId| match pins.get(&id) {
        Some(Some(pin)) => format!("pinned: {}; ", pin.reason),
        Some(None) => "pinned; ".to_owned(),
        None => String::new(),
    };
    let Some(wanted) = retention_at(Some(plan), spot) else {
        let otherwise = match spot.expires_after {
            Some(days) => format!("the bucket deletes it {} after it was written", counted(days as usize, "day")),
            None => "the job has no `keep`: nothing is deleted".to_owned(),
        };
        return Ok(sets.iter().map(|set| pinned(set.id) + &otherwise).collect());
    };
    let drilled = survey::drilled(store, prefix, &documents).await?;
    let (place, sets) = (spot.place.clone(), sets.to_vec());
    let pinned: Vec<String> = sets.iter().map(|set| pinned(set.id)).collect();
    let facts = PruneFacts { place, sets, documents, pins, drilled, last_run: Vec::new(), planned: None, doubt: None };
    let judged = work::prune(&wanted, &facts, true, now).sets;
    Ok(judged.iter().zip(pinned).map(|(set, pinned)| format!("{pinned}{}", set.verdict)).collect())
}
