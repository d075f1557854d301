//! `verify`: proves that sets are what was sealed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use jiff::Timestamp;

use super::error::CliError;
use super::subject::{SetName, Spot, Subject};
use super::{Voice, desk, drill};
use crate::event::Listener;
use crate::name::{Name, RunId};
use crate::plan::Plan;
use crate::record::{DrillRecord, State};
use crate::run::staging::Staging;
use crate::run::{self, Cause, Failure, Finding, exit};
use crate::stop::Stop;
use crate::survey::Asked;
use crate::work::{self, At};

/// Verify sets: read every file back and compare it with what was sealed; or restore one in a drill.
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
    /// Only this job's sets.
    #[arg(long)]
    job: Option<Name>,
    /// Only the sets at this destination.
    #[arg(long)]
    from: Option<Name>,
    /// Write events as JSON lines on standard output.
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(super) async fn carry_out(self, voice: Voice) -> Result<u8, CliError> {
        let read = if self.restore { Subject::read_backups } else { Subject::read };
        let subject = read(&self.target, self.job.as_ref(), self.from.as_ref())?;
        let tell = voice.listener_or_json(self.json);
        let stop = desk::stop_at_signals()?;
        if self.restore {
            return self.drill_all(&subject, voice, &tell, &stop).await;
        }
        let mut code = exit::DONE;
        for spot in &subject.spots {
            stop.check()?;
            let findings = match self.verify_marked(spot, &subject, &tell, &stop).await {
                Ok(findings) => findings,
                Err(error) => {
                    // One place that cannot be read must not keep the next from being verified.
                    code = exit::worse(code, error.tell());
                    continue;
                }
            };
            code = findings.iter().map(Finding::exit_code).fold(code, exit::worse);
            if !self.json {
                voice.say(&findings.iter().map(|finding| line(spot, finding)).collect::<String>())?;
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
                        if !self.json {
                            voice.say(&drill::lines(spot, &record))?;
                        }
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
        let root = plan.map_or_else(std::env::temp_dir, |plan| plan.local().staging().to_owned());
        let staging = Staging::make(&root, RunId::fresh(Timestamp::now()))?;
        let spill = staging.path().join("spill");
        let limits = plan.map_or_else(|| desk::default_limits(spill.clone()), |plan| desk::limits(plan, spill.clone()));
        let outside = desk::outside(BTreeMap::new(), limits, Arc::clone(tell), stop.clone(), desk::about(plan));
        let mut jobs = plan.into_iter().flat_map(Plan::backups);
        let job = jobs.find(|job| Some(job.name()) == spot.job.as_ref());
        let mark = spot.mark_reading("drill", tell.as_ref()).await?;
        let drilled = drill::drill(spot, job, self.set.map_or(At::Latest, SetName::at), staging.path(), &outside).await;
        if let Some(mark) = mark {
            mark.release().await;
        }
        drilled
    }

    /// Verifies what lies at a place while nobody deletes there.
    async fn verify_marked(
        &self,
        spot: &Spot,
        subject: &Subject,
        tell: &Arc<dyn Listener>,
        stop: &Stop,
    ) -> Result<Vec<Finding>, CliError> {
        let mark = spot.mark_reading("verify", tell.as_ref()).await?;
        let verified = self.verify(spot, subject, tell, stop).await;
        if let Some(mark) = mark {
            mark.release().await;
        }
        verified
    }

    async fn verify(
        &self,
        spot: &Spot,
        subject: &Subject,
        tell: &Arc<dyn Listener>,
        stop: &Stop,
    ) -> Result<Vec<Finding>, CliError> {
        let catalogue = spot.catalogue(self.set.map_or(Asked::All, |set| Asked::At(set.at()))).await?;
        let one = self.set.map(|set| set.find(&catalogue, &spot.place)).transpose()?;
        let work = work::verify(&spot.place, &catalogue, one)?;
        let stores = BTreeMap::from([(spot.destination.clone(), Arc::clone(&spot.store))]);
        let limits = desk::default_limits(std::env::temp_dir());
        let about = desk::about(subject.plan.as_ref());
        let outside = desk::outside(stores, limits, Arc::clone(tell), stop.clone(), about);
        Ok(run::verify(&work, &spot.destination, &outside).await)
    }
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
