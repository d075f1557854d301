//! The measures that things have: bytes, spans of time, digests, counts as people read them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use crc_fast::CrcAlgorithm;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// Why a text is no measure: a sentence without a full stop, ready to follow a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MeasureError(&'static str);

/// What may still be written to a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Free {
    /// How much.
    pub bytes: Bytes,
    /// Which file system, by the number that the kernel has for it while it is mounted.
    pub file_system: u64,
}

/// A number of bytes; written in plans with a binary unit: `512KiB`, `16MiB`, `1GiB`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

const UNITS: [(&str, u64); 5] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl FromStr for Bytes {
    type Err = MeasureError;

    fn from_str(text: &str) -> Result<Self, MeasureError> {
        let refused = MeasureError("a size is a whole number and a unit, as in `512KiB`, `16MiB` or `1GiB`");
        let (digits, unit) = split_unit(text).ok_or(refused)?;
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(refused)?;
        digits.checked_mul(*factor).map(Self).ok_or(MeasureError("this size is larger than any disk"))
    }
}

/// Writes the size as people read it, with one decimal: `47.2 MiB`.
impl fmt::Display for Bytes {
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown; 52 bits are plenty")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = UNITS.iter().find(|(_, factor)| self.0 >= *factor).unwrap_or(&("B", 1));
        if *factor == 1 {
            return f.pad(&format!("{} {unit}", self.0));
        }
        f.pad(&format!("{:.1} {unit}", self.0 as f64 / *factor as f64))
    }
}

/// A span of time as plans write it: `90s`, `15m`, `2h`, `7d`, `4w`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Duration);

const SPANS: [(&str, u64); 5] = [("w", 604_800), ("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

impl FromStr for Span {
    type Err = MeasureError;

    fn from_str(text: &str) -> Result<Self, MeasureError> {
        let refused = MeasureError("a span is a whole number and a unit, as in `90s`, `15m`, `2h`, `7d` or `4w`");
        let (digits, unit) = split_unit(text).ok_or(refused)?;
        let (_, factor) = SPANS.iter().find(|(name, _)| *name == unit).ok_or(refused)?;
        let seconds = digits.checked_mul(*factor).ok_or(MeasureError("this span is longer than anyone lives"))?;
        Ok(Self(Duration::from_secs(seconds)))
    }
}

/// Writes the span in the largest unit that divides it: what was read as `2h` is written as `2h`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (unit, factor) =
            SPANS.iter().find(|(_, factor)| seconds != 0 && seconds.is_multiple_of(*factor)).unwrap_or(&("s", 1));
        f.pad(&format!("{}{unit}", seconds / factor))
    }
}

/// A share of a whole, in percent, from 0 to 100: `50%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share(u8);

impl Share {
    /// One half.
    pub const HALF: Self = Self(50);

    /// Returns the share in percent.
    #[must_use]
    pub fn percent(self) -> u8 {
        self.0
    }

    /// Tells whether `now` is less than `before` by more than this share of it.
    #[must_use]
    pub fn is_exceeded(self, before: u64, now: u64) -> bool {
        let lost = u128::from(before.saturating_sub(now));
        lost * 100 > u128::from(before) * u128::from(self.0)
    }
}

impl FromStr for Share {
    type Err = MeasureError;

    fn from_str(text: &str) -> Result<Self, MeasureError> {
        let refused = MeasureError("a share is a whole number from 0 to 100 and `%`, as in `50%`");
        match split_unit(text) {
            Some((percent @ 0..=100, "%")) => u8::try_from(percent).map(Self).map_err(|_| refused),
            _ => Err(refused),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}%", self.0))
    }
}

/// Splits `16MiB` into its number and its unit; the number is not empty and has no sign, no space, no point.
fn split_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at(end);
    Some((digits.parse().ok()?, unit))
}

/// The SHA-256 digest of some bytes; as text, 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// Returns the digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// Returns the number that its first eight bytes spell.
    #[must_use]
    pub fn leading(self) -> u64 {
        self.0.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// Returns the digest of everything that `hasher` was fed.
    #[must_use]
    pub fn finish(hasher: sha2::Sha256) -> Self {
        Self(hasher.finalize().into())
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Sha256 {
    type Err = MeasureError;

    fn from_str(text: &str) -> Result<Self, MeasureError> {
        let refused = MeasureError("a SHA-256 digest is 64 hexadecimal digits");
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()) {
            return Err(refused);
        }
        let mut digest = [0; 32];
        for (byte, index) in digest.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[index..index + 2], 16).map_err(|_| refused)?;
        }
        Ok(Self(digest))
    }
}

impl TryFrom<String> for Sha256 {
    type Error = MeasureError;

    fn try_from(text: String) -> Result<Self, MeasureError> {
        text.parse()
    }
}

impl From<Sha256> for String {
    fn from(digest: Sha256) -> Self {
        digest.to_string()
    }
}

/// The CRC-64/NVME of some bytes, the checksum that S3 keeps of a whole object; written as S3 writes it, in Base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Crc64(u64);

impl Crc64 {
    /// Returns the checksum of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes))
    }
}

impl fmt::Display for Crc64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&BASE64_STANDARD.encode(self.0.to_be_bytes()))
    }
}

impl FromStr for Crc64 {
    type Err = MeasureError;

    fn from_str(text: &str) -> Result<Self, MeasureError> {
        let bytes = BASE64_STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(|bytes| Self(u64::from_be_bytes(bytes))).ok_or(MeasureError("a CRC-64/NVME is 8 bytes in Base64"))
    }
}

impl TryFrom<String> for Crc64 {
    type Error = MeasureError;

    fn try_from(text: String) -> Result<Self, MeasureError> {
        text.parse()
    }
}

impl From<Crc64> for String {
    fn from(crc: Crc64) -> Self {
        crc.to_string()
    }
}

/// Rows and a digest of them that does not depend on their order: those of two heaps of rows add up.
///
/// The digest is made of an engine's hashes, and compares only with one of the same engine version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// How many rows there are.
    pub rows: u64,
    /// The sum of their hashes.
    pub sum: u128,
    /// The exclusive or of their hashes.
    pub xor: u64,
}

impl std::ops::AddAssign for Content {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.sum = self.sum.wrapping_add(other.sum);
        self.xor ^= other.xor;
    }
}

impl Content {
    /// Returns the digest as records hold it.
    #[must_use]
    pub fn digest(&self) -> String {
        format!("{:x}-{:x}", self.sum, self.xor)
    }

    /// Reads a digest of so many rows; nothing where it is none.
    #[must_use]
    pub fn read(rows: u64, digest: &str) -> Option<Self> {
        let (sum, xor) = digest.split_once('-')?;
        Some(Self { rows, sum: u128::from_str_radix(sum, 16).ok()?, xor: u64::from_str_radix(xor, 16).ok()? })
    }
}

/// Measures bytes while they pass by: how many, and both of their digests, in one pass.
#[derive(Clone, Debug)]
pub struct Tally {
    bytes: u64,
    sha256: sha2::Sha256,
    crc64nvme: crc_fast::Digest,
}

impl Default for Tally {
    fn default() -> Self {
        Self { bytes: 0, sha256: sha2::Sha256::new(), crc64nvme: crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme) }
    }
}

impl Tally {
    /// Adds the bytes that come next.
    pub fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.sha256.update(bytes);
        self.crc64nvme.update(bytes);
    }

    /// Returns the size in bytes, and the digests, of everything that was added.
    #[must_use]
    pub fn finish(self) -> (u64, Sha256, Crc64) {
        (self.bytes, Sha256::finish(self.sha256), Crc64(self.crc64nvme.finalize()))
    }
}

/// A count written with thin groups of three: `1 234 567`.
#[derive(Clone, Copy, Debug)]
pub struct Grouped(pub u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut text = String::with_capacity(digits.len() * 4 / 3);
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                text.push(' ');
            }
            text.push(digit);
        }
        f.pad(&text)
    }
}

/// A count and its noun, in the singular or the plural: `1 table`, `68 tables`.
#[must_use]
pub fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", Grouped(count as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        let read = |text: &str| text.parse::<Bytes>().map(|bytes| bytes.0);
        assert_eq!(read("512KiB"), Ok(524_288));
        assert_eq!(read("0B"), Ok(0));
        for bad in ["", "16", "MiB", "16 MiB", "1.5GiB", "-1KiB", "16MB", "99999999999TiB"] {
            assert!(read(bad).is_err(), "{bad:?} was taken for a size");
        }
        assert_eq!(Bytes(49_492_787).to_string(), "47.2 MiB");
        assert_eq!(Bytes(1023).to_string(), "1023 B");
    }

    #[test]
    fn spans_are_read_and_written() {
        for text in ["90s", "15m", "2h", "5d", "4w", "0s"] {
            assert_eq!(text.parse::<Span>().map(|span| span.to_string()), Ok(text.to_owned()));
        }
        for bad in ["", "2", "h", "2 h", "1.5h", "-1h", "2H", "2h30m", "99999999999999999w"] {
            assert!(bad.parse::<Span>().is_err(), "{bad:?} was taken for a span");
        }
    }

    #[test]
    fn shares_are_read_written_and_exceeded() {
        for text in ["0%", "7%", "50%", "100%"] {
            assert_eq!(text.parse::<Share>().map(|share| share.to_string()), Ok(text.to_owned()));
        }
        for bad in ["", "50", "%", "50 %", "-1%", "0.5%", "101%", "300%"] {
            assert!(bad.parse::<Share>().is_err(), "{bad:?} was taken for a share");
        }
        for (share, before, now, is_exceeded) in [
            (Share(50), 100, 50, false),
            (Share(50), 100, 49, true),
            (Share(50), 0, 0, false),
            (Share(50), 1, 100, false),
            (Share(0), 100, 100, false),
            (Share(0), 100, 99, true),
            (Share(100), 100, 0, false),
            (Share(99), u64::MAX, 0, true),
        ] {
            assert_eq!(share.is_exceeded(before, now), is_exceeded, "{share} of {before}, now {now}");
        }
    }

    #[test]
    fn digests_and_counts_are_written_as_people_compare_them() {
        let digest = Sha256::of(b"abc");
        assert_eq!(digest.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        let crc = Crc64::of(b"123456789");
        assert_eq!((crc.to_string().as_str(), crc.to_string().parse()), ("rosUhgp5mIg=", Ok(crc)));
        let mut tally = Tally::default();
        for part in [&b"1234"[..], b"", b"56789"] {
            tally.add(part);
        }
        assert_eq!(tally.finish(), (9, Sha256::of(b"123456789"), crc), "in one pass as in several");
        assert_eq!([Grouped(0), Grouped(999), Grouped(1_234_567)].map(|n| n.to_string()), ["0", "999", "1 234 567"]);
        assert_eq!([counted(1, "table"), counted(68, "table")], ["1 table", "68 tables"]);
    }
}
