//! Tables for people: what `list` prints.

use std::collections::BTreeMap;
use std::ops::Range;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use crate::measure::{Bytes, Grouped, counted};
use crate::name::{Name, SnapshotId};
use crate::plan::{Slot, Start};
use crate::record::{
    ArchiveRecord, ArchivedFile, Capture, Catalogue, Held, Manifest, RunRecord, Set, SiteRecord, State,
};

/// Draws columns of text under their headings, without lines; those of `numbers` are numbers.
#[must_use]
pub fn columns(headings: &[&str], rows: Vec<Vec<String>>, numbers: Range<usize>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headings.iter().copied());
    table.add_rows(rows);
    for column in table.column_iter_mut().skip(numbers.start).take(numbers.len()) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// Lists the sets of a catalogue, the newest last, and says how many older ones there are; `kept` says in a few words why
/// a set stays, where anything is known of that.
#[must_use]
pub fn sets(catalogue: &Catalogue, kept: &BTreeMap<SnapshotId, String>, now: Timestamp) -> String {
    let row = |set: &Set| {
        let expected = set.record.as_ref().map(|(record, _)| record.expected.len());
        let held = match &set.record {
            Some((record, _)) if record.archive.is_some() => record.captured.len(),
            _ => set.databases.len(),
        };
        let databases = match expected {
            Some(expected) if expected != held => format!("{held} of {expected}"),
            _ => held.to_string(),
        };
        let rows = set.record.as_ref().map_or_else(|| "?".to_owned(), |(record, _)| Grouped(record.rows()).to_string());
        let why = (!kept.is_empty()).then(|| kept.get(&set.id).cloned().unwrap_or_default());
        let cells = [
            set.id.to_string(),
            set.state.to_string(),
            age(now, set.id.moment()),
            databases,
            rows,
            Bytes(set.bytes()).to_string(),
        ];
        cells.into_iter().chain(why).collect()
    };
    let mut headings = vec!["SET", "STATE", "AGE", "DATABASES", "ROWS", "SIZE"];
    headings.extend((!kept.is_empty()).then_some("KEPT BY"));
    let older = match catalogue.unseen {
        0 => String::new(),
        unseen => format!("… and {}: `--all` shows them\n", counted(unseen, "older set")),
    };
    columns(&headings, catalogue.sets.iter().map(row).collect(), 3..6) + &older
}

/// Lists coming runs in local time, and says where they are put off, and where the clock skips or repeats the time that was
/// asked for.
#[must_use]
pub fn runs(runs: &[(Start, &Name)], zone: &TimeZone) -> String {
    let row = |(start, job): &(Start, &Name)| {
        let (local, slot) = (start.at.to_zoned_datetime(zone.clone()), zone.to_datetime(start.slot.at));
        let form = if local.second() == 0 { "%a %F %H:%M %:z" } else { "%a %F %H:%M:%S %:z" };
        let put_off = (start.at > start.slot.at).then(|| format!("put off from {}", slot.strftime("%H:%M")));
        let clock = Some(of_the_clock(start.slot, zone)).filter(|remark| !remark.is_empty());
        let remarks: Vec<String> = clock.into_iter().chain(put_off).collect();
        vec![local.strftime(form).to_string(), job.to_string(), remarks.join(", ")]
    };
    columns(&["TIME", "JOB", ""], runs.iter().map(row).collect(), 3..3)
}

/// Says what the clock does at a time that was asked for: nothing, mostly.
fn of_the_clock(slot: Slot, zone: &TimeZone) -> String {
    match zone.to_ambiguous_timestamp(slot.wall).offset() {
        AmbiguousOffset::Unambiguous { .. } => String::new(),
        AmbiguousOffset::Gap { .. } => format!("the clock skips {}", slot.wall.strftime("%H:%M")),
        AmbiguousOffset::Fold { before, .. } if before == zone.to_offset(slot.at) => {
            "the clock shows this time twice: the first".to_owned()
        }
        AmbiguousOffset::Fold { .. } => "the clock shows this time twice: the second".to_owned(),
    }
}

/// Lists the snapshots of one set and what the run says about it.
#[must_use]
pub fn set(set: &Set, manifests: &[Manifest]) -> String {
    let record = set.record.as_ref().map(|(record, _)| record);
    let held = set.archive().map_or_else(|| snapshots(set, manifests), archive);
    let blocks = [heading(set, record), held, remarks(record, manifests)];
    blocks.into_iter().filter(|block| !block.is_empty()).collect::<Vec<_>>().join("\n")
}

fn heading(set: &Set, record: Option<&RunRecord>) -> String {
    let state = match &set.state {
        State::Damaged(reason) | State::Stranger(reason) => format!("{}, {reason}", set.state),
        state => state.to_string(),
    };
    let run = |record: &RunRecord| {
        let shard = record.shard.map(|shard| format!("shard {shard} of the installation\n")).unwrap_or_default();
        format!(
            "{shard}run {} of job {} on {}, by {}\n{} to {}\n{}",
            record.run,
            record.job,
            record.host,
            record.tool,
            record.started_at,
            record.finished_at,
            live(record)
        )
    };
    let what = if set.archive().is_some() { "archive" } else { "set" };
    format!("{what} {}: {state}\n{}", set.id, record.map(run).unwrap_or_default())
}

/// Says which databases were captured while someone had them open or were exported by HitKeep, and how far all of them
/// lie apart.
fn live(record: &RunRecord) -> String {
    let count = |capture| record.snapshots.iter().filter(|snapshot| snapshot.capture == Some(capture)).count();
    match (count(Capture::Live), count(Capture::Adopted)) {
        (0, 0) => String::new(),
        (0, adopted) => {
            let databases = counted(adopted, "database");
            format!("{databases} exported by HitKeep itself, all within {} s\n", record.spread_seconds)
        }
        (live, _) => format!("{} captured live, all within {} s\n", counted(live, "database"), record.spread_seconds),
    }
}

fn snapshots(set: &Set, manifests: &[Manifest]) -> String {
    if manifests.is_empty() {
        let row = |held: &Held| vec![held.database.to_string(), held.files.len().to_string()];
        return columns(&["DATABASE", "FILES"], set.databases.iter().map(row).collect(), 1..2);
    }
    let row = |manifest: &Manifest| {
        vec![
            manifest.database.to_string(),
            manifest.name.clone().unwrap_or_default(),
            manifest.tables.len().to_string(),
            Grouped(manifest.rows()).to_string(),
            Bytes(manifest.bytes()).to_string(),
        ]
    };
    columns(&["DATABASE", "NAME", "TABLES", "ROWS", "SIZE"], manifests.iter().map(row).collect(), 2..5)
}

/// Lists the sites of an archive: from when on their rows are not past, and what was archived of them.
fn archive(archive: &ArchiveRecord) -> String {
    let row = |site: &SiteRecord| {
        let files = || archive.files.iter().filter(|file| file.site == site.site);
        let (rows, bytes) = (files().map(ArchivedFile::rows).sum(), files().map(|file| file.file.bytes).sum());
        vec![
            site.site.to_string(),
            site.database.to_string(),
            site.cutoff.to_string(),
            files().count().to_string(),
            Grouped(rows).to_string(),
            Bytes(bytes).to_string(),
        ]
    };
    let left_out = archive.left_out.iter().map(|left| format!("left out: {}: {}\n", left.table, left.reason));
    let rows = archive.sites.iter().map(row).collect();
    columns(&["SITE", "DATABASE", "BEFORE", "FILES", "ROWS", "SIZE"], rows, 3..6) + &left_out.collect::<String>()
}

/// Says what is missing, what deserves attention, and what no export holds.
fn remarks(record: Option<&RunRecord>, manifests: &[Manifest]) -> String {
    let missing = record.iter().flat_map(|record| &record.failures);
    let missing = missing.map(|failed| format!("missing: {}: {}\n", failed.task, failed.cause));
    let warnings = record.iter().flat_map(|record| &record.warnings).map(|warning| format!("warning: {warning}\n"));
    let lost = manifests.iter().flat_map(|manifest| {
        manifest.lost.iter().map(|lost| format!("not in the snapshot of {}: {lost}\n", manifest.database))
    });
    missing.chain(warnings).chain(lost).collect()
}

/// Says how long ago something was, in its largest unit.
fn age(now: Timestamp, then: Timestamp) -> String {
    span(now.duration_since(then))
}

/// Writes a span of time in its largest unit.
pub(super) fn span(span: SignedDuration) -> String {
    let seconds = span.max(SignedDuration::ZERO).as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}
