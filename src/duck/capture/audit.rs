//! The audit of a copy: whether each block of its metadata is whole.
//!
//! A checkpoint writes metadata into blocks of which other parts are in use, and does so before it writes the header. A
//! commit that is large enough is not logged but checkpointed at once, and where the log was empty before, nothing at all
//! tells of such a checkpoint until it ends. What was copied in that moment may be half of a block: the parts in use are
//! the same before and after, but the block as a whole does not match its checksum. So the blocks are asked for themselves.
//!
//! The list of free blocks ends with the list of the metadata's blocks. The source of the facts is DuckDB's
//! `single_file_block_manager.cpp` and `metadata_manager.cpp`, versions 1.1 to 2.0.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::checksum;
use super::header::{Headers, LENGTH, Pointer};

/// How many parts a block of metadata has.
const PARTS: u64 = 64;

/// The bytes of a checksum before a block.
const CHECKSUM: u64 = 8;

/// Says whether each block of metadata under these headers is whole in `copy`.
pub(super) fn is_whole(copy: &File, headers: &Headers) -> io::Result<bool> {
    let blocks = match metadata_blocks(copy, headers) {
        Ok(blocks) => blocks,
        Err(error) if is_torn(&error) => return Ok(false),
        Err(error) => return Err(error),
    };
    let mut block = vec![0; usize::try_from(headers.block_size).unwrap_or_default()];
    for number in blocks {
        match copy.read_exact_at(&mut block, place(headers, number)) {
            Ok(()) if checksum::is_whole(&block) => {}
            Ok(()) => return Ok(false),
            Err(error) if is_torn(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn is_torn(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData)
}

/// Returns where a block begins.
fn place(headers: &Headers, block: u64) -> u64 {
    LENGTH as u64 + block.saturating_mul(headers.block_size)
}

/// Reads the numbers of the blocks that hold metadata.
fn metadata_blocks(copy: &File, headers: &Headers) -> io::Result<Vec<u64>> {
    if !headers.free_list.is_valid() {
        return Ok(Vec::new());
    }
    let mut list = Chain::begin(copy, headers)?;
    let free = list.number()?;
    list.skip(free, 8)?;
    let shared = list.number()?;
    list.skip(shared, 8 + 4)?;
    let count = list.number()?;
    let mut blocks = Vec::new();
    for _ in 0..count {
        blocks.push(list.number()?);
        list.skip(1, 8)?;
    }
    Ok(blocks)
}

/// Metadata that goes on from part to part, each of which begins with a pointer to the next.
struct Chain<'c> {
    copy: &'c File,
    headers: &'c Headers,
    part: Vec<u8>,
    at: usize,
    /// How many more parts there can be before the chain must be a ring.
    left: u64,
}

impl<'c> Chain<'c> {
    fn begin(copy: &'c File, headers: &'c Headers) -> io::Result<Self> {
        let size = (headers.block_size.saturating_sub(CHECKSUM) / PARTS) & !7;
        let left = copy.metadata()?.len() / size.max(1);
        let part = vec![0; usize::try_from(size).unwrap_or_default()];
        let mut chain = Self { copy, headers, part, at: 0, left };
        chain.enter(headers.free_list)?;
        Ok(chain)
    }

    fn enter(&mut self, pointer: Pointer) -> io::Result<()> {
        if !pointer.is_valid() || pointer.part() >= PARTS || self.left == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.left -= 1;
        let within = CHECKSUM + pointer.part() * self.part.len() as u64;
        self.copy.read_exact_at(&mut self.part, place(self.headers, pointer.block()).saturating_add(within))?;
        self.at = 8;
        Ok(())
    }

    fn number(&mut self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        for byte in &mut bytes {
            if self.at == self.part.len() {
                self.enter(self.next())?;
            }
            *byte = self.part[self.at];
            self.at += 1;
        }
        Ok(u64::from_le_bytes(bytes))
    }

    /// Passes `count` entries of `size` bytes.
    fn skip(&mut self, count: u64, size: u64) -> io::Result<()> {
        let mut left = count.checked_mul(size).ok_or(io::ErrorKind::InvalidData)?;
        loop {
            let here = (self.part.len() - self.at) as u64;
            if left <= here {
                self.at += usize::try_from(left).unwrap_or_default();
                return Ok(());
            }
            left -= here;
            self.enter(self.next())?;
        }
    }

    fn next(&self) -> Pointer {
        Pointer(self.part.first_chunk().map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes)))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use std::collections::BTreeSet;
    use std::fs::{self, OpenOptions};

    use super::*;

    /// Makes a database with so many free blocks that their list takes several parts, and returns the path of its file.
    fn made(folder: &std::path::Path) -> std::path::PathBuf {
        let path = folder.join("made.db");
        let engine = duckdb::Connection::open(&path).unwrap();
        engine.execute_batch("SET threads = 1;").unwrap();
        for table in 0..8 {
            let sql = format!(
                "CREATE TABLE t{table} AS SELECT range AS k, hash(range) AS h FROM range(1000000); CHECKPOINT;"
            );
            engine.execute_batch(&sql).unwrap();
        }
        for table in 0..7 {
            engine.execute_batch(&format!("DROP TABLE t{table};")).unwrap();
        }
        engine.execute_batch("CREATE INDEX i ON t7 (k); CHECKPOINT;").unwrap();
        path
    }

    fn headers(file: &File) -> Headers {
        let mut raw = [0; LENGTH];
        file.read_exact_at(&mut raw, 0).unwrap();
        Headers::read(&raw).map_err(|_| "unusable").unwrap()
    }

    #[test]
    fn a_block_is_missed_when_and_only_when_it_is_one_of_metadata() {
        let folder = tempfile::tempdir().unwrap();
        let path = made(folder.path());
        let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let headers = headers(&file);
        let metadata: BTreeSet<u64> = metadata_blocks(&file, &headers).unwrap().into_iter().collect();
        let count = (fs::metadata(&path).unwrap().len() - LENGTH as u64) / headers.block_size;
        assert!(!metadata.is_empty() && (metadata.len() as u64) < count, "{metadata:?} of {count}");
        assert!(is_whole(&file, &headers).unwrap());
        for block in 0..count {
            let (at, mut byte) = (place(&headers, block) + headers.block_size - 1, [0]);
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[!byte[0]], at).unwrap();
            assert_eq!(is_whole(&file, &headers).unwrap(), !metadata.contains(&block), "block {block}");
            file.write_all_at(&byte, at).unwrap();
        }
    }

    #[test]
    fn a_list_that_leads_nowhere_is_torn_and_ends() {
        let folder = tempfile::tempdir().unwrap();
        let file = OpenOptions::new().read(true).write(true).open(made(folder.path())).unwrap();
        let headers = headers(&file);
        let size = ((headers.block_size - CHECKSUM) / PARTS) & !7;
        let first = place(&headers, headers.free_list.block()) + CHECKSUM + headers.free_list.part() * size;
        let (own, beyond) = (headers.free_list.0, 1 << 40);
        for (what, next, free) in
            [("a ring", own, u64::MAX / 8), ("too many", own, u64::MAX), ("beyond the end", beyond, 1 << 20)]
        {
            file.write_all_at(&[next.to_le_bytes(), free.to_le_bytes()].concat(), first).unwrap();
            assert!(!is_whole(&file, &headers).unwrap(), "{what}");
        }
    }
}
