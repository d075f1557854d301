//! `list`: which sets there are, and one of them in detail.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::error::CliError;
use super::print;
use super::prune::retention_at;
use super::shard::Portion;
use super::subject::{SetName, Spot, Subject};
use crate::name::{Name, Shard, SnapshotId};
use crate::plan::Plan;
use crate::record::{self, Catalogue, Manifest, RunRecord, Set, State};
use crate::report::table;
use crate::run::exit;
use crate::store::Part;
use crate::survey::{self, Asked};
use crate::work::{self, PruneFacts};

/// The number of the JSON document's format.
const FORMAT: u32 = 1;

/// How many sets of a place are listed where not all are wanted.
const NEWEST: usize = 20;

/// List the sets of a plan's destinations, or of a directory; or show one set in detail.
///
/// Of a place with more than 20 sets, the newest 20 are listed.
#[derive(Debug, Args)]
pub(super) struct List {
    /// A plan, or where a backup lies: a directory, or `s3://bucket/folder`.
    #[arg(value_name = "PLAN|URL")]
    target: PathBuf,
    /// A set to be shown in detail: `latest`, or a name such as 2026-03-08T120000Z.
    set: Option<SetName>,
    /// List every set, however many there are.
    #[arg(long, conflicts_with = "set")]
    all: bool,
    #[command(flatten)]
    portion: Portion,
    /// Only this job's sets.
    #[arg(long)]
    job: Option<Name>,
    /// Only the sets at this destination.
    #[arg(long)]
    from: Option<Name>,
    /// Write one JSON document.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Serialize)]
struct Document<'d> {
    format: u32,
    places: Vec<PlaceDocument<'d>>,
}

#[derive(Serialize)]
struct PlaceDocument<'d> {
    job: Option<&'d Name>,
    destination: &'d Name,
    at: &'d str,
    sets: Vec<SetDocument<'d>>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    shards: BTreeSet<Shard>,
    not_looked_at: usize,
}

#[derive(Serialize)]
struct SetDocument<'d> {
    set: SnapshotId,
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'d str>,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_by: Option<&'d str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<&'d RunRecord>,
}

impl List {
    pub(super) async fn carry_out(self) -> Result<u8, CliError> {
        let subject = Subject::read(&self.target, self.portion, self.job.as_ref(), self.from.as_ref())?;
        let mut found = Vec::new();
        for spot in &subject.spots {
            let catalogue = spot.catalogue(self.asked()).await?;
            let kept = kept(subject.plan.as_ref(), spot, &catalogue).await?;
            let shards = spot.shards().await;
            let below = spot.places_below(&catalogue).await;
            found.push(Found { spot, catalogue, kept, shards, below });
        }
        match (self.set, self.json) {
            (Some(set), false) => show_one(&found, set).await?,
            (set, true) => print(&json(&found, set)?)?,
            (None, false) => print(&text(&found))?,
        }
        Ok(exit::DONE)
    }

    fn asked(&self) -> Asked {
        match self.set {
            Some(set) => Asked::At(set.at()),
            None if self.all => Asked::All,
            None => Asked::Newest(NEWEST),
        }
    }
}

/// A place and what it holds.
struct Found<'s> {
    spot: &'s Spot,
    catalogue: Catalogue,
    /// Why each set of it stays.
    kept: BTreeMap<SnapshotId, String>,
    /// The shards that have sets in folders of their own there.
    shards: BTreeSet<Shard>,
    /// The places below that have sets, where it has none.
    below: Vec<String>,
}

/// Returns why each set stays, in a few words. What is kept of the newest sets does not depend on older ones.
async fn kept(
    plan: Option<&Plan>,
    spot: &Spot,
    catalogue: &Catalogue,
) -> Result<BTreeMap<SnapshotId, String>, CliError> {
    let (store, prefix) = (spot.store.as_ref(), &spot.place.prefix);
    let mut documents = survey::documents(store, prefix).await?;
    documents.retain(|id, _| catalogue.sets.iter().any(|set| set.id == *id));
    let pins = survey::pins(store, prefix, &documents).await?;
    let Some(wanted) = retention_at(plan, spot) else {
        return Ok(pins.into_keys().map(|set| (set, "pinned".to_owned())).collect());
    };
    let (place, sets) = (spot.place.clone(), catalogue.sets.clone());
    let drilled = survey::drilled(store, prefix, &documents).await?;
    let (last_run, doubt) = (Vec::new(), catalogue.doubt);
    let facts = PruneFacts { place, sets, documents, pins, drilled, last_run, planned: None, doubt };
    let work = work::prune(&wanted, &facts, true, Timestamp::now());
    Ok(work.sets.into_iter().map(|set| (set.id, set.verdict.words())).collect())
}

fn text(found: &[Found<'_>]) -> String {
    let place = |Found { spot, catalogue, kept, shards, below }: &Found<'_>| {
        let shard = catalogue.sets.last().and_then(Set::shard);
        let shard = shard.map(|shard| format!(", shard {shard} of the installation")).unwrap_or_default();
        let heading = format!("{} in {}{shard}\n", spot.title(), spot.place.at);
        let sets = match below.as_slice() {
            [] if catalogue.sets.is_empty() => "no set yet\n".to_owned(),
            [] => table::sets(catalogue, kept, Timestamp::now()),
            below => format!("no set here; there are sets in {}\n", below.join(", ")),
        };
        let shards: Vec<String> = shards.iter().map(|shard| format!("`--shard {shard}`")).collect();
        let besides = format!("sets of shards: {}\n", shards.join(", "));
        heading + &sets + if shards.is_empty() { "" } else { &besides }
    };
    found.iter().map(place).collect::<Vec<_>>().join("\n")
}

fn json(found: &[Found<'_>], wanted: Option<SetName>) -> Result<String, CliError> {
    let mut places = Vec::new();
    for Found { spot, catalogue, kept, shards, .. } in found {
        let id = wanted.map(|set| set.find(catalogue, &spot.place)).transpose()?;
        let sets = catalogue
            .sets
            .iter()
            .filter(|set| id.is_none_or(|id| set.id == id))
            .map(|set| set_document(set, kept))
            .collect();
        places.push(PlaceDocument {
            job: spot.job.as_ref(),
            destination: &spot.destination,
            at: &spot.place.at,
            sets,
            shards: shards.clone(),
            not_looked_at: catalogue.unseen,
        });
    }
    let document = Document { format: FORMAT, places };
    Ok(serde_json::to_string_pretty(&document).unwrap_or_default() + "\n")
}

fn set_document<'d>(set: &'d Set, kept: &'d BTreeMap<SnapshotId, String>) -> SetDocument<'d> {
    let reason = match &set.state {
        State::Damaged(reason) | State::Stranger(reason) => Some(reason.as_str()),
        _ => None,
    };
    let record = set.record.as_ref().map(|(record, _)| record);
    let kept_by = kept.get(&set.id).map(String::as_str);
    SetDocument { set: set.id, state: set.state.to_string(), reason, bytes: set.bytes(), kept_by, record }
}

/// Shows the first place's set of this name.
async fn show_one(found: &[Found<'_>], wanted: SetName) -> Result<(), CliError> {
    let mut refusal = None;
    for Found { spot, catalogue, .. } in found {
        match wanted.find(catalogue, &spot.place) {
            Ok(id) => {
                let Some(set) = catalogue.find(id) else { continue };
                return print(&table::set(set, &manifests(spot, set).await));
            }
            Err(error) => refusal = refusal.or(Some(error)),
        }
    }
    refusal.map_or(Ok(()), Err)
}

/// Reads the manifests of a set: those that can be read. `verify` says what is wrong with the others.
async fn manifests(spot: &Spot, set: &Set) -> Vec<Manifest> {
    let mut manifests = Vec::new();
    for held in set.databases.iter().filter(|held| held.has_manifest) {
        let key = spot.place.prefix.key(&record::manifest_key(held.database, set.id));
        let bytes = spot.store.read(&key, Part::Whole).await;
        manifests.extend(bytes.ok().and_then(|bytes| Manifest::read(&bytes).ok()));
    }
    manifests
}
