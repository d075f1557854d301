//! Having the server copy an object: its bytes are not sent again.
//!
//! A copy has the class, the encryption and the checksum that the plan wants for a new object, whatever the original has.

use aws_sdk_s3::Config;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::types::{ChecksumAlgorithm, StorageClass};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::refusal::Refused;
use super::{Opened, until_stopped};
use crate::event::Meter;
use crate::name::Key;
use crate::store::StoreError;

/// How often a copy is asked for at most: whoever asks can do without.
const ATTEMPTS: u32 = 2;

/// What is encoded in the name of the original, which travels in a header: all but what a path may have.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

impl Opened {
    /// Copies an object of the bucket. Not every server knows a condition for that, so the key is looked at first: who
    /// copies holds the lease of the place.
    pub(super) async fn copy(&self, from: &Key, to: &Key, bytes: u64, meter: &Meter) -> Result<(), StoreError> {
        let stopped = || StoreError::Stopped { at: self.locate(to.as_str()) };
        if meter.is_stopped() {
            // Of a request that is sent and given up in one moment, the server may have got everything.
            return Err(stopped());
        }
        if self.head(to).await?.is_some() {
            return Err(StoreError::Exists { at: self.locate(to.as_str()) });
        }
        until_stopped(meter, || self.locate(to.as_str()), Box::pin(self.copy_to(from, to, bytes))).await?;
        if meter.add(bytes) { Ok(()) } else { Err(stopped()) }
    }

    async fn copy_to(&self, from: &Key, to: &Key, bytes: u64) -> Result<(), StoreError> {
        let original = format!("{}/{}", self.bucket.name(), self.full(from));
        let copy = self.client.copy_object().bucket(self.bucket.name()).key(self.full(to));
        let copied = copy
            .copy_source(utf8_percent_encode(&original, ENCODED).to_string())
            .set_storage_class(self.bucket.storage_class().map(StorageClass::from))
            .set_server_side_encryption(self.encryption())
            .set_ssekms_key_id(self.kms_key())
            .set_checksum_algorithm(self.sends_checksums().then_some(ChecksumAlgorithm::Crc64Nvme))
            .customize()
            .config_override(Config::builder().retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS)))
            .interceptor(self.pace.patience(bytes, 1))
            .send()
            .await;
        match copied {
            Ok(answer) => self.accept(to, answer.server_side_encryption).await,
            Err(error) if error.is_missing() => Err(StoreError::Missing { at: self.locate(from.as_str()) }),
            Err(error) => Err(self.failed("copy", from.as_str())(error)),
        }
    }
}
