//! What runs that were never sealed have left of the databases at a bucket: a file that is there already need not be sent.
//!
//! A name and a size make a file worth a question, no more. Whether it is the same is proven when its turn comes.

use std::collections::BTreeMap;
use std::fmt;

use crate::measure::{Bytes, counted};
use crate::name::{DatabaseId, Name, Prefix, SnapshotId};

/// The least that is worth it, in bytes: a smaller file is sent in less time than it takes to ask for another.
const LEAST: u64 = 64 << 10;

/// What one such run has left of one database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remains {
    /// The set that it did not come to seal.
    pub set: SnapshotId,
    /// The database.
    pub database: DatabaseId,
    /// The folder of keys that the files lie in.
    pub prefix: Prefix,
    /// The names of the files, with their sizes in bytes.
    pub files: BTreeMap<String, u64>,
}

impl Remains {
    /// Returns the sum of the files' sizes.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        Bytes(self.files.values().sum())
    }
}

/// Returns what of the remains may be taken over for a database of a set: of other sets, and as far as it is worth it.
pub(super) fn of_use(remains: &[Remains], database: DatabaseId, snapshot: SnapshotId) -> Vec<Remains> {
    let of_use = |remains: &Remains| {
        let files = remains.files.iter().filter(|(_, bytes)| **bytes >= LEAST);
        Remains { files: files.map(|(name, bytes)| (name.clone(), *bytes)).collect(), ..remains.clone() }
    };
    // What lies under the set's own name is cleared away first.
    let is_meant = |remains: &&Remains| remains.database == database && remains.set != snapshot;
    remains.iter().filter(is_meant).map(of_use).filter(|remains| !remains.files.is_empty()).collect()
}

/// Says for one destination how much of each set may be taken over, a line of a dry run each.
pub(super) fn write_summary<'r>(
    f: &mut fmt::Formatter<'_>,
    destination: &Name,
    remains: impl Iterator<Item = &'r Remains>,
) -> fmt::Result {
    let mut sets: BTreeMap<SnapshotId, (usize, u64)> = BTreeMap::new();
    for one in remains {
        let (files, bytes) = sets.entry(one.set).or_default();
        *files += one.files.len();
        *bytes += one.bytes().0;
    }
    sets.into_iter().rev().try_for_each(|(set, (files, bytes))| {
        let files = counted(files, "file");
        writeln!(
            f,
            "      resume   destination {destination}: {files}, {}, of unfinished set {set} may be taken over",
            Bytes(bytes)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str = "00000000-0000-4000-8000-000000000002";

    fn id<T: std::str::FromStr<Err: fmt::Debug>>(text: &str) -> T {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error:?}"))
    }

    fn remains(set: &str, database: &str, files: &[(&str, u64)]) -> Remains {
        let files = files.iter().map(|(name, bytes)| ((*name).to_owned(), *bytes)).collect();
        Remains { set: id(set), database: id(database), prefix: id("somewhere"), files }
    }

    /// The set, the database and the files of what was left.
    type Found<'f> = (&'f str, &'f str, &'f [(&'f str, u64)]);

    #[test]
    fn what_is_worth_it_is_of_use() {
        const KIB: u64 = 1 << 10;
        const GIB: u64 = 1 << 30;
        let (first, second, own) = ("2026-03-07T120000Z", "2026-03-06T120000Z", "2026-03-08T120000Z");
        let cases: [(&str, &[Found<'_>], &[Found<'_>]); 7] = [
            ("nothing was left", &[], &[]),
            (
                "files that are small, and one that takes more than one request to copy",
                &[(first, "shared", &[("a", 0), ("b", 64 * KIB - 1), ("c", 64 * KIB), ("d", 6 * GIB)])],
                &[(first, "shared", &[("c", 64 * KIB), ("d", 6 * GIB)])],
            ),
            ("no file that is worth it", &[(first, "shared", &[("a", 1)])], &[]),
            ("another database", &[(first, TENANT, &[("a", GIB)])], &[]),
            ("the set itself", &[(own, "shared", &[("a", GIB)])], &[]),
            (
                "several sets, in their order",
                &[(first, "shared", &[("a", GIB)]), (second, "shared", &[("a", GIB), ("b", GIB)])],
                &[(first, "shared", &[("a", GIB)]), (second, "shared", &[("a", GIB), ("b", GIB)])],
            ),
            ("an empty folder", &[(first, "shared", &[])], &[]),
        ];
        for (case, left, expected) in cases {
            let all = |found: &[Found<'_>]| -> Vec<Remains> {
                found.iter().map(|(set, database, files)| remains(set, database, files)).collect()
            };
            assert_eq!(of_use(&all(left), DatabaseId::Shared, id(own)), all(expected), "{case}");
        }
    }
}
