//! What `coverage` prints: where the rows of each site and month are.

use super::table::columns;
use crate::measure::{Grouped, counted};
use crate::work::{Coverage, CoveringSet, MonthCoverage, Share, SiteCoverage};

/// Draws where the rows are that a job archives, and says what that means.
#[must_use]
pub fn coverage(coverage: &Coverage) -> String {
    let named = |CoveringSet { set, at }: &CoveringSet| format!("{set} in {at}");
    let snapshots = coverage.snapshots.iter().map(named).collect::<Vec<_>>().join(", ");
    let snapshot = match coverage.snapshots.len() {
        0 if !coverage.problems.is_empty() => {
            "no snapshot: no complete set of this source that can be read is anywhere".to_owned()
        }
        0 => "no snapshot: no complete set of this source is anywhere".to_owned(),
        1 => format!("snapshot {snapshots}"),
        _ => format!("snapshots {snapshots}"),
    };
    let rows = coverage.sites.iter().flat_map(|site| site.months.iter().map(move |month| row(site, month)));
    let table = columns(&["SITE", "MONTH", "ROWS", "LIVE", "ARCHIVE", "SNAPSHOT", ""], rows.collect(), 2..6);
    let archives = coverage.archives.join(", ");
    format!("{}: archive in {archives}; {snapshot}\n{table}{}", coverage.job, verdict(coverage))
}

fn row(site: &SiteCoverage, month: &MonthCoverage) -> Vec<String> {
    let Share { rows, live, archived, snapshot, .. } = month.share;
    let count = |rows: u64| if rows == 0 { "-".to_owned() } else { Grouped(rows).to_string() };
    let name = site.domain.clone().unwrap_or_else(|| site.site.to_string());
    let counts = [rows, live, archived, snapshot].map(count);
    [vec![name, month.month.to_string()], counts.to_vec(), vec![remark(&month.share)]].concat()
}

fn remark(share: &Share) -> String {
    let remarks =
        [(share.nowhere, "nowhere"), (share.only_snapshot, "only in the snapshot"), (share.only_live, "only live")];
    let remarks = remarks.iter().filter(|(rows, _)| *rows > 0).map(|(rows, what)| format!("{} {what}", Grouped(*rows)));
    remarks.collect::<Vec<_>>().join(", ")
}

fn verdict(coverage: &Coverage) -> String {
    let total = coverage.total();
    let sites = counted(coverage.sites.len(), "site");
    let whole = match total.rows {
        0 => "no row is known of".to_owned(),
        rows => format!("every row that is known of is somewhere: {} of {sites}", Grouped(rows)),
    };
    let a_snapshot = if coverage.snapshots.len() > 1 { "a snapshot" } else { "the snapshot" };
    let known = if coverage.problems.is_empty() { "" } else { ", as far as can be read" };
    let lost = "a file that held them is lost, and nothing proves that they are anywhere else";
    let lines = [
        coverage.is_whole().then_some(whole),
        are(total.nowhere).map(|are| format!("{are} nowhere: {lost}")),
        are(total.only_snapshot).map(|are| format!("{are} in {a_snapshot} only, and gone when that is")),
        are(total.only_live)
            .map(|are| format!("{are} live only, as whatever came or changed after {a_snapshot}{known}")),
    ];
    lines.into_iter().flatten().chain(coverage.problems.iter().cloned()).map(|line| line + "\n").collect()
}

/// Begins a sentence about so many rows; nothing where there are none.
fn are(rows: u64) -> Option<String> {
    match rows {
        0 => None,
        1 => Some("1 row is".to_owned()),
        rows => Some(format!("{} rows are", Grouped(rows))),
    }
}
