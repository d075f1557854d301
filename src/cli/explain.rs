//! `explain`: why a set is kept, and until when.

use std::path::PathBuf;

use clap::Args;
use jiff::{SignedDuration, Timestamp};

use super::error::CliError;
use super::prune::retention_at;
use super::shard::Portion;
use super::subject::{SetName, Spot, Subject};
use super::{desk, print};
use crate::measure::counted;
use crate::name::{Name, SnapshotId};
use crate::run::exit;
use crate::survey;
use crate::work::{self, Retention};

/// Explain why a set is kept, and until when.
#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The plan.
    plan: PathBuf,
    /// The set: `latest`, or a name such as 2026-03-08T120000Z.
    set: SetName,
    #[command(flatten)]
    portion: Portion,
    /// Only this job's sets.
    #[arg(long)]
    job: Option<Name>,
    /// Only the sets at this destination.
    #[arg(long)]
    from: Option<Name>,
}

impl Explain {
    pub(super) async fn carry_out(self) -> Result<u8, CliError> {
        let subject = Subject::read_backups(&self.plan, self.portion, self.job.as_ref(), self.from.as_ref())?;
        let (mut text, mut refusal) = (String::new(), None);
        for spot in &subject.spots {
            match self.explain(spot, retention_at(subject.plan.as_ref(), spot).as_ref(), &subject).await {
                Ok(explained) => text += &explained,
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        match refusal.filter(|_| text.is_empty()) {
            Some(error) => Err(error),
            None => print(&text).map(|()| exit::DONE),
        }
    }

    async fn explain(&self, spot: &Spot, wanted: Option<&Retention>, subject: &Subject) -> Result<String, CliError> {
        let last_run = match (&subject.plan, &spot.job) {
            (Some(plan), Some(job)) => {
                let state = desk::state(plan);
                survey::last_records(&state, plan.name(), job).await?
            }
            _ => Vec::new(),
        };
        let facts = survey::prune(spot.store.as_ref(), &spot.place.prefix, &spot.own().await, last_run).await?;
        let catalogue = crate::record::Catalogue { sets: facts.sets.clone(), ..Default::default() };
        let id = self.set.find(&catalogue, &spot.place)?;
        let pin = facts.pins.get(&id).map(|pin| match pin {
            Some(pin) => format!("  pinned on {} at {:.0}: {}\n", pin.host, pin.pinned_at, pin.reason),
            None => "  pinned, with words that cannot be read\n".to_owned(),
        });
        let heading = format!("{id} in {}\n", spot.place.at);
        let explained = match (spot.expires_after, wanted) {
            (Some(days), _) => deleted_by_bucket(id, days),
            (None, None) => "  kept: the job has no `keep`, and nothing is ever deleted\n".to_owned(),
            (None, Some(wanted)) => work::explain(wanted, &facts, id, Timestamp::now()),
        };
        Ok(heading + &pin.unwrap_or_default() + &explained)
    }
}

/// Says when a bucket deletes a set that asks no rule but its own.
fn deleted_by_bucket(id: SnapshotId, days: u32) -> String {
    let end = id.moment().saturating_add(SignedDuration::from_hours(i64::from(days) * 24)).unwrap_or(Timestamp::MAX);
    let after = counted(days as usize, "day");
    format!("  the bucket deletes it soon after {end:.0}, {after} after it was written, pinned or not\n")
}
