//! A part of an installation's databases, for one of several runs that back it up together.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{DatabaseId, Name, NameError, Prefix, TenantId};

/// One of the parts, about equal, that the tenants of an installation are dealt out to: `0/3` is the first of three.
///
/// Which tenant is whose goes by nothing but its id and the number of parts: a tenant that comes or goes moves no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Shard {
    count: u16,
    index: u16,
}

impl Shard {
    /// Returns how many there are.
    #[must_use]
    pub fn count(self) -> u16 {
        self.count
    }

    /// Returns the others, in order.
    pub fn others(self) -> impl Iterator<Item = Self> {
        (0..self.count).filter(move |index| *index != self.index).map(move |index| Self { index, ..self })
    }

    /// Tells whether a database is in this part. The shared one is in the first.
    #[must_use]
    pub fn includes(self, database: DatabaseId) -> bool {
        match database {
            DatabaseId::Shared => self.index == 0,
            DatabaseId::Tenant(tenant) => part_of(tenant, self.count) == self.index,
        }
    }

    /// Names a job of a plan for people, of which this is about a part, if it is: `nightly, shard 0/3`.
    #[must_use]
    pub fn title(job: &Name, shard: Option<Self>) -> String {
        shard.map_or_else(|| job.to_string(), |shard| format!("{job}, shard {shard}"))
    }

    /// Returns the folder of what belongs to it: `shard-0-of-3`.
    #[must_use]
    pub fn folder(self) -> Prefix {
        Prefix::of(self.folder_name())
    }

    /// Returns the shard that a folder of this name belongs to, if it is one of these folders.
    #[must_use]
    pub fn of_folder(name: &str) -> Option<Self> {
        let (index, count) = name.strip_prefix("shard-")?.split_once("-of-")?;
        format!("{index}/{count}").parse().ok().filter(|shard: &Self| shard.folder_name() == name)
    }

    /// Returns the name of that folder, which may also be a part of a file's name.
    #[must_use]
    pub fn folder_name(self) -> String {
        format!("shard-{}-of-{}", self.index, self.count)
    }
}

/// Returns which of `count` parts a tenant is in: the first eight bytes of its id's SHA-256, as one number, modulo `count`.
fn part_of(tenant: TenantId, count: u16) -> u16 {
    let digest = Sha256::digest(tenant.0.as_bytes());
    // Horner's rule: the remainder of the number, byte by byte, with no number larger than 2^24 on the way.
    let remainder = digest[..8].iter().fold(0, |rest: u32, byte| ((rest << 8) | u32::from(*byte)) % u32::from(count));
    u16::try_from(remainder).unwrap_or_default()
}

impl FromStr for Shard {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let numbers = text.split_once('/').filter(|(index, count)| is_number(index) && is_number(count));
        let numbers = numbers.and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
        match numbers {
            Some((index, count)) if index < count => Ok(Self { count, index }),
            Some((_, count @ 1..)) => {
                let last = count - 1;
                Err(NameError::new(format!("shards are counted from 0: the last of {count} is `{last}/{count}`")))
            }
            _ => Err(NameError::new(
                "a shard is written `I/N` and counted from 0: `0/3`, `1/3` and `2/3` are all of three",
            )),
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.index, self.count))
    }
}

text_form!(Shard);

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    fn shard(text: &str) -> Shard {
        text.parse().unwrap()
    }

    /// Returns the shards that have a database.
    fn holders(database: DatabaseId, count: u16) -> Vec<Shard> {
        (0..count).map(|index| Shard { count, index }).filter(|shard| shard.includes(database)).collect()
    }

    proptest::proptest! {
        #[test]
        fn every_tenant_is_in_one_shard(id: u128, count in 1_u16..) {
            let database = DatabaseId::Tenant(TenantId(uuid::Uuid::from_u128(id)));
            proptest::prop_assert_eq!(holders(database, count).len(), 1);
        }

        #[test]
        fn a_shard_is_read_as_it_is_written(index: u16, count: u16) {
            proptest::prop_assume!(index < count);
            let shard = Shard { count, index };
            proptest::prop_assert_eq!(shard.to_string().parse(), Ok(shard));
            proptest::prop_assert_eq!(Shard::of_folder(shard.folder().as_str()), Some(shard));
        }
    }

    #[test]
    fn what_is_in_which_shard_is_never_changed() {
        // What lies at a destination was dealt out like this. These are what `sha256sum` and `bc` come to.
        for (tenant, shards) in [
            ("00000000-0000-4000-8000-000000000001", ["0/1", "0/2", "2/3", "6/7"]),
            ("00000000-0000-4000-8000-000000000002", ["0/1", "1/2", "2/3", "2/7"]),
            ("0190a5c2-7b1e-7c3d-9e4f-1a2b3c4d5e6f", ["0/1", "1/2", "0/3", "0/7"]),
        ] {
            let database = tenant.parse().unwrap();
            assert_eq!(shards.map(|text| holders(database, shard(text).count())), shards.map(|text| vec![shard(text)]));
        }
        for count in [1, 2, 3, u16::MAX] {
            assert_eq!(holders(DatabaseId::Shared, count), [Shard { index: 0, count }]);
        }
    }

    #[test]
    fn shards_are_about_equal() {
        let tenants = (0..3_000).map(|id| DatabaseId::Tenant(TenantId(uuid::Uuid::from_u128(id))));
        let tenants: Vec<DatabaseId> = tenants.collect();
        let sizes = ["0/3", "1/3", "2/3"].map(|text| tenants.iter().filter(|id| shard(text).includes(**id)).count());
        assert!(sizes.iter().all(|size| (900..1_100).contains(size)), "{sizes:?}");
    }

    #[test]
    fn what_is_no_shard_is_taught() {
        let form = "a shard is written `I/N` and counted from 0: `0/3`, `1/3` and `2/3` are all of three";
        for (text, said) in [
            ("3/3", "shards are counted from 0: the last of 3 is `2/3`"),
            ("1/1", "shards are counted from 0: the last of 1 is `0/1`"),
            ("0/0", form),
            ("1", form),
            ("", form),
            ("/3", form),
            ("+1/3", form),
            ("1/3/5", form),
            ("0/65536", form),
        ] {
            assert_eq!(text.parse::<Shard>().unwrap_err().to_string(), said, "{text}");
        }
        for folder in ["shard-3-of-3", "shard-00-of-3", "shard-0-of-3x", "shards", "shard-0-of-", "shard-+0-of-3"] {
            assert_eq!(Shard::of_folder(folder), None, "{folder}");
        }
    }
}
