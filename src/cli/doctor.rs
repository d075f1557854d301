//! `doctor`: asks the real world whether a plan can be carried out.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::error::{CliError, remedy};
use super::run::choose_jobs;
use super::shard::Portion;
use super::{Voice, desk, print};
use crate::diagnose::{Finding, Verdict};
use crate::event::Silence;
use crate::name::{Name, RunId};
use crate::plan::{Job, Plan};
use crate::run::staging::Staging;
use crate::run::{self, Examined, exit};
use crate::stop::Stop;
use crate::store::Store;

/// The number of the JSON document's format.
const FORMAT: u32 = 1;

/// Try everything that a plan needs, for real: databases, room, and each destination with a large object that is
/// stored, read back and removed. Nothing is left behind.
#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// The plan.
    plan: PathBuf,
    /// The jobs, by name; every job where none is named.
    jobs: Vec<Name>,
    #[command(flatten)]
    portion: Portion,
    /// Write one JSON document.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Serialize)]
struct Document<'d> {
    format: u32,
    jobs: Vec<JobDocument<'d>>,
}

#[derive(Serialize)]
struct JobDocument<'d> {
    job: &'d Name,
    parts: Vec<Examined>,
}

impl Doctor {
    pub(super) async fn carry_out(self, voice: Voice) -> Result<u8, CliError> {
        let reading = desk::read_portion(&self.plan, self.portion)?;
        let jobs = choose_jobs(&reading.plan, &self.jobs)?;
        let stop = desk::stop_at_signals()?;
        let mut examined = Vec::new();
        for job in jobs {
            stop.check()?;
            let parts = examine(&reading.plan, job, &stop).await?;
            if !self.json {
                voice.say(&text(job, &parts))?;
            }
            examined.push(JobDocument { job: job.name(), parts });
        }
        stop.check()?;
        let code = examined.iter().flat_map(|job| &job.parts).map(Examined::exit_code).fold(exit::DONE, exit::worse);
        if self.json {
            let document = Document { format: FORMAT, jobs: examined };
            print(&(serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"))?;
        }
        Ok(code)
    }
}

async fn examine(plan: &Plan, job: Job<'_>, stop: &Stop) -> Result<Vec<Examined>, CliError> {
    let run = RunId::fresh(Timestamp::now());
    let staging = Staging::for_a_look(plan.local().staging(), run)?;
    let stores: Vec<Arc<dyn Store>> =
        job.to().iter().map(|destination| desk::store_at_hand(destination, job.upload())).collect();
    let limits = desk::limits(Some(plan), staging.path().join("spill"));
    let outside = desk::outside(BTreeMap::new(), limits, Arc::new(Silence), stop.clone(), desk::about(Some(plan)));
    Ok(run::doctor(job, &stores, staging.path(), run, &outside).await)
}

/// Writes one line for each finding, and what to do about it below.
fn text(job: Job<'_>, parts: &[Examined]) -> String {
    let line = |finding: &Finding| {
        let Finding { check, verdict, seen, help } = finding;
        let help = help.as_deref().or_else(|| remedy(seen).filter(|_| *verdict == Verdict::Failed));
        let help = help.map(|help| format!("            help: {help}\n"));
        format!("  {verdict:<8} {check}: {seen}\n{}", help.unwrap_or_default())
    };
    let part = |examined: &Examined| {
        let lines: String = examined.findings.iter().map(line).collect();
        format!("{} → {}\n{lines}", job.name(), examined.part)
    };
    parts.iter().map(part).collect()
}
