//! Fetching an object: part by part, several at a time, put in order and measured as they come in. What came before an answer
//! broke off is kept.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use futures_util::stream::{self, StreamExt};
use tokio::sync::mpsc;

use super::buffers::{Buffer, PIECE};
use super::refusal::Refused;
use super::{Head, Opened, size, until_stopped};
use crate::event::Meter;
use crate::measure::Tally;
use crate::name::Key;
use crate::store::{Moved, Part, StoreError, blocking, failed};

/// How many answers in a row may break off with less than a piece. The SDK asks again for answers, not bodies.
const TRIES: u32 = 8;

/// How long a body may go on without a byte.
const SILENCE: Duration = Duration::from_secs(20);

/// How long to wait when an answer broke off; twice as long each further time in a row.
const PAUSE: Duration = Duration::from_millis(100);

impl Opened {
    /// Fetches an object into a new file.
    pub(super) async fn download(&self, key: &Key, into: PathBuf, meter: &Meter) -> Result<Moved, StoreError> {
        let file = create(into.clone()).await?;
        let mut writer = file.try_clone().map_err(failed("open", &into))?;
        let fetched = self.fetch(key, &into, meter, move |bytes| writer.write_all(bytes)).await;
        let path = into.clone();
        let synced = blocking(move || file.sync_all().map_err(failed("sync", &path))).await;
        fetched.and_then(|moved| synced.map(|()| moved)).inspect_err(|_| {
            // The first error is the one to tell; a file that could not be removed is not whole and has no digest.
            drop(std::fs::remove_file(&into));
        })
    }

    /// Reads an object through for nothing but its measure.
    pub(super) async fn read_through(&self, key: &Key, meter: &Meter) -> Result<Moved, StoreError> {
        self.fetch(key, Path::new(""), meter, |_| Ok(())).await
    }

    /// Fetches an object and hands it to `sink` in order, which writes it to `file`.
    async fn fetch(
        &self,
        key: &Key,
        file: &Path,
        meter: &Meter,
        sink: impl FnMut(&[u8]) -> io::Result<()> + Send + 'static,
    ) -> Result<Moved, StoreError> {
        // The parts go to a thread of their own, so that those to come are fetched while one is hashed and written. There is
        // room for all that can be at hand: to wait for room would be to fetch nothing meanwhile.
        let (parts, arriving) = mpsc::channel(self.upload.concurrency);
        let (at, counter) = (self.locate(key.as_str()), meter.clone());
        let taking_in = tokio::task::spawn_blocking(move || take_in(arriving, sink, &counter));
        let sent = until_stopped(meter, || at.clone(), self.send_parts_to(key, &parts)).await;
        drop(parts);
        let taken_in = match taking_in.await {
            Ok(taken_in) => taken_in,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        };
        let moved = taken_in.map_err(|broken| broken.worded(at, file))?;
        sent.map(|()| moved)
    }

    /// Fetches the parts of an object, several at a time, and sends them on in order.
    async fn send_parts_to(&self, key: &Key, parts: &mpsc::Sender<Buffer>) -> Result<(), StoreError> {
        let step = self.upload.part_size.0;
        // Of an empty object there is no range, and servers differ in how they say so: its size is asked for first.
        let Head { bytes: length, etag, .. } = self.known(key).await?;
        let starts = (0..length.div_ceil(step)).map(|number| number * step);
        let fetch = |start: u64| {
            let wanted = Wanted::part(start, step.min(length - start), etag.clone());
            async move {
                let mut buffer = self.buffers.take().await;
                buffer.clear();
                self.read_into(key, wanted, &mut buffer).await?;
                Ok::<_, StoreError>(buffer)
            }
        };
        let mut coming = stream::iter(starts).map(fetch).buffered(self.upload.concurrency);
        while let Some(part) = coming.next().await {
            if parts.send(part?).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Reads a small object, or the end of a large one.
    pub(super) async fn read_small(&self, key: &Key, part: Part) -> Result<Vec<u8>, StoreError> {
        let wanted = match part {
            Part::Whole => Wanted::default(),
            Part::Last(count) => {
                let Head { bytes: length, etag, .. } = self.known(key).await?;
                let count = count.min(length);
                if count == 0 {
                    return Ok(Vec::new());
                }
                Wanted::part(length - count, count, etag)
            }
        };
        let mut bytes = Vec::new();
        self.read_into(key, wanted, &mut bytes).await?;
        Ok(bytes)
    }

    /// Looks at an object that must be there.
    async fn known(&self, key: &Key) -> Result<Head, StoreError> {
        self.head(key).await?.ok_or_else(|| StoreError::Missing { at: self.locate(key.as_str()) })
    }

    /// Reads an object or a range of it; where the body breaks off, what is missing is asked for.
    async fn read_into(&self, key: &Key, mut wanted: Wanted, into: &mut Vec<u8>) -> Result<(), StoreError> {
        let mut failures = 0;
        loop {
            let there = into.len();
            let get = self.client.get_object().bucket(self.bucket.name()).key(self.full(key));
            let answer = match get.set_range(wanted.range(there)).set_if_match(wanted.etag.clone()).send().await {
                Ok(answer) => answer,
                Err(error) if error.is_missing() => return Err(StoreError::Missing { at: self.locate(key.as_str()) }),
                Err(error) => return Err(self.failed("fetch", key.as_str())(error)),
            };
            let length = wanted.learn(&answer);
            let Err(cause) = read_body(answer.body, length, into).await else { return Ok(()) };
            failures = if into.len() - there < PIECE { failures + 1 } else { 1 };
            if failures == TRIES {
                let at = self.locate(key.as_str());
                return Err(StoreError::Unreachable { doing: "fetch", at, cause: self.hidden.hide(&cause) });
            }
            tokio::time::sleep(PAUSE * 2_u32.pow(failures - 1)).await;
        }
    }
}

/// What is asked for of an object; all of it unless said otherwise.
#[derive(Clone, Debug, Default)]
struct Wanted {
    /// Where it begins.
    start: u64,
    /// How many bytes it has, once that is known.
    length: Option<u64>,
    /// The object must still be the one that has this tag.
    etag: Option<String>,
}

impl Wanted {
    /// Returns a wish for `length` bytes from `start` on, of the object that has this tag.
    fn part(start: u64, length: u64, etag: Option<String>) -> Self {
        Self { start, length: Some(length), etag }
    }

    /// Returns the range that is missing when so many bytes are there, as HTTP writes it; nothing while no length is known.
    fn range(&self, there: usize) -> Option<String> {
        let last = self.start + self.length?.checked_sub(1)?;
        Some(format!("bytes={}-{last}", self.start + there as u64))
    }

    /// Learns from the first answer what was not known, since the rest must be of the same object; returns the length.
    fn learn(&mut self, answer: &GetObjectOutput) -> u64 {
        if self.length.is_none() {
            self.etag.clone_from(&answer.e_tag);
        }
        *self.length.get_or_insert(size(answer.content_length))
    }
}

/// Why parts were not taken in.
enum Broken {
    /// They could not be written.
    Unwritten(io::Error),
    /// The word to stop came.
    Stopped,
}

impl Broken {
    /// Returns the store's error for an object and the file that it goes to.
    fn worded(self, at: String, file: &Path) -> StoreError {
        match self {
            Self::Unwritten(cause) => failed("write", file)(cause),
            Self::Stopped => StoreError::Stopped { at },
        }
    }
}

/// Makes a new file that its owner alone can read.
async fn create(path: PathBuf) -> Result<File, StoreError> {
    blocking(move || {
        let new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        new.map_err(failed("create", &path))
    })
    .await
}

/// Measures parts as they arrive, and hands them to `sink`.
fn take_in(
    mut arriving: mpsc::Receiver<Buffer>,
    mut sink: impl FnMut(&[u8]) -> io::Result<()>,
    meter: &Meter,
) -> Result<Moved, Broken> {
    let mut tally = Tally::default();
    while let Some(part) = arriving.blocking_recv() {
        for piece in part.chunks(PIECE) {
            tally.add(piece);
            sink(piece).map_err(Broken::Unwritten)?;
        }
        if !meter.add(part.len() as u64) {
            return Err(Broken::Stopped);
        }
    }
    Ok(tally.into())
}

/// Reads a body to its end, which is not its end unless so many bytes are there then.
async fn read_body(mut body: ByteStream, length: u64, into: &mut Vec<u8>) -> Result<(), String> {
    let length = usize::try_from(length).map_err(|_| "it is larger than this machine's memory")?;
    into.reserve(length.saturating_sub(into.len()));
    loop {
        match tokio::time::timeout(SILENCE, body.next()).await {
            Err(_) => return Err(format!("no byte came for {} s", SILENCE.as_secs())),
            // A server that overlooks the range sends all of the object.
            Ok(Some(Ok(bytes))) if bytes.len() > length - into.len() => {
                return Err("the answer is longer than what was asked for".to_owned());
            }
            Ok(Some(Ok(bytes))) => into.extend_from_slice(&bytes),
            // What breaks off behind the last byte is whole.
            Ok(Some(Err(_)) | None) if into.len() == length => return Ok(()),
            Ok(Some(Err(error))) => return Err(format!("the answer broke off: {error}")),
            Ok(None) => return Err(format!("the answer ended after {} bytes", into.len())),
        }
    }
}
