//! What `coverage` prints: where the rows of each site and month are.

use super::table::columns;
use crate::measure::{Grouped, counted};
use crate::work::{Coverage, MonthCoverage, Share, SiteCoverage};

/// Draws where the rows are that a job archives, and says what that means.
#[must_use]
pub fn coverage(coverage: &Coverage) -> String {
    let snapshot = match &coverage.snapshot {
        Some((set, at)) => format!("snapshot {set} in {at}"),
        None => "no snapshot: no complete set of this source is anywhere".to_owned(),
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
    let whole = match coverage.sites.len() {
        0 => "no rows are known of".to_owned(),
        sites => {
            format!("every row that is known of, {} of {}, is somewhere", Grouped(total.rows), counted(sites, "site"))
        }
    };
    let lines = [
        (coverage.is_whole()).then_some(whole),
        (total.nowhere > 0).then(|| {
            format!(
                "{} rows are nowhere: a file that they were archived in is lost, and nothing proves that they are anywhere else",
                Grouped(total.nowhere)
            )
        }),
        (total.only_snapshot > 0).then(|| {
            let rows = Grouped(total.only_snapshot);
            format!("{rows} rows are in the snapshot only: neither live nor archived, they go when it goes")
        }),
        (total.only_live > 0).then(|| {
            let rows = Grouped(total.only_live);
            format!("{rows} rows are live only: they came or changed after the snapshot, and no backup has them yet")
        }),
    ];
    let problems = coverage.problems.iter().cloned();
    lines.into_iter().flatten().chain(problems).map(|line| line + "\n").collect()
}
