//! What a place holds, in a few numbers.

use super::SeriesFacts;
use crate::record::{PlaceRecord, Set, SetsRecord, State, Verification};

/// Returns what a place holds, as far as it was looked at.
#[must_use]
pub fn held(facts: &SeriesFacts) -> PlaceRecord {
    let sets = &facts.catalogue.sets;
    let complete = || sets.iter().filter(|set| set.state == State::Complete);
    let records = |set: &Set| set.record.as_ref().map(|(record, _)| record.clone());
    let verified = complete().filter_map(records).filter(|record| record.verification == Verification::Checksum);
    let drilled = facts.drills.iter().filter(|drill| drill.passed);
    let all = (facts.catalogue.unseen == 0).then(|| SetsRecord {
        complete: complete().count() as u64,
        partial: sets.iter().filter(|set| set.state == State::Partial).count() as u64,
        oldest_complete: complete().map(|set| set.id).min(),
    });
    PlaceRecord {
        sets: all,
        newest_complete: complete().map(|set| set.id).max(),
        verified_at: verified.map(|record| record.finished_at).max(),
        drilled_at: drilled.map(|drill| drill.finished_at).max(),
    }
}
