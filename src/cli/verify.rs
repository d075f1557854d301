//! `verify`: proves that sets are what was sealed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::error::CliError;
use super::subject::{SetName, Spot, Subject};
use super::{Voice, desk};
use crate::event::Listener;
use crate::name::Name;
use crate::record::State;
use crate::run::{self, Cause, Failure, Finding, exit};
use crate::stop::Stop;
use crate::survey::Asked;
use crate::work;

/// Verify sets: read every file back and compare it with what was sealed.
#[derive(Debug, Args)]
pub(super) struct Verify {
    /// A plan, or where a backup lies: a directory, or `s3://bucket/folder`.
    #[arg(value_name = "PLAN|URL")]
    target: PathBuf,
    /// The set: `latest`, or a name such as 2026-03-08T120000Z; every set where it is left out.
    set: Option<SetName>,
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
        let subject = Subject::read(&self.target, self.job.as_ref(), self.from.as_ref())?;
        let tell = voice.listener_or_json(self.json);
        let stop = desk::stop_at_signals()?;
        let mut code = exit::DONE;
        for spot in &subject.spots {
            stop.check()?;
            let findings = match self.verify(spot, &subject, &tell, &stop).await {
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
        (_, Some(failure)) => format!("not verified: {}", failure.cause),
        (State::Foreign, None) => "readable (a backup of HitKeep's own, which has no digests)".to_owned(),
        (State::Partial, None) => "as sealed, and partial".to_owned(),
        (State::Orphan, None) => "not a set: an unfinished run left it".to_owned(),
        (State::Complete, None) => "verified".to_owned(),
    };
    format!("{} in {}: {verdict}\n", finding.set, spot.place.at)
}
