//! What is needed of file systems, before anything is written: whoever shares one needs it together.

use super::{DatabaseFact, DestinationFact, Reached, Refusal};
use crate::measure::{Bytes, Free};
use crate::name::Name;

/// What is needed of the staging directory at the worst moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// For all copies of databases together.
    pub copies: Bytes,
    /// For the exports that are there at the same time, each of which takes less than its database: Parquet has no indexes
    /// and no free blocks, and is compressed harder.
    pub exports: Bytes,
}

impl Room {
    /// Returns what these databases need when one is exported after the other, or each while the one before it is stored.
    ///
    /// All copies are there when the first is exported. A copy goes when it is exported, and leaves its room to that export:
    /// then the next one finds as much room as there was for the first.
    #[must_use]
    pub fn of(databases: &[&DatabaseFact], is_live: bool, exports_ahead: bool) -> Self {
        let sizes: Vec<u64> = databases.iter().map(|fact| fact.bytes().0).collect();
        let largest = sizes.iter().max().copied().unwrap_or(0);
        let both = sizes.windows(2).map(|both| both[0] + both[1]).max();
        Self {
            copies: Bytes(if is_live { sizes.iter().sum() } else { 0 }),
            exports: Bytes(both.filter(|_| exports_ahead && !is_live).unwrap_or(largest)),
        }
    }

    /// Returns the sum.
    #[must_use]
    pub fn total(self) -> Bytes {
        Bytes(self.copies.0 + self.exports.0)
    }

    /// Goes on if that much is free.
    ///
    /// # Errors
    /// [`Refusal::NoSpace`] where it is not.
    pub fn check(self, free: Bytes) -> Result<(), Refusal> {
        check_staged_and_stored(self, Free { bytes: free, file_system: 0 }, Bytes(0), &[])
    }
}

/// Goes on if all copies and exports fit into the staging directory, and the snapshots of a set, `set` bytes, into each
/// destination: on a file system that several of them share, all at the same time.
///
/// # Errors
/// [`Refusal::NoSpace`] where they do not.
pub(super) fn check_staged_and_stored(
    room: Room,
    staging: Free,
    set: Bytes,
    destinations: &[&DestinationFact],
) -> Result<(), Refusal> {
    let stored: Vec<(&Name, Free)> = destinations.iter().filter_map(|fact| Some((&fact.name, free(fact)?))).collect();
    let last = destinations.iter().rev().find(|fact| fact.reached.is_ok());
    // Its files are moved to the last destination where that takes no copying: they are counted there.
    let is_moved = last.and_then(|fact| free(fact)).is_some_and(|free| free.file_system == staging.file_system);
    let exports = if is_moved { Bytes(0) } else { room.exports };
    let mut needs = Vec::new();
    let staged = Room { exports, ..room };
    if staged.total() > Bytes(0) {
        needs.push(Need { who: Who::Staging(room.copies), free: staging, bytes: staged.total() });
    }
    needs.extend(stored.into_iter().map(|(name, free)| Need { who: Who::Destination(name), free, bytes: set }));
    check(&needs)
}

/// Goes on if the snapshots of a set, `set` bytes, fit into each destination, as [`check_staged_and_stored`] does.
pub(super) fn check_stored(set: Bytes, destinations: &[&DestinationFact]) -> Result<(), Refusal> {
    let nothing = Room { copies: Bytes(0), exports: Bytes(0) };
    let nowhere = Free { bytes: Bytes(0), file_system: u64::MAX };
    check_staged_and_stored(nothing, nowhere, set, destinations)
}

fn free(fact: &DestinationFact) -> Option<Free> {
    fact.reached.as_ref().ok().and_then(|Reached { free, .. }| *free)
}

/// What someone needs of a file system.
#[derive(Clone, Copy)]
struct Need<'n> {
    who: Who<'n>,
    free: Free,
    bytes: Bytes,
}

#[derive(Clone, Copy)]
enum Who<'n> {
    /// The staging directory, for so much of copies among others.
    Staging(Bytes),
    Destination(&'n Name),
}

impl Who<'_> {
    fn title(self) -> String {
        match self {
            Self::Staging(_) => "the staging directory".to_owned(),
            Self::Destination(name) => format!("destination `{name}`"),
        }
    }

    fn copies(self) -> u64 {
        match self {
            Self::Staging(copies) => copies.0,
            Self::Destination(_) => 0,
        }
    }
}

/// Goes on if every file system has what those need together who share it.
fn check(needs: &[Need<'_>]) -> Result<(), Refusal> {
    for need in needs {
        let shared: Vec<&Need<'_>> =
            needs.iter().filter(|other| other.free.file_system == need.free.file_system).collect();
        let needed = Bytes(shared.iter().map(|need| need.bytes.0).sum());
        // Whoever writes there meanwhile has taken it from all of them.
        let free = shared.iter().map(|need| need.free.bytes).min().unwrap_or(Bytes(0));
        if free < needed {
            return Err(Refusal::NoSpace {
                place: place(&shared),
                is_destination: shared.iter().all(|need| matches!(need.who, Who::Destination(_))),
                free,
                needed,
                copies: Bytes(shared.iter().map(|need| need.who.copies()).sum()),
            });
        }
    }
    Ok(())
}

fn place(shared: &[&Need<'_>]) -> String {
    let titles: Vec<String> = shared.iter().map(|need| need.who.title()).collect();
    match titles.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [several @ .., last] => format!("the file system of {} and {last}", several.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::name::{DatabaseId, Prefix};
    use crate::record::Names;
    use crate::work::{Place, Seen};

    fn destination(name: &'static str, free: Option<(u64, u64)>) -> DestinationFact {
        let free = free.map(|(file_system, bytes)| Free { bytes: Bytes(bytes), file_system });
        let reached =
            Reached { names: Names::default(), newest_record: None, newest_complete: None, free, remains: Vec::new() };
        let place = Place { prefix: Prefix::default(), at: String::new() };
        DestinationFact { name: Name::of(name), place, reached: Ok(reached) }
    }

    #[test]
    fn an_export_ahead_needs_room_that_no_copy_leaves_to_it() {
        let fact = |bytes: u64| {
            let (log, written_at, is_checkpointing, holder) = (Bytes(0), None, false, None);
            let seen = Ok(Seen { bytes: Bytes(bytes), log, written_at, is_checkpointing, holder });
            DatabaseFact { id: DatabaseId::Shared, name: None, path: PathBuf::new(), seen, copy: None }
        };
        let needed = |sizes: &[u64], is_live, exports_ahead| {
            let facts: Vec<DatabaseFact> = sizes.iter().copied().map(fact).collect();
            let Room { copies, exports } = Room::of(&facts.iter().collect::<Vec<_>>(), is_live, exports_ahead);
            (copies.0, exports.0)
        };
        for (sizes, copies, alone, ahead) in
            [(&[][..], 0, 0, 0), (&[7], 7, 7, 7), (&[5, 3], 8, 5, 8), (&[5, 1, 2], 8, 5, 6), (&[1, 5, 4], 10, 5, 9)]
        {
            assert_eq!(needed(sizes, false, false), (0, alone), "{sizes:?}");
            assert_eq!(needed(sizes, false, true), (0, ahead), "{sizes:?}, ahead");
            assert_eq!(needed(sizes, true, false), (copies, alone), "{sizes:?}, live");
            assert_eq!(needed(sizes, true, true), (copies, alone), "{sizes:?}, live and ahead");
        }
    }

    /// What it is about, what is staged, where the destinations are, what is needed, and who needs it.
    type Case<'c> = (&'c str, Room, &'c [Option<u64>], u64, &'c str);

    /// A set of 100 bytes, of which a copy of all takes 100 and an export 60: what must be free.
    #[test]
    fn who_shares_a_file_system_needs_it_together() {
        let (here, there, elsewhere) = (1, 2, 3);
        let direct = Room { copies: Bytes(0), exports: Bytes(60) };
        let live = Room { copies: Bytes(100), exports: Bytes(60) };
        let cases: &[Case<'_>] = &[
            ("a bucket", direct, &[None], 60, "the staging directory"),
            ("copies, and a bucket", live, &[None], 160, "the staging directory"),
            ("a disk of its own", direct, &[Some(there)], 100, "destination `a`"),
            ("two disks of their own", direct, &[Some(there), Some(elsewhere)], 100, "destination `a`"),
            (
                "one disk for two",
                direct,
                &[Some(there); 2],
                200,
                "the file system of destination `a` and destination `b`",
            ),
            ("moved to the only one", direct, &[Some(here)], 100, "destination `a`"),
            (
                "moved to the only one, beside copies",
                live,
                &[Some(here)],
                200,
                "the file system of the staging directory and destination `a`",
            ),
            (
                "copied to the first of two",
                direct,
                &[Some(here), Some(there)],
                160,
                "the file system of the staging directory and destination `a`",
            ),
            (
                "moved to the second of two",
                direct,
                &[Some(here), Some(here)],
                200,
                "the file system of destination `a` and destination `b`",
            ),
            (
                "copied to two, and to a bucket",
                live,
                &[Some(here), Some(here), None],
                360,
                "the file system of the staging directory, destination `a` and destination `b`",
            ),
        ];
        for (case, room, places, needed, who) in cases {
            let checked = |bytes| {
                let free = |system: &Option<u64>| system.map(|system| (system, bytes));
                let facts: Vec<_> =
                    ["a", "b", "c"].iter().zip(*places).map(|(name, system)| destination(name, free(system))).collect();
                let staging = Free { bytes: Bytes(bytes), file_system: here };
                check_staged_and_stored(*room, staging, Bytes(100), &facts.iter().collect::<Vec<_>>())
            };
            assert_eq!(checked(*needed), Ok(()), "{case}");
            match checked(needed - 1) {
                Err(Refusal::NoSpace { place, needed: said, .. }) => {
                    assert_eq!((place.as_str(), said.0), (*who, *needed), "{case}");
                }
                other => panic!("{case}: {other:?}"),
            }
        }
    }
}
