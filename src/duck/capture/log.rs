//! DuckDB's write-ahead log: which commits are whole in it, and what it says of the database file.
//!
//! A header, then entries: a size, a checksum, and as many bytes, which begin with the entry's type. A commit is a row
//! of entries that one of type [`COMMIT`] ends. Entries are only ever appended, until a checkpoint ends: then the log is
//! removed, or replaced by what was logged meanwhile. The source of the facts is DuckDB's `write_ahead_log.cpp`,
//! `wal_replay.cpp` and `wal_type.hpp`, versions 1.1 to 2.0.

use std::io::{self, Read};

use super::checksum::Checksum;
use super::header::Pointer;

/// The version of the log that every DuckDB from 1.1 to 2.0 writes.
pub(super) const KNOWN: u64 = 2;

/// The version of an encrypted log.
const ENCRYPTED: u64 = 3;

const DROP_TABLE: u8 = 2;
const DROP_SCHEMA: u8 = 4;
const DROP_TYPE: u8 = 14;
const ALTER: u8 = 20;
const DROP_INDEX: u8 = 24;
const ROW_GROUPS: u8 = 29;
const VERSION: u8 = 98;
const CHECKPOINT: u8 = 99;
const COMMIT: u8 = 100;

/// The bytes of a size and a checksum before an entry.
const FRAME: usize = 16;

/// How much is read at once; a multiple of the checksum's words.
const PART: usize = 64 * 1024;

/// What a log says, read from its beginning, or on from a commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    /// Where the header ends, in bytes; 0 where it is not whole.
    pub(super) header_end: u64,
    /// Where the last commit ends that is whole and comes before any checkpoint, in bytes; 0 where there is none.
    pub(super) commits_end: u64,
    /// Whether those commits refer to blocks of the database file that no checkpoint has made part of it yet.
    pub(super) refers_to_blocks: bool,
    /// Whether any entry takes blocks out of use.
    pub(super) frees_blocks: bool,
    /// Where the metadata of a checkpoint begins that has begun, and not yet ended.
    pub(super) checkpoint: Option<Pointer>,
    /// Where an entry begins that is all there and does not match its checksum.
    pub(super) broken_at: Option<u64>,
}

/// Why a log could not be read.
#[derive(Debug)]
pub(super) enum Unread {
    /// Reading failed.
    Io(io::Error),
    /// It has a version that is not known.
    UnknownVersion(u64),
    /// It is encrypted.
    Encrypted,
    /// It does not begin as a log does.
    Foreign,
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads a log from its beginning.
///
/// A header that is not whole, and everything after an entry that is not, is as if it were not there: whoever writes it
/// has not committed it yet.
pub(super) fn scan(log: &mut impl Read) -> Result<Scan, Unread> {
    match read_header(log) {
        Ok((KNOWN, header_end)) => Ok(scan_on(log, header_end, Scan { header_end, ..Scan::default() })?),
        Ok((ENCRYPTED, _)) => Err(Unread::Encrypted),
        Ok((version, _)) => Err(Unread::UnknownVersion(version)),
        Err(error) => match error.kind() {
            io::ErrorKind::UnexpectedEof => Ok(Scan::default()),
            io::ErrorKind::InvalidData => Err(Unread::Foreign),
            _ => Err(Unread::Io(error)),
        },
    }
}

/// Reads entries from `at` on, where one ends, and adds what they say to `scan`.
pub(super) fn scan_on(log: &mut impl Read, mut at: u64, mut scan: Scan) -> io::Result<Scan> {
    let mut part = vec![0; PART];
    let mut refers = scan.refers_to_blocks;
    while let Some(entry) = Entry::read(log, &mut part)? {
        if !entry.is_whole {
            scan.broken_at = Some(at);
            break;
        }
        at += FRAME as u64 + entry.size;
        match entry.kind {
            CHECKPOINT => scan.checkpoint = entry.root,
            COMMIT if scan.checkpoint.is_none() => {
                scan.commits_end = at;
                scan.refers_to_blocks = refers;
            }
            ROW_GROUPS => refers = true,
            DROP_TABLE | DROP_SCHEMA | DROP_TYPE | DROP_INDEX | ALTER => scan.frees_blocks = true,
            _ => {}
        }
    }
    Ok(scan)
}

/// What is needed of an entry.
struct Entry {
    kind: u8,
    /// How many bytes it has, without its frame.
    size: u64,
    is_whole: bool,
    /// Where a checkpoint's metadata begins.
    root: Option<Pointer>,
}

impl Entry {
    /// Reads the next entry; nothing where the log ends first.
    fn read(log: &mut impl Read, part: &mut [u8]) -> io::Result<Option<Self>> {
        let mut frame = [0; FRAME];
        if fill(log, &mut frame)? < frame.len() {
            return Ok(None);
        }
        let [size, stored] = [&frame[..8], &frame[8..]].map(|half| half.first_chunk().copied().unwrap_or_default());
        let [size, stored] = [size, stored].map(u64::from_le_bytes);
        let mut checksum = Checksum::new();
        let (mut kind, mut root) = (0, None);
        let mut left = size;
        while left > 0 {
            let wanted = usize::try_from(left).map_or(part.len(), |left| left.min(part.len()));
            let read = &mut part[..wanted];
            if fill(log, read)? < wanted {
                return Ok(None);
            }
            if left == size {
                (kind, root) = kind_and_root(read);
            }
            checksum.add(read);
            left -= wanted as u64;
        }
        Ok((size > 0).then(|| Self { kind, size, is_whole: checksum.finish() == stored, root }))
    }
}

/// Reads the type of an entry, and the root that one of a checkpoint names, from the entry's first bytes.
///
/// An entry is a row of fields, each a number of two bytes and a value: 100 is the type; a checkpoint's 101 is a
/// pointer, whose 100 is the root. A value that is 0 is left out with its field.
fn kind_and_root(mut entry: &[u8]) -> (u8, Option<Pointer>) {
    let kind = read_field(&mut entry, 100).and_then(|()| read_number(&mut entry)).ok();
    match kind.and_then(|kind| u8::try_from(kind).ok()) {
        Some(CHECKPOINT) => {
            let root = read_field(&mut entry, 101).and_then(|()| read_field(&mut entry, 100));
            let root = root.and_then(|()| read_number(&mut entry)).unwrap_or(0);
            (CHECKPOINT, Some(Pointer(root)))
        }
        kind => (kind.unwrap_or_default(), None),
    }
}

/// Reads the header: its version, and where it ends.
fn read_header(log: &mut impl Read) -> io::Result<(u64, u64)> {
    let mut log = Counted { inner: log, bytes: 0 };
    read_field(&mut log, 100)?;
    if read_number(&mut log)? != u64::from(VERSION) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut version = 0;
    loop {
        match read_u16(&mut log)? {
            101 => version = read_number(&mut log)?,
            // The identifier of the database: a list of bytes, each a number.
            102 => (0..read_number(&mut log)?).try_for_each(|_| read_number(&mut log).map(drop))?,
            // The iteration of the checkpoint that the log follows.
            103 => drop(read_number(&mut log)?),
            u16::MAX => return Ok((version, log.bytes)),
            // What another version has more: its version says that it is not known.
            _ if version != KNOWN => return Ok((version, log.bytes)),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// A reader that knows how much was read.
struct Counted<'r, R> {
    inner: &'r mut R,
    bytes: u64,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes += read as u64;
        Ok(read)
    }
}

fn read_u16(log: &mut impl Read) -> io::Result<u16> {
    let mut bytes = [0; 2];
    log.read_exact(&mut bytes)?;
    Ok(u16::from_le_bytes(bytes))
}

fn read_field(log: &mut impl Read, number: u16) -> io::Result<()> {
    if read_u16(log)? == number { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Reads a number of seven bits a byte, the lowest first, of which only the last byte has no highest bit.
fn read_number(log: &mut impl Read) -> io::Result<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let mut byte = [0];
        log.read_exact(&mut byte)?;
        number |= u64::from(byte[0] & 0x7f) << shift;
        if byte[0] & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

/// Reads until the buffer is full, or the log ends, and returns how much.
fn fill(log: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match log.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use proptest::prelude::*;

    use super::super::checksum;
    use super::*;

    /// The header that DuckDB 1.5.4 writes to the log of a database of storage version 64.
    const OLD: &[u8] = b"d\0be\0\x02\xff\xff";

    /// The header that 2.0.0 writes: with the identifier of the database, and the checkpoint that the log follows.
    const NEW: &[u8] = b"d\0be\0\x02f\0\x10\x76\x15\x69\xf9\x01\x2f\xe1\x01\xb2\x01\x7a\x3f\x3e\x04\xda\x01\xa4\x01\
                         \x78\x82\x01\x82\x01g\0\x01\xff\xff";

    /// An entry of a type, with something in it.
    fn entry(kind: u8, inside: &[u8]) -> Vec<u8> {
        let payload = [&[100, 0, kind], inside, &[0xff, 0xff]].concat();
        let sum = checksum::of(&payload).to_le_bytes();
        [&(payload.len() as u64).to_le_bytes(), &sum[..], &payload].concat()
    }

    fn commit() -> Vec<u8> {
        entry(COMMIT, &[])
    }

    /// A checkpoint's entry, as 1.5.4 and 2.0.0 write it.
    fn checkpoint() -> Vec<u8> {
        entry(CHECKPOINT, b"e\0d\0\x80\x80\x80\x80\x80\x80\x80\x80\x04e\0\x08\xff\xff")
    }

    /// The entry of the first checkpoint of a database, whose root is block 0, as 1.5.4 writes it.
    fn first_checkpoint() -> Vec<u8> {
        entry(CHECKPOINT, b"e\0e\0\x08\xff\xff")
    }

    fn scanned(parts: &[&[u8]]) -> Scan {
        scan(&mut parts.concat().as_slice()).unwrap_or_default()
    }

    #[test]
    fn a_log_is_read_up_to_its_last_commit() {
        let (insert, rows, drop) = (entry(26, b"x"), entry(ROW_GROUPS, b"where"), entry(DROP_TABLE, b"t"));
        let one = [NEW, &insert, &commit()].concat();
        let end = one.len() as u64;
        let header_end = NEW.len() as u64;
        let plain = Scan { header_end, commits_end: end, ..Scan::default() };
        let root = Some(Pointer(0x0400_0000_0000_0000));
        let cases: &[(&str, &[&[u8]], Scan)] = &[
            ("nothing", &[], Scan::default()),
            ("half a header", &[&NEW[..20]], Scan::default()),
            ("a header", &[NEW], Scan { header_end, ..Scan::default() }),
            ("an older header", &[OLD], Scan { header_end: 8, ..Scan::default() }),
            ("a commit", &[&one], plain),
            ("an entry that is not committed", &[&one, &insert], plain),
            ("half an entry", &[&one, &commit()[..19]], plain),
            ("half a frame", &[&one, &commit()[..9]], plain),
            ("zeros", &[&one, &[0; 64]], plain),
            ("a drop that is not committed", &[&one, &drop], Scan { frees_blocks: true, ..plain }),
            ("rows that are not committed", &[&one, &rows], plain),
            ("a checkpoint", &[&one, &checkpoint()], Scan { checkpoint: root, ..plain }),
            ("the first checkpoint", &[&one, &first_checkpoint()], Scan { checkpoint: Some(Pointer(0)), ..plain }),
            (
                "the commit that ends a checkpoint",
                &[&one, &checkpoint(), &commit()],
                Scan { checkpoint: root, ..plain },
            ),
        ];
        for (what, parts, expected) in cases {
            assert_eq!(scanned(parts), *expected, "{what}");
        }
        let refers = scanned(&[&one, &rows, &commit()]);
        assert!(refers.refers_to_blocks && refers.commits_end > end);
        let broken = scanned(&[&one, &[5, 0, 0, 0, 0, 0, 0, 0], &[9; 8], b"d\0d\xff\xff"]);
        assert_eq!(broken, Scan { broken_at: Some(end), ..plain });
    }

    #[test]
    fn the_engine_logs_what_takes_blocks_out_of_use_as_it_is_read_here() {
        let prepared = "CREATE SCHEMA s; CREATE TABLE s.t (a INTEGER); CREATE TABLE t (a INTEGER, b INTEGER); \
                        CREATE INDEX i ON t (a); CREATE TYPE mood AS ENUM ('calm'); CHECKPOINT;";
        let cases = [
            ("DROP TABLE t", true),
            ("DROP SCHEMA s CASCADE", true),
            ("DROP TYPE mood", true),
            ("DROP INDEX i", true),
            ("ALTER TABLE s.t ADD COLUMN c INTEGER", true),
            ("ALTER TABLE s.t RENAME TO u", true),
            ("CREATE OR REPLACE TABLE s.t AS SELECT 1 AS a", true),
            ("INSERT INTO t VALUES (1, 2)", false),
            ("INSERT INTO t VALUES (1, 2); UPDATE t SET b = 3; DELETE FROM t", false),
            ("CREATE TABLE u (a INTEGER)", false),
            ("CREATE VIEW v AS SELECT 1 AS a; DROP VIEW v", false),
        ];
        for (statements, frees_blocks) in cases {
            let folder = tempfile::tempdir().unwrap();
            let database = folder.path().join("live.db");
            let engine = duckdb::Connection::open(&database).unwrap();
            engine.execute_batch(&format!("{prepared} {statements};")).unwrap();
            let log = std::fs::read(folder.path().join("live.db.wal")).unwrap();
            let read = scanned(&[&log]);
            assert_eq!(read.commits_end, log.len() as u64, "{statements}");
            assert_eq!(read.frees_blocks, frees_blocks, "{statements}");
        }
    }

    #[test]
    fn what_is_not_a_log_of_a_known_version_is_told_apart() {
        let told = |log: &[u8]| match scan(&mut &*log) {
            Ok(_) => "a log",
            Err(Unread::UnknownVersion(1)) => "an old one",
            Err(Unread::UnknownVersion(_)) => "a new one",
            Err(Unread::Encrypted) => "encrypted",
            Err(Unread::Foreign) => "another file",
            Err(Unread::Io(_)) => "unreadable",
        };
        let cases: &[(&[u8], &str)] = &[
            (OLD, "a log"),
            (NEW, "a log"),
            (b"d\0be\0\x01\xff\xff", "an old one"),
            (b"d\0be\0\x04\xff\xff", "a new one"),
            (b"d\0be\0\x04h\0\x07\xff\xff", "a new one"),
            (b"d\0be\0\x03\xff\xff", "encrypted"),
            (b"d\0be\0\x02h\0\x07\xff\xff", "another file"),
            (b"not a log", "another file"),
        ];
        for (log, expected) in cases {
            assert_eq!(told(log), *expected, "{log:?}");
        }
    }

    /// Entries in any order, commits among them.
    fn entries() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let inside = proptest::collection::vec(any::<u8>(), 0..60);
        let one = (prop_oneof![Just(COMMIT), 1u8..=31], inside).prop_map(|(kind, inside)| match kind {
            COMMIT => commit(),
            kind => entry(kind, &inside),
        });
        proptest::collection::vec(one, 0..30)
    }

    proptest! {
        #[test]
        fn wherever_a_log_is_torn_it_is_cut_at_the_last_commit_before(entries in entries(), torn in any::<prop::sample::Index>()) {
            let log = [NEW.to_vec(), entries.concat()].concat();
            let ends = entries.iter().scan(NEW.len(), |end, entry| {
                *end += entry.len();
                Some((*end, *entry == commit()))
            });
            let torn = torn.index(log.len() + 1);
            let last = ends.filter(|(end, is_commit)| *is_commit && *end <= torn).map(|(end, _)| end).last();
            let scan = scanned(&[&log[..torn]]);
            prop_assert_eq!(scan.commits_end, last.unwrap_or(0) as u64);
            prop_assert_eq!(scan.broken_at, None);
        }

        #[test]
        fn a_log_that_was_cut_says_the_same_again(entries in entries(), tail in proptest::collection::vec(any::<u8>(), 0..16)) {
            let log = [NEW.to_vec(), entries.concat(), tail].concat();
            let first = scanned(&[&log]);
            let end = usize::try_from(first.commits_end).unwrap_or_default();
            let again = scanned(&[&log[..end]]);
            prop_assert_eq!((again.commits_end, again.refers_to_blocks), (first.commits_end, first.refers_to_blocks));
        }

        #[test]
        fn reading_on_from_a_commit_says_what_reading_all_does(entries in entries(), more in entries()) {
            let log = [NEW.to_vec(), entries.concat()].concat();
            let first = scanned(&[&log]);
            let all = scanned(&[&log, &more.concat()]);
            let begin = usize::try_from(first.commits_end.max(first.header_end)).unwrap_or_default();
            let grown = [&log[begin..], &more.concat()].concat();
            let on = scan_on(&mut grown.as_slice(), begin as u64, Scan { frees_blocks: first.frees_blocks, ..first });
            prop_assert_eq!(on.ok(), Some(all));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            drop(scan(&mut bytes.as_slice()));
            drop(scan_on(&mut bytes.as_slice(), 0, Scan::default()));
        }
    }
}
