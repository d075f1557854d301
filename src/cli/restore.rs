//! `restore`: gets everything back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use jiff::Timestamp;

use super::error::CliError;
use super::rows::{self, Rows};
use super::shard::Portion;
use super::subject::{Spot, Subject};
use super::{Voice, desk};
use crate::event::{Event, Listener};
use crate::hitkeep;
use crate::measure::{Grouped, counted};
use crate::name::{DatabaseId, Name, RunId, Shard};
use crate::record::Catalogue;
use crate::run;
use crate::survey::{self, Asked};
use crate::work::{self, At, RestoreWork, Wanted};

/// Restore a set, or some of its databases: fetched, compared, loaded, counted, and only then put in place.
///
/// With `--archive`, bring archived rows back into databases that are there.
///
/// Into an empty place by default. Where databases are already there, `--yes` sets them aside under the name
/// `hitkeep.db.pre-restore.<time>`; HitKeep must be stopped then. Whatever fails, they stay in their place; a restore
/// that was killed is finished by the same one.
#[derive(Debug, Args)]
pub(super) struct Restore {
    /// A plan, or where a backup lies: a directory, or `s3://bucket/folder`.
    #[arg(value_name = "PLAN|URL")]
    target: PathBuf,
    /// The data path to restore to: hitkeep.db and tenants/ go into it.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Where the shared database goes, when not to hitkeep.db in the data path (`HITKEEP_DB_PATH`).
    #[arg(long, value_name = "FILE")]
    db: Option<PathBuf>,
    /// Which set: `latest`, a name such as 2026-03-08T120000Z, or a time such as 2026-03-08T15:00:00Z, which means
    /// the newest complete set of before.
    #[arg(long, default_value = "latest", value_parser = parse_at)]
    at: At,
    /// Only this database: `shared`, or a tenant's UUID. May be given several times.
    #[arg(long)]
    database: Vec<DatabaseId>,
    #[command(flatten)]
    portion: Portion,
    /// The job whose sets are meant, when the plan has several.
    #[arg(long)]
    job: Option<Name>,
    /// The destination to restore from; the first one of the job that answers where it is left out.
    #[arg(long)]
    from: Option<Name>,
    /// Set aside what is there.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    rows: Rows,
    /// Print what would be done, and touch nothing.
    #[arg(long = "dry-run")]
    preview: bool,
    /// Write events as JSON lines on standard output.
    #[arg(long)]
    pub(super) json: bool,
}

/// Reads what `--at` says.
fn parse_at(text: &str) -> Result<At, String> {
    if text == "latest" {
        return Ok(At::Latest);
    }
    let moment = || text.parse::<Timestamp>().map(At::Moment).ok();
    text.parse().map(At::Snapshot).ok().or_else(moment).ok_or_else(|| {
        "say `latest`, a set's name such as 2026-03-08T120000Z, or a time such as 2026-03-08T15:00:00Z".to_owned()
    })
}

impl Restore {
    pub(super) async fn carry_out(self, voice: Voice) -> Result<u8, CliError> {
        let tell = voice.listener();
        let (shared, data_path) = self.target_paths()?;
        if self.rows.archive {
            let subject = Subject::read_archives(&self.target, self.portion, self.job.as_ref(), self.from.as_ref())?;
            for spot in &subject.spots {
                self.point_to_shards(spot, tell.as_ref()).await;
            }
            let wanted = self.rows.wanted(shared, data_path);
            return rows::bring_back(&subject, &wanted, self.preview, voice).await;
        }
        let subject = Subject::read_backups(&self.target, self.portion, self.job.as_ref(), self.from.as_ref())?;
        let (spot, catalogue) = self.choose_spot(&subject).await?;
        spot.tell_doubt(&catalogue, tell.as_ref());
        let wanted = Wanted { set: self.at, databases: self.database.clone(), shared, data_path, replace: self.yes };
        self.point_to_shards(spot, tell.as_ref()).await;
        if !self.preview {
            run::staging::sweep_restores(&wanted);
        }
        let facts = survey::restore(spot.place.clone(), catalogue, &wanted)?;
        let now = Timestamp::now();
        let work = work::restore(&wanted, &facts, RunId::fresh(now), now)?;
        if self.preview {
            voice.show(&work)?;
            return Ok(run::exit::DONE);
        }
        let stop = desk::stop_at_signals()?;
        let spill = work.staging.join("spill");
        let limits = desk::limits(subject.plan.as_ref(), spill);
        let stores = BTreeMap::from([(spot.destination.clone(), Arc::clone(&spot.store))]);
        let outside = desk::outside(stores, limits, tell, stop, desk::about(subject.plan.as_ref()));
        // HitKeep's own sets are never deleted by this program, and nothing is written to their place.
        let restore = async { Ok(run::restore(&work, &spot.destination, &outside).await?) };
        let rows = if work.is_sealed() {
            spot.read_marked("restore", outside.tell.as_ref(), restore).await?
        } else {
            restore.await?
        };
        voice.say(&account(&work, &wanted, rows))?;
        Ok(run::exit::DONE)
    }

    /// Returns where the shared database is or goes, and the data path.
    fn target_paths(&self) -> Result<(PathBuf, PathBuf), CliError> {
        let absolute = |path: &PathBuf| {
            std::path::absolute(path).map_err(|cause| CliError::File { doing: "find", path: path.clone(), cause })
        };
        let data_path = absolute(&self.to)?;
        if data_path.exists() && !data_path.is_dir() {
            return Err(CliError::Usage {
                message: format!("`{}` is no directory", self.to.display()),
                help: "`--to` takes a data path, the directory of hitkeep.db and tenants/".to_owned(),
            });
        }
        let shared =
            self.db.as_ref().map(absolute).transpose()?.unwrap_or_else(|| data_path.join(hitkeep::DATABASE_FILE));
        Ok((shared, data_path))
    }

    /// Chooses the first place that has the set; several jobs must be told apart by the person.
    async fn choose_spot<'s>(&self, subject: &'s Subject) -> Result<(&'s Spot, Catalogue), CliError> {
        let first = &subject.spots[0];
        if let Some(other) = subject.spots.iter().find(|spot| spot.job != first.job) {
            return Err(CliError::Usage {
                message: "the plan has several jobs".to_owned(),
                help: format!("say which one's sets are meant: `--job`; there is {}, {}", first.title(), other.title()),
            });
        }
        let mut refusal = None;
        for spot in &subject.spots {
            match spot.catalogue(Asked::At(self.at)).await {
                Ok(catalogue) if self.at.find(&catalogue).is_some() => return Ok((spot, catalogue)),
                Ok(_) => {}
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        if let Some(error) = refusal {
            return Err(error);
        }
        // Nobody has it: the refusal names what there is instead.
        let (catalogue, shards) = (first.catalogue(Asked::Newest(work::INSTEAD)).await?, first.shards().await);
        if catalogue.sets.is_empty() && !shards.is_empty() {
            let (at, shards) = (&first.place.at, named(&shards));
            return Err(work::Refusal::NoSet(format!("there are only sets of shards in {at}: {shards}")).into());
        }
        let below = first.places_below(&catalogue).await;
        if !below.is_empty() {
            let (at, below) = (&first.place.at, below.join(", "));
            return Err(work::Refusal::NoSet(format!("there is no set in {at}; there are sets in {below}")).into());
        }
        Ok((first, catalogue))
    }

    /// Says that shards have stored there too: that may be newer than what is restored, or more.
    async fn point_to_shards(&self, spot: &Spot, tell: &dyn Listener) {
        let shards = if self.portion.shard.is_none() { spot.shards().await } else { BTreeSet::new() };
        if !shards.is_empty() {
            let message = format!("shards have stored there too, which may be newer: {}", named(&shards));
            tell.hear(&Event::Warned { message });
        }
    }
}

/// Names shards as they are asked for.
fn named(shards: &BTreeSet<Shard>) -> String {
    shards.iter().map(|shard| format!("`--shard {shard}`")).collect::<Vec<_>>().join(", ")
}

/// Says what is back and what to do next.
fn account(work: &RestoreWork, wanted: &Wanted, rows: u64) -> String {
    let (data_path, shared) = (wanted.data_path.display(), wanted.shared.display());
    let databases = counted(work.chains.len(), "database");
    let aside = work.swaps.iter().filter_map(|swap| swap.action.aside.first());
    let rest = work.rest().map(|rest| format!("{rest};\nthen ")).unwrap_or_default();
    let aside: Vec<String> = aside.map(|(_, aside)| format!("what was there is {}\n", aside.display())).collect();
    let aside = aside.concat();
    format!(
        "set {} is restored: {databases}, {} rows in {data_path}\n{aside}{rest}\
         start HitKeep with HITKEEP_DATA_PATH={data_path} HITKEEP_DB_PATH={shared}\n",
        work.snapshot,
        Grouped(rows),
    )
}
