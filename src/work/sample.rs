//! A rolling share of all files: which of them one reading reads, so that some readings together read every one.

use std::fmt;

use crate::measure::{Sha256, Share};

/// One of the parts that all files fall into.
///
/// A file's part depends on its key alone: sets that come and go in between move no other file to another part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The number of the reading.
    pub round: u64,
    /// How many parts there are: at least 1.
    pub parts: u64,
}

impl Sample {
    /// Returns the sample that follows the reading `last`, of as many parts as it takes for each to be no more than
    /// `share` of all. A share of nothing is everything.
    #[must_use]
    pub fn next(last: Option<u64>, share: Share) -> Self {
        let parts = 100_u64.div_ceil(u64::from(share.percent()).clamp(1, 100));
        Self { round: last.map_or(0, |round| round.wrapping_add(1)), parts }
    }

    /// Tells whether the file with this key, below the prefix of its job, is in it.
    #[must_use]
    pub fn takes(&self, key: &str) -> bool {
        Sha256::of(key.as_bytes()).leading() % self.parts == self.round % self.parts
    }
}

/// Names the part: `part 3 of 10`.
impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "part {} of {}", self.round % self.parts + 1, self.parts)
    }
}
