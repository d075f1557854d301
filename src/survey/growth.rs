//! How the tables of a series have grown, by the manifests of some of its sets.

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt as _};

use crate::name::{Prefix, SnapshotId};
use crate::record::{self, Manifest, Set, State};
use crate::store::{Part, Store};

/// How many sets are looked into at most.
const SETS: usize = 24;

/// How many manifests are read at the same time.
const ABREAST: usize = 8;

/// Returns, for the oldest, the newest and some complete sets between, the rows of each table of all databases together;
/// oldest first. A set whose manifests cannot be read is left out: `verify` tells of those.
pub async fn growth(store: &dyn Store, prefix: &Prefix, sets: &[Set]) -> Vec<(SnapshotId, BTreeMap<String, u64>)> {
    let complete: Vec<&Set> = sets.iter().filter(|set| set.state == State::Complete).collect();
    let chosen = spread(&complete, SETS).into_iter().map(async |set| Some((set.id, rows(store, prefix, set).await?)));
    stream::iter(chosen).buffered(ABREAST).filter_map(async |found| found).collect().await
}

/// Chooses `count` of these at most, as far apart as they can be, with the first and the last.
fn spread<T: Copy>(all: &[T], count: usize) -> Vec<T> {
    match all.len() {
        few if few <= count => all.to_vec(),
        many => (0..count).map(|at| all[at * (many - 1) / (count - 1)]).collect(),
    }
}

async fn rows(store: &dyn Store, prefix: &Prefix, set: &Set) -> Option<BTreeMap<String, u64>> {
    let mut rows = BTreeMap::new();
    for held in &set.databases {
        let key = prefix.key(&record::manifest_key(held.database, set.id));
        let manifest = Manifest::read(&store.read(&key, Part::Whole).await.ok()?).ok()?;
        for table in &manifest.tables {
            *rows.entry(table.title()).or_default() += table.rows;
        }
    }
    Some(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_of_many_are_spread_from_the_first_to_the_last() {
        let all: Vec<usize> = (0..100).collect();
        assert_eq!(spread(&all[..3], 4), [0, 1, 2]);
        assert_eq!(spread(&all, 4), [0, 33, 66, 99]);
    }
}
