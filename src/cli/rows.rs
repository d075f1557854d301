//! `restore --archive`: archived rows go back into databases.

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::Args;
use jiff::Timestamp;

use super::error::CliError;
use super::subject::{Spot, Subject};
use super::{Voice, desk};
use crate::duck::archive::Returned;
use crate::measure::{Grouped, counted};
use crate::name::RunId;
use crate::run::{self, exit};
use crate::survey;
use crate::work::{self, ArchiveReached, Period, RowsWanted, RowsWork, SiteName};

/// Which archived rows are brought back.
#[derive(Clone, Debug, Args)]
pub(super) struct Rows {
    /// Bring archived rows back into the databases that are there: what is missing is inserted, and nothing twice. HitKeep
    /// must be stopped.
    #[arg(long, conflicts_with_all = ["at", "database", "yes"], help_heading = "Archived rows")]
    pub(super) archive: bool,
    /// Only rows of this site, by its UUID or its domain. May be given several times.
    #[arg(long, value_name = "ID|DOMAIN", requires = "archive", help_heading = "Archived rows")]
    site: Vec<String>,
    /// Only rows from this time on: a day such as 2026-03-08, which begins in UTC, or 2026-03-08T15:00:00Z.
    #[arg(long, value_name = "TIME", requires = "archive", value_parser = parse_moment, help_heading = "Archived rows")]
    from_time: Option<Timestamp>,
    /// Only rows from before this time.
    #[arg(long, value_name = "TIME", requires = "archive", value_parser = parse_moment, help_heading = "Archived rows")]
    to_time: Option<Timestamp>,
}

fn parse_moment(text: &str) -> Result<Timestamp, String> {
    let unknown = || "say a day such as 2026-03-08, or a time such as 2026-03-08T15:00:00Z".to_owned();
    Period::moment(text).ok_or_else(unknown)
}

impl Rows {
    /// Returns what is wanted of them, in the installation at `data_path` whose shared database is `shared`.
    pub(super) fn wanted(&self, shared: std::path::PathBuf, data_path: std::path::PathBuf) -> RowsWanted {
        let sites = self.site.iter().map(|name| SiteName::of(name)).collect();
        RowsWanted { sites, period: Period { from: self.from_time, to: self.to_time }, shared, data_path }
    }
}

/// Brings rows back, or prints how that would be done.
pub(super) async fn bring_back(
    subject: &Subject,
    wanted: &RowsWanted,
    preview: bool,
    voice: Voice,
) -> Result<u8, CliError> {
    let (spot, archived) = choose_spot(subject).await?;
    let run = RunId::fresh(Timestamp::now());
    let spill = wanted.data_path.join(format!(".restore-{run}")).join("spill");
    let plan = subject.plan.as_ref();
    let limits = desk::limits(plan, spill);
    let facts = survey::rows(spot.place.clone(), archived, wanted, &limits).await?;
    let work = work::rows(wanted, &facts, run)?;
    let code = if work.is_partial { exit::PARTIAL } else { exit::DONE };
    if preview {
        voice.show(&work)?;
        return Ok(code);
    }
    let stores = BTreeMap::from([(spot.destination.clone(), Arc::clone(&spot.store))]);
    let (tell, stop) = (voice.listener(), desk::stop_at_signals()?);
    let outside = desk::outside(stores, limits, tell, stop, desk::about(plan));
    let returned = run::rows(&work, &spot.destination, &outside).await?;
    voice.say(&account(&work, wanted, returned))?;
    Ok(code)
}

/// Chooses the first place that lacks nothing of what was archived there, or else the first that answers.
async fn choose_spot(subject: &Subject) -> Result<(&Spot, ArchiveReached), CliError> {
    let (mut first, mut refusal) = (None, None);
    for spot in &subject.spots {
        match survey::archived(spot.store.as_ref(), &spot.place.prefix).await {
            Ok(archived) if archived.missed().next().is_none() => return Ok((spot, archived)),
            Ok(archived) => first = first.or(Some((spot, archived))),
            Err(cause) => refusal = refusal.or(Some(cause)),
        }
    }
    first.ok_or_else(|| CliError::Unread(refusal.unwrap_or_default()))
}

/// Says what is back.
fn account(work: &RowsWork, wanted: &RowsWanted, returned: Returned) -> String {
    let Returned { archived, inserted } = returned;
    format!(
        "{} of {} archived rows {} were missing; all are in {} of {} now\n",
        Grouped(inserted),
        Grouped(archived),
        work.period,
        counted(work.chains.len(), "database"),
        wanted.data_path.display()
    )
}
