//! What came of a run, for people: a line for each destination.

use std::collections::{BTreeMap, BTreeSet};

use crate::measure::{Bytes, Grouped, counted};
use crate::name::{Name, Shard};
use crate::record::{RunRecord, Status};
use crate::run::exit;
use crate::work::{self, ArchiveFacts, ArchiveWork, BackupWork};

/// Says in a line per destination what was archived, and what was deleted then.
pub(super) fn archive(work: &ArchiveWork, facts: &ArchiveFacts, records: &[RunRecord], shard: Option<Shard>) -> String {
    let job = Shard::title(&work.job, shard);
    let line = |(record, fact): (&RunRecord, &work::ArchiveDestination)| match (record.status, &record.archive) {
        (Status::Failed, _) | (_, None) => format!("{job}: nothing was sealed at {}\n", fact.place.at),
        (status, Some(archive)) => format!(
            "{job}: archive {} is {status}: {} rows in {}, {} at {}\n",
            work.snapshot,
            Grouped(record.rows()),
            counted(archive.files.len(), "file"),
            Bytes(record.bytes()),
            fact.place.at
        ),
    };
    let lines: String = records.iter().zip(&facts.destinations).map(line).collect();
    let archives = || records.iter().filter_map(|record| record.archive.as_ref());
    let left_out: BTreeSet<&str> =
        archives().flat_map(|archive| &archive.left_out).map(|left| left.table.as_str()).collect();
    let left_out = match left_out.into_iter().collect::<Vec<_>>() {
        tables if tables.is_empty() => String::new(),
        tables => format!("  left out: {}; `list` with the archive's name says why\n", tables.join(", ")),
    };
    let deleted = archives().next().filter(|archive| !archive.deleted.is_empty()).map(|archive| {
        let rows = Grouped(archive.deleted.values().sum());
        format!("{job}: {rows} rows deleted from {}\n", counted(archive.deleted.len(), "database"))
    });
    lines + &deleted.unwrap_or_default() + &left_out
}

/// Says in a line per destination what there is now.
pub(super) fn backup(work: &BackupWork, records: &[RunRecord], shard: Option<Shard>) -> String {
    let job = Shard::title(&work.job, shard);
    let places = work.series.iter().map(|series| (&series.seal.action.destination, &series.at));
    let places: BTreeMap<&Name, &String> =
        places.chain(work.there.iter().map(|there| (&there.destination, &there.at))).collect();
    let line = |record: &RunRecord| {
        let at = places.get(&record.destination).map_or("", |at| at.as_str());
        match record.status {
            Status::Failed => format!("{job}: nothing was sealed at {at}\n"),
            Status::Skipped => {
                let state = if record.exit_code == exit::DONE { "" } else { ", as a partial one" };
                format!("{job}: set {} is there already{state}, and nothing newer: {at}\n", work.snapshot)
            }
            status => format!(
                "{job}: set {} is {status}: {} of {}, {} rows, {} at {at}\n",
                work.snapshot,
                record.captured.len(),
                counted(record.expected.len(), "database"),
                Grouped(record.rows()),
                Bytes(record.bytes()),
            ),
        }
    };
    records.iter().map(line).collect()
}
