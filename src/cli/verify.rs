//! `verify`: proves that sets are what was sealed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use jiff::{SignedDuration, Timestamp};

use super::error::CliError;
use super::sample::Reading;
use super::shard::Portion;
use super::subject::{SetName, Spot, Subject};
use super::{Voice, desk, drill};
use crate::event::Listener;
use crate::measure::{Share, counted};
use crate::name::{Name, RunId};
use crate::plan::Plan;
use crate::record::{Catalogue, DrillRecord, State};
use crate::run::staging::Staging;
use crate::run::{self, Cause, Failure, Finding, exit};
use crate::stop::Stop;
use crate::survey::{self, Asked};
use crate::work::{self, At, Sample};

/// Verify sets: read every file back and compare it with what was sealed; or restore one in a drill.
///
/// Of an archive every file's columns and rows are read and compared, too.
///
/// A drill fetches the set, loads it into a scratch folder, compares every table with what was captured, asks what the
/// plan asserts, writes down what came of it next to the set, and throws the databases away.
#[derive(Debug, Args)]
pub(super) struct Verify {
    /// A plan, or where a backup lies: a directory, or `s3://bucket/folder`.
    #[arg(value_name = "PLAN|URL")]
    target: PathBuf,
    /// The set: `latest`, or a name such as 2026-03-08T120000Z. Where it is left out, every set; for a drill, the latest.
    set: Option<SetName>,
    /// Make a restore drill.
    #[arg(long)]
    restore: bool,
    /// Read a share of all files, such as `10%`, and another one the next time: in ten readings everything is read.
    #[arg(long, value_name = "SHARE", conflicts_with_all = ["set", "restore"], value_parser = parse_share)]
    sample: Option<Share>,
    #[command(flatten)]
    portion: Portion,
    /// Only this job's sets.
    #[arg(long)]
    job: Option<Name>,
    /// Only the sets at this destination.
    #[arg(long)]
    from: Option<Name>,
    /// Write events as JSON lines on standard output.
    #[arg(long)]
    pub(super) json: bool,
}

/// Reads a share that is more than nothing.
fn parse_share(text: &str) -> Result<Share, String> {
    match text.parse::<Share>() {
        Ok(share) if share.percent() == 0 => Err("it must be more than nothing".to_owned()),
        Ok(share) => Ok(share),
        Err(error) => Err(error.to_string()),
    }
}

impl Verify {
    pub(super) async fn carry_out(self, voice: Voice) -> Result<u8, CliError> {
        let read = if self.restore { Subject::read_backups } else { Subject::read };
        let subject = read(&self.target, self.portion, self.job.as_ref(), self.from.as_ref())?;
        let tell = voice.listener();
        let stop = desk::stop_at_signals()?;
        if self.restore {
            return self.drill_all(&subject, voice, &tell, &stop).await;
        }
        let mut code = exit::DONE;
        for spot in &subject.spots {
            stop.check()?;
            let verified =
                match spot.read_marked("verify", tell.as_ref(), self.verify(spot, &subject, &tell, &stop)).await {
                    Ok(verified) => verified,
                    Err(error) => {
                        // One place that cannot be read must not keep the next from being verified.
                        code = exit::worse(code, error.tell());
                        continue;
                    }
                };
            code = verified.findings.iter().map(Finding::exit_code).fold(code, exit::worse);
            voice.say(&verified.lines(spot))?;
            if let Some(reading) = verified.reading() {
                let noted = reading.note(spot, &desk::about(subject.plan.as_ref())).await;
                code = noted.map_or_else(|error| exit::worse(code, error.tell()), |()| code);
            }
        }
        Ok(code)
    }

    /// Drills a set of each place.
    async fn drill_all(
        &self,
        subject: &Subject,
        voice: Voice,
        tell: &Arc<dyn Listener>,
        stop: &Stop,
    ) -> Result<u8, CliError> {
        let mut code = exit::DONE;
        for spot in &subject.spots {
            stop.check()?;
            code = exit::worse(
                code,
                match self.drill(spot, subject, tell, stop).await {
                    Ok(record) => {
                        voice.say(&drill::lines(spot, &record))?;
                        record.exit_code
                    }
                    Err(error) => error.tell(),
                },
            );
        }
        Ok(code)
    }

    async fn drill(
        &self,
        spot: &Spot,
        subject: &Subject,
        tell: &Arc<dyn Listener>,
        stop: &Stop,
    ) -> Result<DrillRecord, CliError> {
        let plan = subject.plan.as_ref();
        let staging = Staging::make(&staging_root(subject), RunId::fresh(Timestamp::now()))?;
        let limits = desk::limits(plan, staging.path().join("spill"));
        let outside = desk::outside(BTreeMap::new(), limits, Arc::clone(tell), stop.clone(), desk::about(plan));
        let mut jobs = plan.into_iter().flat_map(Plan::backups);
        let job = jobs.find(|job| Some(job.name()) == spot.job.as_ref());
        let set = self.set.map_or(At::Latest, SetName::at);
        spot.read_marked("drill", tell.as_ref(), drill::drill(spot, job, set, staging.path(), &outside)).await
    }

    async fn verify(
        &self,
        spot: &Spot,
        subject: &Subject,
        tell: &Arc<dyn Listener>,
        stop: &Stop,
    ) -> Result<Verified, CliError> {
        let started_at = Timestamp::now();
        let mut catalogue = spot.catalogue(self.set.map_or(Asked::All, |set| Asked::At(set.at()))).await?;
        spot.tell_doubt(&catalogue, tell.as_ref());
        let one = self.set.map(|set| set.find(&catalogue, &spot.place)).transpose()?;
        let expiring = if one.is_none() { drop_expiring(spot, &mut catalogue, started_at) } else { 0 };
        let sample = match self.sample {
            Some(share) => {
                let last = survey::last_sample(spot.store.as_ref(), &spot.place.prefix).await?;
                Some(Sample::next(last, share))
            }
            None => None,
        };
        let work = work::verify(&spot.place, &catalogue, one, sample)?;
        let stores = BTreeMap::from([(spot.destination.clone(), Arc::clone(&spot.store))]);
        let root = staging_root(subject);
        let staging = work.rereads().then(|| Staging::make(&root, RunId::fresh(Timestamp::now()))).transpose()?;
        let scratch = staging.as_ref().map_or(root.as_path(), Staging::path);
        let limits = desk::limits(subject.plan.as_ref(), scratch.join("spill"));
        let about = desk::about(subject.plan.as_ref());
        let outside = desk::outside(stores, limits, Arc::clone(tell), stop.clone(), about);
        let findings = run::verify(&work, &spot.destination, scratch, &outside).await;
        Ok(Verified { findings, sample, started_at, expiring })
    }
}

/// Returns the directory that files are fetched into.
fn staging_root(subject: &Subject) -> PathBuf {
    subject.plan.as_ref().map_or_else(std::env::temp_dir, |plan| plan.local().staging().to_owned())
}

/// What was verified of a place.
struct Verified {
    findings: Vec<Finding>,
    sample: Option<Sample>,
    started_at: Timestamp,
    /// How many sets were left out that the bucket is about to delete.
    expiring: usize,
}

impl Verified {
    /// Returns the reading of a part, where it was one.
    fn reading(&self) -> Option<Reading<'_>> {
        let (started_at, findings) = (self.started_at, self.findings.as_slice());
        self.sample.map(|sample| Reading { sample, started_at, findings })
    }

    /// Says what was found of each set; of a part of all, what is wrong, and how much was read.
    fn lines(&self, spot: &Spot) -> String {
        let is_told = |finding: &&Finding| self.sample.is_none() || finding.exit_code() != exit::DONE;
        let lines = self.findings.iter().filter(is_told).map(|finding| line(spot, finding));
        let expiring = (self.expiring > 0).then(|| {
            format!(
                "{} in {}: left to the bucket, which deletes what is so old\n",
                counted(self.expiring, "set"),
                spot.place.at
            )
        });
        lines.chain(self.reading().map(|reading| reading.line(spot))).chain(expiring).collect()
    }
}

/// Leaves out the sets that the bucket deletes by itself about now, and returns how many: what it has begun to delete is no
/// damage.
fn drop_expiring(spot: &Spot, catalogue: &mut Catalogue, now: Timestamp) -> usize {
    let before = catalogue.sets.len();
    if let Some(days) = spot.expires_after {
        let limit = SignedDuration::from_hours(i64::from(days) * 24);
        catalogue.sets.retain(|set| now.duration_since(set.id.moment()) < limit);
    }
    before - catalogue.sets.len()
}

fn line(spot: &Spot, finding: &Finding) -> String {
    let verdict = match (&finding.state, finding.failures.first()) {
        (State::Damaged(reason), _) | (_, Some(Failure { cause: Cause::Differs(reason), .. })) => {
            format!("damaged: {reason}")
        }
        (State::Stranger(reason), None) => format!("a stranger: {reason}"),
        (_, Some(failure)) => format!("not verified: {}", failure.cause),
        (State::Foreign, None) => "readable (a backup of HitKeep's own, which has no digests)".to_owned(),
        (State::Partial, None) => "as sealed, and partial".to_owned(),
        (State::Orphan, None) => "not a set: an unfinished run left it".to_owned(),
        (State::Complete, None) => "verified".to_owned(),
    };
    format!("{} in {}: {verdict}\n", finding.set, spot.place.at)
}
