//! Where the rows of sites are: live, in an archive, in the newest snapshots; and what is nowhere any more.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use serde::Serialize;

use crate::name::{Month, SiteId, SnapshotId};
use crate::record::PartId;

/// How many rows of a part are where. A row that is in several places is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    /// Those that are anywhere.
    pub rows: u64,
    /// Those that are live.
    pub live: u64,
    /// Those that are in an archive, at any of its destinations.
    pub archived: u64,
    /// Those that are in one of the newest snapshots.
    pub snapshot: u64,
    /// Those that are live, and neither archived nor in a snapshot.
    pub only_live: u64,
    /// Those that are in a snapshot, and neither live nor archived: they go with it.
    pub only_snapshot: u64,
    /// Those that were archived in a file that is lost, and that nothing proves to be anywhere else.
    pub nowhere: u64,
}

impl AddAssign for Share {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.live += other.live;
        self.archived += other.archived;
        self.snapshot += other.snapshot;
        self.only_live += other.only_live;
        self.only_snapshot += other.only_snapshot;
        self.nowhere += other.nowhere;
    }
}

/// Where the rows are that an archive job is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// The job.
    pub job: String,
    /// The places that it archives at.
    pub archives: Vec<String>,
    /// The newest complete set of the same source, and where it was read.
    pub snapshot: Option<CoveringSet>,
    /// The newest complete set of each job of the same source at each destination: one that is at several is named once.
    pub snapshots: Vec<CoveringSet>,
    /// The sites, in the order of their domains.
    pub sites: Vec<SiteCoverage>,
    /// What stands in the way of a proof.
    pub problems: Vec<String>,
}

/// The set that rows were looked for in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CoveringSet {
    /// Its name.
    pub set: SnapshotId,
    /// The place that it is in, for people.
    pub at: String,
}

/// Where the rows of a site are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SiteCoverage {
    /// Its UUID.
    pub site: SiteId,
    /// Its domain; nothing where HitKeep knows it no more.
    pub domain: Option<String>,
    /// Its months, in order, those without any rows left out.
    pub months: Vec<MonthCoverage>,
}

/// Where the rows of a month are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MonthCoverage {
    /// The month, in UTC.
    pub month: Month,
    /// How many rows are where.
    #[serde(flatten)]
    pub share: Share,
    /// How many of each table.
    pub tables: BTreeMap<String, Share>,
}

impl Coverage {
    /// Adds up the parts of each site and month; `domains` are the sites that HitKeep knows.
    #[must_use]
    pub fn sites(parts: BTreeMap<PartId, Share>, domains: &BTreeMap<SiteId, String>) -> Vec<SiteCoverage> {
        let mut sites: BTreeMap<(Option<&String>, SiteId), BTreeMap<Month, MonthCoverage>> = BTreeMap::new();
        for (PartId { site, table, month }, share) in parts {
            let months = sites.entry((domains.get(&site), site)).or_default();
            let empty = || MonthCoverage { month, share: Share::default(), tables: BTreeMap::new() };
            let of_month = months.entry(month).or_insert_with(empty);
            of_month.share += share;
            of_month.tables.insert(table, share);
        }
        let site = |((domain, site), months): ((Option<&String>, SiteId), BTreeMap<Month, MonthCoverage>)| {
            SiteCoverage { site, domain: domain.cloned(), months: months.into_values().collect() }
        };
        sites.into_iter().map(site).collect()
    }

    /// Returns the sum of all sites and months.
    #[must_use]
    pub fn total(&self) -> Share {
        let mut total = Share::default();
        self.sites.iter().flat_map(|site| &site.months).for_each(|month| total += month.share);
        total
    }

    /// Tells whether every row that is known of is proven to be somewhere.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.problems.is_empty() && self.total().nowhere == 0
    }
}
