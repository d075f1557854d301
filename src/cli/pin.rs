//! `pin` and `unpin`: a person's word that a set is to stay.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;

use super::error::CliError;
use super::shard::Portion;
use super::subject::{SetName, Spot, Subject};
use super::{Voice, desk};
use crate::event::Meter;
use crate::measure::counted;
use crate::name::{Name, SnapshotId};
use crate::record::{self, Pin, State};
use crate::run::exit;
use crate::store::{Body, Mode, Part, Purpose, StoreError};
use crate::survey::Asked;

/// Keep a set whatever the rules say, until it is unpinned.
#[derive(Debug, Args)]
pub(super) struct PinSet {
    #[command(flatten)]
    which: Which,
    /// Why it is to stay: `explain` and `prune` say so.
    #[arg(long)]
    reason: String,
}

/// Leave a set to the rules again.
#[derive(Debug, Args)]
pub(super) struct Unpin {
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
struct Which {
    /// A plan, or where a backup lies: a directory, or `s3://bucket/folder`.
    #[arg(value_name = "PLAN|URL")]
    target: PathBuf,
    /// The set: `latest`, or a name such as 2026-03-08T120000Z. At each place that has it.
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

impl Which {
    /// Returns the places that have the set, and its name there.
    async fn find(&self) -> Result<Vec<(Spot, SnapshotId)>, CliError> {
        let subject = Subject::read_backups(&self.target, self.portion, self.job.as_ref(), self.from.as_ref())?;
        let (mut found, mut refusal) = (Vec::new(), None);
        for spot in subject.spots {
            let catalogue = spot.catalogue(Asked::At(self.set.at())).await?;
            match self.set.find(&catalogue, &spot.place) {
                Ok(id) if catalogue.find(id).is_some_and(|set| set.state == State::Foreign) => {
                    let message = format!("set {id} is a backup of HitKeep's own");
                    return Err(CliError::Usage {
                        message,
                        help: "none is needed: those are never deleted".to_owned(),
                    });
                }
                Ok(id) => found.push((spot, id)),
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        match refusal.filter(|_| found.is_empty()) {
            Some(error) => Err(error),
            None => Ok(found),
        }
    }
}

impl PinSet {
    pub(super) async fn carry_out(self, voice: Voice) -> Result<u8, CliError> {
        for (spot, id) in self.which.find().await? {
            let key = spot.place.prefix.key(&record::pin_key(id));
            let pin = Pin::new(id, self.reason.clone(), Timestamp::now(), desk::host());
            // Nobody deletes while this is held, so what is pinned is there.
            let holder = format!("process {} on {} (pin)", std::process::id(), desk::host());
            let mark = spot.store.mark(&spot.place.prefix, Purpose::Reading, &holder).await?;
            let put = async {
                spot.store.read(&spot.place.prefix.key(&record::record_key(id)), Part::Last(1)).await?;
                spot.store.put(&key, Body::Bytes(pin.write()), Mode::Create, &Meter::default()).await
            };
            let put = put.await;
            mark.release().await;
            match put {
                Err(StoreError::Exists { .. }) => {
                    voice.say(&format!("{id} in {} was pinned already\n", spot.place.at))?;
                }
                put => {
                    put?;
                    let but = spot.expires_after.map(|days| {
                        format!(
                            ", but the bucket deletes it all the same, {} after it was written",
                            counted(days as usize, "day")
                        )
                    });
                    voice.say(&format!("{id} in {} is pinned{}\n", spot.place.at, but.unwrap_or_default()))?;
                }
            }
        }
        Ok(exit::DONE)
    }
}

impl Unpin {
    pub(super) async fn carry_out(self, voice: Voice) -> Result<u8, CliError> {
        for (spot, id) in self.which.find().await? {
            let key = spot.place.prefix.key(&record::pin_key(id));
            spot.store.delete(&key).await?;
            voice.say(&format!("{id} in {} is not pinned\n", spot.place.at))?;
        }
        Ok(exit::DONE)
    }
}
