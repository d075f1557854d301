//! `prune`: shows what is kept and why, and deletes the rest when told to.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use jiff::Timestamp;

use super::error::CliError;
use super::shard::Portion;
use super::subject::{Spot, Subject};
use super::{Voice, desk};
use crate::event::{Event, Listener, Meter};
use crate::measure::{Bytes, Span, counted};
use crate::name::{Key, Name, RunId, SnapshotId};
use crate::plan::Plan;
use crate::record::{PruneRecord, RunRecord};
use crate::run::{self, Outside, exit};
use crate::stop::Stop;
use crate::store::{Body, Lock, Mode, Purpose, Store as _};
use crate::survey::{self, Asked, Own};
use crate::work::{self, PruneWork, Retention, Simulation};

/// Show which sets the job's `keep` keeps and why, and delete the others with `--yes`.
///
/// A job with `keep` does the same by itself after each run that was complete.
#[derive(Debug, Args)]
pub(super) struct Prune {
    /// The plan.
    plan: PathBuf,
    #[command(flatten)]
    portion: Portion,
    /// Only this job's sets.
    #[arg(long)]
    job: Option<Name>,
    /// Only the sets at this destination.
    #[arg(long)]
    from: Option<Name>,
    /// Delete what no rule keeps.
    #[arg(long, conflicts_with = "simulate")]
    yes: bool,
    /// Let more than a quarter of the sets go at once.
    #[arg(long, requires = "yes")]
    allow_mass_delete: bool,
    /// Show instead what the rules come to in this time, such as `90d` or `3y`, from now on and from nothing.
    #[arg(long, value_name = "SPAN", value_parser = parse_years)]
    simulate: Option<Span>,
    /// How far apart the runs are that are simulated.
    #[arg(long, value_name = "SPAN", default_value = "1d", requires = "simulate", value_parser = parse_years)]
    every: Span,
    /// The size of a set that is simulated, such as `50MiB`; that of the newest complete one where it is left out.
    #[arg(long, value_name = "SIZE", requires = "simulate")]
    size: Option<Bytes>,
    /// Write events as JSON lines on standard output.
    #[arg(long)]
    pub(super) json: bool,
}

/// Reads a span of time, which may be in years of 365 days.
fn parse_years(text: &str) -> Result<Span, String> {
    let years =
        text.strip_suffix('y').and_then(|years| Some(format!("{}d", years.parse::<u32>().ok()?.checked_mul(365)?)));
    match years.as_deref().unwrap_or(text).parse::<Span>() {
        Ok(span) if span.0.is_zero() => Err("it must be longer than nothing".to_owned()),
        Ok(span) => Ok(span),
        Err(error) => Err(format!("{error}; or in years, as in `3y`")),
    }
}

/// Returns what the job of a place wants to be kept there; nothing where that is everything, and where the bucket deletes
/// without asking.
pub(super) fn retention_at(plan: Option<&Plan>, spot: &Spot) -> Option<Retention> {
    let (plan, name) = (plan?, spot.job.as_ref()?);
    let job = plan.backups().iter().find(|job| job.name() == name && spot.expires_after.is_none())?;
    Some(Retention {
        job: job.name().clone(),
        destination: spot.destination.clone(),
        keep: job.keep()?,
        verify: job.verify(),
        zone: plan.timezone().clone(),
    })
}

/// Says that the bucket of a place deletes by itself, where it does: nobody else deletes there then.
pub(super) fn deleted_by_bucket(spot: &Spot) -> Option<String> {
    let (title, days) = (spot.title(), counted(spot.expires_after? as usize, "day"));
    Some(format!(
        "{title}: the bucket deletes sets {days} after they were written (`lifecycle`), and nobody else does\n"
    ))
}

impl Prune {
    pub(super) async fn carry_out(self, voice: Voice) -> Result<u8, CliError> {
        let subject = Subject::read(&self.plan, self.portion, self.job.as_ref(), self.from.as_ref())?;
        let Some(plan) = &subject.plan else {
            return Err(CliError::Usage {
                message: format!("`{}` is no plan", self.plan.display()),
                help: "rules are a plan's: name a plan with a job that has `keep`".to_owned(),
            });
        };
        let spots: Vec<(&Spot, Retention)> =
            subject.spots.iter().filter_map(|spot| Some((spot, retention_at(Some(plan), spot)?))).collect();
        let mut told: String = subject.spots.iter().filter_map(deleted_by_bucket).collect();
        if spots.is_empty() && told.is_empty() {
            told.push_str("no job has `keep`: every set is kept\n");
        }
        let said = if self.yes { voice.say(&told) } else { voice.show(&told) };
        said?;
        let desk = Desk { plan, tell: voice.listener(), stop: desk::stop_at_signals()? };
        let mut code = exit::DONE;
        for (spot, wanted) in &spots {
            desk.stop.check()?;
            let ended = match self.simulate {
                Some(length) => self.show_years(spot, wanted, length, voice).await,
                None => self.prune(&desk, spot, wanted, voice).await,
            };
            // One place that cannot be read must not keep the next from being looked at.
            code = exit::worse(code, ended.unwrap_or_else(|error| error.tell()));
        }
        Ok(code)
    }

    async fn show_years(&self, spot: &Spot, wanted: &Retention, length: Span, voice: Voice) -> Result<u8, CliError> {
        let size = match self.size {
            Some(size) => size,
            None => newest_size(spot).await?,
        };
        let (keep, zone) = (wanted.keep.clone(), wanted.zone.clone());
        let simulation = Simulation { keep, zone, from: Timestamp::now(), length, every: self.every, bytes: size };
        voice.show(&format!(
            "{}, a set of {size} every {}, for {length}\n{}",
            spot.title(),
            self.every,
            simulation.account()
        ))?;
        Ok(exit::DONE)
    }

    async fn prune(&self, desk: &Desk<'_>, spot: &Spot, wanted: &Retention, voice: Voice) -> Result<u8, CliError> {
        let state = desk::state(desk.plan);
        let last_run = survey::last_records(&state, desk.plan.name(), &wanted.job).await?;
        if !self.yes {
            let facts = survey::prune(spot.store.as_ref(), &spot.place.prefix, &spot.own().await, last_run).await?;
            voice.show(&work::prune(wanted, &facts, false, Timestamp::now()))?;
            return Ok(exit::DONE);
        }
        let holder = format!("process {} on {} since {} (prune)", std::process::id(), desk::host(), Timestamp::now());
        let lock = spot.store.lock(&spot.place.prefix, &holder).await?;
        let ended = self.delete(desk, spot, wanted, last_run, &lock, &holder).await;
        lock.release().await;
        let Deleted { work, record, code } = ended?;
        if let Some(brake) = work.brake.as_ref().filter(|_| voice.is_events) {
            desk.tell.hear(&Event::Warned { message: brake.to_string() });
        }
        voice.say(&work.to_string())?;
        voice.say(&account(&work, record.as_ref()))?;
        Ok(code)
    }

    async fn delete(
        &self,
        desk: &Desk<'_>,
        spot: &Spot,
        wanted: &Retention,
        last_run: Vec<RunRecord>,
        lock: &Lock,
        holder: &str,
    ) -> Result<Deleted, CliError> {
        let leases = lock.lease().map(|lease| (spot.destination.clone(), lease.clone())).into_iter().collect();
        let stores = BTreeMap::from([(spot.destination.clone(), Arc::clone(&spot.store))]);
        let limits = desk::limits(None, std::env::temp_dir());
        let (tell, about) = (Arc::clone(&desk.tell), desk::about(Some(desk.plan)));
        let outside = Outside { leases, ..desk::outside(stores, limits, tell, desk.stop.clone(), about) };
        let known = (&spot.own().await, last_run);
        delete(desk.plan, spot, wanted, known, self.allow_mass_delete, holder, &outside).await
    }
}

/// What every place of a deletion is done with.
struct Desk<'p> {
    plan: &'p Plan,
    tell: Arc<dyn Listener>,
    stop: Stop,
}

/// What came of a deletion.
pub(super) struct Deleted {
    /// What was to be deleted.
    pub(super) work: PruneWork,
    /// What was; nothing where a brake held it back, or where there was nothing to do.
    pub(super) record: Option<PruneRecord>,
    /// The exit code that it asks for.
    pub(super) code: u8,
}

/// Deletes what no rule keeps, while the place is locked: keeps readers out, looks, plans, does, and writes down what
/// was done.
///
/// `own` and `last_run` are what this host knows of the job there, and of its last run.
pub(super) async fn delete(
    plan: &Plan,
    spot: &Spot,
    wanted: &Retention,
    (own, last_run): (&Own, Vec<RunRecord>),
    may_be_many: bool,
    holder: &str,
    outside: &Outside,
) -> Result<Deleted, CliError> {
    let mark = spot.store.mark(&spot.place.prefix, Purpose::Deleting, holder).await?;
    let deleted = async {
        let facts = survey::prune(spot.store.as_ref(), &spot.place.prefix, own, last_run).await?;
        let work = work::prune(wanted, &facts, may_be_many, Timestamp::now());
        if work.deletions.is_empty() {
            let code = if work.brake.is_some() { exit::REFUSED } else { exit::DONE };
            return Ok(Deleted { work, record: None, code });
        }
        let (record, code) = run::prune(&work, &mark, outside).await;
        Ok(Deleted { work, record: Some(record), code })
    };
    let deleted = deleted.await;
    mark.release().await;
    if let Ok(Deleted { record: Some(record), .. }) = &deleted {
        keep_record(plan, record, outside).await;
    }
    deleted
}

/// Keeps the record of a deletion in the state directory.
async fn keep_record(plan: &Plan, record: &PruneRecord, outside: &Outside) {
    let state = desk::state(plan);
    let PruneRecord { job, destination, started_at, .. } = record;
    let (at, run) = (SnapshotId::at(*started_at), RunId::fresh(*started_at));
    let key = Key::of(format!("prunes/{at}.{job}.{destination}.{run}.json"));
    if let Err(cause) = state.put(&key, Body::Bytes(record.write()), Mode::Create, &Meter::default()).await {
        let message = format!("the record of what was deleted could not be kept: {cause}");
        outside.tell.hear(&Event::Warned { message });
    }
}

/// Says what was deleted, or why nothing was.
pub(super) fn account(work: &PruneWork, record: Option<&PruneRecord>) -> String {
    let (job, at) = (&work.job, &work.at);
    match (record, &work.brake) {
        (Some(record), _) => {
            let bytes = Bytes(record.deleted.iter().map(|set| set.bytes).sum());
            let failures = record.failures.iter().map(|failed| format!("{job}: {}: {}\n", failed.task, failed.cause));
            let deleted = counted(record.deleted.len(), "set");
            format!("{job}: {deleted} deleted ({bytes}), {} kept in {at}\n", record.kept)
                + &failures.collect::<String>()
        }
        (None, Some(brake)) => format!("{job}: nothing was deleted in {at}: {brake}\n"),
        (None, None) => String::new(),
    }
}

/// Returns the size of the newest complete set of a place.
async fn newest_size(spot: &Spot) -> Result<Bytes, CliError> {
    let catalogue = spot.catalogue(Asked::At(work::At::Latest)).await?;
    catalogue.latest().map(|set| Bytes(set.bytes())).ok_or_else(|| CliError::Usage {
        message: format!("there is no complete set in {} to take the size of", spot.place.at),
        help: "say how large a set will be, as in `--size 50MiB`".to_owned(),
    })
}
