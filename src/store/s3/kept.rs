//! Whether a server keeps objects as it was asked to: encrypted, and in a class.
//!
//! A server may overlook both, and answer as if it had not: Garage knows neither, Ceph without a key of its own no
//! `AES256`. So what it says of an object is compared with what was asked for.

use std::sync::atomic::Ordering;

use aws_sdk_s3::types::ServerSideEncryption;

use super::Opened;
use crate::diagnose::Finding;
use crate::name::Key;
use crate::plan::Checksum;
use crate::store::StoreError;

/// The class of an object of which a server names none.
const USUAL: &str = "STANDARD";

/// What the look at the class is called.
const CLASS: &str = "storage class";

/// What is said of a server that overlooks the checksum which the plan asks for by name.
pub(super) const UNCOMPARED: &str = "the server compares no CRC64NVME, which `checksum = \"crc64nvme\"` asks for";

impl Opened {
    /// Accepts an object that was just stored, or takes it away again where it is not encrypted as the plan wants it.
    pub(super) async fn accept(&self, key: &Key, said: Option<ServerSideEncryption>) -> Result<(), StoreError> {
        let kept = self.check_kept(key, said).await;
        if kept.is_err() {
            // The first error is the one to tell.
            drop(self.delete(key).await);
        }
        kept
    }

    /// Goes on only if an object is encrypted as the plan wants it: by what the server `said` when it took it, or else by a
    /// look at it. Takes note of the class of the first object.
    pub(super) async fn check_kept(&self, key: &Key, said: Option<ServerSideEncryption>) -> Result<(), StoreError> {
        let asked = self.encryption();
        let is_confirmed = asked.is_none() || said == asked;
        let knows_class = self.bucket.storage_class().is_none() || self.learnt.class.get().is_some();
        let head = if is_confirmed && knows_class { None } else { self.head(key).await? };
        if let Some(head) = head.as_ref().filter(|_| !knows_class) {
            let class = head.class.as_ref().map_or(USUAL, |class| class.as_str());
            self.learnt.class.get_or_init(|| class.to_owned());
        }
        match asked {
            Some(asked) if !is_confirmed && head.and_then(|head| head.encryption).as_ref() != Some(&asked) => {
                Err(StoreError::Unencrypted { at: self.locate(key.as_str()), asked: asked.as_str().to_owned() })
            }
            asked => {
                self.learnt.encrypts.fetch_or(asked.is_some(), Ordering::Relaxed);
                Ok(())
            }
        }
    }

    /// Says in which class objects are instead of the one that the plan wants, where that was seen.
    pub(super) fn other_class(&self) -> Option<String> {
        let (asked, found) = (self.bucket.storage_class()?, self.learnt.class.get()?);
        (asked != found).then(|| format!("the server keeps objects in the class `{found}`, not in `{asked}`"))
    }

    /// Says that the server compares no checksum, where the plan asks for one by its name.
    pub(super) fn ignored_checksum(&self) -> Option<String> {
        let is_ignored = !self.learnt.compares_checksums.load(Ordering::Relaxed);
        (self.bucket.checksum() == Checksum::Crc64Nvme && is_ignored).then(|| UNCOMPARED.to_owned())
    }

    /// Tells what was seen of the encryption and the class that the plan wants. That the encryption is not had has failed a
    /// write by now.
    pub(super) fn examine_kept(&self) -> impl Iterator<Item = Finding> {
        let encryption = self.encryption().filter(|_| self.learnt.encrypts.load(Ordering::Relaxed));
        let encryption =
            encryption.map(|asked| Finding::ok("encryption", format!("the server encrypts with `{}`", asked.as_str())));
        let class = self.learnt.class.get().map(|found| match self.other_class() {
            Some(other) => {
                Finding::warning(CLASS, other, "name a class that this server has, or leave `storage_class` out")
            }
            None => Finding::ok(CLASS, format!("objects are in `{found}`")),
        });
        encryption.into_iter().chain(class)
    }
}
