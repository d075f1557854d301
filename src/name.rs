//! The words that things are called by: jobs, databases, snapshots, runs, keys.
//!
//! Every name is checked once, where it comes in, and is a type of its own from then on: what has the
//! type is well formed. Nothing here touches a clock, a file or a network.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text is not the name it was taken for: a sentence without a full stop, ready to follow a place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(String);

impl NameError {
    fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// Gives a checked name the serde form of its text: `String` out, `FromStr` in.
macro_rules! text_form {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.to_string()
            }
        }
    };
}

mod shard;

pub use shard::Shard;

/// What a person calls a source, a destination or a job: `nightly`, `offsite-2`.
///
/// One to 64 characters of `a-z`, `0-9`, `-` and `_`, beginning with a letter or a digit, so that a name
/// may stand in a file name, a metric label and a log line without quoting.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name that is a plain word of this program, and so is well formed.
    pub(crate) fn of(word: &'static str) -> Self {
        Self(word.to_owned())
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if text.is_empty() || text.len() > 64 {
            return Err(NameError::new("a name has 1 to 64 characters"));
        }
        if !text.chars().all(allowed) || text.starts_with(['-', '_']) {
            return Err(NameError::new("a name is made of a-z, 0-9, `-` and `_`, and begins with a letter or a digit"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

text_form!(Name);

/// The moment a set of snapshots is named after, to the second, in UTC: `2026-03-08T120000Z`.
///
/// The form is HitKeep's own: it sorts by time as text and holds no character that a file system minds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SnapshotId(Timestamp);

impl SnapshotId {
    const FORM: &'static str = "%Y-%m-%dT%H%M%SZ";

    /// Returns the id of the second that `moment` lies in.
    #[must_use]
    pub fn at(moment: Timestamp) -> Self {
        Self(Timestamp::from_second(moment.as_second()).unwrap_or(moment))
    }

    /// Returns the moment itself.
    #[must_use]
    pub fn moment(self) -> Timestamp {
        self.0
    }

    /// Returns the id one second later.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(jiff::SignedDuration::from_secs(1)).unwrap_or(self.0))
    }
}

impl FromStr for SnapshotId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let refused = || NameError::new("a snapshot is named like `2026-03-08T120000Z`");
        let time = strtime::parse(Self::FORM, text).and_then(|parsed| parsed.to_datetime()).map_err(|_| refused())?;
        let id = Self(TimeZone::UTC.to_timestamp(time).map_err(|_| refused())?);
        // `strtime` also reads `2026-3-8T…`: only the one canonical form is a name.
        if id.to_string() == text { Ok(id) } else { Err(refused()) }
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.strftime(Self::FORM).to_string())
    }
}

text_form!(SnapshotId);

/// Defines the id of something of HitKeep's: a UUID, written in lower case with hyphens.
macro_rules! uuid_name {
    ($(#[doc = $meaning:literal])+ $name:ident, $refusal:literal) => {
        $(#[doc = $meaning])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Uuid);

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                match Uuid::try_parse(text) {
                    Ok(id) if id.hyphenated().to_string() == text => Ok(Self(id)),
                    _ => Err(NameError::new($refusal)),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0.hyphenated().to_string())
            }
        }

        text_form!($name);
    };
}

uuid_name! {
    /// A HitKeep tenant ("team" in its interface): a UUID, written in lower case with hyphens.
    TenantId, "a tenant is named by its UUID, in lower case with hyphens"
}

uuid_name! {
    /// A site whose traffic HitKeep counts: a UUID, written in lower case with hyphens.
    SiteId, "a site is named by its UUID, in lower case with hyphens"
}

/// A month of the calendar, in UTC: `2026-03`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Month(Date);

impl Month {
    /// Returns its first day.
    #[must_use]
    pub fn first_day(self) -> Date {
        self.0
    }

    /// Returns the month after it.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.last_of_month().tomorrow().unwrap_or(self.0))
    }
}

impl FromStr for Month {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let day: Option<Date> = format!("{text}-01").parse().ok();
        let month = day.map(Self).filter(|month| month.to_string() == text);
        month.ok_or_else(|| NameError::new("a month is written as in `2026-03`"))
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.strftime("%Y-%m").to_string())
    }
}

text_form!(Month);

/// One of an installation's databases: `shared`, or a tenant's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DatabaseId {
    /// The database of users, sites and tenants; before HitKeep 2.13 also the default tenant's traffic.
    Shared,
    /// The traffic of one tenant.
    Tenant(TenantId),
}

impl FromStr for DatabaseId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text == "shared" {
            return Ok(Self::Shared);
        }
        text.parse().map(Self::Tenant).map_err(|_| NameError::new("a database is `shared` or a tenant's UUID"))
    }
}

impl fmt::Display for DatabaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shared => f.pad("shared"),
            Self::Tenant(id) => id.fmt(f),
        }
    }
}

text_form!(DatabaseId);

/// One run of one job, unique on every host (a UUID of version 7, so that ids sort by time).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(Uuid);

impl RunId {
    /// Returns a fresh id for a run that begins at `moment`.
    #[must_use]
    pub fn fresh(moment: Timestamp) -> Self {
        let seconds = u64::try_from(moment.as_second()).unwrap_or(0);
        let nanos = u32::try_from(moment.subsec_nanosecond()).unwrap_or(0);
        Self(Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanos)))
    }

    /// Returns the id made of these 16 bytes, for runs whose whole output must be known beforehand.
    #[must_use]
    pub fn fixed(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl FromStr for RunId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Uuid::try_parse(text).map(Self).map_err(|_| NameError::new("a run is named by a UUID"))
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.hyphenated().to_string())
    }
}

text_form!(RunId);

/// Where an object lies below the root of its store: segments joined by `/`, at least one.
///
/// No segment is empty, `.` or `..`, longer than 255 bytes, or holds a control character, so a key never
/// leaves its root and is a valid path of every Unix file system.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key(String);

impl Key {
    /// Returns the key of a text that is made of ids and plain words, and so is well formed.
    pub(crate) fn of(text: String) -> Self {
        debug_assert!(text.split('/').try_for_each(check_segment).is_ok(), "{text:?} is no key");
        Self(text)
    }

    /// Returns the key as text, without a slash at either end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the last segment.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

impl FromStr for Key {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        text.split('/').try_for_each(check_segment)?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

text_form!(Key);

/// A folder of keys below the root of a store: like a [`Key`], but it may be empty, which is the root.
///
/// A prefix ends at a segment's end: `hitkeep/backups` does not hold `hitkeep/backups-archive/x`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix(String);

impl Prefix {
    /// Returns the prefix as text, without a slash at either end; empty for the root.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the segments in order; none for the root.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|segment| !segment.is_empty())
    }

    /// Returns the prefix of a text that is made of ids and plain words, and so is well formed.
    pub(crate) fn of(text: String) -> Self {
        Self(Key::of(text).0)
    }

    /// Returns the key of `rest` inside this prefix.
    #[must_use]
    pub fn key(&self, rest: &Key) -> Key {
        if self.0.is_empty() { rest.clone() } else { Key(format!("{}/{rest}", self.0)) }
    }

    /// Returns the prefix that `rest` is inside this one.
    #[must_use]
    pub fn join(&self, rest: &Self) -> Self {
        match (self.0.is_empty(), rest.0.is_empty()) {
            (true, _) => rest.clone(),
            (_, true) => self.clone(),
            _ => Self(format!("{}/{rest}", self.0)),
        }
    }

    /// Returns what follows this prefix in `key`, or nothing when the key lies elsewhere.
    #[must_use]
    pub fn strip<'k>(&self, key: &'k Key) -> Option<&'k str> {
        if self.0.is_empty() {
            return Some(key.as_str());
        }
        key.as_str().strip_prefix(self.as_str())?.strip_prefix('/')
    }
}

impl FromStr for Prefix {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if !text.is_empty() {
            text.split('/').try_for_each(check_segment)?;
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

text_form!(Prefix);

fn check_segment(segment: &str) -> Result<(), NameError> {
    let reason = match segment {
        "" => "it holds an empty segment (a slash at an end, or two in a row)",
        "." | ".." => "it holds a segment `.` or `..`",
        long if long.len() > 255 => "it holds a segment of more than 255 bytes",
        odd if odd.chars().any(char::is_control) => "it holds a control character",
        _ => return Ok(()),
    };
    Err(NameError::new(reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_id_has_exactly_one_form() {
        for good in ["2026-03-08T120000Z", "1999-12-31T235959Z"] {
            assert_eq!(good.parse::<SnapshotId>().map(|id| id.to_string()), Ok(good.to_owned()));
        }
        for bad in
            ["", "latest", "2026-3-8T120000Z", "2026-03-08T12:00:00Z", "2026-02-30T000000Z", "2026-03-08T120000Z "]
        {
            assert!(bad.parse::<SnapshotId>().is_err(), "{bad:?} was taken for a snapshot id");
        }
    }

    #[test]
    fn a_key_never_leaves_its_root() {
        for bad in ["", "/a", "a/", "a//b", "..", "a/../b", "./a", "a\nb", &"x".repeat(256)] {
            assert!(bad.parse::<Key>().is_err(), "{bad:?} was taken for a key");
        }
        for good in ["a", "a b/c+d%20", "ü/日本", "..."] {
            assert!(good.parse::<Key>().is_ok(), "{good:?} was refused");
        }
    }

    #[test]
    fn a_prefix_ends_at_a_segment() {
        let prefix: Prefix = "hitkeep/backups".parse().unwrap_or_default();
        let inside: Result<Key, _> = "runs/x.json".parse();
        assert_eq!(
            inside.map(|key| prefix.strip(&prefix.key(&key)).map(str::to_owned)),
            Ok(Some("runs/x.json".to_owned()))
        );
        let beside: Result<Key, _> = "hitkeep/backups-archive/x".parse();
        assert_eq!(beside.map(|key| prefix.strip(&key).map(str::to_owned)), Ok(None));
    }
}
