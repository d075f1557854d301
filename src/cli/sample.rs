//! A reading of a part of everything that a place holds, as `verify --sample` asks for it: what it found, said and written
//! down.

use jiff::Timestamp;

use super::error::CliError;
use super::subject::Spot;
use crate::event::Meter;
use crate::measure::{Bytes, Grouped, counted};
use crate::name::{RunId, SnapshotId};
use crate::record::{self, FORMAT, Failed, SampleRecord};
use crate::run::{About, Failure, Finding, Read, exit};
use crate::store::{Body, Mode};
use crate::work::Sample;

/// A reading that is over.
pub(super) struct Reading<'r> {
    pub(super) sample: Sample,
    pub(super) started_at: Timestamp,
    pub(super) findings: &'r [Finding],
}

impl Reading<'_> {
    fn read(&self) -> Read {
        let mut read = Read::default();
        self.findings.iter().for_each(|finding| read += finding.read);
        read
    }

    fn passed(&self) -> bool {
        self.findings.iter().all(|finding| finding.exit_code() != exit::VERIFICATION && finding.failures.is_empty())
    }

    /// Says in a line what was read.
    pub(super) fn line(&self, spot: &Spot) -> String {
        let Read { files, of_files, bytes, of_bytes } = self.read();
        let verdict = if self.passed() { "as sealed" } else { "read, and not all of it as sealed" };
        format!(
            "{} in {}: {} of {} files ({} of {}) of {} {verdict}\n",
            self.sample,
            spot.place.at,
            Grouped(files),
            Grouped(of_files),
            Bytes(bytes),
            Bytes(of_bytes),
            counted(self.findings.len(), "set"),
        )
    }

    /// Writes down what was read, next to the newest set, so that the next reading goes on after it.
    pub(super) async fn note(&self, spot: &Spot, about: &About) -> Result<(), CliError> {
        let Some(newest) = self.findings.iter().map(|finding| finding.set).max() else { return Ok(()) };
        let record = self.record(spot, about, newest);
        let key = spot.place.prefix.key(&record::sample_key(newest, record.run));
        spot.store.put(&key, Body::Bytes(record.write()), Mode::Create, &Meter::default()).await?;
        Ok(())
    }

    fn record(&self, spot: &Spot, about: &About, newest: SnapshotId) -> SampleRecord {
        let finished_at = Timestamp::now();
        let Read { files, of_files, bytes, of_bytes } = self.read();
        SampleRecord {
            format: FORMAT,
            run: RunId::fresh(finished_at),
            plan: about.plan.clone(),
            job: spot.job.clone(),
            destination: spot.destination.clone(),
            snapshot: newest,
            round: self.sample.round,
            parts: self.sample.parts,
            sets: self.findings.len() as u64,
            files,
            of_files,
            bytes,
            of_bytes,
            passed: self.passed(),
            started_at: self.started_at,
            finished_at,
            host: about.host.clone(),
            tool: about.tool.clone(),
            failures: self.findings.iter().flat_map(failed).collect(),
        }
    }
}

/// Returns what was wrong with a set, as a record has it.
fn failed(finding: &Finding) -> Vec<Failed> {
    let failed = |failure: &Failure| Failed {
        task: format!("{}: {}", finding.set, failure.task.split_whitespace().collect::<Vec<_>>().join(" ")),
        plan_line: None,
        cause: failure.cause.to_string(),
    };
    finding.failures.iter().map(failed).collect()
}
