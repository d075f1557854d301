//! `lifecycle`: what buckets delete and move by themselves, and what the plan wants them to.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::error::CliError;
use super::{Voice, desk, print};
use crate::name::{Name, Prefix, Shard};
use crate::plan::{Bucket, Destination, Lifecycle, Plan, Store, Upload};
use crate::run::exit;
use crate::store::Store as _;
use crate::store::s3::{Odd, S3};
use crate::survey;
use crate::work::{self, BucketRule, BucketRules, RuleChange, Territory};

/// The number of the JSON document's format.
const FORMAT: u32 = 1;

/// Say what the rules of each bucket would do to the sets in it, and how they differ from the plan's `lifecycle`.
#[derive(Debug, Args)]
pub(super) struct LifecycleRules {
    /// The plan.
    plan: PathBuf,
    /// Only the bucket of this destination.
    #[arg(long)]
    from: Option<Name>,
    /// Write the plan's rules into the bucket; those of others stay as they are.
    #[arg(long)]
    apply: bool,
    /// Let rules delete more than a quarter of the sets at once.
    #[arg(long, requires = "apply")]
    allow_mass_delete: bool,
    /// Write one JSON document.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Serialize)]
struct Document {
    format: u32,
    destinations: Vec<Told>,
}

/// What there is to say of a destination.
#[derive(Serialize)]
struct Told {
    destination: Name,
    at: String,
    /// What the bucket does by itself; nothing where there are no such rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<BucketRules>,
    effects: Vec<String>,
    changes: Vec<RuleChange>,
    /// What came of it, in words.
    outcome: String,
    exit_code: u8,
}

/// A bucket with the folders of jobs in it.
struct Place<'p> {
    destination: &'p Destination,
    bucket: &'p Bucket,
    territories: Vec<Territory>,
    wanted: Vec<BucketRule>,
    store: S3,
}

impl LifecycleRules {
    pub(super) async fn carry_out(self, voice: Voice) -> Result<u8, CliError> {
        let plan = desk::read_plan(&self.plan)?.plan;
        let is_meant = |it: &&Destination| self.from.as_ref().is_none_or(|from| from == it.name());
        let destinations: Vec<&Destination> = plan.destinations().iter().map(AsRef::as_ref).filter(is_meant).collect();
        if destinations.is_empty() {
            let known: Vec<&str> = plan.destinations().iter().map(|it| it.name().as_str()).collect();
            let (message, help) =
                ("the plan has no such destination".to_owned(), format!("it has {}", known.join(", ")));
            return Err(CliError::Usage { message, help });
        }
        let (mut code, mut all) = (exit::DONE, Vec::new());
        for destination in destinations {
            // One bucket that cannot be asked must not keep the next from being looked at.
            match self.told(&plan, destination).await {
                Ok(told) => {
                    code = exit::worse(code, told.exit_code);
                    all.push(told);
                }
                Err(error) => code = exit::worse(code, error.tell()),
            }
        }
        if self.json {
            let document = Document { format: FORMAT, destinations: all };
            print(&(serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"))?;
        } else {
            voice.say(&all.iter().map(Told::text).collect::<Vec<_>>().join("\n"))?;
        }
        Ok(code)
    }

    async fn told(&self, plan: &Plan, destination: &Destination) -> Result<Told, CliError> {
        let bucket = match destination.store() {
            Store::Bucket(bucket) => bucket,
            Store::Directory(root) => {
                let outcome = "a directory deletes nothing by itself".to_owned();
                return Ok(Told::nothing(destination, root.display().to_string(), outcome, exit::DONE));
            }
        };
        let wanted = bucket.lifecycle();
        let territories = territories(plan, destination, bucket);
        let place = Place {
            wanted: work::wanted_rules(wanted.as_ref(), &territories),
            store: S3::new(bucket, Upload::default()).at_hand(),
            destination,
            bucket,
            territories,
        };
        match place.store.rules().await? {
            Some(rules) => self.compared(plan, &place, rules, wanted.as_ref()).await,
            None => Ok(place.without_rules()),
        }
    }

    /// Compares the rules that are there with the plan's, and writes those when told to.
    async fn compared(
        &self,
        plan: &Plan,
        place: &Place<'_>,
        rules: BucketRules,
        wanted: Option<&Lifecycle>,
    ) -> Result<Told, CliError> {
        let changes = work::difference(&rules.rules, &place.wanted, &place.territories);
        let told = Told {
            destination: place.destination.name().clone(),
            at: place.bucket.to_string(),
            effects: work::effects(&rules, &place.territories),
            outcome: "nothing is changed: `--apply` writes this".to_owned(),
            exit_code: exit::DONE,
            rules: Some(rules),
            changes,
        };
        if !told.changes.iter().any(RuleChange::is_due) {
            let outcome = if wanted.is_some() { "the bucket is as the plan wants it" } else { NO_LIFECYCLE };
            return Ok(Told { outcome: outcome.to_owned(), ..told });
        }
        if !self.apply {
            return Ok(told);
        }
        if let Some(peril) = self.peril(plan, place, wanted).await? {
            return Ok(Told { outcome: format!("nothing is changed: {peril}"), exit_code: exit::REFUSED, ..told });
        }
        let own: BTreeSet<String> = place.territories.iter().map(Territory::rule_id).collect();
        let written = place.store.replace_rules(&own, &place.wanted).await?;
        let effects = work::effects(&written.rules, &place.territories);
        let (outcome, exit_code) = match written.odd {
            None => ("written, and read back as it was sent".to_owned(), exit::DONE),
            Some(Odd::Uploads) => (format!("written; {}", Odd::Uploads), exit::DONE),
            Some(odd) => (format!("written, but {odd}"), exit::DESTINATION),
        };
        Ok(Told { rules: Some(written.rules), effects, outcome, exit_code, ..told })
    }

    /// Looks at the sets of each job before rules are written that delete them.
    async fn peril(
        &self,
        plan: &Plan,
        place: &Place<'_>,
        wanted: Option<&Lifecycle>,
    ) -> Result<Option<work::Peril>, CliError> {
        let Some(days) = wanted.and_then(|wanted| wanted.expire_after) else { return Ok(None) };
        for job in plan.backups().iter().filter(|job| job.to().iter().any(|to| to.name() == place.destination.name())) {
            let shards = place.store.folders(job.prefix(), "").await?;
            let shards = shards.iter().filter_map(|name| Shard::of_folder(name)).map(Shard::folder);
            // The rule is about all of them, and each may have a last good set.
            for folder in std::iter::once(Prefix::default()).chain(shards) {
                let sets = survey::sealed(&place.store, &job.prefix().join(&folder)).await?;
                if let Some(peril) = work::peril(days, &sets, self.allow_mass_delete, Timestamp::now()) {
                    return Ok(Some(peril));
                }
            }
        }
        Ok(None)
    }
}

const NO_LIFECYCLE: &str = "the plan has no `lifecycle` for it, and nothing of this program's is there";

/// Returns the folders of a plan's jobs in a bucket.
fn territories(plan: &Plan, destination: &Destination, bucket: &Bucket) -> Vec<Territory> {
    let writes_there = |to: &std::sync::Arc<Destination>| to.name() == destination.name();
    let jobs = plan.jobs().filter(|job| job.to().iter().any(writes_there));
    let territory = |job: crate::plan::Job<'_>| Territory {
        job: job.name().clone(),
        is_archive: job.backup().is_none(),
        beginning: bucket.beginning(job.prefix()),
    };
    jobs.map(territory).collect()
}

impl Place<'_> {
    fn without_rules(&self) -> Told {
        let (outcome, code) = if self.wanted.is_empty() {
            ("its server has no lifecycle: nothing is deleted there but by this program", exit::DONE)
        } else {
            (
                "its server has no lifecycle, and cannot be told what the plan wants: remove `lifecycle`, and let `keep` delete",
                exit::DESTINATION,
            )
        };
        Told::nothing(self.destination, self.bucket.to_string(), outcome.to_owned(), code)
    }
}

impl Told {
    fn nothing(destination: &Destination, at: String, outcome: String, exit_code: u8) -> Self {
        let destination = destination.name().clone();
        Self { destination, at, rules: None, effects: Vec::new(), changes: Vec::new(), outcome, exit_code }
    }

    fn text(&self) -> String {
        let effects = self.effects.iter().map(|effect| format!("  {effect}\n"));
        let changes = self.changes.iter().map(|change| format!("  {change}\n"));
        let lines: String = effects.chain(changes).collect();
        format!("{}: {}\n{lines}  {}\n", self.destination, self.at, self.outcome)
    }
}
