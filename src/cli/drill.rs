//! A restore drill of one set, as `verify --restore` and a job with `verify = "restore"` ask for it.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use super::error::CliError;
use super::subject::Spot;
use crate::measure::{Grouped, counted};
use crate::name::RunId;
use crate::plan::Backup;
use crate::record::DrillRecord;
use crate::run::{self, Outside};
use crate::survey::{self, Asked};
use crate::work::{self, At, DrillWanted};

/// Drills a set of a place in a new folder inside `staging`, and returns the record.
pub(super) async fn drill(
    spot: &Spot,
    job: Option<&Backup>,
    set: At,
    staging: &Path,
    outside: &Outside,
) -> Result<DrillRecord, CliError> {
    let drill = RunId::fresh(Timestamp::now());
    let wanted = DrillWanted { set, job, scratch: staging.join(format!("drill-{drill}")) };
    let catalogue = spot.catalogue(Asked::At(set)).await?;
    spot.tell_doubt(&catalogue, outside.tell.as_ref());
    let facts = survey::drill(spot.place.clone(), catalogue, staging)?;
    let work = work::drill(&wanted, &facts, drill)?;
    let stores = [(spot.destination.clone(), Arc::clone(&spot.store))].into();
    Ok(run::drill(&work, &spot.destination, &Outside { stores, ..outside.clone() }).await)
}

/// Says in a line what came of a drill, and in one for each thing that is wrong or odd.
pub(super) fn lines(spot: &Spot, record: &DrillRecord) -> String {
    let about = format!("{} in {}", record.snapshot, spot.place.at);
    let verdict = if record.passed { format!("{about}: {}\n", passed(record)) } else { String::new() };
    let failures = record.failures.iter().map(|failed| {
        let task = failed.task.split_whitespace().collect::<Vec<_>>().join(" ");
        format!("{about}: drill failed: {task}: {}\n", failed.cause)
    });
    let warnings = record.warnings.iter().map(|warning| format!("{about}: warning: {warning}\n"));
    std::iter::once(verdict).chain(failures).chain(warnings).collect()
}

fn passed(record: &DrillRecord) -> String {
    let sum = |measure: fn(&crate::record::DrilledDatabase) -> u64| record.databases.iter().map(measure).sum::<u64>();
    let took = record.recovery_milliseconds.unwrap_or_default();
    let asserted = match record.assertions.len() {
        0 => String::new(),
        count => format!(", {} true", counted(count, "assertion")),
    };
    format!(
        "restored in {}.{} s: {}, {} rows, content of {} of {} tables as captured{asserted}",
        took / 1000,
        took % 1000 / 100,
        counted(record.databases.len(), "database"),
        Grouped(sum(|database| database.rows)),
        sum(|database| database.compared),
        sum(|database| database.tables),
    )
}
