//! Having the server copy an object: its bytes are not sent again.
//!
//! A copy has the class, the encryption and the checksum that the plan wants for a new object, whatever the original has.

use aws_sdk_s3::Config;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedPart, StorageClass};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::refusal::Refused;
use super::upload::MOST_PARTS;
use super::{Opened, until_stopped};
use crate::event::Meter;
use crate::name::Key;
use crate::store::{Mode, Moved, StoreError};

/// How many bytes S3 copies in one request.
pub(super) const AT_ONCE: u64 = 5 << 30;

/// How many bytes of a larger object are copied in one request: several are under way at a time.
const PART: u64 = 1 << 30;

/// How often a copy is asked for at most: whoever asks can do without.
const ATTEMPTS: u32 = 2;

/// What is encoded in the name of the original, which travels in a header: all but what a path may have.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

impl Opened {
    /// Copies an object of the bucket. Not every server knows a condition for that, so the key is looked at first: who
    /// copies holds the lease of the place.
    pub(super) async fn copy(&self, from: &Key, to: &Key, measure: Moved, meter: &Meter) -> Result<(), StoreError> {
        if meter.is_stopped() {
            // Of a request that is sent and given up in one moment, the server may have got everything.
            return Err(StoreError::Stopped { at: self.locate(to.as_str()) });
        }
        if self.head(to).await?.is_some() {
            return Err(StoreError::Exists { at: self.locate(to.as_str()) });
        }
        if measure.bytes > self.copied_at_once {
            self.copy_in_parts(from, to, measure, meter).await?;
        } else {
            let copied = Box::pin(self.copy_whole(from, to, measure.bytes));
            until_stopped(meter, || self.locate(to.as_str()), copied).await?;
        }
        self.counted(to, measure, meter).map(drop)
    }

    /// Copies an object in one request.
    async fn copy_whole(&self, from: &Key, to: &Key, bytes: u64) -> Result<(), StoreError> {
        let copy = self.client.copy_object().bucket(self.bucket.name()).key(self.full(to));
        let copied = copy
            .copy_source(self.original(from))
            .set_storage_class(self.bucket.storage_class().map(StorageClass::from))
            .set_server_side_encryption(self.encryption())
            .set_ssekms_key_id(self.kms_key())
            .set_checksum_algorithm(self.sends_checksums().then_some(ChecksumAlgorithm::Crc64Nvme))
            .customize()
            .config_override(not_insisting())
            .interceptor(self.pace.patience(bytes, 1))
            .send()
            .await;
        match copied {
            Ok(answer) => self.accept(to, answer.server_side_encryption).await,
            Err(error) => Err(self.not_copied(from, error)),
        }
    }

    /// Copies an object in several requests, of which nothing is left if one fails.
    async fn copy_in_parts(&self, from: &Key, to: &Key, measure: Moved, meter: &Meter) -> Result<(), StoreError> {
        let upload = self.begin(to).await?;
        let copied = until_stopped(meter, || self.locate(to.as_str()), async {
            let parts = self.copy_parts(from, to, &upload.id, measure.bytes).await?;
            self.complete(to, &upload, parts, measure, Mode::Create).await
        });
        let copied = Box::pin(copied).await;
        if copied.is_err() {
            self.abort(to, &upload.id).await;
        }
        copied.map(drop)
    }

    /// Has the parts of a new object copied, several at a time.
    async fn copy_parts(
        &self,
        from: &Key,
        to: &Key,
        upload: &str,
        bytes: u64,
    ) -> Result<Vec<CompletedPart>, StoreError> {
        let step = PART.min(self.copied_at_once).max(bytes.div_ceil(MOST_PARTS));
        let parts = (0..bytes.div_ceil(step)).zip(1..).map(|(index, number)| {
            let range = (index * step, bytes.min((index + 1) * step));
            self.copy_part(from, to, upload, number, range)
        });
        stream::iter(parts).buffered(self.upload.concurrency).try_collect().await
    }

    /// Copies the bytes of an object from the first of `range` on, up to the second, as one part.
    async fn copy_part(
        &self,
        from: &Key,
        to: &Key,
        upload: &str,
        number: i32,
        range: (u64, u64),
    ) -> Result<CompletedPart, StoreError> {
        let (start, end) = range;
        let copy = self.client.upload_part_copy().bucket(self.bucket.name()).key(self.full(to));
        let copied = copy
            .upload_id(upload)
            .part_number(number)
            .copy_source(self.original(from))
            .copy_source_range(format!("bytes={start}-{}", end - 1))
            .customize()
            // Ceph wants to be told that a part which comes from elsewhere is not sent.
            .mutate_request(|request| _ = request.headers_mut().insert("content-length", "0"))
            .config_override(not_insisting())
            .interceptor(self.pace.patience(end - start, self.upload.concurrency))
            .send()
            .await;
        let part = copied.map_err(|error| self.not_copied(from, error))?.copy_part_result;
        let (tag, crc) = part.map(|part| (part.e_tag, part.checksum_crc64_nvme)).unwrap_or_default();
        let done = CompletedPart::builder().part_number(number).set_e_tag(tag).set_checksum_crc64_nvme(crc);
        Ok(done.build())
    }

    /// Returns the name of an original as a header has it.
    fn original(&self, key: &Key) -> String {
        let original = format!("{}/{}", self.bucket.name(), self.full(key));
        utf8_percent_encode(&original, ENCODED).to_string()
    }

    fn not_copied(&self, from: &Key, error: impl Refused) -> StoreError {
        if error.is_missing() {
            return StoreError::Missing { at: self.locate(from.as_str()) };
        }
        self.failed("copy", from.as_str())(error)
    }
}

/// Returns the settings of a request that others can stand in for.
fn not_insisting() -> aws_sdk_s3::config::Builder {
    Config::builder().retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
}
