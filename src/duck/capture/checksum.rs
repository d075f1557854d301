//! The checksum that DuckDB keeps of each header, each block and each entry of its log.
//!
//! It is a sum without order: each word of eight bytes is multiplied and combined by exclusive or, so it finds bytes
//! that are torn, but not words that have changed places. Nothing here takes it for proof that two blocks are equal.
//! The source of the fact is DuckDB's `checksum.cpp`, the same since storage version 64.

const SEED: u64 = 5381;
const FACTOR: u64 = 0xbf58_476d_1ce4_e5b9;
const WORD: usize = 8;

/// A checksum of bytes that come in parts.
pub(super) struct Checksum(u64);

impl Checksum {
    pub(super) fn new() -> Self {
        Self(SEED)
    }

    /// Adds a part; only the last may end within a word.
    pub(super) fn add(&mut self, part: &[u8]) {
        let (words, rest) = part.as_chunks::<WORD>();
        self.0 = words.iter().fold(self.0, |sum, word| sum ^ u64::from_le_bytes(*word).wrapping_mul(FACTOR));
        if !rest.is_empty() {
            self.0 ^= of_rest(rest);
        }
    }

    pub(super) fn finish(self) -> u64 {
        self.0
    }
}

/// Returns the checksum of all bytes of something.
pub(super) fn of(bytes: &[u8]) -> u64 {
    let mut checksum = Checksum::new();
    checksum.add(bytes);
    checksum.finish()
}

/// Says whether a header or a block begins with the checksum of what follows it.
pub(super) fn is_whole(block: &[u8]) -> bool {
    block.split_first_chunk().is_some_and(|(stored, rest)| u64::from_le_bytes(*stored) == of(rest))
}

/// Hashes the up to seven bytes after the last word, as Murmur does.
fn of_rest(rest: &[u8]) -> u64 {
    const MULTIPLIER: u64 = 0xc6a4_a793_5bd1_e995;
    const SEED: u64 = 0xe17a_1465;
    const SHIFT: u32 = 47;
    let word = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    let hash = (SEED ^ (rest.len() as u64).wrapping_mul(MULTIPLIER) ^ word).wrapping_mul(MULTIPLIER);
    let hash = (hash ^ hash >> SHIFT).wrapping_mul(MULTIPLIER);
    hash ^ hash >> SHIFT
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The end of every commit: the entry that DuckDB 1.5.4 and 2.0.0 wrote, and the checksum before it.
    #[test]
    fn the_checksum_is_duckdbs() {
        assert_eq!(of(&[0x64, 0x00, 0x64, 0xff, 0xff]), 0x5e3d_ed2f_727d_fee7);
    }

    proptest! {
        #[test]
        fn parts_make_the_same_sum_as_the_whole(bytes: Vec<u8>, words in 0usize..20) {
            let (first, second) = bytes.split_at(bytes.len().min(words * WORD));
            let mut checksum = Checksum::new();
            checksum.add(first);
            checksum.add(second);
            prop_assert_eq!(checksum.finish(), of(&bytes));
        }
    }
}
