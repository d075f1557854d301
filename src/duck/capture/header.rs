//! The headers at the beginning of a DuckDB file: which state of the database is in force.
//!
//! Three pages of 4096 bytes. The first is written once. The other two are written in turn, by each checkpoint as its
//! last step, and the one with the higher iteration is in force. The source of the facts is DuckDB's
//! `single_file_block_manager.cpp` and `storage_info.hpp`, versions 1.1 to 2.0.

use super::checksum;

const PAGE: usize = 4096;

/// How many bytes the headers have together; the first block follows.
pub(super) const LENGTH: usize = 3 * PAGE;

/// The storage versions that are known: those of DuckDB 1.0 (which 1.1 writes too) to 2.0.
pub(super) const KNOWN: std::ops::RangeInclusive<u64> = 64..=69;

/// What 2.0 writes in place of the storage version in the first header: the header in force has it.
const SEE_BELOW: u64 = 999;

/// The size of a block where an old header does not say it.
const DEFAULT_BLOCK: u64 = 262_144;

/// How large blocks may be.
const BLOCKS: std::ops::RangeInclusive<u64> = 16_384..=DEFAULT_BLOCK;

/// The headers of a database as they lie on the disk.
pub(super) type Raw = [u8; LENGTH];

/// What the headers say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Headers {
    /// The format of the file.
    pub(super) storage_version: u64,
    /// The version of the library that made the file, such as `v1.5.4`.
    pub(super) library: String,
    /// How many checkpoints there have been.
    pub(super) iteration: u64,
    /// Where the metadata begins.
    pub(super) root: Pointer,
    /// Where the list of free blocks begins.
    pub(super) free_list: Pointer,
    /// How large a block is, in bytes.
    pub(super) block_size: u64,
}

/// A place in a metadata block: each has 64 parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pointer(pub(super) u64);

impl Pointer {
    pub(super) fn is_valid(self) -> bool {
        self.0 != u64::MAX
    }

    /// Returns the number of the block.
    pub(super) fn block(self) -> u64 {
        self.0 & 0x00ff_ffff_ffff_ffff
    }

    /// Returns the number of the part within the block.
    pub(super) fn part(self) -> u64 {
        self.0 >> 56
    }
}

/// Why the headers of a file cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// It is not a DuckDB file.
    Foreign,
    /// It is a DuckDB file of a storage version that is not known.
    UnknownVersion(u64),
    /// It is encrypted.
    Encrypted,
    /// One of the headers does not match its checksum: it is being written just now, or it is damaged.
    Torn,
}

impl Headers {
    /// Reads the headers.
    pub(super) fn read(raw: &Raw) -> Result<Self, Unusable> {
        if raw[8..12] != *b"DUCK" {
            return Err(Unusable::Foreign);
        }
        if word(raw, 20) & 1 == 1 {
            return Err(Unusable::Encrypted);
        }
        if !raw.chunks(PAGE).all(checksum::is_whole) {
            return Err(Unusable::Torn);
        }
        let in_force = if word(raw, PAGE + 8) > word(raw, 2 * PAGE + 8) { PAGE } else { 2 * PAGE };
        let field = |index: usize| word(raw, in_force + 8 * index);
        let storage_version = if word(raw, 12) == SEE_BELOW { field(7) } else { word(raw, 12) };
        if !KNOWN.contains(&storage_version) {
            return Err(Unusable::UnknownVersion(storage_version));
        }
        let block_size = if field(5) == 0 { DEFAULT_BLOCK } else { field(5) };
        if !BLOCKS.contains(&block_size) {
            return Err(Unusable::Foreign);
        }
        Ok(Self {
            storage_version,
            library: text(&raw[52..84]),
            iteration: field(1),
            root: Pointer(field(2)),
            free_list: Pointer(field(3)),
            block_size,
        })
    }
}

/// Returns the number in the eight bytes at a place.
fn word(raw: &Raw, at: usize) -> u64 {
    raw[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Returns the text before the zeros that fill its place.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Makes headers with these words at these places, and the checksums that belong to them.
    pub(in super::super) fn made(words: &[(usize, u64)]) -> Box<Raw> {
        let mut raw = Box::new([0; LENGTH]);
        raw[8..12].copy_from_slice(b"DUCK");
        raw[52..58].copy_from_slice(b"v1.5.4");
        for (at, word) in words {
            raw[*at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
        for page in raw.chunks_mut(PAGE) {
            let sum = checksum::of(&page[8..]);
            page[..8].copy_from_slice(&sum.to_le_bytes());
        }
        raw
    }

    #[test]
    fn the_header_with_the_higher_iteration_is_in_force() {
        let both = |first, second| {
            let words = [(12, 64), (PAGE + 8, first), (2 * PAGE + 8, second), (PAGE + 16, 11), (2 * PAGE + 16, 22)];
            Headers::read(&made(&words)).map(|headers| (headers.iteration, headers.root.0))
        };
        assert_eq!([both(7, 6), both(7, 8), both(0, 0)], [Ok((7, 11)), Ok((8, 22)), Ok((0, 22))]);
    }

    #[test]
    fn what_is_not_known_is_told_apart() {
        let read = |words: &[(usize, u64)]| Headers::read(&made(words)).map(|headers| headers.storage_version);
        let second = 2 * PAGE + 8;
        let cases = [
            (read(&[(12, 63)]), Err(Unusable::UnknownVersion(63))),
            (read(&[(12, 64)]), Ok(64)),
            (read(&[(12, 69)]), Ok(69)),
            (read(&[(12, 70)]), Err(Unusable::UnknownVersion(70))),
            (read(&[(12, SEE_BELOW), (second, 3), (2 * PAGE + 56, 69)]), Ok(69)),
            (read(&[(12, SEE_BELOW), (second, 3), (2 * PAGE + 56, 70)]), Err(Unusable::UnknownVersion(70))),
            (read(&[(12, 68), (20, 1)]), Err(Unusable::Encrypted)),
        ];
        for (seen, expected) in cases {
            assert_eq!(seen, expected);
        }
        assert_eq!(Headers::read(&[0; LENGTH]), Err(Unusable::Foreign));
        let mut torn = made(&[(12, 64)]);
        torn[2 * PAGE + 100] ^= 1;
        assert_eq!(Headers::read(&torn), Err(Unusable::Torn));
    }

    #[test]
    fn a_pointer_names_a_block_and_a_part_of_it() {
        let pointer = Pointer(0x0700_0000_0000_0004);
        assert_eq!((pointer.block(), pointer.part(), pointer.is_valid()), (4, 7, true));
        assert!(!Pointer(u64::MAX).is_valid());
    }
}
