//! Storing an object: in one request where it fits into one part, else part by part, several at a time.
//!
//! A file is read once, part by part and in order; its digests are computed while it is read, and its parts travel
//! beside each other.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::upload_part::UploadPartError;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, ServerSideEncryption, StorageClass,
};
use bytes::Bytes;
use tokio::task::JoinSet;

use super::buffers::{Buffer, PIECE};
use super::refusal::Refused;
use super::sign::Signature;
use super::{Head, Opened, until_stopped};
use crate::event::Meter;
use crate::measure::{Crc64, Sha256, Tally};
use crate::name::Key;
use crate::plan::{Checksum, Encryption};
use crate::store::{Body, Mode, Moved, StoreError, blocking, failed};

/// How many parts an object may have; of a larger file the parts are larger.
pub(super) const MOST_PARTS: u64 = 10_000;

/// How often to wait for another write of an object to end, and how long each time.
const CONFLICTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(500);

/// How often to abort an upload whose parts go on arriving.
const ABORTS: u32 = 3;

/// How long completing an object of many parts may take a server, for a first attempt.
const COMPLETE: u64 = 512 << 20;

impl Opened {
    /// Stores an object.
    pub(super) async fn upload(&self, key: &Key, body: Body, mode: Mode, meter: &Meter) -> Result<Moved, StoreError> {
        let at = || self.locate(key.as_str());
        if meter.is_stopped() {
            // Of a request that is sent and given up in one moment, the server may have got everything.
            return Err(StoreError::Stopped { at: at() });
        }
        match body {
            Body::Bytes(bytes) => {
                // A document that is on its way is not cut short: whoever sent it must know whether it is there.
                let moved = Moved::of(&bytes);
                self.put_whole(key, Bytes::from(bytes), moved, mode, meter).await
            }
            Body::File(path) | Body::Spare(path) => {
                let source = Source::open(path, self.upload.part_size.0).await?;
                if source.parts() > 1 {
                    return self.put_in_parts(key, source, mode, meter).await;
                }
                let (buffer, moved) = source.read_whole(self.buffers.take().await).await?;
                let put = self.put_whole(key, Bytes::from_owner(buffer), moved, mode, meter);
                until_stopped(meter, at, Box::pin(put)).await
            }
        }
    }

    /// Stores an object in one request.
    async fn put_whole(
        &self,
        key: &Key,
        bytes: Bytes,
        moved: Moved,
        mode: Mode,
        meter: &Meter,
    ) -> Result<Moved, StoreError> {
        let mut conflicts = 0;
        loop {
            let (sends_checksum, condition) = (self.sends_checksums(), self.condition(mode));
            let is_conditional = condition.is_some();
            if self.must_look_first(mode) && self.head(key).await?.is_some() {
                // Reading it takes a buffer, of which this may hold the last.
                drop(bytes);
                return self.taken(key, moved).await;
            }
            let patience = self.pace.patience(moved.bytes, self.upload.concurrency);
            let put = self.client.put_object().bucket(self.bucket.name()).key(self.full(key));
            let put = put
                .set_if_none_match(condition)
                .set_storage_class(self.bucket.storage_class().map(StorageClass::from))
                .set_server_side_encryption(self.encryption())
                .set_ssekms_key_id(self.kms_key())
                .set_checksum_crc64_nvme(sends_checksum.then(|| moved.crc64nvme.to_string()))
                .content_length(i64::try_from(moved.bytes).unwrap_or(i64::MAX))
                .body(self.pace.body(bytes.clone()).into());
            let sent =
                put.customize().interceptor(Signature::Digest(moved.sha256)).interceptor(patience.clone()).send().await;
            match sent {
                Ok(answer) => {
                    self.pace.note(&patience);
                    self.accept(key, answer.server_side_encryption).await?;
                    return self.counted(key, moved, meter);
                }
                Err(error) if error.is_taken() => {
                    drop((bytes, error));
                    return self.taken(key, moved).await;
                }
                Err(error) if error.is_conflict() && conflicts < CONFLICTS => {
                    conflicts += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) if self.learns_from(&error, sends_checksum, is_conditional) => {}
                Err(error) => return Err(self.failed("store", key.as_str())(error)),
            }
        }
    }

    /// Stores an object in several requests, which a reader of the bucket sees as one.
    async fn put_in_parts(&self, key: &Key, source: Source, mode: Mode, meter: &Meter) -> Result<Moved, StoreError> {
        if mode == Mode::Create && self.head(key).await?.is_some() {
            // Perhaps an earlier run got this far: then there is nothing left to be sent.
            let moved = Moved::of_file(&source.path).await?;
            return self.taken(key, moved).await;
        }
        let stored = self.put_in_parts_once(key, source.clone(), mode, meter).await;
        if !stored.as_ref().is_err_and(lacks_a_part) {
            return stored;
        }
        meter.take_back(source.length);
        self.put_in_parts_once(key, source, mode, meter).await
    }

    /// Stores an object in parts of a new upload, of which nothing is left if it fails.
    async fn put_in_parts_once(
        &self,
        key: &Key,
        source: Source,
        mode: Mode,
        meter: &Meter,
    ) -> Result<Moved, StoreError> {
        let upload = self.begin(key).await?;
        let mut sending = JoinSet::new();
        let stored = until_stopped(meter, || self.locate(key.as_str()), async {
            let (parts, moved) = self.send_parts(key, &upload.id, source, meter, &mut sending).await?;
            self.complete(key, &upload, parts, moved, mode).await
        });
        let stored = Box::pin(stored).await;
        if stored.is_err() {
            // A part that is still on its way would come after the upload is gone, and stay.
            sending.shutdown().await;
            self.abort(key, &upload.id).await;
        }
        stored
    }

    /// Begins an object of several parts.
    pub(super) async fn begin(&self, key: &Key) -> Result<Begun, StoreError> {
        loop {
            let sends_checksum = self.sends_checksums();
            let request = self.client.create_multipart_upload().bucket(self.bucket.name()).key(self.full(key));
            let begun = request
                .set_storage_class(self.bucket.storage_class().map(StorageClass::from))
                .set_server_side_encryption(self.encryption())
                .set_ssekms_key_id(self.kms_key())
                .set_checksum_algorithm(sends_checksum.then_some(ChecksumAlgorithm::Crc64Nvme))
                .send()
                .await;
            match begun {
                Ok(upload) => {
                    let (id, encryption) = (upload.upload_id.unwrap_or_default(), upload.server_side_encryption);
                    return Ok(Begun { id, encryption });
                }
                Err(error) if self.learns_from(&error, sends_checksum, false) => {}
                Err(error) => return Err(self.failed("begin to store", key.as_str())(error)),
            }
        }
    }

    /// Reads a file part by part and sends each while the next is read.
    async fn send_parts(
        &self,
        key: &Key,
        upload: &str,
        source: Source,
        meter: &Meter,
        sending: &mut JoinSet<Result<CompletedPart, PartError>>,
    ) -> Result<(Vec<CompletedPart>, Moved), StoreError> {
        let mut tally = Tally::default();
        let mut done = Vec::new();
        for number in 1..=source.parts() {
            let buffer = self.buffers.take().await;
            let part;
            (part, tally) = source.read_part(number, buffer, tally, self.signs_parts()).await?;
            sending.spawn(self.part(key, upload, number, part, meter));
            while let Some(sent) = sending.try_join_next() {
                done.push(self.sent(key, sent)?);
            }
        }
        while let Some(sent) = sending.join_next().await {
            done.push(self.sent(key, sent)?);
        }
        done.sort_by_key(|part| part.part_number);
        Ok((done, tally.into()))
    }

    /// Returns the sending of one part, which holds its buffer until the server has it.
    fn part(
        &self,
        key: &Key,
        upload: &str,
        number: u64,
        part: ReadPart,
        meter: &Meter,
    ) -> impl Future<Output = Result<CompletedPart, PartError>> + use<> {
        let (pace, meter) = (self.pace.clone(), meter.clone());
        let length = part.bytes.len() as u64;
        let number = i32::try_from(number).unwrap_or(i32::MAX);
        let crc = self.sends_checksums().then(|| part.crc64nvme.to_string());
        let request = self.client.upload_part().bucket(self.bucket.name()).key(self.full(key));
        let request = request
            .upload_id(upload)
            .part_number(number)
            .set_checksum_crc64_nvme(crc.clone())
            .content_length(i64::try_from(length).unwrap_or(i64::MAX))
            .body(pace.body(part.bytes).into());
        let signature = part.sha256.map_or(Signature::Unsigned, Signature::Digest);
        let patience = pace.patience(length, self.upload.concurrency);
        async move {
            let sent = request.customize().interceptor(signature).interceptor(patience.clone()).send().await?;
            pace.note(&patience);
            if !meter.add(length) {
                return Err(PartError::Stopped);
            }
            let done = CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag).set_checksum_crc64_nvme(crc);
            Ok(done.build())
        }
    }

    fn sent(
        &self,
        key: &Key,
        sent: Result<Result<CompletedPart, PartError>, tokio::task::JoinError>,
    ) -> Result<CompletedPart, StoreError> {
        match sent {
            Ok(Ok(part)) => Ok(part),
            Ok(Err(PartError::Stopped)) => Err(StoreError::Stopped { at: self.locate(key.as_str()) }),
            Ok(Err(PartError::Failed(error))) => Err(self.failed("store a part of", key.as_str())(*error)),
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }

    /// Makes one object of the parts.
    pub(super) async fn complete(
        &self,
        key: &Key,
        upload: &Begun,
        parts: Vec<CompletedPart>,
        moved: Moved,
        mode: Mode,
    ) -> Result<Moved, StoreError> {
        let condition = self.condition(mode).filter(|_| !self.must_look_first(mode));
        let complete = self.client.complete_multipart_upload().bucket(self.bucket.name()).key(self.full(key));
        let completed = complete
            .upload_id(&upload.id)
            .set_if_none_match(condition)
            .set_checksum_crc64_nvme(self.sends_checksums().then(|| moved.crc64nvme.to_string()))
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build())
            .customize()
            .interceptor(self.pace.patience(COMPLETE, 1))
            .send()
            .await;
        match completed {
            Ok(answer) => {
                self.accept(key, answer.server_side_encryption.or(upload.encryption.clone())).await?;
                Ok(moved)
            }
            Err(error) if error.is_taken() => self.taken(key, moved).await,
            // When the answer of an earlier attempt was lost, the upload is gone, and servers differ in how they say so.
            Err(error) if error.answer().is_some() && self.holds(key, &moved).await? => self.taken(key, moved).await,
            Err(error) => Err(self.failed("complete", key.as_str())(error)),
        }
    }

    /// Takes the parts of an unfinished object away again, and those too that a server was still writing meanwhile.
    /// What cannot be taken away is swept by a later run.
    pub(super) async fn abort(&self, key: &Key, upload: &str) {
        for _ in 0..ABORTS {
            let abort = self.client.abort_multipart_upload().bucket(self.bucket.name()).key(self.full(key));
            if abort.upload_id(upload).send().await.is_err() {
                return;
            }
            let left = self.client.list_parts().bucket(self.bucket.name()).key(self.full(key)).upload_id(upload);
            if !left.send().await.is_ok_and(|left| !left.parts().is_empty()) {
                return;
            }
        }
    }

    /// Tells whether an object that must be new has to be looked for, because the server was not seen to refuse.
    fn must_look_first(&self, mode: Mode) -> bool {
        let is_relied_on = self.learnt.honours_conditions.load(Ordering::Relaxed)
            && !self.learnt.refuses_conditions.load(Ordering::Relaxed);
        mode == Mode::Create && !is_relied_on
    }

    /// Judges a key that is taken: by just these bytes, then all is well; or by others.
    async fn taken(&self, key: &Key, moved: Moved) -> Result<Moved, StoreError> {
        if self.holds(key, &moved).await? {
            self.check_kept(key, None).await?;
            return Ok(moved);
        }
        Err(StoreError::Exists { at: self.locate(key.as_str()) })
    }

    /// Tells whether the object of a key is just these bytes.
    async fn holds(&self, key: &Key, moved: &Moved) -> Result<bool, StoreError> {
        match self.head(key).await? {
            None => Ok(false),
            Some(head) if head.bytes != moved.bytes => Ok(false),
            Some(Head { crc64nvme: Some(crc), .. }) if self.learnt.compares_checksums.load(Ordering::Relaxed) => {
                Ok(crc == moved.crc64nvme)
            }
            Some(_) => Ok(self.read_through(key, &Meter::default()).await?.sha256 == moved.sha256),
        }
    }

    pub(super) fn counted(&self, key: &Key, moved: Moved, meter: &Meter) -> Result<Moved, StoreError> {
        if meter.add(moved.bytes) { Ok(moved) } else { Err(StoreError::Stopped { at: self.locate(key.as_str()) }) }
    }

    /// Returns the condition of a write that must not replace anything.
    fn condition(&self, mode: Mode) -> Option<String> {
        let is_known = !self.learnt.refuses_conditions.load(Ordering::Relaxed);
        (mode == Mode::Create && is_known).then(|| "*".to_owned())
    }

    /// Takes note of what a server does not know of what a request carried, and tells whether to ask again without it.
    pub(super) fn learns_from(&self, error: &impl Refused, has_checksum: bool, has_condition: bool) -> bool {
        // A plan that names the checksum does not want to go without it.
        if has_checksum && self.bucket.checksum() == Checksum::Auto && error.is_ignorance_of(&["checksum"]) {
            self.learnt.refuses_checksums.store(true, Ordering::Relaxed);
            return true;
        }
        // A server that was seen to honour conditions knows them.
        let knows = self.learnt.honours_conditions.load(Ordering::Relaxed);
        if has_condition && !knows && error.is_ignorance_of(&["if-none-match", "condition"]) {
            self.learnt.refuses_conditions.store(true, Ordering::Relaxed);
            return true;
        }
        false
    }

    /// Tells whether parts are signed one by one: where neither TLS nor a checksum guards them.
    fn signs_parts(&self) -> bool {
        let is_compared = self.learnt.compares_checksums.load(Ordering::Relaxed) && self.sends_checksums();
        !self.bucket.uses_ssl() && !is_compared
    }

    pub(super) fn encryption(&self) -> Option<ServerSideEncryption> {
        self.bucket.encryption().map(|encryption| match encryption {
            Encryption::Aes256 => ServerSideEncryption::Aes256,
            Encryption::Kms { .. } => ServerSideEncryption::AwsKms,
        })
    }

    pub(super) fn kms_key(&self) -> Option<String> {
        match self.bucket.encryption() {
            Some(Encryption::Kms { key }) => key.clone(),
            _ => None,
        }
    }
}

/// Tells whether a server has other parts than it was sent: seen of Garage, where what is left of a connection that was
/// cut may come after the part has been sent again.
fn lacks_a_part(error: &StoreError) -> bool {
    matches!(error, StoreError::Refused { code, .. } if code == "InvalidPart")
}

/// An upload of several parts that has begun.
#[derive(Debug)]
pub(super) struct Begun {
    /// The server's name for it.
    pub(super) id: String,
    /// How the object will be encrypted, where the server says so.
    encryption: Option<ServerSideEncryption>,
}

/// Why a part was not sent.
#[derive(Debug)]
enum PartError {
    /// The word to stop came.
    Stopped,
    /// The server refused it, or could not be reached.
    Failed(Box<SdkError<UploadPartError>>),
}

impl From<SdkError<UploadPartError>> for PartError {
    fn from(error: SdkError<UploadPartError>) -> Self {
        Self::Failed(Box::new(error))
    }
}

/// A file on its way into a bucket.
#[derive(Clone, Debug)]
struct Source {
    file: Arc<File>,
    path: Arc<PathBuf>,
    length: u64,
    part_size: u64,
}

/// A part that was read and measured.
#[derive(Debug)]
struct ReadPart {
    bytes: Bytes,
    crc64nvme: Crc64,
    /// Only where the part is signed.
    sha256: Option<Sha256>,
}

impl Source {
    /// Opens a file that is sent in parts of `part_size` bytes, or of as many more as the most parts need.
    async fn open(path: PathBuf, part_size: u64) -> Result<Self, StoreError> {
        blocking(move || {
            let file = File::open(&path).map_err(failed("open", &path))?;
            let length = file.metadata().map_err(failed("look at", &path))?.len();
            let part_size = part_size.max(length.div_ceil(MOST_PARTS));
            Ok(Self { file: Arc::new(file), path: Arc::new(path), length, part_size })
        })
        .await
    }

    fn parts(&self) -> u64 {
        self.length.div_ceil(self.part_size)
    }

    /// Reads the bytes from `offset` on into a buffer, as many as a part has, or as there are, and measures them.
    fn fill(&self, offset: u64, buffer: &mut Buffer, tally: &mut Tally) -> Result<(), StoreError> {
        let length = self.part_size.min(self.length - offset);
        buffer.resize(usize::try_from(length).unwrap_or(usize::MAX), 0);
        for (piece, at) in buffer.chunks_mut(PIECE).zip((offset..).step_by(PIECE)) {
            self.file.read_exact_at(piece, at).map_err(failed("read", &self.path))?;
            tally.add(piece);
        }
        Ok(())
    }

    /// Reads a file that is no longer than a part.
    async fn read_whole(self, mut buffer: Buffer) -> Result<(Buffer, Moved), StoreError> {
        blocking(move || {
            let mut tally = Tally::default();
            self.fill(0, &mut buffer, &mut tally)?;
            Ok((buffer, tally.into()))
        })
        .await
    }

    /// Reads one part, counted from 1, and adds it to the measure of the whole file.
    async fn read_part(
        &self,
        number: u64,
        mut buffer: Buffer,
        mut tally: Tally,
        is_signed: bool,
    ) -> Result<(ReadPart, Tally), StoreError> {
        let source = self.clone();
        blocking(move || {
            source.fill((number - 1) * source.part_size, &mut buffer, &mut tally)?;
            let crc64nvme = Crc64::of(&buffer);
            let sha256 = is_signed.then(|| Sha256::of(&buffer));
            Ok((ReadPart { bytes: Bytes::from_owner(buffer), crc64nvme, sha256 }, tally))
        })
        .await
    }
}
